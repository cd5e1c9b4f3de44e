//! The pages before the chat: readable on a phone, in light and dark, with a keyboard, and without scripts. Nothing in
//! them comes from another server, and nothing from a stranger gets in unescaped.

use super::assets;

fn page(title: &str, body: &str) -> String {
    let style = assets::style();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n\
         <title>{title}</title>\n<link rel=\"stylesheet\" href=\"{style}\">\n</head>\n\
         <body class=\"door\">\n<main>\n<h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n"
    )
}

const HOW_TO_OPEN: &str = "<p>On the machine where Clawdbot runs, type this in a terminal:</p>\n\
    <p><code>clawdbot open</code></p>\n\
    <p>It prints a link that signs this browser in. A link works once, for one minute.</p>\n";

/// For whoever is not signed in: what the configuration asks for (`auth_mode`), and why the last try did not work.
pub fn stranger(auth_mode: &str, wrong: Option<&str>) -> String {
    let (label, hint) = match auth_mode {
        "password" => ("Password", "The one that the gateway was given."),
        _ => ("Token", "<code>clawdbot token</code> shows it."),
    };
    let wrong = wrong.map_or(String::new(), |why| {
        format!(
            "<p class=\"bad\" id=\"wrong\" role=\"alert\">{}</p>\n",
            prose(why)
        )
    });
    let described = match wrong.is_empty() {
        true => "hint",
        false => "wrong hint",
    };
    page(
        "Sign in to Clawdbot",
        &format!(
            "{HOW_TO_OPEN}<hr>\n<form method=\"post\" action=\"/login\">\n\
             <label for=\"password\">{label}</label>\n{wrong}\
             <input id=\"password\" name=\"password\" type=\"password\" required autocomplete=\"current-password\" \
             aria-describedby=\"{described}\">\n\
             <p class=\"hint\" id=\"hint\">{hint}</p>\n\
             <button class=\"main\">Sign in</button>\n</form>\n"
        ),
    )
}

/// The question before a login link is used up: programs that look at links only see this page. `code` is of the
/// alphabet that [`is_code`] allows.
pub fn login(code: &str) -> String {
    page(
        "Sign in to Clawdbot",
        &format!(
            "<p>This signs this browser in as the operator of the assistant on this machine.</p>\n\
             <form method=\"post\" action=\"/login\"><input type=\"hidden\" name=\"code\" value=\"{code}\">\
             <button class=\"main\" autofocus>Sign in</button></form>\n"
        ),
    )
}

/// A login that did not work, and why.
pub fn no_login(reason: &str) -> String {
    page(
        "Signing in did not work",
        &format!("<p>{}</p>\n{HOW_TO_OPEN}", prose(reason)),
    )
}

/// Whether a text can be a login code at all.
pub fn is_code(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

/// A sentence in which commands stand between backquotes.
fn prose(text: &str) -> String {
    let text = escaped(text);
    let mut out = String::with_capacity(text.len());
    for (i, part) in text.split('`').enumerate() {
        match i % 2 {
            0 => out.push_str(part),
            _ => out.extend(["<code>", part, "</code>"]),
        }
    }
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let html = no_login("<script>\"'&");
        assert!(html.contains("&lt;script&gt;&quot;&#39;&amp;"));
        assert!(!html.contains("<script"));
        let html = no_login("run `a <b>`, then `c");
        assert!(html.contains("<p>run <code>a &lt;b&gt;</code>, then <code>c</code></p>"));
        for bad in ["", "a\"b", "a b", "é", "<", &"a".repeat(129)] {
            assert!(!is_code(bad), "{bad:?}");
        }
        assert!(is_code("aZ09_-"));
    }

    #[test]
    fn pages_load_nothing_but_our_style() {
        for html in [
            stranger("token", None),
            stranger("password", Some("x")),
            login("c"),
            no_login("x"),
        ] {
            let link = format!("<link rel=\"stylesheet\" href=\"{}\">", assets::style());
            let rest = html.replacen(&link, "", 1);
            assert_ne!(rest, html);
            for word in [
                "http:", "https:", "//", "src=", "url(", "@import", "<script", "<link", "<style",
                "style=",
            ] {
                assert!(!rest.contains(word), "{word}");
            }
        }
    }

    #[test]
    fn the_form_asks_for_what_the_configuration_says() {
        assert!(stranger("token", None).contains(">Token<"));
        assert!(stranger("password", None).contains(">Password<"));
        let html = stranger("token", Some("no <b>"));
        assert!(html.contains("role=\"alert\">no &lt;b&gt;<"));
    }
}

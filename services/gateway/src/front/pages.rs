//! The few pages there are: readable on a phone, in light and dark, with a keyboard, and without scripts. Nothing in
//! them comes from another server, and nothing from a stranger gets in unescaped.

use clawdbot_proto::v1;

/// The one style; its hash is in the content security policy.
pub const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1.05rem/1.6 system-ui,sans-serif;max-width:36rem;margin:10vh auto 2rem;padding:0 1.25rem;\
color:CanvasText;background:Canvas}\
h1{font-size:1.6rem;line-height:1.25}\
code{font:.95em ui-monospace,monospace;border:1px solid GrayText;border-radius:.3em;padding:.1em .4em;\
white-space:nowrap}\
button{font:inherit;color:inherit;background:transparent;border:2px solid currentColor;border-radius:.5em;\
padding:.6em 1.6em;min-height:3rem;cursor:pointer}\
button:focus-visible{outline:3px solid Highlight;outline-offset:2px}";

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n"
    )
}

const HOW_TO_OPEN: &str = "<p>On the machine where Clawdbot runs, type this in a terminal:</p>\n\
    <p><code>clawdbot open</code></p>\n\
    <p>It prints a link that signs this browser in. A link works once, for one minute.</p>\n";

/// For whoever is not signed in.
pub fn stranger() -> String {
    page(
        "Clawdbot is running",
        &format!("<p>This browser is not signed in.</p>\n{HOW_TO_OPEN}"),
    )
}

/// For whoever is signed in.
pub fn home(status: &v1::GatewayStatus) -> String {
    let state = match (status.pending, status.running) {
        (0, _) => "Nothing is waiting for an answer.".to_owned(),
        (1, _) => "1 message is waiting for its answer.".to_owned(),
        (pending, running) => {
            format!(
                "{pending} messages are waiting for their answers, {running} of them are being answered."
            )
        }
    };
    page(
        "You are signed in",
        &format!(
            "<p>Clawdbot is running. {state}</p>\n\
             <p>Chatting in the browser is not there yet. In a terminal, type:</p>\n\
             <p><code>clawdbot chat</code></p>\n\
             <form method=\"post\" action=\"/logout\"><button>Sign out</button></form>\n"
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
             <button autofocus>Sign in</button></form>\n"
        ),
    )
}

/// A login that did not work, and why.
pub fn no_login(reason: &str) -> String {
    page(
        "Signing in did not work",
        &format!("<p>{}</p>\n{HOW_TO_OPEN}", escaped(reason)),
    )
}

/// Whether a text can be a login code at all.
pub fn is_code(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
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
        for bad in ["", "a\"b", "a b", "é", "<", &"a".repeat(129)] {
            assert!(!is_code(bad), "{bad:?}");
        }
        assert!(is_code("aZ09_-"));
    }

    #[test]
    fn pages_load_nothing() {
        for html in [
            stranger(),
            home(&v1::GatewayStatus::default()),
            login("c"),
            no_login("x"),
        ] {
            for word in [
                "http:", "https:", "//", "src=", "url(", "@import", "<script", "<link",
            ] {
                assert!(!html.contains(word), "{word}");
            }
        }
    }
}

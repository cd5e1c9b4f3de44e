//! The hosts to which a text links, for whoever may read it: browsers (WHATWG URL), stricter parsers (RFC 3986) and chat
//! programs that make links of plain text. Where these disagree all that one of them could mean is found, and what none
//! understands counts as a host of its own: too much makes a question, too little a way out.

use std::collections::BTreeSet;

use super::reading::{plain, shown, unescaped};
use super::words::is_word;

/// Endings of files that look like the last part of a host's name and are none. `md` is not among them: it is a country's.
const FILES: &[&str] = &[
    "txt", "doc", "docx", "xls", "xlsx", "pdf", "csv", "json", "png", "jpg", "ppt", "pptx",
];
/// Schemes whose colon alone begins a host's name in browsers.
const WEB: &[&str] = &["http", "https", "ws", "wss", "ftp"];

/// The hosts to which a text links, in lower case.
pub(super) fn hosts(text: &str) -> BTreeSet<String> {
    let found = all(text);
    found.iter().map(|host| host.to_lowercase()).collect()
}

/// Those that the owner of a text can have meant: his sentence may have begun without a space behind the name.
pub(super) fn meant(text: &str) -> BTreeSet<String> {
    let found = all(text);
    let both = found.iter().flat_map(|host| [host, sentence(host)]);
    both.map(str::to_lowercase).collect()
}

/// What names the server after a scheme.
pub(super) fn authority(text: &str) -> &str {
    text.split(['/', '?', '#', '\\']).next().unwrap_or_default()
}

/// The host of an authority: without user and port, and without what ends a sentence. What is escaped in it, or can become
/// another name in a browser, is not cut off: nobody named that.
pub(super) fn host_of(authority: &str) -> Option<String> {
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let host = match (host.strip_prefix('['), host.split_once(':')) {
        (Some(six), _) => six.split(']').next().unwrap_or(six),
        (None, Some((host, _))) => host,
        (None, None) => host,
    };
    let whole = unescaped(host);
    let other = |c: char| !(is_word(c) || matches!(c, '.' | '-' | ':'));
    let (name, rest) = whole.split_at(whole.find(other).unwrap_or(whole.len()));
    let strange = |c: char| !c.is_ascii() && !is_word(c) && !CLOSING.contains(&c);
    let odd = whole != host || rest.contains(strange) || rest.contains('&') && rest.contains(';');
    let host = if odd { whole.as_str() } else { name };
    let host = host.trim_end_matches(|c: char| !(is_word(c) || strange(c)));
    (!host.is_empty()).then(|| host.to_owned())
}

/// What may stand behind an address without being part of it.
const CLOSING: &[char] = &[
    '\u{201d}', '\u{2019}', '\u{bb}', '\u{2026}', '\u{2014}', '\u{2013}', '\u{3001}', '\u{300b}',
    '\u{300d}', '\u{3011}',
];

fn all(text: &str) -> BTreeSet<String> {
    let plain = plain(text);
    let shown = shown(&plain);
    let mut found = BTreeSet::new();
    scan(text, &mut found);
    for (other, before) in [(plain.as_str(), text), (&shown, &plain)] {
        if other != before {
            scan(other, &mut found);
        }
    }
    // Browsers take line breaks out of an address, so that one between quotation marks goes on after them.
    for run in plain.split(['"', '\'']).skip(1) {
        if run.contains(BREAKS) {
            let whole = run.replace(BREAKS, "");
            let first = whole.split_whitespace().next().unwrap_or_default();
            let scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
            if beginning(first).is_some_and(|(before, _)| before.chars().all(scheme)) {
                scan(first, &mut found);
            }
        }
    }
    found
}

const BREAKS: [char; 3] = ['\t', '\n', '\r'];

fn scan(text: &str, found: &mut BTreeSet<String>) {
    for token in text.split(|c: char| c.is_whitespace() || c.is_control() || "<>\"'`|".contains(c))
    {
        // Of most words nothing can be a link.
        if !token.contains(['.', ':', '/', '\\']) {
            continue;
        }
        let (mut rest, mut led) = (token, false);
        loop {
            let next = beginning(rest);
            let part = next.map_or(rest, |(before, _)| before);
            match led {
                true => behind_scheme(part, found),
                false => loose(part, true, found),
            }
            let Some((_, after)) = next else { break };
            (rest, led) = (after, true);
        }
    }
}

/// Where something begins that may be any host's name, with what is before: behind a colon and slashes, behind two slashes
/// of their own, behind the colon of a scheme of the web. A backslash is a slash.
fn beginning(text: &str) -> Option<(&str, &str)> {
    let slash = |c| matches!(c, '/' | '\\');
    let marks = text.char_indices();
    let mut marks = marks.filter(|(_, c)| *c == ':' || slash(*c));
    marks.find_map(|(at, mark)| {
        let (before, from) = (&text[..at], &text[at..]);
        let behind = from.strip_prefix(':').unwrap_or(from);
        let after = behind.trim_start_matches(slash);
        let slashes = behind.len() - after.len();
        let begins = match mark {
            ':' => {
                let word = last_word(before);
                let web = WEB.iter().any(|scheme| word.eq_ignore_ascii_case(scheme));
                // A drive is no scheme.
                web || slashes > usize::from(word.len() == 1)
            }
            _ => {
                let joined = |c: char| is_word(c) || slash(c) || matches!(c, '.' | '-' | ':');
                slashes > 1 && !before.ends_with(joined)
            }
        };
        begins.then_some((before, after))
    })
}

/// What follows a scheme: the host, other names that a parser could take for it, and what is not of the path.
fn behind_scheme(text: &str, found: &mut BTreeSet<String>) {
    let authority = authority(text);
    found.extend(host_of(authority));
    loose(authority, false, found);
    let rest = &text[authority.len()..];
    let path = |c: char| !(is_name(c) || "/@%+~".contains(c));
    let end = match rest.starts_with('/') {
        true => rest.find(path).unwrap_or(rest.len()),
        false => 0,
    };
    loose(&rest[end..], true, found);
}

/// Names of hosts in a piece of text without a scheme. `mail`: an address of mail in it is none.
fn loose(text: &str, mail: bool, found: &mut BTreeSet<String>) {
    let joins = |c: char| is_name(c) || matches!(c, '@' | '/');
    let mut from = 0;
    while let Some(start) = text[from..].find(joins).map(|at| from + at) {
        let end = text[start..].find(|c| !joins(c));
        let end = end.map_or(text.len(), |at| start + at);
        let (piece, after) = (&text[start..end], &text[end..]);
        if !(mail && is_address(&text[..start], piece, after)) {
            found.extend(of_piece(piece, after));
        }
        from = end;
    }
}

/// The hosts at the beginning of a piece; what stands behind a host's name is its path.
fn of_piece(piece: &str, after: &str) -> Vec<String> {
    let mut parts = piece.split('/').peekable();
    while let Some(part) = parts.next() {
        let on = parts.peek().is_some() || goes_on(after);
        let names = part.split('@').flat_map(|name| name.split(".."));
        let hosts: Vec<_> = names.filter_map(|name| host(name, on)).collect();
        if !hosts.is_empty() {
            return hosts;
        }
    }
    Vec::new()
}

/// Whether it is an address of mail and cannot be user and host of a link.
fn is_address(before: &str, piece: &str, after: &str) -> bool {
    let scheme = before.strip_suffix(':').map(last_word);
    let behind_colon = scheme.is_some_and(|scheme| !scheme.eq_ignore_ascii_case("mailto"));
    let mut parts = piece.split('@');
    !behind_colon
        && !piece.contains('/')
        && !goes_on(after)
        && parts.next().is_some_and(|local| !local.is_empty())
        && parts.count() == 1
}

/// Whether an address goes on behind a name: with a port, a path, a query.
fn goes_on(after: &str) -> bool {
    let mut chars = after.chars();
    match chars.next() {
        Some('/' | '\\') => true,
        Some('?' | '#' | ':') => chars
            .next()
            .is_some_and(|c| is_word(c) || matches!(c, '/' | '=' | '&' | '%')),
        _ => false,
    }
}

/// The host that a name is, up to the last label that can be the top of a domain. `on`: an address goes on behind it.
fn host(name: &str, on: bool) -> Option<String> {
    let name = name.trim_matches(|c: char| !(is_word(c) || is_sign(c)));
    let labels: Vec<&str> = name.split('.').collect();
    if labels.len() == 4 && labels.iter().all(|label| label.parse::<u8>().is_ok()) {
        return Some(name.to_owned());
    }
    let tops = (1..labels.len()).rev();
    let mut tops = tops.filter_map(|at| Some((at, top(labels[at])?)));
    let (at, top) = tops.find(|(at, top)| {
        let last = at + 1 == labels.len();
        let file = FILES.iter().any(|end| top.eq_ignore_ascii_case(end));
        !file || last && on
    })?;
    Some(format!("{}.{top}", labels[..at].join(".")))
}

/// What of a label can be the top of a domain.
fn top(label: &str) -> Option<&str> {
    let coded = label.get(..4);
    if coded.is_some_and(|begin| begin.eq_ignore_ascii_case("xn--")) {
        return Some(label);
    }
    let end = label.find(|c: char| !c.is_alphabetic());
    let (top, rest) = label.split_at(end.unwrap_or(label.len()));
    let ends = !rest.starts_with(|c| c != '-' && !is_sign(c));
    (ends && top.chars().nth(1).is_some()).then_some(top)
}

/// `example.com` from `example.com.They`: a sentence that began without a space.
fn sentence(host: &str) -> &str {
    let mut host = host;
    while let Some((rest, last)) = host.rsplit_once('.') {
        let before = rest.rsplit('.').next().unwrap_or_default();
        let begins = last.starts_with(char::is_uppercase)
            && rest.contains('.')
            && !before.contains(char::is_uppercase)
            && before.contains(char::is_lowercase);
        if !begins {
            break;
        }
        host = rest;
    }
    host
}

fn last_word(text: &str) -> &str {
    let mut words = text.rsplit(|c: char| !c.is_ascii_alphanumeric());
    words.next().unwrap_or_default()
}

fn is_name(c: char) -> bool {
    is_word(c) || matches!(c, '.' | '-') || is_sign(c)
}

/// Pictures, of which names of hosts are made, too.
fn is_sign(c: char) -> bool {
    matches!(c, '\u{2600}'..='\u{27bf}' | '\u{1f000}'..='\u{1faff}')
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;

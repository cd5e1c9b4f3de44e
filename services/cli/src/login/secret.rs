//! A secret on its way in: from a terminal that does not show it, or whole from a pipe. What cannot be a key is refused
//! before anybody else sees it; what only looks wrong is said and taken.

use std::io::{IsTerminal, Read, stdin};

use zeroize::Zeroizing;

use super::{cancelled, hidden};
use crate::failure::{EXIT_USAGE, Failure};

/// Longest secret, bytes; the broker takes no more.
pub(super) const MAX: usize = 16 << 10;

/// How the keys of well-known services begin.
const PREFIXES: &[(&str, &str)] = &[
    ("anthropic", "sk-ant-"),
    ("openai", "sk-"),
    ("openrouter", "sk-or-"),
    ("google", "AIza"),
    ("groq", "gsk_"),
    ("xai", "xai-"),
    ("cerebras", "csk-"),
];

/// Asks for `what`.
///
/// # Errors
/// Exit status 2 for what cannot be a secret, 130 when the person changed their mind.
pub(super) async fn ask(what: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // It is in this process's memory from here on: no other of this user's, and no core file, gets it.
    clawdbot_confine::process::not_dumpable()?;
    let secret = match stdin().is_terminal() {
        true => hidden::ask(&format!("{} (not shown): ", capitalised(what)))
            .await?
            .ok_or_else(cancelled)?,
        false => piped(stdin().lock())?,
    };
    check(&secret)?;
    Ok(secret)
}

fn capitalised(what: &str) -> String {
    let mut chars = what.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

/// All of a pipe, without the line end that most programs put there.
fn piped(mut pipe: impl Read) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(vec![0; MAX + 3]);
    let mut filled = 0;
    while filled < bytes.len() {
        match pipe.read(&mut bytes[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    for end in *b"\n\r" {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    Ok(bytes)
}

fn check(secret: &[u8]) -> Result<(), Failure> {
    let wrong = match secret {
        [] => "nothing was given",
        _ if secret.len() > MAX => "it is longer than 16 KiB",
        _ if secret.iter().any(u8::is_ascii_control) => {
            "it has a line break or another control character in it"
        }
        _ => return Ok(()),
    };
    Err(
        Failure::new("usage", format!("this is no key or token: {wrong}"))
            .exit(EXIT_USAGE)
            .remedy("copy it once more from where you got it"),
    )
}

/// What looks as if it were not meant so. Nothing of the secret is repeated.
pub(super) fn hints(name: &str, secret: &[u8]) -> Vec<String> {
    let mut hints = Vec::new();
    let ends = [secret.first(), secret.last()];
    if ends.contains(&Some(&b' ')) {
        hints.push("it begins or ends with a space".to_owned());
    }
    if !secret.is_ascii() {
        hints.push("it has characters in it that keys do not have".to_owned());
    }
    let prefix = PREFIXES.iter().find(|(service, _)| *service == name);
    if let Some((_, prefix)) = prefix
        && !secret.starts_with(prefix.as_bytes())
    {
        hints.push(format!("keys of {name} usually begin with {prefix}"));
    }
    if name == "telegram" && !is_bot_token(secret) {
        hints.push("a bot token is a number, a colon and about 35 letters and digits".to_owned());
    }
    hints
}

fn is_bot_token(secret: &[u8]) -> bool {
    let Some(at) = secret.iter().position(|byte| *byte == b':') else {
        return false;
    };
    let (id, rest) = (&secret[..at], &secret[at + 1..]);
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    !id.is_empty() && id.iter().all(u8::is_ascii_digit) && rest.len() >= 30 && rest.iter().all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_of_a_pipe_does_not_belong_to_the_secret() {
        for (given, taken) in [
            (&b"key"[..], &b"key"[..]),
            (b"key\n", b"key"),
            (b"key\r\n", b"key"),
            (b"key\n\n", b"key\n"),
            (b" key ", b" key "),
            (b"", b""),
        ] {
            assert_eq!(piped(given).unwrap().as_slice(), taken);
        }
        let long = vec![b'x'; MAX + 100];
        assert!(check(&piped(long.as_slice()).unwrap()).is_err());
        assert!(check(&piped(&long[..MAX]).unwrap()).is_ok());
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused_without_repeating_it() {
        for (secret, part) in [
            (&b""[..], "nothing"),
            (b"canary\nx", "line break"),
            (b"canary\x1b[D", "control"),
            (b"canary\0", "control"),
        ] {
            let failure = check(secret).unwrap_err();
            assert_eq!(failure.exit, 2);
            assert!(failure.message.contains(part) && !failure.message.contains("canary"));
        }
        assert!(check(b"sk-ant-x y").is_ok());
    }

    #[test]
    fn an_odd_looking_key_is_a_hint_and_no_more() {
        let token = format!("123456:{}", "A".repeat(35));
        for (name, secret, expected) in [
            ("anthropic", "sk-ant-1", 0),
            ("anthropic", "sk-1", 1),
            ("openai", "canary", 1),
            ("my-llm", "canary", 0),
            ("telegram", &token, 0),
            ("telegram", "123456:short", 1),
            ("telegram", "canary", 1),
            ("my-llm", "canary ", 1),
            ("my-llm", "can\u{e4}ry", 1),
        ] {
            let hints = hints(name, secret.as_bytes());
            assert_eq!(hints.len(), expected, "{name}: {hints:?}");
            assert!(!format!("{hints:?}").contains("canary"));
        }
    }
}

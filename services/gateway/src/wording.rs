//! The gateway's own words: how several messages become one question, and what an end says in a chat. Plain functions
//! without I/O. What is shortened or left out is said in the text.

use std::borrow::Cow;

use clawdbot_identity::command::{Command, read};
use clawdbot_identity::{Class, text};
use clawdbot_proto::v1;

use crate::lanes::Join;
use crate::limits;
use crate::queue::{DROPPED, Outcome, Reply, STOPPED};

/// One message of several.
pub struct Said {
    /// Shown name of the sender; empty in direct conversations.
    pub sender: String,
    /// What was said.
    pub text: String,
    /// Only its beginning is given.
    pub short: bool,
}

/// A message as the model reads it. A command stays as it is, or nobody would know it for one.
pub fn spoken<'a>(sender: &str, text: &'a str) -> Cow<'a, str> {
    match sender.is_empty() || is_command(text) {
        true => text.into(),
        false => format!("{sender}: {text}").into(),
    }
}

/// Several messages as one question of at most [`limits::JOINED_BYTES`] and a little.
pub fn joined(mut all: Vec<Said>, join: Join) -> String {
    // The newest stay whole; an older one that finds no room is shortened, and the text says so.
    let mut room = limits::JOINED_BYTES;
    for said in all.iter_mut().rev() {
        let fits = said.text.len() <= room;
        room = room.saturating_sub(said.text.len());
        said.short |= !fits;
    }
    let (short, whole): (Vec<_>, Vec<_>) = all.into_iter().partition(|said| said.short);
    if join == Join::Lines && short.is_empty() {
        let sender = whole.first().map_or("", |said| &said.sender);
        let lines: Vec<_> = whole.iter().map(|said| said.text.as_str()).collect();
        return spoken(sender, &lines.join("\n")).into_owned();
    }
    let mut blocks = Vec::new();
    if !whole.is_empty() {
        blocks.push("[Messages that came while you were busy, oldest first]".to_owned());
    }
    for (number, said) in (1..).zip(&whole) {
        let text = spoken(&said.sender, &said.text);
        blocks.push(format!("--- Message {number} ---\n{text}"));
    }
    if !short.is_empty() {
        let mut lines = format!(
            "[More came than may wait; of {} earlier messages only the beginning is left]",
            short.len()
        );
        for said in &short {
            lines.push_str("\n- ");
            lines.push_str(&spoken(&said.sender, &beginning(&said.text)));
        }
        blocks.push(lines);
    }
    blocks.join("\n\n")
}

/// One line of at most 140 characters.
fn beginning(text: &str) -> String {
    const LENGTH: usize = 140;
    let mut line = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let gap = usize::from(length > 0);
        let room = LENGTH.saturating_sub(length + gap);
        if gap > 0 && room > 0 {
            line.push(' ');
        }
        let taken = word.chars().count().min(room);
        line.extend(word.chars().take(room));
        length += gap + taken;
        if taken < word.chars().count() {
            line.push('…');
            break;
        }
    }
    line
}

/// A name as it may stand before a message: one line, nothing invisible, no command, at most 64 characters.
pub fn name(shown: &str) -> String {
    let visible = shown
        .chars()
        .filter(|c| c.is_whitespace() || !text::is_deceptive(*c));
    let visible: String = visible.take(256).collect();
    let words: Vec<_> = visible.split_whitespace().collect();
    let line = words.join(" ");
    let named = line.trim_start_matches(['/', ' ']);
    named.chars().take(64).collect()
}

/// Whether a message is meant for the agent or gateway itself rather than for the model.
pub fn is_command(text: &str) -> bool {
    text.trim_start().starts_with('/')
}

/// Whether a message is the word that stops everything.
pub fn is_stop(text: &str) -> bool {
    read(text).is_some_and(|(row, rest)| row.command == Command::Stop && rest.is_empty())
}

/// What follows `/queue`, if a message is that.
pub fn queue(text: &str) -> Option<&str> {
    let (row, rest) = read(text)?;
    (row.command == Command::Queue).then_some(rest)
}

/// How `/stop` is answered where it stopped so many messages.
pub fn stopped(count: usize) -> String {
    match count {
        0 => "Nothing was running.",
        _ => "Stopped.",
    }
    .into()
}

/// What the chat is told of the end of a turn; `None` when nothing should be said.
pub fn reply(class: Class, end: &Outcome, prefix: &str) -> Option<Reply> {
    let (text, reply_to) = match end {
        Outcome::Answered(answer) if answer.silent => return None,
        Outcome::Answered(answer) => (answer.text.as_str(), answer.reply_to.as_str()),
        // Who stopped it knows; what was left out had its place in another turn.
        Outcome::Failed(failed) if [STOPPED, DROPPED].contains(&failed.code.as_str()) => {
            return None;
        }
        Outcome::Failed(failed) => (failure(class, failed), ""),
    };
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let mut text = match prefix {
        "" => text.to_owned(),
        prefix if text.starts_with(prefix) => text.to_owned(),
        prefix => format!("{prefix} {text}"),
    };
    if text.len() > limits::SEND_BYTES {
        let cut = text.floor_char_boundary(limits::SEND_BYTES);
        text.truncate(cut);
        text.push_str(
            "\n\n[The answer was longer than can be sent; the rest is in the session's history.]",
        );
    }
    Some(Reply {
        text,
        reply_to: reply_to.to_owned(),
    })
}

/// The agent words its failures for who asked; the gateway's own ones name inner parts, which are the owner's business.
fn failure(class: Class, failed: &v1::Failed) -> &str {
    let own = ["turn.refused", "turn.error"].contains(&failed.code.as_str());
    match (own && class == Class::Guest) || failed.message.trim().is_empty() {
        true => "Something went wrong, so there is no answer to this message.",
        false => &failed.message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(sender: &str, text: &str, short: bool) -> Said {
        Said {
            sender: sender.into(),
            text: text.into(),
            short,
        }
    }

    #[test]
    fn several_messages_become_one_question() {
        let breath = vec![said("Ann", "one", false), said("Ann", "two", false)];
        assert_eq!(joined(breath, Join::Lines), "Ann: one\ntwo");
        let list = vec![
            said("", &"long  text ".repeat(40), true),
            said("", "one", false),
            said("Bob", "two", false),
        ];
        let text = joined(list, Join::List);
        let (whole, short) = text.split_once("\n\n[More came").unwrap();
        assert_eq!(
            whole,
            "[Messages that came while you were busy, oldest first]\n\n--- Message 1 ---\none\n\n\
             --- Message 2 ---\nBob: two"
        );
        let line = short.lines().last().unwrap();
        assert!(short.contains("of 1 earlier") && line.starts_with("- long text long"));
        assert!((140..=144).contains(&line.chars().count()), "{line}");
    }

    #[test]
    fn a_question_of_many_long_messages_stays_bounded_and_keeps_the_newest() {
        let long = "x".repeat(limits::TEXT_BYTES);
        let all = (0..20).map(|_| said("", &long, false)).collect();
        let text = joined(all, Join::Lines);
        assert!(text.len() < limits::JOINED_BYTES + 10_000);
        assert!(text.contains("of 16 earlier messages"));
    }

    #[test]
    fn a_name_is_one_visible_line_and_a_command_stands_alone() {
        assert_eq!(name(" Ann\n\u{202e}B. "), "Ann B.");
        assert_eq!(name(&"x".repeat(300)).len(), 64);
        assert_eq!(name(" / /new"), "new", "what he says is no command");
        assert_eq!(spoken("Ann", "hi"), "Ann: hi");
        assert_eq!(spoken("", "hi"), "hi");
        assert_eq!(spoken("Ann", "/status"), "/status");
    }

    #[test]
    fn a_chat_is_told_what_is_worth_telling() {
        let answer = |text: &str, silent| {
            Outcome::Answered(v1::Answer {
                text: text.into(),
                silent,
                reply_to: "current".into(),
                ..Default::default()
            })
        };
        let failed = |code: &str, message: &str| {
            Outcome::Failed(v1::Failed {
                code: code.into(),
                message: message.into(),
            })
        };
        let neutral = "Something went wrong, so there is no answer to this message.";
        for (class, end, prefix, told) in [
            (Class::Main, answer("hi", false), "", Some("hi")),
            (Class::Main, answer("hi", false), "[c]", Some("[c] hi")),
            (Class::Main, answer("[c] hi", false), "[c]", Some("[c] hi")),
            (Class::Main, answer("", true), "[c]", None),
            (Class::Main, answer(" \n", false), "[c]", None),
            (Class::Main, failed(STOPPED, "x"), "", None),
            (Class::Guest, failed(DROPPED, "x"), "", None),
            (
                Class::Guest,
                failed("model.auth", "Sorry."),
                "",
                Some("Sorry."),
            ),
            (
                Class::Main,
                failed("turn.error", "a bug"),
                "",
                Some("a bug"),
            ),
            (
                Class::Guest,
                failed("turn.error", "a bug"),
                "",
                Some(neutral),
            ),
            (Class::Main, failed("turn.error", ""), "", Some(neutral)),
        ] {
            let reply = reply(class, &end, prefix);
            assert_eq!(reply.as_ref().map(|r| r.text.as_str()), told, "{end:?}");
        }
        let long = answer(&"é".repeat(limits::SEND_BYTES), false);
        let text = reply(Class::Main, &long, "").unwrap().text;
        assert!(text.len() < limits::SEND_BYTES + 200 && text.contains("longer than can be sent"));
    }

    #[test]
    fn stop_is_a_word_of_its_own() {
        for yes in ["/stop", " /STOP\n", "/stop:"] {
            assert!(is_stop(yes), "{yes:?}");
        }
        for no in ["stop", "/stop now", "/stopp", "", "say /stop"] {
            assert!(!is_stop(no), "{no:?}");
        }
    }
}

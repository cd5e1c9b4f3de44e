//! `mentionPatterns`: texts that count as a mention of the bot. The engine takes time in proportion to the text, whatever
//! the pattern; what it does not know (look-around, references back) or what gets too large is refused and named.

use std::borrow::Cow;

use clawdbot_identity::text::is_deceptive;
use regex::{RegexBuilder, RegexSet, RegexSetBuilder};

use crate::schema::{Agent, GroupChat};

/// Patterns that one agent may have.
const MAX: usize = 64;
/// What one pattern, and all of an agent's together, may be compiled to, bytes.
const ONE: usize = 64 << 10;
const ALL: usize = 256 << 10;
/// A pattern is looked for in so much of a message, bytes.
const TEXT: usize = 16 << 10;

/// What counts as a mention of one agent.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    sources: Vec<String>,
    set: RegexSet,
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.sources == other.sources
    }
}

impl Eq for Patterns {}

/// A pattern that does not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Its place in the list.
    pub index: usize,
    /// What is wrong, one line that continues "the pattern".
    pub why: String,
}

impl Patterns {
    /// What counts as a mention of an agent: its own patterns, even if that is an empty list, else those that all share,
    /// else its name and its emoji. What does not work is left out.
    pub fn of(agent: Option<&Agent>, shared: &GroupChat) -> Self {
        let own = agent.and_then(|agent| agent.group_chat.mention_patterns.as_deref());
        match own.or(shared.mention_patterns.as_deref()) {
            Some(patterns) => Self::compile(patterns).0,
            None => Self::compile(&agent.map(derived).unwrap_or_default()).0,
        }
    }

    /// Reads patterns; those that do not work are left out and named.
    pub fn compile(patterns: &[String]) -> (Self, Vec<Invalid>) {
        let (mut sources, mut invalid) = (Vec::new(), Vec::new());
        for (index, pattern) in patterns.iter().enumerate() {
            if sources.len() == MAX {
                let why = format!("is one more than the {MAX} that an agent may have");
                invalid.push(Invalid { index, why });
                break;
            }
            // Whoever writes "\b" in JSON gets a backspace.
            let source = without_invisible(&pattern.replace('\u{8}', "\\b")).into_owned();
            match read(&source) {
                Ok(()) => sources.push(source),
                Err(why) => invalid.push(Invalid { index, why }),
            }
        }
        loop {
            let set = RegexSetBuilder::new(&sources)
                .case_insensitive(true)
                .size_limit(ALL)
                .dfa_size_limit(ALL)
                .nest_limit(32)
                .build();
            match set {
                Ok(set) => return (Self { sources, set }, invalid),
                Err(_) => invalid.push(Invalid {
                    index: sources.len() - 1,
                    why: "is too large together with those before it".to_owned(),
                }),
            }
            sources.pop();
        }
    }

    /// Whether no text is a mention.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Whether a message mentions the agent.
    pub fn hit(&self, text: &str) -> bool {
        let text = &text[..text.floor_char_boundary(TEXT)];
        !self.is_empty() && self.set.is_match(&without_invisible(text))
    }
}

/// What is wrong with a pattern.
fn read(source: &str) -> Result<(), String> {
    if source.is_empty() {
        return Err("is empty, which would be found in every message".to_owned());
    }
    let read = RegexBuilder::new(source)
        .case_insensitive(true)
        .size_limit(ONE)
        .nest_limit(32)
        .build();
    read.map(drop).map_err(|error| why(&error))
}

/// The patterns that an agent's name and emoji stand for.
fn derived(agent: &Agent) -> Vec<String> {
    let (name, emoji) = (
        agent.identity.name.as_deref(),
        agent.identity.emoji.as_deref(),
    );
    let name = name.map(|name| without_invisible(name).into_owned());
    let words: Vec<_> = { name.iter().flat_map(|name| name.split_whitespace()) }
        .map(regex::escape)
        .collect();
    let bare = name.as_deref().map(str::trim).unwrap_or_default();
    let edge = |c: Option<char>, border| match c {
        Some(c) if is_spaced(c) => border,
        _ => "",
    };
    // An @ is a border too, even behind a letter.
    let head = edge(bare.chars().next(), r"(?:@|\b)");
    let tail = edge(bare.chars().next_back(), r"\b");
    let name = (!words.is_empty()).then(|| format!("{head}{}{tail}", words.join(r"\s+")));
    let emoji = emoji.map(|emoji| regex::escape(without_invisible(emoji).trim()));
    let found = name.into_iter().chain(emoji);
    found.filter(|pattern| !pattern.is_empty()).collect()
}

/// Whether words with this letter stand apart. Those of Thai, Chinese, Japanese and Korean run on.
fn is_spaced(c: char) -> bool {
    let runs_on = matches!(c, '\u{e00}'..='\u{eff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}');
    c.is_alphanumeric() && !runs_on
}

/// Without what nobody sees, so that it cannot hide a mention or make one: direction marks, zero width, joiners, forms
/// of emoji.
fn without_invisible(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| {
        is_deceptive(c) && !matches!(c, '\n' | '\r' | '\t')
            || matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}')
    };
    match text.chars().any(hidden) {
        true => Cow::Owned(text.chars().filter(|c| !hidden(*c)).collect()),
        false => Cow::Borrowed(text),
    }
}

fn why(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "is too large; repeat less in it".to_owned(),
        error => {
            // The error shows the pattern with marks below it, and what is wrong in the last line.
            let text = error.to_string();
            let last = text.lines().next_back().unwrap_or_default();
            let last = last.trim_start_matches("error: ");
            format!("is not one that is known here: {last}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::parse;

    fn patterns(patterns: &[&str]) -> (Patterns, Vec<Invalid>) {
        Patterns::compile(
            &patterns
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    /// The patterns of the first agent of a file.
    fn of(file: &str) -> Patterns {
        let config = parse("test.json", file.as_bytes()).unwrap().config;
        Patterns::of(config.agents.list.first(), &config.messages.group_chat)
    }

    #[test]
    fn a_name_is_found_as_a_word_with_or_without_at_whatever_is_between_its_parts() {
        let named = |name: &str, emoji: &str| {
            of(&format!(
                "{{agents: {{list: [{{id: 'a', identity: {{name: '{name}', emoji: '{emoji}'}}}}]}}}}"
            ))
        };
        for (name, emoji, text, expected) in [
            ("Clawd", "", "hey clawd, are you there", true),
            ("Clawd", "", "hey @CLAWD!", true),
            ("Clawd", "", "clawdius is another one", false),
            ("Clawd", "", "mail@clawd", true),
            ("Big Claw", "", "hello big   claw", true),
            ("Big Claw", "", "hello big\nclaw", true),
            ("Big Claw", "", "hello bigclaw", false),
            ("Zoë", "", "frag zoë mal", true),
            ("Zoë", "", "zoëlogie", false),
            ("C++", "", "ask c++ for it", true),
            ("C++", "", "ask c for it", false),
            ("小爪", "", "请小爪帮忙", true),
            ("", "🦞", "🦞 what now", true),
            ("", "🦞", "what now", false),
            ("Clawd", "🦞", "🦞", true),
            // Zero width, direction and forms of emoji neither hide a mention nor make one.
            ("Clawd", "", "cla\u{200b}wd", true),
            ("Clawd", "", "\u{202e}c\u{2066}la\u{feff}wd\u{202c}", true),
            ("Clawd", "", "clawd\u{200d}ius", false),
            ("", "❤️", "❤ you", true),
            ("", "❤", "❤\u{fe0f} you", true),
            ("", "👩‍💻", "👩‍💻!", true),
            ("", "", "anything", false),
            ("\u{200b}", "", "anything", false),
        ] {
            assert_eq!(
                named(name, emoji).hit(text),
                expected,
                "{name} {emoji} {text:?}"
            );
        }
    }

    #[test]
    fn an_agents_own_list_counts_before_the_shared_one_and_that_before_the_name() {
        let file = |own: &str, shared: &str| {
            of(&format!(
                "{{agents: {{list: [{{id: 'a', identity: {{name: 'Clawd'}}, groupChat: {{{own}}}}}]}}, messages: {{groupChat: {{{shared}}}}}}}"
            ))
        };
        let (own, shared) = ("mentionPatterns: ['own']", "mentionPatterns: ['shared']");
        for (patterns, hits) in [
            (file(own, shared), "own"),
            (file("", shared), "shared"),
            (file("", ""), "clawd"),
            (file("mentionPatterns: []", shared), ""),
            (file("", "mentionPatterns: []"), ""),
        ] {
            for text in ["own", "shared", "clawd"] {
                assert_eq!(patterns.hit(text), text == hits, "{text} {hits}");
            }
            assert_eq!(patterns.is_empty(), hits.is_empty());
        }
    }

    #[test]
    fn a_backspace_is_a_border_of_a_word() {
        let (written, invalid) = patterns(&["\u{8}bot\u{8}"]);
        assert!(invalid.is_empty());
        assert!(written.hit("the bot!") && !written.hit("robots"));
        assert_eq!(written, patterns(&["\\bbot\\b"]).0);
        assert_ne!(written, patterns(&["bot"]).0);
    }

    #[test]
    fn what_does_not_work_is_named_and_the_rest_works() {
        let (good, invalid) = patterns(&[
            "(",
            "bot",
            "(?=x)y",
            "(a)\\1",
            "",
            "(a{1,100}){1,100}",
            "x{99999}",
        ]);
        let found: Vec<_> = invalid
            .iter()
            .map(|one| (one.index, one.why.as_str()))
            .collect();
        let wanted = [
            (0, "unclosed"),
            (2, "look"),
            (3, "backreferences"),
            (4, "empty"),
            (5, "large"),
            (6, "large"),
        ];
        assert_eq!(found.len(), wanted.len(), "{found:?}");
        for ((index, why), (place, word)) in found.into_iter().zip(wanted) {
            assert!(
                index == place && why.contains(word) && !why.contains('\n'),
                "{index} {why}"
            );
        }
        assert!(good.hit("a BOT") && !good.hit("nothing"));
        let many: Vec<_> = (0..MAX + 2).map(|n| format!("bot{n}")).collect();
        let (all, invalid) = Patterns::compile(&many);
        assert_eq!(invalid.len(), 1);
        assert!(all.hit("bot63") && patterns(&["\\w+\\d"]).1.is_empty());
        let large: Vec<_> = (0..40).map(|n| format!("\\w{n}")).collect();
        let (_, invalid) = Patterns::compile(&large);
        assert!(!invalid.is_empty() && invalid.iter().all(|one| one.why.contains("together")));
    }

    #[test]
    fn patterns_that_would_never_end_elsewhere_end() {
        let text = "a".repeat(32 << 10);
        for pattern in [
            "(a+)+$b",
            "(a|a)*b",
            "(.*a){12}b",
            "(a?){30}a{30}b",
            "^(([a-z])+.)+[A-Z]([a-z])+b$",
        ] {
            let (found, invalid) = patterns(&[pattern]);
            assert!(
                invalid.is_empty() && !found.hit(&text),
                "{pattern} {invalid:?}"
            );
        }
        // The end of a very long message is not looked at.
        let far = format!("{}bot", " ".repeat(TEXT));
        assert!(!patterns(&["bot"]).0.hit(&far) && patterns(&["bot"]).0.hit(&far[8..]));
    }
}

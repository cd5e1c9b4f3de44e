//! What happens to messages that come while a turn runs: one rule for each door, read from the configuration.
//!
//! Operator, web and API messages always follow one another (`followup`, at once, nothing dropped): each has a stream
//! of its own that waits for its own answer. Channels have the configuration's rule.

use clawdbot_proto::v1;

use crate::limits;

/// What a message does when a turn of its conversation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All that wait become one turn.
    Collect,
    /// Each gets a turn of its own, in order.
    Followup,
    /// It goes into the running turn, and has a turn of its own if that did not read it.
    Steer,
    /// It goes into the running turn and has a turn of its own as well.
    SteerBacklog,
    /// It ends the running turn; then all that wait become one turn.
    Interrupt,
}

impl Mode {
    /// Whether all that wait in a conversation are taken together.
    pub fn joins(self) -> bool {
        matches!(self, Self::Collect | Self::Interrupt)
    }

    /// Whether a message is put into the running turn.
    pub fn steers(self) -> bool {
        matches!(self, Self::Steer | Self::SteerBacklog)
    }
}

/// What goes when more wait than may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest becomes one line of the next turn.
    Summarize,
    /// The oldest.
    Old,
    /// The newest.
    New,
}

/// The rule of one door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What a message does.
    pub mode: Mode,
    /// Quiet time before what waited behind a turn is taken, milliseconds.
    pub debounce_ms: u64,
    /// Quiet time in which messages of one sender become one, milliseconds; zero: they do not.
    pub inbound_debounce_ms: u64,
    /// Messages that may wait in one session, 1 to [`limits::WAITING_IN_SESSION`].
    pub cap: usize,
    /// What goes when there are more.
    pub drop: Overflow,
}

const MODES: &[(&str, Mode)] = &[
    ("collect", Mode::Collect),
    ("followup", Mode::Followup),
    ("steer", Mode::Steer),
    ("steer-backlog", Mode::SteerBacklog),
    ("interrupt", Mode::Interrupt),
];
const DROPS: &[(&str, Overflow)] = &[
    ("summarize", Overflow::Summarize),
    ("old", Overflow::Old),
    ("new", Overflow::New),
];

fn named<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|row| row.0 == name).map(|row| row.1)
}

impl Rule {
    /// One after another, at once.
    pub const FOLLOWUP: Self = Self {
        mode: Mode::Followup,
        debounce_ms: 0,
        inbound_debounce_ms: 0,
        cap: limits::WAITING_IN_SESSION as usize,
        drop: Overflow::New,
    };

    /// What holds for channels as long as the configuration says nothing.
    pub const CHANNEL: Self = Self {
        mode: Mode::Collect,
        debounce_ms: 1000,
        inbound_debounce_ms: 0,
        cap: 20,
        drop: Overflow::Summarize,
    };
}

impl From<&v1::QueueRule> for Rule {
    // Policy has validated the words; one that is not known here leaves the default in force.
    fn from(rule: &v1::QueueRule) -> Self {
        let most = limits::WAITING_IN_SESSION as usize;
        Self {
            mode: named(MODES, &rule.mode).unwrap_or(Self::CHANNEL.mode),
            debounce_ms: rule.debounce_ms.into(),
            inbound_debounce_ms: rule.inbound_debounce_ms.into(),
            cap: (rule.cap as usize).clamp(1, most),
            drop: named(DROPS, &rule.drop).unwrap_or(Self::CHANNEL.drop),
        }
    }
}

/// What the configuration says about channels.
#[derive(Debug, Clone, Default)]
pub struct Manners {
    rules: Vec<v1::QueueRule>,
    /// Put before every answer that goes to a channel.
    pub prefix: String,
    /// Messages are not looked at for commands.
    pub commands_off: bool,
}

impl Manners {
    /// As the gateway's slice says.
    pub fn of(slice: &v1::GatewaySlice) -> Self {
        Self {
            rules: slice.queue.clone(),
            prefix: slice.response_prefix.clone(),
            commands_off: slice.commands_off,
        }
    }

    /// The rule of a channel, for example `telegram`: that of the first row that fits.
    pub fn rule(&self, channel: &str) -> Rule {
        let row = self
            .rules
            .iter()
            .find(|row| row.channel.is_empty() || row.channel == channel);
        row.map_or(Rule::CHANNEL, Rule::from)
    }
}

/// What `/queue` changed for one session; the rest is the configuration's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    mode: Option<Mode>,
    debounce_ms: Option<u64>,
    cap: Option<usize>,
    drop: Option<Overflow>,
}

/// Longest quiet time, milliseconds.
const MAX_DEBOUNCE_MS: u64 = 60_000;
const UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1000), ("m", 60_000), ("", 1)];

impl Wish {
    /// Reads the words after `/queue`; `default` alone takes everything back.
    ///
    /// # Errors
    /// The word that is not understood.
    pub fn parse(text: &str) -> Result<Self, &str> {
        let mut wish = Self::default();
        if ["default", "reset"].contains(&text) {
            return Ok(wish);
        }
        for word in text.split_whitespace() {
            let known = match word.split_once(':') {
                None => named(MODES, word).map(|mode| wish.mode = Some(mode)),
                Some(("debounce", time)) => {
                    debounce(time).map(|time| wish.debounce_ms = Some(time))
                }
                Some(("cap", cap)) => { cap.parse().ok() }
                    .filter(|cap| (1..=limits::WAITING_IN_SESSION as usize).contains(cap))
                    .map(|cap| wish.cap = Some(cap)),
                Some(("drop", drop)) => named(DROPS, drop).map(|drop| wish.drop = Some(drop)),
                Some(_) => None,
            };
            known.ok_or(word)?;
        }
        Ok(wish)
    }

    /// This wish, and for what it leaves open an older one.
    #[must_use]
    pub fn or(self, older: Self) -> Self {
        Self {
            mode: self.mode.or(older.mode),
            debounce_ms: self.debounce_ms.or(older.debounce_ms),
            cap: self.cap.or(older.cap),
            drop: self.drop.or(older.drop),
        }
    }

    /// The rule with this wish.
    pub fn over(self, rule: Rule) -> Rule {
        Rule {
            mode: self.mode.unwrap_or(rule.mode),
            debounce_ms: self.debounce_ms.unwrap_or(rule.debounce_ms),
            cap: self.cap.unwrap_or(rule.cap),
            drop: self.drop.unwrap_or(rule.drop),
            inbound_debounce_ms: rule.inbound_debounce_ms,
        }
    }

    /// As it would be typed.
    pub fn words(self) -> String {
        let word = |name: &str, value: Option<String>| value.map(|value| format!("{name}{value}"));
        let words = [
            word("", self.mode.map(|mode| name_of(MODES, mode).to_owned())),
            word(
                "debounce:",
                self.debounce_ms.map(|time| format!("{time}ms")),
            ),
            word("cap:", self.cap.map(|cap| cap.to_string())),
            word(
                "drop:",
                self.drop.map(|drop| name_of(DROPS, drop).to_owned()),
            ),
        ];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

impl From<Rule> for Wish {
    fn from(rule: Rule) -> Self {
        Self {
            mode: Some(rule.mode),
            debounce_ms: Some(rule.debounce_ms),
            cap: Some(rule.cap),
            drop: Some(rule.drop),
        }
    }
}

fn name_of<T: Copy + PartialEq>(table: &[(&'static str, T)], value: T) -> &'static str {
    let mut rows = table.iter();
    rows.find(|row| row.1 == value).map_or("", |row| row.0)
}

fn debounce(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = UNITS.iter().find(|row| row.0 == unit)?.1;
    let time = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (time <= MAX_DEBOUNCE_MS).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_row_that_fits_is_the_rule() {
        let row = |channel: &str, mode: &str, cap| v1::QueueRule {
            channel: channel.into(),
            mode: mode.into(),
            debounce_ms: 5,
            cap,
            drop: "old".into(),
            inbound_debounce_ms: 7,
        };
        let manners = Manners {
            rules: vec![row("discord", "interrupt", 0), row("", "steer", 1000)],
            ..Manners::default()
        };
        assert_eq!(manners.rule("discord").mode, Mode::Interrupt);
        assert_eq!(manners.rule("discord").cap, 1);
        let expected = Rule {
            mode: Mode::Steer,
            debounce_ms: 5,
            inbound_debounce_ms: 7,
            cap: 100,
            drop: Overflow::Old,
        };
        assert_eq!(manners.rule("telegram"), expected);
        assert_eq!(Manners::default().rule("telegram"), Rule::CHANNEL);
    }

    #[test]
    fn a_wish_changes_what_it_names_and_can_be_typed_as_it_is_shown() {
        let base = Rule::CHANNEL;
        let wish = Wish::parse("steer debounce:2s cap:25 drop:old").unwrap();
        let expected = Rule {
            mode: Mode::Steer,
            debounce_ms: 2000,
            cap: 25,
            drop: Overflow::Old,
            ..base
        };
        assert_eq!(wish.over(base), expected);
        assert_eq!(wish.words(), "steer debounce:2000ms cap:25 drop:old");
        for text in [
            "interrupt",
            "debounce:500ms",
            "debounce:1m",
            "debounce:7",
            "cap:1",
            "drop:new",
        ] {
            let one = Wish::parse(text).unwrap();
            assert_eq!(Wish::parse(&one.words()), Ok(one), "{text}");
            assert_ne!(one.over(base), base, "{text}");
        }
        assert_eq!(
            Wish::parse("cap:5").unwrap().or(wish).over(base).mode,
            Mode::Steer
        );
        for all in ["default", "reset"] {
            assert_eq!(Wish::parse(all).unwrap().over(base), base);
        }
        assert_eq!(Wish::from(base).over(expected), base);
        for (text, wrong) in [
            ("steer fast", "fast"),
            ("cap:0", "cap:0"),
            ("cap:101", "cap:101"),
            ("debounce:2h", "debounce:2h"),
            ("debounce:61s", "debounce:61s"),
            ("drop:all", "drop:all"),
            ("steer default", "default"),
        ] {
            assert_eq!(Wish::parse(text), Err(wrong), "{text}");
        }
    }

    #[test]
    fn every_word_of_the_configuration_is_known() {
        let words = ["collect", "followup", "steer", "steer-backlog", "interrupt"];
        assert!(words.iter().all(|word| named(MODES, word).is_some()));
        let words = ["summarize", "old", "new"];
        assert!(words.iter().all(|word| named(DROPS, word).is_some()));
        assert!(named(MODES, "queue").is_none());
    }
}

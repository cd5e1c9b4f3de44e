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
}

impl Manners {
    /// As the gateway's slice says.
    pub fn of(slice: &v1::GatewaySlice) -> Self {
        Self {
            rules: slice.queue.clone(),
            prefix: slice.response_prefix.clone(),
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
            prefix: String::new(),
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
    fn every_word_of_the_configuration_is_known() {
        let words = ["collect", "followup", "steer", "steer-backlog", "interrupt"];
        assert!(words.iter().all(|word| named(MODES, word).is_some()));
        let words = ["summarize", "old", "new"];
        assert!(words.iter().all(|word| named(DROPS, word).is_some()));
        assert!(named(MODES, "queue").is_none());
    }
}

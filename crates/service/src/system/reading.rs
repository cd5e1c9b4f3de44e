//! The log of system mode as journalctl reads it. Which entries are ours is told by fields that the journal writes itself,
//! never by what a process says of itself. The arguments are fixed: whoever asks chooses one of two ways to read, and when
//! it begins.

use std::collections::BTreeSet;

use super::{LISTENER_UNIT, TARGET, per_connection, roles, service_unit, slice_of};

/// Entries that following begins with.
pub const OVERLAP: usize = 1000;
/// The longest request, bytes, its break included.
pub const REQUEST_MAX: usize = 32;
/// The line that entries come after, where a request is accepted.
pub const ACCEPTED: &str = "ok";

/// What journalctl's own words among entries begin with.
pub const ASIDE: &str = "-- ";
/// What the last line of a whole reading back begins with: the place that it came to. Where nothing was ever said there is
/// none.
pub const WHOLE: &str = "-- cursor: ";

/// What an entry is read for.
const FIELDS: &str =
    "MESSAGE,PRIORITY,CLAWDBOT_LEVEL,CLAWDBOT_TRACE,CLAWDBOT_FIELDS,UNIT,_SYSTEMD_UNIT,_PID";

/// A way to read the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// From the newest entry back.
    Back {
        /// To this time, seconds since 1970.
        since: Option<u64>,
    },
    /// The last [`OVERLAP`] entries, then new ones as they come. Not from a given entry on: with a match beside it
    /// systemd 252 loses the entry after it.
    Follow,
}

impl Reading {
    /// Takes a request without its break.
    #[must_use]
    pub fn parse(request: &str) -> Option<Self> {
        match request.split_once(' ') {
            None if request == "back" => Some(Self::Back { since: None }),
            None if request == "follow" => Some(Self::Follow),
            Some(("back", since)) if since.bytes().all(|byte| byte.is_ascii_digit()) => {
                let since = Some(since.parse().ok()?);
                Some(Self::Back { since })
            }
            _ => None,
        }
    }

    /// The request for it, with its break.
    #[must_use]
    pub fn request(self) -> String {
        match self {
            Self::Back { since: None } => "back\n".to_owned(),
            Self::Back { since: Some(since) } => format!("back {since}\n"),
            Self::Follow => "follow\n".to_owned(),
        }
    }

    /// journalctl's arguments: one JSON object a line for each entry of ours.
    #[must_use]
    pub fn arguments(self) -> Vec<String> {
        let mut arguments = ["--system", "--no-pager", "--all", "--output=json"]
            .map(str::to_owned)
            .to_vec();
        arguments.push(format!("--output-fields={FIELDS}"));
        // By name, since a pattern means only what the journal has when it is asked; then whatever else is ours.
        let services = roles().iter().map(service_unit).collect::<Vec<_>>();
        let others = [LISTENER_UNIT, TARGET, "clawdbot-*"].map(str::to_owned);
        let units = services.into_iter().chain(others);
        arguments.extend(units.map(|unit| format!("--unit={unit}")));
        match self {
            Self::Back { since } => {
                arguments.push("--reverse".to_owned());
                arguments.push("--show-cursor".to_owned());
                arguments.extend(since.map(|since| format!("--since=@{since}")));
            }
            Self::Follow => {
                arguments.push("--follow".to_owned());
                arguments.push(format!("--lines={OVERLAP}"));
            }
        }
        arguments.extend(writers());
        arguments
    }
}

/// Who wrote an entry about a unit of ours: root, the service manager among it, or a process of ours. `--unit` alone
/// believes whoever reports a crash of a unit (systemd 257).
fn writers() -> Vec<String> {
    let (roles, each) = (roles(), per_connection());
    let all = roles.iter().chain(each.iter().map(|(server, _)| server));
    let slices: BTreeSet<String> = all.map(slice_of).collect();
    let slices = slices.iter().map(|slice| format!("_SYSTEMD_SLICE={slice}"));
    // For what is said without a group, such as by a process that was gone before it was heard.
    let units = roles.iter().map(service_unit);
    let units = units.map(|unit| format!("_SYSTEMD_UNIT={unit}"));
    let or = || "+".to_owned();
    let root = ["_UID=0".to_owned(), or()].into_iter();
    root.chain(slices).chain([or()]).chain(units).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Reading; 4] = [
        Reading::Back { since: None },
        Reading::Back { since: Some(0) },
        Reading::Back {
            since: Some(u64::MAX),
        },
        Reading::Follow,
    ];

    #[test]
    fn a_request_is_read_as_it_was_meant_and_is_short() {
        for reading in ALL {
            let request = reading.request();
            assert!(request.len() <= REQUEST_MAX, "{request}");
            assert_eq!(
                Reading::parse(request.strip_suffix('\n').unwrap()),
                Some(reading)
            );
        }
    }

    #[test]
    fn whatever_else_is_asked_for_is_refused() {
        for request in [
            "",
            " ",
            "Back",
            "back ",
            "back  1",
            "back 1 ",
            "back -1",
            "back +1",
            "back 1.5",
            "back yesterday",
            "back 18446744073709551616",
            "back 1\nfollow",
            "back 1 --unit=ssh.service",
            "back --unit=ssh.service",
            "follow 1",
            "follow --unit=ssh",
            "--unit=ssh.service",
            "follow\0",
        ] {
            assert_eq!(Reading::parse(request), None, "{request:?}");
        }
    }

    #[test]
    fn every_reading_is_of_our_units_alone() {
        for reading in ALL {
            let arguments = reading.arguments();
            let units: Vec<&str> = arguments
                .iter()
                .filter_map(|argument| argument.strip_prefix("--unit="))
                .collect();
            assert!(units.len() > 10, "{units:?}");
            assert!(units.iter().all(|unit| unit.starts_with("clawdbot")));
            for argument in &arguments {
                // Only the journal writes a field that begins like this.
                let trusted =
                    argument == "+" || argument == "_UID=0" || argument.starts_with("_SYSTEMD_");
                assert!(argument.starts_with("--") || trusted, "{argument}");
                for wide in ["--merge", "--directory", "--file", "--root", "--image"] {
                    assert!(!argument.starts_with(wide), "{argument}");
                }
            }
        }
    }
}

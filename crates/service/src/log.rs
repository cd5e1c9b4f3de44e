//! Log records: to the journal where a service manager started the process, else one JSON object a line on the error stream,
//! whose other end is the supervisor or whatever the manager was told. Message texts and secrets are never fields.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::SystemTime;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::journal::Journal;

static LEVEL: AtomicU8 = AtomicU8::new(INFO);
static ROLE: OnceLock<String> = OnceLock::new();
static JOURNAL: OnceLock<Journal> = OnceLock::new();
static LAST_WORDS: AtomicBool = AtomicBool::new(false);

const INFO: u8 = 3;
pub(crate) const LEVELS: [&str; 6] = ["silent", "error", "warn", "info", "debug", "trace"];

/// The target of records: events that are written whatever the level, even at "silent". For what
/// must be accounted for afterwards, such as `info!(target: log::RECORD, ...)` for a connection.
pub const RECORD: &str = "clawdbot::record";

/// Sends this process's log lines to its error stream, under the name of `role`. Later calls change nothing.
pub fn start(role: &str) {
    if ROLE.set(role.to_owned()).is_ok() {
        // Fails only if another subscriber was set, which then has the lines.
        let _set = tracing::subscriber::set_global_default(Lines);
    }
}

/// Sends records to the journal from now on. Later calls change nothing.
pub(crate) fn to_journal(journal: Journal) {
    let _first = JOURNAL.set(journal);
}

/// What is said from now on goes to the error stream. The journal looks up whose a record is when it reads it, and would not
/// find a process that has ended: its last words would belong to no unit.
pub(crate) fn last_words() {
    LAST_WORDS.store(true, Ordering::Relaxed);
}

/// Shows lines of `level` and above, and records: silent, error, warn, info, debug or trace. Other words change nothing.
pub fn set_level(level: &str) {
    if let Some(number) = LEVELS.iter().position(|known| *known == level) {
        LEVEL.store(u8::try_from(number).unwrap_or(INFO), Ordering::Relaxed);
    }
}

/// Now, as in a log line: `2026-01-31T12:00:00.000Z`.
#[must_use]
pub fn timestamp(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

struct Lines;

fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// Lines come from this project's own code; what its libraries say at length is not for the log.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("clawdbot")
}

fn is_shown(metadata: &Metadata<'_>, level: u8) -> bool {
    metadata.target() == RECORD || (is_ours(metadata) && number(*metadata.level()) <= level)
}

impl Subscriber for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_event() && is_ours(metadata) {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_shown(metadata, LEVEL.load(Ordering::Relaxed))
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let level = LEVELS[usize::from(number(*event.metadata().level()))];
        let role = ROLE.get().map_or("", String::as_str);
        let journal = JOURNAL.get();
        let fields = match journal.filter(|_| !LAST_WORDS.load(Ordering::Relaxed)) {
            None => fields.0,
            Some(journal) => match journal.send(role, level, fields.0.clone()) {
                Ok(()) => return,
                Err(error) => {
                    let mut fields = fields.0;
                    fields.insert("journal".into(), error.to_string().into());
                    fields
                }
            },
        };
        let line = render(SystemTime::now(), role, level, fields);
        // A log that cannot be written has nowhere to say so.
        let _lost = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// One line: time, role, level and message first, then the fields by name.
#[must_use]
pub fn render(at: SystemTime, role: &str, level: &str, mut fields: Map<String, Value>) -> String {
    let message = fields.remove("message").unwrap_or_default();
    let mut line = String::with_capacity(160);
    // Writing to a string cannot fail.
    let _never = write!(
        line,
        "{{\"time\":\"{}\",\"role\":{},\"level\":\"{level}\",\"message\":{message}",
        timestamp(at),
        Value::from(role)
    );
    for (name, value) in &fields {
        let _never = write!(line, ",{}:{value}", Value::from(name.as_str()));
    }
    line.push_str("}\n");
    line
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0
            .insert(field.name().into(), Value::from(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), Value::from(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0
            .insert(field.name().into(), Value::from(value.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// Whether the event of `say` is shown at each of the levels, from "silent" to "trace".
    fn shown(say: fn()) -> [bool; 6] {
        struct Rule(u8, std::sync::Arc<AtomicU8>);
        impl Subscriber for Rule {
            fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
                // Asked anew every time: several subscribers see one callsite here.
                match is_ours(metadata) {
                    true => Interest::sometimes(),
                    false => Interest::never(),
                }
            }
            fn enabled(&self, metadata: &Metadata<'_>) -> bool {
                is_shown(metadata, self.0)
            }
            fn new_span(&self, _: &Attributes<'_>) -> Id {
                Id::from_u64(1)
            }
            fn record(&self, _: &Id, _: &Record<'_>) {}
            fn record_follows_from(&self, _: &Id, _: &Id) {}
            fn event(&self, _: &Event<'_>) {
                self.1.fetch_add(1, Ordering::Relaxed);
            }
            fn enter(&self, _: &Id) {}
            fn exit(&self, _: &Id) {}
        }
        [0, 1, 2, 3, 4, 5].map(|level| {
            let seen = std::sync::Arc::new(AtomicU8::new(0));
            let rule = Rule(level, std::sync::Arc::clone(&seen));
            tracing::subscriber::with_default(rule, say);
            seen.load(Ordering::Relaxed) == 1
        })
    }

    #[test]
    fn a_record_is_written_at_every_level_and_other_lines_at_their_own() {
        assert_eq!(shown(|| tracing::info!(target: RECORD, "dial")), [true; 6]);
        assert_eq!(
            shown(|| tracing::info!("dial")),
            [false, false, false, true, true, true]
        );
        assert_eq!(
            shown(|| tracing::error!("dial")),
            [false, true, true, true, true, true]
        );
        // A library does not become ours by a similar name.
        let others = || tracing::info!(target: "hyper::clawdbot::record", "dial");
        assert_eq!(shown(others), [false; 6]);
    }

    #[test]
    fn a_line_is_one_json_object_with_its_fields_whatever_they_hold() {
        let mut fields = Map::new();
        fields.insert("message".into(), "started".into());
        fields.insert("path".into(), "a\n\"b\"\u{1b}[31m".into());
        let line = render(
            UNIX_EPOCH + Duration::from_millis(1),
            "gateway",
            "info",
            fields,
        );
        assert_eq!(line.matches('\n').count(), 1);
        let parsed: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["time"], "1970-01-01T00:00:00.001Z");
        assert_eq!(parsed["message"], "started");
        assert_eq!(parsed["path"], "a\n\"b\"\u{1b}[31m");
    }
}

//! Log records for the system's journal, one datagram each in its native protocol (systemd's "Native Journal Protocol"), so
//! that role, level and fields can be searched for. The socket is connected before the filter closes `socket`. What does not
//! arrive goes to the error stream, whose other end is the journal as well.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Says where it listens instead.
const VARIABLE: &str = "CLAWDBOT_JOURNAL";
/// Longest message, bytes.
const MAX_MESSAGE: usize = 16 << 10;
/// Longest text among the other fields, bytes.
const MAX_TEXT: usize = 4 << 10;
/// Bytes of all other fields together; far below what a datagram may have.
const MAX_FIELDS: usize = 32 << 10;
/// Stands at the end of a text that was cut.
const CUT: &str = " [truncated]";
/// The name of the field that says that something was cut or left out.
const TRUNCATED: &str = "truncated";
/// The field that follows a message through the processes.
const TRACE: &str = "trace";

/// A connection to the journal.
pub(crate) struct Journal(UnixDatagram);

/// Where this process's journal listens. `None` where the error stream's other end is not the journal, which is then where
/// whoever started the process wants the lines. To be asked before the environment is wiped.
pub(crate) fn address() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        return Some(path.into());
    }
    let named = std::env::var("JOURNAL_STREAM").ok()?;
    let shown = rustix::fs::fstat(std::io::stderr()).ok()?;
    // Device and inode: the variable is inherited further than the stream.
    let is_it = named == format!("{}:{}", shown.st_dev, shown.st_ino);
    is_it.then(|| SOCKET.into())
}

impl Journal {
    /// # Errors
    /// The system's answer; there is no journal then.
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        // A journal that takes nothing holds nobody up; the error stream gets the line.
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Sends one record.
    ///
    /// # Errors
    /// When it was not taken, as a whole.
    pub(crate) fn send(
        &self,
        role: &str,
        level: &str,
        fields: Map<String, Value>,
    ) -> io::Result<()> {
        self.0.send(&datagram(role, level, fields)).map(drop)
    }
}

/// The record's fields in the journal's protocol.
fn datagram(role: &str, level: &str, mut fields: Map<String, Value>) -> Vec<u8> {
    let mut truncated = false;
    let message = text(fields.remove("message").unwrap_or_default());
    let message = cut(message, MAX_MESSAGE, &mut truncated);
    let trace = fields
        .remove(TRACE)
        .map(text)
        .filter(|trace| !trace.is_empty());
    let fields = bounded(fields, &mut truncated);

    let mut out = Vec::with_capacity(256 + message.len() + fields.len());
    field(&mut out, "MESSAGE", &message);
    field(&mut out, "PRIORITY", priority(level));
    field(&mut out, "SYSLOG_IDENTIFIER", &format!("clawdbot-{role}"));
    field(&mut out, "CLAWDBOT_ROLE", role);
    field(&mut out, "CLAWDBOT_LEVEL", level);
    if let Some(trace) = trace {
        field(
            &mut out,
            "CLAWDBOT_TRACE",
            &cut(trace, MAX_TEXT, &mut truncated),
        );
    }
    if !fields.is_empty() {
        field(
            &mut out,
            "CLAWDBOT_FIELDS",
            &Value::from(fields).to_string(),
        );
    }
    if truncated {
        field(&mut out, "CLAWDBOT_TRUNCATED", "1");
    }
    out
}

/// One field: `NAME=value`, or, where the value has line ends, the name, its length and the value.
fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

/// The level as syslog's number.
fn priority(level: &str) -> &'static str {
    match level {
        "error" => "3",
        "warn" => "4",
        "info" => "6",
        _ => "7",
    }
}

/// What fits of the other fields; what was cut or left out is said in a field of its own.
fn bounded(fields: Map<String, Value>, truncated: &mut bool) -> Map<String, Value> {
    let (mut kept, mut room, mut less) = (Map::new(), MAX_FIELDS, false);
    for (name, value) in fields {
        let value = match value {
            Value::String(text) => Value::from(cut(text, MAX_TEXT, &mut less)),
            other => other,
        };
        let size = name.len() + value.to_string().len();
        match room.checked_sub(size) {
            Some(left) => {
                room = left;
                kept.insert(name, value);
            }
            None => less = true,
        }
    }
    if less {
        kept.insert(TRUNCATED.into(), true.into());
        *truncated = true;
    }
    kept
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn cut(mut text: String, most: usize, truncated: &mut bool) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most - CUT.len()));
        text.push_str(CUT);
        *truncated = true;
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The fields of a datagram, read as the journal reads them.
    fn parse(mut rest: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
            let (line, behind) = (&rest[..end], &rest[end + 1..]);
            let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            match line.iter().position(|byte| *byte == b'=') {
                Some(at) => {
                    fields.push((utf8(&line[..at]), utf8(&line[at + 1..])));
                    rest = behind;
                }
                None => {
                    let (length, value) = behind.split_at(8);
                    let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
                    fields.push((utf8(line), utf8(&value[..length])));
                    assert_eq!(value[length], b'\n');
                    rest = &value[length + 1..];
                }
            }
        }
        let fits = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        assert!(fields.iter().all(|(name, _)| name.chars().all(fits)));
        fields
    }

    fn sent(level: &str, fields: &Value) -> Vec<(String, String)> {
        parse(&datagram(
            "gateway",
            level,
            fields.as_object().unwrap().clone(),
        ))
    }

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        fields.iter().map(owned).collect()
    }

    #[test]
    fn a_record_has_the_fields_that_are_searched_for() {
        let record =
            json!({ "message": "a turn ended", "trace": "t-1", "tokens": 7, "bad=name\n": "x" });
        assert_eq!(
            sent("warn", &record),
            pairs(&[
                ("MESSAGE", "a turn ended"),
                ("PRIORITY", "4"),
                ("SYSLOG_IDENTIFIER", "clawdbot-gateway"),
                ("CLAWDBOT_ROLE", "gateway"),
                ("CLAWDBOT_LEVEL", "warn"),
                ("CLAWDBOT_TRACE", "t-1"),
                ("CLAWDBOT_FIELDS", r#"{"bad=name\n":"x","tokens":7}"#),
            ])
        );
        let bare = sent("error", &json!({ "message": "x", "trace": "" }));
        assert_eq!(bare.len(), 5, "{bare:?}");
        for (level, priority) in [
            ("error", "3"),
            ("info", "6"),
            ("debug", "7"),
            ("trace", "7"),
        ] {
            let fields = sent(level, &json!({ "message": "x" }));
            assert!(fields.contains(&("PRIORITY".into(), priority.into())));
        }
    }

    #[test]
    fn line_ends_make_no_field_and_no_second_record() {
        let text = "first\nMESSAGE=second\n\nPRIORITY=0\n";
        let fields = sent("info", &json!({ "message": text, "trace": text }));
        assert_eq!(fields[0], ("MESSAGE".into(), text.into()));
        assert_eq!(fields[5], ("CLAWDBOT_TRACE".into(), text.into()));
        assert_eq!(fields.len(), 6);
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let said = |fields: &[(String, String)], name: &str| {
            let found = fields.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let fits = sent("info", &json!({ "message": "x".repeat(MAX_MESSAGE) }));
        assert_eq!(said(&fits, "CLAWDBOT_TRUNCATED"), "");
        assert_eq!(said(&fits, "MESSAGE").len(), MAX_MESSAGE);

        let long = sent("info", &json!({ "message": "ä".repeat(MAX_MESSAGE) }));
        assert_eq!(said(&long, "CLAWDBOT_TRUNCATED"), "1");
        let message = said(&long, "MESSAGE");
        assert!(message.ends_with("ä [truncated]") && message.len() <= MAX_MESSAGE);

        let mut many = Map::new();
        many.insert("message".into(), "x".into());
        for number in 0..100 {
            many.insert(
                format!("field{number}"),
                "\u{1}".repeat(2 * MAX_TEXT).into(),
            );
        }
        let many = sent("info", &Value::from(many));
        assert_eq!(said(&many, "CLAWDBOT_TRUNCATED"), "1");
        let fields = said(&many, "CLAWDBOT_FIELDS");
        let object: Value = serde_json::from_str(&fields).unwrap();
        assert_eq!(object["truncated"], true);
        assert!(object.as_object().unwrap().len() > 1);
        assert!(fields.len() < 2 * MAX_FIELDS);
    }

    #[test]
    fn a_record_arrives_as_one_datagram_and_its_loss_is_noticed() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("socket");
        assert!(Journal::connect(&path).is_err());
        let far = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::connect(&path).unwrap();
        let record = || json!({ "message": "a\nb" }).as_object().unwrap().clone();
        journal.send("gateway", "info", record()).unwrap();
        let mut bytes = [0; 4096];
        let length = far.recv(&mut bytes).unwrap();
        assert_eq!(parse(&bytes[..length])[0].1, "a\nb");
        // Nobody reads: it does not wait.
        let full = (0..100_000).find_map(|_| journal.send("gateway", "info", record()).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(far);
        assert!(journal.send("gateway", "info", record()).is_err());
    }
}

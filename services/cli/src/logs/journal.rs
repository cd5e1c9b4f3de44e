//! The log of system mode: the journal's entries of our units, as lines of the form that gateway.log has. Who wrote a line
//! is the unit that the journal itself notes, not what the line says, so that no process can speak as another. Root reads
//! the journal itself; operators, who may not, are passed these entries over a socket of theirs.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clawdbot_identity::Role;
use clawdbot_identity::text::sanitize_line;
use clawdbot_service::log::render;
use clawdbot_service::system::{ACCEPTED, ASIDE, OVERLAP, Reading, WHOLE};
use serde_json::{Map, Value};

use super::file::read_line;
use super::line::{FROM, Filter, Line, MANAGER};
use crate::failure::Failure;
use crate::manager::{missing, program, role_of};
use crate::rights::{self, EXIT_RIGHTS};

/// Longest complaint of journalctl that is kept, bytes.
const COMPLAINT: u64 = 4096;

/// One entry.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    cursor: String,
    micros: u64,
    /// As gateway.log has it, without its break.
    line: String,
}

/// What following begins with and was read before.
#[derive(Debug, Default)]
struct Overlap {
    /// The journal's last entry then.
    last: Option<String>,
    /// The time of the newest.
    newest: u64,
    cursors: BTreeSet<String>,
    /// Entries of following so far.
    followed: usize,
}

impl Overlap {
    /// Notes an entry of the reading, the last first.
    fn was_read(&mut self, entry: &Entry) {
        self.last.get_or_insert_with(|| entry.cursor.clone());
        self.newest = self.newest.max(entry.micros);
        if self.cursors.len() < OVERLAP {
            self.cursors.insert(entry.cursor.clone());
        }
    }

    /// Whether this next entry of following was not there at the reading. Its time says so only among those that following
    /// begins with, and before the last that was read: later the clock may have been set back.
    fn is_new(&mut self, entry: &Entry) -> bool {
        let begins = self.followed < OVERLAP;
        self.followed = self.followed.saturating_add(1);
        if self.last.as_ref() == Some(&entry.cursor) {
            self.followed = OVERLAP;
        }
        let was = self.cursors.remove(&entry.cursor) || (begins && entry.micros < self.newest);
        !was
    }
}

/// The last lines that are wanted, oldest first, and new ones as they come if `follow`. `socket` is the operators' way to
/// the journal.
///
/// # Errors
/// Exit status 77 when the journal may not be read.
pub fn run(
    socket: &Path,
    filter: &Filter,
    since: Option<SystemTime>,
    limit: usize,
    follow: bool,
    mut print: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let (mut lines, mut overlap) = (Vec::new(), Overlap::default());
    let ended = back(socket, filter, since, |entry, wanted| {
        overlap.was_read(&entry);
        if wanted {
            lines.push(entry.line);
        }
        lines.len() < limit
    });
    for line in lines.iter().rev() {
        print(line)?;
    }
    ended?;
    if !follow {
        return Ok(0);
    }
    let mut journal = Journal::open(socket, Reading::Follow)?;
    while let Some(entry) = journal.next()? {
        if overlap.is_new(&entry) && filter.passes(&Line::parse(&entry.line)) {
            print(&entry.line)?;
        }
    }
    journal.end().map(|()| 0)
}

/// Reads from the newest entry back to `since`, for as long as `more` wants, which is told of each entry whether the filter
/// lets it through.
///
/// # Errors
/// As [`run`]; whatever was read before has been told.
fn back(
    socket: &Path,
    filter: &Filter,
    since: Option<SystemTime>,
    mut more: impl FnMut(Entry, bool) -> bool,
) -> Result<(), Failure> {
    let since = since.map(|since| {
        since
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs()
    });
    let mut journal = Journal::open(socket, Reading::Back { since })?;
    while let Some(entry) = journal.next()? {
        let wanted = filter.passes(&Line::parse(&entry.line));
        if !more(entry, wanted) {
            return Ok(());
        }
    }
    journal.end()
}

/// The newest lines that are wanted, the newest first, for as long as `more` wants.
///
/// # Errors
/// As [`run`]; whatever was read before has been told.
pub fn newest(
    socket: &Path,
    filter: &Filter,
    since: SystemTime,
    mut more: impl FnMut(&Line<'_>) -> bool,
) -> Result<(), Failure> {
    back(socket, filter, Some(since), |entry, wanted| {
        !wanted || more(&Line::parse(&entry.line))
    })
}

/// The newest lines of this process that contain `text`, oldest first, since a time, and why there may be more: who wrote a
/// line is the journal's word. A line of the service manager's about the process is none of it.
pub fn of_process(
    socket: &Path,
    role: &Role,
    text: &str,
    since: Option<SystemTime>,
    limit: usize,
) -> (Vec<String>, Result<(), Failure>) {
    let filter = Filter {
        service: Some(role.to_string()),
        text: Some(text.to_owned()),
        ..Filter::default()
    };
    let mut lines = Vec::new();
    let ended = back(socket, &filter, since, |entry, wanted| {
        if wanted && !Line::parse(&entry.line).is_of_manager() {
            lines.push(entry.line);
        }
        lines.len() < limit
    });
    lines.reverse();
    (lines, ended)
}

/// Entries as they are read, and where they come from.
struct Journal {
    entries: Box<dyn BufRead>,
    source: Source,
    line: Vec<u8>,
}

enum Source {
    /// journalctl as this user.
    Own(Program),
    /// The operators' socket.
    Socket {
        reading: Reading,
        /// Nothing was cut off: no entry since the last word that there is no more.
        whole: bool,
        /// The first line that was no entry.
        said: Option<String>,
    },
}

impl Journal {
    /// Over the socket where this user may and need not be root, else by journalctl.
    fn open(socket: &Path, reading: Reading) -> Result<Self, Failure> {
        if rights::is_root() {
            return Self::own(reading, None);
        }
        match UnixStream::connect(socket) {
            Ok(stream) => Self::passed(stream, reading),
            // Whoever may read the journal need not be an operator.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Self::own(reading, Some(rights::refused(socket)))
            }
            Err(_) => Self::own(reading, None),
        }
    }

    /// `closed`: what to say when the journal is closed to this user.
    fn own(reading: Reading, closed: Option<Failure>) -> Result<Self, Failure> {
        let mut command = program("journalctl");
        command.args(reading.arguments());
        let (program, stdout) = Program::start(command, closed)?;
        Ok(Self {
            entries: Box::new(BufReader::new(stdout)),
            source: Source::Own(program),
            line: Vec::new(),
        })
    }

    fn passed(stream: UnixStream, reading: Reading) -> Result<Self, Failure> {
        // Who cannot be asked any more may have said why.
        let asked = (&stream).write_all(reading.request().as_bytes());
        let mut entries = BufReader::new(stream);
        let mut line = Vec::new();
        let answered = read_line(&mut entries, &mut line);
        if line != ACCEPTED.as_bytes() {
            let failed = asked.and(answered.map(drop)).err();
            let said = String::from_utf8_lossy(&line);
            return Err(not_passed(&said, failed.map(|error| error.kind())));
        }
        Ok(Self {
            entries: Box::new(entries),
            source: Source::Socket {
                reading,
                whole: true,
                said: None,
            },
            line,
        })
    }

    /// The next entry that is one.
    fn next(&mut self) -> Result<Option<Entry>, Failure> {
        while read_line(&mut self.entries, &mut self.line)? {
            let text = String::from_utf8_lossy(&self.line);
            let found = entry(&text);
            if let Source::Socket { whole, said, .. } = &mut self.source {
                let of_an_entry = text.starts_with('{');
                *whole = text.starts_with(WHOLE) || (*whole && !of_an_entry);
                if !of_an_entry && !text.starts_with(ASIDE) {
                    said.get_or_insert_with(|| text.into_owned());
                }
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Whether it came to a good end by itself.
    fn end(self) -> Result<(), Failure> {
        match self.source {
            Source::Own(program) => program.end(),
            Source::Socket {
                said: Some(said), ..
            } => Err(complained(&said)),
            Source::Socket {
                reading: Reading::Back { .. },
                whole: true,
                ..
            } => Ok(()),
            Source::Socket { reading, .. } => {
                let what = match reading {
                    Reading::Back { .. } => {
                        "what is older is missing: the journal's reader was ended"
                    }
                    Reading::Follow => "the journal's reader has ended",
                };
                Err(Failure::new("log", what).remedy(rights::typed()))
            }
        }
    }
}

/// Why the journal's reader passed nothing on.
fn not_passed(said: &str, failed: Option<ErrorKind>) -> Failure {
    let why = match (said, failed) {
        ("", Some(kind)) => kind.to_string(),
        ("", None) => "it ended the connection".to_owned(),
        (said, _) => sanitize_line(said).into_owned(),
    };
    Failure::new("log", format!("the journal's reader gave nothing: {why}")).remedy(
        "it reads for a few people at the same time, so try again; else systemctl status clawdbot-journal.socket",
    )
}

fn complained(said: &str) -> Failure {
    Failure::new("log", format!("journalctl: {}", sanitize_line(said)))
}

/// A running journalctl.
struct Program {
    child: Child,
    complaint: Option<JoinHandle<String>>,
    closed: Option<Failure>,
}

impl Program {
    fn start(
        mut command: Command,
        closed: Option<Failure>,
    ) -> Result<(Self, ChildStdout), Failure> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| missing(&command, &error))?;
        let complaint = child.stderr.take().map(|stderr| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                // What cannot be read is no complaint.
                let _end = stderr.take(COMPLAINT).read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        let stdout = child.stdout.take();
        let stdout = stdout.ok_or_else(|| Failure::new("log", "journalctl has no output"))?;
        let program = Self {
            child,
            complaint,
            closed,
        };
        Ok((program, stdout))
    }

    /// Waits for its end, and what it complained of counts.
    fn end(mut self) -> Result<(), Failure> {
        let status = self.child.wait()?;
        let complaint = self
            .complaint
            .take()
            .map(|thread| thread.join().unwrap_or_default());
        judge(status, &complaint.unwrap_or_default(), self.closed.take())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Whether this answer of journalctl's is one, and not that its journal is closed to this user.
pub fn may_read(output: &Output) -> bool {
    judge(
        output.status,
        &String::from_utf8_lossy(&output.stderr),
        None,
    )
    .is_ok()
}

fn judge(status: ExitStatus, complaint: &str, closed: Option<Failure>) -> Result<(), Failure> {
    let words = [
        "insufficient permissions",
        "not seeing messages from other users",
    ];
    if words.iter().any(|words| complaint.contains(words)) {
        return Err(closed.unwrap_or_else(|| {
            Failure::new("rights.journal", "this user may not read the journal of the machine, where the log is")
                .exit(EXIT_RIGHTS)
                .remedy(format!(
                    "sudo {}; members of the groups adm and systemd-journal may without it, from their next log-in on",
                    rights::typed()
                ))
        }));
    }
    match status.success() {
        true => Ok(()),
        false => Err(complained(
            complaint.lines().next().unwrap_or("it gave no reason"),
        )),
    }
}

fn entry(raw: &str) -> Option<Entry> {
    let fields: Map<String, Value> = serde_json::from_str(raw).ok()?;
    let text = |name: &str| fields.get(name).and_then(text);
    let micros: u64 = text("__REALTIME_TIMESTAMP")?.parse().ok()?;
    let at = UNIX_EPOCH + Duration::from_micros(micros);
    // Only process 1 may speak about a unit.
    let manager = text("_PID").as_deref() == Some("1");
    let unit = text("UNIT")
        .filter(|_| manager)
        .or_else(|| text("_SYSTEMD_UNIT"))
        .unwrap_or_default();
    let role = spoken_of(&unit);
    let said = text("MESSAGE").unwrap_or_default();
    let object = |json: &str| serde_json::from_str::<Map<String, Value>>(json).ok();
    // What a process writes before it has the journal is a line of the log as text.
    let whole = object(&said).filter(|line| line.get("message").is_some_and(Value::is_string));
    let (message, level, mut more) = match whole {
        Some(mut line) if !manager => {
            let mut take = |name: &str| line.remove(name).and_then(|value| self::text(&value));
            let (message, level) = (take("message").unwrap_or_default(), take("level"));
            (message, level, line)
        }
        _ => {
            let more = text("CLAWDBOT_FIELDS").as_deref().and_then(object);
            (said, text("CLAWDBOT_LEVEL"), more.unwrap_or_default())
        }
    };
    for own in ["time", "role", "level", "message"] {
        more.remove(own);
    }
    if let Some(trace) = text("CLAWDBOT_TRACE") {
        more.entry("trace").or_insert(trace.into());
    }
    if manager {
        more.insert(FROM.into(), MANAGER.into());
    }
    if role.is_none() && !unit.is_empty() {
        more.insert("unit".into(), unit.into());
    }
    more.insert("message".into(), message.into());
    let level = level.filter(|level| LEVELS.contains(&level.as_str()));
    let level = level.unwrap_or_else(|| of_priority(text("PRIORITY").as_deref()).to_owned());
    let role = role.map_or_else(|| "systemd".to_owned(), |role| role.to_string());
    let line = render(at, &role, &level, more);
    Some(Entry {
        cursor: text("__CURSOR").unwrap_or_default(),
        micros,
        line: line.trim_end().to_owned(),
    })
}

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The journal's levels, from syslog: 0 is the gravest.
fn of_priority(priority: Option<&str>) -> &'static str {
    match priority {
        Some("0" | "1" | "2" | "3") => "error",
        Some("4") => "warn",
        Some("7") => "debug",
        _ => "info",
    }
}

/// The process that a line about this unit is about: a service's own, a socket's server.
fn spoken_of(unit: &str) -> Option<Role> {
    let socket = || {
        let name = unit.strip_prefix("clawdbot-")?.strip_suffix(".socket")?;
        let server = name.split_once("-from-").map_or(name, |(server, _)| server);
        Role::parse(server).ok()
    };
    let path = || role_of(&format!("{}.service", unit.strip_suffix(".path")?));
    role_of(unit).or_else(socket).or_else(path)
}

/// A field's text: also where it is given as bytes, or several times.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) if items.iter().all(Value::is_u64) => {
            let bytes = items
                .iter()
                .filter_map(|byte| u8::try_from(byte.as_u64()?).ok());
            Some(String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned())
        }
        Value::Array(items) => items.first().and_then(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use serde_json::json;

    use super::*;
    use crate::out::Style;

    fn line(fields: Value) -> Value {
        let mut all = json!({ "__CURSOR": "s=1", "__REALTIME_TIMESTAMP": "1769860800000000" });
        all.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let entry = entry(&all.to_string()).unwrap();
        assert_eq!(
            (entry.cursor.as_str(), entry.micros),
            ("s=1", 1_769_860_800_000_000)
        );
        serde_json::from_str(&entry.line).unwrap()
    }

    #[test]
    fn an_entry_becomes_a_line_of_the_log() {
        let found = line(json!({
            "MESSAGE": "an edge ended", "PRIORITY": "4", "CLAWDBOT_ROLE": "agent-main", "CLAWDBOT_LEVEL": "warn",
            "CLAWDBOT_TRACE": "00ff", "CLAWDBOT_FIELDS": "{\"peer\":\"policy\",\"n\":3}",
            "_SYSTEMD_UNIT": "clawdbot-agent@main.service", "_PID": "77",
        }));
        assert_eq!(
            found,
            json!({ "time": "2026-01-31T12:00:00.000Z", "role": "agent-main", "level": "warn",
                    "message": "an edge ended", "peer": "policy", "n": 3, "trace": "00ff" })
        );
    }

    #[test]
    fn nobody_speaks_as_another_process_or_as_the_service_manager() {
        let forged = line(json!({
            "MESSAGE": "all is well", "CLAWDBOT_ROLE": "policy", "UNIT": "clawdbot-policy.service",
            "CLAWDBOT_FIELDS": "{\"role\":\"policy\",\"time\":\"1999\",\"level\":\"info\",\"message\":\"x\"}",
            "CLAWDBOT_LEVEL": "loud", "PRIORITY": "3", "_SYSTEMD_UNIT": "clawdbot-gateway.service", "_PID": "9",
        }));
        assert_eq!(
            forged,
            json!({ "time": "2026-01-31T12:00:00.000Z", "role": "gateway", "level": "error", "message": "all is well" })
        );
    }

    #[test]
    fn a_line_that_came_as_text_is_taken_apart_and_still_speaks_for_its_own_unit_alone() {
        let said = r#"{"time":"1999","role":"policy","level":"warn","message":"no key","name":"vault-key"}"#;
        let found = line(
            json!({ "MESSAGE": said, "PRIORITY": "6", "_SYSTEMD_UNIT": "clawdbot-broker.service", "_PID": "9" }),
        );
        assert_eq!(
            found,
            json!({ "time": "2026-01-31T12:00:00.000Z", "role": "broker", "level": "warn", "message": "no key", "name": "vault-key" })
        );
        let other =
            line(json!({ "MESSAGE": "{\"a\":1}", "_SYSTEMD_UNIT": "clawdbot-broker.service" }));
        assert_eq!(other["message"], "{\"a\":1}");
    }

    #[test]
    fn what_the_service_manager_says_of_a_unit_is_told_with_its_process() {
        for (unit, role) in [
            ("clawdbot-policy.service", "policy"),
            ("clawdbot-gateway.socket", "gateway"),
            (
                "clawdbot-model-anthropic-from-agent-main.socket",
                "model-anthropic",
            ),
            ("clawdbot-channel@telegram.path", "channel-telegram"),
            ("clawdbot-sandbox-guest@1-2-3.service", "sandbox-guest"),
        ] {
            let found = line(
                json!({ "MESSAGE": "Failed", "PRIORITY": "4", "UNIT": unit, "_PID": "1", "_SYSTEMD_UNIT": "init.scope" }),
            );
            assert_eq!(
                (&found["role"], &found["from"]),
                (&json!(role), &json!("systemd")),
                "{unit}"
            );
        }
        let target = line(
            json!({ "MESSAGE": "Reached", "PRIORITY": "6", "UNIT": "clawdbot.target", "_PID": "1" }),
        );
        assert_eq!(
            (&target["role"], &target["unit"]),
            (&json!("systemd"), &json!("clawdbot.target"))
        );
    }

    #[test]
    fn what_is_no_text_in_the_journal_is_shown_without_acting_on_the_terminal() {
        let found = line(
            json!({ "MESSAGE": [27, 91, 50, 74, 255], "PRIORITY": "6", "_SYSTEMD_UNIT": "clawdbot-dialer.service" }),
        );
        let text = Line::parse(&found.to_string()).text(Style::PLAIN);
        assert!(text.contains("\\u{1b}[2J\u{fffd}"), "{text}");
        let twice =
            line(json!({ "MESSAGE": ["one", "two"], "_SYSTEMD_UNIT": "clawdbot-dialer.service" }));
        assert_eq!(twice["message"], "one");
        let none = line(json!({ "MESSAGE": null, "_SYSTEMD_UNIT": "clawdbot-dialer.service" }));
        assert_eq!(none["message"], "");
    }

    #[test]
    fn a_clock_that_was_set_back_hides_nothing_new() {
        let entry = |cursor: &str, micros: u64| Entry {
            cursor: cursor.into(),
            micros,
            line: String::new(),
        };
        let read = || {
            let mut overlap = Overlap::default();
            overlap.was_read(&entry("c", 30));
            overlap.was_read(&entry("b", 20));
            // One that was not read for the limit.
            assert!(!overlap.is_new(&entry("a", 10)));
            overlap
        };
        let mut overlap = read();
        assert!(!overlap.is_new(&entry("b", 20)) && !overlap.is_new(&entry("c", 30)));
        for (cursor, micros) in [("d", 5), ("e", 30), ("f", 6)] {
            assert!(overlap.is_new(&entry(cursor, micros)), "{cursor}");
        }
        // Where the last that was read is no longer among those that following begins with.
        let mut overlap = read();
        for number in 1..OVERLAP {
            assert!(overlap.is_new(&entry(&number.to_string(), 40)));
        }
        assert!(overlap.is_new(&entry("late", 5)));
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        for odd in [
            "-- No entries --",
            "",
            "{}",
            "[]",
            r#"{"__REALTIME_TIMESTAMP":"x"}"#,
        ] {
            assert_eq!(entry(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_closed_journal_is_told_apart_from_an_empty_one() {
        let status = |code: i32| ExitStatus::from_raw(code << 8);
        assert!(judge(status(0), "", None).is_ok());
        for (code, said) in [
            (
                1,
                "No journal files were opened due to insufficient permissions.\n",
            ),
            (
                0,
                "Hint: You are currently not seeing messages from other users and the system.\n",
            ),
        ] {
            let failure = judge(status(code), said, None).unwrap_err();
            assert_eq!(failure.exit, 77);
            assert!(failure.remedy.unwrap().starts_with("sudo "));
        }
        let failure = judge(status(1), "Failed \u{1b}x\n", None).unwrap_err();
        assert_eq!(
            (failure.exit, failure.message.as_str()),
            (1, "journalctl: Failed \\u{1b}x")
        );
    }
}

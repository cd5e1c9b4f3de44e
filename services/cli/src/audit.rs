//! `clawdbot audit`: what was decided, and whether the record of it is as it was written. Both are read from the files,
//! without asking the process that wrote them, wherever the files may be read; else policy is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clawdbot_audit::{Key, Lines, Proof, Verdict, Wanted, Witness, from_hex, verify};
use clawdbot_identity::Role;
use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::edges::PROCESSES;
use clawdbot_proto::v1::audit_operator_client::AuditOperatorClient;
use clawdbot_proto::v1::{AuditKeyRequest, AuditVerdict, ShowAuditRequest, VerifyAuditRequest};
use clawdbot_service::log::timestamp;
use serde_json::{Value, json};

use crate::args::{Audit, Show, Verify};
use crate::dial::{Server, Sockets};
use crate::failure::{EXIT_FAILURE, EXIT_USAGE, Failure};
use crate::logs;
use crate::out::{Out, Style, count};
use crate::place::{Mode, Place};

/// What policy says in the log of the processes with each checkpoint.
const CHECKPOINT: &str = "audit checkpoint";
/// Checkpoints that are taken from there.
const MAX_WITNESSES: usize = 100_000;

/// Does what was asked.
///
/// # Errors
/// When the log can neither be read nor asked for.
pub async fn run(
    wanted: &Audit,
    place: &Place,
    sockets: &Sockets,
    out: Out,
) -> Result<u8, Failure> {
    match wanted {
        Audit::Show(wanted) => show(wanted, place, sockets, out).await,
        Audit::Verify(wanted) => check(wanted, place, sockets, out).await,
        Audit::Key => key(sockets, out).await,
    }
}

async fn show(wanted: &Show, place: &Place, sockets: &Sockets, out: Out) -> Result<u8, Failure> {
    let since = { wanted.since.as_deref() }.map(|text| logs::moment(text, SystemTime::now()));
    let since = since
        .transpose()
        .map_err(|why| Failure::new("since", why).exit(EXIT_USAGE))?;
    let since = since.and_then(|since| since.duration_since(UNIX_EPOCH).ok());
    if let Some(wrong) = unknown(wanted) {
        return Err(wrong.exit(EXIT_USAGE));
    }
    let wanted = Wanted {
        since_ms: since.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        }),
        role: wanted.role.clone().unwrap_or_default(),
        trace: wanted.trace.clone().unwrap_or_default(),
    };
    let folder = place.state.join("audit");
    match Lines::new(&folder, wanted.clone()) {
        Ok(mut lines) => {
            while let Some(some) = lines.some().map_err(|error| unreadable(&folder, &error))? {
                for (_, record) in some {
                    print(&record, out)?;
                }
            }
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let line = sockets.open(Server::Policy).await?;
            let request = ShowAuditRequest {
                since_ms: wanted.since_ms,
                role: wanted.role,
                trace: wanted.trace,
            };
            let failed = |status| Failure::call("policy", &status);
            let mut policy = AuditOperatorClient::new(line.edge.clone());
            let shown = policy.show(request).await.map_err(failed)?;
            let mut shown = shown.into_inner();
            while let Some(line) = shown.message().await.map_err(failed)? {
                print(&serde_json::from_str(&line.json).unwrap_or_default(), out)?;
            }
        }
        Err(error) => return Err(unreadable(&folder, &error)),
    }
    Ok(0)
}

/// What is in no record, so that an empty answer is never one to a slip of the pen.
fn unknown(wanted: &Show) -> Option<Failure> {
    let family = |role: &'static str| role.split_once('-').map_or(role, |(family, _)| family);
    let known: BTreeSet<_> = PROCESSES.iter().map(|one| family(one.role)).collect();
    let is_role = |name: &&str| known.contains(*name) || Role::parse(name).is_ok();
    if let Some(name) = wanted.role.as_deref().filter(|name| !is_role(name)) {
        let known: Vec<_> = known.into_iter().collect();
        let why = format!("--role {name:?} is no process");
        return Some(Failure::new("role", why).remedy(format!("one of: {}", known.join(", "))));
    }
    let is_trace = |id: &&str| id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let trace = wanted.trace.as_deref().filter(|id| !is_trace(id))?;
    let why = format!("--trace {trace:?} is not a trace: it has 16 digits of 0-9 and a-f");
    Some(Failure::new("trace", why))
}

fn print(record: &Value, out: Out) -> io::Result<()> {
    match out.json {
        true => out.line(record),
        false => out.text(&as_line(record, out.style)),
    }
}

/// One record, for a person.
fn as_line(record: &Value, style: Style) -> String {
    let text = |name: &str| record[name].as_str().unwrap_or_default();
    let time = UNIX_EPOCH + Duration::from_millis(record["time"].as_u64().unwrap_or_default());
    let decision = match (text("decision"), text("rule")) {
        ("", _) => String::new(),
        ("deny", rule) => style.yellow(&sanitize_line(&format!("deny {rule}"))),
        (other, _) => style.green(&sanitize_line(other)),
    };
    let mut line = format!(
        "{} {}",
        style.dim(&timestamp(time)),
        style.bold(&sanitize_line(text("request")))
    );
    for part in [decision, sanitize_line(text("role")).into_owned()] {
        if !part.is_empty() {
            line.push(' ');
            line.push_str(&part);
        }
    }
    for name in ["session", "subject", "source", "id", "trace"] {
        let value = sanitize_line(text(name));
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(line, " {}{value}", style.dim(&format!("{name}=")));
        }
    }
    for name in ["count", "checkpoint", "file", "last"] {
        if let Some(number) = record[name].as_u64() {
            let _ = write!(line, " {}{number}", style.dim(&format!("{name}=")));
        }
    }
    line
}

async fn check(wanted: &Verify, place: &Place, sockets: &Sockets, out: Out) -> Result<u8, Failure> {
    let folder = place.state.join("audit");
    let given = wanted.key.as_deref().map(read_key).transpose()?;
    let beside = match std::fs::read_to_string(folder.join("key")) {
        Ok(text) => Key::parse(&text).ok(),
        Err(_) => None,
    };
    let log = wanted.log.clone();
    let copies = match (&log, &place.mode) {
        (Some(path), _) => witnesses(path)
            .map_err(|error| unreadable(path, &error))?
            .into(),
        (None, Mode::System { runtime }) => in_journal(runtime, &folder),
        // It may be elsewhere, and the log can be checked without it.
        (None, Mode::Single) => witnesses(&place.state.join("gateway.log"))
            .unwrap_or_default()
            .into(),
    };
    let proof = Proof {
        key: given.clone().or_else(|| beside.clone()),
        witnesses: copies.found.clone(),
    };
    let verdict = match verify(&folder, &proof) {
        Ok(verdict) => verdict,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let own = [("--key", given.is_some()), ("--log", log.is_some())];
            let own = own.into_iter().find_map(|(flag, is)| is.then_some(flag));
            return match own {
                None => ask(sockets, &copies, wanted.accept, out).await,
                Some(flag) => Err(compares_nothing(flag, &folder, &error)),
            };
        }
        Err(error) => return Err(unreadable(&folder, &error)),
    };
    let sealed = match (&given, &beside) {
        (Some(_), _) => Sealed::Kept,
        (None, Some(_)) => Sealed::Beside,
        (None, None) => Sealed::Unknown,
    };
    match out.json {
        true => out.value(&as_json(&verdict, sealed, &copies))?,
        false => out.text(&as_text(&verdict, sealed, &copies, out.style))?,
    }
    if wanted.accept {
        let accepted = verified(sockets, true).await?.accepted;
        out.remark(accepted_as(accepted));
        return Ok(0);
    }
    Ok(match verdict.problems.is_empty() {
        true => 0,
        false => EXIT_FAILURE,
    })
}

/// Policy, which is asked where the files are another user's, looks at nothing that the person brought.
fn compares_nothing(flag: &str, folder: &Path, error: &io::Error) -> Failure {
    let what = format!(
        "{flag} needs the files themselves: {}: {error}",
        folder.display()
    );
    Failure::new("audit", what).remedy(format!(
        "run it as the user whom {} belongs to, or as root; or leave {flag} away and take policy's word",
        folder.display()
    ))
}

fn accepted_as(accepted: bool) -> &'static str {
    match accepted {
        true => {
            "the alarm has ended, which is on record; the damage stays on record as well, and `audit verify` goes on naming it"
        }
        false => "there is no alarm that could be ended",
    }
}

async fn verified(sockets: &Sockets, accept: bool) -> Result<AuditVerdict, Failure> {
    let line = sockets.open(Server::Policy).await?;
    let asked = AuditOperatorClient::new(line.edge.clone())
        .verify(VerifyAuditRequest { accept })
        .await;
    let verdict = asked.map_err(|status| Failure::call("policy", &status))?;
    Ok(verdict.into_inner())
}

/// Where the first key was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sealed {
    /// Kept elsewhere, as it should be.
    Kept,
    /// Beside the log.
    Beside,
    /// It was forgotten there, and none was given.
    Unknown,
}

fn read_key(path: &Path) -> Result<Key, Failure> {
    let mut text = String::new();
    let read = match path.as_os_str() == "-" {
        true => io::stdin().lock().take(1024).read_to_string(&mut text),
        false => {
            std::fs::File::open(path).and_then(|file| file.take(1024).read_to_string(&mut text))
        }
    };
    read.map_err(|error| Failure::new("key", format!("{}: {error}", path.display())))?;
    Key::parse(&text).map_err(|error| Failure::new("key", format!("{}: {error}", path.display())))
}

/// Copies of checkpoints, and why there may be more of them.
#[derive(Debug, Default)]
struct Copies {
    found: Vec<Witness>,
    unread: Option<String>,
}

impl From<Vec<Witness>> for Copies {
    fn from(found: Vec<Witness>) -> Self {
        Self {
            found,
            unread: None,
        }
    }
}

impl Copies {
    /// What is said of them: how many were compared, and why no more were.
    fn told(&self, compared: u64) -> String {
        let found = match compared {
            0 => "no checkpoint was found in the log of the processes\n".to_owned(),
            n => format!(
                "{} found in the log of the processes\n",
                amount(n, "checkpoint")
            ),
        };
        match &self.unread {
            None => found,
            Some(why) => {
                let found = if compared == 0 { "" } else { &found };
                let why = sanitize_line(why);
                format!("{found}not all copies of checkpoints could be compared: {why}\n")
            }
        }
    }
}

/// The checkpoints that policy told the journal since there is a folder of the log: what is older was told of a log that went
/// with its folder, which is not policy's to make.
fn in_journal(runtime: &Path, folder: &Path) -> Copies {
    let socket = logs::journal_in(runtime);
    let since = std::fs::metadata(folder).and_then(|folder| folder.created());
    let (lines, ended) = logs::of_process(
        &socket,
        &Role::policy(),
        CHECKPOINT,
        since.ok(),
        MAX_WITNESSES,
    );
    Copies {
        found: lines.iter().filter_map(|line| witness(line)).collect(),
        unread: ended.err().map(|failure| match failure.remedy {
            Some(remedy) => format!("{}; {remedy}", failure.message),
            None => failure.message,
        }),
    }
}

/// The checkpoints that a log of the processes shows, with the older files beside it.
fn witnesses(log: &Path) -> io::Result<Vec<Witness>> {
    let lines = logs::last(log, u64::MAX, MAX_WITNESSES, |line| {
        line.contains(CHECKPOINT)
    })?;
    Ok(lines.iter().filter_map(|line| witness(line)).collect())
}

fn witness(line: &str) -> Option<Witness> {
    let line: Value = serde_json::from_str(line).ok()?;
    // Whoever else writes that word says nothing about this log.
    if line["role"] != "policy" || line["message"] != CHECKPOINT {
        return None;
    }
    Some(Witness {
        n: line["record"].as_u64()?,
        hash: from_hex(line["hash"].as_str()?.as_bytes())?,
    })
}

fn as_json(verdict: &Verdict, sealed: Sealed, copies: &Copies) -> Value {
    let problems: Vec<Value> = verdict
        .problems
        .iter()
        .map(|problem| json!({ "file": problem.file, "line": problem.line, "problem": problem.what }))
        .collect();
    json!({
        "intact": verdict.problems.is_empty(),
        "records": verdict.records,
        "first": verdict.range.0,
        "last": verdict.range.1,
        "checkpoints": verdict.checkpoints,
        "sealsCompared": verdict.seals,
        "copiesCompared": verdict.witnesses,
        "copiesUnread": copies.unread,
        "keyBesideLog": sealed == Sealed::Beside,
        "torn": verdict.torn,
        "problems": problems,
    })
}

fn amount(n: u64, noun: &str) -> String {
    count(usize::try_from(n).unwrap_or(usize::MAX), noun)
}

fn as_text(verdict: &Verdict, sealed: Sealed, copies: &Copies, style: Style) -> String {
    let mut text = String::new();
    for problem in &verdict.problems {
        let place = match problem.line {
            0 => problem.file.clone(),
            line => format!("{}:{line}", problem.file),
        };
        let what = sanitize_line(&problem.what);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {what}", style.bold(&format!("{place}:")));
    }
    let state = match verdict.problems.is_empty() {
        true => style.green("intact"),
        false => style.red("NOT AS IT WAS WRITTEN"),
    };
    let _ = writeln!(
        text,
        "the audit log is {state}: {} ({} to {}), {}",
        amount(verdict.records, "record"),
        verdict.range.0,
        verdict.range.1,
        amount(verdict.checkpoints, "checkpoint"),
    );
    if verdict.torn {
        text.push_str("its last line is not whole: the process was ended within it\n");
    }
    let _ = match (verdict.seals, sealed) {
        (_, Sealed::Unknown) => writeln!(
            text,
            "seals were not compared: the first key is kept elsewhere; give it with --key FILE"
        ),
        (seals, Sealed::Kept) => writeln!(text, "{} compared with your key", amount(seals, "seal")),
        (seals, Sealed::Beside) => writeln!(
            text,
            "{} compared with the key that lies beside the log; whoever can write there can make both anew. Keep it elsewhere: clawdbot audit key",
            amount(seals, "seal")
        ),
    };
    text.push_str(&copies.told(verdict.witnesses));
    text
}

/// Where the files are another user's: policy's verdict, and the copies against the records that it shows.
async fn ask(sockets: &Sockets, copies: &Copies, accept: bool, out: Out) -> Result<u8, Failure> {
    let verdict = verified(sockets, accept).await?;
    let (compared, differs) = match copies.found.is_empty() {
        true => (0, None),
        false => compared(sockets, &copies.found).await?,
    };
    let mut problems = Vec::new();
    if !verdict.intact {
        problems.push((verdict.file, verdict.line, verdict.problem));
    }
    problems.extend(differs.map(|what| ("records that policy shows".to_owned(), 0, what)));
    match out.json {
        true => {
            let told = problems.iter().map(|(file, line, problem)| {
                let problem = sanitize_line(problem);
                json!({ "file": file, "line": line, "problem": problem })
            });
            out.value(&json!({
                "intact": problems.is_empty(),
                "records": verdict.records,
                "checkpoints": verdict.checkpoints,
                "copiesCompared": compared,
                "copiesUnread": copies.unread,
                "problems": told.collect::<Vec<_>>(),
            }))?;
        }
        false => {
            let mut text = String::new();
            for (file, line, problem) in &problems {
                let line = if *line == 0 {
                    String::new()
                } else {
                    format!(":{line}")
                };
                // Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "{}{line}: {}",
                    sanitize_line(file),
                    sanitize_line(problem)
                );
            }
            if verdict.intact {
                let (records, checkpoints) = (verdict.records, verdict.checkpoints);
                let _ = writeln!(
                    text,
                    "policy says that the audit log is intact: {records} records, {checkpoints} checkpoints"
                );
            }
            text.push_str(&copies.told(compared));
            out.text(&text)?;
        }
    }
    if accept {
        out.remark(accepted_as(verdict.accepted));
        return Ok(0);
    }
    Ok(match problems.is_empty() {
        true => 0,
        false => EXIT_FAILURE,
    })
}

/// How many copies there are of records that policy shows, and which record is not the one that was told. It has to show
/// what it told when it wrote it; that it could show other records to somebody else is for whoever reads the files.
async fn compared(sockets: &Sockets, copies: &[Witness]) -> Result<(u64, Option<String>), Failure> {
    let line = sockets.open(Server::Policy).await?;
    let failed = |status| Failure::call("policy", &status);
    let mut policy = AuditOperatorClient::new(line.edge.clone());
    let shown = policy.show(ShowAuditRequest::default()).await;
    let mut shown = shown.map_err(failed)?.into_inner();
    let mut compare = Compare::new(copies);
    while let Some(line) = shown.message().await.map_err(failed)? {
        compare.take(&serde_json::from_str(&line.json).unwrap_or_default());
    }
    Ok(compare.end())
}

/// Copies against records as these come, in their order.
struct Compare {
    open: BTreeMap<u64, [u8; 32]>,
    compared: u64,
    last: u64,
    differs: Option<u64>,
}

impl Compare {
    fn new(copies: &[Witness]) -> Self {
        Self {
            // The oldest copy of a checkpoint stands.
            open: copies
                .iter()
                .rev()
                .map(|copy| (copy.n, copy.hash))
                .collect(),
            compared: 0,
            last: 0,
            differs: None,
        }
    }

    fn take(&mut self, record: &Value) {
        let Some(n) = record["n"].as_u64() else {
            return;
        };
        self.last = self.last.max(n);
        if let Some(hash) = self.open.remove(&n) {
            self.compared += 1;
            let shown = record["hash"].as_str().unwrap_or_default();
            if from_hex(shown.as_bytes()) != Some(hash) {
                self.differs.get_or_insert(n);
            }
        }
    }

    fn end(self) -> (u64, Option<String>) {
        let beyond = self.open.range(self.last + 1..).next_back();
        let what = match (self.differs, beyond) {
            (Some(n), _) => Some(format!(
                "checkpoint at record {n} is not the one that the log of the processes shows"
            )),
            (None, Some((n, _))) => Some(format!(
                "the end is cut off: the log of the processes shows a checkpoint at record {n}"
            )),
            (None, None) => None,
        };
        (self.compared, what)
    }
}

/// Shows the first key and has it forgotten.
async fn key(sockets: &Sockets, out: Out) -> Result<u8, Failure> {
    let line = sockets.open(Server::Policy).await?;
    let mut policy = AuditOperatorClient::new(line.edge.clone());
    let mut ask = async |forget| {
        let asked = policy.key(AuditKeyRequest { forget }).await;
        asked
            .map(tonic::Response::into_inner)
            .map_err(|status| Failure::call("policy", &status))
    };
    let key = zeroize::Zeroizing::new(ask(false).await?.key);
    if key.is_empty() {
        return Err(Failure::new(
            "gone",
            "the first key of the audit log was shown before and is kept nowhere here",
        ));
    }
    // Forgotten only when it has been said.
    match out.json {
        true => out.value(&json!({ "key": *key }))?,
        false => out.text(&key)?,
    }
    ask(true).await?;
    out.remark("Keep it away from this machine; it is not shown again. With it: clawdbot audit verify --key FILE");
    Ok(0)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new("audit", format!("{}: {error}", path.display()));
    match error.kind() {
        ErrorKind::NotFound => {
            failure.remedy("there is a log as soon as `clawdbot up` has run here")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use clawdbot_audit::Problem;

    use super::*;

    #[test]
    fn a_record_is_one_line_that_cannot_act_on_a_terminal() {
        let record = json!({"n": 3, "time": 1, "request": "tool", "decision": "deny", "rule": "tool.denied",
            "role": "executor", "session": "agent:main:main", "subject": "x\u{1b}[2J\n", "trace": "00ff"});
        assert_eq!(
            as_line(&record, Style::PLAIN),
            "1970-01-01T00:00:00.001Z tool deny tool.denied executor session=agent:main:main subject=x\\u{1b}[2J\\n trace=00ff"
        );
        let own = json!({"time": 0, "request": "audit-checkpoint", "checkpoint": 7});
        assert!(as_line(&own, Style::PLAIN).ends_with("audit-checkpoint checkpoint=7"));
    }

    #[test]
    fn what_no_record_can_have_is_named_instead_of_finding_nothing() {
        let asked = |role: &str, trace: &str| {
            let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let wanted = Show {
                since: None,
                role: some(role),
                trace: some(trace),
            };
            unknown(&wanted).map(|failure| failure.code)
        };
        for role in [
            "",
            "agent",
            "agent-main",
            "model-anthropic",
            "channel",
            "operator",
            "policy",
        ] {
            assert_eq!(asked(role, "00ff00ff00ff00ff"), None, "{role}");
        }
        for role in ["agents", "Agent", "agent-", "x\u{1b}[2J"] {
            assert_eq!(asked(role, "").as_deref(), Some("role"), "{role}");
        }
        for trace in ["00ff", "00ff00ff00ff00fg", "00ff00ff00ff00ff0"] {
            assert_eq!(asked("", trace).as_deref(), Some("trace"), "{trace}");
        }
    }

    #[test]
    fn only_policys_own_word_is_a_copy_of_a_checkpoint() {
        let hash = "ab".repeat(32);
        let line = |role: &str, message: &str| {
            json!({"role": role, "message": message, "record": 9, "hash": hash}).to_string()
        };
        let found = witness(&line("policy", CHECKPOINT)).unwrap();
        assert_eq!((found.n, found.hash), (9, [0xab; 32]));
        for other in [
            line("gateway", CHECKPOINT),
            line("policy", "no audit checkpoint"),
            "audit checkpoint".to_owned(),
        ] {
            assert_eq!(witness(&other), None);
        }
    }

    #[test]
    fn what_is_wrong_comes_with_its_place_and_what_was_not_compared_is_said() {
        let mut verdict = Verdict {
            records: 12,
            checkpoints: 1,
            range: (1, 12),
            seals: 1,
            ..Verdict::default()
        };
        let none = Copies::default();
        let text = as_text(&verdict, Sealed::Beside, &none, Style::PLAIN);
        assert!(text.starts_with("the audit log is intact: 12 records (1 to 12), 1 checkpoint\n"));
        assert!(text.contains("beside the log") && text.contains("no checkpoint was found"));
        verdict.problems.push(Problem {
            file: "decisions.jsonl".to_owned(),
            line: 4,
            what: "record 4 was changed".to_owned(),
        });
        let text = as_text(&verdict, Sealed::Unknown, &none, Style::PLAIN);
        assert!(
            text.starts_with("decisions.jsonl:4: record 4 was changed\n"),
            "{text}"
        );
        assert!(text.contains("NOT AS IT WAS WRITTEN") && text.contains("--key FILE"));
        let json = as_json(&verdict, Sealed::Unknown, &none);
        assert_eq!(
            (&json["intact"], &json["problems"][0]["line"]),
            (&json!(false), &json!(4))
        );
        // Copies that could not be read are never none at all without a word.
        let unread = Copies {
            unread: Some("it is closed\u{1b}; do this".to_owned()),
            ..Copies::default()
        };
        let told = unread.told(0);
        assert_eq!(
            (told.lines().count(), told.contains("no checkpoint")),
            (1, false)
        );
        assert!(
            told.ends_with("compared: it is closed\\u{1b}; do this\n"),
            "{told}"
        );
        assert_eq!(unread.told(2).lines().count(), 2);
        let json = as_json(&verdict, Sealed::Unknown, &unread);
        assert!(json["copiesUnread"].is_string());
    }

    #[test]
    fn copies_are_compared_with_the_records_that_policy_shows() {
        let copy = |n: u64, byte: u8| Witness {
            n,
            hash: [byte; 32],
        };
        let told = |copies: &[Witness]| {
            let mut compare = Compare::new(copies);
            for n in 3..=9_u8 {
                compare.take(&json!({ "n": n, "hash": format!("{n:02x}").repeat(32) }));
            }
            compare.take(&Value::Null);
            compare.end()
        };
        // What is before the first record was dropped.
        assert_eq!(told(&[copy(1, 1), copy(4, 4), copy(9, 9)]), (2, None));
        let (compared, what) = told(&[copy(4, 5), copy(4, 4)]);
        assert_eq!(compared, 1);
        assert!(what.unwrap().contains("at record 4 is not the one"));
        let (compared, what) = told(&[copy(9, 9), copy(12, 1)]);
        assert_eq!(compared, 1);
        assert!(what.unwrap().contains("cut off"));
    }
}

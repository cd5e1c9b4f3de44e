//! What the service manager says of the units: two questions for all of them, asked at the same time, since each costs a
//! start of its program. Parsing is apart from asking, so that it is tried with what real managers answered.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

/// How long the service manager may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longer than any answer.
const MAX: usize = 4 << 20;

/// What is asked of each service.
const PROPERTIES: &str = "Id,LoadState,UnitFileState,ActiveState,SubState,Result,ExecMainStatus,NRestarts,MainPID,StatusText,FragmentPath,DropInPaths,NeedDaemonReload";

/// One service as its manager knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitFact {
    pub id: String,
    /// `loaded`, `not-found`, `masked`, `bad-setting`, …
    pub load: String,
    /// `enabled`, `disabled`, `static`, `masked`, …
    pub file_state: String,
    /// `active`, `activating`, `failed`, `inactive`, …
    pub active: String,
    pub sub: String,
    /// `success`, `exit-code`, `signal`, `watchdog`, …
    pub result: String,
    /// The exit status, or the number of the signal.
    pub status: i32,
    pub restarts: u32,
    pub pid: u32,
    pub words: String,
    pub fragment: String,
    pub drop_ins: Vec<String>,
    /// A file changed since the manager read it.
    pub stale: bool,
}

impl UnitFact {
    /// Whether it does its work.
    pub fn runs(&self) -> bool {
        self.active == "active" || self.active == "reloading"
    }
}

/// One socket as its manager knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketUnit {
    pub unit: String,
    pub load: String,
    pub active: String,
    pub sub: String,
}

/// Asks for these services and for all sockets of ours. Nothing where nobody answers or who asks may not.
pub async fn ask(services: &[String]) -> (Option<Vec<UnitFact>>, Option<Vec<SocketUnit>>) {
    let mut show = Command::new("systemctl");
    show.args(["show", "--no-pager", "--property", PROPERTIES, "--"]);
    show.args(services);
    let mut list = Command::new("systemctl");
    list.args([
        "list-units",
        "--all",
        "--full",
        "--no-pager",
        "--output=json",
        "--type=socket",
        "clawdbot-*",
    ]);
    let (services, sockets) = tokio::join!(answer(show), answer(list));
    (
        services.map(|text| units(&text)),
        sockets.and_then(|text| socket_units(&text)),
    )
}

async fn answer(mut command: Command) -> Option<String> {
    command
        .env("SYSTEMD_COLORS", "0")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let done = timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    let fits = done.status.success() && done.stdout.len() <= MAX;
    fits.then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Reads `systemctl show`: one paragraph for each unit.
pub fn units(text: &str) -> Vec<UnitFact> {
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let rows = paragraph.lines().filter_map(|line| line.split_once('='));
        let rows: BTreeMap<&str, &str> = rows.collect();
        let text = |name: &str| rows.get(name).copied().unwrap_or_default().to_owned();
        let number = |name: &str| text(name).parse::<u32>().unwrap_or(0);
        UnitFact {
            id: text("Id"),
            load: text("LoadState"),
            file_state: text("UnitFileState"),
            active: text("ActiveState"),
            sub: text("SubState"),
            result: text("Result"),
            status: text("ExecMainStatus").parse().unwrap_or(0),
            restarts: number("NRestarts"),
            pid: number("MainPID"),
            words: text("StatusText"),
            fragment: text("FragmentPath"),
            drop_ins: text("DropInPaths")
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            stale: text("NeedDaemonReload") == "yes",
        }
    });
    paragraphs.filter(|unit| !unit.id.is_empty()).collect()
}

/// Reads `systemctl list-units --output=json`.
pub fn socket_units(text: &str) -> Option<Vec<SocketUnit>> {
    let rows: Value = serde_json::from_str(text).ok()?;
    let rows = rows.as_array()?.iter().map(|row| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        SocketUnit {
            unit: text("unit"),
            load: text("load"),
            active: text("active"),
            sub: text("sub"),
        }
    });
    Some(rows.collect())
}

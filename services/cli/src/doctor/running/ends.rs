//! How processes ended lately, from the journal: the service manager itself knows only the last end of each, and forgets it
//! with the next start.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::logs::may_read;
use crate::manager::program;

/// How far back.
pub const LATELY: Duration = Duration::from_secs(24 * 60 * 60);
/// The most ends that are read, the latest.
const MOST: usize = 2000;
/// The service manager's entries about a process that ended, and about what came of it (`sd-messages.h`).
const PROCESS_EXIT: &str = "98e322203f7a4ed290d09fe03c09fe15";
const FAILURE_RESULT: &str = "d9b373ed55a64feb8242e02dbe79a49c";

/// A bad end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// By the kernel, since it made a call that its filter forbids.
    Filtered,
    /// By the service manager, since it stood still.
    StoodStill,
}

/// How often, and when the last time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    pub count: usize,
    pub last_s: u64,
}

/// The bad ends of each unit.
pub type Ends = BTreeMap<(String, End), Times>;

/// Reads the journal for these units; nothing where this user may not, or it cannot be read in time.
pub async fn ask(units: Vec<String>, patience: Duration) -> Option<Ends> {
    let asked = spawn_blocking(move || {
        let output = journalctl(&units).output().ok()?;
        may_read(&output).then(|| ends(&String::from_utf8_lossy(&output.stdout)))
    });
    timeout(patience, asked).await.ok()?.ok()?
}

fn journalctl(units: &[String]) -> Command {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = now.unwrap_or_default().saturating_sub(LATELY).as_secs();
    let mut command = program("journalctl");
    command
        .args(["--system", "--no-pager", "--output=json"])
        .arg("--output-fields=UNIT,EXIT_CODE,EXIT_STATUS,UNIT_RESULT")
        .arg(format!("--since=@{since}"))
        .arg(format!("--lines={MOST}"))
        // Only process 1 may speak about a unit.
        .arg("_PID=1")
        .args([PROCESS_EXIT, FAILURE_RESULT].map(|id| format!("MESSAGE_ID={id}")))
        .args(units.iter().map(|unit| format!("UNIT={unit}")));
    command
}

/// Reads entries, one of JSON in each line.
fn ends(text: &str) -> Ends {
    let mut ends = Ends::new();
    for entry in text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
    {
        let field = |name: &str| entry[name].as_str().unwrap_or_default();
        let end = match (
            field("EXIT_CODE"),
            field("EXIT_STATUS"),
            field("UNIT_RESULT"),
        ) {
            ("killed" | "dumped", "31", _) => End::Filtered,
            (_, _, "watchdog") => End::StoodStill,
            _ => continue,
        };
        let at: u64 = field("__REALTIME_TIMESTAMP").parse().unwrap_or_default();
        let times = ends.entry((field("UNIT").to_owned(), end)).or_default();
        times.count += 1;
        times.last_s = times.last_s.max(at / 1_000_000);
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_ends_are_counted_for_each_unit() {
        let text = r#"{"UNIT":"a.service","EXIT_CODE":"dumped","EXIT_STATUS":"31","__REALTIME_TIMESTAMP":"5000000"}
{"UNIT":"a.service","EXIT_CODE":"killed","EXIT_STATUS":"31","__REALTIME_TIMESTAMP":"7000000"}
{"UNIT":"a.service","EXIT_CODE":"exited","EXIT_STATUS":"31","__REALTIME_TIMESTAMP":"9000000"}
{"UNIT":"a.service","EXIT_CODE":"killed","EXIT_STATUS":"9","__REALTIME_TIMESTAMP":"9000000"}
{"UNIT":"a.service","UNIT_RESULT":"core-dump","__REALTIME_TIMESTAMP":"9000000"}
rubbish
{"UNIT":"b.service","UNIT_RESULT":"watchdog","__REALTIME_TIMESTAMP":"8000000"}
"#;
        let found = ends(text);
        let times = |count, last_s| Times { count, last_s };
        let expected = [
            (("a.service".to_owned(), End::Filtered), times(2, 7)),
            (("b.service".to_owned(), End::StoodStill), times(1, 8)),
        ];
        assert_eq!(found, expected.into());
    }
}

//! What processes cost while nothing happens: memory and how often each wakes up, from /proc.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use clawdbot_tests::kernel::Seen;

use crate::figures::memory;

/// One process.
struct Cost {
    role: String,
    /// Memory with shared pages divided among those who share them, kB. The kernel tells it to root only.
    proportional: Option<u64>,
    /// Memory with shared pages counted in full, kB.
    resident: u64,
    threads: u64,
    wakes_per_second: f64,
}

/// All of them.
pub struct Idle(Vec<Cost>);

/// Watches for a while.
pub fn watch(processes: &[(String, Seen)], time: Duration) -> Idle {
    let before: Vec<u64> = processes
        .iter()
        .map(|(_, process)| wakes(*process))
        .collect();
    std::thread::sleep(time);
    let costs = processes
        .iter()
        .zip(before)
        .map(|((role, process), before)| {
            let status = process.status();
            #[allow(clippy::cast_precision_loss)] // A count of some seconds.
            let wakes = wakes(*process).saturating_sub(before) as f64;
            Cost {
                role: role.clone(),
                proportional: proportional(*process),
                resident: number(status.get("VmRSS")),
                threads: number(status.get("Threads")),
                wakes_per_second: wakes / time.as_secs_f64().max(f64::MIN_POSITIVE),
            }
        });
    Idle(costs.collect())
}

/// Processor time that processes have used so far.
pub fn processor(processes: &[(String, Seen)]) -> Duration {
    let ticks: u64 = processes.iter().map(|(_, process)| ticks(*process)).sum();
    // A tick is a hundredth of a second on every Linux.
    Duration::from_millis(ticks * 10)
}

/// User and system time; the name before them may contain anything, but ends with the last bracket.
fn ticks(process: Seen) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", process.0)).unwrap_or_default();
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let numbers = fields.split_whitespace().skip(11).take(2);
    numbers
        .filter_map(|number| number.parse::<u64>().ok())
        .sum()
}

/// How often the threads of a process went to sleep of their own accord.
fn wakes(process: Seen) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.0))
        .into_iter()
        .flatten()
        .flatten();
    threads
        .map(|thread| number(fields(&thread.path().join("status")).get("voluntary_ctxt_switches")))
        .sum()
}

fn proportional(process: Seen) -> Option<u64> {
    let path = format!("/proc/{}/smaps_rollup", process.0);
    fields(path.as_ref())
        .get("Pss")
        .map(|value| number(Some(value)))
}

fn fields(path: &std::path::Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

/// The leading number of a field such as `1234 kB`. The kernel's kB has 1024 bytes; it is kept as it is, which is also
/// how the figures of others are counted.
fn number(field: Option<&String>) -> u64 {
    field
        .and_then(|field| field.split(' ').next()?.parse().ok())
        .unwrap_or(0)
}

impl Idle {
    /// Whether the kernel told the proportional memory.
    pub fn exact(&self) -> bool {
        self.0.iter().all(|cost| cost.proportional.is_some())
    }

    /// Name of what `total` is.
    pub fn measure(&self) -> &'static str {
        if self.exact() {
            "PSS"
        } else {
            "RSS (PSS is shown to root only; shared pages count for each process)"
        }
    }

    /// Memory of all, kB.
    pub fn total(&self) -> u64 {
        let exact = self.exact();
        self.0
            .iter()
            .map(|cost| cost.proportional.filter(|_| exact).unwrap_or(cost.resident))
            .sum()
    }

    /// A row for each process.
    pub fn table(&self) -> String {
        let mut table = String::from(
            "| Process, idle | PSS | RSS | Threads | Wake-ups a second |\n|---|---:|---:|---:|---:|\n",
        );
        for cost in &self.0 {
            let proportional = cost.proportional.map_or_else(|| "–".into(), memory);
            let resident = memory(cost.resident);
            let row = format!(
                "{proportional} | {resident} | {} | {:.2}",
                cost.threads, cost.wakes_per_second
            );
            // Writing to a String cannot fail.
            let _ = writeln!(table, "| {} | {row} |", cost.role);
        }
        table
    }
}

//! Series of measured values and the table that shows them.

use std::fmt;
use std::time::Duration;

/// Fewest values of which a hundredth is more than one value.
const ENOUGH_FOR_P99: usize = 200;

/// What a median should not exceed.
#[derive(Clone, Copy)]
pub enum Goal {
    Time(Duration),
    /// In kB of 1000 bytes.
    Memory(u64),
    /// A difference no larger than what chance makes of it.
    NotMeasurable,
}

/// The rows so far.
pub struct Table(Vec<[String; 7]>);

impl Table {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// A row for durations, which it sorts.
    pub fn times(&mut self, label: &str, values: &mut [Duration], goal: Option<Goal>) {
        values.sort_unstable();
        let Some((least, most)) = values.first().zip(values.last()) else {
            return;
        };
        let p99 = if values.len() < ENOUGH_FOR_P99 {
            "–".into()
        } else {
            time(values[values.len() * 99 / 100])
        };
        let met = goal.map(|goal| {
            goal.shown(match goal {
                Goal::Time(limit) => median(values) <= limit,
                Goal::Memory(_) | Goal::NotMeasurable => false,
            })
        });
        self.0.push([
            label.into(),
            met.unwrap_or_default(),
            time(*least),
            time(median(values)),
            p99,
            time(*most),
            values.len().to_string(),
        ]);
    }

    /// How many times the median of `values` is that of `plain`. Both are sorted.
    pub fn ratio(&mut self, label: &str, values: &[Duration], plain: &[Duration]) {
        let ratio = median(values).as_secs_f64() / median(plain).as_secs_f64();
        self.0.push([
            label.into(),
            String::new(),
            String::new(),
            format!("× {ratio:.1}"),
            String::new(),
            String::new(),
            String::new(),
        ]);
    }

    /// How much longer the median of `values` is than that of `plain`. Both are sorted.
    pub fn added(
        &mut self,
        label: &str,
        values: &[Duration],
        plain: &[Duration],
        goal: Option<Goal>,
    ) {
        let added = median(values).saturating_sub(median(plain));
        let met = goal.map(|goal| goal.shown(matches!(goal, Goal::Time(limit) if added <= limit)));
        self.text(label, &met.unwrap_or_default(), time(added), values.len());
    }

    /// How much the median of `values` differs from that of `plain`, and how much of that may be chance. Both are sorted.
    pub fn difference(
        &mut self,
        label: &str,
        values: &[Duration],
        plain: &[Duration],
        goal: Option<Goal>,
    ) {
        let (one, other) = (median(values), median(plain));
        let sign = if one < other { "−" } else { "+" };
        let (amount, chance) = (one.abs_diff(other), chance(values).hypot(chance(plain)));
        let chance = Duration::from_secs_f64(chance);
        let met = goal.map(|goal| {
            goal.shown(match goal {
                Goal::Time(limit) => one <= other + limit,
                Goal::NotMeasurable => one <= other + chance,
                Goal::Memory(_) => false,
            })
        });
        let shown = format!("{sign}{} ± {}", time(amount), time(chance));
        self.text(label, &met.unwrap_or_default(), shown, values.len());
    }

    /// A row that says one thing.
    pub fn text(&mut self, label: &str, goal: &str, shown: String, count: usize) {
        self.0.push([
            label.into(),
            goal.into(),
            String::new(),
            shown,
            String::new(),
            String::new(),
            count.to_string(),
        ]);
    }

    /// A row for one value.
    pub fn single(&mut self, label: &str, shown: String, value: u64, goal: Option<Goal>) {
        let met =
            goal.map(|goal| goal.shown(matches!(goal, Goal::Memory(limit) if value <= limit)));
        self.0.push([
            label.into(),
            met.unwrap_or_default(),
            String::new(),
            shown,
            String::new(),
            String::new(),
            "1".into(),
        ]);
    }
}

impl Goal {
    fn shown(self, met: bool) -> String {
        let limit = match self {
            Self::Time(limit) => time(limit),
            Self::Memory(limit) => memory(limit),
            Self::NotMeasurable => return format!("none measurable, {}", verdict(met)),
        };
        format!("≤ {limit}, {}", verdict(met))
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| Figure | Goal | Min | Median | p99 | Max | n |\n|---|---|---:|---:|---:|---:|---:|"
        )?;
        self.0
            .iter()
            .try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))
    }
}

/// The middle of sorted values; of two middles the lower.
fn median(sorted: &[Duration]) -> Duration {
    sorted
        .get(sorted.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or_default()
}

/// How far the median of so many sorted values is likely (19 times of 20) to lie from the true one, in seconds. From the
/// middle half of the values, since a few very late ones say nothing about the middle.
#[allow(clippy::cast_precision_loss)] // Some thousands.
fn chance(sorted: &[Duration]) -> f64 {
    let at = |part: usize| {
        sorted
            .get(sorted.len() * part / 4)
            .copied()
            .unwrap_or_default()
    };
    let deviation = at(3).saturating_sub(at(1)).as_secs_f64() / 1.35;
    1.96 * 1.25 * deviation / (sorted.len().max(1) as f64).sqrt()
}

/// A duration with three digits.
pub fn time(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..1_000.0 => format!("{micros:.1} µs"),
        ..10_000.0 => format!("{:.2} ms", micros / 1e3),
        _ => format!("{:.0} ms", micros / 1e3),
    }
}

/// Kilobytes as megabytes.
#[allow(clippy::cast_precision_loss)] // Memory of a machine, in kB.
pub fn memory(kilobytes: u64) -> String {
    format!("{:.1} MB", kilobytes as f64 / 1e3)
}

/// What it was measured on.
pub fn machine() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .unwrap_or_else(|_| "an unknown kernel".into());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown").to_owned();
    format!(
        "{cores} cores, {} {}, {}, load average at the end {load}.",
        std::env::consts::OS,
        kernel.trim(),
        std::env::consts::ARCH
    )
}

//! The page of limits: every number that bounds what others can do, read from the line of code that enforces it. A line
//! that is not there any more fails the test, so that the page promises nothing that nobody keeps.

use std::fmt::Write as _;

use super::cell;

/// A file of the sources and its text.
macro_rules! source {
    ($path:literal) => {
        ($path, include_str!(concat!("../../../", $path)))
    };
}

type Source = (&'static str, &'static str);

/// All of this file's numbers.
const GATEWAY: Source = source!("services/gateway/src/limits.rs");

/// Single numbers: where, which, and what they bound where the line itself does not say it.
const SINGLE: &[(&str, Source, &str, &str)] = &[
    (
        "Configuration",
        source!("crates/config/src/load.rs"),
        "MAX_SIZE",
        "",
    ),
    (
        "Configuration",
        source!("crates/config/src/json5.rs"),
        "MAX_DEPTH",
        "Nesting of the file.",
    ),
    (
        "Configuration",
        source!("crates/config/src/types.rs"),
        "MAX_ENTRIES",
        "Entries of one list or map.",
    ),
    (
        "Configuration",
        source!("crates/config/src/report.rs"),
        "MAX_SHOWN",
        "Mistakes that are shown; more are counted.",
    ),
    (
        "Pairing",
        source!("services/policy/src/pairing/book.rs"),
        "TTL_MS",
        "",
    ),
    (
        "Pairing",
        source!("services/policy/src/pairing/book.rs"),
        "MAX_PENDING",
        "",
    ),
    (
        "Pairing",
        source!("services/policy/src/pairing/book.rs"),
        "CODE",
        "Characters of a code, of 32 letters and digits.",
    ),
    (
        "Log-in",
        source!("services/policy/src/login.rs"),
        "TTL",
        "How long the link of `clawdbot open` is good.",
    ),
    (
        "Log-in",
        source!("services/policy/src/login.rs"),
        "MAX_OPEN",
        "Such links at the same time.",
    ),
    ("Log-in", source!("services/policy/src/visit.rs"), "TTL", ""),
    (
        "Conversations",
        source!("services/policy/src/handle.rs"),
        "TTL",
        "",
    ),
    (
        "Conversations",
        source!("services/agent/src/transcript/window.rs"),
        "WINDOW_BYTES",
        "",
    ),
    (
        "Credentials",
        source!("services/broker/src/vault/format.rs"),
        "MAX_RECORDS",
        "Credentials in the vault.",
    ),
    (
        "Credentials",
        source!("services/broker/src/files.rs"),
        "MAX",
        "A secret in a file of its own, bytes.",
    ),
    (
        "Credentials",
        source!("crates/secrets/src/environment.rs"),
        "MAX_BLOB",
        "The start environment, bytes.",
    ),
    (
        "Credentials",
        source!("crates/secrets/src/environment.rs"),
        "MAX_VALUE",
        "One variable of it, bytes.",
    ),
    (
        "Log",
        source!("services/supervisor/src/log_file.rs"),
        "LIMIT",
        "Size at which the log begins a new file, bytes.",
    ),
    (
        "Log",
        source!("services/supervisor/src/log_file.rs"),
        "KEPT",
        "Older files of the log that are kept.",
    ),
    (
        "Network",
        source!("services/dialer/src/work.rs"),
        "RELAYS_PER_ROLE",
        "",
    ),
    (
        "Telegram",
        source!("services/channel-telegram/src/incoming.rs"),
        "LONGEST",
        "",
    ),
    (
        "Telegram",
        source!("services/channel-telegram/src/outlet.rs"),
        "LIMIT",
        "",
    ),
    (
        "Telegram",
        source!("services/channel-telegram/src/outlet.rs"),
        "MOST_PARTS",
        "",
    ),
];

/// The page.
pub fn page() -> String {
    let mut page = String::from(
        "# Limits\n\n\
         Every number that bounds what others can do, from the line of code that enforces it. The largest request and the rate of every \
         call between processes are in [edges.md](edges.md), what the kernel holds each process to in \
         [start-order.md](start-order.md).\n",
    );
    let mut section = "";
    for (name, source, constant, what) in SINGLE {
        if *name != section {
            section = name;
            write!(page, "\n## {name}\n\n| What | Limit |\n|---|---|\n").unwrap();
        }
        let all = constants(source.1);
        let found = all.iter().find(|found| found.name == *constant);
        let found = found.unwrap_or_else(|| panic!("{} has no {constant}", source.0));
        let what = if what.is_empty() {
            found.doc.as_str()
        } else {
            what
        };
        assert!(
            !what.is_empty(),
            "{} does not say what {constant} is",
            source.0
        );
        row(&mut page, what, found);
    }
    page.push_str("\n## Gateway\n\n| What | Limit |\n|---|---|\n");
    let all = constants(GATEWAY.1);
    assert!(all.len() > 30, "{}", all.len());
    for found in all {
        row(&mut page, &found.doc, &found);
    }
    page.push_str("\n## Settings\n\nWhat the configuration accepts.\n\n| Key | Accepts | Default |\n|---|---|---|\n");
    for (key, accepts, default) in clawdbot_config::bounds() {
        writeln!(
            page,
            "| `{}` | {} | {} |",
            cell(&key),
            cell(&accepts),
            cell(&default)
        )
        .unwrap();
    }
    page
}

/// A number with its unit.
type Unit = fn(u64) -> String;

/// Words of a comment by which a bare number gets its unit; the unit then stands with the number.
const UNITS: &[(&str, Unit)] = &[
    (", bytes of UTF-8", bytes),
    (", bytes", bytes),
    (" in bytes", bytes),
    (" bytes", bytes),
    ("Bytes ", bytes),
    (", milliseconds", time),
    (", in seconds", |seconds| time(seconds * 1000)),
];

fn row(page: &mut String, what: &str, found: &Constant) {
    let unit = UNITS.iter().find(|(words, _)| what.contains(words));
    let (words, unit) = match unit {
        Some((words, unit)) => (*words, *unit),
        None if found.name.ends_with("BYTES") => ("", bytes as fn(u64) -> String),
        None => ("", (|number| number.to_string()) as fn(u64) -> String),
    };
    let words = if words.starts_with(',') { words } else { "" };
    let what = what.trim_end_matches('.');
    let what = if words.is_empty() {
        what.to_owned()
    } else {
        what.replacen(words, "", 1)
    };
    writeln!(page, "| {} | {} |", cell(&what), shown(&found.value, unit)).unwrap();
}

/// Bytes as people say them.
fn bytes(n: u64) -> String {
    match n {
        1.. if n.is_multiple_of(1 << 20) => format!("{} MiB", n >> 20),
        1.. if n.is_multiple_of(1 << 10) => format!("{} KiB", n >> 10),
        _ => format!("{n} bytes"),
    }
}

/// Milliseconds as people say them.
fn time(ms: u64) -> String {
    let units = [
        (86_400_000, "days"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1000, "s"),
    ];
    let whole = units
        .iter()
        .find(|(size, _)| ms > 0 && ms.is_multiple_of(*size));
    whole.map_or_else(
        || format!("{ms} ms"),
        |(size, name)| format!("{} {name}", ms / size),
    )
}

struct Constant {
    name: String,
    doc: String,
    value: String,
}

/// The constants of a source with the comment above.
fn constants(source: &str) -> Vec<Constant> {
    let (mut all, mut doc) = (Vec::new(), Vec::new());
    for line in source.lines() {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("/// ") {
            doc.push(text);
            continue;
        }
        if let Some((name, value)) = constant(line) {
            all.push(Constant {
                name: name.to_owned(),
                doc: doc.join(" "),
                value: value.to_owned(),
            });
        }
        doc.clear();
    }
    all
}

fn constant(line: &str) -> Option<(&str, &str)> {
    let (visible, rest) = line.split_once("const ")?;
    let visible = visible.trim();
    if !(visible.is_empty() || visible.starts_with("pub")) {
        return None;
    }
    let (name, rest) = rest.split_once(": ")?;
    let (_, value) = rest.split_once(" = ")?;
    let known = name
        .chars()
        .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    known
        .then(|| value.strip_suffix(';').map(|value| (name, value)))
        .flatten()
}

/// Products and shifts of numbers as one number with its unit, lengths of time with theirs.
fn shown(value: &str, unit: fn(u64) -> String) -> String {
    let value = value.trim();
    let inside = |open: &str| value.strip_prefix(open)?.strip_suffix(')');
    if let Some(parts) = inside("(") {
        return parts
            .split(", ")
            .map(|part| shown(part, unit))
            .collect::<Vec<_>>()
            .join(", ");
    }
    if let Some(seconds) = inside("Duration::from_secs(") {
        return shown(seconds, |seconds| time(seconds * 1000));
    }
    if let Some(ms) = inside("Duration::from_millis(") {
        return shown(ms, time);
    }
    number(value).map_or_else(|| format!("`{value}`"), unit)
}

fn number(text: &str) -> Option<u64> {
    if let Some((a, b)) = text.split_once(" << ") {
        return Some(number(a)? << number(b)?);
    }
    if let Some((a, b)) = text.split_once(" * ") {
        return Some(number(a)? * number(b)?);
    }
    text.trim().replace('_', "").parse().ok()
}

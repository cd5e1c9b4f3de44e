//! Whether a unit was made weaker than it was shipped: the shipped file and every drop-in are read as the service manager
//! reads them, setting by setting, and what permits more afterwards is named with the file that did it. What is stricter
//! is nobody's business but the administrator's.

mod classes;

use std::collections::BTreeSet;

pub use classes::Class;
use classes::{JOINS, Kind, Rest, table};

/// A file with the lines of a unit.
pub struct UnitText<'a> {
    pub path: &'a str,
    pub text: &'a str,
}

/// One setting that permits more than it was shipped with.
#[derive(Debug)]
pub struct Weakening {
    pub class: &'static Class,
    /// The files that did it.
    pub by: Vec<String>,
    /// What it is now, and what it was.
    pub is: String,
    pub was: String,
}

/// What of this unit is weaker than shipped. `replaced`: what stands in place of the shipped file, where something does.
pub fn weakenings(
    unit: &str,
    shipped: &str,
    replaced: Option<&UnitText>,
    drop_ins: &[UnitText],
) -> Vec<Weakening> {
    let Some((section, classes)) = table(unit) else {
        return Vec::new();
    };
    let shipped = assignments(section, shipped);
    let base = replaced.map_or_else(|| shipped.clone(), |file| assignments(section, file.text));
    let read: Vec<_> = drop_ins
        .iter()
        .map(|file| (file.path, assignments(section, file.text)))
        .collect();
    let compare = |class: &'static Class| {
        let was = values(&shipped, class.name);
        let mut now = values(&base, class.name);
        let mut by = Vec::new();
        if let Some(file) = replaced.filter(|_| is_weaker(class.kind, &was, &now)) {
            by.push(file.path.to_owned());
        }
        for (path, rows) in &read {
            let more = values(rows, class.name);
            if more.is_empty() {
                continue;
            }
            now.extend(more);
            match is_weaker(class.kind, &was, &now) {
                true => by.push((*path).to_owned()),
                // It makes good what another one did.
                false => by.clear(),
            }
        }
        is_weaker(class.kind, &was, &now).then(|| Weakening {
            class,
            by,
            is: show(class.kind, &now, &was),
            was: show(class.kind, &was, &[]),
        })
    };
    classes.iter().filter_map(compare).collect()
}

/// The assignments of a section, in order; a comment is none, and a line that ends in `\` goes on.
pub fn assignments(wanted: &str, text: &str) -> Vec<(String, String)> {
    let (mut rows, mut section, mut open) = (Vec::new(), String::new(), String::new());
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) || (line.is_empty() && open.is_empty()) {
            continue;
        }
        if let Some(rest) = line.strip_suffix('\\') {
            open.push_str(rest);
            open.push(' ');
            continue;
        }
        let whole = std::mem::take(&mut open) + line;
        if let Some(name) = whole
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name.to_owned();
        } else if let Some((name, value)) = whole.split_once('=') {
            let name = name.trim();
            if section == wanted || section == "Unit" && name == JOINS {
                rows.push((name.to_owned(), value.trim().to_owned()));
            }
        }
    }
    rows
}

fn values(rows: &[(String, String)], name: &str) -> Vec<String> {
    let mine = rows.iter().filter(|(known, _)| known == name);
    let values = mine.map(|(_, value)| match name {
        "SystemCallFilter" => without_errno(value),
        _ => value.clone(),
    });
    values.collect()
}

/// The errno behind a call is not what it is about.
fn without_errno(value: &str) -> String {
    let names = value.split_whitespace();
    let names: Vec<_> = names
        .map(|name| name.split(':').next().unwrap_or(name))
        .collect();
    names.join(" ")
}

fn is_weaker(kind: Kind, was: &[String], now: &[String]) -> bool {
    match kind {
        Kind::Yes => is_yes(was) && !is_yes(now),
        Kind::Rank(ranks) => rank(ranks, now) < rank(ranks, was),
        Kind::Permits { unset, empty } => {
            !permitted(now, unset, empty).is_within(&permitted(was, unset, empty))
        }
        Kind::Refuses => {
            let (was, now) = (words(was), words(now));
            was.iter().any(|word| !now.contains(word))
        }
        Kind::No => !is_no(now) && is_no(was),
        Kind::Least => limit(now) > limit(was),
        Kind::Limit(none) => !is_limited(none, now) && is_limited(none, was),
        Kind::Mask => bits(was, 0o022) & !bits(now, 0o022) != 0,
        Kind::Mode => bits(now, 0o777) & !bits(was, 0o777) != 0,
        Kind::Fixed => effective(was).last() != effective(now).last(),
    }
}

/// As a person reads it: of a list what is not in the `other` one, where there is such.
fn show(kind: Kind, values: &[String], other: &[String]) -> String {
    let list = effective(values);
    let new = list.iter().copied();
    let new: Vec<_> = new
        .filter(|value| !other.iter().any(|known| known == value))
        .collect();
    let shown = match kind {
        Kind::Permits { .. } | Kind::Refuses if new.is_empty() => list.join(" "),
        Kind::Permits { .. } | Kind::Refuses => new.join(" "),
        Kind::Yes | Kind::Rank(_) => last_read(kind, values).unwrap_or_default().to_owned(),
        _ => values.last().cloned().unwrap_or_default(),
    };
    const MOST: usize = 120;
    match shown.char_indices().nth(MOST) {
        Some((end, _)) => format!("\"{}…\"", shown.get(..end).unwrap_or_default()),
        None if values.is_empty() => "not set".to_owned(),
        None if shown.is_empty() && matches!(kind, Kind::Yes | Kind::Rank(_)) => {
            "not set".to_owned()
        }
        None if shown.is_empty() => "empty".to_owned(),
        None => format!("\"{shown}\""),
    }
}

/// What is left after the last empty assignment, which forgets all before it.
fn effective(values: &[String]) -> Vec<&str> {
    let last = values.iter().rposition(String::is_empty);
    let left = last.map_or(values, |at| values.get(at + 1..).unwrap_or_default());
    left.iter().map(String::as_str).collect()
}

fn words(values: &[String]) -> BTreeSet<&str> {
    let left = effective(values).into_iter();
    left.flat_map(str::split_whitespace).collect()
}

/// The last value that the service manager can read: it passes over every other one, an empty one among them.
fn last_read(kind: Kind, values: &[String]) -> Option<&str> {
    let known = |value: &&str| match kind {
        Kind::Rank(ranks) => ranks.contains(&boolean(value)),
        _ => matches!(boolean(value), "yes" | "no"),
    };
    values.iter().rev().map(String::as_str).find(known)
}

fn is_yes(values: &[String]) -> bool {
    last_read(Kind::Yes, values).map(boolean) == Some("yes")
}

/// `yes` or `no` for every word that stands for it, in capitals, too; another value as it is.
fn boolean(value: &str) -> &str {
    match value.to_ascii_lowercase().as_str() {
        "1" | "y" | "yes" | "t" | "true" | "on" => "yes",
        "0" | "n" | "no" | "f" | "false" | "off" => "no",
        _ => value,
    }
}

fn rank(ranks: &'static [&'static str], values: &[String]) -> usize {
    let last = last_read(Kind::Rank(ranks), values).map(boolean);
    let known = ranks.iter().position(|rank| Some(*rank) == last);
    known.unwrap_or(0)
}

fn limit(values: &[String]) -> u64 {
    let last = values.last().map_or("infinity", String::as_str);
    let hard = last.rsplit(':').next().unwrap_or(last);
    hard.parse().unwrap_or(u64::MAX)
}

/// Whatever else stands there says what is given, and so does nothing behind the sign.
fn is_no(values: &[String]) -> bool {
    values.last().is_none_or(|last| boolean(last) == "no")
}

fn is_limited(none: &[&str], values: &[String]) -> bool {
    let last = values.last().map(String::as_str);
    last.is_some_and(|last| !last.is_empty() && !none.contains(&last))
}

/// `unset` is what the service manager takes when nothing stands there.
fn bits(values: &[String], unset: u32) -> u32 {
    let last = values.last().filter(|last| !last.is_empty());
    last.map_or(unset, |last| u32::from_str_radix(last, 8).unwrap_or(unset))
}

/// A set of names that is finite, or everything but some; and names that were taken out of groups among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Names<'a> {
    all: bool,
    /// What is in it, or with `all`, what is not.
    listed: BTreeSet<&'a str>,
    without: BTreeSet<&'a str>,
}

impl Names<'_> {
    fn is_within(&self, other: &Self) -> bool {
        let members = match (self.all, other.all) {
            (false, false) => self.listed.is_subset(&other.listed),
            (true, true) => other.listed.is_subset(&self.listed),
            (false, true) => self.listed.is_disjoint(&other.listed),
            (true, false) => false,
        };
        members && other.without.is_subset(&self.without)
    }
}

/// What a list permits, read as the service manager does: names add up, `~` takes away, and the first one decides whether
/// it is a list of what is permitted or of what is not.
fn permitted(values: &[String], unset: Rest, empty: Rest) -> Names<'_> {
    let rest = |rest: Rest| Names {
        all: rest == Rest::All,
        ..Names::default()
    };
    let (mut names, mut begun) = (rest(unset), false);
    for value in values {
        match boolean(value) {
            "" => {
                (names, begun) = (rest(empty), false);
                continue;
            }
            // Everything again.
            "~" => {
                (names, begun) = (rest(Rest::All), false);
                continue;
            }
            // All namespaces, or none at all.
            "no" => {
                (names, begun) = (rest(Rest::All), true);
                continue;
            }
            "yes" | "none" => {
                (names, begun) = (rest(Rest::None), true);
                continue;
            }
            _ => {}
        }
        let (inverted, list) = match value.strip_prefix('~') {
            Some(list) => (true, list),
            None => (false, value.as_str()),
        };
        if !begun {
            names = rest(if inverted { Rest::All } else { Rest::None });
        }
        begun = true;
        for name in list.split_whitespace() {
            if inverted == names.all {
                names.listed.insert(name);
                names.without.remove(name);
            } else if !names.listed.remove(name) && inverted {
                names.without.insert(name);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests;

//! What only shows when the files are taken together: rows that say nothing new, sections that nobody
//! includes, calls of x86_64 that have no counterpart on aarch64.

use super::row::Row;
use super::{FOLDER, Mistake, Part, SECTIONS, names};

pub(super) fn all(parts: &[Part]) -> Result<(), Mistake> {
    for part in parts {
        nothing_twice(&[part], part)?;
    }
    for profile in parts.iter().filter(|part| !part.is_section()) {
        let included = included(parts, profile)?;
        nothing_without_filter(profile)?;
        // Two sections may both permit what both need, since each can be without the other.
        for section in &included {
            nothing_twice(&[section, profile], profile)?;
        }
        let all: Vec<&Row> = included
            .iter()
            .chain([&profile])
            .flat_map(|part| &part.rows)
            .collect();
        counterparts(profile, &all)?;
    }
    for part in parts.iter().filter(|part| part.is_section()) {
        let mut includes = parts.iter().flat_map(|part| &part.includes);
        if !includes.any(|(name, _)| *name == part.name) {
            let at = format!("{FOLDER}/{}.toml:1", part.name);
            return Err(Mistake::new(at, "no profile includes this section"));
        }
    }
    Ok(())
}

fn included<'a>(parts: &'a [Part], profile: &Part) -> Result<Vec<&'a Part>, Mistake> {
    let mut found: Vec<&Part> = Vec::new();
    for (name, at) in &profile.includes {
        if found.iter().any(|part| part.name == *name) {
            return Err(Mistake::new(at, format!("`{name}` is included already")));
        }
        let section = parts
            .iter()
            .find(|part| part.name == *name && part.is_section());
        let section = section.ok_or_else(|| {
            let known = SECTIONS.iter().copied();
            Mistake::new(at, names::unknown("section", name, known))
        })?;
        found.push(section);
    }
    Ok(found)
}

fn nothing_without_filter(profile: &Part) -> Result<(), Mistake> {
    if profile.filter {
        return Ok(());
    }
    let includes = profile.includes.iter().map(|(_, at)| at);
    let rows = profile.rows.iter().map(|row| &row.at);
    let files = profile.files.iter().map(|row| &row.at);
    match includes.chain(rows).chain(files).next() {
        Some(at) => Err(Mistake::new(
            at,
            "a profile without filter has neither calls nor files",
        )),
        None => Ok(()),
    }
}

/// Refuses a row of `own` that another row of these parts makes pointless. That `own` goes beyond a row
/// of a section is its right.
fn nothing_twice(parts: &[&Part], own: &Part) -> Result<(), Mistake> {
    let rows = || parts.iter().flat_map(|part| &part.rows).enumerate();
    for (index, row) in rows().filter(|(_, row)| within(&own.rows, row)) {
        for (other, by) in rows().filter(|(other, _)| *other != index) {
            // Of two that say the same the later one is too much.
            if !by.silences(row) || (row.silences(by) && index < other) {
                continue;
            }
            let what = if row.text == by.text {
                "stands there twice"
            } else {
                "can never matter"
            };
            return Err(Mistake::new(
                &row.at,
                format!("`{}`: {what}: see `{}` in {}", row.text, by.text, by.at),
            ));
        }
    }
    let files = || parts.iter().flat_map(|part| &part.files).enumerate();
    for (index, row) in files().filter(|(_, row)| within(&own.files, row)) {
        for (other, by) in files().filter(|(other, _)| *other != index) {
            if by.covers(row) && !(row.covers(by) && index < other) {
                let message = format!("`{}` is permitted already in {}", row.place, by.at);
                return Err(Mistake::new(&row.at, message));
            }
        }
    }
    Ok(())
}

fn within<T>(list: &[T], item: &T) -> bool {
    list.iter().any(|own| std::ptr::eq(own, item))
}

/// Every call that only x86_64 has is answered alike by another name on aarch64.
fn counterparts(profile: &Part, rows: &[&Row]) -> Result<(), Mistake> {
    for row in rows.iter().filter(|row| row.numbers.aarch64.is_none()) {
        let Some(stand_in) = names::stand_in(&row.call) else {
            let message = format!(
                "`{}`: say in crates/confine/build/names.rs which call does this on aarch64",
                row.text
            );
            return Err(Mistake::new(&row.at, message));
        };
        let alike = |other: &&Row| {
            other.call == stand_in
                && other.errno == row.errno
                && (other.mode.is_none() || other.mode == row.mode)
        };
        if !rows.iter().copied().any(|other| alike(&other)) {
            let message = format!(
                "`{}`: aarch64 does this by `{stand_in}`, for which {} has no such row",
                row.text, profile.name
            );
            return Err(Mistake::new(&row.at, message));
        }
    }
    Ok(())
}

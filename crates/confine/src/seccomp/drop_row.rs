//! For `cargo xtask minimal` alone: a filter without the rows that a file beside the program names. No build that is
//! shipped or tested has this feature, and it does not compile for release. It only narrows: what matched such a row kills.

use std::collections::BTreeSet;

use crate::profile::{Profile, Row, Value};

#[cfg(not(debug_assertions))]
compile_error!(
    "the feature drop-row is for `cargo xtask minimal`, never for a program that somebody uses"
);

/// A line each: the profile or `*`, a space, and the row by its [`name`].
const FILE: &str = "drop-row";

/// File, line, call and conditions. The values of one condition that a line lists are rows of their own.
#[must_use]
pub fn name(row: &Row) -> String {
    let conditions: Vec<String> = row
        .conditions
        .iter()
        .map(|condition| {
            let argument = if condition.wide { "ptr" } else { "arg" };
            let mask = condition
                .mask
                .map_or_else(String::new, |mask| format!(" & {mask:#x}"));
            let operator = if condition.equal { "==" } else { "!=" };
            let value = match condition.value {
                Value::Number(number) => format!("{number:#x}"),
                Value::OwnPid => "self".into(),
            };
            format!("{argument}{}{mask} {operator} {value}", condition.argument)
        })
        .collect();
    let answer = row
        .errno
        .map_or_else(String::new, |errno| format!(" -> errno {errno}"));
    format!(
        "{} {}({}){answer}",
        row.source,
        row.call,
        conditions.join(", ")
    )
}

/// Whether a row of this profile stays.
pub(super) fn kept(profile: &Profile) -> impl Fn(&&'static Row) -> bool {
    let beside = std::env::current_exe().map(|program| program.with_file_name(FILE));
    let text = beside.and_then(std::fs::read_to_string).unwrap_or_default();
    let dropped: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(of, _)| *of == "*" || *of == profile.name)
        .map(|(_, row)| row.to_owned())
        .collect();
    move |row| dropped.is_empty() || !dropped.contains(&name(row))
}

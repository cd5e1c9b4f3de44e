//! The reference of all settings, written from the same rows that the program reads the file with.

use std::fmt::Write;

use crate::rules;
use crate::schema::{Row, default_text};
use crate::section::Spec;

/// The document: one table per top-level key, then the danger rules.
pub(crate) fn markdown(rows: &[Row], root: &Spec) -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         One file in JSON5. Every key that is not listed here is a mistake, and so is a value of another type. A row marked \
         *not yet* is read and checked, and has no effect so far. A *secret* is a string, `\"${NAME}\"` for a variable of the \
         start environment, or `{source, id}`.\n",
    );
    // Writing to a String cannot fail.
    for key in root.keys {
        let _ = write!(out, "\n## {}\n\n{}\n\n", key.name, key.doc.trim());
        let _ = writeln!(
            out,
            "| Key | Type | Default | What it does | Works |\n|---|---|---|---|---|"
        );
        let prefix = format!("{}.", key.name);
        let list = format!("{}[", key.name);
        for row in rows {
            if row.shown == key.name
                || row.shown.starts_with(&prefix)
                || row.shown.starts_with(&list)
            {
                let works = row
                    .later
                    .map_or_else(|| "yes".to_owned(), |later| format!("not yet ({later})"));
                let _ = writeln!(
                    out,
                    "| `{}` | {} | {} | {} | {works} |",
                    cell(&row.shown),
                    cell(&row.info.name),
                    cell(&default_text(row)),
                    cell(row.key.doc.trim()),
                );
            }
        }
    }
    let _ = writeln!(
        out,
        "\n## Other spellings\n\n| Written | Means |\n|---|---|"
    );
    let mut spelling = |section: &str, also: &[(&str, &str)]| {
        for (from, to) in also {
            let _ = writeln!(out, "| `{section}{from}` | `{section}{to}` |");
        }
    };
    spelling("", root.also);
    for row in rows.iter().filter(|row| !row.shown.ends_with(".accounts")) {
        spelling(&format!("{}.", row.shown), row.info.also);
    }
    let _ = write!(
        out,
        "\n## Dangers\n\nA rule that refuses the file and can be accepted is named in `dangerous.accept`.\n\n\
         | Rule | About | Effect | What to do |\n|---|---|---|---|\n"
    );
    for rule in rules::about_rules() {
        let _ = writeln!(
            out,
            "| `{}` | `{}` | {} | {} |",
            rule.id,
            cell(rule.key),
            rule.effect,
            cell(rule.remedy)
        );
    }
    out
}

/// Text inside a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

//! Pages of `docs/` that are long enough for a file of their own.

pub mod commands;
pub mod limits;

/// Text inside a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

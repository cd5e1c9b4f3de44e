//! The tables as text of the library's language.

use std::fmt::Write as _;

use super::row::{Condition, Row, Value};
use super::{FileRow, Mode, Part};

pub(super) fn tables(parts: &[Part]) -> String {
    let mut code = String::new();
    let mut profiles = String::new();
    for part in parts {
        let upper = part.name.to_uppercase();
        let limits = each(&part.limits, |(limit, value)| {
            format!("{limit}: Some({value}), ")
        });
        let _ = write!(
            code,
            "static {upper}: Section = Section {{ name: {:?}, limits: Limits {{ {limits}..Limits::NONE }}, \
             files: &[{}], rows: &[\n{}] }};\n",
            part.name,
            each(&part.files, file_row),
            each(&part.rows, row)
        );
        if part.is_section() {
            continue;
        }
        let sections = each(&part.includes, |(name, _)| {
            format!("&{}, ", name.to_uppercase())
        });
        let _ = writeln!(
            profiles,
            "Profile {{ name: {:?}, filter: {}, own_network: {}, connect_tcp: {}, \
             sections: &[{sections}&{upper}] }},",
            part.name, part.filter, part.own_network, part.connect_tcp
        );
    }
    let _ = write!(
        code,
        "/// Every profile, by name.\npub static PROFILES: &[Profile] = &[\n{profiles}];\n"
    );
    code
}

fn each<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    items.iter().map(text).collect()
}

fn mode(mode: Option<Mode>) -> String {
    mode.map_or("None".to_owned(), |mode| format!("Some(Mode::{mode:?})"))
}

fn file_row(row: &FileRow) -> String {
    format!(
        "FileRow {{ place: Place::{}, access: Access::{}, optional: {}, mode: {}, source: {:?} }}, ",
        row.variant(),
        row.access.variant,
        row.optional,
        mode(row.mode),
        row.at
    )
}

fn row(row: &Row) -> String {
    format!(
        "Row {{ call: {:?}, numbers: Numbers {{ x86_64: {:?}, aarch64: {:?} }}, mode: {}, \
         errno: {:?}, conditions: &[{}], source: {:?} }},\n",
        row.call,
        row.numbers.x86_64,
        row.numbers.aarch64,
        mode(row.mode),
        row.errno,
        each(&row.conditions, condition),
        row.at
    )
}

fn condition(condition: &Condition) -> String {
    let value = match condition.value {
        Value::Number(number) => format!("Number({number})"),
        Value::OwnPid => "OwnPid".to_owned(),
    };
    format!(
        "Condition {{ argument: {}, wide: {}, mask: {:?}, equal: {}, value: Value::{value} }}, ",
        condition.argument, condition.wide, condition.mask, condition.equal
    )
}

//! One row of calls: `[single:|system:] [x86_64:] CALL [(CONDITIONS)] [-> ERRNO]`.

use super::names::{self, Numbers};
use super::{Mistake, Mode};

/// What an argument is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    OwnPid,
}

/// A demand on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u8,
    pub(super) wide: bool,
    pub(super) mask: Option<u64>,
    pub(super) equal: bool,
    pub(super) value: Value,
}

/// A row with one alternative of each of its conditions.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// File and line.
    pub(super) at: String,
    /// As it is written.
    pub(super) text: String,
    pub(super) call: String,
    pub(super) numbers: Numbers,
    pub(super) mode: Option<Mode>,
    pub(super) errno: Option<u64>,
    pub(super) conditions: Vec<Condition>,
}

/// All alternatives of a row.
pub(super) fn read(text: &str, at: &str, refuse: bool) -> Result<Vec<Row>, Mistake> {
    parse(text, at, refuse).map_err(|message| Mistake::new(at, format!("`{text}`: {message}")))
}

fn parse(text: &str, at: &str, refuse: bool) -> Result<Vec<Row>, String> {
    let (body, errno) = match text.split_once("->") {
        Some((body, errno)) => (body, Some(names::constant(identifier(errno)?)?)),
        None => (text, None),
    };
    if refuse != errno.is_some() {
        return Err("rows under `refuse` end with `-> ERRNO`, others do not".to_owned());
    }
    let (mut mode, mut one_arch, mut call) = (None, false, body.trim());
    while let Some((prefix, rest)) = call.split_once(':') {
        match (Mode::of_prefix(prefix.trim()), prefix.trim()) {
            (Some(only), _) if mode.is_none() && !one_arch => mode = Some(only),
            (None, "x86_64") if !one_arch => one_arch = true,
            (_, other) => {
                return Err(format!(
                    "the prefix `{other}` is none of `single`, `system` and then `x86_64`, each once"
                ));
            }
        }
        call = rest.trim();
    }
    let (call, conditions) = match call.split_once('(') {
        Some((call, rest)) => {
            let inner = rest
                .strip_suffix(')')
                .ok_or("a `)` is missing at the end")?;
            let conditions = inner.split(',').map(condition);
            (call, conditions.collect::<Result<Vec<_>, _>>()?)
        }
        None => (call, Vec::new()),
    };
    let call = identifier(call)?;
    let numbers = numbers(call, one_arch)?;
    let mut rows = Vec::new();
    for conditions in alternatives(&conditions) {
        if !can_hold(&conditions) {
            return Err("its conditions can never hold together".to_owned());
        }
        rows.push(Row {
            at: at.to_owned(),
            text: text.to_owned(),
            call: call.to_owned(),
            numbers,
            mode,
            errno,
            conditions,
        });
    }
    Ok(rows)
}

fn numbers(call: &str, one_arch: bool) -> Result<Numbers, String> {
    let numbers = names::call(call)?;
    match (numbers.x86_64, numbers.aarch64, one_arch) {
        (None, ..) => Err("x86_64 has no such call".to_owned()),
        (_, None, false) => Err(format!("aarch64 has no such call; write `x86_64: {call}`")),
        (_, Some(_), true) => Err("aarch64 has this call as well; leave `x86_64:` out".to_owned()),
        _ => Ok(numbers),
    }
}

/// One condition as the alternatives of which one must hold, each a list that must hold as a whole.
fn condition(text: &str) -> Result<Vec<Vec<Condition>>, String> {
    let (left, equal, right) = match (text.split_once("=="), text.split_once("!=")) {
        (Some((left, right)), None) => (left, true, right),
        (None, Some((left, right))) => (left, false, right),
        _ => return Err(format!("`{}` needs one `==` or `!=`", text.trim())),
    };
    let (argument, mask) = match left.split_once('&') {
        Some((argument, mask)) => (argument.trim(), Some(constant(mask)?)),
        None => (left.trim(), None),
    };
    if !equal && mask.is_some() {
        return Err("a mask goes with `==` only".to_owned());
    }
    let (wide, number) = match (argument.strip_prefix("arg"), argument.strip_prefix("ptr")) {
        (Some(number), _) => (false, number),
        (_, Some(number)) => (true, number),
        _ => return Err(format!("`{argument}` is neither argN nor ptrN")),
    };
    let argument = match number.parse() {
        Ok(number @ 0..=5) if argument.len() == 4 => number,
        _ => return Err(format!("`{argument}`: a call has arguments 0 to 5")),
    };
    let each = right.split('|').map(|value| {
        let value = match value.trim() {
            "self" => Value::OwnPid,
            value => Value::Number(constant(value)?),
        };
        let condition = Condition {
            argument,
            wide,
            mask,
            equal,
            value,
        };
        if let Value::Number(value) = value
            && value & !condition.bits() != 0
        {
            return Err(format!("`{}`: no argument has such bits", text.trim()));
        }
        Ok(condition)
    });
    let each = each.collect::<Result<Vec<_>, String>>()?;
    // Equal to one of them, but different from all of them.
    Ok(if equal {
        each.into_iter().map(|one| vec![one]).collect()
    } else {
        vec![each]
    })
}

/// The product of all conditions' alternatives.
fn alternatives(conditions: &[Vec<Vec<Condition>>]) -> Vec<Vec<Condition>> {
    conditions
        .iter()
        .fold(vec![Vec::new()], |rows: Vec<Vec<Condition>>, choices| {
            rows.iter()
                .flat_map(|row| {
                    choices
                        .iter()
                        .map(move |choice| [&row[..], choice].concat())
                })
                .collect()
        })
}

/// A number, a name, or several joined by `+`.
fn constant(text: &str) -> Result<u64, String> {
    text.split('+').map(str::trim).try_fold(0, |all, part| {
        let value = match part.strip_prefix("0x") {
            Some(digits) => {
                u64::from_str_radix(digits, 16).map_err(|e| format!("`{part}`: {e}"))?
            }
            None if part.starts_with(|c: char| c.is_ascii_digit()) => {
                part.parse().map_err(|e| format!("`{part}`: {e}"))?
            }
            None => names::constant(identifier(part)?)?,
        };
        Ok(all | value)
    })
}

fn identifier(text: &str) -> Result<&str, String> {
    let text = text.trim();
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(valid)
    {
        return Err(format!("`{text}` is no name"));
    }
    Ok(text)
}

fn can_hold(conditions: &[Condition]) -> bool {
    let apart = |(index, one): (usize, &Condition)| {
        let mut later = conditions.iter().skip(index + 1);
        later.any(|other| one.contradicts(other))
    };
    !conditions.iter().enumerate().any(apart)
}

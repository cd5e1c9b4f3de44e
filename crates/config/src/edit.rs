//! One change in the text of a configuration, which keeps every comment, the order and the way the file is written.
//! Refuses a change that adds a mistake, one that has to guess a place, and a secret as an argument: other programs see
//! the arguments of a command.

use std::borrow::Cow;
use std::path::Path;

use zeroize::Zeroizing;

use crate::config::Loaded;
use crate::json5::{self, Member, Node, Object, Value};
use crate::load::{MAX_SIZE, mistakes, parse_in};
use crate::mask;
use crate::nearest::nearest;
use crate::path::{ConfigPath, Segment};
use crate::problem::{Problem, Span};
use crate::report::LoadError;
use crate::schema::{self, Settings};
use crate::section::same;
use crate::shape::{Cx, Kind, Shape, Step};
use crate::spelling;

mod diff;
mod list;
mod print;
mod save;
mod splice;
#[cfg(test)]
mod tests;

pub use diff::diff;
pub(crate) use list::with_a_name;
pub use list::with_entries;
pub(crate) use print::in_quotes;
pub use save::{SaveError, read, save, save_for};

/// Why a setting was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The change adds a mistake, or the file is not even JSON5 as it stands.
    #[error("{0}")]
    Refused(LoadError),
    /// The new value is not JSON5.
    #[error("the value is not JSON5: {0}")]
    Value(String),
    /// There is no such setting, or no place for it.
    #[error("{0}")]
    Place(String),
    /// The value holds a secret.
    #[error("{0} is a secret, which a command must not hold: other programs can see it")]
    Secret(ConfigPath),
}

/// A text and what it means.
struct Doc<'a> {
    name: &'a str,
    text: String,
    root: Node,
    /// How the file was written at first.
    style: print::Style,
}

impl<'a> Doc<'a> {
    fn read(name: &'a str, text: String) -> Result<Self, EditError> {
        match json5::parse(&text) {
            Ok(parsed) => Ok(Self {
                name,
                style: print::Style::of(&text, &parsed.root),
                root: parsed.root,
                text,
            }),
            Err(problem) => Err(EditError::Refused(LoadError::new(
                name,
                &text,
                vec![problem],
                0,
            ))),
        }
    }

    fn with(&self, changes: Vec<splice::Change>) -> Result<Self, EditError> {
        let changed = Self::read(self.name, splice::apply(&self.text, changes))?;
        Ok(Self {
            style: self.style.clone(),
            ..changed
        })
    }
}

/// The text with the setting at `path` having `value`, which is JSON5. The same text when it has it already.
/// `name` is the path of the file, for messages and for rules about where it lies; an empty text is a new file.
///
/// # Errors
/// When there is no such setting, the value is no JSON5 or holds a secret, or the result has a mistake that the text
/// has not.
pub fn set(name: &str, text: &str, path: &ConfigPath, value: &str) -> Result<String, EditError> {
    set_all(name, text, &[(path, value)])
}

/// The same for several settings, one after the other, of which only the last result is judged: some need each other.
///
/// # Errors
/// As those of [`set`].
pub fn set_all(
    name: &str,
    text: &str,
    settings: &[(&ConfigPath, &str)],
) -> Result<String, EditError> {
    let mut after = text.to_owned();
    for (path, value) in settings {
        after = set_unchecked(name, &after, path, value)?;
    }
    checked(name, text, after, false)
}

fn set_unchecked(
    name: &str,
    text: &str,
    path: &ConfigPath,
    value: &str,
) -> Result<String, EditError> {
    let parsed = json5::parse(value).map_err(|problem| EditError::Value(problem.message))?;
    if let Some(problem) = parsed.duplicates.into_iter().next() {
        return Err(EditError::Value(problem.message));
    }
    let new = Source {
        text: value,
        node: &parsed.root,
    };
    let spellings = spelling::all(path);
    let start = match text.trim().is_empty() {
        true => "{}\n",
        false => text,
    };
    let mut doc = Doc::read(name, start.to_owned())?;
    let present: Vec<_> = spellings
        .iter()
        .map(|spelling| short(&doc, spelling))
        .filter(|spelling| locate(&doc.root, spelling.segments()).0 == spelling.segments().len())
        .collect();
    // Where nothing says otherwise the spelling of which most is there already, and of equals the canonical one.
    let reach = |spelling: &&ConfigPath| locate(&doc.root, spelling.segments()).0;
    let best = spellings.iter().rev().max_by_key(reach);
    let places = match (present.is_empty(), best) {
        (false, _) => present,
        (true, Some(best)) if !path.is_empty() => vec![best.clone()],
        (true, _) => return Err(EditError::Place(unknown(path))),
    };
    for place in places {
        doc = unfold(doc, &place)?;
        doc = put(doc, place.segments(), &new)?;
    }
    Ok(doc.text)
}

/// The text without the setting at `path`, in whatever spelling. The same text when it does not set it.
///
/// # Errors
/// When the result has a mistake that the text has not.
pub fn unset(name: &str, text: &str, path: &ConfigPath) -> Result<String, EditError> {
    match unset_unchecked(name, text, path)? {
        // What comes later in a list moves up.
        Some(after) => {
            let moves = matches!(path.segments().last(), Some(Segment::Index(_)));
            checked(name, text, after, moves)
        }
        None if schema::knows(&spelling::canonical(path)) && !path.is_empty() => {
            Ok(text.to_owned())
        }
        None => Err(EditError::Place(unknown(path))),
    }
}

/// Nothing when the file does not set it.
fn unset_unchecked(name: &str, text: &str, path: &ConfigPath) -> Result<Option<String>, EditError> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let mut doc = Doc::read(name, text.to_owned())?;
    // A key that the schema does not know can be removed as it is written.
    let mut spellings = spelling::all(path);
    if !spellings.contains(path) {
        spellings.push(path.clone());
    }
    let mut removed = false;
    for spelling in spellings {
        loop {
            let place = short(&doc, &spelling);
            let steps = place.segments();
            if steps.is_empty() || locate(&doc.root, steps).0 < steps.len() {
                break;
            }
            doc = remove(&doc, steps)?;
            removed = true;
            if matches!(steps.last(), Some(Segment::Index(_))) {
                break;
            }
        }
    }
    Ok(removed.then_some(doc.text))
}

/// What a person typed as a value, as JSON5: a text without quotes is one where the setting takes texts and this can
/// be nothing else, or where `string` says so.
pub fn typed<'a>(path: &ConfigPath, text: &'a str, string: bool) -> Cow<'a, str> {
    let info = schema::info_at(&spelling::canonical(path));
    let takes_text = info.is_some_and(|info| info.kinds.contains(&Kind::String));
    let opens = text.trim_start().starts_with(['{', '[', '"', '\'']);
    match string || (takes_text && !opens && json5::parse(text).is_err()) {
        true => Cow::Owned(in_quotes(text)),
        false => Cow::Borrowed(text),
    }
}

/// What a text means in the place of the file.
///
/// # Errors
/// Every mistake of it.
pub fn judge(name: &str, text: &str) -> Result<Loaded, LoadError> {
    parse_in(name, text.as_bytes(), Path::new(name).parent())
}

/// Lets the result through when it holds no secret and no mistake that was not there before. So of several mistakes one
/// after the other can be corrected, in any order. With `moves` entries of lists may have got other numbers.
fn checked(name: &str, before: &str, after: String, moves: bool) -> Result<String, EditError> {
    let known = literals(before);
    let new = literals(&after)
        .into_iter()
        .find(|secret| !known.contains(secret));
    if let Some((path, _)) = new {
        return Err(EditError::Secret(path));
    }
    let error = match judge(name, &after) {
        Ok(_) => return Ok(after),
        Err(error) => error,
    };
    let read = |text| mistakes(text, Path::new(name).parent());
    let (Some((old, old_more)), Some((new, more)), true) =
        (read(before), read(&after), after.len() <= MAX_SIZE)
    else {
        return Err(EditError::Refused(error));
    };
    // Among so many that some are only counted it is the number that decides.
    if old_more + more > 0 && new.len() + more >= old.len() + old_more {
        return Err(EditError::Refused(error));
    }
    let added = match old_more + more {
        0 => added(&old, new, moves),
        _ => Vec::new(),
    };
    match added.is_empty() {
        true => Ok(after),
        false => Err(EditError::Refused(LoadError::new(name, &after, added, 0))),
    }
}

/// The mistakes of `new` that are not among those of `old`.
fn added(old: &[Problem], new: Vec<Problem>, moves: bool) -> Vec<Problem> {
    let same = |problem: &Problem| {
        let rule = problem.rule.as_ref().map(|rule| rule.0.to_owned());
        let steps = problem.path.segments().iter().map(|step| match step {
            Segment::Index(_) if moves => Segment::Index(0),
            step => step.clone(),
        });
        let what = rule.unwrap_or_else(|| problem.message.clone());
        (what, steps.collect::<Vec<_>>())
    };
    let mut known: Vec<_> = old.iter().map(same).collect();
    new.into_iter()
        .filter(|problem| {
            let same = same(problem);
            let place = known.iter().position(|known| *known == same);
            place.map(|place| known.swap_remove(place)).is_none()
        })
        .collect()
}

/// Whether a text holds a secret in clear text that the other does not.
pub fn tells_secret(text: &str, other: &str) -> bool {
    let told = |text| mask::secrets(text).into_iter();
    let kept: Vec<_> = told(other)
        .map(|span| &other[span.start..span.end])
        .collect();
    told(text).any(|span| !kept.contains(&&text[span.start..span.end]))
}

fn literals(text: &str) -> Vec<(ConfigPath, Zeroizing<Vec<u8>>)> {
    let mut cx = Cx::default();
    if let Ok(parsed) = json5::parse(text) {
        let _ = Settings::decode(parsed.root, &mut cx);
    }
    cx.secrets.literals
}

/// How far the file goes along a path, and what it has there.
fn locate<'a>(root: &'a Node, path: &[Segment]) -> (usize, &'a Node) {
    let mut node = root;
    for (depth, segment) in path.iter().enumerate() {
        let next = match (&node.value, segment) {
            (Value::Object(object), Segment::Key(key)) => object.get(key).map(|m| &m.node),
            (Value::Array(items), Segment::Index(index)) => items.get(*index),
            _ => None,
        };
        match next {
            Some(next) => node = next,
            None => return (depth, node),
        }
    }
    (path.len(), node)
}

/// The key that a text in place of the object at `path` stands for.
fn text_for(path: &ConfigPath) -> Option<&'static str> {
    schema::info_at(&spelling::canonical(path))?.string
}

/// `model.primary` is `model` in a file that says `model: "…"`.
fn short(doc: &Doc, path: &ConfigPath) -> ConfigPath {
    let (Some(parent), Some(Segment::Key(last))) = (path.parent(), path.segments().last()) else {
        return path.clone();
    };
    let (depth, node) = locate(&doc.root, parent.segments());
    let is_text = depth == parent.segments().len() && matches!(node.value, Value::String(_));
    match is_text && text_for(&parent) == Some(last) {
        true => parent,
        false => path.clone(),
    }
}

/// `model: "…"` becomes `model: { primary: "…" }` where another key has to stand beside it.
fn unfold<'a>(doc: Doc<'a>, path: &ConfigPath) -> Result<Doc<'a>, EditError> {
    let (depth, node) = locate(&doc.root, path.segments());
    if depth == path.segments().len() || !matches!(node.value, Value::String(_)) {
        return Ok(doc);
    }
    match text_for(&ConfigPath::from(path.segments()[..depth].to_vec())) {
        None => Ok(doc),
        Some(part) => {
            let key = doc.style.key(part);
            let text = &doc.text[node.span.start..node.span.end];
            let whole = format!("{{ {key}: {text} }}");
            doc.with(vec![(node.span, whole)])
        }
    }
}

/// A value and the text in which its places are.
#[derive(Clone, Copy)]
struct Source<'a> {
    text: &'a str,
    node: &'a Node,
}

/// Gives the setting its value by as few changes as possible.
fn put<'a>(doc: Doc<'a>, path: &[Segment], new: &Source) -> Result<Doc<'a>, EditError> {
    let (depth, node) = locate(&doc.root, path);
    if depth < path.len() {
        return insert(&doc, path, depth, new);
    }
    if same(&node.value, &new.node.value) {
        return Ok(doc);
    }
    let at = |segment| [path, &[segment]].concat();
    let below = |node| Source { node, ..*new };
    match (&node.value, &new.node.value) {
        (Value::Object(old), Value::Object(wanted)) => {
            let gone = old.0.iter().map(|member| member.key.clone());
            let gone: Vec<_> = gone.filter(|key| wanted.get(key).is_none()).collect();
            let mut doc = doc;
            for key in gone {
                doc = remove(&doc, &at(Segment::Key(key)))?;
            }
            for member in &wanted.0 {
                let key = Segment::Key(member.key.clone());
                doc = put(doc, &at(key), &below(&member.node))?;
            }
            Ok(doc)
        }
        (Value::Array(old), Value::Array(wanted)) => {
            let equal = |(a, b): &(&Node, &Node)| same(&a.value, &b.value);
            let head = old.iter().zip(wanted).take_while(equal).count();
            let tails = old[head..].iter().rev().zip(wanted[head..].iter().rev());
            let tail = tails.take_while(equal).count();
            let (last, stop) = (old.len() - tail, wanted.len() - tail);
            let mut doc = doc;
            for index in (stop.max(head)..last).rev() {
                doc = remove(&doc, &at(Segment::Index(index)))?;
            }
            for (index, item) in wanted.iter().enumerate().take(stop).skip(head) {
                let place = at(Segment::Index(index));
                doc = match index < last {
                    true => put(doc, &place, &below(item))?,
                    false => insert(&doc, &place, path.len(), &below(item))?,
                };
            }
            Ok(doc)
        }
        _ => {
            let style = doc.style.at(&doc.text, node);
            let indent = splice::indent(&doc.text, node.span.start);
            let text = style.value(new, indent);
            doc.with(vec![(node.span, text)])
        }
    }
}

/// Adds what is missing of the path from `depth` on.
fn insert<'a>(
    doc: &Doc<'a>,
    path: &[Segment],
    depth: usize,
    new: &Source,
) -> Result<Doc<'a>, EditError> {
    let (_, node) = locate(&doc.root, &path[..depth]);
    let mut value = new.node.clone();
    for at in (depth + 1..path.len()).rev() {
        let inner = match &path[at] {
            Segment::Key(key) => Value::Object(Object(vec![Member {
                key: key.clone(),
                key_span: Span::default(),
                node: value,
            }])),
            Segment::Index(0) => Value::Array(vec![value]),
            Segment::Index(_) => return Err(EditError::Place(no_such_place(path, at, 0))),
        };
        value = Node {
            span: Span::default(),
            value: inner,
        };
    }
    let new = Source {
        node: &value,
        ..*new
    };
    let style = &doc.style;
    let changes = match (&node.value, &path[depth]) {
        (Value::Object(object), Segment::Key(key)) => {
            let last = object.0.last().map(splice::item);
            let text = |indent: &str| style.at(&doc.text, node).member(key, &new, indent);
            splice::append(&doc.text, node, last, depth == 0, style, &text)
        }
        (Value::Array(items), Segment::Index(index)) if *index < items.len() => {
            let text = |indent: &str| style.value(&new, indent);
            splice::before(&doc.text, items[*index].span, style, &text)
        }
        (Value::Array(items), Segment::Index(index)) if *index == items.len() => {
            let last = items.last().map(|item| item.span);
            let text = |indent: &str| style.value(&new, indent);
            splice::append(&doc.text, node, last, depth == 0, style, &text)
        }
        (Value::Array(items), Segment::Index(_)) => {
            return Err(EditError::Place(no_such_place(path, depth, items.len())));
        }
        (value, _) => {
            let place = ConfigPath::from(path[..depth].to_vec());
            let kind = value.kind_name();
            return Err(EditError::Place(format!(
                "{place} is {kind} in the file, so nothing can be set in it; set {place} as a whole"
            )));
        }
    };
    doc.with(changes)
}

fn no_such_place(path: &[Segment], depth: usize, count: usize) -> String {
    let list = ConfigPath::from(path[..depth].to_vec());
    let entries = match count {
        1 => "1 entry".to_owned(),
        count => format!("{count} entries"),
    };
    format!("{list} has {entries}; a new one is {list}[{count}]")
}

fn remove<'a>(doc: &Doc<'a>, path: &[Segment]) -> Result<Doc<'a>, EditError> {
    let Some((last, above)) = path.split_last() else {
        return doc.with(Vec::new());
    };
    let (_, node) = locate(&doc.root, above);
    let (items, index): (Vec<Span>, _) = match (&node.value, last) {
        (Value::Object(object), Segment::Key(key)) => (
            object.0.iter().map(splice::item).collect(),
            object.0.iter().position(|member| member.key == *key),
        ),
        (Value::Array(items), Segment::Index(index)) => {
            (items.iter().map(|item| item.span).collect(), Some(*index))
        }
        _ => (Vec::new(), None),
    };
    let changes = index.map(|index| splice::remove(&doc.text, node, &items, index));
    doc.with(changes.unwrap_or_default())
}

/// Why a path leads nowhere, with the setting that was probably meant.
fn unknown(path: &ConfigPath) -> String {
    if path.is_empty() {
        return "name a setting, for instance gateway.port".to_owned();
    }
    let path = spelling::canonical(path);
    let (mut info, mut above) = (schema::root(), Vec::new());
    for segment in path.segments() {
        match info.below(segment) {
            Some(next) => info = next,
            None => {
                let valid = info.children.iter().filter_map(|child| match child.step {
                    Step::Key(name) => Some(name),
                    _ => None,
                });
                let near = match segment {
                    Segment::Key(key) => nearest(key, valid)
                        .map(|name| ConfigPath::from(above).join(name).to_string())
                        .or_else(|| schema::elsewhere(key).map(str::to_owned)),
                    Segment::Index(_) => None,
                };
                return match near {
                    Some(near) => format!("there is no setting {path}; did you mean {near}?"),
                    None => format!(
                        "there is no setting {path}; `clawdbot config schema --markdown` lists them all"
                    ),
                };
            }
        }
        above.push(segment.clone());
    }
    format!("there is no setting {path}")
}

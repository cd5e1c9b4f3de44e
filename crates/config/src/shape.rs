//! What every type of the schema can do: read itself from a value, say what it accepts, and show its effective value.
//! One implementation per type serves decoding, error messages, the reference and `config get`, so they cannot disagree.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::json5::{Node, Value};
use crate::path::{ConfigPath, Segment};
use crate::problem::{Problem, Span};
use crate::secret::SecretTable;

/// The kinds of values in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    pub const ALL: &'static [Self] = &[
        Self::Null,
        Self::Bool,
        Self::Number,
        Self::String,
        Self::Array,
        Self::Object,
    ];
}

impl Value {
    /// The kind in words, for messages.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number {
                integer: Some(_), ..
            } => "an integer",
            Self::Number { .. } => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// What a value obeys besides its kind, as far as a machine can read it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Limits {
    None,
    /// A whole number from the first to the second.
    Whole(u64, u64),
    /// A number that is not negative.
    Positive,
    /// One of these texts.
    Words(Vec<&'static str>),
    /// A text that matches this regular expression of ECMA-262.
    Pattern(&'static str),
    /// Of the booleans only `false`.
    False,
}

/// What a type accepts.
#[derive(Clone)]
pub(crate) struct Info {
    pub kinds: &'static [Kind],
    /// With article, to follow "must be": `an integer from 1 to 65535`.
    pub name: String,
    /// A value that is accepted, as JSON5.
    pub example: String,
    pub limits: Limits,
    pub secret: bool,
    /// For sections: the key that a plain string in place of the object stands for.
    pub string: Option<&'static str>,
    /// For sections: other spellings, path and the path that it means.
    pub also: &'static [(&'static str, &'static str)],
    /// For sections: booleans that are only read as something else.
    pub old: &'static [&'static str],
    /// What lies below, for sections, maps and arrays of sections.
    pub children: Vec<Child>,
}

impl Info {
    pub fn new(
        kinds: &'static [Kind],
        name: impl Into<String>,
        example: impl Into<String>,
    ) -> Self {
        Self {
            kinds,
            name: name.into(),
            example: example.into(),
            limits: Limits::None,
            secret: false,
            string: None,
            also: &[],
            old: &[],
            children: Vec::new(),
        }
    }

    /// The same with limits.
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// What lies one step down.
    pub fn below(&self, segment: &Segment) -> Option<Self> {
        let mut children = self.children.iter();
        let child = children.find(|child| match (segment, child.step) {
            (Segment::Key(key), Step::Key(name)) => key == name,
            (Segment::Key(_), Step::Entry(..)) | (Segment::Index(_), Step::Item) => true,
            _ => false,
        })?;
        Some((child.info)())
    }

    /// What lies several steps down.
    pub fn far_below(self, path: &[Segment]) -> Option<Self> {
        path.iter()
            .try_fold(self, |info, segment| info.below(segment))
    }
}

/// One way down from a section, map or array.
#[derive(Clone)]
pub(crate) struct Child {
    pub step: Step,
    /// The row of the schema, for keys of sections.
    pub key: Option<&'static Key>,
    pub info: fn() -> Info,
}

#[derive(Clone, Copy)]
pub(crate) enum Step {
    Key(&'static str),
    /// Any key of a map: how the reference shows it, and one that is valid.
    Entry(&'static str, &'static str),
    Item,
}

/// One key of a section: the only place where it is defined.
pub(crate) struct Key {
    pub name: &'static str,
    pub doc: &'static str,
    pub required: bool,
    /// The feature that does not exist yet; nothing when the key works.
    pub later: Option<&'static str>,
    pub info: fn() -> Info,
    pub default: fn() -> Json,
}

/// A type of the schema.
pub(crate) trait Shape: Sized {
    fn info() -> Info;

    /// Reads the value. What is wrong goes to `cx`, and nothing comes back.
    fn decode(node: Node, cx: &mut Cx) -> Option<Self>;

    /// The effective value without secrets; null when unset.
    fn show(&self) -> Json;
}

/// A key that the file sets although its feature does not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inactive {
    /// The key, for instance `channels.telegram`.
    pub path: String,
    /// The missing feature in a few words.
    pub feature: &'static str,
}

/// What the file sets, in canonical spelling, and where.
#[derive(Default)]
pub(crate) struct Places(BTreeMap<ConfigPath, Span>);

impl Places {
    pub fn add(&mut self, path: ConfigPath, span: Span) {
        self.0.insert(path, span);
    }

    pub fn contains(&self, path: &ConfigPath) -> bool {
        self.0.contains_key(path)
    }

    /// The place of a setting, or of the nearest thing around it that the file has.
    pub fn find(&self, path: &ConfigPath) -> Span {
        let mut wanted = Some(path.clone());
        while let Some(path) = wanted {
            if let Some(span) = self.0.get(&path) {
                return *span;
            }
            wanted = path.parent();
        }
        Span::default()
    }
}

/// More mistakes than these are only counted, so that a hostile file costs little.
const MAX_PROBLEMS: usize = 500;

/// What decoding collects besides the values.
#[derive(Default)]
pub(crate) struct Cx {
    pub path: ConfigPath,
    pub problems: Vec<Problem>,
    /// How many problems there are beyond those in the list.
    pub more: usize,
    /// Takes what the caller still says about a problem that is only counted.
    uncounted: Option<Problem>,
    pub set: Places,
    pub secrets: SecretTable,
    pub inactive: Vec<Inactive>,
    /// Old spellings that the file uses, in the new one's words.
    pub moved: Vec<&'static str>,
    /// Inside a feature that does not exist yet.
    pub later: bool,
    /// Keys that the section above took out of the object that comes next.
    pub taken: Vec<&'static str>,
}

impl Cx {
    /// Reports a mistake in the current setting; the caller may add help.
    pub fn fail(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        self.report(Problem::at(span, message).path(self.path.clone()))
    }

    pub fn report(&mut self, problem: Problem) -> &mut Problem {
        if self.is_full() {
            self.more += 1;
            return self.uncounted.insert(problem);
        }
        self.problems.push(problem);
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    /// Whether further mistakes are only counted and need no help.
    pub fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    /// Reports a value of the wrong type, naming both.
    pub fn wrong_type<T: Shape>(&mut self, node: &Node) {
        self.wrong_kind(node, &T::info());
    }

    pub fn wrong_kind(&mut self, node: &Node, wanted: &Info) {
        let help = match &node.value {
            Value::String(text) if wanted.kinds.contains(&Kind::Number) => {
                let number = text.parse::<f64>().is_ok();
                number.then_some("write it without quotes")
            }
            Value::String(text) if wanted.kinds.contains(&Kind::Bool) => {
                let word = matches!(text.as_str(), "true" | "false");
                word.then_some("write it without quotes")
            }
            Value::Number { .. } if wanted.kinds.contains(&Kind::String) => {
                Some("write it in quotes")
            }
            Value::String(_) if wanted.kinds.contains(&Kind::Array) => {
                Some("put it in brackets: [ … ]")
            }
            _ => None,
        };
        let message = format!("must be {}, not {}", wanted.name, node.value.kind_name());
        self.fail(node.span, message).help = help.map(str::to_owned);
    }

    /// The text of a string that is no secret. `${NAME}` is refused, since only secrets are looked up.
    pub fn text<T: Shape>(&mut self, node: &Node) -> Option<String> {
        let Value::String(text) = &node.value else {
            self.wrong_type::<T>(node);
            return None;
        };
        if text
            .split_once("${")
            .is_some_and(|(_, rest)| rest.contains('}'))
        {
            self.fail(
                node.span,
                "must not use ${…}: only secret settings are looked up in the environment",
            )
            .help = Some("write the value itself".to_owned());
            return None;
        }
        Some(String::clone(text))
    }

    /// Runs `inside` one level down.
    pub fn below<R>(&mut self, key: &str, inside: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push_key(key);
        let result = inside(self);
        self.path.pop();
        result
    }
}

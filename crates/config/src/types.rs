//! The plain types of the schema: booleans, numbers, texts with a rule, words from a fixed list, arrays and maps.
//! A value is checked once, here; what a field of the configuration holds needs no second look.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::json5::{Node, Value};
use crate::nearest::nearest;
use crate::problem::Span;
use crate::shape::{Child, Cx, Info, Kind, Limits, Shape, Step};

impl Shape for bool {
    fn info() -> Info {
        Info::new(&[Kind::Bool], "a boolean", "true")
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => {
                cx.wrong_type::<Self>(&node);
                None
            }
        }
    }

    fn show(&self) -> Json {
        (*self).into()
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Int<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Int<MIN, MAX> {
    /// A default of the schema; out of range does not compile when used in a constant.
    pub(crate) const fn new(value: u64) -> Self {
        debug_assert!(MIN <= value && value <= MAX);
        Self(value)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> Shape for Int<MIN, MAX> {
    fn info() -> Info {
        let name = match MAX {
            u64::MAX => format!("an integer from {MIN}"),
            _ => format!("an integer from {MIN} to {MAX}"),
        };
        let example = MIN.max(MAX.min(10)).to_string();
        Info::new(&[Kind::Number], name, example).limits(Limits::Whole(MIN, MAX))
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        let Value::Number { float, integer } = node.value else {
            cx.wrong_type::<Self>(&node);
            return None;
        };
        let value = integer.and_then(|value| u64::try_from(value).ok());
        match value.filter(|value| (MIN..=MAX).contains(value)) {
            Some(value) => Some(Self(value)),
            None => {
                let found = integer.map_or_else(|| float.to_string(), |value| value.to_string());
                cx.fail(
                    node.span,
                    format!("must be {}, not {found}", Self::info().name),
                );
                None
            }
        }
    }

    fn show(&self) -> Json {
        self.0.into()
    }
}

/// A TCP port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port(u16);

impl Port {
    pub(crate) const fn new(port: u16) -> Self {
        Self(port)
    }

    /// The port.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Shape for Port {
    fn info() -> Info {
        Int::<1, 65535>::info()
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        let port = Int::<1, 65535>::decode(node, cx)?;
        u16::try_from(port.get()).ok().map(Self)
    }

    fn show(&self) -> Json {
        self.0.into()
    }
}

/// A finite number that is not negative: money, CPUs.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Amount(f64);

impl Amount {
    pub(crate) const fn new(value: f64) -> Self {
        Self(value)
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Shape for Amount {
    fn info() -> Info {
        Info::new(&[Kind::Number], "a number from 0", "1.5").limits(Limits::Positive)
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        match node.value {
            Value::Number { float, .. } if float.is_finite() && float >= 0.0 => Some(Self(float)),
            Value::Number { float, .. } => {
                cx.fail(node.span, format!("must be a number from 0, not {float}"));
                None
            }
            _ => {
                cx.wrong_type::<Self>(&node);
                None
            }
        }
    }

    fn show(&self) -> Json {
        self.0.into()
    }
}

impl Shape for String {
    fn info() -> Info {
        Info::new(&[Kind::String], "a string", "\"text\"")
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        cx.text::<Self>(&node)
    }

    fn show(&self) -> Json {
        self.as_str().into()
    }
}

impl<T: Shape> Shape for Option<T> {
    fn info() -> Info {
        T::info()
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        T::decode(node, cx).map(Some)
    }

    fn show(&self) -> Json {
        self.as_ref().map_or(Json::Null, T::show)
    }
}

impl<T: Shape> Shape for Box<T> {
    fn info() -> Info {
        T::info()
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        T::decode(node, cx).map(Box::new)
    }

    fn show(&self) -> Json {
        T::show(self)
    }
}

/// Entries of one array or map. It keeps whatever compares entries with each other cheap.
pub(crate) const MAX_ENTRIES: usize = 10_000;

fn has_room(count: usize, span: Span, cx: &mut Cx) -> bool {
    if count > MAX_ENTRIES {
        cx.fail(
            span,
            format!("has {count} entries, more than {MAX_ENTRIES}"),
        );
    }
    count <= MAX_ENTRIES
}

impl<T: Shape> Shape for Vec<T> {
    fn info() -> Info {
        let entry = T::info();
        let name = format!("an array (each entry {})", entry.name);
        let mut info = Info::new(&[Kind::Array], name, format!("[{}]", entry.example));
        info.children = vec![Child {
            step: Step::Item,
            key: None,
            info: T::info,
        }];
        info
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        let Value::Array(items) = node.value else {
            cx.wrong_type::<Self>(&node);
            return None;
        };
        if !has_room(items.len(), node.span, cx) {
            return None;
        }
        let mut values = Self::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            cx.path.push_index(index);
            cx.set.add(cx.path.clone(), item.span);
            values.extend(T::decode(item, cx));
            cx.path.pop();
        }
        Some(values)
    }

    fn show(&self) -> Json {
        self.iter().map(T::show).collect()
    }
}

/// A key of a map whose keys are names.
pub(crate) trait MapKey: Sized + Ord {
    /// How the reference shows it: `<id>`.
    const SHOWN: &'static str;
    /// One that is valid.
    const SAMPLE: &'static str;

    /// Reads a key; the error completes "the key … must be".
    fn parse_key(text: &str) -> Result<Self, String>;

    fn as_key(&self) -> &str;
}

impl<K: MapKey, V: Shape> Shape for BTreeMap<K, V> {
    fn info() -> Info {
        let value = V::info();
        let name = format!("an object ({} to {})", K::SHOWN, value.name);
        let example = format!("{{\"{}\": {}}}", K::SAMPLE, value.example);
        let mut info = Info::new(&[Kind::Object], name, example);
        info.secret = value.secret;
        info.children = vec![Child {
            step: Step::Entry(K::SHOWN, K::SAMPLE),
            key: None,
            info: V::info,
        }];
        info
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        let Value::Object(object) = node.value else {
            cx.wrong_type::<Self>(&node);
            return None;
        };
        if !has_room(object.0.len(), node.span, cx) {
            return None;
        }
        let mut map = Self::new();
        for member in object.0 {
            let key = K::parse_key(&member.key);
            if let Err(rule) = &key {
                let shown = crate::json5::shorten(&member.key);
                cx.fail(member.key_span, format!("has the key `{shown}`: it {rule}"));
            }
            let value = cx.below(&member.key, |cx| {
                cx.set.add(cx.path.clone(), member.node.span);
                V::decode(member.node, cx)
            });
            if let (Ok(key), Some(value)) = (key, value)
                && map.insert(key, value).is_some()
            {
                cx.fail(
                    member.key_span,
                    "names the same thing twice, spelt differently",
                );
            }
        }
        Some(map)
    }

    fn show(&self) -> Json {
        let entries = self
            .iter()
            .map(|(key, value)| (key.as_key().to_owned(), value.show()));
        Json::Object(entries.collect())
    }
}

/// `false`, or an object with the details.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrFalse<T> {
    /// Switched off.
    Off,
    /// In force as described.
    On(T),
}

impl<T> OrFalse<T> {
    /// The details, unless it is switched off.
    pub fn on(&self) -> Option<&T> {
        match self {
            Self::Off => None,
            Self::On(value) => Some(value),
        }
    }
}

impl<T: Default> Default for OrFalse<T> {
    fn default() -> Self {
        Self::On(T::default())
    }
}

impl<T: Shape> Shape for OrFalse<T> {
    fn info() -> Info {
        let mut info = T::info();
        info.kinds = &[Kind::Bool, Kind::Object];
        info.limits = Limits::False;
        info.name = format!("{} or false (a boolean)", info.name);
        info
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        match node.value {
            Value::Bool(false) => Some(Self::Off),
            Value::Object(_) => T::decode(node, cx).map(Self::On),
            _ => {
                cx.wrong_type::<Self>(&node);
                None
            }
        }
    }

    fn show(&self) -> Json {
        match self {
            Self::Off => false.into(),
            Self::On(value) => value.show(),
        }
    }
}

/// Whatever stands here is accepted and not used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ignored;

impl Shape for Ignored {
    fn info() -> Info {
        Info::new(Kind::ALL, "anything (it is ignored)", "{}")
    }

    fn decode(_: Node, _: &mut Cx) -> Option<Self> {
        Some(Self)
    }

    fn show(&self) -> Json {
        Json::Null
    }
}

/// Reports a word that is not in the list.
pub(crate) fn not_a_word(node: &Node, word: &str, words: &[&'static str], cx: &mut Cx) {
    let help = match nearest(word, words.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("allowed: {}", quote_all(words)),
    };
    let shown = crate::json5::shorten(word);
    cx.fail(
        node.span,
        format!("must be one of {}, not \"{shown}\"", quote_all(words)),
    )
    .help = Some(help);
}

pub(crate) fn quote_all(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    quoted.join(", ")
}

/// Defines a word from a fixed list. `refuse` rows are values that are recognised only to explain what to write instead.
macro_rules! choice {
    (
        $(#[$about:meta])+
        $name:ident { $( $(#[$doc:meta])+ $variant:ident = $word:literal, )+ }
        $(refuse { $($gone:literal => $why:literal),+ $(,)? })?
    ) => {
        $(#[$about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $( $(#[$doc])+ $variant, )+ }

        impl $name {
            const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word as the file spells it.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl $crate::shape::Shape for $name {
            fn info() -> $crate::shape::Info {
                let name = format!("one of the strings {}", $crate::types::quote_all(Self::WORDS));
                let example = format!("{:?}", Self::WORDS[0]);
                $crate::shape::Info::new(&[$crate::shape::Kind::String], name, example)
                    .limits($crate::shape::Limits::Words(Self::WORDS.to_vec()))
            }

            fn decode(node: $crate::json5::Node, cx: &mut $crate::shape::Cx) -> Option<Self> {
                let text = cx.text::<Self>(&node)?;
                match text.as_str() {
                    $( $word => Some(Self::$variant), )+
                    $($( $gone => {
                        cx.fail(node.span, concat!("must not be \"", $gone, "\"")).help = Some($why.to_owned());
                        None
                    } )+)?
                    _ => {
                        $crate::types::not_a_word(&node, &text, Self::WORDS, cx);
                        None
                    }
                }
            }

            fn show(&self) -> serde_json::Value {
                self.as_str().into()
            }
        }
    };
}
pub(crate) use choice;

/// Defines a text that obeys a rule: `Name: "what it must be", "an example", check;`. The check gives what is kept.
/// A `, matches "…"` at the end says as much of the rule as a regular expression can.
macro_rules! texts {
    ($( $(#[$doc:meta])+ $name:ident: $what:literal, $example:literal, $check:expr $(, matches $pattern:literal)?; )+) => {$(
        $(#[$doc])+
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// A value that the schema itself knows to be good, or that was checked before.
            #[allow(dead_code)]
            pub(crate) fn from_checked(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl $crate::shape::Shape for $name {
            fn info() -> $crate::shape::Info {
                let example = format!("{:?}", $example);
                $crate::shape::Info::new(&[$crate::shape::Kind::String], concat!($what, " (a string)"), example)
                    $(.limits($crate::shape::Limits::Pattern($pattern)))?
            }

            fn decode(node: $crate::json5::Node, cx: &mut $crate::shape::Cx) -> Option<Self> {
                let text = cx.text::<Self>(&node)?;
                let check: fn(&str) -> bool = $check;
                if !check(&text) {
                    cx.fail(node.span, concat!("must be ", $what)).help =
                        Some(format!("for instance {:?}", $example));
                    return None;
                }
                Some(Self(text))
            }

            fn show(&self) -> serde_json::Value {
                self.0.as_str().into()
            }
        }
    )+};
}
pub(crate) use texts;

/// Makes a name type of the identity crate a type of the schema and a key of maps.
macro_rules! names {
    ($( $name:ty, $shown:literal, $sample:literal; )+) => {$(
        impl $crate::shape::Shape for $name {
            fn info() -> $crate::shape::Info {
                let what = match <$name>::parse("") {
                    Ok(_) => "name",
                    Err(error) => error.what(),
                };
                let article = if what.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
                let name = format!("{article} {what} (a string)");
                $crate::shape::Info::new(&[$crate::shape::Kind::String], name, format!("{:?}", $sample))
            }

            fn decode(node: $crate::json5::Node, cx: &mut $crate::shape::Cx) -> Option<Self> {
                let text = cx.text::<Self>(&node)?;
                match <$name>::parse(&text) {
                    Ok(name) => Some(name),
                    Err(error) => {
                        cx.fail(node.span, error.rule());
                        None
                    }
                }
            }

            fn show(&self) -> serde_json::Value {
                self.as_str().into()
            }
        }

        impl $crate::types::MapKey for $name {
            const SHOWN: &'static str = $shown;
            const SAMPLE: &'static str = $sample;

            fn parse_key(text: &str) -> Result<Self, String> {
                <$name>::parse(text).map_err(|error| error.rule().to_owned())
            }

            fn as_key(&self) -> &str {
                self.as_str()
            }
        }
    )+};
}
pub(crate) use names;

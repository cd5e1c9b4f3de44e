//! Sections of the schema: objects with a fixed set of keys, each defined by one row of `section!`.
//! Every section is closed: what no row names is a mistake, and the nearest valid key is proposed.

use crate::json5::{Member, Node, Object, Value, shorten};
use crate::nearest::nearest;
use crate::problem::{Problem, Span};
use crate::schema;
use crate::shape::{Child, Cx, Inactive, Info, Key, Kind, Shape, Step};

/// Values that all copies of inherited settings of one kind may have together.
const MAX_INHERITED: usize = 200_000;

/// The rows of a section and its other spellings.
pub(crate) struct Spec {
    pub keys: &'static [Key],
    /// Other spellings: path in this section, and the path that it means.
    pub also: &'static [(&'static str, &'static str)],
    /// The key that a plain string in place of the object stands for.
    pub string: Option<&'static str>,
    /// Keys that are known and refused, and why.
    pub refused: &'static [(&'static str, &'static str)],
    /// Booleans that `before` turns into something else.
    pub old: &'static [&'static str],
    /// Runs on the object before it is read.
    pub before: fn(&mut Object, &mut Cx),
}

/// Made by `section!`.
pub(crate) trait Section: Sized + Default + Shape {
    const SPEC: &'static Spec;

    fn take(object: &mut Object, cx: &mut Cx) -> Self;
}

/// Defines a section: a struct with public fields, its defaults, and everything [`Spec`] says.
///
/// Each row is `"key" field: Type = default, later "feature";` with the documentation above it. Without `= default` the
/// type's own default holds, without `later` the key works today, `@required` before the key forbids leaving it out.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $( $(#[doc = $doc:literal])+ $(@$required:ident)? $key:literal $field:ident: $ty:ty
               $(= $default:expr)? $(, later $later:literal)?; )*
        }
        $(also { $($from:literal => $to:literal),* $(,)? })?
        $(string $part:literal;)?
        $(refuse { $($gone:literal => $why:literal),* $(,)? })?
        $(old $old:literal;)?
        $(before $before:path;)?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $ty, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $crate::section::section!(@default $ty $(, $default)?), )* }
            }
        }

        impl $crate::section::Section for $name {
            const SPEC: &'static $crate::section::Spec = &$crate::section::Spec {
                keys: &[$(
                    $crate::shape::Key {
                        name: $key,
                        doc: concat!($($doc),+),
                        required: $crate::section::section!(@is_required $($required)?),
                        later: $crate::section::section!(@option $($later)?),
                        info: <$ty as $crate::shape::Shape>::info,
                        default: || {
                            let value: $ty = $crate::section::section!(@default $ty $(, $default)?);
                            $crate::shape::Shape::show(&value)
                        },
                    },
                )*],
                also: &[$($(($from, $to)),*)?],
                string: $crate::section::section!(@option $($part)?),
                refused: &[$($(($gone, $why)),*)?],
                old: &[$($old)?],
                before: $crate::section::section!(@before $($before)?),
            };

            fn take(object: &mut $crate::json5::Object, cx: &mut $crate::shape::Cx) -> Self {
                let mut keys = Self::SPEC.keys.iter();
                Self {
                    $( $field: match $crate::section::take_key::<$ty, Self>(keys.next(), object, cx) {
                        Some(value) => value,
                        None => $crate::section::section!(@default $ty $(, $default)?),
                    }, )*
                }
            }
        }

        impl $crate::shape::Shape for $name {
            fn info() -> $crate::shape::Info {
                $crate::section::info::<Self>()
            }

            fn decode(node: $crate::json5::Node, cx: &mut $crate::shape::Cx) -> Option<Self> {
                $crate::section::decode(node, cx)
            }

            fn show(&self) -> serde_json::Value {
                let mut shown = serde_json::Map::new();
                $(
                    let value = $crate::shape::Shape::show(&self.$field);
                    if !value.is_null() {
                        shown.insert($key.to_owned(), value);
                    }
                )*
                serde_json::Value::Object(shown)
            }
        }
    };
    (@default $ty:ty) => { <$ty as Default>::default() };
    (@default $ty:ty, $default:expr) => { $default };
    (@is_required) => { false };
    (@is_required required) => { true };
    (@option) => { None };
    (@option $later:literal) => { Some($later) };
    (@before) => { |_, _| {} };
    (@before $before:path) => { $before };
}
pub(crate) use section;

pub(crate) fn info<S: Section>() -> Info {
    let children = S::SPEC.keys.iter().map(|key| Child {
        step: Step::Key(key.name),
        key: Some(key),
        info: key.info,
    });
    let mut info = match S::SPEC.string {
        None => Info::new(&[Kind::Object], "an object", ""),
        Some(_) => Info::new(&[Kind::Object, Kind::String], "a string or an object", ""),
    };
    info.string = S::SPEC.string;
    info.also = S::SPEC.also;
    info.old = S::SPEC.old;
    info.children = children.collect();
    let required = S::SPEC.keys.iter().filter(|key| key.required);
    let parts: Vec<_> = required
        .map(|key| format!("{}: {}", key.name, (key.info)().example))
        .collect();
    info.example = format!("{{{}}}", parts.join(", "));
    info
}

/// Reads a section from a value.
pub(crate) fn decode<S: Section>(mut node: Node, cx: &mut Cx) -> Option<S> {
    if let Some(part) = S::SPEC.string {
        expand(&mut node, part);
    }
    match node.value {
        Value::Object(object) => Some(decode_object(object, node.span, cx)),
        _ => {
            cx.wrong_type::<S>(&node);
            None
        }
    }
}

pub(crate) fn decode_object<S: Section>(mut object: Object, span: Span, cx: &mut Cx) -> S {
    let taken = std::mem::take(&mut cx.taken);
    let before = cx.problems.len();
    normalise::<S>(&mut object, cx);
    let section = S::take(&mut object, cx);
    let valid = || {
        S::SPEC
            .keys
            .iter()
            .map(|key| key.name)
            .chain(taken.iter().copied())
    };
    for member in &object.0 {
        unknown_key(member, valid().collect(), cx);
    }
    for key in S::SPEC.keys.iter().filter(|key| key.required) {
        let path = cx.path.join(key.name);
        // What is there but wrong has been reported already.
        let wrong = |problem: &Problem| problem.path.starts_with(&path);
        if !cx.set.contains(&path) && !cx.problems[before..].iter().any(wrong) {
            cx.fail(
                Span::new(span.start, span.start + 1),
                format!("needs the key `{}`", key.name),
            );
        }
    }
    section
}

/// Brings an object into canonical spelling and reports the keys that are known and refused.
pub(crate) fn normalise<S: Section>(object: &mut Object, cx: &mut Cx) {
    for (from, to) in S::SPEC.also {
        respell::<S>(object, from, to, cx);
    }
    for (from, _) in S::SPEC.also {
        let head = from.split('.').next().unwrap_or(from);
        if S::SPEC.keys.iter().all(|key| key.name != head) {
            close_group(object, head, taken_from(S::SPEC, head), cx);
        }
    }
    for (gone, why) in S::SPEC.refused {
        if let Some(member) = object.remove(gone) {
            cx.below(gone, |cx| {
                cx.fail(member.key_span, "is not supported").help = Some((*why).to_owned());
            });
        }
    }
    (S::SPEC.before)(object, cx);
}

/// Takes the value of one row out of the object.
pub(crate) fn take_key<T: Shape, S: Section>(
    key: Option<&'static Key>,
    object: &mut Object,
    cx: &mut Cx,
) -> Option<T> {
    let key = key?;
    let member = object.remove(key.name)?;
    cx.taken = taken_from(S::SPEC, key.name);
    cx.below(key.name, |cx| {
        cx.set.add(cx.path.clone(), member.node.span);
        let outer = cx.later;
        if let (Some(feature), false) = (key.later, outer) {
            let path = cx.path.to_string();
            cx.inactive.push(Inactive { path, feature });
            cx.later = true;
        }
        let value = T::decode(member.node, cx);
        cx.later = outer;
        cx.taken.clear();
        value
    })
}

/// The keys that other spellings put under `head`: `policy` under `dm`.
fn taken_from(spec: &Spec, head: &str) -> Vec<&'static str> {
    let below = |(from, _): &(&'static str, _)| from.strip_prefix(head)?.strip_prefix('.');
    spec.also.iter().filter_map(below).collect()
}

/// Reports what is left under a key that exists only for other spellings.
fn close_group(object: &mut Object, head: &'static str, valid: Vec<&'static str>, cx: &mut Cx) {
    let Some(group) = object.remove(head) else {
        return;
    };
    cx.below(head, |cx| match &group.node.value {
        Value::Object(rest) => {
            for member in &rest.0 {
                unknown_key(member, valid.clone(), cx);
            }
        }
        _ => cx.wrong_kind(&group.node, &Info::new(&[Kind::Object], "an object", "{}")),
    });
}

fn unknown_key(member: &Member, valid: Vec<&'static str>, cx: &mut Cx) {
    let key = shorten(&member.key);
    let message = match cx.path.is_empty() {
        true => format!("unknown key `{key}`"),
        false => format!("has the unknown key `{key}`"),
    };
    if cx.is_full() {
        cx.fail(member.key_span, message);
        return;
    }
    let help = match nearest(&member.key, valid.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => match schema::elsewhere(&member.key) {
            Some(path) => format!("this key belongs to `{path}`"),
            None if valid.len() > 24 => "`clawdbot config schema` lists the valid keys".to_owned(),
            None if valid.is_empty() => "nothing may stand here".to_owned(),
            None => format!("valid keys: {}", valid.join(", ")),
        },
    };
    cx.fail(member.key_span, message).help = Some(help);
}

/// `"x"` becomes `{primary: "x"}`.
fn expand(node: &mut Node, part: &str) {
    if let Value::String(_) = node.value {
        let value = std::mem::replace(&mut node.value, Value::Null);
        let whole = Member {
            key: part.to_owned(),
            key_span: node.span,
            node: Node {
                span: node.span,
                value,
            },
        };
        node.value = Value::Object(Object(vec![whole]));
    }
}

/// Expands strings that stand for objects, here and below, so that two spellings can be compared.
fn expand_all(node: &mut Node, info: &Info) {
    if let Some(part) = info.string {
        expand(node, part);
    }
    if let Value::Object(object) = &mut node.value {
        for child in &info.children {
            if let Step::Key(name) = child.step
                && let Some(member) = object.get_mut(name)
            {
                expand_all(&mut member.node, &(child.info)());
            }
        }
    }
}

/// Moves `from` to `to` when the object has it.
fn respell<S: Section>(object: &mut Object, from: &'static str, to: &'static str, cx: &mut Cx) {
    let Some(mut member) = remove(object, from) else {
        return;
    };
    cx.moved.push(from);
    let mut info = S::info();
    for name in to.split('.') {
        let mut children = info.children.iter();
        match children.find(|child| matches!(child.step, Step::Key(key) if key == name)) {
            Some(child) => info = (child.info)(),
            None => break,
        }
    }
    expand_all(&mut member.node, &info);
    if let Some(mut present) = remove(object, to) {
        expand_all(&mut present.node, &info);
        put(object, to, present, cx);
    }
    put(object, to, member, cx);
}

fn remove(object: &mut Object, path: &str) -> Option<Member> {
    match path.split_once('.') {
        None => object.remove(path),
        Some((head, rest)) => remove(object.object_mut(head)?, rest),
    }
}

fn put(object: &mut Object, path: &str, mut member: Member, cx: &mut Cx) {
    let Some((head, rest)) = path.split_once('.') else {
        member.key = path.to_owned();
        return merge(object, member, cx);
    };
    if object.get(head).is_none() {
        object.0.push(Member {
            key: head.to_owned(),
            key_span: member.key_span,
            node: Node {
                span: member.node.span,
                value: Value::Object(Object::default()),
            },
        });
    }
    // Anything but an object here is reported when that key is read.
    if let Some(inner) = object.object_mut(head) {
        cx.below(head, |cx| put(inner, rest, member, cx));
    }
}

/// Adds a member. Where the key is there already, objects are joined and anything else has to be the same.
fn merge(object: &mut Object, member: Member, cx: &mut Cx) {
    let Some(present) = object.get_mut(&member.key) else {
        object.0.push(member);
        return;
    };
    let key = member.key.clone();
    match (&mut present.node.value, member.node.value) {
        (Value::Object(present), Value::Object(more)) => cx.below(&key, |cx| {
            for member in more.0 {
                merge(present, member, cx);
            }
        }),
        (value, other) if same(value, &other) => {}
        _ => {
            let first = present.node.span;
            cx.below(&key, |cx| {
                let problem = cx.fail(
                    member.node.span,
                    "is set in two spellings with different values",
                );
                problem.note = Some(Box::new((first, "the other value")));
                problem.help = Some("keep one of the two".to_owned());
            });
        }
    }
}

/// Whether two values are the same, whatever their spelling and order of keys.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (
            Value::Number {
                float: a,
                integer: x,
            },
            Value::Number {
                float: b,
                integer: y,
            },
        ) => match (x, y) {
            // Exact, also where two ids are the same double.
            (Some(x), Some(y)) => x == y,
            _ => a == b,
        },
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&a.value, &b.value))
        }
        (Value::Object(a), Value::Object(b)) => {
            let found = |m: &Member| {
                b.get(&m.key)
                    .is_some_and(|o| same(&m.node.value, &o.node.value))
            };
            a.0.len() == b.0.len() && a.0.iter().all(found)
        }
        _ => false,
    }
}

/// Whether `under` may be copied so many times. Without a limit a file of 1 MiB could ask for gigabytes.
pub(crate) fn affordable(under: &Object, copies: usize, span: Span, cx: &mut Cx) -> bool {
    fn size(value: &Value) -> usize {
        1 + match value {
            Value::Object(object) => object.0.iter().map(|member| size(&member.node.value)).sum(),
            Value::Array(items) => items.iter().map(|item| size(&item.value)).sum(),
            _ => 0,
        }
    }
    let each: usize = under.0.iter().map(|member| size(&member.node.value)).sum();
    let fits = each.saturating_mul(copies) <= MAX_INHERITED;
    if !fits {
        cx.fail(
            span,
            format!("has {copies} entries that inherit {each} values each, which is too much"),
        );
    }
    fits
}

/// Lays `over` on top of `under`: keys of `over` win, objects are joined.
pub(crate) fn overlay(under: &Object, over: &mut Object) {
    for member in &under.0 {
        match over.get_mut(&member.key) {
            None => over.0.push(member.clone()),
            Some(present) => {
                if let (Value::Object(under), Value::Object(over)) =
                    (&member.node.value, &mut present.node.value)
                {
                    overlay(under, over);
                }
            }
        }
    }
}

//! The schema as JSON Schema 2020-12, for editors and other programs, made from the same rows that the loader reads with.
//! It says what a single value may be; what depends on several settings only the loader knows, so a file that obeys this
//! schema may still be refused.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::shape::{Child, Info, Kind, Limits, Step};

/// The whole document.
pub(crate) fn document(root: &Info) -> Json {
    let mut whole = value(root, &[]);
    let mut parts = Parts::default();
    parts.count(&whole, "");
    let mut used = BTreeMap::new();
    parts.share(&mut whole, &mut used);
    let mut document = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Clawdbot",
        "description": "The configuration of Clawdbot, in JSON5. The rules that look at several settings are not in here: `clawdbot config validate` knows them.",
    });
    if let (Some(document), Json::Object(whole)) = (document.as_object_mut(), whole) {
        document.extend(whole);
        document.insert("$defs".to_owned(), used.into_iter().collect());
    }
    document
}

/// A spelling that goes on below: the rest of its path, and what it means.
type Other<'a> = (&'a str, &'a str, Info);

/// What may stand somewhere. `others` are further spellings that begin above.
fn value(info: &Info, others: &[Other]) -> Json {
    if info.kinds == Kind::ALL {
        return json!(true);
    }
    let mut ways: Vec<Json> = info
        .kinds
        .iter()
        .map(|kind| way(info, *kind, others))
        .collect();
    match ways.len() {
        1 => ways.remove(0),
        _ => json!({ "anyOf": ways }),
    }
}

fn way(info: &Info, kind: Kind, others: &[Other]) -> Json {
    let part = |name: &str| {
        let mut children = info.children.iter();
        children.find(|child| matches!(child.step, Step::Key(key) if key == name))
    };
    match (kind, &info.limits) {
        (Kind::Null, _) => json!({ "type": "null" }),
        (Kind::Bool, Limits::False) => json!({ "const": false }),
        (Kind::Bool, _) => json!({ "type": "boolean" }),
        (Kind::Number, Limits::Whole(min, u64::MAX)) => {
            json!({ "type": "integer", "minimum": min })
        }
        (Kind::Number, Limits::Whole(min, max)) => {
            json!({ "type": "integer", "minimum": min, "maximum": max })
        }
        (Kind::Number, Limits::Positive) => json!({ "type": "number", "minimum": 0 }),
        (Kind::Number, _) => json!({ "type": "integer", "minimum": 0 }),
        (Kind::String, Limits::Words(words)) => json!({ "enum": words }),
        (Kind::String, Limits::Pattern(pattern)) => json!({ "type": "string", "pattern": pattern }),
        (Kind::String, _) => match info.string.and_then(part) {
            Some(child) => value(&(child.info)(), &[]),
            None => json!({ "type": "string" }),
        },
        (Kind::Array, _) => match info.children.first() {
            Some(child) => json!({ "type": "array", "items": value(&(child.info)(), &[]) }),
            None => json!({ "type": "array" }),
        },
        (Kind::Object, _) if info.secret && info.children.is_empty() => {
            value(&crate::secret::reference(), &[])
        }
        (Kind::Object, _) => object(info, others),
    }
}

fn object(info: &Info, others: &[Other]) -> Json {
    if let [
        Child {
            step: Step::Entry(..),
            info: entry,
            ..
        },
    ] = info.children[..]
    {
        return json!({ "type": "object", "additionalProperties": value(&entry(), &[]) });
    }
    // Further spellings by their first key; those that end there are keys of their own.
    let mut below: BTreeMap<&str, Vec<Other>> = BTreeMap::new();
    let mut properties = Map::new();
    let own = info.also.iter().filter_map(|(from, to)| {
        let path: crate::ConfigPath = (*to).into();
        Some((*from, *to, far_below(info, &path)?))
    });
    let others = others
        .iter()
        .map(|(from, to, info)| (*from, *to, Clone::clone(info)));
    for (from, to, meant) in own.chain(others) {
        match from.split_once('.') {
            Some((head, rest)) => below.entry(head).or_default().push((rest, to, meant)),
            None => {
                let text = format!("Another spelling of {to}.");
                properties.insert(from.to_owned(), described(value(&meant, &[]), text));
            }
        }
    }
    let mut required = Vec::new();
    for child in &info.children {
        let (Step::Key(name), Some(key)) = (child.step, child.key) else {
            continue;
        };
        let others = below.remove(name).unwrap_or_default();
        let mut text = key.doc.trim().to_owned();
        if let Some(later) = key.later {
            text.push_str(&format!(" Not active yet: {later}."));
        }
        let info = (child.info)();
        let mut property = described(value(&info, &others), text);
        let default = (key.default)();
        if let Some(property) = property.as_object_mut() {
            if !matches!(default, Json::Null | Json::Object(_)) {
                property.insert("default".to_owned(), default);
            }
            if info.secret && info.children.is_empty() {
                property.insert("writeOnly".to_owned(), json!(true));
            }
        }
        properties.insert(name.to_owned(), property);
        if key.required {
            required.push(name);
        }
    }
    for (head, others) in below {
        let group = Info::new(&[Kind::Object], "an object", "{}");
        let text = "Holds other spellings.".to_owned();
        properties.insert(head.to_owned(), described(value(&group, &others), text));
    }
    for name in info.old {
        let text = "An old spelling.".to_owned();
        properties.insert(
            (*name).to_owned(),
            described(json!({ "type": "boolean" }), text),
        );
    }
    let mut object = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        object["required"] = required.into();
    }
    object
}

fn far_below(info: &Info, path: &crate::ConfigPath) -> Option<Info> {
    let (first, rest) = path.segments().split_first()?;
    info.below(first)?.far_below(rest)
}

fn described(schema: Json, text: String) -> Json {
    match schema {
        Json::Object(mut schema) => {
            schema.insert("description".to_owned(), text.into());
            Json::Object(schema)
        }
        _ => json!({ "description": text }),
    }
}

/// Objects that occur more than once: each stands in `$defs` once, under the path where it is first.
#[derive(Default)]
struct Parts(BTreeMap<String, (usize, String)>);

/// What is said about a place, not about the value.
const ABOUT: [&str; 3] = ["description", "default", "writeOnly"];

/// The parts of a schema that can be shared, and those that stay.
fn split(schema: &Json) -> Option<(Map<String, Json>, Map<String, Json>)> {
    let object = schema.as_object()?;
    let structured = ["properties", "anyOf", "additionalProperties", "enum"];
    if !structured
        .iter()
        .any(|key| object.get(*key).is_some_and(|inner| !inner.is_boolean()))
    {
        return None;
    }
    let all = object.clone().into_iter();
    Some(all.partition(|(key, _)| !ABOUT.contains(&key.as_str())))
}

impl Parts {
    fn count(&mut self, schema: &Json, path: &str) {
        if let Some((shared, _)) = split(schema) {
            let entry = self.0.entry(Json::Object(shared).to_string());
            let (count, _) = entry
                .and_modify(|(count, _)| *count += 1)
                .or_insert_with(|| (1, path.to_owned()));
            // What lies in it was seen with the first one.
            if *count > 1 {
                return;
            }
        }
        each(schema, path, &mut |inner, path| self.count(inner, path));
    }

    fn share(&self, schema: &mut Json, used: &mut BTreeMap<String, Json>) {
        let Some((shared, mut about)) = split(schema) else {
            return each_mut(schema, &mut |inner| self.share(inner, used));
        };
        let mut shared = Json::Object(shared);
        let text = shared.to_string();
        match self.0.get(&text) {
            Some((count, path)) if *count > 1 && !path.is_empty() && text.len() > 60 => {
                if !used.contains_key(path) {
                    used.insert(path.clone(), Json::Null);
                    each_mut(&mut shared, &mut |inner| self.share(inner, used));
                    used.insert(path.clone(), shared);
                }
                about.insert("$ref".to_owned(), format!("#/$defs/{path}").into());
                *schema = Json::Object(about);
            }
            _ => each_mut(schema, &mut |inner| self.share(inner, used)),
        }
    }
}

/// Visits what lies directly below, with its path.
fn each(schema: &Json, path: &str, visit: &mut dyn FnMut(&Json, &str)) {
    let step = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        visit(inner, &step(name));
    }
    for (key, name) in [("items", "item"), ("additionalProperties", "entry")] {
        if let Some(inner) = schema.get(key).filter(|inner| inner.is_object()) {
            visit(inner, &step(name));
        }
    }
    let ways = schema["anyOf"].as_array().into_iter().flatten();
    for (index, inner) in ways.enumerate() {
        visit(inner, &step(&format!("way{index}")));
    }
}

fn each_mut(schema: &mut Json, visit: &mut dyn FnMut(&mut Json)) {
    let Some(schema) = schema.as_object_mut() else {
        return;
    };
    for (key, inner) in schema {
        match (key.as_str(), inner) {
            ("properties", Json::Object(properties)) => {
                properties.values_mut().for_each(&mut *visit)
            }
            ("anyOf", Json::Array(ways)) => ways.iter_mut().for_each(&mut *visit),
            ("items" | "additionalProperties", inner @ Json::Object(_)) => visit(inner),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;

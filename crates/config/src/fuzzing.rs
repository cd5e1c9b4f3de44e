//! What the fuzz targets look at that nobody else needs: the tree with its places, and what an excerpt would show of a
//! secret. Plain values only, so that nothing else of this crate becomes public for their sake.

use serde_json::Value as Json;

use crate::json5::{self, Node, Value};
use crate::{mask, schema};

/// A JSON5 text that was read.
pub struct Read {
    /// Numbers as doubles; of keys that are set twice the first.
    pub value: Json,
    /// How many keys are set again.
    pub duplicates: usize,
    /// Every value and key: the bytes in which it stands, what encloses something before what is in it.
    pub places: Vec<(usize, usize)>,
}

/// Reads JSON5.
///
/// # Errors
/// The bytes in which the mistake stands, and the mistake.
pub fn json5(text: &str) -> Result<Read, (usize, usize, String)> {
    let parsed = json5::parse(text).map_err(|p| (p.span.start, p.span.end, p.message.clone()))?;
    let mut places = Vec::new();
    let value = plain(&parsed.root, &mut places);
    Ok(Read {
        value,
        duplicates: parsed.duplicates.len(),
        places,
    })
}

fn plain(node: &Node, places: &mut Vec<(usize, usize)>) -> Json {
    places.push((node.span.start, node.span.end));
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number { float, .. } => (*float).into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(|item| plain(item, places)).collect(),
        Value::Object(object) => {
            let members = object.0.iter().map(|member| {
                places.push((member.key_span.start, member.key_span.end));
                (member.key.clone(), plain(&member.node, places))
            });
            Json::Object(members.collect())
        }
    }
}

/// The source of every string under a key that the schema calls a secret, as far as an excerpt of this file would show
/// any of it. Strings that only name a secret are left out. Nothing for a text that is no JSON5.
pub fn shown_secrets(text: &str) -> Vec<&str> {
    let Ok(parsed) = json5::parse(text) else {
        return Vec::new();
    };
    let masks = mask::secrets(text);
    let mut shown = Vec::new();
    look(&parsed.root, false, &mut |start, end| {
        let inside = (start + 1, end - 1);
        let masked = |at: usize| {
            masks
                .iter()
                .any(|mask| (mask.start..mask.end).contains(&at))
        };
        let source = &text[inside.0..inside.1];
        if !source.contains("${") && !(inside.0..inside.1).all(masked) {
            shown.push(source);
        }
    });
    shown
}

fn look(node: &Node, secret: bool, each: &mut impl FnMut(usize, usize)) {
    match &node.value {
        Value::String(_) if secret => each(node.span.start, node.span.end),
        Value::Array(items) => items.iter().for_each(|item| look(item, secret, each)),
        Value::Object(object) => {
            for member in &object.0 {
                let named = secret && matches!(&*member.key, "source" | "id");
                let known = schema::names()
                    .get(&*member.key)
                    .is_some_and(|name| name.secret);
                look(&member.node, (secret || known) && !named, each);
            }
        }
        _ => {}
    }
}

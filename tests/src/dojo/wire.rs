//! What an executor would tell policy of a tool and of a result, made from the manifest's words. Only fields that the
//! manifest names are taken out of a result.

use clawdbot_proto::v1::{self, ArgumentKind, Effect, Label};
use serde_json::Value;

const EFFECTS: &[(&str, Effect)] = &[
    ("read", Effect::Read),
    ("write", Effect::Write),
    ("egress", Effect::Egress),
    ("destroy", Effect::Destroy),
];
const KINDS: &[(&str, ArgumentKind)] = &[
    ("recipient", ArgumentKind::Recipient),
    ("id", ArgumentKind::Id),
    ("url", ArgumentKind::Url),
    ("path", ArgumentKind::Path),
    ("content", ArgumentKind::Content),
    ("amount", ArgumentKind::Amount),
    ("value", ArgumentKind::Value),
    ("free", ArgumentKind::Free),
];
const LABELS: &[(&str, Label)] = &[
    ("typed", Label::Typed),
    ("public", Label::Public),
    ("private", Label::Private),
    ("secret", Label::Secret),
];
/// Longest typed field that is reported, bytes.
const LONGEST: usize = 128;
/// Longest name of a member, bytes.
const MEMBER: usize = 64;

fn find<T: Copy>(table: &[(&str, T)], word: &Value) -> Result<T, String> {
    let row = table.iter().find(|row| word == row.0);
    row.map(|row| row.1)
        .ok_or_else(|| format!("the manifest says {word}"))
}

/// What the tool is.
pub fn facts(spec: &Value) -> Result<v1::ToolFacts, String> {
    let arguments = spec["arguments"].as_object().into_iter().flatten();
    let arguments = arguments.map(|(name, kind)| {
        let (kind, of) = kind
            .as_str()
            .map(|kind| kind.split_once(':').unwrap_or((kind, "")))
            .ok_or("a kind is no text")?;
        Ok::<_, String>(v1::ArgumentFact {
            name: name.clone(),
            kind: find(KINDS, &kind.into())?.into(),
            r#type: of.to_owned(),
        })
    });
    Ok(v1::ToolFacts {
        effect: find(EFFECTS, &spec["does"])?.into(),
        groups: Vec::new(),
        arguments: arguments.collect::<Result<_, _>>()?,
    })
}

/// What a result is.
pub fn report(spec: &Value, result: &Value) -> Result<v1::CallReport, String> {
    let (what, reads) = (&spec["result"], spec["does"] == "read");
    let failed = result
        .as_object()
        .is_some_and(|all| all.len() == 1 && all.contains_key("error"));
    let rows: Vec<&Value> = match result {
        _ if failed => Vec::new(),
        Value::Array(rows) => rows.iter().collect(),
        one => vec![one],
    };
    let fields = &what["entry"];
    let entries = rows
        .iter()
        .filter(|row| row.is_object() && fields.is_object())
        .map(|row| {
            let listed = |field: &str| texts(row, &fields[field]);
            v1::Entry {
                r#type: fields["type"].as_str().unwrap_or_default().to_owned(),
                names: listed("name"),
                ids: listed("id"),
                recipients: listed("recipient"),
                amounts: listed("amount")
                    .iter()
                    .filter_map(|text| text.parse().ok())
                    .collect(),
                // What an allowed call made is as much the owner's as the call was.
                own: what["own"] == true || !reads,
            }
        });
    let closed = what["closed"].as_array().into_iter().flatten();
    let members = closed.flat_map(|field| {
        let values = rows.iter().map(move |row| match field == "*" {
            true => *row,
            false => &row[field.as_str().unwrap_or_default()],
        });
        values
            .filter_map(Value::as_str)
            .filter(|name| name.len() <= MEMBER)
    });
    let mut members: Vec<_> = members.map(str::to_owned).collect();
    members.sort_unstable();
    members.dedup();
    Ok(v1::CallReport {
        ran: !failed,
        label: find(LABELS, &what["label"])?.into(),
        text: has_words(result),
        entries: entries.collect(),
        members,
        ..v1::CallReport::default()
    })
}

/// The values of some fields of a row; what is long is text.
fn texts(row: &Value, fields: &Value) -> Vec<String> {
    let fields = fields.as_array().into_iter().flatten();
    let values = fields.flat_map(|field| match &row[field.as_str().unwrap_or_default()] {
        Value::Array(values) => values.iter().collect(),
        value => vec![value],
    });
    let texts = values.filter_map(|value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    texts.filter(|text| text.len() <= LONGEST).collect()
}

/// Whether there is anything but numbers and dates.
fn has_words(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => !text
            .chars()
            .all(|c| c.is_ascii_digit() || " .,:+-/TZ".contains(c)),
        Value::Array(all) => all.iter().any(has_words),
        Value::Object(all) => all.values().any(has_words),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_holds_the_fields_that_the_manifest_names_and_nothing_else() {
        let spec = json!({"does": "read", "result": {"label": "private", "closed": ["from"], "own": true,
            "entry": {"type": "mail", "name": ["subject"], "id": ["id"], "amount": ["sum"], "recipient": ["to"]}}});
        let result = json!([{"id": 7, "subject": "hi", "to": ["a", "b"], "sum": 1.5, "from": "eve", "body": "canary"}]);
        let found = report(&spec, &result).unwrap();
        assert!(found.ran && found.text && found.members == ["eve"]);
        assert_eq!(found.label(), Label::Private);
        let entry = &found.entries[0];
        assert_eq!((entry.r#type.as_str(), entry.own), ("mail", true));
        assert_eq!(
            (&entry.names[..], &entry.ids[..]),
            (&["hi".to_owned()][..], &["7".to_owned()][..])
        );
        assert_eq!((entry.recipients.len(), entry.amounts[0]), (2, 1.5));
        assert!(!format!("{found:?}").contains("canary"));
        let failed = report(&spec, &json!({"error": "no such day"})).unwrap();
        assert!(!failed.ran && failed.text && failed.entries.is_empty());
        assert!(
            !report(&spec, &json!(["2024-05-15 10:00", 3, null]))
                .unwrap()
                .text
        );
    }

    #[test]
    fn every_tool_of_the_manifest_can_be_told() {
        // Where the sources are now: tests may have been moved to where everybody can run them.
        let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
        let path = std::path::Path::new(&own).join("dojo/manifest.json");
        let manifest: Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut tools = 0;
        for (name, spec) in manifest
            .as_object()
            .unwrap()
            .values()
            .flat_map(|suite| suite.as_object().unwrap())
        {
            facts(spec)
                .and_then(|_| report(spec, &Value::Null))
                .unwrap_or_else(|why| panic!("{name}: {why}"));
            tools += 1;
        }
        assert!(tools > 50);
    }
}

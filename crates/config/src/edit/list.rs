//! Lists for a command that keeps what the file has in them.

use super::{in_quotes, locate};
use crate::json5::{self, Value};
use crate::path::{ConfigPath, Segment};
use crate::spelling;

/// The list at `path` of a file with this text, in JSON5, together with these entries, which are JSON5 too.
pub fn with_entries(text: &str, path: &str, more: &[&str]) -> String {
    let mut entries = entries(text, &ConfigPath::from(path));
    for entry in more {
        if !entries.iter().any(|known| known == entry) {
            entries.push((*entry).to_owned());
        }
    }
    format!("[{}]", entries.join(", "))
}

/// The list at `path` of a file with this text, in JSON5, with `entry` in the place of `"*"`.
pub(crate) fn with_a_name(text: &str, path: &str, entry: &str) -> String {
    let mut entries = entries(text, &ConfigPath::from(path));
    let place = entries.iter().position(|known| is_any(known));
    entries.retain(|known| !is_any(known));
    entries.insert(place.unwrap_or_default(), entry.to_owned());
    format!("[{}]", entries.join(", "))
}

/// Whether an entry means everybody.
fn is_any(entry: &str) -> bool {
    entry.trim_matches('"').trim() == "*"
}

/// The entries of a list, in whatever spelling the file has it. An account without a list of its own has its channel's.
fn entries(text: &str, path: &ConfigPath) -> Vec<String> {
    let Ok(parsed) = json5::parse(text) else {
        return Vec::new();
    };
    for path in [Some(path.clone()), shared(path)].into_iter().flatten() {
        for spelling in spelling::all(&path) {
            let steps = spelling.segments();
            let (depth, node) = locate(&parsed.root, steps);
            if let (true, Value::Array(items)) = (depth == steps.len(), &node.value) {
                let written = items.iter().map(|item| match &item.value {
                    Value::String(text) => in_quotes(text),
                    _ => text[item.span.start..item.span.end].to_owned(),
                });
                return written.collect();
            }
        }
    }
    Vec::new()
}

/// The setting of the channel that an account's stands for when it has none.
fn shared(path: &ConfigPath) -> Option<ConfigPath> {
    let key = |segment: &Segment, name: &str| matches!(segment, Segment::Key(key) if key == name);
    match path.segments() {
        [top, channel, accounts, _, rest @ ..]
            if key(top, "channels") && key(accounts, "accounts") =>
        {
            let head = [top.clone(), channel.clone()];
            Some(ConfigPath::from([&head, rest].concat()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_what_the_file_has_in_it() {
        let file = "{tools: {deny: ['mine', \"group:fs\" /* why */,]}, channels: {telegram: {dm: {allowFrom: [1, ' * ', 'it\\'s']}, accounts: {a: {}}}}}";
        let more = ["\"group:runtime\"", "\"group:fs\""];
        assert_eq!(
            with_entries(file, "tools.deny", &more),
            "[\"mine\", \"group:fs\", \"group:runtime\"]"
        );
        for path in [
            "channels.telegram.allowFrom",
            "channels.telegram.accounts.a.allowFrom",
        ] {
            assert_eq!(with_a_name(file, path, "\"ID\""), "[1, \"ID\", \"it's\"]");
        }
        for nothing in ["", "{", "{tools: {deny: 1}}"] {
            assert_eq!(with_entries(nothing, "tools.deny", &["1"]), "[1]");
            assert_eq!(with_a_name(nothing, "tools.deny", "1"), "[1]");
        }
    }
}

//! Status lines and the confinement in them, as an object for everything that prints JSON, and gap by gap
//! for a person.
//!
//! A status line is `WORDS | level=full landlock=7 ... version=0.1.0`: first what a person wants to know, at the end what
//! the process measured of its confinement, and which version it is.

use clawdbot_confine::measure::{Confinement, Missing};
use clawdbot_confine::memory::Backing;
use serde_json::{Value, json};

/// Between the words of a status line and the confinement.
const BETWEEN: &str = " | ";
/// How a confinement line begins.
const LEVEL: &str = "level=";

/// What ends a status line.
const VERSION: &str = concat!("version=", env!("CARGO_PKG_VERSION"));

/// A status line of both parts.
pub(crate) fn join_status(words: &str, confinement: &str) -> String {
    format!("{words}{BETWEEN}{confinement} {VERSION}")
}

/// A status line's words, and the confinement that stands at its end, which a process that is not confined yet lacks.
#[must_use]
pub fn split_status(line: &str) -> (&str, Option<&str>) {
    match line.rsplit_once(BETWEEN) {
        Some((words, confinement)) if confinement.starts_with(LEVEL) => (words, Some(confinement)),
        _ => (line, None),
    }
}

/// The level in a confinement line: full, partial, limits or none.
#[must_use]
pub fn level(confinement: &str) -> Option<&str> {
    confinement
        .split_whitespace()
        .find_map(|word| word.strip_prefix(LEVEL))
}

/// The version in a confinement line, as the process itself was built.
#[must_use]
pub fn version(confinement: &str) -> Option<&str> {
    confinement
        .split_whitespace()
        .find_map(|word| word.strip_prefix("version="))
}

/// What a process measured: level, landlock ABI, the single measures, and what is missing with its
/// meaning. `None` for a line that no process of this version writes.
#[must_use]
pub fn confinement_json(line: &str) -> Option<Value> {
    let measured = Confinement::parse_line(line)?;
    let missing: Vec<Value> = measured
        .missing
        .iter()
        .map(|missing| {
            json!({
                "what": missing.what,
                "floor": missing.floor,
                "meaning": missing.meaning,
                "remedy": missing.remedy,
            })
        })
        .collect();
    Some(json!({
        "level": measured.level.as_str(),
        "landlock": measured.landlock_abi,
        "seccomp": measured.seccomp,
        "filters": measured.filters,
        "noNewPrivs": measured.no_new_privs,
        "capabilities": measured.capabilities,
        "dumpable": measured.dumpable,
        "core": measured.core_limit,
        "variables": measured.variables,
        "strayDescriptors": measured.strays,
        "network": measured.network.as_str(),
        "secretMemory": measured.memory.map(Backing::as_str),
        "missing": missing,
    }))
}

/// A protection that some processes lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// What is missing.
    pub missing: Missing,
    /// The processes without it.
    pub roles: Vec<String>,
}

/// Everything that is missing anywhere, each once, what safety rests on first. Processes are given by
/// role and line; a line that is none is passed over.
pub fn gaps<'a>(processes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = Vec::new();
    for (role, line) in processes {
        let measured = Confinement::parse_line(line);
        for missing in measured.into_iter().flat_map(|found| found.missing) {
            match gaps.iter_mut().find(|gap| gap.missing == missing) {
                Some(gap) => gap.roles.push(role.to_owned()),
                None => gaps.push(Gap {
                    missing,
                    roles: vec![role.to_owned()],
                }),
            }
        }
    }
    gaps.sort_by_key(|gap| !gap.missing.floor);
    gaps
}

/// Why a process that is not fully confined may not run where `sandbox.require` is "full", and what
/// would make it so.
#[must_use]
pub fn shortfall(role: &str, line: &str) -> (String, String) {
    let measured = Confinement::parse_line(line);
    let level = measured
        .as_ref()
        .map_or("none", |found| found.level.as_str());
    let missing = measured.iter().flat_map(|found| &found.missing);
    let lacking: Vec<&Missing> = missing.filter(|missing| missing.floor).collect();
    let mut why: Vec<String> = lacking
        .iter()
        .map(|missing| format!("{} is missing: {}", missing.what, missing.meaning))
        .collect();
    if why.is_empty() {
        why.push(format!("it says {line:?}"));
    }
    let remedies = lacking.iter().map(|missing| missing.remedy);
    let remedies = remedies.chain(["or set sandbox.require to \"available\""]);
    (
        format!(
            "sandbox.require is \"full\", but {role} is confined \"{level}\" only: {}",
            why.join("; ")
        ),
        remedies.collect::<Vec<_>>().join("; "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "level=full landlock=7 seccomp=on filters=5 nnp=on caps=off dumpable=off core=0 env=0 strays=0 net=own memory=secret";

    #[test]
    fn a_status_line_comes_apart_as_it_was_put_together_whatever_its_words_are() {
        for words in [
            "ready",
            "",
            "a | b",
            "level=none | working",
            "3 | level=none",
        ] {
            let line = join_status(words, FULL);
            let (before, confinement) = split_status(&line);
            let measured = confinement.and_then(|line| line.strip_prefix(FULL));
            assert_eq!(before, words);
            assert_eq!(measured.and_then(version), Some(env!("CARGO_PKG_VERSION")));
        }
        for line in ["", "starting", "a | b", "level=none", "a | blevel=full"] {
            assert_eq!(split_status(line), (line, None));
        }
    }

    #[test]
    fn the_line_becomes_typed_fields_and_rubbish_is_nothing() {
        let value = confinement_json(FULL).unwrap();
        assert_eq!(
            value,
            json!({
                "level": "full", "landlock": 7, "seccomp": true, "filters": 5, "noNewPrivs": true,
                "capabilities": false, "dumpable": false, "core": 0, "variables": 0,
                "strayDescriptors": 0, "network": "own", "secretMemory": "secret", "missing": [],
            })
        );
        assert_eq!(confinement_json("level=full"), None);
        let agent = FULL.replace("memory=secret", "memory=none missing=network-namespace");
        let value = confinement_json(&agent).unwrap();
        assert_eq!(value["secretMemory"], Value::Null);
        let missing = &value["missing"][0];
        assert_eq!(
            (&missing["what"], &missing["floor"]),
            (&json!("network-namespace"), &json!(false))
        );
        assert!(missing["meaning"].is_string() && missing["remedy"].is_string());
    }

    #[test]
    fn each_gap_is_listed_once_with_all_who_have_it_and_the_worst_first() {
        let both = format!("{FULL} missing=landlock,secret-memory");
        let one = format!("{FULL} missing=secret-memory");
        let found = gaps([
            ("a", one.as_str()),
            ("b", &both),
            ("c", FULL),
            ("d", "rubbish"),
        ]);
        let shown: Vec<(&str, String)> = found
            .iter()
            .map(|gap| (gap.missing.what, gap.roles.join(" ")))
            .collect();
        assert_eq!(
            shown,
            [
                ("landlock", "b".to_owned()),
                ("secret-memory", "a b".to_owned())
            ]
        );
    }

    #[test]
    fn a_shortfall_names_what_is_missing_and_what_to_do() {
        let line = FULL.replace("level=full", "level=limits").replace(
            "net=own",
            "net=host missing=landlock,seccomp,network-namespace",
        );
        let (message, remedy) = shortfall("gateway", &line);
        for word in [
            "gateway",
            "\"limits\"",
            "landlock is missing",
            "seccomp is missing",
        ] {
            assert!(message.contains(word), "{message}");
        }
        assert!(!message.contains("network-namespace"), "it is no reason");
        for word in ["lsm=", "CONFIG_SECCOMP_FILTER", "sandbox.require"] {
            assert!(remedy.contains(word), "{remedy}");
        }
        let (message, remedy) = shortfall("gateway", "");
        assert!(message.contains("\"none\" only"), "{message}");
        assert_eq!(remedy, "or set sandbox.require to \"available\"");
    }
}

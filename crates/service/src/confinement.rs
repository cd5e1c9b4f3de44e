//! The confinement line of a status line as an object, for everything that prints JSON.

use clawdbot_confine::measure::Confinement;
use serde_json::{Value, json};

/// What a process measured: level, landlock ABI, the single measures, and what is missing with its
/// meaning. `None` for a line that no process of this version writes.
#[must_use]
pub fn confinement_json(line: &str) -> Option<Value> {
    let measured = Confinement::parse_line(line)?;
    let missing: Vec<Value> = measured
        .missing
        .iter()
        .map(|missing| json!({ "what": missing.what, "meaning": missing.meaning }))
        .collect();
    Some(json!({
        "level": measured.level.as_str(),
        "landlock": measured.landlock_abi,
        "seccomp": measured.seccomp,
        "noNewPrivs": measured.no_new_privs,
        "dumpable": measured.dumpable,
        "core": measured.core_limit,
        "missing": missing,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_becomes_typed_fields_and_rubbish_is_nothing() {
        let line = "level=full landlock=7 seccomp=on nnp=on dumpable=off core=0";
        let value = confinement_json(line).unwrap();
        assert_eq!(value["level"], "full");
        assert_eq!(value["landlock"], 7);
        assert_eq!(value["seccomp"], true);
        assert_eq!(value["dumpable"], false);
        assert_eq!(confinement_json("level=full"), None);
    }
}

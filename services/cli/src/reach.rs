//! What each process may reach, for `clawdbot topology`: files, network, limits and calls, from the profiles that the
//! processes confine themselves by.

use clawdbot_confine::profile::{Arch, Limits, Mode, Profile, profile};
use clawdbot_proto::edges::PROCESSES;
use serde_json::{Value, json};

use crate::out::{Style, table};

/// One line for each kind of process that has a profile.
pub fn as_table(style: Style) -> String {
    let rows: Vec<[String; 5]> = PROCESSES.iter().filter_map(|kind| row(kind.role)).collect();
    let heading = ["PROCESS", "NETWORK", "CALLS", "LIMITS", "FILES"];
    table(style, heading, &rows)
}

/// All of it; nothing for who has no profile (the command line).
pub fn as_json(role: &str) -> Option<Value> {
    let profile = profile(role)?;
    let files: Vec<Value> = profile
        .all_files()
        .map(|row| {
            json!({
                "place": with_instance(role, row.place),
                "access": row.access.as_str(),
                "readable": row.access.reads(),
                "writable": row.access.writes(),
                "optional": row.optional,
                "mode": row.mode.map(Mode::as_str),
            })
        })
        .collect();
    let limits: serde_json::Map<String, Value> = limits(profile.limits())
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    Some(json!({
        "name": profile.name,
        "filter": profile.filter,
        "files": files,
        "namespace": namespace(profile),
        "connectTcp": profile.connect_tcp,
        "limits": limits,
        "calls": { "single": calls(profile, Mode::Single), "system": calls(profile, Mode::System) },
    }))
}

/// The limits that are set, by the names of the profiles.
fn limits(limits: Limits) -> Vec<(&'static str, u64)> {
    let Limits {
        core,
        nofile,
        fsize,
        memlock,
    } = limits;
    [
        ("core", core),
        ("nofile", nofile),
        ("fsize", fsize),
        ("memlock", memlock),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

/// How many calls the filter lets through; nothing where there is no filter.
fn calls(profile: &Profile, mode: Mode) -> Option<usize> {
    let arch = Arch::own().unwrap_or(Arch::X86_64);
    profile.filter.then(|| profile.calls(mode, arch).len())
}

fn namespace(profile: &Profile) -> &'static str {
    match profile.own_network {
        true => "own",
        false => "host",
    }
}

/// A place with the instance of the role, where that is known.
fn with_instance(role: &str, place: impl ToString) -> String {
    let place = place.to_string();
    match role.split_once('-') {
        Some((_, instance)) if instance != "NAME" => place.replace("INSTANCE", instance),
        _ => place,
    }
}

/// One row of the table.
fn row(role: &str) -> Option<[String; 5]> {
    let profile = profile(role)?;
    let files: Vec<String> = profile
        .all_files()
        .map(|row| with_instance(role, row))
        .collect();
    let files = match (files.is_empty(), profile.filter) {
        (_, false) => "all of this user's".to_owned(),
        (true, true) => "none".to_owned(),
        (false, true) => files.join(", "),
    };
    let calls = |mode| calls(profile, mode).map_or("all".to_owned(), |count| count.to_string());
    let network = match profile.connect_tcp {
        true => format!("{}, TCP out", namespace(profile)),
        false => namespace(profile).to_owned(),
    };
    let limits: Vec<String> = limits(profile.limits())
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    Some([
        role.to_owned(),
        network,
        format!("{}/{}", calls(Mode::Single), calls(Mode::System)),
        limits.join(" "),
        files,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_process_may_reach_is_told_from_its_profile() {
        let (text, of) = (as_table(Style::PLAIN), |role| as_json(role).unwrap());
        let guest = of("agent-guest");
        let own: Vec<&str> = guest["files"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["writable"] == true)
            .filter_map(|row| row["place"].as_str())
            .collect();
        assert_eq!(own, ["STATE/sessions/guest"]);
        assert_eq!(guest["namespace"], "own");
        assert!(guest["calls"]["single"].as_u64().unwrap() > 20);
        let dialer = of("dialer");
        assert_eq!(
            (&dialer["connectTcp"], &dialer["namespace"]),
            (&json!(true), &json!("host"))
        );
        assert_eq!(dialer["limits"]["fsize"], 0);
        assert_eq!(of("supervisor")["calls"]["single"], Value::Null);
        assert_eq!(as_json("operator"), None);
        let line = |role: &str| {
            let mut lines = text.lines();
            lines
                .find(|line| line.starts_with(role))
                .unwrap()
                .to_owned()
        };
        assert!(
            line("policy").ends_with(
                "own STATE/pairing, own STATE/audit, system: own PLAN, system: read CONFIG, single: remove RUN"
            ),
            "{text}"
        );
        assert!(line("dialer").contains("host, TCP out"), "{text}");
        assert!(line("executor").contains("connect EDGES"), "{text}");
    }
}

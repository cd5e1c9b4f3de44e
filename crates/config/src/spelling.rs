//! The ways in which a file may spell one setting: `dm.policy` and `dmPolicy`, `agent` and `agents.defaults`.
//! One of them is canonical; messages, rules and findings use that one, an edit looks for all of them.

use crate::path::{ConfigPath, Segment};
use crate::schema;
use crate::shape::Info;

fn keys(dotted: &str) -> impl Iterator<Item = Segment> {
    dotted.split('.').map(|key| Segment::Key(key.to_owned()))
}

fn starts_with(path: &[Segment], dotted: &str) -> bool {
    let mut rest = path.iter();
    keys(dotted).all(|key| rest.next() == Some(&key))
}

/// The same setting in canonical spelling. What the schema does not know stays as it is.
pub(crate) fn canonical(path: &ConfigPath) -> ConfigPath {
    let mut steps = path.segments().to_vec();
    let (mut at, mut info) = (0, schema::root());
    while at < steps.len() {
        let other = info.also.iter();
        let mut other = other.filter(|(from, _)| starts_with(&steps[at..], from));
        if let Some((from, to)) = other.next() {
            let end = at + from.split('.').count();
            steps.splice(at..end, keys(to));
        }
        match info.below(&steps[at]) {
            Some(next) => info = next,
            None => break,
        }
        at += 1;
    }
    ConfigPath::from(steps)
}

/// Every spelling of a setting, the canonical one first. None for what the schema does not know.
pub(crate) fn all(path: &ConfigPath) -> Vec<ConfigPath> {
    let found = below(&schema::root(), canonical(path).segments());
    found.into_iter().map(ConfigPath::from).collect()
}

fn below(info: &Info, path: &[Segment]) -> Vec<Vec<Segment>> {
    let Some((first, rest)) = path.split_first() else {
        return vec![Vec::new()];
    };
    let mut found = Vec::new();
    let mut add = |head: Vec<Segment>, info: &Info, rest: &[Segment]| {
        let tails = below(info, rest).into_iter();
        found.extend(tails.map(|tail| head.iter().cloned().chain(tail).collect::<Vec<_>>()));
    };
    if let Some(next) = info.below(first) {
        add(vec![first.clone()], &next, rest);
    }
    for (from, to) in info.also {
        let length = to.split('.').count();
        if starts_with(path, to)
            && let Some(meant) = info
                .below(first)
                .and_then(|info| info.far_below(&path[1..length]))
        {
            add(keys(from).collect(), &meant, &path[length..]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_setting_is_found_and_the_canonical_one_comes_first() {
        for (written, spellings) in [
            ("gateway.port", vec!["gateway.port"]),
            (
                "channels.telegram.dm.policy",
                vec!["channels.telegram.dmPolicy", "channels.telegram.dm.policy"],
            ),
            (
                "agent.sandbox.docker.network",
                vec![
                    "agents.defaults.sandbox.network",
                    "agents.defaults.sandbox.docker.network",
                    "agent.sandbox.network",
                    "agent.sandbox.docker.network",
                ],
            ),
            (
                "session.owner",
                vec!["commands.ownerAllowFrom", "session.owner"],
            ),
            ("agents.list[0].id", vec!["agents.list[0].id"]),
            ("gateway.prot", vec![]),
        ] {
            let found = all(&written.into());
            let found: Vec<_> = found.iter().map(ConfigPath::to_string).collect();
            assert_eq!(found, spellings, "{written}");
        }
    }
}

//! Which instances the plan names and how far each may reach. A process whose destinations changed ends: it may hold a
//! connection to where it may not go any more, and nobody can take that from it.

use std::collections::BTreeMap;

use clawdbot_identity::Role;
use clawdbot_proto::v1::Plan;

use crate::programs::is_planned;

/// The plan's instances and their reach, opaque.
#[derive(Debug, Default)]
pub(super) struct Wanted(BTreeMap<Role, String>);

/// What the plan means for an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// It ends and is started again.
    Anew,
    Ends,
}

impl Wanted {
    /// What the plan names and may name.
    pub(super) fn of(plan: &Plan) -> Self {
        let reach = |name: &str| {
            let row = plan.reaches.iter().find(|row| row.instance == name);
            row.map(|row| row.reach.clone()).unwrap_or_default()
        };
        let rows = plan.instances.iter().filter_map(|name| {
            let role = Role::parse(name).ok().filter(is_planned)?;
            Some((role, reach(name)))
        });
        Self(rows.collect())
    }

    pub(super) fn roles(&self) -> impl Iterator<Item = &Role> {
        self.0.keys()
    }

    /// Empty for who is not in the plan.
    pub(super) fn reach(&self, role: &Role) -> &str {
        self.0.get(role).map_or("", String::as_str)
    }

    /// `started` is the reach with which it runs, if it does.
    pub(super) fn fate(&self, role: &Role, started: Option<&str>) -> Fate {
        match (self.0.get(role), started) {
            // Processes without an instance's name always run.
            (None, _) if role.name().is_some() => Fate::Ends,
            (Some(reach), Some(started)) if reach != started => Fate::Anew,
            _ => Fate::Stays,
        }
    }
}

#[cfg(test)]
mod tests {
    use clawdbot_proto::v1::InstanceReach;

    use super::*;

    fn plan(rows: &[(&str, Option<&str>)]) -> Wanted {
        let reaches = rows.iter().filter_map(|(instance, reach)| {
            Some(InstanceReach {
                instance: (*instance).to_owned(),
                reach: (*reach)?.to_owned(),
            })
        });
        Wanted::of(&Plan {
            instances: rows.iter().map(|(name, _)| (*name).to_owned()).collect(),
            reaches: reaches.collect(),
            ..Plan::default()
        })
    }

    fn role(name: &str) -> Role {
        Role::parse(name).unwrap()
    }

    #[test]
    fn a_worker_whose_destinations_changed_is_started_anew_and_no_other_is() {
        let model = role("model-openai");
        let first = plan(&[
            ("model-openai", Some("a:443")),
            ("channel-telegram", Some("t:443")),
        ]);
        let started = first.reach(&model);
        assert_eq!(first.fate(&model, Some(started)), Fate::Stays);

        let other = plan(&[
            ("model-openai", Some("a:443")),
            ("channel-telegram", Some("u:443")),
        ]);
        assert_eq!(other.fate(&model, Some(started)), Fate::Stays);
        assert_eq!(
            other.fate(&role("channel-telegram"), Some("t:443")),
            Fate::Anew
        );
        for changed in [Some("b:443"), Some("a:443 b:443"), None] {
            let changed = plan(&[("model-openai", changed)]);
            assert_eq!(changed.fate(&model, Some(started)), Fate::Anew);
            assert_eq!(changed.fate(&model, None), Fate::Stays, "it does not run");
            let again = changed.reach(&model);
            assert_eq!(changed.fate(&model, Some(again)), Fate::Stays, "once");
        }
    }

    #[test]
    fn the_plan_ends_its_own_instances_and_nobody_else() {
        let wanted = plan(&[
            ("model-ollama", None),
            ("gateway", Some("x")),
            ("no role", None),
        ]);
        assert_eq!(wanted.roles().collect::<Vec<_>>(), [&role("model-ollama")]);
        assert_eq!(
            wanted.fate(&role("model-openai"), Some("a:443")),
            Fate::Ends
        );
        assert_eq!(wanted.fate(&role("gateway"), Some("")), Fate::Stays);
    }
}

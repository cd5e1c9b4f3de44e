//! Which edges exist between the processes that run: the rows of the edge table, with the patterns
//! filled in.

use clawdbot_identity::Role;
use clawdbot_proto::edges::EDGES;
use clawdbot_proto::v1::{Descriptor, descriptor};

/// One edge between two processes: who calls, who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) client: Role,
    pub(crate) server: Role,
}

impl Wire {
    /// What the calling side gets.
    pub(crate) fn for_client(&self) -> Descriptor {
        Descriptor {
            what: Some(descriptor::What::Calls(self.server.to_string())),
        }
    }

    /// What the answering side gets.
    pub(crate) fn for_server(&self) -> Descriptor {
        Descriptor {
            what: Some(descriptor::What::Serves(self.client.to_string())),
        }
    }
}

/// All edges that `role` has with the others, in either direction.
pub(crate) fn wires<'a>(role: &Role, others: impl Iterator<Item = &'a Role>) -> Vec<Wire> {
    others
        .filter(|other| *other != role)
        .flat_map(|other| [(role, other), (other, role)])
        .filter(|(client, server)| {
            EDGES
                .iter()
                .any(|row| client.matches(row.client) && server.matches(row.server))
        })
        .map(|(client, server)| Wire {
            client: client.clone(),
            server: server.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(names: &[&str]) -> Vec<Role> {
        names
            .iter()
            .map(|name| Role::parse(name).unwrap())
            .collect()
    }

    #[test]
    fn an_instance_gets_the_edges_of_its_pattern_and_no_other() {
        let all = roles(&[
            "policy",
            "broker",
            "dialer",
            "gateway",
            "agent-main",
            "executor",
        ]);
        let model = Role::parse("model-builtin").unwrap();
        let found: Vec<String> = wires(&model, all.iter())
            .iter()
            .map(|w| format!("{}>{}", w.client, w.server))
            .collect();
        assert_eq!(
            found,
            [
                "model-builtin>policy",
                "model-builtin>broker",
                "model-builtin>dialer",
                "agent-main>model-builtin"
            ]
        );
    }

    #[test]
    fn the_two_agents_have_no_edge_with_each_other() {
        let [main, guest] = roles(&["agent-main", "agent-guest"]).try_into().unwrap();
        assert_eq!(wires(&main, [&guest].into_iter()), []);
    }
}

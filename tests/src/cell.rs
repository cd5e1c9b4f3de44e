//! All services wired up by hand: the test is the supervisor, and has further ends of every edge, so that it can say what no
//! honest process says, in any role, to processes that really work together.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;

use clawdbot_identity::Role;
use clawdbot_proto::edges::{EDGES, matches};
use clawdbot_proto::v1::descriptor::What;
use clawdbot_service::Edge;

use crate::Scratch;
use crate::kernel::Seen;
use crate::solo::Solo;

/// Who runs.
pub const ROLES: [&str; 8] = [
    "policy",
    "broker",
    "dialer",
    "gateway",
    "agent-main",
    "agent-guest",
    "model-builtin",
    "executor",
];

/// The processes and their state.
pub struct Cell {
    /// Their home.
    pub scratch: Scratch,
    processes: BTreeMap<&'static str, Solo>,
}

impl Cell {
    /// Starts everything with this configuration.
    pub fn start(configuration: &str) -> Self {
        let scratch = Scratch::new();
        scratch.configure(configuration);
        let processes: BTreeMap<_, _> = ROLES
            .map(|role| (role, Solo::start(role, &scratch)))
            .into_iter()
            .collect();
        for (client, server) in pairs() {
            let (near, far) = UnixStream::pair().unwrap();
            processes[server].give(What::Serves(client.into()), near.into());
            processes[client].give(What::Calls(server.into()), far.into());
        }
        for process in processes.values() {
            process.done();
        }
        Self { scratch, processes }
    }

    /// The client's end of a further edge.
    pub fn end(&self, client: &str, server: &str) -> UnixStream {
        self.processes[server].serves(client)
    }

    /// A further edge for typed calls, as permitted by the edge table.
    pub fn edge(&self, client: &str, server: &str) -> Edge {
        let role = |text| Role::parse(text).unwrap();
        let (edge, handover) = Edge::handed(role(client), role(server));
        handover.give(self.end(client, server));
        edge
    }

    /// A process as the kernel sees it.
    pub fn seen(&self, role: &str) -> Seen {
        Seen(self.processes[role].pid())
    }

    /// What all of them wrote.
    pub fn logs(&self) -> String {
        self.processes.values().map(Solo::log).collect()
    }
}

/// Every permitted pair of those that run.
fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = ROLES
        .into_iter()
        .flat_map(|client| ROLES.map(|server| (client, server)));
    all.filter(|(client, server)| {
        let mut rows = EDGES.iter();
        client != server
            && rows.any(|row| matches(row.client, client) && matches(row.server, server))
    })
}

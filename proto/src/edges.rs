//! The rows of `edges.toml`. Default deny: a call that has no row here does not exist.

/// Who starts a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starts {
    /// Runs whatever the configuration says.
    Always,
    /// Runs when policy's plan names the instance.
    Plan,
    /// Runs for one request of another process.
    Demand,
    /// Starts the others.
    Itself,
    /// Started by a person.
    Person,
}

/// One kind of process.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    /// Who it is on an edge; `NAME` stands for the instance.
    pub role: &'static str,
    /// Program name.
    pub binary: &'static str,
    /// Who starts it.
    pub starts: Starts,
    /// What it is for, one line.
    pub job: &'static str,
    /// What an attacker who takes it over finds there.
    pub holds: &'static str,
    /// What of the network it can reach.
    pub network: &'static str,
}

/// What travels on an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// gRPC over HTTP/2.
    Grpc,
    /// Length-prefixed messages, with descriptors.
    Frames,
}

/// What may be done with a call whose server died before it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Ask again.
    Safe,
    /// Ask again with the same id; the server knows what it has answered.
    ById,
    /// Report the failure.
    No,
}

/// One permitted method of an edge.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// gRPC path such as `/clawdbot.v1.Access/Verify`, or the name of the frame.
    pub path: &'static str,
    /// Largest request message, bytes.
    pub max: u32,
    /// Calls a second that one client may make, with a burst of the same number.
    pub rate: u32,
    /// Whether a lost call may be repeated.
    pub retry: Retry,
    /// Whether the answer is a stream.
    pub streams: bool,
    /// Whether the answer may have to wait for a person.
    pub waits: bool,
}

/// One permitted direction between two roles. `client` and `server` are roles or patterns such as `model-*`.
#[derive(Debug, Clone, Copy)]
pub struct Edge {
    /// Who calls.
    pub client: &'static str,
    /// Who answers.
    pub server: &'static str,
    /// gRPC or frames.
    pub carries: Carries,
    /// What may be called; nothing else exists on this edge.
    pub methods: &'static [Method],
}

include!(concat!(env!("OUT_DIR"), "/edges.rs"));

/// Whether `role` is meant by `pattern`: the same name, or a prefix that ends in `*`.
#[must_use]
pub fn matches(pattern: &str, role: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => role.len() > prefix.len() && role.starts_with(prefix),
        None => pattern == role,
    }
}

/// The edge on which `client` calls `server`, if there is one.
#[must_use]
pub fn edge(client: &str, server: &str) -> Option<&'static Edge> {
    EDGES
        .iter()
        .find(|e| matches(e.client, client) && matches(e.server, server))
}

/// The row that permits `client` to call `path` at `server`.
#[must_use]
pub fn method(client: &str, server: &str, path: &str) -> Option<&'static Method> {
    edge(client, server)?
        .methods
        .iter()
        .find(|m| m.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_of_roles_has_at_most_one_edge() {
        for (i, a) in EDGES.iter().enumerate() {
            for b in &EDGES[i + 1..] {
                assert!(
                    !(a.client == b.client && a.server == b.server),
                    "{} -> {}",
                    a.client,
                    a.server
                );
            }
        }
    }

    #[test]
    fn a_pattern_needs_a_name_and_a_name_is_exact() {
        assert!(matches("model-*", "model-builtin"));
        assert!(!matches("model-*", "model-"));
        assert!(!matches("gateway", "gateway2"));
    }

    #[test]
    fn what_has_no_row_is_denied() {
        assert!(method("gateway", "policy", "/clawdbot.v1.Access/Verify").is_some());
        assert!(method("gateway", "policy", "/clawdbot.v1.Tools/Decide").is_none());
        assert!(method("gateway", "broker", "/clawdbot.v1.Leases/Lease").is_none());
        assert!(method("agent-guest", "policy", "/clawdbot.v1.Access/Verify").is_none());
    }

    #[test]
    fn every_role_of_an_edge_is_a_process() {
        for edge in EDGES {
            for role in [edge.client, edge.server] {
                let known = PROCESSES
                    .iter()
                    .any(|p| matches(role, p.role) || p.role == role);
                assert!(known, "{role} is no process");
            }
        }
    }
}

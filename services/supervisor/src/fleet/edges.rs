//! Connections that ended while both their processes live are made again. Whichever end is to blame, nobody is killed for it:
//! who was taken over could have the other killed. What keeps ending is made again more and more slowly.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clawdbot_identity::Role;

use super::{Fleet, Run};
use crate::wiring::wires;

/// Losses in a row that are mended at once.
const FREE: u32 = 8;
/// First and longest pause after them. A call waits longer for its peer than this.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// An edge that was made again so long ago and did not end is as good as new.
const QUIET: Duration = Duration::from_secs(60);
/// Time between two connections that a client itself gives up: a replaced lease, for example.
const CALM: Duration = Duration::from_secs(1);

/// Why a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Nobody here wanted it.
    Lost,
    /// The client gave it up.
    GivenUp,
}

/// How fast one edge is made again.
#[derive(Debug, Default)]
struct Edge {
    losses: u32,
    /// When a loss was mended last.
    mended: Option<Instant>,
    /// When a connection that was given up was replaced last.
    replaced: Option<Instant>,
    /// The start of the client that waits for a connection, until when, and why the one before ended.
    due: Option<(Run, Instant, Why)>,
}

/// The edges that ended at least once, by client and server.
#[derive(Debug, Default)]
pub(super) struct Edges(BTreeMap<(Role, Role), Edge>);

impl Edge {
    /// When it is made again.
    fn again(&mut self, why: Why, now: Instant) -> Instant {
        if why == Why::GivenUp {
            let at = self.replaced.map_or(now, |last| now.max(last + CALM));
            self.replaced = Some(at);
            return at;
        }
        if self.mended.is_none_or(|last| now >= last + QUIET) {
            self.losses = 0;
        }
        let doublings = self.losses.checked_sub(FREE);
        self.losses += 1;
        let pause = doublings.map_or(Duration::ZERO, |doublings| {
            PAUSE.0.saturating_mul(1 << doublings.min(16)).min(PAUSE.1)
        });
        self.mended = Some(now + pause);
        now + pause
    }
}

impl Edges {
    /// Plans a connection in the place of one that ended. An edge waits for one at a time, whatever its client says.
    fn ended(&mut self, run: &Run, server: &Role, why: Why, now: Instant) {
        let key = (run.role.clone(), server.clone());
        let edge = self.0.entry(key).or_default();
        let waits = |(waiting, ..): &(Run, Instant, Why)| waiting == run;
        if edge.due.as_ref().is_some_and(waits) {
            return;
        }
        let at = edge.again(why, now);
        edge.due = Some((run.clone(), at, why));
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let due = self.0.values().filter_map(|edge| edge.due.as_ref());
        due.map(|(_, at, _)| *at).min()
    }

    /// Those that are due now.
    fn due(&mut self, now: Instant) -> Vec<(Run, Role, Why)> {
        let mut due = Vec::new();
        for ((_, server), edge) in &mut self.0 {
            if let Some((run, _, why)) = edge.due.take_if(|(_, at, _)| now >= *at) {
                due.push((run, server.clone(), why));
            }
        }
        due
    }

    /// A process is started: its edges are made with it.
    pub(super) fn starts(&mut self, role: &Role) {
        for ((client, server), edge) in &mut self.0 {
            if client == role || server == role {
                edge.due = None;
            }
        }
    }
}

impl Fleet {
    /// A process says that its connection to this server has ended.
    pub(super) fn edge_ended(&mut self, run: &Run, server: &str, why: Why) {
        let Ok(server) = Role::parse(server) else {
            return;
        };
        // The connection may have ended because its server did, a moment ago.
        self.reap();
        if !self.has_edge(run, &server) {
            return;
        }
        let now = Instant::now();
        self.edges.ended(run, &server, why, now);
        self.mend(now);
    }

    /// Whether both ends of an edge live. Else their next start brings new connections.
    fn has_edge(&mut self, run: &Run, server: &Role) -> bool {
        let serves = self
            .members
            .get(server)
            .is_some_and(|member| member.running.is_some() && member.life.ready.is_some());
        let known = wires(&run.role, [server].into_iter());
        serves
            && self.stopping.is_none()
            && known.iter().any(|wire| wire.client == run.role)
            && self.running(run).is_some()
    }

    /// Makes the connections that are due.
    pub(super) fn mend(&mut self, now: Instant) {
        for (run, server, why) in self.edges.due(now) {
            if !self.has_edge(&run, &server) {
                continue;
            }
            let role = &run.role;
            let wire = wires(role, [&server].into_iter())
                .into_iter()
                .find(|wire| wire.client == *role);
            let client = self.members.get(role).and_then(|m| m.running.as_ref());
            let (Some(wire), Some(client)) = (wire, client) else {
                continue;
            };
            match (self.connect(role, &client.started, &wire), why) {
                (Ok(()), Why::GivenUp) => {}
                (Ok(()), Why::Lost) => self.note(
                    "warn",
                    &format!("{role} lost its connection to {server} and has a new one"),
                ),
                (Err(error), _) => self.note(
                    "error",
                    &format!("{role} has no connection to {server}: {error}"),
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(role: Role, generation: u64) -> Run {
        Run { role, generation }
    }

    #[test]
    fn an_edge_that_keeps_ending_is_made_again_ever_more_slowly_and_for_ever() {
        let mut edge = Edge::default();
        let mut now = Instant::now();
        let pauses: Vec<u128> = (0..18)
            .map(|_| {
                let at = edge.again(Why::Lost, now);
                let pause = (at - now).as_millis();
                now = at;
                pause
            })
            .collect();
        let at_once = FREE as usize;
        assert!(pauses[..at_once].iter().all(|pause| *pause == 0));
        assert_eq!(
            pauses[at_once..],
            [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000]
        );
        assert_eq!(edge.again(Why::Lost, now + QUIET), now + QUIET, "forgotten");
    }

    #[test]
    fn what_its_client_gives_up_is_no_loss_and_still_bounded() {
        let mut edge = Edge::default();
        let start = Instant::now();
        let mut now = start;
        for number in 0..100 {
            now = edge.again(Why::GivenUp, now);
            assert_eq!(now, start + CALM * number);
        }
        assert_eq!(edge.again(Why::Lost, now), now, "not one loss so far");
    }

    #[test]
    fn an_edge_waits_for_one_connection_until_a_start_brings_it() {
        let (model, policy, now) = (Role::gateway(), Role::policy(), Instant::now());
        let mut edges = Edges::default();
        let first = run(model.clone(), 1);
        for _ in 0..=FREE {
            edges.ended(&first, &policy, Why::Lost, now);
            edges.due(now);
        }
        let at = edges.next().unwrap();
        assert_eq!(at, now + PAUSE.0);
        edges.ended(&first, &policy, Why::Lost, now);
        edges.ended(&first, &policy, Why::GivenUp, now);
        assert_eq!(edges.next(), Some(at), "asking again changes nothing");
        assert_eq!(
            edges.due(at),
            [(first.clone(), policy.clone(), Why::Lost)],
            "one"
        );
        assert_eq!(edges.next(), None);

        for role in [&model, &policy] {
            edges.ended(&first, &policy, Why::Lost, now);
            assert!(edges.next().is_some());
            edges.starts(role);
            assert_eq!(edges.next(), None);
        }
    }
}

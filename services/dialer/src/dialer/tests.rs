//! Whole requests: a fake name server, real loopback servers, and what each role is answered.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;
use crate::fakes::{FakeDns, honest, ips};

const LIMITS: Limits = Limits {
    first_push: Duration::from_millis(50),
    connect: Patience {
        attempt: Duration::from_secs(60),
        total: Duration::from_secs(120),
        ..Patience::DEFAULT
    },
    lock: crate::handover::LOCK,
};

fn role(text: &str) -> Role {
    Role::parse(text).unwrap()
}

fn dial(host: &str, port: u16) -> v1::DialerRequest {
    let dial = v1::Dial {
        host: host.into(),
        port: u32::from(port),
    };
    v1::DialerRequest {
        id: 7,
        request: Some(dialer_request::Request::Dial(dial)),
    }
}

/// One role's list.
fn push(role: &str, allowed: &[(&str, u16, bool)]) -> v1::DialerRequest {
    let allowed = allowed
        .iter()
        .map(|(host, port, private_allowed)| v1::AllowedDestination {
            host: (*host).into(),
            port: u32::from(*port),
            private_allowed: *private_allowed,
        });
    let roles = vec![v1::RoleDestinations {
        role: role.into(),
        allowed: allowed.collect(),
    }];
    let push = v1::Destinations {
        revision: 3,
        roles,
        ..v1::Destinations::default()
    };
    v1::DialerRequest {
        id: 1,
        request: Some(dialer_request::Request::Destinations(push)),
    }
}

/// The rule of a refusal, the class of a failure, or "connected".
async fn outcome(dialer: &Dialer, who: &str, request: v1::DialerRequest) -> String {
    let (reply, fds) = dialer.answer(&role(who), request).await;
    let outcome = reply.outcome.unwrap();
    assert_eq!(
        fds.len(),
        usize::from(matches!(outcome, Outcome::Connected(_)))
    );
    match outcome {
        Outcome::Connected(_) => "connected".into(),
        Outcome::Refused(refused) => refused.rule,
        Outcome::Failed(failed) => failed.class,
        Outcome::Revision(revision) => format!("revision {revision}"),
        Outcome::Events(events) => format!("{} events", events.events.len()),
    }
}

struct Rig {
    dialer: Dialer,
    listener: TcpListener,
    port: u16,
    _dns: FakeDns,
}

/// A dialer whose name server says what `addresses` says for every name; a listener on loopback.
async fn rig(addresses: impl Fn() -> Vec<std::net::IpAddr> + Send + Sync + 'static) -> Rig {
    let dns = FakeDns::start(move |q, _| vec![honest(q, &addresses())]).await;
    let dialer = Dialer::new(dns.resolver(""), LIMITS);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    Rig {
        dialer,
        listener,
        port,
        _dns: dns,
    }
}

impl Rig {
    async fn push(&self, allowed: &[(&str, u16, bool)]) {
        let taken = outcome(&self.dialer, "policy", push("model-x", allowed)).await;
        assert_eq!(taken, "revision 3");
    }

    async fn dial(&self, host: &str) -> String {
        outcome(&self.dialer, "model-x", dial(host, self.port)).await
    }

    fn nobody_came(&self) -> bool {
        self.listener.set_nonblocking(true).unwrap();
        self.listener.accept().is_err()
    }
}

#[tokio::test]
async fn a_listed_destination_is_handed_over_as_a_working_socket() {
    let rig = rig(|| ips(&["127.0.0.1"])).await;
    rig.push(&[("api.example", rig.port, true)]).await;
    let (reply, mut fds) = rig
        .dialer
        .answer(&role("model-x"), dial("API.example", rig.port))
        .await;
    assert_eq!(reply.id, 7);
    let peer = format!("127.0.0.1:{}", rig.port);
    assert_eq!(
        reply.outcome,
        Some(Outcome::Connected(v1::Connected { peer }))
    );
    let (theirs, _) = rig.listener.accept().unwrap();
    assert_eq!(said(theirs, fds.pop().unwrap()).await, "hello");
}

/// What arrives at `ours` when the peer says hello and leaves. Off the runtime, where a relay may run.
async fn said(mut theirs: TcpStream, ours: OwnedFd) -> String {
    let heard = tokio::task::spawn_blocking(move || {
        theirs.write_all(b"hello").unwrap();
        drop(theirs);
        let mut ours = TcpStream::from(ours);
        ours.set_nonblocking(false).unwrap();
        let mut heard = String::new();
        ours.read_to_string(&mut heard).unwrap();
        heard
    });
    heard.await.unwrap()
}

#[tokio::test]
async fn the_dialer_keeps_no_copy_of_what_it_hands_over() {
    let rig = rig(|| ips(&["127.0.0.1"])).await;
    rig.push(&[("api.example", rig.port, true)]).await;
    let (_, fds) = rig
        .dialer
        .answer(&role("model-x"), dial("api.example", rig.port))
        .await;
    let (mut theirs, _) = rig.listener.accept().unwrap();
    drop(fds);
    let read = tokio::task::spawn_blocking(move || theirs.read(&mut [0]).unwrap());
    assert_eq!(read.await.unwrap(), 0, "the peer sees the end");
}

thread_local! {
    /// The fields of the records of this thread's test.
    static RECORDS: RefCell<Vec<BTreeMap<String, String>>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the records of all threads: tracing remembers for each place whether somebody listens, and the first who comes
/// there may be another test.
struct Records;

struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }
}

impl Subscriber for Records {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == RECORD
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        RECORDS.with_borrow_mut(|records| records.push(fields.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn every_dial_and_every_refusal_leaves_one_record() {
    tracing::subscriber::set_global_default(Records).unwrap();
    // Who came somewhere meanwhile may have found nobody.
    tracing::callsite::rebuild_interest_cache();
    let rig = rig(|| ips(&["127.0.0.1"])).await;
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed_port = closed.local_addr().unwrap().port();
    drop(closed);
    let allowed = [
        ("api.example", rig.port, true),
        ("api.example", closed_port, true),
    ];
    rig.push(&allowed).await;
    let long = "x y".repeat(1000);
    let attempts = [
        ("model-x", "api.example", rig.port),
        ("model-x", "api.example", closed_port),
        ("model-x", "evil.example", rig.port),
        ("gateway", "api.example", rig.port),
        ("model-x", long.as_str(), rig.port),
    ];
    for (who, host, port) in attempts {
        let result = outcome(&rig.dialer, who, dial(host, port)).await;
        let mut written = RECORDS.take();
        let record = written.pop().unwrap();
        assert_eq!(written, [], "one record");
        assert_eq!(
            (&record["caller"], &record["result"]),
            (&who.into(), &result)
        );
        assert_eq!(record["port"], port.to_string());
        assert!(host.starts_with(&record["host"]) && record["host"].len() <= 253);
        assert!(record["ms"].parse::<u64>().is_ok());
        let peer = (result == "connected").then(|| format!("127.0.0.1:{port}"));
        assert_eq!(record.get("peer"), peer.as_ref());
    }
    let wider = push("model-x", &[("evil.example", 443, true)]);
    let refused = outcome(&rig.dialer, "model-x", wider).await;
    assert_eq!(RECORDS.take()[0]["result"], refused);
}

#[tokio::test]
async fn without_a_push_a_dial_waits_and_is_refused() {
    let rig = rig(|| ips(&["127.0.0.1"])).await;
    assert_eq!(rig.dial("api.example").await, "dial.no_list");
    assert!(rig.nobody_came());
}

#[tokio::test]
async fn a_dial_that_waits_goes_on_when_the_push_comes() {
    let mut rig = rig(|| ips(&["127.0.0.1"])).await;
    rig.dialer.limits.first_push = Duration::from_secs(60);
    let allowed = [("api.example", rig.port, true)];
    let (dialled, ()) = tokio::join!(rig.dial("api.example"), rig.push(&allowed));
    assert_eq!(dialled, "connected");
}

#[tokio::test]
async fn only_policy_pushes_and_only_workers_dial() {
    let rig = rig(|| ips(&["127.0.0.1"])).await;
    rig.push(&[("api.example", rig.port, true)]).await;
    for who in [
        "model-x",
        "channel-telegram",
        "gateway",
        "agent-main",
        "supervisor",
    ] {
        let wider = push("model-x", &[("evil.example", 443, true)]);
        assert_eq!(outcome(&rig.dialer, who, wider).await, "dial.role", "{who}");
    }
    for who in ["policy", "gateway", "agent-main", "executor"] {
        let request = dial("api.example", rig.port);
        assert_eq!(
            outcome(&rig.dialer, who, request).await,
            "dial.role",
            "{who}"
        );
    }
    let nothing = v1::DialerRequest {
        id: 1,
        request: None,
    };
    assert_eq!(
        outcome(&rig.dialer, "policy", nothing).await,
        "dial.bad_request"
    );
    assert!(rig.nobody_came());
    assert_eq!(rig.dial("api.example").await, "connected", "the control");
}

#[tokio::test]
async fn a_destination_of_nobody_or_of_another_role_is_refused() {
    let rig = rig(|| ips(&["127.0.0.1"])).await;
    rig.push(&[("api.example", rig.port, true)]).await;
    assert_eq!(rig.dial("other.example").await, "dial.not_listed");
    assert_eq!(rig.dial("127.0.0.1").await, "dial.not_listed");
    let request = dial("api.example", rig.port);
    assert_eq!(
        outcome(&rig.dialer, "model-y", request).await,
        "dial.not_listed"
    );
    for bad in ["", "a..b", "api.example.", "0x7f.1", "a b"] {
        assert_eq!(rig.dial(bad).await, "dial.bad_destination", "{bad}");
    }
    assert!(rig.nobody_came());
}

#[tokio::test]
async fn a_name_that_points_inside_is_refused_unless_the_configuration_names_it() {
    let rig = rig(|| ips(&["127.0.0.1", "::1", "10.0.0.1"])).await;
    rig.push(&[("in.example", rig.port, false)]).await;
    assert_eq!(rig.dial("in.example").await, "dial.private_address");
    assert!(rig.nobody_came());
    rig.push(&[("in.example", rig.port, true)]).await;
    assert_eq!(rig.dial("in.example").await, "connected");
}

#[tokio::test]
async fn a_literal_is_judged_like_an_answer() {
    let rig = rig(Vec::new).await;
    rig.push(&[
        ("127.0.0.1", rig.port, false),
        ("169.254.169.254", rig.port, true),
    ])
    .await;
    assert_eq!(rig.dial("127.0.0.1").await, "dial.private_address");
    assert_eq!(rig.dial("::ffff:127.0.0.1").await, "dial.private_address");
    assert_eq!(rig.dial("169.254.169.254").await, "dial.private_address");
    rig.push(&[("127.0.0.1", rig.port, true)]).await;
    assert_eq!(rig.dial("127.0.0.1").await, "connected");
}

#[tokio::test]
async fn a_name_that_is_bound_anew_between_dials_is_judged_anew() {
    let asked = AtomicUsize::new(0);
    let rig = rig(move || {
        // Two questions a name: the first dial hears of loopback, the second of the metadata service.
        let first = asked.fetch_add(1, Ordering::SeqCst) < 2;
        ips(&[if first {
            "127.0.0.1"
        } else {
            "169.254.169.254"
        }])
    })
    .await;
    rig.push(&[("turn.example", rig.port, true)]).await;
    assert_eq!(rig.dial("turn.example").await, "connected");
    assert_eq!(rig.dial("turn.example").await, "dial.private_address");
}

#[tokio::test]
async fn a_list_that_shrinks_while_a_name_is_looked_up_counts() {
    let rig = rig(|| ips(&["127.0.0.1"])).await;
    rig.push(&[("api.example", rig.port, true)]).await;
    let (dialled, ()) = tokio::join!(rig.dial("api.example"), rig.push(&[]));
    assert_eq!(dialled, "dial.not_listed");
}

#[tokio::test]
async fn what_the_network_says_is_a_failure_with_a_class_and_no_refusal() {
    let rig = rig(Vec::new).await;
    rig.push(&[
        ("empty.example", rig.port, false),
        ("127.0.0.2", rig.port, true),
    ])
    .await;
    assert_eq!(rig.dial("empty.example").await, "dns");
    assert_eq!(rig.dial("127.0.0.2").await, "refused");
}

#[tokio::test]
async fn a_bad_push_leaves_the_last_good_one_in_force() {
    let rig = rig(|| ips(&["127.0.0.1"])).await;
    rig.push(&[("api.example", rig.port, true)]).await;
    let bad = push("gateway", &[]);
    assert_eq!(outcome(&rig.dialer, "policy", bad).await, "dial.bad_list");
    assert_eq!(rig.dial("api.example").await, "connected");
}

#[tokio::test]
async fn where_sockets_cannot_be_locked_they_are_relayed_up_to_a_number() {
    let mut rig = rig(|| ips(&["127.0.0.1"])).await;
    rig.dialer.limits.lock = |_, _| Err(std::io::ErrorKind::PermissionDenied.into());
    rig.push(&[("api.example", rig.port, true)]).await;
    let mut held = Vec::new();
    for _ in 0..RELAYS_PER_ROLE {
        let (_, mut fds) = rig
            .dialer
            .answer(&role("model-x"), dial("api.example", rig.port))
            .await;
        held.push((rig.listener.accept().unwrap().0, fds.pop().unwrap()));
    }
    assert_eq!(rig.dial("api.example").await, "dial.busy");
    let (theirs, ours) = held.pop().unwrap();
    assert_eq!(said(theirs, ours).await, "hello");
    while rig.dial("api.example").await == "dial.busy" {
        // The relay ends as soon as the runtime has seen both ends closed.
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn policy_learns_who_dialled_what_and_nobody_else_does() {
    let rig = rig(|| ips(&["127.0.0.1"])).await;
    rig.push(&[("api.example", rig.port, true)]).await;
    assert_eq!(rig.dial("api.example").await, "connected");
    assert_eq!(rig.dial("other.example").await, "dial.not_listed");
    let ask = |number| v1::DialerRequest {
        id: 9,
        request: Some(dialer_request::Request::Events(v1::EventsAfter { number })),
    };
    assert_eq!(outcome(&rig.dialer, "model-x", ask(0)).await, "dial.role");
    let (reply, _) = rig.dialer.answer(&role("policy"), ask(0)).await;
    let Some(Outcome::Events(events)) = reply.outcome else {
        panic!("{reply:?}");
    };
    let told: Vec<_> = events
        .events
        .iter()
        .map(|event| {
            (
                event.role.as_str(),
                event.host.as_str(),
                event.refused.as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("model-x", "api.example", ""),
            ("model-x", "other.example", "dial.not_listed")
        ]
    );
}

//! Default deny on every edge: each process is wired up by hand with one edge for every role there is,
//! and every method that exists is called on each of them. What has no row in the edge table is refused
//! by the server itself; what has one passes the table.

use std::time::Duration;

use clawdbot_proto::edges::{self, EDGES, METHODS};
use clawdbot_tests::solo::{Solo, call_raw, call_with};
use clawdbot_tests::{Scratch, kernel};

/// A role for each row of the role table, real instances included.
const ROLES: [&str; 13] = [
    "gateway",
    "policy",
    "broker",
    "dialer",
    "agent-main",
    "agent-guest",
    "model-builtin",
    "model-other",
    "executor",
    "sandbox-main",
    "channel-telegram",
    "supervisor",
    "operator",
];

/// Far above what a refusal takes; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// After so long a call has passed the table and waits for something else.
const WAITS: Duration = Duration::from_secs(5);

/// The refusal of the edge table, which no service gives.
fn is_refusal(status: &(i32, String)) -> bool {
    let words = ["may%20not%20call%20this", "may not call this"];
    status.0 == 7 && words.iter().any(|word| status.1.contains(word))
}

async fn every_method_from_every_role(server: &str) {
    let scratch = Scratch::new();
    scratch.configure("{}");
    let process = Solo::start(server, &scratch);
    let ends: Vec<_> = ROLES
        .iter()
        .map(|role| (*role, process.serves(role)))
        .collect();
    process.done();
    let (mut permitted, mut refused) = (0, 0);
    for (role, end) in &ends {
        for path in METHODS {
            // One connection holds one HTTP/2 session.
            let end = if refused + permitted == 0 {
                end.try_clone().unwrap()
            } else {
                process.serves(role)
            };
            let row = edges::method(role, server, path);
            let patience = match row {
                Some(_) => WAITS,
                None => PATIENCE,
            };
            let status = tokio::time::timeout(patience, call_raw(&end, path)).await;
            match (row, status) {
                (None, Ok(status)) => {
                    assert!(
                        is_refusal(&status),
                        "{role} called {path} at {server}: {status:?}"
                    );
                    refused += 1;
                }
                (None, Err(_)) => panic!("{role} called {path} at {server} and was not refused"),
                // A permitted call may wait for a peer that the test does not play, or be an error.
                (Some(_), Ok(status)) => {
                    assert!(
                        !is_refusal(&status),
                        "{path} is permitted to {role}: {status:?}"
                    );
                    permitted += 1;
                }
                (Some(_), Err(_)) => permitted += 1,
            }
        }
    }
    let rows: usize = EDGES
        .iter()
        .filter(|edge| edges::matches(edge.server, server))
        .map(|edge| {
            let clients = ROLES
                .iter()
                .filter(|role| edges::matches(edge.client, role))
                .count();
            clients * edge.methods.len()
        })
        .sum();
    assert_eq!(permitted, rows, "the table's rows for {server}");
    assert_eq!(refused, ROLES.len() * METHODS.len() - rows);
    assert!(kernel::Seen(process.pid()).lives(), "{server} survived");
}

#[tokio::test]
async fn policy_answers_only_what_the_table_permits() {
    every_method_from_every_role("policy").await;
}

#[tokio::test]
async fn broker_answers_only_what_the_table_permits() {
    every_method_from_every_role("broker").await;
}

#[tokio::test]
async fn gateway_answers_only_what_the_table_permits() {
    every_method_from_every_role("gateway").await;
}

#[tokio::test]
async fn agent_answers_only_what_the_table_permits() {
    every_method_from_every_role("agent-main").await;
}

#[tokio::test]
async fn model_answers_only_what_the_table_permits() {
    every_method_from_every_role("model-builtin").await;
}

#[tokio::test]
async fn executor_answers_only_what_the_table_permits() {
    every_method_from_every_role("executor").await;
}

#[tokio::test]
async fn a_message_longer_than_its_row_is_refused_by_the_server_itself() {
    let scratch = Scratch::new();
    scratch.configure("{}");
    let process = Solo::start("policy", &scratch);
    let end = process.serves("gateway");
    let other = process.serves("gateway");
    process.done();
    let row = edges::method("gateway", "policy", "/clawdbot.v1.Access/CheckKey").unwrap();
    // Field 1, a string of the given length: three bytes before it.
    let message = |length: u32| {
        let text = length - 3;
        let mut bytes = vec![
            0x0a,
            u8::try_from(text & 0x7f).unwrap() | 0x80,
            u8::try_from(text >> 7).unwrap(),
        ];
        bytes.extend(std::iter::repeat_n(b'k', text as usize));
        bytes
    };
    let (status, _) = call_with(&end, row.path, &message(row.max + 1)).await;
    assert_eq!(status, 8, "RESOURCE_EXHAUSTED");
    let (status, text) = call_with(&other, row.path, &message(row.max)).await;
    assert_ne!(status, 8, "{text}");
}

#[tokio::test]
async fn bytes_that_are_no_http2_end_their_own_connection_and_nothing_else() {
    use std::io::{Read as _, Write as _};
    let scratch = Scratch::new();
    scratch.configure("{}");
    let process = Solo::start("policy", &scratch);
    let mut garbage = process.serves("gateway");
    let end = process.serves("gateway");
    process.done();
    garbage.write_all(&[0xff; 4096]).unwrap();
    let mut answer = Vec::new();
    // The server may say goodbye before it closes.
    let _reset = garbage.read_to_end(&mut answer);
    let (status, _) = call_raw(&end, "/clawdbot.v1.Access/CheckKey").await;
    assert_ne!(status, -1, "the other edge still answers");
}

/// What travels on frame edges is checked against the same table: the connection of whoever asks for
/// more ends, and the others go on.
#[tokio::test]
async fn the_dialer_ends_the_connection_of_whoever_asks_what_the_table_does_not_permit() {
    use clawdbot_confine::frame::{self, FrameReader, Progress};
    use clawdbot_proto::v1::{
        Destinations, Dial, DialerReply, DialerRequest, dialer_reply, dialer_request,
    };
    use prost::Message as _;

    let scratch = Scratch::new();
    let process = Solo::start("dialer", &scratch);
    let ends: Vec<_> = ROLES
        .iter()
        .map(|role| (*role, process.serves(role)))
        .collect();
    let again: Vec<_> = ROLES
        .iter()
        .map(|role| (*role, process.serves(role)))
        .collect();
    process.done();
    let dial = dialer_request::Request::Dial(Dial {
        host: "example.org".into(),
        port: 443,
    });
    let push = dialer_request::Request::Destinations(Destinations {
        revision: 1,
        roles: Vec::new(),
        ..Destinations::default()
    });
    let ask = |end: &std::os::unix::net::UnixStream, request: &dialer_request::Request| {
        end.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let request = DialerRequest {
            id: 7,
            request: Some(request.clone()),
        };
        frame::send(end, &request.encode_to_vec(), &[]).ok()?;
        match FrameReader::new().read_from(end) {
            Ok(Progress::Frame(frame)) => DialerReply::decode(frame.payload.as_slice()).ok(),
            _ => None,
        }
    };
    for (role, end) in &ends {
        let reply = ask(end, &push);
        assert_eq!(
            reply.is_some(),
            *role == "policy",
            "{role} pushed a list: {reply:?}\n{}",
            process.log()
        );
    }
    for (role, end) in &again {
        let reply = ask(end, &dial);
        assert_eq!(
            reply.is_some(),
            role.starts_with("model-") || role.starts_with("channel-"),
            "{role} dialled: {reply:?}"
        );
        if let Some(reply) = reply {
            assert!(
                matches!(reply.outcome, Some(dialer_reply::Outcome::Refused(_))),
                "{reply:?}"
            );
        }
    }
    assert!(kernel::Seen(process.pid()).lives());
}

/// A connection that ends while both processes live is asked for anew, and the new one is used.
#[test]
fn a_process_asks_for_another_connection_when_one_ends_and_uses_it() {
    use std::io::Read as _;
    let scratch = Scratch::new();
    let mut process = Solo::start("executor", &scratch);
    let mut policy = process.calls("policy");
    process.done();
    for _ in 0..3 {
        policy
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut preface = [0; 14];
        policy.read_exact(&mut preface).unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0");
        drop(policy);
        assert_eq!(process.edge_lost(), "policy");
        policy = process.calls("policy");
    }
    assert!(kernel::Seen(process.pid()).lives());
}

/// A supervisor that is stopped reads nothing, and nobody waits for it.
#[tokio::test]
async fn a_process_that_nobody_listens_to_works_on_and_says_the_rest_later() {
    let scratch = Scratch::new();
    let mut process = Solo::start_unheard("executor", &scratch);
    let policy = process.calls("policy");
    let end = process.serves("gateway");
    process.done();
    let method = "/clawdbot.v1.Executor/ListTools";
    let call = call_raw(&end, method);
    let status = tokio::time::timeout(Duration::from_secs(20), call).await;
    assert!(is_refusal(&status.unwrap()), "{}", process.log());
    drop(policy);
    assert!(kernel::Seen(process.pid()).lives());
    // The test reads only now.
    assert_eq!(process.notified("READY=1"), "READY=1");
    assert_eq!(process.edge_lost(), "policy");
    assert!(kernel::Seen(process.pid()).lives());
}

/// What a busy supervisor says is no word about the file.
#[test]
fn policy_asks_again_for_the_configuration_when_the_supervisor_is_busy() {
    use clawdbot_proto::v1::descriptor::What;
    let scratch = Scratch::new();
    scratch.configure("{}");
    let path = scratch.state().join("clawdbot.json");
    std::fs::remove_file(&path).unwrap();
    let mut process = Solo::start("policy", &scratch);
    process.done();
    for _ in 0..3 {
        process.config_wanted();
        process.no_config(rustix::io::Errno::AGAIN.raw_os_error());
    }
    process.config_wanted();
    scratch.configure("{}");
    let file = std::fs::File::open(&path).unwrap();
    process.give(What::File("config".into()), file.into());
    let status = process.notified("STATUS=");
    assert!(!status.contains("temporarily unavailable"), "{status}");
}

//! What a process says that has been taken over: calls that no honest client makes, bytes that are no calls, and floods, at
//! every server in its real confinement. Each comes to what `protocol.toml` says, the server answers others meanwhile and the
//! same role afterwards, and its memory was never large.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clawdbot_proto::edges;
use clawdbot_proto::v1::access_client::AccessClient;
use clawdbot_proto::v1::admit_operator_request::Way;
use clawdbot_proto::v1::admit_reply::Outcome;
use clawdbot_proto::v1::{self, model_message};
use clawdbot_tests::cell::{Cell, ROLES};
use clawdbot_tests::kernel::Seen;
use clawdbot_tests::verdict::Verdicts;
use clawdbot_tests::wire::{State, Wire, block, call, kind};
use clawdbot_tests::{Product, Scratch, Start};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;

/// Far above what an answer takes.
const LONG: Duration = Duration::from_secs(20);
/// A call that is to be asked again.
const TOO_FAST: &str = "too fast";
/// Frames or streams of a flood.
const FLOOD: u32 = 10_000;
/// Calls of which all but the last byte is sent.
const HALF_SENT: u32 = 200;
/// Connections that are opened at once: fewer than one client may have, and more.
const CONNECTIONS: (usize, usize) = (60, 200);
/// How much a server may ever have grown in all floods.
const GROWTH: u64 = 32 << 20;

/// A server, and a call that it permits.
struct Target {
    server: &'static str,
    client: &'static str,
    path: &'static str,
    message: Vec<u8>,
    /// A role that may not make this call; empty where only one role gets as far as the socket.
    stranger: &'static str,
}

/// Everything but the supervisor wired up by hand; the supervisor with a product of its own.
struct Stage {
    cell: Cell,
    product: Product,
    scratch: Scratch,
}

impl Stage {
    fn start() -> Self {
        let scratch = Scratch::new();
        Self {
            cell: Cell::start("{}"),
            product: Start::new().up(&scratch),
            scratch,
        }
    }

    fn end(&self, client: &str, server: &str) -> UnixStream {
        match server {
            "supervisor" => {
                UnixStream::connect(self.scratch.state().join("run/supervisor.sock")).unwrap()
            }
            _ => self.cell.end(client, server),
        }
    }

    fn seen(&self, role: &str) -> Seen {
        match role {
            "supervisor" => self.product.supervisor(),
            _ => self.cell.seen(role),
        }
    }

    fn all_live(&self) {
        for role in ROLES.into_iter().chain(["supervisor"]) {
            assert!(
                self.seen(role).lives(),
                "{role} lives\n{}",
                self.cell.logs()
            );
        }
    }
}

/// A session of the operator.
async fn handle(cell: &Cell) -> String {
    let request = v1::AdmitOperatorRequest {
        way: Some(Way::OperatorSocket(true)),
        session: "main".into(),
        message_id: "m".into(),
        agent: String::new(),
        ..v1::AdmitOperatorRequest::default()
    };
    let mut access = AccessClient::new(cell.edge("gateway", "policy"));
    let reply = access.admit_operator(request).await.unwrap().into_inner();
    match reply.outcome {
        Some(Outcome::Admission(admission)) => admission.handle,
        other => panic!("{other:?}"),
    }
}

async fn targets(cell: &Cell) -> Vec<Target> {
    let handle = handle(cell).await;
    let target = |server, client, path, message, stranger| Target {
        server,
        client,
        path,
        message,
        stranger,
    };
    let key = v1::CheckKeyRequest { key: "k".into() };
    let names = v1::HasNamesRequest {
        names: vec!["X".into()],
    };
    let stop = v1::StopRequest {
        session: "main".into(),
    };
    let cancel = v1::CancelRequest {
        turn_id: "t".into(),
    };
    let user = model_message::Message::User(v1::UserMessage { text: "hi".into() });
    let generate = v1::GenerateRequest {
        request_id: "r".into(),
        handle: handle.clone(),
        model: "guide".into(),
        messages: vec![v1::ModelMessage {
            message: Some(user),
        }],
        ..v1::GenerateRequest::default()
    };
    let list = v1::ListToolsRequest { handle };
    vec![
        target(
            "policy",
            "gateway",
            "/clawdbot.v1.Access/CheckKey",
            key.encode_to_vec(),
            "executor",
        ),
        target(
            "broker",
            "policy",
            "/clawdbot.v1.Credentials/HasNames",
            names.encode_to_vec(),
            "gateway",
        ),
        target(
            "gateway",
            "operator",
            "/clawdbot.v1.Chat/Stop",
            stop.encode_to_vec(),
            "agent-main",
        ),
        target(
            "agent-main",
            "gateway",
            "/clawdbot.v1.Agent/Cancel",
            cancel.encode_to_vec(),
            "agent-guest",
        ),
        target(
            "agent-guest",
            "gateway",
            "/clawdbot.v1.Agent/Cancel",
            cancel.encode_to_vec(),
            "operator",
        ),
        target(
            "model-builtin",
            "agent-main",
            "/clawdbot.v1.Model/Generate",
            generate.encode_to_vec(),
            "gateway",
        ),
        target(
            "executor",
            "agent-main",
            "/clawdbot.v1.Executor/ListTools",
            list.encode_to_vec(),
            "model-builtin",
        ),
        target(
            "supervisor",
            "operator",
            "/clawdbot.v1.SupervisorOperator/Processes",
            Vec::new(),
            "",
        ),
    ]
}

/// A message in gRPC's frame.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat()
}

/// A field that no message has, with this many bytes in all.
fn padding(size: usize) -> Vec<u8> {
    // Field 1000: two bytes of tag; a length of five bytes, so that every size can be had.
    let length = size - 7;
    let mut bytes = vec![0xc2, 0x3e];
    for shift in [0, 7, 14, 21] {
        bytes.push(u8::try_from(length >> shift & 0x7f).unwrap() | 0x80);
    }
    bytes.push(0);
    bytes.resize(size, b'p');
    bytes
}

/// The outcome of a call in the words of the table. What comes too fast for its rate is asked again.
async fn calls(end: impl Fn() -> UnixStream, request: Request<Full<Bytes>>) -> String {
    let deadline = Instant::now() + LONG;
    loop {
        let outcome = once(end(), request.clone()).await;
        if outcome != TOO_FAST || Instant::now() > deadline {
            return outcome;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn once(stream: UnixStream, request: Request<Full<Bytes>>) -> String {
    stream.set_nonblocking(true).unwrap();
    let io = TokioIo::new(tokio::net::UnixStream::from_std(stream).unwrap());
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let Ok((mut sender, connection)) = handshake else {
        return "ended".into();
    };
    let driver = tokio::spawn(connection);
    let status = async {
        let response = sender.send_request(request).await.ok()?;
        let (head, body) = response.into_parts();
        let trailers = body
            .collect()
            .await
            .ok()?
            .trailers()
            .cloned()
            .unwrap_or_default();
        let status = head
            .headers
            .get("grpc-status")
            .or(trailers.get("grpc-status"));
        let message = head.headers.get("grpc-message");
        if message.is_some_and(|message| message.to_str().unwrap().ends_with("a%20second")) {
            return Some(TOO_FAST.to_owned());
        }
        Some(match status.and_then(|status| status.to_str().ok()) {
            Some("0") => "worked".to_owned(),
            Some(status) => format!("refused {status}"),
            None => format!("http {}", head.status.as_u16()),
        })
    };
    let status = tokio::time::timeout(LONG, status).await;
    driver.abort();
    match status {
        Ok(status) => status.unwrap_or_else(|| "ended".into()),
        Err(_) => "silence".into(),
    }
}

fn request(path: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
    let request = Request::post(format!("http://edge{path}"));
    let request = request
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    request.body(Full::new(Bytes::from(body))).unwrap()
}

impl Target {
    fn end(&self, stage: &Stage) -> UnixStream {
        stage.end(self.client, self.server)
    }

    async fn says(&self, stage: &Stage, body: Vec<u8>) -> String {
        calls(|| self.end(stage), request(self.path, body)).await
    }

    async fn answers(&self, stage: &Stage) -> String {
        self.says(stage, framed(&self.message)).await
    }
}

async fn strange_calls(stage: &Stage, target: &Target, verdicts: &mut Verdicts) {
    let server = target.server;
    let message = &target.message;
    let max = edges::method(target.client, server, target.path)
        .unwrap()
        .max as usize;
    let padded = |total: usize| framed(&[&message[..], &padding(total - message.len())].concat());
    let mut note = |attempt, outcome: String| verdicts.note(attempt, server, outcome);
    note("permitted", target.answers(stage).await);
    note("largest", target.says(stage, padded(max)).await);
    note("too-large", target.says(stage, padded(max + 1)).await);
    note(
        "unknown-field",
        target.says(stage, padded(message.len() + 64)).await,
    );
    let end = || target.end(stage);
    let at = |path: &'static str| calls(end, request(path, framed(message)));
    note("unknown-method", at("/clawdbot.v1.Access/Nothing").await);
    note("unknown-service", at("/clawdbot.v1.Nothing/Nothing").await);
    note("no-path", at("/").await);
    note(
        "reflection",
        at("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo").await,
    );
    if !target.stranger.is_empty() {
        let stranger = || stage.end(target.stranger, server);
        note(
            "wrong-role",
            calls(stranger, request(target.path, framed(message))).await,
        );
    }
    // Field 1 of ten bytes, of which three are there.
    note(
        "cut-field",
        target.says(stage, framed(b"\x0a\x0aabc")).await,
    );
    note(
        "cut-message",
        target
            .says(stage, framed(message)[..4 + message.len()].to_vec())
            .await,
    );
    note(
        "more-behind",
        target
            .says(stage, [framed(message), vec![0xff; 9]].concat())
            .await,
    );
    note(
        "twice",
        target
            .says(stage, [framed(message), framed(message)].concat())
            .await,
    );
    note("nothing", target.says(stage, Vec::new()).await);
    note(
        "length-of-4-gb",
        target
            .says(stage, [&[0, 0xff, 0xff, 0xff, 0xff][..], message].concat())
            .await,
    );
    // Field 1 as a number.
    note("wrong-type", target.says(stage, framed(b"\x08\x01")).await);
    note(
        "no-text",
        target.says(stage, framed(b"\x0a\x02\xff\xfe")).await,
    );
    note("field-zero", target.says(stage, framed(b"\x02\x00")).await);
    note(
        "endless-number",
        target.says(stage, framed(&[0xff; 11])).await,
    );
    // Groups within groups.
    note(
        "nested-groups",
        target.says(stage, framed(&vec![0x0b; 1000])).await,
    );
    let mut compressed = framed(message);
    compressed[0] = 1;
    note("compressed", target.says(stage, compressed).await);
    let get = Request::get(format!("http://edge{}", target.path)).body(Full::default());
    note("get", calls(end, get.unwrap()).await);
    let mut asserted = request(target.path, framed(message));
    for (name, value) in [
        ("x-role", "operator"),
        ("authorization", "Bearer x"),
        ("x-forwarded-for", "::1"),
    ] {
        asserted
            .headers_mut()
            .insert(name, http::HeaderValue::from_static(value));
    }
    note("asserted-role", calls(end, asserted).await);
}

type Flood = fn(&mut Wire, &str) -> bool;

/// Sends until it cannot go on.
fn repeat(mut send: impl FnMut(u32) -> bool) -> bool {
    (0..FLOOD).all(&mut send)
}

/// Floods after which a server may read no more of their connection. With any other, a server that reads nothing for a while
/// has not had its turn yet.
const STALLING: [&str; 7] = [
    "half-open-streams",
    "unread-answers",
    "settings-flood",
    "ping-flood",
    "priority-flood",
    "unknown-frames",
    "window-flood",
];

/// What is sent on a connection that began well.
const FLOODS: &[(&str, Flood)] = &[
    ("half-open-streams", |wire, path| {
        repeat(|n| wire.open(2 * n + 1, path))
    }),
    ("reset-flood", |wire, path| {
        repeat(|n| {
            wire.open(2 * n + 1, path) && wire.frame(kind::RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8])
        })
    }),
    ("unread-answers", |wire, _| {
        repeat(|n| wire.ask(2 * n + 1, "/clawdbot.v1.Nothing/Nothing"))
    }),
    ("settings-flood", |wire, _| {
        repeat(|_| wire.frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]))
    }),
    ("ping-flood", |wire, _| {
        repeat(|_| wire.frame(kind::PING, 0, 0, b"01234567"))
    }),
    ("priority-flood", |wire, _| {
        repeat(|n| wire.frame(kind::PRIORITY, 0, 2 * n + 1, &[0, 0, 0, 0, 16]))
    }),
    ("empty-data-flood", |wire, path| {
        wire.open(1, path);
        repeat(|_| wire.frame(kind::DATA, 0, 1, &[]))
    }),
    ("unknown-frames", |wire, _| {
        repeat(|_| wire.frame(0x77, 0xff, 0, b"what is this?"))
    }),
    ("window-flood", |wire, _| {
        repeat(|_| wire.frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))
    }),
    ("endless-head", |wire, path| {
        wire.frame(kind::HEADERS, 0, 1, &call(path));
        repeat(|_| wire.frame(kind::CONTINUATION, 0, 1, &block(&[("x-more", "more")])))
    }),
    ("large-head", |wire, path| {
        let head = [call(path), block(&[("x-large", &"x".repeat(15_000))])].concat();
        wire.frame(kind::HEADERS, 0, 1, &head);
        for _ in 0..64 {
            wire.frame(
                kind::CONTINUATION,
                0,
                1,
                &block(&[("x-large", &"x".repeat(15_000))]),
            );
        }
        wire.frame(kind::CONTINUATION, 4, 1, &[])
    }),
    ("index-that-is-none", |wire, _| {
        wire.frame(kind::HEADERS, 5, 1, &[0xff, 0xff, 0xff, 0xff, 0x0f])
    }),
    ("huge-frame", |wire, _| {
        wire.raw(&[0xff, 0xff, 0xff, kind::DATA, 0, 0, 0, 0, 1])
    }),
    ("data-without-call", |wire, _| {
        wire.frame(kind::DATA, 0, 1, b"data")
    }),
    ("even-stream", |wire, path| wire.open(2, path)),
    ("stream-again", |wire, path| {
        wire.ask(3, path) && wire.ask(1, path)
    }),
    ("window-overflow", |wire, _| {
        wire.frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])
    }),
    ("bad-setting", |wire, _| {
        wire.frame(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 9])
    }),
    ("no-head", |wire, _| wire.frame(kind::HEADERS, 5, 1, &[])),
];

/// What is sent instead of a beginning.
const BEGINNINGS: &[(&str, &[u8])] = &[
    ("garbage", &[0xff; 4096]),
    (
        "http-1",
        b"POST /clawdbot.v1.Access/CheckKey HTTP/1.1\r\nHost: edge\r\n\r\n",
    ),
    (
        "preface-alone-then-garbage",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxxxxxxxxxxxxxxxxx",
    ),
    (
        "tls",
        &[
            0x16, 3, 1, 0, 0xf8, 1, 0, 0, 0xf4, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0,
        ],
    ),
];

const WORDS: [(State, &str); 3] = [
    (State::Open, "bounded"),
    (State::Ended, "ended"),
    // Nothing is read any more: what the flood has left to say stays with the flood.
    (State::Stalled, "stalled"),
];

fn word(state: State) -> &'static str {
    WORDS.iter().find(|(known, _)| *known == state).unwrap().1
}

async fn floods(stage: &Stage, target: &Target, verdicts: &mut Verdicts) {
    let server = target.server;
    for &(attempt, bytes) in BEGINNINGS {
        let mut wire = Wire::new(target.end(stage));
        wire.raw(bytes);
        verdicts.note(attempt, server, word(wire.state()));
    }
    for &(attempt, flood) in FLOODS {
        let mut wire = Wire::begin(target.end(stage));
        if STALLING.contains(&attempt) {
            wire.hurries();
        }
        flood(&mut wire, target.path);
        verdicts.note(attempt, server, word(wire.state()));
        assert_eq!(
            target.answers(stage).await,
            "worked",
            "{server} answers others after {attempt}"
        );
    }
    // Calls of the largest size that lack nothing but their last byte, while others are answered.
    let row = edges::method(target.client, server, target.path).unwrap();
    let mut wire = Wire::begin(target.end(stage));
    let sent = wire.pour(HALF_SENT, target.path, row.max);
    println!("{server}: {} KiB of half-sent calls", sent >> 10);
    assert_eq!(target.answers(stage).await, "worked", "{server}");
    verdicts.note("half-sent-calls", server, word(wire.state()));
    // Connections that say nothing or half a call, all open at once. None that the server ends by itself after a while: on a
    // slow machine there would be room again.
    let silent = |number: usize| {
        let mut end = target.end(stage);
        let parts: [&[u8]; 2] = [
            b"",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x60\x01",
        ];
        // One too many may have been ended already.
        let _ended = end.write_all(parts[number % 2]);
        end
    };
    let held: Vec<_> = (0..CONNECTIONS.0).map(silent).collect();
    verdicts.note("silent-connections", server, target.answers(stage).await);
    let more: Vec<_> = (0..CONNECTIONS.1).map(silent).collect();
    verdicts.note("too-many-connections", server, target.answers(stage).await);
    drop((held, more));
    let deadline = Instant::now() + LONG;
    while target.answers(stage).await != "worked" {
        assert!(Instant::now() < deadline, "{server} recovers");
    }
}

/// The most memory that a server ever had.
fn memory(stage: &Stage, role: &str) -> u64 {
    let status = stage.seen(role).status();
    let words: Vec<&str> = status["VmHWM"].split_whitespace().collect();
    words[0].parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn strange_calls_come_to_what_the_table_says_at_every_server() {
    let stage = Stage::start();
    let mut verdicts = Verdicts::default();
    for target in targets(&stage.cell).await {
        strange_calls(&stage, &target, &mut verdicts).await;
        assert_eq!(target.answers(&stage).await, "worked", "{}", target.server);
    }
    stage.all_live();
    verdicts.agree("calls");
}

#[tokio::test]
async fn floods_and_half_sent_calls_end_or_wait_and_cost_no_memory() {
    let stage = Stage::start();
    let mut verdicts = Verdicts::default();
    for target in targets(&stage.cell).await {
        let before = memory(&stage, target.server);
        floods(&stage, &target, &mut verdicts).await;
        let after = memory(&stage, target.server);
        println!(
            "{}: {} KiB before, {} KiB after",
            target.server,
            before >> 10,
            after >> 10
        );
        assert!(
            after < before + GROWTH,
            "{}: {before} → {after}",
            target.server
        );
    }
    stage.all_live();
    verdicts.agree("floods");
}

//! The one process with a network, asked by somebody who was taken over: for addresses that nobody may dial in every
//! spelling, for somebody else's host, with frames that are none.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use clawdbot_confine::frame::{self, FrameReader, Progress};
use clawdbot_confine::spawn::{Leash, Program, spawn};
use clawdbot_proto::v1::{self, dialer_reply::Outcome, dialer_request::Request};
use clawdbot_tests::kernel::Seen;
use clawdbot_tests::solo::Solo;
use clawdbot_tests::verdict::Verdicts;
use clawdbot_tests::{Scratch, binary, log_pipe};
use prost::Message as _;

/// What must not be reached by any spelling.
const SPELLINGS: &[(&str, &str)] = &[
    ("metadata", "169.254.169.254"),
    ("metadata-decimal", "2852039166"),
    ("metadata-hex", "0xa9fea9fe"),
    ("metadata-hex-parts", "0xa9.0xfe.0xa9.0xfe"),
    ("metadata-octal", "0251.0376.0251.0376"),
    ("metadata-short", "169.254.43518"),
    ("metadata-dot", "169.254.169.254."),
    ("metadata-mapped", "::ffff:169.254.169.254"),
    ("metadata-mapped-hex", "[::ffff:a9fe:a9fe]"),
    ("metadata-compatible", "::169.254.169.254"),
    ("metadata-nat64", "64:ff9b::169.254.169.254"),
    ("metadata-6to4", "2002:a9fe:a9fe::1"),
    ("metadata-wide", "１６９.254.169.254"),
    ("metadata-percent", "169.254.169%2e254"),
    ("metadata-user", "a@169.254.169.254"),
    ("metadata-port", "169.254.169.254:80"),
    ("metadata-v6", "fd00:ec2::254"),
    ("metadata-v6-zone", "fd00:ec2::254%1"),
    (
        "metadata-v6-long",
        "fd00:0ec2:0000:0000:0000:0000:0000:0254",
    ),
    ("metadata-google", "metadata.google.internal"),
    ("metadata-google-case", "Metadata.Google.Internal"),
    ("metadata-azure", "168.63.129.16"),
    ("metadata-alibaba", "100.100.100.200"),
    ("link-local", "fe80::1"),
    ("link-local-zone", "fe80::1%lo"),
    ("unspecified", "0.0.0.0"),
    ("unspecified-v6", "::"),
    ("unspecified-short", "0"),
    ("broadcast", "255.255.255.255"),
    ("multicast", "224.0.0.1"),
    ("multicast-v6", "ff02::1"),
    ("loopback-short", "127.1"),
    ("loopback-decimal", "2130706433"),
    ("loopback-octal", "0177.0.0.1"),
    ("newline", "example.org\n127.0.0.1"),
    ("nul", "example.org\0.evil.example"),
    ("slash", "example.org/../../x"),
    ("empty", ""),
    (
        "long",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example",
    ),
];

/// The answer to a request, and how many descriptors came with it. Nothing when the connection ended.
fn ask(end: &UnixStream, request: Request) -> Option<(Outcome, usize)> {
    let request = v1::DialerRequest {
        id: 7,
        request: Some(request),
    };
    frame::send(end, &request.encode_to_vec(), &[]).ok()?;
    answer(end)
}

fn answer(end: &UnixStream) -> Option<(Outcome, usize)> {
    end.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    match FrameReader::new().read_from(end) {
        Ok(Progress::Frame(frame)) => {
            let reply = v1::DialerReply::decode(frame.payload.as_slice()).unwrap();
            Some((reply.outcome?, frame.fds.len()))
        }
        _ => None,
    }
}

/// In the words of the table.
fn word(answer: Option<(Outcome, usize)>) -> String {
    match answer {
        None => "ended".into(),
        Some((Outcome::Refused(refused), 0)) => refused.rule,
        Some((Outcome::Failed(failed), 0)) => format!("failed: {}", failed.class),
        Some((Outcome::Connected(_), 1)) => "connected".into(),
        Some((Outcome::Revision(_), 0)) => "taken".into(),
        Some(other) => format!("{other:?}"),
    }
}

fn dial(host: &str, port: u16) -> Request {
    Request::Dial(v1::Dial {
        host: host.into(),
        port: port.into(),
    })
}

/// A role, and the destinations that it may dial: host, port, whether it may lie inside.
type List<'a> = (&'a str, &'a [(&'a str, u16, bool)]);

/// Lists by role: host, port, and whether it may be inside.
fn push(lists: &[List<'_>]) -> Request {
    let list = |(role, allowed): &(&str, &[(&str, u16, bool)])| v1::RoleDestinations {
        role: (*role).into(),
        allowed: allowed
            .iter()
            .map(|(host, port, private_allowed)| v1::AllowedDestination {
                host: (*host).into(),
                port: u32::from(*port),
                private_allowed: *private_allowed,
            })
            .collect(),
    };
    Request::Destinations(v1::Destinations {
        revision: 1,
        roles: lists.iter().map(list).collect(),
        ..v1::Destinations::default()
    })
}

struct Rig {
    dialer: Solo,
    _scratch: Scratch,
}

impl Rig {
    fn start() -> Self {
        let scratch = Scratch::new();
        let dialer = Solo::start("dialer", &scratch);
        dialer.done();
        Self {
            dialer,
            _scratch: scratch,
        }
    }

    fn end(&self, role: &str) -> UnixStream {
        self.dialer.serves(role)
    }

    fn push(&self, lists: &[List<'_>]) -> String {
        word(ask(&self.end("policy"), push(lists)))
    }

    fn dial(&self, role: &str, host: &str, port: u16) -> String {
        word(ask(&self.end(role), dial(host, port)))
    }
}

#[test]
fn no_spelling_reaches_what_nobody_may_dial_even_when_a_list_names_it() {
    let rig = Rig::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut verdicts = Verdicts::default();
    assert_eq!(
        rig.push(&[("model-x", &[("127.0.0.1", port, true)])]),
        "taken"
    );
    for &(attempt, host) in SPELLINGS {
        verdicts.note(attempt, "not listed", rig.dial("model-x", host, port));
    }
    for &(attempt, host) in SPELLINGS {
        let taken = rig.push(&[("model-x", &[("127.0.0.1", port, true), (host, port, true)])]);
        verdicts.note(attempt, "listing", taken);
        verdicts.note(attempt, "listed", rig.dial("model-x", host, port));
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody came to loopback");
    // The control: what is listed by its own spelling is reached.
    listener.set_nonblocking(false).unwrap();
    assert_eq!(rig.dial("model-x", "127.0.0.1", port), "connected");
    listener.accept().unwrap();
    verdicts.agree("spellings");
}

#[test]
fn a_role_reaches_its_own_list_as_it_is_now_and_no_other() {
    let rig = Rig::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut verdicts = Verdicts::default();
    let mut note = |attempt, outcome: String| verdicts.note(attempt, "dialer", outcome);
    let own: &[(&str, u16, bool)] = &[("127.0.0.1", port, true), ("localhost", port, false)];
    note("before-any-list", rig.dial("model-x", "127.0.0.1", port));
    note(
        "list-of-a-worker",
        word(ask(&rig.end("model-x"), push(&[("model-x", own)]))),
    );
    note(
        "list-of-the-gateway",
        word(ask(&rig.end("gateway"), push(&[("model-x", own)]))),
    );
    note("list-for-the-gateway", rig.push(&[("gateway", own)]));
    note("list-for-an-agent", rig.push(&[("agent-main", own)]));
    note(
        "list",
        rig.push(&[("model-x", own), ("channel-telegram", &[])]),
    );
    note("own-host", rig.dial("model-x", "127.0.0.1", port));
    note(
        "host-of-another-role",
        rig.dial("channel-telegram", "127.0.0.1", port),
    );
    note(
        "host-of-another-instance",
        rig.dial("model-y", "127.0.0.1", port),
    );
    note("another-port", rig.dial("model-x", "127.0.0.1", port ^ 1));
    note("port-zero", rig.dial("model-x", "127.0.0.1", 0));
    note(
        "port-beyond",
        word(ask(
            &rig.end("model-x"),
            Request::Dial(v1::Dial {
                host: "127.0.0.1".into(),
                port: u32::from(port) + 65_536,
            }),
        )),
    );
    note("private-by-name", rig.dial("model-x", "localhost", port));
    note("by-an-agent", rig.dial("agent-main", "127.0.0.1", port));
    note("by-policy", rig.dial("policy", "127.0.0.1", port));
    note("by-the-operator", rig.dial("operator", "127.0.0.1", port));
    assert_eq!(
        rig.push(&[("model-x", &[("localhost", port, false)])]),
        "taken"
    );
    note(
        "after-the-list-shrank",
        rig.dial("model-x", "127.0.0.1", port),
    );
    assert_eq!(rig.push(&[]), "taken");
    note(
        "after-all-lists-went",
        rig.dial("model-x", "127.0.0.1", port),
    );
    assert!(Seen(rig.dialer.pid()).lives());
    verdicts.agree("lists");
}

/// A frame as it is written: announced length, announced descriptors, and what follows.
fn frame_of(length: u32, descriptors: u8, payload: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes()[..], &[descriptors], payload].concat()
}

fn whole(payload: &[u8]) -> Vec<u8> {
    frame_of(u32::try_from(payload.len()).unwrap(), 0, payload)
}

#[test]
fn frames_that_are_none_end_their_own_connection_and_nothing_else() {
    let rig = Rig::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let own: &[(&str, u16, bool)] = &[("127.0.0.1", port, true)];
    assert_eq!(
        rig.push(&[("model-x", own), ("channel-telegram", own)]),
        "taken"
    );
    let request = |request| v1::DialerRequest { id: 7, request }.encode_to_vec();
    let good = request(Some(dial("127.0.0.1", port)));
    let long = request(Some(dial(&"x".repeat(4096), port)));
    // Field 1000, a number.
    let unknown = [&good[..], &[0xc0, 0x3e, 1]].concat();
    let attempts: Vec<(&str, Vec<u8>)> = vec![
        ("permitted", whole(&good)),
        ("unknown-field", whole(&unknown)),
        ("asks-nothing", whole(&request(None))),
        ("too-large", whole(&long)),
        ("longer-than-any", frame_of(65_537, 0, &good)),
        ("length-of-4-gb", frame_of(u32::MAX, 0, &good)),
        ("cut-field", whole(&good[..good.len() - 2])),
        ("wrong-type", whole(&[0x0a, 1, b'x'])),
        ("endless-number", whole(&[0xff; 11])),
        ("nothing", whole(&[])),
        (
            "announced-descriptors",
            frame_of(u32::try_from(good.len()).unwrap(), 3, &good),
        ),
        (
            "too-many-descriptors",
            frame_of(u32::try_from(good.len()).unwrap(), 255, &good),
        ),
        ("garbage", vec![0xff; 4096]),
        ("http", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
    ];
    let mut verdicts = Verdicts::default();
    for (attempt, bytes) in attempts {
        let mut end = rig.end("model-x");
        // It may end while we still write.
        let _closed = end.write_all(&bytes);
        // Whoever stops writing is gone, and so is what he asked.
        if !["permitted", "unknown-field"].contains(&attempt) {
            end.shutdown(std::net::Shutdown::Write).unwrap();
        }
        verdicts.note(attempt, "dialer", word(answer(&end)));
        assert_eq!(
            rig.dial("model-x", "127.0.0.1", port),
            "connected",
            "after {attempt}"
        );
    }
    let end = rig.end("model-x");
    let folder = std::fs::File::open("/").unwrap();
    frame::send(&end, &good, &[folder.as_fd()]).unwrap();
    verdicts.note("brings-a-descriptor", "dialer", word(answer(&end)));

    // Half a frame is waited for; others are answered.
    let mut halves: Vec<UnixStream> = (0..50).map(|_| rig.end("model-x")).collect();
    for (number, half) in halves.iter_mut().enumerate() {
        half.write_all(&whole(&good)[..number % 9]).unwrap();
    }
    verdicts.note(
        "half-a-frame",
        "dialer",
        rig.dial("model-x", "127.0.0.1", port),
    );
    // Requests whose answers nobody reads: the dialer stops reading them, and others are answered. The client's own
    // requests wait for each other.
    let flood = rig.end("model-x");
    flood
        .set_write_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let unread = whole(&request(Some(dial("x", 1))));
    let sent = (0..10_000)
        .take_while(|_| (&flood).write_all(&unread).is_ok())
        .count();
    assert!(sent < 10_000, "the flood is held up");
    verdicts.note(
        "unread-answers",
        "dialer",
        rig.dial("channel-telegram", "127.0.0.1", port),
    );
    drop((halves, flood));
    // The same number twice is two requests.
    let end = rig.end("model-x");
    let first = word(ask(&end, dial("127.0.0.1", port)));
    assert_eq!(first, "connected");
    verdicts.note(
        "same-number-again",
        "dialer",
        word(ask(&end, dial("127.0.0.1", port))),
    );
    sandbox(&mut verdicts);
    assert!(Seen(rig.dialer.pid()).lives());
    verdicts.agree("frames");
}

/// The launcher reads one frame and starts a program or refuses; nothing that is no request starts one.
fn sandbox(verdicts: &mut Verdicts) {
    let scratch = Scratch::new();
    let limits = v1::SandboxLimits {
        cpu_seconds: 5,
        memory_bytes: 1 << 30,
        processes: 1000,
        file_bytes: 1 << 20,
    };
    let good = v1::SandboxRequest {
        argv: vec!["/bin/true".into()],
        env: Vec::new(),
        cwd: String::new(),
        limits: Some(limits),
    };
    let without = v1::SandboxRequest {
        limits: None,
        ..good.clone()
    };
    let relative = v1::SandboxRequest {
        argv: vec!["true".into()],
        ..good.clone()
    };
    let outside = v1::SandboxRequest {
        cwd: "../..".into(),
        ..good.clone()
    };
    let good = good.encode_to_vec();
    let unknown = [&good[..], &[0xc0, 0x3e, 1]].concat();
    let null = std::fs::File::open("/dev/null").unwrap();
    let workspace = std::fs::File::open(scratch.home()).unwrap();
    let four = [null.as_fd(), null.as_fd(), null.as_fd(), workspace.as_fd()];
    let foreign = std::fs::File::open("/etc").unwrap();
    let attempts: Vec<(&str, Vec<u8>, Vec<BorrowedFd<'_>>)> = vec![
        ("permitted", good.clone(), four.to_vec()),
        ("unknown-field", unknown, four.to_vec()),
        ("nothing", Vec::new(), four.to_vec()),
        ("cut-field", good[..good.len() - 2].to_vec(), four.to_vec()),
        ("wrong-type", vec![0x08, 1], four.to_vec()),
        ("without-descriptors", good.clone(), Vec::new()),
        (
            "a-descriptor-more",
            good.clone(),
            [&four[..], &[null.as_fd()]].concat(),
        ),
        (
            "workspace-of-another",
            good,
            [&four[..3], &[foreign.as_fd()]].concat(),
        ),
        ("without-limits", without.encode_to_vec(), four.to_vec()),
        ("relative-program", relative.encode_to_vec(), four.to_vec()),
        (
            "outside-the-workspace",
            outside.encode_to_vec(),
            four.to_vec(),
        ),
    ];
    for (attempt, payload, fds) in attempts {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let program = Program::open(&binary("clawdbot-sandbox")).unwrap();
        let log = log_pipe(&scratch.path().join("sandbox.log"));
        let mut child = spawn(
            &program,
            &["clawdbot-sandbox"],
            theirs.into(),
            log,
            Leash::Parent,
        )
        .unwrap();
        frame::send(&ours, &payload, &fds).unwrap();
        let outcome = match FrameReader::new().read_from(&ours) {
            Ok(Progress::Frame(frame)) => {
                v1::SandboxReply::decode(frame.payload.as_slice())
                    .unwrap()
                    .rule
            }
            _ => "started".into(),
        };
        verdicts.note(attempt, "sandbox", outcome);
        let _ended = child.wait();
    }
    for (attempt, bytes) in [
        ("longer-than-any", frame_of(65_537, 0, b"")),
        ("garbage", vec![0xff; 100]),
    ] {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let program = Program::open(&binary("clawdbot-sandbox")).unwrap();
        let log = log_pipe(&scratch.path().join("sandbox.log"));
        let mut child = spawn(
            &program,
            &["clawdbot-sandbox"],
            theirs.into(),
            log,
            Leash::Parent,
        )
        .unwrap();
        ours.write_all(&bytes).unwrap();
        let outcome = match FrameReader::new().read_from(&ours) {
            Ok(Progress::Frame(frame)) => {
                v1::SandboxReply::decode(frame.payload.as_slice())
                    .unwrap()
                    .rule
            }
            _ => "started".into(),
        };
        verdicts.note(attempt, "sandbox", outcome);
        let _ended = child.wait();
    }
}

//! Names that lie: the real dialer with a name server that changes its mind, in a network of its own where a public address
//! is at home. The test starts itself again in there as an ordinary user.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use clawdbot_confine::frame::{self, FrameReader, Progress};
use clawdbot_proto::v1::{self, dialer_reply::Outcome, dialer_request::Request};
use clawdbot_tests::solo::Solo;
use clawdbot_tests::verdict::{Verdicts, publish};
use clawdbot_tests::{Scratch, binary, finish, runs_as_root};
use prost::Message as _;

/// At home in the network of the test.
const PUBLIC: [u8; 4] = [9, 9, 9, 9];
const PORT: u16 = 8443;

/// Name, addresses of the first question for them and of every later one. Sixteen bytes are IPv6.
type Zone = &'static [(
    &'static str,
    &'static [&'static [u8]],
    &'static [&'static [u8]],
)];

const LOOPBACK: &[u8] = &[127, 0, 0, 1];
const MAPPED: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];
const NAT64: &[u8] = &[0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 127, 0, 0, 1];
const ZONE: Zone = &[
    ("public.example", &[&PUBLIC], &[&PUBLIC]),
    ("rebinds.example", &[&PUBLIC], &[LOOPBACK]),
    ("both.example", &[LOOPBACK, &PUBLIC], &[LOOPBACK, &PUBLIC]),
    ("loopback.example", &[LOOPBACK], &[LOOPBACK]),
    // Its answer is an alias of localhost, with the address beside it.
    ("alias.example", &[LOOPBACK], &[LOOPBACK]),
    ("mapped.example", &[MAPPED], &[MAPPED]),
    ("nat64.example", &[NAT64], &[NAT64]),
    (
        "private.example",
        &[&[10, 0, 0, 1], &[192, 168, 1, 1], &[172, 16, 0, 1]],
        &[&[10, 0, 0, 1]],
    ),
    (
        "metadata.example",
        &[&[169, 254, 169, 254]],
        &[&[169, 254, 169, 254]],
    ),
    ("zero.example", &[&[0, 0, 0, 0]], &[&[0, 0, 0, 0]]),
    ("multicast.example", &[&[224, 0, 0, 1]], &[&[224, 0, 0, 1]]),
    (
        "broadcast.example",
        &[&[255, 255, 255, 255]],
        &[&[255, 255, 255, 255]],
    ),
];

fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A record of the name at `owner`, a pointer into the message or a name.
fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [
        owner,
        &kind.to_be_bytes(),
        &[0, 1, 0, 0, 0, 60],
        &length,
        data,
    ]
    .concat()
}

/// The answer to a question (RFC 1035 section 4).
fn answer(question: &[u8], asked: &Mutex<Vec<String>>) -> Option<Vec<u8>> {
    let end = 12 + question[12..].iter().position(|byte| *byte == 0)? + 1;
    let mut name = Vec::new();
    let mut rest = &question[12..end - 1];
    while let Some((length, after)) = rest.split_first() {
        let (label, after) = after.split_at(usize::from(*length));
        name.push(String::from_utf8(label.to_ascii_lowercase()).ok()?);
        rest = after;
    }
    let name = name.join(".");
    let kind = u16::from_be_bytes([question[end], question[end + 1]]);
    let (_, first, later) = ZONE.iter().find(|(known, ..)| *known == name)?;
    // Both kinds of address are asked for at once.
    let mut asked = asked.lock().unwrap();
    let before = asked
        .iter()
        .filter(|known| **known == format!("{name} {kind}"))
        .count();
    asked.push(format!("{name} {kind}"));
    let addresses = if before == 0 { first } else { later };
    let wanted = if kind == 1 { 4 } else { 16 };
    let (alias, owner) = match name == "alias.example" {
        true => (
            Some(record(&[0xc0, 12], 5, &labels("localhost"))),
            labels("localhost"),
        ),
        false => (None, vec![0xc0, 12]),
    };
    let addresses = addresses.iter().filter(|address| address.len() == wanted);
    let records: Vec<Vec<u8>> = alias
        .into_iter()
        .chain(addresses.map(|address| record(&owner, kind, address)))
        .collect();
    let count = u16::try_from(records.len()).unwrap().to_be_bytes();
    let head = [&question[..2], &[0x81, 0x80, 0, 1], &count, &[0; 4]].concat();
    Some([head, question[12..end + 4].to_vec(), records.concat()].concat())
}

/// Whether the socket at this address of 127.0.0.1 is still there (proc(5), `/proc/net/udp`).
fn waits(peer: SocketAddr) -> bool {
    let table = std::fs::read_to_string("/proc/thread-self/net/udp").unwrap();
    let local = format!(":{:04X}", peer.port());
    let mut sockets = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1));
    sockets.any(|address| address.ends_with(&local))
}

fn name_server() {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    std::thread::spawn(move || {
        let asked = Mutex::default();
        let mut buffer = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            // Who was not answered in two seconds asks anew: what nobody waits for any more was no question.
            if waits(peer)
                && let Some(answer) = answer(&buffer[..length], &asked)
            {
                socket.send_to(&answer, peer).unwrap();
            }
        }
    });
}

fn ask(dialer: &Solo, role: &str, request: Request) -> String {
    let end = dialer.serves(role);
    end.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let request = v1::DialerRequest {
        id: 1,
        request: Some(request),
    };
    frame::send(&end, &request.encode_to_vec(), &[]).unwrap();
    let Ok(Progress::Frame(frame)) = FrameReader::new().read_from(&end) else {
        return "ended".into();
    };
    match v1::DialerReply::decode(frame.payload.as_slice())
        .unwrap()
        .outcome
    {
        Some(Outcome::Connected(connected)) => connected.peer,
        Some(Outcome::Refused(refused)) => refused.rule,
        Some(Outcome::Failed(failed)) => format!("failed: {}", failed.class),
        other => format!("{other:?}"),
    }
}

/// Says that this is the network that the other test makes.
const INSIDE: &str = "CLAWDBOT_TEST_INSIDE";

/// Started by the test below, in a network of its own; a test like any other, of nothing, where there is none.
#[test]
fn inside() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    name_server();
    let public = TcpListener::bind((std::net::Ipv4Addr::from(PUBLIC), PORT)).unwrap();
    let loopback = TcpListener::bind(("127.0.0.1", PORT)).unwrap();
    let scratch = Scratch::new();
    let dialer = Solo::start("dialer", &scratch);
    dialer.done();
    let allowed = ZONE.iter().map(|(name, ..)| v1::AllowedDestination {
        host: (*name).into(),
        port: PORT.into(),
        private_allowed: false,
    });
    let lists = v1::Destinations {
        revision: 1,
        roles: vec![v1::RoleDestinations {
            role: "model-x".into(),
            allowed: allowed.collect(),
        }],
        ..v1::Destinations::default()
    };
    ask(&dialer, "policy", Request::Destinations(lists));
    let mut verdicts = Verdicts::default();
    for (name, ..) in ZONE {
        for time in ["first", "second"] {
            let dial = v1::Dial {
                host: (*name).into(),
                port: PORT.into(),
            };
            verdicts.note(name, time, ask(&dialer, "model-x", Request::Dial(dial)));
        }
    }
    loopback.set_nonblocking(true).unwrap();
    assert!(
        loopback.accept().is_err(),
        "nobody came to loopback\n{}",
        dialer.log()
    );
    // The control: the public one was reached.
    public.set_nonblocking(true).unwrap();
    assert!(public.accept().is_ok());
    verdicts.agree("names");
}

#[test]
fn no_name_leads_inside_whatever_its_server_says_and_when() {
    assert!(runs_as_root(), "these tests are root's");
    let scratch = Scratch::passable();
    let place = |name: &str| scratch.path().join(name);
    std::fs::write(place("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
    std::fs::write(place("hosts"), "127.0.0.1 localhost\n").unwrap();
    let own = std::env::current_exe().unwrap();
    std::fs::copy(own, place("test")).unwrap();
    std::fs::copy(binary("clawdbot-dialer"), place("clawdbot-dialer")).unwrap();
    for name in ["resolv.conf", "hosts", "test", "clawdbot-dialer"] {
        std::fs::set_permissions(place(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let script = r#"
        set -e
        ip link set lo up
        ip address add 9.9.9.9/32 dev lo
        echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start
        mount --make-rprivate /
        mount --bind "$1/resolv.conf" "$(readlink -f /etc/resolv.conf)"
        mount --bind "$1/hosts" "$(readlink -f /etc/hosts)"
        cd /
        exec setpriv --reuid 65534 --regid 65534 --clear-groups "$1/test" --exact inside --nocapture
    "#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "bash", "-c", script, "bash"]);
    command
        .arg(scratch.path())
        .env("CLAWDBOT_BIN_DIR", scratch.path())
        .env("TMPDIR", "/tmp")
        .env(INSIDE, "yes")
        // It could not write there.
        .env_remove("CLAWDBOT_MATRIX");
    let output = finish(&mut command);
    let matrix = output.stdout.split_once("names\n");
    let matrix = matrix.and_then(|(_, rest)| rest.split_once("\n\n"));
    publish(&format!(
        "names\n{}\n",
        matrix.map_or(output.stdout.as_str(), |(matrix, _)| matrix)
    ));
    assert_eq!(output.code, Some(0), "{}\n{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("1 passed"), "{}", output.stdout);
}

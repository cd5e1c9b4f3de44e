//! What is there to be attacked: listeners of every kind, and the descriptors that are handed over.

use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use clawdbot_attempts::Needs;
use clawdbot_confine::frame::{self, FrameReader, Progress};
use clawdbot_confine::socket_filter;
use clawdbot_proto::v1::{Connected, DialerReply, DialerRequest, dialer_reply};
use prost::Message as _;
use std::os::fd::AsFd as _;

/// Takes every connection and lets it go, for as long as the test runs.
fn welcome(mut accept: impl FnMut() -> io::Result<()> + Send + 'static) {
    std::thread::spawn(move || while accept().is_ok() {});
}

/// A UNIX listener that takes everybody.
pub fn listen_at(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    welcome(move || listener.accept().map(drop));
}

/// The addresses of the listeners, as facts.
pub fn open_all(folder: &Path) -> Vec<(&'static str, String)> {
    let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = v4.local_addr().unwrap().port();
    welcome(move || v4.accept().map(drop));
    if let Ok(v6) = TcpListener::bind(("::1", tcp)) {
        welcome(move || v6.accept().map(drop));
    }
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp_port = udp.local_addr().unwrap().port();
    welcome(move || udp.recv(&mut [0; 64]).map(drop));

    let bus = folder.join("bus");
    listen_at(&bus);
    let docker = folder.join("docker.sock");
    listen_at(&docker);
    let datagrams = folder.join("datagrams");
    let socket = UnixDatagram::bind(&datagrams).unwrap();
    welcome(move || socket.recv(&mut [0; 64]).map(drop));
    // One for each scene of this process.
    let name = format!("clawdbot-test-{}-{tcp}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    welcome(move || listener.accept().map(drop));
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    vec![
        ("tcp", tcp.to_string()),
        ("udp", udp_port.to_string()),
        ("bus", text(bus)),
        ("docker", text(docker)),
        ("datagrams", text(datagrams)),
        ("abstract", name),
    ]
}

/// A descriptor for an attempt, and what has to stay open beside it.
pub struct Handed {
    /// What the process gets.
    pub fd: OwnedFd,
    /// The other end.
    pub _peer: Option<OwnedFd>,
}

/// A TCP connection: the end that accepted it and the end that made it.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let made = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    (accepted, made)
}

/// What the dialer hands over for a connection: where the kernel lets it nail a TCP socket to its peer
/// that socket, else an end of a pair.
pub fn as_the_dialer_does() -> Handed {
    let (accepted, made) = connection();
    made.set_nonblocking(true).unwrap();
    match socket_filter::lock_to_peer(&made, made.peer_addr().unwrap()) {
        Ok(()) => Handed {
            fd: made.into(),
            _peer: Some(accepted.into()),
        },
        Err(_) => {
            let (ours, theirs) = UnixStream::pair().unwrap();
            theirs.set_nonblocking(true).unwrap();
            Handed {
                fd: theirs.into(),
                _peer: Some(ours.into()),
            }
        }
    }
}

/// The descriptor that an attempt needs. `free`: for a control, which gets a plain TCP socket where
/// others get one that is nailed down.
pub fn hand(needs: Needs, file: &Path, free: bool) -> Option<Handed> {
    match needs {
        Needs::Nothing => None,
        Needs::Dialled if !free => Some(as_the_dialer_does()),
        Needs::Accepted | Needs::Dialled => {
            let (accepted, made) = connection();
            accepted.set_nonblocking(true).unwrap();
            Some(Handed {
                fd: accepted.into(),
                _peer: Some(made.into()),
            })
        }
        Needs::Edge => {
            let (ours, theirs) = UnixStream::pair().unwrap();
            Some(Handed {
                fd: theirs.into(),
                _peer: Some(ours.into()),
            })
        }
        Needs::File => Some(Handed {
            fd: std::fs::File::open(file).unwrap().into(),
            _peer: None,
        }),
    }
}

/// Answers one question for a connection on an edge to the dialer, and holds what belongs to it until the
/// asker is gone.
pub fn play_dialer(edge: UnixStream) {
    std::thread::spawn(move || {
        let mut reader = FrameReader::new();
        let Ok(Progress::Frame(asked)) = reader.read_from(&edge) else {
            return;
        };
        let request = DialerRequest::decode(asked.payload.as_slice()).unwrap();
        let handed = as_the_dialer_does();
        let reply = DialerReply {
            id: request.id,
            outcome: Some(dialer_reply::Outcome::Connected(Connected {
                peer: "127.0.0.1:443".into(),
            })),
        };
        let sent = frame::send(&edge, &reply.encode_to_vec(), &[handed.fd.as_fd()]);
        // Until the asker is gone.
        while sent.is_ok() && matches!(reader.read_from(&edge), Ok(Progress::Frame(_))) {}
    });
}

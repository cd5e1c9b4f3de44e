//! Listeners of every kind.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

/// Server and client of the edges that are attacked.
pub const EDGES: &[&str] = &[
    "gateway/channel-telegram",
    "policy/gateway",
    "policy/executor",
    "policy/channel-telegram",
    "broker/policy",
    "broker/model-openai",
    "broker/channel-telegram",
    "dialer/policy",
    "dialer/model-openai",
    "agent-main/gateway",
    "agent-guest/gateway",
    "model-openai/agent-main",
    "executor/agent-main",
];

/// What can be connected to for as long as it is held.
#[derive(Debug)]
pub enum Listener {
    /// An address of this machine.
    Tcp(TcpListener),
    /// The same for datagrams.
    Udp(UdpSocket),
    /// A name, with or without a file.
    Unix(UnixListener),
    /// The same for datagrams.
    Datagrams(UnixDatagram),
}

impl Listener {
    /// Takes the next connection or datagram and lets it go.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn welcome(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.accept().map(drop),
            Self::Udp(socket) => socket.recv(&mut [0; 64]).map(drop),
            Self::Unix(listener) => listener.accept().map(drop),
            Self::Datagrams(socket) => socket.recv(&mut [0; 64]).map(drop),
        }
    }
}

/// One socket for each of [`EDGES`], as system mode has them: `SERVER/CLIENT.sock` below `runtime`.
///
/// # Errors
/// When one cannot be made.
pub fn edges(runtime: &Path) -> io::Result<Vec<Listener>> {
    let one = |edge: &&str| {
        let path = runtime.join(format!("{edge}.sock"));
        let folder = path.parent().unwrap_or(runtime);
        std::fs::create_dir_all(folder)?;
        Ok(Listener::Unix(UnixListener::bind(path)?))
    };
    EDGES.iter().map(one).collect()
}

/// Names of facts, and what is said of them.
type Facts = Vec<(&'static str, String)>;

/// All others, those with a file in `folder`, and their addresses as facts.
pub(crate) fn open_all(folder: &Path) -> io::Result<(Facts, Vec<Listener>)> {
    let tcp = TcpListener::bind("127.0.0.1:0")?;
    let port = tcp.local_addr()?.port();
    let udp = UdpSocket::bind("127.0.0.1:0")?;
    let udp_port = udp.local_addr()?.port();
    let names = ["bus", "docker.sock", "datagrams"].map(|name| folder.join(name));
    let [bus, docker, datagrams] = &names;
    // One for each scene of this process.
    let name = format!("clawdbot-test-{}-{port}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name)?;
    let mut all = vec![
        Listener::Udp(udp),
        Listener::Unix(UnixListener::bind(bus)?),
        Listener::Unix(UnixListener::bind(docker)?),
        Listener::Datagrams(UnixDatagram::bind(datagrams)?),
        Listener::Unix(UnixListener::bind_addr(&address)?),
    ];
    all.extend(TcpListener::bind(("::1", port)).map(Listener::Tcp));
    all.push(Listener::Tcp(tcp));
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    let facts = vec![
        ("tcp", port.to_string()),
        ("udp", udp_port.to_string()),
        ("bus", text(bus)),
        ("docker", text(docker)),
        ("datagrams", text(datagrams)),
        ("abstract", name),
    ];
    Ok((facts, all))
}

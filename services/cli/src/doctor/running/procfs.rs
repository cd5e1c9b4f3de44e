//! A process as the kernel shows it in `/proc`, whoever started it: what a process says of itself is believed only as far
//! as this does not contradict it. What this user may not see stays unknown and is never taken for good.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clawdbot_confine::process::Status;

/// The most that is read of one of the kernel's files.
const MAX: u64 = 4 << 20;

/// What is known of one process.
#[derive(Debug, Clone, Default)]
pub struct ProcessFact {
    pub role: String,
    pub pid: u32,
    /// The line that it wrote about its own confinement.
    pub says: String,
    pub status: Option<Status>,
    /// Whether others of its user may read its memory.
    pub dumpable: Option<bool>,
    /// Whether its network is another one than that of whoever looks.
    pub own_network: Option<bool>,
    /// Whether its view of the files is.
    pub own_files: Option<bool>,
    /// Its program, and whether that is the one that lies there now.
    pub program: Option<Program>,
    /// Variables that stand in its environment.
    pub variables: Option<usize>,
    /// Its Internet sockets.
    pub sockets: Option<Vec<IpSocket>>,
}

/// What a process executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
    /// The file was replaced or removed since.
    pub replaced: bool,
}

/// The kind of an Internet socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    Udp,
    Raw,
}

/// One Internet socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpSocket {
    pub kind: Kind,
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// It accepts connections.
    pub listens: bool,
    /// Who made it.
    pub uid: u32,
    pub inode: u64,
}

impl std::fmt::Display for IpSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::Tcp => "TCP",
            Kind::Udp => "UDP",
            Kind::Raw => "raw",
        };
        match (self.listens, self.peer.ip().is_unspecified()) {
            (true, _) => write!(f, "listens on {kind} {}", self.local),
            (false, true) => write!(f, "{kind} at {}", self.local),
            (false, false) => write!(f, "{kind} to {}", self.peer),
        }
    }
}

/// Looks at processes, each a role, its number and its own words. `proc` is where the kernel shows them.
pub fn look(proc: &Path, processes: &[(String, u32, String)]) -> Vec<ProcessFact> {
    let host = sockets(&proc.join("self/net"));
    let own = |name: &str| fs::read_link(proc.join("self/ns").join(name)).ok();
    let (network, files) = (own("net"), own("mnt"));
    // Mounted so that others' processes are hidden, the first of all among them (proc(5), hidepid=invisible).
    let hides = !proc.join("1").exists();
    let facts = processes.iter().filter(|process| process.1 != 0);
    let facts = facts.filter_map(|(role, pid, says)| {
        let folder = proc.join(pid.to_string());
        let status = read(&folder.join("status"));
        // It ended meanwhile.
        if status.is_none() && !folder.exists() && !hides {
            return None;
        }
        let status = status.and_then(|bytes| Status::parse(&String::from_utf8_lossy(&bytes)));
        let another = |name: &str, ours: &Option<PathBuf>| {
            let its = fs::read_link(folder.join("ns").join(name)).ok()?;
            Some(its != *ours.as_ref()?)
        };
        let variables = read(&folder.join("environ")).map(|bytes| {
            let filled = bytes.split(|byte| *byte == 0);
            filled.filter(|variable| !variable.is_empty()).count()
        });
        Some(ProcessFact {
            role: role.clone(),
            pid: *pid,
            says: says.clone(),
            dumpable: dumpable(&folder, status.as_ref()),
            status,
            own_network: another("net", &network),
            own_files: another("mnt", &files),
            program: fs::read_link(folder.join("exe")).ok().map(program),
            variables,
            sockets: inodes(&folder).map(|inodes| {
                // A socket stands in the table of the network that it was made in.
                let mut all = host.clone();
                if has_sockets(&folder.join("net")) {
                    all.append(&mut sockets(&folder.join("net")));
                }
                inodes
                    .iter()
                    .filter_map(|inode| all.remove(inode))
                    .collect()
            }),
        })
    });
    facts.collect()
}

/// Whether there is any Internet socket in a network, by the kernel's own count. The tables themselves cost much more.
fn has_sockets(net: &Path) -> bool {
    let counts = ["sockstat", "sockstat6"].map(|name| read(&net.join(name)));
    counts.iter().any(|text| match text {
        Some(text) => used(&String::from_utf8_lossy(text)),
        // What cannot be counted is looked at.
        None => true,
    })
}

/// Whether such a count has anything but zeros: `TCP: inuse 1 orphan 0 …`. The line about sockets of all kinds is none.
fn used(text: &str) -> bool {
    let lines = text.lines().filter(|line| !line.starts_with("sockets:"));
    lines
        .filter_map(|line| line.split_once("inuse ")?.1.split(' ').next())
        .any(|count| count != "0")
}

/// The Internet sockets of a network, by number, as a file such as `/proc/self/net` shows them.
pub fn sockets(net: &Path) -> BTreeMap<u64, IpSocket> {
    let tables = [
        ("tcp", Kind::Tcp),
        ("tcp6", Kind::Tcp),
        ("udp", Kind::Udp),
        ("udp6", Kind::Udp),
        ("udplite", Kind::Udp),
        ("udplite6", Kind::Udp),
        ("raw", Kind::Raw),
        ("raw6", Kind::Raw),
    ];
    let rows = tables.into_iter().flat_map(|(name, kind)| {
        let text = read(&net.join(name)).unwrap_or_default();
        table(&String::from_utf8_lossy(&text), kind)
    });
    rows.map(|socket| (socket.inode, socket)).collect()
}

/// The rows of such a table.
pub fn table(text: &str, kind: Kind) -> Vec<IpSocket> {
    const LISTEN: &str = "0A";
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(IpSocket {
            kind,
            local: address(words.get(1)?)?,
            peer: address(words.get(2)?)?,
            listens: kind == Kind::Tcp && words.get(3) == Some(&LISTEN),
            uid: words.get(7)?.parse().ok()?,
            inode: words.get(9)?.parse().ok()?,
        })
    };
    text.lines().skip(1).filter_map(row).collect()
}

/// `0100007F:4965`: the address in words of the machine's own byte order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for at in (0..ip.len()).step_by(8) {
        let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

/// The files of a process that nobody may read belong to root, those of another to its user.
fn dumpable(folder: &Path, status: Option<&Status>) -> Option<bool> {
    let [_, uid, ..] = status?.uids;
    let owner = fs::metadata(folder.join("status")).ok()?.uid();
    (uid != 0).then_some(owner == uid)
}

fn program(link: PathBuf) -> Program {
    const GONE: &str = " (deleted)";
    let text = link.to_string_lossy();
    match text.strip_suffix(GONE) {
        Some(path) => Program {
            path: path.into(),
            replaced: true,
        },
        None => Program {
            path: link,
            replaced: false,
        },
    }
}

/// The numbers of the sockets that a process has open.
fn inodes(folder: &Path) -> Option<Vec<u64>> {
    let entries = fs::read_dir(folder.join("fd")).ok()?;
    let links = entries.flatten().map(|entry| fs::read_link(entry.path()));
    let mut inodes = Vec::new();
    for link in links {
        // One that may not be read could be anything; one that was closed meanwhile is nothing.
        let link = match link {
            Ok(link) => link,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(_) => return None,
        };
        let text = link.to_string_lossy();
        let number = text
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        inodes.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Some(inodes)
}

/// The kernel's files have no size, so they are read to a bound.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::fs::symlink;

    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        0: 0100007F:4965 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 23456 1 0 100 0 0 10 0\n\
        1: 0100007F:4965 0200007F:C350 01 00000000:00000000 00:00000000 00000000   998        0 23457 1 0 20 4 30 10 -1\n\
        rubbish\n";
    const TCP6: &str = "  sl  local_address remote_address st tx_queue\n\
        0: 00000000000000000000000001000000:4965 00000000000000000000000000000000:0000 0A 0:0 0:0 0     0        0 77 1\n\
        1: 0000000000000000FFFF00000100007F:0050 0000000000000000FFFF00000200007F:0051 01 0:0 0:0 0     5        0 78 1\n";

    #[cfg(target_endian = "little")]
    #[test]
    fn tables_of_sockets_are_read_and_rubbish_is_passed_over() {
        let rows = table(TCP, Kind::Tcp);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].to_string(), "listens on TCP 127.0.0.1:18789");
        assert_eq!((rows[0].uid, rows[0].inode), (0, 23456));
        assert_eq!(rows[1].to_string(), "TCP to 127.0.0.2:50000");
        let rows = table(TCP6, Kind::Tcp);
        assert_eq!(rows[0].local, "[::1]:18789".parse().unwrap());
        // An IPv4 address in the other form is the same address.
        assert_eq!(rows[1].local, "127.0.0.1:80".parse().unwrap());
        assert!(!table(TCP, Kind::Udp)[0].listens);
    }

    #[test]
    fn a_network_without_internet_sockets_is_told_by_its_counts() {
        let none = "sockets: used 9\nTCP: inuse 0 orphan 0 tw 0 alloc 3 mem 0\nUDP: inuse 0 mem 0\nRAW: inuse 0\n";
        assert!(!used(none));
        assert!(used(&none.replace("RAW: inuse 0", "RAW: inuse 1")));
        assert!(used("TCP6: inuse 2\n"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_seen_with_its_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let me = std::process::id();
        let wanted = [
            ("gateway".to_owned(), me, String::new()),
            ("gone".to_owned(), 0, String::new()),
            ("ended".to_owned(), 4_194_305, String::new()),
        ];
        let facts = look(Path::new("/proc"), &wanted);
        assert_eq!(facts.len(), 1);
        let fact = &facts[0];
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(fact.status.unwrap().uids[1], uid);
        assert_eq!(
            (fact.own_network, fact.own_files),
            (Some(false), Some(false))
        );
        assert_eq!(fact.dumpable, (uid != 0).then_some(true));
        assert!(!fact.program.as_ref().unwrap().replaced);
        let sockets = fact.sockets.as_ref().unwrap();
        let at = listener.local_addr().unwrap();
        assert!(
            sockets
                .iter()
                .any(|s| s.listens && s.local == at && s.uid == uid)
        );
    }

    #[test]
    fn what_cannot_be_read_stays_unknown_and_a_replaced_program_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let proc = folder.path();
        fs::create_dir_all(proc.join("1")).unwrap();
        fs::create_dir_all(proc.join("7/fd")).unwrap();
        fs::create_dir_all(proc.join("7/ns")).unwrap();
        fs::create_dir_all(proc.join("self/ns")).unwrap();
        fs::create_dir_all(proc.join("self/net")).unwrap();
        fs::write(proc.join("self/net/tcp"), TCP).unwrap();
        symlink("net:[1]", proc.join("self/ns/net")).unwrap();
        symlink("net:[2]", proc.join("7/ns/net")).unwrap();
        symlink("/usr/x (deleted)", proc.join("7/exe")).unwrap();
        symlink("socket:[23456]", proc.join("7/fd/3")).unwrap();
        symlink("socket:[9]", proc.join("7/fd/4")).unwrap();
        fs::write(proc.join("7/environ"), b"A=1\0\0\0B=2\0").unwrap();
        let wanted = [("gateway".to_owned(), 7, "level=full".to_owned())];
        let facts = look(proc, &wanted);
        let fact = &facts[0];
        assert_eq!(
            (fact.status, fact.dumpable, fact.own_files),
            (None, None, None)
        );
        assert_eq!((fact.own_network, fact.variables), (Some(true), Some(2)));
        let program = fact.program.as_ref().unwrap();
        assert_eq!(
            (program.path.as_path(), program.replaced),
            (Path::new("/usr/x"), true)
        );
        assert_eq!(fact.sockets.as_ref().unwrap().len(), 1);
    }

    #[test]
    fn a_process_that_is_hidden_has_not_ended() {
        let folder = tempfile::tempdir().unwrap();
        let proc = folder.path();
        let wanted = [("gateway".to_owned(), 7, String::new())];
        let facts = look(proc, &wanted);
        assert_eq!((facts.len(), facts[0].pid), (1, 7));
        assert!(facts[0].status.is_none() && facts[0].program.is_none());
        fs::create_dir(proc.join("1")).unwrap();
        assert!(look(proc, &wanted).is_empty());
    }
}

//! Who may connect where: the files of the sockets with their owners and modes, and the addresses of the front door.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use clawdbot_config::Severity::Critical;
use clawdbot_identity::Role;
use clawdbot_proto::edges::edge;
use clawdbot_service::system;

use super::procfs::{IpSocket, Kind};
use crate::doctor::check::{Check, Hit, Hits};
use crate::doctor::facts::Facts;

/// Folders and sockets that are looked at.
const MAX: usize = 1024;
/// Group and nobody else may connect.
const MODE: u32 = 0o660;

/// A socket as it lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketFile {
    pub path: PathBuf,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub is_socket: bool,
}

pub const CHECKS: &[Check] = &[
    Check {
        id: "sockets.owner",
        severity: Critical,
        title: "A socket is open to others than its caller",
        why: "Who a caller is follows from the socket: whoever can connect there is taken for it.",
        help: "take out what changes the socket, and start everything again",
        command: "sudo systemctl stop 'clawdbot-*' && sudo systemctl start clawdbot.target",
        fixes: false,
        look: owners,
    },
    Check {
        id: "sockets.unknown",
        severity: Critical,
        title: "A socket that is none of ours",
        why: "Somebody answers there in the place of a process, or listens beside it.",
        help: "find out who made it",
        command: "sudo ss -xlp",
        fixes: false,
        look: unknown,
    },
    Check {
        id: "gateway.listener.missing",
        severity: Critical,
        title: "Nobody listens at the front door's address",
        why: "The web chat and everything that uses the HTTP interfaces cannot reach the assistant.",
        help: "see whether another program took the port, and start everything again",
        command: "clawdbot status",
        fixes: false,
        look: missing,
    },
    Check {
        id: "gateway.listener.elsewhere",
        severity: Critical,
        title: "The front door is open where the configuration does not say so",
        why: "Others than you meant can reach the log-in.",
        help: "start everything again",
        command: "clawdbot status",
        fixes: false,
        look: elsewhere,
    },
];

/// The sockets in the runtime folder, one folder deep.
pub fn look(runtime: &Path) -> Vec<SocketFile> {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let folders =
        entries(runtime).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    // What policy wants is no socket.
    let folders = folders.filter(|entry| entry.file_name() != "plan");
    let files = folders.flat_map(|folder| entries(&folder.path()).take(MAX));
    let files = files.take(MAX).filter_map(|entry| {
        let found = fs::symlink_metadata(entry.path()).ok()?;
        Some(SocketFile {
            path: entry.path(),
            uid: found.uid(),
            gid: found.gid(),
            mode: found.mode() & 0o7777,
            is_socket: found.file_type().is_socket(),
        })
    });
    let mut files: Vec<_> = files.collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Whose socket it is by its name: who calls there. Nothing for a name that the table of edges does not have.
fn caller(path: &Path) -> Option<Role> {
    let (folder, name) = (path.parent()?.file_name()?, path.file_name()?);
    let name = name.to_str()?.strip_suffix(".sock")?;
    let (server, client) = match folder.to_str()? {
        "operator" => (Role::parse(name).ok()?, Role::operator()),
        server => (Role::parse(server).ok()?, Role::parse(name).ok()?),
    };
    let allowed =
        edge(client.as_str(), server.as_str()).is_some() && client.family() != "supervisor";
    let pair = (server, client);
    (allowed || system::per_connection().contains(&pair)).then_some(pair.1)
}

fn owners(facts: &Facts, hits: &mut Hits) {
    let accounts = &facts.running.accounts;
    for file in &facts.running.socket_files {
        let Some(client) = caller(&file.path) else {
            continue;
        };
        let group = system::socket_group(&client);
        let mut wrong = Vec::new();
        if file.uid != 0 {
            let who = accounts.user(file.uid);
            let who = who.map_or_else(|| format!("the user with id {}", file.uid), str::to_owned);
            wrong.push(format!("it belongs to {who} instead of root"));
        }
        if let Some(wanted) = accounts.gid(&group).filter(|gid| *gid != file.gid) {
            let is = accounts.group(file.gid);
            let is = is.map_or_else(|| format!("the group with id {}", file.gid), str::to_owned);
            wrong.push(format!("its group is {is} instead of {group} ({wanted})"));
        }
        if file.mode & !MODE != 0 {
            wrong.push(format!(
                "its mode is {:04o} instead of {MODE:04o}",
                file.mode
            ));
        }
        if !wrong.is_empty() {
            hits.add(Hit::file(&file.path, wrong.join(", ")));
        }
    }
}

fn unknown(facts: &Facts, hits: &mut Hits) {
    for file in &facts.running.socket_files {
        let detail = match (file.is_socket, caller(&file.path)) {
            (false, _) => "it is no socket",
            (true, None) => "nobody may call there by the table of calls",
            (true, Some(_)) => continue,
        };
        hits.add(Hit::file(&file.path, detail));
    }
}

/// Whether a socket takes what comes in at an address.
fn serves(socket: &IpSocket, wanted: SocketAddr) -> bool {
    let ip = socket.local.ip();
    let same = ip == wanted.ip() || ip.is_unspecified() && wanted.ip().is_unspecified();
    same && socket.local.port() == wanted.port()
}

fn missing(facts: &Facts, hits: &mut Hits) {
    let running = &facts.running;
    let Some(listening) = running.listening.as_ref().filter(|_| running.gateway_runs) else {
        return;
    };
    for wanted in &running.listeners {
        if !listening.iter().any(|socket| serves(socket, *wanted)) {
            hits.add(Hit::setting("", format!("nobody listens at {wanted}")));
        }
    }
}

/// Sockets at the front door's port and at another address; one of another user is another program's, and so is one of root
/// as far as it is seen that the gateway does not hold it.
fn elsewhere(facts: &Facts, hits: &mut Hits) {
    let running = &facts.running;
    let wanted = &running.listeners;
    let its = |socket: &&IpSocket| {
        let door = running.processes.iter().find(|fact| fact.role == "gateway");
        let status = door.and_then(|door| door.status);
        let own = status.is_some_and(|status| status.uids[1] == socket.uid);
        // In system mode the service manager makes it.
        let seen = door.is_some_and(|door| door.sockets.is_some());
        own || running.system && socket.uid == 0 && !seen
    };
    let mut open = BTreeSet::new();
    let seen = running.listening.iter().flatten().filter(its);
    let seen = seen.filter(|socket| wanted.iter().any(|w| w.port() == socket.local.port()));
    let doors = running
        .processes
        .iter()
        .filter(|fact| fact.role == "gateway");
    let held = doors.flat_map(|fact| fact.sockets.iter().flatten());
    for socket in seen.chain(held.filter(|socket| socket.listens && socket.kind == Kind::Tcp)) {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| serves(socket, *wanted)) {
            open.insert(socket.local);
        }
    }
    let names: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    for address in open {
        hits.add(Hit::setting(
            "",
            format!(
                "it listens at {address}; the configuration says {}",
                names.join(" ")
            ),
        ));
    }
}

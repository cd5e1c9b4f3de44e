//! System mode: every process as a user of its own, with the sockets of its edges by name. A shell plays
//! the service manager. Only root can do that.

use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use clawdbot_attempts::{Column, Needs, system_columns};
use clawdbot_identity::{DEFAULT_WORKSPACE, Role, workspace};
use clawdbot_scene::{EDGES, Handed, furnish, play_dialer, source};
use clawdbot_service::system as service;

use super::run::observe;
use super::scene::{Scene, listen_at};
use super::start::{Started, child, handed};
use crate::binary;

/// The first user's number; nobody has these in a fresh system.
const FIRST_USER: u32 = 61_001;

/// Tells the sockets of one process from those of another.
static SOCKETS: AtomicUsize = AtomicUsize::new(0);

/// Where a service manager begins to number what it passes.
const FIRST: i32 = 3;

/// The user that a role runs as.
fn user(role: &str) -> u32 {
    let place = system_columns()
        .iter()
        .position(|column| column.role == role);
    FIRST_USER + u32::try_from(place.unwrap_or(0)).unwrap()
}

fn open_to(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Gives every role a state directory and its edges, as the units of system mode do: a socket belongs to
/// the group of whoever may connect. The canary is everybody's to read, so that only the confinement is
/// in its way.
pub fn furnish_all(scene: &Scene) {
    let folder = scene.folder();
    for name in ["", "home", "home/private", "plans", "runtime"] {
        open_to(&folder.join(name), 0o755);
    }
    open_to(&folder.join("open"), 0o777);
    for name in ["clawd", "clawd-guest"] {
        open_to(&folder.join("home").join(name), 0o755);
        open_to(&folder.join("home").join(name).join("canary"), 0o644);
    }
    open_to(&scene.canary(), 0o644);
    for column in system_columns() {
        let state = scene.state(Some(&column));
        std::fs::create_dir_all(&state).unwrap();
        furnish(&state, &scene.canary()).unwrap();
        // Of several that start at once none has to begin it.
        let taint = state.join("pairing/taint.jsonl");
        let head = format!(
            "{{\"version\":2,\"whole\":{:<5},\"lines\":{:<20}}}",
            true, 0
        );
        std::fs::write(&taint, head).unwrap();
        open_to(&taint, 0o600);
        let config = scene.config(Some(&column));
        std::fs::create_dir_all(config.parent().unwrap()).unwrap();
        std::fs::write(&config, "{}").unwrap();
        let owner = format!("{0}:{0}", user(column.role));
        let given = Command::new("chown")
            .args(["-R", "-h", &owner])
            .args([&state, config.parent().unwrap()])
            .status();
        assert!(given.unwrap().success());
    }
    for name in ["system", "etc"] {
        open_to(&folder.join(name), 0o755);
    }
    for edge in EDGES {
        let (server, client) = edge.split_once('/').unwrap();
        let path = folder.join("runtime").join(format!("{edge}.sock"));
        open_to(&folder.join("runtime").join(server), 0o755);
        chown(&path, Some(0), Some(user(client))).unwrap();
        open_to(&path, 0o660);
    }
    // The operator's sockets belong to a group of their own.
    let operators = folder.join("operators");
    std::fs::create_dir(&operators).unwrap();
    open_to(&operators, 0o755);
    for server in ["gateway", "policy", "broker", "supervisor"] {
        let path = operators.join(format!("{server}.sock"));
        listen_at(&path);
        open_to(&path, 0o660);
    }
    // The test plays the dialer on the edges of those that dial.
    for client in ["model-openai", "channel-telegram"] {
        let path = folder.join("runtime/dialer").join(format!("{client}.sock"));
        let _attacked_only = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        chown(&path, Some(0), Some(user(client))).unwrap();
        open_to(&path, 0o660);
        std::thread::spawn(move || {
            while let Ok((edge, _)) = listener.accept() {
                std::thread::spawn(move || play_dialer(edge));
            }
        });
    }
    // Each once and alone: what a first start makes is there before two of a kind start at the same time,
    // which only this test does.
    for column in system_columns() {
        let mut started = start(scene, &column, &["rights.thread-name"], Needs::Nothing);
        observe(&mut started);
    }
}

/// Starts a process of a column.
pub fn start(scene: &Scene, column: &Column, attempts: &[&str], needs: Needs) -> Started {
    let source = source(column, needs);
    let mut passed: Vec<(String, OwnedFd)> = Vec::new();
    let mut kept: Vec<OwnedFd> = Vec::new();
    if source == Some("from-listener") {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        kept.push(
            TcpStream::connect(listener.local_addr().unwrap())
                .unwrap()
                .into(),
        );
        passed.push((service::LISTENER.into(), listener.into()));
    } else if source.is_none()
        && let Some(Handed { fd, peer }) = handed(scene, needs)
    {
        // Under the name of a role, and never served: only its number counts.
        passed.push(("operator".into(), fd));
        kept.extend(peer);
    }
    let plan = scene.plan(Some(column), attempts, |plan| {
        plan.world.fd = (!passed.is_empty()).then_some(FIRST);
        if let Some(source) = source {
            plan.world.facts.insert("socket".into(), source.into());
        }
    });
    open_to(&plan, 0o644);
    let role = Role::parse(column.role).unwrap();
    if let Some(client) = service::clients_of(&role).first() {
        // A server without a socket does not start. It stands behind those that the attempts know by number.
        let at = SOCKETS.fetch_add(1, Ordering::Relaxed);
        let path = scene.folder().join(format!("own-{at}.sock"));
        let listener = UnixListener::bind(path).unwrap();
        passed.push((client.to_string(), listener.into()));
    }
    let mut script = String::new();
    for (at, (_, fd)) in passed.iter().enumerate() {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).unwrap();
        script.push_str(&format!("exec {}<&{}; ", 20 + at, fd.as_raw_fd()));
    }
    for (at, _) in passed.iter().enumerate() {
        script.push_str(&format!("exec {}<&{} {}<&-; ", 3 + at, 20 + at, 20 + at));
    }
    let (program, instance) = column.program();
    script.push_str(&format!(
        "export LISTEN_PID=$$; exec -a '{program} {}' '{}' {}",
        plan.display(),
        binary("clawdbot-probe").display(),
        instance.unwrap_or_default()
    ));
    let names: Vec<&str> = passed.iter().map(|(name, _)| name.as_str()).collect();
    let state = scene.state(Some(column));
    let user = user(column.role);
    let work = role
        .class()
        .map(|class| workspace(DEFAULT_WORKSPACE, &scene.home().to_string_lossy(), class));
    let mut command = Command::new("/bin/bash");
    command
        .args(["-c", &script])
        .env_clear()
        .env("LISTEN_FDS", names.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .env(service::STATE_VARIABLE, &state)
        .env(service::CONFIG_VARIABLE, scene.config(Some(column)))
        .env(service::WORKSPACES_VARIABLE, work.unwrap_or_default())
        .env(service::RUNTIME_VARIABLE, scene.folder().join("runtime"))
        .uid(user)
        .gid(user)
        .stdin(Stdio::null());
    let started = child(command, kept);
    drop(passed);
    started
}

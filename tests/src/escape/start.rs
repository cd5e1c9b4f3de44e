//! One start of a process that makes attempts: as the supervisor starts a service, as the launcher starts
//! a tool, or free.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clawdbot_attempts::{Column, Needs, Place};
use clawdbot_confine::spawn::{Exit, Leash, Program, Signal, spawn};
use clawdbot_confine::{fd, frame};
use clawdbot_proto::v1::{SandboxLimits, SandboxRequest, Setup, descriptor};
use clawdbot_scene::{Handed, hand, play_dialer, source};
use prost::Message as _;

use super::scene::Scene;
use crate::binary;
use crate::solo::Solo;

/// Longest silence of a process that makes attempts.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process has one tracer at a time.
static TRACED: Mutex<()> = Mutex::new(());

/// Keeps others from the neighbour while an attempt traces it.
pub fn alone(attempt: &str) -> Option<MutexGuard<'static, ()>> {
    let traces = attempt.starts_with("process.ptrace");
    traces.then(|| TRACED.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A process, and how its end is seen.
pub enum Process {
    /// A service.
    Solo(Solo),
    /// Another child of the launcher's kind.
    Child(clawdbot_confine::spawn::Child),
    /// A plain one.
    Plain(std::process::Child),
}

/// A process that makes attempts.
pub struct Started {
    process: Process,
    lines: Receiver<String>,
    /// The level that it measured.
    pub level: Option<String>,
    /// Ends that have to stay open.
    _kept: Vec<OwnedFd>,
}

/// A pipe, and its lines as they come.
fn log() -> (OwnedFd, Receiver<String>) {
    let (reader, writer) = std::io::pipe().unwrap();
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    (writer.into(), lines)
}

impl Started {
    /// The next line; `None` when it has ended, an error when it is silent for too long.
    pub fn line(&self) -> Result<Option<String>, ()> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(()),
        }
    }

    /// Ends one that is stuck.
    pub fn kill(&mut self) {
        match &mut self.process {
            Process::Solo(solo) => crate::kernel::Seen(solo.pid()).signal(Signal::KILL),
            Process::Child(child) => child.kill(Signal::KILL).unwrap(),
            Process::Plain(child) => child.kill().unwrap(),
        }
    }

    /// How it ended.
    pub fn wait(&mut self) -> Exit {
        match &mut self.process {
            Process::Solo(solo) => solo.wait(),
            Process::Child(child) => child.wait().unwrap(),
            Process::Plain(child) => {
                let status = child.wait().unwrap();
                match (status.code(), status.signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, signal) => Exit::Signal(signal.unwrap_or(0)),
                }
            }
        }
    }
}

/// Starts a process of a column with these attempts.
pub fn start(scene: &Scene, column: &Column, attempts: &[&str], needs: Needs) -> Started {
    match column.place {
        Place::Single => service(scene, column, attempts, needs),
        Place::Supervisor => supervisor(scene, column, attempts, needs),
        Place::Tool => tool(scene, column, attempts, needs),
        Place::System => super::system::start(scene, column, attempts, needs),
    }
}

fn service(scene: &Scene, column: &Column, attempts: &[&str], needs: Needs) -> Started {
    let source = source(column, needs);
    let plan = scene.plan(Some(column), attempts, |plan| {
        if let Some(source) = source {
            plan.world.facts.insert("socket".into(), source.into());
        }
    });
    let (program, instance) = column.program();
    let name = format!("{program} {}", plan.display());
    let argv: Vec<&str> = [name.as_str()].into_iter().chain(instance).collect();
    let state_dir = scene.state(Some(column)).to_string_lossy().into_owned();
    let setup = Setup {
        role: column.role.into(),
        config_path: format!("{state_dir}/clawdbot.json"),
        state_dir,
        home_dir: scene.home().to_string_lossy().into_owned(),
        port: 0,
        log_level: "warn".into(),
        sandbox_require: "available".into(),
        workspaces: Vec::new(),
    };
    let (log, lines) = log();
    let mut solo = Solo::begin(&binary("clawdbot-probe"), &argv, setup, log);
    let mut kept: Vec<OwnedFd> = Vec::new();
    if column.key == "keyring" {
        let (ours, theirs) = UnixStream::pair().unwrap();
        solo.give(descriptor::What::File("broker".into()), theirs.into());
        let bus = format!("unix:path={}", scene.fact("bus"));
        let bus = fd::memfd("bus", bus.as_bytes()).unwrap();
        solo.give(descriptor::What::File("bus".into()), bus);
        kept.push(ours.into());
    }
    match source {
        Some("from-dialer") => {
            let edge = solo.calls("dialer");
            std::thread::spawn(move || play_dialer(edge));
        }
        Some(_) => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            kept.push(TcpStream::connect(address).unwrap().into());
            solo.give(
                descriptor::What::Listener(address.to_string()),
                listener.into(),
            );
        }
        None => {
            if let Some(Handed { fd, peer }) = handed(scene, needs) {
                solo.give(descriptor::What::File("probe".into()), fd);
                kept.extend(peer);
            }
        }
    }
    solo.done();
    let level = solo.notified("STATUS=");
    let (_, confinement) = clawdbot_service::split_status(&level);
    let level = confinement.and_then(clawdbot_service::level);
    Started {
        level: level.map(str::to_owned),
        process: Process::Solo(solo),
        lines,
        _kept: kept,
    }
}

/// What is handed over to who is confined.
pub fn handed(scene: &Scene, needs: Needs) -> Option<Handed> {
    hand(needs, &scene.canary(), false).unwrap()
}

/// A plain program with the descriptor of the attempt as its input.
pub fn plain(mut command: Command, handed: Option<Handed>) -> Started {
    let (input, peer) = match handed {
        Some(Handed { fd, peer }) => (Stdio::from(fd), peer),
        None => (Stdio::null(), None),
    };
    command.env_clear().stdin(input);
    child(command, peer.into_iter().collect())
}

/// Starts a program that says what it tries on its standard error.
pub fn child(mut command: Command, kept: Vec<OwnedFd>) -> Started {
    let (log, lines) = log();
    let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    // The command holds its end of the pipe.
    drop(command);
    Started {
        process: Process::Plain(child),
        lines,
        level: None,
        _kept: kept,
    }
}

fn supervisor(scene: &Scene, column: &Column, attempts: &[&str], needs: Needs) -> Started {
    let plan = scene.plan(Some(column), attempts, |plan| plan.world.fd = Some(0));
    let mut command = Command::new(binary("clawdbot-probe"));
    std::os::unix::process::CommandExt::arg0(
        &mut command,
        format!("supervisor {}", plan.display()),
    );
    plain(command, handed(scene, needs))
}

/// Through the built launcher, as the executor has it done.
fn tool(scene: &Scene, column: &Column, attempts: &[&str], needs: Needs) -> Started {
    let plan = scene.plan(Some(column), attempts, |plan| plan.world.fd = Some(0));
    let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let request = SandboxRequest {
        argv: vec![path(&scene.tool().join("attempt")), path(&plan)],
        env: Vec::new(),
        cwd: String::new(),
        limits: Some(SandboxLimits {
            cpu_seconds: 20,
            memory_bytes: 1 << 30,
            processes: 4096,
            file_bytes: 1 << 20,
        }),
    };
    let (control, theirs) = UnixStream::pair().unwrap();
    let (log, lines) = log();
    let launcher = Program::open(&binary("clawdbot-sandbox")).unwrap();
    let own = log.try_clone().unwrap();
    let argv = ["clawdbot-sandbox"];
    let child = spawn(&launcher, &argv, theirs.into(), own, Leash::Parent).unwrap();
    let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    let output: OwnedFd = std::fs::File::create("/dev/null").unwrap().into();
    let workspace: OwnedFd = std::fs::File::open(scene.tool()).unwrap().into();
    let (input, peer) = match handed(scene, needs) {
        Some(Handed { fd, peer }) => (fd, peer),
        None => (null, None),
    };
    let streams = [
        input.as_fd(),
        output.as_fd(),
        log.as_fd(),
        workspace.as_fd(),
    ];
    frame::send(&control, &request.encode_to_vec(), &streams).unwrap();
    drop(log);
    Started {
        process: Process::Child(child),
        lines,
        level: None,
        _kept: peer.into_iter().chain([control.into()]).collect(),
    }
}

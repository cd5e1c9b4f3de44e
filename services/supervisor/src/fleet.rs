//! All processes together: starts them side by side, wires them, starts again what died, follows
//! policy's plan, and ends them in good order. One loop owns all of it; tasks only bring it events.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clawdbot_confine::spawn::{Exit, Signal};
use clawdbot_identity::{Role, workspace};
use clawdbot_proto::v1::{
    Descriptor, Plan, ProcessesReply, Setup, Shutdown, control_frame, descriptor,
};
use clawdbot_service::Handover;
use tokio::sync::{mpsc, oneshot};

use crate::child::Started;
use crate::environment::Environment;
use crate::helper::Helper;
use crate::home::Refusal;
use crate::life::{Life, Next};
use crate::listeners::Listeners;
use crate::log_file::LogFile;
use crate::programs::Programs;
use crate::sockets::RunDirectory;
use crate::ui::Ui;
use crate::wiring::{Wire, wires};

use edges::Edges;
use pace::Pace;
use share::Share;
use wanted::Wanted;

mod config;
mod edges;
mod keyring;
mod news;
mod pace;
mod plan;
mod share;
mod shown;
mod wanted;

pub(crate) use edges::Why;

/// A process that gives no sign of life for this long is killed and started again.
const SILENCE: Duration = Duration::from_secs(30);
/// How long processes may take to end in good order.
const FAREWELL: Duration = Duration::from_millis(1500);
/// How long a killed process may take to be gone before nobody waits for it.
const GONE: Duration = Duration::from_secs(2);
/// A loop that wakes this much too late was not running: its children were not silent.
const LATE: Duration = Duration::from_secs(5);
/// Exit status when a process refuses to run.
const REFUSED: u8 = 78;

/// One start of one process, so that news of an earlier one are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) role: Role,
    pub(crate) generation: u64,
}

/// What the loop reacts to.
pub(crate) enum Event {
    /// Lines in the format of `sd_notify`.
    Notified(Run, String),
    /// A line on the error stream.
    Logged(Run, u32, Vec<u8>),
    /// The connection of a process to this server ended while both live.
    EdgeEnded(Run, String, Why),
    /// A process needs the vault's key from the keyring.
    KeyringWanted(Run),
    /// A process needs the configuration file.
    ConfigWanted(Run),
    /// The configuration file as it was found for a process that needs it.
    ConfigOpened(Run, io::Result<OwnedFd>),
    /// Some child ended.
    ChildEnded,
    /// Policy has a new plan.
    Planned(Plan),
    /// The command line asks what runs.
    Asked(oneshot::Sender<ProcessesReply>),
    /// Somebody wants the end; a second time means at once.
    Stop,
}

/// What the fleet is made of.
pub(crate) struct Parts {
    pub(crate) programs: Programs,
    pub(crate) setup: Setup,
    pub(crate) environment: Environment,
    pub(crate) run_dir: RunDirectory,
    pub(crate) lock: OwnedFd,
    pub(crate) operator: BTreeMap<Role, UnixListener>,
    pub(crate) policy: Handover,
    pub(crate) confinement: String,
    pub(crate) log: LogFile,
    pub(crate) log_path: PathBuf,
    pub(crate) ui: Ui,
    pub(crate) started: Instant,
}

/// All processes.
pub(crate) struct Fleet {
    parts: Parts,
    events: mpsc::Sender<Event>,
    members: BTreeMap<Role, Member>,
    helper: Option<Helper>,
    helpers: Pace,
    configs: Pace,
    /// A thread is opening the configuration file.
    opening: bool,
    edges: Edges,
    listeners: Listeners,
    wanted: Wanted,
    generation: u64,
    planned: bool,
    announced: bool,
    log_failed: bool,
    stopping: Option<Instant>,
    refusal: Option<Refusal>,
}

#[derive(Default)]
struct Member {
    life: Life,
    running: Option<Running>,
    /// When to start it again.
    due: Option<Instant>,
    /// Since when the plan does not name it any more.
    unwanted: Option<Instant>,
    /// Since when it ends because its destinations changed; it is started again then.
    outdated: Option<Instant>,
    confinement: String,
    status: String,
    /// What it may add to the log.
    log: Share,
}

struct Running {
    started: Started,
    generation: u64,
    since: Instant,
    heard: Instant,
    /// How far it may reach since its start.
    reach: String,
}

impl Fleet {
    pub(crate) fn new(parts: Parts, events: mpsc::Sender<Event>) -> Self {
        Self {
            parts,
            events,
            members: BTreeMap::new(),
            helper: None,
            helpers: Pace::new(keyring::STARTS),
            configs: Pace::new(config::OPENED),
            opening: false,
            edges: Edges::default(),
            listeners: Listeners::default(),
            wanted: Wanted::default(),
            generation: 0,
            planned: false,
            announced: false,
            log_failed: false,
            stopping: None,
            refusal: None,
        }
    }

    /// Starts the processes that always run, then lives until the end. The exit status.
    pub(crate) async fn run(mut self, mut events: mpsc::Receiver<Event>, always: Vec<Role>) -> u8 {
        self.parts.ui.beginning(&always);
        for role in always {
            self.start(&role);
        }
        loop {
            if self.has_stopped(Instant::now()) {
                break;
            }
            let wake = self.next_deadline();
            let event = tokio::select! {
                event = events.recv() => event,
                () = sleep_until(wake) => None,
            };
            let now = Instant::now();
            if wake.is_some_and(|wake| now > wake + LATE) {
                self.excuse(now);
            }
            if let Some(event) = event {
                self.react(event);
            }
            self.keep_time(Instant::now());
        }
        self.parts.run_dir.clear();
        // What the processes wrote at their end.
        while let Ok(event) = events.try_recv() {
            if let Event::Logged(run, pid, bytes) = event {
                self.logged(&run, pid, &bytes);
            }
        }
        self.tell_dropped(Instant::now(), true);
        if let Some(refusal) = &self.refusal {
            self.parts.ui.refused(refusal);
        }
        self.parts.ui.stopped();
        self.refusal.map_or(0, |refusal| refusal.code)
    }

    fn react(&mut self, event: Event) {
        match event {
            Event::Notified(run, lines) => self.notified(&run, &lines),
            Event::Logged(run, pid, bytes) => self.logged(&run, pid, &bytes),
            Event::EdgeEnded(run, server, why) => self.edge_ended(&run, &server, why),
            Event::KeyringWanted(run) => self.start_helper(&run),
            Event::ConfigWanted(run) => self.open_config(&run),
            Event::ConfigOpened(run, opened) => {
                self.opening = false;
                self.config_opened(&run, opened);
            }
            Event::ChildEnded => self.reap(),
            Event::Planned(plan) => self.follow(&plan),
            Event::Asked(answer) => {
                // Whoever asked may have gone.
                let _gone = answer.send(self.processes());
            }
            Event::Stop => self.stop(None),
        }
    }

    // ---- starting ------------------------------------------------------------------------------

    fn start(&mut self, role: &Role) {
        self.generation += 1;
        let run = Run {
            role: role.clone(),
            generation: self.generation,
        };
        let setup = Setup {
            role: role.to_string(),
            workspaces: self.workspaces(role),
            ..self.parts.setup.clone()
        };
        let Some(program) = self.parts.programs.of(role) else {
            let message = format!(
                "there is no program for {role}; install all programs in one directory and start again"
            );
            self.parts.ui.alarm(&message);
            self.note("error", &message);
            return;
        };
        let started =
            Started::new(program, run, setup, &self.events).and_then(|started| {
                match self.equip(role, &started) {
                    Ok(()) => {
                        started.done();
                        Ok(started)
                    }
                    Err(error) => {
                        started.abandon();
                        Err(error)
                    }
                }
            });
        let now = Instant::now();
        let member = self.members.entry(role.clone()).or_default();
        member.due = None;
        member.outdated = None;
        self.edges.starts(role);
        match started {
            Ok(started) => {
                self.parts
                    .ui
                    .process(role.as_str(), started.child.pid(), "started", "");
                let generation = self.generation;
                member.running = Some(Running {
                    started,
                    generation,
                    since: now,
                    heard: now,
                    reach: self.wanted.reach(role).to_owned(),
                });
            }
            Err(error) => {
                self.parts
                    .ui
                    .alarm(&format!("cannot start {role}: {error}"));
                if let Next::Restart(pause) = member.life.ended(Exit::Code(1), now) {
                    member.due = Some(now + pause);
                }
            }
        }
    }

    /// The folders that an agent may read besides its state. They come from whoever started all this,
    /// never from a running process: a plan has no paths.
    fn workspaces(&self, role: &Role) -> Vec<String> {
        let setup = &self.parts.setup;
        let Some(class) = role.class() else {
            return Vec::new();
        };
        let folder = |named: &String| workspace(named, &setup.home_dir, class);
        setup.workspaces.iter().map(folder).collect()
    }

    /// Gives a new process what belongs to it, and its peers their ends of the edges.
    fn equip(&self, role: &Role, started: &Started) -> io::Result<()> {
        let supervisor = Role::supervisor();
        let others = self.members.keys().chain([&supervisor]);
        for wire in wires(role, others) {
            self.connect(role, started, &wire)?;
        }
        if let Some(socket) = self.parts.operator.get(role) {
            let what = descriptor::What::Accepts(Role::operator().to_string());
            started.give(Descriptor { what: Some(what) }, socket.try_clone()?.into());
        }
        for (name, fd) in self.files(role)? {
            let what = descriptor::What::File(name.into());
            started.give(Descriptor { what: Some(what) }, fd);
        }
        if *role == Role::gateway() {
            for (address, socket) in self.listeners.iter() {
                let what = descriptor::What::Listener(address.to_string());
                started.give(Descriptor { what: Some(what) }, socket.try_clone()?.into());
            }
        }
        Ok(())
    }

    fn connect(&self, role: &Role, started: &Started, wire: &Wire) -> io::Result<()> {
        let (client_end, server_end) = UnixStream::pair()?;
        for (end, owner, what) in [
            (client_end, &wire.client, wire.for_client()),
            (server_end, &wire.server, wire.for_server()),
        ] {
            if owner == role {
                started.give(what, end.into());
            } else if *owner == Role::supervisor() {
                self.parts.policy.give(end);
            } else if let Some(peer) = self.members.get(owner).and_then(|m| m.running.as_ref()) {
                peer.started.give(what, end.into());
            }
        }
        Ok(())
    }

    /// The files of a process, by the name it knows them under.
    fn files(&self, role: &Role) -> io::Result<Vec<(&'static str, OwnedFd)>> {
        let mut files = Vec::new();
        if *role == Role::broker() {
            files.push(("environment", self.parts.environment.broker.try_clone()?));
        }
        if *role == Role::policy() {
            for (name, fd) in &self.parts.environment.policy {
                files.push((name, fd.try_clone()?));
            }
            files.push(("run", self.parts.run_dir.descriptor()?));
            files.push(("lock", self.parts.lock.try_clone()?));
            // One that cannot be opened is asked for and explained later.
            files.extend(self.config().map(|file| (config::CONFIG, file)));
        }
        Ok(files)
    }

    // ---- dying and ending ------------------------------------------------------------------------

    fn reap(&mut self) {
        self.helper.take_if(Helper::has_ended);
        let mut ended = Vec::new();
        for (role, member) in &mut self.members {
            let Some(running) = &mut member.running else {
                continue;
            };
            if let Ok(Some(exit)) = running.started.child.try_wait() {
                ended.push((role.clone(), running.started.child.pid(), exit));
                member.running = None;
            }
        }
        for (role, pid, exit) in ended {
            self.ended(&role, pid, exit);
        }
    }

    fn ended(&mut self, role: &Role, pid: u32, exit: Exit) {
        let how = match exit {
            Exit::Code(code) => format!("exit status {code}"),
            Exit::Signal(number) => format!("killed by signal {number}"),
        };
        let Some(member) = self.members.get_mut(role) else {
            return;
        };
        if self.stopping.is_some() || member.unwanted.is_some() {
            if member.unwanted.is_some() {
                self.members.remove(role);
            }
            self.parts.ui.process(role.as_str(), pid, "stopped", &how);
            return;
        }
        let now = Instant::now();
        if member.outdated.is_some() {
            // It did as it was told.
            member.life.ready = None;
            member.due = Some(now);
            self.parts.ui.process(role.as_str(), pid, "stopped", &how);
            return;
        }
        let status = member.status.clone();
        match member.life.ended(exit, now) {
            Next::Restart(pause) => {
                member.due = Some(now + pause);
                self.parts.ui.process(role.as_str(), pid, "ended", &how);
                self.note(
                    "warn",
                    &format!("{role} ended ({how}) and is started again"),
                );
            }
            Next::GiveUp => self.stop(Some(Refusal {
                message: format!("{role} refuses to run: {status}"),
                remedy: format!("see {}", self.parts.log_path.display()),
                code: REFUSED,
            })),
        }
    }

    /// Begins the end, or cuts it short if it has begun.
    fn stop(&mut self, refusal: Option<Refusal>) {
        if self.stopping.is_some() {
            if refusal.is_none() {
                self.kill_all();
            }
            return;
        }
        self.refusal = refusal;
        self.stopping = Some(Instant::now());
        self.parts.ui.stopping();
        if let Some(helper) = self.helper.take() {
            helper.end();
        }
        for member in self.members.values_mut() {
            member.due = None;
            if let Some(running) = &member.running {
                running
                    .started
                    .send(control_frame::Frame::Shutdown(Shutdown {}), None);
            }
        }
    }

    fn kill_all(&self) {
        for running in self.members.values().filter_map(|m| m.running.as_ref()) {
            // One that is gone already is as good.
            let _gone = running.started.child.kill(Signal::KILL);
        }
    }

    // ---- time ------------------------------------------------------------------------------------

    fn next_deadline(&self) -> Option<Instant> {
        // Past it, killed processes are waited for in small steps.
        let soon = Instant::now() + Duration::from_millis(100);
        let farewell = self.stopping.map(|since| (since + FAREWELL).max(soon));
        let members = self.members.values().filter_map(|member| {
            member.due.or(member
                .running
                .as_ref()
                .map(|running| running.heard + SILENCE))
        });
        let leaving = self.members.values().filter_map(|member| {
            let since = member.unwanted.or(member.outdated)?;
            member.running.as_ref()?;
            Some((since + FAREWELL).max(soon))
        });
        let helper = self.helper.as_ref().map(Helper::until);
        let edges = self.edges.next().filter(|_| self.stopping.is_none());
        let told = self.members.values().filter_map(|m| m.log.due());
        let all = members.chain(leaving).chain(farewell).chain(helper);
        all.chain(edges).chain(told).min()
    }

    /// Whether all have ended, or were killed and do not go.
    fn has_stopped(&self, now: Instant) -> bool {
        self.stopping.is_some_and(|since| {
            self.members.values().all(|m| m.running.is_none()) || now > since + FAREWELL + GONE
        })
    }

    /// This process was stopped or the machine slept: what the children said meanwhile is yet unread.
    fn excuse(&mut self, now: Instant) {
        for running in self.members.values_mut().filter_map(|m| m.running.as_mut()) {
            running.heard = now;
        }
    }

    fn keep_time(&mut self, now: Instant) {
        self.tell_dropped(now, false);
        if let Some(helper) = self.helper.take_if(|helper| now >= helper.until()) {
            helper.end();
            self.note(
                "warn",
                "the keyring did not answer within 5 s; its helper was ended",
            );
        }
        if self.stopping.is_some_and(|since| now >= since + FAREWELL) {
            self.kill_all();
            return;
        }
        self.mend(now);
        let mut due = Vec::new();
        let mut silent = Vec::new();
        for (role, member) in &mut self.members {
            if member.due.is_some_and(|due| now >= due) {
                due.push(role.clone());
            }
            let leaving = member.unwanted.or(member.outdated);
            if let (Some(since), Some(running)) = (leaving, &member.running)
                && now >= since + FAREWELL
            {
                let _gone = running.started.child.kill(Signal::KILL);
            }
            if let Some(running) = &mut member.running
                && now >= running.heard + SILENCE
            {
                running.heard = now;
                // Its end is noticed like any other.
                let _gone = running.started.child.kill(Signal::KILL);
                silent.push(role.clone());
            }
        }
        for role in silent {
            self.note(
                "error",
                &format!("{role} gave no sign of life for 30 s and is killed"),
            );
        }
        for role in due {
            self.start(&role);
        }
    }
}

impl Member {
    /// Zero while it does not run.
    fn pid(&self) -> u32 {
        self.running
            .as_ref()
            .map_or(0, |running| running.started.child.pid())
    }

    fn state(&self) -> &'static str {
        match (&self.running, self.life.ready) {
            (Some(_), _) if self.unwanted.or(self.outdated).is_some() => "stopping",
            (Some(_), Some(_)) => "ready",
            (Some(_), None) => "starting",
            (None, _) => "waiting",
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

//! From the arguments to the end: who we are, where the state lies, one loop.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clawdbot_confine::seccomp::Mode;
use clawdbot_identity::Role;
use clawdbot_proto::edges::{PROCESSES, Starts};
use clawdbot_proto::v1::{Setup, snapshot};
use clawdbot_service::{Edge, follow_config, log, serve_socket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::fleet::{Event, Fleet, Parts};
use crate::home::{self, Refusal};
use crate::log_file::LogFile;
use crate::options::Options;
use crate::programs::Programs;
use crate::sockets::{RunDirectory, servers};
use crate::ui::{Screen, Ui};
use crate::{environment, operator};

/// News that may wait; a process that writes faster than the log waits for it.
const EVENTS: usize = 1024;

/// The whole life of the supervisor.
#[must_use]
pub fn main() -> ExitCode {
    let started = Instant::now();
    // What the shell left open is nobody's here. Without a list of it there is nothing to close, and the
    // confinement says that it could not look.
    let _unlisted = clawdbot_confine::fd::close_from(&[]);
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            let ui = Ui {
                screen: None,
                json: false,
                color: false,
                verbose: false,
            };
            ui.refused(&Refusal {
                message,
                remedy: String::new(),
                code: 64,
            });
            return ExitCode::from(64);
        }
    };
    let ui = Ui {
        screen: None,
        json: options.json,
        color: options.color,
        verbose: options.verbose,
    };
    ui.starting(
        &options.state_dir.to_string_lossy(),
        &options.config.to_string_lossy(),
    );
    match prepare(&options, started) {
        Ok(prepared) => prepared.run(ui),
        Err(refusal) => {
            ui.refused(&refusal);
            ExitCode::from(refusal.code)
        }
    }
}

/// Everything that is opened before the loop begins.
struct Prepared {
    programs: Programs,
    setup: Setup,
    environment: environment::Environment,
    run_dir: RunDirectory,
    lock: std::fs::File,
    operator: BTreeMap<Role, std::os::unix::net::UnixListener>,
    confinement: String,
    log: LogFile,
    log_path: PathBuf,
    started: Instant,
}

fn prepare(options: &Options, started: Instant) -> Result<Prepared, Refusal> {
    let home_dir = std::env::var_os("HOME").filter(|home| Path::new(home).is_dir());
    let as_root = rustix::process::geteuid().is_root();
    let programs = Programs::open(options.programs.as_deref())?;
    let environment = environment::take()
        .map_err(|e| Refusal::io("the environment cannot be kept", &e, "free some memory"))?;
    home::become_ordinary(options)?;
    let confinement = restrain()?;

    home::check_state(&options.state_dir)?;
    let run_dir = RunDirectory::open(&options.state_dir)?;
    let lock = home::lock(run_dir.path())?;
    let log_path = options.state_dir.join("gateway.log");
    let log = LogFile::open(&log_path).map_err(|e| {
        Refusal::io(
            &log_path.display().to_string(),
            &e,
            "move the file away and start again",
        )
    })?;
    let mut operator = BTreeMap::new();
    for server in servers() {
        let role = Role::parse(server).map_err(|e| Refusal::new(e.to_string(), ""))?;
        let socket = run_dir
            .bind(&role)
            .map_err(|e| Refusal::io(&format!("cannot make the socket of {server}"), &e, ""))?;
        operator.insert(role, socket);
    }
    let home_dir = home_dir
        .filter(|_| !as_root)
        .unwrap_or_else(|| OsString::from(home::work_dir(&options.state_dir)));
    // A link is followed once, here: the database follows none.
    let state_dir = std::fs::canonicalize(&options.state_dir)
        .map_err(|e| Refusal::io(&options.state_dir.display().to_string(), &e, ""))?;
    let setup = Setup {
        role: String::new(),
        state_dir: text(&state_dir)?,
        config_path: text(&options.config)?,
        home_dir: text(Path::new(&home_dir))?,
        port: u32::from(options.port),
        log_level: "info".into(),
        sandbox_require: "available".into(),
        workspaces: options.workspaces.clone(),
    };
    Ok(Prepared {
        programs,
        setup,
        environment,
        run_dir,
        lock,
        operator,
        confinement,
        log,
        log_path,
        started,
    })
}

/// Limits and no new privileges: a filter would be inherited by every child and its tools.
fn restrain() -> Result<String, Refusal> {
    let refused = |why: String| Refusal::new(why, "start it on a supported system");
    let profile = clawdbot_confine::profile("supervisor")
        .ok_or_else(|| refused("there is no confinement profile supervisor".into()))?;
    let confinement = clawdbot_confine::confine(profile, Mode::Single, &[])
        .map_err(|error| refused(error.to_string()))?;
    Ok(confinement.to_line())
}

fn text(path: &Path) -> Result<String, Refusal> {
    path.to_str().map(String::from).ok_or_else(|| {
        Refusal::new(
            format!("{} is not valid UTF-8", path.display()),
            "choose a path in UTF-8",
        )
    })
}

impl Prepared {
    fn run(self, mut ui: Ui) -> ExitCode {
        ui.screen = Some(Screen::start());
        log::start("supervisor");
        log::set_level("silent");
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                ui.refused(&Refusal::io("the runtime did not start", &error, ""));
                return ExitCode::FAILURE;
            }
        };
        let code = runtime.block_on(self.live(ui));
        ExitCode::from(code)
    }

    async fn live(self, ui: Ui) -> u8 {
        let (events, incoming) = mpsc::channel(EVENTS);
        if let Err(error) = follow_signals(&events) {
            ui.refused(&Refusal::io("signals cannot be watched", &error, ""));
            return 1;
        }
        let mut operator = self.operator;
        if let Some(socket) = operator.remove(&Role::supervisor()) {
            let router = operator::router(events.clone());
            tokio::spawn(serve_socket(
                socket,
                Role::operator(),
                Role::supervisor(),
                router,
            ));
        }
        let (edge, policy) = Edge::handed(Role::supervisor(), Role::policy());
        tokio::spawn(follow_plan(edge, events.clone()));
        let parts = Parts {
            programs: self.programs,
            setup: self.setup,
            environment: self.environment,
            run_dir: self.run_dir,
            lock: self.lock.into(),
            operator,
            policy,
            confinement: self.confinement,
            log: self.log,
            log_path: self.log_path,
            ui,
            started: self.started,
        };
        Fleet::new(parts, events).run(incoming, always()).await
    }
}

/// The processes that run whatever the configuration says; policy first, since all wait for it.
fn always() -> Vec<Role> {
    let rows = PROCESSES
        .iter()
        .filter(|process| process.starts == Starts::Always);
    let mut roles: Vec<Role> = rows
        .filter_map(|process| Role::parse(process.role).ok())
        .collect();
    roles.sort_by_key(|role| *role != Role::policy());
    roles
}

fn follow_signals(events: &mpsc::Sender<Event>) -> std::io::Result<()> {
    let stop = [SignalKind::interrupt(), SignalKind::terminate()];
    let hangup = (!hangup_is_ignored()).then(SignalKind::hangup);
    for kind in stop.into_iter().chain(hangup).chain([SignalKind::child()]) {
        let mut arrivals = signal(kind)?;
        let events = events.clone();
        tokio::spawn(async move {
            while arrivals.recv().await.is_some() {
                let event = if kind == SignalKind::child() {
                    Event::ChildEnded
                } else {
                    Event::Stop
                };
                if events.send(event).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

/// Started with `nohup`, for example: whoever did it wants it to go on after the logout.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

async fn follow_plan(edge: Edge, events: mpsc::Sender<Event>) {
    let mut slice = follow_config(edge);
    while slice.changed().await.is_ok() {
        let snapshot = slice.borrow_and_update().clone();
        if let Some(snapshot::Slice::Plan(plan)) = snapshot.and_then(|s| s.slice.clone())
            && events.send(Event::Planned(plan)).await.is_err()
        {
            return;
        }
    }
}

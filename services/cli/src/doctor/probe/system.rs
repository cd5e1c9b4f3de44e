//! The probes of system mode: for each service a unit that says what the real one says, beside it and with folders and
//! sockets of its own. What was made is removed again, however it ends.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clawdbot_attempts::Column;
use clawdbot_identity::Role;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use tokio::time::timeout;

use super::answer::Answering;
use super::matrix::{Subject, Tried};
use super::person::{Progress, interrupted, was_interrupted};
use super::stage::{self, Stage};
use super::unit::{self, Given};
use crate::doctor::running::Running;
use crate::failure::Failure;
use crate::manager::{Manager, UnitFact, role_of};
use crate::out::Out;

/// Everything that the probes are aimed at.
const FOLDER: &str = "/run/clawdbot-probe";
/// Held by the run that is at it; only root can open it.
const LOCK: &str = "lock";
/// Where units lie that are gone after the next start of the machine.
const UNITS: &str = "/run/systemd/system";
/// Every unit of ours begins so.
const PREFIX: &str = "clawdbot-probe-";
/// Time between two looks at whether an interrupted run has ended.
const LOOK: Duration = Duration::from_millis(500);
/// Probes that run at the same time: the machine has something else to do, too.
const AT_ONCE: usize = 2;

/// A role, its unit as it is, and what weakens it.
struct Wanted {
    role: Role,
    column: Column,
    unit: UnitFact,
    weakened_by: Vec<PathBuf>,
    /// What its unit says, the file and what is dropped in.
    files: Vec<String>,
}

/// Tries every service that is installed.
///
/// # Errors
/// When another one is at it, when nothing can be made below `/run`, or when it was interrupted.
pub async fn try_all(running: &Running, out: Out) -> Result<Vec<Subject>, Failure> {
    let ground = Arc::new(Ground::claim(Path::new(FOLDER), Path::new(UNITS))?);
    let stop = Arc::new(AtomicBool::new(false));
    let work = Work {
        ground: Arc::clone(&ground),
        stop: Arc::clone(&stop),
        wanted: wanted(running),
        runtime: running.runtime.clone(),
        processes: running
            .processes
            .iter()
            .map(|fact| (fact.role.clone(), fact.pid))
            .collect(),
        progress: Progress::new(out),
    };
    let mut work = tokio::task::spawn_blocking(move || work.run());
    let done = tokio::select! {
        done = &mut work => done.ok(),
        () = interrupted() => {
            stop.store(true, Ordering::Relaxed);
            // One that was about to start is stopped by the next look.
            while timeout(LOOK, &mut work).await.is_err() {
                ground.stop();
            }
            None
        }
    };
    drop(ground);
    done.ok_or_else(was_interrupted)
}

/// The services of what is installed. Tool calls and the log's readers, which have no such start, are tried elsewhere.
fn wanted(running: &Running) -> Vec<Wanted> {
    let units = running.units.iter().flatten();
    units
        .filter_map(|unit| {
            let role = role_of(&unit.id)?;
            let column = stage::column(&role)?;
            let weakened_by = running.weakened_by(unit);
            let paths = [&unit.fragment].into_iter().chain(&unit.drop_ins);
            let files = paths.filter_map(|path| running.unit_files.get(path).cloned());
            Some(Wanted {
                role,
                column,
                unit: unit.clone(),
                weakened_by: weakened_by.into_iter().map(PathBuf::from).collect(),
                files: files.collect(),
            })
        })
        .collect()
}

struct Work {
    ground: Arc<Ground>,
    stop: Arc<AtomicBool>,
    wanted: Vec<Wanted>,
    runtime: PathBuf,
    processes: BTreeMap<String, u32>,
    progress: Progress,
}

impl Work {
    /// One after the other, a few at the same time; in the order of the units.
    fn run(self) -> Vec<Subject> {
        let next = AtomicUsize::new(0);
        let found: Mutex<BTreeMap<usize, Subject>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(wanted) = self.wanted.get(at) else {
                            return;
                        };
                        let (at, all) = (at + 1, self.wanted.len());
                        let role = &wanted.role;
                        self.progress.show(&format!("probe {at} of {all}: {role}"));
                        let subject = self.subject(wanted);
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        found.insert(at, subject);
                    }
                });
            }
        });
        self.progress.clear();
        let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.into_values().collect()
    }

    fn subject(&self, wanted: &Wanted) -> Subject {
        let tried = match wanted.unit.load.as_str() {
            "loaded" if self.stop.load(Ordering::Relaxed) => {
                Tried::Left("it was interrupted".to_owned())
            }
            "loaded" => self
                .probe(wanted)
                .unwrap_or_else(|error| Tried::Failed(error.message)),
            "masked" => Tried::Left("its unit is masked".to_owned()),
            other => Tried::Left(format!("its unit is {other}")),
        };
        Subject {
            role: wanted.role.to_string(),
            column: wanted.column,
            unit: crate::place::word(&wanted.unit.id),
            weakened_by: wanted.weakened_by.clone(),
            confinement: None,
            tried,
        }
    }

    fn probe(&self, wanted: &Wanted) -> Result<Tried, Failure> {
        let role = &wanted.role;
        let others = self.processes.iter();
        let sibling = others
            .filter(|(other, pid)| *other != role.as_str() && **pid != 0)
            .map(|(_, pid)| *pid)
            .next();
        let folder = self.ground.folder.join(role.as_str());
        let sibling = sibling.unwrap_or(1);
        let stage = Stage::build(&folder, role, wanted.column, &self.runtime, sibling)?;
        let stage = Arc::new(stage);
        let service = stage::service(role);
        let service: Vec<&str> = service.iter().map(String::as_str).collect();
        let files: Vec<&str> = wanted.files.iter().map(String::as_str).collect();
        let text = unit::text(
            &files,
            &Given {
                socket: &stage.socket(),
                service: &service,
                instance: stage::instance(role),
                environment: &stage.environment(),
                folder: stage.folder(),
            },
        );
        let name = self.ground.unit(role, &text)?;
        let answering = Answering::begin(Arc::clone(&stage), stage.plan(), &name);
        let started = Manager::System.act(&["start", "--", &name]);
        let why = started.err();
        let why = why.map(|failure| format!("{} journalctl -u {name} says why", failure.message));
        Ok(answering.end(why))
    }
}

/// Folder and units of ours, for one run at a time. They are gone when it is dropped.
struct Ground {
    folder: PathBuf,
    units: PathBuf,
    _lock: OwnedFd,
}

impl Ground {
    /// Takes them, and clears away what an earlier run has left that was killed.
    fn claim(folder: &Path, units: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        fs::create_dir_all(units)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = open(folder.join(LOCK), flags, Mode::RUSR | Mode::WUSR);
        let lock = lock.map_err(std::io::Error::from)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            Failure::new("doctor.probe", "another doctor --probe is running")
                .remedy("wait until it has ended")
        })?;
        let ground = Self {
            folder: folder.to_owned(),
            units: units.to_owned(),
            _lock: lock,
        };
        ground.clear()?;
        Ok(ground)
    }

    /// Writes the unit of a role; its name.
    fn unit(&self, role: &Role, text: &str) -> std::io::Result<String> {
        let name = format!("{PREFIX}{role}.service");
        fs::write(self.units.join(&name), text)?;
        Ok(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.units).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with(PREFIX)).collect()
    }

    /// Ends what runs.
    fn stop(&self) {
        let names = self.names();
        if !names.is_empty() {
            let mut arguments = vec!["stop", "--"];
            arguments.extend(names.iter().map(String::as_str));
            // Those that never ran are none.
            let _stopped = Manager::System.act(&arguments);
        }
    }

    fn clear(&self) -> std::io::Result<()> {
        self.stop();
        for name in self.names() {
            fs::remove_file(self.units.join(name))?;
        }
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name() != LOCK {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // What cannot be removed the next run removes.
        let _left = self.clear();
        let _left = fs::remove_file(self.folder.join(LOCK));
        let _left = fs::remove_dir(&self.folder);
    }
}

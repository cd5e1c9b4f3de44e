//! Single-user mode: the roles are tried beside whatever runs, as this user. Two supervisors of their own do it, since a
//! worker is started only where a real policy names it in its plan, and policy is tried as well.

mod fleet;
mod scene;

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use clawdbot_attempts::{Attempt, Column, Place, all, columns};

use self::fleet::{Fleet, Line};
use self::scene::Scene;
use super::matrix::{Subject, Tried};
use super::person::{Progress, interrupted, was_interrupted};
use crate::doctor::running::Running;
use crate::failure::Failure;
use crate::out::Out;

/// The program that stands in the place of a service.
const PROBE: &str = "clawdbot-probe";
const SUPERVISOR: &str = "clawdbot-supervisor";

/// Longest silence of everybody.
const PATIENCE: Duration = Duration::from_secs(40);
/// How often is looked for news.
const LOOK: Duration = Duration::from_millis(20);

/// What came of the attempts.
#[derive(Debug, Default)]
struct Found {
    /// Outcomes by column and attempt.
    outcomes: BTreeMap<(Column, &'static str), String>,
    /// What each process measured of its confinement.
    levels: BTreeMap<Column, String>,
}

/// A supervisor, the programs that are real in it, and the columns that are tried in it.
struct Group {
    name: &'static str,
    real: &'static [&'static str],
    keys: &'static [&'static str],
}

const GROUPS: [Group; 2] = [
    Group {
        name: "workers",
        real: &["clawdbot-policy", "clawdbot-broker"],
        keys: &[
            "gateway",
            "dialer",
            "agent-main",
            "agent-guest",
            "model",
            "channel",
            "executor",
        ],
    },
    Group {
        name: "base",
        real: &[],
        keys: &["policy", "broker", "keyring"],
    },
];

/// The columns: everything that is confined by a profile.
fn tried() -> Vec<Column> {
    let mut all = columns();
    all.retain(|column| column.place == Place::Single);
    all
}

/// The role that a column is tried as: the model is the one that always runs.
fn role_of(column: &Column) -> &'static str {
    match column.key {
        "model" => "model-builtin",
        _ => column.role,
    }
}

/// Tries every role.
///
/// # Errors
/// When root does it, when nothing can be set up or started, or when it was interrupted.
pub async fn try_all(running: &Running, out: Out) -> Result<Vec<Subject>, Failure> {
    if rustix::process::geteuid().is_root() {
        let why = "processes refuse to be root, and as another user nothing is tried here";
        return Err(
            Failure::new("doctor.probe", why).remedy("run it as the user who runs `clawdbot up`")
        );
    }
    let programs = crate::up::programs()?;
    let broker = running.processes.iter().find(|one| one.role == "broker");
    let sibling = broker.map_or_else(std::process::id, |one| one.pid);
    let progress = Progress::new(out);
    let made = make(&programs, sibling, |made, all| {
        progress.show(&format!("probe: {made} of {all} attempts"));
    });
    let found = tokio::select! {
        biased;
        () = interrupted() => None,
        found = made => Some(found),
    };
    progress.clear();
    let failed = |why: String| Failure::new("doctor.probe", why);
    match found {
        Some(Ok(found)) => Ok(found.subjects()),
        Some(Err(error)) => Err(failed(format!("nothing could be tried: {error}"))),
        None => Err(was_interrupted()),
    }
}

/// Makes all attempts in all roles. `programs`: where the programs lie; `sibling`: another process of this user;
/// `progress`: how many of how many are made.
async fn make(programs: &Path, sibling: u32, progress: impl Fn(usize, usize)) -> io::Result<Found> {
    let columns = tried();
    let attempts: Vec<Attempt> = all().collect();
    let names: Vec<String> = attempts.iter().map(|one| one.name.to_owned()).collect();
    let scene = Scene::new(&programs.join(PROBE), sibling)?;
    let mut fleets = Vec::new();
    for group in &GROUPS {
        let home = scene.home(group.name)?;
        for column in columns
            .iter()
            .filter(|column| group.keys.contains(&column.key))
        {
            scene.plan(&home, column, role_of(column), names.clone())?;
        }
        fleets.push(Fleet::start(&home, programs, group.real, free_port()?)?);
    }
    let cells = columns.len() * attempts.len();
    let mut found = Found::default();
    let mut heard = Instant::now();
    while found.outcomes.len() < cells && heard.elapsed() < PATIENCE {
        let before = found.outcomes.len();
        for fleet in &mut fleets {
            for line in fleet.news()? {
                found.note(&line, &columns, &attempts);
            }
        }
        if found.outcomes.len() > before {
            heard = Instant::now();
            progress(found.outcomes.len(), cells);
        }
        for fleet in &mut fleets {
            if let Some(why) = fleet.has_ended()? {
                return Err(io::Error::other(format!("{SUPERVISOR} ended: {why}")));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(found)
}

/// A port for a front door that nobody comes to.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Found {
    /// Takes what a process says of an attempt or of itself; the first word counts.
    fn note(&mut self, line: &Line, columns: &[Column], attempts: &[Attempt]) {
        let Some(column) = columns.iter().find(|column| role_of(column) == line.role) else {
            return;
        };
        if let Some(confinement) = &line.confinement {
            self.levels
                .entry(*column)
                .or_insert_with(|| confinement.clone());
        }
        let mut words = line.message.splitn(3, ' ');
        let (Some("got"), Some(name), Some(outcome)) = (words.next(), words.next(), words.next())
        else {
            return;
        };
        if let Some(attempt) = attempts.iter().find(|attempt| attempt.name == name) {
            let cell = self.outcomes.entry((*column, attempt.name));
            cell.or_insert_with(|| outcome.to_owned());
        }
    }
}

impl Found {
    /// What the matrix shows: one for each column.
    fn subjects(mut self) -> Vec<Subject> {
        let mut outcomes: BTreeMap<Column, BTreeMap<String, String>> = BTreeMap::new();
        for ((column, attempt), outcome) in self.outcomes {
            let of = outcomes.entry(column).or_default();
            of.insert(attempt.to_owned(), outcome);
        }
        let subject = |column: Column| Subject {
            role: column.key.to_owned(),
            column,
            unit: String::new(),
            weakened_by: Vec::new(),
            confinement: self.levels.remove(&column),
            tried: match outcomes.remove(&column) {
                Some(made) => Tried::Made(made),
                None => Tried::Failed("its probe said nothing".to_owned()),
            },
        };
        tried().into_iter().map(subject).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(role: &str, message: &str) -> Line {
        Line {
            role: role.to_owned(),
            message: message.to_owned(),
            confinement: None,
        }
    }

    #[test]
    fn every_role_is_tried_in_one_of_the_groups() {
        for column in tried() {
            let in_groups = GROUPS
                .iter()
                .filter(|group| group.keys.contains(&column.key));
            assert_eq!(in_groups.count(), 1, "{}", column.key);
        }
    }

    #[test]
    fn the_first_word_of_an_attempt_counts_and_nobody_elses() {
        let (columns, attempts): (Vec<_>, Vec<_>) = (tried(), all().collect());
        let mut found = Found::default();
        for (role, message) in [
            ("broker", "try net.tcp4"),
            ("broker", "got net.tcp4 EPERM"),
            ("broker", "got net.tcp4 worked"),
            ("broker", "got net.no-such-attempt worked"),
            ("supervisor", "got net.tcp4 worked"),
            (
                "model-builtin",
                "got net.tcp4 broken(nobody said what tcp is)",
            ),
        ] {
            found.note(&line(role, message), &columns, &attempts);
        }
        let cells: Vec<_> = { found.outcomes.iter() }
            .map(|((column, name), outcome)| (column.key, *name, outcome.as_str()))
            .collect();
        assert_eq!(
            cells,
            [
                ("broker", "net.tcp4", "EPERM"),
                ("model", "net.tcp4", "broken(nobody said what tcp is)"),
            ]
        );
    }
}

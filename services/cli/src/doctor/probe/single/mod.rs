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
use tokio::signal::unix::{SignalKind, signal};

use self::fleet::{Fleet, Line};
use self::scene::Scene;
use super::matrix::Outcomes;

/// The program that stands in the place of a service.
const PROBE: &str = "clawdbot-probe";
const SUPERVISOR: &str = "clawdbot-supervisor";

/// Longest silence of everybody.
const PATIENCE: Duration = Duration::from_secs(40);
/// How often is looked for news.
const LOOK: Duration = Duration::from_millis(20);

/// What came of the attempts.
#[derive(Debug, Default)]
pub struct Found {
    pub outcomes: Outcomes,
    /// What each process measured of its confinement.
    pub levels: BTreeMap<Column, String>,
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
pub fn tried() -> Vec<Column> {
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

/// Makes all attempts in all roles. `programs`: where the programs lie; `sibling`: another process of this user;
/// `progress`: how many of how many are made.
///
/// # Errors
/// When nothing can be set up or started, or a supervisor ends by itself.
pub async fn run(
    programs: &Path,
    sibling: u32,
    mut progress: impl FnMut(usize, usize),
) -> io::Result<Found> {
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
    let mut ended = std::pin::pin!(ended());
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
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            ended = &mut ended => return Err(ended),
        }
    }
    Ok(found)
}

/// Somebody ends this command: then nothing may be left of it.
async fn ended() -> io::Error {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let [interrupt, terminate, hangup] = kinds.map(signal);
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (interrupt, terminate, hangup)
    else {
        // Without them it ends at once.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    io::Error::new(io::ErrorKind::Interrupted, "ended by a signal")
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

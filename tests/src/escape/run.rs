//! Makes all attempts in all processes. What is answered with an error leaves the process alive for the
//! next attempt; one that is killed is followed by a new process that goes on behind it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use clawdbot_attempts::{Attempt, Column, End, Heard, Needs, Place, all};
use clawdbot_confine::spawn::Exit;

use super::control::NO_NAMESPACE;
use super::scene::Scene;
use super::start::{Started, alone, start};

/// Processes that are started at the same time.
const AT_ONCE: usize = 2;

/// What came of the attempts.
#[derive(Debug, Default)]
pub struct Found {
    /// Outcomes by column and attempt.
    pub outcomes: BTreeMap<(Column, &'static str), String>,
    /// The level that each process measured.
    pub levels: BTreeMap<Column, String>,
    /// Processes that were started.
    pub starts: u32,
}

/// Attempts that one process after another makes.
struct Job {
    column: Column,
    attempts: Vec<Attempt>,
}

/// Makes the attempts that `wanted` says.
pub fn run(scene: &Scene, columns: &[Column], wanted: impl Fn(&Attempt) -> bool) -> Found {
    let mut jobs = VecDeque::new();
    for column in columns {
        // Where much is permitted an attempt changes the process for those behind it, and a socket that
        // was taken apart is no good for the next.
        let (alone, together): (Vec<Attempt>, Vec<Attempt>) =
            all().filter(|a| wanted(a)).partition(|attempt| {
                attempt.needs != Needs::Nothing
                    || matches!(column.place, Place::Supervisor | Place::Tool)
            });
        let of = |attempts| Job {
            column: *column,
            attempts,
        };
        jobs.push_back(of(together));
        jobs.extend(alone.into_iter().map(|attempt| of(vec![attempt])));
    }
    let jobs = Mutex::new(jobs);
    let found = Mutex::new(Found::default());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let job = jobs.lock().unwrap().pop_front();
                    match job {
                        Some(job) => work(scene, job, &found),
                        None => return,
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

fn work(scene: &Scene, job: Job, found: &Mutex<Found>) {
    let Job { column, attempts } = job;
    let mut left: Vec<Attempt> = attempts;
    while let Some(first) = left.first() {
        let names: Vec<&str> = left.iter().map(|attempt| attempt.name).collect();
        let _alone = (left.len() == 1).then(|| alone(first.name));
        let mut started = start(scene, &column, &names, first.needs);
        let level = started.level.take();
        let outcomes = observe(&mut started);
        let mut found = found.lock().unwrap();
        found.starts += 1;
        if let Some(level) = level {
            found.levels.insert(column, level);
        }
        for (name, outcome) in outcomes {
            let place = left.iter().position(|attempt| attempt.name == name);
            let attempt =
                left.remove(place.unwrap_or_else(|| panic!("{name} was not to be tried")));
            found.outcomes.insert((column, attempt.name), outcome);
        }
    }
}

/// Reads what a process says until it ends. The last attempt without an outcome is what ended it.
pub fn observe(started: &mut Started) -> Vec<(String, String)> {
    let mut heard = Heard::default();
    let mut stuck = false;
    loop {
        match started.line() {
            Ok(Some(line)) if line.starts_with("no namespace") => {
                heard.trying = Some(NO_NAMESPACE.into());
            }
            Ok(Some(line)) => heard.line(line),
            Ok(None) => break,
            Err(()) => {
                stuck = true;
                started.kill();
                break;
            }
        }
    }
    let exit = started.wait();
    heard.end(match exit {
        _ if stuck => End::Stuck,
        Exit::Signal(signal) => End::Signal(signal),
        Exit::Code(code) => End::Code(code),
    });
    assert!(
        !heard.outcomes.is_empty(),
        "a process made no attempt; it ended with {exit:?} and said:\n{}",
        heard.other.join("\n")
    );
    heard.outcomes
}

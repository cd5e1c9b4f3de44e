//! All attempts in one unit, as whoever started it plans them. This process has the unit's profile and no other, and does
//! not confine itself: it starts itself again and again as the service, and goes on behind the attempt that ended the last
//! one. To those it is also the neighbour, another process of the same user.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use clawdbot_attempts::{Attempt, End, Heard, Needs, Plan, all, system_columns};
use clawdbot_scene::{NOT_STARTED, Talk, need_word, source};

/// Longest silence of a process that makes attempts.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where a service manager begins to number what it passes.
const FIRST: i32 = 3;
/// Lines that a process which did not start said last.
const SAID: usize = 3;

/// `rounds SOCKET SERVICE [INSTANCE]`: makes all attempts of the plan that is to be had at the socket. `one SOCKET NEED
/// SERVICE [INSTANCE]`: becomes the service, with what the attempt needs handed over as a service manager would.
pub fn main(words: &[&str]) -> ExitCode {
    let done = match words {
        ["rounds", socket, service @ ..] if !service.is_empty() => rounds(socket, service),
        ["one", socket, need, program, instance @ ..] => one(socket, need, program, instance),
        _ => return ExitCode::FAILURE,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Into the unit's journal.
            let _unheard = writeln!(io::stderr(), "clawdbot-probe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn rounds(socket: &str, service: &[&str]) -> io::Result<()> {
    let mut talk = Talk::to(Path::new(socket))?;
    all_of(&mut talk, socket, service).or_else(|error| talk.say(&format!("said {error}"), &[]))
}

fn all_of(talk: &mut Talk, socket: &str, service: &[&str]) -> io::Result<()> {
    let (text, _) = talk.ask("plan")?;
    let mut plan = Plan::parse(&text)?;
    // On the heap, and open for as long as this runs.
    let canary = b"neighbour-canary".to_vec();
    let opened = std::fs::File::open(plan.world.fact("canary"))?;
    for (name, value) in [
        ("neighbour", std::process::id().to_string()),
        ("neighbour-address", canary.as_ptr().addr().to_string()),
        ("neighbour-fd", opened.as_raw_fd().to_string()),
    ] {
        plan.world.facts.insert(name.into(), value);
    }
    let planned = |attempt: &Attempt| plan.attempts.iter().any(|name| name == attempt.name);
    // A socket that was taken apart is no good for the next.
    let (together, alone): (Vec<Attempt>, Vec<Attempt>) = all()
        .filter(planned)
        .partition(|attempt| attempt.needs == Needs::Nothing);
    let mut jobs = vec![together];
    jobs.extend(alone.into_iter().map(|attempt| vec![attempt]));
    for mut left in jobs {
        while let Some(first) = left.first().copied() {
            let names: Vec<&str> = left.iter().map(|attempt| attempt.name).collect();
            aim(&mut plan, service, first.needs);
            let heard = round(&plan, &names, [socket, need_word(first.needs)], service)?;
            if heard.outcomes.is_empty() {
                let from = heard.other.len().saturating_sub(SAID);
                for line in heard.other.iter().skip(from) {
                    talk.say(&format!("said {line}"), &[])?;
                }
                talk.say(&format!("got {} {NOT_STARTED}", first.name), &[])?;
                if left.len() > 1 {
                    // What does not start at all need not be tried hundreds of times.
                    return talk.say("done", &[]);
                }
                left.clear();
            }
            for (name, outcome) in heard.outcomes {
                left.retain(|attempt| attempt.name != name);
                talk.say(&format!("got {name} {outcome}"), &[])?;
            }
        }
    }
    drop((canary, opened));
    talk.say("done", &[])
}

/// Tells an attempt where its descriptor is.
fn aim(plan: &mut Plan, service: &[&str], needs: Needs) {
    let program = service.first().copied().unwrap_or_default();
    let column = system_columns()
        .into_iter()
        .find(|column| column.program().0 == program);
    let from = column.and_then(|column| source(&column, needs));
    plan.world.facts.remove("socket");
    if let Some(from) = from {
        plan.world.facts.insert("socket".into(), from.into());
    }
    plan.world.fd = (needs != Needs::Nothing && from.is_none()).then_some(FIRST);
}

/// One process, and what it says until it ends.
fn round(plan: &Plan, names: &[&str], asks: [&str; 2], service: &[&str]) -> io::Result<Heard> {
    let mut plan = plan.clone();
    plan.attempts = names.iter().map(|name| (*name).to_owned()).collect();
    // A service has no pipes.
    let (mut input, its_input) = UnixStream::pair()?;
    let (says, its_errors) = UnixStream::pair()?;
    let mut child = {
        // Its ends are closed here when it has them.
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("one").args(asks).args(service);
        command
            .stdin(OwnedFd::from(its_input))
            .stdout(Stdio::null());
        command.stderr(OwnedFd::from(its_errors)).spawn()?
    };
    // One that ends before it has read all says why.
    let _ended = input.write_all(plan.to_text().as_bytes());
    drop(input);
    let mut heard = Heard::default();
    let stuck = listen(&lines(says), &mut heard).is_err();
    heard.end(end(&mut child, stuck)?);
    Ok(heard)
}

fn lines(says: UnixStream) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(says).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Until the last line; an error after too long a silence.
fn listen(lines: &Receiver<String>, heard: &mut Heard) -> Result<(), RecvTimeoutError> {
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => heard.line(line),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(silent) => return Err(silent),
        }
    }
}

fn end(child: &mut Child, stuck: bool) -> io::Result<End> {
    if stuck {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok(match (status.code(), status.signal()) {
        _ if stuck => End::Stuck,
        (Some(code), _) => End::Code(code),
        (None, signal) => End::Signal(signal.unwrap_or(0)),
    })
}

fn one(socket: &str, need: &str, program: &str, instance: &[&str]) -> io::Result<()> {
    let mut talk = Talk::to(Path::new(socket))?;
    let (names, handed) = talk.ask(&format!("need {need}"))?;
    // Its number is the first one's.
    drop(talk);
    let count = handed.len();
    for (at, fd) in (FIRST..).zip(handed) {
        place(fd, at)?;
    }
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg0(format!("{program} -"))
        .args(instance)
        .env("LISTEN_PID", std::process::id().to_string())
        .env("LISTEN_FDS", count.to_string())
        .env("LISTEN_FDNAMES", names);
    Err(command.exec())
}

/// Leaves a descriptor open under this number, which is the lowest free one.
fn place(fd: OwnedFd, at: i32) -> io::Result<()> {
    let placed = rustix::io::dup(&fd)?;
    drop(fd);
    match placed.into_raw_fd() {
        raw if raw == at => Ok(()),
        raw => Err(io::Error::other(format!(
            "a descriptor became {raw} where {at} was free"
        ))),
    }
}

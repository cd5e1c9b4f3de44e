//! Answers the probe of one stage: its plan, the descriptors that its processes need, and what it says came of it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use clawdbot_attempts::Plan;
use clawdbot_scene::{NOT_STARTED, Talk, need_of, play_dialer};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{Shutdown, shutdown};
use rustix::process::Pid;

use super::matrix::Tried;
use super::stage::Stage;

/// What was said so far.
#[derive(Debug, Default)]
struct Said {
    outcomes: BTreeMap<String, String>,
    lines: Vec<String>,
    /// Other ends, which stay open for as long as anybody may use this one.
    held: Vec<OwnedFd>,
    done: bool,
}

/// Everything that goes on for one stage.
pub struct Answering {
    stage: Arc<Stage>,
    said: Arc<Mutex<Said>>,
    /// All connections that were served.
    served: Served,
    threads: Vec<JoinHandle<()>>,
}

/// Connections of a probe, so that they can be ended.
type Served = Arc<Mutex<Vec<UnixStream>>>;

impl Answering {
    /// Begins. Only processes of `unit` are served: the real service runs as the same user, and somebody who has taken
    /// it over would answer for the probe.
    pub fn begin(stage: Arc<Stage>, plan: Plan, unit: &str) -> Self {
        let said = Arc::<Mutex<Said>>::default();
        let served = Served::default();
        let each =
            |listener, serve: Serve| each(listener, Arc::clone(&served), unit.to_owned(), serve);
        let mut threads = Vec::new();
        if let Some(listener) = stage.dialer.clone() {
            threads.push(each(
                listener,
                Box::new(|edge| {
                    // The asker is gone.
                    let _ended = play_dialer(edge);
                }),
            ));
        }
        let (asked, hears) = (Arc::clone(&stage), Arc::clone(&said));
        let text = Arc::new(plan.to_text());
        threads.push(each(
            Arc::clone(&stage.asks),
            Box::new(move |stream| {
                // A process that is killed leaves in the middle of a word.
                let _gone = serve(Talk::over(stream), &asked, &text, &hears);
            }),
        ));
        Self {
            stage,
            said,
            served,
            threads,
        }
    }

    /// Ends; what became of the attempts. `why`: what the service manager says of a probe that did not end well.
    pub fn end(self, why: Option<String>) -> Tried {
        for listener in [Some(&self.stage.asks), self.stage.dialer.as_ref()]
            .into_iter()
            .flatten()
        {
            // Whoever waits there wakes up.
            let _woken = shutdown(listener.as_ref(), Shutdown::Both);
        }
        for stream in self
            .served
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            // Its last words can still be read; more of them do not come.
            let _ended = stream.shutdown(std::net::Shutdown::Read);
        }
        for thread in self.threads {
            let _ended = thread.join();
        }
        let said = std::mem::take(&mut *self.said.lock().unwrap_or_else(PoisonError::into_inner));
        let worked = said.outcomes.values().any(|outcome| outcome != NOT_STARTED);
        match (worked, why) {
            (true, None) if said.done => Tried::Made(said.outcomes),
            (_, why) => {
                let mut reasons: Vec<String> = said.lines;
                reasons.extend(why);
                if reasons.is_empty() {
                    reasons.push("its probe ended too early".to_owned());
                }
                Tried::Failed(reasons.join("; "))
            }
        }
    }
}

/// What is done with a connection.
type Serve = Box<dyn Fn(UnixStream) + Send + Sync>;

/// A thread that has each connection of the unit served by one of its own, until the listener is shut and the last one
/// is gone.
fn each(listener: Arc<UnixListener>, served: Served, unit: String, serve: Serve) -> JoinHandle<()> {
    std::thread::spawn(move || {
        std::thread::scope(|scope| {
            while let Ok((stream, _)) = listener.accept() {
                let ours = socket_peercred(&stream).is_ok_and(|peer| runs_in(peer.pid, &unit));
                if let Some(kept) = stream.try_clone().ok().filter(|_| ours) {
                    served
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(kept);
                    let serve = &serve;
                    scope.spawn(move || serve(stream));
                }
            }
        });
    })
}

/// Whether a process belongs to a unit, as the service manager has it.
fn runs_in(process: Pid, unit: &str) -> bool {
    let path = format!("/proc/{}/cgroup", process.as_raw_nonzero());
    std::fs::read_to_string(path).is_ok_and(|groups| is_of(&groups, unit))
}

fn is_of(groups: &str, unit: &str) -> bool {
    groups
        .lines()
        .any(|line| line.rsplit('/').next() == Some(unit))
}

/// What a line of a log says to a person.
fn words(line: &str) -> String {
    let event = serde_json::from_str::<serde_json::Value>(line);
    let message = event
        .ok()
        .and_then(|event| event["message"].as_str().map(str::to_owned));
    message.unwrap_or_else(|| line.to_owned())
}

fn serve(mut talk: Talk, stage: &Stage, plan: &str, said: &Mutex<Said>) -> io::Result<()> {
    while let Some((line, _)) = talk.hear()? {
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        match (word, rest.split_once(' ')) {
            ("plan", None) => talk.say(plan, &[])?,
            ("need", None) => {
                let needs = need_of(rest).ok_or_else(|| io::Error::other("no such need"))?;
                let (passed, kept) = stage.hand(needs)?;
                said.held.extend(kept);
                let names: Vec<&str> = passed.iter().map(|(name, _)| name.as_str()).collect();
                let fds: Vec<_> = passed.iter().map(|(_, fd)| fd.as_fd()).collect();
                talk.say(&names.join(":"), &fds)?;
            }
            ("got", Some((name, outcome))) => {
                let first = said.outcomes.entry(name.to_owned());
                first.or_insert_with(|| outcome.to_owned());
            }
            ("said", _) => said.lines.push(words(rest)),
            ("done", None) => said.done = true,
            _ => return Err(io::Error::other("no such line")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_a_process_is_the_last_part_of_its_group_says() {
        let unit = "clawdbot-probe-policy.service";
        for groups in [
            "0::/system.slice/clawdbot-probe-policy.service\n",
            "2:cpu:/\n1:name=systemd:/a/clawdbot-probe-policy.service\n",
        ] {
            assert!(is_of(groups, unit), "{groups}");
        }
        for groups in [
            "",
            "0::/clawdbot.slice/clawdbot-policy.slice/clawdbot-policy.service\n",
            "0::/clawdbot-probe-policy.service/other.service\n",
            "0::/xclawdbot-probe-policy.service\n",
        ] {
            assert!(!is_of(groups, unit), "{groups}");
        }
    }
}

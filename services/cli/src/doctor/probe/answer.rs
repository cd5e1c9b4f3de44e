//! Answers the probe of one stage: its plan, the descriptors that its processes need, and what it says came of it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use clawdbot_attempts::Plan;
use clawdbot_scene::{Talk, need_of, play_dialer};
use rustix::net::{Shutdown, shutdown};

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
    threads: Vec<JoinHandle<()>>,
}

impl Answering {
    /// Begins.
    pub fn begin(stage: Arc<Stage>, plan: Plan) -> Self {
        let said = Arc::<Mutex<Said>>::default();
        let mut threads = Vec::new();
        if let Some(listener) = stage.dialer.clone() {
            threads.push(each(listener, |edge| {
                // The asker is gone.
                let _ended = play_dialer(edge);
            }));
        }
        let (asked, hears) = (Arc::clone(&stage), Arc::clone(&said));
        let text = Arc::new(plan.to_text());
        threads.push(each(Arc::clone(&stage.asks), move |stream| {
            // A process that is killed leaves in the middle of a word.
            let _gone = serve(Talk::over(stream), &asked, &text, &hears);
        }));
        Self {
            stage,
            said,
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

/// What the probe says of an attempt that nobody could make.
const NOT_STARTED: &str = "not-started";

/// A thread that has each connection served by one of its own, until the listener is shut and the last one is gone.
fn each(
    listener: Arc<UnixListener>,
    serve: impl Fn(UnixStream) + Send + Sync + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        std::thread::scope(|scope| {
            while let Ok((stream, _)) = listener.accept() {
                let serve = &serve;
                scope.spawn(move || serve(stream));
            }
        });
    })
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
                said.outcomes.insert(name.to_owned(), outcome.to_owned());
            }
            ("said", _) => said.lines.push(words(rest)),
            ("done", None) => said.done = true,
            _ => return Err(io::Error::other("no such line")),
        }
    }
    Ok(())
}

//! What the person sees while it goes on, and how they end it.

use std::io::{IsTerminal as _, Write as _};

use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;
use crate::out::Out;

/// One line on a terminal that is written over and over.
pub struct Progress(bool);

impl Progress {
    pub fn new(out: Out) -> Self {
        Self(!out.json && std::io::stderr().is_terminal())
    }

    pub fn show(&self, text: &str) {
        if self.0 {
            let mut stderr = std::io::stderr().lock();
            let _unseen = write!(stderr, "\r\x1b[K{text}");
            let _unseen = stderr.flush();
        }
    }

    pub fn clear(&self) {
        self.show("");
    }
}

/// What this command ends with then.
pub fn was_interrupted() -> Failure {
    let words = "interrupted; what was made for it is removed";
    Failure::new("interrupted", words).exit(130)
}

/// Returns when somebody wants this command to end, who may not leave anything behind.
pub async fn interrupted() {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let mut signals = kinds.map(|kind| signal(kind).ok());
    let [first, second, third] = &mut signals;
    tokio::select! {
        () = next(first) => {}
        () = next(second) => {}
        () = next(third) => {}
    }
}

async fn next(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

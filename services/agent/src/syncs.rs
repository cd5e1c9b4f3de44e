//! Makes sure that what was written reaches the disk, without holding up whoever wrote it: a few threads take the files that
//! wait, and a file that was written to many times meanwhile is synced once. A file system merges syncs that run at the
//! same time, so two threads are worth far more than one.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use clawdbot_service::{Pulse, Pulses};
use tokio::sync::watch;
use tracing::error;

use crate::disk::PATIENCE;

const THREADS: usize = 2;
/// It opens a file and waits.
const STACK_BYTES: usize = 128 << 10;

/// The files that wait. The threads end when it is dropped.
pub struct Syncs(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    /// Files that wait or are being synced.
    open: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    order: VecDeque<PathBuf>,
    /// Whether the file's name has to reach the disk too.
    names: HashMap<PathBuf, bool>,
    over: bool,
}

impl Syncs {
    /// Starts the threads, each with a pulse of its own that beats with each file.
    pub fn start(pulses: &Pulses) -> io::Result<Self> {
        let syncs = Self(Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            open: watch::Sender::new(0),
        }));
        for _ in 0..THREADS {
            let shared = Arc::clone(&syncs.0);
            let pulse = pulses.add("sync", PATIENCE);
            thread::Builder::new()
                .name("sync".into())
                .stack_size(STACK_BYTES)
                .spawn(move || shared.serve(&pulse))?;
        }
        Ok(syncs)
    }

    /// Has a file synced soon; with `name` its folder as well.
    pub fn add(&self, path: PathBuf, name: bool) {
        let mut state = self.0.state();
        if let Some(known) = state.names.get_mut(&path) {
            *known |= name;
            return;
        }
        state.names.insert(path.clone(), name);
        state.order.push_back(path);
        self.0.open.send_modify(|open| *open += 1);
        self.0.work.notify_one();
    }

    /// Waits until nothing waits any more.
    pub async fn settled(&self) {
        // The sender lives as long as `self`.
        let mut open = self.0.open.subscribe();
        let _none = open.wait_for(|open| *open == 0).await;
    }
}

impl Drop for Syncs {
    fn drop(&mut self) {
        self.0.state().over = true;
        self.0.work.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, pulse: &Pulse) {
        while let Some((path, name)) = self.next() {
            let _under_way = pulse.work();
            match sync(&path, name) {
                // Put aside meanwhile, and synced before that.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => error!(
                    file = %path.display(), %error,
                    "a transcript cannot be made to reach the disk; a loss of power may cost what was said last"
                ),
                Ok(()) => {}
            }
            self.open.send_modify(|open| *open -= 1);
        }
    }

    fn next(&self) -> Option<(PathBuf, bool)> {
        let mut state = self.state();
        loop {
            if let Some(path) = state.order.pop_front() {
                let name = state.names.remove(&path).unwrap_or(false);
                return Some((path, name));
            }
            if state.over {
                return None;
            }
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Waits until a file is on disk, and with `name` also that it is there.
pub fn sync(path: &Path, name: bool) -> io::Result<()> {
    File::open(path)?.sync_data()?;
    match path.parent().filter(|_| name) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_is_synced_once_and_then_nothing_waits() {
        let dir = tempfile::tempdir().unwrap();
        let syncs = Syncs::start(&Pulses::default()).unwrap();
        syncs.settled().await;
        for n in 0..100 {
            let path = dir.path().join(format!("{}", n % 5));
            std::fs::write(&path, "x").unwrap();
            syncs.add(path, n % 2 == 0);
        }
        syncs.add(dir.path().join("gone"), false);
        syncs.settled().await;
        let state = syncs.0.state();
        assert!(state.order.is_empty() && state.names.is_empty());
        assert!(
            sync(&dir.path().join("gone"), false).is_err(),
            "positive control"
        );
        assert!(sync(&dir.path().join("1"), true).is_ok());
    }
}

//! A thread that reads and writes files; what has to wait for the disk itself is `syncs`' business. Files are only
//! ever appended to; what could not be written whole is taken back, so that a transcript ends in a complete line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clawdbot_service::Pulse;
use tokio::sync::oneshot;

/// Reading a transcript parses JSON to a fixed depth; this is ample.
const STACK_BYTES: usize = 512 << 10;

/// How long one file may take: a slow disk is waited for, one that answers no more is not.
pub const PATIENCE: Duration = Duration::from_secs(60);

type Job = Box<dyn FnOnce() + Send>;

/// A handle to the thread. It ends when the last handle is dropped.
#[derive(Clone)]
pub struct Disk(mpsc::Sender<Job>);

impl Disk {
    /// Starts the thread; `pulse` beats with each job.
    pub fn start(pulse: Pulse) -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("disk".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                for job in jobs {
                    let _under_way = pulse.work();
                    job();
                }
            })?;
        Ok(Self(sender))
    }

    /// Starts a job after all that came before. Nobody is told how it went.
    pub fn start_job(&self, job: impl FnOnce() + Send + 'static) {
        // Without the thread the process is ending.
        let _sent = self.0.send(Box::new(job));
    }

    /// Runs a job after all that came before. It runs to its end even if nobody waits any more.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || drop(answer.send(job())));
        let gone = |_| io::Error::other("the thread for the disk is gone");
        self.0.send(job).map_err(|_| gone(()))?;
        answered.await.map_err(|_| gone(()))?
    }
}

/// Bytes for the end of a file.
pub struct Append {
    pub path: PathBuf,
    /// Length that the file must have. Zero makes the file.
    pub at: u64,
    pub bytes: Vec<u8>,
}

impl Append {
    /// Writes all of it or nothing.
    pub fn perform(&self) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .append(true)
            .create_new(self.at == 0)
            .mode(0o600)
            .open(&self.path)?;
        let length = file.metadata()?.len();
        if length != self.at {
            return Err(io::Error::other(format!(
                "the file has {length} bytes and not {}: something else writes to it",
                self.at
            )));
        }
        let done = file.write_all(&self.bytes);
        if done.is_err() {
            // If this fails as well, the next reader cuts off what is incomplete.
            let _taken_back = match self.at {
                0 => fs::remove_file(&self.path),
                at => file.set_len(at),
            };
        }
        done
    }
}

/// Puts a file in the place of another at once. It is not synced: whoever reads it can do without it.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    fs::rename(&beside, path)
}

/// The bytes of a file from one place to another.
pub fn read_range(path: &Path, at: Range<u64>) -> io::Result<Vec<u8>> {
    let length = usize::try_from(at.end.saturating_sub(at.start)).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    File::open(path)?.read_exact_at(&mut bytes, at.start)?;
    Ok(bytes)
}

/// Cuts a file to its first `length` bytes.
pub fn cut(path: &Path, length: u64) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.set_len(length)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use clawdbot_service::Pulses;

    use super::*;

    fn append(path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        let (path, bytes) = (path.into(), bytes.into());
        Append { path, at, bytes }.perform()
    }

    #[test]
    fn appends_only_where_the_file_is_known_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        append(&path, 0, b"one\n").unwrap();
        append(&path, 4, b"two\n").unwrap();
        assert!(append(&path, 4, b"x\n").is_err(), "somebody else wrote");
        assert!(append(&path, 0, b"x\n").is_err(), "it is there already");
        assert!(append(&dir.path().join("no/b"), 0, b"x\n").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(read_range(&path, 4..8).unwrap(), b"two\n");
        assert!(read_range(&path, 4..9).is_err());
        cut(&path, 4).unwrap();
        append(&path, 4, b"three\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\nthree\n");
    }

    #[test]
    fn a_replaced_file_is_private_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sessions.json");
        replace(&path, b"long old text").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_disk_that_does_not_answer_is_noticed_and_one_that_is_slow_is_not() {
        let pulses = Pulses::default();
        let disk = Disk::start(pulses.add("disk", PATIENCE)).unwrap();
        let (begun, begins) = mpsc::channel();
        let (answer, answers) = mpsc::channel::<()>();
        let hangs = disk.run(move || {
            begun.send(()).unwrap();
            answers.recv().map_err(io::Error::other)
        });
        let watches = thread::spawn(move || {
            begins.recv().unwrap();
            let seen = [PATIENCE, PATIENCE, PATIENCE].map(|passed| pulses.are_fresh(passed));
            answer.send(()).unwrap();
            (seen, pulses)
        });
        hangs.await.unwrap();
        let (seen, pulses) = watches.join().unwrap();
        assert_eq!(seen, [true, true, false]);
        // Nothing more comes after this job, so that the thread rests; and each job is a step.
        disk.run(|| Ok(())).await.unwrap();
        assert!(pulses.are_fresh(2 * PATIENCE));
    }

    #[tokio::test]
    async fn jobs_run_in_order_and_bring_their_answers() {
        let disk = Disk::start(Pulse::default()).unwrap();
        let (first, second) = tokio::join!(disk.run(|| Ok(1)), disk.run(|| Ok(2)));
        assert_eq!((first.unwrap(), second.unwrap()), (1, 2));
        let failed: io::Result<()> = disk.run(|| Err(io::Error::other("full"))).await;
        assert_eq!(failed.unwrap_err().to_string(), "full");
    }
}

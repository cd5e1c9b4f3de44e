//! The configuration file, which policy cannot open by its path: its folder is that of all state, and landlock permits a
//! folder with everything in it. The supervisor opens it, at the start and whenever it has changed. In system mode the
//! folder holds nothing else, and policy opens it itself.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use clawdbot_service::Context;
use tokio::time::sleep;

/// Pause before a supervisor that is busy is asked again, and how often that is done.
const PAUSE: Duration = Duration::from_millis(250);
const TRIES: u32 = 40;

/// Which file it is and when it was changed.
#[derive(PartialEq, Eq)]
pub(crate) struct Stamp(Option<(u64, u64, u64, i64, i64, i64, i64)>);

impl Stamp {
    pub(crate) fn of(path: &Path) -> Self {
        Self(fs::metadata(path).ok().as_ref().map(Self::parts))
    }

    fn parts(meta: &Metadata) -> (u64, u64, u64, i64, i64, i64, i64) {
        (
            meta.dev(),
            meta.ino(),
            meta.size(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        )
    }
}

/// Where it lies, and who opens it.
pub(crate) struct ConfigFile {
    path: PathBuf,
    /// Opened before this process started.
    first: Mutex<Option<File>>,
    supervisor: OnceLock<Context>,
}

impl ConfigFile {
    pub(crate) fn new(path: PathBuf, first: Option<File>) -> Self {
        Self {
            path,
            first: Mutex::new(first),
            supervisor: OnceLock::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// From now on the supervisor is asked.
    pub(crate) fn ask(&self, supervisor: Context) {
        // A second one would be the same.
        let _same = self.supervisor.set(supervisor);
    }

    /// The file as it is now.
    ///
    /// # Errors
    /// The system's answer.
    pub(crate) async fn open(&self) -> io::Result<File> {
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // One that was replaced before this process began to watch is not the file any more.
        let is_current = |file: &File| {
            let meta = file.metadata().ok();
            Stamp(meta.as_ref().map(Stamp::parts)) == Stamp::of(&self.path)
        };
        if let Some(file) = first.filter(is_current) {
            return Ok(file);
        }
        if let Some(supervisor) = self.supervisor.get() {
            match patiently(|| supervisor.config_file()).await {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                answer => return answer,
            }
        }
        clawdbot_config::open(&self.path)
    }
}

/// Asks until there is an answer. A supervisor that was asked too often, or has an earlier wish under way, says so: that is
/// no word about the file.
async fn patiently<T, F>(mut ask: impl FnMut() -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    for _ in 0..TRIES {
        match ask().await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(PAUSE).await,
            answer => return answer,
        }
    }
    ask().await
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn text(file: io::Result<File>) -> String {
        let mut text = String::new();
        file.unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[tokio::test(start_paused = true)]
    async fn a_supervisor_that_is_busy_is_asked_again_and_any_other_answer_counts() {
        fn busy<T>() -> io::Result<T> {
            Err(io::ErrorKind::WouldBlock.into())
        }
        let mut asked = 0;
        let answer = patiently(|| {
            asked += 1;
            std::future::ready(if asked < 20 { busy() } else { Ok(asked) })
        });
        assert_eq!(answer.await.unwrap(), 20);

        let mut asked = 0;
        let answer = patiently(|| {
            asked += 1;
            std::future::ready(io::Result::<()>::Err(io::ErrorKind::NotFound.into()))
        });
        let error = answer.await.unwrap_err();
        assert_eq!((error.kind(), asked), (io::ErrorKind::NotFound, 1));

        let never = patiently(|| std::future::ready(busy::<()>()));
        let error = never.await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn what_was_opened_before_counts_once_and_only_while_it_is_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clawdbot.json");
        let write = |text: &str| {
            fs::write(folder.path().join("new"), text).unwrap();
            fs::rename(folder.path().join("new"), &path).unwrap();
        };
        write("one");
        let file = ConfigFile::new(path.clone(), File::open(&path).ok());
        assert_eq!(text(file.open().await), "one");
        assert_eq!(
            text(file.open().await),
            "one",
            "opened anew, from its beginning"
        );

        let old = ConfigFile::new(path.clone(), File::open(&path).ok());
        write("two");
        assert_eq!(text(old.open().await), "two");
    }
}

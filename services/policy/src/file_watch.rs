//! News of the configuration file. Editors write a new file and rename it, so the folder is watched, not the file; for a
//! symbolic link the folder of its target, too. Only events that bear the file's name count.

use std::io;
use std::path::Path;

#[cfg(target_os = "linux")]
pub(crate) use linux::{FileWatch, Running};

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{FileWatch, FileWatch as Running};

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsString;
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    use clawdbot_service::config_folders;
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
    use tokio::io::unix::AsyncFd;

    use super::*;

    /// inotify on the folders. Opened before the confinement.
    pub(crate) struct FileWatch {
        inotify: OwnedFd,
        names: Vec<OsString>,
        /// A link can change its meaning by a rename of any folder on its way, so then every event counts.
        link: bool,
        pub(crate) watching: bool,
    }

    /// [`FileWatch`] inside the runtime.
    pub(crate) struct Running {
        inotify: AsyncFd<OwnedFd>,
        names: Vec<OsString>,
        link: bool,
    }

    impl FileWatch {
        pub(crate) fn new(config: &Path) -> io::Result<Self> {
            let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            let flags = WatchFlags::CLOSE_WRITE
                | WatchFlags::MOVED_TO
                | WatchFlags::MOVED_FROM
                | WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::ATTRIB
                | WatchFlags::ONLYDIR;
            let folders = config_folders(config);
            for folder in &folders {
                inotify::add_watch(&inotify, folder, flags)?;
            }
            let mut names: Vec<_> = config.file_name().map(OsString::from).into_iter().collect();
            names.extend(
                config
                    .canonicalize()
                    .ok()
                    .and_then(|real| real.file_name().map(OsString::from)),
            );
            Ok(Self {
                inotify,
                names,
                link: config.is_symlink(),
                watching: !folders.is_empty(),
            })
        }

        pub(crate) fn run(self) -> io::Result<Running> {
            // Deprecated for types whose descriptor may change under it; an OwnedFd keeps its own, which is all that the
            // unsafe function in its place asks for.
            #[allow(deprecated)]
            let inotify = AsyncFd::new(self.inotify)?;
            Ok(Running {
                inotify,
                names: self.names,
                link: self.link,
            })
        }
    }

    impl Running {
        /// Waits until the file may have changed.
        pub(crate) async fn changed(&mut self) -> io::Result<()> {
            loop {
                let mut ready = self.inotify.readable().await?;
                let mut seen = false;
                let mut buffer = [MaybeUninit::uninit(); 4096];
                let mut reader = Reader::new(ready.get_inner(), &mut buffer);
                loop {
                    match reader.next() {
                        Ok(event) if event.events().contains(ReadFlags::IGNORED) => {
                            return Err(io::Error::other("its folder was removed or replaced"));
                        }
                        Ok(event) => {
                            let name = event
                                .file_name()
                                .map(|name| OsString::from_vec(name.to_bytes().to_vec()));
                            let ours = name.is_some_and(|name| {
                                self.names
                                    .iter()
                                    .any(|own| own.as_bytes() == name.as_bytes())
                            });
                            // Too many events at once: one of them may have been ours.
                            seen |= ours
                                || self.link
                                || event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                        }
                        Err(rustix::io::Errno::AGAIN) => break,
                        Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                ready.clear_ready();
                if seen {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::time::Duration;

    use super::*;

    /// Where there is no inotify the file is looked at every two seconds.
    pub(crate) struct FileWatch {
        pub(crate) watching: bool,
    }

    impl FileWatch {
        pub(crate) fn new(_: &Path) -> io::Result<Self> {
            Ok(Self { watching: true })
        }

        pub(crate) fn run(self) -> io::Result<Self> {
            Ok(self)
        }

        /// Waits until the file may have changed.
        pub(crate) async fn changed(&mut self) -> io::Result<()> {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok(())
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_that_is_gone_is_an_error_and_not_silence() {
        let folder = tempfile::tempdir().unwrap();
        let mut running = FileWatch::new(&folder.path().join("clawdbot.json"))
            .unwrap()
            .run()
            .unwrap();
        std::fs::write(folder.path().join("clawdbot.json"), "{}").unwrap();
        assert!(running.changed().await.is_ok());
        drop(folder);
        let error = loop {
            if let Err(error) = running.changed().await {
                break error;
            }
        };
        assert!(error.to_string().contains("folder"), "{error}");
    }

    #[test]
    fn a_folder_that_does_not_exist_is_not_watched() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            !FileWatch::new(&folder.path().join("none/clawdbot.json"))
                .unwrap()
                .watching
        );
        assert!(
            FileWatch::new(&folder.path().join("clawdbot.json"))
                .unwrap()
                .watching
        );
    }
}

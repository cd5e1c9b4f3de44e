//! Resource limits of a process, set on both sides (soft and hard), so that it cannot raise them.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Limits to set; `None` leaves one as it was inherited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a core file.
    pub core: Option<u64>,
    /// One above the highest descriptor number.
    pub nofile: Option<u64>,
    /// Bytes of a file that is written (memory files count).
    pub fsize: Option<u64>,
    /// Bytes of locked memory.
    pub memlock: Option<u64>,
}

impl Limits {
    /// Sets nothing.
    pub const NONE: Limits = Limits {
        core: None,
        nofile: None,
        fsize: None,
        memlock: None,
    };

    /// These limits, with those that `over` has in their place.
    #[must_use]
    pub fn overlaid(self, over: Limits) -> Limits {
        Limits {
            core: over.core.or(self.core),
            nofile: over.nofile.or(self.nofile),
            fsize: over.fsize.or(self.fsize),
            memlock: over.memlock.or(self.memlock),
        }
    }

    /// Sets them for this process; what the inherited hard limit does not permit is cut down to it.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn apply(&self) -> io::Result<()> {
        let rows = [
            (Resource::Core, self.core),
            (Resource::Nofile, self.nofile),
            (Resource::Fsize, self.fsize),
            (Resource::Memlock, self.memlock),
        ];
        for (resource, wanted) in rows {
            let Some(wanted) = wanted else { continue };
            let permitted = getrlimit(resource)
                .maximum
                .map_or(wanted, |hard| hard.min(wanted));
            setrlimit(
                resource,
                Rlimit {
                    current: Some(permitted),
                    maximum: Some(permitted),
                },
            )?;
        }
        if self.fsize.is_some() {
            refuse_instead_of_kill();
        }
        Ok(())
    }
}

/// A write beyond the file size limit is answered with an error: the signal would end a process whose
/// log happens to be a file, without a word.
#[allow(unsafe_code)]
fn refuse_instead_of_kill() {
    // SAFETY: to ignore a signal installs no handler, and no memory is passed.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_child::in_child;

    #[test]
    fn a_write_beyond_the_limit_is_an_error_and_not_the_end() {
        let status = in_child(|| {
            let limits = Limits {
                fsize: Some(0),
                ..Limits::NONE
            };
            limits.apply().unwrap();
            let mut file = tempfile::tempfile().unwrap();
            let refused = std::io::Write::write(&mut file, b"x").unwrap_err();
            i32::from(refused.raw_os_error() != Some(libc::EFBIG))
        });
        assert_eq!(status.exit(), 0);
    }

    #[test]
    fn limits_hold_on_both_sides_and_never_rise() {
        let status = in_child(|| {
            let limits = Limits {
                nofile: Some(64),
                core: Some(0),
                ..Limits::NONE
            };
            limits.apply().unwrap();
            let both = Rlimit {
                current: Some(64),
                maximum: Some(64),
            };
            assert_eq!(getrlimit(Resource::Nofile), both);
            assert_eq!(
                getrlimit(Resource::Core),
                Rlimit {
                    current: Some(0),
                    maximum: Some(0)
                }
            );
            Limits {
                nofile: Some(4096),
                ..limits
            }
            .apply()
            .unwrap();
            assert_eq!(getrlimit(Resource::Nofile), both);
            0
        });
        assert_eq!(status.exit(), 0);
    }
}

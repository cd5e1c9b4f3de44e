//! Why a process did not start or did not go on. The text reaches the log and the status line, so it
//! says what to do and never holds a secret.

use std::io;

use clawdbot_confine::ConfineError;

/// Exit status of a process whose confinement or configuration is not acceptable; it is not restarted.
pub(crate) const EXIT_CONFIG: u8 = 78;

/// Whether only a person can mend it: another start would meet the same. A full disk, say, gets room by itself; what
/// belongs to somebody else or is not what it should be stays so.
#[must_use]
pub fn needs_a_person(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, IsADirectory, NotADirectory, PermissionDenied, Unsupported};
    // The kind of a link where none may be has no stable name.
    let link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    link || matches!(
        error.kind(),
        InvalidData | IsADirectory | NotADirectory | PermissionDenied | Unsupported
    )
}

/// The exit status of a failure of the system's.
fn code_of(error: &io::Error) -> u8 {
    if needs_a_person(error) {
        EXIT_CONFIG
    } else {
        1
    }
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    message: String,
    code: u8,
}

impl StartError {
    /// A mistake that a restart cannot mend: exit status 78.
    pub fn config(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: EXIT_CONFIG,
        }
    }

    /// Something outside failed, for example a full disk: exit status 1, and another try. What only a person can mend
    /// is exit status 78.
    #[must_use]
    pub fn io(what: &str, error: &io::Error) -> Self {
        Self {
            message: format!("{what}: {error}"),
            code: code_of(error),
        }
    }

    /// No acceptable confinement: exit status 78, or 1 where another try may find it possible.
    pub(crate) fn confinement(error: ConfineError) -> Self {
        Self {
            message: format!("confinement: {error}"),
            code: if error.is_transient() { 1 } else { EXIT_CONFIG },
        }
    }

    /// The exit status that tells the supervisor or service manager what to do.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.code
    }
}

/// Why a running process cannot go on. It ends with status 1 and is started again, unless that is no use.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ServeError {
    message: String,
    code: u8,
}

impl ServeError {
    /// Something that another start cannot mend: exit status 78.
    pub fn config(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: EXIT_CONFIG,
        }
    }

    /// In these words what the system said: exit status 78 when only a person can mend it, else another try.
    pub fn io(message: impl Into<String>, error: &io::Error) -> Self {
        Self {
            message: message.into(),
            code: code_of(error),
        }
    }

    /// The exit status that tells the supervisor or service manager what to do.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl From<String> for ServeError {
    fn from(message: String) -> Self {
        Self { message, code: 1 }
    }
}

impl From<&str> for ServeError {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

impl From<io::Error> for ServeError {
    fn from(error: io::Error) -> Self {
        Self::io(error.to_string(), &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clawdbot_confine::landlock::LandlockError;

    #[test]
    fn what_only_a_person_can_mend_is_not_tried_again() {
        let os = |errno: rustix::io::Errno| io::Error::from(errno);
        use rustix::io::Errno;
        for lasting in [
            os(Errno::ACCESS),
            os(Errno::PERM),
            os(Errno::LOOP),
            os(Errno::ISDIR),
            os(Errno::NOTDIR),
            io::Error::new(io::ErrorKind::InvalidData, "half a key"),
            io::Error::new(io::ErrorKind::Unsupported, "a newer format"),
        ] {
            assert_eq!(
                StartError::io("x", &lasting).code(),
                EXIT_CONFIG,
                "{lasting}"
            );
            assert_eq!(ServeError::from(lasting).code(), EXIT_CONFIG);
        }
        for passing in [
            Errno::NOSPC,
            Errno::NOENT,
            Errno::MFILE,
            Errno::IO,
            Errno::INVAL,
        ] {
            assert_eq!(StartError::io("x", &os(passing)).code(), 1, "{passing}");
            assert_eq!(ServeError::from(os(passing)).code(), 1, "{passing}");
        }
    }

    #[test]
    fn a_file_that_was_gone_is_worth_another_start_and_no_confinement_is_not() {
        let gone = LandlockError::Missing {
            rule: "/gone".into(),
        };
        let error = StartError::confinement(ConfineError::Files(gone));
        assert_eq!(error.code(), 1);
        assert!(error.to_string().contains("/gone"), "{error}");
        let kernel = LandlockError::Kernel("no".into());
        let lasting = [ConfineError::Files(kernel), ConfineError::Untestable];
        for error in lasting {
            assert_eq!(StartError::confinement(error).code(), EXIT_CONFIG);
        }
    }
}

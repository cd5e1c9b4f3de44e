//! Why a process did not start or did not go on. The text reaches the log and the status line, so it
//! says what to do and never holds a secret.

use std::io;

use clawdbot_confine::ConfineError;

/// Exit status of a process whose confinement or configuration is not acceptable; it is not restarted.
pub(crate) const EXIT_CONFIG: u8 = 78;

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

    /// Something outside failed, for example a full disk: exit status 1, and another try.
    #[must_use]
    pub fn io(what: &str, error: &io::Error) -> Self {
        Self {
            message: format!("{what}: {error}"),
            code: 1,
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
        error.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clawdbot_confine::landlock::LandlockError;

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

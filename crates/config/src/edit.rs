//! One change in the text of a configuration, which keeps every comment, the order and the way the file is written.
//! Refuses a change whose result does not load, and one that would have to guess between two places.

use crate::path::ConfigPath;
use crate::report::LoadError;

/// Why a setting was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file as it stands, or as it would be, does not load.
    #[error("{0}")]
    Refused(LoadError),
    /// The new value is not JSON5.
    #[error("{0}")]
    Value(String),
    /// There is no such setting, or no place for it.
    #[error("{0}")]
    Place(String),
}

/// The text with the setting at `path` having `value`, which is JSON5. The same text when it has it already.
/// `name` is the path of the file, for messages and for rules about where it lies; an empty text is a new file.
///
/// # Errors
/// When there is no such setting, the value is no JSON5, or the result does not load.
pub fn set(name: &str, text: &str, path: &ConfigPath, value: &str) -> Result<String, EditError> {
    let _ = (name, text, path, value);
    Err(EditError::Place(String::new()))
}

/// The text without the setting at `path`. The same text when it does not set it.
///
/// # Errors
/// When there is no such setting, or the result does not load.
pub fn unset(name: &str, text: &str, path: &ConfigPath) -> Result<String, EditError> {
    let _ = (name, text, path);
    Err(EditError::Place(String::new()))
}

/// What changes from `before` to `after`, as a unified diff with secrets shown as `***`. Empty when nothing does.
pub fn diff(name: &str, before: &str, after: &str) -> String {
    let _ = (name, before, after);
    String::new()
}

/// Why a file was not replaced.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SaveError(String);

/// Replaces the text `before` of the file by `after`, whole or not at all, with its mode and owner; keeps the old one as
/// `NAME.bak.N` and gives that path, or nothing when there was no file.
///
/// # Errors
/// When it has changed meanwhile, leads elsewhere by a link, or cannot be written.
pub fn save(
    file: &std::path::Path,
    before: &str,
    after: &str,
) -> Result<Option<std::path::PathBuf>, SaveError> {
    let _ = (file, before, after);
    Err(SaveError(String::new()))
}

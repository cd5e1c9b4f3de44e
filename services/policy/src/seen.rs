//! That a configuration file was in force, for the time after a restart: what it forbade must not become permitted because
//! it is not there any more.

use std::path::Path;

use crate::keep::Keep;
use crate::trouble::Trouble;

/// In STATE/pairing: which file it was.
const FILE_SEEN: &str = "config-seen";

/// Without a file the defaults hold, but only where there never was one.
///
/// # Errors
/// When there was one, or nobody can tell.
pub(crate) fn nothing(keep: &Keep) -> Result<(), Trouble> {
    match keep.read_document(FILE_SEEN) {
        Ok(None) => Ok(()),
        Ok(Some(before)) => Err(Trouble::line(format!(
            "the file is gone, and with it every rule that it had ({} was in force before); put it back (earlier states stand beside it as NAME.bak.N), \
             or begin a new one, in which the defaults hold, with a first setting: `clawdbot config set gateway.bind loopback`",
            before.as_str()
        ))),
        Err(error) => Err(Trouble::line(format!(
            "whether there was a file before cannot be told: {error}"
        ))),
    }
}

/// Writes down that a file was in force, for the time after a restart.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn remember(keep: &Keep, path: &Path) -> Result<(), Trouble> {
    let path = path.display().to_string();
    let known = keep.read_document(FILE_SEEN);
    if matches!(&known, Ok(Some(known)) if **known == path) {
        return Ok(());
    }
    let written = keep.write_document(FILE_SEEN, &path);
    written.map_err(|error| {
        Trouble::line(format!(
            "that this file is in force cannot be written down, without which a missing file would not be noticed: {error}"
        ))
    })
}

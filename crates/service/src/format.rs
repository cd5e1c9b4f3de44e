//! Files that a newer version has written: one sentence for all of them. They are never changed, since
//! only their writer knows what is in them.

use std::fmt::Display;

/// What is said of a file in a format that is newer than the newest this version reads.
#[must_use]
pub fn newer_format(path: impl Display, found: impl Display, newest: impl Display) -> String {
    format!(
        "{path} has format {found}, and this version of Clawdbot reads formats up to {newest}: a newer version wrote it; nothing in it was changed, install the newer version again"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_names_file_formats_and_remedy() {
        let said = newer_format("/state/queue/inbox.db", 5, 4);
        for word in [
            "/state/queue/inbox.db",
            "format 5",
            "up to 4",
            "newer version",
            "install",
        ] {
            assert!(said.contains(word), "{said}");
        }
    }
}

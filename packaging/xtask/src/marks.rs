//! Parts of written pages that a command fills in: what stands between a comment that names the command and the next
//! `<!-- end -->`. Everything around it is a person's.

use std::path::PathBuf;

use crate::cargo;

const END: &str = "<!-- end -->\n";

/// A page, and the command that writes a part of it.
pub struct Part {
    pub page: &'static str,
    pub command: &'static str,
}

impl Part {
    fn begin(&self) -> String {
        format!("<!-- written by {} -->\n", self.command)
    }

    fn path(&self) -> PathBuf {
        cargo::root().join(self.page)
    }

    /// What stands there now.
    ///
    /// # Errors
    /// When the page cannot be read or has no such part.
    pub fn read(&self) -> Result<String, String> {
        let page = self.page()?;
        let (_, part, _) = split(&page, &self.begin()).ok_or_else(|| self.unmarked())?;
        Ok(part.to_owned())
    }

    /// Puts `text` there.
    ///
    /// # Errors
    /// When the page cannot be read or written or has no such part.
    pub fn write(&self, text: &str) -> Result<(), String> {
        let page = self.page()?;
        let begin = self.begin();
        let (before, _, after) = split(&page, &begin).ok_or_else(|| self.unmarked())?;
        let page = format!("{before}{begin}{text}{END}{after}");
        std::fs::write(self.path(), page).map_err(|error| format!("{}: {error}", self.page))
    }

    fn page(&self) -> Result<String, String> {
        std::fs::read_to_string(self.path()).map_err(|error| format!("{}: {error}", self.page))
    }

    fn unmarked(&self) -> String {
        format!(
            "{}: no line `{}` with `{}` after it",
            self.page,
            self.begin().trim_end(),
            END.trim_end()
        )
    }
}

/// Before the mark, between the marks, after them.
fn split<'a>(page: &'a str, begin: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let (before, rest) = page.split_once(begin)?;
    let (part, after) = rest.split_once(END)?;
    Some((before, part, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_at_the_first_end_after_its_own_beginning() {
        let begin = "<!-- written by b -->\n";
        let page = format!("x\n<!-- written by a -->\n1\n{END}{begin}2\n{END}rest\n");
        let before = format!("x\n<!-- written by a -->\n1\n{END}");
        assert_eq!(
            split(&page, begin),
            Some((before.as_str(), "2\n", "rest\n"))
        );
        assert_eq!(split("no marks", begin), None);
        assert_eq!(split(begin, begin), None);
    }
}

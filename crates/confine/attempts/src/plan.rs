//! What a process is to try, in a file that it reads before it is confined, and what it says about it.
//! A line each: `fact NAME VALUE`, `fd NUMBER`, `free`, `try NAME`.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use crate::answer::word;
use crate::listing::{Attempt, all};
use crate::world::World;

/// Targets and the attempts to make, in this order.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// What they are aimed at.
    pub world: World,
    /// Names of attempts.
    pub attempts: Vec<String>,
}

impl Plan {
    /// The file's text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        for (name, value) in &self.world.facts {
            let _ = writeln!(text, "fact {name} {value}");
        }
        if let Some(fd) = self.world.fd {
            let _ = writeln!(text, "fd {fd}");
        }
        if self.world.free {
            text.push_str("free\n");
        }
        for name in &self.attempts {
            let _ = writeln!(text, "try {name}");
        }
        text
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read or has a line that means nothing.
    pub fn read(path: &Path) -> io::Result<Self> {
        Self::parse(&std::fs::read_to_string(path)?)
    }

    /// Reads its text.
    ///
    /// # Errors
    /// When it has a line that means nothing.
    pub fn parse(text: &str) -> io::Result<Self> {
        let mut plan = Self::default();
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match (word, rest.split_once(' ')) {
                ("fact", Some((name, value))) => {
                    plan.world.facts.insert(name.to_owned(), value.to_owned());
                }
                ("fd", None) => plan.world.fd = Some(rest.parse().map_err(io::Error::other)?),
                ("free", None) => plan.world.free = true,
                ("try", None) => plan.attempts.push(rest.to_owned()),
                _ => return Err(io::Error::other(format!("no line of a plan: {line}"))),
            }
        }
        Ok(plan)
    }

    /// Makes the attempts and says on the standard error what came of each: `try NAME` before,
    /// `got NAME WORD` after it. One that is killed has only the first line.
    pub fn run(&self) {
        for name in &self.attempts {
            say(&format!("try {name}\n"));
            let outcome = match all().find(|attempt| attempt.name == name) {
                Some(Attempt { run, .. }) => word(&run(&self.world)),
                None => "unknown".to_owned(),
            };
            say(&format!("got {name} {outcome}\n"));
        }
    }
}

/// One write for one line, so that no other writer gets into it.
fn say(line: &str) {
    // Nobody hears it: the runner misses the line then.
    let _unheard = io::stderr().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_written_and_nonsense_is_refused() {
        let mut plan = Plan::default();
        let facts = [("canary", "/a path/with spaces"), ("init", "1")];
        plan.world.facts = facts.map(|(a, b)| (a.into(), b.into())).into();
        plan.world.fd = Some(7);
        plan.world.free = true;
        plan.attempts = vec!["file.shadow".into(), "net.tcp4".into()];
        let file = std::env::temp_dir().join(format!("clawdbot-plan.{}", std::process::id()));
        std::fs::write(&file, plan.to_text()).unwrap();
        let again = Plan::read(&file).unwrap();
        assert_eq!(again.to_text(), plan.to_text());
        assert_eq!(again.world.facts["canary"], "/a path/with spaces");
        std::fs::write(&file, "tri net.tcp4\n").unwrap();
        assert!(Plan::read(&file).is_err());
        std::fs::remove_file(&file).unwrap();
    }
}

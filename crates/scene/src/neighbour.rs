//! A process that has nothing to do with the one that makes attempts, but the user.

use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A process of the same user that nothing protects. It ends when its input does.
#[derive(Debug)]
pub struct Neighbour(Child);

impl Neighbour {
    /// Starts `program neighbour FILE`; what it says about itself are facts.
    ///
    /// # Errors
    /// When it cannot be started or says something else.
    pub fn start(program: &Path, file: &Path) -> io::Result<(Self, Vec<(&'static str, String)>)> {
        let mut child = Command::new(program)
            .arg("neighbour")
            .arg(file)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take();
        let neighbour = Self(child);
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let names = ["neighbour", "neighbour-address", "neighbour-fd"];
        let words = line.split_whitespace().map(str::to_owned);
        let facts: Vec<_> = names.into_iter().zip(words).collect();
        match facts.len() == names.len() {
            true => Ok((neighbour, facts)),
            false => Err(io::Error::other(format!(
                "{} does not say what it is",
                program.display()
            ))),
        }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // One that is gone already is as good.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

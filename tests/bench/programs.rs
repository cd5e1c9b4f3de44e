//! Programs that run to their end, from the start to the moment their end is known.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn quiet(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// One run; nothing if there is no such program.
pub fn run(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<Duration> {
    let began = Instant::now();
    quiet(program, arguments).status().ok()?;
    Some(began.elapsed())
}

/// Several at the same time, until the last one has ended.
pub fn side_by_side(count: usize, program: &str) -> Duration {
    let began = Instant::now();
    let all: Vec<_> = (0..count)
        .map(|_| quiet(program, &[]).spawn().unwrap())
        .collect();
    for mut one in all {
        one.wait().unwrap();
    }
    began.elapsed()
}

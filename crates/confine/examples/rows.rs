//! The rows of every profile, a line each: profile, mode, name; for `cargo xtask minimal`.
#![allow(clippy::print_stdout)] // That is what it is for.

use clawdbot_confine::profile::PROFILES;
use clawdbot_confine::seccomp::{Mode, row_name};

fn main() {
    for profile in PROFILES {
        for row in profile.sections.iter().flat_map(|section| section.rows) {
            let mode = match row.mode {
                None => "both",
                Some(Mode::Single) => "single",
                Some(Mode::System) => "system",
            };
            println!("{}\t{mode}\t{}", profile.name, row_name(row));
        }
    }
}

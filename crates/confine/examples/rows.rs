//! The rows of every profile that hold on this architecture, a line each: profile, mode, name; for `cargo xtask minimal`.
#![allow(clippy::print_stdout)] // That is what it is for.

use clawdbot_confine::profile::{Arch, PROFILES, Row};
use clawdbot_confine::seccomp::{Mode, row_name};

fn main() {
    let here = |row: &&Row| Arch::own().is_some_and(|own| row.numbers.on(own).is_some());
    for profile in PROFILES {
        let rows = profile.sections.iter().flat_map(|section| section.rows);
        for row in rows.filter(here) {
            let mode = match row.mode {
                None => "both",
                Some(Mode::Single) => "single",
                Some(Mode::System) => "system",
            };
            println!("{}\t{mode}\t{}", profile.name, row_name(row));
        }
    }
}

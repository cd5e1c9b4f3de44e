//! `cargo xtask escape`: whatever a hijacked process would try, tried inside each process's real confinement, and the
//! matrices of what came of it. A cell that differs from the table of expectations, in either direction, is a failure.

use crate::cargo;
use crate::stage::Stage;
use crate::summary::Summary;
use crate::{Done, orphans, test, user};

/// Tests that write a matrix.
const TESTS: [&str; 4] = ["escape", "protocol", "replay", "dialer"];
/// Those of them that run as root: controls and attempts that only root can make.
const ROOT_TESTS: [&str; 2] = ["root_escape", "root_dialer"];

pub fn run(root: bool) -> Done {
    if root && !user::is_root() {
        eprintln!("xtask: --root makes the attempts that need root, so it has to be run by root");
        return Ok(2);
    }
    let tests = TESTS.iter().chain(ROOT_TESTS.iter().filter(|_| root));
    let mut arguments = vec!["--workspace", "--bins"];
    for test in tests {
        arguments.extend(["--test", test]);
    }
    let built = cargo::build(&arguments)?;
    orphans::adopt();
    let stage = Stage::new(&built, None)?;
    let mut summary = Summary::new();
    for program in built.iter().filter(|program| program.harness) {
        test::run_program(&mut summary, &stage, program, None);
    }
    Ok(summary.close())
}

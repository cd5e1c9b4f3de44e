//! `cargo xtask docs`: the pages of `docs/`, and the units in `systemd/`, that come from the code. The test `docs` of a
//! package compares them; told where, it writes them.

use crate::{Done, cargo};

/// The variable that makes the test write.
const WRITE: &str = "CLAWDBOT_WRITE_DOCS";

pub fn run(check: bool) -> Done {
    let built = cargo::build(&["--workspace", "--test", "docs"])?;
    let tests: Vec<_> = built.iter().filter(|built| built.harness).collect();
    if tests.is_empty() {
        return Err("cargo built no test docs".into());
    }
    let mut failed = 0;
    for test in tests {
        let mut command = cargo::clean(&test.path);
        command.env("CARGO_MANIFEST_DIR", &test.folder);
        match check {
            true => command.env_remove(WRITE),
            false => command.env(WRITE, cargo::root().join("docs")),
        };
        let status = command
            .arg("--quiet")
            .status()
            .map_err(|error| format!("{}: {error}", test.path.display()))?;
        failed |= u8::from(!status.success());
    }
    Ok(failed)
}

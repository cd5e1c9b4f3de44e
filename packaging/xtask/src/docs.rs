//! `cargo xtask docs`: the pages of `docs/` that come from the code. A test compares them; told where, it writes them.

use crate::{Done, cargo};

/// The variable that makes the test write.
const WRITE: &str = "CLAWDBOT_WRITE_DOCS";

pub fn run(check: bool) -> Done {
    let built = cargo::build(&["--workspace", "--test", "docs"])?;
    let test = built
        .iter()
        .find(|built| built.harness)
        .ok_or("cargo built no test docs")?;
    let mut command = cargo::clean(&test.path);
    command.env("CARGO_MANIFEST_DIR", cargo::root().join("tests"));
    match check {
        true => command.env_remove(WRITE),
        false => command.env(WRITE, cargo::root().join("docs")),
    };
    let status = command
        .arg("--quiet")
        .status()
        .map_err(|error| format!("{}: {error}", test.path.display()))?;
    Ok(u8::from(!status.success()))
}

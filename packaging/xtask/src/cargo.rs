//! Runs cargo and learns from its own messages what it built and where. Nothing here guesses a path in the target folder.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The root of the workspace.
pub fn root() -> PathBuf {
    // `cargo run` says where this package lies now; the compiler said where it lay when this was built.
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let package = PathBuf::from(package);
    package.ancestors().nth(2).unwrap_or(&package).to_owned()
}

/// A command without what `cargo run` set for this program: another one would take it for its own.
pub fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let ours = |name: &str| {
            ["CARGO_PKG_", "CARGO_MANIFEST_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        };
        if name.to_str().is_some_and(ours) {
            command.env_remove(name);
        }
    }
    // Folders of the target directory and of the compiler; nothing of ours is linked dynamically.
    command
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("DYLD_FALLBACK_LIBRARY_PATH");
    command
}

/// cargo itself, in the workspace's root, with its progress on the standard error.
pub fn command() -> Command {
    let mut command = clean(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// What a target is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Library,
    Program,
    /// A file of `tests/`.
    Test,
}

/// A program that cargo built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    pub package: String,
    /// The package's folder.
    pub folder: PathBuf,
    pub target: String,
    pub kind: Kind,
    /// Contains tests instead of a `main`.
    pub harness: bool,
    pub path: PathBuf,
}

/// Builds, and returns the programs that resulted.
///
/// # Errors
/// When something does not compile; cargo has said what.
pub fn build(arguments: &[&str]) -> Result<Vec<Built>, String> {
    build_in(None, arguments)
}

/// The same, in a target folder of its own.
///
/// # Errors
/// When something does not compile; cargo has said what.
pub fn build_in(folder: Option<&Path>, arguments: &[&str]) -> Result<Vec<Built>, String> {
    let mut command = command();
    if let Some(folder) = folder {
        command.env("CARGO_TARGET_DIR", folder);
    }
    command.args(["build", "--locked"]).args(arguments);
    built_by(command)
}

/// As [`build`], by a command that is ready but for how it reports.
///
/// # Errors
/// When something does not compile; cargo has said what.
pub fn built_by(mut command: Command) -> Result<Vec<Built>, String> {
    let output = command
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo cannot be started: {error}"))?;
    if !output.status.success() {
        return Err("the build failed".into());
    }
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(lines.lines().filter_map(understand).collect())
}

/// One line of cargo's messages, if it is about a program.
fn understand(line: &str) -> Option<Built> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let kind = match message["target"]["kind"][0].as_str()? {
        "bin" | "example" => Kind::Program,
        "test" => Kind::Test,
        "lib" | "proc-macro" => Kind::Library,
        _ => return None,
    };
    let folder = Path::new(message["manifest_path"].as_str()?)
        .parent()?
        .to_owned();
    Some(Built {
        package: package_name(message["package_id"].as_str()?)?.to_owned(),
        folder,
        target: message["target"]["name"].as_str()?.to_owned(),
        kind,
        harness: message["profile"]["test"] == true,
        path: message["executable"].as_str()?.into(),
    })
}

/// `clawdbot-cli` from `path+file:///…/services/cli#clawdbot-cli@0.1.0`; the name is left out where the folder says it.
fn package_name(id: &str) -> Option<&str> {
    let (place, name) = id.rsplit_once('#')?;
    match name.split_once('@') {
        Some((name, _)) => Some(name),
        None => place.rsplit('/').next(),
    }
}

/// The packages that make up the product: what `cargo build` builds when nothing is named.
///
/// # Errors
/// When cargo does not answer.
pub fn product() -> Result<Vec<String>, String> {
    let answer = metadata()?;
    let members = answer["workspace_default_members"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let names = members
        .iter()
        .filter_map(|id| package_name(id.as_str()?))
        .map(String::from);
    Ok(names.collect())
}

/// Where cargo puts what it builds.
///
/// # Errors
/// When cargo does not answer.
pub fn target() -> Result<PathBuf, String> {
    let answer = metadata()?;
    let place = answer["target_directory"].as_str();
    place
        .map(PathBuf::from)
        .ok_or_else(|| "cargo metadata names no target directory".into())
}

/// The triple of this machine.
///
/// # Errors
/// When the compiler does not answer.
pub fn host() -> Result<String, String> {
    let output = clean(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .arg("-vV")
        .output()
        .map_err(|error| format!("rustc cannot be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(String::from)
        .ok_or_else(|| "rustc does not say what it builds for".into())
}

fn metadata() -> Result<Value, String> {
    let mut command = command();
    command.args([
        "metadata",
        "--no-deps",
        "--format-version=1",
        "--locked",
        "--offline",
    ]);
    let output = command
        .output()
        .map_err(|error| format!("cargo cannot be started: {error}"))?;
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

/// Builds the product as it is shipped, and with it the programs of `further` packages. Those may not ask for features
/// of shared crates that the product does not have, else all would be built twice.
///
/// # Errors
/// When something does not compile.
pub fn build_release(further: &[&str]) -> Result<Vec<Built>, String> {
    let product = product()?;
    let packages = product
        .iter()
        .map(String::as_str)
        .chain(further.iter().copied());
    let mut arguments = vec!["--release", "--bins"];
    for package in packages {
        arguments.extend(["--package", package]);
    }
    build(&arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_program_is_told_from_a_program_and_other_messages_are_passed_over() {
        let line = r#"{"reason":"compiler-artifact","package_id":"path+file:///w/services/cli#clawdbot-cli@0.1.0","manifest_path":"/w/services/cli/Cargo.toml","target":{"kind":["bin"],"name":"clawdbot"},"profile":{"test":true},"executable":"/t/debug/deps/clawdbot-1"}"#;
        let built = understand(line).unwrap();
        assert_eq!(
            (built.package.as_str(), built.target.as_str()),
            ("clawdbot-cli", "clawdbot")
        );
        assert_eq!((built.kind, built.harness), (Kind::Program, true));
        assert_eq!(built.folder, Path::new("/w/services/cli"));
        assert_eq!(
            understand(&line.replace("\"/t/debug/deps/clawdbot-1\"", "null")),
            None
        );
        assert_eq!(
            understand(r#"{"reason":"build-finished","success":true}"#),
            None
        );
    }

    #[test]
    fn a_package_is_named_by_its_id() {
        assert_eq!(
            package_name("path+file:///w/packaging/xtask#0.1.0"),
            Some("xtask")
        );
        assert_eq!(
            package_name("path+file:///w/services/cli#clawdbot-cli@0.1.0"),
            Some("clawdbot-cli")
        );
        assert_eq!(package_name("nonsense"), None);
    }
}

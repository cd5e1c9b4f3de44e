//! `cargo xtask units`: what systemd itself says of the files in `systemd/`. Two of its tools read them in a root folder
//! that holds nothing but these files and stand-ins for the programs: `systemd-analyze verify` must have nothing to say,
//! and `systemd-analyze security` must find no service more exposed than it may be. docs/hardening.md shows its figures.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::marks::Part;
use crate::{Done, cargo, peers, user};

const PART: Part = Part {
    page: "docs/hardening.md",
    command: "cargo xtask units --write",
};

/// The tool, and the Debian package that has it.
pub const TOOL: (&[&str], &str) = (&["systemd-analyze", "--version"], "systemd");

/// The version whose figures the page shows: the oldest that the units are for.
const SHOWN: &str = "252";

/// Most that a service may be exposed, in tenths.
const LIMIT: u32 = 4;
/// Whoever opens connections to the Internet is exposed to it.
const EXCEPTIONS: &[(&str, u32)] = &[("clawdbot-dialer.service", 10)];

/// What a unit needs to be there that is not ours.
const FOREIGN: &[&str] = &[
    "sysinit.target",
    "basic.target",
    "shutdown.target",
    "multi-user.target",
    "sockets.target",
    "paths.target",
    "slices.target",
    "-.slice",
    "-.mount",
    "tmp.mount",
    "system.slice",
    "default.target",
];

pub fn run(write: bool) -> Done {
    if !peers::works(TOOL.0) && user::is_root() {
        peers::need(&[TOOL])?;
    }
    let version = version()?;
    let root = Root::new()?;
    let mut failed = 0;
    let said = root.verify()?;
    if !said.is_empty() {
        println!("systemd-analyze verify:\n{said}");
        failed = 1;
    }
    let mut rows = Vec::new();
    for unit in root.units(".service")? {
        let tenths = root.exposure(&unit)?;
        rows.push((unit, tenths));
    }
    if rows.is_empty() {
        return Err("systemd/system has no services".into());
    }
    let table = table(&rows);
    println!("systemd {version}\n\n{table}");
    for (unit, tenths) in &rows {
        if *tenths > limit(unit) {
            println!("{unit} is more exposed than it may be");
            failed = 1;
        }
    }
    if write {
        PART.write(&format!("With systemd {version}:\n\n{table}"))?;
    } else if version == SHOWN && !PART.read()?.ends_with(&table) {
        println!("{} shows something else; run `{}`", PART.page, PART.command);
        failed = 1;
    }
    Ok(failed)
}

fn limit(unit: &str) -> u32 {
    let exception = EXCEPTIONS.iter().find(|(name, _)| *name == unit);
    exception.map_or(LIMIT, |(_, tenths)| *tenths)
}

fn table(rows: &[(String, u32)]) -> String {
    let mut table = String::from("| Service | Exposure | at most |\n|---|---:|---:|\n");
    for (unit, tenths) in rows {
        let limit = limit(unit);
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| {unit} | {}.{} | {}.{} |",
            tenths / 10,
            tenths % 10,
            limit / 10,
            limit % 10
        );
    }
    table
}

/// `252` of `systemd 252 (252.39-1~deb12u2)`.
fn version() -> Result<String, String> {
    let text = output(Command::new(TOOL.0[0]).arg("--version"))
        .map_err(|error| format!("{error}; it comes with Debian's package {}", TOOL.1))?;
    let number = text.0.split(' ').nth(1);
    number
        .map(str::to_owned)
        .ok_or_else(|| format!("systemd-analyze says of its version: {}", text.0))
}

/// Both outputs of a command, whatever its exit status.
fn output(command: &mut Command) -> Result<(String, String), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .env("SYSTEMD_COLORS", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((text(&output.stdout), text(&output.stderr)))
}

/// A root folder with the units and what they name. Dropping it removes it.
struct Root(PathBuf);

impl Root {
    fn new() -> Result<Self, String> {
        let place = std::env::temp_dir().join(format!("clawdbot-units.{}", std::process::id()));
        let root = Self(place);
        root.fill()
            .map_err(|error| format!("{}: {error}", root.0.display()))?;
        Ok(root)
    }

    fn folder(&self) -> PathBuf {
        self.0.join("usr/lib/systemd/system")
    }

    fn fill(&self) -> std::io::Result<()> {
        let folder = self.folder();
        fs::create_dir_all(&folder)?;
        for name in FOREIGN {
            let section = match name.ends_with(".mount") {
                true => "[Mount]\nWhat=none\nWhere=/\n",
                false => "",
            };
            let section = match *name {
                "tmp.mount" => "[Mount]\nWhat=tmpfs\nWhere=/tmp\n",
                _ => section,
            };
            fs::write(
                folder.join(name),
                format!("[Unit]\nDescription=stand-in\n{section}"),
            )?;
        }
        for entry in fs::read_dir(cargo::root().join("systemd/system"))? {
            let entry = entry?;
            let text = fs::read_to_string(entry.path())?;
            for program in programs(&text) {
                self.stand_in(program)?;
            }
            fs::write(folder.join(entry.file_name()), text)?;
        }
        Ok(())
    }

    /// A program that can be executed. A template's instance is unknown, so all that there could be are there.
    fn stand_in(&self, program: &str) -> std::io::Result<()> {
        for instance in ["telegram", "i"] {
            let program = program.replace("%i", instance);
            let path = self.0.join(program.trim_start_matches('/'));
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&path, "#!/bin/sh\n")?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    /// Names of the units, sorted.
    fn units(&self, ending: &str) -> Result<Vec<String>, String> {
        let folder = cargo::root().join("systemd/system");
        let entries =
            fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| name.ends_with(ending)).collect();
        names.sort();
        Ok(names)
    }

    fn tool(&self, verb: &str) -> Command {
        let mut command = Command::new(TOOL.0[0]);
        command
            .arg(format!("--root={}", self.0.display()))
            .arg(verb);
        command
    }

    /// What is wrong with the units, nothing if all is well.
    fn verify(&self) -> Result<String, String> {
        // The manual is in another place; templates are read with an instance of their own.
        let mut command = self.tool("verify");
        command.args(["--man=no", "--recursive-errors=yes"]);
        for unit in self.units("")? {
            command.arg(self.folder().join(instantiated(&unit)));
        }
        let (out, err) = output(&mut command)?;
        let lines = out
            .lines()
            .chain(err.lines())
            .filter(|line| !line.is_empty());
        Ok(lines.map(|line| format!("{line}\n")).collect())
    }

    /// Tenths, as the tool's last line has them.
    fn exposure(&self, unit: &str) -> Result<u32, String> {
        let mut command = self.tool("security");
        command.args(["--offline=true", "--no-pager", unit]);
        let (out, err) = output(&mut command)?;
        parse(&out).ok_or_else(|| format!("systemd-analyze security {unit} said:\n{out}{err}"))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // Nothing of worth stays behind.
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// The programs that a unit starts.
fn programs(text: &str) -> impl Iterator<Item = &str> {
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("ExecStart="));
    lines.filter_map(|line| line.trim_start_matches('-').split(' ').next())
}

/// A template with an instance.
fn instantiated(unit: &str) -> String {
    unit.replace("@.", "@telegram.")
}

/// 4 of `→ Overall exposure level for clawdbot-policy.service: 0.4 SAFE`.
fn parse(text: &str) -> Option<u32> {
    let (_, rest) = text.rsplit_once("Overall exposure level for ")?;
    let (whole, tenth) = rest.split(' ').nth(1)?.split_once('.')?;
    Some(whole.parse::<u32>().ok()? * 10 + tenth.parse::<u32>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposure_is_the_last_line_s_number() {
        let text = "✗ RootDirectory= … 0.1\n\n→ Overall exposure level for clawdbot-policy.service: 0.4 SAFE :-)\n";
        assert_eq!(parse(text), Some(4));
        let ten = "→ Overall exposure level for clawdbot-dialer.service: 1.0 OK\n";
        assert_eq!(parse(ten), Some(10));
        assert_eq!(parse("Failed to load unit"), None);
    }

    #[test]
    fn only_the_dialer_may_be_exposed_to_the_internet() {
        assert_eq!(limit("clawdbot-dialer.service"), 10);
        assert_eq!(limit("clawdbot-policy.service"), 4);
        assert_eq!(limit("clawdbot-dialer2.service"), 4);
    }

    #[test]
    fn programs_are_read_from_the_unit() {
        let text = "[Service]\nExecStart=/usr/libexec/clawdbot/clawdbot-agent %i\nUser=x\nExecStart=-/a b\n";
        let found: Vec<_> = programs(text).collect();
        assert_eq!(found, ["/usr/libexec/clawdbot/clawdbot-agent", "/a"]);
        assert_eq!(instantiated("a@.service"), "a@telegram.service");
        assert_eq!(instantiated("a.service"), "a.service");
    }
}

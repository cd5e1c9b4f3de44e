//! The assistant as a unit of this user's own service manager. A unit that somebody changed is never replaced or removed.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clawdbot_identity::text::sanitize_line;
use serde_json::json;

use super::report;
use super::unit::{Whose, starts, text, whose};
use crate::args::Service;
use crate::failure::{EXIT_NOT_RUNNING, EXIT_USAGE, Failure};
use crate::manager::{Manager, program, run as run_program};
use crate::out::Out;
use crate::place::Place;
use crate::{check, dial};

const UNIT: &str = "clawdbot.service";
/// What its absence of a log-in means, and what ends it.
const LINGER: &str = "it runs while you are logged in; to have it run from the start of the machine on: loginctl enable-linger";

/// Does what is wanted.
///
/// # Errors
/// As for [`super::run`].
pub fn run(wanted: Service, place: &Place, out: Out) -> Result<u8, Failure> {
    let path = unit_path(&|name| std::env::var_os(name))?;
    let changes = match wanted {
        Service::Install => install(&path, place, out)?,
        Service::Uninstall => uninstall(&path)?,
        Service::Start | Service::Restart => {
            check::load(place, out)?;
            installed(&path)?;
            Manager::User.act(&["reset-failed", "--", UNIT])?;
            let verb = if wanted == Service::Start {
                "start"
            } else {
                "restart"
            };
            Manager::User.act(&[verb, "--", UNIT])?;
            Vec::new()
        }
        Service::Stop => {
            installed(&path)?;
            Manager::User.act(&["stop", "--", UNIT])?;
            Vec::new()
        }
        Service::Status => return status(&path, out),
    };
    report(wanted, "user", &changes, &[], out)
}

fn install(path: &Path, place: &Place, out: Out) -> Result<Vec<String>, Failure> {
    check::load(place, out)?;
    let own = std::env::current_exe()?;
    let wanted = text(&own, &arguments(place, &|name| std::env::var_os(name)));
    let mut changes = Vec::new();
    match read(path)? {
        Some(there) if there == wanted => {}
        Some(there) if whose(&there) == Whose::Theirs => return Err(changed(path)),
        _ => {
            crate::apply::write(path, &wanted).map_err(|error| {
                Failure::new("service.write", format!("{}: {error}", path.display()))
            })?;
            changes.push(format!("unit {}", path.display()));
        }
    }
    Manager::User.act(&["daemon-reload"])?;
    Manager::User.act(&["enable", "--", UNIT])?;
    let runs = Manager::User.show(&["ActiveState"], &[UNIT])?;
    let runs = runs
        .first()
        .is_some_and(|unit| unit.get("ActiveState") == "active");
    match !runs && dial::answers(&place.state) {
        true => changes
            .push("clawdbot up runs here already: end it, then clawdbot service start".to_owned()),
        false => {
            Manager::User.act(&["reset-failed", "--", UNIT])?;
            Manager::User.act(&["start", "--", UNIT])?;
        }
    }
    if !lingers() {
        changes.push(LINGER.to_owned());
    }
    Ok(changes)
}

fn uninstall(path: &Path) -> Result<Vec<String>, Failure> {
    let there = installed(path)?;
    Manager::User.act(&["disable", "--now", "--", UNIT])?;
    let change = match whose(&there) {
        Whose::Ours => {
            fs::remove_file(path)?;
            format!("{} is removed", path.display())
        }
        Whose::Theirs => format!("{} was changed and stays", path.display()),
    };
    Manager::User.act(&["daemon-reload"])?;
    Ok(vec![change])
}

fn status(path: &Path, out: Out) -> Result<u8, Failure> {
    let there = installed(path)?;
    let properties = [
        "Id",
        "ActiveState",
        "SubState",
        "UnitFileState",
        "MainPID",
        "NRestarts",
        "Result",
        "DropInPaths",
    ];
    let unit = Manager::User.show(&properties, &[UNIT])?;
    let unit = unit.into_iter().next().unwrap_or_default();
    let (state, enabled) = (unit.get("ActiveState"), unit.get("UnitFileState"));
    let changed = whose(&there) == Whose::Theirs;
    if out.json {
        out.value(&json!({
            "manager": "user", "running": state == "active", "unit": UNIT, "file": path.display().to_string(),
            "changed": changed, "state": state, "enabled": enabled == "enabled",
            "pid": unit.number("MainPID"), "restarts": unit.number("NRestarts"),
            "dropIns": unit.get("DropInPaths").split_whitespace().collect::<Vec<_>>(), "lingers": lingers(),
        }))?;
    } else {
        let pid = unit.number("MainPID");
        let mut text = format!("{UNIT}: {state} ({}), {enabled}", unit.get("SubState"));
        if pid != 0 {
            text.push_str(&format!(", process {pid}"));
        }
        text.push_str(&format!(
            "\n{}{}\n",
            path.display(),
            if changed { ", changed by hand" } else { "" }
        ));
        for drop_in in unit.get("DropInPaths").split_whitespace() {
            text.push_str(&format!("{drop_in}\n"));
        }
        if !lingers() {
            text.push_str(&format!("{LINGER}\n"));
        }
        let lines: Vec<_> = text.lines().map(sanitize_line).collect();
        out.text(&lines.join("\n"))?;
    }
    Ok(if state == "active" {
        0
    } else {
        EXIT_NOT_RUNNING
    })
}

/// Whether this user's own service manager has a unit for the assistant in this place.
pub fn has_unit(place: &Place) -> bool {
    let env = |name: &str| std::env::var_os(name);
    let unit = unit_path(&env).and_then(|path| read(&path));
    let unit = unit.ok().flatten();
    unit.is_some_and(|unit| starts(&unit, &arguments(place, &env)))
}

fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::new(
            "service.read",
            format!("{}: {error}", path.display()),
        )),
    }
}

fn installed(path: &Path) -> Result<String, Failure> {
    read(path)?.ok_or_else(|| {
        Failure::new(
            "service.missing",
            "the assistant is not installed as a service of this user",
        )
        .exit(EXIT_NOT_RUNNING)
        .remedy("clawdbot service install")
    })
}

fn changed(path: &Path) -> Failure {
    Failure::new(
        "service.changed",
        format!("{} was changed by hand or written by somebody else, so it is left as it is", path.display()),
    )
    .remedy(format!(
        "put your changes into a drop-in (systemctl --user edit {UNIT}), move the file away, then install again"
    ))
}

/// Whether this user's services run without a log-in. Nobody who could say it: no.
fn lingers() -> bool {
    let mut command = program("loginctl");
    command.args(["show-user", "--property=Linger", "--value"]);
    command.arg(rustix::process::getuid().as_raw().to_string());
    run_program(&mut command, "loginctl show-user").is_ok_and(|said| said.trim() == "yes")
}

/// Where a user's own units are.
fn unit_path(env: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf, Failure> {
    let folder = |name: &str| {
        env(name)
            .map(PathBuf::from)
            .filter(|folder| folder.is_absolute())
    };
    let config = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")));
    let config = config.ok_or_else(|| {
        Failure::new("place", "there is no home directory to put a unit in")
            .exit(EXIT_USAGE)
            .remedy("set HOME")
    })?;
    Ok(config.join("systemd/user").join(UNIT))
}

/// What has to be said where this call's flags or variables say it: the service manager has neither.
fn arguments(place: &Place, env: &dyn Fn(&str) -> Option<OsString>) -> Vec<String> {
    let usual = env("HOME").map(|home| PathBuf::from(home).join(".clawdbot"));
    let mut words = Vec::new();
    if Some(&place.state) != usual.as_ref() {
        words.extend(["--state-dir".to_owned(), place.state.display().to_string()]);
    }
    if place.config != place.state.join("clawdbot.json") {
        words.extend(["--config".to_owned(), place.config.display().to_string()]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_lies_where_the_users_manager_looks() {
        let with = |config: Option<&'static str>, home: Option<&'static str>| {
            unit_path(&|name| match name {
                "XDG_CONFIG_HOME" => config.map(Into::into),
                "HOME" => home.map(Into::into),
                _ => None,
            })
        };
        let unit = "systemd/user/clawdbot.service";
        assert_eq!(
            with(None, Some("/home/u")).unwrap(),
            Path::new("/home/u/.config").join(unit)
        );
        assert_eq!(
            with(Some("/c"), Some("/home/u")).unwrap(),
            Path::new("/c").join(unit)
        );
        assert_eq!(
            with(Some("relative"), Some("/h")).unwrap(),
            Path::new("/h/.config").join(unit)
        );
        assert_eq!(with(None, None).unwrap_err().exit, 2);
    }

    #[test]
    fn places_that_the_manager_cannot_know_are_arguments() {
        let place = |state: &str, config: &str| Place {
            state: state.into(),
            config: config.into(),
            ..Place::default()
        };
        let words = |place: &Place| {
            arguments(place, &|name| (name == "HOME").then(|| "/home/u".into())).join(" ")
        };
        assert_eq!(
            words(&place(
                "/home/u/.clawdbot",
                "/home/u/.clawdbot/clawdbot.json"
            )),
            ""
        );
        assert_eq!(words(&place("/s", "/s/clawdbot.json")), "--state-dir /s");
        let unit = |arguments: &[String]| text(Path::new("/my bin/clawdbot"), arguments);
        let (usual, other) = (&[][..], &["--state-dir".to_owned(), "/s".to_owned()][..]);
        for (unit, own, foreign) in [
            (unit(usual), usual, other),
            (unit(other), other, usual),
            (
                "[Service]\nExecStart=/b/clawdbot up\n".to_owned(),
                usual,
                other,
            ),
        ] {
            assert!(starts(&unit, own) && !starts(&unit, foreign), "{unit}");
        }
        assert!(!starts("", usual) && !starts("ExecStart=up", usual));
        assert_eq!(
            words(&place("/s", "/c.json")),
            "--state-dir /s --config /c.json"
        );
    }
}

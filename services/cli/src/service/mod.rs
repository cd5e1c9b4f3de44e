//! `clawdbot service`: the units of the package where it is installed, else one unit of this user's service manager that
//! runs `clawdbot up`. Nothing is started with a configuration that does not load.

mod unit;
mod user;

use std::path::Path;

use clawdbot_identity::Role;
use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::v1::Process;
use clawdbot_service::system::{TARGET, service_unit};
use serde_json::{Value, json};

use crate::args::Service;
use crate::failure::{EXIT_FAILURE, EXIT_NOT_RUNNING, Failure};
use crate::manager::{Manager, NO_MANAGER, Processes, Seen, SocketUnit, planned, units};
use crate::out::{Out, duration, table};
use crate::place::{Mode, Place};
use crate::{apply, check, rights};

pub use self::user::has_unit;

/// Does what is wanted.
///
/// # Errors
/// Exit status 77 without the rights, 78 for an invalid configuration, else what the service manager says.
pub fn run(wanted: Service, place: &Place, out: Out) -> Result<u8, Failure> {
    match &place.mode {
        Mode::System { runtime } => {
            if wanted == Service::Status {
                let seen = Seen::look(&units(runtime));
                let sockets = seen.sockets.clone().unwrap_or_default();
                return status(&seen.processes(runtime)?, sockets, out);
            }
            rights::root_only("this")?;
            let changes = act(wanted, runtime, place, out)?;
            let problems = match wanted {
                Service::Stop | Service::Uninstall => Vec::new(),
                _ => Processes::ask(runtime)?.problems,
            };
            report(wanted, "system", &changes, &problems, out)
        }
        Mode::Single => {
            // Without a manager of this user's nothing else can be done.
            Manager::User.show(&["Version"], &[]).map_err(nobody)?;
            user::run(wanted, place, out)
        }
    }
}

fn nobody(failure: Failure) -> Failure {
    if failure.code != NO_MANAGER {
        return failure;
    }
    Failure::new(
        "service.none",
        "there is no service manager that could run the assistant for this user",
    )
    .remedy("clawdbot up runs it in the foreground; on a machine with systemd log in as this user, not by su or sudo")
}

fn act(wanted: Service, runtime: &Path, place: &Place, out: Out) -> Result<Vec<String>, Failure> {
    match wanted {
        Service::Install | Service::Start | Service::Restart => start(wanted, runtime, place, out),
        Service::Stop => stop(runtime).map(|()| Vec::new()),
        Service::Uninstall => {
            Manager::System.act(&["disable", "--", TARGET])?;
            stop(runtime).map(|()| Vec::new())
        }
        Service::Status => Ok(Vec::new()),
    }
}

/// Everything goes with the target, sockets included, so that nothing starts the other again. The target is gone at once,
/// so whatever lives is waited for; quietly, since else each service is looked at for who could start it, socket by socket.
fn stop(runtime: &Path) -> Result<(), Failure> {
    let seen = Processes::ask(runtime)?;
    Manager::System.act(&["stop", "--", TARGET])?;
    let lives = |process: &&Process| process.state != "stopped" && process.state != "failed";
    let roles = seen
        .processes
        .iter()
        .filter(lives)
        .map(|process| &process.role);
    let units: Vec<String> = roles
        .filter_map(|role| Role::parse(role).ok())
        .map(|role| service_unit(&role))
        .collect();
    if units.is_empty() {
        return Ok(());
    }
    let mut arguments = vec!["--quiet", "stop", "--"];
    arguments.extend(units.iter().map(String::as_str));
    Manager::System.act(&arguments)
}

fn start(wanted: Service, runtime: &Path, place: &Place, out: Out) -> Result<Vec<String>, Failure> {
    let manager = Manager::System;
    let read = || check::load(place, out);
    let mut applied = None;
    in_turn(wanted, |part| match part {
        Part::Load => read().map(drop),
        Part::Enable => manager.act(&["enable", "--", TARGET]),
        Part::Ready => apply::ready(&read()?.config),
        Part::Stop => stop(runtime),
        Part::Apply => {
            applied = Some(apply::now(read, out.verbose && !out.json)?);
            Ok(())
        }
        Part::Start => {
            // What failed before is tried again, sockets included.
            manager.act(&["reset-failed", "--", "clawdbot-*"])?;
            manager.act(&["start", "--", TARGET])?;
            start_planned(runtime);
            Ok(())
        }
        Part::Judge => applied.as_ref().map_or(Ok(()), apply::Applied::judge),
    })?;
    Ok(applied.map_or_else(Vec::new, |applied| applied.changes))
}

/// Their path units would start them a moment later, and until then they would seem not to run. How that ends is looked at
/// with everything else.
fn start_planned(runtime: &Path) {
    let roles = planned(runtime);
    let roles = roles.iter().filter_map(|role| Role::parse(role).ok());
    let units: Vec<String> = roles.map(|role| service_unit(&role)).collect();
    if units.is_empty() {
        return;
    }
    let mut arguments = vec!["--no-block", "start", "--"];
    arguments.extend(units.iter().map(String::as_str));
    let _looked_at_later = Manager::System.act(&arguments);
}

/// One part of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The configuration loads.
    Load,
    /// It is started with the machine from now on.
    Enable,
    /// Nothing is in the way of applying it.
    Ready,
    Stop,
    Apply,
    Start,
    /// Everything listens.
    Judge,
}

/// The parts of what is wanted. Nothing stops before it is known that it can be started again; and what cannot be applied
/// keeps nothing down that could run without it.
fn in_turn(
    wanted: Service,
    mut act: impl FnMut(Part) -> Result<(), Failure>,
) -> Result<(), Failure> {
    act(Part::Load)?;
    if wanted == Service::Install {
        act(Part::Enable)?;
    }
    if wanted == Service::Restart {
        act(Part::Ready)?;
        act(Part::Stop)?;
    }
    let applied = act(Part::Apply);
    let started = act(Part::Start);
    // The first failure is the one to tell.
    applied.and(started)?;
    act(Part::Judge)
}

fn report(
    wanted: Service,
    manager: &str,
    changes: &[String],
    problems: &[String],
    out: Out,
) -> Result<u8, Failure> {
    let what = match wanted {
        Service::Install => "installed, and started",
        Service::Uninstall => {
            "stopped, and no longer started with the machine; the configuration and all state stay"
        }
        Service::Start => "started",
        Service::Stop => "stopped",
        Service::Restart => "started anew",
        Service::Status => "",
    };
    if out.json {
        out.value(
            &json!({ "manager": manager, "done": what, "changes": changes, "problems": problems }),
        )?;
    } else {
        let mut text = String::new();
        for change in changes {
            text.push_str(&format!("{}\n", sanitize_line(change)));
        }
        for problem in problems {
            text.push_str(&format!(
                "{} {}\n",
                out.style.red("problem:"),
                sanitize_line(problem)
            ));
        }
        if problems.is_empty() {
            text.push_str(what);
        }
        out.text(&text)?;
    }
    Ok(if problems.is_empty() { 0 } else { EXIT_FAILURE })
}

/// The units of the package.
fn status(seen: &Processes, sockets: Vec<SocketUnit>, out: Out) -> Result<u8, Failure> {
    let rows: Vec<(String, &Process)> = seen
        .processes
        .iter()
        .filter_map(|process| Some((service_unit(&Role::parse(&process.role).ok()?), process)))
        .collect();
    let (listening, silent): (Vec<_>, Vec<_>) = sockets
        .into_iter()
        .partition(|socket| socket.active == "active");
    let silent: Vec<String> = silent
        .into_iter()
        .map(|socket| format!("{} ({})", socket.name, socket.active))
        .collect();
    let stopped = seen.is_stopped();
    if out.json {
        let units: Vec<Value> = rows
            .iter()
            .map(|(unit, process)| {
                json!({
                    "unit": unit, "role": process.role, "state": process.state, "status": process.status,
                    "pid": (process.pid != 0).then_some(process.pid), "restarts": process.restarts,
                    "sinceMs": process.uptime_ms,
                })
            })
            .collect();
        out.value(&json!({
            "manager": "system", "running": !stopped, "units": units,
            "sockets": { "listening": listening.len(), "silent": silent }, "problems": seen.problems,
        }))?;
    } else {
        let lines: Vec<[String; 5]> = rows
            .iter()
            .map(|(unit, process)| {
                [
                    unit.clone(),
                    process.state.clone(),
                    duration(process.uptime_ms),
                    process.restarts.to_string(),
                    process.status.clone(),
                ]
            })
            .collect();
        let heading = ["UNIT", "STATE", "SINCE", "RESTARTS", "SAYS"];
        let mut text = table(out.style, heading, &lines);
        text.push_str(&format!("\n{} sockets listen", listening.len()));
        if !stopped && !silent.is_empty() {
            text.push_str(&format!("; not: {}", sanitize_line(&silent.join(", "))));
        }
        text.push('\n');
        if stopped {
            text.push_str("everything is stopped: sudo clawdbot service start\n");
        }
        out.text(&text)?;
    }
    Ok(match (stopped, seen.problems.is_empty()) {
        (true, _) => EXIT_NOT_RUNNING,
        (_, false) => EXIT_FAILURE,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::Part::{Apply, Enable, Judge, Load, Ready, Start, Stop};
    use super::*;

    #[test]
    fn nothing_stays_down_for_what_cannot_be_applied() {
        // What is wanted, the part that fails, and those that are tried.
        for (wanted, fails, tried) in [
            (
                Service::Restart,
                None,
                &[Load, Ready, Stop, Apply, Start, Judge][..],
            ),
            (Service::Restart, Some(Load), &[Load]),
            (Service::Restart, Some(Ready), &[Load, Ready]),
            (
                Service::Restart,
                Some(Apply),
                &[Load, Ready, Stop, Apply, Start],
            ),
            (
                Service::Restart,
                Some(Start),
                &[Load, Ready, Stop, Apply, Start],
            ),
            (Service::Start, None, &[Load, Apply, Start, Judge]),
            (Service::Start, Some(Load), &[Load]),
            (Service::Start, Some(Apply), &[Load, Apply, Start]),
            (Service::Start, Some(Judge), &[Load, Apply, Start, Judge]),
            (Service::Install, None, &[Load, Enable, Apply, Start, Judge]),
            (Service::Install, Some(Load), &[Load]),
            (Service::Install, Some(Apply), &[Load, Enable, Apply, Start]),
        ] {
            let mut parts = Vec::new();
            let result = in_turn(wanted, |part| {
                parts.push(part);
                match Some(part) == fails {
                    true => Err(Failure::new("x", format!("{part:?}"))),
                    false => Ok(()),
                }
            });
            assert_eq!(
                result.err().map(|failure| failure.message),
                fails.map(|part| format!("{part:?}"))
            );
            assert_eq!(parts, tried);
        }
        // Of two failures the first.
        let result = in_turn(Service::Start, |part| match part {
            Apply | Start => Err(Failure::new("x", format!("{part:?}"))),
            _ => Ok(()),
        });
        assert_eq!(result.unwrap_err().message, "Apply");
    }
}

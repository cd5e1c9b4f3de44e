//! `clawdbot apply`: brings what root has to make (users, socket units, the front door's address) in line with the
//! configuration. Everything else follows the configuration by itself. Done twice it does nothing the second time.

mod execute;
mod plan;
mod wanted;

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clawdbot_config::Config;
use clawdbot_identity::text::sanitize_line;
use clawdbot_service::system::{LISTENER_UNIT, TARGET};
use serde_json::json;

pub use self::execute::write;
use self::plan::{Loaded, Plan, Seen, Step, plan};
pub use self::wanted::Needs;
use self::wanted::{UNITS, USERS, Wanted, listener_file, target_file};
use crate::check;
use crate::failure::{EXIT_FAILURE, Failure};
use crate::manager::{self, Manager, SOCKETS, SocketUnit};
use crate::out::Out;
use crate::place::Place;
use crate::rights;

/// The command that does what [`pending`] names.
pub const COMMAND: &str = "sudo clawdbot apply";

fn unit_path(unit: &str) -> PathBuf {
    Path::new(UNITS).join(unit)
}

/// Does it, or only says what there is to do: exit status 1 then, when there is something.
///
/// # Errors
/// Exit status 77 without root, 78 for an invalid configuration, else when a step fails.
pub fn run(check_only: bool, place: &Place, out: Out) -> Result<u8, Failure> {
    if !place.is_system() {
        return nothing(
            place,
            out,
            "clawdbot up brings everything in line by itself, so there is nothing to apply",
        );
    }
    if !check_only {
        rights::root_only("apply")?;
    }
    let loaded = check::read(place, out)?;
    let needs = Needs::of(&loaded.config);
    if check_only {
        return check_by(&needs, place, out);
    }
    let wanted = Wanted::of(&needs);
    let plan = bring(&wanted, out.verbose && !out.json)?;
    match plan.changes.is_empty() {
        true => nothing(
            place,
            out,
            "nothing to do: everything is as the configuration wants it",
        ),
        false => told(&plan, place, out),
    }
}

/// Says what there is to do: exit status 1 when there is something.
///
/// # Errors
/// When what is there cannot be read.
pub fn check_by(needs: &Needs, place: &Place, out: Out) -> Result<u8, Failure> {
    let wanted = Wanted::of(needs);
    show(&plan(&look(&wanted, &asked())?, &wanted), place, out)
}

/// Brings everything in line, for commands that do it on the way, and tells each step if `tell`. What was done, for people.
///
/// # Errors
/// When a step fails.
pub fn now(config: &Config, tell: bool) -> Result<Vec<String>, Failure> {
    bring(&Wanted::of(&Needs::of(config)), tell).map(|plan| plan.changes)
}

/// What apply would do by what the service manager said, for people; nothing when everything is in line, or this machine's
/// units cannot be seen.
pub fn pending(needs: &Needs, seen: &manager::Seen) -> Vec<String> {
    let wanted = Wanted::of(needs);
    match look(&wanted, seen) {
        Ok(seen) => {
            let plan = plan(&seen, &wanted);
            [plan.changes, plan.refused].concat()
        }
        Err(_) => Vec::new(),
    }
}

fn bring(wanted: &Wanted, tell: bool) -> Result<Plan, Failure> {
    // One at a time; the lock ends with the descriptor.
    let folder = fs::File::open(UNITS)?;
    folder.lock()?;
    let plan = plan(&look(wanted, &asked())?, wanted);
    refusal(&plan)?;
    execute::all(&plan.steps, tell)?;
    if plan.steps.contains(&Step::Start) {
        judge(wanted)?;
    }
    Ok(plan)
}

/// Whether everything listens that should. The start itself does not say.
///
/// # Errors
/// What does not, and why that is so most of the time.
fn judge(wanted: &Wanted) -> Result<(), Failure> {
    let (active, _) = sockets(&Manager::System.sockets(SOCKETS)?);
    if !active.contains(LISTENER_UNIT) {
        return Err(front_door(wanted));
    }
    match wanted.sockets.keys().find(|unit| !active.contains(*unit)) {
        None => Ok(()),
        Some(unit) => Err(
            Failure::new("apply.socket", format!("{unit} does not listen"))
                .remedy(format!("systemctl status {unit}")),
        ),
    }
}

/// Whether the front door listens after a start, which itself does not say.
///
/// # Errors
/// When it does not.
pub fn judge_start(config: &Config) -> Result<(), Failure> {
    judge(&Wanted::of(&Needs::of(config)))
}

fn front_door(wanted: &Wanted) -> Failure {
    let (address, port) = (wanted.address, wanted.address.port());
    Failure::new(
        "apply.listen",
        format!("the front door cannot listen at {address}"),
    )
    .remedy(format!(
        "most likely the port is taken: ss -ltnp 'sport = :{port}' shows by whom; then {COMMAND}"
    ))
}

fn refusal(plan: &Plan) -> Result<(), Failure> {
    match plan.refused.as_slice() {
        [] => Ok(()),
        refused => Err(Failure::new("apply.refused", refused.join("; ")).remedy(
            "nothing is changed; move the file away or change the setting, then apply again",
        )),
    }
}

fn nothing(place: &Place, out: Out, text: &str) -> Result<u8, Failure> {
    match out.json {
        true => out.value(&json!({ "mode": place.mode.name(), "pending": false, "applied": false, "changes": [], "refused": [] }))?,
        false => out.text(text)?,
    }
    Ok(0)
}

fn told(plan: &Plan, place: &Place, out: Out) -> Result<u8, Failure> {
    match out.json {
        true => out.value(&json!({ "mode": place.mode.name(), "pending": false, "applied": true, "changes": plan.changes, "refused": [] }))?,
        false => out.text(&lines(&plan.changes))?,
    }
    Ok(0)
}

/// What `--check` says.
fn show(plan: &Plan, place: &Place, out: Out) -> Result<u8, Failure> {
    let pending = !(plan.changes.is_empty() && plan.refused.is_empty());
    if !pending {
        return nothing(
            place,
            out,
            "nothing to do: everything is as the configuration wants it",
        );
    }
    let steps: Vec<String> = plan.steps.iter().map(Step::text).collect();
    match out.json {
        true => out.value(&json!({
            "mode": place.mode.name(), "pending": true, "applied": false,
            "changes": plan.changes, "refused": plan.refused, "steps": steps,
        }))?,
        false => {
            let mut text = lines(&plan.changes);
            if out.verbose {
                text.push_str(&lines(&steps));
            }
            text.push_str(&lines(&plan.refused));
            out.text(&format!("{text}to be done: {COMMAND}"))?;
        }
    }
    Ok(EXIT_FAILURE)
}

fn lines(texts: &[String]) -> String {
    texts
        .iter()
        .map(|text| format!("{}\n", sanitize_line(text)))
        .collect()
}

fn asked() -> manager::Seen {
    manager::Seen::look(&[TARGET, LISTENER_UNIT].map(str::to_owned))
}

/// What is there now.
fn look(wanted: &Wanted, by: &manager::Seen) -> Result<Seen, Failure> {
    let mut seen = Seen::default();
    let mut paths: BTreeSet<PathBuf> = wanted.files.keys().cloned().collect();
    paths.extend([listener_file(), target_file(), PathBuf::from(USERS)]);
    paths.extend(sockets_in(Path::new(UNITS))?);
    for path in paths {
        match fs::read(&path) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                seen.files.insert(path, text);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Failure::new(
                    "apply.read",
                    format!("{}: {error}", path.display()),
                ));
            }
        }
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let names = passwd.lines().filter_map(|line| line.split(':').next());
    seen.users = names.map(str::to_owned).collect();
    seen.manager = loaded(by);
    Ok(seen)
}

/// Socket units of our form in a folder.
fn sockets_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Failure::new(
                "apply.read",
                format!("{}: {error}", folder.display()),
            ));
        }
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| {
            name.starts_with("clawdbot-") && name.ends_with(".socket") && name.contains("-from-")
        });
        // A link is somebody's mask or alias.
        if ours && entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The socket units that are active, and those that are loaded and not.
fn sockets(all: &[SocketUnit]) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut active, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for socket in all {
        match (socket.active.as_str(), socket.load.as_str()) {
            ("active", _) => active.insert(socket.name.clone()),
            (_, "loaded") => silent.insert(socket.name.clone()),
            // Masked, or gone.
            _ => continue,
        };
    }
    (active, silent)
}

fn loaded(seen: &manager::Seen) -> Option<Loaded> {
    let (units, all) = (seen.units.as_ref().ok()?, seen.sockets.as_ref().ok()?);
    let of = |name: &str| units.iter().find(|unit| unit.get("Id") == name);
    let addresses = of(LISTENER_UNIT)
        .map(|unit| unit.get("Listen"))
        .unwrap_or_default();
    let (listening, silent) = sockets(all);
    Some(Loaded {
        started: of(TARGET).is_some_and(|unit| unit.get("ActiveState") == "active"),
        addresses: addresses
            .lines()
            .filter_map(|line| line.strip_suffix(" (Stream)"))
            .map(str::to_owned)
            .collect(),
        listening,
        silent,
    })
}

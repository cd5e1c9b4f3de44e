//! `clawdbot apply`: brings what root has to make (users, socket units, the front door's address) in line with the
//! configuration. Everything else follows the configuration by itself. Done twice it does nothing the second time.

mod execute;
mod plan;
mod wanted;

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clawdbot_config::{Config, Loaded};
use clawdbot_identity::Role;
use clawdbot_identity::text::sanitize_line;
use clawdbot_service::system::{self, LISTENER_UNIT, TARGET, service_unit};
use serde_json::json;

pub use self::execute::write;
use self::plan::{Plan, Seen, Step, There, plan};
pub use self::wanted::{MARK, Needs};
use self::wanted::{UNITS, USERS, Wanted, listener_file, target_file};
use crate::accounts::Accounts;
use crate::check;
use crate::failure::{EXIT_FAILURE, Failure};
use crate::manager::{self, SocketUnit, Unit};
use crate::out::Out;
use crate::place::Place;
use crate::rights;

/// The command that does what [`pending`] names.
pub const COMMAND: &str = "sudo clawdbot apply";
/// Held by whoever applies, in a folder that only root can write to.
const LOCK: &str = "/run/clawdbot/apply.lock";

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
    if check_only {
        let loaded = check::read(place, out)?;
        return check_by(&Needs::of(&loaded.config), place, out);
    }
    let read = || check::read(place, out);
    let (plan, _) = bring(Path::new(LOCK), read, out.verbose && !out.json)?;
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
    show(
        &plan(&look(root(), &wanted, &asked())?, &wanted),
        place,
        out,
    )
}

/// What was brought in line.
#[derive(Debug)]
pub struct Applied {
    /// What was done, for people.
    pub changes: Vec<String>,
    wanted: Wanted,
}

/// Brings everything in line with what `read` gives, for commands that do it on the way, and tells each step if `tell`.
///
/// # Errors
/// When the configuration cannot be read, or a step fails.
pub fn now(read: impl FnOnce() -> Result<Loaded, Failure>, tell: bool) -> Result<Applied, Failure> {
    let (plan, wanted) = bring(Path::new(LOCK), read, tell)?;
    Ok(Applied {
        changes: plan.changes,
        wanted,
    })
}

/// Whether nothing is in the way of bringing everything in line.
///
/// # Errors
/// What is.
pub fn ready(config: &Config) -> Result<(), Failure> {
    let wanted = Wanted::of(&Needs::of(config));
    refusal(&plan(&look(root(), &wanted, &asked())?, &wanted))
}

/// What apply would do by what the service manager said, for people; nothing when everything is in line, or this machine's
/// units cannot be seen.
pub fn pending(needs: &Needs, seen: &manager::Seen) -> Vec<String> {
    let wanted = Wanted::of(needs);
    match look(root(), &wanted, seen) {
        Ok(seen) => {
            let plan = plan(&seen, &wanted);
            [plan.changes, plan.refused].concat()
        }
        Err(_) => Vec::new(),
    }
}

/// One at a time, from the reading on: who waited would else bring back what was read before.
fn bring(
    lock: &Path,
    read: impl FnOnce() -> Result<Loaded, Failure>,
    tell: bool,
) -> Result<(Plan, Wanted), Failure> {
    let _ends_with_it = alone(lock)?;
    let wanted = Wanted::of(&Needs::of(&read()?.config));
    let plan = plan(&look(root(), &wanted, &asked())?, &wanted);
    refusal(&plan)?;
    execute::all(&plan.steps, tell)?;
    if plan.steps.contains(&Step::Start) {
        judge(&wanted)?;
    }
    Ok((plan, wanted))
}

/// Waits until nobody else applies; the lock ends with the descriptor. Only root can open the file, so nobody else can hold
/// root up.
fn alone(lock: &Path) -> Result<fs::File, Failure> {
    let failed = |error| {
        Failure::new("apply.lock", format!("{}: {error}", lock.display()))
            .remedy("systemd-tmpfiles --create clawdbot.conf makes its folder")
    };
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(lock)
        .map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

impl Applied {
    /// Whether everything listens that should, after a start, which itself does not say.
    ///
    /// # Errors
    /// What does not.
    pub fn judge(&self) -> Result<(), Failure> {
        judge(&self.wanted)
    }
}

fn judge(wanted: &Wanted) -> Result<(), Failure> {
    let seen = asked();
    judge_by(&there(&seen.units?, &seen.sockets?), wanted)
}

/// Whether everything listens that should, and where it should.
///
/// # Errors
/// What does not, and why that is so most of the time.
fn judge_by(there: &There, wanted: &Wanted) -> Result<(), Failure> {
    let active = &there.listening;
    if !there.masked {
        if !active.contains(LISTENER_UNIT) {
            return Err(front_door(wanted));
        }
        if there.is_elsewhere(wanted.address) {
            let (address, found) = (wanted.address, there.addresses.join(" "));
            return Err(Failure::new(
                "apply.listen",
                format!("the front door listens at {found} and not at {address}"),
            )
            .remedy(format!(
                "most likely a file of somebody else's sets it: systemctl cat {LISTENER_UNIT} shows all"
            )));
        }
    }
    let mut sockets = wanted.sockets.iter();
    match sockets.find(|(unit, server)| !active.contains(*unit) && !there.away.contains(*server)) {
        None => Ok(()),
        Some((unit, _)) => Err(
            Failure::new("apply.socket", format!("{unit} does not listen"))
                .remedy(format!("systemctl status {unit}")),
        ),
    }
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
    let services = system::roles().into_iter().map(|role| service_unit(&role));
    let units = [TARGET, LISTENER_UNIT].map(str::to_owned);
    manager::Seen::look(&units.into_iter().chain(services).collect::<Vec<_>>())
}

fn root() -> &'static Path {
    Path::new("/")
}

/// What is there now, by the files below `root`.
fn look(root: &Path, wanted: &Wanted, by: &manager::Seen) -> Result<Seen, Failure> {
    let mut seen = Seen::default();
    let mut paths: BTreeSet<PathBuf> = wanted.files.keys().cloned().collect();
    paths.extend([listener_file(), target_file(), PathBuf::from(USERS)]);
    paths.extend(
        sockets_in(&below(root, Path::new(UNITS)))?
            .iter()
            .map(|unit| unit_path(unit)),
    );
    for path in paths {
        match fs::read(below(root, &path)) {
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
    let accounts = Accounts::read(&below(root, Path::new("/etc")));
    seen.users = accounts.names("").map(str::to_owned).collect();
    if let (Ok(units), Ok(sockets)) = (&by.units, &by.sockets) {
        seen.manager = Some(there(units, sockets));
    }
    Ok(seen)
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Names of the socket units of our form in a folder.
fn sockets_in(folder: &Path) -> Result<Vec<String>, Failure> {
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
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let ours =
            name.starts_with("clawdbot-") && name.ends_with(".socket") && name.contains("-from-");
        // A link is somebody's mask or alias.
        if ours && entry.file_type()?.is_file() {
            found.push(name);
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

fn there(units: &[Unit], all: &[SocketUnit]) -> There {
    let of = |name: &str, property: &str| {
        let unit = units.iter().find(|unit| unit.get("Id") == name);
        unit.map(|unit| unit.get(property)).unwrap_or_default()
    };
    let (listening, silent) = sockets(all);
    // By the file where the manager has not looked again since.
    let is_masked = |unit: &&Unit| {
        ["LoadState", "UnitFileState"]
            .iter()
            .any(|property| unit.get(property).starts_with("masked"))
    };
    let masked = units.iter().filter(is_masked).map(|unit| unit.get("Id"));
    let away: BTreeSet<Role> = masked.clone().filter_map(manager::role_of).collect();
    There {
        started: of(TARGET, "ActiveState") == "active",
        addresses: of(LISTENER_UNIT, "Listen")
            .lines()
            .filter_map(|line| line.strip_suffix(" (Stream)"))
            .map(str::to_owned)
            .collect(),
        masked: masked.clone().any(|unit| unit == LISTENER_UNIT) || away.contains(&Role::gateway()),
        away,
        stale: [TARGET, LISTENER_UNIT]
            .iter()
            .any(|unit| of(unit, "NeedDaemonReload") == "yes"),
        listening,
        silent,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::TryLockError;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::apply::wanted::MARK;

    fn wanted(text: &str) -> Wanted {
        let loaded = clawdbot_config::parse("test", text.as_bytes())
            .unwrap_or_else(|error| panic!("{}", error.render(false)));
        Wanted::of(&Needs::of(&loaded.config))
    }

    #[test]
    fn the_configuration_is_read_when_nobody_else_applies_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = || fs::File::open(&path).unwrap().try_lock();
        let read = || {
            assert!(matches!(lock(), Err(TryLockError::WouldBlock)));
            Err(Failure::new("x", "was read"))
        };
        let failure = bring(&path, read, false).unwrap_err();
        assert_eq!(failure.message, "was read");
        lock().unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let missing = bring(&folder.path().join("none/lock"), read, false).unwrap_err();
        assert_eq!(missing.code, "apply.lock");
    }

    #[test]
    fn what_is_there_is_seen_whatever_somebody_else_wrote_beside_it() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        write("etc/passwd", b"jos\xe9:x:7:7:Jos\xe9::\nann:x:8:8:::\n");
        let unit = "clawdbot-policy-from-model-box.socket";
        write(&format!("etc/systemd/system/{unit}"), MARK.as_bytes());
        write("etc/systemd/system/clawdbot-gateway.socket", b"theirs");
        let folder = root.path().join("etc/systemd/system");
        symlink(
            "/dev/null",
            folder.join("clawdbot-broker-from-model-box.socket"),
        )
        .unwrap();
        let nobody = manager::Seen {
            units: Err(Failure::new("x", "no")),
            sockets: Ok(Vec::new()),
        };
        let seen = look(root.path(), &wanted("{}"), &nobody).unwrap();
        let files: Vec<_> = seen.files.into_keys().collect();
        assert_eq!(files, [unit_path(unit)]);
        assert!(seen.users.contains("ann"), "{:?}", seen.users);
        assert!(seen.manager.is_none());
    }

    fn listener(more: &str) -> There {
        let text = format!(
            "Id={TARGET}\nActiveState=active\nNeedDaemonReload=no\n\nId={LISTENER_UNIT}\n{more}\n"
        );
        let socket = SocketUnit {
            name: LISTENER_UNIT.to_owned(),
            load: "loaded".to_owned(),
            active: "active".to_owned(),
            sub: "running".to_owned(),
        };
        there(&manager::shown(&text), &[socket])
    }

    #[test]
    fn what_somebody_masked_is_known_by_its_server() {
        let policy = "LoadState=masked\n\nId=clawdbot-policy.service\nLoadState=loaded\nUnitFileState=masked";
        let found = listener(policy);
        assert!(found.masked && found.away.contains(&Role::policy()));
        let gateway = "\nId=clawdbot-gateway.service\nLoadState=masked";
        // Without its process there is no front door either.
        assert!(listener(gateway).masked);
        let well = listener("\nId=clawdbot-gateway.service\nLoadState=loaded");
        assert!(!well.masked && well.away.is_empty());
    }

    #[test]
    fn what_the_manager_says_of_the_front_door_is_understood() {
        for (more, masked, stale) in [
            ("LoadState=loaded\nUnitFileState=static", false, false),
            ("LoadState=masked\nUnitFileState=masked", true, false),
            (
                "LoadState=loaded\nUnitFileState=masked-runtime",
                true,
                false,
            ),
            ("LoadState=loaded\nNeedDaemonReload=yes", false, true),
        ] {
            let found = listener(more);
            assert_eq!((found.masked, found.stale), (masked, stale), "{more}");
            assert!(found.started && found.listening.contains(LISTENER_UNIT));
        }
    }

    #[test]
    fn a_start_is_judged_by_where_the_front_door_listens() {
        let usual = wanted("{}");
        let mut found = listener("Listen=127.0.0.1:18789 (Stream)");
        judge_by(&found, &usual).unwrap();
        let failure = judge_by(&found, &wanted("{gateway: {port: 4000}}")).unwrap_err();
        assert_eq!(
            failure.message,
            "the front door listens at 127.0.0.1:18789 and not at 127.0.0.1:4000"
        );
        let provider = wanted("{models: {providers: {box: {baseUrl: 'http://10.0.0.9/v1'}}}}");
        assert_eq!(
            judge_by(&found, &provider).unwrap_err().code,
            "apply.socket"
        );
        found.listening.clear();
        assert_eq!(judge_by(&found, &usual).unwrap_err().code, "apply.listen");
        // One that somebody masked is missed by nobody.
        found.masked = true;
        judge_by(&found, &usual).unwrap();
    }
}

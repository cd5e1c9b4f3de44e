//! From what is there and what is wanted to the steps between them. Pure. What is new is written before anything stops, what
//! listens is stopped before who answers and before its file goes, and everything starts at once: a socket cannot be added
//! to a running service, and a unit without a file cannot be stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clawdbot_identity::Role;
use clawdbot_service::system::{LISTENER_UNIT, TARGET, service_unit};

use super::wanted::{MARK, USERS, Wanted, listener_file};

/// What is there.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Files that have our mark or stand where one of ours is wanted.
    pub files: BTreeMap<PathBuf, String>,
    /// Names of this machine's users.
    pub users: BTreeSet<String>,
    /// What the service manager says; nothing where it cannot be asked.
    pub manager: Option<There>,
}

/// What the service manager has loaded.
#[derive(Debug, Clone, Default)]
pub struct There {
    /// Everything was started and not stopped since.
    pub started: bool,
    /// Socket units that are active.
    pub listening: BTreeSet<String>,
    /// Socket units that are loaded and not active.
    pub silent: BTreeSet<String>,
    /// Addresses of the front door's socket unit.
    pub addresses: Vec<String>,
    /// Somebody wants no front door.
    pub masked: bool,
    /// Servers whose services somebody masked; their sockets cannot listen.
    pub away: BTreeSet<Role>,
    /// The files of the target or of the front door changed after they were loaded.
    pub stale: bool,
}

impl There {
    /// Whether the front door's socket unit is known to have other addresses than this one.
    pub fn is_elsewhere(&self, address: SocketAddr) -> bool {
        !self.addresses.is_empty() && !self.addresses.contains(&address.to_string())
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Puts a file there, whole.
    Write(PathBuf, String),
    /// Removes a file of ours.
    Remove(PathBuf),
    /// Makes the users of the list.
    Users,
    /// Has the manager read its units again.
    Reload,
    /// Stops units.
    Stop(Vec<String>),
    /// Starts what is wanted and does not run.
    Start,
}

/// What is to be done, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// For people, one line each; empty when there is nothing to do.
    pub changes: Vec<String>,
    /// In order.
    pub steps: Vec<Step>,
    /// What is in the way or cannot be had, one sentence each; then nothing is done.
    pub refused: Vec<String>,
}

/// The way from `seen` to `wanted`.
pub fn plan(seen: &Seen, wanted: &Wanted) -> Plan {
    let mut plan = Plan {
        refused: wanted.refused.clone(),
        ..Plan::default()
    };
    let foreign = |path: &Path| {
        format!(
            "{} is not ours: it lacks the first line that apply writes",
            path.display()
        )
    };
    for (path, text) in &wanted.files {
        match seen.files.get(path) {
            Some(there) if there == text => {}
            Some(there) if !is_ours(there) => plan.refused.push(foreign(path)),
            _ => plan.steps.push(Step::Write(path.clone(), text.clone())),
        }
    }
    let gone = |path: &&PathBuf| !wanted.files.contains_key(*path);
    let old = seen.files.iter().filter(|(_, text)| is_ours(text));
    let removed: Vec<&PathBuf> = old.map(|(path, _)| path).filter(gone).collect();
    let removals = removed.iter().map(|path| Step::Remove((*path).clone()));
    let removals: Vec<Step> = removals.collect();

    let written = |path: &Path| {
        plan.steps.iter().chain(&removals).any(|step| match step {
            Step::Write(changed, _) | Step::Remove(changed) => changed == path,
            _ => false,
        })
    };
    let is_unit = |step: &Step| match step {
        Step::Write(path, _) | Step::Remove(path) => path != Path::new(USERS),
        _ => false,
    };
    let reload = plan.steps.iter().chain(&removals).any(is_unit);
    let users = wanted.users.iter().any(|user| !seen.users.contains(user));

    // Whose sockets change, with what has to stop for that.
    let mut concerned: BTreeSet<Role> = BTreeSet::new();
    let mut stopped: BTreeSet<String> = BTreeSet::new();
    let address = wanted.address;
    let loaded = seen.manager.as_ref();
    let started = loaded.filter(|loaded| loaded.started);
    let masked = loaded.is_some_and(|loaded| loaded.masked);
    let is_away = |server: &Role| loaded.is_some_and(|loaded| loaded.away.contains(server));
    let moved = !masked && loaded.is_some_and(|loaded| loaded.is_elsewhere(address));
    if moved || written(&listener_file()) {
        let old = loaded
            .map(|loaded| loaded.addresses.join(" "))
            .unwrap_or_default();
        plan.changes.push(match moved {
            true => format!("front door: {old} becomes {address}"),
            false => format!("front door: settings of its socket at {address}"),
        });
        if !masked {
            concerned.insert(Role::gateway());
        }
    } else if !masked && started.is_some_and(|loaded| !loaded.listening.contains(LISTENER_UNIT)) {
        plan.changes
            .push(format!("front door: nothing listens at {address}"));
        concerned.insert(Role::gateway());
    }
    let mut silent: BTreeMap<Role, Vec<&str>> = BTreeMap::new();
    for unit in started.iter().flat_map(|loaded| &loaded.silent) {
        let path = super::unit_path(unit);
        let known = wanted.sockets.contains_key(unit) || removed.contains(&&path);
        if let (Some(server), false) = (server_of(unit).filter(|server| !is_away(server)), known) {
            silent.entry(server).or_default().push(unit);
        }
    }
    for (server, units) in silent {
        plan.changes.push(match units.as_slice() {
            [unit] => format!("{server}: nothing listens for {unit}"),
            units => format!(
                "{server}: nothing listens for {} of its sockets",
                units.len()
            ),
        });
        concerned.insert(server);
    }
    for (unit, server) in &wanted.sockets {
        let silent = started.is_some_and(|loaded| !loaded.listening.contains(unit));
        if silent && !is_away(server) || written(&super::unit_path(unit)) {
            plan.changes.push(format!("{server}: socket {unit}"));
            concerned.insert(server.clone());
        }
    }
    for path in &removed {
        let unit = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if let Some(server) = server_of(unit) {
            plan.changes.push(format!("{server}: socket {unit} goes"));
            stopped.insert(unit.to_owned());
            concerned.insert(server);
        }
    }
    if users {
        for user in wanted.users.difference(&seen.users) {
            plan.changes.push(format!("user {user}"));
        }
    }
    let stale = loaded.is_some_and(|loaded| loaded.stale && !loaded.started);
    if stale && plan.changes.is_empty() {
        plan.changes
            .push("units: their files changed after they were loaded".to_owned());
    }
    if plan.changes.is_empty() && !(plan.steps.is_empty() && removals.is_empty()) {
        plan.changes.push("lists of users and units".to_owned());
    }
    if users {
        plan.steps.push(Step::Users);
    }
    let again = started.is_some() && !concerned.is_empty();
    if again {
        for server in &concerned {
            if *server == Role::gateway() && !masked {
                stopped.insert(LISTENER_UNIT.to_owned());
            }
            stopped.insert(format!("clawdbot-{server}-from-*.socket"));
        }
        let servers = concerned.iter().map(service_unit);
        plan.steps.push(Step::Stop(stopped.into_iter().collect()));
        plan.steps.push(Step::Stop(servers.collect()));
    }
    plan.steps.extend(removals);
    // Also where an earlier run was cut off before it: the files are as wanted then, and what is loaded is not.
    if reload || again || moved || stale {
        plan.steps.push(Step::Reload);
    }
    if again {
        plan.steps.push(Step::Start);
    }
    if !plan.refused.is_empty() {
        plan.steps.clear();
    }
    plan
}

/// Whether apply wrote it.
pub fn is_ours(text: &str) -> bool {
    text.lines().next() == Some(MARK)
}

/// The server of a socket unit that has our form.
fn server_of(unit: &str) -> Option<Role> {
    let (server, _) = unit
        .strip_prefix("clawdbot-")?
        .strip_suffix(".socket")?
        .split_once("-from-")?;
    Role::parse(server).ok()
}

impl Step {
    /// The command, or what is done to which file, for people.
    pub fn text(&self) -> String {
        match self {
            Self::Write(path, _) => format!("write {}", path.display()),
            Self::Remove(path) => format!("remove {}", path.display()),
            Self::Users => format!("systemd-sysusers {USERS}"),
            Self::Reload => "systemctl daemon-reload".to_owned(),
            Self::Stop(units) => format!("systemctl stop {}", units.join(" ")),
            Self::Start => format!("systemctl start {TARGET}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::wanted::{Needs, target_file};

    fn wanted(text: &str) -> Wanted {
        let loaded = clawdbot_config::parse("test", text.as_bytes())
            .unwrap_or_else(|error| panic!("{}", error.render(false)));
        Wanted::of(&Needs::of(&loaded.config))
    }

    const BOX: &str = "{models: {providers: {box: {baseUrl: 'http://10.0.0.9/v1'}}}}";

    /// As it is after everything was done.
    fn done(wanted: &Wanted) -> Seen {
        let mut listening: BTreeSet<String> = wanted.sockets.keys().cloned().collect();
        listening.insert(LISTENER_UNIT.to_owned());
        Seen {
            files: wanted.files.clone(),
            users: wanted.users.clone(),
            manager: Some(There {
                started: true,
                listening,
                silent: BTreeSet::new(),
                addresses: vec![wanted.address.to_string()],
                masked: false,
                away: BTreeSet::new(),
                stale: false,
            }),
        }
    }

    fn steps(seen: &Seen, wanted: &Wanted) -> Vec<String> {
        plan(seen, wanted).steps.iter().map(Step::text).collect()
    }

    #[test]
    fn where_everything_is_as_wanted_nothing_is_done() {
        for text in ["{}", "{gateway: {port: 4000}}", BOX] {
            let wanted = wanted(text);
            assert_eq!(plan(&done(&wanted), &wanted), Plan::default(), "{text}");
        }
    }

    #[test]
    fn another_port_stops_the_front_door_alone_and_starts_everything_once() {
        let seen = done(&wanted("{}"));
        let wanted = wanted("{gateway: {port: 4000}}");
        assert_eq!(
            steps(&seen, &wanted),
            [
                "write /etc/systemd/system/clawdbot-gateway.socket.d/50-clawdbot-apply.conf",
                "systemctl stop clawdbot-gateway-from-*.socket clawdbot-gateway.socket",
                "systemctl stop clawdbot-gateway.service",
                "systemctl daemon-reload",
                "systemctl start clawdbot.target",
            ]
        );
        assert_eq!(
            plan(&seen, &wanted).changes,
            ["front door: 127.0.0.1:18789 becomes 127.0.0.1:4000"]
        );
    }

    #[test]
    fn back_to_the_usual_port_removes_the_drop_in() {
        let seen = done(&wanted("{gateway: {port: 4000}}"));
        let steps = steps(&seen, &wanted("{}"));
        assert_eq!(
            steps[2],
            "remove /etc/systemd/system/clawdbot-gateway.socket.d/50-clawdbot-apply.conf"
        );
        assert_eq!(steps.last().unwrap(), "systemctl start clawdbot.target");
    }

    #[test]
    fn a_new_provider_gets_files_user_and_sockets_and_its_servers_start_anew() {
        let wanted = wanted(BOX);
        let steps = steps(&done(&super::tests::wanted("{}")), &wanted);
        assert_eq!(
            steps
                .iter()
                .filter(|step| step.starts_with("write "))
                .count(),
            7
        );
        assert_eq!(
            steps[7..],
            [
                "systemd-sysusers /etc/sysusers.d/clawdbot-instances.conf",
                "systemctl stop clawdbot-broker-from-*.socket clawdbot-dialer-from-*.socket clawdbot-model-box-from-*.socket clawdbot-policy-from-*.socket",
                "systemctl stop clawdbot-broker.service clawdbot-dialer.service clawdbot-model@box.service clawdbot-policy.service",
                "systemctl daemon-reload",
                "systemctl start clawdbot.target",
            ]
        );
    }

    #[test]
    fn a_provider_that_went_loses_its_sockets_and_keeps_its_user() {
        let steps = steps(&done(&wanted(BOX)), &wanted("{}"));
        assert_eq!(
            steps
                .iter()
                .filter(|step| step.starts_with("remove "))
                .count(),
            7
        );
        assert!(!steps.iter().any(|step| step.contains("sysusers ")));
        let at = |begin: &str| steps.iter().position(|step| step.starts_with(begin));
        assert!(
            at("systemctl stop") < at("remove ") && at("remove ") < at("systemctl daemon-reload"),
            "{steps:?}"
        );
        assert!(
            steps.iter().any(|step| step.starts_with("systemctl stop")
                && step.contains("clawdbot-policy-from-model-box.socket")),
            "{steps:?}"
        );
    }

    #[test]
    fn what_is_stopped_stays_stopped() {
        let mut seen = done(&wanted("{}"));
        let manager = seen.manager.as_mut().unwrap();
        (manager.started, manager.listening) = (false, BTreeSet::new());
        assert_eq!(plan(&seen, &wanted("{}")), Plan::default());
        let steps = steps(&seen, &wanted("{gateway: {port: 4000}}"));
        assert_eq!(steps.len(), 2, "{steps:?}");
        assert_eq!(steps[1], "systemctl daemon-reload");
        seen.manager = None;
        assert_eq!(
            plan(&seen, &wanted("{gateway: {port: 4000}}")).steps.len(),
            2
        );
    }

    #[test]
    fn a_run_that_was_cut_off_is_finished_by_the_next() {
        let wanted = wanted(BOX);
        // Files and users are there, the manager was not told.
        let mut seen = done(&wanted);
        let manager = seen.manager.as_mut().unwrap();
        manager
            .listening
            .remove("clawdbot-policy-from-model-box.socket");
        let plan_now = plan(&seen, &wanted);
        assert_eq!(
            plan_now.changes,
            ["policy: socket clawdbot-policy-from-model-box.socket"]
        );
        assert_eq!(plan_now.steps[2..], [Step::Reload, Step::Start]);
        // It was cut off between stop and start.
        let mut seen = done(&wanted);
        let silent = &mut seen.manager.as_mut().unwrap().silent;
        silent.insert("clawdbot-policy-from-operator.socket".into());
        silent.insert("clawdbot-sandbox-main.socket".into());
        let plan_now = plan(&seen, &wanted);
        assert_eq!(
            plan_now.changes,
            ["policy: nothing listens for clawdbot-policy-from-operator.socket"]
        );
        assert_eq!(plan_now.steps[2..], [Step::Reload, Step::Start]);
        let silent = &mut seen.manager.as_mut().unwrap().silent;
        silent.insert("clawdbot-policy-from-gateway.socket".into());
        assert_eq!(
            plan(&seen, &wanted).changes,
            ["policy: nothing listens for 2 of its sockets"]
        );
        // Nothing can listen for a server that somebody masked.
        let manager = seen.manager.as_mut().unwrap();
        manager.away.insert(Role::policy());
        let own = "clawdbot-policy-from-model-box.socket";
        manager.listening.remove(own);
        assert_eq!(plan(&seen, &wanted), Plan::default());
        // The port that the unit has is not the one that the file says.
        let mut seen = done(&wanted);
        seen.manager.as_mut().unwrap().addresses = vec!["127.0.0.1:4000".into()];
        let plan_now = plan(&seen, &wanted);
        assert_eq!(plan_now.steps.len(), 4);
        assert_eq!(plan_now.steps[2..], [Step::Reload, Step::Start]);
        // The same where everything was stopped, and where only the target's list is an old one.
        let stopped = |mut seen: Seen, stale: bool| {
            let manager = seen.manager.as_mut().unwrap();
            (manager.started, manager.stale) = (false, stale);
            manager.listening.clear();
            plan(&seen, &wanted)
        };
        assert_eq!(stopped(seen, false).steps, [Step::Reload]);
        assert_eq!(stopped(done(&wanted), true).steps, [Step::Reload]);
        assert_eq!(stopped(done(&wanted), true).changes.len(), 1);
        assert_eq!(stopped(done(&wanted), false), Plan::default());
        // The users were never made.
        let mut seen = done(&wanted);
        seen.users.clear();
        assert_eq!(plan(&seen, &wanted).steps, [Step::Users]);
    }

    #[test]
    fn a_front_door_that_somebody_masked_is_left_alone() {
        let usual = wanted("{}");
        let mut seen = done(&usual);
        let manager = seen.manager.as_mut().unwrap();
        (manager.masked, manager.addresses) = (true, Vec::new());
        manager.listening.remove(LISTENER_UNIT);
        assert_eq!(plan(&seen, &usual), Plan::default());
        // Its file is kept as wanted, and nobody is stopped for it.
        let other = wanted("{gateway: {port: 4000}}");
        let plan_now = plan(&seen, &other);
        assert!(
            matches!(plan_now.steps.as_slice(), [Step::Write(..), Step::Reload]),
            "{plan_now:?}"
        );
        assert_eq!(plan_now.changes.len(), 1);
        // Whatever it was loaded as before: stopped, it would not start again.
        let manager = seen.manager.as_mut().unwrap();
        manager.addresses = vec!["127.0.0.1:1".into()];
        manager
            .silent
            .insert("clawdbot-gateway-from-operator.socket".into());
        let steps = steps(&seen, &usual);
        assert_eq!(steps[0], "systemctl stop clawdbot-gateway-from-*.socket");
    }

    #[test]
    fn what_somebody_else_wrote_is_in_the_way_and_stays() {
        let wanted = wanted("{gateway: {port: 4000}}");
        let mut seen = done(&super::tests::wanted("{}"));
        seen.files.insert(listener_file(), "[Socket]\n".into());
        let refused = plan(&seen, &wanted);
        assert!(
            refused.steps.is_empty() && refused.refused[0].contains("not ours"),
            "{refused:?}"
        );
        // Not wanted and not ours: none of our business.
        let mut seen = done(&super::tests::wanted("{}"));
        seen.files.insert(target_file(), "[Unit]\n".into());
        assert_eq!(plan(&seen, &super::tests::wanted("{}")), Plan::default());
    }
}

//! What is wrong with the units: masked, failed, restarted again and again, weaker than shipped, read before their files
//! changed. Where nothing runs at all, that is one note and not one for each unit.

use std::time::{Duration, UNIX_EPOCH};

use clawdbot_config::Severity::{self, Critical, Info, Warn};
use clawdbot_identity::CHANNELS;
use clawdbot_identity::text::sanitize_line;
use clawdbot_service::system;

use super::Running;
use super::ends::End;
use super::limits::LIMITS;
use super::overrides::is_applied;
use super::weaker::{UnitText, Weakening, weakenings};
use crate::apply;
use crate::doctor::check::{Check, Hit, Hits};
use crate::doctor::facts::Facts;
use crate::manager::UnitFact;
use crate::out::count;
use crate::place::word;

/// Ended by the kernel, since it made a call that its filter forbids (SIGSYS).
const FILTERED: i32 = 31;
/// The exit status of a process that refuses to start as things are.
const REFUSES: i32 = 78;
/// So many restarts are more than a moment's trouble.
const OFTEN: u32 = 3;

pub const CHECKS: &[Check] = &[
    Check {
        id: "units.missing",
        severity: Critical,
        title: "A unit is not installed",
        why: "What it runs does not run, and everything that needs it waits.",
        help: "install the package again",
        command: "sudo apt-get install --reinstall clawdbot",
        fixes: false,
        look: |facts, hits| units(facts, hits, missing),
    },
    Check {
        id: "units.masked",
        severity: Warn,
        title: "A unit was masked",
        why: "What it runs does not run, and everything that needs it waits.",
        help: "unmask it, unless you want it so",
        command: "sudo systemctl unmask UNIT && sudo systemctl start clawdbot.target",
        fixes: false,
        look: |facts, hits| units(facts, hits, masked),
    },
    Check {
        id: "units.disabled",
        severity: Info,
        title: "A unit was disabled",
        why: "It does not come back when the machine is started again.",
        help: "enable it, unless you want it so",
        command: "sudo systemctl enable UNIT",
        fixes: false,
        look: disabled,
    },
    Check {
        id: "units.filtered",
        severity: Critical,
        title: "A process was ended because of a forbidden system call",
        why: "Either it was taken over and tried to get out, or its profile lacks what it needs.",
        help: "look at what it did before; report it if it comes again",
        command: "journalctl -u UNIT -n 50",
        fixes: false,
        look: |facts, hits| units(facts, hits, |unit| filtered(facts, unit)),
    },
    Check {
        id: "units.watchdog",
        severity: Warn,
        title: "A process stood still and was ended",
        why: "Until it was started again it answered nobody.",
        help: "look at what it did before; report it if it comes again",
        command: "journalctl -u UNIT -n 50",
        fixes: false,
        look: |facts, hits| units(facts, hits, |unit| watchdog(facts, unit)),
    },
    Check {
        id: "units.failed",
        severity: Critical,
        title: "A unit failed",
        why: "What it runs does not run, and everything that needs it waits.",
        help: "the log says why; correct it and start everything again",
        command: "journalctl -u UNIT -n 50",
        fixes: false,
        look: |facts, hits| units(facts, hits, failed),
    },
    Check {
        id: "units.down",
        severity: Warn,
        title: "A unit does not run",
        why: "Everything that needs it waits.",
        help: "start everything",
        command: "sudo systemctl start clawdbot.target",
        fixes: false,
        look: down,
    },
    Check {
        id: "units.restarts",
        severity: Warn,
        title: "A process was started again and again",
        why: "Something ends it, and each time what it had begun begins anew.",
        help: "look at what it did before",
        command: "journalctl -u UNIT -n 50",
        fixes: false,
        look: |facts, hits| units(facts, hits, restarts),
    },
    Check {
        id: "units.stale",
        severity: Warn,
        title: "A unit's files changed since they were read",
        why: "What they say is not what runs.",
        help: "have them read, and start what they are about again",
        command: "sudo systemctl daemon-reload && sudo systemctl restart UNIT",
        fixes: false,
        look: |facts, hits| units(facts, hits, |unit| unit.stale.then(Hit::default)),
    },
    Check {
        id: "units.replaced",
        severity: Warn,
        title: "Another file stands in place of a shipped unit",
        why: "What a newer version protects better stays as that file has it.",
        help: "write what you need into a drop-in instead",
        command: "sudo systemctl revert UNIT",
        fixes: false,
        look: |facts, hits| {
            units(facts, hits, |unit| {
                let own = unit.load == "loaded" && !is_shipped(&unit.fragment);
                own.then(|| Hit::file(&unit.fragment, ""))
            });
            for unit in &facts.running.overridden {
                // Of a masked one there is no text.
                let files = &facts.running.unit_files;
                if let Some(path) = unit
                    .replaced
                    .as_ref()
                    .filter(|path| files.contains_key(*path))
                {
                    add(hits, &[&unit.id], Hit::file(path, ""));
                }
            }
        },
    },
    Check {
        id: "units.weakened",
        severity: Critical,
        title: "A unit is weaker than it was shipped",
        why: "A mistake in the process reaches further than it should.",
        help: "take the line out, or accept what it means",
        command: "sudo \"${EDITOR:-vi}\" PATH && sudo systemctl daemon-reload && sudo systemctl restart UNIT",
        fixes: false,
        look: weakened,
    },
    Check {
        id: "units.unlimited",
        severity: Warn,
        title: "A limit of a unit does not hold",
        why: "A process that goes wrong can take the memory of the whole machine, or all the processes there may be.",
        help: "boot with the control groups' memory and pids controllers, without cgroup_disable= on the kernel's command line",
        command: "cat /proc/cmdline /proc/cgroups",
        fixes: false,
        look: |facts, hits| {
            for (_, name, ..) in LIMITS {
                let all = facts.running.unlimited.iter();
                let units: Vec<&str> = all
                    .filter(|one| one.1 == name)
                    .map(|one| one.0.as_str())
                    .collect();
                if !units.is_empty() {
                    let detail = format!("the kernel does not enforce {name}=");
                    add(hits, &units, Hit::setting("", detail));
                }
            }
        },
    },
    Check {
        id: "units.no_bpf",
        severity: Info,
        title: "The service manager takes no notice of SocketBindDeny=",
        why: "The line keeps a process from listening.",
        help: "nothing: the process's own filter has no call to listen, and landlock permits no port from Linux 6.7 on",
        command: "systemctl --version",
        fixes: false,
        look: |facts, hits| {
            if facts.running.bpf == Some(false) {
                let files = &facts.running.unit_files;
                units(facts, hits, |unit| {
                    let text = files.get(&unit.fragment)?;
                    let has = text.lines().any(|line| line.starts_with("SocketBindDeny="));
                    has.then(|| Hit::setting("", "systemd was built without the programs for it"))
                });
            }
        },
    },
    Check {
        id: "units.sockets",
        severity: Warn,
        title: "A socket is not open",
        why: "Whoever should call there cannot.",
        help: "look why, and start everything again",
        command: "systemctl status UNIT && sudo systemctl start clawdbot.target",
        fixes: false,
        look: sockets,
    },
    Check {
        id: "apply.pending",
        severity: Warn,
        title: "The configuration wants what only root can make",
        why: "Until it is made, users, sockets and the front door's address are as they were.",
        help: "have it made",
        command: apply::COMMAND,
        fixes: false,
        look: |facts, hits| {
            let pending = &facts.running.pending;
            if !pending.is_empty() {
                hits.add(Hit::setting("", pending.join("; ")));
            }
        },
    },
    Check {
        id: "channels.<channel>.not_started",
        severity: Warn,
        title: "A channel of the configuration does not run",
        why: "Nobody is answered there.",
        help: "look why, and start it",
        command: "systemctl status UNIT",
        fixes: false,
        look: channels,
    },
];

/// Where packages put their units.
pub(super) fn is_shipped(path: &str) -> bool {
    ["/usr/lib/systemd/system/", "/lib/systemd/system/"]
        .iter()
        .any(|folder| path.starts_with(folder))
}

/// Whether anything of it does its work.
fn anything(facts: &Facts) -> bool {
    let mut services = facts.running.units.iter().flatten();
    services.any(|unit| unit.id.ends_with(".service") && unit.runs())
}

/// A hit for all units of which the same can be said, with their names in the text and in the command.
fn units(facts: &Facts, hits: &mut Hits, look: impl Fn(&UnitFact) -> Option<Hit>) {
    let mut told: Vec<(Hit, Vec<&str>)> = Vec::new();
    for unit in facts.running.units.iter().flatten() {
        let Some(hit) = look(unit) else {
            continue;
        };
        let same = |known: &Hit| {
            known.detail == hit.detail && known.spot == hit.spot && known.severity == hit.severity
        };
        match told.iter_mut().find(|(known, _)| same(known)) {
            Some((_, names)) => names.push(&unit.id),
            None => told.push((hit, vec![&unit.id])),
        }
    }
    for (hit, names) in told {
        add(hits, &names, hit);
    }
}

fn add(hits: &mut Hits, names: &[&str], hit: Hit) {
    let list = names.join(", ");
    let detail = match hit.detail.as_str() {
        "" => list,
        detail => format!("{list}: {detail}"),
    };
    let words: Vec<_> = names.iter().map(|name| word(name)).collect();
    hits.add(Hit {
        unit: Some(words.join(" ")),
        detail,
        ..hit
    });
}

fn missing(unit: &UnitFact) -> Option<Hit> {
    let detail = match unit.load.as_str() {
        "not-found" => "there is no such unit",
        "error" | "bad-setting" => "the service manager cannot read it",
        _ => return None,
    };
    Some(Hit::setting("", detail))
}

fn masked(unit: &UnitFact) -> Option<Hit> {
    let masked = unit.load == "masked" || unit.file_state.starts_with("masked");
    masked.then(Hit::default)
}

/// Others are started by a socket or by a file, whether they are enabled or not.
fn disabled(facts: &Facts, hits: &mut Hits) {
    units(facts, hits, |unit| {
        let wanted = unit.id == system::TARGET || facts.running.always.contains(&unit.id);
        let off = wanted && unit.file_state == "disabled";
        off.then(Hit::default)
    });
}

fn is_filtered(unit: &UnitFact) -> bool {
    matches!(unit.result.as_str(), "signal" | "core-dump") && unit.status == FILTERED
}

fn filtered(facts: &Facts, unit: &UnitFact) -> Option<Hit> {
    let times = lately(facts, unit, End::Filtered);
    let times = times.or_else(|| is_filtered(unit).then(|| "the last one was".to_owned()))?;
    Some(Hit::setting(
        "",
        format!("{times} ended by the kernel (SIGSYS)"),
    ))
}

fn watchdog(facts: &Facts, unit: &UnitFact) -> Option<Hit> {
    let times = lately(facts, unit, End::StoodStill);
    let stood = unit.result == "watchdog";
    let times = times.or_else(|| stood.then(|| "the last one was".to_owned()))?;
    Some(Hit::setting(
        "",
        format!("{times} ended since it did not report in time"),
    ))
}

/// How often its processes ended so, by the journal.
fn lately(facts: &Facts, unit: &UnitFact, end: End) -> Option<String> {
    let times = facts.running.ends.as_ref()?.get(&(unit.id.clone(), end))?;
    let last = UNIX_EPOCH + Duration::from_secs(times.last_s);
    let last = humantime::format_rfc3339_seconds(last);
    let how_often = count(times.count, "time");
    Some(format!(
        "{how_often} in the last 24 hours, the last at {last}:"
    ))
}

fn failed(unit: &UnitFact) -> Option<Hit> {
    let told = is_filtered(unit) || unit.result == "watchdog" || masked(unit).is_some();
    let trying = unit.active == "activating" && unit.sub == "auto-restart";
    if told || !(unit.active == "failed" || trying) {
        return None;
    }
    let words = sanitize_line(&unit.words);
    let detail = match (unit.result.as_str(), unit.status) {
        ("exit-code", REFUSES) => "it refuses to start as things are (exit status 78)".to_owned(),
        ("exit-code", 243) => {
            "a credential that it needs cannot be read or decrypted (exit status 243)".to_owned()
        }
        ("exit-code", status) => format!("it ended with exit status {status}"),
        ("signal" | "core-dump", signal) => format!("it was ended by signal {signal}"),
        ("oom-kill", _) => "it needed more memory than its unit permits".to_owned(),
        ("timeout", _) => "it took too long to start or to end".to_owned(),
        ("trigger-limit-hit" | "unit-start-limit-hit", _) => {
            "it started its unit too often in too short a time and has given up".to_owned()
        }
        ("start-limit-hit", _) => "it was started too often in too short a time".to_owned(),
        (result, _) => result.to_owned(),
    };
    Some(Hit::setting(
        "",
        match words.is_empty() {
            true => detail,
            false => format!("{detail}; it said: {words}"),
        },
    ))
}

/// What should always run and does not, while something else does or has failed.
fn down(facts: &Facts, hits: &mut Hits) {
    let mut services = facts.running.units.iter().flatten();
    if !services.any(|unit| unit.id.ends_with(".service") && unit.active != "inactive") {
        return;
    }
    units(facts, hits, |unit| {
        let always = facts.running.always.contains(&unit.id);
        let told = unit.load != "loaded" || masked(unit).is_some() || unit.active != "inactive";
        let down = always && !told;
        down.then(|| Hit::setting("", "it was stopped, or never started"))
    });
}

fn restarts(unit: &UnitFact) -> Option<Hit> {
    let times = usize::try_from(unit.restarts).unwrap_or(usize::MAX);
    (times > 0).then(|| Hit {
        severity: (unit.restarts < OFTEN).then_some(Info),
        ..Hit::setting(
            "",
            format!("{} since it was started", count(times, "restart")),
        )
    })
}

/// Each unit with the file in place of the shipped one, where there is one, and its drop-ins.
fn changed(facts: &Facts) -> impl Iterator<Item = (&str, Option<&str>, &[String])> {
    let services = facts.running.units.iter().flatten().map(|unit| {
        (
            unit.id.as_str(),
            replacement(unit),
            unit.drop_ins.as_slice(),
        )
    });
    let others = facts.running.overridden.iter().map(|unit| {
        let replaced = unit.replaced.as_deref();
        (unit.id.as_str(), replaced, unit.drop_ins.as_slice())
    });
    services.chain(others)
}

/// The file in place of the shipped one.
fn replacement(unit: &UnitFact) -> Option<&str> {
    (!is_shipped(&unit.fragment)).then_some(unit.fragment.as_str())
}

impl Running {
    /// What of a unit is weaker than it was shipped.
    fn weakenings(&self, id: &str, replaced: Option<&str>, drop_ins: &[String]) -> Vec<Weakening> {
        let text = |path: &str| self.unit_files.get(path).map(String::as_str);
        let own = |path| {
            let text = text(path).filter(|text| !is_applied(text))?;
            Some(UnitText { path, text })
        };
        let Some(shipped) = text(&self.shipped(id)) else {
            return Vec::new();
        };
        let drop_ins: Vec<_> = drop_ins.iter().filter_map(|path| own(path)).collect();
        weakenings(id, shipped, replaced.and_then(own).as_ref(), &drop_ins)
    }

    /// The files that make a unit weaker than it was shipped, each once.
    pub fn weakened_by(&self, unit: &UnitFact) -> Vec<String> {
        let mut files: Vec<String> = Vec::new();
        let weak = self.weakenings(&unit.id, replacement(unit), &unit.drop_ins);
        for file in weak.into_iter().flat_map(|weak| weak.by) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        files
    }
}

/// One finding for each setting and file, with all units that it is about.
fn weakened(facts: &Facts, hits: &mut Hits) {
    let mut told: Vec<(String, String, Severity, Vec<&str>)> = Vec::new();
    for (id, replaced, drop_ins) in changed(facts) {
        for weak in facts.running.weakenings(id, replaced, drop_ins) {
            let detail = format!(
                "{} is {} instead of {}: {}",
                weak.class.name, weak.is, weak.was, weak.class.meaning
            );
            for file in weak.by {
                let same = told
                    .iter_mut()
                    .find(|known| known.0 == file && known.1 == detail);
                match same {
                    Some(known) => known.3.push(id),
                    None => told.push((file, detail.clone(), weak.class.severity, vec![id])),
                }
            }
        }
    }
    for (file, detail, severity, names) in told {
        let hit = Hit {
            severity: Some(severity),
            ..Hit::file(file, detail)
        };
        add(hits, &names, hit);
    }
}

fn sockets(facts: &Facts, hits: &mut Hits) {
    let (Some(known), true) = (&facts.running.socket_units, anything(facts)) else {
        return;
    };
    for wanted in &facts.running.wanted_sockets {
        let found = known.iter().find(|socket| socket.name == *wanted);
        let (bad, detail) = match found {
            None => (true, "it was never started".to_owned()),
            Some(socket) if socket.load == "masked" => (true, "it was masked".to_owned()),
            Some(socket) => (socket.active != "active", format!("it is {}", socket.sub)),
        };
        // The front door's address is often somebody else's already.
        let front = wanted == system::LISTENER_UNIT;
        let severity = (front && bad).then_some(Critical);
        if bad {
            hits.add(Hit {
                unit: Some(word(wanted)),
                severity,
                ..Hit::setting("", format!("{wanted}: {detail}"))
            });
        }
    }
}

/// Policy's plan names it, and it does not run.
fn channels(facts: &Facts, hits: &mut Hits) {
    for role in &facts.running.planned {
        let id = super::unit_of(role);
        let unit = facts
            .running
            .units
            .iter()
            .flatten()
            .find(|unit| unit.id == id);
        let Some(unit) = unit.filter(|unit| !unit.runs() && unit.active != "activating") else {
            continue;
        };
        let Some(name) = role.strip_prefix("channel-") else {
            continue;
        };
        let hit = Hit {
            channel: CHANNELS.iter().find(|known| **known == name).copied(),
            ..Hit::setting(
                "",
                format!("policy's plan names it, and it is {}", unit.active),
            )
        };
        add(hits, &[&unit.id], hit);
    }
}

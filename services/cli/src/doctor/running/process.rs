//! What is wrong with a running process: it is more than its profile permits, as the kernel sees it. Says nothing about what
//! could not be seen; `running.unseen` does.

use clawdbot_config::Severity::{Critical, Info, Warn};
use clawdbot_confine::measure::{Confinement, Network};
use clawdbot_confine::profile;
use clawdbot_identity::text::sanitize_line;
use clawdbot_service::version;

use super::procfs::{IpSocket, Kind, ProcessFact};
use crate::doctor::check::{Check, Hit, Hits};
use crate::doctor::facts::Facts;
use crate::place::word;

pub const CHECKS: &[Check] = &[
    Check {
        id: "running.user",
        severity: Critical,
        title: "A process runs as somebody else than it should",
        why: "Whoever takes it over can do what that user can.",
        help: "take out what changes its user, and restart it",
        command: "clawdbot service restart",
        fixes: false,
        look: |facts, hits| each(facts, hits, user),
    },
    Check {
        id: "running.capabilities",
        severity: Critical,
        title: "A process holds rights of root",
        why: "No process of the assistant needs any; with one of them the other walls can be climbed.",
        help: "take out what gives it the capability, and restart it",
        command: "clawdbot service restart",
        fixes: false,
        look: |facts, hits| each(facts, hits, capabilities),
    },
    Check {
        id: "running.filter",
        severity: Critical,
        title: "A process may make any system call",
        why: "A mistake in it reaches the kernel, and through it everything.",
        help: "restart it; if it stays so, this kernel was built without CONFIG_SECCOMP_FILTER",
        command: "clawdbot service restart",
        fixes: false,
        look: |facts, hits| each(facts, hits, filter),
    },
    Check {
        id: "running.no_new_privs",
        severity: Critical,
        title: "A process can gain rights by starting a program",
        why: "Programs such as sudo give rights to whoever starts them.",
        help: "restart it",
        command: "clawdbot service restart",
        fixes: false,
        look: |facts, hits| {
            each(facts, hits, |_, fact| {
                let open = fact
                    .status
                    .as_ref()
                    .is_some_and(|status| !status.no_new_privs);
                open.then(|| "NoNewPrivs is 0".to_owned())
            });
        },
    },
    Check {
        id: "running.dumpable",
        severity: Critical,
        title: "The memory of a process can be read",
        why: "Every process of the same user can take keys and conversations out of it.",
        help: "restart it",
        command: "clawdbot service restart",
        fixes: false,
        look: |facts, hits| {
            each(facts, hits, |_, fact| {
                let open = fact.dumpable == Some(true);
                open.then(|| "it is dumpable".to_owned())
            });
        },
    },
    Check {
        id: "running.network",
        severity: Critical,
        title: "A process is in the machine's network and says that it is not",
        why: "It can reach what this machine reaches.",
        help: "restart it",
        command: "clawdbot service restart",
        fixes: false,
        look: |facts, hits| each(facts, hits, network),
    },
    Check {
        id: "running.files",
        severity: Critical,
        title: "A process sees the machine's files as they are",
        why: "What its unit hides or makes read-only is neither.",
        help: "take out what switches the unit's protection off, and restart it",
        command: "clawdbot service restart",
        fixes: false,
        look: |facts, hits| {
            each(facts, hits, |facts, fact| {
                let open = facts.running.system && fact.own_files == Some(false);
                open.then(|| "it has no view of the files of its own".to_owned())
            });
        },
    },
    Check {
        id: "running.sockets",
        severity: Critical,
        title: "A process has a connection that it may not have",
        why: "What it knows can leave this machine, or somebody can reach it past the front door.",
        help: "look at what it does there; stop the assistant if you did not do this yourself",
        command: "clawdbot logs --level warn",
        fixes: false,
        look: |facts, hits| each(facts, hits, sockets),
    },
    Check {
        id: "running.environment",
        severity: Warn,
        title: "A process kept its environment",
        why: "Secrets that it was started with can be read there.",
        help: "restart it",
        command: "clawdbot service restart",
        fixes: false,
        look: |facts, hits| {
            each(facts, hits, |_, fact| {
                let kept = fact.variables.filter(|count| *count > 0)?;
                Some(format!("{} left", crate::out::count(kept, "variable")))
            });
        },
    },
    Check {
        id: "running.replaced",
        severity: Warn,
        title: "A process runs a program that is not there any more",
        why: "Two versions run side by side, and what the newer one mends is not mended.",
        help: "restart it, so that it runs what is installed",
        command: "clawdbot service restart",
        fixes: false,
        look: |facts, hits| {
            each(facts, hits, |_, fact| {
                let program = fact.program.as_ref().filter(|program| program.replaced)?;
                Some(format!(
                    "{} was replaced since it started",
                    program.path.display()
                ))
            });
        },
    },
    Check {
        id: "running.version",
        severity: Warn,
        title: "What runs has another version than this command",
        why: "What they tell each other may not be understood, and what the newer one mends is not mended.",
        help: "restart it, so that it runs what is installed",
        command: "clawdbot service restart",
        fixes: false,
        look: |facts, hits| {
            each(facts, hits, |_, fact| other(version(&fact.says)?));
            // The supervisor measures only itself.
            if let Some(other) = facts.running.version.as_deref().and_then(other) {
                hits.add(Hit {
                    command: Some(restart(facts)),
                    ..Hit::setting("", format!("supervisor: {other}"))
                });
            }
        },
    },
    Check {
        id: "running.unseen",
        severity: Info,
        title: "Not seen",
        why: "What could not be seen was not checked.",
        help: "run it with sudo",
        command: "sudo clawdbot doctor",
        fixes: false,
        look: |facts, hits| {
            let kinds = facts.running.unseen.iter();
            let kinds = kinds.chain(facts.running.machine.unseen.iter());
            for what in kinds {
                hits.add(Hit::setting(
                    "",
                    format!("not seen: {what} (run with sudo)"),
                ));
            }
        },
    },
];

/// What is to be said of who runs this version.
fn other(theirs: &str) -> Option<String> {
    let ours = env!("CARGO_PKG_VERSION");
    let other = theirs != ours && !theirs.is_empty();
    other.then(|| format!("{} runs, this command is {ours}", sanitize_line(theirs)))
}

/// How everything is started again: by the service manager, or by the person who runs it.
fn restart(facts: &Facts) -> String {
    let command = match (facts.running.system, facts.running.own_unit) {
        (true, _) => "sudo systemctl restart 'clawdbot-*.service'",
        (false, true) => "clawdbot service restart",
        (false, false) => "clawdbot up",
    };
    command.to_owned()
}

/// A hit for each process of which the same can be said, with who it is.
fn each(facts: &Facts, hits: &mut Hits, look: fn(&Facts, &ProcessFact) -> Option<String>) {
    let mut told: Vec<(String, Vec<&ProcessFact>)> = Vec::new();
    for fact in &facts.running.processes {
        if let Some(detail) = look(facts, fact) {
            match told.iter_mut().find(|(known, _)| *known == detail) {
                Some((_, who)) => who.push(fact),
                None => told.push((detail, vec![fact])),
            }
        }
    }
    for (detail, who) in told {
        let names: Vec<_> = who.iter().map(|fact| fact.role.as_str()).collect();
        let command = match facts.running.system {
            true => {
                let units = who.iter().map(|fact| super::unit_of(&fact.role));
                let units: Vec<_> = units.map(|unit| word(&unit)).collect();
                format!("sudo systemctl restart {}", units.join(" "))
            }
            false => restart(facts),
        };
        hits.add(Hit {
            command: Some(command),
            ..Hit::setting("", format!("{}: {detail}", names.join(", ")))
        });
    }
}

fn user(facts: &Facts, fact: &ProcessFact) -> Option<String> {
    let uids = fact.status.as_ref()?.uids;
    if uids.contains(&0) {
        return Some("it runs as root".to_owned());
    }
    let name = super::user_of(&fact.role);
    let expected = match facts.running.system {
        true => facts.running.accounts.uid(&name)?,
        false => return None,
    };
    let other = uids.into_iter().find(|uid| *uid != expected)?;
    let known = facts.running.accounts.user(other);
    let is = known.map_or_else(|| format!("the user with id {other}"), str::to_owned);
    Some(format!("it runs as {is} instead of {name}"))
}

fn capabilities(_: &Facts, fact: &ProcessFact) -> Option<String> {
    let held = fact.status.as_ref()?.capabilities();
    (held != 0).then(|| format!("it holds the capabilities {held:#x}"))
}

fn filter(_: &Facts, fact: &ProcessFact) -> Option<String> {
    let wanted = profile(&fact.role).is_none_or(|profile| profile.filter);
    let mode = fact.status.as_ref()?.seccomp;
    // What it says itself of the lack is a finding of its own.
    let admits = Confinement::parse_line(&fact.says).is_some_and(|says| !says.seccomp);
    (wanted && mode != 2 && !admits).then(|| "it has no system call filter".to_owned())
}

fn network(_: &Facts, fact: &ProcessFact) -> Option<String> {
    let own = fact.own_network?;
    let says = Confinement::parse_line(&fact.says)?.network == Network::Own;
    (says && !own).then(|| "its network is this machine's".to_owned())
}

/// What of its sockets is not as the process list says: only the front door listens, only the dialer makes connections, and
/// models and channels have those that it handed over.
fn sockets(facts: &Facts, fact: &ProcessFact) -> Option<String> {
    let family = fact.role.split('-').next().unwrap_or_default();
    let wanted = facts.running.listeners.iter();
    let mut doors: Vec<u16> = wanted.map(|address| address.port()).collect();
    let own = fact.sockets.iter().flatten().filter(|own| own.listens);
    doors.extend(own.map(|own| own.local.port()));
    let may = |socket: &IpSocket| match family {
        // What came in has the port of the door, what it called itself has one of its own.
        "gateway" => socket.kind == Kind::Tcp && doors.contains(&socket.local.port()),
        "supervisor" => socket.listens,
        "dialer" => !socket.listens && socket.kind != Kind::Raw,
        "model" | "channel" => socket.kind == Kind::Tcp && !socket.listens,
        _ => false,
    };
    let mut bad = fact.sockets.as_ref()?.iter().filter(|socket| !may(socket));
    bad.next().map(ToString::to_string)
}

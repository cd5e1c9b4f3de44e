//! Each row with the smallest thing that raises it, on a machine where everything else is as it should be; and machines as
//! they are found: down, half up, of two versions, seen by an ordinary user.

mod machines;

use clawdbot_config::Severity::{self, Critical, Info, Warn};
use clawdbot_confine::process::Status;
use clawdbot_proto::v1::{GatewayStatus, HealthReport, HealthStatus, Vault};

use super::ends::{End, Times};
use super::machine::{KeyFile, OPEN, SEALS};
use super::procfs::{Kind, Program};
use super::*;
use crate::doctor::check::{self, Found};
use crate::doctor::facts::Facts;
use crate::doctor::rows;
use crate::doctor::version::Version;
use crate::out::Style;

const FULL: &str = "level=full landlock=9 seccomp=on filters=5 nnp=on caps=off dumpable=off core=0 env=0 strays=0 net=own memory=none";
const SHIPPED: &str = "[Service]\nUser=clawdbot-policy\nNoNewPrivileges=yes\nProtectHome=yes\n";
const DROP_IN: &str = "/etc/systemd/system/clawdbot-policy.service.d/x.conf";
const POLICY: &str = "/usr/lib/systemd/system/clawdbot-policy.service";

fn socket(kind: Kind, local: &str, peer: &str, listens: bool) -> IpSocket {
    IpSocket {
        kind,
        local: local.parse().unwrap(),
        peer: peer.parse().unwrap(),
        listens,
        uid: 0,
        inode: 1,
    }
}

fn door() -> IpSocket {
    socket(Kind::Tcp, "127.0.0.1:18789", "0.0.0.0:0", true)
}

fn process(role: &str, uid: u32) -> ProcessFact {
    ProcessFact {
        role: role.to_owned(),
        pid: uid,
        says: FULL.to_owned(),
        status: Some(Status {
            uids: [uid; 4],
            gids: [uid; 4],
            no_new_privs: true,
            seccomp: 2,
            filters: 5,
            ..Status::default()
        }),
        dumpable: Some(false),
        own_network: Some(true),
        own_files: Some(true),
        program: Some(Program {
            path: "/usr/libexec/clawdbot/x".into(),
            replaced: false,
        }),
        variables: Some(0),
        sockets: Some(Vec::new()),
    }
}

fn unit(role: &str) -> UnitFact {
    let id = unit_of(role);
    UnitFact {
        load: "loaded".into(),
        file_state: "enabled".into(),
        active: "active".into(),
        sub: "running".into(),
        result: "success".into(),
        pid: 4_000_000,
        words: format!("well | {FULL}"),
        fragment: format!("/usr/lib/systemd/system/{id}"),
        id,
        ..UnitFact::default()
    }
}

fn socket_file(path: &str, gid: u32) -> SocketFile {
    SocketFile {
        path: path.into(),
        uid: 0,
        gid,
        mode: 0o660,
        is_socket: true,
    }
}

/// Everything is as it should be.
fn orderly() -> Running {
    let roles = ["gateway", "policy", "model-ollama"];
    let mut processes: Vec<_> = roles
        .iter()
        .zip(11..)
        .map(|(role, uid)| process(role, uid))
        .collect();
    processes[0].sockets = Some(vec![
        door(),
        socket(Kind::Tcp, "127.0.0.1:18789", "127.0.0.1:5000", false),
    ]);
    processes[2].sockets = Some(vec![socket(
        Kind::Tcp,
        "10.0.0.2:4000",
        "10.0.0.3:11434",
        false,
    )]);
    let socket_unit = |unit: &str| SocketUnit {
        name: unit.into(),
        load: "loaded".into(),
        active: "active".into(),
        sub: "running".into(),
    };
    let sockets = [
        "clawdbot-gateway.socket",
        "clawdbot-policy-from-gateway.socket",
    ];
    Running {
        looked: true,
        system: true,
        own_unit: false,
        runtime: "/run/clawdbot".into(),
        pending: Vec::new(),
        version: None,
        processes,
        accounts: Accounts::parse(
            "clawdbot-gateway:x:11:11::/:/n\nclawdbot-policy:x:12:12::/:/n\nclawdbot-model-ollama:x:13:13::/:/n\nann:x:1000:1000::/:/n\n",
            "clawdbot:x:10:ann\nclawdbot-gateway:x:11:\nclawdbot-policy:x:12:\ndocker:x:20:ann\n",
        ),
        units: Some(roles.map(unit).to_vec()),
        ends: Some(Ends::new()),
        always: vec![unit_of("gateway"), unit_of("policy")],
        socket_units: Some(sockets.map(socket_unit).to_vec()),
        wanted_sockets: sockets.map(str::to_owned).to_vec(),
        unlimited: Vec::new(),
        bpf: Some(true),
        overridden: Vec::new(),
        unit_files: [(POLICY.to_owned(), SHIPPED.to_owned())].into(),
        socket_files: vec![
            socket_file("/run/clawdbot/policy/gateway.sock", 11),
            socket_file("/run/clawdbot/operator/policy.sock", 10),
        ],
        folders: vec![OwnFolder {
            path: "/var/lib/clawdbot/audit".into(),
            user: "clawdbot-policy".into(),
            uid: Some(12),
        }],
        planned: Vec::new(),
        listening: Some(vec![door()]),
        listeners: vec!["127.0.0.1:18789".parse().unwrap()],
        gateway_runs: true,
        answers: Answers {
            gateway: Some(GatewayStatus::default()),
            ..Answers::default()
        },
        machine: Machine {
            kernel: "7.1.0".into(),
            landlock: 9,
            namespaces: Some(true),
            free: vec![("/var/lib/clawdbot".into(), 1 << 40)],
            memory: Some(1 << 30),
            synchronised: Some(true),
            vault_key: Some(KeyFile {
                path: "/etc/credstore.encrypted/clawdbot.vault-key".into(),
                uid: 0,
                mode: 0o600,
                sealed: true,
                seal: None,
            }),
            ..Machine::default()
        },
        unseen: Vec::new(),
    }
}

fn facts(running: Running) -> Facts {
    let folder = tempfile::tempdir().unwrap();
    let place = Place {
        state: folder.path().to_owned(),
        config: folder.path().join("clawdbot.json"),
        ..Place::default()
    };
    let version = Version {
        now_s: 200 * 86_400,
        built_s: Some(100 * 86_400),
        ..Version::default()
    };
    Facts {
        running,
        ..Facts::of(&place, folder.path(), std::iter::empty(), version)
    }
}

fn look(running: Running) -> Vec<Found> {
    rows(check::of_what_runs(), &facts(running))
}

fn changed(change: impl FnOnce(&mut Running)) -> Vec<Found> {
    let mut running = orderly();
    change(&mut running);
    look(running)
}

fn ids(found: &[Found]) -> Vec<&str> {
    found.iter().map(|found| found.id.as_str()).collect()
}

#[test]
fn a_process_that_is_being_started_is_not_judged_yet() {
    let mut units = [unit("policy"), unit("broker")];
    units[1].active = "activating".into();
    let judged: Vec<_> = of_units(&units)
        .into_iter()
        .map(|(role, ..)| role)
        .collect();
    assert_eq!(judged, ["policy"]);
}

fn policy(running: &mut Running) -> &mut UnitFact {
    &mut running.units.as_mut().unwrap()[1]
}

fn status(running: &mut Running) -> &mut Status {
    running.processes[1].status.as_mut().unwrap()
}

fn worker(checked: bool, lease_version: u64) -> Option<HealthStatus> {
    Some(HealthStatus {
        reported: true,
        report: Some(HealthReport {
            problems: Vec::new(),
            lease_version,
            checked,
        }),
        planned: true,
    })
}

/// Id, how bad, and the smallest thing that raises it.
type Case = (&'static str, Severity, fn(&mut Running));

const CASES: &[Case] = &[
    ("running.user", Critical, |r| status(r).uids[3] = 0),
    ("running.user", Critical, |r| status(r).uids = [1000; 4]),
    ("running.capabilities", Critical, |r| {
        status(r).permitted = 1 << 21
    }),
    ("running.capabilities", Critical, |r| status(r).ambient = 1),
    ("running.filter", Critical, |r| status(r).seccomp = 0),
    ("running.no_new_privs", Critical, |r| {
        status(r).no_new_privs = false
    }),
    ("running.dumpable", Critical, |r| {
        r.processes[1].dumpable = Some(true)
    }),
    ("running.network", Critical, |r| {
        r.processes[1].own_network = Some(false)
    }),
    ("running.files", Critical, |r| {
        r.processes[1].own_files = Some(false)
    }),
    ("running.sockets", Critical, |r| {
        r.processes[1].sockets = Some(vec![socket(
            Kind::Tcp,
            "10.0.0.2:1",
            "192.0.2.1:443",
            false,
        )])
    }),
    ("running.sockets", Critical, |r| {
        r.processes[2].sockets = Some(vec![socket(Kind::Tcp, "10.0.0.2:1", "0.0.0.0:0", true)])
    }),
    ("running.sockets", Critical, |r| {
        r.processes[2].sockets = Some(vec![socket(Kind::Raw, "10.0.0.2:1", "0.0.0.0:0", false)])
    }),
    ("running.sockets", Critical, |r| {
        let out = socket(Kind::Tcp, "127.0.0.1:40000", "192.0.2.1:443", false);
        r.processes[0].sockets.as_mut().unwrap().push(out);
    }),
    ("running.environment", Warn, |r| {
        r.processes[1].variables = Some(1)
    }),
    ("running.replaced", Warn, |r| {
        r.processes[1].program.as_mut().unwrap().replaced = true
    }),
    ("running.version", Warn, |r| {
        r.version = Some("0.0.9".into())
    }),
    ("running.version", Warn, |r| {
        r.processes[1].says = format!("{FULL} version=0.0.9")
    }),
    ("running.unseen", Info, |r| {
        r.unseen = vec!["program of gateway".into()]
    }),
    ("running.unseen", Info, |r| {
        r.machine.unseen = vec!["the key of the vault".into()]
    }),
    ("apply.pending", Warn, |r| {
        r.pending = vec!["the front door moves".into()]
    }),
    ("units.missing", Critical, |r| {
        policy(r).load = "not-found".into()
    }),
    ("units.missing", Critical, |r| {
        policy(r).load = "bad-setting".into()
    }),
    ("units.masked", Warn, |r| {
        let unit = policy(r);
        (unit.load, unit.file_state, unit.active) =
            ("masked".into(), "masked".into(), "inactive".into());
    }),
    ("units.disabled", Info, |r| {
        policy(r).file_state = "disabled".into()
    }),
    ("units.filtered", Critical, |r| {
        let unit = policy(r);
        (unit.active, unit.result, unit.status) = ("failed".into(), "signal".into(), 31);
    }),
    ("units.filtered", Critical, |r| ended(r, End::Filtered)),
    ("units.watchdog", Warn, |r| {
        policy(r).result = "watchdog".into()
    }),
    ("units.watchdog", Warn, |r| ended(r, End::StoodStill)),
    ("units.failed", Critical, |r| {
        let unit = policy(r);
        (unit.active, unit.result, unit.status) = ("failed".into(), "exit-code".into(), 78);
    }),
    ("units.failed", Critical, |r| {
        let unit = policy(r);
        (unit.active, unit.sub, unit.result) = (
            "activating".into(),
            "auto-restart".into(),
            "oom-kill".into(),
        );
    }),
    ("units.down", Warn, |r| policy(r).active = "inactive".into()),
    ("units.restarts", Info, |r| policy(r).restarts = 1),
    ("units.restarts", Warn, |r| policy(r).restarts = 3),
    ("units.stale", Warn, |r| policy(r).stale = true),
    ("units.replaced", Warn, |r| {
        policy(r).fragment = "/etc/systemd/system/clawdbot-policy.service".into()
    }),
    ("units.weakened", Critical, |r| {
        weaken(r, "NoNewPrivileges=no")
    }),
    ("units.weakened", Warn, |r| weaken(r, "Environment=A=1")),
    ("units.weakened", Critical, |r| {
        put_over_socket(r, "[Socket]\nSocketMode=0666\n")
    }),
    ("units.replaced", Warn, |r| {
        put_over_socket(r, SOCKET);
        let unit = &mut r.overridden[0];
        unit.replaced = unit.drop_ins.pop();
    }),
    ("units.sockets", Warn, |r| {
        r.socket_units.as_mut().unwrap()[1].active = "failed".into()
    }),
    ("units.sockets", Critical, |r| {
        r.socket_units.as_mut().unwrap()[0].active = "failed".into()
    }),
    ("units.sockets", Warn, |r| {
        drop(r.socket_units.as_mut().unwrap().pop())
    }),
    ("channels.telegram.not_started", Warn, |r| {
        r.planned = vec!["channel-telegram".into()];
        let down = UnitFact {
            active: "inactive".into(),
            pid: 0,
            ..unit("channel-telegram")
        };
        r.units.as_mut().unwrap().push(down);
    }),
    ("sockets.owner", Critical, |r| r.socket_files[0].uid = 11),
    ("sockets.owner", Critical, |r| r.socket_files[0].gid = 12),
    ("sockets.owner", Critical, |r| {
        r.socket_files[1].mode = 0o666
    }),
    ("sockets.unknown", Critical, |r| {
        r.socket_files
            .push(socket_file("/run/clawdbot/broker/agent-guest.sock", 11))
    }),
    ("sockets.unknown", Critical, |r| {
        r.socket_files[0].is_socket = false
    }),
    ("fs.own_dir.owner", Critical, |r| {
        r.folders[0].uid = Some(11)
    }),
    ("gateway.listener.missing", Critical, |r| {
        r.listening = Some(Vec::new())
    }),
    ("gateway.listener.elsewhere", Critical, |r| {
        // Who cannot see what the gateway holds goes by the one who makes its socket.
        r.processes[0].sockets = None;
        let open = socket(Kind::Tcp, "0.0.0.0:18789", "0.0.0.0:0", true);
        r.listening.as_mut().unwrap().push(open);
    }),
    ("gateway.listener.elsewhere", Critical, |r| {
        let mut open = socket(Kind::Tcp, "0.0.0.0:18789", "0.0.0.0:0", true);
        open.uid = 11;
        r.listening.as_mut().unwrap().push(open);
    }),
    ("gateway.listener.elsewhere", Critical, |r| {
        let open = socket(Kind::Tcp, "0.0.0.0:80", "0.0.0.0:0", true);
        r.processes[0].sockets.as_mut().unwrap().push(open);
    }),
    ("queue.waiting", Warn, |r| {
        r.answers.gateway.as_mut().unwrap().pending = 20
    }),
    ("queue.unknown", Info, |r| {
        r.answers.gateway.as_mut().unwrap().unknown = 1
    }),
    ("queue.rejected", Info, |r| {
        r.answers.gateway.as_mut().unwrap().rejected = 1
    }),
    ("vault.closed", Warn, |r| {
        r.answers.vault = Some(Vault {
            state: "waiting".into(),
            message: "unlock it".into(),
            ..Vault::default()
        })
    }),
    ("vault.key_beside", Info, |r| {
        r.answers.vault = Some(Vault {
            state: "open".into(),
            key_source: "file".into(),
            ..Vault::default()
        })
    }),
    ("vault.key_source", Info, |r| {
        r.answers.vault = Some(Vault {
            state: "open".into(),
            key_source: "keyring".into(),
            ..Vault::default()
        })
    }),
    ("vault.key_source", Info, |r| {
        r.answers.vault = Some(Vault {
            state: "none".into(),
            ..Vault::default()
        })
    }),
    ("vault.key_source", Info, |r| sealed_with(r, "host")),
    ("vault.key_source", Warn, |r| sealed_with(r, OPEN)),
    ("units.unlimited", Warn, |r| {
        r.unlimited = vec![(unit_of("policy"), "MemoryMax")]
    }),
    ("units.no_bpf", Info, |r| {
        r.bpf = Some(false);
        let text = format!("{SHIPPED}SocketBindDeny=any\n");
        r.unit_files.insert(POLICY.into(), text);
    }),
    ("machine.beside_tcp", Info, |r| {
        r.machine.beside_tcp = vec!["UDP"]
    }),
    ("gateway.probe_failed", Warn, |r| {
        r.answers.doors = vec![("127.0.0.1:1".parse().unwrap(), Err("refused".into()))]
    }),
    ("probe.silent", Warn, |r| {
        r.answers.workers = vec![("model-x".into(), None)]
    }),
    ("probe.untried", Info, |r| {
        r.answers.workers = vec![("model-x".into(), worker(false, 1))]
    }),
    ("probe.works", Info, |r| {
        r.answers.workers = vec![("model-x".into(), worker(true, 1))]
    }),
    ("machine.landlock", Info, |r| r.machine.landlock = 7),
    ("machine.landlock", Warn, |r| r.machine.landlock = 0),
    ("machine.namespaces", Warn, |r| {
        r.machine.namespaces = Some(false)
    }),
    ("machine.apparmor", Warn, |r| {
        r.machine.apparmor_restricts = true
    }),
    ("machine.mighty_group", Critical, |r| {
        r.machine.mighty = vec![("docker", "clawdbot-policy".into())]
    }),
    ("machine.mighty_group", Warn, |r| {
        r.system = false;
        r.machine.mighty = vec![("docker", "ann".into())]
    }),
    ("machine.disk", Warn, |r| r.machine.free[0].1 = 100 << 20),
    ("machine.disk", Critical, |r| r.machine.free[0].1 = 1 << 20),
    ("machine.disk", Warn, |r| {
        r.machine.free.push(("/run".into(), 15 << 20))
    }),
    ("machine.disk", Critical, |r| {
        r.machine.free.push(("/run".into(), 1 << 20))
    }),
    ("machine.memory", Warn, |r| r.machine.memory = Some(1 << 20)),
    ("machine.clock.unsynchronised", Info, |r| {
        r.machine.synchronised = Some(false)
    }),
    ("machine.vault_key", Critical, |r| {
        r.machine.vault_key.as_mut().unwrap().mode = 0o640
    }),
    ("machine.vault_key", Critical, |r| {
        r.machine.vault_key.as_mut().unwrap().uid = 11
    }),
    ("machine.vault_key_plain", Warn, |r| {
        r.machine.vault_key.as_mut().unwrap().sealed = false
    }),
];

fn sealed_with(running: &mut Running, name: &str) {
    let seal = SEALS.iter().find(|seal| seal.name == name).unwrap();
    running.machine.vault_key.as_mut().unwrap().seal = Some(seal);
}

#[test]
fn where_the_vaults_key_comes_from_is_said_as_far_as_it_can_be_seen() {
    let from = |source: &str, change: fn(&mut Running)| {
        let found = changed(|running| {
            running.answers.vault = Some(Vault {
                state: "open".into(),
                key_source: source.into(),
                ..Vault::default()
            });
            running.units.as_mut().unwrap().push(unit("broker"));
            change(running);
        });
        let found = found.iter().find(|found| found.id == "vault.key_source");
        found.unwrap().detail.clone()
    };
    let given = "the service manager gives it to the broker; ";
    let file = "/etc/credstore.encrypted/clawdbot.vault-key";
    for (name, words) in [
        ("host", "/var/lib/systemd/credential.secret"),
        ("tpm2", "by the TPM"),
    ] {
        let said = from(
            "credential",
            match name {
                "host" => |running| sealed_with(running, "host"),
                _ => |running| sealed_with(running, "tpm2"),
            },
        );
        assert!(
            said.starts_with(&format!("{given}{file} is encrypted ")),
            "{said}"
        );
        assert!(said.contains(words), "{said}");
    }
    let said = from("credential", |running| running.machine.vault_key = None);
    assert_eq!(
        said,
        format!("{given}how its file is encrypted only root can see")
    );
    let said = from("credential", |_| ());
    assert_eq!(said, format!("{given}how {file} is encrypted is not known"));
    // Who says in a drop-in that it comes from elsewhere is believed before the file.
    let said = from("credential", |running| {
        sealed_with(running, "host");
        let text = "[Service]\nLoadCredential=vault-key:/root/key\n";
        running.unit_files.insert("/d.conf".into(), text.into());
        let broker = running.units.as_mut().unwrap().last_mut().unwrap();
        broker.drop_ins = vec!["/d.conf".into()];
    });
    assert_eq!(said, format!("{given}as /d.conf says"));
}

/// A drop-in with this line.
fn weaken(running: &mut Running, line: &str) {
    running
        .unit_files
        .insert(DROP_IN.into(), format!("[Service]\n{line}\n"));
    policy(running).drop_ins = vec![DROP_IN.into()];
}

const SOCKET: &str = "[Socket]\nListenStream=/x\nSocketMode=0660\n";

/// A drop-in of this text over policy's socket.
fn put_over_socket(running: &mut Running, text: &str) {
    let id = "clawdbot-policy-from-gateway.socket";
    let shipped = format!("/usr/lib/systemd/system/{id}");
    let drop_in = format!("/etc/systemd/system/{id}.d/x.conf");
    running.unit_files.insert(shipped, SOCKET.into());
    running.unit_files.insert(drop_in.clone(), text.into());
    running.overridden = vec![Overridden {
        id: id.into(),
        replaced: None,
        drop_ins: vec![drop_in],
    }];
}

/// Policy ended twice, and runs again.
fn ended(running: &mut Running, end: End) {
    let times = Times {
        count: 2,
        last_s: 1_700_000_000,
    };
    running.ends = Some([((unit_of("policy"), end), times)].into());
}

#[test]
fn what_ended_a_while_ago_is_told_with_how_often_and_when() {
    let found = changed(|running| ended(running, End::Filtered));
    assert_eq!(
        found[0].detail,
        "clawdbot-policy.service: 2 times in the last 24 hours, the last at 2023-11-14T22:13:20Z: ended by the kernel (SIGSYS)"
    );
}

#[test]
fn what_apply_wrote_weakens_nothing() {
    let text = "[Socket]\nListenStream=/y\n";
    assert_eq!(
        ids(&changed(|running| put_over_socket(running, text))),
        ["units.weakened"]
    );
    let text = format!("{}\n{text}", crate::apply::MARK);
    assert_eq!(
        ids(&changed(|running| put_over_socket(running, &text))),
        [""; 0]
    );
}

#[test]
fn nothing_is_found_where_everything_is_as_it_should_be_or_nobody_looked() {
    assert_eq!(ids(&look(orderly())), [""; 0]);
    assert_eq!(ids(&look(Running::default())), [""; 0]);
}

#[test]
fn every_row_sees_the_smallest_thing_that_raises_it_and_nothing_else_does() {
    for (id, severity, change) in CASES {
        let found = changed(change);
        let others: Vec<_> = found.iter().filter(|found| found.id != *id).collect();
        // One who listens anywhere else listens there, too.
        assert!(others.is_empty(), "{id}: {:?}", ids(&found));
        let found = found.first().unwrap_or_else(|| panic!("{id} is not found"));
        assert_eq!(found.severity, *severity, "{id}");
        assert!(!found.detail.is_empty() && !found.why.is_empty(), "{id}");
        for word in ["UNIT", "PATH", "USER", "GROUP"] {
            assert!(!found.command.contains(word), "{id}: {}", found.command);
        }
    }
    for check in check::of_what_runs() {
        let id = check.id.replace("<channel>", "telegram");
        let told = crate::doctor::live::CHECKS
            .iter()
            .any(|row| row.id == check.id);
        let apart = check.id == "machine.clock.wrong";
        let known = CASES.iter().any(|case| case.0 == id);
        assert!(known || told || apart, "{id} has no case");
    }
}

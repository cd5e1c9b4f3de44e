//! `clawdbotctl doctor` on the installed product: what an administrator or an accident made weaker is named with unit, line
//! and file, what only became stricter is not; and whatever is down, half up or of two versions, it comes to an end and says
//! what it could not see.

use std::collections::BTreeSet;
use std::time::Duration;

use clawdbot_tests::Output;
use clawdbot_tests::kernel::eventually;
use clawdbot_tests::rig::{Machine, on_each_installed};
use serde_json::Value;

/// Longest wait for all to answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where the drop-ins of a person lie.
const ETC: &str = "/etc/systemd/system";
const POLICY: &str = "clawdbot-policy.service";
const BROKER: &str = "clawdbot-broker.service";
const DIALER: &str = "clawdbot-dialer.service";
const EXECUTOR: &str = "clawdbot-executor.service";
const GATEWAY: &str = "clawdbot-gateway.service";
const MAIN: &str = "clawdbot-agent@main.service";
const SANDBOX: &str = "clawdbot-sandbox-main@.service";
const SOCKET: &str = "clawdbot-broker-from-operator.socket";

/// Unit, section, lines of a drop-in of their own, the setting that is named, and how bad that is.
type Weak = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// At least one for each class of protection. They are only loaded: nothing is started with them.
const WEAK: &[Weak] = &[
    (POLICY, "Service", "User=root", "User", "critical"),
    (BROKER, "Service", "Group=adm", "Group", "critical"),
    (
        GATEWAY,
        "Service",
        "SupplementaryGroups=adm",
        "SupplementaryGroups",
        "critical",
    ),
    (
        POLICY,
        "Service",
        "CapabilityBoundingSet=CAP_NET_ADMIN",
        "CapabilityBoundingSet",
        "critical",
    ),
    (
        BROKER,
        "Service",
        "AmbientCapabilities=CAP_NET_RAW",
        "AmbientCapabilities",
        "critical",
    ),
    (
        DIALER,
        "Service",
        "NoNewPrivileges=no",
        "NoNewPrivileges",
        "critical",
    ),
    (
        POLICY,
        "Service",
        "ProtectSystem=full",
        "ProtectSystem",
        "critical",
    ),
    (
        BROKER,
        "Service",
        "ProtectHome=no",
        "ProtectHome",
        "critical",
    ),
    (
        DIALER,
        "Service",
        "ReadWritePaths=/etc",
        "ReadWritePaths",
        "critical",
    ),
    (
        EXECUTOR,
        "Service",
        "BindPaths=/etc",
        "BindPaths",
        "critical",
    ),
    (
        MAIN,
        "Service",
        "InaccessiblePaths=",
        "InaccessiblePaths",
        "critical",
    ),
    (GATEWAY, "Service", "PrivateTmp=no", "PrivateTmp", "warn"),
    (
        EXECUTOR,
        "Service",
        "PrivateDevices=no",
        "PrivateDevices",
        "critical",
    ),
    (
        BROKER,
        "Service",
        "DeviceAllow=/dev/kvm rw",
        "DeviceAllow",
        "critical",
    ),
    (
        POLICY,
        "Service",
        "PrivateNetwork=no",
        "PrivateNetwork",
        "critical",
    ),
    (
        BROKER,
        "Service",
        "IPAddressDeny=",
        "IPAddressDeny",
        "critical",
    ),
    (
        GATEWAY,
        "Service",
        "IPAddressAllow=any",
        "IPAddressAllow",
        "critical",
    ),
    (
        EXECUTOR,
        "Service",
        "RestrictAddressFamilies=AF_INET",
        "RestrictAddressFamilies",
        "critical",
    ),
    (
        BROKER,
        "Service",
        "SystemCallFilter=@mount",
        "SystemCallFilter",
        "critical",
    ),
    (
        DIALER,
        "Service",
        "SystemCallArchitectures=",
        "SystemCallArchitectures",
        "warn",
    ),
    (
        GATEWAY,
        "Service",
        "RestrictNamespaces=user",
        "RestrictNamespaces",
        "critical",
    ),
    (
        MAIN,
        "Service",
        "MemoryDenyWriteExecute=no",
        "MemoryDenyWriteExecute",
        "critical",
    ),
    (DIALER, "Service", "PrivateIPC=no", "PrivateIPC", "warn"),
    (
        POLICY,
        "Service",
        "KeyringMode=shared",
        "KeyringMode",
        "warn",
    ),
    (
        EXECUTOR,
        "Service",
        "ProtectProc=default",
        "ProtectProc",
        "warn",
    ),
    (GATEWAY, "Service", "ProcSubset=all", "ProcSubset", "warn"),
    (
        BROKER,
        "Service",
        "ProtectKernelTunables=no",
        "ProtectKernelTunables",
        "warn",
    ),
    (DIALER, "Service", "LimitCORE=infinity", "LimitCORE", "warn"),
    (POLICY, "Service", "UMask=0022", "UMask", "warn"),
    (
        GATEWAY,
        "Service",
        "MemoryMax=infinity",
        "MemoryMax",
        "warn",
    ),
    (BROKER, "Service", "TasksMax=infinity", "TasksMax", "warn"),
    (
        POLICY,
        "Service",
        "MemorySwapMax=1G",
        "MemorySwapMax",
        "warn",
    ),
    (
        SANDBOX,
        "Service",
        "RuntimeMaxSec=infinity",
        "RuntimeMaxSec",
        "warn",
    ),
    (DIALER, "Service", "NoExecPaths=", "NoExecPaths", "warn"),
    (POLICY, "Service", "ExecPaths=/tmp", "ExecPaths", "warn"),
    (
        EXECUTOR,
        "Service",
        "Environment=LD_PRELOAD=/tmp/x",
        "Environment",
        "warn",
    ),
    (
        GATEWAY,
        "Service",
        "LoadCredential=shadow:/etc/shadow",
        "LoadCredential",
        "warn",
    ),
    (DIALER, "Service", "Slice=system.slice", "Slice", "warn"),
    (POLICY, "Service", "Delegate=yes", "Delegate", "warn"),
    (MAIN, "Service", "NotifyAccess=all", "NotifyAccess", "warn"),
    (
        EXECUTOR,
        "Service",
        "ExecStart=\nExecStart=/bin/sleep 9",
        "ExecStart",
        "critical",
    ),
    (
        POLICY,
        "Service",
        "ExecStartPre=+/bin/true",
        "ExecStartPre",
        "critical",
    ),
    (
        GATEWAY,
        "Unit",
        "JoinsNamespaceOf=clawdbot-dialer.service",
        "JoinsNamespaceOf",
        "critical",
    ),
    (
        SOCKET,
        "Socket",
        "SocketMode=0666",
        "SocketMode",
        "critical",
    ),
    (
        SOCKET,
        "Socket",
        "SocketUser=daemon",
        "SocketUser",
        "critical",
    ),
    (
        SOCKET,
        "Socket",
        "SocketGroup=users",
        "SocketGroup",
        "critical",
    ),
    (
        SOCKET,
        "Socket",
        "ListenStream=/tmp/further.sock",
        "ListenStream",
        "critical",
    ),
    (
        "clawdbot-gateway.socket",
        "Socket",
        "IPAddressDeny=",
        "IPAddressDeny",
        "critical",
    ),
    (
        "clawdbot-policy.slice",
        "Slice",
        "MemoryMax=infinity",
        "MemoryMax",
        "warn",
    ),
];

/// What is stricter, or protects nobody.
const HARMLESS: &[(&str, &str, &str)] = &[
    (POLICY, "Unit", "Description=ours"),
    (POLICY, "Service", "RestartSec=5"),
    (POLICY, "Service", "MemoryMax=128M"),
    (POLICY, "Service", "CPUQuota=50%"),
    (POLICY, "Service", "DynamicUser=no"),
    (POLICY, "Service", "Delegate=no"),
    (POLICY, "Service", "ProtectHome=true"),
    (BROKER, "Service", "SystemCallFilter=~@mount"),
    (BROKER, "Service", "TasksMax=16"),
    (BROKER, "Service", "InaccessiblePaths=/srv"),
    (DIALER, "Service", "IPAddressDeny=192.0.2.0/24"),
    (DIALER, "Service", "UMask=0177"),
    (SOCKET, "Socket", "SocketMode=0600"),
    ("clawdbot-policy.slice", "Slice", "TasksMax=16"),
];

fn drop_in(unit: &str, name: &str) -> String {
    format!("{ETC}/{unit}.d/{name}.conf")
}

fn put(machine: &Machine, path: &str, section: &str, lines: &str) {
    machine.write(path, &format!("[{section}]\n{lines}\n"));
}

/// Takes away everything that these tests put over the units.
fn revert(machine: &Machine) {
    machine.says(&format!(
        "rm -rf {ETC}/clawdbot-*.service {ETC}/clawdbot-*.d {ETC}.control/clawdbot-*.d /run/systemd/system/clawdbot-*.d && systemctl daemon-reload"
    ));
}

const DOCTOR: [&str; 3] = ["clawdbotctl", "doctor", "--json"];

/// What doctor finds, as root.
#[track_caller]
fn doctor(machine: &Machine) -> Vec<Value> {
    findings(&looked(|| machine.run(&DOCTOR), all_answered))
}

/// Looks again until all have answered who should: each has some seconds for it, which are too few at times where much else
/// runs, and what he did not say is missing then.
#[track_caller]
fn looked(look: impl Fn() -> Output, answered: impl Fn(&[Value]) -> bool) -> Output {
    let mut output = look();
    eventually(PATIENCE, || {
        let all = answered(&findings(&output));
        if !all {
            output = look();
        }
        all
    });
    output
}

/// Whether the service manager and its journal have answered, as far as this person may ask them.
fn manager_answered(found: &[Value]) -> bool {
    let unseen = found.iter().filter(|one| one["id"] == "running.unseen");
    let mut details = unseen.filter_map(|one| one["detail"].as_str());
    !details.any(|detail| detail.contains("does not answer"))
}

fn all_answered(found: &[Value]) -> bool {
    manager_answered(found) && !ids(found).contains("running.silent")
}

/// The same, where the journal is open.
fn root_sees_all(found: &[Value]) -> bool {
    all_answered(found) && !ids(found).contains("running.unseen")
}

#[track_caller]
fn findings(output: &Output) -> Vec<Value> {
    assert!(matches!(output.code, Some(0 | 2)), "{output:?}");
    output.json()["findings"].as_array().unwrap().clone()
}

fn ids(found: &[Value]) -> BTreeSet<&str> {
    found
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect()
}

/// The first finding of this id.
#[track_caller]
fn one<'a>(found: &'a [Value], id: &str) -> &'a Value {
    let one = found.iter().find(|one| one["id"] == id);
    one.unwrap_or_else(|| panic!("{id} is not among {:?}", ids(found)))
}

#[track_caller]
fn detail<'a>(found: &'a [Value], id: &str) -> &'a str {
    one(found, id)["detail"].as_str().unwrap()
}

/// What is said of the units' files.
fn about_files(found: &[Value]) -> Vec<&Value> {
    let kinds = ["units.weakened", "units.replaced", "units.stale"];
    let about = found.iter();
    about
        .filter(|one| kinds.contains(&one["id"].as_str().unwrap()))
        .collect()
}

/// The unit as it is named: of a template the one that is asked about.
fn named(unit: &str) -> String {
    unit.replace("@.", "@doctor.")
}

#[test]
fn one_weakening_drop_in_of_each_class_is_named_and_nothing_that_is_harmless() {
    on_each_installed("one_weakening_drop_in_of_each_class", |machine| {
        for (unit, section, lines, setting, _) in WEAK {
            put(machine, &drop_in(unit, setting), section, lines);
        }
        machine.says("systemctl daemon-reload");
        let found = doctor(machine);
        for (unit, _, lines, setting, severity) in WEAK {
            let file = drop_in(unit, setting);
            let its = found.iter().filter(|one| {
                one["id"] == "units.weakened" && one["place"]["file"] == file.as_str()
            });
            let its: Vec<_> = its.collect();
            assert_eq!(its.len(), 1, "{}: {unit}: {lines}: {its:?}", machine.name());
            let detail = its[0]["detail"].as_str().unwrap();
            assert!(
                detail.starts_with(&format!("{}: {setting} is ", named(unit))),
                "{detail}"
            );
            assert_eq!(its[0]["severity"], *severity, "{detail}");
            let remedy = its[0]["remedy"].as_str().unwrap();
            assert!(
                remedy.contains(&file) && remedy.contains("daemon-reload"),
                "{remedy}"
            );
        }
        let weakened = found.iter().filter(|one| one["id"] == "units.weakened");
        assert_eq!(weakened.count(), WEAK.len(), "{}", machine.name());

        revert(machine);
        assert_eq!(about_files(&doctor(machine)), [&Value::Null; 0]);

        for (number, (unit, section, lines)) in HARMLESS.iter().enumerate() {
            put(machine, &drop_in(unit, &number.to_string()), section, lines);
        }
        machine.says("systemctl daemon-reload");
        assert_eq!(about_files(&doctor(machine)), [&Value::Null; 0]);
        revert(machine);
    });
}

#[test]
fn a_drop_in_counts_wherever_it_lies_and_so_does_a_unit_in_place_of_the_shipped_one() {
    on_each_installed("a_drop_in_counts_wherever_it_lies", |machine| {
        // Of all units of ours, of both agents, until the next start of the machine, and one that systemctl writes.
        let all = drop_in("clawdbot-.service", "all");
        put(machine, &all, "Service", "ProtectClock=no");
        let agents = drop_in("clawdbot-agent@.service", "agents");
        put(machine, &agents, "Service", "LockPersonality=no");
        let brief = format!("/run/systemd/system/{DIALER}.d/brief.conf");
        put(machine, &brief, "Service", "ProtectHostname=no");
        machine.says(&format!(
            "sed '/^ProtectKernelLogs/d' /usr/lib/systemd/system/{BROKER} > {ETC}/{BROKER} && systemctl daemon-reload && systemctl set-property {EXECUTOR} TasksMax=infinity"
        ));
        let found = doctor(machine);
        let of = |file: &str| {
            let of = found
                .iter()
                .find(|one| one["id"] == "units.weakened" && one["place"]["file"] == file);
            let of = of.unwrap_or_else(|| panic!("{file}: {:?}", about_files(&found)));
            of["detail"].as_str().unwrap().to_owned()
        };
        let everywhere = of(&all);
        for unit in [POLICY, BROKER, DIALER, EXECUTOR, GATEWAY, MAIN] {
            assert!(everywhere.contains(unit), "{everywhere}");
        }
        assert!(
            of(&agents).starts_with("clawdbot-agent@main.service, clawdbot-agent@guest.service: "),
            "{}",
            of(&agents)
        );
        assert!(of(&brief).contains(": ProtectHostname is "));
        let replaced = format!("{ETC}/{BROKER}");
        assert!(of(&replaced).contains(": ProtectKernelLogs is not set"));
        assert_eq!(
            one(&found, "units.replaced")["place"]["file"],
            replaced.as_str()
        );
        assert!(
            of(&format!("{ETC}.control/{EXECUTOR}.d/50-TasksMax.conf"))
                .contains("TasksMax is \"infinity\"")
        );

        // A file that was not read yet.
        put(machine, &drop_in(POLICY, "unread"), "Unit", "Description=x");
        assert!(ids(&doctor(machine)).contains("units.stale"));
        revert(machine);
        assert_eq!(about_files(&doctor(machine)), [&Value::Null; 0]);
    });
}

#[test]
fn what_runs_weaker_is_measured_whatever_its_files_say() {
    on_each_installed("what_runs_weaker_is_measured", |machine| {
        let lines = "User=clawdbot-executor\nGroup=clawdbot-executor";
        put(machine, &drop_in(DIALER, "user"), "Service", lines);
        machine.says(&format!(
            "systemctl daemon-reload && systemctl restart {DIALER}"
        ));
        // The file is gone, the process is not.
        machine.says(&format!(
            "rm -r {ETC}/{DIALER}.d && systemctl daemon-reload"
        ));
        let found = doctor(machine);
        assert_eq!(
            detail(&found, "running.user"),
            "dialer: it runs as clawdbot-executor instead of clawdbot-dialer"
        );
        assert!(!ids(&found).contains("units.weakened"));

        let path = "/run/clawdbot/operator/policy.sock";
        machine.says(&format!("systemctl restart {DIALER} && chmod 0666 {path}"));
        let found = doctor(machine);
        assert!(!ids(&found).contains("running.user"));
        assert_eq!(one(&found, "sockets.owner")["place"]["file"], path);
    });
}

#[test]
fn a_process_of_another_version_than_what_is_installed_is_named() {
    on_each_installed("a_process_of_another_version", |machine| {
        machine.add_user("ann", true);
        let program = "/usr/libexec/clawdbot/clawdbot-dialer";
        let version = env!("CARGO_PKG_VERSION");
        let other = format!("{}9", &version[..version.len() - 1]);
        assert_ne!(version, other);
        // The file is newer than the process, as after an upgrade that started nothing again.
        machine.says(&format!(
            "cp -p {program} /root/kept && sed 's/version={}/version={other}/' {program} > /root/other && ! cmp --quiet /root/kept /root/other && chmod 0755 /root/other && mv /root/other {program}",
            version.replace('.', "\\.")
        ));
        let found = doctor(machine);
        let replaced = one(&found, "running.replaced");
        assert!(
            replaced["detail"].as_str().unwrap().starts_with("dialer: "),
            "{replaced}"
        );
        assert_eq!(
            replaced["remedy"],
            format!("sudo systemctl restart {DIALER}")
        );
        assert!(!ids(&found).contains("running.version"));

        // And now the process is of another version than all others.
        machine.says(&format!("systemctl restart {DIALER}"));
        let said = format!("dialer: {other} runs, this command is {version}");
        let found = doctor(machine);
        assert!(!ids(&found).contains("running.replaced"));
        assert_eq!(detail(&found, "running.version"), said);
        let ann = || machine.as_user("ann", &["clawdbot", "doctor", "--json"]);
        let seen = findings(&looked(ann, all_answered));
        assert_eq!(detail(&seen, "running.version"), said);

        machine.says(&format!(
            "mv /root/kept {program} && systemctl restart {DIALER}"
        ));
        let found = doctor(machine);
        assert!(
            !ids(&found).contains("running.version") && !ids(&found).contains("running.replaced")
        );
    });
}

#[test]
fn bad_ends_are_told_with_how_often_after_everything_was_started_again() {
    on_each_installed("bad_ends_are_told", |machine| {
        let again = |signal: &str| {
            let before = machine.process(DIALER);
            machine.says(&format!("systemctl kill --signal={signal} {DIALER}"));
            machine.until(&format!(
                "systemctl is-active --quiet {DIALER} && test $(systemctl show --property=MainPID --value {DIALER}) != {before}"
            ));
        };
        again("SYS");
        again("SYS");
        // The service manager has forgotten it then.
        machine.says("systemctl restart clawdbot.target");
        machine.ready();
        machine.says("journalctl --sync");
        let found = doctor(machine);
        let filtered = one(&found, "units.filtered");
        let detail = filtered["detail"].as_str().unwrap();
        assert!(
            detail.starts_with(&format!(
                "{DIALER}: 2 times in the last 24 hours, the last at 2"
            )),
            "{detail}"
        );
        assert_eq!(filtered["severity"], "critical");

        // One that stands still.
        put(
            machine,
            &drop_in(DIALER, "soon"),
            "Service",
            "WatchdogSec=2s",
        );
        machine.says(&format!("systemctl daemon-reload && systemctl restart {DIALER} && systemctl kill --signal=STOP {DIALER}"));
        machine.until(&format!(
            "journalctl --unit={DIALER} --output=cat | grep --quiet 'Watchdog timeout'"
        ));
        machine.says(&format!("systemctl kill --signal=CONT {DIALER}; true"));
        machine.until(&format!("systemctl is-active --quiet {DIALER}"));
        machine.says(&format!(
            "rm -r {ETC}/{DIALER}.d && systemctl daemon-reload && systemctl restart {DIALER}"
        ));
        // On a slow machine it may have been late again.
        machine.until("clawdbotctl doctor --json | grep --quiet units.watchdog");
        let found = doctor(machine);
        let watchdog = one(&found, "units.watchdog");
        let detail = watchdog["detail"].as_str().unwrap();
        assert!(
            detail.starts_with(&format!("{DIALER}: ")) && detail.contains("in the last 24 hours"),
            "{detail}"
        );
        assert_eq!(watchdog["severity"], "warn");
    });
}

#[test]
fn whoever_looks_is_told_what_he_could_not_see() {
    on_each_installed("whoever_looks_is_told", |machine| {
        machine.add_user("ann", true);
        machine.add_user("eve", false);
        let root = looked(|| machine.run(&DOCTOR), root_sees_all);
        let found = findings(&root);
        assert_eq!(root.code, Some(0), "{found:?}");
        assert!(!ids(&found).contains("running.unseen"), "{found:?}");
        let worth = |found: &[Value]| -> Vec<String> {
            let bad = found.iter().filter(|one| one["severity"] != "info");
            bad.map(Value::to_string).collect()
        };
        assert_eq!(worth(&found), [""; 0]);
        // There is no TPM here.
        let key = detail(&found, "vault.key_source");
        assert!(
            key.contains("credential.secret") && key.contains("no vault yet"),
            "{key}"
        );
        let below = &root.json()["machine"];
        assert_eq!(below["vaultKeySeal"], "host", "{below}");
        assert!(below["freeBytes"].as_u64() > Some(0), "{below}");
        assert_eq!(below["messagesWaiting"], 0, "{below}");
        let old = machine.name().ends_with("bookworm");
        assert_eq!(ids(&found).contains("units.no_bpf"), old, "{found:?}");
        assert!(detail(&found, "machine.beside_tcp").contains("UDP"));
        // A limit that is gone though the unit has it.
        let group =
            machine.says("cat /proc/$(systemctl show -P MainPID clawdbot-policy.service)/cgroup");
        let limits = machine.says("for f in /sys/fs/cgroup/pids/clawdbot.slice/*/clawdbot-policy.service/pids.max /sys/fs/cgroup/clawdbot.slice/*/clawdbot-policy.service/pids.max; do if [ -e $f ]; then echo max >$f; echo $f; fi; done");
        let unlimited = doctor(machine);
        let told = detail(&unlimited, "units.unlimited");
        assert_eq!(
            told, "clawdbot-policy.service: the kernel does not enforce TasksMax=",
            "{group} {limits}"
        );
        machine.says(&format!("echo 32 >{limits}"));
        for (user, open) in [("ann", true), ("eve", false)] {
            let answered = if open { all_answered } else { manager_answered };
            let output = looked(|| machine.as_user(user, &DOCTOR), answered);
            assert_eq!(output.code, Some(0), "{output:?}");
            let found = findings(&output);
            let unseen: Vec<&str> = found
                .iter()
                .filter(|one| one["id"] == "running.unseen")
                .map(|one| one["detail"].as_str().unwrap())
                .collect();
            let unseen = unseen.join("\n");
            for words in [
                "environment",
                "open sockets",
                "the key of the vault",
                "how processes ended",
            ] {
                assert!(unseen.contains(words), "{user}: {unseen}");
            }
            assert_eq!(
                ids(&found).contains("running.silent"),
                !open,
                "{user}: {found:?}"
            );
            if !open {
                let silent = one(&found, "running.silent");
                assert!(
                    silent["title"].as_str().unwrap().contains("group clawdbot"),
                    "{silent}"
                );
            }
            assert!(ids(&found).contains("fs.unseen"));
            assert_eq!(output.json()["machine"]["vaultKeySeal"], Value::Null);
            if open {
                let key = detail(&found, "vault.key_source");
                assert!(key.contains("only root can see"), "{key}");
            }
            assert_eq!(output.json()["processes"].as_array().unwrap().len(), 7);
        }
        // Where others' processes are hidden they have not ended.
        machine.says("mount -o remount,hidepid=invisible /proc");
        let output = looked(|| machine.as_user("ann", &DOCTOR), all_answered);
        machine.says("mount -o remount,hidepid=off /proc");
        assert_eq!(output.json()["processes"].as_array().unwrap().len(), 7);
        assert!(ids(&findings(&output)).contains("running.unseen"));
    });
}

#[test]
fn whatever_is_down_or_stands_still_it_ends_with_the_right_rows() {
    on_each_installed("whatever_is_down", |machine| {
        // One that stands still, and one that is killed again and again.
        machine.says(&format!("systemctl kill --signal=STOP {POLICY}"));
        let policy_is_silent = |found: &[Value]| {
            let mut silent = found.iter().filter(|one| one["id"] == "running.silent");
            silent.any(|silent| silent["title"] == "the policy does not answer")
        };
        let output = looked(|| machine.run(&DOCTOR), policy_is_silent);
        machine.says(&format!("systemctl kill --signal=CONT {POLICY}"));
        assert!(policy_is_silent(&findings(&output)), "{output:?}");
        machine.says(&format!(
            "systemd-run --quiet --unit=killer sh -c 'while :; do systemctl kill --signal=KILL {BROKER}; sleep 1; done'"
        ));
        machine.until(&format!(
            "test $(systemctl show --property=NRestarts --value {BROKER}) -ge 3"
        ));
        let found = doctor(machine);
        machine.says("systemctl stop killer");
        let restarts = one(&found, "units.restarts");
        assert!(
            restarts["detail"].as_str().unwrap().contains(BROKER),
            "{restarts}"
        );
        assert_eq!(restarts["severity"], "warn");
        machine.says("systemctl restart clawdbot.target");
        machine.ready();

        // Masked, another's folder, no room, no second internet protocol.
        machine.says(&format!("systemctl mask --now {DIALER} 2>&1"));
        machine.says("chown daemon /var/lib/clawdbot/audit");
        machine.says("mount -t tmpfs -o size=1M,mode=0755 none /var/log/journal");
        machine.says("sysctl --quiet --write net.ipv6.conf.all.disable_ipv6=1");
        let found = doctor(machine);
        assert_eq!(detail(&found, "units.masked"), DIALER);
        let owner = one(&found, "fs.own_dir.owner");
        assert_eq!(owner["place"]["file"], "/var/lib/clawdbot/audit");
        let disk = one(&found, "machine.disk");
        assert_eq!(
            (&disk["place"]["file"], &disk["severity"]),
            (&"/var/log/journal".into(), &"critical".into())
        );
        assert!(!ids(&found).contains("gateway.listener.missing"));
        machine.says(&format!(
            "umount /var/log/journal; chown clawdbot-policy /var/lib/clawdbot/audit; systemctl unmask {DIALER} 2>&1; systemctl start clawdbot.target"
        ));
        machine.ready();

        // Half up: nobody answers at a socket that was stopped, and nothing is started by the question.
        // The sockets first: while they listen, whoever calls starts it again.
        machine.says(&format!(
            "systemctl stop 'clawdbot-broker-from-*.socket' clawdbot-gateway.socket && systemctl stop {BROKER}"
        ));
        let found = doctor(machine);
        assert_eq!(
            detail(&found, "units.down"),
            format!("{BROKER}: it was stopped, or never started")
        );
        let sockets = found.iter().filter(|one| one["id"] == "units.sockets");
        let critical = sockets.clone().filter(|one| one["severity"] == "critical");
        assert!(sockets.count() > 2 && critical.count() == 1, "{found:?}");
        assert_eq!(
            machine.unit(BROKER, "ActiveState")["ActiveState"],
            "inactive"
        );

        machine.says("systemctl stop clawdbot.target 'clawdbot-*.socket' 'clawdbot-*.path' && systemctl stop 'clawdbot-*.service'");
        let output = looked(|| machine.run(&DOCTOR), manager_answered);
        let found = findings(&output);
        assert_eq!(output.json()["running"], false);
        assert_eq!(
            one(&found, "running.none")["remedy"],
            "sudo systemctl start clawdbot.target"
        );
        assert!(!ids(&found).iter().any(|id| id.starts_with("units.down")));
        assert_eq!(machine.sh("pgrep ^clawdbot").stdout, "");
    });
}

#[test]
fn somebody_else_at_the_front_door_s_port_is_seen() {
    on_each_installed("somebody_else_at_the_port", |machine| {
        machine.says("systemctl stop clawdbot-gateway.socket clawdbot-gateway.service && systemd-run --quiet --unit=thief --socket-property=ListenStream=127.0.0.1:18789 sleep 1000");
        machine.sh("systemctl start clawdbot.target");
        let found = doctor(machine);
        let door = found
            .iter()
            .find(|one| one["id"] == "units.sockets" && one["severity"] == "critical");
        let door = door.unwrap_or_else(|| panic!("{:?}", ids(&found)));
        assert!(
            door["detail"]
                .as_str()
                .unwrap()
                .starts_with("clawdbot-gateway.socket: it is failed"),
            "{door}"
        );
    });
}

use std::fs;
use std::path::Path;

use clawdbot_config::Severity::{Critical, Warn};

use super::classes::{CLASSES, SLICES, SOCKETS};
use super::*;

const SHIPPED: &str = "\
[Unit]
Description=x
User=not-a-setting-here
[Service]
# NoNewPrivileges=no
User=clawdbot-policy
Group=clawdbot-policy
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
SystemCallFilter=@system-service \\
  landlock_create_ruleset
SystemCallFilter=~@privileged @resources
SystemCallArchitectures=native
RestrictAddressFamilies=AF_UNIX
PrivateNetwork=yes
IPAddressDeny=any
IPAddressAllow=127.0.0.1
ProtectSystem=strict
ProtectHome=yes
ReadWritePaths=/var/lib/clawdbot/pairing
InaccessiblePaths=/root
PrivateDevices=true
PrivateUsers=no
RestrictNamespaces=yes
MemoryDenyWriteExecute=yes
ProtectProc=invisible
ProcSubset=pid
LimitCORE=0
MemoryMax=256M
MemorySwapMax=0
TasksMax=32
WatchdogSec=30s
Slice=clawdbot-policy.slice
UMask=0077
NotifyAccess=main
PrivateTmp=yes
LoadCredentialEncrypted=vault-key:clawdbot.vault-key
ExecStart=/usr/libexec/clawdbot/clawdbot-policy
Environment=CLAWDBOT_STATE_DIR=/var/lib/clawdbot
";

const UNIT: &str = "clawdbot-policy.service";
const FILE: &str = "/etc/systemd/system/clawdbot-policy.service.d/override.conf";

fn with(lines: &str) -> Vec<Weakening> {
    let text = format!("[Service]\n{lines}\n");
    let unit = UnitText {
        path: FILE,
        text: &text,
    };
    weakenings(UNIT, SHIPPED, None, &[unit])
}

#[test]
fn one_drop_in_of_each_class_is_found_and_named() {
    for (lines, name, severity) in [
        ("User=root", "User", Critical),
        ("User=", "User", Critical),
        ("Group=adm", "Group", Critical),
        (
            "SupplementaryGroups=docker",
            "SupplementaryGroups",
            Critical,
        ),
        ("NoNewPrivileges=false", "NoNewPrivileges", Critical),
        (
            "CapabilityBoundingSet=CAP_NET_ADMIN",
            "CapabilityBoundingSet",
            Critical,
        ),
        ("CapabilityBoundingSet=~", "CapabilityBoundingSet", Critical),
        (
            "CapabilityBoundingSet=~CAP_KILL",
            "CapabilityBoundingSet",
            Critical,
        ),
        (
            "AmbientCapabilities=CAP_NET_RAW",
            "AmbientCapabilities",
            Critical,
        ),
        (
            "AmbientCapabilities=~CAP_KILL",
            "AmbientCapabilities",
            Critical,
        ),
        ("SystemCallFilter=", "SystemCallFilter", Critical),
        ("SystemCallFilter=@mount", "SystemCallFilter", Critical),
        ("SystemCallFilter=@privileged", "SystemCallFilter", Critical),
        (
            "SystemCallFilter=\nSystemCallFilter=~@mount",
            "SystemCallFilter",
            Critical,
        ),
        (
            "SystemCallArchitectures=x86",
            "SystemCallArchitectures",
            Warn,
        ),
        (
            "RestrictAddressFamilies=AF_INET",
            "RestrictAddressFamilies",
            Critical,
        ),
        (
            "RestrictAddressFamilies=",
            "RestrictAddressFamilies",
            Critical,
        ),
        ("PrivateNetwork=no", "PrivateNetwork", Critical),
        ("PrivateNetwork=No", "PrivateNetwork", Critical),
        (
            "PrivateNetwork=no\nPrivateNetwork=",
            "PrivateNetwork",
            Critical,
        ),
        ("NoNewPrivileges=False", "NoNewPrivileges", Critical),
        ("ProtectHome=OFF", "ProtectHome", Critical),
        ("RestrictNamespaces=No", "RestrictNamespaces", Critical),
        ("IPAddressDeny=", "IPAddressDeny", Critical),
        ("IPAddressAllow=any", "IPAddressAllow", Critical),
        ("ProtectSystem=full", "ProtectSystem", Critical),
        ("ProtectSystem=off", "ProtectSystem", Critical),
        ("ProtectHome=read-only", "ProtectHome", Critical),
        ("ReadWritePaths=/etc", "ReadWritePaths", Critical),
        ("BindPaths=/etc", "BindPaths", Critical),
        ("InaccessiblePaths=", "InaccessiblePaths", Critical),
        ("PrivateDevices=0", "PrivateDevices", Critical),
        ("DeviceAllow=/dev/kvm rw", "DeviceAllow", Critical),
        ("RestrictNamespaces=no", "RestrictNamespaces", Critical),
        ("RestrictNamespaces=user", "RestrictNamespaces", Critical),
        (
            "MemoryDenyWriteExecute=no",
            "MemoryDenyWriteExecute",
            Critical,
        ),
        ("ProtectProc=default", "ProtectProc", Warn),
        ("ProcSubset=all", "ProcSubset", Warn),
        ("LimitCORE=infinity", "LimitCORE", Warn),
        ("LimitCORE=0:1024", "LimitCORE", Warn),
        ("UMask=0022", "UMask", Warn),
        ("NotifyAccess=all", "NotifyAccess", Warn),
        ("ExecStart=\nExecStart=/bin/sh", "ExecStart", Critical),
        ("ExecStartPre=/bin/true", "ExecStartPre", Critical),
        ("Environment=LD_PRELOAD=/x", "Environment", Warn),
        ("EnvironmentFile=/tmp/x", "EnvironmentFile", Warn),
        (
            "NetworkNamespacePath=/run/netns/x",
            "NetworkNamespacePath",
            Critical,
        ),
        ("StateDirectory=x", "StateDirectory", Critical),
        ("CacheDirectory=x", "CacheDirectory", Critical),
        ("LogsDirectory=x", "LogsDirectory", Critical),
        ("RuntimeDirectory=x", "RuntimeDirectory", Critical),
        (
            "ConfigurationDirectory=x",
            "ConfigurationDirectory",
            Critical,
        ),
        ("OpenFile=/etc/shadow:x:read-only", "OpenFile", Critical),
        ("RootImage=/x.raw", "RootImage", Critical),
        ("MountImages=/x.raw:/x", "MountImages", Critical),
        ("ExtensionImages=/x.raw", "ExtensionImages", Critical),
        ("ExtensionDirectories=/x", "ExtensionDirectories", Critical),
        (
            "LoadCredentialEncrypted=vault-key:/x",
            "LoadCredentialEncrypted",
            Warn,
        ),
        ("ImportCredential=*", "ImportCredential", Warn),
        ("SetCredential=a:b", "SetCredential", Warn),
        ("Delegate=yes", "Delegate", Warn),
        ("Delegate=memory pids", "Delegate", Warn),
        ("Delegate=", "Delegate", Warn),
        ("Slice=system.slice", "Slice", Warn),
        ("MemoryMax=infinity", "MemoryMax", Warn),
        ("MemoryMax=", "MemoryMax", Warn),
        ("MemoryMax=100%", "MemoryMax", Warn),
        ("TasksMax=infinity", "TasksMax", Warn),
        ("MemorySwapMax=1G", "MemorySwapMax", Warn),
        ("WatchdogSec=0", "WatchdogSec", Warn),
        ("SecureBits=keep-caps", "SecureBits", Critical),
        (
            "[Unit]\nJoinsNamespaceOf=x.service",
            "JoinsNamespaceOf",
            Critical,
        ),
    ] {
        let found = with(lines);
        let names: Vec<_> = found.iter().map(|weak| weak.class.name).collect();
        assert_eq!(names, [name], "{lines}");
        assert_eq!(found[0].class.severity, severity, "{lines}");
        assert_eq!(found[0].by, [FILE], "{lines}");
        assert!(
            !found[0].class.meaning.is_empty() && found[0].is != found[0].was,
            "{lines}"
        );
    }
}

#[test]
fn what_is_as_strict_or_stricter_is_no_finding() {
    for lines in [
        "",
        "# PrivateNetwork=no",
        "; User=root",
        "[Unit]\nUser=root",
        "NoNewPrivileges=on",
        "NoNewPrivileges=TRUE",
        // What the service manager cannot read it leaves as it was.
        "PrivateNetwork=",
        "PrivateNetwork=perhaps",
        "ProtectSystem=",
        "ProtectSystem=Strict",
        "NotifyAccess=no",
        "PrivateTmp=disconnected",
        "User=clawdbot-policy",
        "User=root\nUser=clawdbot-policy",
        "CapabilityBoundingSet=",
        "CapabilityBoundingSet=CAP_KILL\nCapabilityBoundingSet=",
        "SystemCallFilter=~@mount",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=\nSystemCallFilter=landlock_create_ruleset\nSystemCallFilter=~@privileged @resources",
        "RestrictAddressFamilies=none",
        "RestrictAddressFamilies=~AF_UNIX",
        "RestrictAddressFamilies=\nRestrictAddressFamilies=AF_UNIX",
        "RestrictNamespaces=true",
        "IPAddressDeny=192.0.2.0/24",
        "IPAddressAllow=",
        "ProtectSystem=strict",
        "ReadWritePaths=",
        "ReadWritePaths=/var/lib/clawdbot/pairing",
        "PrivateUsers=yes",
        "UMask=0177",
        "LimitCORE=0",
        "MemoryMax=1G",
        "MemoryMax=16M",
        "MemorySwapMax=0",
        "TasksMax=500",
        "CPUQuota=20%",
        "WatchdogSec=60",
        "DynamicUser=no",
        "DynamicUser=yes",
        "Delegate=no",
        "Delegate=yes\nDelegate=false",
        "RestartSec=5",
        "[Unit]\nDescription=y",
        "ExecStart=\nExecStart=/usr/libexec/clawdbot/clawdbot-policy",
        "Environment=",
    ] {
        let found = with(lines);
        let names: Vec<_> = found.iter().map(|weak| weak.class.name).collect();
        assert!(names.is_empty(), "{lines}: {names:?}");
    }
}

#[test]
fn only_the_errno_of_a_system_call_is_left_out() {
    let found = |shipped: &str, line: &str| {
        let text = format!("[Service]\n{line}\n");
        let unit = UnitText {
            path: FILE,
            text: &text,
        };
        let found = weakenings(UNIT, &format!("[Service]\n{shipped}\n"), None, &[unit]);
        found.len()
    };
    for (shipped, line, findings) in [
        ("IPAddressAllow=::1/128", "IPAddressAllow=::/0", 1),
        ("IPAddressAllow=fd00::/21", "IPAddressAllow=fd00::/8", 1),
        ("IPAddressAllow=::1/128", "IPAddressAllow=::1/128", 0),
        (
            "LoadCredential=environment:x",
            "LoadCredential=environment:/y",
            1,
        ),
        (
            "SystemCallFilter=read mmap:ENOSYS",
            "SystemCallFilter=read:EPERM mmap",
            0,
        ),
    ] {
        assert_eq!(found(shipped, line), findings, "{line}");
    }
}

#[test]
fn the_file_that_did_it_is_named_and_one_that_makes_it_good_ends_it() {
    let unit = |path, text| UnitText { path, text };
    let open = unit("/a.conf", "[Service]\nPrivateNetwork=no\n");
    let other = unit("/b.conf", "[Service]\nMemoryMax=1G\n");
    let closed = unit("/c.conf", "[Service]\nPrivateNetwork=yes\n");
    let found = weakenings(UNIT, SHIPPED, None, &[other, open]);
    assert_eq!(found[0].by, ["/a.conf"]);
    assert_eq!(
        (found[0].is.as_str(), found[0].was.as_str()),
        ("\"no\"", "\"yes\"")
    );
    let open = unit("/a.conf", "[Service]\nPrivateNetwork=no\n");
    assert!(weakenings(UNIT, SHIPPED, None, &[open, closed]).is_empty());
    // What counts is shown, not what was ignored.
    let ignored = unit("/d.conf", "[Service]\nPrivateNetwork=No\nPrivateNetwork=\n");
    assert_eq!(weakenings(UNIT, SHIPPED, None, &[ignored])[0].is, "\"No\"");
}

#[test]
fn a_unit_in_place_of_the_shipped_one_is_compared_too() {
    let text = SHIPPED.replace("ProtectHome=yes\n", "");
    let unit = UnitText {
        path: "/etc/systemd/system/clawdbot-policy.service",
        text: &text,
    };
    let found = weakenings(UNIT, SHIPPED, Some(&unit), &[]);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].class.name, found[0].is.as_str()),
        ("ProtectHome", "not set")
    );
    assert_eq!(found[0].by, [unit.path]);
}

#[test]
fn no_class_stands_in_the_table_twice() {
    for classes in [CLASSES, SOCKETS, SLICES] {
        let names: BTreeSet<_> = classes.iter().map(|class| class.name).collect();
        assert_eq!(names.len(), classes.len());
    }
}

/// Settings of the shipped units that protect nobody.
const OTHERS: &[&str] = &[
    "Accept",
    "CPUWeight",
    "CollectMode",
    "FileDescriptorName",
    "FlushPending",
    "LimitMEMLOCK",
    "LimitNOFILE",
    "LogLevelMax",
    "MaxConnectionsPerSource",
    "NoDelay",
    "OOMPolicy",
    "OOMScoreAdjust",
    "RemoveOnStop",
    "Restart",
    "RestartPreventExitStatus",
    "RestartSec",
    "ReusePort",
    "Sockets",
    "StandardError",
    "StandardInput",
    "StandardOutput",
    "SyslogIdentifier",
    "SystemCallErrorNumber",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "TriggerLimitBurst",
    "TriggerLimitIntervalSec",
    "Type",
];

/// What takes the setting away, or opens it.
fn opened(section: &str, class: &Class) -> String {
    let value = match class.kind {
        Kind::Yes => "no",
        Kind::Rank(ranks) => ranks[0],
        Kind::Permits {
            unset: Rest::All,
            empty: Rest::None,
        } => "~",
        Kind::Permits {
            unset: Rest::All, ..
        }
        | Kind::Refuses => "",
        Kind::No => "yes",
        Kind::Least | Kind::Limit(_) => "infinity",
        Kind::Mode => "0777",
        Kind::Mask => "0000",
        Kind::Permits { .. } | Kind::Fixed => "/else",
    };
    format!("[{section}]\n{}={value}\n", class.name)
}

#[test]
fn each_protection_of_each_shipped_unit_is_missed_when_a_drop_in_takes_it_away() {
    let own = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let folder = Path::new(&own).join("../../systemd/system");
    let (mut units, mut tried) = (0, 0);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let unit = path.file_name().unwrap().to_str().unwrap();
        let Some((section, classes)) = table(unit) else {
            continue;
        };
        units += 1;
        let text = fs::read_to_string(&path).unwrap();
        assert!(weakenings(unit, &text, None, &[]).is_empty(), "{unit}");
        let rows = assignments(section, &text);
        for (key, _) in &rows {
            let class = classes.iter().find(|class| class.name == key);
            assert_eq!(
                OTHERS.contains(&key.as_str()),
                class.is_none(),
                "{unit}: {key}"
            );
            let Some(class) = class else {
                continue;
            };
            let open = opened(section, class);
            let file = UnitText {
                path: FILE,
                text: &open,
            };
            let found = weakenings(unit, &text, None, &[file]);
            let names: Vec<_> = found.iter().map(|weak| weak.class.name).collect();
            // What is off as shipped cannot be taken away.
            let was = values(&rows, key);
            let off = match class.kind {
                Kind::Yes => !is_yes(&was),
                Kind::Rank(ranks) => rank(ranks, &was) == 0,
                _ => false,
            };
            assert_eq!(
                names,
                if off { vec![] } else { vec![key.as_str()] },
                "{unit}: {open}"
            );
            tried += usize::from(!off);
        }
    }
    assert!(
        units >= 80 && tried > 800,
        "{units} units, {tried} protections"
    );
}

#[test]
fn of_a_list_what_was_added_is_shown_and_empty_is_not_unset() {
    let shown = |lines: &str| {
        let found = with(lines);
        (found[0].is.clone(), found[0].was.clone())
    };
    let (is, was) = shown("SystemCallFilter=@mount");
    assert_eq!(is, "\"@mount\"");
    assert!(was.contains("@system-service"), "{was}");
    let (is, was) = shown("CapabilityBoundingSet=CAP_KILL");
    assert_eq!((is.as_str(), was.as_str()), ("\"CAP_KILL\"", "empty"));
    let (is, _) = shown("IPAddressDeny=");
    assert_eq!(is, "empty");
}

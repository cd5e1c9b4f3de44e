//! The machine below: what its kernel can do for the walls, who could step over them, and whether there is room, memory and
//! the right time.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clawdbot_config::Severity::{Critical, Info, Warn};
use clawdbot_confine::machine;

use crate::doctor::check::{Check, Hit, Hits};
use crate::doctor::facts::Facts;
use crate::place::word;

const MIB: u64 = 1 << 20;
/// Below so much room nothing more is accepted soon.
const FULL: u64 = 64 * MIB;
/// Below so much room it is time to look.
const TIGHT: u64 = 512 * MIB;
/// Below so much memory the kernel ends processes soon.
const SHORT: u64 = 96 * MIB;
/// The folder in memory is small by nature, a tenth of it: what is little there, and what is next to nothing.
pub const IN_MEMORY: (&str, u64, u64) = ("/run", 16 * MIB, 4 * MIB);
const DAY: u64 = 24 * 60 * 60;

/// What is known of the machine. What is not known is nothing, and raises nothing.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// Its release, such as `6.12.0`; empty where there is none.
    pub kernel: String,
    pub landlock: u8,
    /// Whether a user may make namespaces, by the kernel's own switches.
    pub namespaces: Option<bool>,
    /// Whether AppArmor keeps them from programs that have no profile, and whether ours has one.
    pub apparmor_restricts: bool,
    pub has_apparmor_profile: bool,
    /// Groups that are as good as root, and who of ours is in them.
    pub mighty: Vec<(&'static str, String)>,
    /// Places and the bytes that are free there.
    pub free: Vec<(PathBuf, u64)>,
    /// Bytes of memory that programs could still get.
    pub memory: Option<u64>,
    pub synchronised: Option<bool>,
    /// The sealed key of the vault.
    pub vault_key: Option<KeyFile>,
    /// What landlock's rules for TCP do not judge and this kernel has.
    pub beside_tcp: Vec<&'static str>,
    /// What this user could not see.
    pub unseen: Vec<String>,
}

/// A file that holds the vault's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    pub path: PathBuf,
    pub uid: u32,
    pub mode: u32,
    /// Only this machine can read what is in it.
    pub sealed: bool,
    /// With what; nothing where it may not be read, or is of a kind that is not known.
    pub seal: Option<&'static Seal>,
}

/// With what systemd encrypted a credential.
#[derive(Debug, PartialEq, Eq)]
pub struct Seal {
    /// As `systemd-creds --with-key` has it.
    pub name: &'static str,
    /// What the file begins with: systemd's ids for it (creds-util.h), as far as they are whole characters of base64.
    ids: &'static [&'static str],
    /// For a person.
    pub words: &'static str,
}

/// The ways to encrypt one, the second of each for a user's credentials, others with a public key for the TPM.
pub const SEALS: &[Seal] = &[
    Seal {
        name: "host",
        ids: &["Whxqht+dQJax1aZeCGLx", "VbntHThZTUOoMZ0uuzMq"],
        words: "with this machine's key in /var/lib/systemd/credential.secret, so that a copy of the whole disk opens it",
    },
    Seal {
        name: "tpm2",
        ids: &["DHzAexF2RZGcSwvqCLwg", "+vfrk0HjQSyhpDb5Wik2"],
        words: "by the TPM, so that no other machine opens it",
    },
    Seal {
        name: "host+tpm2",
        ids: &[
            "k6iUCUh0RJCQyvL8k8q1",
            "70rBNnmpSA6n22iJf58W",
            "r0lQqEkTTrGnOEYwT/MM",
            "rbxMo++2QgG6iBtvLkCV",
        ],
        words: "by the TPM and with this machine's key in /var/lib/systemd/credential.secret, so that no other machine opens it",
    },
    Seal {
        name: OPEN,
        ids: &["BYRp2vb1QySABUnaD46i"],
        words: "with no key at all, so that whoever reads the file opens it",
    },
];
/// The seal that is none.
pub const OPEN: &str = "null";

/// Groups whose members can become root.
pub const MIGHTY: &[&str] = &["docker", "lxd", "incus-admin", "libvirt", "disk"];
/// Those that are none of a service's business either; a person may well be in them.
pub const FOR_PEOPLE: &[&str] = &["sudo", "wheel", "shadow", "adm", "root", "kvm"];

/// The ABI that has rules for TCP; before it nothing of the network is judged.
const TCP_RULES: u8 = 4;
/// What of the kernel's file rules came with which ABI, and what is not judged without it.
const LANDLOCK: &[(u8, &str, &str)] = &[
    (3, "6.2", "cutting a file short"),
    (TCP_RULES, "6.7", "TCP"),
    (5, "6.10", "commands to devices"),
    (6, "6.12", "abstract sockets and signals"),
    (9, "7.1", "sockets with names"),
];

pub const CHECKS: &[Check] = &[
    Check {
        id: "machine.landlock",
        severity: Info,
        title: "What this kernel's file rules do not judge",
        why: "What one wall does not judge the others have to: filter, network namespace and user.",
        help: "a newer kernel judges more; safety rests on ABI 2 (Linux 5.19)",
        command: "uname -r",
        fixes: false,
        look: landlock,
    },
    Check {
        id: "machine.beside_tcp",
        severity: Info,
        title: "What this kernel's rules for TCP do not judge",
        why: "Whoever may open no TCP connection by them could open another kind.",
        help: "nothing: the processes' own filters refuse it, but the dialer's UDP for names, and as services all but the dialer are in a network of their own with no way out",
        command: "clawdbotctl doctor --probe",
        fixes: false,
        look: |facts, hits| {
            let open = &facts.running.machine.beside_tcp;
            if !open.is_empty() {
                let detail = format!("landlock's rules let pass: {}", open.join(", "));
                hits.add(Hit::setting("", detail));
            }
        },
    },
    Check {
        id: "machine.namespaces",
        severity: Warn,
        title: "No namespaces for the sandbox",
        why: "A tool call without them has fewer walls around it, or is refused.",
        help: "permit them",
        command: "sudo sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000",
        fixes: false,
        look: |facts, hits| {
            if facts.running.machine.namespaces == Some(false) {
                hits.add(Hit::setting("", "a user may not make any on this machine"));
            }
        },
    },
    Check {
        id: "machine.apparmor",
        severity: Warn,
        title: "AppArmor keeps namespaces from the sandbox",
        why: "A tool call without them has fewer walls around it, or is refused.",
        help: "install the package, which brings a profile for the launcher",
        command: "sudo apt-get install --reinstall clawdbot",
        fixes: false,
        look: |facts, hits| {
            let machine = &facts.running.machine;
            if machine.apparmor_restricts && !machine.has_apparmor_profile {
                let detail = "kernel.apparmor_restrict_unprivileged_userns is 1 and there is no profile for the launcher";
                hits.add(Hit::setting("", detail));
            }
        },
    },
    Check {
        id: "machine.mighty_group",
        severity: Critical,
        title: "A user of the assistant is in a group that is as good as root",
        why: "Whoever takes over a process of that user owns the machine.",
        help: "take it out of the group",
        command: "sudo gpasswd -d USER GROUP",
        fixes: false,
        look: mighty,
    },
    Check {
        id: "machine.disk",
        severity: Warn,
        title: "Little room is left",
        why: "What cannot be written is not accepted: messages, approvals and the record of decisions.",
        help: "make room",
        command: "df -h PATH",
        fixes: false,
        look: disk,
    },
    Check {
        id: "machine.memory",
        severity: Warn,
        title: "Little memory is left",
        why: "The kernel ends processes when there is none.",
        help: "end what needs most",
        command: "ps -eo rss,comm --sort=-rss | head",
        fixes: false,
        look: |facts, hits| {
            let memory = facts.running.machine.memory.filter(|left| *left < SHORT);
            if let Some(left) = memory {
                hits.add(Hit::setting("", format!("{} MiB are left", left / MIB)));
            }
        },
    },
    Check {
        id: "machine.clock.unsynchronised",
        severity: Info,
        title: "Nothing keeps the clock right",
        why: "Codes, links, budgets and certificates are only good for a time.",
        help: "install a time service",
        command: "sudo apt-get install systemd-timesyncd",
        fixes: false,
        look: |facts, hits| {
            if facts.running.machine.synchronised == Some(false) {
                hits.add(Hit::setting(
                    "",
                    "the kernel says that its clock is not synchronised",
                ));
            }
        },
    },
    Check {
        id: "machine.clock.wrong",
        severity: Critical,
        title: "The clock is wrong",
        why: "Certificates are refused, and codes and budgets last too long.",
        help: "set it",
        command: "sudo timedatectl set-ntp true",
        fixes: false,
        look: |facts, hits| {
            let version = &facts.version;
            let built = version.built_s.unwrap_or(0);
            if facts.running.looked && version.now_s + DAY < built {
                let days = (built - version.now_s) / DAY;
                let detail =
                    format!("this program was built {days} days later than the clock says it is");
                hits.add(Hit::setting("", detail));
            }
        },
    },
    Check {
        id: "machine.vault_key",
        severity: Critical,
        title: "Others can reach the key of the vault",
        why: "Whoever has it and a copy of the vault has every credential.",
        help: "take the rights away, and make new keys at your providers if somebody had them",
        command: "sudo chown root:root PATH && sudo chmod 0600 PATH",
        fixes: false,
        look: |facts, hits| {
            let Some(key) = &facts.running.machine.vault_key else {
                return;
            };
            if key.uid != 0 || key.mode & 0o077 != 0 {
                let detail = format!(
                    "it belongs to the user with id {}, mode {:04o}",
                    key.uid, key.mode
                );
                hits.add(Hit::file(&key.path, detail));
            }
        },
    },
    Check {
        id: "machine.vault_key_plain",
        severity: Warn,
        title: "The key of the vault is not bound to this machine",
        why: "A copy of the disk is enough to read every credential.",
        help: "seal it, and remove the copy in clear",
        command: "sudo systemd-creds encrypt --name=vault-key PATH /etc/credstore.encrypted/clawdbot.vault-key && sudo rm PATH",
        fixes: false,
        look: |facts, hits| {
            let key = facts.running.machine.vault_key.as_ref();
            if let Some(key) = key.filter(|key| !key.sealed) {
                hits.add(Hit::file(&key.path, "it lies there in clear"));
            }
        },
    },
];

/// Looks at this machine. `root` is where its files are; `ours` the users that processes of the assistant run as;
/// `keep` the places where something is written.
pub fn look(root: &Path, system: bool, ours: &super::Ours, keep: &[PathBuf]) -> Machine {
    let text = |path: &str| {
        let found = fs::read_to_string(root.join(path)).unwrap_or_default();
        found.trim().to_owned()
    };
    let switch = |name: &str| text(&format!("proc/sys/{name}")).parse::<u64>().ok();
    let limits = [
        switch("user/max_user_namespaces"),
        switch("kernel/unprivileged_userns_clone"),
    ];
    let known = limits.iter().flatten().next().is_some();
    let profiles = fs::read_dir(root.join("etc/apparmor.d"))
        .into_iter()
        .flatten()
        .flatten();
    let mut unseen = Vec::new();
    let landlock = machine::landlock_abi();
    // Client's side of Fast Open.
    let fast_open = switch("net/ipv4/tcp_fastopen").is_some_and(|bits| bits & 1 == 1);
    let beside_tcp = [
        ("UDP", true),
        ("MPTCP", switch("net/mptcp/enabled") == Some(1)),
        ("TCP Fast Open", fast_open),
    ];
    let beside_tcp = beside_tcp
        .iter()
        .filter(|(_, is)| landlock >= TCP_RULES && *is);
    Machine {
        kernel: text("proc/sys/kernel/osrelease"),
        landlock,
        beside_tcp: beside_tcp.map(|(what, _)| *what).collect(),
        namespaces: known.then(|| !limits.contains(&Some(0))),
        apparmor_restricts: switch("kernel/apparmor_restrict_unprivileged_userns") == Some(1),
        has_apparmor_profile: profiles
            .map(|entry| entry.file_name())
            .any(|name| name.to_string_lossy().contains("clawdbot")),
        mighty: ours.mighty(system),
        free: keep
            .iter()
            .filter_map(|path| Some((path.clone(), free(path)?)))
            .collect(),
        memory: memory(&text("proc/meminfo")),
        synchronised: machine::clock_is_synchronised(),
        vault_key: system.then(|| vault_key(root, &mut unseen)).flatten(),
        unseen,
    }
}

fn free(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

fn memory(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// The sealed one counts when both are there, since units name it.
fn vault_key(root: &Path, unseen: &mut Vec<String>) -> Option<KeyFile> {
    let places = [
        ("etc/credstore.encrypted/clawdbot.vault-key", true),
        ("etc/credstore/clawdbot.vault-key", false),
    ];
    for (path, sealed) in places {
        // Of a link what it leads to counts: the link itself is open to everybody, always.
        match fs::metadata(root.join(path)) {
            Ok(found) => {
                return Some(KeyFile {
                    path: Path::new("/").join(path),
                    uid: found.uid(),
                    mode: found.mode() & 0o7777,
                    sealed,
                    seal: sealed.then(|| seal(&root.join(path))).flatten(),
                });
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                unseen.push("the key of the vault".to_owned());
                return None;
            }
            Err(_) => {}
        }
    }
    None
}

fn seal(path: &Path) -> Option<&'static Seal> {
    let mut start = String::new();
    let file = fs::File::open(path).ok()?;
    file.take(20).read_to_string(&mut start).ok()?;
    SEALS.iter().find(|seal| seal.ids.contains(&start.as_str()))
}

fn landlock(facts: &Facts, hits: &mut Hits) {
    let machine = &facts.running.machine;
    if machine.kernel.is_empty() {
        return;
    }
    if machine.landlock == 0 {
        let detail = format!(
            "the kernel {} has none: files are guarded by their owners and modes only",
            machine.kernel
        );
        return hits.add(Hit {
            severity: Some(Warn),
            ..Hit::setting("", detail)
        });
    }
    let holes = LANDLOCK.iter().filter(|(abi, ..)| machine.landlock < *abi);
    let holes: Vec<_> = holes
        .map(|(_, since, what)| format!("{what} (Linux {since})"))
        .collect();
    if !holes.is_empty() {
        hits.add(Hit::setting(
            "",
            format!(
                "landlock ABI {} of {}: {}",
                machine.landlock,
                machine.kernel,
                holes.join(", ")
            ),
        ));
    }
}

fn mighty(facts: &Facts, hits: &mut Hits) {
    for (group, user) in &facts.running.machine.mighty {
        hits.add(Hit {
            // A person's own programs are as mighty.
            severity: (!facts.running.system).then_some(Warn),
            command: Some(format!("sudo gpasswd -d {} {group}", word(user))),
            ..Hit::setting("", format!("{user} is in the group {group}"))
        });
    }
}

fn disk(facts: &Facts, hits: &mut Hits) {
    for (path, free) in &facts.running.machine.free {
        let (tight, full) = match IN_MEMORY {
            (folder, tight, full) if path == Path::new(folder) => (tight, full),
            _ => (TIGHT, FULL),
        };
        if *free < tight {
            hits.add(Hit {
                severity: (*free < full).then_some(Critical),
                ..Hit::file(path, format!("{} MiB are free", free / MIB))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_link_to_the_key_has_the_rights_of_what_it_leads_to() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("etc/credstore.encrypted");
        fs::create_dir_all(&folder).unwrap();
        let key = root.path().join("key");
        fs::write(&key, "x").unwrap();
        symlink("../../key", folder.join("clawdbot.vault-key")).unwrap();
        for mode in [0o600, 0o644] {
            fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
            let found = vault_key(root.path(), &mut Vec::new()).unwrap();
            assert_eq!((found.mode, found.sealed), (mode, true));
        }
        // As `systemd-creds encrypt` writes it.
        for (text, name) in [
            ("Whxqht+dQJax1aZeCGLxmiAAAAABAAAADAAAABAAAA", Some("host")),
            (
                "k6iUCUh0RJCQyvL8k8q1UyAAAAABAAAADAAAABAAAA",
                Some("host+tpm2"),
            ),
            ("BYRp2vb1QySABUnaD46i+yAAAAABAAAADAAAABAAAA", Some(OPEN)),
            ("AAAA", None),
            ("", None),
        ] {
            fs::write(&key, text).unwrap();
            let found = vault_key(root.path(), &mut Vec::new()).unwrap();
            assert_eq!(found.seal.map(|seal| seal.name), name, "{text}");
        }
        fs::remove_file(&key).unwrap();
        assert_eq!(vault_key(root.path(), &mut Vec::new()), None);
    }
}

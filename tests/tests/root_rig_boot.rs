//! The machines in which the installed product is tested are what they claim to be: systemd is their first process, and
//! what a unit says of confinement is enforced there. Otherwise no test in them would mean anything.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use clawdbot_rig::{Groups, Rig, Suite};
use clawdbot_tests::kernel::{Seen, eventually};
use clawdbot_tests::rig::{Machine, boot, on_each, pack};
use clawdbot_tests::{Scratch, finish};

/// Asks the kernel which version of Landlock it has: `landlock_create_ruleset` with LANDLOCK_CREATE_RULESET_VERSION. It
/// has this number on all architectures, and perl is part of every Debian.
const LANDLOCK: &str = "print syscall(444, 0, 0, 1)";

#[test]
fn systemd_is_the_first_process_and_everything_it_starts_is_up() {
    on_each("systemd_is_the_first_process", |machine| {
        assert_eq!(machine.says("cat /proc/1/comm"), "systemd");
        assert_eq!(machine.says("systemctl is-system-running"), "running");
        let version = machine.says("systemctl --version | head -n 1");
        let expected = match machine.name().ends_with("bookworm") {
            true => "systemd 252 ",
            false => "systemd 257 ",
        };
        assert!(version.starts_with(expected), "{version}");
        assert_eq!(machine.says("ls /sys/class/net"), "lo");
        assert!(machine.says("ip -brief address").contains("127.0.0.1/8"));
        // Its groups are the top of what it sees.
        let groups = machine.says("cat /proc/1/cgroup");
        let outside = |line: &str| line.contains("clawdbot-rig") || line.contains("..");
        assert!(!groups.lines().any(outside), "{groups}");
    });
}

#[test]
fn a_command_inside_has_its_own_status_output_and_environment() {
    on_each("a_command_inside", |machine| {
        let ran = machine.sh("echo out; echo err >&2; exit 7");
        assert_eq!(
            (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
            (Some(7), "out\n", "err\n")
        );
        let environment = machine.says("env");
        let names: BTreeSet<&str> = environment
            .lines()
            .filter_map(|line| Some(line.split_once('=')?.0))
            .collect();
        assert!(
            names.contains("PATH") && !names.contains("CARGO_MANIFEST_DIR"),
            "{names:?}"
        );
        assert_eq!(
            machine.as_user("daemon", &["id", "-un"]).ok().stdout,
            "daemon\n"
        );
        // And it is one of the machine's processes.
        assert_eq!(
            machine.says("cat /proc/self/cgroup"),
            machine.says("sed 's,/init.scope$,/,' /proc/1/cgroup")
        );
    });
}

#[test]
fn services_have_the_landlock_of_this_kernel() {
    let here = finish(std::process::Command::new("perl").args(["-e", LANDLOCK]))
        .ok()
        .stdout;
    let version: i64 = here.parse().unwrap();
    assert!(version >= 2, "this kernel has Landlock {version}");
    on_each("services_have_landlock", |machine| {
        let inside = machine.service(&["DynamicUser=yes"], &["perl", "-e", LANDLOCK]);
        assert_eq!(inside.ok().stdout, here, "{}", machine.name());
    });
}

#[test]
fn what_a_unit_says_of_addresses_memory_and_tasks_is_enforced() {
    on_each("what_a_unit_says", |machine| {
        // A listener of the service manager's.
        machine.sh("systemd-run --quiet --unit=door --socket-property=ListenStream=127.0.0.1:7000 sleep 1000").ok();
        let knock = "use IO::Socket::INET; exit(IO::Socket::INET->new(PeerAddr => '127.0.0.1:7000', Timeout => 2) ? 0 : 3)";
        let knock = |properties: &[&str]| machine.service(properties, &["perl", "-e", knock]).code;
        assert_eq!(knock(&[]), Some(0));
        assert_eq!(knock(&["IPAddressDeny=any"]), Some(3));
        assert_eq!(
            knock(&["IPAddressDeny=any", "IPAddressAllow=localhost"]),
            Some(0)
        );

        let touch = [
            "perl",
            "-e",
            "my $x = 'x' x (100 << 20); exit(length($x) > 0 ? 0 : 3)",
        ];
        assert_eq!(machine.service(&["MemoryMax=300M"], &touch).code, Some(0));
        assert_ne!(
            machine
                .service(&["MemoryMax=30M", "MemorySwapMax=0"], &touch)
                .code,
            Some(0)
        );

        let fork = [
            "perl",
            "-e",
            "for (1..5) { my $p = fork; defined $p or exit 3; $p or do { sleep 1; exit 0 } }",
        ];
        assert_eq!(machine.service(&["TasksMax=10"], &fork).code, Some(0));
        assert_eq!(machine.service(&["TasksMax=3"], &fork).code, Some(3));
    });
}

#[test]
fn an_encrypted_credential_is_for_its_service_alone() {
    on_each("an_encrypted_credential", |machine| {
        machine.sh("mkdir -p /etc/credstore.encrypted && printf secret | systemd-creds encrypt --name=key - /etc/credstore.encrypted/key").ok();
        assert!(
            !machine
                .says("cat /etc/credstore.encrypted/key")
                .contains("secret")
        );
        let read = [
            "sh",
            "-c",
            "cat \"$CREDENTIALS_DIRECTORY/key\"; stat -c %A \"$CREDENTIALS_DIRECTORY/key\"",
        ];
        let load = "LoadCredentialEncrypted=key:/etc/credstore.encrypted/key";
        let seen = machine
            .service(&["DynamicUser=yes", load], &read)
            .ok()
            .stdout;
        assert!(
            seen.starts_with("secret") && seen.trim_end().ends_with("---"),
            "{seen}"
        );
        // The name is part of what was encrypted.
        let other = "LoadCredentialEncrypted=other:/etc/credstore.encrypted/key";
        assert_ne!(machine.service(&[other], &["true"]).code, Some(0));
    });
}

#[test]
fn a_package_is_installed_without_a_network_and_its_user_made() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("package");
    for (path, text) in [
        (
            "DEBIAN/control",
            "Package: rig-test\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: a test\n",
        ),
        (
            "DEBIAN/postinst",
            "#!/bin/sh\nset -e\nsystemd-sysusers\nsystemctl daemon-reload\nsystemctl start rig-test\n",
        ),
        ("usr/lib/sysusers.d/rig-test.conf", "u rig-test - -\n"),
        (
            "usr/lib/systemd/system/rig-test.service",
            "[Service]\nType=oneshot\nRemainAfterExit=yes\nUser=rig-test\nExecStart=id -un\n",
        ),
    ] {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let script = folder.join("DEBIAN/postinst");
    rustix::fs::chmod(script, rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
    let deb = scratch.path().join("rig-test.deb");
    pack(&folder, &deb);
    on_each("a_package_is_installed", |machine| {
        machine.install(&deb).ok();
        assert_eq!(machine.says("systemctl is-active rig-test"), "active");
        machine
            .until("journalctl --unit=rig-test --output=cat | grep --quiet --line-regexp rig-test");
        let said = machine.journal("rig-test").unwrap();
        assert!(said.lines().any(|line| line == "rig-test"), "{said}");
        machine.run(&["apt-get", "purge", "--yes", "rig-test"]).ok();
        assert_ne!(machine.sh("systemctl cat rig-test").code, Some(0));
    });
}

/// What a machine has outside of itself.
#[derive(Debug, PartialEq)]
struct Traces {
    mounts: String,
    groups: Vec<std::path::PathBuf>,
    folder: bool,
    processes: Vec<i32>,
}

impl Traces {
    fn of(name: &str) -> Self {
        let groups = Groups::of(name).unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        Self {
            mounts: mounts.lines().filter(|line| line.contains(name)).collect(),
            processes: groups.processes(),
            groups: groups
                .paths()
                .iter()
                .filter(|path| path.exists())
                .cloned()
                .collect(),
            folder: Path::new("/run/clawdbot-rig").join(name).exists(),
        }
    }

    fn none() -> Self {
        Self {
            mounts: String::new(),
            groups: Vec::new(),
            folder: false,
            processes: Vec::new(),
        }
    }
}

/// A machine with a process that does not want to end, and that process's number here.
fn stubborn(machine: &Machine) -> Seen {
    machine.sh("systemd-run --quiet --unit=stubborn sh -c 'trap \"\" TERM INT HUP; while :; do sleep 1; done'").ok();
    let inside = machine.says("systemctl show --property=MainPID --value stubborn");
    let pid = machine.groups().processes().into_iter().find(|pid| {
        let status = Seen(u32::try_from(*pid).unwrap()).status();
        status
            .get("NSpid")
            .is_some_and(|pids| pids.split_whitespace().last() == Some(&inside))
    });
    Seen(u32::try_from(pid.unwrap()).unwrap())
}

#[test]
fn a_machine_leaves_nothing_however_it_ends() {
    const TEST: &str = "a_machine_leaves_nothing";
    for suite in Suite::ALL {
        let Some(machine) = boot(TEST, suite) else {
            return;
        };
        let name = machine.name().to_owned();
        let process = stubborn(&machine);
        assert!(process.lives());
        let traces = Traces::of(&name);
        assert!(
            traces.folder && traces.groups.len() > 5 && traces.processes.len() > 5,
            "{traces:?}"
        );
        machine.halt();
        assert_eq!(Traces::of(&name), Traces::none());
        assert!(!process.lives());
    }

    // A test that fails.
    let Some(machine) = boot(TEST, Suite::Trixie) else {
        return;
    };
    let name = machine.name().to_owned();
    let failed = catch_unwind(AssertUnwindSafe(move || {
        stubborn(&machine);
        panic!("the test fails");
    }));
    assert!(failed.is_err());
    assert_eq!(Traces::of(&name), Traces::none());

    // A test that was killed: the next machine ends what it left. As long as the owner lives nobody does, whatever other
    // tests boot meanwhile.
    let mut owner = std::process::Command::new("sleep")
        .arg("100000")
        .spawn()
        .unwrap();
    let name = format!("{}-1-killed", owner.id());
    let killed = Rig::boot_as(Suite::Bookworm, &name);
    let left = killed.map(|machine| {
        machine.leave();
        Traces::of(&name).folder
    });
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert_eq!(left, Ok(true));
    let Some(machine) = boot(TEST, Suite::Bookworm) else {
        return;
    };
    // A machine of another test that starts at the same time may be at it.
    let gone = eventually(Duration::from_secs(60), || {
        Traces::of(&name) == Traces::none()
    });
    assert!(gone, "{:?}", Traces::of(&name));
    machine.halt();
}

#[test]
fn two_machines_at_once_do_not_see_each_other() {
    const TEST: &str = "two_machines_at_once";
    let (Some(one), Some(two)) = (boot(TEST, Suite::Bookworm), boot(TEST, Suite::Trixie)) else {
        return;
    };
    let door =
        "systemd-run --quiet --unit=door --socket-property=ListenStream=127.0.0.1:7000 sleep 1000";
    for machine in [&one, &two] {
        machine.write("/etc/whose", machine.name());
        machine.sh(door).ok();
    }
    for machine in [&one, &two] {
        assert_eq!(machine.says("cat /etc/whose"), machine.name());
        assert_eq!(machine.says("systemctl is-active door.socket"), "active");
    }
    let refused = Rig::boot_as(Suite::Trixie, two.name()).unwrap_err();
    assert!(refused.contains("runs already"), "{refused}");
    one.halt();
    assert_eq!(two.says("systemctl is-system-running"), "running");
    two.halt();
}

#[test]
fn a_machine_starts_with_what_another_kept_of_its_disk() {
    const TEST: &str = "a_machine_starts_with_what_another_kept";
    for suite in Suite::ALL {
        let Some(machine) = boot(TEST, suite) else {
            return;
        };
        machine
            .sh("echo added >/var/lib/added && rm /etc/issue && chown daemon /var/lib/added")
            .ok();
        let scratch = Scratch::new();
        let kept = scratch.path().join("kept");
        machine.keep(&kept).unwrap();
        machine.halt();
        let again = Machine::boot_with(suite, &kept);
        assert_eq!(again.says("cat /var/lib/added"), "added");
        assert_eq!(again.says("stat --format=%U /var/lib/added"), "daemon");
        assert_ne!(again.sh("cat /etc/issue").code, Some(0));
        again.halt();
    }
}

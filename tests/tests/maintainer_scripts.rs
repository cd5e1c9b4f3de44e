//! The package's own scripts, run as dpkg runs them on a root folder of their own (`DPKG_ROOT`), with nothing on their path
//! but plain tools and impostors of what changes a system. The impostors write down how they were called.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

mod scripts;

use scripts::Machine;

const START: &str = "deb-systemd-invoke start clawdbot.target";

#[test]
fn a_fresh_installation_makes_everything_once_and_starts() {
    let machine = Machine::new();
    machine.answer("deb-systemd-helper", "exit 0");
    let ran = machine.run("postinst", &["configure", ""]).quiet();
    ran.in_order(&[
        "systemd-sysusers --root=ROOT clawdbot.conf",
        "systemd-tmpfiles --root=ROOT --create clawdbot.conf",
        "chgrp clawdbot-policy ROOT/etc/clawdbot/clawdbot.json",
        "deb-systemd-helper unmask clawdbot.target",
        "deb-systemd-helper --quiet was-enabled clawdbot.target",
        "deb-systemd-helper enable clawdbot.target",
        "systemctl --system daemon-reload",
        "clawdbotctl --no-color config validate",
        "clawdbotctl --no-color apply",
        START,
    ]);
    // Units that belong to another, and templates, are not switched.
    assert_eq!(ran.called("deb-systemd-helper").len(), 3);
    assert_eq!(ran.called("deb-systemd-invoke restart"), [""; 0]);
    for step in [
        "usermod -aG clawdbot ada",
        "clawdbot login --provider anthropic",
        "clawdbot chat",
    ] {
        assert!(ran.out.contains(step), "{}", ran.out);
    }
    let key = machine.installed("etc/credstore.encrypted/clawdbot.vault-key");
    let meta = fs::metadata(&key).unwrap();
    assert_eq!((meta.len(), meta.permissions().mode() & 0o777), (32, 0o600));
    let folder = fs::metadata(key.parent().unwrap()).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);

    let before = fs::read(&key).unwrap();
    let again = machine.run("postinst", &["configure", "0.1.0"]).quiet();
    assert_eq!(again.called("systemd-creds"), [""; 0]);
    assert_eq!(fs::read(&key).unwrap(), before);
    assert_eq!(again.out, "");
}

#[test]
fn an_upgrade_restarts_what_is_active_one_by_one_from_the_called_to_the_callers() {
    let machine = Machine::new();
    let active = [
        "clawdbot-agent@main.service",
        "clawdbot-broker.service",
        "clawdbot-docker.service",
        "clawdbot-gateway.service",
        "clawdbot-journal@3-78-1000.service",
        "clawdbot-model@openai.service",
        "clawdbot-policy.service",
        "clawdbot-sandbox-main@3-77-0.service",
    ];
    machine.active(&active, &["clawdbot-model@openai.service"]);
    let ran = machine.run("postinst", &["configure", "0.0.9"]).quiet();
    // The call in flight is left alone, and so are a reader of the log and what somebody masked.
    assert_eq!(
        ran.called("deb-systemd-invoke"),
        [
            "deb-systemd-invoke restart clawdbot-broker.service",
            "deb-systemd-invoke restart clawdbot-policy.service",
            "deb-systemd-invoke restart clawdbot-agent@main.service",
            "deb-systemd-invoke restart clawdbot-gateway.service",
            "deb-systemd-invoke restart clawdbot-docker.service",
            START,
        ]
    );
    assert_eq!(ran.called("systemctl stop"), [""; 0]);
    ran.in_order(&[
        "systemctl --system daemon-reload",
        "deb-systemd-invoke restart clawdbot-broker.service",
        "systemctl reset-failed clawdbot-*",
        START,
    ]);
}

#[test]
fn what_this_version_has_no_unit_for_is_stopped_before_the_new_units_are_read() {
    let machine = Machine::new();
    machine.answer(
        "systemctl",
        "case \"$*\" in show*) printf '%s\\n' \
            Id=clawdbot-policy.service FragmentPath=/usr/lib/systemd/system/clawdbot-policy.service '' \
            Id=clawdbot-policy-from-old.socket FragmentPath=/usr/lib/systemd/system/clawdbot-policy-from-old.socket '' \
            Id=clawdbot-unknown.socket FragmentPath= ;; esac",
    );
    let ran = machine.run("postinst", &["configure", "0.0.9"]).quiet();
    assert_eq!(
        ran.called("deb-systemd-invoke stop"),
        ["deb-systemd-invoke stop clawdbot-policy-from-old.socket"]
    );
    ran.in_order(&[
        "deb-systemd-invoke stop clawdbot-policy-from-old.socket",
        "systemctl --system daemon-reload",
        START,
    ]);
}

#[test]
fn what_failed_below_the_target_is_named() {
    let machine = Machine::new();
    machine.answer(
        "systemctl",
        "case \"$*\" in *state=failed*) echo 'clawdbot-gateway.socket loaded failed failed x' ;; esac",
    );
    let ran = machine.run("postinst", &["configure", ""]).fine();
    assert!(
        ran.err
            .ends_with("clawdbot doctor, or: systemctl status UNIT\nclawdbot-gateway.socket\n"),
        "{}",
        ran.err
    );
}

#[test]
fn a_service_that_does_not_come_back_is_named_and_the_others_are_restarted() {
    let machine = Machine::new();
    machine.active(&["clawdbot-broker.service", "clawdbot-policy.service"], &[]);
    machine.answer(
        "deb-systemd-invoke",
        "case $2 in clawdbot-broker.service) exit 1 ;; esac",
    );
    let ran = machine.run("postinst", &["configure", "0.0.9"]).fine();
    assert!(
        ran.err.contains("systemctl status clawdbot-broker.service"),
        "{}",
        ran.err
    );
    ran.in_order(&["deb-systemd-invoke restart clawdbot-policy.service", START]);
}

#[test]
fn a_configuration_that_does_not_load_is_said_and_keeps_the_running_programs() {
    let machine = Machine::new();
    machine.active(&["clawdbot-policy.service"], &[]);
    machine.answer("clawdbotctl", "echo 'line 3: no key gatewya'; exit 78");
    let ran = machine.run("postinst", &["configure", "0.0.9"]).fine();
    assert!(
        ran.err.contains("clawdbot service restart") && ran.err.contains("line 3"),
        "{}",
        ran.err
    );
    assert_eq!(ran.called("deb-systemd-invoke"), [START]);
    assert_eq!(ran.called("clawdbotctl --no-color apply"), [""; 0]);
}

#[test]
fn what_apply_could_not_do_is_said_with_its_words() {
    let machine = Machine::new();
    machine.answer(
        "clawdbotctl",
        "case \"$*\" in *apply) echo 'port 1 is taken' >&2; exit 1 ;; esac",
    );
    let ran = machine.run("postinst", &["configure", ""]).fine();
    assert!(ran.err.contains("port 1 is taken"), "{}", ran.err);
    assert!(ran.err.contains("try: clawdbot apply"), "{}", ran.err);
    ran.position(START);
    // A version without that command has nothing to apply.
    machine.answer("clawdbotctl", "case \"$*\" in *apply*) exit 2 ;; esac");
    let ran = machine.run("postinst", &["configure", ""]).quiet();
    assert_eq!(
        ran.called("clawdbotctl --no-color apply"),
        ["clawdbotctl --no-color apply --help"]
    );
}

#[test]
fn a_unit_that_was_switched_off_stays_off() {
    let machine = Machine::new();
    machine.answer(
        "deb-systemd-helper",
        "case \"$*\" in *was-enabled*) exit 1 ;; esac",
    );
    let ran = machine.run("postinst", &["configure", "0.0.9"]).quiet();
    assert_eq!(ran.called("deb-systemd-helper enable"), [""; 0]);
    ran.position("deb-systemd-helper update-state clawdbot.target");
    // Whether it may be started is asked of the tool that knows disabled units; the manager is never told to directly.
    assert_eq!(ran.called("systemctl start"), [""; 0]);
    assert_eq!(ran.called("systemctl restart"), [""; 0]);
}

#[test]
fn an_older_version_is_refused_while_there_is_state() {
    let machine = Machine::new();
    for words in [["upgrade", "0.2.0", "0.1.0"], ["install", "0.2.0", "0.1.0"]] {
        assert_eq!(machine.run("preinst", &words).quiet().calls, [""; 0]);
    }
    machine.put("var/lib/clawdbot/queue/x", "");
    for words in [["upgrade", "0.2.0", "0.1.0"], ["install", "0.2.0", "0.1.0"]] {
        let ran = machine.run("preinst", &words);
        assert_eq!(ran.code, Some(1));
        for word in ["0.2.0", "0.1.0", "formats", "apt-get purge clawdbot"] {
            assert!(ran.err.contains(word), "{}", ran.err);
        }
    }
    for words in [
        &["upgrade", "0.1.0", "0.2.0"][..],
        &["upgrade", "0.2.0~rc1", "0.2.0"],
        &["upgrade", "0.1.0", "0.1.0"],
        &["install"],
        &["abort-upgrade", "0.1.0"],
    ] {
        machine.run("preinst", words).quiet();
    }
}

#[test]
fn removal_stops_sockets_before_services_and_keeps_what_is_the_owners() {
    let machine = Machine::new();
    let ran = machine.run("prerm", &["remove"]).quiet();
    assert_eq!(
        ran.calls,
        [
            "deb-systemd-invoke stop clawdbot.target",
            "deb-systemd-invoke stop clawdbot-*.path",
            "deb-systemd-invoke stop clawdbot-*.socket",
            "deb-systemd-invoke stop clawdbot-*.service",
            "deb-systemd-invoke stop clawdbot*.slice",
            "systemctl reset-failed clawdbot*",
        ]
    );
    fill(&machine);
    let ran = machine.run("postrm", &["remove"]).quiet();
    assert_eq!(
        ran.calls,
        [
            "deb-systemd-helper mask clawdbot.target",
            "aa-enabled --quiet",
            "apparmor_parser -R ROOT/etc/apparmor.d/clawdbot-sandbox",
            "systemctl --system daemon-reload",
        ]
    );
    for kept in KEPT_BY_REMOVAL {
        assert!(machine.installed(kept).exists(), "{kept}");
    }
    assert!(
        !machine
            .installed("etc/apparmor.d/clawdbot-sandbox")
            .exists()
    );
}

const KEPT_BY_REMOVAL: &[&str] = &[
    "var/lib/clawdbot/queue/x",
    "var/lib/clawdbot-work/main/x",
    "etc/clawdbot/environment",
    "etc/clawdbot/secrets/x",
    "etc/clawdbot/clawdbot.json.bak.1",
    "etc/clawdbot/clawdbot.json.bak.12",
    "etc/clawdbot/clawdbot.json.bak.999999",
    "etc/clawdbot/clawdbot.json.new.1",
    "etc/credstore.encrypted/clawdbot.vault-key",
    "etc/credstore.encrypted/clawdbot.vault-key.new",
    "etc/credstore.encrypted/clawdbot.gateway-token",
    "etc/credstore/clawdbot.gateway-password",
    "etc/sysusers.d/clawdbot-instances.conf",
    "etc/sysusers.d/.clawdbot-instances.conf.new",
    "etc/systemd/system/.clawdbot-policy-from-model-x.socket.new",
    "etc/systemd/system/clawdbot.target.d/.50-clawdbot-apply.conf.new",
];

fn fill(machine: &Machine) {
    for path in KEPT_BY_REMOVAL {
        machine.put(path, "");
    }
    for (path, text) in [
        (
            "var/lib/systemd/deb-systemd-helper-enabled/clawdbot.target.dsh-also",
            "",
        ),
        (
            "etc/apparmor.d/clawdbot-sandbox",
            "# Written by the package clawdbot.\n",
        ),
        (
            "etc/systemd/system/clawdbot-gateway.socket.d/50-clawdbot-apply.conf",
            "# Written by `clawdbot apply`, which\n",
        ),
        (
            "etc/systemd/system/clawdbot-model-x.socket",
            "# Written by `clawdbot apply`, which\n",
        ),
        (
            "etc/systemd/system/clawdbot.target.d/50-clawdbot-apply.conf",
            "# Written by `clawdbot apply`, which\n",
        ),
        (
            "etc/systemd/system/clawdbot-policy.service.d/mine.conf",
            "[Service]\n",
        ),
    ] {
        machine.put(path, text);
    }
}

#[test]
fn purge_leaves_what_others_wrote_and_nothing_else() {
    let machine = Machine::new();
    fill(&machine);
    let mask = machine.installed("etc/systemd/system/clawdbot-dialer.service");
    std::os::unix::fs::symlink("/dev/null", &mask).unwrap();
    // dpkg removes the configuration file itself.
    fs::remove_file(machine.installed("etc/clawdbot/clawdbot.json")).unwrap();
    let ran = machine.run("postrm", &["purge"]).quiet();
    assert_eq!(
        ran.calls,
        [
            "deb-systemd-helper purge clawdbot.target",
            "deb-systemd-helper unmask clawdbot.target",
            "systemctl --system daemon-reload",
        ]
    );
    for gone in KEPT_BY_REMOVAL {
        assert!(!machine.installed(gone).exists(), "{gone}");
    }
    for gone in [
        "var/lib/clawdbot",
        "etc/clawdbot",
        "etc/apparmor.d/clawdbot-sandbox",
        "etc/systemd/system/clawdbot-gateway.socket.d",
        "etc/systemd/system/clawdbot-model-x.socket",
        "etc/systemd/system/clawdbot.target.d",
    ] {
        assert!(!machine.installed(gone).exists(), "{gone}");
    }
    assert!(!mask.is_symlink());
    let mine = "etc/systemd/system/clawdbot-policy.service.d/mine.conf";
    assert!(machine.installed(mine).exists());
    // Once more, as after a removal that was purged already.
    machine.run("postrm", &["purge"]).quiet();
}

#[test]
fn a_file_of_somebody_else_keeps_the_folder_of_the_configuration() {
    let machine = Machine::new();
    // Among them names that `config set` takes for somebody else's, and a link that has one of its own.
    let theirs = [
        "etc/clawdbot/notes",
        "etc/clawdbot/clawdbot.json.bak",
        "etc/clawdbot/clawdbot.json.bak.007",
        "etc/clawdbot/clawdbot.json.bak.20240101",
        "etc/clawdbot/clawdbot.json.bak.x",
        "etc/clawdbot/clawdbot.json.new",
        "etc/clawdbot/mine.bak.1",
        "etc/credstore/other.token",
        "etc/systemd/system/clawdbot-mine.service",
        "etc/systemd/system/.mine.socket.new",
    ];
    for path in theirs {
        machine.put(path, "mine");
    }
    let link = machine.installed("etc/clawdbot/clawdbot.json.bak.3");
    std::os::unix::fs::symlink("notes", &link).unwrap();
    machine.run("postrm", &["purge"]).quiet();
    for path in theirs {
        assert_eq!(
            fs::read_to_string(machine.installed(path)).unwrap(),
            "mine",
            "{path}"
        );
    }
    assert!(link.is_symlink());
}

#[test]
fn what_was_broken_off_changes_only_what_had_been_stopped() {
    let machine = Machine::new();
    let ran = machine
        .run("postinst", &["abort-remove", "in-favour", "x", "1"])
        .quiet();
    assert_eq!(ran.called("deb-systemd-invoke"), [START]);
    for (script, words) in [
        ("postinst", &["abort-upgrade", "0.2.0"][..]),
        (
            "postinst",
            &["abort-deconfigure", "in-favour", "x", "1", "removing"],
        ),
        ("prerm", &["upgrade", "0.2.0"]),
        ("prerm", &["deconfigure", "in-favour", "x", "1"]),
        ("prerm", &["failed-upgrade", "0.1.0", "0.2.0"]),
        ("postrm", &["upgrade", "0.2.0"]),
        ("postrm", &["failed-upgrade", "0.1.0", "0.2.0"]),
        ("postrm", &["abort-install"]),
        ("postrm", &["abort-upgrade", "0.1.0", "0.2.0"]),
        ("postrm", &["disappear", "other", "1"]),
    ] {
        assert_eq!(
            machine.run(script, words).quiet().calls,
            [""; 0],
            "{script}"
        );
    }
    for script in ["preinst", "postinst", "prerm", "postrm"] {
        assert_eq!(machine.run(script, &["dance"]).code, Some(1), "{script}");
    }
}

#[test]
fn where_systemd_does_not_run_nothing_is_started_or_stopped() {
    let machine = Machine::new();
    fs::remove_dir_all(machine.installed("run")).unwrap();
    let ran = machine.run("postinst", &["configure", ""]).fine();
    for never in [
        "systemctl",
        "deb-systemd-invoke",
        "systemd-creds",
        "clawdbotctl --no-color apply",
    ] {
        assert_eq!(ran.called(never), [""; 0], "{never}");
    }
    // Users, folders and what is switched on are made all the same; a key of this machine would be wrong elsewhere.
    ran.in_order(&[
        "systemd-sysusers --root=ROOT clawdbot.conf",
        "deb-systemd-helper enable clawdbot.target",
    ]);
    assert!(ran.err.contains("dpkg-reconfigure clawdbot"), "{}", ran.err);
    assert_eq!(machine.run("prerm", &["remove"]).quiet().calls, [""; 0]);
    for action in ["remove", "purge"] {
        let ran = machine.run("postrm", &[action]).quiet();
        assert_eq!(ran.called("systemctl"), [""; 0]);
    }
}

#[test]
fn a_mode_or_owner_that_somebody_chose_for_the_configuration_stays() {
    for chosen in [
        "root:clawdbot-policy:640",
        "root:adm:640",
        "root:root:600",
        "ada:root:640",
    ] {
        let machine = Machine::new();
        machine.answer("stat", &format!("echo {chosen}"));
        let ran = machine.run("postinst", &["configure", ""]).quiet();
        assert_eq!(ran.called("chgrp"), [""; 0], "{chosen}");
    }
}

#[test]
fn the_vault_gets_no_other_key_and_no_short_one() {
    let key = "etc/credstore.encrypted/clawdbot.vault-key";
    let machine = Machine::new();
    machine.put("var/lib/clawdbot/credentials/vault", "sealed");
    let ran = machine.run("postinst", &["configure", "0.0.9"]).fine();
    assert!(ran.err.contains("from a backup"), "{}", ran.err);
    assert!(!machine.installed(key).exists());

    for broken in [
        "cat >/dev/null; echo 'no key of the host' >&2; exit 1",
        r#"case $1 in encrypt) echo short >"$6" ;; decrypt) cat "$3" ;; esac"#,
    ] {
        let machine = Machine::new();
        machine.answer("systemd-creds", broken);
        let ran = machine.run("postinst", &["configure", ""]).fine();
        assert!(ran.err.contains("nothing can be logged in"), "{}", ran.err);
        let folder = machine.installed(key);
        let left = fs::read_dir(folder.parent().unwrap()).unwrap().count();
        assert_eq!(left, 0);
        ran.position(START);
    }
}

#[test]
fn the_profile_for_apparmor_comes_only_where_it_is_understood_and_never_over_an_edited_one() {
    let profile = "etc/apparmor.d/clawdbot-sandbox";
    let ours = "usr/share/clawdbot/apparmor/clawdbot-sandbox";
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    let text = fs::read_to_string(Path::new(&own).join("../packaging/deb/apparmor")).unwrap();
    let machine = Machine::new();
    machine.put(ours, &text);
    machine.answer("apparmor_parser", "case $1 in -Q) exit 1 ;; esac");
    fs::create_dir_all(machine.installed("etc/apparmor.d")).unwrap();
    machine.run("postinst", &["configure", ""]).quiet();
    assert!(!machine.installed(profile).exists());

    machine.answer("apparmor_parser", "exit 0");
    let ran = machine.run("postinst", &["configure", ""]).quiet();
    ran.position("apparmor_parser -r -W ROOT/etc/apparmor.d/clawdbot-sandbox");
    assert_eq!(
        fs::read_to_string(machine.installed(profile)).unwrap(),
        text
    );

    machine.put(profile, "# mine\n");
    machine.run("postinst", &["configure", "0.0.9"]).quiet();
    assert_eq!(
        fs::read_to_string(machine.installed(profile)).unwrap(),
        "# mine\n"
    );
}

#[test]
fn the_configuration_of_the_package_loads_and_has_nothing_to_warn_of() {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    let path = Path::new(&own).join("../packaging/deb/clawdbot.json");
    let text = fs::read(path).unwrap();
    let loaded = clawdbot_config::parse("clawdbot.json", &text)
        .unwrap_or_else(|error| panic!("{}", error.render(false)));
    assert!(loaded.findings.is_empty(), "{:?}", loaded.findings);
    assert!(loaded.inactive().is_empty(), "{:?}", loaded.inactive());
    let set = |path: &str| loaded.get(path).unwrap_or_default();
    assert_eq!(set("gateway.bind"), "loopback");
    assert_eq!(set("gateway.auth.mode"), "token");
    assert_eq!(set("agents.defaults.model.primary"), "builtin/guide");
    assert!(set("channels.telegram").is_null());
}

#[test]
fn shellcheck_finds_nothing_and_the_shell_of_debian_reads_the_scripts() {
    let test = "shellcheck_finds_nothing_and_the_shell_of_debian_reads_the_scripts";
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    let folder = Path::new(&own).join("../packaging/deb");
    let check = |words: &[&str], script: &Path| {
        let output = Command::new(words[0])
            .args(&words[1..])
            .arg(script)
            .stdin(Stdio::null())
            .output();
        output.map(|output| {
            let text = [output.stdout, output.stderr].concat();
            (
                output.status.success(),
                String::from_utf8_lossy(&text).into_owned(),
            )
        })
    };
    for script in ["preinst", "postinst", "prerm", "postrm"] {
        let script = folder.join(script);
        for words in [&["dash", "-n"][..], &["shellcheck", "-s", "sh"]] {
            match check(words, &script) {
                Ok((fine, said)) => assert!(fine, "{said}"),
                Err(_) => clawdbot_tests::skip(test, &format!("{} is not installed", words[0])),
            }
        }
    }
}

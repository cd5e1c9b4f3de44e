//! Operators read the log without a right to the journal: they are passed the entries of our own units over a socket, and
//! no others, whatever they ask for and whatever others write.

use std::collections::BTreeSet;

use clawdbot_tests::rig::{Machine, on_each, on_each_installed, package};

const SOCKET: &str = "/run/clawdbot/operator/journal.sock";
/// In every entry that is none of ours.
const FOREIGN: &str = "foreign-7c1f";
/// How many readers there may be, and how many of one operator where systemd counts by user.
const READERS: (&str, &str) = ("8", "4");

/// Sends bytes over the socket and prints what comes until its end.
const ASK: &str = "use IO::Socket::UNIX; $SIG{PIPE} = 'IGNORE'; \
    my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die \"refused: $!\"; \
    $s->autoflush(1); print $s $ARGV[1]; local $/; print <$s>";

/// Follows over nine connections at the same time, writes how many were accepted, and keeps them.
const CROWD: &str = "use IO::Socket::UNIX; $SIG{PIPE} = 'IGNORE'; my @kept; \
    for (1..9) { my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or next; $s->autoflush(1); print $s \"follow\\n\"; \
    my $l = <$s>; push @kept, $s if defined $l && $l eq \"ok\\n\" } \
    $| = 1; print scalar(@kept), \"\\n\"; sleep 100000";

fn ask(machine: &Machine, user: &str, request: &str) -> clawdbot_tests::Output {
    machine.as_user(user, &["perl", "-e", ASK, SOCKET, request])
}

/// A command of a user's that runs until it is ended, as a unit; what it prints goes to `/var/tmp/UNIT`.
fn background(machine: &Machine, unit: &str, user: &str, words: &[&str]) {
    let (unit, user) = (format!("--unit={unit}"), format!("--uid={user}"));
    let output = format!("--property=StandardOutput=append:/var/tmp/{}", &unit[7..]);
    let mut all = vec![
        "systemd-run",
        "--quiet",
        "--collect",
        &unit,
        &user,
        &output,
        "--",
    ];
    all.extend(words);
    machine.run(&all).ok();
}

/// Lines of others that would like to be taken for ours, by users with and without rights.
fn forge(machine: &Machine) {
    let fields = "SYSLOG_IDENTIFIER=clawdbot-policy\nPRIORITY=3\nCLAWDBOT_ROLE=policy\nCLAWDBOT_LEVEL=error\nUNIT=clawdbot-policy.service\nOBJECT_SYSTEMD_UNIT=clawdbot-policy.service\nCOREDUMP_UNIT=clawdbot-policy.service\n_SYSTEMD_UNIT=clawdbot-policy.service\n_UID=0\n_PID=1\nMESSAGE_ID=fc2e22bc6ee647b6b90729ab34a250b1";
    for (n, user) in ["daemon", "clawdbot-gateway"].iter().enumerate() {
        let script = format!(
            "printf '%s\\n' 'MESSAGE={FOREIGN} forged {n}' '{fields}' | logger --journald\nlogger --tag clawdbot-policy '{FOREIGN} tagged {n}'\n"
        );
        machine.write("/var/tmp/forge", &script);
        let user = format!("--uid={user}");
        machine
            .run(&[
                "systemd-run",
                "--quiet",
                "--wait",
                "--collect",
                "--unit=foreign",
                &user,
                "sh",
                "/var/tmp/forge",
            ])
            .ok();
    }
    machine.write("/var/tmp/printed", &format!("{FOREIGN} printed\n"));
    machine.sh("systemd-run --quiet --wait --collect --unit=not-clawdbot-policy --property=SyslogIdentifier=clawdbot-policy cat /var/tmp/printed").ok();
    machine.sh("journalctl --sync").ok();
    let all = machine.says(&format!("journalctl --output=cat | grep -c {FOREIGN}"));
    assert_eq!(
        all,
        "5",
        "{}",
        machine.says(&format!("journalctl | grep {FOREIGN}"))
    );
}

fn readers_are_gone(machine: &Machine) {
    machine.until(
        "test -z \"$(systemctl list-units --all --plain --no-legend 'clawdbot-journal@*')\"",
    );
    machine.until("! pgrep -u clawdbot-journal");
}

#[test]
fn an_operator_reads_our_lines_and_never_another_one() {
    on_each_installed("an_operator_reads_our_lines", |machine| {
        machine.add_user("alice", true);
        machine.add_user("bob", false);
        forge(machine);

        let logs =
            |user: &str| machine.as_user(user, &["clawdbot", "logs", "--json", "--limit", "10000"]);
        let seen = logs("alice").ok().stdout;
        assert!(
            seen.contains("\"role\":\"policy\"") && seen.contains("\"role\":\"gateway\""),
            "{seen}"
        );
        assert!(!seen.contains(FOREIGN), "{seen}");
        // All that root has, and nothing about having read.
        let all = machine.says("clawdbot logs --json --limit 10000");
        let [seen, all] =
            [seen.as_str(), all.as_str()].map(|text| text.lines().collect::<BTreeSet<_>>());
        assert!(seen.is_subset(&all) && seen.len() > 10, "{seen:?}");
        assert!(!logs("alice").ok().stdout.contains("clawdbot-journal@"));
        let few = machine
            .as_user(
                "alice",
                &["clawdbot", "logs", "--limit", "3", "--since", "1h"],
            )
            .ok();
        assert_eq!(few.stdout.lines().count(), 3, "{few:?}");

        // Whatever is asked for over the bare socket.
        let back = ask(machine, "alice", "back\n").ok().stdout;
        assert!(
            back.starts_with("ok\n{") && back.contains("clawdbot-policy.service"),
            "{back}"
        );
        assert!(!back.contains(FOREIGN), "{back}");
        for request in [
            "\n",
            "back --unit=foreign.service\n",
            "--unit=foreign.service\n",
            "back 0 _SYSTEMD_UNIT=foreign.service\n",
            "follow\n--unit=foreign.service\n",
            "back\n--merge\n",
            "back 99999999999999999999999999999999\n",
            "",
        ] {
            let said = ask(machine, "alice", request).ok().stdout;
            assert!(
                said.contains("request") && said.lines().count() == 1,
                "{request}: {said}"
            );
        }

        // Everybody else is kept out by the socket.
        let refused = ask(machine, "bob", "back\n");
        assert!(
            refused.code != Some(0) && refused.stderr.contains("refused: Permission denied"),
            "{refused:?}"
        );
        let refused = machine.as_user("bob", &["clawdbot", "logs"]);
        assert_eq!(
            (refused.code, refused.stdout.as_str()),
            (Some(77), ""),
            "{refused:?}"
        );
        assert!(
            refused.stderr.contains("bob is not in the group clawdbot"),
            "{refused:?}"
        );
        assert_eq!(
            machine.says(&format!("stat -c '%U %G %a' {SOCKET}")),
            "root clawdbot 660"
        );

        // It is there when the rest is not.
        machine.sh("clawdbot service stop").ok();
        assert!(logs("alice").ok().stdout.contains("\"role\":\"policy\""));
        readers_are_gone(machine);
        assert_eq!(machine.says("systemctl is-system-running"), "running");
        let complaints = machine.complaints();
        let ours = complaints.lines().find(|line| !line.contains(FOREIGN));
        assert_eq!(ours, None, "{complaints}");
    });
}

#[test]
fn an_operator_follows_the_log_and_the_reader_ends_with_whoever_reads() {
    on_each_installed("an_operator_follows_the_log", |machine| {
        machine.add_user("alice", true);
        background(
            machine,
            "following",
            "alice",
            &[
                "clawdbot",
                "logs",
                "--json",
                "--follow",
                "--service",
                "executor",
            ],
        );
        machine.until(
            "systemctl list-units --plain --no-legend 'clawdbot-journal@*' | grep -q running",
        );
        machine.until("test -s /var/tmp/following");
        for round in 1..=2 {
            let pid = machine.process("clawdbot-executor.service");
            machine
                .sh("systemctl restart clawdbot-executor.service")
                .ok();
            let now = machine.process("clawdbot-executor.service");
            assert_ne!(pid, now);
            machine.until(&format!(
                "test $(grep -c 'Started clawdbot-executor' /var/tmp/following) -gt {round}"
            ));
        }
        forge(machine);

        // What it can reach.
        let reader = machine.says("pgrep -u clawdbot-journal");
        assert_eq!(
            machine.says(&format!("cat /proc/{reader}/comm")),
            "journalctl"
        );
        assert_eq!(
            machine.says(&format!(
                "ls /proc/{reader}/root/var /proc/{reader}/root/var/log | grep -v : | xargs"
            )),
            "log tmp journal"
        );
        let run = machine.says(&format!("find /proc/{reader}/root/run -type s"));
        assert_eq!(run, "");
        let status = machine.says(&format!("cat /proc/{reader}/status"));
        for line in [
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(status.contains(line), "{line}: {status}");
        }

        // A restart of everything and the end of the log's own socket cut off nobody who reads.
        machine.sh("systemctl restart clawdbot.target").ok();
        machine.ready();
        machine.until(&format!("test -d /proc/{reader}"));
        assert_eq!(
            machine.says("systemctl is-active following.service"),
            "active"
        );
        assert_eq!(
            machine
                .sh(&format!("grep {FOREIGN} /var/tmp/following"))
                .stdout,
            ""
        );

        // Killed while nothing new comes.
        machine
            .sh("systemctl kill --signal=KILL following.service")
            .ok();
        readers_are_gone(machine);

        // A reader that is killed is told to whom it read, and the next one reads.
        let told = std::thread::scope(|scope| {
            let follow = ["clawdbot", "logs", "--follow"];
            let following = scope.spawn(move || machine.as_user("alice", &follow));
            // What was there before is read by another, which ends.
            machine.until("pgrep -u clawdbot-journal --full -- --follow");
            machine.sh("systemctl kill --signal=KILL 'clawdbot-journal@*.service'");
            following.join().unwrap()
        });
        assert_eq!(told.code, Some(1), "{told:?}");
        assert!(
            told.stderr.contains("the journal's reader has ended"),
            "{told:?}"
        );
        readers_are_gone(machine);
        machine.as_user("alice", &["clawdbot", "logs"]).ok();
        assert_eq!(
            machine.says("systemctl list-units --failed --plain --no-legend 'clawdbot*'"),
            ""
        );
    });
}

#[test]
fn there_are_so_many_readers_at_the_same_time_and_they_go_with_their_clients() {
    on_each_installed("there_are_so_many_readers", |machine| {
        machine.add_user("alice", true);
        machine.add_user("carol", true);
        let logs = |user: &str| machine.as_user(user, &["clawdbot", "logs"]);
        // As a file: the service manager would put variables in.
        machine.write("/var/tmp/crowd.pl", CROWD);
        background(
            machine,
            "crowd",
            "alice",
            &["perl", "/var/tmp/crowd.pl", SOCKET],
        );
        machine.until("test -s /var/tmp/crowd");
        let by_user = machine.says("cat /var/tmp/crowd") == READERS.1;
        assert_eq!(
            by_user,
            machine.name().ends_with("trixie"),
            "{}",
            machine.says("cat /var/tmp/crowd")
        );
        if !by_user {
            assert_eq!(machine.says("cat /var/tmp/crowd"), READERS.0);
        }
        let refused = logs("alice");
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(
            refused.stderr.contains("a few people at the same time"),
            "{refused:?}"
        );
        assert_eq!(logs("carol").code, Some(i32::from(!by_user)));

        machine
            .sh("systemctl kill --signal=KILL crowd.service")
            .ok();
        readers_are_gone(machine);
        logs("alice").ok();
        assert_eq!(
            machine.says("systemctl is-active clawdbot-journal.socket"),
            "active"
        );
    });
}

#[test]
fn doctor_knows_the_reader_of_the_log_and_purge_leaves_none() {
    const TEST: &str = "doctor_knows_the_reader_of_the_log";
    let Some(deb) = package(TEST) else { return };
    on_each(TEST, |machine| {
        machine.install(&deb).ok();
        machine.ready();
        machine.add_user("alice", true);
        let doctor = || machine.sh("clawdbot doctor --json").stdout;
        let found = doctor();
        assert!(
            found.contains("\"findings\"")
                && !found.contains("journal.sock")
                && !found.contains("clawdbot-journal"),
            "{found}"
        );
        machine.sh(&format!("chmod 666 {SOCKET}")).ok();
        let found = doctor();
        assert!(
            found.contains("sockets.owner") && found.contains(SOCKET),
            "{found}"
        );
        machine.sh(&format!("chmod 660 {SOCKET}")).ok();
        machine.write(
            "/etc/systemd/system/clawdbot-journal@.service.d/x.conf",
            "[Service]\nPrivateNetwork=no\n",
        );
        machine.sh("systemctl daemon-reload").ok();
        let found = doctor();
        assert!(
            found.contains("clawdbot-journal@.service.d/x.conf"),
            "{found}"
        );
        machine
            .sh("rm -r /etc/systemd/system/clawdbot-journal@.service.d && systemctl daemon-reload")
            .ok();

        background(
            machine,
            "following",
            "alice",
            &["clawdbot", "logs", "--follow"],
        );
        machine.until("pgrep -u clawdbot-journal");
        machine.sh("apt-get purge --yes clawdbot").ok();
        readers_are_gone(machine);
        machine.until("! systemctl is-active --quiet following.service");
        assert_eq!(
            machine
                .says("systemctl list-units --all --plain --no-legend --state=active 'clawdbot*'"),
            ""
        );
        assert_eq!(
            machine.says("find /var/lib /usr -name '*clawdbot*'; ls /run | grep clawdbot || true"),
            ""
        );
        assert_eq!(machine.says("systemctl is-system-running"), "running");
    });
}

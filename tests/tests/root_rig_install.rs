//! The package as it is installed, upgraded and removed on Debian 12 and 13: by apt, without a question and without a
//! network. Installed it is safe and running, and what somebody changed stays theirs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use clawdbot_identity::Role;
use clawdbot_proto::v1::SendRequest;
use clawdbot_proto::v1::chat_event::Event;
use clawdbot_service::system;
use clawdbot_tests::Scratch;
use clawdbot_tests::kernel::eventually;
use clawdbot_tests::open_chat::OpenChat;
use clawdbot_tests::rig::{
    ALWAYS, GUIDE, Machine, on_each, on_each_installed, package, repack, with_version,
};

fn chat(machine: &Machine, user: &str) -> clawdbot_tests::Output {
    machine.as_user(user, &["clawdbot", "chat", "--message", "hello"])
}

/// Numbers of the running processes by unit; none is 0.
fn processes(machine: &Machine) -> BTreeMap<String, u32> {
    let units = ALWAYS.map(|role| system::service_unit(&Role::parse(role).unwrap()));
    units
        .into_iter()
        .map(|unit| {
            let pid = machine.process(&unit);
            (unit, pid)
        })
        .collect()
}

/// Since when each socket listens.
fn since(machine: &Machine) -> BTreeSet<String> {
    let shown = machine
        .says("systemctl show --property=Id,ActiveEnterTimestampMonotonic 'clawdbot-*.socket'");
    shown.split("\n\n").map(String::from).collect()
}

/// The status with which the front door answers whoever has this word.
#[track_caller]
fn knock(machine: &Machine, word: Option<&str>) -> u16 {
    let word = word.map(|word| format!("Authorization: Bearer {word}\r\n"));
    let request = format!(
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:18789\r\nConnection: close\r\n{}\r\n",
        word.unwrap_or_default()
    );
    let answer = machine.network(|| {
        let mut stream = TcpStream::connect(("127.0.0.1", 18789)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    });
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    status.unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn installed_without_a_question_it_runs_and_is_closed() {
    let tokens = RefCell::new(BTreeSet::new());
    on_each_installed("installed_without_a_question", |machine| {
        // Every process is up, under its own user, and nothing complains.
        let running = processes(machine);
        assert!(running.values().all(|pid| *pid > 1), "{running:?}");
        for role in ALWAYS {
            let role = Role::parse(role).unwrap();
            let unit = system::service_unit(&role);
            let pid = running[&unit];
            let user = machine.says(&format!("stat -c %U /proc/{pid}"));
            // A process that closed itself to others belongs to root in /proc.
            let real = machine.says(&format!(
                "id -un $(awk '/^Uid:/ {{print $2}}' /proc/{pid}/status)"
            ));
            assert_eq!(real, system::user_of(&role), "{unit} ({user})");
            let status = machine.unit(&unit, "StatusText")["StatusText"].clone();
            assert!(status.contains("level=full"), "{unit}: {status}");
        }
        assert_eq!(machine.complaints(), "");
        assert_eq!(machine.says("systemctl is-system-running"), "running");
        let shown = machine
            .sh("systemctl status --no-pager --lines=0 'clawdbot-*'")
            .stdout;
        assert!(
            !shown.contains("failed") && shown.contains("active (running)"),
            "{shown}"
        );

        // The front door is open to this machine alone, and nothing else listens.
        let listening = machine.says("ss --no-header --listening --numeric --tcp --udp");
        let addresses: Vec<&str> = listening
            .lines()
            .filter_map(|line| line.split_whitespace().nth(4))
            .collect();
        assert_eq!(addresses, ["127.0.0.1:18789"], "{listening}");

        // Nobody passes it without the token that was made here, which a member of the group reads.
        machine.add_user("alice", true);
        let token = || {
            let said = machine.as_user("alice", &["clawdbot", "token"]).ok();
            said.stdout.trim_end().to_owned()
        };
        let first = token();
        assert!(first.len() >= 32, "{} characters", first.len());
        let other = first.replace(|c: char| c.is_ascii_alphanumeric(), "a");
        assert_eq!(knock(machine, None), 401);
        assert_eq!(knock(machine, Some(&other)), 401);
        assert_eq!(knock(machine, Some(&first)), 200);
        // It is of this machine alone.
        assert!(tokens.borrow_mut().insert(first.clone()), "seen before");
        machine
            .as_user("alice", &["clawdbot", "token", "--rotate"])
            .ok();
        let second = token();
        assert_ne!(second, first);
        assert_eq!(knock(machine, Some(&first)), 401);
        assert_eq!(knock(machine, Some(&second)), 200);

        // No channel, and no model but the guide.
        assert_eq!(machine.says("ls /run/clawdbot/plan"), "settings");
        let answer = chat(machine, "alice").ok();
        assert!(answer.stdout.contains(GUIDE), "{answer:?}");
        assert_eq!(machine.complaints(), "");
    });
}

#[test]
fn users_sockets_and_folders_are_exactly_those_that_are_meant() {
    on_each_installed("users_sockets_and_folders", |machine| {
        let mut sockets = BTreeSet::new();
        let each = system::per_connection();
        let roles = each.iter().map(|(server, _)| server.clone());
        for role in system::roles().into_iter().chain(roles) {
            let user = system::user_of(&role);
            let entry = machine.says(&format!("getent passwd {user}"));
            let fields: Vec<&str> = entry.split(':').collect();
            assert_eq!(
                fields[5..],
                ["/nonexistent", "/usr/sbin/nologin"],
                "{entry}"
            );
            assert!(fields[2].parse::<u32>().unwrap() < 1000, "{entry}");
            assert_eq!(machine.says(&format!("id -Gn {user}")), user);
            let clients = system::clients_of(&role).into_iter();
            let pairs = clients.map(|client| (role.clone(), client));
            for (server, client) in
                pairs.chain(each.iter().filter(|(server, _)| *server == role).cloned())
            {
                sockets.insert(format!(
                    "{} root {} 660",
                    system::socket_path(&server, &client).display(),
                    system::socket_group(&client)
                ));
            }
        }
        let found = machine.says("find /run/clawdbot -type s -printf '%p %u %g %m\\n'");
        let found: BTreeSet<String> = found.lines().map(String::from).collect();
        assert_eq!(found, sockets);

        // Nobody but its owner can look into a leaf of the state but the one that everybody reads at the start, and nobody
        // writes what is root's.
        let open = machine.says("find /var/lib/clawdbot -mindepth 1 ! -user root -perm /077 -printf '%p %u %m\\n' | sort");
        assert_eq!(
            open,
            "/var/lib/clawdbot/plan clawdbot-policy 755\n/var/lib/clawdbot/plan/settings clawdbot-policy 644"
        );
        let writable = machine.says("find /etc/clawdbot /usr/libexec/clawdbot /usr/bin/clawdbot ! -type l \\( ! -user root -o -perm /022 \\)");
        assert_eq!(writable, "");
        assert_eq!(
            machine.says("stat -c '%U %G %a' /etc/clawdbot/clawdbot.json"),
            "root clawdbot-policy 640"
        );
        let key = machine.says("stat -c '%U %a' /etc/credstore.encrypted/clawdbot.vault-key");
        assert!(key.starts_with("root ") && key.ends_with("00"), "{key}");
    });
}

/// The most that a service may be exposed, in tenths, by its unit: as docs/hardening.md promises.
fn limits() -> BTreeMap<String, u32> {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    let page = Path::new(&own).join("../docs/hardening.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| Service | Exposure | at most |"));
    let rows = rows.skip(2).map_while(|line| line.strip_prefix("| "));
    let rows = rows.map(|row| {
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        (cells[0].to_owned(), tenths(cells[2]))
    });
    rows.collect()
}

/// 4 of `0.4`.
fn tenths(number: &str) -> u32 {
    number.replace('.', "").parse().unwrap()
}

#[test]
fn each_systemd_finds_nothing_wrong_with_the_units_and_no_service_too_exposed() {
    on_each_installed("each_systemd_finds_nothing_wrong", |machine| {
        let units = machine.says("cd /usr/lib/systemd/system && ls -d clawdbot* | grep -v '\\.d$'");
        let with_instance = |unit: &str| unit.replace("@.", "@telegram.");
        let all: Vec<String> = units.lines().map(with_instance).collect();
        assert!(all.len() > 80, "{all:?}");
        // The manual is elsewhere tested to be there.
        let verify = "systemd-analyze --man=no --recursive-errors=yes verify";
        let said = machine.sh(&format!("{verify} {} 2>&1", all.join(" ")));
        assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""));
        let user = format!("{verify} --user /usr/lib/systemd/user/clawdbot.service 2>&1");
        let said = machine.sh(&format!(
            "mkdir /run/user/0; XDG_RUNTIME_DIR=/run/user/0 {user}"
        ));
        assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""));

        let limits = limits();
        let services = units.lines().filter(|unit| unit.ends_with(".service"));
        let services: BTreeSet<&str> = services.collect();
        assert!(
            limits
                .keys()
                .map(String::as_str)
                .eq(services.iter().copied()),
            "{services:?}"
        );
        let mut exposed = BTreeMap::new();
        for (service, limit) in &limits {
            let said = machine.says(&format!(
                "systemd-analyze security --offline=true --no-pager /usr/lib/systemd/system/{service} 2>&1"
            ));
            let (_, rest) = said.rsplit_once("Overall exposure level for ").unwrap();
            let found = tenths(rest.split(' ').nth(1).unwrap());
            if found > *limit {
                exposed.insert(service, said);
            }
        }
        assert!(exposed.is_empty(), "{}: {exposed:#?}", machine.name());
    });
}

#[test]
fn an_operator_needs_no_sudo_and_anybody_else_is_told_what_is_missing() {
    on_each_installed("an_operator_needs_no_sudo", |machine| {
        machine.add_user("alice", true);
        machine.add_user("bob", false);
        assert!(chat(machine, "alice").ok().stdout.contains(GUIDE));
        // Nobody has longer than a moment to answer, so that on a busy machine it is asked again.
        let status = || machine.as_user("alice", &["clawdbot", "status"]);
        let well = eventually(Duration::from_secs(120), || status().code == Some(0));
        assert!(well, "{:?}", status());
        // What the installation told goes on being told until a model answers.
        for words in [["clawdbot", "status"], ["clawdbot", "--help"]] {
            let said = machine.as_user("alice", &words).ok().stdout;
            for step in [
                "sudo usermod -aG clawdbot \"$USER\"",
                "clawdbot login --provider anthropic",
                "clawdbot chat\n",
            ] {
                assert!(said.contains(step), "{words:?}: {step}: {said}");
            }
            assert!(!said.contains("clawdbot up --chat"), "{words:?}: {said}");
        }

        let refused = chat(machine, "bob");
        assert_eq!(refused.code, Some(77), "{refused:?}");
        assert_eq!(refused.stdout, "");
        assert!(refused.stderr.contains("group clawdbot"), "{refused:?}");
        let read = ["cat", "/etc/clawdbot/clawdbot.json"];
        for user in ["alice", "bob"] {
            assert_ne!(machine.as_user(user, &read).code, Some(0), "{user}");
        }
    });
}

#[test]
fn an_upgrade_restarts_every_process_and_an_open_chat_goes_on() {
    const TEST: &str = "an_upgrade_restarts_every_process";
    let Some(deb) = package(TEST) else { return };
    let scratch = Scratch::new();
    let next = scratch.path().join("next.deb");
    with_version(&deb, &next, "99.0");
    on_each_installed(TEST, |machine| {
        machine.add_user("alice", true);
        let mut conversation = OpenChat::of(machine, "alice");
        conversation.ask("hello");
        let before = processes(machine);
        let sockets = since(machine);

        machine.install(&next).ok();
        machine.ready();
        assert_eq!(
            machine.says("dpkg-query --show --showformat='${Version}' clawdbot"),
            "99.0"
        );
        let after = processes(machine);
        for (unit, pid) in &before {
            assert!(
                after[unit] > 1 && after[unit] != *pid,
                "{unit} was not restarted"
            );
        }
        // The sockets stayed, so that a call in between waited.
        assert!(sockets.len() > 50, "{sockets:?}");
        assert_eq!(since(machine), sockets);
        conversation.ask("hello again");
        conversation.close();

        // The same version once more.
        machine
            .sh("apt-get install --reinstall --yes /root/next.deb")
            .ok();
        machine.ready();
        assert!(chat(machine, "alice").ok().stdout.contains(GUIDE));
    });
}

/// Takes a socket unit out of a package that lies unpacked, and its mention out of the server's unit and the target.
fn without(unit: &str) -> String {
    format!(
        "cd usr/lib/systemd/system; rm {unit}; sed -i '/={unit}$/d' clawdbot-*.service clawdbot.target; cd - >/dev/null; \
         ! grep --recursive --quiet --fixed-strings {unit} usr/lib/systemd"
    )
}

/// The queue as the second format had it, which had no notice of who wrote and of what `/queue` changed.
const SECOND_FORMAT: &str = "
    ALTER TABLE inbox DROP COLUMN mark;
    DROP TABLE wishes;
    PRAGMA user_version = 2;
";

/// Turns the queue into the second format, in a copy, since sqlite would look for its path here; the messages in it that
/// nobody has answered.
#[track_caller]
fn age_the_queue(machine: &Machine) -> u32 {
    let scratch = Scratch::new();
    let copy = scratch.path().join("inbox.db");
    let inside = |end: &str| machine.path(&format!("/var/lib/clawdbot/queue/inbox.db{end}"));
    std::fs::copy(inside(""), &copy).unwrap();
    // Its writer may have ended before it folded the log into the file, and the new writer must not find it.
    if inside("-wal").exists() {
        std::fs::copy(inside("-wal"), scratch.path().join("inbox.db-wal")).unwrap();
        std::fs::remove_file(inside("-wal")).unwrap();
    }
    let db = rusqlite::Connection::open(&copy).unwrap();
    let count = "SELECT count(*) FROM inbox WHERE state = 'queued'";
    let queued = db.query_row(count, [], |row| row.get(0)).unwrap();
    db.execute_batch(SECOND_FORMAT).unwrap();
    // Folds the log of this change into the file.
    db.close().unwrap();
    // Its owner and mode stay.
    std::fs::write(inside(""), std::fs::read(copy).unwrap()).unwrap();
    queued
}

/// Who listens at a socket's path, if anybody.
fn listens(machine: &Machine, path: &str) -> bool {
    machine
        .says("ss --no-header --listening --unix")
        .split_whitespace()
        .any(|word| word == path)
}

#[test]
fn an_upgrade_takes_over_the_queue_and_other_sockets_of_an_older_version() {
    const TEST: &str = "an_upgrade_takes_over";
    const QUESTION: &str = "are you there after all?";
    const ADDED: (&str, &str) = (
        "clawdbot-policy-from-operator.socket",
        "/run/clawdbot/operator/policy.sock",
    );
    const DROPPED: (&str, &str) = (
        "clawdbot-broker-from-operator.socket",
        "/run/clawdbot/operator/broker.sock",
    );
    let Some(deb) = package(TEST) else { return };
    let scratch = Scratch::new();
    let (old, next) = (
        scratch.path().join("old.deb"),
        scratch.path().join("next.deb"),
    );
    let version = |number| format!("sed -i 's/^Version:.*/Version: {number}/' DEBIAN/control");
    repack(
        &deb,
        &old,
        &format!("{}; {}", version("0.0.1"), without(ADDED.0)),
    );
    repack(
        &deb,
        &next,
        &format!("{}; {}", version("99.0"), without(DROPPED.0)),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    on_each(TEST, |machine| {
        machine.install(&old).ok();
        machine.ready();
        let token = || machine.run(&["clawdbot", "token"]);
        assert!(!listens(machine, ADDED.1) && listens(machine, DROPPED.1));
        assert_ne!(token().code, Some(0));

        // A message that is accepted and not answered: its agent is away.
        let agent = "clawdbot-agent-main-from-gateway.socket clawdbot-agent@main.service";
        machine.sh(&format!("systemctl stop {agent}")).ok();
        let mut talk = machine.talk();
        runtime.block_on(async {
            let request = SendRequest {
                message_id: "old-1".into(),
                session: "old".into(),
                text: QUESTION.into(),
            };
            let sent = talk.client().send(request).await.unwrap();
            let first = sent.into_inner().message().await.unwrap();
            let event = first.and_then(|first| first.event);
            assert!(matches!(event, Some(Event::Accepted(_))), "{event:?}");
        });
        machine.sh("systemctl stop 'clawdbot-gateway*.socket' && systemctl stop clawdbot-gateway.service").ok();
        assert_eq!(age_the_queue(machine), 1);

        let said = machine.install(&next).ok();
        assert!(!said.stderr.contains("clawdbot: "), "{said:?}");
        machine.ready();
        machine.says("journalctl --unit=clawdbot-gateway.service --output=cat | grep 'brought to the format of this version'");
        let (answer, questions) = runtime.block_on(async {
            let mut talk = machine.talk();
            let answer = talk.answer("old-1", "old", QUESTION).await;
            (answer, talk.questions("old").await)
        });
        assert!(answer.contains(GUIDE), "{answer}");
        let asked = questions.iter().filter(|asked| asked.ends_with(QUESTION));
        assert_eq!(asked.count(), 1, "{questions:?}");

        // The server has the new socket and serves it; the old one is gone with its unit.
        assert!(listens(machine, ADDED.1));
        assert_eq!(machine.unit(ADDED.0, "SubState")["SubState"], "running");
        token().ok();
        assert!(!listens(machine, DROPPED.1));
        machine.sh(&format!("test ! -e {}", DROPPED.1)).ok();
        assert_eq!(
            machine.says("systemctl list-units --all --plain --no-legend --state=not-found,failed 'clawdbot*'"),
            ""
        );
        assert_eq!(machine.says("systemctl is-system-running"), "running");
    });
}

#[test]
fn what_the_administrator_changed_is_kept() {
    const TEST: &str = "what_the_administrator_changed";
    let Some(deb) = package(TEST) else { return };
    let scratch = Scratch::new();
    let next = scratch.path().join("next.deb");
    let change = "sed -i 's/^Version:.*/Version: 99.0/' DEBIAN/control; echo '// another line' >>etc/clawdbot/clawdbot.json";
    repack(&deb, &next, change);
    on_each_installed(TEST, |machine| {
        machine
            .sh("echo '// mine' >>/etc/clawdbot/clawdbot.json")
            .ok();
        machine.sh("systemctl disable --now clawdbot.target && systemctl mask --now clawdbot-dialer.service").ok();
        let vault = machine.says("sha256sum /etc/credstore.encrypted/clawdbot.vault-key");

        machine.install(&next).ok();
        let config = machine.says("cat /etc/clawdbot/clawdbot.json");
        assert!(
            config.contains("// mine") && !config.contains("// another line"),
            "{config}"
        );
        assert_eq!(
            machine.says("stat -c '%U %G %a' /etc/clawdbot/clawdbot.json"),
            "root clawdbot-policy 640"
        );
        assert_eq!(
            machine.sh("systemctl is-enabled clawdbot.target").stdout,
            "disabled\n"
        );
        assert_eq!(
            machine
                .sh("systemctl is-enabled clawdbot-dialer.service")
                .stdout,
            "masked\n"
        );
        assert_eq!(
            machine
                .sh("systemctl is-active clawdbot-dialer.service")
                .stdout,
            "inactive\n"
        );
        assert_eq!(
            machine.says("sha256sum /etc/credstore.encrypted/clawdbot.vault-key"),
            vault
        );
    });
}

#[test]
fn an_older_version_is_refused_with_the_reason_and_the_newer_one_runs_on() {
    const TEST: &str = "an_older_version_is_refused";
    let Some(deb) = package(TEST) else { return };
    let scratch = Scratch::new();
    let older = scratch.path().join("older.deb");
    with_version(&deb, &older, "0.0.1");
    on_each_installed(TEST, |machine| {
        let before = processes(machine);
        machine.copy_in(&older, "/root/older.deb").unwrap();
        let refused = machine.run(&["dpkg", "--install", "/root/older.deb"]);
        assert_ne!(refused.code, Some(0));
        assert!(refused.stderr.contains("older"), "{refused:?}");
        assert_eq!(processes(machine), before);
        let state =
            machine.says("dpkg-query --show --showformat='${db:Status-Abbrev}${Version}' clawdbot");
        assert!(
            state.starts_with("ii") && !state.ends_with("0.0.1"),
            "{state}"
        );
    });
}

/// Folders in which a package may put something; apt and dpkg keep books of their own.
const EVERYWHERE: &str = "find /etc /usr /var /run /opt /srv /root /home /tmp -xdev \
    \\( -path '/var/lib/dpkg' -o -path '/var/lib/apt' -o -path '/var/cache' -o -path '/var/log' -o -path '/run/log' \
    -o -path '/run/systemd' -o -path '/run/udev' -o -path '/tmp/systemd-private-*' -o -path '/var/tmp/systemd-private-*' \\) -prune \
    -o -print | sort";

/// Stands in the configuration for a while.
const SECRET: &str = "0123456789-a-secret-of-nobody-abcdef";

/// What removal keeps of the configuration, with the sum of each file: also what `config set` and `apply` wrote, and the
/// vault with its key.
const KEPT: &str = "find /etc/clawdbot /etc/systemd/system /etc/sysusers.d /etc/credstore.encrypted /var/lib/clawdbot/credentials \
    -type f \\( -path '*clawdbot*' -o -name 'vault*' \\) -exec sha256sum {} + | sort";

/// All that makes files outside of the package: settings, one with a secret that is taken back, another port, a provider of
/// one's own and a key.
#[track_caller]
fn use_it(machine: &Machine) {
    let provider =
        format!("baseUrl: 'http://127.0.0.1:9/v1', api: 'openai-completions', apiKey: '{SECRET}'");
    machine.write(
        system::CONFIG,
        &format!("{{models: {{providers: {{box: {{{provider}}}}}}}}}"),
    );
    for words in [
        &["set", "gateway.port", "4000"][..],
        &["set", "logging.level", "debug"],
        &["unset", "models.providers.box.apiKey"],
    ] {
        machine.run(&[&["clawdbot", "config"], words].concat()).ok();
    }
    machine.run(&["clawdbotctl", "apply"]).ok();
    let held = machine.says(&format!(
        "grep --recursive --files-with-matches {SECRET} /etc/clawdbot"
    ));
    assert!(held.contains("clawdbot.json.bak."), "{held}");
    let words = ["clawdbot", "login", "--provider", "openai", "--no-check"];
    machine
        .as_user_told("alice", &words, "sk-0123456789-a-key-of-nobody-abcdef\n")
        .ok();
    // An administrator gave the front door a token of their own.
    machine.write("/etc/credstore/clawdbot.gateway-password", "of-nobody");
}

#[test]
fn removal_keeps_the_state_and_purge_leaves_the_users_alone() {
    const TEST: &str = "removal_keeps_the_state";
    let Some(deb) = package(TEST) else { return };
    on_each(TEST, |machine| {
        machine.copy_in(&deb, "/root/clawdbot.deb").unwrap();
        let before = machine.says(EVERYWHERE);
        let before: BTreeSet<&str> = before.lines().collect();
        machine.sh("apt-get install --yes /root/clawdbot.deb").ok();
        machine.ready();
        machine.add_user("alice", true);
        assert!(chat(machine, "alice").ok().stdout.contains(GUIDE));
        use_it(machine);
        let kept = machine.says(KEPT);
        for part in [
            "clawdbot.json.bak.3",
            "50-clawdbot-apply.conf",
            "model-box.socket",
        ] {
            assert!(kept.contains(part), "{part}: {kept}");
        }

        machine.sh("apt-get remove --yes clawdbot").ok();
        assert_eq!(machine.sh("pgrep ^clawdbot").stdout, "");
        assert_eq!(
            machine
                .says("systemctl list-units --all --plain --no-legend --state=active 'clawdbot*'"),
            ""
        );
        assert_eq!(machine.says("find /usr -name '*clawdbot*'"), "");
        assert_eq!(machine.says(KEPT), kept);
        machine
            .sh("test -n \"$(find /var/lib/clawdbot/sessions/main -type f)\"")
            .ok();

        // What was kept is taken up again.
        machine.sh("apt-get install --yes /root/clawdbot.deb").ok();
        machine.ready();
        assert_eq!(machine.says(KEPT), kept);
        machine.until("ss --no-header --listening --numeric --tcp | grep --quiet 127.0.0.1:4000");
        let stored = machine.as_user("alice", &["clawdbot", "credentials", "list"]);
        assert!(stored.ok().stdout.contains("openai"));
        machine.sh("userdel --remove alice").ok();

        machine.sh("apt-get purge --yes clawdbot").ok();
        assert_eq!(machine.sh("pgrep ^clawdbot").stdout, "");
        let secret = machine.sh(&format!(
            "grep --recursive --files-with-matches {SECRET} /etc /var/lib"
        ));
        assert_eq!((secret.code, secret.stdout.as_str()), (Some(1), ""));
        let after = machine.says(EVERYWHERE);
        let left: Vec<&str> = after
            .lines()
            .filter(|path| !before.contains(path))
            // Books of the user database, which keeps the users; and a key of this machine's own that systemd made.
            .filter(|path| {
                ![
                    "/etc/passwd-",
                    "/etc/group-",
                    "/etc/shadow-",
                    "/etc/gshadow-",
                    "/etc/subuid-",
                    "/etc/subgid-",
                ]
                .contains(path)
            })
            .filter(|path| !path.starts_with("/var/lib/systemd/"))
            // systemd's folders for credentials and users, which it has not everywhere made before somebody needs them.
            .filter(|path| {
                ![
                    "/etc/credstore",
                    "/etc/credstore.encrypted",
                    "/etc/sysusers.d",
                    "/run/credstore",
                ]
                .contains(path)
            })
            .collect();
        assert_eq!(left, Vec::<&str>::new());
        let kept = machine.says("find /var/lib/systemd -name '*clawdbot*'");
        assert_eq!(kept, "");
        for user in ["clawdbot-broker", "clawdbot-model-box"] {
            machine.run(&["getent", "passwd", user]).ok();
        }
        assert_eq!(machine.says("systemctl is-system-running"), "running");
    });
}

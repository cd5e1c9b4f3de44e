//! The operator's commands on the installed product, and on a machine of somebody who has only the programs: what they do,
//! what they leave alone, what they refuse and to whom. Nothing is stopped that could not be started again, and every
//! refusal names the way out.

use std::time::Duration;

use clawdbot_identity::Role;
use clawdbot_service::system::{CONFIG, LISTENER_UNIT, TARGET, service_unit};
use clawdbot_tests::kernel::eventually;
use clawdbot_tests::open_chat::OpenChat;
use clawdbot_tests::rig::{ALWAYS, GUIDE, Machine, on_each, on_each_installed, package};
use clawdbot_tests::{Output, binary};

/// Longest wait for something to be done.
const PATIENCE: Duration = Duration::from_secs(180);
/// What apply writes for another address of the front door.
const DROP_IN: &str = "/etc/systemd/system/clawdbot-gateway.socket.d/50-clawdbot-apply.conf";
/// Since when each socket listens and each service runs.
const SINCE: &str = "systemctl show --property=Id,ActiveEnterTimestampMonotonic 'clawdbot*'";

fn unit_of(role: &str) -> String {
    service_unit(&Role::parse(role).unwrap())
}

/// Writes the configuration as an editor would: owner and mode stay.
fn configure(machine: &Machine, text: &str) {
    machine.write(CONFIG, text);
}

#[track_caller]
fn apply(machine: &Machine) -> String {
    machine.run(&["clawdbotctl", "apply"]).ok().stdout
}

#[track_caller]
fn has_nothing_to_apply(machine: &Machine) {
    let said = apply(machine);
    assert!(said.starts_with("nothing to do"), "{said}");
}

#[track_caller]
fn refused(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.code, Some(code), "{output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "{word}: {output:?}");
    }
}

/// Asks again until all of this is told: nobody waits long for a service manager that has much to do, and then tells what the
/// others say.
#[track_caller]
fn tells(machine: &Machine, user: &str, command: &str, wanted: &[&str]) {
    let words: Vec<&str> = ["clawdbot"].into_iter().chain(command.split(' ')).collect();
    let ask = || {
        let output = machine.as_user(user, &words);
        output.stdout + &output.stderr
    };
    let told = || {
        let said = ask();
        wanted.iter().all(|word| said.contains(word))
    };
    assert!(eventually(PATIENCE, told), "{user}: {wanted:?}: {}", ask());
}

/// Nothing but the front door has a port.
#[track_caller]
fn listens_at_alone(machine: &Machine, address: &str) {
    let open = machine.says("ss --no-header --listening --numeric --tcp | awk '{print $4}'");
    assert_eq!(open, address);
}

#[track_caller]
fn answers(machine: &Machine) {
    let asked = machine
        .run(&["clawdbot", "chat", "--message", "hello"])
        .ok();
    assert!(asked.stdout.contains(GUIDE), "{asked:?}");
}

const BOX: &str = "models: {providers: {box: {baseUrl: 'http://127.0.0.1:9000/v1', api: 'openai-completions'}}}, agents: {defaults: {model: 'box/any'}}";

#[test]
fn apply_makes_what_root_has_to_make_and_nothing_twice() {
    on_each_installed("apply_makes_what_root_has_to_make", |machine| {
        machine.add_user("alice", true);
        let apply_as_alice = || machine.as_user("alice", &["clawdbotctl", "apply"]);
        has_nothing_to_apply(machine);
        refused(&apply_as_alice(), 77, &["sudo clawdbotctl apply"]);

        // A hand edit moves nothing and is named, to whoever asks, with the command.
        configure(machine, "{gateway: {port: 4000}}");
        for user in ["root", "alice"] {
            tells(machine, user, "status", &["sudo clawdbot apply", ":4000"]);
            let named = ["apply.pending", "sudo clawdbot apply"];
            tells(machine, user, "doctor", &named);
        }
        assert_eq!(machine.run(&["clawdbot", "apply", "--check"]).code, Some(1));
        listens_at_alone(machine, "127.0.0.1:18789");
        let said = apply(machine);
        assert!(
            said.contains("127.0.0.1:18789 becomes 127.0.0.1:4000"),
            "{said}"
        );
        listens_at_alone(machine, "127.0.0.1:4000");
        answers_by_guide_again(machine);
        has_nothing_to_apply(machine);
        machine.run(&["clawdbot", "apply", "--check"]).ok();
        machine.until("clawdbot status >/tmp/said && ! grep --quiet apply /tmp/said");

        // The command that changes the file does it on the way.
        machine
            .run(&["clawdbot", "config", "set", "gateway.port", "4001"])
            .ok();
        listens_at_alone(machine, "127.0.0.1:4001");
        has_nothing_to_apply(machine);
        configure(
            machine,
            "{gateway: {port: 4001, bind: 'lan', auth: {token: '8c0e1f6b7a2d4953a1b2c3d4e5f60718'}}}",
        );
        apply(machine);
        listens_at_alone(machine, "0.0.0.0:4001");
        let filter =
            machine.says("systemctl show --property=IPAddressAllow clawdbot-gateway.socket");
        assert!(
            filter.contains("192.168.0.0/16") && !filter.contains(" 0.0.0.0/0"),
            "{filter}"
        );

        assert_eq!(machine.complaints(), "");

        // What does not load stops nothing.
        let before = machine.says(SINCE);
        configure(machine, "{gateway: {prot: 4002}}");
        for command in [
            &["clawdbot", "apply"][..],
            &["clawdbot", "service", "restart"],
        ] {
            refused(&machine.run(command), 78, &["clawdbot.json", "prot"]);
        }
        assert_eq!(machine.says(SINCE), before);

        configure(machine, "{}");
        apply(machine);
        listens_at_alone(machine, "127.0.0.1:18789");
        assert_ne!(machine.sh(&format!("ls {DROP_IN}")).code, Some(0));
    });
}

/// The front door is asked by a person while its server has just been started.
#[track_caller]
fn answers_by_guide_again(machine: &Machine) {
    machine.ready();
    answers(machine);
}

/// A model provider inside, where [`BOX`] looks for it.
fn provider(machine: &Machine) {
    machine
        .copy_in(&binary("fake-provider"), "/usr/local/bin/fake-provider")
        .unwrap();
    machine
        .sh("systemd-run --quiet --unit=provider fake-provider --port 9000")
        .ok();
    machine.until("ss --no-header --listening --numeric --tcp | grep --quiet 127.0.0.1:9000");
}

#[test]
fn a_provider_of_ones_own_gets_a_user_and_sockets_and_loses_the_sockets_with_its_lines() {
    on_each_installed("a_provider_of_ones_own", |machine| {
        provider(machine);
        configure(machine, &format!("{{{BOX}}}"));
        let said = apply(machine);
        assert!(said.contains("user clawdbot-model-box"), "{said}");
        machine
            .run(&["getent", "passwd", "clawdbot-model-box"])
            .ok();
        machine.ready();
        let sockets = "systemctl list-units --plain --no-legend --state=listening,running 'clawdbot-*model-box*.socket' | wc --lines";
        assert_eq!(machine.says(sockets), "5");
        let worker = "clawdbot-model@box.service";
        assert_eq!(machine.process(worker), 0, "nobody has asked it");
        let asked = machine.run(&["clawdbot", "chat", "--message", "a word of the server's"]);
        assert!(asked.ok().stdout.contains("a word of the server's"));
        assert!(machine.process(worker) > 0);
        has_nothing_to_apply(machine);

        configure(machine, "{}");
        apply(machine);
        let left = "systemctl list-units --all --plain --no-legend --state=active,failed 'clawdbot-*model?box*'; find /run/clawdbot /etc/systemd/system -type f,s -path '*model-box*'";
        assert_eq!(machine.says(left), "");
        machine
            .run(&["getent", "passwd", "clawdbot-model-box"])
            .ok();
        answers_by_guide_again(machine);
        has_nothing_to_apply(machine);

        // A name that no user could have: what is in the way is told, and nothing is done.
        let before = machine.says(SINCE);
        let name = "a-provider-with-a-very-long-name";
        configure(
            machine,
            &format!("{{models: {{providers: {{'{name}': {{baseUrl: 'http://127.0.0.1:1'}}}}}}}}"),
        );
        refused(
            &machine.run(&["clawdbot", "apply"]),
            1,
            &[name, "nothing is changed"],
        );
        refused(
            &machine.run(&["clawdbot", "service", "restart"]),
            1,
            &[name],
        );
        assert_eq!(machine.says(SINCE), before);
        // An installation is one nevertheless.
        machine.run(&["systemctl", "disable", TARGET]).ok();
        refused(
            &machine.run(&["clawdbot", "service", "install"]),
            1,
            &[name],
        );
        assert_eq!(
            machine.says("systemctl is-enabled clawdbot.target"),
            "enabled"
        );
        answers(machine);
    });
}

#[test]
fn nobody_holds_apply_up_two_at_once_are_one_and_one_that_was_killed_is_finished_by_the_next() {
    on_each_installed("nobody_holds_apply_up", |machine| {
        // Whoever may read the units' folder may lock it.
        machine.sh("systemd-run --quiet --unit=thief --uid=nobody flock /etc/systemd/system sleep 1000").ok();
        machine.until("! flock --nonblock /etc/systemd/system true");
        let lock = "/run/clawdbot/apply.lock";
        configure(machine, "{gateway: {port: 4000}}");
        machine.run(&["timeout", "60", "clawdbotctl", "apply"]).ok();
        listens_at_alone(machine, "127.0.0.1:4000");
        machine.says(&format!("ls {lock}"));
        let stolen = machine.as_user("nobody", &["flock", "--nonblock", lock, "true"]);
        assert_ne!(stolen.code, Some(0));

        configure(machine, &format!("{{gateway: {{port: 4001}}, {BOX}}}"));
        let both =
            machine.sh("clawdbotctl apply >/tmp/one & clawdbotctl apply >/tmp/two && wait $!");
        both.ok();
        let said = machine.says("sort /tmp/one /tmp/two");
        assert_eq!(said.matches("nothing to do").count(), 1, "{said}");
        assert_eq!(said.matches("becomes 127.0.0.1:4001").count(), 1, "{said}");
        has_nothing_to_apply(machine);

        // Killed after a file was written, after the first stop, and after a file was removed.
        let unit = "/etc/systemd/system/clawdbot-policy-from-model-box.socket";
        let moments = [
            (
                "{}".to_owned(),
                format!("[ ! -e {unit} ]"),
                "127.0.0.1:18789",
            ),
            (
                format!("{{gateway: {{port: 4002}}, {BOX}}}"),
                format!("[ -e {unit} ]"),
                "127.0.0.1:4002",
            ),
            (
                format!("{{gateway: {{port: 4003}}, {BOX}}}"),
                format!("! systemctl is-active --quiet {LISTENER_UNIT}"),
                "127.0.0.1:4003",
            ),
        ];
        for (text, moment, address) in moments {
            configure(machine, &text);
            machine.sh(&format!(
                "clawdbotctl apply & until {moment} || ! kill -0 $!; do :; done; kill -KILL $!; wait $!"
            ));
            apply(machine);
            machine.ready();
            listens_at_alone(machine, address);
            has_nothing_to_apply(machine);
        }
        let silent = "systemctl list-units --all --plain --no-legend --state=inactive,failed 'clawdbot-*.socket'";
        assert_eq!(machine.says(silent), "");
    });
}

#[test]
fn the_services_are_started_stopped_and_left_alone_as_asked() {
    on_each_installed("the_services_are_started_stopped", |machine| {
        machine.add_user("alice", true);
        let service = |verb: &str| machine.run(&["clawdbot", "service", verb]);
        let status = service("status").ok().stdout;
        for role in ALWAYS {
            assert!(status.contains(&unit_of(role)), "{role}: {status}");
        }
        machine
            .as_user("alice", &["clawdbot", "service", "status"])
            .ok();
        for verb in ["start", "stop", "restart", "install", "uninstall"] {
            let words = ["clawdbot", "service", verb];
            let sudo = format!("sudo clawdbot service {verb}");
            refused(&machine.as_user("alice", &words), 77, &[&sudo]);
        }

        // What an operator wrote stays, and an open chat goes on.
        let mine = "/etc/systemd/system/clawdbot-gateway.service.d/mine.conf";
        machine.write(mine, "[Service]\nLogRateLimitBurst=77\n");
        machine
            .run(&["systemctl", "mask", "--quiet", "clawdbot-dialer.service"])
            .ok();
        let mut chat = OpenChat::of(machine, "alice");
        chat.ask("hello");
        let before = machine.process(&unit_of("gateway"));
        // The process of the masked unit is gone with the others, and that it does not come back is told.
        let restarted = service("restart");
        assert_eq!(restarted.code, Some(1), "{restarted:?}");
        assert!(
            restarted.stdout.contains("dialer does not run, masked"),
            "{restarted:?}"
        );
        assert_ne!(machine.process(&unit_of("gateway")), before);
        assert_eq!(machine.process(&unit_of("dialer")), 0);
        chat.ask("hello again");
        chat.close();
        // Its sockets cannot listen, which is nothing to apply.
        has_nothing_to_apply(machine);
        assert_eq!(
            machine.says(&format!("cat {mine}")),
            "[Service]\nLogRateLimitBurst=77"
        );
        machine
            .run(&["systemctl", "unmask", "--quiet", "clawdbot-dialer.service"])
            .ok();
        service("start").ok();
        machine.ready();

        // What failed is tried again, and sockets that somebody stopped listen again.
        machine.sh("systemctl stop clawdbot-gateway.service 'clawdbot-policy-from-agent*.socket' && chown root /var/lib/clawdbot/queue").ok();
        machine.sh("systemctl start clawdbot-gateway.service");
        machine.until("systemctl is-failed --quiet clawdbot-gateway.service");
        let failed = service("start");
        assert_eq!(failed.code, Some(1), "{failed:?}");
        assert!(
            failed
                .stdout
                .contains("gateway does not run, ended with status 78"),
            "{failed:?}"
        );
        machine
            .sh("chown clawdbot-gateway /var/lib/clawdbot/queue")
            .ok();
        service("start").ok();
        machine.ready();
        let silent = "systemctl list-units --all --plain --no-legend --state=inactive,failed 'clawdbot-*.socket'";
        assert_eq!(machine.says(silent), "");

        // Stopped is stopped, and off stays off.
        service("stop").ok();
        assert_eq!(machine.says("pgrep --list-full ^clawdbot; true"), "");
        refused(&service("status"), 69, &[]);
        let status = || machine.run(&["clawdbot", "status"]);
        let stopped = eventually(PATIENCE, || status().code == Some(69));
        assert!(stopped, "{:?}", status());
        tells(
            machine,
            "root",
            "status",
            &["is stopped", "sudo systemctl start"],
        );
        service("start").ok();
        machine.ready();
        service("uninstall").ok();
        assert_eq!(
            machine.says("systemctl is-enabled clawdbot.target; true"),
            "disabled"
        );
        service("restart").ok();
        machine.ready();
        assert_eq!(
            machine.says("systemctl is-enabled clawdbot.target; true"),
            "disabled"
        );
        service("install").ok();
        assert_eq!(
            machine.says("systemctl is-enabled clawdbot.target"),
            "enabled"
        );
        answers(machine);
    });
}

/// Whether every line, of which there is at least one, holds this.
fn all(text: &str, check: impl Fn(&str) -> bool) -> bool {
    !text.is_empty() && text.lines().all(check)
}

#[test]
fn logs_status_and_topology_show_each_person_what_is_theirs_to_see() {
    on_each_installed("logs_status_and_topology", |machine| {
        machine.add_user("alice", true);
        machine.add_user("bob", false);
        let logs = |options: &str| machine.says(&format!("clawdbot logs {options}"));
        machine.until("clawdbot logs | grep --quiet gateway");
        assert_eq!(logs("--limit 3").lines().count(), 3);
        assert!(all(&logs("--service gateway"), |line| line.contains("gateway")));
        assert!(all(&logs("--service agent"), |line| line.contains("agent-")));
        assert!(all(&logs("--json --since 1h"), |line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["role"].is_string() && line["level"].is_string()
        }));
        assert!(all(
            &logs("--grep confined --since 2020-01-01T00:00:00Z"),
            |line| line.contains("confined")
        ));
        assert_eq!(logs("--level error"), "");
        assert_eq!(logs("--since 2099-01-01T00:00:00Z"), "");
        refused(
            &machine.run(&["clawdbot", "logs", "--since", "soon"]),
            2,
            &["soon"],
        );
        machine.sh("systemd-run --quiet --unit=reader --property=StandardOutput=file:/tmp/read clawdbot logs --follow --service dialer --limit 1").ok();
        machine.until("[ -s /tmp/read ]");
        machine.sh("systemctl restart clawdbot-dialer.service").ok();
        machine.until(
            "[ $(wc --lines </tmp/read) -gt 1 ] && ! grep --invert-match --quiet dialer /tmp/read",
        );

        answers(machine);
        machine
            .sh("systemctl kill --signal=KILL clawdbot-dialer.service")
            .ok();
        machine.ready();
        for user in ["root", "alice"] {
            let roles = ALWAYS.map(|role| format!("\"role\": \"{role}\""));
            let mut roles: Vec<&str> = roles.iter().map(String::as_str).collect();
            tells(machine, user, "status --json", &roles);
            roles.push("\"pid\": ");
            tells(machine, user, "topology --json", &roles);
            for command in ["status --json", "topology --json"] {
                let words: Vec<&str> = ["clawdbot"].into_iter().chain(command.split(' ')).collect();
                assert_eq!(machine.as_user(user, &words).json()["mode"], "system");
            }
            tells(machine, user, "status", &["builtin/guide", "gateway"]);
            // What was talked last and what went wrong last.
            let lately = ["CONVERSATION", "agent:main:main  main ", "LAST ERRORS"];
            tells(machine, user, "status", &lately);
            let lately = [
                "\"sessionKey\": \"agent:main:main\"",
                "\"process\": \"dialer\"",
            ];
            tells(machine, user, "status --json", &lately);
            let beneath = [
                "\ngateway  process ",
                "\n├─ policy  grpc\n│     Config.Watch Access.Verify ",
                "\n└─ agent-main, agent-guest  grpc\n      Agent.Run ",
                "\n   holds: nothing; network: TCP out, DNS\n",
            ];
            tells(machine, user, "topology", &beneath);
        }
        // One sentence and the way out.
        let stranger = machine.as_user("bob", &["clawdbot", "status"]);
        refused(
            &stranger,
            77,
            &[
                "bob is not in the group clawdbot",
                "sudo usermod -aG clawdbot bob",
            ],
        );
        assert_eq!(stranger.stdout, "");
        assert!(
            stranger.stderr.trim_end().lines().count() <= 2,
            "{stranger:?}"
        );
        // Who may call whom is no secret; what runs is not asked of anybody who would not say.
        let topology = machine
            .as_user("bob", &["clawdbot", "topology"])
            .ok()
            .stdout;
        assert!(
            topology.contains("cannot be seen: bob is not in the group")
                && topology.contains("Access.Verify"),
            "{topology}"
        );

        let show = || {
            let show = "systemctl status --no-pager --lines=0 'clawdbot-*.service'";
            machine.sh(show).stdout
        };
        for role in ALWAYS {
            let says = || machine.unit(&unit_of(role), "StatusText")["StatusText"].clone();
            // The words may change between two looks.
            let shown = eventually(PATIENCE, || {
                let says = says();
                let (words, measured) = says.split_once(" | ").unwrap();
                words.len() > 5 && measured.contains("level=") && show().contains(words)
            });
            assert!(shown, "{role}: {}: {}", says(), show());
        }
    });
}

/// The table of docs/installation.md: who may do it, and the commands.
fn rights() -> [(&'static str, Vec<&'static str>); 3] {
    let page = include_str!("../../docs/installation.md");
    ["| members ", "| root ", "| everybody "].map(|who| {
        let row = page.lines().find(|line| line.starts_with(who)).unwrap();
        let (_, commands) = row[2..].split_once('|').unwrap();
        let commands = commands.split('`').skip(1).step_by(2).collect();
        (who, commands)
    })
}

/// A call of a command of the table that asks for nothing and takes nothing away.
fn call(command: &str) -> Vec<&str> {
    let more: &[&str] = match command {
        "chat" => &["--message", "hello"],
        "login" | "logout" => &["--provider", "anthropic"],
        "credentials" | "pairing" | "approvals" => &["list"],
        "audit" => &["show"],
        "config set" => &["gateway.port", "18789"],
        "config unset" => &["gateway.port"],
        "doctor --fix" => &["--yes"],
        "completions" => &["bash"],
        _ => &[],
    };
    let words = ["clawdbot"].into_iter().chain(command.split(' '));
    words.chain(more.iter().copied()).collect()
}

#[test]
fn every_command_of_the_table_of_rights_is_for_whom_it_says() {
    let [(_, members), (_, root), (_, everybody)] = rights();
    let mut known = clawdbot_cli::command();
    known.build();
    let in_table = |name: &str| {
        let all = || members.iter().chain(&root).chain(&everybody);
        all().any(|command| name == *command || name.starts_with(&format!("{command} ")))
    };
    for one in known.get_subcommands().filter(|one| !one.is_hide_set()) {
        let below: Vec<_> = one.get_subcommands().map(|two| two.get_name()).collect();
        match below.is_empty() {
            true => assert!(in_table(one.get_name()), "{}", one.get_name()),
            false => below.iter().for_each(|two| {
                let name = format!("{} {two}", one.get_name());
                assert!(in_table(&name), "{name}");
            }),
        }
    }

    on_each_installed("every_command_of_the_table_of_rights", |machine| {
        machine.add_user("alice", true);
        machine.add_user("bob", false);
        for command in &members {
            let refusal = machine.as_user("bob", &call(command));
            refused(&refusal, 77, &["bob is not in the group clawdbot"]);
            for user in ["alice", "root"] {
                // There is no key to store, and none to forget.
                let fine: &[i32] = match *command {
                    "login" | "logout" => &[1, 2],
                    _ => &[0],
                };
                let ask = || machine.as_user(user, &call(command));
                let mut done = ask();
                // Who tells how things are gives nobody more than a moment, which may be too short where much else runs.
                let answered = eventually(PATIENCE, || {
                    let is = done.code.is_some_and(|code| fine.contains(&code));
                    if !is {
                        done = ask();
                    }
                    is
                });
                assert!(answered, "{user}: {command}: {done:?}");
                assert!(
                    !done.stderr.contains("rights"),
                    "{user}: {command}: {done:?}"
                );
            }
        }
        for command in &root {
            let words = call(command);
            for user in ["bob", "alice"] {
                let remedy = format!("help: sudo {}\n", words.join(" "));
                refused(&machine.as_user(user, &words), 77, &[&remedy]);
            }
            // What it tries has tests of its own.
            if *command != "doctor --probe" {
                machine.run(&words).ok();
            }
        }
        machine.run(&["clawdbot", "service", "install"]).ok();
        machine.run(&["clawdbot", "service", "start"]).ok();
        machine.ready();
        // One's own is started in the foreground.
        for command in everybody.iter().filter(|command| **command != "up") {
            for user in ["bob", "alice", "root"] {
                machine.as_user(user, &call(command)).ok();
            }
        }
    });
}

#[test]
fn what_doctor_fixes_stays_readable_for_policy() {
    on_each_installed("what_doctor_fixes_stays_readable", |machine| {
        machine.add_user("alice", true);
        let rights = || machine.says(&format!("stat -c '%U %G %a' {CONFIG}"));
        let before = rights();
        assert_eq!(before, "root clawdbot-policy 640");
        machine.run(&["chmod", "0644", CONFIG]).ok();
        let fix = ["clawdbotctl", "doctor", "--fix", "--yes"];
        refused(
            &machine.as_user("alice", &fix),
            77,
            &["sudo clawdbotctl doctor --fix --yes"],
        );
        assert_ne!(rights(), before);
        let fixed = machine.run(&fix).ok();
        assert_eq!(rights(), before, "{fixed:?}");
        machine
            .run(&["systemctl", "restart", &unit_of("policy")])
            .ok();
        answers_by_guide_again(machine);
        let said = machine.as_user("alice", &["clawdbot", "config", "validate"]);
        said.ok();
    });
}

/// What `audit verify` says to somebody: its exit status, and the report.
fn verified(machine: &Machine, user: &str) -> (i32, serde_json::Value) {
    let output = machine.as_user(user, &["clawdbot", "audit", "verify", "--json"]);
    let code = output.code.unwrap_or(-1);
    (code, output.json())
}

/// Has something decided and sealed, and told.
fn sealed(machine: &Machine) {
    answers_by_guide_again(machine);
    machine
        .run(&["systemctl", "restart", &unit_of("policy")])
        .ok();
    machine.ready();
    machine.run(&["journalctl", "--sync"]).ok();
}

#[test]
fn the_audit_log_is_compared_with_what_the_journal_was_told() {
    const FOLDER: &str = "/var/lib/clawdbot/audit";
    on_each_installed("the_audit_log_is_compared", |machine| {
        machine.add_user("alice", true);
        machine.add_user("bob", false);
        sealed(machine);
        for user in ["root", "alice"] {
            let (code, report) = verified(machine, user);
            assert_eq!((code, &report["intact"]), (0, &true.into()), "{report}");
            assert!(report["copiesCompared"].as_u64() > Some(0), "{report}");
            assert!(report["copiesUnread"].is_null(), "{report}");
        }
        assert_eq!(verified(machine, "bob").0, 77);

        // Copies that may not be read are not taken for none.
        machine
            .sh("systemctl stop clawdbot-journal.socket && gpasswd --delete alice adm 2>/dev/null; true")
            .ok();
        let (code, report) = verified(machine, "alice");
        assert_eq!(
            (code, &report["copiesCompared"]),
            (0, &0.into()),
            "{report}"
        );
        let why = report["copiesUnread"].as_str().unwrap();
        assert!(why.contains("may not read the journal"), "{why}");
        let said = machine
            .as_user("alice", &["clawdbot", "audit", "verify"])
            .ok();
        assert!(said.stdout.contains("not all copies"), "{said:?}");
        machine.sh("systemctl start clawdbot-journal.socket").ok();

        // Made anew by whoever has taken over policy, it is in order by itself.
        let anew = format!(
            "systemctl stop clawdbot.target clawdbot-policy.service 'clawdbot-policy*.socket' && runuser -u clawdbot-policy -- sh -c 'rm {FOLDER}/*' && systemctl start clawdbot.target"
        );
        machine.sh(&anew).ok();
        machine.ready();
        sealed(machine);
        for user in ["root", "alice"] {
            let (code, report) = verified(machine, user);
            assert_eq!(
                (code, &report["intact"]),
                (1, &false.into()),
                "{user}: {report}"
            );
            let problems = report["problems"].to_string();
            assert!(
                problems.contains("the log of the processes shows"),
                "{user}: {problems}"
            );
        }

        // With a new folder, which only root can make, another log has begun.
        let again = format!(
            "systemctl stop clawdbot.target clawdbot-policy.service 'clawdbot-policy*.socket' && rm -r {FOLDER} && sleep 1 && systemd-tmpfiles --create clawdbot.conf && systemctl start clawdbot.target"
        );
        machine.sh(&again).ok();
        machine.ready();
        sealed(machine);
        for user in ["root", "alice"] {
            let (code, report) = verified(machine, user);
            assert_eq!(code, 0, "{user}: {report}");
            assert!(report["copiesCompared"].as_u64() > Some(0), "{report}");
        }
    });
}

/// Somebody with the programs in a folder of their own and no package on the machine.
struct Person<'a>(&'a Machine);

impl<'a> Person<'a> {
    /// Puts what the package has where `~/.local` has it.
    fn with_programs(machine: &'a Machine, deb: &std::path::Path) -> Self {
        machine.run(&["useradd", "--create-home", "ann"]).ok();
        machine.copy_in(deb, "/root/clawdbot.deb").unwrap();
        machine.sh("dpkg-deb --extract /root/clawdbot.deb /root/unpacked && install -d -o ann -g ann /home/ann/.local && cp -r /root/unpacked/usr/bin /root/unpacked/usr/libexec /home/ann/.local && chown -R ann:ann /home/ann/.local").ok();
        Self(machine)
    }

    /// As after a log-in.
    #[track_caller]
    fn run(&self, script: &str) -> Output {
        let script = format!(
            "export XDG_RUNTIME_DIR=/run/user/$(id -u) PATH=$HOME/.local/bin:$PATH SYSTEMD_PAGER=; {script}"
        );
        self.0.as_user("ann", &["sh", "-c", &script])
    }

    #[track_caller]
    fn says(&self, script: &str) -> String {
        self.run(script).ok().stdout.trim_end().to_owned()
    }

    fn process(&self) -> String {
        self.says("systemctl --user show --property=MainPID --value clawdbot.service")
    }
}

#[test]
fn without_the_package_a_users_own_service_manager_runs_it() {
    const TEST: &str = "without_the_package";
    let Some(deb) = package(TEST) else { return };
    on_each(TEST, |machine| {
        let ann = Person::with_programs(machine, &deb);
        let place = "/home/ann/.config/systemd/user/clawdbot.service";
        // By `su` or `sudo` there is no manager of hers.
        let alone = machine.as_user(
            "ann",
            &["sh", "-c", "$HOME/.local/bin/clawdbot service install"],
        );
        refused(
            &alone,
            1,
            &["no service manager", "clawdbot up", "su or sudo"],
        );
        machine.sh("systemctl start user@$(id -u ann).service").ok();
        refused(
            &ann.run("clawdbot service start"),
            69,
            &["clawdbot service install"],
        );

        let installed = ann.says("clawdbot service install");
        assert!(
            installed.contains(place) && installed.contains("loginctl enable-linger"),
            "{installed}"
        );
        machine.run(&["loginctl", "enable-linger", "ann"]).ok();
        let answers = || {
            ann.run("clawdbot chat --message hello")
                .stdout
                .contains(GUIDE)
        };
        assert!(eventually(PATIENCE, answers));
        let again = ann.says("clawdbot service install");
        assert!(
            !again.contains("linger") && !again.contains(place),
            "{again}"
        );
        assert_eq!(
            ann.says("systemctl --user is-enabled clawdbot.service"),
            "enabled"
        );
        let status = ann.says("systemctl --user status --no-pager clawdbot.service");
        assert!(status.contains("active (running)"), "{status}");
        let status = ann.says("clawdbot service status");
        assert!(
            status.contains("active (running), enabled") && !status.contains("linger"),
            "{status}"
        );

        // Hardened, and without any right of root's, whatever the manager has.
        let lines = ann.says("systemctl --user show --property=NoNewPrivileges,RestrictRealtime,LockPersonality,UMask,LimitCORE clawdbot.service");
        for line in [
            "NoNewPrivileges=yes",
            "RestrictRealtime=yes",
            "LockPersonality=yes",
            "UMask=0077",
            "LimitCORE=0",
        ] {
            assert!(lines.lines().any(|known| known == line), "{line}: {lines}");
        }
        let sets = machine.says(&format!(
            "grep --extended-regexp 'Cap(Inh|Prm|Eff|Amb)' /proc/{}/status",
            ann.process()
        ));
        assert!(
            all(&sets, |line| line.ends_with("\t0000000000000000")),
            "{sets}"
        );
        let doctor = ann.run("clawdbotctl doctor").stdout;
        assert!(!doctor.contains("running.capabilities"), "{doctor}");

        // It comes back by itself, and by hand.
        let before = ann.process();
        machine.run(&["kill", "-KILL", &before]).ok();
        assert!(eventually(PATIENCE, || !["0", &before]
            .contains(&ann.process().as_str())));
        assert!(eventually(PATIENCE, answers));
        let before = ann.process();
        ann.says("clawdbot service restart");
        assert_ne!(ann.process(), before);
        assert!(eventually(PATIENCE, answers));
        ann.says("clawdbot service stop");
        refused(&ann.run("clawdbot service status"), 69, &[]);
        ann.says("echo '{' >$HOME/.clawdbot/clawdbot.json");
        refused(&ann.run("clawdbot service start"), 78, &["clawdbot.json"]);
        ann.says("rm $HOME/.clawdbot/clawdbot.json && clawdbot service start");
        assert!(eventually(PATIENCE, answers));

        // What she wrote stays hers.
        ann.says(&format!("mkdir -p {place}.d && printf '[Service]\\nNice=7\\n' >{place}.d/mine.conf && systemctl --user daemon-reload && clawdbot service restart"));
        assert_eq!(
            ann.says("systemctl --user show --property=Nice --value clawdbot.service"),
            "7"
        );
        let status = ann.says("clawdbot service status");
        assert!(status.contains("mine.conf"), "{status}");
        ann.says(&format!("echo '# mine' >>{place}"));
        refused(
            &ann.run("clawdbot service install"),
            1,
            &["changed by hand", "drop-in"],
        );
        let left = ann.says("clawdbot service uninstall");
        assert!(left.contains("stays"), "{left}");
        assert_eq!(ann.process(), "0");
        ann.says(&format!("rm {place} && systemctl --user daemon-reload && clawdbot service install && clawdbot service uninstall"));
        ann.says(&format!(
            "[ ! -e {place} ] && [ -e {place}.d/mine.conf ] && [ -d $HOME/.clawdbot ]"
        ));
        assert_eq!(machine.sh("pgrep --list-full ^clawdbot").stdout, "");
    });
}

const CHANNEL: &str = "clawdbot-channel@telegram.service";
const PATH: &str = "clawdbot-channel@telegram.path";

/// Telegram inside, for one bot.
fn telegram(machine: &Machine, token: &str) {
    machine
        .copy_in(&binary("fake-telegram"), "/usr/local/bin/fake-telegram")
        .unwrap();
    machine
        .sh("systemd-run --quiet --unit=telegram fake-telegram --port 9001 --control 9002")
        .ok();
    machine.until("ss --no-header --listening --numeric --tcp | grep --quiet 127.0.0.1:9002");
    let order = format!(r#"{{"token":"{token}"}}"#);
    let length = order.len();
    let call = format!(
        r#"exec 3<>/dev/tcp/127.0.0.1/9002; printf 'POST /bot HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{order}' >&3; cat <&3"#
    );
    let answer = machine.run(&["bash", "-c", &call]).ok().stdout;
    assert!(answer.contains(" 200 "), "{answer}");
}

#[test]
fn a_channel_that_cannot_start_is_tried_again_until_it_can() {
    const RIGHT: &str = "1001:AAE-token_of_a_test-0123456789abcdef";
    on_each_installed("a_channel_that_cannot_start", |machine| {
        telegram(machine, RIGHT);
        let with_token = |token: &str| {
            let account = format!("apiRoot: 'http://127.0.0.1:9001', botToken: '{token}'");
            configure(
                machine,
                &format!("{{channels: {{telegram: {{{account}}}}}}}"),
            );
        };
        let fields = || machine.unit(CHANNEL, "ActiveState,Result,NRestarts,ExecMainStatus");
        let restarts = || fields()["NRestarts"].parse::<u32>().unwrap();
        let path_unit = || machine.unit(PATH, "ActiveState")["ActiveState"].clone();
        let told = |words: &str| tells(machine, "root", "status", &[words]);

        // More often than a path unit would start it; sooner than as shipped, so that the test does not take as long.
        let sooner = "/etc/systemd/system/clawdbot-channel@.service.d/sooner.conf";
        machine.write(sooner, "[Service]\nRestartSec=500ms\n");
        machine
            .sh("systemctl daemon-reload && chown root /var/lib/clawdbot/channels/telegram")
            .ok();
        with_token("1002:AAE-token_of_a_test-0123456789abcdef");
        assert!(eventually(PATIENCE, || restarts() >= 7), "{:?}", fields());
        assert_eq!(path_unit(), "active");
        told("channel-telegram does not run, ended with status 78");
        tells(machine, "root", "doctor", &["units.restarts", CHANNEL]);
        machine
            .sh("chown clawdbot-channel-telegram /var/lib/clawdbot/channels/telegram")
            .ok();
        machine.until(&format!("systemctl is-active --quiet {CHANNEL}"));

        // A token that is refused ends nothing, and another is taken up by itself.
        let before = restarts();
        told("does not accept the bot token");
        with_token(RIGHT);
        machine.until(&format!(
            "journalctl --unit={CHANNEL} --output=cat | grep --quiet receiving"
        ));
        assert_eq!(restarts(), before);

        // Without its lines there is nothing to start.
        configure(machine, "{}");
        machine.until(&format!(
            "[ $(systemctl show --property=ActiveState --value {CHANNEL}) = inactive ]"
        ));
        assert_eq!(path_unit(), "active");

        // One that somebody has end for good takes its path unit along, which is named with the remedy.
        let once = "[Service]\nRestart=no\nType=oneshot\nExecStart=\nExecStart=/usr/libexec/clawdbot/none\n";
        machine.write(
            "/etc/systemd/system/clawdbot-channel@.service.d/once.conf",
            once,
        );
        machine.run(&["systemctl", "daemon-reload"]).ok();
        with_token(RIGHT);
        machine.until(&format!("systemctl is-failed --quiet {PATH}"));
        told(&format!(
            "{PATH} failed (trigger-limit-hit): sudo clawdbot service start"
        ));
        tells(machine, "root", "doctor", &[PATH, "given up"]);
        machine
            .sh("rm /etc/systemd/system/clawdbot-channel@.service.d/once.conf && systemctl daemon-reload")
            .ok();
        // The service manager counts on over a new start, for ten seconds.
        machine.until("clawdbot service start");
        machine.until(&format!("systemctl is-active --quiet {CHANNEL}"));
    });
}

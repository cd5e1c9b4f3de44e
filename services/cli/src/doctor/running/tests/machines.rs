//! Machines as they are found: down, half up, of two versions, seen by an ordinary user; and what their service managers
//! really answered.

use super::*;

const SHOWN_252: &str = include_str!("show-252.txt");
const SHOWN_257: &str = include_str!("show-257.txt");
const SOCKETS_252: &str = include_str!("sockets-252.json");
const SOCKETS_257: &str = include_str!("sockets-257.json");

#[test]
fn a_clock_before_the_day_of_the_build_is_wrong() {
    let mut facts = facts(orderly());
    facts.version.built_s = Some(202 * 86_400);
    assert_eq!(
        ids(&rows(check::of_what_runs(), &facts)),
        ["machine.clock.wrong"]
    );
}

#[test]
fn where_nothing_runs_no_unit_is_blamed_for_it() {
    let found = changed(|running| {
        running.processes.clear();
        running.gateway_runs = false;
        running.listening = Some(Vec::new());
        for unit in running.units.iter_mut().flatten() {
            (unit.active, unit.pid) = ("inactive".into(), 0);
        }
        for socket in running.socket_units.iter_mut().flatten() {
            socket.active = "inactive".into();
        }
    });
    assert_eq!(ids(&found), [""; 0]);
}

#[test]
fn the_folder_in_memory_of_a_small_machine_is_no_full_disk() {
    let found = changed(|running| running.machine.free.push(("/run".into(), 48 << 20)));
    assert_eq!(ids(&found), [""; 0]);
}

#[test]
fn another_program_of_root_at_the_same_port_is_not_the_front_door() {
    let found = changed(|running| {
        let other = socket(Kind::Tcp, "192.0.2.7:18789", "0.0.0.0:0", true);
        running.listening.as_mut().unwrap().push(other);
    });
    assert_eq!(ids(&found), [""; 0]);
}

#[test]
fn half_up_is_told_unit_by_unit() {
    let found = changed(|running| {
        let unit = policy(running);
        (unit.active, unit.result, unit.status, unit.pid) =
            ("failed".into(), "exit-code".into(), 78, 0);
        unit.words = "\u{1b}[2Jbad".into();
        running.processes.remove(1);
        running.socket_units.as_mut().unwrap()[1].active = "inactive".into();
    });
    assert_eq!(ids(&found), ["units.failed", "units.sockets"]);
    assert!(found[0].detail.contains("78") && found[0].detail.contains("clawdbot-policy.service"));
    assert!(!found[0].detail.contains('\u{1b}'), "{}", found[0].detail);
    assert_eq!(
        found[0].command,
        "journalctl -u clawdbot-policy.service -n 50"
    );
}

#[test]
fn two_versions_are_told_once_with_all_who_run_the_old_one() {
    let found = changed(|running| {
        for fact in &mut running.processes[..2] {
            fact.program.as_mut().unwrap().replaced = true;
        }
    });
    assert_eq!(ids(&found), ["running.replaced"]);
    assert!(
        found[0].detail.starts_with("gateway, policy: "),
        "{}",
        found[0].detail
    );
    assert_eq!(
        found[0].command,
        "sudo systemctl restart clawdbot-gateway.service clawdbot-policy.service"
    );
}

#[test]
fn what_a_user_runs_is_started_again_as_it_was_started() {
    for (own_unit, command) in [(true, "clawdbot service restart"), (false, "clawdbot up")] {
        let found = changed(|running| {
            (running.system, running.own_unit) = (false, own_unit);
            running.processes[0].program.as_mut().unwrap().replaced = true;
        });
        let replaced = found.iter().find(|found| found.id == "running.replaced");
        assert_eq!(replaced.unwrap().command, command);
    }
}

#[test]
fn what_an_ordinary_user_cannot_see_is_named_once_and_never_taken_for_good() {
    let mut running = orderly();
    for fact in &mut running.processes {
        (fact.own_network, fact.own_files) = (None, None);
        (fact.program, fact.variables, fact.sockets) = (None, None, None);
    }
    running.units = None;
    running.socket_units = None;
    running.unseen = unseen(&running);
    let found = look(running);
    let details: Vec<_> = found.iter().map(|found| found.detail.as_str()).collect();
    assert_eq!(ids(&found), ["running.unseen"; 2]);
    assert_eq!(
        details[0],
        "not seen: program, namespaces, environment, open sockets of gateway, policy, model-ollama (run with sudo)"
    );
    assert!(details[1].contains("service manager"), "{}", details[1]);
}

#[test]
fn a_weakening_names_unit_setting_and_file() {
    let found = changed(|running| weaken(running, "ProtectHome=no"));
    assert_eq!(ids(&found), ["units.weakened"]);
    assert_eq!(found[0].spot.as_ref().unwrap().file, Path::new(DROP_IN));
    assert_eq!(
        found[0].detail,
        "clawdbot-policy.service: ProtectHome is \"no\" instead of \"yes\": it sees people's files"
    );
    assert!(
        found[0].command.contains(DROP_IN)
            && found[0]
                .command
                .ends_with("restart clawdbot-policy.service")
    );
}

#[test]
fn an_instance_has_the_file_of_its_template() {
    let mut running = orderly();
    let template = "/usr/lib/systemd/system/clawdbot-agent@.service";
    running.unit_files.insert(template.into(), SHIPPED.into());
    assert_eq!(running.shipped("clawdbot-agent@main.service"), template);
    assert_eq!(running.shipped("clawdbot-policy.service"), POLICY);
    assert_eq!(
        running.shipped("clawdbot-x.service"),
        "/lib/systemd/system/clawdbot-x.service"
    );
}

#[test]
fn a_persons_own_groups_are_his_and_a_services_are_not() {
    let accounts = Accounts::parse(
        "clawdbot-executor:x:5:5::/:/n\nann:x:1000:1000::/:/n\n",
        "docker:x:1:ann,clawdbot-executor\nsudo:x:2:ann,clawdbot-executor\n",
    );
    let of = |system| Ours::new(&accounts, system, 1000).mighty(system);
    assert_eq!(of(false), [("docker", "ann".to_owned())]);
    let service = "clawdbot-executor".to_owned();
    assert_eq!(of(true), [("docker", service.clone()), ("sudo", service)]);
}

#[test]
fn the_broker_is_asked_only_if_it_runs_since_its_socket_would_start_it() {
    let mut running = orderly();
    assert!(!running.may_ask_broker());
    running.units.as_mut().unwrap().push(unit("broker"));
    assert!(running.may_ask_broker());
    running.units.as_mut().unwrap()[3].active = "inactive".into();
    assert!(!running.may_ask_broker());
    running.system = false;
    assert!(running.may_ask_broker());
}

#[test]
fn the_answers_of_both_service_managers_are_read() {
    for (shown, sockets) in [(SHOWN_252, SOCKETS_252), (SHOWN_257, SOCKETS_257)] {
        let units: Vec<_> = manager::shown(shown).iter().map(UnitFact::of).collect();
        let ids: Vec<_> = units.iter().map(|unit| unit.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "clawdbot-gateway.service",
                "clawdbot-policy.service",
                "clawdbot-agent@main.service",
                "clawdbot-nothing.service"
            ]
        );
        let [gateway, policy, agent, nothing] = &units[..] else {
            panic!("four units");
        };
        assert!(gateway.runs() && gateway.pid > 1 && gateway.restarts == 0);
        assert_eq!(gateway.words, format!("one session waits | {FULL}"));
        assert_eq!(
            gateway.drop_ins,
            ["/etc/systemd/system/clawdbot-gateway.service.d/10-weak.conf"]
        );
        assert_eq!(
            (
                policy.active.as_str(),
                policy.result.as_str(),
                policy.status
            ),
            ("failed", "signal", 31)
        );
        assert!(!policy.runs() && !policy.stale);
        // Debian 12 has it by the old name of the folder.
        assert!(units::is_shipped(&agent.fragment), "{}", agent.fragment);
        assert_eq!(nothing.load, "not-found");
        let processes = of_units(&units);
        let roles: Vec<_> = processes.iter().map(|(role, ..)| role.as_str()).collect();
        assert_eq!(roles, ["gateway", "agent-main"]);
        assert_eq!(processes[0].2, FULL);
        let sockets = manager::listed(sockets).unwrap();
        let state = |name: &str| {
            let unit = sockets.iter().find(|socket| socket.name == name).unwrap();
            unit.active.clone()
        };
        assert_eq!(state("clawdbot-policy-from-gateway.socket"), "active");
        assert_eq!(state("clawdbot-gateway.socket"), "failed");
    }
    assert_eq!(manager::listed("nonsense"), None);
    assert!(manager::shown("").is_empty());
}

#[test]
fn what_was_measured_is_shown_process_by_process_and_a_question_mark_for_what_was_not_seen() {
    let mut running = orderly();
    let hidden = ProcessFact {
        role: "broker".into(),
        pid: 77,
        ..ProcessFact::default()
    };
    running.processes.push(hidden);
    let text = running.table(Style::PLAIN);
    let line = |role: &str| {
        let line = text.lines().find(|line| line.starts_with(role)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        line("policy"),
        "policy 12 clawdbot-policy none 5 closed own 0 9 full"
    );
    assert_eq!(
        line("gateway"),
        "gateway 11 clawdbot-gateway none 5 closed own 2 9 full"
    );
    assert_eq!(line("broker"), "broker 77 ? ? ? ? ? ? ? ?");
    let json = running.json();
    assert_eq!(json[0]["sockets"][0], "listens on TCP 127.0.0.1:18789");
    assert_eq!(
        (&json[1]["uid"], &json[1]["seccomp"], &json[1]["dumpable"]),
        (&12.into(), &2.into(), &false.into())
    );
    let schema = super::schema();
    for (name, value) in json.iter().flat_map(|row| row.as_object().unwrap()) {
        assert!(
            schema[name].is_object(),
            "{name} is not in the schema: {value}"
        );
    }
    assert!(json[3]["uid"].is_null() && json[3]["confinement"].is_null());
    assert_eq!(Running::default().table(Style::PLAIN), "");
}

#[test]
fn what_can_be_said_of_several_units_is_said_once() {
    let found = changed(|running| {
        for unit in running.units.iter_mut().flatten().take(2) {
            unit.stale = true;
        }
    });
    assert_eq!(ids(&found), ["units.stale"]);
    let both = ["clawdbot-gateway.service", "clawdbot-policy.service"];
    assert_eq!(found[0].detail, both.join(", "));
    assert!(
        found[0]
            .command
            .ends_with(&format!("restart {}", both.join(" ")))
    );
}

#[test]
fn it_is_the_target_that_brings_everything_back() {
    let found = changed(|running| {
        let all = running.units.as_mut().unwrap();
        for unit in all.iter_mut() {
            unit.file_state = "static".into();
        }
        all.push(UnitFact {
            id: system::TARGET.to_owned(),
            file_state: "disabled".into(),
            pid: 0,
            ..unit("policy")
        });
    });
    assert_eq!(ids(&found), ["units.disabled"]);
    assert_eq!(found[0].command, "sudo systemctl enable clawdbot.target");
}

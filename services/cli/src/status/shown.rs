//! The report as it is shown: facts and a table for a person, one object for a script.

use std::fmt::Write as _;

use clawdbot_config::BUILTIN;
use clawdbot_identity::SessionKey;
use clawdbot_identity::text::{sanitize_block, sanitize_line};
use clawdbot_proto::v1::{BudgetRow, GatewayStatus, Problem, Process, SessionSummary};
use clawdbot_service::{confinement_json, gaps, level};
use serde_json::{Value, json};

use super::{Report, is_notice};
use crate::apply::COMMAND as APPLY;
use crate::logs::Brief;
use crate::out::{Style, duration, table};
use crate::place::Mode;
use crate::sessions::last_used;
use crate::steps::{STEPS, lines};

/// How many of the conversations are shown.
const LATEST: usize = 3;
/// What was not told.
const UNKNOWN: &str = "unknown";

impl Report {
    /// For a script.
    pub fn json(&self) -> Value {
        let supervisor = self.processes.as_ref();
        let processes: Vec<Value> = self.processes().iter().map(process_json).collect();
        json!({
            "running": true,
            "mode": self.mode.name(),
            "well": self.is_well(),
            "stateDir": supervisor.map(|reply| &reply.state_dir),
            "configPath": supervisor.map(|reply| &reply.config_path),
            "version": supervisor.map(|reply| &reply.version).filter(|version| !version.is_empty()),
            "uptimeMs": supervisor.map(|reply| reply.uptime_ms),
            "urls": self.urls(),
            "processes": processes,
            "gateway": self.gateway.as_ref().map(|gateway| json!({
                "pending": gateway.pending,
                "running": gateway.running,
                "connections": gateway.connections,
                "uptimeMs": gateway.uptime_ms,
                "undelivered": gateway.undelivered,
                "unknown": gateway.unknown,
                "rejected": gateway.rejected,
            })),
            "policy": self.policy.as_ref().map(|policy| json!({
                "revision": policy.revision,
                "configPath": policy.config_path,
                "configExists": policy.config_exists,
                "configError": (!policy.config_error.is_empty()).then_some(&policy.config_error),
                "listeners": policy.listeners,
                "authMode": policy.auth_mode,
                "model": policy.model,
                "problems": policy.problems.iter().map(problem_json).collect::<Vec<_>>(),
                "budgets": policy.budgets.iter().map(budget_json).collect::<Vec<_>>(),
            })),
            "problems": self.wrong().collect::<Vec<_>>(),
            "pending": self.pending,
            "sessions": self.sessions.as_ref().map(|all| json!({
                "count": all.len(),
                "latest": all.iter().take(LATEST).map(session_json).collect::<Vec<_>>(),
            })),
            "errors": self.troubles.as_ref().map(|lines| lines.iter().map(trouble_json).collect::<Vec<_>>()),
            "next": match self.is_new() {
                true => STEPS.iter().map(|(command, _)| *command).collect(),
                false => Vec::new(),
            },
        })
    }

    /// For a person; `now_ms` are milliseconds since 1970.
    pub fn text(&self, style: Style, verbose: bool, now_ms: u64) -> String {
        let mut text = String::new();
        let mut fact = |name: &str, value: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{}  {}",
                style.bold(&format!("{name:<8}")),
                sanitize_line(&value)
            );
        };
        if let Some(reply) = &self.processes {
            fact(
                "running",
                match self.mode {
                    Mode::Single => {
                        format!("for {}, in {}", duration(reply.uptime_ms), reply.state_dir)
                    }
                    Mode::System { .. } => format!(
                        "for {}, as services of this machine, in {}",
                        duration(reply.uptime_ms),
                        reply.state_dir
                    ),
                },
            );
        }
        if !self.urls().is_empty() {
            fact("address", self.urls().join(" "));
        }
        if let Some(policy) = &self.policy {
            let missing = match (policy.config_exists, policy.config_error.is_empty()) {
                (true, _) => "",
                (false, true) => " (not there; defaults)",
                (false, false) => " (not there)",
            };
            fact("config", format!("{}{missing}", policy.config_path));
            fact("model", policy.model.clone());
        }
        for (name, prefix) in [("models", "model-"), ("channels", "channel-")] {
            let workers = self.workers(prefix);
            if !workers.is_empty() {
                fact(name, workers.join(", "));
            }
        }
        if let Some(gateway) = &self.gateway {
            fact(
                "messages",
                format!(
                    "{} waiting, {} being answered",
                    gateway.pending, gateway.running
                ),
            );
        }
        if let Some(answers) = self.gateway.as_ref().and_then(answers) {
            fact("answers", answers);
        }
        let sessions = self.sessions.as_ref().map(Vec::len);
        fact(
            "sessions",
            sessions.map_or(UNKNOWN.into(), |count| count.to_string()),
        );
        let rows = self.policy.iter().flat_map(|policy| &policy.budgets);
        for row in rows {
            fact("budget", budget(row));
        }
        match self.troubles.as_deref() {
            None => fact("errors", UNKNOWN.into()),
            Some([]) => fact("errors", "none lately".into()),
            Some(_) => {}
        }
        if !self.processes().is_empty() {
            text.push('\n');
            text.push_str(&self.process_table(style, verbose));
            text.push_str(&gap_lines(style, self.processes()));
        }
        if let Some(sessions) = self.sessions.as_deref().filter(|all| !all.is_empty()) {
            text.push('\n');
            text.push_str(&session_table(style, sessions, now_ms));
        }
        if let Some(lines) = self.troubles.as_deref().filter(|lines| !lines.is_empty()) {
            text.push('\n');
            text.push_str(&trouble_table(style, lines));
        }
        for problem in self.reported() {
            let kind = match is_notice(problem) {
                true => style.yellow("notice:"),
                false => style.red("problem:"),
            };
            let line = format!("{}: {} [{}]", problem.role, problem.message, problem.code);
            let _ = writeln!(text, "{kind} {}", sanitize_line(&line));
        }
        for problem in self.wrong() {
            let _ = writeln!(text, "{} {}", style.red("problem:"), sanitize_line(problem));
        }
        for change in &self.pending {
            let _ = writeln!(
                text,
                "{} not applied yet: {}; {APPLY}",
                style.yellow("notice:"),
                sanitize_line(change)
            );
        }
        if self.is_new() {
            let _ = write!(
                text,
                "\nNo model answers yet but the built-in guide. Next:\n{}",
                lines()
            );
        }
        let error = self
            .policy
            .as_ref()
            .map(|policy| policy.config_error.trim_end())
            .unwrap_or_default();
        if !error.is_empty() {
            let what = match self
                .policy
                .as_ref()
                .is_some_and(|policy| policy.revision > 0)
            {
                true => "the configuration file is not valid; the last good one stays in force:",
                false => "the configuration file is not valid; everything is refused until it is:",
            };
            let _ = writeln!(
                text,
                "{} {what}\n{}",
                style.red("problem:"),
                sanitize_block(error)
            );
        }
        text
    }

    /// Whether services of the machine answer as they were installed: with the built-in guide, and nothing else could.
    fn is_new(&self) -> bool {
        let model = self.policy.as_ref().map(|policy| policy.model.as_str());
        let guide = model.is_some_and(|model| model.split('/').next() == Some(BUILTIN));
        self.mode != Mode::Single && guide && !self.has_model()
    }

    /// Whether a model beside the guide works for somebody.
    fn has_model(&self) -> bool {
        let roles = self.processes().iter().map(|process| process.role.as_str());
        let mut models = roles.filter_map(|role| role.strip_prefix("model-"));
        models.any(|name| name != BUILTIN)
    }

    /// The workers of one kind with their state: `anthropic (ready)`, `ollama (model.unavailable)`.
    fn workers(&self, prefix: &str) -> Vec<String> {
        self.processes()
            .iter()
            .filter_map(|process| {
                let name = process.role.strip_prefix(prefix)?;
                let trouble = self
                    .reported()
                    .iter()
                    .find(|problem| problem.role == process.role && !is_notice(problem));
                let state = trouble.map_or(process.state.as_str(), |problem| problem.code.as_str());
                Some(format!("{name} ({state})"))
            })
            .collect()
    }

    fn process_table(&self, style: Style, verbose: bool) -> String {
        let rows: Vec<[String; 6]> = self
            .processes()
            .iter()
            .map(|process| {
                let confinement = match verbose {
                    true => process.confinement.clone(),
                    false => level(&process.confinement).unwrap_or("-").to_owned(),
                };
                [
                    process.role.clone(),
                    pid(process.pid),
                    process.state.clone(),
                    duration(process.uptime_ms),
                    process.restarts.to_string(),
                    confinement,
                ]
            })
            .collect();
        table(
            style,
            ["PROCESS", "PID", "STATE", "SINCE", "RESTARTS", "CONFINED"],
            &rows,
        )
    }
}

fn session_table(style: Style, sessions: &[SessionSummary], now_ms: u64) -> String {
    let latest = sessions.iter().take(LATEST);
    let rows: Vec<[String; 3]> = latest
        .map(|session| {
            let key = session.session_key.clone();
            [key, agent(session), last_used(session, now_ms)]
        })
        .collect();
    table(style, ["CONVERSATION", "AGENT", "LAST USED"], &rows)
}

fn session_json(session: &SessionSummary) -> Value {
    json!({
        "sessionKey": session.session_key,
        "agent": agent(session),
        "class": session.class,
        "updatedAtMs": session.updated_at_ms,
    })
}

/// Whose conversation it is.
fn agent(session: &SessionSummary) -> String {
    let key = SessionKey::parse(&session.session_key);
    key.map_or_else(|_| "-".to_owned(), |key| key.agent().to_string())
}

fn trouble_table(style: Style, lines: &[Brief]) -> String {
    let rows: Vec<[String; 4]> = lines
        .iter()
        .map(|line| [&line.time, &line.level, &line.role, &line.text].map(String::clone))
        .collect();
    table(style, ["LAST ERRORS", "LEVEL", "PROCESS", "MESSAGE"], &rows)
}

fn trouble_json(line: &Brief) -> Value {
    json!({ "time": line.time, "level": line.level, "process": line.role, "message": line.text })
}

/// What became of answers to channels, if there is anything to say.
fn answers(gateway: &GatewayStatus) -> Option<String> {
    let parts: Vec<String> = [
        (gateway.undelivered, "on the way"),
        (gateway.unknown, "perhaps not arrived"),
        (gateway.rejected, "refused by the channel"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// How much of a budget is used: `main: 600 of 1000 tokens today`.
fn budget(row: &BudgetRow) -> String {
    let money = |microusd: u64| {
        // Rounded up, so that nothing that was paid for is shown as free.
        let cents = microusd.div_ceil(10_000);
        format!("${}.{:02}", cents / 100, cents % 100)
    };
    let (used, most) = match row.what.as_str() {
        "microusd" => (money(row.used), money(row.limit)),
        what => (row.used.to_string(), format!("{} {what}", row.limit)),
    };
    let whose = match row.sender.as_str() {
        "" => row.agent.clone(),
        sender => format!("{}, {sender}", row.agent),
    };
    let when = if row.of == "month" {
        "this month"
    } else {
        "today"
    };
    let end = if row.used >= row.limit {
        " (used up)"
    } else {
        ""
    };
    format!("{whose}: {used} of {most} {when}{end}")
}

fn budget_json(row: &BudgetRow) -> Value {
    json!({
        "agent": row.agent,
        "sender": (!row.sender.is_empty()).then_some(&row.sender),
        "of": row.of,
        "what": row.what,
        "used": row.used,
        "limit": row.limit,
        "resetsMs": row.resets_ms,
    })
}

fn problem_json(problem: &Problem) -> Value {
    json!({
        "code": problem.code,
        "message": problem.message,
        "role": problem.role,
        "sinceMs": problem.since_ms,
    })
}

/// One process, for a script.
pub fn process_json(process: &Process) -> Value {
    json!({
        "role": process.role,
        "pid": (process.pid != 0).then_some(process.pid),
        "state": process.state,
        "status": process.status,
        "restarts": process.restarts,
        "uptimeMs": process.uptime_ms,
        "confinement": confinement_json(&process.confinement),
    })
}

/// A process id as a person reads it; a process that does not run has none.
pub fn pid(pid: u32) -> String {
    if pid == 0 {
        "-".into()
    } else {
        pid.to_string()
    }
}

/// A line for each protection that a living process lacks: which, who, and what it means.
pub fn gap_lines(style: Style, processes: &[Process]) -> String {
    let lines = processes
        .iter()
        .map(|process| (process.role.as_str(), process.confinement.as_str()));
    let mut text = String::new();
    for gap in gaps(lines) {
        let kind = match gap.missing.floor {
            true => style.yellow("missing:"),
            false => style.dim("missing:"),
        };
        let (what, who) = (style.bold(gap.missing.what), gap.roles.join(", "));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{kind} {what} ({}): {}",
            sanitize_line(&who),
            gap.missing.meaning
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use clawdbot_proto::v1::{PolicyStatus, ProcessesReply};

    use super::*;

    const NOW: u64 = 1_769_860_800_000;
    const FULL: &str = "level=full landlock=6 seccomp=on filters=5 nnp=on caps=off dumpable=off core=0 env=0 strays=0 net=own memory=none";

    fn process(role: &str, state: &str) -> Process {
        Process {
            role: role.into(),
            pid: 42,
            state: state.into(),
            confinement: FULL.into(),
            status: String::new(),
            restarts: 1,
            uptime_ms: 61_000,
        }
    }

    fn report() -> Report {
        Report {
            mode: Mode::Single,
            processes: Some(ProcessesReply {
                processes: vec![
                    process("gateway", "ready"),
                    Process {
                        pid: 0,
                        confinement: String::new(),
                        ..process("policy", "waiting")
                    },
                ],
                uptime_ms: 61_000,
                state_dir: "/s".into(),
                config_path: "/s/c.json".into(),
                version: "1".into(),
                urls: vec!["http://127.0.0.1:1".into()],
            }),
            gateway: Some(GatewayStatus {
                pending: 2,
                running: 1,
                ..GatewayStatus::default()
            }),
            policy: Some(PolicyStatus {
                config_path: "/s/c.json".into(),
                model: "builtin/guide".into(),
                ..PolicyStatus::default()
            }),
            problems: Vec::new(),
            absent: Vec::new(),
            pending: Vec::new(),
            sessions: Some(Vec::new()),
            troubles: Some(Vec::new()),
        }
    }

    #[test]
    fn a_person_sees_facts_and_a_table() {
        assert_eq!(
            report().text(Style::PLAIN, false, NOW),
            "running   for 1 min, in /s\n\
             address   http://127.0.0.1:1\n\
             config    /s/c.json (not there; defaults)\n\
             model     builtin/guide\n\
             messages  2 waiting, 1 being answered\n\
             sessions  0\n\
             errors    none lately\n\
             \n\
             PROCESS  PID  STATE    SINCE  RESTARTS  CONFINED\n\
             gateway  42   ready    1 min  1         full\n\
             policy   -    waiting  1 min  1         -\n"
        );
        assert!(report().text(Style::PLAIN, true, NOW).contains(FULL));
    }

    #[test]
    fn what_comes_first_is_told_until_a_model_answers_and_only_where_services_do() {
        let told = |change: fn(&mut Report)| {
            let mut report = report();
            report.mode = Mode::System {
                runtime: "/r".into(),
            };
            change(&mut report);
            let next = report.json()["next"].as_array().unwrap().len();
            let text = report.text(Style::PLAIN, false, NOW);
            let said = STEPS.iter().all(|(command, _)| text.contains(command));
            assert_eq!((next, said), if said { (3, true) } else { (0, false) });
            said
        };
        assert!(told(|_| ()));
        assert!(!told(|report| report.mode = Mode::Single));
        assert!(!told(
            |report| report.policy.as_mut().unwrap().model = "openai/gpt-5".into()
        ));
        assert!(!told(|report| report.policy = None));
        // Somebody else's model answers.
        assert!(!told(|report| {
            let processes = &mut report.processes.as_mut().unwrap().processes;
            processes.push(process("model-ollama", "ready"));
        }));
    }

    #[test]
    fn what_is_missing_is_said_once_with_its_meaning() {
        let mut report = report();
        let weak = FULL.replace("level=full", "level=partial") + " missing=landlock";
        let live = &mut report.processes.as_mut().unwrap().processes;
        *live = ["gateway", "policy"]
            .map(|role| Process {
                confinement: weak.clone(),
                ..process(role, "ready")
            })
            .to_vec();
        let text = report.text(Style::PLAIN, false, NOW);
        assert_eq!(text.matches("missing: landlock").count(), 1, "{text}");
        assert!(
            text.contains("missing: landlock (gateway, policy): the kernel has no landlock"),
            "{text}"
        );
        let json = report.json();
        for process in json["processes"].as_array().unwrap() {
            let missing = &process["confinement"]["missing"][0];
            assert_eq!(
                (&missing["what"], &missing["floor"]),
                (&json!("landlock"), &json!(true))
            );
            assert!(
                missing["meaning"]
                    .as_str()
                    .unwrap()
                    .contains("permissions alone")
            );
        }
    }

    #[test]
    fn a_script_sees_the_same() {
        let json = report().json();
        assert_eq!(json["running"], true);
        assert_eq!(json["urls"], json!(["http://127.0.0.1:1"]));
        let confinement = &json["processes"][0]["confinement"];
        assert_eq!(
            (&confinement["level"], &confinement["seccomp"]),
            (&json!("full"), &json!(true))
        );
        assert_eq!(
            (
                &json["processes"][1]["pid"],
                &json["processes"][1]["confinement"]
            ),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(json["policy"]["configError"], Value::Null);
        assert_eq!(json["gateway"]["pending"], 2);
    }

    #[test]
    fn workers_show_their_trouble_and_a_request_is_no_trouble() {
        let problem = |role: &str, code: &str, message: &str| Problem {
            code: code.into(),
            message: message.into(),
            role: role.into(),
            since_ms: 5,
        };
        let mut report = report();
        let live = &mut report.processes.as_mut().unwrap().processes;
        *live = ["model-anthropic", "model-ollama", "channel-telegram"]
            .map(|role| process(role, "ready"))
            .to_vec();
        let waits = problem("channel-telegram", "pairing.requested", "42 asks");
        report.policy.as_mut().unwrap().problems = vec![waits];
        assert!(report.is_well());
        let text = report.text(Style::PLAIN, false, NOW);
        assert!(
            text.contains(
                "models    anthropic (ready), ollama (ready)\nchannels  telegram (ready)\n"
            ),
            "{text}"
        );
        assert!(
            text.ends_with("notice: channel-telegram: 42 asks [pairing.requested]\n"),
            "{text}"
        );
        let revoked = problem(
            "model-anthropic",
            "model.auth",
            "bad key\u{1b}; `clawdbot login`",
        );
        report.policy.as_mut().unwrap().problems.push(revoked);
        assert!(!report.is_well());
        let text = report.text(Style::PLAIN, false, NOW);
        assert!(
            text.contains("anthropic (model.auth), ollama (ready)"),
            "{text}"
        );
        assert!(
            text.ends_with(
                "problem: model-anthropic: bad key\\u{1b}; `clawdbot login` [model.auth]\n"
            ),
            "{text}"
        );
        let json = report.json();
        assert_eq!(json["policy"]["problems"][1]["code"], "model.auth");
        assert_eq!(json["well"], false);
    }

    #[test]
    fn budgets_are_shown_with_what_is_used() {
        let row = |of: &str, what: &str, sender: &str, used, limit| BudgetRow {
            of: of.into(),
            what: what.into(),
            sender: sender.into(),
            agent: "main".into(),
            used,
            limit,
            resets_ms: 5,
        };
        let mut report = report();
        report.policy.as_mut().unwrap().budgets = vec![
            row("day", "tokens", "", 600, 1000),
            row("month", "microusd", "", 10_001, 5_000_000),
            row("sender", "tokens", "telegram:7\u{1b}", 9, 9),
        ];
        let text = report.text(Style::PLAIN, false, NOW);
        for line in [
            "budget    main: 600 of 1000 tokens today\n",
            "budget    main: $0.02 of $5.00 this month\n",
            "budget    main, telegram:7\\u{1b}: 9 of 9 tokens today (used up)\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let rows = &report.json()["policy"]["budgets"];
        assert_eq!(
            (&rows[0]["used"], &rows[0]["sender"]),
            (&json!(600), &Value::Null)
        );
        assert_eq!(rows[1]["of"], "month");
    }

    #[test]
    fn the_last_conversations_and_errors_are_shown_and_no_more_of_them() {
        let session = |key: &str, minutes: u64| SessionSummary {
            session_key: key.into(),
            class: "main".into(),
            updated_at_ms: NOW - 60_000 * minutes,
            ..SessionSummary::default()
        };
        let trouble = |role: &str, text: &str| Brief {
            time: "2026-01-31T12:00:00.000Z".into(),
            level: "warn".into(),
            role: role.into(),
            text: text.into(),
        };
        let mut report = report();
        report.sessions = Some(vec![
            session("agent:main:main", 2),
            session("agent:work:telegram:direct:7", 61),
            session("odd\u{1b}", 62),
            session("agent:main:older", 63),
        ]);
        report.troubles = Some(vec![
            trouble("dialer", "two\u{1b}[2J"),
            trouble("policy", "one"),
        ]);
        let text = report.text(Style::PLAIN, false, NOW);
        assert!(
            text.contains("\nsessions  4\n") && !text.contains("\nerrors "),
            "{text}"
        );
        assert!(
            text.ends_with(
                "\n\
                 CONVERSATION                  AGENT  LAST USED\n\
                 agent:main:main               main   2 min ago\n\
                 agent:work:telegram:direct:7  work   1 h 1 min ago\n\
                 odd\\u{1b}                     -      1 h 2 min ago\n\
                 \n\
                 LAST ERRORS               LEVEL  PROCESS  MESSAGE\n\
                 2026-01-31T12:00:00.000Z  warn   dialer   two\\u{1b}[2J\n\
                 2026-01-31T12:00:00.000Z  warn   policy   one\n"
            ),
            "{text}"
        );
        let json = report.json();
        assert_eq!(json["sessions"]["count"], 4);
        assert_eq!(json["sessions"]["latest"].as_array().unwrap().len(), LATEST);
        assert_eq!(
            json["sessions"]["latest"][1],
            json!({
                "sessionKey": "agent:work:telegram:direct:7", "agent": "work", "class": "main",
                "updatedAtMs": NOW - 61 * 60_000,
            })
        );
        assert_eq!(
            json["errors"][1],
            json!({
                "time": "2026-01-31T12:00:00.000Z", "level": "warn", "process": "policy", "message": "one",
            })
        );
    }

    #[test]
    fn what_could_not_be_asked_or_read_is_one_word_and_nothing_wrong() {
        let mut report = report();
        (report.sessions, report.troubles) = (None, None);
        let text = report.text(Style::PLAIN, false, NOW);
        for line in ["\nsessions  unknown\n", "\nerrors    unknown\n"] {
            assert!(text.contains(line), "{text}");
        }
        assert!(report.is_well());
        let json = report.json();
        assert_eq!(
            (&json["sessions"], &json["errors"]),
            (&Value::Null, &Value::Null)
        );
    }

    #[test]
    fn answers_that_did_not_arrive_are_counted() {
        assert!(!report().text(Style::PLAIN, false, NOW).contains("answers"));
        let mut report = report();
        let gateway = report.gateway.as_mut().unwrap();
        (gateway.undelivered, gateway.unknown, gateway.rejected) = (3, 1, 2);
        assert!(
            report.text(Style::PLAIN, false, NOW).contains(
                "answers   3 on the way, 1 perhaps not arrived, 2 refused by the channel\n"
            )
        );
        assert_eq!(report.json()["gateway"]["unknown"], 1);
    }

    #[test]
    fn what_is_wrong_is_said_and_counts() {
        assert!(report().is_well());
        let mut failed = report();
        failed.processes.as_mut().unwrap().processes[0].state = "failed".into();
        assert!(!failed.is_well());
        let mut silent = report();
        silent
            .problems
            .push("the gateway does not answer\u{1b}".into());
        assert!(!silent.is_well());
        assert!(
            silent
                .text(Style::PLAIN, false, NOW)
                .ends_with("problem: the gateway does not answer\\u{1b}\n")
        );
        let mut refused = report();
        refused.policy.as_mut().unwrap().config_error = "c.json:1:2: no\n".into();
        assert!(
            refused
                .text(Style::PLAIN, false, NOW)
                .ends_with("everything is refused until it is:\nc.json:1:2: no\n")
        );
    }
}

//! The report as it is shown: facts and a table for a person, one object for a script.

use std::fmt::Write as _;

use clawdbot_identity::text::{sanitize_block, sanitize_line};
use clawdbot_proto::v1::{BudgetRow, GatewayStatus, Problem, Process};
use clawdbot_service::{confinement_json, gaps, level};
use serde_json::{Value, json};

use super::{Report, is_notice};
use crate::apply::COMMAND as APPLY;
use crate::out::{Style, duration, table};
use crate::place::Mode;

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
        })
    }

    /// For a person.
    pub fn text(&self, style: Style, verbose: bool) -> String {
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
        let rows = self.policy.iter().flat_map(|policy| &policy.budgets);
        for row in rows {
            fact("budget", budget(row));
        }
        if !self.processes().is_empty() {
            text.push('\n');
            text.push_str(&self.process_table(style, verbose));
            text.push_str(&gap_lines(style, self.processes()));
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
        }
    }

    #[test]
    fn a_person_sees_facts_and_a_table() {
        assert_eq!(
            report().text(Style::PLAIN, false),
            "running   for 1 min, in /s\n\
             address   http://127.0.0.1:1\n\
             config    /s/c.json (not there; defaults)\n\
             model     builtin/guide\n\
             messages  2 waiting, 1 being answered\n\
             \n\
             PROCESS  PID  STATE    SINCE  RESTARTS  CONFINED\n\
             gateway  42   ready    1 min  1         full\n\
             policy   -    waiting  1 min  1         -\n"
        );
        assert!(report().text(Style::PLAIN, true).contains(FULL));
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
        let text = report.text(Style::PLAIN, false);
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
        let text = report.text(Style::PLAIN, false);
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
        let text = report.text(Style::PLAIN, false);
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
        let text = report.text(Style::PLAIN, false);
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
    fn answers_that_did_not_arrive_are_counted() {
        assert!(!report().text(Style::PLAIN, false).contains("answers"));
        let mut report = report();
        let gateway = report.gateway.as_mut().unwrap();
        (gateway.undelivered, gateway.unknown, gateway.rejected) = (3, 1, 2);
        assert!(
            report.text(Style::PLAIN, false).contains(
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
                .text(Style::PLAIN, false)
                .ends_with("problem: the gateway does not answer\\u{1b}\n")
        );
        let mut refused = report();
        refused.policy.as_mut().unwrap().config_error = "c.json:1:2: no\n".into();
        assert!(
            refused
                .text(Style::PLAIN, false)
                .ends_with("everything is refused until it is:\nc.json:1:2: no\n")
        );
    }
}

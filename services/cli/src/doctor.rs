//! `clawdbot doctor`: what the configuration risks, what it sets that has no effect yet, and how well the running
//! processes are confined. It changes nothing.

use std::cmp::Reverse;
use std::fmt::Write as _;

use clawdbot_config::{Finding, Inactive, Loaded, Severity};
use clawdbot_confine::measure::Confinement;
use clawdbot_identity::text::{sanitize_block, sanitize_line};
use clawdbot_proto::v1::Process;
use clawdbot_service::gaps;
use serde_json::{Value, json};

use crate::check::load;
use crate::dial::Sockets;
use crate::failure::{EXIT_CONFIG, EXIT_FAILURE, EXIT_USAGE, Failure};
use crate::out::{Out, Style, count};
use crate::place::Place;
use crate::status::{Report, gather, is_notice};

/// What was found.
#[derive(Debug, Default)]
struct Diagnosis {
    findings: Vec<Found>,
    inactive: Vec<Inactive>,
    running: bool,
}

/// One finding, whoever made it.
#[derive(Debug)]
struct Found {
    id: String,
    severity: Severity,
    path: String,
    title: String,
    detail: String,
    remedy: String,
    /// Several lines that are rendered already.
    excerpt: Option<String>,
}

impl Found {
    fn new(
        id: &str,
        severity: Severity,
        title: impl Into<String>,
        detail: impl Into<String>,
        remedy: &str,
    ) -> Self {
        Self {
            id: id.into(),
            severity,
            path: String::new(),
            title: title.into(),
            detail: detail.into(),
            remedy: remedy.into(),
            excerpt: None,
        }
    }
}

impl From<&Finding> for Found {
    fn from(finding: &Finding) -> Self {
        let Finding {
            id,
            severity,
            path,
            title,
            detail,
            remedy,
            ..
        } = finding;
        Self {
            path: path.clone(),
            ..Self::new(id, *severity, *title, detail.as_str(), remedy)
        }
    }
}

/// Looks and reports: exit status 2 when something is critical, 1 for warnings with `strict`.
///
/// # Errors
/// When the output cannot be written.
pub async fn run(strict: bool, sockets: &Sockets, place: &Place, out: Out) -> Result<u8, Failure> {
    let mut diagnosis = Diagnosis::default();
    diagnosis.configuration(load(
        place,
        Out {
            err: out.style,
            ..out
        },
    ))?;
    diagnosis.processes(gather(sockets).await);
    diagnosis
        .findings
        .sort_by_key(|found| Reverse(found.severity));
    match out.json {
        true => out.value(&diagnosis.json(place))?,
        false => out.text(&diagnosis.text(out.style))?,
    }
    Ok(diagnosis.exit(strict))
}

impl Diagnosis {
    fn configuration(&mut self, loaded: Result<Loaded, Failure>) -> Result<(), Failure> {
        match loaded {
            Ok(loaded) => {
                self.findings
                    .extend(loaded.findings.iter().map(Found::from));
                self.inactive.extend_from_slice(loaded.inactive());
            }
            Err(failure) if failure.exit == EXIT_CONFIG => self.findings.push(Found {
                excerpt: failure.evidence.map(|evidence| evidence.text),
                ..Found::new(
                    &failure.code,
                    Severity::Critical,
                    failure.message,
                    "",
                    &failure.remedy.unwrap_or_default(),
                )
            }),
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    fn processes(&mut self, report: Result<Report, Failure>) {
        let report = match report {
            Ok(report) => report,
            Err(failure) => {
                let remedy = failure.remedy.unwrap_or_default();
                return self.findings.push(Found::new(
                    "running.none",
                    Severity::Info,
                    failure.message,
                    "",
                    &remedy,
                ));
            }
        };
        self.running = true;
        for problem in &report.problems {
            let remedy = "`clawdbot logs --level warn` may say why";
            self.findings.push(Found::new(
                "running.silent",
                Severity::Warn,
                problem.as_str(),
                "",
                remedy,
            ));
        }
        let refused = report
            .policy
            .as_ref()
            .map(|policy| policy.config_error.trim_end())
            .unwrap_or_default();
        if !refused.is_empty()
            && self
                .findings
                .iter()
                .all(|found| found.severity != Severity::Critical)
        {
            self.findings.push(Found {
                excerpt: Some(sanitize_block(refused).into_owned()),
                ..Found::new(
                    "config.not_in_force",
                    Severity::Critical,
                    "the running assistant refused the configuration file",
                    "What was valid last stays in force, or everything is refused if nothing ever was.",
                    "correct the file, or restart with the environment that it needs",
                )
            });
        }
        for problem in report.reported() {
            let severity = match is_notice(problem) {
                true => Severity::Info,
                false => Severity::Warn,
            };
            // The message ends with what to do.
            self.findings.push(Found::new(
                &problem.code,
                severity,
                format!("{}: {}", problem.role, problem.message),
                "",
                "",
            ));
        }
        self.confinement(report.processes());
    }

    /// Each gap once, with the processes that have it, what it means and what would close it.
    fn confinement(&mut self, processes: &[Process]) {
        let ready = || processes.iter().filter(|process| process.state == "ready");
        for process in ready() {
            if Confinement::parse_line(&process.confinement).is_none() {
                let title = format!("{} does not say how it is confined", process.role);
                let remedy = "`clawdbot status -v` shows what it says";
                self.findings.push(Found::new(
                    "confinement.unknown",
                    Severity::Warn,
                    title,
                    "",
                    remedy,
                ));
            }
        }
        for gap in gaps(ready().map(|p| (p.role.as_str(), p.confinement.as_str()))) {
            let severity = match gap.missing.floor {
                true => Severity::Warn,
                false => Severity::Info,
            };
            let what = gap.missing.what;
            let title = format!(
                "{what} is missing from the confinement of {}",
                gap.roles.join(", ")
            );
            self.findings.push(Found::new(
                &format!("confinement.{what}"),
                severity,
                title,
                gap.missing.meaning,
                gap.missing.remedy,
            ));
        }
    }

    fn number(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|found| found.severity == severity)
            .count()
    }

    fn exit(&self, strict: bool) -> u8 {
        match () {
            () if self.number(Severity::Critical) > 0 => EXIT_USAGE,
            () if strict && self.number(Severity::Warn) > 0 => EXIT_FAILURE,
            () => 0,
        }
    }

    fn json(&self, place: &Place) -> Value {
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|found| {
                json!({
                    "id": found.id,
                    "severity": found.severity.as_str(),
                    "path": found.path,
                    "title": found.title,
                    "detail": found.excerpt.as_ref().unwrap_or(&found.detail),
                    "remedy": found.remedy,
                })
            })
            .collect();
        let inactive: Vec<Value> = self
            .inactive
            .iter()
            .map(|key| json!({ "path": key.path, "feature": key.feature }))
            .collect();
        json!({
            "findings": findings,
            "inactive": inactive,
            "running": self.running,
            "configPath": place.config.display().to_string(),
            "stateDir": place.state.display().to_string(),
        })
    }

    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        for found in &self.findings {
            let severity = match found.severity {
                Severity::Critical => style.red("critical"),
                Severity::Warn => style.yellow("warning"),
                Severity::Info => style.dim("note"),
            };
            let path = if found.path.is_empty() {
                String::new()
            } else {
                format!("{}: ", sanitize_line(&found.path))
            };
            let id = style.dim(&format!("[{}]", found.id));
            let _ = writeln!(
                text,
                "{severity}  {path}{} {id}",
                sanitize_line(&found.title)
            );
            if !found.detail.is_empty() {
                let _ = writeln!(text, "  {}", sanitize_line(&found.detail));
            }
            if let Some(excerpt) = &found.excerpt {
                let _ = writeln!(text, "{}", excerpt.trim_end());
            }
            if !found.remedy.is_empty() {
                let _ = writeln!(
                    text,
                    "  {} {}",
                    style.bold("help:"),
                    sanitize_line(&found.remedy)
                );
            }
        }
        if !self.inactive.is_empty() {
            let _ = writeln!(
                text,
                "\n{}",
                style.bold("Accepted, but without effect: the feature is not there yet")
            );
            for key in &self.inactive {
                let _ = writeln!(
                    text,
                    "  {}  {}",
                    sanitize_line(&key.path),
                    style.dim(key.feature)
                );
            }
        }
        if !text.is_empty() {
            text.push('\n');
        }
        let (critical, warnings) = (self.number(Severity::Critical), self.number(Severity::Warn));
        let verdict = format!("{critical} critical, {}", count(warnings, "warning"));
        let verdict = if critical + warnings == 0 {
            style.green("nothing to worry about")
        } else {
            verdict
        };
        let _ = writeln!(text, "{verdict}");
        text
    }
}

#[cfg(test)]
mod tests {
    use clawdbot_proto::v1::{PolicyStatus, Problem, ProcessesReply};

    use super::*;

    fn found(severity: Severity) -> Found {
        Found::new("some.id", severity, "a title", "a detail", "a remedy")
    }

    fn diagnosis(findings: Vec<Found>) -> Diagnosis {
        Diagnosis {
            findings,
            inactive: vec![Inactive {
                path: "channels.telegram".into(),
                feature: "Telegram",
            }],
            running: false,
        }
    }

    #[test]
    fn the_exit_status_tells_the_worst_finding() {
        for (severities, lenient, strict) in [
            (vec![], 0, 0),
            (vec![Severity::Info], 0, 0),
            (vec![Severity::Info, Severity::Warn], 0, 1),
            (vec![Severity::Critical, Severity::Warn], 2, 2),
        ] {
            let diagnosis = diagnosis(severities.into_iter().map(found).collect());
            assert_eq!(
                (diagnosis.exit(false), diagnosis.exit(true)),
                (lenient, strict)
            );
        }
    }

    #[test]
    fn a_person_reads_findings_then_what_has_no_effect_then_the_sum() {
        assert_eq!(
            diagnosis(vec![found(Severity::Warn)]).text(Style::PLAIN),
            "warning  a title [some.id]\n  a detail\n  help: a remedy\n\
             \nAccepted, but without effect: the feature is not there yet\n  channels.telegram  Telegram\n\
             \n0 critical, 1 warning\n"
        );
        assert_eq!(
            Diagnosis::default().text(Style::PLAIN),
            "nothing to worry about\n"
        );
    }

    #[test]
    fn a_script_reads_the_same() {
        let place = Place {
            state: "/s".into(),
            config: "/c".into(),
        };
        let json = diagnosis(vec![found(Severity::Critical)]).json(&place);
        assert_eq!(
            json,
            json!({
                "findings": [{ "id": "some.id", "severity": "critical", "path": "", "title": "a title",
                               "detail": "a detail", "remedy": "a remedy" }],
                "inactive": [{ "path": "channels.telegram", "feature": "Telegram" }],
                "running": false, "configPath": "/c", "stateDir": "/s",
            })
        );
    }

    fn running(role: &str, confinement: &str, config_error: &str) -> Report {
        let process = Process {
            role: role.into(),
            state: "ready".into(),
            confinement: confinement.into(),
            ..Process::default()
        };
        Report {
            processes: Some(ProcessesReply {
                processes: vec![process],
                ..ProcessesReply::default()
            }),
            policy: Some(PolicyStatus {
                config_error: config_error.into(),
                ..PolicyStatus::default()
            }),
            ..Report::default()
        }
    }

    fn ids(report: Report) -> Vec<String> {
        let mut diagnosis = Diagnosis::default();
        diagnosis.processes(Ok(report));
        assert!(diagnosis.running);
        diagnosis
            .findings
            .into_iter()
            .map(|found| found.id)
            .collect()
    }

    const FULL: &str = "level=full landlock=6 seccomp=on filters=5 nnp=on caps=off dumpable=off core=0 env=0 strays=0 net=own memory=none";

    #[test]
    fn gaps_of_the_confinement_and_a_refused_file_of_what_runs_are_found() {
        let limits = FULL.replace(
            "level=full landlock=6 seccomp=on",
            "level=limits landlock=0 seccomp=off",
        );
        let partial = FULL.replace("level=full landlock=6", "level=partial landlock=0");
        let partial = format!("{partial} missing=landlock");
        assert_eq!(ids(running("gateway", FULL, "")), [""; 0]);
        assert_eq!(ids(running("supervisor", &limits, "")), [""; 0]);
        assert_eq!(
            ids(running("gateway", &partial, "")),
            ["confinement.landlock"]
        );
        assert_eq!(ids(running("gateway", "", "")), ["confinement.unknown"]);
        assert_eq!(
            ids(running("gateway", FULL, "c.json:1:1: no")),
            ["config.not_in_force"]
        );
    }

    #[test]
    fn what_workers_report_is_a_finding_and_a_request_a_note() {
        let problem = |code: &str| Problem {
            code: code.into(),
            message: "do something".into(),
            role: "model-x".into(),
            since_ms: 0,
        };
        let mut report = running("gateway", FULL, "");
        report.policy.as_mut().unwrap().problems =
            vec![problem("model.no_key"), problem("pairing.requested")];
        let mut diagnosis = Diagnosis::default();
        diagnosis.processes(Ok(report));
        let found: Vec<_> = diagnosis
            .findings
            .iter()
            .map(|found| (found.id.as_str(), found.severity))
            .collect();
        assert_eq!(
            found,
            [
                ("model.no_key", Severity::Warn),
                ("pairing.requested", Severity::Info)
            ]
        );
        assert_eq!((diagnosis.exit(false), diagnosis.exit(true)), (0, 1));
    }

    #[test]
    fn a_gap_is_a_warning_if_safety_rests_on_it_and_a_note_otherwise() {
        let gap = |missing: &str| {
            let mut diagnosis = Diagnosis::default();
            diagnosis.processes(Ok(running(
                "gateway",
                &format!("{FULL} missing={missing}"),
                "",
            )));
            diagnosis.findings.remove(0)
        };
        let warning = gap("seccomp");
        assert_eq!(warning.severity, Severity::Warn);
        assert!(warning.remedy.contains("CONFIG_SECCOMP_FILTER"));
        let namespace = gap("network-namespace");
        assert_eq!(namespace.severity, Severity::Info);
        assert!(namespace.remedy.contains("sysctl"));
        let note = gap("landlock-scope");
        assert_eq!(note.severity, Severity::Info);
        assert!(note.title.ends_with("the confinement of gateway") && !note.detail.is_empty());
    }

    #[test]
    fn a_file_that_does_not_load_is_a_critical_finding() {
        let mut diagnosis = Diagnosis::default();
        let failure = Failure::new("config.invalid", "bad")
            .exit(78)
            .evidence("c.json:1:1: no".into(), json!({}));
        diagnosis.configuration(Err(failure)).unwrap();
        assert_eq!(diagnosis.exit(false), 2);
        assert!(diagnosis.text(Style::PLAIN).contains("c.json:1:1: no"));
    }
}

//! The configuration that this user may not read, as policy tells it: what its rules find and what keeps it from loading.
//! Everything else that is looked at in it needs the file itself.

use std::path::Path;
use std::time::Duration;

use clawdbot_config::{Cure, Severity, about_rules};
use clawdbot_proto::v1::{ConfigFinding, ConfigFindings, ConfigMistake};
use tokio::time::timeout;

use super::check::{Found, Hit, INVALID, Spot};
use crate::dial::Sockets;
use crate::remote;

/// How long policy may take to read the file.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks policy, which runs. Nothing where it does not answer.
pub async fn ask(sockets: &Sockets) -> Option<ConfigFindings> {
    let asked = timeout(PATIENCE, remote::findings(sockets)).await;
    asked.ok()?.ok()
}

/// What it told, as if it had been found here.
pub fn found(told: &ConfigFindings) -> Vec<Found> {
    let file = Path::new(&told.path);
    let findings = told.findings.iter().map(|one| of_rule(one, file));
    let mistakes = told.mistakes.iter().map(|one| of_mistake(one, file));
    let mut found: Vec<Found> = findings.chain(mistakes).collect();
    if told.more > 0 {
        found.push(Found {
            title: format!("{} more mistakes", told.more),
            ..INVALID.found(Hit::file(file, ""))
        });
    }
    found
}

fn of_rule(finding: &ConfigFinding, file: &Path) -> Found {
    Found {
        id: finding.id.clone(),
        severity: severity(&finding.severity),
        path: finding.path.clone(),
        spot: spot(file, finding.line, finding.column),
        title: finding.title.clone(),
        detail: finding.detail.clone(),
        why: finding.why.clone(),
        help: finding.remedy.clone(),
        command: command(&finding.id, &finding.path),
        repair: None,
        excerpt: None,
    }
}

fn of_mistake(mistake: &ConfigMistake, file: &Path) -> Found {
    let found = INVALID.found(Hit::default());
    let found = Found {
        path: mistake.path.clone(),
        spot: spot(file, mistake.line, mistake.column),
        title: mistake.message.clone(),
        help: match mistake.help.as_str() {
            "" => found.help,
            help => help.to_owned(),
        },
        ..found
    };
    match about_rules().find(|rule| rule.id == mistake.rule) {
        None => found,
        Some(rule) => Found {
            id: rule.id.to_owned(),
            why: rule.why.to_owned(),
            command: command(rule.id, &mistake.path),
            ..found
        },
    }
}

/// What ends it. What would keep the other entries of a list needs the file, and is changed by hand.
fn command(rule: &str, path: &str) -> String {
    let rule = about_rules().find(|known| known.id == rule);
    let cure = rule.map(|rule| rule.cure);
    match cure.filter(|cure| !matches!(cure, Cure::Add(..) | Cure::Name(_))) {
        Some(cure) => cure.command(path, ""),
        None => INVALID.command.to_owned(),
    }
}

/// One that this program does not know is worth a look.
fn severity(name: &str) -> Severity {
    let all = [Severity::Info, Severity::Critical];
    let known = all.into_iter().find(|severity| severity.as_str() == name);
    known.unwrap_or(Severity::Warn)
}

fn spot(file: &Path, line: u32, column: u32) -> Option<Spot> {
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Some(Spot {
        file: file.to_owned(),
        at: (line > 0).then(|| (number(line), number(column))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> ConfigFindings {
        ConfigFindings {
            path: "/etc/clawdbot/clawdbot.json".into(),
            ..ConfigFindings::default()
        }
    }

    #[test]
    fn a_finding_of_policys_is_as_one_of_our_own() {
        let rule = |list: bool| {
            about_rules()
                .find(|rule| match rule.cure {
                    Cure::Add(..) | Cure::Name(_) => list,
                    Cure::Set(_) | Cure::Fix(_) => !list,
                    _ => false,
                })
                .unwrap()
        };
        let finding = |id: &str, severity: &str| ConfigFinding {
            id: id.into(),
            severity: severity.into(),
            path: "a.b".into(),
            line: 3,
            column: 5,
            title: "title".into(),
            why: "why".into(),
            detail: "detail".into(),
            remedy: "remedy".into(),
        };
        let (value, list) = (rule(false), rule(true));
        let found = found(&ConfigFindings {
            findings: vec![
                finding(value.id, "critical"),
                finding(list.id, "info"),
                finding("of.a_newer_version", "disaster"),
            ],
            ..told()
        });
        let ids: Vec<_> = found.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, [value.id, list.id, "of.a_newer_version"]);
        let severities: Vec<_> = found.iter().map(|one| one.severity).collect();
        assert_eq!(
            severities,
            [Severity::Critical, Severity::Info, Severity::Warn]
        );
        let spot = found[0].spot.as_ref().unwrap();
        assert_eq!(spot.to_string(), "/etc/clawdbot/clawdbot.json:3:5");
        assert_eq!(
            (found[0].detail.as_str(), found[0].help.as_str()),
            ("detail", "remedy")
        );
        assert!(
            found[0].command.starts_with("clawdbot config set a.b "),
            "{}",
            found[0].command
        );
        // Written without the file, it would lose what else is in the list.
        assert_eq!(found[1].command, INVALID.command);
        assert_eq!(found[2].command, INVALID.command);
        assert!(found.iter().all(|one| one.repair.is_none()));
    }

    #[test]
    fn a_file_that_does_not_load_is_told_mistake_by_mistake() {
        let rule = about_rules().next().unwrap();
        let found = found(&ConfigFindings {
            mistakes: vec![
                ConfigMistake {
                    message: "unknown key".into(),
                    help: "write port".into(),
                    line: 1,
                    column: 14,
                    path: "gateway.prot".into(),
                    rule: String::new(),
                },
                ConfigMistake {
                    message: "refused".into(),
                    rule: rule.id.into(),
                    ..ConfigMistake::default()
                },
            ],
            more: 2,
            ..told()
        });
        let rows: Vec<_> = found
            .iter()
            .map(|one| (one.id.as_str(), one.title.as_str(), one.severity))
            .collect();
        assert_eq!(
            rows,
            [
                ("config.invalid", "unknown key", Severity::Critical),
                (rule.id, "refused", Severity::Critical),
                ("config.invalid", "2 more mistakes", Severity::Critical),
            ]
        );
        assert_eq!(found[0].help, "write port");
        assert_eq!(found[1].why, rule.why);
        assert_eq!(found[1].spot.as_ref().unwrap().at, None);
    }
}

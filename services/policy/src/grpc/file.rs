//! The configuration file for operators who may not read it: its text without secrets, and what is to be said about it.
//! Each look is a fresh one at the file as it lies there; what is in force is said beside.

use clawdbot_config::{self as config, MAX_SIZE, Place};
use clawdbot_proto::v1;
use tonic::Status;

use super::Services;

/// Largest answer in settings, bytes: defaults are more than what a file of the largest size says.
const MAX_SETTINGS: usize = 2 << 20;

impl Services {
    /// The file's text without secrets.
    pub(super) async fn config_text(&self) -> Result<v1::ConfigText, Status> {
        let place = self.0.config.path();
        let refused = |message: String| Status::failed_precondition(message);
        let read = config::read_text(place, self.0.config.open().await);
        let bytes = read.map_err(|error| refused(error.first()))?;
        let mut text = v1::ConfigText {
            path: place.display().to_string(),
            exists: bytes.is_some(),
            ..v1::ConfigText::default()
        };
        let bytes = bytes.unwrap_or_default();
        if text.exists {
            text.text = config::masked(&String::from_utf8_lossy(&bytes));
        }
        let empty = b"{}".as_slice();
        let whole = if text.exists { bytes.as_slice() } else { empty };
        if let Ok(loaded) = config::parse(&text.path, whole) {
            text.settings = loaded.to_json().to_string();
        }
        match text.text.len() <= MAX_SIZE && text.settings.len() <= MAX_SETTINGS {
            true => Ok(text),
            false => Err(refused(format!(
                "{}: the file is too large to be shown from here; read it as root",
                text.path
            ))),
        }
    }

    /// What is wrong with the file, or worth knowing, and what became of it.
    pub(super) async fn config_findings(&self) -> v1::ConfigFindings {
        let path = self.0.config.path();
        let loaded = config::load_opened(path, self.0.config.open().await);
        let current = self.0.in_force().borrow().clone();
        let refused = self.0.trouble().map(|trouble| trouble.rendered);
        let mut reply = v1::ConfigFindings {
            path: path.display().to_string(),
            exists: self.0.config_exists(),
            revision: current.map_or(0, |current| current.revision),
            refused: refused.unwrap_or_default(),
            ..v1::ConfigFindings::default()
        };
        match loaded {
            Ok(loaded) => {
                reply.findings = loaded.findings.iter().map(finding).collect();
                let inactive = loaded.inactive().iter().map(|one| v1::ConfigInactive {
                    path: one.path.clone(),
                    feature: one.feature.to_owned(),
                });
                reply.inactive = inactive.collect();
            }
            Err(error) => {
                reply.mistakes = error.mistakes().iter().map(mistake).collect();
                reply.more = narrow(error.more());
            }
        }
        reply
    }
}

fn mistake(mistake: &config::Mistake) -> v1::ConfigMistake {
    let (line, column) = at(mistake.place);
    v1::ConfigMistake {
        message: mistake.message.clone(),
        help: mistake.help.clone().unwrap_or_default(),
        line,
        column,
        path: mistake.path.clone(),
        rule: mistake.rule.unwrap_or_default().to_owned(),
    }
}

fn finding(finding: &config::Finding) -> v1::ConfigFinding {
    let (line, column) = at(finding.place);
    v1::ConfigFinding {
        id: finding.id.to_owned(),
        severity: finding.severity.as_str().to_owned(),
        path: finding.path.clone(),
        line,
        column,
        title: finding.title.to_owned(),
        why: finding.why.to_owned(),
        detail: finding.detail.clone(),
        remedy: finding.remedy.to_owned(),
    }
}

fn at(place: Option<Place>) -> (u32, u32) {
    place.map_or((0, 0), |place| (narrow(place.line), narrow(place.column)))
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clawdbot_proto::v1::policy_operator_client::PolicyOperatorClient;
    use tonic::Code;

    use super::*;
    use crate::bench::{Bench, CANARY};

    async fn text(bench: &Bench) -> Result<v1::ConfigText, Status> {
        let mut client = PolicyOperatorClient::new(bench.edge("operator"));
        let reply = client.read_config(v1::ReadConfigRequest {}).await;
        reply.map(tonic::Response::into_inner)
    }

    async fn findings(bench: &Bench) -> v1::ConfigFindings {
        let mut client = PolicyOperatorClient::new(bench.edge("operator"));
        let reply = client.findings(v1::FindingsRequest {}).await;
        reply.unwrap().into_inner()
    }

    #[tokio::test]
    async fn the_file_is_shown_as_it_is_but_for_its_secrets() {
        let file = format!(
            "{{\n  // mine\n  gateway: {{port: 4000, auth: {{token: '{CANARY}'}}}},\n  channels: {{telegram: {{botToken: '1:{CANARY}', enabled: false}}}},\n}}\n"
        );
        let bench = Bench::new(&file).await;
        let shown = text(&bench).await.unwrap();
        let expected = file
            .replace(&format!("1:{CANARY}"), "***")
            .replace(CANARY, "***");
        assert_eq!(
            (shown.text.as_str(), shown.exists),
            (expected.as_str(), true)
        );
        assert_eq!(shown.path, bench.policy.config.path().display().to_string());
        let settings: serde_json::Value = serde_json::from_str(&shown.settings).unwrap();
        assert_eq!(settings["gateway"]["port"], 4000);
        assert_eq!(settings["gateway"]["auth"]["token"], "[secret]");
        assert!(!shown.settings.contains(CANARY));

        // Also what does not load, and what is no text.
        for broken in [
            format!("{{gateway {{auth: {{token '{CANARY}'"),
            format!("{{tokn: '{CANARY}'}} \u{fffd}"),
        ] {
            bench.write(&broken);
            let shown = text(&bench).await.unwrap();
            assert!(
                !shown.text.contains(CANARY) && shown.text.contains("***"),
                "{}",
                shown.text
            );
            assert_eq!(shown.settings, "");
        }
        fs::write(bench.policy.config.path(), b"{port: '\xff'}").unwrap();
        assert_eq!(text(&bench).await.unwrap().text, "{port: '\u{fffd}'}");
    }

    #[tokio::test]
    async fn no_file_means_the_defaults_and_what_is_no_file_is_refused() {
        let bench = Bench::new("{}").await;
        let path = bench.policy.config.path();
        fs::remove_file(path).unwrap();
        let shown = text(&bench).await.unwrap();
        assert_eq!((shown.text.as_str(), shown.exists), ("", false));
        assert!(shown.settings.contains("18789"));
        fs::create_dir(path).unwrap();
        let status = text(&bench).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("directory"), "{status}");
        let found = findings(&bench).await;
        assert_eq!((found.mistakes.len(), found.mistakes[0].line), (1, 0));
        assert!(found.mistakes[0].help.contains("clawdbot.json"));
        fs::remove_dir(path).unwrap();
        // Each secret of one character is shown as three.
        let most = "{token: ['x', 'y']} // ";
        bench.write(&format!("{most}{}", "a".repeat(MAX_SIZE - most.len())));
        let status = text(&bench).await.unwrap_err();
        assert!(status.message().contains("too large"), "{status}");
    }

    #[tokio::test]
    async fn mistakes_and_findings_have_their_places_and_what_is_in_force_is_said() {
        let bench = Bench::new("{}").await;
        let found = findings(&bench).await;
        assert_eq!((found.revision, found.refused.as_str()), (1, ""));
        assert!(found.mistakes.is_empty() && found.exists);

        bench.write("{\n gateway: {bind: 'all'},\n nope: 1,\n}");
        bench.load().await;
        let found = findings(&bench).await;
        assert_eq!(found.revision, 1, "the last good one stays in force");
        assert!(found.refused.contains("nope"), "{}", found.refused);
        let nope = found
            .mistakes
            .iter()
            .find(|one| one.message.contains("nope"));
        let nope = nope.unwrap();
        assert_eq!((nope.line, nope.column), (3, 2));
        let all = found.mistakes.iter().find(|one| one.path == "gateway.bind");
        assert!(!all.unwrap().help.is_empty());
        assert!(found.findings.is_empty());

        let file = "{channels: {telegram: {\n botToken: '1:abcdefghijklmnopqrstuvwxyz'}}}";
        bench.write(file);
        let found = findings(&bench).await;
        assert!(found.mistakes.is_empty() && !found.refused.is_empty());
        let expected = config::parse("x", file.as_bytes()).unwrap().findings;
        let ids = |all: &[v1::ConfigFinding]| -> Vec<(String, u32)> {
            let rows = all.iter().map(|one| (one.id.clone(), one.line));
            rows.collect()
        };
        let row = |one: &config::Finding| (one.id.to_owned(), at(one.place).0);
        assert_eq!(
            ids(&found.findings),
            expected.iter().map(row).collect::<Vec<_>>()
        );
        let literal = found.findings.iter().find(|one| one.line == 2).unwrap();
        assert!(!literal.remedy.is_empty() && !literal.why.is_empty());
    }
}

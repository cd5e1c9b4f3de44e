//! The configuration by policy's word. Operators of system mode may not read the file: policy reads it for them, without its
//! secrets. And whoever changes it waits until policy has the change.

use std::time::Duration;

use clawdbot_config::{ConfigPath, Segment};
use clawdbot_identity::text::{sanitize_block, sanitize_line};
use clawdbot_proto::v1::policy_operator_client::PolicyOperatorClient;
use clawdbot_proto::v1::{
    ConfigFindings, ConfigMistake, ConfigText, FindingsRequest, PolicyStatus, PolicyStatusRequest,
    ReadConfigRequest,
};
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

use crate::apply::Needs;
use crate::dial::{Server, Sockets};
use crate::failure::{EXIT_CONFIG, Failure};
use crate::out::{Out, count, pretty};
use crate::place::Place;
use crate::run::block_on;

/// How long policy may take to see a change; it looks again after a tenth of that.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two questions.
const PAUSE: Duration = Duration::from_millis(50);

/// What policy made of this file last.
#[derive(PartialEq, Eq)]
pub struct Taken {
    revision: u64,
    error: String,
}

impl Taken {
    fn of(status: PolicyStatus) -> Self {
        Self {
            revision: status.revision,
            error: status.config_error,
        }
    }
}

/// What policy made of this file last; nothing where it does not answer, or has another one.
pub fn taken(place: &Place) -> Option<Taken> {
    let status = block_on(soon(status(place))).ok()?;
    (status.config_path == place.config.display().to_string()).then(|| Taken::of(status))
}

/// Waits until policy has taken up a change of the file or refused it, so that the next command finds it in force.
pub fn wait_for_next(place: &Place, before: &Taken) {
    let taken_up = async {
        loop {
            let now = Taken::of(status(place).await?);
            if *before != now {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    };
    // Nothing depends on it: policy takes it up when it can.
    let _late = block_on(soon(taken_up));
}

async fn soon<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = || Failure::new("late", "policy does not answer in time");
    timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| Err(late()))
}

async fn status(place: &Place) -> Result<PolicyStatus, Failure> {
    let line = Sockets::of(place).open(Server::Policy).await?;
    PolicyOperatorClient::new(line.edge.clone())
        .status(PolicyStatusRequest {})
        .await
        .map(tonic::Response::into_inner)
        .map_err(|status| Failure::call("policy", &status))
}

/// Whether the file is there and closed to this person.
pub fn is_closed(place: &Place) -> bool {
    // Nothing is opened for it: a pipe in its place would wait.
    let readable = rustix::fs::access(&place.config, rustix::fs::Access::READ_OK);
    place.is_system() && readable == Err(rustix::io::Errno::ACCESS)
}

/// What the service manager has to be told, by policy's word.
///
/// # Errors
/// When policy does not answer or the file does not load.
pub async fn needs(sockets: &Sockets) -> Result<Needs, Failure> {
    let settings = settings(sockets).await?;
    Needs::of_settings(&settings)
        .ok_or_else(|| Failure::new("version", "policy's settings lack the gateway"))
}

/// A setting of a file that is closed to this person; nothing where policy does not tell it soon.
pub fn wish(path: &str, place: &Place) -> Option<Value> {
    let sockets = Sockets::of(place);
    let settings = block_on(soon(settings(&sockets))).ok()?;
    at(&settings, path).cloned()
}

/// As `config get`.
///
/// # Errors
/// When policy does not answer, the file does not load, or there is no such setting.
pub async fn get(path: Option<&str>, sockets: &Sockets, out: Out) -> Result<u8, Failure> {
    let settings = settings(sockets).await?;
    let value = match path {
        None => &settings,
        Some(path) => at(&settings, path).ok_or_else(|| crate::config::no_setting(path))?,
    };
    match value.as_str() {
        Some(text) if !out.json => out.text(&sanitize_block(text))?,
        _ => out.text(&pretty(value))?,
    }
    Ok(0)
}

/// As `config validate`.
///
/// # Errors
/// Exit status 78 with all mistakes when the file does not load.
pub async fn validate(sockets: &Sockets, out: Out) -> Result<u8, Failure> {
    let found = findings(sockets).await?;
    if !found.mistakes.is_empty() {
        return Err(invalid(&found));
    }
    let (findings, inactive) = (found.findings.len(), found.inactive.len());
    if out.json {
        out.value(&json!({
            "valid": true, "file": found.path, "exists": found.exists, "findings": findings, "inactive": inactive,
        }))?;
        return Ok(0);
    }
    let mut text = format!("valid: {}, says policy", sanitize_line(&found.path));
    if findings + inactive > 0 {
        text.push_str(&format!(
            "\n{}, {} not active yet; `clawdbot doctor` tells more",
            count(findings, "finding"),
            count(inactive, "setting")
        ));
    }
    out.text(&text)?;
    Ok(0)
}

async fn settings(sockets: &Sockets) -> Result<Value, Failure> {
    let text = text(sockets).await?;
    match serde_json::from_str(&text.settings) {
        Ok(settings) => Ok(settings),
        Err(_) => Err(invalid(&findings(sockets).await?)),
    }
}

async fn text(sockets: &Sockets) -> Result<ConfigText, Failure> {
    let line = sockets.open(Server::Policy).await?;
    PolicyOperatorClient::new(line.edge.clone())
        .read_config(ReadConfigRequest {})
        .await
        .map(tonic::Response::into_inner)
        .map_err(|status| Failure::call("policy", &status))
}

/// Everything that is to be said about the file.
///
/// # Errors
/// When policy does not answer.
pub async fn findings(sockets: &Sockets) -> Result<ConfigFindings, Failure> {
    let line = sockets.open(Server::Policy).await?;
    PolicyOperatorClient::new(line.edge.clone())
        .findings(FindingsRequest {})
        .await
        .map(tonic::Response::into_inner)
        .map_err(|status| Failure::call("policy", &status))
}

fn invalid(found: &ConfigFindings) -> Failure {
    let file = sanitize_line(&found.path).into_owned();
    let mut text = String::new();
    for mistake in &found.mistakes {
        let place = match mistake.line {
            0 => file.clone(),
            line => format!("{file}:{line}:{}", mistake.column),
        };
        text.push_str(&format!("{place}: {}\n", sanitize_line(&mistake.message)));
        if !mistake.help.is_empty() {
            text.push_str(&format!("  help: {}\n", sanitize_line(&mistake.help)));
        }
    }
    if found.more > 0 {
        text.push_str(&format!("and {} more\n", found.more));
    }
    let errors: Vec<Value> = found.mistakes.iter().map(mistake_json).collect();
    Failure::new(
        "config.invalid",
        "the configuration is not valid; nothing works until it is",
    )
    .exit(EXIT_CONFIG)
    .evidence(
        text,
        json!({ "file": found.path, "errors": errors, "more": found.more }),
    )
    .remedy("correct the file; `clawdbot config validate` checks it again")
}

/// In the form that a mistake has where the file is read here.
fn mistake_json(mistake: &ConfigMistake) -> Value {
    let mut error = Map::new();
    error.insert("message".into(), mistake.message.as_str().into());
    for (name, value) in [
        ("help", &mistake.help),
        ("path", &mistake.path),
        ("rule", &mistake.rule),
    ] {
        if !value.is_empty() {
            error.insert(name.into(), value.as_str().into());
        }
    }
    if mistake.line > 0 {
        error.insert("line".into(), mistake.line.into());
        error.insert("column".into(), mistake.column.into());
    }
    Value::Object(error)
}

/// The value at a path, in settings with their own spelling.
fn at<'a>(settings: &'a Value, path: &str) -> Option<&'a Value> {
    let path: ConfigPath = path.parse().ok()?;
    path.segments()
        .iter()
        .try_fold(settings, |value, segment| match segment {
            Segment::Key(key) => value.get(key),
            Segment::Index(index) => value.get(index),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::Style;

    #[test]
    fn a_setting_is_found_by_its_path() {
        let settings = json!({ "agents": { "list": [{ "id": "main" }] }, "a.b": 1 });
        for (path, found) in [
            ("agents.list[0].id", Some(json!("main"))),
            ("agents.list[1]", None),
            ("agents.none", None),
            ("", Some(settings.clone())),
        ] {
            assert_eq!(at(&settings, path).cloned(), found, "{path}");
        }
    }

    #[test]
    fn a_file_that_does_not_load_is_told_as_where_it_can_be_read() {
        let mistake = |line, message: &str| ConfigMistake {
            line,
            column: 5,
            message: message.into(),
            help: "write port".into(),
            path: "gateway.prot".into(),
            ..ConfigMistake::default()
        };
        let failure = invalid(&ConfigFindings {
            path: "/etc/clawdbot/clawdbot.json".into(),
            mistakes: vec![
                mistake(3, "unknown key \u{1b}[2J"),
                mistake(0, "cannot be read"),
            ],
            more: 2,
            ..ConfigFindings::default()
        });
        assert_eq!(
            (failure.exit, failure.code.as_str()),
            (78, "config.invalid")
        );
        let text = failure.text(Style::PLAIN);
        assert!(
            text.contains(
                "/etc/clawdbot/clawdbot.json:3:5: unknown key \\u{1b}[2J\n  help: write port\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("/etc/clawdbot/clawdbot.json: cannot be read\n")
                && text.contains("and 2 more")
        );
        let errors = &failure.json()["error"]["errors"];
        assert_eq!(
            (&errors[0]["line"], &errors[0]["path"]),
            (&json!(3), &json!("gateway.prot"))
        );
        assert_eq!(
            (&errors[1]["line"], &errors[1]["rule"]),
            (&Value::Null, &Value::Null)
        );
    }

    #[test]
    fn only_a_closed_file_of_the_system_is_asked_for() {
        let place = Place::default();
        assert!(!is_closed(&place));
        let missing = Place {
            config: "/nonexistent/clawdbot.json".into(),
            mode: crate::place::Mode::System {
                runtime: "/r".into(),
            },
            ..Place::default()
        };
        assert!(!is_closed(&missing));
    }
}

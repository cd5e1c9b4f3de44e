//! `clawdbot login` and `logout`: a key or token goes into the vault by the broker's own socket and out again. It is asked
//! for without showing it, or comes from a pipe; it is never an argument, and nothing here prints or keeps it.

mod check;
mod hidden;
mod secret;

use std::io::{IsTerminal, stderr};

use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::v1::broker_operator_client::BrokerOperatorClient;
use clawdbot_proto::v1::{PutCredentialReply, PutCredentialRequest, RemoveCredentialRequest};
use serde_json::json;
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};
use tonic::{Code, Status};

use crate::args::{Login, Logout, Whose};
use crate::dial::{Server, Sockets};
use crate::failure::{EXIT_FAILURE, Failure};
use crate::out::Out;
use check::Verdict;

impl Whose {
    /// The role that may use it.
    fn role(&self) -> String {
        match (&self.provider, &self.channel) {
            (Some(provider), _) => format!("model-{provider}"),
            (None, Some(channel)) => format!("channel-{channel}"),
            (None, None) => String::new(),
        }
    }

    fn name(&self) -> &str {
        let name = self.provider.as_ref().or(self.channel.as_ref());
        name.map(String::as_str).unwrap_or_default()
    }

    /// `a key for anthropic`, `a token for telegram, work`.
    fn what(&self) -> String {
        let kind = match self.provider {
            Some(_) => "key",
            None => "token",
        };
        match self.profile.as_str() {
            "default" => format!("{kind} for {}", self.name()),
            profile => format!("{kind} for {}, {profile}", self.name()),
        }
    }
}

/// Asks for a secret, stores it and has it tried. Exit status 0: it works; 1: it is stored, and it does not work or nobody
/// could try it.
///
/// # Errors
/// When nothing runs, the secret cannot be one, or the broker does not take it: then nothing is stored.
pub async fn login(wanted: &Login, sockets: &Sockets, out: Out) -> Result<u8, Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    select! {
        done = log_in(wanted, sockets, out) => done,
        _ = interrupt.recv() => Err(cancelled()),
    }
}

fn cancelled() -> Failure {
    Failure::new("cancelled", "cancelled").exit(130)
}

async fn log_in(wanted: &Login, sockets: &Sockets, out: Out) -> Result<u8, Failure> {
    let whose = &wanted.whose;
    // Nobody types a key for nothing.
    let line = sockets.open(Server::Broker).await?;
    let secret = secret::ask(&whose.what()).await?;
    for hint in secret::hints(whose.name(), &secret) {
        remark(out, &format!("note: {hint}"));
    }
    let request = PutCredentialRequest {
        owner: whose.role(),
        profile: whose.profile.clone(),
        secret: secret.to_vec(),
        key_source: wanted
            .key_source
            .map(|source| source.name().to_owned())
            .unwrap_or_default(),
    };
    drop(secret);
    let stored = BrokerOperatorClient::new(line.edge.clone())
        .put(request)
        .await
        .map_err(|status| refused(&status))?
        .into_inner();
    if !stored.warning.is_empty() {
        remark(
            out,
            &format!("{} {}", out.err.yellow("warning:"), stored.warning),
        );
    }
    let verdict = if !stored.shadowed_by.is_empty() {
        Verdict::unchecked(
            "shadowed",
            format!("{} in the configuration wins over it", stored.shadowed_by),
            Some("take it out of the configuration to use what is stored".to_owned()),
        )
    } else if wanted.no_check {
        Verdict::Skipped
    } else {
        if !out.json && stderr().is_terminal() {
            out.remark(&format!(
                "stored; {} is asked whether it works ...",
                whose.name()
            ));
        }
        check::wait(sockets, &whose.role(), stored.version).await
    };
    tell(whose, &stored, &verdict, out)?;
    Ok(match verdict {
        Verdict::Works | Verdict::Skipped => 0,
        Verdict::Fails(_) | Verdict::Unchecked { .. } => EXIT_FAILURE,
    })
}

fn tell(
    whose: &Whose,
    stored: &PutCredentialReply,
    verdict: &Verdict,
    out: Out,
) -> Result<(), Failure> {
    if out.json {
        return Ok(out.value(&json!({
            "owner": whose.role(),
            "profile": whose.profile,
            "replaced": stored.replaced,
            "shadowedBy": none_if_empty(&stored.shadowed_by),
            "warning": none_if_empty(&stored.warning),
            "check": verdict.json(),
        }))?);
    }
    let how = match stored.replaced {
        true => "replaced",
        false => "stored",
    };
    let mut text = format!("{how} the {}\n", whose.what());
    text.push_str(&verdict.text(out.style));
    out.text(&text).map_err(Failure::from)
}

fn none_if_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn remark(out: Out, text: &str) {
    if !out.json {
        out.remark(&clawdbot_identity::text::sanitize_block(text));
    }
}

/// Takes a secret out of the vault.
///
/// # Errors
/// When nothing runs, or the vault has no such secret.
pub async fn logout(wanted: &Logout, sockets: &Sockets, out: Out) -> Result<u8, Failure> {
    let whose = &wanted.whose;
    let line = sockets.open(Server::Broker).await?;
    let request = RemoveCredentialRequest {
        owner: whose.role(),
        profile: whose.profile.clone(),
    };
    let reply = BrokerOperatorClient::new(line.edge.clone())
        .remove(request)
        .await
        .map_err(|status| refused(&status))?
        .into_inner();
    if !reply.removed {
        let failure = Failure::new("not_found", format!("the vault has no {}", whose.what()));
        return Err(match reply.remaining.as_str() {
            "" => failure.remedy("`clawdbot credentials list` shows what there is"),
            source => failure.remedy(format!(
                "it comes from the {}: take it out there",
                place(source)
            )),
        });
    }
    if out.json {
        out.value(&json!({
            "owner": whose.role(),
            "profile": whose.profile,
            "removed": true,
            "remaining": none_if_empty(&reply.remaining),
        }))?;
        return Ok(0);
    }
    let mut text = format!("removed the {}", whose.what());
    if !reply.remaining.is_empty() {
        text.push_str(&format!(
            "; the one of the {} is used now",
            place(&reply.remaining)
        ));
    }
    out.text(&sanitize_line(&text))?;
    Ok(0)
}

fn place(source: &str) -> &str {
    match source {
        "config" => "configuration",
        other => other,
    }
}

/// The broker's own words, which name the remedy.
fn refused(status: &Status) -> Failure {
    match status.code() {
        Code::FailedPrecondition => Failure::new("vault", status.message()),
        Code::InvalidArgument => Failure::new("invalid", status.message()),
        _ => Failure::call("the broker", status),
    }
}

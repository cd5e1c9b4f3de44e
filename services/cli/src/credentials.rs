//! `clawdbot credentials`: which credentials the broker knows, and the state of the vault. There is no way to read a value
//! back.

use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::v1::broker_operator_client::BrokerOperatorClient;
use clawdbot_proto::v1::{Credential, ListCredentialsReply, ListCredentialsRequest, Vault};
use serde_json::{Value, json};

use crate::dial::{Server, Sockets};
use crate::failure::Failure;
use crate::out::{Out, Style, table};

/// Lists them.
///
/// # Errors
/// When nothing runs.
pub async fn list(sockets: &Sockets, out: Out) -> Result<u8, Failure> {
    let line = sockets.open(Server::Broker).await?;
    let reply = BrokerOperatorClient::new(line.edge.clone())
        .list(ListCredentialsRequest {})
        .await
        .map_err(|status| Failure::call("the broker", &status))?
        .into_inner();
    match out.json {
        true => out.value(&as_json(&reply))?,
        false => out.text(&as_text(out.style, &reply))?,
    }
    Ok(0)
}

fn as_json(reply: &ListCredentialsReply) -> Value {
    let row = |c: &Credential| {
        json!({
            "name": c.name, "source": c.source, "owner": c.owner, "profile": c.profile,
            "present": c.present, "inUse": c.in_use,
        })
    };
    let rows: Vec<Value> = reply.credentials.iter().map(row).collect();
    let vault = reply.vault.as_ref().map(|vault| {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        json!({
            "state": vault.state, "keySource": some(&vault.key_source), "message": some(&vault.message),
        })
    });
    json!({ "credentials": rows, "vault": vault })
}

fn as_text(style: Style, reply: &ListCredentialsReply) -> String {
    let mut text = match reply.credentials.as_slice() {
        [] => "no credentials are known; `clawdbot login` stores one\n".to_owned(),
        credentials => {
            let vault = reply.vault.as_ref();
            let closed = vault.is_some_and(|vault| vault.state == "unreachable");
            let row = |c: &Credential| {
                let cells = [&c.owner, &c.profile, &c.source, &c.name].map(Clone::clone);
                let [owner, profile, source, name] = cells;
                [owner, profile, source, name, state(c, closed).to_owned()]
            };
            let rows: Vec<[String; 5]> = credentials.iter().map(row).collect();
            let heading = ["ONLY FOR", "PROFILE", "SOURCE", "NAME", "STATE"];
            table(style, heading, &rows)
        }
    };
    text.push_str(
        &reply
            .vault
            .as_ref()
            .map(|v| vault(style, v))
            .unwrap_or_default(),
    );
    text
}

fn state(credential: &Credential, closed: bool) -> &'static str {
    match (credential.present, credential.in_use) {
        (true, true) => "in use",
        (true, false) if closed && credential.source == "vault" => "out of reach",
        (true, false) => "not used: another one wins",
        (false, _) => "missing",
    }
}

fn vault(style: Style, vault: &Vault) -> String {
    let kept = match vault.key_source.as_str() {
        "" => String::new(),
        "credential" => ", its key comes from the service manager".to_owned(),
        source => format!(", its key is in the {source}"),
    };
    let line = match vault.state.as_str() {
        "none" => return String::new(),
        "open" => format!("vault: open{kept}"),
        "waiting" => format!("vault: not opened yet{kept}"),
        state => format!(
            "{} {}{kept}: {}",
            style.yellow("vault:"),
            sanitize_line(state),
            sanitize_line(&vault.message)
        ),
    };
    format!("\n{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> ListCredentialsReply {
        let row = |owner: &str, source: &str, name: &str, present, in_use| Credential {
            owner: owner.into(),
            source: source.into(),
            name: name.into(),
            profile: "default".into(),
            present,
            in_use,
        };
        ListCredentialsReply {
            credentials: vec![
                row("model-openai", "vault", "default", true, true),
                row("model-openai", "environment", "OPENAI_API_KEY", true, false),
                row(
                    "model-groq",
                    "config",
                    "models.providers.groq.apiKey",
                    false,
                    true,
                ),
            ],
            vault: Some(Vault {
                state: "open".into(),
                key_source: "keyring".into(),
                message: String::new(),
            }),
        }
    }

    #[test]
    fn names_owners_and_what_wins_are_shown() {
        assert_eq!(
            as_text(Style::PLAIN, &known()),
            "ONLY FOR      PROFILE  SOURCE       NAME                          STATE\n\
             model-openai  default  vault        default                       in use\n\
             model-openai  default  environment  OPENAI_API_KEY                not used: another one wins\n\
             model-groq    default  config       models.providers.groq.apiKey  missing\n\
             \nvault: open, its key is in the keyring\n"
        );
        let shown = as_json(&known());
        assert_eq!(
            shown["credentials"][1],
            json!({
                "name": "OPENAI_API_KEY", "source": "environment", "owner": "model-openai",
                "profile": "default", "present": true, "inUse": false,
            })
        );
        assert_eq!(
            shown["vault"],
            json!({ "state": "open", "keySource": "keyring", "message": null })
        );
    }

    #[test]
    fn an_empty_list_says_how_to_fill_it_and_a_closed_vault_why() {
        let vault = |state: &str, message: &str| ListCredentialsReply {
            credentials: vec![],
            vault: Some(Vault {
                state: state.into(),
                key_source: String::new(),
                message: message.into(),
            }),
        };
        let empty = as_text(Style::PLAIN, &vault("none", ""));
        assert_eq!(
            empty,
            "no credentials are known; `clawdbot login` stores one\n"
        );
        let mut kept = known();
        kept.credentials[0].in_use = false;
        kept.vault = vault("unreachable", "locked").vault;
        let closed = as_text(Style::PLAIN, &kept);
        assert!(closed.contains("vault        default                       out of reach\n"));
        let closed = as_text(Style::PLAIN, &vault("unreachable", "unlock\u{1b} it"));
        assert!(
            closed.ends_with("vault: unreachable: unlock\\u{1b} it\n"),
            "{closed}"
        );
    }
}

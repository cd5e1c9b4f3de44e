//! `clawdbot credentials`: which credentials the broker knows. There is no way to read a value back.

use clawdbot_proto::v1::broker_operator_client::BrokerOperatorClient;
use clawdbot_proto::v1::{Credential, ListCredentialsRequest};
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
        .map_err(|status| Failure::call("the broker", &status))?;
    let credentials = reply.into_inner().credentials;
    match out.json {
        true => out.value(&as_json(&credentials))?,
        false => out.text(&as_text(out.style, &credentials))?,
    }
    Ok(0)
}

fn as_json(credentials: &[Credential]) -> Value {
    let rows: Vec<Value> = credentials
        .iter()
        .map(|c| json!({ "name": c.name, "source": c.source, "owner": c.owner, "present": c.present }))
        .collect();
    json!({ "credentials": rows })
}

fn as_text(style: Style, credentials: &[Credential]) -> String {
    if credentials.is_empty() {
        return "no credentials are known\n".into();
    }
    let row = |c: &Credential| {
        let present = if c.present { "yes" } else { "missing" };
        [
            c.name.clone(),
            c.source.clone(),
            c.owner.clone(),
            present.to_owned(),
        ]
    };
    let rows: Vec<[String; 4]> = credentials.iter().map(row).collect();
    table(style, ["NAME", "SOURCE", "ONLY FOR", "PRESENT"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_owners_and_presence_are_shown() {
        let known = [Credential {
            owner: "model-openai".into(),
            source: "environment".into(),
            name: "OPENAI_API_KEY".into(),
            present: false,
        }];
        assert_eq!(
            as_text(Style::PLAIN, &known),
            "NAME            SOURCE       ONLY FOR      PRESENT\n\
             OPENAI_API_KEY  environment  model-openai  missing\n"
        );
        assert_eq!(as_text(Style::PLAIN, &[]), "no credentials are known\n");
        assert_eq!(
            as_json(&known),
            json!({ "credentials": [{ "name": "OPENAI_API_KEY", "source": "environment", "owner": "model-openai", "present": false }] })
        );
    }
}

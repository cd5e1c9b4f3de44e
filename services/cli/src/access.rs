//! `clawdbot open` and `clawdbot token`: ways into the front door, which only the operator's socket gives out. What is
//! printed here lets somebody in, so it goes to standard output and nowhere else.

use clawdbot_proto::v1::policy_operator_client::PolicyOperatorClient;
use clawdbot_proto::v1::{MintLoginRequest, RotateTokenRequest, ShowTokenRequest};
use serde_json::json;

use crate::dial::{Server, Sockets};
use crate::failure::Failure;
use crate::out::Out;
use crate::status::gather;

/// Prints a one-time login link.
///
/// # Errors
/// When nothing runs, or the front door has no address.
pub async fn open(sockets: &Sockets, out: Out) -> Result<u8, Failure> {
    let report = gather(sockets).await?;
    let base = best(report.urls()).ok_or_else(|| {
        Failure::new("no_address", "the front door does not listen anywhere")
            .remedy("`clawdbot status` shows why; a port that is taken is the usual reason")
    })?;
    let line = sockets.open(Server::Policy).await?;
    let minted = PolicyOperatorClient::new(line.edge.clone())
        .mint_login(MintLoginRequest {})
        .await
        .map_err(|status| Failure::call("policy", &status))?
        .into_inner();
    let url = format!("{base}/login?code={}", minted.code);
    if out.json {
        out.value(&json!({ "url": url, "ttlSeconds": minted.ttl_seconds }))?;
    } else {
        out.remark(&format!(
            "open this once, within {} seconds:",
            minted.ttl_seconds
        ));
        out.text(&url)?;
    }
    Ok(0)
}

/// Prints the gateway token, a new one if wanted.
///
/// # Errors
/// When nothing runs, or there is no token that could be shown or changed.
pub async fn token(sockets: &Sockets, rotate: bool, out: Out) -> Result<u8, Failure> {
    let line = sockets.open(Server::Policy).await?;
    let mut policy = PolicyOperatorClient::new(line.edge.clone());
    let answer = match rotate {
        true => policy.rotate_token(RotateTokenRequest {}).await,
        false => policy.show_token(ShowTokenRequest {}).await,
    };
    let token = answer
        .map_err(|status| Failure::call("policy", &status))?
        .into_inner();
    match out.json {
        true => out.value(&json!({ "token": token.token, "source": token.source }))?,
        false => out.text(&token.token)?,
    }
    Ok(0)
}

/// The address that a browser on this machine can use: loopback if there is one, also where all addresses are meant.
fn best(urls: &[String]) -> Option<String> {
    let usable: Vec<String> = urls
        .iter()
        .map(|url| {
            url.trim_end_matches('/')
                .replacen("//0.0.0.0:", "//127.0.0.1:", 1)
                .replacen("//[::]:", "//[::1]:", 1)
        })
        .collect();
    let local = |url: &&String| {
        ["//127.", "//[::1]", "//localhost"]
            .iter()
            .any(|host| url.contains(host))
    };
    usable.iter().find(local).or(usable.first()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_here_is_sent_to_loopback_where_that_is_served() {
        let urls =
            |urls: &[&str]| best(&urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>());
        assert_eq!(urls(&[]), None);
        assert_eq!(
            urls(&["http://127.0.0.1:1/"]),
            Some("http://127.0.0.1:1".into())
        );
        assert_eq!(
            urls(&["http://0.0.0.0:1"]),
            Some("http://127.0.0.1:1".into())
        );
        assert_eq!(urls(&["http://[::]:1"]), Some("http://[::1]:1".into()));
        assert_eq!(
            urls(&["http://10.0.0.2:1", "http://127.0.0.1:1"]),
            Some("http://127.0.0.1:1".into())
        );
        assert_eq!(
            urls(&["http://10.0.0.2:1"]),
            Some("http://10.0.0.2:1".into())
        );
    }
}

//! What is asked of the running processes themselves: how many messages wait, where the vault's key is kept, and with
//! `--deep` whether the front door answers and what each worker knows of its provider or platform.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clawdbot_config::Severity::{Info, Warn};
use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::v1::broker_operator_client::BrokerOperatorClient;
use clawdbot_proto::v1::policy_operator_client::PolicyOperatorClient;
use clawdbot_proto::v1::{
    GatewayStatus, HealthRequest, HealthStatus, ListCredentialsRequest, Vault,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;
use super::machine::OPEN;
use crate::dial::{Server, Sockets};
use crate::doctor::check::{Check, Hit, Hits};
use crate::doctor::facts::Facts;
use crate::out::count;
use crate::status::ask;

/// More messages than one machine's people write while one is being answered.
const MANY: u32 = 20;

/// What was answered; nothing where nobody was asked or nobody answered.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    pub gateway: Option<GatewayStatus>,
    pub vault: Option<Vault>,
    /// `--deep`: each front door that was tried, and why it failed.
    pub doors: Vec<(SocketAddr, Result<(), String>)>,
    /// `--deep`: each worker and what policy knows of it.
    pub workers: Vec<(String, Option<HealthStatus>)>,
}

pub const CHECKS: &[Check] = &[
    Check {
        id: "queue.waiting",
        severity: Warn,
        title: "Many messages wait",
        why: "People write faster than the model answers, or it does not answer at all.",
        help: "see what is being answered",
        command: "clawdbot status",
        fixes: false,
        look: |facts, hits| {
            let waiting = gateway(facts).map_or(0, |status| status.pending);
            if waiting >= MANY {
                hits.add(Hit::setting("", format!("{waiting} wait")));
            }
        },
    },
    Check {
        id: "queue.unknown",
        severity: Info,
        title: "Answers that perhaps did not arrive",
        why: "A platform did not say whether it took them.",
        help: "ask again where an answer is missing",
        command: "clawdbot status",
        fixes: false,
        look: |facts, hits| number(facts, hits, |status| status.unknown, "in the last 7 days"),
    },
    Check {
        id: "queue.rejected",
        severity: Info,
        title: "Answers that a platform refused",
        why: "Whoever asked got nothing.",
        help: "the log says why",
        command: "clawdbot logs --level warn",
        fixes: false,
        look: |facts, hits| number(facts, hits, |status| status.rejected, "in the last 7 days"),
    },
    Check {
        id: "vault.closed",
        severity: Warn,
        title: "The vault cannot be opened",
        why: "Without its credentials models and channels do not work.",
        help: "see what it says",
        command: "clawdbot credentials list",
        fixes: false,
        look: |facts, hits| {
            let vault = facts.running.answers.vault.as_ref();
            let closed = |vault: &&Vault| matches!(vault.state.as_str(), "waiting" | "unreachable");
            if let Some(vault) = vault.filter(closed) {
                let why = sanitize_line(&vault.message);
                hits.add(Hit::setting("", format!("{}: {why}", vault.state)));
            }
        },
    },
    Check {
        id: "vault.key_beside",
        severity: Info,
        title: "The vault's key lies beside the vault",
        why: "Whoever copies the state directory has both.",
        help: "keep it in the keyring, where there is one: log in anew with --key-source keyring",
        command: "clawdbot credentials list",
        fixes: false,
        look: |facts, hits| {
            let vault = facts.running.answers.vault.as_ref();
            if vault.is_some_and(|vault| vault.key_source == "file") {
                let file = facts.place.state.join("credentials/vault.key");
                hits.add(Hit::file(
                    file,
                    "a copy of the state directory is enough to open the vault",
                ));
            }
        },
    },
    Check {
        id: "vault.key_source",
        severity: Info,
        title: "Where the vault's key comes from",
        why: "Whoever has the key and a copy of the vault has every credential.",
        help: "",
        command: "clawdbot credentials list",
        fixes: false,
        look: key_source,
    },
    Check {
        id: "gateway.probe_failed",
        severity: Warn,
        title: "The front door does not answer",
        why: "The web chat and everything that uses the HTTP interfaces cannot reach the assistant.",
        help: "the log may say why",
        command: "clawdbot logs --service gateway --level warn",
        fixes: false,
        look: |facts, hits| {
            for (address, answer) in &facts.running.answers.doors {
                if let Err(why) = answer {
                    hits.add(Hit::setting("", format!("{address}: {why}")));
                }
            }
        },
    },
    Check {
        id: "probe.silent",
        severity: Warn,
        title: "A worker has not said how it is",
        why: "Whether its provider or platform can be reached is not known.",
        help: "look again in a moment; then the log may say why",
        command: "clawdbot logs --level warn",
        fixes: false,
        look: |facts, hits| {
            workers(facts, hits, |known| {
                let said = known.is_some_and(|status| status.reported);
                (!said).then_some("it has reported nothing since it was started")
            });
        },
    },
    Check {
        id: "probe.untried",
        severity: Info,
        title: "A worker has not tried its credential",
        why: "Whether its provider or platform takes it is not known until somebody asks something.",
        help: "send a message, or log in again, which tries it",
        command: "clawdbot chat --message hello",
        fixes: false,
        look: |facts, hits| {
            workers(facts, hits, |known| {
                let report = known?.report.as_ref()?;
                let untried = report.lease_version != 0 && !report.checked;
                untried.then_some("nobody was asked with the present one")
            });
        },
    },
    Check {
        id: "probe.works",
        severity: Info,
        title: "A worker reaches who it works with",
        why: "What it says of itself is what it found when it tried last.",
        help: "",
        command: "clawdbot status",
        fixes: false,
        look: |facts, hits| {
            workers(facts, hits, |known| {
                let report = known?.report.as_ref()?;
                let works = report.checked && report.problems.is_empty();
                works.then_some("asked with the present credential, and answered")
            });
        },
    },
];

/// What the broker says, and where the service manager gives it the key, what that lies in. That it lies beside the vault is
/// a row of its own.
fn key_source(facts: &Facts, hits: &mut Hits) {
    let running = &facts.running;
    let vault = running.answers.vault.as_ref();
    let source = vault.map_or("", |vault| vault.key_source.as_str());
    let none_yet = vault.is_some_and(|vault| vault.state == "none");
    let seal = { running.machine.vault_key.as_ref() }.and_then(|key| key.seal);
    let who = match (source, running.system) {
        ("keyring", _) => return hits.add(Hit::setting("", "from the keyring of the desktop")),
        ("credential", _) => "the service manager gives it to the broker",
        ("", true) if none_yet => {
            "there is no vault yet; the service manager has a key for the broker"
        }
        // Nobody was asked, and the file is there for this alone.
        ("", true) if seal.is_some() => "the service manager has it for the broker",
        _ => return,
    };
    let broker = running.units.iter().flatten();
    let broker = broker.filter(|unit| unit.id == super::unit_of(Server::Broker.name()));
    let others = broker.flat_map(|unit| &unit.drop_ins).filter(|path| {
        { running.unit_files.get(*path) }.is_none_or(|text| text.contains("vault-key"))
    });
    let others: Vec<&str> = others.map(String::as_str).collect();
    let how = match (&running.machine.vault_key, seal) {
        _ if !others.is_empty() => format!("as {} says", others.join(" and ")),
        (Some(key), Some(seal)) => format!("{} is encrypted {}", key.path.display(), seal.words),
        (Some(key), None) if !key.sealed => format!("{} is not encrypted", key.path.display()),
        (Some(key), None) => format!("how {} is encrypted is not known", key.path.display()),
        (None, _) => "how its file is encrypted only root can see".to_owned(),
    };
    hits.add(Hit {
        severity: seal.is_some_and(|seal| seal.name == OPEN).then_some(Warn),
        ..Hit::setting("", format!("{who}; {how}"))
    });
}

fn gateway(facts: &Facts) -> Option<&GatewayStatus> {
    facts.running.answers.gateway.as_ref()
}

fn number(facts: &Facts, hits: &mut Hits, of: fn(&GatewayStatus) -> u32, when: &str) {
    let number = usize::try_from(gateway(facts).map_or(0, of)).unwrap_or(usize::MAX);
    if number > 0 {
        hits.add(Hit::setting(
            "",
            format!("{} {when}", count(number, "answer")),
        ));
    }
}

fn workers(
    facts: &Facts,
    hits: &mut Hits,
    look: fn(Option<&HealthStatus>) -> Option<&'static str>,
) {
    for (role, known) in &facts.running.answers.workers {
        if let Some(detail) = look(known.as_ref()) {
            hits.add(Hit::setting("", format!("{role}: {detail}")));
        }
    }
}

/// Where the vault's key is kept, from the broker.
pub async fn vault(sockets: &Sockets) -> Option<Vault> {
    let listed = ask(sockets, Server::Broker, PATIENCE, async |edge| {
        let request = ListCredentialsRequest::default();
        BrokerOperatorClient::new(edge).list(request).await
    });
    listed.await.ok()?.vault
}

/// What policy knows of these workers.
pub async fn health(sockets: &Sockets, roles: Vec<String>) -> Vec<(String, Option<HealthStatus>)> {
    let mut all = Vec::new();
    for role in roles {
        let known = ask(sockets, Server::Policy, PATIENCE, async |edge| {
            let role = role.clone();
            PolicyOperatorClient::new(edge)
                .health(HealthRequest { role })
                .await
        });
        let known = known.await.ok();
        all.push((role, known));
    }
    all
}

/// Where the front door can be spoken to: who listens at every address is reached at the machine's own, and by no other
/// name does it let anybody in.
fn reached_at(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Whether the front door answers that it is well.
pub async fn door(address: SocketAddr) -> Result<(), String> {
    let address = reached_at(address);
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = [0; 15];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&head).into_owned())
    };
    match timeout(PATIENCE, asked).await {
        Err(_) => Err("it does not answer in time".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(head)) => match head.split(' ').nth(1) {
            Some("200") => Ok(()),
            Some("503") => Err("it answers that it cannot work now".to_owned()),
            _ => Err("something else than the front door answers".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_door_at_every_address_is_asked_by_the_machines_own() {
        let answer = |bind: &'static str, reply: &'static str| {
            crate::run::block_on(async move {
                let listener = TcpListener::bind(bind).await.unwrap();
                let address = listener.local_addr().unwrap();
                let serve = async {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let (mut request, mut part) = (Vec::new(), [0; 256]);
                    while !request.ends_with(b"\r\n\r\n") {
                        let read = stream.read(&mut part).await.unwrap();
                        assert!(read > 0, "the request ends early");
                        request.extend_from_slice(&part[..read]);
                    }
                    stream.write_all(reply.as_bytes()).await.unwrap();
                    String::from_utf8(request).unwrap()
                };
                let (answer, request) = tokio::join!(door(address), serve);
                let host = format!("\r\nHost: 127.0.0.1:{}\r\n", address.port());
                assert!(request.contains(&host), "{request}");
                Ok(answer)
            })
            .unwrap()
        };
        for bind in ["127.0.0.1:0", "0.0.0.0:0"] {
            assert_eq!(answer(bind, "HTTP/1.1 200 OK\r\n"), Ok(()));
            assert!(answer(bind, "HTTP/1.1 403 Forbidden\r\n").is_err());
        }
        for (address, reached) in [
            ("[::]:1", "[::1]:1"),
            ("[::1]:1", "[::1]:1"),
            ("192.0.2.1:1", "192.0.2.1:1"),
        ] {
            assert_eq!(
                reached_at(address.parse().unwrap()),
                reached.parse().unwrap()
            );
        }
    }
}

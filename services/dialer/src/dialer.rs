//! One request from start to end: the caller's right, its list, the name, the addresses, the socket.
//! A refusal is an answer; every dial and every refusal leaves one record, whatever the log's level.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clawdbot_identity::{Destination, Role};
use clawdbot_proto::v1::dialer_reply::Outcome;
use clawdbot_proto::v1::{self, dialer_request};
use clawdbot_service::log::RECORD;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::info;

use crate::dial::{self, Failure, Patience};
use crate::events::Events;
use crate::handover::{Lock, hand_over};
use crate::resolv::{ResolveError, Resolver};
use crate::rules::{self, Lists, Refusal};
use crate::work::{RELAYS_PER_ROLE, Work};

/// How long a dial waits for policy's first push, which is on its way when everything starts at once.
const FIRST_PUSH: Duration = Duration::from_secs(2);

/// Characters of a refused host in a record; no host name is longer.
const SHOWN_HOST: usize = 253;

/// What one process has to go by.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a dial waits for the first list.
    pub first_push: Duration,
    /// How long connecting may take.
    pub connect: Patience,
    /// How a socket is tied to its peer.
    pub lock: Lock,
}

impl Limits {
    /// 2 s for the list, [`Patience::DEFAULT`] for connecting, the system's lock.
    pub const DEFAULT: Self = Self {
        first_push: FIRST_PUSH,
        connect: Patience::DEFAULT,
        lock: crate::handover::LOCK,
    };
}

/// What answers on the edges.
#[derive(Debug)]
pub struct Dialer {
    lists: watch::Sender<Option<Arc<Lists>>>,
    resolver: Resolver,
    limits: Limits,
    work: Work,
    events: Events,
}

/// A connection that its caller gets.
struct Reached {
    socket: OwnedFd,
    peer: SocketAddr,
    relayed: bool,
}

/// How a dial ended short of a socket.
enum Ended {
    Refused(Refusal),
    Failed {
        class: &'static str,
        message: String,
    },
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ResolveError> for Ended {
    fn from(error: ResolveError) -> Self {
        Self::Failed {
            class: "dns",
            message: error.to_string(),
        }
    }
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed {
            class: failure.class.as_str(),
            message: failure.message,
        }
    }
}

impl Dialer {
    /// A dialer without a list: it refuses everybody until policy has pushed one.
    pub fn new(resolver: Resolver, limits: Limits) -> Self {
        Self {
            lists: watch::Sender::new(None),
            resolver,
            limits,
            work: Work::new(),
            events: Events::new(),
        }
    }

    /// Answers one request of `role`, which the edge it came on says. A connected socket comes along
    /// as the only descriptor. The id is left for the caller to set.
    pub async fn answer(
        &self,
        role: &Role,
        request: v1::DialerRequest,
    ) -> (v1::DialerReply, Vec<OwnedFd>) {
        let (outcome, fds) = match request.request {
            Some(dialer_request::Request::Destinations(push)) => {
                (self.take(role, &push), Vec::new())
            }
            Some(dialer_request::Request::Dial(dial)) => {
                let _dialling = self.work.dialling();
                self.dial(role, &dial).await
            }
            Some(dialer_request::Request::Events(after)) => {
                (self.told(role, after.number).await, Vec::new())
            }
            None => {
                let refusal = Refusal::new("dial.bad_request", "the request asks for nothing");
                (refused(role, &refusal), Vec::new())
            }
        };
        (
            v1::DialerReply {
                id: request.id,
                outcome: Some(outcome),
            },
            fds,
        )
    }

    /// Waits until only a new start can bring what a replaced system file says, and it is due.
    pub async fn outdated(&self) {
        self.work.due(|| self.resolver.is_stale()).await;
    }

    fn take(&self, role: &Role, push: &v1::Destinations) -> Outcome {
        if role.as_str() != "policy" {
            return refused(
                role,
                &Refusal::new("dial.role", "only policy says who may dial what"),
            );
        }
        match Lists::parse(push) {
            Ok(lists) => {
                info!(
                    revision = push.revision,
                    roles = push.roles.len(),
                    "took the destination lists"
                );
                self.lists.send_replace(Some(Arc::new(lists)));
                Outcome::Revision(push.revision)
            }
            Err(refusal) => refused(role, &refusal),
        }
    }

    async fn told(&self, role: &Role, after: u64) -> Outcome {
        match role.as_str() {
            "policy" => Outcome::Events(self.events.after(after).await),
            _ => refused(
                role,
                &Refusal::new("dial.role", "only policy learns who dials what"),
            ),
        }
    }

    async fn dial(&self, role: &Role, dial: &v1::Dial) -> (Outcome, Vec<OwnedFd>) {
        let began = Instant::now();
        let (host, result) = match admitted(role, dial) {
            Ok(dest) => (dest.host().to_string(), self.reach(role, &dest).await),
            Err(refusal) => (shown(&dial.host), Err(refusal.into())),
        };
        let port = dial.port;
        let refused = match &result {
            Ok(_) => "",
            Err(Ended::Refused(refusal)) => refusal.rule,
            Err(Ended::Failed { class, .. }) => class,
        };
        self.events.note(role, &host, port, refused);
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match result {
            Ok(Reached {
                socket,
                peer,
                relayed,
            }) => {
                info!(target: RECORD, caller = %role, host, port, %peer, result = "connected", relayed, ms, "dial");
                (
                    Outcome::Connected(v1::Connected {
                        peer: peer.to_string(),
                    }),
                    vec![socket],
                )
            }
            Err(Ended::Failed { class, message }) => {
                info!(target: RECORD, caller = %role, host, port, result = class, error = %message, ms, "dial");
                (
                    Outcome::Failed(v1::DialFailed {
                        class: class.into(),
                        message,
                    }),
                    Vec::new(),
                )
            }
            Err(Ended::Refused(Refusal { rule, message })) => {
                info!(target: RECORD, caller = %role, host, port, result = rule, reason = %message, ms, "dial");
                (
                    Outcome::Refused(v1::DialRefused {
                        rule: rule.into(),
                        message,
                    }),
                    Vec::new(),
                )
            }
        }
    }

    async fn reach(&self, role: &Role, dest: &Destination) -> Result<Reached, Ended> {
        self.list().await?.check(role, dest)?;
        let addresses = self.resolver.lookup(dest.host()).await.inspect_err(|_| {
            if self.resolver.is_stale() {
                self.work.lost_a_name();
            }
        })?;
        let private = self.list().await?.check(role, dest)?;
        let addresses = rules::acceptable(dest, &addresses, private)?;
        let (stream, peer) = dial::connect(&addresses, dest.port(), self.limits.connect).await?;
        // The list may have shrunk meanwhile, and a socket cannot be called back.
        let private = self.list().await?.check(role, dest)?;
        rules::acceptable(dest, &[peer.ip()], private)?;
        let handed = hand_over(stream, peer, self.limits.lock).map_err(|e| Ended::Failed {
            class: "io",
            message: format!("{peer}: the socket cannot be handed over: {e}"),
        })?;
        let relayed = handed.relay.is_some();
        if let Some(relay) = handed.relay {
            let counted = self.work.relaying(role).ok_or_else(|| {
                let message = format!("{role} has {RELAYS_PER_ROLE} connections open; close some");
                Refusal::new("dial.busy", message)
            })?;
            tokio::spawn(async move {
                relay.run().await;
                drop(counted);
            });
        }
        Ok(Reached {
            socket: handed.socket,
            peer,
            relayed,
        })
    }

    async fn list(&self) -> Result<Arc<Lists>, Refusal> {
        let mut lists = self.lists.subscribe();
        let pushed = timeout(self.limits.first_push, lists.wait_for(Option::is_some)).await;
        match pushed {
            Ok(Ok(lists)) => lists.clone().ok_or(()),
            _ => Err(()),
        }
        .map_err(|()| {
            Refusal::new(
                "dial.no_list",
                "policy has not said yet who may dial what; try again",
            )
        })
    }
}

/// What can be decided without a list.
fn admitted(role: &Role, dial: &v1::Dial) -> Result<Destination, Refusal> {
    if !rules::may_dial(role) {
        return Err(Refusal::new("dial.role", "this role does not dial"));
    }
    rules::destination(&dial.host, dial.port)
}

/// As much of a text that is no host name as a record has room for.
fn shown(host: &str) -> String {
    host.chars().take(SHOWN_HOST).collect()
}

/// A refusal of what is no dial.
fn refused(role: &Role, Refusal { rule, message }: &Refusal) -> Outcome {
    info!(target: RECORD, caller = %role, result = rule, reason = %message, "refused");
    Outcome::Refused(v1::DialRefused {
        rule: (*rule).into(),
        message: message.clone(),
    })
}

#[cfg(test)]
mod tests;

//! From a request to the head of its answer: a kept connection or a socket from the dialer, TLS here, and headers that carry
//! the key. What goes wrong is put into words here, once.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clawdbot_http::{Body, Connection, HttpError, Limits, Pool, Socket, Tls};
use clawdbot_identity::Destination;
use clawdbot_proto::v1::dialer_reply::Outcome;
use clawdbot_proto::v1::{Dial, DialerReply, DialerRequest, dialer_request};
use clawdbot_service::FrameClient;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use zeroize::Zeroizing;

use crate::fault::{Fault, Kind};
use crate::lease::Lease;
use crate::settings::Settings;
use crate::wire::Api;

/// How tokens of an Anthropic subscription begin. They are no keys: they go as bearer, and only beside this header.
const SUBSCRIPTION: &[u8] = b"sk-ant-oat";
const SUBSCRIPTION_BETA: (HeaderName, HeaderValue) = (
    HeaderName::from_static("anthropic-beta"),
    HeaderValue::from_static("oauth-2025-04-20"),
);

const AGENT: &str = concat!("clawdbot/", env!("CARGO_PKG_VERSION"));

/// What answers may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Companies send something every few seconds or are stuck, but reasoning may be silent for minutes.
    company: Limits,
    /// A server of one's own reads a long prompt for minutes, before the head of its answer or after it.
    own: Limits,
}

impl Default for Patience {
    fn default() -> Self {
        let limits = |head, idle, total| Limits {
            head: Duration::from_secs(head),
            idle: Duration::from_secs(idle),
            total: Duration::from_secs(total),
            body: 32 << 20,
        };
        Self {
            company: limits(120, 300, 900),
            own: limits(600, 600, 1800),
        }
    }
}

#[cfg(test)]
impl Patience {
    /// The same for everybody.
    pub fn of(limits: Limits) -> Self {
        Self {
            company: limits,
            own: limits,
        }
    }
}

/// Gets a connected socket.
pub type Dialer = Arc<
    dyn Fn(Destination) -> Pin<Box<dyn Future<Output = Result<OwnedFd, Fault>> + Send>>
        + Send
        + Sync,
>;

/// The way to the provider. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    dialer: Dialer,
    tls: Tls,
    pool: Pool,
    patience: Patience,
}

impl Transport {
    pub fn new(dialer: Dialer, tls: Tls, patience: Patience) -> Self {
        Self {
            dialer,
            tls,
            pool: Pool::new(),
            patience,
        }
    }

    /// What an answer may take.
    pub fn limits(&self, settings: &Settings) -> &Limits {
        match settings.base.tls() {
            true => &self.patience.company,
            false => &self.patience.own,
        }
    }

    /// Connections that were given back.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn send(
        &self,
        settings: &Settings,
        request: Request<Bytes>,
        limits: &Limits,
    ) -> Result<Response<Body>, Fault> {
        let fresh = || self.connect(settings);
        self.pool.send(&settings.base, request, limits, fresh).await
    }

    async fn connect(&self, settings: &Settings) -> Result<Connection, Fault> {
        let destination = settings.base.destination();
        let socket = (self.dialer)(destination.clone()).await?;
        let socket = Socket::adopt(socket)
            .map_err(|error| Fault::new(Kind::Unreachable, error.to_string()))?;
        Ok(match settings.base.tls() {
            true => Connection::tls(socket, destination, &self.tls).await?,
            false => Connection::plain(socket, destination).await?,
        })
    }
}

/// The dialer at the other end of its edge.
pub fn dialer(client: FrameClient<DialerRequest, DialerReply>) -> Dialer {
    Arc::new(move |destination| {
        let client = client.clone();
        Box::pin(async move {
            let dial = Dial {
                host: destination.host().as_str().to_owned(),
                port: destination.port().into(),
            };
            let request = DialerRequest {
                id: 0,
                request: Some(dialer_request::Request::Dial(dial)),
            };
            let (reply, sockets) = client
                .call(request)
                .await
                .map_err(|error| Fault::passing(Kind::Unreachable, error.to_string()))?;
            let refused = match reply.outcome {
                Some(Outcome::Connected(_)) => match sockets.into_iter().next() {
                    Some(socket) => return Ok(socket),
                    None => "the dialer handed over nothing".to_owned(),
                },
                // Decided, so that another try changes nothing.
                Some(Outcome::Refused(refused)) => {
                    format!("{} ({})", refused.message, refused.rule)
                }
                Some(Outcome::Failed(failed)) => {
                    return Err(Fault::passing(Kind::Unreachable, failed.message));
                }
                _ => "the dialer gave no answer that is known here".to_owned(),
            };
            Err(Fault::new(Kind::Unreachable, refused))
        })
    })
}

/// A request to the provider, with the profile's key and the configured headers.
pub fn request(
    settings: &Settings,
    method: Method,
    path: &str,
    body: Bytes,
    login: Option<(&Lease, &str)>,
) -> Result<Request<Bytes>, Fault> {
    let mut request = Request::new(body);
    let target = format!("{}{path}", settings.prefix);
    *request.uri_mut() = target
        .parse()
        .map_err(|_| Fault::new(Kind::Config, "baseUrl has a path that cannot be sent"))?;
    *request.method_mut() = method;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(
        ACCEPT,
        HeaderValue::from_static("application/json, text/event-stream"),
    );
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if settings.api == Api::Anthropic {
        let version = HeaderValue::from_str(&settings.version)
            .map_err(|_| Fault::new(Kind::Config, "apiVersion cannot stand in a header"))?;
        headers.insert(HeaderName::from_static("anthropic-version"), version);
    }
    if let Some((lease, profile)) = login {
        if let Some(key) = lease.key(profile) {
            let (name, value) = key.expose(|key| authorization(settings, key))?;
            headers.insert(name, value);
            if settings.api == Api::Anthropic && key.expose(is_subscription) {
                let (name, value) = SUBSCRIPTION_BETA;
                headers.insert(name, value);
            }
        }
        for (name, value) in lease.headers() {
            let value = value.expose(sensitive)?;
            headers.insert(name.clone(), value);
        }
    }
    Ok(request)
}

/// How a key is shown. Each version of Anthropic's interface gets it as the official clients of its time send it; tokens of
/// a subscription go as bearer either way.
fn authorization(settings: &Settings, key: &[u8]) -> Result<(HeaderName, HeaderValue), Fault> {
    let as_key =
        settings.api == Api::Anthropic && settings.version == "2023-06-01" && !is_subscription(key);
    if as_key {
        return Ok((HeaderName::from_static("x-api-key"), sensitive(key)?));
    }
    let bearer = Zeroizing::new([b"Bearer ", key].concat());
    Ok((AUTHORIZATION, sensitive(&bearer)?))
}

fn is_subscription(key: &[u8]) -> bool {
    key.starts_with(SUBSCRIPTION)
}

fn sensitive(value: &[u8]) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_bytes(value).map_err(|_| {
        Fault::new(
            Kind::Auth,
            "it has a character that no header can hold, perhaps a line break",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

impl From<HttpError> for Fault {
    fn from(error: HttpError) -> Self {
        use HttpError::{
            BodyTooLarge, Closed, Encoded, Handshake, HandshakeTimeout, HeadTimeout, HeadTooLarge,
            IdleTimeout, Io, Protocol, Redirected, Request, Stale, TotalTimeout, Truncated,
        };
        let (kind, again) = match &error {
            Handshake { .. } => (Kind::Unreachable, false),
            HandshakeTimeout { .. } | Stale | Closed | Io(_) => (Kind::Unreachable, true),
            Request(_) => (Kind::Invalid, false),
            HeadTimeout { .. } | IdleTimeout { .. } | TotalTimeout { .. } => (Kind::Timeout, false),
            Redirected { .. } => (Kind::Redirect, false),
            HeadTooLarge | BodyTooLarge { .. } => (Kind::TooLarge, false),
            Encoded | Protocol(_) => (Kind::Malformed, false),
            Truncated => (Kind::Truncated, true),
        };
        Self {
            again,
            ..Self::new(kind, error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_the_head_at_once_has_no_less_time_to_think_than_who_waits_with_it() {
        let Patience { company, own } = Patience::default();
        for limits in [company, own] {
            assert!(limits.idle >= limits.head && limits.idle < limits.total);
        }
    }
}

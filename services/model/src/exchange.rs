//! One request from its arrival to its last event: profile, tries, the provider's answer, what went wrong. It moves only
//! while somebody waits for its next event, and dropping it closes the connection, which is how a request is cancelled.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use clawdbot_http::Body;
use clawdbot_proto::v1::generate_event::Event;
use clawdbot_proto::v1::{GenerateRequest, ModelError};
use http::{Method, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info};

use crate::fault::{self, Fault, Kind, Place};
use crate::lease::{Fit, Held, Lease};
use crate::profiles::Unusable;
use crate::settings::Settings;
use crate::wire::{self, Api, Decoder};
use crate::worker::Shared;
use crate::{retry, transport};

/// How long a request waits for the configuration and the keys when the worker has just started, and for keys that are meant
/// for the present address when that has just changed.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an error body that are read.
const ERROR_BODY: usize = 64 << 10;
/// Pieces of an answer that are taken in after one, as far as they have arrived, before what they say goes on.
const TOGETHER: usize = 64;
/// What is left of an answer after its last event, for example the end of its framing, has this long to come.
const REST: Duration = Duration::from_secs(2);

/// A request at work.
pub struct Exchange {
    shared: Arc<Shared>,
    request: GenerateRequest,
    stage: Stage,
    /// The body for these settings, if it was written down early.
    written: Option<(Arc<Settings>, Vec<u8>)>,
    events: VecDeque<Event>,
    /// Whether the agent has seen a part of the answer, after which nothing is tried again. A thought is none.
    begun: bool,
    tries: u32,
    tried: Vec<String>,
    permit: Option<OwnedSemaphorePermit>,
}

enum Stage {
    Start,
    Ready(Box<Ready>),
    Reading(Box<Reading>),
    Over,
}

/// Everything that a try needs.
struct Ready {
    settings: Arc<Settings>,
    lease: Option<Arc<Lease>>,
    profile: String,
    /// When the profile was chosen.
    chosen: Instant,
    body: Bytes,
}

/// An address and the keys for it.
type Usable = (Arc<Settings>, Option<Arc<Lease>>);

struct Reading {
    ready: Box<Ready>,
    body: Body,
    decoder: Decoder,
    first: bool,
}

impl Exchange {
    pub fn new(shared: Arc<Shared>, request: GenerateRequest) -> Self {
        Self {
            shared,
            request,
            stage: Stage::Start,
            written: None,
            events: VecDeque::new(),
            begun: false,
            tries: 0,
            tried: Vec::new(),
            permit: None,
        }
    }

    /// Writes the body down before it is needed, once what was begun before has left. What stands in the way is told when
    /// the request is made.
    pub async fn write_down(&mut self) {
        tokio::task::yield_now().await;
        let Some(Ok(settings)) = self.shared.settings.borrow().clone() else {
            return;
        };
        let target = settings.target(&self.request.model);
        let written = wire::encode(&target, &self.request).ok();
        self.written = written.map(|body| (settings, body));
    }

    /// The next event; nothing after the last.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                self.begun |= !is_thought(&event);
                return Some(event);
            }
            match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Over => return None,
                Stage::Start => match self.prepare().await {
                    Ok(ready) => self.stage = Stage::Ready(Box::new(ready)),
                    Err((fault, settings)) => self.give_up(&fault, settings.as_deref(), None),
                },
                Stage::Ready(ready) => match self.send(&ready).await {
                    Ok((body, decoder)) => {
                        self.stage = Stage::Reading(Box::new(Reading {
                            ready,
                            body,
                            decoder,
                            first: true,
                        }));
                    }
                    Err(fault) => self.failed(fault, ready).await,
                },
                Stage::Reading(mut reading) => match self.read(&mut reading).await {
                    Ok(true) => self.succeeded(*reading),
                    Ok(false) => self.stage = Stage::Reading(reading),
                    Err(fault) => self.failed(fault, reading.ready).await,
                },
            }
        }
    }

    /// Finds out where the request goes and with which key.
    async fn prepare(&mut self) -> Result<Ready, (Fault, Option<Arc<Settings>>)> {
        let (settings, lease) = self.address_and_keys().await?;
        let with = |fault| (fault, Some(Arc::clone(&settings)));
        let profile = match &lease {
            Some(lease) => self
                .choose(lease, &settings)
                .map_err(|resting| with(resting_fault(resting)))?,
            None => String::new(),
        };
        let written = self.written.take();
        let body = match written.filter(|(under, _)| Arc::ptr_eq(under, &settings)) {
            Some((_, body)) => body,
            None => {
                let target = settings.target(&self.request.model);
                wire::encode(&target, &self.request).map_err(with)?
            }
        };
        // From here on the body stands for them; a long conversation need not be held twice.
        self.request.messages = Vec::new();
        self.request.tools = Vec::new();
        if self.permit.is_none() {
            self.permit = Arc::clone(&self.shared.permits).acquire_owned().await.ok();
        }
        Ok(Ready {
            settings,
            lease,
            profile,
            chosen: Instant::now(),
            body: body.into(),
        })
    }

    /// The address, and the keys that are meant for it; none where the provider needs none and the broker has none.
    async fn address_and_keys(&self) -> Result<Usable, (Fault, Option<Arc<Settings>>)> {
        let mut configured = self.shared.settings.clone();
        let mut leases = self.shared.leases.clone();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let settings = match configured.borrow_and_update().clone() {
                Some(settings) => Some(settings.map_err(|fault| (fault, None))?),
                None => None,
            };
            let held = leases.borrow_and_update().clone();
            let fit = settings.as_ref().map(|settings| held.fit(settings));
            match (&settings, &fit) {
                (Some(settings), Some(Fit::Use(lease))) => {
                    return Ok((Arc::clone(settings), lease.clone()));
                }
                (_, Some(Fit::Missing(why))) => {
                    return Err((Fault::new(Kind::NoKey, &**why), settings));
                }
                _ => {}
            }
            let changed = async {
                tokio::select! {
                    changed = configured.changed() => changed.is_ok(),
                    changed = leases.changed() => changed.is_ok(),
                }
            };
            if timeout_at(deadline, changed).await == Ok(true) {
                continue;
            }
            return match (settings, fit) {
                (Some(settings), Some(Fit::Unknown)) if !settings.needs_key() => {
                    Ok((settings, None))
                }
                (settings, Some(Fit::Foreign)) => Err((foreign(), settings)),
                (None, _) => {
                    let fault = Fault::new(Kind::Config, "it has no configuration yet");
                    Err((fault, None))
                }
                (settings, _) => {
                    let unknown = "the broker has not said yet whether there is a key";
                    Err((Fault::new(Kind::Config, unknown), settings))
                }
            };
        }
    }

    fn choose(&self, lease: &Lease, settings: &Settings) -> Result<String, Unusable> {
        self.shared.profiles().choose(
            &lease.names(),
            &settings.order,
            &self.request.cache_key,
            &self.tried,
            Instant::now(),
        )
    }

    /// Whether what happens to these keys says anything about those that the next request has.
    fn is_in_use(&self, lease: &Lease) -> bool {
        matches!(&*self.shared.leases.borrow(), Held::Lent(now) if now.version == lease.version)
    }

    /// One try, up to the head of a good answer.
    async fn send(&mut self, ready: &Ready) -> Result<(Body, Decoder), Fault> {
        self.tries += 1;
        let settings = &ready.settings;
        let login = ready
            .lease
            .as_ref()
            .map(|lease| (&**lease, &*ready.profile));
        let request = transport::request(
            settings,
            Method::POST,
            settings.api.path(),
            ready.body.clone(),
            login,
        )?;
        let mut answer = self
            .shared
            .transport
            .send(settings, request, self.shared.transport.limits(settings))
            .await?;
        if !answer.status().is_success() {
            return Err(refusal(&mut answer).await);
        }
        let is = |kind: &str| header(&answer, "content-type").is_some_and(|k| k.starts_with(kind));
        if is("text/html") {
            return Err(Fault::new(Kind::WebPage, "status 200"));
        }
        if settings.api != Api::Ollama && is("application/json") {
            return Err(unstreamed(&mut answer).await);
        }
        let decoder = wire::decoder(&settings.target(&self.request.model), &self.request);
        Ok((answer.into_body(), decoder))
    }

    /// Takes the next piece of the answer; `true` when it is complete.
    async fn read(&mut self, reading: &mut Reading) -> Result<bool, Fault> {
        match reading.body.next().await {
            Some(Ok(bytes)) => {
                if std::mem::take(&mut reading.first) && fault::is_page(&bytes, None) {
                    return Err(Fault::new(Kind::WebPage, "status 200"));
                }
                reading.decoder.feed(&bytes, &mut self.events)?;
            }
            Some(Err(error)) => return Err(error.into()),
            None => reading.decoder.end(&mut self.events)?,
        }
        // What came with it goes on with it: each event of its own wakes three processes.
        for _ in 0..TOGETHER {
            if reading.decoder.is_done() {
                break;
            }
            match reading.body.at_hand().await {
                Some(piece) => reading.decoder.feed(&piece?, &mut self.events)?,
                None => break,
            }
        }
        Ok(reading.decoder.is_done())
    }

    fn succeeded(&mut self, reading: Reading) {
        let Reading { ready, body, .. } = reading;
        self.permit = None;
        if ready
            .lease
            .as_ref()
            .is_none_or(|lease| self.is_in_use(lease))
        {
            self.shared
                .profiles()
                .succeeded(&ready.profile, ready.chosen);
            self.shared
                .health
                .succeeded(&ready.profile, Some(&self.request.model));
        }
        let pool = self.shared.transport.pool().clone();
        tokio::spawn(async move {
            let mut body = body;
            let rest = async { while let Some(Ok(_)) = body.next().await {} };
            if timeout(REST, rest).await.is_ok()
                && let Some(connection) = body.into_connection().await
            {
                pool.give(connection);
            }
        });
    }

    /// Tries again, tries another profile, or tells the agent.
    async fn failed(&mut self, mut fault: Fault, ready: Box<Ready>) {
        let fresh = self.is_fresh();
        info!(
            request = self.request.request_id,
            kind = ?fault.kind,
            tries = self.tries,
            fresh,
            "a request to the provider failed"
        );
        if fresh && let Some(pause) = retry::pause(&fault, self.tries, random()) {
            debug!(?pause, "trying again");
            tokio::time::sleep(pause).await;
            self.stage = Stage::Ready(ready);
            return;
        }
        if let Some(lease) = ready.lease.as_ref().filter(|lease| self.is_in_use(lease)) {
            let rest = self.shared.profiles().failed(
                &ready.profile,
                fault.kind,
                fault.retry_after,
                &ready.settings.pauses,
                (ready.chosen, Instant::now()),
            );
            // A refused key is not a matter of time.
            if fault.kind != Kind::Auth {
                fault.retry_after = rest.or(fault.retry_after);
            }
            if fresh && rest.is_some() {
                self.tried.push(ready.profile.clone());
                if let Ok(profile) = self.choose(lease, &ready.settings) {
                    self.told(&fault, &ready.settings, Some((lease, &ready.profile)));
                    self.tries = 0;
                    self.stage = Stage::Ready(Box::new(Ready {
                        profile,
                        chosen: Instant::now(),
                        ..*ready
                    }));
                    return;
                }
            }
        }
        let login = ready.lease.as_deref().map(|lease| (lease, &*ready.profile));
        self.give_up(&fault, Some(&ready.settings), login);
    }

    fn give_up(
        &mut self,
        fault: &Fault,
        settings: Option<&Settings>,
        login: Option<(&Lease, &str)>,
    ) {
        self.permit = None;
        let error = match settings {
            Some(settings) => self.told(fault, settings, login),
            None => fault::say(fault, &self.shared.place(), &[]),
        };
        // What was given cannot be taken back from here.
        let again = fault.again && !self.is_fresh();
        self.events
            .push_back(Event::Error(ModelError { again, ..error }));
    }

    /// Whether nothing of an answer was given.
    fn is_fresh(&self) -> bool {
        !self.begun && self.events.iter().all(is_thought)
    }

    /// Puts a failure into words, and those into the worker's health.
    fn told(
        &self,
        fault: &Fault,
        settings: &Settings,
        login: Option<(&Lease, &str)>,
    ) -> ModelError {
        let several = login.filter(|(lease, _)| lease.names().len() > 1);
        let place = Place {
            profile: several.map(|(_, profile)| profile),
            ..settings.place(&self.request.model)
        };
        let secrets = login.map(|(lease, _)| lease.secrets()).unwrap_or_default();
        let error = fault::say(fault, &place, &secrets);
        // Without a profile nothing was tried: what is known already is not counted again. And keys that are no longer in
        // use are nobody's problem.
        if self.tries > 0 && login.is_none_or(|(lease, _)| self.is_in_use(lease)) {
            let profile = login.map_or("", |(_, profile)| profile);
            self.shared.health.failed(
                fault.kind,
                profile,
                &self.request.model,
                &error.message,
                false,
            );
        }
        error
    }
}

/// What is said when the keys for the present address do not come.
pub fn foreign() -> Fault {
    Fault::new(
        Kind::Config,
        "the broker lends keys that are meant for another address, and those for the present one have not come yet; \
         `clawdbot status` says whether the broker works",
    )
}

fn is_thought(event: &Event) -> bool {
    matches!(event, Event::Thinking(_))
}

/// What agents are told while every profile rests.
fn resting_fault(unusable: Unusable) -> Fault {
    match unusable {
        Unusable::Resting { why, left } => Fault {
            retry_after: Some(left),
            ..Fault::new(why, "it said so before; the next question waits a while")
        },
        Unusable::Tried => Fault::new(Kind::Config, "there is no profile left to try"),
    }
}

/// Reads what an error status means.
pub async fn refusal(answer: &mut Response<Body>) -> Fault {
    let body = beginning(answer.body_mut()).await;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let status = answer.status().as_u16();
    fault::of_answer(status, |name| header(answer, name), &body, now)
}

/// What an answer means that should be a stream and is one JSON text: an error without its status, or a server that does
/// not stream.
async fn unstreamed(answer: &mut Response<Body>) -> Fault {
    let body = beginning(answer.body_mut()).await;
    match wire::json::parse::<serde_json::Value>(&body) {
        Ok(value) if value.get("error").is_some_and(|error| !error.is_null()) => {
            fault::of_event(&body)
        }
        _ => Fault::new(Kind::Malformed, "it does not stream its answer"),
    }
}

/// The first bytes of a body, whatever follows them.
async fn beginning(body: &mut Body) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < ERROR_BODY
        && let Some(Ok(piece)) = body.next().await
    {
        let room = ERROR_BODY - read.len();
        read.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    read
}

fn header<'a>(answer: &'a Response<Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

/// Between 0 and 1; spreads tries and needs no more than that.
#[allow(clippy::cast_precision_loss)]
fn random() -> f64 {
    let hash = RandomState::new().build_hasher().finish();
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

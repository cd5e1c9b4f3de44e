//! One worker and everybody around it.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clawdbot_fakes::provider::Provider;
use clawdbot_http::{Limits, Tls};
use clawdbot_identity::{Class, InstanceName, Role};
use clawdbot_proto::v1::authorize_reply::Outcome;
use clawdbot_proto::v1::generate_event::Event;
use clawdbot_proto::v1::health_server::{Health as HealthService, HealthServer};
use clawdbot_proto::v1::leases_server::{Leases, LeasesServer};
use clawdbot_proto::v1::ledger_server::{Ledger, LedgerServer};
use clawdbot_proto::v1::model_client::ModelClient;
use clawdbot_proto::v1::model_message::Message;
use clawdbot_proto::v1::model_server::ModelServer;
use clawdbot_proto::v1::snapshot::Slice;
use clawdbot_proto::v1::spending_server::{Spending, SpendingServer};
use clawdbot_proto::v1::{self, GenerateEvent, GenerateRequest, ModelError, ModelErrorClass};
use clawdbot_service::{Edge, Router, testing};
use futures_util::Stream;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use crate::fault::{Fault, Kind};
use crate::transport::{Dialer, Patience, Transport};
use crate::worker::{Shared, Worker, configure};
use crate::{lease, live};

/// Policy: permits or not, and hears how the worker is.
#[derive(Clone)]
pub struct Policy {
    pub refuses: Arc<AtomicBool>,
    pub asked: Arc<AtomicUsize>,
    /// Wants to know what requests use.
    pub counts: Arc<AtomicBool>,
    pub settled: watch::Sender<Vec<v1::SettleSpendingRequest>>,
    pub health: watch::Sender<v1::HealthReport>,
}

#[tonic::async_trait]
impl Spending for Policy {
    async fn authorize(
        &self,
        _: Request<v1::AuthorizeRequest>,
    ) -> Result<Response<v1::AuthorizeReply>, Status> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let outcome = match self.refuses.load(Ordering::Relaxed) {
            true => Outcome::Refusal(v1::Refusal {
                rule: "budget.day".into(),
                message: "no more today".into(),
                retry_after_seconds: 9,
            }),
            false => Outcome::Allowed(v1::Session::default()),
        };
        Ok(Response::new(v1::AuthorizeReply {
            outcome: Some(outcome),
            settle: self.counts.load(Ordering::Relaxed),
        }))
    }
}

#[tonic::async_trait]
impl Ledger for Policy {
    async fn settle(
        &self,
        request: Request<v1::SettleSpendingRequest>,
    ) -> Result<Response<v1::Done>, Status> {
        let request = request.into_inner();
        self.settled.send_modify(|settled| settled.push(request));
        Ok(Response::new(v1::Done {}))
    }
}

#[tonic::async_trait]
impl HealthService for Policy {
    async fn report(
        &self,
        request: Request<v1::HealthReport>,
    ) -> Result<Response<v1::Done>, Status> {
        self.health.send_replace(request.into_inner());
        Ok(Response::new(v1::Done {}))
    }
}

/// Broker: lends what the test puts in.
#[derive(Clone)]
pub struct Broker(watch::Sender<Lent>);

#[derive(Clone, Default)]
pub struct Lent {
    version: u64,
    pub keys: Vec<(String, String)>,
    /// Lends the configured header even where there is no key.
    pub header_alone: bool,
    pub audience: String,
}

impl Lent {
    fn is_nothing(&self) -> bool {
        self.keys.is_empty() && !self.header_alone
    }
}

#[tonic::async_trait]
impl Leases for Broker {
    async fn lease(
        &self,
        _: Request<v1::LeaseRequest>,
    ) -> Result<Response<v1::LeaseReply>, Status> {
        let lent = self.0.borrow().clone();
        if lent.is_nothing() {
            return Err(Status::not_found(
                "set it with `clawdbot login --provider p`",
            ));
        }
        let secrets = lent
            .keys
            .into_iter()
            .map(|(profile, secret)| v1::LeasedSecret {
                profile,
                secret: secret.into_bytes(),
            });
        Ok(Response::new(v1::LeaseReply {
            secrets: secrets.collect(),
            version: lent.version,
            audience: lent.audience,
            headers: vec![v1::LeasedHeader {
                name: "X-Team".into(),
                value: b"blue-team-secret".to_vec(),
            }],
        }))
    }

    type WatchStream =
        std::pin::Pin<Box<dyn Stream<Item = Result<v1::LeaseVersion, Status>> + Send>>;

    async fn watch(
        &self,
        _: Request<v1::WatchLeaseRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let news = self.0.subscribe();
        let stream = futures_util::stream::unfold((news, true), |(mut news, first)| async move {
            if !first {
                news.changed().await.ok()?;
            }
            let lent = news.borrow_and_update().clone();
            let version = if lent.is_nothing() { 0 } else { lent.version };
            Some((Ok(v1::LeaseVersion { version }), (news, false)))
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

pub struct Rig {
    pub provider: Provider,
    pub policy: Policy,
    pub shared: Arc<Shared>,
    pub dials: Arc<AtomicUsize>,
    /// What the dialer answers instead of a socket.
    pub unreachable: Arc<Mutex<Option<Fault>>>,
    broker: Broker,
    slices: watch::Sender<Option<Arc<v1::Snapshot>>>,
    slice: v1::ModelSlice,
    agent: Edge,
}

/// Longer than any busy machine takes.
const PATIENT: Limits = Limits {
    head: Duration::from_secs(60),
    idle: Duration::from_secs(60),
    total: Duration::from_secs(120),
    body: 32 << 20,
};

impl Rig {
    pub async fn new(api: &str) -> Self {
        Self::with(api, PATIENT).await
    }

    /// For tests of silence: whatever else happens may take too long here, too.
    pub async fn impatient(api: &str) -> Self {
        let short = Duration::from_millis(1500);
        let limits = Limits {
            head: short,
            idle: short,
            ..PATIENT
        };
        Self::with(api, limits).await
    }

    async fn with(api: &str, limits: Limits) -> Self {
        let provider = Provider::start().await.unwrap();
        let address = provider.address();
        let base_url = match api {
            "anthropic-messages" | "ollama" => format!("http://{address}"),
            _ => format!("http://{address}/v1"),
        };
        let me = Role::model(&InstanceName::parse("p").unwrap());
        let policy = Policy {
            refuses: Arc::default(),
            asked: Arc::default(),
            counts: Arc::default(),
            settled: watch::Sender::default(),
            health: watch::Sender::new(v1::HealthReport::default()),
        };
        let broker = Broker(watch::Sender::new(Lent {
            version: 1,
            keys: vec![("default".into(), "key-number-one".into())],
            ..Default::default()
        }));
        let router = Router::new()
            .add(SpendingServer::new(policy.clone()))
            .add(LedgerServer::new(policy.clone()))
            .add(HealthServer::new(policy.clone()));
        let to_policy = testing::connect(&me, &Role::policy(), router).unwrap();
        let router = Router::new().add(LeasesServer::new(broker.clone()));
        let to_broker = testing::connect(&me, &Role::broker(), router).unwrap();

        let (dials, unreachable) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let transport = Transport::new(
            dialer(&dials, &unreachable),
            Tls::public().unwrap(),
            Patience::of(limits),
        );
        let slice = v1::ModelSlice {
            provider: "p".into(),
            base_url,
            api: api.into(),
            api_version: "2023-06-01".into(),
            billing_backoff_seconds: 18_000,
            billing_max_seconds: 86_400,
            failure_window_seconds: 86_400,
            ..Default::default()
        };
        let slices = watch::Sender::new(None);
        let settings = configure(slices.subscribe(), transport.clone());
        let shared = Shared::new("p".into(), settings, lease::follow(to_broker), transport);
        let worker = Worker::new(to_policy.clone(), Arc::clone(&shared));
        let router = Router::new().add(ModelServer::new(worker));
        let agent = testing::connect(&Role::agent(Class::Main), &me, router).unwrap();
        tokio::spawn(shared.health.clone().report(to_policy, |_| {}));
        let rig = Self {
            provider,
            policy,
            shared,
            dials,
            unreachable,
            broker,
            slices,
            slice,
            agent,
        };
        rig.configure(|_| {});
        rig
    }

    /// Also asks the provider after each new lease, as the process does.
    pub fn live(self) -> Self {
        tokio::spawn(live::run(Arc::clone(&self.shared)));
        self
    }

    pub fn configure(&self, change: impl FnOnce(&mut v1::ModelSlice)) {
        let mut slice = self.slice.clone();
        change(&mut slice);
        self.slices.send_replace(Some(Arc::new(v1::Snapshot {
            revision: 1,
            slice: Some(Slice::Model(slice)),
            ..v1::Snapshot::default()
        })));
    }

    /// Puts other keys into the broker, and waits until the worker has them.
    pub async fn lend(&self, keys: &[(&str, &str)]) {
        let own = |(p, k): &(&str, &str)| ((*p).into(), (*k).into());
        let keys = keys.iter().map(own).collect();
        self.change_lease(|lent| lent.keys = keys).await;
    }

    /// Changes what the broker lends, and waits until the worker has it.
    pub async fn change_lease(&self, change: impl FnOnce(&mut Lent)) {
        let mut leases = self.shared.leases.clone();
        let known = |held: &lease::Held| !matches!(held, lease::Held::Unknown);
        leases.wait_for(known).await.unwrap();
        leases.mark_unchanged();
        self.broker.0.send_modify(|lent| {
            lent.version += 1;
            change(lent);
        });
        leases.changed().await.unwrap();
    }

    pub async fn open(&self, request: GenerateRequest) -> Streaming<GenerateEvent> {
        let mut client = ModelClient::new(self.agent.clone());
        client.generate(request).await.unwrap().into_inner()
    }

    pub async fn ask(&self, request: GenerateRequest) -> Vec<Event> {
        let mut stream = self.open(request).await;
        let mut events = Vec::new();
        while let Some(event) = stream.message().await.unwrap() {
            events.extend(event.event);
        }
        events
    }

    /// Asks and expects a good answer.
    pub async fn text(&self) -> String {
        let events = self.ask(request()).await;
        assert!(matches!(events.last(), Some(Event::Stop(_))), "{events:?}");
        said(&events)
    }

    /// Asks and expects an error as the last event; with the number of events before it.
    pub async fn error(&self) -> (ModelErrorClass, ModelError, usize) {
        let mut events = self.ask(request()).await;
        match events.pop() {
            Some(Event::Error(error)) => (error.class(), error, events.len()),
            other => panic!("{other:?}"),
        }
    }

    pub fn dialled(&self) -> usize {
        self.dials.load(Ordering::Relaxed)
    }

    /// Waits for a report that fits.
    pub async fn reported(&self, fits: impl FnMut(&v1::HealthReport) -> bool) -> v1::HealthReport {
        let mut health = self.policy.health.subscribe();
        health.wait_for(fits).await.unwrap().clone()
    }
}

fn dialer(dials: &Arc<AtomicUsize>, unreachable: &Arc<Mutex<Option<Fault>>>) -> Dialer {
    let (dials, unreachable) = (Arc::clone(dials), Arc::clone(unreachable));
    Arc::new(move |destination| {
        let (dials, fault) = (Arc::clone(&dials), unreachable.lock().unwrap().clone());
        Box::pin(async move {
            dials.fetch_add(1, Ordering::Relaxed);
            match fault {
                Some(fault) => Err(fault),
                None => TcpStream::connect(destination.to_string())
                    .map(Into::into)
                    .map_err(|error| Fault::new(Kind::Unreachable, error.to_string())),
            }
        })
    })
}

pub fn request() -> GenerateRequest {
    GenerateRequest {
        request_id: "t1:1".into(),
        handle: "abc".into(),
        model: "m".into(),
        messages: vec![v1::ModelMessage {
            message: Some(Message::User(v1::UserMessage {
                text: "hello there".into(),
            })),
        }],
        ..Default::default()
    }
}

pub fn said(events: &[Event]) -> String {
    let texts = events.iter().map(|event| match event {
        Event::Text(delta) => delta.text.as_str(),
        _ => "",
    });
    texts.collect()
}

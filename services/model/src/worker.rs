//! The worker of one provider: what all requests share, and the edge that agents call.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clawdbot_proto::v1::generate_event::Event;
use clawdbot_proto::v1::model_server::Model;
use clawdbot_proto::v1::snapshot::Slice;
use clawdbot_proto::v1::{GenerateEvent, GenerateRequest, Snapshot};
use clawdbot_service::Edge;
use futures_util::{Stream, stream};
use tokio::sync::{Semaphore, watch};
use tonic::{Request, Response, Status};

use crate::exchange::Exchange;
use crate::fault::{self, Fault, Place};
use crate::health::Health;
use crate::lease::Held;
use crate::profiles::Profiles;
use crate::settings::Settings;
use crate::spending::{Ruling, Spending, admit};
use crate::transport::Transport;

/// Requests that are at the provider at the same time; more of them wait. Fewer than the dialer relays.
const CONCURRENT: usize = 128;

/// The slice in force: nothing yet, usable, or not.
pub type Configured = Option<Result<Arc<Settings>, Fault>>;

/// What all requests share.
pub struct Shared {
    pub provider: String,
    pub settings: watch::Receiver<Configured>,
    pub leases: watch::Receiver<Held>,
    pub transport: Transport,
    pub health: Health,
    pub permits: Arc<Semaphore>,
    profiles: Mutex<Profiles>,
}

impl Shared {
    pub fn new(
        provider: String,
        settings: watch::Receiver<Configured>,
        leases: watch::Receiver<Held>,
        transport: Transport,
    ) -> Arc<Self> {
        Arc::new(Self {
            provider,
            settings,
            leases,
            transport,
            health: Health::new(),
            permits: Arc::new(Semaphore::new(CONCURRENT)),
            profiles: Mutex::default(),
        })
    }

    pub fn profiles(&self) -> MutexGuard<'_, Profiles> {
        self.profiles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another lease is in use.
    pub fn leased(&self, version: u64) {
        self.profiles().forget();
        // Each has sent the key of the lease before, and its buffer still holds it.
        self.transport.pool().clear();
        self.health.leased(version);
    }

    /// Where something happened before anything else was known.
    pub fn place(&self) -> Place<'_> {
        Place {
            provider: &self.provider,
            model: "",
            profile: None,
            address: "",
            ollama: false,
        }
    }

    /// The worker cannot work at all.
    pub fn unusable(&self, fault: &Fault, place: &Place<'_>) {
        let said = fault::say(fault, place, &[]);
        self.health.failed(fault.kind, "", "", &said.message, true);
    }
}

/// Reads each new slice once, and closes kept connections when the address has changed. Must be called inside the runtime.
pub fn configure(
    mut slices: watch::Receiver<Option<Arc<Snapshot>>>,
    transport: Transport,
) -> watch::Receiver<Configured> {
    let (sender, receiver) = watch::channel(Configured::None);
    tokio::spawn(async move {
        loop {
            let snapshot = slices.borrow_and_update().clone();
            if let Some(Slice::Model(slice)) = snapshot.as_ref().and_then(|s| s.slice.as_ref()) {
                let settings = Settings::read(slice);
                let moved = match (&*sender.borrow(), &settings) {
                    (Some(Ok(before)), Ok(now)) => before.base != now.base,
                    _ => true,
                };
                if moved {
                    transport.pool().clear();
                }
                sender.send_replace(Some(settings));
            }
            if slices.changed().await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// The edge that agents call.
pub struct Worker {
    spending: Spending,
    shared: Arc<Shared>,
}

/// An answer.
pub type Events = Pin<Box<dyn Stream<Item = Result<GenerateEvent, Status>> + Send>>;

impl Worker {
    pub fn new(policy: Edge, shared: Arc<Shared>) -> Self {
        Self {
            spending: Spending::new(policy),
            shared,
        }
    }
}

#[tonic::async_trait]
impl Model for Worker {
    type GenerateStream = Events;

    /// An agent that hangs up drops the stream, and with it the connection to the provider. The same request may be asked
    /// again at any time, also while it runs: it is a new question to the provider.
    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<Events>, Status> {
        let (class, request) = admit(request)?;
        let model = format!("{}/{}", self.shared.provider, request.model);
        let asked = self.spending.ask(class, &request, model);
        let mut exchange = Exchange::new(Arc::clone(&self.shared), request);
        // While policy decides the body is written down; the provider hears of nothing before.
        let (ruling, ()) = tokio::join!(asked, exchange.write_down());
        let meter = match ruling? {
            Ruling::Allowed(meter) => meter,
            Ruling::Refused(refused) => {
                let refused = event(Event::Error(refused));
                return Ok(Response::new(Box::pin(stream::iter([refused]))));
            }
        };
        let events = stream::unfold((exchange, meter), |(mut exchange, mut meter)| async {
            let next = exchange.next().await?;
            if let Some(meter) = &mut meter {
                meter.see(&next).await;
            }
            Some((event(next), (exchange, meter)))
        });
        Ok(Response::new(Box::pin(events)))
    }
}

fn event(event: Event) -> Result<GenerateEvent, Status> {
    Ok(GenerateEvent { event: Some(event) })
}

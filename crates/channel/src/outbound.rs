//! Answers on their way to the platform: orders in, each part journalled before the network hears of it, the end of every
//! send told until the gateway has heard. What is certainly not sent is tried again as configured; what may have been
//! sent never is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clawdbot_proto::v1::channel_desk_client::ChannelDeskClient;
use clawdbot_proto::v1::{self, AttachRequest, ChannelOrder, Disposition, channel_order::Order};
use clawdbot_service::Edge;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::lanes::{Job, Key, Lanes, Offer, Verdict};
use crate::sending::Sender;
use crate::{Backoff, Credit, Journal, Limiter, Outlet, random};

/// How long what runs may take when the process should end.
const DRAIN: Duration = Duration::from_secs(5);
/// An answer that is shown and has not come after this time will not come.
const STALE: Duration = Duration::from_secs(3600);
/// Pause between two looks for those.
const SWEEP: Duration = Duration::from_secs(600);

/// The way out of one worker. Cheap to clone.
pub struct Outbound<O: Outlet>(Arc<Shared<O>>);

impl<O: Outlet> Clone for Outbound<O> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Shared<O> {
    edge: Edge,
    sender: Sender<O>,
    lanes: Mutex<Lanes>,
    /// Ends of sends that the gateway has not heard yet.
    unheard: AtomicUsize,
    news: Notify,
}

impl<O: Outlet> Outbound<O> {
    /// An engine for this outlet, with the journal of the worker and the edge to the gateway.
    #[must_use]
    pub fn new(edge: Edge, outlet: Arc<O>, journal: Arc<Journal>) -> Self {
        Self(Arc::new(Shared {
            edge,
            sender: Sender {
                outlet,
                journal,
                limiter: Mutex::new(Limiter::default()),
                busy: Mutex::default(),
            },
            lanes: Mutex::default(),
            unheard: AtomicUsize::new(0),
            news: Notify::new(),
        }))
    }

    /// Works until `stop`, then lets what runs come to its end, for at most 5 s. Attaches anew when `accounts` changes.
    pub async fn run(
        &self,
        accounts: watch::Receiver<Vec<String>>,
        credit: Credit,
        stop: impl Future<Output = ()>,
    ) {
        let mut beside = JoinSet::new();
        beside.spawn(attach(Arc::clone(&self.0), accounts, credit));
        beside.spawn(sweep(Arc::clone(&self.0)));
        tokio::select! {
            () = stop => {}
            () = self.work() => {}
        }
        drop(beside);
        self.0.lanes().drain();
        let rest = async {
            while self.0.lanes().busy() > 0 || self.0.unheard.load(Ordering::Relaxed) > 0 {
                self.0.news.notified().await;
            }
            // What is shown where is noted, and the next start must know it.
            self.0.sender.journal.flush().await;
        };
        if timeout(DRAIN, rest).await.is_err() {
            warn!("sends that ran at the stop are counted as unknown at the next start");
        }
    }

    async fn work(&self) {
        loop {
            let now = Instant::now();
            while let Some((key, job)) = self.next(now) {
                tokio::spawn(one(Arc::clone(&self.0), key, job));
            }
            let wake = self.0.lanes().wake_at(now);
            match wake {
                Some(at) => {
                    let _woken = tokio::time::timeout_at(at.into(), self.0.news.notified()).await;
                }
                None => self.0.news.notified().await,
            }
        }
    }

    fn next(&self, now: Instant) -> Option<(Key, Job)> {
        self.0.lanes().next(now)
    }
}

impl<O> Shared<O> {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn one<O: Outlet>(shared: Arc<Shared<O>>, key: Key, job: Job) {
    let (verdict, turn) = match job {
        Job::Send { send, tried } => {
            let verdict = shared.sender.send(&send, tried).await;
            (verdict, send.turn_id.clone())
        }
        Job::Show(progress) => {
            let next = shared.sender.show(&progress).await;
            (Verdict::Showed(next), String::new())
        }
    };
    shared.lanes().finished(&key, verdict.clone());
    if let Verdict::Settled(report) = verdict {
        shared.unheard.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(tell(Arc::clone(&shared), report, turn));
    }
    shared.news.notify_one();
}

/// Tells the gateway how a send ended until it has heard, and forgets the send.
async fn tell<O: Outlet>(shared: Arc<Shared<O>>, report: v1::SendReport, turn: String) {
    let mut desk = ChannelDeskClient::new(shared.edge.clone());
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    while let Err(status) = desk.report(report.clone()).await {
        use tonic::Code::{InvalidArgument, NotFound, PermissionDenied};
        if matches!(status.code(), InvalidArgument | NotFound | PermissionDenied) {
            warn!(id = %report.outbox_id, message = %status.message(), "the gateway does not know this send");
            break;
        }
        sleep(backoff.failed(Instant::now(), random())).await;
    }
    shared.sender.forget(&report, &turn);
    shared.lanes().reported(&report.outbox_id);
    shared.unheard.fetch_sub(1, Ordering::Relaxed);
    shared.news.notify_one();
}

async fn attach<O: Outlet>(
    shared: Arc<Shared<O>>,
    mut accounts: watch::Receiver<Vec<String>>,
    credit: Credit,
) {
    let mut desk = ChannelDeskClient::new(shared.edge.clone());
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    loop {
        let names = accounts.borrow_and_update().clone();
        if names.is_empty() {
            if accounts.changed().await.is_err() {
                return;
            }
            continue;
        }
        match desk.attach(AttachRequest { accounts: names }).await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                backoff.worked(Instant::now());
                loop {
                    tokio::select! {
                        order = stream.message() => match order {
                            Ok(Some(order)) => take(&shared, order, &credit),
                            _ => break,
                        },
                        changed = accounts.changed() => match changed {
                            Ok(()) => break,
                            Err(_) => return,
                        },
                    }
                }
            }
            Err(status) => debug!(code = ?status.code(), "not attached to the gateway"),
        }
        if !accounts.has_changed().unwrap_or(false) {
            sleep(backoff.failed(Instant::now(), random())).await;
        }
    }
}

fn take<O: Outlet>(shared: &Arc<Shared<O>>, order: ChannelOrder, credit: &Credit) {
    match order.order {
        Some(Order::Credit(messages)) => credit.set(messages),
        Some(Order::Typing(typing)) => shared.sender.outlet.typing(typing),
        Some(Order::Progress(progress)) => shared.lanes().show(progress),
        Some(Order::Send(send)) => {
            let id = send.outbox_id.clone();
            match shared.lanes().offer(send) {
                Offer::Taken | Offer::Known => {}
                // It is being told already.
                Offer::Over(report) => {
                    debug!(%id, disposition = ?report.disposition(), "offered again after its end");
                }
            }
        }
        None => warn!("the gateway sent an order that this version does not know"),
    }
    shared.news.notify_one();
}

/// Removes the beginnings of answers that never came.
async fn sweep<O: Outlet>(shared: Arc<Shared<O>>) {
    loop {
        let before = now_ms().saturating_sub(STALE.as_millis() as u64);
        shared.sender.unshow(before).await;
        sleep(SWEEP).await;
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// Whether a send that ended like this comes again.
pub(crate) fn comes_again(report: &v1::SendReport) -> bool {
    report.disposition() == Disposition::NotStarted
}

#[cfg(test)]
#[path = "outbound_tests.rs"]
mod tests;

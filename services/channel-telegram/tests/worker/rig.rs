//! The worker between a fake Telegram and a policy, a broker and a gateway that are played. The worker has a runtime of its
//! own, so that it can be killed as a process can.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use clawdbot_channel_telegram::{Connect, Worker};
use clawdbot_fakes::telegram::Telegram;
use clawdbot_http::{Socket, Tls};
use clawdbot_identity::Role;
use clawdbot_proto::v1::admit_sender_reply::Outcome;
use clawdbot_proto::v1::channel_desk_server::{ChannelDesk, ChannelDeskServer};
use clawdbot_proto::v1::channels_server::{Channels, ChannelsServer};
use clawdbot_proto::v1::health_server::{Health, HealthServer};
use clawdbot_proto::v1::leases_server::{Leases, LeasesServer};
use clawdbot_proto::v1::notices_server::{Notices, NoticesServer};
use clawdbot_proto::v1::{self, channel_order::Order};
use clawdbot_service::testing::connect;
use clawdbot_service::{Pulses, Router};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::wrappers::{UnboundedReceiverStream, WatchStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

pub const TOKEN: &str = "4242:AAE-test_token";
pub const BOT: &str = "my_bot";

/// What the played processes have seen.
#[derive(Default)]
pub struct Seen {
    pub admits: Vec<v1::AdmitSenderRequest>,
    pub delivered: Vec<v1::Inbound>,
    pub reports: Vec<v1::SendReport>,
    pub health: v1::HealthReport,
    pub calls: u32,
    /// Id of each notice of which was said what became of it.
    pub settled: Vec<(String, bool)>,
    events: BTreeSet<String>,
}

/// Policy, broker and gateway.
#[derive(Clone)]
pub struct Played {
    pub seen: watch::Sender<Arc<Mutex<Seen>>>,
    pub token: watch::Sender<(u64, Option<&'static str>)>,
    /// Whom the token is for.
    pub audience: watch::Sender<&'static str>,
    /// Messages that the gateway takes in one call.
    pub room: watch::Sender<u32>,
    /// What has to be told; all of it with each stream, until it is settled.
    pub notices: watch::Sender<Vec<v1::Notice>>,
    orders: watch::Sender<Option<mpsc::UnboundedSender<Result<v1::ChannelOrder, Status>>>>,
}

impl Played {
    fn change(&self, change: impl FnOnce(&mut Seen)) {
        self.seen
            .send_modify(|seen| change(&mut seen.lock().unwrap()));
    }

    pub async fn until<R>(&self, mut look: impl FnMut(&Seen) -> Option<R>) -> R {
        let mut news = self.seen.subscribe();
        loop {
            news.borrow_and_update();
            if let Some(found) = look(&self.seen.borrow().lock().unwrap()) {
                return found;
            }
            news.changed().await.unwrap();
        }
    }
}

#[tonic::async_trait]
impl Channels for Played {
    async fn admit(
        &self,
        request: Request<v1::AdmitSenderRequest>,
    ) -> Result<Response<v1::AdmitSenderReply>, Status> {
        let request = request.into_inner();
        let sender = request.sender.clone().unwrap_or_default();
        let outcome = match sender.id.as_str() {
            _ if sender.is_bot || sender.is_anonymous => Outcome::Ignored(v1::Refusal::default()),
            "666" => Outcome::Answer("Your code is ABCD2345.".into()),
            id => Outcome::Admission(v1::Admission {
                handle: format!("handle-{id}"),
                ..v1::Admission::default()
            }),
        };
        self.change(|seen| seen.admits.push(request));
        Ok(Response::new(v1::AdmitSenderReply {
            outcome: Some(outcome),
        }))
    }
}

#[tonic::async_trait]
impl Notices for Played {
    type WatchStream = UnboundedReceiverStream<Result<v1::Notice, Status>>;

    async fn watch(
        &self,
        _: Request<v1::WatchNoticesRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut lists = self.notices.subscribe();
        tokio::spawn(async move {
            let mut told = 0;
            loop {
                let list = lists.borrow_and_update().clone();
                for notice in list.iter().skip(told) {
                    if sender.send(Ok(notice.clone())).is_err() {
                        return;
                    }
                }
                told = list.len();
                if lists.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(UnboundedReceiverStream::new(receiver)))
    }

    async fn settle(
        &self,
        request: Request<v1::SettleNoticeRequest>,
    ) -> Result<Response<v1::Done>, Status> {
        let request = request.into_inner();
        self.change(|seen| seen.settled.push((request.id, request.sent)));
        Ok(Response::new(v1::Done {}))
    }
}

#[tonic::async_trait]
impl Health for Played {
    async fn report(
        &self,
        report: Request<v1::HealthReport>,
    ) -> Result<Response<v1::Done>, Status> {
        let report = report.into_inner();
        self.change(|seen| seen.health = report);
        Ok(Response::new(v1::Done {}))
    }
}

#[tonic::async_trait]
impl Leases for Played {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::LeaseVersion, Status>> + Send>>;

    async fn lease(
        &self,
        _: Request<v1::LeaseRequest>,
    ) -> Result<Response<v1::LeaseReply>, Status> {
        let (version, token) = *self.token.borrow();
        let token = token.ok_or_else(|| Status::not_found("run clawdbot login"))?;
        Ok(Response::new(v1::LeaseReply {
            secrets: vec![v1::LeasedSecret {
                profile: "default".into(),
                secret: token.into(),
            }],
            version,
            headers: Vec::new(),
            audience: (*self.audience.borrow()).into(),
        }))
    }

    async fn watch(
        &self,
        _: Request<v1::WatchLeaseRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let versions = WatchStream::new(self.token.subscribe());
        let versions = versions.map(|(version, _)| Ok(v1::LeaseVersion { version }));
        Ok(Response::new(Box::pin(versions)))
    }
}

#[tonic::async_trait]
impl ChannelDesk for Played {
    type AttachStream = UnboundedReceiverStream<Result<v1::ChannelOrder, Status>>;

    async fn deliver(
        &self,
        request: Request<v1::DeliverRequest>,
    ) -> Result<Response<v1::DeliverReply>, Status> {
        let room = *self.room.borrow();
        let mut receipts = Vec::new();
        self.change(|seen| {
            seen.calls += 1;
            let mut taken = 0;
            for message in request.into_inner().messages {
                let state = if seen.events.contains(&message.event_id) {
                    v1::ReceiptState::Known
                } else if taken >= room {
                    v1::ReceiptState::Full
                } else {
                    taken += 1;
                    seen.events.insert(message.event_id.clone());
                    seen.delivered.push(message);
                    v1::ReceiptState::Accepted
                };
                receipts.push(v1::Receipt {
                    state: state.into(),
                    message: String::new(),
                });
            }
        });
        Ok(Response::new(v1::DeliverReply {
            receipts,
            credit: room,
        }))
    }

    async fn attach(
        &self,
        _: Request<v1::AttachRequest>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.orders.send_replace(Some(sender));
        Ok(Response::new(UnboundedReceiverStream::new(receiver)))
    }

    async fn report(&self, report: Request<v1::SendReport>) -> Result<Response<v1::Done>, Status> {
        let report = report.into_inner();
        self.change(|seen| seen.reports.push(report));
        Ok(Response::new(v1::Done {}))
    }
}

/// A worker at work.
struct Process {
    kill: Arc<Notify>,
    stop: Arc<Notify>,
    thread: JoinHandle<()>,
}

pub struct Rig {
    pub telegram: Telegram,
    pub played: Played,
    pub config: watch::Sender<Option<Arc<v1::Snapshot>>>,
    /// The worker's own word on its bots.
    pub status: watch::Sender<String>,
    /// Whether its polls get on.
    pub pulses: Pulses,
    folder: tempfile::TempDir,
    process: Option<Process>,
}

pub fn settings(root: SocketAddr) -> v1::ChannelAccount {
    v1::ChannelAccount {
        account: "default".into(),
        api_root: format!("http://{root}"),
        text_chunk_limit: 4000,
        chunk_mode: "length".into(),
        reply_to_mode: "first".into(),
        stream_mode: "partial".into(),
        media_max_mb: 5,
        retry_attempts: 3,
        retry_min_delay_ms: 10,
        retry_max_delay_ms: 5000,
        retry_jitter: 0.1,
        name: String::new(),
    }
}

pub fn snapshot(account: v1::ChannelAccount) -> Option<Arc<v1::Snapshot>> {
    snapshot_for(account, "")
}

pub fn snapshot_for(account: v1::ChannelAccount, audience: &str) -> Option<Arc<v1::Snapshot>> {
    let slice = v1::ChannelSlice {
        accounts: vec![account],
        audience: audience.into(),
    };
    Some(Arc::new(v1::Snapshot {
        revision: 1,
        slice: Some(v1::snapshot::Slice::Channel(slice)),
        ..v1::Snapshot::default()
    }))
}

impl Rig {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With other settings than the usual ones.
    pub async fn start_with(change: impl FnOnce(&mut v1::ChannelAccount)) -> Self {
        let telegram = Telegram::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        telegram.bot(TOKEN, |bot| bot.username = BOT.into());
        let mut account = settings(telegram.address());
        change(&mut account);
        let mut rig = Self {
            telegram,
            played: Played {
                seen: watch::Sender::new(Arc::default()),
                token: watch::Sender::new((1, Some(TOKEN))),
                audience: watch::Sender::new(""),
                room: watch::Sender::new(64),
                notices: watch::Sender::default(),
                orders: watch::Sender::new(None),
            },
            config: watch::Sender::new(snapshot(account)),
            status: watch::Sender::default(),
            pulses: Pulses::default(),
            folder: tempfile::tempdir().unwrap(),
            process: None,
        };
        rig.spawn();
        rig
    }

    /// Starts the worker.
    pub fn spawn(&mut self) {
        let worker = Role::parse("channel-telegram").unwrap();
        let edge = |server: Role, router: Router| connect(&worker, &server, router).unwrap();
        let played = || self.played.clone();
        let policy = Router::new()
            .add(ChannelsServer::new(played()))
            .add(HealthServer::new(played()))
            .add(NoticesServer::new(played()));
        let broker = Router::new().add(LeasesServer::new(played()));
        let gateway = Router::new().add(ChannelDeskServer::new(played()));
        let worker = Worker {
            policy: edge(Role::policy(), policy),
            broker: edge(Role::broker(), broker),
            gateway: edge(Role::gateway(), gateway),
            config: self.config.subscribe(),
            connect: directly(),
            tls: Tls::public().unwrap(),
            state: self.folder.path().to_owned(),
            pulses: self.pulses.clone(),
        };
        let (kill, stop) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let status = self.status.clone();
        let told = move |line: &str| drop(status.send_replace(line.to_owned()));
        let (killed, stopped) = (Arc::clone(&kill), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = killed.notified() => {}
                    ended = worker.run(told, async move { stopped.notified().await }) => ended.unwrap(),
                }
            });
        });
        self.process = Some(Process { kill, stop, thread });
    }

    /// Ends the worker between two instructions.
    pub fn kill(&mut self) {
        let process = self.process.take().unwrap();
        process.kill.notify_one();
        process.thread.join().unwrap();
        self.played.orders.send_replace(None);
    }

    /// Asks the worker to end.
    pub async fn stop(&mut self) {
        let process = self.process.take().unwrap();
        process.stop.notify_one();
        tokio::task::spawn_blocking(|| process.thread.join().unwrap())
            .await
            .unwrap();
        self.played.orders.send_replace(None);
    }

    /// Somebody writes to the bot.
    pub fn write(&self, message: serde_json::Value) -> i64 {
        self.telegram
            .bot(TOKEN, |bot| bot.write("message", message))
    }

    /// The message that was delivered as number `index`.
    pub async fn delivered(&self, index: usize) -> v1::Inbound {
        self.played
            .until(|seen| seen.delivered.get(index).cloned())
            .await
    }

    /// How a send ended.
    pub async fn report(&self, id: &str) -> v1::SendReport {
        let of = |seen: &Seen| {
            let mut reports = seen.reports.iter();
            reports.find(|report| report.outbox_id == id).cloned()
        };
        self.played.until(of).await
    }

    pub async fn order(&self, order: Order) {
        let mut orders = self.played.orders.subscribe();
        let attached = orders.wait_for(Option::is_some).await.unwrap().clone();
        let order = v1::ChannelOrder { order: Some(order) };
        // A worker that was killed meanwhile does not hear it.
        let _gone = attached.unwrap().send(Ok(order));
    }

    /// Sends an answer to where a message came from.
    pub async fn send(&self, id: &str, to: &v1::Inbound, text: &str) {
        self.order(Order::Send(answer(id, to, text))).await;
    }

    pub async fn problem(&self, code: &str) -> v1::Problem {
        let of = |seen: &Seen| {
            let mut problems = seen.health.problems.iter();
            problems.find(|problem| problem.code == code).cloned()
        };
        self.played.until(of).await
    }

    /// Texts in a chat, in order.
    pub fn texts(&self, chat: i64) -> Vec<String> {
        self.telegram.bot(TOKEN, |bot| {
            let in_chat = bot.sent.iter().filter(|sent| sent.chat == chat);
            in_chat.map(|sent| sent.text.clone()).collect()
        })
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill.notify_one();
            let _ended = process.thread.join();
        }
        self.telegram.stop();
    }
}

pub fn answer(id: &str, to: &v1::Inbound, text: &str) -> v1::Send {
    v1::Send {
        outbox_id: id.into(),
        account: to.account.clone(),
        address: to.address.clone(),
        lane: to.lane.clone(),
        text: text.into(),
        turn_id: format!("turn-{id}"),
        reply_to: String::new(),
    }
}

/// In the place of the dialer.
fn directly() -> Connect {
    Arc::new(|destination| {
        Box::pin(async move {
            let stream = TcpStream::connect(destination.to_string()).await;
            stream.map(Socket::Tcp).map_err(|error| error.to_string())
        })
    })
}

//! A whole gateway in one test: real queue, real edges over socketpairs, real TCP, and stand-ins for policy and agents
//! that do what the test says.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use clawdbot_identity::{Class, Role};
use clawdbot_proto::v1;
use clawdbot_proto::v1::access_server::{Access, AccessServer};
use clawdbot_proto::v1::agent_server::{Agent, AgentServer};
use clawdbot_proto::v1::channel_desk_client::ChannelDeskClient;
use clawdbot_proto::v1::channel_desk_server::ChannelDeskServer;
use clawdbot_proto::v1::chat_client::ChatClient;
use clawdbot_proto::v1::chat_server::ChatServer;
use clawdbot_proto::v1::problems_server::{Problems, ProblemsServer};
use clawdbot_proto::v1::run_event::Event;
use clawdbot_proto::v1::snapshot::Slice;
use clawdbot_service::testing::{Link, connect};
use clawdbot_service::{Edge, Listener, Pulse, Router};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::channels::{self, Channels};
use crate::desk::Desk;
use crate::front::{Feeds, Front};
use crate::operator::Operator;
use crate::problems;
use crate::queue::{Queue, Store};
use crate::rule::Manners;
use crate::turns::{Agents, Turns};

pub const TOKEN: &str = "right-token-right-token";
pub const PASSWORD: &str = "right password é";
pub const CODE: &str = "right-code";

/// Policy that knows one token, one password, one login code and the keys that it gave out.
#[derive(Default)]
pub struct FakePolicy {
    pub keys: Mutex<HashSet<String>>,
    pub redeemed: AtomicBool,
    pub limited: AtomicBool,
    pub refuses_admission: AtomicBool,
    /// Keys are not judged, as in a fault.
    pub faulty: AtomicBool,
    /// How often a key was judged.
    pub key_checks: AtomicU32,
    /// Tokens are judged once this is no longer true.
    pub held: watch::Sender<bool>,
    /// How often a token was judged to the end.
    pub judged: watch::Sender<u32>,
    pub sources: Mutex<Vec<String>>,
    /// How often a channel's handle was judged.
    pub presented: AtomicU32,
    /// What the operator has to know.
    pub problems: watch::Sender<Vec<v1::Problem>>,
    next: AtomicU32,
}

impl FakePolicy {
    fn visit(&self) -> v1::VerifyReply {
        let key = format!("key-{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.keys.lock().unwrap().insert(key.clone());
        v1::VerifyReply {
            outcome: Some(v1::verify_reply::Outcome::Visit(v1::Visit {
                key,
                ttl_seconds: 43200,
            })),
        }
    }

    fn judge(&self, right: bool) -> v1::VerifyReply {
        match (self.limited.load(Ordering::Relaxed), right) {
            (true, _) => refuse("auth.rate_limited", 300),
            (false, false) => refuse("auth.token_mismatch", 0),
            (false, true) => self.visit(),
        }
    }
}

fn refusal(rule: &str, wait: u32) -> v1::Refusal {
    v1::Refusal {
        rule: rule.into(),
        message: format!("refused by {rule}"),
        retry_after_seconds: wait,
    }
}

fn refuse(rule: &str, wait: u32) -> v1::VerifyReply {
    v1::VerifyReply {
        outcome: Some(v1::verify_reply::Outcome::Refusal(refusal(rule, wait))),
    }
}

#[derive(Clone)]
struct PolicyService(Arc<FakePolicy>);

#[tonic::async_trait]
impl Access for PolicyService {
    async fn verify(
        &self,
        request: Request<v1::VerifyRequest>,
    ) -> Result<Response<v1::VerifyReply>, Status> {
        use v1::verify_request::Credential;
        let request = request.into_inner();
        self.0.sources.lock().unwrap().push(request.source);
        let mut held = self.0.held.subscribe();
        held.wait_for(|held| !held).await.unwrap();
        self.0.judged.send_modify(|times| *times += 1);
        let right = match request.credential {
            Some(Credential::Token(token)) => token == TOKEN,
            Some(Credential::Password(password)) => password == PASSWORD,
            None => false,
        };
        Ok(Response::new(self.0.judge(right)))
    }

    async fn check_key(
        &self,
        request: Request<v1::CheckKeyRequest>,
    ) -> Result<Response<v1::VerifyReply>, Status> {
        self.0.key_checks.fetch_add(1, Ordering::Relaxed);
        if self.0.faulty.load(Ordering::Relaxed) {
            return Err(Status::internal("a bug"));
        }
        let key = request.into_inner().key;
        let known = self.0.keys.lock().unwrap().contains(&key);
        Ok(Response::new(match known {
            true => v1::VerifyReply {
                outcome: Some(v1::verify_reply::Outcome::Visit(v1::Visit {
                    key,
                    ttl_seconds: 1,
                })),
            },
            false => refuse("auth.key_unknown", 0),
        }))
    }

    async fn redeem(
        &self,
        request: Request<v1::RedeemRequest>,
    ) -> Result<Response<v1::VerifyReply>, Status> {
        let right = request.into_inner().code == CODE;
        let right = right && !self.0.redeemed.swap(true, Ordering::Relaxed);
        Ok(Response::new(self.0.judge(right)))
    }

    async fn admit_operator(
        &self,
        request: Request<v1::AdmitOperatorRequest>,
    ) -> Result<Response<v1::AdmitReply>, Status> {
        use v1::admit_operator_request::Way;
        let request = request.into_inner();
        let known = match &request.way {
            Some(Way::OperatorSocket(yes)) => *yes,
            Some(Way::Key(key)) => self.0.keys.lock().unwrap().contains(key),
            None => false,
        };
        let agent = ["", "main", "home"].contains(&request.agent.as_str());
        let refused = !agent || self.0.refuses_admission.load(Ordering::Relaxed);
        if known && request.text.starts_with("/approve") {
            return Ok(Response::new(v1::AdmitReply {
                outcome: Some(v1::admit_reply::Outcome::Answer("elsewhere".into())),
                session_key: format!("agent:main:{}", request.session),
            }));
        }
        let outcome = match known && !refused {
            true => v1::admit_reply::Outcome::Admission(v1::Admission {
                handle: format!("handle-{}", request.session),
                class: v1::Class::Main.into(),
                session_key: match request.agent.as_str() {
                    "" => format!("agent:main:{}", request.session),
                    agent => format!("agent:{agent}:{}", request.session),
                },
                ..v1::Admission::default()
            }),
            false if !known => v1::admit_reply::Outcome::Refusal(refusal("visit.key", 0)),
            false if !agent => v1::admit_reply::Outcome::Refusal(refusal("agent.unknown", 0)),
            false => v1::admit_reply::Outcome::Refusal(refusal("config.none", 0)),
        };
        Ok(Response::new(v1::AdmitReply {
            outcome: Some(outcome),
            ..Default::default()
        }))
    }

    /// `handle-owner` is the owner's, `handle-NAME` a guest's, `handle-ROOM_NAME` that of one of several in a group; everything
    /// else is refused. Who has an empty name there has no mark.
    async fn present(
        &self,
        request: Request<v1::PresentRequest>,
    ) -> Result<Response<v1::AdmitReply>, Status> {
        let request = request.into_inner();
        self.0.presented.fetch_add(1, Ordering::Relaxed);
        if self.0.faulty.load(Ordering::Relaxed) {
            return Err(Status::unavailable("away"));
        }
        let (class, rest) = match request.handle.strip_prefix("handle-") {
            Some("owner") => (v1::Class::Main, Some("main".to_owned())),
            Some(name) => {
                let room = name.split_once('_').map_or(name, |(room, _)| room);
                (v1::Class::Guest, Some(format!("telegram:dm:{room}")))
            }
            None => (v1::Class::Guest, None),
        };
        let mark = request.handle.rsplit(['-', '_']).next();
        let mark = mark.unwrap_or_default().to_owned();
        let outcome = match rest.filter(|_| request.channel == "channel-telegram") {
            Some(rest) => v1::admit_reply::Outcome::Admission(v1::Admission {
                handle: request.handle,
                class: class.into(),
                session_key: format!("agent:main:{rest}"),
                mark,
                ..v1::Admission::default()
            }),
            None => v1::admit_reply::Outcome::Refusal(refusal("handle.unknown", 0)),
        };
        Ok(Response::new(v1::AdmitReply {
            outcome: Some(outcome),
            ..Default::default()
        }))
    }
}

#[tonic::async_trait]
impl Problems for PolicyService {
    type WatchStream = ReceiverStream<Result<v1::ProblemList, Status>>;

    async fn watch(
        &self,
        _: Request<v1::WatchProblemsRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let mut problems = self.0.problems.subscribe();
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let problems_now = problems.borrow_and_update().clone();
                let list = v1::ProblemList {
                    problems: problems_now,
                };
                if sender.send(Ok(list)).await.is_err() || problems.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// An agent that does what the text says: `hold` and `break` wait for `released`, `tool` calls one, everything else is
/// said back.
pub struct FakeAgent {
    class: Class,
    /// Turn ids, each time one is asked for.
    pub asked: watch::Sender<Vec<String>>,
    /// Texts in the order in which they were worked on, each once.
    pub worked: Mutex<Vec<String>>,
    /// What was asked last.
    pub last: Mutex<Option<v1::RunRequest>>,
    /// All that was asked.
    pub runs: Mutex<Vec<v1::RunRequest>>,
    /// All that was put into running turns.
    pub steers: Mutex<Vec<v1::SteerRequest>>,
    /// Message ids that were put into running turns, with their texts.
    pub steered: watch::Sender<Vec<(String, String)>>,
    pub released: watch::Sender<bool>,
    cancelled: watch::Sender<HashSet<String>>,
    answered: Mutex<HashMap<String, Event>>,
}

impl FakeAgent {
    pub fn new(class: Class) -> Arc<Self> {
        Arc::new(Self {
            class,
            asked: watch::Sender::default(),
            worked: Mutex::default(),
            last: Mutex::default(),
            runs: Mutex::default(),
            steers: Mutex::default(),
            steered: watch::Sender::default(),
            released: watch::Sender::default(),
            cancelled: watch::Sender::default(),
            answered: Mutex::default(),
        })
    }

    pub fn router(self: &Arc<Self>) -> Router {
        Router::new().add(AgentServer::new(AgentService(Arc::clone(self))))
    }

    /// Waits until turns were asked for so many times.
    pub async fn asked_times(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        asked.wait_for(|ids| ids.len() >= times).await.unwrap();
    }

    fn answer(&self, turn: &str, text: &str, end: Event) -> Event {
        let mut answered = self.answered.lock().unwrap();
        if !answered.contains_key(turn) {
            self.worked.lock().unwrap().push(text.to_owned());
        }
        answered.entry(turn.to_owned()).or_insert(end).clone()
    }
}

struct AgentService(Arc<FakeAgent>);

fn tool_call() -> [Event; 2] {
    let (call_id, tool) = ("call-1".to_owned(), "exec".to_owned());
    [
        Event::ToolStarted(v1::ToolStarted {
            call_id: call_id.clone(),
            tool: tool.clone(),
            summary: "ls".into(),
        }),
        Event::ToolFinished(v1::ToolFinished {
            call_id,
            tool,
            is_error: true,
            summary: "no such place".into(),
        }),
    ]
}

fn delta(text: &str) -> Event {
    Event::Delta(v1::TextDelta { text: text.into() })
}

#[tonic::async_trait]
impl Agent for AgentService {
    type RunStream = ReceiverStream<Result<v1::RunEvent, Status>>;

    async fn run(
        &self,
        request: Request<v1::RunRequest>,
    ) -> Result<Response<Self::RunStream>, Status> {
        let request = request.into_inner();
        *self.0.last.lock().unwrap() = Some(request.clone());
        self.0.runs.lock().unwrap().push(request.clone());
        let v1::RunRequest {
            turn_id,
            handle,
            text,
            ..
        } = request;
        assert!(handle.starts_with("handle-"));
        let agent = Arc::clone(&self.0);
        agent.asked.send_modify(|ids| ids.push(turn_id.clone()));
        if text == "refuse" {
            return Err(Status::permission_denied("the handle has expired"));
        }
        if text == "fault" {
            return Err(Status::internal("a bug"));
        }
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(async move {
            let send = |event| {
                let sender = sender.clone();
                async move {
                    let _ = sender.send(Ok(v1::RunEvent { event: Some(event) })).await;
                }
            };
            let answer = |text: &str| {
                Event::Answer(v1::Answer {
                    text: text.into(),
                    model: "builtin/guide".into(),
                    usage: Some(v1::Usage {
                        input_tokens: 1,
                        output_tokens: 2,
                        ..Default::default()
                    }),
                    ..Default::default()
                })
            };
            if text == "hold" {
                send(delta("half ")).await;
                let (mut released, mut cancelled) =
                    (agent.released.subscribe(), agent.cancelled.subscribe());
                let stopped = tokio::select! {
                    _ = released.wait_for(|yes| *yes) => false,
                    _ = cancelled.wait_for(|ids| ids.contains(&turn_id)) => true,
                };
                let end = match stopped {
                    false => match answer("half done") {
                        Event::Answer(mut end) => {
                            let steered = agent.steered.borrow();
                            let absorbed = steered.iter().filter(|(_, text)| text != "late");
                            end.absorbed = absorbed.map(|(id, _)| id.clone()).collect();
                            Event::Answer(end)
                        }
                        other => other,
                    },
                    true => Event::Failed(v1::Failed {
                        code: "turn.stopped".into(),
                        message: "Stopped, in the agent's own words.".into(),
                    }),
                };
                send(agent.answer(&turn_id, &text, end)).await;
            } else if text == "silent" {
                let end = Event::Answer(v1::Answer {
                    silent: true,
                    ..Default::default()
                });
                send(agent.answer(&turn_id, &text, end)).await;
            } else if text == "quote" {
                let end = Event::Answer(v1::Answer {
                    text: "quoted".into(),
                    reply_to: "current".into(),
                    ..Default::default()
                });
                send(agent.answer(&turn_id, &text, end)).await;
            } else {
                send(delta(&text)).await;
                if text == "tool" {
                    for event in tool_call() {
                        send(event).await;
                    }
                }
                send(agent.answer(&turn_id, &text, answer(&text))).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelRequest>,
    ) -> Result<Response<v1::CancelReply>, Status> {
        let id = request.into_inner().turn_id;
        self.0.cancelled.send_modify(|ids| {
            ids.insert(id);
        });
        Ok(Response::new(v1::CancelReply { cancelled: true }))
    }

    async fn steer(
        &self,
        request: Request<v1::SteerRequest>,
    ) -> Result<Response<v1::SteerReply>, Status> {
        let request = request.into_inner();
        self.0.steers.lock().unwrap().push(request.clone());
        let v1::SteerRequest {
            message_id, text, ..
        } = request;
        self.0.steered.send_modify(|all| {
            if all.iter().all(|(id, _)| *id != message_id) {
                all.push((message_id, text));
            }
        });
        Ok(Response::new(v1::SteerReply { taken: true }))
    }

    async fn history(
        &self,
        request: Request<v1::AgentHistoryRequest>,
    ) -> Result<Response<v1::HistoryReply>, Status> {
        let entry = v1::HistoryEntry {
            role: "user".into(),
            text: request.into_inner().handle,
            at_ms: 7,
            turn_id: "t".into(),
        };
        Ok(Response::new(v1::HistoryReply {
            entries: vec![entry],
        }))
    }

    async fn list_sessions(
        &self,
        _: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsReply>, Status> {
        let session = v1::SessionSummary {
            session_key: format!("agent:main:{}", self.0.class),
            class: self.0.class.to_string(),
            updated_at_ms: match self.0.class {
                Class::Main => 1,
                Class::Guest => 2,
            },
            ..Default::default()
        };
        Ok(Response::new(v1::ListSessionsReply {
            sessions: vec![session],
        }))
    }
}

/// Everything of a gateway.
pub struct World {
    pub policy: Arc<FakePolicy>,
    pub agent: Arc<FakeAgent>,
    pub link: Link,
    pub front: Front,
    pub address: SocketAddr,
    pub operator: ChatClient<Edge>,
    pub worker: ChannelDeskClient<Edge>,
    /// The agent of everybody but the owner.
    pub guest: Arc<FakeAgent>,
    pub config: watch::Sender<Option<Arc<v1::Snapshot>>>,
    pub listeners: watch::Sender<Vec<Arc<Listener>>>,
    pub over: watch::Sender<bool>,
}

pub fn snapshot(change: impl FnOnce(&mut v1::GatewaySlice)) -> Option<Arc<v1::Snapshot>> {
    let mut slice = v1::GatewaySlice {
        allowed_origins: vec!["https://chat.example.org".into()],
        allowed_hosts: vec!["chat.example.org".into()],
        auth_mode: "token".into(),
        max_concurrent: 4,
        ..Default::default()
    };
    change(&mut slice);
    Some(Arc::new(v1::Snapshot {
        revision: 1,
        slice: Some(Slice::Gateway(slice)),
        ..v1::Snapshot::default()
    }))
}

pub async fn listener() -> Arc<Listener> {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    Arc::new(Listener { address, socket })
}

impl World {
    /// A gateway over the queue in `dir`, with an agent that works.
    pub async fn open(dir: &std::path::Path) -> Self {
        Self::with_agent(dir, FakeAgent::new(Class::Main)).await
    }

    /// The same with this agent, which may have worked before.
    pub async fn with_agent(dir: &std::path::Path, agent: Arc<FakeAgent>) -> Self {
        Self::with_rules(dir, agent, v1::GatewaySlice::default()).await
    }

    /// The same with what this slice says about channels.
    pub async fn with_rules(
        dir: &std::path::Path,
        agent: Arc<FakeAgent>,
        rules: v1::GatewaySlice,
    ) -> Self {
        let gateway = Role::parse("gateway").unwrap();
        let role = |name: &str| Role::parse(name).unwrap();
        let policy = Arc::new(FakePolicy::default());
        let router = Router::new()
            .add(AccessServer::new(PolicyService(Arc::clone(&policy))))
            .add(ProblemsServer::new(PolicyService(Arc::clone(&policy))));
        let policy_edge = connect(&gateway, &role("policy"), router).unwrap();
        let link = Link::new(&gateway, &role("agent-main"));
        link.reconnect(agent.router()).await.unwrap();
        let guest = FakeAgent::new(Class::Guest);
        let guest_edge = connect(&gateway, &role("agent-guest"), guest.router()).unwrap();
        let agents = Agents {
            main: link.edge(),
            guest: guest_edge,
        };

        let queue = Queue::start(Store::open(dir).unwrap(), Pulse::default()).unwrap();
        let channels = Channels::new(queue.clone());
        let turns = Turns::new(queue, agents.clone(), channels.clone());
        let listener = listener().await;
        let address = listener.address;
        let config = watch::Sender::new(snapshot(|_| {}));
        let listeners = watch::Sender::new(vec![listener]);
        let over = watch::Sender::new(false);
        let feeds = Feeds {
            config: config.subscribe(),
            listeners: listeners.subscribe(),
            over: over.subscribe(),
        };
        let front = Front::new(
            Desk::new(
                turns.clone(),
                policy_edge.clone(),
                agents,
                problems::follow(policy_edge.clone()),
            ),
            policy_edge.clone(),
            feeds,
        );
        channels.resume().await.unwrap();
        turns.resume().await.unwrap();
        turns.set_manners(Manners::of(&rules));
        let times = turns.clone();
        tokio::spawn(async move { times.keep_time().await });
        let door = front.clone();
        tokio::spawn(async move { door.open().await });
        let router = Router::new().add(ChatServer::new(Operator::new(front.clone())));
        let operator = connect(&role("operator"), &gateway, router).unwrap();
        let desk = channels::Desk::new(turns, policy_edge);
        let router = Router::new().add(ChannelDeskServer::new(desk));
        let worker = connect(&role("channel-telegram"), &gateway, router).unwrap();
        Self {
            policy,
            agent,
            link,
            front,
            address,
            operator: ChatClient::new(operator),
            worker: ChannelDeskClient::new(worker),
            guest,
            config,
            listeners,
            over,
        }
    }
}

//! One agent with everything around it. The test plays the model by hand: each request arrives in a channel.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use clawdbot_identity::{Class, InstanceName, Role};
use clawdbot_proto::v1::agent_client::AgentClient;
use clawdbot_proto::v1::agent_server::AgentServer;
use clawdbot_proto::v1::executor_server::{Executor, ExecutorServer};
use clawdbot_proto::v1::model_server::{Model, ModelServer};
use clawdbot_proto::v1::run_event::Event;
use clawdbot_proto::v1::sessions_server::{Sessions as Policy, SessionsServer};
use clawdbot_proto::v1::{
    self, ModelErrorClass, Snapshot, StopReason, generate_event, snapshot::Slice,
};
use clawdbot_service::testing::{self, Link};
use clawdbot_service::{Edge, Pulse, Pulses, Router};
use futures_util::stream::{self, Stream};
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status, Streaming};

use crate::agent::Agent;
use crate::disk::Disk;
use crate::index::Index;
use crate::peers::Peers;
use crate::service::Service;
use crate::sessions::Sessions;
use crate::syncs::Syncs;
use crate::world::tests::Counting;

type Events = std::pin::Pin<Box<dyn Stream<Item = Result<v1::GenerateEvent, Status>> + Send>>;
type Replies = mpsc::UnboundedSender<Result<v1::GenerateEvent, Status>>;

/// Handles say what they stand for: `CLASS_NAME` is the session NAME, `approved_NAME` the same of somebody who is not the
/// owner, `undecided` has no answer, `denied` is refused.
struct FakePolicy;

#[tonic::async_trait]
impl Policy for FakePolicy {
    async fn resolve(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Result<Response<v1::Session>, Status> {
        let handle = request.into_inner().handle;
        if handle == "undecided" {
            return Err(Status::permission_denied(
                "config.none: the configuration is broken",
            ));
        }
        let Some((class, name)) = handle.split_once('_') else {
            return Err(Status::permission_denied(
                "session.expired: the handle is too old",
            ));
        };
        let standing = match class {
            "approved" => "approved",
            _ => "owner",
        };
        let class = match class {
            "guest" => v1::Class::Guest,
            _ => v1::Class::Main,
        };
        Ok(Response::new(v1::Session {
            session_key: format!("agent:main:{name}"),
            agent_id: "main".into(),
            class: class.into(),
            standing: standing.into(),
            ..v1::Session::default()
        }))
    }
}

#[derive(Clone)]
struct FakeModel(mpsc::UnboundedSender<Asked>, &'static str);

/// The providers that run.
const PROVIDERS: [&str; 2] = ["builtin", "backup"];

/// A request to the model, and the way to answer it.
pub struct Asked {
    pub request: v1::GenerateRequest,
    pub provider: &'static str,
    replies: Replies,
}

impl Asked {
    pub fn event(&self, event: generate_event::Event) {
        // The agent may have gone away, which is what some tests are about.
        let _ = self
            .replies
            .send(Ok(v1::GenerateEvent { event: Some(event) }));
    }

    pub fn text(&self, text: &str) {
        self.event(generate_event::Event::Text(v1::TextDelta {
            text: text.into(),
        }));
    }

    pub fn call(&self, id: &str, arguments: &str) {
        self.event(generate_event::Event::ToolCall(v1::ToolCall {
            id: id.into(),
            name: "session_status".into(),
            arguments_json: arguments.into(),
        }));
    }

    pub fn used(&self, input: u64, output: u64) {
        self.event(generate_event::Event::Usage(v1::Usage {
            input_tokens: input,
            output_tokens: output,
            ..v1::Usage::default()
        }));
    }

    pub fn fail(self, class: ModelErrorClass, message: &str) {
        self.event(generate_event::Event::Error(v1::ModelError {
            class: class.into(),
            message: message.into(),
            ..v1::ModelError::default()
        }));
    }

    pub fn stop(self, reason: StopReason) {
        self.used(2, 3);
        self.event(generate_event::Event::Stop(v1::Stop {
            reason: reason.into(),
        }));
    }

    pub fn answer(self, text: &str) {
        self.text(text);
        self.stop(StopReason::End);
    }

    /// The texts of all messages, in order.
    pub fn texts(&self) -> Vec<&str> {
        use v1::model_message::Message;
        let texts =
            self.request
                .messages
                .iter()
                .map(|message| match message.message.as_ref().unwrap() {
                    Message::User(user) => user.text.as_str(),
                    Message::Assistant(said) => said.text.as_str(),
                    Message::ToolResult(result) => result.output.as_str(),
                });
        texts.collect()
    }
}

#[tonic::async_trait]
impl Model for FakeModel {
    type GenerateStream = Events;

    async fn generate(
        &self,
        request: Request<v1::GenerateRequest>,
    ) -> Result<Response<Events>, Status> {
        let (replies, events) = mpsc::unbounded_channel();
        let request = request.into_inner();
        self.0
            .send(Asked {
                request,
                provider: self.1,
                replies,
            })
            .map_err(|_| Status::internal("the test is over"))?;
        let events = stream::unfold(events, |mut events| async {
            Some((events.recv().await?, events))
        });
        Ok(Response::new(Box::pin(events)))
    }
}

/// Answers every call but the one that is held, and keeps what it was asked.
#[derive(Clone)]
struct FakeExecutor {
    invoked: mpsc::UnboundedSender<()>,
    calls: Arc<Mutex<Vec<v1::InvokeRequest>>>,
    lists: Arc<Mutex<u32>>,
    held: watch::Receiver<&'static str>,
    output: Arc<Mutex<Option<String>>>,
}

#[tonic::async_trait]
impl Executor for FakeExecutor {
    async fn list_tools(
        &self,
        _: Request<v1::ListToolsRequest>,
    ) -> Result<Response<v1::ListToolsReply>, Status> {
        *self.lists.lock().unwrap() += 1;
        let tools = ["session_status", "clock"].map(|name| v1::ToolSpec {
            name: name.into(),
            ..Default::default()
        });
        let tools = tools.into();
        Ok(Response::new(v1::ListToolsReply { tools }))
    }

    async fn invoke(
        &self,
        request: Request<v1::InvokeRequest>,
    ) -> Result<Response<v1::InvokeReply>, Status> {
        let request = request.into_inner();
        let output = self.output.lock().unwrap().clone();
        let output = output.unwrap_or_else(|| format!("ran {}", request.call_id));
        let id = request.call_id.clone();
        self.calls.lock().unwrap().push(request);
        self.invoked.send(()).unwrap();
        let mut held = self.held.clone();
        held.wait_for(|held| *held != id).await.unwrap();
        Ok(Response::new(v1::InvokeReply {
            output,
            ..Default::default()
        }))
    }
}

/// The folders of an agent, and whoever it talks with.
pub struct Rig {
    pub home: tempfile::TempDir,
    links: Arc<HashMap<Role, Link>>,
    requests: mpsc::UnboundedReceiver<Asked>,
    model: mpsc::UnboundedSender<Asked>,
    executor: FakeExecutor,
    invocations: mpsc::UnboundedReceiver<()>,
    /// The call that does not come back.
    pub held: watch::Sender<&'static str>,
    world: Arc<Counting>,
    pub config: watch::Sender<Option<Arc<Snapshot>>>,
}

pub fn slice() -> v1::AgentSlice {
    v1::AgentSlice {
        agents: vec![v1::AgentProfile {
            id: "main".into(),
            model: "builtin/guide".into(),
            ..Default::default()
        }],
        default_agent: "main".into(),
        providers: PROVIDERS.map(Into::into).into(),
        ..Default::default()
    }
}

pub fn snapshot(slice: v1::AgentSlice) -> Option<Arc<Snapshot>> {
    Some(Arc::new(Snapshot {
        revision: 1,
        slice: Some(Slice::Agent(slice)),
        ..Snapshot::default()
    }))
}

fn model_role(provider: &str) -> Role {
    Role::model(&InstanceName::parse(provider).unwrap())
}

impl Rig {
    pub async fn new() -> Self {
        let me = Role::agent(Class::Main);
        let (sender, requests) = mpsc::unbounded_channel();
        let (invoked, invocations) = mpsc::unbounded_channel();
        let held = watch::Sender::new("");
        let executor = FakeExecutor {
            invoked,
            calls: Arc::default(),
            lists: Arc::default(),
            held: held.subscribe(),
            output: Arc::default(),
        };
        let models = PROVIDERS.map(|provider| {
            let model = FakeModel(sender.clone(), provider);
            (
                model_role(provider),
                Router::new().add(ModelServer::new(model)),
            )
        });
        let routers = [
            (
                Role::policy(),
                Router::new().add(SessionsServer::new(FakePolicy)),
            ),
            (
                Role::executor(),
                Router::new().add(ExecutorServer::new(executor.clone())),
            ),
        ];
        let routers = routers.into_iter().chain(models);
        let mut links = HashMap::new();
        for (role, router) in routers {
            let link = Link::new(&me, &role);
            link.reconnect(router).await.unwrap();
            links.insert(role, link);
        }
        Self {
            home: tempfile::tempdir().unwrap(),
            links: Arc::new(links),
            requests,
            model: sender,
            executor,
            invocations,
            held,
            world: Arc::default(),
            config: watch::Sender::new(snapshot(slice())),
        }
    }

    pub fn folder(&self) -> PathBuf {
        self.home.path().join("sessions")
    }

    /// Starts the agent on the folders as they are; the one before, if any, is gone with its edges and tasks.
    pub async fn start(&self) -> Running {
        std::fs::create_dir_all(self.folder()).unwrap();
        let (folder, workspace) = (self.folder(), self.home.path().join("clawd"));
        let (config, links) = (self.config.subscribe(), Arc::clone(&self.links));
        let edges = Box::new(move |role: &Role| -> Edge { links[role].edge() });
        let index = Index::load(&folder).unwrap();
        let start_disk = || Disk::start(Pulse::default()).unwrap();
        let disk = start_disk();
        let disks = [disk.clone(), start_disk()];
        let syncs = Syncs::start(&Pulses::default()).unwrap();
        let peers = Peers::new(Class::Main, config, edges);
        let sessions = Sessions::new(
            &folder,
            Class::Main,
            index,
            disks,
            syncs,
            self.world.clone(),
        );
        let agent = Agent::new(peers, sessions, vec![workspace]);
        let router = Router::new().add(AgentServer::new(Service(Arc::clone(&agent))));
        let edge = testing::connect(&Role::gateway(), &Role::agent(Class::Main), router).unwrap();
        Running {
            agent,
            disk,
            client: AgentClient::new(edge),
        }
    }

    /// The next request to the model.
    pub async fn asked(&mut self) -> Asked {
        self.requests.recv().await.unwrap()
    }

    /// Whether the model was not asked beyond what the test has seen.
    pub fn nothing_asked(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }

    /// The model worker dies, and a new one takes its place.
    pub async fn restart_model(&self) {
        let model = FakeModel(self.model.clone(), PROVIDERS[0]);
        let router = Router::new().add(ModelServer::new(model));
        let link = &self.links[&model_role(PROVIDERS[0])];
        link.reconnect(router).await.unwrap();
    }

    pub fn invoked(&self) -> Vec<v1::InvokeRequest> {
        self.executor.calls.lock().unwrap().clone()
    }

    /// Waits until a tool is being run.
    pub async fn invoking(&mut self) {
        self.invocations.recv().await.unwrap();
    }

    /// What tools return from here on.
    pub fn output(&self, text: &str) {
        *self.executor.output.lock().unwrap() = Some(text.into());
    }

    /// How often the executor was asked which tools there are.
    pub fn lists(&self) -> u32 {
        *self.executor.lists.lock().unwrap()
    }

    /// Changes the configuration.
    pub fn configure(&self, change: impl FnOnce(&mut v1::AgentSlice)) {
        let mut slice = slice();
        change(&mut slice);
        self.config.send_replace(snapshot(slice));
    }

    /// All lines of all transcripts with this ending.
    pub fn lines(&self, ending: &str) -> Vec<serde_json::Value> {
        let mut lines = Vec::new();
        for file in std::fs::read_dir(self.folder()).unwrap() {
            let path = file.unwrap().path();
            if path.to_str().unwrap().contains(ending) {
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(text.ends_with('\n'), "complete lines only");
                lines.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()));
            }
        }
        lines
    }

    /// Bytes of all transcripts.
    pub fn size(&self) -> u64 {
        let files = std::fs::read_dir(self.folder()).unwrap();
        let lengths = files.map(|file| file.unwrap().path());
        lengths
            .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
            .map(|path| std::fs::metadata(path).unwrap().len())
            .sum()
    }

    /// Makes what stands in the transcript unreadable without changing its length.
    pub fn blank(&self) {
        let path = self.transcript();
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::write(&path, vec![b' '; usize::try_from(length).unwrap()]).unwrap();
    }

    /// The one transcript that there is.
    pub fn transcript(&self) -> PathBuf {
        let files = std::fs::read_dir(self.folder())
            .unwrap()
            .map(|file| file.unwrap().path());
        let mut files: Vec<_> = files
            .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
            .collect();
        assert_eq!(files.len(), 1);
        files.remove(0)
    }
}

/// An agent that runs.
#[derive(Clone)]
pub struct Running {
    pub agent: Arc<Agent>,
    /// What serves turns.
    pub disk: Disk,
    pub client: AgentClient<Edge>,
}

impl Running {
    pub async fn run(&self, turn: &str, handle: &str, text: &str) -> Streaming<v1::RunEvent> {
        self.try_run(turn, handle, text).await.unwrap()
    }

    pub async fn try_run(
        &self,
        turn: &str,
        handle: &str,
        text: &str,
    ) -> Result<Streaming<v1::RunEvent>, Status> {
        self.request(v1::RunRequest {
            turn_id: turn.into(),
            handle: handle.into(),
            text: text.into(),
            ..v1::RunRequest::default()
        })
        .await
    }

    pub async fn request(
        &self,
        request: v1::RunRequest,
    ) -> Result<Streaming<v1::RunEvent>, Status> {
        Ok(self.client.clone().run(request).await?.into_inner())
    }

    /// Steers a running turn; says whether that was taken.
    pub async fn steer(&self, turn: &str, message: &str, text: &str) -> bool {
        let request = v1::SteerRequest {
            turn_id: turn.into(),
            message_id: message.into(),
            text: text.into(),
        };
        let reply = self.client.clone().steer(request).await;
        reply.unwrap().into_inner().taken
    }

    pub async fn cancel(&self, turn: &str) -> bool {
        let request = v1::CancelRequest {
            turn_id: turn.into(),
        };
        self.client
            .clone()
            .cancel(request)
            .await
            .unwrap()
            .into_inner()
            .cancelled
    }

    /// Runs a turn that needs no model and returns its answer.
    pub async fn command(&self, turn: &str, text: &str) -> String {
        answer(self.run(turn, "main_main", text).await).await.text
    }
}

pub async fn next(stream: &mut Streaming<v1::RunEvent>) -> Event {
    stream.message().await.unwrap().unwrap().event.unwrap()
}

pub async fn all(mut stream: Streaming<v1::RunEvent>) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(event) = stream.message().await.unwrap() {
        events.push(event.event.unwrap());
    }
    events
}

pub async fn answer(stream: Streaming<v1::RunEvent>) -> v1::Answer {
    match all(stream).await.pop() {
        Some(Event::Answer(answer)) => answer,
        other => panic!("no answer: {other:?}"),
    }
}

pub async fn failure(stream: Streaming<v1::RunEvent>) -> v1::Failed {
    match all(stream).await.pop() {
        Some(Event::Failed(failed)) => failed,
        other => panic!("no failure: {other:?}"),
    }
}

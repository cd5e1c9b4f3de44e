//! The real program under its own landlock rules and seccomp filter: everything that a turn needs is permitted, up to the
//! list of sessions that it writes when it ends. As root this is not tried, since the program refuses to be root.

// Helpers outside of #[test] functions may fail like these do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use clawdbot_confine::frame;
use clawdbot_confine::spawn::{Exit, Leash, Program, spawn};
use clawdbot_identity::{Class, InstanceName, Role};
use clawdbot_proto::v1::agent_client::AgentClient;
use clawdbot_proto::v1::config_server::{Config, ConfigServer};
use clawdbot_proto::v1::control_frame::Frame;
use clawdbot_proto::v1::executor_server::{Executor, ExecutorServer};
use clawdbot_proto::v1::model_server::{Model, ModelServer};
use clawdbot_proto::v1::sessions_server::{Sessions, SessionsServer};
use clawdbot_proto::v1::{self, generate_event, run_event, snapshot};
use clawdbot_service::{Edge, Router, serve_stream};
use futures_util::stream::{self, Stream};
use prost::Message as _;
use tonic::{Request, Response, Status};

struct Fake;

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Config for Fake {
    type WatchStream = Events<v1::Snapshot>;

    async fn watch(
        &self,
        _: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let profile = v1::AgentProfile {
            id: "main".into(),
            model: "builtin/guide".into(),
            ..Default::default()
        };
        let slice = v1::AgentSlice {
            agents: vec![profile],
            providers: vec!["builtin".into()],
            ..Default::default()
        };
        let snapshot = v1::Snapshot {
            revision: 1,
            slice: Some(snapshot::Slice::Agent(slice)),
            ..v1::Snapshot::default()
        };
        let once = stream::once(async { Ok(snapshot) });
        let open = stream::StreamExt::chain(once, stream::pending());
        Ok(Response::new(Box::pin(open)))
    }
}

#[tonic::async_trait]
impl Sessions for Fake {
    async fn resolve(
        &self,
        _: Request<v1::ResolveRequest>,
    ) -> Result<Response<v1::Session>, Status> {
        Ok(Response::new(v1::Session {
            session_key: "agent:main:main".into(),
            agent_id: "main".into(),
            class: v1::Class::Main.into(),
            standing: "owner".into(),
            ..v1::Session::default()
        }))
    }
}

#[tonic::async_trait]
impl Model for Fake {
    type GenerateStream = Events<v1::GenerateEvent>;

    /// Answers with the system text.
    async fn generate(
        &self,
        request: Request<v1::GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        let text = request.into_inner().system;
        let stop = v1::Stop {
            reason: v1::StopReason::End.into(),
        };
        let events = [
            generate_event::Event::Text(v1::TextDelta { text }),
            generate_event::Event::Stop(stop),
        ];
        let events = events.map(|event| Ok(v1::GenerateEvent { event: Some(event) }));
        Ok(Response::new(Box::pin(stream::iter(events))))
    }
}

#[tonic::async_trait]
impl Executor for Fake {
    async fn list_tools(
        &self,
        _: Request<v1::ListToolsRequest>,
    ) -> Result<Response<v1::ListToolsReply>, Status> {
        Ok(Response::new(v1::ListToolsReply::default()))
    }

    async fn invoke(
        &self,
        _: Request<v1::InvokeRequest>,
    ) -> Result<Response<v1::InvokeReply>, Status> {
        Err(Status::unimplemented("no tools here"))
    }
}

/// The supervisor's end of a child's control descriptor.
struct Control(UnixStream);

impl Control {
    fn send(&self, frame: Frame, fd: Option<BorrowedFd<'_>>) {
        let payload = v1::ControlFrame { frame: Some(frame) }.encode_to_vec();
        let fds: Vec<_> = fd.into_iter().collect();
        frame::send(&self.0, &payload, &fds).unwrap();
    }

    fn hand_over(&self, what: v1::descriptor::What, fd: impl AsFd) {
        let what = v1::Descriptor { what: Some(what) };
        self.send(Frame::Descriptor(what), Some(fd.as_fd()));
    }

    /// Gives the child a way to call `server`, which the test answers.
    fn serve(&self, server: &Role, router: Router) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.hand_over(v1::descriptor::What::Calls(server.to_string()), &theirs);
        ours.set_nonblocking(true).unwrap();
        let ours = tokio::net::UnixStream::from_std(ours).unwrap();
        let me = Role::agent(Class::Main);
        tokio::spawn(serve_stream(ours, me, server.clone(), router));
    }
}

async fn ask(client: &mut AgentClient<Edge>, turn: &str, text: &str) -> String {
    let request = v1::RunRequest {
        turn_id: turn.into(),
        handle: "h".into(),
        text: text.into(),
        ..v1::RunRequest::default()
    };
    let mut stream = client.run(request).await.unwrap().into_inner();
    let mut last = None;
    while let Some(event) = stream.message().await.unwrap() {
        last = event.event;
    }
    match last {
        Some(run_event::Event::Answer(answer)) => answer.text,
        other => panic!("no answer: {other:?}"),
    }
}

fn count(folder: &Path, part: &str) -> usize {
    let names = std::fs::read_dir(folder).unwrap();
    names
        .filter(|file| {
            file.as_ref()
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .contains(part)
        })
        .count()
}

#[tokio::test]
async fn the_confined_program_can_do_all_that_a_turn_needs() {
    if rustix::process::geteuid().is_root() {
        println!("not tried as root: the program refuses to be root");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".clawdbot");
    std::fs::create_dir(&state).unwrap();
    let folder = home.path().join("clawd");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("SOUL.md"), "You are a lobster.").unwrap();
    std::fs::write(home.path().join("secret"), "not for the model").unwrap();
    std::os::unix::fs::symlink(home.path().join("secret"), folder.join("USER.md")).unwrap();

    let built = std::env::var("CARGO_BIN_EXE_clawdbot-agent").unwrap();
    let program = Program::open(Path::new(&built)).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut log, log_end) = std::io::pipe().unwrap();
    let log_end = OwnedFd::from(log_end);
    let argv = ["clawdbot-agent", "main"];
    let mut child = spawn(&program, &argv, theirs.into(), log_end, Leash::Parent).unwrap();

    let control = Control(ours);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let setup = v1::Setup {
        role: "agent-main".into(),
        state_dir: text(&state),
        config_path: text(&state.join("clawdbot.json")),
        home_dir: text(home.path()),
        log_level: "info".into(),
        ..Default::default()
    };
    control.send(Frame::Setup(setup), None);
    let policy = Router::new()
        .add(ConfigServer::new(Fake))
        .add(SessionsServer::new(Fake));
    control.serve(&Role::policy(), policy);
    let model = Role::model(&InstanceName::parse("builtin").unwrap());
    control.serve(&model, Router::new().add(ModelServer::new(Fake)));
    control.serve(
        &Role::executor(),
        Router::new().add(ExecutorServer::new(Fake)),
    );
    let front = home.path().join("front.sock");
    let socket = UnixListener::bind(&front).unwrap();
    control.hand_over(v1::descriptor::What::Accepts("gateway".into()), &socket);
    control.send(Frame::SetupDone(v1::SetupDone {}), None);

    let me = Role::agent(Class::Main);
    let edge = Edge::to_path(front, Role::gateway(), me, Duration::from_secs(10));
    let mut client = AgentClient::new(edge);
    let system = ask(&mut client, "t1", "hello").await;
    assert!(
        system.contains("You are a lobster."),
        "the workspace is readable: {system}"
    );
    assert!(
        !system.contains("not for the model"),
        "and nothing outside of it"
    );
    assert!(ask(&mut client, "t2", "/new").await.contains("new session"));
    assert_eq!(ask(&mut client, "t3", "hello").await, system);
    let sessions = state.join("sessions/main");
    assert_eq!(
        (
            count(&sessions, ".jsonl"),
            count(&sessions, ".jsonl.reset.")
        ),
        (2, 1)
    );

    control.send(Frame::Shutdown(v1::Shutdown {}), None);
    let exit = tokio::task::spawn_blocking(move || child.wait().unwrap())
        .await
        .unwrap();
    let mut said = String::new();
    log.read_to_string(&mut said).unwrap();
    assert_eq!(exit, Exit::Code(0), "{said}");
    assert_eq!(count(&sessions, "sessions.json"), 1, "{said}");
    assert!(said.contains("confined"), "{said}");
}

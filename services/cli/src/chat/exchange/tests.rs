//! The exchange against a gateway on a real socket that dies, comes back and remembers what it has accepted.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use clawdbot_identity::Role;
use clawdbot_proto::v1::chat_event::Event;
use clawdbot_proto::v1::chat_server::{Chat, ChatServer};
use clawdbot_proto::v1::{
    Accepted, Answer, Failed, GatewayStatus, GatewayStatusRequest, HistoryReply, HistoryRequest,
    ListSessionsReply, ListSessionsRequest, Restarted, StopReply, TextDelta,
};
use clawdbot_service::{Router, serve_stream};
use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tonic::{Request, Response};

use super::*;

/// What one stream says after "accepted".
#[derive(Clone)]
enum Script {
    /// These events, the last of them an end.
    Whole(Vec<Event>),
    /// These events, and then nothing more.
    Hang(Vec<Event>),
    /// This status instead of a stream.
    Refuse(Status),
    /// These events, then nothing until somebody stops the turn, then a failure that says so.
    UntilStopped(Vec<Event>),
}

/// What survives a crash, as the inbox does.
#[derive(Default)]
struct Disk {
    scripts: VecDeque<Script>,
    /// How often each message id was sent.
    sent: BTreeMap<String, u32>,
    stops: u32,
}

#[derive(Clone)]
struct Gateway {
    disk: Arc<Mutex<Disk>>,
    stopped: Arc<Notify>,
}

type Stream = Pin<Box<dyn futures_util::Stream<Item = Result<ChatEvent, Status>> + Send>>;

fn delta(text: &str) -> Event {
    Event::Delta(TextDelta { text: text.into() })
}

fn answer(text: &str) -> Event {
    Event::Answer(Answer {
        text: text.into(),
        model: "m".into(),
        ..Answer::default()
    })
}

fn failed(code: &str) -> Event {
    Event::Failed(Failed {
        code: code.into(),
        message: "because".into(),
    })
}

#[tonic::async_trait]
impl Chat for Gateway {
    type SendStream = Stream;

    async fn send(&self, request: Request<SendRequest>) -> Result<Response<Stream>, Status> {
        let id = request.into_inner().message_id;
        let (script, known) = {
            let mut disk = self.disk.lock().unwrap();
            let times = disk.sent.entry(id.clone()).or_default();
            *times += 1;
            let known = *times > 1;
            (
                disk.scripts
                    .pop_front()
                    .expect("no more streams were expected"),
                known,
            )
        };
        let (sender, receiver) = mpsc::unbounded_channel();
        let say = |event| sender.send(Ok(ChatEvent { event: Some(event) })).unwrap();
        if let Script::Refuse(status) = script {
            return Err(status);
        }
        say(Event::Accepted(Accepted {
            message_id: id,
            known,
            ahead: 0,
        }));
        match script {
            Script::Refuse(_) => {}
            Script::Whole(events) => events.into_iter().for_each(say),
            Script::Hang(events) => {
                events.into_iter().for_each(say);
                tokio::spawn(async move { sender.closed().await });
            }
            Script::UntilStopped(events) => {
                events.into_iter().for_each(say);
                let stopped = Arc::clone(&self.stopped);
                tokio::spawn(async move {
                    stopped.notified().await;
                    let end = ChatEvent {
                        event: Some(failed("turn.stopped")),
                    };
                    sender.send(Ok(end)).unwrap();
                });
            }
        }
        let stream = futures_util::stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|event| (event, receiver))
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn stop(&self, _: Request<StopRequest>) -> Result<Response<StopReply>, Status> {
        self.disk.lock().unwrap().stops += 1;
        self.stopped.notify_one();
        Ok(Response::new(StopReply { stopped: 1 }))
    }

    async fn history(&self, _: Request<HistoryRequest>) -> Result<Response<HistoryReply>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn list_sessions(
        &self,
        _: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsReply>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn status(
        &self,
        _: Request<GatewayStatusRequest>,
    ) -> Result<Response<GatewayStatus>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }
}

/// A gateway process: aborting it closes every connection at once.
fn start(state: &Path, gateway: &Gateway) -> JoinHandle<()> {
    let path = state.join("run/gateway.sock");
    std::fs::create_dir_all(state.join("run")).unwrap();
    let _left_over = std::fs::remove_file(&path);
    let listener = UnixListener::bind(path).unwrap();
    let router = Router::new().add(ChatServer::new(gateway.clone()));
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let role = |name| Role::parse(name).unwrap();
            connections.spawn(serve_stream(
                stream,
                role("operator"),
                role("gateway"),
                router.clone(),
            ));
        }
    })
}

struct Rig {
    state: tempfile::TempDir,
    gateway: Gateway,
    running: JoinHandle<()>,
}

impl Rig {
    fn new(scripts: impl IntoIterator<Item = Script>) -> Self {
        let state = tempfile::tempdir().unwrap();
        let disk = Disk {
            scripts: scripts.into_iter().collect(),
            ..Disk::default()
        };
        let gateway = Gateway {
            disk: Arc::new(Mutex::new(disk)),
            stopped: Arc::default(),
        };
        let running = start(state.path(), &gateway);
        Self {
            state,
            gateway,
            running,
        }
    }

    fn request() -> SendRequest {
        SendRequest {
            message_id: "id".into(),
            session: "main".into(),
            text: "hello".into(),
        }
    }

    async fn kill(&mut self) {
        self.running.abort();
        let _aborted = (&mut self.running).await;
    }

    fn sent(&self) -> u32 {
        self.gateway.disk.lock().unwrap().sent["id"]
    }
}

/// Runs an exchange and hands each thing that is shown to `on_show`, which may kill and restart the gateway.
async fn exchange(
    rig: &mut Rig,
    patience: Option<Duration>,
    interrupts: mpsc::UnboundedReceiver<()>,
    mut on_show: impl AsyncFnMut(&mut Rig, &Show),
) -> (Result<Option<End>, Failure>, Vec<Show>) {
    let sockets = Sockets::new(rig.state.path().to_owned());
    let mut interrupts = Interrupts::new(interrupts);
    let (sender, mut shows) = mpsc::unbounded_channel();
    let show = |show| sender.send(show).map_err(io::Error::other);
    let exchange = Exchange::new(&sockets, &mut interrupts, show, patience, Rig::request());
    let mut running = pin!(exchange.run());
    let mut seen = Vec::new();
    let end = loop {
        select! {
            biased;
            Some(show) = shows.recv() => {
                on_show(rig, &show).await;
                seen.push(show);
            }
            end = &mut running => break end,
        }
    };
    while let Ok(show) = shows.try_recv() {
        seen.push(show);
    }
    (end, seen)
}

fn nobody_interrupts() -> mpsc::UnboundedReceiver<()> {
    mpsc::unbounded_channel().1
}

/// What a person reads, with `|` where the answer began again.
fn read(seen: &[Show]) -> String {
    seen.iter()
        .map(|show| match show {
            Show::Text(text) => text.as_str(),
            Show::Again => "|",
            _ => "",
        })
        .collect()
}

fn text_of(end: Result<Option<End>, Failure>) -> String {
    match end.unwrap() {
        Some(End::Answer(answer)) => answer.text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_comes_over_one_stream_when_nothing_happens() {
    let mut rig = Rig::new([Script::Whole(vec![
        delta("he"),
        delta("llo"),
        answer("hello"),
    ])]);
    let (end, seen) = exchange(&mut rig, None, nobody_interrupts(), async |_, _| {}).await;
    assert_eq!(
        (text_of(end).as_str(), read(&seen).as_str(), rig.sent()),
        ("hello", "hello", 1)
    );
}

#[tokio::test]
async fn a_gateway_that_dies_under_the_answer_is_asked_again_with_the_same_id_and_the_answer_is_read_once()
 {
    let mut rig = Rig::new([
        Script::Hang(vec![delta("hel")]),
        Script::Whole(vec![delta("hello "), delta("world"), answer("hello world")]),
    ]);
    let (end, seen) = exchange(
        &mut rig,
        None,
        nobody_interrupts(),
        async |rig, show| match show {
            Show::Text(text) if text == "hel" => rig.kill().await,
            Show::Waiting => rig.running = start(rig.state.path(), &rig.gateway),
            _ => {}
        },
    )
    .await;
    assert_eq!(
        (text_of(end).as_str(), read(&seen).as_str(), rig.sent()),
        ("hello world", "hello world", 2)
    );
    assert_eq!(
        seen.iter().filter(|show| **show == Show::Waiting).count(),
        1
    );
}

#[tokio::test]
async fn an_answer_that_begins_again_after_the_restart_says_so() {
    let mut rig = Rig::new([
        Script::Hang(vec![delta("one")]),
        Script::Whole(vec![
            Event::Restarted(Restarted {}),
            delta("two"),
            answer("two"),
        ]),
    ]);
    let (end, seen) = exchange(
        &mut rig,
        None,
        nobody_interrupts(),
        async |rig, show| match show {
            Show::Text(text) if text == "one" => rig.kill().await,
            Show::Waiting => rig.running = start(rig.state.path(), &rig.gateway),
            _ => {}
        },
    )
    .await;
    assert_eq!(
        (text_of(end).as_str(), read(&seen).as_str()),
        ("two", "one|two")
    );
}

#[tokio::test]
async fn a_gateway_that_is_not_there_yet_again_is_waited_for() {
    let mut rig = Rig::new([
        Script::Refuse(Status::unavailable("starting")),
        Script::Refuse(Status::unavailable("starting")),
        Script::Whole(vec![answer("hello")]),
    ]);
    let (end, seen) = exchange(&mut rig, None, nobody_interrupts(), async |_, _| {}).await;
    assert_eq!(
        (text_of(end).as_str(), read(&seen).as_str(), rig.sent()),
        ("hello", "hello", 3)
    );
}

#[tokio::test]
async fn a_refusal_is_final_and_says_why() {
    let mut rig = Rig::new([Script::Refuse(Status::invalid_argument("too long"))]);
    let (end, _) = exchange(&mut rig, None, nobody_interrupts(), async |_, _| {}).await;
    let failure = end.unwrap_err();
    assert_eq!((failure.code.as_str(), rig.sent()), ("invalid", 1));
    assert!(failure.message.contains("too long"));
}

#[tokio::test]
async fn a_gateway_that_stays_away_ends_the_patience_and_the_message_is_said_to_be_kept() {
    let mut rig = Rig::new([Script::Hang(vec![delta("x")])]);
    let patience = Some(Duration::from_secs(3600));
    let (end, _) = exchange(
        &mut rig,
        patience,
        nobody_interrupts(),
        async |rig, show| match show {
            Show::Text(_) => rig.kill().await,
            // From here on the clock jumps whenever everybody waits for it.
            Show::Waiting => tokio::time::pause(),
            _ => {}
        },
    )
    .await;
    let failure = end.unwrap_err();
    assert_eq!((failure.exit, failure.code.as_str()), (69, "gateway.gone"));
    assert!(failure.remedy.unwrap().contains("kept"));
}

#[tokio::test]
async fn a_turn_that_was_accepted_may_take_longer_than_the_patience() {
    let mut rig = Rig::new([Script::UntilStopped(vec![delta("x")])]);
    let patience = Duration::from_secs(3600);
    let (end, _) = exchange(
        &mut rig,
        Some(patience),
        nobody_interrupts(),
        async |rig, show| {
            if matches!(show, Show::Text(_)) {
                tokio::time::pause();
                tokio::time::advance(patience * 2).await;
                rig.gateway.stopped.notify_one();
            }
        },
    )
    .await;
    assert!(matches!(end.unwrap(), Some(End::Failed(failed)) if failed.code == "turn.stopped"));
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let mut rig = Rig::new([]);
    rig.kill().await;
    let (end, _) = exchange(&mut rig, None, nobody_interrupts(), async |_, _| {}).await;
    assert_eq!(end.unwrap_err().exit, 69);
}

#[tokio::test]
async fn the_first_interrupt_stops_the_turn_and_its_end_is_waited_for() {
    let mut rig = Rig::new([Script::UntilStopped(vec![])]);
    let (press, pressed) = mpsc::unbounded_channel();
    press.send(()).unwrap();
    let (end, seen) = exchange(&mut rig, None, pressed, async |_, _| {}).await;
    assert!(matches!(end.unwrap(), Some(End::Failed(failed)) if failed.code == "turn.stopped"));
    assert_eq!(
        (seen, rig.gateway.disk.lock().unwrap().stops),
        (vec![Show::Stopping], 1)
    );
}

#[tokio::test]
async fn the_second_interrupt_gives_up_waiting_also_for_a_gateway_that_is_gone() {
    let mut rig = Rig::new([Script::Hang(vec![delta("x")])]);
    let (press, pressed) = mpsc::unbounded_channel();
    let (end, _) = exchange(&mut rig, None, pressed, async |_, show| {
        if matches!(show, Show::Text(_) | Show::Stopping) {
            press.send(()).unwrap();
        }
    })
    .await;
    assert_eq!(end.unwrap(), None);

    let mut rig = Rig::new([Script::Hang(vec![delta("x")])]);
    let (press, pressed) = mpsc::unbounded_channel();
    let (end, _) = exchange(&mut rig, None, pressed, async |rig, show| match show {
        Show::Text(_) => rig.kill().await,
        Show::Waiting => press.send(()).unwrap(),
        _ => {}
    })
    .await;
    assert_eq!(end.unwrap(), None);
}

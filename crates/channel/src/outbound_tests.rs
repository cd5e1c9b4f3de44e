//! Delivery against a gateway and a platform that are played: each send once, and its end told.

use std::collections::VecDeque;
use std::path::Path;

use clawdbot_identity::Role;
use clawdbot_proto::v1::channel_desk_server::{ChannelDesk, ChannelDeskServer};
use clawdbot_proto::v1::{DeliverReply, DeliverRequest, Done, Progress, SendReport, Typing};
use clawdbot_service::{Router, testing::Link};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status};

use super::*;
use crate::{Outcome, Part, Pauses, Quota, Record, Rejected, Shown, replay};

type OrderResult = Result<ChannelOrder, Status>;

/// A gateway that sends what the test says and keeps what it hears.
#[derive(Clone)]
struct Desk {
    streams: mpsc::UnboundedSender<mpsc::UnboundedSender<OrderResult>>,
    reports: mpsc::UnboundedSender<SendReport>,
}

#[tonic::async_trait]
impl ChannelDesk for Desk {
    type AttachStream = UnboundedReceiverStream<OrderResult>;

    async fn deliver(&self, _: Request<DeliverRequest>) -> Result<Response<DeliverReply>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn attach(
        &self,
        _: Request<AttachRequest>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.streams.send(sender).unwrap();
        Ok(Response::new(UnboundedReceiverStream::new(receiver)))
    }

    async fn report(&self, report: Request<SendReport>) -> Result<Response<Done>, Status> {
        self.reports.send(report.into_inner()).unwrap();
        Ok(Response::new(Done {}))
    }
}

#[derive(Clone)]
struct Word(String);

impl Part for Word {
    fn digest(&self) -> u64 {
        self.0.bytes().map(u64::from).sum()
    }
}

/// A platform that answers as scripted, else with success; each word of a text is a part.
#[derive(Default)]
struct Platform {
    script: Mutex<VecDeque<Outcome>>,
    sent: Mutex<Vec<String>>,
    hold: Option<Arc<Notify>>,
    changed: Notify,
}

impl Platform {
    fn answer(&self, what: String) -> Outcome {
        let scripted = self.script.lock().unwrap().pop_front();
        let outcome = scripted.unwrap_or_else(|| Outcome::Done(format!("m-{what}")));
        if matches!(outcome, Outcome::Done(_) | Outcome::Unknown(_)) {
            self.sent.lock().unwrap().push(what);
        }
        self.changed.notify_one();
        outcome
    }

    fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().clone()
    }
}

impl Outlet for Platform {
    type Part = Word;
    type Link = ();

    fn parts(&self, send: &v1::Send) -> Result<Vec<Word>, Outcome> {
        match send.text.as_str() {
            "" => Err(Outcome::Rejected(Rejected {
                class: "bad_format",
                message: "nothing to send".into(),
            })),
            text => Ok(text.split(' ').map(|word| Word(word.into())).collect()),
        }
    }

    fn pauses(&self, _: &str) -> Pauses {
        Pauses {
            attempts: 2,
            min: Duration::from_millis(1),
            max: Duration::from_secs(5),
            jitter: 0.0,
        }
    }

    fn quotas(&self, _: &str) -> (&'static [Quota], &'static [Quota]) {
        (&[], &[])
    }

    fn show_every(&self, _: &str, _: &str) -> Duration {
        Duration::ZERO
    }

    async fn connect(&self, _: &str) -> Result<(), Outcome> {
        Ok(())
    }

    async fn send(&self, (): (), _: &v1::Send, part: &Word, shown: Option<&str>) -> Outcome {
        if let Some(hold) = &self.hold {
            self.changed.notify_one();
            hold.notified().await;
        }
        match shown {
            Some(message) => self.answer(format!("{message}={}", part.0)),
            None => self.answer(part.0.clone()),
        }
    }

    fn shows(&self, progress: &Progress) -> Shown {
        match progress.lane.as_str() {
            "group" => Shown::Message,
            _ => Shown::Never,
        }
    }

    async fn show(&self, progress: &Progress, shown: Option<&str>) -> Outcome {
        self.answer(format!("{}~{}", shown.unwrap_or("new"), progress.text))
    }

    async fn unshow(&self, message: &str) {
        self.answer(format!("-{message}"));
    }

    fn typing(&self, _: Typing) {}
}

struct Rig {
    link: Link,
    desk: Desk,
    orders: mpsc::UnboundedSender<OrderResult>,
    streams: mpsc::UnboundedReceiver<mpsc::UnboundedSender<OrderResult>>,
    reports: mpsc::UnboundedReceiver<SendReport>,
    platform: Arc<Platform>,
    journal: Arc<Journal>,
    stop: Arc<Notify>,
    running: tokio::task::JoinHandle<()>,
}

impl Rig {
    async fn start(folder: &Path, platform: Platform) -> Self {
        let (streams_in, mut streams) = mpsc::unbounded_channel();
        let (reports_in, reports) = mpsc::unbounded_channel();
        let desk = Desk {
            streams: streams_in,
            reports: reports_in,
        };
        let link = Link::new(&Role::parse("channel-telegram").unwrap(), &Role::gateway());
        let router = Router::new().add(ChannelDeskServer::new(desk.clone()));
        link.reconnect(router).await.unwrap();
        let platform = Arc::new(platform);
        let journal = Arc::new(Journal::open(&folder.join("journal")).unwrap().0);
        let outbound = Outbound::new(link.edge(), Arc::clone(&platform), Arc::clone(&journal));
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let running = tokio::spawn(async move {
            let accounts = watch::Sender::new(vec!["default".to_owned()]);
            let stop = async move { stopped.notified().await };
            outbound
                .run(accounts.subscribe(), Credit::default(), stop)
                .await;
        });
        let orders = streams.recv().await.unwrap();
        Self {
            link,
            desk,
            orders,
            streams,
            reports,
            platform,
            journal,
            stop,
            running,
        }
    }

    fn order(&self, order: Order) {
        let order = ChannelOrder { order: Some(order) };
        self.orders.send(Ok(order)).unwrap();
    }

    fn send(&self, id: &str, text: &str) {
        self.order(Order::Send(send(id, text)));
    }

    fn show(&self, text: &str) {
        self.order(Order::Progress(Progress {
            turn_id: "turn".into(),
            lane: "group".into(),
            text: text.into(),
            ..Progress::default()
        }));
    }

    async fn report(&mut self) -> (Disposition, u32, u32) {
        let report = self.reports.recv().await.unwrap();
        (
            report.disposition(),
            report.parts_done,
            report.parts_unknown,
        )
    }

    async fn until_sent(&self, wanted: &[&str]) {
        while self.platform.sent() != wanted {
            self.platform.changed.notified().await;
        }
    }

    /// The worker is killed.
    async fn kill(self) {
        self.running.abort();
        let _killed = self.running.await;
    }
}

/// Waits until some file of the folder holds the text.
async fn until_written(folder: &std::path::Path, text: &str) {
    let holds = |path: std::path::PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    let files = || std::fs::read_dir(folder).unwrap().flatten();
    while !files().any(|file| holds(file.path())) {
        tokio::task::yield_now().await;
    }
}

fn send(id: &str, text: &str) -> v1::Send {
    v1::Send {
        outbox_id: id.into(),
        lane: "group".into(),
        turn_id: "turn".into(),
        text: text.into(),
        ..v1::Send::default()
    }
}

fn not_started() -> Outcome {
    Outcome::NotStarted {
        class: "transient",
        message: "refused".into(),
        after: None,
    }
}

fn scripted(outcomes: impl IntoIterator<Item = Outcome>) -> Platform {
    Platform {
        script: Mutex::new(outcomes.into_iter().collect()),
        ..Platform::default()
    }
}

#[tokio::test]
async fn a_send_is_told_when_it_is_over_and_forgotten_when_that_was_heard() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(folder.path(), Platform::default()).await;
    rig.send("1", "one two");
    assert_eq!(rig.report().await, (Disposition::Done, 2, 0));
    assert_eq!(rig.platform.sent(), ["one", "two"]);
    rig.stop.notify_one();
    rig.running.await.unwrap();
    assert_eq!(*rig.journal.ledger(), crate::Ledger::default());
}

#[tokio::test]
async fn the_same_send_after_a_lost_connection_is_sent_once() {
    let folder = tempfile::tempdir().unwrap();
    let hold = Arc::new(Notify::new());
    let platform = Platform {
        hold: Some(Arc::clone(&hold)),
        ..Platform::default()
    };
    let mut rig = Rig::start(folder.path(), platform).await;
    rig.send("1", "one");
    rig.platform.changed.notified().await;
    let router = Router::new().add(ChannelDeskServer::new(rig.desk.clone()));
    rig.link.reconnect(router).await.unwrap();
    rig.orders = rig.streams.recv().await.unwrap();
    rig.send("1", "one");
    hold.notify_one();
    assert_eq!(rig.report().await, (Disposition::Done, 1, 0));
    rig.send("2", "two");
    hold.notify_one();
    rig.report().await;
    assert_eq!(rig.platform.sent(), ["one", "two"]);
}

#[tokio::test]
async fn after_a_kill_what_had_begun_is_unknown_and_only_the_rest_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let platform = scripted([Outcome::Done("m".into())]);
    let rig = Rig::start(folder.path(), platform).await;
    rig.send("1", "one");
    rig.until_sent(&["one"]).await;
    rig.kill().await;
    // The second part had been written to the journal and not answered.
    let path = folder.path().join("journal");
    let (journal, _) = Journal::open(&path).unwrap();
    let words = ["one", "two", "six"].map(|word| Word(word.into()));
    let plan = words
        .iter()
        .fold(3u64, |plan, word| plan.rotate_left(7) ^ word.digest());
    for part in [0, 1] {
        let started = Record::Started {
            id: "2".into(),
            part,
            plan,
            again: false,
        };
        journal.write(&started).await.unwrap();
    }
    let done = Record::Done {
        id: "2".into(),
        part: 0,
    };
    journal.write(&done).await.unwrap();
    drop(journal);
    let mut rig = Rig::start(folder.path(), Platform::default()).await;
    rig.send("2", "one two six");
    assert_eq!(rig.report().await, (Disposition::Unknown, 2, 1));
    assert_eq!(rig.platform.sent(), ["six"]);
}

#[tokio::test]
async fn what_did_not_start_is_tried_again_and_then_left_to_the_gateway_without_a_double() {
    let folder = tempfile::tempdir().unwrap();
    let platform = scripted([Outcome::Done("m".into()), not_started(), not_started()]);
    let mut rig = Rig::start(folder.path(), platform).await;
    rig.send("1", "one two");
    assert_eq!(rig.report().await, (Disposition::NotStarted, 1, 0));
    rig.send("1", "one two");
    assert_eq!(rig.report().await, (Disposition::Done, 2, 0));
    assert_eq!(rig.platform.sent(), ["one", "two"]);
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_a_refusal_is_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = Rejected {
        class: "forbidden_target",
        message: "blocked".into(),
    };
    let platform = scripted([
        Outcome::Unknown("lost".into()),
        Outcome::Rejected(refusal.clone()),
        Outcome::Done("m".into()),
    ]);
    let mut rig = Rig::start(folder.path(), platform).await;
    rig.send("1", "one");
    assert_eq!(rig.report().await, (Disposition::Unknown, 0, 1));
    rig.send("2", "two");
    let report = rig.reports.recv().await.unwrap();
    assert_eq!(report.disposition(), Disposition::Rejected);
    assert_eq!(report.error_class, refusal.class);
    rig.send("3", "");
    assert_eq!(rig.report().await, (Disposition::Rejected, 0, 0));
}

#[tokio::test]
async fn a_conversation_that_moved_is_followed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let platform = scripted([Outcome::Moved {
        from: "-1".into(),
        to: "-1001".into(),
    }]);
    let mut rig = Rig::start(folder.path(), platform).await;
    rig.send("1", "one");
    assert_eq!(rig.report().await, (Disposition::Done, 1, 0));
    assert_eq!(rig.journal.ledger().moved("", "-1"), "-1001");
}

#[tokio::test]
async fn the_message_that_showed_an_answer_becomes_the_answer_even_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(folder.path(), Platform::default()).await;
    rig.show("a");
    rig.until_sent(&["new~a"]).await;
    rig.show("ab");
    rig.until_sent(&["new~a", "m-new~a~ab"]).await;
    // A note is written by a thread of its own, which this kill does not end.
    until_written(folder.path(), "m-new~a").await;
    rig.kill().await;
    let lost = scripted([Outcome::Unknown("lost".into())]);
    let mut rig = Rig::start(folder.path(), lost).await;
    rig.send("1", "abc end");
    assert_eq!(rig.report().await, (Disposition::Done, 2, 0));
    let edit = "m-new~a=abc";
    assert_eq!(
        rig.platform.sent(),
        [edit, edit, "end"],
        "an edit may be repeated"
    );
}

#[tokio::test]
async fn a_shown_message_that_vanished_is_replaced_by_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let platform = scripted([Outcome::Done("m".into()), Outcome::Gone]);
    let mut rig = Rig::start(folder.path(), platform).await;
    rig.show("a");
    rig.until_sent(&["new~a"]).await;
    rig.send("1", "abc");
    assert_eq!(rig.report().await, (Disposition::Done, 1, 0));
    assert_eq!(rig.platform.sent(), ["new~a", "abc"]);
}

#[tokio::test]
async fn a_shown_message_that_stays_behind_in_a_move_does_not_become_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let platform = scripted([
        Outcome::Done("m".into()),
        Outcome::Moved {
            from: "-1".into(),
            to: "-1001".into(),
        },
    ]);
    let mut rig = Rig::start(folder.path(), platform).await;
    rig.show("a");
    rig.until_sent(&["new~a"]).await;
    rig.send("1", "abc");
    assert_eq!(rig.report().await, (Disposition::Done, 1, 0));
    assert_eq!(rig.platform.sent(), ["new~a", "abc"]);
}

#[tokio::test]
async fn a_message_that_is_becoming_the_answer_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::open(&folder.path().join("journal")).unwrap().0);
    for (turn, message) in [("turn", "m"), ("lost", "n")] {
        let turn = turn.to_owned();
        journal.note(&Record::Showing {
            turn: turn.clone(),
            at_ms: 1,
        });
        let message = message.into();
        journal
            .write(&Record::Shown { turn, message })
            .await
            .unwrap();
    }
    let hold = Arc::new(Notify::new());
    let outlet = Arc::new(Platform {
        hold: Some(Arc::clone(&hold)),
        ..Platform::default()
    });
    let sender = Sender {
        outlet: Arc::clone(&outlet),
        journal,
        limiter: Mutex::default(),
        busy: Mutex::default(),
    };
    let send = send("1", "abc");
    let sweep = async {
        outlet.changed.notified().await;
        sender.unshow(2).await;
        assert_eq!(outlet.sent(), ["-n"], "only what nobody writes into");
        hold.notify_one();
    };
    let (verdict, ()) = tokio::join!(sender.send(&send, 0), sweep);
    assert!(
        matches!(verdict, Verdict::Settled(report) if report.disposition() == Disposition::Done)
    );
    assert_eq!(outlet.sent(), ["-n", "m=abc"]);
}

#[tokio::test]
async fn the_beginning_of_an_answer_that_never_came_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (journal, _) = Journal::open(&path).unwrap();
    journal.note(&Record::Showing {
        turn: "old".into(),
        at_ms: 1,
    });
    let shown = Record::Shown {
        turn: "old".into(),
        message: "m".into(),
    };
    journal.write(&shown).await.unwrap();
    drop(journal);
    let rig = Rig::start(folder.path(), Platform::default()).await;
    rig.until_sent(&["-m"]).await;
}

#[tokio::test]
async fn a_stop_lets_the_running_send_end_and_starts_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let hold = Arc::new(Notify::new());
    let platform = Platform {
        hold: Some(Arc::clone(&hold)),
        ..Platform::default()
    };
    let mut rig = Rig::start(folder.path(), platform).await;
    rig.send("1", "one");
    rig.send("2", "two");
    rig.platform.changed.notified().await;
    rig.stop.notify_one();
    tokio::task::yield_now().await;
    hold.notify_one();
    assert_eq!(rig.report().await, (Disposition::Done, 1, 0));
    rig.running.await.unwrap();
    assert_eq!(rig.platform.sent(), ["one"]);
    let bytes = std::fs::read(folder.path().join("journal")).unwrap();
    assert_eq!(replay(&bytes).ledger.begun("2"), None);
}

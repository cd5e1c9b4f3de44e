//! The promises of the queue, on real files. A crash is a copy of the files as they lie while the queue is in use.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clawdbot_service::Pulse;

use super::*;
use crate::limits;

const NOW: u64 = 1_800_000_000_000;

fn message(id: &str, session: &str, text: &str) -> Message {
    static TURN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let turn = TURN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Message {
        source: Source::Operator,
        message_id: MessageId::parse(id).unwrap(),
        turn_id: TurnId::parse(&format!("t{turn}")).unwrap(),
        session: session.into(),
        session_key: SessionKey::parse(&format!("agent:main:{session}")).unwrap(),
        class: Class::Main,
        handle: Handle::parse("handle").unwrap(),
        question: String::from(text).into(),
        place: None,
    }
}

fn answer(text: &str) -> Outcome {
    Outcome::Answered(v1::Answer {
        text: text.into(),
        model: "builtin/guide".into(),
        ..Default::default()
    })
}

fn failed(code: &str) -> Outcome {
    Outcome::Failed(v1::Failed {
        code: code.into(),
        message: String::new(),
    })
}

fn open(dir: &Path) -> Queue {
    Queue::start(reopen(dir), Pulse::default()).unwrap()
}

/// Opening waits for the thread of a queue that was dropped, but not for as long as it may take on a busy machine.
fn reopen(dir: &Path) -> Store {
    let is_held = |error: &OpenError| error.to_string().contains("another process");
    let mut tries = (0..30).map(|_| Store::open(dir));
    let opened = tries.find(|opened| !opened.as_ref().is_err_and(is_held));
    opened.unwrap().unwrap()
}

/// What a machine that lost power now would find.
fn crash(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

async fn accept(queue: &Queue, message: Message) -> Waiting {
    match queue.accept(message, NOW).await.unwrap() {
        Acceptance::New(row) => row,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_was_accepted_is_there_after_a_crash_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let first = accept(&queue, message("a", "main", "one")).await;
    let second = accept(&queue, message("b", "notes", "two")).await;
    let third = accept(&queue, message("c", "main", "three")).await;
    queue.settle(second.row, answer("done"), NOW).await.unwrap();

    let copy = crash(dir.path());
    let queue = open(copy.path());
    assert_eq!(queue.pending().await.unwrap(), [first.clone(), third]);
    let (handle, question) = queue.question(first.row).await.unwrap().unwrap();
    assert_eq!((handle.as_str(), question.text.as_str()), ("handle", "one"));
    assert_eq!(
        queue.outcome(second.row).await.unwrap(),
        Some(answer("done"))
    );
}

#[tokio::test]
async fn an_answer_and_its_state_are_one_change() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let row = accept(&queue, message("a", "main", "secret question"))
        .await
        .row;
    assert_eq!(queue.outcome(row).await.unwrap(), None);
    assert_eq!(
        queue
            .settle(row, answer("first"), NOW)
            .await
            .unwrap()
            .outcome,
        answer("first")
    );
    // Whoever comes second learns what is in force.
    assert_eq!(
        queue
            .settle(row, failed("late"), NOW)
            .await
            .unwrap()
            .outcome,
        answer("first")
    );
    assert!(queue.question(row).await.unwrap().is_none());
    assert_eq!(queue.pending().await.unwrap(), []);
    assert!(queue.settle(RowId(99), answer("x"), NOW).await.is_err());
}

#[tokio::test]
async fn the_same_message_again_is_known_and_another_under_its_id_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let row = accept(&queue, message("a", "main", "text")).await;
    let again = |m| queue.accept(m, NOW);
    assert_eq!(
        again(message("a", "main", "text")).await.unwrap(),
        Acceptance::Known(row.clone())
    );
    for other in [message("a", "main", "else"), message("a", "x", "text")] {
        assert_eq!(again(other).await.unwrap(), Acceptance::Conflict);
    }
    let mut web = message("a", "main", "text");
    web.source = Source::Web;
    assert!(matches!(again(web).await.unwrap(), Acceptance::New(_)));

    queue
        .settle(row.row, failed("turn.stopped"), NOW)
        .await
        .unwrap();
    assert_eq!(
        again(message("a", "main", "text")).await.unwrap(),
        Acceptance::Settled(row.row, failed("turn.stopped"))
    );
    assert_eq!(
        again(message("a", "main", "else")).await.unwrap(),
        Acceptance::Conflict
    );
}

#[tokio::test]
async fn a_settled_message_is_forgotten_after_a_week_and_its_number_never_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let old = accept(&queue, message("old", "main", "x")).await;
    let waits = accept(&queue, message("waits", "main", "x")).await;
    queue.settle(old.row, answer("y"), NOW).await.unwrap();
    let week = u64::try_from(limits::REMEMBERED.as_millis()).unwrap();
    assert_eq!(queue.prune(NOW + week).await.unwrap(), 0);
    assert_eq!(queue.prune(NOW + week + 1).await.unwrap(), 1);
    assert_eq!(queue.outcome(old.row).await.unwrap(), None);
    assert_eq!(queue.pending().await.unwrap(), vec![waits.clone()]);
    let again = accept(&queue, message("old", "main", "x")).await;
    assert!(again.row > waits.row);
}

#[tokio::test]
async fn many_messages_at_once_are_each_accepted_once() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let tasks: Vec<_> = (0..90)
        .map(|n| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let message = message(&format!("m{}", n / 2), "main", "x");
                queue.accept(message, NOW).await.unwrap()
            })
        })
        .collect();
    let mut new = 0;
    for task in tasks {
        match task.await.unwrap() {
            Acceptance::New(_) => new += 1,
            Acceptance::Known(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((new, queue.pending().await.unwrap().len()), (45, 45));
}

#[tokio::test]
async fn a_full_lane_refuses_and_takes_again_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let first = accept(&queue, message("m0", "main", "x")).await;
    for n in 1..limits::WAITING_IN_SESSION {
        accept(&queue, message(&format!("m{n}"), "main", "x")).await;
    }
    let more = || queue.accept(message("more", "main", "x"), NOW);
    assert_eq!(more().await.unwrap(), Acceptance::Backlog { session: true });
    accept(&queue, message("elsewhere", "notes", "x")).await;
    queue.settle(first.row, answer("y"), NOW).await.unwrap();
    assert!(matches!(more().await.unwrap(), Acceptance::New(_)));
}

#[tokio::test]
async fn a_full_disk_refuses_the_message_and_keeps_what_was_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    // The same error code as of a full disk, at 40 pages.
    store
        .db
        .execute_batch("PRAGMA max_page_count = 40")
        .unwrap();
    let queue = Queue::start(store, Pulse::default()).unwrap();
    let kept = accept(&queue, message("small", "main", "x")).await;
    let big = "x".repeat(limits::TEXT_BYTES);
    let error = queue
        .accept(message("big", "main", &big), NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, QueueError::DiskFull), "{error}");
    assert_eq!(queue.pending().await.unwrap(), vec![kept.clone()]);
    let also = accept(&queue, message("small2", "main", "x")).await;
    let copy = crash(dir.path());
    assert_eq!(open(copy.path()).pending().await.unwrap(), [kept, also]);
}

#[tokio::test]
async fn a_delivery_note_is_written_with_what_comes_next() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let row = accept(&queue, message("a", "main", "x")).await.row;
    queue.settle(row, answer("y"), NOW).await.unwrap();
    queue.delivered(row);
    queue.flush().await.unwrap();
    let copy = crash(dir.path());
    let store = Store::open(copy.path()).unwrap();
    let noted: i64 = store
        .db
        .query_row("SELECT delivered FROM inbox", [], |r| r.get(0))
        .unwrap();
    assert_eq!(noted, 1);
}

#[tokio::test]
async fn a_settled_text_and_handle_do_not_stay_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let row = accept(&queue, message("a", "main", "private words"))
        .await
        .row;
    queue.settle(row, answer("y"), NOW).await.unwrap();
    drop(queue);
    // Closing folds the write-ahead log into the file.
    drop(reopen(dir.path()));
    let bytes = std::fs::read(dir.path().join("inbox.db")).unwrap();
    assert!(!bytes.windows(13).any(|w| w == b"private words"));
    assert!(bytes.windows(13).any(|w| w == b"builtin/guide"));
}

#[test]
fn the_file_is_private_and_one_that_is_not_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inbox.db");
    drop(Store::open(dir.path()).unwrap());
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = Store::open(dir.path()).err().unwrap();
    assert!(error.to_string().contains("chmod 600"), "{error}");
    assert!(error.needs_a_person());
}

#[test]
fn what_is_no_file_in_the_place_of_the_queue_or_its_log_is_refused_by_name() {
    for name in ["inbox.db", "inbox.db-wal"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(name)).unwrap();
        let error = Store::open(dir.path()).err().unwrap();
        let said = error.to_string();
        assert!(
            said.contains(&format!("{name} is not a regular file; move it away")),
            "{said}"
        );
        assert!(error.needs_a_person());
    }
}

#[test]
fn a_second_queue_on_the_same_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path()).unwrap();
    let error = Store::open(dir.path()).err().unwrap();
    assert!(error.to_string().contains("another process"), "{error}");
    assert!(!error.needs_a_person(), "it ends some time");
    drop(first);
    assert!(Store::open(dir.path()).is_ok());
}

#[tokio::test]
async fn a_damaged_or_foreign_file_is_an_error_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inbox.db");
    let queue = open(dir.path());
    for n in 0..50 {
        accept(&queue, message(&format!("m{n}"), "main", &"x".repeat(3000))).await;
    }
    drop(queue);
    drop(reopen(dir.path()));
    let good = std::fs::read(&path).unwrap();

    let mut torn = good.clone();
    torn[4096..12288].fill(0x5a);
    let mut newer = good.clone();
    newer[60..64].copy_from_slice(&(schema::VERSION + 1).to_be_bytes());
    let mut other = good.clone();
    other[68..72].copy_from_slice(&7_u32.to_be_bytes());
    for (bytes, word) in [
        (
            b"this is no database, it is a letter".repeat(300),
            "damaged",
        ),
        (torn, "damaged"),
        (good[..good.len() / 2].to_vec(), "damaged"),
        (
            newer,
            "inbox.db has format 5, and this version of Clawdbot reads formats up to 4",
        ),
        (other, "not a message queue"),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let error = Store::open(dir.path()).err().expect(word);
        assert!(error.to_string().contains(word), "{word}: {error}");
        assert!(error.needs_a_person(), "{word}");
        assert!(std::fs::read(&path).unwrap() == bytes, "{word}");
    }
    std::fs::write(&path, &good).unwrap();
    assert!(Store::open(dir.path()).is_ok());
}

#[tokio::test]
async fn a_row_that_this_program_cannot_have_written_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    accept(&queue, message("m", "main", "x")).await;
    drop(queue);
    let store = reopen(dir.path());
    store
        .db
        .execute("UPDATE inbox SET session_key = ''", [])
        .unwrap();
    drop(store);
    let error = open(dir.path()).pending().await.unwrap_err();
    assert!(matches!(error, QueueError::Damaged(_)), "{error}");
}

#[test]
fn the_mark_is_in_the_file_from_the_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let _open = Store::open(dir.path()).unwrap();
    let bytes = std::fs::read(dir.path().join("inbox.db")).unwrap();
    assert_eq!(bytes[68..72], *b"CLWQ");
}

#[test]
fn an_empty_file_left_by_a_crash_at_the_very_start_is_set_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inbox.db");
    std::fs::write(&path, b"").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(Store::open(dir.path()).is_ok());
}

/// The tables of format 1, as they were.
const FORMAT_1: &str = "
    CREATE TABLE inbox (id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, message_id TEXT NOT NULL,
        turn_id TEXT NOT NULL UNIQUE, session TEXT NOT NULL, session_key TEXT NOT NULL, class TEXT NOT NULL,
        handle TEXT NOT NULL, text TEXT NOT NULL, digest BLOB NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('queued', 'answered', 'failed')), created_ms INTEGER NOT NULL,
        settled_ms INTEGER, UNIQUE (source, message_id)) STRICT;
    CREATE INDEX inbox_queued ON inbox (session_key) WHERE state = 'queued';
    CREATE INDEX inbox_settled ON inbox (settled_ms) WHERE settled_ms IS NOT NULL;
    CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT,
        inbox_id INTEGER NOT NULL UNIQUE REFERENCES inbox (id) ON DELETE CASCADE, session_key TEXT NOT NULL,
        body BLOB NOT NULL, delivered INTEGER NOT NULL DEFAULT 0, created_ms INTEGER NOT NULL) STRICT;
    CREATE INDEX outbox_order ON outbox (session_key, id) WHERE delivered = 0;
    PRAGMA application_id = 1129076561; PRAGMA user_version = 1;
";

#[tokio::test]
async fn a_queue_of_the_format_before_is_taken_over_with_everything_in_it() {
    use prost::Message as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inbox.db");
    {
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute_batch(FORMAT_1).unwrap();
        let digest = |text: &str| <sha2::Sha256 as sha2::Digest>::digest(text).to_vec();
        for (id, name, text, state) in [
            (3, "a", "one", "queued"),
            (4, "b", "", "answered"),
            (9, "c", "", "answered"),
        ] {
            db.execute(
                "INSERT INTO inbox VALUES (?1, 'operator', ?2, ?3, 'main', 'agent:main:main', 'main', 'handle', ?4, ?5, \
                 ?6, 1, iif(?6 = 'queued', NULL, 2))",
                rusqlite::params![id, name, format!("turn-{name}"), text, digest(match name { "a" => "one", _ => "two" }), state],
            )
            .unwrap();
        }
        let Outcome::Answered(body) = answer("done") else {
            panic!()
        };
        db.execute(
            "INSERT INTO outbox VALUES (1, 4, 'agent:main:main', ?1, 0, 2)",
            [body.encode_to_vec()],
        )
        .unwrap();
        db.execute("DELETE FROM inbox WHERE id = 9", []).unwrap();
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    for _ in 0..2 {
        let queue = open(dir.path());
        let pending = queue.pending().await.unwrap();
        assert_eq!(
            (pending.len(), pending[0].row, pending[0].turn_id.as_str()),
            (1, RowId(3), "turn-a")
        );
        let again = |m| queue.accept(m, NOW);
        assert!(matches!(
            again(message("a", "main", "one")).await.unwrap(),
            Acceptance::Known(_)
        ));
        assert_eq!(
            again(message("b", "main", "two")).await.unwrap(),
            Acceptance::Settled(RowId(4), answer("done"))
        );
        drop(queue);
    }
    drop(reopen(dir.path()));
    // Format 2 had no wishes.
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(
        "DROP TABLE wishes; ALTER TABLE inbox DROP COLUMN mark; PRAGMA user_version = 2",
    )
    .unwrap();
    drop(db);
    let queue = open(dir.path());
    let key = SessionKey::parse("agent:main:main").unwrap();
    queue.wish(key.clone(), "steer".to_owned()).await.unwrap();
    assert_eq!(queue.wishes().await.unwrap(), [(key, "steer".to_owned())]);
    let row = accept(&queue, message("new", "main", "x")).await.row;
    assert_eq!(row, RowId(10), "a number never comes twice");
}

fn from_chat(event: &str, lane: &str) -> Message {
    Message {
        source: Source::parse("channel-telegram").unwrap(),
        session_key: SessionKey::parse(&format!("agent:main:telegram:dm:{lane}")).unwrap(),
        class: Class::Guest,
        place: Some(Place {
            account: "default".into(),
            address: event.into(),
            lane: lane.into(),
            sender: String::new(),
            mark: format!("of {lane}"),
        }),
        session: String::new(),
        ..message(event, "chat", "private words")
    }
}

/// A message of the chat `lane` with this mark of its sender.
fn marked(event: &str, lane: &str, mark: &str) -> Message {
    let message = from_chat(event, lane);
    Message {
        place: message.place.map(|place| Place {
            mark: mark.into(),
            ..place
        }),
        ..message
    }
}

#[tokio::test]
async fn who_wrote_is_known_after_a_crash_and_of_what_came_before_marks_nobody_is() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let ann = delivered(&queue, marked("e1", "a", "ann")).await;
    let bob = delivered(&queue, marked("e2", "a", "bob")).await;
    let copy = crash(dir.path());
    assert_eq!(
        open(copy.path()).pending().await.unwrap(),
        [ann.clone(), bob]
    );
    // The format before.
    let copy = crash(dir.path());
    let db = rusqlite::Connection::open(copy.path().join("inbox.db")).unwrap();
    db.execute_batch("ALTER TABLE inbox DROP COLUMN mark; PRAGMA user_version = 3")
        .unwrap();
    drop(db);
    let queue = open(copy.path());
    let places = queue.pending().await.unwrap().into_iter();
    let marks: Vec<_> = places.map(|row| row.place.unwrap().mark).collect();
    assert_eq!(marks, ["", ""]);
    let new = delivered(&queue, marked("e3", "a", "ann")).await;
    assert_eq!(new.place.unwrap().mark, "ann");
    let (handle, _) = queue.question(ann.row).await.unwrap().unwrap();
    assert_eq!(handle.as_str(), "handle");
}

async fn deliver(queue: &Queue, message: Message) -> Delivered {
    let delivery = vec![Delivery::Message(Box::new(message))];
    queue.deliver(delivery, 1, NOW).await.unwrap().remove(0)
}

async fn delivered(queue: &Queue, message: Message) -> Waiting {
    match deliver(queue, message).await {
        Delivered::New(row) => *row,
        other => panic!("{other:?}"),
    }
}

fn told(text: &str) -> End {
    End {
        outcome: answer(text),
        reply: Some(Reply {
            text: text.into(),
            reply_to: "current".into(),
        }),
        absorbed: Vec::new(),
    }
}

#[tokio::test]
async fn an_answer_that_is_on_its_way_is_never_forgotten_and_one_that_arrived_leaves_no_text() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let row = delivered(&queue, from_chat("e1", "a")).await;
    let settled = queue.settle(row.row, told("y"), NOW).await.unwrap();
    let send = settled.send.unwrap();
    let late = NOW + 2 * u64::try_from(limits::REMEMBERED.as_millis()).unwrap();
    assert_eq!(queue.prune(late).await.unwrap(), 0);
    assert_eq!(queue.outgoing().await.unwrap(), std::slice::from_ref(&send));
    let order = queue.order(send.number).await.unwrap().unwrap();
    assert_eq!((order.text.as_str(), order.reply_to.as_str()), ("y", "e1"));
    let report = |fate| Report {
        channel: "channel-telegram".into(),
        outbox_id: send.outbox_id.clone(),
        fate,
        error: String::new(),
    };
    let elsewhere = Report {
        channel: "channel-discord".into(),
        ..report(Fate::Done)
    };
    assert_eq!(queue.report(elsewhere, late).await.unwrap(), None);
    let again = queue
        .report(report(Fate::Again), late)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((again.attempts, again.next_try_ms), (1, late + 2000));
    let unknown = queue.report(report(Fate::Unknown), late).await.unwrap();
    assert!(unknown.is_some());
    assert_eq!(queue.report(report(Fate::Done), late).await.unwrap(), None);
    assert_eq!(queue.tally(late).await.unwrap().unknown, 1);
    assert!(queue.order(send.number).await.unwrap().is_none());
    assert_eq!(queue.prune(late).await.unwrap(), 0, "it is still counted");
    let later = late + u64::try_from(limits::REMEMBERED.as_millis()).unwrap() + 1;
    assert_eq!(queue.prune(later).await.unwrap(), 1);
    assert_eq!(queue.tally(later).await.unwrap(), Tally::default());
}

#[tokio::test]
async fn a_turn_takes_in_messages_of_its_own_chat_and_sender_only_whatever_the_agent_says() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let turn = delivered(&queue, from_chat("e1", "a")).await;
    let mine = delivered(&queue, from_chat("e2", "a")).await;
    let other = delivered(&queue, from_chat("e3", "b")).await;
    let guests = delivered(&queue, marked("e4", "a", "of b")).await;
    let nobodys = delivered(&queue, marked("e5", "a", "")).await;
    let operators = accept(&queue, message("m", "main", "x")).await;
    let absorbed =
        [&turn, &mine, &other, &guests, &nobodys, &operators].map(|row| row.turn_id.to_string());
    let end = End {
        absorbed: absorbed.to_vec(),
        ..told("y")
    };
    let settled = queue.settle(turn.row, end, NOW).await.unwrap();
    assert_eq!(settled.absorbed, [mine.row]);
    // Somebody who ends it by itself in the same moment comes too late, and hears how it ended.
    let stopped = End {
        outcome: failed("stopped"),
        reply: None,
        absorbed: Vec::new(),
    };
    let late = queue.settle(mine.row, stopped, NOW).await.unwrap();
    assert_eq!((late.outcome, late.send), (answer("y"), None));
    let left: Vec<_> = queue.pending().await.unwrap();
    assert_eq!(left, [other, guests, nobodys.clone(), operators]);
    // Of whom nothing is known has nothing in common with another such one either.
    let again = delivered(&queue, marked("e6", "a", "")).await;
    let end = End {
        absorbed: vec![again.turn_id.to_string()],
        ..told("y")
    };
    let settled = queue.settle(nobodys.row, end, NOW).await.unwrap();
    assert_eq!(settled.absorbed, []);
    assert_eq!(
        deliver(&queue, from_chat("e2", "a")).await,
        Delivered::Known
    );
    let accounts = Message {
        place: from_chat("e2", "a").place.map(|place| Place {
            account: "other".into(),
            ..place
        }),
        ..from_chat("e2", "a")
    };
    assert!(matches!(deliver(&queue, accounts).await, Delivered::New(_)));
}

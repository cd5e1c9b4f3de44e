//! The book through kill, cut, full disk and crowds.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use futures_util::FutureExt as _;

use super::*;
use crate::admission::People;
use crate::pairing::{Asked, Request};
use crate::policy::random;

const NOW: u64 = 1_000_000;

fn open(folder: &tempfile::TempDir) -> Arc<Store> {
    Arc::new(Store::open(Keep::new(folder.path().to_owned())))
}

fn request(sender: &str) -> Request {
    Request {
        channel: "telegram".to_owned(),
        account: "default".to_owned(),
        sender: sender.to_owned(),
        hint: String::new(),
        name: None,
        // Every message is another one.
        event: format!("{:?}", random::<8>().unwrap()),
    }
}

async fn ask(store: &Arc<Store>, sender: &str) -> Result<Asked, Denied> {
    let request = request(sender);
    let asked = store
        .change(move |book| book.ask(request, NOW, random))
        .await;
    asked.map(Result::unwrap)
}

async fn approve(store: &Arc<Store>, sender: &str) {
    let Ok(Asked::New(code)) = ask(store, sender).await else {
        panic!("{sender} has asked before")
    };
    let approved = store
        .change(move |book| book.approve("telegram", &code, NOW, None))
        .await;
    approved.unwrap().unwrap();
}

fn lets_in(store: &Store, sender: &str) -> bool {
    let book = store.book();
    book.is_ok_and(|book| {
        book.view("telegram", "default", NOW, None)
            .is_approved(sender)
    })
}

#[tokio::test]
async fn what_was_answered_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    approve(&open(&folder), "1").await;
    let store = open(&folder);
    assert!(lets_in(&store, "1") && !lets_in(&store, "2"));
    let mode = fs::metadata(folder.path().join(NAME))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing else is left behind"
    );
    // What a process that was killed within a write leaves behind.
    fs::write(
        folder.path().join(format!(".{NAME}.new")),
        "{\"version\":1,\"acc",
    )
    .unwrap();
    let store = open(&folder);
    assert!(lets_in(&store, "1"));
    approve(&store, "2").await;
    assert!(lets_in(&open(&folder), "2"));
}

#[tokio::test]
async fn fifty_first_messages_at_once_make_one_request_and_twenty_senders_three() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let all = (0..50).map(|_| ask(&store, "1"));
    let answers = futures_util::future::join_all(all).await;
    let new = |answers: &[Result<Asked, Denied>]| {
        answers
            .iter()
            .filter(|answer| matches!(answer, Ok(Asked::New(_))))
            .count()
    };
    assert_eq!(new(&answers), 1);
    let all = (0..20).map(|sender| {
        let (store, sender) = (&store, sender.to_string());
        async move { ask(store, &sender).await }
    });
    let answers = futures_util::future::join_all(all).await;
    assert_eq!(new(&answers), 2, "the one from before waits, too");
    assert_eq!(open(&folder).book().unwrap().pending(NOW).len(), 3);
}

#[tokio::test]
async fn a_damaged_file_lets_nobody_in_and_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    approve(&open(&folder), "1").await;
    let path = folder.path().join(NAME);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let store = open(&folder);
    assert!(!lets_in(&store, "1"));
    let denied = ask(&store, "2").await.unwrap_err();
    assert_eq!(denied.rule, "pairing.unavailable");
    assert!(
        denied.message.contains("people.json") && denied.message.contains("moved away"),
        "{}",
        denied.message
    );
    assert_eq!(fs::read(&path).unwrap(), &whole[..whole.len() / 2]);
    fs::write(&path, &whole).unwrap();
    assert!(lets_in(&open(&folder), "1"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
    assert!(
        !lets_in(&open(&folder), "1"),
        "somebody else could have written it"
    );
}

#[tokio::test]
async fn a_file_of_a_newer_version_lets_nobody_in_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    approve(&open(&folder), "1").await;
    let path = folder.path().join(NAME);
    let newer = fs::read_to_string(&path).unwrap();
    let newer = newer.replacen("\"version\": 1", "\"version\": 2", 1);
    fs::write(&path, &newer).unwrap();
    let store = open(&folder);
    assert!(!lets_in(&store, "1"));
    let denied = ask(&store, "2").await.unwrap_err();
    let said = "people.json has format 2, and this version of Clawdbot reads formats up to 1";
    assert!(denied.message.contains(said), "{}", denied.message);
    assert!(!denied.message.contains("moved away"), "{}", denied.message);
    assert_eq!(fs::read_to_string(&path).unwrap(), newer);
}

#[tokio::test]
async fn a_change_that_cannot_be_written_has_not_happened() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    approve(&store, "1").await;
    let moved = folder.path().with_extension("moved");
    fs::rename(folder.path(), &moved).unwrap();
    assert_eq!(
        ask(&store, "2").await.unwrap_err().rule,
        "pairing.unavailable"
    );
    assert!(store.book().unwrap().pending(NOW).is_empty());
    assert!(lets_in(&store, "1"), "what is known goes on");
    fs::rename(&moved, folder.path()).unwrap();
    assert!(matches!(ask(&store, "2").await, Ok(Asked::New(_))));
}

#[tokio::test]
async fn a_caller_who_hangs_up_leaves_disk_and_memory_in_agreement() {
    let (folder, store) = loop {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        // Polled once, so that the change has begun, and dropped; once more elsewhere if the disk was that quick.
        if ask(&store, "1").now_or_never().is_none() {
            break (folder, store);
        }
    };
    // The next change comes after it.
    assert_eq!(ask(&store, "1").await, Ok(Asked::Known));
    assert_eq!(open(&folder).book().unwrap(), store.book().unwrap());
}

#[tokio::test]
async fn after_a_write_that_failed_memory_says_what_the_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    approve(&store, "1").await;
    let (file, beside) = (
        folder.path().join(NAME),
        folder.path().join(format!(".{NAME}.new")),
    );
    let first = fs::read(&file).unwrap();
    approve(&store, "2").await;
    assert!(lets_in(&store, "2"));

    fs::write(&file, &first).unwrap();
    fs::create_dir(&beside).unwrap();
    assert_eq!(
        ask(&store, "3").await.unwrap_err().rule,
        "pairing.unavailable"
    );
    assert!(lets_in(&store, "1") && !lets_in(&store, "2"));
    assert!(store.book().unwrap().pending(NOW).is_empty());
}

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use clawdbot_proto::v1::{KeyringReply, KeyringRequest, keyring_reply};
use clawdbot_secrets::Environment;
use clawdbot_service::Pulses;
use prost::Message;

use super::*;
use crate::store::NoLease;
use crate::vault::{KEY, Provided, Vault};

/// A keyring that a test can lock, empty or break, and that counts who asks.
#[derive(Clone, Default)]
pub(crate) struct Keyring(Arc<Mutex<Held>>, Arc<AtomicUsize>);

#[derive(Default)]
struct Held {
    /// Vault id and key.
    keys: Vec<(String, Vec<u8>)>,
    /// What is said in the place of a key.
    error: Option<String>,
    /// The error is that there is no keyring.
    nowhere: bool,
    /// Requests in which nobody was to be asked.
    quiet: usize,
    /// Ends without an answer.
    dumb: bool,
}

impl Keyring {
    pub(crate) fn helpers(&self) -> Helpers {
        let keyring = self.clone();
        Arc::new(move || {
            let keyring = keyring.clone();
            Box::pin(async move {
                let (ours, theirs) = UnixStream::pair()?;
                // A paused clock stands still as long as this runs.
                tokio::task::spawn_blocking(move || keyring.serve(theirs));
                Ok(ours)
            })
        })
    }

    fn serve(&self, mut stream: UnixStream) {
        self.1.fetch_add(1, Ordering::Relaxed);
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let request = KeyringRequest::decode_length_delimited(bytes.as_slice()).unwrap();
        let mut held = self.0.lock().unwrap();
        held.quiet += usize::from(request.quiet);
        if held.dumb {
            return;
        }
        let id = request.vault_id;
        if !request.store.is_empty() && held.error.is_none() {
            held.keys.push((id.clone(), request.store));
        }
        let key = held.keys.iter().find(|(known, _)| *known == id);
        let outcome = match (&held.error, key) {
            (Some(why), _) if held.nowhere => keyring_reply::Outcome::Nowhere(why.clone()),
            (Some(why), _) => keyring_reply::Outcome::Error(why.clone()),
            (None, Some((_, key))) => keyring_reply::Outcome::Key(key.clone()),
            (None, None) => keyring_reply::Outcome::Absent(true),
        };
        let reply = KeyringReply {
            outcome: Some(outcome),
        };
        stream
            .write_all(&reply.encode_length_delimited_to_vec())
            .unwrap();
    }

    pub(crate) fn locked(&self, why: Option<&str>) {
        self.0.lock().unwrap().error = why.map(str::to_owned);
    }

    fn asked(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }
}

/// A keeper as after a start of the process in `folder`, with a configuration without secrets.
pub(crate) fn keeper(folder: &Path, keyring: &Keyring, environment: &str) -> Arc<Keeper> {
    started(folder, keyring, environment, Provided::Nobody)
}

fn started(folder: &Path, keyring: &Keyring, environment: &str, provided: Provided) -> Arc<Keeper> {
    let environment = Environment::parse(environment.as_bytes().to_vec().into(), Store::wants);
    let vault = Vault::load(folder);
    let mut store = Store::new(environment.unwrap(), folder.to_owned(), vault);
    store.load(vec![]);
    let random = |bytes: &mut [u8]| getrandom::fill(bytes).map_err(std::io::Error::from);
    Keeper::new(store, keyring.helpers(), provided, random, Pulse::default())
}

pub(crate) fn put(owner: &str, profile: &str, secret: &str) -> v1::PutCredentialRequest {
    v1::PutCredentialRequest {
        owner: owner.to_owned(),
        profile: profile.to_owned(),
        secret: secret.as_bytes().to_vec(),
        key_source: String::new(),
    }
}

fn from(source: &str, request: v1::PutCredentialRequest) -> v1::PutCredentialRequest {
    v1::PutCredentialRequest {
        key_source: source.to_owned(),
        ..request
    }
}

fn role(text: &str) -> Role {
    Role::parse(text).unwrap()
}

async fn leased(keeper: &Keeper, who: &str) -> Result<Vec<(String, String)>, String> {
    let role = role(who);
    if keeper.store().needs_the_vault(&role) {
        keeper.open(Wish::Worker).await;
    }
    let store = keeper.store();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match store.lease(&role) {
        Ok(lease) => Ok(lease
            .secrets
            .iter()
            .map(|(profile, secret)| (profile.clone(), text(secret)))
            .collect()),
        Err(NoLease::None(why)) => Err(why),
        Err(NoLease::NotLoaded) => Err("not loaded".to_owned()),
    }
}

fn one(profile: &str, secret: &str) -> Result<Vec<(String, String)>, String> {
    Ok(vec![(profile.to_owned(), secret.to_owned())])
}

fn vault(keeper: &Keeper) -> (String, String) {
    let vault = keeper.store().vault.describe();
    (vault.state, vault.key_source)
}

#[tokio::test]
async fn the_first_secret_makes_a_vault_with_its_key_in_the_keyring() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = Keyring::default();
    let first = keeper(folder.path(), &keyring, "");
    let reply = first.put(put("model-openai", "", "sk-one")).await.unwrap();
    assert_eq!((reply.replaced, reply.warning.as_str()), (false, ""));
    assert_eq!(reply.version, first.store().version(&role("model-openai")));
    assert!(!folder.path().join("vault.key").exists());
    assert_eq!(vault(&first), ("open".to_owned(), "keyring".to_owned()));
    assert_eq!(
        leased(&first, "model-openai").await,
        one("default", "sk-one")
    );

    // After a restart the key is asked for when somebody needs it, and not before.
    let (again, before) = (keeper(folder.path(), &keyring, ""), keyring.asked());
    assert!(leased(&again, "model-anthropic").await.is_err());
    assert_eq!(
        (keyring.asked(), vault(&again).0.as_str()),
        (before, "waiting")
    );
    assert_eq!(
        leased(&again, "model-openai").await,
        one("default", "sk-one")
    );
    assert_eq!(
        (keyring.asked(), vault(&again).0.as_str()),
        (before + 1, "open")
    );
    assert_eq!(
        again.store().version(&role("model-openai")),
        reply.version,
        "the same over a restart"
    );
}

#[tokio::test]
async fn without_a_keyring_the_key_lies_in_a_file_and_the_person_is_told() {
    let keyring = Keyring::default();
    keyring.locked(Some("there is no session bus"));
    keyring.0.lock().unwrap().nowhere = true;
    for (source, reason) in [
        ("", "no session bus"),
        ("file", "whoever can read your files"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let first = keeper(folder.path(), &keyring, "");
        let request = from(source, put("model-openai", "", "sk-one"));
        let reply = first.put(request).await.unwrap();
        assert!(reply.warning.contains("vault.key") && reply.warning.contains(reason));
        let again = keeper(folder.path(), &keyring, "");
        assert_eq!(
            leased(&again, "model-openai").await,
            one("default", "sk-one")
        );
        assert_eq!(vault(&again), ("open".to_owned(), "file".to_owned()));
    }
}

#[tokio::test]
async fn the_keyring_or_nothing_means_nothing_when_it_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = Keyring::default();
    let keeper = keeper(folder.path(), &keyring, "");
    for (error, dumb, part) in [
        (Some("it is locked"), false, "locked"),
        (None, true, "see the log"),
    ] {
        keyring.locked(error);
        keyring.0.lock().unwrap().dumb = dumb;
        let request = from("keyring", put("model-openai", "", "sk-one"));
        let Err(Refused::State(why)) = keeper.put(request).await else {
            panic!("a vault was made");
        };
        assert!(why.contains(part), "{why}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_keyring_that_is_only_locked_is_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = Keyring::default();
    let keeper = keeper(folder.path(), &keyring, "");
    keyring.locked(Some("the keyring is locked; unlock it"));
    let request = put("model-openai", "", "sk-one");
    let Err(Refused::State(why)) = keeper.put(request.clone()).await else {
        panic!("a vault was made");
    };
    assert!(why.contains("unlock it") && why.contains("--key-source file"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    keeper.put(from("file", request)).await.unwrap();
    assert_eq!(vault(&keeper).1, "file");
}

#[tokio::test(start_paused = true)]
async fn a_keyring_that_is_unlocked_later_opens_the_vault_without_anybody_asking() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = Keyring::default();
    let first = keeper(folder.path(), &keyring, "");
    first.put(put("model-openai", "", "sk-one")).await.unwrap();
    let keeper = keeper(folder.path(), &keyring, "");
    let again = Arc::clone(&keeper);
    tokio::spawn(async move { again.try_again().await });
    let asked = keyring.asked();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(keyring.asked(), asked, "nobody has needed it yet");

    keyring.locked(Some("the keyring is locked: unlock it"));
    assert!(leased(&keeper, "model-openai").await.is_err());
    assert_eq!(
        (keyring.asked() - asked, keyring.0.lock().unwrap().quiet),
        (1, 0)
    );
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    let tries = keyring.asked() - asked;
    assert!((200..300).contains(&tries), "{tries} in a day");
    assert_eq!(
        keyring.0.lock().unwrap().quiet,
        tries - 1,
        "nobody is asked"
    );

    keyring.locked(None);
    let mut news = keeper.changes();
    news.mark_unchanged();
    news.changed().await.unwrap();
    assert_ne!(keeper.store().version(&role("model-openai")), 0);
    let after = keyring.asked();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(keyring.asked(), after, "it is open");
    assert_eq!(
        leased(&keeper, "model-openai").await,
        one("default", "sk-one")
    );
}

#[tokio::test]
async fn where_the_key_is_stays_as_it_was_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = Keyring::default();
    let keeper = keeper(folder.path(), &keyring, "");
    let first = from("keyring", put("model-openai", "", "sk-one"));
    keeper.put(first).await.unwrap();
    let second = from("file", put("model-openai", "work", "sk-two"));
    let reply = keeper.put(second).await.unwrap();
    assert!(reply.warning.contains("stays"), "{}", reply.warning);
    assert_eq!(vault(&keeper).1, "keyring");
    let nonsense = from("cloud", put("model-openai", "work", "sk-two"));
    assert!(matches!(
        keeper.put(nonsense).await,
        Err(Refused::Request(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_locked_keyring_is_asked_with_growing_pauses_and_at_once_for_a_person() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = Keyring::default();
    let first = keeper(folder.path(), &keyring, "");
    first.put(put("model-openai", "", "sk-one")).await.unwrap();
    let before = fs::read(folder.path().join("vault")).unwrap();

    keyring.locked(Some("the keyring is locked: unlock it"));
    let keeper = keeper(
        folder.path(),
        &keyring,
        "OPENAI_API_KEY=other\0GROQ_API_KEY=g",
    );
    let asked = keyring.asked();
    let version = || keeper.store().version(&role("model-openai"));
    let whole = version();
    let mut news = keeper.changes();
    for expected in [1, 1] {
        let why = leased(&keeper, "model-openai").await.unwrap_err();
        assert!(why.contains("unlock it"), "never the other key: {why}");
        assert_eq!(keyring.asked() - asked, expected);
    }
    assert!(news.has_changed().unwrap());
    assert_eq!((whole == 0, version()), (false, 0));
    let list = keeper.store().list();
    let kept = list.iter().find(|c| c.source == "vault").unwrap();
    assert_eq!((kept.present, kept.in_use), (true, false));
    assert_eq!(leased(&keeper, "model-groq").await, one("default", "g"));
    for (seconds, expected) in [(4, 1), (2, 2), (6, 2), (5, 3)] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        assert!(leased(&keeper, "model-openai").await.is_err());
        assert_eq!(keyring.asked() - asked, expected);
    }
    // Nothing is stored meanwhile, and above all no new vault made.
    let put = keeper.put(put("model-openai", "", "sk-two")).await;
    assert!(matches!(put, Err(Refused::State(why)) if why.contains("unlock it")));
    assert_eq!(keyring.asked() - asked, 4, "a person is not kept waiting");
    assert_eq!(fs::read(folder.path().join("vault")).unwrap(), before);

    keyring.locked(None);
    news.mark_unchanged();
    keeper.open(Wish::Person).await;
    assert!(news.has_changed().unwrap());
    assert_eq!(version(), whole);
    assert_eq!(
        leased(&keeper, "model-openai").await,
        one("default", "sk-one")
    );
}

#[tokio::test]
async fn a_keyring_without_the_key_or_with_another_one_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = Keyring::default();
    let first = keeper(folder.path(), &keyring, "");
    first.put(put("model-openai", "", "sk-one")).await.unwrap();
    let before = fs::read(folder.path().join("vault")).unwrap();
    let id = keyring.0.lock().unwrap().keys[0].0.clone();
    for (keys, part) in [
        (vec![], "no key for vault"),
        (vec![(id.clone(), vec![9; 32])], "not its key"),
        (vec![(id, vec![9; 31])], "is no key"),
    ] {
        keyring.0.lock().unwrap().keys = keys;
        let keeper = keeper(folder.path(), &keyring, "");
        let why = leased(&keeper, "model-openai").await.unwrap_err();
        assert!(why.contains(part), "{why}");
        assert!(keeper.put(put("model-openai", "", "x")).await.is_err());
        assert_eq!(fs::read(folder.path().join("vault")).unwrap(), before);
    }
}

#[tokio::test]
async fn only_who_logs_in_somewhere_gets_a_credential_and_only_a_plausible_one() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = keeper(folder.path(), &Keyring::default(), "");
    let long = "x".repeat(MAX_VALUE + 1);
    for request in [
        put("policy", "", "x"),
        put("operator", "", "x"),
        put("agent-main", "", "x"),
        put("channel-signal", "", "x"),
        put("nonsense", "", "x"),
        put("", "", "x"),
        put("model-openai", " work", "x"),
        put("model-openai", "a\u{202e}b", "x"),
        put("model-openai", &"p".repeat(65), "x"),
        put("model-openai", "", ""),
        put("model-openai", "", "a\nb"),
        put("model-openai", "", &long),
    ] {
        let at = format!("{} {:?}", request.owner, request.profile);
        let refused = keeper.put(request).await;
        assert!(matches!(refused, Err(Refused::Request(_))), "{at}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    for owner in [
        "model-my-llm",
        "channel-telegram",
        "channel-discord",
        "channel-bluebubbles",
    ] {
        keeper.put(put(owner, "my bot", "x")).await.unwrap();
    }
}

#[tokio::test]
async fn a_removed_credential_says_what_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = keeper(folder.path(), &Keyring::default(), "OPENAI_API_KEY=o");
    keeper.put(put("model-openai", "", "sk-one")).await.unwrap();
    keeper
        .put(put("model-openai", "work", "sk-two"))
        .await
        .unwrap();
    let remove = |profile: &str| v1::RemoveCredentialRequest {
        owner: "model-openai".to_owned(),
        profile: profile.to_owned(),
    };
    let mut news = keeper.changes();
    let reply = keeper.remove(remove("")).await.unwrap();
    assert_eq!(
        (reply.removed, reply.remaining.as_str()),
        (true, "environment")
    );
    assert!(news.has_changed().unwrap());
    let reply = keeper.remove(remove("")).await.unwrap();
    assert_eq!(
        (reply.removed, reply.remaining.as_str()),
        (false, "environment")
    );
    let reply = keeper.remove(remove("work")).await.unwrap();
    assert_eq!((reply.removed, reply.remaining.as_str()), (true, ""));
    assert_eq!(leased(&keeper, "model-openai").await, one("default", "o"));
    news.mark_unchanged();
    fs::write(folder.path().join("vault"), "rubbish").unwrap();
    let broken = self::keeper(folder.path(), &Keyring::default(), "");
    assert!(matches!(
        broken.remove(remove("")).await,
        Err(Refused::State(_))
    ));
}

/// As after a start by the service manager, which gave this key or none.
fn by_manager(folder: &Path, key: Option<u8>) -> Arc<Keeper> {
    let bytes = key.map(|fill| Ok(Zeroizing::new(vec![fill; KEY])));
    started(folder, &Keyring::default(), "", Provided::of(bytes))
}

#[tokio::test]
async fn in_system_mode_the_manager_holds_the_key_and_nobody_else_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let first = by_manager(path, Some(1));
    for source in ["keyring", "file"] {
        let refused = first
            .put(from(source, put("model-openai", "", "sk-1")))
            .await;
        let Err(Refused::State(why)) = refused else {
            panic!("{source}")
        };
        assert!(why.contains("--key-source"), "{why}");
    }
    assert!(!path.join("vault").exists());
    let stored = first.put(put("model-openai", "", "sk-1")).await.unwrap();
    assert_eq!(stored.warning, "");
    assert_eq!(vault(&first), ("open".to_owned(), "credential".to_owned()));
    assert!(!path.join("vault.key").exists(), "no copy of the key");
    drop(first);

    let again = by_manager(path, Some(1));
    assert_eq!(leased(&again, "model-openai").await, one("default", "sk-1"));
    let stored = again
        .put(from("credential", put("model-openai", "work", "sk-2")))
        .await;
    assert_eq!(stored.unwrap().warning, "");
    drop(again);

    let before = fs::read(path.join("vault")).unwrap();
    for (key, part) in [(None, "clawdbot.vault-key"), (Some(2), "not its key")] {
        let other = by_manager(path, key);
        let why = leased(&other, "model-openai").await.unwrap_err();
        assert!(why.contains(part), "{why}");
        assert_eq!(vault(&other).0, "unreachable");
        let refused = other.put(put("model-openai", "", "sk-3")).await;
        assert!(matches!(refused, Err(Refused::State(_))));
        assert_eq!(fs::read(path.join("vault")).unwrap(), before);
    }
    // Without its service manager it cannot be opened.
    let single = keeper(path, &Keyring::default(), "");
    let why = leased(&single, "model-openai").await.unwrap_err();
    assert!(why.contains("did not start this process"), "{why}");
    let found = by_manager(path, Some(1));
    assert_eq!(leased(&found, "model-openai").await.unwrap().len(), 2);
}

#[tokio::test]
async fn without_the_managers_key_no_vault_is_made() {
    let folder = tempfile::tempdir().unwrap();
    for keeper in [
        by_manager(folder.path(), None),
        keeper(folder.path(), &Keyring::default(), ""),
    ] {
        let wanted = from("credential", put("model-openai", "", "sk-1"));
        assert!(matches!(keeper.put(wanted).await, Err(Refused::State(_))));
        assert!(!folder.path().join("vault").exists());
    }
    let refused = by_manager(folder.path(), None)
        .put(put("model-openai", "", "sk-1"))
        .await;
    assert!(matches!(refused, Err(Refused::State(why)) if why.contains("credstore")));
}

#[tokio::test]
async fn a_vault_that_nobody_gives_back_is_noticed() {
    let scratch = tempfile::tempdir().unwrap();
    let (pulses, patience) = (Pulses::default(), Duration::from_secs(60));
    let random = |_: &mut [u8]| Ok(());
    let store = Store::new(
        Environment::default(),
        scratch.path().to_owned(),
        Vault::load(scratch.path()),
    );
    let pulse = pulses.add("vault", patience);
    let keeper = Keeper::new(
        store,
        Keyring::default().helpers(),
        Provided::Nobody,
        random,
        pulse,
    );
    for _ in 0..3 {
        keeper.open(Wish::Person).await;
        assert!(pulses.are_fresh(2 * patience), "it rests");
    }
    let turn = keeper.turn().await;
    assert!(pulses.are_fresh(patience));
    assert!(!pulses.are_fresh(2 * patience));
    drop(turn);
    assert!(pulses.are_fresh(2 * patience));
}

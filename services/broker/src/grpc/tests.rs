use std::path::Path;
use std::sync::{Mutex as StdMutex, OnceLock};

use clawdbot_identity::Role;
use clawdbot_proto::v1::broker_operator_client::BrokerOperatorClient;
use clawdbot_proto::v1::credentials_client::CredentialsClient;
use clawdbot_proto::v1::leases_client::LeasesClient;
use clawdbot_secrets::Environment;
use clawdbot_service::testing::connect;
use clawdbot_service::{Edge, Pulse};
use tonic::Code;
use tracing::field::{Field, Visit};
use tracing::span;

use super::*;
use crate::keeper::tests::{Keyring, keeper, put};
use crate::store::Store;
use crate::vault::{Provided, Vault};

const CANARY: &str = "sk-canary-7f3a";

/// Of a broker that takes no orders.
fn router_of(keeper: Arc<Keeper>) -> Router {
    router(keeper, Arc::new(|_: &str, _: &str| {}))
}

fn unloaded(environment: &str) -> Router {
    let environment =
        Environment::parse(environment.as_bytes().to_vec().into(), Store::wants).unwrap();
    let nowhere = Path::new("/nonexistent");
    let store = Store::new(environment, nowhere.to_owned(), Vault::load(nowhere));
    router_of(Keeper::new(
        store,
        Keyring::default().helpers(),
        Provided::Nobody,
        |_| Ok(()),
        Pulse::default(),
    ))
}

struct Bench(Router);

impl Bench {
    /// A broker to which a configuration without secrets has been brought.
    fn new(environment: &str) -> Self {
        captured();
        let nowhere = Path::new("/nonexistent");
        Self(router_of(keeper(nowhere, &Keyring::default(), environment)))
    }

    /// One with a vault in `folder`.
    fn with_vault(folder: &Path, keyring: &Keyring) -> Self {
        captured();
        Self(router_of(keeper(folder, keyring, "")))
    }

    async fn put(&self, owner: &str, secret: &str) -> Result<v1::PutCredentialReply, Status> {
        let mut operator = BrokerOperatorClient::new(self.edge("operator"));
        let reply = operator.put(put(owner, "", secret)).await?;
        Ok(reply.into_inner())
    }

    async fn watch(&self, role: &str) -> tonic::Streaming<v1::LeaseVersion> {
        let mut leases = LeasesClient::new(self.edge(role));
        let watching = leases.watch(v1::WatchLeaseRequest {}).await;
        watching.unwrap().into_inner()
    }

    fn edge(&self, client: &str) -> Edge {
        let role = |text| Role::parse(text).unwrap();
        connect(&role(client), &role("broker"), self.0.clone()).unwrap()
    }

    async fn load(&self, path: &str, source: v1::secret_entry::Source) -> Vec<v1::SecretProblem> {
        let entries = vec![v1::SecretEntry {
            config_path: path.to_owned(),
            source: Some(source),
        }];
        let request = v1::LoadRequest {
            revision: 1,
            entries,
            audiences: vec![v1::Audience {
                role: "model-openai".to_owned(),
                audience: "https://a.example".to_owned(),
            }],
            ..v1::LoadRequest::default()
        };
        CredentialsClient::new(self.edge("policy"))
            .load(request)
            .await
            .unwrap()
            .into_inner()
            .problems
    }

    async fn lease(&self, role: &str) -> Result<Vec<u8>, Status> {
        let reply = LeasesClient::new(self.edge(role))
            .lease(v1::LeaseRequest {})
            .await?;
        Ok(reply.into_inner().secrets.remove(0).secret)
    }
}

/// Every event of ours in this test process as text. Set before anything is logged: tracing remembers for each place
/// whether somebody listens.
fn captured() -> &'static Arc<StdMutex<String>> {
    static LINES: OnceLock<Arc<StdMutex<String>>> = OnceLock::new();
    LINES.get_or_init(|| {
        let capture = Capture::default();
        tracing::subscriber::set_global_default(capture.clone()).unwrap();
        // Another test that came somewhere in this moment may have found nobody.
        tracing::callsite::rebuild_interest_cache();
        capture.0
    })
}

#[derive(Clone, Default)]
struct Capture(Arc<StdMutex<String>>);

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}

impl tracing::Subscriber for Capture {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("clawdbot")
    }
    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        attributes.record(&mut Text(&mut self.0.lock().unwrap()));
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Text(&mut self.0.lock().unwrap()));
    }
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Text(&mut self.0.lock().unwrap()));
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn a_literal_reaches_its_owner_and_nobody_else() {
    let bench = Bench::new("");
    let literal = v1::secret_entry::Source::Literal(CANARY.into());
    assert!(
        bench
            .load("models.providers.openai.apiKey", literal)
            .await
            .is_empty()
    );
    assert_eq!(
        bench.lease("model-openai").await.unwrap(),
        CANARY.as_bytes()
    );
    let reply = LeasesClient::new(bench.edge("model-openai"))
        .lease(v1::LeaseRequest {})
        .await;
    assert_eq!(reply.unwrap().into_inner().audience, "https://a.example");
    for other in ["model-anthropic", "model-builtin"] {
        assert_eq!(
            bench.lease(other).await.unwrap_err().code(),
            Code::NotFound,
            "{other}"
        );
    }
    for other in [
        "gateway",
        "agent-main",
        "agent-guest",
        "executor",
        "dialer",
        "supervisor",
        "operator",
        "policy",
    ] {
        assert_eq!(
            bench.lease(other).await.unwrap_err().code(),
            Code::PermissionDenied,
            "{other}"
        );
    }
}

#[tokio::test]
async fn a_lease_before_the_configuration_may_be_asked_for_again() {
    let bench = Bench(unloaded(&format!("OPENAI_API_KEY={CANARY}")));
    let refused = bench.lease("model-openai").await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unavailable, "the configuration has not arrived yet")
    );
    let literal = v1::secret_entry::Source::Literal("other".into());
    bench.load("models.providers.openai.apiKey", literal).await;
    assert_eq!(bench.lease("model-openai").await.unwrap(), b"other");
}

#[tokio::test]
async fn a_role_without_a_secret_is_told_the_variable_and_the_setting() {
    let refused = Bench::new("").lease("model-anthropic").await.unwrap_err();
    for part in ["ANTHROPIC_API_KEY", "models.providers.anthropic.apiKey"] {
        assert!(refused.message().contains(part), "{}", refused.message());
    }
}

#[tokio::test]
async fn policy_learns_names_and_the_operator_owners_but_never_values() {
    let bench = Bench::new(&format!("OPENAI_API_KEY={CANARY}\0EMPTY="));
    let names = ["OPENAI_API_KEY", "EMPTY", "OTHER"]
        .map(str::to_owned)
        .to_vec();
    let reply = CredentialsClient::new(bench.edge("policy"))
        .has_names(v1::HasNamesRequest { names })
        .await
        .unwrap();
    assert_eq!(reply.into_inner().set, ["OPENAI_API_KEY"]);
    let list = BrokerOperatorClient::new(bench.edge("operator"))
        .list(v1::ListCredentialsRequest {})
        .await
        .unwrap();
    let list = list.into_inner().credentials;
    assert_eq!(
        (list[0].owner.as_str(), list[0].present),
        ("model-openai", true)
    );
    assert!(!format!("{list:?}").contains(CANARY));
}

#[tokio::test]
async fn no_credential_is_ever_logged() {
    let bench = Bench::new(&format!("OPENAI_API_KEY={CANARY}"));
    let literal = || v1::secret_entry::Source::Literal(CANARY.into());
    bench
        .load("models.providers.anthropic.apiKey", literal())
        .await;
    bench.load("no.such.path", literal()).await;
    bench.lease("model-openai").await.unwrap();
    bench.lease("model-ollama").await.unwrap_err();
    let folder = tempfile::tempdir().unwrap();
    let vault = Bench::with_vault(folder.path(), &Keyring::default());
    vault.put("model-groq", CANARY).await.unwrap();
    vault.put("policy", CANARY).await.unwrap_err();
    let text = captured().lock().unwrap().clone();
    assert!(
        text.contains("leased a secret to its owner") && text.contains("stored a credential"),
        "the capture works: {text}"
    );
    assert!(!text.contains(CANARY), "{text}");
}

#[tokio::test]
async fn a_credential_reaches_its_owner_at_once_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::with_vault(folder.path(), &Keyring::default());
    let (mut telegram, mut model) = (
        bench.watch("channel-telegram").await,
        bench.watch("model-anthropic").await,
    );
    let next = async |watch: &mut tonic::Streaming<v1::LeaseVersion>| {
        watch.message().await.unwrap().unwrap().version
    };
    assert_eq!((next(&mut telegram).await, next(&mut model).await), (0, 0));

    let stored = bench.put("model-anthropic", CANARY).await.unwrap();
    assert_eq!(next(&mut model).await, stored.version);
    assert_eq!(
        bench.lease("model-anthropic").await.unwrap(),
        CANARY.as_bytes()
    );
    let refused = bench.lease("channel-telegram").await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);

    let stored = bench.put("channel-telegram", "123:token").await.unwrap();
    assert_eq!(next(&mut telegram).await, stored.version);
    let newer = bench.put("model-anthropic", "sk-newer").await.unwrap();
    assert!(newer.replaced);
    assert_eq!(next(&mut model).await, newer.version);
    assert_eq!(bench.lease("model-anthropic").await.unwrap(), b"sk-newer");

    let mut operator = BrokerOperatorClient::new(bench.edge("operator"));
    let request = v1::RemoveCredentialRequest {
        owner: "model-anthropic".to_owned(),
        profile: "default".to_owned(),
    };
    let removed = operator.remove(request).await.unwrap().into_inner();
    assert!(removed.removed);
    assert_eq!(next(&mut model).await, 0);
    let list = operator.list(v1::ListCredentialsRequest {}).await.unwrap();
    let list = list.into_inner();
    assert_eq!(list.vault.unwrap().state, "open");
    assert_eq!(list.credentials.len(), 1);
}

#[tokio::test]
async fn only_the_operator_stores_and_removes() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::with_vault(folder.path(), &Keyring::default());
    for other in ["model-anthropic", "channel-telegram", "gateway", "policy"] {
        let mut client = BrokerOperatorClient::new(bench.edge(other));
        let refused = client.put(put("model-anthropic", "", "x")).await;
        assert_eq!(
            refused.unwrap_err().code(),
            Code::PermissionDenied,
            "{other}"
        );
    }
    let refused = bench.put("policy", "x").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    bench.put("model-anthropic", "x").await.unwrap();
}

#[tokio::test]
async fn a_watch_waits_for_the_configuration() {
    let bench = Bench(unloaded(&format!("OPENAI_API_KEY={CANARY}")));
    let mut watch = bench.watch("model-openai").await;
    let literal = v1::secret_entry::Source::Literal("other".into());
    let (first, _) = tokio::join!(
        watch.message(),
        bench.load("models.providers.openai.apiKey", literal)
    );
    let lease = LeasesClient::new(bench.edge("model-openai"))
        .lease(v1::LeaseRequest {})
        .await
        .unwrap();
    assert_eq!(first.unwrap().unwrap().version, lease.into_inner().version);
}

#[tokio::test]
async fn a_locked_keyring_is_told_to_who_asks_and_hurts_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = Keyring::default();
    let first = Bench::with_vault(folder.path(), &keyring);
    first.put("model-anthropic", CANARY).await.unwrap();
    keyring.locked(Some("unlock the keyring"));
    let bench = Bench::with_vault(folder.path(), &keyring);
    let literal = v1::secret_entry::Source::Literal("o".into());
    bench.load("models.providers.openai.apiKey", literal).await;
    let refused = bench.lease("model-anthropic").await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::NotFound, "unlock the keyring")
    );
    assert_eq!(bench.lease("model-openai").await.unwrap(), b"o");
    let refused = bench.put("model-groq", "x").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    keyring.locked(None);
    let mut operator = BrokerOperatorClient::new(bench.edge("operator"));
    operator.list(v1::ListCredentialsRequest {}).await.unwrap();
    assert_eq!(
        bench.lease("model-anthropic").await.unwrap(),
        CANARY.as_bytes()
    );
}

/// The next events that policy sees.
async fn told(stream: &mut tonic::Streaming<v1::JournalEvent>, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        let event = stream.message().await.unwrap().unwrap();
        let v1::JournalEvent {
            what,
            role,
            subject,
            refused,
            ..
        } = event;
        all.push(format!("{what} {role} {subject} {refused}"));
    }
    all
}

#[tokio::test]
async fn policy_is_told_who_leased_kept_and_removed_what_and_never_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::with_vault(folder.path(), &Keyring::default());
    let mut journal = clawdbot_proto::v1::journal_client::JournalClient::new(bench.edge("policy"));
    let watching = journal.watch(v1::WatchJournalRequest { after: 0 }).await;
    let mut watching = watching.unwrap().into_inner();
    let mut leases = LeasesClient::new(bench.edge("model-openai"));
    assert!(leases.lease(v1::LeaseRequest {}).await.is_err());
    bench.put("model-openai", CANARY).await.unwrap();
    leases.lease(v1::LeaseRequest {}).await.unwrap();
    bench.put(CANARY, "x").await.unwrap_err();
    let mut operator = BrokerOperatorClient::new(bench.edge("operator"));
    let request = v1::RemoveCredentialRequest {
        owner: "model-openai".to_owned(),
        profile: String::new(),
    };
    operator.remove(request).await.unwrap();
    let told = told(&mut watching, 5).await;
    assert_eq!(
        told,
        [
            "lease model-openai  lease.none",
            "put operator model-openai/default ",
            "lease model-openai default ",
            "put operator  credential.invalid",
            "remove operator model-openai/default ",
        ]
    );
}

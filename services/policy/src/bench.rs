//! What several tests stand on: a policy over a temporary folder, and a broker that only takes notes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use clawdbot_identity::Role;
use clawdbot_proto::v1;
use clawdbot_proto::v1::credentials_server::{Credentials, CredentialsServer};
use clawdbot_secrets::Secret;
use clawdbot_service::testing::connect;
use clawdbot_service::{Edge, Router};
use tonic::{Request, Response, Status};
use tracing::field::{Field, Visit};

use crate::audit::{Limits, Log};
use crate::budget::Budgets;
use crate::config_file::ConfigFile;
use crate::credential::StartCredentials;
use crate::file_watch::FileWatch;
use crate::grpc;
use crate::keep::Keep;
use crate::pairing::Store;
use crate::plan_files::PlanFiles;
use crate::policy::{Parts, Policy, random, unix_ms};
use crate::provenance::Provenance;
use crate::reload::{self, Outcome};
use crate::slices::Place;

/// A credential that no log line, record or error may show.
pub(crate) const CANARY: &str = "canary-0f1e2d3c4b5a69788796";

pub(crate) fn role(text: &str) -> Role {
    Role::parse(text).unwrap()
}

/// A policy and its folder.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) policy: Arc<Policy>,
    pub(crate) broker: Broker,
}

impl Bench {
    /// With a configuration in force, if it is a valid one.
    pub(crate) async fn new(config: &str) -> Self {
        let bench = Self::unloaded(StartCredentials::default());
        bench.write(config);
        bench.load().await;
        bench
    }

    pub(crate) fn unloaded(start: StartCredentials) -> Self {
        captured();
        let folder = tempfile::tempdir().unwrap();
        let policy = Arc::new(Self::policy(folder.path().to_owned(), start));
        Self {
            folder,
            policy,
            broker: Broker::default(),
        }
    }

    fn policy(folder: PathBuf, start: StartCredentials) -> Policy {
        let keep = Keep::new(folder.clone());
        let people = Store::open(Keep::new(folder.clone()));
        let fresh = !keep.has_master_key();
        let master = keep.master_key(random).unwrap();
        let provenance = Provenance::open(&keep, fresh).unwrap();
        Policy::new(Parts {
            place: Place {
                port: 0,
                home: "/home/ann".to_owned(),
                managed: folder.join("plan").exists(),
            },
            config: ConfigFile::new(folder.join("clawdbot.json"), None),
            keep,
            master,
            start,
            audit: Log::open(&folder, Limits::DEFAULT, random, unix_ms()).unwrap(),
            people,
            provenance,
            budgets: Budgets::open(Keep::new(folder.clone())),
            plan: PlanFiles::new(
                Some(folder.join("plan"))
                    .filter(|plan| plan.exists())
                    .into_iter()
                    .collect(),
            ),
        })
    }

    /// The same folder after a restart of the process.
    pub(crate) async fn restarted(self) -> Self {
        let bench = self.restarted_unloaded();
        bench.load().await;
        bench
    }

    /// The same before it has read its file.
    pub(crate) fn restarted_unloaded(self) -> Self {
        let policy = Arc::new(Self::policy(
            self.folder.path().to_owned(),
            StartCredentials::default(),
        ));
        Self {
            folder: self.folder,
            policy,
            broker: self.broker,
        }
    }

    pub(crate) fn write(&self, config: &str) {
        std::fs::write(self.policy.config.path(), config).unwrap();
    }

    pub(crate) async fn load(&self) -> Outcome {
        reload::load(&self.policy, &self.broker.edge()).await
    }

    pub(crate) fn watch(&self) -> FileWatch {
        FileWatch::new(self.policy.config.path()).unwrap()
    }

    /// An edge on which a role calls this policy.
    pub(crate) fn edge(&self, client: &str) -> Edge {
        connect(
            &role(client),
            &role("policy"),
            grpc::router(Arc::clone(&self.policy)),
        )
        .unwrap()
    }

    /// The decisions on record; not the events of this process itself.
    pub(crate) fn decisions(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.folder.path().join("decisions.jsonl")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|record| {
                let request = record["request"].as_str().unwrap();
                !request.starts_with("audit-") && !["config", "start", "stop"].contains(&request)
            })
            .collect()
    }

    /// Rule of the last decision, or `allow`.
    pub(crate) fn last_decision(&self) -> String {
        let last = self.decisions().pop().unwrap();
        last["rule"].as_str().unwrap_or("allow").to_owned()
    }
}

pub(crate) fn secret(text: &str) -> Option<Secret> {
    Some(Secret::new(text.as_bytes().to_vec().into()).unwrap())
}

/// A broker that notes what it is brought and knows which variables are set.
#[derive(Clone, Default)]
pub(crate) struct Broker {
    pub(crate) set: Arc<Mutex<Vec<String>>>,
    pub(crate) loads: Arc<Mutex<Vec<v1::LoadRequest>>>,
}

impl Broker {
    pub(crate) fn router(&self) -> Router {
        Router::new().add(CredentialsServer::new(self.clone()))
    }

    pub(crate) fn edge(&self) -> Edge {
        connect(&role("policy"), &role("broker"), self.router()).unwrap()
    }
}

#[tonic::async_trait]
impl Credentials for Broker {
    async fn load(
        &self,
        request: Request<v1::LoadRequest>,
    ) -> Result<Response<v1::LoadReply>, Status> {
        self.loads.lock().unwrap().push(request.into_inner());
        Ok(Response::new(v1::LoadReply {
            problems: Vec::new(),
        }))
    }

    async fn has_names(
        &self,
        request: Request<v1::HasNamesRequest>,
    ) -> Result<Response<v1::HasNamesReply>, Status> {
        let known = self.set.lock().unwrap();
        let set = request
            .into_inner()
            .names
            .into_iter()
            .filter(|name| known.contains(name))
            .collect();
        Ok(Response::new(v1::HasNamesReply { set }))
    }
}

/// Every event of ours in this test process as text. Set before anything is logged: tracing remembers for each place
/// whether somebody listens.
pub(crate) fn captured() -> &'static Arc<Mutex<String>> {
    static LINES: OnceLock<Arc<Mutex<String>>> = OnceLock::new();
    LINES.get_or_init(|| {
        let capture = Capture::default();
        tracing::subscriber::set_global_default(capture.clone()).unwrap();
        // Another test that came somewhere in this moment may have found nobody.
        tracing::callsite::rebuild_interest_cache();
        capture.0
    })
}

#[derive(Clone, Default)]
struct Capture(Arc<Mutex<String>>);

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
    fn new_span(&self, attributes: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        attributes.record(&mut Text(&mut self.0.lock().unwrap()));
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut Text(&mut self.0.lock().unwrap()));
    }
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Text(&mut self.0.lock().unwrap()));
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

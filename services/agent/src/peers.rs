//! What the agent has of other processes: its own slice of the configuration, policy, model workers and the executor.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use clawdbot_identity::{Class, Handle, InstanceName, ProviderId, Role, SessionKey};
use clawdbot_proto::v1::executor_client::ExecutorClient;
use clawdbot_proto::v1::model_client::ModelClient;
use clawdbot_proto::v1::sessions_client::SessionsClient;
use clawdbot_proto::v1::{self, AgentSlice, Snapshot, snapshot::Slice};
use clawdbot_service::Edge;
use tokio::sync::watch;
use tonic::{Code, Status};
use tracing::warn;

use crate::transcript::Failure;

/// Policy's word for having no valid configuration.
const NOT_DECIDED: &str = "config.none";

/// The slice in force when a turn began.
#[derive(Clone)]
pub struct Config(Arc<Snapshot>);

impl Deref for Config {
    type Target = AgentSlice;

    fn deref(&self) -> &AgentSlice {
        static NONE: LazyLock<AgentSlice> = LazyLock::new(AgentSlice::default);
        match &self.0.slice {
            Some(Slice::Agent(slice)) => slice,
            // `Config` is made of an agent's slice only.
            _ => &NONE,
        }
    }
}

impl Config {
    fn of(snapshot: &Arc<Snapshot>) -> Option<Self> {
        let agents = matches!(snapshot.slice, Some(Slice::Agent(_)));
        agents.then(|| Self(Arc::clone(snapshot)))
    }
}

type Tools = Arc<Vec<v1::ToolSpec>>;

type MakeEdge = Box<dyn Fn(&Role) -> Edge + Send + Sync>;

/// The processes that the agent calls.
pub struct Peers {
    class: Class,
    config: watch::Receiver<Option<Arc<Snapshot>>>,
    policy: SessionsClient<Edge>,
    executor: ExecutorClient<Edge>,
    edge: MakeEdge,
    models: Mutex<HashMap<ProviderId, Edge>>,
    /// The executor's tools by policy's number of what a session is offered, and the configuration under which it named
    /// them.
    tools: Mutex<Option<(Config, HashMap<u64, Tools>)>>,
}

/// A session as policy knows it.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub key: SessionKey,
    pub agent: String,
    /// owner, approved or stranger.
    pub standing: String,
    /// What is left of the budgets.
    pub means: Vec<v1::BudgetRow>,
    /// Two sessions with the same number are offered the same tools.
    pub offers: u64,
    /// Shown with everything that comes of the message.
    pub trace: String,
}

/// Offers that are remembered; with more all are asked for again.
const OFFERS: usize = 64;

impl Peers {
    pub fn new(
        class: Class,
        config: watch::Receiver<Option<Arc<Snapshot>>>,
        edge: MakeEdge,
    ) -> Self {
        Self {
            class,
            config,
            policy: SessionsClient::new(edge(&Role::policy())),
            executor: ExecutorClient::new(edge(&Role::executor())),
            edge,
            models: Mutex::default(),
            tools: Mutex::default(),
        }
    }

    pub fn class(&self) -> Class {
        self.class
    }

    /// The slice in force; waits for the first one.
    pub async fn slice(&self) -> Result<Config, Status> {
        let mut config = self.config.clone();
        let snapshot = config.wait_for(Option::is_some).await;
        let snapshot = snapshot.map_err(|_| Status::unavailable("the process is ending"))?;
        snapshot
            .as_ref()
            .and_then(Config::of)
            .ok_or_else(|| Status::internal("the configuration's slice is not an agent's"))
    }

    /// The slice in force, if there is one.
    pub fn present_slice(&self) -> Option<Config> {
        self.config.borrow().as_ref().and_then(Config::of)
    }

    /// Asks policy what a handle stands for. The inner error is a refusal, the outer one says that nobody could decide.
    pub async fn resolve(&self, handle: &Handle) -> Result<Result<Resolved, Failure>, Status> {
        let request = v1::ResolveRequest {
            handle: handle.as_str().into(),
        };
        let session = match self.policy.clone().resolve(request).await {
            Ok(reply) => reply.into_inner(),
            Err(status) if status.code() == Code::PermissionDenied => {
                let refused = refusal(status.message());
                // Without a valid configuration policy denies everything, but it has not judged this session.
                return match refused.code == NOT_DECIDED {
                    true => Err(Status::unavailable(refused.message)),
                    false => Ok(Err(refused)),
                };
            }
            Err(status) => return Err(status),
        };
        let class = match session.class() {
            v1::Class::Main => Some(Class::Main),
            v1::Class::Guest => Some(Class::Guest),
            v1::Class::Unspecified => None,
        };
        // Policy refuses handles of another class; a session of another class must not get in by a mistake there.
        if class != Some(self.class) {
            return Ok(Err(Failure::new(
                "session.class",
                "The session belongs to another trust class than this agent.",
            )));
        }
        let key = SessionKey::parse(&session.session_key)
            .map_err(|error| Status::internal(format!("policy named no valid session: {error}")))?;
        Ok(Ok(Resolved {
            key,
            agent: session.agent_id,
            standing: session.standing,
            means: session.means.map(|means| means.rows).unwrap_or_default(),
            offers: session.offers,
            trace: session.trace,
        }))
    }

    /// The worker of a provider.
    pub fn model(&self, provider: &ProviderId) -> ModelClient<Edge> {
        ModelClient::new(self.worker(provider))
    }

    /// The edge to a provider's worker. One connection each, so that every turn uses the same one.
    pub fn worker(&self, provider: &ProviderId) -> Edge {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let edge = models.entry(provider.clone()).or_insert_with(|| {
            let role = Role::model(&InstanceName::from(provider));
            (self.edge)(&role)
        });
        edge.clone()
    }

    pub fn executor(&self) -> ExecutorClient<Edge> {
        self.executor.clone()
    }

    /// The tools that a session may see, in an order that never changes; the executor is asked once under each
    /// configuration for all that are offered the same.
    pub async fn tools(&self, config: &Config, handle: &Handle, offers: u64) -> Tools {
        let known = || self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((under, tools)) = &*known()
            && Arc::ptr_eq(&under.0, &config.0)
            && let Some(tools) = tools.get(&offers)
        {
            return Arc::clone(tools);
        }
        let request = v1::ListToolsRequest {
            handle: handle.as_str().into(),
        };
        match self.executor().list_tools(request).await {
            Ok(reply) => {
                let mut tools = reply.into_inner().tools;
                tools.sort_by(|a, b| a.name.cmp(&b.name));
                let tools = Arc::new(tools);
                let mut known = known();
                match &mut *known {
                    Some((under, all))
                        if Arc::ptr_eq(&under.0, &config.0) && all.len() < OFFERS =>
                    {
                        all.insert(offers, Arc::clone(&tools));
                    }
                    other => {
                        let all = HashMap::from([(offers, Arc::clone(&tools))]);
                        *other = Some((config.clone(), all));
                    }
                }
                tools
            }
            Err(status) => {
                warn!(code = ?status.code(), "the executor does not answer; this turn has no tools");
                Tools::default()
            }
        }
    }
}

/// A refusal's message is `rule: words`; without a rule it has the general one.
fn refusal(message: &str) -> Failure {
    match message.split_once(": ") {
        Some((rule, words)) if is_rule(rule) => Failure::new(rule, words),
        _ => Failure::new("session.denied", message),
    }
}

fn is_rule(word: &str) -> bool {
    word.contains('.')
        && word
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b"._".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_rule() {
        assert_eq!(
            refusal("session.expired: ask again"),
            Failure::new("session.expired", "ask again")
        );
        assert_eq!(
            refusal("config: a"),
            Failure::new("session.denied", "config: a")
        );
        assert_eq!(refusal("no"), Failure::new("session.denied", "no"));
    }
}

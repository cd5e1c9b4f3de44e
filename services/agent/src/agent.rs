//! The agent: the turns that run, each once, whoever asks how often. A turn that runs is joined; what becomes of one that
//! does not run yet is `ask`'s business. It refuses more turns at once than a gateway can want.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clawdbot_identity::{Handle, TurnId};
use clawdbot_proto::v1;
use clawdbot_proto::v1::run_event::Event;
use tonic::Status;
use tracing::info;

use crate::failure;
use crate::live::{Live, Reader, Steered};
use crate::peers::{Config, Peers, Resolved};
use crate::sessions::Sessions;
use crate::transcript::Origin;
use crate::workspace::Workspace;

/// Turns that run or wait. The gateway runs a handful at once; more is a mistake or an attack.
const TURNS: usize = 256;
/// Bytes of one message, and of what a caller adds to the system text.
pub const TEXT_BYTES: usize = 256 << 10;

/// One agent process.
pub struct Agent {
    pub peers: Peers,
    pub sessions: Sessions,
    workspace: Mutex<Workspace>,
    running: Mutex<HashMap<TurnId, Arc<Live>>>,
}

/// A turn that somebody asked for.
pub struct Job {
    pub id: TurnId,
    pub handle: Handle,
    pub text: String,
    /// Added to the system text of this turn alone.
    pub extra_system: String,
    /// operator, web, api, or a channel's name.
    pub source: String,
    /// What an API client asked for.
    pub parameters: Option<v1::Parameters>,
    pub session: Resolved,
    pub slice: Config,
}

/// Begins the name of the session that the gateway makes for an API request which names none.
const ONE_SHOT: &str = "openai-once-";

impl Job {
    /// Whether the session is for this turn alone. The gateway keeps the answer; a turn that this process' death cut off
    /// begins again.
    pub fn is_one_shot(&self) -> bool {
        let name = self.session.key.rest().rsplit(':').next();
        self.source == "api" && name.is_some_and(|name| name.starts_with(ONE_SHOT))
    }

    /// Whether the owner asks.
    pub fn is_owners(&self) -> bool {
        self.session.standing == "owner"
    }

    /// Where the text of the question comes from.
    pub fn origin(&self) -> Origin {
        Origin::of_sender(&self.session.standing, &self.session.key)
    }
}

impl Agent {
    pub fn new(peers: Peers, sessions: Sessions, workspaces: Vec<PathBuf>) -> Arc<Self> {
        let workspace = Mutex::new(Workspace::new(workspaces, peers.class()));
        Arc::new(Self {
            peers,
            sessions,
            workspace,
            running: Mutex::default(),
        })
    }

    fn running(&self) -> MutexGuard<'_, HashMap<TurnId, Arc<Live>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a turn, or joins it if it runs.
    pub fn start(self: &Arc<Self>, job: Job) -> Result<Reader, Status> {
        let mut running = self.running();
        if let Some(live) = running.get(&job.id) {
            if *live.key() != job.session.key {
                return Err(Status::invalid_argument(
                    "this turn id belongs to a turn of another session",
                ));
            }
            return Ok(live.read(false));
        }
        if running.len() >= TURNS {
            return Err(Status::resource_exhausted(format!(
                "more than {TURNS} turns at once"
            )));
        }
        let live = Live::new(job.session.key.clone());
        running.insert(job.id.clone(), Arc::clone(&live));
        let reader = live.read(true);
        info!(turn = %job.id, trace = job.session.trace, "a turn is asked for");
        tokio::spawn(Arc::clone(self).finish(job, live));
        Ok(reader)
    }

    /// Ends a turn; says whether it ran.
    pub fn cancel(&self, turn: &TurnId) -> bool {
        let live = self.running().get(turn).cloned();
        live.inspect(|live| live.stop()).is_some()
    }

    /// Puts a message into a running turn; says whether it runs and can still take one.
    pub fn steer(&self, turn: &TurnId, message: Steered) -> bool {
        let live = self.running().get(turn).cloned();
        live.is_some_and(|live| live.steer(message))
    }

    async fn finish(self: Arc<Self>, job: Job, live: Arc<Live>) {
        let end = self.turn(&job, &live).await;
        // The outcome is on record now: whoever asks from here on finds it there.
        self.running().remove(&job.id);
        live.push(match end {
            Ok(answer) => Event::Answer(answer),
            Err(failure) => {
                info!(turn = %job.id, source = job.source, code = failure.code, "a turn has no answer");
                Event::Failed(failure::told(failure, job.is_owners()))
            }
        });
    }

    pub fn workspace(&self) -> MutexGuard<'_, Workspace> {
        self.workspace
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

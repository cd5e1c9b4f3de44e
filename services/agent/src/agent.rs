//! The agent: takes a turn, asks policy whose it is, waits for the session's lane, records the question, has the turn run,
//! records the answer. A turn id that was answered gets its answer again, one that runs is joined, and one whose question
//! is on record without an answer runs again.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clawdbot_identity::{Handle, ModelRef, TurnId};
use clawdbot_proto::v1::run_event::Event;
use clawdbot_proto::v1::{self, AgentProfile, AgentSlice};
use tonic::Status;
use tracing::{info, warn};

use crate::command::{self, Command, View};
use crate::drive::Drive;
use crate::live::{Live, Reader};
use crate::peers::{Peers, Resolved};
use crate::prompt::Persona;
use crate::sessions::{Sessions, Turnable};
use crate::transcript::{Failure, Item, Known, Origin, Outcome};
use crate::turn::Turn;
use crate::workspace::Workspace;

/// Turns that run or wait. The gateway runs a handful at once; more is a mistake or an attack.
const TURNS: usize = 256;
/// Bytes of one message.
pub const TEXT_BYTES: usize = 256 << 10;
/// Where the configuration says nothing.
const TIMEOUT_SECONDS: u32 = 600;
const BOOTSTRAP_CHARS: u32 = 20_000;

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
    pub session: Resolved,
    pub slice: AgentSlice,
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
        tokio::spawn(Arc::clone(self).finish(job, live));
        Ok(reader)
    }

    /// Ends a turn; says whether it ran.
    pub fn cancel(&self, turn: &TurnId) -> bool {
        let live = self.running().get(turn).cloned();
        live.inspect(|live| live.stop()).is_some()
    }

    async fn finish(self: Arc<Self>, job: Job, live: Arc<Live>) {
        let end = self.turn(&job, &live).await;
        // The outcome is on record now: whoever asks from here on finds it there.
        self.running().remove(&job.id);
        live.push(match end {
            Ok(answer) => Event::Answer(answer),
            Err(failure) => {
                info!(turn = %job.id, code = failure.code, "a turn has no answer");
                Event::Failed(v1::Failed {
                    code: failure.code,
                    message: failure.message,
                })
            }
        });
    }

    async fn turn(&self, job: &Job, live: &Live) -> Result<v1::Answer, Failure> {
        let profile = profile(&job.slice, &job.session.agent)?;
        let session = self.sessions.session(&job.session.key);
        let folder = self.workspace().folder(&profile.workspace);
        let mut turnable = self
            .sessions
            .enter(&session, &folder)
            .await
            .map_err(|e| unreadable(&e))?;
        let thread = turnable.thread().ok_or_else(closed)?;
        let question = match thread.known(&job.id) {
            Known::Ended(at) => {
                return match self
                    .sessions
                    .outcome(thread, at)
                    .await
                    .map_err(|e| unreadable(&e))?
                {
                    Outcome::Answered(answer) => Ok(answer),
                    Outcome::Failed(failure) => Err(failure),
                };
            }
            Known::Asked(question) => {
                info!(turn = %job.id, "a turn is run again from its recorded question");
                question
            }
            Known::Nothing => {
                if live.is_stopped() {
                    return Err(Failure::new(
                        Failure::STOPPED,
                        "The turn was stopped before it began.",
                    ));
                }
                match self.accept(job, profile, &folder, &mut turnable).await? {
                    Accepted::Answered(answer) => return Ok(answer),
                    Accepted::Question(question) => question,
                }
            }
        };
        self.ask(job, profile, live, &mut turnable, question).await
    }

    /// Answers a command, or records a question and returns its entry's id.
    async fn accept(
        &self,
        job: &Job,
        profile: &AgentProfile,
        folder: &str,
        turnable: &mut Turnable<'_>,
    ) -> Result<Accepted, Failure> {
        let key = &job.session.key;
        let origin = Origin::of_sender(&job.session.standing, key);
        let mut text = job.text.as_str();
        if let Some((command, argument)) = command::parse(text) {
            if command == Command::New {
                self.sessions
                    .renew(turnable, key, folder)
                    .await
                    .map_err(|e| unwritable(&e))?;
            }
            if command != Command::New || argument.is_empty() {
                return self
                    .answer_command(job, profile, turnable, command, argument)
                    .await;
            }
            text = argument;
        }
        let parent = turnable
            .thread()
            .and_then(|thread| thread.leaf().map(Into::into));
        let item = Item::User { text: text.into() };
        let said = vec![(origin, Some(job.id.clone()), item)];
        // Not synced: the gateway's inbox has the question on disk and asks again; the sync at the end covers both.
        self.sessions
            .append(turnable, key, parent, said, false)
            .await
            .map_err(|e| unwritable(&e))?;
        let recorded = turnable
            .thread()
            .and_then(|thread| thread.leaf().map(Into::into));
        recorded.map(Accepted::Question).ok_or_else(closed)
    }

    async fn answer_command(
        &self,
        job: &Job,
        profile: &AgentProfile,
        turnable: &mut Turnable<'_>,
        command: Command,
        argument: &str,
    ) -> Result<Accepted, Failure> {
        let key = &job.session.key;
        let thread = turnable.thread().ok_or_else(closed)?;
        let view = View {
            slice: &job.slice,
            profile,
            key,
            standing: &job.session.standing,
            class: self.peers.class().as_str(),
            session_id: &thread.header.id,
            settings: &thread.settings,
            totals: thread.totals,
        };
        let reply = view.answer(command, argument);
        let parent = thread.leaf().map(Into::into);
        let item = Item::Command {
            question: job.text.trim().into(),
            answer: reply.text.clone(),
            change: reply.change,
        };
        let origin = Origin::of_sender(&job.session.standing, key);
        let said = vec![(origin, Some(job.id.clone()), item)];
        self.sessions
            .append(turnable, key, parent, said, true)
            .await
            .map_err(|e| unwritable(&e))?;
        Ok(Accepted::Answered(v1::Answer {
            text: reply.text,
            ..v1::Answer::default()
        }))
    }

    /// Asks the model and records what came of it.
    async fn ask(
        &self,
        job: &Job,
        profile: &AgentProfile,
        live: &Live,
        turnable: &mut Turnable<'_>,
        question: String,
    ) -> Result<v1::Answer, Failure> {
        let thread = turnable.thread().ok_or_else(closed)?;
        let chosen = thread.settings.model.as_deref().unwrap_or(&profile.model);
        let mut turn = Turn::new(job.id.clone(), chosen.into());
        let (end, items) = match usable(chosen, &job.slice) {
            Err(failure) => {
                turn.fail(failure.clone());
                (Err(failure), turn.into_items())
            }
            Ok(model) => {
                let drive = Drive {
                    peers: &self.peers,
                    live,
                    handle: &job.handle,
                    thread,
                    model: &model,
                    system: self.system(&job.slice, profile),
                    verbose: match thread.settings.verbose.as_deref() {
                        Some(level) => level != "off",
                        None => job.slice.verbose_default,
                    },
                    limit: Duration::from_secs(
                        or_default(job.slice.timeout_seconds, TIMEOUT_SECONDS).into(),
                    ),
                };
                drive.run(turn).await
            }
        };
        let last = items.len().saturating_sub(1);
        let labelled = items.into_iter().enumerate().map(|(n, item)| {
            let origin = match item {
                Item::Tool(_) => Origin::Tool,
                _ => Origin::Agent,
            };
            (origin, (n == last).then(|| job.id.clone()), item)
        });
        let key = &job.session.key;
        let said = labelled.collect();
        self.sessions
            .append(turnable, key, Some(question), said, true)
            .await
            .map_err(|e| unwritable(&e))?;
        end
    }

    fn system(&self, slice: &AgentSlice, profile: &AgentProfile) -> String {
        let max = or_default(slice.bootstrap_max_chars, BOOTSTRAP_CHARS);
        let parts = self.workspace().read(&profile.workspace, max as usize);
        let name = if profile.name.is_empty() {
            &profile.id
        } else {
            &profile.name
        };
        Persona {
            name,
            class: self.peers.class(),
            parts: &parts,
        }
        .system()
    }

    fn workspace(&self) -> MutexGuard<'_, Workspace> {
        self.workspace
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

enum Accepted {
    Answered(v1::Answer),
    /// Id of the question's entry.
    Question(String),
}

fn or_default(value: u32, default: u32) -> u32 {
    if value == 0 { default } else { value }
}

fn profile<'a>(slice: &'a AgentSlice, agent: &str) -> Result<&'a AgentProfile, Failure> {
    slice
        .agents
        .iter()
        .find(|profile| profile.id == agent)
        .ok_or_else(|| {
            Failure::new(
                "agent.unknown",
                format!("The configuration has no agent {agent:?} any more; see agents.list."),
            )
        })
}

/// The model, if a process runs for its provider.
fn usable(model: &str, slice: &AgentSlice) -> Result<ModelRef, Failure> {
    let model = ModelRef::parse(model).map_err(|error| {
        Failure::new(
            "model.unknown",
            format!("The chosen model cannot be used: a {error}. Choose another with /model."),
        )
    })?;
    if slice
        .providers
        .iter()
        .any(|name| name == model.provider().as_str())
    {
        return Ok(model);
    }
    Err(Failure::new(
        "model.not_running",
        format!(
            "No process runs for the provider {}; running: {}. Choose another model with /model.",
            model.provider(),
            slice.providers.join(", ")
        ),
    ))
}

fn closed() -> Failure {
    Failure::new(
        "store.failed",
        "The session's transcript is closed. Ask again.",
    )
}

fn unreadable(error: &io::Error) -> Failure {
    warn!(%error, "a transcript cannot be used");
    Failure::new(
        "store.failed",
        format!("The session's transcript cannot be read ({error}). Mend that and ask again."),
    )
}

fn unwritable(error: &io::Error) -> Failure {
    Failure::new(
        "store.failed",
        format!(
            "The session's transcript cannot be written ({error}). Mend that and ask again; nothing was recorded."
        ),
    )
}

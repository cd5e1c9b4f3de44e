//! What becomes of one turn: its session's lane is waited for, a command is answered, a question is recorded and asked. A
//! turn id that was answered gets its answer again, and one whose question is on record without an answer goes on from
//! there.

use std::io;
use std::time::Duration;

use clawdbot_proto::v1::{self, AgentProfile};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::agent::{Agent, Job};
use crate::choice;
use crate::command::{self, Command, View};
use crate::compact::Summariser;
use crate::drive::Drive;
use crate::failure;
use crate::live::Live;
use crate::prompt::Persona;
use crate::sessions::{Reach, Turnable};
use crate::transcript::{Change, Failure, Item, Known, Origin, Outcome, Progress};
use crate::turn::{Footer, Turn};

/// Where the configuration says nothing.
const TIMEOUT_SECONDS: u32 = 600;
const BOOTSTRAP_CHARS: u32 = 20_000;
const KEEP_ASSISTANTS: u32 = 3;

enum Accepted {
    Answered(v1::Answer),
    /// The question is on record, and perhaps more.
    Asked(Option<Progress>),
}

impl Agent {
    /// Runs a turn to its end.
    pub(crate) async fn turn(&self, job: &Job, live: &Live) -> Result<v1::Answer, Failure> {
        let profile = profile(job)?;
        let session = match job.is_one_shot() {
            true => self.sessions.one_shot(&job.session.key),
            false => self.sessions.session(&job.session.key),
        };
        let folder = self.workspace().folder(&profile.workspace);
        let entered = self.sessions.enter(&session, &folder).await;
        let mut turnable = entered.map_err(|e| unreadable(&e))?;
        // What stands before the question and holds for this turn alone; others than the owner just say it.
        let (inline, text) = match job.is_owners() {
            true => command::inline(&job.text, &job.slice),
            false => (Change::default(), job.text.as_str()),
        };
        let thread = turnable.thread_mut().map_err(|e| unreadable(&e))?;
        let accepted = match thread.known(&job.id) {
            Known::Ended(at) => {
                let outcome = self.sessions.outcome(thread, at).await;
                return match outcome.map_err(|e| unreadable(&e))? {
                    Outcome::Answered(answer) => Ok(answer),
                    Outcome::Failed(failure) => Err(failure),
                };
            }
            Known::Asked => {
                info!(turn = %job.id, "a turn goes on from what is on record of it");
                Accepted::Asked(thread.resume())
            }
            Known::Nothing if live.is_stopped() => {
                return Err(Failure::new(
                    Failure::STOPPED,
                    "The turn was stopped before it began.",
                ));
            }
            Known::Nothing => {
                let accepting = self.accept(job, profile, live, &folder, text, &mut turnable);
                accepting.await?
            }
        };
        match accepted {
            Accepted::Answered(answer) => Ok(answer),
            Accepted::Asked(progress) => {
                let asking = self.ask(job, profile, live, &mut turnable, &inline, progress);
                asking.await
            }
        }
    }

    /// Answers a command, or records the question.
    async fn accept(
        &self,
        job: &Job,
        profile: &AgentProfile,
        live: &Live,
        folder: &str,
        mut text: &str,
        turnable: &mut Turnable<'_>,
    ) -> Result<Accepted, Failure> {
        let key = &job.session.key;
        if let Some((command, argument)) = command::parse(text, &job.session.standing, &job.slice) {
            if command == Command::New {
                let renewed = self.sessions.renew(turnable, key, folder).await;
                renewed.map_err(|e| unwritable(&e))?;
            }
            if command != Command::New || argument.is_empty() {
                let done = match command {
                    Command::Compact => {
                        let compacting = self.compact(job, profile, live, turnable, argument);
                        compacting.await?
                    }
                    _ => String::new(),
                };
                let view = View {
                    slice: &job.slice,
                    profile,
                    key,
                    standing: &job.session.standing,
                    class: self.peers.class().as_str(),
                    thread: turnable.thread().map_err(|e| unreadable(&e))?,
                    means: &job.session.means,
                };
                let reply = view.answer(command, argument, &done);
                return self.record_command(job, turnable, reply).await;
            }
            text = argument;
        }
        self.prune(job, turnable).map_err(|e| unreadable(&e))?;
        let item = Item::User {
            text: text.into(),
            message: None,
        };
        let said = vec![(job.origin(), Some(job.id.clone()), item)];
        // The gateway's inbox has the question on disk and asks again; the sync at the end covers both.
        let recorded = self.sessions.append(turnable, key, said, Reach::Whenever);
        recorded.await.map_err(|e| unwritable(&e))?;
        Ok(Accepted::Asked(None))
    }

    async fn record_command(
        &self,
        job: &Job,
        turnable: &mut Turnable<'_>,
        reply: command::Reply,
    ) -> Result<Accepted, Failure> {
        let item = Item::Command {
            question: job.text.trim().into(),
            answer: reply.text.clone(),
            change: reply.change,
        };
        let said = vec![(job.origin(), Some(job.id.clone()), item)];
        let key = &job.session.key;
        let recorded = self.sessions.append(turnable, key, said, Reach::Soon);
        recorded.await.map_err(|e| unwritable(&e))?;
        Ok(Accepted::Answered(v1::Answer {
            text: reply.text,
            ..v1::Answer::default()
        }))
    }

    /// Shortens old results of tools when the session was idle for so long that a provider's cache of them is gone anyway.
    fn prune(&self, job: &Job, turnable: &mut Turnable<'_>) -> io::Result<()> {
        let Some(pruning) = job.slice.pruning.filter(|pruning| pruning.enabled) else {
            return Ok(());
        };
        let thread = turnable.thread_mut()?;
        let idle_ms = self.sessions.now_ms().saturating_sub(thread.updated_ms);
        if idle_ms >= u64::from(pruning.ttl_seconds) * 1000 {
            let keep = or_default(pruning.keep_assistants, KEEP_ASSISTANTS);
            let pruned = thread.window.prune(keep as usize);
            if pruned > 0 {
                info!(session = %job.session.key, pruned, "old results of tools are shortened in requests");
            }
        }
        Ok(())
    }

    /// Asks the model.
    async fn ask(
        &self,
        job: &Job,
        profile: &AgentProfile,
        live: &Live,
        turnable: &mut Turnable<'_>,
        inline: &Change,
        progress: Option<Progress>,
    ) -> Result<v1::Answer, Failure> {
        let thread = turnable.thread().map_err(|e| unreadable(&e))?;
        let settings = thread.settings.clone();
        let footer = match settings.usage.as_deref() {
            // A program that asked wants the answer and nothing else.
            _ if job.source == "api" => Footer::None,
            Some("tokens") => Footer::Tokens,
            Some("full") => Footer::Full,
            _ => Footer::None,
        };
        let chosen = inline.model.as_deref().or(settings.model.as_deref());
        let found = choice::choices(&job.slice, profile, chosen);
        let (choices, refused) = match found {
            Ok(choices) => (choices, None),
            Err(failure) => (Vec::new(), Some(failure)),
        };
        let mut names: Vec<_> = choices.iter().map(|c| c.model.to_string()).collect();
        if names.is_empty() {
            names.push(chosen.unwrap_or(&profile.model).into());
        }
        let mut turn = Turn::new(job.id.clone(), names, footer);
        if let Some(progress) = progress {
            turn = turn.after(progress);
        }
        let parts = self.parts(job, profile);
        let drive = Drive {
            peers: &self.peers,
            sessions: &self.sessions,
            live,
            job,
            choices: &choices,
            persona: Persona {
                name: match profile.name.as_str() {
                    "" => &profile.id,
                    name => name,
                },
                class: self.peers.class(),
                parts: &parts,
                extra: &job.extra_system,
            },
            thinking: inline.thinking.as_deref().or(settings.thinking.as_deref()),
            verbose: match inline.verbose.as_deref().or(settings.verbose.as_deref()) {
                Some(level) => level != "off",
                None => job.slice.verbose_default,
            },
            limit: limit(job),
        };
        drive.run(turn, refused, turnable).await
    }

    fn parts(&self, job: &Job, profile: &AgentProfile) -> Vec<crate::workspace::Part> {
        let max = or_default(job.slice.bootstrap_max_chars, BOOTSTRAP_CHARS);
        self.workspace().read(&profile.workspace, max as usize)
    }

    /// Summarises the session because the owner wants it; says what came of it.
    async fn compact(
        &self,
        job: &Job,
        profile: &AgentProfile,
        live: &Live,
        turnable: &mut Turnable<'_>,
        wishes: &str,
    ) -> Result<String, Failure> {
        let thread = turnable.thread().map_err(|e| unreadable(&e))?;
        let before = thread.window.tokens(0);
        let choices = choice::choices(&job.slice, profile, thread.settings.model.as_deref())?;
        let (mut done, mut failed) = (None, timed_out());
        for choice in &choices {
            let keep = choice.limits.keep.min(before / 3);
            let Some(cut) = thread.window.cut(keep) else {
                return Ok("There is nothing to summarise yet.".into());
            };
            let summariser = Summariser {
                peers: &self.peers,
                handle: &job.handle,
                choice,
                session_id: &thread.header.id,
                request_id: &format!("{}:0.c", job.id),
                wishes,
            };
            let summarising = timeout(limit(job), summariser.summarise(cut, before));
            let result = tokio::select! {
                biased;
                () = live.stopped() => return Err(Failure::new(Failure::STOPPED, "The turn was stopped.")),
                result = summarising => result.map_err(|_| timed_out())?,
            };
            match result {
                Ok(compaction) => {
                    done = Some(compaction);
                    break;
                }
                Err(error) => {
                    let class = error.class();
                    failed = Failure::new(failure::of_model(class), error.message);
                    if !failure::passes_on(class) {
                        break;
                    }
                    warn!(model = %choice.model, code = failed.code, "no summary from this model");
                }
            }
        }
        let compaction = done.ok_or(failed)?;
        let said = vec![(Origin::Agent, None, Item::Compaction(compaction))];
        let key = &job.session.key;
        let recorded = self.sessions.append(turnable, key, said, Reach::Whenever);
        recorded.await.map_err(|e| unwritable(&e))?;
        let thread = turnable.thread().map_err(|e| unreadable(&e))?;
        let after = thread.window.tokens(0);
        Ok(format!(
            "The older part of the session is now a summary: about {before} tokens before, {after} after."
        ))
    }
}

fn limit(job: &Job) -> Duration {
    Duration::from_secs(or_default(job.slice.timeout_seconds, TIMEOUT_SECONDS).into())
}

fn timed_out() -> Failure {
    Failure::new(
        Failure::TIMEOUT,
        "The turn took longer than agents.defaults.timeoutSeconds allows. Ask again, or for less at once.",
    )
}

fn or_default(value: u32, default: u32) -> u32 {
    if value == 0 { default } else { value }
}

fn profile(job: &Job) -> Result<&AgentProfile, Failure> {
    let agent = &job.session.agent;
    let mut profiles = job.slice.agents.iter();
    profiles
        .find(|profile| profile.id == *agent)
        .ok_or_else(|| {
            Failure::new(
                "agent.unknown",
                format!("The configuration has no agent {agent:?} any more; see agents.list."),
            )
        })
}

fn unreadable(error: &io::Error) -> Failure {
    warn!(%error, "a transcript cannot be used");
    Failure::new(
        "store.failed",
        format!("The session's transcript cannot be read ({error}). Mend that and ask again."),
    )
}

/// The transcript could not be written.
pub fn unwritable(error: &io::Error) -> Failure {
    Failure::new(
        "store.failed",
        format!("The session's transcript cannot be written ({error}). Mend that and ask again."),
    )
}

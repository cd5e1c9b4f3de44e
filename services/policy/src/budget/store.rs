//! The counters and their file, STATE/pairing/budgets.json. A request runs when the file promises at least what it may
//! use: a crash forgets nothing and costs a sixteenth at most. Where nothing is limited nothing is counted.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::v1;
use clawdbot_service::newer_format;
use sha2::{Digest as _, Sha256};
use tracing::{error, warn};

use super::book::{Amount, Book, Key, Now, Payer, Reached, Stop};
use super::calendar;
use super::kinds::{Kind, Limit, Limits};
use super::page;
use crate::denied::Denied;
use crate::handle::{Grant, Standing};
use crate::keep::{Keep, newer};

const NAME: &str = "budgets.json";
/// Senders at their limit that the status names.
const SHOWN: usize = 16;

/// What was used, and what is held back for requests that run.
pub(crate) struct Budgets {
    keep: Arc<Keep>,
    /// Or why the file cannot be used.
    book: Mutex<Result<Book, String>>,
    /// Whoever writes the file holds it.
    turn: tokio::sync::Mutex<()>,
}

/// For whom is asked, and when: by the calendar, and by a clock that never jumps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) grant: &'a Grant,
    pub(crate) now_ms: u64,
    pub(crate) steady: Duration,
}

/// Names that a payer is made of.
struct Names {
    run: String,
    sender: Option<String>,
}

impl Who<'_> {
    fn names(&self) -> Names {
        let grant = self.grant;
        let channel = grant.door.name();
        let channel = channel.as_ref().map_or("operator", |name| name.as_str());
        Names {
            // A handle from before there were traces stands for its own run.
            run: format!("{} {} {}", grant.session, grant.trace, grant.issued),
            sender: (grant.standing != Standing::Owner)
                .then(|| format!("{channel}:{}", grant.sender)),
        }
    }

    fn now(&self) -> Now {
        Now {
            ms: self.now_ms,
            steady: self.steady,
        }
    }

    fn payer<'n>(&'n self, names: &'n Names) -> Payer<'n> {
        Payer {
            agent: self.grant.session.agent().as_str(),
            run: &names.run,
            sender: names.sender.as_deref(),
        }
    }
}

/// A refusal, and what the owner has to be told of it, with its end.
pub(crate) struct Stopped {
    pub(crate) denied: Denied,
    pub(crate) notice: Option<Told>,
}

/// That a budget is used up.
pub(crate) struct Told {
    key: Key,
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) expires_ms: u64,
}

impl From<Denied> for Stopped {
    fn from(denied: Denied) -> Self {
        Self {
            denied,
            notice: None,
        }
    }
}

impl Budgets {
    /// Reads the file; without one nothing was used.
    pub(crate) fn open(keep: Keep) -> Self {
        let book = read(&keep);
        if let Err(problem) = &book {
            error!(problem, "the budgets cannot be used");
        }
        Self {
            keep: Arc::new(keep),
            book: Mutex::new(book),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Before a call of a tool.
    ///
    /// # Errors
    /// With the rule of the budget that is used up, `budget.unavailable` while the file cannot be read and calls are
    /// limited, or `call.changed` when another call of this message had the id.
    pub(crate) fn take_call(
        &self,
        limits: &[Limit],
        who: Who<'_>,
        call: &str,
        tool: &str,
        arguments: &str,
    ) -> Result<(), Denied> {
        let names = who.names();
        let mut book = self.book();
        let book = match &mut *book {
            Ok(book) => book,
            Err(problem) if limits.iter().any(|limit| limit.kind.is_of_calls()) => {
                return Err(unavailable(problem));
            }
            Err(_) => return Ok(()),
        };
        // No name of a tool has a line break in it.
        let digest = Sha256::new_with_prefix(tool).chain_update("\n");
        let digest = digest.chain_update(arguments).finalize().into();
        let taken = book.call(who.payer(&names), limits, call, digest, who.now());
        taken.map_err(|stop| match stop {
            Stop::Reached(reached) => refusal(&reached, who),
            Stop::Changed => Denied::new(
                "call.changed",
                "another call of this message had this id already; a call needs an id of its own",
            ),
        })
    }

    /// A message's turn begins, or begins again since its agent was killed.
    pub(crate) fn begun(&self, who: Who<'_>) {
        if let Ok(book) = &mut *self.book() {
            book.begun(&who.names().run);
        }
    }

    /// Before a request to a model: holds back what it may use.
    ///
    /// # Errors
    /// With the rule of the budget that is used up, or `budget.unavailable` while the file cannot be read or written.
    pub(crate) async fn authorize(
        &self,
        limits: &[Limit],
        who: Who<'_>,
        request: &str,
        tokens: u64,
        microusd: u64,
    ) -> Result<(), Stopped> {
        let names = who.names();
        let session = who.grant.session.as_str();
        let ahead = {
            let mut book = self.book();
            let book = book.as_mut().map_err(|problem| unavailable(problem))?;
            let amount = Amount { tokens, microusd };
            let payer = who.payer(&names);
            match book.hold(payer, limits, (session, request), amount, who.now()) {
                Ok(ahead) => ahead,
                Err(reached) => {
                    let denied = refusal(&reached, who);
                    let notice = { reached.key.clone() }
                        .filter(|key| book.is_untold(key))
                        .map(|key| notice(&reached, key, who));
                    return Err(Stopped { denied, notice });
                }
            }
        };
        if ahead && let Err(error) = self.write_ahead().await {
            if let Ok(book) = &mut *self.book() {
                book.settle((session, request), Amount::default());
            }
            warn!(%error, "the budgets cannot be written: no request that one limits is permitted until they can");
            return Err(unavailable(&format!(
                "the budgets cannot be written: {error}; make room on the disk or mend the folder"
            ))
            .into());
        }
        Ok(())
    }

    /// What a request used.
    pub(crate) fn settle(&self, session: &str, request: &str, tokens: u64, microusd: u64) {
        if let Ok(book) = &mut *self.book() {
            book.settle((session, request), Amount { tokens, microusd });
        }
    }

    /// The owner was told.
    pub(crate) fn told(&self, told: &Told) {
        if let Ok(book) = &mut *self.book() {
            book.told(&told.key);
        }
    }

    /// What a session has left: for the owner all that concerns it, for others what is theirs.
    pub(crate) fn means(&self, limits: &[Limit], who: Who<'_>) -> Vec<v1::BudgetRow> {
        let owner = who.grant.standing == Standing::Owner;
        let theirs = |limit: &&Limit| match limit.kind.row().of {
            "run" => true,
            "sender" => !owner,
            _ => owner,
        };
        let names = who.names();
        let book = self.book();
        let Ok(book) = &*book else { return Vec::new() };
        let limits = limits.iter().filter(theirs);
        limits
            .map(|limit| line(book, who.payer(&names), limit, who.now()))
            .collect()
    }

    /// All that is limited by day and month, and the senders that are at their limits.
    pub(crate) fn all<'a>(
        &self,
        limits: &Limits,
        agents: impl Iterator<Item = &'a clawdbot_identity::AgentId>,
        now_ms: u64,
    ) -> Vec<v1::BudgetRow> {
        let now = Now {
            ms: now_ms,
            steady: Duration::ZERO,
        };
        let book = self.book();
        let Ok(book) = &*book else { return Vec::new() };
        let mut lines = Vec::new();
        for agent in agents {
            let payer = |sender| Payer {
                agent: agent.as_str(),
                run: "",
                sender,
            };
            for limit in limits.of(agent) {
                match limit.kind.row().of {
                    "day" | "month" => lines.push(line(book, payer(None), limit, now)),
                    "sender" => {
                        let senders = book.senders(agent.as_str(), calendar::day(now_ms));
                        let rows =
                            senders.map(|(sender, _)| line(book, payer(Some(sender)), limit, now));
                        lines.extend(rows.filter(|row| row.used >= row.limit).take(SHOWN));
                    }
                    _ => {}
                }
            }
        }
        lines
    }

    /// Why the budgets cannot be used.
    pub(crate) fn problem(&self) -> Option<String> {
        self.book().as_ref().err().cloned()
    }

    /// Makes the file promise what is used and held back, if it does not.
    async fn write_ahead(&self) -> io::Result<()> {
        let _turn = self.turn.lock().await;
        let promises = match &mut *self.book() {
            Ok(book) if book.is_ahead() => book.promises(true),
            // Whoever had the turn before has written it.
            _ => return Ok(()),
        };
        self.write(promises).await
    }

    /// Brings the file near what is used, from time to time.
    pub(crate) async fn save(&self) {
        let _turn = self.turn.lock().await;
        let promises = match &mut *self.book() {
            Ok(book) if book.is_changed() => book.promises(true),
            _ => return,
        };
        if let Err(error) = self.write(promises).await {
            warn!(%error, "the budgets cannot be written");
        }
    }

    async fn write(&self, promises: Vec<(Key, Amount, bool)>) -> io::Result<()> {
        let keep = Arc::clone(&self.keep);
        // The disk may take its time; decisions go on meanwhile.
        let written = tokio::task::spawn_blocking(move || {
            let written = keep.write_document(NAME, &page::write(&promises));
            written.map(|()| promises).map_err(io::Error::other)
        });
        let promises = written.await.map_err(io::Error::other)??;
        if let Ok(book) = &mut *self.book() {
            book.promised(&promises);
        }
        Ok(())
    }

    /// At the end of the process: the file says what is used, and no more.
    pub(crate) fn end(&self) {
        let promises = match &mut *self.book() {
            Ok(book) if !book.is_empty() => book.promises(false),
            _ => return,
        };
        if let Err(error) = self.keep.write_document(NAME, &page::write(&promises)) {
            error!(%error, "the budgets could not be written; what is used counts a little too high after the next start");
        }
    }

    fn book(&self) -> MutexGuard<'_, Result<Book, String>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(keep: &Keep) -> Result<Book, String> {
    match keep.read_document(NAME) {
        Ok(None) => Ok(Book::default()),
        Ok(Some(text)) => match page::read(&text) {
            Some(rows) => Ok(Book::of_rows(rows.into_iter())),
            None => {
                let path = keep.path(NAME);
                Err(match newer(&text, page::VERSION) {
                    Some(found) => newer_format(path, found, page::VERSION),
                    None => format!(
                        "{path} is damaged; move it away and start Clawdbot again: what was used is counted from there on"
                    ),
                })
            }
        },
        Err(error) => Err(error.to_string()),
    }
}

fn unavailable(problem: &str) -> Denied {
    Denied::new("budget.unavailable", problem)
}

fn line(book: &Book, payer: Payer<'_>, limit: &Limit, now: Now) -> v1::BudgetRow {
    let row = limit.kind.row();
    let (used, resets_ms) = book.used(payer, limit.kind, now, false);
    v1::BudgetRow {
        what: row.what.to_owned(),
        of: row.of.to_owned(),
        used,
        limit: limit.most,
        resets_ms,
        agent: payer.agent.to_owned(),
        sender: match row.of {
            "sender" => payer.sender.unwrap_or_default().to_owned(),
            _ => String::new(),
        },
    }
}

/// An amount for people.
fn shown(what: &str, amount: u64) -> String {
    match what {
        // Rounded up, so that nothing that was paid for is shown as free.
        "microusd" => {
            let cents = amount.div_ceil(10_000);
            format!("${}.{:02}", cents / 100, cents % 100)
        }
        what => format!("{amount} {what}"),
    }
}

/// How much of a limit is used, for people.
fn share(what: &str, used: u64, most: u64) -> String {
    let used = shown(what, used);
    let unit = format!(" {what}");
    format!(
        "{} of {}",
        used.strip_suffix(&unit).unwrap_or(&used),
        shown(what, most)
    )
}

fn refusal(reached: &Reached<'_>, who: Who<'_>) -> Denied {
    let (row, limit) = (reached.limit.kind.row(), reached.limit);
    let budget = match row.of {
        "run" => "for one message".to_owned(),
        "day" => "of the agent for today".to_owned(),
        "month" => "of the agent for this month".to_owned(),
        _ => "of this sender for today".to_owned(),
    };
    let until = match reached.limit.kind {
        Kind::MonthMoney => ", or wait for the next month (UTC)",
        _ if row.of == "run" => "",
        _ => ", or wait until 00:00 UTC",
    };
    let message = format!(
        "the budget {budget} is used up: {}; raise {}{until}",
        share(row.what, reached.used, limit.most),
        limit.path(),
    );
    let wait = Duration::from_millis(reached.resets_ms.saturating_sub(who.now_ms));
    match reached.resets_ms {
        0 => Denied::new(row.rule, message),
        _ => Denied::until(row.rule, message, wait),
    }
}

fn notice(reached: &Reached<'_>, key: Key, who: Who<'_>) -> Told {
    let (row, limit) = (reached.limit.kind.row(), reached.limit);
    let whose = match key.sender.as_str() {
        "" => String::new(),
        sender => format!(" and the sender {}", sanitize_line(sender)),
    };
    let (period, until) = match row.of {
        "month" => ("this month", "the next month (UTC)"),
        _ => ("today", "00:00 UTC"),
    };
    Told {
        name: format!(
            "{} {} {} {}",
            row.rule, key.agent, key.sender, reached.resets_ms
        ),
        text: format!(
            "The budget of the agent {}{whose} for {period} is used up: {}. Requests are refused until {until}. To go on now, raise {}.",
            who.grant.session.agent(),
            share(row.what, reached.used, limit.most),
            limit.path(),
        ),
        expires_ms: reached.resets_ms,
        key,
    }
}

//! How decisions and events come into the audit log: written down, counted, or, when neither can be, not permitted.

use std::io;

use clawdbot_audit::Cursor;
use clawdbot_service::Pulse;
use tracing::error;

use super::{Policy, lock, unix_ms};
use crate::audit::{Log, Origin};
use crate::denied::Denied;
use crate::record::Decision;
use crate::series::{Counted, Fate};

impl Policy {
    /// Writes a decision down, or counts it as one more of a series.
    ///
    /// # Errors
    /// The refusal; `audit.unavailable` for a permission that cannot be written down, and `audit.crowded` for a question
    /// when there were too many.
    pub(crate) fn decide<T>(
        &self,
        decision: Decision<'_>,
        outcome: Result<T, Denied>,
    ) -> Result<T, Denied> {
        let decision = Decision {
            refused: outcome.as_ref().err().map(|denied| denied.rule),
            ..decision
        };
        self.write_counts();
        let (failing, room) = self.log_state();
        // While nothing can be written, a number in memory is no reason to permit anything.
        let fate = match failing && outcome.is_ok() {
            true => Fate::Write,
            false => lock(&self.series).take(None, &decision, self.now(), room),
        };
        match fate {
            Fate::Count => outcome,
            Fate::Refuse => {
                let crowded = "so many questions were asked that no more are written down; see `clawdbot audit show`";
                self.decide(decision, Err(Denied::new("audit.crowded", crowded)))
            }
            // What was refused stays refused; its line is written when that can be done again.
            Fate::Write if outcome.is_err() => {
                self.note(&decision);
                outcome
            }
            Fate::Write => match self.write(&decision) {
                Ok(()) => outcome,
                Err(_) => {
                    let denied = Denied::new(
                        "audit.unavailable",
                        "the audit log cannot be written, so nothing is permitted; see the log",
                    );
                    self.note(&Decision {
                        refused: Some(denied.rule),
                        ..decision
                    });
                    if !failing {
                        // Whoever looks is told at once.
                        self.renew_problems();
                    }
                    Err(denied)
                }
            },
        }
    }

    /// Whether the log cannot be written, and whether it has room to give.
    fn log_state(&self) -> (bool, bool) {
        let log = lock(&self.audit);
        (log.failing(), log.has_room())
    }

    pub(super) fn write(&self, decision: &Decision<'_>) -> io::Result<()> {
        let mut log = lock(&self.audit);
        let written = log.append(unix_ms(), &decision.fields());
        self.care(&mut log);
        written
    }

    /// Writes down what has happened anyway, later if it cannot be now.
    pub(crate) fn note(&self, decision: &Decision<'_>) {
        let mut log = lock(&self.audit);
        log.note(unix_ms(), decision.fields());
        self.care(&mut log);
    }

    /// Writes down what another process did, once.
    pub(crate) fn note_from(&self, from: Origin, event: Cursor, decision: &Decision<'_>) {
        lock(&self.audit).see(from, event);
        self.told(from, decision);
    }

    /// The same, of what is no event of its own.
    pub(crate) fn told(&self, from: Origin, decision: &Decision<'_>) {
        self.write_counts();
        let (_, room) = self.log_state();
        if lock(&self.series).take(Some(from), decision, self.now(), room) == Fate::Write {
            self.note(decision);
        }
    }

    /// Has the audit log's way to the disk watched.
    pub(crate) fn watch_disk(&self, pulse: Pulse) {
        let _first = self.disk.set(pulse);
    }

    /// Has a file that is full synced. That takes long on a slow disk; nobody waits for it.
    fn care(&self, log: &mut Log) {
        if let Some(full) = log.full() {
            tokio::task::spawn_blocking(move || {
                if let Err(error) = full.sync() {
                    error!(%error, "a full file of the audit log could not be synced");
                }
            });
        }
    }

    /// Waits until everything that was written down is safe against a power cut. For decisions that outlive the process:
    /// approvals, pairings, changes of the configuration.
    ///
    /// # Errors
    /// With the rule `audit.unavailable` when the disk says no.
    pub(crate) async fn synced(&self) -> Result<(), Denied> {
        let wanted = lock(&self.audit).last();
        // Whoever waited for another's sync may find that it was his, too.
        let mut synced = self.synced.lock().await;
        if *synced >= wanted {
            return Ok(());
        }
        let _under_way = self.disk.get().map(Pulse::work);
        let unsynced = lock(&self.audit).unsynced();
        let upto = unsynced.upto;
        let done = tokio::task::spawn_blocking(move || unsynced.sync());
        match done.await.map_err(io::Error::other).flatten() {
            Ok(()) => {
                *synced = upto;
                Ok(())
            }
            Err(error) => {
                error!(%error, "the audit log could not be synced");
                Err(Denied::new(
                    "audit.unavailable",
                    format!("the audit log cannot be made safe: {error}"),
                ))
            }
        }
    }

    /// What is wrong with the audit log.
    pub(crate) fn audit_trouble(&self) -> Option<String> {
        lock(&self.audit).trouble()
    }

    /// Writes down how often happened what is counted, when that is due.
    pub(crate) fn write_counts(&self) {
        let (_, room) = self.log_state();
        let due = lock(&self.series).due(self.now(), room);
        self.write_all(&due);
    }

    /// Takes down that the operator has taken note of what a start found in the audit log. False when there is nothing.
    ///
    /// # Errors
    /// With the rule `audit.unavailable` when that cannot be written down.
    pub(crate) fn accept_damage(&self, decision: &Decision<'_>) -> Result<bool, Denied> {
        let accepted = lock(&self.audit).accept(unix_ms(), &decision.fields());
        self.renew_problems();
        accepted.map_err(|error| {
            Denied::new(
                "audit.unavailable",
                format!("the audit log cannot be written: {error}"),
            )
        })
    }

    fn write_all(&self, counts: &[Counted]) {
        for counted in counts {
            self.note(&counted.decision());
        }
    }

    /// Seals what is new in the audit log, when it is time.
    pub(crate) fn seal_record(&self) {
        lock(&self.audit).tick(unix_ms());
    }

    /// Ends the audit log: what is still counted is written, and all of it sealed and made safe against a power cut.
    pub(crate) fn end_record(&self) {
        let counts = lock(&self.series).all();
        self.write_all(&counts);
        self.note(&Decision {
            request: "stop",
            ..Decision::default()
        });
        let unsynced = lock(&self.audit).end(unix_ms());
        if let Err(error) = unsynced.sync() {
            error!(%error, "the audit log could not be synced");
        }
    }
}

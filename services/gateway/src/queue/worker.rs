//! One thread owns the database. Whatever waits when it is free goes into one transaction, so that many messages
//! share one fsync; nobody hears of a result before that transaction is on the disk.

use clawdbot_identity::{Handle, SessionKey, TurnId};
use clawdbot_proto::v1;
use clawdbot_service::Pulse;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{
    Acceptance, Delivered, Delivery, End, Message, Outcome, Outgoing, Question, QueueError, Report,
    RowId, Settled, Store, Tally, Waiting, inbox, outbox,
};
use crate::lanes::{Join, Part};

/// Jobs that may wait for the thread; a caller beyond that waits too.
const WAITING_JOBS: usize = 256;
/// Jobs of one transaction: with texts of at most 256 KiB it stays below 16 MiB.
const BATCH: usize = 64;
/// Notes that may wait for the next transaction.
const NOTES: usize = 4096;

enum Command {
    Do(Box<dyn Job>),
    /// Written along with the next job, or at the end.
    Note(Note),
}

/// What is good to know and may be lost.
#[derive(Clone, Copy)]
enum Note {
    /// A client has the end of a row.
    Delivered(RowId),
    /// A worker was given this row of the outbox.
    Sent(i64),
}

impl Note {
    fn write(self, db: &Connection) -> Result<(), QueueError> {
        match self {
            Self::Delivered(row) => inbox::delivered(db, row),
            Self::Sent(number) => outbox::sent(db, number),
        }
    }
}

trait Job: Send {
    fn run(&mut self, tx: &mut Transaction<'_>);
    fn finish(self: Box<Self>, committed: &Result<(), QueueError>);
}

struct Ask<F, R> {
    work: Option<F>,
    result: Option<Result<R, QueueError>>,
    reply: oneshot::Sender<Result<R, QueueError>>,
}

impl<F, R> Job for Ask<F, R>
where
    F: FnOnce(&Connection) -> Result<R, QueueError> + Send,
    R: Send,
{
    fn run(&mut self, tx: &mut Transaction<'_>) {
        // A savepoint, so that a job that fails halfway leaves nothing behind and spoils no other.
        self.result = self.work.take().map(|work| {
            let point = tx.savepoint()?;
            let result = work(&point)?;
            point.commit()?;
            Ok(result)
        });
    }

    fn finish(self: Box<Self>, committed: &Result<(), QueueError>) {
        let result = match (committed, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(QueueError::Stopped),
            (Err(e), _) => Err(e.clone()),
        };
        // A caller that went away does not want to know.
        let _ = self.reply.send(result);
    }
}

/// The queue, as the rest of the gateway uses it. Clones share the thread, which ends after the last of them.
#[derive(Clone)]
pub struct Queue {
    commands: mpsc::Sender<Command>,
}

impl Queue {
    /// Starts the thread; `pulse` beats with each transaction.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(store: Store, pulse: Pulse) -> std::io::Result<Self> {
        let (commands, jobs) = mpsc::channel(WAITING_JOBS);
        std::thread::Builder::new()
            .name("queue".into())
            .stack_size(512 * 1024)
            .spawn(move || work(store.db, jobs, &pulse))?;
        Ok(Self { commands })
    }

    /// Accepts a message, or tells what is known of it. When this returns `New`, the message is on the disk.
    ///
    /// # Errors
    /// When the disk is full or the database fails; the message is then not accepted.
    pub async fn accept(&self, message: Message, now_ms: u64) -> Result<Acceptance, QueueError> {
        self.ask(move |db| inbox::accept(db, message, now_ms)).await
    }

    /// Takes what a channel worker brings, at most `room` new messages, in one transaction. What is told is on the disk.
    ///
    /// # Errors
    /// When the disk is full or the database fails; nothing is then accepted.
    pub async fn deliver(
        &self,
        deliveries: Vec<Delivery>,
        room: usize,
        now_ms: u64,
    ) -> Result<Vec<Delivered>, QueueError> {
        self.ask(move |db| inbox::deliver(db, deliveries, room, now_ms))
            .await
    }

    /// Makes one question of several rows, which end together from now on. `None` when the lead is settled.
    ///
    /// # Errors
    /// When the disk is full or the database fails.
    pub async fn join(
        &self,
        lead: RowId,
        parts: Vec<Part>,
        join: Join,
        turn_id: TurnId,
    ) -> Result<Option<Waiting>, QueueError> {
        self.ask(move |db| inbox::join(db, lead, &parts, join, &turn_id))
            .await
    }

    /// Stores the end of a message and what has to be sent. An end that was stored before stays in force, and is
    /// returned.
    ///
    /// # Errors
    /// When the disk is full, the database fails, or there is no such row.
    pub async fn settle(
        &self,
        row: RowId,
        end: impl Into<End>,
        now_ms: u64,
    ) -> Result<Settled, QueueError> {
        let end = end.into();
        self.ask(move |db| inbox::settle(db, row, &end, now_ms))
            .await
    }

    /// Handle and question of a row; `None` when it is settled.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn question(&self, row: RowId) -> Result<Option<(Handle, Question)>, QueueError> {
        self.ask(move |db| inbox::question(db, row)).await
    }

    /// How a row ended; `None` while it waits.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outcome(&self, row: RowId) -> Result<Option<Outcome>, QueueError> {
        self.ask(move |db| inbox::outcome(db, row)).await
    }

    /// All rows that are not settled, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pending(&self) -> Result<Vec<Waiting>, QueueError> {
        self.ask(inbox::pending).await
    }

    /// What was changed for sessions by `/queue`, in words.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn wishes(&self) -> Result<Vec<(SessionKey, String)>, QueueError> {
        self.ask(inbox::wishes).await
    }

    /// Remembers what was changed for a session; no words: nothing.
    ///
    /// # Errors
    /// When the disk is full or the database fails.
    pub async fn wish(&self, key: SessionKey, words: String) -> Result<(), QueueError> {
        self.ask(move |db| inbox::wish(db, &key, &words)).await
    }

    /// Forgets settled rows that are older than a week; returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prune(&self, now_ms: u64) -> Result<usize, QueueError> {
        self.ask(move |db| inbox::prune(db, now_ms)).await
    }

    /// Notes that a client has the end of a message. Written with the next transaction.
    pub fn delivered(&self, row: RowId) {
        self.note(Note::Delivered(row));
    }

    /// Notes that a worker was given a row of the outbox. Written with the next transaction.
    pub fn sent(&self, number: i64) {
        self.note(Note::Sent(number));
    }

    fn note(&self, note: Note) {
        // Losing one costs nothing but the knowledge.
        let _ = self.commands.try_send(Command::Note(note));
    }

    /// Answers that are on their way, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outgoing(&self) -> Result<Vec<Outgoing>, QueueError> {
        self.ask(outbox::open).await
    }

    /// An answer as the worker gets it; `None` when it needs to be sent no more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn order(&self, number: i64) -> Result<Option<v1::Send>, QueueError> {
        self.ask(move |db| outbox::order(db, number)).await
    }

    /// Writes down what became of a send; `None` when that is known already. When this returns, the worker may forget
    /// the send.
    ///
    /// # Errors
    /// When the disk is full or the database fails.
    pub async fn report(
        &self,
        report: Report,
        now_ms: u64,
    ) -> Result<Option<Outgoing>, QueueError> {
        self.ask(move |db| outbox::report(db, &report, now_ms))
            .await
    }

    /// Answers of the last seven days that did not certainly arrive.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tally(&self, now_ms: u64) -> Result<Tally, QueueError> {
        self.ask(move |db| outbox::tally(db, now_ms)).await
    }

    /// Returns when the thread has ended, which it does by itself only when the database is beyond use.
    pub async fn stopped(&self) {
        self.commands.closed().await;
    }

    /// Writes the notes that wait.
    ///
    /// # Errors
    /// When the disk is full or the database fails.
    pub async fn flush(&self) -> Result<(), QueueError> {
        self.ask(|_| Ok(())).await
    }

    async fn ask<F, R>(&self, work: F) -> Result<R, QueueError>
    where
        F: FnOnce(&Connection) -> Result<R, QueueError> + Send + 'static,
        R: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Ask {
            work: Some(work),
            result: None,
            reply,
        };
        self.commands
            .send(Command::Do(Box::new(job)))
            .await
            .map_err(|_| QueueError::Stopped)?;
        answer.await.map_err(|_| QueueError::Stopped)?
    }
}

fn work(mut db: Connection, mut commands: mpsc::Receiver<Command>, pulse: &Pulse) {
    let mut notes = Vec::new();
    let mut jobs = Vec::new();
    loop {
        let mut next = commands.blocking_recv();
        let ended = next.is_none();
        while let Some(command) = next {
            match command {
                Command::Do(job) => jobs.push(job),
                Command::Note(note) if notes.len() < NOTES => notes.push(note),
                Command::Note(_) => {}
            }
            next = match jobs.len() < BATCH {
                true => commands.try_recv().ok(),
                false => None,
            };
        }
        if !jobs.is_empty() || (ended && !notes.is_empty()) {
            let under_way = pulse.work();
            let committed = transact(&mut db, &mut jobs, &mut notes);
            drop(under_way);
            if let Err(error) = &committed {
                tracing::error!(%error, "the message queue could not write");
            }
            for job in jobs.drain(..) {
                job.finish(&committed);
            }
            // After a failed commit that is not for want of space nobody knows what is on the disk: start again.
            if let Err(QueueError::Database(_) | QueueError::Damaged(_)) = committed {
                return;
            }
        }
        if ended {
            return;
        }
    }
}

fn transact(
    db: &mut Connection,
    jobs: &mut [Box<dyn Job>],
    notes: &mut Vec<Note>,
) -> Result<(), QueueError> {
    let mut tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for note in &*notes {
        note.write(&tx)?;
    }
    for job in jobs {
        job.run(&mut tx);
        // A full disk may end the whole transaction; what ran before is undone then, too.
        if tx.is_autocommit() {
            return Err(QueueError::DiskFull);
        }
    }
    tx.commit()?;
    notes.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use clawdbot_service::Pulses;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_transaction_that_hangs_is_noticed_and_many_in_a_row_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        let (pulses, store) = (Pulses::default(), Store::open(scratch.path()).unwrap());
        let queue = Queue::start(store, pulses.add("queue", PATIENCE)).unwrap();
        for _ in 0..10 {
            queue.flush().await.unwrap();
            assert!(pulses.are_fresh(2 * PATIENCE));
        }
        let (begun, begins) = mpsc::channel();
        let (answer, answers) = mpsc::channel::<()>();
        let hangs = queue.ask(move |_| {
            begun.send(()).unwrap();
            answers.recv().map_err(|_| QueueError::Stopped)
        });
        let watches = std::thread::spawn(move || {
            begins.recv().unwrap();
            let seen = [PATIENCE, PATIENCE, PATIENCE].map(|passed| pulses.are_fresh(passed));
            answer.send(()).unwrap();
            (seen, pulses)
        });
        hangs.await.unwrap();
        let (seen, pulses) = watches.join().unwrap();
        assert_eq!(seen, [true, true, false]);
        queue.flush().await.unwrap();
        assert!(pulses.are_fresh(2 * PATIENCE));
    }
}

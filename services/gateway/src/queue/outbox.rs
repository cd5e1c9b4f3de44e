//! The outbox: answers on their way to a channel. A row is made in the transaction that settles its question, and ends
//! when the worker says what became of it; what nobody knows is never sent again.

use clawdbot_identity::TurnId;
use clawdbot_proto::v1;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::store::{millis, parsed};
use super::{Fate, Outgoing, QueueError, Reply, Report, RowId, Tally};
use crate::limits;

/// Adds the answer to a row of the inbox.
pub fn add(
    db: &Connection,
    row: RowId,
    reply: &Reply,
    now_ms: u64,
) -> Result<Outgoing, QueueError> {
    Ok(db
        .prepare_cached(
            "INSERT INTO outbox (inbox_id, outbox_id, channel, account, address, lane, text, reply_to, state, created_ms) \
             SELECT id, turn_id, source, account, address, lane, ?2, iif(?3 = 'current', reply_to, ?3), 'queued', ?4 \
             FROM inbox WHERE id = ?1 \
             RETURNING id, outbox_id, channel, account, lane, attempts, next_try_ms",
        )?
        .query_row(
            params![row.0, reply.text, reply.reply_to, millis(now_ms)],
            outgoing,
        )?)
}

/// All rows that are not settled, oldest first.
pub fn open(db: &Connection) -> Result<Vec<Outgoing>, QueueError> {
    let mut statement = db.prepare(
        "SELECT id, outbox_id, channel, account, lane, attempts, next_try_ms FROM outbox \
         WHERE settled_ms IS NULL ORDER BY id",
    )?;
    let rows = statement.query_map([], outgoing)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A row as the worker gets it; `None` when it is settled.
pub fn order(db: &Connection, number: i64) -> Result<Option<v1::Send>, QueueError> {
    Ok(db
        .prepare_cached(
            "SELECT outbox_id, account, address, lane, text, reply_to FROM outbox WHERE id = ?1 AND settled_ms IS NULL",
        )?
        .query_row([number], |r| {
            let outbox_id: String = r.get(0)?;
            Ok(v1::Send {
                turn_id: outbox_id.clone(),
                outbox_id,
                account: r.get(1)?,
                address: r.get(2)?,
                lane: r.get(3)?,
                text: r.get(4)?,
                reply_to: r.get(5)?,
            })
        })
        .optional()?)
}

/// Notes that a worker was given a row.
pub fn sent(db: &Connection, number: i64) -> Result<(), QueueError> {
    db.prepare_cached("UPDATE outbox SET state = 'sent' WHERE id = ?1 AND state = 'queued'")?
        .execute([number])?;
    Ok(())
}

/// Writes down what a worker says of a row. `None` when there is no such row that is not settled: a report that comes
/// twice changes nothing. The text of an answer that has ended is not kept.
pub fn report(
    db: &Connection,
    report: &Report,
    now_ms: u64,
) -> Result<Option<Outgoing>, QueueError> {
    let state = match report.fate {
        Fate::Done => "done",
        Fate::Unknown => "unknown",
        Fate::Rejected => "rejected",
        Fate::Again => "queued",
    };
    let again = report.fate == Fate::Again;
    let mut next_try = 0;
    if again {
        let attempts = db
            .prepare_cached("SELECT attempts FROM outbox WHERE outbox_id = ?1")?
            .query_row([report.outbox_id.as_str()], |r| r.get(0))
            .optional()?;
        next_try = now_ms.saturating_add(pause_ms(attempts.unwrap_or(0)));
    }
    Ok(db
        .prepare_cached(
            "UPDATE outbox SET state = ?3, error = ?4, attempts = attempts + ?5, next_try_ms = ?6, \
             settled_ms = iif(?5, NULL, ?7), text = iif(?5, text, ''), address = iif(?5, address, x'') \
             WHERE channel = ?1 AND outbox_id = ?2 AND settled_ms IS NULL \
             RETURNING id, outbox_id, channel, account, lane, attempts, next_try_ms",
        )?
        .query_row(
            params![
                report.channel,
                report.outbox_id.as_str(),
                state,
                report.error,
                again,
                millis(next_try),
                millis(now_ms),
            ],
            outgoing,
        )
        .optional()?)
}

/// Answers of the last seven days that did not certainly arrive.
pub fn tally(db: &Connection, now_ms: u64) -> Result<Tally, QueueError> {
    let kept = u64::try_from(limits::REMEMBERED.as_millis()).unwrap_or(u64::MAX);
    Ok(db
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE state = 'unknown'), count(*) FILTER (WHERE state = 'rejected') \
             FROM outbox WHERE settled_ms >= ?1",
        )?
        .query_row([millis(now_ms.saturating_sub(kept))], |r| {
            Ok(Tally {
                unknown: r.get(0)?,
                rejected: r.get(1)?,
            })
        })?)
}

/// Pause after so many tries that came to nothing, milliseconds.
fn pause_ms(attempts: u32) -> u64 {
    let (first, most) = limits::SEND_AGAIN;
    let pause = first.saturating_mul(1 << attempts.min(16)).min(most);
    u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)
}

fn outgoing(row: &Row<'_>) -> rusqlite::Result<Outgoing> {
    Ok(Outgoing {
        number: row.get(0)?,
        outbox_id: parsed(row, 1, TurnId::parse)?,
        channel: row.get(2)?,
        account: row.get(3)?,
        lane: row.get(4)?,
        attempts: row.get(5)?,
        next_try_ms: u64::try_from(row.get::<_, i64>(6)?).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        assert_eq!([0, 1, 2].map(pause_ms), [2000, 4000, 8000]);
        assert_eq!([8, 40].map(pause_ms), [300_000, 300_000]);
    }
}

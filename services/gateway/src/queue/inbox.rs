//! The inbox: accept, remember, hand out, settle. Each function is one step inside the worker's transaction; nothing is
//! certain before that is committed. A message that is settled or refused is remembered for a week.

use clawdbot_identity::{Class, Handle, MessageId, SessionKey, TurnId};
use prost::Message as _;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};

use super::store::{millis, parsed};
use super::{
    Acceptance, Delivered, Delivery, End, Kind, Message, Outcome, Place, Question, QueueError,
    RowId, Settled, Source, Waiting, outbox,
};
use crate::lanes::{Join, Part};
use crate::limits;
use crate::wording::{self, Said};

/// What [`waiting`] reads.
macro_rules! waiting_columns {
    () => {
        "id, message_id, turn_id, session_key, class, source, account, address, lane, sender, mark, \
         substr(text, 1, 80), EXISTS (SELECT 1 FROM inbox AS member WHERE member.lead = inbox.id)"
    };
}

impl Kind {
    /// Tells by the text; its first 64 characters are enough.
    pub fn of(text: &str) -> Self {
        let mut beginning: String = text.chars().take(64).collect();
        if beginning.len() < text.len() {
            beginning.push('…');
        }
        match () {
            () if wording::is_stop(&beginning) => Self::Stop,
            () if wording::queue(&beginning).is_some() => Self::Queue,
            () if wording::is_command(&beginning) => Self::Command,
            () => Self::Question,
        }
    }
}

fn digest(question: &Question) -> Vec<u8> {
    let mut digest = Sha256::new_with_prefix(question.text.as_bytes());
    if !question.extra_system.is_empty() {
        // A text holds no NUL, so nothing else has this digest.
        digest.update(b"\0");
        digest.update(question.extra_system.as_bytes());
    }
    digest.finalize().to_vec()
}

/// Accepts a message of a door where the client waits for its answer, or tells why not.
pub fn accept(db: &Connection, message: Message, now_ms: u64) -> Result<Acceptance, QueueError> {
    if let Some(known) = known(db, &message)? {
        return Ok(known);
    }
    let (all, here): (u32, u32) = db
        .prepare_cached(
            "SELECT count(*), count(*) FILTER (WHERE session_key = ?1) FROM inbox WHERE state = 'queued'",
        )?
        .query_row([message.session_key.as_str()], |r| Ok((r.get(0)?, r.get(1)?)))?;
    if here >= limits::WAITING_IN_SESSION || all >= limits::WAITING {
        let session = here >= limits::WAITING_IN_SESSION;
        return Ok(Acceptance::Backlog { session });
    }
    Ok(Acceptance::New(insert(db, message, now_ms)?))
}

fn insert(db: &Connection, message: Message, now_ms: u64) -> Result<Waiting, QueueError> {
    let kind = Kind::of(&message.question.text);
    let place = message.place.as_ref();
    let of_place = |part: fn(&Place) -> &str| place.map_or("", part);
    db.prepare_cached(
        "INSERT INTO inbox (source, account, message_id, turn_id, session, session_key, class, handle, text, \
         extra_system, parameters, digest, address, lane, sender, mark, reply_to, state, created_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?3, 'queued', ?17)",
    )?
    .execute(params![
        message.source.word(),
        of_place(|place| &place.account),
        message.message_id.as_str(),
        message.turn_id.as_str(),
        message.session,
        message.session_key.as_str(),
        message.class.as_str(),
        message.handle.as_str(),
        message.question.text,
        message.question.extra_system,
        message.question.parameters.encode_to_vec(),
        digest(&message.question),
        place.map_or(&[][..], |place| &place.address),
        of_place(|place| &place.lane),
        of_place(|place| &place.sender),
        of_place(|place| &place.mark),
        millis(now_ms),
    ])?;
    Ok(Waiting {
        row: RowId(db.last_insert_rowid()),
        message_id: message.message_id,
        turn_id: message.turn_id,
        session_key: message.session_key,
        class: message.class,
        source: message.source,
        place: message.place,
        kind,
        joined: false,
    })
}

/// What is known of a message with the same source and id.
fn known(db: &Connection, message: &Message) -> Result<Option<Acceptance>, QueueError> {
    let found = db
        .prepare_cached(concat!(
            "SELECT ",
            waiting_columns!(),
            ", state = 'queued', session = ?3 AND digest = ?4 FROM inbox \
             WHERE source = ?1 AND account = '' AND message_id = ?2",
        ))?
        .query_row(
            params![
                message.source.word(),
                message.message_id.as_str(),
                message.session,
                digest(&message.question),
            ],
            |r| Ok((waiting(r)?, r.get::<_, bool>(13)?, r.get::<_, bool>(14)?)),
        )
        .optional()?;
    Ok(match found {
        None => None,
        Some((_, _, false)) => Some(Acceptance::Conflict),
        Some((row, true, true)) => Some(Acceptance::Known(row)),
        Some((row, false, true)) => outcome(db, row.row)?.map(|o| Acceptance::Settled(row.row, o)),
    })
}

/// Takes what a channel worker brings, at most `room` messages that are new. All of it is one step, so that what is
/// told of one message holds for the others, too.
pub fn deliver(
    db: &Connection,
    deliveries: Vec<Delivery>,
    mut room: usize,
    now_ms: u64,
) -> Result<Vec<Delivered>, QueueError> {
    let mut all = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let (source, account, event_id) = match &delivery {
            Delivery::Message(m) => {
                let account = m.place.as_ref().map_or("", |place| &place.account);
                (&m.source, account, &m.message_id)
            }
            Delivery::Refused {
                source,
                account,
                event_id,
                ..
            } => (source, account.as_str(), event_id),
        };
        let refused: Option<bool> = db
            .prepare_cached(
                "SELECT state = 'refused' FROM inbox WHERE source = ?1 AND account = ?2 AND message_id = ?3",
            )?
            .query_row(
                params![source.word(), account, event_id.as_str()],
                |r| r.get(0),
            )
            .optional()?;
        all.push(match (refused, delivery) {
            (Some(true), _) => Delivered::Refused,
            (Some(false), _) => Delivered::Known,
            (None, Delivery::Message(_)) if room == 0 => Delivered::Full,
            (None, Delivery::Message(message)) => {
                room -= 1;
                Delivered::New(Box::new(insert(db, *message, now_ms)?))
            }
            (
                None,
                Delivery::Refused {
                    source,
                    account,
                    event_id,
                    turn_id,
                },
            ) => {
                db.prepare_cached(
                    "INSERT INTO inbox (source, account, message_id, turn_id, session, session_key, class, handle, \
                     text, extra_system, parameters, digest, address, lane, sender, reply_to, state, created_ms, \
                     settled_ms) VALUES (?1, ?2, ?3, ?4, '', '', '', '', '', '', x'', x'', x'', '', '', '', \
                     'refused', ?5, ?5)",
                )?
                .execute(params![
                    source.word(),
                    account,
                    event_id.as_str(),
                    turn_id.as_str(),
                    millis(now_ms),
                ])?;
                Delivered::Refused
            }
        });
    }
    Ok(all)
}

/// Makes one question of several rows: the lead's, under a turn id that no agent has seen. The others end with it.
/// `None` when the lead is settled.
pub fn join(
    db: &Connection,
    lead: RowId,
    parts: &[Part],
    join: Join,
    turn_id: &TurnId,
) -> Result<Option<Waiting>, QueueError> {
    let mut said = Vec::new();
    for part in parts {
        let row = db
            .prepare_cached("SELECT sender, text FROM inbox WHERE id = ?1 AND state = 'queued'")?
            .query_row([part.row.0], |r| {
                Ok(Said {
                    sender: r.get(0)?,
                    text: r.get(1)?,
                    short: part.short,
                })
            })
            .optional()?;
        said.extend(row);
        db.prepare_cached(
            "UPDATE inbox SET lead = ?2, text = '' WHERE id = ?1 AND id <> ?2 AND state = 'queued'",
        )?
        .execute([part.row.0, lead.0])?;
    }
    // The answer goes where the last one came from, which is the same chat.
    let last = parts.last().map_or(lead, |part| part.row);
    db.prepare_cached(
        "UPDATE inbox SET text = ?3, sender = '', turn_id = ?4, \
         (handle, address, reply_to) = (SELECT handle, address, reply_to FROM inbox WHERE id = ?2) \
         WHERE id = ?1 AND state = 'queued'",
    )?
    .execute(params![
        lead.0,
        last.0,
        wording::joined(said, join),
        turn_id.as_str()
    ])?;
    Ok(db
        .prepare_cached(concat!(
            "SELECT ",
            waiting_columns!(),
            " FROM inbox WHERE id = ?1 AND state = 'queued'"
        ))?
        .query_row([lead.0], waiting)
        .optional()?)
}

/// What was changed for sessions by `/queue`.
pub fn wishes(db: &Connection) -> Result<Vec<(SessionKey, String)>, QueueError> {
    let mut statement = db.prepare("SELECT session_key, words FROM wishes")?;
    let rows = statement.query_map([], |r| Ok((parsed(r, 0, SessionKey::parse)?, r.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Remembers it, or forgets it when there are no words.
pub fn wish(db: &Connection, key: &SessionKey, words: &str) -> Result<(), QueueError> {
    db.prepare_cached("DELETE FROM wishes WHERE session_key = ?1")?
        .execute([key.as_str()])?;
    if !words.is_empty() {
        db.prepare_cached("INSERT INTO wishes VALUES (?1, ?2)")?
            .execute([key.as_str(), words])?;
    }
    Ok(())
}

/// The stored end of a message; of one that ended with another message's turn, that one's.
pub fn outcome(db: &Connection, row: RowId) -> Result<Option<Outcome>, QueueError> {
    let stored = db
        .prepare_cached(
            "SELECT state, body FROM inbox WHERE body IS NOT NULL AND \
             id IN (?1, (SELECT lead FROM inbox WHERE id = ?1 AND state <> 'queued')) ORDER BY id = ?1 DESC LIMIT 1",
        )?
        .query_row([row.0], |r| {
            Ok((r.get::<_, String>(0)?, r.get::<_, Vec<u8>>(1)?))
        })
        .optional()?;
    let Some((state, body)) = stored else {
        return Ok(None);
    };
    let decoded = match state.as_str() {
        "answered" => prost::Message::decode(body.as_slice()).map(Outcome::Answered),
        _ => prost::Message::decode(body.as_slice()).map(Outcome::Failed),
    };
    decoded
        .map(Some)
        .map_err(|e| QueueError::Damaged(format!("stored answer {}: {e}", row.0)))
}

/// Stores the end of a message together with its change of state and what has to be sent; what was joined to it or
/// taken in by its turn ends as well. An end that was stored first stays, and is returned.
pub fn settle(db: &Connection, row: RowId, end: &End, now_ms: u64) -> Result<Settled, QueueError> {
    let (state, body) = match &end.outcome {
        Outcome::Answered(answer) => ("answered", answer.encode_to_vec()),
        Outcome::Failed(failed) => ("failed", failed.encode_to_vec()),
    };
    let now = millis(now_ms);
    let source = db
        .prepare_cached(
            "UPDATE inbox SET state = ?2, body = ?3, settled_ms = ?4, handle = '', text = '', extra_system = '', \
             parameters = x'' WHERE id = ?1 AND state = 'queued' RETURNING source",
        )?
        .query_row(params![row.0, state, body, now], |r| {
            parsed(r, 0, Source::parse)
        })
        .optional()?;
    let Some(source) = source else {
        let outcome = outcome(db, row)?
            .ok_or_else(|| QueueError::Damaged(format!("there is no end of row {}", row.0)))?;
        return Ok(Settled {
            outcome,
            send: None,
            absorbed: Vec::new(),
        });
    };
    let mut settled = Settled {
        outcome: end.outcome.clone(),
        send: None,
        absorbed: Vec::new(),
    };
    if let Source::Channel(_) = source {
        for turn_id in &end.absorbed {
            // Only of the same chat and sender, whatever an agent says.
            let taken = db
                .prepare_cached(
                    "UPDATE inbox SET lead = ?1 WHERE turn_id = ?2 AND id <> ?1 AND state = 'queued' AND \
                     mark <> '' AND (source, account, lane, session_key, mark) = \
                     (SELECT source, account, lane, session_key, mark FROM inbox WHERE id = ?1) RETURNING id",
                )?
                .query_row(params![row.0, turn_id], |r| r.get(0))
                .optional()?;
            settled.absorbed.extend(taken.map(RowId));
        }
        db.prepare_cached(
            "UPDATE inbox SET state = ?2, settled_ms = ?3, handle = '', text = '' WHERE lead = ?1 AND state = 'queued'",
        )?
        .execute(params![row.0, state, now])?;
        if let Some(reply) = &end.reply {
            settled.send = Some(outbox::add(db, row, reply, now_ms)?);
        }
    }
    Ok(settled)
}

/// Handle and question of a row that is not settled, the question as the model reads it.
pub fn question(db: &Connection, row: RowId) -> Result<Option<(Handle, Question)>, QueueError> {
    Ok(db
        .prepare_cached(
            "SELECT handle, text, extra_system, parameters, sender FROM inbox WHERE id = ?1 AND state = 'queued'",
        )?
        .query_row([row.0], |r| {
            let text: String = r.get(1)?;
            let parameters = r.get_ref(3)?.as_blob()?;
            let parameters = prost::Message::decode(parameters)
                .map_err(|e| rusqlite::Error::FromSqlConversionFailure(3, Type::Blob, Box::new(e)))?;
            let sender = r.get_ref(4)?.as_str()?;
            let question = Question {
                text: wording::spoken(sender, &text).into_owned(),
                extra_system: r.get(2)?,
                parameters,
            };
            Ok((parsed(r, 0, Handle::parse)?, question))
        })
        .optional()?)
}

/// All rows that are not settled and have a turn of their own, in the order in which they were accepted.
pub fn pending(db: &Connection) -> Result<Vec<Waiting>, QueueError> {
    let mut statement = db.prepare(concat!(
        "SELECT ",
        waiting_columns!(),
        " FROM inbox WHERE state = 'queued' AND lead IS NULL ORDER BY id"
    ))?;
    let rows = statement.query_map([], waiting)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Notes that the end of a message reached a client.
pub fn delivered(db: &Connection, row: RowId) -> Result<(), QueueError> {
    db.prepare_cached("UPDATE inbox SET delivered = 1 WHERE id = ?1")?
        .execute([row.0])?;
    Ok(())
}

/// Forgets what was settled before `now - REMEMBERED`, but nothing of which an answer is still on its way. Returns how
/// many rows that were.
pub fn prune(db: &Connection, now_ms: u64) -> Result<usize, QueueError> {
    let kept = u64::try_from(limits::REMEMBERED.as_millis()).unwrap_or(u64::MAX);
    Ok(db
        .prepare_cached(
            "DELETE FROM inbox WHERE settled_ms < ?1 AND NOT EXISTS (SELECT 1 FROM outbox \
             WHERE inbox_id = inbox.id AND (outbox.settled_ms IS NULL OR outbox.settled_ms >= ?1))",
        )?
        .execute([millis(now_ms.saturating_sub(kept))])?)
}

fn waiting(row: &Row<'_>) -> rusqlite::Result<Waiting> {
    let source = parsed(row, 5, Source::parse)?;
    let place = match source {
        Source::Channel(_) => Some(Place {
            account: row.get(6)?,
            address: row.get(7)?,
            lane: row.get(8)?,
            sender: row.get(9)?,
            mark: row.get(10)?,
        }),
        _ => None,
    };
    Ok(Waiting {
        row: RowId(row.get(0)?),
        message_id: parsed(row, 1, MessageId::parse)?,
        turn_id: parsed(row, 2, TurnId::parse)?,
        session_key: parsed(row, 3, SessionKey::parse)?,
        class: parsed(row, 4, Class::parse)?,
        source,
        place,
        kind: Kind::of(row.get_ref(11)?.as_str()?),
        joined: row.get(12)?,
    })
}

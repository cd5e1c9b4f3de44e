//! The tables, and the step from the format before. A step runs in one transaction: after a crash the file has either
//! the old format or the new one.

/// The format that this version writes.
pub const VERSION: i32 = 4;

/// The tables of an empty queue.
///
/// A settled row keeps only the digest of its text: enough to know the message again, and nothing more to lose.
pub const TABLES: &str = "
    CREATE TABLE inbox (
        id           INTEGER PRIMARY KEY AUTOINCREMENT,
        source       TEXT NOT NULL,
        account      TEXT NOT NULL,
        message_id   TEXT NOT NULL,
        turn_id      TEXT NOT NULL UNIQUE,
        session      TEXT NOT NULL,
        session_key  TEXT NOT NULL,
        class        TEXT NOT NULL,
        handle       TEXT NOT NULL,
        text         TEXT NOT NULL,
        extra_system TEXT NOT NULL,
        parameters   BLOB NOT NULL,
        digest       BLOB NOT NULL,
        address      BLOB NOT NULL,
        lane         TEXT NOT NULL,
        sender       TEXT NOT NULL,
        reply_to     TEXT NOT NULL,
        lead         INTEGER REFERENCES inbox (id) ON DELETE SET NULL,
        state        TEXT NOT NULL CHECK (state IN ('queued', 'answered', 'failed', 'refused')),
        body         BLOB,
        delivered    INTEGER NOT NULL DEFAULT 0,
        created_ms   INTEGER NOT NULL,
        settled_ms   INTEGER,
        UNIQUE (source, account, message_id)
    ) STRICT;
    CREATE INDEX inbox_queued ON inbox (session_key) WHERE state = 'queued';
    CREATE INDEX inbox_settled ON inbox (settled_ms) WHERE settled_ms IS NOT NULL;
    CREATE INDEX inbox_lead ON inbox (lead) WHERE lead IS NOT NULL;
    CREATE TABLE outbox (
        id          INTEGER PRIMARY KEY AUTOINCREMENT,
        inbox_id    INTEGER NOT NULL UNIQUE REFERENCES inbox (id) ON DELETE CASCADE,
        outbox_id   TEXT NOT NULL UNIQUE,
        channel     TEXT NOT NULL,
        account     TEXT NOT NULL,
        address     BLOB NOT NULL,
        lane        TEXT NOT NULL,
        text        TEXT NOT NULL,
        reply_to    TEXT NOT NULL,
        state       TEXT NOT NULL CHECK (state IN ('queued', 'sent', 'done', 'unknown', 'rejected')),
        attempts    INTEGER NOT NULL DEFAULT 0,
        next_try_ms INTEGER NOT NULL DEFAULT 0,
        error       TEXT NOT NULL DEFAULT '',
        created_ms  INTEGER NOT NULL,
        settled_ms  INTEGER
    ) STRICT;
    CREATE INDEX outbox_open ON outbox (channel, account, lane, id) WHERE settled_ms IS NULL;
    CREATE INDEX outbox_settled ON outbox (settled_ms) WHERE settled_ms IS NOT NULL;
";

/// What leads from format 2 to format 3: what `/queue` changed, by session, in the words of that command.
pub const FROM_2: &str = "
    CREATE TABLE wishes (
        session_key TEXT PRIMARY KEY,
        words       TEXT NOT NULL
    ) STRICT;
";

/// What leads from format 3 to format 4: who wrote, as policy tells it. What came before has no mark and is like nothing else.
pub const FROM_3: &str = "ALTER TABLE inbox ADD COLUMN mark TEXT NOT NULL DEFAULT '';";

/// What leads from format 1, which had no channels and kept every end in its outbox, to format 2. Foreign keys must be
/// off, or dropping a table would delete what refers to it. The counters move along, so that no number comes twice.
pub const FROM_1: &str = "
    DROP INDEX inbox_queued;
    DROP INDEX inbox_settled;
    DROP INDEX outbox_order;
    ALTER TABLE outbox RENAME TO outbox_1;
    ALTER TABLE inbox RENAME TO inbox_1;
";

/// The rest of that step, after [`TABLES`].
pub const FROM_1_ROWS: &str = "
    INSERT INTO inbox (id, source, account, message_id, turn_id, session, session_key, class, handle, text,
        extra_system, parameters, digest, address, lane, sender, reply_to, state, body, delivered, created_ms, settled_ms)
    SELECT i.id, i.source, '', i.message_id, i.turn_id, i.session, i.session_key, i.class, i.handle, i.text,
        '', x'', i.digest, x'', '', '', '', i.state, o.body, coalesce(o.delivered, 0), i.created_ms, i.settled_ms
    FROM inbox_1 AS i LEFT JOIN outbox_1 AS o ON o.inbox_id = i.id;
    DELETE FROM sqlite_sequence WHERE name = 'inbox';
    INSERT INTO sqlite_sequence (name, seq) SELECT 'inbox', seq FROM sqlite_sequence WHERE name = 'inbox_1';
    DROP TABLE outbox_1;
    DROP TABLE inbox_1;
";

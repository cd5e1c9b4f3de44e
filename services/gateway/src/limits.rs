//! Every number that bounds what strangers, clients and disks can do to the gateway, in one place.
//! What goes beyond one of these is refused with a message that names it; nothing is ever cut silently.

use std::time::Duration;

/// Longest message text, bytes of UTF-8.
pub const TEXT_BYTES: usize = 256 * 1024;
/// Of a message's text, what policy is shown to judge it, bytes.
pub const ADMITTED_TEXT_BYTES: usize = 32 << 10;
/// Messages that may wait in one session, the running one included.
pub const WAITING_IN_SESSION: u32 = 100;
/// Messages that may wait in all sessions together.
pub const WAITING: u32 = 1000;
/// Messages of all channels that may wait; the rest is kept for the operator.
pub const WAITING_FROM_CHANNELS: usize = 800;
/// Messages that a channel worker may hand in at once.
pub const DELIVERY: usize = 100;
/// Messages that a channel worker is invited to hand in, at most.
pub const CREDIT: usize = 64;
/// Below this nobody is invited, so that invitations are worth their while.
pub const CREDIT_STEP: usize = 16;
/// Answers on their way to one channel, beyond which it may hand in no more messages.
pub const UNDELIVERED: usize = 1000;
/// Sends that a channel worker has at the same time, each of another conversation.
pub const SENDS: usize = 32;
/// How a worker finds a conversation again, bytes.
pub const ADDRESS_BYTES: usize = 1024;
/// Several messages that became one question, bytes; the oldest are shortened.
pub const JOINED_BYTES: usize = 1024 * 1024;
/// Longest answer that goes to a channel, bytes.
pub const SEND_BYTES: usize = 1024 * 1024;
/// Longest question that stays in memory until its turn; longer ones are read from the disk.
pub const FRESH_BYTES: usize = 16 * 1024;
/// Between two looks of a channel at a growing answer, which is shown up to so many bytes.
pub const PROGRESS: (Duration, usize) = (Duration::from_secs(1), 32 * 1024);
/// How long a chat shows that somebody types, and how often that is said again.
pub const TYPING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// Pause before an answer that was not sent is tried again: first, and at most.
pub const SEND_AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));
/// Pause before policy is asked for the operator's problems again.
pub const PROBLEMS_AGAIN: Duration = Duration::from_millis(500);
/// How long a settled message is remembered, so that asking again gives the same answer.
pub const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often settled messages are forgotten.
pub const PRUNE_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Streamed text and tool notes of one turn that are kept for late readers, bytes. The answer itself always comes.
pub const LOG_BYTES: usize = 4 * 1024 * 1024;
/// Turns that run at the same time as long as the configuration has not been read.
pub const MAX_CONCURRENT: usize = 4;
/// Pause before a lost turn is asked for again: first, and at most.
pub const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long a cancelled turn may take to say its last word.
pub const CANCEL: Duration = Duration::from_secs(5);
/// Entries that one look into a session's history may ask for.
pub const HISTORY: u32 = 1000;
/// Text of one look into a session's history, bytes; the newest entries that fit are given.
pub const HISTORY_BYTES: usize = 3 * 1024 * 1024;
/// What an agent may answer to such a look, bytes.
pub const HISTORY_REPLY_BYTES: usize = 16 * 1024 * 1024;

/// Open connections.
pub const CONNECTIONS: u32 = 512;
/// Open connections of one source that have not authenticated.
pub const STRANGERS_OF_SOURCE: u32 = 64;
/// From accept to authenticated.
pub const AUTHENTICATE: Duration = Duration::from_secs(10);
/// From the first byte of a request head to its last.
pub const HEAD: Duration = Duration::from_secs(10);
/// From the end of a request head to the end of its answer.
pub const REQUEST: Duration = Duration::from_secs(30);
/// A connection whose agent has said nothing for so long is given up; turns have limits of their own, which are shorter.
pub const TURN: Duration = Duration::from_secs(6 * 3600);
/// Between two signs of life in a streamed answer; so long its head waits for the first words.
pub const STILL_HERE: Duration = Duration::from_secs(15);
/// Right API keys that are remembered by their digests, and for how long.
pub const BEARERS: (usize, Duration) = (32, Duration::from_secs(600));
/// Between two requests of an authenticated connection.
pub const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Request line and headers, bytes.
pub const HEAD_BYTES: usize = 16 * 1024;
/// Headers of one request.
pub const HEADERS: usize = 64;
/// Request body, bytes.
pub const BODY_BYTES: usize = 1024 * 1024;
/// Body of the login form, bytes.
pub const FORM_BYTES: usize = 4 * 1024;
/// One WebSocket message or frame, bytes.
pub const FRAME_BYTES: usize = 512 * 1024;
/// What a connection may send before it has authenticated, bytes.
pub const STRANGER_BYTES: usize = 96 * 1024;
/// Nesting of a JSON text.
pub const JSON_DEPTH: usize = 64;
/// After the last word: how long, and for how many bytes, a peer that is still sending is listened to, so that the
/// word is not lost to a reset.
pub const LINGER: (Duration, usize) = (Duration::from_secs(1), 4 * 1024 * 1024);
/// A peer that does not take what is sent to it is dropped after this.
pub const WRITE: Duration = Duration::from_secs(20);
/// Between two ticks of a WebSocket connection; one that is silent for two of them is closed.
pub const TICK: Duration = Duration::from_secs(30);
/// Between two partial answers of one turn on a WebSocket connection.
pub const DELTA: Duration = Duration::from_millis(150);
/// Wrong visit keys that one source may show, and within what time.
pub const KEY_TRIES: (u32, Duration) = (20, Duration::from_secs(60));
/// Credentials and keys about which policy is asked at the same time.
pub const QUESTIONS: usize = 128;
/// How long an open WebSocket connection waits to hear whether its key is still right.
pub const RECHECK: Duration = Duration::from_secs(5);
/// Checks in a row for which policy may be away before an open WebSocket connection ends.
pub const RECHECKS_MISSED: u32 = 2;
/// Sources whose lockout, or whose wrong keys, are remembered.
pub const LOCKOUTS: usize = 1024;
/// Turns of others that a WebSocket connection follows at the same time.
pub const FOLLOWED: usize = 64;

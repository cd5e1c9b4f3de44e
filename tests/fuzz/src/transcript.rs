//! Files of JSON lines that a process reads back: transcripts and a channel worker's journal. A damaged line costs itself;
//! what was read can be written and is then read as the same; no window separates a call of a tool from its result.

use clawdbot_agent::fuzzing::{self, Told};
use clawdbot_channel::replay;
use clawdbot_proto::v1::ModelMessage;
use clawdbot_proto::v1::model_message::Message;

/// What a model is shown, bytes, and what that may be more: notes and ids.
const WINDOW: usize = 2 << 20;

/// A session's file.
pub fn transcript(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    if let Some(first) = lines.next().and_then(fuzzing::header) {
        let again = fuzzing::header(&first).expect("what was written is read");
        assert_eq!(again, first);
    }
    for line in lines {
        let Some(once) = fuzzing::line(line) else {
            continue;
        };
        assert!(once.ends_with(b"\n") && once.iter().filter(|byte| **byte == b'\n').count() == 1);
        let twice = fuzzing::line(&once).expect("what was written is read");
        assert!(
            once == twice,
            "{}{}",
            String::from_utf8_lossy(&once),
            String::from_utf8_lossy(&twice)
        );
    }
    let told = fuzzing::transcript(bytes).expect("bytes have no disk that fails");
    told.is_some_and(|told| {
        look(bytes, &told);
        true
    })
}

fn look(bytes: &[u8], told: &Told) {
    let complete = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let (whole, torn) = told.length;
    assert_eq!(
        (whole, torn),
        (complete as u64, (bytes.len() - complete) as u64)
    );
    let entries = bytes.iter().filter(|byte| **byte == b'\n').count();
    assert!((told.damaged as usize) < entries);
    assert!(told.window <= WINDOW + bytes.len());
    let (pruned, shortened) = &told.pruned;
    // Those before the first question are shortened, too, and not shown.
    assert!(*shortened < entries.max(1));
    for messages in [&told.messages, pruned] {
        // A summary stands for what was before and is the user's, too.
        let first = messages
            .first()
            .and_then(|message| message.message.as_ref());
        assert!(matches!(first, None | Some(Message::User(_))), "{first:?}");
    }
    if let Some(cut) = &told.cut {
        assert!(!cut.is_empty());
        let kept = told
            .messages
            .iter()
            .filter(|message| is_call(message))
            .count();
        assert!(cut.iter().filter(|message| is_call(message)).count() <= kept.max(entries));
    }
}

fn is_call(message: &ModelMessage) -> bool {
    matches!(&message.message, Some(Message::Assistant(said)) if !said.tool_calls.is_empty())
}

/// A journal; the sums of its lines are made right, since no mutation ever would.
pub fn journal(bytes: &[u8]) -> bool {
    let mut right = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let json = line.strip_suffix(b"\n").unwrap_or(line);
        right.extend(format!("{:08x} ", crc32(json)).bytes());
        right.extend(line);
    }
    let taken = replayed(&right);
    replayed(bytes);
    taken
}

fn replayed(bytes: &[u8]) -> bool {
    let all = replay(bytes);
    assert!(all.length <= bytes.len() && all.damaged.len() <= 16);
    assert!(all.damaged.is_sorted() && all.damaged.iter().all(|line| *line > 0));
    let again = replay(&bytes[..all.length]);
    assert_eq!((&again.ledger, again.length), (&all.ledger, all.length));
    all.length > 0
}

/// IEEE 802.3, bit by bit: not the table that is tried here.
fn crc32(bytes: &[u8]) -> u32 {
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| match sum & 1 {
            1 => sum >> 1 ^ 0xedb8_8320,
            _ => sum >> 1,
        })
    });
    !sum
}

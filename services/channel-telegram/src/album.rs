//! Albums come as one message for each picture. Those that came together become one, with the first one's name.

use crate::incoming::{Incoming, Said};

/// Whether the last message of a batch belongs to an album, so that more of it may be on its way.
pub(crate) fn may_go_on(batch: &[Incoming]) -> bool {
    let last = batch.iter().rev().find_map(|incoming| match incoming {
        Incoming::Said(said) => Some(said),
        _ => None,
    });
    last.is_some_and(|said| said.album.is_some())
}

/// Joins what belongs together; the order is that of the first parts.
pub(crate) fn join(batch: Vec<Incoming>) -> Vec<Incoming> {
    let mut joined: Vec<Incoming> = Vec::new();
    for incoming in batch {
        let whole = joined
            .iter_mut()
            .find_map(|before| match (before, &incoming) {
                (Incoming::Said(before), Incoming::Said(said)) if belongs(before, said) => {
                    Some(before)
                }
                _ => None,
            });
        match (whole, incoming) {
            (Some(whole), Incoming::Said(said)) => add(whole, *said),
            (_, incoming) => joined.push(incoming),
        }
    }
    joined
}

fn belongs(before: &Said, said: &Said) -> bool {
    said.album.is_some()
        && before.album == said.album
        && before.address.chat == said.address.chat
        && before.sender.id == said.sender.id
        && before.event_id != said.event_id
}

fn add(whole: &mut Said, said: Said) {
    whole.attachments.extend(said.attachments);
    whole.mentioned |= said.mentioned;
    whole.replies_to_bot |= said.replies_to_bot;
    if !said.words.is_empty() {
        if !whole.words.is_empty() {
            whole.words.push('\n');
        }
        whole.words.push_str(&said.words);
    }
}

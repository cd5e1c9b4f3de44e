//! Albums come as one message for each picture. Those that came together become one, with the first one's name; those
//! of the others are remembered, so that a part that comes again alone is recognised.

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
    whole.parts.push(said.event_id);
    whole.forwarded |= said.forwarded;
    whole.quoted |= said.quoted;
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::incoming::{Me, read};

    fn batch(messages: &[(i64, i64, Option<&str>, &str)]) -> Vec<Incoming> {
        let me = Me {
            id: 1,
            username: "b".into(),
        };
        let message = |(chat, id, album, words): &(i64, i64, Option<&str>, &str)| -> Value {
            json!({ "update_id": id, "message": { "message_id": id, "date": 1, "photo": [{}], "caption": words,
                "media_group_id": album, "chat": { "id": chat, "type": "private" }, "from": { "id": chat } } })
        };
        let updates = messages.iter().map(message);
        updates
            .map(|update| read(&serde_json::from_value(update).unwrap(), &me))
            .collect()
    }

    fn texts(batch: Vec<Incoming>) -> Vec<String> {
        let said = batch.into_iter().map(|incoming| match incoming {
            Incoming::Said(said) => format!("{} {}", said.event_id, said.text()),
            other => panic!("{other:?}"),
        });
        said.collect()
    }

    #[test]
    fn parts_of_one_album_are_one_message_and_nothing_else_is_joined() {
        let joined = join(batch(&[
            (7, 1, Some("a"), ""),
            (8, 2, Some("a"), "another chat"),
            (7, 3, Some("a"), "words"),
            (7, 4, None, "alone"),
            (7, 5, Some("b"), "another album"),
        ]));
        assert_eq!(
            texts(joined),
            [
                "7:1:b1 [photo]\n[photo]\nwords",
                "8:2:b1 [photo]\nanother chat",
                "7:4:b1 [photo]\nalone",
                "7:5:b1 [photo]\nanother album",
            ]
        );
    }

    #[test]
    fn a_part_that_comes_twice_counts_once_in_its_album() {
        let joined = join(batch(&[(7, 1, Some("a"), "x"), (7, 1, Some("a"), "x")]));
        assert_eq!(texts(joined)[0], "7:1:b1 [photo]\nx");
    }

    #[test]
    fn only_an_album_at_the_end_may_go_on() {
        assert!(may_go_on(&batch(&[
            (7, 1, None, "x"),
            (7, 2, Some("a"), "")
        ])));
        assert!(!may_go_on(&batch(&[
            (7, 1, Some("a"), ""),
            (7, 2, None, "x")
        ])));
        assert!(!may_go_on(&[]));
    }
}

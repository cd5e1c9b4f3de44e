//! What is read from an update, one row for each kind of conversation, sender and mark.

use serde_json::{Value, json};

use super::*;

fn me() -> Me {
    Me {
        id: 4242,
        username: "my_bot".into(),
    }
}

fn read_json(update: Value) -> Incoming {
    read(&serde_json::from_value(update).unwrap(), &me())
}

fn said(message: Value) -> Said {
    match read_json(json!({ "update_id": 1, "message": message })) {
        Incoming::Said(said) => *said,
        other => panic!("{other:?}"),
    }
}

/// A message in a group with these fields beside the usual ones.
fn in_group(more: Value) -> Said {
    let mut message = json!({ "message_id": 5, "date": 9, "text": "hi",
        "chat": { "id": -100, "type": "supergroup", "title": "G" },
        "from": { "id": 42, "first_name": "Ann", "last_name": "B", "username": "ann" } });
    let fields = message.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    said(message)
}

fn mark(kind: &str, text: &str, offset: usize, length: usize) -> Value {
    json!({ "text": text, "entities": [{ "type": kind, "offset": offset, "length": length }] })
}

#[test]
fn a_private_message_names_its_sender_and_has_no_shown_name() {
    let said = said(json!({ "message_id": 5, "date": 9, "text": "hi",
        "chat": { "id": 42, "type": "private" },
        "from": { "id": 42, "first_name": "Ann", "username": "ann" } }));
    assert_eq!(said.conversation.kind(), ConversationKind::Direct);
    let sender = &said.sender;
    assert_eq!(
        (sender.id.as_str(), sender.username.as_str()),
        ("42", "ann")
    );
    assert_eq!(
        (said.event_id.as_str(), said.sender_name().as_str()),
        ("42:5:b4242", "")
    );
    assert!(!sender.is_anonymous && !sender.is_bot && !said.mentioned);
}

#[test]
fn names_without_end_are_cut() {
    let endless = "n".repeat(1 << 20);
    let said =
        in_group(json!({ "from": { "id": 42, "first_name": endless, "username": endless } }));
    assert_eq!(
        (said.sender.username.len(), said.sender.display.len()),
        (NAME, NAME)
    );
    assert!(said.sender_name().len() < 4 * NAME);
    let posted =
        in_group(json!({ "sender_chat": { "id": -5, "type": "channel", "title": endless } }));
    assert_eq!(posted.sender.display.len(), NAME);
}

#[test]
fn only_telegrams_own_marks_count_and_only_for_the_whole_name() {
    for (message, mentioned) in [
        (mark("mention", "@my_bot hi", 0, 7), true),
        (mark("mention", "@MY_BOT hi", 0, 7), true),
        (mark("mention", "@my_bot2 hi", 0, 8), false),
        (mark("mention", "😀😀 @my_bot", 5, 7), true),
        (mark("mention", "e\u{301}é @my_bot", 4, 7), true),
        (json!({ "text": "@my_bot" }), false),
        (mark("bot_command", "/new@my_bot", 0, 11), true),
        (mark("bot_command", "/new@my_bot2", 0, 12), false),
        (mark("bot_command", "/new", 0, 4), false),
        (mark("hashtag", "@my_bot", 0, 7), false),
        // Beyond the end, inside a pair, overflowing: no mark, no panic.
        (mark("mention", "@my_bot", 0, 99), false),
        (mark("mention", "😀my_bot", 1, 6), false),
        (mark("mention", "@my_bot", 1, usize::MAX), false),
        (
            json!({ "text": "my bot", "entities": [{ "type": "text_mention", "offset": 0, "length": 6,
                "user": { "id": 4242 } }] }),
            true,
        ),
        (
            json!({ "text": "other", "entities": [{ "type": "text_mention", "offset": 0, "length": 5,
                "user": { "id": 4243 } }] }),
            false,
        ),
        (
            json!({ "text": null, "caption": "@my_bot", "photo": [{}],
                "caption_entities": [{ "type": "mention", "offset": 0, "length": 7 }] }),
            true,
        ),
    ] {
        assert_eq!(in_group(message.clone()).mentioned, mentioned, "{message}");
    }
}

#[test]
fn a_reply_to_the_bot_counts_but_the_message_that_opened_a_topic_does_not() {
    let reply = |more: Value| {
        let mut replied = json!({ "message_id": 1, "from": { "id": 4242 }, "text": "before" });
        let fields = replied.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        in_group(json!({ "reply_to_message": replied }))
    };
    assert!(reply(json!({})).replies_to_bot);
    assert!(!reply(json!({ "from": { "id": 7 } })).replies_to_bot);
    let opening = reply(json!({ "forum_topic_created": { "name": "T" } }));
    assert!(!opening.replies_to_bot && opening.context.is_empty());
}

#[test]
fn who_writes_as_a_group_or_channel_is_nobodys_id() {
    for (more, id) in [
        (
            json!({ "from": { "id": 1_087_968_824 }, "sender_chat": { "id": -100 } }),
            "-100",
        ),
        (
            json!({ "from": { "id": 777_000 }, "sender_chat": { "id": -1009 } }),
            "-1009",
        ),
        (json!({ "from": { "id": 136_817_688 } }), "136817688"),
        (json!({ "from": null }), "-100"),
    ] {
        let sender = in_group(more).sender;
        assert!(sender.is_anonymous);
        assert_eq!(sender.id, id);
    }
    let post = json!({ "update_id": 1, "channel_post": { "message_id": 1, "text": "x",
        "chat": { "id": -1009, "type": "channel" } } });
    assert!(matches!(read_json(post), Incoming::Said(said) if said.sender.is_anonymous));
    assert!(
        in_group(json!({ "from": { "id": 7, "is_bot": true } }))
            .sender
            .is_bot
    );
    assert!(!in_group(json!({})).sender.is_anonymous, "control");
}

#[test]
fn a_topic_is_one_only_where_the_message_says_so() {
    let forum = json!({ "id": -100, "type": "supergroup", "is_forum": true });
    for (more, lane, thread, send) in [
        (json!({}), "-100", "", None),
        (json!({ "message_thread_id": 7 }), "-100", "", None),
        (
            json!({ "message_thread_id": 7, "is_topic_message": true }),
            "-100:7",
            "7",
            Some(7),
        ),
        (json!({ "chat": forum }), "-100:1", "1", None),
    ] {
        let said = in_group(more);
        assert_eq!(said.address.lane(), lane);
        assert_eq!(said.conversation.thread, thread);
        assert_eq!(said.address.topic_to_send(), send);
    }
}

#[test]
fn what_is_not_said_is_put_in_words() {
    let text = |more: Value| in_group(more).text();
    assert_eq!(
        text(json!({ "text": null, "voice": { "duration": 3 } })),
        "[voice message 3 s]"
    );
    assert_eq!(
        text(json!({ "text": null, "photo": [{}], "caption": "c" })),
        "[photo]\nc"
    );
    assert_eq!(text(json!({ "forward_origin": {} })), "[forwarded]\nhi");
    let replied =
        json!({ "message_id": 1, "from": { "id": 7, "first_name": "Bo\nb" }, "text": "x\ny" });
    assert_eq!(
        text(json!({ "reply_to_message": replied })),
        "[in reply to Bo b: \"x y\"]\nhi"
    );
    let command = json!({ "reply_to_message": replied, "text": "/stop" });
    assert_eq!(text(command), "/stop");
    let quoted = json!({ "reply_to_message": replied, "quote": { "text": "only this" } });
    assert!(text(quoted).starts_with("[in reply to Bo b: \"only this\"]"));
    assert_eq!(text(json!({ "text": "/status@my_bot now" })), "/status now");
    assert_eq!(
        text(json!({ "text": "/status@other now" })),
        "/status@other now"
    );
    assert_eq!(in_group(json!({})).sender_name(), "Ann B");
}

#[test]
fn words_of_others_are_known_for_such_and_own_ones_beside_them_stay_own() {
    let replied = |more: Value| {
        let mut replied = json!({ "message_id": 1, "from": { "id": 42 }, "text": "x" });
        let fields = replied.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        json!({ "reply_to_message": replied })
    };
    let bot = json!({ "id": 9, "username": "gif" });
    let file = json!({ "file_name": "a.pdf" });
    let caption = |more: Value| {
        let mut message = json!({ "text": null, "caption": "c", "photo": [{}] });
        let fields = message.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        message
    };
    for (more, forwarded, quoted) in [
        (json!({}), false, false),
        (json!({ "forward_origin": {} }), true, false),
        (json!({ "forward_date": 7 }), true, false),
        (json!({ "via_bot": bot }), true, false),
        (caption(json!({})), false, false),
        (caption(json!({ "forward_origin": {} })), true, false),
        (caption(json!({ "via_bot": bot })), true, false),
        (json!({ "document": file }), false, true),
        (
            json!({ "quote": { "text": "q" }, "external_reply": {} }),
            false,
            true,
        ),
        (json!({ "external_reply": {} }), false, false),
        (replied(json!({})), false, false),
        (replied(json!({ "from": { "id": 7 } })), false, true),
        (replied(json!({ "from": { "id": 4242 } })), false, true),
        (replied(json!({ "from": null })), false, true),
        (replied(json!({ "forward_origin": {} })), false, true),
        (replied(json!({ "via_bot": bot })), false, true),
        (replied(json!({ "document": file })), false, true),
        (
            replied(json!({ "sender_chat": { "id": -100 } })),
            false,
            true,
        ),
    ] {
        let said = in_group(more.clone());
        assert_eq!((said.forwarded, said.quoted), (forwarded, quoted), "{more}");
    }
    let elsewhere = in_group(json!({ "quote": { "text": "q\nr" }, "external_reply": {} }));
    assert_eq!(elsewhere.text(), "[in reply to \"q r\"]\nhi");
    assert_eq!(elsewhere.words, "hi");
}

#[test]
fn a_command_that_somebody_else_wrote_does_not_stand_first() {
    for (more, text, quoted) in [
        (json!({}), "/stop", false),
        (json!({ "forward_origin": {} }), "[forwarded]\n/stop", false),
        (
            json!({ "via_bot": { "id": 9, "username": "gif" } }),
            "[written by the bot gif]\n/stop",
            false,
        ),
        (
            json!({ "reply_to_message": { "from": { "id": 7 }, "text": "x" } }),
            "/stop",
            false,
        ),
    ] {
        let mut message = more;
        message["text"] = "/stop".into();
        let said = in_group(message);
        assert_eq!((said.text().as_str(), said.quoted), (text, quoted));
    }
}

#[test]
fn events_in_which_nobody_says_anything_are_passed_over() {
    for message in [
        json!({ "message_id": 1, "chat": { "id": 1 }, "new_chat_members": [{ "id": 4242 }] }),
        json!({ "message_id": 1, "chat": { "id": 1 }, "text": "  \n" }),
        json!({}),
    ] {
        let update = json!({ "update_id": 1, "message": message });
        assert_eq!(read_json(update), Incoming::Nothing);
    }
    assert_eq!(
        read_json(json!({ "update_id": 1, "poll": {} })),
        Incoming::Nothing
    );
    let moving = json!({ "update_id": 1, "edited_message": { "chat": { "id": 1 }, "location": { "latitude": 1.0 } } });
    assert_eq!(read_json(moving), Incoming::Nothing, "a live location");
    let moved =
        json!({ "update_id": 1, "message": { "chat": { "id": -5 }, "migrate_to_chat_id": -1005 } });
    let both = Incoming::Moved {
        from: -5,
        to: -1005,
    };
    assert_eq!(read_json(moved), both);
    let moved = json!({ "update_id": 1, "message": { "chat": { "id": -1005 }, "migrate_from_chat_id": -5 } });
    assert_eq!(read_json(moved), both);
}

#[test]
fn a_text_of_any_length_is_bounded_and_cut_between_characters() {
    let long = "é".repeat(100_000);
    let said = in_group(json!({ "text": long }));
    assert!(said.words.len() < LONGEST + 100);
    assert!(
        said.words
            .contains("[cut here: the message has 134464 bytes more]")
    );
    assert_eq!(
        in_group(json!({ "text": "é".repeat(LONGEST / 2) }))
            .words
            .len(),
        LONGEST
    );
}

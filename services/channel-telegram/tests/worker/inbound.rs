//! From Telegram to the gateway.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clawdbot_fakes::telegram::{Bot, Fault};
use clawdbot_proto::v1;
use serde_json::json;

use crate::rig::{BOT, Rig, TOKEN, settings, snapshot, snapshot_for};

fn conversation(request: &v1::AdmitSenderRequest) -> (v1::ConversationKind, String, String) {
    let conversation = request.conversation.clone().unwrap();
    (conversation.kind(), conversation.id, conversation.thread)
}

#[tokio::test]
async fn an_update_is_confirmed_only_when_the_gateway_has_it() {
    let rig = Rig::start().await;
    rig.played.room.send_replace(0);
    rig.write(json!({ "chat": 42, "text": "hello" }));
    rig.played
        .until(|seen| (seen.calls > 0).then_some(()))
        .await;
    rig.telegram.bot(TOKEN, |bot| {
        assert_eq!((bot.confirmed, bot.pending()), (0, 1))
    });
    rig.played.room.send_replace(64);
    rig.order(v1::channel_order::Order::Credit(64)).await;
    let message = rig.delivered(0).await;
    assert_eq!(
        (message.text.as_str(), message.handle.as_str()),
        ("hello", "handle-42")
    );
    assert_eq!(
        (message.event_id.as_str(), message.lane.as_str()),
        ("42:1:b4242", "42")
    );
    rig.telegram.until(TOKEN, |bot| bot.pending() == 0).await;
}

#[tokio::test]
async fn a_poll_that_hangs_is_noticed_and_a_gateway_that_takes_nothing_is_waited_for() {
    let long = Duration::from_secs(3600);
    let rig = Rig::start().await;
    let polls = |bot: &Bot| bot.calls.iter().any(|method| method == "getUpdates");
    rig.telegram.until(TOKEN, polls).await;
    assert!(rig.pulses.are_fresh(long), "it has begun");
    assert!(!rig.pulses.are_fresh(long));

    rig.played.room.send_replace(0);
    rig.write(json!({ "chat": 42, "text": "hello" }));
    rig.played
        .until(|seen| (seen.calls > 0).then_some(()))
        .await;
    for _ in 0..3 {
        assert!(rig.pulses.are_fresh(long), "no poll is under way");
    }
}

#[tokio::test]
async fn what_was_not_confirmed_comes_again_after_a_kill_and_counts_once() {
    let mut rig = Rig::start().await;
    rig.played.room.send_replace(1);
    for text in ["one", "two"] {
        rig.write(json!({ "chat": 42, "text": text }));
    }
    rig.delivered(0).await;
    rig.kill();
    assert_eq!(rig.telegram.bot(TOKEN, |bot| bot.confirmed), 0);
    rig.played.room.send_replace(64);
    rig.spawn();
    assert_eq!(rig.delivered(1).await.text, "two");
    rig.telegram.until(TOKEN, |bot| bot.pending() == 0).await;
    rig.played
        .until(|seen| (seen.delivered.len() == 2).then_some(()))
        .await;
}

#[tokio::test]
async fn a_stranger_gets_policys_answer_once_and_the_gateway_hears_nothing() {
    let rig = Rig::start().await;
    rig.write(json!({ "chat": 666, "text": "let me in" }));
    rig.telegram.until(TOKEN, |bot| !bot.sent.is_empty()).await;
    rig.write(json!({ "chat": 42, "text": "hello" }));
    assert_eq!(rig.delivered(0).await.text, "hello");
    assert_eq!(rig.texts(666), ["Your code is ABCD2345."]);
}

#[tokio::test]
async fn old_messages_are_marked_as_backlog() {
    let rig = Rig::start().await;
    rig.write(json!({ "chat": 42, "text": "old", "date": 1_000_000 }));
    rig.write(json!({ "chat": 42, "text": "new" }));
    rig.delivered(1).await;
    let backlog = rig
        .played
        .until(|seen| Some([seen.admits[0].backlog, seen.admits[1].backlog]))
        .await;
    assert_eq!(backlog, [true, false]);
}

#[tokio::test]
async fn an_album_is_one_message() {
    let rig = Rig::start().await;
    let photo = |width: u32| json!([{ "width": width, "height": 2 }]);
    rig.telegram.bot(TOKEN, |bot| {
        // It comes too late for the first poll and in time for the next, however long this test is held up.
        bot.behind
            .push_back(json!({ "chat": 42, "media_group_id": "g", "photo": photo(3) }));
        bot.write(
            "message",
            json!({ "chat": 42, "media_group_id": "g", "photo": photo(1), "caption": "Look" }),
        );
    });
    let message = rig.delivered(0).await;
    assert_eq!(message.text, "[photo 1x2]\n[photo 3x2]\nLook");
    assert_eq!(message.event_id, "42:1:b4242");
    rig.telegram.until(TOKEN, |bot| bot.pending() == 0).await;
    assert_eq!(rig.played.until(|seen| Some(seen.delivered.len())).await, 1);
    // One picture of it comes again alone.
    rig.write(json!({ "chat": 42, "message_id": 2, "photo": photo(3) }));
    rig.write(json!({ "chat": 42, "text": "the next" }));
    assert_eq!(rig.delivered(1).await.text, "the next");
}

#[tokio::test]
async fn an_edit_counts_until_there_is_an_answer() {
    let rig = Rig::start().await;
    // An edit bears the date of its message: what counts is whether that was answered.
    let date = SystemTime::now().duration_since(UNIX_EPOCH);
    let date = date.unwrap().as_secs();
    let edit = |text: &str, at: i64| {
        let edited = json!({ "chat": 42, "message_id": 1, "text": text, "date": date, "edit_date": at,
            "from": { "id": 42, "first_name": "A" } });
        rig.telegram
            .bot(TOKEN, |bot| bot.write("edited_message", edited));
    };
    rig.write(json!({ "chat": 42, "text": "helo", "date": date }));
    let first = rig.delivered(0).await;
    edit("hello", 7);
    let edited = rig.delivered(1).await;
    assert_eq!(edited.event_id, "42:1:b4242:e7");
    assert!(edited.text.contains("edited") && edited.text.ends_with("hello"));
    rig.send("1", &first, "Hello!").await;
    rig.report("1").await;
    edit("hello again", 8);
    rig.write(json!({ "chat": 42, "text": "next" }));
    assert_eq!(rig.delivered(2).await.text, "next");
}

#[tokio::test]
async fn policy_is_told_who_wrote_where_and_whether_the_bot_is_meant() {
    let rig = Rig::start().await;
    let group = json!({ "id": -1001, "type": "supergroup", "title": "G", "is_forum": true });
    let mention = |text: &str, offset: usize, length: usize| {
        json!({ "chat": group, "from": 42, "text": text,
            "entities": [{ "type": "mention", "offset": offset, "length": length }] })
    };
    // An emoji is two units: counted as bytes or characters the mark would be elsewhere.
    rig.write(mention(&format!("😀 @{BOT} hi"), 3, BOT.len() + 1));
    rig.write(mention(&format!("@{BOT}2 hi"), 0, BOT.len() + 2));
    rig.write(json!({ "chat": group, "from": 42, "text": "in a topic",
        "message_thread_id": 7, "is_topic_message": true,
        "reply_to_message": { "message_id": 1, "from": { "id": 4242, "is_bot": true }, "text": "before" } }));
    rig.write(json!({ "chat": group, "text": "as the group", "from": { "id": 1_087_968_824, "is_bot": true },
        "sender_chat": { "id": -1001, "title": "G" } }));
    rig.telegram.bot(TOKEN, |bot| {
        let post =
            json!({ "chat": { "id": -1002, "type": "channel", "title": "News" }, "text": "post" });
        bot.write("channel_post", post)
    });
    rig.write(json!({ "chat": 42, "text": "the end" }));
    let is_last = |message: &v1::Inbound| message.text == "the end";
    rig.played
        .until(|seen| seen.delivered.iter().any(is_last).then_some(()))
        .await;
    rig.played
        .until(|seen| {
            let admits = &seen.admits;
            let facts: Vec<_> = admits
                .iter()
                .map(|a| (a.mentioned, a.replies_to_bot))
                .collect();
            assert_eq!(facts[..3], [(true, false), (false, false), (false, true)]);
            let forum = |thread: &str| (v1::ConversationKind::Group, "-1001".into(), thread.into());
            assert_eq!(conversation(&admits[0]), forum("1"));
            assert_eq!(conversation(&admits[2]), forum("7"));
            let anonymous = admits[3].sender.clone().unwrap();
            assert!(anonymous.is_anonymous && anonymous.id == "-1001");
            Some(())
        })
        .await;
    let topic = rig
        .played
        .until(|seen| seen.delivered.iter().find(|m| m.lane == "-1001:7").cloned())
        .await;
    assert_eq!(topic.sender_name, "User 42");
    assert_eq!(
        topic.text,
        "[in reply to your message: \"before\"]\nin a topic"
    );
}

#[tokio::test]
async fn a_revoked_token_is_said_with_its_remedy_and_a_new_one_works_without_a_restart() {
    let rig = Rig::start().await;
    let checked =
        |seen: &crate::rig::Seen| seen.health.checked.then_some(seen.health.lease_version);
    assert_eq!(rig.played.until(checked).await, 1);
    rig.telegram.bot(TOKEN, |bot| bot.revoked = true);
    let problem = rig.problem("channel.auth_revoked").await;
    assert!(
        problem
            .message
            .contains("clawdbot login --channel telegram")
    );
    assert!(!problem.message.contains(TOKEN));
    rig.telegram
        .bot("4243:new", |bot| bot.username = BOT.into());
    rig.played.token.send_replace((2, Some("4243:new")));
    let works = |seen: &crate::rig::Seen| {
        let health = &seen.health;
        (health.checked && health.lease_version == 2 && health.problems.is_empty()).then_some(())
    };
    rig.played.until(works).await;
    rig.telegram.bot("4243:new", |bot| {
        bot.write("message", json!({ "chat": 42, "text": "hi" }))
    });
    assert_eq!(rig.delivered(0).await.text, "hi");
}

#[tokio::test]
async fn a_missing_token_is_said_with_the_brokers_remedy() {
    let rig = Rig::start().await;
    rig.played.token.send_replace((0, None));
    let problem = rig.problem("channel.no_token").await;
    assert!(
        problem.message.contains("run clawdbot login"),
        "{}",
        problem.message
    );
}

#[tokio::test]
async fn a_web_hook_is_said_and_not_removed() {
    let rig = Rig::start().await;
    rig.telegram
        .bot(TOKEN, |bot| bot.webhook = "https://x.y".into());
    rig.write(json!({ "chat": 42, "text": "ends the poll that is held" }));
    rig.problem("channel.webhook_set").await;
    rig.telegram
        .bot(TOKEN, |bot| assert!(!bot.webhook.is_empty()));
}

#[tokio::test]
async fn bad_gateways_and_lost_polls_lose_nothing() {
    let rig = Rig::start().await;
    rig.telegram.bot(TOKEN, |bot| {
        for fault in [Fault::Status(502), Fault::DropAfter, Fault::TooFast(1)] {
            bot.faults.push_back(("getUpdates".into(), fault, 1));
        }
    });
    rig.write(json!({ "chat": 42, "text": "hello" }));
    assert_eq!(rig.delivered(0).await.text, "hello");
}

#[tokio::test]
async fn ids_that_go_back_or_come_again_and_odd_updates_stop_nothing() {
    let rig = Rig::start().await;
    rig.write(json!({ "chat": 42, "text": "high" }));
    rig.delivered(0).await;
    rig.telegram.until(TOKEN, |bot| bot.pending() == 0).await;
    rig.telegram.bot(TOKEN, |bot| {
        let repeated = json!({ "update_id": 100, "message": { "message_id": 1, "date": 1, "text": "high",
            "chat": { "id": 42, "type": "private" }, "from": { "id": 42 } } });
        bot.queue(repeated);
        bot.queue(json!({ "update_id": 101, "message": { "message_id": "not a number" } }));
        bot.queue(json!({ "update_id": 102, "message": 7 }));
        bot.jump(103);
    });
    let zalgo = format!("e{}", "\u{301}".repeat(4000));
    rig.write(json!({ "chat": 42, "text": zalgo }));
    assert_eq!(rig.delivered(1).await.text, zalgo);
    let huge = "x".repeat(10 << 20);
    rig.write(json!({ "chat": 42, "text": huge }));
    let cut = rig.delivered(2).await.text;
    assert!(
        cut.len() < 100_000 && cut.contains("cut here"),
        "{}",
        cut.len()
    );
    rig.telegram.until(TOKEN, |bot| bot.pending() == 0).await;
}

#[tokio::test]
async fn another_server_in_the_configuration_is_used_without_a_restart() {
    let rig = Rig::start().await;
    rig.write(json!({ "chat": 42, "text": "here" }));
    rig.delivered(0).await;
    let other = clawdbot_fakes::telegram::Telegram::listen(([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    other.bot(TOKEN, |bot| {
        bot.username = BOT.into();
        bot.jump(500);
        bot.write("message", json!({ "chat": 43, "text": "there" }));
    });
    rig.config.send_replace(snapshot(settings(other.address())));
    assert_eq!(rig.delivered(1).await.text, "there");
    other.stop();
}

#[tokio::test]
async fn a_token_is_shown_only_to_the_server_that_it_is_meant_for() {
    let rig = Rig::start().await;
    rig.write(json!({ "chat": 42, "text": "here" }));
    rig.delivered(0).await;
    let other = clawdbot_fakes::telegram::Telegram::listen(([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let account = settings(other.address());
    rig.config.send_replace(snapshot_for(account, "other"));
    let none = |line: &String| line == "0 of 1 Telegram bots";
    rig.status.subscribe().wait_for(none).await.unwrap();
    // What does not come is said.
    let problem = rig.problem("channel.unavailable").await;
    assert!(problem.message.contains("channels.telegram.apiRoot"));
    rig.played.audience.send_replace("other");
    rig.played.token.send_replace((2, Some("4243:new")));
    other.bot("4243:new", |bot| {
        bot.username = BOT.into();
        bot.write("message", json!({ "chat": 43, "text": "there" }));
    });
    assert_eq!(rig.delivered(1).await.text, "there");
    other.bot(TOKEN, |bot| assert!(bot.calls.is_empty()));
    other.stop();
}

#[tokio::test]
async fn another_bot_of_the_account_begins_with_numbers_of_its_own() {
    let rig = Rig::start().await;
    rig.telegram.bot(TOKEN, |bot| bot.jump(5000));
    rig.write(json!({ "chat": 42, "text": "to the first" }));
    rig.delivered(0).await;
    rig.telegram.until(TOKEN, |bot| bot.pending() == 0).await;
    rig.telegram.bot("4243:new", |bot| {
        bot.username = BOT.into();
        bot.write("message", json!({ "chat": 42, "text": "to the second" }));
    });
    rig.played.token.send_replace((2, Some("4243:new")));
    assert_eq!(rig.delivered(1).await.text, "to the second");
}

#[tokio::test]
async fn a_page_of_somebody_in_between_says_nothing_about_the_token() {
    let rig = Rig::start().await;
    for status in [401, 404, 409, 413] {
        rig.telegram.bot(TOKEN, |bot| {
            bot.faults
                .push_back(("getUpdates".into(), Fault::Status(status), 1));
        });
    }
    rig.write(json!({ "chat": 42, "text": "still there" }));
    assert_eq!(rig.delivered(0).await.text, "still there");
}

//! From the gateway to Telegram.

use std::time::Duration;

use clawdbot_fakes::telegram::{Bot, Fault};
use clawdbot_proto::v1::{self, Disposition, channel_order::Order};
use serde_json::json;

use crate::rig::{Rig, TOKEN, answer};

fn fault(rig: &Rig, method: &str, fault: Fault, times: u32) {
    rig.telegram.bot(TOKEN, |bot| {
        bot.faults.push_back((method.into(), fault, times))
    });
}

async fn asked(rig: &Rig) -> v1::Inbound {
    rig.write(json!({ "chat": 42, "text": "question" }));
    rig.delivered(0).await
}

async fn asked_in_group(rig: &Rig) -> v1::Inbound {
    rig.write(json!({ "chat": -100, "from": 42, "text": "question" }));
    rig.delivered(0).await
}

async fn progress(rig: &Rig, id: &str, to: &v1::Inbound, text: &str) {
    rig.order(Order::Progress(v1::Progress {
        turn_id: format!("turn-{id}"),
        account: to.account.clone(),
        address: to.address.clone(),
        lane: to.lane.clone(),
        text: text.into(),
    }))
    .await;
}

#[tokio::test]
async fn an_answer_is_rendered_and_quotes_the_question() {
    let rig = Rig::start().await;
    let to = asked(&rig).await;
    rig.send("1", &to, "**bold** & `code`").await;
    let report = rig.report("1").await;
    assert_eq!(
        (report.disposition(), report.parts_done),
        (Disposition::Done, 1)
    );
    let sent = rig.telegram.bot(TOKEN, |bot| bot.sent[0].clone());
    assert_eq!(
        (sent.text.as_str(), sent.reply_to),
        ("bold & code", Some(1))
    );
    let kinds: Vec<_> = sent
        .entities
        .iter()
        .map(|entity| entity["type"].clone())
        .collect();
    assert_eq!(kinds, ["bold", "code"]);
}

#[tokio::test]
async fn a_long_answer_is_several_messages_and_only_the_wished_ones_quote() {
    for (mode, quotes) in [
        ("off", [None, None, None]),
        ("first", [Some(1), None, None]),
        ("all", [Some(1), Some(1), Some(1)]),
    ] {
        let rig = Rig::start_with(|account| account.reply_to_mode = mode.into()).await;
        let to = asked(&rig).await;
        let text = format!("```\n{}\n```", "line of code\n".repeat(800));
        rig.send("1", &to, &text).await;
        assert_eq!(rig.report("1").await.parts_done, 3);
        let sent = rig.telegram.bot(TOKEN, |bot| bot.sent.clone());
        let found: Vec<_> = sent.iter().map(|sent| sent.reply_to).collect();
        assert_eq!(found, quotes, "{mode}");
        for part in sent {
            assert!(part.text.encode_utf16().count() <= 4000);
            assert_eq!(
                part.entities.len(),
                1,
                "the fence is closed and opened again"
            );
        }
    }
}

#[tokio::test]
async fn a_wished_quote_wins_over_the_mode() {
    let rig = Rig::start_with(|account| account.reply_to_mode = "off".into()).await;
    let to = asked(&rig).await;
    rig.write(json!({ "chat": 42, "text": "another" }));
    let second = rig.delivered(1).await;
    let mut send = answer("1", &to, "to the other one");
    send.reply_to = second.event_id;
    rig.order(Order::Send(send)).await;
    rig.report("1").await;
    assert_eq!(rig.telegram.bot(TOKEN, |bot| bot.sent[0].reply_to), Some(2));
}

#[tokio::test]
async fn markup_that_telegram_refuses_is_sent_as_plain_text_once() {
    let rig = Rig::start().await;
    let to = asked(&rig).await;
    let refusal = Fault::Refuse(400, "Bad Request: can't parse entities: no".into());
    fault(&rig, "sendMessage", refusal, 1);
    rig.send("1", &to, "**bold**").await;
    assert_eq!(rig.report("1").await.disposition(), Disposition::Done);
    let sent = rig.telegram.bot(TOKEN, |bot| bot.sent.clone());
    assert_eq!(
        (sent.len(), sent[0].text.as_str(), sent[0].entities.len()),
        (1, "bold", 0)
    );
}

#[tokio::test]
async fn what_may_have_been_sent_is_unknown_and_never_repeated() {
    for (how, arrived) in [
        (Fault::DropAfter, 1),
        (Fault::DropBefore, 0),
        (Fault::Status(502), 0),
    ] {
        let rig = Rig::start().await;
        let to = asked(&rig).await;
        fault(&rig, "sendMessage", how.clone(), 1);
        rig.send("1", &to, "once").await;
        let report = rig.report("1").await;
        assert_eq!(
            (report.disposition(), report.parts_unknown),
            (Disposition::Unknown, 1),
            "{how:?}"
        );
        rig.send("2", &to, "next").await;
        rig.report("2").await;
        assert_eq!(rig.texts(42).len(), arrived + 1, "{how:?}");
    }
}

#[tokio::test]
async fn too_fast_is_waited_out_and_nobody_home_is_left_to_the_gateway() {
    let rig = Rig::start().await;
    let to = asked(&rig).await;
    fault(&rig, "sendMessage", Fault::TooFast(1), 1);
    rig.send("1", &to, "after the pause").await;
    assert_eq!(rig.report("1").await.disposition(), Disposition::Done);
    fault(&rig, "sendMessage", Fault::TooFast(60), 1);
    rig.send("2", &to, "too long a pause").await;
    let report = rig.report("2").await;
    assert_eq!(report.disposition(), Disposition::NotStarted);
    assert_eq!(report.error_class, "rate_limited");
    rig.telegram.stop();
    rig.order(Order::Send(v1::Send {
        lane: "elsewhere".into(),
        ..answer("3", &to, "nobody home")
    }))
    .await;
    let report = rig.report("3").await;
    assert_ne!(report.disposition(), Disposition::Done);
    rig.order(Order::Send(v1::Send {
        lane: "elsewhere".into(),
        ..answer("4", &to, "nobody home")
    }))
    .await;
    assert_eq!(rig.report("4").await.disposition(), Disposition::NotStarted);
}

#[tokio::test]
async fn a_pause_without_end_and_a_page_of_somebody_in_between_lose_no_answer() {
    let rig = Rig::start().await;
    let to = asked(&rig).await;
    fault(&rig, "sendMessage", Fault::Status(403), 1);
    rig.send("1", &to, "past the page").await;
    assert_eq!(rig.report("1").await.disposition(), Disposition::Done);
    fault(&rig, "sendMessage", Fault::TooFast(u64::MAX), 1);
    rig.send("2", &to, "never").await;
    assert_eq!(rig.report("2").await.disposition(), Disposition::NotStarted);
    rig.order(Order::Send(v1::Send {
        lane: "elsewhere".into(),
        ..answer("3", &to, "still at work")
    }))
    .await;
    assert_eq!(rig.report("3").await.disposition(), Disposition::Done);
}

#[tokio::test]
async fn a_chat_that_refuses_the_bot_is_given_up() {
    let rig = Rig::start().await;
    let to = asked(&rig).await;
    rig.telegram.bot(TOKEN, |bot| bot.blocked.insert(42));
    rig.send("1", &to, "anybody?").await;
    let report = rig.report("1").await;
    assert_eq!(report.disposition(), Disposition::Rejected);
    assert_eq!(report.error_class, "forbidden_target");
    assert!(report.message.contains("blocked"));
}

#[tokio::test]
async fn a_group_that_became_a_supergroup_gets_its_answer_there() {
    let rig = Rig::start().await;
    let to = asked_in_group(&rig).await;
    // Before the worker has heard of it.
    rig.telegram.bot(TOKEN, |bot| {
        bot.migrated.insert(-100, -1_000_000_000_100);
        bot.write("my_chat_member", json!({ "chat": -1_000_000_000_100_i64 }));
    });
    rig.send("1", &to, "moved").await;
    assert_eq!(rig.report("1").await.disposition(), Disposition::Done);
    assert_eq!(rig.texts(-1_000_000_000_100), ["moved"]);
}

#[tokio::test]
async fn a_move_that_is_announced_is_remembered_over_a_restart() {
    let mut rig = Rig::start().await;
    let to = asked_in_group(&rig).await;
    rig.telegram
        .bot(TOKEN, |bot| bot.migrate(-100, -1_000_000_000_100));
    rig.write(json!({ "chat": 42, "text": "after it" }));
    rig.delivered(1).await;
    // The record of the move may still be on its way to the disk; a stop waits for that.
    rig.stop().await;
    let errors = |rig: &Rig| {
        rig.telegram.bot(TOKEN, |bot| {
            bot.calls
                .iter()
                .filter(|call| *call == "sendMessage")
                .count()
        })
    };
    rig.spawn();
    rig.send("1", &to, "moved").await;
    assert_eq!(rig.report("1").await.disposition(), Disposition::Done);
    assert_eq!((rig.texts(-1_000_000_000_100).len(), errors(&rig)), (1, 1));
}

#[tokio::test]
async fn answers_stay_in_their_topic_and_typing_names_even_the_general_one() {
    let rig = Rig::start().await;
    let forum = json!({ "id": -1001, "type": "supergroup", "title": "F", "is_forum": true });
    rig.write(json!({ "chat": forum, "from": 42, "text": "in a topic",
        "message_thread_id": 7, "is_topic_message": true }));
    rig.write(json!({ "chat": forum, "from": 42, "text": "in general" }));
    let (topic, general) = (rig.delivered(0).await, rig.delivered(1).await);
    for (id, to) in [("1", &topic), ("2", &general)] {
        rig.order(Order::Typing(v1::Typing {
            account: to.account.clone(),
            address: to.address.clone(),
            lane: to.lane.clone(),
            ttl_seconds: 30,
        }))
        .await;
        rig.send(id, to, "answer").await;
        assert_eq!(rig.report(id).await.disposition(), Disposition::Done);
    }
    let general = |bot: &Bot| bot.actions.iter().any(|action| action.1 == Some(1));
    rig.telegram.until(TOKEN, general).await;
    rig.telegram.bot(TOKEN, |bot| {
        let topics: Vec<_> = bot.sent.iter().map(|sent| sent.topic).collect();
        assert_eq!(topics, [Some(7), None]);
        // While an answer takes long it is said again.
        bot.actions.dedup();
        let actions = [7_i64, 1].map(|topic| (-1001_i64, Some(topic), "typing".to_owned()));
        assert_eq!(bot.actions, actions);
    });
}

#[tokio::test]
async fn in_private_an_unfinished_answer_is_a_draft_and_the_answer_one_message() {
    let rig = Rig::start().await;
    let to = asked(&rig).await;
    progress(&rig, "1", &to, "NO_REPL").await;
    progress(&rig, "1", &to, "An answer that is being **written").await;
    rig.telegram
        .until(TOKEN, |bot| !bot.drafts.is_empty())
        .await;
    rig.send("1", &to, "An answer that is being **written** and ends.")
        .await;
    rig.report("1").await;
    assert_eq!(rig.texts(42), ["An answer that is being written and ends."]);
    rig.telegram.bot(TOKEN, |bot| {
        assert_eq!(bot.drafts[0].2, "An answer that is being **written")
    });
}

#[tokio::test]
async fn without_drafts_and_in_groups_one_message_grows_into_the_answer() {
    let rig = Rig::start().await;
    rig.telegram.bot(TOKEN, |bot| bot.without_drafts = true);
    let to = asked(&rig).await;
    progress(&rig, "1", &to, "An answer that is being").await;
    rig.telegram
        .until(TOKEN, |bot| {
            bot.calls.iter().any(|call| call == "sendMessageDraft")
        })
        .await;
    progress(&rig, "1", &to, "An answer that is being written").await;
    rig.telegram.until(TOKEN, |bot| !bot.sent.is_empty()).await;
    rig.send("1", &to, "An answer that is being written and ends.")
        .await;
    assert_eq!(rig.report("1").await.disposition(), Disposition::Done);
    assert_eq!(rig.texts(42), ["An answer that is being written and ends."]);
    let sent = rig.telegram.bot(TOKEN, |bot| bot.sent[0].clone());
    assert_eq!((sent.edits, sent.reply_to), (1, Some(1)));
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_shown_answer_leaves_one_message() {
    let mut rig = Rig::start().await;
    let to = asked_in_group(&rig).await;
    progress(&rig, "1", &to, "An answer that is being").await;
    rig.telegram.until(TOKEN, |bot| !bot.sent.is_empty()).await;
    // The record of its message id follows; a stop waits for that.
    rig.stop().await;
    rig.spawn();
    rig.send("1", &to, "An answer that is being written and ends.")
        .await;
    assert_eq!(rig.report("1").await.disposition(), Disposition::Done);
    assert_eq!(
        rig.texts(-100),
        ["An answer that is being written and ends."]
    );
}

#[tokio::test]
async fn nothing_is_shown_early_when_streaming_is_off() {
    let rig = Rig::start_with(|account| account.stream_mode = "off".into()).await;
    let to = asked(&rig).await;
    progress(&rig, "1", &to, "An answer that is being written").await;
    rig.send("1", &to, "The answer.").await;
    rig.report("1").await;
    rig.telegram.bot(TOKEN, |bot| {
        assert!(bot.drafts.is_empty() && !bot.calls.iter().any(|call| call == "sendMessageDraft"));
    });
}

#[tokio::test]
async fn a_stop_waits_for_the_answer_that_is_on_its_way() {
    let mut rig = Rig::start().await;
    let to = asked(&rig).await;
    fault(
        &rig,
        "sendMessage",
        Fault::Slow(Duration::from_millis(300)),
        1,
    );
    rig.send("1", &to, "slow").await;
    rig.telegram
        .until(TOKEN, |bot| {
            bot.calls.iter().any(|call| call == "sendMessage")
        })
        .await;
    rig.stop().await;
    assert_eq!(rig.report("1").await.disposition(), Disposition::Done);
    assert_eq!(rig.texts(42), ["slow"]);
}

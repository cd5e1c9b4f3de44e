//! What policy has somebody told.

use clawdbot_fakes::telegram::Fault;
use clawdbot_proto::v1;
use serde_json::json;

use crate::rig::{Rig, TOKEN};

fn notice(id: &str, account: &str, person: &str) -> v1::Notice {
    v1::Notice {
        id: id.into(),
        account: account.into(),
        person: person.into(),
        text: "Somebody <b>asks</b> to `write`".into(),
        expires_ms: u64::MAX,
        thread: String::new(),
    }
}

/// A worker whose bot some people have written to: it may write to nobody else.
async fn known() -> Rig {
    let rig = Rig::start().await;
    for person in [42, 13, 44] {
        rig.write(json!({ "chat": person, "text": "hello" }));
    }
    rig.delivered(2).await;
    rig
}

async fn settled(rig: &Rig, id: &str) -> bool {
    rig.played
        .until(|seen| {
            let mut settled = seen.settled.iter();
            settled.find(|one| one.0 == id).map(|one| one.1)
        })
        .await
}

#[tokio::test]
async fn what_has_to_be_told_is_sent_as_it_is_and_reported() {
    let mut rig = known().await;
    rig.played
        .notices
        .send_modify(|all| all.push(notice("n1", "default", "42")));
    assert!(settled(&rig, "n1").await);
    let sent = rig.telegram.bot(TOKEN, |bot| bot.sent.clone());
    assert_eq!(
        (sent.len(), sent[0].chat, sent[0].text.as_str()),
        (1, 42, "Somebody <b>asks</b> to `write`")
    );
    assert!(sent[0].entities.is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_sent_is_said_and_what_may_be_lost_is_sent_again() {
    let rig = known().await;
    rig.telegram.bot(TOKEN, |bot| {
        bot.blocked.insert(13);
        bot.faults
            .push_back(("sendMessage".into(), Fault::DropBefore, 1));
    });
    rig.played.notices.send_modify(|all| {
        all.push(notice("n1", "default", "42"));
        all.push(notice("n2", "default", "13"));
        all.push(notice("n3", "default", "not a number"));
        all.push(notice("n4", "default", "44"));
        all.push(notice("n5", "default", "77"));
    });
    for (id, sent) in [
        ("n1", true),
        ("n2", false),
        ("n3", false),
        ("n4", true),
        ("n5", false),
    ] {
        assert_eq!(settled(&rig, id).await, sent, "{id}");
    }
}

#[tokio::test]
async fn what_was_not_reported_comes_again_after_a_kill() {
    let mut rig = known().await;
    rig.played.notices.send_modify(|all| {
        all.push(v1::Notice {
            expires_ms: 1,
            ..notice("late", "default", "42")
        });
        all.push(notice("n1", "default", "42"));
    });
    assert!(settled(&rig, "n1").await);
    rig.kill();
    rig.played.notices.send_modify(|all| drop(all.remove(1)));
    rig.spawn();
    rig.played
        .notices
        .send_modify(|all| all.push(notice("n2", "default", "42")));
    assert!(settled(&rig, "n2").await);
    let sent = rig.telegram.bot(TOKEN, |bot| bot.sent.len());
    assert_eq!(sent, 2, "what is too late is not sent");
}

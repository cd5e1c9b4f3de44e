//! A worker that is killed again and again, at moments that a seed chooses, between a Telegram and a gateway that keep what
//! they have.

use std::collections::BTreeMap;
use std::time::Duration;

use clawdbot_proto::v1::Disposition;
use serde_json::json;

use crate::rig::{Rig, Seen, TOKEN};

const MESSAGES: i64 = 60;
const KILLS: u32 = 25;

#[tokio::test]
async fn every_message_is_answered_once_or_known_to_be_unknown() {
    let mut rig = Rig::start().await;
    let mut chance = 0x2545_f491_4f6c_dd1d_u64;
    // Twenty people, so that nobody's pace is what is tested.
    for number in 0..MESSAGES {
        rig.write(json!({ "chat": 1000 + number % 20, "text": format!("question {number}") }));
    }
    for _ in 0..KILLS {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        offer(&rig).await;
        tokio::time::sleep(Duration::from_micros(chance % 60_000)).await;
        rig.kill();
        rig.spawn();
    }
    while settled(&rig).await.len() as i64 != MESSAGES {
        let progress = |seen: &Seen| (seen.reports.len(), seen.delivered.len());
        let before = rig.played.until(|seen| Some(progress(seen))).await;
        offer(&rig).await;
        rig.played
            .until(|seen| (progress(seen) != before).then_some(()))
            .await;
    }
    let settled = settled(&rig).await;
    let mut unknown = 0;
    let texts: Vec<String> = rig.telegram.bot(TOKEN, |bot| {
        bot.sent.iter().map(|sent| sent.text.clone()).collect()
    });
    for (id, disposition) in &settled {
        let times = texts
            .iter()
            .filter(|text| *text == &format!("answer to {id}"))
            .count();
        match disposition {
            Disposition::Done => assert_eq!(times, 1, "{id}"),
            Disposition::Unknown => {
                unknown += 1;
                assert!(times <= 1, "{id}");
            }
            other => panic!("{id}: {other:?}"),
        }
    }
    println!("{MESSAGES} messages, {KILLS} kills: {unknown} unknown");
}

/// How sends ended, the first word counting.
async fn settled(rig: &Rig) -> BTreeMap<String, Disposition> {
    rig.played
        .until(|seen| {
            let reports = seen.reports.iter().rev();
            let ended = reports.filter(|report| report.disposition() != Disposition::NotStarted);
            Some(
                ended
                    .map(|report| (report.outbox_id.clone(), report.disposition()))
                    .collect(),
            )
        })
        .await
}

/// As a gateway does at every Attach: all answers whose end it has not heard.
async fn offer(rig: &Rig) {
    let settled = settled(rig).await;
    let delivered = rig.played.until(|seen| Some(seen.delivered.clone())).await;
    for message in delivered {
        let id = message.event_id.clone();
        if !settled.contains_key(&id) {
            rig.send(&id, &message, &format!("answer to {id}")).await;
        }
    }
}

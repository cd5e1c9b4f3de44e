//! Messages that come in while a turn runs.

use clawdbot_proto::v1::StopReason;

use super::rig::{Rig, answer};

#[tokio::test]
async fn a_message_goes_into_the_running_turn_after_the_call_that_runs() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    assert!(!agent.steer("t1", "m1", "x").await, "nothing runs");
    rig.held.send_replace("t1:1");
    let stream = agent.run("t1", "main_main", "q").await;
    let asked = rig.asked().await;
    asked.call("c1", "{}");
    asked.call("c2", "[1]");
    asked.stop(StopReason::ToolCalls);
    rig.invoking().await;
    assert!(agent.steer("t1", "m1", "stop that").await);
    assert!(agent.steer("t1", "m1", "stop that").await, "the same again");
    rig.held.send_replace("");
    let asked = rig.asked().await;
    assert_eq!(
        asked.texts(),
        [
            "q",
            "",
            "ran t1:1",
            "skipped: a new message came in",
            "stop that"
        ]
    );
    assert!(
        agent.steer("t1", "m2", "too late").await,
        "it may still ask again"
    );
    asked.answer("fine");
    let end = answer(stream).await;
    assert_eq!(
        (end.text.as_str(), end.absorbed),
        ("fine", vec!["m1".to_owned()])
    );
    assert_eq!(rig.invoked().len(), 1);
    assert!(!agent.steer("t1", "m3", "x").await, "it is over");

    let recorded = rig.lines(".jsonl");
    let steered: Vec<_> = recorded
        .iter()
        .filter(|line| line["messageId"].is_string())
        .collect();
    assert_eq!(steered.len(), 1);
    assert_eq!(
        (&steered[0]["messageId"], &steered[0]["origin"]),
        (&"m1".into(), &"owner".into())
    );
    let again = answer(agent.run("t1", "main_main", "q").await).await;
    assert_eq!(again.absorbed, ["m1"]);
}

#[tokio::test]
async fn a_message_that_went_into_a_turn_is_not_lost_or_doubled_by_a_crash() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    rig.held.send_replace("t1:1");
    let lost = agent.run("t1", "main_main", "q").await;
    let asked = rig.asked().await;
    asked.call("c1", "{}");
    asked.stop(StopReason::ToolCalls);
    rig.invoking().await;
    agent.steer("t1", "m1", "and this").await;
    rig.held.send_replace("");
    let cut_off = rig.asked().await;
    let agent = rig.start().await;
    let stream = agent.run("t1", "main_main", "q").await;
    let asked = rig.asked().await;
    assert_eq!(asked.texts(), ["q", "", "ran t1:1", "and this"]);
    assert!(
        agent.steer("t1", "m1", "and this").await,
        "the gateway brings it again"
    );
    asked.call("c2", "[2]");
    asked.stop(StopReason::ToolCalls);
    let asked = rig.asked().await;
    assert_eq!(asked.texts()[4..], ["", "ran t1:2"], "once");
    asked.answer("ok");
    assert_eq!(answer(stream).await.absorbed, ["m1"]);
    drop((lost, cut_off));
}

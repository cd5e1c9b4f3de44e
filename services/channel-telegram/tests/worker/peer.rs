//! The worker against a Telegram server that we did not write, if one is running.

use clawdbot_proto::v1::Disposition;

use crate::rig::Rig;

#[tokio::test]
async fn a_server_that_we_did_not_write_is_understood() {
    let Ok(root) = std::env::var("CLAWDBOT_TELEGRAM_ROOT") else {
        println!(
            "SKIPPED a_server_that_we_did_not_write_is_understood: CLAWDBOT_TELEGRAM_ROOT names none"
        );
        return;
    };
    let rig = Rig::start_with(|account| {
        account.api_root = root;
        account.stream_mode = "off".into();
    })
    .await;
    let question = rig.delivered(0).await;
    assert_eq!(question.text, "question");
    rig.send("1", &question, "**answer** & more").await;
    assert_eq!(rig.report("1").await.disposition(), Disposition::Done);
}

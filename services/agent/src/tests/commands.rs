//! Commands in a running agent: answered in the session's order, remembered, and kept from the model.

use clawdbot_proto::v1;

use super::rig::{Rig, answer};

#[tokio::test]
async fn commands_are_answered_without_the_model_and_it_never_sees_them() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let reply = answer(agent.run("t1", "main_main", "/status").await).await;
    assert!(reply.text.contains("Model: builtin/guide") && reply.model.is_empty());
    assert!(agent.command("t2", "/whoami").await.contains("the owner"));
    assert!(agent.command("t3", "/verbose full").await.contains("full"));
    assert!(agent.command("t4", "/help").await.contains("/new"));
    assert!(rig.nothing_asked());
    let stream = agent.run("t5", "main_main", "/unknown thing").await;
    let asked = rig.asked().await;
    assert_eq!(
        asked.texts(),
        ["/unknown thing"],
        "what is no command is for the model"
    );
    asked.answer("hm");
    answer(stream).await;
    let status = agent.command("t6", "/status").await;
    assert!(
        status.contains("Messages: 2")
            && status.contains("2 in, 3 out")
            && status.contains("shown: full"),
        "{status}"
    );
}

#[tokio::test]
async fn a_command_of_somebody_who_may_not_use_it_is_plain_text_for_the_model() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    for (turn, text) in [("t1", "/model builtin/other"), ("t2", "/think high why?")] {
        let stream = agent.run(turn, "approved_main", text).await;
        let asked = rig.asked().await;
        assert_eq!(asked.request.model, "guide");
        assert_eq!(asked.texts().last(), Some(&text));
        asked.answer("hm");
        answer(stream).await;
    }
    let whoami = answer(agent.run("t3", "approved_main", "/whoami").await).await;
    assert!(whoami.text.contains("an approved sender"));
    assert!(rig.nothing_asked());
}

#[tokio::test]
async fn a_chosen_model_lasts_for_the_session_and_over_a_restart() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    agent.command("t1", "/model builtin/other").await;
    for agent in [agent, rig.start().await] {
        let turn = format!("q{}", rig.lines(".jsonl").len());
        let stream = agent.run(&turn, "main_main", "q").await;
        let asked = rig.asked().await;
        assert_eq!(asked.request.model, "other");
        asked.answer("a");
        assert_eq!(answer(stream).await.model, "builtin/other");
        let stream = agent.run(&format!("{turn}x"), "main_b", "q").await;
        let asked = rig.asked().await;
        assert_eq!(
            asked.request.model, "guide",
            "another session is not affected"
        );
        asked.answer("a");
        answer(stream).await;
    }
}

#[tokio::test]
async fn a_new_session_forgets_and_the_old_transcript_is_put_aside() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let stream = agent.run("t1", "main_main", "secret").await;
    rig.asked().await.answer("noted");
    answer(stream).await;
    let old = rig.transcript();
    agent.command("t2", "/reset").await;
    assert_ne!(rig.transcript(), old);
    assert_eq!(rig.lines(".jsonl.reset.").len(), 3, "nothing is deleted");
    let stream = agent.run("t3", "main_main", "/new what do you know?").await;
    let asked = rig.asked().await;
    assert_eq!(asked.texts(), ["what do you know?"]);
    asked.answer("nothing");
    answer(stream).await;
    assert_eq!(agent.agent.sessions.len(), 1);
}

#[tokio::test]
async fn history_shows_what_people_said_and_saw() {
    let mut rig = Rig::new().await;
    let agent = rig.start().await;
    let history = |limit| {
        let mut client = agent.client.clone();
        let request = v1::AgentHistoryRequest {
            handle: "main_main".into(),
            limit,
        };
        async move {
            let entries = client.history(request).await?.into_inner().entries;
            Ok::<_, tonic::Status>(
                entries
                    .into_iter()
                    .map(|e| (e.role, e.text))
                    .collect::<Vec<_>>(),
            )
        }
    };
    assert!(history(10).await.unwrap().is_empty());
    let stream = agent.run("t1", "main_main", "q").await;
    rig.asked().await.answer("a");
    answer(stream).await;
    let help = agent.command("t2", "/help").await;
    let all = history(1000).await.unwrap();
    let expected = [
        ("user", "q"),
        ("assistant", "a"),
        ("user", "/help"),
        ("assistant", help.as_str()),
    ];
    assert_eq!(
        all,
        expected.map(|(role, text)| (role.to_owned(), text.to_owned()))
    );
    assert_eq!(history(1).await.unwrap(), all[3..], "the newest");
    for limit in [0, 1001] {
        assert_eq!(
            history(limit).await.unwrap_err().code(),
            tonic::Code::InvalidArgument
        );
    }
}

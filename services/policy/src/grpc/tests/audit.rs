//! The audit log as the operator sees it.

use clawdbot_proto::v1::audit_operator_client::AuditOperatorClient;

use super::*;
#[cfg(target_os = "linux")]
use crate::record::Decision;

async fn show(bench: &Bench, request: v1::ShowAuditRequest) -> Vec<serde_json::Value> {
    let mut client = AuditOperatorClient::new(bench.edge("operator"));
    let mut lines = client.show(request).await.unwrap().into_inner();
    let mut all = Vec::new();
    while let Some(line) = lines.message().await.unwrap() {
        all.push(serde_json::from_str(&line.json).unwrap());
    }
    all
}

#[tokio::test]
async fn the_operator_sees_all_that_comes_of_one_message_and_that_the_log_is_intact() {
    let bench = Bench::new("{}").await;
    let first = admit(&bench, SOCKET, "main").await.unwrap();
    admit(&bench, SOCKET, "other").await.unwrap();
    let resolve = v1::ResolveRequest {
        handle: first.handle.clone(),
    };
    let mut sessions = v1::sessions_client::SessionsClient::new(bench.edge("agent-main"));
    let session = sessions.resolve(resolve).await.unwrap().into_inner();
    assert_eq!((session.trace.len(), &session.trace), (16, &first.trace));
    let of = |role: &str, trace: &str| v1::ShowAuditRequest {
        since_ms: 0,
        role: role.to_owned(),
        trace: trace.to_owned(),
    };
    let requests = |lines: &[serde_json::Value]| -> Vec<String> {
        lines
            .iter()
            .map(|line| line["request"].as_str().unwrap().to_owned())
            .collect()
    };
    let traced = show(&bench, of("", &first.trace)).await;
    assert_eq!(requests(&traced), ["admit", "resolve"]);
    let gateways = show(&bench, of("gateway", "")).await;
    assert_eq!(requests(&gateways), ["admit", "admit"]);
    let later = v1::ShowAuditRequest {
        since_ms: u64::MAX,
        ..v1::ShowAuditRequest::default()
    };
    assert_eq!(show(&bench, later).await.len(), 0);
    let all = show(&bench, of("", "")).await;
    assert!(requests(&all).contains(&"config".to_owned()));

    let mut client = AuditOperatorClient::new(bench.edge("operator"));
    let verdict = client
        .verify(v1::VerifyAuditRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(verdict.intact && verdict.records as usize == all.len());
    let path = bench.folder.path().join("decisions.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("allow", "allov", 1)).unwrap();
    let verdict = client
        .verify(v1::VerifyAuditRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(!verdict.intact && verdict.problem.contains("was changed"));
    assert_eq!(
        (verdict.file.as_str(), verdict.line),
        ("decisions.jsonl", 2)
    );
}

#[tokio::test]
async fn the_first_key_is_shown_until_it_is_forgotten_and_both_are_on_record() {
    let bench = Bench::new("{}").await;
    let mut client = AuditOperatorClient::new(bench.edge("operator"));
    let mut key = async |forget| {
        let asked = client.key(v1::AuditKeyRequest { forget }).await;
        asked.unwrap().into_inner().key
    };
    let shown = key(false).await;
    assert_eq!(shown.len(), 64);
    assert_eq!(key(true).await, shown);
    assert_eq!(key(false).await, "");
    assert!(!bench.folder.path().join("key").exists());
    let text = std::fs::read_to_string(bench.folder.path().join("decisions.jsonl")).unwrap();
    assert!(text.contains("audit-key-forgotten") && !text.contains(&shown));
}

#[tokio::test]
async fn an_alarm_about_damage_lasts_over_starts_until_the_operator_ends_it_and_that_is_on_record()
{
    let bench = Bench::new("{}").await;
    admit(&bench, SOCKET, "main").await.unwrap();
    let path = bench.folder.path().join("decisions.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 10]).unwrap();
    let alarm = |bench: &Bench| {
        bench.policy.renew_problems();
        let problems = bench.policy.problems();
        let problems = problems.borrow();
        problems.iter().any(|one| one.code == "audit.trouble")
    };
    let mut bench = bench.restarted().await;
    for _ in 0..3 {
        assert!(alarm(&bench));
        bench = bench.restarted().await;
    }
    let verify = async |accept| {
        let mut client = AuditOperatorClient::new(bench.edge("operator"));
        let asked = client.verify(v1::VerifyAuditRequest { accept }).await;
        asked.unwrap().into_inner()
    };
    assert!(!verify(false).await.accepted && alarm(&bench));
    let verdict = verify(true).await;
    assert!(verdict.accepted && !verdict.intact && !alarm(&bench));
    assert!(!verify(true).await.accepted, "nothing is left");
    let lines = show(&bench, v1::ShowAuditRequest::default()).await;
    let accepted = { lines.iter() }.filter(|one| one["request"] == "audit-accepted");
    let accepted: Vec<_> = accepted
        .map(|one| (&one["role"], one["last"].as_u64()))
        .collect();
    let gap = { lines.iter() }.find(|one| one["request"] == "audit-gap");
    assert_eq!(accepted, [(&"operator".into(), gap.unwrap()["n"].as_u64())]);
    assert!(!alarm(&bench.restarted().await));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn on_a_full_disk_nobody_is_let_in_and_no_configuration_changes_until_there_is_room() {
    let telegram = "{channels: {telegram: {allowFrom: [1]}}}";
    let bench = Bench::new(telegram).await;
    channels::answer(&bench, channels::inbound("42")).await;
    let code = channels::pairing(&bench).await.pending[0].code.clone();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let file = lock(&bench.policy.audit).exchange(full.unwrap().into());

    assert_eq!(channels::approve(&bench, &code).await, "audit.unavailable");
    let problems = bench.policy.problems().borrow().clone();
    assert!(problems.iter().any(|one| one.code == "audit.trouble"));
    assert_eq!(channels::pairing(&bench).await.approved.len(), 0);
    bench.write("{channels: {telegram: {allowFrom: [1, 2]}}}");
    assert_eq!(bench.load().await, crate::reload::Outcome::Unrecorded);
    assert_eq!(bench.policy.current().ok().unwrap().revision, 1);
    assert!(bench.policy.trouble().unwrap().first.contains("audit log"));
    let admitted = admit(&bench, SOCKET, "main").await.unwrap_err();
    assert_eq!(admitted.rule, "audit.unavailable");
    assert!(bench.policy.audit_trouble().unwrap().contains("room"));
    let mut operator = PolicyOperatorClient::new(bench.edge("operator"));
    assert!(
        operator
            .rotate_token(v1::RotateTokenRequest {})
            .await
            .is_err()
    );

    lock(&bench.policy.audit).exchange(file);
    bench.policy.seal_record();
    assert_eq!(
        bench.policy.audit_trouble(),
        None,
        "nobody has to ask for anything first"
    );
    assert_eq!(bench.load().await, crate::reload::Outcome::Judged);
    assert_eq!(bench.policy.current().ok().unwrap().revision, 2);
    assert_eq!(
        channels::approve(&bench, &code).await,
        "telegram/default/42"
    );
    assert_eq!(
        channels::named(&bench, channels::inbound("42")).await,
        "agent:main:telegram:dm:42"
    );
    let all = bench.decisions();
    let refused = { all.iter() }.filter(|one| one["rule"] == "audit.unavailable");
    assert_eq!(
        refused.count(),
        3,
        "what was refused meanwhile is on record"
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_is_counted_is_not_permitted_either_while_nothing_can_be_written() {
    let bench = Bench::new("{}").await;
    let admission = Decision {
        request: "admit",
        role: "gateway",
        session: "agent:main:main",
        ..Decision::default()
    };
    let last = || lock(&bench.policy.audit).last();
    let mut before = 0;
    while before < last() {
        before = last();
        bench.policy.decide(admission, Ok(())).unwrap();
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    lock(&bench.policy.audit).exchange(full.unwrap().into());
    bench.policy.note(&Decision::default());
    let refused = admit(&bench, SOCKET, "main").await.unwrap_err();
    assert_eq!(refused.rule, "audit.unavailable");
}

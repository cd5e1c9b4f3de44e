//! The audit log as the operator sees it.

use clawdbot_proto::v1::audit_operator_client::AuditOperatorClient;

use super::*;

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
        .verify(v1::VerifyAuditRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(verdict.intact && verdict.records as usize == all.len());
    let path = bench.folder.path().join("decisions.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("allow", "allov", 1)).unwrap();
    let verdict = client
        .verify(v1::VerifyAuditRequest {})
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

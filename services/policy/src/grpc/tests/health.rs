//! What workers report, and who learns of it.

use clawdbot_proto::v1::health_client::HealthClient;
use clawdbot_proto::v1::problems_client::ProblemsClient;

use super::*;

async fn report(
    bench: &Bench,
    worker: &str,
    problems: &[(&str, &str)],
) -> Result<(), tonic::Status> {
    let problem = |(code, message): &(&str, &str)| v1::Problem {
        code: (*code).to_owned(),
        message: (*message).to_owned(),
        ..v1::Problem::default()
    };
    let report = v1::HealthReport {
        problems: problems.iter().map(problem).collect(),
        lease_version: 7,
        checked: true,
    };
    HealthClient::new(bench.edge(worker))
        .report(report)
        .await
        .map(drop)
}

async fn health(bench: &Bench, role: &str) -> v1::HealthStatus {
    let request = v1::HealthRequest {
        role: role.to_owned(),
    };
    let reply = PolicyOperatorClient::new(bench.edge("operator"))
        .health(request)
        .await;
    reply.unwrap().into_inner()
}

#[tokio::test]
async fn the_command_line_learns_what_a_worker_said_and_whether_it_should_run() {
    let bench = Bench::new("{agent: {model: 'anthropic/x'}}").await;
    let before = health(&bench, "model-anthropic").await;
    assert!(!before.reported && before.planned && before.report.is_none());
    assert!(!health(&bench, "model-openai").await.planned);
    report(
        &bench,
        "model-anthropic",
        &[(
            "model.auth",
            "the key is refused; `clawdbot login --provider anthropic`",
        )],
    )
    .await
    .unwrap();
    let after = health(&bench, "model-anthropic").await;
    let said = after.report.unwrap();
    assert!(after.reported && said.checked);
    assert_eq!(
        (said.lease_version, said.problems[0].role.as_str()),
        (7, "model-anthropic")
    );
    let status = PolicyOperatorClient::new(bench.edge("operator"))
        .status(v1::PolicyStatusRequest {})
        .await;
    assert_eq!(status.unwrap().into_inner().problems, said.problems);
    let bad = report(&bench, "model-anthropic", &[("Bad Code", "")])
        .await
        .unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
    // A worker that the configuration no longer runs has no problems.
    bench.write("{}");
    bench.load().await;
    assert!(!health(&bench, "model-anthropic").await.reported);
    assert!(bench.policy.problems().borrow().is_empty());
    // What it says before it ends changes nothing.
    report(
        &bench,
        "model-anthropic",
        &[("model.unavailable", "no address")],
    )
    .await
    .unwrap();
    assert!(bench.policy.problems().borrow().is_empty());
}

#[tokio::test]
async fn the_gateway_is_told_at_once_and_again_after_every_change_and_the_log_once() {
    let bench = Bench::new("{channels: {telegram: {}}}").await;
    let mut lists = ProblemsClient::new(bench.edge("gateway"))
        .watch(v1::WatchProblemsRequest {})
        .await
        .unwrap()
        .into_inner();
    let mut next = async || -> Vec<String> {
        let list = lists.message().await.unwrap().unwrap().problems;
        list.into_iter().map(|problem| problem.message).collect()
    };
    assert_eq!(next().await, [""; 0]);
    let unique = "the token was revoked, says 8c1f";
    for _ in 0..3 {
        report(
            &bench,
            "channel-telegram",
            &[("channel.auth_revoked", unique)],
        )
        .await
        .unwrap();
    }
    assert_eq!(next().await, [unique]);
    report(&bench, "channel-telegram", &[]).await.unwrap();
    assert_eq!(
        next().await,
        [""; 0],
        "three reports of the same are one change"
    );
    let log = captured().lock().unwrap().clone();
    assert_eq!(log.matches(unique).count(), 1);
}

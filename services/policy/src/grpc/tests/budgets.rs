//! Budgets and lists of tools over the real edge table: a worker asks and settles, the agent sees what is left, the
//! operator what is used.

use clawdbot_proto::v1::explain_operator_client::ExplainOperatorClient;
use clawdbot_proto::v1::ledger_client::LedgerClient;
use clawdbot_proto::v1::notices_client::NoticesClient;
use clawdbot_proto::v1::offers_client::OffersClient;
use clawdbot_proto::v1::sessions_client::SessionsClient;
use clawdbot_proto::v1::spending_client::SpendingClient;
use clawdbot_proto::v1::tools_client::ToolsClient;

use super::*;
use crate::notices::Recipient;

/// A model with a price of 1 dollar for a million tokens, whichever way they go.
const MODEL: &str = "models: {providers: {openai: {models: [{id: 'gpt', maxTokens: 500,
    cost: {input: 1, output: 1, cacheRead: 1, cacheWrite: 1}}]}}}";

async fn bench_of(budget: &str) -> (Bench, String) {
    let bench = Bench::new(&format!(
        "{{agents: {{defaults: {{model: 'openai/gpt', budget: {{{budget}}}}}}}, {MODEL}}}"
    ))
    .await;
    let handle = admit(&bench, SOCKET, "main").await.unwrap().handle;
    (bench, handle)
}

fn spend(handle: &str, id: &str) -> v1::AuthorizeRequest {
    v1::AuthorizeRequest {
        handle: handle.to_owned(),
        caller_class: v1::Class::Main.into(),
        model: "openai/gpt".to_owned(),
        request_id: id.to_owned(),
        input_tokens: 400,
        ..v1::AuthorizeRequest::default()
    }
}

/// Whether it has to be settled, or the rule that refuses it.
async fn authorize(bench: &Bench, request: v1::AuthorizeRequest) -> Result<bool, String> {
    let worker = format!("model-{}", request.model.split_once('/').unwrap().0);
    let mut policy = SpendingClient::new(bench.edge(&worker));
    let reply = policy.authorize(request).await.unwrap().into_inner();
    match reply.outcome.unwrap() {
        v1::authorize_reply::Outcome::Allowed(_) => Ok(reply.settle),
        v1::authorize_reply::Outcome::Refusal(refusal) => Err(refusal.rule),
    }
}

async fn settle(
    bench: &Bench,
    worker: &str,
    handle: &str,
    id: &str,
    tokens: u64,
) -> Result<(), tonic::Status> {
    let request = v1::SettleSpendingRequest {
        handle: handle.to_owned(),
        caller_class: v1::Class::Main.into(),
        request_id: id.to_owned(),
        model: format!("{}/gpt", worker.strip_prefix("model-").unwrap()),
        usage: Some(v1::Usage {
            input_tokens: tokens,
            ..v1::Usage::default()
        }),
    };
    LedgerClient::new(bench.edge(worker))
        .settle(request)
        .await
        .map(drop)
}

async fn means(bench: &Bench, handle: &str) -> Vec<(String, u64, u64)> {
    let request = v1::ResolveRequest {
        handle: handle.to_owned(),
    };
    let mut policy = SessionsClient::new(bench.edge("agent-main"));
    let session = policy.resolve(request).await.unwrap().into_inner();
    let rows = session.means.map(|means| means.rows).unwrap_or_default();
    let row = |row: &v1::BudgetRow| (format!("{} {}", row.of, row.what), row.used, row.limit);
    rows.iter().map(row).collect()
}

#[tokio::test]
async fn a_used_up_budget_refuses_before_anything_is_sent_and_a_settled_one_goes_on() {
    let (bench, handle) = bench_of("dailyTokens: 1000, dailyUsd: 1").await;
    for (id, expected) in [
        ("1", Ok(true)),
        ("2", Ok(true)),
        ("3", Err("budget.day_tokens".to_owned())),
    ] {
        assert_eq!(
            authorize(&bench, spend(&handle, id)).await,
            expected,
            "{id}"
        );
    }
    assert_eq!(bench.last_decision(), "budget.day_tokens");
    // The guide is free.
    let guide = v1::AuthorizeRequest {
        model: "builtin/guide".to_owned(),
        ..spend(&handle, "4")
    };
    assert_eq!(authorize(&bench, guide).await, Ok(false));
    // Another worker's word is not heard.
    settle(&bench, "model-anthropic", &handle, "1", 0)
        .await
        .unwrap();
    assert!(authorize(&bench, spend(&handle, "5")).await.is_err());
    for id in ["1", "1", "2"] {
        settle(&bench, "model-openai", &handle, id, 300)
            .await
            .unwrap();
    }
    let day = |used| {
        vec![
            ("day tokens".to_owned(), used, 1000),
            ("day microusd".to_owned(), used, 1_000_000),
        ]
    };
    assert_eq!(means(&bench, &handle).await, day(600));
    assert_eq!(authorize(&bench, spend(&handle, "6")).await, Ok(true));
    let bench = bench.restarted().await;
    let rows = means(&bench, &handle).await;
    assert!(rows[0].1 >= 600 + 900, "a crash forgets nothing: {rows:?}");
    let mut operator = PolicyOperatorClient::new(bench.edge("operator"));
    let status = operator.status(v1::PolicyStatusRequest {}).await;
    let rows = status.unwrap().into_inner().budgets;
    let shown: Vec<_> = rows
        .iter()
        .map(|row| (row.agent.as_str(), row.of.as_str(), row.limit))
        .collect();
    assert_eq!(shown, [("main", "day", 1000), ("main", "day", 1_000_000)]);
}

#[tokio::test]
async fn money_is_limited_where_a_price_is_known() {
    // 400 tokens in and 500 out are 900 millionths.
    let (bench, handle) = bench_of("monthlyUsd: 0.001").await;
    assert_eq!(authorize(&bench, spend(&handle, "1")).await, Ok(true));
    assert_eq!(authorize(&bench, spend(&handle, "2")).await, Ok(true));
    let refused = Err("budget.month_usd".to_owned());
    assert_eq!(authorize(&bench, spend(&handle, "3")).await, refused);
    let free = |id: &str| v1::AuthorizeRequest {
        model: "ollama/llama3".to_owned(),
        ..spend(&handle, id)
    };
    assert_eq!(
        authorize(&bench, free("4")).await,
        refused,
        "what is used up is used up for all"
    );
    let (bench, handle) = bench_of("monthlyUsd: 0.001").await;
    for id in ["1", "2", "3", "4"] {
        let request = v1::AuthorizeRequest {
            handle: handle.clone(),
            ..free(id)
        };
        assert_eq!(authorize(&bench, request).await, Ok(true), "{id}");
    }
}

#[tokio::test]
async fn one_message_has_so_many_calls_and_another_has_its_own() {
    let (bench, handle) = bench_of("runCalls: 2").await;
    let call = async |handle: &str, id: &str| {
        let request = v1::DecideRequest {
            handle: handle.to_owned(),
            caller_class: v1::Class::Main.into(),
            tool: "session_status".to_owned(),
            arguments_json: "{}".to_owned(),
            call_id: id.to_owned(),
            ..v1::DecideRequest::default()
        };
        let reply = ToolsClient::new(bench.edge("executor"))
            .decide(request)
            .await;
        match reply.unwrap().into_inner().outcome.unwrap() {
            v1::decide_reply::Outcome::Allowed(_) => String::new(),
            v1::decide_reply::Outcome::Refusal(refusal) => refusal.rule,
        }
    };
    for (id, expected) in [
        ("1", ""),
        ("1", ""),
        ("2", ""),
        ("3", "budget.run_calls"),
        ("2", ""),
    ] {
        assert_eq!(call(&handle, id).await, expected, "{id}");
    }
    assert_eq!(
        means(&bench, &handle).await,
        [("run calls".to_owned(), 2, 2)]
    );
    let next = admit(&bench, SOCKET, "main").await.unwrap().handle;
    assert_eq!(call(&next, "3").await, "");
}

#[tokio::test]
async fn the_owner_hears_once_that_a_budget_is_used_up() {
    let (bench, handle) = bench_of("dailyTokens: 0").await;
    bench.policy.notices.set_owners(vec![Recipient {
        channel: "telegram".to_owned(),
        accounts: vec!["default".to_owned()],
        person: "42".to_owned(),
        thread: String::new(),
    }]);
    for id in ["1", "2", "3"] {
        assert!(authorize(&bench, spend(&handle, id)).await.is_err());
    }
    let mut notices = NoticesClient::new(bench.edge("channel-telegram"));
    let mut stream = notices
        .watch(v1::WatchNoticesRequest {})
        .await
        .unwrap()
        .into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(
        (first.account.as_str(), first.person.as_str()),
        ("default", "42")
    );
    assert!(
        first.text.contains("agents.defaults.budget.dailyTokens"),
        "{}",
        first.text
    );
    // The next that comes is about another thing.
    bench.policy.notices.tell(crate::notices::Notice {
        about: crate::notices::About::Config,
        to: crate::notices::To::Owners,
        text: "other".to_owned(),
        expires_ms: u64::MAX,
        by_others: false,
    });
    assert_eq!(stream.message().await.unwrap().unwrap().text, "other");
}

#[tokio::test]
async fn the_executor_is_told_what_a_session_may_see() {
    let bench = Bench::new("{tools: {profile: 'minimal', alsoAllow: ['group:web']}}").await;
    let handle = admit(&bench, SOCKET, "main").await.unwrap().handle;
    let list = async |class: v1::Class| {
        let named = |name: &str, group: &str| v1::NamedTool {
            name: name.to_owned(),
            facts: Some(v1::ToolFacts {
                groups: vec![group.to_owned()],
                ..v1::ToolFacts::default()
            }),
        };
        let request = v1::OfferRequest {
            handle: handle.clone(),
            caller_class: class.into(),
            tools: vec![
                named("session_status", "group:sessions"),
                named("exec", "group:runtime"),
                named("fetch_page", "group:web"),
            ],
        };
        let reply = OffersClient::new(bench.edge("executor"))
            .list(request)
            .await?;
        Ok::<_, tonic::Status>(reply.into_inner().allowed)
    };
    assert_eq!(
        list(v1::Class::Main).await.unwrap(),
        ["session_status", "fetch_page"]
    );
    let wrong = list(v1::Class::Guest).await.unwrap_err();
    assert_eq!(wrong.code(), Code::PermissionDenied);
    let explain = async |session_key: &str, agent: &str| {
        let request = v1::ExplainRequest {
            session_key: session_key.to_owned(),
            agent: agent.to_owned(),
            ..v1::ExplainRequest::default()
        };
        let mut operator = ExplainOperatorClient::new(bench.edge("operator"));
        operator
            .explain(request)
            .await
            .map(tonic::Response::into_inner)
    };
    let found = explain("", "").await.unwrap();
    assert_eq!(
        (found.session_key.as_str(), found.sandboxed),
        ("agent:main:main", false)
    );
    let line = |name: &str| {
        found
            .tools
            .iter()
            .find(|line| line.tool == name)
            .unwrap()
            .clone()
    };
    for (name, allowed, offered) in [
        ("session_status", true, true),
        ("exec", false, true),
        ("fetch_page", true, true),
        ("web_search", true, false),
    ] {
        let line = line(name);
        assert_eq!((line.allowed, line.offered), (allowed, offered), "{name}");
        assert_eq!(line.source, "tools.profile (minimal)");
    }
    assert_eq!(line("exec").remedy, "add it to tools.alsoAllow");
    let group = explain("agent:main:telegram:group:-1", "").await.unwrap();
    assert_eq!(
        (group.class(), group.sandboxed, group.mode.as_str()),
        (v1::Class::Guest, true, "non-main")
    );
    assert_eq!(
        explain("agent:absent:main", "").await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    assert_eq!(
        explain("", "No Agent").await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn the_same_number_means_the_same_tools_and_a_model_may_change_it() {
    let config = |lists: &str| {
        format!(
            "{{tools: {{byProvider: {{ollama: {{deny: ['{lists}']}}}}}}, agents: {{defaults: {{model: 'openai/gpt'}}}}, {MODEL}}}"
        )
    };
    let bench = Bench::new(&config("exec")).await;
    let offers = async || {
        let handle = admit(&bench, SOCKET, "main").await.unwrap().handle;
        let request = v1::ResolveRequest {
            handle: handle.clone(),
        };
        let session = SessionsClient::new(bench.edge("agent-main"))
            .resolve(request)
            .await;
        (handle, session.unwrap().into_inner().offers)
    };
    let ((handle, unknown), (_, again)) = (offers().await, offers().await);
    assert_eq!(unknown, again);
    assert!(authorize(&bench, spend(&handle, "1")).await.is_ok());
    let known = offers().await.1;
    assert_ne!(
        known, unknown,
        "the list for another provider's models no longer holds"
    );
    bench.write(&config("read"));
    bench.load().await;
    assert_eq!(offers().await.1, known, "it never did");
}

//! Handles, tools and models: each server asks with what its own edge told it.

use clawdbot_proto::v1::sessions_client::SessionsClient;
use clawdbot_proto::v1::spending_client::SpendingClient;
use clawdbot_proto::v1::tools_client::ToolsClient;

use super::*;

async fn resolve(bench: &Bench, agent: &str, handle: &str) -> Result<v1::Session, tonic::Status> {
    let request = v1::ResolveRequest {
        handle: handle.to_owned(),
    };
    SessionsClient::new(bench.edge(agent))
        .resolve(request)
        .await
        .map(tonic::Response::into_inner)
}

fn call(handle: &str, tool: &str) -> v1::DecideRequest {
    v1::DecideRequest {
        handle: handle.to_owned(),
        caller_class: v1::Class::Main.into(),
        tool: tool.to_owned(),
        arguments_json: format!("{{\"x\":\"{CANARY}\"}}"),
        call_id: "turn:1".to_owned(),
        ..v1::DecideRequest::default()
    }
}

async fn decide(bench: &Bench, request: v1::DecideRequest) -> Result<String, tonic::Status> {
    let reply = ToolsClient::new(bench.edge("executor"))
        .decide(request)
        .await?
        .into_inner();
    Ok(match reply.outcome.unwrap() {
        v1::decide_reply::Outcome::Allowed(session) => session.session_key,
        v1::decide_reply::Outcome::Refusal(refusal) => refusal.rule,
    })
}

fn spend(handle: &str, model: &str) -> v1::AuthorizeRequest {
    v1::AuthorizeRequest {
        handle: handle.to_owned(),
        caller_class: v1::Class::Main.into(),
        model: model.to_owned(),
        request_id: "r-1".to_owned(),
        ..v1::AuthorizeRequest::default()
    }
}

async fn authorize(
    bench: &Bench,
    worker: &str,
    request: v1::AuthorizeRequest,
) -> Result<String, tonic::Status> {
    let reply = SpendingClient::new(bench.edge(worker))
        .authorize(request)
        .await?
        .into_inner();
    Ok(match reply.outcome.unwrap() {
        v1::authorize_reply::Outcome::Allowed(session) => session.session_key,
        v1::authorize_reply::Outcome::Refusal(refusal) => refusal.rule,
    })
}

#[tokio::test]
async fn the_operator_is_the_owner_in_sessions_of_class_main() {
    let bench = Bench::new("{}").await;
    for (name, key) in [("main", "agent:main:main"), ("notes", "agent:main:notes")] {
        let admission = admit(&bench, SOCKET, name).await.unwrap();
        assert_eq!(
            (admission.session_key.as_str(), admission.class()),
            (key, v1::Class::Main)
        );
        let session = resolve(&bench, "agent-main", &admission.handle)
            .await
            .unwrap();
        assert_eq!(session.session_key, key);
        assert_eq!(
            (
                session.agent_id.as_str(),
                session.class(),
                session.standing.as_str()
            ),
            ("main", v1::Class::Main, "owner")
        );
    }
    let bench = Bench::new("{agents: {list: [{id: 'work'}]}}").await;
    assert_eq!(
        admit(&bench, SOCKET, "main").await.unwrap().session_key,
        "agent:work:main"
    );
}

#[tokio::test]
async fn a_named_agent_must_be_one_of_the_configuration() {
    let bench = Bench::new("{agents: {list: [{id: 'work'}, {id: 'home'}]}}").await;
    for (agent, expected) in [
        ("", "agent:work:notes"),
        ("home", "agent:home:notes"),
        ("absent", "agent.unknown"),
    ] {
        let request = v1::AdmitOperatorRequest {
            way: Some(SOCKET),
            session: "notes".to_owned(),
            message_id: "m-1".to_owned(),
            agent: agent.to_owned(),
            ..v1::AdmitOperatorRequest::default()
        };
        let reply = AccessClient::new(bench.edge("gateway"))
            .admit_operator(request)
            .await
            .unwrap();
        let found = match reply.into_inner().outcome.unwrap() {
            v1::admit_reply::Outcome::Admission(admission) => admission.session_key,
            v1::admit_reply::Outcome::Refusal(refusal) => refusal.rule,
            v1::admit_reply::Outcome::Answer(text) => text,
        };
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn a_wrong_way_name_or_id_is_no_admission() {
    use v1::admit_operator_request::Way;
    let bench = Bench::new("{}").await;
    let refused = admit(&bench, Way::Key("no key".to_owned()), "main")
        .await
        .unwrap_err();
    assert_eq!(
        (refused.rule.as_str(), bench.last_decision().as_str()),
        ("visit.key", "visit.key")
    );
    for (way, session, id) in [
        (None, "main", "m"),
        (Some(Way::OperatorSocket(false)), "main", "m"),
        (Some(SOCKET), "telegram:dm:1", "m"),
        (Some(SOCKET), "", "m"),
        (Some(SOCKET), "main", ""),
        (Some(SOCKET), "main", "a b"),
    ] {
        let request = v1::AdmitOperatorRequest {
            way,
            session: session.to_owned(),
            message_id: id.to_owned(),
            agent: String::new(),
            ..v1::AdmitOperatorRequest::default()
        };
        let status = AccessClient::new(bench.edge("gateway"))
            .admit_operator(request)
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{session} {id}");
    }
}

#[tokio::test]
async fn a_handle_of_another_class_is_refused_everywhere() {
    let bench = Bench::new("{}").await;
    let handle = admit(&bench, SOCKET, "main").await.unwrap().handle;
    assert!(resolve(&bench, "agent-main", &handle).await.is_ok());
    let status = resolve(&bench, "agent-guest", &handle).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(
        status.message().starts_with("session.class: "),
        "{}",
        status.message()
    );
    let guest = v1::Class::Guest.into();
    let tool = v1::DecideRequest {
        caller_class: guest,
        ..call(&handle, "session_status")
    };
    assert_eq!(decide(&bench, tool).await.unwrap(), "session.class");
    let model = v1::AuthorizeRequest {
        caller_class: guest,
        ..spend(&handle, "builtin/guide")
    };
    assert_eq!(
        authorize(&bench, "model-builtin", model).await.unwrap(),
        "session.class"
    );
    assert_eq!(bench.last_decision(), "session.class");
}

#[tokio::test]
async fn handles_survive_a_restart_and_end_with_their_agent() {
    let bench = Bench::new("{agents: {list: [{id: 'work'}]}}").await;
    let handle = admit(&bench, SOCKET, "main").await.unwrap().handle;
    let bench = bench.restarted().await;
    assert!(resolve(&bench, "agent-main", &handle).await.is_ok());
    bench.write("{}");
    bench.load().await;
    let status = resolve(&bench, "agent-main", &handle).await.unwrap_err();
    assert!(
        status.message().starts_with("session.agent: "),
        "{}",
        status.message()
    );
    let other = Bench::new("{agents: {list: [{id: 'work'}]}}").await;
    let status = resolve(&other, "agent-main", &handle).await.unwrap_err();
    assert!(
        status.message().starts_with("session.handle: "),
        "{}",
        status.message()
    );
}

#[tokio::test]
async fn tools_and_models_are_decided_by_the_configuration_in_force() {
    let bench = Bench::new("{}").await;
    let handle = admit(&bench, SOCKET, "main").await.unwrap().handle;
    assert_eq!(
        decide(&bench, call(&handle, "session_status"))
            .await
            .unwrap(),
        "agent:main:main"
    );
    assert_eq!(
        decide(&bench, call(&handle, "gateway")).await.unwrap(),
        "tool.denied"
    );
    assert_eq!(
        authorize(&bench, "model-builtin", spend(&handle, "builtin/guide"))
            .await
            .unwrap(),
        "agent:main:main"
    );
    assert_eq!(
        authorize(&bench, "model-openai", spend(&handle, "builtin/guide"))
            .await
            .unwrap(),
        "model.provider"
    );
    bench.write("{tools: {deny: ['session_status']}}");
    bench.load().await;
    assert_eq!(
        decide(&bench, call(&handle, "session_status"))
            .await
            .unwrap(),
        "tool.denied"
    );
    let lines = bench.decisions();
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["request"], &last["decision"], &last["rule"]),
        (&"tool".into(), &"deny".into(), &"tool.denied".into())
    );
    assert_eq!(
        (&last["role"], &last["subject"], &last["id"]),
        (
            &"executor".into(),
            &"session_status".into(),
            &"turn:1".into()
        )
    );
    assert!(
        !format!("{lines:?}").contains(CANARY),
        "arguments are not written down"
    );
}

#[tokio::test]
async fn broken_ids_and_unknown_classes_are_invalid_arguments() {
    let bench = Bench::new("{}").await;
    let handle = admit(&bench, SOCKET, "main").await.unwrap().handle;
    let good = call(&handle, "session_status");
    for request in [
        v1::DecideRequest {
            handle: "a b".to_owned(),
            ..good.clone()
        },
        v1::DecideRequest {
            caller_class: 0,
            ..good.clone()
        },
        v1::DecideRequest {
            caller_class: 9,
            ..good.clone()
        },
        v1::DecideRequest {
            tool: "Session Status".to_owned(),
            ..good.clone()
        },
        v1::DecideRequest {
            call_id: String::new(),
            ..good.clone()
        },
    ] {
        assert_eq!(
            decide(&bench, request).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    let good = spend(&handle, "builtin/guide");
    for request in [
        v1::AuthorizeRequest {
            handle: String::new(),
            ..good.clone()
        },
        v1::AuthorizeRequest {
            caller_class: 3,
            ..good.clone()
        },
        v1::AuthorizeRequest {
            model: "guide".to_owned(),
            ..good.clone()
        },
        v1::AuthorizeRequest {
            request_id: "\n".to_owned(),
            ..good.clone()
        },
    ] {
        assert_eq!(
            authorize(&bench, "model-builtin", request)
                .await
                .unwrap_err()
                .code(),
            Code::InvalidArgument
        );
    }
    assert_eq!(
        resolve(&bench, "agent-main", "é").await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn an_accepted_message_can_wait_for_the_configuration_to_be_mended() {
    let bench = Bench::new("{}").await;
    let handle = admit(&bench, SOCKET, "main").await.unwrap().handle;
    bench.write("{");
    let bench = bench.restarted().await;
    let status = resolve(&bench, "agent-main", &handle).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status.message().starts_with("config.none: "),
        "{}",
        status.message()
    );
    bench.write("{}");
    bench.load().await;
    assert!(resolve(&bench, "agent-main", &handle).await.is_ok());
}

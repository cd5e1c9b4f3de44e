//! What is run by hand. Servers that are not ours: PEER_API and PEER_URL name one, PEER_MODEL its model, PEER_KEY a key,
//! PEER_PROMPT the question, PEER_TIMES how often it is asked, PEER_TOOL whether a tool is offered. Prints what came of it.

use std::env;

use clawdbot_proto::v1::generate_event::Event;
use clawdbot_proto::v1::model_message::Message;
use clawdbot_proto::v1::{
    AssistantMessage, GenerateRequest, ModelMessage, Parameters, ToolResult, ToolSpec, UserMessage,
};
use tokio::time::Instant;

use super::rig::{Rig, request, said};

fn setting(name: &str, otherwise: &str) -> String {
    env::var(name).unwrap_or_else(|_| otherwise.into())
}

fn message(message: Message) -> ModelMessage {
    ModelMessage {
        message: Some(message),
    }
}

/// The answer put into the conversation, with a result for each of its calls.
fn go_on(request: &mut GenerateRequest, events: &[Event]) -> bool {
    let mut answer = AssistantMessage {
        text: said(events),
        ..Default::default()
    };
    for event in events {
        match event {
            Event::ToolCall(call) => answer.tool_calls.push(call.clone()),
            Event::Replay(replay) => answer.replay = Some(replay.clone()),
            _ => {}
        }
    }
    let calls = answer.tool_calls.clone();
    request.messages.push(message(Message::Assistant(answer)));
    let results = calls.iter().map(|call| {
        message(Message::ToolResult(ToolResult {
            call_id: call.id.clone(),
            name: call.name.clone(),
            output: "Sunny, 21 degrees.".into(),
            is_error: false,
        }))
    });
    request.messages.extend(results);
    !calls.is_empty()
}

#[tokio::test]
#[ignore = "needs a peer, named by PEER_URL"]
async fn a_peer_answers() {
    let rig = Rig::peer(
        &setting("PEER_API", "openai-completions"),
        &setting("PEER_URL", ""),
    )
    .await;
    rig.lend(&[("default", &setting("PEER_KEY", "no-key-needed"))])
        .await;
    let rig = rig.live();
    let report = rig.reported(|report| report.checked).await;
    println!("check: {:?}", report.problems);
    for n in 0..setting("PEER_TIMES", "1").parse().unwrap_or(1) {
        let mut request = GenerateRequest {
            request_id: format!("peer:{n}"),
            model: setting("PEER_MODEL", "m"),
            messages: vec![message(Message::User(UserMessage {
                text: setting("PEER_PROMPT", "Say hello in five words."),
            }))],
            parameters: Some(Parameters {
                max_output_tokens: 32,
                ..Default::default()
            }),
            context_tokens: 2048,
            ..request()
        };
        if env::var_os("PEER_TOOL").is_some() {
            request.tools.push(ToolSpec {
                name: "get_weather".into(),
                description: "The weather in a city.".into(),
                parameters_json: r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#.into(),
            });
        }
        for round in 0..3 {
            let start = Instant::now();
            let events = rig.ask(request.clone()).await;
            println!(
                "{n}.{round}: {} ms, {} events",
                start.elapsed().as_millis(),
                events.len()
            );
            for event in events.iter().filter(|e| !matches!(e, Event::Text(_))) {
                println!("    {event:?}");
            }
            println!("    text: {:?}", said(&events));
            if !go_on(&mut request, &events) {
                break;
            }
        }
        rig.shared.profiles().forget();
    }
    println!("health: {:?}", rig.shared.health.now().problems);
}

/// Middle of the measured times, in microseconds.
fn median(mut times: Vec<u128>) -> u128 {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Prints what the worker adds to an answer of twenty pieces, everything in one thread: the provider asked directly over a
/// kept connection, and through agent's edge, policy and worker. Worth reading with optimisation only.
#[tokio::test]
#[ignore = "a measurement"]
async fn what_the_worker_adds() {
    const TIMES: usize = 500;
    for api in super::requests::APIS {
        let rig = Rig::new(api).await;
        rig.provider.bench(20);
        let mut settings = rig.shared.settings.clone();
        let settings = settings.wait_for(Option::is_some).await.unwrap().clone();
        let Some(Ok(settings)) = settings else {
            panic!("no settings")
        };
        let target = settings.target("m");
        let body: bytes::Bytes = crate::wire::encode(&target, &request()).unwrap().into();
        let (mut direct, mut through) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            let start = Instant::now();
            let path = settings.api.path();
            let sent =
                crate::transport::request(&settings, http::Method::POST, path, body.clone(), None);
            let limits = clawdbot_http::Limits::default();
            let transport = &rig.shared.transport;
            let mut answer = transport
                .send(&settings, sent.unwrap(), &limits)
                .await
                .unwrap();
            while answer.body_mut().next().await.is_some() {}
            transport
                .pool()
                .give(answer.into_body().into_connection().await.unwrap());
            direct.push(start.elapsed().as_micros());
        }
        for _ in 0..TIMES {
            let start = Instant::now();
            rig.ask(request()).await;
            through.push(start.elapsed().as_micros());
        }
        let (direct, through) = (median(direct), median(through));
        println!("{api}: directly {direct} us, through the worker {through} us");
    }
}

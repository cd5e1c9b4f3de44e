//! Providers that misbehave: bounded, explained, and the worker goes on.

use clawdbot_fakes::provider::Fault;
use clawdbot_proto::v1::ModelErrorClass;
use clawdbot_proto::v1::generate_event::Event;

use super::requests::APIS;
use super::rig::{Rig, request, said};

#[tokio::test]
async fn every_misbehaviour_is_an_error_with_its_reason_in_every_protocol() {
    use ModelErrorClass::Unavailable;
    let rows = [
        (Fault::Html, "web page"),
        (Fault::HtmlError, "web page"),
        (Fault::Cut, "broke off"),
        (Fault::Short, "broke off"),
        (Fault::HugeLine, "too large"),
        (Fault::HeadBomb, "the answer of p"),
        (Fault::Gzip, "compressed"),
        (Fault::BadRecord, "cannot be understood"),
        (Fault::Stall, "does not answer in time"),
        (Fault::Silence, "does not answer in time"),
        (Fault::Redirect, "sends us elsewhere"),
        (Fault::ErrorInStream, "verloaded"),
    ];
    for api in APIS {
        let rigs = [Rig::new(api).await, Rig::impatient(api).await];
        for (fault, reason) in &rows {
            let silent = matches!(fault, Fault::Stall | Fault::Silence);
            let rig = &rigs[usize::from(silent)];
            // What may pass is tried three times.
            for _ in 0..3 {
                rig.provider.fault(match fault {
                    Fault::HtmlError => Fault::Html,
                    other => other.clone(),
                });
            }
            let (class, error, _) = rig.error().await;
            assert_eq!(class, Unavailable, "{api} {fault:?}");
            let message = error.message.to_lowercase();
            assert!(message.contains(reason), "{api} {fault:?}: {message}");
            assert!(
                message.len() < 600 && !message.contains("169.254"),
                "{message}"
            );
            // The rest of the three, and the pause after a timeout, belong to this row only.
            rig.shared.profiles().forget();
            while !matches!(rig.ask(request()).await.last(), Some(Event::Stop(_))) {
                rig.shared.profiles().forget();
            }
        }
    }
}

#[tokio::test]
async fn an_answer_in_one_text_is_named_as_what_it_is() {
    for api in &APIS[..3] {
        let rig = Rig::new(api).await;
        rig.provider.fault(Fault::NoStream);
        let (class, error, _) = rig.error().await;
        assert_eq!(class, ModelErrorClass::Unavailable);
        assert!(
            error.message.contains("does not stream"),
            "{}",
            error.message
        );
    }
    let rig = Rig::new("ollama").await;
    rig.provider.fault(Fault::NoStream);
    assert_eq!(rig.text().await, "one two", "one line is a stream there");
}

#[tokio::test]
async fn unknown_records_are_passed_over_and_broken_arguments_go_on() {
    for api in APIS {
        let rig = Rig::new(api).await;
        rig.provider.fault(Fault::UnknownEvents);
        assert_eq!(rig.text().await, "one two three four", "{api}");
        rig.provider.fault(Fault::BrokenCall);
        let events = rig.ask(request()).await;
        let Some(Event::ToolCall(call)) = events.first() else {
            panic!("{events:?}")
        };
        assert!(
            serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(
                &call.arguments_json
            )
            .is_err()
        );
        assert!(matches!(events.last(), Some(Event::Stop(_))) && said(&events).is_empty());
    }
}

#[tokio::test]
async fn an_error_as_the_first_record_is_tried_again() {
    for api in APIS {
        let rig = Rig::new(api).await;
        rig.provider.fault(Fault::ErrorAtOnce);
        assert_eq!(rig.text().await, "You said: hello there", "{api}");
        assert_eq!(rig.provider.asked().len(), 2);
    }
}

//! The worker of the provider `builtin`: asks policy like every other, then answers with the guide.

use clawdbot_proto::v1::generate_event::Event;
use clawdbot_proto::v1::model_server::Model;
use clawdbot_proto::v1::{self, GenerateEvent, ModelErrorClass};
use clawdbot_service::Edge;
use futures_util::stream;
use tonic::{Request, Response, Status};

use crate::guide;
use crate::spending::{Ruling, Spending, admit};
use crate::worker::Events;

/// The worker of the provider `builtin`.
pub struct Builtin {
    spending: Spending,
}

impl Builtin {
    pub fn new(policy: Edge) -> Self {
        Self {
            spending: Spending::new(policy),
        }
    }
}

#[tonic::async_trait]
impl Model for Builtin {
    type GenerateStream = Events;

    async fn generate(
        &self,
        request: Request<v1::GenerateRequest>,
    ) -> Result<Response<Events>, Status> {
        let (class, request) = admit(request)?;
        let model = format!("builtin/{}", guide::NAME);
        let events = if request.model != guide::NAME {
            vec![Event::Error(v1::ModelError {
                class: ModelErrorClass::UnknownModel.into(),
                message: "The provider builtin has one model, builtin/guide. Choose it with /model builtin/guide.".into(),
                ..v1::ModelError::default()
            })]
        } else {
            match self.spending.ask(class, &request, model).await? {
                Ruling::Refused(refused) => vec![Event::Error(refused)],
                Ruling::Allowed(_) => guide::answer(&request.messages, &request.tools),
            }
        };
        let events = events
            .into_iter()
            .map(|event| Ok(GenerateEvent { event: Some(event) }));
        Ok(Response::new(Box::pin(stream::iter(events))))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use clawdbot_identity::{Class, InstanceName, Role};
    use clawdbot_proto::v1::authorize_reply::Outcome;
    use clawdbot_proto::v1::model_client::ModelClient;
    use clawdbot_proto::v1::model_server::ModelServer;
    use clawdbot_proto::v1::spending_server::{Spending as Policy, SpendingServer};
    use clawdbot_service::{Router, testing};
    use tonic::Code;

    use super::*;

    /// Refuses with the rule that it holds, and keeps what it was asked.
    #[derive(Clone, Default)]
    struct FakePolicy(Arc<Mutex<(Option<&'static str>, Vec<v1::AuthorizeRequest>)>>);

    #[tonic::async_trait]
    impl Policy for FakePolicy {
        async fn authorize(
            &self,
            request: Request<v1::AuthorizeRequest>,
        ) -> Result<Response<v1::AuthorizeReply>, Status> {
            let mut state = self.0.lock().unwrap();
            state.1.push(request.into_inner());
            let outcome = match state.0 {
                None => Outcome::Allowed(v1::Session::default()),
                Some(rule) => Outcome::Refusal(v1::Refusal {
                    rule: rule.into(),
                    message: "no more today".into(),
                    retry_after_seconds: 9,
                }),
            };
            Ok(Response::new(v1::AuthorizeReply {
                outcome: Some(outcome),
                settle: false,
            }))
        }
    }

    async fn generate(
        policy: &FakePolicy,
        agent: Class,
        request: v1::GenerateRequest,
    ) -> Result<Vec<Event>, Status> {
        let me = Role::model(&InstanceName::parse("builtin").unwrap());
        let edge = testing::connect(
            &me,
            &Role::policy(),
            Router::new().add(SpendingServer::new(policy.clone())),
        )
        .unwrap();
        let router = Router::new().add(ModelServer::new(Builtin::new(edge)));
        let edge = testing::connect(&Role::agent(agent), &me, router).unwrap();
        let mut stream = ModelClient::new(edge).generate(request).await?.into_inner();
        let mut events = Vec::new();
        while let Some(event) = stream.message().await? {
            events.extend(event.event);
        }
        Ok(events)
    }

    fn request() -> v1::GenerateRequest {
        v1::GenerateRequest {
            request_id: "t1:1".into(),
            handle: "abc".into(),
            model: "guide".into(),
            ..v1::GenerateRequest::default()
        }
    }

    #[tokio::test]
    async fn policy_is_asked_with_the_class_of_the_edge_before_anything_is_answered() {
        for (agent, class) in [
            (Class::Main, v1::Class::Main),
            (Class::Guest, v1::Class::Guest),
        ] {
            let policy = FakePolicy::default();
            let events = generate(&policy, agent, request()).await.unwrap();
            assert!(matches!(events.last(), Some(Event::Stop(_))) && events.len() > 2);
            let asked = &policy.0.lock().unwrap().1;
            assert_eq!((asked.len(), asked[0].caller_class()), (1, class));
            assert_eq!(
                (asked[0].model.as_str(), asked[0].handle.as_str()),
                ("builtin/guide", "abc")
            );
            assert_eq!(asked[0].request_id, "t1:1");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_the_only_event_and_no_decision_is_no_refusal() {
        let policy = FakePolicy::default();
        policy.0.lock().unwrap().0 = Some("budget.day");
        let events = generate(&policy, Class::Main, request()).await.unwrap();
        let [Event::Error(error)] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(
            (error.class(), error.retry_after_seconds),
            (ModelErrorClass::Denied, 9)
        );
        assert!(error.message.contains("no more today") && error.message.contains("budget.day"));
        policy.0.lock().unwrap().0 = Some("config.none");
        let status = generate(&policy, Class::Main, request()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
    }

    #[tokio::test]
    async fn another_model_is_unknown_and_broken_ids_are_refused_without_asking_policy() {
        let policy = FakePolicy::default();
        let other = v1::GenerateRequest {
            model: "gpt".into(),
            ..request()
        };
        let events = generate(&policy, Class::Main, other).await.unwrap();
        assert!(
            matches!(&events[..], [Event::Error(error)] if error.class() == ModelErrorClass::UnknownModel)
        );
        for broken in [
            v1::GenerateRequest {
                request_id: String::new(),
                ..request()
            },
            v1::GenerateRequest {
                handle: "a b".into(),
                ..request()
            },
        ] {
            let status = generate(&policy, Class::Main, broken).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
        }
        assert!(policy.0.lock().unwrap().1.is_empty());
    }
}

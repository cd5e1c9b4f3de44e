//! The worker's edge: asks policy before anything is spent, then lets the provider answer. Which class asks follows from
//! the edge a call came in on, and policy compares it with the handle's.

use std::pin::Pin;

use clawdbot_identity::{Class, Handle, IdError, MessageId, Role};
use clawdbot_proto::v1::authorize_reply::Outcome;
use clawdbot_proto::v1::generate_event::Event;
use clawdbot_proto::v1::model_server::Model;
use clawdbot_proto::v1::spending_client::SpendingClient;
use clawdbot_proto::v1::{self, GenerateEvent, ModelErrorClass};
use clawdbot_service::{Edge, caller};
use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};
use tracing::info;

use crate::guide;

/// Policy's word for having no valid configuration: nothing was decided, and asking again makes sense.
const NOT_DECIDED: &str = "config.none";

/// The worker of the provider `builtin`.
pub struct Builtin {
    policy: SpendingClient<Edge>,
}

type Events = Pin<Box<dyn Stream<Item = Result<GenerateEvent, Status>> + Send>>;

impl Builtin {
    pub fn new(policy: Edge) -> Self {
        Self {
            policy: SpendingClient::new(policy),
        }
    }

    /// `None` when the request may be answered.
    async fn refusal(
        &self,
        class: Class,
        request: &v1::GenerateRequest,
    ) -> Result<Option<v1::ModelError>, Status> {
        let class = match class {
            Class::Main => v1::Class::Main,
            Class::Guest => v1::Class::Guest,
        };
        let asked = v1::AuthorizeRequest {
            handle: request.handle.clone(),
            caller_class: class.into(),
            model: format!("builtin/{}", guide::NAME),
            request_id: request.request_id.clone(),
        };
        match self
            .policy
            .clone()
            .authorize(asked)
            .await?
            .into_inner()
            .outcome
        {
            Some(Outcome::Allowed(_)) => Ok(None),
            Some(Outcome::Refusal(refusal)) if refusal.rule == NOT_DECIDED => {
                Err(Status::unavailable(refusal.message))
            }
            Some(Outcome::Refusal(refusal)) => {
                info!(
                    rule = refusal.rule,
                    request = request.request_id,
                    "policy refused a request"
                );
                Ok(Some(v1::ModelError {
                    class: ModelErrorClass::Denied.into(),
                    message: format!("{} ({})", refusal.message, refusal.rule),
                    retry_after_seconds: refusal.retry_after_seconds,
                }))
            }
            None => Err(Status::internal("policy gave no answer that is known here")),
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
        let class = class_of(&caller(&request)?)?;
        let request = request.into_inner();
        MessageId::parse(&request.request_id).map_err(invalid)?;
        Handle::parse(&request.handle).map_err(invalid)?;
        let events = if request.model != guide::NAME {
            vec![Event::Error(v1::ModelError {
                class: ModelErrorClass::UnknownModel.into(),
                message: "The provider builtin has one model, builtin/guide. Choose it with /model builtin/guide.".into(),
                retry_after_seconds: 0,
            })]
        } else if let Some(refused) = self.refusal(class, &request).await? {
            vec![Event::Error(refused)]
        } else {
            guide::answer(&request.messages, &request.tools)
        };
        let events = events
            .into_iter()
            .map(|event| Ok(GenerateEvent { event: Some(event) }));
        Ok(Response::new(Box::pin(stream::iter(events))))
    }
}

fn class_of(caller: &Role) -> Result<Class, Status> {
    caller
        .class()
        .ok_or_else(|| Status::permission_denied("only agents ask models"))
}

#[allow(clippy::needless_pass_by_value)]
fn invalid(error: IdError) -> Status {
    Status::invalid_argument(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use clawdbot_identity::InstanceName;
    use clawdbot_proto::v1::model_client::ModelClient;
    use clawdbot_proto::v1::model_server::ModelServer;
    use clawdbot_proto::v1::spending_server::{Spending, SpendingServer};
    use clawdbot_service::{Router, testing};
    use tonic::Code;

    use super::*;

    /// Refuses with the rule that it holds, and keeps what it was asked.
    #[derive(Clone, Default)]
    struct FakePolicy(Arc<Mutex<(Option<&'static str>, Vec<v1::AuthorizeRequest>)>>);

    #[tonic::async_trait]
    impl Spending for FakePolicy {
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
            ..Default::default()
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
        policy.0.lock().unwrap().0 = Some(NOT_DECIDED);
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

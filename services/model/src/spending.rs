//! Asks policy before anything is spent. Which class asks follows from the edge a call came in on, and policy compares it
//! with the handle's.

use clawdbot_identity::{Class, Handle, IdError, MessageId, Role};
use clawdbot_proto::v1::authorize_reply::Outcome;
use clawdbot_proto::v1::spending_client::SpendingClient;
use clawdbot_proto::v1::{self, GenerateRequest, ModelError, ModelErrorClass};
use clawdbot_service::{Edge, caller};
use tonic::{Request, Status};
use tracing::info;

/// Policy's word for having no valid configuration: nothing was decided, and asking again makes sense.
const NOT_DECIDED: &str = "config.none";

/// The edge to policy.
pub struct Spending {
    policy: SpendingClient<Edge>,
}

impl Spending {
    pub fn new(policy: Edge) -> Self {
        Self {
            policy: SpendingClient::new(policy),
        }
    }

    /// Asks whether the request may be answered by the model, which is named with its provider; `None` when it may.
    pub fn refusal(
        &self,
        class: Class,
        request: &GenerateRequest,
        model: String,
    ) -> impl Future<Output = Result<Option<ModelError>, Status>> + Send + use<> {
        let class = match class {
            Class::Main => v1::Class::Main,
            Class::Guest => v1::Class::Guest,
        };
        let asked = v1::AuthorizeRequest {
            handle: request.handle.clone(),
            caller_class: class.into(),
            model,
            request_id: request.request_id.clone(),
            ..v1::AuthorizeRequest::default()
        };
        decided(self.policy.clone(), asked)
    }
}

async fn decided(
    mut policy: SpendingClient<Edge>,
    asked: v1::AuthorizeRequest,
) -> Result<Option<ModelError>, Status> {
    let request_id = asked.request_id.clone();
    match policy.authorize(asked).await?.into_inner().outcome {
        Some(Outcome::Allowed(session)) => {
            info!(
                request = request_id,
                trace = session.trace,
                "a request may be made"
            );
            Ok(None)
        }
        Some(Outcome::Refusal(refusal)) if refusal.rule == NOT_DECIDED => {
            Err(Status::unavailable(refusal.message))
        }
        Some(Outcome::Refusal(refusal)) => {
            info!(
                rule = refusal.rule,
                request = request_id,
                "policy refused a request"
            );
            Ok(Some(ModelError {
                class: ModelErrorClass::Denied.into(),
                message: format!("{} ({})", refusal.message, refusal.rule),
                retry_after_seconds: refusal.retry_after_seconds,
            }))
        }
        None => Err(Status::internal("policy gave no answer that is known here")),
    }
}

/// Takes a call in: who asks, and a request whose names are valid.
pub fn admit(request: Request<GenerateRequest>) -> Result<(Class, GenerateRequest), Status> {
    let class = class_of(&caller(&request)?)?;
    let request = request.into_inner();
    MessageId::parse(&request.request_id).map_err(invalid)?;
    Handle::parse(&request.handle).map_err(invalid)?;
    Ok((class, request))
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

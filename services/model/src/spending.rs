//! Asks policy before anything is spent, and says afterwards what was. Which class asks follows from the edge a call came in
//! on, and policy compares it with the handle's.

use std::time::Duration;

use clawdbot_identity::{Class, Handle, IdError, MessageId, Role};
use clawdbot_proto::v1::authorize_reply::Outcome;
use clawdbot_proto::v1::generate_event::Event;
use clawdbot_proto::v1::ledger_client::LedgerClient;
use clawdbot_proto::v1::model_message::Message;
use clawdbot_proto::v1::spending_client::SpendingClient;
use clawdbot_proto::v1::{self, GenerateRequest, ModelError, ModelErrorClass};
use clawdbot_service::{Edge, caller};
use tokio::time::timeout;
use tonic::{Request, Status};
use tracing::{info, warn};

/// Policy's word for having no valid configuration: nothing was decided, and asking again makes sense.
const NOT_DECIDED: &str = "config.none";
/// Bytes of a request for one token: fits most scripts, and what a request has beside its text makes up for the rest.
const BYTES: u64 = 4;
/// How long the end of an answer waits for policy to take its use down.
const MOMENT: Duration = Duration::from_secs(1);

/// The edge to policy.
pub struct Spending {
    policy: SpendingClient<Edge>,
    ledger: LedgerClient<Edge>,
}

/// What policy said.
pub enum Ruling {
    /// With what has to be told afterwards, if anything.
    Allowed(Option<Box<Meter>>),
    Refused(ModelError),
}

impl Spending {
    pub fn new(policy: Edge) -> Self {
        Self {
            ledger: LedgerClient::new(policy.clone()),
            policy: SpendingClient::new(policy),
        }
    }

    /// Asks whether the request may be answered by the model, which is named with its provider.
    pub fn ask(
        &self,
        class: Class,
        request: &GenerateRequest,
        model: String,
    ) -> impl Future<Output = Result<Ruling, Status>> + Send + use<> {
        let class = match class {
            Class::Main => v1::Class::Main,
            Class::Guest => v1::Class::Guest,
        };
        let parameters = request.parameters.as_ref();
        let asked = v1::AuthorizeRequest {
            handle: request.handle.clone(),
            caller_class: class.into(),
            model,
            request_id: request.request_id.clone(),
            input_tokens: (size(request) as u64).div_ceil(BYTES),
            max_output_tokens: parameters.map_or(0, |p| u64::from(p.max_output_tokens)),
        };
        decided(self.policy.clone(), self.ledger.clone(), asked)
    }
}

/// Bytes that a provider reads as tokens.
fn size(request: &GenerateRequest) -> usize {
    let message = |message: &v1::ModelMessage| match &message.message {
        None => 0,
        Some(Message::User(user)) => user.text.len(),
        Some(Message::ToolResult(result)) => result.output.len(),
        Some(Message::Assistant(said)) => {
            let calls = said.tool_calls.iter();
            let calls: usize = calls
                .map(|call| call.name.len() + call.arguments_json.len())
                .sum();
            let replay = said
                .replay
                .as_ref()
                .map_or(0, |replay| replay.content.len());
            replay.max(said.text.len() + calls)
        }
    };
    let tool =
        |tool: &v1::ToolSpec| tool.name.len() + tool.description.len() + tool.parameters_json.len();
    let messages: usize = request.messages.iter().map(message).sum();
    let tools: usize = request.tools.iter().map(tool).sum();
    request.system.len() + messages + tools
}

async fn decided(
    mut policy: SpendingClient<Edge>,
    ledger: LedgerClient<Edge>,
    asked: v1::AuthorizeRequest,
) -> Result<Ruling, Status> {
    let request_id = asked.request_id.clone();
    let reply = policy.authorize(asked.clone()).await?.into_inner();
    match reply.outcome {
        Some(Outcome::Allowed(session)) => {
            info!(
                request = request_id,
                trace = session.trace,
                "a request may be made"
            );
            let meter = reply.settle.then(|| Box::new(Meter::new(ledger, asked)));
            Ok(Ruling::Allowed(meter))
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
            Ok(Ruling::Refused(ModelError {
                class: ModelErrorClass::Denied.into(),
                message: format!("{} ({})", refusal.message, refusal.rule),
                retry_after_seconds: refusal.retry_after_seconds,
                again: false,
            }))
        }
        None => Err(Status::internal("policy gave no answer that is known here")),
    }
}

/// Watches an answer and tells policy what it used: what the provider says, else an estimate of what was sent and came.
/// Dropped before the end it tells the estimate, since the provider counts what nobody reads, too.
pub struct Meter {
    ledger: LedgerClient<Edge>,
    asked: v1::AuthorizeRequest,
    usage: Option<v1::Usage>,
    /// Bytes of the answer so far.
    written: u64,
    told: bool,
}

impl Meter {
    fn new(ledger: LedgerClient<Edge>, asked: v1::AuthorizeRequest) -> Self {
        Self {
            ledger,
            asked,
            usage: None,
            written: 0,
            told: false,
        }
    }

    /// Takes the next event in. At the last one it waits a moment for policy, so that the agent's next request finds what
    /// is left and not what is held back.
    pub async fn see(&mut self, event: &Event) {
        let written = match event {
            Event::Text(text) => text.text.len(),
            Event::Thinking(thought) => thought.text.len(),
            Event::ToolCall(call) => call.name.len() + call.arguments_json.len(),
            Event::Replay(_) => 0,
            Event::Usage(usage) => {
                let counts = usage.input_tokens > 0 || usage.output_tokens > 0;
                self.usage = counts.then_some(*usage);
                0
            }
            Event::Stop(_) => {
                return self
                    .tell(self.usage.unwrap_or_else(|| self.estimate()))
                    .await;
            }
            Event::Error(_) => {
                // Before the first word nothing was bought.
                let used = match self.written {
                    0 => v1::Usage::default(),
                    _ => self.estimate(),
                };
                return self.tell(self.usage.unwrap_or(used)).await;
            }
        };
        self.written += written as u64;
    }

    fn estimate(&self) -> v1::Usage {
        v1::Usage {
            input_tokens: self.asked.input_tokens,
            output_tokens: self.written.div_ceil(BYTES),
            ..v1::Usage::default()
        }
    }

    async fn tell(&mut self, usage: v1::Usage) {
        self.told = true;
        // In a task of its own: what was used is told even if nobody waits for it.
        let telling = tokio::spawn(settle(self.ledger.clone(), self.asked.clone(), usage));
        if timeout(MOMENT, telling).await.is_err() {
            info!(request = self.asked.request_id, "policy takes its time");
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        let usage = self.usage.unwrap_or_else(|| self.estimate());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(settle(self.ledger.clone(), self.asked.clone(), usage));
        }
    }
}

async fn settle(mut ledger: LedgerClient<Edge>, asked: v1::AuthorizeRequest, usage: v1::Usage) {
    let request = asked.request_id.clone();
    let settled = v1::SettleSpendingRequest {
        handle: asked.handle,
        caller_class: asked.caller_class,
        request_id: asked.request_id,
        model: asked.model,
        usage: Some(usage),
    };
    if let Err(status) = ledger.settle(settled).await {
        warn!(code = ?status.code(), request, "policy was not told what a request used; it counts in full");
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

//! The adapter between `tests/dojo/gate.py` and a real policy process: it plays the gateway that admits the owner's words,
//! the executor that asks and reports, and the owner at the command line who answers. It decides nothing: what it knows of a
//! tool is what the manifest says, turned into what an executor would send.

mod wire;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use clawdbot_identity::Role;
use clawdbot_proto::v1;
use clawdbot_proto::v1::access_client::AccessClient;
use clawdbot_proto::v1::approvals_operator_client::ApprovalsOperatorClient;
use clawdbot_proto::v1::calls_client::CallsClient;
use clawdbot_proto::v1::decide_reply::Outcome;
use clawdbot_proto::v1::tools_client::ToolsClient;
use clawdbot_service::Edge;
use serde_json::{Map, Value, json};

use crate::Scratch;
use crate::solo::Solo;

/// All tools are permitted, so that only where their arguments come from decides.
const CONFIGURATION: &str = "{tools: {profile: 'full'}}";
/// Between two looks for a question: the edge takes fifty a second, however long policy takes to decide.
const LOOK: Duration = Duration::from_millis(25);
/// Between two answers of the operator: the edge takes ten a second.
const PACE: Duration = Duration::from_millis(105);

type Decision = Pin<Box<dyn Future<Output = Result<Outcome, String>>>>;

/// A policy process and what was said to it.
pub struct Adapter {
    // Before the folder that it uses.
    policy: Solo,
    _scratch: Scratch,
    gateway: AccessClient<Edge>,
    tools: ToolsClient<Edge>,
    calls: CallsClient<Edge>,
    operator: ApprovalsOperatorClient<Edge>,
    manifest: Map<String, Value>,
    handle: String,
    sessions: u32,
    count: u32,
    /// The question that waits, and the call behind it.
    asked: Option<(String, Decision)>,
    /// A permitted call whose result comes next.
    permitted: Option<String>,
}

impl Default for Adapter {
    fn default() -> Self {
        Self::new()
    }
}

impl Adapter {
    /// Starts a policy of its own.
    pub fn new() -> Self {
        let scratch = Scratch::new();
        scratch.configure(CONFIGURATION);
        let mut policy = Solo::start("policy", &scratch);
        let edge = |client: &str| {
            let role = |text| Role::parse(text).unwrap();
            let (edge, handover) = Edge::handed(role(client), role("policy"));
            handover.give(policy.serves(client));
            edge
        };
        let (gateway, executor, operator) = (edge("gateway"), edge("executor"), edge("operator"));
        policy.done();
        // Without a broker its first reading of the configuration takes a while.
        policy.notified("READY=1");
        Self {
            gateway: AccessClient::new(gateway),
            tools: ToolsClient::new(executor.clone()),
            calls: CallsClient::new(executor),
            operator: ApprovalsOperatorClient::new(operator),
            policy,
            _scratch: scratch,
            manifest: Map::new(),
            handle: String::new(),
            sessions: 0,
            count: 0,
            asked: None,
            permitted: None,
        }
    }

    /// What the policy process wrote.
    pub fn log(&self) -> String {
        self.policy.log()
    }

    /// Answers one line of the harness.
    ///
    /// # Errors
    /// What went wrong; the figures are worth nothing then.
    pub async fn answer(&mut self, line: &str) -> Result<Value, String> {
        let message: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let call = &message["call"];
        match message["op"].as_str().unwrap_or_default() {
            "tools" => {
                let tools = message["tools"].as_object();
                self.manifest = tools.ok_or("no manifest")?.clone();
                Ok(json!({}))
            }
            "begin" => {
                self.begin(message["request"].as_str().unwrap_or_default())
                    .await
            }
            "decide" => self.decide(call).await,
            "answer" => self.settle(message["allow"] == true).await,
            "result" => self.result(call, &message["result"]).await,
            other => Err(format!("no such operation: {other}")),
        }
    }

    /// The owner writes, in a session that has read nothing.
    async fn begin(&mut self, request: &str) -> Result<Value, String> {
        self.sessions += 1;
        (self.count, self.asked, self.permitted) = (0, None, None);
        let request = v1::AdmitOperatorRequest {
            way: Some(v1::admit_operator_request::Way::OperatorSocket(true)),
            session: format!("case-{}", self.sessions),
            message_id: format!("case-{}", self.sessions),
            text: request.to_owned(),
            ..v1::AdmitOperatorRequest::default()
        };
        let reply = self.gateway.admit_operator(request).await;
        match reply.map_err(text)?.into_inner().outcome {
            Some(v1::admit_reply::Outcome::Admission(admission)) => {
                self.handle = admission.handle;
                Ok(json!({}))
            }
            other => Err(format!("not admitted: {other:?}")),
        }
    }

    /// Asks policy. Answers when it has decided, or when a question waits.
    async fn decide(&mut self, call: &Value) -> Result<Value, String> {
        let (id, mut decision) = self.ask(call)?;
        loop {
            if let Ok(outcome) = tokio::time::timeout(LOOK, &mut decision).await {
                return Ok(match outcome? {
                    Outcome::Allowed(_) => {
                        self.permitted = Some(id);
                        json!({"decision": "allow"})
                    }
                    Outcome::Refusal(refusal) => {
                        json!({"decision": "deny", "reason": format!("{}: {}", refusal.rule, refusal.message)})
                    }
                });
            }
            let list = self.operator.list(v1::ListQuestionsRequest {}).await;
            if let Some(row) = list.map_err(text)?.into_inner().questions.pop() {
                let reason = row.reasons.join("; ");
                self.asked = Some((row.id, decision));
                self.permitted = Some(id);
                return Ok(json!({"decision": "ask", "reason": reason}));
            }
        }
    }

    fn ask(&mut self, call: &Value) -> Result<(String, Decision), String> {
        let tool = call["tool"].as_str().unwrap_or_default();
        let spec = self
            .manifest
            .get(tool)
            .ok_or_else(|| format!("no such tool: {tool}"))?;
        self.count += 1;
        let id = format!("case-{}:{}", self.sessions, self.count);
        let request = v1::DecideRequest {
            handle: self.handle.clone(),
            caller_class: v1::Class::Main.into(),
            tool: tool.to_owned(),
            arguments_json: call["arguments"].to_string(),
            call_id: id.clone(),
            facts: Some(wire::facts(spec)?),
        };
        let mut tools = self.tools.clone();
        let decision = Box::pin(async move {
            let reply = tools.decide(request).await.map_err(text)?.into_inner();
            reply.outcome.ok_or_else(|| "no decision".to_owned())
        });
        Ok((id, decision))
    }

    /// The owner's word; policy has to do as he says.
    async fn settle(&mut self, allow: bool) -> Result<Value, String> {
        let (id, decision) = self.asked.take().ok_or("nothing was asked")?;
        tokio::time::sleep(PACE).await;
        let answered = self.operator.answer(v1::AnswerRequest { id, allow }).await;
        answered.map_err(text)?;
        let outcome = decision.await?;
        if matches!(outcome, Outcome::Allowed(_)) != allow {
            return Err(format!("the owner said {allow}, and policy {outcome:?}"));
        }
        if !allow {
            self.permitted = None;
        }
        Ok(json!({}))
    }

    /// A call has run. Reads were not asked about by the harness; the executor asks about every call.
    async fn result(&mut self, call: &Value, result: &Value) -> Result<Value, String> {
        let id = match self.permitted.take() {
            Some(id) => id,
            None => {
                let decided = self.decide(call).await?;
                match (decided["decision"].as_str(), self.permitted.take()) {
                    (Some("allow"), Some(id)) => id,
                    _ => return Err(format!("a read was not allowed: {call}: {decided}")),
                }
            }
        };
        let tool = call["tool"].as_str().unwrap_or_default();
        let spec = self.manifest.get(tool).ok_or("no such tool")?;
        let report = v1::CallReport {
            handle: self.handle.clone(),
            caller_class: v1::Class::Main.into(),
            call_id: id,
            tool: tool.to_owned(),
            ..wire::report(spec, result)?
        };
        self.calls.report(report).await.map_err(text)?;
        Ok(json!({}))
    }
}

fn text(status: tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

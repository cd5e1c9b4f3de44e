//! The executor's edge. Each call is judged by policy at the moment of use, with the class of the edge that it came in on;
//! what policy refuses, what no tool is and what no arguments are becomes an answer that the model can read.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use clawdbot_identity::{Class, Handle, IdError, MessageId};
use clawdbot_proto::v1::calls_client::CallsClient;
use clawdbot_proto::v1::decide_reply::Outcome;
use clawdbot_proto::v1::executor_server::Executor as Serve;
use clawdbot_proto::v1::offers_client::OffersClient;
use clawdbot_proto::v1::snapshot::Slice;
use clawdbot_proto::v1::tools_client::ToolsClient;
use clawdbot_proto::v1::{self, ExecutorSlice, InvokeReply, Snapshot};
use clawdbot_service::{Edge, caller};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use crate::arguments::Arguments;
use crate::recent::{Call, Given, Recent};
use crate::report::Output;
use crate::tools::{self, Scene, Tool};

/// Bytes of output that are given back.
const OUTPUT_BYTES: usize = 64 << 10;

/// The executor. Clones share what it remembers.
#[derive(Clone)]
pub struct Executor {
    policy: ToolsClient<Edge>,
    offers: OffersClient<Edge>,
    calls: CallsClient<Edge>,
    config: watch::Receiver<Option<Arc<Snapshot>>>,
    recent: Arc<Recent>,
    started: Instant,
}

/// Remembered like an output, so that the call is not run a second time for it.
const UNREPORTED: &str = "the call has run, but what it gave cannot be shown: policy could not be told of it. Look whether \
                          it had its effect before you call again.";

/// Why a call has no output to remember.
enum NotRun {
    /// Policy said no, and may say yes another time.
    Refused(InvokeReply),
    /// Nobody decided.
    Failed(Status),
}

impl Executor {
    pub fn new(policy: Edge, config: watch::Receiver<Option<Arc<Snapshot>>>) -> Self {
        Self {
            offers: OffersClient::new(policy.clone()),
            calls: CallsClient::new(policy.clone()),
            policy: ToolsClient::new(policy),
            config,
            recent: Arc::default(),
            started: Instant::now(),
        }
    }

    /// Asks policy, and has the call run if it may. The question ends with whoever asked; what runs goes on to its end in a
    /// task of its own, so that somebody who hangs up and calls again finds it and does not make it run twice.
    async fn begin(
        &self,
        class: Class,
        request: &v1::InvokeRequest,
        tool: &'static Tool,
        arguments: &Arguments,
    ) -> Result<Given, NotRun> {
        let session = self.decide(class, request, tool, arguments).await?;
        let (give, given) = watch::channel(None);
        let (this, request, arguments) = (self.clone(), request.clone(), arguments.clone());
        tokio::spawn(async move {
            let reply = this.run(class, &request, &session, tool, &arguments).await;
            give.send_replace(Some(reply));
        });
        Ok(given)
    }

    async fn run(
        &self,
        class: Class,
        request: &v1::InvokeRequest,
        session: &v1::Session,
        tool: &Tool,
        arguments: &Arguments,
    ) -> InvokeReply {
        let slice = self.slice();
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let scene = Scene {
            session,
            facts: request.facts.as_ref().unwrap_or(&NO_FACTS),
            slice: slice.as_ref(),
            uptime: self.started.elapsed(),
            now_ms: u64::try_from(since.as_millis()).unwrap_or_default(),
        };
        let (ran, mut output) = match (tool.run)(arguments, &scene) {
            Ok(output) => (true, output),
            Err(output) => (false, output),
        };
        match self.report(class, request, &mut output, ran).await {
            Ok(()) if ran => InvokeReply {
                output: bounded(output.text),
                ..InvokeReply::default()
            },
            Ok(()) => mistake(output.text),
            Err(status) => {
                warn!(
                    tool = tool.name,
                    call = request.call_id,
                    %status,
                    "policy does not take a report: the output is held back"
                );
                mistake(UNREPORTED.to_owned())
            }
        }
    }

    /// Tells policy what a call gave; only then may the agent have it.
    async fn report(
        &self,
        class: Class,
        request: &v1::InvokeRequest,
        output: &mut Output,
        ran: bool,
    ) -> Result<(), Status> {
        let report = output.report(request, wire_class(class), ran);
        self.calls.clone().report(report).await.map(drop)
    }

    async fn decide(
        &self,
        class: Class,
        request: &v1::InvokeRequest,
        tool: &Tool,
        arguments: &Arguments,
    ) -> Result<v1::Session, NotRun> {
        let asked = v1::DecideRequest {
            handle: request.handle.clone(),
            caller_class: wire_class(class).into(),
            tool: tool.name.into(),
            arguments_json: arguments.canonical.clone(),
            call_id: request.call_id.clone(),
            facts: Some(tool.facts()),
        };
        let reply = self
            .policy
            .clone()
            .decide(asked)
            .await
            .map_err(NotRun::Failed)?;
        match reply.into_inner().outcome {
            Some(Outcome::Allowed(session)) => {
                info!(
                    tool = tool.name,
                    call = request.call_id,
                    trace = session.trace,
                    "a call may be made"
                );
                Ok(session)
            }
            Some(Outcome::Refusal(refusal)) => {
                info!(
                    rule = refusal.rule,
                    tool = tool.name,
                    call = request.call_id,
                    "policy refused a call"
                );
                Err(NotRun::Refused(InvokeReply {
                    output: refusal.message,
                    is_error: true,
                    refused_rule: refusal.rule,
                }))
            }
            None => Err(NotRun::Failed(Status::internal(
                "policy gave no answer that is known here",
            ))),
        }
    }

    fn slice(&self) -> Option<ExecutorSlice> {
        match self.config.borrow().as_ref()?.slice.as_ref()? {
            Slice::Executor(slice) => Some(slice.clone()),
            _ => None,
        }
    }
}

fn wire_class(class: Class) -> v1::Class {
    match class {
        Class::Main => v1::Class::Main,
        Class::Guest => v1::Class::Guest,
    }
}

static NO_FACTS: v1::SessionFacts = v1::SessionFacts {
    session_id: String::new(),
    model: String::new(),
    input_tokens: 0,
    output_tokens: 0,
    messages: 0,
    verbose: false,
};

#[tonic::async_trait]
impl Serve for Executor {
    /// Those that policy permits: a model sees no other.
    async fn list_tools(
        &self,
        request: Request<v1::ListToolsRequest>,
    ) -> Result<Response<v1::ListToolsReply>, Status> {
        let class = class_of(&request)?;
        let handle = request.into_inner().handle;
        Handle::parse(&handle).map_err(invalid)?;
        let asked = v1::OfferRequest {
            handle,
            caller_class: wire_class(class).into(),
            tools: tools::named(),
        };
        let offered = self.offers.clone().list(asked).await?.into_inner();
        Ok(Response::new(v1::ListToolsReply {
            tools: tools::specs(&offered.allowed),
        }))
    }

    async fn invoke(
        &self,
        request: Request<v1::InvokeRequest>,
    ) -> Result<Response<InvokeReply>, Status> {
        let class = class_of(&request)?;
        let caller = caller(&request)?;
        let request = request.into_inner();
        MessageId::parse(&request.call_id).map_err(invalid)?;
        Handle::parse(&request.handle).map_err(invalid)?;
        let Some(tool) = tools::find(&request.tool) else {
            return Ok(Response::new(mistake(format!(
                "there is no such tool; tools: {}",
                tools::names()
            ))));
        };
        let arguments = match Arguments::parse(&request.arguments_json) {
            Ok(arguments) => arguments,
            Err(why) => return Ok(Response::new(mistake(why))),
        };
        let call = Call {
            handle: request.handle.clone(),
            id: request.call_id.clone(),
            tool: tool.name,
            arguments: arguments.canonical.clone(),
        };
        let Some(slot) = self.recent.slot(caller, call) else {
            return Ok(Response::new(mistake(
                "too many calls are under way; call again when some of them have ended".to_owned(),
            )));
        };
        match slot
            .get_or_try_init(|| self.begin(class, &request, tool, &arguments))
            .await
        {
            Ok(given) => Ok(Response::new(outcome(given.clone()).await)),
            Err(NotRun::Refused(reply)) => Ok(Response::new(reply)),
            Err(NotRun::Failed(status)) => Err(status),
        }
    }
}

/// What a call gave, once it has.
async fn outcome(mut given: Given) -> InvokeReply {
    match given.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(reply)) => reply.clone(),
        // The task ended without a word.
        _ => mistake(UNREPORTED.to_owned()),
    }
}

/// The class of the agent on the edge.
fn class_of<T>(request: &Request<T>) -> Result<Class, Status> {
    let class = caller(request)?.class();
    class.ok_or_else(|| Status::permission_denied("only agents call tools"))
}

fn mistake(why: String) -> InvokeReply {
    InvokeReply {
        output: bounded(why),
        is_error: true,
        refused_rule: String::new(),
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > OUTPUT_BYTES {
        const MARK: &str = "\n[cut at 64 KiB]";
        text.truncate(text.floor_char_boundary(OUTPUT_BYTES - MARK.len()));
        text.push_str(MARK);
    }
    text
}

#[allow(clippy::needless_pass_by_value)]
fn invalid(error: IdError) -> Status {
    Status::invalid_argument(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use clawdbot_identity::Role;
    use clawdbot_proto::v1::calls_server::{Calls, CallsServer};
    use clawdbot_proto::v1::executor_client::ExecutorClient;
    use clawdbot_proto::v1::executor_server::ExecutorServer;
    use clawdbot_proto::v1::offers_server::{Offers, OffersServer};
    use clawdbot_proto::v1::tools_server::{Tools, ToolsServer};
    use clawdbot_service::{Router, testing};
    use tonic::Code;

    use super::*;

    /// Refuses while told to, and keeps what it was asked.
    #[derive(Clone, Default)]
    struct FakePolicy(Arc<Mutex<(bool, Vec<v1::DecideRequest>)>>);

    #[tonic::async_trait]
    impl Tools for FakePolicy {
        async fn decide(
            &self,
            request: Request<v1::DecideRequest>,
        ) -> Result<Response<v1::DecideReply>, Status> {
            let mut state = self.0.lock().unwrap();
            let request = request.into_inner();
            let outcome = match state.0 {
                true => Outcome::Refusal(v1::Refusal {
                    rule: "tool.denied".into(),
                    message: "not this one".into(),
                    ..Default::default()
                }),
                false => Outcome::Allowed(v1::Session {
                    session_key: "agent:main:main".into(),
                    class: request.caller_class,
                    ..Default::default()
                }),
            };
            state.1.push(request);
            Ok(Response::new(v1::DecideReply {
                outcome: Some(outcome),
            }))
        }
    }

    #[tonic::async_trait]
    impl Offers for FakePolicy {
        async fn list(
            &self,
            request: Request<v1::OfferRequest>,
        ) -> Result<Response<v1::OfferReply>, Status> {
            let request = request.into_inner();
            let owner = request.caller_class() == v1::Class::Main && !self.0.lock().unwrap().0;
            let tools = request.tools.into_iter().filter(|_| owner);
            let allowed = tools.map(|tool| tool.name).collect();
            Ok(Response::new(v1::OfferReply { allowed }))
        }
    }

    /// Reports, and whether they are taken.
    #[derive(Clone, Default)]
    struct FakeCalls(
        Arc<Mutex<(bool, Vec<v1::CallReport>)>>,
        /// Reports that came, and whether they are held.
        watch::Sender<(usize, bool)>,
    );

    #[tonic::async_trait]
    impl Calls for FakeCalls {
        async fn report(
            &self,
            request: Request<v1::CallReport>,
        ) -> Result<Response<v1::Done>, Status> {
            self.0.lock().unwrap().1.push(request.into_inner());
            self.1.send_modify(|(came, _)| *came += 1);
            let mut held = self.1.subscribe();
            held.wait_for(|(_, held)| !held).await.unwrap();
            let refuses = self.0.lock().unwrap().0;
            match refuses {
                true => Err(Status::permission_denied("taint.unavailable: no")),
                false => Ok(Response::new(v1::Done {})),
            }
        }
    }

    struct Rig {
        calls: FakeCalls,
        policy: FakePolicy,
        router: Router,
    }

    impl Rig {
        fn new() -> Self {
            let (policy, calls) = (FakePolicy::default(), FakeCalls::default());
            let router = Router::new()
                .add(ToolsServer::new(policy.clone()))
                .add(CallsServer::new(calls.clone()))
                .add(OffersServer::new(policy.clone()));
            let edge = testing::connect(&Role::executor(), &Role::policy(), router).unwrap();
            let slice = ExecutorSlice {
                sandbox_mode: "non-main".into(),
                sandbox_scope: "session".into(),
            };
            let snapshot = Snapshot {
                revision: 1,
                slice: Some(Slice::Executor(slice)),
                ..Snapshot::default()
            };
            let (_, config) = watch::channel(Some(Arc::new(snapshot)));
            let router = Router::new().add(ExecutorServer::new(Executor::new(edge, config)));
            Self {
                calls,
                policy,
                router,
            }
        }

        fn client(&self, class: Class) -> ExecutorClient<Edge> {
            let edge =
                testing::connect(&Role::agent(class), &Role::executor(), self.router.clone());
            ExecutorClient::new(edge.unwrap())
        }

        fn refuse(&self, refuse: bool) {
            self.policy.0.lock().unwrap().0 = refuse;
        }

        fn decisions(&self) -> Vec<v1::DecideRequest> {
            self.policy.0.lock().unwrap().1.clone()
        }
    }

    fn call(id: &str, tool: &str, arguments: &str) -> v1::InvokeRequest {
        v1::InvokeRequest {
            call_id: id.into(),
            handle: "h".into(),
            tool: tool.into(),
            arguments_json: arguments.into(),
            facts: None,
        }
    }

    async fn invoke(client: &ExecutorClient<Edge>, request: v1::InvokeRequest) -> InvokeReply {
        client.clone().invoke(request).await.unwrap().into_inner()
    }

    #[tokio::test]
    async fn a_call_runs_after_policy_allowed_it_for_the_class_of_the_edge() {
        for (agent, class) in [
            (Class::Main, v1::Class::Main),
            (Class::Guest, v1::Class::Guest),
        ] {
            let rig = Rig::new();
            let reply = invoke(&rig.client(agent), call("t1:1", "session_status", " { } ")).await;
            assert!(
                !reply.is_error && reply.output.contains("agent:main:main"),
                "{reply:?}"
            );
            assert!(
                reply.output.contains(&format!("class {agent}"))
                    && reply.output.contains("non-main")
            );
            let asked = rig.decisions();
            assert_eq!((asked.len(), asked[0].caller_class()), (1, class));
            assert_eq!(
                (asked[0].tool.as_str(), asked[0].arguments_json.as_str()),
                ("session_status", "{}")
            );
            assert_eq!(
                (asked[0].handle.as_str(), asked[0].call_id.as_str()),
                ("h", "t1:1")
            );
        }
    }

    #[tokio::test]
    async fn the_same_call_again_gives_the_same_output_without_running_twice() {
        let rig = Rig::new();
        let client = rig.client(Class::Main);
        let request = call("t1:1", "session_status", "{}");
        let (first, second) = tokio::join!(
            invoke(&client, request.clone()),
            invoke(&client, request.clone())
        );
        assert_eq!(first, second);
        rig.refuse(true);
        assert_eq!(invoke(&client, request.clone()).await, first);
        assert_eq!(rig.decisions().len(), 1);
        let guest = invoke(&rig.client(Class::Guest), request).await;
        assert_eq!(
            guest.refused_rule, "tool.denied",
            "another caller gets nothing of it"
        );
    }

    #[tokio::test]
    async fn policy_is_told_what_a_call_gave_before_the_agent_gets_it() {
        let rig = Rig::new();
        let client = rig.client(Class::Guest);
        let reply = invoke(&client, call("t1:1", "session_status", "{}")).await;
        assert!(!reply.is_error);
        invoke(&client, call("t1:2", "session_status", r#"{"x":1}"#)).await;
        let reports = rig.calls.0.lock().unwrap().1.clone();
        let told: Vec<_> = reports
            .iter()
            .map(|report| (report.call_id.as_str(), report.ran, report.text))
            .collect();
        assert_eq!(told, [("t1:1", true, false), ("t1:2", false, false)]);
        assert_eq!(reports[0].caller_class(), v1::Class::Guest);
        assert_eq!(reports[0].label(), v1::Label::Typed);
        // Nothing comes out unreported, and the call does not run again for it.
        rig.calls.0.lock().unwrap().0 = true;
        for _ in 0..2 {
            let reply = invoke(&client, call("t1:3", "session_status", "{}")).await;
            assert!(reply.is_error && reply.output == UNREPORTED, "{reply:?}");
        }
        assert_eq!(rig.calls.0.lock().unwrap().1.len(), 3);
    }

    #[tokio::test]
    async fn who_hangs_up_while_a_call_is_reported_and_calls_again_does_not_make_it_run_twice() {
        for taken in [true, false] {
            let rig = Rig::new();
            let client = rig.client(Class::Main);
            let request = call("t1:1", "session_status", "{}");
            rig.calls.0.lock().unwrap().0 = !taken;
            rig.calls.1.send_modify(|(_, held)| *held = true);
            let mut news = rig.calls.1.subscribe();
            let first = tokio::spawn({
                let (mut client, request) = (client.clone(), request.clone());
                async move { client.invoke(request).await }
            });
            news.wait_for(|(came, _)| *came == 1).await.unwrap();
            first.abort();
            assert!(first.await.unwrap_err().is_cancelled());
            let second = tokio::spawn({
                let (client, request) = (client.clone(), request.clone());
                async move { invoke(&client, request).await }
            });
            // Something else on the same edge goes through meanwhile: the second call has come then, too.
            client
                .clone()
                .list_tools(v1::ListToolsRequest { handle: "h".into() })
                .await
                .unwrap();
            rig.calls.1.send_modify(|(_, held)| *held = false);
            let reply = second.await.unwrap();
            assert_eq!(reply.is_error, !taken, "{reply:?}");
            assert_eq!(reply.output == UNREPORTED, !taken, "{reply:?}");
            assert_eq!(invoke(&client, request).await, reply);
            assert_eq!(rig.decisions().len(), 1);
            assert_eq!(rig.calls.0.lock().unwrap().1.len(), 1, "it ran once");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_with_its_rule_and_asked_anew_each_time() {
        let rig = Rig::new();
        let client = rig.client(Class::Main);
        rig.refuse(true);
        let reply = invoke(&client, call("t1:1", "session_status", "{}")).await;
        assert!(reply.is_error);
        assert_eq!(
            (reply.refused_rule.as_str(), reply.output.as_str()),
            ("tool.denied", "not this one")
        );
        rig.refuse(false);
        let reply = invoke(&client, call("t1:1", "session_status", "{}")).await;
        assert!(!reply.is_error);
        assert_eq!(rig.decisions().len(), 2);
    }

    #[tokio::test]
    async fn what_is_no_call_is_explained_and_policy_is_not_asked() {
        let rig = Rig::new();
        let client = rig.client(Class::Main);
        for (tool, arguments, word) in [
            ("no_such_tool", "{}", "session_status"),
            ("", "{}", "no such tool"),
            ("../x y", "{}", "no such tool"),
            ("session_status", "{", "valid JSON"),
            ("session_status", "[]", "one JSON object"),
        ] {
            let reply = invoke(&client, call("t1:1", tool, arguments)).await;
            assert!(
                reply.is_error && reply.output.contains(word),
                "{tool} {arguments}: {reply:?}"
            );
        }
        for (id, handle) in [("", "h"), ("a b", "h"), ("t1:1", ""), ("t1:1", "a/b")] {
            let request = v1::InvokeRequest {
                handle: handle.into(),
                ..call(id, "session_status", "{}")
            };
            let status = client.clone().invoke(request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
        }
        assert!(rig.decisions().is_empty());
    }

    #[tokio::test]
    async fn the_list_names_what_policy_permits_the_class_of_the_edge() {
        let rig = Rig::new();
        let list = async |class| {
            let request = v1::ListToolsRequest { handle: "h".into() };
            let reply = rig.client(class).list_tools(request).await.unwrap();
            reply.into_inner().tools
        };
        let all: Vec<_> = tools::named().into_iter().map(|tool| tool.name).collect();
        assert_eq!(list(Class::Main).await, tools::specs(&all));
        assert!(list(Class::Guest).await.is_empty());
        rig.refuse(true);
        assert!(list(Class::Main).await.is_empty());
    }

    #[test]
    fn output_is_bounded_and_says_so() {
        let long = bounded("ü".repeat(OUTPUT_BYTES));
        assert!(long.len() <= OUTPUT_BYTES && long.ends_with("[cut at 64 KiB]"));
        assert_eq!(bounded("short".into()), "short");
    }
}

//! A gateway on a real socket that answers by rule: what it is told decides what it does.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use clawdbot_proto::v1::chat_event::Event;
use clawdbot_proto::v1::chat_server::{Chat, ChatServer};
use clawdbot_proto::v1::{
    Accepted, Answer, ChatEvent, Failed, GatewayStatus, GatewayStatusRequest, HistoryReply,
    HistoryRequest, ListSessionsReply, ListSessionsRequest, SendRequest, SessionSummary, StopReply,
    StopRequest, TextDelta, ToolStarted, Usage,
};
use clawdbot_service::Router;
use tokio::sync::{Notify, mpsc};
use tonic::{Request, Response, Status};

use crate::listen::listen;

type Stream = Pin<Box<dyn futures_util::Stream<Item = Result<ChatEvent, Status>> + Send>>;

#[derive(Clone, Default)]
struct Gateway {
    sent: Arc<AtomicU32>,
    stop: Arc<Notify>,
}

#[tonic::async_trait]
impl Chat for Gateway {
    type SendStream = Stream;

    async fn send(&self, request: Request<SendRequest>) -> Result<Response<Stream>, Status> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let SendRequest {
            message_id,
            session,
            text,
        } = request.into_inner();
        let (sender, receiver) = mpsc::unbounded_channel();
        let say = move |event| sender.send(Ok(ChatEvent { event: Some(event) })).unwrap();
        say(Event::Accepted(Accepted {
            message_id,
            known: false,
            ahead: 0,
        }));
        let failed = |code: &str| {
            Event::Failed(Failed {
                code: code.into(),
                message: "it went wrong".into(),
            })
        };
        match text.as_str() {
            "refuse" => return Err(Status::invalid_argument("not this")),
            "fail" => say(failed("turn.timeout")),
            "wait" => {
                let stop = Arc::clone(&self.stop);
                tokio::spawn(async move {
                    say(Event::Delta(TextDelta {
                        text: "waiting".into(),
                    }));
                    stop.notified().await;
                    say(failed("turn.stopped"));
                });
            }
            text => {
                let call = ToolStarted {
                    call_id: "c".into(),
                    tool: "look".into(),
                    summary: "around".into(),
                };
                say(Event::ToolStarted(call));
                let answer = format!("{session} heard {text}");
                let (first, second) = answer.split_at(4);
                say(Event::Delta(TextDelta { text: first.into() }));
                say(Event::Delta(TextDelta {
                    text: second.into(),
                }));
                let usage = Some(Usage {
                    input_tokens: 1,
                    output_tokens: 2,
                    ..Usage::default()
                });
                say(Event::Answer(Answer {
                    text: answer,
                    model: "fake/echo".into(),
                    usage,
                    ..Answer::default()
                }));
            }
        }
        let stream = futures_util::stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|event| (event, receiver))
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn stop(&self, _: Request<StopRequest>) -> Result<Response<StopReply>, Status> {
        self.stop.notify_one();
        Ok(Response::new(StopReply { stopped: 1 }))
    }

    async fn history(&self, _: Request<HistoryRequest>) -> Result<Response<HistoryReply>, Status> {
        Ok(Response::new(HistoryReply::default()))
    }

    async fn list_sessions(
        &self,
        _: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsReply>, Status> {
        let session = SessionSummary {
            session_key: "agent:main:main".into(),
            ..SessionSummary::default()
        };
        Ok(Response::new(ListSessionsReply {
            sessions: vec![session],
        }))
    }

    async fn status(
        &self,
        _: Request<GatewayStatusRequest>,
    ) -> Result<Response<GatewayStatus>, Status> {
        let urls = vec!["http://127.0.0.1:18789".into()];
        Ok(Response::new(GatewayStatus {
            urls,
            ..GatewayStatus::default()
        }))
    }
}

/// Answers on `socket`, which listens when this returns, until the test ends. The number of messages that came in.
pub fn start(socket: &Path) -> Arc<AtomicU32> {
    let gateway = Gateway::default();
    let sent = Arc::clone(&gateway.sent);
    listen(
        socket,
        "gateway",
        Router::new().add(ChatServer::new(gateway)),
    );
    sent
}

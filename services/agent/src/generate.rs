//! A request to a model worker whose conversation is written down already: what was said long ago is not encoded anew for
//! each question. On the wire it is a `GenerateRequest`, whose fields may come in any number of pieces.

use clawdbot_proto::v1::{GenerateEvent, GenerateRequest, ModelMessage};
use clawdbot_service::Edge;
use prost::Message;
use prost::bytes::{BufMut, Bytes};
use prost::encoding::{WireType, encode_key, encode_varint};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Response, Status, Streaming};

const METHOD: &str = "/clawdbot.v1.Model/Generate";
/// Number of the field `messages`.
const MESSAGES: u32 = 5;

/// One message of a conversation, as it stands in a request.
pub fn write(message: &ModelMessage) -> Bytes {
    let length = message.encoded_len();
    let mut written = Vec::with_capacity(length + 11);
    encode_key(MESSAGES, WireType::LengthDelimited, &mut written);
    encode_varint(length as u64, &mut written);
    message.encode_raw(&mut written);
    written.into()
}

/// The message again.
pub fn read(written: &Bytes) -> ModelMessage {
    let request = GenerateRequest::decode(written.clone()).unwrap_or_default();
    request.messages.into_iter().next().unwrap_or_default()
}

/// A request without its messages, and these as [`write`] wrote them.
pub struct Written {
    pub head: GenerateRequest,
    pub messages: Vec<Bytes>,
}

/// Asks a model worker.
pub async fn generate(
    worker: Edge,
    request: Written,
) -> Result<Response<Streaming<GenerateEvent>>, Status> {
    let mut worker = Grpc::new(worker);
    worker.ready().await?;
    let path = PathAndQuery::from_static(METHOD);
    worker
        .server_streaming(Request::new(request), path, Wire)
        .await
}

#[derive(Default)]
struct Wire;

impl Codec for Wire {
    type Encode = Written;
    type Decode = GenerateEvent;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Wire {
    type Item = Written;
    type Error = Status;

    fn encode(&mut self, request: Written, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        put(&request, buffer);
        Ok(())
    }
}

fn put(request: &Written, buffer: &mut impl BufMut) {
    request.head.encode_raw(buffer);
    request
        .messages
        .iter()
        .for_each(|one| buffer.put_slice(one));
}

impl Decoder for Wire {
    type Item = GenerateEvent;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<GenerateEvent>, Status> {
        let event = GenerateEvent::decode(buffer);
        event
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use clawdbot_proto::v1::{self, model_message::Message as Said};

    use super::*;

    fn said(text: &str) -> ModelMessage {
        ModelMessage {
            message: Some(Said::User(v1::UserMessage { text: text.into() })),
        }
    }

    #[test]
    fn a_worker_reads_what_it_would_of_a_request_that_was_encoded_at_once() {
        let long = "x".repeat(70_000);
        let whole = GenerateRequest {
            request_id: "r".into(),
            messages: vec![said("one"), said(""), said(&long)],
            context_tokens: 7,
            ..GenerateRequest::default()
        };
        let request = Written {
            messages: whole.messages.iter().map(write).collect(),
            head: GenerateRequest {
                messages: Vec::new(),
                ..whole.clone()
            },
        };
        let mut sent = Vec::new();
        put(&request, &mut sent);
        assert_eq!(GenerateRequest::decode(&*sent).unwrap(), whole);
        let again: Vec<_> = request.messages.iter().map(read).collect();
        assert_eq!(again, whole.messages);
    }

    #[test]
    fn the_method_is_one_that_agents_may_call() {
        let row = clawdbot_proto::edges::method("agent-main", "model-x", METHOD);
        assert!(row.is_some_and(|row| row.streams));
    }
}

//! What the fuzz targets look at: the cutting of streams into records, whole answers in each protocol, error bodies, and the
//! request that says an answer again. Plain functions of bytes; nothing here is used by the worker.

use clawdbot_proto::v1::GenerateRequest;
use clawdbot_proto::v1::generate_event::Event;
use clawdbot_secrets::Secret;

use crate::fault::{self, Fault, Place};
use crate::wire::records::{Ndjson, Sse};
use crate::wire::tally::Events;
use crate::wire::{self, APIS, Api, Decoder, Server, Target};

/// Event name and data of one record.
pub type Record = (Vec<u8>, Vec<u8>);

/// Each record of a stream that comes in pieces, and whether all was read.
pub fn sse(pieces: &[&[u8]]) -> (Vec<Record>, bool) {
    let (mut parser, mut records) = (Sse::default(), Vec::new());
    let whole = pieces.iter().all(|piece| {
        let read = parser.feed(piece, |event, data| {
            records.push((event.to_vec(), data.to_vec()));
            Ok(())
        });
        read.is_ok()
    });
    (records, whole)
}

/// The lines of a stream that comes in pieces, and whether all was read.
pub fn ndjson(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, bool) {
    let (mut parser, mut lines) = (Ndjson::default(), Vec::new());
    let mut keep = |line: &[u8]| {
        lines.push(line.to_vec());
        Ok(())
    };
    let read = pieces
        .iter()
        .all(|piece| parser.feed(piece, &mut keep).is_ok());
    let whole = read && parser.end(&mut keep).is_ok();
    (lines, whole)
}

/// How many protocols there are; they are numbered from 0.
pub const PROTOCOLS: usize = APIS.len();

/// What an answer in pieces says, and what a person is told if it is none.
pub fn answer(
    protocol: usize,
    pieces: &[&[u8]],
    secrets: &[&Secret],
) -> (Vec<Event>, Result<(), String>) {
    let api = APIS[protocol % PROTOCOLS].0;
    let mut decoder = Decoder::new(api, target(api).origin("m"), "r1");
    let mut events = Events::new();
    let read = pieces
        .iter()
        .try_for_each(|piece| decoder.feed(piece, &mut events))
        .and_then(|()| decoder.end(&mut events));
    (events.into(), read.map_err(|fault| said(&fault, secrets)))
}

/// What a person is told of an answer with an error status.
pub fn refusal(status: u16, body: &[u8], secrets: &[&Secret]) -> String {
    said(
        &fault::of_answer(status, |_| None, body, std::time::Duration::ZERO),
        secrets,
    )
}

/// The body of a request to a protocol's server.
///
/// # Errors
/// What a person is told.
pub fn request(protocol: usize, request: &GenerateRequest) -> Result<Vec<u8>, String> {
    let api = APIS[protocol % PROTOCOLS].0;
    wire::encode(&target(api), request).map_err(|fault| said(&fault, &[]))
}

fn target(api: Api) -> Target<'static> {
    Target {
        api,
        provider: "p",
        version: "2023-06-01",
        server: Server::Other,
        facts: None,
    }
}

fn said(fault: &Fault, secrets: &[&Secret]) -> String {
    let place = Place {
        provider: "p",
        model: "m",
        profile: None,
        address: "p.example:443",
        ollama: false,
    };
    fault::say(fault, &place, secrets).message
}

//! The messages of all edges, as gRPC servers and clients decode them: every one of the .proto files, by its number.

use clawdbot_proto::v1;

use crate::frames::again;

type Row = (&'static str, fn(&[u8]) -> bool);

const MESSAGES: &[Row] = include!(concat!(env!("OUT_DIR"), "/messages.rs"));

/// The first two bytes choose the message; the second one of its neighbours, so that a field can become another.
pub fn messages(bytes: &[u8]) -> bool {
    let Some((&[high, low], bytes)) = bytes.split_first_chunk::<2>() else {
        return false;
    };
    let number = usize::from(u16::from_be_bytes([high, low])) % MESSAGES.len();
    let (_name, again) = MESSAGES[number];
    again(bytes)
}

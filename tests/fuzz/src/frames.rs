//! Frames on edges that hand over descriptors, and the messages in them. The reader finds what stands there and nothing
//! else, refuses what the framing does not have, and what was read can be written again.

use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use clawdbot_confine::frame::{
    self, FrameReader, FrameWriter, MAX_DESCRIPTORS, MAX_PAYLOAD, Progress, Violation,
};
use clawdbot_proto::v1::{
    DialerReply, DialerRequest, KeyringReply, KeyringRequest, SandboxReply, SandboxRequest,
};
use prost::Message;

use crate::pieces::{digest, place};

#[path = "../../../services/sandbox/src/request.rs"]
#[allow(dead_code)]
mod request;

/// More than a socket takes at once without a reader.
const MOST: usize = 64 << 10;

/// The bytes of a connection.
pub fn frames(bytes: &[u8]) -> bool {
    let bytes = &bytes[..bytes.len().min(MOST)];
    let (payloads, end) = expected(bytes);
    let (mut peer, ours) = UnixStream::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("a non-blocking socket");
    let mut reader = FrameReader::new();
    let mut found = Vec::new();
    let mut ended = None;
    let (first, second) = bytes.split_at(place(digest(bytes), bytes.len()));
    for (part, last) in [(first, false), (second, true)] {
        peer.write_all(part).expect("room in the socket");
        if last {
            peer.shutdown(Shutdown::Write).expect("an end");
        }
        while ended.is_none() {
            match reader.read_from(&ours) {
                Ok(Progress::Frame(frame)) => {
                    assert!(frame.fds.is_empty());
                    found.push(frame.payload);
                }
                Ok(Progress::Closed) => ended = Some(None),
                Err(error) => match Violation::of(&error) {
                    Some(violation) => ended = Some(Some(violation)),
                    None if error.kind() == std::io::ErrorKind::WouldBlock && !last => break,
                    None => panic!("{error}"),
                },
            }
        }
    }
    assert_eq!((&found, ended), (&payloads, Some(end)));
    if end.is_some() {
        let after = reader
            .read_from(&ours)
            .expect_err("nothing is read after a violation");
        assert_eq!(Violation::of(&after), Some(Violation::Broken));
    }
    written(&payloads);
    payloads
        .iter()
        .filter(|payload| understood(payload))
        .count()
        > 0
}

fn expected(mut rest: &[u8]) -> (Vec<Vec<u8>>, Option<Violation>) {
    let mut payloads = Vec::new();
    loop {
        let Some((&[a, b, c, d, count], after)) = rest.split_first_chunk::<5>() else {
            let cut = (!rest.is_empty()).then_some(Violation::Cut);
            return (payloads, cut);
        };
        let (length, count) = (
            u32::from_le_bytes([a, b, c, d]) as usize,
            usize::from(count),
        );
        if length > MAX_PAYLOAD {
            return (payloads, Some(Violation::TooLong { length }));
        }
        if count > MAX_DESCRIPTORS {
            return (payloads, Some(Violation::TooManyDescriptors { count }));
        }
        if count > 0 {
            let violation = Violation::DescriptorCount {
                announced: count,
                received: 0,
            };
            return (payloads, Some(violation));
        }
        let Some((payload, after)) = after.split_at_checked(length) else {
            return (payloads, Some(Violation::Cut));
        };
        payloads.push(payload.to_vec());
        rest = after;
    }
}

/// By both writers.
fn written(payloads: &[Vec<u8>]) {
    let (peer, ours) = UnixStream::pair().expect("a pair of sockets");
    peer.set_nonblocking(true).expect("a non-blocking socket");
    let mut reader = FrameReader::new();
    let mut writer = FrameWriter::new();
    for (number, payload) in payloads.iter().take(32).enumerate() {
        match number % 2 {
            0 => frame::send(&peer, payload, &[]).expect("room in the socket"),
            _ => {
                writer
                    .push(payload, Vec::new())
                    .expect("a frame that was read");
                writer.flush(&peer).expect("room in the socket");
            }
        }
        match reader.read_from(&ours) {
            Ok(Progress::Frame(frame)) => assert_eq!(frame.payload, *payload),
            other => panic!("{other:?}"),
        }
    }
}

/// Whether any of the messages of these edges is in it. A request for a sandbox is carried out wholly or refused.
fn understood(payload: &[u8]) -> bool {
    if let Ok(request) = SandboxRequest::decode(payload)
        && let Ok(launch) = request::Launch::parse(&request)
    {
        assert_eq!(launch.argv.first(), Some(&launch.program));
        assert!(launch.program.as_bytes().starts_with(b"/"));
        assert!(launch.argv.len() == request.argv.len() && launch.env.len() == request.env.len());
        let folder = std::path::Path::new("/workspace").join(&launch.cwd);
        let climbs = folder
            .components()
            .any(|part| part == std::path::Component::ParentDir);
        assert!(folder.starts_with("/workspace") && !climbs);
    }
    again::<SandboxRequest>(payload)
        | again::<SandboxReply>(payload)
        | again::<DialerRequest>(payload)
        | again::<DialerReply>(payload)
        | again::<KeyringRequest>(payload)
        | again::<KeyringReply>(payload)
}

/// What was read of a message can be written, and is read as the same again.
pub fn again<M: Message + Default>(bytes: &[u8]) -> bool {
    let Ok(message) = M::decode(bytes) else {
        return false;
    };
    let once = message.encode_to_vec();
    assert_eq!(once.len(), message.encoded_len());
    let twice = M::decode(&*once)
        .expect("what was written is read")
        .encode_to_vec();
    assert!(once == twice, "a message reads differently the second time");
    // Unknown fields are dropped, and numbers have one length, so that nothing grows but a default's spelling.
    assert!(
        once.len() <= bytes.len() * 2 + 16,
        "{} of {}",
        once.len(),
        bytes.len()
    );
    true
}

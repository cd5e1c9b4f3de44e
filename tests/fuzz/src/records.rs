//! Streams are cut into the same records whichever way their bytes come in, and into those that a reader finds who has
//! all of them at once and follows the standard word by word.

use clawdbot_model::fuzzing::{self, Record};

use crate::pieces::cuts;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Server-sent events, and lines of JSON.
pub fn records(bytes: &[u8]) -> bool {
    sse(bytes) | ndjson(bytes)
}

fn sse(bytes: &[u8]) -> bool {
    let wanted = (events(bytes), true);
    assert_eq!(fuzzing::sse(&[bytes]), wanted);
    cuts(bytes, |pieces| assert_eq!(fuzzing::sse(pieces), wanted));
    !wanted.0.is_empty()
}

/// WHATWG HTML 9.2.6 for a stream that has ended.
fn events(bytes: &[u8]) -> Vec<Record> {
    let mut rest = bytes.strip_prefix(BOM).unwrap_or(bytes);
    let (mut all, mut event, mut data) = (Vec::new(), Vec::new(), None::<Vec<u8>>);
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        let line = &rest[..end];
        let pair = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + 1 + usize::from(pair)..];
        if line.is_empty() {
            let event = std::mem::take(&mut event);
            all.extend(data.take().map(|data| (event, data)));
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match (name, &mut data) {
            (b"event", _) => event = value.to_vec(),
            (b"data", None) => data = Some(value.to_vec()),
            (b"data", Some(data)) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            _ => {}
        }
    }
    all
}

fn ndjson(bytes: &[u8]) -> bool {
    let lines = bytes
        .strip_prefix(BOM)
        .unwrap_or(bytes)
        .split(|byte| *byte == b'\n');
    let lines = lines
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty());
    let wanted = (lines.map(<[u8]>::to_vec).collect::<Vec<_>>(), true);
    assert_eq!(fuzzing::ndjson(&[bytes]), wanted);
    cuts(bytes, |pieces| assert_eq!(fuzzing::ndjson(pieces), wanted));
    !wanted.0.is_empty()
}

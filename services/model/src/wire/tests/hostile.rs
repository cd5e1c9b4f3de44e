//! Bytes that no provider should send.

use clawdbot_proto::v1::generate_event::Event;

use super::*;
use crate::fault::Kind;

#[test]
fn what_would_fill_the_memory_is_refused_while_it_comes_in() {
    let part = |n: usize| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":0,\"function\":{{\"arguments\":\"{}\"}}}}]}}}}]}}\n\n",
            "x".repeat(n)
        )
    };
    let (_, end) = decode(
        Api::Chat,
        &[part(600_000).as_bytes(), part(600_000).as_bytes()],
    );
    assert_eq!(end.unwrap_err().kind, Kind::TooLarge);
    let many: String = (0..200)
        .map(|n| {
            format!(
                "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":{n}}}]}}}}]}}\n\n"
            )
        })
        .collect();
    assert_eq!(
        decode(Api::Chat, &[many.as_bytes()]).1.unwrap_err().kind,
        Kind::TooLarge
    );
    let deep = format!("data: {}\n\n", "[".repeat(1 << 20));
    for api in [Api::Anthropic, Api::Chat, Api::Responses] {
        assert_eq!(
            decode(api, &[deep.as_bytes()]).1.unwrap_err().kind,
            Kind::Malformed
        );
    }
}

/// A generator whose numbers are always the same (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % below as u64).unwrap()
    }
}

#[test]
fn no_change_of_bytes_breaks_a_reader_or_makes_it_say_more_than_one_end() {
    let mut numbers = Numbers(7);
    for (api, format) in FORMATS {
        let stream = format.records(&rich(), "m").concat().into_bytes();
        for _ in 0..1000 {
            let mut bytes = stream.clone();
            for _ in 0..=numbers.next(4) {
                let at = numbers.next(bytes.len());
                match numbers.next(4) {
                    0 => bytes[at] = u8::try_from(numbers.next(256)).unwrap(),
                    1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, b"\r\n:{}[]\",\0\xff"[numbers.next(11)]),
                    _ => {
                        let to = at + numbers.next(bytes.len() - at);
                        let part = bytes[at..to].to_vec();
                        bytes.splice(at..at, part);
                    }
                }
            }
            let cut = numbers.next(bytes.len());
            let (events, end) = decode(api, &[&bytes[..cut], &bytes[cut..]]);
            let stops = events
                .iter()
                .filter(|event| matches!(event, Event::Stop(_)));
            let (stops, last) = (stops.count(), events.back());
            assert!(stops <= 1 && (stops == 0 || matches!(last, Some(Event::Stop(_)))));
            assert_eq!(
                end.is_ok(),
                stops == 1,
                "{} {}",
                api.name(),
                String::from_utf8_lossy(&bytes)
            );
        }
    }
}

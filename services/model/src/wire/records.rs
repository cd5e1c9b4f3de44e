//! Cuts a stream of bytes into records: server-sent events (WHATWG HTML 9.2.6) and lines of JSON. Both take bytes in any
//! pieces and give the same records; a record is bounded, so that a line without end costs a few megabytes and an error.

use crate::fault::{Fault, Kind};

/// Largest record, bytes.
pub const RECORD: usize = 4 << 20;

const BOM: &[u8] = b"\xef\xbb\xbf";

fn too_large() -> Fault {
    Fault::new(
        Kind::TooLarge,
        format!("one record exceeds {} MiB", RECORD >> 20),
    )
}

/// Lines of any length up to the cap, whichever way the bytes come in.
#[derive(Default)]
struct Lines {
    /// The line that is not complete.
    rest: Vec<u8>,
    /// The last byte was a carriage return: a line feed right after it belongs to it.
    after_cr: bool,
    begun: bool,
}

impl Lines {
    /// Gives every line that `bytes` completes to `each`, without its end. A carriage return ends a line only if `cr`.
    fn feed(
        &mut self,
        mut bytes: &[u8],
        cr: bool,
        mut each: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        loop {
            if self.after_cr {
                match bytes.split_first() {
                    Some((b'\n', more)) => bytes = more,
                    Some(_) => {}
                    None => return Ok(()),
                }
                self.after_cr = false;
            }
            let end = bytes
                .iter()
                .position(|byte| *byte == b'\n' || cr && *byte == b'\r');
            let Some(end) = end else {
                if self.rest.len() + bytes.len() > RECORD {
                    return Err(too_large());
                }
                self.rest.extend_from_slice(bytes);
                return Ok(());
            };
            if self.rest.len() + end > RECORD {
                return Err(too_large());
            }
            self.after_cr = bytes[end] == b'\r';
            if self.rest.is_empty() {
                each(first(&mut self.begun, &bytes[..end]))?;
            } else {
                self.rest.extend_from_slice(&bytes[..end]);
                each(first(&mut self.begun, &self.rest))?;
                self.rest.clear();
            }
            bytes = &bytes[end + 1..];
        }
    }
}

/// The line without the byte order mark that the very first may begin with.
fn first<'a>(begun: &mut bool, line: &'a [u8]) -> &'a [u8] {
    match std::mem::replace(begun, true) {
        true => line,
        false => line.strip_prefix(BOM).unwrap_or(line),
    }
}

/// Server-sent events.
#[derive(Default)]
pub struct Sse {
    lines: Lines,
    record: SseRecord,
}

#[derive(Default)]
struct SseRecord {
    event: Vec<u8>,
    data: Vec<u8>,
    /// Whether there was any `data` field, even an empty one.
    has_data: bool,
}

impl Sse {
    /// Gives every record that `bytes` completes to `each`: its event name (may be empty) and its data. A record is complete
    /// with its blank line; what has none when the stream ends is not given.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let record = &mut self.record;
        self.lines
            .feed(bytes, true, |line| record.line(line, &mut each))
    }
}

impl SseRecord {
    fn line(
        &mut self,
        line: &[u8],
        each: &mut impl FnMut(&[u8], &[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if line.is_empty() {
            let dispatch = std::mem::take(&mut self.has_data);
            let result = match dispatch {
                true => each(&self.event, &self.data),
                false => Ok(()),
            };
            self.event.clear();
            self.data.clear();
            return result;
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.data.len() + value.len() >= RECORD {
                    return Err(too_large());
                }
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.event.clear();
                self.event.extend_from_slice(value);
            }
            // Comments (an empty field name), ids and reconnection times: nobody here needs them.
            _ => {}
        }
        Ok(())
    }
}

/// One JSON value a line; blank lines are passed over.
#[derive(Default)]
pub struct Ndjson {
    lines: Lines,
}

impl Ndjson {
    /// Gives every line that `bytes` completes to `each`.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.lines
            .feed(bytes, false, |line| match line.trim_ascii() {
                [] => Ok(()),
                line => each(line),
            })
    }

    /// Gives the last line if it lacks its end: the end of the stream is one, and half an object is none.
    pub fn end(&mut self, mut each: impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
        let rest = std::mem::take(&mut self.lines.rest);
        match first(&mut self.lines.begun, &rest).trim_ascii() {
            [] => Ok(()),
            line => each(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Records = Vec<(String, String)>;

    fn sse(pieces: &[&[u8]]) -> Result<Records, Fault> {
        let (mut parser, mut records) = (Sse::default(), Vec::new());
        for piece in pieces {
            parser.feed(piece, |event, data| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                records.push((text(event), text(data)));
                Ok(())
            })?;
        }
        Ok(records)
    }

    fn check(stream: &str, expected: &[(&str, &str)]) {
        let expected: Records = expected
            .iter()
            .map(|(event, data)| ((*event).into(), (*data).into()))
            .collect();
        let bytes = stream.as_bytes();
        assert_eq!(sse(&[bytes]).unwrap(), expected, "{stream:?}");
        for cut in 0..=bytes.len() {
            let (before, after) = bytes.split_at(cut);
            assert_eq!(
                sse(&[before, after]).unwrap(),
                expected,
                "{stream:?} cut at {cut}"
            );
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(sse(&single).unwrap(), expected, "{stream:?} byte by byte");
    }

    #[test]
    fn all_three_line_ends_mean_the_same_even_mixed() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = format!("event: a{end}data: 1{end}{end}data: 2{end}{end}");
            check(&stream, &[("a", "1"), ("", "2")]);
        }
        check(
            "data: 1\r\rdata: 2\n\r\ndata: 3\r\n\n",
            &[("", "1"), ("", "2"), ("", "3")],
        );
    }

    #[test]
    fn a_byte_order_mark_is_dropped_at_the_start_and_nowhere_else() {
        check(
            "\u{feff}data: 1\n\ndata: \u{feff}2\n\n\u{feff}data: 3\n\n",
            &[("", "1"), ("", "\u{feff}2")],
        );
    }

    #[test]
    fn comments_and_fields_that_nobody_needs_are_passed_over() {
        check(
            ": OPENROUTER PROCESSING\n\n:\n\nid: 7\nretry: 10\nother: x\ndata: 1\n: in between\ndata: 2\n\n",
            &[("", "1\n2")],
        );
    }

    #[test]
    fn several_data_lines_become_one_record_with_line_feeds() {
        check("data: {\ndata: }\ndata:\n\n", &[("", "{\n}\n")]);
        check("data:\n\ndata\n\nevent: only\n\n", &[("", ""), ("", "")]);
    }

    #[test]
    fn a_field_without_colon_has_an_empty_value_and_one_blank_after_the_colon_is_dropped() {
        check("event\ndata:a\ndata:  b\n\n", &[("", "a\n b")]);
    }

    #[test]
    fn pieces_may_cut_characters_and_line_ends() {
        check(
            "data: žluťoučký 日本 🦀\r\n\r\n",
            &[("", "žluťoučký 日本 🦀")],
        );
    }

    #[test]
    fn a_last_record_without_its_blank_line_is_not_given() {
        check("data: 1\n\ndata: 2\n", &[("", "1")]);
        check("data: 1\n\ndata: 2", &[("", "1")]);
    }

    #[test]
    fn a_record_is_bounded_on_one_line_and_on_many() {
        let large = vec![b'x'; RECORD - 10];
        let mut parser = Sse::default();
        let mut seen = 0;
        let mut feed = |bytes: &[u8]| {
            parser.feed(bytes, |_, data| {
                seen = data.len();
                Ok(())
            })
        };
        feed(b"data: ").unwrap();
        feed(&large).unwrap();
        feed(b"\n\n").unwrap();
        feed(b"data: ").unwrap();
        feed(&large).unwrap();
        assert_eq!(feed(&[b'x'; 20]).unwrap_err().kind, Kind::TooLarge);
        assert_eq!(seen, RECORD - 10);

        let mut parser = Sse::default();
        let line = [b"data: ".as_slice(), &[b'x'; 1000], b"\n"].concat();
        let mut fed = 0;
        let refused = loop {
            match parser.feed(&line, |_, _| Ok(())) {
                Ok(()) => fed += 1000,
                Err(fault) => break fault,
            }
        };
        assert!(refused.kind == Kind::TooLarge && fed <= RECORD, "{fed}");
    }

    fn ndjson(pieces: &[&[u8]]) -> Vec<String> {
        let (mut parser, mut lines) = (Ndjson::default(), Vec::new());
        let mut keep = |line: &[u8]| {
            lines.push(String::from_utf8(line.to_vec()).unwrap());
            Ok(())
        };
        for piece in pieces {
            parser.feed(piece, &mut keep).unwrap();
        }
        parser.end(&mut keep).unwrap();
        lines
    }

    #[test]
    fn lines_of_json_survive_every_cut_and_the_last_needs_no_end() {
        for stream in [
            "{\"a\":\"é\"}\n\n{\"b\":2}\r\n",
            "\u{feff}{\"a\":\"é\"}\n \n{\"b\":2}",
        ] {
            let bytes = stream.as_bytes();
            for cut in 0..=bytes.len() {
                let (before, after) = bytes.split_at(cut);
                assert_eq!(
                    ndjson(&[before, after]),
                    ["{\"a\":\"é\"}", "{\"b\":2}"],
                    "{cut}"
                );
            }
        }
    }

    #[test]
    fn a_line_of_json_without_end_is_bounded() {
        let mut parser = Ndjson::default();
        let megabyte = vec![b'x'; 1 << 20];
        let mut each = |_: &[u8]| Ok(());
        for _ in 0..4 {
            parser.feed(&megabyte, &mut each).unwrap();
        }
        assert_eq!(
            parser.feed(b"x", &mut each).unwrap_err().kind,
            Kind::TooLarge
        );
    }
}

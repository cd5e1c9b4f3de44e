//! HTTP/2 by the byte (RFC 9113), for what no HTTP library sends: frames in a wrong order, too many of them, never finished.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Far above what an answer takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same for a peer that may stop reading: what else is sent waits here, not there.
const STALLED: Duration = Duration::from_millis(500);

/// Types of frames.
pub mod kind {
    #![allow(missing_docs)] // their names say it
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// What the last question carries.
const MARK: [u8; 8] = *b"are-you?";

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Open,
    /// The peer ended it.
    Ended,
    /// The peer has stopped reading, or answers no more.
    Stalled,
}

/// A peer that is silent has not ended.
fn gone(error: &io::Error) -> State {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => State::Stalled,
        _ => State::Ended,
    }
}

/// Questions in a row after whose answers there was no more room.
const QUIET: u32 = 8;

/// Where a peer has given room for how much.
struct Room {
    initial: i64,
    connection: i64,
    /// What was given beyond `initial`, less what was sent; and what is still to be sent.
    streams: BTreeMap<u32, (i64, usize)>,
}

impl Default for Room {
    /// As every connection begins.
    fn default() -> Self {
        Self {
            initial: 65_535,
            connection: 65_535,
            streams: BTreeMap::new(),
        }
    }
}

impl Room {
    /// What may be sent now, in frames of at most so many bytes, one on each stream.
    fn take(&mut self, most: usize) -> Vec<(u32, usize)> {
        let mut parts = Vec::new();
        for (stream, (given, left)) in &mut self.streams {
            let room = self.connection.min(self.initial + *given);
            let part = usize::try_from(room).unwrap_or(0).min(*left).min(most);
            if part > 0 {
                let spent = i64::try_from(part).unwrap();
                self.connection -= spent;
                *given -= spent;
                *left -= part;
                parts.push((*stream, part));
            }
        }
        parts
    }
}

/// Four bytes as a number without its first bit.
fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap()) & 0x7fff_ffff
}

/// A connection.
pub struct Wire {
    stream: UnixStream,
    state: State,
}

/// A header block of literals without any compression.
pub fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.push(0);
        for text in [name, value] {
            let length = text.len();
            match length {
                0..127 => bytes.push(u8::try_from(length).unwrap()),
                _ => {
                    bytes.push(127);
                    let mut rest = length - 127;
                    while rest >= 128 {
                        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                        rest /= 128;
                    }
                    bytes.push(u8::try_from(rest).unwrap());
                }
            }
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// The head of a call.
pub fn call(path: &str) -> Vec<u8> {
    block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "edge"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

impl Wire {
    /// A connection that has said nothing yet.
    pub fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            state: State::Open,
        }
    }

    /// Sends the preface and the settings, as a client begins.
    pub fn begin(stream: UnixStream) -> Self {
        let mut wire = Self::new(stream);
        wire.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        wire.frame(kind::SETTINGS, 0, 0, &[]);
        wire
    }

    /// Waits only shortly for room from now on: a peer that reads nothing for that long has stopped, or has not had its turn
    /// on a busy machine.
    pub fn hurries(&mut self) {
        self.stream.set_write_timeout(Some(STALLED)).unwrap();
    }

    /// Sends bytes. Nothing more is sent once the peer has ended the connection or stopped reading.
    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        if self.state == State::Open
            && let Err(error) = self.stream.write_all(bytes)
        {
            self.state = match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => State::Stalled,
                _ => State::Ended,
            };
        }
        self.state == State::Open
    }

    /// Sends a frame.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        self.raw(&bytes)
    }

    /// Begins a call and leaves it open.
    pub fn open(&mut self, stream: u32, path: &str) -> bool {
        self.frame(kind::HEADERS, END_HEADERS, stream, &call(path))
    }

    /// A whole call without a message.
    pub fn ask(&mut self, stream: u32, path: &str) -> bool {
        self.frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &call(path))
    }

    /// Begins so many calls with a message of this length, and sends all of each but its last byte, as far as the peer gives
    /// room for it. Bytes sent, once nothing more goes.
    pub fn pour(&mut self, calls: u32, path: &str, length: u32) -> usize {
        let mut room = Room::default();
        self.frame(kind::PING, 0, 0, &MARK);
        self.hear(&mut room);
        let prefix = [&[0][..], &length.to_be_bytes()].concat();
        for number in 0..calls {
            let stream = 2 * number + 1;
            self.open(stream, path);
            self.frame(kind::DATA, 0, stream, &prefix);
            room.connection -= 5;
            room.streams.insert(stream, (-5, length as usize - 1));
        }
        let (mut sent, mut quiet) = (0, 0);
        let noise = vec![0; 16 << 10];
        while quiet < QUIET && self.state == State::Open {
            quiet += 1;
            for (stream, part) in room.take(noise.len()) {
                quiet = 0;
                sent += part;
                self.frame(kind::DATA, 0, stream, &noise[..part]);
            }
            self.frame(kind::PING, 0, 0, &MARK);
            self.hear(&mut room);
        }
        sent
    }

    /// Reads up to the answer of a ping, and notes what room was given.
    fn hear(&mut self, room: &mut Room) {
        while let Some((kind, flags, stream, payload)) = self.next() {
            match kind {
                kind::PING if flags & ACK != 0 => return,
                kind::SETTINGS if flags & ACK == 0 => {
                    for setting in payload.chunks(6).filter(|setting| setting[..2] == [0, 4]) {
                        room.initial = i64::from(number(&setting[2..]));
                    }
                }
                kind::WINDOW_UPDATE if stream == 0 => {
                    room.connection += i64::from(number(&payload))
                }
                kind::WINDOW_UPDATE => {
                    if let Some((given, _)) = room.streams.get_mut(&stream) {
                        *given += i64::from(number(&payload));
                    }
                }
                kind::RST_STREAM | kind::HEADERS => {
                    // Answered: it need not be finished.
                    room.streams.remove(&stream);
                }
                kind::GOAWAY => self.state = State::Ended,
                _ => {}
            }
        }
    }

    /// The next frame: kind, flags, stream, payload. Nothing once the peer has ended the connection, or is silent.
    fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        let mut payload = Vec::new();
        let read = self.stream.read_exact(&mut head).and_then(|()| {
            payload.resize(
                u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize,
                0,
            );
            self.stream.read_exact(&mut payload)
        });
        if let Err(error) = read {
            self.state = gone(&error);
            return None;
        }
        Some((head[3], head[4], number(&head[5..]), payload))
    }

    /// Asks whether anybody is there, and waits for the answer past everything else that comes.
    pub fn state(mut self) -> State {
        self.frame(kind::PING, 0, 0, &MARK);
        if self.state != State::Open {
            return self.state;
        }
        while let Some((kind, flags, _, payload)) = self.next() {
            match kind {
                kind::PING if flags & ACK != 0 && payload == MARK => return State::Open,
                // Code 0 says goodbye in good order; the end follows.
                kind::GOAWAY if payload[4..8] != [0; 4] => return State::Ended,
                _ => {}
            }
        }
        self.state
    }
}

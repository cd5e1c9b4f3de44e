//! When an HTTP connection has to be over: a stranger has seconds from accept to showing a credential, a head has
//! seconds from its first byte, an answer from the end of its head, and silence in between is bounded. Time is passed in.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits;

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No byte of a request has come.
    Idle,
    /// A request head is coming in.
    Head,
    /// A request is being worked on; its body may still be coming in.
    Handling,
    /// An answer is going out.
    Answering,
    /// An agent works on the answer.
    Working,
    /// A part of a stream is going out.
    Streaming,
    /// A stream goes on and there is nothing to send just now.
    Quiet,
}

/// The clockwork of one connection.
#[derive(Debug)]
pub struct Pulse {
    accepted: Instant,
    since: Instant,
    phase: Phase,
    authenticated: bool,
    received: usize,
}

impl Pulse {
    /// A connection that was accepted just now.
    pub fn new(now: Instant) -> Self {
        Self {
            accepted: now,
            since: now,
            phase: Phase::Idle,
            authenticated: false,
            received: 0,
        }
    }

    /// Bytes came in. False when a stranger sends more than strangers may.
    pub fn received(&mut self, bytes: usize, now: Instant) -> bool {
        self.received = self.received.saturating_add(bytes);
        if self.phase == Phase::Idle && bytes > 0 {
            self.enter(Phase::Head, now);
        }
        self.authenticated || self.received <= limits::STRANGER_BYTES
    }

    /// A whole head was read.
    pub fn request(&mut self, now: Instant) {
        self.enter(Phase::Handling, now);
    }

    /// The answer is known.
    pub fn answer(&mut self, now: Instant) {
        self.enter(Phase::Answering, now);
    }

    /// The answer takes as long as an agent takes.
    pub fn work(&mut self, now: Instant) {
        self.enter(Phase::Working, now);
    }

    /// The next part of a stream is known.
    pub fn stream(&mut self, now: Instant) {
        // What is still on its way does not win time.
        if self.phase != Phase::Streaming {
            self.enter(Phase::Streaming, now);
        }
    }

    /// The peer has taken some bytes.
    pub fn wrote(&mut self, now: Instant) {
        if self.phase == Phase::Streaming {
            self.since = now;
        }
    }

    /// All that there was to send was sent.
    pub fn flushed(&mut self, now: Instant) {
        match self.phase {
            Phase::Answering => self.enter(Phase::Idle, now),
            Phase::Streaming => self.enter(Phase::Quiet, now),
            _ => {}
        }
    }

    /// The peer has shown a right credential.
    pub fn authenticate(&mut self) {
        self.authenticated = true;
    }

    /// When the time for authentication ends.
    pub fn stranger_until(&self) -> Instant {
        self.accepted + limits::AUTHENTICATE
    }

    /// When the connection is over unless something happens.
    pub fn deadline(&self) -> Instant {
        let patience: Duration = match self.phase {
            Phase::Idle => limits::KEEP_ALIVE,
            Phase::Head => limits::HEAD,
            Phase::Handling | Phase::Answering => limits::REQUEST,
            Phase::Working | Phase::Quiet => limits::TURN,
            Phase::Streaming => limits::WRITE,
        };
        let own = self.since + patience;
        match self.authenticated {
            true => own,
            false => own.min(self.stranger_until()),
        }
    }

    /// Whether an answer has begun to go out, so that another one would be read as a part of it.
    pub fn is_answering(&self) -> bool {
        matches!(
            self.phase,
            Phase::Answering | Phase::Streaming | Phase::Quiet
        )
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_stranger_has_ten_seconds_whatever_it_does() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        assert_eq!(pulse.deadline(), start + limits::AUTHENTICATE);
        for second in 1..9 {
            let now = start + SECOND * second;
            assert!(pulse.received(10, now));
            pulse.request(now);
            pulse.answer(now);
            pulse.flushed(now);
            assert_eq!(pulse.deadline(), start + limits::AUTHENTICATE);
        }
        assert!(!pulse.received(limits::STRANGER_BYTES, start));
    }

    #[test]
    fn an_acquaintance_has_time_for_each_step() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        pulse.authenticate();
        assert_eq!(pulse.deadline(), start + limits::KEEP_ALIVE);
        // A head that trickles in does not win time with each byte.
        pulse.received(1, start + SECOND);
        pulse.received(1, start + 5 * SECOND);
        assert_eq!(pulse.deadline(), start + SECOND + limits::HEAD);
        pulse.request(start + 6 * SECOND);
        pulse.received(100, start + 7 * SECOND);
        assert_eq!(pulse.deadline(), start + 6 * SECOND + limits::REQUEST);
        pulse.answer(start + 8 * SECOND);
        assert!(pulse.is_answering());
        pulse.flushed(start + 9 * SECOND);
        assert_eq!(pulse.deadline(), start + 9 * SECOND + limits::KEEP_ALIVE);
        assert!(pulse.received(usize::MAX, start));
    }

    #[test]
    fn a_stream_may_be_silent_and_a_peer_that_takes_nothing_is_dropped() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        pulse.authenticate();
        pulse.request(start);
        pulse.work(start);
        assert_eq!(pulse.deadline(), start + limits::TURN);
        assert!(!pulse.is_answering());
        pulse.stream(start + SECOND);
        assert!(pulse.is_answering());
        pulse.flushed(start + SECOND);
        assert_eq!(pulse.deadline(), start + SECOND + limits::TURN);
        // More to send wins no time, bytes that were taken do.
        pulse.stream(start + 2 * SECOND);
        pulse.stream(start + 3 * SECOND);
        assert_eq!(pulse.deadline(), start + 2 * SECOND + limits::WRITE);
        pulse.wrote(start + 4 * SECOND);
        assert_eq!(pulse.deadline(), start + 4 * SECOND + limits::WRITE);
        pulse.answer(start + 5 * SECOND);
        pulse.flushed(start + 6 * SECOND);
        assert_eq!(pulse.deadline(), start + 6 * SECOND + limits::KEEP_ALIVE);
    }
}

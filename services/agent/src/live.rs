//! A turn while it runs: one writer, any number of readers. A reader that comes late or falls behind gets what was said so
//! far in one piece; it never holds up the turn, and leaving does not end it. Messages that come in meanwhile wait here
//! until the turn takes them.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clawdbot_identity::SessionKey;
use clawdbot_proto::v1::run_event::Event;
use clawdbot_proto::v1::{Restarted, TextDelta};
use tokio::sync::{broadcast, watch};

/// Events that a reader may be behind before it gets everything in one piece instead.
const BACKLOG: usize = 64;

/// Messages that may go into one turn while it runs.
const STEERED: usize = 64;

/// A message that came in while the turn ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steered {
    pub id: String,
    pub text: String,
}

/// A running turn as others see it.
pub struct Live {
    key: SessionKey,
    state: Mutex<State>,
    news: broadcast::Sender<Event>,
    stop: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    text: String,
    last: Option<Event>,
    steered: Vec<Steered>,
    /// Ids of all that were taken.
    known: HashSet<String>,
}

impl Live {
    pub fn new(key: SessionKey) -> Arc<Self> {
        Arc::new(Self {
            key,
            state: Mutex::default(),
            news: broadcast::Sender::new(BACKLOG),
            stop: watch::Sender::new(false),
        })
    }

    /// The session that the turn belongs to.
    pub fn key(&self) -> &SessionKey {
        &self.key
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all readers.
    pub fn push(&self, event: Event) {
        let mut state = self.state();
        match &event {
            Event::Delta(delta) => state.text.push_str(&delta.text),
            Event::Restarted(_) => state.text.clear(),
            Event::Answer(_) | Event::Failed(_) => state.last = Some(event.clone()),
            Event::ToolStarted(_) | Event::ToolFinished(_) => {}
        }
        // Nobody has to listen.
        let _readers = self.news.send(event);
    }

    /// Leaves a message for the turn; the same id again changes nothing. Says whether the turn can still take it.
    pub fn steer(&self, message: Steered) -> bool {
        let mut state = self.state();
        if state.last.is_some() || *self.stop.borrow() {
            return false;
        }
        if state.known.contains(&message.id) {
            return true;
        }
        if state.known.len() == STEERED {
            return false;
        }
        state.known.insert(message.id.clone());
        state.steered.push(message);
        true
    }

    /// The messages that came in since the last call.
    pub fn take_steered(&self) -> Vec<Steered> {
        std::mem::take(&mut self.state().steered)
    }

    /// A reader of everything from now on. With `from_start` nothing was pushed yet; otherwise it is told that the answer
    /// begins again, and then what was said so far.
    pub fn read(self: &Arc<Self>, from_start: bool) -> Reader {
        let mut reader = Reader {
            live: Arc::clone(self),
            ready: VecDeque::new(),
            news: self.news.subscribe(),
            over: false,
        };
        if !from_start {
            reader.catch_up();
        }
        reader
    }

    /// Asks the turn to end.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits until somebody asks the turn to end.
    pub async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // The sender lives as long as `self`.
        let _asked = stop.wait_for(|stop| *stop).await;
    }
}

/// One reader of a turn.
pub struct Reader {
    live: Arc<Live>,
    ready: VecDeque<Event>,
    news: broadcast::Receiver<Event>,
    over: bool,
}

impl Reader {
    /// The next event; `None` after the last one.
    pub async fn next(&mut self) -> Option<Event> {
        while !self.over {
            if let Some(event) = self.ready.pop_front() {
                self.over = matches!(event, Event::Answer(_) | Event::Failed(_));
                return Some(event);
            }
            match self.news.recv().await {
                Ok(event) => self.ready.push_back(event),
                Err(broadcast::error::RecvError::Lagged(_)) => self.catch_up(),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
        None
    }

    fn catch_up(&mut self) {
        let state = self.live.state();
        // Under the lock, so that nothing is missed or seen twice.
        self.news = self.live.news.subscribe();
        if let Some(last) = &state.last {
            self.ready = VecDeque::from([last.clone()]);
            return;
        }
        self.ready = VecDeque::from([Event::Restarted(Restarted {})]);
        if !state.text.is_empty() {
            let text = state.text.clone();
            self.ready.push_back(Event::Delta(TextDelta { text }));
        }
    }
}

#[cfg(test)]
mod tests {
    use clawdbot_proto::v1::Answer;

    use super::*;

    fn live() -> Arc<Live> {
        Live::new(SessionKey::parse("agent:main:main").unwrap())
    }

    fn say(text: &str) -> Event {
        Event::Delta(TextDelta { text: text.into() })
    }

    fn answer(text: &str) -> Event {
        Event::Answer(Answer {
            text: text.into(),
            ..Answer::default()
        })
    }

    async fn all(mut reader: Reader) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = reader.next().await {
            events.push(event);
        }
        events
    }

    #[tokio::test]
    async fn a_reader_from_the_start_sees_every_event_once() {
        let live = live();
        let reader = live.read(true);
        let pushed = [
            say("a"),
            Event::Restarted(Restarted {}),
            say("b"),
            answer("b"),
        ];
        pushed.iter().for_each(|event| live.push(event.clone()));
        assert_eq!(all(reader).await, pushed);
    }

    #[tokio::test]
    async fn a_late_reader_gets_what_was_said_and_then_the_rest() {
        let live = live();
        live.push(say("a"));
        live.push(say("b"));
        let reader = live.read(false);
        live.push(answer("ab"));
        assert_eq!(
            all(reader).await,
            [Event::Restarted(Restarted {}), say("ab"), answer("ab")]
        );
        assert_eq!(
            all(live.read(false)).await,
            [answer("ab")],
            "after the end only the end"
        );
    }

    #[tokio::test]
    async fn a_slow_reader_misses_steps_but_nothing_of_the_text() {
        let live = live();
        let slow = live.read(true);
        for _ in 0..10 * BACKLOG {
            live.push(say("x"));
        }
        let live2 = Arc::clone(&live);
        let mut slow = slow;
        let first = slow.next().await;
        assert_eq!(first, Some(Event::Restarted(Restarted {})));
        live2.push(answer("end"));
        let rest = all(slow).await;
        assert_eq!(rest, [say(&"x".repeat(10 * BACKLOG)), answer("end")]);
    }

    #[test]
    fn a_message_for_a_running_turn_is_taken_once_and_never_by_one_that_ended() {
        let message = |id: &str| Steered {
            id: id.into(),
            text: "x".into(),
        };
        let running = live();
        assert!(running.steer(message("1")) && running.steer(message("2")));
        assert!(running.steer(message("1")), "asked again");
        assert_eq!(running.take_steered(), [message("1"), message("2")]);
        assert!(running.steer(message("1")), "also after it was read");
        assert!(running.take_steered().is_empty());
        for n in 0..2 * STEERED {
            running.steer(message(&format!("m{n}")));
        }
        assert_eq!(running.take_steered().len(), STEERED - 2);
        running.push(answer("end"));
        assert!(!running.steer(message("3")));
        let stopped = live();
        stopped.stop();
        assert!(!stopped.steer(message("1")));
    }

    #[tokio::test]
    async fn a_stop_is_seen_by_whoever_waits_and_whoever_asks_later() {
        let live = live();
        assert!(!live.is_stopped());
        let waiting = tokio::spawn({
            let live = Arc::clone(&live);
            async move { live.stopped().await }
        });
        live.stop();
        waiting.await.unwrap();
        live.stopped().await;
        assert!(live.is_stopped());
    }
}

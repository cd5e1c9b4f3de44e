//! What is sent next: a lane's sends one after the other, lanes side by side up to a limit, each outbox id once. Pure: time
//! comes from outside, and whoever does the work says how it ended.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use clawdbot_proto::v1;

use crate::outbound::comes_again;

/// Lanes that work at the same time.
const PARALLEL: usize = 8;
/// Sends that are over and told, and are still recognised.
const ENDED: usize = 1024;

/// Account and lane.
pub(crate) type Key = (String, String);

/// What to do now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Job {
    /// Send this; `tried` tries before it did not start.
    Send { send: Arc<v1::Send>, tried: u32 },
    /// Show this.
    Show(Arc<v1::Progress>),
}

/// What a send has come to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// It is over.
    Settled(v1::SendReport),
    /// Once more, not before this.
    Again(Instant),
    /// It was not tried; not before this.
    Later(Instant),
    /// A version was shown, or not; the next not before this.
    Showed(Instant),
}

/// What an offer met.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Offer {
    /// It will be sent.
    Taken,
    /// It waits or runs already, or the gateway knows how it ended.
    Known,
    /// It is over; the gateway has not heard.
    Over(v1::SendReport),
}

#[derive(Debug)]
enum State {
    Open,
    Settled(v1::SendReport),
}

#[derive(Debug, Default)]
struct Lane {
    sends: VecDeque<(Arc<v1::Send>, u32)>,
    show: Option<Arc<v1::Progress>>,
    busy: bool,
    send_after: Option<Instant>,
    show_after: Option<Instant>,
    /// When it had its last turn, so that all get one.
    turn: u64,
}

/// All lanes of a worker.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: BTreeMap<Key, Lane>,
    known: HashMap<String, State>,
    /// An order for one of these was on its way while the gateway heard its end.
    ended: VecDeque<String>,
    busy: usize,
    turns: u64,
}

impl Lanes {
    /// Takes a send.
    pub(crate) fn offer(&mut self, send: v1::Send) -> Offer {
        match self.known.get(&send.outbox_id) {
            Some(State::Open) => return Offer::Known,
            Some(State::Settled(report)) => return Offer::Over(report.clone()),
            None if self.ended.contains(&send.outbox_id) => return Offer::Known,
            None => {}
        }
        self.known.insert(send.outbox_id.clone(), State::Open);
        let key = (send.account.clone(), send.lane.clone());
        let lane = self.lanes.entry(key).or_default();
        // The answer itself makes its beginnings worthless.
        lane.show.take_if(|show| show.turn_id == send.turn_id);
        lane.sends.push_back((Arc::new(send), 0));
        Offer::Taken
    }

    /// Takes the beginning of an answer; a later one replaces an earlier one.
    pub(crate) fn show(&mut self, progress: v1::Progress) {
        let key = (progress.account.clone(), progress.lane.clone());
        let lane = self.lanes.entry(key).or_default();
        let answered = |(send, _): &(Arc<v1::Send>, u32)| send.turn_id == progress.turn_id;
        if !lane.sends.iter().any(answered) {
            lane.show = Some(Arc::new(progress));
        }
    }

    /// The next thing to do, if something can be done now. Its lane is busy until [`finished`](Self::finished).
    pub(crate) fn next(&mut self, now: Instant) -> Option<(Key, Job)> {
        if self.busy >= PARALLEL {
            return None;
        }
        let ready = self.lanes.iter().filter(|(_, lane)| lane.is_ready(now));
        let (key, _) = ready.min_by_key(|(_, lane)| lane.turn)?;
        let key = key.clone();
        let lane = self.lanes.get_mut(&key)?;
        let job = lane.job()?;
        lane.busy = true;
        self.busy += 1;
        self.turns += 1;
        lane.turn = self.turns;
        Some((key, job))
    }

    /// When something can be done that cannot be done now.
    pub(crate) fn wake_at(&self, now: Instant) -> Option<Instant> {
        if self.busy >= PARALLEL {
            return None;
        }
        let times = self.lanes.values().filter_map(|lane| match lane.due() {
            Due::At(at) if at > now => Some(at),
            _ => None,
        });
        times.min()
    }

    /// How a job ended.
    pub(crate) fn finished(&mut self, key: &Key, verdict: Verdict) {
        let Some(lane) = self.lanes.get_mut(key) else {
            return;
        };
        lane.busy = false;
        self.busy -= 1;
        match verdict {
            Verdict::Settled(report) => {
                lane.sends.pop_front();
                lane.send_after = None;
                let id = report.outbox_id.clone();
                self.known.insert(id, State::Settled(report));
            }
            Verdict::Again(at) => {
                lane.send_after = Some(at);
                if let Some((_, tried)) = lane.sends.front_mut() {
                    *tried += 1;
                }
            }
            Verdict::Later(at) => lane.send_after = Some(at),
            Verdict::Showed(next) => lane.show_after = Some(next),
        }
        self.sweep();
    }

    /// The gateway has heard how a send ended.
    pub(crate) fn reported(&mut self, outbox_id: &str) {
        let Some(State::Settled(report)) = self.known.remove(outbox_id) else {
            return;
        };
        if !comes_again(&report) {
            if self.ended.len() >= ENDED {
                self.ended.pop_front();
            }
            self.ended.push_back(report.outbox_id);
        }
    }

    /// Drops what has not begun: the gateway offers it again.
    pub(crate) fn drain(&mut self) {
        for lane in self.lanes.values_mut() {
            let kept = usize::from(lane.busy).min(lane.sends.len());
            for (send, _) in lane.sends.drain(kept..) {
                self.known.remove(&send.outbox_id);
            }
            lane.show = None;
        }
        self.sweep();
    }

    /// Lanes at work.
    pub(crate) fn busy(&self) -> usize {
        self.busy
    }

    /// Forgets lanes that have nothing to do. The pace between shown versions is then forgotten too, which the
    /// platform's own limiter catches.
    fn sweep(&mut self) {
        if self.lanes.len() > 256 {
            self.lanes
                .retain(|_, lane| lane.busy || !lane.sends.is_empty() || lane.show.is_some());
        }
    }
}

/// When a lane has something to do.
enum Due {
    Never,
    Now,
    At(Instant),
}

impl Lane {
    fn due(&self) -> Due {
        let after = match (self.sends.is_empty(), self.show.is_some()) {
            _ if self.busy => return Due::Never,
            (true, false) => return Due::Never,
            (false, _) => self.send_after,
            (true, true) => self.show_after,
        };
        after.map_or(Due::Now, Due::At)
    }

    fn is_ready(&self, now: Instant) -> bool {
        match self.due() {
            Due::Never => false,
            Due::Now => true,
            Due::At(at) => at <= now,
        }
    }

    fn job(&mut self) -> Option<Job> {
        match self.sends.front() {
            Some((send, tried)) => Some(Job::Send {
                send: Arc::clone(send),
                tried: *tried,
            }),
            None => self.show.take().map(Job::Show),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn send(id: &str, lane: &str) -> v1::Send {
        v1::Send {
            outbox_id: id.into(),
            account: "a".into(),
            lane: lane.into(),
            turn_id: format!("turn-{id}"),
            ..v1::Send::default()
        }
    }

    fn progress(turn: &str, lane: &str, text: &str) -> v1::Progress {
        v1::Progress {
            turn_id: turn.into(),
            account: "a".into(),
            lane: lane.into(),
            text: text.into(),
            ..v1::Progress::default()
        }
    }

    fn report(id: &str) -> v1::SendReport {
        v1::SendReport {
            outbox_id: id.into(),
            ..v1::SendReport::default()
        }
    }

    fn id_of(job: &Option<(Key, Job)>) -> String {
        match job {
            Some((_, Job::Send { send, .. })) => send.outbox_id.clone(),
            Some((_, Job::Show(show))) => show.text.clone(),
            None => "nothing".into(),
        }
    }

    #[test]
    fn a_lane_keeps_its_order_and_lanes_run_side_by_side() {
        let now = Instant::now();
        let mut lanes = Lanes::default();
        for (id, lane) in [("1", "x"), ("2", "x"), ("3", "y")] {
            assert_eq!(lanes.offer(send(id, lane)), Offer::Taken);
        }
        let (first, second) = (lanes.next(now), lanes.next(now));
        assert_eq!((id_of(&first), id_of(&second)), ("1".into(), "3".into()));
        assert_eq!(lanes.next(now), None, "the lane of 2 is busy");
        lanes.finished(&first.unwrap().0, Verdict::Settled(report("1")));
        assert_eq!(id_of(&lanes.next(now)), "2");
    }

    #[test]
    fn at_most_eight_lanes_work_and_each_gets_its_turn() {
        let now = Instant::now();
        let mut lanes = Lanes::default();
        for number in 0..10 {
            lanes.offer(send(&format!("{number}"), &format!("lane-{number}")));
            lanes.offer(send(&format!("{number}b"), &format!("lane-{number}")));
        }
        let running: Vec<_> = (0..8).map(|_| lanes.next(now).unwrap()).collect();
        assert_eq!(lanes.next(now), None);
        let Job::Send { send, .. } = &running[0].1 else {
            panic!()
        };
        lanes.finished(&running[0].0, Verdict::Settled(report(&send.outbox_id)));
        assert_eq!(id_of(&lanes.next(now)), "8", "a lane that had no turn yet");
    }

    #[test]
    fn the_same_id_is_sent_once_until_the_gateway_knows() {
        let now = Instant::now();
        let mut lanes = Lanes::default();
        lanes.offer(send("1", "x"));
        assert_eq!(lanes.offer(send("1", "x")), Offer::Known);
        let (key, _) = lanes.next(now).unwrap();
        assert_eq!(lanes.offer(send("1", "x")), Offer::Known);
        lanes.finished(&key, Verdict::Settled(report("1")));
        assert_eq!(lanes.offer(send("1", "x")), Offer::Over(report("1")));
        assert_eq!(lanes.next(now), None);
        lanes.reported("1");
        assert_eq!(lanes.offer(send("1", "x")), Offer::Known, "a late order");
        assert_eq!(lanes.next(now), None);

        lanes.offer(send("2", "x"));
        let (key, _) = lanes.next(now).unwrap();
        let mut not_started = report("2");
        not_started.set_disposition(v1::Disposition::NotStarted);
        lanes.finished(&key, Verdict::Settled(not_started));
        lanes.reported("2");
        assert_eq!(lanes.offer(send("2", "x")), Offer::Taken, "it comes again");

        for number in 3..ENDED + 9 {
            let id = number.to_string();
            lanes.known.insert(id.clone(), State::Settled(report(&id)));
            lanes.reported(&id);
        }
        assert_eq!(lanes.ended.len(), ENDED);
    }

    #[test]
    fn a_send_that_did_not_start_waits_at_the_head_of_its_lane() {
        let now = Instant::now();
        let later = now + Duration::from_secs(3);
        let mut lanes = Lanes::default();
        lanes.offer(send("1", "x"));
        lanes.offer(send("2", "x"));
        let (key, _) = lanes.next(now).unwrap();
        lanes.finished(&key, Verdict::Again(later));
        assert_eq!((lanes.next(now), lanes.wake_at(now)), (None, Some(later)));
        let Some((_, Job::Send { send, tried })) = lanes.next(later) else {
            panic!()
        };
        assert_eq!((send.outbox_id.as_str(), tried), ("1", 1));
    }

    #[test]
    fn the_latest_version_wins_and_the_answer_wins_over_all() {
        let now = Instant::now();
        let mut lanes = Lanes::default();
        lanes.show(progress("turn-1", "x", "a"));
        lanes.show(progress("turn-1", "x", "ab"));
        let shown = lanes.next(now);
        assert_eq!(id_of(&shown), "ab");
        let next = now + Duration::from_secs(1);
        lanes.show(progress("turn-1", "x", "abc"));
        assert_eq!(lanes.next(now), None, "never two at once");
        lanes.finished(&shown.unwrap().0, Verdict::Showed(next));
        assert_eq!((lanes.next(now), lanes.wake_at(now)), (None, Some(next)));
        lanes.offer(send("1", "x"));
        assert_eq!(id_of(&lanes.next(now)), "1", "the answer does not wait");
        lanes.show(progress("turn-1", "x", "late"));
        assert_eq!(lanes.next(next), None);
    }

    #[test]
    fn a_stop_keeps_only_what_runs() {
        let now = Instant::now();
        let mut lanes = Lanes::default();
        for (id, lane) in [("1", "x"), ("2", "x"), ("3", "y")] {
            lanes.offer(send(id, lane));
        }
        let (key, _) = lanes.next(now).unwrap();
        lanes.drain();
        assert_eq!((lanes.busy(), lanes.next(now)), (1, None));
        lanes.finished(&key, Verdict::Settled(report("1")));
        assert_eq!((lanes.busy(), lanes.next(now)), (0, None));
        assert_eq!(lanes.offer(send("3", "y")), Offer::Taken);
    }
}

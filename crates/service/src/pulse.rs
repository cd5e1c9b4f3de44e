//! What the watchdog is fed by: pieces of work that show whether they get on. That the runtime turns is shown by the task
//! that looks; a thread, or a wait that is bounded, can hang all the same, and then the sign of life stops, so that whoever
//! watches the process ends it.
//!
//! Who has nothing to do owes nothing: an idle process is not woken for this.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info};

use crate::Notifier;

/// Time between two signs of life. Who hears none for three of them ends the process.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(10);

/// The pulses of a process. Cheap to clone; the default one is watched by nobody.
#[derive(Clone, Default)]
pub struct Pulses(Arc<Mutex<Vec<Weak<Beat>>>>);

/// A named piece of work, for example a thread that writes. It is watched until the last clone is dropped.
#[derive(Clone)]
pub struct Pulse(Arc<Beat>);

/// Work that is under way, from [`Pulse::work`] until it is dropped.
pub struct Work(Arc<Beat>);

struct Beat {
    name: String,
    patience: Duration,
    /// Begun and ended work, and steps in between.
    steps: AtomicU64,
    under_way: AtomicUsize,
    seen: Mutex<Seen>,
}

/// What was seen at the last look.
#[derive(Default)]
struct Seen {
    steps: u64,
    /// How long there has been work and no step.
    waited: Duration,
    told: bool,
}

impl Pulses {
    /// A new pulse, at rest. `patience`: how long work may be under way without a step.
    #[must_use]
    pub fn add(&self, name: impl Into<String>, patience: Duration) -> Pulse {
        let beat = Arc::new(Beat {
            name: name.into(),
            patience,
            steps: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            seen: Mutex::default(),
        });
        let mut all = lock(&self.0);
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(&beat));
        Pulse(beat)
    }

    /// Whether everything gets on, `passed` after the last look. Who does not is told of once. For whoever watches: there is
    /// one in each process.
    #[must_use]
    pub fn are_fresh(&self, passed: Duration) -> bool {
        let all: Vec<_> = lock(&self.0).iter().filter_map(Weak::upgrade).collect();
        let stale = all.iter().filter(|beat| beat.is_stale(passed)).count();
        stale == 0
    }
}

impl Beat {
    fn is_stale(&self, passed: Duration) -> bool {
        let mut seen = lock(&self.seen);
        let steps = self.steps.load(Ordering::Relaxed);
        let idle = self.under_way.load(Ordering::Relaxed) == 0;
        if idle || steps != seen.steps {
            if std::mem::take(&mut seen.told) {
                info!(work = %self.name, "what hung goes on");
            }
            (seen.steps, seen.waited) = (steps, Duration::ZERO);
            return false;
        }
        seen.waited = seen.waited.saturating_add(passed);
        let stale = seen.waited > self.patience;
        if stale && !std::mem::replace(&mut seen.told, true) {
            error!(
                work = %self.name, seconds = seen.waited.as_secs(),
                "this work hangs; without a sign of life the process is ended and started anew"
            );
        }
        stale
    }

    fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
}

impl Pulse {
    /// Begins a piece of work.
    #[must_use]
    pub fn work(&self) -> Work {
        self.0.under_way.fetch_add(1, Ordering::Relaxed);
        self.0.step();
        Work(Arc::clone(&self.0))
    }
}

impl Default for Pulse {
    /// Watched by nobody.
    fn default() -> Self {
        Pulses::default().add("", Duration::MAX)
    }
}

impl Work {
    /// A step of it is done.
    pub fn beat(&self) {
        self.0.step();
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.step();
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives signs of life while everything gets on.
pub(crate) async fn feed_watchdog(notifier: Notifier, pulses: Pulses) {
    let mut ticks = tokio::time::interval(WATCHDOG);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Instant::now();
    loop {
        ticks.tick().await;
        let now = Instant::now();
        // While the whole process was stopped or not given the processor, nothing in it could get on.
        let passed = now.duration_since(before).min(2 * WATCHDOG);
        before = now;
        if pulses.are_fresh(passed) {
            notifier.watchdog();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::notify::Target;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A watchdog in virtual time, and who hears it.
    struct Rig {
        far: UnixDatagram,
        pulses: Pulses,
    }

    impl Rig {
        fn start() -> Self {
            let (near, far) = UnixDatagram::pair().unwrap();
            far.set_nonblocking(true).unwrap();
            let pulses = Pulses::default();
            let notifier = Notifier::new(Target::Manager(near));
            tokio::spawn(feed_watchdog(notifier, pulses.clone()));
            Self { far, pulses }
        }

        /// Signs of life within the next `ticks` of the watchdog.
        async fn signs(&self, ticks: u32) -> usize {
            let mut signs = 0;
            for _ in 0..ticks {
                tokio::time::sleep(WATCHDOG).await;
                // The watchdog's own turn may come after this one.
                tokio::task::yield_now().await;
                let mut line = [0; 64];
                while let Ok(length) = self.far.recv(&mut line) {
                    assert_eq!(&line[..length], b"WATCHDOG=1");
                    signs += 1;
                }
            }
            signs
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_hangs_ends_the_signs_of_life_until_it_goes_on() {
        let rig = Rig::start();
        let pulse = rig.pulses.add("disk", PATIENCE);
        assert!(rig.signs(6).await >= 6, "it rests");
        let work = pulse.work();
        rig.signs(4).await;
        assert_eq!(rig.signs(12).await, 0, "it hangs");
        work.beat();
        rig.signs(1).await;
        assert_eq!(rig.signs(2).await, 2, "it goes on");
        rig.signs(4).await;
        assert_eq!(rig.signs(3).await, 0, "it hangs again");
        drop(work);
        rig.signs(1).await;
        assert_eq!(rig.signs(6).await, 6, "it is done");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_takes_long_and_gets_on_keeps_the_signs_of_life() {
        let rig = Rig::start();
        let pulse = rig.pulses.add("disk", PATIENCE);
        rig.signs(1).await;
        let long = pulse.work();
        for _ in 0..10 {
            assert_eq!(rig.signs(2).await, 2);
            long.beat();
        }
        drop(long);
        // Piece after piece, without a pause in between.
        for _ in 0..10 {
            let piece = pulse.work();
            assert_eq!(rig.signs(2).await, 2);
            let _next = (pulse.work(), drop(piece));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_is_enough_and_one_that_is_gone_is_not_waited_for() {
        let rig = Rig::start();
        let (hanging, busy) = (rig.pulses.add("a", PATIENCE), rig.pulses.add("b", PATIENCE));
        let stuck = hanging.work();
        let gets_on = busy.work();
        for _ in 0..5 {
            rig.signs(1).await;
            gets_on.beat();
        }
        assert_eq!(rig.signs(1).await, 0);
        gets_on.beat();
        // The thread is gone with its pulse.
        drop((stuck, hanging));
        rig.signs(1).await;
        gets_on.beat();
        assert_eq!(rig.signs(2).await, 2);
    }

    #[test]
    fn a_pause_of_the_whole_process_is_nobody_s_fault() {
        let pulses = Pulses::default();
        let pulse = pulses.add("disk", PATIENCE);
        let _work = pulse.work();
        assert!(pulses.are_fresh(WATCHDOG));
        // As long as the watchdog lets one look count: a night in between is no more than that.
        assert!(pulses.are_fresh(2 * WATCHDOG));
        assert!(!pulses.are_fresh(2 * WATCHDOG));
    }
}

//! The counters, without disk or clock. What is held back for a request that runs counts like what was used, so that any
//! number of requests at once pass a limit by one request at most. A request of which nobody says what it used counts in
//! full after a while.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::calendar;
use super::kinds::{Kind, Limit};

/// How long is waited for the word what a request used.
pub(super) const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// Runs that are remembered; the one that was idle longest gives way.
const RUNS: usize = 4096;
/// Requests that are waited for; with more the oldest counts in full.
const HOLDS: usize = 4096;
/// Calls of a run whose ids are known; an id of before counts as a new one.
const CALLS: usize = 256;
/// Counters that are kept. Beyond it all new senders of an agent share one.
pub(super) const ROWS: usize = 20_000;
/// Days and months whose counters are kept: those that were counted in last, so that a clock that jumps there and back
/// finds what it left.
const PERIODS: usize = 4;

/// Days or months by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Period {
    Day(u64),
    Month(u64),
}

/// Whose counter it is, and of when.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) agent: String,
    pub(super) period: Period,
    /// Channel and id; empty: everybody together.
    pub(super) sender: String,
}

/// Tokens and millionths of a dollar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) tokens: u64,
    pub(super) microusd: u64,
}

impl Amount {
    fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            microusd: self.microusd.saturating_add(other.microusd),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            microusd: self.microusd.saturating_sub(other.microusd),
        }
    }

    pub(super) fn covers(self, other: Self) -> bool {
        self.tokens >= other.tokens && self.microusd >= other.microusd
    }
}

/// One counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) used: Amount,
    held: Amount,
    /// What the file says, which a restart would begin with.
    pub(super) promised: Amount,
    /// The owner was told that the limit is reached.
    pub(super) told: bool,
    /// Grows with every use.
    touched: u64,
}

impl Spent {
    /// One from the file.
    pub(super) fn of_file(used: Amount, told: bool, touched: u64) -> Self {
        Self {
            used,
            promised: used,
            told,
            touched,
            ..Self::default()
        }
    }

    pub(super) fn all(self) -> Amount {
        self.used.plus(self.held)
    }
}

/// One message and all that comes of it.
#[derive(Debug, Default)]
struct Run {
    started: Duration,
    touched: Duration,
    tokens: u64,
    /// Calls of tools.
    made: u64,
    /// By id, so that a call that is asked about again counts once; the newest.
    calls: VecDeque<(String, Digest)>,
}

/// Of a call's tool and arguments.
pub(super) type Digest = [u8; 32];

/// What is held back for a request.
#[derive(Debug)]
struct Hold {
    /// Session and request.
    id: (String, String),
    at: Duration,
    run: String,
    keys: Vec<Key>,
    amount: Amount,
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub(super) struct Book {
    rows: BTreeMap<Key, Spent>,
    runs: HashMap<String, Run>,
    /// The oldest first.
    holds: VecDeque<Hold>,
    touched: u64,
    /// There is news for the file.
    changed: bool,
}

/// When it is: by the calendar, and by a clock that never jumps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) ms: u64,
    pub(super) steady: Duration,
}

/// For whom is counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payer<'a> {
    pub(super) agent: &'a str,
    /// Session and trace.
    pub(super) run: &'a str,
    /// Channel and id; none for the owner.
    pub(super) sender: Option<&'a str>,
}

/// A limit that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reached<'l> {
    pub(super) limit: &'l Limit,
    /// None: a run's.
    pub(super) key: Option<Key>,
    pub(super) used: u64,
    /// Milliseconds since 1970; zero for a run.
    pub(super) resets_ms: u64,
}

/// Why a call is not counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop<'l> {
    Reached(Reached<'l>),
    /// Another call had this id.
    Changed,
}

impl Book {
    /// The counters of the file.
    pub(super) fn of_rows(rows: impl Iterator<Item = (Key, Amount, bool)>) -> Self {
        let mut book = Self::default();
        for (key, used, told) in rows {
            book.touched += 1;
            let spent = Spent::of_file(used, told, book.touched);
            book.rows.insert(key, spent);
        }
        book
    }

    /// Holds an amount back for a request. Each limit may be passed by what the last request uses beyond it. Says whether
    /// the file promises less than that: a restart would forget it.
    ///
    /// # Errors
    /// The first limit that is reached.
    pub(super) fn hold<'l>(
        &mut self,
        payer: Payer<'_>,
        limits: &'l [Limit],
        id: (&str, &str),
        amount: Amount,
        now: Now,
    ) -> Result<bool, Reached<'l>> {
        self.expire(now);
        let run = self.run(payer.run, now);
        run.touched = now.steady;
        for limit in limits.iter().filter(|limit| limit.kind != Kind::RunCalls) {
            self.check(payer, limit, now)?;
        }
        let mut keys: Vec<Key> = Vec::new();
        for limit in limits {
            let key = self.key(payer, limit.kind, now);
            keys.extend(key.filter(|key| !keys.contains(key)));
        }
        self.changed |= !keys.is_empty();
        let mut ahead = false;
        for key in &keys {
            self.touched += 1;
            let spent = self.rows.entry(key.clone()).or_default();
            (spent.held, spent.touched) = (spent.held.plus(amount), self.touched);
            ahead |= !spent.promised.covers(spent.all());
        }
        if let Some(run) = self.runs.get_mut(payer.run) {
            run.tokens = run.tokens.saturating_add(amount.tokens);
        }
        self.holds.push_back(Hold {
            id: (id.0.to_owned(), id.1.to_owned()),
            at: now.steady,
            run: payer.run.to_owned(),
            keys,
            amount,
        });
        Ok(ahead)
    }

    /// Counts what a request used in place of what was held back for it; the first word counts. Says whether there was
    /// something to settle.
    pub(super) fn settle(&mut self, id: (&str, &str), used: Amount) -> bool {
        let mut holds = self.holds.iter();
        let Some(at) = holds.position(|hold| (hold.id.0.as_str(), hold.id.1.as_str()) == id) else {
            return false;
        };
        if let Some(hold) = self.holds.remove(at) {
            self.changed |= !hold.keys.is_empty();
            self.pay(&hold, used);
        }
        true
    }

    fn pay(&mut self, hold: &Hold, used: Amount) {
        for key in &hold.keys {
            if let Some(spent) = self.rows.get_mut(key) {
                spent.held = spent.held.minus(hold.amount);
                spent.used = spent.used.plus(used);
            }
        }
        if let Some(run) = self.runs.get_mut(&hold.run) {
            let before = run.tokens.saturating_sub(hold.amount.tokens);
            run.tokens = before.saturating_add(used.tokens);
        }
    }

    /// Requests of which nobody said what they used count in full.
    fn expire(&mut self, now: Now) {
        while let Some(oldest) = self.holds.front()
            && (now.steady.saturating_sub(oldest.at) >= PATIENCE || self.holds.len() >= HOLDS)
        {
            if let Some(hold) = self.holds.pop_front() {
                self.pay(&hold, hold.amount);
            }
        }
    }

    /// Counts a call of a tool; one that is asked about again counts once.
    ///
    /// # Errors
    /// The first limit that is reached, or that the id is another call's.
    pub(super) fn call<'l>(
        &mut self,
        payer: Payer<'_>,
        limits: &'l [Limit],
        id: &str,
        digest: Digest,
        now: Now,
    ) -> Result<(), Stop<'l>> {
        let run = self.run(payer.run, now);
        run.touched = now.steady;
        let known = run.calls.iter().find(|call| call.0 == id);
        let again = known.is_some();
        if known.is_some_and(|call| call.1 != digest) {
            return Err(Stop::Changed);
        }
        for limit in limits {
            let counts = match limit.kind {
                Kind::RunCalls => !again,
                Kind::RunSeconds => true,
                _ => false,
            };
            if counts {
                self.check(payer, limit, now).map_err(Stop::Reached)?;
            }
        }
        if !again {
            let run = self.run(payer.run, now);
            run.made += 1;
            if run.calls.len() == CALLS {
                run.calls.pop_front();
            }
            run.calls.push_back((id.to_owned(), digest));
        }
        Ok(())
    }

    /// A run begins, or begins again since its agent was killed: then its calls may be others, and count again.
    pub(super) fn begun(&mut self, run: &str) {
        if let Some(run) = self.runs.get_mut(run) {
            run.calls.clear();
        }
    }

    fn check<'l>(&self, payer: Payer<'_>, limit: &'l Limit, now: Now) -> Result<(), Reached<'l>> {
        let (used, resets_ms) = self.used(payer, limit.kind, now, true);
        match used < limit.most {
            true => Ok(()),
            // What is the owner's is not limited by sender.
            false if limit.kind.row().of == "sender" && payer.sender.is_none() => Ok(()),
            false => Err(Reached {
                limit,
                key: self.key(payer, limit.kind, now),
                used,
                resets_ms,
            }),
        }
    }

    /// How much of a budget is used, with or without what is held back, and when it begins anew.
    pub(super) fn used(&self, payer: Payer<'_>, kind: Kind, now: Now, held: bool) -> (u64, u64) {
        let run = self.runs.get(payer.run);
        match kind {
            Kind::RunTokens => (run.map_or(0, |run| run.tokens), 0),
            Kind::RunCalls => (run.map_or(0, |run| run.made), 0),
            Kind::RunSeconds => {
                let since = run.map_or(now.steady, |run| run.started);
                (now.steady.saturating_sub(since).as_secs(), 0)
            }
            _ => {
                let Some(key) = self.key(payer, kind, now) else {
                    return (0, 0);
                };
                let spent = self.rows.get(&key).copied().unwrap_or_default();
                let amount = if held { spent.all() } else { spent.used };
                let ends = match key.period {
                    Period::Day(day) => calendar::end_of_day(day),
                    Period::Month(month) => calendar::end_of_month(month, now.ms),
                };
                match kind.row().what {
                    "tokens" => (amount.tokens, ends),
                    _ => (amount.microusd, ends),
                }
            }
        }
    }

    /// The counter of a budget; none for a run's.
    fn key(&self, payer: Payer<'_>, kind: Kind, now: Now) -> Option<Key> {
        let (period, sender) = match kind.row().of {
            "day" => (Period::Day(calendar::day(now.ms)), ""),
            "month" => (Period::Month(calendar::month(now.ms)), ""),
            "sender" => (Period::Day(calendar::day(now.ms)), payer.sender?),
            _ => return None,
        };
        let key = Key {
            agent: payer.agent.to_owned(),
            period,
            sender: sender.to_owned(),
        };
        let full = self.rows.len() >= ROWS && !sender.is_empty() && !self.rows.contains_key(&key);
        Some(Key {
            sender: if full { "*".to_owned() } else { key.sender },
            ..key
        })
    }

    fn run(&mut self, name: &str, now: Now) -> &mut Run {
        if self.runs.len() >= RUNS && !self.runs.contains_key(name) {
            let oldest = self.runs.iter().min_by_key(|(_, run)| run.touched);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.runs.remove(&oldest);
            }
        }
        self.runs.entry(name.to_owned()).or_insert_with(|| Run {
            started: now.steady,
            ..Run::default()
        })
    }

    /// Whether the owner has to be told that a counter has reached its limit; true once.
    pub(super) fn is_untold(&self, key: &Key) -> bool {
        self.rows.get(key).is_none_or(|spent| !spent.told)
    }

    /// He was told.
    pub(super) fn told(&mut self, key: &Key) {
        self.rows.entry(key.clone()).or_default().told = true;
        self.changed = true;
    }

    /// Whether nothing was ever counted.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether there is news for the file.
    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    /// Whether the file promises less than is used and held back.
    pub(super) fn is_ahead(&self) -> bool {
        self.rows
            .values()
            .any(|spent| !spent.promised.covers(spent.all()))
    }

    /// What the file is to say. With `ahead` a sixteenth more than is used, so that it need not be written with every
    /// request; a restart after a crash counts that much too high.
    pub(super) fn promises(&mut self, ahead: bool) -> Vec<(Key, Amount, bool)> {
        self.prune();
        self.changed = false;
        let more = |number: u64| if ahead { number / 16 } else { 0 };
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|(_, spent)| spent.touched);
        let promise = |(key, spent): (&Key, &Spent)| {
            let all = spent.all();
            let block = Amount {
                tokens: more(all.tokens),
                microusd: more(all.microusd),
            };
            (key.clone(), all.plus(block), spent.told)
        };
        rows.into_iter().map(promise).collect()
    }

    /// They are in the file.
    pub(super) fn promised(&mut self, promises: &[(Key, Amount, bool)]) {
        for (key, amount, _) in promises {
            if let Some(spent) = self.rows.get_mut(key) {
                spent.promised = *amount;
            }
        }
    }

    /// Forgets periods in which nothing was counted for long.
    fn prune(&mut self) {
        let mut last: BTreeMap<Period, u64> = BTreeMap::new();
        for (key, spent) in &self.rows {
            let touched = last.entry(key.period).or_default();
            *touched = (*touched).max(spent.touched);
        }
        let mut periods: Vec<_> = last.into_iter().collect();
        periods.sort_by_key(|(_, touched)| std::cmp::Reverse(*touched));
        let newest = |of: fn(&Period) -> bool| {
            let periods = periods.iter().map(|(period, _)| *period);
            periods.filter(of).take(PERIODS)
        };
        let kept: BTreeSet<_> = newest(|period| matches!(period, Period::Day(_)))
            .chain(newest(|period| matches!(period, Period::Month(_))))
            .collect();
        let held: BTreeSet<_> = self.holds.iter().flat_map(|hold| &hold.keys).collect();
        self.rows
            .retain(|key, _| kept.contains(&key.period) || held.contains(key));
    }

    /// Senders that have reached a limit, with what they used.
    pub(super) fn senders(&self, agent: &str, day: u64) -> impl Iterator<Item = (&str, Amount)> {
        let rows = self.rows.iter().filter(move |(key, _)| {
            key.agent == agent && key.period == Period::Day(day) && !key.sender.is_empty()
        });
        rows.map(|(key, spent)| (key.sender.as_str(), spent.used))
    }
}

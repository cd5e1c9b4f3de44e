//! What is counted instead of written down one by one: otherwise whoever asks often enough, a stranger or a process that
//! was taken over, pushes everything else out of the audit log. Each process has room of its own for each kind of
//! decision. Inside it every decision has its line, save what repeats itself by nature; beyond it a series is counted, and
//! its number written at growing intervals. Lines and counts add up, and a line always says which process it was.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::audit::Origin;
use crate::rate::Source;
use crate::record::{Decision, cut};

#[cfg(test)]
mod tests;

/// The requests of somebody who is not known yet, at the front door or on a channel. Refused, they are a series at once.
const FRONT_DOOR: &[&str] = &["verify", "visit", "login", "inbound"];
/// What workers do again and again, allowed or not: a series at once, too.
const REPEATED: &[&str] = &["dial", "lease"];
/// Always written: the owner's word, allowed. There is at most one for each question.
const WORDS: &[&str] = &["approve", "deny"];
/// Always written: at most three wait on an account.
const PAIRING: &str = "pairing-request";
/// Refused when there is no room: it has to be written, since an approval refers to it.
const QUESTION: &str = "question";

/// Room for lines of one process, one kind and one outcome, bytes; it comes back within two days.
const ROOM: u64 = 512 << 10;
const ROOM_A_DAY: u64 = 256 << 10;
/// The part of it that is left to the numbers of what is counted, so that they can say whom it was about.
const FOR_NUMBERS: u64 = 64 << 10;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// What a line has beside its fields, bytes.
const AROUND: u64 = 140;
/// How long a series is counted first. Each time after that is twice as long, up to the longest.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// The same while the log has no room to give.
const LONGEST_CROWDED: Duration = Duration::from_secs(4 * 60 * 60);
/// Between two looks for what is due.
const LOOK: Duration = Duration::from_secs(1);
/// Series of one process and kind that say whom or what they were about. Those beyond share one for each rule.
const MAX_WHO: usize = 64;
/// Rules beside them. The rules of policy are fewer; what another process tells may be anything.
const MAX_RULES: usize = 32;
/// Roles and kinds that broker and dialer may tell of.
const MAX_TOLD: usize = 64;

/// What becomes of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It gets its line.
    Write,
    /// It is counted.
    Count,
    /// It needs a line, and there is no room for it.
    Refuse,
}

/// Whose room.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    /// Who told it, if it was not this process that decided.
    from: Option<Origin>,
    role: String,
    request: &'static str,
    allowed: bool,
}

/// What a series is about; nothing for all that share it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Who {
    source: Option<Source>,
    session: String,
    subject: String,
}

impl Who {
    fn of(decision: &Decision<'_>) -> Self {
        let source = Source::parse(decision.source);
        // A stranger may call himself anything.
        match at_front_door(decision) {
            true => Self {
                source,
                ..Self::default()
            },
            false => Self {
                source,
                session: cut(decision.session).to_owned(),
                subject: cut(decision.subject).to_owned(),
            },
        }
    }
}

/// The rule, which is empty for what was permitted, and what it is about.
type Key = (String, Who);

/// A series that goes on.
#[derive(Debug, Clone)]
struct Row {
    /// As it was told first.
    source: String,
    since: Duration,
    wait: Duration,
    count: u32,
}

impl Row {
    fn new(source: &str, now: Duration, count: u32) -> Self {
        Self {
            source: cut(source).to_owned(),
            since: now,
            wait: FIRST,
            count,
        }
    }
}

/// The room of one owner, and what is counted there.
#[derive(Debug, Default)]
struct Pool {
    /// Bytes that were used, each as the milliseconds of a day, so that little by little comes back exactly.
    used: u64,
    filled: Duration,
    rows: BTreeMap<Key, Row>,
}

impl Pool {
    /// Gives back room for the time that has passed, if there is any to give.
    fn fill(&mut self, now: Duration, room: bool) {
        let passed = now.saturating_sub(self.filled);
        self.filled += passed;
        if room {
            let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
            self.used = self.used.saturating_sub(passed.saturating_mul(ROOM_A_DAY));
        }
    }

    /// Whether a line has room, which is then used.
    fn pay(&mut self, decision: &Decision<'_>, room: u64) -> bool {
        let bytes = decision.fields().len() as u64 + AROUND;
        let used = self.used + bytes * DAY_MS;
        let fits = used <= room * DAY_MS;
        if fits {
            self.used = used;
        }
        fits
    }

    /// The series that a decision belongs to.
    fn key(&self, decision: &Decision<'_>) -> Key {
        let rule = cut(decision.refused.unwrap_or_default()).to_owned();
        let key = (rule, Who::of(decision));
        if self.rows.len() < MAX_WHO || self.rows.contains_key(&key) {
            return key;
        }
        let shared = (key.0, Who::default());
        if self.rows.len() < MAX_WHO + MAX_RULES || self.rows.contains_key(&shared) {
            return shared;
        }
        ("audit.others".to_owned(), Who::default())
    }
}

/// How a series went on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    request: &'static str,
    rule: String,
    role: String,
    source: String,
    session: String,
    subject: String,
    count: u32,
}

impl Counted {
    fn new(owner: &Owner, (rule, who): &Key, row: &Row) -> Self {
        Self {
            request: owner.request,
            rule: rule.clone(),
            role: owner.role.clone(),
            source: row.source.clone(),
            session: who.session.clone(),
            subject: who.subject.clone(),
            count: row.count,
        }
    }

    /// Its line.
    pub(crate) fn decision(&self) -> Decision<'_> {
        Decision {
            request: self.request,
            refused: Some(self.rule.as_str()).filter(|rule| !rule.is_empty()),
            role: &self.role,
            source: &self.source,
            session: &self.session,
            subject: &self.subject,
            count: self.count,
            ..Decision::default()
        }
    }
}

/// All series. Times count from any fixed moment and never go back.
#[derive(Default)]
pub(crate) struct Series {
    pools: BTreeMap<Owner, Pool>,
    /// When was looked for what is due.
    looked: Option<Duration>,
}

impl Series {
    /// What becomes of a decision, which is counted when it has no line. `from` is who told it, `room` whether the log has
    /// room to give.
    pub(crate) fn take(
        &mut self,
        from: Option<Origin>,
        decision: &Decision<'_>,
        now: Duration,
        room: bool,
    ) -> Fate {
        if from.is_none() && is_always_written(decision) {
            return Fate::Write;
        }
        let pool = self.pool(from, decision, now);
        pool.fill(now, room);
        let key = pool.key(decision);
        // An event may stand for several already.
        let more = decision.count.saturating_add(1);
        if let Some(row) = pool.rows.get_mut(&key) {
            row.count = row.count.saturating_add(more);
            return Fate::Count;
        }
        let fits = pool.pay(decision, ROOM - FOR_NUMBERS);
        if fits && !is_series_at_once(decision) {
            return Fate::Write;
        }
        if !fits && decision.request == QUESTION && decision.refused.is_none() {
            return Fate::Refuse;
        }
        let source = match key.1 == Who::default() {
            true => "",
            false => decision.source,
        };
        let row = Row::new(source, now, if fits { 0 } else { more });
        pool.rows.insert(key, row);
        match fits {
            true => Fate::Write,
            false => Fate::Count,
        }
    }

    fn pool(&mut self, from: Option<Origin>, decision: &Decision<'_>, now: Duration) -> &mut Pool {
        let mut owner = Owner {
            from,
            role: cut(decision.role).to_owned(),
            request: decision.request,
            allowed: decision.refused.is_none(),
        };
        if from.is_some() && !self.pools.contains_key(&owner) {
            let told = self.pools.keys().filter(|one| one.from == from);
            if told.count() >= MAX_TOLD {
                // Only a process that invents roles comes here.
                owner.role.clear();
            }
        }
        self.pools.entry(owner).or_insert_with(|| Pool {
            filled: now,
            ..Pool::default()
        })
    }

    /// The numbers that are due. A series that did not go on is over.
    pub(crate) fn due(&mut self, now: Duration, room: bool) -> Vec<Counted> {
        let soon = |looked: Duration| now.saturating_sub(looked) < LOOK;
        if self.looked.is_some_and(soon) {
            return Vec::new();
        }
        self.looked = Some(now);
        let longest = if room { LONGEST } else { LONGEST_CROWDED };
        let mut told = Vec::new();
        for (owner, pool) in &mut self.pools {
            pool.fill(now, room);
            let is_due = |_: &Key, row: &mut Row| now.saturating_sub(row.since) >= row.wait;
            let due: Vec<_> = pool.rows.extract_if(.., is_due).collect();
            for (key, row) in due.into_iter().filter(|(_, row)| row.count > 0) {
                let counted = Counted::new(owner, &key, &row);
                let next = Row {
                    since: now,
                    wait: (row.wait * 2).min(longest),
                    count: 0,
                    ..row
                };
                if key.1 == Who::default() || pool.pay(&counted.decision(), ROOM) {
                    told.push(counted);
                    pool.rows.insert(key, next);
                    continue;
                }
                // No room to say whom it was about; which process it was is said with the next number of all of them.
                let shared = (key.0, Who::default());
                let rest = { pool.rows.entry(shared) }.or_insert_with(|| Row::new("", now, 0));
                rest.count = rest.count.saturating_add(counted.count);
            }
        }
        told
    }

    /// Ends all of them.
    pub(crate) fn all(&mut self) -> Vec<Counted> {
        let mut told = Vec::new();
        for (owner, pool) in &mut self.pools {
            let rows = std::mem::take(&mut pool.rows);
            let rows = rows.iter().filter(|(_, row)| row.count > 0);
            told.extend(rows.map(|(key, row)| Counted::new(owner, key, row)));
        }
        told
    }
}

/// What the owner does, and what changes who may do what: nobody else can have many of these lines written.
fn is_always_written(decision: &Decision<'_>) -> bool {
    let word = WORDS.contains(&decision.request) && decision.refused.is_none();
    decision.role == "operator" || word || decision.request == PAIRING
}

fn at_front_door(decision: &Decision<'_>) -> bool {
    decision.refused.is_some() && FRONT_DOOR.contains(&decision.request)
}

fn is_series_at_once(decision: &Decision<'_>) -> bool {
    at_front_door(decision) || REPEATED.contains(&decision.request)
}

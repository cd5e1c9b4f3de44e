//! Session handles: what a handle says, sealed so that it survives a restart of policy and nobody else can make one.
//! A handle of another class than its bearer is refused, so that a guest's agent can do nothing with the owner's.

use std::fmt;

use clawdbot_identity::{Class, Handle, Role, SessionKey};

use crate::clock;
use crate::denied::Denied;
use crate::seal::Sealer;

/// How long a handle is good, in seconds: as long as an accepted message may wait for its answer.
pub const TTL: u64 = 7 * 24 * 60 * 60;

/// Earlier ones do not say enough for their author to be judged again.
const VERSION: u8 = 4;
/// Longest text in it, bytes.
const MAX_TEXT: usize = 255;
/// Room for all of it; with its seal it is a [`Handle`] of at most 3072 characters.
const MAX_PAYLOAD: usize = 2272;
/// Version, class, standing, time of issue, time of expiry.
const HEAD: usize = 1 + 1 + 1 + 8 + 8;

/// What policy knows of the person behind a session; who may do more stands before others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// The owner: the local operator, or an identity that the configuration names.
    Owner,
    /// Allowed by the configuration, or paired.
    Approved,
    /// Everybody else.
    Stranger,
}

const STANDINGS: &[(Standing, u8, &str)] = &[
    (Standing::Owner, 1, "owner"),
    (Standing::Approved, 2, "approved"),
    (Standing::Stranger, 3, "stranger"),
];
const CLASSES: &[(Class, u8)] = &[(Class::Main, 1), (Class::Guest, 2)];

impl Standing {
    /// As other processes are told.
    pub fn as_str(self) -> &'static str {
        let mut rows = STANDINGS.iter();
        rows.find(|row| row.0 == self).map_or("", |row| row.2)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What all has in common that comes of one message: random, sealed into the handle, so that no other process can make
/// or change it. Shown as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Trace(pub [u8; 8]);

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// How a message was written, beside who wrote it: as much as it takes to judge its author again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// The channel's account.
    pub account: String,
    /// The name that the author bore, in lower case; may be empty.
    pub username: String,
    /// Whether it stood in a group.
    pub group: bool,
    /// Empty outside of topics.
    pub thread: String,
    /// All ids of the conversation.
    pub chats: Vec<String>,
    /// Other ids of the author.
    pub also: Vec<String>,
}

/// What a handle stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Trust class of the session.
    pub class: Class,
    /// Which conversation; names the agent, too.
    pub session: SessionKey,
    /// Whose it is.
    pub standing: Standing,
    /// Unix time, seconds.
    pub issued: u64,
    /// Unix time, seconds; at this second the handle is no longer good.
    pub expires: u64,
    /// Which role's edge the message came in on; the operator's for the local operator. A handle of one channel means
    /// nothing in the hands of another.
    pub door: Role,
    /// What it has in common with all that comes of the same message.
    pub trace: Trace,
    /// Whose message it was, in the channel's form; empty for the local operator. At most 255 bytes.
    pub sender: String,
    /// Where and under which names; empty for the local operator.
    pub written: Written,
    /// For the operator at the front door: which credential opened it.
    pub credential: Option<[u8; 8]>,
}

impl Grant {
    /// A session of the local operator, from `now` (Unix seconds) on.
    pub fn operator(session: SessionKey, now: u64) -> Self {
        Self {
            class: Class::Main,
            session,
            standing: Standing::Owner,
            issued: now,
            expires: now + TTL,
            door: Role::operator(),
            trace: Trace::default(),
            sender: String::new(),
            written: Written::default(),
            credential: None,
        }
    }

    /// The same for one message.
    pub fn of(self, trace: Trace, sender: &str) -> Self {
        Self {
            trace,
            sender: cut(sender).to_owned(),
            ..self
        }
    }

    /// A session of somebody who writes through a channel, from `now` (Unix seconds) on.
    pub fn channel(
        door: Role,
        class: Class,
        session: SessionKey,
        standing: Standing,
        now: u64,
    ) -> Self {
        Self {
            class,
            session,
            standing,
            issued: now,
            expires: now + TTL,
            door,
            trace: Trace::default(),
            sender: String::new(),
            written: Written::default(),
            credential: None,
        }
    }

    /// The handle that stands for this.
    pub fn seal(&self, sealer: &Sealer) -> String {
        let class = CLASSES
            .iter()
            .find(|(class, _)| *class == self.class)
            .map_or(0, |row| row.1);
        let standing = STANDINGS
            .iter()
            .find(|row| row.0 == self.standing)
            .map_or(0, |row| row.1);
        let mut payload = vec![VERSION, class, standing];
        payload.extend_from_slice(&self.issued.to_be_bytes());
        payload.extend_from_slice(&self.expires.to_be_bytes());
        payload.extend_from_slice(&self.trace.0);
        payload.extend_from_slice(&self.credential.unwrap_or_default());
        let Written {
            account,
            username,
            group,
            thread,
            chats,
            also,
        } = &self.written;
        payload.push(u8::from(*group));
        for one in [self.door.as_str(), &self.sender, account, username, thread] {
            put(&mut payload, one);
        }
        // What has no room is left off: with fewer ids somebody can do less.
        let mut room = MAX_PAYLOAD.saturating_sub(payload.len() + 2 + self.session.as_str().len());
        for ids in [chats, also] {
            let fits = ids.iter().take_while(|id| {
                let left = room.checked_sub(1 + cut(id).len());
                room = left.unwrap_or(0);
                left.is_some()
            });
            let fits: Vec<_> = fits.take(MAX_TEXT).collect();
            payload.push(u8::try_from(fits.len()).unwrap_or(0));
            for id in fits {
                put(&mut payload, id);
            }
        }
        payload.extend_from_slice(self.session.as_str().as_bytes());
        sealer.seal(&payload)
    }

    /// The same for two messages of one person in one conversation with the same rights, and for no others. All of the
    /// owner's own ids are one person. Empty where it is not certain who wrote.
    pub fn mark(&self, sealer: &Sealer) -> String {
        // A longer id was cut, and another one may begin like it.
        if self.sender.is_empty() || self.sender.len() > MAX_TEXT - 4 {
            return String::new();
        }
        let who = match (self.class, self.standing) {
            (Class::Main, Standing::Owner) => "",
            _ => self.sender.as_str(),
        };
        let parts = [
            self.door.as_str(),
            self.session.as_str(),
            self.class.as_str(),
            self.standing.as_str(),
            who,
        ];
        sealer.mark(&parts.map(str::as_bytes))
    }

    /// What a handle stands for, if it is genuine, not expired at `now` (Unix seconds) and of the bearer's class.
    ///
    /// # Errors
    /// With the rule `session.handle`, `session.expired`, `session.clock` or `session.class`.
    pub fn open(sealer: &Sealer, handle: &Handle, bearer: Class, now: u64) -> Result<Self, Denied> {
        let grant = Self::genuine(sealer, handle, now)?;
        if grant.class != bearer {
            return Err(Denied::new(
                "session.class",
                "this session belongs to another trust class than its bearer",
            ));
        }
        Ok(grant)
    }

    /// What a handle stands for, if it is genuine, not expired at `now` (Unix seconds) and came in by the door.
    ///
    /// # Errors
    /// With the rule `session.handle`, `session.expired`, `session.clock` or `session.door`.
    pub fn open_at(
        sealer: &Sealer,
        handle: &Handle,
        door: &Role,
        now: u64,
    ) -> Result<Self, Denied> {
        let grant = Self::genuine(sealer, handle, now)?;
        if grant.door != *door {
            return Err(Denied::new(
                "session.door",
                "this session handle was made for another channel",
            ));
        }
        Ok(grant)
    }

    fn genuine(sealer: &Sealer, handle: &Handle, now: u64) -> Result<Self, Denied> {
        let grant = sealer
            .open(handle.as_str())
            .and_then(|payload| Self::decode(&payload))
            .ok_or_else(|| {
                Denied::new(
                    "session.handle",
                    "this session handle was not made here; send the message again",
                )
            })?;
        if now >= grant.expires {
            return Err(Denied::new(
                "session.expired",
                "this session handle is older than seven days; send the message again",
            ));
        }
        if clock::is_ahead(grant.issued, now) {
            return Err(Denied::new(
                "session.clock",
                "this session handle was made while the clock ran ahead of what it shows now; send the message again",
            ));
        }
        Ok(grant)
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let (head, mut rest) = payload.split_at_checked(HEAD)?;
        if head[0] != VERSION {
            return None;
        }
        let class = CLASSES.iter().find(|row| row.1 == head[1])?.0;
        let standing = STANDINGS.iter().find(|row| row.1 == head[2])?.0;
        let (trace, credential) = (take(&mut rest)?, take(&mut rest)?);
        let [group @ (0 | 1)] = take(&mut rest)? else {
            return None;
        };
        let [door, sender, account, username, thread] = {
            let mut text = || get(&mut rest);
            [text()?, text()?, text()?, text()?, text()?]
        };
        let mut ids = || {
            let [count] = take(&mut rest)?;
            (0..count).map(|_| get(&mut rest)).collect::<Option<_>>()
        };
        let (chats, also) = (ids()?, ids()?);
        Some(Self {
            class,
            session: SessionKey::parse(std::str::from_utf8(rest).ok()?).ok()?,
            standing,
            issued: u64::from_be_bytes(head[3..11].try_into().ok()?),
            expires: u64::from_be_bytes(head[11..19].try_into().ok()?),
            door: Role::parse(&door).ok()?,
            trace: Trace(trace),
            sender,
            written: Written {
                account,
                username,
                group: group == 1,
                thread,
                chats,
                also,
            },
            credential: Some(credential).filter(|own| *own != [0; 8]),
        })
    }
}

/// As much of a text as there is room for. Nothing that counts is longer, so what was cut means nobody.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

fn put(payload: &mut Vec<u8>, text: &str) {
    let text = cut(text);
    payload.push(u8::try_from(text.len()).unwrap_or(0));
    payload.extend_from_slice(text.as_bytes());
}

/// The next bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (own, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*own)
}

/// A text after its length.
fn get(rest: &mut &[u8]) -> Option<String> {
    let [length] = take(rest)?;
    let (text, after) = rest.split_at_checked(usize::from(length))?;
    *rest = after;
    std::str::from_utf8(text).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use clawdbot_identity::AgentId;

    use super::*;

    fn sealer() -> Sealer {
        Sealer::derive(&[1; 32], &[b"handle"])
    }

    fn grant(class: Class, standing: Standing) -> Grant {
        Grant {
            class,
            standing,
            ..Grant::operator(SessionKey::main(&AgentId::main()), 1_000)
        }
    }

    fn written() -> Written {
        Written {
            account: "work".to_owned(),
            username: "anna".to_owned(),
            group: true,
            thread: "7".to_owned(),
            chats: vec!["-1".to_owned(), "-2".to_owned()],
            also: vec!["17".to_owned()],
        }
    }

    fn rule(result: Result<Grant, Denied>) -> &'static str {
        result.err().map_or("opened", |denied| denied.rule)
    }

    fn handle(text: &str) -> Handle {
        Handle::parse(text).unwrap()
    }

    #[test]
    fn every_grant_comes_back_as_it_was() {
        for &(class, _) in CLASSES {
            for &(standing, ..) in STANDINGS {
                let grant = Grant {
                    written: written(),
                    credential: (class == Class::Main).then_some([7; 8]),
                    ..grant(class, standing).of(Trace([1, 2, 3, 4, 5, 6, 7, 8]), "-100123")
                };
                let opened = Grant::open(&sealer(), &handle(&grant.seal(&sealer())), class, 1_000);
                assert_eq!(opened, Ok(grant));
            }
        }
    }

    #[test]
    fn the_longest_of_everything_fits_a_handle_and_ids_without_room_are_left_off() {
        let session = SessionKey::parse(&format!("agent:main:{}", "x".repeat(501))).unwrap();
        let id = |number: usize| format!("{number}{}", "x".repeat(299));
        let grant = Grant {
            session,
            door: Role::parse(&format!("channel-{}", "x".repeat(32))).unwrap(),
            written: Written {
                account: "x".repeat(64),
                username: id(0),
                thread: id(1),
                chats: (2..7).map(id).collect(),
                also: (7..11).map(id).collect(),
                group: true,
            },
            ..grant(Class::Guest, Standing::Stranger)
        }
        .of(Trace([0xff; 8]), &id(11));
        let opened = Grant::open(
            &sealer(),
            &handle(&grant.seal(&sealer())),
            Class::Guest,
            1_000,
        );
        let opened = opened.unwrap();
        assert_eq!(opened.session, grant.session);
        assert_eq!(opened.sender.len(), MAX_TEXT);
        assert_eq!(opened.written.chats[0], cut(&id(2)));
        let ids = opened.written.chats.len() + opened.written.also.len();
        assert!((1..9).contains(&ids), "{ids}");
    }

    #[test]
    fn who_is_not_known_for_certain_has_no_mark() {
        let of =
            |sender: &str| grant(Class::Guest, Standing::Stranger).of(Trace::default(), sender);
        let mark = |sender: &str| of(sender).mark(&sealer());
        assert!(!mark("42").is_empty());
        assert_eq!(mark(""), "");
        // Two that differ only in what was cut off.
        assert_eq!(mark(&"x".repeat(MAX_TEXT + 1)), "");
        assert_ne!(mark(&"x".repeat(MAX_TEXT - 4)), "");
    }

    #[test]
    fn forged_cut_and_foreign_handles_are_refused() {
        let good = grant(Class::Main, Standing::Owner).seal(&sealer());
        let open = |text: &str| rule(Grant::open(&sealer(), &handle(text), Class::Main, 1_000));
        assert_eq!(open(&good), "opened");
        for at in 1..good.len() {
            assert_eq!(open(&good[..at]), "session.handle", "cut at {at}");
        }
        assert_eq!(open(&format!("A{}", &good[1..])), "session.handle");
        let other = Sealer::derive(&[2; 32], &[b"handle"]);
        assert_eq!(
            open(&grant(Class::Main, Standing::Owner).seal(&other)),
            "session.handle"
        );
        let visit = Sealer::derive(&[1; 32], &[b"visit"]);
        assert_eq!(
            open(&grant(Class::Main, Standing::Owner).seal(&visit)),
            "session.handle"
        );
    }

    #[test]
    fn well_sealed_nonsense_is_refused_too() {
        let open = |payload: &[u8]| {
            rule(Grant::open(
                &sealer(),
                &handle(&sealer().seal(payload)),
                Class::Main,
                0,
            ))
        };
        let good = |change: fn(&mut Vec<u8>)| {
            let mut payload = [
                &[VERSION, 1, 1][..],
                &[0; 8],
                &u64::MAX.to_be_bytes(),
                &[0; 16],
                &[0, 8],
                b"operator",
                &[2],
                b"17",
                &[0, 0, 0],
                &[1, 1, b'1', 0],
                b"agent:main:main",
            ]
            .concat();
            change(&mut payload);
            payload
        };
        const REST: usize = HEAD + 16;
        assert_eq!(open(&good(|_| ())), "opened");
        for payload in [
            vec![],
            good(|p| p[0] = 3),
            good(|p| p[0] = 5),
            good(|p| p[1] = 3),
            good(|p| p[2] = 0),
            good(|p| p[REST] = 2),
            good(|p| p[REST + 1] = 7),
            good(|p| p[REST + 1] = 200),
            good(|p| p[REST + 10] = 3),
            good(|p| p[REST + 11] = 0xff),
            good(|p| p[REST + 16] = 3),
            good(|p| p[REST + 18] = 0xff),
            good(|p| p.truncate(HEAD)),
            good(|p| p.truncate(HEAD - 1)),
            good(|p| p.push(b' ')),
            good(|p| p.push(0xff)),
        ] {
            assert_eq!(open(&payload), "session.handle", "{payload:?}");
        }
    }

    #[test]
    fn a_handle_means_nothing_at_another_door() {
        let role = |text: &str| Role::parse(text).unwrap();
        let sealed = handle(
            &Grant::channel(
                role("channel-telegram"),
                Class::Guest,
                SessionKey::main(&AgentId::main()),
                Standing::Approved,
                1_000,
            )
            .seal(&sealer()),
        );
        let at = |door: &str, now| rule(Grant::open_at(&sealer(), &sealed, &role(door), now));
        assert_eq!(at("channel-telegram", 1_000), "opened");
        assert_eq!(at("channel-discord", 1_000), "session.door");
        assert_eq!(at("operator", 1_000), "session.door");
        assert_eq!(at("channel-telegram", 1_000 + TTL), "session.expired");
    }

    #[test]
    fn a_handle_ends_after_seven_days_to_the_second() {
        let sealed = handle(&grant(Class::Main, Standing::Owner).seal(&sealer()));
        let open = |now| rule(Grant::open(&sealer(), &sealed, Class::Main, now));
        assert_eq!(open(1_000 + TTL - 1), "opened");
        assert_eq!(open(1_000 + TTL), "session.expired");
    }

    #[test]
    fn a_handle_from_the_future_is_refused_until_its_time_has_come() {
        let ahead = 1_000 + 30 * TTL;
        let made = Grant::operator(SessionKey::main(&AgentId::main()), ahead);
        let sealed = handle(&made.seal(&sealer()));
        let open = |now| rule(Grant::open(&sealer(), &sealed, Class::Main, now));
        let slack = clock::SLACK.as_secs();
        for (now, expected) in [
            (1_000, "session.clock"),
            (ahead - slack - 1, "session.clock"),
            (ahead - slack, "opened"),
            (ahead, "opened"),
            (ahead + TTL, "session.expired"),
        ] {
            assert_eq!(open(now), expected, "{now}");
        }
    }

    #[test]
    fn a_handle_of_another_class_is_refused_both_ways() {
        for (of, bearer) in [(Class::Main, Class::Guest), (Class::Guest, Class::Main)] {
            let sealed = handle(&grant(of, Standing::Approved).seal(&sealer()));
            assert_eq!(
                rule(Grant::open(&sealer(), &sealed, bearer, 1_000)),
                "session.class"
            );
            assert_eq!(rule(Grant::open(&sealer(), &sealed, of, 1_000)), "opened");
        }
    }
}

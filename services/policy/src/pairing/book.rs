//! The rules of pairing, without disk or clock. A code is for one person on one account, for an hour and for one use; what
//! one account approves of opens no other one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::admission::People;
use crate::clock;
use crate::denied::Denied;

/// How long a request waits, milliseconds.
pub(crate) const TTL_MS: u64 = 60 * 60 * 1000;
/// Requests that wait at the same time on one account.
const MAX_PENDING: usize = 3;
/// No letter or digit that could be taken for another one.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const CODE: usize = 8;

/// Channel and account.
pub(crate) type Place = (String, String);

/// Everything that is known of people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Book(pub(super) BTreeMap<Place, Roll>);

/// What one account knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Roll {
    /// The oldest first.
    pub(super) pending: Vec<Pending>,
    /// By id.
    pub(super) approved: BTreeMap<String, Approved>,
    /// Whose a listed name was when he was approved of.
    pub(super) pins: BTreeMap<String, String>,
}

/// Somebody who waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) code: String,
    pub(crate) sender: String,
    /// What the platform calls him; no identity.
    pub(crate) hint: String,
    /// The listed name under which he came.
    pub(crate) name: Option<String>,
    /// The message that made the request.
    pub(crate) event: String,
    pub(crate) created_ms: u64,
    /// The owner knows of it.
    pub(crate) told: bool,
}

/// Somebody who may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Approved {
    pub(crate) hint: String,
    pub(crate) approved_ms: u64,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) channel: String,
    pub(crate) account: String,
    pub(crate) sender: String,
    pub(crate) hint: String,
    pub(crate) name: Option<String>,
    /// The platform's id of the message.
    pub(crate) event: String,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It waits under this code. The same message, brought again by a worker that was killed, gets the same code.
    New(String),
    /// It waits already; nothing is said again.
    Known,
    /// Too many wait on this account; nothing is said.
    Full,
}

/// Somebody in an answer to the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row<T> {
    pub(crate) channel: String,
    pub(crate) account: String,
    pub(crate) sender: String,
    pub(crate) what: T,
}

impl Pending {
    fn waits(&self, now_ms: u64) -> bool {
        !clock::is_ahead_ms(self.created_ms, now_ms) && now_ms < self.expires_ms()
    }

    pub(crate) fn expires_ms(&self) -> u64 {
        self.created_ms.saturating_add(TTL_MS)
    }
}

impl Approved {
    /// When it ends; zero: never.
    pub(crate) fn expires_ms(&self, ttl: Option<Duration>) -> u64 {
        let millis = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        ttl.map_or(0, |ttl| self.approved_ms.saturating_add(millis(ttl)))
    }

    /// One without an end does not depend on the time; one with an end ends early rather than late.
    fn holds(&self, now_ms: u64, ttl: Option<Duration>) -> bool {
        let ahead = clock::is_ahead_ms(self.approved_ms, now_ms);
        ttl.is_none() || (!ahead && now_ms < self.expires_ms(ttl))
    }
}

/// What is known of one account's people at a moment.
pub(crate) struct View<'a> {
    people: Option<&'a Roll>,
    now_ms: u64,
    ttl: Option<Duration>,
}

impl People for View<'_> {
    fn is_approved(&self, id: &str) -> bool {
        let found = self.people.and_then(|people| people.approved.get(id));
        found.is_some_and(|approved| approved.holds(self.now_ms, self.ttl))
    }

    fn pinned(&self, name: &str) -> Option<&str> {
        let id = self.people?.pins.get(name)?;
        // The name lasts no longer than the approval that gave it.
        self.is_approved(id).then_some(id.as_str())
    }
}

impl Book {
    /// What is known of an account's people; `ttl` is how long an approval holds.
    pub(crate) fn view(
        &self,
        channel: &str,
        account: &str,
        now_ms: u64,
        ttl: Option<Duration>,
    ) -> View<'_> {
        View {
            people: self.0.get(&(channel.to_owned(), account.to_owned())),
            now_ms,
            ttl,
        }
    }

    /// What would become of a request, if nothing has to be written down for it.
    pub(crate) fn known(&self, request: &Request, now_ms: u64) -> Option<Asked> {
        let people = self
            .0
            .get(&(request.channel.clone(), request.account.clone()))?;
        let waiting = || {
            people
                .pending
                .iter()
                .filter(|pending| pending.waits(now_ms))
        };
        let own = waiting().find(|pending| pending.sender == request.sender);
        match own {
            Some(own) if own.event == request.event => Some(Asked::New(own.code.clone())),
            Some(_) => Some(Asked::Known),
            None if waiting().count() >= MAX_PENDING => Some(Asked::Full),
            None => None,
        }
    }

    /// Takes a request down. `random` gives codes; one that waits already is not given again.
    pub(crate) fn ask(
        &mut self,
        request: Request,
        now_ms: u64,
        mut random: impl FnMut() -> std::io::Result<[u8; CODE]>,
    ) -> std::io::Result<Asked> {
        self.prune(now_ms);
        if let Some(known) = self.known(&request, now_ms) {
            return Ok(known);
        }
        let code = loop {
            let code = code(random()?);
            let taken = |people: &Roll| people.pending.iter().any(|pending| pending.code == code);
            if !self.0.values().any(taken) {
                break code;
            }
        };
        let Request {
            channel,
            account,
            sender,
            hint,
            name,
            event,
        } = request;
        self.0
            .entry((channel, account))
            .or_default()
            .pending
            .push(Pending {
                code: code.clone(),
                sender,
                hint,
                name,
                event,
                created_ms: now_ms,
                told: false,
            });
        Ok(Asked::New(code))
    }

    /// Lets somebody in. The listed name under which he came is his from now on, unless it is somebody's whose approval
    /// holds by `ttl`.
    ///
    /// # Errors
    /// With the rule `pairing.no_request`.
    pub(crate) fn approve(
        &mut self,
        channel: &str,
        code: &str,
        now_ms: u64,
        ttl: Option<Duration>,
    ) -> Result<Row<Approved>, Denied> {
        let Row {
            channel,
            account,
            sender,
            what,
        } = self.take(channel, code, now_ms)?;
        let people = self
            .0
            .entry((channel.clone(), account.clone()))
            .or_default();
        let approved = Approved {
            hint: what.hint,
            approved_ms: now_ms,
        };
        people.approved.insert(sender.clone(), approved.clone());
        if let Some(name) = what.name {
            let bearer = people.pins.get(&name);
            let bearer = bearer.and_then(|id| people.approved.get(id));
            if !bearer.is_some_and(|bearer| bearer.holds(now_ms, ttl)) {
                people.pins.insert(name, sender.clone());
            }
        }
        Ok(Row {
            channel,
            account,
            sender,
            what: approved,
        })
    }

    /// Forgets a request; the person may ask again. What is given back was never approved.
    ///
    /// # Errors
    /// With the rule `pairing.no_request`.
    pub(crate) fn reject(
        &mut self,
        channel: &str,
        code: &str,
        now_ms: u64,
    ) -> Result<Row<Approved>, Denied> {
        let row = self.take(channel, code, now_ms)?;
        Ok(Row {
            channel: row.channel,
            account: row.account,
            sender: row.sender,
            what: Approved {
                hint: row.what.hint,
                approved_ms: 0,
            },
        })
    }

    /// The owner was told of the requests with these codes.
    pub(crate) fn told(&mut self, codes: &[String]) {
        let pending = self.0.values_mut().flat_map(|roll| &mut roll.pending);
        for one in pending.filter(|one| codes.contains(&one.code)) {
            one.told = true;
        }
    }

    fn take(&mut self, channel: &str, code: &str, now_ms: u64) -> Result<Row<Pending>, Denied> {
        self.prune(now_ms);
        for ((own, account), people) in &mut self.0 {
            let found = people
                .pending
                .iter()
                .position(|pending| pending.code.eq_ignore_ascii_case(code));
            if let (Some(at), true) = (found, own == channel) {
                let what = people.pending.remove(at);
                return Ok(Row {
                    channel: own.clone(),
                    account: account.clone(),
                    sender: what.sender.clone(),
                    what,
                });
            }
        }
        Err(Denied::new(
            "pairing.no_request",
            "no request waits under this code; `clawdbot pairing list` shows those that do (a code is good for an hour; one that was made while the clock ran ahead is not good any more)",
        ))
    }

    /// Takes an approval back, and the names that came with it.
    ///
    /// # Errors
    /// With the rule `pairing.not_approved`.
    pub(crate) fn revoke(
        &mut self,
        channel: &str,
        account: &str,
        sender: &str,
    ) -> Result<Row<Approved>, Denied> {
        let people = self.0.get_mut(&(channel.to_owned(), account.to_owned()));
        let found = people.and_then(|people| {
            let approved = people.approved.remove(sender)?;
            people.pins.retain(|_, id| id != sender);
            Some(approved)
        });
        match found {
            Some(what) => Ok(Row {
                channel: channel.to_owned(),
                account: account.to_owned(),
                sender: sender.to_owned(),
                what,
            }),
            None => Err(Denied::new(
                "pairing.not_approved",
                "nobody was approved under this id on this account; `clawdbot pairing list` shows who was, allowFrom is edited in the configuration",
            )),
        }
    }

    /// Who waits.
    pub(crate) fn pending(&self, now_ms: u64) -> Vec<Row<&Pending>> {
        self.rows(|people| {
            people
                .pending
                .iter()
                .map(|one| (&one.sender, one))
                .collect()
        })
        .filter(|row| row.what.waits(now_ms))
        .collect()
    }

    /// Who may write because of an approval that holds.
    pub(crate) fn approved(&self, now_ms: u64, ttl: Option<Duration>) -> Vec<Row<&Approved>> {
        self.rows(|people| people.approved.iter().collect())
            .filter(|row| row.what.holds(now_ms, ttl))
            .collect()
    }

    fn rows<'b, T>(
        &'b self,
        list: impl Fn(&'b Roll) -> Vec<(&'b String, T)> + 'b,
    ) -> impl Iterator<Item = Row<T>> + 'b
    where
        T: 'b,
    {
        self.0.iter().flat_map(move |((channel, account), people)| {
            list(people).into_iter().map(move |(sender, what)| Row {
                channel: channel.clone(),
                account: account.clone(),
                sender: sender.clone(),
                what,
            })
        })
    }

    fn prune(&mut self, now_ms: u64) {
        for people in self.0.values_mut() {
            people.pending.retain(|pending| pending.waits(now_ms));
        }
    }
}

/// A code of eight letters that nobody mixes up.
pub(crate) fn code(random: [u8; CODE]) -> String {
    random
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
        .collect()
}

#[cfg(test)]
mod tests;

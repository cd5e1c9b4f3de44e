//! The typed things that a session was shown: which of them the owner's words mean. Free text of a result is not here and is
//! never searched for something to trust. Names come from strangers, too, so that each comparison is bounded.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::ops::Deref;

use clawdbot_proto::v1;

use super::words::{Words, bare, cents, contains_phrase, fold};

/// Things that are kept of a session; the newest.
const MAX: usize = 1024;
/// Members that are kept.
const MAX_MEMBERS: usize = 4096;
/// Longest name, id or recipient, bytes.
const MAX_TEXT: usize = 128;
/// Longest name of a member, bytes.
const MAX_MEMBER: usize = 64;
/// Names, ids, recipients or amounts of one thing.
const MAX_EACH: usize = 64;
/// Words of a name whose parts are looked for.
const MAX_WORDS: usize = 16;
/// Things that fit equally, after which nobody says which is meant.
const MAX_CANDIDATES: usize = 64;

#[derive(PartialEq, Eq, Hash)]
struct Name {
    raw: String,
    folded: String,
    bare: String,
}

#[derive(PartialEq, Eq, Hash)]
pub(super) struct Thing {
    kind: String,
    names: Vec<Name>,
    ids: Vec<String>,
    recipients: Vec<String>,
    amounts: Vec<i64>,
    own: bool,
}

pub(super) struct Entry {
    thing: Thing,
    /// Of the thing, so that many are told apart at once.
    mark: u64,
    /// The owner said one of its names.
    meant: bool,
    /// Another thing that he may mean goes by one of its names.
    rivalled: bool,
}

/// Ids, or recipients.
type Identity<'a> = (&'a [String], &'a [String]);

impl Deref for Entry {
    type Target = Thing;

    fn deref(&self) -> &Thing {
        &self.thing
    }
}

impl Entry {
    fn new(entry: v1::Entry) -> (Self, bool) {
        let mut whole = true;
        let mut texts = |all: Vec<String>| {
            let count = all.len();
            let kept: Vec<_> = all
                .into_iter()
                .filter(|text| text.len() <= MAX_TEXT)
                .take(MAX_EACH)
                .collect();
            whole &= kept.len() == count;
            kept
        };
        let names = texts(entry.names);
        let names = names.into_iter().map(|raw| Name {
            folded: fold(&raw),
            bare: fold(bare(&raw)),
            raw,
        });
        let thing = Thing {
            kind: entry.r#type,
            names: names.collect(),
            ids: texts(entry.ids),
            recipients: texts(entry.recipients),
            amounts: entry
                .amounts
                .into_iter()
                .take(MAX_EACH)
                .filter_map(cents)
                .collect(),
            own: entry.own,
        };
        let row = Self {
            mark: BuildHasherDefault::<DefaultHasher>::default().hash_one(&thing),
            thing,
            meant: false,
            rivalled: false,
        };
        (row, whole)
    }

    fn look(&mut self, words: &Words) {
        self.meant = self.names.iter().any(|name| {
            [&name.folded, &name.bare].into_iter().any(|phrase| {
                phrase.chars().nth(3).is_some()
                    && phrase.contains(char::is_alphabetic)
                    && words.phrase(phrase)
            })
        });
    }

    /// What tells it from others of its type: ids, or recipients where there are none.
    fn identity(&self) -> Identity<'_> {
        match self.ids.is_empty() {
            true => (&[], &self.recipients),
            false => (&self.ids, &[]),
        }
    }

    fn same_names(&self, other: &Self) -> bool {
        let (own, other) = (self.names.iter(), other.names.iter());
        own.map(|name| &name.raw).eq(other.map(|name| &name.raw))
    }

    fn pays(&self, to: &[&str]) -> bool {
        self.recipients
            .iter()
            .any(|known| to.contains(&known.as_str()))
    }

    fn size(&self) -> usize {
        let names = self.names.iter().map(|name| name.raw.len() * 3 + 72);
        let others = self
            .ids
            .iter()
            .chain(&self.recipients)
            .map(|text| text.len() + 24);
        names.chain(others).sum::<usize>() + self.amounts.len() * 8 + 128
    }
}

/// What a session was shown.
#[derive(Default)]
pub(super) struct Entries {
    rows: VecDeque<Entry>,
    /// Members of the owner's own place in lower case, and the words of each.
    members: BTreeMap<String, Vec<String>>,
    /// Some things were left out or forgotten, so that nothing can be said to be the only one.
    partial: bool,
    size: usize,
}

impl Entries {
    pub(super) fn take(&mut self, report: v1::CallReport, words: &Words) {
        self.partial |= report.more;
        for entry in report.entries {
            let (mut entry, whole) = Entry::new(entry);
            entry.look(words);
            self.partial |= !whole;
            let same = |row: &Entry| row.mark == entry.mark && row.thing == entry.thing;
            if self.rows.iter().any(same) {
                continue;
            }
            self.size += entry.size();
            self.rows.push_back(entry);
            if self.rows.len() > MAX
                && let Some(oldest) = self.rows.pop_front()
            {
                self.size -= oldest.size();
                self.partial = true;
            }
        }
        self.find_rivals();
        for member in report.members {
            if member.len() > MAX_MEMBER || self.members.len() == MAX_MEMBERS {
                self.partial = true;
                continue;
            }
            self.size += member.len() * 3 + 96;
            let words = fold(&member).split(' ').map(str::to_owned).collect();
            self.members.insert(member.to_lowercase(), words);
        }
    }

    /// Looks again which are meant, after the owner said more.
    pub(super) fn look(&mut self, words: &Words) {
        for entry in &mut self.rows {
            entry.look(words);
        }
        self.find_rivals();
    }

    /// Finds the things that the owner may mean and that share a name. In one pass: a stranger chooses the names.
    fn find_rivals(&mut self) {
        let mut rivalled = Vec::with_capacity(self.rows.len());
        let mut one: HashMap<(&str, &str), Option<Identity<'_>>> = HashMap::new();
        for entry in self.rows.iter().filter(|entry| entry.meant) {
            for name in &entry.names {
                let known = one.entry((entry.kind.as_str(), name.folded.as_str()));
                let known = known.or_insert(Some(entry.identity()));
                if *known != Some(entry.identity()) {
                    *known = None;
                }
            }
        }
        for entry in &self.rows {
            let several =
                |name: &Name| one.get(&(entry.kind.as_str(), name.folded.as_str())) == Some(&None);
            rivalled.push(entry.meant && entry.names.iter().any(several));
        }
        for (entry, rivalled) in self.rows.iter_mut().zip(rivalled) {
            entry.rivalled = rivalled;
        }
    }

    /// About how much memory it takes, bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Whether the owner named a thing that has what is wanted, and no other thing goes by that name.
    fn meant(&self, wanted: impl Fn(&Entry) -> bool) -> bool {
        let mut rows = self.rows.iter();
        rows.any(|entry| entry.meant && !entry.rivalled && wanted(entry))
    }

    /// An id of a thing that the owner named.
    pub(super) fn meant_id(&self, kind: &str, id: &str) -> bool {
        !kind.is_empty() && self.meant(|entry| entry.kind == kind && holds(&entry.ids, id))
    }

    /// A recipient in a record of the owner's own that he named.
    pub(super) fn meant_recipient(&self, recipient: &str) -> bool {
        self.meant(|entry| entry.own && holds(&entry.recipients, recipient))
    }

    /// An id of the owner's own thing of which he said a part of the name that no other thing of its type has.
    pub(super) fn part_id(&self, kind: &str, id: &str, words: &Words) -> bool {
        let candidates: Vec<_> = self
            .rows
            .iter()
            .filter(|entry| entry.own && entry.kind == kind && holds(&entry.ids, id))
            .take(MAX_CANDIDATES + 1)
            .collect();
        !self.partial
            && !kind.is_empty()
            && candidates.len() <= MAX_CANDIDATES
            && candidates.iter().any(|entry| {
                entry
                    .names
                    .iter()
                    .any(|name| part(name, words).is_some_and(|part| self.is_only(entry, &part)))
            })
    }

    fn is_only(&self, entry: &Entry, part: &str) -> bool {
        self.rows.iter().all(|other| {
            other.kind != entry.kind
                || (other.ids == entry.ids && entry.same_names(other))
                || !other
                    .names
                    .iter()
                    .any(|name| contains_phrase(&name.folded, part))
        })
    }

    pub(super) fn is_member(&self, name: &str) -> bool {
        self.members.contains_key(&name.to_lowercase())
    }

    /// Whether the owner said a word of this member's name that stands in no other member's.
    pub(super) fn member_said(&self, name: &str, words: &Words) -> bool {
        let only = |word: &&String| {
            let count = self
                .members
                .values()
                .filter(|other| other.contains(word))
                .count();
            word.chars().nth(4).is_some() && words.word(word) && count == 1
        };
        let member = self.members.get(&name.to_lowercase());
        !self.partial && member.is_some_and(|own| own.iter().any(|word| only(&word)))
    }

    /// An amount of a thing that the owner named, or that goes to the recipient whom he named, or on which everything of
    /// its name or recipient agrees while he said a part of the name.
    pub(super) fn amount(&self, amount: i64, to: &[&str], words: &Words) -> bool {
        let candidates: Vec<_> = self
            .rows
            .iter()
            .filter(|entry| entry.amounts.contains(&amount))
            .take(MAX_CANDIDATES + 1)
            .collect();
        let named: Vec<&str> = to.iter().copied().filter(|to| words.named(to)).collect();
        candidates.len() <= MAX_CANDIDATES
            && candidates.iter().any(|entry| {
                entry.meant
                    || entry.pays(&named)
                    || (!self.partial
                        && entry.names.iter().any(|name| part(name, words).is_some())
                        && self.agree(entry, amount, to))
            })
    }

    fn agree(&self, entry: &Entry, amount: i64, to: &[&str]) -> bool {
        self.rows
            .iter()
            .filter(|other| {
                other.same_names(entry)
                    || entry.recipients.iter().any(|recipient| {
                        to.contains(&recipient.as_str()) && other.recipients.contains(recipient)
                    })
            })
            .all(|other| other.amounts.iter().all(|own| *own == amount))
    }
}

fn holds(list: &[String], text: &str) -> bool {
    list.iter().any(|own| own == text)
}

/// The longest run of a name that the owner said: two words, or one of six letters.
fn part(name: &Name, words: &Words) -> Option<String> {
    let all: Vec<&str> = name.bare.split(' ').take(MAX_WORDS + 1).collect();
    if all.len() > MAX_WORDS {
        return None;
    }
    let runs =
        (0..all.len()).flat_map(|start| (start + 1..=all.len()).map(move |end| (start, end)));
    let said = runs.filter_map(|(start, end)| {
        let run = &all[start..end];
        let telling = run.len() > 1
            || run[0].chars().nth(5).is_some() && run[0].contains(char::is_alphabetic);
        (telling && run.iter().all(|word| words.word(word)))
            .then(|| run.join(" "))
            .filter(|run| words.phrase(run))
    });
    said.max_by_key(String::len)
}

#[cfg(test)]
#[path = "entries_tests.rs"]
mod tests;

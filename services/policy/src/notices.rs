//! What somebody has to be told in a direct conversation: the owner of requests, questions and alarms, a requester that he
//! was let in. A channel's worker fetches what is for its channel and says what became of it. Everything here is told once
//! and has an end; nothing is on disk, since whatever matters after a restart is told anew by whoever knows of it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use clawdbot_proto::v1;
use tokio::sync::watch;
use tracing::{info, warn};

/// Notices that wait at the same time; the oldest gives way, one that others cause before one of the owner's own matters.
const MAX_WAITING: usize = 256;
/// Things that are remembered as told.
const MAX_TOLD: usize = 1024;

/// What a notice is about. Of one thing is told once, until it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum About {
    /// The requests with these codes wait for approval.
    Pairing(Vec<String>),
    /// The request with this code was approved.
    Welcome(String),
    /// The question of this id waits for an answer.
    Question(String),
    /// The changed configuration is not in force.
    Config,
    /// A budget is used up: which one, and of which period.
    Budget(String),
}

impl About {
    /// For the log, which names no code.
    fn kind(&self) -> &'static str {
        match self {
            Self::Pairing(_) => "pairing",
            Self::Welcome(_) => "welcome",
            Self::Question(_) => "question",
            Self::Config => "config",
            Self::Budget(_) => "budget",
        }
    }
}

/// What to tell, and whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) about: About,
    pub(crate) to: To,
    /// Several lines may be.
    pub(crate) text: String,
    /// Milliseconds since 1970; not told after that.
    pub(crate) expires_ms: u64,
    /// Others than the owner cause such notices, as many as they like.
    pub(crate) by_others: bool,
}

/// Whom to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum To {
    /// Every owner that the configuration names, in his own conversation.
    Owners,
    /// Those.
    These(Vec<Recipient>),
}

/// A conversation that can be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipient {
    pub(crate) channel: String,
    /// The accounts that may write there; the first that succeeds is enough.
    pub(crate) accounts: Vec<String>,
    /// The platform's id of the person, which is the one of the direct conversation.
    pub(crate) person: String,
    /// Empty outside of topics.
    pub(crate) thread: String,
}

/// What waits to be told.
pub(crate) struct Notices {
    board: Mutex<Board>,
    /// Grows with everything that a stream has to look at.
    news: watch::Sender<u64>,
    /// When this process began: ids of an earlier one mean nothing.
    boot: u64,
}

#[derive(Default)]
struct Board {
    owners: Vec<Recipient>,
    waiting: VecDeque<Waiting>,
    told: VecDeque<About>,
    last: u64,
    /// The stream that counts, by channel.
    streams: HashMap<String, u64>,
}

struct Waiting {
    number: u64,
    about: About,
    to: Recipient,
    text: String,
    expires_ms: u64,
    by_others: bool,
    /// Whoever is written to was an owner then, and is told no more when that is over.
    as_owner: bool,
}

impl Notices {
    pub(crate) fn new(boot: u64) -> Self {
        Self {
            board: Mutex::default(),
            news: watch::Sender::new(0),
            boot,
        }
    }

    /// Says who the owners are, and where each can be written to. Who is none any more is told nothing more as one.
    pub(crate) fn set_owners(&self, owners: Vec<Recipient>) {
        let mut board = self.board();
        board
            .waiting
            .retain(|waiting| !waiting.as_owner || is_among(&owners, &waiting.to));
        board.owners = owners;
    }

    /// Tells something, unless it was told already. How many will be told.
    pub(crate) fn tell(&self, notice: Notice) -> usize {
        let Notice {
            about,
            to,
            text,
            expires_ms,
            by_others,
        } = notice;
        let mut board = self.board();
        if board.told.contains(&about) {
            return 0;
        }
        let to = match to {
            To::Owners => board.owners.clone(),
            To::These(these) => these,
        };
        let to: Vec<_> = { to.into_iter() }
            .filter(|one| !one.accounts.is_empty())
            .collect();
        // Who is known later shall be told of it then.
        if to.is_empty() {
            return 0;
        }
        let count = to.len();
        board.remember(about.clone());
        for to in to {
            let as_owner = is_among(&board.owners, &to);
            board.put(Waiting {
                number: 0,
                about: about.clone(),
                to,
                text: text.clone(),
                expires_ms,
                by_others,
                as_owner,
            });
        }
        drop(board);
        self.news.send_modify(|news| *news += 1);
        count
    }

    /// Says that something is over: what was not sent of it need not be, and the next time it is told again.
    pub(crate) fn over(&self, about: &About) {
        let mut board = self.board();
        board.told.retain(|told| told != about);
        board.waiting.retain(|waiting| waiting.about != *about);
    }

    /// What need not be sent any more is dropped.
    pub(crate) fn keep(&self, matters: impl Fn(&About) -> bool) {
        let mut board = self.board();
        board.waiting.retain(|waiting| matters(&waiting.about));
    }

    /// The stream of a channel begins; the one before ends.
    pub(crate) fn attach(&self, channel: &str) -> Attached {
        let mut board = self.board();
        board.last += 1;
        let stream = board.last;
        board.streams.insert(channel.to_owned(), stream);
        drop(board);
        self.news.send_modify(|news| *news += 1);
        Attached {
            channel: channel.to_owned(),
            stream,
            after: 0,
            news: self.news.subscribe(),
        }
    }

    /// The next for a stream, or `None` when another one took its place.
    fn next(&self, attached: &mut Attached, now_ms: u64) -> Option<Option<v1::Notice>> {
        let mut board = self.board();
        if board.streams.get(&attached.channel) != Some(&attached.stream) {
            return None;
        }
        board.waiting.retain(|waiting| now_ms < waiting.expires_ms);
        let next = board.waiting.iter().find(|waiting| {
            waiting.number > attached.after && waiting.to.channel == attached.channel
        });
        Some(next.map(|waiting| {
            attached.after = waiting.number;
            v1::Notice {
                id: format!("{}-{}", self.boot, waiting.number),
                account: waiting.to.accounts.first().cloned().unwrap_or_default(),
                person: waiting.to.person.clone(),
                thread: waiting.to.thread.clone(),
                text: waiting.text.clone(),
                expires_ms: waiting.expires_ms,
            }
        }))
    }

    /// What waits for a stream, in order, as it comes; `None` when another one took its place.
    pub(crate) async fn wait(
        &self,
        attached: &mut Attached,
        now_ms: impl Fn() -> u64,
    ) -> Option<v1::Notice> {
        loop {
            attached.news.borrow_and_update();
            if let Some(notice) = self.next(attached, now_ms())? {
                return Some(notice);
            }
            attached.news.changed().await.ok()?;
        }
    }

    /// Takes what became of a notice that a channel's worker was given. What it was about, if it has been told now. When
    /// an account could not send it, the next one of that conversation is asked.
    pub(crate) fn settle(&self, channel: &str, id: &str, sent: bool) -> Option<About> {
        let (boot, number) = id.split_once('-')?;
        let number: u64 = number.parse().ok()?;
        if boot.parse() != Ok(self.boot) {
            return None;
        }
        let mut board = self.board();
        let at = { board.waiting.iter() }
            .position(|waiting| waiting.number == number && waiting.to.channel == channel)?;
        let mut waiting = board.waiting.remove(at)?;
        if sent {
            info!(
                channel,
                person = waiting.to.person,
                about = waiting.about.kind(),
                "told"
            );
            return Some(waiting.about);
        }
        waiting.to.accounts.remove(0);
        match waiting.to.accounts.is_empty() {
            true => {
                warn!(
                    channel,
                    person = waiting.to.person,
                    about = waiting.about.kind(),
                    "could not be told"
                )
            }
            false => {
                board.put(waiting);
                drop(board);
                self.news.send_modify(|news| *news += 1);
            }
        }
        None
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn put(&mut self, waiting: Waiting) {
        self.last += 1;
        let number = self.last;
        self.waiting.push_back(Waiting { number, ..waiting });
        if self.waiting.len() > MAX_WAITING {
            let others = self.waiting.iter().position(|waiting| waiting.by_others);
            self.waiting.remove(others.unwrap_or(0));
        }
    }

    fn remember(&mut self, about: About) {
        self.told.push_back(about);
        if self.told.len() > MAX_TOLD {
            self.told.pop_front();
        }
    }
}

fn is_among(all: &[Recipient], one: &Recipient) -> bool {
    all.iter()
        .any(|own| own.channel == one.channel && own.person == one.person)
}

/// A worker's stream of notices.
pub(crate) struct Attached {
    channel: String,
    stream: u64,
    /// The last one that it was given.
    after: u64,
    news: watch::Receiver<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient(channel: &str, person: &str, accounts: &[&str]) -> Recipient {
        Recipient {
            channel: channel.to_owned(),
            accounts: accounts.iter().map(|one| (*one).to_owned()).collect(),
            person: person.to_owned(),
            thread: String::new(),
        }
    }

    fn notice(about: About) -> Notice {
        Notice {
            about,
            to: To::Owners,
            text: "text".to_owned(),
            expires_ms: 1_000,
            by_others: false,
        }
    }

    fn board(owners: Vec<Recipient>) -> Notices {
        let notices = Notices::new(7);
        notices.set_owners(owners);
        notices
    }

    /// What a stream is given at a moment, as account and person.
    fn given(notices: &Notices, attached: &mut Attached, now_ms: u64) -> Vec<(String, String)> {
        std::iter::from_fn(|| notices.next(attached, now_ms).flatten())
            .map(|notice| (notice.account, notice.person))
            .collect()
    }

    fn pair(account: &str, person: &str) -> (String, String) {
        (account.to_owned(), person.to_owned())
    }

    #[test]
    fn a_thing_is_told_once_until_it_is_over() {
        let notices = board(vec![recipient("telegram", "1", &["default"])]);
        assert_eq!(notices.tell(notice(About::Config)), 1);
        assert_eq!(notices.tell(notice(About::Config)), 0);
        assert_eq!(notices.tell(notice(About::Budget("day".to_owned()))), 1);
        let mut stream = notices.attach("telegram");
        assert_eq!(given(&notices, &mut stream, 0).len(), 2);
        notices.over(&About::Config);
        assert_eq!(notices.tell(notice(About::Config)), 1);
        assert_eq!(given(&notices, &mut stream, 0).len(), 1);
    }

    #[test]
    fn nobody_to_tell_is_said_and_not_remembered_as_told() {
        let notices = board(Vec::new());
        assert_eq!(notices.tell(notice(About::Config)), 0);
        notices.set_owners(vec![
            recipient("telegram", "1", &["default"]),
            recipient("signal", "2", &["a"]),
        ]);
        assert_eq!(notices.tell(notice(About::Config)), 2);
        let mut stream = notices.attach("signal");
        assert_eq!(given(&notices, &mut stream, 0), [pair("a", "2")]);
        assert_eq!(given(&notices, &mut stream, 0), []);
    }

    #[test]
    fn what_is_not_settled_comes_again_with_the_next_stream_and_the_first_stream_ends() {
        let notices = board(vec![recipient("telegram", "1", &["default"])]);
        notices.tell(notice(About::Config));
        let mut first = notices.attach("telegram");
        let id = notices.next(&mut first, 0).unwrap().unwrap().id;
        let mut second = notices.attach("telegram");
        assert!(notices.next(&mut first, 0).is_none());
        assert_eq!(notices.next(&mut second, 0).unwrap().unwrap().id, id);
        assert_eq!(notices.settle("discord", &id, true), None);
        for wrong in ["", "8-1", "7-99", "7", "7-x"] {
            assert_eq!(notices.settle("telegram", wrong, true), None, "{wrong}");
        }
        assert_eq!(notices.settle("telegram", &id, true), Some(About::Config));
        assert_eq!(notices.settle("telegram", &id, true), None);
        let mut third = notices.attach("telegram");
        assert_eq!(given(&notices, &mut third, 0), []);
    }

    #[test]
    fn what_one_account_cannot_send_the_next_one_tries_and_then_it_ends() {
        let notices = board(vec![recipient("telegram", "1", &["a", "b"])]);
        notices.tell(notice(About::Config));
        let mut stream = notices.attach("telegram");
        for account in ["a", "b"] {
            let one = notices.next(&mut stream, 0).unwrap().unwrap();
            assert_eq!(one.account, account);
            assert_eq!(notices.settle("telegram", &one.id, false), None);
        }
        assert_eq!(given(&notices, &mut stream, 0), []);
    }

    #[test]
    fn nothing_is_told_too_late_and_nothing_grows_without_end() {
        let notices = board(vec![recipient("telegram", "1", &["default"])]);
        for number in 0..2 * MAX_TOLD {
            notices.tell(notice(About::Question(number.to_string())));
        }
        assert_eq!(notices.board().waiting.len(), MAX_WAITING);
        assert_eq!(notices.board().told.len(), MAX_TOLD);
        let mut stream = notices.attach("telegram");
        assert!(notices.next(&mut stream, 999).unwrap().is_some());
        assert!(notices.next(&mut stream, 1_000).unwrap().is_none());
        assert_eq!(notices.board().waiting.len(), 0);
    }

    #[test]
    fn what_others_cause_pushes_out_nothing_of_the_owners_own() {
        let notices = board(vec![recipient("telegram", "1", &["default"])]);
        let others = |number: usize| Notice {
            by_others: true,
            ..notice(About::Question(number.to_string()))
        };
        notices.tell(notice(About::Config));
        for number in 0..2 * MAX_WAITING {
            notices.tell(others(number));
        }
        notices.tell(notice(About::Budget("day".to_owned())));
        let abouts = |notices: &Notices| -> Vec<About> {
            let board = notices.board();
            board.waiting.iter().map(|one| one.about.clone()).collect()
        };
        let kept = abouts(&notices);
        assert_eq!(kept.len(), MAX_WAITING);
        assert!(kept.contains(&About::Config) && kept.contains(&About::Budget("day".to_owned())));
        for number in 0..2 * MAX_WAITING {
            notices.tell(notice(About::Budget(number.to_string())));
        }
        notices.tell(others(9_999));
        assert!(!abouts(&notices).contains(&About::Question("9999".to_owned())));
    }

    #[test]
    fn who_is_no_owner_any_more_is_told_nothing_more_as_one() {
        let (one, two) = (
            recipient("telegram", "1", &["default"]),
            recipient("telegram", "2", &["default"]),
        );
        let notices = board(vec![one.clone(), two.clone()]);
        notices.tell(notice(About::Config));
        notices.tell(Notice {
            to: To::These(vec![two.clone(), recipient("telegram", "3", &["default"])]),
            ..notice(About::Question("q".to_owned()))
        });
        notices.set_owners(vec![one]);
        let mut stream = notices.attach("telegram");
        let told = given(&notices, &mut stream, 0);
        assert_eq!(told, [pair("default", "1"), pair("default", "3")]);
    }

    #[tokio::test]
    async fn a_stream_waits_for_what_comes() {
        let notices = board(vec![recipient("telegram", "1", &["default"])]);
        let mut stream = notices.attach("telegram");
        let (one, _) = tokio::join!(notices.wait(&mut stream, || 0), async {
            notices.tell(notice(About::Config))
        });
        assert_eq!(one.unwrap().person, "1");
    }
}

//! What a failed poll asks for: how long to wait, and what the operator has to know. Pure.

use std::time::{Duration, Instant};

use clawdbot_channel::Backoff;

use crate::errors::{CallError, Meaning};

/// Failures this old are the operator's business; shorter ones are the Internet's.
const LASTING: Duration = Duration::from_secs(30);
/// The same before the bot has ever answered, when somebody may be waiting for the verdict on a new token.
const LASTING_AT_FIRST: Duration = Duration::from_secs(4);
/// After this time without a conflict it is over.
const AT_PEACE: Duration = Duration::from_secs(60);
/// Pause while a web hook is set.
const SLOW: Duration = Duration::from_secs(30);
/// No pause is shorter.
const SHORTEST: Duration = Duration::from_millis(200);

/// What to do after a failure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reaction {
    /// When to try again; `None`: not with this token.
    pub(crate) pause: Option<Duration>,
    /// Code and text of the problem.
    pub(crate) problem: Option<(&'static str, String)>,
}

/// The failures of one bot so far.
pub(crate) struct Trouble {
    backoff: Backoff,
    since: Option<Instant>,
    worked_once: bool,
    conflicts: u32,
    last_conflict: Option<Instant>,
    account: String,
}

impl Trouble {
    pub(crate) fn new(account: &str) -> Self {
        Self {
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            since: None,
            worked_once: false,
            conflicts: 0,
            last_conflict: None,
            account: account.to_owned(),
        }
    }

    /// Failures in a row.
    pub(crate) fn is_over(&self) -> bool {
        self.since.is_none()
    }

    /// A call worked: whether no problem is left.
    pub(crate) fn worked(&mut self, now: Instant) -> bool {
        self.backoff.worked(now);
        self.since = None;
        self.worked_once = true;
        let at_peace = |last: Instant| now.saturating_duration_since(last) >= AT_PEACE;
        if self.last_conflict.is_none_or(at_peace) {
            self.last_conflict = None;
            self.conflicts = 0;
        }
        // A poll that fetched something says nothing about who else polls.
        self.conflicts < 2
    }

    /// A call failed.
    pub(crate) fn failed(&mut self, error: &CallError, now: Instant, random: f64) -> Reaction {
        let since = *self.since.get_or_insert(now);
        let meaning = match error {
            CallError::Refused(refusal) => refusal.meaning(),
            _ => Meaning::Trouble,
        };
        let (name, login) = (&self.account, self.login());
        match meaning {
            Meaning::Revoked => Reaction {
                pause: None,
                problem: Some((
                    "channel.auth_revoked",
                    format!(
                        "Telegram does not accept the bot token of account {name}: it was revoked or mistyped. \
                         Get the present one from @BotFather and store it with: {login}"
                    ),
                )),
            },
            Meaning::WebHook => Reaction {
                pause: Some(SLOW),
                problem: Some((
                    "channel.webhook_set",
                    format!(
                        "the bot of account {name} has a web hook, so its messages go elsewhere. If that is not wanted, \
                         remove it with the Bot API's deleteWebhook, or let @BotFather make a new token and store it with: {login}"
                    ),
                )),
            },
            Meaning::Conflict => {
                self.conflicts += 1;
                self.last_conflict = Some(now);
                let problem = (self.conflicts >= 2).then(|| {
                    (
                        "channel.conflict",
                        format!(
                            "another program receives the messages of the bot of account {name} with the same token. \
                             Stop it, or let @BotFather make a new token and store it with: {login}"
                        ),
                    )
                });
                let pause = Duration::from_secs(5) * (1 << self.conflicts.min(4)) / 2;
                Reaction {
                    pause: Some(pause),
                    problem,
                }
            }
            Meaning::TooFast => {
                let asked = match error {
                    CallError::Refused(refusal) => refusal.retry_after.unwrap_or_default(),
                    _ => Duration::ZERO,
                };
                let problem = (asked > LASTING).then(|| {
                    (
                        "channel.unavailable",
                        format!(
                            "Telegram wants the bot of account {name} to wait {} s before it receives messages again",
                            asked.as_secs()
                        ),
                    )
                });
                Reaction {
                    pause: Some(asked.max(SHORTEST)),
                    problem,
                }
            }
            _ => {
                let pause = self.backoff.failed(now, random).max(SHORTEST);
                let lasting = match self.worked_once {
                    true => LASTING,
                    false => LASTING_AT_FIRST,
                };
                let lasts = now.saturating_duration_since(since) >= lasting;
                Reaction {
                    pause: Some(match self.worked_once {
                        true => pause,
                        false => pause.min(Duration::from_secs(5)),
                    }),
                    problem: lasts.then(|| {
                        (
                            "channel.unavailable",
                            format!(
                                "the Bot API cannot be used for account {name}: {error}. It is tried again; check the network \
                                 and channels.telegram.apiRoot if it lasts"
                            ),
                        )
                    }),
                }
            }
        }
    }

    fn login(&self) -> String {
        login(&self.account)
    }
}

/// The command that stores an account's token.
pub(crate) fn login(account: &str) -> String {
    match account {
        "default" => "clawdbot login --channel telegram".to_owned(),
        name => format!("clawdbot login --channel telegram --profile {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Refusal;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn refused(code: i64, description: &str) -> CallError {
        CallError::Refused(Refusal {
            code,
            description: description.into(),
            retry_after: Some(S(7)),
            migrate_to: None,
        })
    }

    fn code(reaction: &Reaction) -> &str {
        reaction
            .problem
            .as_ref()
            .map_or("none", |problem| problem.0)
    }

    #[test]
    fn a_revoked_token_stops_the_account_and_names_the_remedy() {
        let mut trouble = Trouble::new("work");
        let reaction = trouble.failed(&refused(401, "Unauthorized"), Instant::now(), 1.0);
        assert_eq!(
            (reaction.pause, code(&reaction)),
            (None, "channel.auth_revoked")
        );
        let (_, message) = reaction.problem.unwrap();
        assert!(message.ends_with("clawdbot login --channel telegram --profile work"));
    }

    #[test]
    fn ten_minutes_of_bad_gateways_are_one_problem_and_then_none() {
        let start = Instant::now();
        let mut trouble = Trouble::new("default");
        assert!(trouble.worked(start));
        let (mut now, mut codes, mut tries) = (start, Vec::new(), 0);
        while now < start + S(600) {
            let reaction = trouble.failed(&refused(502, "Bad Gateway"), now, 0.5);
            codes.push(code(&reaction).to_owned());
            now += reaction.pause.unwrap();
            tries += 1;
        }
        codes.dedup();
        assert_eq!(codes, ["none", "channel.unavailable"]);
        assert!(tries < 40, "{tries} tries");
        assert!(trouble.worked(now) && trouble.is_over());
    }

    #[test]
    fn one_conflict_is_nothing_and_two_are_a_second_instance() {
        let now = Instant::now();
        let mut trouble = Trouble::new("default");
        let conflict = refused(409, "Conflict: terminated by other getUpdates request");
        let first = trouble.failed(&conflict, now, 1.0);
        assert_eq!((code(&first), first.pause), ("none", Some(S(5))));
        assert!(trouble.worked(now));
        let second = trouble.failed(&conflict, now, 1.0);
        assert_eq!(
            (code(&second), second.pause),
            ("channel.conflict", Some(S(10)))
        );
        assert!(!trouble.worked(now + S(59)), "still at war");
        assert!(trouble.worked(now + S(60)));
    }

    #[test]
    fn a_web_hook_is_said_at_once_and_a_pause_that_was_asked_for_is_kept() {
        let mut trouble = Trouble::new("default");
        let hook = refused(
            409,
            "Conflict: can't use getUpdates method while webhook is active",
        );
        let reaction = trouble.failed(&hook, Instant::now(), 1.0);
        assert_eq!(
            (code(&reaction), reaction.pause),
            ("channel.webhook_set", Some(SLOW))
        );
        let slow = trouble.failed(&refused(429, "Too Many Requests"), Instant::now(), 1.0);
        assert_eq!((code(&slow), slow.pause), ("none", Some(S(7))));
        let asking = |seconds| {
            CallError::Refused(Refusal {
                code: 429,
                description: "Too Many Requests".into(),
                retry_after: Some(S(seconds)),
                migrate_to: None,
            })
        };
        let at_once = trouble.failed(&asking(0), Instant::now(), 1.0);
        assert_eq!(at_once.pause, Some(SHORTEST), "nobody is asked in a circle");
        let long = trouble.failed(&asking(3600), Instant::now(), 1.0);
        assert_eq!(code(&long), "channel.unavailable");
    }
}

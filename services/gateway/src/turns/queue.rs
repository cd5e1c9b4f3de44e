//! `/queue`: how messages of one session wait that come while a turn runs. It outlives a restart and holds for messages that
//! come after it; what waits already keeps its rule.

use std::sync::Arc;

use clawdbot_identity::{SessionKey, text};
use clawdbot_proto::v1;
use tracing::warn;

use super::{Turns, failed};
use crate::queue::{Outcome, QueueError};
use crate::rule::Wish;
use crate::turn_log::TurnLog;
use crate::wording;

impl Turns {
    /// Whether messages are looked at for commands.
    pub fn reads_commands(&self) -> bool {
        !self.board().manners.commands_off
    }

    /// Takes up what was changed before a restart.
    pub(super) async fn recall(&self) -> Result<(), QueueError> {
        let stored = self.0.queue.wishes().await?;
        let known = |(key, words): (SessionKey, String)| match Wish::parse(&words) {
            Ok(wish) => Some((key, wish)),
            Err(word) => {
                warn!(session = %key, word, "what /queue changed is not understood any more");
                None
            }
        };
        self.board().wishes = stored.into_iter().filter_map(known).collect();
        Ok(())
    }

    /// Does what the words after `/queue` say for a session; how that is told to somebody who came in by this door.
    ///
    /// # Errors
    /// When it cannot be stored; nothing has changed then.
    pub async fn wish(
        &self,
        key: &SessionKey,
        words: &str,
        door: &str,
    ) -> Result<String, QueueError> {
        let words = words.trim().to_ascii_lowercase();
        let before = self.board().wishes.get(key).copied().unwrap_or_default();
        let now = match (words.as_str(), Wish::parse(&words)) {
            ("", _) => before,
            (_, Err(word)) => {
                return Ok(format!(
                    "No change: \"{}\" is not understood. Use collect, followup, steer, steer-backlog or interrupt, \
                     debounce:2s, cap:1 to cap:100, drop:summarize, drop:old or drop:new; or /queue default.",
                    text::sanitize_line(word)
                ));
            }
            (_, Ok(wish)) if wish == Wish::default() => wish,
            (_, Ok(wish)) => wish.or(before),
        };
        if now != before {
            self.0.queue.wish(key.clone(), now.words()).await?;
            let mut board = self.board();
            match now == Wish::default() {
                true => drop(board.wishes.remove(key)),
                false => drop(board.wishes.insert(key.clone(), now)),
            }
        }
        let rule = now.over(self.board().manners.rule(door));
        let whose = match now == Wish::default() {
            true => " (as configured)",
            false => "",
        };
        Ok(format!(
            "Messages from chats that come while this session is busy: {}{whose}. What is typed in a terminal or a browser \
             always has a turn of its own.",
            Wish::from(rule).words()
        ))
    }

    /// `/queue` in a chat, which is told.
    pub(super) fn wish_from_chat(&self, log: Arc<TurnLog>) {
        let this = self.clone();
        tokio::spawn(async move {
            let asked = this.0.queue.question(log.turn.row).await;
            let outcome = match asked {
                // Settled already.
                Ok(None) => return,
                Ok(Some((_, question))) => {
                    let words = wording::queue(&question.text).unwrap_or_default();
                    let door = log.turn.source.name();
                    this.wish(&log.turn.session_key, words, door).await
                }
                Err(error) => Err(error),
            };
            let outcome = match outcome {
                Ok(text) => Outcome::Answered(v1::Answer {
                    text,
                    ..Default::default()
                }),
                Err(error) => failed("queue.unwritable", &error.to_string()),
            };
            this.conclude(&log, outcome, &[]).await;
        });
    }
}

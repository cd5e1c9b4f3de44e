//! Which requests the owner has not been told of yet: each once, at most one message a minute for each account, in which
//! all stand that came meanwhile. That he was told is in the book, so that a restart tells nothing twice.

use std::collections::{BTreeMap, BTreeSet};

use super::book::{Book, Pending, Place, Row};

/// Between two messages about one account, milliseconds.
const PAUSE_MS: u64 = 60 * 1000;

/// What was handed on and when.
#[derive(Default)]
pub(crate) struct Herald {
    last: BTreeMap<Place, u64>,
    /// Codes of requests that wait to be told.
    underway: BTreeSet<String>,
}

impl Herald {
    /// The requests that should be told now, by account.
    pub(crate) fn due<'b>(&mut self, book: &'b Book, now_ms: u64) -> Vec<Vec<Row<&'b Pending>>> {
        let pending = book.pending(now_ms);
        let waits = |code: &String| pending.iter().any(|row| row.what.code == *code);
        self.underway.retain(waits);
        // After the clock was set back nothing is late.
        self.last
            .retain(|_, last| *last <= now_ms && now_ms - *last < PAUSE_MS);
        let mut due: BTreeMap<Place, Vec<Row<&Pending>>> = BTreeMap::new();
        for row in pending {
            let place = (row.channel.clone(), row.account.clone());
            let told = row.what.told || self.underway.contains(&row.what.code);
            if !told && !self.last.contains_key(&place) {
                due.entry(place).or_default().push(row);
            }
        }
        let due: Vec<_> = due.into_iter().collect();
        due.into_iter().map(|(_, rows)| rows).collect()
    }

    /// These are on their way to somebody.
    pub(crate) fn handed(&mut self, rows: &[Row<&Pending>], now_ms: u64) {
        for row in rows {
            self.underway.insert(row.what.code.clone());
            self.last
                .insert((row.channel.clone(), row.account.clone()), now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairing::Request;

    fn ask(book: &mut Book, account: &str, sender: u8, now_ms: u64) {
        let request = Request {
            channel: "telegram".to_owned(),
            account: account.to_owned(),
            sender: sender.to_string(),
            hint: String::new(),
            name: None,
            event: sender.to_string(),
        };
        book.ask(request, now_ms, || Ok([sender; 8])).unwrap();
    }

    /// Senders of each message that is due, which are handed on.
    fn tell(herald: &mut Herald, book: &Book, now_ms: u64) -> Vec<String> {
        let due = herald.due(book, now_ms);
        let told = due.iter().map(|rows| {
            herald.handed(rows, now_ms);
            let senders: Vec<_> = rows.iter().map(|row| row.sender.as_str()).collect();
            senders.join(" ")
        });
        told.collect()
    }

    #[test]
    fn each_request_is_told_once_and_an_account_at_most_once_a_minute() {
        let (mut herald, mut book) = (Herald::default(), Book::default());
        ask(&mut book, "a", 1, 0);
        assert_eq!(tell(&mut herald, &book, 0), ["1"]);
        assert_eq!(tell(&mut herald, &book, 1), Vec::<String>::new());
        ask(&mut book, "a", 2, 2);
        ask(&mut book, "a", 3, 3);
        ask(&mut book, "b", 4, 4);
        assert_eq!(tell(&mut herald, &book, 5), ["4"]);
        assert_eq!(tell(&mut herald, &book, 59_999), Vec::<String>::new());
        assert_eq!(tell(&mut herald, &book, 60_000), ["2 3"]);
        assert_eq!(tell(&mut herald, &book, 600_000), Vec::<String>::new());
    }

    #[test]
    fn what_could_not_be_handed_on_stays_due_and_what_the_book_calls_told_does_not() {
        let (mut herald, mut book) = (Herald::default(), Book::default());
        ask(&mut book, "a", 1, 0);
        ask(&mut book, "a", 2, 0);
        assert_eq!(herald.due(&book, 0).len(), 1);
        assert_eq!(herald.due(&book, 0)[0].len(), 2);
        let code = book.pending(0)[0].what.code.clone();
        book.told(std::slice::from_ref(&code));
        let mut after_a_restart = Herald::default();
        assert_eq!(tell(&mut after_a_restart, &book, 1), ["2"]);
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nothing_up() {
        let (mut herald, mut book) = (Herald::default(), Book::default());
        let hour = 60 * 60 * 1000;
        ask(&mut book, "a", 1, 2 * hour);
        assert_eq!(tell(&mut herald, &book, 2 * hour), ["1"]);
        ask(&mut book, "a", 2, hour);
        assert_eq!(tell(&mut herald, &book, hour), ["2"]);
    }
}

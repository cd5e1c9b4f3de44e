//! The book as a file: JSON that a person can read. A file that is not whole is refused, never repaired and never
//! replaced: an approval that is lost by mistake is a person locked out, one that is made up a stranger let in.

use serde_json::{Map, Value, json};

use super::book::{Approved, Book, Pending, Roll};

/// The book as text.
pub(super) fn write(book: &Book) -> String {
    let mut accounts = Vec::new();
    for ((channel, account), roll) in &book.0 {
        let pending: Vec<_> = roll
            .pending
            .iter()
            .map(|one| {
                json!({ "code": one.code, "sender": one.sender, "hint": one.hint, "name": one.name, "event": one.event, "created": one.created_ms, "told": one.told })
            })
            .collect();
        let approved: Vec<_> = roll
            .approved
            .iter()
            .map(|(sender, one)| json!({ "sender": sender, "hint": one.hint, "approved": one.approved_ms }))
            .collect();
        accounts.push(json!({
            "channel": channel, "account": account, "pending": pending, "approved": approved, "names": roll.pins,
        }));
    }
    format!("{:#}", json!({ "version": VERSION, "accounts": accounts }))
}

/// The format that this version reads and writes.
pub(super) const VERSION: u64 = 1;

/// The book of a text; nothing when it is not one, or one of another version.
pub(super) fn read(text: &str) -> Option<Book> {
    let page: Value = serde_json::from_str(text).ok()?;
    if page["version"] != VERSION {
        return None;
    }
    let mut book = Book::default();
    for account in page["accounts"].as_array()? {
        let mut roll = Roll::default();
        for one in account["pending"].as_array()? {
            roll.pending.push(Pending {
                code: text_of(one, "code")?,
                sender: text_of(one, "sender")?,
                hint: text_of(one, "hint")?,
                name: match &one["name"] {
                    Value::Null => None,
                    name => Some(name.as_str()?.to_owned()),
                },
                event: text_of(one, "event")?,
                created_ms: one["created"].as_u64()?,
                // Not there in files of before.
                told: one["told"].as_bool().unwrap_or(false),
            });
        }
        for one in account["approved"].as_array()? {
            let approved = Approved {
                hint: text_of(one, "hint")?,
                approved_ms: one["approved"].as_u64()?,
            };
            roll.approved.insert(text_of(one, "sender")?, approved);
        }
        let names: &Map<String, Value> = account["names"].as_object()?;
        for (name, sender) in names {
            roll.pins.insert(name.clone(), sender.as_str()?.to_owned());
        }
        book.0.insert(
            (text_of(account, "channel")?, text_of(account, "account")?),
            roll,
        );
    }
    Some(book)
}

fn text_of(value: &Value, key: &str) -> Option<String> {
    value[key].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairing::Request;

    #[test]
    fn a_book_comes_back_as_it_was_and_a_cut_or_foreign_file_is_none() {
        let mut book = Book::default();
        for (account, sender, name) in [
            ("default", "1", None),
            ("work", "2", Some("@ann".to_owned())),
            ("work", "3", None),
        ] {
            let request = Request {
                channel: "telegram".to_owned(),
                account: account.to_owned(),
                sender: sender.to_owned(),
                hint: "Ann \"x\"".to_owned(),
                name,
                event: "7".to_owned(),
            };
            let mut bytes = [sender.as_bytes()[0]; 8];
            book.ask(request, 1_000, || {
                bytes[0] += 1;
                Ok(bytes)
            })
            .unwrap();
        }
        let code = book
            .pending(1_000)
            .iter()
            .find(|row| row.sender == "2")
            .unwrap()
            .what
            .code
            .clone();
        book.approve("telegram", &code, 2_000, None).unwrap();
        let text = write(&book);
        assert_eq!(read(&text), Some(book));
        assert_eq!(read(&write(&Book::default())), Some(Book::default()));
        for end in 0..text.len() {
            assert_eq!(read(&text[..end]), None, "cut at {end}");
        }
        for bad in [
            "",
            "[]",
            "{\"version\":2,\"accounts\":[]}",
            "{\"version\":1}",
            "{\"version\":1,\"accounts\":[{}]}",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}

//! The counters as a file: JSON that a person can read. A file that is not whole is refused: what was used would be
//! forgotten.

use serde_json::{Value, json};

use super::book::{Amount, Key, Period};

/// Counters as text.
pub(super) fn write(rows: &[(Key, Amount, bool)]) -> String {
    let row = |(key, amount, told): &(Key, Amount, bool)| {
        let (of, period) = match key.period {
            Period::Day(day) => ("day", day),
            Period::Month(month) => ("month", month),
        };
        json!({
            "agent": key.agent, "of": of, "period": period, "sender": key.sender,
            "tokens": amount.tokens, "microusd": amount.microusd, "told": told,
        })
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    json!({ "version": VERSION, "counters": rows }).to_string()
}

/// The format that this version reads and writes.
pub(super) const VERSION: u64 = 1;

/// Counters of a text; nothing when it is not one, or one of another version.
pub(super) fn read(text: &str) -> Option<Vec<(Key, Amount, bool)>> {
    let page: Value = serde_json::from_str(text).ok()?;
    if page["version"] != VERSION {
        return None;
    }
    let row = |row: &Value| {
        let text = |key: &str| row[key].as_str().map(str::to_owned);
        let number = row["period"].as_u64()?;
        let key = Key {
            agent: text("agent")?,
            period: match row["of"].as_str()? {
                "day" => Period::Day(number),
                "month" => Period::Month(number),
                _ => return None,
            },
            sender: text("sender")?,
        };
        let amount = Amount {
            tokens: row["tokens"].as_u64()?,
            microusd: row["microusd"].as_u64()?,
        };
        Some((key, amount, row["told"].as_bool()?))
    };
    page["counters"].as_array()?.iter().map(row).collect()
}

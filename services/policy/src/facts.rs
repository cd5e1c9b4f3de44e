//! What this version knows of models that need no description: window, longest answer, thinking, price. A price stands
//! here only for the very model, since a family's other members cost something else; unknown is better than wrong.

use clawdbot_proto::v1::Price;

/// One model or family.
struct Row {
    provider: &'static str,
    name: &'static str,
    /// The rest of the family, too: everything that begins with the name.
    family: bool,
    window: u32,
    output: u32,
    reasoning: bool,
    /// Cents per million tokens: read, written, read from the cache, put into the cache.
    cents: Option<[f64; 4]>,
}

/// What is known of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Known {
    /// Tokens.
    pub(crate) window: u32,
    /// Tokens.
    pub(crate) output: u32,
    pub(crate) reasoning: bool,
    pub(crate) price: Option<Price>,
}

const fn claude(name: &'static str, output: u32, reasoning: bool, cents: Option<[f64; 4]>) -> Row {
    Row {
        provider: "anthropic",
        name,
        family: cents.is_none(),
        window: 200_000,
        output,
        reasoning,
        cents,
    }
}

const fn gpt(
    name: &'static str,
    window: u32,
    output: u32,
    reasoning: bool,
    cents: Option<[f64; 3]>,
) -> Row {
    Row {
        provider: "openai",
        name,
        family: cents.is_none(),
        window,
        output,
        reasoning,
        // There is no charge of its own for what goes into the cache: it is what was read.
        cents: match cents {
            Some([input, output, cached]) => Some([input, output, cached, input]),
            None => None,
        },
    }
}

/// The first row that fits counts, so members stand before their family.
const ROWS: &[Row] = &[
    claude(
        "claude-opus-4-5",
        64_000,
        true,
        Some([500.0, 2500.0, 50.0, 625.0]),
    ),
    claude(
        "claude-opus-4-1",
        32_000,
        true,
        Some([1500.0, 7500.0, 150.0, 1875.0]),
    ),
    claude(
        "claude-opus-4",
        32_000,
        true,
        Some([1500.0, 7500.0, 150.0, 1875.0]),
    ),
    claude(
        "claude-sonnet-4-5",
        64_000,
        true,
        Some([300.0, 1500.0, 30.0, 375.0]),
    ),
    claude(
        "claude-sonnet-4",
        64_000,
        true,
        Some([300.0, 1500.0, 30.0, 375.0]),
    ),
    claude(
        "claude-haiku-4-5",
        64_000,
        true,
        Some([100.0, 500.0, 10.0, 125.0]),
    ),
    claude(
        "claude-3-7-sonnet",
        64_000,
        true,
        Some([300.0, 1500.0, 30.0, 375.0]),
    ),
    claude(
        "claude-3-5-haiku",
        8_192,
        false,
        Some([80.0, 400.0, 8.0, 100.0]),
    ),
    claude(
        "claude-3-haiku",
        4_096,
        false,
        Some([25.0, 125.0, 3.0, 30.0]),
    ),
    claude("claude-3-5-", 8_192, false, None),
    claude("claude-3-", 4_096, false, None),
    claude("claude-", 32_000, true, None),
    gpt("gpt-5", 400_000, 128_000, true, Some([125.0, 1000.0, 12.5])),
    gpt(
        "gpt-5.1",
        400_000,
        128_000,
        true,
        Some([125.0, 1000.0, 12.5]),
    ),
    gpt(
        "gpt-5-mini",
        400_000,
        128_000,
        true,
        Some([25.0, 200.0, 2.5]),
    ),
    gpt("gpt-5-nano", 400_000, 128_000, true, Some([5.0, 40.0, 0.5])),
    // These answer at once and refuse to be told how hard to think.
    gpt("gpt-5-chat", 128_000, 16_384, false, None),
    gpt("gpt-5", 400_000, 128_000, true, None),
    gpt(
        "gpt-4.1",
        1_047_576,
        32_768,
        false,
        Some([200.0, 800.0, 50.0]),
    ),
    gpt(
        "gpt-4.1-mini",
        1_047_576,
        32_768,
        false,
        Some([40.0, 160.0, 10.0]),
    ),
    gpt(
        "gpt-4.1-nano",
        1_047_576,
        32_768,
        false,
        Some([10.0, 40.0, 2.5]),
    ),
    gpt(
        "gpt-4o",
        128_000,
        16_384,
        false,
        Some([250.0, 1000.0, 125.0]),
    ),
    gpt(
        "gpt-4o-mini",
        128_000,
        16_384,
        false,
        Some([15.0, 60.0, 7.5]),
    ),
    gpt("gpt-4o", 128_000, 16_384, false, None),
    gpt("o3", 200_000, 100_000, true, Some([200.0, 800.0, 50.0])),
    gpt(
        "o4-mini",
        200_000,
        100_000,
        true,
        Some([110.0, 440.0, 27.5]),
    ),
    gpt(
        "o3-mini",
        200_000,
        100_000,
        true,
        Some([110.0, 440.0, 55.0]),
    ),
    gpt("o1", 200_000, 100_000, true, Some([1500.0, 6000.0, 750.0])),
    gpt("o1", 200_000, 100_000, true, None),
    gpt("o3", 200_000, 100_000, true, None),
    gpt("o4", 200_000, 100_000, true, None),
];

impl Row {
    fn fits(&self, provider: &str, model: &str) -> bool {
        let Some(rest) = (self.provider == provider)
            .then(|| model.strip_prefix(self.name))
            .flatten()
        else {
            return false;
        };
        self.family || rest.is_empty() || rest == "-latest" || is_date(rest)
    }
}

/// `-20250929`, `-2025-08-07`: the same model of a certain day. A shorter number is another version.
fn is_date(rest: &str) -> bool {
    let digits = rest.bytes().filter(u8::is_ascii_digit).count();
    rest.starts_with('-') && digits == 8 && rest.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

/// What the tables say of a provider's model.
pub(crate) fn known(provider: &str, model: &str) -> Option<Known> {
    let row = ROWS.iter().find(|row| row.fits(provider, model))?;
    Some(Known {
        window: row.window,
        output: row.output,
        reasoning: row.reasoning,
        price: row.cents.map(|[input, output, cache_read, cache_write]| {
            price([input, output, cache_read, cache_write].map(|cents| cents / 100.0))
        }),
    })
}

/// A price from dollars per million tokens: read, written, read from the cache, put into the cache.
pub(crate) fn price(dollars: [f64; 4]) -> Price {
    // Fractions of a millionth do not exist; nonsense is bounded by the type.
    let [input, output, cache_read, cache_write] =
        dollars.map(|dollars| (dollars * 1_000_000.0).round() as u64);
    Price {
        input,
        output,
        cache_read,
        cache_write,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dated_member_has_its_price_and_a_cousin_none() {
        for (provider, model, window, input) in [
            ("anthropic", "claude-sonnet-4-5", 200_000, Some(3_000_000)),
            (
                "anthropic",
                "claude-sonnet-4-5-20250929",
                200_000,
                Some(3_000_000),
            ),
            (
                "anthropic",
                "claude-sonnet-4-20250514",
                200_000,
                Some(3_000_000),
            ),
            (
                "anthropic",
                "claude-opus-4-5-20251101",
                200_000,
                Some(5_000_000),
            ),
            ("anthropic", "claude-opus-4-0", 200_000, None),
            ("anthropic", "claude-opus-4-7", 200_000, None),
            (
                "anthropic",
                "claude-3-5-haiku-latest",
                200_000,
                Some(800_000),
            ),
            ("anthropic", "claude-3-opus-20240229", 200_000, None),
            ("openai", "gpt-5", 400_000, Some(1_250_000)),
            ("openai", "gpt-5-2025-08-07", 400_000, Some(1_250_000)),
            ("openai", "gpt-5-mini", 400_000, Some(250_000)),
            ("openai", "gpt-5-pro", 400_000, None),
            ("openai", "gpt-5.9", 400_000, None),
            ("openai", "gpt-4o-mini", 128_000, Some(150_000)),
            ("openai", "gpt-4o-audio-preview", 128_000, None),
        ] {
            let known = known(provider, model).unwrap();
            assert_eq!(
                (known.window, known.price.map(|price| price.input)),
                (window, input),
                "{model}"
            );
        }
        for (provider, model) in [
            ("openai", "claude-x"),
            ("ollama", "gpt-5"),
            ("openai", "davinci"),
        ] {
            assert_eq!(known(provider, model), None, "{provider} {model}");
        }
    }

    #[test]
    fn whether_a_model_thinks_is_told_for_each_of_openai_s_lines() {
        for (model, reasoning) in [
            ("gpt-5", true),
            ("gpt-5-2025-08-07", true),
            ("gpt-5-chat-latest", false),
            ("gpt-5-codex", true),
            ("o1", true),
            ("o1-2024-12-17", true),
            ("o1-pro", true),
            ("gpt-4o", false),
        ] {
            let known = known("openai", model).unwrap();
            assert_eq!(known.reasoning, reasoning, "{model}");
        }
    }

    #[test]
    fn every_row_is_reached_by_its_own_name() {
        for (at, row) in ROWS.iter().enumerate() {
            let name = if row.family {
                format!("{}x", row.name)
            } else {
                row.name.to_owned()
            };
            let first = ROWS
                .iter()
                .position(|other| other.fits(row.provider, &name));
            assert_eq!(first, Some(at), "{name}");
        }
    }
}

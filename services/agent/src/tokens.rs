//! Counting: how many tokens a text may be, what a request used and what it cost. Estimates are for deciding when there is
//! too much; what a provider reports wins over them wherever it has reported.

use clawdbot_proto::v1::{Price, Usage};

/// What a message costs beside its text.
const MESSAGE: u64 = 4;
/// Prices are for this many tokens.
const PRICED: u128 = 1_000_000;

/// Tokens of a message with this many bytes of text: four bytes to a token, which fits English and is on the safe side
/// for most other scripts.
pub fn estimate(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4) + MESSAGE
}

/// Both together. A cost is known where at least one of the two has one.
pub fn sum(a: Usage, b: Usage) -> Usage {
    Usage {
        input_tokens: a.input_tokens.saturating_add(b.input_tokens),
        output_tokens: a.output_tokens.saturating_add(b.output_tokens),
        cache_read_tokens: a.cache_read_tokens.saturating_add(b.cache_read_tokens),
        cache_write_tokens: a.cache_write_tokens.saturating_add(b.cache_write_tokens),
        cost_microusd: match (a.cost_microusd, b.cost_microusd) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        },
    }
}

/// What one request cost, in millionths of a US dollar, rounded up.
pub fn cost(usage: &Usage, price: &Price) -> u64 {
    let cached = usage
        .cache_read_tokens
        .saturating_add(usage.cache_write_tokens);
    let parts = [
        (usage.input_tokens.saturating_sub(cached), price.input),
        (usage.output_tokens, price.output),
        (usage.cache_read_tokens, price.cache_read),
        (usage.cache_write_tokens, price.cache_write),
    ];
    let total = parts
        .into_iter()
        .map(|(tokens, price)| u128::from(tokens) * u128::from(price))
        .fold(0, u128::saturating_add);
    u64::try_from(total.div_ceil(PRICED)).unwrap_or(u64::MAX)
}

/// A cost for a person, for example `$0.0123`.
pub fn dollars(microusd: u64) -> String {
    // Ten-thousandths, rounded up, so that nothing that was paid for is shown as free.
    let shown = microusd.div_ceil(100);
    format!("${}.{:04}", shown / 10_000, shown % 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price = Price {
        input: 3_000_000,
        output: 15_000_000,
        cache_read: 300_000,
        cache_write: 3_750_000,
    };

    #[test]
    fn a_cost_counts_each_kind_of_token_once_and_is_rounded_up_at_the_end() {
        let usage = |input, output, read, write| Usage {
            input_tokens: input,
            output_tokens: output,
            cache_read_tokens: read,
            cache_write_tokens: write,
            cost_microusd: None,
        };
        for (usage, microusd) in [
            (usage(0, 0, 0, 0), 0),
            (usage(1000, 100, 0, 0), 3000 + 1500),
            (usage(1000, 0, 600, 300), 300 + 180 + 1125),
            // 0.3 and 3.75: together 4.05, not 1 and 4.
            (usage(2, 0, 1, 1), 5),
            (usage(1, 0, 1, 0), 1),
        ] {
            assert_eq!(cost(&usage, &PRICE), microusd, "{usage:?}");
        }
        let flood = usage(u64::MAX, u64::MAX, 0, 0);
        assert_eq!(cost(&flood, &PRICE), u64::MAX);
    }

    #[test]
    fn a_known_cost_is_not_lost_beside_an_unknown_one() {
        let cost = |cost| Usage {
            input_tokens: 1,
            cost_microusd: cost,
            ..Usage::default()
        };
        for (a, b, both) in [
            (None, None, None),
            (Some(2), None, Some(2)),
            (None, Some(3), Some(3)),
            (Some(2), Some(3), Some(5)),
        ] {
            let both = Usage {
                input_tokens: 2,
                ..cost(both)
            };
            assert_eq!(sum(cost(a), cost(b)), both);
        }
    }

    #[test]
    fn money_is_shown_rounded_up() {
        assert_eq!(dollars(0), "$0.0000");
        assert_eq!(dollars(1), "$0.0001");
        assert_eq!(dollars(1_234_567), "$1.2346");
    }
}

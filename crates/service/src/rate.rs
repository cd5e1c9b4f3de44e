//! The rates of the edge table: one token bucket for each method of a client, refilled at the
//! row's rate up to one second's worth.

use clawdbot_proto::edges::Method;
use tokio::time::Instant;

/// The buckets of one client.
#[derive(Default)]
pub(crate) struct Rates(Vec<Bucket>);

struct Bucket {
    path: &'static str,
    left: f64,
    filled: Instant,
}

impl Rates {
    /// Takes a token of the method's bucket; `false` when there is none.
    pub(crate) fn spend(&mut self, row: &'static Method, now: Instant) -> bool {
        let full = f64::from(row.rate);
        let index = self
            .0
            .iter()
            .position(|bucket| bucket.path == row.path)
            .unwrap_or_else(|| {
                self.0.push(Bucket {
                    path: row.path,
                    left: full,
                    filled: now,
                });
                self.0.len() - 1
            });
        let bucket = &mut self.0[index];
        let refill = now.saturating_duration_since(bucket.filled).as_secs_f64() * full;
        bucket.left = (bucket.left + refill).min(full);
        bucket.filled = now;
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clawdbot_proto::edges::Retry;

    use super::*;

    static ROW: Method = Method {
        path: "a",
        max: 1,
        rate: 2,
        retry: Retry::No,
        streams: false,
        waits: false,
    };
    static OTHER: Method = Method {
        path: "b",
        max: 1,
        rate: 1,
        retry: Retry::No,
        streams: false,
        waits: false,
    };

    #[test]
    fn a_second_holds_as_many_calls_as_the_row_says() {
        let mut rates = Rates::default();
        let start = Instant::now();
        assert!(rates.spend(&ROW, start) && rates.spend(&ROW, start));
        assert!(!rates.spend(&ROW, start));
        assert!(
            rates.spend(&OTHER, start),
            "another method has its own bucket"
        );
        assert!(!rates.spend(&ROW, start + Duration::from_millis(499)));
        assert!(rates.spend(&ROW, start + Duration::from_millis(1000)));
    }

    #[test]
    fn a_pause_saves_no_more_than_one_second() {
        let mut rates = Rates::default();
        let start = Instant::now();
        assert!(rates.spend(&ROW, start));
        let later = start + Duration::from_secs(3600);
        assert!(rates.spend(&ROW, later) && rates.spend(&ROW, later) && !rates.spend(&ROW, later));
    }
}

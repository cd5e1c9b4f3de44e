//! Days and months of UTC by number. A clock that jumps changes which period is counted, never what was counted in one.

pub(super) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Days since 1970.
pub(super) fn day(now_ms: u64) -> u64 {
    now_ms / DAY_MS
}

/// When a day is over, milliseconds since 1970.
pub(super) fn end_of_day(day: u64) -> u64 {
    day.saturating_add(1).saturating_mul(DAY_MS)
}

/// Months since year 0.
pub(super) fn month(now_ms: u64) -> u64 {
    let (year, month, _) = date(day(now_ms));
    year * 12 + month - 1
}

/// When a month is over, milliseconds since 1970.
pub(super) fn end_of_month(wanted: u64, now_ms: u64) -> u64 {
    let mut next = day(now_ms);
    // At most one month ahead.
    while month(next * DAY_MS) <= wanted && next < day(now_ms) + 32 {
        next += 1;
    }
    next * DAY_MS
}

/// Year, month and day of the proleptic Gregorian calendar. Counted in eras of 400 years that begin in March, so that the
/// leap day is the last of a year (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates_and_months_their_ends() {
        for (number, expected) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (19_782, (2024, 2, 29)),
            (20_481, (2026, 1, 28)),
            (20_484, (2026, 1, 31)),
            (20_485, (2026, 2, 1)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(number), expected, "{number}");
        }
        for now in [20_481 * DAY_MS + 5, 20_484 * DAY_MS, 20_485 * DAY_MS - 1] {
            assert_eq!(end_of_month(month(now), now), 20_485 * DAY_MS, "{now}");
            assert_eq!(month(now), 2026 * 12);
        }
        assert_eq!(month(20_485 * DAY_MS), 2026 * 12 + 1);
        assert_eq!(end_of_day(day(7)), DAY_MS);
    }
}

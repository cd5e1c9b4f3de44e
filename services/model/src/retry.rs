//! When a failed request is sent again, and after what pause: the rules that the providers' own clients follow. A longer
//! wait is not sat out here: the agent has other models to try.

use std::time::Duration;

use crate::fault::Fault;

/// Further tries of one request with one profile.
const RETRIES: u32 = 2;
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(8);
/// Longest pause that a provider asks for and gets.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pause before try number `done + 1`, if there is one. `random` is between 0 and 1, and shortens the pause by up to
/// a quarter, so that requests that failed together do not come back together.
pub fn pause(fault: &Fault, done: u32, random: f64) -> Option<Duration> {
    if !fault.again || done > RETRIES {
        return None;
    }
    match fault.retry_after {
        Some(asked) if asked > PATIENCE => None,
        Some(asked) => Some(asked),
        None => {
            let doubled = FIRST.saturating_mul(1 << (done.saturating_sub(1)).min(8));
            Some(
                doubled
                    .min(LONGEST)
                    .mul_f64(1.0 - 0.25 * random.clamp(0.0, 1.0)),
            )
        }
    }
}

/// The pause that an answer's headers ask for. `now_unix` is the time since 1970.
pub fn asked<'a>(
    headers: &impl Fn(&str) -> Option<&'a str>,
    now_unix: Duration,
) -> Option<Duration> {
    let number = |text: &str, unit: f64| {
        let value = text.trim().parse::<f64>().ok()? * unit;
        // A day is more than anybody waits; larger values may not even be a duration.
        (value.is_finite() && value >= 0.0).then(|| Duration::from_secs_f64(value.min(86_400.0)))
    };
    if let Some(millis) = headers("retry-after-ms").and_then(|text| number(text, 0.001)) {
        return Some(millis);
    }
    let text = headers("retry-after")?;
    number(text, 1.0).or_else(|| Some(date(text)?.saturating_sub(now_unix)))
}

/// Time since 1970 of an HTTP date (RFC 9110 5.6.7, the one form that is still written).
fn date(text: &str) -> Option<Duration> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut words = text.trim().split_once(", ")?.1.split(' ');
    let day: u64 = words.next()?.parse().ok()?;
    let month = words.next().filter(|name| name.len() == 3)?;
    let month = u64::try_from(MONTHS.find(month)?).ok()? / 3 + 1;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(str::parse::<u64>);
    let mut part = || clock.next()?.ok();
    let (hour, minute, second) = (part()?, part()?, part()?);
    if !(1970..10_000).contains(&year) || day > 31 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970-01-01 with the year beginning in March, so that the leap day comes last.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(Duration::from_secs(
        ((days * 24 + hour) * 60 + minute) * 60 + second,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Kind;

    fn fault(again: bool, retry_after: Option<u64>) -> Fault {
        Fault {
            again,
            retry_after: retry_after.map(Duration::from_secs),
            ..Fault::new(Kind::Server, "")
        }
    }

    #[test]
    fn two_more_tries_with_doubling_pauses_and_only_where_they_may_help() {
        let passing = fault(true, None);
        let pauses: Vec<_> = (1..=4).map(|done| pause(&passing, done, 0.0)).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(pauses, [ms(500), ms(1000), None, None]);
        assert_eq!(pause(&passing, 1, 1.0), ms(375));
        assert_eq!(pause(&fault(false, None), 1, 0.0), None);
    }

    #[test]
    fn a_short_pause_is_sat_out_as_asked_and_a_long_one_is_not() {
        let seconds = |asked| pause(&fault(true, Some(asked)), 1, 0.0);
        assert_eq!(seconds(20), Some(Duration::from_secs(20)));
        assert_eq!(seconds(0), Some(Duration::ZERO));
        assert_eq!(seconds(21), None);
    }

    #[test]
    fn the_headers_are_read_in_every_form() {
        let now = Duration::from_secs(784_111_770);
        for (name, value, expected) in [
            ("retry-after", "7", Some(7000)),
            ("retry-after", "1.5", Some(1500)),
            ("retry-after-ms", "250", Some(250)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", Some(7000)),
            ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("retry-after", "-1", None),
            ("retry-after", "soon", None),
            ("retry-after", "NaN", None),
            ("retry-after", "1e300", Some(86_400_000)),
            ("other", "7", None),
        ] {
            let headers = |asked: &str| (asked == name).then_some(value);
            assert_eq!(
                asked(&headers, now),
                expected.map(Duration::from_millis),
                "{name}: {value}"
            );
        }
        let both = |name: &str| match name {
            "retry-after-ms" => Some("100"),
            "retry-after" => Some("9"),
            _ => None,
        };
        assert_eq!(asked(&both, now), Some(Duration::from_millis(100)));
    }

    #[test]
    fn dates_around_leap_days_are_right() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Thu, 29 Feb 2024 12:00:00 GMT", 1_709_208_000),
            ("Fri, 01 Mar 2024 00:00:00 GMT", 1_709_251_200),
            ("Sat, 28 Nov 2026 15:00:00 GMT", 1_795_878_000),
        ] {
            assert_eq!(date(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "x, 1 Foo 2026 00:00:00 GMT",
            "x, 1 Jan 1969 00:00:00 GMT",
            "x, 1 Jan 99999999999 0:0:0 GMT",
        ] {
            assert_eq!(date(text), None, "{text}");
        }
    }
}

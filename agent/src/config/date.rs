//! Which day it is.
use super::value::Day;
use std::time::{SystemTime, UNIX_EPOCH};

/// Today, in UTC.
pub(super) fn today() -> Day {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
    day(days)
}

/// The civil date of a day since 1970-01-01, by eras of 400 years (146,097 days) that begin on 1 March: the leap day is the
/// last of its year. Day 11,016 is 2000-02-29.
fn day(since_epoch: u64) -> Day {
    let days = since_epoch + 719_468; // 0000-03-01 to 1970-01-01
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    Day {
        year: (era * 400 + year + u64::from(month <= 2)) as u16,
        month: month as u8,
        day: (of_year - (153 * from_march + 2) / 5 + 1) as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::day;

    #[test]
    fn days_are_those_of_the_calendar() {
        let known = [(0, "1970-01-01"), (11_016, "2000-02-29"), (11_017, "2000-03-01"), (20_665, "2026-07-31")];
        for (days, date) in known {
            assert_eq!(day(days).to_string(), date);
        }
    }
}

//! A moment that somebody has signed or built in. The box's own clock is not asked: without a slot nobody has set it.
use serde::Deserialize;
use std::fmt;

const DAY: u64 = 86_400;

/// Whole seconds since 1970-01-01T00:00:00Z, leap seconds left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Moment(u64);

impl Moment {
    /// A moment from seconds since the epoch.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since the epoch.
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// Reads `2026-11-29T12:00:00Z` (RFC 3339 in UTC, whole seconds) and no other form of it.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let shape = bytes.len() == 20
            && bytes.iter().enumerate().all(|(at, byte)| match at {
                4 | 7 => *byte == b'-',
                10 => *byte == b'T',
                13 | 16 => *byte == b':',
                19 => *byte == b'Z',
                _ => byte.is_ascii_digit(),
            });
        if !shape {
            return None;
        }
        let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        if year < 1970 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        if day < 1 || day > days_of_month(year, month) {
            return None;
        }
        let days = (1970..year).map(days_of_year).sum::<u64>()
            + (1..month).map(|earlier| days_of_month(year, earlier)).sum::<u64>()
            + (day - 1);
        Some(Self(days * DAY + hour * 3600 + minute * 60 + second))
    }
}

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| "a time is written like 2026-11-29T12:00:00Z".to_owned())
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut days, seconds) = (self.0 / DAY, self.0 % DAY);
        let mut year = 1970;
        // A certificate can name any year up to 9999 (RFC 5280 4.1.2.5.2).
        while days >= days_of_year(year) && year < 9999 {
            days -= days_of_year(year);
            year += 1;
        }
        let mut month = 1;
        while month < 12 && days >= days_of_month(year, month) {
            days -= days_of_month(year, month);
            month += 1;
        }
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
    }
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_it_is_written() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-11-29T17:22:31Z", 1_795_972_951),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(Moment::parse(text), Some(Moment::from_secs(seconds)), "{text}");
            assert_eq!(Moment::from_secs(seconds).to_string(), text);
        }
    }

    #[test]
    fn no_other_form_and_no_day_that_never_was_is_a_moment() {
        for text in [
            "",
            "2026-11-29",
            "2026-11-29T17:22:31+01:00",
            "2026-11-29T17:22:31.5Z",
            "2025-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-11-29T24:00:00Z",
            "1969-12-31T00:00:00Z",
            "+026-11-29T00:00:00Z",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }
}

//! A window in the box's local time, when it may restart or serve something new.
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use std::fmt;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A window that opens on some days of the week.
#[derive(Clone, Debug)]
pub struct Window {
    from: Time,
    until: Time,
    days: Vec<Weekday>,
    zone: TimeZone,
}

impl Window {
    /// A window as it is written: `HH:MM` twice, and the days on which it opens; none stands for every day.
    pub fn new(from: &str, until: &str, days: &[String], zone: TimeZone) -> Result<Self, String> {
        let time = |text: &str| Time::strptime("%H:%M", text).map_err(|_| format!("`{text}` is no time such as 02:30"));
        let day = |name: &String| {
            let n = DAYS.iter().position(|day| day == name).ok_or_else(|| format!("`{name}` is no day such as mon"))?;
            Weekday::from_monday_zero_offset(n as i8).map_err(|error| error.to_string())
        };
        let days = days.iter().map(day).collect::<Result<_, String>>()?;
        let window = Self { from: time(from)?, until: time(until)?, days, zone };
        if window.from == window.until {
            return Err(format!("a window that opens and closes at {from} is none"));
        }
        Ok(window)
    }

    /// Whether the window is open. One that ends before it begins goes over midnight and belongs to the day that it began on.
    pub fn is_open(&self, now: Timestamp) -> bool {
        let local = now.to_zoned(self.zone.clone());
        let time = local.time();
        let (in_it, began) = if self.from < self.until {
            (self.from <= time && time < self.until, Ok(local.clone()))
        } else if time >= self.from {
            (true, Ok(local.clone()))
        } else {
            (time < self.until, local.checked_sub(1.day()))
        };
        in_it && (self.days.is_empty() || began.is_ok_and(|began| self.days.contains(&began.weekday())))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.from.strftime("%H:%M"), self.until.strftime("%H:%M"))?;
        for (n, day) in self.days.iter().enumerate() {
            let between = if n == 0 { " on " } else { ", " };
            write!(f, "{between}{}", DAYS[day.to_monday_zero_offset() as usize])?;
        }
        write!(f, " ({})", self.zone.iana_name().unwrap_or("local time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: &str, until: &str, days: &[&str]) -> Result<Window, String> {
        let days: Vec<String> = days.iter().map(|day| (*day).to_owned()).collect();
        Window::new(from, until, &days, TimeZone::get("Europe/Copenhagen").expect("a zone"))
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_that_it_began_on() {
        let window = window("22:00", "04:00", &["sat"]).expect("a window");
        let open = |at: &str| window.is_open(at.parse().expect("a time"));
        // 2026-11-28 is a Saturday; Copenhagen is an hour before UTC.
        assert!(open("2026-11-28T21:00:00Z") && open("2026-11-29T02:59:59Z"));
        assert!(!open("2026-11-28T20:59:59Z") && !open("2026-11-29T03:00:00Z") && !open("2026-11-29T22:00:00Z"));
        assert_eq!(window.to_string(), "22:00 to 04:00 on sat (Europe/Copenhagen)");
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for (from, until, days) in [("22", "04:00", &[][..]), ("24:00", "04:00", &[]), ("04:00", "04:00", &[])] {
            assert!(window(from, until, days).is_err(), "{from} to {until}");
        }
        assert!(window("22:00", "04:00", &["saturday"]).is_err());
    }
}

//! Maintenance windows: in the box's local time, which the box knows best. Where it has told its time zone the server says
//! too whether the window is open, for clients that know hawkBit's field alone.
use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use sund_ota::ddi::Maintenance;
use sund_ota::fault::{Blame, Fault};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Checks a window.
pub fn check(window: &Maintenance) -> Result<(), Fault> {
    let good_days = window.days.len() <= 7 && window.days.iter().all(|day| DAYS.contains(&day.as_str()));
    let good_times = time(&window.from).is_some() && time(&window.until).is_some() && window.from != window.until;
    if good_days && good_times {
        return Ok(());
    }
    let reason =
        "A maintenance window goes from HH:MM until another HH:MM, on days among mon, tue, wed, thu, fri, sat, sun.";
    Err(Fault::new("rollout-maintenance", Blame::Configuration, reason))
}

/// Whether the window is open at a moment in a time zone (`Europe/Copenhagen`); `None` where the zone is not known here.
pub fn is_open(window: &Maintenance, zone: &str, at: Timestamp) -> Option<bool> {
    let local = at.to_zoned(TimeZone::get(zone).ok()?);
    let (from, until, clock) = (time(&window.from)?, time(&window.until)?, local.time());
    let opens_on = |day: Weekday| {
        window.days.is_empty() || window.days.iter().any(|name| *name == DAYS[day.to_monday_zero_offset() as usize])
    };
    let today = local.weekday();
    Some(if from < until {
        opens_on(today) && (from..until).contains(&clock)
    } else {
        // It passes midnight: the part after midnight belongs to the day before.
        (opens_on(today) && clock >= from) || (opens_on(today.previous()) && clock < until)
    })
}

fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':').filter(|_| text.len() == 5)?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: &str, until: &str, days: &[&str]) -> Maintenance {
        Maintenance { from: from.into(), until: until.into(), days: days.iter().map(|day| (*day).to_owned()).collect() }
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_began() {
        let night = window("22:00", "05:00", &["fri"]);
        // 2026-11-27 is a Friday; Copenhagen is one hour ahead of UTC then.
        for (at, open) in [
            ("2026-11-27T20:59:59Z", false),
            ("2026-11-27T21:00:00Z", true),
            ("2026-11-28T03:59:59Z", true),
            ("2026-11-28T04:00:00Z", false),
            ("2026-11-28T21:30:00Z", false),
            ("2026-11-27T03:00:00Z", false),
        ] {
            assert_eq!(is_open(&night, "Europe/Copenhagen", at.parse().unwrap()), Some(open), "{at}");
        }
    }

    #[test]
    fn an_unknown_zone_is_left_to_the_box() {
        assert_eq!(is_open(&window("00:00", "01:00", &[]), "Mars/Olympus", Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for bad in [
            window("22", "05:00", &[]),
            window("24:00", "05:00", &[]),
            window("05:00", "05:00", &[]),
            window("22:00", "05:00", &["friday"]),
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
        assert!(check(&window("22:00", "05:00", &["mon", "sun"])).is_ok());
    }
}

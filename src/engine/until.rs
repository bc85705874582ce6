//! The time by which a sweep must be over: the next such time of day after its start.

use jiff::{ToSpan, ZonedDateTime};

use crate::grid::TimeOfDay;

/// Seconds from now until the first `time` after `began`, on the local clock; negative when it has passed.
pub(super) fn seconds_left(time: TimeOfDay, began: &ZonedDateTime) -> f64 {
    seconds_between(time, began, &ZonedDateTime::now())
}

fn seconds_between(time: TimeOfDay, began: &ZonedDateTime, now: &ZonedDateTime) -> f64 {
    let same_day = began.with().hour(time.hour as i8).minute(time.minute as i8).second(0).subsec_nanosecond(0).build();
    let Ok(same_day) = same_day else { return f64::INFINITY };
    let end = if same_day > *began { Ok(same_day) } else { same_day.checked_add(1.day()) };
    end.map_or(f64::INFINITY, |end| end.timestamp().duration_since(now.timestamp()).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> ZonedDateTime {
        text.parse().unwrap()
    }

    #[test]
    fn a_sweep_begun_in_the_evening_ends_the_next_morning() {
        let seven = TimeOfDay { hour: 7, minute: 0 };
        let evening = at("2026-11-24T18:00[Europe/Paris]");
        assert_eq!(seconds_between(seven, &evening, &at("2026-11-25T06:59[Europe/Paris]")), 60.0);
        assert_eq!(seconds_between(seven, &evening, &at("2026-11-25T07:01[Europe/Paris]")), -60.0);
        let early = at("2026-11-25T05:00[Europe/Paris]");
        assert_eq!(seconds_between(seven, &early, &at("2026-11-25T06:00[Europe/Paris]")), 3600.0);
    }

    #[test]
    fn after_a_jump_of_the_clock_the_hour_is_the_one_that_the_clock_now_shows() {
        let seven = TimeOfDay { hour: 7, minute: 0 };
        let evening = at("2026-11-24T22:00[Europe/Paris]");
        // Set back by a day, as a machine does that got its time from the network late: the end stays the same morning.
        assert_eq!(seconds_between(seven, &evening, &at("2026-11-23T22:00[Europe/Paris]")), 33.0 * 3600.0);
        assert!(seconds_between(seven, &evening, &at("2026-11-26T00:00[Europe/Paris]")) < 0.0);
        // The night in which the clocks go back has an hour more.
        let before = at("2026-10-24T23:00[Europe/Paris]");
        assert_eq!(seconds_between(seven, &before, &before), 9.0 * 3600.0);
    }
}

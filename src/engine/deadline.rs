//! The moment by which a night is over, what served before included: by the wall clock, and the same for every run of the sweep.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, ZonedDateTime};

use crate::domain::reading;
use crate::grid::{Limits, TimeOfDay};
use crate::store::{StoredDeadline, Took};

/// A time of day that passed less than this ago has passed; earlier than that the next day's is meant.
const PASSED: Duration = Duration::from_secs(6 * 3600);

/// Between two looks at the clock, which may jump.
const LOOK: Duration = Duration::from_secs(10);

/// Between the end of a trial's grace and the start of what served before: removing the container, its port.
const SLACK_S: f64 = 3.0;

/// A restoration may take so many times as long as the longest that was measured,
const RESTORE_MARGIN: f64 = 1.25;
/// or as the longest start of a trial, where none was measured yet: production may be the larger one, and its files colder.
const START_MARGIN: f64 = 1.5;

/// When a sweep must be over, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    at: Timestamp,
    /// `--until 07:00`, `limits.budget`.
    by: String,
}

impl Deadline {
    /// What the command line asks for: a time of day, a duration from now, or the earlier of both.
    ///
    /// # Errors
    /// The time of day has passed a short while ago.
    pub(crate) fn asked(until: Option<TimeOfDay>, budget: Option<Duration>) -> Result<Option<Self>, String> {
        let now = ZonedDateTime::now();
        let until = until.map(|time| Self::until(time, &now, "--until")).transpose().map_err(|(passed, by)| {
            let ago = reading::duration(now.timestamp().duration_since(passed).as_secs_f64());
            format!("{by} has passed {ago} ago; name a later time, or say how long with `--for 8h`")
        })?;
        Ok([until, budget.map(|budget| Self::after(budget, &now, "--for"))].into_iter().flatten().min_by_key(|d| d.at))
    }

    /// What the grid asks for. A time of day that has just passed is a deadline that has passed.
    pub(super) fn of_limits(limits: &Limits) -> Option<Self> {
        let now = ZonedDateTime::now();
        let until = limits
            .until
            .map(|time| Self::until(time, &now, "limits.until").unwrap_or_else(|(passed, by)| Self { at: passed, by }));
        let budget = limits.budget.map(|budget| Self::after(budget, &now, "limits.budget"));
        [until, budget].into_iter().flatten().min_by_key(|d| d.at)
    }

    /// As it was stored; None where the text is no time.
    pub(super) fn stored(stored: StoredDeadline) -> Option<Self> {
        Some(Self { at: stored.at.parse().ok()?, by: stored.by })
    }

    /// For the database.
    pub(super) fn to_store(&self) -> StoredDeadline {
        StoredDeadline { at: self.at.to_string(), by: self.by.clone() }
    }

    /// The next such time of day, or the one that has passed just now.
    fn until(time: TimeOfDay, now: &ZonedDateTime, what: &str) -> Result<Self, (Timestamp, String)> {
        let by = format!("{what} {time}");
        let on = |day: &ZonedDateTime| {
            day.with().hour(time.hour as i8).minute(time.minute as i8).second(0).subsec_nanosecond(0).build()
        };
        let days = [-1_i64, 0, 1, 2].into_iter().filter_map(|days| on(&now.checked_add(days.days()).ok()?).ok());
        let mut times = days.map(|day| day.timestamp()).collect::<Vec<_>>();
        times.sort();
        let last = times.iter().rev().find(|at| **at <= now.timestamp());
        if let Some(last) =
            last.filter(|last| now.timestamp().duration_since(**last).as_secs_f64() < PASSED.as_secs_f64())
        {
            return Err((*last, by));
        }
        // Within three days every time of day comes, whatever the clocks are set to.
        let next = times.into_iter().find(|at| *at > now.timestamp()).unwrap_or(Timestamp::MAX);
        Ok(Self { at: next, by })
    }

    fn after(budget: Duration, now: &ZonedDateTime, what: &str) -> Self {
        let at = now.timestamp().checked_add(budget).unwrap_or(Timestamp::MAX);
        Self { at, by: format!("{what} {}", reading::duration(budget.as_secs_f64())) }
    }

    /// Seconds until then by the clock of now; negative when it has passed.
    pub(super) fn left_s(&self) -> f64 {
        self.at.duration_since(Timestamp::now()).as_secs_f64()
    }

    /// `2026-12-01 07:00:00 (--until 07:00)`, in local time.
    pub(super) fn describe(&self) -> String {
        format!("{} ({})", ZonedDateTime::new(self.at, TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S"), self.by)
    }

    /// Resolves so many seconds before it.
    pub(super) async fn comes(&self, early_s: f64) {
        loop {
            let left_s = self.left_s() - early_s;
            if left_s <= 0.0 {
                return;
            }
            tokio::time::sleep(LOOK.min(Duration::from_secs_f64(left_s))).await;
        }
    }
}

/// What a start and what follows it take, s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Needs {
    /// A whole trial; where none was measured yet, a start.
    pub(super) trial_s: f64,
    /// Between the word to end a trial and the deadline: its stop, and what served before.
    pub(super) reserve_s: f64,
}

impl Needs {
    /// From what it took before. `owes`: something is to be put back.
    pub(super) fn of(took: &Took, limits: &Limits, stop_grace: Duration, owes: bool) -> Self {
        let startup_s = limits.startup.as_secs_f64();
        let restored_s = took.restored_s.map(|s| s * RESTORE_MARGIN);
        let started_s = || took.ready_s.map(|s| (s * START_MARGIN).min(startup_s.max(s)));
        let restore_s = if owes { restored_s.or_else(started_s).unwrap_or(startup_s) } else { 0.0 };
        Self { trial_s: took.trial_s.unwrap_or(startup_s), reserve_s: stop_grace.as_secs_f64() + SLACK_S + restore_s }
    }

    /// Whether a start that waits so long first is worth it.
    pub(super) fn fit(&self, deadline: &Deadline, wait: Duration) -> bool {
        wait.as_secs_f64() + self.trial_s + self.reserve_s <= deadline.left_s()
    }

    /// `a trial takes about 12 min, and 5 min are kept for what served before`.
    pub(super) fn describe(&self) -> String {
        let (trial, reserve) = (reading::duration(self.trial_s), reading::duration(self.reserve_s));
        format!("a trial takes about {trial}, and {reserve} are kept for its stop and for what served before")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEVEN: TimeOfDay = TimeOfDay { hour: 7, minute: 0 };

    fn at(text: &str) -> ZonedDateTime {
        text.parse().unwrap()
    }

    fn until(time: TimeOfDay, now: &str) -> Result<String, String> {
        let zoned = |at: Timestamp| ZonedDateTime::new(at, at_zone(now)).strftime("%d %H:%M").to_string();
        Deadline::until(time, &at(now), "--until").map(|d| zoned(d.at)).map_err(|(passed, _)| zoned(passed))
    }

    fn at_zone(now: &str) -> TimeZone {
        at(now).time_zone().clone()
    }

    #[test]
    fn a_sweep_begun_in_the_evening_ends_the_next_morning_and_one_before_dawn_the_same() {
        assert_eq!(until(SEVEN, "2026-11-24T18:00[Europe/Paris]"), Ok("25 07:00".to_owned()));
        assert_eq!(until(SEVEN, "2026-11-25T05:00[Europe/Paris]"), Ok("25 07:00".to_owned()));
    }

    #[test]
    fn a_time_of_day_that_has_just_passed_is_not_tomorrow_s() {
        assert_eq!(until(SEVEN, "2026-11-25T07:01[Europe/Paris]"), Err("25 07:00".to_owned()));
        assert_eq!(until(SEVEN, "2026-11-25T12:59[Europe/Paris]"), Err("25 07:00".to_owned()));
        assert_eq!(until(SEVEN, "2026-11-25T13:01[Europe/Paris]"), Ok("26 07:00".to_owned()));
        let late = TimeOfDay { hour: 23, minute: 30 };
        assert_eq!(until(late, "2026-11-25T00:10[Europe/Paris]"), Err("24 23:30".to_owned()));
    }

    #[test]
    fn the_night_in_which_the_clocks_go_back_has_an_hour_more() {
        let evening = at("2026-10-24T23:00[Europe/Paris]");
        let deadline = Deadline::until(SEVEN, &evening, "--until").unwrap();
        assert_eq!(deadline.at.duration_since(evening.timestamp()).as_secs_f64(), 9.0 * 3600.0);
    }

    #[test]
    fn of_an_hour_and_a_budget_the_earlier_one_counts() {
        let short = Deadline::asked(None, Some(Duration::from_secs(60))).unwrap().unwrap();
        assert!((short.left_s() - 60.0).abs() < 5.0 && short.by == "--for 1 min 00 s", "{short:?}");
        let limits = Limits { budget: Some(Duration::from_secs(60)), until: None, ..Limits::default() };
        assert_eq!(Deadline::of_limits(&limits).unwrap().by, "limits.budget 1 min 00 s");
        assert_eq!(Deadline::of_limits(&Limits::default()), None);
        let stored = Deadline::stored(short.to_store()).unwrap();
        assert_eq!(stored, short);
    }

    #[test]
    fn what_was_measured_counts_before_the_limits_and_without_production_nothing_is_kept_for_it() {
        let limits = Limits { startup: Duration::from_secs(1200), ..Limits::default() };
        let grace = Duration::from_secs(10);
        let needs = |took: Took, owes| Needs::of(&took, &limits, grace, owes);
        let nothing = Took::default();
        assert_eq!(needs(nothing, true), Needs { trial_s: 1200.0, reserve_s: 1213.0 });
        assert_eq!(needs(nothing, false).reserve_s, 13.0);
        let started = Took { ready_s: Some(100.0), trial_s: Some(600.0), ..nothing };
        assert_eq!(needs(started, true), Needs { trial_s: 600.0, reserve_s: 163.0 });
        let restored = Took { restored_s: Some(200.0), ..started };
        assert_eq!(needs(restored, true).reserve_s, 263.0);
        let budget = |s: u64| Deadline::asked(None, Some(Duration::from_secs(s))).unwrap().unwrap();
        let needs = needs(restored, true);
        assert!(needs.fit(&budget(900), Duration::ZERO) && !needs.fit(&budget(900), Duration::from_secs(240)));
        assert!(!needs.fit(&budget(800), Duration::ZERO));
    }
}

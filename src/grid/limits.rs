//! Limits of a sweep: durations, the hour to stop, how many failures are enough.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::keys::Section;
use super::reader::{Reader, present};
use crate::domain::{Held, Kind, keyed};
use crate::yaml::Node;

keyed! {
    /// When to stop waiting, trying, or starting anything new.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Limits {
        /// From the start of the server until it answers a real completion.
        pub startup: Duration = Duration::from_secs(20 * 60),
        /// Start-up without progress in the log; while serving, requests under way of which none ends while no counter of the engine moves:
        /// it hangs.
        pub stall: Duration = Duration::from_secs(5 * 60),
        /// Before each start: until the memory of the trial's GPUs is back to what it was before the first trial; then the trial fails
        /// (`gpu_memory_busy`) and names the process and container that hold it. Checked with NVML, on the machine vgrid runs on.
        pub gpu_free: Duration = Duration::from_secs(2 * 60),
        /// One whole attempt, start-up included.
        pub trial: Duration = Duration::from_secs(90 * 60),
        /// Local time by which everything is over and what served before serves again: `"07:00"`; see below.
        pub until: Option<TimeOfDay> = None,
        /// The same as a time by the clock on the wall from the start of the sweep: `8h`. Of both the earlier one counts.
        pub budget: Option<Duration> = None,
        /// Trials in a row that fail with one cause, in one phase and with one line of evidence (words with digits aside) after which no
        /// further trial starts. Tries of one trial count once.
        #[key(range = IN_A_ROW)]
        pub identical_failures: u32 = 3,
        /// Further attempts at a trial whose failure may pass by itself, after a wait of 5 to 30 s by cause, doubled each time up to eightfold.
        #[key(range = RETRIES)]
        pub retries: u32 = 1,
        /// Deaths of vgrid itself (a kill, the kernel's OOM killer, a power cut) in one trial, one after another in the same phase and with
        /// nothing finished, after which the trial counts as failed (`engine_dead`) and the sweep goes on.
        #[key(range = IN_A_ROW)]
        pub deaths: u32 = 3,
        /// How long a Docker daemon that does not answer is waited for: in a trial, which is then tried again, and when what served before is
        /// put back.
        pub daemon: Duration = Limits::DAEMON,
    }
}

/// How many failures or deaths in a row may be enough.
const IN_A_ROW: RangeInclusive<u64> = 1..=1_000;

/// How many further attempts may be asked for.
const RETRIES: RangeInclusive<u64> = 0..=1_000;

/// The keys of `limits`.
pub(super) const LIMITS: Section = Section::new("limits", "`limits`", Limits::KEYS);

impl Limits {
    /// How long a Docker daemon is waited for where no grid says otherwise: a restart of the daemon, an update of its package.
    pub const DAEMON: Duration = Duration::from_secs(10 * 60);
}

/// A local time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

impl Held for TimeOfDay {
    const KIND: Kind = Kind::Shape("time of day");

    #[cfg(test)]
    fn written(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl std::str::FromStr for TimeOfDay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |s: &str| s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse::<u8>().ok()).flatten();
        let time = text.split_once(':').and_then(|(hour, minute)| {
            (minute.len() == 2).then(|| Some(Self { hour: part(hour)?, minute: part(minute)? })).flatten()
        });
        match time {
            Some(time) if time.hour < 24 && time.minute < 60 => Ok(time),
            Some(_) | None => Err(format!("`{text}` is no time of day; write it as \"07:00\"")),
        }
    }
}

/// Reads `90s`, `20m`, `1h30m`, `500ms`: numbers with units `ms`, `s`, `m`, `h`, `d`, largest first.
///
/// # Errors
/// Says what is wrong with the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let fail = || format!("`{text}` is no duration; write a number with its unit: 90s, 20m, 1h30m");
    let mut rest = text.trim();
    let mut total_ms: u64 = 0;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| fail())?;
        // `units` only moves on, so a repeated or out-of-order unit (`5m1h`) is not found.
        let (_, factor) = units.by_ref().find(|(name, _)| *name == unit).ok_or_else(fail)?;
        total_ms = number.checked_mul(*factor).and_then(|ms| total_ms.checked_add(ms)).ok_or_else(fail)?;
        rest = tail;
    }
    if total_ms == 0 { Err(fail()) } else { Ok(Duration::from_millis(total_ms)) }
}

/// Reads `limits`.
pub(super) fn read(reader: &mut Reader, node: &Node) -> Limits {
    reader.check_keys(node, &LIMITS);
    let mut limits = Limits::default();
    for (key, slot) in [
        ("startup", &mut limits.startup),
        ("stall", &mut limits.stall),
        ("gpu_free", &mut limits.gpu_free),
        ("trial", &mut limits.trial),
        ("daemon", &mut limits.daemon),
    ] {
        if let Some(value) = present(node, key) {
            duration(reader, value, &format!("`limits.{key}`"), slot);
        }
    }
    if let Some(value) = present(node, "budget") {
        let mut budget = Duration::ZERO;
        duration(reader, value, "`limits.budget`", &mut budget);
        limits.budget = Some(budget).filter(|budget| !budget.is_zero());
    }
    if let Some(value) = present(node, "until") {
        match value.text().unwrap_or_default().parse::<TimeOfDay>() {
            Ok(time) => limits.until = Some(time),
            Err(why) => reader.error(value.span.error("bad-time", why).help("a local time of day, e.g. \"07:00\"")),
        }
    }
    for (key, slot, range) in [
        ("identical_failures", &mut limits.identical_failures, IN_A_ROW),
        ("retries", &mut limits.retries, RETRIES),
        ("deaths", &mut limits.deaths, IN_A_ROW),
    ] {
        let Some(value) = present(node, key) else { continue };
        if let Some(number) = reader.whole(value, &format!("`limits.{key}`"), range) {
            *slot = number as u32;
        }
    }
    limits
}

/// Reads a duration into `slot`; a wrong one is said of `what`.
pub(super) fn duration(reader: &mut Reader, node: &Node, what: &str, slot: &mut Duration) {
    let Some(text) = node.text() else {
        reader.wrong_type(node, what, "a duration", "write e.g. 20m, 90s, 1h30m");
        return;
    };
    match parse_duration(text) {
        Ok(duration) => *slot = duration,
        Err(why) => reader.error(node.span.error("bad-duration", why).help("units: ms, s, m, h, d")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, ms) in
            [("20m", 1_200_000), ("90s", 90_000), ("1h30m", 5_400_000), ("500ms", 500), ("1d2h3m4s5ms", 93_784_005)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn a_duration_without_a_unit_or_out_of_order_is_refused() {
        for text in ["", "20", "m", "5m1h", "1m1m", "-3s", "1.5h", "0s", "99999999999999999999s", "999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_of_day_has_hours_and_two_digits_of_minutes() {
        assert_eq!("07:00".parse(), Ok(TimeOfDay { hour: 7, minute: 0 }));
        assert_eq!("23:59".parse::<TimeOfDay>().unwrap().to_string(), "23:59");
        for text in ["24:00", "7", "07:60", "07:0", "a:00", "+7:00", ":00"] {
            assert!(text.parse::<TimeOfDay>().is_err(), "{text}");
        }
    }
}

//! After a failure: when the trial is tried again, and when the whole sweep had better stop.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::classify;
use crate::domain::{Cause, Failure, Phase};
use crate::resume::Todo;

/// Beyond this many doublings a longer wait helps nobody: what served before is down meanwhile.
const MOST_DOUBLINGS: u32 = 3;

/// A trial in the queue of a run, with the moment before which it shall not start.
pub(super) struct Queued {
    pub(super) todo: Todo,
    not_before: Option<Instant>,
}

impl Queued {
    /// May start at once.
    pub(super) fn now(todo: Todo) -> Self {
        Self { todo, not_before: None }
    }

    /// To be tried again after a failure of this cause: the more often it was tried, the later.
    pub(super) fn after(todo: Todo, cause: Cause) -> Self {
        let doublings = todo.attempt.saturating_sub(2).min(MOST_DOUBLINGS);
        let wait = Duration::from_secs(u64::from(classify::first_wait_s(cause)) << doublings);
        Self { todo, not_before: Some(Instant::now() + wait) }
    }

    /// What is left of its wait.
    pub(super) fn wait_left(&self) -> Duration {
        self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }
}

/// Stops a sweep whose trials all fail alike: with one cause, in one phase, and with one line of evidence. Cause and phase alone are
/// too little: three wrong flags of different kinds are three rows, and no reason to end the night.
pub(super) struct Breaker {
    limit: u32,
    last: Option<(Cause, Phase, String)>,
    /// The configs that failed so; one that fails again when it is tried again says nothing new.
    items: BTreeSet<usize>,
}

impl Breaker {
    /// Trips at this many; 0 is never.
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, last: None, items: BTreeSet::new() }
    }

    /// A trial that did not fail begins a new count.
    pub(super) fn reset(&mut self) {
        self.last = None;
        self.items.clear();
    }

    /// Counts a failure of this config; how many configs failed alike in a row, when that reaches the limit.
    pub(super) fn trips_on(&mut self, item: usize, failure: &Failure) -> Option<u32> {
        let this =
            (failure.cause, failure.phase, failure.evidence.first().map(|e| kind_of(&e.text)).unwrap_or_default());
        if self.last.as_ref() != Some(&this) {
            self.items.clear();
            self.last = Some(this);
        }
        self.items.insert(item);
        let alike = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        (self.limit > 0 && alike >= self.limit).then_some(alike)
    }
}

/// A line without its words that have digits, which differ from trial to trial (pids, times, sizes, addresses): the kind of failure.
fn kind_of(line: &str) -> String {
    let words = line.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Evidence, ExitFacts, Start};
    use crate::resume::Why;
    use std::collections::BTreeMap;

    fn failure(cause: Cause, evidence: &str) -> Failure {
        Failure {
            phase: Phase::Startup,
            stage: None,
            cause,
            evidence: vec![Evidence { line_number: None, text: evidence.to_owned() }],
            numbers: BTreeMap::new(),
            remedy: String::new(),
            transient: false,
            exit: ExitFacts::default(),
        }
    }

    #[test]
    fn the_breaker_trips_on_failures_that_differ_in_digits_alone_and_a_success_resets_it() {
        let mut breaker = Breaker::new(3);
        let alike = |pid: u32| failure(Cause::BadArgument, &format!("(APIServer pid={pid}) no such flag"));
        assert_eq!(breaker.trips_on(1, &alike(1)), None);
        assert_eq!(breaker.trips_on(2, &alike(22)), None);
        assert_eq!(breaker.trips_on(3, &failure(Cause::GpuOom, "out of memory")), None);
        assert_eq!(breaker.trips_on(4, &alike(3)), None);
        breaker.reset();
        assert_eq!(breaker.trips_on(5, &alike(4)), None);
        assert_eq!(breaker.trips_on(6, &alike(5)), None);
        assert_eq!(breaker.trips_on(7, &alike(6)), Some(3));
    }

    #[test]
    fn the_breaker_counts_configs_and_not_the_tries_of_one() {
        let mut breaker = Breaker::new(2);
        let died = || failure(Cause::EngineDead, "EngineDeadError at 0x7f3a");
        for _ in 0..5 {
            assert_eq!(breaker.trips_on(1, &died()), None);
        }
        assert_eq!(breaker.trips_on(2, &died()), Some(2));
    }

    #[test]
    fn the_breaker_tells_apart_phases_and_lines_of_one_cause() {
        let mut breaker = Breaker::new(2);
        let wrong = |line: &str| failure(Cause::BadArgument, line);
        assert_eq!(breaker.trips_on(1, &wrong("invalid tool parser: hermess")), None);
        assert_eq!(breaker.trips_on(2, &wrong("unrecognized arguments: --max-seqs")), None);
        let serving = Failure { phase: Phase::Serving, ..wrong("unrecognized arguments: --max-seqs") };
        assert_eq!(breaker.trips_on(3, &serving), None);
        assert_eq!(breaker.trips_on(4, &serving), Some(2));
    }

    #[test]
    fn a_failed_trial_waits_longer_each_time_up_to_eight_times_its_first_wait() {
        let again = |attempt| Todo { item: 0, start: Start::FIRST, attempt, missing: vec![0], why: Why::Retry };
        let wait_s = |cause, attempt| Queued::after(again(attempt), cause).wait_left().as_secs_f64().round();
        let waits: Vec<f64> = [2, 3, 4, 5, 6, 99].iter().map(|n| wait_s(Cause::PortInUse, *n)).collect();
        assert_eq!(waits, [30.0, 60.0, 120.0, 240.0, 240.0, 240.0]);
        assert_eq!(wait_s(Cause::Timeout, 2), 0.0);
        assert!(Queued::now(again(1)).wait_left().is_zero());
    }
}

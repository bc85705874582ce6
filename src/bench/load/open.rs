//! The open loop: requests are sent when they arrive, whatever became of the ones before them.

use std::time::{Duration, Instant};

use crate::domain::RequestRecord;

use super::super::chat::{ChatRequest, Reply};
use super::super::window::Window;
use super::crew::{Crew, MEASURED, RAMP};

/// Share of the requests that is ramp-up.
const RAMP_SHARE: f64 = 0.1;

/// Fewest requests of a level, whatever its duration.
const MIN_REQUESTS: f64 = 10.0;

/// How many requests arrive at `rate` in `duration_s`.
pub(super) fn count(rate: f64, duration_s: f64) -> usize {
    (rate * duration_s).round().max(MIN_REQUESTS) as usize
}

/// Starts one sender per request, each of which sleeps until its arrival. `arrivals` are in order, s from now.
pub(super) fn start(crew: &mut Crew, requests: Vec<ChatRequest>, arrivals: &[f64]) {
    let begin = Instant::now();
    let ramp = (requests.len() as f64 * RAMP_SHARE).ceil() as usize;
    for (number, (request, arrival_s)) in requests.into_iter().zip(arrivals).enumerate() {
        let desk = crew.desk();
        let due = begin + Duration::from_secs_f64(*arrival_s);
        let role = if number < ramp { RAMP } else { MEASURED };
        crew.start(async move {
            let mut replies = Vec::with_capacity(1);
            let sent = async {
                desk.wait_until(due).await?;
                desk.send(&request, role, Some(due), &mut replies).await
            };
            let stopped = sent.await.err();
            (replies, stopped)
        });
    }
}

/// From the end of the last ramp request to the last arrival: what came before is still on its way to a steady state, and
/// after it nothing arrives any more. `None` where there is no such span.
pub(super) fn window(replies: &[&Reply]) -> Option<Window> {
    let ramp_ends = replies.iter().filter(|r| !r.record.measured).map(|r| r.record.end_ms).reduce(f64::max)?;
    let last_arrival = replies.iter().map(|r| r.record.intended_ms).reduce(f64::max)?;
    (last_arrival > ramp_ends).then_some(Window { start_ms: ramp_ends, end_ms: last_arrival })
}

/// The flow of requests through a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Flow {
    /// Requests that arrived.
    pub(super) arrived: usize,
    /// Requests that had arrived and not ended, at the window's start.
    pub(super) waiting_before: usize,
    /// The same at its end.
    pub(super) waiting_after: usize,
}

impl Flow {
    /// Counts from the intended moment: a request that waits at the client waits.
    pub(super) fn of(window: Window, replies: &[&Reply]) -> Self {
        let at = |moment: f64| {
            let waits = |r: &RequestRecord| r.intended_ms <= moment && r.end_ms > moment;
            replies.iter().filter(|r| waits(&r.record)).count()
        };
        let inside = |r: &&&Reply| r.record.intended_ms > window.start_ms && r.record.intended_ms <= window.end_ms;
        Self {
            arrived: replies.iter().filter(inside).count(),
            waiting_before: at(window.start_ms),
            waiting_after: at(window.end_ms),
        }
    }

    /// Requests that piled up in the window.
    pub(super) fn growth(self) -> f64 {
        self.waiting_after as f64 - self.waiting_before as f64
    }

    /// Whether more piled up than chance gives: more than 5 % of the arrivals, and more than three standard deviations of the
    /// difference of two Poisson counts.
    pub(super) fn piles_up(self) -> bool {
        let chance = (2.0 * self.waiting_before.max(1) as f64).sqrt();
        self.growth() > 3.0 * chance && self.growth() > 0.05 * self.arrived as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::window::tests::reply;
    use super::*;

    /// A request that arrives at `at` and is in flight for `length`, ms.
    fn request(measured: bool, at: f64, length: f64) -> Reply {
        reply(measured, at, &[at + length], at + length)
    }

    /// One request every 10 ms, each of which takes `length` + its number x `growth`.
    fn stream(length: f64, growth: f64) -> Vec<Reply> {
        let of = |i: u32| request(i >= 20, f64::from(i) * 10.0, f64::from(i).mul_add(growth, length));
        (0..200).map(of).collect()
    }

    #[test]
    fn the_window_lies_between_the_last_ramp_request_s_end_and_the_last_arrival() {
        let replies = stream(35.0, 0.0);
        let replies: Vec<&Reply> = replies.iter().collect();
        assert_eq!(window(&replies), Some(Window { start_ms: 225.0, end_ms: 1_990.0 }));
        assert_eq!(window(&replies[..20]), None, "nothing arrives after the ramp");
    }

    #[test]
    fn a_steady_flow_does_not_pile_up_and_an_overload_does() {
        for (growth, expected) in [(0.0, false), (0.2, false), (5.0, true)] {
            let replies = stream(35.0, growth);
            let replies: Vec<&Reply> = replies.iter().collect();
            let flow = Flow::of(window(&replies).unwrap(), &replies);
            assert_eq!(flow.piles_up(), expected, "{flow:?}");
        }
    }

    #[test]
    fn a_level_has_at_least_ten_requests() {
        assert_eq!((count(0.01, 60.0), count(2.0, 60.0)), (10, 120));
    }
}

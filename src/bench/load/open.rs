//! The open loop: requests are sent when they arrive, whatever became of the ones before them.

use std::time::{Duration, Instant};

use crate::domain::RequestRecord;

use super::super::chat::{ChatRequest, Reply};
use super::super::window::Window;
use super::crew::{Crew, MEASURED, RAMP};
use crate::stats::{self, Slope};

/// Share of the requests that is ramp-up.
const RAMP_SHARE: f64 = 0.1;

/// Below this share of the time in which requests arrive the steady window says nothing of the server.
const MIN_WINDOW_SHARE: f64 = 0.5;

/// Share of the requests that must be answered at all.
const MIN_ANSWERED_SHARE: f64 = 0.95;

/// The latency may grow by so much of the time in which requests arrive: the server then answers 1 / 1.05 of them as they come.
const MAX_LATENCY_GROWTH: f64 = 0.05;

/// Requests that a slope is taken over: more make it no better, and their pairs grow with the square.
const SLOPE_POINTS: usize = 240;

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
                desk.send(&request, role, Some(desk.offset_ms(due)), &mut replies).await
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

/// How much longer a request takes from its arrival than one that arrived before it, per time between the two: 0 where the server keeps
/// up; where it answers a share x of what arrives, 1 / x - 1, however long the queue is already. The robust slope over the measured,
/// complete requests. `None` below five.
pub(super) fn latency_growth(replies: &[&Reply]) -> Option<Slope> {
    let records = replies.iter().map(|r| &r.record).filter(|r| r.measured && r.end.is_complete());
    let mut points: Vec<(f64, f64)> = records.map(|r| (r.intended_ms, r.end_ms - r.intended_ms)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    stats::matched_slope(&[stats::thinned(&points, SLOPE_POINTS)])
}

/// Why the server does not keep up with what arrived; `None`: it does. `alike`: all requests ask for equal work, so that a latency that
/// grows is the queue's.
pub(super) fn shortfall(replies: &[&Reply], alike: bool) -> Option<String> {
    const TOO_SHORT: &str = "the server cannot keep up, or `duration_s` is too short for such answers";
    let Some(window) = window(replies) else {
        return Some(format!(
            "the first tenth of the requests was not answered before the last one arrived: {TOO_SHORT}"
        ));
    };
    let first = replies.iter().map(|r| r.record.intended_ms).fold(f64::MAX, f64::min);
    let span_s = (window.end_ms - first) / 1_000.0;
    if window.seconds() < MIN_WINDOW_SHARE * span_s {
        return Some(format!(
            "the first tenth of the requests was answered when {:.0} % of the {span_s:.1} s were over in which requests arrived, so \
             that less than half is left to judge by: {TOO_SHORT}",
            100.0 * (1.0 - window.seconds() / span_s)
        ));
    }
    let answered = replies.iter().filter(|r| r.record.end.is_complete()).count();
    if (answered as f64) < MIN_ANSWERED_SHARE * replies.len() as f64 {
        return Some(format!("only {answered} of {} requests were answered", replies.len()));
    }
    let flow = Flow::of(window, replies);
    let growth = latency_growth(replies).filter(|g| alike && g.value > MAX_LATENCY_GROWTH && g.interval.low > 0.0);
    let how = match growth {
        Some(growth) => format!("each second of arrivals made the next request take {:.2} s longer", growth.value),
        None if flow.piles_up() => "requests piled up".to_owned(),
        None => return None,
    };
    let ended = |r: &&&Reply| {
        let record = &r.record;
        record.measured && record.end.is_complete() && record.end_ms > window.start_ms && record.end_ms <= window.end_ms
    };
    Some(format!(
        "the server does not keep up: {how}; {:.2} requests/s arrived and {:.2}/s were answered, so that {} were waiting or running at \
         the end, {} at the start of the window",
        flow.arrived as f64 / window.seconds(),
        replies.iter().filter(ended).count() as f64 / window.seconds(),
        flow.waiting_after,
        flow.waiting_before
    ))
}

/// The flow of requests through a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Flow {
    /// Requests that arrived.
    pub(super) arrived: usize,
    /// Requests that had arrived and not ended, at the window's start.
    waiting_before: usize,
    /// The same at its end.
    waiting_after: usize,
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
    fn piles_up(self) -> bool {
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

    fn growth_of(replies: &[Reply]) -> f64 {
        latency_growth(&replies.iter().collect::<Vec<_>>()).unwrap().value
    }

    fn shortfall_of(replies: &[Reply]) -> Option<String> {
        shortfall(&replies.iter().collect::<Vec<_>>(), true)
    }

    /// A server that answers one request after the other, each in `work` ms; one arrives every `gap` ms.
    fn queue(n: u32, gap: f64, work: f64) -> Vec<Reply> {
        let mut free = 0.0_f64;
        let of = |i: u32| {
            let at = f64::from(i) * gap;
            free = free.max(at) + work;
            request(i >= n / 10, at, free - at)
        };
        (0..n).map(of).collect()
    }

    #[test]
    fn the_latency_s_growth_is_the_load_beyond_capacity_whatever_the_backlog() {
        for (load, n) in [(1.1, 200), (2.0, 40), (4.0, 2_400)] {
            let found = growth_of(&queue(n, 100.0 / load, 100.0));
            assert!((found - (load - 1.0)).abs() < 1e-9, "{load}: {found}");
        }
        assert_eq!(growth_of(&queue(100, 100.0, 90.0)), 0.0);
    }

    #[test]
    fn a_server_that_answers_half_of_what_arrives_does_not_keep_up_even_of_few_requests() {
        // 40 requests in 2 s: the backlog at the window's start is half of that at its end
        let text = shortfall_of(&queue(40, 50.0, 100.0)).unwrap();
        assert!(text.contains("take 1.00 s longer") && text.contains("were answered"), "{text}");
        assert_eq!(shortfall_of(&queue(40, 50.0, 45.0)), None);
    }

    #[test]
    fn a_window_of_less_than_half_the_arrivals_is_no_proof() {
        // as fast as can be once it answers, but the first answers take 1.2 s of 2 s
        let slow_start = |i: u32| request(i >= 4, f64::from(i) * 50.0, if i < 4 { 1_200.0 } else { 10.0 });
        let text = shortfall_of(&(0..40).map(slow_start).collect::<Vec<_>>()).unwrap();
        assert!(text.contains("less than half is left") && text.contains("`duration_s`"), "{text}");
    }

    #[test]
    fn requests_that_fail_at_once_are_not_kept_up_with() {
        let mut replies = queue(40, 50.0, 45.0);
        for reply in replies.iter_mut().skip(10).step_by(10) {
            reply.record.end = crate::domain::RequestEnd::HttpStatus;
        }
        assert_eq!(shortfall_of(&replies).unwrap(), "only 37 of 40 requests were answered");
    }

    #[test]
    fn answers_of_unlike_lengths_are_judged_by_the_backlog_alone() {
        // a trace whose later answers are longer, on a server that answers each at once
        let longer = |i: u32| request(i >= 10, f64::from(i) * 10.0, f64::from(i).mul_add(0.6, 35.0));
        let replies: Vec<Reply> = (0..100).map(longer).collect();
        let replies: Vec<&Reply> = replies.iter().collect();
        assert!(shortfall(&replies, true).is_some());
        assert_eq!(shortfall(&replies, false), None);
    }

    #[test]
    fn a_level_has_at_least_ten_requests() {
        assert_eq!((count(0.01, 60.0), count(2.0, 60.0)), (10, 120));
    }
}

//! The figures of the open loop against the simulated engine's truth: rates, queues, backlog, what a user waits for.

use crate::domain::{Lengths, LoadSpec, ScenarioResult, ScenarioSpec, ValidityReason, Verdict};
use crate::stats;

use super::truth::{Off, Request, compare, compare_samples, join, metric};
use super::{Lateness, PUNCTUAL_MS, observed};

/// The limit on TTFT that goodput counts, ms.
const SLO_MS: f64 = 300.0;

const OUTPUT_TOKENS: u32 = 6;

/// Four requests at once, at least 14 ms a step: at most some 45 requests of 6 tokens a second.
async fn measure(rates: &[f64], max_concurrency: Option<u32>) -> (ScenarioResult, Vec<Request>, Lateness) {
    let spec = LoadSpec {
        concurrency: vec![],
        rates: rates.to_vec(),
        duration_s: 1.5,
        max_concurrency,
        prompt_tokens: Lengths(vec![48]),
        output_tokens: OUTPUT_TOKENS,
        slo_ttft_ms: Some(SLO_MS),
        ..LoadSpec::default()
    };
    let (result, truth, late) = observed("--max-num-seqs 4", &ScenarioSpec::Load(spec), PUNCTUAL_MS).await;
    let requests = join(&result, &truth);
    (result, requests, late)
}

/// One point: what the engine did, on vgrid's clock.
struct Point<'r> {
    result: &'r ScenarioResult,
    name: String,
    /// In order of arrival.
    requests: Vec<&'r Request>,
    /// The engine's clock - vgrid's, ms. No request is read before it was sent, so the smallest difference is nearest.
    shift: f64,
    /// The steady window by the documented rule, ms.
    start: f64,
    end: f64,
    late: Lateness,
}

impl<'r> Point<'r> {
    fn of(result: &'r ScenarioResult, requests: &'r [Request], name: &str, late: Lateness) -> Self {
        let mut of_it: Vec<&Request> = requests.iter().filter(|r| r.record.point.as_deref() == Some(name)).collect();
        of_it.sort_by(|a, b| a.record.intended_ms.total_cmp(&b.record.intended_ms));
        let shift = requests.iter().map(|r| r.truth.arrival_ms - r.record.sent_ms).fold(f64::MAX, f64::min);
        let ramp_ends = of_it.iter().filter(|r| !r.record.measured).map(|r| r.done() - shift).fold(f64::MIN, f64::max);
        let end = of_it.iter().map(|r| r.record.intended_ms).fold(f64::MIN, f64::max);
        Self { result, name: name.to_owned(), requests: of_it, shift, start: ramp_ends, end, late }
    }

    fn measured(&self) -> impl Iterator<Item = &&'r Request> {
        self.requests.iter().filter(|r| r.record.measured)
    }

    fn ended(&self, request: &Request) -> f64 {
        request.done() - self.shift
    }

    fn first_token(&self, request: &Request) -> f64 {
        request.truth.written_ms[0] - self.shift
    }

    /// Moments that vgrid may have seen inside the window: all of them that are inside, less those so near an edge that a late stamp
    /// may have put them outside, and the other way round. The window's end is the client's own wish, so no stamp moves it.
    fn inside(&self, moments: impl Iterator<Item = f64>) -> (f64, f64) {
        let late = self.late.any_ms;
        let (mut surely, mut perhaps) = (0.0, 0.0);
        for at in moments {
            surely += f64::from(u8::from(at >= self.start + late && at <= self.end - late));
            perhaps += f64::from(u8::from(at > self.start - late && at <= self.end));
        }
        (surely, perhaps)
    }

    fn said(&self, name: &str) -> f64 {
        metric(self.result, &format!("load.{}.{name}", self.name)).value
    }

    /// A count per second of a window that may have begun late.
    fn compare_rate(&self, name: &str, (least, most): (f64, f64)) {
        let seconds = (self.end - self.start) / 1e3;
        let shortest = seconds - self.late.any_ms / 1e3;
        assert!(shortest > 0.5 * seconds, "{name}: a window of {seconds:.2} s, {:?}", self.late);
        let (least, most) = (least / seconds, most / shortest);
        let said = self.said(name);
        assert!((least..=most).contains(&said), "{name}: vgrid says {said:.3}, the truth is {least:.3} to {most:.3}");
    }

    fn compare_rates(&self) {
        let ends = || self.measured().map(|r| self.ended(r));
        self.compare_rate("requests_per_s", self.inside(ends()));
        let prompt = f64::from(self.requests[0].record.prompt_tokens.unwrap());
        let (least, most) = self.inside(ends());
        self.compare_rate("input_tokens_per_s", (least * prompt, most * prompt));
        let tokens = self.measured().flat_map(|r| r.truth.written_ms.iter().map(|at| at - self.shift));
        self.compare_rate("output_tokens_per_s", self.inside(tokens));
        let intended = self.requests.iter().map(|r| r.record.intended_ms);
        let (least, _) = self.inside(intended.clone().map(|at| at - self.late.any_ms));
        self.compare_rate("offered_requests_per_s", (least, self.inside(intended).1));
        // a good one is surely good when even a late stamp leaves it below the limit
        let good = |slack: f64| {
            self.measured()
                .filter(move |r| self.first_token(r) - r.record.intended_ms <= SLO_MS - slack)
                .map(|r| self.ended(r))
        };
        let surely = self.inside(good(self.late.any_ms)).0;
        self.compare_rate("goodput_requests_per_s", (surely, self.inside(good(0.0)).1));
        let in_flight = |start: f64, late: f64| {
            let overlap = |r: &&&Request| {
                let (from, to) = (r.truth.arrival_ms - self.shift - late, self.ended(r) + late);
                (to.min(self.end) - from.max(start)).max(0.0)
            };
            self.measured().map(|r| overlap(&r)).sum::<f64>() / 1e3
        };
        let (least, most) = (in_flight(self.start + self.late.any_ms, 0.0), in_flight(self.start, self.late.any_ms));
        self.compare_rate("achieved_concurrency", (least, most));
    }

    /// Requests that had come and not ended.
    fn compare_backlog(&self) {
        let late = self.late.any_ms;
        let waiting = |come_by: f64, not_ended_at: f64| {
            let waits = |r: &&&Request| r.record.intended_ms <= come_by && self.ended(r) > not_ended_at;
            self.requests.iter().filter(waits).count() as f64
        };
        let at_end = (waiting(self.end, self.end), waiting(self.end, self.end - late));
        let at_start = (waiting(self.start, self.start + late), waiting(self.start + late, self.start - late));
        let said = self.said("backlog_growth");
        let (least, most) = (at_end.0 - at_start.1, at_end.1 - at_start.0);
        assert!((least..=most).contains(&said), "backlog: vgrid says {said}, the truth is {least} to {most}");
    }

    fn compare_latencies(&self) {
        let path = |name: &str| format!("load.{}.{name}", self.name);
        let of = |figure: &dyn Fn(&Request) -> f64| -> Vec<f64> { self.measured().map(|r| figure(r)).collect() };
        compare_samples(self.result, &path("ttft_ms"), &of(&Request::ttft), Off::longer(self.late));
        compare_samples(self.result, &path("e2e_ms"), &of(&Request::e2e), Off::longer(self.late));
        let first = of(&|r| self.first_token(r) - r.record.intended_ms);
        compare_samples(self.result, &path("ttft_from_intended_ms"), &first, Off::longer(self.late));
        let whole = of(&|r| self.ended(r) - r.record.intended_ms);
        compare_samples(self.result, &path("e2e_from_intended_ms"), &whole, Off::longer(self.late));
    }

    /// Without a limit at the client, a request leaves when it comes.
    fn compare_queue(&self, truth: &[f64]) {
        let off = Off { below: 2.0 * self.late.any_ms, above: 2.0 * self.late.any_ms };
        compare_samples(self.result, &format!("load.{}.queue_ms", self.name), truth, off);
    }
}

#[tokio::test]
async fn rates_latencies_and_backlog_of_an_open_loop_are_those_of_the_engine_below_and_above_its_capacity() {
    let (result, requests, late) = measure(&[8.0, 80.0], None).await;
    for name in ["r8", "r80"] {
        let point = Point::of(&result, &requests, name, late);
        point.compare_rates();
        point.compare_backlog();
        point.compare_latencies();
        point.compare_queue(&vec![0.0; point.measured().count()]);
    }
    let over = Point::of(&result, &requests, "r80", late);
    assert!(over.said("backlog_growth") > 10.0, "the engine's own queue grows");
    assert!(over.said("goodput_requests_per_s") < 0.9 * over.said("requests_per_s"), "which the SLO sees");
    assert_eq!((not_reached(&result, "r8"), not_reached(&result, "r80")), (0, 1), "{:?}", result.validity);
    compare("sustained", metric(&result, "load.sustained_requests_per_s").value, 8.0, Off::either(1e-9));
}

#[tokio::test]
async fn waiting_for_a_place_at_the_client_is_told_from_waiting_in_the_engine() {
    let places = 2;
    let (result, requests, late) = measure(&[60.0], Some(places)).await;
    let point = Point::of(&result, &requests, "r60", late);
    point.compare_rates();
    point.compare_backlog();
    point.compare_latencies();
    // a place is free when all but `places` - 1 of those before have ended: the ends are the engine's, the rule is that of a queue
    let mut ends: Vec<f64> = Vec::new();
    let mut queued = Vec::new();
    for request in &point.requests {
        ends.sort_by(f64::total_cmp);
        let free = if ends.len() < places as usize { f64::MIN } else { ends[ends.len() - places as usize] };
        queued.push((free - request.record.intended_ms).max(0.0));
        ends.push(point.ended(request));
    }
    let ramp = point.requests.len() - point.measured().count();
    point.compare_queue(&queued[ramp..]);
    assert!(point.said("queue_ms.max") > 400.0 && point.said("ttft_ms.max") < 200.0, "the queue is at the client");
}

/// How the latency from the intended moment grew, by the engine's stamps: the same robust slope.
fn true_growth(point: &Point<'_>) -> f64 {
    let of = |r: &&Request| (r.record.intended_ms, point.ended(r) - r.record.intended_ms);
    let points: Vec<(f64, f64)> = point.measured().map(of).collect();
    stats::matched_slope(&[points]).unwrap().value
}

fn not_reached(result: &ScenarioResult, name: &str) -> usize {
    let of_it = |(reason, text): &&(ValidityReason, String)| {
        *reason == ValidityReason::RateNotReached && text.starts_with(&format!("{name}: "))
    };
    result.validity.reasons.iter().filter(of_it).count()
}

#[tokio::test]
async fn rates_near_and_beyond_what_the_closed_loop_reached_are_sustained_or_not_as_the_engine_saw_it() {
    let spec = LoadSpec {
        concurrency: vec![4],
        requests_per_user: 6,
        rate_shares: vec![0.75, 1.3],
        duration_s: 2.5,
        burstiness: 50.0,
        prompt_tokens: Lengths(vec![48]),
        output_tokens: OUTPUT_TOKENS,
        slo_ttft_ms: Some(SLO_MS),
        ..LoadSpec::default()
    };
    let (result, truth, late) =
        observed("--max-num-seqs 4 --sim-noise 0", &ScenarioSpec::Load(spec), PUNCTUAL_MS).await;
    let requests = join(&result, &truth);
    for name in ["s75", "s130"] {
        let point = Point::of(&result, &requests, name, late);
        point.compare_rates();
        point.compare_latencies();
        let (growth, span) = (true_growth(&point), point.end - point.requests[0].record.intended_ms);
        compare("growth", point.said("latency_growth_ratio"), growth, Off::either(4.0 * late.any_ms / span));
        match growth {
            beyond if beyond > 0.1 => assert_eq!(not_reached(&result, name), 1, "{growth}: {:?}", result.validity),
            within if within < 0.02 => assert_eq!(not_reached(&result, name), 0, "{growth}: {:?}", result.validity),
            _ => assert_eq!(name, "s75", "a machine that slowed the engine down near its capacity: {growth}"),
        }
    }
    assert!(true_growth(&Point::of(&result, &requests, "s130", late)) > 0.1, "30 % more than it can answer");
    if not_reached(&result, "s75") == 0 {
        let reached = metric(&result, "load.c4.requests_per_s").value;
        let said = metric(&result, "load.sustained_requests_per_s").value;
        compare("sustained", said, 0.75 * reached, Off::either(1e-9));
    }
}

#[tokio::test]
async fn a_server_that_answers_a_quarter_of_what_arrives_sustains_no_rate_however_short_its_window_is() {
    // prefills of 400 tokens at 4,000 tokens/s: ten requests a second
    let spec = LoadSpec {
        concurrency: vec![],
        rates: vec![20.0, 40.0],
        duration_s: 2.0,
        prompt_tokens: Lengths(vec![400]),
        output_tokens: OUTPUT_TOKENS,
        ..LoadSpec::default()
    };
    let flags = "--no-enable-prefix-caching --sim-prefill-tokens-per-s 4000";
    let (result, truth, late) = observed(flags, &ScenarioSpec::Load(spec), PUNCTUAL_MS).await;
    let requests = join(&result, &truth);
    for (name, rate) in [("r20", 20.0), ("r40", 40.0)] {
        let point = Point::of(&result, &requests, name, late);
        let last = point.requests.iter().map(|r| point.ended(r)).fold(f64::MIN, f64::max);
        let answered = point.requests.len() as f64 / (last - point.requests[0].record.intended_ms) * 1e3;
        assert!(answered < 0.7 * rate, "the engine answers {answered:.1}/s of {rate}/s");
        assert_eq!(not_reached(&result, name), 1, "{:?}", result.validity);
    }
    assert_ne!(result.validity.verdict, Verdict::Valid);
    let none = |name: &str| !result.metrics.iter().any(|m| m.path.to_string() == name);
    assert!(none("load.sustained_requests_per_s") && none("load.ttft_ms.p50"), "no rate was sustained: no headline");
}

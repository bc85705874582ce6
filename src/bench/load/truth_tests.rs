//! Open-loop figures against what the simulated engine says really happened.

#[cfg(test)] // a file of tests
use tokio_util::sync::CancellationToken;

use super::super::{Client, Context, Target, run_scenario};
use crate::domain::{Lengths, LoadSpec, ScenarioResult, ScenarioSpec, ValidityReason};
use crate::sim::{self, TruthEntry};
use crate::stats;

/// The limit on TTFT that goodput counts, ms.
const SLO_MS: f64 = 400.0;

/// Two requests at once, about 9 ms a token: some 25 requests of 8 tokens per second.
async fn measured(rate: f64) -> (ScenarioResult, Vec<TruthEntry>) {
    let server =
        sim::spawn(&["m", "--sim-speed", "2", "--sim-noise", "0", "--max-num-seqs", "2", "--max-model-len", "2048"])
            .await
            .unwrap();
    let client = Client::new(&Target::new(server.url(), "m")).await.unwrap();
    let spec = LoadSpec {
        concurrency: vec![],
        rates: vec![rate],
        duration_s: 1.5,
        prompt_tokens: Lengths(vec![48]),
        output_tokens: 8,
        slo_ttft_ms: Some(SLO_MS),
        ..LoadSpec::default()
    };
    let ctx = Context::new(3, "truth", CancellationToken::new());
    let result = run_scenario(&client, &ScenarioSpec::Load(spec), &ctx).await.unwrap();
    let truth = server.truth();
    server.stop().await;
    (result, truth)
}

fn value(result: &ScenarioResult, path: &str) -> f64 {
    result.metrics.iter().find(|m| m.path.to_string() == path).unwrap_or_else(|| panic!("no {path}")).value
}

/// What the engine's clock says of the point, on the client's clock.
struct Truth {
    /// Per request in order of arrival: intended, arrived, first token written, ended.
    requests: Vec<[f64; 4]>,
    tokens: Vec<f64>,
    /// The steady window by the documented rule.
    window: (f64, f64),
    ramp: usize,
}

impl Truth {
    fn of(result: &ScenarioResult, truth: &[TruthEntry]) -> Self {
        let mut ours: Vec<_> = result.requests.iter().filter(|r| r.point.is_some()).collect();
        ours.sort_by(|a, b| a.sent_ms.total_cmp(&b.sent_ms));
        let theirs = &truth[truth.len() - ours.len()..];
        // the two clocks differ by a constant; no request arrives before it was sent
        let shift = ours.iter().zip(theirs).map(|(o, t)| t.arrival_ms - o.sent_ms).fold(f64::MAX, f64::min);
        let on_ours = |ms: f64| ms - shift;
        let requests: Vec<[f64; 4]> = ours
            .iter()
            .zip(theirs)
            .map(|(o, t)| [o.intended_ms, on_ours(t.arrival_ms), on_ours(t.written_ms[0]), on_ours(t.end_ms.unwrap())])
            .collect();
        let ramp = ours.iter().filter(|r| !r.measured).count();
        let start = requests[..ramp].iter().map(|r| r[3]).fold(f64::MIN, f64::max);
        let end = requests.iter().map(|r| r[0]).fold(f64::MIN, f64::max);
        let tokens = theirs[ramp..].iter().flat_map(|t| t.written_ms.iter().map(|ms| on_ours(*ms))).collect();
        Self { requests, tokens, window: (start, end), ramp }
    }

    fn seconds(&self) -> f64 {
        (self.window.1 - self.window.0) / 1_000.0
    }

    fn inside(&self, at: f64) -> bool {
        at > self.window.0 && at <= self.window.1
    }

    fn median(&self, of: impl Fn(&[f64; 4]) -> f64) -> f64 {
        stats::median(&self.requests[self.ramp..].iter().map(of).collect::<Vec<f64>>()).unwrap()
    }
}

/// Equal up to what a busy machine adds to a stamp, in ms: the client can see an event late, never early.
fn close(found_ms: f64, truth_ms: f64) -> bool {
    found_ms > truth_ms - 2.0 && found_ms < truth_ms + 60.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_sustained_rate_latencies_and_throughput_are_the_engine_s_own() {
    let (result, truth) = measured(10.0).await;
    let truth = Truth::of(&result, &truth);
    let of = |name: &str| value(&result, &format!("load.r10.{name}"));
    assert!(close(of("ttft_ms.p50"), truth.median(|[_, arrived, first, _]| first - arrived)));
    assert!(close(of("ttft_from_intended_ms.p50"), truth.median(|[intended, _, first, _]| first - intended)));
    assert!(close(of("e2e_from_intended_ms.p50"), truth.median(|[intended, .., end]| end - intended)));
    let tokens = truth.tokens.iter().filter(|at| truth.inside(**at)).count() as f64;
    let found = of("output_tokens_per_s") * truth.seconds();
    assert!((found - tokens).abs() <= 10.0, "{found} tokens in the window, in truth {tokens}");
    assert!(
        !result.validity.reasons.iter().any(|(r, _)| *r == ValidityReason::RateNotReached),
        "{:?}",
        result.validity
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_capacity_queue_goodput_and_answered_rate_are_the_engine_s_own() {
    let (result, truth) = measured(80.0).await;
    let truth = Truth::of(&result, &truth);
    let of = |name: &str| value(&result, &format!("load.r80.{name}"));
    let ttft = truth.median(|[intended, _, first, _]| first - intended);
    assert!(ttft > 500.0, "the engine's own queue: {ttft}");
    assert!(close(of("ttft_from_intended_ms.p50"), ttft), "{} and not {ttft}", of("ttft_from_intended_ms.p50"));
    let measured = &truth.requests[truth.ramp..];
    let ended = |good: bool| {
        let wanted = |r: &&[f64; 4]| truth.inside(r[3]) && (!good || r[2] - r[0] <= SLO_MS);
        measured.iter().filter(wanted).count() as f64
    };
    for (name, expected) in [("requests_per_s", ended(false)), ("goodput_requests_per_s", ended(true))] {
        let found = of(name) * truth.seconds();
        assert!((found - expected).abs() <= 2.5, "{name}: {found} in the window, in truth {expected}");
    }
    let waiting = |at: f64| truth.requests.iter().filter(|r| r[0] <= at && r[3] > at).count() as f64;
    let growth = waiting(truth.window.1) - waiting(truth.window.0);
    assert!((of("backlog_growth") - growth).abs() <= 3.0, "{} and not {growth}", of("backlog_growth"));
    assert!(result.validity.reasons.iter().any(|(r, _)| *r == ValidityReason::RateNotReached), "{:?}", result.validity);
}

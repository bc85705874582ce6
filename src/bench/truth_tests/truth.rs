//! A scenario's requests as the simulated engine saw them.

use crate::domain::{Metric, RequestRecord, ScenarioResult};
use crate::stats;

use super::{Lateness, TruthEntry};

/// One request: what vgrid stored, and what happened.
pub(super) struct Request {
    pub(super) record: RequestRecord,
    pub(super) truth: TruthEntry,
    /// The engine's `--stream-interval`.
    interval: usize,
}

impl Request {
    fn first(&self) -> f64 {
        self.truth.written_ms[0]
    }

    fn last(&self) -> f64 {
        *self.truth.written_ms.last().unwrap()
    }

    pub(super) fn tokens(&self) -> f64 {
        self.truth.token_ms.len() as f64
    }

    /// The first word of the prompt.
    pub(super) fn first_word(&self) -> &str {
        let body = std::str::from_utf8(&self.truth.body).unwrap();
        let content = body.split_once(r#""content":""#).unwrap().1;
        content.split_once(' ').unwrap().0
    }

    /// When each token-bearing event was written, and its tokens: one in the first, then as many as the interval, then the rest.
    pub(super) fn events(&self) -> Vec<(f64, usize)> {
        let mut left = self.truth.token_ms.len();
        let event = |(number, at): (usize, &f64)| {
            let tokens = if number == 0 { 1 } else { self.interval.min(left) };
            left -= tokens;
            (*at, tokens)
        };
        self.truth.written_ms.iter().enumerate().map(event).collect()
    }

    pub(super) fn ttft(&self) -> f64 {
        self.first() - self.truth.arrival_ms
    }

    /// The end of a complete answer.
    pub(super) fn done(&self) -> f64 {
        self.truth.done_ms.unwrap()
    }

    pub(super) fn e2e(&self) -> f64 {
        self.done() - self.truth.arrival_ms
    }

    pub(super) fn first_to_last(&self) -> f64 {
        self.last() - self.first()
    }

    pub(super) fn tpot(&self) -> f64 {
        self.first_to_last() / (self.tokens() - 1.0)
    }

    pub(super) fn decode(&self) -> f64 {
        1_000.0 / self.tpot()
    }

    /// One gap per token after the first event: an event of k tokens after a gap g gives k times g / k.
    pub(super) fn gaps(&self) -> Vec<f64> {
        let of = |pair: &[(f64, usize)]| std::iter::repeat_n((pair[1].0 - pair[0].0) / pair[1].1 as f64, pair[1].1);
        self.events().windows(2).flat_map(of).collect()
    }

    /// Time inside the window from `start` to `end`, ms.
    pub(super) fn overlap(&self, start: f64, end: f64) -> f64 {
        (self.done().min(end) - self.truth.arrival_ms.max(start)).max(0.0)
    }

    pub(super) fn share(&self, start: f64, end: f64) -> f64 {
        self.overlap(start, end) / self.e2e()
    }
}

/// Lays the records over the engine's entries: by the hash of what was sent, a repeated body in its order.
pub(super) fn join(result: &ScenarioResult, entries: &[TruthEntry]) -> Vec<Request> {
    join_at(result, entries, 1)
}

/// [`join`], of an engine with a stream interval.
pub(super) fn join_at(result: &ScenarioResult, entries: &[TruthEntry], interval: usize) -> Vec<Request> {
    let mut left = entries.to_vec();
    let joined: Vec<Request> = result
        .requests
        .iter()
        .map(|record| {
            let at = left.iter().position(|e| e.body_sha256 == record.body_sha256).unwrap();
            Request { record: record.clone(), truth: left.remove(at), interval }
        })
        .collect();
    assert!(left.is_empty(), "the engine saw {} requests that are in no record", left.len());
    joined
}

pub(super) fn metric<'r>(result: &'r ScenarioResult, path: &str) -> &'r Metric {
    let found = result.metrics.iter().find(|m| m.path.to_string() == path);
    found.unwrap_or_else(|| {
        panic!("no {path} in {:?}", result.metrics.iter().map(|m| m.path.to_string()).collect::<Vec<_>>())
    })
}

/// A statistic of a sample by its name, computed here.
fn statistic(samples: &[f64], name: &str) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |q: f64| {
        let place = q * (sorted.len() - 1) as f64;
        let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
        below + (above - below) * place.fract()
    };
    match name {
        "mean" => samples.iter().sum::<f64>() / samples.len() as f64,
        "min" => sorted[0],
        "max" => sorted[sorted.len() - 1],
        "p50" => at(0.5),
        "p90" => at(0.9),
        "p95" => at(0.95),
        "p99" => at(0.99),
        other => panic!("no statistic {other}"),
    }
}

/// How much a figure may lie below and above the truth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Off {
    pub(super) below: f64,
    pub(super) above: f64,
}

impl Off {
    /// A time from `sent`: both stamps that may be late make it longer, never shorter.
    pub(super) fn longer(late: Lateness) -> Self {
        Self { below: 1e-6, above: 2.0 * late.any_ms }
    }

    /// A time between two arrivals, of which either may be late.
    pub(super) const fn either(off: f64) -> Self {
        Self { below: off, above: off }
    }
}

/// Every statistic of `PATH.*` that vgrid reports is that of the true samples. Bounds that hold for each sample hold for each of
/// these statistics: they grow with every sample.
pub(super) fn compare_samples(result: &ScenarioResult, path: &str, truth: &[f64], off: Off) {
    let mut compared = 0;
    for reported in &result.metrics {
        let text = reported.path.to_string();
        let Some(name) = text.strip_prefix(path).and_then(|rest| rest.strip_prefix('.')) else { continue };
        if name == "stddev" {
            continue; // follows from the samples, and does not grow with each
        }
        compared += 1;
        assert_eq!(reported.n, truth.len() as u64, "{text}");
        compare(&text, reported.value, statistic(truth, name), off);
    }
    assert!(compared >= 3, "{path}: only {compared} statistics are reported");
}

/// One figure.
pub(super) fn compare(what: &str, said: f64, truth: f64, off: Off) {
    let difference = said - truth;
    assert!(
        -off.below <= difference && difference <= off.above,
        "{what}: vgrid says {said:.4}, the truth is {truth:.4}, allowed -{:.4} to +{:.4}",
        off.below,
        off.above
    );
}

/// The middle of the differences between said and true.
pub(super) fn usual_difference(said: &[f64], truth: &[f64]) -> f64 {
    let differences: Vec<f64> = said.iter().zip(truth).map(|(said, truth)| (said - truth).abs()).collect();
    stats::median(&differences).unwrap()
}

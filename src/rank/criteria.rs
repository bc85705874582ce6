//! The criteria that every sweep is looked at by, whatever objectives its grid states.

use super::Candidate;
use crate::domain::{Direction, MetricPath, Objective};

/// One criterion: its name, the better direction, and the metrics that stand for it, the most telling first.
struct Criterion {
    name: &'static str,
    direction: Direction,
    metrics: &'static [&'static str],
}

const CRITERIA: &[Criterion] = &[
    Criterion { name: "ttft_miss", direction: Direction::Minimize, metrics: &["kv_cache.ttft_miss_ms.p50"] },
    Criterion { name: "ttft_hit", direction: Direction::Minimize, metrics: &["kv_cache.ttft_hit_ms.p50"] },
    Criterion { name: "acceleration", direction: Direction::Maximize, metrics: &["kv_cache.acceleration_ratio"] },
    Criterion {
        name: "ttfc",
        direction: Direction::Minimize,
        metrics: &["reasoning.ttfc_ms.p50", "conversation.ttfc_ms.p50", "load.ttfc_ms.p50"],
    },
    Criterion {
        name: "decode",
        direction: Direction::Minimize,
        metrics: &["load.c1.tpot_ms.p50", "load.tpot_ms.p50", "conversation.tpot_ms.p50"],
    },
    Criterion { name: "throughput", direction: Direction::Maximize, metrics: &["load.output_tokens_per_s"] },
    Criterion { name: "goodput", direction: Direction::Maximize, metrics: &["load.goodput_requests_per_s"] },
    Criterion {
        name: "memory",
        direction: Direction::Minimize,
        metrics: &["load.gpus.memory_used_bytes.max", "load.container.memory_used_bytes.max"],
    },
];

/// The criteria that at least one of these configs has a figure for, as objectives, each by its most telling metric.
#[must_use]
pub fn criteria(candidates: &[Candidate]) -> Vec<Objective> {
    let measured = |path: &MetricPath| candidates.iter().any(|c| c.figure(path).is_some());
    CRITERIA
        .iter()
        .filter_map(|c| {
            let metric = c.metrics.iter().filter_map(|m| m.parse().ok()).find(measured)?;
            Some(Objective { name: c.name.to_owned(), direction: c.direction, metric })
        })
        .collect()
}

/// The criterion of how soon an engine answers: its time from the container's start to the first real completion, least first.
#[must_use]
pub fn start_up() -> Option<Objective> {
    let metric = "smoke.ready_s".parse().ok()?;
    Some(Objective { name: "startup".to_owned(), direction: Direction::Minimize, metric })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Metric, Verdict};
    use crate::rank::Figure;

    #[test]
    fn every_metric_of_a_criterion_is_a_metric() {
        for metric in CRITERIA.iter().flat_map(|c| c.metrics) {
            assert!(metric.parse::<MetricPath>().is_ok(), "{metric}");
        }
    }

    #[test]
    fn a_criterion_that_nobody_measured_is_left_out_and_the_most_telling_metric_is_taken() {
        let figure = |path: &str| {
            let metric = Metric {
                path: path.parse().unwrap(),
                value: 1.0,
                unit: "ms".into(),
                n: 3,
                failed_n: 0,
                ci_low: None,
                ci_high: None,
            };
            Figure::of_one_start(metric, Verdict::Valid)
        };
        let figures =
            vec![figure("load.tpot_ms.p50"), figure("load.c1.tpot_ms.p50"), figure("load.output_tokens_per_s")];
        let one = Candidate { trial_id: 1, name: "a".into(), gates: vec![], figures };
        let found: Vec<String> = criteria(&[one]).iter().map(|o| format!("{} {}", o.name, o.metric)).collect();
        assert_eq!(found, ["decode load.c1.tpot_ms.p50", "throughput load.output_tokens_per_s"]);
    }
}

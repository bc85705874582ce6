//! From samples to metrics: names, units, counts, intervals.

use crate::domain::{Metric, MetricPath, ScenarioKind, Unit};
use crate::stats::{self, Interval, Statistic};

/// One figure that is no statistic of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Single {
    pub(super) value: f64,
    pub(super) n: usize,
    pub(super) failed_n: usize,
    pub(super) interval: Option<Interval>,
}

/// Whether samples are independent, so that an interval over them means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Samples {
    /// One per request, each of a prompt of its own.
    Independent,
    /// Many per request, or several requests of one prompt.
    Dependent,
}

/// The metrics of one scenario so far.
#[derive(Debug)]
pub(super) struct Figures {
    scenario: ScenarioKind,
    seed: u64,
    pub(super) metrics: Vec<Metric>,
}

impl Figures {
    pub(super) const fn new(scenario: ScenarioKind, seed: u64) -> Self {
        Self { scenario, seed, metrics: Vec::new() }
    }

    /// All statistics that the samples allow; nothing for no samples.
    pub(super) fn describe(&mut self, point: &str, name: &str, samples: &[f64], failed_n: usize) {
        self.describe_at(Samples::Independent, Some(point), name, samples, failed_n);
    }

    /// Like [`Self::describe`], saying whether the samples are independent.
    pub(super) fn describe_as(&mut self, kind: Samples, point: &str, name: &str, samples: &[f64], failed_n: usize) {
        self.describe_at(kind, Some(point), name, samples, failed_n);
    }

    /// All statistics that the samples of a whole scenario allow.
    pub(super) fn overall(&mut self, kind: Samples, name: &str, samples: &[f64], failed_n: usize) {
        self.describe_at(kind, None, name, samples, failed_n);
    }

    fn describe_at(&mut self, kind: Samples, point: Option<&str>, name: &str, samples: &[f64], failed_n: usize) {
        let statistics: Vec<Statistic> = match kind {
            Samples::Independent => stats::describe(samples, self.seed),
            Samples::Dependent => stats::describe_dependent(samples),
        };
        for s in statistics {
            let single = Single { value: s.value, n: samples.len(), failed_n, interval: s.interval };
            self.push(point, name, Some(s.name), single);
        }
    }

    /// One figure.
    pub(super) fn single(&mut self, point: Option<&str>, name: &str, single: Single) {
        self.push(point, name, None, single);
    }

    fn push(&mut self, point: Option<&str>, name: &str, statistic: Option<&str>, single: Single) {
        if !single.value.is_finite() {
            return; // a division by nothing measured: no figure
        }
        let path = MetricPath {
            scenario: self.scenario,
            point: point.map(str::to_owned),
            name: name.to_owned(),
            statistic: statistic.map(str::to_owned),
        };
        self.metrics.push(Metric {
            path,
            value: single.value,
            unit: unit_of(name).to_string(),
            n: single.n as u64,
            failed_n: single.failed_n as u64,
            ci_low: single.interval.map(|i| i.low),
            ci_high: single.interval.map(|i| i.high),
        });
    }

    /// Repeats a point's metrics of these names as the scenario's headline.
    pub(super) fn headline(&mut self, point: &str, names: &[&str]) {
        let of_the_point =
            |m: &&Metric| m.path.point.as_deref() == Some(point) && names.contains(&m.path.name.as_str());
        let mut headline: Vec<Metric> = self.metrics.iter().filter(of_the_point).cloned().collect();
        for metric in &mut headline {
            metric.path.point = None;
        }
        self.metrics.extend(headline);
    }

    /// The value of a point's figure without statistic.
    pub(super) fn value(&self, point: &str, name: &str) -> Option<f64> {
        let wanted =
            |m: &&Metric| m.path.point.as_deref() == Some(point) && m.path.name == name && m.path.statistic.is_none();
        self.metrics.iter().find(wanted).map(|m| m.value)
    }

    /// The mean of a point's samples.
    pub(super) fn mean(&self, point: &str, name: &str) -> Option<f64> {
        let wanted = |m: &&Metric| {
            m.path.point.as_deref() == Some(point) && m.path.name == name && m.path.statistic.as_deref() == Some("mean")
        };
        self.metrics.iter().find(wanted).map(|m| m.value)
    }

    /// Bootstrap seed.
    pub(super) const fn seed(&self) -> u64 {
        self.seed
    }
}

/// The unit that a metric's name ends with.
fn unit_of(name: &str) -> Unit {
    if name.ends_with("_tokens_per_s") {
        Unit::TokensPerS
    } else if name.ends_with("requests_per_s") {
        Unit::RequestsPerS
    } else if name.ends_with("_ms_per_turn") {
        Unit::MsPerTurn
    } else if name.ends_with("_bytes_per_h") {
        Unit::BytesPerH
    } else if name.ends_with("_ratio_per_h") {
        Unit::RatioPerH
    } else if name.ends_with("_ms") {
        Unit::Ms
    } else if name.ends_with("_ratio") || name.ends_with("_rate") || name.ends_with("score") || name == "passed" {
        Unit::Ratio
    } else {
        Unit::Count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_carries_unit_counts_and_interval_and_the_headline_repeats_it() {
        let mut figures = Figures::new(ScenarioKind::Load, 1);
        figures.describe("c4", "ttft_ms", &[1.0, 2.0, 3.0, 4.0, 5.0], 2);
        figures.headline("c4", &["ttft_ms"]);
        let find = |path: &str| figures.metrics.iter().find(|m| m.path.to_string() == path);
        let median = find("load.ttft_ms.p50").unwrap();
        assert_eq!((median.value, median.unit.as_str(), median.n, median.failed_n), (3.0, "ms", 5, 2));
        assert!(median.ci_low.is_some() && find("load.c4.ttft_ms.p50").is_some());
        assert!(find("load.ttft_ms.p95").is_none());
    }

    #[test]
    fn what_is_not_a_number_is_no_metric() {
        let mut figures = Figures::new(ScenarioKind::Load, 1);
        figures.single(None, "requests_per_s", Single { value: f64::NAN, n: 0, failed_n: 0, interval: None });
        figures.describe("c1", "ttft_ms", &[], 3);
        assert!(figures.metrics.is_empty());
    }
}

//! What is usually asked of each scenario. A figure that misses it is a finding about the engine: it says nothing against the measurement.

use crate::domain::reading::figure;
use crate::domain::{Metric, ScenarioKind, Validity, ValidityReason, Verdict};

/// What a figure must be.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    Above(f64),
    AtMost(f64),
    Below(f64),
}

/// The thresholds on headline figures; `docs/metrics.md` has them as a table.
const USUAL: [(ScenarioKind, &str, Bound); 8] = [
    (ScenarioKind::KvCache, "acceleration_ratio", Bound::AtLeast(1.5)),
    (ScenarioKind::Conversation, "success_ratio", Bound::Above(0.95)),
    (ScenarioKind::Conversation, "e2e_change_ratio", Bound::Below(0.2)),
    (ScenarioKind::ToolCalling, "success_rate", Bound::AtLeast(0.95)),
    (ScenarioKind::Stability, "error_ratio", Bound::AtMost(0.01)),
    (ScenarioKind::Stability, "e2e_drift_ratio", Bound::Below(0.2)),
    (ScenarioKind::LongContext, "survived_ratio", Bound::AtLeast(1.0)),
    (ScenarioKind::Canary, "passed", Bound::AtLeast(1.0)),
];

impl Bound {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(limit) => value >= limit,
            Self::Above(limit) => value > limit,
            Self::AtMost(limit) => value <= limit,
            Self::Below(limit) => value < limit,
        }
    }

    const fn words(self) -> (&'static str, f64) {
        match self {
            Self::AtLeast(limit) => ("at least", limit),
            Self::Above(limit) => ("above", limit),
            Self::AtMost(limit) => ("at most", limit),
            Self::Below(limit) => ("below", limit),
        }
    }
}

/// Adds a reason for each figure that misses what is usually asked of it. `prefix_caching`: whether it is on, where that is known: without
/// it no acceleration is asked for.
pub(super) fn judge(validity: &mut Validity, metrics: &[Metric], prefix_caching: Option<bool>) {
    for (scenario, name, bound) in USUAL {
        if scenario == ScenarioKind::KvCache && prefix_caching != Some(true) {
            continue;
        }
        let headline = |m: &&Metric| m.path.scenario == scenario && m.path.point.is_none() && m.path.name == name;
        let missed = |m: &&Metric| !bound.is_met(m.value) && !may_be_none(m);
        if let Some(metric) = metrics.iter().find(headline).filter(missed) {
            let (words, limit) = bound.words();
            let of = |value: f64| figure(name, value, &metric.unit);
            let sentence = format!("{} is {}; {words} {} is usual", metric.path, of(metric.value), of(limit));
            validity.add(Verdict::Valid, ValidityReason::ThresholdMissed, sentence);
        }
    }
}

/// Whether a change may be noise: its interval holds 0.
fn may_be_none(metric: &Metric) -> bool {
    let holds_0 = |(low, high): (f64, f64)| low <= 0.0 && 0.0 <= high;
    metric.path.is_change() && metric.ci_low.zip(metric.ci_high).is_some_and(holds_0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(path: &str, value: f64, interval: Option<(f64, f64)>) -> Metric {
        let (ci_low, ci_high) = interval.unzip();
        Metric { path: path.parse().unwrap(), value, unit: "ratio".to_owned(), n: 10, failed_n: 0, ci_low, ci_high }
    }

    fn told(metric: Metric, prefix_caching: Option<bool>) -> Vec<String> {
        let mut validity = Validity::default();
        judge(&mut validity, &[metric], prefix_caching);
        assert_eq!(validity.verdict, Verdict::Valid, "the measurement is as good as it was");
        validity.reasons.into_iter().map(|(_, sentence)| sentence).collect()
    }

    #[test]
    fn a_figure_that_misses_what_is_usual_is_said_and_one_that_meets_it_is_not() {
        for (path, meets, misses, says) in [
            ("conversation.success_ratio", 0.96, 0.95, "conversation.success_ratio is 95 %; above 95 % is usual"),
            ("tool_calling.success_rate", 0.95, 0.5, "tool_calling.success_rate is 50 %; at least 95 % is usual"),
            ("stability.error_ratio", 0.01, 0.02, "stability.error_ratio is 2 %; at most 1 % is usual"),
            ("long_context.survived_ratio", 1.0, 0.9, "long_context.survived_ratio is 90 %; at least 100 % is usual"),
            ("canary.passed", 1.0, 0.9, "canary.passed is 90 %; at least 100 % is usual"),
        ] {
            assert_eq!(told(metric(path, meets, None), None), [""; 0], "{path}");
            assert_eq!(told(metric(path, misses, None), None), [says]);
        }
        assert_eq!(told(metric("canary.fr.passed", 0.5, None), None), [""; 0], "a point is no headline");
    }

    #[test]
    fn an_acceleration_is_asked_for_only_where_the_cache_is_known_to_be_on() {
        let of = |value: f64| metric("kv_cache.acceleration_ratio", value, None);
        assert_eq!(told(of(1.2), Some(true)), ["kv_cache.acceleration_ratio is x1.2; at least x1.5 is usual"]);
        assert_eq!(told(of(1.5), Some(true)), [""; 0]);
        assert_eq!(told(of(1.0), Some(false)), [""; 0]);
        assert_eq!(told(of(1.0), None), [""; 0]);
    }

    #[test]
    fn a_drift_is_missed_when_it_is_large_and_no_noise() {
        let of = |value: f64, interval| told(metric("stability.e2e_drift_ratio", value, interval), None);
        assert_eq!(of(0.25, Some((0.1, 0.4))), ["stability.e2e_drift_ratio is +25 %; below +20 % is usual"]);
        assert_eq!(of(0.25, Some((-0.1, 0.6))), [""; 0], "it may be none at all");
        assert_eq!(of(0.15, Some((0.1, 0.2))), [""; 0]);
        assert_eq!(of(-0.5, Some((-0.6, -0.4))), [""; 0], "faster is no miss");
    }

    #[test]
    fn the_document_names_every_threshold() {
        let document = include_str!("../../docs/metrics.md");
        for (scenario, name, bound) in USUAL {
            let (words, limit) = bound.words();
            let row = format!("| `{scenario}.{name}` | {words} {} |", figure(name, limit, "ratio"));
            assert!(document.contains(&row), "docs/metrics.md lacks {row}");
        }
    }
}

//! A scenario's result as text: the verdict, its reasons, and one line per figure.

use crate::domain::{Metric, ScenarioResult};
use crate::ui::format::{duration, figure, number};

/// Statistics that a line shows, where the samples allow them; the others are in the JSON.
const SHOWN: [&str; 3] = ["p50", "p90", "p99"];

/// Width of a figure's name.
const NAME_WIDTH: usize = 38;

/// The text of one result.
pub(super) fn figures_text(result: &ScenarioResult) -> String {
    let mut out = vec![format!(
        "{}: {} in {}, {} requests",
        result.spec.kind(),
        result.validity.verdict,
        duration(result.elapsed_s),
        result.requests.len()
    )];
    for (reason, why) in &result.validity.reasons {
        out.push(format!("  {reason}: {why}"));
    }
    out.extend(result.metrics.chunk_by(same_figure).map(line));
    out.join("\n")
}

fn same_figure(a: &Metric, b: &Metric) -> bool {
    a.path.point == b.path.point && a.path.name == b.path.name
}

/// One figure with its statistics: a median tells more than a mean, which stands in where there are too few samples.
fn line(statistics: &[Metric]) -> String {
    let of = |name: &str| statistics.iter().find(|m| m.path.statistic.as_deref() == Some(name));
    let mut shown: Vec<&Metric> = SHOWN.iter().filter_map(|name| of(name)).collect();
    if shown.is_empty() {
        shown.extend(of("mean").or_else(|| statistics.first()));
    }
    let Some(first) = shown.first() else { return String::new() };
    let path = [first.path.point.as_deref(), Some(first.path.name.as_str())].into_iter().flatten().collect::<Vec<_>>();
    let values = shown.iter().map(|m| value(m)).collect::<Vec<_>>().join("  ");
    let failed = if first.failed_n > 0 { format!(", {} failed", first.failed_n) } else { String::new() };
    format!("  {:<NAME_WIDTH$} {values}  (n {}{failed})", path.join("."), first.n)
}

fn value(m: &Metric) -> String {
    let statistic = m.path.statistic.as_deref().map(|s| format!("{s} ")).unwrap_or_default();
    let interval = match (m.ci_low, m.ci_high) {
        (Some(low), Some(high)) => format!(" [{} .. {}]", number(low), number(high)),
        _ => String::new(),
    };
    format!("{statistic}{}{interval}", figure(m.value, &m.unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(path: &str, value: f64, interval: Option<(f64, f64)>) -> Metric {
        Metric {
            path: path.parse().unwrap(),
            value,
            unit: "ms".to_owned(),
            n: 12,
            failed_n: 1,
            ci_low: interval.map(|i| i.0),
            ci_high: interval.map(|i| i.1),
        }
    }

    #[test]
    fn a_figure_is_one_line_with_the_statistics_that_there_are() {
        let many = [
            metric("load.c8.ttft_ms.mean", 41.0, None),
            metric("load.c8.ttft_ms.p50", 40.0, Some((38.0, 42.5))),
            metric("load.c8.ttft_ms.p90", 55.0, None),
        ];
        assert_eq!(
            line(&many).split_whitespace().collect::<Vec<_>>().join(" "),
            "c8.ttft_ms p50 40 ms [38 .. 42.5] p90 55 ms (n 12, 1 failed)"
        );
        let few = [metric("load.c8.ttft_ms.mean", 41.0, None), metric("load.c8.ttft_ms.min", 40.0, None)];
        assert!(line(&few).contains("mean 41 ms  (n 12"));
        assert!(line(&[metric("load.knee_concurrency", 8.0, None)]).trim_start().starts_with("knee_concurrency "));
    }
}

//! The figures of one scenario as a table: a line a metric, its statistics side by side.

use crate::domain::Metric;
use crate::domain::reading::{bare_figure, figure, interval};

use super::print;

/// The statistics that have a column of their own, beside the value. On a narrow terminal only the first ones.
const COLUMNS: [&str; 5] = ["p95", "p99", "mean", "min", "max"];

/// Terminals below this many columns show fewer statistics.
const WIDE: u16 = 110;

/// All statistics of one metric.
struct Line<'m> {
    name: String,
    metrics: Vec<&'m Metric>,
}

impl Line<'_> {
    fn statistic(&self, name: Option<&str>) -> Option<&Metric> {
        self.metrics.iter().find(|m| m.path.statistic.as_deref() == name).copied()
    }

    /// The figure itself, or the median of its samples, or their mean where there are too few for a median.
    fn main(&self) -> Option<(&Metric, &'static str)> {
        [(None, ""), (Some("p50"), "median"), (Some("mean"), "mean")]
            .into_iter()
            .find_map(|(statistic, called)| Some((self.statistic(statistic)?, called)))
    }
}

/// The table's text, indented; the scenario's name, which every path begins with, is left out.
pub(super) fn table(metrics: &[Metric]) -> Vec<String> {
    let lines = lines(metrics);
    let mut table = print::table(&[]);
    let wide = table.width().is_some_and(|width| width >= WIDE);
    let has = |column: &str| metrics.iter().any(|m| m.path.statistic.as_deref() == Some(column));
    let room = if wide { COLUMNS.len() } else { usize::from(!print::is_narrow()) * 2 };
    let columns: Vec<&str> = COLUMNS.iter().take(room).copied().filter(|c| has(c)).collect();
    let mut header =
        vec!["metric".to_owned(), "value".to_owned(), String::new(), "95 % interval".to_owned(), "n".to_owned()];
    header.extend(columns.iter().map(|c| (*c).to_owned()));
    table.set_header(header.iter().map(|h| h.to_uppercase()));
    for line in &lines {
        let Some((main, called)) = line.main() else { continue };
        let interval = interval(&main.path.name, main.ci_low, main.ci_high, &main.unit).unwrap_or_default();
        let failed = if main.failed_n > 0 { format!(" ({} failed)", main.failed_n) } else { String::new() };
        let mut row = vec![
            line.name.clone(),
            figure(&main.path.name, main.value, &main.unit),
            called.to_owned(),
            interval,
            format!("{}{failed}", main.n),
        ];
        row.extend(columns.iter().map(|c| line.statistic(Some(c)).map(|m| bare(m, m.value)).unwrap_or_default()));
        table.add_row(row);
    }
    print::keep_whole(&mut table, 0);
    print::text_of(&table).lines().map(|l| format!("    {l}")).collect()
}

/// A value in the scale of a metric's figure.
fn bare(metric: &Metric, value: f64) -> String {
    bare_figure(&metric.path.name, value, &metric.unit)
}

/// Metrics without a point first, the order kept otherwise.
fn lines(metrics: &[Metric]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let (headline, points): (Vec<&Metric>, Vec<&Metric>) = metrics.iter().partition(|m| m.path.point.is_none());
    for metric in headline.into_iter().chain(points) {
        let name = match &metric.path.point {
            Some(point) => format!("{point}.{}", metric.path.name),
            None => metric.path.name.clone(),
        };
        match lines.iter_mut().find(|l| l.name == name) {
            Some(line) => line.metrics.push(metric),
            None => lines.push(Line { name, metrics: vec![metric] }),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(path: &str, value: f64, n: u64) -> Metric {
        Metric {
            path: path.parse().unwrap(),
            value,
            unit: "ms".to_owned(),
            n,
            failed_n: 0,
            ci_low: None,
            ci_high: None,
        }
    }

    #[test]
    fn statistics_of_a_metric_stand_on_one_line_and_the_headline_comes_first() {
        let metrics = [
            metric("load.c4.ttft_ms.p50", 12.0, 30),
            metric("load.c4.ttft_ms.p95", 19.0, 30),
            metric("load.ttft_ms.mean", 13.0, 2),
            metric("load.output_tokens_per_s", 99.0, 30),
        ];
        let text = table(&metrics).join("\n");
        let rows: Vec<&str> = text.lines().skip(1).map(|l| l.split_whitespace().next().unwrap()).collect();
        assert_eq!(rows, ["ttft_ms", "output_tokens_per_s", "c4.ttft_ms"]);
        let c4 = text.lines().last().unwrap();
        assert!(c4.contains("12 ms") && c4.contains("median") && c4.contains("19"), "{text}");
        let one_of_two = text.lines().nth(1).unwrap();
        assert!(one_of_two.contains("13 ms") && one_of_two.contains("mean"), "{text}");
        assert!(!text.contains("P99"), "no column without a figure: {text}");
    }
}

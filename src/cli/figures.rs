//! The figures of one scenario as a table: a line a metric, its statistics side by side.

use std::cmp::Ordering;

use itertools::Itertools;

use crate::domain::reading::{bare_figure, figure, interval};
use crate::domain::{Metric, MetricPath};

use super::print;

/// The statistics that have a column of their own beside the value, as they stand from left to right.
const COLUMNS: [&str; 7] = ["p90", "p95", "p99", "mean", "stddev", "min", "max"];

/// The same in the order in which they are left out where the terminal has no room for all.
const LEFT_OUT: [&str; 7] = ["stddev", "p90", "max", "min", "mean", "p99", "p95"];

/// What stands before each line of the table.
const INDENT: &str = "    ";

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

/// The table's text, indented; the scenario's name, which every path begins with, is left out. It has the statistics that the
/// terminal has room for.
pub(super) fn table(metrics: &[Metric]) -> Vec<String> {
    let room = usize::from(print::table(&[]).width().unwrap_or(u16::MAX));
    table_within(metrics, room)
}

fn table_within(metrics: &[Metric], room: usize) -> Vec<String> {
    let room = room.saturating_sub(INDENT.len());
    let lines = lines(metrics);
    let has = |column: &&str| metrics.iter().any(|m| m.path.statistic.as_deref() == Some(*column));
    let mut columns: Vec<&str> = COLUMNS.iter().copied().filter(has).collect();
    let mut rows = rows(&lines, &columns);
    for left_out in LEFT_OUT.iter().filter(|c| has(c)) {
        if width(&rows) <= room {
            break;
        }
        columns.retain(|column| column != left_out);
        rows = self::rows(&lines, &columns);
    }
    let mut table = print::table(&[]);
    table.set_width(u16::try_from(room).unwrap_or(u16::MAX));
    let mut rows = rows.into_iter();
    table.set_header(rows.next().unwrap_or_default());
    table.add_rows(rows);
    print::keep_whole(&mut table, 0);
    print::text_of(&table).lines().map(|l| format!("{INDENT}{l}")).collect()
}

/// The header and a row per metric, with these statistics.
fn rows(lines: &[Line<'_>], columns: &[&str]) -> Vec<Vec<String>> {
    let header = ["metric", "value", "", "95 % interval", "n"].iter().chain(columns).map(|h| h.to_uppercase());
    let row = |line: &Line<'_>| {
        let (main, called) = line.main()?;
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
        Some(row)
    };
    std::iter::once(header.collect()).chain(lines.iter().filter_map(row)).collect()
}

/// How wide the rows are when no cell is broken: each column with a blank on either side.
fn width(rows: &[Vec<String>]) -> usize {
    let columns = rows.first().map_or(0, Vec::len);
    (0..columns).map(|c| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0) + 2).sum()
}

/// A value in the scale of a metric's figure.
fn bare(metric: &Metric, value: f64) -> String {
    bare_figure(&metric.path.name, value, &metric.unit)
}

/// Metrics without a point first, then the points by the number in their names, the order kept otherwise.
fn lines(metrics: &[Metric]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut ordered: Vec<&Metric> = metrics.iter().collect();
    ordered.sort_by(|a, b| order_of_points(&a.path, &b.path));
    for metric in ordered {
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

/// Whole scenarios before their points, and these with their numbers in order: `c4` before `c16`.
pub(super) fn order_of_points(a: &MetricPath, b: &MetricPath) -> Ordering {
    let parts = |path: &MetricPath| -> Vec<(u64, String)> {
        let point = path.point.as_deref().unwrap_or_default();
        let parts = point.chars().chunk_by(char::is_ascii_digit);
        let texts = parts.into_iter().map(|(_, part)| part.collect::<String>());
        texts.map(|text| (text.parse().unwrap_or(0), text)).collect()
    };
    parts(a).cmp(&parts(b))
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
    fn a_wide_terminal_shows_every_statistic_and_a_narrow_one_breaks_no_line() {
        let statistics = ["p50", "p90", "p95", "p99", "mean", "stddev", "min", "max"];
        let mut metrics = Vec::new();
        for point in ["c1", "c128_p16384"] {
            for statistic in statistics {
                let path = format!("load.{point}.ttft_from_intended_ms.{statistic}");
                let value = metric(&path, 12_345.6, 1_000);
                metrics.push(Metric { ci_low: Some(12_000.1), ci_high: Some(12_999.9), failed_n: 12, ..value });
            }
        }
        let header =
            |room: usize| table_within(&metrics, room)[0].split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let all = ["METRIC", "VALUE", "95", "%", "INTERVAL", "N", "P90", "P95", "P99", "MEAN", "STDDEV", "MIN", "MAX"];
        assert_eq!(header(200), all);
        for room in [80, 100, 120, 140, 160, 200] {
            let lines = table_within(&metrics, room);
            assert!(lines.iter().all(|line| line.chars().count() <= room), "{room}: {lines:#?}");
            if room > 80 {
                assert_eq!(lines.len(), 3, "no cell is broken at {room}: {lines:#?}");
            }
        }
        assert!(header(140).contains(&"P95".to_owned()) && !header(120).contains(&"STDDEV".to_owned()));
    }

    #[test]
    fn statistics_of_a_metric_stand_on_one_line_and_the_headline_comes_first() {
        let metrics = [
            metric("load.c4.ttft_ms.p50", 12.0, 30),
            metric("load.c16.ttft_ms.p50", 14.0, 30),
            metric("load.c4.ttft_ms.p95", 19.0, 30),
            metric("load.ttft_ms.mean", 13.0, 2),
            metric("load.output_tokens_per_s", 99.0, 30),
        ];
        let text = table(&metrics).join("\n");
        let rows: Vec<&str> = text.lines().skip(1).map(|l| l.split_whitespace().next().unwrap()).collect();
        assert_eq!(rows, ["ttft_ms", "output_tokens_per_s", "c4.ttft_ms", "c16.ttft_ms"]);
        let c4 = text.lines().nth(3).unwrap();
        assert!(c4.contains("12 ms") && c4.contains("median") && c4.contains("19"), "{text}");
        let one_of_two = text.lines().nth(1).unwrap();
        assert!(one_of_two.contains("13 ms") && one_of_two.contains("mean"), "{text}");
        assert!(!text.contains("P99"), "no column without a figure: {text}");
    }
}

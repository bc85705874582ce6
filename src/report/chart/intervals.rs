//! Differences with their intervals around 0, one a row.

use super::axis::Axis;
use super::svg::Svg;
use super::{Chart, IntervalRow};

const WIDTH: f64 = 480.0;
const LEFT: f64 = 14.0;
const RIGHT: f64 = 466.0;
const ROW: f64 = 46.0;
const TOP: f64 = 4.0;
/// From a row's top to its label, to where lines may begin below it, to its mark.
const LABEL: f64 = 18.0;
const BELOW: f64 = 23.0;
const MARK: f64 = 33.0;
/// Characters of a label that a phone has room for.
const LETTERS: usize = 46;

/// Each row has its label above its interval, so that long names of flags fit; no line runs through a label.
pub(super) fn intervals(chart: &Chart, rows: &[IntervalRow]) -> String {
    let bottom = TOP + ROW * rows.len() as f64 + 2.0;
    let ends = rows.iter().flat_map(|r| [Some(r.value), r.low, r.high, Some(0.0)]).flatten();
    let x = Axis::over(ends, &chart.x, LEFT, RIGHT);
    let ticks = x.ticks_across(6);
    let mut svg = Svg::new(&chart.id, WIDTH, bottom + 46.0, &chart.title, &chart.caption);
    for (index, row) in rows.iter().enumerate() {
        let top = TOP + ROW * index as f64;
        for (value, _) in &ticks {
            svg.line("grid", x.at(*value), top + BELOW, x.at(*value), top + ROW);
        }
        svg.line("zero", x.at(0.0), top + BELOW, x.at(0.0), top + ROW);
        let (at, tone) = (top + MARK, row.tone.as_str());
        svg.name(2.0, top + LABEL, &row.label, LETTERS);
        if let (Some(low), Some(high)) = (row.low, row.high) {
            svg.line(&format!("whisker {tone}"), x.at(low), at, x.at(high), at);
        }
        svg.circle(&format!("dot {tone}"), x.at(row.value), at, 5.5, Some(&row.note));
    }
    for (value, text) in ticks {
        svg.text("tick", x.at(value), bottom + 18.0, "middle", &text);
    }
    svg.text("label", WIDTH / 2.0, bottom + 40.0, "middle", &chart.x.label);
    svg.finish()
}

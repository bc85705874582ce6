//! Differences with their intervals around 0, one a row.

use super::axis::Axis;
use super::svg::Svg;
use super::{Chart, IntervalRow};
use crate::domain::reading::shorten;

const WIDTH: f64 = 560.0;
const LEFT: f64 = 24.0;
const RIGHT: f64 = 536.0;
const ROW: f64 = 40.0;
const TOP: f64 = 10.0;

/// Each row has its label above its interval, so that long names of flags fit.
pub(super) fn intervals(chart: &Chart, rows: &[IntervalRow]) -> String {
    let bottom = TOP + ROW * rows.len() as f64 + 4.0;
    let ends = rows.iter().flat_map(|r| [Some(r.value), r.low, r.high, Some(0.0)]).flatten();
    let x = Axis::over(ends, &chart.x, LEFT, RIGHT);
    let mut svg = Svg::new(&chart.id, WIDTH, bottom + 46.0, &chart.title, &chart.caption);
    for (value, text) in x.ticks(6) {
        let at = x.at(value);
        svg.line("grid", at, TOP, at, bottom);
        svg.text("tick", at, bottom + 18.0, "middle", &text);
    }
    svg.line("zero", x.at(0.0), TOP, x.at(0.0), bottom);
    for (index, row) in rows.iter().enumerate() {
        let at = TOP + ROW * index as f64 + 29.0;
        let tone = row.tone.as_str();
        svg.text("name halo", LEFT - 18.0, at - 12.0, "start", &shorten(&row.label, 66));
        if let (Some(low), Some(high)) = (row.low, row.high) {
            svg.line(&format!("whisker {tone}"), x.at(low), at, x.at(high), at);
        }
        svg.circle(&format!("dot {tone}"), x.at(row.value), at, 6.0, Some(&row.note));
    }
    svg.text("label", WIDTH / 2.0, bottom + 38.0, "middle", &chart.x.label);
    svg.finish()
}

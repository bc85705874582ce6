//! One chart as SVG.

use super::{Body, Chart, intervals, plot, strip};

/// The chart as SVG text. Colours are CSS classes, so that the page's theme decides them.
#[must_use]
pub fn draw(chart: &Chart) -> String {
    match &chart.body {
        Body::Scatter { dots, .. } => plot::scatter(chart, dots),
        Body::Lines { lines } => plot::lines(chart, lines),
        Body::Intervals { rows } => intervals::intervals(chart, rows),
        Body::Timeline { lanes, bars } => strip::timeline(chart, lanes, bars),
    }
}

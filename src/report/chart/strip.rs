//! Strips: the timeline of the night, and the small strip of quantiles beside a distribution.

use super::axis::Axis;
use super::svg::Svg;
use super::{Bar, Chart, Scale};
use crate::domain::reading::number;

const WIDTH: f64 = 1160.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 1148.0;
const LANE: f64 = 34.0;

/// Lanes of bars over time.
pub(super) fn timeline(chart: &Chart, lanes: &[String], bars: &[Bar]) -> String {
    let bottom = 8.0 + LANE * lanes.len() as f64;
    let end = bars.iter().map(|b| b.to_s).fold(1.0, f64::max);
    let (scale, unit) =
        [(1.0, "s"), (60.0, "min"), (3600.0, "h")].into_iter().rfind(|(s, _)| end >= 3.0 * s).unwrap_or((1.0, "s"));
    let x = Axis::over([0.0, end / scale].into_iter(), &chart.x, LEFT, RIGHT);
    let mut svg = Svg::new(&chart.id, WIDTH, bottom + 44.0, &chart.title, &chart.caption);
    for (value, text) in x.ticks_across(10) {
        svg.line("grid", x.at(value), 6.0, x.at(value), bottom);
        svg.text("tick", x.at(value), bottom + 18.0, "middle", &text);
    }
    for (index, lane) in lanes.iter().enumerate() {
        svg.text("tick", LEFT - 10.0, 8.0 + LANE * index as f64 + 21.0, "end", lane);
    }
    for bar in bars {
        let (from, to) = (x.at(bar.from_s / scale), x.at(bar.to_s / scale));
        let place = (from, 8.0 + LANE * bar.lane as f64 + 6.0);
        // A failure of a moment must still be seen.
        svg.rect(
            &format!("bar {}", bar.tone.as_str()),
            place,
            ((to - from - 0.6).max(1.6), LANE - 12.0),
            Some(&bar.note),
        );
    }
    svg.text("label", f64::midpoint(LEFT, RIGHT), bottom + 38.0, "middle", &format!("{}, {unit}", chart.x.label));
    svg.finish()
}

/// Width of a strip, as the page shows it.
const STRIP: f64 = 260.0;

fn strip_axis(most: f64) -> Axis {
    Axis::over([0.0, most.max(f64::MIN_POSITIVE)].into_iter(), &Scale::default(), 8.0, STRIP - 8.0)
}

/// Minimum to maximum as a line, 10 to 90 % as a thin bar, 25 to 75 % as a thick one, the median as a tick, on a scale from 0 to `most`.
#[must_use]
pub fn quantile_strip(name: &str, quantiles: &[f64; 7], most: f64) -> String {
    let x = strip_axis(most);
    let [min, p10, p25, p50, p75, p90, max] = *quantiles;
    let text = format!("{name}: half of them between {} and {} ms", number(p25), number(p75));
    let mut svg = Svg::small(STRIP, 16.0, &text);
    svg.line("sl", x.at(min), 8.0, x.at(max), 8.0);
    svg.rect("so", (x.at(p10), 5.0), ((x.at(p90) - x.at(p10)).max(1.0), 6.0), None);
    svg.rect("si", (x.at(p25), 2.0), ((x.at(p75) - x.at(p25)).max(1.0), 12.0), None);
    svg.line("sm", x.at(p50), 1.0, x.at(p50), 15.0);
    svg.finish()
}

/// The axis of the strips above it, in ms.
#[must_use]
pub fn quantile_axis(most: f64) -> String {
    let x = strip_axis(most);
    let mut svg = Svg::decoration(STRIP, 20.0);
    svg.line("axis", x.at(0.0), 1.0, STRIP - 8.0, 1.0);
    for (value, text) in x.ticks_across(4) {
        svg.line("axis", x.at(value), 1.0, x.at(value), 5.0);
        svg.text("tick", x.at(value), 16.0, "middle", &text);
    }
    svg.finish()
}

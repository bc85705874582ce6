//! Scatters and curves in a frame with two axes.

use super::axis::Axis;
use super::svg::Svg;
use super::{Body, Chart, Dot, Line};
use crate::domain::reading::number;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 350.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 546.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 300.0;

/// A frame with ticks and labels, and where values stand in it.
fn frame(chart: &Chart, xs: Vec<f64>, ys: impl Iterator<Item = f64>) -> (Svg, Axis, Axis) {
    let x = Axis::over(xs.iter().copied(), &chart.x, LEFT, RIGHT);
    let y = Axis::over(ys, &chart.y, BOTTOM, TOP);
    let mut svg = Svg::new(&chart.id, WIDTH, HEIGHT, &chart.title, &chart.caption);
    for (value, text) in y.ticks(5) {
        let at = y.at(value);
        svg.line("grid", LEFT, at, RIGHT, at);
        svg.text("tick", LEFT - 8.0, at + 4.5, "end", &text);
    }
    let mut levels: Vec<f64> = xs;
    levels.sort_by(f64::total_cmp);
    levels.dedup();
    let chosen = matches!(chart.body, Body::Lines { .. }).then(|| x.ticks_at(&levels)).flatten();
    for (value, text) in chosen.unwrap_or_else(|| x.ticks(6)) {
        let at = x.at(value);
        svg.line("axis", at, BOTTOM, at, BOTTOM + 5.0);
        svg.text("tick", at, BOTTOM + 20.0, "middle", &text);
    }
    svg.line("axis", LEFT, BOTTOM, RIGHT, BOTTOM);
    svg.text("label", f64::midpoint(LEFT, RIGHT), HEIGHT - 8.0, "middle", &chart.x.label);
    svg.text("label", 6.0, 16.0, "start", &chart.y.label);
    (svg, x, y)
}

fn mark_class(mark: Option<usize>) -> String {
    mark.map_or_else(|| "m0".to_owned(), |m| format!("m{m}"))
}

/// Dots; those on the front are joined by a line and drawn larger.
pub(super) fn scatter(chart: &Chart, dots: &[Dot]) -> String {
    let (mut svg, x, y) = frame(chart, dots.iter().map(|d| d.x).collect(), dots.iter().map(|d| d.y));
    let mut front: Vec<&Dot> = dots.iter().filter(|d| d.on_front).collect();
    front.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.y.total_cmp(&b.y)));
    if front.len() > 1 {
        let points: Vec<(f64, f64)> = front.iter().map(|d| (x.at(d.x), y.at(d.y))).collect();
        svg.polyline("front", &points, None);
    }
    // Highlighted dots on top of the others.
    let mut order: Vec<&Dot> = dots.iter().collect();
    order.sort_by_key(|d| (d.mark.is_some(), d.on_front));
    let mut labels = Labels::default();
    for dot in &order {
        let (cx, cy) = (x.at(dot.x), y.at(dot.y));
        let edge = if dot.on_front { ", on the Pareto front" } else { "" };
        let note = format!("{}: {} and {}{edge}", dot.label, number(dot.x), number(dot.y));
        let class = format!("dot {}{}", mark_class(dot.mark), if dot.on_front { " on" } else { "" });
        svg.circle(&class, cx, cy, if dot.mark.is_some() || dot.on_front { 6.0 } else { 4.0 }, Some(&note));
    }
    for dot in order.iter().rev().filter(|d| d.mark.is_some()) {
        labels.place(&mut svg, x.at(dot.x), y.at(dot.y), &dot.label);
    }
    svg.finish()
}

/// Labels that keep clear of each other and of the frame's ends; one that finds no room is left out (the legend has it).
#[derive(Default)]
struct Labels {
    taken: Vec<(f64, f64, f64, f64)>,
}

impl Labels {
    fn place(&mut self, svg: &mut Svg, x: f64, y: f64, text: &str) {
        let text = crate::domain::reading::shorten(text, 28);
        let width = 7.2 * text.chars().count() as f64;
        let places = [
            (x + 10.0, y + 4.5, "start"),
            (x - 10.0, y + 4.5, "end"),
            (x, y - 11.0, "middle"),
            (x, y + 20.0, "middle"),
        ];
        for (at_x, at_y, anchor) in places {
            let left = match anchor {
                "start" => at_x,
                "end" => at_x - width,
                _ => at_x - width / 2.0,
            };
            let area = (left, at_y - 12.0, left + width, at_y + 3.0);
            let inside = area.0 >= LEFT && area.2 <= WIDTH && area.1 >= 18.0 && area.3 <= BOTTOM;
            let free = !self.taken.iter().any(|t| area.0 < t.2 && t.0 < area.2 && area.1 < t.3 && t.1 < area.3);
            if inside && free {
                svg.text("name", at_x, at_y, anchor, &text);
                self.taken.push(area);
                return;
            }
        }
    }
}

/// Curves; a highlighted one has dots and the band of its intervals.
pub(super) fn lines(chart: &Chart, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|l| &l.points);
    let shown = lines.iter().filter(|l| l.mark.is_some()).flat_map(|l| &l.points);
    let bands = shown.flat_map(|p| [p.low, p.high]).flatten();
    let (mut svg, x, y) = frame(chart, points().map(|p| p.x).collect(), points().map(|p| p.y).chain(bands));
    // Dots of very many points would hide the curve.
    let few = lines.iter().filter(|l| l.mark.is_some()).map(|l| l.points.len()).sum::<usize>() <= 240;
    let mut order: Vec<&Line> = lines.iter().collect();
    // The first highlight is drawn last, on top.
    order.sort_by_key(|l| std::cmp::Reverse(l.mark.unwrap_or(usize::MAX)));
    for line in order {
        let class = format!("{}{}", mark_class(line.mark), if line.dashed { " dashed" } else { "" });
        if line.mark.is_some() {
            let upper = line.points.iter().filter_map(|p| Some((x.at(p.x), y.at(p.high.filter(|_| p.low.is_some())?))));
            let lower =
                line.points.iter().rev().filter_map(|p| Some((x.at(p.x), y.at(p.low.filter(|_| p.high.is_some())?))));
            let outline: Vec<(f64, f64)> = upper.chain(lower).collect();
            if outline.len() > 3 {
                svg.polygon(&format!("band {class}"), &outline);
            }
        }
        let path: Vec<(f64, f64)> = line.points.iter().map(|p| (x.at(p.x), y.at(p.y))).collect();
        svg.polyline(&format!("curve {class}"), &path, Some(&line.label));
        if line.mark.is_some() && few {
            for p in &line.points {
                let interval = match (p.low, p.high) {
                    (Some(low), Some(high)) => format!(" [{} .. {}]", number(low), number(high)),
                    (None, _) | (_, None) => String::new(),
                };
                let note = format!("{}: {} at {}{interval}", line.label, number(p.y), number(p.x));
                svg.circle(&format!("dot {class}"), x.at(p.x), y.at(p.y), 4.0, Some(&note));
            }
        }
    }
    svg.finish()
}

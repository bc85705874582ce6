//! Scatters and curves in a frame with two axes.

use super::axis::Axis;
use super::svg::Svg;
use super::{Body, Chart, Dot, Line};
use crate::domain::reading::number;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 468.0;
const TOP: f64 = 38.0;
const BOTTOM: f64 = 276.0;

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
    for (value, text) in chosen.unwrap_or_else(|| x.ticks_across(6)) {
        let at = x.at(value);
        svg.line("axis", at, BOTTOM, at, BOTTOM + 5.0);
        svg.text("tick", at, BOTTOM + 21.0, "middle", &text);
    }
    svg.line("axis", LEFT, BOTTOM, RIGHT, BOTTOM);
    svg.text("label", f64::midpoint(LEFT, RIGHT), HEIGHT - 8.0, "middle", &chart.x.label);
    svg.text("label", 2.0, 17.0, "start", &chart.y.label);
    (svg, x, y)
}

fn mark_class(mark: Option<usize>) -> String {
    mark.map_or_else(|| "m0".to_owned(), |m| format!("m{m}"))
}

/// Dots; those on the front are joined by a line and drawn larger. Numbers lead to the key beside the chart.
pub(super) fn scatter(chart: &Chart, dots: &[Dot]) -> String {
    let (mut svg, x, y) = frame(chart, dots.iter().map(|d| d.x).collect(), dots.iter().map(|d| d.y));
    let place = |d: &Dot| (x.at(d.x), y.at(d.y));
    let mut front: Vec<(f64, f64)> = dots.iter().filter(|d| d.on_front).map(place).collect();
    front.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    if front.len() > 1 {
        svg.polyline("front", &front, None);
    }
    // Highlighted dots on top of the others.
    let mut order: Vec<&Dot> = dots.iter().collect();
    order.sort_by_key(|d| (d.mark.is_some(), d.on_front));
    let mut numerals = Numerals { taken: along(&front) };
    for dot in &order {
        let (cx, cy) = place(dot);
        let edge = if dot.on_front { ", on the Pareto front" } else { "" };
        let note = format!("{}: {} and {}{edge}", dot.label, number(dot.x), number(dot.y));
        let class = format!("dot {}{}", mark_class(dot.mark), if dot.on_front { " on" } else { "" });
        let radius = if dot.mark.is_some() || dot.on_front { 5.5 } else { 3.5 };
        svg.circle(&class, cx, cy, radius, Some(&note));
        numerals.taken.push(Area { left: cx - radius, top: cy - radius, right: cx + radius, bottom: cy + radius });
    }
    for dot in order.iter().rev() {
        if let Some(number) = dot.number {
            numerals.place(&mut svg, place(dot), &number.to_string());
        }
    }
    svg.finish()
}

/// A rectangle of the picture.
#[derive(Clone, Copy)]
struct Area {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Area {
    fn shared_with(&self, other: &Self) -> f64 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        width.max(0.0) * height.max(0.0)
    }
}

/// Small areas along a line.
fn along(points: &[(f64, f64)]) -> Vec<Area> {
    let steps = |pair: &[(f64, f64)]| {
        let (from, to) = (pair[0], pair[1]);
        let count = ((to.0 - from.0).hypot(to.1 - from.1) / 4.0).ceil().max(1.0);
        let at = move |i: f64| (from.0 + (to.0 - from.0) * i / count, from.1 + (to.1 - from.1) * i / count);
        (0..=count as usize).map(move |i| at(i as f64)).collect::<Vec<_>>()
    };
    let area = |(x, y): (f64, f64)| Area { left: x - 2.0, top: y - 2.0, right: x + 2.0, bottom: y + 2.0 };
    points.windows(2).flat_map(steps).map(area).collect()
}

/// From a dot to the middle of a number that plainly belongs to it.
const NEAR: f64 = 26.0;

/// Numbers beside their dots, each where it covers the least of other marks.
struct Numerals {
    taken: Vec<Area>,
}

impl Numerals {
    fn place(&mut self, svg: &mut Svg, (x, y): (f64, f64), text: &str) {
        let (half_width, half_height) = (7.5 * text.len() as f64, 8.0);
        let around = [(1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1)];
        let places = [8.0, 16.0, 26.0].into_iter().flat_map(|gap| {
            around.map(|(right, down)| {
                let (right, down) = (f64::from(right), f64::from(down));
                (x + right * (half_width + gap), y + down * (half_height + gap))
            })
        });
        let mut best: Option<(f64, (f64, f64), Area)> = None;
        for (cx, cy) in places {
            let (left, right) = (cx - half_width, cx + half_width);
            let area = Area { left, top: cy - half_height, right, bottom: cy + half_height };
            if area.left < LEFT || area.right > WIDTH || area.top < TOP - 12.0 || area.bottom > BOTTOM {
                continue;
            }
            let covered: f64 = self.taken.iter().map(|t| area.shared_with(t)).sum();
            if best.as_ref().is_none_or(|(least, ..)| covered < *least) {
                best = Some((covered, (cx, cy), area));
            }
        }
        if let Some((_, (cx, cy), area)) = best {
            // Further away than its neighbours may be, it is tied to its dot by a line.
            let (right, down) = (cx - x, cy - y);
            let length = right.hypot(down);
            if length > NEAR {
                let (right, down) = (right / length, down / length);
                let end = length - half_width.max(half_height);
                svg.line("lead", x + 6.0 * right, y + 6.0 * down, x + end * right, y + end * down);
            }
            svg.text("name", cx, cy + 5.0, "middle", text);
            self.taken.push(area);
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

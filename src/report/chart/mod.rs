//! Charts: as data, and drawn as SVG that needs nothing else.

mod axis;
mod draw;
mod intervals;
mod plot;
mod strip;
mod svg;

use serde::Serialize;

pub use draw::draw;
pub use strip::{quantile_axis, quantile_strip};

/// One chart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chart {
    /// Its identity in the page.
    pub id: String,
    /// What it shows, in a few words.
    pub title: String,
    /// What to see in it, in a sentence or two: the caption, and the description for those who do not see it.
    pub caption: String,
    /// The horizontal axis.
    pub x: Scale,
    /// The vertical axis.
    pub y: Scale,
    /// The marks.
    pub body: Body,
    /// Which config bears which of the highlight colours, from 1.
    pub legend: Vec<(usize, String)>,
}

/// One axis of a chart.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Scale {
    /// What it shows, with the unit.
    pub label: String,
    /// Whether equal distances are equal ratios.
    pub log: bool,
}

impl Scale {
    /// A linear axis.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: false }
    }

    /// A logarithmic axis.
    pub fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: true }
    }
}

/// The marks of a chart.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// Configs as dots, the front as a line.
    Scatter {
        /// The dots.
        dots: Vec<Dot>,
        /// What stands across and what upright, in short, with the unit.
        names: [String; 2],
    },
    /// Curves.
    Lines {
        /// The curves.
        lines: Vec<Line>,
    },
    /// Differences with intervals, around 0.
    Intervals {
        /// The rows, from the top.
        rows: Vec<IntervalRow>,
    },
    /// Bars over time, in lanes.
    Timeline {
        /// Names of the lanes, from the top.
        lanes: Vec<String>,
        /// The bars.
        bars: Vec<Bar>,
    },
}

/// One config in a scatter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Dot {
    /// Its name.
    pub label: String,
    /// Horizontal value.
    pub x: f64,
    /// Vertical value.
    pub y: f64,
    /// Its highlight colour.
    pub mark: Option<usize>,
    /// Its number in the key beside the chart, for one that is highlighted or on the front.
    pub number: Option<usize>,
    /// Whether it stands on the Pareto front.
    pub on_front: bool,
}

/// One curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Its name.
    pub label: String,
    /// Its highlight colour.
    pub mark: Option<usize>,
    /// Whether it is dashed.
    pub dashed: bool,
    /// Its points, by x.
    pub points: Vec<LinePoint>,
}

/// One point of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LinePoint {
    /// Horizontal value.
    pub x: f64,
    /// Vertical value.
    pub y: f64,
    /// Lower end of the 95 % interval.
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub high: Option<f64>,
}

/// One difference with its interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IntervalRow {
    /// What it is the difference of.
    pub label: String,
    /// The difference.
    pub value: f64,
    /// Lower end.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Better, worse, or noise.
    pub tone: super::model::Tone,
    /// What a pointer that rests on it says.
    pub note: String,
}

/// One bar of a timeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bar {
    /// Index of its lane.
    pub lane: usize,
    /// Start, s since the start of the night.
    pub from_s: f64,
    /// End, s.
    pub to_s: f64,
    /// Good, bad or otherwise.
    pub tone: super::model::Tone,
    /// What a pointer that rests on it says.
    pub note: String,
}

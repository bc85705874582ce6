//! Which charts a sweep has data for.

use std::collections::BTreeMap;

use crate::domain::{MetricPath, Outcome, ScenarioKind};
use crate::rank::{Candidate, pareto_front};
use crate::store::TrialReport;

use super::chart::{Bar, Body, Chart, Dot, IntervalRow, Line, LinePoint, Scale};
use super::model::{Column, EffectTable, Tone};
use super::section::point_number;
use super::source::Source;
use super::table::cost;

/// Highlight colours.
const MARKS: usize = 6;

/// Which config bears which highlight colour: the leader of each objective, then the baseline.
pub(super) struct Marks(Vec<String>);

impl Marks {
    pub(super) fn new<'a>(leaders: impl Iterator<Item = &'a str>, baseline: Option<&'a str>) -> Self {
        let mut names: Vec<String> = Vec::new();
        for name in leaders.take(MARKS - 1).chain(baseline) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        Self(names)
    }

    fn of(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|known| known == name).map(|i| i + 1)
    }

    /// The highlighted configs that `shown` says are in the chart.
    fn legend(&self, shown: impl Fn(&str) -> bool) -> Vec<(usize, String)> {
        let all = self.0.iter().enumerate().map(|(i, name)| (i + 1, name.clone()));
        all.filter(|(_, name)| shown(name)).collect()
    }
}

/// Every chart with data, in reading order.
pub(super) fn charts(source: &Source, columns: &[Column], marks: &Marks, effects: &[EffectTable]) -> Vec<Chart> {
    let c = &source.candidates;
    let mut out = trade_offs(c, columns, marks);
    let latency = "TTFT p50, ms";
    let curves = [
        (
            "load-throughput",
            "Throughput by concurrent users",
            ScenarioKind::Load,
            'c',
            "output_tokens_per_s",
            None,
            "concurrent users",
            "output tokens/s",
        ),
        (
            "load-ttft",
            "Time to first token by concurrent users",
            ScenarioKind::Load,
            'c',
            "ttft_ms",
            Some("p50"),
            "concurrent users",
            latency,
        ),
        (
            "load-tpot",
            "Time per output token by concurrent users",
            ScenarioKind::Load,
            'c',
            "tpot_ms",
            Some("p50"),
            "concurrent users",
            "TPOT p50, ms",
        ),
        (
            "rate-ttft",
            "Time to first token by arrival rate",
            ScenarioKind::Load,
            'r',
            "ttft_ms",
            Some("p50"),
            "requests/s offered",
            latency,
        ),
        (
            "turns",
            "Time to first token by turn of a conversation",
            ScenarioKind::Conversation,
            't',
            "ttft_ms",
            Some("p50"),
            "turn",
            latency,
        ),
    ];
    for (id, title, scenario, prefix, name, statistic, x, y) in curves {
        let scale = if prefix == 't' { Scale::linear(x) } else { Scale::log(x) };
        let lines = lines_of(c, marks, |path| {
            let here = path.scenario == scenario && path.name == name && path.statistic.as_deref() == statistic;
            here.then(|| point_of(path, prefix)).flatten()
        });
        out.extend(curve(id, title, scale, Scale::log(y), lines, marks));
    }
    out.extend(by_prompt_size(c, marks));
    out.extend(effects.iter().filter_map(effect_chart));
    out.extend(memory(source, marks));
    out.extend(night(&source.trials));
    out
}

/// The number of a point of this kind: 16 of `c16` for `c`.
fn point_of(path: &MetricPath, prefix: char) -> Option<f64> {
    let point = path.point.as_deref()?;
    let rest = point.strip_prefix(prefix)?;
    rest.starts_with(|c: char| c.is_ascii_digit()).then(|| point_number(point)).flatten()
}

/// The first latency and the first throughput among the columns, and every other pair of objectives: at most three scatters.
fn trade_offs(candidates: &[Candidate], columns: &[Column], marks: &Marks) -> Vec<Chart> {
    let rate = |c: &&Column| c.unit.ends_with("_per_s");
    let latency = |c: &&Column| c.unit == "ms";
    let mut pairs: Vec<(&Column, &Column)> = Vec::new();
    for x in columns.iter().filter(rate).take(2) {
        for y in columns.iter().filter(latency) {
            let preferred = x.is_objective || y.is_objective;
            if x.metric.scenario == y.metric.scenario || preferred {
                pairs.push((x, y));
            }
        }
    }
    pairs.sort_by_key(|(x, y)| (!(x.is_objective && y.is_objective), x.metric.scenario != y.metric.scenario));
    pairs.into_iter().take(3).filter_map(|(x, y)| scatter(candidates, x, y, marks)).collect()
}

fn scatter(candidates: &[Candidate], x: &Column, y: &Column, marks: &Marks) -> Option<Chart> {
    let usable = |c: &Candidate, column: &Column| {
        let figure = c.figure(&column.metric).filter(|f| f.verdict != crate::domain::Verdict::Invalid)?;
        Some(figure.metric.value)
    };
    let points: Vec<(&str, f64, f64)> =
        candidates.iter().filter_map(|c| Some((c.name.as_str(), usable(c, x)?, usable(c, y)?))).collect();
    if points.len() < 2 {
        return None;
    }
    let costs: Vec<Vec<f64>> =
        points.iter().map(|(_, a, b)| vec![cost(*a, x.direction), cost(*b, y.direction)]).collect();
    let on_front = pareto_front(&costs);
    let front: Vec<&str> = points.iter().zip(&on_front).filter(|(_, on)| **on).map(|((name, ..), _)| *name).collect();
    let named = if front.len() <= 4 { format!(": {}", front.join(", ")) } else { String::new() };
    let caption = format!(
        "{} of {} configs stand on the Pareto front{named}: no other is better in both. Right is more throughput, down is less latency.",
        front.len(),
        points.len()
    );
    let dots = points.iter().zip(&on_front).map(|((name, x, y), on)| Dot {
        label: (*name).to_owned(),
        x: *x,
        y: *y,
        mark: marks.of(name),
        on_front: *on,
    });
    Some(Chart {
        id: format!("trade-{}-{}", slug(&x.title), slug(&y.title)),
        title: format!("{} against {}", capital(&y.title), x.title),
        caption,
        x: Scale::linear(axis_label(x)),
        y: Scale::log(axis_label(y)),
        legend: marks.legend(|name| points.iter().any(|(n, ..)| *n == name)),
        body: Body::Scatter { dots: dots.collect() },
    })
}

fn axis_label(column: &Column) -> String {
    format!("{}, {}", column.metric, unit_text(&column.unit))
}

/// A unit as a person writes it.
pub(super) fn unit_text(unit: &str) -> &str {
    match unit {
        "tokens_per_s" => "tokens/s",
        "requests_per_s" => "requests/s",
        other => other,
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|c| c.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn slug(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// One line per config over the points that `x` finds in its paths.
fn lines_of(candidates: &[Candidate], marks: &Marks, x: impl Fn(&MetricPath) -> Option<f64>) -> Vec<Line> {
    let line = |c: &Candidate| {
        let usable = c.figures.iter().filter(|f| f.verdict != crate::domain::Verdict::Invalid);
        let mut points: Vec<LinePoint> = usable
            .filter_map(|f| {
                let m = &f.metric;
                Some(LinePoint { x: x(&m.path)?, y: m.value, low: m.ci_low, high: m.ci_high })
            })
            .collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Line { label: c.name.clone(), mark: marks.of(&c.name), dashed: false, points }
    };
    candidates.iter().map(line).filter(|l| l.points.len() > 1).collect()
}

fn curve(id: &str, title: &str, x: Scale, y: Scale, lines: Vec<Line>, marks: &Marks) -> Option<Chart> {
    if lines.is_empty() {
        return None;
    }
    let muted = lines.iter().filter(|l| l.mark.is_none()).count();
    let others = if muted > 0 { format!(" {muted} other configs are drawn in grey.") } else { String::new() };
    Some(Chart {
        id: id.to_owned(),
        title: title.to_owned(),
        caption: format!("Bands are 95 % intervals.{others}"),
        x,
        y,
        legend: marks.legend(|name| lines.iter().any(|l| l.label == name)),
        body: Body::Lines { lines },
    })
}

/// Fresh prompts as whole lines, repeated ones dashed; only highlighted configs, since each has two.
fn by_prompt_size(candidates: &[Candidate], marks: &Marks) -> Option<Chart> {
    let lines = |name: &str, dashed: bool| {
        let of = lines_of(candidates, marks, |path| {
            let here =
                path.scenario == ScenarioKind::KvCache && path.name == name && path.statistic.as_deref() == Some("p50");
            here.then(|| point_of(path, 'p')).flatten()
        });
        let marked = of.into_iter().filter(|l| l.mark.is_some());
        marked.map(move |l| Line { dashed, ..l }).collect::<Vec<_>>()
    };
    let mut all = lines("ttft_miss_ms", false);
    all.extend(lines("ttft_hit_ms", true));
    let mut chart = curve(
        "prompt-size",
        "Time to first token by prompt size",
        Scale::log("prefix, tokens"),
        Scale::log("TTFT p50, ms"),
        all,
        marks,
    )?;
    chart.caption = "Whole lines: a fresh prefix. Dashed: the same prefix again. Bands are 95 % intervals.".to_owned();
    Some(chart)
}

/// Effects in percent of the figure before the change.
fn effect_chart(table: &EffectTable) -> Option<Chart> {
    let rows: Vec<IntervalRow> = table
        .effects
        .iter()
        .filter_map(|e| {
            let scale = e.shift.percent.filter(|_| e.shift.difference != 0.0).map(|p| p / e.shift.difference)?;
            let ends = [e.shift.ci_low, e.shift.ci_high].map(|end| end.map(|v| v * scale));
            let better = cost(e.shift.difference, table.direction) < 0.0;
            let tone = match (e.shift.real, better) {
                (false, _) => Tone::Plain,
                (true, true) => Tone::Good,
                (true, false) => Tone::Bad,
            };
            let gain = crate::domain::reading::gain(e.shift.percent?);
            let word = match tone {
                Tone::Good => "better",
                Tone::Bad => "worse",
                Tone::Plain | Tone::Mixed => "within the noise",
            };
            let label = format!("{}  {} → {}", e.change.axis, e.change.from, e.change.to);
            let pairs = if e.pairs == 1 { "1 matched pair".to_owned() } else { format!("{} matched pairs", e.pairs) };
            let note = format!("{label}: {gain}, {word}, over {pairs}");
            Some(IntervalRow { label, value: e.shift.percent?, low: ends[0], high: ends[1], tone, note })
        })
        .take(24)
        .collect();
    (!rows.is_empty()).then(|| Chart {
        id: format!("effects-{}", slug(&table.objective)),
        title: format!("What each setting does to {}", table.objective),
        caption: format!(
            "Change of {} when one setting changes and everything else stays, mean over matched pairs, with an interval that holds for the whole chart. Green is better, red worse, grey within the noise.",
            table.metric
        ),
        x: Scale::linear("change, percent"),
        y: Scale::default(),
        body: Body::Intervals { rows },
        legend: Vec::new(),
    })
}

/// Seconds between two RFC 3339 times.
fn seconds_between(from: &str, to: &str) -> Option<f64> {
    let (from, to): (jiff::Timestamp, jiff::Timestamp) = (from.parse().ok()?, to.parse().ok()?);
    Some(to.duration_since(from).as_secs_f64())
}

/// Memory over the night, one line per source and attempt.
fn memory(source: &Source, marks: &Marks) -> Option<Chart> {
    /// Points kept of a series of one attempt.
    const KEPT: usize = 60;
    let start = source.trials.iter().flat_map(|t| &t.attempt_reports).map(|a| a.started_at.as_str()).min()?.to_owned();
    let mut sources: Vec<String> = Vec::new();
    let mut lines = Vec::new();
    for trial in &source.trials {
        for attempt in &trial.attempt_reports {
            let Some(samples) = source.memory.get(&attempt.id.0) else { continue };
            let Some(offset_s) = seconds_between(&start, &attempt.started_at) else { continue };
            let mut series: BTreeMap<(&str, &str), Vec<LinePoint>> = BTreeMap::new();
            for s in samples.iter().filter(|s| s.series.contains("used") && s.series.ends_with("_bytes")) {
                let x = (offset_s + s.offset_ms / 1000.0) / 60.0;
                let point = LinePoint { x, y: s.value / f64::from(1 << 30), low: None, high: None };
                series.entry((&s.source, &s.series)).or_default().push(point);
            }
            for ((from, name), points) in series {
                let label = format!("{from} {}", name.trim_end_matches("_bytes").replace('_', " "));
                let mark = sources.iter().position(|s| *s == label).unwrap_or_else(|| {
                    sources.push(label.clone());
                    sources.len() - 1
                });
                let label = format!("{label}, {}", trial.trial.name);
                let step = points.len().div_ceil(KEPT).max(1);
                // Of each step the largest, so that no peak is lost.
                let peaks = points.chunks(step).filter_map(|c| c.iter().copied().max_by(|a, b| a.y.total_cmp(&b.y)));
                lines.push(Line {
                    label,
                    mark: Some(mark % MARKS + 1),
                    dashed: mark >= MARKS,
                    points: peaks.collect(),
                });
            }
        }
    }
    let mut chart = curve(
        "memory",
        "Memory in use over the night",
        Scale::linear("minutes since the start"),
        Scale::linear("GiB"),
        lines,
        marks,
    )?;
    chart.legend = sources.into_iter().take(MARKS).enumerate().map(|(i, label)| (i + 1, label)).collect();
    chart.caption = "The largest sample of each stretch; gaps are the pauses between configs.".to_owned();
    Some(chart)
}

/// Every attempt of the night.
fn night(trials: &[TrialReport]) -> Option<Chart> {
    let attempts = || trials.iter().flat_map(|t| t.attempt_reports.iter().map(move |a| (t, a)));
    let start = attempts().map(|(_, a)| a.started_at.clone()).min()?;
    let mut lanes: Vec<String> = Vec::new();
    let mut bars = Vec::new();
    let kinds: [(&str, Tone); 4] =
        [("baseline", Tone::Plain), ("measured", Tone::Good), ("failed", Tone::Bad), ("interrupted", Tone::Mixed)];
    for (lane, tone) in kinds {
        for (trial, attempt) in attempts() {
            let of = match &attempt.outcome {
                Some(Outcome::Measured) if trial.trial.is_baseline => "baseline",
                Some(Outcome::Measured) => "measured",
                Some(Outcome::Failed(_)) => "failed",
                // A twin is found out when its server has started.
                Some(Outcome::Interrupted) if trial.trial.skip.is_some() => "skipped",
                Some(Outcome::Interrupted) | None => "interrupted",
            };
            let (Some(end), true) = (&attempt.ended_at, of == lane) else { continue };
            let (Some(from_s), Some(to_s)) =
                (seconds_between(&start, &attempt.started_at), seconds_between(&start, end))
            else {
                continue;
            };
            if lanes.last().is_none_or(|l| l != lane) {
                lanes.push(lane.to_owned());
            }
            let cause = match &attempt.outcome {
                Some(Outcome::Failed(f)) => format!(": {}", f.cause.as_str().replace('_', " ")),
                Some(Outcome::Measured | Outcome::Interrupted) | None => String::new(),
            };
            let note =
                format!("{}, {of}{cause}, {}", trial.trial.name, crate::domain::reading::duration(to_s - from_s));
            bars.push(Bar { lane: lanes.len() - 1, from_s, to_s, tone, note });
        }
    }
    (bars.len() > 1).then(|| Chart {
        id: "night".to_owned(),
        title: "The night".to_owned(),
        caption: "Every attempt from its start to its end. Point at a bar for the config and what became of it."
            .to_owned(),
        x: Scale::linear("since the first start"),
        y: Scale::default(),
        body: Body::Timeline { lanes, bars },
        legend: Vec::new(),
    })
}

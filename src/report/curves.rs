//! Which charts a sweep has data for.

use crate::domain::reading::unit_text;
use crate::domain::{MetricPath, ScenarioKind, point_number};
use crate::rank::{Candidate, pareto_front};

use super::chart::{Body, Chart, Dot, IntervalRow, Line, LinePoint, Scale};
use super::model::{Column, EffectTable, Tone};
use super::night::{controls, memory, night};
use super::source::Source;

/// Highlight colours.
pub(super) const MARKS: usize = 6;

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
            Some("mean"),
            "turn",
            "TTFT mean, ms",
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
    out.extend(effects.iter().filter_map(|table| effect_chart(table, c)));
    out.extend(controls(source));
    out.extend(memory(source));
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
    // As drawn, and as compared: in a night that moved these are not the same.
    let usable = |c: &Candidate, column: &Column| {
        let figure = c.figure(&column.metric).filter(|f| f.verdict != crate::domain::Verdict::Invalid)?;
        Some((figure.metric.value, column.direction.cost(figure.judged()?)))
    };
    let found: Vec<_> =
        candidates.iter().filter_map(|c| Some((c.name.as_str(), usable(c, x)?, usable(c, y)?))).collect();
    let points: Vec<(&str, f64, f64)> = found.iter().map(|(name, x, y)| (*name, x.0, y.0)).collect();
    if points.len() < 2 {
        return None;
    }
    let costs: Vec<Vec<f64>> = found.iter().map(|(_, x, y)| vec![x.1, y.1]).collect();
    let on_front = pareto_front(&costs);
    let front = on_front.iter().filter(|on| **on).count();
    let stand = if front == 1 { "stands" } else { "stand" };
    let has_moved = |column: &Column| candidates.iter().filter_map(|c| c.figure(&column.metric)).any(|f| f.noise.moved);
    let moved = if has_moved(x) || has_moved(y) {
        " The baseline moved through this night: the front compares shares of the baseline at each time, so a config on it may not look it."
    } else {
        ""
    };
    let caption = format!(
        "{} of {} configs {stand} on the Pareto front; no other is better in both. Right is more throughput, down is less latency. The numbers are those of the table below.{moved}",
        front,
        points.len()
    );
    let dots = points.iter().zip(&on_front).map(|((name, x, y), on)| Dot {
        label: (*name).to_owned(),
        x: *x,
        y: *y,
        mark: marks.of(name),
        number: None,
        on_front: *on,
    });
    let short = |c: &Column| format!("{}, {}", c.title, axis_unit(&c.unit));
    Some(Chart {
        id: format!("trade-{}-{}", slug(&x.title), slug(&y.title)),
        title: format!("{} against {}", capital(&y.title), x.title),
        caption,
        x: Scale::linear(axis_label(x)),
        y: Scale::log(axis_label(y)),
        legend: marks.legend(|name| points.iter().any(|(n, ..)| *n == name)),
        body: Body::Scatter { dots: numbered(dots.collect()), names: [short(x), short(y)] },
    })
}

/// Numbers for the dots of the front, from the most throughput to the least, then for the highlighted ones beside it.
fn numbered(mut dots: Vec<Dot>) -> Vec<Dot> {
    /// More would be a thicket; the table of configs has all.
    const MOST: usize = 20;
    let mut told: Vec<&mut Dot> = dots.iter_mut().filter(|d| d.on_front || d.mark.is_some()).collect();
    told.sort_by(|a, b| b.on_front.cmp(&a.on_front).then(b.x.total_cmp(&a.x)));
    for (place, dot) in told.into_iter().take(MOST).enumerate() {
        dot.number = Some(place + 1);
    }
    dots
}

fn axis_label(column: &Column) -> String {
    format!("{}, {}", column.metric, axis_unit(&column.unit))
}

/// The unit of an axis, whose values stand as they were measured: a share from 0 to 1.
pub(super) fn axis_unit(unit: &str) -> &str {
    if unit == "ratio" { unit } else { unit_text("", unit) }
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
    let others = match muted {
        0 => String::new(),
        1 => " One other config is drawn in grey.".to_owned(),
        muted => format!(" {muted} other configs are drawn in grey."),
    };
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
fn by_prompt_size(candidates: &[Candidate], marks: &Marks) -> Vec<Chart> {
    let lines = |scenario: ScenarioKind, name: &str, dashed: bool| {
        let of = lines_of(candidates, marks, |path| {
            let here = path.scenario == scenario && path.name == name && path.statistic.as_deref() == Some("p50");
            here.then(|| point_of(path, 'p')).flatten()
        });
        let marked = of.into_iter().filter(|l| l.mark.is_some());
        marked.map(move |l| Line { dashed, ..l }).collect::<Vec<_>>()
    };
    let (x, y) = (|| Scale::log("prompt, tokens"), || Scale::log("TTFT p50, ms"));
    let mut all = lines(ScenarioKind::KvCache, "ttft_miss_ms", false);
    all.extend(lines(ScenarioKind::KvCache, "ttft_hit_ms", true));
    let cache = curve("prompt-size", "Time to first token by prompt size", x(), y(), all, marks);
    let cache = cache.map(|chart| Chart {
        caption: "Whole lines: a fresh prefix. Dashed: the same prefix again. Bands are 95 % intervals.".to_owned(),
        ..chart
    });
    let long = lines(ScenarioKind::LongContext, "ttft_ms", false);
    let long = curve("long-context", "Time to first token of long prompts", x(), y(), long, marks);
    cache.into_iter().chain(long).collect()
}

/// Why no effect of a table has an interval.
fn why_no_interval(table: &EffectTable, candidates: &[Candidate]) -> &'static str {
    let noise = candidates.iter().find_map(|c| c.figure(&table.metric)).map(|f| f.noise).unwrap_or_default();
    if noise.moved {
        " The baseline itself moved through this night, so figures of different hours are not comparable and no effect here is told from that drift."
    } else if noise.degrees == 0 {
        " No config was started twice, so nothing here tells an effect from noise: several starts of each config (`repeats`) would."
    } else {
        " Each figure stands on too few samples to tell an effect from noise."
    }
}

/// Effects in percent of the figure before the change.
fn effect_chart(table: &EffectTable, candidates: &[Candidate]) -> Option<Chart> {
    let rows: Vec<IntervalRow> = table
        .effects
        .iter()
        .filter_map(|e| {
            let scale = e.shift.percent.filter(|_| e.shift.difference != 0.0).map(|p| p / e.shift.difference)?;
            let ends = [e.shift.ci_low, e.shift.ci_high].map(|end| end.map(|v| v * scale));
            let better = table.direction.cost(e.shift.difference) < 0.0;
            let tone = match (e.shift.real, better) {
                (false, _) => Tone::Plain,
                (true, true) => Tone::Good,
                (true, false) => Tone::Bad,
            };
            let gain = crate::domain::reading::gain(e.shift.percent?);
            let word = match tone {
                Tone::Good => "better",
                Tone::Bad => "worse",
                Tone::Plain | Tone::Mixed if e.shift.ci_low.is_none() => "without an interval",
                Tone::Plain | Tone::Mixed => "within the noise",
            };
            let label = format!("{}  {} → {}", e.change.axis, e.change.from, e.change.to);
            let pairs = if e.pairs == 1 { "1 matched pair".to_owned() } else { format!("{} matched pairs", e.pairs) };
            let note = format!("{label}: {gain}, {word}, over {pairs}");
            Some(IntervalRow { label, value: e.shift.percent?, low: ends[0], high: ends[1], tone, note })
        })
        .take(24)
        .collect();
    let silent = if rows.iter().all(|r| r.low.is_none()) { why_no_interval(table, candidates) } else { "" };
    (!rows.is_empty()).then(|| Chart {
        id: format!("effects-{}", slug(&table.objective)),
        title: format!("What each setting does to {}", table.objective),
        caption: format!(
            "Change of {} when one setting changes and everything else stays, mean over matched pairs, with an interval that holds for the whole chart. Green is better, red worse, grey within the noise.{silent}",
            table.metric
        ),
        x: Scale::linear("change, percent"),
        y: Scale::default(),
        body: Body::Intervals { rows },
        legend: Vec::new(),
    })
}

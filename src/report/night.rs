//! What happened over the night: attempts, the baseline measured again, memory.

use std::collections::BTreeMap;

use crate::domain::{Outcome, SkipReason, Verdict};
use crate::store::{TelemetrySample, TrialReport};
use crate::telemetry::Series;

use super::chart::{Bar, Body, Chart, Line, LinePoint, Scale};
use super::curves::{MARKS, axis_unit};
use super::model::Tone;
use super::source::Source;

/// Seconds between two RFC 3339 times.
fn seconds_between(from: &str, to: &str) -> Option<f64> {
    let (from, to): (jiff::Timestamp, jiff::Timestamp) = (from.parse().ok()?, to.parse().ok()?);
    Some(to.duration_since(from).as_secs_f64())
}

/// Memory over the night, one line per GPU and attempt; of the server itself where no GPU was sampled.
pub(super) fn memory(source: &Source) -> Option<Chart> {
    /// Points kept of all series together, and at most of one attempt's.
    const KEPT: usize = 1500;
    const KEPT_OF_ONE: usize = 60;
    let kept = (KEPT / source.memory.len().max(1)).clamp(4, KEPT_OF_ONE);
    let start = source.trials.iter().flat_map(|t| &t.attempt_reports).map(|a| a.started_at.as_str()).min()?.to_owned();
    let shown = |series: Series| move |s: &&TelemetrySample| s.series == series.as_str();
    let has_gpus = source.memory.values().flatten().any(|s| shown(Series::GpuMemoryUsed)(&s));
    let series = if has_gpus { Series::GpuMemoryUsed } else { Series::ContainerMemory };
    let largest = source.memory.values().flatten().filter(shown(series)).map(|s| s.value).fold(0.0, f64::max);
    let (scale, unit) =
        if largest < f64::from(1 << 30) { (f64::from(1 << 20), "MiB") } else { (f64::from(1 << 30), "GiB") };
    let mut sources: Vec<String> = Vec::new();
    let mut lines = Vec::new();
    for trial in &source.trials {
        for attempt in &trial.attempt_reports {
            let Some(samples) = source.memory.get(&attempt.id) else { continue };
            let Some(offset_s) = seconds_between(&start, &attempt.started_at) else { continue };
            let mut by_source: BTreeMap<&str, Vec<LinePoint>> = BTreeMap::new();
            for s in samples.iter().filter(shown(series)) {
                let x = (offset_s + s.offset_ms / 1000.0) / 60.0;
                let point = LinePoint { x, y: s.value / scale, low: None, high: None };
                by_source.entry(&s.source).or_default().push(point);
            }
            for (from, points) in by_source {
                let label = if has_gpus { from.replace("gpu", "GPU ") } else { "the server's memory".to_owned() };
                let mark = sources.iter().position(|s| *s == label).unwrap_or_else(|| {
                    sources.push(label.clone());
                    sources.len() - 1
                });
                let label = format!("{label}, {}", trial.trial.name);
                let step = points.len().div_ceil(kept).max(1);
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
    (!lines.is_empty()).then(|| Chart {
        id: "memory".to_owned(),
        title: if has_gpus { "GPU memory over the night" } else { "Memory of the server over the night" }.to_owned(),
        caption: "The largest sample of each stretch; gaps are the pauses between configs.".to_owned(),
        x: Scale::linear("minutes since the start"),
        y: Scale::linear(unit),
        legend: sources.into_iter().take(MARKS).enumerate().map(|(i, label)| (i + 1, label)).collect(),
        body: Body::Lines { lines },
    })
}

/// Every attempt of the night.
pub(super) fn night(trials: &[TrialReport]) -> Option<Chart> {
    let attempts = || trials.iter().flat_map(|t| t.attempt_reports.iter().map(move |a| (t, a)));
    let start = attempts().map(|(_, a)| a.started_at.clone()).min()?;
    let mut lanes: Vec<String> = Vec::new();
    let mut bars = Vec::new();
    let twin = SkipReason::Twin.as_str();
    let kinds: [(&str, Tone); 5] = [
        ("baseline", Tone::Plain),
        ("measured", Tone::Good),
        ("failed", Tone::Bad),
        (twin, Tone::Plain),
        ("interrupted", Tone::Mixed),
    ];
    for (lane, tone) in kinds {
        for (trial, attempt) in attempts() {
            let of = match &attempt.outcome {
                Some(Outcome::Measured) if trial.trial.is_baseline => "baseline",
                Some(Outcome::Measured) => "measured",
                Some(Outcome::Failed(_)) => "failed",
                // It is found out when its server has started.
                Some(Outcome::Interrupted) if trial.found_a_twin(attempt) => twin,
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
            let cause = match (&attempt.outcome, &trial.trial.detail) {
                (Some(Outcome::Failed(f)), _) => format!(": {}", f.cause.as_str().replace('_', " ")),
                (Some(Outcome::Interrupted), Some(why)) if of == twin => format!(": {why}"),
                (Some(Outcome::Measured | Outcome::Interrupted) | None, _) => String::new(),
            };
            let note = format!(
                "{}, {}, {of}{cause}, {}",
                trial.trial.name,
                attempt.start,
                crate::domain::reading::duration(to_s - from_s)
            );
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

/// The baseline's figure of the first objective at each of its starts: did the machine change?
pub(super) fn controls(source: &Source) -> Option<Chart> {
    let metric = &source.objectives.first()?.metric;
    let attempts = || source.trials.iter().flat_map(|t| t.attempt_reports.iter().map(move |a| (t, a)));
    let begin = attempts().map(|(_, a)| a.started_at.as_str()).min()?;
    let mut unit = String::new();
    let mut points: Vec<LinePoint> = Vec::new();
    for (_, attempt) in attempts().filter(|(t, _)| t.trial.is_baseline) {
        let usable = attempt.scenarios.iter().filter(|s| s.validity.verdict != Verdict::Invalid);
        let Some(m) = usable.flat_map(|s| &s.metrics).find(|m| m.path == *metric) else { continue };
        let Some(at_s) = seconds_between(begin, &attempt.started_at) else { continue };
        unit.clone_from(&m.unit);
        points.push(LinePoint { x: at_s / 60.0, y: m.value, low: m.ci_low, high: m.ci_high });
    }
    let (first, last) = (*points.first()?, *points.last()?);
    let baseline = source.sweep.baseline.clone()?;
    (points.len() > 1).then(|| {
        let values = points.iter().map(|p| p.y);
        let (least, most) = (values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max));
        let gain = crate::domain::reading::gain;
        let spread = 100.0 * (most - least) / first.y.abs();
        let drift = 100.0 * (last.y - first.y) / first.y.abs();
        Chart {
            id: "controls".to_owned(),
            title: "The machine through the night".to_owned(),
            caption: format!(
                "{baseline}, measured at {} starts: from the first to the last {}, {} between the smallest and the largest. What moves here is the machine, not a setting. The band is the 95 % interval within each start.",
                points.len(),
                gain(drift),
                gain(spread).trim_start_matches('+')
            ),
            x: Scale::linear("minutes since the start"),
            y: Scale::linear(format!("{metric}, {}", axis_unit(&unit))),
            legend: vec![(1, baseline.clone())],
            body: Body::Lines { lines: vec![Line { label: baseline, mark: Some(1), dashed: false, points }] },
        }
    })
}

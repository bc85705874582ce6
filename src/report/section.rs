//! One config's section: settings asked for and real, attempts, results, distributions.

use std::collections::BTreeMap;

use crate::domain::reading::duration;
use crate::domain::{FlagName, Metric, MetricPath, Outcome, SkipReason, Start, point_number};
use crate::rank::{Candidate, Figure};
use crate::resolve::{same_value, speaks_of_the_engine};
use crate::stats::quantile_of_sorted;
use crate::store::{AttemptReport, RequestSample, ScenarioReport, TrialReport, TrialState};

use super::model::{
    AttemptLine, Axis, Distribution, MetricLine, PointFigure, ScenarioSection, SettingLine, StartTable, TrialSection,
};
use super::source::Source;
use super::table::{requested, telling_attempt};

/// Requests below which a distribution is no distribution.
const FEWEST: usize = 5;

/// Statistics that a section shows; the others are in `vgrid show` and `vgrid export`.
const SHOWN: &[&str] = &["mean", "p50", "p95", "p99"];

/// Figures about the client and the load, which do not tell configs apart.
const ABOUT_THE_LOAD: &[&str] = &[
    "achieved_concurrency",
    "client_cpu_ratio",
    "client_lag_ms",
    "input_tokens_per_s",
    "queue_ms",
    "requests_running",
    "requests_waiting",
    "tokens_per_chunk",
    "whole_run_output_tokens_per_s",
];

/// Facts that are no settings or that other parts of a section show.
fn is_told_elsewhere(name: &str) -> bool {
    name == "argv" || name.starts_with("env.PATH")
}

/// The facts that every engine of the sweep states alike; none where fewer than two engines spoke.
pub(super) fn stated_by_all(trials: &[TrialReport]) -> BTreeMap<String, String> {
    let mut engines = trials.iter().filter_map(telling_attempt).map(|a| &a.resolved).filter(|r| !r.facts.is_empty());
    let Some(first) = engines.next() else { return BTreeMap::new() };
    let others: Vec<_> = engines.filter(|e| e.facts.contains_key("max-model-len")).collect();
    if others.is_empty() {
        return BTreeMap::new();
    }
    let shared = first.facts.iter().filter(|(name, fact)| {
        !is_told_elsewhere(name) && others.iter().all(|other| other.get(name) == Some(fact.value.as_str()))
    });
    shared.map(|(name, fact)| (name.clone(), fact.value.clone())).collect()
}

/// The section of one trial; what all engines have in `common` is told once, elsewhere.
pub(super) fn section(
    source: &Source,
    trial: &TrialReport,
    axes: &[Axis],
    common: &BTreeMap<String, String>,
) -> TrialSection {
    let telling = telling_attempt(trial);
    let settings = settings(trial, telling, axes);
    let named = |name: &str| settings.iter().any(|s| s.name == name);
    let engine = telling.map(|a| a.resolved.facts.iter()).into_iter().flatten();
    let engine = engine.filter(|(name, fact)| {
        !named(name) && !is_told_elsewhere(name) && common.get(name.as_str()) != Some(&fact.value)
    });
    TrialSection {
        trial_id: trial.trial.trial_id.0,
        name: trial.trial.name.clone(),
        key: trial.trial.key.0.clone(),
        state: trial.trial.state,
        summary: summary(trial, telling),
        is_baseline: trial.trial.is_baseline,
        engine: engine.map(|(name, fact)| (name.clone(), fact.value.clone())).collect(),
        settings,
        figures: telling.map(|a| a.resolved.figures.clone()).unwrap_or_default(),
        argv: shell_words::join(&trial.argv),
        image_digest: trial.image_digest.clone(),
        gates: trial.gates.iter().map(|g| (g.gate.clone(), g.outcome.to_string())).collect(),
        attempts: trial.attempt_reports.iter().map(|a| attempt(trial, a)).collect(),
        starts: start_table(source, trial),
        scenarios: newest_results(trial).into_iter().map(|s| scenario(source, trial, s)).collect(),
    }
}

/// The objectives' figures of each start that has results, in time; none of a single start.
fn start_table(source: &Source, trial: &TrialReport) -> Option<StartTable> {
    let mut starts: Vec<Start> = Vec::new();
    for attempt in trial.attempt_reports.iter().filter(|a| !a.scenarios.is_empty()) {
        if !starts.contains(&attempt.start) {
            starts.push(attempt.start);
        }
    }
    let mut metrics: Vec<&MetricPath> = Vec::new();
    for objective in &source.objectives {
        if !metrics.contains(&&objective.metric) {
            metrics.push(&objective.metric);
        }
    }
    let row = |path: &MetricPath| {
        // Several attempts may be one start, cut short and gone on with.
        let of_start = |start: &Start| {
            let attempts = trial.attempt_reports.iter().rev().filter(|a| a.start == *start);
            attempts.flat_map(|a| &a.scenarios).flat_map(|s| &s.metrics).find(|m| m.path == *path)
        };
        let found: Vec<Option<&Metric>> = starts.iter().map(of_start).collect();
        let unit = found.iter().flatten().next()?.unit.clone();
        let cells = found.into_iter().map(|m| m.map(of_one_start)).collect();
        Some(MetricLine { name: path.to_string(), unit, cells })
    };
    let rows: Vec<MetricLine> = metrics.into_iter().filter_map(row).collect();
    (starts.len() > 1 && !rows.is_empty())
        .then(|| StartTable { starts: starts.iter().map(ToString::to_string).collect(), rows })
}

fn of_one_start(m: &Metric) -> PointFigure {
    PointFigure { value: m.value, n: m.n, failed_n: m.failed_n, ci_low: m.ci_low, ci_high: m.ci_high }
}

fn over_starts(f: &Figure) -> PointFigure {
    let (ci_low, ci_high) = f.interval();
    PointFigure { ci_low, ci_high, ..of_one_start(&f.metric) }
}

/// The newest result of each scenario, in the order of the suite.
pub(super) fn newest_results(trial: &TrialReport) -> Vec<&ScenarioReport> {
    let mut newest: Vec<&ScenarioReport> = Vec::new();
    for result in trial.attempt_reports.iter().flat_map(|a| &a.scenarios) {
        match newest.iter_mut().find(|known| known.spec.kind() == result.spec.kind()) {
            Some(known) => *known = result,
            None => newest.push(result),
        }
    }
    newest
}

fn settings(trial: &TrialReport, telling: Option<&AttemptReport>, axes: &[Axis]) -> Vec<SettingLine> {
    let asked = requested(&trial.settings);
    let names: std::collections::BTreeSet<&String> = asked.keys().chain(axes.iter().map(|a| &a.name)).collect();
    let line = |name: &String| {
        let resolved = telling.and_then(|a| a.resolved.get(name));
        let requested = asked.get(name);
        let mismatch = telling.is_some_and(|a| a.mismatches.iter().any(|m| m.name == *name))
            || requested.zip(resolved).is_some_and(|(asked, says)| {
                speaks_of_the_engine(name)
                    && asked != "default"
                    && !asked.starts_with('{')
                    && !same_value(name, asked, says)
            });
        SettingLine {
            name: name.clone(),
            requested: requested.cloned(),
            resolved: resolved.map(str::to_owned),
            mismatch,
        }
    };
    names.into_iter().map(line).filter(|l| l.requested.is_some() || l.resolved.is_some()).collect()
}

fn summary(trial: &TrialReport, telling: Option<&AttemptReport>) -> String {
    let t = &trial.trial;
    match t.state {
        TrialState::Measured => {
            let ready = telling.and_then(|a| a.ready_s).map(|s| format!("served after {}", duration(s)));
            let took = telling.and_then(|a| a.elapsed_s).map(|s| format!("measured in {} altogether", duration(s)));
            [ready, took].into_iter().flatten().collect::<Vec<_>>().join(", ")
        }
        TrialState::Failed => {
            let cause = t.cause.map(|c| c.as_str().replace('_', " ")).unwrap_or_default();
            format!("{cause}: {}", t.detail.as_deref().unwrap_or("no remedy is known"))
        }
        TrialState::Skipped => t.detail.clone().unwrap_or_else(|| "skipped".to_owned()),
        TrialState::Pending => "not run yet".to_owned(),
        TrialState::Running => "running".to_owned(),
        TrialState::Interrupted => "interrupted; it is run again when the sweep continues".to_owned(),
    }
}

fn attempt(trial: &TrialReport, a: &AttemptReport) -> AttemptLine {
    let failure = match &a.outcome {
        Some(Outcome::Failed(failure)) => Some(failure),
        Some(Outcome::Measured | Outcome::Interrupted) | None => None,
    };
    let twin = trial.found_a_twin(a);
    let outcome = if twin { SkipReason::Twin.as_str() } else { a.outcome.as_ref().map_or("open", Outcome::as_str) };
    let t = &a.timings;
    let parts = [
        ("prepare", t.prepare_s),
        ("create", t.create_s),
        ("warm up", t.warmup_s),
        ("measure", t.measure_s),
        ("stop", t.teardown_s),
    ];
    AttemptLine {
        number: a.number,
        started_at: a.started_at.clone(),
        outcome: outcome.to_owned(),
        start: a.start.to_string(),
        why: trial.trial.detail.clone().filter(|_| twin),
        ready_s: a.ready_s,
        elapsed_s: a.elapsed_s,
        timings: parts.into_iter().filter_map(|(name, s)| Some((name.to_owned(), s?))).collect(),
        failure: failure.map(|f| {
            let stage = f.stage.map(|s| format!(" ({s})")).unwrap_or_default();
            let code = f.exit.exit_code.map(|c| format!(", exit code {c}")).unwrap_or_default();
            format!("{} in phase {}{stage}{code}", f.cause.as_str().replace('_', " "), f.phase)
        }),
        evidence: failure.map(evidence).unwrap_or_default(),
        remedy: failure.map(|f| f.remedy.clone()).filter(|r| !r.is_empty()),
    }
}

/// The lines that show a failure.
pub(super) fn evidence(failure: &crate::domain::Failure) -> Vec<(Option<usize>, String)> {
    failure.evidence.iter().map(|e| (e.line_number, e.text.trim().to_owned())).collect()
}

/// One scenario's figures over all starts of the config; what is about single requests is of the newest start.
fn scenario(source: &Source, trial: &TrialReport, s: &ScenarioReport) -> ScenarioSection {
    let candidate: Option<&Candidate> = source.candidates.iter().find(|c| c.trial_id == trial.trial.trial_id.0);
    let mut starts = 1;
    let newest_start =
        trial.attempt_reports.iter().find(|a| a.scenarios.iter().any(|own| own.id == s.id)).map(|a| a.start);
    let mut points: Vec<String> = Vec::new();
    let mut rows: Vec<(String, String, BTreeMap<String, PointFigure>)> = Vec::new();
    let median = |name: &str| {
        s.metrics
            .iter()
            .any(|m| m.path.name == name && m.path.point.is_none() && m.path.statistic.as_deref() == Some("p50"))
    };
    let shown = |m: &&Metric| match m.path.statistic.as_deref() {
        _ if ABOUT_THE_LOAD.contains(&m.path.name.as_str()) => false,
        _ if m.path.repeats_what_was_sent(s.metrics.iter().map(|m| &m.path)) => false,
        Some("mean") => !median(&m.path.name),
        Some(statistic) => SHOWN.contains(&statistic),
        None => true,
    };
    for m in s.metrics.iter().filter(shown) {
        let point = m.path.point.clone().unwrap_or_else(|| "all".to_owned());
        if !points.contains(&point) {
            points.push(point.clone());
        }
        let name = [Some(m.path.name.as_str()), m.path.statistic.as_deref()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ");
        let joint = candidate.and_then(|c| c.figure(&m.path));
        starts = joint.map_or(1, |f| f.starts).max(starts);
        let figure = joint.map_or_else(|| of_one_start(m), over_starts);
        match rows.iter_mut().find(|(known, ..)| *known == name) {
            Some((.., cells)) => {
                cells.insert(point, figure);
            }
            None => rows.push((name, m.unit.clone(), BTreeMap::from([(point, figure)]))),
        }
    }
    points.sort_by_key(|p| (p != "all", point_number(p).unwrap_or(f64::MAX) as i64, p.clone()));
    let line = |(name, unit, cells): (String, String, BTreeMap<String, PointFigure>)| MetricLine {
        name,
        unit,
        cells: points.iter().map(|p| cells.get(p).cloned()).collect(),
    };
    ScenarioSection {
        name: s.spec.kind().to_string(),
        verdict: s.validity.verdict,
        reasons: s.validity.reasons.iter().map(|(code, why)| (code.to_string(), why.clone())).collect(),
        elapsed_s: s.elapsed_s,
        starts,
        newest_start: newest_start.unwrap_or_default().to_string(),
        ends: s.requests_by_end.clone(),
        rows: rows.into_iter().map(line).collect(),
        points,
        counters: s.counters.iter().map(|c| (c.name.clone(), c.after - c.before)).filter(|(_, d)| *d != 0.0).collect(),
        distributions: source.distributions.get(&s.id).cloned().unwrap_or_default(),
    }
}

/// Quantiles of the latencies per point and role.
pub(super) fn distributions(samples: &[RequestSample]) -> Vec<Distribution> {
    let mut groups: BTreeMap<(i64, String), Vec<&RequestSample>> = BTreeMap::new();
    for sample in samples {
        let point = sample.point.as_deref().unwrap_or("all");
        let order = point_number(point).unwrap_or(0.0) as i64;
        let of = if sample.role == "load" { point.to_owned() } else { format!("{point} {}", sample.role) };
        groups.entry((order, of)).or_default().push(sample);
    }
    let mut out = Vec::new();
    for ((_, of), samples) in groups {
        let series: [(&str, Vec<f64>); 3] = [
            ("ttft", samples.iter().filter_map(|s| s.ttft_ms).collect()),
            ("tpot", samples.iter().filter_map(|s| s.tpot_ms).collect()),
            ("e2e", samples.iter().map(|s| s.e2e_ms).collect()),
        ];
        for (what, mut values) in series {
            // A hit or a miss of the cache shows before the first token.
            if values.len() < FEWEST || samples[0].role != "load" && what != "ttft" {
                continue;
            }
            values.sort_by(f64::total_cmp);
            let at = |q| quantile_of_sorted(&values, q).unwrap_or_default();
            let quantiles = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0].map(at);
            out.push(Distribution { what: what.to_owned(), of: of.clone(), n: values.len(), quantiles });
        }
    }
    // Those of one kind together: they share an axis.
    out.sort_by_key(|d| std::cmp::Reverse(d.what.clone()));
    out
}

/// A flag's name as the command line writes it, for texts.
pub(super) fn flag_text(name: &str) -> String {
    if name.contains('.') || matches!(name, "image" | "model") {
        name.to_owned()
    } else {
        format!("--{}", FlagName::new(name))
    }
}

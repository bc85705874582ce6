//! Configs side by side: in what they differ, each figure with its interval, and whether the difference is real.

use serde::Serialize;

use crate::domain::{Direction, MetricPath, ResolvedConfig, Verdict};
use crate::rank::{Figure, differ};
use crate::resolve::{diff, same_value, speaks_of_the_engine};
use crate::store::{TrialReport, TrialState};

use super::table::{requested, telling_attempt};

/// Counters that explain a difference of latency or throughput.
const COUNTERS: &[&str] = &[
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:num_preemptions_total",
    "vllm:spec_decode_num_draft_tokens_total",
    "vllm:spec_decode_num_accepted_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
];

/// Figures whose size is neither good nor bad: facts about the load and the client.
const NEUTRAL: &[&str] = &["achieved_concurrency", "client_cpu_ratio", "client_lag_ms", "tokens_per_chunk", "queue_ms"];

/// Two or more configs side by side; the first is what the others are compared with.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The configs.
    pub configs: Vec<Compared>,
    /// Settings that differ, with each config's value; absent where nothing says it.
    pub settings: Vec<SettingDifference>,
    /// What to keep in mind.
    pub warnings: Vec<String>,
    /// Every figure that at least two of them have.
    pub figures: Vec<FigureLine>,
    /// Growth of the engine's counters during each scenario.
    pub counters: Vec<CounterLine>,
}

/// One of the configs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Its trial.
    pub trial_id: i64,
    /// Its sweep.
    pub sweep: i64,
    /// Its name.
    pub name: String,
    /// What became of it.
    pub state: TrialState,
    /// Whether it is the baseline.
    pub is_baseline: bool,
    /// Start of the server to the first real completion, s.
    pub ready_s: Option<f64>,
}

/// One setting in which they differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SettingDifference {
    /// The setting.
    pub name: String,
    /// Each config's value.
    pub values: Vec<Option<String>>,
    /// Whether the values are what the engines say; else they are what was asked for.
    pub resolved: bool,
}

/// One figure of all of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FigureLine {
    /// The metric.
    pub metric: MetricPath,
    /// Its unit.
    pub unit: String,
    /// Each config's figure.
    pub values: Vec<Option<ComparedFigure>>,
}

/// One config's figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedFigure {
    /// The figure.
    pub value: f64,
    /// Samples, over all its starts.
    pub n: u64,
    /// Starts that it is the mean of.
    pub starts: u64,
    /// Lower end of the 95 % interval, the noise between starts included where it was measured.
    pub ci_low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub ci_high: Option<f64>,
    /// Whether it may be used.
    pub verdict: Verdict,
    /// Against the first config; absent for the first itself, and where it has no figure.
    pub against_first: Option<Difference>,
}

/// How far a figure is from the first config's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// This figure minus the first config's.
    pub difference: f64,
    /// In percent of the first config's; absent where that is 0.
    pub percent: Option<f64>,
    /// Whether it is beyond the noise, by the rule of the ranking; absent when a figure is invalid or its noise is not known.
    pub real: Option<bool>,
    /// Whether it is better; absent where it is within the noise, or where neither way is better.
    pub better: Option<bool>,
}

/// One counter of the engine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CounterLine {
    /// The scenario.
    pub scenario: String,
    /// The engine's name for it.
    pub name: String,
    /// How much it grew, per config.
    pub grown: Vec<Option<f64>>,
}

/// Puts configs side by side; `figures` are those of each trial, in the same order.
#[must_use]
pub fn compare(trials: &[TrialReport], figures: &[Vec<Figure>]) -> Comparison {
    let settings = setting_differences(trials);
    Comparison {
        configs: trials.iter().map(compared).collect(),
        warnings: warnings(trials, &settings),
        figures: figure_lines(figures),
        counters: counter_lines(trials),
        settings,
    }
}

fn compared(t: &TrialReport) -> Compared {
    Compared {
        trial_id: t.trial.trial_id.0,
        sweep: t.trial.sweep.0,
        name: t.trial.name.clone(),
        state: t.trial.state,
        is_baseline: t.trial.is_baseline,
        ready_s: telling_attempt(t).and_then(|a| a.ready_s),
    }
}

fn resolved(trial: &TrialReport) -> Option<&ResolvedConfig> {
    telling_attempt(trial).map(|a| &a.resolved).filter(|r| !r.facts.is_empty())
}

/// Where the engines say what they run, that; what only the request says is added where an engine is silent.
fn setting_differences(trials: &[TrialReport]) -> Vec<SettingDifference> {
    let mut out: Vec<SettingDifference> = Vec::new();
    let engines: Vec<Option<&ResolvedConfig>> = trials.iter().map(resolved).collect();
    if let Some(Some(first)) = engines.first() {
        let differing = engines.iter().skip(1).flatten().flat_map(|other| diff(first, other));
        let mut names: Vec<String> =
            differing.map(|(name, ..)| name).filter(|name| speaks_of_the_engine(name)).collect();
        names.sort();
        names.dedup();
        out.extend(names.into_iter().map(|name| SettingDifference {
            values: engines.iter().map(|e| e.and_then(|e| e.get(&name)).map(str::to_owned)).collect(),
            name,
            resolved: true,
        }));
    }
    let asked: Vec<_> = trials.iter().map(|t| requested(&t.settings)).collect();
    let names: std::collections::BTreeSet<&String> = asked.iter().flat_map(|a| a.keys()).collect();
    for name in names {
        let all_say = engines.iter().all(|e| e.is_some_and(|e| e.get(name).is_some()));
        let values: Vec<Option<String>> = asked.iter().map(|a| a.get(name).cloned()).collect();
        let same = |value: &Option<String>| match (value, &values[0]) {
            (Some(a), Some(b)) => same_value(name, a, b),
            (a, b) => a == b,
        };
        if !all_say && !values.iter().all(same) && !out.iter().any(|d| d.name == *name) {
            out.push(SettingDifference { name: name.clone(), values, resolved: false });
        }
    }
    out
}

fn warnings(trials: &[TrialReport], settings: &[SettingDifference]) -> Vec<String> {
    let mut out = Vec::new();
    if settings.len() > 1 {
        let names: Vec<&str> = settings.iter().map(|s| s.name.as_str()).collect();
        out.push(format!(
            "{} settings differ ({}), so no difference below can be put down to one of them",
            names.len(),
            names.join(", ")
        ));
    }
    for trial in trials.iter().filter(|t| t.trial.state != TrialState::Measured) {
        let detail = trial.trial.detail.as_ref().map(|d| format!(": {d}")).unwrap_or_default();
        out.push(format!("{} is not measured ({}){detail}", trial.trial.name, trial.trial.state));
    }
    let images =
        |t: &TrialReport| telling_attempt(t).and_then(|a| a.image_digest.clone()).or_else(|| t.image_digest.clone());
    let mut digests: Vec<String> = trials.iter().filter_map(images).collect();
    digests.sort();
    digests.dedup();
    if digests.len() > 1 {
        out.push(format!("they ran {} different images", digests.len()));
    }
    let spoke = |t: &TrialReport| telling_attempt(t).is_some_and(|a| !a.resolved.facts.is_empty());
    if settings.is_empty() && digests.len() < 2 && trials.iter().all(spoke) {
        out.push("nothing differs in what these engines run: what differs below is noise".to_owned());
    }
    let mut sweeps: Vec<i64> = trials.iter().map(|t| t.trial.sweep.0).collect();
    sweeps.sort_unstable();
    sweeps.dedup();
    if sweeps.len() > 1 {
        out.push("they were measured in different sweeps: the machine may have changed between them".to_owned());
    }
    out
}

fn figure_lines(figures: &[Vec<Figure>]) -> Vec<FigureLine> {
    let mut paths: Vec<&MetricPath> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for figure in figures.iter().flatten() {
        if seen.insert(&figure.metric.path) {
            paths.push(&figure.metric.path);
        }
    }
    let by_path: Vec<std::collections::HashMap<&MetricPath, &Figure>> =
        figures.iter().map(|own| own.iter().map(|f| (&f.metric.path, f)).collect()).collect();
    let candidates = figures.len() as u64;
    paths
        .into_iter()
        .filter_map(|path| {
            let own: Vec<Option<&Figure>> = by_path.iter().map(|figures| figures.get(path).copied()).collect();
            if own.iter().flatten().count() < 2 {
                return None;
            }
            let first = own[0];
            let values = own.iter().enumerate().map(|(index, figure)| {
                let figure = (*figure)?;
                let m = &figure.metric;
                let (ci_low, ci_high) = figure.interval();
                let against = first.filter(|_| index > 0).map(|first| difference(first, figure, candidates));
                Some(ComparedFigure {
                    value: m.value,
                    n: m.n,
                    starts: figure.starts,
                    ci_low,
                    ci_high,
                    verdict: figure.verdict,
                    against_first: against,
                })
            });
            let unit = own.iter().flatten().map(|f| f.metric.unit.clone()).next()?;
            Some(FigureLine { metric: path.clone(), unit, values: values.collect() })
        })
        .collect()
}

fn difference(first: &Figure, other: &Figure, candidates: u64) -> Difference {
    let (a, b) = (&first.metric, &other.metric);
    let difference = b.value - a.value;
    let percent = 100.0 * difference / a.value.abs();
    let real = differ(first, other, candidates);
    let neutral = NEUTRAL.contains(&b.path.name.as_str()) || b.path.statistic.as_deref() == Some("stddev");
    let better = (real == Some(true) && !neutral).then(|| Direction::usual_for(&b.path).cost(difference) < 0.0);
    Difference { difference, percent: percent.is_finite().then_some(percent + 0.0), real, better }
}

fn counter_lines(trials: &[TrialReport]) -> Vec<CounterLine> {
    let newest: Vec<_> = trials.iter().map(super::section::newest_results).collect();
    let mut lines: Vec<CounterLine> = Vec::new();
    for result in newest.iter().flatten() {
        for counter in result.counters.iter().filter(|c| COUNTERS.contains(&c.name.as_str())) {
            let scenario = result.spec.kind();
            if lines.iter().any(|l| l.name == counter.name && l.scenario == scenario.as_str()) {
                continue;
            }
            let grown = newest.iter().map(|results| {
                let same = results.iter().find(|r| r.spec.kind() == scenario)?;
                same.counters.iter().find(|c| c.name == counter.name).map(|c| c.after - c.before)
            });
            let grown: Vec<Option<f64>> = grown.collect();
            if grown.iter().flatten().any(|g| *g != 0.0) {
                lines.push(CounterLine { scenario: scenario.to_string(), name: counter.name.clone(), grown });
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Metric;

    fn figure(path: &str, value: f64, half: Option<f64>) -> Figure {
        let metric = Metric {
            path: path.parse().unwrap(),
            value,
            unit: "ms".into(),
            n: 30,
            failed_n: 0,
            ci_low: half.map(|h| value - h),
            ci_high: half.map(|h| value + h),
        };
        Figure::of_one_start(metric, Verdict::Valid)
    }

    fn against(a: &Figure, b: &Figure) -> Difference {
        let lines = figure_lines(&[vec![a.clone()], vec![b.clone()]]);
        lines[0].values[1].as_ref().unwrap().against_first.clone().unwrap()
    }

    #[test]
    fn a_latency_that_falls_beyond_the_noise_is_better_and_within_it_is_neither() {
        let path = "load.ttft_ms.p50";
        let far = against(&figure(path, 100.0, Some(2.0)), &figure(path, 80.0, Some(2.0)));
        assert_eq!((far.difference, far.percent, far.real, far.better), (-20.0, Some(-20.0), Some(true), Some(true)));
        let near = against(&figure(path, 100.0, Some(20.0)), &figure(path, 95.0, Some(20.0)));
        assert_eq!((near.real, near.better), (Some(false), None));
    }

    #[test]
    fn throughput_that_falls_is_worse_and_without_an_interval_nothing_is_said() {
        let path = "load.output_tokens_per_s";
        let worse = against(&figure(path, 100.0, Some(1.0)), &figure(path, 80.0, Some(1.0)));
        assert_eq!(worse.better, Some(false));
        let silent = against(&figure(path, 100.0, None), &figure(path, 80.0, Some(1.0)));
        assert_eq!((silent.real, silent.better), (None, None));
    }

    #[test]
    fn what_only_one_of_them_measured_is_left_out_and_the_client_s_own_figures_are_neither_better_nor_worse() {
        let lines = figure_lines(&[vec![figure("load.ttft_ms.p50", 1.0, None)], vec![]]);
        assert!(lines.is_empty());
        let path = "load.client_lag_ms";
        assert_eq!(against(&figure(path, 100.0, Some(1.0)), &figure(path, 80.0, Some(1.0))).better, None);
    }
}

//! The limitations of a sweep, written from what it did not measure.

use itertools::Itertools as _;

use crate::domain::{MetricPath, ScenarioKind, Verdict};
use crate::rank::Ranking;
use crate::store::{SweepKind, SweepState, TrialReport, TrialState};

use super::model::EffectTable;
use super::section::newest_results;
use super::source::Source;

/// One sentence per thing that was not measured or must not be concluded.
pub(super) fn limitations(source: &Source, rankings: &[Ranking], effects: &[EffectTable]) -> Vec<String> {
    let mut out = Vec::new();
    out.extend(unfinished(source));
    out.extend(scenarios(source));
    match source.sweep.kind {
        SweepKind::Grid => {
            out.extend(one_start(source));
            out.extend(baseline(source, rankings));
        }
        SweepKind::Bench => out.push("vgrid did not start this server: what it runs with is known as far as its endpoints say, it was measured on one start, and nothing here compares it with another.".to_owned()),
    }
    out.extend(figures(rankings));
    out.extend(prompt_sizes(source));
    out.extend(unmatched(effects));
    if source.memory.is_empty() {
        out.push("Memory was not sampled while the configs ran: nothing here says how close to its limit a config came under load.".to_owned());
    }
    out.extend(simulated(source));
    out
}

fn unfinished(source: &Source) -> Option<String> {
    let s = &source.sweep;
    match s.state {
        SweepState::Finished => None,
        SweepState::Pending | SweepState::Running | SweepState::Interrupted | SweepState::Stopped
            if s.kind == SweepKind::Bench =>
        {
            Some(format!("The run is {}: the scenarios of the suite that are not shown were not measured.", s.state))
        }
        SweepState::Pending | SweepState::Running | SweepState::Interrupted | SweepState::Stopped
            if s.remaining == 0 =>
        {
            Some(format!(
                "The sweep is {}: every config was started, and the starts that confirm (controls, finalists) are not complete.",
                s.state
            ))
        }
        SweepState::Pending | SweepState::Running | SweepState::Interrupted | SweepState::Stopped => Some(format!(
            "The sweep is {}: {} of {} configs are not measured yet, and any of them may be better than what is shown.",
            s.state, s.remaining, s.trials
        )),
    }
}

/// What a scenario would have said.
fn about(kind: ScenarioKind) -> &'static str {
    match kind {
        ScenarioKind::Smoke => "whether every endpoint answers",
        ScenarioKind::KvCache => "time to first token with and without a cached prefix",
        ScenarioKind::Conversation => "how latency grows over the turns of a conversation",
        ScenarioKind::Reasoning => "whether answers of the reasoning tasks are still right",
        ScenarioKind::ToolCalling => "whether tool calls are well formed, streamed and not",
        ScenarioKind::Stability => "whether latency or memory drift over hours",
        ScenarioKind::Load => "latency and throughput under concurrent users",
        ScenarioKind::LongContext => "whether prompts near max-model-len are survived",
        ScenarioKind::Canary => "whether answers are degenerate (garbage at full speed)",
        ScenarioKind::Profile => "utilisation, power and temperature, idle and busy",
    }
}

fn scenarios(source: &Source) -> Vec<String> {
    let in_suite = |kind: &ScenarioKind| source.suite.scenarios.iter().any(|s| s.kind() == *kind);
    let absent: Vec<ScenarioKind> = ScenarioKind::ALL.iter().copied().filter(|kind| !in_suite(kind)).collect();
    if absent.is_empty() {
        return Vec::new();
    }
    let parts: Vec<String> = absent.into_iter().map(|kind| format!("{} ({kind})", about(kind))).collect();
    vec![format!("The suite did not ask for: {}.", parts.join("; "))]
}

/// Whether any measured config was started more than once.
fn one_start(source: &Source) -> Option<String> {
    let measured: Vec<_> = source.trials.iter().filter(|t| t.trial.state == TrialState::Measured).collect();
    // Several attempts may be one start, cut short and gone on with.
    let starts = |t: &TrialReport| {
        t.attempt_reports.iter().filter(|a| !a.scenarios.is_empty()).map(|a| a.start).unique().count()
    };
    let once = measured.iter().filter(|t| starts(t) < 2).count();
    (once > 0).then(|| {
        let which = if once == measured.len() { "Every measured config ran".to_owned() } else { format!("{once} of {} measured configs ran", measured.len()) };
        format!("{which} on one start of its server: what changes from start to start (compilation, memory layout, clocks) is taken from the configs that were started again, and assumed where none was.")
    })
}

fn baseline(source: &Source, rankings: &[Ranking]) -> Option<String> {
    match &source.sweep.baseline {
        None => Some("The grid names no baseline, so no gain is stated and nothing shows whether the machine itself changed during the night.".to_owned()),
        Some(name) => {
            let without = rankings.iter().filter(|r| r.baseline_value.is_none()).map(|r| r.objective.name.clone());
            let without: Vec<String> = without.collect();
            (!without.is_empty()).then(|| format!("The baseline {name} has no usable figure for {}, so no gain is stated there.", without.join(", ")))
        }
    }
}

fn figures(rankings: &[Ranking]) -> Vec<String> {
    let mut out = Vec::new();
    for ranking in rankings {
        let rows: Vec<_> = ranking.rows.iter().filter(|r| r.standing.ranks()).collect();
        let few: Vec<u64> = rows.iter().filter(|r| r.ci_low.is_none()).filter_map(|r| r.n).collect();
        if let Some(most) = few.iter().max() {
            out.push(format!(
                "{} of {} figures of {} have no 95 % interval (they stand on at most {most} samples within one start); they are apart from nothing.",
                few.len(),
                rows.len(),
                ranking.objective.metric
            ));
        }
        let invalid = ranking.rows.iter().filter(|r| r.verdict == Some(Verdict::Invalid)).count();
        if invalid > 0 {
            out.push(format!("{invalid} invalid figures of {} do not rank.", ranking.objective.metric));
        }
    }
    out
}

/// Which prompt lengths the answers hold for.
fn prompt_sizes(source: &Source) -> Option<String> {
    let points = |scenario: ScenarioKind| -> Vec<f64> {
        let of = |path: &MetricPath| {
            (path.scenario == scenario).then(|| path.point.as_deref().and_then(crate::domain::point_number)).flatten()
        };
        let results = source.trials.iter().flat_map(newest_results).flat_map(|r| &r.metrics);
        let mut found: Vec<f64> = results.filter_map(|m| of(&m.path)).collect();
        found.sort_by(f64::total_cmp);
        found.dedup();
        found
    };
    let prefixes = points(ScenarioKind::KvCache);
    let (least, most) = (prefixes.first()?, prefixes.last()?);
    let lengths = source
        .trials
        .iter()
        .flat_map(|t| &t.attempt_reports)
        .filter_map(|a| a.resolved.get("max-model-len")?.parse::<f64>().ok());
    let limit = lengths.fold(0.0, f64::max);
    let number = crate::domain::reading::number;
    (limit > *most * 2.0).then(|| {
        let sizes = if least == most { number(*most) } else { format!("{} to {}", number(*least), number(*most)) };
        format!(
            "Prefixes of {sizes} tokens were measured; the engine accepts {}. Nothing here is about longer prompts.",
            number(limit)
        )
    })
}

fn unmatched(effects: &[EffectTable]) -> Option<String> {
    let mut names: Vec<&str> = effects.iter().flat_map(|e| &e.unmatched).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| {
        format!(
            "No two measured configs differ in {} alone, so what it does by itself is not known.",
            names.join(" alone, or in ")
        )
    })
}

fn simulated(source: &Source) -> Option<String> {
    let argv = source.plan.get("argv").map(ToString::to_string).unwrap_or_default();
    argv.contains("--sim-").then(|| {
        "The engine is vgrid's simulated one: the figures show how the report works, and say nothing about any GPU."
            .to_owned()
    })
}

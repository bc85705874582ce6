//! What a reader should know beside the figures: failures, hypotheses, mismatches, suspect results, what happened in the night.

use std::collections::BTreeMap;

use crate::domain::{Event, Outcome, SkipReason, ValidityReason, Verdict};
use crate::rank::{Candidate, Ranking};
use crate::store::TrialReport;

use super::model::{Expectation, FailureGroup, Finding, Measured, Tone};
use super::section::{evidence, flag_text, newest_results};
use super::source::Source;
use super::table::telling_attempt;

/// Failed configs by cause and stage, the most frequent first.
pub(super) fn failures(trials: &[TrialReport]) -> Vec<FailureGroup> {
    let mut groups: Vec<FailureGroup> = Vec::new();
    for trial in trials.iter().filter(|t| t.trial.state == crate::store::TrialState::Failed) {
        let Some(attempt) = trial.attempt_reports.last() else { continue };
        let Some(Outcome::Failed(failure)) = &attempt.outcome else { continue };
        let (cause, stage) =
            (failure.cause.as_str().replace('_', " "), failure.stage.map(|s| s.as_str().replace('_', " ")));
        let member = (trial.trial.name.clone(), trial.trial.trial_id.0);
        if let Some(group) = groups.iter_mut().find(|g| g.cause == cause && g.stage == stage) {
            group.configs.push(member);
            continue;
        }
        groups.push(FailureGroup {
            cause,
            stage,
            phase: failure.phase.to_string(),
            configs: vec![member],
            evidence: evidence(failure),
            remedy: failure.remedy.clone(),
            log_path: attempt.log_path.as_ref().map(|p| p.display().to_string()),
            transient: failure.transient,
        });
    }
    groups.sort_by_key(|g| std::cmp::Reverse(g.configs.len()));
    groups
}

/// What the grid expected of its configs, in their order.
pub(super) fn expectations(trials: &[TrialReport], candidates: &[Candidate]) -> Vec<Expectation> {
    let mut out = Vec::new();
    for trial in trials {
        let candidate = candidates.iter().find(|c| c.trial_id == trial.trial.trial_id.0);
        for (metric, expected) in &trial.expected {
            let figure = candidate.and_then(|c| c.figure(metric));
            let expected = *expected;
            let measured = figure.map(|f| {
                let (ci_low, ci_high) = f.interval();
                Measured {
                    value: f.metric.value,
                    unit: f.metric.unit.clone(),
                    n: f.metric.n,
                    ci_low,
                    ci_high,
                    verdict: f.verdict,
                }
            });
            let off = measured.as_ref().map(|m| 100.0 * (m.value - expected) / expected.abs());
            let interval = measured.as_ref().and_then(|m| m.ci_low.zip(m.ci_high));
            out.push(Expectation {
                config: trial.trial.name.clone(),
                trial_id: trial.trial.trial_id.0,
                metric: metric.clone(),
                expected,
                measured,
                off_percent: off.filter(|o| o.is_finite()),
                inside: interval.map(|(low, high)| (low..=high).contains(&expected)),
            });
        }
    }
    out
}

/// Everything that qualifies a number.
pub(super) fn findings(source: &Source, rankings: &[Ranking]) -> Vec<Finding> {
    let mut out = mismatches(&source.trials);
    out.extend(results(&source.trials));
    out.extend(twins(&source.trials));
    out.extend(gates(rankings));
    out.extend(source.remarks.iter().filter_map(|(told_at, event)| remark(told_at, event)));
    out
}

fn member(trial: &TrialReport) -> (String, i64) {
    (trial.trial.name.clone(), trial.trial.trial_id.0)
}

fn mismatches(trials: &[TrialReport]) -> Vec<Finding> {
    let mut by_sentence: BTreeMap<String, Vec<(String, i64)>> = BTreeMap::new();
    for trial in trials {
        for m in telling_attempt(trial).into_iter().flat_map(|a| &a.mismatches) {
            let sentence =
                format!("{} {} was asked for, and the engine runs {}.", flag_text(&m.name), m.requested, m.resolved);
            by_sentence.entry(sentence).or_default().push(member(trial));
        }
    }
    let finding =
        |(sentence, configs)| Finding { topic: "not what was asked".to_owned(), tone: Tone::Bad, sentence, configs };
    by_sentence.into_iter().map(finding).collect()
}

/// Invalid and suspect results, and figures that miss what is usual, by scenario and reason.
fn results(trials: &[TrialReport]) -> Vec<Finding> {
    struct Group {
        sentence: String,
        configs: Vec<(String, i64)>,
    }
    let mut by_reason: BTreeMap<(Verdict, String, String), Group> = BTreeMap::new();
    for trial in trials {
        for result in newest_results(trial) {
            for (reason, sentence) in &result.validity.reasons {
                let says_something = *reason == ValidityReason::ThresholdMissed;
                let verdict = if says_something { Verdict::Valid } else { result.validity.verdict };
                if verdict == Verdict::Valid && !says_something {
                    continue; // a remark on a result that may be used as it is
                }
                let key = (verdict, result.spec.kind().to_string(), reason.as_str().replace('_', " "));
                let group =
                    by_reason.entry(key).or_insert_with(|| Group { sentence: sentence.clone(), configs: Vec::new() });
                group.configs.push(member(trial));
            }
        }
    }
    let finding = |((verdict, scenario, reason), group): ((Verdict, String, String), Group)| {
        let tone = if verdict == Verdict::Invalid { Tone::Bad } else { Tone::Mixed };
        let example = if group.configs.len() > 1 { ", e.g." } else { ":" };
        let sentence = format!("{scenario}, {reason}{example} {}", group.sentence);
        let topic = if verdict == Verdict::Valid { "threshold".to_owned() } else { verdict.to_string() };
        Finding { topic, tone, sentence, configs: group.configs }
    };
    by_reason.into_iter().rev().map(finding).collect()
}

fn twins(trials: &[TrialReport]) -> Vec<Finding> {
    let twin = trials.iter().filter(|t| t.trial.skip == Some(SkipReason::Twin));
    let finding = |t: &TrialReport| Finding {
        topic: "twin".to_owned(),
        tone: Tone::Plain,
        sentence: format!(
            "{}: {}.",
            t.trial.name,
            t.trial.detail.as_deref().unwrap_or("resolves to the same engine as another")
        ),
        configs: vec![member(t)],
    };
    twin.map(finding).collect()
}

fn gates(rankings: &[Ranking]) -> Vec<Finding> {
    let mut by_gate: BTreeMap<(String, &'static str), Vec<(String, i64)>> = BTreeMap::new();
    for row in rankings.first().into_iter().flat_map(|r| &r.rows) {
        for gate in &row.gates_missed {
            let key = (gate.gate.clone(), gate.outcome.as_str());
            by_gate.entry(key).or_default().push((row.name.clone(), row.trial_id));
        }
    }
    let finding = |((gate, outcome), configs): ((String, &str), Vec<_>)| Finding {
        topic: "gate".to_owned(),
        tone: Tone::Mixed,
        sentence: match outcome {
            "fail" => format!("The gate {gate} is not met, so these do not rank."),
            _ => format!("The gate {gate} could not be judged, so these do not rank."),
        },
        configs,
    };
    by_gate.into_iter().map(finding).collect()
}

fn remark(told_at: &str, event: &Event) -> Option<Finding> {
    let time = told_at.get(11..16).unwrap_or(told_at);
    let (topic, tone, text) = match event {
        Event::Warning { text } => ("warning", Tone::Mixed, text.clone()),
        Event::Notice { text } => ("notice", Tone::Plain, text.clone()),
        Event::Restored { what, elapsed_s } => {
            let took = crate::domain::reading::duration(*elapsed_s);
            ("restored", Tone::Good, format!("{what} serves again, verified by a real completion, after {took}"))
        }
        Event::RestoreFailed { what, why } => {
            ("not restored", Tone::Bad, format!("{what} could not be put back: {why}"))
        }
        Event::BreakerTripped { failures, cause, remedy, .. } => {
            let cause = cause.as_str().replace('_', " ");
            let text = format!("{failures} failures in a row of one kind ({cause}) stopped the sweep; {remedy}");
            ("circuit breaker", Tone::Bad, text)
        }
        Event::SweepFailed { why, .. } => ("sweep failed", Tone::Bad, why.clone()),
        Event::SweepStarted { .. }
        | Event::TrialReady { .. }
        | Event::TrialStarted { .. }
        | Event::TrialProgressed { .. }
        | Event::ScenarioFinished { .. }
        | Event::TrialFinished { .. }
        | Event::TrialSkipped { .. }
        | Event::BestSoFar { .. }
        | Event::Restoring { .. }
        | Event::SweepFinished { .. } => return None,
    };
    Some(Finding { topic: topic.to_owned(), tone, sentence: format!("{time} UTC: {text}"), configs: Vec::new() })
}

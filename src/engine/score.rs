//! After a trial: its gates, and who is best so far.

use std::collections::HashMap;

use crate::domain::reading;
use crate::domain::{Event, MetricPath, SweepId, Verdict};
use crate::grid;
use crate::rank::{self, Candidate, GateOutcome, GateResult};
use crate::store::{PairedQuality, Store, StoreError, TrialId};

use super::plan::Planner;

/// Evaluates the grid's gates for the measured trials of a sweep and stores the results: for `only` one trial, or for all when
/// the baseline's figures (which gates may refer to) have just changed.
pub(crate) fn judge_gates(
    planner: &Planner,
    store: &mut Store,
    sweep: SweepId,
    only: Option<TrialId>,
) -> Result<(), StoreError> {
    if planner.grid.gates.is_empty() {
        return Ok(());
    }
    let candidates = store.candidates(sweep)?;
    let baseline = planner.baseline_name();
    let reference = candidates.iter().find(|c| Some(c.name.as_str()) == baseline.as_deref());
    let reference: HashMap<MetricPath, f64> = reference.map(usable_figures).unwrap_or_default().into_iter().collect();
    for candidate in candidates.iter().filter(|c| only.is_none_or(|id| id.0 == c.trial_id)) {
        let mut own: HashMap<MetricPath, f64> = usable_figures(candidate).into_iter().collect();
        let mut reference = reference.clone();
        reference.extend(baseline_at_its_time(candidate));
        own.extend(store.paired_quality(TrialId(candidate.trial_id))?.iter().flat_map(paired_figures));
        let results: Vec<GateResult> = planner.grid.gates.iter().map(|gate| evaluate(gate, &own, &reference)).collect();
        store.save_gate_results(TrialId(candidate.trial_id), &results)?;
    }
    Ok(())
}

/// Figures that may decide: an invalid one counts as not measured.
fn usable_figures(candidate: &Candidate) -> Vec<(MetricPath, f64)> {
    let usable = candidate.figures.iter().filter(|f| f.verdict != Verdict::Invalid);
    usable.map(|f| (f.metric.path.clone(), f.metric.value)).collect()
}

/// Where the baseline moved in the night: its values around the starts of this config, which is what the config is compared with.
fn baseline_at_its_time(candidate: &Candidate) -> impl Iterator<Item = (MetricPath, f64)> {
    candidate.figures.iter().filter(|f| f.noise.moved && f.verdict != Verdict::Invalid).filter_map(|f| {
        let then = f.metric.value / f.relative?;
        then.is_finite().then(|| (f.metric.path.clone(), then))
    })
}

/// What a gate may ask of the comparison with the baseline, case by case.
fn paired_figures(paired: &PairedQuality) -> Vec<(MetricPath, f64)> {
    let path =
        |name: &str| MetricPath { scenario: paired.scenario, point: None, name: name.to_owned(), statistic: None };
    let mut figures = Vec::new();
    if let Some(difference) = paired.difference {
        figures.push((path("paired_difference"), difference));
        figures.push((path("paired_p"), paired.exact_p));
    }
    figures
}

fn evaluate(gate: &grid::Gate, own: &HashMap<MetricPath, f64>, baseline: &HashMap<MetricPath, f64>) -> GateResult {
    let outcome = match gate.evaluate(|path| own.get(path).copied(), |path| baseline.get(path).copied()) {
        grid::GateResult::Pass => GateOutcome::Pass,
        grid::GateResult::Fail { .. } => GateOutcome::Fail,
        grid::GateResult::NotMeasured { .. } => GateOutcome::NotMeasured,
    };
    GateResult { gate: gate.text().to_owned(), outcome }
}

/// The leader by the grid's first objective, as an event; None before anything ranks.
pub(crate) fn best_so_far(planner: &Planner, store: &Store, sweep: SweepId) -> Result<Option<Event>, StoreError> {
    let Some(objective) = planner.grid.objectives.first() else { return Ok(None) };
    let candidates = store.candidates_by(sweep, std::slice::from_ref(objective))?;
    let ranking = rank::rank(&candidates, objective, planner.baseline_name().as_deref());
    let tied = match &ranking.answer {
        rank::Answer::Tied { names, .. } => names.len() - 1,
        rank::Answer::Champion { .. }
        | rank::Answer::AllZero { .. }
        | rank::Answer::NoneMeetsGates { .. }
        | rank::Answer::NotMeasured => 0,
    };
    Ok(ranking.leader().and_then(|row| {
        Some(Event::BestSoFar {
            name: row.name.clone(),
            metric: objective.metric.to_string(),
            value: row.value?,
            gain_percent: row.gain_percent,
            tied,
        })
    }))
}

/// What the ranking says by the first objective, as `vgrid status` says it; None before anything ranks.
pub(crate) fn answer(planner: &Planner, store: &Store, sweep: SweepId) -> Option<String> {
    let objective = planner.grid.objectives.first()?;
    let baseline = planner.baseline_name();
    // A database that cannot be read is told elsewhere.
    let ranking = rank::rank(&store.candidates(sweep).ok()?, objective, baseline.as_deref());
    let leader = ranking.leader()?;
    let gain =
        leader.gain_percent.filter(|_| leader.gain_is_real == Some(true) && Some(&leader.name) != baseline.as_ref());
    let gain = gain.map(|gain| format!(" ({} against the baseline)", reading::gain(gain))).unwrap_or_default();
    Some(format!("{}: {}{gain}", objective.name, ranking.sentence))
}

/// The trials to measure again before a champion is named: of each objective the leader and those tied with it, best first, the
/// objectives taking turns, at most `most`. None where a single config ranks: it has beaten nobody.
pub(crate) fn finalists(
    planner: &Planner,
    store: &Store,
    sweep: SweepId,
    most: usize,
) -> Result<Vec<TrialId>, StoreError> {
    let candidates = store.candidates_by(sweep, &planner.grid.objectives)?;
    let rankings = rank::rank_all(&candidates, &planner.grid.objectives, planner.baseline_name().as_deref());
    Ok(rank::finalists(&rankings, most).into_iter().map(TrialId).collect())
}

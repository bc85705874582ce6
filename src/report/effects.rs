//! What each setting does to an objective's figure, from a sweep's facts.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::reading::title;
use crate::domain::{Objective, SweepId, Verdict};
use crate::rank::{Candidate, Effect, Interaction, Point, effects, interactions};
use crate::store::{ObjectiveEffects, Store, StoreError, TrialState};

use super::model::EffectTable;
use super::table::{SettingTable, Stated, requested};

/// Interactions kept per objective.
const MOST_INTERACTIONS: usize = 12;

/// What was found for one objective.
struct Found {
    unit: String,
    effects: Vec<Effect>,
    /// The strongest ones beyond the noise.
    interactions: Vec<Interaction>,
    /// Settings with more than one value among the configs that have the figure.
    varied: Vec<String>,
}

/// The effects of a sweep's settings on each of its objectives, as it stands now.
///
/// # Errors
/// There is no such sweep, or the database cannot be read.
pub fn objective_effects(store: &Store, id: SweepId) -> Result<Vec<ObjectiveEffects>, StoreError> {
    let _moment = store.snapshot()?;
    let objectives = store.objectives(id)?;
    let candidates = store.candidates_by(id, &objectives)?;
    let settings = settings_of(store, id)?;
    let reference = settings.reference();
    let of = |objective: Objective| {
        let found = effects_on(&objective, &candidates, &settings, &reference)?;
        Some(ObjectiveEffects { objective, unit: found.unit, effects: found.effects, interactions: found.interactions })
    };
    Ok(objectives.into_iter().filter_map(of).collect())
}

/// The effects in one sweep by any objectives, as tables.
///
/// # Errors
/// There is no such sweep, or the database cannot be read.
pub fn effects_of(store: &Store, id: SweepId, objectives: &[Objective]) -> Result<Vec<EffectTable>, StoreError> {
    let _moment = store.snapshot()?;
    Ok(effect_tables(&store.candidates_by(id, objectives)?, &settings_of(store, id)?, objectives))
}

/// The settings of every config of a sweep, read without the rest of their trials: there may be ten thousand.
fn settings_of(store: &Store, id: SweepId) -> Result<SettingTable, StoreError> {
    let (trials, settings) = (store.trials(id)?, store.settings(id)?);
    let names: BTreeSet<String> = settings.values().flat_map(|own| requested(own).into_keys()).collect();
    let facts = store.facts_of_trials(id, &names)?;
    let stated: Vec<Stated<'_>> = trials
        .iter()
        .map(|t| Stated {
            trial: t.trial_id.0,
            is_measured: t.state == TrialState::Measured,
            asked: settings.get(&t.trial_id.0).map(requested).unwrap_or_default(),
            says: facts.get(&t.trial_id.0),
        })
        .collect();
    let baseline = trials.iter().filter(|t| t.is_baseline).map(|t| t.trial_id.0).max();
    Ok(SettingTable::of(&stated, baseline))
}

/// One table per objective that has a figure.
pub(super) fn effect_tables(
    candidates: &[Candidate],
    settings: &SettingTable,
    objectives: &[Objective],
) -> Vec<EffectTable> {
    let reference = settings.reference();
    let table = |objective: &Objective| {
        let found = effects_on(objective, candidates, settings, &reference)?;
        let matched = |name: &str| found.effects.iter().any(|e| e.change.axis == name);
        let unmatched = found.varied.iter().filter(|name| !matched(name)).cloned().collect();
        Some(EffectTable {
            objective: title(&objective.name),
            direction: objective.direction,
            metric: objective.metric.clone(),
            unit: found.unit,
            unmatched,
            effects: found.effects,
            interactions: found.interactions,
        })
    };
    objectives.iter().filter_map(table).collect()
}

/// The effects on one objective's figure; None when nobody has it.
fn effects_on(
    objective: &Objective,
    candidates: &[Candidate],
    settings: &SettingTable,
    reference: &BTreeMap<String, String>,
) -> Option<Found> {
    let point = |c: &Candidate| {
        let figure = c.figure(&objective.metric).filter(|f| f.verdict != Verdict::Invalid)?;
        Some(Point::new(settings.values.get(&c.trial_id).cloned().unwrap_or_default(), figure))
    };
    let points: Vec<Point> = candidates.iter().filter_map(point).collect();
    let unit = candidates.iter().find_map(|c| c.figure(&objective.metric)).map(|f| f.metric.unit.clone())?;
    let mut interactions = interactions(&points, reference);
    interactions.truncate(MOST_INTERACTIONS);
    let varies = |name: &&String| {
        let values: BTreeSet<Option<&String>> = points.iter().map(|p| p.settings.get(*name)).collect();
        values.len() > 1
    };
    let varied = settings.axes.iter().map(|a| &a.name).filter(varies).cloned().collect();
    Some(Found { unit, effects: effects(&points, reference), interactions, varied })
}

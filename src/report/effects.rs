//! What each setting does to an objective's figure, from a sweep's facts.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{Objective, SweepId, Verdict};
use crate::rank::{Candidate, Effect, Interaction, Point, effects, interactions};
use crate::store::{ObjectiveEffects, Store, StoreError, TrialReport};

use super::table::SettingTable;

/// Interactions kept per objective.
const MOST_INTERACTIONS: usize = 12;

/// What was found for one objective.
pub(super) struct Found {
    pub(super) unit: String,
    pub(super) effects: Vec<Effect>,
    /// The strongest ones beyond the noise.
    pub(super) interactions: Vec<Interaction>,
    /// Settings with more than one value among the configs that have the figure.
    pub(super) varied: Vec<String>,
}

/// The effects of a sweep's settings on each of its objectives, as it stands now.
///
/// # Errors
/// There is no such sweep, or the database cannot be read.
pub fn objective_effects(store: &Store, id: SweepId) -> Result<Vec<ObjectiveEffects>, StoreError> {
    let _moment = store.snapshot()?;
    let trials: Vec<TrialReport> =
        store.trials(id)?.into_iter().map(|t| store.show(t.trial_id)).collect::<Result<_, _>>()?;
    let candidates = store.candidates(id)?;
    let baseline = trials.iter().filter(|t| t.trial.is_baseline).max_by_key(|t| t.trial.trial_id);
    let settings = SettingTable::of(&trials, baseline);
    let reference = settings.reference();
    let of = |objective: Objective| {
        let found = effects_on(&objective, &candidates, &settings, &reference)?;
        Some(ObjectiveEffects { objective, unit: found.unit, effects: found.effects, interactions: found.interactions })
    };
    Ok(store.objectives(id)?.into_iter().filter_map(of).collect())
}

/// The effects on one objective's figure; None when nobody has it.
pub(super) fn effects_on(
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

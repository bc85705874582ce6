//! What a dead vgrid measured in full, and could not say so any more.

use std::collections::BTreeSet;

use crate::domain::SweepId;
use crate::resume::ResultKey;
use crate::store::{Store, StoreError, TrialId};

use super::plan::{PlannedConfig, Planner};

/// Counts each trial as measured whose every result is stored, though its last attempt was cut short: vgrid died between the last
/// result and the attempt's end. Without this it would be neither run again nor ranked. The number of such trials.
pub(super) fn settle_complete(
    store: &mut Store,
    sweep: SweepId,
    planner: &Planner,
    trials: &[(&PlannedConfig, TrialId)],
) -> Result<usize, StoreError> {
    let history = store.history(sweep)?;
    let finished: BTreeSet<_> = history.iter().flat_map(|t| &t.attempts).flat_map(|a| &a.finished).collect();
    let mut settled = 0;
    for (planned, id) in trials.iter().filter(|(planned, _)| planned.skip.is_none()) {
        let last = history.iter().filter(|t| t.key == planned.key).flat_map(|t| &t.attempts).last();
        let start = last.map(|attempt| attempt.start).unwrap_or_default();
        let keys: Vec<ResultKey> =
            planned.result_keys(&planner.suite, &planner.cases).iter().map(|key| key.at(start)).collect();
        if !keys.is_empty() && keys.iter().all(|key| finished.contains(key)) && store.settle_as_measured(*id)? {
            settled += 1;
        }
    }
    Ok(settled)
}

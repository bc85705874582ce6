//! What dead vgrids left: trials measured in full that could not say so any more, and trials in which they died.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{Cause, Evidence, ExitFacts, Failure, Phase, SweepId};
use crate::resume::{self, ResultKey, TrialHistory};
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

/// Counts each trial as failed in which vgrid died `limit` times in a row, in the same phase and with nothing finished; their names and
/// phases. Without this a trial that brings vgrid down, say because the kernel kills both for memory, would do so every time.
pub(super) fn settle_deadly(
    store: &mut Store,
    sweep: SweepId,
    limit: u32,
    trials: &[(&PlannedConfig, TrialId)],
) -> Result<Vec<(String, Phase)>, StoreError> {
    let history = store.history(sweep)?;
    let mut settled = Vec::new();
    for (planned, id) in trials.iter().filter(|(planned, _)| planned.skip.is_none()) {
        let deadly = |past: &TrialHistory| (past.key == planned.key).then(|| resume::deadly(past, limit)).flatten();
        let Some(phase) = history.iter().find_map(deadly) else { continue };
        let failure = Failure {
            phase,
            stage: None,
            cause: Cause::EngineDead,
            evidence: vec![Evidence {
                line_number: None,
                text: format!("vgrid itself died {limit} times in a row during this trial's phase {phase}, with nothing finished"),
            }],
            numbers: BTreeMap::new(),
            remedy: "look at dmesg: the kernel may have killed vgrid together with the engine for memory; then measure this config in a \
                     new sweep (--new --only)"
                .to_owned(),
            transient: false,
            exit: ExitFacts::default(),
        };
        if store.settle_as_failed(*id, &failure)? {
            settled.push((planned.config.name.clone(), phase));
        }
    }
    Ok(settled)
}

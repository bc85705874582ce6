//! What the report is made from: everything that `runs.db` knows of one sweep.

use std::collections::BTreeMap;

use crate::domain::{Event, Objective, Suite, SweepId};
use crate::rank::Candidate;
use crate::store::{AttemptId, RunRow, ScenarioResultId, Store, StoreError, SweepRow, TelemetrySample, TrialReport};
use crate::telemetry::Series;

use super::model::Distribution;
use super::section::distributions;

/// A sweep's facts, read in one go.
pub(super) struct Source {
    pub(super) sweep: SweepRow,
    pub(super) trials: Vec<TrialReport>,
    pub(super) objectives: Vec<Objective>,
    pub(super) candidates: Vec<Candidate>,
    pub(super) suite: Suite,
    pub(super) plan: serde_json::Value,
    pub(super) host: serde_json::Value,
    pub(super) images: BTreeMap<String, String>,
    pub(super) grid_text: String,
    pub(super) runs: Vec<RunRow>,
    pub(super) remarks: Vec<(String, Event)>,
    /// Distributions of a result's requests, by result.
    pub(super) distributions: BTreeMap<ScenarioResultId, Vec<Distribution>>,
    /// Memory of the GPUs and of the server over an attempt, by attempt.
    pub(super) memory: BTreeMap<AttemptId, Vec<TelemetrySample>>,
}

impl Source {
    /// Reads a sweep, all of one moment.
    pub(super) fn read(store: &Store, id: SweepId) -> Result<Self, StoreError> {
        let _moment = store.snapshot()?;
        let trials: Vec<TrialReport> =
            store.trials(id)?.into_iter().map(|t| store.show(t.trial_id)).collect::<Result<_, _>>()?;
        let (mut by_result, mut memory) = (BTreeMap::new(), BTreeMap::new());
        for attempt in trials.iter().flat_map(|t| &t.attempt_reports) {
            for scenario in &attempt.scenarios {
                by_result.insert(scenario.id, distributions(&store.request_samples(scenario.id)?));
            }
            let mut samples = store.telemetry(attempt.id, Series::GpuMemoryUsed.as_str())?;
            samples.extend(store.telemetry(attempt.id, Series::ContainerMemory.as_str())?);
            if !samples.is_empty() {
                memory.insert(attempt.id, samples);
            }
        }
        Ok(Self {
            sweep: store.sweep(Some(id))?,
            objectives: store.objectives(id)?,
            candidates: store.candidates(id)?,
            suite: store.suite(id)?,
            plan: store.plan(id)?,
            host: store.host(id)?,
            images: store.images(id)?,
            grid_text: store.grid_text(id)?,
            runs: store.runs(id)?,
            remarks: store.remarks(id)?,
            trials,
            distributions: by_result,
            memory,
        })
    }

    /// The baseline's trial, the newest of its name.
    pub(super) fn baseline(&self) -> Option<&TrialReport> {
        self.trials.iter().filter(|t| t.trial.is_baseline).max_by_key(|t| t.trial.trial_id)
    }
}

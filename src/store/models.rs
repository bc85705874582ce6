//! What is put into `runs.db` and what comes out: plain values.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::{
    Cause, Config, ConfigKey, MetricPath, Objective, Outcome, Phase, SkipReason, Suite, SweepId, text_enum,
};

/// A trial's number in `runs.db`, unique over all sweeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrialId(pub i64);

/// An attempt's number in `runs.db`, unique over all trials (not its number within its trial).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(pub i64);

/// One run of vgrid over a sweep: the first, or a continuation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub i64);

/// A stored scenario result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScenarioResultId(pub i64);

/// An entry of the journal of what is to be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RestorationId(pub i64);

text_enum! {
    /// How a run of vgrid over a sweep ended.
    pub enum RunEnd {
        /// Nothing is left to measure.
        Complete = "complete",
        /// It ended in order with trials left (`--limit`, `--until`, `--only`, circuit breaker).
        Incomplete = "incomplete",
        /// Ctrl-C.
        Interrupted = "interrupted",
        /// An error stopped the sweep.
        Failed = "failed",
        /// The process died; noticed by the next one.
        Crashed = "crashed",
    }
}

text_enum! {
    /// What became of a trial so far.
    pub enum TrialState {
        /// Nothing was tried.
        Pending = "pending",
        /// An attempt is open.
        Running = "running",
        /// An attempt measured the whole suite.
        Measured = "measured",
        /// The last attempt failed.
        Failed = "failed",
        /// The last attempt was cut short.
        Interrupted = "interrupted",
        /// Settled, or left out, without a measurement.
        Skipped = "skipped",
    }
}

text_enum! {
    /// What became of a sweep so far.
    pub enum SweepState {
        /// Registered, not started.
        Pending = "pending",
        /// A run is open. After a kill this stands until the next run; the sweep lock tells whether the process lives.
        Running = "running",
        /// The last run was cut short: by a signal, an error, its death.
        Interrupted = "interrupted",
        /// The last run ended in order with work left: its time was over, the breaker tripped, `--limit`, `--only`.
        Stopped = "stopped",
        /// The last run left nothing to do.
        Finished = "finished",
    }
}

text_enum! {
    /// What a sweep is an execution of.
    pub enum SweepKind {
        /// A grid: vgrid starts the servers.
        Grid = "grid",
        /// `vgrid bench`: one server that was up already. Never continued, restored or promoted, and no sweep that is meant where none is
        /// named.
        Bench = "bench",
    }
}

/// A sweep to be registered. Every text is redacted by the caller.
#[derive(Clone, Debug)]
pub struct NewSweep {
    /// What it is an execution of.
    pub kind: SweepKind,
    /// The grid's name; of a bench run the server's address.
    pub grid_name: String,
    /// The grid's file, as it was named; of a bench run the suite.
    pub grid_path: PathBuf,
    /// The grid's text, verbatim but for secrets; of a bench run nothing.
    pub grid_text: String,
    /// SHA-256 of the grid's original text, hexadecimal.
    pub grid_sha256: String,
    /// Identity of the deployment: one text per thing that only one sweep at a time may manage.
    pub deployment: String,
    /// Name of the baseline config.
    pub baseline: Option<String>,
    /// The suite.
    pub suite: Suite,
    /// Objectives in the grid's order.
    pub objectives: Vec<Objective>,
    /// Gates as the grid writes them, in its order.
    pub gates: Vec<String>,
    /// Everything else that continuing from `runs.db` alone needs (compose files, limits, what to do afterwards).
    pub plan: serde_json::Value,
    /// Pinned digest of each image.
    pub images: BTreeMap<String, String>,
    /// Facts about the host (GPUs, driver, Docker, kernel).
    pub host: serde_json::Value,
}

/// A trial to be registered.
#[derive(Clone, Debug)]
pub struct NewTrial {
    /// Position in the sweep, from 1.
    pub position: usize,
    /// Name, settings and axis values, secrets redacted.
    pub config: Config,
    /// The config's key.
    pub key: ConfigKey,
    /// Whether it is the baseline.
    pub is_baseline: bool,
    /// Digest of its image, when known.
    pub image_digest: Option<String>,
    /// The whole command line of the container, secrets redacted.
    pub argv: Vec<String>,
    /// What the grid expects of it, by metric; never ranked.
    pub expected: BTreeMap<MetricPath, f64>,
    /// Why the plan leaves it out, with a sentence, when it does.
    pub skip: Option<(SkipReason, String)>,
}

/// Durations of an attempt's parts, s; absent when it never came that far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Preparing: checks, leftovers, GPUs free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepare_s: Option<f64>,
    /// Creating and starting the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_s: Option<f64>,
    /// Warm-up requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_s: Option<f64>,
    /// All scenarios.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure_s: Option<f64>,
    /// Stopping and removing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teardown_s: Option<f64>,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct AttemptEnd {
    /// Measured, failed with its evidence, or interrupted.
    pub outcome: Outcome,
    /// The whole attempt, s.
    pub elapsed_s: f64,
    /// Durations of its parts.
    pub timings: Timings,
}

/// One sample of a series taken while an attempt ran.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetrySample {
    /// What, unit last: `gpu_memory_used_bytes`, `vllm:num_requests_running`.
    pub series: String,
    /// Where: `gpu0`, `engine`, `container`, `host`.
    pub source: String,
    /// Since the start of the attempt, ms.
    pub offset_ms: f64,
    /// What went on: `boot`, `idle`, `warmup`, a scenario.
    pub tag: Option<String>,
    /// The sample.
    pub value: f64,
}

/// One sweep, with its state and counts as they are now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepRow {
    /// What it is an execution of.
    pub kind: SweepKind,
    /// Its number.
    pub id: SweepId,
    /// Its universal identity.
    pub uuid: String,
    /// The grid's name.
    pub grid_name: String,
    /// The grid's file.
    pub grid_path: PathBuf,
    /// SHA-256 of the grid's text.
    pub grid_sha256: String,
    /// Identity of the deployment.
    pub deployment: String,
    /// Name of the baseline config.
    pub baseline: Option<String>,
    /// Its state.
    pub state: SweepState,
    /// Why the last run ended with work left, in a sentence.
    pub why: Option<String>,
    /// When it was registered.
    pub started_at: String,
    /// When its last run ended; None while one is open.
    pub ended_at: Option<String>,
    /// When its last run must be or must have been over.
    pub deadline_at: Option<String>,
    /// Runs of vgrid over it.
    pub runs: u64,
    /// Trials.
    pub trials: u64,
    /// Trials measured.
    pub measured: u64,
    /// Trials failed.
    pub failed: u64,
    /// Trials skipped.
    pub skipped: u64,
    /// Trials pending, running or interrupted.
    pub remaining: u64,
}

/// One trial, with its state as it is now (the view `trials`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialRow {
    /// Its number.
    pub trial_id: TrialId,
    /// Its sweep.
    pub sweep: SweepId,
    /// Position in the sweep, from 1.
    pub position: u64,
    /// The config's name.
    pub name: String,
    /// The config's key.
    pub key: ConfigKey,
    /// Whether it is the baseline.
    pub is_baseline: bool,
    /// Its state.
    pub state: TrialState,
    /// Cause of a failure; None for any other state.
    pub cause: Option<Cause>,
    /// Reason of a skip; None for any other state.
    pub skip: Option<SkipReason>,
    /// Remedy of a failure, or explanation of a skip.
    pub detail: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// How far the last attempt came.
    pub phase: Option<Phase>,
    /// Start of the last attempt.
    pub started_at: Option<String>,
    /// End of the last attempt.
    pub ended_at: Option<String>,
    /// From the container's start to the first real completion, s, in the last attempt.
    pub ready_s: Option<f64>,
    /// The whole last attempt, s.
    pub elapsed_s: Option<f64>,
}

text_enum! {
    /// What became of the duty to put back what served before.
    pub enum RestorationEnd {
        /// It serves again, verified.
        Restored = "restored",
        /// It could not be put back.
        Failed = "failed",
    }
}

/// What served before a sweep and is still to be put back.
#[derive(Clone, Debug, PartialEq)]
pub struct Restoration {
    /// The entry.
    pub id: RestorationId,
    /// The sweep that took it down.
    pub sweep: Option<SweepId>,
    /// Identity of the deployment.
    pub deployment: String,
    /// What, in a few words.
    pub what: String,
    /// What the launcher noted; its own format.
    pub serving: serde_json::Value,
    /// Whether an earlier try failed, and why.
    pub failed: Option<String>,
    /// When it was noted.
    pub noted_at: String,
}

//! What a sweep tells while it runs: the only link between the engine and the screen or the event log.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text_enum::text_enum;
use super::{Cause, Phase, Redactor, ScenarioKind, Stage, SweepId, TrialRef};

text_enum! {
    /// Milestones of a start-up, in the order in which vLLM's log shows them.
    pub enum BootMilestone {
        /// The container or process was started.
        Started = "started",
        /// vLLM printed its banner.
        Banner = "banner",
        /// The engine is being initialised.
        EngineInit = "engine_init",
        /// Weights are being loaded.
        LoadingWeights = "loading_weights",
        /// Weights are loaded.
        WeightsLoaded = "weights_loaded",
        /// Kernels are being compiled.
        Compiling = "compiling",
        /// The KV cache's size is known.
        KvCacheSized = "kv_cache_sized",
        /// CUDA graphs are being captured.
        CapturingGraphs = "capturing_graphs",
        /// The engine is initialised; the HTTP server starts.
        ServerStarting = "server_starting",
        /// `Application startup complete.`
        ServerUp = "server_up",
    }
}

/// What a trial is doing now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "doing", rename_all = "snake_case")]
pub enum TrialProgress {
    /// Checking that image, mounts, port and GPUs are as they must be.
    Preparing,
    /// Creating and starting the container.
    Creating,
    /// Booting; `percent` is the milestone's own figure where the log gives one.
    Booting {
        /// Last milestone seen in the log.
        milestone: BootMilestone,
        /// Shards loaded or graphs captured, 0 to 100.
        percent: Option<f64>,
        /// Since the start of the container, s.
        elapsed_s: f64,
    },
    /// Sending the requests that are stored and never measured.
    WarmingUp,
    /// A scenario is running.
    Measuring {
        /// Which.
        scenario: ScenarioKind,
        /// Requests that ended.
        requests_done: u64,
        /// Requests that the scenario will send, where known.
        requests_total: Option<u64>,
        /// Completion tokens per second so far.
        output_tokens_per_s: Option<f64>,
    },
    /// Stopping and removing the container.
    Stopping,
}

/// Where a trial failed, and with which numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailedIn {
    /// How far it had come.
    pub phase: Phase,
    /// What the engine was doing, where it matters.
    pub stage: Option<Stage>,
    /// Numbers that stand in the evidence, by name, unit last.
    pub numbers: BTreeMap<String, f64>,
    /// Exit code of the container or process; None where it did not exit or is not known.
    pub exit_code: Option<i64>,
}

/// One thing that happened. Written to the store first, then told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A sweep begins or continues.
    SweepStarted {
        /// Its number.
        sweep: SweepId,
        /// The grid's name.
        grid: String,
        /// Trials of the plan that may run.
        trials: usize,
        /// Trials that history already settles.
        settled: usize,
        /// Starts beyond the first of each config that this run may make: repeats, controls, finalists.
        #[serde(default)]
        further: usize,
        /// Whether it continues an interrupted sweep.
        resumed: bool,
    },
    /// Something found or done outside a trial, in a sentence.
    Notice {
        /// The sentence.
        text: String,
    },
    /// Something is not as it should be, in a sentence.
    Warning {
        /// The sentence.
        text: String,
    },
    /// A trial begins.
    TrialStarted {
        /// Which.
        trial: TrialRef,
    },
    /// A trial's engine answered a real completion; measuring begins.
    TrialReady {
        /// Which.
        trial: TrialRef,
        /// From the start of the container to the first real completion, s.
        ready_s: f64,
    },
    /// A trial's state changed. Told only, never kept: it comes many times a second.
    TrialProgressed {
        /// Which.
        trial: TrialRef,
        /// What it is doing.
        progress: TrialProgress,
    },
    /// A scenario ended and its result is stored.
    ScenarioFinished {
        /// Which trial.
        trial: TrialRef,
        /// Which scenario.
        scenario: ScenarioKind,
        /// How long it took, s.
        elapsed_s: f64,
        /// Requests sent.
        requests: u64,
        /// Requests that failed.
        failed: u64,
        /// The figures to show, as `(path, value, unit)`.
        headline: Vec<(String, f64, String)>,
    },
    /// A trial ended and its outcome is stored.
    TrialFinished {
        /// Which.
        trial: TrialRef,
        /// `measured`, `failed`, `interrupted`.
        outcome: String,
        /// Why, for a failed one.
        cause: Option<Cause>,
        /// One line for the screen: the evidence or the headline figure.
        detail: String,
        /// What to do, for a failed one.
        remedy: Option<String>,
        /// Where it failed, for a failed one.
        #[serde(flatten)]
        failed: Option<FailedIn>,
        /// The file with its log.
        #[serde(default)]
        log: String,
        /// The whole attempt, s.
        elapsed_s: f64,
        /// From the start of the container to the first real completion, s.
        ready_s: Option<f64>,
    },
    /// A trial was settled without running.
    TrialSkipped {
        /// The config's name.
        name: String,
        /// Why, in a sentence.
        why: String,
    },
    /// Failures in a row were so alike that no further trial is started.
    BreakerTripped {
        /// How many.
        failures: u32,
        /// Why each of them failed.
        cause: Cause,
        /// The line that shows it, of the last one.
        evidence: String,
        /// What to do.
        remedy: String,
    },
    /// The best config so far by the first objective changed.
    BestSoFar {
        /// The config's name.
        name: String,
        /// The objective's metric.
        metric: String,
        /// Its value.
        value: f64,
        /// Gain against the baseline, in percent, positive is better; None while there is no baseline figure.
        gain_percent: Option<f64>,
        /// How many other configs are tied with it.
        #[serde(default)]
        tied: usize,
    },
    /// What served before is being put back.
    Restoring {
        /// What, in a few words.
        what: String,
    },
    /// What served before serves again, verified by a real completion.
    Restored {
        /// What, in a few words.
        what: String,
        /// How long it took, s.
        elapsed_s: f64,
    },
    /// What served before could not be put back.
    RestoreFailed {
        /// What, in a few words.
        what: String,
        /// Why, and what to do.
        why: String,
    },
    /// This run of the sweep ended early: the database, Docker or the restoration failed.
    SweepFailed {
        /// Its number.
        sweep: SweepId,
        /// What went wrong, and what to do.
        why: String,
    },
    /// The sweep ended.
    SweepFinished {
        /// Its number.
        sweep: SweepId,
        /// `complete`, `incomplete` (`--only`, `--limit`, time over, breaker), `interrupted`.
        ended: String,
        /// Why with work left, in a sentence.
        #[serde(default)]
        why: Option<String>,
        /// Trials measured, over its whole history.
        measured: usize,
        /// Trials failed.
        failed: usize,
        /// Trials skipped.
        skipped: usize,
        /// Trials not run yet.
        left: usize,
        /// This run of vgrid, s.
        elapsed_s: f64,
    },
}

impl Event {
    /// The event with every secret replaced that its free texts could hold.
    #[must_use]
    pub fn redacted(mut self, redactor: &Redactor) -> Self {
        let hide = |text: &mut String| {
            if let Cow::Owned(hidden) = redactor.apply(text) {
                *text = hidden;
            }
        };
        match &mut self {
            Self::Notice { text } | Self::Warning { text } => hide(text),
            Self::TrialFinished { detail, remedy, log, .. } => {
                hide(detail);
                hide(log);
                remedy.iter_mut().for_each(hide);
            }
            Self::BreakerTripped { evidence, remedy, .. } => {
                hide(evidence);
                hide(remedy);
            }
            Self::TrialSkipped { why, .. } | Self::SweepFailed { why, .. } => hide(why),
            Self::Restoring { what } | Self::Restored { what, .. } => hide(what),
            Self::RestoreFailed { what, why } => {
                hide(what);
                hide(why);
            }
            Self::SweepFinished { why, .. } => why.iter_mut().for_each(hide),
            // Numbers, our own words, and names that the grid's reader has allowed.
            Self::SweepStarted { .. }
            | Self::TrialStarted { .. }
            | Self::TrialReady { .. }
            | Self::TrialProgressed { .. }
            | Self::ScenarioFinished { .. }
            | Self::BestSoFar { .. } => {}
        }
        self
    }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;

//! What is still to be measured: a pure function of plan and history.
//!
//! A result is identified by content ([`ResultKey`]), never by a config's name or its place in the plan. A scenario that is
//! finished under the same key is never run again, whoever ran it and however its attempt ended afterwards. A key that
//! changed (new image digest, other parameters, other seed) is new work. A further start of a config (repeat, control, finalist)
//! is further work with keys of its own, derived from those of the first start.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::{Cause, ConfigKey, Phase, Purpose, ScenarioSpec, SkipReason, Start};

mod schedule;

pub use schedule::{Plan, further_starts};

#[cfg(test)]
#[path = "resume_tests.rs"]
mod tests;

/// The identity of one scenario's result: 16 hexadecimal digits of a SHA-256 over config key, parameters, data and seed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResultKey(pub String);

impl ResultKey {
    /// The key of this scenario of this config. `data` identifies the prompts as they are known before the start (their
    /// version or hash); `seed` is the suite's.
    #[must_use]
    pub fn of(config: &ConfigKey, spec: &ScenarioSpec, data: &str, seed: u64) -> Self {
        // An array keeps the four parts apart; serialising plain data does not fail, and if it did, the text of the error
        // would still be a function of the content.
        let spec = serde_json::to_value(spec).unwrap_or_else(|e| serde_json::Value::String(e.to_string()));
        let canonical = serde_json::json!([config.0, spec, data, seed]).to_string();
        Self(ConfigKey::of(canonical.as_bytes()).0)
    }

    /// The key of the same result on another start of the config. The first start's key is this one itself.
    #[must_use]
    pub fn at(&self, start: Start) -> Self {
        match start.purpose {
            Purpose::Trial => self.clone(),
            Purpose::Repeat | Purpose::Control | Purpose::Finalist => {
                let canonical = serde_json::json!([self.0, start.purpose, start.number]).to_string();
                Self(ConfigKey::of(canonical.as_bytes()).0)
            }
        }
    }
}

impl fmt::Display for ResultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One config of the plan, in the order in which it would run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanItem {
    /// The config's name, for messages only.
    pub name: String,
    /// The config's key, the image digest included.
    pub key: ConfigKey,
    /// Results of its suite, in the order in which they are measured; no key twice.
    pub scenarios: Vec<ResultKey>,
    /// Why the plan leaves it out, when it does.
    pub skip: Option<SkipReason>,
}

/// How a past attempt ended, as far as continuing depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum PastOutcome {
    /// Its whole suite was run.
    Measured,
    /// It failed.
    Failed {
        /// Why.
        cause: Cause,
        /// How far it had come.
        phase: Phase,
        /// What the classifier says: may the same config succeed when tried again?
        transient: bool,
    },
    /// Cut short by us, or by the death of vgrid.
    Interrupted,
}

/// One past attempt at a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptHistory {
    /// Which of the config's starts it was.
    #[serde(default)]
    pub start: Start,
    /// How it ended; `None` while it is open. An open attempt of a dead process counts as interrupted.
    pub outcome: Option<PastOutcome>,
    /// Results that it finished and stored.
    pub finished: Vec<ResultKey>,
    /// The phase it was in when vgrid itself died; `None` when vgrid lived to its end.
    #[serde(default)]
    pub died_in: Option<Phase>,
}

/// Everything that is known of one trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialHistory {
    /// The config's key.
    pub key: ConfigKey,
    /// Attempts in the order in which they were made.
    pub attempts: Vec<AttemptHistory>,
    /// Why it was settled without an attempt after the last one, when it was.
    pub skip: Option<SkipReason>,
}

/// How often a failed trial is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Further tries after a failure that may pass by itself; 0 settles every failure.
    pub transient_retries: u32,
    /// Run also what was skipped because a failure implies that it fails.
    pub measure_implied: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { transient_retries: 2, measure_implied: false }
    }
}

/// Why a trial is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Nothing of this key was tried yet.
    New,
    /// The last attempt was cut short.
    Interrupted,
    /// The last attempt failed for a cause that may pass by itself.
    Retry,
    /// It was measured, and the plan asks for more than was measured.
    MoreScenarios,
}

/// One start that is to be made, with only the missing scenarios.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Todo {
    /// Index into the plan.
    pub item: usize,
    /// Which start of the config.
    pub start: Start,
    /// Number of the attempt to be made, from 1.
    pub attempt: u32,
    /// Indices into the item's scenarios, ascending, never empty.
    pub missing: Vec<usize>,
    /// Why.
    pub why: Why,
}

/// Whether a failure of this cause may pass when the same config is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chance {
    /// The same config fails again; trying is a waste of the night.
    Never,
    /// The classifier knows the phase and the evidence; its word counts.
    AsClassified,
    /// The cause lies outside the config.
    Always,
}

/// Written out for each cause: a new one cannot be added without deciding.
const fn chance(cause: Cause) -> Chance {
    match cause {
        Cause::KvCacheTooSmall
        | Cause::ShmTooSmall
        | Cause::BadArgument
        | Cause::Unsupported
        | Cause::ModelBroken
        | Cause::Environment => Chance::Never,
        // Out of memory is the config's own doing, unless the evidence shows somebody else on the GPU or the host. Docker
        // covers both a missing image and a daemon that is restarting; a model may be missing or the hub out of reach.
        Cause::GpuOom
        | Cause::HostOom
        | Cause::ModelUnavailable
        | Cause::NoGpu
        | Cause::GpuFault
        | Cause::CompileFailed
        | Cause::Docker
        | Cause::EngineDead
        | Cause::Timeout
        | Cause::Stalled
        | Cause::Hung
        | Cause::BadResponses
        | Cause::Unknown => Chance::AsClassified,
        Cause::GpuMemoryBusy | Cause::PortInUse | Cause::Communication | Cause::Stopped | Cause::Healthy => {
            Chance::Always
        }
    }
}

/// Whether a skip that history tells of still holds. What the plan decides is decided by the plan of now.
const fn skip_settles(reason: SkipReason) -> bool {
    match reason {
        SkipReason::Twin | SkipReason::Implied => true,
        SkipReason::Excluded
        | SkipReason::Duplicate
        | SkipReason::OutOfTime
        | SkipReason::NotSelected
        | SkipReason::CircuitBreaker => false,
    }
}

/// Whether a skip settles a trial under this policy.
fn settles(skip: SkipReason, policy: &RetryPolicy) -> bool {
    skip_settles(skip) && !(policy.measure_implied && skip == SkipReason::Implied)
}

/// Whether a failure may be tried again, before the number of tries is looked at.
#[must_use]
pub const fn may_retry(cause: Cause, transient: bool) -> bool {
    match chance(cause) {
        Chance::Never => false,
        Chance::AsClassified => transient,
        Chance::Always => true,
    }
}

/// The starts that are still to be made, in their order. The same plan and history give the same answer; when every todo was
/// carried out and measured, the answer is empty, until finalists are chosen.
///
/// A further start of a config is made only where its first one is measured, or about to be.
#[must_use]
pub fn outstanding(plan: &Plan<'_>, history: &[TrialHistory], policy: &RetryPolicy) -> Vec<Todo> {
    let mut past: BTreeMap<&ConfigKey, Vec<&TrialHistory>> = BTreeMap::new();
    for trial in history {
        past.entry(&trial.key).or_default().push(trial);
    }
    // A result key that an earlier start of this plan is about to measure counts as taken: no result twice.
    let mut taken: BTreeSet<ResultKey> =
        history.iter().flat_map(|t| &t.attempts).flat_map(|a| a.finished.iter().cloned()).collect();
    // What has its first start, or will have it when the todos are carried out.
    let mut begun: BTreeSet<usize> = BTreeSet::new();
    let mut made: BTreeMap<usize, usize> = BTreeMap::new();
    let mut todos = Vec::new();
    for (item, start) in plan.schedule() {
        let planned = &plan.items[item];
        let keys: Vec<ResultKey> = planned.scenarios.iter().map(|key| key.at(start)).collect();
        let missing: Vec<usize> = (0..keys.len()).filter(|i| !taken.contains(&keys[*i])).collect();
        let trials = past.get(&planned.key).map(Vec::as_slice).unwrap_or_default();
        let is_wanted = match start.purpose {
            Purpose::Trial => !trials.iter().filter_map(|t| t.skip).any(|skip| settles(skip, policy)),
            Purpose::Repeat | Purpose::Finalist => begun.contains(&item),
            Purpose::Control => begun.contains(&item) && begun.len() > 1,
        };
        if start.purpose == Purpose::Trial && missing.is_empty() {
            begun.insert(item);
        }
        let why = still_to_run(trials, start, policy).filter(|_| is_wanted && !missing.is_empty());
        let Some(why) = why else { continue };
        let number = made.entry(item).or_insert_with(|| trials.iter().map(|t| t.attempts.len()).sum());
        *number += 1;
        let attempt = u32::try_from(*number).unwrap_or(u32::MAX);
        taken.extend(keys);
        begun.insert(item);
        todos.push(Todo { item, start, attempt, missing, why });
    }
    todos
}

/// The phase in which vgrid died in each of the last `limit` attempts at one start of a trial, with nothing finished in any of them: it may be
/// what kills it, and trying it for ever would cost the night. `None` where it did not.
#[must_use]
pub fn deadly(trial: &TrialHistory, limit: u32) -> Option<Phase> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).max(1);
    let last = trial.attempts.len().checked_sub(limit).map(|from| &trial.attempts[from..])?;
    let first = last.first()?;
    let phase = first.died_in?;
    let in_vain = |a: &AttemptHistory| {
        let interrupted = matches!(a.outcome, None | Some(PastOutcome::Interrupted));
        interrupted && a.start == first.start && a.died_in == Some(phase) && a.finished.is_empty()
    };
    last.iter().all(in_vain).then_some(phase)
}

/// Why this start of a config of this past is to be made, or `None` when it is settled.
fn still_to_run(trials: &[&TrialHistory], start: Start, policy: &RetryPolicy) -> Option<Why> {
    let attempts: Vec<&AttemptHistory> = trials.iter().flat_map(|t| &t.attempts).filter(|a| a.start == start).collect();
    let Some(last) = attempts.last() else { return Some(Why::New) };
    match last.outcome {
        None | Some(PastOutcome::Interrupted) => Some(Why::Interrupted),
        Some(PastOutcome::Measured) => Some(Why::MoreScenarios),
        Some(PastOutcome::Failed { cause, phase: _, transient }) => {
            let failures = attempts.iter().filter(|a| matches!(a.outcome, Some(PastOutcome::Failed { .. }))).count();
            let tries_left = failures <= usize::try_from(policy.transient_retries).unwrap_or(usize::MAX);
            (may_retry(cause, transient) && tries_left).then_some(Why::Retry)
        }
    }
}

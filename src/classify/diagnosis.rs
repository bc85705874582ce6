//! Explaining a log outside a sweep: what `vgrid diagnose` reads and prints.

use std::collections::BTreeMap;

use serde::Serialize;

use super::verdict::{EvidenceInput, Observer, classify};
use crate::domain::{Cause, ExitFacts, Failure, Phase, Stage};

/// A failure as `vgrid diagnose --json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// Root cause.
    pub cause: Cause,
    /// What the engine was doing, where it matters.
    pub stage: Option<Stage>,
    /// How far it had come; said to a reader, not in JSON.
    #[serde(skip)]
    pub phase: Phase,
    /// Lines that show it, most telling first.
    pub evidence: Vec<String>,
    /// Numbers that stand in the evidence.
    pub numbers: BTreeMap<String, f64>,
    /// What to do.
    pub remedy: String,
    /// Whether the same config may succeed when tried again.
    pub transient: bool,
}

impl From<&Failure> for Diagnosis {
    fn from(failure: &Failure) -> Self {
        Self {
            cause: failure.cause,
            stage: failure.stage,
            phase: failure.phase,
            evidence: failure.evidence.iter().map(|e| e.text.clone()).collect(),
            numbers: failure.numbers.clone(),
            remedy: failure.remedy.clone(),
            transient: failure.transient,
        }
    }
}

/// Explains a log outside a sweep. `state` is `State` of `docker inspect`, or the whole inspect answer.
#[must_use]
pub fn diagnose(log: &str, state: Option<&serde_json::Value>, phase: Option<Phase>) -> Failure {
    let exit = state.map(exit_facts).unwrap_or_default();
    classify(&EvidenceInput { log, phase, exit, wait: None, argv: &[], observer: Observer::Reader })
}

/// Reads `State` of `docker inspect`.
fn exit_facts(state: &serde_json::Value) -> ExitFacts {
    let state = state.get(0).unwrap_or(state);
    let state = state.get("State").filter(|s| s.is_object()).unwrap_or(state);
    let text = |key: &str| state.get(key).and_then(|v| v.as_str()).filter(|t| !t.is_empty()).map(str::to_owned);
    ExitFacts {
        status: text("Status"),
        exit_code: state.get("ExitCode").and_then(serde_json::Value::as_i64),
        oom_killed: state.get("OOMKilled").and_then(serde_json::Value::as_bool),
        error: text("Error"),
        asked_to_stop: false,
    }
}

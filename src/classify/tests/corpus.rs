//! Every labelled log that is at hand gets its cause, stage, evidence, numbers and transience.

use std::path::{Path, PathBuf};

use super::super::*;
use crate::domain::Phase;

/// One labelled sample.
pub struct Sample {
    pub name: String,
    pub log: String,
    pub label: serde_json::Value,
}

impl Sample {
    fn text(&self, key: &str) -> Option<&str> {
        self.label.get(key).and_then(|v| v.as_str())
    }

    /// The container's state, as far as the label knows it.
    pub fn state(&self) -> Option<serde_json::Value> {
        let known = ["state", "docker_state"].iter().find_map(|k| self.label.get(k).filter(|s| s.is_object()));
        let mut state = known.cloned().unwrap_or_else(|| serde_json::json!({}));
        for (from, to) in [("exit_code", "ExitCode"), ("oom_killed", "OOMKilled")] {
            if let Some(value) = self.label.get(from).filter(|v| !v.is_null())
                && state.get(to).is_none()
            {
                state[to] = value.clone();
            }
        }
        state.as_object().is_some_and(|s| !s.is_empty()).then_some(state)
    }

    pub fn phase(&self) -> Option<Phase> {
        self.text("phase").and_then(|p| p.parse().ok())
    }
}

/// The samples in `folder`; none where it does not exist.
pub fn samples(folder: &Path) -> Vec<Sample> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    paths.sort();
    paths
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .map(|p| Sample {
            name: p.file_stem().unwrap().to_string_lossy().into_owned(),
            log: String::from_utf8_lossy(&std::fs::read(p.with_extension("log")).unwrap()).into_owned(),
            label: serde_json::from_slice(&std::fs::read(&p).unwrap()).unwrap(),
        })
        .collect()
}

fn own_fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/logs")
}

/// All complaints about one sample.
pub fn misses(sample: &Sample) -> Vec<String> {
    let mut out = Vec::new();
    let failure = diagnose(&sample.log, sample.state().as_ref(), sample.phase());
    let cause = sample.text("cause").unwrap();
    let acceptable = sample.label["acceptable"].as_array().cloned().unwrap_or_default();
    if failure.cause.as_str() != cause && !acceptable.iter().any(|a| a == failure.cause.as_str()) {
        out.push(format!("cause {} instead of {cause}", failure.cause));
    }
    let exact = failure.cause.as_str() == cause;
    let stage = failure.stage.map(|s| s.as_str());
    if exact && stage != sample.text("stage") {
        out.push(format!("stage {stage:?} instead of {:?}", sample.text("stage")));
    }
    if exact && sample.label["transient"].as_bool().is_some_and(|label| label != failure.transient) {
        out.push(format!("transient {}", failure.transient));
    }
    if exact && let Some(evidence) = sample.text("evidence") {
        let wanted = crate::domain::engine_log::clean(evidence).trim().to_owned();
        let shown = failure.evidence.iter().any(|e| e.text.contains(&wanted) || wanted.contains(e.text.trim()));
        if !shown {
            out.push(format!("evidence {:?} instead of {wanted:?}", failure.evidence));
        }
    }
    for (key, value) in sample.label["numbers"].as_object().unwrap() {
        let Some(value) = value.as_f64() else { continue };
        let got = failure.numbers.get(key);
        if got.is_none_or(|g| (g - value).abs() > 1e-6 * value.abs().max(1.0)) {
            out.push(format!("{key} {got:?} instead of {value}"));
        }
    }
    out
}

fn check(folder: &Path, allowed: &[&str]) {
    let mut table = String::new();
    for sample in samples(folder) {
        let misses: Vec<String> = misses(&sample)
            .into_iter()
            .filter(|m| !allowed.contains(&format!("{}: {m}", sample.name).as_str()))
            .collect();
        for miss in misses {
            table.push_str(&format!("{:40} {miss}\n", sample.name));
        }
    }
    assert!(table.is_empty(), "misses:\n{table}");
}

#[test]
fn the_project_s_own_samples_are_classified_as_labelled() {
    check(&own_fixtures(), &[]);
}

#[test]
fn the_shared_corpus_is_classified_as_labelled() {
    // A checkout stands beside the shared folder, a work tree one level deeper; without either the test has nothing to do.
    for up in ["../shared/corpus", "../../shared/corpus"] {
        // A start that is cut off reads like any start that stops: whether a retry helps cannot stand in the log.
        check(&Path::new(env!("CARGO_MANIFEST_DIR")).join(up), &["healthy__16: transient true"]);
    }
}

//! What is written down of a sweep and its configs before the first trial.

use std::collections::{BTreeMap, HashMap};

use sha2::Digest;

use crate::compose;
use crate::domain::{Config, FlagValue};
use crate::launch::Launcher;
use crate::store::{NewSweep, NewTrial, SweepKind};

use super::host;
use super::plan::{PlannedConfig, Planner};

/// What makes a sweep this sweep: the grid's text, its suite and its data, the deployment's service and the pinned images.
pub(super) fn identity(planner: &Planner, plan: &[PlannedConfig], image_ids: &HashMap<String, String>) -> String {
    let mut hash = sha2::Sha256::new();
    // The hash stands beside the masked text: that of the text itself would tell whether a guessed password is right.
    hash.update(planner.shown_grid(&planner.grid_text).as_bytes());
    hash.update(serde_json::to_vec(&planner.suite).unwrap_or_default());
    for data in planner.suite.scenarios.iter().filter_map(|spec| planner.cases.sha256_for(spec)) {
        hash.update(data.as_bytes());
    }
    for planned in plan {
        hash.update(planned.key.0.as_bytes());
    }
    let images: BTreeMap<&String, &String> = image_ids.iter().collect();
    for (reference, id) in images {
        hash.update(format!("\0{reference}={id}").as_bytes());
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// What is registered of a sweep, secrets hidden.
pub(super) fn new_sweep(
    planner: &Planner,
    grid_sha256: String,
    deployment: String,
    image_ids: &HashMap<String, String>,
    launcher: &Launcher,
) -> NewSweep {
    let argv = planner.shown_words(&compose::argv(&planner.service));
    NewSweep {
        kind: SweepKind::Grid,
        grid_name: planner.grid.name.clone(),
        grid_path: planner.grid_path.clone(),
        grid_text: planner.shown_grid(&planner.grid_text),
        grid_sha256,
        deployment,
        baseline: planner.baseline_name(),
        suite: planner.suite.clone(),
        objectives: planner.grid.objectives.clone(),
        gates: planner.grid.gates.iter().map(|g| g.text().to_owned()).collect(),
        plan: serde_json::json!({
            "project": planner.project.name,
            "service": planner.service_name,
            "config_files": planner.project.config_files,
            "working_dir": planner.project.working_dir,
            "argv": argv,
            "files_sha256": files_sha256(planner),
        }),
        images: image_ids.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        host: host::facts(&launcher.describe()),
    }
}

/// Hash of each compose file, by its path; one that cannot be read has none.
fn files_sha256(planner: &Planner) -> BTreeMap<String, String> {
    let hash = |file: &std::path::PathBuf| Some((file.display().to_string(), planner.file_sha256(file)?));
    planner.project.config_files.iter().filter_map(hash).collect()
}

/// What is registered of each config, secrets hidden.
pub(super) fn new_trials(
    planner: &Planner,
    plan: &[PlannedConfig],
    image_ids: &HashMap<String, String>,
) -> Vec<NewTrial> {
    let trials = plan.iter().enumerate().map(|(i, p)| NewTrial {
        position: i + 1,
        config: redacted_config(planner, p),
        key: p.key.clone(),
        is_baseline: p.is_baseline,
        image_digest: p.service.image.as_ref().and_then(|reference| image_ids.get(reference)).cloned(),
        argv: planner.shown_words(&p.argv),
        expected: p.expected.clone(),
        skip: p.skip.clone(),
    });
    trials.collect()
}

/// The config with secret values hidden.
fn redacted_config(planner: &Planner, planned: &PlannedConfig) -> Config {
    let mut config = planned.config.clone();
    let hide = |name: &str, text: &mut String| *text = planner.shown(name, text);
    for (name, value) in &mut config.settings.flags {
        match value {
            FlagValue::Value(value) => hide(name.as_str(), value),
            FlagValue::Many(values) => values.iter_mut().for_each(|value| hide(name.as_str(), value)),
            FlagValue::Default | FlagValue::On | FlagValue::Off => {}
        }
    }
    for (name, value) in &mut config.settings.env {
        value.iter_mut().for_each(|value| hide(name, value));
    }
    [&mut config.settings.image, &mut config.settings.model].into_iter().flatten().for_each(|text| hide("", text));
    config.axis_values.iter_mut().for_each(|(_, text)| *text = planner.redactor.apply(text).into_owned());
    config
}

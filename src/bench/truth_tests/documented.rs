//! The metrics document is complete: every figure that a scenario gives has a row with its unit, and no row is an orphan.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::domain::{RequestEnd, ScenarioKind, ScenarioResult, ScenarioSpec, ValidityReason};

use super::super::run_scenario;
use super::{client_of, context};

pub(super) const DOCUMENT: &str = include_str!("../../../docs/metrics.md");

/// Every scenario that this version measures: small where a default would take long, so that a new one runs as it is.
fn specs() -> Vec<ScenarioSpec> {
    let small = |kind: &str| -> Vec<Value> {
        match kind {
            "smoke" => vec![json!({"fit": true})],
            "kv_cache" => vec![json!({"prefix_tokens": [128]})],
            "load" => {
                let levels = json!({"concurrency": [2, 4, 8], "requests_per_user": 6, "turns_per_user": 2, "rate_shares": [0.5]});
                let rates = json!({"concurrency": [], "rates": [20.0]});
                let both = json!({"prompt_tokens": 64, "output_tokens": 8, "slo_ttft_ms": 1e6, "duration_s": 1.0});
                vec![merged(&levels, &both), merged(&rates, &both)]
            }
            "conversation" => vec![json!({"turns": 6, "output_tokens": 8})],
            "stability" => vec![json!({"output_tokens": [8, 4]})],
            "long_context" => vec![json!({"prompt_tokens": [512], "output_tokens": 4})],
            "profile" => vec![json!({"idle_s": 1, "busy_s": 1, "prompt_tokens": 64, "output_tokens": 8})],
            _ => vec![json!({})],
        }
    };
    let mut specs = Vec::new();
    for kind in ScenarioKind::ALL {
        for mut parameters in small(kind.as_str()) {
            parameters["scenario"] = json!(kind);
            specs.push(serde_json::from_value(parameters).unwrap());
        }
    }
    specs
}

fn merged(one: &Value, other: &Value) -> Value {
    one.as_object().unwrap().clone().into_iter().chain(other.as_object().unwrap().clone()).collect()
}

async fn results() -> Vec<ScenarioResult> {
    let flags = "m --max-model-len 8192 --enable-prompt-tokens-details --sim-speed 50 --sim-first-request-ms 0 \
                 --enable-auto-tool-choice --tool-call-parser hermes --reasoning-parser qwen3";
    let words: Vec<&str> = flags.split_whitespace().collect();
    let engine = super::spawn(&words).await.unwrap();
    let client = client_of(&engine).await;
    let mut results = Vec::new();
    for spec in specs() {
        results.push(run_scenario(&client, &spec, &context()).await.unwrap());
    }
    results
}

/// `(scenario, name, unit)` of every row of the table of figures.
pub(super) fn rows() -> BTreeSet<(String, String, String)> {
    let cell = |text: &str| text.trim().trim_matches('`').to_owned();
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.split('|').collect();
        let is_scenario = cell(cells[0]).parse::<ScenarioKind>().is_ok();
        (is_scenario && cells.len() >= 5).then(|| (cell(cells[0]), cell(cells[1]), cell(cells[2])))
    };
    DOCUMENT.lines().filter_map(row).collect()
}

#[tokio::test]
async fn every_figure_of_every_scenario_has_a_row_with_its_unit_and_every_row_a_figure() {
    let results = results().await;
    assert!(results.len() >= 6, "{}", results.len());
    let rows = rows();
    let mut given = BTreeSet::new();
    for metric in results.iter().flat_map(|r| &r.metrics) {
        given.insert((metric.path.scenario.to_string(), metric.path.name.clone(), metric.unit.clone()));
    }
    let lacking: Vec<_> = given.difference(&rows).collect();
    assert!(lacking.is_empty(), "docs/metrics.md lacks rows (scenario, name, unit) for {lacking:?}");
    // what only a real engine or another setting gives is at least written out in the sources of the scenarios
    let orphans: Vec<_> =
        rows.difference(&given).filter(|(_, name, _)| !sources().contains(&format!("\"{name}\""))).collect();
    assert!(orphans.is_empty(), "docs/metrics.md has rows for figures that nothing gives: {orphans:?}");
}

/// The code of the library.
pub(super) fn sources() -> String {
    let mut text = String::new();
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|e| e == "rs") => {
                    text.push_str(&std::fs::read_to_string(path).unwrap())
                }
                false => {}
            }
        }
    }
    text
}

#[test]
fn every_reason_and_every_end_is_explained() {
    for word in ValidityReason::ALL.iter().map(|r| r.as_str()).chain(RequestEnd::ALL.iter().map(|e| e.as_str())) {
        assert!(DOCUMENT.contains(&format!("`{word}`")), "docs/metrics.md lacks {word}");
    }
}

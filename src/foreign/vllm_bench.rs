//! Result files of `vllm bench serve --save-result`, one or a list of them as `vllm bench sweep serve` writes its summaries.

use serde_json::{Map, Value};

use super::read::text_of;
use super::{Doubt, ForeignDoubt, ForeignFigure, ForeignKind, ForeignRow, ForeignTable};
use crate::domain::{Diagnostic, Diagnostics, Direction, FlagName, FlagValue, known_flag};

/// Numbers of one run that rank, and which way is better.
const RATES: &[(&str, Direction)] = &[
    ("request_throughput", Direction::Maximize),
    ("request_goodput", Direction::Maximize),
    ("output_throughput", Direction::Maximize),
    ("total_token_throughput", Direction::Maximize),
    ("max_output_tokens_per_s", Direction::Maximize),
];

/// Numbers of one run that describe it.
const COUNTS: &[&str] =
    &["duration", "completed", "failed", "total_input_tokens", "total_output_tokens", "max_concurrent_requests"];

/// What describes how the load was made.
const REMARKS: &[&str] = &[
    "date",
    "endpoint_type",
    "backend",
    "label",
    "model_id",
    "tokenizer_id",
    "num_prompts",
    "request_rate",
    "burstiness",
    "max_concurrency",
    "run_number",
];

/// Statistics of latencies: `median_ttft_ms`, `p99_itl_ms`.
const LATENCIES: &[&str] = &["_ttft_ms", "_tpot_ms", "_itl_ms", "_e2el_ms"];

/// Reads it; None when the JSON is of another kind.
pub(super) fn read(name: &str, json: &Value) -> Result<Option<ForeignTable>, Diagnostics> {
    let runs: Vec<&Map<String, Value>> = match json {
        Value::Object(run) if is_run(run) => vec![run],
        Value::Array(items) if items.iter().all(|i| i.as_object().is_some_and(is_run)) => {
            items.iter().filter_map(Value::as_object).collect()
        }
        _ => return Ok(None),
    };
    if runs.is_empty() {
        return Ok(None);
    }
    let mut table = ForeignTable {
        name: name.to_owned(),
        kind: ForeignKind::VllmBench,
        baseline: None,
        objective: Some("output_throughput".to_owned()),
        rows: Vec::new(),
        doubts: Vec::new(),
    };
    for (number, run) in runs.iter().enumerate() {
        table.rows.push(row(run, number + 1, runs.len())?);
    }
    for row in &table.rows {
        let failed = row.figure("failed").filter(|failed| *failed > 0.0);
        if let Some(failed) = failed {
            let of = failed + row.figure("completed").unwrap_or(0.0);
            let text =
                format!("{}: {failed:.0} of {of:.0} requests failed, and the figures leave them out", row.config);
            table.doubts.push(ForeignDoubt { doubt: Doubt::RequestsFailed, configs: vec![row.config.clone()], text });
        }
    }
    let text = "one run each: requests of one run are no independent samples of a config, so no interval is known";
    table.doubts.push(ForeignDoubt { doubt: Doubt::SingleSample, configs: Vec::new(), text: text.to_owned() });
    Ok(Some(table))
}

/// The keys that every version of vLLM writes.
fn is_run(run: &Map<String, Value>) -> bool {
    ["duration", "completed", "request_throughput"].iter().all(|key| run.contains_key(*key))
}

fn row(run: &Map<String, Value>, number: usize, of: usize) -> Result<ForeignRow, Diagnostics> {
    let mut row = ForeignRow::default();
    let mut varied = Vec::new();
    // A column without a name is the index that pandas writes.
    for (key, value) in run.iter().filter(|(key, _)| !key.is_empty()) {
        let rate = RATES.iter().find(|(name, _)| name == key).map(|(_, direction)| *direction);
        let latency = LATENCIES.iter().any(|suffix| key.ends_with(suffix));
        let spread = key.starts_with("std_");
        if rate.is_some() || latency || COUNTS.contains(&key.as_str()) {
            // A figure that was not asked for is null.
            if let Some(value) = value.as_f64().filter(|v| v.is_finite()) {
                let direction = rate.or((latency && !spread).then_some(Direction::Minimize));
                row.figures.push(ForeignFigure { name: key.clone(), value, direction });
            }
        } else if REMARKS.contains(&key.as_str()) {
            row.remarks.insert(key.clone(), text_of(value));
        } else if !value.is_array() && !value.is_object() && !value.is_null() {
            // What is left are the settings that a sweep varied, or metadata of the user's.
            let text = text_of(value);
            if known_flag(FlagName::new(key).as_str()).is_some() {
                let setting = match value {
                    Value::Bool(true) => FlagValue::On,
                    Value::Bool(false) => FlagValue::Off,
                    _ => FlagValue::Value(text.clone()),
                };
                row.settings.flags.insert(FlagName::new(key), setting);
                varied.push(format!("{key}={text}"));
            } else {
                row.remarks.insert(key.clone(), text);
            }
        }
    }
    if row.figure("completed").is_none() {
        return Err(Diagnostic::error("bad-row", format!("run {number}: `completed` is no number")).into());
    }
    for key in ["request_rate", "max_concurrency"] {
        if let Some(value) = row.remarks.get(key).filter(|v| !v.is_empty() && *v != "inf") {
            varied.push(format!("{key}={value}"));
        }
    }
    let label = row.remarks.get("label").filter(|label| !label.is_empty()).cloned();
    let words: Vec<String> = label.into_iter().chain(varied).collect();
    let name = if words.is_empty() { "run".to_owned() } else { words.join(" ") };
    let run_number = row.remarks.get("run_number").filter(|n| !n.is_empty()).cloned();
    row.config = match (run_number, of) {
        (Some(run), _) => format!("{name} #{run}"),
        (None, 1) => name,
        (None, _) => format!("{name} #{number}"),
    };
    Ok(row)
}

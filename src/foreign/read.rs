//! Reading a foreign table: CSV with `# key: value` lines in front, or JSON; the columns are those of `docs/import.md`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{ForeignFigure, ForeignKind, ForeignRow, ForeignTable, judge, vllm_bench};
use crate::domain::{Diagnostic, Diagnostics, Direction, FlagName, FlagValue, Settings, did_you_mean, known_flag};

/// Short names of settings in hand-made tables, and the flags that they mean.
const SETTINGS: &[(&str, &str)] = &[
    ("gpu", "gpu-memory-utilization"),
    ("gpu_memory", "gpu-memory-utilization"),
    ("chunk", "enable-chunked-prefill"),
    ("chunked_prefill", "enable-chunked-prefill"),
    ("prefix", "enable-prefix-caching"),
    ("prefix_caching", "enable-prefix-caching"),
    ("seqs", "max-num-seqs"),
];

/// Figures of a table, and which way is better.
pub(super) const FIGURES: &[(&str, Direction)] = &[
    ("ttft_miss_ms", Direction::Minimize),
    ("ttft_hit_ms", Direction::Minimize),
    ("acceleration", Direction::Maximize),
    ("tokens_per_s_miss", Direction::Maximize),
    ("tokens_per_s_hit", Direction::Maximize),
    ("output_tokens_per_s", Direction::Maximize),
    ("requests_per_s", Direction::Maximize),
    ("ttft_ms", Direction::Minimize),
    ("tpot_ms", Direction::Minimize),
    ("e2e_ms", Direction::Minimize),
    ("startup_s", Direction::Minimize),
    ("vram_mib", Direction::Minimize),
];

/// What the head of a table may say.
const HEAD: &[&str] =
    &["name", "baseline", "objective", "ttft_is", "max_tokens", "gpu_total_mib", "off_means", "criteria", "n", "rows"];

/// What the head of a table says beside its rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    pub(super) name: Option<String>,
    pub(super) baseline: Option<String>,
    pub(super) objective: Option<String>,
    /// `e2e` or `first_token`.
    pub(super) ttft_is: Option<String>,
    /// Token limit of each answer.
    pub(super) max_tokens: Option<f64>,
    /// Memory of one GPU, MiB.
    pub(super) gpu_total_mib: Option<f64>,
    /// `left_out` or `no_flag`: what a `false` was on the command line.
    pub(super) off_means: Option<String>,
    /// Conditions such as `ttft_miss_ms <= 2193.6`.
    pub(super) criteria: Vec<String>,
    /// Samples behind each figure, where no row says otherwise.
    pub(super) n: Option<u64>,
}

/// Whether a JSON text is a list of configs to be measured, not of results.
#[must_use]
pub fn is_grid(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|json| json.get("configs").is_some_and(Value::is_array))
}

/// Reads the text of a result file; `name` names the table when it does not name itself.
///
/// # Errors
/// It is neither of the known formats, or a column, row or value cannot be understood: all of them are said.
pub fn read(name: &str, text: &str) -> Result<ForeignTable, Diagnostics> {
    let trimmed = text.trim_start_matches('\u{feff}').trim_start();
    let (head, rows) = if trimmed.starts_with('{') || trimmed.starts_with('[') {
        let json: Value = serde_json::from_str(trimmed).map_err(|error| {
            let message = format!("this is no valid JSON: {error}");
            Diagnostics::from(Diagnostic::error("json-syntax", message).help("check the file at that line and column"))
        })?;
        if let Some(table) = vllm_bench::read(name, &json)? {
            return Ok(table);
        }
        json_table(&json)?
    } else {
        let (head, rows) = csv_table(trimmed)?;
        // What pandas wrote of a sweep; its columns are those of the JSON.
        let runs = rows.iter().map(|cells| Value::Object(cells.iter().map(from_pandas).collect())).collect();
        if let Some(table) = vllm_bench::read(name, &Value::Array(runs))? {
            return Ok(table);
        }
        (head, rows)
    };
    let mut problems = Vec::new();
    let mut table = ForeignTable {
        name: head.name.clone().unwrap_or_else(|| name.to_owned()),
        kind: ForeignKind::Table,
        baseline: head.baseline.clone(),
        objective: head.objective.clone(),
        rows: Vec::new(),
        doubts: Vec::new(),
    };
    for (number, cells) in rows.iter().enumerate() {
        match row(cells, &head) {
            Ok(row) => table.rows.push(row),
            Err(why) => problems.push(Diagnostic::error("bad-row", format!("row {}: {why}", number + 1))),
        }
    }
    if table.rows.is_empty() && problems.is_empty() {
        problems.push(Diagnostic::error("no-rows", "the table has no rows"));
    }
    let named = |name: &String| table.rows.iter().any(|row| row.config == *name);
    if let Some(baseline) = table.baseline.as_ref().filter(|b| !named(b) && problems.is_empty()) {
        problems.push(Diagnostic::error("unknown-baseline", format!("the table has no row `{baseline}`")));
    }
    if !problems.is_empty() {
        return Err(Diagnostics(problems));
    }
    table.doubts = judge::doubts(&table, &head)?;
    Ok(table)
}

type Cells = Vec<(String, Value)>;

fn json_table(json: &Value) -> Result<(Head, Vec<Cells>), Diagnostics> {
    let (object, rows) = match json {
        Value::Array(rows) => (Map::new(), rows.clone()),
        Value::Object(object) => {
            let rows = object.get("rows").and_then(Value::as_array).cloned().ok_or_else(|| {
                Diagnostics::from(
                    Diagnostic::error("no-rows", "the JSON has neither `configs` (a grid) nor `rows` (results)")
                        .help("results look like { \"rows\": [ { \"name\": ..., \"ttft_miss_ms\": ... } ] }; see docs/import.md"),
                )
            })?;
            (object.clone(), rows)
        }
        _ => (Map::new(), Vec::new()),
    };
    let head = head(object.iter().filter(|(key, _)| *key != "rows").map(|(k, v)| (k.clone(), v.clone())))?;
    let cells = rows.iter().map(|row| {
        let cells = row.as_object().map(|o| o.iter().map(|(k, v)| (k.clone(), v.clone())).collect());
        cells.ok_or_else(|| Diagnostics::from(Diagnostic::error("bad-row", "a row of the JSON is no object")))
    });
    Ok((head, cells.collect::<Result<_, _>>()?))
}

fn csv_table(text: &str) -> Result<(Head, Vec<Cells>), Diagnostics> {
    let mut entries = Vec::new();
    let mut rest = text;
    while let Some(line) = rest.strip_prefix('#') {
        let (line, after) = line.split_once('\n').unwrap_or((line, ""));
        if let Some((key, value)) = line.split_once(':') {
            entries.push((key.trim().to_owned(), Value::String(value.trim().to_owned())));
        }
        rest = after;
    }
    let broken = |error: csv::Error| {
        Diagnostics::from(Diagnostic::error("csv-syntax", format!("this is no valid CSV: {error}")))
    };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(rest.as_bytes());
    let columns = reader.headers().map_err(broken)?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(broken)?;
        let cells = columns.iter().zip(record.iter()).filter(|(_, cell)| !cell.is_empty());
        rows.push(cells.map(|(c, cell)| (c.to_owned(), Value::String(cell.to_owned()))).collect());
    }
    Ok((head(entries.into_iter())?, rows))
}

/// A cell as the JSON that pandas wrote it from.
fn from_pandas((column, cell): &(String, Value)) -> (String, Value) {
    let text = text_of(cell);
    let value = match text.as_str() {
        "True" => Value::Bool(true),
        "False" => Value::Bool(false),
        list if list.starts_with('[') => Value::Array(Vec::new()),
        number => serde_json::from_str::<serde_json::Number>(number).map_or_else(|_| cell.clone(), Value::Number),
    };
    (column.clone(), value)
}

fn head(entries: impl Iterator<Item = (String, Value)>) -> Result<Head, Diagnostics> {
    let mut head = Head::default();
    let mut problems = Vec::new();
    for (key, value) in entries {
        let text = text_of(&value);
        let mut wrong = |allowed: &str| {
            problems.push(Diagnostic::error("bad-head", format!("`{key}` is `{text}`; allowed: {allowed}")));
        };
        match key.as_str() {
            "name" => head.name = Some(text),
            "baseline" => head.baseline = Some(text),
            "objective" if FIGURES.iter().any(|(name, _)| *name == text) => head.objective = Some(text),
            "objective" => wrong(&FIGURES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")),
            "ttft_is" if ["e2e", "first_token"].contains(&text.as_str()) => head.ttft_is = Some(text),
            "ttft_is" => wrong("e2e, first_token"),
            "off_means" if ["left_out", "no_flag"].contains(&text.as_str()) => head.off_means = Some(text),
            "off_means" => wrong("left_out, no_flag"),
            "max_tokens" => match text.parse() {
                Ok(n) => head.max_tokens = Some(n),
                Err(_) => wrong("a number"),
            },
            "gpu_total_mib" => match text.parse() {
                Ok(n) => head.gpu_total_mib = Some(n),
                Err(_) => wrong("a number"),
            },
            "n" => match text.parse() {
                Ok(n) => head.n = Some(n),
                Err(_) => wrong("a whole number"),
            },
            "criteria" => match &value {
                Value::Array(items) => head.criteria.extend(items.iter().map(text_of)),
                _ => head.criteria.extend(text.split(';').map(|c| c.trim().to_owned())),
            },
            other => {
                let near = did_you_mean(other, HEAD.iter().copied());
                let help =
                    near.map_or_else(|| format!("allowed: {}", HEAD.join(", ")), |n| format!("did you mean `{n}`?"));
                problems
                    .push(Diagnostic::error("unknown-key", format!("the head of a table has no `{other}`")).help(help));
            }
        }
    }
    if problems.is_empty() { Ok(head) } else { Err(Diagnostics(problems)) }
}

fn row(cells: &Cells, head: &Head) -> Result<ForeignRow, String> {
    let mut row = ForeignRow { n: head.n, ..ForeignRow::default() };
    for (column, value) in cells {
        let text = text_of(value);
        let column = column.trim();
        if matches!(value, Value::Null) || text == "-" || text == "–" {
            continue;
        }
        match column {
            "name" | "config" => {
                // A star behind a name is how people mark an estimate.
                row.estimated |= text.ends_with('*');
                row.config = text.trim_end_matches('*').trim().to_owned();
            }
            "estimated" => {
                row.estimated |= truth(&text).ok_or_else(|| format!("`estimated` is `{text}`, not true or false"))?
            }
            "n" => row.n = Some(text.parse().map_err(|_| format!("`n` is `{text}`, not a whole number"))?),
            "remark" => {
                row.remarks.insert(column.to_owned(), text);
            }
            _ => match FIGURES.iter().find(|(name, _)| *name == column) {
                Some((name, direction)) => {
                    let value = text.parse().ok().filter(|v: &f64| v.is_finite());
                    let value = value.ok_or_else(|| format!("`{column}` is `{text}`, not a number"))?;
                    row.figures.push(ForeignFigure { name: (*name).to_owned(), value, direction: Some(*direction) });
                }
                None => setting(column, &text, head, &mut row.settings)?,
            },
        }
    }
    if row.config.is_empty() {
        return Err("it has no `name`".to_owned());
    }
    if row.figures.is_empty() {
        return Err(format!("`{}` has no figure", row.config));
    }
    Ok(row)
}

/// A column that is a flag. A `false` that was a flag left out is the engine's own default.
fn setting(column: &str, text: &str, head: &Head, settings: &mut Settings) -> Result<(), String> {
    let flag = SETTINGS.iter().find(|(short, _)| *short == column).map_or(column, |(_, flag)| flag);
    let name = FlagName::new(flag);
    if known_flag(name.as_str()).is_none() {
        let all = FIGURES.iter().map(|(name, _)| *name).chain(SETTINGS.iter().map(|(short, _)| *short)).chain([
            "name",
            "n",
            "estimated",
            "remark",
        ]);
        let near = did_you_mean(column, all);
        let help = near
            .map_or_else(|| "docs/import.md lists the columns".to_owned(), |near| format!("did you mean `{near}`?"));
        return Err(format!("`{column}` is neither a figure nor a flag of vLLM; {help}"));
    }
    let value = match truth(text) {
        Some(true) if text.parse::<f64>().is_err() => FlagValue::On,
        Some(false) if text.parse::<f64>().is_err() => {
            if head.off_means.as_deref() == Some("no_flag") {
                FlagValue::Off
            } else {
                FlagValue::Default
            }
        }
        Some(_) | None => FlagValue::Value(text.to_owned()),
    };
    settings.flags.insert(name, value);
    Ok(())
}

fn truth(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "t" | "true" | "on" | "yes" | "1" => Some(true),
        "f" | "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// A cell as text.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Settings as a comparable text: the engine's default where vLLM V1 has one that is `on`.
pub(super) fn engine_of(settings: &Settings) -> BTreeMap<String, String> {
    let mut facts: BTreeMap<String, String> =
        settings.flags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    for on_by_default in ["enable-prefix-caching", "enable-chunked-prefill"] {
        let value = facts.entry(on_by_default.to_owned()).or_insert_with(|| "on".to_owned());
        if value == "default" {
            "on".clone_into(value);
        }
    }
    facts.retain(|_, value| value != "default");
    facts
}

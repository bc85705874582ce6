//! A foreign list of configs in JSON becomes a grid: states explicit, predictions as hypotheses, criteria as gates.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::{SuiteRef, Variables, lint, parse};
use crate::domain::{Diagnostic, Diagnostics, FlagKind, FlagName, Settings, known_flag};

/// A grid made from a foreign file.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The grid's text; [`super::parse()`] reads it.
    pub yaml: String,
    /// What the author should look at.
    pub warnings: Diagnostics,
}

/// Metric of "time to first token without a cached prefix".
const MISS: &str = "kv_cache.ttft_miss_ms.p50";
/// Metric of "time to first token with a cached prefix".
const HIT: &str = "kv_cache.ttft_hit_ms.p50";
/// Metric of miss over hit.
const ACCELERATION: &str = "kv_cache.acceleration_ratio";

/// Foreign names of settings and the flags that they mean.
const NAMES: &[(&str, &str)] = &[
    ("gpu_memory", "gpu-memory-utilization"),
    ("prefix_caching", "enable-prefix-caching"),
    ("chunked_prefill", "enable-chunked-prefill"),
];

/// Foreign names of predictions and the metrics that they mean.
const EXPECTED: &[(&str, &str)] =
    &[("expected_ttft_miss_ms", MISS), ("expected_ttft_hit_ms", HIT), ("expected_acceleration", ACCELERATION)];

/// Reads the JSON of a hand-made grid search: `configs`, `baseline_metrics`, `success_criteria`, `test_phases`.
///
/// Booleans become `on` and `off`, null becomes `default`, `expected_*` become hypotheses, criteria become gates relative to the
/// measured baseline. The deployment is a placeholder: such a file names none.
///
/// # Errors
/// The text is no JSON object with `configs`, or a config has no name or a value that no flag can have.
pub fn import_json(text: &str) -> Result<Imported, Diagnostics> {
    let json: Value = serde_json::from_str(text).map_err(|error| {
        let message = format!("this is no valid JSON: {error}");
        Diagnostics::from(Diagnostic::error("json-syntax", message).help("check the file at that line and column"))
    })?;
    let configs = json.get("configs").and_then(Value::as_array).ok_or_else(|| {
        let error = Diagnostic::error("no-configs", "the JSON has no list `configs`");
        Diagnostics::from(error.help("an importable file looks like { \"configs\": [ { \"name\": ... } ] }"))
    })?;
    let mut import = Import { yaml: String::new(), warnings: Diagnostics::default(), errors: Diagnostics::default() };
    import.head(&json);
    import.configs(configs, &phases(&json));
    import.tail(&json, configs);
    if import.errors.has_errors() {
        return Err(import.errors);
    }
    let file = Path::new("imported.yaml");
    // An error here is a value that no grid may have; its message shows it in the text that was made.
    let grid = parse(file, &import.yaml).and_then(|grid| grid.interpolated(&Variables::new()))?;
    import.warnings.0.extend(grid.warnings.0.iter().cloned());
    if let SuiteRef::Inline(suite) = &grid.suite {
        import.warnings.0.extend(lint(&grid, suite, &Settings::default()).0);
    }
    Ok(Imported { yaml: import.yaml, warnings: import.warnings })
}

struct Import {
    yaml: String,
    warnings: Diagnostics,
    errors: Diagnostics,
}

impl Import {
    fn line(&mut self, text: impl AsRef<str>) {
        self.yaml.push_str(text.as_ref());
        self.yaml.push('\n');
    }

    fn warn(&mut self, code: &str, message: String, help: &str) {
        self.warnings.push(Diagnostic::warning(code, message).help(help));
    }

    fn head(&mut self, json: &Value) {
        self.line("# Made by `vgrid import` from a JSON list of configs.");
        self.line("name: imported");
        self.line("deployment:");
        self.line("  compose: [compose.yml]   # name your own Compose files");
        self.line("  service: vllm            # and the service that runs vLLM");
        self.line("  after: restore");
        let help = "set `deployment.compose` and `deployment.service` in the grid";
        self.warn(
            "placeholder-deployment",
            "the JSON names no deployment; the grid has a placeholder".to_owned(),
            help,
        );
        let known = ["configs", "baseline_metrics", "success_criteria", "test_phases"];
        for key in json.as_object().into_iter().flat_map(Map::keys).filter(|key| !known.contains(&key.as_str())) {
            self.warn("not-imported", format!("`{key}` of the JSON is not imported"), "add what it means by hand");
        }
    }

    fn configs(&mut self, configs: &[Value], phases: &[(String, String, Vec<String>)]) {
        self.line(
            "# Three states, all explicit: in vLLM V1 a flag that is left out has its default, and that may be `on`.",
        );
        self.line("configs:");
        if configs.is_empty() {
            self.yaml.truncate(self.yaml.len() - 1);
            self.line(" []");
        }
        let mut order: Vec<&Value> = configs.iter().collect();
        let priority = |config: &&Value| config.get("priority").and_then(Value::as_f64).unwrap_or(f64::MAX);
        order.sort_by(|a, b| priority(a).total_cmp(&priority(b)));
        let mut phase = "";
        for config in order {
            let Some(config) = config.as_object() else {
                self.errors.push(
                    Diagnostic::error("bad-config", format!("an item of `configs` is no object: {config}"))
                        .help("each config is an object with a name"),
                );
                continue;
            };
            let Some(name) = config.get("name").and_then(Value::as_str) else {
                self.errors.push(Diagnostic::error("bad-config", "a config has no `name`").help("give it one"));
                continue;
            };
            if let Some((id, title, _)) = phases.iter().find(|(_, _, names)| names.iter().any(|n| n == name))
                && id != phase
            {
                phase = id;
                self.line(format!("  # {}: {}", one_line(id), one_line(title)));
            }
            self.config(name, config);
        }
    }

    fn config(&mut self, name: &str, config: &Map<String, Value>) {
        self.line(format!("  - name: {}", quoted(name)));
        if let Some(text) = config.get("description").and_then(Value::as_str).filter(|text| !text.trim().is_empty()) {
            self.line(format!("    description: {}", quoted(text)));
        }
        let mut flags = Vec::new();
        let mut expected = Vec::new();
        for (key, value) in config {
            match key.as_str() {
                "name" | "description" | "priority" => {}
                other => {
                    if let Some((_, metric)) = EXPECTED.iter().find(|(foreign, _)| *foreign == other) {
                        expected.extend(value.as_f64().map(|number| format!("{metric}: {number}")));
                    } else if other.starts_with("expected_") {
                        let message = format!("`{other}` of `{name}` is not imported: no metric has that meaning");
                        self.warn("not-imported", message, "add it to `expected` by hand, under a metric's path");
                    } else {
                        flags.extend(self.flag(name, other, value));
                    }
                }
            }
        }
        if !flags.is_empty() {
            self.line(format!("    flags: {{ {} }}", flags.join(", ")));
        }
        if !expected.is_empty() {
            self.line(format!("    expected: {{ {} }}", expected.join(", ")));
        }
    }

    fn flag(&mut self, config: &str, key: &str, value: &Value) -> Option<String> {
        let mapped = NAMES.iter().find(|(foreign, _)| *foreign == key).map(|(_, flag)| *flag);
        let name = FlagName::new(mapped.unwrap_or(key));
        let Some(known) = known_flag(name.as_str()) else {
            let message = format!("`{key}` of `{config}` is not imported: vgrid knows no flag of that name");
            self.warn("not-imported", message, "add it under `flags` by hand if vLLM has it");
            return None;
        };
        let text = match value {
            Value::Null => "default".to_owned(),
            Value::Bool(true) => "on".to_owned(),
            Value::Bool(false) => "off".to_owned(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => quoted(text),
            // JSON is YAML; a flag that takes none is refused when the grid is read.
            Value::Array(_) | Value::Object(_) => value.to_string(),
        };
        if value.is_boolean() && !matches!(known.kind, FlagKind::Toggle | FlagKind::Switch) {
            let message = format!("`{key}` of `{config}` is {value}, and `{name}` takes a value");
            self.errors
                .push(Diagnostic::error("value-needed", message).help("write its value, or null for the default"));
        }
        Some(format!("{name}: {text}"))
    }

    fn tail(&mut self, json: &Value, configs: &[Value]) {
        if let Some(baseline) = baseline(json, configs) {
            self.line(format!("baseline: {}", quoted(baseline)));
        }
        self.line("order: as_written   # the configs stand in the order of their priorities");
        self.line("suite: quick");
        self.gates(json);
        self.line("objectives:");
        self.line(format!("  ttft_hit: minimize {HIT}"));
        self.line(format!("  ttft_miss: minimize {MISS}"));
        self.line(format!("  acceleration: maximize {ACCELERATION}"));
        for (id, title, notes) in notes(json) {
            self.line(format!("# {}: {}", one_line(&id), one_line(&title)));
            for note in notes {
                self.line(format!("#   {}", one_line(&note)));
            }
        }
    }

    fn gates(&mut self, json: &Value) {
        let Some(criteria) = json.get("success_criteria").and_then(Value::as_object) else { return };
        if let Some(metrics) = json.get("baseline_metrics").and_then(Value::as_object) {
            let figures: Vec<String> = metrics.iter().map(|(name, value)| format!("{name} {value}")).collect();
            let figures = one_line(&figures.join(", "));
            self.line(format!(
                "# The file recorded for its baseline: {figures}. The gates compare with the baseline of this sweep."
            ));
        }
        let mut gates = String::new();
        for (name, value) in criteria {
            let gate = value.as_f64().and_then(|number| gate(name, number));
            match gate {
                Some(gate) => {
                    let _ = writeln!(gates, "  - {gate}   # {name}: {value}");
                }
                None => {
                    let message = format!("the criterion `{name}` is not imported");
                    self.warn("not-imported", message, "write it under `gates` by hand");
                }
            }
        }
        if !gates.is_empty() {
            self.line("gates:");
            self.yaml.push_str(&gates);
        }
    }
}

/// A criterion as a gate. Percentages are relative to the baseline, the gain is that of a hit over a miss.
fn gate(name: &str, number: f64) -> Option<String> {
    let share = |percent: f64| (percent * 1e6).round() / 1e8;
    Some(match name {
        "ttft_miss_max_increase_pct" => format!("{MISS} <= {} * baseline.{MISS}", 1.0 + share(number)),
        "ttft_hit_min_decrease_pct" => format!("{HIT} <= {} * baseline.{HIT}", round(1.0 - share(number))),
        "cache_acceleration_min" => format!("{ACCELERATION} >= {number}"),
        "gain_percentage_min" => format!("{HIT} <= {} * {MISS}", round(1.0 - share(number))),
        _ => return None,
    })
}

fn round(number: f64) -> f64 {
    (number * 1e8).round() / 1e8
}

/// The config that predicts the recorded baseline, else the one that is called so, else the first by priority.
fn baseline<'j>(json: &Value, configs: &'j [Value]) -> Option<&'j str> {
    let name = |config: &'j Value| config.get("name").and_then(Value::as_str);
    let recorded = json.pointer("/baseline_metrics/ttft_miss_ms").and_then(Value::as_f64);
    let predicts =
        |config: &&Value| recorded.is_some() && config.get("expected_ttft_miss_ms").and_then(Value::as_f64) == recorded;
    let priority = |config: &&Value| config.get("priority").and_then(Value::as_f64).unwrap_or(f64::MAX);
    let called = |config: &&'j Value| name(config).is_some_and(|name| name.contains("baseline"));
    let mut matching = configs.iter().filter(predicts);
    let only = matching.next().filter(|_| matching.next().is_none());
    only.or_else(|| configs.iter().find(called))
        .or_else(|| configs.iter().min_by(|a, b| priority(a).total_cmp(&priority(b))))
        .and_then(name)
}

/// Phases in the file's order: id, title, names of their configs.
fn phases(json: &Value) -> Vec<(String, String, Vec<String>)> {
    let text = |phase: &Value, key: &str| phase.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let names = |phase: &Value| {
        let list = phase.get("configs").and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let phases = json.get("test_phases").and_then(Value::as_object).into_iter().flatten();
    phases.map(|(id, phase)| (id.clone(), text(phase, "name"), names(phase))).collect()
}

/// What the phases say beyond their order: conditions for a person, kept as comments.
fn notes(json: &Value) -> Vec<(String, String, Vec<String>)> {
    let phases = json.get("test_phases").and_then(Value::as_object).into_iter().flatten();
    let all = phases.map(|(id, phase)| {
        let title = phase.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let rest = phase.as_object().into_iter().flatten();
        let rest = rest.filter(|(key, _)| !matches!(key.as_str(), "name" | "configs" | "priority_range"));
        let lines = rest
            .map(|(key, value)| format!("{key}: {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
        (id.clone(), title, lines.collect::<Vec<_>>())
    });
    all.filter(|(_, _, lines)| !lines.is_empty()).collect()
}

/// A text as a YAML double-quoted scalar (JSON's form is one), or plain where that is safe.
fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && !matches!(text.to_lowercase().as_str(), "null" | "true" | "false" | "on" | "off" | "default");
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

//! Comparing what runs: with what was asked for, with other configs, with another run.

use std::collections::BTreeMap;

use super::canonical::same_value;
use crate::domain::{FlagKind, FlagValue, Mismatch, Redactor, ResolvedConfig, Settings, known_flag};

/// Settings whose asked-for and printed form cannot be compared as text, or that speak to the HTTP server only.
const NOT_COMPARED: &[&str] = &["host", "port", "api-key", "model", "served-model-name"];

/// Facts that do not make two engines different: names, places, what was measured, what was typed.
const NOT_OF_THE_ENGINE: &[&str] = &[
    "argv",
    "host",
    "port",
    "api-key",
    "served-model-name",
    "model_id",
    "num_gpu_blocks",
    "num_cpu_blocks",
    "uvicorn-log-level",
    "disable-uvicorn-access-log",
    "disable-log-requests",
    "enable-log-requests",
    "disable-log-stats",
    "disable-fastapi-docs",
    "root-path",
    "max-log-len",
    "auto_fit_max_model_len",
    "env.HOSTNAME",
    "env.VLLM_LOGGING_LEVEL",
    "env.VLLM_PORT",
    "env.VLLM_API_KEY",
    "image",
];

/// Where the engine says something else than was asked for. Only settings on which it says something count.
#[must_use]
pub fn mismatches(requested: &Settings, resolved: &ResolvedConfig) -> Vec<Mismatch> {
    let mut found = Vec::new();
    for (name, value) in &requested.flags {
        let name = name.as_str();
        let asked = match value {
            FlagValue::Default => continue,
            FlagValue::On | FlagValue::Off | FlagValue::Value(_) | FlagValue::Many(_) => value.to_string(),
        };
        if Redactor::is_secret_name(name) {
            continue;
        }
        let json = known_flag(name).is_some_and(|k| k.kind == FlagKind::Json) || asked.starts_with('{');
        let Some(says) = resolved.get(name) else { continue };
        if NOT_COMPARED.contains(&name) || (json && says != "none") {
            continue;
        }
        if !same_value(name, &asked, says) {
            let requested = Redactor::shown(name, &asked).into_owned();
            found.push(Mismatch { name: name.to_owned(), requested, resolved: says.to_owned() });
        }
    }
    found
}

/// Groups of configs (two or more) that resolve to the same engine, in the order of their first members.
///
/// A config on which the engine said nothing is nobody's twin.
#[must_use]
pub fn twins(configs: &[(&str, &ResolvedConfig)]) -> Vec<Vec<String>> {
    let mut groups: Vec<(BTreeMap<&str, String>, Vec<String>)> = Vec::new();
    for (name, config) in configs {
        let facts = engine_facts(config);
        // The image and environment alone do not say how the engine runs.
        if !config.facts.contains_key("max-model-len") {
            continue;
        }
        match groups.iter_mut().find(|(known, _)| *known == facts) {
            Some((_, names)) => names.push((*name).to_owned()),
            None => groups.push((facts, vec![(*name).to_owned()])),
        }
    }
    groups.into_iter().map(|(_, names)| names).filter(|names| names.len() > 1).collect()
}

/// Whether a fact of this name makes an engine what it is; names, places and what was measured do not.
#[must_use]
pub fn speaks_of_the_engine(name: &str) -> bool {
    !NOT_OF_THE_ENGINE.contains(&name)
}

/// The facts that make an engine what it is, values in canonical form.
fn engine_facts(config: &ResolvedConfig) -> BTreeMap<&str, String> {
    let of_engine = config.facts.iter().filter(|(name, _)| speaks_of_the_engine(name));
    of_engine.map(|(name, fact)| (name.as_str(), super::canonical::canonical(name, &fact.value))).collect()
}

/// The facts of the engine in which two configs differ, by name: what makes two engines different, names and places apart. A
/// fact that only one of them states counts.
#[must_use]
pub fn diff(a: &ResolvedConfig, b: &ResolvedConfig) -> Vec<(String, Option<String>, Option<String>)> {
    let (left, right) = (engine_facts(a), engine_facts(b));
    let names: std::collections::BTreeSet<&str> = left.keys().chain(right.keys()).copied().collect();
    let differ = names.into_iter().filter(|name| left.get(name) != right.get(name));
    differ.map(|name| (name.to_owned(), left.get(name).cloned(), right.get(name).cloned())).collect()
}

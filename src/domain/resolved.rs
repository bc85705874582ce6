//! What the engine really runs with, read back after its start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text_enum::text_enum;

text_enum! {
    /// Where a fact was read.
    pub enum FactSource {
        /// The start-up log.
        Log = "log",
        /// `/metrics`.
        Metrics = "metrics",
        /// `/version` or `/v1/models`.
        Api = "api",
        /// `docker inspect` or the process table.
        Inspect = "inspect",
    }
}

/// One fact about the running engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Its value as text; booleans as `on` and `off`.
    pub value: String,
    /// Where it was read.
    pub source: FactSource,
}

/// What the engine says of itself. What it does not say is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResolvedConfig {
    /// Settings, by canonical flag name where one exists (`enable-prefix-caching`, `max-model-len`), else by the engine's own
    /// snake-case name (`engine_version`, `num_gpu_blocks`).
    pub facts: BTreeMap<String, Fact>,
    /// Start-up figures, unit last: `weights_gib`, `weights_load_s`, `kv_cache_gib`, `kv_cache_tokens`,
    /// `max_concurrency_ratio`, `compile_s`, `graph_capture_s`, `graph_capture_gib`, `engine_init_s`.
    pub figures: BTreeMap<String, f64>,
}

impl ResolvedConfig {
    /// The figure that tells how many tokens the KV cache holds.
    pub const KV_CACHE_TOKENS: &str = "kv_cache_tokens";

    /// The value of a fact.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.facts.get(name).map(|f| f.value.as_str())
    }
}

/// A difference between what was asked for and what runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// The setting, by canonical flag name.
    pub name: String,
    /// What the config asked for.
    pub requested: String,
    /// What the engine says.
    pub resolved: String,
}

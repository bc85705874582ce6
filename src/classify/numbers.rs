//! The numbers of a failure: those of its own lines, and the start-up figures that led to it.

use std::collections::BTreeMap;

use super::rule::Rule;
use super::view::LogView;
use crate::domain::{Cause, ExitFacts, LogLevel, leading_number, scan_numbers};

/// Start-up figures of vLLM 0.6 to 0.32; the first match of a key counts.
const FIGURES: &[&str] = &[
    "Model loading took {model_loading_gib} GiB memory and {model_loading_s} seconds",
    "Model loading took {model_loading_gib} GiB and {model_loading_s} seconds",
    "Loading model weights took {weights_gb} GB",
    "Loading weights took {weights_loading_s} seconds",
    "Checkpoint size: {checkpoint_gib} GiB",
    "Available RAM: {available_ram_gib} GiB",
    "Available KV cache memory: {kv_available_gib} GiB",
    "KV cache size: {kv_cache_tokens} tokens",
    "Maximum concurrency for {max_model_len} tokens per request: {max_concurrency_x}x",
    "# GPU blocks: {gpu_blocks},",
    "# cuda blocks: {gpu_blocks},",
    "torch.compile takes {torch_compile_s} s",
    "torch.compile took {torch_compile_s} s",
    "Graph capturing finished in {graph_capture_s} secs, took {graph_capture_gib} GiB",
    "Graph capturing finished in {graph_capture_s} secs",
    "init engine (profile, create kv cache, warmup model) took {init_engine_s} s",
    "Estimated CUDA graph memory: {cuda_graph_estimate_gib} GiB",
    "Explicitly set ({kv_set_gib}/{node_total_gib}) GiB for KV cache",
    "total_gpu_memory={total_gib}GiB",
    "kv_cache_size={kv_cache_gib}GiB gpu_memory_utilization={gpu_memory_utilization}",
    "max_seq_len={max_model_len},",
    "'max_model_len': {max_model_len}",
    "'gpu_memory_utilization': {gpu_memory_utilization}",
    "'kv_cache_memory_bytes': {kv_cache_memory_bytes}",
    "tensor_parallel_size={tensor_parallel_size},",
    "'tensor_parallel_size': {tensor_parallel_size}",
];

/// Figures that a later line replaces.
const LATEST: &[&str] = &["placement group of specs for {waited_s} seconds", "SystemExit: {signal}"];

/// Where the port stands in the arguments.
const PORTS: &[&str] = &["'port': {port}", "--port {port}", "--port={port}", ", port={port},", "(port={port},"];

/// Lines before and behind the deciding one that belong to the same message.
const MESSAGE_BEFORE: usize = 40;
const MESSAGE_BEHIND: usize = 60;

/// All numbers for a failure that `rule` decided at line `at`, or only the start-up figures.
pub fn collect(view: &LogView<'_>, decided: Option<(&Rule, usize)>) -> BTreeMap<String, f64> {
    let mut numbers = BTreeMap::new();
    if let Some((rule, at)) = decided {
        own_numbers(view, rule, at, &mut numbers);
        if rule.cause == Cause::PortInUse {
            keep_first(view, PORTS, &mut numbers, true);
        }
    }
    keep_first(view, FIGURES, &mut numbers, false);
    for line in &view.lines {
        for template in LATEST {
            numbers.extend(scan_numbers(&line.text, template).into_iter().flatten());
        }
    }
    numbers
}

/// The port, from Docker's message or the command line.
pub fn port_of(exit: &ExitFacts, argv: &[String], log: &str, numbers: &mut BTreeMap<String, f64>) {
    if numbers.contains_key("port") {
        return;
    }
    let in_message = exit.error.as_deref().and_then(|e| {
        e.match_indices(':').filter_map(|(i, _)| leading_number(&e[i + 1..])).map(|(n, _)| n).find(|n| *n > 1.0)
    });
    let in_argv =
        argv.iter().zip(argv.iter().skip(1)).find(|(flag, _)| *flag == "--port").and_then(|(_, v)| v.parse().ok());
    let in_log = || {
        ["--port {port}", "--port={port}", "'port': {port}"]
            .iter()
            .find_map(|t| scan_numbers(log, t)?.first().map(|n| n.1))
    };
    if let Some(port) = in_message.or(in_argv).or_else(in_log) {
        numbers.insert("port".to_owned(), port);
    }
}

/// The numbers of the message at line `at`: its own line first, then its neighbours.
fn own_numbers(view: &LogView<'_>, rule: &Rule, at: usize, numbers: &mut BTreeMap<String, f64>) {
    let behind = (at..view.lines.len()).take(MESSAGE_BEHIND);
    let before = at.saturating_sub(MESSAGE_BEFORE)..at;
    for i in behind.chain(before) {
        if i != at && !view.is_telling(i) {
            continue;
        }
        for (key, value) in rule.numbers_in(&view.lines[i]) {
            let key = field_name(view, i, key);
            numbers.entry(key).or_insert(value);
        }
    }
}

/// Pydantic names the field on the line before the complaint: `rejected_value` becomes `gpu_memory_utilization`.
fn field_name(view: &LogView<'_>, at: usize, key: String) -> String {
    let suffix = match key.as_str() {
        "rejected_value" => "",
        "value_max" => "_max",
        _ => return key,
    };
    let field = at.checked_sub(1).and_then(|i| view.lines.get(i)).map(|l| l.body().trim()).unwrap_or_default();
    let plain = !field.is_empty() && field.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    if plain { format!("{field}{suffix}") } else { key }
}

/// Adds the first match of each template; `any` level, or not of loud lines, which may speak of other things.
fn keep_first(view: &LogView<'_>, templates: &[&str], numbers: &mut BTreeMap<String, f64>, any: bool) {
    for line in view.lines.iter().filter(|l| any || l.level != LogLevel::Error) {
        for template in templates {
            for (key, value) in scan_numbers(&line.text, template).into_iter().flatten() {
                numbers.entry(key).or_insert(value);
            }
        }
    }
}

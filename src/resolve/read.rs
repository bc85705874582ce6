//! Reads what an engine says of itself: its log, `/metrics`, `/version`, `/v1/models`, `docker inspect`.

use serde_json::Value;

use super::pyrepr::{dict_pairs, group_length, keyword_pairs, plain_value};
use crate::domain::{
    Fact, FactSource, FlagName, LogLevel, LogLine, Redactor, ResolvedConfig, known_flag, last_boot, log_lines,
    scan_numbers,
};

/// Where the engine's own word is found. What is absent is not read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'s> {
    /// The start-up log, both streams, raw.
    pub log: &'s str,
    /// `/metrics`, Prometheus text.
    pub metrics: Option<&'s str>,
    /// `/version`.
    pub version: Option<&'s Value>,
    /// `/v1/models`.
    pub models: Option<&'s Value>,
    /// `docker inspect` of the container (an object or a list of one).
    pub inspect: Option<&'s Value>,
}

/// Bytes of a boot that are read; a start-up is far shorter.
const BOOT_BYTES: usize = 8 << 20;

/// Start-up figures of vLLM 0.6 to 0.32; the first match of a key counts.
const FIGURES: &[&str] = &[
    "Model loading took {weights_gib} GiB memory and {weights_load_s} seconds",
    "Model loading took {weights_gib} GiB and {weights_load_s} seconds",
    "Loading model weights took {weights_gib} GB",
    "Loading weights took {weights_load_s} seconds",
    "Checkpoint size: {checkpoint_gib} GiB",
    "Available KV cache memory: {kv_cache_gib} GiB",
    "Explicitly set ({kv_cache_gib}/{}) GiB for KV cache",
    "kv_cache_size={kv_cache_gib}GiB",
    "KV cache size: {kv_cache_tokens} tokens",
    "Maximum concurrency for {} tokens per request: {max_concurrency_ratio}x",
    "torch.compile takes {compile_s} s",
    "torch.compile took {compile_s} s",
    "Graph capturing finished in {graph_capture_s} secs, took {graph_capture_gib} GiB",
    "Graph capturing finished in {graph_capture_s} secs",
    "init engine (profile, create kv cache, warmup model) took {engine_init_s} s",
    "# GPU blocks: {num_gpu_blocks},",
    "# cuda blocks: {num_gpu_blocks},",
];

/// Names that one part of vLLM gives to what a flag calls otherwise.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("max_seq_len", "max-model-len"),
    ("chunked_prefill_enabled", "enable-chunked-prefill"),
    ("cache_dtype", "kv-cache-dtype"),
    ("kv_cache_size_tokens", ""),
    ("kv_cache_max_concurrency", ""),
    ("model_tag", ""),
    ("subparser", ""),
    ("dispatch_function", ""),
    ("engine", ""),
    ("_block_size_resolved", ""),
];

/// What is read of the engine.
#[must_use]
pub fn read(sources: &Sources<'_>) -> ResolvedConfig {
    let mut config = ResolvedConfig::default();
    // Later words win: what was asked for, then what the parts report, then the engine's own line.
    read_log(sources.log, &mut config);
    if let Some(models) = sources.models {
        read_models(models, &mut config);
    }
    if let Some(metrics) = sources.metrics {
        read_metrics(metrics, &mut config);
    }
    if let Some(version) = sources.version.and_then(|v| v.get("version")).and_then(Value::as_str) {
        put(&mut config, "engine_version", version, FactSource::Api);
    }
    if let Some(inspect) = sources.inspect {
        read_inspect(inspect.get(0).unwrap_or(inspect), &mut config);
    }
    config
}

fn put(config: &mut ResolvedConfig, name: &str, value: &str, source: FactSource) {
    let own = name.strip_prefix("env.").unwrap_or(name);
    // Whether there is one at all is nobody's business either.
    let value = if Redactor::is_secret_name(own) {
        Redactor::mask().to_owned()
    } else {
        Redactor::shown(own, value).into_owned()
    };
    config.facts.insert(name.to_owned(), Fact { value, source });
}

/// A printed setting under its canonical name.
fn put_printed(config: &mut ResolvedConfig, key: &str, printed: &str, is_flag: bool, source: FactSource) {
    let other = OTHER_NAMES.iter().find(|(name, _)| *name == key).map(|(_, flag)| *flag);
    if other == Some("") || (key.starts_with('_') && other.is_none()) {
        return;
    }
    let name = match other {
        Some(flag) => flag.to_owned(),
        None => {
            let flag = FlagName::new(key);
            if is_flag || known_flag(flag.as_str()).is_some() || config.facts.contains_key(flag.as_str()) {
                flag.as_str().to_owned()
            } else {
                key.to_owned()
            }
        }
    };
    // That the engine has none of these is a fact; that it has no value for other settings says nothing.
    let says_none =
        matches!(name.as_str(), "speculative-config" | "quantization") && printed.trim() == "None" && !is_flag;
    if let Some(value) = plain_value(printed).or_else(|| says_none.then(|| "none".to_owned())) {
        put(config, &name, &value, source);
    }
}

fn read_log(log: &str, config: &mut ResolvedConfig) {
    let (boot, _) = last_boot(log);
    let mut end = boot.len().min(BOOT_BYTES);
    while !boot.is_char_boundary(end) {
        end -= 1;
    }
    let mut engine_line: Option<String> = None;
    for line in log_lines(&boot[..end], 1) {
        if line.level == LogLevel::Error {
            continue;
        }
        read_figures(&line, config);
        if let Some(settings) = read_line(line.body(), config)
            && engine_line.is_none()
        {
            engine_line = Some(settings.to_owned());
        }
    }
    for (key, printed) in engine_line.as_deref().map(keyword_pairs).unwrap_or_default() {
        read_engine_setting(key, printed, config);
    }
}

fn read_figures(line: &LogLine<'_>, config: &mut ResolvedConfig) {
    for template in FIGURES {
        for (key, value) in scan_numbers(&line.text, template).into_iter().flatten() {
            if key == "num_gpu_blocks" {
                config
                    .facts
                    .entry(key)
                    .or_insert_with(|| Fact { value: format!("{value:.0}"), source: FactSource::Log });
            } else {
                config.figures.entry(key).or_insert(value);
            }
        }
    }
}

/// Reads one line; gives back the engine's settings where it is the line that prints them.
fn read_line<'b>(body: &'b str, config: &mut ResolvedConfig) -> Option<&'b str> {
    let mut say = |name: &str, value: &str| put(config, name, value, FactSource::Log);
    if let Some((_, rest)) = body.split_once("API server version ") {
        say("engine_version", rest.trim());
    } else if let Some((_, rest)) = body.split_once("█  version ") {
        say("engine_version", rest.trim());
    } else if let Some((_, rest)) = body.split_once("Resolved architecture: ") {
        say("architecture", rest.trim());
    } else if body.contains("Chunked prefill is enabled") {
        say("enable-chunked-prefill", "on");
        if let Some(found) = scan_numbers(body, "max_num_batched_tokens={max}")
            && let Some((_, value)) = found.first()
        {
            say("max-num-batched-tokens", &format!("{value:.0}"));
        }
    } else if let Some((_, rest)) = body.split_once("Asynchronous scheduling is ") {
        say("async-scheduling", if rest.starts_with("enabled") { "on" } else { "off" });
    } else if let Some(found) = scan_numbers(body, "Auto-fit max_model_len: reduced from {} to {max} ")
        && let Some((_, value)) = found.first()
    {
        say("auto_fit_max_model_len", &format!("{value:.0}"));
    } else if let Some((_, rest)) = body.split_once("Automatically detected platform ") {
        say("platform", rest.trim().trim_end_matches('.'));
    } else if let Some((_, rest)) = body.split_once("non-default args: ") {
        for (key, printed) in dict_pairs(rest) {
            put_printed(config, key, printed, true, FactSource::Log);
        }
    } else if let Some((_, rest)) = body.split_once("args: Namespace(") {
        for (key, printed) in keyword_pairs(&rest[..group_length(rest)]) {
            put_printed(config, key, printed, true, FactSource::Log);
        }
    } else if let Some((head, settings)) = body.split_once(" with config: ")
        && head.contains("Initializing a")
    {
        if let Some((version, _)) = head.split_once("(v").and_then(|(_, v)| v.split_once(')')) {
            say("engine_version", version);
        }
        say("engine", if head.contains(" V1 ") { "V1" } else { "V0" });
        return Some(settings);
    } else if let Some(backend) = attention_backend(body) {
        say("attention_backend", &backend);
    }
    None
}

/// `Using FLASH_ATTN attention backend out of ...`, `Using Flash Attention backend on V1 engine.`, `Using XFormers backend.`
fn attention_backend(body: &str) -> Option<String> {
    let rest = body.strip_prefix("Using ")?;
    let at = rest.find(" attention backend").or_else(|| rest.find(" backend"))?;
    let name = &rest[..at];
    let known = ["flash", "xformers", "triton", "torch", "flex", "mla", "rocm", "attn", "sdpa", "aiter", "pallas"];
    let lower = name.to_lowercase();
    (name.len() < 40 && known.iter().any(|k| lower.contains(k))).then(|| name.to_owned())
}

/// One setting of the engine's own line.
fn read_engine_setting(key: &str, printed: &str, config: &mut ResolvedConfig) {
    match key {
        // Long and full of places on disk; what it decides is read out of it.
        "compilation_config" => {
            let inner = dict_pairs(printed);
            for wanted in [
                "mode",
                "level",
                "cudagraph_mode",
                "max_cudagraph_capture_size",
                "max_capture_size",
                "cudagraph_capture_sizes",
                "backend",
            ] {
                if let Some((_, value)) = inner.iter().find(|(k, _)| *k == wanted)
                    && let Some(value) = plain_value(value)
                {
                    put(config, &format!("compilation_{wanted}"), &value, FactSource::Log);
                }
            }
        }
        "observability_config" | "download_dir" | "served_model_name" => {}
        _ => put_printed(config, key, printed, false, FactSource::Log),
    }
}

fn read_models(models: &Value, config: &mut ResolvedConfig) {
    let Some(model) = models.get("data").and_then(|d| d.get(0)) else { return };
    if let Some(id) = model.get("id").and_then(Value::as_str) {
        put(config, "model_id", id, FactSource::Api);
    }
    if let Some(length) = model.get("max_model_len").and_then(Value::as_i64) {
        put(config, "max-model-len", &length.to_string(), FactSource::Api);
    }
}

/// The labels of `vllm:cache_config_info`.
fn read_metrics(metrics: &str, config: &mut ResolvedConfig) {
    let Some(labels) = metrics.lines().find_map(|l| l.strip_prefix("vllm:cache_config_info{")) else { return };
    for (key, printed) in keyword_pairs(&labels[..group_length(labels)]) {
        match key {
            "kv_cache_size_tokens" => figure(config, ResolvedConfig::KV_CACHE_TOKENS, printed),
            "kv_cache_max_concurrency" => figure(config, "max_concurrency_ratio", printed),
            _ => put_printed(config, key, printed, false, FactSource::Metrics),
        }
    }
    // Engines before `kv_cache_size_tokens` say how many blocks there are, of how many tokens.
    let number = |name: &str| config.get(name).and_then(|value| value.parse::<f64>().ok());
    if let (Some(blocks), Some(tokens)) = (number("num_gpu_blocks"), number("block-size")) {
        config.figures.entry(ResolvedConfig::KV_CACHE_TOKENS.to_owned()).or_insert(blocks * tokens);
    }
}

fn figure(config: &mut ResolvedConfig, name: &str, printed: &str) {
    if let Some(value) = plain_value(printed).and_then(|v| v.parse::<f64>().ok()).filter(|v| v.is_finite()) {
        config.figures.entry(name.to_owned()).or_insert(value);
    }
}

fn read_inspect(inspect: &Value, config: &mut ResolvedConfig) {
    let text = |path: &str| inspect.pointer(path).and_then(Value::as_str);
    for (path, name) in [("/Image", "image_digest"), ("/Config/Image", "image"), ("/HostConfig/IpcMode", "ipc_mode")] {
        if let Some(value) = text(path).filter(|v| !v.is_empty()) {
            put(config, name, value, FactSource::Inspect);
        }
    }
    for (path, name) in [("/HostConfig/ShmSize", "shm_size_bytes"), ("/HostConfig/Memory", "memory_limit_bytes")] {
        if let Some(value) = inspect.pointer(path).and_then(Value::as_i64).filter(|v| *v > 0) {
            put(config, name, &value.to_string(), FactSource::Inspect);
        }
    }
    let words = |path: &str| {
        let list = inspect.pointer(path).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut argv: Vec<String> = text("/Path").map(str::to_owned).into_iter().collect();
    argv.extend(words("/Args"));
    if !argv.is_empty() {
        put(config, "argv", &shell_words::join(Redactor::shown_words(&argv)), FactSource::Inspect);
    }
    for entry in words("/Config/Env") {
        if let Some((name, value)) = entry.split_once('=') {
            put(config, &format!("env.{name}"), value, FactSource::Inspect);
        }
    }
}

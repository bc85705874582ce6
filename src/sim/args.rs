//! The arguments of the simulated engine, typed, with vLLM V1's defaults.

use std::path::PathBuf;

use super::fault::Fault;
use super::flags::{self, Parsed, UsageError, Value};

/// Numbers of bytes in a KV entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KvDtype {
    /// As the model: 16 bits.
    Model,
    /// 8 bits.
    Fp8,
}

/// What only the simulated engine has: the virtual GPU, the virtual model, and how it misbehaves.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SimOptions {
    pub(super) gpu_memory_gib: f64,
    pub(super) gpu_used_gib: f64,
    pub(super) gpus: usize,
    pub(super) model_weights_gib: f64,
    pub(super) kv_kib_per_token: f64,
    pub(super) derived_max_model_len: usize,
    pub(super) bandwidth_gib_s: f64,
    pub(super) prefill_tokens_per_s: f64,
    pub(super) step_overhead_ms: f64,
    pub(super) first_request_ms: f64,
    pub(super) noise: f64,
    pub(super) start_noise: f64,
    pub(super) seed: u64,
    pub(super) speed: f64,
    pub(super) boot_seconds: f64,
    pub(super) quality: f64,
    pub(super) truth_requests: usize,
    pub(super) fault: Option<Fault>,
    /// Requests are refused on request only while this file is there.
    pub(super) fault_while: Option<PathBuf>,
}

/// Everything the command line says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SimArgs {
    pub(super) parsed: Parsed,
    pub(super) model: String,
    pub(super) served_names: Vec<String>,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) api_keys: Vec<String>,
    pub(super) max_model_len: Option<usize>,
    /// `--max-model-len auto`: the largest that fits.
    pub(super) fit_max_model_len: bool,
    pub(super) max_num_seqs: usize,
    pub(super) max_num_batched_tokens: usize,
    pub(super) block_size: usize,
    pub(super) gpu_memory_utilization: f64,
    pub(super) kv_cache_dtype: KvDtype,
    pub(super) kv_cache_dtype_name: String,
    pub(super) kv_cache_memory_bytes: Option<u64>,
    pub(super) prefix_caching: bool,
    pub(super) chunked_prefill: bool,
    pub(super) enforce_eager: bool,
    pub(super) tensor_parallel_size: usize,
    pub(super) pipeline_parallel_size: usize,
    pub(super) auto_tool_choice: bool,
    pub(super) tool_call_parser: Option<String>,
    pub(super) reasoning_parser: Option<String>,
    pub(super) prompt_tokens_details: bool,
    pub(super) access_log: bool,
    pub(super) log_stats: bool,
    pub(super) stream_interval: usize,
    pub(super) seed: i64,
    pub(super) sim: SimOptions,
}

/// vLLM's default for an API server on a GPU of this size.
const DEFAULT_BATCHED_TOKENS: usize = 2_048;
const DEFAULT_NUM_SEQS: usize = 256;
/// vLLM 0.32's default of `--gpu-memory-utilization`.
const DEFAULT_UTILIZATION: f64 = 0.92;
/// The virtual model's name when the command line names none.
const DEFAULT_MODEL: &str = "vgrid/sim-8b";

/// Reads typed values out of the parsed command line, with defaults.
struct Reader<'a>(&'a Parsed);

impl Reader<'_> {
    fn on(&self, name: &str, default: bool) -> bool {
        match self.0.get(name) {
            Some(Value::Bool(b)) => *b,
            _ => default,
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    fn many(&self, name: &str) -> Vec<String> {
        match self.0.get(name) {
            Some(Value::Many(items)) => items.clone(),
            _ => Vec::new(),
        }
    }

    fn int(&self, name: &str) -> Option<i64> {
        match self.0.get(name) {
            Some(Value::Int(n)) => Some(*n),
            _ => None,
        }
    }

    /// A positive integer; vLLM's own checks of the range come later, and say the same with more words.
    fn count(&self, name: &str) -> Result<Option<usize>, UsageError> {
        let Some(n) = self.int(name) else { return Ok(None) };
        match usize::try_from(n) {
            Ok(n) if n > 0 => Ok(Some(n)),
            Ok(_) | Err(_) => Err(range(name, &n.to_string(), "a positive integer")),
        }
    }

    /// A finite number of at least `least`.
    fn number(&self, name: &str, default: f64, least: f64) -> Result<f64, UsageError> {
        match self.0.get(name) {
            Some(Value::Float(x)) if x.is_finite() && *x >= least => Ok(*x),
            Some(Value::Float(x)) => Err(range(name, &x.to_string(), &format!("at least {least}"))),
            _ => Ok(default),
        }
    }

    /// A number from 0 to 1.
    fn share(&self, name: &str, default: f64) -> Result<f64, UsageError> {
        let share = self.number(name, default, 0.0)?;
        if share > 1.0 { Err(range(name, &share.to_string(), "from 0 to 1")) } else { Ok(share) }
    }
}

fn range(name: &str, value: &str, wanted: &str) -> UsageError {
    UsageError(format!(
        "usage: vllm serve [model_tag] [options]\nvllm serve: error: argument --{name}: invalid value: '{value}' (must be {wanted})"
    ))
}

impl SimArgs {
    /// Reads the words after `vgrid sim`.
    pub(super) fn parse(words: Vec<String>) -> Result<Self, UsageError> {
        // `vllm serve MODEL`: the image's entry point may be given, or not.
        let words = match words.first().map(String::as_str) {
            Some("serve") => words.into_iter().skip(1).collect(),
            Some(_) | None => words,
        };
        let parsed = flags::parse(words)?;
        let read = Reader(&parsed);
        let model = parsed.model_tag.clone().or_else(|| read.text("model")).unwrap_or_else(|| DEFAULT_MODEL.to_owned());
        let served_names = match read.many("served-model-name") {
            names if names.is_empty() => vec![model.clone()],
            names => names,
        };
        let chunked_prefill = read.on("enable-chunked-prefill", true);
        let sim = read_sim(&read)?;
        let (max_model_len, fit_max_model_len) = match read.int("max-model-len") {
            Some(-1) => (None, true),
            Some(_) => (read.count("max-model-len")?, false),
            None => (None, false),
        };
        let whole_prefill = max_model_len.unwrap_or(sim.derived_max_model_len);
        let default_batched =
            if chunked_prefill { DEFAULT_BATCHED_TOKENS } else { DEFAULT_BATCHED_TOKENS.max(whole_prefill) };
        let kv_cache_dtype_name = read.text("kv-cache-dtype").unwrap_or_else(|| "auto".to_owned());
        let port = read.int("port").unwrap_or(8_000);
        Ok(Self {
            model,
            served_names,
            host: read.text("host").unwrap_or_else(|| "0.0.0.0".to_owned()),
            port: u16::try_from(port).map_err(|_| range("port", &port.to_string(), "a port number"))?,
            api_keys: read.many("api-key"),
            max_model_len,
            fit_max_model_len,
            max_num_seqs: read.count("max-num-seqs")?.unwrap_or(DEFAULT_NUM_SEQS),
            max_num_batched_tokens: read.count("max-num-batched-tokens")?.unwrap_or(default_batched),
            block_size: read.count("block-size")?.unwrap_or(16),
            gpu_memory_utilization: read.number("gpu-memory-utilization", DEFAULT_UTILIZATION, f64::MIN)?,
            kv_cache_dtype: if kv_cache_dtype_name.starts_with("fp8") { KvDtype::Fp8 } else { KvDtype::Model },
            kv_cache_dtype_name,
            kv_cache_memory_bytes: read.count("kv-cache-memory-bytes")?.map(|n| n as u64),
            prefix_caching: read.on("enable-prefix-caching", true),
            chunked_prefill,
            enforce_eager: read.on("enforce-eager", false),
            tensor_parallel_size: read.count("tensor-parallel-size")?.unwrap_or(1),
            pipeline_parallel_size: read.count("pipeline-parallel-size")?.unwrap_or(1),
            auto_tool_choice: read.on("enable-auto-tool-choice", false),
            tool_call_parser: read.text("tool-call-parser"),
            reasoning_parser: read.text("reasoning-parser").filter(|p| !p.is_empty()),
            prompt_tokens_details: read.on("enable-prompt-tokens-details", false),
            access_log: !read.on("disable-uvicorn-access-log", false),
            log_stats: !read.on("disable-log-stats", false),
            stream_interval: read.count("stream-interval")?.unwrap_or(1),
            seed: read.int("seed").unwrap_or(0),
            sim,
            parsed: parsed.clone(),
        })
    }

    /// GPUs that one copy of the model is spread over.
    pub(super) fn gpus_used(&self) -> usize {
        self.tensor_parallel_size * self.pipeline_parallel_size
    }

    /// vLLM's `non-default args` line: what the command line says, secrets hidden.
    pub(super) fn non_default(&self) -> String {
        let mut items = Vec::new();
        if let Some(tag) = &self.parsed.model_tag {
            items.push(format!("'model_tag': {}", Value::Text(tag.clone()).python()));
            items.push(format!("'model': {}", Value::Text(tag.clone()).python()));
        }
        for (name, value) in self.parsed.values.iter().filter(|(name, _)| !name.starts_with("sim-")) {
            let shown = if *name == "api-key" { "['***']".to_owned() } else { value.python() };
            items.push(format!("'{}': {shown}", name.replace('-', "_")));
        }
        format!("{{{}}}", items.join(", "))
    }
}

fn read_sim(read: &Reader<'_>) -> Result<SimOptions, UsageError> {
    let seed = read.int("sim-seed").or_else(|| read.int("seed")).unwrap_or(0);
    let fault = match read.text("sim-fail") {
        None => None,
        Some(text) => {
            let fault = text.parse::<Fault>().map_err(|e| {
                UsageError(format!(
                    "usage: vllm serve [model_tag] [options]\nvllm serve: error: argument --sim-fail: {e}"
                ))
            })?;
            Some(fault)
        }
    };
    Ok(SimOptions {
        gpu_memory_gib: read.number("sim-gpu-memory-gib", 24.0, 0.1)?,
        gpu_used_gib: read.number("sim-gpu-used-gib", 0.35, 0.0)?,
        gpus: read.count("sim-gpus")?.unwrap_or(2),
        model_weights_gib: read.number("sim-model-weights-gib", 15.0, 0.0)?,
        kv_kib_per_token: read.number("sim-kv-kib-per-token", 128.0, 0.001)?,
        derived_max_model_len: read.count("sim-derived-max-model-len")?.unwrap_or(40_960),
        bandwidth_gib_s: read.number("sim-bandwidth-gib-s", 900.0, 0.001)?,
        prefill_tokens_per_s: read.number("sim-prefill-tokens-per-s", 10_000.0, 0.001)?,
        step_overhead_ms: read.number("sim-step-overhead-ms", 0.8, 0.0)?,
        first_request_ms: read.number("sim-first-request-ms", 400.0, 0.0)?,
        noise: read.number("sim-noise", 0.02, 0.0)?,
        start_noise: read.number("sim-start-noise", 0.0, 0.0)?,
        seed: seed.unsigned_abs(),
        speed: read.number("sim-speed", 1.0, 0.001)?,
        boot_seconds: read.number("sim-boot-seconds", 1.0, 0.0)?,
        quality: read.share("sim-quality", 1.0)?,
        truth_requests: read.count("sim-truth-requests")?.unwrap_or(4_096),
        fault,
        fault_while: read.text("sim-fail-while").map(PathBuf::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SimArgs, UsageError> {
        SimArgs::parse(text.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn prefix_caching_and_chunked_prefill_are_on_unless_switched_off_by_name() {
        let args = parse("m").unwrap();
        assert!(args.prefix_caching && args.chunked_prefill);
        let args = parse("m --no-enable-prefix-caching --no-enable-chunked-prefill --max-model-len 8192").unwrap();
        assert!(!args.prefix_caching && !args.chunked_prefill);
        assert_eq!(args.max_num_batched_tokens, 8_192, "whole prompts must fit one step");
    }

    #[test]
    fn the_non_default_line_shows_what_was_given_and_hides_the_key() {
        let args = parse("m --api-key hunter2 --max-model-len 2k --sim-speed 3").unwrap();
        let line = args.non_default();
        assert!(line.contains("'model_tag': 'm'") && line.contains("'max_model_len': 2000"), "{line}");
        assert!(!line.contains("hunter2") && !line.contains("sim"), "{line}");
        assert_eq!(args.sim.speed, 3.0);
    }

    #[test]
    fn values_out_of_range_end_with_a_usage_error() {
        for text in
            ["m --max-num-seqs 0", "m --sim-speed 0", "m --port 70000", "m --sim-fail oops", "m --sim-quality 1.5"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_word_serve_may_stand_in_front() {
        assert_eq!(parse("serve m --port 1").unwrap().model, "m");
        assert_eq!(parse("").unwrap().model, DEFAULT_MODEL);
    }
}

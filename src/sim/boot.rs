//! The start: vLLM's log lines in vLLM's order, at the speed asked for, up to a server that may listen or a failure.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::args::SimArgs;
use super::console::{Console, Level, Process};
use super::failures::{self, StartFailure};
use super::fault::{Fault, FaultKind};
use super::model::{Memory, MemoryFailure};

use Process::{ApiServer, EngineCore};

/// The version that the simulated engine says it is.
pub(super) const VERSION: &str = "0.32.0";

/// What a finished start knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Booted {
    pub(super) memory: Memory,
    pub(super) max_model_len: usize,
}

/// Why there is no server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BootEnd {
    Failed(StartFailure),
    Cancelled,
}

impl From<StartFailure> for BootEnd {
    fn from(failure: StartFailure) -> Self {
        Self::Failed(failure)
    }
}

/// A start that goes on.
struct Boot<'a> {
    args: &'a SimArgs,
    console: &'a Console,
    cancel: &'a CancellationToken,
    total: Duration,
}

impl Boot<'_> {
    /// Spends a share of the boot time.
    async fn spend(&self, share: f64) -> Result<(), BootEnd> {
        let until = Instant::now() + self.total.mul_f64(share);
        tokio::select! {
            () = self.cancel.cancelled() => Err(BootEnd::Cancelled),
            () = tokio::time::sleep_until(until.into()) => Ok(()),
        }
    }

    fn api(&self, place: &str, text: &str) {
        self.console.info(ApiServer, place, text);
    }

    fn core(&self, place: &str, text: &str) {
        self.console.info(EngineCore, place, text);
    }

    fn seconds(&self, share: f64) -> f64 {
        self.total.as_secs_f64() * share
    }
}

/// The banner, and what the API server checks before it binds its port.
pub(super) fn banner(args: &SimArgs, console: &Console) -> Result<(), StartFailure> {
    let art = [
        "",
        "       █     █     █▄   ▄█",
        &format!(" ▄▄ ▄█ █     █     █ ▀▄▀ █  version {VERSION}"),
        &format!("  █▄█▀ █     █     █     █  model   {}", args.model),
        "   ▀▀  ▀▀▀▀▀ ▀▀▀▀▀ ▀     ▀",
        "",
    ];
    for line in art {
        console.info(ApiServer, "api_utils.py:347", line);
    }
    console.info(ApiServer, "api_utils.py:286", &format!("non-default args: {}", args.non_default()));
    failures::refuse_server_arguments(args).map_or(Ok(()), Err)
}

/// Boots the engine.
pub(super) async fn boot(
    args: &SimArgs,
    console: &Console,
    cancel: &CancellationToken,
    allow_long: bool,
) -> Result<Booted, BootEnd> {
    let total = Duration::from_secs_f64(args.sim.boot_seconds / args.sim.speed);
    let boot = Boot { args, console, cancel, total };
    let memory = Memory::plan(args);
    let max_model_len = if args.fit_max_model_len {
        args.sim.derived_max_model_len.min(memory.kv_tokens())
    } else {
        args.max_model_len.unwrap_or(args.sim.derived_max_model_len)
    };
    let failure = memory.failure(args, max_model_len);
    // A failure is told where vLLM would find it.
    let check = |here: fn(MemoryFailure) -> bool| -> Result<(), BootEnd> {
        match failure.filter(|f| here(*f)) {
            Some(f) => Err(failures::memory_failure(f, &memory, args, max_model_len).into()),
            None => Ok(()),
        }
    };

    boot.spend(0.1).await?;
    configure(&boot, max_model_len, allow_long)?;
    boot.spend(0.1).await?;
    boot.core("core.py:133", &engine_config(args, max_model_len));
    check(|f| matches!(f, MemoryFailure::FreeBelowUtilization))?;
    load(&boot, &memory, failure).await?;
    check(|f| matches!(f, MemoryFailure::Weights))?;
    compile(&boot).await?;
    check(|f| matches!(f, MemoryFailure::NoBlocks))?;
    boot.core("gpu_worker.py:508", &format!("Available KV cache memory: {:.2} GiB", memory.kv_gib));
    check(|f| matches!(f, MemoryFailure::KvTooSmall { .. }))?;
    boot.core(
        "kv_cache_utils.py:2327",
        &format!(
            "GPU KV cache size: {} tokens, Maximum concurrency for {} tokens per request: {:.2}x",
            grouped(memory.kv_tokens()),
            grouped(max_model_len),
            memory.kv_tokens() as f64 / max_model_len as f64
        ),
    );
    check(|f| matches!(f, MemoryFailure::KvAllocation { .. }))?;
    capture(&boot, &memory, failure).await?;
    check(|f| matches!(f, MemoryFailure::GraphCapture { .. }))?;
    boot.core(
        "core.py:402",
        &format!("init engine (profile, create kv cache, warmup model) took {:.2} s", boot.seconds(0.5)),
    );
    boot.spend(0.1).await?;
    routes(&boot);
    Ok(Booted { memory, max_model_len })
}

fn configure(boot: &Boot<'_>, max_model_len: usize, allow_long: bool) -> Result<(), BootEnd> {
    let args = boot.args;
    boot.api("model.py:733", "Resolved architecture: Qwen3ForCausalLM");
    if let Some(failure) = failures::refuse_engine_config(args, allow_long) {
        return Err(failure.into());
    }
    boot.api("model.py:2152", &format!("Using max model len {max_model_len}"));
    if args.kv_cache_dtype_name.starts_with("fp8") {
        boot.api(
            "cache.py:361",
            "Using fp8 data type to store kv cache. It reduces the GPU memory footprint and boosts the performance. Meanwhile, it may cause accuracy drop without a proper scaling factor",
        );
    }
    if args.chunked_prefill {
        let tokens = args.max_num_batched_tokens;
        boot.api("scheduler.py:251", &format!("Chunked prefill is enabled with max_num_batched_tokens={tokens}."));
    }
    if args.enforce_eager {
        boot.console.log(
            ApiServer,
            Level::Warning,
            "vllm.py:1703",
            "Enforce eager set, disabling torch.compile, CUDAGraphs, and JIT kernel warmup. This is equivalent to setting -cc.mode=none -cc.cudagraph_mode=none and --kernel_config.enable_jit_warmup=False",
        );
    }
    Ok(())
}

/// vLLM's line about the configuration that the engine really has.
fn engine_config(args: &SimArgs, max_model_len: usize) -> String {
    let python = |on: bool| if on { "True" } else { "False" };
    let model = &args.model;
    let reasoning_parser = args.reasoning_parser.as_deref().unwrap_or("");
    let quantization = match args.parsed.get("quantization") {
        Some(value) => value.python().trim_matches('\'').to_owned(),
        None => "None".to_owned(),
    };
    format!(
        "Initializing a V1 LLM engine (v{VERSION}) with config: model='{model}', speculative_config=None, tokenizer='{model}', skip_tokenizer_init=False, tokenizer_mode=auto, revision=None, tokenizer_revision=None, trust_remote_code={}, dtype=torch.bfloat16, max_seq_len={max_model_len}, download_dir=None, load_format=auto, tensor_parallel_size={}, pipeline_parallel_size={}, data_parallel_size=1, decode_context_parallel_size=1, dcp_comm_backend=ag_rs, disable_custom_all_reduce=False, quantization={quantization}, quantization_config=None, enforce_eager={}, kv_cache_dtype={}, device_config=cuda, structured_outputs_config=StructuredOutputsConfig(backend='auto', disable_any_whitespace=False, disable_additional_properties=False, reasoning_parser='{reasoning_parser}', reasoning_parser_plugin='', enable_in_reasoning=False), seed={}, served_model_name={}, enable_prefix_caching={}, enable_chunked_prefill={}, pooler_config=None, compilation_config={{'mode': <CompilationMode.{}>, 'cudagraph_mode': <CUDAGraphMode.{}>}}",
        python(matches!(args.parsed.get("trust-remote-code"), Some(super::flags::Value::Bool(true)))),
        args.tensor_parallel_size,
        args.pipeline_parallel_size,
        python(args.enforce_eager),
        args.kv_cache_dtype_name,
        args.seed,
        args.served_names.first().unwrap_or(model),
        python(args.prefix_caching),
        python(args.chunked_prefill),
        if args.enforce_eager { "NONE: 0" } else { "VLLM_COMPILE: 3" },
        if args.enforce_eager { "NONE: 0" } else { "FULL_AND_PIECEWISE: (2, 1)" },
    )
}

/// Number of checkpoint files of the virtual model.
const SHARDS: usize = 4;

async fn load(boot: &Boot<'_>, memory: &Memory, failure: Option<MemoryFailure>) -> Result<(), BootEnd> {
    let fault = boot.args.sim.fault.map(|f: Fault| f.kind);
    let started = Instant::now();
    boot.core("gpu_model_runner.py:5123", &format!("Starting to load model {}...", boot.args.model));
    for done in 0..=SHARDS {
        if done > 0 {
            boot.spend(0.3 / SHARDS as f64).await?;
        }
        let elapsed = started.elapsed().as_secs();
        boot.console.err(&format!(
            "{}Loading safetensors checkpoint shards: {:3}% Completed | {done}/{SHARDS} [{:02}:{:02}<00:00, {:.2}it/s]",
            boot.console.prefix(EngineCore),
            done * 100 / SHARDS,
            elapsed / 60,
            elapsed % 60,
            SHARDS as f64 / boot.seconds(0.3).max(0.001),
        ));
        if done == 1 && fault == Some(FaultKind::HangStart) {
            boot.cancel.cancelled().await;
            return Err(BootEnd::Cancelled);
        }
        if done == 1 && fault == Some(FaultKind::OomLoad) {
            return Err(failures::forced_load_failure(memory).into());
        }
        if done == SHARDS / 2 && failure == Some(MemoryFailure::Weights) {
            return Ok(()); // the caller tells it
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    boot.core("default_loader.py:501", &format!("Loading weights took {seconds:.2} seconds"));
    boot.core(
        "gpu_model_runner.py:5204",
        &format!("Model loading took {:.4} GiB memory and {seconds:.6} seconds", memory.weights_gib),
    );
    Ok(())
}

async fn compile(boot: &Boot<'_>) -> Result<(), BootEnd> {
    if !boot.args.enforce_eager {
        boot.core(
            "backends.py:1051",
            "Using cache directory: /root/.cache/vllm/torch_compile_cache/5b08294914/rank_0_0/backbone for vLLM's torch.compile",
        );
        boot.spend(0.05).await?;
        boot.core("backends.py:1111", &format!("Dynamo bytecode transform time: {:.2} s", boot.seconds(0.05)));
        boot.spend(0.1).await?;
        boot.core(
            "backends.py:390",
            &format!(
                "Compiling a graph for compile range (1, {}) takes {:.2} s",
                boot.args.max_num_batched_tokens,
                boot.seconds(0.1)
            ),
        );
        boot.core("monitor.py:48", &format!("torch.compile took {:.2} s in total", boot.seconds(0.15)));
    }
    boot.spend(0.05).await
}

async fn capture(boot: &Boot<'_>, memory: &Memory, failure: Option<MemoryFailure>) -> Result<(), BootEnd> {
    if boot.args.enforce_eager {
        return Ok(());
    }
    let sizes = 11;
    let started = Instant::now();
    let forced = boot.args.sim.fault.map(|f: Fault| f.kind) == Some(FaultKind::OomGraphCapture);
    for done in 0..=sizes {
        if done > 0 {
            boot.spend(0.2 / f64::from(sizes)).await?;
        }
        let percent = done * 100 / sizes;
        boot.console.err(&format!(
            "{}Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): {percent:3}%|{:<10}| {done}/{sizes} [00:00<00:00, {:.2}it/s]",
            boot.console.prefix(EngineCore),
            "█".repeat(usize::try_from(done * 10 / sizes).unwrap_or(0)),
            f64::from(sizes) / boot.seconds(0.2).max(0.001),
        ));
        if done == sizes / 2 && forced {
            return Err(failures::forced_capture_failure().into());
        }
        if done == sizes / 2 && matches!(failure, Some(MemoryFailure::GraphCapture { .. })) {
            return Ok(()); // the caller tells it
        }
    }
    boot.core(
        "gpu_model_runner.py:6327",
        &format!("Graph capturing finished in {} secs, took {:.2} GiB", started.elapsed().as_secs(), memory.graphs_gib),
    );
    Ok(())
}

fn routes(boot: &Boot<'_>) {
    boot.api("entry.py:136", "Supported tasks: ['generate']");
    if boot.args.auto_tool_choice {
        boot.api("parser_manager.py:38", "\"auto\" tool choice has been enabled.");
    }
    boot.api("entry.py:140", &format!("Starting vLLM server on http://{}:{}", boot.args.host, boot.args.port));
    boot.api("launcher.py:186", "Available routes are:");
    for (route, method) in [
        ("/version", "GET"),
        ("/health", "GET"),
        ("/metrics", "GET"),
        ("/tokenize", "POST"),
        ("/detokenize", "POST"),
        ("/v1/models", "GET"),
        ("/ping", "GET"),
        ("/v1/chat/completions", "POST"),
        ("/v1/completions", "POST"),
        ("/sim/truth", "GET"),
    ] {
        boot.api("launcher.py:195", &format!("Route: {route}, Methods: {method}"));
    }
}

/// 127664 -> `127,664`.
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn boot_lines(text: &str) -> (Result<(), BootEnd>, Vec<String>) {
        let args = SimArgs::parse(text.split_whitespace().map(str::to_owned).collect()).unwrap();
        let console = Console::memory();
        let result = match banner(&args, &console) {
            Ok(()) => boot(&args, &console, &CancellationToken::new(), false).await.map(|_| ()),
            Err(failure) => Err(failure.into()),
        };
        (result, console.lines())
    }

    async fn failure_of(text: &str) -> String {
        match boot_lines(&format!("{text} --sim-boot-seconds 0")).await.0 {
            Err(BootEnd::Failed(StartFailure::ApiServer(e) | StartFailure::EngineCore(e))) => e,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_good_start_shows_vllms_milestones_in_vllms_order() {
        let (result, lines) = boot_lines("m --sim-boot-seconds 0 --gpu-memory-utilization 0.9").await;
        result.unwrap();
        let milestones = [
            "version 0.32.0",
            "non-default args: {'model_tag': 'm', 'model': 'm', 'gpu_memory_utilization': 0.9}",
            "Resolved architecture",
            "Initializing a V1 LLM engine (v0.32.0) with config: model='m'",
            "Starting to load model",
            "shards: 100% Completed | 4/4",
            "Model loading took 15.0000 GiB memory and",
            "torch.compile took",
            "Available KV cache memory: 5.16 GiB",
            "GPU KV cache size: 42,256 tokens, Maximum concurrency for 40,960 tokens per request: 1.03x",
            "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): 100%",
            "Graph capturing finished in 0 secs, took 0.75 GiB",
            "init engine (profile, create kv cache, warmup model) took",
            "Starting vLLM server on http://0.0.0.0:8000",
        ];
        let mut rest = lines.iter();
        for milestone in milestones {
            assert!(rest.any(|l| l.contains(milestone)), "no `{milestone}` in its place:\n{}", lines.join("\n"));
        }
    }

    #[tokio::test]
    async fn eager_mode_neither_compiles_nor_captures() {
        let (result, lines) = boot_lines("m --sim-boot-seconds 0 --enforce-eager").await;
        result.unwrap();
        assert!(!lines.iter().any(|l| l.contains("torch.compile took") || l.contains("Capturing")));
    }

    #[tokio::test]
    async fn the_kv_cache_failure_gives_needed_available_and_longest() {
        // 24 * 0.8 - 15 - 1.04 - 0.4 = 2.76 GiB; 40,960 tokens of 128 KiB are 5 GiB; 2.76 GiB hold 22,608 tokens in blocks.
        let text = failure_of("m --gpu-memory-utilization 0.8").await;
        assert!(
            text.contains("max seq len (40960), (5.0 GiB KV cache is needed")
                && text.contains("available KV cache memory (2.76 GiB). Based on the available memory, the estimated maximum model length is 22608."),
            "{text}"
        );
    }

    #[tokio::test]
    async fn each_refusal_speaks_vllms_words() {
        for (args, words) in [
            (
                "m --gpu-memory-utilization 0.99",
                "Free memory on device cuda:0 (23.65/24.0 GiB) on startup is less than desired GPU memory utilization (0.99, 23.76 GiB)",
            ),
            (
                "m --sim-model-weights-gib 30",
                "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 112.00 MiB. GPU 0 has a total capacity of 24.00 GiB",
            ),
            ("m --gpu-memory-utilization 0.97", "torch.AcceleratorError: CUDA error: out of memory"),
            ("m --gpu-memory-utilization 0.5", "No available memory for the cache blocks."),
            (
                "m --gpu-memory-utilization 1.5",
                "Input should be less than or equal to 1 [type=less_than_equal, input_value=1.5",
            ),
            (
                "m --max-model-len 50000",
                "User-specified max_model_len (50000) is greater than the derived max_model_len (max_position_embeddings=40960.0",
            ),
            ("m -tp 4", "World size (4) is larger than the number of available GPUs (2) in this node."),
            (
                "m --no-enable-chunked-prefill --max-num-batched-tokens 2048",
                "max_num_batched_tokens (2048) is smaller than max_model_len (40960).",
            ),
            (
                "m --max-num-batched-tokens 64",
                "max_num_batched_tokens (64) must be greater than or equal to max_num_seqs (256).",
            ),
            ("m --enable-auto-tool-choice", "TypeError: Error: --enable-auto-tool-choice requires --tool-call-parser"),
            (
                "m --enable-auto-tool-choice --tool-call-parser hermess",
                "KeyError: 'invalid tool call parser: hermess (chose from { apertus,",
            ),
            (
                "m --reasoning-parser qwen33",
                "KeyError: \"Reasoning parser 'qwen33' not found. Available parsers: cohere_command3,",
            ),
            ("m --sim-fail oom_load", "CUDA out of memory"),
            ("m --sim-fail oom_graph_capture", "CUDA error: out of memory"),
        ] {
            let text = failure_of(args).await;
            assert!(text.contains(words), "{args}: {text}");
        }
    }

    #[tokio::test]
    async fn a_hanging_start_ends_when_it_is_told_to() {
        let args =
            SimArgs::parse(["m", "--sim-fail=hang_start", "--sim-boot-seconds=0"].map(str::to_owned).to_vec()).unwrap();
        let cancel = CancellationToken::new();
        let console = Console::memory();
        let boot = boot(&args, &console, &cancel, false);
        let (result, ()) = tokio::join!(boot, async {
            while !console.lines().iter().any(|l| l.contains("25% Completed")) {
                tokio::task::yield_now().await;
            }
            cancel.cancel();
        });
        assert_eq!(result.unwrap_err(), BootEnd::Cancelled);
    }

    #[test]
    fn large_numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(131_072), "131,072");
        assert_eq!(grouped(1_000_000), "1,000,000");
    }
}

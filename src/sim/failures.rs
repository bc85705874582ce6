//! The failures of a start and of serving, in vLLM's words: what stands in the log of a real server.

use super::args::SimArgs;
use super::console::{Console, Level, Process};
use super::flags::{gib, python_float};
use super::model::{Memory, MemoryFailure};
use super::names::{REASONING_PARSERS, TOOL_PARSERS};

/// Where vLLM's sources lie in its image.
const VLLM: &str = "/usr/local/lib/python3.12/dist-packages/vllm";

/// A failure of a start, found at one of these places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StartFailure {
    /// In the API server, before an engine is made: the exception's last lines.
    ApiServer(String),
    /// In the engine core: the exception's last lines.
    EngineCore(String),
}

/// What the API server refuses before it binds its port.
pub(super) fn refuse_server_arguments(args: &SimArgs) -> Option<StartFailure> {
    if args.auto_tool_choice && args.tool_call_parser.is_none() {
        return Some(StartFailure::ApiServer(
            "TypeError: Error: --enable-auto-tool-choice requires --tool-call-parser".to_owned(),
        ));
    }
    if let Some(parser) = &args.tool_call_parser
        && args.auto_tool_choice
        && !TOOL_PARSERS.contains(&parser.as_str())
    {
        let known = TOOL_PARSERS.join(",");
        return Some(StartFailure::ApiServer(format!(
            "KeyError: 'invalid tool call parser: {parser} (chose from {{ {known} }})'"
        )));
    }
    None
}

/// What the engine's configuration refuses: ranges and combinations.
pub(super) fn refuse_engine_config(args: &SimArgs, allow_long: bool) -> Option<StartFailure> {
    let value_error = |class: &str, text: String| {
        Some(StartFailure::ApiServer(format!(
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for {class}\n  Value error, {text} [type=value_error, input_value=ArgsKwargs((), {{...}}), input_type=ArgsKwargs]\n    For further information visit https://errors.pydantic.dev/2.14/v/value_error"
        )))
    };
    let derived = args.sim.derived_max_model_len;
    if let Some(wanted) = args.max_model_len.filter(|n| *n > derived && !allow_long) {
        return value_error(
            "ModelConfig",
            format!(
                "User-specified max_model_len ({wanted}) is greater than the derived max_model_len (max_position_embeddings={derived}.0 or model_max_length=None in model's config.json). To allow overriding this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1. VLLM_ALLOW_LONG_MAX_MODEL_LEN must be used with extreme caution. If the model uses relative position encoding (RoPE), positions exceeding derived_max_model_len lead to nan. If the model uses absolute position encoding, positions exceeding derived_max_model_len will cause a CUDA array out-of-bounds error."
            ),
        );
    }
    let utilization = args.gpu_memory_utilization;
    if utilization > 1.0 || utilization <= 0.0 {
        let (rule, kind) = if utilization > 1.0 {
            ("less than or equal to 1", "less_than_equal")
        } else {
            ("greater than 0", "greater_than")
        };
        return Some(StartFailure::ApiServer(format!(
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for CacheConfig\ngpu_memory_utilization\n  Input should be {rule} [type={kind}, input_value={}, input_type=float]\n    For further information visit https://errors.pydantic.dev/2.14/v/{kind}",
            python_float(utilization)
        )));
    }
    let (gpus, world) = (args.sim.gpus, args.gpus_used());
    if world > gpus {
        return value_error(
            "ParallelConfig",
            format!(
                "World size ({world}) is larger than the number of available GPUs ({gpus}) in this node. If this is intentional and you are using:\n- ray, set '--distributed-executor-backend ray'.\n- multiprocessing, set '--nnodes' appropriately."
            ),
        );
    }
    let (batched, seqs) = (args.max_num_batched_tokens, args.max_num_seqs);
    let length = args.max_model_len.unwrap_or(derived);
    if !args.chunked_prefill && batched < length {
        return value_error(
            "SchedulerConfig",
            format!(
                "max_num_batched_tokens ({batched}) is smaller than max_model_len ({length}). This effectively limits the maximum sequence length to max_num_batched_tokens and makes vLLM reject longer sequences. Please increase max_num_batched_tokens or decrease max_model_len."
            ),
        );
    }
    if batched < seqs {
        return value_error(
            "SchedulerConfig",
            format!("max_num_batched_tokens ({batched}) must be greater than or equal to max_num_seqs ({seqs})."),
        );
    }
    let parser = args.reasoning_parser.as_deref()?;
    if REASONING_PARSERS.contains(&parser) {
        return None;
    }
    let known = REASONING_PARSERS.join(", ");
    Some(StartFailure::ApiServer(format!(
        "KeyError: \"Reasoning parser '{parser}' not found. Available parsers: {known}\""
    )))
}

/// The words of a failure of memory.
pub(super) fn memory_failure(failure: MemoryFailure, memory: &Memory, args: &SimArgs, length: usize) -> StartFailure {
    let total = gib(memory.total_gib);
    let more = "See https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more details.";
    StartFailure::EngineCore(match failure {
        MemoryFailure::FreeBelowUtilization => format!(
            "ValueError: Free memory on device cuda:0 ({}/{total} GiB) on startup is less than desired GPU memory utilization ({}, {} GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
            gib(memory.free_gib),
            python_float(args.gpu_memory_utilization),
            gib(memory.budget_gib)
        ),
        MemoryFailure::Weights => out_of_memory(112.0, memory, memory.free_gib),
        MemoryFailure::NoBlocks => format!(
            "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine. {more}"
        ),
        MemoryFailure::KvTooSmall { needed_gib, longest } => format!(
            "ValueError: To serve at least one request with the model's max seq len ({length}), ({} GiB KV cache is needed, which is larger than the available KV cache memory ({} GiB). Based on the available memory, the estimated maximum model length is {longest}. Try increasing `gpu_memory_utilization` (which also controls CPU memory on the CPU backend) or decreasing `max_model_len` when initializing the engine. {more}",
            gib(needed_gib),
            gib(memory.kv_gib)
        ),
        MemoryFailure::KvAllocation { wanted_gib } => {
            out_of_memory(wanted_gib * 1024.0, memory, memory.weights_gib + memory.activation_gib)
        }
        MemoryFailure::GraphCapture { .. } => graph_capture(),
    })
}

/// PyTorch's message; `in_use_gib` is what this process holds.
fn out_of_memory(tried_mib: f64, memory: &Memory, in_use_gib: f64) -> String {
    let tried =
        if tried_mib < 1024.0 { format!("{tried_mib:.2} MiB") } else { format!("{:.2} GiB", tried_mib / 1024.0) };
    let free_mib = ((memory.free_gib - in_use_gib) * 1024.0).max(10.5);
    let free = if free_mib < 1024.0 { format!("{free_mib:.2} MiB") } else { format!("{:.2} GiB", free_mib / 1024.0) };
    format!(
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {tried}. GPU 0 has a total capacity of {:.2} GiB of which {free} is free. Including non-PyTorch memory, this process has {in_use_gib:.2} GiB memory in use. Of the allocated memory {:.2} GiB is allocated by PyTorch, and 16.66 MiB is reserved by PyTorch but unallocated. If reserved but unallocated memory is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation for Memory Management  (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)",
        memory.total_gib,
        (in_use_gib - 0.4).max(0.0)
    )
}

fn graph_capture() -> String {
    "torch.AcceleratorError: CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation' in https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html for more information.\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n".to_owned()
}

/// What `--sim-fail=oom_load` says.
pub(super) fn forced_load_failure(memory: &Memory) -> StartFailure {
    StartFailure::EngineCore(out_of_memory(112.0, memory, memory.free_gib))
}

/// What `--sim-fail=oom_graph_capture` says.
pub(super) fn forced_capture_failure() -> StartFailure {
    StartFailure::EngineCore(graph_capture())
}

/// Prints a failure as vLLM does: the root cause, then what the API server makes of it.
pub(super) fn print(console: &Console, failure: &StartFailure) {
    match failure {
        StartFailure::ApiServer(exception) => api_server_traceback(console, exception),
        StartFailure::EngineCore(exception) => {
            let place = "core.py:1510";
            let error = |text: &str| console.log(Process::EngineCore, Level::Error, place, text);
            error("EngineCore failed to start.");
            let frames = format!(
                "Traceback (most recent call last):\n  File \"{VLLM}/v1/engine/core.py\", line 1482, in run_engine_core\n    engine_core = EngineCoreProc(*args, engine_index=dp_rank, **kwargs)"
            );
            for line in frames.lines().chain(exception.lines()) {
                error(line);
            }
            console.err(&format!("{}Process EngineCore:", console.prefix(Process::EngineCore)));
            for line in frames.lines().chain(exception.lines()) {
                console.err(line);
            }
            api_server_traceback(
                console,
                "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
            );
        }
    }
}

fn api_server_traceback(console: &Console, exception: &str) {
    console.err("Traceback (most recent call last):");
    console.err("  File \"/usr/local/bin/vllm\", line 10, in <module>");
    console.err("    sys.exit(main())");
    console.err(&format!("  File \"{VLLM}/entrypoints/cli/serve.py\", line 156, in cmd"));
    console.err("    uvloop.run(run_server(args))");
    for line in exception.lines() {
        console.err(line);
    }
}

/// The engine core's last words when it runs out of memory in mid-service.
pub(super) fn oom_while_serving(console: &Console) {
    let error = |text: &str| console.log(Process::EngineCore, Level::Error, "core.py:1519", text);
    error("EngineCore encountered a fatal error.");
    error("Traceback (most recent call last):");
    error(&format!("  File \"{VLLM}/v1/engine/core.py\", line 1493, in run_engine_core"));
    error("    engine_core.run_busy_loop()");
    error(&format!("  File \"{VLLM}/v1/worker/gpu_model_runner.py\", line 3871, in execute_model"));
    error("    logits = self.model.compute_logits(sample_hidden_states)");
    error(
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 594.00 MiB. GPU 0 has a total capacity of 23.65 GiB of which 211.44 MiB is free. Including non-PyTorch memory, this process has 23.43 GiB memory in use. Of the allocated memory 22.81 GiB is allocated by PyTorch, and 96.20 MiB is reserved by PyTorch but unallocated. If reserved but unallocated memory is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation for Memory Management  (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)",
    );
}

/// The message that every request in flight gets when the engine is dead.
pub(super) const ENGINE_DEAD: &str = "EngineCore encountered an issue. See stack trace (above) for the root cause.";

/// What the API server prints when its engine core is gone.
pub(super) fn engine_dead(console: &Console) {
    console.log(
        Process::ApiServer,
        Level::Warning,
        "core_client.py:817",
        "[shutdown] MPClient: engine core exited unexpectedly; starting cleanup",
    );
    client_shutdown(console, "default");
    let error = |text: &str| console.log(Process::ApiServer, Level::Error, "async_llm.py:906", text);
    error("AsyncLLM output_handler failed.");
    error("Traceback (most recent call last):");
    error(&format!("  File \"{VLLM}/v1/engine/async_llm.py\", line 849, in output_handler"));
    error("    outputs = await engine_core.get_output_async()");
    error(&format!("vllm.v1.engine.exceptions.EngineDeadError: {ENGINE_DEAD}"));
}

/// The API server's client of the engine core goes.
fn client_shutdown(console: &Console, timeout: &str) {
    let info = |line: u32, text: &str| {
        console.info(Process::ApiServer, &format!("core_client.py:{line}"), &format!("[shutdown] MPClient: {text}"));
    };
    info(770, &format!("start timeout={timeout}"));
    info(772, "stopping engine manager");
    info(774, "engine manager stopped");
    info(775, "cleaning up background resources");
    info(777, "complete");
}

/// An orderly end, up to the HTTP server's own lines.
pub(super) fn orderly_shutdown(console: &Console) {
    let api = |line: u32, text: &str| {
        console.info(Process::ApiServer, &format!("launcher.py:{line}"), &format!("[shutdown] API server: {text}"));
    };
    let core = |line: u32, text: &str| {
        console.info(Process::EngineCore, &format!("core.py:{line}"), &format!("[shutdown] EngineCore: {text}"));
    };
    api(254, "shutdown triggered");
    api(270, "stopping engine client mode=abort timeout=0s");
    core(1454, "trigger received signal=SIGTERM");
    core(1635, "start mode=abort timeout=0s");
    core(1666, "request processing complete; starting resource teardown");
    core(1499, "exiting busy loop");
    client_shutdown(console, "0s");
    api(279, "engine client stopped");
    api(282, "signalling HTTP server shutdown");
    api(304, "shutting down FastAPI HTTP server");
}

/// uvicorn's last lines.
pub(super) fn http_server_gone(console: &Console) {
    console.err("INFO:     Shutting down");
    console.err("INFO:     Waiting for application shutdown.");
    console.err("INFO:     Application shutdown complete.");
    console.err(&format!("INFO:     Finished server process [{}]", console.pid(Process::ApiServer)));
}

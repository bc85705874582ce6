//! What other versions and other parts write, for causes that no sample shows.

use super::super::*;
use crate::domain::{Cause, ExitFacts, Phase, Stage};

use Cause::*;

/// Start-up failures: the lines and the cause.
const STARTUP: &[(&str, Cause)] = &[
    // GPU memory
    (
        "[rank0]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 594.00 MiB. GPU 0 has a total capacity of 23.64 GiB of which 290.44 MiB is free. Including non-PyTorch memory, this process has 23.35 GiB memory in use.",
        GpuOom,
    ),
    (
        "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests. Please try lowering `max_num_seqs` or `gpu_memory_utilization` when initializing the engine.",
        GpuOom,
    ),
    (
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total capacty of 79.15 GiB of which 1.31 GiB is free.",
        GpuOom,
    ),
    ("ncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\nCuda failure 2 'out of memory'", GpuOom),
    ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", GpuOom),
    (
        "(Worker_TP1 pid=9) ERROR 03-31 10:11:24 [multiproc_executor.py:880] torch.AcceleratorError: CUDA error: out of memory",
        GpuOom,
    ),
    (
        "ValueError: The model's max seq len (32768) is larger than the maximum number of tokens that can be stored in KV cache (18896). Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.",
        KvCacheTooSmall,
    ),
    (
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.",
        KvCacheTooSmall,
    ),
    (
        "ValueError: Cannot auto-fit max_model_len: not enough GPU memory available to serve even a single token. Try increasing `gpu_memory_utilization`.",
        KvCacheTooSmall,
    ),
    (
        "ValueError: Free memory on device cuda:0 (3.1/23.64 GiB) on startup is less than the engine's budget after excluding external process's weights (0.9, 21.2 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
        GpuMemoryBusy,
    ),
    (
        "AssertionError: Error in memory profiling. Initial free memory 15.3 GiB, current free memory 15.9 GiB. This happens when other processes sharing the same container release GPU memory while vLLM is profiling during initialization.",
        GpuMemoryBusy,
    ),
    // host memory
    (
        "RuntimeError: [enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8589934592 bytes. Error code 12 (Cannot allocate memory)",
        HostOom,
    ),
    ("OSError: [Errno 12] Cannot allocate memory", HostOom),
    (
        "host:12:44 [0] include/shm.h:91 NCCL WARN Error while creating shared memory segment /dev/shm/nccl-hV2vuJ (size 9637888), error: No space left on device (28)\ntorch.distributed.DistBackendError: NCCL error in: NCCLUtils.cpp:77, unhandled system error\nncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error.",
        ShmTooSmall,
    ),
    (
        "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).",
        ShmTooSmall,
    ),
    (
        "RuntimeError: unable to allocate shared memory(shm) for file </torch_35_3189> : No space left on device (28)",
        ShmTooSmall,
    ),
    ("OSError: [Errno 28] No space left on device: '/psm_2f1c'", ShmTooSmall),
    ("Bus error (core dumped)", ShmTooSmall),
    ("OSError: [Errno 28] No space left on device: '/root/.cache/huggingface/hub/blobs/x.incomplete'", Environment),
    // arguments
    ("vllm serve: error: argument --kv-cache-dtype: invalid choice: 'fp4' (choose from 'auto', 'fp8')", BadArgument),
    ("api_server.py: error: argument --dtype: invalid choice: 'float99' (choose from 'auto', 'half')", BadArgument),
    ("vllm: error: unrecognized arguments: --enable-chunky", BadArgument),
    (
        "ValueError: max_num_batched_tokens (2048) is smaller than max_model_len (8192). This effectively limits the maximum sequence length to max_num_batched_tokens",
        BadArgument,
    ),
    ("ValueError: Total number of attention heads (28) must be divisible by tensor parallel size (8).", BadArgument),
    (
        "ValueError: User-specified max_model_len (131072) is greater than the derived max_model_len (max_position_embeddings=32768 or model_max_length=None in model's config.json).",
        BadArgument,
    ),
    ("KeyError: 'invalid tool call parser: nope (chose from { hermes,mistral })'", BadArgument),
    ("TypeError: Error: --enable-auto-tool-choice requires --tool-call-parser", BadArgument),
    ("ValueError: LoRA rank 64 is greater than max_lora_rank 16.", BadArgument),
    (
        "ValueError: World size (4) is larger than the number of available GPUs (2) in this node. If this is intentional and you are using:",
        BadArgument,
    ),
    (
        "ValueError: Loading /m requires you to execute the configuration file in that repo on your local machine. Please pass the argument `trust_remote_code=True` to remove this error.",
        BadArgument,
    ),
    (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for SchedulerConfig\n  Value error, max_num_batched_tokens (4) must be greater than or equal to max_num_seqs (8). [type=value_error, input_value=x, input_type=y]",
        BadArgument,
    ),
    ("OverflowError: bind(): port must be 0-65535.", BadArgument),
    (
        "(EngineCore pid=20) ERROR 11-24 04:26:59 [core.py:1510] AssertionError: Not enough allowed NUMA nodes to bind threads of 9 local CPUWorkers. Please try to bind threads manually or decrease DP/TP/PP.",
        BadArgument,
    ),
    (
        "(Worker_TP0 pid=9) ERROR 01-01 00:00:00 [multiproc_executor.py:9] AssertionError: 151937 is not divisible by 2",
        BadArgument,
    ),
    // unsupported
    (
        "ValueError: Model architectures ['FooForCausalLM'] are not supported for now. Supported architectures: dict_keys([])",
        Unsupported,
    ),
    (
        "ValueError: FooForCausalLM has no vLLM implementation and the Transformers implementation is not compatible with vLLM.",
        Unsupported,
    ),
    (
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has compute capability 7.5.",
        Unsupported,
    ),
    (
        "ValueError: The input size is not aligned with the quantized weight shape. This can be caused by too large tensor parallel size.",
        Unsupported,
    ),
    (
        "ValueError: Quantization method specified in the model config (gptq) does not match the quantization method specified in the `quantization` argument (awq).",
        Unsupported,
    ),
    ("ValueError: No valid attention backend found for cuda with AttentionSelectorConfig(head_size=80)", Unsupported),
    (
        "ValueError: Selected backend AttentionBackendEnum.FLASHINFER is not valid for this configuration. Reason: ['head_size not supported']",
        Unsupported,
    ),
    ("RuntimeError: CUDA error: no kernel image is available for execution on the device", Unsupported),
    ("ValueError: Unsupported quantization config found for awq in x.json.", Unsupported),
    ("NotImplementedError: Speculative decoding is not supported with pipeline parallelism", Unsupported),
    (
        "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 131072, Hardware limit: 101376. Reducing block sizes or `num_stages` may help.",
        Unsupported,
    ),
    (
        "ValueError: type fp8e4nv not supported in this architecture. The supported fp8 dtypes are ('fp8e4b15', 'fp8e5')",
        Unsupported,
    ),
    // the model
    (
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files.",
        ModelUnavailable,
    ),
    (
        "requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url: https://huggingface.co/api/models/Qwen/Qwen2.5-1.5B-Instruct",
        ModelUnavailable,
    ),
    (
        "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error. (Request ID: x)\n\nRepository Not Found for url: https://huggingface.co/a/b/resolve/main/config.json.",
        ModelUnavailable,
    ),
    (
        "huggingface_hub.errors.RevisionNotFoundError: 404 Client Error.\n\nRevision Not Found for url: https://huggingface.co/a/b.",
        ModelUnavailable,
    ),
    ("httpx.ConnectError: [Errno -3] Temporary failure in name resolution", ModelUnavailable),
    ("safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge", ModelBroken),
    ("safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer", ModelBroken),
    ("RuntimeError: Cannot find any model weights with `/model`", ModelBroken),
    ("ValueError: Following weights were not initialized from checkpoint: {'lm_head.weight'}", ModelBroken),
    (
        "OSError: /model does not appear to have a file named config.json. Checkout 'https://huggingface.co//model/tree/main' for available files.",
        ModelBroken,
    ),
    ("ValueError: Unrecognized model in /model. Should have a `model_type` key in its config.json", ModelBroken),
    ("RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory", ModelBroken),
    (
        "OSError: Can't load tokenizer for '/model'. If you were trying to load it from 'https://huggingface.co/models', make sure you don't have a local directory with the same name.",
        ModelBroken,
    ),
    ("Exception: data did not match any variant of untagged enum ModelWrapper at line 757479 column 3", ModelBroken),
    ("ValueError: There is no module or parameter named 'model.embed' in LlamaForCausalLM", ModelBroken),
    // GPU and driver
    (
        "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver from http://www.nvidia.com/Download/index.aspx",
        NoGpu,
    ),
    ("RuntimeError: No CUDA GPUs are available", NoGpu),
    ("RuntimeError: Failed to infer device type", NoGpu),
    (
        "RuntimeError: The NVIDIA driver on your system is too old (found version 12040). Please update your GPU driver",
        GpuFault,
    ),
    (
        "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 803: system has unsupported display driver / cuda driver combination",
        GpuFault,
    ),
    ("RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized", GpuFault),
    ("RuntimeError: CUDA error: the provided PTX was compiled with an unsupported toolchain.", GpuFault),
    ("torch.AcceleratorError: CUDA error: CUDA-capable device(s) is/are busy or unavailable", GpuFault),
    ("[  123.4] NVRM: Xid (PCI:0000:3b:00): 79, pid=1, GPU has fallen off the bus.", GpuFault),
    ("RuntimeError: CUDA error: device-side assert triggered", GpuFault),
    ("pynvml.NVMLError_LibRmVersionMismatch: Driver/library version mismatch", GpuFault),
    // compiling and the image
    (
        "torch._inductor.exc.InductorError: CalledProcessError: Command '['/usr/bin/gcc']' returned non-zero exit status 1.",
        CompileFailed,
    ),
    ("torch._dynamo.exc.BackendCompilerFailed: backend='<x>' raised:", CompileFailed),
    ("triton.compiler.errors.CompilationError: at 1:0:", CompileFailed),
    ("RuntimeError: Ninja build failed. Ninja output:\nninja: build stopped: subcommand failed.", CompileFailed),
    ("RuntimeError: Failed to find C compiler. Please specify via CC environment variable.", Environment),
    ("RuntimeError: Could not find nvcc and default cuda_home='/usr/local/cuda' doesn't exist", Environment),
    ("FileNotFoundError: [Errno 2] No such file or directory: 'ninja'", Environment),
    ("ImportError: /usr/lib/python3/vllm/_C.abi3.so: undefined symbol: _ZN3c104cuda9SetDeviceEi", Environment),
    ("ModuleNotFoundError: No module named 'flash_attn'", Environment),
    ("ImportError: libcudart.so.12: cannot open shared object file: No such file or directory", Environment),
    // between processes
    (
        "torch.distributed.DistNetworkError: The client socket has timed out after 600000ms while trying to connect to (10.0.0.1, 29500).",
        Communication,
    ),
    (
        "[rank1]:[E101 00:00:00 ProcessGroupNCCL.cpp:616] [Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=1)",
        Communication,
    ),
    ("RuntimeError: NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO for details)", Communication),
    ("TimeoutError: RPC call to sample_tokens timed out.", Communication),
    ("Failed: Cuda error /workspace/csrc/custom_all_reduce.cuh:364 'invalid argument'", Communication),
    (
        "ValueError: The number of required GPUs exceeds the total number of available GPUs in the placement group.",
        Communication,
    ),
    (
        "RuntimeError: The server socket has failed to listen on any local network address. The server socket has failed to bind to [::]:29500 (errno: 98 - Address already in use).",
        PortInUse,
    ),
    (
        "ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use",
        PortInUse,
    ),
    // Docker
    (
        "docker: Error response from daemon: pull access denied for nope, repository does not exist or may require 'docker login'",
        Docker,
    ),
    (
        "docker: Error response from daemon: manifest for vllm/vllm-openai:nope not found: manifest unknown: manifest unknown.",
        Docker,
    ),
    ("docker: Error response from daemon: unknown or invalid runtime name: nvidia.", NoGpu),
    (
        "docker: Error response from daemon: OCI runtime create failed: runc create failed: unable to start container process: error during container init: error mounting \"/a\" to rootfs: not a directory",
        Docker,
    ),
    (
        "docker: Error response from daemon: failed to create task: nvidia-container-cli: initialization error: nvml error: driver not loaded: unknown",
        NoGpu,
    ),
    (
        "docker: Error response from daemon: nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.9, please update your driver",
        GpuFault,
    ),
    (
        "docker: Error response from daemon: driver failed programming external connectivity: Bind for 0.0.0.0:8000 failed: port is already allocated.",
        PortInUse,
    ),
    // dead for no stated reason
    (
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore_DP0': -11}",
        EngineDead,
    ),
    ("run.sh: line 12: 12345 Killed                  vllm serve /model", EngineDead),
    ("run.sh: line 12: 12345 Terminated              vllm serve /model", Stopped),
    ("Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f (most recent call first):", EngineDead),
];

/// Failures while serving, behind a ready line, with the death that follows.
const SERVING: &[(&str, Cause)] = &[
    (
        "(EngineCore pid=1) ERROR 01-01 00:00:00 [core.py:710] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.50 GiB.",
        GpuOom,
    ),
    (
        "(Worker_TP0 pid=1) ERROR 01-01 00:00:00 [multiproc_executor.py:9] torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
        GpuFault,
    ),
    (
        "(EngineCore pid=1) ERROR 01-01 00:00:00 [core.py:710] TimeoutError: RPC call to execute_model timed out.",
        Communication,
    ),
    ("(EngineCore pid=1) ERROR 01-01 00:00:00 [core.py:710] AssertionError: something nobody saw before", Unknown),
    (
        "(APIServer pid=1) ERROR 01-01 00:00:00 [core_client.py:562] Engine core proc EngineCore_DP0 died unexpectedly, shutting down client.",
        EngineDead,
    ),
];

const DEATH: &str = "(APIServer pid=1) ERROR 01-01 00:00:01 [async_llm.py:480] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.\n";
const READY: &str =
    "INFO 01-01 00:00:00 [api_server.py:1] vLLM API server version 0.11.0\nINFO:     Application startup complete.\n";

/// What a single request can provoke while the server stays well.
const REQUEST_ERRORS: &[&str] = &[
    "ERROR 01-01 00:00:00 [serving_chat.py:203] ValueError: This model's maximum context length is 2048 tokens. However, you requested 5418 tokens.",
    "ERROR 01-01 00:00:00 [serving_chat.py:203] jinja2.exceptions.TemplateError: Conversation roles must alternate user/assistant",
    "(APIServer pid=1) ERROR 01-01 00:00:00 [api_server.py:9] NotImplementedError: this endpoint is not supported",
    "(APIServer pid=1) ERROR 01-01 00:00:00 [serving_engine.py:9] OSError: /lora does not appear to have a file named adapter_config.json",
    "ConnectionResetError: [Errno 104] Connection reset by peer",
    "WARNING 01-01 00:00:00 [x.py:1] CUDA out of memory is handled here",
    "ERROR 01-01 00:00:00 [x.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1 GiB.\nINFO:     127.0.0.1:1 - \"POST /v1/chat/completions HTTP/1.1\" 200 OK",
    "INFO:     127.0.0.1:1 - \"POST /v1/chat/completions HTTP/1.1\" 429 Too Many Requests",
];

#[test]
fn start_up_failures_of_other_versions_get_their_cause() {
    let mut table = String::new();
    for (text, cause) in STARTUP {
        for log in [
            format!("{text}\n"),
            format!(
                "INFO 01-01 00:00:00 [api_server.py:1] vLLM API server version 0.9.1\n{text}\nRuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}\n"
            ),
        ] {
            let got = diagnose(&log, None, None).cause;
            if got != *cause {
                table.push_str(&format!("{got} instead of {cause}: {text}\n"));
                break;
            }
        }
    }
    assert!(table.is_empty(), "{table}");
}

#[test]
fn failures_while_serving_get_their_cause() {
    for (text, cause) in SERVING {
        let failure = diagnose(&format!("{READY}{text}\n{DEATH}"), None, None);
        assert_eq!((failure.cause, failure.phase), (*cause, Phase::Serving), "{text}");
        assert_eq!(failure.stage, (*cause == GpuOom).then_some(Stage::Runtime), "{text}");
    }
}

#[test]
fn what_one_request_provokes_is_no_failure() {
    for text in REQUEST_ERRORS {
        assert_eq!(diagnose(&format!("{READY}{text}\n"), None, None).cause, Healthy, "{text}");
    }
}

#[test]
fn an_error_that_the_start_survived_is_no_failure() {
    let log = "INFO 01-01 00:00:00 [api_server.py:1] vLLM API server version 0.11.0\nERROR 01-01 00:00:00 [x.py:1] ImportError: undefined symbol: x\nINFO:     Application startup complete.\n";
    assert_eq!(diagnose(log, None, None).cause, Healthy);
}

#[test]
fn the_container_s_state_decides_before_the_log() {
    let state = |json: serde_json::Value| diagnose(READY, Some(&json), None).cause;
    assert_eq!(state(serde_json::json!({ "Status": "exited", "ExitCode": 0 })), EngineDead);
    assert_eq!(state(serde_json::json!({ "Status": "exited", "ExitCode": 137, "OOMKilled": true })), HostOom);
    assert_eq!(state(serde_json::json!({ "Status": "exited", "ExitCode": 137, "OOMKilled": false })), Stopped);
    assert_eq!(state(serde_json::json!({ "Status": "exited", "ExitCode": 139 })), EngineDead);
    assert_eq!(state(serde_json::json!({ "Status": "running", "ExitCode": 0 })), Healthy);
    assert_eq!(state(serde_json::json!([{ "State": { "Status": "running", "ExitCode": 0 } }])), Healthy);
    let refused = serde_json::json!({ "Status": "created", "ExitCode": 128, "Error": "could not select device driver \"nvidia\" with capabilities: [[gpu]]" });
    assert_eq!(diagnose("", Some(&refused), None).cause, NoGpu);
}

#[test]
fn our_own_race_names_what_no_text_explains_and_text_explains_better() {
    let starting = "INFO 01-01 00:00:00 [api_server.py:1] vLLM API server version 0.11.0\nINFO 01-01 00:00:00 [x.py:1] Starting to load model /m...\n";
    let judge = |log: &str, wait, phase| {
        classify(&EvidenceInput { log, phase: Some(phase), wait: Some(wait), ..EvidenceInput::default() }).cause
    };
    assert_eq!(judge(starting, WaitVerdict::Timeout, Phase::Startup), Timeout);
    assert_eq!(judge(starting, WaitVerdict::Stalled, Phase::Startup), Stalled);
    assert_eq!(judge(READY, WaitVerdict::Hung, Phase::Serving), Hung);
    let oom = format!("{starting}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1 GiB.\n");
    assert_eq!(judge(&oom, WaitVerdict::Stalled, Phase::Startup), GpuOom);
}

#[test]
fn a_stop_that_we_asked_for_is_no_failure_and_one_that_nobody_asked_for_is() {
    let stop = "(APIServer pid=1) INFO 01-01 00:00:00 [launcher.py:100] [shutdown] API server: shutdown triggered\n";
    let log = format!("{READY}{stop}{DEATH}");
    let judge = |asked_to_stop| {
        let exit =
            ExitFacts { status: Some("exited".into()), exit_code: Some(0), asked_to_stop, ..ExitFacts::default() };
        classify(&EvidenceInput { log: &log, exit, ..EvidenceInput::default() }).cause
    };
    assert_eq!(judge(true), Healthy);
    assert_eq!(judge(false), Stopped);
}

#[test]
fn a_running_server_without_tokens_is_hung_by_its_own_reports() {
    let report = "INFO 01-01 00:00:00 [loggers.py:1] Engine 000: Avg prompt throughput: 0.0 tokens/s, Avg generation throughput: 0.0 tokens/s, Running: 4 reqs, Waiting: 2 reqs, GPU KV cache usage: 5.1%\n";
    assert_eq!(diagnose(&format!("{READY}{}", report.repeat(7)), None, None).cause, Hung);
    assert_eq!(diagnose(&format!("{READY}{}", report.repeat(3)), None, None).cause, Healthy);
    let waiting = report.replace("Running: 4 reqs", "Running: 0 reqs");
    assert_eq!(diagnose(&format!("{READY}{}", waiting.repeat(7)), None, None).cause, Hung);
    let idle = waiting.replace("Waiting: 2 reqs", "Waiting: 0 reqs");
    assert_eq!(diagnose(&format!("{READY}{}", idle.repeat(99)), None, None).cause, Healthy);
}

#[test]
fn another_process_on_the_gpu_is_named_and_our_own_entry_in_a_container_is_not_blamed() {
    let foreign = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 112.00 MiB. GPU 0 has a total capacity of 44.52 GiB of which 10.50 MiB is free. Process 226852 has 40.60 GiB memory in use. Including non-PyTorch memory, this process has 3.90 GiB memory in use. Of the allocated memory 3.40 GiB is allocated by PyTorch\n";
    let failure = diagnose(foreign, None, None);
    assert_eq!(failure.cause, GpuMemoryBusy);
    assert!(failure.remedy.contains("226852") && failure.remedy.contains("40.6"), "{}", failure.remedy);
    let own = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 112.00 MiB. GPU 0 has a total capacity of 44.52 GiB of which 10.50 MiB is free. Process 77 has 44.40 GiB memory in use. Of the allocated memory 44.00 GiB is allocated by PyTorch\n";
    assert_eq!(diagnose(own, None, None).cause, GpuOom);
}

#[test]
fn the_documentation_names_every_cause_and_every_class_of_the_table() {
    let docs = include_str!("../../../docs/failures.md");
    for cause in Cause::ALL {
        assert!(docs.contains(&format!("| `{cause}` | ")), "{cause}");
    }
    for rule in super::super::rules::RULES {
        assert!(docs.contains(&format!("`{}`", rule.class)), "{}", rule.class);
    }
}

#[test]
fn a_server_that_stops_its_own_engine_was_not_stopped_from_outside() {
    let own = "(APIServer pid=1) INFO 01-01 00:00:00 [core_client.py:770] [shutdown] MPClient: start timeout=0s\n";
    let engine = "(EngineCore pid=9) INFO 01-01 00:00:00 [core.py:1454] [shutdown] EngineCore: trigger received signal=SIGTERM\n";
    let start = "INFO 01-01 00:00:00 [api_server.py:1] vLLM API server version 0.32.0\n";
    assert_eq!(diagnose(&format!("{start}{own}{engine}"), None, None).cause, Unknown);
    assert_eq!(diagnose(&format!("{start}{engine}{own}"), None, None).cause, Stopped);
}

#[test]
fn a_container_that_a_stranger_removed_is_stopped_and_may_be_tried_again() {
    let exit = crate::domain::ExitFacts {
        status: Some("removed".to_owned()),
        exit_code: Some(137),
        error: Some("the container was removed by somebody else".to_owned()),
        ..Default::default()
    };
    let failure = crate::classify::classify(&crate::classify::EvidenceInput { exit, ..Default::default() });
    assert_eq!((failure.cause, failure.transient), (crate::domain::Cause::Stopped, true));
    assert_eq!(failure.evidence[0].text, "the container was removed by somebody else");
}

#[test]
fn a_kv_cache_whose_size_was_given_in_bytes_is_to_be_given_more_bytes() {
    let start = "INFO 01-01 00:00:00 [api_server.py:1] vLLM API server version 0.32.0\n";
    let given =
        "INFO 01-01 00:00:00 [api_utils.py:286] non-default args: {'model': 'm', 'kv_cache_memory_bytes': 8388608}\n";
    let small = "ValueError: To serve at least one request with the model's max seq len (4096), (0.44 GiB KV cache is needed, which is \
                 larger than the available KV cache memory (0.01 GiB). Based on the available memory, the estimated maximum model \
                 length is 73. Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.\n";
    let remedy_of = |log: &str, argv: &[&str]| {
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let input = crate::classify::EvidenceInput { log, argv: &argv, ..Default::default() };
        let failure = crate::classify::classify(&input);
        assert_eq!(failure.cause, KvCacheTooSmall);
        failure.remedy
    };
    let by_bytes = "lower max-model-len to 73 or raise kv-cache-memory-bytes to 0.44 GiB";
    assert_eq!(remedy_of(&format!("{start}{given}{small}"), &[]), by_bytes);
    assert_eq!(remedy_of(&format!("{start}{small}"), &["m", "--kv_cache_memory_bytes=8388608"]), by_bytes);
    let by_share = "lower max-model-len to 73 or raise gpu-memory-utilization";
    assert_eq!(remedy_of(&format!("{start}{small}"), &["m", "--kv-cache-dtype", "fp8"]), by_share);
}

//! What is written in the field: one line per way of saying a cause, and whole logs in which the cause is hard to see.

use super::super::*;
use crate::domain::{Cause, Stage};

use Cause::*;

/// Lines of start-ups that failed, by the cause that an engineer would act on.
const LINES: &[(Cause, &[&str])] = &[
    (
        GpuOom,
        &[
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.16 GiB. GPU 3 has a total capacity of 79.25 GiB of which 1.02 GiB is free. Including non-PyTorch memory, this process has 78.22 GiB memory in use.",
            "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 7.42 GiB. GPU 0 has a total capacity of 63.98 GiB of which 6.10 GiB is free.",
            "torch.OutOfMemoryError: XPU out of memory. Tried to allocate 2.00 GiB.",
            "RuntimeError: Triton Error [CUDA]: out of memory",
            "RuntimeError: CUDA Error: out of memory at /workspace/csrc/cumem_allocator.cpp:62",
            "RuntimeError: level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
            "jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 35.90G of 31.25G hbm.",
            "torch.AcceleratorError: HIP error: out of memory",
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.33 GiB of which 16.00 MiB is free. Process 36891 has 79.29 GiB memory in use. Of the allocated memory 69.59 GiB is allocated by PyTorch, with 46.00 MiB allocated in private pools",
        ],
    ),
    (
        GpuMemoryBusy,
        &[
            "ValueError: Free memory on device cuda:1 (11.71/23.52 GiB) on startup is less than desired GPU memory utilization (0.9, 21.17 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
            "AssertionError: Error in memory profiling. Initial used memory 1234, currently used memory 1200. This happens when the GPU memory was not properly cleaned up before initializing the vLLM instance.",
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 64.00 MiB. GPU 0 has a total capacity of 47.50 GiB of which 3.00 MiB is free. Process 4021 has 30.11 GiB memory in use. Process 9177 has 17.30 GiB memory in use. Of the allocated memory 16.80 GiB is allocated by PyTorch, and 12.00 MiB is reserved by PyTorch but unallocated.",
        ],
    ),
    (
        KvCacheTooSmall,
        &[
            "ValueError: To serve at least one request with the models's max seq len (40960), (5.63 GiB KV cache is needed, which is larger than the available KV cache memory (2.10 GiB). Based on the available memory, the estimated maximum model length is 15264.",
            "ValueError: No available memory for the cache blocks. Try increasing `VLLM_CPU_KVCACHE_SPACE` when initializing the engine.",
            "ValueError: max_num_seqs (256) exceeds available Mamba cache blocks (112). Each decode sequence requires one Mamba cache block, so CUDA graph capture cannot proceed.",
        ],
    ),
    (
        HostOom,
        &[
            "OSError: Cannot allocate memory (os error 12)",
            "RuntimeError: unable to mmap 5368709120 bytes from file </models/a.safetensors>: Cannot allocate memory (12)",
            "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",
            "terminate called after throwing an instance of 'std::bad_alloc'",
            "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 3.05 GiB for an array with shape (819200000,) and data type float32",
            "[ 8123.4] Memory cgroup out of memory: Killed process 4410 (VLLM::EngineCor) total-vm:73411012kB, anon-rss:31421012kB",
        ],
    ),
    (
        ShmTooSmall,
        &[
            "RuntimeError: unable to write to file </torch_123_456_0>: No space left on device (28)",
            "RuntimeError: unable to open shared memory object </torch_90_1> in read-write mode: No space left on device (28)",
            "host:412:512 [0] misc/shmutils.cc:72 NCCL WARN Error: failed to extend /dev/shm/nccl-IfMWxM to 9637892 bytes",
            "OSError: [Errno 28] No space left on device: '/dev/shm/psm_7d01c2'",
            "RuntimeError: DataLoader worker (pid 211) is killed by signal: Bus error. It is possible that dataloader's workers are out of shared memory.",
            "ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error.\nLast error:\nError while creating shared memory segment /dev/shm/nccl-9JxkZV (size 33030528), error: No space left on device (28)",
        ],
    ),
    (
        BadArgument,
        &[
            "AssertionError: please set tensor_parallel_size (4) to less than max local gpu count (2)",
            "RuntimeError: LFM2 tool parser could not locate tool call start/end tokens in the tokenizer!",
            "KeyError: \"reasoning helper: 'deepseek' not found in reasoning_parsers\"",
            "ValueError: No tokenizer registered for tokenizer_mode='foo'.",
            "yaml.scanner.ScannerError: mapping values are not allowed here",
            "ValueError: Invalid value 'x' for --kv-cache-dtype",
            "TypeError: VllmConfig.__init__() got an unexpected keyword argument 'speculative_model'",
            "vllm serve: error: argument --tool-call-parser: expected one argument",
            "api_server.py: error: argument --tensor-parallel-size/-tp: invalid int value: 'two'",
            "vllm: error: ambiguous option: --enable could match --enable-prefix-caching, --enable-lora",
            "ValueError: Too large swap space. 64.00 GiB out of the 62.70 GiB total CPU memory is allocated for the swap space.",
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for CacheConfig\ngpu_memory_utilization\n  Input should be greater than 0 [type=greater_than, input_value=-0.5, input_type=float]",
            "ValueError: Unrecognized distributed executor backend rayy. Supported values are 'ray', 'mp' 'uni', 'external_launcher' or custom ExecutorBase subclass.",
            "ERROR:    [Errno 99] error while attempting to bind on address ('10.9.8.7', 8000): cannot assign requested address",
            "ValueError: Invalid attention backend: 'FLASHATTENTION'. Valid backends are: FLASH_ATTN, TRITON_ATTN",
            "ValueError: speculative_draft_tensor_parallel_size=3 cannot be other value than 1 or target model tensor_parallel_size",
            "AssertionError: please ensure that world_size (4) is less than than max local gpu count (2)",
            "ValueError: rope_scaling should have a 'rope_type' key",
        ],
    ),
    (
        Unsupported,
        &[
            "RuntimeError: \"addmm_impl_cpu_\" not implemented for 'Half'",
            "RuntimeError: No compiled cutlass_scaled_mm for a compute capability less than CUDA device capability: 75",
            "RuntimeError: Invalid thread config: thread_m_blocks = 1, thread_k = -1",
            "ValueError: V1 does not yet support Pooling models.",
            "RuntimeError: Unknown gguf model_type: qwen9",
            "hipErrorNoBinaryForGpu: Unable to find code object for all current devices!",
            "AssertionError: Expandable segments are not compatible with memory pool.",
            "ValueError: The quantization method modelopt_fp4 is not supported for the current GPU. Minimum capability: 100. Current capability: 89.",
            "NotImplementedError: VLLM_USE_V1=1 is not supported with --kv-cache-dtype.",
            "AssertionError: Sinks are only supported in FlashAttention 3",
            "RuntimeError: torch._scaled_mm is only supported on CUDA devices with compute capability >= 9.0 or 8.9, or ROCm MI300+",
            "ValueError: FlashMLA is not supported on this device. Reason: FlashMLA is only supported on Hopper devices.",
            "torch.AcceleratorError: HIP error: invalid device function",
            "ValueError: Model architectures ['Qwen9ForCausalLM'] are not supported for now. Supported architectures: dict_keys(['A'])",
            "AttributeError: 'Gemma9Config' object has no attribute 'text_config'",
            "RuntimeError: FlashInfer backend currently only supports models in which all layers share the same values",
            "AssertionError: Chunked prefill is not yet supported for TPU backend",
        ],
    ),
    (
        ModelUnavailable,
        &[
            "RuntimeError: An error occurred while downloading using `hf_transfer`. Consider disabling HF_HUB_ENABLE_HF_TRANSFER for better error handling.",
            "requests.exceptions.HTTPError: The request model: a/b does not exist!",
            "huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-6)",
            "OSError: You are trying to access a gated repo.",
            "huggingface_hub.errors.HfHubHTTPError: 503 Server Error: Service Temporarily Unavailable for url: https://huggingface.co/api/models/a/b",
            "requests.exceptions.SSLError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /api/models/a/b (Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed')))",
            "botocore.exceptions.NoCredentialsError: Unable to locate credentials",
            "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files.",
            "modelscope.hub.errors.NotExistError: The model: qwen/none-7b does not exist",
        ],
    ),
    (
        ModelBroken,
        &[
            "OSError: Can't load image processor for '/models/vl'.",
            "OSError: Found 0 files matching the pattern: `x`. Make sure that a Mistral tokenizer is present in ['config.json'].",
            "RuntimeError: No model weights found in: `a/b`",
            "safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata, file not fully covered",
            "AssertionError: Attempted to load weight (torch.Size([5120])) into parameter (torch.Size([4096]))",
            "OSError: Error no file named pytorch_model.bin, model.safetensors found in directory /models/x.",
            "Exception: EOF while parsing a value at line 1 column 0",
            "OSError: It looks like the config file at '/models/x/config.json' is not a valid JSON file.",
            "ValueError: Following weights were not initialized from checkpoint: {'model.layers.3.mlp.down_proj.weight'}",
        ],
    ),
    (
        NoGpu,
        &[
            "vllm.third_party.pynvml.NVMLError_Unknown: Unknown Error",
            "RuntimeError: Device string must not be empty",
            "RuntimeError: 0 active drivers ([]). There should only be one.",
            "RuntimeError: No HIP GPUs are available",
            "docker: Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: error running prestart hook #0: exit status 1, stdout: , stderr: Auto-detected mode as 'legacy'\nnvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object file: no such file or directory: unknown",
            "docker: Error response from daemon: CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=all",
        ],
    ),
    (
        GpuFault,
        &[
            "RuntimeError: CUDA unknown error - this may be due to an incorrectly set up environment, e.g. changing env variable CUDA_VISIBLE_DEVICES after program start.",
            "HW Exception by GPU node-1 (Agent handle: 0x5b522e50) reason :GPU Hang",
            "Memory access fault by GPU node-3 (Agent handle: 0x13e852f0) on address 0x77d445e00000. Reason: Unknown.",
            "torch.AcceleratorError: CUDA error: unspecified launch failure",
            "RuntimeError: CUDA error: an NVLink error nobody has a pattern for",
            "/opt/vllm/lib/python3.12/site-packages/torch/cuda/__init__.py:174: UserWarning: CUDA initialization: The NVIDIA driver on your system is too old (found version 12020).",
            "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 804: forward compatibility was attempted on non supported HW",
        ],
    ),
    (
        Communication,
        &[
            "TimeoutError: Timed out waiting for engines to send initial message on input socket.",
            "RuntimeError: DP Coordinator process failed to report ZMQ addresses within timeout=120.0 seconds during startup.",
            "redis.exceptions.ConnectionError: Error 111 connecting to redis:6379. Connection refused.",
            "torch.distributed.DistBackendError: [3] is setting up NCCL communicator and retrieving ncclUniqueId from [0] via c10d key-value store by key '0', but store->get('0') got error: Connection reset by peer",
            "RuntimeError: NCCL error: remote process exited or there was a network error",
            "2026:03:02-10:11:12:( 9) |CCL_ERROR| ze_fd_manager.cpp:144 init_device_fds: condition dir failed",
            "TimeoutError: MQLLMEngine didn't reply within 10000ms",
            "ray.exceptions.RayChannelTimeoutError: System error: Timed out waiting for object available to read.",
            "RuntimeError: Did not receive response from front-end process within 5 minutes",
            "RuntimeError: Gloo connectFullMesh failed with [../third_party/gloo/gloo/transport/tcp/pair.cc:144] no error",
            "ValueError: Ray does not allocate any GPUs on the driver node.Driver IP: 10.0.0.1, worker IPs: ['10.0.0.2'].",
        ],
    ),
    (
        CompileFailed,
        &[
            "torch._inductor.compile_worker.subproc_pool.SubprocException: An exception occurred in a subprocess:",
            "torch._dynamo.exc.Unsupported: Attempted to call function marked as skipped",
            "torch._inductor.exc.InductorError: LoweringException: AssertionError: conv3d",
            "triton.compiler.errors.CompilationError: at 32:12: dot operands must have the same type",
            "RuntimeError: Ninja build failed. Ninja output:\n[1/3] nvcc -c x.cu\nninja: build stopped: subcommand failed.",
            "AssertionError: expected size 4096==4096, stride 1==4096 at dim=0",
            "ptxas fatal   : Value 'sm_121a' is not defined for option 'gpu-name'",
        ],
    ),
    (
        Environment,
        &[
            "RuntimeError: Data processing error: File reconstruction error: IO Error: No space left on device (os error 28)",
            "OSError: [Errno 30] Read-only file system: '/root/.cache/huggingface'",
            "RuntimeError: can't start new thread",
            "KeyError: 'getpwuid(): uid not found: 1000'",
            "ValueError: 'aimv2' is already used by a Transformers config, pick another name.",
            "TypeError: flash_attn_varlen_func() got an unexpected keyword argument 's_aux'",
            "RuntimeError: FlashInfer backend is not available. Please install the package to enable FlashInfer kernels",
            "ModuleNotFoundError: No module named 'vllm._C'",
            "ImportError: /opt/lib/flash_attn_2_cuda.so: undefined symbol: _ZNK3c106SymInt6sym_neERKS0_",
            "/bin/sh: 1: nvcc: not found",
            "RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the 'spawn' start method",
            "ImportError: /lib/x86_64-linux-gnu/libstdc++.so.6: version `GLIBCXX_3.4.32' not found",
            "ValueError: numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88 from PyObject",
            "AssertionError: DeepEP kernels not found. Please follow https://github.com/vllm-project/vllm to install them",
        ],
    ),
    (
        PortInUse,
        &[
            "OSError: [Errno 98] Address already in use",
            "ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use",
            "torch.distributed.DistNetworkError: The server socket has failed to listen on any local network address. port: 29500, useIpv6: false, code: -98, name: EADDRINUSE, message: address already in use",
        ],
    ),
    (
        Docker,
        &[
            "docker: permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
            "docker: Error response from daemon: OCI runtime create failed: runc create failed: unable to start container process: exec: \"vllmm\": executable file not found in $PATH: unknown.",
            "exec /usr/bin/vllm: exec format error",
            "Error response from daemon: network vllm_default not found",
            "docker: Error response from daemon: Get \"https://registry-1.docker.io/v2/\": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
        ],
    ),
    (
        EngineDead,
        &[
            "!!!!!!! Segfault encountered !!!!!!!",
            "ERROR 05-21 09:27:46 [multiproc_executor.py:123] Worker proc VllmWorker-6 died unexpectedly, shutting down executor.",
            "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.",
        ],
    ),
];

const BANNER: &str = "(APIServer pid=7) INFO 03-04 05:06:07 [api_server.py:1896] vLLM API server version 0.11.0\n";
const NOT_STARTED: &str = "(APIServer pid=7) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n";

/// `line` as the engine core of a newer version writes it.
fn by_engine(line: &str) -> String {
    line.lines().map(|l| format!("(EngineCore_DP0 pid=31) ERROR 03-04 05:06:09 [core.py:708] {l}\n")).collect()
}

#[test]
fn every_wording_of_a_cause_is_known_alone_and_among_echoes() {
    let mut misses = String::new();
    for (cause, lines) in LINES {
        for line in *lines {
            let worker = format!(
                "\u{1b}[1;36m(VllmWorker TP1 pid=88)\u{1b}[0;0m {}\n",
                line.replace('\n', "\n(VllmWorker TP1 pid=88) ")
            );
            let logs = [
                format!("{line}\n"),
                format!("{BANNER}{}{NOT_STARTED}", by_engine(line)),
                format!("{BANNER}{worker}{NOT_STARTED}"),
                format!("{BANNER}{line}\nTraceback (most recent call last):\nRuntimeError: cancelled\n{NOT_STARTED}"),
            ];
            for log in logs {
                let got = diagnose(&log, None, None);
                let shown = got.evidence.iter().any(|e| line.lines().any(|l| e.text.contains(l.trim())));
                if got.cause != *cause || !shown {
                    misses.push_str(&format!(
                        "{} instead of {cause}, evidence {:?}: {line}\n",
                        got.cause,
                        got.evidence.first()
                    ));
                    break;
                }
            }
        }
    }
    assert!(misses.is_empty(), "{misses}");
}

#[test]
fn every_cause_can_be_reached() {
    // The rest is decided by vgrid's own wait or its benchmark, or by what is missing; the tests of those stand in `messages`.
    let elsewhere = [Healthy, Stopped, Timeout, Stalled, Hung, BadResponses, Unknown];
    for cause in Cause::ALL {
        assert!(elsewhere.contains(cause) || LINES.iter().any(|(c, _)| c == cause), "{cause}");
    }
}

#[test]
fn an_exception_that_no_wording_knows_is_judged_by_the_place_that_raised_it() {
    let raised = |place: &str, exception: &str| {
        let text = format!(
            "Traceback (most recent call last):\n  File \"/opt/vllm/lib/python3.12/site-packages/{place}\", line 12, in run\n    raise x\n{exception}\n"
        );
        let log = format!("{BANNER}{}{NOT_STARTED}", by_engine(&text));
        let failure = diagnose(&log, None, None);
        assert!(failure.evidence[0].text.ends_with(exception), "{:?}", failure.evidence);
        failure.cause
    };
    assert_eq!(raised("vllm/config/scheduler.py", "ValueError: widgets are off by one"), BadArgument);
    assert_eq!(raised("vllm/engine/arg_utils.py", "AssertionError: widgets first"), BadArgument);
    assert_eq!(raised("vllm/model_executor/layers/quantization/awq.py", "ValueError: group of 48"), Unsupported);
    assert_eq!(raised("torch/_inductor/graph.py", "AssertionError"), CompileFailed);
    assert_eq!(raised("torch/distributed/distributed_c10d.py", "RuntimeError: it broke"), Communication);
    assert_eq!(raised("vllm/v1/core/sched/scheduler.py", "AssertionError: nobody knows"), Unknown);
    assert_eq!(raised("vllm/v1/worker/gpu_model_runner.py", "KeyError: 3"), Unknown);
    let loading = "Traceback (most recent call last):\n  File \"/x/vllm/model_executor/models/qwen3.py\", line 12, in load_weights\n    p = d[name]\n        ~^^^^^^\nKeyError: 'blocks.0.gate.scale'\n";
    assert_eq!(diagnose(&format!("{BANNER}{}{NOT_STARTED}", by_engine(loading)), None, None).cause, ModelBroken);
}

/// A start that reached serving.
const SERVES: &str = "(APIServer pid=7) INFO 03-04 05:06:07 [api_server.py:1896] vLLM API server version 0.11.0
(EngineCore_DP0 pid=31) INFO 03-04 05:06:40 [gpu_model_runner.py:2653] Model loading took 14.2717 GiB and 9.14 seconds
(EngineCore_DP0 pid=31) INFO 03-04 05:07:20 [kv_cache_utils.py:1087] GPU KV cache size: 113,232 tokens
(APIServer pid=7) INFO:     Started server process [7]
(APIServer pid=7) INFO:     Application startup complete.
";
const ANSWER: &str = "(APIServer pid=7) INFO:     10.0.0.9:5050 - \"POST /v1/chat/completions HTTP/1.1\" 200 OK\n";
const TOKENS: &str = "(APIServer pid=7) INFO 03-04 05:10:00 [loggers.py:127] Engine 000: Avg prompt throughput: 120.1 tokens/s, Avg generation throughput: 310.4 tokens/s, Running: 4 reqs, Waiting: 0 reqs, GPU KV cache usage: 3.1%\n";
const DIED: &str = "(APIServer pid=7) ERROR 03-04 05:11:00 [async_llm.py:480] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.\n";

#[test]
fn what_healthy_servers_write_is_no_failure() {
    let noise = [
        "(EngineCore_DP0 pid=31) WARNING 03-04 05:06:20 [cuda.py:1] Current vLLM config may run out of memory: CUDA out of memory is likely above 0.98",
        "(APIServer pid=7) WARNING 03-04 05:06:20 [argparse_utils.py:82] argument '--disable-log-requests' is deprecated and replaced with '--enable-log-requests'. This will be removed in v0.12.0.",
        "(APIServer pid=7) INFO 03-04 05:06:20 [utils.py:233] non-default args: {'model': 'acme/error-handler-oom-7b', 'served_model_name': ['CUDA error: expert']}",
        "(EngineCore_DP0 pid=31) /usr/lib/python3.12/site-packages/torch/_inductor/compile_fx.py:282: UserWarning: TensorFloat32 tensor cores available but not enabled.",
        "(APIServer pid=7) ERROR 03-04 05:09:00 [serving_chat.py:257] jinja2.exceptions.TemplateError: After the optional system message, conversation roles must alternate user/assistant",
        "(APIServer pid=7) ERROR 03-04 05:09:00 [serving_chat.py:257] ValueError: max_tokens must be at least 1, got -5.",
        "(APIServer pid=7) INFO:     10.0.0.9:5050 - \"POST /v1/chat/completions HTTP/1.1\" 400 Bad Request",
        "(APIServer pid=7) INFO:     10.0.0.9:5050 - \"GET /v1/model HTTP/1.1\" 404 Not Found",
        "'(ReadTimeoutError(\"HTTPSConnectionPool(host='huggingface.co', port=443): Read timed out. (read timeout=10)\"), '(Request ID: 1)')' thrown while requesting HEAD https://huggingface.co/a/b/resolve/main/config.json",
        "(Worker_TP0 pid=41) INFO 03-04 05:06:30 [shm_broadcast.py:466] No available shared memory broadcast block found in 60 seconds. This typically happens when some processes are hanging",
        "(Worker_TP0 pid=41) WARNING 03-04 05:06:30 [custom_all_reduce.py:137] Custom allreduce is disabled because your platform lacks GPU P2P capability or P2P test failed.",
        "[W304 05:06:30.12 ProcessGroupNCCL.cpp:1538] Warning: WARNING: destroy_process_group() was not called before program exit",
        "(EngineCore_DP0 pid=31) WARNING 03-04 05:06:30 [fused_moe.py:1014] Using default MoE config. Performance might be sub-optimal! Config file not found at /x/E=64,N=1536.json",
    ];
    for line in noise {
        let before = SERVES.replacen('\n', &format!("\n{line}\n"), 1);
        for log in [format!("{before}{ANSWER}{TOKENS}"), format!("{SERVES}{ANSWER}{line}\n{TOKENS}{ANSWER}")] {
            let got = diagnose(&log, None, None);
            assert_eq!(got.cause, Healthy, "{line}: {:?}", got.evidence);
        }
    }
}

#[test]
fn our_own_stop_with_tracebacks_behind_it_is_orderly() {
    let log = format!(
        "{SERVES}{ANSWER}(APIServer pid=7) INFO 03-04 06:00:00 [launcher.py:110] Shutting down FastAPI HTTP server.
[rank0]:[W304 06:00:00.1 ProcessGroupNCCL.cpp:1538] Warning: WARNING: destroy_process_group() was not called
(APIServer pid=7) ERROR 03-04 06:00:00 [async_llm.py:480] asyncio.exceptions.CancelledError
(EngineCore_DP0 pid=31) Traceback (most recent call last):
(EngineCore_DP0 pid=31)   File \"/x/vllm/v1/engine/core.py\", line 701, in run_engine_core
(EngineCore_DP0 pid=31) SystemExit
(APIServer pid=7) INFO:     Application shutdown complete.
/usr/lib/python3.12/multiprocessing/resource_tracker.py:254: UserWarning: resource_tracker: There appear to be 1 leaked shared_memory objects to clean up at shutdown
"
    );
    assert_eq!(diagnose(&log, None, None).cause, Healthy);
    let state = serde_json::json!({ "Status": "exited", "ExitCode": 137, "OOMKilled": false });
    assert_eq!(diagnose(&log, Some(&state), None).cause, Healthy);
}

#[test]
fn what_was_survived_is_not_the_cause_of_a_later_death() {
    // A download that was repeated, then a start that fails for another reason.
    let log = format!(
        "{BANNER}(EngineCore_DP0 pid=31) '(MaxRetryError(\"HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /a/b\"))' thrown while requesting HEAD https://huggingface.co/a/b
(EngineCore_DP0 pid=31) Retrying in 1s [Retry 1/5].
(EngineCore_DP0 pid=31) INFO 03-04 05:06:40 [gpu_model_runner.py:2653] Model loading took 14.2717 GiB and 9.14 seconds
{}{NOT_STARTED}",
        by_engine("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 896.00 MiB. GPU 0 has a total capacity of 15.77 GiB of which 412.00 MiB is free.")
    );
    let failure = diagnose(&log, None, None);
    assert_eq!((failure.cause, failure.stage), (GpuOom, Some(Stage::Profile)), "{:?}", failure.evidence);
    assert_eq!(failure.numbers["tried_to_allocate_mib"], 896.0);
    // A request's error hours before a death that nothing explains.
    let log = format!(
        "{SERVES}(APIServer pid=7) ERROR 03-04 05:08:00 [serving_chat.py:1] pydantic_core._pydantic_core.ValidationError: 1 validation error for ChatCompletionRequest\nInput should be a valid string [type=string_type]\n{}{DIED}",
        format!("{TOKENS}{ANSWER}").repeat(12)
    );
    assert_eq!(diagnose(&log, None, None).cause, EngineDead);
    // The same error directly before the death may be its cause; a later fatal one is it surely.
    let log = format!(
        "{SERVES}{TOKENS}{}{DIED}",
        by_engine("torch.AcceleratorError: CUDA error: an illegal memory access was encountered")
    );
    assert_eq!(diagnose(&log, None, None).cause, GpuFault);
}

#[test]
fn the_first_worker_s_error_is_the_cause_and_what_follows_are_echoes() {
    let log = format!(
        "{BANNER}(Worker_TP0 pid=41) INFO 03-04 05:06:40 [gpu_model_runner.py:2653] Model loading took 35.21 GiB and 40.0 seconds
(Worker_TP1 pid=42) INFO 03-04 05:06:40 [gpu_model_runner.py:2653] Model loading took 35.21 GiB and 40.0 seconds
(Worker_TP1 pid=42) ERROR 03-04 05:06:50 [multiproc_executor.py:671] Traceback (most recent call last):
(Worker_TP1 pid=42) ERROR 03-04 05:06:50 [multiproc_executor.py:671]   File \"/x/vllm/v1/worker/gpu_worker.py\", line 263, in determine_available_memory
(Worker_TP1 pid=42) ERROR 03-04 05:06:50 [multiproc_executor.py:671]     self.model_runner.profile_run()
(Worker_TP1 pid=42) ERROR 03-04 05:06:50 [multiproc_executor.py:671] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB. GPU 1 has a total capacity of 39.38 GiB of which 1.77 GiB is free. Including non-PyTorch memory, this process has 37.60 GiB memory in use.
(Worker_TP0 pid=41) INFO 03-04 05:06:51 [monitor.py:34] torch.compile takes 31.70 s in total
[rank0]:[E304 05:06:52.1 ProcessGroupNCCL.cpp:1782] [PG ID 2 PG GUID 3 Rank 0] ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.
(EngineCore_DP0 pid=31) ERROR 03-04 05:06:53 [core.py:708] EngineCore failed to start.
(EngineCore_DP0 pid=31) ERROR 03-04 05:06:53 [core.py:708] RuntimeError: Worker failed with error 'CUDA out of memory. Tried to allocate 2.32 GiB.', please check the stack trace above for the root cause
{NOT_STARTED}"
    );
    let failure = diagnose(&log, None, None);
    assert_eq!((failure.cause, failure.stage), (GpuOom, Some(Stage::Profile)));
    assert!(failure.evidence[0].text.starts_with("(Worker_TP1 pid=42)"), "{:?}", failure.evidence);
    assert_eq!((failure.numbers["tried_to_allocate_gib"], failure.numbers["this_process_in_use_gib"]), (2.32, 37.6));
    assert!(!failure.transient);
}

#[test]
fn of_chained_exceptions_the_first_one_is_the_cause() {
    let log = format!(
        "{BANNER}(APIServer pid=7) Traceback (most recent call last):
(APIServer pid=7)   File \"/x/huggingface_hub/utils/_http.py\", line 409, in hf_raise_for_status
(APIServer pid=7) requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://huggingface.co/meta-llama/Llama-3.1-8B/resolve/main/config.json
(APIServer pid=7)
(APIServer pid=7) The above exception was the direct cause of the following exception:
(APIServer pid=7)
(APIServer pid=7) huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: 1)
(APIServer pid=7) Cannot access gated repo for url https://huggingface.co/meta-llama/Llama-3.1-8B/resolve/main/config.json.
(APIServer pid=7)
(APIServer pid=7) During handling of the above exception, another exception occurred:
(APIServer pid=7)
(APIServer pid=7) OSError: You are trying to access a gated repo.
"
    );
    let failure = diagnose(&log, Some(&serde_json::json!({ "Status": "exited", "ExitCode": 1 })), None);
    assert_eq!((failure.cause, failure.transient), (ModelUnavailable, false));
    assert_eq!(failure.numbers["http_status"], 401.0);
}

#[test]
fn the_same_log_as_json_journal_and_container_lines_keeps_its_cause_level_and_numbers() {
    let bare = "(EngineCore_DP0 pid=31) ERROR 03-04 05:06:09 [core.py:708] ValueError: To serve at least one request with the models's max seq len (40960), (5.63 GiB KV cache is needed, which is larger than the available KV cache memory (2.10 GiB). Based on the available memory, the estimated maximum model length is 15264.";
    let warning = "(EngineCore_DP0 pid=31) WARNING 03-04 05:06:09 [x.py:1] CUDA out of memory may come";
    let records = |f: &dyn Fn(&str, &str) -> String| format!("{}\n{}\n", f(warning, "WARNING"), f(bare, "ERROR"));
    let body = |line: &str| line.split_once("] ").unwrap().1.to_owned();
    let forms: [(&str, String); 6] = [
        (
            "docker json-file",
            records(&|l, _| {
                serde_json::json!({ "log": format!("\u{1b}[1;36m{l}\n"), "stream": "stderr", "time": "2026-03-04T05:06:09.1Z" }).to_string()
            }),
        ),
        (
            "json formatter",
            records(&|l, level| {
                serde_json::json!({ "timestamp": "2026-03-04", "level": level, "message": body(l) }).to_string()
            }),
        ),
        (
            "json with traceback",
            records(&|l, level| {
                serde_json::json!({ "levelname": level, "msg": "EngineCore failed to start.", "exc_info": format!("Traceback (most recent call last):\n  File \"x.py\", line 3, in f\n{}", body(l)) }).to_string()
            }),
        ),
        ("journal", records(&|l, _| format!("Mar 04 05:06:09 gpu1 vllm[8052]: {l}"))),
        ("kubernetes", records(&|l, _| format!("2026-03-04T05:06:09.123456789Z stderr F {l}"))),
        ("lost escapes", records(&|l, _| format!("[1;36m{}", l.replacen(") ", ")[0;0m ", 1)))),
    ];
    for (name, log) in forms {
        let failure = diagnose(&log, None, None);
        assert_eq!(failure.cause, KvCacheTooSmall, "{name}: {:?}", failure.evidence);
        assert_eq!(failure.numbers.get("max_model_len_estimate"), Some(&15_264.0), "{name}");
        assert_eq!(failure.remedy, "lower max-model-len to 15,264 or raise gpu-memory-utilization", "{name}");
    }
}

#[test]
fn ray_counts_the_workers_that_said_the_same() {
    let log = "(RayWorkerWrapper pid=11305, ip=10.0.0.2) ERROR 08-27 05:12:18 worker_base.py:382] TypeError: not a string [repeated 6x across cluster]\n";
    assert_eq!(diagnose(log, None, None).cause, ModelBroken);
}

#[test]
fn an_unknown_death_shows_its_most_specific_line_and_names_no_cause() {
    let log = format!(
        "{BANNER}{}{NOT_STARTED}",
        by_engine(
            "Traceback (most recent call last):\n  File \"/x/vllm/v1/worker/gpu_model_runner.py\", line 9, in run\nIndexError: frobnicator 7 of 3"
        )
    );
    let failure = diagnose(&log, Some(&serde_json::json!({ "Status": "exited", "ExitCode": 1 })), None);
    assert_eq!(failure.cause, Unknown);
    assert!(failure.evidence[0].text.ends_with("IndexError: frobnicator 7 of 3"), "{:?}", failure.evidence);
}

#[test]
fn exit_codes_speak_only_where_nothing_else_does() {
    let state =
        |status: &str, code: i64| Some(serde_json::json!({ "Status": status, "ExitCode": code, "OOMKilled": false }));
    let starting = format!(
        "{BANNER}(EngineCore_DP0 pid=31) INFO 03-04 05:06:10 [gpu_model_runner.py:2602] Starting to load model /m...\n"
    );
    for (log, code, cause) in [
        (starting.as_str(), 137, Stopped),
        (&starting, 143, Stopped),
        (&starting, 139, EngineDead),
        (&starting, 134, EngineDead),
        (&starting, 135, ShmTooSmall),
        (&starting, 127, Docker),
        (SERVES, 0, EngineDead),
        (SERVES, 137, Stopped),
    ] {
        assert_eq!(diagnose(log, state("exited", code).as_ref(), None).cause, cause, "{code}");
    }
}

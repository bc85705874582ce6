//! What the field writes, line by line: every way of saying a cause that is known, and the places that tell one without words.

use super::super::*;
use super::{BANNER, NOT_STARTED, by_engine};
use crate::domain::{Cause, Stage};

use Cause::*;

/// Lines of start-ups that failed, by the cause that an engineer would act on.
const LINES: &[(Cause, &[&str])] = &[
    (
        GpuOom,
        &[
            "[5] [FATAL ERROR]: HIP failure: 'out of memory' (in ncclCommInitRank during the first all-reduce)",
            "ValueError: Ran out of memory in memory space hbm while allocating the result of %fusion.7 = bf16[64,128]",
            "RuntimeError: nrt_tensor_allocate status=4 message=\"Allocation Failure\"",
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
            "Refer to the documentation on how to address the out of memory issue: https://docs.ray.io/en/latest/ray-core/scheduling/ray-oom-prevention.html.",
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
            "RuntimeError: unable to write to file </torch_88_1020304050>",
        ],
    ),
    (
        BadArgument,
        &[
            "Server error: 500 - [address=0.0.0.0:40001, pid=77] AsyncEngineArgs.__init__() got an unexpected keyword argument 'reasoning-parser'",
            "RuntimeError: HIP error: invalid device ordinal",
            "RuntimeError: device >= 0 && device < num_gpus INTERNAL ASSERT FAILED at \"/pytorch/aten/src/ATen/cuda/CUDAContext.cpp\":51, please report a bug to PyTorch. device=3, num_gpus=2",
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
            "ValueError: VLLM_PORT 'tcp://10.9.8.7:8000' appears to be a URI. This may be caused by a Kubernetes service discovery issue",
            "AssertionError: LoRA is not enabled",
        ],
    ),
    (
        Unsupported,
        &[
            "ValueError: Hybrid KV cache manager is disabled but failed to convert the KV cache specs to one unified type.",
            "NotImplementedError: The page size is not divisible by the maximum page size and cannot be padded.",
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
            "Unable to get JIT kernel for brgemm. Params: M=2, N=2, K=64",
            "RuntimeError: Worker failed with error 'this CANN version do not support with this format', please check the stack trace above for the root cause",
            "AssertionError: This transfer requires another layout of the states.",
            "AttributeError: 'Qwen9ForCausalLM' object has no attribute 'make_empty_intermediate_tensors'",
        ],
    ),
    (
        ModelUnavailable,
        &[
            "RuntimeError: Loading lora acme/adapter-7 failed",
            "RuntimeError: An error occurred while downloading using `hf_transfer`. Consider disabling HF_HUB_ENABLE_HF_TRANSFER for better error handling.",
            "requests.exceptions.HTTPError: The request model: a/b does not exist!",
            "huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-6)",
            "OSError: You are trying to access a gated repo.",
            "huggingface_hub.errors.HfHubHTTPError: 503 Server Error: Service Temporarily Unavailable for url: https://huggingface.co/api/models/a/b",
            "requests.exceptions.SSLError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /api/models/a/b (Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed')))",
            "botocore.exceptions.NoCredentialsError: Unable to locate credentials",
            "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files.",
            "modelscope.hub.errors.NotExistError: The model: qwen/none-7b does not exist",
            "OSError: Incorrect path_or_model_id: '/data/none'. Please provide either the path to a local folder or the repo_id of a model on the Hub.",
            "Exception: Could not send runai_request to libstreamer due to: b'File access error'",
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
            "ValueError: Unsupported weight name: visual.proj.weight",
        ],
    ),
    (
        NoGpu,
        &[
            "docker: Error response from daemon: Unknown runtime specified nvidia.",
            "(HTTP code 500) server error - error gathering device information while adding custom device \"/dev/kfd\": no such file or directory",
            "docker: Error response from daemon: OCI runtime create failed: runc create failed: unable to start container process: error during container init: error running hook #1: exit status 1, stdout: , stderr: Auto-detected mode as 'csv'",
            "vllm.third_party.pynvml.NVMLError_Unknown: Unknown Error",
            "RuntimeError: Device string must not be empty",
            "RuntimeError: 0 active drivers ([]). There should only be one.",
            "RuntimeError: No HIP GPUs are available",
            "docker: Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: error running prestart hook #0: exit status 1, stdout: , stderr: Auto-detected mode as 'legacy'\nnvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object file: no such file or directory: unknown",
            "docker: Error response from daemon: CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=all",
            "RuntimeError: Bad StatusOr access: INTERNAL: Failed to get global TPU topology.",
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
            "../aten/src/ATen/native/cuda/IndexKernel.cu:93: operator(): block: [2,0,0], thread: [7,0,0] Assertion `index out of bounds: 0 <= tmp4 < 64` failed.",
            "RuntimeError: Error Internal",
            "RuntimeError: npuSynchronizeDevice:torch_npu/a.cpp:5 NPU function error: AclrtSynchronizeDeviceWithTimeout, error code is 507013",
        ],
    ),
    (
        Communication,
        &[
            "node7:99:140 [1] init.cc:417 NCCL WARN Cuda failure 'operation not supported'",
            "ValueError: The number of required HPUs exceeds the total number of available HPUs in the placement group.",
            "ValueError: Current node has no XPU available. current_node_resource={'CPU': 32.0}.",
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
            "RuntimeError: Bad StatusOr access: INTERNAL: Mosaic failed to compile TPU kernel: unsupported shape cast",
            "python3: /root/llvm/lib/Dialect/TritonGPU/Transforms/Lower.cpp:88: void lower(): Assertion `layout == expected' failed.",
            "FileNotFoundError: [Errno 2] No such file or directory: '/root/.triton/cache/9f2c/moe_kernel.json.tmp.pid_77_12'",
            "torch._inductor.compile_worker.subproc_pool.SubprocException: An exception occurred in a subprocess:",
            "torch._dynamo.exc.Unsupported: Attempted to call function marked as skipped",
            "torch._inductor.exc.InductorError: LoweringException: AssertionError: conv3d",
            "triton.compiler.errors.CompilationError: at 32:12: dot operands must have the same type",
            "RuntimeError: Ninja build failed. Ninja output:\n[1/3] nvcc -c x.cu\nninja: build stopped: subcommand failed.",
            "AssertionError: expected size 4096==4096, stride 1==4096 at dim=0",
            "ptxas fatal   : Value 'sm_121a' is not defined for option 'gpu-name'",
            "torch.fx.experimental.symbolic_shapes.ConstraintViolationError: Constraints violated (L['x'].size()[0])!",
            "subprocess.CalledProcessError: Command '['ninja', '-v', '-C', '/c/86/cached_ops']' returned non-zero exit status 1.",
            "Error: Please provide architecture for which code is to be generated.",
        ],
    ),
    (
        Environment,
        &[
            "torch._inductor.exc.InductorError: RuntimeError: Failed to run autotuning code block: [Errno 122] Disk quota exceeded: '/home/u/.cache/vllm/x'",
            "torch._inductor.exc.InductorError: PermissionError: [Errno 13] Permission denied: '/root/.cache/vllm/torch_compile_cache'",
            "AttributeError: partially initialized module 'acme' has no attribute 'ops' (most likely due to a circular import)",
            "RuntimeError: Resource temporarily unavailable",
            "libgomp: Thread creation failed: Resource temporarily unavailable",
            "ThreadPoolBuildError { kind: IOError(Os { code: 11, kind: WouldBlock, message: \"Resource temporarily unavailable\" }) }",
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
            "RuntimeError: Cannot re-initialize NPU in forked subprocess. To use NPU with multiprocessing, you must use the 'spawn' start method",
            "RuntimeError: NIXL is not available",
            "RuntimeError: Failed to find function aclmdlRICaptureBegin",
            "TypeError: varlen_fwd() takes 14 positional arguments but 15 were given",
            "TypeError: WidgetAttention.__init__() missing 1 required positional argument: 'layer_idx'",
            "TypeError: WidgetImpl.__init__() got multiple values for keyword argument 'pad'",
            "NameError: name 'vllm_ops' is not defined",
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
            "docker: Error response from daemon: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/opt/nvidia/start.sh\": stat /opt/nvidia/start.sh: no such file or directory: unknown.",
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
            "ERROR 05-21 09:27:46 async_llm_engine.py:58] Engine background task failed",
        ],
    ),
];

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
    assert_eq!(raised("vllm/_custom_ops.py", "AssertionError"), Unsupported);
    assert_eq!(
        raised("xgrammar/tokenizer_info.py", "AttributeError: 'Widget' object has no attribute 'v'"),
        ModelBroken
    );
    assert_eq!(raised("torch/_inductor/graph.py", "AssertionError"), CompileFailed);
    assert_eq!(raised("torch/distributed/distributed_c10d.py", "RuntimeError: it broke"), Communication);
    assert_eq!(raised("vllm/v1/core/sched/scheduler.py", "AssertionError: nobody knows"), Unknown);
    assert_eq!(raised("vllm/v1/worker/gpu_model_runner.py", "KeyError: 3"), Unknown);
    let loading = "Traceback (most recent call last):\n  File \"/x/vllm/model_executor/models/qwen3.py\", line 12, in load_weights\n    p = d[name]\n        ~^^^^^^\nKeyError: 'blocks.0.gate.scale'\n";
    assert_eq!(diagnose(&format!("{BANNER}{}{NOT_STARTED}", by_engine(loading)), None, None).cause, ModelBroken);
}

#[test]
fn what_a_compilers_backend_raised_tells_more_than_that_it_raised() {
    let wrapped = |inner: &str| {
        let text = format!("torch._dynamo.exc.BackendCompilerFailed: backend='<VllmBackend>' raised:\n{inner}\n");
        diagnose(&format!("{BANNER}{}{NOT_STARTED}", by_engine(&text)), None, None).cause
    };
    assert_eq!(wrapped("RuntimeError: Triton Error [CUDA]: device kernel image is invalid"), GpuFault);
    assert_eq!(
        wrapped("RuntimeError: Failed to find C compiler. Please specify via CC environment variable."),
        Environment
    );
    assert_eq!(wrapped("AssertionError: nobody knows"), CompileFailed);
}

#[test]
fn an_engine_whose_loop_failed_is_not_healthy() {
    let ready =
        "INFO:     Application startup complete.\nINFO:     10.9.8.7:5 - \"POST /v1/completions HTTP/1.1\" 200 OK\n";
    let loop_failed = "ERROR 09-27 03:05:43 async_llm_engine.py:58] Engine background task failed\nERROR 09-27 03:05:43 async_llm_engine.py:58] AssertionError\n";
    let failure = diagnose(&format!("{BANNER}{ready}{loop_failed}"), None, None);
    assert_eq!(failure.cause, Unknown);
    assert!(failure.evidence[0].text.ends_with("AssertionError"), "{:?}", failure.evidence);
}

#[test]
fn memory_that_ran_out_in_a_trial_of_the_sampler_is_a_question_of_requests() {
    let frames = "Traceback (most recent call last):\n  File \"/x/gpu_worker.py\", line 9, in compile_or_warm_up_model\n    a()\n  File \"/x/gpu_model_runner.py\", line 7, in _dummy_sampler_run\n    b()\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB.\n";
    let failure = diagnose(&format!("{BANNER}{}{NOT_STARTED}", by_engine(frames)), None, None);
    assert_eq!((failure.cause, failure.stage), (GpuOom, Some(Stage::Profile)));
}

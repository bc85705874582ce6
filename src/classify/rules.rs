//! The rule table: what vLLM, Docker, CUDA and the hub write when something specific is wrong, in order of precedence.
//!
//! A log is read from its first line; the first line that a `Tier::Root` rule fits decides, and on one line the first
//! rule of the table. Patterns are plain text: `*` stands for any text, `^` at the start for the start of the message,
//! `$` at the end for its end. Sources: vLLM 0.6 to 0.32, PyTorch, Triton, NCCL, huggingface_hub, Docker.

use super::rule::{Rule, rule};
use crate::domain::Cause;

use Cause::{
    BadArgument, Communication, CompileFailed, Docker, EngineDead, Environment, GpuFault, GpuMemoryBusy, GpuOom,
    HostOom, KvCacheTooSmall, ModelBroken, ModelUnavailable, NoGpu, PortInUse, ShmTooSmall, Unsupported,
};

/// Numbers of PyTorch's out-of-memory message.
const TORCH_OOM: &[&str] = &[
    "Tried to allocate {tried_to_allocate:size}",
    "has a total capacity of {total_gib} GiB",
    "GiB of which {free:size} is free",
    "this process has {this_process_in_use_gib} GiB",
    "Process {other_process_pid} has {other_process_in_use_gib} GiB memory in use",
    "Of the allocated memory {pytorch_allocated_gib} GiB",
    " and {reserved_unallocated:size} is reserved by PyTorch",
    "dummy requests: {num_requests}",
    "warming up sampler with {num_requests} dummy requests",
];

/// The table.
pub const RULES: &[Rule] = &[
    // ---- Docker and the container's start ------------------------------------------------------------------------
    rule("gpu_driver_too_old_for_image", GpuFault)
        .fits(&["nvidia-container-cli: requirement error*unsatisfied condition", "nvidia-container-cli*driver/library version mismatch"])
        .advise("the image needs a newer NVIDIA driver than the host has: update the driver or take an image for an older CUDA"),
    rule("missing_gpu_runtime", NoGpu)
        .fits(&["could not select device driver", "error gathering device information while adding custom device*/dev/nvidia",
            "nvidia-container-cli", "nvidia-container-runtime", "error running hook", "error running prestart hook", "error running createContainer hook", "unresolvable CDI devices nvidia.com/gpu",
            "unknown or invalid runtime name: nvidia", "Unknown runtime specified nvidia"])
        .advise("install the NVIDIA container toolkit on the host, or configure it for Docker (nvidia-ctk runtime configure)"),
    rule("missing_device", NoGpu)
        .fits(&["error gathering device information while adding custom device", "unresolvable CDI devices"])
        .advise("the host has no such device: check its driver, and the devices that the service asks for"),
    rule("port_in_use_docker", PortInUse)
        .fits(&["bind: address already in use", "port is already allocated", "Ports are not available"])
        .clues(&["driver failed programming external connectivity"])
        .reads(&["listen tcp4 127.0.0.1:{port}:", "listen tcp4 0.0.0.0:{port}:", "listen tcp {}:{port}:", "Bind for 0.0.0.0:{port} failed"])
        .retry(true),
    rule("registry_unreachable", Docker)
        .fits(&["Error response from daemon*dial tcp", "Error response from daemon*no such host", "Error response from daemon*i/o timeout",
            "Error response from daemon*TLS handshake timeout", "Error response from daemon*context deadline exceeded", "toomanyrequests",
            "Error response from daemon*connection refused", "Cannot connect to the Docker daemon", "Is the docker daemon running",
            "Error response from daemon*server misbehaving", "Error response from daemon*Client.Timeout exceeded"])
        .clues(&["Unable to find image"])
        .retry(true)
        .advise("Docker could not reach its registry or daemon: check the network, or pull the image beforehand"),
    rule("image_missing", Docker)
        .fits(&["No such image", "manifest unknown", "manifest for * not found", "pull access denied", "repository does not exist",
            "no matching manifest for", "invalid reference format", "Error response from daemon*denied:", "unauthorized: authentication required"])
        .clues(&["Unable to find image"])
        .advise("the image cannot be had: check its name and tag, log in to the registry, or pull it beforehand"),
    rule("bad_mount", Docker)
        .fits(&["bind source path does not exist", "invalid mount config", "error while creating mount source path", "error mounting",
            "Are you trying to mount a directory onto a file", "invalid volume specification", "mounts denied", "error while mounting volume"])
        .advise("a mounted path is wrong: create it on the host or correct the volume"),
    rule("name_conflict", Docker)
        .fits(&["Conflict. The container name", "is already in use by container"])
        .advise("a container of that name exists: remove it or take another name"),
    rule("image_command_missing", Docker)
        .fits(&["executable file not found in $PATH", "unable to start container process", "exec format error", "OCI runtime create failed",
            "exec user process caused", "^exec *: no such file or directory", "OCI runtime exec failed"])
        .advise("the container's command does not exist in the image or is for another architecture: check entrypoint, command and image"),
    rule("docker_no_space", Docker)
        .fits(&["Error response from daemon*no space left on device", "failed to register layer*no space left on device"])
        .advise("Docker's disk is full: free space under its data root"),
    rule("docker_refused", Docker)
        .fits(&["unknown or invalid runtime name", "Error response from daemon: network * not found", "Error response from daemon*cgroup",
            "failed to create shim task", "^Error response from daemon",
            "^docker: ", "driver failed programming external connectivity"])
        .advise("Docker refused the container: correct what its message names"),
    // ---- memory of the host ----------------------------------------------------------------------------------------
    rule("shm_too_small", ShmTooSmall)
        .fits(&["Insufficient space in /dev/shm", "insufficient shared memory", "Error while creating shared memory segment",
            "unable to allocate shared memory(shm)", "No space left on device*/dev/shm", "/dev/shm*No space left on device",
            "No space left on device: '/psm_", "unable to write to file </torch_", "posix_fallocate failed : No space left on device", "ailed to extend /dev/shm", "</torch_*No space left on device", "Bus error",
            "died unexpectedly (exit code: -7)"])
        .reads(&[": {shm_required_mib} MiB required, {shm_free_mib} MiB free"])
        .advise("raise shm_size to more than {shm_required_mib} MiB (now {shm_free_mib} MiB free), or use ipc: host"),
    rule("host_oom", HostOom)
        .fits(&["Out of memory: Killed process", "Memory cgroup out of memory", "oom-kill:", "invoked oom-killer", "oom_reaper:",
            "killed due to the node running low on memory", "DefaultCPUAllocator: can't allocate memory",
            "DefaultCPUAllocator: not enough memory", "[Errno 12] Cannot allocate memory", "Cannot allocate memory (os error 12)", "unable to mmap*Cannot allocate memory", "^MemoryError", "std::bad_alloc",
            "OutOfMemoryError: Task was killed due to the node", "Unable to allocate * for an array with shape", "ray.exceptions.OutOfMemoryError", "memory monitor killed", "ray-oom-prevention",
            "cudaHostAlloc*out of memory", "exit code: 137) *OOM"])
        .advise("give the container more host memory, or lower swap-space, cpu-offload-gb, max-num-seqs or the number of workers"),
    // ---- memory of the GPU -----------------------------------------------------------------------------------------
    rule("free_memory_less_than_utilization", GpuMemoryBusy)
        .fits(&["on startup is less than desired GPU memory utilization", "on startup is less than the engine's budget",
            "exceed the desired GPU memory utilization", "on startup is less than desired CPU memory utilization", "on kv cache allocation is less than requested memory for kv"])
        .reads(&["Free memory on device {}({free_gib}/{total_gib} GiB)", "Available memory on node {}({free_gib}/{total_gib} GiB) on kv cache", "requested memory for kv ({wanted_gib} GiB)", "utilization ({gpu_memory_utilization}, {wanted_gib} GiB)",
            "weights ({gpu_memory_utilization}, {wanted_gib} GiB)"])
        .retry(true)
        .advise("{free_gib} of {total_gib} GiB were free and {wanted_gib} GiB wanted: free the GPU, or lower gpu-memory-utilization below {gpu_memory_utilization}"),
    rule("memory_profiling_error", GpuMemoryBusy)
        .fits(&["Error in memory profiling", "This happens when other processes sharing the same container release GPU memory"])
        .reads(&["Initial free memory {initial_free_gib} GiB, current free memory {current_free_gib} GiB", "nitial free memory {initial_free_bytes}, current free memory {current_free_bytes}."])
        .retry(true)
        .advise("another process changed the GPU's memory during profiling: wait until it is quiet and start again"),
    rule("kv_cache_too_small_for_max_len", KvCacheTooSmall)
        .fits(&["KV cache is needed, which is larger than", "is larger than the maximum number of tokens that can be stored in KV cache",
            "KV cache is needed*larger than the available KV cache memory"])
        .reads(&["max seq len ({max_model_len})", "({kv_needed_gib} GiB KV cache is needed", "max seq len ({}), {kv_needed_gib} GiB KV cache",
            "available KV cache memory ({kv_available_gib} GiB)", "estimated maximum model length is {max_model_len_estimate}",
            "can be stored in KV cache ({kv_cache_tokens})"])
        .advise("lower max-model-len to {max_model_len_estimate} or raise gpu-memory-utilization"),
    rule("kv_cache_no_blocks", KvCacheTooSmall)
        .fits(&["No available memory for the cache blocks", "Cannot auto-fit max_model_len: not enough", "Cannot allocate any KV cache blocks",
            "num_gpu_blocks * must be greater than", "exceeds available Mamba cache blocks", "not enough memory for the KV cache"])
        .advise("nothing is left for the KV cache beside weights and activations: raise gpu-memory-utilization, or use more GPUs or smaller weights"),
    rule("gpu_oom", GpuOom)
        .fits(&["OutOfMemoryError: CUDA out of memory", "OutOfMemoryError: HIP out of memory", "OutOfMemoryError: XPU out of memory", "CUDA out of memory", "HIP out of memory",
            "XPU out of memory", "CUDA error: out of memory", "HIP error: out of memory", "CUDA driver error: out of memory",
            "Triton Error [CUDA]: out of memory", "Triton Error [HIP]: out of memory", "Cuda failure*out of memory", "cudaMalloc failed: out of memory",
            "CUDA_ERROR_OUT_OF_MEMORY", "CUDA Error: out of memory", "cudaErrorMemoryAllocation", "hipErrorOutOfMemory", "UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY",
            "RESOURCE_EXHAUSTED: Ran out of memory", "OutOfMemoryError: Allocation on device", "CUBLAS_STATUS_ALLOC_FAILED", "cublasCreate(handle)*CUBLAS_STATUS_NOT_INITIALIZED",
            "not enough GPU memory", "torch.cuda.OutOfMemoryError", "NPU out of memory", "HIP failure*out of memory",
            "Ran out of memory in memory space", "nrt_tensor_allocate status=4"])
        .reads(TORCH_OOM)
        .fatal(),
    // ---- the GPU itself ----------------------------------------------------------------------------------------------
    rule("gpu_hardware_error", GpuFault)
        .fits(&["uncorrectable ECC error", "NVRM: Xid", "Xid (PCI", "GPU is lost", "has fallen off the bus", "uncorrectable NVLink error",
            "CUDA error: hardware stack error", "CUDA error: unknown error", "GPU requires reset", "HW Exception by GPU", "UR_RESULT_ERROR_DEVICE_LOST", "hipErrorIllegalState"])
        .reads(&["Xid (PCI:{}): {xid},"])
        .retry(true)
        .fatal()
        .advise("the GPU failed: look at dmesg and nvidia-smi -q, reset or replace it if it comes again"),
    rule("cuda_illegal_access", GpuFault)
        .fits(&["an illegal memory access was encountered", "unspecified launch failure", "misaligned address", "an illegal instruction was encountered",
            "CUDA error: invalid program counter", "Memory access fault by GPU", "HSA_STATUS_ERROR", "CUDA_ERROR_ILLEGAL_ADDRESS",
            "CUDA error: the launch timed out", "cudaErrorIllegalAddress", "hipErrorIllegalAddress", "CUDA error: invalid address space"])
        .retry(true)
        .fatal()
        .advise("a kernel read or wrote wrong memory: try again once; if it comes back, try another attention backend, enforce-eager or vLLM version"),
    rule("device_assert", GpuFault)
        .fits(&["device-side assert triggered", "CUDA error: device-side assert", "thread: [*Assertion `"])
        .fatal()
        .advise("a kernel's own check failed, mostly an index outside the vocabulary or the position table: check tokenizer, max-model-len and rope settings"),
    rule("cuda_driver_mismatch", GpuFault)
        .fits(&["device kernel image is invalid", "forward compatibility was attempted", "CUDA driver version is insufficient",
            "driver on your system is too old", "was compiled with an unsupported toolchain", "unsupported display driver / cuda driver combination",
            "Driver/library version mismatch", "system not yet initialized", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "cudaErrorInsufficientDriver",
            "cudaErrorCompatNotSupportedOnDevice", "CUDA unknown error - this may be due to an incorrectly set up environment", "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "Unsupported .version *; current version is"])
        .reads(&["Error {cuda_error_code}: ", "found version {driver_cuda_version})"])
        .advise("driver, CUDA in the image and GPU do not fit together: update the host's driver or take an image for its CUDA version"),
    rule("cuda_devices_busy", GpuFault)
        .fits(&["devices are busy or unavailable", "device(s) is/are busy or unavailable"])
        .retry(true)
        .advise("the GPU is in exclusive mode or hangs: check nvidia-smi for other processes and the compute mode"),
    rule("no_kernel_image", Unsupported)
        .fits(&["no kernel image is available for execution", "is not compatible with the current PyTorch installation", "HIP error: invalid device function", "hipErrorNoBinaryForGpu",
            "rocBLAS error: Cannot read*TensileLibrary", "Unable to get JIT kernel"])
        .fatal()
        .advise("this build has no kernels for this GPU's (or CPU's) architecture: take an image that supports it"),
    rule("no_accelerator", NoGpu)
        .fits(&["Failed to infer device type", "Found no NVIDIA driver", "No CUDA GPUs are available", "no CUDA-capable device is detected",
            "No HIP GPUs are available", "Can't initialize NVML", "NVMLError_LibraryNotFound", "NVMLError_Unknown", "Failed to initialize NVML", "Unexpected error from hipGetDeviceCount()", "NVML Shared Library Not Found", "Torch not compiled with CUDA enabled",
            "NVMLError_DriverNotLoaded", "Failed to get global TPU topology", "TPU initialization failed", "cudaErrorNoDevice", "hipErrorNoDevice", "no ROCm-capable device is detected", "0 active drivers ([])", "Device string must not be empty",
            "couldn't communicate with the NVIDIA driver", "No XPU devices are available", "libnvidia-ml.so.1: cannot open shared object file", "libcuda.so.1: cannot open shared object file"])
        .advise("the container sees no GPU: request GPUs for the service (gpus: all or deploy.resources) and check the driver"),
    rule("accelerator_error_other", GpuFault)
        .fits(&["Failed to execute the model status=", "BatchPrefillWithPagedKVCache failed with error", "BatchDecodeWithPagedKVCache failed with error",
            "(status == cudaSuccess) is false", "CUBLAS_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_INTERNAL_ERROR", "CUBLAS_STATUS_NOT_INITIALIZED",
            "CUBLAS_STATUS_INVALID_VALUE", "CUDNN_STATUS_", "cutlass*Error Internal",
            // CUTLASS's own states, which vLLM raises without a word around them.
            "Error: Error Internal", "execution: Error Internal", "Error: Error Invalid Problem", "Error: Error Misaligned Operand", "CUDA error: invalid configuration argument",
            "CUDA error: invalid argument", "CUDA error: operation failed due to a previous error during capture", "CUDA error: CUBLAS", "NRT_EXEC",
            "CUDA error: operation not permitted", "cudaErrorLaunchFailure", "CUDA error: context is destroyed"])
        .reads(&["status={status_code} "])
        .fatal()
        .advise("a GPU kernel refused to run for this shape or card: try another attention backend, quantisation or vLLM version"),
    // ---- disks: what compiles wraps their errors in its own -----------------------------------------------------------------
    rule("disk_full", Environment)
        .fits(&["No space left on device", "Disk quota exceeded", "Not enough free disk space"])
        .advise("a disk is full: free space where caches and models lie"),
    rule("not_writable", Environment)
        .fits(&["Read-only file system", "PermissionError at", "Permission denied (os error 13)", "InductorError:*[Errno 13] Permission denied"])
        .advise("a folder of the cache or the model may not be written: mount it writable for the container's user"),
    // ---- compiling ---------------------------------------------------------------------------------------------------
    rule("env_missing_tool", Environment)
        .fits(&["Failed to find C compiler", "Could not find nvcc", "No such file or directory: 'nvcc'", "No such file or directory: 'ninja'",
            "No such file or directory: 'gcc'", "No such file or directory: 'g++'", "No such file or directory: '/usr/local/cuda/bin/nvcc'", "Ninja is required to load C++ extensions",
            "returned non-zero exit status 127", "CUDA_HOME environment variable is not set", "fatal error: Python.h", "fatal error: cuda*.h: No such file",
            "cannot find -lcuda", "Cannot find ptxas", "InvalidCxxCompiler", "vllm: command not found", "ray: command not found", "python: command not found", "python3: command not found", "nvcc: command not found",
            "ninja: command not found", "gcc: command not found", "numactl is required", "vllm: not found", "lscpu: not found", "nvcc: not found", "ninja: not found", "gcc: not found", "No such file or directory: 'ptxas'", "Unable to find nvcc"])
        .reads(&["exit status {command_exit_status}."])
        .advise("a tool that vLLM needs is not in the image or not in PATH: take the official image or install it"),
    rule("kernel_needs_too_much", Unsupported)
        .fits(&["out of resource: shared memory", "OutOfResources: out of resource", "fp8e4nv not supported", "fp8e5 not supported", "not supported in this architecture"])
        .reads(&["Required: {required_bytes}, Hardware limit: {limit_bytes}"])
        .advise("a kernel needs what this GPU does not have: try another attention backend, kv-cache-dtype or quantisation"),
    rule("compile_failure", CompileFailed)
        .fits(&["failed to compile TPU kernel", "riton*: Assertion `", "InductorError:", "torch._inductor.exc.", "expected size *, stride * at dim=", "PassManager::run failed", "CompilationError:", "BackendCompilerFailed", "torch._dynamo.exc.",
            "LoweringException", "TritonMissing", "CppCompileError", "nvcc fatal", "ptxas fatal", "ptxas exited with", "Internal Triton PTX codegen error", "NoTritonConfigsError",
            "ninja: build stopped", "Error building extension", "NVRTC compilation failed", "NVRTC_ERROR", "neuronx-cc*failed", "Compilation failed for module", "Command '' died with",
            "MLIRError", "failed to legalize operation", "LLVM ERROR", "hipcc*failed", "Failed to compile the graph", "RuntimeError: Ninja build failed", "JIT compilation failed", "ernel compilation failed",
            "SubprocException", "ConstraintViolationError", "Constraints violated (", "Command '['ninja'*returned non-zero", "provide architecture for which code is to be generated"])
        .advise("compiling a kernel failed: try enforce-eager or optimization-level 0, clear the compile cache, or take another vLLM version"),
    // ---- talking between processes -------------------------------------------------------------------------------------
    // Uvicorn says so after `Application startup complete`, and ends.
    rule("port_in_use_at_bind", PortInUse)
        .fits(&["error while attempting to bind on address*address already in use"])
        .reads(&["[Errno {errno}] error while attempting to bind on address ('{}', {port})", "bind on address ('{}', {port})"])
        .retry(true)
        .fatal()
        .advise("another program listens on port {port}: stop it or take another port"),
    rule("port_in_use", PortInUse)
        .fits(&["[Errno 98] Address already in use", "[Errno 48] Address already in use", "EADDRINUSE", "Address already in use"])
        .reads(&["[Errno {errno}] Address", "(port: {port})"])
        .retry(true)
        .advise("another program listens on port {port}: stop it or take another port"),
    rule("nccl_watchdog", Communication)
        .fits(&["Watchdog caught collective operation timeout"])
        .reads(&["Timeout(ms)={timeout_ms})", " ran for {waited_ms} milliseconds before timing out"])
        .retry(true)
        .fatal()
        .advise("a collective did not end within {timeout_ms} ms: one worker hangs or is gone; look at each worker's last line, and set NCCL_DEBUG=INFO"),
    rule("nccl_error", Communication)
        .fits(&["ncclSystemError:", "ncclUnhandledCudaError:", "ncclInternalError:", "ncclRemoteError:", "ncclInvalidUsage:",
            "ncclInvalidArgument", "NCCL error", "retrieving ncclUniqueId from", "Bootstrap : no socket interface found", "CCL_ERROR|", "oneCCL: ", "DistBackendError", "NCCL WARN Duplicate GPU detected", "NCCL WARN Cuda failure", "RCCL error", "HCCL*rror",
            "NCCL communicator was aborted", "DistNetworkError", "DistStoreError", "client socket has timed out", "heartbeat monitor timed out",
            "gloo*Connection closed by peer", "gloo*connect*timeout", "Gloo connectFullMesh failed", "gloo*Unable to find address for"])
        .retry(true)
        .advise("the workers could not talk: set NCCL_DEBUG=INFO, check shm_size or ipc: host, NCCL_SOCKET_IFNAME and NCCL_P2P_DISABLE, or disable-custom-all-reduce"),
    rule("custom_all_reduce", Communication)
        .fits(&["custom_all_reduce.cuh:*", "CustomAllreduce*failed", "peer access is not supported", "peer access*not enabled", "cudaIpcOpenMemHandle", "open_mem_handle*invalid"])
        .retry(false)
        .advise("the GPUs cannot reach each other's memory: add disable-custom-all-reduce, or use ipc: host"),
    rule("rpc_timeout", Communication)
        .fits(&["RPC call to * timed out", "Timed out waiting for engine", "Timed out waiting for new engine core", "DP Coordinator process failed", "did not become ready within", "Did not receive response from front-end process",
            "Did not receive READY", "timed out waiting for *worker", "Timeout waiting for RPC", "Timed out initializing process group", "MQLLMEngine didn't reply within", "No heartbeat received from MQLLMEngine", "RPCServer didn't reply within"])
        .retry(true)
        .advise("a worker did not answer in time: look for a hung worker or a slow first compile; raise VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS or the start deadline"),
    rule("distributed_resource_timeout", Communication)
        .fits(&["Cannot provide a placement group", "The number of required * exceeds the total number of available", "placement group creation timed out", "is not included in a placement group",
            "Current node has no * available", "Ray does not allocate any GPUs", "Failed to connect to Ray cluster", "Failed to connect to GCS", "No GPU found in Ray cluster", "ray.exceptions.RaySystemError",
            "Could not find any running Ray instance", "ray.exceptions.ActorUnavailableError", "ray.exceptions.GetTimeoutError", "ray.exceptions.RayChannelTimeoutError", "Every node should have a unique IP address", "Not enough resources to allocate", "Not enough total available nodes"])
        .reads(&["within {timeout_s} seconds"])
        .retry(true)
        .advise("Ray cannot give the GPUs that the config asks for: check ray status, or lower tensor- or pipeline-parallel-size"),
    rule("kv_transfer_error", Communication)
        .fits(&["^ConnectionResetError", "^ConnectionRefusedError", "redis.exceptions.ConnectionError", "NIXL_ERR", "nixl*failed", "nixlBackendError", "nixlRemoteDisconnectError", "LMCache*connection", "mooncake*failed", "UCX  ERROR", "KV transfer*failed"])
        .reads(&["[Errno {errno}]"])
        .retry(true)
        .advise("a peer of the engine (KV store, connector) closed the connection: check that it runs and is reachable"),
    // ---- the command line and the configuration --------------------------------------------------------------------------
    rule("bind_refused", BadArgument)
        .fits(&["annot assign requested address", "bind on address*permission denied"])
        .advise("the server cannot listen there: correct host and port"),
    rule("chat_template_error", BadArgument)
        .fits(&["appears path-like, but doesn't exist", "The supplied chat template"])
        .at_start()
        .advise("the value of chat-template names no file inside the container: correct the path or mount the file"),
    rule("bad_flag", BadArgument)
        .fits(&["error: unrecognized arguments", "error: argument ", "error: the following arguments are required", "error: ambiguous option", "error: invalid choice", "^vllm: error: ", "^vllm serve: error: ", "^api_server.py: error: ",
            "error: expected one argument", "error: one of the arguments", "error: No model", ": error: --", ": error: Invalid "])
        .at_start()
        .advise("the command line is wrong: correct {flag}"),
    rule("unknown_parser", BadArgument)
        .fits(&["invalid tool call parser", "Reasoning parser '*' not found", "invalid reasoning parser", "Tool parser '*' not found", "--enable-auto-tool-choice requires --tool-call-parser",
            "requires --reasoning-parser", "requires --tool-call-parser", "helper: '*' not found in"])
        .at_start()
        .advise("this vLLM has no such parser: correct {flag}, if need be to a name that the message lists"),
    rule("parser_does_not_fit", BadArgument)
        .fits(&["arser could not locate*tokenizer", "extractor could not locate*tokenizer"])
        .at_start()
        .advise("the parser looks for tokens that this model's tokenizer lacks: correct tool-call-parser or reasoning-parser, or leave it out"),
    rule("needs_remote_code", BadArgument)
        .fits(&["argument `trust_remote_code=True`", "option `trust_remote_code=True`", "setting `trust_remote_code=True`"])
        .at_start()
        .advise("the model brings its own code: add --trust-remote-code if you trust it"),
    rule("too_few_gpus", BadArgument)
        .fits(&["is larger than the number of available GPUs", "please ensure that world_size", "please set tensor_parallel_size", "local_world_size (*) must be less than", "exceeds the number of visible * devices", "local_world_size (*) exceeds", "is out of bounds for assigned_physical_gpu_ids", "local rank * is out of bounds for", "Error setting *: local range"])
        .reads(&["World size ({world_size}) is larger", "world_size ({world_size})", "please set tensor_parallel_size ({world_size}) to", "available GPUs ({available_gpus})", "gpu count ({available_gpus})", "visible devices ({available_gpus})"])
        .at_start()
        .advise("{world_size} GPUs are wanted and {available_gpus} are there: lower tensor-parallel-size or pipeline-parallel-size, or give the container more GPUs"),
    rule("max_model_len_too_long", BadArgument)
        .fits(&["is greater than the derived max_model_len", "User-specified max_model_len"])
        .reads(&["max_model_len ({max_model_len}) is greater", "max_position_embeddings={derived_max_model_len} ", "derived max_model_len ({}={derived_max_model_len} ", "model_max_length={derived_max_model_len} "])
        .at_start()
        .advise("the model allows {derived_max_model_len} tokens: lower max-model-len, or set rope scaling if the model supports it"),
    rule("value_out_of_range", BadArgument)
        .fits(&["Input should be", "Extra inputs are not permitted", "Unexpected keyword argument", "GPU memory utilization must be", "must be greater than or equal to max_num_seqs", "is smaller than max_model_len",
            "must be a positive integer", "port must be 0-65535", "decrease DP/TP/PP", "nough allowed NUMA nodes", "must be divisible by tensor parallel size", "must be divisible by the tensor parallel size", "must be equal to the tensor_parallel_size", "please ensure that max_parallel_loading",  "Unknown quantization method",
            "Invalid quantization method", "Unknown dtype", "Invalid attention backend", "Unrecognized distributed executor backend", "Unknown speculative", "is greater than max_lora_rank", "Unknown KV cache",
            "Load format `*` is not supported", "^ValueError: Invalid value '*' for", "^TypeError: *Config.__init__() got an unexpected keyword argument", "EngineArgs.__init__() got an unexpected keyword argument", "Unsupported attention backend", "CUDA error: invalid device ordinal", "HIP error: invalid device ordinal", "device < num_gpus INTERNAL ASSERT", "Invalid --", "Unknown load_format", "Please set `--", "must be specified when using",
            "max_num_batched_tokens (*) must", "cannot be greater than the max_model_len", "unsupported LoRA", "must be between 0", "Failed to parse*json", "not a valid AttentionBackendEnum", "Inconsistent GPU visibility env vars", "Configuration mismatch detected for engine", "use --headless", "must be a subclass of Executor", "LoRA resolver '*' not found", "VLLM_RAY_BUNDLE_INDICES", "Unknown attention backend",
            "No tokenizer registered for tokenizer_mode", "Cannot use the fast tokenizer in slow tokenizer mode", "appears to be a URI", "LoRA is not enabled", "Unexpected extra config keys", "yaml.scanner.ScannerError", "yaml.parser.ParserError", "expected target modules in * but received"])
        .clues(&["input_value="])
        .reads(&["input_value={rejected_value},", "less than or equal to {value_max} ", "attention heads ({num_attention_heads})", "parallel size ({tensor_parallel_size})",
            "LoRA rank {lora_rank} is greater than max_lora_rank {max_lora_rank}"])
        .at_start()
        .advise("vLLM's configuration rejects a value or combination: correct {flag}"),
    // ---- what the container gives it -----------------------------------------------------------------------------------------------
    rule("limits_of_the_container", Environment)
        .fits(&["can't start new thread", "Too many open files", "getpwuid(): uid not found", "^RuntimeError: Resource temporarily unavailable", "message: \"Resource temporarily unavailable\"", "Thread creation failed", "pthread_create failed"])
        .advise("the container lacks threads, open files or a name for its user: raise pids-limit and ulimits.nofile, or take a user that the image knows"),
    // ---- the model ---------------------------------------------------------------------------------------------------------
    rule("hub_rate_limit_or_network", ModelUnavailable)
        .fits(&["429 Client Error", "Too Many Requests", "503 Server Error", "502 Server Error", "500 Server Error", "504 Server Error", "NameResolutionError", "Temporary failure in name resolution",
            "Name or service not known", "Max retries exceeded with url", "httpx.ConnectTimeout", "exceptions.ConnectTimeout", "ConnectTimeoutError", "httpx.ReadTimeout", "exceptions.ReadTimeout", "ReadTimeoutError", "httpx.ConnectError", "Consistency check failed", "IncompleteRead", "Connection broken",
            "An error happened while trying to locate the file", "CERTIFICATE_VERIFY_FAILED", "ProxyError", "requests.exceptions.ConnectionError", "RemoteDisconnected", "peer closed connection without sending complete message", "File reconstruction error", "CAS service error", "error occurred while downloading using `hf_transfer`"])
        .reads(&["Error. {http_status} ", "{} {http_status} Client Error", "HfHubHTTPError: {http_status} "])
        .retry(true)
        .at_start()
        .advise("the hub could not be reached or limits requests: try again later, set HF_TOKEN, or download the model beforehand"),
    rule("gated_repo", ModelUnavailable)
        .fits(&["Cannot access gated repo", "to access a gated repo", "is restricted and you are not in the authorized list", "is restricted. You must have access to it", "You are trying to access a gated repo", "GatedRepoError", "awaiting a review from the repo authors", "403 Client Error", "Client error '403"])
        .reads(&["Client error '{http_status} ", "Error: {http_status} Client Error"])
        .at_start()
        .advise("the model is gated: accept its terms on the hub and give the container a HF_TOKEN that may read it"),
    rule("hf_offline", ModelUnavailable)
        .fits(&["LocalEntryNotFoundError", "outgoing traffic has been disabled", "OfflineModeIsEnabled", "offline mode is enabled", "We couldn't connect to 'https://"])
        .at_start()
        .advise("the hub is switched off or out of reach and the model is not in the cache: mount the cache, download it beforehand, or unset HF_HUB_OFFLINE"),
    rule("model_not_found", ModelUnavailable)
        .fits(&["is not a local folder and is not a valid model identifier", "HFValidationError", "Incorrect path_or_model_id", "Repository Not Found", "RepositoryNotFoundError", "RevisionNotFoundError", "Revision Not Found",
            "401 Client Error", "404 Client Error", "Client error '401", "Client error '404", "is not a valid git identifier", "No such model", "Unrecognised GGUF reference", "The request model: * does not exist", "No adapter found for", "NoSuchBucket", "botocore.exceptions.", "An error occurred (AccessDenied)", "libstreamer due to", "modelscope.hub.errors.NotExistError", "Invalid username or password", "Invalid user token", "LocalTokenNotFoundError", "Invalid credentials in Authorization",
            "Loading lora * failed: No adapter", "^RuntimeError: Loading lora * failed$"])
        .reads(&["Client error '{http_status} ", "Error: {http_status} Client Error"])
        .at_start()
        .advise("no such model: check the name, the path inside the container, and the token for private ones"),
    rule("vocabulary_download", ModelBroken)
        .fits(&["invalid tiktoken vocab file", "HarmonyError", "error downloading or loading vocab file"])
        .retry(true)
        .at_start()
        .advise("a vocabulary file that the tokenizer's library fetches is missing or broken: give the container network or mount it (TIKTOKEN_ENCODINGS_BASE)"),
    rule("tokenizer_config_error", ModelBroken)
        .fits(&["^TypeError: not a string$", "Unable to load vocabulary from file", "Can't load tokenizer for", "Can't load *processor for", "Make sure that a Mistral tokenizer is present", "Can't load feature extractor for", "Couldn't instantiate the backend tokenizer",
            "did not match any variant of untagged enum", "Tokenizer class * does not exist", "Can't load the configuration of", "error loading tokenizer", "Failed to load the tokenizer",
            "expected value at line 1 column 1", "EOF while parsing a value at line", "sentencepiece*error", "Internal: could not parse ModelProto", "Internal: src/sentencepiece", "vocab_file*NoneType", "is not a valid tokenizer"])
        .at_start()
        .advise("the tokenizer's files are missing or broken: download the model again, or point tokenizer at a good one"),
    rule("config_missing", ModelBroken)
        .fits(&["Invalid repository ID or local directory specified", "does not appear to have a file named", "Should have a `model_type` key", "Could not detect config format", "Failed to load mistral '", "The text_config extracted from the model config does not have", "It looks like the config file at * is not a valid JSON file",
            "JSONDecodeError", "No model architectures are specified", "config.json*No such file", "Unrecognized model in"])
        .at_start()
        .advise("the model's config is missing or broken: check the path inside the container and download the model again"),
    rule("weights_broken", ModelBroken)
        .fits(&["SafetensorError", "Error while deserializing header", "MetadataIncompleteBuffer", "HeaderTooLarge", "HeaderTooSmall", "InvalidHeader", "Cannot find any model weights",
            "Cannot find any safetensors model weights", "weights were not initialized from checkpoint", "Weight files referenced in index but missing", "PytorchStreamReader failed", "UnpicklingError",
            "size mismatch for", "There is no module or parameter named", "Unsupported weight name", "Attempted to load weight", "Tried to load weights of size", "invalid load key", "unexpected EOF, expected", "checkpoint files are currently supported", "Could not find checkpoint files", "No model weights found in",
            "incomplete metadata, file not fully covered", "Missing keys * in loaded state", "^KeyError: 'model.layers", "^KeyError: 'layers.", "ile *is corrupted", "heckpoint *is corrupted"])
        .at_start()
        .advise("the checkpoint's files are incomplete or do not fit the model: download them again and check free disk space"),
    // ---- what this vLLM or this hardware cannot do ---------------------------------------------------------------------------
    rule("unsupported_model", Unsupported)
        .fits(&["Value error,*does not recognize this architecture", "does not recognize this architecture", "are not supported for now", "has no vLLM implementation", "is not supported by vLLM", "Model architectures * failed to be inspected", "was supported in vLLM until",
            "No supported config format found", "does not support any pooling tasks", "This model does not support `--", "Transformers does not recognize", "Unknown gguf model_type",
            "Failed to map GGUF parameters"])
        .advise("this vLLM (or its Transformers) does not know the model: take a newer image or another model"),
    rule("unsupported_quantization", Unsupported)
        .fits(&["The quantization method * is not supported", "is not supported for quantization method", "Cannot find the config file for", "does not match the quantization method specified", "Unsupported quantization config",
            "quantization is currently not", "The input size is not aligned with the quantized weight shape", "The output size is not aligned with the quantized weight shape", "is not divisible by weight quantization block", "is not divisible by tile",
            "is not divisible by min_thread", "Unsupported FusedMoe scheme", "is not supported for FP8", "Marlin does not support", "No kernel found for", "Failed to find a kernel that can implement", "is currently not supported by marlin", "No compiled *for a compute capability",
            "Invalid thread config: thread_m_blocks"])
        .reads(&["Minimum capability: {minimum_capability}.", "Current capability: {current_capability}.", "capability: {minimum_capability}."])
        .advise("model, quantisation and GPU do not fit together: take a checkpoint of that quantisation, or a quantisation that the GPU supports"),
    rule("unsupported_combination", Unsupported)
        .fits(&["UVA is not available", "No valid attention backend", "is not valid for this configuration", "is only supported on GPUs with compute capability", "Bfloat16 is only supported", "only supported on CUDA devices with compute capability", "requires compute capability",
            "does not support LoRA", "LoRA is not supported", "Pipeline parallelism is not supported", "Speculative decoding is not supported", "Head size * is not supported", "head_size * is not supported", "not supported on this platform",
            "is not supported on current platform", "is not supported by the V1 Engine", "VLLM_USE_V1=1 is not supported", "fp8 KV cache is not supported", "KV cache is not supported", "only supported on Hopper", "FlashAttention only supports",
            "FlashInfer*requires", "kv_cache_dtype not supported", "kv-cache-dtype*not supported", "sleep mode is not supported", "No common block size for", "\" not implemented for '", "Sleep mode allocator is not available", "KV cache specs to one unified type", "page size is not divisible by the maximum page size"])
        .advise("this combination does not work in this vLLM or on this GPU: drop the option that the message names"),
    // ---- the image ---------------------------------------------------------------------------------------------------------
    rule("import_abi_error", Environment)
        .fits(&["Tried to instantiate class '_core_C", "undefined symbol", "version `GLIBC", "version `GLIBCXX", "cannot open shared object file", "object has no attribute*_C'", "_OpNamespace' '_C*has no attribute",
            "numpy.dtype size changed", "packages that were not found in your environment", "Failed to import Ray", "Ray is not installed", "Ray version * is required, but found", "Please install * `pip install", "backend is not available*lease install", "is already used by a Transformers", "has no attribute all_special_tokens_extended", "compiled with different CUDA major versions",
            "flashinfer-* version (*) does not match", "incompatible with this Python", "invalid ELF header", "torchvision::nms does not exist", "NIXL is not available", "Failed to find function acl"])
        .clues(&["Failed to import from vllm._core_C", "Failed to import from vllm._C", "Failed to import from vllm"])
        .advise("the image's libraries do not fit together: take an image built as a whole, without packages installed over it"),
    rule("cuda_in_forked_process", Environment)
        .fits(&["Cannot re-initialize * in forked subprocess"])
        .advise("the GPU was used before the workers were forked: set VLLM_WORKER_MULTIPROC_METHOD=spawn"),
    rule("cuda_error_other", GpuFault)
        .fits(&["CUDA error: ", "HIP error: ", "CUDA driver error: ", "Triton Error [CUDA]: ", "Triton Error [HIP]: ", "level_zero backend failed with error", "NPU function error", "call acl api failed"])
        .fatal()
        .advise("a call to the GPU failed: look at dmesg and nvidia-smi, then try enforce-eager or another attention backend"),
    // ---- weaker signs: only where nothing above fits -----------------------------------------------------------------------------
    rule("import_error", Environment)
        .fits(&["^ModuleNotFoundError:", "^ImportError:", "^NameError: name", "No module named", "ImportError: cannot import name", "AttributeError: partially initialized module", "A module that was compiled using NumPy 1", "Failed to load LogitsProcessor plugin", "^ValueError:*ot installed", "^AssertionError:*lease install", "^ValueError:*lease install", "^ValueError:*pip install", "^AssertionError:*kernels not found", "^PermissionError:"])
        .likely()
        .advise("a Python package or file is missing or unreadable in the image: take an image that has it, or check the user and mounts"),
    rule("not_supported", Unsupported)
        .fits(&["^NotImplementedError:", "^ValueError:*not supported", "^ValueError:*does not support", "^ValueError:*is incompatible", "^ValueError:*not compatible", "Value error,*not supported", "Value error,*does not support",
            "Value error,*incompatible", "Value error,*not compatible", "Value error,*requires", "^RuntimeError:*not supported", "^AssertionError:*not supported", "^RuntimeError:*does not support", "VLLMValidationError:*not supported",
            "^ValueError:*doesn't support", "^AssertionError:*doesn't support", "^RuntimeError:*doesn't support", "^AssertionError:*does not support", "^RuntimeError:*do not support", "^ValueError:*do not support", "^AssertionError:*requires", "^ValueError:*requires",
            "^ValueError:*not yet support", "^AssertionError:*not compatible", "^AssertionError:*not yet supported", "^AttributeError:*does not support", "Cannot find model module", "^ValueError:*only support", "^AssertionError:*only support", "^RuntimeError:*only support", "Value error,*only support", "^AttributeError: '*Config' object has no attribute",
            "^AttributeError: '*ForCausalLM' object has no attribute", "^AttributeError: '*ForConditionalGeneration' object has no attribute"])
        .likely()
        .advise("this vLLM does not support what the message names: drop that option or take another version"),
    rule("config_rejected", BadArgument)
        .fits(&["Value error, ", "VLLMValidationError: ", "validation error for", "validation errors for", "^ValueError: --", "^ValueError: Invalid ", "^ValueError: Unknown ", "^KeyError: 'Unknown", "^usage: ", "pydantic_core*ValidationError", "^ValueError: Please ", "^AssertionError:*is not divisible by", "^ValueError:*must be", "^ValueError:*rope_scaling", "^KeyError: 'rope_type'", "^ValueError: Too large swap space", "^ValueError:*cannot be other value than", "^ValueError:*cannot be larger than", "^ValueError:*was provided without", "^ValueError:*mutually exclusive"])
        .likely()
        .at_start()
        .advise("vLLM's configuration rejects the settings: correct {flag}"),
    rule("compile_cache_lost", CompileFailed)
        .fits(&["^FileNotFoundError:*/.triton/cache/", "^FileNotFoundError:*torchinductor_", "^FileNotFoundError:*torch_compile_cache", "^FileNotFoundError:*/cached_ops/"])
        .likely()
        .retry(true)
        .advise("a compile cache changed under the compiler: start again, and give each server a cache of its own"),
    rule("model_file_missing", ModelBroken)
        .fits(&["^FileNotFoundError:*.safetensors", "^FileNotFoundError:*.json", "^OSError: Error no file named", "^KeyError: '*weight", "^RuntimeError: Error(s) in loading state_dict", "^AssertionError*loaded_weight", "jinja2.exceptions.TemplateSyntaxError"])
        .likely(),
    // ---- exceptions that no wording above knows: the place where they were raised tells what rejected the start ------------------------
    rule("signature_mismatch", Environment)
        .fits(&["^TypeError: *got an unexpected keyword argument", "^TypeError: *() takes * positional argument*given", "^TypeError: *() missing * required positional argument",
            "^TypeError: *() got multiple values for"])
        .likely()
        .at_start()
        .advise("two parts of the image do not fit together: take an image built as a whole, without packages installed over it, or another vLLM version"),
    rule("rejected_by_configuration", BadArgument)
        .fits(&["^ValueError:", "^AssertionError", "^TypeError:", "^KeyError:", "^argparse.Argument", "^RuntimeError:", "JSONDecodeError:", "^FileNotFoundError:"])
        .raised_in(&["/vllm/config/", "/vllm/config.py", "/vllm/engine/arg_utils.py", "/vllm/envs.py", "/vllm/entrypoints/cli/", "/vllm/entrypoints/launchers/cli_args.py", "/vllm/entrypoints/openai/cli_args.py",
            "/vllm/utils/argparse_utils.py", "/argparse.py"])
        .likely()
        .at_start()
        .advise("vLLM's configuration rejects the settings: correct {flag}"),
    rule("rejected_by_weight_loader", ModelBroken)
        .fits(&["^ValueError:", "^AssertionError", "^KeyError:", "^RuntimeError:", "^IndexError:", "^AttributeError:"])
        .raised_in(&["in load_weights", "in weight_loader", "in _load_w", "in load_column_parallel_weight", "in load_row_parallel_weight", "in load_merged_column_weight", "in load_qkv_weight",
            "in default_weight_loader", "in safetensors_weights_iterator", "in pt_weights_iterator", "/model_loader/weight_utils.py", "/vllm/model_executor/parameter.py"])
        .likely()
        .at_start()
        .advise("a tensor of the checkpoint does not fit the model: download it again, or take a vLLM version that knows this checkpoint's layout"),
    rule("rejected_by_kernels", Unsupported)
        .fits(&["^ValueError:", "^AssertionError", "^RuntimeError:"])
        .raised_in(&["/vllm/_custom_ops.py", "/layers/quantization/", "/layers/fused_moe/", "/vllm/attention/", "/vllm/v1/attention/", "/vllm/platforms/", "/vllm/lora/", "/vllm/spec_decode/", "/vllm/v1/spec_decode/"])
        .likely()
        .at_start()
        .advise("this vLLM or this GPU does not support what the message names: drop that option, or take another version or quantisation"),
    rule("raised_while_compiling", CompileFailed)
        .fits(&["^RuntimeError", "^AssertionError", "^TypeError:", "^ValueError:", "^IndexError:", "^KeyError:", "^AttributeError:", "CalledProcessError:"])
        .raised_in(&["/torch/_inductor/", "/torch/_dynamo/", "/torch/fx/", "/torch/_functorch/", "/triton/", "/vllm/compilation/", "/torch/utils/cpp_extension.py", "/flashinfer/jit/", "/tilelang/", "/deep_gemm/"])
        .likely()
        .advise("compiling a kernel failed: try enforce-eager, clear the compile cache, or take another vLLM version"),
    rule("raised_while_connecting", Communication)
        .fits(&["^RuntimeError:", "^TimeoutError", "^ConnectionError", "^OSError:", "^torch.distributed."])
        .raised_in(&["/torch/distributed/", "/vllm/distributed/", "/ray/", "/zmq/"])
        .likely()
        .advise("the workers could not talk: check shm_size or ipc: host, NCCL_SOCKET_IFNAME and that every worker still runs"),
    rule("raised_by_tokenizer", ModelBroken)
        .fits(&["^ValueError:", "^TypeError:", "^AttributeError:", "^KeyError:", "^OSError:", "^Exception: ", "^RuntimeError:"])
        .raised_in(&["/transformers/tokenization_", "-packages/tokenizers/", "/sentencepiece/", "/tiktoken/", "/mistral_common/", "/transformers/convert_slow_tokenizer.py", "/xgrammar/tokenizer_info.py"])
        .likely()
        .at_start()
        .advise("the tokenizer cannot be read: download the model again, or set tokenizer or tokenizer-mode"),
    rule("model_type_not_in_transformers", Unsupported)
        .fits(&["^KeyError: '"])
        .raised_in(&["/transformers/models/auto/configuration_auto.py"])
        .likely()
        .at_start()
        .advise("this image's Transformers does not know the model's type: take a newer image or another model"),
    // ---- died, and nothing says why ------------------------------------------------------------------------------------------
    rule("engine_crashed", EngineDead)
        .fits(&["Fatal Python error:", "Segmentation fault", "Segfault encountered", "core dumped", "terminate called after throwing", "SIGSEGV", "*** Aborted at", "SIGABRT"])
        .dead()
        .advise("the engine crashed in native code: try another attention backend or vLLM version; a core dump would tell more"),
    rule("engine_killed", EngineDead)
        .fits(&["Failed core proc(s): {'", "^Killed$", "*: line *: * Killed ", "died unexpectedly (exit code: -", "^Worker *died, exit code: "])
        .reads(&["Failed core proc(s): {}EngineCore{}: {engine_core_exit_code}", "Worker proc {} died unexpectedly (exit code: {worker_exit_code})", " died, exit code: {worker_exit_code}"])
        .dead(),
    rule("engine_dead", EngineDead)
        .fits(&["engine core exited unexpectedly", "Engine process (pid ", "died unexpectedly, shutting down", "Engine core proc * died unexpectedly", "Engine process failed to start", "Worker proc * died unexpectedly", "WorkerProc was terminated",
            "EngineCore encountered a fatal error", "EngineCore hit an exception", "Got fatal signal from worker processes", "is already dead, terminating server process", "EngineDeadError", "Engine core initialization failed", "EngineCore failed to start", "WorkerProc failed to start",
            "Engine background task failed", "Background loop has errored already", "Engine loop is not running", "Engine loop has died", "AsyncEngineDeadError", "MQEngineDeadError", "AsyncLLM output_handler failed", "The actor died unexpectedly", "ActorDiedError", "RayActorError", "child signal 9", "Exception in worker*while processing method init", "Exception in worker*while processing method load_model", "Exception in worker*while processing method determine_num",
            "Error executing method*init", "Error executing method*load_model", "Error executing method*determine_num", "WorkerProc initialization failed"])
        .reads(&["Engine process (pid {engine_pid}) died", "child signal {signal}"])
        .dead(),
];

//! What is said in passing and survived never is the cause of the failure that follows, and never makes a healthy server ill.

use super::super::*;
use crate::domain::{Cause, Phase, Stage};

use Cause::*;

const BANNER: &str = "(APIServer pid=7) INFO 03-04 05:06:07 [api_server.py:1896] vLLM API server version 0.11.0\n";
const ENGINE: &str = "(EngineCore_DP0 pid=31) INFO 03-04 05:06:20 [core.py:77] Initializing a V1 LLM engine (v0.11.0) with config: model='m'\n";
const LOADED: &str = "(EngineCore_DP0 pid=31) \rLoading safetensors checkpoint shards:  50% Completed | 1/2\rLoading safetensors checkpoint shards: 100% Completed | 2/2
(EngineCore_DP0 pid=31) INFO 03-04 05:06:40 [gpu_model_runner.py:2653] Model loading took 14.2717 GiB and 9.14 seconds\n";
const KV_FAILS: &str = "(EngineCore_DP0 pid=31) ERROR 03-04 05:07:00 [core.py:708] EngineCore failed to start.
(EngineCore_DP0 pid=31) ERROR 03-04 05:07:00 [core.py:708] ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.
(APIServer pid=7) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n";
const READY: &str = "(APIServer pid=7) INFO:     Application startup complete.\n";
const ANSWERS: &str = "(APIServer pid=7) INFO:     10.0.0.9:5050 - \"POST /v1/chat/completions HTTP/1.1\" 200 OK
(APIServer pid=7) INFO 03-04 05:10:00 [loggers.py:127] Engine 000: Avg prompt throughput: 120.1 tokens/s, Avg generation throughput: 310.4 tokens/s, Running: 4 reqs, Waiting: 0 reqs\n";
const DIED: &str = "(APIServer pid=7) ERROR 03-04 05:11:00 [async_llm.py:480] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.\n";

/// Said while the API server prepares the start.
const BEFORE_THE_ENGINE: &[&str] = &[
    "(APIServer pid=7) ERROR 03-04 05:06:08 [config.py:278] Error retrieving safetensors: Cannot reach https://huggingface.co/api/models/a/b: offline mode is enabled. To disable it, please unset the `HF_HUB_OFFLINE` environment variable., retrying 1 of 2",
    "(APIServer pid=7) ERROR 03-04 05:06:08 [repo_utils.py:65] Error retrieving file list: 401 Client Error. (Request ID: Root=1)., retrying 1 of 2",
    "ERROR 03-04 05:06:08 [config.py:103] Error retrieving file list: 429 Client Error: Too Many Requests for url: https://huggingface.co/api/models/a/b/tree/main",
    "/entrypoint.sh: line 3: nvidia-smi: command not found",
    "A module that was compiled using NumPy 1.x cannot be run in\nNumPy 2.2.6 as it may crash.",
    "(APIServer pid=7) ERROR 03-04 05:06:08 [registry.py:673] Error saving model info cache.\n(APIServer pid=7) ERROR 03-04 05:06:08 [registry.py:673] OSError: [Errno 28] No space left on device: '/root/.cache/vllm/modelinfos/x.json'",
    "(APIServer pid=7) ERROR 03-04 05:06:08 [__init__.py:66] Failed to load plugin foo\n(APIServer pid=7) ERROR 03-04 05:06:08 [__init__.py:66] ImportError: /x/foo.so: undefined symbol: _ZN3c10",
    "(APIServer pid=7) Task exception was never retrieved\n(APIServer pid=7) huggingface_hub.errors.HfHubHTTPError: 503 Server Error: Service Unavailable for url: https://huggingface.co/x",
];

/// Said by native code or Python's warnings, at any time of a start.
const AT_ANY_TIME: &[&str] = &[
    "[W304 05:06:21.123456789 socket.cpp:697] [c10d] The IPv6 network addresses of (node01, 29500) cannot be retrieved (gai error: -2 - Name or service not known).",
    "[rank1]:[W304 05:06:21.1 ProcessGroupNCCL.cpp:1520] Warning: 0 watchdog thread heartbeat monitor timed out soon",
    "/x/torch/cuda/__init__.py:734: UserWarning: Can't initialize NVML\n  warnings.warn(\"Can't initialize NVML\")",
    "(EngineCore_DP0 pid=31) /x/torch/cuda/__init__.py:283: UserWarning:\n(EngineCore_DP0 pid=31) NVIDIA GB10 with CUDA capability sm_121 is not compatible with the current PyTorch installation.\n(EngineCore_DP0 pid=31)   warnings.warn(",
];

/// A client's errors, seconds before the engine dies.
const CLIENTS: &[&str] = &[
    "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
    "requests.exceptions.HTTPError: 404 Client Error: Not Found for url: https://x/y.jpg",
    "httpx.ReadTimeout: timed out",
    "Input should be a valid list [type=list_type, input_value=1, input_type=int]",
    "ConnectionResetError: [Errno 104] Connection reset by peer",
    "OSError: [Errno 24] Too many open files",
];

#[test]
fn what_the_start_survived_is_not_why_it_failed_later() {
    let before =
        BEFORE_THE_ENGINE.iter().chain(AT_ANY_TIME).map(|n| format!("{BANNER}{n}\n{ENGINE}{LOADED}{KV_FAILS}"));
    let behind = AT_ANY_TIME.iter().map(|n| format!("{BANNER}{ENGINE}{n}\n{LOADED}{KV_FAILS}"));
    for log in before.chain(behind) {
        let failure = diagnose(&log, None, None);
        assert_eq!(failure.cause, KvCacheTooSmall, "{:?}\n{log}", failure.evidence);
    }
}

#[test]
fn a_start_that_is_cut_off_behind_something_survived_has_no_cause() {
    for noise in BEFORE_THE_ENGINE.iter().chain(AT_ANY_TIME) {
        let failure = diagnose(&format!("{BANNER}{noise}\n{ENGINE}{LOADED}"), None, None);
        assert_eq!((failure.cause, failure.transient), (Unknown, true), "{:?}", failure.evidence);
        let healthy = diagnose(&format!("{BANNER}{noise}\n{ENGINE}{LOADED}{READY}"), None, None);
        assert_eq!(healthy.cause, Healthy, "{:?}", healthy.evidence);
    }
}

#[test]
fn in_a_text_without_its_beginning_another_process_s_progress_shows_nothing_survived() {
    let log = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.02 GiB.\n(VllmWorkerProcess pid=300) INFO 07-01 12:00:20 model_runner.py:1060] Loading model weights took 14.2488 GB\n";
    assert_eq!(diagnose(log, None, None).cause, GpuOom);
}

#[test]
fn what_was_said_in_passing_is_the_cause_where_nothing_better_is_said() {
    let log = format!("{BANNER}{}\n", BEFORE_THE_ENGINE[0]);
    let exit = serde_json::json!({ "Status": "exited", "ExitCode": 1 });
    assert_eq!(diagnose(&log, Some(&exit), None).cause, ModelUnavailable);
    let log = "/x/torch/cuda/__init__.py:734: UserWarning: Can't initialize NVML\n";
    assert_eq!(diagnose(log, None, None).cause, NoGpu);
}

#[test]
fn a_client_s_error_is_not_why_the_engine_died() {
    let fault = "(EngineCore_DP0 pid=31) ERROR 03-04 05:10:59 [core.py:710] torch.AcceleratorError: CUDA error: an illegal memory access was encountered\n";
    for error in CLIENTS {
        for line in [
            format!("(APIServer pid=7) ERROR 03-04 05:10:58 [serving_chat.py:257] {error}\n"),
            format!("(APIServer pid=7) {error}\n"),
            format!("ERROR:    Exception in ASGI application\nTraceback (most recent call last):\n{error}\n"),
        ] {
            let start = format!("{BANNER}{ENGINE}{LOADED}{READY}{ANSWERS}{line}");
            assert_eq!(diagnose(&format!("{start}{fault}{DIED}"), None, None).cause, GpuFault, "{line}");
            assert_eq!(diagnose(&format!("{start}{DIED}"), None, None).cause, EngineDead, "{line}");
            assert_eq!(diagnose(&start, None, None).cause, Healthy, "{line}");
        }
    }
    // The log may begin behind the ready line: a handler's own file tells that it was a request.
    let cut = "ERROR 03-04 05:10:58 [hermes_tool_parser.py:143] json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)\n";
    assert_eq!(diagnose(cut, None, None).cause, Unknown);
}

#[test]
fn an_older_uvicorn_says_that_the_port_is_taken_behind_its_ready_line() {
    let log = "INFO 05-30 10:00:00 api_server.py:177] vLLM API server version 0.4.3
INFO:     Application startup complete.
ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 8123): address already in use
INFO:     Waiting for application shutdown.\n";
    let failure = diagnose(log, None, None);
    assert_eq!((failure.cause, failure.numbers["port"]), (PortInUse, 8123.0));
    assert_eq!(failure.remedy, "another program listens on port 8123: stop it or take another port");
}

#[test]
fn nccl_s_watchdog_is_the_evidence_and_gives_its_times_also_where_the_log_ends_with_it() {
    let watchdog = "[rank1]:[E304 05:11:00.1 ProcessGroupNCCL.cpp:616] [Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=8, OpType=ALLREDUCE, NumelIn=1, NumelOut=1, Timeout(ms)=600000) ran for 600029 milliseconds before timing out.\n";
    let abort = "terminate called after throwing an instance of 'c10::DistBackendError'\n";
    for end in ["", abort] {
        let failure = diagnose(&format!("{BANNER}{ENGINE}{LOADED}{READY}{ANSWERS}{watchdog}{end}"), None, None);
        assert_eq!(failure.cause, Communication, "{end}");
        assert!(failure.evidence[0].text.contains("Watchdog caught"), "{:?}", failure.evidence);
        assert_eq!((failure.numbers["timeout_ms"], failure.numbers["waited_ms"]), (600_000.0, 600_029.0));
        assert!(failure.remedy.contains("600,000 ms"), "{}", failure.remedy);
    }
}

#[test]
fn an_oom_in_a_log_without_frames_has_the_stage_of_the_phase_that_is_known() {
    let log = "(EngineCore_DP0 pid=31) ERROR 03-04 05:10:59 [core.py:710] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.02 GiB.\n";
    assert_eq!(diagnose(log, None, Some(Phase::Serving)).stage, Some(Stage::Runtime));
    assert_eq!(diagnose(log, None, Some(Phase::Startup)).stage, Some(Stage::Weights));
}

#[test]
fn a_worker_s_error_of_v0_stands_although_the_user_stopped_the_hanging_parent() {
    let by_worker = |line: &str| {
        format!("(VllmWorkerProcess pid=300) ERROR 07-01 12:01:00 multiproc_worker_utils.py:229] {line}\n")
    };
    let log = [
        "INFO 07-01 12:00:00 api_server.py:528] vLLM API server version 0.6.3\n".to_owned(),
        by_worker("Exception in worker VllmWorkerProcess while processing method load_model."),
        by_worker("Traceback (most recent call last):"),
        by_worker("  File \"/x/vllm/model_executor/layers/quantization/awq.py\", line 180, in create_weights"),
        by_worker("ValueError: awq tiles do not fit"),
        "^CTraceback (most recent call last):\nKeyboardInterrupt\n".to_owned(),
    ]
    .concat();
    assert_eq!(diagnose(&log, None, None).cause, Unsupported);
    let killed = "INFO 07-01 12:00:00 api_server.py:528] vLLM API server version 0.6.3\nERROR 07-01 12:01:00 multiproc_worker_utils.py:120] Worker VllmWorkerProcess pid 300 died, exit code: -9\n";
    let failure = diagnose(killed, None, None);
    assert_eq!((failure.cause, failure.numbers["worker_exit_code"]), (EngineDead, -9.0));
}

#[test]
fn a_wrong_argument_s_remedy_names_the_flag() {
    for (line, remedy) in [
        ("vllm: error: unrecognized arguments: --frob 1", "the command line is wrong: correct --frob"),
        (
            "ValueError: Loading /m requires you to execute the configuration file in that repo on your local machine. Please set the option `trust_remote_code=True` to remove this error.",
            "the model brings its own code: add --trust-remote-code if you trust it",
        ),
        (
            "ValueError: World size (8) is larger than the number of available GPUs (4) in this node.",
            "8 GPUs are wanted and 4 are there: lower tensor-parallel-size or pipeline-parallel-size, or give the container more GPUs",
        ),
        (
            "1 validation error for CacheConfig\ngpu_memory_utilization\n  Input should be less than or equal to 1 [type=less_than_equal, input_value=1.5, input_type=float]",
            "vLLM's configuration rejects a value or combination: correct --gpu-memory-utilization",
        ),
    ] {
        let failure = diagnose(line, None, None);
        assert_eq!((failure.cause, failure.remedy.as_str()), (BadArgument, remedy));
    }
}

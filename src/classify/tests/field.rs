//! Whole logs of the field in which the cause is hard to see.

use super::super::*;
use super::{BANNER, NOT_STARTED, by_engine};
use crate::domain::{Cause, Stage};

use Cause::*;

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

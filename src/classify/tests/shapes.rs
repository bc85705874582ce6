//! The same failures in the shapes that launchers, clouds, older versions and tracebacks within tracebacks give them.

use super::super::*;
use super::{BANNER, NOT_STARTED, by_engine};
use crate::domain::{Cause, Stage};

use Cause::*;

const READY: &str = "(APIServer pid=7) INFO:     Application startup complete.\n";

#[test]
fn a_parent_that_passes_on_its_children_s_lines_hides_neither_who_wrote_them_nor_what_they_say() {
    let line = |process: &str, text: &str| {
        format!("(APIServer pid=7) {process} ERROR 03-04 05:06:09 [v1/executor/multiproc_executor.py:671] {text}\n")
    };
    let worker = "(EngineCore_DP3 pid=90) (Worker_DP3_EP3 pid=97)";
    let log = format!(
        "{BANNER}{}{}(APIServer pid=7) (EngineCore_DP3 pid=90) INFO 03-04 05:06:10 [core.py:77] Initializing a V1 LLM engine (v0.11.0) with config: model='m'\n",
        line(worker, "Traceback (most recent call last):"),
        line(worker, "torch.AcceleratorError: CUDA error: an illegal memory access was encountered"),
    );
    assert_eq!(diagnose(&log, None, None).cause, GpuFault);
}

#[test]
fn what_a_cloud_or_a_launcher_puts_before_each_line_is_taken_off() {
    let oom = "(EngineCore_DP0 pid=31) ERROR 03-04 05:06:09 [v1/engine/core.py:842] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total capacity of 39.38 GiB of which 1.77 GiB is free.";
    let warning = "(EngineCore_DP0 pid=31) WARNING 03-04 05:06:08 [x.py:1] CUDA error: nothing happened";
    for prefix in [
        "INFO 2026-03-04T05:06:09.096638074Z [resource.labels.containerName: vllm] ",
        "ERROR 2026-03-04T05:06:09.096638074Z [resource.labels.containerName: vllm-0] ",
        "2026-03-04 05:06:09.982 [Error] (Process) ",
        "[2026-03-04T05:06:09Z] ",
    ] {
        let failure = diagnose(&format!("{prefix}{warning}\n{prefix}{oom}\n"), None, None);
        assert_eq!((failure.cause, failure.numbers.get("tried_to_allocate_gib")), (GpuOom, Some(&2.32)), "{prefix}");
        let harmless = diagnose(&format!("{prefix}{warning}\n"), None, None);
        assert_eq!(harmless.cause, Unknown, "{prefix}");
    }
    let log = "[2026-03-04 05:06:08,815] [INFO] [MainThread] [vllm.config] >>> CUDA error: none so far
[2026-03-04 05:06:09,821] [ERROR] [MainThread] [vllm.worker.worker_base] >>> ModuleNotFoundError: No module named 'acme'\n";
    assert_eq!(diagnose(log, None, None).cause, Environment);
}

#[test]
fn what_nccl_tells_in_passing_is_no_complaint() {
    let log = format!(
        "{BANNER}node7:90:90 [0] NCCL INFO NET/Plugin: Plugin load returned 2 : libnccl-net.so: cannot open shared object file: No such file or directory\n{}{NOT_STARTED}",
        by_engine("RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)")
    );
    assert_eq!(diagnose(&log, None, None).cause, Communication);
}

#[test]
fn an_exception_that_a_traceback_quotes_with_an_indent_is_read() {
    let log = "ray.serve.exceptions.DeploymentFailed: replica did not start
          Traceback (most recent call last):
            File \"/x/vllm/platforms/cuda.py\", line 90, in init
              raise ValueError(
          RuntimeError: No CUDA GPUs are available\n";
    let failure = diagnose(log, None, None);
    assert_eq!(failure.cause, NoGpu);
    assert!(failure.evidence[0].text.contains("No CUDA GPUs"), "{:?}", failure.evidence);
}

#[test]
fn a_progress_bar_that_is_drawn_once_more_at_the_end_is_no_progress() {
    let bar =
        |percent: u32| format!("Loading safetensors checkpoint shards:  {percent}% Completed | 1/5 [00:02<00:08]\n");
    let trace = "[rank0]: Traceback (most recent call last):\n[rank0]:   File \"/x/vllm/model_executor/models/acme.py\", line 90, in load_weights\n[rank0]: KeyError: 'norm.scale'\n";
    assert_eq!(diagnose(&format!("{trace}{}", bar(0)), None, None).cause, ModelBroken);
    assert_eq!(diagnose(&format!("{}{trace}{}", bar(20), bar(20)), None, None).cause, ModelBroken);
    let went_on = format!("{}{trace}{}", bar(20), bar(60));
    assert_eq!(diagnose(&went_on, None, None).cause, Unknown);
}

#[test]
fn an_older_engine_core_s_and_api_server_s_words_for_a_death_are_known() {
    let hit = "ERROR 03-04 05:11:00 [core.py:390] EngineCore hit an exception: Traceback (most recent call last):
ERROR 03-04 05:11:00 [core.py:390]   File \"/x/ray/dag/compiled_dag_node.py\", line 9, in run
ERROR 03-04 05:11:00 [core.py:390] ModuleNotFoundError: No module named 'acme'
CRITICAL 03-04 05:11:00 [core_client.py:359] Got fatal signal from worker processes, shutting down. See stack trace above for root cause issue.
Killed\n";
    assert_eq!(diagnose(&format!("{BANNER}{READY}{hit}"), None, None).cause, Environment);
    let dead = "CRITICAL 03-04 05:11:00 launcher.py:99] MQLLMEngine is already dead, terminating server process\nINFO:     Shutting down\n";
    assert_eq!(diagnose(&format!("{BANNER}{READY}{dead}"), None, None).cause, EngineDead);
}

#[test]
fn a_worker_class_in_the_text_is_no_other_process_on_the_gpu() {
    let log = "(VllmWorkerProcess pid=90) ERROR 03-04 05:06:09 multiproc_worker_utils.py:233] Exception in worker VllmWorkerProcess while processing method determine_num_available_blocks: CUDA out of memory. Tried to allocate 9.13 GiB. GPU 2 has a total capacity of 79.15 GiB of which 7.73 GiB is free. Process 78001 has 71.41 GiB memory in use. Of the allocated memory 66.64 GiB is allocated by PyTorch\n";
    assert_eq!(diagnose(log, None, None).cause, GpuOom);
}

#[test]
fn memory_that_is_gone_when_the_device_is_opened_is_held_by_somebody_else() {
    let trace = |function: &str| {
        format!(
            "{BANNER}{}{NOT_STARTED}",
            by_engine(&format!(
                "Traceback (most recent call last):\n  File \"/x/vllm/v1/worker/gpu_worker.py\", line 90, in {function}\n    open()\ntorch.AcceleratorError: CUDA error: out of memory"
            ))
        )
    };
    let failure = diagnose(&trace("init_device"), None, None);
    assert_eq!((failure.cause, failure.stage, failure.transient), (GpuMemoryBusy, None, true));
    let failure = diagnose(&trace("load_model"), None, None);
    assert_eq!((failure.cause, failure.stage), (GpuOom, Some(Stage::Weights)));
}

#[test]
fn an_oom_of_an_engine_that_was_at_work_is_of_the_runtime_also_without_the_log_s_head() {
    let log = "(EngineCore pid=31) ERROR 03-04 05:11:00 [core.py:1131] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 90.00 MiB. GPU 0 has a total capacity of 23.56 GiB of which 31.75 MiB is free.
(APIServer pid=7) ERROR 03-04 05:11:00 [async_llm.py:699] AsyncLLM output_handler failed.\n";
    assert_eq!(diagnose(log, None, None).stage, Some(Stage::Runtime));
}

#[test]
fn the_thread_that_reports_statistics_and_imports_that_failed_in_passing_are_not_the_cause() {
    let thread = "Exception in thread Thread-1 (_report_usage_worker):
Traceback (most recent call last):
  File \"/x/vllm/usage/usage_lib.py\", line 90, in _write_to_file
OSError: [Errno 28] No space left on device: '/root/.config/vllm'\n";
    let import =
        "ERROR 03-04 05:06:08 [config.py:29] Failed to import Acme kernels. Error: No module named 'acme.info'\n";
    let death = by_engine(
        "Traceback (most recent call last):\n  File \"/x/vllm/v1/worker/gpu_model_runner.py\", line 9, in run\nIndexError: shard 7 of 3",
    );
    for said in [thread, import] {
        let failure = diagnose(&format!("{BANNER}{said}{death}{NOT_STARTED}"), None, None);
        assert_eq!(failure.cause, Unknown, "{said}");
        assert!(failure.evidence[0].text.ends_with("IndexError: shard 7 of 3"), "{:?}", failure.evidence);
        assert_eq!(diagnose(&format!("{BANNER}{said}{READY}"), None, None).cause, Healthy, "{said}");
    }
}

#[test]
fn a_crash_in_native_code_is_shown_before_the_kill_that_follows_it() {
    let log = format!("{BANNER}(Worker pid=90) Fatal Python error: Segmentation fault\nKilled\n");
    let failure = diagnose(&log, None, None);
    assert_eq!(failure.cause, EngineDead);
    assert!(failure.evidence[0].text.ends_with("Segmentation fault"), "{:?}", failure.evidence);
}

#[test]
fn an_exception_that_no_rule_knows_is_shown_with_the_one_raised_from_it() {
    let trace = "Traceback (most recent call last):\nKeyError: 3\n\nThe above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\nLookupError: no limits for the model";
    let failure = diagnose(&format!("{BANNER}{}{NOT_STARTED}", by_engine(trace)), None, None);
    assert_eq!(failure.cause, Unknown);
    let shown: Vec<&str> = failure.evidence.iter().map(|e| e.text.rsplit("] ").next().unwrap()).collect();
    assert_eq!(shown[..2], ["KeyError: 3", "LookupError: no limits for the model"]);
}

#[test]
fn the_length_that_a_model_allows_is_read_in_every_version_s_words() {
    for text in [
        "ValueError: User-specified max_model_len (9000) is greater than the derived max_model_len (None=4096 in model's config.json).",
        "ValueError: User-specified max_model_len (9000) is greater than the derived max_model_len (max_seq_len=4096 or model_max_length=None in model's config.json).",
        "ValueError: User-specified max_model_len (9000) is greater than the derived max_model_len (max_position_embeddings=4096.0 or model_max_length=None in model's config.json).",
    ] {
        let failure = diagnose(text, None, None);
        assert_eq!(failure.numbers.get("derived_max_model_len"), Some(&4096.0), "{text}");
        assert!(failure.remedy.contains("4096"), "{}", failure.remedy);
    }
}

#[test]
fn what_docker_s_hook_wrote_stands_behind_docker_s_own_line() {
    let log = "docker: Error response from daemon: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: error running hook #0: error running hook: exit status 1, stdout: , stderr: Auto-detected mode as 'legacy'
nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.1, please update your driver to a newer version, or use an earlier cuda container: unknown.\n";
    let failure = diagnose(log, None, None);
    assert_eq!(failure.cause, GpuFault);
    assert!(failure.evidence[0].text.contains("unsatisfied condition"), "{:?}", failure.evidence);
}

#[test]
fn where_an_echo_was_raised_tells_no_cause() {
    let trace = "Traceback (most recent call last):\n  File \"/x/vllm/distributed/device_communicators/shm_broadcast.py\", line 9, in dequeue\nRuntimeError: cancelled";
    let log = format!("{BANNER}{READY}{}", by_engine(&format!("EngineCore encountered a fatal error.\n{trace}")));
    assert_eq!(diagnose(&log, None, None).cause, EngineDead);
}

#[test]
fn a_port_that_nccl_s_own_monitor_does_without_is_not_missed() {
    let said = "[2026-03-04 05:06:08] node7:90:97 [0] ras/client_support.cc:160 NCCL WARN Call to bind failed: Address already in use\n";
    let log = format!(
        "{BANNER}{said}{}{NOT_STARTED}",
        by_engine("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 9.00 MiB.")
    );
    assert_eq!(diagnose(&log, None, None).cause, GpuOom);
    assert_eq!(diagnose(&format!("{BANNER}{said}{READY}"), None, None).cause, Healthy);
}

#[test]
fn of_several_processes_on_the_gpu_the_one_that_holds_most_is_named_and_never_our_own() {
    for (held, pid) in [
        (
            "Process 11 has 4.00 GiB memory in use. Process 12 has 9.00 GiB memory in use. Including non-PyTorch memory, this process has 20.00 GiB memory in use.",
            "12",
        ),
        (
            "Process 21 has 17.30 GiB memory in use. Process 22 has 30.11 GiB memory in use. Of the allocated memory 16.80 GiB is allocated by PyTorch",
            "22",
        ),
    ] {
        let log = format!(
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 90.00 MiB. GPU 0 has a total capacity of 47.50 GiB of which 3.00 MiB is free. {held}\n"
        );
        let failure = diagnose(&log, None, None);
        assert_eq!(failure.cause, GpuMemoryBusy, "{held}");
        assert!(failure.remedy.starts_with(&format!("process {pid} holds ")), "{}", failure.remedy);
    }
}

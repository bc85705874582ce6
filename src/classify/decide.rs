//! What follows from a cause: whether to try again, how long to wait, what to advise. No default arm anywhere.

use std::collections::BTreeMap;

use crate::domain::{Cause, Stage};

/// Whether the same config may succeed when tried again, by cause alone. A rule that knows more overrides it.
#[must_use]
pub const fn is_transient(cause: Cause, stage: Option<Stage>) -> bool {
    match cause {
        Cause::GpuMemoryBusy
        | Cause::Communication
        | Cause::PortInUse
        | Cause::EngineDead
        | Cause::Stopped
        | Cause::Timeout
        | Cause::Stalled
        | Cause::Hung
        | Cause::BadResponses => true,
        // Memory that runs out at start runs out again; while serving it depends on the load, which is the same again.
        Cause::GpuOom => match stage {
            Some(Stage::Weights | Stage::Profile | Stage::Compile | Stage::GraphCapture | Stage::Runtime) | None => {
                false
            }
        },
        Cause::Healthy
        | Cause::KvCacheTooSmall
        | Cause::HostOom
        | Cause::ShmTooSmall
        | Cause::BadArgument
        | Cause::Unsupported
        | Cause::ModelUnavailable
        | Cause::ModelBroken
        | Cause::NoGpu
        | Cause::GpuFault
        | Cause::CompileFailed
        | Cause::Environment
        | Cause::Docker
        | Cause::Unknown => false,
    }
}

/// How long to wait before a config that failed for this cause is tried once more, s; to be doubled before each next try. Whether
/// it is tried again is for the retry policy to say.
#[must_use]
pub const fn first_wait_s(cause: Cause) -> u32 {
    match cause {
        // Somebody else holds the thing, or took the memory: give them time.
        Cause::GpuMemoryBusy | Cause::PortInUse | Cause::GpuOom | Cause::HostOom | Cause::KvCacheTooSmall => 30,
        Cause::Docker | Cause::ModelUnavailable => 20,
        Cause::Stopped => 5,
        Cause::Communication
        | Cause::NoGpu
        | Cause::GpuFault
        | Cause::EngineDead
        | Cause::Hung
        | Cause::Stalled
        | Cause::BadResponses
        | Cause::ModelBroken
        | Cause::CompileFailed
        | Cause::Unknown => 10,
        // A whole deadline was spent already, or waiting changes nothing.
        Cause::Timeout
        | Cause::Healthy
        | Cause::ShmTooSmall
        | Cause::BadArgument
        | Cause::Unsupported
        | Cause::Environment => 0,
    }
}

/// One sentence of advice for a cause, with the numbers that were found.
#[must_use]
pub fn remedy(cause: Cause, stage: Option<Stage>, numbers: &BTreeMap<String, f64>) -> String {
    let templates: &[&str] = match cause {
        Cause::Healthy => &["nothing to do"],
        Cause::GpuOom => gpu_oom_advice(stage),
        Cause::KvCacheTooSmall => &[
            "lower max-model-len to {max_model_len_estimate} or raise gpu-memory-utilization",
            "lower max-model-len to {kv_cache_tokens} or raise gpu-memory-utilization",
            "raise gpu-memory-utilization, or lower max-model-len",
        ],
        Cause::GpuMemoryBusy => &[
            "process {other_process_pid} holds {other_process_in_use_gib} GiB of the GPU: stop it or wait for it, then start again",
            "{free_gib} of {total_gib} GiB were free: wait until the GPU is free, or lower gpu-memory-utilization",
            "another process changed or holds the GPU's memory: wait until it is quiet, then start again",
        ],
        Cause::HostOom => &[
            "the kernel killed the engine for host memory: raise the container's memory limit, or lower swap-space, cpu-offload-gb, max-num-seqs or the number of workers",
        ],
        Cause::ShmTooSmall => &[
            "raise shm_size above {shm_required_mib} MiB, or use ipc: host",
            "raise shm_size (16gb is usual), or use ipc: host",
        ],
        Cause::BadArgument => &["correct the flag or value that the message names"],
        Cause::Unsupported => &["drop what the message names, or take another vLLM version, model or GPU"],
        Cause::ModelUnavailable => &["check the model's name or path, the token and the network"],
        Cause::ModelBroken => &["download the model again and check its files"],
        Cause::NoGpu => &["give the container GPUs and check the NVIDIA container toolkit"],
        Cause::GpuFault => &["check the GPU and its driver (nvidia-smi, dmesg)"],
        Cause::Communication => &["check shm_size, ipc: host and the NCCL settings; set NCCL_DEBUG=INFO to learn more"],
        Cause::CompileFailed => &["try enforce-eager, clear the compile cache, or take another vLLM version"],
        Cause::Environment => &["take an image that is whole: something in it is missing or does not fit"],
        Cause::PortInUse => &[
            "port {port} is taken: stop its owner or take another port",
            "the port is taken: stop its owner or take another port",
        ],
        Cause::Docker => &["correct what Docker's message names"],
        Cause::EngineDead => &[
            "a process of the engine was killed (exit code {engine_core_exit_code}): look at dmesg for the kernel's OOM killer",
            "a worker died (exit code {worker_exit_code}): look at what it wrote last, and at dmesg for the kernel's OOM killer",
            "the engine died and the log does not say why: look at dmesg and at the GPU, then try again",
        ],
        Cause::Stopped => &["it was stopped from outside: find out by whom, then start again"],
        Cause::Timeout => {
            &["it was still making progress: raise the start deadline, or warm the model and compile caches first"]
        }
        Cause::Stalled => {
            &["start-up made no progress: look at the last line, the disk and the network; try again once"]
        }
        Cause::Hung => &[
            "it answers health checks and makes no tokens: restart it; if it comes back, try enforce-eager or another attention backend",
        ],
        Cause::BadResponses => &[
            "it serves, but not what was asked: look at the stored errors, the chat template and the sampling settings",
        ],
        Cause::Unknown => &["nothing known fits: read the evidence and the end of the log"],
    };
    first_filled(templates, numbers)
}

/// The advice for a KV cache too small whose size was given in bytes: then `gpu-memory-utilization` changes nothing.
#[must_use]
pub fn remedy_of_given_kv_bytes(numbers: &BTreeMap<String, f64>) -> String {
    let templates = [
        "lower max-model-len to {max_model_len_estimate} or raise kv-cache-memory-bytes to {kv_needed_gib} GiB",
        "lower max-model-len to {max_model_len_estimate} or raise kv-cache-memory-bytes",
        "lower max-model-len to {kv_cache_tokens} or raise kv-cache-memory-bytes",
        "raise kv-cache-memory-bytes, or lower max-model-len",
    ];
    first_filled(&templates, numbers)
}

const fn gpu_oom_advice(stage: Option<Stage>) -> &'static [&'static str] {
    match stage {
        Some(Stage::Weights) => {
            &["the weights do not fit: use more GPUs (tensor-parallel-size), a quantised checkpoint or cpu-offload-gb"]
        }
        Some(Stage::Profile) => &[
            "the profiling run needs more than is left: lower max-num-batched-tokens or max-num-seqs, or raise tensor-parallel-size",
        ],
        Some(Stage::Compile) => {
            &["compiling needs more than is left: lower gpu-memory-utilization or use enforce-eager"]
        }
        Some(Stage::GraphCapture) => &[
            "CUDA graphs need more than is left beside the KV cache: lower gpu-memory-utilization, capture fewer sizes, or use enforce-eager",
        ],
        Some(Stage::Runtime) => {
            &["memory ran out while serving: lower gpu-memory-utilization, max-num-batched-tokens or max-num-seqs"]
        }
        None => &[
            "GPU memory ran out: lower gpu-memory-utilization, max-num-batched-tokens or max-num-seqs, or use more GPUs",
        ],
    }
}

/// The first template whose numbers are all known, filled in; the last one loses what is not known.
#[must_use]
pub fn first_filled(templates: &[&str], numbers: &BTreeMap<String, f64>) -> String {
    templates.iter().find_map(|t| fill(t, numbers)).unwrap_or_default()
}

/// `template` with its numbers, or None where one is not known.
#[must_use]
pub fn fill(template: &str, numbers: &BTreeMap<String, f64>) -> Option<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, tail) = after.split_once('}')?;
        out.push_str(before);
        out.push_str(&readable(name, *numbers.get(name)?));
        rest = tail;
    }
    out.push_str(rest);
    Some(out)
}

/// A number as an engineer writes it: `35,344`, `0.92`, `8000` for a port.
fn readable(name: &str, value: f64) -> String {
    if value.fract() != 0.0 || value.abs() >= 1e15 {
        return format!("{value}");
    }
    let digits = format!("{value:.0}");
    if ["port", "pid", "code", "errno"].iter().any(|w| name.contains(w)) || value.abs() < 10_000.0 {
        return digits;
    }
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |d| ("-", d));
    let mut out = String::from(sign);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_carries_the_numbers_that_were_found() {
        let numbers = BTreeMap::from([("max_model_len_estimate".to_owned(), 35_344.0)]);
        let text = remedy(Cause::KvCacheTooSmall, None, &numbers);
        assert_eq!(text, "lower max-model-len to 35,344 or raise gpu-memory-utilization");
        assert_eq!(
            remedy(Cause::KvCacheTooSmall, None, &BTreeMap::new()),
            "raise gpu-memory-utilization, or lower max-model-len"
        );
        assert_eq!(fill("port {port}", &BTreeMap::from([("port".to_owned(), 18_051.0)])).unwrap(), "port 18051");
    }

    #[test]
    fn every_cause_has_advice_without_open_braces() {
        for cause in Cause::ALL {
            let text = remedy(*cause, None, &BTreeMap::new());
            assert!(!text.is_empty() && !text.contains('{'), "{cause}: {text}");
        }
    }

    #[test]
    fn who_holds_a_thing_gets_longer_than_a_coincidence_and_a_spent_deadline_nothing() {
        assert!(first_wait_s(Cause::PortInUse) > first_wait_s(Cause::EngineDead));
        assert!(first_wait_s(Cause::EngineDead) > 0);
        assert_eq!(first_wait_s(Cause::Timeout), 0);
    }

    #[test]
    fn what_runs_out_again_is_never_tried_again() {
        for cause in [Cause::GpuOom, Cause::KvCacheTooSmall, Cause::BadArgument, Cause::HostOom, Cause::Unsupported] {
            assert!(!is_transient(cause, None), "{cause}");
        }
        for cause in [Cause::GpuMemoryBusy, Cause::PortInUse, Cause::Communication, Cause::Stopped] {
            assert!(is_transient(cause, None), "{cause}");
        }
    }
}

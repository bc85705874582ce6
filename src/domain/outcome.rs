//! Where an attempt stopped and why: outcome = phase x cause, with its evidence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text_enum::text_enum;

text_enum! {
    /// How far an attempt had come.
    pub enum Phase {
        /// Before the container exists: image, mounts, GPUs free, port.
        Prepare = "prepare",
        /// The container is being created or started by Docker.
        Create = "create",
        /// The engine is starting; it does not answer yet.
        Startup = "startup",
        /// The engine answered a real completion and is being measured.
        Serving = "serving",
        /// The container is being stopped and removed.
        Teardown = "teardown",
    }
}

text_enum! {
    /// What the engine was doing when it failed, for causes that differ by it.
    pub enum Stage {
        /// Loading weights.
        Weights = "weights",
        /// The profiling run that finds out how much memory is left for the KV cache.
        Profile = "profile",
        /// Compiling kernels.
        Compile = "compile",
        /// Capturing CUDA graphs.
        GraphCapture = "graph_capture",
        /// Serving requests.
        Runtime = "runtime",
    }
}

text_enum! {
    /// Why an attempt failed: the root cause an engineer acts on. No catch-all arm may decide retry, prune or remedy.
    pub enum Cause {
        /// Nothing is wrong: it serves, or it was stopped in an orderly way.
        Healthy = "healthy",
        /// The GPU's memory ran out in the engine itself (stages weights, profile, graph_capture, runtime).
        GpuOom = "gpu_oom",
        /// The KV cache that fits cannot hold one sequence of `max-model-len`, or has no blocks at all.
        KvCacheTooSmall = "kv_cache_too_small",
        /// Memory on the GPU is held by somebody else, or free memory is below the wished utilisation.
        GpuMemoryBusy = "gpu_memory_busy",
        /// The kernel killed the engine or one of its workers for host (cgroup) memory.
        HostOom = "host_oom",
        /// `/dev/shm` is too small.
        ShmTooSmall = "shm_too_small",
        /// A flag, value, parser name or combination that vLLM's configuration rejects.
        BadArgument = "bad_argument",
        /// This vLLM or this hardware does not support the model, quantisation or combination.
        Unsupported = "unsupported",
        /// The model cannot be had: not found, gated, no token, offline.
        ModelUnavailable = "model_unavailable",
        /// The model's files are broken: weights, tokenizer, chat template.
        ModelBroken = "model_broken",
        /// No GPU, or no GPU runtime in Docker.
        NoGpu = "no_gpu",
        /// The GPU or its driver failed: illegal access, device assert, ECC, Xid, driver mismatch.
        GpuFault = "gpu_fault",
        /// Workers could not talk: NCCL, IPC, RPC, placement.
        Communication = "communication",
        /// Compiling kernels failed.
        CompileFailed = "compile_failed",
        /// The image is wrong inside: import, ABI, missing tool.
        Environment = "environment",
        /// The port is taken.
        PortInUse = "port_in_use",
        /// Docker refused: image, mount, name, command, runtime.
        Docker = "docker",
        /// The engine died and nothing says why.
        EngineDead = "engine_dead",
        /// Stopped by a signal that was not a failure of the config.
        Stopped = "stopped",
        /// The deadline passed while it was still making progress.
        Timeout = "timeout",
        /// No progress during start-up for too long.
        Stalled = "stalled",
        /// It answers health checks but no tokens come.
        Hung = "hung",
        /// It serves, and the benchmark could not get valid answers from it.
        BadResponses = "bad_responses",
        /// Nothing known fits; the most specific line is kept as evidence.
        Unknown = "unknown",
    }
}

text_enum! {
    /// Why a trial was not started.
    pub enum SkipReason {
        /// An `exclude` rule of the grid holds.
        Excluded = "excluded",
        /// The same effective service as another config of the sweep.
        Duplicate = "duplicate",
        /// It would resolve to the same engine as another config, which was measured.
        Twin = "twin",
        /// A failure of another trial implies that this one fails too.
        Implied = "implied",
        /// The sweep's time was over.
        OutOfTime = "out_of_time",
        /// Not selected by `--only` or `--limit`.
        NotSelected = "not_selected",
        /// A circuit breaker stopped the sweep.
        CircuitBreaker = "circuit_breaker",
    }
}

/// What Docker or the operating system says of an ended process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitFacts {
    /// `State.Status` of the container (`created`, `running`, `exited`, `dead`), or None for a plain process.
    pub status: Option<String>,
    /// Exit code; None while it runs or when unknown.
    pub exit_code: Option<i64>,
    /// `State.OOMKilled`: the kernel killed a process of the container for memory.
    pub oom_killed: Option<bool>,
    /// `State.Error`, or the API error that refused to create or start it.
    pub error: Option<String>,
    /// Whether we had asked for the stop.
    pub asked_to_stop: bool,
}

/// A log line that shows the cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Line number in the attempt's log, from 1; None when it comes from container state or an API error.
    pub line_number: Option<usize>,
    /// The line, cleaned of colours and process prefixes' escape codes, secrets redacted.
    pub text: String,
}

/// A failed attempt: where, why, what shows it, and what to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// How far it had come.
    pub phase: Phase,
    /// What the engine was doing, where it matters.
    pub stage: Option<Stage>,
    /// Root cause.
    pub cause: Cause,
    /// Lines that show it, most telling first.
    pub evidence: Vec<Evidence>,
    /// Numbers that stand in the evidence, the unit last in each key (`needed_gib`, `estimated_max_model_len`).
    pub numbers: BTreeMap<String, f64>,
    /// One sentence: what to do.
    pub remedy: String,
    /// Whether the same config may succeed when tried again.
    pub transient: bool,
    /// Exit code and container state.
    pub exit: ExitFacts,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Every scenario of the suite was run and stored.
    Measured,
    /// It stopped before that.
    Failed(Failure),
    /// Cut short by us: Ctrl-C, deadline of the sweep, crash of vgrid. Tried again on resume.
    Interrupted,
}

impl Outcome {
    /// The outcome's one text spelling in the database.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Failed(_) => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

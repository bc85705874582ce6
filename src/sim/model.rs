//! The virtual GPU: what fits into its memory, and how long a step takes on it. `docs/sim.md` states the formulas.

use std::time::Duration;

use super::args::{KvDtype, SimArgs};

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

/// CUDA context, NCCL and library workspaces, GiB.
const NON_TORCH_GIB: f64 = 0.4;
/// Activations that do not depend on the batch, GiB.
const ACTIVATION_BASE_GIB: f64 = 0.25;
/// Activations of one token of a batch, MiB.
const ACTIVATION_PER_TOKEN_MIB: f64 = 0.25;
/// Sampler logits of one sequence, MiB: a vocabulary of 151,936 in float32, twice.
const LOGITS_PER_SEQ_MIB: f64 = 1.16;
/// Captured graphs: private pool, GiB.
const GRAPH_BASE_GIB: f64 = 0.25;
/// Captured graphs: for each batch size up to `max-num-seqs` (512 at most), MiB.
const GRAPH_PER_SEQ_MIB: f64 = 2.0;
/// Largest batch that graphs are captured for.
const GRAPH_MAX_SEQS: usize = 512;

/// Where the memory goes on each GPU, GiB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Memory {
    pub(super) total_gib: f64,
    /// Free when the engine starts.
    pub(super) free_gib: f64,
    /// What utilisation allows the engine to use.
    pub(super) budget_gib: f64,
    pub(super) weights_gib: f64,
    pub(super) activation_gib: f64,
    pub(super) graphs_gib: f64,
    /// What is left for the KV cache; negative when the rest alone is over budget.
    pub(super) kv_gib: f64,
    pub(super) kv_bytes_per_token: f64,
    pub(super) block_size: usize,
    /// Whole blocks in the KV cache.
    pub(super) blocks: usize,
}

/// Where a start runs out of memory, in the order in which vLLM finds out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum MemoryFailure {
    /// Less is free on the device than utilisation claims.
    FreeBelowUtilization,
    /// The weights do not fit on the device.
    Weights,
    /// Nothing is left for the KV cache.
    NoBlocks,
    /// One request of full length does not fit into the KV cache.
    KvTooSmall { needed_gib: f64, longest: usize },
    /// An explicit KV cache size does not fit on the device.
    KvAllocation { wanted_gib: f64 },
    /// No room for graphs outside of the budget.
    GraphCapture { headroom_gib: f64 },
}

impl Memory {
    /// The memory plan of these arguments.
    pub(super) fn plan(args: &SimArgs) -> Self {
        let gpus = args.gpus_used() as f64;
        let total_gib = args.sim.gpu_memory_gib;
        let free_gib = (total_gib - args.sim.gpu_used_gib).max(0.0);
        let budget_gib = total_gib * args.gpu_memory_utilization;
        let weights_gib = args.sim.model_weights_gib / gpus;
        let activation_gib = ACTIVATION_BASE_GIB
            + (args.max_num_batched_tokens as f64 * ACTIVATION_PER_TOKEN_MIB
                + args.max_num_seqs as f64 * LOGITS_PER_SEQ_MIB)
                / 1024.0;
        let graphs_gib = if args.enforce_eager {
            0.0
        } else {
            GRAPH_BASE_GIB + args.max_num_seqs.min(GRAPH_MAX_SEQS) as f64 * GRAPH_PER_SEQ_MIB / 1024.0
        };
        let kv_gib = match args.kv_cache_memory_bytes {
            Some(bytes) => bytes as f64 / GIB,
            None => budget_gib - weights_gib - activation_gib - NON_TORCH_GIB,
        };
        let kv_bytes_per_token = args.sim.kv_kib_per_token * 1024.0 * args.kv_cache_dtype.factor() / gpus;
        let block_bytes = kv_bytes_per_token * args.block_size as f64;
        let blocks = if kv_gib > 0.0 { (kv_gib * GIB / block_bytes) as usize } else { 0 };
        let block_size = args.block_size;
        Self {
            total_gib,
            free_gib,
            budget_gib,
            weights_gib,
            activation_gib,
            graphs_gib,
            kv_gib,
            kv_bytes_per_token,
            block_size,
            blocks,
        }
    }

    /// Tokens that the KV cache holds.
    pub(super) fn kv_tokens(&self) -> usize {
        self.blocks * self.block_size
    }

    /// The first failure of a start with this plan and this length, if any.
    pub(super) fn failure(&self, args: &SimArgs, max_model_len: usize) -> Option<MemoryFailure> {
        let explicit = args.kv_cache_memory_bytes.is_some();
        if !explicit && self.free_gib < self.budget_gib {
            return Some(MemoryFailure::FreeBelowUtilization);
        }
        if self.weights_gib + NON_TORCH_GIB > self.free_gib {
            return Some(MemoryFailure::Weights);
        }
        if self.blocks == 0 {
            return Some(MemoryFailure::NoBlocks);
        }
        if max_model_len > self.kv_tokens() {
            let needed_gib = max_model_len as f64 * self.kv_bytes_per_token / GIB;
            return Some(MemoryFailure::KvTooSmall { needed_gib, longest: self.kv_tokens() });
        }
        let resident = self.weights_gib + self.activation_gib + NON_TORCH_GIB + self.kv_gib;
        if explicit && resident > self.free_gib {
            return Some(MemoryFailure::KvAllocation { wanted_gib: self.kv_gib });
        }
        let headroom_gib = self.free_gib - resident;
        (headroom_gib < self.graphs_gib).then_some(MemoryFailure::GraphCapture { headroom_gib })
    }
}

impl KvDtype {
    /// Bytes of one KV entry, relative to 16 bits.
    fn factor(self) -> f64 {
        match self {
            Self::Model => 1.0,
            Self::Fp8 => 0.5,
        }
    }
}

/// The amounts of one step that decide how long it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct StepLoad {
    /// Prompt tokens computed.
    pub(super) prefill_tokens: usize,
    /// Sum over prompt tokens of the tokens that stand before them.
    pub(super) prefill_attention: f64,
    /// Requests that get their next token.
    pub(super) decode_seqs: usize,
    /// Sum of their lengths.
    pub(super) decode_context_tokens: usize,
}

/// How fast the virtual GPUs are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Speed {
    /// Host overhead of a step, s.
    overhead_s: f64,
    /// Reading the weights once, s.
    weights_s: f64,
    /// Computing one token, s.
    token_s: f64,
    /// Reading the KV entries of one token, s.
    kv_token_s: f64,
    /// Sampling and bookkeeping of one sequence, s.
    seq_s: f64,
    /// Everything is divided by this.
    factor: f64,
}

/// Attention doubles the price of a prompt token at this position.
const ATTENTION_DOUBLES_AT: f64 = 32_768.0;
/// Eager mode launches every kernel from the host.
const EAGER_OVERHEAD: f64 = 4.0;
/// What n GPUs reach of n times one GPU's speed.
const PARALLEL_EFFICIENCY: f64 = 0.85;

impl Speed {
    /// The speed of these arguments with this memory plan.
    pub(super) fn of(args: &SimArgs, memory: &Memory) -> Self {
        let gpus = args.gpus_used() as f64;
        let efficiency = if gpus > 1.0 { PARALLEL_EFFICIENCY } else { 1.0 };
        let bandwidth = args.sim.bandwidth_gib_s * efficiency;
        let overhead_s = args.sim.step_overhead_ms / 1e3 * if args.enforce_eager { EAGER_OVERHEAD } else { 1.0 };
        Self {
            overhead_s,
            weights_s: memory.weights_gib / bandwidth,
            token_s: 1.0 / (args.sim.prefill_tokens_per_s * gpus * efficiency),
            kv_token_s: memory.kv_bytes_per_token / (bandwidth * GIB),
            seq_s: 20e-6,
            factor: args.sim.speed,
        }
    }

    /// How long a step with this load takes, before noise.
    pub(super) fn step(&self, load: &StepLoad) -> Duration {
        let weighted = load.prefill_tokens as f64 + load.prefill_attention / ATTENTION_DOUBLES_AT;
        let compute = (weighted + load.decode_seqs as f64) * self.token_s;
        let seconds = self.overhead_s
            + self.weights_s.max(compute)
            + load.decode_context_tokens as f64 * self.kv_token_s
            + load.decode_seqs as f64 * self.seq_s;
        Duration::from_secs_f64(seconds / self.factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> SimArgs {
        SimArgs::parse(text.split_whitespace().map(str::to_owned).collect()).unwrap()
    }

    fn failure(text: &str) -> Option<MemoryFailure> {
        let args = args(text);
        Memory::plan(&args).failure(&args, args.max_model_len.unwrap_or(args.sim.derived_max_model_len))
    }

    #[test]
    fn the_kv_cache_is_what_the_budget_leaves_and_fp8_doubles_its_tokens() {
        let plain =
            Memory::plan(&args("m --gpu-memory-utilization 0.9 --max-num-batched-tokens 2048 --max-num-seqs 256"));
        // 24 * 0.9 - 15 - (0.25 + 2048 * 0.25 / 1024 + 256 * 1.16 / 1024) - 0.4 = 5.16 GiB, 128 KiB a token.
        assert!((plain.kv_gib - 5.16).abs() < 1e-9, "{}", plain.kv_gib);
        assert_eq!(plain.blocks, (5.16 * 1024.0 * 1024.0 / 128.0 / 16.0) as usize);
        let fp8 = Memory::plan(&args(
            "m --gpu-memory-utilization 0.9 --max-num-batched-tokens 2048 --max-num-seqs 256 --kv-cache-dtype fp8",
        ));
        assert!(fp8.kv_tokens().abs_diff(2 * plain.kv_tokens()) <= 32);
    }

    #[test]
    fn each_way_to_run_out_of_memory_is_found_at_its_place() {
        assert_eq!(failure("m"), None);
        assert_eq!(failure("m --gpu-memory-utilization 0.99"), Some(MemoryFailure::FreeBelowUtilization));
        assert_eq!(failure("m --sim-gpu-used-gib 6"), Some(MemoryFailure::FreeBelowUtilization));
        assert_eq!(failure("m --sim-model-weights-gib 40"), Some(MemoryFailure::Weights));
        assert_eq!(failure("m --gpu-memory-utilization 0.6"), Some(MemoryFailure::NoBlocks));
        assert!(matches!(failure("m --gpu-memory-utilization 0.8"), Some(MemoryFailure::KvTooSmall { .. })));
        assert_eq!(failure("m --gpu-memory-utilization 0.8 --kv-cache-dtype fp8"), None);
        assert!(matches!(failure("m --gpu-memory-utilization 0.97"), Some(MemoryFailure::GraphCapture { .. })));
        assert_eq!(failure("m --gpu-memory-utilization 0.97 --enforce-eager"), None);
        assert!(matches!(failure("m --kv-cache-memory-bytes 20G"), Some(MemoryFailure::KvAllocation { .. })));
        assert!(matches!(failure("m --sim-model-weights-gib 40 -tp 2"), Some(MemoryFailure::KvTooSmall { .. })));
    }

    #[test]
    fn a_step_costs_more_with_a_larger_batch_a_longer_context_and_a_prefill() {
        let args = args("m");
        let speed = Speed::of(&args, &Memory::plan(&args));
        let decode = |seqs: usize, context: usize| {
            speed.step(&StepLoad { decode_seqs: seqs, decode_context_tokens: seqs * context, ..StepLoad::default() })
        };
        assert!(decode(1, 100) < decode(32, 100));
        assert!(decode(32, 100) < decode(32, 4_000));
        let mixed = speed.step(&StepLoad {
            prefill_tokens: 2_048,
            prefill_attention: 2_048.0 * 1_024.0,
            decode_seqs: 1,
            decode_context_tokens: 100,
        });
        assert!(mixed > decode(1, 100) * 5);
    }
}

//! Continuous batching without a clock: which tokens the next step computes, and what comes out of it.
//!
//! Follows vLLM V1: running requests first, then waiting ones in order of arrival, within the budget of tokens per step;
//! decodes and (chunks of) prefills share a step; a request that finds no block throws the last one out.

use std::collections::{HashMap, VecDeque};

use super::kv::{BlockId, BlockPool, chain};
use super::model::StepLoad;

/// A request's number within the engine.
pub(super) type SeqId = u64;

/// Whether a long prefill may be cut into several steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkedPrefill {
    On,
    Off,
}

/// Whether full blocks are found again by content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PrefixCaching {
    On,
    Off,
}

/// What bounds a step and the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_num_seqs: usize,
    pub(super) max_num_batched_tokens: usize,
    pub(super) block_size: usize,
    pub(super) blocks: usize,
    pub(super) chunked_prefill: ChunkedPrefill,
    pub(super) prefix_caching: PrefixCaching,
}

/// One request inside the scheduler. What it will answer is known from the start; only the time is simulated.
#[derive(Debug)]
struct Seq {
    /// Prompt, then answer.
    tokens: Vec<u32>,
    prompt: usize,
    /// Tokens whose KV entries exist.
    computed: usize,
    /// Tokens of the answer that were given out.
    emitted: usize,
    blocks: Vec<BlockId>,
    /// Chained hashes of the full blocks of the known tokens.
    hashes: Vec<u64>,
    /// Mixed into the first hash (`cache_salt`).
    salt: u64,
    /// Tokens found in the cache when it was first admitted.
    cached: Option<usize>,
    preemptions: u32,
}

impl Seq {
    fn known(&self) -> usize {
        self.prompt + self.emitted
    }

    fn hash_up_to(&mut self, blocks: usize, block_size: usize) {
        for i in self.hashes.len()..blocks {
            let parent = if i == 0 { self.salt } else { self.hashes[i - 1] };
            self.hashes.push(chain(parent, &self.tokens[i * block_size..(i + 1) * block_size]));
        }
    }
}

/// The work of one step.
#[derive(Clone, Debug, Default)]
pub(super) struct Step {
    /// Which request computes how many tokens.
    slices: Vec<(SeqId, usize)>,
    /// The amounts that decide how long it takes.
    pub(super) load: StepLoad,
    /// Requests admitted in this step, with the tokens found in the cache and the length of the prompt.
    pub(super) admitted: Vec<Admission>,
    /// Requests thrown out of the cache in this step.
    pub(super) preempted: Vec<SeqId>,
}

impl Step {
    /// Whether there is nothing to compute.
    pub(super) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// Tokens computed in this step.
    pub(super) fn tokens(&self) -> usize {
        self.load.prefill_tokens + self.load.decode_seqs
    }
}

/// A request's way from waiting to running, the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admission {
    pub(super) id: SeqId,
    pub(super) prompt_tokens: usize,
    pub(super) cached_tokens: usize,
}

/// What a step gave one request: always one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) id: SeqId,
    /// Tokens given out so far, this one included.
    pub(super) emitted: usize,
    /// Whether the answer is complete.
    pub(super) finished: bool,
}

/// The scheduler.
#[derive(Debug)]
pub(super) struct Scheduler {
    limits: Limits,
    pool: BlockPool,
    running: Vec<SeqId>,
    waiting: VecDeque<SeqId>,
    seqs: HashMap<SeqId, Seq>,
}

impl Scheduler {
    pub(super) fn new(limits: Limits) -> Self {
        let pool = BlockPool::new(limits.blocks);
        Self { limits, pool, running: Vec::new(), waiting: VecDeque::new(), seqs: HashMap::new() }
    }

    /// Takes a request: `tokens` is the prompt of `prompt` tokens and then the answer, at least one token of each.
    pub(super) fn add(&mut self, id: SeqId, tokens: Vec<u32>, prompt: usize, salt: u64) {
        let seq = Seq {
            tokens,
            prompt,
            computed: 0,
            emitted: 0,
            blocks: Vec::new(),
            hashes: Vec::new(),
            salt,
            cached: None,
            preemptions: 0,
        };
        self.seqs.insert(id, seq);
        self.waiting.push_back(id);
    }

    /// Forgets a request; false when it is not here (any more).
    pub(super) fn abort(&mut self, id: SeqId) -> bool {
        let Some(seq) = self.seqs.remove(&id) else { return false };
        self.pool.release(&seq.blocks);
        self.running.retain(|r| *r != id);
        self.waiting.retain(|r| *r != id);
        true
    }

    /// Every request that is here.
    pub(super) fn ids(&self) -> Vec<SeqId> {
        self.seqs.keys().copied().collect()
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Tokens that a slice computes, by request: for tests.
    #[cfg(test)]
    pub(super) fn plan(step: &Step) -> Vec<(SeqId, usize)> {
        step.slices.clone()
    }

    /// Share of the KV cache that requests hold, 0 to 1.
    pub(super) fn kv_usage(&self) -> f64 {
        self.pool.usage()
    }

    /// How often the request was thrown out of the cache.
    pub(super) fn preemptions(&self, id: SeqId) -> u32 {
        self.seqs.get(&id).map_or(0, |s| s.preemptions)
    }

    /// Decides the next step and reserves its blocks.
    pub(super) fn schedule(&mut self) -> Step {
        let mut step = Step::default();
        let mut budget = self.limits.max_num_batched_tokens;
        self.schedule_running(&mut step, &mut budget);
        if step.preempted.is_empty() {
            self.schedule_waiting(&mut step, &mut budget);
        }
        step
    }

    fn schedule_running(&mut self, step: &mut Step, budget: &mut usize) {
        let mut i = 0;
        while i < self.running.len() && *budget > 0 {
            let id = self.running[i];
            let Some(seq) = self.seqs.get(&id) else {
                self.running.remove(i);
                continue;
            };
            let count = (seq.known() - seq.computed).min(*budget);
            let wanted = (seq.computed + count).div_ceil(self.limits.block_size).saturating_sub(seq.blocks.len());
            let mut taken = self.pool.take(wanted);
            while taken.is_none() && self.running.len() > i {
                self.preempt_last(step, budget);
                if self.running.len() == i {
                    break; // it threw itself out
                }
                taken = self.pool.take(wanted);
            }
            let Some(taken) = taken else { break };
            if let Some(seq) = self.seqs.get_mut(&id) {
                seq.blocks.extend(taken);
                Self::record(step, id, seq, count);
                *budget -= count;
            }
            i += 1;
        }
    }

    /// Throws the request that came last out of the cache, back to the head of the queue.
    fn preempt_last(&mut self, step: &mut Step, budget: &mut usize) {
        let Some(victim) = self.running.pop() else { return };
        if let Some(at) = step.slices.iter().position(|(id, _)| *id == victim) {
            let (_, count) = step.slices.remove(at);
            *budget += count;
        }
        if let Some(seq) = self.seqs.get_mut(&victim) {
            self.pool.release(&std::mem::take(&mut seq.blocks));
            seq.computed = 0;
            seq.preemptions += 1;
        }
        self.waiting.push_front(victim);
        step.preempted.push(victim);
    }

    fn schedule_waiting(&mut self, step: &mut Step, budget: &mut usize) {
        while *budget > 0 && self.running.len() < self.limits.max_num_seqs {
            let Some(id) = self.waiting.front().copied() else { break };
            let Some(seq) = self.seqs.get_mut(&id) else {
                self.waiting.pop_front();
                continue;
            };
            let size = self.limits.block_size;
            let hit = match self.limits.prefix_caching {
                PrefixCaching::Off => Vec::new(),
                PrefixCaching::On => {
                    // The last token is always computed: its logits are needed.
                    let full = (seq.known() - 1) / size;
                    seq.hash_up_to(full, size);
                    self.pool.lookup(&seq.hashes[..full])
                }
            };
            let hit_tokens = hit.len() * size;
            let missing = seq.known() - hit_tokens;
            let count = missing.min(*budget);
            if count < missing && self.limits.chunked_prefill == ChunkedPrefill::Off {
                break;
            }
            // Room for the whole prompt, so that nobody is admitted only to be thrown out again.
            let wanted = seq.known().div_ceil(size) - hit.len();
            if wanted > self.pool.free() - self.pool.free_among(&hit) {
                break;
            }
            self.pool.hold(&hit);
            let now = (hit_tokens + count).div_ceil(size) - hit.len();
            seq.blocks = hit;
            seq.blocks.extend(self.pool.take(now).unwrap_or_default());
            seq.computed = hit_tokens;
            if seq.cached.is_none() {
                seq.cached = Some(hit_tokens);
                step.admitted.push(Admission { id, prompt_tokens: seq.prompt, cached_tokens: hit_tokens });
            }
            Self::record(step, id, seq, count);
            *budget -= count;
            self.waiting.pop_front();
            self.running.push(id);
        }
    }

    fn record(step: &mut Step, id: SeqId, seq: &Seq, count: usize) {
        step.slices.push((id, count));
        if seq.emitted > 0 && count == 1 {
            step.load.decode_seqs += 1;
            step.load.decode_context_tokens += seq.known();
        } else {
            step.load.prefill_tokens += count;
            // Each token of the chunk attends to what stands before it.
            step.load.prefill_attention += count as f64 * (seq.computed as f64 + count as f64 / 2.0);
        }
    }

    /// Ends a step: every request whose known tokens are now computed gives one token; finished ones leave.
    pub(super) fn finish(&mut self, step: &Step) -> Vec<Output> {
        let mut outputs = Vec::with_capacity(step.slices.len());
        for (id, count) in &step.slices {
            let Some(seq) = self.seqs.get_mut(id) else { continue }; // aborted during the step
            seq.computed += count;
            if self.limits.prefix_caching == PrefixCaching::On {
                let size = self.limits.block_size;
                let full = seq.computed / size;
                let named = (seq.computed - count) / size;
                seq.hash_up_to(full, size);
                for i in named..full {
                    self.pool.name(seq.blocks[i], seq.hashes[i]);
                }
            }
            if seq.computed < seq.known() {
                continue;
            }
            seq.emitted += 1;
            let finished = seq.known() >= seq.tokens.len();
            outputs.push(Output { id: *id, emitted: seq.emitted, finished });
        }
        for output in outputs.iter().filter(|o| o.finished) {
            self.abort(output.id);
        }
        outputs
    }

    /// Whether prefix caching is on.
    pub(super) fn caches_prefixes(&self) -> bool {
        self.limits.prefix_caching == PrefixCaching::On
    }
}

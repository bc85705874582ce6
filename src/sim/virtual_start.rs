//! One start of the simulated engine in virtual time, for simulated nights: the server's own scheduler and step times, without
//! sockets and without waiting.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Normal};

use super::args::SimArgs;
use super::model::{Memory, Speed};
use super::scheduler::{ChunkedPrefill, Limits, PrefixCaching, Scheduler, SeqId};

/// A started engine.
pub(crate) struct VirtualStart {
    scheduler: Scheduler,
    speed: Speed,
    step_noise: Normal<f64>,
    start_factor: f64,
    random: StdRng,
    now_ms: f64,
    next: SeqId,
}

/// When a request was sent and when its tokens came, ms.
#[derive(Clone, Debug)]
pub(crate) struct VirtualRequest {
    pub(crate) sent_ms: f64,
    pub(crate) token_ms: Vec<f64>,
}

impl VirtualStart {
    /// Starts with these flags; `start_noise` as `--sim-start-noise`; `seed` decides everything random.
    pub(crate) fn new(flags: &str, start_noise: f64, seed: u64) -> Self {
        let args = SimArgs::parse(flags.split_whitespace().map(str::to_owned).collect()).unwrap();
        let memory = Memory::plan(&args);
        let mut random = StdRng::seed_from_u64(seed);
        let start_factor = super::engine::start_factor(start_noise, &mut random);
        let limits = Limits {
            max_num_seqs: args.max_num_seqs,
            max_num_batched_tokens: args.max_num_batched_tokens,
            block_size: args.block_size,
            blocks: memory.blocks,
            chunked_prefill: if args.chunked_prefill { ChunkedPrefill::On } else { ChunkedPrefill::Off },
            prefix_caching: if args.prefix_caching { PrefixCaching::On } else { PrefixCaching::Off },
        };
        Self {
            scheduler: Scheduler::new(limits),
            speed: Speed::of(&args, &memory),
            step_noise: Normal::new(1.0, args.sim.noise).unwrap(),
            start_factor,
            random,
            now_ms: 0.0,
            next: 0,
        }
    }

    /// Prompt tokens that nothing else shares.
    pub(crate) fn prompt(&mut self, tokens: usize) -> Vec<u32> {
        (0..tokens).map(|_| self.random.random_range(0..150_000)).collect()
    }

    /// Users who each send their prompts one after the other; the requests of each user.
    pub(crate) fn closed_loop(
        &mut self,
        prompts: Vec<Vec<Vec<u32>>>,
        answer_tokens: usize,
    ) -> Vec<Vec<VirtualRequest>> {
        let mut waiting: Vec<std::vec::IntoIter<Vec<u32>>> = prompts.into_iter().map(Vec::into_iter).collect();
        let mut done: Vec<Vec<VirtualRequest>> = vec![Vec::new(); waiting.len()];
        let mut owner: std::collections::HashMap<SeqId, usize> = std::collections::HashMap::new();
        for user in 0..waiting.len() {
            self.send(user, &mut waiting, &mut done, &mut owner, answer_tokens);
        }
        loop {
            let step = self.scheduler.schedule();
            if step.is_empty() {
                return done;
            }
            let noise = self.step_noise.sample(&mut self.random).clamp(0.5, 2.0);
            self.now_ms += self.speed.step(&step.load).as_secs_f64() * 1e3 * noise / self.start_factor;
            for output in self.scheduler.finish(&step) {
                let user = owner[&output.id];
                done[user].last_mut().unwrap().token_ms.push(self.now_ms);
                if output.finished {
                    self.send(user, &mut waiting, &mut done, &mut owner, answer_tokens);
                }
            }
        }
    }

    fn send(
        &mut self,
        user: usize,
        waiting: &mut [std::vec::IntoIter<Vec<u32>>],
        done: &mut [Vec<VirtualRequest>],
        owner: &mut std::collections::HashMap<SeqId, usize>,
        answer_tokens: usize,
    ) {
        let Some(mut tokens) = waiting[user].next() else { return };
        let prompt = tokens.len();
        tokens.extend(std::iter::repeat_n(7, answer_tokens));
        self.next += 1;
        owner.insert(self.next, user);
        self.scheduler.add(self.next, tokens, prompt, 0);
        done[user].push(VirtualRequest { sent_ms: self.now_ms, token_ms: Vec::new() });
    }
}

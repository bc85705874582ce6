//! What the scheduler decides, step by step, without a clock.

use proptest::prelude::*;

use super::scheduler::{ChunkedPrefill, Limits, Output, PrefixCaching, Scheduler, Step};

const LIMITS: Limits = Limits {
    max_num_seqs: 4,
    max_num_batched_tokens: 64,
    block_size: 16,
    blocks: 64,
    chunked_prefill: ChunkedPrefill::On,
    prefix_caching: PrefixCaching::On,
};

/// `prompt` distinct tokens from `first` on, then an answer of `answer` tokens.
fn tokens(first: u32, prompt: u32, answer: u32) -> Vec<u32> {
    (first..first + prompt).chain(9_000..9_000 + answer).collect()
}

fn step(scheduler: &mut Scheduler) -> (Step, Vec<Output>) {
    let step = scheduler.schedule();
    let outputs = scheduler.finish(&step);
    (step, outputs)
}

/// Steps until nothing is left; how many tokens each request was given.
fn drain(scheduler: &mut Scheduler, most: usize) -> std::collections::BTreeMap<u64, usize> {
    let mut given = std::collections::BTreeMap::new();
    for _ in 0..most {
        let (step, outputs) = step(scheduler);
        if step.is_empty() {
            return given;
        }
        for output in outputs {
            *given.entry(output.id).or_insert(0) += 1;
        }
    }
    panic!("no end after {most} steps");
}

#[test]
fn a_long_prompt_is_cut_into_chunks_beside_a_decode() {
    let mut scheduler = Scheduler::new(LIMITS);
    scheduler.add(1, tokens(0, 10, 20), 10, 0);
    step(&mut scheduler);
    scheduler.add(2, tokens(100, 150, 5), 150, 0);
    let mut chunks = Vec::new();
    for _ in 0..3 {
        let (step, outputs) = step(&mut scheduler);
        assert_eq!(Scheduler::plan(&step)[0], (1, 1), "the decode goes on in every step");
        chunks.push(Scheduler::plan(&step)[1].1);
        assert!(outputs.iter().any(|o| o.id == 1));
    }
    assert_eq!(chunks, [63, 63, 24]);
}

#[test]
fn without_chunks_a_prompt_waits_for_a_step_that_holds_it_whole() {
    let mut scheduler = Scheduler::new(Limits { chunked_prefill: ChunkedPrefill::Off, ..LIMITS });
    scheduler.add(1, tokens(0, 40, 1), 40, 0);
    scheduler.add(2, tokens(100, 30, 1), 30, 0);
    let (first, _) = step(&mut scheduler);
    assert_eq!(Scheduler::plan(&first), [(1, 40)], "24 tokens are left, 30 are needed");
    assert_eq!(Scheduler::plan(&scheduler.schedule()), [(2, 30)]);
}

#[test]
fn the_last_token_of_a_known_prompt_is_computed_again() {
    let mut scheduler = Scheduler::new(LIMITS);
    scheduler.add(1, tokens(0, 48, 1), 48, 0);
    drain(&mut scheduler, 10);
    scheduler.add(2, tokens(0, 48, 1), 48, 0);
    let step = scheduler.schedule();
    assert_eq!(step.admitted[0].cached_tokens, 32, "whole blocks, never the whole prompt");
    scheduler.abort(2);
    scheduler.add(3, tokens(0, 48, 1), 48, 7);
    assert_eq!(scheduler.schedule().admitted[0].cached_tokens, 0, "another salt shares nothing");
}

#[test]
fn answers_are_hit_by_the_next_turn_of_a_conversation() {
    let mut scheduler = Scheduler::new(LIMITS);
    scheduler.add(1, tokens(0, 20, 30), 20, 0);
    drain(&mut scheduler, 100);
    let mut turn: Vec<u32> = tokens(0, 20, 30);
    turn.extend(200..220);
    turn.push(1);
    scheduler.add(2, turn, 70, 0);
    assert_eq!(scheduler.schedule().admitted[0].cached_tokens, 48);
}

#[test]
fn the_request_that_came_last_is_thrown_out_when_blocks_run_out() {
    let mut scheduler = Scheduler::new(Limits { blocks: 4, prefix_caching: PrefixCaching::Off, ..LIMITS });
    scheduler.add(1, tokens(0, 16, 40), 16, 0);
    scheduler.add(2, tokens(100, 16, 40), 16, 0);
    let mut thrown_out = Vec::new();
    let mut given = std::collections::BTreeMap::new();
    for _ in 0..200 {
        let (step, outputs) = step(&mut scheduler);
        thrown_out.extend(step.preempted.clone());
        outputs.iter().for_each(|o| *given.entry(o.id).or_insert(0) += 1);
        if step.is_empty() {
            break;
        }
    }
    assert_eq!(thrown_out, [2]);
    assert_eq!(given.into_iter().collect::<Vec<_>>(), [(1, 40), (2, 40)], "no token is given twice");
}

proptest! {
    #[test]
    fn every_request_gets_all_its_tokens_and_every_block_comes_back(
        requests in prop::collection::vec((0u32..4, 1u32..100, 1u32..60), 1..12),
        chunked in any::<bool>(), caching in any::<bool>(), blocks in 10usize..40,
    ) {
        let limits = Limits {
            blocks,
            max_num_batched_tokens: 192,
            chunked_prefill: if chunked { ChunkedPrefill::On } else { ChunkedPrefill::Off },
            prefix_caching: if caching { PrefixCaching::On } else { PrefixCaching::Off },
            ..LIMITS
        };
        let mut scheduler = Scheduler::new(limits);
        for (id, (family, prompt, answer)) in requests.iter().enumerate() {
            scheduler.add(id as u64, tokens(family * 1_000, *prompt, *answer), *prompt as usize, 0);
        }
        let given = drain(&mut scheduler, 20_000);
        for (id, (_, _, answer)) in requests.iter().enumerate() {
            prop_assert_eq!(given[&(id as u64)], *answer as usize);
        }
        prop_assert!(scheduler.kv_usage().abs() < 1e-9);
    }
}

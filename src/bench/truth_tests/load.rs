//! The figures of the load scenario, and of the short ones, against the simulated engine's truth.

use std::collections::HashMap;

use crate::domain::{
    KvCacheSpec, Lengths, LoadSpec, ProfileSpec, RequestRecord, ScenarioResult, ScenarioSpec, SmokeSpec, Verdict,
};
use crate::stats;

use super::super::prompt::PromptWriter;
use super::super::{Client, Context, Target, run_scenario};
use super::truth::{Off, Request, compare, compare_samples, join, join_at, metric, usual_difference};
use super::{Lateness, PUNCTUAL_MS, client_of, context, engine, observed};

const PROMPT_TOKENS: u32 = 96;

/// Requests of a closed loop by user, in their order: every prompt begins with a word that is of one user's one request.
async fn by_user<'r>(spec: &LoadSpec, point: &str, level: &'r [Request]) -> Vec<Vec<&'r Request>> {
    let context = context();
    let nobody = Client::new(&Target::new("http://127.0.0.1:1", "m")).await.unwrap();
    let prompts = PromptWriter::new(&nobody, context.seed, &context.run_nonce);
    let of_prompt: HashMap<&str, &Request> = level.iter().map(|r| (r.first_word(), r)).collect();
    let one = |user: u32, number: u32| of_prompt[prompts.nonce(&format!("load/{point}/u{user}/{number}")).as_str()];
    let of_user = |user: u32| (0..spec.requests_per_user).map(|number| one(user, number)).collect();
    (0..spec.concurrency[0]).map(of_user).collect()
}

/// The steady window by the engine's clock, ms.
fn window(users: &[Vec<&Request>]) -> (f64, f64) {
    let start = users.iter().map(|user| user[1].truth.arrival_ms).fold(f64::MIN, f64::max);
    let end = users.iter().map(|user| user[user.len() - 1].done()).fold(f64::MAX, f64::min);
    (start, end)
}

fn compare_latencies(result: &ScenarioResult, point: &str, measured: &[&Request], late: Lateness) {
    let of = |figure: fn(&Request) -> f64| -> Vec<f64> { measured.iter().map(|r| figure(r)).collect() };
    let path = |name: &str| format!("load.{point}.{name}");
    compare_samples(result, &path("ttft_ms"), &of(Request::ttft), Off::longer(late));
    compare_samples(result, &path("e2e_ms"), &of(Request::e2e), Off::longer(late));
    let steps = measured[0].tokens() - 1.0;
    compare_samples(result, &path("tpot_ms"), &of(Request::tpot), Off::either(late.any_ms / steps));
    let gaps: Vec<f64> = measured.iter().flat_map(|r| r.gaps()).collect();
    compare_samples(result, &path("itl_ms"), &gaps, Off::either(late.any_ms));
    // what a user waits for, from the moment when the load model wanted the request
    let waited = Off { below: 1e-6, above: 3.0 * late.any_ms };
    compare_samples(result, &path("ttft_from_intended_ms"), &of(Request::ttft), waited);
    compare_samples(result, &path("e2e_from_intended_ms"), &of(Request::e2e), waited);
}

/// The client's own turn-round: from the end of a user's request to the moment when its next one is sent, all of it.
fn compare_queues(result: &ScenarioResult, point: &str, users: &[Vec<&Request>], late: Lateness) {
    let pairs = || users.iter().flat_map(|user| user.windows(2));
    for pair in pairs() {
        let (before, after) = (&pair[0].record, &pair[1].record);
        compare("intended", after.intended_ms, before.end_ms, Off::either(1e-9));
        compare("queue", after.queue_ms(), after.sent_ms - before.end_ms, Off::either(1e-9));
    }
    // by the engine's stamps: it wrote the end before the client saw it, and read the request after it was sent
    let turns: Vec<f64> = pairs().map(|pair| pair[1].truth.arrival_ms - pair[0].done()).collect();
    if turns.len() == users.iter().flatten().filter(|r| r.record.measured).count() {
        let off = Off { below: 2.0 * late.any_ms, above: 1e-6 };
        compare_samples(result, &format!("load.{point}.queue_ms"), &turns, off);
    }
}

/// The middle request of many is much nearer to the truth than any one must be.
fn compare_the_middle(measured: &[&Request], late: Lateness) {
    let of = |figure: fn(&Request) -> f64| -> Vec<f64> { measured.iter().map(|r| figure(r)).collect() };
    let said: Vec<f64> = measured.iter().filter_map(|r| r.record.ttft_ms()).collect();
    let usual = usual_difference(&said, &of(Request::ttft));
    assert!(usual <= 2.0 * late.usual_ms, "TTFT is usually {usual:.2} ms off, {late:?}");
    let steps = measured[0].tokens() - 1.0;
    let said: Vec<f64> = measured.iter().filter_map(|r| r.record.tpot_ms()).collect();
    let usual = usual_difference(&said, &of(Request::tpot));
    assert!(usual <= 2.0 * late.usual_ms / steps, "TPOT is usually {usual:.3} ms off, {late:?}");
}

fn compare_rates(
    result: &ScenarioResult,
    spec: &LoadSpec,
    point: &str,
    level: &[Request],
    users: &[Vec<&Request>],
    late: Lateness,
) {
    let (start, end) = window(users);
    let measured: Vec<&Request> = level.iter().filter(|r| r.record.measured).collect();
    let seconds = (end - start) / 1_000.0;
    let value = |name: &str| metric(result, &format!("load.{point}.{name}")).value;
    // Either edge of the window may be off by a late stamp, and so may each request at an edge.
    let edges = 2.0 * late.any_ms / (end - start);
    let off = |truth: f64, of_one: f64| Off::either(truth * edges + of_one * users.len() as f64 * edges);

    let events = || measured.iter().flat_map(|r| r.events());
    let inside = |(at, _): &(f64, usize)| *at > start && *at <= end;
    let rate = events().filter(inside).map(|(_, tokens)| tokens).sum::<usize>() as f64 / seconds;
    let mut tokens_off = off(rate, f64::from(spec.output_tokens) / seconds);
    // an event of several tokens is inside or outside as a whole, whichever side of an edge its late stamp falls on
    let near = |(at, _): &(f64, usize)| [start, end].iter().any(|edge| (at - edge).abs() <= late.any_ms);
    let lumps = events().filter(near).map(|(_, tokens)| tokens - 1).sum::<usize>() as f64 / seconds;
    tokens_off = Off { below: tokens_off.below + lumps, above: tokens_off.above + lumps };
    compare("output_tokens_per_s", value("output_tokens_per_s"), rate, tokens_off);
    let shares: f64 = measured.iter().map(|r| r.share(start, end)).sum();
    compare("requests_per_s", value("requests_per_s"), shares / seconds, off(shares / seconds, 1.0 / seconds));
    let input = shares * f64::from(PROMPT_TOKENS) / seconds;
    compare("input_tokens_per_s", value("input_tokens_per_s"), input, off(input, f64::from(PROMPT_TOKENS) / seconds));
    let busy = measured.iter().map(|r| r.overlap(start, end)).sum::<f64>() / 1_000.0 / seconds;
    compare("achieved_concurrency", value("achieved_concurrency"), busy, off(busy, 1.0));

    let whole = level.iter().map(|r| r.done()).fold(f64::MIN, f64::max)
        - level.iter().map(|r| r.truth.arrival_ms).fold(f64::MAX, f64::min);
    let rate = level.iter().map(Request::tokens).sum::<f64>() / whole * 1_000.0;
    let off = Off { below: rate * 2.0 * late.any_ms / whole, above: 1e-6 };
    compare("whole_run_output_tokens_per_s", value("whole_run_output_tokens_per_s"), rate, off);
    let per_chunk = measured.iter().map(|r| r.tokens()).sum::<f64>() / events().count() as f64;
    compare("tokens_per_chunk", value("tokens_per_chunk"), per_chunk, Off::either(1e-9));
}

/// Goodput lies between that of an SLO that is stricter by the lateness and that of one that is laxer: those near it are open.
fn compare_goodput(
    result: &ScenarioResult,
    spec: &LoadSpec,
    point: &str,
    level: &[Request],
    users: &[Vec<&Request>],
    late: Lateness,
) {
    let (start, end) = window(users);
    let seconds = (end - start) / 1_000.0;
    let of = |slack_ms: f64| {
        let within = |value: f64, limit: Option<f64>, slack: f64| limit.is_none_or(|limit| value <= limit + slack);
        let is_good = |r: &&Request| {
            let steps = r.tokens() - 1.0;
            r.record.measured
                && within(r.ttft(), spec.slo_ttft_ms, slack_ms)
                && within(r.tpot(), spec.slo_tpot_ms, slack_ms / steps)
        };
        level.iter().filter(is_good).map(|r| r.share(start, end)).sum::<f64>() / seconds
    };
    let edges = 2.0 * late.any_ms / (end - start) * (of(0.0) + users.len() as f64 / seconds);
    let said = metric(result, &format!("load.{point}.goodput_requests_per_s")).value;
    // a TTFT is never told too short, a TPOT is off either way
    let most = of(if spec.slo_tpot_ms.is_some() { 2.0 * late.any_ms } else { 0.0 }) + edges;
    let least = of(-2.0 * late.any_ms) - edges;
    assert!((least..=most).contains(&said), "goodput {said:.3}, truth {least:.3} to {most:.3}");
}

/// A closed loop to be compared.
struct Load {
    concurrency: u32,
    flags: &'static str,
    requests_per_user: u32,
    output_tokens: u32,
    slo_ttft_ms: f64,
    slo_tpot_ms: Option<f64>,
    /// How late stamps may be where the machine is left alone: grows with what the streams have to do at once.
    punctual_ms: f64,
}

impl Load {
    const fn of(concurrency: u32, flags: &'static str, requests_per_user: u32, slo_ttft_ms: f64) -> Self {
        let (output_tokens, slo_tpot_ms, punctual_ms) = (12, None, PUNCTUAL_MS);
        Self { concurrency, flags, requests_per_user, output_tokens, slo_ttft_ms, slo_tpot_ms, punctual_ms }
    }

    fn spec(&self) -> LoadSpec {
        LoadSpec {
            concurrency: vec![self.concurrency],
            requests_per_user: self.requests_per_user,
            prompt_tokens: Lengths(vec![PROMPT_TOKENS]),
            output_tokens: self.output_tokens,
            slo_ttft_ms: Some(self.slo_ttft_ms),
            slo_tpot_ms: self.slo_tpot_ms,
            ..LoadSpec::default()
        }
    }

    async fn compare(self) {
        let (spec, flags) = (self.spec(), self.flags);
        let (result, truth, late) = observed(flags, &ScenarioSpec::Load(spec.clone()), self.punctual_ms).await;
        assert_ne!(result.validity.verdict, Verdict::Invalid, "{:?}", result.validity);
        let mut words = flags.split(' ');
        let interval = words
            .find(|word| *word == "--stream-interval")
            .and_then(|_| words.next())
            .map_or(1, |n| n.parse().unwrap());
        let mut requests = join_at(&result, &truth, interval);
        requests.retain(|r| r.record.point.is_some()); // the warm-up belongs to no level
        let point = format!("c{}", self.concurrency);
        let measured: Vec<&Request> = requests.iter().filter(|r| r.record.measured).collect();
        compare_latencies(&result, &point, &measured, late);
        // Pieces, and the tokens of very many streams, come in bursts, while the probe's middle look is at a runtime that idles between them.
        if !flags.contains("fragment") && self.punctual_ms <= PUNCTUAL_MS {
            compare_the_middle(&measured, late);
        }
        let users = by_user(&spec, &point, &requests).await;
        assert_eq!(users.iter().map(Vec::len).sum::<usize>(), requests.len());
        compare_queues(&result, &point, &users, late);
        compare_rates(&result, &spec, &point, &requests, &users, late);
        compare_goodput(&result, &spec, &point, &requests, &users, late);
    }
}

#[tokio::test]
async fn a_load_of_one_user_is_reported_as_the_engine_saw_it() {
    Load::of(1, "", 6, 60.0).compare().await;
}

#[tokio::test]
async fn a_load_of_32_users_is_reported_as_the_engine_saw_it() {
    // 16 at once: half of the requests wait, so that TTFT spreads and the SLO parts them
    Load::of(32, "--max-num-seqs 16", 4, 200.0).compare().await;
}

#[tokio::test]
async fn events_of_several_tokens_are_weighted_as_the_engine_counts_them() {
    Load::of(8, "--stream-interval 4", 4, 60.0).compare().await;
}

#[tokio::test]
async fn a_load_of_256_users_is_reported_as_the_engine_saw_it() {
    let load = Load::of(256, "--sim-prefill-tokens-per-s 200000 --sim-step-overhead-ms 100", 3, 700.0);
    Load { output_tokens: 8, punctual_ms: 1_200.0, ..load }.compare().await;
}

#[tokio::test]
async fn a_load_of_1000_users_is_reported_as_the_engine_saw_it() {
    // a step that is longer than what 1,000 streams take to be read in a build without optimisation
    let flags = "--max-num-seqs 1024 --sim-prefill-tokens-per-s 2000000 --sim-step-overhead-ms 600";
    Load { output_tokens: 4, punctual_ms: 4_000.0, ..Load::of(1_000, flags, 3, 2_000.0) }.compare().await;
}

#[tokio::test]
async fn goodput_misses_who_decodes_slower_than_the_slo_as_the_engine_saw_it() {
    // prefills of others fall between the tokens of some and not of others: 60 ms each beside 14 ms a step
    let load = Load::of(6, "--sim-prefill-tokens-per-s 1600 --max-num-seqs 3", 5, 5_000.0);
    Load { slo_tpot_ms: Some(28.0), ..load }.compare().await;
}

#[tokio::test]
async fn fragmented_streams_of_32_users_are_reported_as_the_engine_saw_them() {
    Load::of(32, "--sim-fail=fragment", 3, 200.0).compare().await;
}

#[tokio::test]
async fn a_late_first_byte_belongs_to_ttft() {
    Load::of(2, "--sim-fail=slow_first_byte:150", 4, 200.0).compare().await;
    // and not to a figure that begins with the headers: the sim has read the request before it waits
}

#[tokio::test]
async fn the_first_and_the_later_turns_of_a_conversation_are_told_apart_as_the_engine_saw_them() {
    let spec = LoadSpec {
        concurrency: vec![3],
        requests_per_user: 9,
        turns_per_user: Some(3),
        prompt_tokens: Lengths(vec![256]),
        turn_tokens: 16,
        output_tokens: 4,
        ..LoadSpec::default()
    };
    let (result, truth, late) =
        observed("--sim-prefill-tokens-per-s 2000", &ScenarioSpec::Load(spec), PUNCTUAL_MS).await;
    let requests = join(&result, &truth);
    let of = |role: &str| -> Vec<f64> {
        let at = |r: &&Request| r.record.point.as_deref() == Some("u3") && r.record.role == role;
        requests.iter().filter(at).map(Request::ttft).collect()
    };
    let (first, later) = (of("first_turn"), of("later_turn"));
    compare_samples(&result, "load.u3.ttft_first_turn_ms", &first, Off::longer(late));
    compare_samples(&result, "load.u3.ttft_later_turns_ms", &later, Off::longer(late));
    let (first, later) = (stats::median(&first).unwrap(), stats::median(&later).unwrap());
    assert!(first > later + 50.0, "a history is in the cache: {first:.0} and {later:.0} ms");
}

#[tokio::test]
async fn the_knee_is_at_as_many_users_as_the_engine_serves_at_once() {
    let engine = engine("--max-num-seqs 4").await;
    let spec = LoadSpec {
        concurrency: vec![1, 2, 4, 8, 16],
        requests_per_user: 4,
        prompt_tokens: Lengths(vec![32]),
        output_tokens: 8,
        ..LoadSpec::default()
    };
    let client = client_of(&engine).await;
    let result = run_scenario(&client, &ScenarioSpec::Load(spec), &context()).await.unwrap();
    let requests = join(&result, &engine.truth());
    // power by the engine's stamps: tokens of the level over its time, over the mean time of its requests
    let power = |point: &str| {
        let level: Vec<&Request> = requests.iter().filter(|r| r.record.point.as_deref() == Some(point)).collect();
        let end = level.iter().map(|r| r.done()).fold(f64::MIN, f64::max);
        let start = level.iter().map(|r| r.truth.arrival_ms).fold(f64::MAX, f64::min);
        let tokens: f64 = level.iter().map(|r| r.tokens()).sum();
        tokens / (end - start) / (level.iter().map(|r| r.e2e()).sum::<f64>() / level.len() as f64)
    };
    let best =
        [1_u32, 2, 4, 8, 16].into_iter().max_by(|a, b| power(&format!("c{a}")).total_cmp(&power(&format!("c{b}"))));
    assert_eq!(best, Some(4), "what the engine was made for");
    assert_eq!(metric(&result, "load.knee_concurrency").value, 4.0);
}

#[tokio::test]
async fn the_throughput_of_a_busy_window_is_that_of_the_engine() {
    let spec = ProfileSpec {
        idle_s: 1,
        busy_s: 1,
        concurrency: 4,
        prompt_tokens: 32,
        output_tokens: 8,
        ..ProfileSpec::default()
    };
    let (result, truth, late) = observed("", &ScenarioSpec::Profile(spec), PUNCTUAL_MS).await;
    let mut busy = join(&result, &truth);
    busy.retain(|r| r.record.role == "profile");
    let whole = busy.iter().map(Request::done).fold(f64::MIN, f64::max)
        - busy.iter().map(|r| r.truth.arrival_ms).fold(f64::MAX, f64::min);
    let rate = busy.iter().map(Request::tokens).sum::<f64>() / whole * 1e3;
    let said = metric(&result, "profile.busy.whole_run_output_tokens_per_s").value;
    compare("profile", said, rate, Off { below: rate * 2.0 * late.any_ms / whole, above: 1e-6 });
}

#[tokio::test]
async fn missing_usage_leaves_the_times_that_need_no_count_as_they_were() {
    let spec = LoadSpec {
        concurrency: vec![2],
        requests_per_user: 4,
        prompt_tokens: Lengths(vec![PROMPT_TOKENS]),
        output_tokens: 12,
        ..LoadSpec::default()
    };
    let (result, truth, late) = observed("--sim-fail=no_usage", &ScenarioSpec::Load(spec), PUNCTUAL_MS).await;
    let requests = join(&result, &truth);
    let measured: Vec<f64> = requests.iter().filter(|r| r.record.measured).map(Request::ttft).collect();
    compare_samples(&result, "load.c2.ttft_ms", &measured, Off::longer(late));
    let named = |name: &str| result.metrics.iter().any(|m| m.path.name == name);
    assert!(named("e2e_ms") && named("requests_per_s"));
    assert!(!named("tpot_ms") && !named("output_tokens_per_s") && !named("input_tokens_per_s"));
}

#[tokio::test]
async fn error_events_and_cut_streams_give_no_sample_and_count_as_failed() {
    for (fault, end) in [("error_event:4", "error_event"), ("stream_cut:4", "stream_cut")] {
        let spec = LoadSpec {
            concurrency: vec![1],
            requests_per_user: 6,
            prompt_tokens: Lengths(vec![PROMPT_TOKENS]),
            output_tokens: 12,
            ..LoadSpec::default()
        };
        let flags = format!("--sim-fail={fault}");
        let (result, truth, late) = observed(&flags, &ScenarioSpec::Load(spec), PUNCTUAL_MS).await;
        let requests = join(&result, &truth);
        // a warm-up, a ramp and two good ones; the three after them are struck half-way
        let good: Vec<f64> = requests[2..4].iter().map(Request::ttft).collect();
        let reported = metric(&result, "load.c1.ttft_ms.mean");
        assert_eq!((reported.n, reported.failed_n), (2, 3), "{end}");
        compare("ttft_ms.mean", reported.value, (good[0] + good[1]) / 2.0, Off::longer(late));
        for struck in &requests[4..] {
            assert_eq!(struck.record.end.as_str(), end);
            assert_eq!(struck.record.chunks.len(), struck.truth.written_ms.len(), "what came is kept");
            compare("its TTFT", struck.record.ttft_ms().unwrap(), struck.ttft(), Off::longer(late));
        }
    }
}

#[tokio::test]
async fn misses_hits_and_their_acceleration_are_those_of_the_engine() {
    let spec = ScenarioSpec::KvCache(KvCacheSpec { prefix_tokens: vec![1_024], repeats: 4, output_tokens: 3 });
    let (result, truth, late) = observed("--sim-prefill-tokens-per-s 4000", &spec, PUNCTUAL_MS).await;
    let requests = join(&result, &truth);
    let of =
        |role: &str| -> Vec<f64> { requests.iter().filter(|r| r.record.role == role).map(Request::ttft).collect() };
    let (misses, hits) = (of("miss"), of("hit"));
    compare_samples(&result, "kv_cache.p1024.ttft_miss_ms", &misses, Off::longer(late));
    compare_samples(&result, "kv_cache.p1024.ttft_hit_ms", &hits, Off::longer(late));
    let (miss, hit) = (stats::median(&misses).unwrap(), stats::median(&hits).unwrap());
    let (least, most) = (miss / (hit + 2.0 * late.any_ms), (miss + 2.0 * late.any_ms) / hit);
    let said = metric(&result, "kv_cache.acceleration_ratio").value;
    assert!((least..=most).contains(&said), "acceleration {said:.2}, truth {:.2}", miss / hit);
    let cached = requests.iter().filter(|r| r.record.role == "hit").map(|r| r.truth.cached_tokens as f64).sum::<f64>();
    let said = metric(&result, "kv_cache.cached_tokens_ratio").value;
    compare("cached_tokens_ratio", said, cached / (4.0 * 1_024.0), Off::either(1e-9));
    // the engine's counters say the same, though nobody else's requests are among them
    let said = metric(&result, "kv_cache.prefix_hit_ratio").value;
    compare("prefix_hit_ratio", said, cached / (4.0 * 1_024.0), Off::either(1e-9));
}

#[tokio::test]
async fn the_first_token_of_the_smoke_test_is_the_engine_s() {
    let (result, truth, late) = observed("", &ScenarioSpec::Smoke(SmokeSpec::default()), PUNCTUAL_MS).await;
    let requests = join(&result, &truth);
    let streamed = requests.iter().find(|r| r.record.role == "stream").unwrap();
    compare("smoke.ttft_ms", metric(&result, "smoke.ttft_ms").value, streamed.ttft(), Off::longer(late));
    assert_eq!(metric(&result, "smoke.passed").value, 1.0, "the engine serves");
    let whole: &RequestRecord = &requests.iter().find(|r| r.record.role == "plain").unwrap().record;
    assert_eq!(whole.ttft_ms(), None, "an answer in one piece has no first token");
}

#[tokio::test]
async fn the_fit_check_sends_as_many_requests_of_such_a_length_as_it_says() {
    let engine = engine("--max-num-seqs 3").await;
    let client = client_of(&engine).await;
    let context = Context { kv_cache_tokens: Some(40_000), max_num_seqs: Some(3), ..context() };
    let spec = ScenarioSpec::Smoke(SmokeSpec { fit: Some(true), ..SmokeSpec::default() });
    let result = run_scenario(&client, &spec, &context).await.unwrap();
    let mut sent = join(&result, &engine.truth());
    sent.retain(|r| r.record.role == "fit");
    assert_eq!(metric(&result, "smoke.fit_requests").value, sent.len() as f64);
    let tokens = metric(&result, "smoke.fit_prompt_tokens").value;
    assert!(sent.len() == 3 && sent.iter().all(|r| r.truth.prompt_tokens as f64 == tokens), "{tokens}");
    let admitted = sent.iter().map(|r| r.truth.admitted_ms.unwrap()).fold(f64::MIN, f64::max);
    assert!(sent.iter().all(|r| r.done() >= admitted), "all were at it at once");
}

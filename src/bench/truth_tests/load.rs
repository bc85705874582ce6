//! The figures of the load scenario, and of the short ones, against the simulated engine's truth.

use std::collections::HashMap;

use crate::domain::{
    KvCacheSpec, Lengths, LoadSpec, ProfileSpec, RequestRecord, ScenarioResult, ScenarioSpec, SmokeSpec, Verdict,
};
use crate::stats;

use super::super::prompt::PromptWriter;
use super::super::{Client, Context, run_scenario};
use super::truth::{Off, Request, compare, compare_samples, join, join_at, metric, usual_difference};
use super::{Lateness, client_of, context, engine, with_lateness};

const PROMPT_TOKENS: u32 = 96;

/// Requests of a closed loop by user, in their order: every prompt begins with a word that is of one user's one request.
fn by_user<'r>(client: &Client, spec: &LoadSpec, point: &str, level: &'r [Request]) -> Vec<Vec<&'r Request>> {
    let context = context();
    let prompts = PromptWriter::new(client, context.seed, &context.run_nonce);
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
    // the client's own turn-round: no more than the runtime was ever late
    for statistic in ["min", "mean", "max"] {
        let queue = metric(result, &path(&format!("queue_ms.{statistic}"))).value;
        compare("queue", queue, 0.0, Off { below: 0.0, above: late.any_ms });
    }
    // and so is what a user waits for, from the moment when the load model wanted the request
    let waited = Off { below: 1e-6, above: 3.0 * late.any_ms };
    compare_samples(result, &path("ttft_from_intended_ms"), &of(Request::ttft), waited);
    compare_samples(result, &path("e2e_from_intended_ms"), &of(Request::e2e), waited);
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
        let limit = spec.slo_ttft_ms.unwrap() + slack_ms;
        let good = level.iter().filter(|r| r.record.measured && r.ttft() <= limit);
        good.map(|r| r.share(start, end)).sum::<f64>() / seconds
    };
    let edges = 2.0 * late.any_ms / (end - start) * (of(0.0) + users.len() as f64 / seconds);
    let said = metric(result, &format!("load.{point}.goodput_requests_per_s")).value;
    let (least, most) = (of(-2.0 * late.any_ms) - edges, of(0.0) + edges);
    assert!((least..=most).contains(&said), "goodput {said:.3}, truth {least:.3} to {most:.3}");
}

async fn compare_load(concurrency: u32, flags: &str, requests_per_user: u32, slo_ttft_ms: f64) {
    let engine = engine(flags).await;
    let spec = LoadSpec {
        concurrency: vec![concurrency],
        requests_per_user,
        prompt_tokens: Lengths(vec![PROMPT_TOKENS]),
        output_tokens: 12,
        slo_ttft_ms: Some(slo_ttft_ms),
        ..LoadSpec::default()
    };
    let client = client_of(&engine).await;
    let (result, late) =
        with_lateness(async { run_scenario(&client, &ScenarioSpec::Load(spec.clone()), &context()).await.unwrap() })
            .await;
    assert_ne!(result.validity.verdict, Verdict::Invalid, "{:?}", result.validity);
    let mut words = flags.split(' ');
    let interval =
        words.find(|word| *word == "--stream-interval").and_then(|_| words.next()).map_or(1, |n| n.parse().unwrap());
    let mut requests = join_at(&result, &engine.truth(), interval);
    requests.retain(|r| r.record.point.is_some()); // the warm-up belongs to no level
    let point = format!("c{concurrency}");
    let measured: Vec<&Request> = requests.iter().filter(|r| r.record.measured).collect();
    compare_latencies(&result, &point, &measured, late);
    // Pieces come in bursts, while the probe's middle look is at a runtime that idles between them.
    if !flags.contains("fragment") {
        compare_the_middle(&measured, late);
    }
    let users = by_user(&client, &spec, &point, &requests);
    assert_eq!(users.iter().map(Vec::len).sum::<usize>(), requests.len());
    compare_rates(&result, &spec, &point, &requests, &users, late);
    compare_goodput(&result, &spec, &point, &requests, &users, late);
}

#[tokio::test]
async fn a_load_of_one_user_is_reported_as_the_engine_saw_it() {
    compare_load(1, "", 6, 60.0).await;
}

#[tokio::test]
async fn a_load_of_32_users_is_reported_as_the_engine_saw_it() {
    // 16 at once: half of the requests wait, so that TTFT spreads and the SLO parts them
    compare_load(32, "--max-num-seqs 16", 4, 200.0).await;
}

#[tokio::test]
async fn events_of_several_tokens_are_weighted_as_the_engine_counts_them() {
    compare_load(8, "--stream-interval 4", 4, 60.0).await;
}

#[tokio::test]
async fn a_load_of_256_users_is_reported_as_the_engine_saw_it() {
    compare_load(256, "--sim-prefill-tokens-per-s 200000", 3, 400.0).await;
}

#[tokio::test]
async fn fragmented_streams_of_32_users_are_reported_as_the_engine_saw_them() {
    compare_load(32, "--sim-fail=fragment", 3, 200.0).await;
}

#[tokio::test]
async fn a_late_first_byte_belongs_to_ttft() {
    compare_load(2, "--sim-fail=slow_first_byte:150", 4, 200.0).await;
    // and not to a figure that begins with the headers: the sim has read the request before it waits
}

#[tokio::test]
async fn the_first_and_the_later_turns_of_a_conversation_are_told_apart_as_the_engine_saw_them() {
    let engine = engine("--sim-prefill-tokens-per-s 2000").await;
    let spec = LoadSpec {
        concurrency: vec![3],
        requests_per_user: 9,
        turns_per_user: Some(3),
        prompt_tokens: Lengths(vec![256]),
        turn_tokens: 16,
        output_tokens: 4,
        ..LoadSpec::default()
    };
    let client = client_of(&engine).await;
    let (result, late) =
        with_lateness(async { run_scenario(&client, &ScenarioSpec::Load(spec), &context()).await.unwrap() }).await;
    let requests = join(&result, &engine.truth());
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
    let engine = engine("").await;
    let client = client_of(&engine).await;
    let spec = ProfileSpec {
        idle_s: 1,
        busy_s: 1,
        concurrency: 4,
        prompt_tokens: 32,
        output_tokens: 8,
        ..ProfileSpec::default()
    };
    let (result, late) =
        with_lateness(async { run_scenario(&client, &ScenarioSpec::Profile(spec), &context()).await.unwrap() }).await;
    let mut busy = join(&result, &engine.truth());
    busy.retain(|r| r.record.role == "profile");
    let whole = busy.iter().map(Request::done).fold(f64::MIN, f64::max)
        - busy.iter().map(|r| r.truth.arrival_ms).fold(f64::MAX, f64::min);
    let rate = busy.iter().map(Request::tokens).sum::<f64>() / whole * 1e3;
    let said = metric(&result, "profile.busy.whole_run_output_tokens_per_s").value;
    compare("profile", said, rate, Off { below: rate * 2.0 * late.any_ms / whole, above: 1e-6 });
}

#[tokio::test]
async fn missing_usage_leaves_the_times_that_need_no_count_as_they_were() {
    let engine = engine("--sim-fail=no_usage").await;
    let spec = LoadSpec {
        concurrency: vec![2],
        requests_per_user: 4,
        prompt_tokens: Lengths(vec![PROMPT_TOKENS]),
        output_tokens: 12,
        ..LoadSpec::default()
    };
    let client = client_of(&engine).await;
    let (result, late) =
        with_lateness(async { run_scenario(&client, &ScenarioSpec::Load(spec), &context()).await.unwrap() }).await;
    let requests = join(&result, &engine.truth());
    let measured: Vec<f64> = requests.iter().filter(|r| r.record.measured).map(Request::ttft).collect();
    compare_samples(&result, "load.c2.ttft_ms", &measured, Off::longer(late));
    let named = |name: &str| result.metrics.iter().any(|m| m.path.name == name);
    assert!(named("e2e_ms") && named("requests_per_s"));
    assert!(!named("tpot_ms") && !named("output_tokens_per_s") && !named("input_tokens_per_s"));
}

#[tokio::test]
async fn error_events_and_cut_streams_give_no_sample_and_count_as_failed() {
    for (fault, end) in [("error_event:4", "error_event"), ("stream_cut:4", "stream_cut")] {
        let engine = engine(&format!("--sim-fail={fault}")).await;
        let spec = LoadSpec {
            concurrency: vec![1],
            requests_per_user: 6,
            prompt_tokens: Lengths(vec![PROMPT_TOKENS]),
            output_tokens: 12,
            ..LoadSpec::default()
        };
        let client = client_of(&engine).await;
        let (result, late) =
            with_lateness(async { run_scenario(&client, &ScenarioSpec::Load(spec), &context()).await.unwrap() }).await;
        let requests = join(&result, &engine.truth());
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
    let engine = engine("--sim-prefill-tokens-per-s 4000").await;
    let spec = KvCacheSpec { prefix_tokens: vec![1_024], repeats: 4, output_tokens: 3 };
    let client = client_of(&engine).await;
    let (result, late) =
        with_lateness(async { run_scenario(&client, &ScenarioSpec::KvCache(spec), &context()).await.unwrap() }).await;
    let requests = join(&result, &engine.truth());
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
    let engine = engine("").await;
    let client = client_of(&engine).await;
    let spec = ScenarioSpec::Smoke(SmokeSpec::default());
    let (result, late) = with_lateness(async { run_scenario(&client, &spec, &context()).await.unwrap() }).await;
    let requests = join(&result, &engine.truth());
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
    let spec = ScenarioSpec::Smoke(SmokeSpec { fit: true, ..SmokeSpec::default() });
    let result = run_scenario(&client, &spec, &context).await.unwrap();
    let mut sent = join(&result, &engine.truth());
    sent.retain(|r| r.record.role == "fit");
    assert_eq!(metric(&result, "smoke.fit_requests").value, sent.len() as f64);
    let tokens = metric(&result, "smoke.fit_prompt_tokens").value;
    assert!(sent.len() == 3 && sent.iter().all(|r| r.truth.prompt_tokens as f64 == tokens), "{tokens}");
    let admitted = sent.iter().map(|r| r.truth.admitted_ms.unwrap()).fold(f64::MIN, f64::max);
    assert!(sent.iter().all(|r| r.done() >= admitted), "all were at it at once");
}

//! The scenarios against a small engine whose true times, cache and failures are known.

use tokio_util::sync::CancellationToken;

use crate::domain::{
    KvCacheSpec, Lengths, LoadSpec, RequestEnd, ScenarioResult, ScenarioSpec, SmokeSpec, ValidityReason, Verdict,
};

use super::testserver::{Cache, Engine, Script, TestServer};
use super::{Activity, BenchError, Client, Context, Target, Unusable, run_scenario};

fn context() -> Context {
    Context::new(7, "attempt-1", CancellationToken::new())
}

fn engine() -> Engine {
    Engine { miss_ms: 40, hit_ms: 4, gap_ms: 1, ..Script::default().engine }
}

fn script(engine: Engine) -> Script {
    Script { engine, ..Script::default() }
}

fn kv(sizes: &[u32], repeats: u32) -> ScenarioSpec {
    ScenarioSpec::KvCache(KvCacheSpec { prefix_tokens: sizes.to_vec(), repeats, output_tokens: 2 })
}

fn load(concurrency: &[u32], requests_per_user: u32) -> LoadSpec {
    LoadSpec {
        concurrency: concurrency.to_vec(),
        requests_per_user,
        prompt_tokens: Lengths(vec![64]),
        output_tokens: 8,
        ..LoadSpec::default()
    }
}

async fn run(server: &TestServer, spec: &ScenarioSpec, ctx: &Context) -> ScenarioResult {
    run_scenario(&server.client().await, spec, ctx).await.unwrap()
}

fn value(result: &ScenarioResult, path: &str) -> Option<f64> {
    result.metrics.iter().find(|m| m.path.to_string() == path).map(|m| m.value)
}

fn has(result: &ScenarioResult, reason: ValidityReason) -> bool {
    result.validity.reasons.iter().any(|(r, _)| *r == reason)
}

#[tokio::test]
async fn smoke_passes_on_a_server_that_serves() {
    let server = TestServer::start(script(engine())).await;
    let result = run(&server, &ScenarioSpec::Smoke(SmokeSpec::default()), &context()).await;
    assert!(result.validity.about_the_server().is_empty(), "{:?}", result.validity);
    assert_eq!(value(&result, "smoke.passed"), Some(1.0));
    assert!(value(&result, "smoke.ttft_ms").unwrap() > 0.0);
    let roles: Vec<&str> = result.requests.iter().map(|r| r.role.as_str()).collect();
    assert_eq!(roles, ["plain", "stream", "long"]);
    assert!(server.bodies()[0].get("ignore_eos").is_none());
    assert_eq!(result.requests[2].prompt_tokens, Some(600));
}

#[tokio::test]
async fn smoke_says_which_check_failed() {
    let server = TestServer::start(script(Engine { fail_every: Some(3), ..engine() })).await;
    let result = run(&server, &ScenarioSpec::Smoke(SmokeSpec::default()), &context()).await;
    assert_eq!(result.validity.verdict, Verdict::Invalid);
    assert!(result.validity.reasons[0].1.contains("long prompt") && result.validity.reasons[0].1.contains("triton"));
    assert_eq!(value(&result, "smoke.passed"), Some(0.8));

    let client = Client::new(&Target::new(&server.url, "other-model")).await.unwrap();
    let result = run_scenario(&client, &ScenarioSpec::Smoke(SmokeSpec::default()), &context()).await.unwrap();
    assert!(result.validity.reasons[0].1.contains("lists m and not `other-model`"), "{:?}", result.validity);
}

#[tokio::test]
async fn smoke_without_tokenize_is_suspect_and_without_room_leaves_the_long_prompt_out() {
    let no_room = Script { tokenize: false, max_model_len: Some(128), ..script(engine()) };
    let server = TestServer::start(no_room).await;
    let result = run(&server, &ScenarioSpec::Smoke(SmokeSpec::default()), &context()).await;
    assert_eq!(result.validity.verdict, Verdict::Suspect);
    assert!(has(&result, ValidityReason::SizeLeftOut) && has(&result, ValidityReason::TokenCountsDisagree));
    assert_eq!(result.requests.len(), 2);
}

#[tokio::test]
async fn a_hit_is_the_same_prompt_again_and_the_counters_prove_it() {
    let server = TestServer::start(script(engine())).await;
    let ctx = Context { prefix_caching: Some(true), ..context() };
    let result = run(&server, &kv(&[128, 64], 5), &ctx).await;
    assert!(result.validity.about_the_server().is_empty(), "{:?}", result.validity);
    assert!(value(&result, "kv_cache.p128.acceleration_ratio").unwrap() > 1.5);
    assert_eq!(value(&result, "kv_cache.acceleration_ratio"), value(&result, "kv_cache.p128.acceleration_ratio"));
    assert_eq!(value(&result, "kv_cache.p128.cached_tokens_ratio"), Some(1.0));
    assert_eq!(value(&result, "kv_cache.p128.prefix_hit_ratio"), Some(1.0));
    assert!(value(&result, "kv_cache.p64.ttft_miss_ms.p50").unwrap() >= 40.0);
    assert_eq!(value(&result, "kv_cache.p64.ttft_miss_ms.p95"), None, "five samples have no 95th percentile");
    let bodies = server.bodies();
    assert_eq!(bodies.len(), 2 * (2 + 10));
    assert_eq!((&bodies[2]["ignore_eos"], &bodies[2]["min_tokens"]), (&true.into(), &2.into()));
    for pair in result.requests.chunks(2) {
        assert_eq!(pair[0].body_sha256, pair[1].body_sha256);
    }
    let warm_ups = result.requests.iter().filter(|r| r.role == "warmup");
    assert_eq!(warm_ups.filter(|r| !r.measured).count(), 4);
    assert!(result.counters.iter().any(|c| c.name == "vllm:prefix_cache_hits_total" && c.after > c.before));
}

#[tokio::test]
async fn the_same_seed_gives_other_prompts_to_another_attempt_and_the_same_data_hash() {
    let server = TestServer::start(script(Engine { miss_ms: 0, hit_ms: 0, ..engine() })).await;
    let first = run(&server, &kv(&[64], 1), &context()).await;
    let other = Context::new(7, "attempt-2", CancellationToken::new());
    let second = run(&server, &kv(&[64], 1), &other).await;
    assert_ne!(first.requests[0].body_sha256, second.requests[0].body_sha256);
    assert_eq!(first.data_sha256, second.data_sha256);
    assert_eq!(second.requests[0].cached_tokens, Some(0));
    let third = run(&server, &kv(&[64], 1), &other).await;
    assert!(has(&third, ValidityReason::MissWasCached), "a nonce that is used twice is noticed");
}

#[tokio::test]
async fn a_cache_that_is_on_and_never_hits_is_invalid() {
    let engine = Engine { cache: Cache::FastButUncounted, says_cached: false, ..engine() };
    let server = TestServer::start(script(engine.clone())).await;
    let ctx = Context { prefix_caching: Some(true), ..context() };
    let result = run(&server, &kv(&[64], 3), &ctx).await;
    assert!(!has(&result, ValidityReason::CacheDidNotHit), "nobody says anything about hits: {:?}", result.validity);
    let server = TestServer::start(script(Engine { says_cached: true, ..engine })).await;
    let result = run(&server, &kv(&[64], 3), &ctx).await;
    assert_eq!(result.validity.verdict, Verdict::Invalid);
    assert!(has(&result, ValidityReason::CacheDidNotHit));
}

#[tokio::test]
async fn a_faster_repeat_without_a_cache_is_invalid_and_an_equal_one_is_not() {
    let off = Context { prefix_caching: Some(false), ..context() };
    let server = TestServer::start(script(Engine { cache: Cache::FastButUncounted, ..engine() })).await;
    let result = run(&server, &kv(&[64], 5), &off).await;
    assert!(has(&result, ValidityReason::HitWithoutCache), "{:?}", result.validity);
    let server = TestServer::start(script(Engine { cache: Cache::Off, ..engine() })).await;
    let result = run(&server, &kv(&[64], 5), &off).await;
    assert!(!has(&result, ValidityReason::CacheDidNotHit));
}

#[tokio::test]
async fn sizes_that_do_not_fit_are_left_out_and_named() {
    let server = TestServer::start(Script { max_model_len: Some(100), ..script(engine()) }).await;
    let result = run(&server, &kv(&[64, 512], 3), &context()).await;
    assert_eq!(result.validity.verdict, Verdict::Suspect, "{:?}", result.validity);
    assert!(result.validity.reasons[0].1.contains("512"));
    assert!(value(&result, "kv_cache.p512.ttft_miss_ms.mean").is_none());
    assert!(value(&result, "kv_cache.ttft_miss_ms.mean").is_some());
    let ctx = Context { max_model_len: Some(10), ..context() };
    let result = run(&server, &ScenarioSpec::Load(load(&[1], 3)), &ctx).await;
    assert_eq!((result.validity.verdict, result.requests.len()), (Verdict::Invalid, 0));
    assert!(has(&result, ValidityReason::SizeLeftOut));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_reaches_its_concurrency_and_leaves_the_ramp_out() {
    let server = TestServer::start(script(Engine { gap_ms: 5, ..engine() })).await;
    let spec = LoadSpec { slo_ttft_ms: Some(1e9), ..load(&[1, 4], 4) };
    let ctx = context();
    let watch = ctx.progress.subscribe();
    let result = run(&server, &ScenarioSpec::Load(spec), &ctx).await;
    assert_ne!(result.validity.verdict, Verdict::Invalid, "{:?}", result.validity);
    assert_eq!(server.most_in_flight(), 4);
    assert_eq!(result.requests.len(), 1 + 4 + 16);
    assert_eq!(result.requests.iter().filter(|r| r.role == "ramp").count(), 5);
    let n = result.metrics.iter().find(|m| m.path.to_string() == "load.c4.ttft_ms.mean").unwrap().n;
    assert_eq!(n, 12);
    let of = |path: &str| value(&result, path).unwrap_or_else(|| panic!("no {path}"));
    assert!(of("load.c4.ttft_ms.p50") >= 40.0 && of("load.c4.tpot_ms.p50") >= 5.0);
    assert!((of("load.c4.tokens_per_chunk") - 1.0).abs() < 1e-9);
    assert!(of("load.c4.output_tokens_per_s") > of("load.c1.output_tokens_per_s"));
    assert!((of("load.output_tokens_per_s") - of("load.c4.output_tokens_per_s")).abs() < 1e-9);
    assert!((of("load.ttft_ms.p50") - of("load.c4.ttft_ms.p50")).abs() < 1e-9);
    assert!((of("load.c4.goodput_requests_per_s") - of("load.c4.requests_per_s")).abs() < 1e-9);
    // Little's law ties the figures together: requests in flight = rate x time
    let little = of("load.c1.requests_per_s") * of("load.c1.e2e_ms.mean") / 1_000.0;
    assert!((0.7..1.3).contains(&little), "{little}");
    for user_turn in result.requests.iter().filter(|r| r.role == "load") {
        assert!(user_turn.queue_ms() >= 0.0);
    }
    let progress = *watch.borrow();
    assert_eq!(
        (progress.activity, progress.requests_done, progress.requests_total),
        (Activity::Measuring, 21, Some(21))
    );
}

#[tokio::test]
async fn several_tokens_per_chunk_are_counted_by_usage() {
    let server = TestServer::start(script(Engine { tokens_per_chunk: 4, gap_ms: 8, ..engine() })).await;
    let result = run(&server, &ScenarioSpec::Load(load(&[1], 4)), &context()).await;
    assert!((value(&result, "load.c1.tokens_per_chunk").unwrap() - 4.0).abs() < 1e-9);
    assert!(value(&result, "load.c1.itl_ms.mean").unwrap() >= 2.0);
    assert_eq!(result.requests[1].completion_tokens, Some(8));
    assert_eq!(result.requests[1].chunks.len(), 2);
}

#[tokio::test]
async fn some_failed_requests_are_counted_and_all_failed_are_invalid() {
    let server = TestServer::start(script(Engine { fail_every: Some(4), ..engine() })).await;
    let result = run(&server, &ScenarioSpec::Load(load(&[2], 5)), &context()).await;
    assert_eq!(result.validity.verdict, Verdict::Suspect, "{:?}", result.validity);
    let metric = result.metrics.iter().find(|m| m.path.to_string() == "load.c2.ttft_ms.mean").unwrap();
    assert!(metric.failed_n > 0 && metric.n + metric.failed_n == 8);
    let sentence = &result.validity.reasons.iter().find(|r| r.0 == ValidityReason::RequestsFailed).unwrap().1;
    assert!(sentence.contains("http_status") && sentence.contains("triton"), "{sentence}");

    let server = TestServer::start(script(Engine { fail_every: Some(1), ..engine() })).await;
    let result = run(&server, &ScenarioSpec::Load(load(&[2], 3)), &context()).await;
    assert_eq!(result.validity.verdict, Verdict::Invalid);
    assert!(value(&result, "load.output_tokens_per_s").is_none(), "what was not measured is no figure");
}

#[tokio::test]
async fn missing_usage_and_preemptions_make_a_result_suspect() {
    let server = TestServer::start(script(Engine { usage: false, preemptions: 1, ..engine() })).await;
    let result = run(&server, &ScenarioSpec::Load(load(&[1], 4)), &context()).await;
    assert!(has(&result, ValidityReason::UsageMissing) && has(&result, ValidityReason::Preemptions));
    assert!(
        value(&result, "load.c1.output_tokens_per_s").is_none() && value(&result, "load.c1.tpot_ms.mean").is_none()
    );
    assert!(value(&result, "load.c1.ttft_ms.mean").is_some());
}

#[tokio::test]
async fn an_engine_that_refuses_min_tokens_is_measured_without_and_the_result_says_so() {
    let server = TestServer::start(script(Engine { refuses_min_tokens: true, ..engine() })).await;
    for spec in [kv(&[64], 3), ScenarioSpec::Load(load(&[1], 4))] {
        let result = run(&server, &spec, &context()).await;
        assert!(result.requests.iter().filter(|r| r.measured).all(|r| r.end.is_complete()), "{:?}", result.validity);
        assert!(result.validity.reasons[0].1.contains("min_tokens"));
        assert_ne!(result.validity.verdict, Verdict::Invalid);
    }
}

#[tokio::test]
async fn a_server_that_dies_ends_the_scenario_with_what_was_measured() {
    for spec in [kv(&[64], 5), ScenarioSpec::Load(load(&[2], 6))] {
        let server = TestServer::start(script(Engine { die_at: Some(6), ..engine() })).await;
        let error = run_scenario(&server.client().await, &spec, &context()).await.unwrap_err();
        let BenchError::ServerUnusable { how, evidence, partial } = error else { panic!("{error}") };
        assert_eq!(how, Unusable::Gone, "{evidence}");
        assert!(partial.requests.len() >= 6);
        assert!(partial.requests.iter().any(|r| !r.end.is_complete()));
        assert_eq!(partial.validity.verdict, Verdict::Invalid);
    }
}

#[tokio::test]
async fn a_dead_engine_behind_a_live_server_is_told_apart_from_a_failed_request() {
    let dead = Script { health: 503, ..script(Engine { fail_every: Some(2), ..engine() }) };
    let server = TestServer::start(dead).await;
    let error = run_scenario(&server.client().await, &kv(&[64], 3), &context()).await.unwrap_err();
    assert!(matches!(error, BenchError::ServerUnusable { how: Unusable::EngineDead, .. }), "{error}");
}

#[tokio::test]
async fn a_cancel_ends_a_scenario_at_once_with_what_was_measured() {
    let server = TestServer::start(script(Engine { miss_ms: 60_000, ..engine() })).await;
    let ctx = context();
    let client = server.client().await;
    let cancel = async {
        while server.most_in_flight() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        ctx.cancel.cancel();
    };
    let spec = ScenarioSpec::Load(load(&[2], 3));
    let (result, ()) = tokio::join!(run_scenario(&client, &spec, &ctx), cancel);
    let Err(BenchError::Cancelled { partial }) = result else { panic!("not cancelled") };
    assert_eq!(partial.requests[0].end, RequestEnd::Cancelled);
    assert_eq!(partial.validity.verdict, Verdict::Invalid);
}

//! Conversation, stability and long context against a small engine whose true times and failures are known.

use tokio_util::sync::CancellationToken;

use crate::domain::{
    ConversationSpec, Language, LongContextSpec, Metric, ScenarioResult, ScenarioSpec, StabilitySpec, ValidityReason,
    Verdict,
};

use super::testserver::{Engine, Script, TestServer, starve};
use super::{BenchError, Context, run_scenario};

fn context() -> Context {
    Context::new(7, "attempt-1", CancellationToken::new())
}

fn script(engine: Engine) -> Script {
    Script { engine, ..Script::default() }
}

fn engine() -> Engine {
    Engine { miss_ms: 8, gap_ms: 1, ..Script::default().engine }
}

fn conversation(turns: u32, iterations: u32) -> ConversationSpec {
    ConversationSpec { turns, iterations, user_tokens: 80, output_tokens: 8, ..ConversationSpec::default() }
}

async fn run(server: &TestServer, spec: ScenarioSpec) -> ScenarioResult {
    run_scenario(&server.client().await, &spec, &context()).await.unwrap()
}

fn metric<'r>(result: &'r ScenarioResult, path: &str) -> Option<&'r Metric> {
    result.metrics.iter().find(|m| m.path.to_string() == path)
}

fn value(result: &ScenarioResult, path: &str) -> Option<f64> {
    metric(result, path).map(|m| m.value)
}

fn has(result: &ScenarioResult, reason: ValidityReason) -> bool {
    result.validity.reasons.iter().any(|(r, _)| *r == reason)
}

#[tokio::test]
async fn each_turn_carries_all_turns_before_it_and_is_as_long_as_asked() {
    let server = TestServer::start(script(engine())).await;
    let result = run(&server, ScenarioSpec::Conversation(conversation(6, 3))).await;
    assert!(result.validity.about_the_server().is_empty(), "{:?}", result.validity);
    let bodies = server.bodies();
    assert_eq!(bodies.len(), 1 + 18);
    let turns: Vec<&serde_json::Value> = bodies[1..].iter().collect();
    for (at, body) in turns.iter().enumerate() {
        let messages = body["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 2 + 2 * (at % 6), "system, history, question");
        if at % 6 > 0 {
            let before = turns[at - 1]["messages"].as_array().unwrap();
            assert_eq!(messages[..before.len()], before[..], "the history is what was sent before");
        }
        assert_eq!(body["min_tokens"], 8);
    }
    let prompts: Vec<Option<u32>> = result.requests[1..7].iter().map(|r| r.prompt_tokens).collect();
    assert_eq!(prompts, [80, 168, 256, 344, 432, 520].map(Some));
    assert!(turns[0]["messages"][1]["content"].as_str().unwrap().contains("bicycle workshop"));
    assert!(turns[1]["messages"][3]["content"].as_str().unwrap().contains("neuf cents habitants"));
    assert_ne!(turns[0]["messages"][0], turns[6]["messages"][0], "each conversation has its own nonce");
    assert_eq!(turns[0]["messages"][1], turns[6]["messages"][1], "and the same turns");
}

#[tokio::test]
async fn a_conversation_has_figures_per_turn_per_band_and_as_a_whole() {
    let server = TestServer::start(script(engine())).await;
    let result = run(&server, ScenarioSpec::Conversation(conversation(6, 3))).await;
    let n = |path: &str| metric(&result, path).map(|m| m.n);
    assert_eq!(n("conversation.t1.ttft_ms.p50"), Some(3));
    assert_eq!(n("conversation.t6.decode_tokens_per_s.mean"), Some(3));
    assert_eq!(n("conversation.b3_4.e2e_ms.mean"), Some(6));
    assert_eq!(n("conversation.ttft_ms.p50"), Some(18));
    assert_eq!(value(&result, "conversation.success_ratio"), Some(1.0));
    assert_eq!(n("conversation.i3.ttft_change_ratio"), Some(6));
    assert_eq!(value(&result, "conversation.e2e_change_ratio"), value(&result, "conversation.i3.e2e_change_ratio"));
    assert!(metric(&result, "conversation.ttft_slope_ms_per_turn").unwrap().ci_low.is_some());
    assert!(value(&result, "conversation.t1.ttft_ms.min").unwrap() >= 8.0);
    // the mean of rates is never below the rate of the sums when all have the same number of tokens
    let mean_of_ratios = value(&result, "conversation.decode_tokens_per_s.mean").unwrap();
    assert!(mean_of_ratios >= value(&result, "conversation.aggregate_decode_tokens_per_s").unwrap() - 1e-9);
}

#[tokio::test]
async fn a_failed_turn_does_not_end_the_conversation_and_is_counted() {
    let server = TestServer::start(script(Engine { fail_every: Some(4), ..engine() })).await;
    let result = run(&server, ScenarioSpec::Conversation(conversation(5, 2))).await;
    // requests 4 and 8 fail; the first is the warm-up
    assert_eq!(value(&result, "conversation.success_ratio"), Some(0.8));
    assert_eq!(result.validity.verdict, Verdict::Suspect);
    let t3 = metric(&result, "conversation.t3.ttft_ms.mean").unwrap();
    assert_eq!((t3.n, t3.failed_n), (1, 1));
}

#[tokio::test]
async fn turns_beyond_the_context_length_are_left_out_and_named() {
    let server = TestServer::start(Script { max_model_len: Some(300), ..script(engine()) }).await;
    let result = run(&server, ScenarioSpec::Conversation(conversation(6, 2))).await;
    assert!(has(&result, ValidityReason::SizeLeftOut) && result.validity.reasons[0].1.contains("from 4 on"));
    assert_eq!(result.requests.len(), 1 + 6);
}

#[tokio::test]
async fn a_conversation_in_one_language_is_other_data_than_one_in_two() {
    let one = ConversationSpec { languages: vec![Language::Fr], ..conversation(2, 1) };
    let both = conversation(2, 1);
    let hash = |spec: &ConversationSpec| {
        super::data_sha256_of(0, &ScenarioSpec::Conversation(spec.clone()), &crate::cases::CaseSet::shipped())
    };
    assert_ne!(hash(&one), hash(&both));
    let server = TestServer::start(script(engine())).await;
    let result = run(&server, ScenarioSpec::Conversation(one)).await;
    assert!(server.bodies()[1]["messages"][1]["content"].as_str().unwrap().contains("atelier de vélos"));
    assert_eq!(result.requests.len(), 3);
}

fn stability(cycles: u32) -> StabilitySpec {
    StabilitySpec { cycles, minutes: None, prompt_tokens: 60, output_tokens: vec![4, 12, 3, 10] }
}

#[tokio::test]
async fn a_stable_server_drifts_nowhere_and_each_cycle_repeats_the_first_behind_a_new_nonce() {
    let server = TestServer::start(script(Engine { gap_ms: 3, ..engine() })).await;
    let result = run(&server, ScenarioSpec::Stability(stability(5))).await;
    assert_ne!(result.validity.verdict, Verdict::Invalid, "{:?}", result.validity);
    assert!(has(&result, ValidityReason::TooFewSamples), "seconds give no slope: {:?}", result.validity);
    assert_eq!(result.requests.len(), 1 + 20);
    let text = |at: usize| server.bodies()[at]["messages"][0]["content"].as_str().unwrap().to_owned();
    assert_ne!(text(1), text(5));
    assert_eq!(text(1).split_once(' ').unwrap().1, text(5).split_once(' ').unwrap().1);
    let lengths: Vec<Option<u32>> = result.requests[1..5].iter().map(|r| r.completion_tokens).collect();
    assert_eq!(lengths, [4, 12, 3, 10].map(Some));
    assert_eq!(metric(&result, "stability.r2.e2e_ms.p50").unwrap().n, 5);
    assert_eq!(metric(&result, "stability.k5.e2e_change_ratio").unwrap().n, 4);
    assert_eq!(value(&result, "stability.error_ratio"), Some(0.0));
    assert_eq!(value(&result, "stability.preemptions"), Some(0.0));
    let drift = metric(&result, "stability.e2e_drift_ratio").unwrap();
    assert!(drift.ci_low.unwrap() <= drift.value && drift.value <= drift.ci_high.unwrap());
}

#[tokio::test]
async fn a_server_that_slows_down_has_a_positive_drift_of_times_and_a_negative_one_of_its_rate() {
    let server = TestServer::start(script(Engine { gap_ms: 4, slower_ms: 2, ..engine() })).await;
    let result = run(&server, ScenarioSpec::Stability(stability(5))).await;
    let ci = |path: &str| metric(&result, path).map(|m| (m.ci_low.unwrap(), m.ci_high.unwrap())).unwrap();
    assert!(ci("stability.e2e_drift_ratio").0 > 0.2, "{:?}", ci("stability.e2e_drift_ratio"));
    assert!(ci("stability.decode_drift_ratio").1 < -0.2, "{:?}", ci("stability.decode_drift_ratio"));
    assert!(value(&result, "stability.e2e_change_ratio").unwrap() > 0.2);
}

#[tokio::test]
async fn what_a_server_threw_out_is_counted_and_what_it_keeps_is_no_slope_in_seconds() {
    let leaky = Engine { leaks: Some((0.01, 5e6)), preemptions: 2, ..engine() };
    let server = TestServer::start(script(leaky)).await;
    let result = run(&server, ScenarioSpec::Stability(stability(6))).await;
    assert_eq!(value(&result, "stability.preemptions"), Some(2.0 * 24.0));
    for name in ["kv_usage_slope_ratio_per_h", "server_memory_slope_bytes_per_h"] {
        assert_eq!(value(&result, &format!("stability.{name}")), None, "six cycles of a few ms");
    }
    let text = &result.validity.reasons.iter().find(|(r, _)| *r == ValidityReason::TooFewSamples).unwrap().1;
    assert!(text.contains("no slope") && text.contains("5 min"), "{text}");
}

#[tokio::test]
async fn cycles_go_on_until_the_minutes_are_over() {
    let server = TestServer::start(script(engine())).await;
    let spec = StabilitySpec { minutes: Some(0.01), ..stability(2) };
    let began = std::time::Instant::now();
    let result = run(&server, ScenarioSpec::Stability(spec)).await;
    assert!(began.elapsed().as_secs_f64() >= 0.6);
    assert!(result.requests.len() > 1 + 8 && (result.requests.len() - 1).is_multiple_of(4), "whole cycles");
}

#[tokio::test]
async fn a_server_that_dies_in_a_cycle_leaves_the_figures_of_what_came_before_and_counts_the_death() {
    let server = TestServer::start(script(Engine { die_at: Some(11), ..engine() })).await;
    let spec = ScenarioSpec::Stability(stability(5));
    let error = run_scenario(&server.client().await, &spec, &context()).await.unwrap_err();
    let BenchError::ServerUnusable { partial, .. } = error else { panic!("{error}") };
    assert_eq!(value(&partial, "stability.error_ratio"), Some(0.1), "the tenth of ten requests");
    assert_eq!(partial.validity.verdict, Verdict::Invalid);
}

fn long(sizes: Option<Vec<u32>>) -> ScenarioSpec {
    let base = LongContextSpec::default();
    ScenarioSpec::LongContext(LongContextSpec {
        prompt_tokens: sizes,
        first_tokens: 200,
        output_tokens: 4,
        survival_tokens: 48,
        ..base
    })
}

#[tokio::test]
async fn prompts_double_up_to_the_context_length_and_a_small_request_follows_each() {
    let server = TestServer::start(Script { max_model_len: Some(1_000), ..script(engine()) }).await;
    let result = run(&server, long(None)).await;
    assert!(result.validity.about_the_server().is_empty(), "{:?}", result.validity);
    assert_eq!(result.requests.len(), 1 + 4 * 3 * 2);
    let roles: Vec<&str> = result.requests[1..5].iter().map(|r| r.role.as_str()).collect();
    assert_eq!(roles, ["long", "survival", "long", "survival"]);
    assert_eq!(value(&result, "long_context.survived_ratio"), Some(1.0));
    assert_eq!(value(&result, "long_context.longest_prompt_tokens"), Some(980.0));
    let rate = value(&result, "long_context.p980.prefill_tokens_per_s.max").unwrap();
    let fastest = value(&result, "long_context.p980.ttft_ms.min").unwrap();
    assert!((rate - 980.0 / fastest * 1_000.0).abs() < 1e-6, "prompt tokens over TTFT");
    assert_eq!(value(&result, "long_context.ttft_ms.p50"), value(&result, "long_context.p980.ttft_ms.p50"));
    assert!(metric(&result, "long_context.p200.survival_ttft_ms.p50").is_some());
}

#[tokio::test]
async fn long_prompts_that_do_not_fit_are_left_out_and_a_death_is_no_survival() {
    let server = TestServer::start(Script { max_model_len: Some(500), ..script(engine()) }).await;
    let result = run(&server, long(Some(vec![100, 600]))).await;
    assert!(has(&result, ValidityReason::SizeLeftOut) && result.validity.reasons[0].1.contains("600"));
    assert_eq!(result.requests.len(), 1 + 6);

    let without_a_limit = TestServer::start(script(engine())).await;
    let result = run(&without_a_limit, long(None)).await;
    assert_eq!((result.validity.verdict, result.requests.len()), (Verdict::Invalid, 0));

    let dying = TestServer::start(script(Engine { die_at: Some(6), ..engine() })).await;
    let error = run_scenario(&dying.client().await, &long(Some(vec![100, 200])), &context()).await.unwrap_err();
    let BenchError::ServerUnusable { partial, .. } = error else { panic!("{error}") };
    assert!((value(&partial, "long_context.survived_ratio").unwrap() - 2.0 / 3.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_client_that_gets_no_time_says_so_wherever_a_figure_rests_on_its_clock() {
    let server = TestServer::start(script(engine())).await;
    let _starved = starve(30);
    let told = [ScenarioSpec::Stability(stability(3)), ScenarioSpec::Conversation(conversation(3, 1))];
    for spec in told {
        let result = run(&server, spec).await;
        assert!(has(&result, ValidityReason::ClientSaturated), "{:?}: {:?}", result.spec.kind(), result.validity);
    }
    let smoke = run(&server, ScenarioSpec::Smoke(Default::default())).await;
    assert!(!has(&smoke, ValidityReason::ClientSaturated), "it keeps no time: {:?}", smoke.validity);
}

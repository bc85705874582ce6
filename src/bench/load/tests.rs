//! The kinds of load against a small engine whose true times are known.

use tokio_util::sync::CancellationToken;

use super::super::testserver::{Engine, Script, TestServer, starve};
use super::super::{Context, run_scenario};
use crate::domain::{
    Lengths, LoadSpec, RequestRecord, ScenarioResult, ScenarioSpec, Trace, TracePrompt, TraceRequest, ValidityReason,
    Verdict,
};

/// 40 ms of prefill, then 8 tokens with 1 ms between them: about 50 ms a request.
async fn server() -> TestServer {
    let engine = Engine { miss_ms: 40, hit_ms: 4, gap_ms: 1, ..Script::default().engine };
    TestServer::start(Script { engine, ..Script::default() }).await
}

fn spec() -> LoadSpec {
    LoadSpec { concurrency: vec![], prompt_tokens: Lengths(vec![64]), output_tokens: 8, ..LoadSpec::default() }
}

async fn run(server: &TestServer, spec: LoadSpec) -> ScenarioResult {
    let ctx = Context::new(7, "attempt-1", CancellationToken::new());
    run_scenario(&server.client().await, &ScenarioSpec::Load(spec), &ctx).await.unwrap()
}

fn value(result: &ScenarioResult, path: &str) -> Option<f64> {
    result.metrics.iter().find(|m| m.path.to_string() == path).map(|m| m.value)
}

fn sentence(result: &ScenarioResult, reason: ValidityReason) -> Option<&str> {
    result.validity.reasons.iter().find(|(r, _)| *r == reason).map(|(_, text)| text.as_str())
}

fn at<'r>(result: &'r ScenarioResult, point: &'r str) -> impl Iterator<Item = &'r RequestRecord> {
    result.requests.iter().filter(move |r| r.point.as_deref() == Some(point))
}

#[tokio::test]
async fn an_open_loop_sends_when_requests_arrive_whatever_became_of_the_ones_before() {
    let server = server().await;
    let result = run(&server, LoadSpec { rates: vec![40.0, 20.0], duration_s: 1.5, ..spec() }).await;
    assert_eq!(sentence(&result, ValidityReason::RateNotReached), None, "{:?}", result.validity);
    for (point, rate, n) in [("r20", 20.0, 30), ("r40", 40.0, 60)] {
        let mut arrivals: Vec<f64> = at(&result, point).map(|r| r.intended_ms).collect();
        arrivals.sort_unstable_by(f64::total_cmp);
        let expected = super::arrivals::arrivals(7 ^ f64::to_bits(rate).rotate_left(17), rate, 1.0, n);
        assert_eq!(arrivals.len(), n);
        for (found, expected_s) in arrivals.iter().zip(&expected) {
            // the same schedule, from the moment when the point began
            let offset = (found - arrivals[0]) - (expected_s - expected[0]) * 1_000.0;
            assert!(offset.abs() < 2e-3, "{offset}");
        }
        assert!(at(&result, point).all(|r| r.sent_ms >= r.intended_ms));
        assert_eq!(at(&result, point).filter(|r| r.role == "ramp").count(), n / 10);
        let of = |name: &str| value(&result, &format!("load.{point}.{name}")).unwrap_or_else(|| panic!("no {name}"));
        assert!(of("ttft_from_intended_ms.mean") >= of("ttft_ms.mean"));
        assert!(of("e2e_from_intended_ms.mean") >= of("e2e_ms.mean"));
        assert!((of("offered_requests_per_s") / rate - 1.0).abs() < 0.6, "{}", of("offered_requests_per_s"));
        assert!(of("requests_per_s") > 0.0 && of("backlog_growth").is_finite());
    }
    assert_eq!(value(&result, "load.sustained_requests_per_s"), Some(40.0));
    assert_eq!(value(&result, "load.ttft_ms.p50"), value(&result, "load.r40.ttft_ms.p50"));
    assert!(server.most_in_flight() > 1);
}

#[tokio::test]
async fn a_rate_beyond_what_is_answered_is_said_and_shows_in_the_latency_from_intended() {
    // one request in flight, 50 ms each: 20 requests per second at most
    let server = server().await;
    let spec = LoadSpec { rates: vec![60.0], duration_s: 1.2, max_concurrency: Some(1), ..spec() };
    let result = run(&server, spec).await;
    assert_eq!(server.most_in_flight(), 1);
    let text = sentence(&result, ValidityReason::RateNotReached).unwrap_or_else(|| panic!("{:?}", result.validity));
    assert!(text.starts_with("r60: "), "{text}");
    assert_eq!(result.validity.verdict, Verdict::Suspect);
    let of = |name: &str| value(&result, &format!("load.r60.{name}")).unwrap();
    assert!(of("e2e_from_intended_ms.p50") > 5.0 * of("e2e_ms.p50"), "coordinated omission must show");
    assert!(of("queue_ms.max") > 1_000.0 && of("backlog_growth") > 10.0);
    assert!(of("requests_per_s") < 0.6 * of("offered_requests_per_s"));
    assert!(of("achieved_concurrency") <= 1.01);
    assert_eq!(value(&result, "load.sustained_requests_per_s"), None);
    assert_eq!(value(&result, "load.ttft_ms.p50"), None, "no rate was sustained: no headline");
    let late = sentence(&result, ValidityReason::ClientSaturated).unwrap_or_default();
    assert!(!late.contains("after their arrival"), "waiting for a place is what was asked for: {late}");
}

#[tokio::test]
async fn goodput_counts_what_waited_at_the_client_against_the_limit() {
    let server = server().await;
    let limits = LoadSpec { slo_ttft_ms: Some(200.0), max_concurrency: Some(1), ..spec() };
    let result = run(&server, LoadSpec { rates: vec![60.0], duration_s: 1.2, ..limits }).await;
    let of = |name: &str| value(&result, &format!("load.r60.{name}")).unwrap();
    assert!(of("ttft_ms.p90") < 200.0, "each was fast once it was sent");
    assert!(of("goodput_requests_per_s") < 0.2 * of("requests_per_s"), "{}", of("goodput_requests_per_s"));
}

#[tokio::test]
async fn conversations_carry_their_history_and_have_points_of_their_own() {
    let server = server().await;
    let spec = LoadSpec { concurrency: vec![2], turns_per_user: Some(3), requests_per_user: 6, ..spec() };
    let result = run(&server, spec).await;
    assert_eq!(at(&result, "c2").count(), 12);
    assert_eq!(at(&result, "u2").count(), 2 * 2 * 3);
    let lengths = |role: &str| at(&result, "u2").filter(|r| r.role == role).count();
    assert_eq!((lengths("ramp"), lengths("first_turn"), lengths("later_turn")), (2, 2, 8));
    let bodies = server.bodies();
    let longest = bodies.iter().max_by_key(|b| b["messages"].as_array().unwrap().len()).unwrap();
    let roles: Vec<&str> =
        longest["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant", "user"]);
    assert_eq!(longest["messages"][1]["content"], "word word word word word word word word ");
    assert_ne!(longest["messages"][0], longest["messages"][2]);
    let samples = |path: &str| result.metrics.iter().find(|m| m.path.to_string() == path).map(|m| m.n);
    assert_eq!(samples("load.u2.ttft_first_turn_ms.mean"), Some(2));
    assert_eq!(samples("load.u2.ttft_later_turns_ms.mean"), Some(8));
    assert_eq!(samples("load.c2.ttft_first_turn_ms.mean"), None);
    assert_eq!(value(&result, "load.ttft_ms.p50"), value(&result, "load.c2.ttft_ms.p50"));
}

#[tokio::test]
async fn several_prompt_lengths_are_measured_on_one_start_and_what_does_not_fit_is_left_out() {
    let engine = Engine { miss_ms: 1, ..Script::default().engine };
    let server = TestServer::start(Script { engine, max_model_len: Some(200), ..Script::default() }).await;
    let lengths = Lengths(vec![64, 128, 4_096]);
    let result = run(&server, LoadSpec { concurrency: vec![1], prompt_tokens: lengths, ..spec() }).await;
    for (point, tokens) in [("c1_p64", 64), ("c1_p128", 128)] {
        assert!(at(&result, point).count() == 8 && at(&result, point).all(|r| r.prompt_tokens == Some(tokens)));
    }
    assert_eq!(value(&result, "load.ttft_ms.mean"), value(&result, "load.c1_p64.ttft_ms.mean"));
    let text = sentence(&result, ValidityReason::SizeLeftOut).unwrap();
    assert!(text.contains("left out: c1_p4096") && text.contains("200"), "{text}");
    let nothing = run(&server, LoadSpec { concurrency: vec![1], prompt_tokens: Lengths(vec![4_096]), ..spec() }).await;
    assert_eq!((nothing.validity.verdict, nothing.requests.len()), (Verdict::Invalid, 0));
}

#[tokio::test]
async fn rates_of_several_prompt_lengths_are_sustained_by_length_and_the_headline_is_of_one_length() {
    let server = server().await;
    let both = Lengths(vec![64, 128]);
    let result =
        run(&server, LoadSpec { rates: vec![10.0, 20.0], duration_s: 1.0, prompt_tokens: both, ..spec() }).await;
    assert_eq!(value(&result, "load.sustained_requests_per_s"), None, "which length would it be of?");
    for length in [64, 128] {
        assert_eq!(
            value(&result, &format!("load.p{length}.sustained_requests_per_s")),
            Some(20.0),
            "{:?}",
            result.validity
        );
    }
    assert_eq!(value(&result, "load.ttft_ms.p50"), value(&result, "load.r20_p64.ttft_ms.p50"));
    let rates = ["load.r10_p64.requests_per_s", "load.r20_p64.requests_per_s"].map(|path| value(&result, path));
    assert!(rates.contains(&value(&result, "load.requests_per_s")), "rates and latencies of one length: {rates:?}");
}

#[tokio::test]
async fn shares_without_a_closed_level_are_left_out_and_named() {
    let engine = Engine { fail_every: Some(1), ..Script::default().engine };
    let server = TestServer::start(Script { engine, ..Script::default() }).await;
    let spec =
        LoadSpec { concurrency: vec![1], requests_per_user: 3, rate_shares: vec![0.5], duration_s: 0.5, ..spec() };
    let result = run(&server, spec).await;
    let text = sentence(&result, ValidityReason::TooFewSamples);
    assert!(result.validity.reasons.iter().any(|(_, text)| text.starts_with("s50 was left out")), "{text:?}");
    assert_eq!(at(&result, "s50").count(), 0);
}

fn trace(lines: Vec<TraceRequest>) -> Option<Trace> {
    Some(Trace { path: "t.jsonl".into(), sha256: "00".to_owned(), requests: lines.into() })
}

fn said(text: &str, output_tokens: Option<u32>, arrival_s: Option<f64>) -> TraceRequest {
    let message = serde_json::json!({"role": "user", "content": text});
    TraceRequest { prompt: TracePrompt::Messages(vec![message]), output_tokens, arrival_s }
}

#[tokio::test]
async fn a_trace_without_arrivals_is_sent_in_a_closed_loop_once_per_level() {
    let server = server().await;
    let written = TraceRequest { prompt: TracePrompt::Tokens(32), output_tokens: Some(3), arrival_s: None };
    let lines = vec![said("a", None, None), said("b", Some(2), None), written, said("d", None, None)];
    let result = run(&server, LoadSpec { concurrency: vec![1, 8], trace: trace(lines), ..spec() }).await;
    assert_eq!(sentence(&result, ValidityReason::TokenCountsDisagree), None, "{:?}", result.validity);
    for point in ["c1", "c8"] {
        let mut tokens: Vec<Option<u32>> = at(&result, point).map(|r| r.completion_tokens).collect();
        tokens.sort_unstable();
        assert_eq!(tokens, [Some(2), Some(3), Some(8), Some(8)]);
    }
    let texts: Vec<String> =
        server.bodies()[1..].iter().map(|b| b["messages"][0]["content"].as_str().unwrap().to_owned()).collect();
    let nonce_of_a = texts.iter().find(|t| t.ends_with(" a")).unwrap().split(' ').next().unwrap();
    assert_eq!(nonce_of_a.len(), 16);
    let with_it = texts.iter().filter(|t| t.starts_with(nonce_of_a)).count();
    assert_eq!(with_it, 3, "the user's own lines of a point share a nonce, so that what they share stays shared");
}

#[tokio::test]
async fn a_trace_with_arrivals_is_sent_when_they_come() {
    let server = server().await;
    let lines = (0..12).map(|i| said("x", None, Some(f64::from(i) * 0.05))).collect();
    let result = run(&server, LoadSpec { trace: trace(lines), ..spec() }).await;
    let intended: Vec<f64> = at(&result, "trace").map(|r| r.intended_ms).collect();
    assert_eq!(intended.len(), 12);
    let gaps: Vec<f64> = intended.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| (gap - 50.0).abs() < 1e-3), "{gaps:?}");
    assert!(value(&result, "load.trace.ttft_from_intended_ms.p50").is_some());
    assert_eq!(value(&result, "load.ttft_ms.p50"), value(&result, "load.trace.ttft_ms.p50"));
}

#[tokio::test]
async fn a_client_that_gets_no_time_says_so_in_a_closed_loop() {
    let server = server().await;
    let _starved = starve(30);
    let result = run(&server, LoadSpec { concurrency: vec![4], requests_per_user: 4, ..spec() }).await;
    let text = sentence(&result, ValidityReason::ClientSaturated).unwrap_or_else(|| panic!("{:?}", result.validity));
    assert!(text.starts_with("c4: the client's tasks ran") && text.contains("late"), "{text}");
    assert_eq!(result.validity.verdict, Verdict::Suspect);
    assert!(value(&result, "load.c4.client_lag_ms").unwrap() > 10.0);
}

#[tokio::test]
async fn a_client_that_sends_late_is_no_open_loop_and_says_so() {
    let server = server().await;
    let _starved = starve(40);
    let result = run(&server, LoadSpec { rates: vec![30.0], duration_s: 1.0, ..spec() }).await;
    let saturated = result.validity.reasons.iter().filter(|(r, _)| *r == ValidityReason::ClientSaturated);
    let texts: Vec<&str> = saturated.map(|(_, text)| text.as_str()).collect();
    assert!(texts.iter().any(|t| t.contains("ms after their arrival")), "{:?}", result.validity);
    assert!(
        value(&result, "load.r30.queue_ms.p95").unwrap_or_else(|| value(&result, "load.r30.queue_ms.p90").unwrap())
            > 10.0
    );
}

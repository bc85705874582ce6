//! The scenarios that judge answers, against the simulated engine: each figure is what the engine was told to do.

#[cfg(test)] // sim is a stranger to bench outside of tests
use crate::sim::{Running as SimServer, TruthEntry, spawn};

use std::collections::{BTreeMap, BTreeSet};

use tokio_util::sync::CancellationToken;

use crate::domain::{
    CanarySpec, CaseDelivery, CaseResult, ReasoningSpec, ScenarioResult, ScenarioSpec, Thinking, ToolCallingSpec,
    ValidityReason, Verdict,
};

use super::testserver::{Step, TestServer};
use super::{Client, Context, Target, run_scenario};

/// A server that takes tools and thinks, fast.
const TOOLS: [&str; 6] = [
    "m",
    "--sim-speed=200",
    "--enable-auto-tool-choice",
    "--tool-call-parser=hermes",
    "--sim-noise=0",
    "--sim-first-request-ms=0",
];

async fn server(more: &[&str]) -> SimServer {
    let args: Vec<&str> = TOOLS.iter().chain(more).copied().collect();
    spawn(&args).await.unwrap_or_else(|(code, log)| panic!("{code}: {log}"))
}

async fn run(server: &SimServer, spec: &ScenarioSpec) -> ScenarioResult {
    let client = Client::new(&Target::new(server.url(), "m")).await.unwrap();
    run_scenario(&client, spec, &context()).await.unwrap()
}

fn context() -> Context {
    Context::new(7, "attempt-1", CancellationToken::new())
}

fn tools() -> ScenarioSpec {
    ScenarioSpec::ToolCalling(ToolCallingSpec::default())
}

fn reasoning() -> ScenarioSpec {
    ScenarioSpec::Reasoning(ReasoningSpec::default())
}

fn canary() -> ScenarioSpec {
    ScenarioSpec::Canary(CanarySpec::default())
}

fn value(result: &ScenarioResult, path: &str) -> f64 {
    let found = result.metrics.iter().find(|m| m.path.to_string() == path);
    found.unwrap_or_else(|| panic!("no {path} in {:?}", result.validity)).value
}

fn absent(result: &ScenarioResult, path: &str) -> bool {
    result.metrics.iter().all(|m| m.path.to_string() != path)
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

fn has(result: &ScenarioResult, reason: ValidityReason) -> bool {
    result.validity.reasons.iter().any(|(r, _)| *r == reason)
}

/// How the engine says that it answered each case, first round first.
fn told(truth: &[TruthEntry]) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    for entry in truth {
        if let (Some(case), Some(how)) = (&entry.case, &entry.answered) {
            told.entry(case.clone()).or_insert_with(|| how.clone());
        }
    }
    told
}

#[tokio::test]
async fn an_engine_that_answers_rightly_passes_every_case_of_every_scenario() {
    let server = server(&["--reasoning-parser=qwen3"]).await;
    let result = run(&server, &tools()).await;
    let missed: Vec<_> = result.cases.iter().filter(|c| c.result != CaseResult::Passed).collect();
    assert!(missed.is_empty(), "{missed:?}");
    assert!(result.validity.about_the_server().is_empty(), "{:?}", result.validity);
    assert_eq!(result.cases.len(), 28 * 2, "streamed and not");
    for name in [
        "success_rate",
        "call_rate",
        "no_call_rate",
        "right_tool_rate",
        "json_valid_rate",
        "schema_valid_rate",
        "agreement_rate",
    ] {
        assert!(near(value(&result, &format!("tool_calling.{name}")), 1.0), "{name}");
    }
    for point in
        ["single", "parallel", "chained", "nested", "enum", "ambiguous", "no_tool", "fr", "en", "streamed", "whole"]
    {
        assert!(near(value(&result, &format!("tool_calling.{point}.success_rate")), 1.0), "{point}");
    }
    assert!(near(value(&result, "tool_calling.markup_leak_rate"), 0.0));
    let success = result.metrics.iter().find(|m| m.path.to_string() == "tool_calling.success_rate").unwrap();
    assert_eq!((success.n, success.unit.as_str()), (28, "ratio"), "n counts cases, not requests");
    assert!(success.ci_low.unwrap() < 0.95, "28 of 28 is no certainty");

    let result = run(&server, &reasoning()).await;
    assert!(near(value(&result, "reasoning.score"), 1.0), "{:?}", result.cases);
    assert!(near(value(&result, "reasoning.fr.score"), 1.0) && near(value(&result, "reasoning.truncation_rate"), 0.0));
    assert!(value(&result, "reasoning.reasoning_tokens.mean") > 5.0, "the engine thinks");
    assert!(value(&result, "reasoning.ttft_ms.p50") < value(&result, "reasoning.ttfc_ms.p50"), "thinking comes first");

    let result = run(&server, &canary()).await;
    assert!(near(value(&result, "canary.passed"), 1.0), "{:?}", result.cases);
    assert!(near(value(&result, "canary.same_answer_rate"), 1.0));
    assert!(value(&result, "canary.repetition_ratio.max") < 0.2);
}

#[tokio::test]
async fn every_figure_of_tool_calling_is_what_the_engine_was_told_to_do() {
    let server = server(&["--sim-quality=0.4", "--sim-seed=3"]).await;
    let result = run(&server, &tools()).await;
    let told = told(&server.truth());
    assert_eq!(told.len(), 28);
    let hows: BTreeSet<&str> = told.values().map(String::as_str).collect();
    assert!(hows.len() >= 6, "the seed shows most ways to be wrong: {hows:?}");
    for case in &result.cases {
        let right = told[&case.case_id] == "right";
        assert_eq!(case.result == CaseResult::Passed, right, "{case:?} was answered {}", told[&case.case_id]);
    }
    let expects_calls = |id: &str| !id.contains("no-tool");
    let share = |of: &dyn Fn(&str, &str) -> Option<bool>| {
        let answers: Vec<bool> = told.iter().filter_map(|(id, how)| of(id, how)).collect();
        answers.iter().filter(|hit| **hit).count() as f64 / answers.len() as f64
    };
    let expected = [
        ("success_rate", share(&|_, how| Some(how == "right"))),
        ("call_rate", share(&|id, how| expects_calls(id).then_some(how != "no_call"))),
        ("no_call_rate", share(&|id, how| (!expects_calls(id)).then_some(how != "unwanted_call"))),
        ("right_tool_rate", share(&|id, how| (expects_calls(id) && how != "no_call").then_some(how != "wrong_tool"))),
        (
            "argument_match_rate",
            share(&|id, how| {
                (expects_calls(id) && !["no_call", "wrong_tool"].contains(&how)).then_some(how == "right")
            }),
        ),
        ("markup_leak_rate", 0.0),
        ("agreement_rate", 1.0),
        ("transport_success_rate", 1.0),
        ("truncation_rate", 0.0),
    ];
    for (name, expected) in expected {
        let measured = value(&result, &format!("tool_calling.{name}"));
        assert!(near(measured, expected), "{name}: measured {measured}, told {expected}");
    }
    let broken = |how: &str| told.values().filter(|h| *h == how).count() as f64 * 2.0;
    let calls = result.metrics.iter().find(|m| m.path.to_string() == "tool_calling.json_valid_rate").unwrap();
    assert!(near(calls.value, 1.0 - broken("bad_json") / calls.n as f64));
    let schema = value(&result, "tool_calling.schema_valid_rate");
    assert!(near(schema, 1.0 - (broken("bad_json") + broken("bad_schema")) / calls.n as f64), "{schema}");
    assert_eq!(result.validity.verdict, Verdict::Valid, "wrong answers are a result: {:?}", result.validity);
    assert!(has(&result, ValidityReason::ThresholdMissed), "and it is said that they are: {:?}", result.validity);
}

#[tokio::test]
async fn scores_are_the_share_that_the_engine_answered_rightly() {
    let server = server(&["--sim-quality=0.6"]).await;
    for (spec, path) in [(reasoning(), "reasoning.score"), (canary(), "canary.passed")] {
        let before = server.truth().len();
        let result = run(&server, &spec).await;
        let truth = server.truth();
        let told: Vec<&str> = truth[before..].iter().filter_map(|entry| entry.answered.as_deref()).collect();
        assert_eq!(told.len(), result.cases.len());
        let share = told.iter().filter(|how| **how == "right").count() as f64 / told.len() as f64;
        assert!(share > 0.3 && share < 0.9, "{share}");
        assert!(near(value(&result, path), share), "{path}");
        let doubts = result.validity.about_the_server();
        assert!(doubts.iter().all(|(reason, _)| *reason == ValidityReason::ThresholdMissed), "{doubts:?}");
    }
}

#[tokio::test]
async fn a_call_that_differs_when_streamed_is_measured_and_its_cases_are_named() {
    let server = server(&["--sim-fail=tool_stream_differs"]).await;
    let result = run(&server, &tools()).await;
    // Four of 28 cases call nothing, so nothing of them can differ.
    assert!(near(value(&result, "tool_calling.agreement_rate"), 4.0 / 28.0));
    assert!(near(value(&result, "tool_calling.whole.success_rate"), 1.0));
    assert!(near(value(&result, "tool_calling.streamed.success_rate"), 4.0 / 28.0));
    let sentence = &result.validity.reasons.iter().find(|r| r.0 == ValidityReason::StreamingDiffers).unwrap().1;
    assert!(sentence.contains("en-single-weather") && sentence.contains("fr-chained-doctor"), "{sentence}");
    assert!(!sentence.contains("no-tool"), "{sentence}");
}

#[tokio::test]
async fn leaked_markup_is_counted_and_no_call() {
    let server = server(&["--sim-fail=markup_leak"]).await;
    let result = run(&server, &tools()).await;
    assert!(near(value(&result, "tool_calling.markup_leak_rate"), 24.0 / 28.0));
    assert!(near(value(&result, "tool_calling.call_rate"), 0.0));
    assert!(near(value(&result, "tool_calling.success_rate"), 4.0 / 28.0));
    assert!(absent(&result, "tool_calling.json_valid_rate"), "no call was made: not measured is not 0");
    let leaked = result.cases.iter().find(|c| c.case_id == "en-single-weather").unwrap();
    assert!(leaked.got.contains("markup in the content: <tool_call>"), "{leaked:?}");
}

#[tokio::test]
async fn an_unclosed_think_is_no_answer_though_the_answer_stands_in_it() {
    let server = server(&["--sim-fail=unclosed_think"]).await;
    for (spec, path) in [(reasoning(), "reasoning.score"), (canary(), "canary.passed")] {
        let result = run(&server, &spec).await;
        assert!(near(value(&result, path), 0.0));
        assert!(result.cases.iter().all(|c| c.got.contains("unclosed <think>")), "{:?}", result.cases);
    }
    let result = run(&server, &tools()).await;
    assert!(near(value(&result, "tool_calling.no_tool.success_rate"), 0.0));
    assert!(near(value(&result, "tool_calling.single.success_rate"), 1.0), "calls have no content to spoil");
}

#[tokio::test]
async fn degenerate_text_kills_every_canary() {
    let server = server(&["--sim-fail=degenerate"]).await;
    let result = run(&server, &canary()).await;
    assert!(near(value(&result, "canary.passed"), 0.0) && value(&result, "canary.repetition_ratio.min") > 0.9);
    assert!(result.cases.iter().all(|c| c.got.contains("degenerate")), "{:?}", result.cases);
    let result = run(&server, &reasoning()).await;
    assert!(near(value(&result, "reasoning.score"), 0.0));
}

#[tokio::test]
async fn truncation_is_told_apart_from_wrong_answers() {
    let server = server(&["--sim-fail=truncate"]).await;
    for (spec, kind, score) in [(tools(), "tool_calling", "success_rate"), (reasoning(), "reasoning", "score")] {
        let result = run(&server, &spec).await;
        assert!(near(value(&result, &format!("{kind}.truncation_rate")), 1.0), "{kind}");
        assert!(near(value(&result, &format!("{kind}.{score}")), 0.0));
        assert!(near(value(&result, &format!("{kind}.transport_success_rate")), 1.0));
        assert!(absent(&result, "reasoning.answered_score") && absent(&result, "tool_calling.semantic_success_rate"));
        assert!(result.cases.iter().all(|c| c.result == CaseResult::Truncated));
    }
}

#[tokio::test]
async fn requests_that_fail_are_told_apart_from_wrong_answers() {
    let server = server(&["--sim-fail=stream_cut"]).await;
    let result = run(&server, &tools()).await;
    assert!(near(value(&result, "tool_calling.transport_success_rate"), 0.5), "only streams are cut");
    assert!(near(value(&result, "tool_calling.semantic_success_rate"), 1.0));
    assert!(near(value(&result, "tool_calling.success_rate"), 0.5));
    assert_eq!(result.validity.verdict, Verdict::Suspect);
    let failed = &result.validity.reasons.iter().find(|r| r.0 == ValidityReason::RequestsFailed).unwrap().1;
    assert!(failed.contains("(stream_cut 28)"), "{failed}");
    assert!(result.cases.iter().all(|c| (c.delivery == CaseDelivery::Streamed) == (c.result == CaseResult::Failed)));
    assert!(absent(&result, "tool_calling.agreement_rate"), "there is no pair to compare");
}

#[tokio::test]
async fn an_engine_without_a_tool_parser_is_said_to_take_no_tools_after_one_request() {
    let server = spawn(&["m", "--sim-speed=200"]).await.unwrap();
    let result = run(&server, &tools()).await;
    assert_eq!(result.validity.verdict, Verdict::Invalid);
    assert!(has(&result, ValidityReason::ToolsNotEnabled), "{:?}", result.validity);
    assert_eq!((result.requests.len(), result.metrics.len()), (1, 0));
}

#[tokio::test]
async fn a_small_context_limits_answers_and_the_result_says_so() {
    let server = server(&["--max-model-len=1024"]).await;
    let result = run(&server, &reasoning()).await;
    assert!(
        has(&result, ValidityReason::AnswersLimited) && !has(&result, ValidityReason::RequestsFailed),
        "{:?}",
        result.validity
    );
    assert!(near(value(&result, "reasoning.score"), 1.0));
    let server = self::server(&["--max-model-len=128"]).await;
    let result = run(&server, &canary()).await;
    assert!(result.validity.reasons.iter().any(|(_, why)| why.contains("left out") || why.contains("leaves room")));
    let result = run(&server, &tools()).await;
    assert!(result.requests.is_empty() && has(&result, ValidityReason::AnswersLimited), "{:?}", result.validity);
    assert_eq!(result.validity.verdict, Verdict::Invalid, "nothing was asked, so nothing is known");
}

#[tokio::test]
async fn thinking_is_sent_as_asked_and_a_limit_shortens_the_run() {
    let server = server(&["--reasoning-parser=qwen3"]).await;
    for (thinking, thinks) in [(Thinking::Off, false), (Thinking::On, true)] {
        let spec = ReasoningSpec { limit: Some(4), thinking, repeats: 2, ..ReasoningSpec::default() };
        let result = run(&server, &ScenarioSpec::Reasoning(spec)).await;
        assert_eq!(result.cases.len(), 8);
        assert_eq!(value(&result, "reasoning.reasoning_tokens.mean") > 0.0, thinks);
        let first = result.metrics.iter().find(|m| m.path.to_string() == "reasoning.ttft_ms.mean").unwrap();
        assert_eq!(first.n, 4, "a repeated prompt may be served from the cache: its times do not count");
    }
    let spec = ToolCallingSpec { cases_per_category: Some(1), repeats: 3, ..ToolCallingSpec::default() };
    let result = run(&server, &ScenarioSpec::ToolCalling(spec)).await;
    assert_eq!(result.cases.len(), 7 * 3 * 2);
    assert_eq!(result.cases.iter().map(|c| c.repeat).max(), Some(3));
}

#[tokio::test]
async fn what_failed_is_counted_once_however_often_it_was_asked() {
    // six tasks, three times each; the first four requests are served
    let server = server(&["--sim-fail=stream_cut:4"]).await;
    let spec = ReasoningSpec { limit: Some(6), repeats: 3, ..ReasoningSpec::default() };
    let result = run(&server, &ScenarioSpec::Reasoning(spec)).await;
    let counts = |path: &str| {
        let found = result.metrics.iter().find(|m| m.path.to_string() == path);
        found.map(|m| (m.n, m.failed_n)).unwrap_or_else(|| panic!("no {path}"))
    };
    assert_eq!(counts("reasoning.score"), (4, 2), "cases");
    for name in ["ttft_ms", "ttfc_ms", "e2e_ms"] {
        assert_eq!(counts(&format!("reasoning.{name}.mean")), (4, 2), "{name}: of the first time");
    }
    assert_eq!(counts("reasoning.content_tokens.mean"), (4, 14), "of every time");
}

#[tokio::test]
async fn figures_of_cases_that_were_asked_several_times_have_no_interval() {
    let server = server(&["--reasoning-parser=qwen3"]).await;
    for (repeats, has_interval) in [(1, true), (3, false)] {
        let specs = [
            ScenarioSpec::Reasoning(ReasoningSpec { limit: Some(8), repeats, ..ReasoningSpec::default() }),
            ScenarioSpec::Canary(CanarySpec { repeats, ..CanarySpec::default() }),
        ];
        let [reasoning, canary] = [run(&server, &specs[0]).await, run(&server, &specs[1]).await];
        let interval = |result: &ScenarioResult, path: &str| {
            let found = result.metrics.iter().find(|m| m.path.to_string() == path);
            found.unwrap_or_else(|| panic!("no {path}")).ci_low.is_some()
        };
        assert!(interval(&reasoning, "reasoning.ttft_ms.mean"), "the first time of each task");
        assert_eq!(interval(&reasoning, "reasoning.content_tokens.mean"), has_interval);
        let long = canary.metrics.iter().find(|m| m.path.to_string() == "canary.repetition_ratio.mean").unwrap();
        assert!(repeats == 1 || (long.n >= 5 && long.ci_low.is_none()), "{long:?}");
    }
}

#[tokio::test]
async fn an_engine_that_takes_no_tools_is_known_by_its_error_however_long_that_is() {
    let body = format!("{{\"error\":{{\"message\":\"{} --enable-auto-tool-choice\"}}}}", "no ".repeat(200));
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let server = TestServer::playing(vec![Step::Send(answer.into_bytes())]).await;
    let result = run_scenario(&server.client().await, &tools(), &context()).await.unwrap();
    assert!(has(&result, ValidityReason::ToolsNotEnabled), "{:?}", result.validity);
    assert_eq!(result.requests.len(), 1);
}

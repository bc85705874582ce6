//! The scenarios that judge answers, against what the engine was told to do and what a server wrote.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::cases::{Canary, CanaryFile, CaseSet, TaskFile};
use crate::domain::{CanarySpec, ReasoningSpec, ScenarioResult, ScenarioSpec, TokenKind};

use super::super::{Context, run_scenario};
use super::shaped::{Ending, Piece, Shape, ShapedServer, Truth, Usage};
use super::truth::{Off, compare, compare_samples, metric};
use super::{PUNCTUAL_MS, client_of, context, engine, punctually, with_lateness};

/// A stream of pieces with so many tokens of these kinds.
fn shape(name: &'static str, usage: Usage, pieces: &[(TokenKind, u32)]) -> Shape {
    let piece = |(at, (kind, tokens)): (usize, &(TokenKind, u32))| Piece {
        pause_ms: 20 + 7 * at as u64,
        kind: *kind,
        tokens: *tokens,
    };
    let pieces = pieces.iter().enumerate().map(piece).collect();
    Shape { name, headers_after_ms: 5, pieces, usage, ending: Ending::Done, fragmented: false }
}

/// Surroundings with cases of one's own; the server has nothing but chats.
fn asking(cases: CaseSet) -> Context {
    Context { cases, max_model_len: Some(8_192), ..context() }
}

/// A task per shape: its question is the shape's number.
fn tasks(shapes: &[Shape]) -> TaskFile {
    let task = |number: usize| {
        format!(r#"{{"id": "en-{number}", "language": "en", "category": "sums", "question": "{number}", "number": 1}}"#)
    };
    let tasks: Vec<String> = (0..shapes.len()).map(task).collect();
    let text = format!(
        r#"{{"vgrid_data": "reasoning", "instructions": {{"en": "Answer: 1"}}, "tasks": [{}]}}"#,
        tasks.join(", ")
    );
    TaskFile::parse(Path::new("tasks.json"), &text).unwrap()
}

#[tokio::test]
async fn times_and_tokens_of_reasoning_are_those_of_the_server() {
    use TokenKind::{Content, Reasoning};
    let shapes = vec![
        shape("counted with every event", Usage::WithEveryEvent, &[(Reasoning, 3), (Reasoning, 2), (Content, 4)]),
        shape("one token in each", Usage::AtTheEnd, &[(Reasoning, 1), (Content, 1), (Content, 1)]),
        shape("nobody knows", Usage::AtTheEnd, &[(Reasoning, 2), (Content, 7)]),
        shape("no thought", Usage::WithEveryEvent, &[(Content, 2), (Content, 5)]),
    ];
    let cases = CaseSet { tasks: Arc::new(tasks(&shapes)), ..CaseSet::shipped() };
    let spec = ScenarioSpec::Reasoning(ReasoningSpec::default());
    let measure = async || {
        let server = ShapedServer::start(shapes.clone()).await;
        let client = server.client().await;
        let run = async { run_scenario(&client, &spec, &asking(cases.clone())).await.unwrap() };
        let (result, late) = with_lateness(run).await;
        ((result, server), late)
    };
    let ((result, server), late) = punctually(PUNCTUAL_MS, measure).await;

    let mut truths = Vec::new();
    for number in 0..shapes.len() {
        truths.push(server.truth(number).await);
    }
    let from_arrival = |at: &dyn Fn(&Truth, &Shape) -> Instant| -> Vec<f64> {
        let ms = |(truth, shape)| at(truth, shape).duration_since(truth.arrival).as_secs_f64() * 1e3;
        truths.iter().zip(&shapes).map(ms).collect()
    };
    let ttft = from_arrival(&|truth, _| truth.written[0]);
    let ttfc = from_arrival(&|truth, shape| {
        truth.written[shape.pieces.iter().position(|p| p.kind == TokenKind::Content).unwrap()]
    });
    let e2e = from_arrival(&|truth, _| truth.end);
    for (name, truth) in [("ttft_ms", ttft), ("ttfc_ms", ttfc), ("e2e_ms", e2e)] {
        compare_samples(&result, &format!("reasoning.{name}"), &truth, Off::longer(late));
    }
    compare_samples(&result, "reasoning.reasoning_tokens", &[5.0, 1.0, 0.0], Off::either(1e-9));
    compare_samples(&result, "reasoning.content_tokens", &[4.0, 2.0, 7.0], Off::either(1e-9));
}

#[tokio::test]
async fn the_repetition_of_answers_is_that_of_what_the_server_wrote() {
    // the same word over and over: n words have n - 3 runs of four, of which one is distinct
    let words =
        |name, n: u32| shape(name, Usage::WithEveryEvent, &[(TokenKind::Content, n - 4), (TokenKind::Content, 4)]);
    let shapes = vec![words("twenty", 20), words("twenty-six", 26), words("too short to judge", 19)];
    let canary = |number: usize| Canary {
        id: format!("en-{number}"),
        language: "en".to_owned(),
        prompt: number.to_string(),
        number: None,
        contains: Vec::new(),
        least_words: None,
    };
    let file = CanaryFile { sha256: "0".to_owned(), canaries: (0..shapes.len()).map(canary).collect() };
    let server = ShapedServer::start(shapes).await;
    let client = server.client().await;
    let spec = ScenarioSpec::Canary(CanarySpec { repeats: 1, ..CanarySpec::default() });
    let cases = CaseSet { canaries: Arc::new(file), ..CaseSet::shipped() };
    let result = run_scenario(&client, &spec, &asking(cases)).await.unwrap();
    let truth = [1.0 - 1.0 / 17.0, 1.0 - 1.0 / 23.0];
    compare_samples(&result, "canary.repetition_ratio", &truth, Off::either(1e-9));
}

/// Cases that are neither right nor wrong once they are cut.
fn that_must_end() -> CaseSet {
    let mut cases = CaseSet::shipped();
    let mut file = CanaryFile::clone(&cases.canaries);
    file.canaries.retain(|canary| !canary.may_be_cut());
    cases.canaries = Arc::new(file);
    cases
}

async fn run(flags: &str, spec: &ScenarioSpec, ctx: &Context) -> (ScenarioResult, Vec<super::TruthEntry>) {
    let engine = engine(&format!("--sim-speed 200 {flags}")).await;
    let client = client_of(&engine).await;
    let result = run_scenario(&client, spec, ctx).await.unwrap();
    (result, engine.truth())
}

#[tokio::test]
async fn answers_that_were_cut_or_never_came_are_the_share_that_the_engine_cut_or_broke() {
    let reasoning = ScenarioSpec::Reasoning(ReasoningSpec { limit: Some(10), ..ReasoningSpec::default() });
    let canary = ScenarioSpec::Canary(CanarySpec { limit: Some(10), repeats: 1, ..CanarySpec::default() });
    for fault in ["truncate", "stream_cut"] {
        for (spec, score) in [(&reasoning, Some("reasoning.answered_score")), (&canary, None)] {
            let flags = format!("--sim-quality 0.6 --sim-fail {fault}:7");
            let (result, truth) = run(&flags, spec, &asking(that_must_end())).await;
            let asked = truth.len() as f64;
            let came: Vec<_> = truth.iter().filter(|t| t.done_ms.is_some()).collect();
            let whole: Vec<_> = came.iter().filter(|t| t.end.as_deref() != Some("length")).collect();
            let right = whole.iter().filter(|t| t.answered.as_deref() == Some("right")).count() as f64;
            assert!(whole.len() < truth.len() && right < whole.len() as f64, "{fault} strikes: {truth:?}");
            let exactly = |name: &str, truth: f64| {
                let path = format!("{}.{name}", spec.kind());
                compare(&path, metric(&result, &path).value, truth, Off::either(1e-9));
            };
            exactly("transport_success_rate", came.len() as f64 / asked);
            exactly("truncation_rate", (came.len() - whole.len()) as f64 / came.len() as f64);
            if let Some(path) = score {
                let said = metric(&result, path);
                compare(path, said.value, right / whole.len() as f64, Off::either(1e-9));
                assert_eq!(
                    (said.n, said.failed_n),
                    (whole.len() as u64, (truth.len() - whole.len()) as u64),
                    "{fault}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_canary_that_answers_differently_when_asked_again_is_not_the_same() {
    let all = CaseSet::shipped().canaries.canaries.len();
    let same = 5;
    let flags = format!("--sim-fail degenerate:{}", all + same);
    let spec = ScenarioSpec::Canary(CanarySpec { repeats: 2, ..CanarySpec::default() });
    let (result, truth) = run(&flags, &spec, &context()).await;
    assert_eq!(truth.len(), 2 * all);
    let said = metric(&result, "canary.same_answer_rate");
    compare("same answers", said.value, same as f64 / all as f64, Off::either(1e-9));
    assert_eq!(said.n, all as u64);
}

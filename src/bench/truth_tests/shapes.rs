//! The figures of one request, in every shape that a stream can have, alone and 32 at once.

use std::time::Instant;

use serde_json::{Map, json};
use tokio_util::sync::CancellationToken;

use crate::domain::{RequestEnd, Role, TokenKind};
use crate::stats::{self, SplitMix64};

use super::super::load::tokens_per_chunk;
use super::super::window::token_gaps_ms;
use super::super::{AnswerLength, ChatParts, ChatRequest, Client, Delivery, Keep, Reply, RunClock, Slot, Timeouts};
use super::shaped::{Ending, Piece, Shape, ShapedServer, Truth, Usage};
use super::{Lateness, PUNCTUAL_MS, punctually, with_lateness};

/// Pieces of these kinds and sizes; the pauses differ from piece to piece and from stream to stream.
fn pieces(kinds: &[TokenKind], tokens: u32, random: &mut SplitMix64) -> Vec<Piece> {
    let pause = |at: usize, random: &mut SplitMix64| 20 + if at == 0 { 50 } else { 0 } + random.below(30) as u64;
    kinds
        .iter()
        .enumerate()
        .map(|(at, kind)| Piece { pause_ms: pause(at, random), kind: *kind, tokens: tokens + (at as u32 % tokens) })
        .collect()
}

/// Every shape once.
fn shapes(seed: u64) -> Vec<Shape> {
    use TokenKind::{Content, Reasoning, ToolCall};
    let random = &mut SplitMix64::new(seed);
    let content = [Content; 8];
    let plain = Shape {
        name: "plain",
        headers_after_ms: 0,
        pieces: pieces(&content, 1, random),
        usage: Usage::WithEveryEvent,
        ending: Ending::Done,
        fragmented: false,
    };
    let thought = [Reasoning, Reasoning, Reasoning, Content, Content, Content];
    let many = |usage| Shape { usage, ..plain.clone() };
    vec![
        plain.clone(),
        Shape { name: "fragmented", fragmented: true, pieces: pieces(&content, 1, random), ..plain.clone() },
        Shape { name: "several tokens per event", pieces: pieces(&content, 3, random), ..plain.clone() },
        Shape {
            name: "several tokens per event, counted at the end only",
            pieces: pieces(&content, 3, random),
            ..many(Usage::AtTheEnd)
        },
        Shape { name: "reasoning first", pieces: pieces(&thought, 1, random), fragmented: true, ..plain.clone() },
        Shape { name: "tool call", pieces: pieces(&[ToolCall; 5], 1, random), ..plain.clone() },
        Shape { name: "no usage", pieces: pieces(&content, 1, random), ..many(Usage::Never) },
        Shape { name: "slow first byte", headers_after_ms: 90, pieces: pieces(&content, 1, random), ..plain.clone() },
        Shape { name: "error event", ending: Ending::ErrorEvent, pieces: pieces(&content, 2, random), ..plain.clone() },
        Shape { name: "cut", ending: Ending::Cut, pieces: pieces(&content, 2, random), fragmented: true, ..plain },
    ]
}

fn request(number: usize) -> ChatRequest {
    ChatRequest::build(ChatParts {
        model: "m",
        messages: json!([{"role": "user", "content": number.to_string()}]),
        length: AnswerLength::UpTo(64),
        delivery: Delivery::Streamed,
        keep: Keep::Timing,
        extra: Map::new(),
    })
    .unwrap()
}

async fn ask(client: &Client, clock: &RunClock, number: usize, intended_ms: f64) -> Reply {
    let slot = Slot {
        index: number as u32,
        point: None,
        role: Role::Load,
        user_number: None,
        measured: true,
        intended_ms: Some(intended_ms),
    };
    client.chat(&request(number), &slot, clock, &Timeouts::default(), &CancellationToken::new()).await
}

/// Asks for every shape, `at_once` of them at a time.
async fn replies(shapes: &[Shape], at_once: usize) -> (Vec<Reply>, ShapedServer, RunClock, Lateness) {
    let server = ShapedServer::start(shapes.to_vec()).await;
    let (client, clock) = (server.client().await, RunClock::start());
    let numbers: Vec<usize> = (0..shapes.len()).collect();
    let work = async {
        let mut replies = Vec::new();
        for wave in numbers.chunks(at_once) {
            let intended_ms = clock.now_ms();
            let asked = wave.iter().map(|number| ask(&client, &clock, *number, intended_ms));
            replies.extend(futures_util::future::join_all(asked).await);
        }
        replies
    };
    let (replies, lateness) = with_lateness(work).await;
    (replies, server, clock, lateness)
}

/// The figures of one request by the server's own stamps, ms.
struct Figures {
    ttft: f64,
    ttfc: f64,
    e2e: f64,
    first_to_last: f64,
    token_gaps: Vec<f64>,
}

impl Figures {
    fn of(shape: &Shape, truth: &Truth) -> Self {
        let since = |at: Instant| at.duration_since(truth.arrival).as_secs_f64() * 1e3;
        let first_content = shape.pieces.iter().position(|p| p.kind != TokenKind::Reasoning).unwrap();
        let average = f64::from(shape.tokens()) / shape.pieces.len() as f64;
        let mut token_gaps = Vec::new();
        for (at, pair) in truth.written.windows(2).enumerate() {
            let gap = pair[1].duration_since(pair[0]).as_secs_f64() * 1e3;
            let tokens = match shape.usage {
                Usage::WithEveryEvent => f64::from(shape.pieces[at + 1].tokens),
                Usage::AtTheEnd => average,
                Usage::Never => 1.0,
            };
            token_gaps.extend(std::iter::repeat_n(gap / tokens, tokens.round() as usize));
        }
        let (first, last) = (truth.written[0], *truth.written.last().unwrap());
        Self {
            ttft: since(first),
            ttfc: since(truth.written[first_content]),
            e2e: since(truth.end),
            first_to_last: last.duration_since(first).as_secs_f64() * 1e3,
            token_gaps,
        }
    }
}

/// Stamps are never early and rarely late; collects how late each was.
fn compare_stamps(name: &str, reply: &Reply, truth: &Truth, clock: &RunClock, late: Lateness) -> Vec<f64> {
    let record = &reply.record;
    let mut lags = Vec::new();
    let mut later = |what: &str, second: f64, first: f64| {
        let lag = second - first;
        assert!(lag >= 0.0, "{name}: {what} came {lag:.3} ms before it could");
        assert!(lag <= late.any_ms, "{name}: {what} is {lag:.1} ms late, {late:?}");
        lags.push(lag);
    };
    later("reading the request", clock.offset_ms(truth.arrival), record.sent_ms);
    later("headers", record.headers_ms.unwrap(), clock.offset_ms(truth.headers));
    assert_eq!(record.chunks.len(), truth.written.len(), "{name}");
    for ((seen, _), written) in record.chunks.iter().zip(&truth.written) {
        later("an event", *seen, clock.offset_ms(*written));
    }
    later("the end", record.end_ms, clock.offset_ms(truth.end));
    lags
}

fn compare_figures(shape: &Shape, reply: &Reply, truth: &Truth, late: Lateness) {
    let (record, name, known) = (&reply.record, shape.name, Figures::of(shape, truth));
    // a time from `sent` has two stamps that may be late, and both make it longer
    let longer = |what: &str, said: f64, known: f64| {
        let surplus = said - known;
        assert!((0.0..=2.0 * late.any_ms).contains(&surplus), "{name}: {what} {said:.1}, truth {known:.1}, {late:?}");
    };
    longer("TTFT", record.ttft_ms().unwrap(), known.ttft);
    longer("TTFC", record.ttfc_ms().unwrap(), known.ttfc);
    longer("E2E", record.e2e_ms(), known.e2e);
    let queue = record.sent_ms - record.intended_ms; // connecting is in it, and what the other streams of a wave had to do
    assert!(queue >= 0.0 && record.queue_ms() == queue, "{name}: queue {}", record.queue_ms());
    let kinds: Vec<TokenKind> = record.chunks.iter().map(|c| c.1).collect();
    assert_eq!(kinds, shape.pieces.iter().map(|p| p.kind).collect::<Vec<_>>(), "{name}");

    let near = |what: &str, said: f64, known: f64, off: f64| {
        assert!((said - known).abs() <= off, "{name}: {what} {said:.3}, truth {known:.3}, {late:?}");
    };
    let gaps = token_gaps_ms(reply);
    assert_eq!(gaps.len(), known.token_gaps.len(), "{name}: one gap per token after the first event");
    for (said, known) in gaps.iter().zip(&known.token_gaps) {
        near("ITL", *said, *known, late.any_ms);
    }
    let steps = f64::from(shape.tokens() - 1);
    match (shape.usage, shape.ending) {
        (Usage::Never, _) | (Usage::AtTheEnd, Ending::ErrorEvent | Ending::Cut) => {
            assert_eq!((record.tpot_ms(), record.decode_tokens_per_s()), (None, None), "{name}: unknown is no figure");
            assert_eq!(record.completion_tokens, None);
        }
        (Usage::AtTheEnd | Usage::WithEveryEvent, _) => {
            assert_eq!(record.completion_tokens, Some(shape.tokens()), "{name}");
            near("TPOT", record.tpot_ms().unwrap(), known.first_to_last / steps, late.any_ms / steps);
            let rate = record.decode_tokens_per_s().unwrap();
            near("time of the decode rate", steps / rate * 1e3, known.first_to_last, late.any_ms);
            let per_event = f64::from(shape.tokens()) / shape.pieces.len() as f64;
            near("tokens per chunk", tokens_per_chunk(&[reply]).unwrap(), per_event, 1e-9);
        }
    }
    let end = match shape.ending {
        Ending::Done => RequestEnd::Truncated,
        Ending::ErrorEvent => RequestEnd::ErrorEvent,
        Ending::Cut => RequestEnd::StreamCut,
    };
    assert_eq!(record.end, end, "{name}: {:?}", record.error);
}

async fn compare(shapes: &[Shape], at_once: usize) {
    let measure = async || {
        let (replies, server, clock, late) = replies(shapes, at_once).await;
        ((replies, server, clock), late)
    };
    let ((replies, server, clock), late) = punctually(PUNCTUAL_MS, measure).await;
    let mut lags = Vec::new();
    for (number, (reply, shape)) in replies.iter().zip(shapes).enumerate() {
        let truth = server.truth(number).await;
        lags.extend(compare_stamps(shape.name, reply, &truth, &clock, late));
        compare_figures(shape, reply, &truth, late);
    }
    let middle = stats::median(&lags).unwrap();
    assert!(middle <= late.usual_ms, "the middle stamp is {middle:.2} ms late, {late:?}");
}

#[tokio::test]
async fn one_stream_of_any_shape_is_timed_as_it_happened() {
    compare(&shapes(1), 1).await;
}

#[tokio::test]
async fn thirty_two_streams_of_all_shapes_at_once_are_timed_as_they_happened() {
    let all: Vec<Shape> = (0..7).flat_map(shapes).take(64).collect();
    compare(&all, 32).await;
}

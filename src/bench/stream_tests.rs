//! The client against a server that plays exact bytes: every end, and times that are known.

use std::time::Duration;

use serde_json::{Map, json};
use tokio_util::sync::CancellationToken;

use crate::domain::{RequestEnd, Role, TokenKind};

use super::testserver::{LAST_CHUNK, STREAM_HEAD, Script, Step, TestServer, delta, finish, http_chunk};
use super::{
    AnswerLength, ApiKey, ChatParts, ChatRequest, Client, Delivery, Keep, Reply, RunClock, Slot, Target, Timeouts,
};

const ROLE: &str = "{\"role\":\"assistant\",\"content\":\"\"}";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn request(delivery: Delivery) -> ChatRequest {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let length = AnswerLength::UpTo(4);
    ChatRequest::build(ChatParts { model: "m", messages, length, delivery, keep: Keep::Answer, extra: Map::new() })
        .unwrap()
}

fn slot() -> Slot {
    Slot { index: 0, point: None, role: Role::Probe, user_number: None, measured: true, intended_ms: None }
}

fn impatient() -> Timeouts {
    let long = Duration::from_secs(20);
    Timeouts { headers: long, first_token: long, idle: long, total: long, standstill: long }
}

async fn ask_with(server: &TestServer, timeouts: Timeouts, cancel: &CancellationToken) -> Reply {
    let client = server.client().await;
    client.chat(&request(Delivery::Streamed), &slot(), &RunClock::start(), &timeouts, cancel).await
}

/// One more request of this client.
async fn ask_again(client: &Client, clock: &RunClock) -> Reply {
    client.chat(&request(Delivery::Streamed), &slot(), clock, &impatient(), &CancellationToken::new()).await
}

async fn ask(steps: Vec<Step>) -> Reply {
    let server = TestServer::playing(steps).await;
    ask_with(&server, impatient(), &CancellationToken::new()).await
}

fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

/// A complete stream of these events in one write.
fn stream(events: &[&str]) -> Vec<Step> {
    vec![send(&format!("{STREAM_HEAD}{}{LAST_CHUNK}", http_chunk(&events.concat())))]
}

fn word(text: &str) -> String {
    delta(&format!("{{\"content\":\"{text}\"}}"))
}

#[tokio::test]
async fn a_plain_answer_is_ok_with_usage_kinds_and_text() {
    let reply = ask(stream(&[&delta(ROLE), &word("Hé"), &word("llo"), &finish("stop"), USAGE, DONE])).await;
    let record = &reply.record;
    assert_eq!((record.end, record.http_status), (RequestEnd::Ok, Some(200)), "{record:?}");
    assert_eq!((record.prompt_tokens, record.completion_tokens, record.cached_tokens), (Some(7), Some(2), Some(4)));
    assert_eq!(record.finish_reason.as_deref(), Some("stop"));
    assert_eq!(record.chunks.iter().map(|c| c.1).collect::<Vec<_>>(), [TokenKind::Content; 2]);
    assert_eq!(reply.answer.unwrap().content, "Héllo");
    assert!(record.intended_ms <= record.sent_ms && record.sent_ms <= record.headers_ms.unwrap());
    assert!(record.last_token_ms.unwrap() <= record.end_ms);
}

#[tokio::test]
async fn any_fragmentation_on_the_wire_gives_the_same_answer() {
    let events = [&delta(ROLE), &word("naïve 😀 \\\"quoted\\\""), &word("{[]}"), &finish("length"), USAGE, DONE]
        .map(|e| e.to_owned())
        .concat();
    let whole = format!("{STREAM_HEAD}{}{LAST_CHUNK}", http_chunk(&events));
    for size in [1, 3, 7, 64] {
        let steps = whole.as_bytes().chunks(size).map(|c| Step::Send(c.to_vec())).collect();
        let reply = ask(steps).await;
        assert_eq!(reply.record.end, RequestEnd::Truncated);
        assert_eq!(reply.record.chunks.len(), 2);
        assert_eq!(reply.answer.unwrap().content, "naïve 😀 \"quoted\"{[]}", "{size}");
    }
}

#[tokio::test]
async fn an_error_event_after_200_is_no_success_even_before_done() {
    let error = "data: {\"error\":{\"message\":\"EngineCore died\",\"code\":500}}\n\n";
    let reply = ask(stream(&[&word("a"), error, DONE])).await;
    assert_eq!(reply.record.end, RequestEnd::ErrorEvent);
    assert!(reply.record.error.unwrap().contains("EngineCore died"));
    assert_eq!(reply.record.http_status, Some(200));
}

#[tokio::test]
async fn a_stream_that_stops_before_done_is_cut_however_it_stops() {
    let begun = format!("{STREAM_HEAD}{}", http_chunk(&word("a")));
    let closed = ask(vec![send(&begun), Step::Close]).await.record;
    assert_eq!((closed.end, closed.chunks.len()), (RequestEnd::StreamCut, 1));
    let politely = ask(vec![send(&format!("{begun}{LAST_CHUNK}"))]).await.record;
    assert_eq!(politely.end, RequestEnd::StreamCut);
    let in_an_event = ask(vec![send(&format!("{begun}{}", http_chunk("data: {\"ch"))), Step::Close]).await.record;
    assert_eq!(in_an_event.end, RequestEnd::StreamCut);
    assert!(in_an_event.error.unwrap().contains("middle"));
    let before_headers = ask(vec![Step::Close]).await.record;
    assert_eq!((before_headers.end, before_headers.http_status), (RequestEnd::StreamCut, None));
}

#[tokio::test]
async fn a_malformed_event_is_told_with_its_text() {
    let record = ask(stream(&[&word("a"), "data: {\"choices\": oops}\n\n", DONE])).await.record;
    assert_eq!(record.end, RequestEnd::MalformedEvent);
    assert!(record.error.unwrap().contains("oops"));
}

#[tokio::test]
async fn an_answer_without_a_token_is_empty() {
    let record = ask(stream(&[&delta(ROLE), &finish("stop"), USAGE, DONE])).await.record;
    assert_eq!((record.end, record.first_token_ms), (RequestEnd::Empty, None));
}

#[tokio::test]
async fn missing_usage_is_unknown_not_the_number_of_chunks() {
    let record = ask(stream(&[&word("a"), &word("b"), &finish("stop"), DONE])).await.record;
    assert_eq!((record.end, record.completion_tokens, record.prompt_tokens), (RequestEnd::Ok, None, None));
    assert_eq!(record.tpot_ms(), None);
}

#[tokio::test]
async fn an_http_status_is_kept_with_its_body_redacted_and_bounded() {
    let body = format!("{{\"message\":\"bad key sk-secret-1\"}}{}", "x".repeat(9_000));
    let answer = format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let server = TestServer::playing(vec![send(&answer)]).await;
    let mut target = Target::new(&server.url, "m");
    target.api_key = Some(ApiKey::new("sk-secret-1".to_owned()));
    let client = Client::new(&target).await.unwrap();
    let cancel = CancellationToken::new();
    let reply = client.chat(&request(Delivery::Streamed), &slot(), &RunClock::start(), &impatient(), &cancel).await;
    assert_eq!((reply.record.end, reply.record.http_status), (RequestEnd::HttpStatus, Some(401)));
    let error = reply.record.error.unwrap();
    assert!(error.contains("bad key ***") && error.len() <= 2_048, "{error}");
}

#[tokio::test]
async fn each_patience_has_its_own_end() {
    let short = Duration::from_millis(60);
    let of = |change: fn(&mut Timeouts, Duration)| {
        let mut timeouts = impatient();
        change(&mut timeouts, short);
        timeouts
    };
    let head = send(STREAM_HEAD);
    let role = send(&http_chunk(&delta(ROLE)));
    let token = send(&http_chunk(&word("a")));
    let cases = [
        (vec![Step::Hang], of(|t, d| t.headers = d), RequestEnd::TimeoutHeaders),
        (vec![head.clone(), role.clone(), Step::Hang], of(|t, d| t.first_token = d), RequestEnd::TimeoutFirstToken),
        (vec![head.clone(), role, token.clone(), Step::Hang], of(|t, d| t.idle = d), RequestEnd::TimeoutIdle),
        (vec![head, token, Step::Hang], of(|t, d| t.total = d), RequestEnd::TimeoutTotal),
    ];
    for (steps, timeouts, expected) in cases {
        let server = TestServer::playing(steps).await;
        let record = ask_with(&server, timeouts, &CancellationToken::new()).await.record;
        assert_eq!(record.end, expected);
        let waited_ms = record.end_ms - record.intended_ms; // the patience begins before the connection is made
        assert!((60.0..10_000.0).contains(&waited_ms), "{expected}: {waited_ms}");
    }
}

#[tokio::test]
async fn a_request_is_sent_when_its_connection_stands_and_the_next_one_uses_the_same() {
    let server = TestServer::playing(stream(&[&word("a"), &finish("stop"), DONE])).await;
    let client = server.client().await;
    let clock = RunClock::start();
    let (first, second) = (ask_again(&client, &clock).await.record, ask_again(&client, &clock).await.record);
    assert_eq!((first.end, second.end), (RequestEnd::Ok, RequestEnd::Ok));
    assert!(first.queue_ms() > 0.0 && second.intended_ms >= first.end_ms, "{first:?} {second:?}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_not_used_again() {
    let mut steps = stream(&[&word("a"), &finish("stop"), DONE]);
    steps.push(Step::Close);
    let server = TestServer::playing(steps).await;
    let client = server.client().await;
    for _ in 0..3 {
        assert_eq!(ask_again(&client, &RunClock::start()).await.record.end, RequestEnd::Ok);
        while client.connections.free() > 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_slow_stream_that_moves_is_not_idle() {
    let mut steps = vec![send(STREAM_HEAD)];
    for _ in 0..6 {
        steps.push(send(&http_chunk(&word("a"))));
        steps.push(Step::Pause(40));
    }
    steps.push(send(&format!("{}{LAST_CHUNK}", http_chunk(&[&finish("stop"), DONE].map(|s| s.to_owned()).concat()))));
    let server = TestServer::playing(steps).await;
    let timeouts = Timeouts { idle: Duration::from_millis(200), ..impatient() };
    let record = ask_with(&server, timeouts, &CancellationToken::new()).await.record;
    assert_eq!(record.end, RequestEnd::Ok, "{:?}", record.error);
}

#[tokio::test]
async fn a_cancel_ends_a_request_in_every_phase_at_once() {
    for steps in [vec![Step::Hang], vec![send(STREAM_HEAD), send(&http_chunk(&word("a"))), Step::Hang]] {
        let server = TestServer::playing(steps).await;
        let cancel = CancellationToken::new();
        let asked = ask_with(&server, impatient(), &cancel);
        let cancelling = async {
            tokio::time::sleep(Duration::from_millis(80)).await;
            cancel.cancel();
        };
        let (reply, ()) = tokio::join!(asked, cancelling);
        assert_eq!(reply.record.end, RequestEnd::Cancelled);
        assert!(reply.record.e2e_ms() < 10_000.0);
    }
}

#[tokio::test]
async fn nobody_listening_is_a_connect_error() {
    let server = TestServer::start(Script::default()).await;
    let url = server.url.clone();
    drop(server);
    let client = Client::new(&Target::new(url, "m")).await.unwrap();
    tokio::task::yield_now().await; // lets the aborted accept loop drop its listener
    let cancel = CancellationToken::new();
    let reply = client.chat(&request(Delivery::Streamed), &slot(), &RunClock::start(), &impatient(), &cancel).await;
    assert_eq!(reply.record.end, RequestEnd::ConnectError, "{:?}", reply.record.error);
    assert!(reply.record.headers_ms.is_none());
}

#[tokio::test]
async fn times_follow_the_server_s_known_pauses() {
    let reasoning = delta("{\"reasoning\":\"hm\"}");
    let steps = vec![
        Step::Pause(40),
        send(&format!("{STREAM_HEAD}{}", http_chunk(&delta(ROLE)))),
        Step::Pause(80),
        send(&http_chunk(&reasoning)),
        Step::Pause(60),
        send(&http_chunk(&word("a"))),
        Step::Pause(50),
        send(&format!("{}{LAST_CHUNK}", http_chunk(&[&finish("stop"), USAGE, DONE].map(|s| s.to_owned()).concat()))),
    ];
    let record = ask(steps).await.record;
    // never early; late only by what a busy machine costs
    let within = |value: f64, truth: f64| value >= truth - 1.0 && value < truth + 2_000.0;
    assert!(within(record.headers_ms.unwrap() - record.sent_ms, 40.0), "{record:?}");
    assert!(within(record.ttft_ms().unwrap(), 120.0), "{record:?}");
    assert!(within(record.ttfc_ms().unwrap(), 180.0), "{record:?}");
    assert!(within(record.tpot_ms().unwrap(), 60.0), "{record:?}");
    assert!(within(record.e2e_ms(), 230.0), "{record:?}");
}

#[tokio::test]
async fn a_tool_call_alone_is_an_answer() {
    let call =
        delta("{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}");
    let reply = ask(stream(&[&delta(ROLE), &call, &finish("tool_calls"), USAGE, DONE])).await;
    assert_eq!(reply.record.end, RequestEnd::Ok);
    assert_eq!(reply.record.chunks[0].1, TokenKind::ToolCall);
    assert_eq!(reply.answer.unwrap().tool_calls[0].name, "f");
}

#[tokio::test]
async fn a_whole_answer_has_an_end_and_no_token_times() {
    let server = TestServer::start(Script::default()).await;
    let client = server.client().await;
    let cancel = CancellationToken::new();
    let reply = client.chat(&request(Delivery::Whole), &slot(), &RunClock::start(), &impatient(), &cancel).await;
    assert_eq!((reply.record.end, reply.record.first_token_ms), (RequestEnd::Truncated, None));
    assert_eq!(reply.record.completion_tokens, Some(4));
    assert_eq!(reply.answer.unwrap().content, "whole");
}

#[tokio::test]
async fn a_connection_is_used_again_after_done() {
    let server = TestServer::start(Script::default()).await;
    let client = server.client().await;
    let (cancel, clock) = (CancellationToken::new(), RunClock::start());
    for _ in 0..3 {
        let reply = client.chat(&request(Delivery::Streamed), &slot(), &clock, &impatient(), &cancel).await;
        assert_eq!(reply.record.end, RequestEnd::Truncated);
        assert_eq!(reply.record.chunk_tokens, [1, 1, 1, 1]);
    }
    assert_eq!(server.connections(), 1);
}

//! A streamed answer: the engine's events as server-sent events in vLLM's shape, with the faults that were asked for.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes};
use futures_util::stream;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::answer::{Answer, Delta};
use super::engine::{EngineHandle, StreamEvent};
use super::fault::{Fault, FaultKind};
use super::request::{ApiError, Endpoint, Generation};
use super::scheduler::SeqId;
use super::truth::{Record, Truth};

/// `system_fingerprint` of every answer.
pub(super) const FINGERPRINT: &str = "vllm-0.32.0-sim";

/// What a response says about itself in every chunk.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) model: String,
}

/// Streamed objects leave nulls out, whole ones show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nulls {
    LeftOut,
    Shown,
}

/// What an answer cost; `cached` where the server was told to say it.
pub(super) fn usage(generation: &Generation, deltas: &[Delta], cached: Option<usize>, nulls: Nulls) -> Json {
    let (prompt, completion) = (generation.prompt.len(), deltas.len());
    let chat = generation.endpoint == Endpoint::Chat;
    let mut usage = json!({
        "prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion,
    });
    if let Some(cached) = cached {
        let mut details = json!({"cached_tokens": cached});
        if chat {
            details["created_cache_tokens"] = json!(0);
        }
        if nulls == Nulls::Shown {
            details["multimodal_tokens"] = Json::Null;
        }
        usage["prompt_tokens_details"] = details;
    } else if nulls == Nulls::Shown {
        usage["prompt_tokens_details"] = Json::Null;
    }
    if chat {
        let reasoning = deltas.iter().filter(|d| matches!(d, Delta::Reasoning(_))).count();
        usage["completion_tokens_details"] = json!({"reasoning_tokens": reasoning});
    }
    usage
}

/// Gives the engine's request up when the client goes away before its end: dropping the body is all that hyper tells.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) engine: EngineHandle,
    pub(super) id: SeqId,
    pub(super) done: bool,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.done {
            self.engine.abort(self.id);
        }
    }
}

/// Everything that a stream needs.
pub(super) struct Stream {
    pub(super) generation: Generation,
    pub(super) answer: Answer,
    pub(super) identity: Identity,
    pub(super) events: UnboundedReceiver<StreamEvent>,
    pub(super) claim: Claim,
    pub(super) record: Record,
    pub(super) truth: Arc<Truth>,
    pub(super) tokens_details: bool,
    /// Tokens of an event, from the second event on (`--stream-interval`); at least 1.
    pub(super) interval: usize,
    pub(super) fault: Option<Fault>,
    /// Number of the request, from 0: which ones a fault strikes.
    pub(super) number: u64,
}

/// The first choice of a chat.
const ROLE: &str = r#"{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}"#;

/// What an event is for.
enum EventKind {
    /// The chat's first event, which says who speaks.
    Role,
    /// The choice of one token or several.
    Tokens(String),
    /// The last event before `[DONE]`, without a choice.
    Usage,
}

/// What goes out next.
enum Piece {
    Data(Bytes),
    /// Ends the connection in the middle of the body.
    Cut,
    /// Lets the writer send what it has before more comes.
    Flush,
    /// What follows makes an event whole whose moment is kept.
    Written(Kept),
}

/// Events whose moment is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// One that bears tokens.
    Token,
    /// `[DONE]`.
    Done,
}

/// How often the writer lets others run between two pieces: a reader on the same runtime needs two turns for a piece (its connection
/// reads it, its request takes it), and would fall behind, piece by piece, with fewer.
const TURNS_BETWEEN_PIECES: u32 = 3;

/// A stream on its way.
struct State {
    stream: Stream,
    sent: usize,
    out: VecDeque<Piece>,
    over: bool,
    random: u64,
}

impl Stream {
    /// The response's body.
    pub(super) fn into_body(self) -> Body {
        let random = self.number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let state = State { stream: self, sent: 0, out: VecDeque::new(), over: false, random };
        Body::from_stream(stream::unfold(state, |mut state| async move {
            let piece = state.next().await?;
            Some((piece, state))
        }))
    }

    fn strikes(&self, kind: FaultKind) -> bool {
        Fault::strikes(self.fault, kind, self.number)
    }

    /// An event of this kind after `upto` tokens.
    fn event(&self, kind: EventKind, upto: usize, cached: usize) -> String {
        let object = match self.generation.endpoint {
            Endpoint::Chat => "chat.completion.chunk",
            Endpoint::Completions => "text_completion",
        };
        let Identity { id, created, model } = &self.identity;
        let (choice, with_usage, tail) = match kind {
            EventKind::Role => (ROLE.to_owned(), false, ",\"prompt_token_ids\":null,\"prompt_text\":null".to_owned()),
            EventKind::Tokens(choice) => (choice, false, String::new()),
            EventKind::Usage => (String::new(), true, format!(",\"system_fingerprint\":\"{FINGERPRINT}\"")),
        };
        let mut text = format!(
            "data: {{\"id\":{},\"object\":\"{object}\",\"created\":{created},\"model\":{},\"choices\":[{}]",
            json!(id),
            json!(model),
            choice
        );
        if with_usage || self.generation.continuous_usage && !self.strikes(FaultKind::NoUsage) {
            // Details of the prompt come with the last usage only.
            let cached = (with_usage && self.tokens_details).then_some(cached);
            let usage = usage(&self.generation, &self.answer.deltas[..upto], cached, Nulls::LeftOut);
            text.push_str(&format!(",\"usage\":{usage}"));
        }
        text.push_str(&tail);
        text.push_str("}\n\n");
        text
    }

    /// The end of the event that begins at token `from`, once `emitted` tokens are there; `None`: more must come first. As vLLM's
    /// output processor has it: the first token goes out at once, then `--stream-interval` tokens at a time, and what is left at the end.
    fn event_end(&self, from: usize, emitted: usize) -> Option<usize> {
        let all = self.answer.deltas.len();
        let end = if from == 0 { 1 } else { from + self.interval };
        (end <= emitted || emitted == all).then_some(end.min(all))
    }

    /// The choice that carries these tokens; `None` when the client sees nothing of them.
    fn choice(&self, tokens: Range<usize>) -> Option<String> {
        let last = tokens.end == self.answer.deltas.len();
        let finish = if last { json!(self.answer.finish_reason) } else { Json::Null };
        let deltas = &self.answer.deltas[tokens];
        if self.generation.endpoint == Endpoint::Completions {
            let text: String = deltas
                .iter()
                .map(|delta| match delta {
                    Delta::Content(text) | Delta::Reasoning(text) => text.as_str(),
                    Delta::Silent | Delta::ToolStart { .. } | Delta::ToolArguments { .. } => "",
                })
                .collect();
            return Some(format!(
                "{{\"index\":0,\"text\":{},\"logprobs\":null,\"finish_reason\":{finish},\"stop_reason\":null,\"prompt_token_ids\":null,\"token_ids\":null}}",
                json!(text)
            ));
        }
        let delta = joined(deltas);
        if delta.as_object().is_some_and(serde_json::Map::is_empty) && !last {
            return None;
        }
        let stop = if last { ",\"stop_reason\":null" } else { "" };
        Some(format!(
            "{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}{stop},\"token_ids\":null}}"
        ))
    }
}

/// What several tokens add to a chat's message, as one delta: texts one after the other, pieces of one call joined.
fn joined(deltas: &[Delta]) -> Json {
    let (mut reasoning, mut content) = (None::<String>, None::<String>);
    let mut calls: Vec<Json> = Vec::new();
    for delta in deltas {
        match delta {
            Delta::Silent => {}
            Delta::Reasoning(text) => reasoning.get_or_insert_default().push_str(text),
            Delta::Content(text) => content.get_or_insert_default().push_str(text),
            Delta::ToolStart { index, id, name } => {
                calls.push(json!({"id": id, "type": "function", "index": index, "function": {"name": name}}));
            }
            Delta::ToolArguments { index, text } => match calls.last_mut().filter(|call| call["index"] == *index) {
                Some(call) => {
                    let before = call["function"]["arguments"].as_str().unwrap_or_default();
                    call["function"]["arguments"] = json!(format!("{before}{text}"));
                }
                None => calls.push(json!({"index": index, "function": {"arguments": text}})),
            },
        }
    }
    let mut delta = json!({});
    if let Some(reasoning) = reasoning {
        delta["reasoning"] = json!(reasoning);
    }
    if content.is_some() || !calls.is_empty() {
        delta["content"] = json!(content); // null beside calls
    }
    if !calls.is_empty() {
        delta["tool_calls"] = json!(calls);
    }
    delta
}

impl State {
    async fn next(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        loop {
            match self.out.pop_front() {
                Some(Piece::Data(bytes)) => return Some(Ok(bytes)),
                Some(Piece::Cut) => return Some(Err(std::io::Error::other("the stream is cut on request"))),
                Some(Piece::Flush) => {
                    for _ in 0..TURNS_BETWEEN_PIECES {
                        tokio::task::yield_now().await;
                    }
                    continue;
                }
                Some(Piece::Written(event)) => {
                    self.written(event);
                    continue;
                }
                None if self.over => return None,
                None => {}
            }
            match self.stream.events.recv().await {
                Some(StreamEvent::Tokens { emitted, cached_tokens }) => self.tokens(emitted, cached_tokens),
                Some(StreamEvent::Died) | None => {
                    self.error(&ApiError::engine_dead());
                    self.done();
                }
            }
        }
    }

    /// Puts out the events of the tokens up to `emitted`.
    fn tokens(&mut self, emitted: usize, cached: usize) {
        let half = self.stream.answer.deltas.len().div_ceil(2);
        while self.sent < emitted && !self.over {
            let from = self.sent;
            let Some(end) = self.stream.event_end(from, emitted) else { return };
            let mut text = String::new();
            if from == 0 && self.stream.generation.endpoint == Endpoint::Chat {
                text.push_str(&self.stream.event(EventKind::Role, 0, cached));
            }
            let choice = self.stream.choice(from..end);
            let bears_token = choice.is_some();
            if let Some(choice) = choice {
                text.push_str(&self.stream.event(EventKind::Tokens(choice), end, cached));
            }
            self.sent = end;
            self.put(text, bears_token.then_some(Kept::Token));
            let is_half_way = from < half && half <= end;
            if is_half_way && self.stream.strikes(FaultKind::ErrorEvent) {
                self.error(&ApiError::engine_dead());
                self.done();
            } else if is_half_way && self.stream.strikes(FaultKind::StreamCut) {
                self.out.push_back(Piece::Flush);
                self.out.push_back(Piece::Cut);
                self.over = true;
            }
        }
        if self.sent == self.stream.answer.deltas.len() && !self.over {
            self.stream.claim.done = true;
            if self.stream.generation.include_usage && !self.stream.strikes(FaultKind::NoUsage) {
                let usage = self.stream.event(EventKind::Usage, self.sent, cached);
                self.put(usage, None);
            }
            self.done();
        }
    }

    fn error(&mut self, error: &ApiError) {
        let text = format!("data: {}\n\n", error.body());
        self.put(text, None);
    }

    fn done(&mut self) {
        if !self.stream.strikes(FaultKind::MissingDone) {
            self.put("data: [DONE]\n\n".to_owned(), Some(Kept::Done));
        }
        self.over = true;
    }

    /// An event is handed to the socket's writer.
    fn written(&self, event: Kept) {
        let now = self.stream.truth.offset_ms(Instant::now());
        let mut entry = self.stream.record.edit();
        match event {
            Kept::Token => entry.written_ms.push(now),
            Kept::Done => entry.done_ms = Some(now),
        }
    }

    /// Puts text out, whole or in random pieces. Neighbours are joined: one write serves them.
    fn put(&mut self, text: String, event: Option<Kept>) {
        if text.is_empty() {
            return;
        }
        if !self.stream.strikes(FaultKind::Fragment) {
            if let Some(event) = event {
                self.written(event);
            }
            if let Some(Piece::Data(last)) = self.out.back_mut() {
                let mut joined = Vec::with_capacity(last.len() + text.len());
                joined.extend_from_slice(last);
                joined.extend_from_slice(text.as_bytes());
                *last = Bytes::from(joined);
                return;
            }
            self.out.push_back(Piece::Data(Bytes::from(text)));
            return;
        }
        let mut bytes = Bytes::from(text);
        while !bytes.is_empty() {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let length = (self.random % 23 + 1).min(bytes.len() as u64) as usize;
            if let Some(event) = event.filter(|_| length == bytes.len()) {
                self.out.push_back(Piece::Written(event));
            }
            self.out.push_back(Piece::Data(bytes.split_to(length)));
            self.out.push_back(Piece::Flush);
        }
    }
}

//! A chat request whose body is ready before the clock runs, and what came back.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::domain::{RequestRecord, Role, short_sha256};

use super::BenchError;

/// How the answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As an event stream with usage.
    Streamed,
    /// In one piece.
    Whole,
}

/// How long the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerLength {
    /// As long as the model likes, at most so many tokens.
    UpTo(u32),
    /// Exactly so many tokens, so that all configs do the same work: `ignore_eos`, and `min_tokens` so that no end-of-sequence token,
    /// which has no text and so no arrival, is generated on the way.
    Exactly(u32),
    /// Exactly so many tokens by `ignore_eos` alone: some vLLM versions refuse `min_tokens` with speculative decoding.
    ExactlyIgnoringEos(u32),
}

/// Whether the answer's text is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Only times and counts.
    Timing,
    /// Content, reasoning and tool calls too.
    Answer,
}

/// A prepared request.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    pub(super) body: Bytes,
    pub(super) body_sha256: String,
    pub(super) delivery: Delivery,
    pub(super) keep: Keep,
}

/// The parts of a request.
#[derive(Clone, Debug)]
pub struct ChatParts<'a> {
    /// Model id.
    pub model: &'a str,
    /// The `messages` array.
    pub messages: Value,
    /// Length of the answer.
    pub length: AnswerLength,
    /// How it is sent.
    pub delivery: Delivery,
    /// Whether its text is kept.
    pub keep: Keep,
    /// Further members of the body (`tools`, `chat_template_kwargs`, ...); they win over the ones above.
    pub extra: Map<String, Value>,
}

impl ChatRequest {
    /// Serializes the body: temperature 0 and, when streamed, usage in the stream and with every chunk.
    ///
    /// # Errors
    /// `BenchError::Internal` when the body cannot be written as JSON.
    pub fn build(parts: ChatParts<'_>) -> Result<Self, BenchError> {
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(parts.model));
        body.insert("messages".to_owned(), parts.messages);
        body.insert("temperature".to_owned(), json!(0));
        match parts.length {
            AnswerLength::UpTo(tokens) => {
                body.insert("max_tokens".to_owned(), json!(tokens));
            }
            AnswerLength::Exactly(tokens) => {
                body.insert("max_tokens".to_owned(), json!(tokens));
                body.insert("min_tokens".to_owned(), json!(tokens));
                body.insert("ignore_eos".to_owned(), json!(true));
            }
            AnswerLength::ExactlyIgnoringEos(tokens) => {
                body.insert("max_tokens".to_owned(), json!(tokens));
                body.insert("ignore_eos".to_owned(), json!(true));
            }
        }
        body.insert("stream".to_owned(), json!(parts.delivery == Delivery::Streamed));
        if parts.delivery == Delivery::Streamed {
            let options = json!({"include_usage": true, "continuous_usage_stats": true});
            body.insert("stream_options".to_owned(), options);
        }
        body.extend(parts.extra);
        let body = serde_json::to_vec(&body).map_err(|e| BenchError::Internal(format!("cannot write a body: {e}")))?;
        let body_sha256 = short_sha256(&[&body]);
        Ok(Self { body: body.into(), body_sha256, delivery: parts.delivery, keep: parts.keep })
    }
}

/// How long the client waits. Each limit counts from the moment at which the request was to be sent, connecting included, except
/// `idle` and `standstill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the response headers.
    pub headers: Duration,
    /// Until the first token.
    pub first_token: Duration,
    /// Between two events, after the first token.
    pub idle: Duration,
    /// Until the end.
    pub total: Duration,
    /// With requests under way, none of them ended and no counter of the engine moved: it hangs.
    pub standstill: Duration,
}

impl Default for Timeouts {
    /// Generous: a long prefill behind a full queue is a measurement, not a failure.
    fn default() -> Self {
        Self {
            headers: Duration::from_secs(300),
            first_token: Duration::from_secs(600),
            idle: Duration::from_secs(120),
            total: Duration::from_secs(1_800),
            standstill: Duration::from_secs(300),
        }
    }
}

/// Where a request stands in its scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Order of sending within the scenario.
    pub index: u32,
    /// The scenario's point.
    pub point: Option<String>,
    /// Role within the scenario.
    pub role: Role,
    /// Who sends it; see `RequestRecord::user_number`.
    pub user_number: Option<u32>,
    /// Whether it is measured.
    pub measured: bool,
    /// When the load model wanted it sent, ms since the scenario's start; `None`: now (closed loop).
    pub intended_ms: Option<f64>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Times, counts and the end.
    pub record: RequestRecord,
    /// The text, where [`Keep::Answer`] asked for it.
    pub answer: Option<Answer>,
}

/// The text of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Final content.
    pub content: String,
    /// Reasoning.
    pub reasoning: String,
    /// Tool calls, in order of their index.
    pub tool_calls: Vec<ToolCall>,
}

/// One assembled tool call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// The engine's id.
    pub id: String,
    /// Function.
    pub name: String,
    /// Arguments as the model wrote them: JSON or not.
    pub arguments: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(length: AnswerLength, delivery: Delivery) -> ChatParts<'static> {
        let messages = json!([{"role": "user", "content": "hi"}]);
        ChatParts { model: "m", messages, length, delivery, keep: Keep::Timing, extra: Map::new() }
    }

    fn body(request: &ChatRequest) -> Value {
        serde_json::from_slice(&request.body).unwrap()
    }

    #[test]
    fn an_exact_length_ignores_the_end_of_sequence_and_a_limit_does_not() {
        let exact = body(&ChatRequest::build(parts(AnswerLength::Exactly(8), Delivery::Streamed)).unwrap());
        assert_eq!((&exact["max_tokens"], &exact["min_tokens"]), (&json!(8), &json!(8)));
        assert_eq!(exact["ignore_eos"], json!(true));
        let limit = body(&ChatRequest::build(parts(AnswerLength::UpTo(8), Delivery::Streamed)).unwrap());
        assert_eq!(limit["max_tokens"], json!(8));
        assert!(limit.get("min_tokens").is_none() && limit.get("ignore_eos").is_none());
        assert_eq!(limit["temperature"], json!(0));
    }

    #[test]
    fn only_a_streamed_request_asks_for_usage_in_the_stream() {
        let streamed = body(&ChatRequest::build(parts(AnswerLength::UpTo(8), Delivery::Streamed)).unwrap());
        assert_eq!(streamed["stream_options"]["include_usage"], json!(true));
        let whole = body(&ChatRequest::build(parts(AnswerLength::UpTo(8), Delivery::Whole)).unwrap());
        assert_eq!(whole["stream"], json!(false));
        assert!(whole.get("stream_options").is_none());
    }

    #[test]
    fn the_body_hash_is_that_of_its_bytes() {
        let request = ChatRequest::build(parts(AnswerLength::UpTo(8), Delivery::Whole)).unwrap();
        assert_eq!(request.body_sha256, short_sha256(&[&request.body]));
    }
}

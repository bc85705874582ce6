//! Words of the benchmark: scenarios, how a request ends, what a chunk carries.

use super::text_enum::text_enum;

text_enum! {
    /// One benchmark of the suite. The spelling is also the first part of a metric's path.
    pub enum ScenarioKind {
        /// Serves at all: models, tokenize, one completion, one streamed completion.
        Smoke = "smoke",
        /// A fresh prefix, then the same again.
        KvCache = "kv_cache",
        /// Turns with growing history.
        Conversation = "conversation",
        /// Multi-step tasks with a verifiable answer.
        Reasoning = "reasoning",
        /// Tool calls, streamed and not.
        ToolCalling = "tool_calling",
        /// Cycles of short and long requests.
        Stability = "stability",
        /// Closed and open loop load.
        Load = "load",
        /// Long prompts, each followed by a small survival request.
        LongContext = "long_context",
        /// Fixed prompts whose degenerate answers are known.
        Canary = "canary",
        /// Idle and busy windows.
        Profile = "profile",
    }
}

text_enum! {
    /// How a request ended. HTTP 200 is not success.
    pub enum RequestEnd {
        /// `[DONE]` after tokens, with a finish reason other than `length`.
        Ok = "ok",
        /// Complete, and stopped by the token limit (`finish_reason` = `length`).
        Truncated = "truncated",
        /// Complete, without a single token.
        Empty = "empty",
        /// The model declined, or the server refused to answer by policy.
        Refused = "refused",
        /// No connection.
        ConnectError = "connect_error",
        /// No response headers in time.
        TimeoutHeaders = "timeout_headers",
        /// No first token in time.
        TimeoutFirstToken = "timeout_first_token",
        /// The stream stopped moving for too long.
        TimeoutIdle = "timeout_idle",
        /// The whole request took too long.
        TimeoutTotal = "timeout_total",
        /// An HTTP status other than 200.
        HttpStatus = "http_status",
        /// An error event inside a stream that began with 200.
        ErrorEvent = "error_event",
        /// The stream ended before `[DONE]`.
        StreamCut = "stream_cut",
        /// An event that is no valid JSON of the protocol.
        MalformedEvent = "malformed_event",
        /// Given up by us (Ctrl-C, end of the window).
        Cancelled = "cancelled",
    }
}

impl RequestEnd {
    /// Requests that ended so, in words: most loads ask for a length, and a cut there is what was asked for.
    #[must_use]
    pub(crate) fn words(end: &str) -> String {
        match end.parse() {
            Ok(Self::Ok) => "ended by themselves".to_owned(),
            Ok(Self::Truncated) => "ended at the length asked for".to_owned(),
            Ok(_) | Err(_) => end.replace('_', " "),
        }
    }

    /// Whether every token that the server meant to send has arrived (`ok` and `truncated`).
    #[must_use]
    pub const fn is_complete(self) -> bool {
        match self {
            Self::Ok | Self::Truncated => true,
            Self::Empty
            | Self::Refused
            | Self::ConnectError
            | Self::TimeoutHeaders
            | Self::TimeoutFirstToken
            | Self::TimeoutIdle
            | Self::TimeoutTotal
            | Self::HttpStatus
            | Self::ErrorEvent
            | Self::StreamCut
            | Self::MalformedEvent
            | Self::Cancelled => false,
        }
    }
}

text_enum! {
    /// What a request is for within its scenario.
    pub enum Role {
        /// Asked before anything is measured, so that nothing measured pays for what a first request costs.
        Warmup = "warmup",
        /// One token, to find out whether a server that says it is healthy still decodes.
        Probe = "probe",
        /// smoke: an answer in one piece.
        Plain = "plain",
        /// smoke: a streamed answer.
        Stream = "stream",
        /// smoke, long_context: a long prompt.
        Long = "long",
        /// smoke: one of as many full-length prompts as should fit at once.
        Fit = "fit",
        /// kv_cache: a fresh prefix.
        Miss = "miss",
        /// kv_cache: the same prefix again.
        Hit = "hit",
        /// load: sent before the load is what was asked for; not measured.
        Ramp = "ramp",
        /// load: measured.
        Load = "load",
        /// load: measured, begins a conversation.
        FirstTurn = "first_turn",
        /// load: measured, goes on with a conversation.
        LaterTurn = "later_turn",
        /// conversation: one turn.
        Turn = "turn",
        /// stability: one request of a cycle.
        Cycle = "cycle",
        /// long_context: the small request after a long one.
        Survival = "survival",
        /// profile: asked in the busy window.
        Profile = "profile",
        /// tool_calling: asked with a streamed answer.
        Streamed = "streamed",
        /// tool_calling: asked with an answer in one piece.
        Whole = "whole",
        /// reasoning: one task.
        Task = "task",
        /// canary: one fixed prompt.
        Canary = "canary",
    }
}

#[cfg(test)]
impl PartialEq<&str> for Role {
    fn eq(&self, text: &&str) -> bool {
        self.as_str() == *text
    }
}

text_enum! {
    /// What a token-bearing chunk carries.
    pub enum TokenKind {
        /// `delta.content`.
        Content = "content",
        /// `delta.reasoning` or `delta.reasoning_content`.
        Reasoning = "reasoning",
        /// `delta.tool_calls`.
        ToolCall = "tool_call",
    }
}

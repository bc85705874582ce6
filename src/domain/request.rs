//! One benchmark request as it was sent and as it came back: the raw fact under every figure.

use serde::{Deserialize, Serialize};

use super::{RequestEnd, Role, TokenKind};

/// One request. All offsets are milliseconds on a monotonic clock since the scenario's start; an offset is `None` when the
/// request never came that far. See MEASUREMENT in `docs/metrics.md` for the formulas built on them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Order of sending within the scenario, from 0.
    pub index: u32,
    /// The scenario's point (`c4`, `p1024`), where it has several.
    pub point: Option<String>,
    /// What the request is for within the scenario.
    pub role: Role,
    /// Who sent it, from 0: the user of a load or profile (in an open loop each request has a user of its own), the conversation, the
    /// cycle of a stability run. `None` where requests have nothing in common.
    #[serde(default)]
    pub user_number: Option<u32>,
    /// Whether the request belongs to the measured window (false: warm-up, ramp, drain).
    pub measured: bool,
    /// When the load model wanted it sent.
    pub intended_ms: f64,
    /// Just before the first byte was written.
    pub sent_ms: f64,
    /// Response headers arrived.
    pub headers_ms: Option<f64>,
    /// First event that carries any token.
    pub first_token_ms: Option<f64>,
    /// First event with non-empty content or a tool-call delta.
    pub first_content_ms: Option<f64>,
    /// Last token-bearing event.
    pub last_token_ms: Option<f64>,
    /// End of the stream, or of the request.
    pub end_ms: f64,
    /// How it ended.
    pub end: RequestEnd,
    /// The engine's `finish_reason`.
    pub finish_reason: Option<String>,
    /// HTTP status, when headers came.
    pub http_status: Option<u16>,
    /// Error body, event or exception text, at most 2 KiB, secrets redacted.
    pub error: Option<String>,
    /// `usage.prompt_tokens`; None when the server did not say.
    pub prompt_tokens: Option<u32>,
    /// `usage.completion_tokens`; None when the server did not say.
    pub completion_tokens: Option<u32>,
    /// `usage.prompt_tokens_details.cached_tokens`.
    pub cached_tokens: Option<u32>,
    /// Arrival of each token-bearing chunk, as (offset ms, kind), in order.
    pub chunks: Vec<(f64, TokenKind)>,
    /// Tokens of each chunk, as the server's continuous usage says; empty where it does not.
    #[serde(default)]
    pub chunk_tokens: Vec<u32>,
    /// SHA-256 of the request's body, first 16 hexadecimal digits.
    pub body_sha256: String,
}

impl RequestRecord {
    /// TTFT = first token - sent, ms.
    #[must_use]
    pub fn ttft_ms(&self) -> Option<f64> {
        Some(self.first_token_ms? - self.sent_ms)
    }

    /// TTFC = first content - sent, ms.
    #[must_use]
    pub fn ttfc_ms(&self) -> Option<f64> {
        Some(self.first_content_ms? - self.sent_ms)
    }

    /// E2E = end - sent, ms.
    #[must_use]
    pub fn e2e_ms(&self) -> f64 {
        self.end_ms - self.sent_ms
    }

    /// Queue = sent - intended, ms.
    #[must_use]
    pub fn queue_ms(&self) -> f64 {
        self.sent_ms - self.intended_ms
    }

    /// TPOT = (last token - first token) / (completion tokens - 1), ms; undefined below 2 tokens.
    #[must_use]
    pub fn tpot_ms(&self) -> Option<f64> {
        let tokens = self.completion_tokens.filter(|n| *n >= 2)?;
        Some((self.last_token_ms? - self.first_token_ms?) / f64::from(tokens - 1))
    }

    /// Decode rate = (completion tokens - 1) / (last token - first token), tokens/s; undefined below 2 tokens or for one chunk.
    #[must_use]
    pub fn decode_tokens_per_s(&self) -> Option<f64> {
        self.tpot_ms().filter(|ms| *ms > 0.0).map(|ms| 1000.0 / ms)
    }
}

/// A counter of the engine over a scenario, from `/metrics` before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CounterDelta {
    /// The engine's metric name, e.g. `vllm:prefix_cache_hits_total`, summed over its labels.
    pub name: String,
    /// Before the scenario.
    pub before: f64,
    /// After the scenario.
    pub after: f64,
}

/// The span of a point in which its load was what was asked for: its rates are counted there (`docs/metrics.md`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointWindow {
    /// The scenario's point.
    pub point: String,
    /// Begin, ms since the scenario's start.
    pub start_ms: f64,
    /// End, ms since the scenario's start.
    pub end_ms: f64,
}

/// What one scenario of one attempt found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScenarioResult {
    /// Its parameters.
    pub spec: super::ScenarioSpec,
    /// SHA-256 of the prompts and other data that were sent, first 16 hexadecimal digits.
    pub data_sha256: String,
    /// Wall clock at its start, RFC 3339, UTC.
    pub started_at: String,
    /// How long it took, s.
    pub elapsed_s: f64,
    /// Every request, in the order of sending.
    pub requests: Vec<RequestRecord>,
    /// Aggregated figures.
    pub metrics: Vec<super::Metric>,
    /// The windows in which the rates of its points were counted, where it has such points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<PointWindow>,
    /// The engine's counters that moved or could have.
    pub counters: Vec<CounterDelta>,
    /// Whether it may be used.
    pub validity: super::Validity,
    /// What became of each case, for scenarios that judge answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<super::CaseOutcome>,
}

#[cfg(test)]
impl ScenarioResult {
    /// Of a scenario in which nothing was sent.
    pub fn empty(spec: super::ScenarioSpec) -> Self {
        Self {
            spec,
            data_sha256: String::new(),
            started_at: String::new(),
            elapsed_s: 1.0,
            requests: Vec::new(),
            metrics: Vec::new(),
            windows: Vec::new(),
            counters: Vec::new(),
            validity: super::Validity::default(),
            cases: Vec::new(),
        }
    }
}

//! A user's own requests, as a file of JSON lines gave them.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Held, Kind};

/// A trace. A suite names its path; the file's content is put in when the plan is made.
///
/// Stored with a result are the path and the content's hash. Only the hash belongs to a result's identity through its data hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "TraceText", into = "TraceText")]
pub struct Trace {
    /// The file, as the suite names it.
    pub path: PathBuf,
    /// SHA-256 of the file, first 16 hexadecimal digits; empty before it was read.
    pub sha256: String,
    /// Its requests: in order of arrival where the file says when they arrive, else in its own order. Empty before it was read.
    pub requests: Arc<[TraceRequest]>,
}

/// How a trace is written: a path in a suite, path and hash in a result.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum TraceText {
    Path(PathBuf),
    Read { path: PathBuf, sha256: String },
}

impl From<TraceText> for Trace {
    fn from(text: TraceText) -> Self {
        let (path, sha256) = match text {
            TraceText::Path(path) => (path, String::new()),
            TraceText::Read { path, sha256 } => (path, sha256),
        };
        Self { path, sha256, requests: Arc::default() }
    }
}

impl From<Trace> for TraceText {
    fn from(trace: Trace) -> Self {
        if trace.sha256.is_empty() {
            Self::Path(trace.path)
        } else {
            Self::Read { path: trace.path, sha256: trace.sha256 }
        }
    }
}

impl Held for Trace {
    const KIND: Kind = Kind::Shape("path");

    #[cfg(test)]
    fn written(&self) -> Option<String> {
        Some(self.path.display().to_string())
    }
}

impl Trace {
    /// Whether the file says when its requests arrive.
    #[must_use]
    pub fn has_arrivals(&self) -> bool {
        self.requests.first().is_some_and(|r| r.arrival_s.is_some())
    }
}

/// One line of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceRequest {
    /// What is asked.
    pub prompt: TracePrompt,
    /// Tokens of the answer; the scenario's own length where the line says none.
    pub output_tokens: Option<u32>,
    /// When it arrives, s since the trace's first arrival; on all lines or on none.
    pub arrival_s: Option<f64>,
}

/// What a line asks.
#[derive(Clone, Debug, PartialEq)]
pub enum TracePrompt {
    /// These messages.
    Messages(Vec<Value>),
    /// A prompt of so many tokens, which vgrid writes.
    Tokens(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_a_path_until_it_was_read_and_carries_its_hash_after_that() {
        let unread: Trace = serde_json::from_str("\"traces/day.jsonl\"").unwrap();
        assert_eq!(serde_json::to_string(&unread).unwrap(), "\"traces/day.jsonl\"");
        let read = Trace { sha256: "00ff".to_owned(), ..unread };
        let json = serde_json::to_string(&read).unwrap();
        assert_eq!(json, r#"{"path":"traces/day.jsonl","sha256":"00ff"}"#);
        assert_eq!(serde_json::from_str::<Trace>(&json).unwrap(), read);
    }
}

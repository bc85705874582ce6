//! What really happened to each request, by the engine's own clock: for tests of clients. Served at `/sim/truth`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

use crate::domain::short_sha256;

/// One request. Offsets are ms since the engine's start on a monotonic clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TruthEntry {
    /// The response's `id`; a client chooses its end with the header `X-Request-Id`.
    pub id: String,
    /// Order of arrival among generation requests, from 0.
    pub index: u64,
    /// SHA-256 of the request's body, first 16 hexadecimal digits: says which of a client's requests it is.
    pub body_sha256: String,
    /// The request was read.
    pub arrival_ms: f64,
    /// The scheduler took it out of the queue for the first time.
    pub admitted_ms: Option<f64>,
    /// The engine gave each token.
    pub token_ms: Vec<f64>,
    /// Each token-bearing event of a stream was handed to the socket's writer.
    pub written_ms: Vec<f64>,
    /// So was a stream's `[DONE]`.
    pub done_ms: Option<f64>,
    /// The answer ended.
    pub end_ms: Option<f64>,
    /// `stop`, `length`, `tool_calls`, `abort` or `error`.
    pub end: Option<String>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the prompt that the prefix cache had.
    pub cached_tokens: usize,
    /// How often the request was thrown out of the KV cache.
    pub preemptions: u32,
    /// The shipped case whose request it was.
    pub case: Option<String>,
    /// How that was answered: `right`, `wrong`, `no_call`, `unwanted_call`, `wrong_tool`, `wrong_argument`, `bad_json`, `bad_schema`.
    pub answered: Option<String>,
    /// The request's body: its prompt tells a test whose request it was.
    #[cfg(test)]
    #[serde(skip)]
    pub body: Vec<u8>,
}

/// One request's entry, shared between the engine and the writer of its stream.
#[derive(Clone, Debug)]
pub(super) struct Record(Arc<Mutex<TruthEntry>>);

impl Record {
    /// Locked access.
    pub(super) fn edit(&self) -> MutexGuard<'_, TruthEntry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest requests.
#[derive(Debug)]
pub(super) struct Truth {
    start: Instant,
    keep: usize,
    entries: Mutex<VecDeque<Record>>,
}

impl Truth {
    pub(super) fn new(keep: usize) -> Self {
        Self { start: Instant::now(), keep, entries: Mutex::new(VecDeque::new()) }
    }

    /// Offset of `at`, ms.
    pub(super) fn offset_ms(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.start).as_secs_f64() * 1e3
    }

    /// Opens the entry of a request that was read at `arrival`.
    pub(super) fn open(&self, id: String, index: u64, arrival: Instant, body: &[u8], prompt_tokens: usize) -> Record {
        let body_sha256 = short_sha256(&[body]);
        let arrival_ms = self.offset_ms(arrival);
        let entry = TruthEntry {
            id,
            index,
            body_sha256,
            arrival_ms,
            prompt_tokens,
            #[cfg(test)]
            body: body.to_vec(),
            ..TruthEntry::default()
        };
        let record = Record(Arc::new(Mutex::new(entry)));
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.keep {
            entries.pop_front();
        }
        entries.push_back(record.clone());
        record
    }

    /// Copies of all entries, oldest first.
    pub(super) fn snapshot(&self) -> Vec<TruthEntry> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|record| record.edit().clone()).collect()
    }
}

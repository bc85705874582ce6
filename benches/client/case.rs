//! What is measured, and what the answers hold.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Over how long the streams of a paced case begin.
const STARTS: Duration = Duration::from_secs(1);

/// What each stream of a warm-up has: its connections are opened, and the allocator settles.
pub const WARM_UP_CHUNKS: u32 = 20;
pub const WARM_UP_GAP_US: u64 = 1_000;

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    pub name: String,
    /// Streams at once.
    pub streams: u32,
    /// Token-bearing events of each.
    pub chunks: u32,
    pub tokens_per_chunk: u32,
    /// Time between two events, us; 0: as fast as the server can.
    pub gap_us: u64,
    /// Whether the server cuts its bytes at random places, also inside events, strings and characters.
    pub split: bool,
}

impl Case {
    /// All cases of the benchmark.
    pub fn all() -> Vec<Self> {
        let case = |name: &str, streams, chunks, gap_us| Self {
            name: format!("{name}, {streams} streams"),
            streams,
            chunks,
            tokens_per_chunk: 1,
            gap_us,
            split: false,
        };
        let mut cases = Vec::new();
        for (streams, chunks) in [(1, 100_000), (32, 3_125), (256, 400), (1_000, 100)] {
            cases.push(case("flood", streams, chunks, 0));
        }
        cases.push(Self { split: true, ..case("flood, cut", 32, 3_125, 0) });
        cases.push(Self { tokens_per_chunk: 4, ..case("flood, 4 tokens a chunk", 32, 3_125, 0) });
        for (streams, chunks) in [(1, 100), (32, 100), (256, 100), (1_000, 100)] {
            cases.push(case("paced 50 ms", streams, chunks, 50_000));
        }
        cases.push(Self { split: true, ..case("paced 50 ms, cut", 256, 100, 50_000) });
        cases.push(Self { tokens_per_chunk: 4, ..case("paced 50 ms, 4 tokens a chunk", 256, 100, 50_000) });
        cases
    }

    /// What a client does before it is measured.
    pub fn warm_up(&self) -> Self {
        Self { chunks: WARM_UP_CHUNKS, gap_us: WARM_UP_GAP_US, ..self.clone() }
    }

    /// When a stream begins, from the case's beginning.
    pub fn start(&self, index: u32) -> Duration {
        if self.gap_us > 0 { STARTS * index / self.streams } else { Duration::ZERO }
    }

    /// What the server is asked to play for a stream.
    pub fn play(&self, index: u32) -> serde_json::Value {
        serde_json::json!({
            "id": index.to_string(), "chunks": self.chunks, "tokens_per_chunk": self.tokens_per_chunk,
            "gap_us": self.gap_us, "split": self.split,
        })
    }
}

/// Texts of tokens, one after the other: spaces, escapes and characters of up to four bytes are where readers go wrong.
pub const TOKENS: [&str; 8] = ["token ", " na\u{ef}ve", "\n", "\"quoted\" ", "\u{1f600}", "{\"a\": [", "\\", "data: "];

/// The text of the chunk with this number.
pub fn text_of(chunk: u32, tokens_per_chunk: u32) -> String {
    let first = chunk * tokens_per_chunk;
    (first..first + tokens_per_chunk).map(|i| TOKENS[i as usize % TOKENS.len()]).collect()
}

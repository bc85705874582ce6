//! Scenarios and the streaming client.

mod assembly;
mod chat;
mod client;
mod clock;
mod context;
mod delta;
mod error;
mod prometheus;
mod prompt;
mod sse;
mod stream;
#[cfg(test)]
mod stream_tests;
mod target;
#[cfg(test)]
mod testserver;

pub use chat::{Answer, AnswerLength, ChatParts, ChatRequest, Delivery, Keep, Reply, Slot, Timeouts, ToolCall};
pub use client::{CallError, Client, TokenCount};
pub use clock::RunClock;
pub use context::{Activity, Context, Progress};
pub use error::{BenchError, Unusable};
pub use prometheus::{Sample, Scrape};
pub use target::{ApiKey, Target};

//! Scenarios and the streaming client.

mod assembly;
mod chat;
mod client;
mod clock;
mod delta;
mod error;
mod prometheus;
mod sse;
mod stream;
mod target;

pub use chat::{Answer, AnswerLength, ChatParts, ChatRequest, Delivery, Keep, Reply, Slot, Timeouts, ToolCall};
pub use client::{CallError, Client, TokenCount};
pub use clock::RunClock;
pub use error::{BenchError, Unusable};
pub use prometheus::{Sample, Scrape};
pub use target::{ApiKey, Target};

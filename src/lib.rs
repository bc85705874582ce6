//! vgrid finds the best way to serve one model with vLLM on the machines you have, and proves it.
//!
//! `ARCHITECTURE.md` shows the floors; each module's first line says what it is for.

mod domain;

mod cases;
mod classify;
mod compose;
mod foreign;
mod grid;
mod prometheus;
mod prune;
mod rank;
mod resolve;
mod resume;
mod stats;
mod yaml;

mod bench;
mod launch;
mod notify;
mod sim;
mod store;
mod telemetry;

mod engine;
mod report;

mod cli;
mod ui;

pub use cli::run;

/// What `benches/` measures of the private modules; no public interface.
#[doc(hidden)]
pub mod bench_support {
    pub use crate::bench::{
        AnswerLength, ChatParts, ChatRequest, Client, Delivery, Keep, Reply, RunClock, Slot, Target, Timeouts,
    };
    pub use crate::domain::Role;
}

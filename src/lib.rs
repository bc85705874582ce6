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

/// What `fuzz/` feeds with anything; no public interface.
#[doc(hidden)]
pub mod fuzz_support {
    use std::path::Path;

    pub use crate::bench::said_by_stream;

    /// Expands the grid that the text may be: its points, up to a hundred, come or are told why not.
    pub fn expand_grid(text: &str) {
        if let Ok(grid) = crate::grid::parse(Path::new("grid.yaml"), text) {
            let told = grid.points_in_run_order().take(100).count();
            assert_eq!(told, grid.count().min(100));
        }
    }

    /// The lines of a log that its diagnosis names as evidence, from 1.
    #[must_use]
    pub fn diagnosed_lines(log: &str) -> Vec<usize> {
        crate::classify::diagnose(log, None, None).evidence.iter().filter_map(|line| line.line_number).collect()
    }
}

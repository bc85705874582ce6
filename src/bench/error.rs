//! Why a scenario has no result: the server's end, ours, or the user's wish.

use crate::domain::ScenarioResult;
use crate::domain::text_enum::text_enum;

text_enum! {
    /// In which way a server became unusable.
    pub enum Unusable {
        /// Nobody listens any more.
        Gone = "gone",
        /// It answers, and says that its engine is dead (`/health` is not 200).
        EngineDead = "engine_dead",
        /// It takes connections and does not answer.
        Hung = "hung",
    }
}

/// Why a scenario could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The server died or hangs: the caller classifies it with the container's state and log.
    #[error("the server became unusable ({how}): {evidence}")]
    ServerUnusable {
        /// In which way.
        how: Unusable,
        /// What was seen, secrets redacted.
        evidence: String,
        /// What had been measured before, marked invalid.
        partial: Box<ScenarioResult>,
    },
    /// Cancelled from outside.
    #[error("the scenario was cancelled")]
    Cancelled {
        /// What had been measured before, marked invalid.
        partial: Box<ScenarioResult>,
    },
    /// The target cannot be addressed at all: a wrong URL, an unknown host, an unusable key.
    #[error("cannot talk to `{base_url}`: {why}")]
    Setup {
        /// The address, without credentials.
        base_url: String,
        /// What is wrong.
        why: String,
    },
    /// A bug of vgrid.
    #[error("internal error in the benchmark: {0}")]
    Internal(String),
}

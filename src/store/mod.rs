//! `runs.db`: migrations, one writer, readers. rusqlite and SQL live nowhere else.
//!
//! Facts are stored per attempt and never replaced; what can be derived is a view (`docs/schema.md`). Every write is one
//! transaction that is on the disk when the call returns (WAL, `synchronous=FULL`), so a call that returned survives a power cut.
//! Calls are synchronous and short, about one fsync each; [`Store::save_scenario`] of thousands of requests, [`Store::requests`],
//! [`Store::ranking_rows`] over thousands of trials and the first [`Store::open`] of a file may take longer (tens of ms to about a second).

mod answers;
mod attempt;
mod chunks;
mod digest;
mod ends;
mod error;
mod event;
mod export;
mod figures;
mod foreign;
mod gpu_baseline;
mod history;
mod lock;
mod machine_lock;
mod migrate;
mod models;
mod open;
mod promotion;
mod quality;
mod read;
mod restoration;
mod rows;
mod scenario;
mod show;
mod starts;
mod sweep;

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod tests_open;
#[cfg(test)]
mod tests_schema;
#[cfg(test)]
mod tests_telemetry;

use std::path::{Path, PathBuf};

use rusqlite::Connection;

pub use answers::ObjectiveEffects;
pub use digest::{RequestSample, RunRow};
pub use ends::{StoredDeadline, Took};
pub use error::StoreError;
pub use event::EventLog;
pub use export::TableReader;
pub use foreign::StoredForeign;
pub use lock::SweepLock;
pub use machine_lock::MachineLock;
pub use models::{
    AttemptEnd, AttemptId, NewSweep, NewTrial, Restoration, RestorationEnd, RunEnd, RunId, ScenarioResultId, SweepKind,
    SweepRow, SweepState, TelemetrySample, Timings, TrialId, TrialRow, TrialState,
};
pub use promotion::{NewPromotion, Promotion, PromotionId, PromotionState};
pub use quality::PairedQuality;
pub use read::MissedThreshold;
pub use show::{AttemptReport, ScenarioReport, TelemetryRow, TrialReport};
pub use starts::StartCount;

/// An open `runs.db`. `Send`, not `Sync`: one thread at a time.
#[derive(Debug)]
pub struct Store {
    conn: Connection,
    path: PathBuf,
}

impl Store {
    /// The file, as it was named.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Turns what SQLite says during `doing` (a verb phrase: `save a scenario`) into a sentence with a way out.
    fn explain(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
        let path = self.path.clone();
        move |error| StoreError::of_sqlite(&path, doing, error)
    }
}

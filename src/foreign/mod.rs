//! Result tables that others measured: read, judged by what they themselves say, ranked apart from what vgrid measured.

mod judge;
mod rank;
mod read;
mod vllm_bench;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{Direction, Settings, text_enum};

pub use rank::{ForeignLine, ForeignRanking, rank};
pub use read::{is_grid, read};

text_enum! {
    /// Where a foreign table comes from.
    pub enum ForeignKind {
        /// A table of results, CSV or JSON, in the columns that `docs/import.md` states.
        Table = "table",
        /// Result files of `vllm bench serve`, or a list of them as `vllm bench sweep` writes.
        VllmBench = "vllm_bench",
    }
}

text_enum! {
    /// What is doubtful about foreign numbers.
    pub enum Doubt {
        /// A row was estimated, not measured.
        Estimated = "estimated",
        /// What is called time to first token is the time of the whole answer.
        TtftIsE2e = "ttft_is_e2e",
        /// One sample, or nobody says how many: no noise is known.
        SingleSample = "single_sample",
        /// More tokens per answer follow from rate and time than the answer's limit allows.
        ThroughputInconsistent = "throughput_inconsistent",
        /// Rows whose settings make the same engine.
        SameEngine = "same_engine",
        /// Less memory than vLLM takes at its start with that setting.
        MemoryContradicted = "memory_contradicted",
        /// No row, or not every row, meets a criterion that the table itself states.
        CriterionFailed = "criterion_failed",
        /// Requests failed.
        RequestsFailed = "requests_failed",
    }
}

/// One number of a foreign row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForeignFigure {
    /// Name with its unit last, as the table or vLLM spells it: `ttft_miss_ms`, `median_ttft_ms`.
    pub name: String,
    /// The number.
    pub value: f64,
    /// Which way is better; None where neither is.
    pub direction: Option<Direction>,
}

/// One config of a foreign table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ForeignRow {
    /// Its name.
    pub config: String,
    /// It was estimated, not measured.
    pub estimated: bool,
    /// Settings, as far as the table says them.
    pub settings: Settings,
    /// Columns that are neither settings nor figures.
    pub remarks: BTreeMap<String, String>,
    /// Samples behind each figure; None where the table does not say.
    pub n: Option<u64>,
    /// Its numbers.
    pub figures: Vec<ForeignFigure>,
}

impl ForeignRow {
    /// A figure's value.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|f| f.name == name).map(|f| f.value)
    }
}

/// Something doubtful, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignDoubt {
    /// What.
    pub doubt: Doubt,
    /// The configs that it concerns; empty is all.
    pub configs: Vec<String>,
    /// The sentence.
    pub text: String,
}

/// A foreign table, as it was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForeignTable {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub kind: ForeignKind,
    /// The config that gains are counted against.
    pub baseline: Option<String>,
    /// The figure to rank by when none is named.
    pub objective: Option<String>,
    /// The rows, in the table's order.
    pub rows: Vec<ForeignRow>,
    /// What is doubtful.
    pub doubts: Vec<ForeignDoubt>,
}

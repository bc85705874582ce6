//! What to rank by.

use serde::{Deserialize, Serialize};

use super::MetricPath;
use super::text_enum::text_enum;

text_enum! {
    /// Which way is better.
    pub enum Direction {
        /// Smaller is better.
        Minimize = "minimize",
        /// Larger is better.
        Maximize = "maximize",
    }
}

impl Direction {
    /// The value turned so that smaller is better.
    #[must_use]
    pub fn cost(self, value: f64) -> f64 {
        match self {
            Self::Minimize => value,
            Self::Maximize => -value,
        }
    }
}

/// One objective of a grid: `throughput: maximize load.output_tokens_per_s`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// The grid's name for it.
    pub name: String,
    /// Which way is better.
    pub direction: Direction,
    /// What it looks at.
    pub metric: MetricPath,
}

impl Direction {
    /// Which way is better for a metric, by its unit: latencies and other times are better when small; rates, ratios and counts when
    /// large.
    #[must_use]
    pub fn usual_for(metric: &MetricPath) -> Self {
        let name = metric.name.as_str();
        let is_time = name.ends_with("_ms") || name.ends_with("_s") && !name.ends_with("_per_s");
        if is_time { Self::Minimize } else { Self::Maximize }
    }
}

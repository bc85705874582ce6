//! What is sent: one happening, and what the sweep has come to.

use std::path::PathBuf;

use serde::Serialize;

use crate::domain::SweepId;
use crate::grid::Happening;

/// One message; as JSON it is what a generic webhook and a hook's standard input get.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Message {
    /// What happened.
    pub(crate) happening: Happening,
    /// A few words.
    pub(crate) title: String,
    /// A sentence or two.
    pub(crate) text: String,
    /// The sweep's number.
    pub(crate) sweep: SweepId,
    /// The grid's name.
    pub(crate) grid: String,
    /// The database.
    pub(crate) database: PathBuf,
    /// How this run ended: `complete`, `incomplete`, `interrupted`, `failed`; null while it goes on.
    pub(crate) ended: Option<String>,
    /// Trials measured, over the sweep's whole history.
    pub(crate) measured: usize,
    /// Trials failed.
    pub(crate) failed: usize,
    /// Trials skipped.
    pub(crate) skipped: usize,
    /// Trials not settled yet.
    pub(crate) left: usize,
    /// This run, s.
    pub(crate) elapsed_s: f64,
    /// The best config by the first objective, when there is one.
    pub(crate) best: Option<Best>,
    /// Whether what served before serves again; null while it is not tried yet.
    pub(crate) restored: Option<bool>,
    /// What went wrong, when it did.
    pub(crate) error: Option<String>,
}

/// The best config so far.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Best {
    /// The config.
    pub(crate) name: String,
    /// The objective's metric.
    pub(crate) metric: String,
    /// Its value, in the metric's unit.
    pub(crate) value: f64,
    /// Gain against the baseline, percent, positive is better.
    pub(crate) gain_percent: Option<f64>,
}

impl Message {
    /// Priority and tag in ntfy's words: urgent when somebody had better get up, high when the night is lost.
    #[must_use]
    pub(crate) fn priority(&self) -> (&'static str, &'static str) {
        match self.happening {
            Happening::RestoreFailed => ("urgent", "rotating_light"),
            Happening::End if self.restored == Some(false) => ("urgent", "rotating_light"),
            Happening::Breaker => ("high", "warning"),
            Happening::End if self.ended.as_deref() == Some("failed") => ("high", "warning"),
            Happening::End => ("default", "bar_chart"),
        }
    }

    /// The variables that a hook gets beside the JSON. What is not known is empty.
    #[must_use]
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        vec![
            ("VGRID_HAPPENING", self.happening.to_string()),
            ("VGRID_TITLE", self.title.clone()),
            ("VGRID_TEXT", self.text.clone()),
            ("VGRID_SWEEP", self.sweep.to_string()),
            ("VGRID_GRID", self.grid.clone()),
            ("VGRID_DB", self.database.to_string_lossy().into_owned()),
            ("VGRID_ENDED", text(&self.ended)),
            ("VGRID_MEASURED", self.measured.to_string()),
            ("VGRID_FAILED", self.failed.to_string()),
            ("VGRID_SKIPPED", self.skipped.to_string()),
            ("VGRID_LEFT", self.left.to_string()),
            ("VGRID_BEST", self.best.as_ref().map(|best| best.name.clone()).unwrap_or_default()),
            ("VGRID_RESTORED", self.restored.map(|restored| restored.to_string()).unwrap_or_default()),
            ("VGRID_ERROR", text(&self.error)),
        ]
    }
}

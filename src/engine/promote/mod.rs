//! Promotion: the exact settings of a measured trial as a compose override, with a checklist; into production and back.

mod apply;
mod canary;
mod env_keys;
mod files;
mod override_file;
mod prepare;
mod rollback;
mod standing;
mod write;

use crate::domain::Outcome;
use crate::store::{AttemptReport, TrialReport};

pub(crate) use apply::{Applied, apply};
pub(crate) use files::FileChange;
pub(crate) use prepare::{Prepared, prepare};
pub(crate) use rollback::{RolledBack, needs_docker, roll_back};
pub(super) use standing::champion;
pub(crate) use write::{Written, write};

/// The attempt whose figures count.
fn measured_attempt(report: &TrialReport) -> Option<&AttemptReport> {
    report.attempt_reports.iter().rev().find(|attempt| attempt.outcome == Some(Outcome::Measured))
}

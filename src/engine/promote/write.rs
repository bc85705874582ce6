//! Writing a promotion's files: journaled first, so that `vgrid rollback` finds them after a kill too.

use std::path::Path;

use crate::store::{NewPromotion, PromotionId, PromotionState, Store};

use super::super::{EngineError, deployment_identity};
use super::files::FileChange;
use super::prepare::Prepared;

/// What was written.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Written {
    /// The promotion's number; None when every file held its text already.
    pub(crate) promotion: Option<PromotionId>,
    /// The files that changed, with their backups.
    pub(crate) files: Vec<FileChange>,
}

/// Writes the override, and the env file when one is given. No container is touched.
///
/// # Errors
/// The database or a file cannot be written.
pub(crate) fn write(prepared: &Prepared, store: &mut Store, env_file: Option<&Path>) -> Result<Written, EngineError> {
    let changes = prepared.changes(env_file)?;
    let files: Vec<FileChange> = changes.iter().map(|(change, _)| change.clone()).collect();
    if files.is_empty() {
        return Ok(Written { promotion: None, files });
    }
    let new = journal_entry(prepared, PromotionState::Written, &files, serde_json::json!([]));
    let id = store.journal_promotion(&new)?;
    for (change, text) in &changes {
        change.write(text)?;
    }
    Ok(Written { promotion: Some(id), files })
}

/// What the journal keeps of a promotion.
pub(super) fn journal_entry(
    prepared: &Prepared,
    state: PromotionState,
    files: &[FileChange],
    serving: serde_json::Value,
) -> NewPromotion {
    NewPromotion {
        deployment: deployment_identity(&prepared.planner),
        trial: prepared.report.trial.trial_id,
        config: prepared.report.trial.name.clone(),
        key: prepared.report.trial.key.clone(),
        state,
        files: serde_json::to_value(files).unwrap_or_default(),
        serving,
        checklist: serde_json::to_value(&prepared.checklist).unwrap_or_default(),
    }
}

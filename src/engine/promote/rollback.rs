//! Undoing a promotion: its container goes, what served before serves again, its files are as they were.

use tokio_util::sync::CancellationToken;

use crate::domain::Event;
use crate::launch::{DockerLauncher, RestoreAction, RestorePlan, Serving, database_label};
use crate::store::{Promotion, PromotionState, Store};

use super::super::{EngineError, Planner, Teller, deployment_identity, restore};
use super::files::{FileChange, Undone};

/// What a rollback did.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct RolledBack {
    /// The promotion that was undone.
    pub(crate) promotion: Promotion,
    /// What serves again, in words.
    pub(crate) serving: Vec<String>,
    /// Files that are as they were.
    pub(crate) files: Vec<std::path::PathBuf>,
    /// Files that somebody changed since, and that were left alone.
    pub(crate) left_alone: Vec<std::path::PathBuf>,
}

/// Whether undoing it takes Docker: it took containers aside, or started one.
pub(crate) fn needs_docker(promotion: &Promotion) -> bool {
    promotion.state != PromotionState::Written
}

/// Undoes a promotion. Idempotent: it goes on where an earlier try was cut short. `planner` knows the secrets that a removed
/// container needs to be made again.
///
/// # Errors
/// Something could not be put back; the promotion then stays open, and the next try goes on.
pub(crate) async fn roll_back(
    docker: Option<&DockerLauncher>,
    store: &mut Store,
    promotion: &Promotion,
    planner: Option<&Planner>,
    why: &str,
    teller: &Teller,
) -> Result<RolledBack, EngineError> {
    let plan = restore::restore_plan(planner.filter(|p| deployment_identity(p) == promotion.deployment));
    let undone = undo(docker, store, promotion, &plan, teller).await;
    match undone {
        Ok((serving, files, left_alone)) => {
            store.promotion_done(promotion.id, PromotionState::RolledBack, Some(why))?;
            let promotion =
                Promotion { state: PromotionState::RolledBack, detail: Some(why.to_owned()), ..promotion.clone() };
            Ok(RolledBack { promotion, serving, files, left_alone })
        }
        Err(error) => {
            let text = plan.redactor.apply(&error.to_string()).into_owned();
            store.promotion_done(promotion.id, PromotionState::Failed, Some(&text))?;
            teller.tell(Event::RestoreFailed {
                what: format!("what served before {}", promotion.config),
                why: text.clone(),
            });
            Err(EngineError::Restore(format!(
                "promotion {} of {} could not be undone: {text}\nrun `vgrid rollback` to try again",
                promotion.id.0, promotion.config
            )))
        }
    }
}

type Parts = (Vec<String>, Vec<std::path::PathBuf>, Vec<std::path::PathBuf>);

async fn undo(
    docker: Option<&DockerLauncher>,
    store: &Store,
    promotion: &Promotion,
    plan: &RestorePlan,
    teller: &Teller,
) -> Result<Parts, EngineError> {
    let mut serves = Vec::new();
    if let Some(docker) = docker.filter(|_| needs_docker(promotion)) {
        if let Some(name) = docker.remove_promoted(&database_label(store.path()), promotion.id.0).await? {
            teller.tell(Event::Notice { text: format!("removed container {name}, which ran {}", promotion.config) });
        }
        for serving in serving_of(promotion)? {
            serves.push(put_back(docker, &serving, plan, teller).await?);
        }
    }
    let changes: Vec<FileChange> = serde_json::from_value(promotion.files.clone())
        .map_err(|e| EngineError::Restore(format!("the journal's record of its files cannot be read: {e}")))?;
    let (mut files, mut left_alone) = (Vec::new(), Vec::new());
    for change in changes {
        match change.undo()? {
            Undone::AsBefore => files.push(change.path),
            Undone::ChangedSince => {
                let kept =
                    change.backup.map(|b| format!("; what it held before is in {}", b.display())).unwrap_or_default();
                let text = format!("{} was changed since, and is left as it is{kept}", change.path.display());
                teller.tell(Event::Warning { text });
                left_alone.push(change.path);
            }
        }
    }
    Ok((serves, files, left_alone))
}

async fn put_back(
    docker: &DockerLauncher,
    serving: &Serving,
    plan: &RestorePlan,
    teller: &Teller,
) -> Result<String, EngineError> {
    let began = std::time::Instant::now();
    teller.tell(Event::Restoring { what: serving.describe() });
    let restored = docker.restore(serving, plan, &CancellationToken::new()).await?;
    let what = format!("container {}", serving.name);
    let (event, said) = match (restored.action, restored.answered) {
        (RestoreAction::ReplacedByStranger, _) => {
            let text = format!("{what} is one that somebody else started since; it is left as it is");
            (Event::Warning { text: text.clone() }, text)
        }
        (_, Some((model, _))) => {
            let what = format!("{what} ({model})");
            (Event::Restored { what: what.clone(), elapsed_s: began.elapsed().as_secs_f64() }, what)
        }
        (RestoreAction::LeftStopped, None) => {
            let text = format!("{what} is back under its name, and stopped");
            (Event::Notice { text: text.clone() }, text)
        }
        (_, None) => {
            let text = format!("{what} runs again; it did not answer before either");
            (Event::Warning { text: text.clone() }, text)
        }
    };
    teller.tell(event);
    Ok(said)
}

fn serving_of(promotion: &Promotion) -> Result<Vec<Serving>, EngineError> {
    serde_json::from_value(promotion.serving.clone())
        .map_err(|e| EngineError::Restore(format!("the journal's record of what served cannot be read: {e}")))
}

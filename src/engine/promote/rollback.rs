//! Undoing a promotion: its container goes, what served before serves again, its files are as they were.

use tokio_util::sync::CancellationToken;

use crate::domain::Event;
use crate::launch::{DockerLauncher, PromotionQuery, RestoreAction, RestorePlan, Serving, database_label};
use crate::store::{Promotion, PromotionState, Store};

use super::super::{EngineError, Planner, Teller, compose_of, deployment_identity, restore};
use super::files::{FileChange, Undone};
use super::prepare::without_detours;

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
        // It goes on serving, so it stands as it is and can be undone later.
        Err(error @ EngineError::NotUndone(_)) if promotion.state == PromotionState::Promoted => Err(error),
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
        let before = serving_of(promotion)?;
        let promoted = docker.promoted(&query(store, promotion, &before)?).await?;
        for serving in &before {
            if let Some(stranger) = docker.stranger_in_place_of(serving, &promoted).await? {
                return Err(not_undone(promotion, &stranger, &serving.name));
            }
        }
        for container in promoted {
            docker.remove_promoted(&container).await?;
            let by = if container.by_compose { " (Compose had made it anew from the override)" } else { "" };
            let text = format!("removed container {}, which ran {}{by}", container.name, promotion.config);
            teller.tell(Event::Notice { text });
        }
        for serving in &before {
            serves.push(put_back(docker, serving, plan, teller).await?);
        }
    }
    let changes = files_of(promotion)?;
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
        // Whatever is not as before was refused by now.
        (RestoreAction::ReplacedByStranger, answered) => {
            let model = answered.map(|(model, _)| format!(" ({model})")).unwrap_or_default();
            let text = format!("{what}{model}, which somebody made anew since as it was before");
            (Event::Notice { text: text.clone() }, text)
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

fn files_of(promotion: &Promotion) -> Result<Vec<FileChange>, EngineError> {
    serde_json::from_value(promotion.files.clone())
        .map_err(|e| EngineError::Restore(format!("the journal's record of its files cannot be read: {e}")))
}

/// How its containers are known. An override that held its text already was written by an earlier promotion.
fn query(store: &Store, promotion: &Promotion, before: &[Serving]) -> Result<PromotionQuery, EngineError> {
    let mut overrides = Vec::new();
    for one in store.promotions(&promotion.deployment)? {
        for path in files_of(&one)?.into_iter().map(|change| change.path) {
            overrides.extend([without_detours(path.clone()), path.canonicalize().unwrap_or_default(), path]);
        }
    }
    Ok(PromotionQuery {
        db: database_label(store.path()),
        promotion: promotion.id.0,
        service: compose_of(&promotion.deployment),
        overrides,
        before: before.iter().map(|serving| serving.container_id.clone()).collect(),
    })
}

fn not_undone(promotion: &Promotion, stranger: &str, name: &str) -> EngineError {
    EngineError::NotUndone(format!(
        "promotion {} of {} is not undone: {stranger} was started since by somebody else, and is neither that config nor \
         what served before; nothing was touched\n\
         to have back what served before: `docker rm -f {name}`, then `vgrid rollback`\n\
         to keep that container there is nothing to do",
        promotion.id.0, promotion.config
    ))
}

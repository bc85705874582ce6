//! What serves when the night is over: the champion, where the grid asks for it and one is named; else what served before.

use crate::grid::After;
use crate::launch::FoundBy;
use crate::store::{RestorationEnd, TrialId};

use super::plan::Planner;
use super::promote::{self, Applied};
use super::sweep::{Ended, Sweep};
use super::{EngineError, restore};

/// Ends the night. `ended` says how the trials ended; None when an error ended them.
///
/// # Errors
/// As [`restore::put_back`].
pub(super) async fn finish(sweep: &mut Sweep, ended: Option<Ended>) -> Result<(), EngineError> {
    if sweep.planner.grid.deployment.after == After::Champion {
        match champion(sweep, ended).await {
            Ok(Some(trial)) => {
                // It serves; what else was stopped meanwhile is left to put back.
                if serve(sweep, trial).await? {
                    return restore::put_back(sweep).await;
                }
            }
            Ok(None) => {}
            Err(error @ EngineError::Restore(_)) => return Err(error),
            // What served before must come back, whatever is wrong with the champion.
            Err(error) => sweep.warn(format!("no champion is put into production: {error}"))?,
        }
    }
    restore::put_back(sweep).await
}

/// Undoes promotions of this deployment that were cut short.
pub(super) async fn undo_cut_short(sweep: &mut Sweep) -> Result<(), EngineError> {
    let deployment = sweep.deployment();
    for promotion in sweep.store.open_promotions(Some(&deployment))? {
        sweep.warn(format!("a promotion of {} was cut short; it is undone first", promotion.config))?;
        let why = "it was cut short, and undone by the next run";
        let (docker, teller) = (sweep.launcher.docker(), &sweep.teller);
        promote::roll_back(docker, &mut sweep.store, &promotion, Some(&sweep.planner), why, teller).await?;
    }
    Ok(())
}

/// The champion that may go into production; else it is said why nobody does.
async fn champion(sweep: &mut Sweep, ended: Option<Ended>) -> Result<Option<TrialId>, EngineError> {
    undo_cut_short(sweep).await?;
    let row = sweep.store.sweep(Some(sweep.id))?;
    let took_nothing_aside = sweep.store.open_restorations(Some(&sweep.deployment()))?.is_empty();
    if took_nothing_aside && !sweep.store.has_attempts(sweep.run)? {
        // This run touched nothing, so nothing is to be exchanged.
        return Ok(None);
    }
    let why = match ended {
        Some(Ended::Complete) => match promote::champion(&sweep.store, &row)? {
            Ok(trial) => return Ok(Some(trial)),
            Err(why) => why,
        },
        Some(Ended::Incomplete | Ended::Interrupted) | None => "the sweep is not complete".to_owned(),
    };
    sweep.notice(format!("no champion is put into production ({why}); what served before is put back"))?;
    Ok(None)
}

/// Puts the champion into production in the place of what was taken aside; false when what served before is still to be put
/// back.
async fn serve(sweep: &mut Sweep, trial: TrialId) -> Result<bool, EngineError> {
    restore::remove_leftover_trials(sweep).await?;
    let deployment = sweep.deployment();
    let mut open = Vec::new();
    let mut aside = Vec::new();
    for restoration in sweep.store.open_restorations(Some(&deployment))? {
        let serving = restore::serving_of(&restoration)?;
        // What only had to be stopped meanwhile is put back afterwards.
        if serving.iter().any(|serving| serving.found_by != FoundBy::Named) {
            aside.extend(serving);
            open.push(restoration);
        }
    }
    let Some(docker) = sweep.launcher.docker().cloned() else { return Ok(false) };
    let name = sweep.store.trial(trial)?.name;
    if let Some(stranger) = aside.iter().find(|serving| serving.found_by == FoundBy::Port) {
        let text = format!("{name} is champion and not put into production: {} must come back", stranger.describe());
        sweep.warn(text)?;
        return Ok(false);
    }
    // The files as they are now: a change during the night is found out.
    let planner = Planner::from_text(&sweep.planner.grid_path, sweep.planner.grid_text.clone())?;
    let prepared = promote::prepare(planner, &sweep.store, trial, Some(&docker), None).await?;
    if prepared.is_as_deployed() {
        sweep.notice(format!("{name} is champion, and is what was deployed; it is put back"))?;
        return Ok(false);
    }
    if let Some(failed) = prepared.failures().next() {
        let text = format!("{name} is champion and not put into production: {}: {}", failed.check, failed.message);
        sweep.warn(text)?;
        return Ok(false);
    }
    sweep.notice(format!("{name} is champion; it is put into production"))?;
    let (teller, cancel) = (sweep.teller.clone(), sweep.cancel.clone());
    let applied = promote::apply(&prepared, None, &docker, &mut sweep.store, Some(aside), (&teller, &cancel)).await?;
    let remark = match &applied {
        Applied::Promoted { promotion, .. } => Some(format!("{name} serves in its place (promotion {})", promotion.0)),
        Applied::RolledBack { .. } => None,
    };
    for restoration in &open {
        sweep.store.restoration_done(restoration.id, RestorationEnd::Restored, remark.as_deref())?;
    }
    match applied {
        Applied::Promoted { container, model, ready_s, .. } => sweep.notice(format!(
            "{name} serves as {model} in container {container}, verified; ready after {ready_s:.1} s; Compose manages it as before: {}; undo: vgrid rollback",
            prepared.usage
        ))?,
        Applied::RolledBack { why, .. } => {
            sweep.warn(format!("{name} is champion and did not hold in production ({why}); what served before serves again"))?;
        }
    }
    Ok(true)
}

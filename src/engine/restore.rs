//! What serves now is noted, journaled and taken aside before the first trial, and put back and verified after the last.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::compose::Service;
use crate::domain::{Event, Redactor, SweepId};
use crate::grid::{After, Limits};
use crate::launch::{self, FoundBy, Launcher, Leftover, RestoreAction, RestorePlan, Serving, ServingQuery, Sidecar};
use crate::store::{Restoration, RestorationEnd, Store, StoreError, SweepLock};

use super::plan::Planner;
use super::record::Recorder;
use super::sweep::Sweep;
use super::{EngineError, Hold, Teller, after, announce, daemon, deployment_identity};

/// How long what served before may take to answer again: a cold boot of a large model.
const RESTORE_DEADLINE: Duration = Duration::from_secs(45 * 60);

/// What there is to take aside.
pub(super) struct WhatServes {
    /// An interrupted run took it aside; it stays the thing to put back.
    owed: Vec<Restoration>,
    /// It serves now; nothing where what served is owed.
    serving: Vec<Serving>,
    /// It runs, and the grid wants it stopped meanwhile.
    beside: Vec<Serving>,
}

impl WhatServes {
    /// Whether something is to be put back.
    pub(super) fn owes(&self) -> bool {
        !(self.owed.is_empty() && self.serving.is_empty() && self.beside.is_empty())
    }
}

/// Removes what a crash of vgrid left.
pub(super) async fn clear(sweep: &mut Sweep) -> Result<(), EngineError> {
    remove_leftover_trials(sweep).await?;
    after::undo_cut_short(sweep).await
}

/// Looks at what serves, and at who beside it may disturb.
pub(super) async fn what_serves(sweep: &mut Sweep) -> Result<WhatServes, EngineError> {
    let (launcher, patience) = (sweep.launcher.clone(), sweep.planner.grid.limits.daemon);
    let (project, service) = (sweep.planner.project.name.clone(), sweep.planner.service_name.clone());
    let look = async || launcher.sidecars(&project, &service).await;
    let sidecars = daemon::patiently(&launcher, patience, |text| sweep.warn(text), look).await?;
    let query = query(&sweep.planner, &sweep.db_label);
    let named = sweep.planner.grid.deployment.also_stop();
    let look = async || launcher.running_by_name(&named, &query).await;
    let beside = daemon::patiently(&launcher, patience, |text| sweep.warn(text), look).await?;
    let stays = |sidecar: &Sidecar| beside.iter().all(|stopped| stopped.container_id != sidecar.id);
    let sidecars: Vec<Sidecar> = sidecars.into_iter().filter(stays).collect();
    for sidecar in &sidecars {
        sweep.warn(format!("{}; it is left alone", sidecar.describe()))?;
    }
    sweep.sidecars = sidecars;
    let owed = sweep.store.open_restorations(Some(&sweep.deployment()))?;
    for restoration in &owed {
        if serving_of(restoration)?.iter().any(|serving| serving.found_by != FoundBy::Named) {
            return Ok(WhatServes { owed, serving: Vec::new(), beside });
        }
    }
    let look = async || launcher.serving_now(&query).await;
    let serving = daemon::patiently(&launcher, patience, |text| sweep.warn(text), look).await?;
    Ok(WhatServes { owed, serving, beside })
}

/// Takes it aside; what serves now is journaled before.
pub(super) async fn take_aside(sweep: &mut Sweep, what: WhatServes) -> Result<(), EngineError> {
    let (launcher, patience) = (sweep.launcher.clone(), sweep.planner.grid.limits.daemon);
    let mut aside = Vec::new();
    for restoration in &what.owed {
        let text = format!("an interrupted run had taken aside {}; it is put back at the end", restoration.what);
        sweep.notice(text)?;
        aside.extend(serving_of(restoration)?);
    }
    // Two entries, so that each can be put back without the other: a champion takes the place of what serves.
    for (serving, doing) in [(what.serving, "taking aside"), (what.beside, "stopping")] {
        if serving.is_empty() {
            continue;
        }
        let what = serving.iter().map(Serving::describe).collect::<Vec<_>>().join(", ");
        let json = serde_json::to_value(&serving).unwrap_or_default();
        let deployment = sweep.deployment();
        sweep.store.journal_restoration(Some(sweep.id), &deployment, &what, &json)?;
        sweep.notice(format!("{doing} {what}; it is put back at the end"))?;
        aside.extend(serving);
    }
    if aside.iter().all(|serving| serving.found_by == FoundBy::Named) {
        sweep.notice("nothing serves there now, so there is nothing to put back at the end")?;
    }
    // A watchdog first: it must not restart what is taken aside next.
    aside.sort_by_key(|serving| serving.found_by != FoundBy::Named);
    for serving in &aside {
        let aside = async || launcher.displace(serving).await;
        daemon::patiently(&launcher, patience, |text| sweep.warn(text), aside).await?;
    }
    Ok(())
}

/// Removes trials' servers that an interrupted run left, and says so.
pub(super) async fn remove_leftover_trials(sweep: &mut Sweep) -> Result<(), EngineError> {
    for leftover in remove_leftovers(&sweep.launcher, &sweep.store, &sweep.db_label).await? {
        sweep.notice(removed(&leftover))?;
    }
    Ok(())
}

/// Puts back what was taken aside and verifies it; nothing taken aside is nothing to do. Not cancelled by the first Ctrl-C: a
/// second one ends vgrid at once.
pub(super) async fn put_back(sweep: &mut Sweep) -> Result<(), EngineError> {
    let (launcher, patience) = (sweep.launcher.clone(), sweep.planner.grid.limits.daemon);
    let mut unsaved = None;
    let tell = |text| {
        let told = sweep.recorder.record_or_tell(&mut sweep.store, Event::Warning { text });
        unsaved = unsaved.take().or(told.err());
        Ok(())
    };
    daemon::await_back(&launcher, patience, tell).await?;
    let leftovers = remove_leftovers(&sweep.launcher, &sweep.store, &sweep.db_label).await?;
    let deployment = sweep.deployment();
    let plan = restore_plan(Some(&sweep.planner));
    for leftover in leftovers {
        let event = Event::Notice { text: removed(&leftover) };
        unsaved = unsaved.or(sweep.recorder.record_or_tell(&mut sweep.store, event).err());
    }
    for mut restoration in sweep.store.open_restorations(Some(&deployment))? {
        if sweep.planner.grid.deployment.after == After::Stop {
            leave_stopped(&mut restoration)?;
        }
        let with = (&plan, patience);
        restore_one(&launcher, &mut sweep.store, &restoration, with, Some(&mut sweep.recorder), &sweep.teller).await?;
    }
    unsaved.map_or(Ok(()), |error| Err(error.into()))
}

/// `after: stop`: what served gets its name back, and stays stopped.
fn leave_stopped(restoration: &mut Restoration) -> Result<(), EngineError> {
    let mut serving = serving_of(restoration)?;
    serving.iter_mut().filter(|s| s.found_by != FoundBy::Named).for_each(|s| s.running = false);
    restoration.serving = serde_json::to_value(&serving).unwrap_or_default();
    Ok(())
}

/// What `vgrid restore` did.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Recovered {
    /// Trial containers that were removed, by name.
    pub(crate) removed: Vec<String>,
    /// What was put back.
    pub(crate) restored: Vec<String>,
}

/// Finishes what an interrupted sweep left: removes its trial containers, puts back what served before. `planner` knows the
/// secrets that a removed container needs to be made again; without it they come from the environment alone.
///
/// # Errors
/// A sweep is running; Docker or the database is gone; something could not be put back.
pub(crate) async fn recover(
    launchers: &[Launcher],
    db: &Path,
    planner_of: impl Fn(SweepId) -> Option<Planner>,
    teller: &Teller,
) -> Result<Recovered, EngineError> {
    let mut store = Store::open(db)?;
    let open = store.open_restorations(None)?;
    // Only containers are ever taken aside.
    let with_docker = launchers.iter().find(|l| l.docker().is_some());
    let mut holds = Vec::new();
    for deployment in open.iter().map(|r| r.deployment.as_str()).collect::<BTreeSet<_>>() {
        holds.push(Hold::take(db, deployment, with_docker.and_then(Launcher::docker))?);
    }
    for hold in &holds {
        store.close_open_attempts(hold.in_database())?;
    }
    let mut leftovers = Vec::new();
    for launcher in launchers {
        leftovers.extend(remove_leftovers(launcher, &store, &launch::database_label(db)).await?);
    }
    for leftover in &leftovers {
        let event = Event::Notice { text: removed(leftover) };
        match leftover.sweep.parse().map(SweepId).ok().filter(|id| store.sweep(Some(*id)).is_ok()) {
            // Its text is our own; no secret can be in it.
            Some(sweep) => Recorder::new(sweep, Redactor::default(), teller.clone()).record(&mut store, event)?,
            None => teller.tell(event),
        }
    }
    let mut restored = Vec::new();
    let Some(launcher) = with_docker.filter(|_| !open.is_empty()) else {
        return Ok(Recovered { removed: leftovers.into_iter().map(|l| l.name).collect(), restored });
    };
    for restoration in &open {
        let planner =
            restoration.sweep.and_then(&planner_of).filter(|p| deployment_identity(p) == restoration.deployment);
        let redactor = planner.as_ref().map(|p| p.redactor.clone()).unwrap_or_default();
        let mut recorder = restoration.sweep.map(|sweep| Recorder::new(sweep, redactor, teller.clone()));
        let plan = restore_plan(planner.as_ref());
        let patience = planner.as_ref().map_or(Limits::DAEMON, |planner| planner.grid.limits.daemon);
        let put_back =
            restore_one(launcher, &mut store, restoration, (&plan, patience), recorder.as_mut(), teller).await;
        if let (Err(error @ EngineError::Restore(_)), Some(planner), Some(sweep)) =
            (&put_back, &planner, restoration.sweep)
        {
            announce::restore_failed_later(planner, sweep, &store, error, teller).await;
        }
        put_back?;
        restored.push(restoration.what.clone());
    }
    Ok(Recovered { removed: leftovers.into_iter().map(|l| l.name).collect(), restored })
}

/// Whether a trial's server is none that was left, but at work: another vgrid carries its sweep out now.
pub(crate) fn is_at_work(store: &Store, leftover: &Leftover) -> bool {
    let sweep = leftover.sweep.parse().ok().and_then(|id| store.sweep(Some(SweepId(id))).ok());
    let holder = sweep.and_then(|sweep| SweepLock::holder(store.path(), &sweep.deployment));
    holder.is_some_and(|holder| holder.pid != Some(std::process::id()))
}

async fn remove_leftovers(launcher: &Launcher, store: &Store, db_label: &str) -> Result<Vec<Leftover>, EngineError> {
    Ok(launcher.remove_leftovers(db_label, &|leftover| is_at_work(store, leftover)).await?)
}

fn removed(leftover: &Leftover) -> String {
    format!("removed {}, which an interrupted run had left (trial {})", leftover.name, leftover.trial)
}

/// Puts one thing back. What serves matters more than what is written about it: a database that cannot be written is an error
/// only after the restoration was tried. Without a recorder (it belongs to no sweep) events are only told.
async fn restore_one(
    launcher: &Launcher,
    store: &mut Store,
    restoration: &Restoration,
    (plan, patience): (&RestorePlan, Duration),
    mut recorder: Option<&mut Recorder>,
    teller: &Teller,
) -> Result<(), EngineError> {
    let mut unsaved: Option<StoreError> = None;
    let mut say = |store: &mut Store, event: Event| match recorder.as_mut() {
        Some(recorder) => {
            let error = recorder.record_or_tell(store, event).err();
            unsaved = unsaved.take().or(error);
        }
        None => teller.tell(event),
    };
    let began = Instant::now();
    say(store, Event::Restoring { what: restoration.what.clone() });
    let never = CancellationToken::new();
    let mut failed = None;
    let servings = match serving_of(restoration) {
        Ok(servings) => servings,
        Err(error) => {
            let why = error.to_string();
            failed = Some(why.clone());
            say(store, Event::RestoreFailed { what: restoration.what.clone(), why });
            Vec::new()
        }
    };
    for serving in servings {
        let what = format!("container {}", serving.name);
        let tell = |text| {
            say(store, Event::Warning { text });
            Ok(())
        };
        let work = async || launcher.restore(&serving, plan, &never).await;
        let event = match daemon::patiently(launcher, patience, tell, work).await {
            Ok(restored) => match (restored.action, restored.answered) {
                (_, Some((model, _))) => {
                    Event::Restored { what: format!("{what} ({model})"), elapsed_s: began.elapsed().as_secs_f64() }
                }
                (RestoreAction::LeftStopped, None) => {
                    Event::Notice { text: format!("{what} is back under its name, and stopped") }
                }
                (_, None) if serving.found_by == FoundBy::Named => Event::Notice { text: format!("{what} runs again") },
                (_, None) => Event::Warning { text: format!("{what} runs again; it did not answer before either") },
            },
            Err(error) => {
                let why = plan.redactor.apply(&error.to_string()).into_owned();
                failed = Some(why.clone());
                Event::RestoreFailed { what: restoration.what.clone(), why }
            }
        };
        say(store, event);
        if failed.is_some() {
            break;
        }
    }
    if let Some(why) = failed {
        let noted = store.restoration_done(restoration.id, RestorationEnd::Failed, Some(&why));
        let mut text = format!("{} could not be put back: {why}\nrun `vgrid restore` to try again", restoration.what);
        if let Err(error) = noted {
            text.push_str(&format!("\nand {error}"));
        }
        return Err(EngineError::Restore(text));
    }
    store.restoration_done(restoration.id, RestorationEnd::Restored, None)?;
    unsaved.map_or(Ok(()), |error| Err(error.into()))
}

/// Ids of the containers that interrupted sweeps of this database took aside and still owe; none where there is no database yet.
///
/// # Errors
/// The database or its journal cannot be read.
pub(super) fn owed(db: &Path) -> Result<Vec<String>, EngineError> {
    let open = match Store::open_read_only(db) {
        Ok(store) => store.open_restorations(None)?,
        // An older one is brought up to date when the sweep begins; what it owes is asked for again then.
        Err(StoreError::Missing(_) | StoreError::Older { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut ids = Vec::new();
    for restoration in &open {
        ids.extend(serving_of(restoration)?.into_iter().map(|serving| serving.container_id));
    }
    Ok(ids)
}

pub(super) fn serving_of(restoration: &Restoration) -> Result<Vec<Serving>, EngineError> {
    serde_json::from_value(restoration.serving.clone())
        .map_err(|e| EngineError::Restore(format!("the journal's record of {} cannot be read: {e}", restoration.what)))
}

/// What to look for; `db_label` names the database whose leftovers are removed first.
pub(super) fn query(planner: &Planner, db_label: &str) -> ServingQuery {
    let api_key = Planner::api_key(&planner.service);
    ServingQuery::of(&planner.project.name, &planner.service_name, &planner.service, api_key)
        .without_trials_of(db_label.to_owned())
}

/// How to put back; without a planner from the environment alone.
pub(super) fn restore_plan(planner: Option<&Planner>) -> RestorePlan {
    let nothing = Service::default();
    let service = planner.map_or(&nothing, |planner| &planner.service);
    RestorePlan {
        server_port: launch::server_port(service),
        model_id: None,
        api_key: Planner::api_key(service),
        redactor: planner.map(|planner| planner.redactor.clone()).unwrap_or_default(),
        deadline: RESTORE_DEADLINE,
        secrets: launch::secrets_of(service),
    }
}

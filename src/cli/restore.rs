//! `vgrid restore` and `vgrid clean`: put right what an interrupted sweep left.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::engine::{self, Hold, Teller, promote};
use crate::launch::{self, DockerLauncher, Launcher, Leftover, ProcessLauncher};
use crate::store::{Store, StoreError};

use super::args::{CleanArgs, RestoreArgs};
use super::exit::{Exit, Stop};
use super::run::{engine_stop, registered, store_stop};
use super::{drive, print};

/// Removes what is ours, puts back what served before, verifies it.
pub(crate) async fn restore(args: &RestoreArgs, db: &Path) -> Result<Exit, Stop> {
    let (taken_aside, promotions) = Store::open_existing(db)
        .and_then(|store| Ok((store.open_restorations(None)?, store.open_promotions(None)?)))
        .map_err(store_stop)?;
    let launchers = launchers(db, !taken_aside.is_empty() || !promotions.is_empty()).await?;
    let planner_of = |sweep| {
        let store = Store::open_read_only(db).ok()?;
        registered(&store, &store.sweep(Some(sweep)).ok()?).ok()
    };
    let (sender, events) = tokio::sync::mpsc::unbounded_channel();
    let teller = Teller::new(sender);
    let work = async {
        let docker = launchers.iter().find_map(Launcher::docker);
        for promotion in &promotions {
            let mut store = Store::open(db)?;
            let _hold = Hold::take(db, &promotion.deployment, docker)?;
            let planner = super::promote::planner_of(&store, promotion);
            let why = "it was cut short, and undone by `vgrid restore`";
            promote::roll_back(docker, &mut store, promotion, planner.as_ref(), why, &teller).await?;
        }
        engine::recover(&launchers, db, planner_of, &teller).await
    };
    let recovered =
        drive::drive(work, events, &CancellationToken::new(), drive::Farewell::SWEEP).await?.map_err(engine_stop)?;
    if args.json {
        print::json(&recovered)?;
    } else if recovered.restored.is_empty() && promotions.is_empty() {
        print::out("nothing was taken aside; nothing to put back");
    }
    Ok(Exit::Ok)
}

/// Removes leftover trial servers of this database, and nothing else.
pub(crate) async fn clean(args: &CleanArgs, db: &Path) -> Result<Exit, Stop> {
    let label = launch::database_label(db);
    let mut found = Vec::new();
    let store = match Store::open_read_only(db) {
        Ok(store) => Some(store),
        // Without a database nobody is at work in it.
        Err(StoreError::Missing(_)) => None,
        Err(error) => return Err(store_stop(error)),
    };
    let at_work = |leftover: &Leftover| store.as_ref().is_some_and(|store| engine::is_at_work(store, leftover));
    for launcher in launchers(db, false).await? {
        let all = launcher.leftovers(&label).await.map_err(|e| Stop::preflight(e.to_string()))?;
        for working in all.iter().filter(|leftover| at_work(leftover)) {
            print::err(format!("{} is left alone: its sweep runs", working.name));
        }
        found.extend(if args.dry_run {
            all.into_iter().filter(|leftover| !at_work(leftover)).collect()
        } else {
            launcher.remove_leftovers(&label, &at_work).await.map_err(|e| Stop::preflight(e.to_string()))?
        });
    }
    if args.json {
        print::json(&serde_json::json!({ "removed": !args.dry_run, "leftovers": found }))?;
        return Ok(Exit::Ok);
    }
    let verb = if args.dry_run { "would remove" } else { "removed" };
    for leftover in &found {
        print::out(format!("{verb} {} (trial {} of sweep {})", leftover.name, leftover.trial, leftover.sweep));
    }
    if found.is_empty() {
        print::out("no leftovers of this database");
    }
    Ok(Exit::Ok)
}

/// Docker where it answers (or must), and local processes.
async fn launchers(db: &Path, docker_must_answer: bool) -> Result<Vec<Launcher>, Stop> {
    let mut launchers = Vec::new();
    match DockerLauncher::connect().await {
        Ok(docker) => launchers.push(Launcher::Docker(docker)),
        Err(error) if docker_must_answer => return Err(Stop::preflight(error.to_string())),
        Err(error) => print::err(format!("warning: containers were not looked at: {error}")),
    }
    launchers.push(Launcher::Process(ProcessLauncher::new(engine::state_folder(db))));
    Ok(launchers)
}

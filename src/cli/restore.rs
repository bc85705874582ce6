//! `vgrid restore` and `vgrid clean`: put right what an interrupted sweep left.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::engine::{self, Planner, Teller};
use crate::launch::{self, DockerLauncher, Launcher};
use crate::store::Store;

use super::args::{CleanArgs, RestoreArgs};
use super::exit::{Exit, Stop};
use super::run::{engine_stop, store_stop};
use super::{drive, print};

/// Removes what is ours, puts back what served before, verifies it.
pub(crate) async fn restore(args: &RestoreArgs, db: &Path) -> Result<Exit, Stop> {
    let launcher = launcher().await?;
    let planner_of = |sweep| {
        let store = Store::open_read_only(db).ok()?;
        let row = store.sweep(Some(sweep)).ok()?;
        Planner::from_text(&row.grid_path, store.grid_text(sweep).ok()?).ok()
    };
    Store::open_read_only(db).map_err(store_stop)?;
    let (sender, events) = tokio::sync::mpsc::unbounded_channel();
    let teller = Teller::new(sender);
    let work = engine::recover(&launcher, db, planner_of, &teller);
    let recovered = drive::drive(work, events, &CancellationToken::new()).await?.map_err(engine_stop)?;
    if args.json {
        print::json(&recovered)?;
    } else if recovered.restored.is_empty() {
        print::out("nothing was taken aside; nothing to put back");
    }
    Ok(Exit::Ok)
}

/// Removes leftover trial containers of this database, and nothing else.
pub(crate) async fn clean(args: &CleanArgs, db: &Path) -> Result<Exit, Stop> {
    let launcher = launcher().await?;
    let label = launch::database_label(db);
    let found = if args.dry_run { launcher.leftovers(&label).await } else { launcher.remove_leftovers(&label).await };
    let found = found.map_err(|e| Stop::preflight(e.to_string()))?;
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

async fn launcher() -> Result<Launcher, Stop> {
    DockerLauncher::connect().await.map(Launcher::Docker).map_err(|e| Stop::preflight(e.to_string()))
}

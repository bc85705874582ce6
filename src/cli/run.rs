//! `vgrid run` and `vgrid resume`.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::domain::{Redactor, SweepId};
use crate::engine::{
    self, Deadline, Ended, EngineError, FindingKind, Images, Planner, SimImage, Summary, Sweep, SweepOptions, Teller,
};
use crate::grid::parse_duration;
use crate::report;
use crate::store::{Store, StoreError, SweepKind, SweepRow};

use super::args::{ResumeArgs, RunArgs, TimeArgs};
use super::exit::{Exit, Stop};
use super::{champions, check, drive, print};

/// Runs or continues the sweep of a grid.
pub(crate) async fn run(args: RunArgs, db: &Path) -> Result<Exit, Stop> {
    let planner = Planner::load(&args.grid)?;
    let deadline = deadline(&args.time)?;
    for name in &args.only {
        if planner.grid.find(name).is_none() {
            return Err(Stop::usage(format!("--only: the grid has no config `{name}`; `vgrid plan` lists them")));
        }
    }
    let options = SweepOptions {
        new: args.new,
        resume: None,
        only: args.only,
        limit: args.limit,
        deadline,
        measure_twins: args.measure_twins,
        no_prune: args.no_prune,
        verify_pruned: args.verify_pruned,
    };
    sweep(planner, db, options, Images::new(), args.dry_run).await
}

/// Continues a sweep from the database: the grid's text is the registered one.
pub(crate) async fn resume(args: ResumeArgs, db: &Path) -> Result<Exit, Stop> {
    let deadline = deadline(&args.time)?;
    let (id, images, planner) = {
        let store = Store::open_existing(db).map_err(store_stop)?;
        let wanted = match args.sweep {
            Some(id) => Some(SweepId(id)),
            // Where all are finished, the newest says so itself.
            None => store.newest_unfinished_sweep().map_err(store_stop)?,
        };
        let row = store.sweep(wanted).map_err(store_stop)?;
        let images = store.images(row.id).map_err(store_stop)?;
        (row.id, images, registered(&store, &row)?)
    };
    let options = SweepOptions { resume: Some(id), deadline, ..SweepOptions::default() };
    sweep(planner, db, options, images, false).await
}

/// When the run must be over, as the command line says.
fn deadline(args: &TimeArgs) -> Result<Option<Deadline>, Stop> {
    let wrong = |flag: &str, why: String| Stop::usage(format!("{flag}: {why}"));
    let until = args.until.as_deref().map(str::parse).transpose().map_err(|why: String| wrong("--until", why))?;
    let budget = args.budget.as_deref().map(parse_duration).transpose().map_err(|why| wrong("--for", why))?;
    Deadline::asked(until, budget).map_err(Stop::usage)
}

/// The plan of a sweep as it was registered. The database holds no secrets: where the grid's text had some, they come from its
/// file, if that still says the same.
pub(crate) fn registered(store: &Store, row: &SweepRow) -> Result<Planner, Stop> {
    if row.kind == SweepKind::Bench {
        return Err(Stop::usage(format!(
            "sweep {} is a run of `vgrid bench` against {}: vgrid did not start that server, so there is nothing to continue, put back \
             or promote",
            row.id, row.grid_name
        )));
    }
    let text = store.grid_text(row.id).map_err(store_stop)?;
    if !text.contains(Redactor::mask()) {
        return Ok(Planner::from_text(&row.grid_path, text)?);
    }
    let planner = Planner::load(&row.grid_path)?;
    if planner.shown_grid(&planner.grid_text) == planner.shown_grid(&text) {
        return Ok(planner);
    }
    Err(Stop::usage(format!(
        "the grid of sweep {} holds secrets, which the database does not keep, and {} has changed since; `vgrid run` starts a \
         sweep of what it says now",
        row.id,
        row.grid_path.display()
    )))
}

async fn sweep(
    planner: Planner,
    db: &Path,
    options: SweepOptions,
    began_with: Images,
    dry_run: bool,
) -> Result<Exit, Stop> {
    for warning in &planner.warnings {
        print::err(warning.to_string());
    }
    let sim = if dry_run { SimImage::Leave } else { SimImage::Build };
    if sim == SimImage::Build && planner.images().iter().any(|image| image == engine::SIM_IMAGE) {
        print::err(format!("packing this binary into the image {} where it has changed", engine::SIM_IMAGE));
    }
    let ready = engine::inspect(&planner, db, sim, &began_with).await;
    if ready.failures().next().is_some() {
        let wrong: Vec<_> = ready.findings.iter().filter(|f| f.kind != FindingKind::Ok).collect();
        print::err(check::lines(&wrong));
        return Err(Stop::preflight("this machine is not ready for the sweep; nothing was touched"));
    }
    if dry_run {
        print::out(check::lines(&ready.findings.iter().collect::<Vec<_>>()));
        super::plan::print_table(&planner, &ready.image_ids, usize::MAX)?;
        return Ok(Exit::Ok);
    }
    let Some(launcher) = ready.launcher else {
        return Err(Stop::preflight("no launcher; run `vgrid check` on the grid"));
    };
    let (sender, events) = tokio::sync::mpsc::unbounded_channel();
    let cancel = CancellationToken::new();
    let control = (Teller::new(sender), cancel.clone());
    let prepared = Sweep::prepare(planner, launcher, db, ready.image_ids, options, control).map_err(engine_stop)?;
    let summary = drive::drive(prepared.run(), events, &cancel, drive::Farewell::SWEEP).await?.map_err(engine_stop)?;
    if let Err(error) = keep_answers(db, summary.sweep) {
        print::err(format!("the views `effects` and `ranking` are not refreshed: {error}"));
    }
    champions::print_after_run(db, summary.sweep)?;
    if summary.ended == Ended::Interrupted {
        print::out("\nthe same command goes on with what is left; `vgrid resume` does so from the database alone");
    }
    Ok(exit_of(&summary))
}

/// Derives what the views cannot compute, or not fast enough, now that the run has ended.
fn keep_answers(db: &Path, sweep: SweepId) -> Result<(), StoreError> {
    let mut store = Store::open(db)?;
    let effects = report::objective_effects(&store, sweep)?;
    store.save_effects(sweep, &effects)?;
    store.keep_ranking(sweep)
}

fn exit_of(summary: &Summary) -> Exit {
    match summary.ended {
        Ended::Interrupted => Exit::Interrupted,
        Ended::Complete | Ended::Incomplete if summary.measured == 0 => Exit::NothingMeasured,
        Ended::Complete | Ended::Incomplete if summary.failed > 0 => Exit::SomeFailed,
        Ended::Complete | Ended::Incomplete => Exit::Ok,
    }
}

/// A store error as a stop: wrong usage where the user named something absent, else a fault.
pub(crate) fn store_stop(error: StoreError) -> Stop {
    match error {
        StoreError::Missing(_) | StoreError::NotFound(_) => Stop::usage(error.to_string()),
        StoreError::InUse { .. } => Stop::preflight(error.to_string()),
        other => Stop::Said(Exit::Internal, other.to_string()),
    }
}

/// An engine error as a stop.
pub(crate) fn engine_stop(error: EngineError) -> Stop {
    match error {
        EngineError::Store(error) => store_stop(error),
        EngineError::Input(diagnostics) => Stop::Input(diagnostics),
        EngineError::Launch(error) => Stop::preflight(error.to_string()),
        EngineError::NotUndone(text) => Stop::Said(Exit::SomeFailed, text),
        error @ (EngineError::Restore(_) | EngineError::File { .. }) => Stop::Said(Exit::Internal, error.to_string()),
    }
}

//! `vgrid status`: what is running, done, failed, left; best so far.

use std::path::Path;

use owo_colors::OwoColorize;

use crate::domain::SweepId;
use crate::rank;
use crate::store::{Store, SweepLock, SweepRow, SweepState, TrialRow, TrialState};
use crate::ui::format::{duration, shorten};

use super::args::SweepArgs;
use super::exit::{Exit, Stop};
use super::print;
use super::run::store_stop;

/// Prints where a sweep stands.
pub(crate) fn status(args: &SweepArgs, db: &Path) -> Result<Exit, Stop> {
    let store = Store::open_read_only(db).map_err(store_stop)?;
    let mut sweep = store.sweep(args.sweep.map(SweepId)).map_err(store_stop)?;
    let mut trials = store.trials(sweep.id).map_err(store_stop)?;
    let holder = SweepLock::holder(db, &sweep.deployment).map(|h| h.to_string());
    if holder.is_none() {
        say_that_it_died(&mut sweep, &mut trials);
    }
    let pending = store.open_restorations(Some(&sweep.deployment)).map_err(store_stop)?;
    let objectives = store.objectives(sweep.id).map_err(store_stop)?;
    let candidates = store.candidates(sweep.id).map_err(store_stop)?;
    let best: Vec<_> = rank::rank_all(&candidates, &objectives, sweep.baseline.as_deref());
    let left_s = time_left_s(&trials);
    if args.json {
        print::json(&serde_json::json!({
            "sweep": sweep,
            "process": holder,
            "time_left_s": left_s,
            "not_restored": pending.iter().map(|r| &r.what).collect::<Vec<_>>(),
            "best": best.iter().map(|r| serde_json::json!({
                "objective": r.objective.name, "sentence": r.sentence,
            })).collect::<Vec<_>>(),
            "trials": trials,
        }))?;
        return Ok(Exit::Ok);
    }
    print::out(headline(&sweep, holder.as_deref()));
    let mut table = print::table(&["#", "config", "state", "tries", "ready", "took", "detail"]);
    for t in &trials {
        table.add_row(cells(t));
    }
    print::out(print::text_of(&table));
    for ranking in &best {
        print::out(format!("best by {}: {}", ranking.objective.name, ranking.sentence));
    }
    if let Some(left_s) = left_s {
        print::out(format!("about {} left", duration(left_s)));
    }
    for restoration in &pending {
        let text =
            format!("{} is still taken aside; it is put back at the end, or now by `vgrid restore`", restoration.what);
        print::out(text.yellow().to_string());
    }
    Ok(Exit::Ok)
}

fn headline(sweep: &SweepRow, holder: Option<&str>) -> String {
    let running = holder.map(|h| format!(", run by {h}")).unwrap_or_default();
    format!(
        "sweep {} of {} is {}{running}: {} trials, {} measured, {} failed, {} skipped, {} left; since {}",
        sweep.id,
        sweep.grid_name,
        sweep.state,
        sweep.trials,
        sweep.measured,
        sweep.failed,
        sweep.skipped,
        sweep.remaining,
        sweep.started_at
    )
}

/// A killed vgrid could not say that it ended; that nobody holds the lock tells.
fn say_that_it_died(sweep: &mut SweepRow, trials: &mut [TrialRow]) {
    if sweep.state == SweepState::Running {
        sweep.state = SweepState::Interrupted;
    }
    for trial in trials.iter_mut().filter(|t| t.state == TrialState::Running) {
        trial.state = TrialState::Interrupted;
    }
}

/// Trials left times the mean duration of those that ran.
fn time_left_s(trials: &[TrialRow]) -> Option<f64> {
    let took: Vec<f64> = trials.iter().filter_map(|t| t.elapsed_s).collect();
    let waiting =
        |t: &&TrialRow| matches!(t.state, TrialState::Pending | TrialState::Running | TrialState::Interrupted);
    let left = trials.iter().filter(waiting).count();
    (left > 0 && !took.is_empty()).then(|| took.iter().sum::<f64>() / took.len() as f64 * left as f64)
}

fn cells(t: &TrialRow) -> Vec<String> {
    let state = match t.state {
        TrialState::Measured => t.state.green().to_string(),
        TrialState::Failed => t.state.red().to_string(),
        TrialState::Running => t.state.cyan().to_string(),
        TrialState::Interrupted => t.state.yellow().to_string(),
        TrialState::Pending | TrialState::Skipped => t.state.dimmed().to_string(),
    };
    let why = t.cause.map(|c| c.to_string()).or_else(|| t.skip.map(|s| s.to_string()));
    let detail = match (why, &t.detail) {
        (Some(why), Some(detail)) => format!("{why}: {}", shorten(detail.trim(), 90)),
        (Some(why), None) => why,
        (None, detail) => detail.clone().unwrap_or_default(),
    };
    vec![
        t.position.to_string(),
        t.name.clone(),
        state,
        t.attempts.to_string(),
        t.ready_s.map(duration).unwrap_or_default(),
        t.elapsed_s.map(duration).unwrap_or_default(),
        detail,
    ]
}

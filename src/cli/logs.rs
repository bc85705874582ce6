//! `vgrid logs`: the engine's log of one trial.

use std::path::Path;

use crate::domain::SweepId;
use crate::store::{Store, SweepKind};

use super::args::LogsArgs;
use super::exit::{Exit, Stop};
use super::print;
use super::run::store_stop;

/// Prints the log of an attempt.
pub(crate) fn logs(args: &LogsArgs, db: &Path) -> Result<Exit, Stop> {
    let store = Store::open_read_only(db).map_err(store_stop)?;
    let id = store.find_trial(args.sweep.map(SweepId), &args.trial).map_err(store_stop)?;
    let report = store.show(id).map_err(store_stop)?;
    let attempts = &report.attempt_reports;
    let attempt = match args.attempt {
        Some(n) => attempts.iter().find(|a| a.number == n),
        None => attempts.last(),
    };
    let Some(attempt) = attempt else {
        let which = args.attempt.map(|n| format!(" {n}")).unwrap_or_default();
        return Err(Stop::usage(format!(
            "trial {} has no attempt{which}; it was tried {} times",
            report.trial.name,
            attempts.len()
        )));
    };
    let Some(path) = &attempt.log_path else {
        let sweep = store.sweep(Some(report.trial.sweep)).map_err(store_stop)?;
        if sweep.kind == SweepKind::Bench {
            return Err(Stop::usage(format!(
                "trial {} is a run of `vgrid bench`: vgrid did not start {} and has no log of it",
                report.trial.trial_id.0, sweep.grid_name
            )));
        }
        return Err(Stop::usage(format!(
            "attempt {} of {} has no log: it never started",
            attempt.number, report.trial.name
        )));
    };
    let bytes = std::fs::read(path).map_err(|e| {
        Stop::usage(format!(
            "cannot read the log {}: {e}; logs stand beside the database they belong to",
            path.display()
        ))
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let from = args.tail.map_or(0, |n| lines.len().saturating_sub(n));
    if args.json {
        print::json(&serde_json::json!({ "path": path, "lines": lines.get(from..) }))?;
    } else {
        for line in lines.get(from..).unwrap_or_default() {
            print::out(line);
        }
    }
    Ok(Exit::Ok)
}

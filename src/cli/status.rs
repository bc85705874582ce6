//! `vgrid status`: what is running, done, failed, left; best so far.

use std::path::Path;

use owo_colors::OwoColorize;

use crate::domain::reading::{duration, figure, judged_gain, shorten};
use crate::domain::{Purpose, SweepId};
use crate::rank::{self, Answer, Ranking};
use crate::store::{StartCount, Store, SweepLock, SweepRow, SweepState, TrialRow, TrialState};

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
    let candidates = store.candidates_by(sweep.id, &objectives).map_err(store_stop)?;
    let best: Vec<_> = rank::rank_all(&candidates, &objectives, sweep.baseline.as_deref());
    let starts = store.start_counts(sweep.id).map_err(store_stop)?;
    let starts_left = if holder.is_some() { store.starts_left(sweep.id).map_err(store_stop)? } else { None };
    let left_s = time_left_s(&trials, starts_left);
    if args.json {
        print::json(&serde_json::json!({
            "sweep": sweep,
            "process": holder,
            "starts": starts,
            "starts_left": starts_left,
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
    let shown = |t: &&TrialRow| trials.len() <= ROWS || t.state != TrialState::Pending;
    for t in trials.iter().filter(shown).rev().take(ROWS).collect::<Vec<_>>().into_iter().rev() {
        table.add_row(cells(t));
    }
    print::keep_whole(&mut table, 1);
    print::out(print::text_of(&table));
    if trials.len() > ROWS {
        print::out(format!("  the last {ROWS} of {} trials that are not pending; --json has all", trials.len()));
    }
    if let Some(line) = further_starts(&starts) {
        print::out(line);
    }
    for ranking in &best {
        print::out(format!("best by {}: {}{}", ranking.objective.name, ranking.sentence, of_the_leader(ranking)));
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

/// Trials that are shown.
const ROWS: usize = 300;

/// The leader's figure and gain; nothing where nobody leads.
fn of_the_leader(ranking: &Ranking) -> String {
    let Some((row, value)) = ranking.leader().and_then(|row| Some((row, row.value?))) else { return String::new() };
    let figure = figure(&ranking.objective.metric.name, value, row.unit.as_deref().unwrap_or_default());
    let is_baseline = ranking.baseline.as_deref() == Some(row.name.as_str());
    let gain = row.gain_percent.filter(|_| !is_baseline).map(|gain| judged_gain(gain, row.gain_is_real));
    let gain = gain.map(|gain| format!(", {gain} against the baseline")).unwrap_or_default();
    let whose =
        if matches!(ranking.answer, Answer::Tied { .. }) { format!("{} has ", row.name) } else { String::new() };
    format!(": {whose}{figure}{gain}")
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

/// Starts left, as the run itself counts them or else trials left, times the mean duration of the trials that ran.
fn time_left_s(trials: &[TrialRow], starts_left: Option<u64>) -> Option<f64> {
    let took: Vec<f64> = trials.iter().filter_map(|t| t.elapsed_s).collect();
    let waiting =
        |t: &&TrialRow| matches!(t.state, TrialState::Pending | TrialState::Running | TrialState::Interrupted);
    let left = starts_left.unwrap_or_else(|| trials.iter().filter(waiting).count() as u64);
    (left > 0 && !took.is_empty()).then(|| took.iter().sum::<f64>() / took.len() as f64 * left as f64)
}

/// `beside the first start of each config: 2 of 3 controls, 2 finalists measured`; `None` when there are none.
fn further_starts(starts: &[StartCount]) -> Option<String> {
    let parts: Vec<String> = starts
        .iter()
        .filter(|c| c.purpose != Purpose::Trial)
        .map(|c| {
            let of = if c.measured < c.begun { format!(" of {}", c.begun) } else { String::new() };
            let plural = if c.begun == 1 { "" } else { "s" };
            format!("{}{of} {}{plural}", c.measured, c.purpose)
        })
        .collect();
    (!parts.is_empty()).then(|| format!("measured beside the first start of each config: {}", parts.join(", ")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_starts_are_counted_by_purpose_and_a_night_without_them_says_nothing() {
        let count = |purpose, begun, measured| StartCount { purpose, begun, measured };
        assert_eq!(further_starts(&[count(Purpose::Trial, 9, 8)]), None);
        let line = further_starts(&[
            count(Purpose::Trial, 9, 9),
            count(Purpose::Control, 3, 2),
            count(Purpose::Finalist, 1, 1),
        ]);
        assert_eq!(
            line.as_deref(),
            Some("measured beside the first start of each config: 2 of 3 controls, 1 finalist")
        );
    }
}

//! `vgrid status`: what is running, done, failed, left; best so far.

use std::path::Path;

use owo_colors::OwoColorize;

use crate::domain::reading::{duration, figure, judged_gain};
use crate::domain::{Purpose, SweepId};
use crate::rank::{self, Answer, Ranking};
use crate::store::{StartCount, Store, SweepKind, SweepLock, SweepRow, SweepState, TrialRow, TrialState};

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
    let left_running = if holder.is_none() { store.open_servers(sweep.id).map_err(store_stop)? } else { Vec::new() };
    let pending = store.open_restorations(Some(&sweep.deployment)).map_err(store_stop)?;
    let objectives = store.objectives(sweep.id).map_err(store_stop)?;
    let candidates = store.candidates_by(sweep.id, &objectives).map_err(store_stop)?;
    let best: Vec<_> = rank::rank_all(&candidates, &objectives, sweep.baseline.as_deref());
    let starts = store.start_counts(sweep.id).map_err(store_stop)?;
    let starts_left = if holder.is_some() { store.starts_left(sweep.id).map_err(store_stop)? } else { None };
    let left_s = time_left_s(&trials, starts_left);
    let benches = store.bench_runs().map_err(store_stop)?;
    if args.json {
        print::json(&serde_json::json!({
            "sweep": sweep,
            "process": holder,
            "starts": starts,
            "starts_left": starts_left,
            "time_left_s": left_s,
            "left_running": left_running,
            "not_restored": pending.iter().map(|r| &r.what).collect::<Vec<_>>(),
            "best": best.iter().map(|r| serde_json::json!({
                "objective": r.objective.name, "sentence": r.sentence,
            })).collect::<Vec<_>>(),
            "trials": trials,
            "bench_runs": benches.iter().map(|b| serde_json::json!({
                "sweep": b.id, "server": b.grid_name, "started_at": b.started_at, "state": b.state,
            })).collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Ok);
    }
    print::out(headline(&sweep, holder.as_deref()));
    if let Some(why) = sweep.why.as_ref().filter(|_| holder.is_none() && sweep.state != SweepState::Finished) {
        print::out(format!("it ended early: {why}").yellow().to_string());
    }
    let is_shown = |t: &&TrialRow| trials.len() <= ROWS || t.state != TrialState::Pending;
    let shown: Vec<&TrialRow> = trials.iter().filter(is_shown).collect();
    print::out(table(&shown[shown.len().saturating_sub(ROWS)..]));
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
        let when = if holder.is_some() { "left" } else { "to measure when it goes on" };
        print::out(format!("about {} {when}", duration(left_s)));
    }
    for server in &left_running {
        let text = format!(
            "{} of {} may still run: vgrid died in that trial; the next run removes it, or now `vgrid clean`, or `vgrid restore`",
            server.id, server.config
        );
        print::out(text.yellow().to_string());
    }
    for restoration in &pending {
        let text =
            format!("{} is still taken aside; it is put back at the end, or now by `vgrid restore`", restoration.what);
        print::out(text.yellow().to_string());
    }
    if let Some(line) = bench_runs(&benches, sweep.id) {
        print::out(line);
    }
    Ok(Exit::Ok)
}

/// Runs of `vgrid bench` that are named; the database has all.
const BENCHES_SHOWN: usize = 3;

/// `also here: 4 runs of vgrid bench, the newest sweep 9 (http://h:8000), ...`; `None` without others than the one that is shown.
fn bench_runs(benches: &[SweepRow], shown: SweepId) -> Option<String> {
    let others: Vec<&SweepRow> = benches.iter().filter(|b| b.id != shown).collect();
    let named: Vec<String> =
        others.iter().take(BENCHES_SHOWN).map(|b| format!("sweep {} ({})", b.id, b.grid_name)).collect();
    let plural = if others.len() == 1 { "run" } else { "runs" };
    let more = if others.len() > named.len() { ", ..." } else { "" };
    (!named.is_empty()).then(|| {
        format!(
            "also here: {} {plural} of `vgrid bench`: {}{more}; `vgrid status N` shows one",
            others.len(),
            named.join(", ")
        )
    })
}

/// A line per trial; on a narrow terminal the detail stands under it, and beside long names only the essential columns.
fn table(trials: &[&TrialRow]) -> String {
    let header = ["#", "config", "state", "tries", "ready", "took", "detail"];
    let under = print::is_narrow();
    let long_names = trials.iter().any(|t| t.name.chars().count() > 36);
    let columns: &[usize] = match (under, long_names) {
        (false, _) => &[0, 1, 2, 3, 4, 5, 6],
        (true, false) => &[0, 1, 2, 3, 4, 5],
        (true, true) => &[0, 1, 2, 5],
    };
    let mut table = print::table(&columns.iter().map(|column| header[*column]).collect::<Vec<_>>());
    let mut details = vec![String::new()];
    for t in trials {
        let cells = cells(t);
        table.add_row(columns.iter().map(|column| cells[*column].as_str()));
        details.push(print::wrapped(&cells[6], 5));
    }
    print::keep_whole(&mut table, 1);
    let text = print::text_of(&table);
    let lines: Vec<&str> = text.lines().collect();
    if !under || lines.len() != details.len() {
        return text;
    }
    let lines = lines.into_iter().zip(&details).flat_map(|(line, detail)| [line, detail]);
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
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
    let what = match sweep.kind {
        SweepKind::Grid => "of",
        SweepKind::Bench => "(`vgrid bench`) of",
    };
    format!(
        "sweep {} {what} {} is {}{running}: {} trials, {} measured, {} failed, {} skipped, {} left; since {}",
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
        sweep.why = Some("vgrid died".to_owned());
    }
    for trial in trials.iter_mut().filter(|t| t.state == TrialState::Running) {
        trial.state = TrialState::Interrupted;
    }
}

/// Starts left, as the run itself counts them or else trials left, times the mean duration of the trials that were measured: a
/// failed one is short.
fn time_left_s(trials: &[TrialRow], starts_left: Option<u64>) -> Option<f64> {
    let measured = trials.iter().filter(|t| t.state == TrialState::Measured);
    let took: Vec<f64> = measured.filter_map(|t| t.elapsed_s).collect();
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
        // An explanation may begin with its reason's own word.
        (Some(why), Some(detail)) if detail.starts_with(&why) => detail.trim().to_owned(),
        (Some(why), Some(detail)) => format!("{why}: {}", detail.trim()),
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

    fn trial(state: &str, elapsed_s: Option<f64>, more: (&str, &str)) -> TrialRow {
        let row = serde_json::json!({
            "trial_id": 1, "sweep": 1, "position": 1, "name": "c", "key": "k", "is_baseline": false, "state": state, "cause": null,
            "skip": null, "detail": null, "attempts": 1, "phase": null, "started_at": null, "ended_at": null, "ready_s": null,
            "elapsed_s": elapsed_s
        });
        let mut row: TrialRow = serde_json::from_value(row).unwrap();
        if !more.0.is_empty() {
            (row.skip, row.detail) = (Some(more.0.parse().unwrap()), Some(more.1.to_owned()));
        }
        row
    }

    #[test]
    fn how_long_the_rest_takes_is_told_by_measured_trials_alone() {
        let none = ("", "");
        let trials = [trial("failed", Some(0.4), none), trial("pending", None, none)];
        assert_eq!(time_left_s(&trials, None), None, "a failed one is short");
        let measured = trial("measured", Some(60.0), none);
        let trials = [
            measured,
            trial("failed", Some(0.4), none),
            trial("pending", None, none),
            trial("interrupted", None, none),
        ];
        assert_eq!(time_left_s(&trials, None), Some(120.0));
    }

    #[test]
    fn an_explanation_that_begins_with_its_reason_is_told_once() {
        let detail = |more| cells(&trial("skipped", None, more)).pop().unwrap();
        assert_eq!(
            detail(("implied", "implied by trial 3 (c1): it is longer")),
            "implied by trial 3 (c1): it is longer"
        );
        assert_eq!(detail(("twin", "resolves to c1")), "twin: resolves to c1");
    }

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

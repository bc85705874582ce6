//! `vgrid pareto`: the configs that nothing beats in two or three figures at once.

use std::path::Path;

use itertools::Itertools;
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::domain::reading::{figure, interval};
use crate::domain::{Objective, SweepId, Verdict};
use crate::rank::{Candidate, Figure, GateOutcome, pareto_front};
use crate::store::Store;

use super::args::ParetoArgs;
use super::champions::{check_measured, objective_by};
use super::exit::{Exit, Stop};
use super::print;
use super::run::store_stop;

/// One config of the answer.
#[derive(Debug, Serialize)]
struct Point<'a> {
    /// Its name.
    name: &'a str,
    /// Its trial.
    trial_id: i64,
    /// Whether no other config is at least as good in every figure and better in one.
    on_front: bool,
    /// Its figures, in the order of the metrics.
    figures: Vec<&'a Figure>,
}

/// Prints the front of a sweep.
pub(crate) fn pareto(args: &ParetoArgs, db: &Path) -> Result<Exit, Stop> {
    let store = Store::open_read_only(db).map_err(store_stop)?;
    let sweep = store.sweep(args.sweep.map(SweepId)).map_err(store_stop)?;
    let goals: Vec<Objective> = args.metrics.iter().map(|m| objective_by(m)).collect::<Result<_, _>>()?;
    let candidates = store.candidates_by(sweep.id, &goals).map_err(store_stop)?;
    let measured: Vec<&Candidate> = candidates.iter().filter(|c| figures(c, &goals).is_some()).collect();
    if measured.is_empty() {
        for goal in &goals {
            check_measured(&store, sweep.id, &goal.metric)?;
        }
        let names: Vec<String> = goals.iter().map(|g| g.metric.to_string()).collect();
        return Err(Stop::usage(format!(
            "no config of sweep {} has a usable figure of {}",
            sweep.id,
            names.join(" and ")
        )));
    }
    let passing: Vec<&Candidate> =
        measured.iter().copied().filter(|c| c.gates_outcome() == GateOutcome::Pass).collect();
    let none_qualifies = passing.is_empty();
    let asked = if none_qualifies { &measured } else { &passing };
    let points = front(asked, &goals);
    if args.json {
        print::json(&serde_json::json!({
            "sweep": sweep.id,
            "grid": sweep.grid_name,
            "metrics": goals.iter().map(|g| serde_json::json!({ "metric": g.metric, "direction": g.direction })).collect::<Vec<_>>(),
            "none_meets_gates": none_qualifies,
            "left_out_by_gates": measured.len() - asked.len(),
            "points": points,
        }))?;
        return Ok(Exit::Ok);
    }
    let say = |text: String| print::out(print::sentence(&text, 0));
    if none_qualifies {
        say("no config meets the gates: a best effort follows".red().to_string());
    }
    let on_front = points.iter().filter(|p| p.on_front).count();
    let stand = if on_front == 1 { "stands" } else { "stand" };
    let by: Vec<String> = goals.iter().map(|g| format!("{} {}", g.direction, g.metric)).collect();
    let by = by.join(", ");
    say(format!(
        "{on_front} of {} configs {stand} on the Pareto front of {by}: no other is better in every figure",
        points.len()
    ));
    match measured.len() - asked.len() {
        0 => {}
        1 => say("1 more does not pass the gates and is left out".to_owned()),
        n => say(format!("{n} more do not pass the gates and are left out")),
    }
    print::out(table(&points, &goals, args.all));
    Ok(Exit::Ok)
}

/// Its figures of all metrics; `None` when one is missing or invalid.
fn figures<'a>(candidate: &'a Candidate, goals: &[Objective]) -> Option<Vec<&'a Figure>> {
    let usable =
        |g: &Objective| candidate.figure(&g.metric).filter(|f| f.verdict != Verdict::Invalid && f.judged().is_some());
    goals.iter().map(usable).collect()
}

/// Every config with its figures, the best by the first metric first.
fn front<'a>(candidates: &[&'a Candidate], goals: &[Objective]) -> Vec<Point<'a>> {
    let found: Vec<(&Candidate, Vec<&Figure>)> =
        candidates.iter().filter_map(|c| Some((*c, figures(c, goals)?))).collect();
    let costs: Vec<Vec<f64>> = found
        .iter()
        .map(|(_, f)| f.iter().zip(goals).filter_map(|(f, g)| Some(g.direction.cost(f.judged()?))).collect())
        .collect();
    let on_front = pareto_front(&costs);
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_by(|a, b| costs[*a][0].total_cmp(&costs[*b][0]).then_with(|| found[*a].0.name.cmp(&found[*b].0.name)));
    let point = |index: usize| {
        let (candidate, figures) = &found[index];
        let (name, trial_id) = (candidate.name.as_str(), candidate.trial_id);
        Point { name, trial_id, on_front: on_front[index], figures: figures.clone() }
    };
    order.into_iter().map(point).collect()
}

/// The widest form that there is room for: the intervals behind the figures, under them, or a line per metric under the config.
fn table(points: &[Point<'_>], goals: &[Objective], all: bool) -> String {
    let points: Vec<&Point<'_>> = points.iter().filter(|p| all || p.on_front).collect();
    let mark =
        |point: &Point<'_>| all.then(|| if point.on_front { "on it".green().to_string() } else { String::new() });
    let front = all.then(|| "front".to_owned());
    for (gap, dot) in [("  ", "."), ("\n", ".\n")] {
        let metrics = goals.iter().map(|g| g.metric.to_string().replace('.', dot));
        let header: Vec<String> = std::iter::once("config".to_owned()).chain(metrics).chain(front.clone()).collect();
        let row = |point: &&Point<'_>| {
            let figures =
                point.figures.iter().map(|f| value_and_interval(f).iter().filter(|t| !t.is_empty()).join(gap));
            std::iter::once(point.name.to_owned()).chain(figures).chain(mark(point)).collect::<Vec<_>>()
        };
        let rows: Vec<Vec<String>> = points.iter().map(row).collect();
        if print::width_of_rows(rows.iter().chain([&header])) <= print::width() {
            let mut table = print::table(&header.iter().map(String::as_str).collect::<Vec<_>>());
            table.add_rows(rows);
            return print::text_of(&table);
        }
    }
    let lines = points.iter().flat_map(|point| {
        let line = |(goal, figure): (&Objective, &&Figure)| {
            let [value, interval] = value_and_interval(figure);
            vec![String::new(), goal.metric.to_string(), value, interval]
        };
        goals.iter().zip(&point.figures).map(line)
    });
    let around = points.iter().flat_map(|point| {
        let mark = mark(point).filter(|mark| !mark.is_empty()).map(|mark| format!(" ({mark})")).unwrap_or_default();
        let name = format!(" {}{mark}", point.name);
        (0..goals.len()).map(move |at| [if at == 0 { name.clone() } else { String::new() }, String::new()])
    });
    print::rows_within(&["", "metric", "value", "95 % interval"], lines.collect(), &around.collect::<Vec<_>>())
}

/// A figure with its unit, and its interval, which may be empty.
fn value_and_interval(f: &Figure) -> [String; 2] {
    let (name, unit) = (f.metric.path.name.as_str(), f.metric.unit.as_str());
    let (low, high) = f.interval();
    [figure(name, f.metric.value, unit), interval(name, low, high, unit).unwrap_or_default()]
}

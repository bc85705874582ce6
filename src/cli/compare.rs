//! `vgrid compare`: configs side by side.

use std::path::Path;

use itertools::Itertools;
use owo_colors::OwoColorize;

use crate::domain::reading::{self, duration, figure, gain, number, shorten};
use crate::domain::{MetricPath, SweepId, Verdict};
use crate::report::{Comparison, Difference, FigureLine, compare as side_by_side};
use crate::store::{Store, TrialId, TrialReport};

use super::args::CompareArgs;
use super::exit::{Exit, Stop};
use super::figures::order_of_points;
use super::print;
use super::run::store_stop;

/// Statistics that are shown without `--all`.
const SHOWN: &[&str] = &["p50", "p95"];

/// Figures that are shown with `--all` only: about the load itself, or in step with another figure.
const ONLY_WITH_ALL: &[&str] = &[
    "achieved_concurrency",
    "client_cpu_ratio",
    "client_lag_ms",
    "e2e_ms",
    "input_tokens_per_s",
    "itl_ms",
    "queue_ms",
    "requests_per_s",
    "tokens_per_chunk",
    "whole_run_output_tokens_per_s",
];

/// Prints the comparison.
pub(crate) fn compare(args: &CompareArgs, db: &Path) -> Result<Exit, Stop> {
    let store = Store::open_read_only(db).map_err(store_stop)?;
    let ids: Vec<TrialId> =
        args.trials.iter().map(|wanted| find(&store, args.sweep, wanted)).collect::<Result<_, _>>()?;
    if let Some(twice) = ids.iter().enumerate().find(|(i, id)| ids[..*i].contains(id)) {
        return Err(Stop::usage(format!("`{}` is named twice; name different trials", args.trials[twice.0])));
    }
    let trials: Vec<TrialReport> =
        ids.iter().map(|id| store.show(*id)).collect::<Result<_, _>>().map_err(store_stop)?;
    let figures: Vec<_> =
        ids.iter().map(|id| store.figures_over_starts(*id)).collect::<Result<_, _>>().map_err(store_stop)?;
    let comparison = side_by_side(&trials, &figures);
    if args.json {
        print::json(&comparison)?;
    } else {
        print::out(render(&comparison, args.all));
    }
    Ok(Exit::Ok)
}

/// `NAME` in the sweep of the arguments, or `SWEEP:NAME`. A config's name holds no colon.
fn find(store: &Store, sweep: Option<i64>, wanted: &str) -> Result<TrialId, Stop> {
    let (sweep, name) = match wanted.split_once(':') {
        Some((number, name)) => {
            let number =
                number.parse().map_err(|_| Stop::usage(format!("`{number}` in `{wanted}` is no sweep's number")))?;
            (Some(number), name)
        }
        None => (sweep, wanted),
    };
    store.find_trial(sweep.map(SweepId), name).map_err(store_stop)
}

fn render(c: &Comparison, all: bool) -> String {
    let mut out = vec![configs(c)];
    if !c.settings.is_empty() {
        out.push(format!("{}\n{}", "what differs".bold(), settings(c)));
    }
    for warning in &c.warnings {
        out.push(print::sentence(&format!("{} {warning}", "note:".yellow()), 0));
    }
    let shown: Vec<&FigureLine> = c.figures.iter().filter(|line| all || is_shown(line, &c.figures)).collect();
    for scenario in scenarios(&shown) {
        let mut lines: Vec<&FigureLine> =
            shown.iter().filter(|line| line.metric.scenario.as_str() == scenario).copied().collect();
        lines.sort_by(|a, b| order_of_points(&a.metric, &b.metric));
        let doubtful = doubtful(c, &lines);
        let note = doubtful.iter().flatten().map(|(_, note)| note.as_str()).join(", ");
        let note = if note.is_empty() { String::new() } else { format!(" ({note}: `vgrid show` says why)") };
        out.push(format!("{}{note}\n{}", scenario.bold(), figures(c, &lines, &doubtful)));
    }
    if shown.len() < c.figures.len() {
        out.push(format!("{} more figures with --all", c.figures.len() - shown.len()).dimmed().to_string());
    }
    if c.figures.is_empty() {
        out.push("they have no figure in common".to_owned());
    }
    if !c.counters.is_empty() {
        out.push(format!("{}\n{}", "engine counters".bold(), counters(c)));
    }
    out.join("\n\n")
}

fn is_shown(line: &FigureLine, all: &[FigureLine]) -> bool {
    let statistic = line.metric.statistic.as_deref().is_none_or(|s| SHOWN.contains(&s));
    let same = |other: &&FigureLine| other.metric.scenario == line.metric.scenario;
    statistic
        && is_essential(&line.metric)
        && !line.metric.repeats_what_was_sent(all.iter().filter(same).map(|other| &other.metric))
}

/// Of each config: what is the matter with all of its figures in a scenario, said once; `None` where nothing is, or not with all.
fn doubtful(c: &Comparison, lines: &[&FigureLine]) -> Vec<Option<(Verdict, String)>> {
    let of = |index: usize| {
        let mut verdicts = lines.iter().filter_map(|line| Some(line.values.get(index)?.as_ref()?.verdict));
        let first = verdicts.next().filter(|verdict| *verdict != Verdict::Valid)?;
        verdicts.all(|other| other == first).then(|| (first, format!("{} {first}", letter(index))))
    };
    (0..c.configs.len()).map(of).collect()
}

/// Whether a figure says something of its own about the engine.
pub(super) fn is_essential(metric: &MetricPath) -> bool {
    !ONLY_WITH_ALL.contains(&metric.name.as_str())
}

/// A letter per config, so that the columns of figures stay narrow.
fn letter(index: usize) -> String {
    char::from_u32('A' as u32 + index as u32)
        .filter(char::is_ascii_uppercase)
        .map_or_else(|| format!("#{}", index + 1), String::from)
}

fn configs(c: &Comparison) -> String {
    let several_sweeps = c.configs.iter().any(|x| x.sweep != c.configs[0].sweep);
    let mut table = print::table(&["", "config", "state", "ready", ""]);
    for (index, config) in c.configs.iter().enumerate() {
        let mut remarks = Vec::new();
        if config.is_baseline {
            remarks.push("baseline".to_owned());
        }
        if several_sweeps {
            remarks.push(format!("sweep {}", config.sweep));
        }
        table.add_row([
            letter(index),
            config.name.clone(),
            config.state.to_string(),
            config.ready_s.map(duration).unwrap_or_default(),
            remarks.join(", "),
        ]);
    }
    print::text_of(&table)
}

fn settings(c: &Comparison) -> String {
    let header: Vec<String> = std::iter::once("setting".to_owned()).chain((0..c.configs.len()).map(letter)).collect();
    let mut table = print::table(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for difference in &c.settings {
        let values = difference.values.iter().map(|v| match v {
            Some(value) => shorten(value, 40),
            None if difference.resolved => "not said".to_owned(),
            None => "as deployed".to_owned(),
        });
        let name = if difference.resolved { difference.name.clone() } else { format!("{} (asked)", difference.name) };
        table.add_row(std::iter::once(name).chain(values));
    }
    print::keep_whole(&mut table, 0);
    print::text_of(&table)
}

fn scenarios<'a>(lines: &[&'a FigureLine]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for line in lines {
        let name = line.metric.scenario.as_str();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Columns that the figures of so many configs take side by side, about: a metric's name, and for each config its value and how it
/// differs from the first.
fn columns_side_by_side(configs: usize) -> usize {
    let interval = if print::is_wide() { 18 } else { 0 };
    34 + configs * (16 + interval) + configs.saturating_sub(1) * 22
}

/// The lines of one scenario. `doubtful` has what was said of all figures of a config at once.
fn figures(c: &Comparison, lines: &[&FigureLine], doubtful: &[Option<(Verdict, String)>]) -> String {
    if columns_side_by_side(c.configs.len()) > print::width() {
        stacked(lines, doubtful)
    } else {
        beside(c, lines, doubtful)
    }
}

/// A metric's path without its scenario.
fn name_in(metric: &MetricPath) -> String {
    let path = metric.to_string();
    path.strip_prefix(metric.scenario.as_str()).map_or(path.as_str(), |rest| rest.trim_start_matches('.')).to_owned()
}

/// That a figure is doubtful, where it was not said of all.
fn doubt(verdict: Verdict, said: Option<&(Verdict, String)>) -> String {
    match verdict {
        Verdict::Valid => String::new(),
        Verdict::Suspect | Verdict::Invalid if said.is_some_and(|(of_all, _)| *of_all == verdict) => String::new(),
        Verdict::Suspect | Verdict::Invalid => format!(" ({verdict})"),
    }
}

/// One line per config under the metric's name: for many configs, or a narrow terminal.
fn stacked(lines: &[&FigureLine], doubtful: &[Option<(Verdict, String)>]) -> String {
    let mut table = print::table(&["metric", "", "value", "95 % interval", "against A", ""]);
    for line in lines {
        for (index, value) in line.values.iter().enumerate() {
            let Some(v) = value else { continue };
            let (of, unit) = (line.metric.name.as_str(), line.unit.as_str());
            let invalid = line.values.iter().flatten().any(|v| v.verdict == Verdict::Invalid);
            let against = v.against_first.as_ref().filter(|_| index > 0);
            let [text, means] =
                against.map_or_else(|| [String::new(), String::new()], |d| difference(d, line, invalid));
            let is_first = line.values[..index].iter().all(Option::is_none);
            // Where there is little room, a unit that the metric's name ends in is not said again.
            let named = ["ms", "s", "tokens_per_s", "requests_per_s"].contains(&unit);
            let value = if print::is_narrow() && named {
                reading::bare_figure(of, v.value, unit)
            } else {
                figure(of, v.value, unit)
            };
            table.add_row([
                if is_first { name_in(&line.metric) } else { String::new() },
                letter(index),
                format!("{value}{}", doubt(v.verdict, doubtful[index].as_ref())),
                reading::interval(of, v.ci_low, v.ci_high, unit).unwrap_or_default(),
                text,
                means,
            ]);
        }
    }
    print::keep_whole(&mut table, 0);
    print::text_of(&table)
}

fn beside(c: &Comparison, lines: &[&FigureLine], doubtful: &[Option<(Verdict, String)>]) -> String {
    let mut header = vec!["metric".to_owned(), letter(0)];
    for index in 1..c.configs.len() {
        header.extend([letter(index), format!("{} - {}", letter(index), letter(0)), String::new()]);
    }
    let mut table = print::table(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for line in lines {
        let mut row = vec![name_in(&line.metric)];
        for (index, value) in line.values.iter().enumerate() {
            let said = doubtful[index].as_ref();
            row.push(value.as_ref().map(|v| with_interval(v, line, said)).unwrap_or_default());
            if index > 0 {
                let against = value.as_ref().and_then(|v| v.against_first.as_ref());
                let invalid = line.values.iter().flatten().any(|v| v.verdict == Verdict::Invalid);
                row.extend(against.map_or_else(|| [String::new(), String::new()], |d| difference(d, line, invalid)));
            }
        }
        table.add_row(row);
    }
    print::keep_whole(&mut table, 0);
    print::text_of(&table)
}

/// On a wide terminal the interval stands behind the figure, on a narrow one under it.
fn with_interval(v: &crate::report::ComparedFigure, line: &FigureLine, said: Option<&(Verdict, String)>) -> String {
    let (name, unit) = (line.metric.name.as_str(), line.unit.as_str());
    let mut text = figure(name, v.value, unit);
    if let Some(interval) = reading::interval(name, v.ci_low, v.ci_high, unit) {
        let gap = if print::is_wide() { "  " } else { "\n" };
        text.push_str(&format!("{gap}{interval}"));
    }
    text + &doubt(v.verdict, said)
}

/// The difference and what it means.
fn difference(d: &Difference, line: &FigureLine, invalid: bool) -> [String; 2] {
    let absolute = || reading::difference(&line.metric.name, d.difference, &line.unit);
    let text = d.percent.map_or_else(absolute, gain);
    match (d.real, d.better) {
        (Some(true), Some(true)) => [text.green().to_string(), "better".green().to_string()],
        (Some(true), Some(false)) => [text.red().to_string(), "worse".red().to_string()],
        (Some(true), None) => [text, "differs".to_owned()],
        (Some(false), _) => [text.dimmed().to_string(), "noise".dimmed().to_string()],
        (None, _) if invalid => [text.dimmed().to_string(), "invalid".to_owned()],
        (None, _) => [text.dimmed().to_string(), "no interval".dimmed().to_string()],
    }
}

fn counters(c: &Comparison) -> String {
    let header: Vec<String> =
        ["scenario", "counter"].map(str::to_owned).into_iter().chain((0..c.configs.len()).map(letter)).collect();
    let mut table = print::table(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for line in &c.counters {
        let name = line.name.trim_start_matches("vllm:").trim_end_matches("_total").to_owned();
        let grown = line.grown.iter().map(|g| g.map(|g| format!("+{}", number(g))).unwrap_or_default());
        table.add_row([line.scenario.clone(), name].into_iter().chain(grown));
    }
    print::text_of(&table)
}

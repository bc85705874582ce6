//! `vgrid champions`: who is best by each objective, and whether the numbers support it.

use std::collections::BTreeMap;
use std::path::Path;

use owo_colors::OwoColorize;

use crate::domain::reading::{figure, interval, judged_gain};
use crate::domain::{Direction, MetricPath, MetricPathError, Objective, SweepId, Verdict, did_you_mean};
use crate::rank::{self, Answer, Ranking, Row, Simplest, Standing};
use crate::store::{MissedThreshold, Store, StoreError, SweepRow};

use super::args::ChampionsArgs;
use super::exit::{Exit, Stop};
use super::run::store_stop;
use super::{answers, print};

/// Prints the rankings of a sweep.
pub(crate) fn champions(args: &ChampionsArgs, db: &Path) -> Result<Exit, Stop> {
    let store = Store::open_read_only(db).map_err(store_stop)?;
    let foreign = args.include_foreign.then_some(&store);
    let sweep = match (store.sweep(args.sweep.map(SweepId)), foreign) {
        (Ok(sweep), _) => sweep,
        // Foreign results may be all that there is.
        (Err(StoreError::NotFound(_)), Some(foreign)) if args.sweep.is_none() => {
            if args.json {
                print::json(
                    &serde_json::json!({ "foreign": super::foreign::described(foreign, args.by.as_deref())? }),
                )?;
            } else {
                super::foreign::print_all(foreign, args.by.as_deref())?;
            }
            return Ok(Exit::Ok);
        }
        (Err(error), _) => return Err(store_stop(error)),
    };
    let question = match (args.criteria, args.by.as_deref()) {
        (true, _) => Question::Criteria,
        // A figure of the foreign tables, which knows no scenario.
        (false, Some(figure)) if args.include_foreign && !figure.contains('.') => Question::Objectives,
        (false, Some(metric)) => Question::Metric(metric),
        (false, None) => Question::Objectives,
    };
    let rankings = rankings(&store, &sweep, &question)?;
    let simplest = simplest(&store, &sweep, &rankings)?;
    let answers = answers::comparisons(&store, &sweep).map_err(store_stop)?;
    let missed = store.missed_thresholds(sweep.id).map_err(store_stop)?;
    if args.json {
        let mut value = serde_json::json!({
            "sweep": sweep.id,
            "grid": sweep.grid_name,
            "baseline": sweep.baseline,
            "rankings": rankings,
            "simplest": simplest,
            "answers": answers,
            "missed_thresholds": missed,
        });
        if let Some(foreign) = foreign {
            value["foreign"] = super::foreign::described(foreign, args.by.as_deref())?;
        }
        print::json(&value)?;
        return Ok(Exit::Ok);
    }
    if rankings.is_empty() {
        return Err(Stop::usage(
            "the grid states no objectives; name a metric with --by, e.g. --by kv_cache.ttft_hit_ms.p50",
        ));
    }
    print::out(format!(
        "sweep {} of {}: {} measured, {} failed\n",
        sweep.id, sweep.grid_name, sweep.measured, sweep.failed
    ));
    let rows = if args.all { usize::MAX } else { ROWS };
    print::out(rankings.iter().map(|r| render(r, &simplest, rows)).collect::<Vec<_>>().join("\n\n"));
    if let Some(answers) = answers::render(&answers) {
        print::out(format!("\n{answers}"));
    }
    if let Some(missed) = render_missed(&missed) {
        print::out(format!("\n{missed}"));
    }
    if let Some(foreign) = foreign {
        super::foreign::print_all(foreign, args.by.as_deref())?;
    }
    Ok(Exit::Ok)
}

/// The rankings by the grid's objectives, for the end of a run.
pub(crate) fn print_after_run(db: &Path, id: SweepId) -> Result<(), Stop> {
    let store = Store::open_read_only(db).map_err(store_stop)?;
    let sweep = store.sweep(Some(id)).map_err(store_stop)?;
    if sweep.measured == 0 {
        print::out("nothing was measured, so there is no champion; `vgrid status` shows why");
        return Ok(());
    }
    let rankings = rankings(&store, &sweep, &Question::Objectives)?;
    let simplest = simplest(&store, &sweep, &rankings)?;
    print::out(rankings.iter().map(|r| render(r, &simplest, ROWS)).collect::<Vec<_>>().join("\n\n"));
    if let Some(answers) = answers::render(&answers::comparisons(&store, &sweep).map_err(store_stop)?) {
        print::out(format!("\n{answers}"));
    }
    if let Some(missed) = render_missed(&store.missed_thresholds(sweep.id).map_err(store_stop)?) {
        print::out(format!("\n{missed}"));
    }
    Ok(())
}

/// Configs that are named with their figures; of more, how many there are.
const MISSED: usize = 6;

/// What configs miss of what is usually asked for; they rank all the same, because no gate of the grid says otherwise.
fn render_missed(missed: &[MissedThreshold]) -> Option<String> {
    let mut lines = vec![format!("{} (no gate: they rank all the same)", "below what is usual".bold())];
    lines.extend(missed.iter().take(MISSED).map(|m| print::sentence(&format!("{}: {}", m.config, m.sentence), 2)));
    if missed.len() > MISSED {
        lines.push(format!("  and {} more (--json)", missed.len() - MISSED));
    }
    (!missed.is_empty()).then(|| lines.join("\n"))
}

/// What configs are ranked by.
enum Question<'a> {
    /// The grid's objectives.
    Objectives,
    /// The usual criteria, as far as they were measured.
    Criteria,
    /// One metric.
    Metric(&'a str),
}

fn rankings(store: &Store, sweep: &SweepRow, question: &Question<'_>) -> Result<Vec<Ranking>, Stop> {
    let (objectives, candidates) = match question {
        Question::Criteria => {
            let candidates = store.candidates(sweep.id).map_err(store_stop)?;
            let mut objectives = rank::criteria(&candidates);
            objectives.extend(rank::start_up());
            (objectives, candidates)
        }
        Question::Metric(_) | Question::Objectives => {
            let objectives = match question {
                Question::Metric(text) => vec![objective_by(text)?],
                Question::Objectives | Question::Criteria => store.objectives(sweep.id).map_err(store_stop)?,
            };
            let candidates = store.candidates_by(sweep.id, &objectives).map_err(store_stop)?;
            (objectives, candidates)
        }
    };
    let has_it = |o: &Objective| candidates.iter().any(|c| c.figure(&o.metric).is_some());
    if let (Question::Metric(_), Some(objective)) = (question, objectives.first().filter(|o| !has_it(o))) {
        check_measured(store, sweep.id, &objective.metric)?;
    }
    Ok(rank::rank_all(&candidates, &objectives, sweep.baseline.as_deref()))
}

/// By objective: the simplest of those tied for the lead.
fn simplest(store: &Store, sweep: &SweepRow, rankings: &[Ranking]) -> Result<BTreeMap<String, Simplest>, Stop> {
    let settings = store.settings(sweep.id).map_err(store_stop)?;
    let of = |ranking: &Ranking| {
        let simplest = rank::simplest(ranking, |trial| Some(settings.get(&trial)?.count()))?;
        Some((ranking.objective.name.clone(), simplest))
    };
    Ok(rankings.iter().filter_map(of).collect())
}

/// A metric that nobody in the sweep has is a misspelling, as long as anything was measured.
pub(super) fn check_measured(store: &Store, sweep: SweepId, metric: &MetricPath) -> Result<(), Stop> {
    let known = store.measured_metrics(sweep).map_err(store_stop)?;
    let wanted = metric.to_string();
    if known.is_empty() || known.contains(&wanted) {
        return Ok(());
    }
    let help = match did_you_mean(&wanted, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let of_scenario = |path: &&String| path.starts_with(&format!("{}.", metric.scenario));
            let near: Vec<&String> = known.iter().filter(of_scenario).collect();
            if near.is_empty() {
                format!("the scenario {} was not measured", metric.scenario)
            } else {
                format!("of {} there are {}", metric.scenario, rank::some_of(&near))
            }
        }
    };
    Err(Stop::usage(format!("no config of sweep {sweep} has a figure of {wanted}; {help}")))
}

/// `METRIC`, `minimize METRIC` or `maximize METRIC`; without a direction the metric's name decides.
pub(super) fn objective_by(text: &str) -> Result<Objective, Stop> {
    let (direction, metric) = match text.split_once(' ') {
        Some((direction, metric)) => (Some(direction.parse().map_err(|e: String| Stop::usage(e))?), metric),
        None => (None, text),
    };
    if let ("ready_s", Some(start_up)) = (metric.trim(), rank::start_up()) {
        let direction = direction.unwrap_or(start_up.direction);
        return Ok(Objective { name: "by".to_owned(), direction, ..start_up });
    }
    let metric: MetricPath = metric.trim().parse().map_err(|e: MetricPathError| Stop::usage(e.to_string()))?;
    let by_name = Direction::usual_for(&metric);
    Ok(Objective { name: "by".to_owned(), direction: direction.unwrap_or(by_name), metric })
}

/// Configs of a ranking that are shown unless all are asked for.
const ROWS: usize = 50;

fn render(ranking: &Ranking, simplest: &BTreeMap<String, Simplest>, rows: usize) -> String {
    let Objective { name, direction, metric } = &ranking.objective;
    let mut lines = vec![format!("{} ({direction} {metric})", name.bold())];
    let sentence = &ranking.sentence;
    match &ranking.answer {
        Answer::Champion { suspect: false, confirmed: true, .. } => lines.push(told(sentence.green())),
        Answer::Champion { .. } | Answer::Tied { .. } => lines.push(told(sentence.yellow())),
        Answer::NoneMeetsGates { .. } => {
            lines.extend([told(sentence.red()), told("no config qualifies: a best effort follows, by value")]);
        }
        Answer::AllZero { .. } | Answer::NotMeasured => lines.push(told(sentence.red())),
    }
    if let Some(simplest) = simplest.get(name) {
        let named = rank::some_of(&simplest.configs);
        lines.push(told(format!("of those the simplest, by settings of its own ({}): {named}", simplest.settings)));
    }
    lines.extend(confidence(ranking));
    let shown = &ranking.rows[..ranking.rows.len().min(rows)];
    lines.push(table(ranking, shown));
    let more = ranking.rows.len() - shown.len();
    if more > 0 {
        lines.push(format!("  and {more} more (--all)"));
    }
    lines.join("\n")
}

/// A sentence under the objective's name.
fn told(sentence: impl std::fmt::Display) -> String {
    print::sentence(&sentence.to_string(), 2)
}

/// What the starts of the night say, a sentence each.
fn confidence(ranking: &Ranking) -> impl Iterator<Item = String> {
    let moved = |line: &String| ranking.noise.moved && ranking.drift.as_ref() == Some(line);
    ranking.confidence().into_iter().map(move |line| if moved(&line) { told(line.yellow()) } else { told(line) })
}

/// The columns of a ranking.
const HEADER: [&str; 8] = ["", "config", "value", "95 % interval", "n", "starts", "gain", "standing"];

/// The same where there is less and less room: without the samples, without the starts. --json has them.
const COLUMNS: [&[usize]; 3] = [&[0, 1, 2, 3, 4, 5, 6, 7], &[0, 1, 2, 3, 5, 6, 7], &[0, 1, 2, 3, 6, 7]];

/// The ranking in as many columns as there is room for; in the narrowest form a config's figures stand under its name.
fn table(ranking: &Ranking, rows: &[Row]) -> String {
    let cells: Vec<[String; 8]> = rows.iter().map(|row| cells(ranking, row)).collect();
    let reasons: Vec<String> = rows.iter().map(reasons).collect();
    let pick = |row: &[String; 8], columns: &[usize]| columns.iter().map(|i| row[*i].clone()).collect::<Vec<String>>();
    let header = HEADER.map(str::to_owned);
    // The reasons for a standing stand behind it, or where that is too long below it.
    let forms = std::iter::once((COLUMNS[0], true)).chain(COLUMNS.map(|columns| (columns, false)));
    for (columns, behind) in forms {
        let mut rows: Vec<Vec<String>> = cells.iter().map(|row| pick(row, columns)).collect();
        let mut around = vec![[const { String::new() }; 2]; rows.len()];
        for ((row, around), reasons) in rows.iter_mut().zip(&mut around).zip(&reasons).filter(|(_, r)| !r.is_empty()) {
            match row.last_mut().filter(|_| behind) {
                Some(standing) => standing.push_str(&format!(": {reasons}")),
                None => around[1] = print::wrapped(reasons, 4),
            }
        }
        if print::width_of_rows(rows.iter().chain([&pick(&header, columns)])) <= print::width() {
            return print::rows_within(&columns.iter().map(|i| HEADER[*i]).collect::<Vec<_>>(), rows, &around);
        }
    }
    let around =
        |(row, reasons): (&[String; 8], &String)| [format!(" {:<2} {}", row[0], row[1]), print::wrapped(reasons, 4)];
    let around: Vec<[String; 2]> = cells.iter().zip(&reasons).map(around).collect();
    let rows = cells.iter().map(|row| pick(row, &[0, 2, 3, 6, 7]));
    let rows = rows.map(|mut row| {
        row[0] = "  ".to_owned();
        row
    });
    print::rows_within(&["", "value", "95 % interval", "gain", "standing"], rows.collect(), &around)
}

/// The gates that a config misses.
fn reasons(row: &Row) -> String {
    match row.standing {
        Standing::GateFailed | Standing::GateNotMeasured => {
            row.gates_missed.iter().map(|g| g.gate.as_str()).collect::<Vec<_>>().join("; ")
        }
        Standing::Leader | Standing::Tied | Standing::Behind | Standing::Invalid | Standing::NotMeasured => {
            String::new()
        }
    }
}

fn cells(ranking: &Ranking, row: &Row) -> [String; 8] {
    let unit = row.unit.as_deref().unwrap_or_default();
    let metric = ranking.objective.metric.name.as_str();
    let interval = interval(metric, row.ci_low, row.ci_high, unit).unwrap_or_default();
    let is_baseline = ranking.baseline.as_deref() == Some(row.name.as_str());
    let gained = match row.gain_percent {
        _ if is_baseline => "baseline".to_owned(),
        Some(percent) => judged_gain(percent, row.gain_is_real),
        None => String::new(),
    };
    let suspect = if row.verdict == Some(Verdict::Suspect) { " (suspect)" } else { "" };
    [
        row.place.map(|p| p.to_string()).unwrap_or_default(),
        row.name.clone(),
        row.value.map(|v| figure(metric, v, unit)).unwrap_or_default(),
        interval,
        row.n.map(|n| n.to_string()).unwrap_or_default(),
        row.starts.map(|n| n.to_string()).unwrap_or_default(),
        gained,
        format!("{}{suspect}", row.standing),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_direction_the_unit_says_which_way_is_better() {
        assert_eq!(objective_by("kv_cache.ttft_hit_ms.p50").unwrap().direction, Direction::Minimize);
        assert_eq!(objective_by("load.output_tokens_per_s").unwrap().direction, Direction::Maximize);
        assert_eq!(objective_by("maximize load.ttft_ms.p50").unwrap().direction, Direction::Maximize);
        assert_eq!(objective_by("ready_s").unwrap().metric.to_string(), "smoke.ready_s");
        assert!(objective_by("sideways load.ttft_ms.p50").is_err());
    }
}

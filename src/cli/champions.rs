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

/// What configs miss of what is usually asked for, a line each; they rank all the same, because no gate of the grid says otherwise.
fn render_missed(missed: &[MissedThreshold]) -> Option<String> {
    let mut lines = vec![format!("{} (no gate: they rank all the same)", "below what is usual".bold())];
    lines.extend(missed.iter().map(|m| format!("  {}: {}", m.config, m.sentence)));
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
    let mut text = format!("{} ({direction} {metric})\n", name.bold());
    let sentence = &ranking.sentence;
    text.push_str(&match &ranking.answer {
        Answer::Champion { suspect: false, confirmed: true, .. } => format!("  {}\n", sentence.green()),
        Answer::Champion { .. } | Answer::Tied { .. } => format!("  {}\n", sentence.yellow()),
        Answer::NoneMeetsGates { .. } => {
            let effort = "no config qualifies: a best effort follows, by value";
            format!("  {}\n  {effort}\n", sentence.red())
        }
        Answer::AllZero { .. } | Answer::NotMeasured => format!("  {}\n", sentence.red()),
    });
    if let Some(simplest) = simplest.get(name) {
        let named = rank::some_of(&simplest.configs);
        text.push_str(&format!("  of those the simplest, by settings of its own ({}): {named}\n", simplest.settings));
    }
    text.push_str(&confidence(ranking));
    // Samples and starts are the first to go where there is no room; --json has them.
    let header = ["", "config", "value", "95 % interval", "n", "starts", "gain", "standing"];
    let shown: Vec<usize> = (0..header.len()).filter(|i| !print::is_narrow() || !matches!(i, 4 | 5)).collect();
    let mut table = print::table(&shown.iter().map(|i| header[*i]).collect::<Vec<_>>());
    for row in ranking.rows.iter().take(rows) {
        let cells = cells(ranking, row);
        table.add_row(shown.iter().filter_map(|i| cells.get(*i)));
    }
    print::keep_whole(&mut table, 1);
    text.push_str(&print::text_of(&table));
    let more = ranking.rows.len().saturating_sub(rows);
    if more > 0 {
        text.push_str(&format!("\n  and {more} more (--all)"));
    }
    text
}

/// What the starts of the night say, a sentence a line.
fn confidence(ranking: &Ranking) -> String {
    let moved = |line: &String| ranking.noise.moved && ranking.drift.as_ref() == Some(line);
    let told = |line: String| if moved(&line) { line.yellow().to_string() } else { line };
    ranking.confidence().into_iter().map(|line| format!("  {}\n", told(line))).collect()
}

fn cells(ranking: &Ranking, row: &Row) -> Vec<String> {
    let unit = row.unit.as_deref().unwrap_or_default();
    let metric = ranking.objective.metric.name.as_str();
    let interval = interval(metric, row.ci_low, row.ci_high, unit).unwrap_or_default();
    let is_baseline = ranking.baseline.as_deref() == Some(row.name.as_str());
    let gained = match row.gain_percent {
        _ if is_baseline => "baseline".to_owned(),
        Some(percent) => judged_gain(percent, row.gain_is_real),
        None => String::new(),
    };
    let mut standing = match row.standing {
        Standing::GateFailed | Standing::GateNotMeasured => {
            let gates: Vec<&str> = row.gates_missed.iter().map(|g| g.gate.as_str()).collect();
            format!("{}: {}", row.standing, gates.join("; "))
        }
        Standing::Leader | Standing::Tied | Standing::Behind | Standing::Invalid | Standing::NotMeasured => {
            row.standing.to_string()
        }
    };
    if row.verdict == Some(Verdict::Suspect) {
        standing.push_str(" (suspect)");
    }
    vec![
        row.place.map(|p| p.to_string()).unwrap_or_default(),
        row.name.clone(),
        row.value.map(|v| figure(metric, v, unit)).unwrap_or_default(),
        interval,
        row.n.map(|n| n.to_string()).unwrap_or_default(),
        row.starts.map(|n| n.to_string()).unwrap_or_default(),
        gained,
        standing,
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

//! Who is best, in sentences.

use crate::domain::reading::{bare_figure, figure, gain, title};
use crate::rank::{Answer, Ranking, Row, Standing, simplest};
use crate::store::SweepKind;

use super::model::{BestLine, Tone, VerdictLine, VerdictText};
use super::source::Source;
use super::table::cell;

/// Configs shown under an objective.
const BEST: usize = 5;

/// The simplest that are named in the verdict.
const SIMPLEST: usize = 3;

/// The verdict: the first objective in a sentence, and a line per objective.
pub(super) fn verdict(source: &Source, rankings: &[Ranking]) -> VerdictText {
    let sweep = &source.sweep;
    let lines: Vec<VerdictLine> = rankings.iter().map(line).collect();
    let (headline, tone) = match rankings.first() {
        _ if sweep.kind == SweepKind::Bench && sweep.measured == 0 => (
            format!("vgrid bench against {} ended early; what it had measured is below.", sweep.grid_name),
            Tone::Mixed,
        ),
        None if sweep.kind == SweepKind::Bench => (
            format!("One server, {}, measured by vgrid bench: there is nothing to rank.", sweep.grid_name),
            Tone::Plain,
        ),
        _ if sweep.measured == 0 => ("Nothing was measured, so there is nothing to recommend.".to_owned(), Tone::Bad),
        None => ("The grid states no objective, so no config is named best.".to_owned(), Tone::Plain),
        Some(first) => (headline(first, rankings) + &the_simplest(source, first), tone(first)),
    };
    VerdictText { headline, tone, lines }
}

/// Which of the tied is the simplest; nothing where that decides nothing.
fn the_simplest(source: &Source, ranking: &Ranking) -> String {
    let settings_of = |trial: i64| {
        let of_trial = |t: &&crate::store::TrialReport| t.trial.trial_id.0 == trial;
        Some(source.trials.iter().find(of_trial)?.settings.count())
    };
    let Some(simplest) = simplest(ranking, settings_of) else { return String::new() };
    let more = simplest.configs.len().saturating_sub(SIMPLEST);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let names = simplest.configs.iter().take(SIMPLEST).map(String::as_str).collect::<Vec<_>>().join(", ");
    format!(" The simplest of them, by settings of its own ({}): {names}{more}.", simplest.settings)
}

fn tone(ranking: &Ranking) -> Tone {
    match &ranking.answer {
        Answer::Champion { suspect: false, confirmed: true, .. } => Tone::Good,
        Answer::Champion { .. } | Answer::Tied { .. } => Tone::Mixed,
        Answer::AllZero { .. } | Answer::NoneMeetsGates { .. } | Answer::NotMeasured => Tone::Bad,
    }
}

fn headline(first: &Ranking, all: &[Ranking]) -> String {
    let goal = title(&first.objective.name);
    let mut text = match &first.answer {
        Answer::Champion { .. } => {
            let also: Vec<String> =
                all.iter().skip(1).filter(|r| same_champion(first, r)).map(|r| title(&r.objective.name)).collect();
            let also = if also.is_empty() { String::new() } else { format!(" (and for {})", also.join(", ")) };
            let leader = first.leader();
            let name = leader.map_or("", |l| l.name.as_str());
            format!("Use {name} for {goal}{also}: {}.", leader.map(|l| measured(first, l)).unwrap_or_default())
        }
        Answer::Tied { names, .. } => {
            let baseline = first.baseline.as_deref().filter(|b| names.iter().any(|n| n == b));
            let stay = match baseline {
                Some(baseline) => {
                    format!(" The baseline {baseline} is among them, so there is no measured reason to change it.")
                }
                None => String::new(),
            };
            format!("No champion for {goal}: {} configs are tied within the noise of this night.{stay}", names.len())
        }
        Answer::AllZero { .. } => format!("No config is best for {goal}: {}.", first.sentence),
        Answer::NoneMeetsGates { .. } => format!(
            "No config qualifies for {goal}: {}. The figures below are a best effort, not a recommendation.",
            first.sentence
        ),
        Answer::NotMeasured => format!("Nobody can say which config is best for {goal}: its metric was not measured."),
    };
    if let Answer::Champion { suspect: true, .. } = &first.answer {
        text.push_str(" Its figure is suspect; see its section.");
    }
    if let Answer::Champion { confirmed: false, .. } = &first.answer {
        text.push_str(" It was measured on a single start and is not confirmed.");
    }
    text
}

fn same_champion(a: &Ranking, b: &Ranking) -> bool {
    matches!((&a.answer, &b.answer), (Answer::Champion { name: x, .. }, Answer::Champion { name: y, .. }) if x == y)
}

/// `2,042 tokens/s (2,005 to 2,076), +50.3 % against as_deployed`.
fn measured(ranking: &Ranking, row: &Row) -> String {
    let (name, unit) = (ranking.objective.metric.name.as_str(), row.unit.as_deref().unwrap_or_default());
    let value = row.value.map(|v| figure(name, v, unit)).unwrap_or_default();
    let interval = match (row.ci_low, row.ci_high) {
        (Some(low), Some(high)) => {
            format!(" (95 % interval {} to {})", bare_figure(name, low, unit), bare_figure(name, high, unit))
        }
        (None, _) | (_, None) => " (no interval)".to_owned(),
    };
    let against = match (&ranking.baseline, row.gain_percent) {
        (Some(baseline), Some(_)) if *baseline == row.name => "; it is the baseline".to_owned(),
        (Some(baseline), Some(percent)) => {
            let doubt = match row.gain_is_real {
                Some(true) => "",
                Some(false) => ", which is within the noise",
                None => "; how noisy that is, is not known",
            };
            format!(", {} against {baseline}{doubt}", gain(percent))
        }
        (None, _) | (_, None) => String::new(),
    };
    format!("{value}{interval}{against}")
}

fn line(ranking: &Ranking) -> VerdictLine {
    let o = &ranking.objective;
    let sentence = match &ranking.answer {
        Answer::Champion { .. } => match ranking.leader() {
            Some(leader) => format!("{}: {}", leader.name, measured(ranking, leader)),
            None => ranking.sentence.clone(),
        },
        Answer::Tied { names, .. } => {
            let baseline = ranking.baseline.as_ref().filter(|b| names.contains(b));
            let among = baseline.map(|b| format!(", {b} among them")).unwrap_or_default();
            if names.len() > 3 {
                format!("{} configs are tied within the noise{among}", names.len())
            } else {
                format!("tied: {}", names.join(", "))
            }
        }
        Answer::AllZero { .. } | Answer::NoneMeetsGates { .. } | Answer::NotMeasured => ranking.sentence.clone(),
    };
    VerdictLine {
        objective: title(&o.name),
        direction: o.direction,
        metric: o.metric.clone(),
        sentence,
        tone: tone(ranking),
        confidence: ranking.confidence(),
        best: best(ranking),
    }
}

fn best(ranking: &Ranking) -> Vec<BestLine> {
    let with_figure: Vec<&Row> =
        ranking.rows.iter().filter(|r| r.value.is_some() && r.standing != Standing::NotMeasured).collect();
    let mut shown: Vec<&Row> = with_figure.iter().copied().take(BEST).collect();
    let is_baseline = |row: &Row| ranking.baseline.as_deref() == Some(row.name.as_str());
    if !shown.iter().any(|r| is_baseline(r))
        && let Some(baseline) = with_figure.iter().find(|r| is_baseline(r))
    {
        shown.truncate(BEST - 1);
        shown.push(baseline);
    }
    let largest = shown.iter().filter_map(|r| r.value).map(f64::abs).fold(f64::MIN_POSITIVE, f64::max);
    shown
        .into_iter()
        .filter_map(|row| {
            let cell = cell(row, ranking.baseline.as_deref())?;
            Some(BestLine {
                place: row.place,
                name: row.name.clone(),
                trial_id: row.trial_id,
                share: (cell.value.abs() / largest).clamp(0.0, 1.0),
                figure: cell,
                standing: row.standing,
                is_baseline: is_baseline(row),
            })
        })
        .collect()
}

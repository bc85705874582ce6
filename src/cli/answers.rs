//! Answers of configs against the baseline's, case by case, in words.

use owo_colors::OwoColorize;
use serde::Serialize;

use crate::domain::reading::number;
use crate::stats::{fewest_lost, holm};
use crate::store::{PairedQuality, Store, StoreError, SweepRow};

use super::print;

/// Below this p a difference is called one.
const SIGNIFICANT: f64 = 0.05;

/// One config against the baseline in one scenario, as one of all comparisons of the sweep.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    config: String,
    #[serde(flatten)]
    paired: PairedQuality,
    /// The exact p over all comparisons of the sweep (Holm).
    p_over_all: f64,
    /// The fewest cases that it would have to lose, and gain none, to be called worse among all comparisons of the sweep.
    fewest_lost: u64,
}

/// Every measured config against the baseline; empty where no scenario judged answers.
pub(super) fn comparisons(store: &Store, sweep: &SweepRow) -> Result<Vec<Comparison>, StoreError> {
    let mut pairs: Vec<(String, PairedQuality)> = Vec::new();
    for (trial, config) in store.trials_with_cases(sweep.id)? {
        if sweep.baseline.as_ref() != Some(&config) {
            let paired = store.paired_quality(trial)?;
            pairs.extend(paired.into_iter().map(|paired| (config.clone(), paired)));
        }
    }
    let fewest_lost = fewest_lost(SIGNIFICANT, pairs.len());
    let adjusted = holm(&pairs.iter().map(|(_, paired)| paired.exact_p).collect::<Vec<_>>());
    let of = |((config, paired), p_over_all)| Comparison { config, paired, p_over_all, fewest_lost };
    Ok(pairs.into_iter().zip(adjusted).map(of).collect())
}

/// The comparisons in which a case differs, a line each, and how many have none; nothing for no comparison.
pub(super) fn render(all: &[Comparison]) -> Option<String> {
    let baseline = &all.first()?.paired.baseline;
    let mut lines = Vec::new();
    let differs = |c: &&Comparison| c.paired.counts.only_reference + c.paired.counts.only_other > 0;
    for c in all.iter().filter(differs) {
        let judgement = judgement(&c.paired, c.p_over_all, all.len());
        let over_all = if all.len() > 1 {
            format!(", {} over all {} comparisons", number(c.p_over_all), all.len())
        } else {
            String::new()
        };
        lines.push(format!("{}: {}{over_all}: {judgement}", c.config, figures(&c.paired)));
    }
    lines.extend(power(all));
    let same = all.len() - all.iter().filter(differs).count();
    if same > 0 {
        let of = if same == all.len() { "all".to_owned() } else { format!("the other {same} of {}", all.len()) };
        lines.push(format!("{of} comparisons: the same cases passed"));
    }
    let head = format!("{} (against {baseline}, case by case)", "answers".bold());
    let lines = lines.iter().map(|line| print::sentence(line, 2));
    Some(std::iter::once(head).chain(lines).collect::<Vec<_>>().join("\n"))
}

/// A config against the baseline on the same cases, in a sentence.
pub(super) fn sentence(p: &PairedQuality) -> String {
    let left_out =
        if p.left_out > 0 { format!("; {} not compared, a request failed", p.left_out) } else { String::new() };
    if p.difference.is_none() {
        return format!("{} against {}: no case could be compared{left_out}", p.scenario, p.baseline);
    }
    format!("against {}: {}: {}{left_out}", p.baseline, figures(p), judgement(p, p.exact_p, 1))
}

fn figures(p: &PairedQuality) -> String {
    let c = &p.counts;
    format!(
        "{} {} points over {} cases ({} lost, {} gained), exact p = {}",
        p.scenario,
        signed_points(100.0 * p.difference.unwrap_or_default()),
        c.cases(),
        c.only_reference,
        c.only_other,
        number(p.exact_p),
    )
}

/// Points with their sign, to a tenth.
fn signed_points(points: f64) -> String {
    format!("{}{:.1}", if points < 0.0 { "−" } else { "+" }, points.abs())
}

/// What can be said of a comparison that is one of so many.
fn judgement(paired: &PairedQuality, p: f64, comparisons: usize) -> &'static str {
    let worse = paired.difference.unwrap_or_default() < 0.0;
    match (p < SIGNIFICANT, worse) {
        // Not even losing every case that differs would have been a difference.
        (false, _) if paired.counts.least_p() * comparisons as f64 >= SIGNIFICANT => "too few cases differ to tell",
        (false, _) => "no difference beyond chance",
        (true, true) => "worse than the baseline",
        (true, false) => "better than the baseline",
    }
}

/// The smallest loss that each scenario's cases could show, a line each.
fn power(all: &[Comparison]) -> Vec<String> {
    let mut seen: Vec<(crate::domain::ScenarioKind, u64)> = Vec::new();
    for c in all {
        let one = (c.paired.scenario, c.paired.counts.cases());
        if one.1 > 0 && !seen.contains(&one) {
            seen.push(one);
        }
    }
    let fewest = all.first().map_or(0, |c| c.fewest_lost);
    let line = |(scenario, cases): (crate::domain::ScenarioKind, u64)| {
        if fewest > cases {
            return format!(
                "{scenario}: {cases} cases are too few to tell any difference among {} comparisons",
                all.len()
            );
        }
        let points = 100.0 * fewest as f64 / cases as f64;
        format!(
            "{scenario}: of {cases} cases {fewest} must be lost and none gained (−{points:.0} points) to be told from chance"
        )
    };
    seen.into_iter().map(line).collect()
}

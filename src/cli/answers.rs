//! Answers of configs against the baseline's, case by case, in words.

use owo_colors::OwoColorize;
use serde::Serialize;

use crate::domain::reading::number;
use crate::stats::holm;
use crate::store::{PairedQuality, Store, StoreError, SweepRow, TrialId};

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
}

/// Every measured config against the baseline; empty where no scenario judged answers.
pub(super) fn comparisons(store: &Store, sweep: &SweepRow) -> Result<Vec<Comparison>, StoreError> {
    let mut pairs: Vec<(String, PairedQuality)> = Vec::new();
    for candidate in store.candidates(sweep.id)? {
        if sweep.baseline.as_ref() != Some(&candidate.name) {
            let paired = store.paired_quality(TrialId(candidate.trial_id))?;
            pairs.extend(paired.into_iter().map(|paired| (candidate.name.clone(), paired)));
        }
    }
    let adjusted = holm(&pairs.iter().map(|(_, paired)| paired.exact_p).collect::<Vec<_>>());
    let of = |((config, paired), p_over_all)| Comparison { config, paired, p_over_all };
    Ok(pairs.into_iter().zip(adjusted).map(of).collect())
}

/// The comparisons in which a case differs, a line each, and how many have none; nothing for no comparison.
pub(super) fn render(all: &[Comparison]) -> Option<String> {
    let baseline = &all.first()?.paired.baseline;
    let mut lines = vec![format!("{} (against {baseline}, case by case)", "answers".bold())];
    let differs = |c: &&Comparison| c.paired.counts.only_reference + c.paired.counts.only_other > 0;
    for c in all.iter().filter(differs) {
        let judgement = judgement(c.p_over_all, c.paired.difference.unwrap_or_default());
        let over_all = if all.len() > 1 {
            format!(", {} over all {} comparisons", number(c.p_over_all), all.len())
        } else {
            String::new()
        };
        lines.push(format!("  {}: {}{over_all}: {judgement}", c.config, figures(&c.paired)));
    }
    let same = all.len() - all.iter().filter(differs).count();
    if same > 0 {
        let of = if same == all.len() { "all".to_owned() } else { format!("the other {same} of {}", all.len()) };
        lines.push(format!("  {of} comparisons: the same cases passed"));
    }
    Some(lines.join("\n"))
}

/// A config against the baseline on the same cases, in a sentence.
pub(super) fn sentence(p: &PairedQuality) -> String {
    let left_out =
        if p.left_out > 0 { format!("; {} not compared, a request failed", p.left_out) } else { String::new() };
    let Some(difference) = p.difference else {
        return format!("{} against {}: no case could be compared{left_out}", p.scenario, p.baseline);
    };
    format!("against {}: {}: {}{left_out}", p.baseline, figures(p), judgement(p.exact_p, difference))
}

fn figures(p: &PairedQuality) -> String {
    let c = &p.counts;
    format!(
        "{} {:+.1} points over {} cases ({} lost, {} gained), exact p = {}",
        p.scenario,
        100.0 * p.difference.unwrap_or_default(),
        c.cases(),
        c.only_reference,
        c.only_other,
        number(p.exact_p),
    )
}

const fn judgement(p: f64, difference: f64) -> &'static str {
    match (p < SIGNIFICANT, difference < 0.0) {
        (false, _) => "no difference beyond chance",
        (true, true) => "worse than the baseline",
        (true, false) => "better than the baseline",
    }
}

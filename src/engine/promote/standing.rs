//! What the database says for and against a trial: measured, valid, gates, champion or tied.

use crate::domain::{Outcome, Verdict};
use crate::rank::{self, Answer, GateOutcome, Standing};
use crate::store::{Store, StoreError, SweepRow, TrialId, TrialReport};

use super::super::{Finding, FindingKind};

/// A line of the checklist.
pub(super) fn finding(check: &str, kind: FindingKind, message: impl Into<String>) -> Finding {
    Finding { check: check.to_owned(), kind, message: message.into(), help: None }
}

/// Whether its figures may be used, by the verdicts of its scenarios.
pub(super) fn validity(report: &TrialReport) -> Finding {
    let scenarios: Vec<_> = report.attempt_reports.iter().flat_map(|a| &a.scenarios).collect();
    let of = |verdict| {
        let named = scenarios.iter().filter(|s| s.validity.verdict == verdict);
        named
            .map(|s| {
                let why: Vec<&str> = s.validity.reasons.iter().map(|(_, why)| why.as_str()).collect();
                format!("{} ({})", s.spec.kind(), why.join("; "))
            })
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (invalid, suspect) = (of(Verdict::Invalid), of(Verdict::Suspect));
    match (invalid.is_empty(), suspect.is_empty()) {
        (false, _) => finding("valid", FindingKind::Failed, format!("invalid: {invalid}")),
        (true, false) => finding("valid", FindingKind::Warning, format!("suspect: {suspect}")),
        (true, true) => finding("valid", FindingKind::Ok, format!("{} scenarios, all valid", scenarios.len())),
    }
}

/// Whether it passed every gate.
pub(super) fn gates(report: &TrialReport) -> Finding {
    let missed: Vec<String> = report
        .gates
        .iter()
        .filter(|g| g.outcome != GateOutcome::Pass)
        .map(|g| format!("{} ({})", g.gate, g.outcome))
        .collect();
    match (report.gates.len(), missed.is_empty()) {
        (0, _) => finding("gates", FindingKind::Ok, "the grid states no gates"),
        (1, true) => finding("gates", FindingKind::Ok, "the only one holds"),
        (n, true) => finding("gates", FindingKind::Ok, format!("all {n} hold")),
        (_, false) => finding("gates", FindingKind::Failed, missed.join("; ")),
    }
}

/// Where it stands by each objective of the grid.
pub(super) fn standing(store: &Store, sweep: &SweepRow, trial: TrialId) -> Result<Finding, StoreError> {
    let objectives = store.objectives(sweep.id)?;
    let candidates = store.candidates_by(sweep.id, &objectives)?;
    let rankings = rank::rank_all(&candidates, &objectives, sweep.baseline.as_deref());
    let mut kind = FindingKind::Ok;
    let mut said = Vec::new();
    for ranking in &rankings {
        let row = ranking.rows.iter().find(|row| row.trial_id == trial.0);
        let of = &ranking.objective.name;
        let mut worse = |to| {
            if kind == FindingKind::Ok {
                kind = to;
            }
        };
        said.push(match (&ranking.answer, row.map(|r| r.standing)) {
            (Answer::Champion { trial_id, suspect, .. }, _) if *trial_id == trial.0 => {
                if *suspect {
                    worse(FindingKind::Warning);
                    format!("{of}: champion, on a suspect figure")
                } else {
                    format!("{of}: champion")
                }
            }
            (_, Some(Standing::Leader | Standing::Tied)) => {
                worse(FindingKind::Warning);
                format!("{of}: {}", ranking.sentence)
            }
            (_, Some(other)) => {
                worse(FindingKind::Warning);
                format!("{of}: {other} ({})", ranking.sentence)
            }
            (_, None) => {
                worse(FindingKind::Warning);
                format!("{of}: not ranked")
            }
        });
    }
    if said.is_empty() {
        return Ok(finding("champion", FindingKind::Warning, "the grid states no objectives, so nobody is champion"));
    }
    Ok(finding("champion", kind, said.join("; ")))
}

/// What the engine was asked for and did not do.
pub(super) fn resolved(report: &TrialReport) -> Finding {
    let Some(attempt) = super::measured_attempt(report) else {
        return finding("resolved", FindingKind::Failed, "no attempt was measured");
    };
    if attempt.resolved.facts.is_empty() {
        return finding(
            "resolved",
            FindingKind::Warning,
            "the engine said nothing of its settings when it was measured",
        );
    }
    let wrong: Vec<String> = attempt
        .mismatches
        .iter()
        .map(|m| format!("asked for {} {}, the engine ran {}", m.name, m.requested, m.resolved))
        .collect();
    if wrong.is_empty() {
        return finding("resolved", FindingKind::Ok, "the engine ran what it was asked for");
    }
    finding("resolved", FindingKind::Warning, wrong.join("; "))
}

/// On how many starts it was measured: what one start shows may be the machine's mood.
pub(super) fn starts(report: &TrialReport) -> Finding {
    match measured_starts(report) {
        1 => finding(
            "starts",
            FindingKind::Warning,
            "measured on a single start; without `repeats: off` in the grid finalists are confirmed",
        ),
        n => finding("starts", FindingKind::Ok, format!("measured on {n} starts")),
    }
}

fn measured_starts(report: &TrialReport) -> usize {
    report.attempt_reports.iter().filter(|attempt| attempt.outcome == Some(Outcome::Measured)).count()
}

/// The trial that may go into production by itself: the champion of the first objective, on figures that may be used and on more
/// starts than one.
///
/// # Errors
/// The database cannot be read. The inner error says why nobody is.
pub(in super::super) fn champion(store: &Store, sweep: &SweepRow) -> Result<Result<TrialId, String>, StoreError> {
    let objectives = store.objectives(sweep.id)?;
    let Some(first) = objectives.first() else { return Ok(Err("the grid states no objective".to_owned())) };
    let ranking =
        rank::rank(&store.candidates_by(sweep.id, std::slice::from_ref(first))?, first, sweep.baseline.as_deref());
    Ok(match &ranking.answer {
        Answer::Champion { trial_id, suspect: false, confirmed: true, .. } => Ok(TrialId(*trial_id)),
        Answer::Champion { suspect: true, .. }
        | Answer::Champion { confirmed: false, .. }
        | Answer::Tied { .. }
        | Answer::AllZero { .. }
        | Answer::NoneMeetsGates { .. }
        | Answer::NotMeasured => Err(format!("{}: {}", first.name, ranking.sentence)),
    })
}

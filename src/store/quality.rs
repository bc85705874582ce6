//! Outcomes of single cases, and two configs compared on the same cases.

use rusqlite::{Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::models::TrialId;
use super::rows::{all, count, parsed};
use super::{Store, StoreError};
use crate::domain::{CaseOutcome, ScenarioKind, SweepId};
use crate::stats::PairedCounts;

/// A config against the sweep's baseline on the cases that both were asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedQuality {
    /// The scenario that judged the answers.
    pub scenario: ScenarioKind,
    /// The baseline's name.
    pub baseline: String,
    /// The baseline's trial; the trial itself when it is the baseline.
    pub baseline_trial_id: TrialId,
    /// Cases by who passed them; the baseline is the reference.
    pub counts: PairedCounts,
    /// Cases of which a request failed on either side: not compared.
    pub left_out: u64,
    /// The config's share of passed cases minus the baseline's; none when no case could be compared.
    pub difference: Option<f64>,
    /// Exact two-sided p of McNemar's test: how likely chance alone parts the two at least this far.
    pub exact_p: f64,
    /// McNemar's chi-square with continuity correction, for comparison with other tools; none when no case differs.
    pub chi_square: Option<f64>,
}

impl Store {
    /// The measured trials of a sweep of which a scenario judged cases, with their names, in the order of the sweep.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn trials_with_cases(&self, sweep: SweepId) -> Result<Vec<(TrialId, String)>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT t.id, t.name FROM trial t WHERE t.sweep_id = ?1
                   AND EXISTS (SELECT 1 FROM attempt a WHERE a.trial_id = t.id AND a.outcome = 'measured')
                   AND EXISTS (SELECT 1 FROM scenario_result r JOIN case_outcome c ON c.scenario_result_id = r.id WHERE r.trial_id = t.id)
                 ORDER BY t.position, t.id",
            )
            .and_then(|mut s| all(&mut s, [sweep.0], |row| Ok((TrialId(row.get(0)?), row.get(1)?))))
            .map_err(self.explain("find the trials whose answers were judged"))
    }

    /// A trial against the baseline of its sweep, scenario by scenario; the newest result of each that is not invalid and whose data are
    /// the same. Empty where the baseline, or the trial, has none.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn paired_quality(&self, trial: TrialId) -> Result<Vec<PairedQuality>, StoreError> {
        self.conn
            .prepare_cached("SELECT * FROM paired_quality WHERE trial_id = ?1 ORDER BY scenario")
            .and_then(|mut s| all(&mut s, [trial.0], paired))
            .map_err(self.explain("compare a trial with the baseline"))
    }
}

fn paired(row: &Row<'_>) -> rusqlite::Result<PairedQuality> {
    let counts = PairedCounts {
        both: count(row, "both_passed")?,
        only_reference: count(row, "only_baseline")?,
        only_other: count(row, "only_config")?,
        neither: count(row, "neither")?,
    };
    Ok(PairedQuality {
        scenario: parsed(row, "scenario")?,
        baseline: row.get("baseline")?,
        baseline_trial_id: TrialId(row.get("baseline_trial_id")?),
        counts,
        left_out: count(row, "left_out")?,
        difference: counts.difference(),
        exact_p: counts.exact_p(),
        chi_square: counts.chi_square(),
    })
}

/// Stores the cases of a scenario's result.
pub(super) fn insert_cases(tx: &Transaction<'_>, id: i64, cases: &[CaseOutcome]) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO case_outcome (scenario_result_id, position, case_id, category, language, repeat, delivery, result, expected, got,
           request_position)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    for (position, c) in cases.iter().enumerate() {
        insert.execute(params![
            id,
            position as i64,
            c.case_id,
            c.category,
            c.language,
            c.repeat,
            c.delivery.as_str(),
            c.result.as_str(),
            c.expected,
            c.got,
            c.request_index,
        ])?;
    }
    Ok(())
}

/// A row of the table `case_outcome`.
pub(super) fn case(row: &Row<'_>) -> rusqlite::Result<CaseOutcome> {
    Ok(CaseOutcome {
        case_id: row.get("case_id")?,
        category: row.get("category")?,
        language: row.get("language")?,
        repeat: row.get("repeat")?,
        delivery: parsed(row, "delivery")?,
        result: parsed(row, "result")?,
        expected: row.get("expected")?,
        got: row.get("got")?,
        request_index: row.get("request_position")?,
    })
}

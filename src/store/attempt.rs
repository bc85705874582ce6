//! Writing: one attempt, from its begin to its end.

use rusqlite::{OptionalExtension, Transaction, named_params, params};

use super::models::{AttemptEnd, AttemptId, RunId, TelemetrySample, TrialId};
use super::rows::{json, now};
use super::{Store, StoreError};
use crate::domain::{Failure, Mismatch, Outcome, Phase, ResolvedConfig, Start};
use crate::rank::{GateOutcome, GateResult};

impl Store {
    /// Opens the next attempt at a start of a trial. Returns its id and its number within the trial, from 1.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn begin_attempt(&mut self, run: RunId, trial: TrialId, start: Start) -> Result<(AttemptId, u32), StoreError> {
        let explain = self.explain("begin an attempt");
        self.write(|tx| {
            let number: u32 = tx
                .prepare_cached("SELECT coalesce(max(number), 0) + 1 FROM attempt WHERE trial_id = ?1")?
                .query_row([trial.0], |row| row.get(0))?;
            tx.prepare_cached(
                "INSERT INTO attempt (trial_id, run_id, number, started_at, phase, purpose, start_number)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                trial.0,
                run.0,
                number,
                now(),
                Phase::Prepare.as_str(),
                start.purpose.as_str(),
                start.number
            ])?;
            Ok((AttemptId(tx.last_insert_rowid()), number))
        })
        .map_err(explain)
    }

    /// Whether a run of vgrid began an attempt.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn has_attempts(&self, run: RunId) -> Result<bool, StoreError> {
        self.conn
            .query_row("SELECT EXISTS (SELECT 1 FROM attempt WHERE run_id = ?1)", [run.0], |row| row.get(0))
            .map_err(self.explain("look for attempts"))
    }

    /// Notes how far an attempt has come.
    ///
    /// # Errors
    /// The database cannot be written, or the attempt is closed.
    pub fn set_attempt_phase(&mut self, attempt: AttemptId, phase: Phase) -> Result<(), StoreError> {
        self.update_open(attempt, "note an attempt's phase", |tx| {
            tx.prepare_cached("UPDATE attempt SET phase = ?2 WHERE id = ?1")?
                .execute(params![attempt.0, phase.as_str()])
        })
    }

    /// Notes the container (or, for a plain process, `pid:N`) of an attempt and the digest that it really runs.
    ///
    /// # Errors
    /// The database cannot be written, or the attempt is closed.
    pub fn set_attempt_container(
        &mut self,
        attempt: AttemptId,
        container_id: &str,
        image_digest: Option<&str>,
    ) -> Result<(), StoreError> {
        self.update_open(attempt, "note an attempt's container", |tx| {
            tx.prepare_cached("UPDATE attempt SET container_id = ?2, image_digest = ?3 WHERE id = ?1")?
                .execute(params![attempt.0, container_id, image_digest])
        })
    }

    /// Notes where an attempt's log is written.
    ///
    /// # Errors
    /// The database cannot be written, or the attempt is closed.
    pub fn set_attempt_log(&mut self, attempt: AttemptId, path: &std::path::Path) -> Result<(), StoreError> {
        self.update_open(attempt, "note an attempt's log", |tx| {
            tx.prepare_cached("UPDATE attempt SET log_path = ?2 WHERE id = ?1")?
                .execute(params![attempt.0, path.to_string_lossy()])
        })
    }

    /// Notes that the engine answered a real completion, `ready_s` seconds after its start; the phase becomes serving.
    ///
    /// # Errors
    /// The database cannot be written, or the attempt is closed.
    pub fn set_attempt_ready(&mut self, attempt: AttemptId, ready_s: f64) -> Result<(), StoreError> {
        self.update_open(attempt, "note that an attempt serves", |tx| {
            tx.prepare_cached("UPDATE attempt SET ready_s = ?2, phase = ?3 WHERE id = ?1")?.execute(params![
                attempt.0,
                ready_s,
                Phase::Serving.as_str()
            ])
        })
    }

    /// Stores what the engine really runs with, and where that differs from the request. Facts that are already stored for
    /// this attempt are brought up to date.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn save_resolved(
        &mut self,
        attempt: AttemptId,
        resolved: &ResolvedConfig,
        mismatches: &[Mismatch],
    ) -> Result<(), StoreError> {
        let explain = self.explain("save the resolved config");
        self.write(|tx| {
            let mut fact = tx.prepare_cached(
                "INSERT OR REPLACE INTO resolved_fact (attempt_id, name, value, source) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for (name, f) in &resolved.facts {
                fact.execute(params![attempt.0, name, f.value, f.source.as_str()])?;
            }
            let mut figure = tx.prepare_cached(
                "INSERT OR REPLACE INTO resolved_figure (attempt_id, name, value) VALUES (?1, ?2, ?3)",
            )?;
            for (name, value) in resolved.figures.iter().filter(|(_, v)| v.is_finite()) {
                figure.execute(params![attempt.0, name, value])?;
            }
            let mut mismatch = tx.prepare_cached(
                "INSERT OR REPLACE INTO mismatch (attempt_id, name, requested, resolved) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for m in mismatches {
                mismatch.execute(params![attempt.0, m.name, m.requested, m.resolved])?;
            }
            Ok(())
        })
        .map_err(explain)
    }

    /// Closes an attempt: outcome, evidence, numbers and durations, in one transaction.
    ///
    /// # Errors
    /// The database cannot be written, or the attempt is closed already.
    pub fn finish_attempt(&mut self, attempt: AttemptId, end: &AttemptEnd) -> Result<(), StoreError> {
        self.update_open(attempt, "finish an attempt", |tx| {
            let failure = match &end.outcome {
                Outcome::Failed(failure) => Some(failure),
                Outcome::Measured | Outcome::Interrupted => None,
            };
            tx.prepare_cached(
                "UPDATE attempt SET ended_at = :at, outcome = :outcome, phase = coalesce(:phase, phase), cause = :cause,
                   stage = :stage, remedy = :remedy, transient = :transient, exit_code = :exit_code, oom_killed = :oom_killed,
                   exit_status = :status, exit_error = :error, asked_to_stop = :asked, elapsed_s = :elapsed,
                   timings_json = :timings
                 WHERE id = :id",
            )?
            .execute(named_params! {
                ":id": attempt.0,
                ":at": now(),
                ":outcome": end.outcome.as_str(),
                ":phase": failure.map(|f| f.phase.as_str()),
                ":cause": failure.map(|f| f.cause.as_str()),
                ":stage": failure.and_then(|f| f.stage).map(crate::domain::Stage::as_str),
                ":remedy": failure.map(|f| &f.remedy),
                ":transient": failure.map(|f| f.transient),
                ":exit_code": failure.and_then(|f| f.exit.exit_code),
                ":oom_killed": failure.and_then(|f| f.exit.oom_killed),
                ":status": failure.and_then(|f| f.exit.status.as_ref()),
                ":error": failure.and_then(|f| f.exit.error.as_ref()),
                ":asked": failure.map(|f| f.exit.asked_to_stop),
                ":elapsed": end.elapsed_s,
                ":timings": json(&end.timings)?,
            })?;
            if end.outcome == Outcome::Measured {
                let trial = tx
                    .prepare_cached("SELECT trial_id FROM attempt WHERE id = ?1")?
                    .query_row([attempt.0], |row| row.get(0))?;
                super::figures::refresh(tx, TrialId(trial))?;
            }
            failure.map_or(Ok(0), |f| insert_evidence(tx, attempt, f))
        })
    }

    /// Counts a trial's last attempt as failed, when it was interrupted. Whether there was such an attempt.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn settle_as_failed(&mut self, trial: TrialId, failure: &Failure) -> Result<bool, StoreError> {
        let explain = self.explain("settle a trial");
        self.write(|tx| {
            let last: Option<i64> = tx
                .query_row(
                    "SELECT id FROM attempt WHERE outcome = 'interrupted' AND id =
                       (SELECT id FROM attempt WHERE trial_id = ?1 ORDER BY number DESC LIMIT 1)",
                    [trial.0],
                    |row| row.get(0),
                )
                .optional()?;
            let Some(last) = last else { return Ok(false) };
            tx.execute(
                "UPDATE attempt SET outcome = 'failed', cause = ?2, remedy = ?3, transient = ?4 WHERE id = ?1",
                params![last, failure.cause.as_str(), failure.remedy, failure.transient],
            )?;
            insert_evidence(tx, AttemptId(last), failure)?;
            Ok(true)
        })
        .map_err(explain)
    }

    /// Stores what became of each gate for a trial; replaces what an earlier evaluation said. Gates that the sweep does not have
    /// are an error, so that none is lost.
    ///
    /// # Errors
    /// The database cannot be written, or a gate is not one of the sweep's.
    pub fn save_gate_results(&mut self, trial: TrialId, results: &[GateResult]) -> Result<(), StoreError> {
        let explain = self.explain("save gate results");
        let missing = self
            .write(|tx| {
                for result in results {
                    let gate: Option<i64> = tx
                        .prepare_cached(
                            "SELECT g.id FROM gate g JOIN trial t ON t.sweep_id = g.sweep_id
                             WHERE t.id = ?1 AND g.expression = ?2 ORDER BY g.position LIMIT 1",
                        )?
                        .query_row(params![trial.0, result.gate], |row| row.get(0))
                        .optional()?;
                    let Some(gate) = gate else { return Ok(Some(result.gate.clone())) };
                    let passed = match result.outcome {
                        GateOutcome::Pass => Some(true),
                        GateOutcome::Fail => Some(false),
                        GateOutcome::NotMeasured => None,
                    };
                    tx.prepare_cached(
                        "INSERT OR REPLACE INTO gate_result (trial_id, gate_id, passed) VALUES (?1, ?2, ?3)",
                    )?
                    .execute(params![trial.0, gate, passed])?;
                }
                Ok(None)
            })
            .map_err(explain)?;
        missing.map_or(Ok(()), |gate| {
            Err(StoreError::NotFound(format!("the sweep of trial {} has no gate `{gate}`", trial.0)))
        })
    }

    /// Stores telemetry; a sample that is already there stays.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn save_telemetry(&mut self, attempt: AttemptId, samples: &[TelemetrySample]) -> Result<(), StoreError> {
        let explain = self.explain("save telemetry");
        self.write(|tx| {
            let mut insert = tx.prepare_cached(
                "INSERT OR IGNORE INTO telemetry_sample (attempt_id, series, source, offset_ms, tag, value)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for s in samples.iter().filter(|s| s.value.is_finite() && s.offset_ms.is_finite()) {
                insert.execute(params![attempt.0, s.series, s.source, s.offset_ms, s.tag, s.value])?;
            }
            Ok(())
        })
        .map_err(explain)
    }

    /// Changes an attempt that must be open.
    fn update_open(
        &mut self,
        attempt: AttemptId,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<usize>,
    ) -> Result<(), StoreError> {
        let explain = self.explain(doing);
        let is_open = self
            .write(|tx| {
                let open: Option<bool> = tx
                    .prepare_cached("SELECT outcome IS NULL FROM attempt WHERE id = ?1")?
                    .query_row([attempt.0], |row| row.get(0))
                    .optional()?;
                if open == Some(true) {
                    work(tx)?;
                }
                Ok(open == Some(true))
            })
            .map_err(explain)?;
        if is_open {
            return Ok(());
        }
        Err(StoreError::NotFound(format!(
            "cannot {doing}: there is no open attempt {} in {}",
            attempt.0,
            self.path.display()
        )))
    }
}

fn insert_evidence(tx: &Transaction<'_>, attempt: AttemptId, failure: &Failure) -> rusqlite::Result<usize> {
    let mut evidence = tx.prepare_cached(
        "INSERT INTO attempt_evidence (attempt_id, position, line_number, text) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (position, line) in failure.evidence.iter().enumerate() {
        let number = line.line_number.and_then(|n| i64::try_from(n).ok());
        evidence.execute(params![attempt.0, position as i64 + 1, number, line.text])?;
    }
    let mut insert = tx.prepare_cached("INSERT INTO attempt_number (attempt_id, name, value) VALUES (?1, ?2, ?3)")?;
    for (name, value) in failure.numbers.iter().filter(|(_, v)| v.is_finite()) {
        insert.execute(params![attempt.0, name, value])?;
    }
    Ok(failure.evidence.len())
}

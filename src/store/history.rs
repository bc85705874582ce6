//! Reading: what continuing a sweep needs to know.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Row;

use super::rows::{all, from_json, parsed, parsed_opt, start};
use super::{Store, StoreError};
use crate::domain::{Cause, ConfigKey, Suite, SweepId};
use crate::resume::{AttemptHistory, PastOutcome, ResultKey, TrialHistory};

impl Store {
    /// Everything that was tried in a sweep, by trial in its order of registration.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn history(&self, sweep: SweepId) -> Result<Vec<TrialHistory>, StoreError> {
        self.read_history(sweep).map_err(self.explain("read the sweep's history"))
    }

    fn read_history(&self, sweep: SweepId) -> rusqlite::Result<Vec<TrialHistory>> {
        let mut finished: HashMap<i64, Vec<ResultKey>> = HashMap::new();
        let mut statement = self.conn.prepare_cached(
            "SELECT r.attempt_id, r.result_key FROM scenario_result r JOIN trial t ON t.id = r.trial_id
             WHERE t.sweep_id = ?1 ORDER BY r.id",
        )?;
        for pair in statement.query_map([sweep.0], |row| Ok((row.get(0)?, ResultKey(row.get(1)?))))? {
            let (attempt, key) = pair?;
            finished.entry(attempt).or_default().push(key);
        }
        let mut attempts: HashMap<i64, Vec<AttemptHistory>> = HashMap::new();
        let mut statement = self.conn.prepare_cached(
            "SELECT a.id, a.trial_id, a.outcome, a.cause, a.phase, a.transient, a.purpose, a.start_number,
               CASE WHEN a.outcome = 'interrupted' AND r.ended = 'crashed' THEN a.phase END AS died_in
             FROM attempt a JOIN trial t ON t.id = a.trial_id JOIN sweep_run r ON r.id = a.run_id
             WHERE t.sweep_id = ?1 ORDER BY a.trial_id, a.number",
        )?;
        let mut rows = statement.query([sweep.0])?;
        while let Some(row) = rows.next()? {
            let history = AttemptHistory {
                start: start(row)?,
                outcome: past_outcome(row)?,
                finished: finished.remove(&row.get("id")?).unwrap_or_default(),
                died_in: parsed_opt(row, "died_in")?,
            };
            attempts.entry(row.get("trial_id")?).or_default().push(history);
        }
        let mut statement = self.conn.prepare_cached(
            "SELECT t.id, t.config_key, (SELECT k.reason FROM trial_skip k WHERE k.trial_id = t.id AND k.after_attempt >=
                 (SELECT coalesce(max(a.number), 0) FROM attempt a WHERE a.trial_id = t.id) ORDER BY k.id DESC LIMIT 1) AS skip
             FROM trial t WHERE t.sweep_id = ?1 ORDER BY t.id",
        )?;
        all(&mut statement, [sweep.0], |row| {
            Ok(TrialHistory {
                key: ConfigKey(row.get("config_key")?),
                attempts: attempts.remove(&row.get("id")?).unwrap_or_default(),
                skip: parsed_opt(row, "skip")?,
            })
        })
    }

    /// The suite of a sweep, as registered.
    ///
    /// # Errors
    /// There is no such sweep, or the database cannot be read.
    pub fn suite(&self, sweep: SweepId) -> Result<Suite, StoreError> {
        self.conn
            .query_row("SELECT suite_json FROM sweep WHERE id = ?1", [sweep.0], |row| from_json(row, "suite_json"))
            .map_err(self.no_sweep(sweep, "read the suite"))
    }

    /// What the engine put into [`super::NewSweep::plan`].
    ///
    /// # Errors
    /// There is no such sweep, or the database cannot be read.
    pub fn plan(&self, sweep: SweepId) -> Result<serde_json::Value, StoreError> {
        self.conn
            .query_row("SELECT plan_json FROM sweep WHERE id = ?1", [sweep.0], |row| from_json(row, "plan_json"))
            .map_err(self.no_sweep(sweep, "read the plan"))
    }

    /// The grid's text as registered (secrets redacted).
    ///
    /// # Errors
    /// There is no such sweep, or the database cannot be read.
    pub fn grid_text(&self, sweep: SweepId) -> Result<String, StoreError> {
        self.conn
            .query_row("SELECT grid_text FROM sweep WHERE id = ?1", [sweep.0], |row| row.get(0))
            .map_err(self.no_sweep(sweep, "read the grid"))
    }

    /// The pinned digest of each image, so that a continued sweep runs what it began with.
    ///
    /// # Errors
    /// There is no such sweep, or the database cannot be read.
    pub fn images(&self, sweep: SweepId) -> Result<BTreeMap<String, String>, StoreError> {
        self.conn
            .query_row("SELECT images_json FROM sweep WHERE id = ?1", [sweep.0], |row| from_json(row, "images_json"))
            .map_err(self.no_sweep(sweep, "read the image digests"))
    }

    pub(super) fn no_sweep(
        &self,
        sweep: SweepId,
        doing: &'static str,
    ) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
        let explain = self.explain(doing);
        let path = self.path.clone();
        move |error| match error {
            rusqlite::Error::QueryReturnedNoRows => {
                StoreError::NotFound(format!("there is no sweep {sweep} in {}", path.display()))
            }
            other => explain(other),
        }
    }
}

fn past_outcome(row: &Row<'_>) -> rusqlite::Result<Option<PastOutcome>> {
    let Some(outcome) = row.get::<_, Option<String>>("outcome")? else { return Ok(None) };
    Ok(Some(match outcome.as_str() {
        "measured" => PastOutcome::Measured,
        "failed" => PastOutcome::Failed {
            cause: parsed_opt(row, "cause")?.unwrap_or(Cause::Unknown),
            phase: parsed(row, "phase")?,
            transient: row.get::<_, Option<bool>>("transient")?.unwrap_or(false),
        },
        // The schema allows no fourth word.
        _ => PastOutcome::Interrupted,
    }))
}

//! Writing and reading what a night makes beside the first start of each config.

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::models::{AttemptId, RunId, TrialId};
use super::rows::{all, count, now, parsed};
use super::{Store, StoreError};
use crate::domain::{Purpose, SweepId};

/// How many starts of one purpose a sweep made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartCount {
    /// Their purpose.
    pub purpose: Purpose,
    /// Starts that were tried; several attempts at one start are one.
    pub begun: u64,
    /// Starts of which an attempt ended as measured.
    pub measured: u64,
}

impl Store {
    /// Notes how many starts a run has set out to make so far.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn plan_starts(&mut self, run: RunId, starts: usize) -> Result<(), StoreError> {
        let explain = self.explain("note the planned starts");
        self.write(|tx| {
            tx.execute("UPDATE sweep_run SET starts_planned = ?2 WHERE id = ?1", params![run.0, starts as i64])?;
            Ok(())
        })
        .map_err(explain)
    }

    /// Starts that the newest run of a sweep has set out to make and has not ended; `None` where it did not say.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn starts_left(&self, sweep: SweepId) -> Result<Option<u64>, StoreError> {
        let left: Option<i64> = self
            .conn
            .query_row(
                "SELECT r.starts_planned - (SELECT count(*) FROM (
                     SELECT DISTINCT a.trial_id, a.purpose, a.start_number FROM attempt a
                     WHERE a.run_id = r.id AND a.outcome IS NOT NULL))
                 FROM sweep_run r WHERE r.id = (SELECT max(id) FROM sweep_run WHERE sweep_id = ?1)",
                [sweep.0],
                |row| row.get(0),
            )
            .or_else(|e| if e == rusqlite::Error::QueryReturnedNoRows { Ok(None) } else { Err(e) })
            .map_err(self.explain("count the starts that are left"))?;
        Ok(left.map(|n| u64::try_from(n).unwrap_or(0)))
    }

    /// What a sweep started so far, by purpose; purposes without a start are left out.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn start_counts(&self, sweep: SweepId) -> Result<Vec<StartCount>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT purpose, count(*) AS begun, sum(measured) AS measured FROM (
                   SELECT a.purpose, max(a.outcome IS 'measured') AS measured FROM attempt a JOIN trial t ON t.id = a.trial_id
                   WHERE t.sweep_id = ?1 GROUP BY a.trial_id, a.purpose, a.start_number)
                 GROUP BY purpose",
            )
            .and_then(|mut s| {
                let mut counts = all(&mut s, [sweep.0], |row| {
                    Ok(StartCount {
                        purpose: parsed(row, "purpose")?,
                        begun: count(row, "begun")?,
                        measured: count(row, "measured")?,
                    })
                })?;
                counts.sort_by_key(|c| c.purpose);
                Ok(counts)
            })
            .map_err(self.explain("count starts"))
    }

    /// A figure that the engine told of itself on the first other attempt of this attempt's trial that has it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn figure_of_an_earlier_start(&self, attempt: AttemptId, name: &str) -> Result<Option<f64>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT f.value FROM attempt mine JOIN attempt a ON a.trial_id = mine.trial_id AND a.number < mine.number
                 JOIN resolved_figure f ON f.attempt_id = a.id AND f.name = ?2 WHERE mine.id = ?1 ORDER BY a.number LIMIT 1",
            )
            .and_then(|mut s| s.query_row(params![attempt.0, name], |row| row.get(0)).optional())
            .map_err(self.explain("read a figure of an earlier start"))
    }

    /// Notes which trials are measured again before a champion is named, none included. They stay chosen for the whole sweep.
    ///
    /// # Errors
    /// The database cannot be written, or finalists were chosen before.
    pub fn save_finalists(&mut self, sweep: SweepId, finalists: &[TrialId]) -> Result<(), StoreError> {
        let explain = self.explain("note the finalists");
        self.write(|tx| {
            let mut insert = tx.prepare_cached(
                "INSERT INTO finalist (sweep_id, position, trial_id, chosen_at) VALUES (?1, ?2, ?3, ?4)",
            )?;
            let at = now();
            if finalists.is_empty() {
                insert.execute(params![sweep.0, 0, None::<i64>, at])?;
            }
            for (position, trial) in finalists.iter().enumerate() {
                insert.execute(params![sweep.0, position as i64 + 1, trial.0, at])?;
            }
            Ok(())
        })
        .map_err(explain)
    }

    /// The finalists, best first; `None` until they are chosen, empty when none was.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn finalists(&self, sweep: SweepId) -> Result<Option<Vec<TrialId>>, StoreError> {
        let rows: Vec<Option<i64>> = self
            .conn
            .prepare_cached("SELECT trial_id FROM finalist WHERE sweep_id = ?1 ORDER BY position")
            .and_then(|mut s| all(&mut s, [sweep.0], |row| row.get(0)))
            .map_err(self.explain("read the finalists"))?;
        Ok((!rows.is_empty()).then(|| rows.into_iter().flatten().map(TrialId).collect()))
    }
}

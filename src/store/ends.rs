//! When a run must be over, and what trials and restorations took before, from which it follows what still fits.

use rusqlite::{OptionalExtension, params};
use serde::Serialize;

use super::models::RunId;
use super::rows::all;
use super::{Store, StoreError};
use crate::domain::SweepId;

/// The moment by which a run must be over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDeadline {
    /// When, RFC 3339, UTC.
    pub at: String,
    /// Who says so: `--until 07:00`, `limits.budget 8 h 00 min`.
    pub by: String,
}

/// What it took before, s; None where it was never measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Took {
    /// The longest restoration of this deployment.
    pub restored_s: Option<f64>,
    /// The longest start of a trial of this deployment, from its start to its first completion.
    pub ready_s: Option<f64>,
    /// The mean attempt that was measured: of this sweep, else of the deployment's others.
    pub trial_s: Option<f64>,
}

/// The server of an attempt that nobody closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenServer {
    /// `container 0123456789ab`, or `pid:N`.
    pub id: String,
    /// The config's name.
    pub config: String,
}

impl Store {
    /// The servers of a sweep's attempts that are open. Where no vgrid is at work on it, they outlived theirs, or ended by themselves.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn open_servers(&self, sweep: SweepId) -> Result<Vec<OpenServer>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT a.container_id, t.name FROM attempt a JOIN trial t ON t.id = a.trial_id
                 WHERE t.sweep_id = ?1 AND a.outcome IS NULL AND a.container_id IS NOT NULL ORDER BY a.id",
            )
            .and_then(|mut s| {
                all(&mut s, [sweep.0], |row| {
                    let id: String = row.get(0)?;
                    let short = || format!("container {}", id.get(..12).unwrap_or(&id));
                    let id = if id.starts_with("pid:") { id } else { short() };
                    Ok(OpenServer { id, config: row.get(1)? })
                })
            })
            .map_err(self.explain("look for servers that were left"))
    }

    /// Notes when a run must be over.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn set_deadline(&mut self, run: RunId, deadline: &StoredDeadline) -> Result<(), StoreError> {
        let explain = self.explain("note when the run must be over");
        self.write(|tx| {
            tx.execute(
                "UPDATE sweep_run SET deadline_at = ?2, deadline_by = ?3 WHERE id = ?1",
                params![run.0, deadline.at, deadline.by],
            )?;
            Ok(())
        })
        .map_err(explain)
    }

    /// The deadline of a sweep's newest run that had one.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn deadline(&self, sweep: SweepId) -> Result<Option<StoredDeadline>, StoreError> {
        self.conn
            .query_row(
                "SELECT deadline_at, deadline_by FROM sweep_run WHERE sweep_id = ?1 AND deadline_at IS NOT NULL
                 ORDER BY id DESC LIMIT 1",
                [sweep.0],
                |row| Ok(StoredDeadline { at: row.get(0)?, by: row.get(1)? }),
            )
            .optional()
            .map_err(self.explain("read when the sweep must be over"))
    }

    /// What trials and restorations of a sweep's deployment took before.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn took(&self, sweep: SweepId, deployment: &str) -> Result<Took, StoreError> {
        self.conn
            .query_row(
                "SELECT
                   (SELECT max(json_extract(e.event_json, '$.elapsed_s')) FROM event e JOIN sweep w ON w.id = e.sweep_id
                    WHERE w.deployment = ?2 AND json_extract(e.event_json, '$.event') = 'restored'),
                   (SELECT max(a.ready_s) FROM attempt a JOIN trial t ON t.id = a.trial_id JOIN sweep w ON w.id = t.sweep_id
                    WHERE w.deployment = ?2),
                   coalesce(
                     (SELECT avg(a.elapsed_s) FROM attempt a JOIN trial t ON t.id = a.trial_id
                      WHERE t.sweep_id = ?1 AND a.outcome = 'measured'),
                     (SELECT avg(a.elapsed_s) FROM attempt a JOIN trial t ON t.id = a.trial_id JOIN sweep w ON w.id = t.sweep_id
                      WHERE w.deployment = ?2 AND a.outcome = 'measured'))",
                params![sweep.0, deployment],
                |row| Ok(Took { restored_s: row.get(0)?, ready_s: row.get(1)?, trial_s: row.get(2)? }),
            )
            .map_err(self.explain("read what trials took"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Event, Outcome};
    use crate::store::tests::{bench, end};
    use crate::store::{AttemptEnd, RunEnd, SweepState};

    #[test]
    fn a_sweep_keeps_the_deadline_of_its_newest_run_that_had_one_and_says_why_it_stopped() {
        let mut b = bench(1);
        assert_eq!(b.store.deadline(b.sweep).unwrap(), None);
        let seven = StoredDeadline { at: "2026-12-01T06:00:00Z".into(), by: "--until 07:00".into() };
        b.store.set_deadline(b.run, &seven).unwrap();
        b.store.finish_sweep(b.run, RunEnd::Incomplete, Some("it was late")).unwrap();
        let run = b.store.start_run(b.sweep).unwrap();
        assert_eq!(b.store.deadline(b.sweep).unwrap(), Some(seven));
        assert_eq!(b.store.sweep(None).unwrap().state, SweepState::Running);
        b.store.finish_sweep(run, RunEnd::Incomplete, Some("it was late")).unwrap();
        let row = b.store.sweep(None).unwrap();
        assert_eq!((row.state, row.why.as_deref()), (SweepState::Stopped, Some("it was late")));
    }

    #[test]
    fn what_it_took_is_the_mean_measured_attempt_and_the_longest_start_and_restoration() {
        let mut b = bench(3);
        assert_eq!(b.store.took(b.sweep, "local/vllm").unwrap(), Took::default());
        for (trial, (outcome, elapsed_s, ready_s)) in
            [(Outcome::Measured, 10.0, 4.0), (Outcome::Measured, 20.0, 6.0), (Outcome::Interrupted, 900.0, 1.0)]
                .into_iter()
                .enumerate()
        {
            let attempt = b.begin(trial);
            b.store.set_attempt_ready(attempt, ready_s).unwrap();
            b.store.finish_attempt(attempt, &AttemptEnd { elapsed_s, ..end(outcome) }).unwrap();
        }
        for elapsed_s in [7.0, 9.0] {
            b.store.save_event(b.sweep, &Event::Restored { what: "c".into(), elapsed_s }).unwrap();
        }
        let took = Took { restored_s: Some(9.0), ready_s: Some(6.0), trial_s: Some(15.0) };
        assert_eq!(b.store.took(b.sweep, "local/vllm").unwrap(), took);
        assert_eq!(b.store.took(b.sweep, "elsewhere").unwrap(), Took { trial_s: Some(15.0), ..Took::default() });
    }

    #[test]
    fn the_server_of_an_open_attempt_is_known_and_of_a_closed_one_not() {
        let mut b = bench(2);
        let (closed, open) = (b.begin(0), b.begin(1));
        b.store.set_attempt_container(closed, "pid:7", None).unwrap();
        b.store.finish_attempt(closed, &end(Outcome::Interrupted)).unwrap();
        b.store.set_attempt_container(open, "0123456789abcdef", None).unwrap();
        let ids: Vec<String> = b.store.open_servers(b.sweep).unwrap().into_iter().map(|s| s.id).collect();
        assert_eq!(ids, ["container 0123456789ab"]);
    }
}

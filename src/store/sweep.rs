//! Writing: sweeps, their runs, their trials, their events.

use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, named_params, params};

use super::models::{NewSweep, NewTrial, RunEnd, RunId, TrialId};
use super::rows::{json, now};
use super::{Store, StoreError, SweepLock};
use crate::domain::{SkipReason, SweepId};

impl Store {
    /// Registers a sweep and its trials, in one transaction. The ids of the trials come in their order.
    ///
    /// # Errors
    /// The database cannot be written, or two trials have the same name and key.
    pub fn register_sweep(
        &mut self,
        sweep: &NewSweep,
        trials: &[NewTrial],
    ) -> Result<(SweepId, Vec<TrialId>), StoreError> {
        let explain = self.explain("register the sweep");
        self.write(|tx| {
            tx.prepare_cached(
                "INSERT INTO sweep (uuid, grid_name, grid_path, grid_text, grid_sha256, deployment, baseline, suite_json,
                   plan_json, images_json, host_json, vgrid_version, created_at, kind)
                 VALUES (:uuid, :name, :path, :text, :sha, :deployment, :baseline, :suite, :plan, :images, :host, :version, :at, :kind)",
            )?
            .execute(named_params! {
                ":uuid": uuid::Uuid::now_v7().to_string(),
                ":name": sweep.grid_name,
                ":path": sweep.grid_path.to_string_lossy(),
                ":text": sweep.grid_text,
                ":sha": sweep.grid_sha256,
                ":deployment": sweep.deployment,
                ":baseline": sweep.baseline,
                ":suite": json(&sweep.suite)?,
                ":plan": json(&sweep.plan)?,
                ":images": json(&sweep.images)?,
                ":host": json(&sweep.host)?,
                ":version": env!("CARGO_PKG_VERSION"),
                ":at": now(),
                ":kind": sweep.kind.as_str(),
            })?;
            let id = SweepId(tx.last_insert_rowid());
            for (position, o) in sweep.objectives.iter().enumerate() {
                tx.execute(
                    "INSERT INTO objective (sweep_id, position, name, direction, metric, scenario) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    params![
                        id.0,
                        position as i64 + 1,
                        o.name,
                        o.direction.as_str(),
                        o.metric.to_string(),
                        o.metric.scenario.as_str()
                    ],
                )?;
            }
            for (position, gate) in sweep.gates.iter().enumerate() {
                tx.execute(
                    "INSERT INTO gate (sweep_id, position, expression) VALUES (?1, ?2, ?3)",
                    params![id.0, position as i64 + 1, gate],
                )?;
            }
            let ids = trials.iter().map(|t| insert_trial(tx, id, t)).collect::<rusqlite::Result<_>>()?;
            Ok((id, ids))
        })
        .map_err(explain)
    }

    /// Adds the trials that the sweep does not have yet (by name and key: a changed key is a new trial); the ids of all come
    /// in their order.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn register_trials(&mut self, sweep: SweepId, trials: &[NewTrial]) -> Result<Vec<TrialId>, StoreError> {
        let explain = self.explain("register trials");
        self.write(|tx| {
            trials
                .iter()
                .map(|trial| {
                    let known = tx
                        .prepare_cached("SELECT id FROM trial WHERE sweep_id = ?1 AND name = ?2 AND config_key = ?3")?
                        .query_row(params![sweep.0, trial.config.name, trial.key.0], |row| row.get(0))
                        .optional()?;
                    known.map_or_else(|| insert_trial(tx, sweep, trial), |id| Ok(TrialId(id)))
                })
                .collect()
        })
        .map_err(explain)
    }

    /// Notes that this process now works on the sweep.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn start_run(&mut self, sweep: SweepId) -> Result<RunId, StoreError> {
        let explain = self.explain("start the sweep");
        self.write(|tx| {
            tx.execute(
                "INSERT INTO sweep_run (sweep_id, started_at, pid, boot_id, vgrid_version) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![sweep.0, now(), std::process::id(), boot_id(), env!("CARGO_PKG_VERSION")],
            )?;
            Ok(RunId(tx.last_insert_rowid()))
        })
        .map_err(explain)
    }

    /// Notes how this process's work on the sweep ended, and why with work left, in a sentence. [`RunEnd::Complete`] makes the
    /// sweep finished.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn finish_sweep(&mut self, run: RunId, end: RunEnd, why: Option<&str>) -> Result<(), StoreError> {
        let explain = self.explain("finish the sweep");
        self.write(|tx| {
            tx.execute(
                "UPDATE sweep_run SET ended_at = ?2, ended = ?3, why = ?4 WHERE id = ?1 AND ended IS NULL",
                params![run.0, now(), end.as_str(), why],
            )?;
            Ok(())
        })
        .map_err(explain)
    }

    /// Closes what ended processes left open: attempts become `interrupted`, runs `crashed` where the lock's last holder died, else
    /// `interrupted` (a second Ctrl-C, a database that took no end). Holding the lock proves that whoever opened them is gone, so call
    /// it before [`Store::start_run`]. Returns the number of attempts closed.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn close_open_attempts(&mut self, lock: &SweepLock) -> Result<usize, StoreError> {
        let explain = self.explain("close attempts that a crash left open");
        let ended = if lock.died_before() { RunEnd::Crashed } else { RunEnd::Interrupted };
        let closed = self
            .write(|tx| {
                let at = now();
                let attempts = tx.execute(
                    "UPDATE attempt SET outcome = 'interrupted', ended_at = ?2 WHERE outcome IS NULL AND trial_id IN
                   (SELECT t.id FROM trial t JOIN sweep w ON w.id = t.sweep_id WHERE w.deployment = ?1)",
                    params![lock.deployment(), at],
                )?;
                tx.execute(
                    "UPDATE sweep_run SET ended = ?3, ended_at = ?2 WHERE ended IS NULL AND sweep_id IN
                   (SELECT id FROM sweep WHERE deployment = ?1)",
                    params![lock.deployment(), at, ended.as_str()],
                )?;
                Ok(attempts)
            })
            .map_err(explain)?;
        lock.settled();
        Ok(closed)
    }

    /// Counts a trial's last attempt as measured when it was interrupted: every result is stored, and only its end was not written.
    /// Whether there was such an attempt.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn settle_as_measured(&mut self, trial: TrialId) -> Result<bool, StoreError> {
        let explain = self.explain("settle a trial");
        self.write(|tx| {
            let changed = tx.execute(
                "UPDATE attempt SET outcome = 'measured' WHERE outcome = 'interrupted' AND id =
                   (SELECT id FROM attempt WHERE trial_id = ?1 ORDER BY number DESC LIMIT 1)",
                [trial.0],
            )?;
            if changed == 1 {
                super::figures::refresh(tx, trial)?;
            }
            Ok(changed == 1)
        })
        .map_err(explain)
    }

    /// Settles a trial without an attempt, or after one that found out that it need not be measured (a twin).
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn skip_trial(&mut self, trial: TrialId, reason: SkipReason, explanation: &str) -> Result<(), StoreError> {
        let explain = self.explain("skip a trial");
        self.write(|tx| insert_skip(tx, trial, reason, explanation)).map_err(explain)
    }

    /// Runs `work` in one transaction that takes the write lock at once and is on the disk when this returns.
    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = work(&tx)?;
        tx.commit()?;
        Ok(result)
    }
}

fn insert_trial(tx: &Transaction<'_>, sweep: SweepId, trial: &NewTrial) -> rusqlite::Result<TrialId> {
    tx.prepare_cached(
        "INSERT INTO trial (sweep_id, position, name, config_key, is_baseline, image_digest, settings_json, argv_json,
           axis_values_json, expected)
         VALUES (:sweep, :position, :name, :key, :baseline, :digest, :settings, :argv, :axes, :expected)",
    )?
    .execute(named_params! {
        ":sweep": sweep.0,
        ":position": trial.position as i64,
        ":name": trial.config.name,
        ":key": trial.key.0,
        ":baseline": trial.is_baseline,
        ":digest": trial.image_digest,
        ":settings": json(&trial.config.settings)?,
        ":argv": json(&trial.argv)?,
        ":axes": json(&trial.config.axis_values)?,
        ":expected": (!trial.expected.is_empty()).then(|| json(&trial.expected)).transpose()?,
    })?;
    let id = TrialId(tx.last_insert_rowid());
    if let Some((reason, explanation)) = &trial.skip {
        insert_skip(tx, id, *reason, explanation)?;
    }
    Ok(id)
}

fn insert_skip(tx: &Transaction<'_>, trial: TrialId, reason: SkipReason, explanation: &str) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO trial_skip (trial_id, after_attempt, reason, explanation, skipped_at)
         VALUES (?1, (SELECT coalesce(max(number), 0) FROM attempt WHERE trial_id = ?1), ?2, ?3, ?4)",
    )?
    .execute(params![trial.0, reason.as_str(), explanation, now()])?;
    Ok(())
}

/// Identity of the host's boot, for the reader of a post-mortem; empty where the system does not tell.
pub(super) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|t| t.trim().to_owned()).unwrap_or_default()
}

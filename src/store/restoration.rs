//! The journal of what served before a sweep: written before it is taken down, settled when it serves again.

use rusqlite::{Row, params};

use super::models::{Restoration, RestorationEnd, RestorationId};
use super::rows::{all, from_json, json, now};
use super::{Store, StoreError};
use crate::domain::SweepId;

impl Store {
    /// Notes what serves now and will have to be put back. `serving` is the launcher's own note, without secrets.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn journal_restoration(
        &mut self,
        sweep: Option<SweepId>,
        deployment: &str,
        what: &str,
        serving: &serde_json::Value,
    ) -> Result<RestorationId, StoreError> {
        let explain = self.explain("note what serves now");
        self.write(|tx| {
            tx.execute(
                "INSERT INTO restoration (sweep_id, deployment, what, serving_json, state, noted_at)
                 VALUES (?1, ?2, ?3, ?4, 'pending', ?5)",
                params![sweep.map(|s| s.0), deployment, what, json(serving)?, now()],
            )?;
            Ok(RestorationId(tx.last_insert_rowid()))
        })
        .map_err(explain)
    }

    /// Notes that it serves again, or why it could not be put back (`detail`). A failed one stays open.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn restoration_done(
        &mut self,
        restoration: RestorationId,
        end: RestorationEnd,
        detail: Option<&str>,
    ) -> Result<(), StoreError> {
        let explain = self.explain("note a restoration");
        self.write(|tx| {
            tx.execute(
                "UPDATE restoration SET state = ?2, detail = ?3, settled_at = ?4 WHERE id = ?1",
                params![restoration.0, end.as_str(), detail, now()],
            )?;
            Ok(())
        })
        .map_err(explain)
    }

    /// What is still to be put back (pending or failed), oldest first; of every deployment when none is named. While the oldest of
    /// a deployment is open, what serves now is not what served before.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn open_restorations(&self, deployment: Option<&str>) -> Result<Vec<Restoration>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT * FROM restoration WHERE state <> 'restored' AND (?1 IS NULL OR deployment = ?1) ORDER BY id",
            )
            .and_then(|mut s| all(&mut s, [deployment], restoration))
            .map_err(self.explain("read what is to be restored"))
    }
}

fn restoration(row: &Row<'_>) -> rusqlite::Result<Restoration> {
    let state: String = row.get("state")?;
    let detail: Option<String> = row.get("detail")?;
    Ok(Restoration {
        id: RestorationId(row.get("id")?),
        sweep: row.get::<_, Option<i64>>("sweep_id")?.map(SweepId),
        deployment: row.get("deployment")?,
        what: row.get("what")?,
        serving: from_json(row, "serving_json")?,
        failed: (state == RestorationEnd::Failed.as_str()).then(|| detail.unwrap_or_default()),
        noted_at: row.get("noted_at")?,
    })
}

//! The journal of promotions: written before a file or container is touched, and all that is needed to undo them.

use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::models::TrialId;
use super::rows::{all, from_json, json, now, parsed};
use super::{Store, StoreError};
use crate::domain::{ConfigKey, text_enum};

/// A promotion's number in `runs.db`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PromotionId(pub i64);

text_enum! {
    /// What became of a promotion.
    pub enum PromotionState {
        /// Files were written; no container was touched.
        Written = "written",
        /// Containers are being exchanged. After a kill this stands until it is rolled back.
        Applying = "applying",
        /// The promoted config serves, verified.
        Promoted = "promoted",
        /// It was undone: what served before serves again, the files are as they were.
        RolledBack = "rolled_back",
        /// It could not be undone; still to be done.
        Failed = "failed",
    }
}

/// A promotion to be journaled.
#[derive(Clone, Debug)]
pub struct NewPromotion {
    /// Identity of the deployment.
    pub deployment: String,
    /// The trial whose settings are promoted.
    pub trial: TrialId,
    /// Its config's name.
    pub config: String,
    /// Its config's key.
    pub key: ConfigKey,
    /// `Written` or `Applying`.
    pub state: PromotionState,
    /// The files that are written, with their backups; the engine's own format.
    pub files: serde_json::Value,
    /// What served before; the launcher's own format, without secrets. An empty list when nothing did or no container is touched.
    pub serving: serde_json::Value,
    /// The checklist.
    pub checklist: serde_json::Value,
}

/// A journaled promotion.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Promotion {
    /// Its number.
    pub id: PromotionId,
    /// Identity of the deployment.
    pub deployment: String,
    /// The trial; None when its sweep was removed.
    pub trial: Option<TrialId>,
    /// Its config's name.
    pub config: String,
    /// Its config's key.
    pub key: ConfigKey,
    /// What became of it.
    pub state: PromotionState,
    /// Why it was rolled back or failed.
    pub detail: Option<String>,
    /// The files.
    pub files: serde_json::Value,
    /// What served before.
    #[serde(skip)]
    pub serving: serde_json::Value,
    /// When it began.
    pub began_at: String,
}

impl Store {
    /// Journals a promotion.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn journal_promotion(&mut self, new: &NewPromotion) -> Result<PromotionId, StoreError> {
        let explain = self.explain("journal a promotion");
        self.write(|tx| {
            tx.execute(
                "INSERT INTO promotion (deployment, trial_id, config, config_key, state, files_json, serving_json, checklist_json, began_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    new.deployment,
                    new.trial.0,
                    new.config,
                    new.key.0,
                    new.state.as_str(),
                    json(&new.files)?,
                    json(&new.serving)?,
                    json(&new.checklist)?,
                    now()
                ],
            )?;
            Ok(PromotionId(tx.last_insert_rowid()))
        })
        .map_err(explain)
    }

    /// Notes what became of a promotion, and why.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn promotion_done(
        &mut self,
        id: PromotionId,
        state: PromotionState,
        detail: Option<&str>,
    ) -> Result<(), StoreError> {
        let explain = self.explain("note a promotion");
        self.write(|tx| {
            tx.execute(
                "UPDATE promotion SET state = ?2, detail = ?3, settled_at = ?4 WHERE id = ?1",
                params![id.0, state.as_str(), detail, now()],
            )?;
            Ok(())
        })
        .map_err(explain)
    }

    /// The newest promotion that is not undone, of any deployment.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn last_promotion(&self) -> Result<Option<Promotion>, StoreError> {
        self.conn
            .prepare_cached("SELECT * FROM promotion WHERE state <> 'rolled_back' ORDER BY id DESC LIMIT 1")
            .and_then(|mut s| s.query_row([], promotion).optional())
            .map_err(self.explain("read the last promotion"))
    }

    /// Every promotion of a deployment, also those that are undone, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn promotions(&self, deployment: &str) -> Result<Vec<Promotion>, StoreError> {
        self.conn
            .prepare_cached("SELECT * FROM promotion WHERE deployment = ?1 ORDER BY id DESC")
            .and_then(|mut s| all(&mut s, [deployment], promotion))
            .map_err(self.explain("read the promotions"))
    }

    /// Promotions that were begun and neither verified nor undone, newest first; of every deployment when none is named.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn open_promotions(&self, deployment: Option<&str>) -> Result<Vec<Promotion>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT * FROM promotion WHERE state IN ('applying', 'failed') AND (?1 IS NULL OR deployment = ?1)
                 ORDER BY id DESC",
            )
            .and_then(|mut s| all(&mut s, [deployment], promotion))
            .map_err(self.explain("read the open promotions"))
    }
}

fn promotion(row: &Row<'_>) -> rusqlite::Result<Promotion> {
    Ok(Promotion {
        id: PromotionId(row.get("id")?),
        deployment: row.get("deployment")?,
        trial: row.get::<_, Option<i64>>("trial_id")?.map(TrialId),
        config: row.get("config")?,
        key: ConfigKey(row.get("config_key")?),
        state: parsed(row, "state")?,
        detail: row.get("detail")?,
        files: from_json(row, "files_json")?,
        serving: from_json(row, "serving_json")?,
        began_at: row.get("began_at")?,
    })
}

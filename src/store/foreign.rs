//! Foreign tables: stored apart from measured results, so that no view of those can mix them up.

use std::path::Path;

use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;

use super::rows::{all, from_json, json, now, parsed, parsed_opt};
use super::{Store, StoreError};
use crate::foreign::{ForeignDoubt, ForeignFigure, ForeignRow, ForeignTable};

/// A foreign table's number in `runs.db`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ForeignId(pub i64);

/// A foreign table with its number and origin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoredForeign {
    /// Its number.
    pub id: ForeignId,
    /// The file that it was read from.
    pub path: String,
    /// When.
    pub imported_at: String,
    /// The table.
    #[serde(flatten)]
    pub table: ForeignTable,
}

impl Store {
    /// Stores a foreign table. A file of the same content is there once: its number comes back, and false.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn save_foreign(
        &mut self,
        path: &Path,
        sha256: &str,
        table: &ForeignTable,
    ) -> Result<(ForeignId, bool), StoreError> {
        let explain = self.explain("store a foreign table");
        self.write(|tx| {
            let known = tx
                .query_row("SELECT id FROM foreign_table WHERE sha256 = ?1", [sha256], |row| row.get(0))
                .optional()?;
            if let Some(id) = known {
                return Ok((ForeignId(id), false));
            }
            tx.execute(
                "INSERT INTO foreign_table (name, kind, path, sha256, baseline, objective, imported_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    table.name,
                    table.kind.as_str(),
                    path.display().to_string(),
                    sha256,
                    table.baseline,
                    table.objective,
                    now()
                ],
            )?;
            let id = tx.last_insert_rowid();
            for (position, row) in table.rows.iter().enumerate() {
                tx.execute(
                    "INSERT INTO foreign_row (table_id, position, config, estimated, n, settings_json, remarks_json)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    params![
                        id,
                        position as i64 + 1,
                        row.config,
                        row.estimated,
                        row.n.map(|n| n as i64),
                        json(&row.settings)?,
                        json(&row.remarks)?
                    ],
                )?;
                let row_id = tx.last_insert_rowid();
                for figure in &row.figures {
                    tx.execute(
                        "INSERT INTO foreign_figure (row_id, name, value, direction) VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT DO UPDATE SET value = excluded.value",
                        params![row_id, figure.name, figure.value, figure.direction.map(|d| d.as_str())],
                    )?;
                }
            }
            for doubt in &table.doubts {
                tx.execute(
                    "INSERT INTO foreign_doubt (table_id, doubt, configs_json, explanation) VALUES (?1, ?2, ?3, ?4)",
                    params![id, doubt.doubt.as_str(), json(&doubt.configs)?, doubt.text],
                )?;
            }
            Ok((ForeignId(id), true))
        })
        .map_err(explain)
    }

    /// Every foreign table, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn foreign_tables(&self) -> Result<Vec<StoredForeign>, StoreError> {
        let explain = self.explain("read the foreign tables");
        let heads = self
            .conn
            .prepare_cached("SELECT * FROM foreign_table ORDER BY id")
            .and_then(|mut s| all(&mut s, [], head))
            .map_err(&explain)?;
        heads
            .into_iter()
            .map(|mut stored| {
                stored.table.rows = self.foreign_rows(stored.id)?;
                stored.table.doubts = self
                    .conn
                    .prepare_cached("SELECT * FROM foreign_doubt WHERE table_id = ?1 ORDER BY id")
                    .and_then(|mut s| all(&mut s, [stored.id.0], doubt))?;
                Ok(stored)
            })
            .collect::<rusqlite::Result<_>>()
            .map_err(explain)
    }

    fn foreign_rows(&self, id: ForeignId) -> rusqlite::Result<Vec<ForeignRow>> {
        let mut statement =
            self.conn.prepare_cached("SELECT * FROM foreign_row WHERE table_id = ?1 ORDER BY position")?;
        let rows: Vec<(i64, ForeignRow)> = all(&mut statement, [id.0], |row| {
            let read = ForeignRow {
                config: row.get("config")?,
                estimated: row.get("estimated")?,
                settings: from_json(row, "settings_json")?,
                remarks: from_json(row, "remarks_json")?,
                n: row.get::<_, Option<u32>>("n")?.map(u64::from),
                figures: Vec::new(),
            };
            Ok((row.get("id")?, read))
        })?;
        let mut figures = self.conn.prepare_cached("SELECT * FROM foreign_figure WHERE row_id = ?1 ORDER BY name")?;
        rows.into_iter()
            .map(|(id, mut row)| {
                row.figures = all(&mut figures, [id], |row| {
                    Ok(ForeignFigure {
                        name: row.get("name")?,
                        value: row.get("value")?,
                        direction: parsed_opt(row, "direction")?,
                    })
                })?;
                Ok(row)
            })
            .collect()
    }
}

fn head(row: &Row<'_>) -> rusqlite::Result<StoredForeign> {
    Ok(StoredForeign {
        id: ForeignId(row.get("id")?),
        path: row.get("path")?,
        imported_at: row.get("imported_at")?,
        table: ForeignTable {
            name: row.get("name")?,
            kind: parsed(row, "kind")?,
            baseline: row.get("baseline")?,
            objective: row.get("objective")?,
            rows: Vec::new(),
            doubts: Vec::new(),
        },
    })
}

fn doubt(row: &Row<'_>) -> rusqlite::Result<ForeignDoubt> {
    Ok(ForeignDoubt {
        doubt: parsed(row, "doubt")?,
        configs: from_json(row, "configs_json")?,
        text: row.get("explanation")?,
    })
}

//! Reading: every table and view of one sweep, row by row, as other programs want it.

use rusqlite::types::ValueRef;
use serde_json::Value;

use super::chunks;
use super::rows::{all, blob};
use super::{Store, StoreError};
use crate::domain::SweepId;

/// Reads one table or view of one sweep.
pub struct TableReader<'s> {
    store: &'s Store,
    /// The table's or view's name, as `docs/schema.md` explains it.
    pub name: String,
    /// Its columns in the schema's order, computed ones included.
    pub columns: Vec<String>,
    condition: &'static str,
}

/// The rows of a sweep in a table: by the first of these columns that the table has.
const BELONGS_BY: [(&str, &str); 4] = [
    ("sweep_id", "sweep_id = ?1"),
    ("trial_id", "trial_id IN (SELECT id FROM trial WHERE sweep_id = ?1)"),
    (
        "attempt_id",
        "attempt_id IN (SELECT a.id FROM attempt a JOIN trial t ON t.id = a.trial_id WHERE t.sweep_id = ?1)",
    ),
    (
        "scenario_result_id",
        "scenario_result_id IN (SELECT r.id FROM scenario_result r JOIN trial t ON t.id = r.trial_id WHERE t.sweep_id = ?1)",
    ),
];

impl Store {
    /// Every table and view that holds rows of a sweep, tables first. What belongs to no sweep (constants of the schema,
    /// foreign results) is left out.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn exportable(&self) -> Result<Vec<TableReader<'_>>, StoreError> {
        let explain = self.explain("list the tables");
        let names: Vec<String> = self
            .conn
            .prepare(
                "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY type, rowid",
            )
            .and_then(|mut s| all(&mut s, [], |row| row.get(0)))
            .map_err(&explain)?;
        let mut readers = Vec::new();
        for name in names {
            let columns: Vec<String> = self
                .conn
                .prepare("SELECT name FROM pragma_table_xinfo(?1) ORDER BY cid")
                .and_then(|mut s| all(&mut s, [&name], |row| row.get(0)))
                .map_err(&explain)?;
            let condition = match name.as_str() {
                "sweep" => Some("id = ?1"),
                _ => BELONGS_BY.iter().find(|(column, _)| columns.iter().any(|c| c == column)).map(|(_, sql)| *sql),
            };
            if let Some(condition) = condition {
                readers.push(TableReader { store: self, name, columns, condition });
            }
        }
        Ok(readers)
    }

    /// Holds this moment: until the guard is dropped, everything that is read is of one and the same state of the file, also while a
    /// sweep goes on writing.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, StoreError> {
        self.conn
            .execute_batch("BEGIN DEFERRED; SELECT count(*) FROM sweep")
            .map_err(self.explain("read a snapshot"))?;
        Ok(Snapshot(self))
    }
}

/// See [`Store::snapshot`].
#[must_use]
pub struct Snapshot<'s>(&'s Store);

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        // Ends a transaction that only read; if it failed, closing the file ends it.
        let _ = self.0.conn.execute_batch("ROLLBACK");
    }
}

impl TableReader<'_> {
    /// Gives each row to `each`, in the table's own order, values in the order of [`Self::columns`]: `*_json` columns as JSON, chunk
    /// stamps as `[[offset ms, kind], ...]`, their tokens as `[tokens, ...]`, everything else as SQLite holds it. Returns the number of rows.
    ///
    /// # Errors
    /// The database cannot be read; or what `each` returned.
    pub fn rows<E: From<StoreError>>(
        &self,
        sweep: SweepId,
        mut each: impl FnMut(Vec<Value>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let explain = self.store.explain("export a table");
        let columns: Vec<String> = self.columns.iter().map(|c| format!("\"{c}\"")).collect();
        let sql = format!("SELECT {} FROM \"{}\" WHERE {}", columns.join(", "), self.name, self.condition);
        let mut statement = self.store.conn.prepare(&sql).map_err(&explain)?;
        let mut rows = statement.query([sweep.0]).map_err(&explain)?;
        let mut count = 0;
        while let Some(row) = rows.next().map_err(&explain)? {
            let values: rusqlite::Result<Vec<Value>> = self.columns.iter().map(|column| value(row, column)).collect();
            each(values.map_err(&explain)?)?;
            count += 1;
        }
        Ok(count)
    }
}

fn value(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<Value> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::from(number),
        ValueRef::Real(number) => Value::from(number),
        ValueRef::Text(_) if column.ends_with("_json") => super::rows::from_json(row, column)?,
        ValueRef::Text(text) => Value::from(String::from_utf8_lossy(text)),
        ValueRef::Blob(_) if column == "chunk_tokens" => {
            blob(row, column, chunks::decode_tokens)?.unwrap_or_default().into()
        }
        ValueRef::Blob(_) => {
            let pairs = blob(row, column, chunks::decode)?.unwrap_or_default();
            pairs.into_iter().map(|(offset_ms, kind)| serde_json::json!([offset_ms, kind.as_str()])).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bench, measured};
    use super::*;

    #[test]
    fn every_table_of_the_schema_is_exported_or_belongs_to_no_sweep() {
        let b = bench(1);
        let exported: Vec<String> = b.store.exportable().unwrap().into_iter().map(|r| r.name).collect();
        let all_names: Vec<String> = b
            .store
            .conn
            .prepare("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'")
            .and_then(|mut s| all(&mut s, [], |row| row.get(0)))
            .unwrap();
        let left_out: Vec<&String> = all_names.iter().filter(|n| !exported.contains(n)).collect();
        let foreign = ["foreign_table", "foreign_row", "foreign_figure", "foreign_doubt", "foreign_results"];
        assert_eq!(left_out, [&["critical_value"], foreign.as_slice()].concat());
    }

    #[test]
    fn rows_of_another_sweep_stay_out_and_stamps_and_json_are_readable() {
        let b = measured();
        for reader in b.store.exportable().unwrap() {
            let none = reader.rows(SweepId(b.sweep.0 + 1), |_| Ok::<_, StoreError>(())).unwrap();
            assert_eq!(none, 0, "{}", reader.name);
        }
        let read = |name: &str| {
            let reader = b.store.exportable().unwrap().into_iter().find(|r| r.name == name).unwrap();
            let mut found = Vec::new();
            reader
                .rows(b.sweep, |values| {
                    let row: serde_json::Map<String, Value> = reader.columns.iter().cloned().zip(values).collect();
                    found.push(row);
                    Ok::<_, StoreError>(())
                })
                .unwrap();
            found
        };
        let requests = read("request");
        assert!(!requests.is_empty());
        assert!(requests[0]["chunks"][0][0].is_number() && requests[0]["chunks"][0][1].is_string());
        assert!(requests[0]["ttft_ms"].is_number(), "computed columns too");
        assert!(read("trial")[0]["settings_json"].is_object());
        assert_eq!(read("sweep").len(), 1);
    }

    #[test]
    fn a_snapshot_does_not_see_what_is_written_after_it() {
        let mut b = bench(1);
        let reader = Store::open_read_only(&b.path).unwrap();
        let count = || reader.conn.query_row("SELECT count(*) FROM event", [], |r| r.get::<_, i64>(0)).unwrap();
        let snapshot = reader.snapshot().unwrap();
        b.store.save_event(b.sweep, &crate::domain::Event::Notice { text: "later".to_owned() }).unwrap();
        assert_eq!(count(), 0);
        drop(snapshot);
        assert_eq!(count(), 1);
    }
}

//! Small helpers between SQL values and our types.

use std::str::FromStr;

use rusqlite::types::Type;
use rusqlite::{Row, Statement};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The time now, RFC 3339 in UTC with milliseconds.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A value as JSON text for a column.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

fn unreadable(row: &Row<'_>, column: &str, why: impl std::fmt::Display) -> rusqlite::Error {
    let index = row.as_ref().column_index(column).unwrap_or_default();
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, format!("column {column}: {why}").into())
}

/// Reads a text column into one of our enums or other parsed types.
pub(super) fn parsed<T: FromStr<Err: std::fmt::Display>>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    text.parse().map_err(|e| unreadable(row, column, e))
}

/// Like [`parsed`], for a column that may be NULL.
pub(super) fn parsed_opt<T: FromStr<Err: std::fmt::Display>>(
    row: &Row<'_>,
    column: &str,
) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|t| t.parse().map_err(|e| unreadable(row, column, e))).transpose()
}

/// Reads a column that holds JSON.
pub(super) fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|e| unreadable(row, column, e))
}

/// Reads a blob of [`super::chunks`]; `None` where the column is NULL.
pub(super) fn blob<T>(
    row: &Row<'_>,
    column: &str,
    decode: impl FnOnce(&[u8]) -> Result<T, String>,
) -> rusqlite::Result<Option<T>> {
    let blob: Option<Vec<u8>> = row.get(column)?;
    blob.map(|blob| decode(&blob).map_err(|e| unreadable(row, column, e))).transpose()
}

/// All rows of a query.
pub(super) fn all<T>(
    statement: &mut Statement<'_>,
    params: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    statement.query_map(params, read)?.collect()
}

/// Reads a column that counts something and is never negative.
pub(super) fn count(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| unreadable(row, column, "is negative"))
}

/// The start that an attempt belongs to.
pub(super) fn start(row: &Row<'_>) -> rusqlite::Result<crate::domain::Start> {
    Ok(crate::domain::Start { purpose: parsed(row, "purpose")?, number: row.get("start_number")? })
}

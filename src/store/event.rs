//! The events of a sweep: kept in the table `event`, and from there as JSON lines in a file beside the database.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use rusqlite::{Row, params};

use super::rows::{all, from_json, json, now};
use super::{Store, StoreError};
use crate::domain::{Event, SweepId};

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptEvent {
    /// Its number in the database, ascending in time.
    pub id: i64,
    /// When it was kept, RFC 3339, UTC.
    pub at: String,
    /// The event; `event` names its kind.
    pub event: serde_json::Value,
}

impl KeptEvent {
    /// The event's line in the log: `id` and `time` before its own fields.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = serde_json::Map::new();
        line.insert("id".to_owned(), self.id.into());
        line.insert("time".to_owned(), self.at.clone().into());
        if let serde_json::Value::Object(fields) = &self.event {
            line.extend(fields.clone());
        }
        serde_json::Value::Object(line).to_string()
    }
}

impl Store {
    /// Keeps an event as it is going to be told, secrets hidden already.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn save_event(&mut self, sweep: SweepId, event: &Event) -> Result<(), StoreError> {
        let explain = self.explain("save an event");
        self.write(|tx| {
            tx.prepare_cached("INSERT INTO event (sweep_id, told_at, event_json) VALUES (?1, ?2, ?3)")?
                .execute(params![sweep.0, now(), json(event)?])?;
            Ok(())
        })
        .map_err(explain)
    }

    /// The events of a sweep whose number is above `after`, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn events(&self, sweep: SweepId, after: i64) -> Result<Vec<KeptEvent>, StoreError> {
        self.conn
            .prepare_cached("SELECT id, told_at, event_json FROM event WHERE sweep_id = ?1 AND id > ?2 ORDER BY id")
            .and_then(|mut s| all(&mut s, params![sweep.0, after], kept))
            .map_err(self.explain("read the events"))
    }
}

fn kept(row: &Row<'_>) -> rusqlite::Result<KeptEvent> {
    Ok(KeptEvent { id: row.get("id")?, at: row.get("told_at")?, event: from_json(row, "event_json")? })
}

/// A sweep's event log: one JSON object a line. It follows the table `event` and never leads it, so a line that a crash or a full
/// disk cost is written later.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    /// Bytes that are whole lines.
    whole: u64,
    last_id: i64,
    last_line: Option<String>,
}

impl EventLog {
    /// Opens or makes the file, takes away a line that a crash cut, and finds out how far it has come.
    ///
    /// # Errors
    /// The file or its folder cannot be made, read or written.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let last = bytes[..whole].split(|byte| *byte == b'\n').rev().find(|line| !line.is_empty());
        let last_line = last.map(|line| String::from_utf8_lossy(line).into_owned());
        let last = last.and_then(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
        let last_id = last.and_then(|line| line.get("id")?.as_i64()).unwrap_or(0);
        let log = Self { file, whole: whole as u64, last_id, last_line };
        log.file.set_len(log.whole)?;
        Ok(log)
    }

    /// Whether its last line is this sweep's event in this database. A database that was deleted leaves its logs behind, and the
    /// numbers of the next one begin anew.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn belongs_to(&self, store: &Store, sweep: SweepId) -> Result<bool, StoreError> {
        let Some(line) = &self.last_line else { return Ok(true) };
        let kept = store.events(sweep, self.last_id - 1)?.into_iter().next();
        Ok(kept.is_some_and(|event| event.id == self.last_id && event.line() == *line))
    }

    /// The number of the last event in it; 0 when it is empty.
    #[must_use]
    pub const fn last_id(&self) -> i64 {
        self.last_id
    }

    /// Adds a line.
    ///
    /// # Errors
    /// It cannot be written; the file is then as it was before.
    pub fn append(&mut self, event: &KeptEvent) -> io::Result<()> {
        let line = format!("{}\n", event.line());
        let written = self.file.seek(SeekFrom::Start(self.whole)).and_then(|_| self.file.write_all(line.as_bytes()));
        if let Err(error) = written {
            // A part of a line is worse than none; should this fail too, the next opening does it.
            let _ = self.file.set_len(self.whole);
            return Err(error);
        }
        self.whole += line.len() as u64;
        self.last_id = event.id;
        self.last_line = Some(event.line());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: i64) -> KeptEvent {
        let event = serde_json::json!({ "event": "notice", "text": format!("number {id}") });
        KeptEvent { id, at: "2026-01-01T00:00:00.000Z".to_owned(), event }
    }

    #[test]
    fn a_line_that_a_crash_cut_is_taken_away_and_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sweep-1/events.jsonl");
        let mut log = EventLog::open(&path).unwrap();
        assert_eq!(log.last_id(), 0);
        log.append(&event(3)).unwrap();
        log.append(&event(7)).unwrap();
        drop(log);
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();

        let mut log = EventLog::open(&path).unwrap();
        assert_eq!(log.last_id(), 3, "the cut line is as if it had never been");
        log.append(&event(7)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    }

    #[test]
    fn a_line_has_the_number_and_the_time_before_the_events_own_fields() {
        assert_eq!(event(3).line(), r#"{"id":3,"time":"2026-01-01T00:00:00.000Z","event":"notice","text":"number 3"}"#);
    }
}

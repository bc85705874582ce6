//! Recording: the one place through which an event goes into the database, into the event log and to the screen, in this order.

use std::io;
use std::path::{Path, PathBuf};

use crate::domain::{Event, Redactor, SweepId};
use crate::store::{EventLog, Store, StoreError};

use super::Teller;
use super::preflight::state_folder;

/// Records the events of one sweep.
pub(super) struct Recorder {
    sweep: SweepId,
    teller: Teller,
    redactor: Redactor,
    log: Option<EventLog>,
    /// The event log's trouble was told; it is told once.
    told_trouble: bool,
}

/// What the event log of a database that is gone is renamed to.
const OF_ANOTHER_DATABASE: &str = "events-of-another-database.jsonl";

/// A sweep's event log: beside the database, `runs.db.d/sweep-1/events.jsonl`.
pub(super) fn event_log_path(db: &Path, sweep: SweepId) -> PathBuf {
    state_folder(db).join(format!("sweep-{sweep}")).join("events.jsonl")
}

impl Recorder {
    /// Records for this sweep; what it tells goes through `redactor` first.
    pub(super) fn new(sweep: SweepId, redactor: Redactor, teller: Teller) -> Self {
        Self { sweep, teller, redactor, log: None, told_trouble: false }
    }

    /// Keeps an event in the database, then in the event log, then tells it. An event log that cannot be written is a warning: the
    /// database has the event, and the log catches up as soon as it can.
    ///
    /// # Errors
    /// The database cannot be written; the event is then not told either.
    pub(super) fn record(&mut self, store: &mut Store, event: Event) -> Result<(), StoreError> {
        let event = event.redacted(&self.redactor);
        store.save_event(self.sweep, &event)?;
        let caught_up = self.catch_up(store)?;
        self.teller.tell(event);
        if let Err(error) = caught_up
            && !std::mem::replace(&mut self.told_trouble, true)
        {
            let path = event_log_path(store.path(), self.sweep);
            let text =
                format!("the event log {} cannot be written ({error}); the database has every event", path.display());
            let trouble = Event::Warning { text };
            store.save_event(self.sweep, &trouble)?;
            self.teller.tell(trouble);
        }
        Ok(())
    }

    /// As [`Self::record`], for what must go on even when the database cannot be written: told in any case.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub(super) fn record_or_tell(&mut self, store: &mut Store, event: Event) -> Result<(), StoreError> {
        let recorded = self.record(store, event.clone());
        if recorded.is_err() {
            self.teller.tell(event.redacted(&self.redactor));
        }
        recorded
    }

    /// Opens the log. One that another database left under this name is kept beside it.
    fn open_log(&self, store: &Store) -> Result<io::Result<EventLog>, StoreError> {
        let path = event_log_path(store.path(), self.sweep);
        let log = match EventLog::open(&path) {
            Ok(log) => log,
            Err(error) => return Ok(Err(error)),
        };
        if log.belongs_to(store, self.sweep)? {
            return Ok(Ok(log));
        }
        drop(log);
        Ok(std::fs::rename(&path, path.with_file_name(OF_ANOTHER_DATABASE)).and_then(|()| EventLog::open(&path)))
    }

    fn catch_up(&mut self, store: &Store) -> Result<io::Result<()>, StoreError> {
        let log = match self.log.take() {
            Some(log) => Ok(log),
            None => self.open_log(store)?,
        };
        let mut log = match log {
            Ok(log) => log,
            Err(error) => return Ok(Err(error)),
        };
        let kept = store.events(self.sweep, log.last_id())?;
        let written = kept.iter().try_for_each(|event| log.append(event));
        self.log = Some(log);
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::registered;

    fn notice(text: &str) -> Event {
        Event::Notice { text: text.to_owned() }
    }

    #[test]
    fn what_could_not_be_logged_is_logged_as_soon_as_it_can_and_no_secret_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, sweep) = registered(folder.path());
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        let redactor = Redactor::new(["sk-\"quoted\"-secret".to_owned()]);
        let mut recorder = Recorder::new(sweep, redactor, Teller::new(sender));
        // A file where the folder must be.
        let state = state_folder(store.path());
        std::fs::write(&state, "").unwrap();
        recorder.record(&mut store, notice("first, with sk-\"quoted\"-secret")).unwrap();
        recorder.record(&mut store, notice("second")).unwrap();
        std::fs::remove_file(&state).unwrap();
        recorder.record(&mut store, notice("third")).unwrap();

        let log = std::fs::read_to_string(event_log_path(store.path(), sweep)).unwrap();
        let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let texts: Vec<&str> = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
        assert_eq!(texts.len(), 4);
        assert_eq!((texts[0], texts[2], texts[3]), ("first, with ***", "second", "third"));
        assert!(texts[1].contains("cannot be written"), "the trouble is told once: {}", texts[1]);
        let mut heard = Vec::new();
        while let Ok(Event::Notice { text } | Event::Warning { text }) = told.try_recv() {
            heard.push(text);
        }
        assert_eq!(heard, texts, "the screen heard the same");
    }

    #[test]
    fn the_log_of_a_database_that_was_deleted_is_set_aside_and_takes_no_event_away() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, _told) = tokio::sync::mpsc::unbounded_channel();
        let record = |texts: &[&str]| {
            let (mut store, sweep) = registered(folder.path());
            let mut recorder = Recorder::new(sweep, Redactor::default(), Teller::new(sender.clone()));
            texts.iter().for_each(|text| recorder.record(&mut store, notice(text)).unwrap());
            event_log_path(store.path(), sweep)
        };
        let path = record(&["old 1", "old 2", "old 3"]);
        let folder_of_logs = path.parent().unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap).filter(|e| e.path().is_file()) {
            std::fs::remove_file(entry.path()).unwrap();
        }
        record(&["new 1"]);
        let texts = |name: &str| std::fs::read_to_string(folder_of_logs.join(name)).unwrap();
        assert!(texts("events.jsonl").contains("new 1") && !texts("events.jsonl").contains("old"));
        assert_eq!(texts(OF_ANOTHER_DATABASE).lines().count(), 3);
    }
}

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

    fn catch_up(&mut self, store: &Store) -> Result<io::Result<()>, StoreError> {
        let log = match self.log.take() {
            Some(log) => Ok(log),
            None => EventLog::open(&event_log_path(store.path(), self.sweep)),
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
}

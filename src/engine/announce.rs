//! Announcing: what is sent to webhooks and hooks, and when. Somebody who cannot be reached is a warning, never more.

use crate::domain::reading::shorten;
use crate::domain::{Event, SweepId};
use crate::grid::Happening;
use crate::notify::{self, Best, Message};
use crate::store::Store;

use super::plan::Planner;
use super::sweep::{Summary, Sweep};
use super::{EngineError, Teller, score};

/// Characters of a line of evidence in a message.
const EVIDENCE_WIDTH: usize = 300;

/// Announces that a run ended, however it did.
pub(super) async fn end(sweep: &mut Sweep, ended: &Result<Summary, EngineError>) {
    let (word, error) = match ended {
        Ok(summary) => (summary.ended.as_str(), None),
        Err(error) => ("failed", Some(error.to_string())),
    };
    let restored = !matches!(ended, Err(EngineError::Restore(_)));
    let title = format!("sweep {} of {}: {word}", sweep.id, sweep.planner.grid.name);
    let mut message = message(sweep, Happening::End, title);
    message.ended = Some(word.to_owned());
    message.restored = Some(restored);
    message.text = counts(&message);
    if let Some(best) = score::answer(&sweep.planner, &sweep.store, sweep.id) {
        message.text.push_str(&format!("; {best}"));
    }
    if let Some(why) = sweep.why.as_ref().filter(|_| error.is_none()) {
        message.text.push_str(&format!("; it ended early: {why}"));
    }
    if let Some(error) = &error {
        message.text.push_str(&format!("; {error}"));
    }
    message.error = error;
    send(sweep, message).await;
}

/// Announces that the breaker stopped the sweep, before what served is put back, which may take long.
pub(super) async fn breaker(sweep: &mut Sweep, why: &str, evidence: &str) {
    let title = format!("sweep {} of {} stopped early", sweep.id, sweep.planner.grid.name);
    let mut message = message(sweep, Happening::Breaker, title);
    let shown = shorten(evidence.trim(), EVIDENCE_WIDTH);
    let shown = if shown.is_empty() { String::new() } else { format!("; it said: {shown}") };
    message.text = format!("{why}{shown}; {}", counts(&message));
    message.error = Some(why.to_owned());
    send(sweep, message).await;
}

/// Announces that what served before is not back.
pub(super) async fn restore_failed(sweep: &mut Sweep, error: &EngineError) {
    let title = format!("NOT RESTORED after sweep {} of {}", sweep.id, sweep.planner.grid.name);
    let mut message = message(sweep, Happening::RestoreFailed, title);
    message.text = error.to_string();
    message.restored = Some(false);
    message.error = Some(error.to_string());
    send(sweep, message).await;
}

/// Announces the same from `vgrid restore`, where no sweep is carried out.
pub(super) async fn restore_failed_later(
    planner: &Planner,
    sweep: SweepId,
    store: &Store,
    error: &EngineError,
    teller: &Teller,
) {
    let title = format!("NOT RESTORED after sweep {sweep} of {}", planner.grid.name);
    let mut message = blank(planner, sweep, store, Happening::RestoreFailed, title);
    message.text = planner.redactor.apply(&error.to_string()).into_owned();
    message.restored = Some(false);
    message.error = Some(message.text.clone());
    for text in notify::send(&planner.grid.notify, &message).await {
        teller.tell(Event::Warning { text }.redacted(&planner.redactor));
    }
}

fn message(sweep: &Sweep, happening: Happening, title: String) -> Message {
    let mut message = blank(&sweep.planner, sweep.id, &sweep.store, happening, title);
    message.elapsed_s = sweep.elapsed_s();
    if let Some(Event::BestSoFar { name, metric, value, gain_percent, .. }) = sweep.best() {
        // The baseline gains nothing against itself.
        let gain_percent = gain_percent.filter(|_| sweep.planner.baseline_name().as_ref() != Some(name));
        message.best = Some(Best { name: name.clone(), metric: metric.clone(), value: *value, gain_percent });
    }
    message
}

fn blank(planner: &Planner, sweep: SweepId, store: &Store, happening: Happening, title: String) -> Message {
    // A database that cannot be read is what is announced; its counts are then 0, and the error says why.
    let row = store.sweep(Some(sweep)).ok();
    let count = |of: fn(&crate::store::SweepRow) -> u64| row.as_ref().map_or(0, of) as usize;
    Message {
        happening,
        title: format!("vgrid: {title}"),
        text: String::new(),
        sweep,
        grid: planner.grid.name.clone(),
        database: std::path::absolute(store.path()).unwrap_or_else(|_| store.path().to_owned()),
        ended: None,
        measured: count(|row| row.measured),
        failed: count(|row| row.failed),
        skipped: count(|row| row.skipped),
        left: count(|row| row.remaining),
        elapsed_s: 0.0,
        best: None,
        restored: None,
        error: None,
    }
}

fn counts(message: &Message) -> String {
    let Message { measured, failed, skipped, left, .. } = message;
    let rest = if *left > 0 { format!(", {left} left") } else { String::new() };
    format!("{measured} measured, {failed} failed, {skipped} skipped{rest}")
}

async fn send(sweep: &mut Sweep, mut message: Message) {
    let redactor = &sweep.planner.redactor;
    message.text = redactor.apply(&message.text).into_owned();
    message.error = message.error.map(|error| redactor.apply(&error).into_owned());
    for text in notify::send(&sweep.planner.grid.notify, &message).await {
        // Told in any case; a database that is full has been told already.
        let _ = sweep.recorder.record_or_tell(&mut sweep.store, Event::Warning { text });
    }
}

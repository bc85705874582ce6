//! Telling: events go to whoever draws or logs them, after they were stored.

use tokio::sync::mpsc::UnboundedSender;

use crate::domain::{Event, TrialProgress, TrialRef};

/// Sends events to the screen. The receiver may be gone (a closed terminal); the sweep goes on.
#[derive(Clone, Debug)]
pub(crate) struct Teller(UnboundedSender<Event>);

impl Teller {
    /// Events go to this channel.
    pub(crate) fn new(channel: UnboundedSender<Event>) -> Self {
        Self(channel)
    }

    /// Tells one event.
    pub(crate) fn tell(&self, event: Event) {
        let _ = self.0.send(event);
    }

    /// Tells what a trial does now.
    pub(crate) fn progress(&self, trial: &TrialRef, progress: TrialProgress) {
        self.tell(Event::TrialProgressed { trial: trial.clone(), progress });
    }
}

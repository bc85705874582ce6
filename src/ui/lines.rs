//! One plain line per event, each with the local time: for pipes, files and systemd's journal.

use std::io::Write;

use crate::domain::{Event, TrialProgress};

use super::sentence::sentence;

/// Prints lines to standard error.
pub(crate) struct Lines {
    last_progress: Option<String>,
}

impl Lines {
    /// Nothing shown yet.
    pub(crate) fn new() -> Self {
        Self { last_progress: None }
    }

    /// Prints the event's line. Of progress only steps are shown, not every request.
    pub(crate) fn tell(&mut self, event: &Event) {
        if let Event::TrialProgressed { progress, .. } = event {
            let step = step_of(progress);
            if self.last_progress.as_deref() == Some(step.as_str()) {
                return;
            }
            self.last_progress = Some(step);
        }
        let Some(line) = sentence(event) else { return };
        let now = jiff::ZonedDateTime::now().strftime("%H:%M:%S").to_string();
        // A closed pipe must not end the sweep.
        let _ = writeln!(anstream::stderr(), "{now} {line}");
    }
}

/// Progress within one step changes numbers only; the step's name tells them apart.
fn step_of(progress: &TrialProgress) -> String {
    match progress {
        TrialProgress::Preparing => "preparing".to_owned(),
        TrialProgress::Creating => "creating".to_owned(),
        TrialProgress::Booting { milestone, .. } => milestone.to_string(),
        TrialProgress::WarmingUp => "warming_up".to_owned(),
        TrialProgress::Measuring { scenario, .. } => format!("measuring {scenario}"),
        TrialProgress::Stopping => "stopping".to_owned(),
    }
}

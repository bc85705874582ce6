//! One plain line per event, each with the local time: for pipes, files and systemd's journal.

use std::io::Write;

use crate::domain::{Event, TrialProgress};

use super::sentence::sentence;

/// Prints lines to standard error.
pub(crate) struct Lines {
    /// Steps of the running trial that were told.
    told: Vec<String>,
}

impl Lines {
    /// Nothing shown yet.
    pub(crate) fn new() -> Self {
        Self { told: Vec::new() }
    }

    /// Prints the event's line. Of progress only steps are shown, each once in a trial: not every request, nor every return to it.
    pub(crate) fn tell(&mut self, event: &Event) {
        if let Event::TrialStarted { .. } = event {
            self.told.clear();
        }
        if let Event::TrialProgressed { progress, .. } = event {
            let Some(step) = step_of(progress).filter(|step| !self.told.contains(step)) else { return };
            self.told.push(step);
        }
        let Some(line) = sentence(event) else { return };
        let now = jiff::ZonedDateTime::now().strftime("%H:%M:%S").to_string();
        // A closed pipe must not end the sweep.
        let _ = writeln!(anstream::stderr(), "{now} {line}");
    }
}

/// Progress within one step changes numbers only; the step's name tells them apart. A scenario is told when its first figures are there.
fn step_of(progress: &TrialProgress) -> Option<String> {
    match progress {
        TrialProgress::Preparing => Some("preparing".to_owned()),
        TrialProgress::Creating => Some("creating".to_owned()),
        TrialProgress::Booting { milestone, .. } => Some(milestone.to_string()),
        TrialProgress::WarmingUp => Some("warming_up".to_owned()),
        TrialProgress::Measuring { requests_done: 0, .. }
        | TrialProgress::Measuring { output_tokens_per_s: None, .. } => None,
        TrialProgress::Measuring { scenario, .. } => Some(format!("measuring {scenario}")),
        TrialProgress::Stopping => Some("stopping".to_owned()),
    }
}

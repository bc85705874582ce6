//! Bars for the sweep and the trial, what the engine does now, best so far, time left.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use owo_colors::OwoColorize;

use crate::domain::{Event, Start, TrialProgress};

use super::sentence::{against_the_baseline, doing, sentence, with_others};
use crate::domain::reading::{duration, number};

/// Three lines at the bottom of the terminal; finished things scroll above them.
pub(crate) struct Bars {
    all: MultiProgress,
    sweep: ProgressBar,
    trial: ProgressBar,
    best: ProgressBar,
    counts: Counts,
    /// Seconds that finished trials of this run took, for the time left.
    took_s: Vec<f64>,
    /// The config whose trial runs.
    running: Option<String>,
    /// Breaks a sentence between words.
    wrap: fn(&str) -> String,
}

#[derive(Default)]
struct Counts {
    measured: usize,
    further: usize,
    failed: usize,
    skipped: usize,
    /// Configs that were done with before this run.
    before: usize,
}

impl Bars {
    /// Empty bars; they appear with the first event.
    pub(crate) fn new(wrap: fn(&str) -> String) -> Self {
        let all = MultiProgress::new();
        let sweep = all.add(ProgressBar::new(0));
        let trial = all.add(ProgressBar::new(100));
        let best = all.add(ProgressBar::new_spinner());
        sweep.set_style(style("{prefix:.bold} {bar:24.cyan/dim} {pos}/{len} {wide_msg}"));
        trial.set_style(style("{spinner:.cyan} {prefix:.bold} {bar:20.green/dim} {wide_msg}"));
        best.set_style(style("  {wide_msg}"));
        Self { all, sweep, trial, best, counts: Counts::default(), took_s: Vec::new(), running: None, wrap }
    }

    /// Moves the bars; prints what deserves a line of its own above them.
    pub(crate) fn tell(&mut self, event: &Event) {
        match event {
            Event::SweepStarted { grid, trials, settled, further, .. } => {
                self.sweep.set_length((*trials + *further) as u64);
                self.sweep.set_position(*settled as u64);
                self.counts.before = *settled;
                self.sweep.set_prefix(grid.clone());
                self.sweep.enable_steady_tick(Duration::from_millis(500));
                self.show_counts();
                self.print(event);
            }
            Event::TrialStarted { trial } => {
                self.running = Some(trial.name.clone());
                self.trial.reset();
                self.trial.set_length(100);
                self.trial.set_prefix(trial.name.clone());
                self.trial.set_message("starting");
                self.trial.enable_steady_tick(Duration::from_millis(120));
            }
            Event::TrialProgressed { progress, .. } => self.progress(progress),
            Event::TrialFinished { trial, outcome, elapsed_s, .. } => {
                match outcome.as_str() {
                    "measured" if trial.start == Start::FIRST => self.counts.measured += 1,
                    "measured" => self.counts.further += 1,
                    "failed" => self.counts.failed += 1,
                    _ => {}
                }
                self.took_s.push(*elapsed_s);
                self.sweep.inc(1);
                self.show_counts();
                self.print(event);
            }
            Event::TrialSkipped { name, .. } => {
                self.counts.skipped += 1;
                // One that was started counts for the bar; one that the plan leaves out never did.
                if self.running.as_ref() == Some(name) {
                    self.sweep.inc(1);
                }
                self.show_counts();
                self.print(event);
            }
            Event::BestSoFar { name, metric, value, gain_percent, tied } => {
                let against = against_the_baseline(*gain_percent) + &with_others(*tied);
                self.best.set_message(format!("best so far {} {metric} = {}{against}", name.bold(), number(*value)));
            }
            Event::SweepFinished { .. } | Event::SweepFailed { .. } => {
                self.trial.finish_and_clear();
                self.best.finish_and_clear();
                self.sweep.finish_and_clear();
                self.print(event);
            }
            Event::Restoring { .. } => {
                self.trial.set_prefix("restore");
                self.trial.set_message(sentence(event).unwrap_or_default());
                self.print(event);
            }
            Event::TrialReady { .. } => {}
            Event::Notice { .. }
            | Event::Warning { .. }
            | Event::ScenarioFinished { .. }
            | Event::BreakerTripped { .. }
            | Event::Restored { .. }
            | Event::RestoreFailed { .. } => self.print(event),
        }
    }

    fn progress(&self, progress: &TrialProgress) {
        self.trial.set_message(doing(progress));
        match progress {
            TrialProgress::Booting { percent, .. } => self.trial.set_position(percent.unwrap_or(0.0) as u64),
            TrialProgress::Measuring { requests_done, requests_total: Some(total), .. } if *total > 0 => {
                self.trial.set_position(100 * requests_done / total);
            }
            TrialProgress::Preparing
            | TrialProgress::Creating
            | TrialProgress::WarmingUp
            | TrialProgress::Measuring { .. }
            | TrialProgress::Stopping => self.trial.set_position(0),
        }
    }

    fn show_counts(&self) {
        let Counts { measured, further, failed, skipped, before } = self.counts;
        let before = if before > 0 { format!("{before} before; now ") } else { String::new() };
        let mut text = format!("starts · {before}{measured} measured, {failed} failed, {skipped} skipped");
        if further > 0 {
            text.push_str(&format!(", {further} measured again"));
        }
        let left = self.sweep.length().unwrap_or(0).saturating_sub(self.sweep.position());
        if !self.took_s.is_empty() && left > 0 {
            let mean_s = self.took_s.iter().sum::<f64>() / self.took_s.len() as f64;
            text.push_str(&format!(" · about {} left", duration(mean_s * left as f64)));
        }
        self.sweep.set_message(text);
    }

    fn print(&self, event: &Event) {
        let Some(line) = sentence(event).map(|line| (self.wrap)(&line)) else { return };
        let line = match event {
            Event::TrialFinished { outcome, .. } if outcome == "measured" => line.green().to_string(),
            Event::TrialFinished { .. } | Event::RestoreFailed { .. } | Event::SweepFailed { .. } => {
                line.red().to_string()
            }
            Event::Warning { .. } | Event::BreakerTripped { .. } => line.yellow().to_string(),
            Event::Restored { .. } => line.cyan().to_string(),
            Event::TrialSkipped { .. } => line.dimmed().to_string(),
            Event::SweepStarted { .. }
            | Event::Notice { .. }
            | Event::TrialStarted { .. }
            | Event::TrialReady { .. }
            | Event::TrialProgressed { .. }
            | Event::ScenarioFinished { .. }
            | Event::BestSoFar { .. }
            | Event::Restoring { .. }
            | Event::SweepFinished { .. } => line,
        };
        // A terminal that is gone must not end the sweep.
        let _ = self.all.println(line);
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; a wrong one falls back to the plain bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─")
}

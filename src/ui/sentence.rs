//! One line of plain text per event: what a pipe shows, and what scrolls above the bars.

use crate::domain::{BootMilestone, Event, MetricPath, Start, TrialProgress, TrialRef};

use crate::domain::reading::{duration, figure, gain, number};

/// The event as one line; None for events that only move a bar.
pub(crate) fn sentence(event: &Event) -> Option<String> {
    Some(match event {
        Event::SweepStarted { sweep, grid, trials, settled, further, resumed } => {
            let verb = if *resumed { "continues" } else { "begins" };
            let done = if *settled > 0 { format!(", {settled} of them settled before") } else { String::new() };
            let more = if *further > 0 { format!(", {further} further starts") } else { String::new() };
            format!("sweep {sweep} of {grid} {verb}: {trials} trials{done}{more}")
        }
        Event::Notice { text } => text.clone(),
        Event::Warning { text } => format!("warning: {text}"),
        Event::TrialStarted { trial } => {
            let again = if trial.attempt > 1 { format!(" (attempt {})", trial.attempt) } else { String::new() };
            format!("{}{again}: starting", place(trial))
        }
        Event::TrialReady { trial, ready_s } => {
            format!("{}: serves after {}", place(trial), duration(*ready_s))
        }
        Event::TrialProgressed { trial, progress } => {
            format!("{}: {}", place(trial), doing(progress))
        }
        Event::ScenarioFinished { trial, scenario, elapsed_s, requests, failed, headline } => {
            let figures: Vec<String> = headline
                .iter()
                .map(|(path, value, unit)| {
                    let short =
                        path.strip_prefix(scenario.as_str()).map_or(path.as_str(), |p| p.trim_start_matches('.'));
                    let name = path.parse().map_or(String::new(), |path: MetricPath| path.name);
                    format!("{short} {}", figure(&name, *value, unit))
                })
                .collect();
            let failures = if *failed > 0 { format!(", {failed} failed") } else { String::new() };
            format!(
                "{}: {scenario} done in {} ({requests} requests{failures}) {}",
                place(trial),
                duration(*elapsed_s),
                figures.join(", ")
            )
            .trim_end()
            .to_owned()
        }
        Event::TrialFinished { trial, outcome, cause, detail, remedy, elapsed_s, .. } => {
            let cause = cause.map(|c| format!(" ({c})")).unwrap_or_default();
            let mut line = format!("{}: {outcome}{cause} in {}", place(trial), duration(*elapsed_s));
            if !detail.is_empty() {
                line.push_str(&format!(": {detail}"));
            }
            if let Some(remedy) = remedy.as_ref().filter(|r| !r.is_empty()) {
                line.push_str(&format!(" -> {remedy}"));
            }
            line
        }
        Event::TrialSkipped { name, why } => format!("{name}: skipped: {why}"),
        Event::BreakerTripped { failures, cause, remedy, .. } => {
            format!("warning: stopping, {failures} trials in a row failed alike ({cause}): {remedy}; then run again")
        }
        Event::BestSoFar { name, metric, value, gain_percent, tied } => format!(
            "best so far: {name}, {metric} = {}{}{}",
            number(*value),
            against_the_baseline(*gain_percent),
            with_others(*tied)
        ),
        Event::Restoring { what } => format!("putting back {what}"),
        Event::Restored { what, elapsed_s } => {
            format!("{what} serves again, verified by a real completion, after {}", duration(*elapsed_s))
        }
        Event::RestoreFailed { what, why } => format!("error: {what} could not be put back: {why}"),
        Event::SweepFailed { sweep, why } => format!("sweep {sweep} stopped: {why}"),
        Event::SweepFinished { sweep, why, measured, failed, skipped, left, elapsed_s, .. } => {
            let rest = if *left > 0 { format!(", {left} left") } else { String::new() };
            let why = why.as_ref().map(|why| format!("; it ended early: {why}")).unwrap_or_default();
            format!(
                "sweep {sweep}: {measured} measured, {failed} failed, {skipped} skipped{rest}; {}{why}",
                duration(*elapsed_s)
            )
        }
    })
}

/// Which trial, and which of its starts when it is not the first: `[2/8] prefix-on, control 1`.
fn place(trial: &TrialRef) -> String {
    let start = if trial.start == Start::FIRST { String::new() } else { format!(", {}", trial.start) };
    format!("[{}/{}] {}{start}", trial.position, trial.of, trial.name)
}

/// What a trial does now, in a few words.
pub(crate) fn doing(progress: &TrialProgress) -> String {
    match progress {
        TrialProgress::Preparing => "checking image, mounts and port".to_owned(),
        TrialProgress::Creating => "starting the server".to_owned(),
        TrialProgress::Booting { milestone, percent, .. } => {
            let percent = percent.map(|p| format!(" {p:.0} %")).unwrap_or_default();
            format!("{}{percent}", milestone_words(*milestone))
        }
        TrialProgress::WarmingUp => "warming up".to_owned(),
        TrialProgress::Measuring { scenario, requests_done, requests_total, output_tokens_per_s } => {
            let of = requests_total.map(|t| format!("/{t}")).unwrap_or_default();
            let rate = output_tokens_per_s.map(|r| format!(", {} tokens/s", number(r))).unwrap_or_default();
            format!("{scenario} {requests_done}{of} requests{rate}")
        }
        TrialProgress::Stopping => "stopping".to_owned(),
    }
}

fn milestone_words(milestone: BootMilestone) -> &'static str {
    match milestone {
        BootMilestone::Started => "booting",
        BootMilestone::Banner => "booting: vLLM is up, reading its configuration",
        BootMilestone::EngineInit => "initialising the engine",
        BootMilestone::LoadingWeights => "loading weights",
        BootMilestone::WeightsLoaded => "weights loaded",
        BootMilestone::Compiling => "compiling kernels",
        BootMilestone::KvCacheSized => "KV cache sized",
        BootMilestone::CapturingGraphs => "capturing CUDA graphs",
        BootMilestone::ServerStarting => "starting the HTTP server",
        BootMilestone::ServerUp => "server up, waiting for a real completion",
    }
}

/// What the best so far gains, in parentheses; nothing for the baseline itself.
pub(super) fn against_the_baseline(gain_percent: Option<f64>) -> String {
    let moved = gain_percent.filter(|percent| *percent != 0.0);
    moved.map(|percent| format!(" ({} against the baseline)", gain(percent))).unwrap_or_default()
}

/// That the best so far is no better than others beyond the noise; nothing when it is alone.
pub(super) fn with_others(tied: usize) -> String {
    if tied > 0 { format!(", tied with {tied} more") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Cause, ConfigKey, Purpose, ScenarioKind};

    fn trial() -> TrialRef {
        TrialRef {
            trial_id: 3,
            name: "prefix-on".into(),
            key: ConfigKey("k".into()),
            position: 2,
            of: 8,
            attempt: 1,
            start: Start::FIRST,
        }
    }

    #[test]
    fn a_further_start_says_what_it_is_for() {
        let start = Start { purpose: Purpose::Control, number: 2 };
        let line = sentence(&Event::TrialStarted { trial: TrialRef { attempt: 3, start, ..trial() } });
        assert_eq!(line.as_deref(), Some("[2/8] prefix-on, control 2 (attempt 3): starting"));
    }

    #[test]
    fn a_failed_trial_names_cause_evidence_and_remedy_in_one_line() {
        let line = sentence(&Event::TrialFinished {
            trial: trial(),
            outcome: "failed".into(),
            cause: Some(Cause::KvCacheTooSmall),
            detail: "max seq len (4096)".into(),
            remedy: Some("lower max-model-len".into()),
            failed: None,
            log: String::new(),
            elapsed_s: 12.0,
            ready_s: None,
        });
        assert_eq!(
            line.as_deref(),
            Some("[2/8] prefix-on: failed (kv_cache_too_small) in 12.0 s: max seq len (4096) -> lower max-model-len")
        );
    }

    #[test]
    fn a_scenario_line_shows_its_figures_without_the_scenarios_name_twice() {
        let line = sentence(&Event::ScenarioFinished {
            trial: trial(),
            scenario: ScenarioKind::KvCache,
            elapsed_s: 2.0,
            requests: 20,
            failed: 0,
            headline: vec![("kv_cache.ttft_hit_ms.p50".into(), 35.24, "ms".into())],
        });
        assert_eq!(
            line.as_deref(),
            Some("[2/8] prefix-on: kv_cache done in 2.0 s (20 requests) ttft_hit_ms.p50 35.2 ms")
        );
    }

    #[test]
    fn the_best_so_far_has_a_gain_unless_it_is_the_baseline() {
        let best = |gain_percent| {
            let metric = "load.output_tokens_per_s".into();
            sentence(&Event::BestSoFar { name: "a".into(), metric, value: 1_367.0, gain_percent, tied: 0 }).unwrap()
        };
        let (name, metric) = ("a".into(), "load.output_tokens_per_s".into());
        let tied = Event::BestSoFar { name, metric, value: 1_367.0, gain_percent: None, tied: 3 };
        assert_eq!(
            sentence(&tied).as_deref(),
            Some("best so far: a, load.output_tokens_per_s = 1,367, tied with 3 more")
        );
        assert_eq!(best(Some(0.0)), "best so far: a, load.output_tokens_per_s = 1,367");
        assert_eq!(
            best(Some(56.04)),
            "best so far: a, load.output_tokens_per_s = 1,367 (+56.0 % against the baseline)"
        );
    }
}

//! From the starts of a night to figures: the mean of a config over its starts, how much starts differ, and whether the machine
//! moved while the night went on.
//!
//! Of one metric, with y the figure of one start and h the half-width of its own 95 % interval:
//!
//! - A config's figure is the mean of its valid starts (suspect ones included); its interval joins theirs, sqrt(sum h^2) / s. Shares of
//!   judged cases are shares of the same cases on each start, which are not more cases: sqrt(sum h^2 / s), and their w is left out.
//! - Two starts of one config differ by more than their intervals say. S^2 is the pooled relative variance between starts,
//!   sum (y / mean - 1)^2 / sum (s - 1) over the configs with several starts, on `degrees` = sum (s - 1) degrees of freedom; w the mean
//!   relative variance within those starts. The variance of the starts themselves is max(0, S^2 - w) (DerSimonian and Laird 1986,
//!   for equal weights). On a few degrees it says little; verdicts count on it together with a prior.
//! - The baseline moved when two of its starts differ by more than [`DRIFT_LIMIT`] of the earlier one, and by more than their own intervals
//!   explain. Then figures are compared by y / r, r being the baseline's value at that time: interpolated between the controls
//!   around the start, or that of the nearest where there is one on one side only. S^2 is then that of y / r over the configs beside the
//!   baseline with several starts, and of each control between two others against what they predict.

use serde::{Deserialize, Serialize};

use super::critical::{MOST_DEGREES, Spread, Z_975, separated};
use super::{Figure, Metric};
use crate::domain::{Verdict, reading};

/// The baseline may differ between two starts by this share of its value before the night counts as drifting: starts of one
/// config differ by a few percent on a machine that does not change.
pub const DRIFT_LIMIT: f64 = 0.05;

/// Relative standard deviation between starts of one config that is taken as known where no config was started twice. More than a quiet
/// machine shows, so that a verdict without repeats errs in less than one night of twenty there.
const ASSUMED_START_DEVIATION: f64 = 0.05;

/// Relative standard deviation between starts that what was measured is joined with, worth [`PRIOR_DEGREES`]. So chosen that the prior alone
/// would part two single starts as far as [`ASSUMED_START_DEVIATION`] does: 3 % x t(0.98; 3) = 5 % x z(0.98).
const PRIOR_START_DEVIATION: f64 = 0.03;

/// How many degrees of freedom the prior is worth beside those that were measured.
const PRIOR_DEGREES: f64 = 3.0;

/// One metric on one start of a config.
#[derive(Clone, Debug, PartialEq)]
pub struct StartFigure {
    /// When it was measured, s on any clock that all starts of the night share.
    pub at_s: f64,
    /// The figure.
    pub metric: Metric,
    /// Whether it may be used.
    pub verdict: Verdict,
}

/// One metric of one config on all its starts.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigStarts {
    /// The config's trial.
    pub trial_id: i64,
    /// Whether it is the baseline, whose starts are the controls.
    pub is_baseline: bool,
    /// Its starts.
    pub starts: Vec<StartFigure>,
}

/// What the starts of a night say about one metric, beyond any one config.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StartNoise {
    /// Degrees of freedom of the variance between starts; 0 when no config has two starts: then it is not known.
    pub degrees: u64,
    /// Relative variance of the starts themselves.
    pub start_variance: f64,
    /// Mean relative variance within one start.
    pub within_variance: f64,
    /// Mean variance within one start, in the square of the metric's unit.
    pub within_variance_absolute: f64,
    /// Starts of the baseline.
    pub controls: u64,
    /// Whether the baseline moved.
    pub moved: bool,
    /// The largest change between two starts of the baseline, percent of the earlier one; absent below two.
    pub change_percent: Option<f64>,
    /// Lower end of its 95 % interval, within starts; absent without intervals.
    pub change_low: Option<f64>,
    /// Upper end.
    pub change_high: Option<f64>,
}

impl StartFigure {
    fn usable(&self) -> bool {
        self.verdict != Verdict::Invalid && self.metric.value.is_finite()
    }

    /// Half-widths of its interval below and above.
    fn halves(&self) -> Option<(f64, f64)> {
        let (low, high) = (self.metric.ci_low?, self.metric.ci_high?);
        (low.is_finite() && high.is_finite())
            .then(|| ((self.metric.value - low).max(0.0), (high - self.metric.value).max(0.0)))
    }

    /// Variance within the start, relative and in the square of the unit; `None` without an interval, from one sample, for 0, or where
    /// starts share it.
    fn within(&self) -> Option<(f64, f64)> {
        if self.metric.is_share_of_cases() {
            return None;
        }
        let (below, above) = self.halves()?;
        let n = self.metric.n as f64;
        let variance = 0.5 * (below * below + above * above) * n / (n - 1.0) / (Z_975 * Z_975);
        let relative = variance / (self.metric.value * self.metric.value);
        (self.metric.n >= 2 && relative.is_finite()).then_some((relative, variance))
    }
}

/// The figure of a config over its starts; `None` without one. Where no start is usable it is that of the newest, invalid.
#[must_use]
pub fn figure_over_starts(config: &ConfigStarts, controls: &[StartFigure], noise: StartNoise) -> Option<Figure> {
    let newest = config.starts.iter().max_by(|a, b| a.at_s.total_cmp(&b.at_s))?;
    let usable: Vec<&StartFigure> = config.starts.iter().filter(|s| s.usable()).collect();
    if usable.is_empty() {
        let metric = newest.metric.clone();
        return Some(Figure { metric, verdict: newest.verdict, starts: 1, relative: None, noise });
    }
    let s = usable.len() as f64;
    let mean_of = |f: &dyn Fn(&StartFigure) -> f64| usable.iter().map(|u| f(u)).sum::<f64>() / s;
    let value = mean_of(&|u| u.metric.value);
    let halves: Option<Vec<(f64, f64)>> = usable.iter().map(|u| u.halves()).collect();
    let independent = if newest.metric.is_share_of_cases() { 1.0 } else { s };
    let joined = |side: &dyn Fn(&(f64, f64)) -> f64| {
        let mean_square = |halves: &Vec<(f64, f64)>| halves.iter().map(|h| side(h).powi(2)).sum::<f64>() / s;
        halves.as_ref().map(|halves| (mean_square(halves) / independent).sqrt())
    };
    let (least, most) = Metric { value, ..newest.metric.clone() }.bounds();
    let metric = Metric {
        value,
        n: usable.iter().map(|u| u.metric.n).sum(),
        failed_n: usable.iter().map(|u| u.metric.failed_n).sum(),
        ci_low: joined(&|h| h.0).map(|half| (value - half).max(least)),
        ci_high: joined(&|h| h.1).map(|half| (value + half).min(most)),
        ..newest.metric.clone()
    };
    let any_suspect = usable.iter().any(|u| u.verdict == Verdict::Suspect);
    let verdict = if any_suspect { Verdict::Suspect } else { Verdict::Valid };
    let relatives: Option<Vec<f64>> = usable.iter().map(|u| relative(u, controls)).collect();
    let relative = relatives.map(|r| r.iter().sum::<f64>() / s);
    Some(Figure { metric, verdict, starts: usable.len() as u64, relative, noise })
}

/// The starts of the baseline that can be compared with, in the order of the night.
#[must_use]
pub fn controls(configs: &[ConfigStarts]) -> Vec<StartFigure> {
    let baseline = configs.iter().filter(|c| c.is_baseline).max_by_key(|c| c.trial_id);
    let mut controls: Vec<StartFigure> =
        baseline.map(|c| c.starts.iter().filter(|s| s.usable()).cloned().collect()).unwrap_or_default();
    controls.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    controls
}

/// A start's value over the baseline's at that time; `None` without a control, or where that is 0.
fn relative(start: &StartFigure, controls: &[StartFigure]) -> Option<f64> {
    let before = controls.iter().rev().find(|c| c.at_s <= start.at_s);
    let after = controls.iter().find(|c| c.at_s >= start.at_s);
    let reference = match (before, after) {
        (Some(before), Some(after)) => between(before, after, start.at_s),
        (Some(only), None) | (None, Some(only)) => only.metric.value,
        (None, None) => return None,
    };
    let relative = start.metric.value / reference;
    relative.is_finite().then_some(relative)
}

fn between(before: &StartFigure, after: &StartFigure, at_s: f64) -> f64 {
    let span_s = after.at_s - before.at_s;
    let share = if span_s > 0.0 { (at_s - before.at_s) / span_s } else { 0.0 };
    (after.metric.value - before.metric.value).mul_add(share, before.metric.value)
}

/// What the night says about one metric.
#[must_use]
pub fn start_noise(configs: &[ConfigStarts]) -> StartNoise {
    let controls = controls(configs);
    let mut noise = StartNoise { controls: controls.len() as u64, ..StartNoise::default() };
    largest_change(&controls, &mut noise);
    let mut squares = 0.0;
    let mut within: Vec<(f64, f64)> = Vec::new();
    for config in configs.iter().filter(|c| !(noise.moved && c.is_baseline)) {
        let usable: Vec<&StartFigure> = config.starts.iter().filter(|s| s.usable()).collect();
        let value_of = |s: &&StartFigure| if noise.moved { relative(s, &controls) } else { Some(s.metric.value) };
        let values: Vec<f64> = usable.iter().filter_map(value_of).collect();
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let deviations: f64 = values.iter().map(|v| (v / mean - 1.0).powi(2)).sum();
        if values.len() >= 2 && deviations.is_finite() {
            squares += deviations;
            noise.degrees += values.len() as u64 - 1;
            within.extend(usable.iter().filter_map(|s| s.within()));
        }
    }
    if noise.moved {
        for three in controls.windows(3) {
            let predicted = between(&three[0], &three[2], three[1].at_s);
            let deviation = (three[1].metric.value / predicted - 1.0).powi(2);
            if deviation.is_finite() {
                squares += deviation;
                noise.degrees += 1;
                within.extend(three[1].within());
            }
        }
    }
    if noise.degrees > 0 {
        let starts = within.len().max(1) as f64;
        noise.within_variance = within.iter().map(|w| w.0).sum::<f64>() / starts;
        noise.within_variance_absolute = within.iter().map(|w| w.1).sum::<f64>() / starts;
        noise.start_variance = (squares / noise.degrees as f64 - noise.within_variance).max(0.0);
    }
    noise
}

fn largest_change(controls: &[StartFigure], noise: &mut StartNoise) {
    let pairs = controls.iter().enumerate().flat_map(|(i, a)| controls[i + 1..].iter().map(move |b| (a, b)));
    let size = |pair: &(&StartFigure, &StartFigure)| (pair.1.metric.value - pair.0.metric.value).abs();
    let Some((earlier, later)) = pairs.max_by(|a, b| size(a).total_cmp(&size(b))) else { return };
    let (from, to) = (earlier.metric.value, later.metric.value);
    let percent = |difference: f64| Some(100.0 * difference / from.abs()).filter(|p| p.is_finite());
    noise.change_percent = percent(to - from);
    let mut beyond_intervals = true;
    if let (Some(a), Some(b)) = (earlier.halves(), later.halves()) {
        let (down, up) = ((a.1.powi(2) + b.0.powi(2)).sqrt(), (a.0.powi(2) + b.1.powi(2)).sqrt());
        noise.change_low = percent(to - from - down);
        noise.change_high = percent(to - from + up);
        let (one, other) = if to > from { (a.1, b.0) } else { (a.0, b.1) };
        let spread = |half, start: &StartFigure| Spread { half_width: Some(half), samples: start.metric.n };
        beyond_intervals =
            separated((to - from).abs(), spread(one, earlier), spread(other, later), controls.len() as u64);
    }
    // From 0 no share can be stated, and no figure compared as a share.
    noise.moved = beyond_intervals && noise.change_percent.is_some_and(|percent| percent.abs() > 100.0 * DRIFT_LIMIT);
}

impl StartNoise {
    /// What the controls say, in a sentence; `None` below two of them.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let change = self.change_percent?;
        let n = self.controls;
        let most = reading::gain(change.abs());
        let most = most.trim_start_matches('+');
        if !self.moved && change.abs() <= 100.0 * DRIFT_LIMIT {
            return Some(format!("the baseline did not move over its {n} starts (at most {most} apart)"));
        }
        if !self.moved {
            return Some(format!(
                "the baseline's {n} starts are up to {most} apart, which intervals as wide as theirs do not call a move"
            ));
        }
        let interval = match (self.change_low, self.change_high) {
            (Some(low), Some(high)) => format!(" [{} .. {}]", reading::gain(low), reading::gain(high)),
            (None, _) | (_, None) => String::new(),
        };
        Some(format!(
            "the baseline moved by {}{interval} over its {n} starts: results are compared with the controls around them",
            reading::gain(change)
        ))
    }

    /// How much starts of one config differ, and what verdicts count on, in a sentence. `repeated`: whether any config was started twice.
    #[must_use]
    pub fn start_sentence(&self, repeated: bool) -> String {
        let counted = 100.0 * self.between_starts().0.sqrt();
        let repeats = if self.degrees == 1 { "1 repeat".to_owned() } else { format!("{} repeats", self.degrees) };
        match self.start_percent() {
            Some(0.0) => format!(
                "starts of one config differ by no more than the noise within them explains ({repeats}); verdicts allow for {counted:.1} % between starts"
            ),
            Some(percent) if percent > 100.0 * ASSUMED_START_DEVIATION => format!(
                "starts of one config differ by {percent:.1} % (standard deviation, {repeats}): so much that verdicts err more often \
                 than in one night of twenty"
            ),
            Some(percent) => format!(
                "starts of one config differ by {percent:.1} % (standard deviation, {repeats}); verdicts allow for {counted:.1} % between starts"
            ),
            None if self.moved => {
                "how much starts of one config differ beside the baseline's move was not measured".to_owned()
            }
            None if repeated => {
                "a figure of 0 has no share by which its starts differ: that was not measured".to_owned()
            }
            None => {
                format!("no config was started twice: {counted:.0} % between starts (standard deviation) is assumed")
            }
        }
    }

    /// Relative variance between starts that verdicts count on, and its degrees of freedom: what was measured together with a prior (the
    /// posterior of a scaled inverse chi-square one, as in the moderated t of Smyth 2004), and never less than what was measured: the
    /// prior may widen, not narrow. Without a measurement, what is assumed, taken as known.
    pub(super) fn between_starts(&self) -> (f64, f64) {
        if self.degrees == 0 {
            return (ASSUMED_START_DEVIATION * ASSUMED_START_DEVIATION, MOST_DEGREES);
        }
        let measured = self.degrees as f64;
        let degrees = PRIOR_DEGREES + measured;
        let prior = PRIOR_DEGREES * PRIOR_START_DEVIATION * PRIOR_START_DEVIATION;
        (((prior + measured * self.start_variance) / degrees).max(self.start_variance), degrees)
    }

    /// Standard deviation between starts, percent of the figure; `None` when it was not measured.
    #[must_use]
    pub fn start_percent(&self) -> Option<f64> {
        (self.degrees > 0).then(|| 100.0 * self.start_variance.sqrt())
    }
}

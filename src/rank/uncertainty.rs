//! How uncertain a figure is, requests and starts together, and whether two figures differ beyond that.

use super::critical::{MOST_DEGREES, Spread, Z_975, apart, critical_factor};
use super::night::{ASSUMED_START_DEVIATION, StartNoise};
use super::{Figure, Verdict};

/// A side of a figure: intervals need not be symmetric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Toward smaller values.
    Below,
    /// Toward larger values.
    Above,
}

/// How uncertain a config's figure is toward one side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Uncertainty {
    /// z(0.975)^2 times its variance, in the square of what is compared.
    pub(super) joint: f64,
    /// Degrees of freedom, at most [`MOST_DEGREES`].
    pub(super) degrees: f64,
    /// Whether the degrees are those of one estimate that all figures of the metric share.
    pub(super) shared: bool,
}

impl Figure {
    /// What is compared: the figure, or its share of the baseline around it when the baseline moved; `None` where that is not known.
    #[must_use]
    pub fn judged(&self) -> Option<f64> {
        if self.noise.moved { self.relative } else { Some(self.metric.value) }
    }

    /// From the figure to what is compared.
    fn scale(&self) -> f64 {
        let share = self.relative.filter(|_| self.noise.moved).map(|r| (r / self.metric.value).abs());
        share.filter(|s| s.is_finite() && *s > 0.0).unwrap_or(1.0)
    }

    /// Half-width of its own interval within its starts.
    fn half_width(&self, side: Side) -> Option<f64> {
        let (value, low, high) = (self.metric.value, self.metric.ci_low, self.metric.ci_high);
        match side {
            Side::Below => low.filter(|c| c.is_finite()).map(|low| value - low),
            Side::Above => high.filter(|c| c.is_finite()).map(|high| high - value),
        }
    }

    /// Its uncertainty toward a side; `None` where it is not known: such a figure separates from nothing.
    pub(super) fn uncertainty(&self, side: Side) -> Option<Uncertainty> {
        let starts = self.starts.max(1) as f64;
        let samples = self.metric.n as f64 / starts;
        // v of one start, from the joint half-width of all.
        let half_width = self.half_width(side).map(|h| h * starts.sqrt());
        let within = Spread { half_width, samples: samples.floor() as u64 }.variance();
        let StartNoise { degrees, start_variance, within_variance, moved, .. } = self.noise;
        let scale = self.scale();
        let squared = (self.metric.value * scale * Z_975).powi(2);
        if degrees == 0 {
            // Across a night that drifted nothing is known.
            let (v, d) = within.filter(|_| !moved)?;
            let total = v + squared * ASSUMED_START_DEVIATION * ASSUMED_START_DEVIATION;
            // What is assumed is not estimated: it has degrees without end (Satterthwaite 1946).
            let degrees = if v > 0.0 { (d * (total / v).powi(2)).min(MOST_DEGREES) } else { MOST_DEGREES };
            return Some(Uncertainty { joint: total / starts, degrees, shared: false });
        }
        let own = within.map(|(v, _)| v * scale * scale);
        let joint = (squared * start_variance + own.unwrap_or(0.0).max(squared * within_variance)) / starts;
        (own.is_some() || joint > 0.0).then_some(Uncertainty { joint, degrees: degrees as f64, shared: true })
    }

    /// Its own 95 % interval, not widened for the number of configs: with the noise between starts where that was measured, that of the
    /// requests of one start where it was not. It ends at 0 where the metric cannot be less.
    #[must_use]
    pub fn interval(&self) -> (Option<f64>, Option<f64>) {
        let metric = &self.metric;
        let Some(factor) = critical_factor(self.noise.degrees as f64, 1) else {
            return (metric.ci_low, metric.ci_high);
        };
        let half = |side| self.uncertainty(side).map(|u| factor * u.joint.sqrt() / self.scale());
        let least = if metric.path.is_change() || metric.value < 0.0 { f64::NEG_INFINITY } else { 0.0 };
        (
            half(Side::Below).map(|half| (metric.value - half).max(least)),
            half(Side::Above).map(|half| metric.value + half),
        )
    }
}

/// Degrees of freedom of a sum of such terms: those of the estimate that all share, else Welch's; `None` without a term.
pub(super) fn joint_degrees(terms: &[Uncertainty]) -> Option<f64> {
    let fewest = terms.iter().map(|u| u.degrees).reduce(f64::min)?;
    let sum: f64 = terms.iter().map(|u| u.joint).sum();
    let welch = sum * sum / terms.iter().map(|u| u.joint * u.joint / u.degrees).sum::<f64>();
    // Intervals of no width have no degrees of freedom, and any factor will do.
    Some(if welch.is_finite() && !terms.iter().all(|u| u.shared) { welch } else { fewest })
}

/// Whether two figures of one metric differ beyond the noise of a night of so many configs; `None` where that is not known: an invalid
/// figure, one whose noise is not known, or figures of two nights of which one drifted.
#[must_use]
pub fn differ(one: &Figure, other: &Figure, candidates: u64) -> Option<bool> {
    if one.verdict == Verdict::Invalid || other.verdict == Verdict::Invalid {
        return None;
    }
    if (one.noise.moved || other.noise.moved) && one.noise != other.noise {
        return None;
    }
    let (a, b) = (one.judged()?, other.judged()?);
    let (lower, upper) = if a <= b { (one, other) } else { (other, one) };
    let mut terms = [lower.uncertainty(Side::Above)?, upper.uncertainty(Side::Below)?];
    if one.noise != other.noise {
        for term in &mut terms {
            term.shared = false;
        }
    }
    Some(apart((b - a).abs(), terms[0].joint + terms[1].joint, joint_degrees(&terms)?, candidates))
}

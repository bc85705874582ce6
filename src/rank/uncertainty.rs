//! How uncertain a figure is, requests and starts together, and whether two figures differ beyond that.

use super::critical::{Spread, Z_975, apart, critical_factor};
use super::{Figure, Verdict};

/// A side of a figure: intervals need not be symmetric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Toward smaller values.
    Below,
    /// Toward larger values.
    Above,
}

/// How uncertain a config's figure is toward one side: z(0.975)^2 times its variances, in the square of what is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Uncertainty {
    /// That of the starts.
    start: f64,
    /// Degrees of freedom of the estimate under it, which all figures of a metric share.
    start_degrees: f64,
    /// That within its starts.
    within: f64,
    /// Degrees of freedom of it.
    within_degrees: f64,
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
        let measured = self.noise.degrees > 0;
        if self.noise.moved && !measured {
            // Across a night that drifted nothing is known.
            return None;
        }
        let (start_variance, start_degrees) = self.noise.between_starts();
        let scale = self.scale();
        let squared = (self.metric.value * scale * Z_975).powi(2);
        let own = within.map(|(v, _)| v * scale * scale);
        let pooled = squared * self.noise.within_variance;
        let within_variance = match own {
            // What few samples may show as too narrow is held against other starts: of figures as large, and of figures as noisy. Either
            // alone would widen what is many times as large, or as small, as the figures of those starts.
            Some(own) => own.max(pooled.min((scale * Z_975).powi(2) * self.noise.within_variance_absolute)),
            None if measured && squared > 0.0 => pooled,
            None => return None,
        };
        Some(Uncertainty {
            start: squared * start_variance / starts,
            start_degrees,
            within: within_variance / starts,
            within_degrees: within.map_or(start_degrees, |(_, d)| starts * d),
        })
    }

    /// Its own 95 % interval, not widened for the number of configs: with the noise between starts, measured and assumed. Of a share of
    /// judged cases it is that of the cases alone. It ends where the metric ends.
    #[must_use]
    pub fn interval(&self) -> (Option<f64>, Option<f64>) {
        let metric = &self.metric;
        let (least, most) = metric.bounds();
        let half = |side| {
            let (joint, degrees) = joint(&[self.uncertainty(side)?], true)?;
            Some(critical_factor(degrees, 1)? * joint.sqrt() / self.scale())
        };
        let (low, high) = match (half(Side::Below), half(Side::Above)) {
            _ if metric.is_share_of_cases() => (metric.ci_low, metric.ci_high),
            (None, None) => (metric.ci_low, metric.ci_high),
            (below, above) => (below.map(|half| metric.value - half), above.map(|half| metric.value + half)),
        };
        (low.map(|low| low.max(least)), high.map(|high| high.min(most)))
    }
}

impl Uncertainty {
    /// Of this share of the figure.
    pub(super) fn times(self, weight: f64) -> Self {
        let squared = weight * weight;
        Self { start: squared * self.start, within: squared * self.within, ..self }
    }
}

/// z^2 times the variance of a sum of such terms, and its degrees of freedom (Satterthwaite 1946); `None` without a term. The terms of one
/// night, `of_one_night`, share the estimate between starts.
pub(super) fn joint(terms: &[Uncertainty], of_one_night: bool) -> Option<(f64, f64)> {
    let start: f64 = terms.iter().map(|u| u.start).sum();
    let sum = start + terms.iter().map(|u| u.within).sum::<f64>();
    let of_starts = if of_one_night {
        start * start / terms.first()?.start_degrees
    } else {
        terms.iter().map(|u| u.start * u.start / u.start_degrees).sum()
    };
    let degrees = sum * sum / (of_starts + terms.iter().map(|u| u.within * u.within / u.within_degrees).sum::<f64>());
    // What has no width has no degrees of freedom, and any factor will do.
    let fewest = || terms.iter().map(|u| u.within_degrees).reduce(f64::min);
    Some((sum, if degrees.is_finite() { degrees } else { fewest()? }))
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
    let terms = [lower.uncertainty(Side::Above)?, upper.uncertainty(Side::Below)?];
    let (joint, degrees) = joint(&terms, one.noise == other.noise)?;
    Some(apart((b - a).abs(), joint, degrees, candidates))
}

//! Drift: does the same thing get slower? Like is compared with like, and every change keeps its sign.

use super::{Interval, MIN_SAMPLES_FOR_INTERVAL, bootstrap_interval, median, quantile_of_sorted};

/// The 97.5 % quantile of the normal distribution.
const Z_95: f64 = 1.959_963_984_540_054;

/// A robust slope with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// Median of the slopes of all pairs: y per unit of x, with its sign.
    pub value: f64,
    /// Sen's 95 % interval.
    pub interval: Interval,
}

impl Slope {
    /// The slope in another unit of y or x.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        let (a, b) = (self.interval.low * factor, self.interval.high * factor);
        Self { value: self.value * factor, interval: Interval { low: a.min(b), high: a.max(b) } }
    }
}

/// A relative change: -0.25 is a quarter less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Later over earlier, minus 1.
    pub value: f64,
    /// Its 95 % interval, where the samples allow one.
    pub interval: Option<Interval>,
}

/// Slope of y over x within each series, robust: the median of the slopes of all pairs of points that belong to one series
/// (Theil 1950, Sen 1968; over several series the seasonal estimator of Hirsch, Slack and Smith 1982), with Sen's interval at
/// 95 % from the normal approximation of Kendall's statistic, whose variances add up over the series. A short request is never
/// compared with a long one when each has its own series. `None` below five points or where fewer than five pairs differ in x.
#[must_use]
pub fn matched_slope(series: &[Vec<(f64, f64)>]) -> Option<Slope> {
    matched_slope_at(series, Z_95)
}

fn matched_slope_at(series: &[Vec<(f64, f64)>], z: f64) -> Option<Slope> {
    let (mut slopes, mut variance, mut points) = (Vec::new(), 0.0, 0);
    for one in series {
        for (i, (x0, y0)) in one.iter().enumerate() {
            for (x1, y1) in &one[i + 1..] {
                if (x1 - x0).abs() > 0.0 {
                    slopes.push((y1 - y0) / (x1 - x0));
                }
            }
        }
        let n = one.len() as f64;
        variance += n * (n - 1.0) * 2.0f64.mul_add(n, 5.0) / 18.0;
        points += one.len();
    }
    if points < MIN_SAMPLES_FOR_INTERVAL || slopes.len() < MIN_SAMPLES_FOR_INTERVAL {
        return None;
    }
    slopes.sort_by(f64::total_cmp);
    let (pairs, deviation, last) = (slopes.len() as f64, z * variance.sqrt(), slopes.len() - 1);
    let low = (((pairs - deviation) / 2.0).round() - 1.0).max(0.0) as usize;
    let high = ((pairs + deviation) / 2.0).round().max(0.0) as usize;
    Some(Slope {
        value: quantile_of_sorted(&slopes, 0.5)?,
        interval: Interval { low: slopes[low.min(last)], high: slopes[high.min(last)] },
    })
}

/// Below this span, h (5 minutes), no slope is given per hour: it would mostly be what a second of noise makes of an hour.
pub const MIN_SLOPE_SPAN_H: f64 = 5.0 / 60.0;

/// [`matched_slope`] of a level over time, y per hour: (h, y) in order of time. `None` also below [`MIN_SLOPE_SPAN_H`].
#[must_use]
pub fn slope_per_h(points: Vec<(f64, f64)>) -> Option<Slope> {
    let (first, last) = (points.first()?.0, points.last()?.0);
    if last - first < MIN_SLOPE_SPAN_H {
        return None;
    }
    matched_slope(&[points])
}

/// At most so many points for the same line: of more, neighbours are represented by the medians of their x and y. In order of x.
#[must_use]
pub fn thinned(points: &[(f64, f64)], at_most: usize) -> Vec<(f64, f64)> {
    let middle = |of: &[(f64, f64)]| {
        let axis = |at: fn(&(f64, f64)) -> f64| median(&of.iter().map(at).collect::<Vec<f64>>());
        Some((axis(|p| p.0)?, axis(|p| p.1)?))
    };
    let size = points.len().div_ceil(at_most.max(1)).max(1);
    points.chunks(size).filter_map(middle).collect()
}

/// Points that a drift needs: of ten on, a single outlier no longer makes an end of its interval.
pub const MIN_DRIFT_POINTS: usize = 10;

/// Change from the first x to the last, as a share of what is usual: each series is divided by its own median, and the
/// [`matched_slope`] of all is taken over the whole span of x. `None` below [`MIN_DRIFT_POINTS`], and where that slope does not exist or
/// a median is not above 0.
#[must_use]
pub fn drift_across(series: &[Vec<(f64, f64)>]) -> Option<Change> {
    if series.iter().map(Vec::len).sum::<usize>() < MIN_DRIFT_POINTS {
        return None;
    }
    let scaled: Option<Vec<Vec<(f64, f64)>>> = series
        .iter()
        .filter(|one| !one.is_empty())
        .map(|one| {
            let values: Vec<f64> = one.iter().map(|(_, y)| *y).collect();
            let usual = median(&values).filter(|usual| *usual > 0.0)?;
            Some(one.iter().map(|(x, y)| (*x, y / usual)).collect())
        })
        .collect();
    let xs = || series.iter().flatten().map(|(x, _)| *x);
    let span = xs().reduce(f64::max)? - xs().reduce(f64::min)?;
    let drift = matched_slope(&scaled?)?.times(span);
    Some(Change { value: drift.value, interval: Some(drift.interval) })
}

/// Change between two visits to the same things, as (earlier, later): sum of the later over sum of the earlier, minus 1. The
/// interval resamples the pairs, from five on. `None` without pairs or when the earlier sum is not above 0.
#[must_use]
pub fn matched_change(pairs: &[(f64, f64)], seed: u64) -> Option<Change> {
    let change = |pairs: &[(f64, f64)]| {
        let turned: Vec<(f64, f64)> = pairs.iter().map(|(earlier, later)| (*later, *earlier)).collect();
        ratio_of_sums(&turned).map(|ratio| ratio - 1.0)
    };
    Some(Change { value: change(pairs)?, interval: bootstrap_interval(pairs, seed, change) })
}

/// Sum of the first over sum of the second: the ratio of their means, which is not the mean of their ratios. `None` without pairs
/// or when the second sum is not above 0.
#[must_use]
pub fn ratio_of_sums(pairs: &[(f64, f64)]) -> Option<f64> {
    let (first, second) = pairs.iter().fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
    (second > 0.0).then(|| first / second)
}

#[cfg(test)]
#[path = "drift_tests.rs"]
mod tests;

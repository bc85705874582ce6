//! How far apart two figures must lie before a whole night of comparisons may call them different.
//!
//! Every figure brings its own 95 % interval. Two things make it too narrow for naming the best of k configs:
//!
//! - The error must hold for the night, not for one pair. The leader is chosen after seeing the data, so all
//!   m = k(k-1)/2 pairs count; Bonferroni gives each a two-sided error of 0.04/m (Dunn 1961). 0.04, so that the promise of 0.05 holds
//!   with what simulated nights show beyond the model (docs/statistics.md).
//! - A bootstrap interval over n samples has about the width of a normal one with the uncorrected deviation, that is, too
//!   narrow for small n; the factor sqrt(n/(n-1)) and Student's t with Welch's degrees of freedom repair that.
//!
//! So with h the half-width of each 95 % interval on the side that faces the other figure (which keeps asymmetric intervals
//! asymmetric, as in MOVER, Zou and Donner 2008), and v = h^2 n/(n-1), two figures are apart when
//!
//! ```text
//! distance^2 > f^2 (v1 + v2),   f = t(1 - 0.04/(2m); d) / z(0.975),   d = (v1 + v2)^2 / (v1^2/(n1-1) + v2^2/(n2-1))
//! ```
//!
//! d is rounded down and k up to a fixed grid (both wider), so that the database holds the same factors in one table.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// One line of the table: how much the joint half-width of two figures is widened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CriticalValue {
    /// Degrees of freedom of the comparison, rounded down to the grid.
    pub degrees: u64,
    /// Configs that are compared, rounded up to the grid; 1 for the interval of one figure.
    pub candidates: u64,
    /// Factor on the root of v1 + v2.
    pub factor: f64,
}

/// The error that the comparisons of a whole night are given; a night may name a false winner in at most 5 %.
const NIGHT_ERROR: f64 = 0.04;

/// The error of the interval of one figure alone.
const INTERVAL_ERROR: f64 = 0.05;

/// Quantile 0.975 of the standard normal distribution: the half-width of a lone 95 % interval in standard errors.
pub(super) const Z_975: f64 = 1.959_963_984_540_054;

/// More configs than this count as this many.
const MOST_CANDIDATES: u64 = 16_384;

/// More degrees of freedom than this count as this many.
pub(super) const MOST_DEGREES: f64 = 1_000.0;

fn degree_steps() -> impl Iterator<Item = u64> {
    (1..=30).chain([40, 60, 120, MOST_DEGREES as u64])
}

fn candidate_steps() -> impl Iterator<Item = u64> {
    let doubling = std::iter::successors(Some(16_u64), |k| Some(k * 2)).take_while(|k| *k <= MOST_CANDIDATES);
    (1..16).chain(doubling.flat_map(|k| [k, k + k / 2])).filter(|k| *k <= MOST_CANDIDATES)
}

/// The whole grid by (degrees, candidates), computed once in some milliseconds.
static GRID: LazyLock<BTreeMap<(u64, u64), f64>> =
    LazyLock::new(|| degree_steps().flat_map(|d| candidate_steps().map(move |k| ((d, k), factor(d, k)))).collect());

/// The factor for a comparison of `degrees` degrees of freedom among `candidates` configs; `None` below one degree.
#[must_use]
pub fn critical_factor(degrees: f64, candidates: u64) -> Option<f64> {
    // What rounding leaves under a whole number is that number.
    let d = degree_steps().filter(|step| *step as f64 <= degrees + 1e-9).last()?;
    let k = candidate_steps().find(|step| *step >= candidates.min(MOST_CANDIDATES))?;
    GRID.get(&(d, k)).copied()
}

/// Every line of the grid, for the database.
#[must_use]
pub fn critical_table() -> Vec<CriticalValue> {
    GRID.iter()
        .map(|((degrees, candidates), factor)| CriticalValue {
            degrees: *degrees,
            candidates: *candidates,
            factor: *factor,
        })
        .collect()
}

fn factor(degrees: u64, k: u64) -> f64 {
    let error = match k {
        0 | 1 => INTERVAL_ERROR,
        _ => NIGHT_ERROR / (k * (k - 1) / 2) as f64,
    };
    student_t_upper(error / 2.0, degrees as f64) / Z_975
}

/// How uncertain a figure is toward the one that it is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Half-width of its 95 % interval on the side that faces the other figure; `None` without an interval.
    pub half_width: Option<f64>,
    /// Samples that it stands on.
    pub samples: u64,
}

impl Spread {
    /// v of the formula above, and n - 1; `None` for a figure that separates from nothing.
    pub(super) fn variance(self) -> Option<(f64, f64)> {
        let half = self.half_width.filter(|_| self.samples >= 2)?.max(0.0);
        let n = self.samples as f64;
        Some((half * half * n / (n - 1.0), n - 1.0))
    }
}

/// Whether two figures at this `distance` (in the metric's unit) differ beyond the noise of a night of `candidates` configs.
#[must_use]
pub fn separated(distance: f64, one: Spread, other: Spread, candidates: u64) -> bool {
    let (Some(one), Some(other)) = (one.variance(), other.variance()) else { return false };
    apart(distance, one.0 + other.0, welch_degrees(one, other), candidates)
}

/// Whether a distance lies beyond a joint v (as above, z^2 times a variance) on these degrees of freedom.
pub(super) fn apart(distance: f64, joint: f64, degrees: f64, candidates: u64) -> bool {
    critical_factor(degrees, candidates).is_some_and(|f| distance * distance > f * f * joint)
}

/// Welch's degrees of freedom of two v, each with its own.
pub(super) fn welch_degrees((v1, d1): (f64, f64), (v2, d2): (f64, f64)) -> f64 {
    let sum = v1 + v2;
    let welch = sum * sum / (v1 * v1 / d1 + v2 * v2 / d2);
    // Two intervals of no width have no degrees of freedom, and any factor will do.
    if welch.is_finite() { welch } else { d1.min(d2) }
}

/// The t with P(T > t) = `tail`, for 0 < tail < 0.5, found by bisection.
fn student_t_upper(tail: f64, degrees: f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    while upper_tail(high, degrees) > tail && high < 1e12 {
        low = high;
        high *= 2.0;
    }
    while high - low > 1e-13 * high {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if upper_tail(middle, degrees) > tail {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// P(T > t) for t >= 0: half the regularised incomplete beta function at v/(v+t^2).
fn upper_tail(t: f64, degrees: f64) -> f64 {
    0.5 * incomplete_beta(degrees / 2.0, 0.5, degrees / (degrees + t * t))
}

/// Regularised incomplete beta function by its continued fraction (Abramowitz and Stegun 26.5.8, Lentz's evaluation).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    }
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    let away_from_zero = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut result = d;
    for step in 1..=1_000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away_from_zero(1.0 + even * d);
        c = away_from_zero(1.0 + even / c);
        result *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away_from_zero(1.0 + odd * d);
        c = away_from_zero(1.0 + odd / c);
        let change = d * c;
        result *= change;
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    result
}

/// ln Gamma(x) for x > 0: Stirling's series after shifting x above 10.
fn ln_gamma(x: f64) -> f64 {
    let mut shift = 0.0;
    let mut x = x;
    while x < 10.0 {
        shift += x.ln();
        x += 1.0;
    }
    let inverse_square = 1.0 / (x * x);
    let series =
        (1.0 / 12.0 - inverse_square * (1.0 / 360.0 - inverse_square * (1.0 / 1_260.0 - inverse_square / 1_680.0))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn student_quantiles_agree_with_the_printed_tables() {
        // NIST/SEMATECH e-Handbook 1.3.6.7.2; the last by R's qt.
        for (tail, degrees, printed) in
            [(0.025, 4.0, 2.776), (0.05, 1.0, 6.314), (0.001, 10.0, 4.144), (0.025, 100.0, 1.984), (0.005, 29.0, 2.756)]
        {
            let t = student_t_upper(tail, degrees);
            assert!((t - printed).abs() < 6e-4, "t({tail}; {degrees}) = {t}, printed {printed}");
        }
    }

    #[test]
    fn the_interval_of_a_figure_of_many_samples_is_not_widened() {
        assert!((critical_factor(1e6, 1).unwrap() - 1.0).abs() < 0.003);
    }

    #[test]
    fn fewer_degrees_and_more_configs_only_widen() {
        assert_eq!(critical_factor(0.99, 2), None);
        let f = |d, k| critical_factor(d, k).unwrap();
        for d in [1.0, 2.5, 5.0, 8.0, 31.0, 100.0, 5_000.0] {
            for k in [0, 1, 2, 3, 12, 17, 100, 9_999, 1_000_000] {
                assert!(f(d, k) >= f(d + 1.0, k) && f(d, k) <= f(d, k + 1), "d {d} k {k}");
                assert!(f(d, k) >= 1.0);
            }
        }
    }

    #[test]
    fn two_samples_of_welch_s_example_are_judged_as_by_the_textbook() {
        // Means 10 apart, standard errors 3 and 4, n 10 each: t = 2 on 16.7 degrees; at 16 the two-sided critical value is 2.120
        // for an error of 0.05 (one figure's interval) and 2.235 for the 0.04 of a night.
        let spread = |standard_error: f64| Spread {
            half_width: Some(Z_975 * standard_error * (9.0_f64 / 10.0).sqrt()),
            samples: 10,
        };
        for (candidates, critical) in [(1, 2.120), (2, 2.235)] {
            assert!(!separated((critical - 0.01) * 5.0, spread(3.0), spread(4.0), candidates));
            assert!(separated((critical + 0.01) * 5.0, spread(3.0), spread(4.0), candidates));
        }
    }

    #[test]
    fn without_an_interval_or_with_one_sample_nothing_is_apart_and_without_width_everything_is() {
        let exact = Spread { half_width: Some(0.0), samples: 5 };
        assert!(separated(0.1, exact, exact, 12));
        assert!(!separated(0.0, exact, exact, 12));
        for vague in [Spread { half_width: None, samples: 5 }, Spread { half_width: Some(0.0), samples: 1 }] {
            assert!(!separated(1e9, exact, vague, 2) && !separated(1e9, vague, exact, 2));
        }
    }

    #[test]
    fn the_table_is_made_in_well_under_a_second() {
        let start = std::time::Instant::now();
        let lines = degree_steps().flat_map(|n| candidate_steps().map(move |k| factor(n, k))).count();
        println!("{lines} lines in {:?}", start.elapsed());
        assert!(start.elapsed().as_secs() < 5, "a debug build on a busy machine");
    }

    #[test]
    fn every_factor_that_is_used_stands_in_the_table() {
        let table = critical_table();
        for (d, k) in [(1.0, 1), (5.7, 12), (33.0, 17), (1e4, 10_000)] {
            let used = critical_factor(d, k).unwrap();
            assert!(table.iter().any(|line| line.factor == used && line.degrees as f64 <= d && line.candidates >= k));
        }
    }
}

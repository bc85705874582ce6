//! How far apart two figures must lie before a whole night of comparisons may call them different.
//!
//! Every figure brings its own 95 % interval. Two things make it too narrow for naming the best of k configs:
//!
//! - The error must hold for the night, not for one pair. The leader is chosen after seeing the data, so all
//!   m = k(k-1)/2 pairs count; Bonferroni gives each a two-sided error of 0.05/m (Dunn 1961).
//! - A bootstrap interval over n samples has about the width of a normal one with the uncorrected deviation, that is, too
//!   narrow for small n; Student's t with n-1 degrees and the factor sqrt(n/(n-1)) repair that.
//!
//! So a half-width is multiplied by `t(1 - 0.05/(2m); n-1) / z(0.975) * sqrt(n/(n-1))`, and two figures are separated when their
//! distance exceeds the square root of the sum of both squared widened half-widths, each taken on the side that faces the other
//! (MOVER, Zou and Donner 2008, which keeps asymmetric intervals asymmetric).
//!
//! n and k are rounded to a fixed grid, n down and k up (both wider), so that the database holds the same numbers in one table.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// One line of the table: how much a half-width is widened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CriticalValue {
    /// Samples of the figure, rounded down to the grid.
    pub samples: u64,
    /// Configs that are compared, rounded up to the grid.
    pub candidates: u64,
    /// Factor on the half-width of its 95 % interval.
    pub factor: f64,
}

/// The error that a whole night may make.
const ALPHA: f64 = 0.05;

/// Quantile 0.975 of the standard normal distribution: the half-width of a lone 95 % interval in standard errors.
const Z_975: f64 = 1.959_963_984_540_054;

/// More configs than this count as this many.
const MOST_CANDIDATES: u64 = 16_384;

fn sample_steps() -> impl Iterator<Item = u64> {
    (2..=30).chain([40, 60, 120, 1_000])
}

fn candidate_steps() -> impl Iterator<Item = u64> {
    let doubling = std::iter::successors(Some(16_u64), |k| Some(k * 2)).take_while(|k| *k <= MOST_CANDIDATES);
    (1..16).chain(doubling.flat_map(|k| [k, k + k / 2])).filter(|k| *k <= MOST_CANDIDATES)
}

/// The whole grid by (samples, candidates), computed once in some milliseconds.
static GRID: LazyLock<BTreeMap<(u64, u64), f64>> =
    LazyLock::new(|| sample_steps().flat_map(|n| candidate_steps().map(move |k| ((n, k), factor(n, k)))).collect());

/// The factor for a figure of `samples` samples among `candidates` configs; `None` below two samples, which separate from nothing.
#[must_use]
pub fn critical_factor(samples: u64, candidates: u64) -> Option<f64> {
    let n = sample_steps().filter(|step| *step <= samples).last()?;
    let k = candidate_steps().find(|step| *step >= candidates.min(MOST_CANDIDATES))?;
    GRID.get(&(n, k)).copied()
}

/// Every line of the grid, for the database.
#[must_use]
pub fn critical_table() -> Vec<CriticalValue> {
    GRID.iter()
        .map(|((samples, candidates), factor)| CriticalValue {
            samples: *samples,
            candidates: *candidates,
            factor: *factor,
        })
        .collect()
}

fn factor(n: u64, k: u64) -> f64 {
    let (n, k) = (n as f64, k as f64);
    let pairs = (k * (k - 1.0) / 2.0).max(1.0);
    let tail = ALPHA / (2.0 * pairs);
    student_t_upper(tail, n - 1.0) / Z_975 * (n / (n - 1.0)).sqrt()
}

/// Whether a figure lies apart from a better one: `distance` between their values (in the metric's unit, positive), and the half-widths
/// of their 95 % intervals on the sides that face each other, each with its factor. A missing half-width or factor separates nothing.
#[must_use]
pub fn separated(distance: f64, better: (Option<f64>, Option<f64>), worse: (Option<f64>, Option<f64>)) -> bool {
    let squared = |(half, factor): (Option<f64>, Option<f64>)| Some((half?.max(0.0) * factor?).powi(2));
    match (squared(better), squared(worse)) {
        (Some(a), Some(b)) => distance * distance > a + b,
        (None, Some(_) | None) | (Some(_), None) => false,
    }
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
    fn for_one_pair_of_large_samples_nothing_is_widened() {
        assert!((critical_factor(1_000_000, 2).unwrap() - 1.0).abs() < 0.003);
    }

    #[test]
    fn fewer_samples_and_more_configs_only_widen_and_one_sample_says_nothing() {
        assert_eq!(critical_factor(1, 2), None);
        assert_eq!(critical_factor(0, 2), None);
        let f = |n, k| critical_factor(n, k).unwrap();
        for n in [2, 3, 5, 8, 31, 100, 5_000] {
            for k in [1, 2, 3, 12, 17, 100, 9_999, 1_000_000] {
                assert!(f(n, k) >= f(n + 1, k) && f(n, k) <= f(n, k + 1), "n {n} k {k}");
                assert!(f(n, k) >= 1.0);
            }
        }
    }

    #[test]
    fn the_table_is_made_in_well_under_a_second() {
        let start = std::time::Instant::now();
        let lines = sample_steps().flat_map(|n| candidate_steps().map(move |k| factor(n, k))).count();
        println!("{lines} lines in {:?}", start.elapsed());
        assert!(start.elapsed().as_secs() < 5, "a debug build on a busy machine");
    }

    #[test]
    fn every_factor_that_is_used_stands_in_the_table() {
        let table = critical_table();
        for (n, k) in [(2, 1), (5, 12), (33, 17), (10_000, 10_000)] {
            let used = critical_factor(n, k).unwrap();
            assert!(table.iter().any(|line| line.factor == used && line.samples <= n && line.candidates >= k));
        }
    }
}

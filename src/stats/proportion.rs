//! Shares of successes: the interval of a proportion.

use super::Interval;

/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Wilson's 95 % score interval (Wilson 1927) of a share of `n` independent trials; never empty at 0 and 1, unlike a bootstrap.
/// `share` is from 0 to 1. `None` for no trials.
#[must_use]
pub fn wilson_interval(share: f64, n: usize) -> Option<Interval> {
    if n == 0 || !(0.0..=1.0).contains(&share) {
        return None;
    }
    let n = n as f64;
    let z2 = Z * Z;
    let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    Some(Interval { low: (centre - half).max(0.0), high: (centre + half).min(1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_wilsons() {
        // Newcombe 1998, Statistics in Medicine 17, table I, method 3 (score, no continuity correction).
        for (r, n, low, high) in
            [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
        {
            let interval = wilson_interval(f64::from(r) / n as f64, n).unwrap();
            assert!((interval.low - low).abs() < 5e-5 && (interval.high - high).abs() < 5e-5, "{r}/{n}: {interval:?}");
        }
        assert_eq!(wilson_interval(0.5, 0), None);
        let all = wilson_interval(1.0, 12).unwrap();
        assert!(all.low < 0.8 && (all.high - 1.0).abs() < 1e-12, "twelve of twelve is no certainty: {all:?}");
    }
}

//! When requests arrive in an open loop: gamma-distributed gaps, equal for a seed in every version of vgrid.

use crate::stats::SplitMix64;

/// Arrival times of `n` requests, s from the start, in order.
///
/// The gaps are gamma-distributed with shape `burstiness` (1: exponential, so that arrivals are a Poisson process) and mean
/// 1 / `rate`, then scaled so that the last request arrives at exactly n / `rate`: the offered load is the rate that was asked for.
pub(super) fn arrivals(seed: u64, rate: f64, burstiness: f64, n: usize) -> Vec<f64> {
    let mut random = Random(SplitMix64::new(seed));
    let mut at = 0.0;
    let times: Vec<f64> = std::iter::repeat_with(|| {
        at += random.gamma(burstiness);
        at
    })
    .take(n)
    .collect();
    let scale = n as f64 / rate / at;
    times.into_iter().map(|time| time * scale).collect()
}

struct Random(SplitMix64);

impl Random {
    /// Uniform in (0, 1).
    fn uniform(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Standard normal (Box and Muller 1958).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Gamma with this shape and scale 1 (Marsaglia and Tsang 2000; below shape 1 by their boost).
    fn gamma(&mut self, shape: f64) -> f64 {
        if (shape - 1.0).abs() < f64::EPSILON {
            return -self.uniform().ln();
        }
        if shape < 1.0 {
            let boost = self.uniform().powf(1.0 / shape);
            return self.gamma(shape + 1.0) * boost;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = c.mul_add(x, 1.0).powi(3);
            if v > 0.0 && self.uniform().ln() < (0.5 * x).mul_add(x, d - d * v + d * v.ln()) {
                return d * v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats;

    fn gaps(times: &[f64]) -> Vec<f64> {
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// Standard deviation over mean: 1 / sqrt(shape) for gamma-distributed gaps.
    fn variation(burstiness: f64) -> f64 {
        let gaps = gaps(&arrivals(11, 4.0, burstiness, 20_000));
        stats::stddev(&gaps).unwrap() / stats::mean(&gaps).unwrap()
    }

    #[test]
    fn gaps_vary_as_the_gamma_distribution_says() {
        for shape in [0.25, 0.5, 1.0, 4.0, 100.0] {
            let (expected, found) = (1.0 / f64::sqrt(shape), variation(shape));
            assert!((found / expected - 1.0).abs() < 0.05, "shape {shape}: {found} and not {expected}");
        }
    }

    #[test]
    fn poisson_gaps_are_exponential_at_every_quantile() {
        let gaps = gaps(&arrivals(5, 1.0, 1.0, 20_000));
        for q in [0.1, 0.5, 0.9, 0.99] {
            let (expected, found) = (-f64::ln(1.0 - q), stats::quantile(&gaps, q).unwrap());
            assert!((found - expected).abs() < 0.05 * expected.max(0.2), "{q}: {found} and not {expected}");
        }
    }

    #[test]
    fn the_offered_load_is_exactly_the_rate_and_a_seed_fixes_the_times() {
        let times = arrivals(3, 2.5, 1.0, 50);
        assert!((times[49] - 20.0).abs() < 1e-9 && times.is_sorted() && times[0] > 0.0);
        assert_eq!(times, arrivals(3, 2.5, 1.0, 50));
        assert_ne!(times, arrivals(4, 2.5, 1.0, 50));
        // computed by an independent program
        let known = [1.913_205_250_380_614_3, 2.900_913_497_489_272_5, 3.0];
        let found = arrivals(1, 1.0, 1.0, 3);
        assert!(found.iter().zip(known).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?}");
    }
}

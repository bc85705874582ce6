//! Quantiles, bootstrap intervals, robust slopes: pure maths.
//!
//! Every function says how many samples it needs and gives nothing below that: a figure that does not exist is not 0.

mod drift;
mod paired;
mod proportion;

pub use drift::{
    Change, MIN_DRIFT_POINTS, MIN_SLOPE_SPAN_H, Slope, drift_across, matched_change, matched_slope, ratio_of_sums,
    slope_per_h, thinned,
};
pub use paired::{PairedCounts, fewest_lost, holm};
pub use proportion::wilson_interval;

/// Replicates of a bootstrap: enough for the second digit of a 95 % interval.
pub const BOOTSTRAP_REPLICATES: usize = 1_000;

/// Samples below which a bootstrap interval says nothing.
pub const MIN_SAMPLES_FOR_INTERVAL: usize = 5;

/// The percentiles that vgrid prints, with the samples that each needs: `n >= 1 / (1 - q)` so that at least one
/// sample may lie beyond it, and three for a median.
pub const PERCENTILES: &[(&str, f64, usize)] =
    &[("p50", 0.50, 3), ("p90", 0.90, 10), ("p95", 0.95, 20), ("p99", 0.99, 100)];

/// A 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// One statistic of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistic {
    /// `mean`, `min`, `max`, `stddev`, `p50`, ...: the last part of a metric's path.
    pub name: &'static str,
    /// Its value, in the samples' unit.
    pub value: f64,
    /// Bootstrap interval, where the statistic and n allow one.
    pub interval: Option<Interval>,
}

/// SplitMix64 (Steele, Lea, Flood 2014): a small generator whose sequence is the same in every version of vgrid.
#[derive(Clone, Debug)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// A generator; equal seeds give equal sequences.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 for `n` = 0. (Multiply-shift: the bias is below n / 2^64.)
    pub fn below(&mut self, n: usize) -> usize {
        let wide = u128::from(self.next_u64()) * n as u128;
        (wide >> 64) as usize
    }
}

/// Arithmetic mean; `None` for no samples.
#[must_use]
pub fn mean(samples: &[f64]) -> Option<f64> {
    (!samples.is_empty()).then(|| samples.iter().sum::<f64>() / samples.len() as f64)
}

/// Sample standard deviation (divisor n - 1), two passes; `None` below two samples.
#[must_use]
pub fn stddev(samples: &[f64]) -> Option<f64> {
    let centre = mean(samples).filter(|_| samples.len() >= 2)?;
    let squares: f64 = samples.iter().map(|x| (x - centre).powi(2)).sum();
    Some((squares / (samples.len() - 1) as f64).sqrt())
}

/// The `q` quantile (0 to 1) of samples in ascending order, with linear interpolation (Hyndman and Fan's type 7, the default of
/// R and NumPy); `None` for no samples.
#[must_use]
pub fn quantile_of_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = q.clamp(0.0, 1.0) * last as f64;
    let below = (at.floor() as usize).min(last);
    let above = (below + 1).min(last);
    let (low, high) = (sorted[below], sorted[above]);
    Some((at - below as f64).mul_add(high - low, low))
}

/// The `q` quantile of samples in any order; see [`quantile_of_sorted`].
#[must_use]
pub fn quantile(samples: &[f64], q: f64) -> Option<f64> {
    quantile_of_sorted(&sorted(samples), q)
}

/// The median; `None` for no samples.
#[must_use]
pub fn median(samples: &[f64]) -> Option<f64> {
    quantile(samples, 0.5)
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// 95 % percentile bootstrap interval of `statistic` (Efron 1979), resampling whole items with replacement. Equal seeds give
/// equal intervals; `None` below five items, or when the statistic does not exist for some resample.
pub fn bootstrap_interval<T: Copy>(
    items: &[T],
    seed: u64,
    statistic: impl Fn(&[T]) -> Option<f64>,
) -> Option<Interval> {
    let replicates = bootstrap_replicates(items, seed, statistic)?;
    interval_of(replicates)
}

/// The sorted-out 2.5 % and 97.5 % quantiles of bootstrap replicates.
fn interval_of(replicates: Vec<f64>) -> Option<Interval> {
    let replicates = sorted(&replicates);
    Some(Interval { low: quantile_of_sorted(&replicates, 0.025)?, high: quantile_of_sorted(&replicates, 0.975)? })
}

fn bootstrap_replicates<T: Copy>(items: &[T], seed: u64, statistic: impl Fn(&[T]) -> Option<f64>) -> Option<Vec<f64>> {
    if items.len() < MIN_SAMPLES_FOR_INTERVAL {
        return None;
    }
    let mut random = SplitMix64::new(seed);
    let mut resample = items.to_vec();
    (0..BOOTSTRAP_REPLICATES)
        .map(|_| {
            for slot in &mut resample {
                *slot = items[random.below(items.len())];
            }
            statistic(&resample).filter(|value| value.is_finite())
        })
        .collect()
}

/// Every statistic that n samples allow: mean, min, max; stddev from two samples; the [`PERCENTILES`]. Mean and percentiles carry
/// an interval from five samples on. Empty for no samples.
#[must_use]
pub fn describe(samples: &[f64], seed: u64) -> Vec<Statistic> {
    let ordered = sorted(samples);
    let mut found = describe_sorted(&ordered);
    // One resample serves all statistics.
    let levels: Vec<(&'static str, f64)> = allowed(samples.len()).map(|(name, q, _)| (*name, *q)).collect();
    for (name, interval) in describe_intervals(&ordered, seed, &levels) {
        for statistic in found.iter_mut().filter(|s| s.name == name) {
            statistic.interval = interval;
        }
    }
    found
}

/// Like [`describe`], without intervals: for samples that are not independent of each other.
#[must_use]
pub fn describe_dependent(samples: &[f64]) -> Vec<Statistic> {
    describe_sorted(&sorted(samples))
}

fn allowed(n: usize) -> impl Iterator<Item = &'static (&'static str, f64, usize)> {
    PERCENTILES.iter().filter(move |(_, _, needed)| n >= *needed)
}

fn describe_sorted(ordered: &[f64]) -> Vec<Statistic> {
    let (Some(centre), Some(min), Some(max)) = (mean(ordered), ordered.first(), ordered.last()) else {
        return Vec::new();
    };
    let exact = |name, value| Statistic { name, value, interval: None };
    let mut found = vec![exact("mean", centre), exact("min", *min), exact("max", *max)];
    found.extend(stddev(ordered).map(|value| exact("stddev", value)));
    for (name, q, _) in allowed(ordered.len()) {
        found.extend(quantile_of_sorted(ordered, *q).map(|value| exact(name, value)));
    }
    found
}

fn describe_intervals(
    ordered: &[f64],
    seed: u64,
    levels: &[(&'static str, f64)],
) -> Vec<(&'static str, Option<Interval>)> {
    if ordered.len() < MIN_SAMPLES_FOR_INTERVAL {
        return Vec::new();
    }
    let mut random = SplitMix64::new(seed);
    let mut replicates = vec![Vec::with_capacity(BOOTSTRAP_REPLICATES); levels.len() + 1];
    let mut picks = vec![0_u32; ordered.len()];
    let mut resample = Vec::with_capacity(ordered.len());
    for _ in 0..BOOTSTRAP_REPLICATES {
        picks.fill(0);
        for _ in 0..ordered.len() {
            picks[random.below(ordered.len())] += 1;
        }
        resample.clear(); // in order already, because the samples are: no sorting
        for (value, times) in ordered.iter().zip(&picks) {
            resample.extend(std::iter::repeat_n(*value, *times as usize));
        }
        replicates[0].extend(mean(&resample));
        for (kept, (_, q)) in replicates[1..].iter_mut().zip(levels) {
            kept.extend(quantile_of_sorted(&resample, *q));
        }
    }
    let names = std::iter::once("mean").chain(levels.iter().map(|(name, _)| *name));
    names.zip(replicates.into_iter().map(interval_of)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: f64, b: f64, tolerance: f64) -> bool {
        (a - b).abs() <= tolerance
    }

    #[test]
    fn splitmix64_gives_the_published_sequence() {
        let mut random = SplitMix64::new(1_234_567);
        let got: Vec<u64> = (0..5).map(|_| random.next_u64()).collect();
        assert_eq!(
            got,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821
            ]
        );
    }

    #[test]
    fn mean_and_stddev_meet_the_nist_reference_sets_numacc3_and_numacc4() {
        for base in [1_000_000.0, 10_000_000.0] {
            let mut data = vec![base + 0.2];
            data.extend((0..500).flat_map(|_| [base + 0.1, base + 0.3]));
            assert!(close(mean(&data).unwrap(), base + 0.2, 1e-7));
            assert!(close(stddev(&data).unwrap(), 0.1, 1e-7));
        }
        assert_eq!(stddev(&[1.0]), None);
        assert_eq!(mean(&[]), None);
    }

    #[test]
    fn quantiles_are_those_of_r_type_7() {
        let data: Vec<f64> = (1..=10).rev().map(f64::from).collect();
        for (q, expected) in [(0.0, 1.0), (0.25, 3.25), (0.5, 5.5), (0.75, 7.75), (0.95, 9.55), (1.0, 10.0)] {
            assert!(close(quantile(&data, q).unwrap(), expected, 1e-12), "{q}");
        }
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
    }

    #[test]
    fn the_bootstrap_meets_efron_and_tibshirani_s_mouse_data() {
        // "An Introduction to the Bootstrap", chapter 2: treated mice; the ideal bootstrap standard error of the mean is 23.36
        let mice = [94.0, 197.0, 16.0, 38.0, 99.0, 141.0, 23.0];
        let replicates = bootstrap_replicates(&mice, 1, mean).unwrap();
        assert!(close(stddev(&replicates).unwrap(), 23.36, 1.5));
        assert!(close(mean(&replicates).unwrap(), 86.86, 2.5));
    }

    /// Share of 400 samples of n normal numbers whose interval of the mean holds the true one.
    fn coverage(n: usize) -> f64 {
        let mut random = SplitMix64::new(n as u64);
        // the sum of twelve uniform numbers less 6 has mean 0 and variance 1
        let mut normal = || (0..12).map(|_| random.next_u64() as f64 / u64::MAX as f64).sum::<f64>() - 6.0;
        let holds = |seed: u64| {
            let sample: Vec<f64> = (0..n).map(|_| normal()).collect();
            let interval = bootstrap_interval(&sample, seed, mean).unwrap();
            interval.low <= 0.0 && 0.0 <= interval.high
        };
        (0..400).map(holds).filter(|holds| *holds).count() as f64 / 400.0
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_an_independent_program_found_and_the_document_says() {
        // a program in another language, on its own random numbers: 1,500, 1,200 and 700 samples; four standard errors of both
        for (n, found, off) in [(5, 0.83, 0.085), (10, 0.904, 0.07), (30, 0.933, 0.06)] {
            let covered = coverage(n);
            assert!((covered - found).abs() < off, "n = {n}: {covered} and not {found}");
        }
    }

    #[test]
    fn intervals_need_five_samples_and_repeat_for_a_seed() {
        assert_eq!(bootstrap_interval(&[1.0, 2.0, 3.0, 4.0], 1, mean), None);
        let five = [1.0, 2.0, 3.0, 4.0, 5.0];
        let interval = bootstrap_interval(&five, 1, mean).unwrap();
        assert_eq!(bootstrap_interval(&five, 1, mean), Some(interval));
        assert!(interval.low < 3.0 && 3.0 < interval.high);
        assert_eq!(bootstrap_interval(&[2.0; 9], 1, mean), Some(Interval { low: 2.0, high: 2.0 }));
    }

    #[test]
    fn percentiles_appear_only_with_enough_samples() {
        let names = |n: usize| {
            let samples: Vec<f64> = (0..n).map(|i| i as f64).collect();
            describe(&samples, 1).iter().map(|s| s.name).collect::<Vec<_>>()
        };
        assert!(names(0).is_empty());
        assert_eq!(names(1), ["mean", "min", "max"]);
        assert_eq!(names(3), ["mean", "min", "max", "stddev", "p50"]);
        assert!(!names(19).contains(&"p95") && names(20).contains(&"p95"));
        assert!(!names(99).contains(&"p99") && names(100).contains(&"p99"));
    }

    #[test]
    fn described_intervals_are_those_of_the_plain_bootstrap() {
        let samples: Vec<f64> = (1..=30).map(|i| f64::from(i * i)).collect();
        let plain = bootstrap_interval(&samples, 7, mean).unwrap();
        let described = describe(&samples, 7);
        let of = |name| described.iter().find(|s| s.name == name).and_then(|s| s.interval);
        let got = of("mean").unwrap();
        assert!(close(got.low, plain.low, 1e-9) && close(got.high, plain.high, 1e-9));
        let plain = bootstrap_interval(&samples, 7, median).unwrap();
        assert!(close(of("p50").unwrap().low, plain.low, 1e-9));
        assert_eq!(of("max"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_quantile_lies_within_the_samples_and_grows_with_q(
            samples in proptest::collection::vec(-1e6_f64..1e6, 1..60), a in 0.0_f64..1.0, b in 0.0_f64..1.0
        ) {
            let (low, high) = (quantile(&samples, a.min(b)).unwrap(), quantile(&samples, a.max(b)).unwrap());
            prop_assert!(low <= high + 1e-6);
            let ordered = sorted(&samples);
            prop_assert!(ordered[0] - 1e-6 <= low && high <= ordered[ordered.len() - 1] + 1e-6);
        }

        #[test]
        fn an_interval_contains_its_own_bounds_in_order(samples in proptest::collection::vec(0.0_f64..1e3, 5..20), seed in any::<u64>()) {
            let interval = bootstrap_interval(&samples, seed, median).unwrap();
            prop_assert!(interval.low <= interval.high);
        }
    }
}

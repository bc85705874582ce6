//! Two configs on the same cases: McNemar's test of paired outcomes.

use serde::{Deserialize, Serialize};

/// Cases counted by what became of them under a reference and under another config.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairedCounts {
    /// Passed under both.
    pub both: u64,
    /// Passed under the reference only: what the other lost.
    pub only_reference: u64,
    /// Passed under the other only: what it gained.
    pub only_other: u64,
    /// Passed under neither.
    pub neither: u64,
}

impl PairedCounts {
    /// Cases compared.
    #[must_use]
    pub const fn cases(&self) -> u64 {
        self.both + self.only_reference + self.only_other + self.neither
    }

    /// The other's share of passed cases minus the reference's, -1 to 1; `None` for no cases.
    #[must_use]
    pub fn difference(&self) -> Option<f64> {
        let cases = self.cases();
        (cases > 0).then(|| (self.only_other as f64 - self.only_reference as f64) / cases as f64)
    }

    /// Exact two-sided p of McNemar's test: twice the smaller tail of the binomial distribution with p = 1/2 over the pairs that
    /// differ (McNemar 1947; the exact form is the sign test), at most 1. With no pair that differs it is 1.
    #[must_use]
    pub fn exact_p(&self) -> f64 {
        let n = self.only_reference + self.only_other;
        let smaller = self.only_reference.min(self.only_other);
        // In logarithms: 2^-n underflows from 1,075 pairs on.
        let mut ln_term = -(n as f64) * std::f64::consts::LN_2;
        let mut tail = ln_term.exp();
        for i in 0..smaller {
            ln_term += ((n - i) as f64 / (i + 1) as f64).ln();
            tail += ln_term.exp();
        }
        (2.0 * tail).min(1.0)
    }

    /// The least exact p that as many cases as differ here could have: if one side had lost them all.
    #[must_use]
    pub fn least_p(&self) -> f64 {
        Self { only_reference: self.only_reference + self.only_other, ..Self::default() }.exact_p()
    }

    /// McNemar's chi-square with Edwards's continuity correction, one degree of freedom, for comparison with tools that print it;
    /// `None` when no pair differs.
    #[must_use]
    pub fn chi_square(&self) -> Option<f64> {
        let n = self.only_reference + self.only_other;
        let gap = self.only_reference.abs_diff(self.only_other) as f64;
        (n > 0).then(|| (gap - 1.0).max(0.0).powi(2) / n as f64)
    }
}

/// The fewest cases that one side must lose, and gain none, for an exact p below `level` as one of so many comparisons (the least of
/// Holm's p is multiplied by their number).
#[must_use]
pub fn fewest_lost(level: f64, comparisons: usize) -> u64 {
    let significant = |lost: &u64| {
        let counts = PairedCounts { only_reference: *lost, ..PairedCounts::default() };
        counts.exact_p() * comparisons.max(1) as f64 * (1.0 - 1e-12) < level
    };
    (1..).find(significant).unwrap_or(u64::MAX)
}

/// Each p over all comparisons (Holm 1979): at most 5 % of families of comparisons in which nothing differs have one below 0.05. In the
/// order of `ps`.
#[must_use]
pub fn holm(ps: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..ps.len()).collect();
    order.sort_by(|a, b| ps[*a].total_cmp(&ps[*b]));
    let (mut adjusted, mut least) = (vec![1.0; ps.len()], 0.0_f64);
    for (rank, at) in order.into_iter().enumerate() {
        least = least.max(((ps.len() - rank) as f64 * ps[at]).min(1.0));
        adjusted[at] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_p_over_all_comparisons_is_that_of_holm() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (got, wanted) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((got - wanted).abs() < 1e-12, "{adjusted:?}");
        }
        assert_eq!(holm(&[0.6, 0.9]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    fn counts(both: u64, only_other: u64, only_reference: u64, neither: u64) -> PairedCounts {
        PairedCounts { both, only_reference, only_other, neither }
    }

    #[test]
    fn a_campaign_that_called_its_corrected_chi_square_exact_is_recomputed() {
        // Three benchmarks of 300 cases: both, only new, only reference, neither; chi-square; exact p.
        let published = [
            (counts(234, 7, 30, 29), 13.08, 1.9e-4),
            (counts(233, 9, 33, 25), 12.60, 2.7e-4),
            (counts(168, 15, 23, 94), 1.29, 0.26),
        ];
        for (counts, chi_square, p) in published {
            assert_eq!(counts.cases(), 300);
            assert!((counts.chi_square().unwrap() - chi_square).abs() < 0.005, "{counts:?}");
            assert!((counts.exact_p() / p - 1.0).abs() < 0.03, "{counts:?}: {}", counts.exact_p());
        }
        let difference = published[0].0.difference().unwrap();
        assert!((difference - (7.0 - 30.0) / 300.0).abs() < 1e-12);
    }

    #[test]
    fn the_exact_p_is_that_of_the_sign_test() {
        // Two-sided tails of Binomial(n, 1/2), as in every table of the sign test; computed with whole numbers.
        let table = [
            ((0, 6), 0.03125),
            ((1, 9), 0.021_484_375),
            ((5, 15), 0.041_389_465_332_031_25),
            ((3, 12), 0.035_156_25),
            ((7, 30), 0.000_191_076_425_835_490_23),
            ((59, 121), 4.434_449_263_755_176e-6),
            ((900, 1_100), 8.457_089_535_503_927e-6),
        ];
        for ((a, b), p) in table {
            for counts in [counts(0, a, b, 0), counts(50, b, a, 3)] {
                assert!((counts.exact_p() / p - 1.0).abs() < 1e-9, "{counts:?}: {}", counts.exact_p());
            }
        }
    }

    #[test]
    fn the_smallest_difference_that_can_be_told_is_known_before_anything_is_asked() {
        assert_eq!([1, 4, 100].map(|comparisons| fewest_lost(0.05, comparisons)), [6, 8, 12]);
        assert_eq!(counts(19, 0, 5, 0).least_p(), 0.0625);
        assert_eq!(counts(10, 2, 3, 0).least_p(), 0.0625, "had all five been lost");
    }

    #[test]
    fn pairs_that_do_not_differ_prove_nothing() {
        assert_eq!(counts(10, 0, 0, 2).exact_p(), 1.0);
        assert_eq!(counts(10, 5, 5, 2).exact_p(), 1.0);
        assert_eq!(counts(10, 0, 0, 2).chi_square(), None);
        assert_eq!(counts(0, 0, 0, 0).difference(), None);
        assert!(counts(0, 5_000, 2_000, 0).exact_p() >= 0.0);
    }
}

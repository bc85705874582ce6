//! Drift on a textbook's example and on a real campaign's figures, whose published verdicts were wrong.

use proptest::prelude::*;

use super::super::mean;
use super::*;

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance
}

/// Two chats of a prefix-cache test: five prompts the first time and again.
const MISS_MS: [f64; 5] = [4_756.93, 3_055.62, 2_471.98, 3_013.42, 2_491.21];
const HIT_MS: [f64; 5] = [2_188.90, 2_534.64, 2_462.56, 2_522.39, 2_278.88];

/// The same five prompts before and after a change.
const BEFORE_MS: [f64; 5] = [1_828.33, 1_864.23, 1_443.63, 1_488.76, 1_629.62];
const AFTER_MS: [f64; 5] = [4_375.81, 3_771.03, 2_898.16, 3_354.94, 2_771.36];

/// A stability run: five cycles of four requests, limited to 100, 800, 50 and 900 tokens.
const CYCLES_MS: [[f64; 4]; 5] = [
    [4_786.0, 21_735.0, 1_765.0, 38_456.0],
    [4_287.0, 21_167.0, 1_617.0, 29_046.0],
    [5_292.0, 22_432.0, 2_559.0, 37_367.0],
    [4_990.0, 35_339.0, 2_212.0, 34_408.0],
    [5_236.0, 22_655.0, 1_969.0, 20_261.0],
];

/// A conversation of 15 turns, three times: first and last turn, and the means of turns 1-5, 6-10, 11-15.
const TURNS_MS: [(f64, f64, [f64; 3]); 3] = [
    (4_419.52, 3_813.26, [3_639.09, 3_540.60, 3_469.66]),
    (3_614.06, 3_197.57, [3_431.04, 3_638.65, 3_560.98]),
    (3_646.93, 3_503.45, [3_383.33, 3_327.47, 3_334.08]),
];

fn pairs(first: &[f64], second: &[f64]) -> Vec<(f64, f64)> {
    first.iter().copied().zip(second.iter().copied()).collect()
}

/// One series per request of a cycle.
fn by_request() -> Vec<Vec<(f64, f64)>> {
    (0..4).map(|at| CYCLES_MS.iter().enumerate().map(|(cycle, ms)| (cycle as f64, ms[at])).collect()).collect()
}

#[test]
fn theil_sen_meets_sen_s_own_example() {
    // Sen 1968; slope 4, interval 3.71 to 4.38 at alpha = 0.07 (z = 1.8119)
    let points = vec![(1.0, 9.0), (2.0, 15.0), (3.0, 19.0), (4.0, 20.0), (10.0, 45.0), (12.0, 55.0), (18.0, 78.0)];
    let slope = matched_slope_at(&[points], 1.811_9).unwrap();
    assert!(close(slope.value, 4.0, 1e-12));
    assert!(close(slope.interval.low, 3.71, 0.01) && close(slope.interval.high, 4.38, 0.01), "{slope:?}");
}

#[test]
fn a_slope_keeps_its_sign_and_shrugs_off_one_outlier() {
    let mut points: Vec<(f64, f64)> = (0..12).map(|i| (f64::from(i), -2.0 * f64::from(i))).collect();
    points[6].1 = 1_000.0;
    let slope = matched_slope(&[points.clone()]).unwrap();
    assert!(close(slope.value, -2.0, 1e-9) && slope.interval.high < 0.0);
    assert!(close(slope.times(-3.0).value, 6.0, 1e-9) && slope.times(-3.0).interval.low > 0.0);
    assert_eq!(matched_slope(&[vec![(1.0, 1.0); 9]]), None);
    assert_eq!(matched_slope(&[points[..4].to_vec()]), None);
    assert_eq!(matched_slope(&[]), None);
}

#[test]
fn series_of_unlike_requests_are_never_compared_with_each_other() {
    // a short request that always takes 1 s and a long one that always takes 30 s, seen in the order long, short, long, short
    let short: Vec<(f64, f64)> = (0..5).map(|cycle| (f64::from(cycle), 1_000.0)).collect();
    let long: Vec<(f64, f64)> = (0..5).map(|cycle| (f64::from(cycle) - 0.5, 30_000.0)).collect();
    let matched = matched_slope(&[short.clone(), long.clone()]).unwrap();
    assert_eq!((matched.value, matched.interval), (0.0, Interval { low: 0.0, high: 0.0 }));
    let mixed = matched_slope(&[[short, long].concat()]).unwrap();
    assert!(mixed.interval.low < 0.0 || mixed.interval.high > 0.0, "{mixed:?}");
}

#[test]
fn a_drift_is_a_share_of_what_each_series_usually_is() {
    // both grow by 10 % of their middle value from the first cycle to the last
    let grows = |usual: f64| (0..5).map(|i| (f64::from(i), usual * (0.95 + 0.025 * f64::from(i)))).collect();
    let drift = drift_across(&[grows(1_000.0), grows(30_000.0)]).unwrap();
    assert!(close(drift.value, 0.10, 1e-9), "{drift:?}");
    assert!(drift.interval.unwrap().low > 0.0);
    assert_eq!(drift_across(&[vec![(0.0, 0.0); 6]]), None, "nothing to take a share of");
}

#[test]
fn a_slope_per_hour_needs_minutes_and_says_nothing_of_seconds() {
    // one sample a second, of noise that comes back: in 49 s it was told as -31 GiB/h
    let samples = |seconds: u32| -> Vec<(f64, f64)> {
        (0..seconds).map(|s| (f64::from(s) / 3_600.0, 5e9 - 4e8 * (f64::from(s) / 300.0).min(1.0))).collect()
    };
    assert_eq!(slope_per_h(samples(49)), None);
    assert_eq!(slope_per_h(Vec::new()), None);
    let slope = slope_per_h(samples(302)).unwrap();
    assert!(close(slope.value / -4.8e9, 1.0, 0.01), "{slope:?}");
}

#[test]
fn a_drift_of_fewer_than_ten_points_is_none_and_of_ten_one_outlier_makes_no_end_of_its_interval() {
    let turns = |n: u32| -> Vec<(f64, f64)> {
        // a TTFT of 10 ms that changes by a hundredth up and down, and one that took 300 ms
        let ms = |i: u32| if i == 1 { 300.0 } else { 10.0 + 0.1 * f64::from(i % 2) };
        (0..n).map(|i| (f64::from(i), ms(i))).collect()
    };
    assert_eq!(drift_across(&[turns(8)]), None);
    let interval = drift_across(&[turns(10)]).unwrap().interval.unwrap();
    assert!(interval.low > -0.15 && interval.high < 0.15, "{interval:?}");
}

#[test]
fn many_points_are_thinned_to_the_same_line() {
    let line: Vec<(f64, f64)> = (0..5_000).map(|i| (f64::from(i), 3.0 * f64::from(i) + f64::from(i % 7))).collect();
    let thin = thinned(&line, 240);
    assert!(thin.len() <= 240 && thin.len() > 200, "{}", thin.len());
    assert!(close(matched_slope(&[thin]).unwrap().value, 3.0, 0.01));
    assert_eq!(thinned(&line[..5], 240), line[..5]);
}

#[test]
fn the_ratio_of_means_is_not_the_mean_of_ratios() {
    let ratios: Vec<f64> = pairs(&MISS_MS, &HIT_MS).iter().map(|(miss, hit)| miss / hit).collect();
    assert!(close(mean(&ratios).unwrap(), 1.334, 0.000_5));
    assert!(close(ratio_of_sums(&pairs(&MISS_MS, &HIT_MS)).unwrap(), 1.317, 0.000_5));
    // the first pair was the first request after the start: without it hardly a gain is left
    assert!(close(mean(&ratios[1..]).unwrap(), 1.124, 0.000_5));
    assert!(close(ratio_of_sums(&pairs(&MISS_MS[1..], &HIT_MS[1..])).unwrap(), 1.126, 0.000_5));
}

#[test]
fn a_change_over_five_prompts_is_not_that_of_the_first_one() {
    let first = matched_change(&pairs(&BEFORE_MS[..1], &AFTER_MS[..1]), 1).unwrap();
    assert!(close(first.value, 1.393, 0.001) && first.interval.is_none(), "the published +139 % is one prompt");
    let all = matched_change(&pairs(&BEFORE_MS, &AFTER_MS), 1).unwrap();
    assert!(close(all.value, 1.080, 0.001), "{all:?}");
    let interval = all.interval.unwrap();
    assert!(interval.low > 0.8 && interval.high < first.value, "{interval:?}");
}

#[test]
fn a_published_degradation_of_19_percent_compared_unlike_requests() {
    let mean_of = |cycles: &[[f64; 4]]| mean(&cycles.concat()).unwrap();
    let all = CYCLES_MS.concat();
    // the published figure: the first five requests against the last five, which are not the same ones
    let unlike = mean(&all[15..]).unwrap() / mean(&all[..5]).unwrap() - 1.0;
    assert!(close(unlike, 0.190, 0.001), "{unlike}");
    // the same requests again: the last cycle took a quarter less than the first
    let matched = matched_change(&pairs(&CYCLES_MS[0], &CYCLES_MS[4]), 1).unwrap();
    assert!(close(matched.value, -0.249, 0.000_5) && matched.interval.is_none(), "{matched:?}");
    assert!(close(mean_of(&CYCLES_MS), 15_879.0, 1.0));
    let drift = drift_across(&by_request()).unwrap();
    let interval = drift.interval.unwrap();
    assert!(interval.low < 0.0 && 0.0 < interval.high, "twenty requests show no drift at all: {drift:?}");
}

#[test]
fn a_published_degradation_of_14_percent_had_lost_its_minus_sign() {
    let of_ends: Vec<f64> = TURNS_MS.iter().map(|(first, last, _)| last / first - 1.0).collect();
    for (change, known) in of_ends.iter().zip([-0.137, -0.115, -0.039]) {
        assert!(close(*change, known, 0.000_6), "{change}");
    }
    let bands: Vec<(f64, f64)> = TURNS_MS.iter().map(|(_, _, bands)| (bands[0], bands[2])).collect();
    for ((first, last), known) in bands.iter().zip([-0.047, 0.038, -0.015]) {
        assert!(close(last / first - 1.0, known, 0.000_6));
    }
    let change = matched_change(&bands, 1).unwrap();
    assert!((-0.01..-0.008).contains(&change.value), "{change:?}");
    // nine band means: turns 3, 8 and 13 of three conversations
    let series: Vec<Vec<(f64, f64)>> = TURNS_MS
        .iter()
        .map(|(_, _, bands)| bands.iter().zip([3.0, 8.0, 13.0]).map(|(ms, turn)| (turn, *ms)).collect())
        .collect();
    let slope = matched_slope(&series).unwrap();
    assert!(slope.interval.low < 0.0 && 0.0 < slope.interval.high, "no drift: {slope:?}");
    assert!(slope.value < 0.0, "and if there were one, it would be a gain: {slope:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_slope_lies_in_its_interval_and_turns_with_the_sign_of_y(
        ys in proptest::collection::vec(-1e3_f64..1e3, 5..20)
    ) {
        let series: Vec<(f64, f64)> = ys.iter().enumerate().map(|(i, y)| (i as f64, *y)).collect();
        let slope = matched_slope(std::slice::from_ref(&series)).unwrap();
        prop_assert!(slope.interval.low <= slope.value && slope.value <= slope.interval.high);
        let turned: Vec<(f64, f64)> = series.iter().map(|(x, y)| (*x, -y)).collect();
        prop_assert!(close(matched_slope(&[turned]).unwrap().value, -slope.value, 1e-9));
    }

    #[test]
    fn a_level_is_no_drift_and_scale_does_not_matter(
        ys in proptest::collection::vec(1.0_f64..1e3, 10..16), factor in 0.01_f64..100.0
    ) {
        let series: Vec<(f64, f64)> = ys.iter().enumerate().map(|(i, y)| (i as f64, *y)).collect();
        let scaled: Vec<(f64, f64)> = series.iter().map(|(x, y)| (*x, y * factor)).collect();
        let (one, other) = (drift_across(&[series]).unwrap(), drift_across(&[scaled]).unwrap());
        prop_assert!(close(one.value, other.value, 1e-6 * (1.0 + one.value.abs())));
    }
}

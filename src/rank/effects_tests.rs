//! The effects of settings whose true effects are known.

use proptest::prelude::*;

use super::*;
use crate::stats::SplitMix64;

fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn figure(value: f64, half: Option<f64>, n: u64) -> Figure {
    let metric = crate::domain::Metric {
        path: "load.ttft_ms.p50".parse().unwrap(),
        value,
        unit: "ms".into(),
        n,
        failed_n: 0,
        ci_low: half.map(|h| value - h),
        ci_high: half.map(|h| value + h),
    };
    Figure::of_one_start(metric, crate::domain::Verdict::Valid)
}

/// Of a night whose starts are known not to differ.
fn point(pairs: &[(&str, &str)], value: f64, half: f64) -> Point {
    let noise = crate::rank::StartNoise { degrees: 29, ..Default::default() };
    Point::new(settings(pairs), &Figure { noise, ..figure(value, Some(half), 30) })
}

/// Caching saves 40, chunking costs 5; together they save 10 more.
fn square(half: f64) -> Vec<Point> {
    let at = |cache, chunk, value| point(&[("cache", cache), ("chunk", chunk)], value, half);
    vec![at("off", "off", 100.0), at("on", "off", 60.0), at("off", "on", 105.0), at("on", "on", 55.0)]
}

#[test]
fn an_effect_is_the_mean_over_matched_pairs_from_the_reference() {
    let found = effects(&square(0.5), &settings(&[("cache", "off"), ("chunk", "off")]));
    assert_eq!(found.len(), 2);
    let cache = &found[0];
    assert_eq!((cache.change.axis.as_str(), cache.change.to.as_str(), cache.pairs), ("cache", "on", 2));
    assert_eq!(cache.shift.difference, -45.0, "mean of -40 and -50");
    assert_eq!((cache.smallest, cache.largest), (-50.0, -40.0));
    assert!(cache.shift.real && cache.shift.ci_high.unwrap() < 0.0);
    let chunk = &found[1];
    assert_eq!(chunk.shift.difference, 0.0, "+5 and -5");
    assert!(!chunk.shift.real);
    let back = effects(&square(0.5), &settings(&[("cache", "on")]));
    assert_eq!(back[0].shift.difference, 45.0, "from on to off");
}

#[test]
fn an_interaction_is_how_much_an_effect_changes_with_another_setting() {
    let reference = settings(&[("cache", "off"), ("chunk", "off")]);
    let found = interactions(&square(0.5), &reference);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].effect_before, found[0].effect_after, found[0].shift.difference), (-40.0, -50.0, -10.0));
    assert!(interactions(&square(50.0), &reference).is_empty(), "noise hides it");
}

#[test]
fn what_differs_in_two_settings_is_no_matched_pair_and_a_figure_without_interval_is_not_real() {
    let far = [point(&[("a", "1"), ("b", "1")], 1.0, 0.1), point(&[("a", "2"), ("b", "2")], 9.0, 0.1)];
    assert!(effects(&far, &settings(&[("a", "1"), ("b", "1")])).is_empty());
    let near = [point(&[("a", "1")], 1.0, 0.1), Point::new(settings(&[("a", "2")]), &figure(9.0, None, 30))];
    let found = effects(&near, &settings(&[("a", "1")]));
    assert_eq!((found[0].shift.difference, found[0].shift.ci_low, found[0].shift.real), (8.0, None, false));
}

#[test]
fn numbers_are_ordered_by_value() {
    let mut values = ["16", "8", "auto", "0.5"];
    values.sort_by(|a, b| by_number(a, b));
    assert_eq!(values, ["0.5", "8", "16", "auto"]);
}

/// A normal deviate by the sum of twelve uniform ones.
fn noise(random: &mut SplitMix64) -> f64 {
    (0..12).map(|_| random.next_u64() as f64 / u64::MAX as f64).sum::<f64>() - 6.0
}

#[test]
fn axes_that_do_nothing_are_called_real_in_at_most_five_percent_of_the_nights() {
    let mut random = SplitMix64::new(7);
    let (nights, n) = (400, 10);
    let mut wrong = 0;
    for _ in 0..nights {
        let mut points = Vec::new();
        for a in ["1", "2", "3"] {
            for b in ["on", "off"] {
                // Of each config one start, 5 % from the next: as is assumed where none was repeated.
                let start = 100.0 + 5.0 * noise(&mut random);
                let samples: Vec<f64> = (0..n).map(|_| start + 10.0 * noise(&mut random)).collect();
                let value = crate::stats::mean(&samples).unwrap();
                // The bootstrap's width: the deviation with divisor n.
                let deviation = crate::stats::stddev(&samples).unwrap() * ((n - 1) as f64 / n as f64).sqrt();
                let half = 1.96 * deviation / (n as f64).sqrt();
                points.push(Point::new(settings(&[("a", a), ("b", b)]), &figure(value, Some(half), n as u64)));
            }
        }
        let reference = settings(&[("a", "1"), ("b", "on")]);
        wrong += usize::from(effects(&points, &reference).iter().any(|e| e.shift.real));
    }
    assert!(wrong <= nights * 7 / 100, "{wrong} of {nights} nights");
}

proptest! {
    #[test]
    fn without_interactions_every_effect_is_exact_and_there_is_no_interaction(
        a in prop::collection::vec(-50_i32..50, 3), b in prop::collection::vec(-50_i32..50, 2), missing in 0_usize..6,
    ) {
        let mut points = Vec::new();
        for (i, x) in a.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                points.push(point(&[("a", &i.to_string()), ("b", &j.to_string())], f64::from(200 + x + y), 0.01));
            }
        }
        points.remove(missing);
        points.reverse();
        let reference = settings(&[("a", "0"), ("b", "0")]);
        for effect in effects(&points, &reference) {
            let to: usize = effect.change.to.parse().unwrap();
            let from: usize = effect.change.from.parse().unwrap();
            let levels = if effect.change.axis == "a" { &a } else { &b };
            let truth = f64::from(levels[to] - levels[from]);
            prop_assert!((effect.shift.difference - truth).abs() < 1e-9);
            prop_assert!(effect.smallest <= effect.largest + 1e-9);
        }
        prop_assert!(interactions(&points, &reference).is_empty());
    }
}

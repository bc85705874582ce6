//! From values to places: linear and logarithmic axes with round ticks.

use super::Scale;
use crate::domain::reading::number;

/// Width of a digit where the page writes largest: on a phone, which shows a chart at two thirds of its size.
const CHARACTER: f64 = 9.5;

/// Room that every picture has beside both ends of an axis from left to right.
const MARGIN: f64 = 12.0;

/// An axis laid onto a stretch of the picture.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    log: bool,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis over all of `values`, drawn from `from` to `to`. A linear one begins at 0 when all values are positive and the smallest lies
    /// below half of the largest; a logarithmic one needs positive values and is linear where there is another.
    pub(super) fn over(values: impl Iterator<Item = f64>, scale: &Scale, from: f64, to: f64) -> Self {
        let (mut low, mut high, mut positive) = (f64::INFINITY, f64::NEG_INFINITY, true);
        for value in values.filter(|v| v.is_finite()) {
            low = low.min(value);
            high = high.max(value);
            positive &= value > 0.0;
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let log = scale.log && positive && low > 0.0;
        if log {
            let room = (high.ln() - low.ln()).max(0.2) * 0.06;
            // At the ends of what a number can be, room would make an end 0 or infinite, which has no logarithm.
            let (low, high) = ((low * (-room).exp()).max(f64::MIN_POSITIVE), (high * room.exp()).min(f64::MAX));
            return Self { low, high, log, from, to };
        }
        if low == high {
            let room = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
            (low, high) = (low - room, high + room);
        }
        let room = (high - low) * 0.06;
        let from_zero = low >= 0.0 && low < high * 0.5;
        let low = if from_zero { 0.0 } else { low - room };
        Self { low, high: high + room, log, from, to }
    }

    /// Where a value stands.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(f64::MIN_POSITIVE).ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share * (self.to - self.from)
    }

    /// The values themselves with their texts, where they are few and none stands close to its neighbour: levels that were chosen.
    pub(super) fn ticks_at(&self, values: &[f64]) -> Option<Vec<(f64, String)>> {
        let ticks: Vec<(f64, String)> = values.iter().map(|v| (*v, tick_text(*v))).collect();
        let few = (1..=10).contains(&values.len());
        (few && self.clear(&ticks).len() == ticks.len()).then_some(ticks)
    }

    /// Like [`Self::ticks`], for an axis from left to right: a text that would touch the one before it or leave the picture is left out.
    pub(super) fn ticks_across(&self, most: usize) -> Vec<(f64, String)> {
        self.clear(&self.ticks(most))
    }

    fn clear(&self, ticks: &[(f64, String)]) -> Vec<(f64, String)> {
        let mut end = f64::NEG_INFINITY;
        let mut kept = Vec::new();
        for (value, text) in ticks {
            let half = CHARACTER * text.chars().count() as f64 / 2.0;
            let middle = self.at(*value);
            let inside = middle - half >= self.from - MARGIN && middle + half <= self.to + MARGIN;
            if inside && middle - half >= end {
                end = middle + half + CHARACTER;
                kept.push((*value, text.clone()));
            }
        }
        kept
    }

    /// Round values inside, at most about `most` of them, with their texts.
    pub(super) fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        let values = if self.log { self.log_ticks(most) } else { self.linear_ticks(most) };
        values.into_iter().map(|v| (v, tick_text(v))).collect()
    }

    fn linear_ticks(&self, most: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / most.max(1) as f64;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(rough);
        let first = (self.low / step).ceil();
        let count = (self.high / step).floor() - first;
        if !count.is_finite() || count < 0.0 {
            return Vec::new();
        }
        (0..=count as usize).map(|i| (first + i as f64) * step).collect()
    }

    /// One, two or five, or the like, times powers of ten; only called with a positive low end.
    fn log_ticks(&self, most: usize) -> Vec<f64> {
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let inside = |multiples: &[f64]| -> Vec<f64> {
            let all = (first..=last).flat_map(|power| multiples.iter().map(move |m| m * 10_f64.powi(power)));
            all.filter(|v| (self.low..=self.high).contains(v)).collect()
        };
        for multiples in [&[1.0, 1.5, 2.0, 3.0, 5.0, 7.0][..], &[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]] {
            let ticks = inside(multiples);
            if (2..=most + 1).contains(&ticks.len()) {
                return ticks;
            }
        }
        let decades = inside(&[1.0]);
        if decades.len() < 2 {
            return self.linear_ticks(most);
        }
        let step = decades.len().div_ceil(most.max(1));
        decades.into_iter().step_by(step).collect()
    }
}

fn tick_text(value: f64) -> String {
    let size = value.abs();
    if size >= 1e6 {
        format!("{}M", number(value / 1e6))
    } else if size >= 1e4 {
        format!("{}k", number(value / 1e3))
    } else {
        number(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis::over([3.0, 97.0].into_iter(), &Scale::linear("x"), 0.0, 100.0);
        let ticks: Vec<String> = axis.ticks(5).into_iter().map(|(_, t)| t).collect();
        assert_eq!(ticks, ["0", "25", "50", "75", "100"]);
        let log = Axis::over([9.0, 1_100.0].into_iter(), &Scale::log("x"), 0.0, 100.0);
        assert_eq!(log.ticks(5).into_iter().map(|(_, t)| t).collect::<Vec<_>>(), ["10", "30", "100", "300", "1,000"]);
        assert!(log.at(9.0) > 0.0 && log.at(1_100.0) < 100.0);
    }

    #[test]
    fn texts_of_ticks_never_touch() {
        let rates = Axis::over([9.97, 10.7].into_iter(), &Scale::linear("x"), 0.0, 100.0);
        assert_eq!(rates.ticks_at(&[9.97, 10.2]), None, "levels too near to each other");
        let axis = Axis::over([0.0, 90_000.0].into_iter(), &Scale::linear("x"), 0.0, 100.0);
        let ticks = axis.ticks_across(9);
        let apart = |pair: &[(f64, String)]| axis.at(pair[1].0) - axis.at(pair[0].0) >= CHARACTER * 3.0;
        assert!(ticks.len() > 1 && ticks.windows(2).all(apart), "{ticks:?}");
        let end = Axis::over([0.0, 3_790.0].into_iter(), &Scale::linear("x"), 62.0, 468.0);
        assert!(end.ticks_across(6).iter().all(|(_, text)| text != "4,000"), "cut off at the right end");
    }

    #[test]
    fn a_logarithm_of_zero_or_one_value_alone_does_not_break_the_axis() {
        for values in [vec![0.0, 5.0], vec![7.0], vec![], vec![0.0], vec![-3.0]] {
            let axis = Axis::over(values.iter().copied(), &Scale::log("x"), 0.0, 100.0);
            assert!(values.iter().all(|v| axis.at(*v).is_finite()), "{values:?}");
            assert!(axis.ticks(5).iter().all(|(v, _)| v.is_finite()));
        }
    }

    proptest! {
        #[test]
        fn every_value_stands_inside_and_ticks_are_few(values in prop::collection::vec(prop_oneof![-1e9_f64..1e9, (-300..300_i32).prop_map(|power| 10_f64.powi(power))], 1..20), log: bool) {
            let axis = Axis::over(values.iter().copied(), &Scale { label: String::new(), log }, 10.0, 90.0);
            for value in &values {
                prop_assert!((9.9..=90.1).contains(&axis.at(*value)), "{value} at {}", axis.at(*value));
            }
            prop_assert!(axis.ticks(6).len() <= 12);
        }
    }
}

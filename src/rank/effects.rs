//! What one setting does by itself: matched pairs, and whether its effect depends on another setting.
//!
//! Two configs are a matched pair of an axis when they differ in that axis alone. The effect of going from value a to value b is
//! the mean difference over all matched pairs: every pair weighs the same, and what else the configs set cancels out. Where four configs
//! form a square of two axes, the interaction is how much the effect of the one changes with the other.
//!
//! The interval is that of the ranking ([`super::uncertainty`]): variances of the figures under the mean, noise between starts included, add
//! up, with Student's t, widened so that the whole table errs in at most 5 %. It covers the noise of the figures in the contexts that were
//! measured; how far the effect reaches from context to context is given apart, as the smallest and the largest pair.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Figure;
use super::critical::critical_factor;
use super::uncertainty::{Side, Uncertainty, joint};

/// One measured config: its settings and the figure that is looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Every setting in which the configs differ, with its value.
    pub settings: BTreeMap<String, String>,
    /// The figure.
    pub value: f64,
    below: Option<Uncertainty>,
    above: Option<Uncertainty>,
}

impl Point {
    /// A config with these settings and this figure. In a night that drifted no figure says how far another config is from it: there no effect
    /// is beyond the noise.
    #[must_use]
    pub fn new(settings: BTreeMap<String, String>, figure: &Figure) -> Self {
        let toward = |side| figure.uncertainty(side).filter(|_| !figure.noise.moved);
        Self { settings, value: figure.metric.value, below: toward(Side::Below), above: toward(Side::Above) }
    }
}

/// A change of one setting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// The setting.
    pub axis: String,
    /// The value that is left.
    pub from: String,
    /// The value that is taken instead.
    pub to: String,
}

/// How much a figure changes, in its unit, on average.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// Mean difference: after the change minus before it.
    pub difference: f64,
    /// Lower end of the interval; absent when a figure has none.
    pub ci_low: Option<f64>,
    /// Upper end of the interval.
    pub ci_high: Option<f64>,
    /// The difference in percent of the mean before the change; absent where that is 0.
    pub percent: Option<f64>,
    /// Whether the interval leaves 0 out.
    pub real: bool,
}

/// The effect of one change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// Matched pairs under it.
    pub pairs: usize,
    /// How much the figure changes.
    #[serde(flatten)]
    pub shift: Shift,
    /// Smallest difference of a pair.
    pub smallest: f64,
    /// Largest difference of a pair.
    pub largest: f64,
}

/// How much the effect of one change itself changes with another setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interaction {
    /// The change whose effect is looked at.
    pub change: Change,
    /// The change of the other setting.
    pub given: Change,
    /// Squares of four configs under it.
    pub squares: usize,
    /// Mean effect of `change` before `given`.
    pub effect_before: f64,
    /// Mean effect of `change` after `given`.
    pub effect_after: f64,
    /// How much the effect changes; `percent` is of the mean figure before both changes.
    #[serde(flatten)]
    pub shift: Shift,
}

/// The points by their settings, and the changes that are asked about.
struct Field<'a> {
    by_settings: BTreeMap<&'a BTreeMap<String, String>, &'a Point>,
    changes: Vec<Change>,
}

impl<'a> Field<'a> {
    /// Of points with equal settings the last counts. Changes lead from the reference's value of an axis (the axis's first where the
    /// reference has none) to each other value.
    fn new(points: &'a [Point], reference: &BTreeMap<String, String>) -> Self {
        let by_settings = points.iter().filter(|p| p.value.is_finite()).map(|p| (&p.settings, p)).collect();
        let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (axis, value) in points.iter().flat_map(|p| &p.settings) {
            let known = values.entry(axis).or_default();
            if !known.contains(&value.as_str()) {
                known.push(value);
            }
        }
        let mut changes = Vec::new();
        for (axis, mut values) in values {
            values.sort_by(|a, b| by_number(a, b));
            let from = reference.get(axis).map(String::as_str).filter(|r| values.contains(r)).unwrap_or(values[0]);
            let to = values.iter().filter(|v| **v != from);
            changes.extend(to.map(|to| Change { axis: axis.to_owned(), from: from.to_owned(), to: (*to).to_owned() }));
        }
        Self { by_settings, changes }
    }

    /// The point that `point` becomes by a change; `None` when it was not measured.
    fn after(&self, point: &Point, change: &Change) -> Option<&'a Point> {
        let mut settings = point.settings.clone();
        settings.insert(change.axis.clone(), change.to.clone());
        self.by_settings.get(&settings).copied()
    }

    fn before(&self, change: &Change) -> impl Iterator<Item = &'a Point> {
        self.by_settings.values().copied().filter(|p| p.settings.get(&change.axis) == Some(&change.from))
    }
}

/// Numbers by value, before texts by spelling.
pub(crate) fn by_number(a: &str, b: &str) -> std::cmp::Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(x), Ok(y)) => x.total_cmp(&y),
        (Ok(_), Err(_)) => std::cmp::Ordering::Less,
        (Err(_), Ok(_)) => std::cmp::Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

/// The effect of every change from the reference's settings that has a matched pair, by axis and value.
#[must_use]
pub fn effects(points: &[Point], reference: &BTreeMap<String, String>) -> Vec<Effect> {
    let field = Field::new(points, reference);
    let matched: Vec<(&Change, Vec<(&Point, &Point)>)> = field
        .changes
        .iter()
        .map(|change| (change, field.before(change).filter_map(|p| Some((p, field.after(p, change)?))).collect()))
        .filter(|(_, pairs): &(_, Vec<_>)| !pairs.is_empty())
        .collect();
    let family = matched.len();
    matched
        .into_iter()
        .map(|(change, pairs)| {
            let differences = pairs.iter().map(|(a, b)| b.value - a.value);
            let terms: Vec<(f64, &Point)> = pairs.iter().flat_map(|(a, b)| [(-1.0, *a), (1.0, *b)]).collect();
            let base: f64 = pairs.iter().map(|(a, _)| a.value).sum::<f64>() / pairs.len() as f64;
            Effect {
                change: change.clone(),
                pairs: pairs.len(),
                shift: shift(&terms, pairs.len(), base, family),
                smallest: differences.clone().fold(f64::INFINITY, f64::min),
                largest: differences.fold(f64::NEG_INFINITY, f64::max),
            }
        })
        .collect()
}

/// Every pair of changes for which squares of four configs were measured and whose interaction is beyond the noise, strongest first.
#[must_use]
pub fn interactions(points: &[Point], reference: &BTreeMap<String, String>) -> Vec<Interaction> {
    let field = Field::new(points, reference);
    let mut found = Vec::new();
    for (i, change) in field.changes.iter().enumerate() {
        for given in field.changes.iter().skip(i + 1).filter(|g| g.axis != change.axis) {
            let squares: Vec<[&Point; 4]> = field
                .before(change)
                .filter(|p| p.settings.get(&given.axis) == Some(&given.from))
                .filter_map(|p| {
                    let (changed, other) = (field.after(p, change)?, field.after(p, given)?);
                    Some([p, changed, other, field.after(other, change)?])
                })
                .collect();
            if !squares.is_empty() {
                found.push((change, given, squares));
            }
        }
    }
    let family = found.len();
    let mut out: Vec<Interaction> = found
        .into_iter()
        .map(|(change, given, squares)| {
            let m = squares.len() as f64;
            let mean = |f: &dyn Fn(&[&Point; 4]) -> f64| squares.iter().map(f).sum::<f64>() / m;
            let terms: Vec<(f64, &Point)> =
                squares.iter().flat_map(|[a, b, c, d]| [(1.0, *a), (-1.0, *b), (-1.0, *c), (1.0, *d)]).collect();
            Interaction {
                change: change.clone(),
                given: given.clone(),
                squares: squares.len(),
                effect_before: mean(&|s| s[1].value - s[0].value),
                effect_after: mean(&|s| s[3].value - s[2].value),
                shift: shift(&terms, squares.len(), mean(&|s| s[0].value), family),
            }
        })
        .filter(|i| i.shift.real)
        .collect();
    out.sort_by(|a, b| b.shift.difference.abs().total_cmp(&a.shift.difference.abs()));
    out
}

/// The sum of the signed terms over `contexts`, with the interval of a table of `family` such lines.
fn shift(terms: &[(f64, &Point)], contexts: usize, base: f64, family: usize) -> Shift {
    let weight = 1.0 / contexts as f64;
    let difference = weight * terms.iter().map(|(sign, p)| sign * p.value).sum::<f64>();
    let half = |downward: bool| {
        // A positive term pulls the sum down by its own lower side, a negative one by its upper side.
        let toward = terms.iter().map(|(sign, p)| if (*sign > 0.0) == downward { p.below } else { p.above });
        let weighted = toward.map(|u| u.map(|u| u.times(weight)));
        joint_half_width(&weighted.collect::<Option<Vec<Uncertainty>>>()?, family)
    };
    let (ci_low, ci_high) = (half(true).map(|h| difference - h), half(false).map(|h| difference + h));
    let percent = 100.0 * difference / base.abs();
    Shift {
        difference,
        ci_low,
        ci_high,
        percent: percent.is_finite().then_some(percent),
        real: ci_low.zip(ci_high).is_some_and(|(low, high)| low > 0.0 || high < 0.0),
    }
}

/// Half-width of the interval of a sum of such terms, in a table of `family` lines.
fn joint_half_width(terms: &[Uncertainty], family: usize) -> Option<f64> {
    let (joint, degrees) = joint(terms, true)?;
    // k candidates have k(k-1)/2 pairs: the fewest candidates with as many pairs as the table has lines.
    let candidates = (2_u64..).find(|k| k * (k - 1) / 2 >= family as u64)?;
    Some(critical_factor(degrees, candidates)? * joint.sqrt())
}

#[cfg(test)]
#[path = "effects_tests.rs"]
mod tests;

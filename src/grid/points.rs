//! The points of a grid, one at a time: the product of the axes (last axis fastest), then the named configs.

use super::judge::Judge;
use super::settings::{self, Assignment, Setting, Target};
use super::{Axis, Grid, NamedConfig, Order};
use crate::domain::{Config, Diagnostic, Diagnostics, MetricPath, Settings};

/// One point of a grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its number in the order of the grid's text, from 0; the same whatever `order` says.
    pub index: usize,
    /// Its name and settings.
    pub config: Config,
    /// The rule that takes it out, if one does.
    pub excluded: Option<Exclusion>,
    /// What the author expects to be measured.
    pub expected: Vec<(MetricPath, f64)>,
    /// The author's words on it.
    pub description: Option<String>,
}

/// Why a point is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// The rule's number in `exclude`, from 0.
    pub rule: usize,
    /// Its condition as written.
    pub when: String,
    /// Its reason.
    pub because: String,
}

/// Name of the only point of a grid without axes and configs.
const LONE: &str = "base";

impl Grid {
    /// How many points the product of the axes has: 0 without axes, unless there are no named configs either.
    #[must_use]
    pub fn product_count(&self) -> usize {
        product_count(&self.axes, &self.configs)
    }

    /// How many points the grid has before its rules take some out.
    #[must_use]
    pub fn count(&self) -> usize {
        self.product_count() + self.configs.len()
    }

    /// The indices of the points in the order in which they run: the baseline, then as `order` says.
    pub fn run_order(&self) -> impl Iterator<Item = usize> + '_ {
        let count = self.count();
        let first = self.baseline_index();
        let nth = move |i: usize| match self.order {
            Order::AsWritten => i,
            Order::Shuffled { seed } => shuffled(i, count, seed),
        };
        std::iter::once(first).filter(move |_| count > 0).chain((0..count).map(nth).filter(move |i| *i != first))
    }

    /// The points in the order in which they run, made when asked for.
    ///
    /// # Errors
    /// A point whose exclusion cannot be decided gives the rule's error.
    pub fn points_in_run_order(&self) -> impl Iterator<Item = Result<Point, Diagnostics>> + '_ {
        let mut judge = Judge::new(self);
        self.run_order().map(move |index| self.point_by(&mut judge, index))
    }

    /// The index of the baseline: the point that `baseline` names, else the first.
    #[must_use]
    pub fn baseline_index(&self) -> usize {
        self.baseline.as_deref().and_then(|name| self.find(name)).unwrap_or(0)
    }

    /// The index of the point with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        find(&self.axes, &self.configs, name)
    }

    /// The point with this index.
    ///
    /// # Errors
    /// As [`Grid::points_in_run_order`]; an index out of range is an error too.
    pub fn point_at(&self, index: usize) -> Result<Point, Diagnostics> {
        self.point_by(&mut Judge::once(self), index)
    }

    fn point_by(&self, judge: &mut Judge<'_>, index: usize) -> Result<Point, Diagnostics> {
        let Some(origin) = self.origin(index) else {
            let message = format!("the grid has no point {index}, only {}", self.count());
            return Err(Diagnostic::error("no-such-point", message).help("see `vgrid plan`").into());
        };
        let name = self.name_of(&origin);
        let excluded = judge.exclusion(&origin)?;
        let mut settings = self.base_settings.clone();
        let (axis_values, expected, description) = match &origin {
            Origin::Product(digits) => {
                let mut axis_values = Vec::with_capacity(digits.len());
                for (axis, digit) in self.axes.iter().zip(digits) {
                    let value = &axis.values[*digit];
                    value.setting.apply(&mut settings);
                    let text = if axis.secret { value.label.clone() } else { value.setting.shown() };
                    axis_values.push((axis.title.clone(), text));
                }
                (axis_values, Vec::new(), None)
            }
            Origin::Named(at) => {
                let named = &self.configs[*at];
                named.settings.iter().for_each(|assignment| assignment.setting.apply(&mut settings));
                (Vec::new(), named.expected.clone(), named.description.clone())
            }
        };
        Ok(Point { index, config: Config { name, settings, axis_values }, excluded, expected, description })
    }

    /// Where the point with this index comes from.
    pub(super) fn origin(&self, index: usize) -> Option<Origin> {
        let product = self.product_count();
        if index >= product {
            let at = index - product;
            return (at < self.configs.len()).then_some(Origin::Named(at));
        }
        let mut digits = vec![0; self.axes.len()];
        let mut rest = index;
        for (digit, axis) in digits.iter_mut().zip(&self.axes).rev() {
            *digit = rest % axis.values.len();
            rest /= axis.values.len();
        }
        Some(Origin::Product(digits))
    }

    /// The point's name.
    pub(super) fn name_of(&self, origin: &Origin) -> String {
        match origin {
            Origin::Named(at) => self.configs[*at].name.clone(),
            Origin::Product(digits) if digits.is_empty() => LONE.to_owned(),
            Origin::Product(digits) => {
                let mut name = String::new();
                for (axis, digit) in self.axes.iter().zip(digits) {
                    if !name.is_empty() {
                        name.push('_');
                    }
                    name.push_str(&axis.values[*digit].label);
                }
                name
            }
        }
    }

    /// The text of what a point sets for `target`; none when it says nothing.
    pub(super) fn text_of(&self, origin: &Origin, target: &Target) -> Option<String> {
        let own = match origin {
            Origin::Product(digits) => self
                .axes
                .iter()
                .zip(digits)
                .find(|(axis, _)| axis.target == *target)
                .map(|(axis, digit)| &axis.values[*digit].setting),
            Origin::Named(at) => setting_of(&self.configs[*at].settings, target),
        };
        own.or_else(|| setting_of(&self.base, target)).map(Setting::text)
    }
}

fn product_count(axes: &[Axis], configs: &[NamedConfig]) -> usize {
    if axes.is_empty() {
        return usize::from(configs.is_empty());
    }
    axes.iter().map(|axis| axis.values.len()).product()
}

/// The index of the point with this name.
pub(super) fn find(axes: &[Axis], configs: &[NamedConfig], name: &str) -> Option<usize> {
    match configs.iter().position(|config| config.name == name) {
        Some(at) => Some(product_count(axes, configs) + at),
        None => find_in_product(axes, configs, name),
    }
}

/// The index of the point of the product with this name.
pub(super) fn find_in_product(axes: &[Axis], configs: &[NamedConfig], name: &str) -> Option<usize> {
    if axes.is_empty() {
        return (configs.is_empty() && name == LONE).then_some(0);
    }
    let mut labels = name.split('_');
    let mut index = 0;
    for axis in axes {
        let label = labels.next()?;
        index = index * axis.values.len() + axis.values.iter().position(|value| value.label == label)?;
    }
    labels.next().is_none().then_some(index)
}

fn setting_of<'a>(assignments: &'a [Assignment], target: &Target) -> Option<&'a Setting> {
    assignments.iter().map(|assignment| &assignment.setting).find(|setting| setting.target() == *target)
}

/// Where a point comes from: the digits of a mixed-radix number over the axes, or a named config.
pub(super) enum Origin {
    /// A digit for each axis.
    Product(Vec<usize>),
    /// The number in `configs`.
    Named(usize),
}

/// The settings that a list of assignments makes.
pub(super) fn settings_of(assignments: &[Assignment]) -> Settings {
    settings::collect(assignments)
}

/// The place of `index` in a fixed random order of `0..count`: a four-round Feistel network over the next power of four,
/// walked until it falls inside. A permutation that needs no memory.
fn shuffled(index: usize, count: usize, seed: u64) -> usize {
    let half_bits = (usize::BITS - count.saturating_sub(1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1_u64 << half_bits) - 1;
    let mut value = index as u64;
    loop {
        let (mut left, mut right) = (value >> half_bits, value & mask);
        for round in 0..4 {
            (left, right) = (right, left ^ (mix(seed ^ mix(round) ^ right) & mask));
        }
        value = (left << half_bits) | right;
        if (value as usize) < count {
            return value as usize;
        }
    }
}

/// SplitMix64's finaliser.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::shuffled;

    #[test]
    fn the_shuffle_is_a_permutation_that_depends_on_the_seed() {
        for count in [1, 2, 3, 7, 64, 65, 1_000] {
            let order: Vec<usize> = (0..count).map(|i| shuffled(i, count, 7)).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..count).collect::<Vec<_>>(), "{count}");
        }
        let with = |seed| (0..100).map(|i| shuffled(i, 100, seed)).collect::<Vec<_>>();
        assert_eq!(with(1), with(1));
        assert_ne!(with(1), with(2));
        assert_ne!(with(1), (0..100).collect::<Vec<_>>());
    }
}

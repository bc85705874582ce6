//! Which points the rules take out, with each rule asked once for each combination of the axes that it looks at.

use super::Grid;
use super::points::{Exclusion, Origin};
use super::rule::Rule;
use crate::domain::Diagnostics;

/// Largest table of answers that is kept for one rule, entries of two bytes.
const TABLE_MAX: usize = 1 << 16;

/// Decides the rules of one grid and remembers their answers.
pub(super) struct Judge<'g> {
    grid: &'g Grid,
    tables: Vec<Option<Table>>,
}

/// A rule's answers, by the digits of the axes that it looks at.
struct Table {
    axes: Vec<usize>,
    answers: Vec<Option<bool>>,
}

impl<'g> Judge<'g> {
    pub fn new(grid: &'g Grid) -> Self {
        Self { grid, tables: grid.exclude.iter().map(|rule| Table::new(grid, rule)).collect() }
    }

    /// A judge for one point, who remembers nothing.
    pub const fn once(grid: &'g Grid) -> Self {
        Self { grid, tables: Vec::new() }
    }

    /// The first rule that takes the point out.
    ///
    /// # Errors
    /// A rule that cannot be decided there.
    pub fn exclusion(&mut self, origin: &Origin) -> Result<Option<Exclusion>, Diagnostics> {
        for (number, rule) in self.grid.exclude.iter().enumerate() {
            if self.holds(number, origin)? {
                let (when, because) = (rule.when().to_owned(), rule.because.clone());
                return Ok(Some(Exclusion { rule: number, when, because }));
            }
        }
        Ok(None)
    }

    /// Whether rule number `number` holds at the point.
    ///
    /// # Errors
    /// It cannot be decided there.
    pub fn holds(&mut self, number: usize, origin: &Origin) -> Result<bool, Diagnostics> {
        let grid = self.grid;
        let answer = || grid.exclude[number].holds(|| grid.name_of(origin), |target| grid.text_of(origin, target));
        match (self.tables.get_mut(number), origin) {
            (Some(Some(table)), Origin::Product(digits)) => {
                let at = table.axes.iter().fold(0, |at, axis| at * grid.axes[*axis].values.len() + digits[*axis]);
                match table.answers[at] {
                    Some(known) => Ok(known),
                    None => answer().inspect(|truth| table.answers[at] = Some(*truth)),
                }
            }
            (_, Origin::Product(_) | Origin::Named(_)) => answer(),
        }
    }
}

impl Table {
    /// None when the rule looks at the name, or at so many axes that the table would be large.
    fn new(grid: &Grid, rule: &Rule) -> Option<Self> {
        let targets = rule.targets()?;
        let looks_at = |axis: &usize| targets.contains(&&grid.axes[*axis].target);
        let axes: Vec<usize> = (0..grid.axes.len()).filter(looks_at).collect();
        let size = axes.iter().try_fold(1_usize, |size, axis| size.checked_mul(grid.axes[*axis].values.len()))?;
        (size <= TABLE_MAX).then(|| Self { axes, answers: vec![None; size] })
    }
}

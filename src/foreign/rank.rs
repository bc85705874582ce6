//! Order and gains of a foreign table. Nobody is champion: without intervals nothing is told apart.

use serde::Serialize;

use super::ForeignTable;
use crate::domain::Direction;

/// One config's line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ForeignLine {
    /// Place by value, from 1; equal values share a place.
    pub place: usize,
    /// The config.
    pub config: String,
    /// It was estimated.
    pub estimated: bool,
    /// The figure.
    pub value: f64,
    /// Gain against the baseline, percent of the baseline's value; positive is better.
    pub gain_percent: Option<f64>,
    /// Gains of every other figure against the baseline, percent; positive is better.
    pub other_gains_percent: Vec<(String, f64)>,
}

/// A foreign table by one figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ForeignRanking {
    /// The figure.
    pub figure: String,
    /// Which way is better.
    pub direction: Direction,
    /// The lines, best first; rows without the figure are left out.
    pub lines: Vec<ForeignLine>,
}

/// Orders the table by a figure; by the table's own objective, else by its first figure, when none is named. None when no row
/// has it, or neither way is better.
#[must_use]
pub fn rank(table: &ForeignTable, by: Option<&str>) -> Option<ForeignRanking> {
    let first = || {
        let all = table.rows.iter().flat_map(|row| &row.figures);
        all.clone().find(|f| f.direction.is_some()).map(|f| f.name.clone())
    };
    let figure = by.map(str::to_owned).or_else(|| table.objective.clone()).or_else(first)?;
    let direction = table.rows.iter().flat_map(|row| &row.figures).find(|f| f.name == figure)?.direction?;
    let baseline = table.rows.iter().find(|row| table.baseline.as_ref() == Some(&row.config));
    let gain = |name: &str, direction: Direction, value: f64| {
        let reference = baseline?.figure(name).filter(|v| *v != 0.0)?;
        let change = (value - reference) / reference.abs() * 100.0;
        Some(match direction {
            Direction::Maximize => change,
            Direction::Minimize => -change,
        })
    };
    let mut lines: Vec<ForeignLine> = table
        .rows
        .iter()
        .filter_map(|row| {
            let value = row.figure(&figure)?;
            let others = row.figures.iter().filter(|f| f.name != figure);
            let others = others.filter_map(|f| Some((f.name.clone(), gain(&f.name, f.direction?, f.value)?)));
            Some(ForeignLine {
                place: 0,
                config: row.config.clone(),
                estimated: row.estimated,
                value,
                gain_percent: gain(&figure, direction, value),
                other_gains_percent: others.collect(),
            })
        })
        .collect();
    let better = |a: f64, b: f64| match direction {
        Direction::Maximize => a > b,
        Direction::Minimize => a < b,
    };
    lines.sort_by(|a, b| {
        let order = a.value.total_cmp(&b.value);
        let order = if direction == Direction::Maximize { order.reverse() } else { order };
        order.then_with(|| a.config.cmp(&b.config))
    });
    let values: Vec<f64> = lines.iter().map(|line| line.value).collect();
    for line in &mut lines {
        line.place = 1 + values.iter().filter(|v| better(**v, line.value)).count();
    }
    Some(ForeignRanking { figure, direction, lines })
}

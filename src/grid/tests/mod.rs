//! Tests of the grid as its callers use it: text in, plan or diagnostics out.

mod errors;
mod expand;
mod findings;
mod import;
mod reference;
mod use_cases;
mod values;

use std::path::Path;

use super::points::Point;
use super::*;
use crate::domain::Diagnostics;

/// A grid with a deployment in front of `rest`.
fn text(rest: &str) -> String {
    format!("name: g\ndeployment: {{ compose: [c.yml], service: vllm }}\n{rest}")
}

fn grid(rest: &str) -> Grid {
    parse(Path::new("grids/g.yaml"), &text(rest)).unwrap_or_else(|e| panic!("{e}"))
}

/// What the lint says of a grid whose suite stands in it.
fn lint_of(grid: &Grid, deployed: &crate::domain::Settings) -> Diagnostics {
    let SuiteRef::Inline(suite) = &grid.suite else { panic!("the suite is a file") };
    lint(grid, suite, deployed)
}

fn problems(rest: &str) -> Diagnostics {
    parse(Path::new("g.yaml"), &text(rest)).expect_err("the text should be refused")
}

/// The codes of all findings in a text that must be refused.
fn codes(rest: &str) -> Vec<String> {
    problems(rest).0.into_iter().map(|d| d.code).collect()
}

/// The help of the first finding in a text that must be refused.
fn help(rest: &str) -> String {
    problems(rest).0.remove(0).help.unwrap_or_default()
}

fn all_points(grid: &Grid) -> Vec<Point> {
    (0..grid.count()).map(|index| grid.point_at(index)).collect::<Result<_, _>>().unwrap_or_else(|e| panic!("{e}"))
}

fn names(grid: &Grid) -> Vec<String> {
    all_points(grid).into_iter().map(|p| p.config.name).collect()
}

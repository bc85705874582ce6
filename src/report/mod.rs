//! The report: `runs.db` -> [`ReportModel`] -> HTML, Markdown, CSV, JSON; and the comparison of single configs.
//!
//! The model is plain data and is what the tests look at; a renderer decides nothing.

mod build;
pub mod chart;
mod compare;
mod curves;
mod effects;
mod findings;
mod limits;
mod markdown;
mod model;
mod night;
mod page;
mod section;
mod sheet;
mod source;
mod table;
mod verdict;

pub use compare::{ComparedFigure, Comparison, Difference, FigureLine, compare};
pub use effects::{effects_of, objective_effects};
pub use markdown::markdown;
pub use model::{EffectTable, ReportModel};
pub use page::html;
pub use sheet::csv;

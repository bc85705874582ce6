//! The grid: YAML text becomes a plan of points, with a place for everything that is wrong.
//!
//! [`parse()`] reads the text, [`Grid::interpolated`] puts variables in, [`Grid::points_in_run_order`] makes the points one at a time,
//! [`lint`](lint::lint) says what is probably not meant. Nothing here touches a file; `docs/grid.md` is the reference.

mod argv;
mod axes;
mod deployment;
mod expr;
mod gate;
mod images;
mod import;
mod interpolate;
mod judge;
mod keys;
mod limits;
mod lint;
mod notify;
mod parse;
mod points;
mod reader;
mod repeats;
mod rule;
mod settings;
mod suite;
mod telemetry;
mod trace;
mod use_case;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use argv::lint_argv;
pub use axes::{Axis, AxisValue};
pub use deployment::{After, ComposeDeployment, Deployment, DeploymentKind};
pub use gate::{Gate, GateResult};
pub use import::import_json;
pub use interpolate::Variables;
pub use limits::{Limits, TimeOfDay, parse_duration};
pub use lint::lint;
pub use notify::{Channel, Happening, Notification, WebhookFormat};
pub use parse::parse;
pub use rule::Rule;
pub use settings::Assignment;
pub use suite::{SuiteRef, parse_suite};
pub use telemetry::Telemetry;
pub use trace::read_traces;

use crate::domain::{Diagnostics, MetricPath, Objective, Repeats, Settings};
use crate::yaml::Span;

/// A grid as read from its file.
#[derive(Debug)]
pub struct Grid {
    /// Its name; names the sweep.
    pub name: String,
    /// The author's words on it.
    pub description: Option<String>,
    /// The file it was read from.
    pub file: PathBuf,
    /// What serves, and what shall serve afterwards.
    pub deployment: Deployment,
    /// What every point sets.
    pub base: Vec<Assignment>,
    /// What varies.
    pub axes: Vec<Axis>,
    /// Rules that take points out.
    pub exclude: Vec<Rule>,
    /// Named points beside the product.
    pub configs: Vec<NamedConfig>,
    /// The point that the others are compared with; the first when absent.
    pub baseline: Option<String>,
    /// In which order the points run.
    pub order: Order,
    /// What is measured.
    pub suite: SuiteRef,
    /// Seed of everything random: prompts, arrivals, a shuffled order without a seed of its own.
    pub seed: u64,
    /// Shipped gates and objectives that the grid names, until [`Grid::take_use_cases`].
    use_cases: Vec<use_case::UseCase>,
    /// What a config must meet before it may rank.
    pub gates: Vec<Gate>,
    /// What to rank by.
    pub objectives: Vec<Objective>,
    /// How often configs are started.
    pub repeats: Repeats,
    /// When to stop waiting and trying.
    pub limits: Limits,
    /// Whom to tell of the sweep's end, its breaker, a failed restoration.
    pub notify: Vec<Notification>,
    /// What is sampled beside a trial.
    pub telemetry: Telemetry,
    /// What was found while reading and is no error.
    pub warnings: Diagnostics,
    /// The settings that `base` makes.
    base_settings: Settings,
    /// Where each objective stands.
    objective_spans: Vec<Span>,
}

impl Grid {
    /// The secrets in what base, axes and configs give to flags and variables, the webhooks' addresses, and the secrets in the words of
    /// hooks.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let assignments = self.base.iter().chain(self.configs.iter().flat_map(|c| &c.settings)).map(|a| &a.setting);
        let values = self.axes.iter().flat_map(|axis| &axis.values).map(|v| &v.setting);
        let webhooks = self.notify.iter().filter_map(|receiver| match &receiver.channel {
            Channel::Webhook { url, .. } => Some(&url.value),
            Channel::Hook { .. } => None,
        });
        let addresses = webhooks.flat_map(|url| notify::secrets_of(url));
        let hooks = self.notify.iter().flat_map(notify::Notification::secrets_of_hook);
        assignments.chain(values).flat_map(settings::Setting::secrets).chain(addresses).chain(hooks).collect()
    }
}

/// A named point.
#[derive(Clone, Debug)]
pub struct NamedConfig {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub span: Span,
    /// What it sets over `base`.
    pub settings: Vec<Assignment>,
    /// What the author expects to be measured.
    pub expected: Vec<(MetricPath, f64)>,
    /// The author's words on it.
    pub description: Option<String>,
}

/// In which order the points run. The baseline always runs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As the grid is written: the product with the last axis fastest, then the named configs.
    AsWritten,
    /// In a random order that this seed fixes.
    Shuffled {
        /// The seed.
        seed: u64,
    },
}

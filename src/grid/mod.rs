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

use crate::domain::{Diagnostics, Key, Kind, MetricPath, Objective, Repeats, Settings};
use crate::yaml::Span;
use keys::{SEEDS, Section};

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

/// The keys of the grid.
const GRID: Section = Section {
    // `x-...` holds YAML anchors.
    extensions: true,
    ..Section::new(
        "grid",
        "the grid",
        &[
            Key::new("name", Kind::Shape("name"), "required", "The grid's name; names the sweep."),
            Key::new("description", Kind::Shape("text"), "none", "Your words on it."),
            Key::new("deployment", Kind::Shape("mapping"), "required", "What serves; see below."),
            Key::new("base", Kind::Shape("mapping"), "nothing", "What every point sets."),
            Key::new("axes", Kind::Shape("mapping of lists"), "none", "What varies; every combination is a point."),
            Key::new("exclude", Kind::Shape("list of rules"), "none", "Points to leave out, and why."),
            Key::new("configs", Kind::Shape("list of mappings"), "none", "Named points beside the product."),
            Key::new(
                "baseline",
                Kind::Shape("name of a point"),
                "the first point",
                "What the others are compared with; it runs first.",
            ),
            Key::new(
                "order",
                Kind::Shape("`as_written`, `shuffled`, or a mapping"),
                "`as_written`",
                "In which order the rest runs.",
            ),
            Key::new("suite", Kind::Shape("word, path, list or mapping"), "`quick`", "What is measured."),
            Key::new("seed", Kind::Whole, "0", "Seed of everything random: prompts, arrivals, a shuffled order.")
                .range(SEEDS),
            Key::new(
                "use_cases",
                Kind::Shape("name or list of names"),
                "none",
                "Shipped gates and objectives; see below.",
            ),
            Key::new("gates", Kind::Shape("list of conditions"), "none", "What a config must meet before it may rank."),
            Key::new(
                "objectives",
                Kind::Shape("mapping of texts"),
                "none",
                "What to rank by; without one no champion is named.",
            ),
            Key::new(
                "repeats",
                Kind::Shape("`off`, or a mapping"),
                "see below; `off` without `objectives`",
                "How often configs are started.",
            ),
            Key::new("telemetry", Kind::Shape("`off`, or a mapping"), "on", "What is sampled beside each trial."),
            Key::new("limits", Kind::Shape("mapping"), "see below", "When to stop waiting and trying."),
            Key::new(
                "notify",
                Kind::Shape("list of mappings"),
                "nobody",
                "Whom to tell when the sweep ends, stops early, or leaves something down.",
            ),
        ],
    )
};

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

/// The keys of an item of `configs`.
const CONFIG: Section = Section::new(
    "configs",
    "a config",
    &[
        Key::new("name", Kind::Shape("name"), "required", "Unique in the grid."),
        Key::new("description", Kind::Shape("text"), "none", "Your words on it."),
        Key::new("flags", Kind::Shape("mapping"), "none", "As in `base`."),
        Key::new("env", Kind::Shape("mapping"), "none", "As in `base`."),
        Key::new("image", Kind::Shape("text"), "that of `base`", "As in `base`."),
        Key::new("model", Kind::Shape("text"), "that of `base`", "As in `base`."),
        Key::new(
            "expected",
            Kind::Shape("mapping of numbers"),
            "none",
            "Figures that you predict, by metric: `{ kv_cache.ttft_hit_ms.p50: 900 }`. Hypotheses, shown beside what is measured; never ranked.",
        ),
    ],
);

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

/// The keys of `order`.
const ORDER: Section = Section::new(
    "order",
    "`order`",
    &[Key::new(
        "shuffled",
        Kind::Whole,
        "the grid's `seed`",
        "A seed of its own for the order: `order: { shuffled: 7 }`.",
    )
    .range(SEEDS)],
);

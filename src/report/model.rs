//! The report as plain data: what every renderer draws and what `--format json` prints.

use std::collections::BTreeMap;

use serde::Serialize;

use super::chart::Chart;
use crate::domain::{Direction, MetricPath, Verdict, text_enum};
use crate::rank::{Effect, Interaction, Ranking, Standing};
use crate::store::{RunRow, SweepRow, TrialState};

/// Version of the model's JSON. It grows when a field changes its meaning or goes away.
pub const FORMAT: u32 = 1;

/// Everything that a report says.
#[derive(Clone, Debug, Serialize)]
pub struct ReportModel {
    /// See [`FORMAT`].
    pub format: u32,
    /// When it was made, RFC 3339, UTC.
    pub generated_at: String,
    /// The vgrid that made it.
    pub vgrid_version: String,
    /// The sweep with its state and counts.
    pub sweep: SweepRow,
    /// Who is best, in sentences.
    pub verdict: VerdictText,
    /// Where and with what it was measured.
    pub setup: Setup,
    /// The settings in which configs differ.
    pub axes: Vec<Axis>,
    /// The figures that the table of configs has room for.
    pub columns: Vec<Column>,
    /// Every config with its state and figures.
    pub configs: Vec<ConfigLine>,
    /// One ranking per objective.
    pub rankings: Vec<Ranking>,
    /// The charts that have data.
    pub charts: Vec<Chart>,
    /// What each axis does by itself, per objective.
    pub effects: Vec<EffectTable>,
    /// Failed configs by cause.
    pub failures: Vec<FailureGroup>,
    /// What the grid expected, beside what was measured.
    pub expectations: Vec<Expectation>,
    /// What a reader should know before trusting a number: mismatches, twins, suspect results, warnings.
    pub findings: Vec<Finding>,
    /// What was not measured, and what therefore must not be concluded.
    pub limitations: Vec<String>,
    /// A section per config, the most telling ones when there are very many.
    pub trials: Vec<TrialSection>,
    /// Configs without a section of their own.
    pub trials_left_out: usize,
}

text_enum! {
    /// How good a piece of news is. The spelling is also the CSS class.
    pub enum Tone {
        /// A champion; a gain beyond the noise.
        Good = "good",
        /// A tie; something suspect.
        Mixed = "mixed",
        /// Nothing qualifies; a loss; a failure.
        Bad = "bad",
        /// Neither.
        Plain = "plain",
    }
}

/// The verdict.
#[derive(Clone, Debug, Serialize)]
pub struct VerdictText {
    /// The answer in a sentence or two.
    pub headline: String,
    /// How good that is.
    pub tone: Tone,
    /// One line per objective.
    pub lines: Vec<VerdictLine>,
}

/// The verdict by one objective.
#[derive(Clone, Debug, Serialize)]
pub struct VerdictLine {
    /// The objective's name.
    pub objective: String,
    /// Its direction.
    pub direction: Direction,
    /// Its metric.
    pub metric: MetricPath,
    /// The answer.
    pub sentence: String,
    /// How good it is.
    pub tone: Tone,
    /// What the starts of the night say about it, a sentence each.
    pub confidence: Vec<String>,
    /// The best configs, best first, at most five, the baseline always among them where it has a figure.
    pub best: Vec<BestLine>,
}

/// One of the best configs.
#[derive(Clone, Debug, Serialize)]
pub struct BestLine {
    /// Place, from 1.
    pub place: Option<usize>,
    /// The config.
    pub name: String,
    /// Its trial.
    pub trial_id: i64,
    /// Its figure.
    pub figure: Cell,
    /// Where it stands.
    pub standing: Standing,
    /// Whether it is the baseline.
    pub is_baseline: bool,
    /// Length of its bar, 0 to 1 of the largest figure shown.
    pub share: f64,
}

/// Where and with what a sweep was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Setup {
    /// Labelled facts, in reading order: model, engine, image, host.
    pub facts: Vec<(String, String)>,
    /// The suite's scenarios with their parameters, as JSON.
    pub suite: serde_json::Value,
    /// The gates, as the grid writes them.
    pub gates: Vec<String>,
    /// What every engine of the sweep states alike, `name value`.
    pub engine: Vec<(String, String)>,
    /// The grid's text, secrets redacted.
    pub grid_text: String,
    /// The runs of vgrid over it.
    pub runs: Vec<RunRow>,
}

/// One setting in which configs differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Axis {
    /// Its name: a flag, `env.NAME`, `image`, `model`.
    pub name: String,
    /// Its values, numbers by size.
    pub values: Vec<String>,
    /// The baseline's value.
    pub baseline: Option<String>,
}

/// A column of figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Column {
    /// What stands above it.
    pub title: String,
    /// The metric.
    pub metric: MetricPath,
    /// Which way is better.
    pub direction: Direction,
    /// Unit of the figures.
    pub unit: String,
    /// Whether it is an objective of the grid.
    pub is_objective: bool,
}

/// A figure that is compared with nothing of its night.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// Samples.
    pub n: u64,
    /// Lower end of the 95 % interval.
    pub ci_low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub ci_high: Option<f64>,
    /// Whether the figure may be used.
    pub verdict: Verdict,
}

/// A figure as a table shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// The figure, in the column's unit.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// Samples.
    pub n: u64,
    /// Lower end of the 95 % interval.
    pub ci_low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub ci_high: Option<f64>,
    /// Gain against the baseline in percent, positive is better; absent for the baseline itself.
    pub gain_percent: Option<f64>,
    /// Whether that gain is beyond the noise.
    pub gain_is_real: Option<bool>,
    /// Where the config stands by this column.
    pub standing: Standing,
    /// Whether the figure may be used.
    pub verdict: Verdict,
}

/// One config in the table.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigLine {
    /// Its trial.
    pub trial_id: i64,
    /// Place in the sweep, from 1.
    pub position: u64,
    /// Its name.
    pub name: String,
    /// What became of it.
    pub state: TrialState,
    /// Why, for one that failed or was skipped.
    pub why: Option<String>,
    /// Whether it is the baseline.
    pub is_baseline: bool,
    /// Its value of each axis, in the order of the axes.
    pub settings: Vec<Option<String>>,
    /// Its figure in each column; absent when it was not measured.
    pub figures: Vec<Option<Cell>>,
    /// Start of the server to the first real completion, s.
    pub ready_s: Option<f64>,
    /// Whether it has a section of its own.
    pub has_section: bool,
}

/// What each axis does to one objective's figure.
#[derive(Clone, Debug, Serialize)]
pub struct EffectTable {
    /// The objective's name.
    pub objective: String,
    /// Its direction.
    pub direction: Direction,
    /// Its metric.
    pub metric: MetricPath,
    /// Unit of the differences.
    pub unit: String,
    /// The effects, by axis.
    pub effects: Vec<Effect>,
    /// Interactions beyond the noise, strongest first, at most twelve.
    pub interactions: Vec<Interaction>,
    /// Axes without a single matched pair.
    pub unmatched: Vec<String>,
}

/// Failed configs of one cause.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailureGroup {
    /// The cause.
    pub cause: String,
    /// What the engine was doing.
    pub stage: Option<String>,
    /// How far it had come.
    pub phase: String,
    /// Their names, with their trials.
    pub configs: Vec<(String, i64)>,
    /// The most telling lines of one of them, with the log's line number.
    pub evidence: Vec<(Option<usize>, String)>,
    /// What to do; that of the first of them.
    pub remedy: String,
    /// Where the log of the first of them is.
    pub log_path: Option<String>,
    /// Whether the same config may pass when tried again.
    pub transient: bool,
}

/// A figure that the grid expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Expectation {
    /// The config.
    pub config: String,
    /// Its trial.
    pub trial_id: i64,
    /// The metric.
    pub metric: MetricPath,
    /// What the grid says.
    pub expected: f64,
    /// What was measured.
    pub measured: Option<Measured>,
    /// Measured against expected, percent of what was expected.
    pub off_percent: Option<f64>,
    /// Whether what was expected lies inside the measured 95 % interval; absent without one.
    pub inside: Option<bool>,
}

/// Something that a reader should know.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What it is about, in a word or two.
    pub topic: String,
    /// How bad it is.
    pub tone: Tone,
    /// The finding in a sentence.
    pub sentence: String,
    /// Configs that it is about, with their trials.
    pub configs: Vec<(String, i64)>,
}

/// Everything about one config.
#[derive(Clone, Debug, Serialize)]
pub struct TrialSection {
    /// Its trial.
    pub trial_id: i64,
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: String,
    /// What became of it.
    pub state: TrialState,
    /// Its story in a line.
    pub summary: String,
    /// Whether it is the baseline.
    pub is_baseline: bool,
    /// Requested against resolved settings: those that were asked for, and axes.
    pub settings: Vec<SettingLine>,
    /// What else its engine says and not every other of the sweep, `name value`.
    pub engine: Vec<(String, String)>,
    /// Start-up figures.
    pub figures: BTreeMap<String, f64>,
    /// The whole command line, quoted for a shell.
    pub argv: String,
    /// Digest of the image.
    pub image_digest: Option<String>,
    /// Gates with what became of them.
    pub gates: Vec<(String, String)>,
    /// The attempts.
    pub attempts: Vec<AttemptLine>,
    /// The objectives' figures start by start; absent where it was started once.
    pub starts: Option<StartTable>,
    /// The results.
    pub scenarios: Vec<ScenarioSection>,
}

/// One setting, asked for and real.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SettingLine {
    /// The setting.
    pub name: String,
    /// What the config asked for; absent when it left the choice to the deployment.
    pub requested: Option<String>,
    /// What the engine says; absent when it says nothing.
    pub resolved: Option<String>,
    /// Whether they contradict each other.
    pub mismatch: bool,
}

/// Figures of each start of a config beside each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StartTable {
    /// The starts in time: `trial`, `control 1`.
    pub starts: Vec<String>,
    /// A row per metric, named by its path, a cell per start.
    pub rows: Vec<MetricLine>,
}

/// One attempt.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptLine {
    /// Its number.
    pub number: u32,
    /// Which of the config's starts it belongs to: `trial`, `control 1`.
    pub start: String,
    /// Start, RFC 3339, UTC.
    pub started_at: String,
    /// How it ended, `open` while it runs, `twin` when its engine turned out to be another config's.
    pub outcome: String,
    /// Why it ended without a measurement, where it did not fail.
    pub why: Option<String>,
    /// Start of the server to the first real completion, s.
    pub ready_s: Option<f64>,
    /// All of it, s.
    pub elapsed_s: Option<f64>,
    /// Durations of its parts, s.
    pub timings: Vec<(String, f64)>,
    /// Cause and phase of a failure.
    pub failure: Option<String>,
    /// Lines that show it.
    pub evidence: Vec<(Option<usize>, String)>,
    /// What to do.
    pub remedy: Option<String>,
}

/// One scenario's result.
#[derive(Clone, Debug, Serialize)]
pub struct ScenarioSection {
    /// The scenario.
    pub name: String,
    /// Whether it may be used.
    pub verdict: Verdict,
    /// Why not, code and sentence.
    pub reasons: Vec<(String, String)>,
    /// How long it took, s; of the newest start.
    pub elapsed_s: f64,
    /// Starts that the figures are the mean of.
    pub starts: u64,
    /// The start that requests, counters and distributions are of: the newest.
    pub newest_start: String,
    /// Number of requests by how they ended.
    pub ends: BTreeMap<String, u64>,
    /// The points, as columns; the first is the headline where there is one (`all`).
    pub points: Vec<String>,
    /// The metrics, as rows.
    pub rows: Vec<MetricLine>,
    /// Growth of the engine's counters.
    pub counters: Vec<(String, f64)>,
    /// Latencies of single requests.
    pub distributions: Vec<Distribution>,
}

/// One metric over the points of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricLine {
    /// `name` or `name statistic`.
    pub name: String,
    /// Unit.
    pub unit: String,
    /// Per point, the figure with its n and interval.
    pub cells: Vec<Option<PointFigure>>,
}

/// A figure at one point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PointFigure {
    /// The figure.
    pub value: f64,
    /// Samples.
    pub n: u64,
    /// Requests that failed.
    pub failed_n: u64,
    /// Lower end of the 95 % interval.
    pub ci_low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub ci_high: Option<f64>,
}

/// Latencies of the complete measured requests of one point and role.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distribution {
    /// What: `ttft`, `tpot`, `e2e`, all in ms.
    pub what: String,
    /// The point and the role.
    pub of: String,
    /// Requests.
    pub n: usize,
    /// Minimum, 10 %, 25 %, 50 %, 75 %, 90 %, maximum; quantiles need no fewer than five requests.
    pub quantiles: [f64; 7],
}

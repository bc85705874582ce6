//! Gates, objectives, ties: which config is best, and whether the numbers support it.
//!
//! Pure. The rules, which the views `ranking` and `champions` of `runs.db` repeat in SQL (a test holds them together):
//!
//! 1. A config ranks by an objective when it was measured, passes every gate, and its figure is not `invalid`.
//! 2. The leader is the eligible config with the best value; equal values are ordered by name, then by trial.
//! 3. Another config is `behind` when it is apart from the leader beyond the noise of all pairs of the night (see [`critical`]).
//!    All others are behind together when each of them is apart from the leader as in a night of two configs: that the best of
//!    a sample is best needs no correction for the number of configs (Gutmann and Maymin 1987; Hung and Fithian 2019).
//!    Otherwise a config is `tied`. The noise includes that between starts (see [`night`]): what was measured wherever a config was
//!    started twice, together with what is assumed. A figure whose noise within its start is not known separates from nothing.
//!    Of what is to be as much as possible, a best value of 0 leads nobody: all are `tied`, without a leader.
//! 4. A leader with no tie is the champion. A leader with ties is shown, and is no champion. A champion that was measured on a
//!    single start is not confirmed.
//! 5. When the baseline moved over the night, figures are compared as shares of the baseline's value at their time.
//!
//! Adding a config can never replace a leader that is better than it; it can turn a champion into a tie, because more
//! configs are more chances for noise to win.

mod criteria;
mod critical;
mod effects;
mod finalists;
mod judge;
mod night;
mod pareto;
mod simplest;
mod uncertainty;

#[cfg(test)]
mod campaign_tests;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::domain::{Metric, MetricPath, Objective, Verdict, text_enum};

pub use criteria::{criteria, start_up};
pub use critical::critical_table;
#[cfg(test)]
pub use effects::Change;
pub(crate) use effects::by_number;
pub use effects::{Effect, Interaction, Point, Shift, effects, interactions};
pub use finalists::finalists;
pub use judge::{rank, rank_all};
pub use night::{ConfigStarts, StartFigure, StartNoise, controls, figure_over_starts, start_noise};
pub use pareto::pareto_front;
pub use simplest::{Simplest, simplest};
pub use uncertainty::differ;

text_enum! {
    /// What became of one gate for one config.
    pub enum GateOutcome {
        /// The condition holds.
        Pass = "pass",
        /// The condition does not hold.
        Fail = "fail",
        /// A figure that the condition needs was not measured.
        NotMeasured = "not_measured",
    }
}

/// One gate of the grid, evaluated for one config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateResult {
    /// The condition, as the grid writes it.
    pub gate: String,
    /// What became of it.
    pub outcome: GateOutcome,
}

/// A figure with the verdict of the scenario it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The figure.
    #[serde(flatten)]
    pub metric: Metric,
    /// Whether it may be used.
    pub verdict: Verdict,
    /// Starts that it is the mean of.
    pub starts: u64,
    /// Its mean share of the baseline's value at the time of each start; absent without a control.
    pub relative: Option<f64>,
    /// What the night's starts say about this metric.
    pub noise: StartNoise,
}

impl Figure {
    /// A figure of one start, of a night that knows nothing of other starts.
    #[must_use]
    pub fn of_one_start(metric: Metric, verdict: Verdict) -> Self {
        Self { metric, verdict, starts: 1, relative: None, noise: StartNoise::default() }
    }
}

/// A measured config that may rank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The trial's number in `runs.db`.
    pub trial_id: i64,
    /// The config's name.
    pub name: String,
    /// Every gate of the grid; empty when the grid has none.
    pub gates: Vec<GateResult>,
    /// Every figure of the config, each path once.
    pub figures: Vec<Figure>,
}

impl Candidate {
    /// The figure of this path, when it was measured and is a number.
    #[must_use]
    pub fn figure(&self, path: &MetricPath) -> Option<&Figure> {
        self.figures.iter().find(|f| f.metric.path == *path && f.metric.value.is_finite())
    }

    /// The worst outcome over all gates; `Pass` without gates.
    #[must_use]
    pub fn gates_outcome(&self) -> GateOutcome {
        let any = |wanted| self.gates.iter().any(|g| g.outcome == wanted);
        if any(GateOutcome::Fail) {
            GateOutcome::Fail
        } else if any(GateOutcome::NotMeasured) {
            GateOutcome::NotMeasured
        } else {
            GateOutcome::Pass
        }
    }
}

text_enum! {
    /// Where a config stands by one objective.
    pub enum Standing {
        /// Best value of those that may rank; the champion when nobody is tied with it.
        Leader = "leader",
        /// May rank, and its interval does not separate from the leader's.
        Tied = "tied",
        /// May rank, and is worse than the leader beyond the noise.
        Behind = "behind",
        /// A gate does not hold.
        GateFailed = "gate_failed",
        /// A gate could not be evaluated.
        GateNotMeasured = "gate_not_measured",
        /// Its figure is invalid.
        Invalid = "invalid",
        /// It has no figure for this objective.
        NotMeasured = "not_measured",
    }
}

impl Standing {
    /// Whether a config of this standing has a place in the ranking.
    #[must_use]
    pub const fn ranks(self) -> bool {
        match self {
            Self::Leader | Self::Tied | Self::Behind => true,
            Self::GateFailed | Self::GateNotMeasured | Self::Invalid | Self::NotMeasured => false,
        }
    }
}

/// One config's line in a ranking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Place by value, from 1; equal values share a place; absent for a config that may not rank.
    pub place: Option<usize>,
    /// The config's name.
    pub name: String,
    /// The trial's number in `runs.db`.
    pub trial_id: i64,
    /// Where it stands.
    pub standing: Standing,
    /// Whether its figure may be used; absent when there is none.
    pub verdict: Option<Verdict>,
    /// The figure, in `unit`.
    pub value: Option<f64>,
    /// Unit of the figure and its interval.
    pub unit: Option<String>,
    /// Samples that the figure stands on, over all its starts.
    pub n: Option<u64>,
    /// Starts that the figure is the mean of.
    pub starts: Option<u64>,
    /// Lower end of its own 95 % interval, not widened for the number of configs. It includes the noise between starts, measured and
    /// assumed; of a share of judged cases it is that of the cases alone.
    pub ci_low: Option<f64>,
    /// Upper end of its own 95 % interval.
    pub ci_high: Option<f64>,
    /// Gain against the baseline, percent of the baseline's absolute value; positive is better. Against the controls around each
    /// start when the baseline moved.
    pub gain_percent: Option<f64>,
    /// Whether figure and baseline differ beyond the noise of the night; absent where there is nothing to compare.
    pub gain_is_real: Option<bool>,
    /// Gates that do not hold or could not be evaluated.
    pub gates_missed: Vec<GateResult>,
}

impl Row {
    /// Whether its figure is the mean of at least two starts.
    #[must_use]
    pub fn confirmed(&self) -> bool {
        self.starts.is_some_and(|starts| starts >= 2)
    }
}

/// The answer to "which config is best by this objective?".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// One config is best, and the numbers support it.
    Champion {
        /// Its name.
        name: String,
        /// Its trial.
        trial_id: i64,
        /// Whether its own figure is `suspect`.
        suspect: bool,
        /// Whether its figure is the mean of at least two starts.
        confirmed: bool,
    },
    /// The best value is not separated from others: nobody is champion.
    Tied {
        /// Names, best value first.
        names: Vec<String>,
        /// Trial of the best value.
        leader_trial_id: i64,
    },
    /// The figure is to be as much as possible and is 0 of every config that may rank: nobody leads, and nobody is as good as a leader.
    AllZero {
        /// How many configs.
        configs: usize,
    },
    /// Configs were measured, and none passes the gates with a usable figure.
    NoneMeetsGates {
        /// How many fail a gate.
        failed: usize,
        /// How many could not be judged by a gate.
        not_measured: usize,
        /// How many pass and have an invalid figure.
        invalid: usize,
    },
    /// No config has a usable figure for this objective, gates apart.
    NotMeasured,
}

impl Answer {
    /// The answer in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Champion { name, suspect, confirmed, .. } => {
                let figure = suspect.then_some("on a suspect figure");
                let start = (!confirmed).then_some("on a single start, not confirmed");
                let but: Vec<&str> = figure.into_iter().chain(start).collect();
                if but.is_empty() { format!("{name} is best") } else { format!("{name} is best ({})", but.join(", ")) }
            }
            Self::Tied { names, .. } => format!("tied: {}", some_of(names)),
            Self::AllZero { configs: 1 } => "nobody leads: the figure of the only config is 0".to_owned(),
            Self::AllZero { configs } => format!("nobody leads: the figure of all {configs} configs is 0"),
            Self::NoneMeetsGates { failed, not_measured, invalid } => {
                let parts: Vec<String> = [
                    (failed, "failed"),
                    (not_measured, "could not be judged"),
                    (invalid, "passed with an invalid figure"),
                ]
                .into_iter()
                .filter(|(n, _)| **n > 0)
                .map(|(n, what)| format!("{n} {what}"))
                .collect();
                format!("no config meets the gates ({})", parts.join(", "))
            }
            Self::NotMeasured => "not measured".to_owned(),
        }
    }
}

/// Names that a sentence has room for.
const NAMED: usize = 6;

/// These names, or the first of them and how many more there are.
#[must_use]
pub fn some_of<T: AsRef<str>>(names: &[T]) -> String {
    let named: Vec<&str> = names.iter().take(NAMED).map(AsRef::as_ref).collect();
    let more = names.len() - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", named.join(", "))
}

/// All configs by one objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// The objective.
    pub objective: Objective,
    /// Name of the config that gains are counted against.
    pub baseline: Option<String>,
    /// The baseline's figure, where it was measured and is not invalid.
    pub baseline_value: Option<f64>,
    /// Who is best.
    #[serde(flatten)]
    pub answer: Answer,
    /// The answer in a sentence.
    pub sentence: String,
    /// What the starts of the night say about this metric.
    pub noise: StartNoise,
    /// What the controls say, in a sentence; absent below two of them.
    pub drift: Option<String>,
    /// Configs that may rank, best first, then the others with their figures, then those without one.
    pub rows: Vec<Row>,
}

impl Ranking {
    /// What the starts of the night say about the answer, a sentence each: whether the baseline moved, and how much starts of one config
    /// differ. Empty where nothing was measured.
    #[must_use]
    pub fn confidence(&self) -> Vec<String> {
        let measured = self.rows.iter().any(|row| row.value.is_some());
        let repeated = self.rows.iter().any(|row| row.starts.is_some_and(|starts| starts >= 2));
        self.drift.clone().into_iter().chain(measured.then(|| self.noise.start_sentence(repeated))).collect()
    }

    /// The row with the best value of those that may rank, champion or not.
    #[must_use]
    pub fn leader(&self) -> Option<&Row> {
        self.rows.iter().find(|r| r.standing == Standing::Leader)
    }
}

//! The table of configs: axes, columns, one line per config.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::domain::{FlagValue, MetricPath, Objective, ResolvedConfig, Settings, reading};
use crate::rank::{Ranking, Row, by_number};
use crate::resolve::canonical;
use crate::store::{AttemptReport, TrialReport, TrialState};

use super::model::{Axis, Cell, Column, ConfigLine, ReportModel};

/// The attempt that speaks for a trial: the newest that measured, else the newest.
pub(super) fn telling_attempt(trial: &TrialReport) -> Option<&AttemptReport> {
    let measured = |a: &&AttemptReport| matches!(a.outcome, Some(crate::domain::Outcome::Measured));
    trial.attempt_reports.iter().rev().find(measured).or_else(|| trial.attempt_reports.last())
}

/// What a config asks for, by name: flags under their own names, variables as `env.NAME`, `image`, `model`.
pub(super) fn requested(settings: &Settings) -> BTreeMap<String, String> {
    let mut asked: BTreeMap<String, String> = BTreeMap::new();
    asked.extend(settings.flags.iter().map(|(name, value)| (name.to_string(), value.to_string())));
    let variables = settings.env.iter();
    asked.extend(variables.map(|(name, v)| (format!("env.{name}"), v.clone().unwrap_or_else(|| "unset".to_owned()))));
    asked.extend(settings.image.iter().map(|image| ("image".to_owned(), image.clone())));
    asked.extend(settings.model.iter().map(|model| ("model".to_owned(), model.clone())));
    asked
}

/// What a config asks for, and what its engine says.
pub(super) struct Stated<'a> {
    pub(super) trial: i64,
    pub(super) is_measured: bool,
    /// As [`requested`].
    pub(super) asked: BTreeMap<String, String>,
    /// Of the attempt that speaks for it.
    pub(super) says: Option<&'a ResolvedConfig>,
}

impl<'a> From<&'a TrialReport> for Stated<'a> {
    fn from(t: &'a TrialReport) -> Self {
        Self {
            trial: t.trial.trial_id.0,
            is_measured: t.trial.state == TrialState::Measured,
            asked: requested(&t.settings),
            says: telling_attempt(t).map(|a| &a.resolved),
        }
    }
}

impl Stated<'_> {
    /// Its value of one setting: what it asks for; where it leaves the choice to others, what the engine says that it runs.
    fn effective(&self, name: &str) -> Option<String> {
        let asked = self.asked.get(name).filter(|v| **v != FlagValue::Default.to_string()).map(String::as_str);
        asked.or_else(|| self.says?.get(name)).map(|value| canonical(name, value))
    }
}

/// Each config's value of every setting in which configs of the sweep differ.
pub(super) struct SettingTable {
    /// The settings.
    pub(super) axes: Vec<Axis>,
    /// Values by trial, then by axis.
    pub(super) values: HashMap<i64, BTreeMap<String, String>>,
}

impl SettingTable {
    pub(super) fn of(trials: &[Stated<'_>], baseline: Option<i64>) -> Self {
        let names: BTreeSet<&String> = trials.iter().flat_map(|t| t.asked.keys()).collect();
        let mut table = Self { axes: Vec::new(), values: HashMap::new() };
        for name in names {
            let of_trial: Vec<Option<String>> = trials.iter().map(|trial| trial.effective(name)).collect();
            let distinct: BTreeSet<&String> = of_trial.iter().flatten().collect();
            let mut distinct: Vec<String> = distinct.into_iter().cloned().collect();
            distinct.sort_by(|a, b| by_number(a, b));
            let unsaid = trials.iter().zip(&of_trial).any(|(t, v)| v.is_none() && t.is_measured);
            if distinct.len() + usize::from(unsaid) < 2 {
                continue;
            }
            for (trial, value) in trials.iter().zip(of_trial) {
                if let Some(value) = value {
                    table.values.entry(trial.trial).or_default().insert(name.clone(), value);
                }
            }
            let baseline = baseline.and_then(|trial| table.value(trial, name)).map(str::to_owned);
            table.axes.push(Axis { name: name.clone(), values: distinct, baseline });
        }
        table
    }

    /// The baseline's value of every axis that it has one of.
    pub(super) fn reference(&self) -> BTreeMap<String, String> {
        self.axes.iter().filter_map(|a| Some((a.name.clone(), a.baseline.clone()?))).collect()
    }

    pub(super) fn value(&self, trial: i64, axis: &str) -> Option<&str> {
        self.values.get(&trial)?.get(axis).map(String::as_str)
    }
}

/// Objectives first, then the criteria whose metric is no objective yet.
pub(super) fn columns(objectives: &[Objective], criteria: &[Objective], rankings: &[Ranking]) -> Vec<Column> {
    let unit = |metric: &MetricPath| {
        let mut rows = rankings.iter().filter(|r| r.objective.metric == *metric).flat_map(|r| &r.rows);
        rows.find_map(|row| row.unit.clone()).unwrap_or_default()
    };
    let all = objectives.iter().map(|o| (o, true)).chain(criteria.iter().map(|o| (o, false)));
    all.map(|(o, is_objective)| Column {
        title: reading::title(&o.name),
        metric: o.metric.clone(),
        direction: o.direction,
        unit: unit(&o.metric),
        is_objective,
    })
    .collect()
}

/// The criteria that add something to the objectives.
pub(super) fn further_criteria(objectives: &[Objective], criteria: Vec<Objective>) -> Vec<Objective> {
    criteria.into_iter().filter(|c| !objectives.iter().any(|o| o.metric == c.metric)).collect()
}

/// A row's figure; `None` when it was not measured.
pub(super) fn cell(row: &Row, baseline: Option<&str>) -> Option<Cell> {
    let is_baseline = baseline == Some(row.name.as_str());
    Some(Cell {
        value: row.value?,
        unit: row.unit.clone().unwrap_or_default(),
        n: row.n.unwrap_or_default(),
        ci_low: row.ci_low,
        ci_high: row.ci_high,
        gain_percent: row.gain_percent.filter(|_| !is_baseline),
        gain_is_real: row.gain_is_real,
        standing: row.standing,
        verdict: row.verdict?,
    })
}

/// One line per config, in the sweep's order.
pub(super) fn lines(
    trials: &[TrialReport],
    settings: &SettingTable,
    rankings: &[Ranking],
    has_section: &BTreeSet<i64>,
) -> Vec<ConfigLine> {
    let figures: Vec<HashMap<i64, &Row>> =
        rankings.iter().map(|r| r.rows.iter().map(|row| (row.trial_id, row)).collect()).collect();
    trials
        .iter()
        .map(|t| {
            let id = t.trial.trial_id.0;
            let baseline = rankings.first().and_then(|r| r.baseline.as_deref());
            ConfigLine {
                trial_id: id,
                position: t.trial.position,
                name: t.trial.name.clone(),
                state: t.trial.state,
                why: why(t),
                is_baseline: t.trial.is_baseline,
                settings: settings.axes.iter().map(|a| settings.value(id, &a.name).map(str::to_owned)).collect(),
                figures: figures.iter().map(|rows| rows.get(&id).and_then(|row| cell(row, baseline))).collect(),
                ready_s: telling_attempt(t).and_then(|a| a.ready_s),
                has_section: has_section.contains(&id),
            }
        })
        .collect()
}

/// The configs with the best by the first column first and those without figures last, the baseline on top of those.
pub(super) fn best_first(model: &ReportModel) -> Vec<&ConfigLine> {
    let direction = model.columns.first().map(|column| column.direction);
    let place = |c: &ConfigLine| {
        let cell = c.figures.first().and_then(Option::as_ref);
        let ranks = cell.is_some_and(|f| f.standing.ranks());
        let cost = cell.zip(direction).map_or(f64::MAX, |(f, d)| d.cost(f.value));
        (!ranks, !c.is_baseline && cell.is_none(), cost)
    };
    let mut lines: Vec<&ConfigLine> = model.configs.iter().collect();
    lines.sort_by(|a, b| {
        let (a, b) = (place(a), place(b));
        (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2))
    });
    lines
}

fn why(t: &TrialReport) -> Option<String> {
    let cause = t.trial.cause.map(|c| c.as_str().replace('_', " "));
    let skip = t.trial.skip.map(|s| s.as_str().replace('_', " "));
    let code = cause.or(skip)?;
    Some(match &t.trial.detail {
        Some(detail) => format!("{code}: {detail}"),
        None => code,
    })
}

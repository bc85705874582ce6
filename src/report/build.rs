//! From a sweep's facts to the report's model.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::SweepId;
use crate::rank::{Ranking, criteria, rank_all};
use crate::store::{Store, StoreError, TrialState};

use super::curves::{Marks, charts};
use super::effects::effect_tables;
use super::findings::{expectations, failures, findings};
use super::limits::limitations;
use super::model::{FORMAT, ReportModel, Setup};
use super::section::{section, stated_by_all};
use super::source::Source;
use super::table::{SettingTable, Stated, columns, further_criteria, lines};
use super::verdict::verdict;

/// Configs with a section of their own; with more of them a page grows past what a browser opens at once.
const MOST_SECTIONS: usize = 300;

impl ReportModel {
    /// The report of one sweep, as it stands now.
    ///
    /// # Errors
    /// There is no such sweep, or the database cannot be read.
    pub fn of(store: &Store, id: SweepId) -> Result<Self, StoreError> {
        Ok(build(&Source::read(store, id)?))
    }
}

fn build(source: &Source) -> ReportModel {
    let baseline = source.sweep.baseline.as_deref();
    let rankings = rank_all(&source.candidates, &source.objectives, baseline);
    let more = further_criteria(&source.objectives, criteria(&source.candidates));
    let mut all_rankings = rankings.clone();
    all_rankings.extend(rank_all(&source.candidates, &more, baseline));
    let stated: Vec<Stated<'_>> = source.trials.iter().map(Stated::from).collect();
    let settings = SettingTable::of(&stated, source.baseline().map(|b| b.trial.trial_id.0));
    let columns = columns(&source.objectives, &more, &all_rankings);
    let asked = if rankings.is_empty() { &more } else { &source.objectives };
    let effects = effect_tables(&source.candidates, &settings, asked);
    let marks = Marks::new(leaders(if rankings.is_empty() { &all_rankings } else { &rankings }), baseline);
    let with_section = with_section(source, &all_rankings);
    let common = stated_by_all(&source.trials);
    let sections = source.trials.iter().filter(|t| with_section.contains(&t.trial.trial_id.0));
    ReportModel {
        format: FORMAT,
        generated_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        vgrid_version: env!("CARGO_PKG_VERSION").to_owned(),
        verdict: verdict(source, &rankings),
        setup: setup(source, &common),
        configs: lines(&source.trials, &settings, &all_rankings, &with_section),
        charts: charts(source, &columns, &marks, &effects),
        failures: failures(&source.trials),
        expectations: expectations(&source.trials, &source.candidates),
        findings: findings(source, &rankings),
        limitations: limitations(source, &rankings, &effects),
        trials: sections.map(|t| section(source, t, &settings.axes, &common)).collect(),
        trials_left_out: source.trials.len() - with_section.len(),
        axes: settings.axes,
        columns,
        rankings,
        effects,
        sweep: source.sweep.clone(),
    }
}

fn leaders(rankings: &[Ranking]) -> impl Iterator<Item = &str> {
    rankings.iter().filter_map(|r| Some(r.leader()?.name.as_str()))
}

/// All configs where they are few; else the baseline, the failed ones and the best by each column in turn.
fn with_section(source: &Source, rankings: &[Ranking]) -> BTreeSet<i64> {
    if source.trials.len() <= MOST_SECTIONS {
        return source.trials.iter().map(|t| t.trial.trial_id.0).collect();
    }
    let first = source.trials.iter().filter(|t| t.trial.is_baseline).map(|t| t.trial.trial_id.0);
    let deepest = rankings.iter().map(|r| r.rows.len()).max().unwrap_or_default();
    let best = (0..deepest).flat_map(|place| rankings.iter().filter_map(move |r| Some(r.rows.get(place)?.trial_id)));
    let failed = source.trials.iter().filter(|t| t.trial.state == TrialState::Failed).map(|t| t.trial.trial_id.0);
    let failed: Vec<i64> = failed.take(MOST_SECTIONS / 4).collect();
    let mut chosen: BTreeSet<i64> = first.chain(failed).collect();
    for id in best {
        if chosen.len() >= MOST_SECTIONS {
            break;
        }
        chosen.insert(id);
    }
    chosen
}

fn setup(source: &Source, common: &BTreeMap<String, String>) -> Setup {
    let mut facts: Vec<(String, String)> = Vec::new();
    let mut add = |label: &str, value: Option<String>| {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            facts.push((label.to_owned(), value));
        }
    };
    let attempts = || source.trials.iter().flat_map(|t| &t.attempt_reports);
    // What all engines agree on; where they differ it is an axis and stands in the table.
    let agreed = |name: &str| {
        let mut values: Vec<&str> = attempts().filter_map(|a| a.resolved.get(name)).collect();
        values.sort_unstable();
        values.dedup();
        (!values.is_empty()).then(|| values.join(", "))
    };
    let host = |name: &str| source.host.get(name).and_then(|v| v.as_str()).map(str::to_owned);
    let number = |name: &str| source.host.get(name).and_then(serde_json::Value::as_f64);
    add("Model", agreed("model"));
    add("Engine", agreed("engine_version").map(|v| format!("vLLM {v}")));
    add("Deployment", Some(source.sweep.deployment.clone()));
    for (reference, digest) in &source.images {
        add("Image", Some(format!("{reference} ({})", digest.chars().take(19).collect::<String>())));
    }
    add("Host", host("hostname"));
    let cores = number("cpu_count").map(|n| format!(" x {n}")).unwrap_or_default();
    add("CPU", host("cpu_model").map(|m| format!("{m}{cores}")));
    add("Memory", number("memory_bytes").map(|b| format!("{:.0} GiB", b / f64::from(1 << 30))));
    add("Kernel", host("kernel"));
    add("Launcher", host("launcher"));
    add("Suite", Some(format!("{} (seed {})", source.suite.name, source.suite.seed)));
    Setup {
        facts,
        suite: serde_json::to_value(&source.suite.scenarios).unwrap_or_default(),
        gates: source.trials.first().map(|t| t.gates.iter().map(|g| g.gate.clone()).collect()).unwrap_or_default(),
        engine: common.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        grid_text: source.grid_text.clone(),
        runs: source.runs.clone(),
    }
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;

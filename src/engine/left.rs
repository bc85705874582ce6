//! What of a sweep is left to do: the starts that are outstanding, the finalists, and what of it this run does.

use crate::domain::{Event, Purpose};
use crate::resume::{self, PlanItem, RetryPolicy, Todo};
use crate::store::TrialId;

use super::plan::{PlannedConfig, Planner};
use super::sweep::Sweep;
use super::{EngineError, score};

/// A config as [`resume`] sees it.
pub(super) fn plan_item(planner: &Planner, planned: &PlannedConfig) -> PlanItem {
    PlanItem {
        name: planned.config.name.clone(),
        key: planned.key.clone(),
        scenarios: planned.result_keys(&planner.suite, &planner.cases),
        skip: planned.skip.as_ref().map(|(reason, _)| *reason),
    }
}

impl Sweep {
    /// What is still to be run, in its order. When everything else is measured, chooses the finalists.
    pub(super) fn what_is_left(&mut self) -> Result<Vec<Todo>, EngineError> {
        let todos = self.outstanding()?;
        let most = self.planner.grid.repeats.finalists as usize;
        if !todos.is_empty() || most == 0 || self.finalists.is_some() {
            return Ok(todos);
        }
        let trials = score::finalists(&self.planner, &self.store, self.id, most)?;
        self.store.save_finalists(self.id, &trials)?;
        self.finalists = Some(self.items_of(&trials));
        let names: Vec<&str> = self.items_of(&trials).iter().map(|i| self.plan[*i].config.name.as_str()).collect();
        if !names.is_empty() {
            let text = format!("measuring again on a fresh start, before a champion is named: {}", names.join(", "));
            self.record(Event::Notice { text })?;
        }
        self.outstanding()
    }

    fn items_of(&self, trials: &[TrialId]) -> Vec<usize> {
        trials.iter().filter_map(|id| self.trial_ids.iter().position(|t| t == id)).collect()
    }

    fn night_plan(&self) -> resume::Plan<'_> {
        resume::Plan {
            items: &self.items,
            baseline: self.plan.iter().position(|p| p.is_baseline),
            repeats: self.planner.grid.repeats,
            finalists: self.finalists.as_deref(),
        }
    }

    /// What is still to be run, as far as it can be named now.
    pub(super) fn outstanding(&self) -> Result<Vec<Todo>, EngineError> {
        self.outstanding_by(self.options.no_prune)
    }

    /// As [`Self::outstanding`], with what was pruned.
    pub(super) fn outstanding_without_skips(&self) -> Result<Vec<Todo>, EngineError> {
        self.outstanding_by(true)
    }

    fn outstanding_by(&self, measure_implied: bool) -> Result<Vec<Todo>, EngineError> {
        let policy = RetryPolicy { transient_retries: self.planner.grid.limits.retries, measure_implied };
        Ok(resume::outstanding(&self.night_plan(), &self.store.history(self.id)?, &policy))
    }

    /// Of what is outstanding, what this run shall do, `most` starts at most. Who asks for single configs gets these alone.
    pub(super) fn chosen(&self, todos: &[Todo], most: usize) -> Vec<Todo> {
        let only = &self.options.only;
        let wanted = |t: &&Todo| match t.start.purpose {
            _ if only.is_empty() => true,
            Purpose::Trial | Purpose::Repeat => only.contains(&self.plan[t.item].config.name),
            Purpose::Control | Purpose::Finalist => false,
        };
        todos.iter().filter(wanted).take(most).cloned().collect()
    }

    /// The number of these starts, and of those that follow when they are measured: finalists and the control after them.
    pub(super) fn with_those_to_come(&self, todos: &[Todo]) -> usize {
        let plan = self.night_plan();
        let to_come = if todos.is_empty() || !self.options.only.is_empty() { 0 } else { plan.starts_to_come() };
        todos.len() + to_come
    }
}

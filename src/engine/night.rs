//! The loop of one run: start after start, whatever fails, until nothing is left, time is over or we are told to stop.

use std::collections::VecDeque;

use crate::domain::{Event, Outcome, Start, TrialRef};
use crate::grid::TimeOfDay;
use crate::resume::{self, Todo};

use super::again::{Breaker, Queued};
use super::sweep::{Ended, Sweep};
use super::trial::{Attempt, Attempted};
use super::{EngineError, announce, pruning, restore, score, until};

/// What a run of the loop carries from start to start.
struct Night {
    breaker: Breaker,
    /// Seconds that each attempt took.
    took_s: Vec<f64>,
    /// Starts that `--limit` still allows.
    may_start: usize,
    /// Starts that this run has set out to make.
    planned: usize,
    /// Items that were pruned and are measured all the same, once the rest is done.
    checked: Option<Vec<usize>>,
}

impl Sweep {
    pub(super) async fn work(&mut self, mut todos: Vec<Todo>) -> Result<Ended, EngineError> {
        if todos.is_empty() && pruning::sample(self)?.is_empty() {
            return Ok(Ended::Complete);
        }
        if self.options.limit == Some(0) {
            // It is registered; nothing is to be started, so nothing is taken aside.
            return Ok(Ended::Incomplete);
        }
        restore::take_aside(self).await?;
        let mut night = Night {
            breaker: Breaker::new(self.planner.grid.limits.identical_failures),
            took_s: Vec::new(),
            may_start: self.options.limit.unwrap_or(usize::MAX),
            planned: 0,
            checked: None,
        };
        loop {
            let mut chosen = self.chosen(&todos, night.may_start);
            night.may_start -= chosen.len();
            let to_come = if night.may_start == 0 { 0 } else { self.with_those_to_come(&todos) - todos.len() };
            if chosen.is_empty() && night.checked.is_none() {
                chosen = pruning::sample(self)?;
                night.checked = Some(chosen.iter().map(|todo| todo.item).collect());
            }
            if chosen.is_empty() {
                return Ok(if todos.is_empty() { Ended::Complete } else { Ended::Incomplete });
            }
            night.planned += chosen.len();
            self.store.plan_starts(self.run, night.planned + to_come)?;
            if let Some(ended) = self.carry_out(chosen, &mut night).await? {
                return Ok(ended);
            }
            // What was measured may call for more: a last control, finalists.
            todos = self.what_is_left()?;
        }
    }

    /// Makes the starts one after the other; how the night ends, when it ends before the last of them.
    async fn carry_out(&mut self, chosen: Vec<Todo>, night: &mut Night) -> Result<Option<Ended>, EngineError> {
        let mut queue: VecDeque<Queued> = chosen.into_iter().map(Queued::now).collect();
        if self.resumed && night.took_s.is_empty() && night.checked.is_none() {
            pruning::prune_by_history(self, &mut queue)?;
        }
        while let Some(next) = queue.pop_front() {
            self.wait_for_its_turn(&next).await?;
            let todo = next.todo;
            if self.cancel.is_cancelled() {
                return Ok(Some(Ended::Interrupted));
            }
            if let Some(until) = self.too_late(&night.took_s) {
                self.warn(format!("stopping before {until}, so that what served before is back in time"))?;
                return Ok(Some(Ended::Incomplete));
            }
            let Attempted { outcome, elapsed_s, twin_of } = self.attempt(&todo).await?;
            night.took_s.push(elapsed_s);
            if night.checked.as_ref().is_some_and(|checked| checked.contains(&todo.item)) {
                pruning::judge(self, todo.item, &outcome)?;
            }
            match &outcome {
                Outcome::Measured => self.after_measured(&todo)?,
                Outcome::Failed(failure) => {
                    // Its further starts wait until it is settled: they come again with what is outstanding then.
                    let is_first = todo.start == Start::FIRST;
                    queue.retain(|q| q.todo.item != todo.item || !is_first);
                    let same = |t: &Todo| t.item == todo.item && t.start == todo.start;
                    let again = match resume::may_retry(failure.cause, failure.transient) {
                        true => self.outstanding()?.into_iter().find(same),
                        false => None,
                    };
                    match again {
                        Some(todo) => queue.push_back(Queued::after(todo, failure.cause)),
                        None if is_first => pruning::prune_by(self, todo.item, failure, &mut queue)?,
                        // It was measured once: that it fails now says nothing about its neighbours.
                        None => {}
                    }
                    if let Some(failures) = night.breaker.trips_on(failure) {
                        let evidence = failure.evidence.first().map(|e| e.text.clone()).unwrap_or_default();
                        let (cause, remedy) = (failure.cause, failure.remedy.clone());
                        let why = format!("{failures} trials in a row failed alike ({cause}): {remedy}");
                        self.record(Event::BreakerTripped { failures, cause, evidence, remedy })?;
                        announce::breaker(self, &why).await;
                        return Ok(Some(Ended::Incomplete));
                    }
                    continue;
                }
                Outcome::Interrupted if twin_of.is_some() => {
                    queue.retain(|q| q.todo.item != todo.item);
                }
                Outcome::Interrupted => return Ok(Some(Ended::Interrupted)),
            }
            night.breaker.reset();
        }
        Ok(None)
    }

    /// Gives what made a trial fail the time to pass. A cancel ends the wait.
    async fn wait_for_its_turn(&mut self, next: &Queued) -> Result<(), EngineError> {
        let left = next.wait_left();
        if left.is_zero() {
            return Ok(());
        }
        let name = &self.plan[next.todo.item].config.name;
        let text = format!("waiting {:.0} s before {name} is tried again", left.as_secs_f64().ceil());
        self.notice(text)?;
        let cancel = self.cancel.clone();
        tokio::select! {
            () = cancel.cancelled() => {}
            () = tokio::time::sleep(left) => {}
        }
        Ok(())
    }

    async fn attempt(&mut self, todo: &Todo) -> Result<Attempted, EngineError> {
        let planned = self.plan[todo.item].clone();
        let trial = TrialRef {
            trial_id: self.trial_ids[todo.item].0,
            name: planned.config.name.clone(),
            key: planned.key.clone(),
            position: todo.item + 1,
            of: self.plan.len(),
            attempt: todo.attempt,
            start: todo.start,
        };
        Attempt::begin(self, &planned, trial, &todo.missing)?.run().await
    }

    fn after_measured(&mut self, todo: &Todo) -> Result<(), EngineError> {
        let only = (!self.plan[todo.item].is_baseline).then_some(self.trial_ids[todo.item]);
        score::judge_gates(&self.planner, &mut self.store, self.id, only)?;
        let best = score::best_so_far(&self.planner, &self.store, self.id)?;
        if best != self.best {
            self.best = best.clone();
            best.map_or(Ok(()), |best| self.record(best))?;
        }
        Ok(())
    }

    /// The time by which the sweep must be over, when another trial would not be.
    fn too_late(&self, took_s: &[f64]) -> Option<TimeOfDay> {
        let until = self.options.until.or(self.planner.grid.limits.until)?;
        let typical_s = if took_s.is_empty() { 0.0 } else { took_s.iter().sum::<f64>() / took_s.len() as f64 };
        (until::seconds_left(until, &self.began_at) < typical_s).then_some(until)
    }
}

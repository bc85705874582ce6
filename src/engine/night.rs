//! The loop of one run: start after start, whatever fails, until nothing is left, time is over or we are told to stop.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use crate::domain::{Event, Failure, Outcome, Start, TrialRef};
use crate::launch;
use crate::resume::{self, Todo};

use super::again::{Breaker, Queued};
use super::deadline::Needs;
use super::room::Room;
use super::sweep::{Ended, Sweep};
use super::trial::{Attempt, Attempted, STOP_GRACE};
use super::{EngineError, announce, pruning, restore, score};

/// What a run of the loop carries from start to start.
struct Night {
    breaker: Breaker,
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
            return Ok(self.ended(Ended::Incomplete, "`--limit 0`"));
        }
        if let Some(ended) = self.begin_in_time().await? {
            return Ok(ended);
        }
        let mut night = Night {
            breaker: Breaker::new(self.planner.grid.limits.identical_failures),
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
            if chosen.is_empty() && todos.is_empty() {
                return Ok(Ended::Complete);
            }
            if chosen.is_empty() {
                return Ok(self.ended(Ended::Incomplete, "`--only` or `--limit` left the rest out"));
            }
            let is_first = night.planned == 0;
            night.planned += chosen.len();
            self.store.plan_starts(self.run, night.planned + to_come)?;
            let mut queue: VecDeque<Queued> = chosen.into_iter().map(Queued::now).collect();
            if self.resumed && is_first && night.checked.is_none() {
                pruning::prune_by_history(self, &mut queue)?;
            }
            if let Some(ended) = self.carry_out(queue, &mut night).await? {
                return Ok(ended);
            }
            // What was measured may call for more: a last control, finalists.
            todos = self.what_is_left()?;
        }
    }

    /// Takes aside what serves, if there is time and room for a first trial and for putting it back; else how the night ends.
    async fn begin_in_time(&mut self) -> Result<Option<Ended>, EngineError> {
        if let Some(deadline) = &self.deadline {
            let (left_s, when) = (deadline.left_s(), deadline.describe());
            if left_s <= 0.0 {
                let text = format!(
                    "time was over at {when}, so nothing is started; `--until 07:00` or `--for 8h` gives it more"
                );
                return self.stop_early(text).map(Some);
            }
            let left = crate::domain::reading::duration(left_s);
            self.notice(format!("everything is over, and what served before serves again, by {when}: in {left}"))?;
        }
        self.room = self.disks().await;
        if let Some(text) = self.room.lacks() {
            return self.stop_early(text).map(Some);
        }
        restore::clear(self).await?;
        let serving = restore::what_serves(self).await?;
        if let Some(text) = self.too_late(Duration::ZERO, serving.owes())? {
            return self.stop_early(text).map(Some);
        }
        restore::take_aside(self, serving).await?;
        Ok(None)
    }

    /// The disks that a night writes to.
    async fn disks(&self) -> Room {
        let db = self.store.path().parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let docker = match self.launcher.docker() {
            Some(docker) => docker.local_data_root().await,
            None => None,
        };
        let docker = docker.map(|root| (root, "Docker's images, containers and logs"));
        Room::of([(db.to_owned(), "the database and logs")].into_iter().chain(docker))
    }

    /// Makes the starts one after the other; how the night ends, when it ends before the last of them.
    async fn carry_out(
        &mut self,
        mut queue: VecDeque<Queued>,
        night: &mut Night,
    ) -> Result<Option<Ended>, EngineError> {
        while let Some(next) = queue.pop_front() {
            if let Some(text) = self.too_late(next.wait_left(), self.owes()?)? {
                return self.stop_early(text).map(Some);
            }
            self.wait_for_its_turn(&next).await?;
            if let Some(text) = self.room.lacks() {
                return self.stop_early(text).map(Some);
            }
            let todo = next.todo;
            if self.cancel.is_cancelled() {
                return Ok(Some(self.ended(Ended::Interrupted, TOLD_TO_STOP)));
            }
            let mut room = std::mem::take(&mut self.room);
            let attempted = room.watch(self.attempt_in_time(&todo)).await;
            self.room = room;
            let Attempted { outcome, twin_of } = attempted?;
            if night.checked.as_ref().is_some_and(|checked| checked.contains(&todo.item)) {
                pruning::judge(self, todo.item, &outcome)?;
            }
            match &outcome {
                Outcome::Measured => self.after_measured(&todo)?,
                Outcome::Failed(failure) => {
                    if let Some(ended) = self.after_failed(&todo, failure, &mut queue, night).await? {
                        return Ok(Some(ended));
                    }
                    continue;
                }
                Outcome::Interrupted if twin_of.is_some() => {
                    queue.retain(|q| q.todo.item != todo.item);
                }
                Outcome::Interrupted if self.told_to_stop.is_cancelled() => {
                    return Ok(Some(self.ended(Ended::Interrupted, TOLD_TO_STOP)));
                }
                Outcome::Interrupted => {
                    let name = &self.plan[todo.item].config.name;
                    let text = format!("{name} was ended to be over in time; what it finished is kept");
                    return self.stop_early(text).map(Some);
                }
            }
            night.breaker.reset();
        }
        Ok(None)
    }

    /// Tries again, prunes, or ends the night.
    async fn after_failed(
        &mut self,
        todo: &Todo,
        failure: &Failure,
        queue: &mut VecDeque<Queued>,
        night: &mut Night,
    ) -> Result<Option<Ended>, EngineError> {
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
            None if is_first => pruning::prune_by(self, todo.item, failure, queue)?,
            // It was measured once: that it fails now says nothing about its neighbours.
            None => {}
        }
        let Some(failures) = night.breaker.trips_on(todo.item, failure) else { return Ok(None) };
        let evidence = failure.evidence.first().map(|e| e.text.clone()).unwrap_or_default();
        let (cause, remedy) = (failure.cause, failure.remedy.clone());
        let why = format!("{failures} trials in a row failed alike ({cause}): {remedy}");
        self.record(Event::BreakerTripped { failures, cause, evidence: evidence.clone(), remedy })?;
        announce::breaker(self, &why, &evidence).await;
        Ok(Some(self.ended(Ended::Incomplete, why)))
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

    /// An attempt that is told to end when what follows it would else come too late.
    async fn attempt_in_time(&mut self, todo: &Todo) -> Result<Attempted, EngineError> {
        let Some(deadline) = self.deadline.clone() else { return self.attempt(todo).await };
        let reserve_s = self.needs(self.owes()?)?.reserve_s;
        let cancel = self.cancel.clone();
        let mut attempt = std::pin::pin!(self.attempt(todo));
        tokio::select! {
            biased;
            attempted = &mut attempt => return attempted,
            () = deadline.comes(reserve_s) => cancel.cancel(),
        }
        attempt.await
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
        self.store.keep_ranking(self.id)?;
        let best = score::best_so_far(&self.planner, &self.store, self.id)?;
        if best != self.best {
            self.best = best.clone();
            best.map_or(Ok(()), |best| self.record(best))?;
        }
        Ok(())
    }

    /// Whether something is to be put back when the night is over.
    fn owes(&self) -> Result<bool, EngineError> {
        Ok(!self.store.open_restorations(Some(&self.deployment()))?.is_empty())
    }

    fn needs(&self, owes: bool) -> Result<Needs, EngineError> {
        let took = self.store.took(self.id, &self.deployment())?;
        let grace = launch::stop_grace(&self.planner.service).unwrap_or(STOP_GRACE);
        Ok(Needs::of(&took, &self.planner.grid.limits, grace, owes))
    }

    /// Why no further trial is started, when one that waits so long first would not be over in time.
    fn too_late(&self, wait: Duration, owes: bool) -> Result<Option<String>, EngineError> {
        let Some(deadline) = &self.deadline else { return Ok(None) };
        let needs = self.needs(owes)?;
        let when = deadline.describe();
        Ok((!needs.fit(deadline, wait))
            .then(|| format!("no further trial would be over by {when}: {}", needs.describe())))
    }

    fn stop_early(&mut self, text: String) -> Result<Ended, EngineError> {
        self.warn(text.clone())?;
        Ok(self.ended(Ended::Incomplete, text))
    }

    fn ended(&mut self, ended: Ended, why: impl Into<String>) -> Ended {
        self.why = Some(why.into());
        ended
    }
}

/// Why a night ends that a signal ended.
const TOLD_TO_STOP: &str = "it was told to stop (Ctrl-C, or a signal)";

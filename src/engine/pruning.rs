//! Pruning in a sweep: what a failure implies is skipped, and on request a sample of it is measured all the same.

use std::collections::VecDeque;

use rand::SeedableRng;
use rand::seq::SliceRandom;

use crate::compose;
use crate::domain::{Event, Failure, Outcome, SkipReason, Start};
use crate::prune;
use crate::resume::{Todo, Why};

use super::EngineError;
use super::again::Queued;
use super::sweep::Sweep;

/// Takes out of the queue what the final failure of `item` implies, and says so of each.
pub(super) fn prune_by(
    sweep: &mut Sweep,
    item: usize,
    failure: &Failure,
    queue: &mut VecDeque<Queued>,
) -> Result<(), EngineError> {
    if sweep.options.no_prune {
        return Ok(());
    }
    let failed = &sweep.plan[item];
    let (name, settings) = (failed.config.name.clone(), compose::settings_of(&failed.service));
    let mut implied = Vec::new();
    queue.retain(|queued| {
        let untried = match queued.todo.why {
            Why::New | Why::Interrupted => true,
            Why::Retry | Why::MoreScenarios => false,
        };
        let untried = untried && queued.todo.start == Start::FIRST;
        let other = queued.todo.item;
        // The baseline is what the others are compared with: no night without a try at it.
        if !untried || other == item || sweep.plan[other].is_baseline {
            return true;
        }
        let why = prune::implied(failure, &settings, &compose::settings_of(&sweep.plan[other].service));
        implied.extend(why.as_ref().map(|why| (other, why.clone())));
        why.is_none()
    });
    queue.retain(|queued| implied.iter().all(|(other, _)| *other != queued.todo.item));
    let trial = sweep.trial_ids[item].0;
    for (other, why) in implied {
        let why = format!("implied by trial {trial} ({name}): {why}");
        let why = sweep.planner.redactor.apply(&why).into_owned();
        sweep.store.skip_trial(sweep.trial_ids[other], SkipReason::Implied, &why)?;
        sweep.record(Event::TrialSkipped { name: sweep.plan[other].config.name.clone(), why })?;
    }
    Ok(())
}

/// As [`prune_by`] for every failure that an earlier run left settled: it may have died before it pruned.
pub(super) fn prune_by_history(sweep: &mut Sweep, queue: &mut VecDeque<Queued>) -> Result<(), EngineError> {
    if sweep.options.no_prune {
        return Ok(());
    }
    let outstanding: Vec<usize> = sweep.outstanding()?.iter().map(|todo| todo.item).collect();
    for item in 0..sweep.plan.len() {
        if queue.is_empty() || outstanding.contains(&item) || sweep.plan[item].skip.is_some() {
            continue;
        }
        let mut attempts = sweep.store.show(sweep.trial_ids[item])?.attempt_reports;
        attempts.retain(|attempt| attempt.start == Start::FIRST);
        let last = attempts.pop();
        if let Some(Outcome::Failed(failure)) = last.and_then(|attempt| attempt.outcome) {
            prune_by(sweep, item, &failure, queue)?;
        }
    }
    Ok(())
}

/// Of what was pruned in this sweep, by this run or an earlier one, the sample that is to be measured all the same: `--verify-pruned`.
/// The grid's seed fixes it.
pub(super) fn sample(sweep: &Sweep) -> Result<Vec<Todo>, EngineError> {
    let Some(count) = sweep.options.verify_pruned.filter(|count| *count > 0) else { return Ok(Vec::new()) };
    let outstanding = sweep.outstanding()?;
    let mut pruned = sweep.outstanding_without_skips()?;
    pruned.retain(|todo| todo.start == Start::FIRST && !outstanding.contains(todo));
    pruned.shuffle(&mut rand::rngs::StdRng::seed_from_u64(sweep.planner.grid.seed));
    pruned.truncate(count);
    Ok(pruned)
}

/// Says what became of a pruned config that was measured all the same.
pub(super) fn judge(sweep: &mut Sweep, item: usize, outcome: &Outcome) -> Result<(), EngineError> {
    let name = sweep.plan[item].config.name.clone();
    match outcome {
        Outcome::Measured => sweep.warn(format!(
            "PRUNING WAS WRONG: {name} was skipped as implied by a failure, and it serves; measure the other implied configs \
             with --no-prune, and please report it"
        )),
        Outcome::Failed(failure) => sweep.notice(format!("{name} fails as was implied ({})", failure.cause)),
        Outcome::Interrupted => Ok(()),
    }
}

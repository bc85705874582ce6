//! A sweep as a state machine: it may crash after any step, and continuing must yield exactly the full set.

use proptest::prelude::*;

use super::*;
use crate::domain::{LoadSpec, SmokeSpec};

fn key(i: usize) -> ConfigKey {
    ConfigKey(format!("config{i}"))
}

fn item(i: usize, scenarios: usize) -> PlanItem {
    PlanItem {
        name: format!("c{i}"),
        key: key(i),
        scenarios: (0..scenarios).map(|s| ResultKey(format!("r{i}.{s}"))).collect(),
        skip: None,
    }
}

fn attempt(outcome: Option<PastOutcome>, finished: &[&str]) -> AttemptHistory {
    AttemptHistory { outcome, finished: finished.iter().map(|k| ResultKey((*k).to_owned())).collect(), died_in: None }
}

fn past(i: usize, attempts: Vec<AttemptHistory>) -> TrialHistory {
    TrialHistory { key: key(i), attempts, skip: None }
}

const fn failed(cause: Cause, transient: bool) -> Option<PastOutcome> {
    Some(PastOutcome::Failed { cause, phase: Phase::Startup, transient })
}

fn todo_of(plan: &[PlanItem], history: &[TrialHistory]) -> Vec<Todo> {
    outstanding(plan, history, &RetryPolicy::default())
}

#[test]
fn a_trial_interrupted_in_mid_suite_continues_with_only_what_is_missing() {
    let history = [past(0, vec![attempt(Some(PastOutcome::Interrupted), &["r0.0", "r0.2"])])];
    assert_eq!(
        todo_of(&[item(0, 4)], &history),
        [Todo { item: 0, attempt: 2, missing: vec![1, 3], why: Why::Interrupted }]
    );
}

#[test]
fn a_permanent_failure_is_settled_and_a_transient_one_is_tried_the_agreed_number_of_times() {
    let plan = [item(0, 1)];
    assert_eq!(todo_of(&plan, &[past(0, vec![attempt(failed(Cause::BadArgument, true), &[])])]), []);
    assert_eq!(todo_of(&plan, &[past(0, vec![attempt(failed(Cause::GpuOom, false), &[])])]), []);
    let busy = || attempt(failed(Cause::GpuMemoryBusy, true), &[]);
    for tries in 1..=2 {
        let history = [past(0, (0..tries).map(|_| busy()).collect())];
        let todos = todo_of(&plan, &history);
        assert_eq!(todos.len(), 1, "after {tries} tries");
        assert_eq!((todos[0].why, todos[0].attempt as usize), (Why::Retry, tries + 1));
    }
    assert_eq!(todo_of(&plan, &[past(0, vec![busy(), busy(), busy()])]), []);
    let never = RetryPolicy { transient_retries: 0, ..RetryPolicy::default() };
    assert_eq!(outstanding(&plan, &[past(0, vec![busy()])], &never), []);
}

#[test]
fn interruptions_do_not_use_up_the_retries() {
    let cut = || attempt(Some(PastOutcome::Interrupted), &[]);
    let history = [past(0, vec![cut(), cut(), cut(), attempt(failed(Cause::PortInUse, true), &[])])];
    assert_eq!(todo_of(&[item(0, 1)], &history)[0].attempt, 5);
}

#[test]
fn a_changed_key_is_new_work_and_the_old_result_stays_out_of_it() {
    let mut plan = [item(0, 2)];
    plan[0].key = ConfigKey("other image".into());
    plan[0].scenarios = vec![ResultKey("new0".into()), ResultKey("new1".into())];
    let history = [past(0, vec![attempt(Some(PastOutcome::Measured), &["r0.0", "r0.1"])])];
    assert_eq!(todo_of(&plan, &history), [Todo { item: 0, attempt: 1, missing: vec![0, 1], why: Why::New }]);
}

#[test]
fn a_measured_trial_whose_suite_grew_runs_only_the_addition() {
    let history = [past(0, vec![attempt(Some(PastOutcome::Measured), &["r0.0"])])];
    assert_eq!(
        todo_of(&[item(0, 2)], &history),
        [Todo { item: 0, attempt: 2, missing: vec![1], why: Why::MoreScenarios }]
    );
}

#[test]
fn skips_of_the_plan_hold_and_a_skip_for_lack_of_time_does_not() {
    let mut plan = [item(0, 1), item(1, 1), item(2, 1)];
    plan[0].skip = Some(SkipReason::Excluded);
    let skipped = |i, reason| TrialHistory { key: key(i), attempts: vec![], skip: Some(reason) };
    let history = [skipped(1, SkipReason::OutOfTime), skipped(2, SkipReason::Twin)];
    assert_eq!(todo_of(&plan, &history).iter().map(|t| t.item).collect::<Vec<_>>(), [1]);
}

#[test]
fn two_points_of_one_key_are_measured_once() {
    let mut plan = [item(0, 2), item(0, 2)];
    plan[1].name = "alias".into();
    assert_eq!(todo_of(&plan, &[]).len(), 1);
}

#[test]
fn the_result_key_depends_on_config_parameters_data_and_seed() {
    let config = ConfigKey("a".into());
    let smoke = ScenarioSpec::Smoke(SmokeSpec::default());
    let load = ScenarioSpec::Load(LoadSpec::default());
    let base = ResultKey::of(&config, &smoke, "v1", 0);
    assert_eq!(base, ResultKey::of(&config, &smoke.clone(), "v1", 0));
    for other in [
        ResultKey::of(&ConfigKey("b".into()), &smoke, "v1", 0),
        ResultKey::of(&config, &load, "v1", 0),
        ResultKey::of(&config, &smoke, "v2", 0),
        ResultKey::of(&config, &smoke, "v1", 1),
    ] {
        assert_ne!(base, other);
    }
    assert_eq!(base.0.len(), 16);
}

/// What the world does to one step of the sweep.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// The scenario ends well and is stored.
    Finish,
    /// vgrid dies here (kill -9, power): the attempt stays open.
    Crash,
    /// Ctrl-C.
    Interrupt,
    /// The attempt fails.
    Fail(Cause, bool),
}

fn any_fate() -> impl Strategy<Value = Fate> {
    let cause = proptest::sample::select(Cause::ALL);
    prop_oneof![
        6 => Just(Fate::Finish),
        1 => Just(Fate::Crash),
        1 => Just(Fate::Interrupt),
        1 => (cause, any::<bool>()).prop_map(|(cause, transient)| Fate::Fail(cause, transient)),
    ]
}

/// The database of the model: one history per key, in order of registration; appends only.
#[derive(Clone, Debug, Default)]
struct World {
    history: Vec<TrialHistory>,
    measured_twice: Vec<ResultKey>,
}

impl World {
    fn trial(&mut self, key: &ConfigKey) -> &mut TrialHistory {
        let at = self.history.iter().position(|t| t.key == *key).unwrap_or_else(|| {
            self.history.push(TrialHistory { key: key.clone(), attempts: vec![], skip: None });
            self.history.len() - 1
        });
        &mut self.history[at]
    }

    fn has(&self, result: &ResultKey) -> bool {
        self.history.iter().flat_map(|t| &t.attempts).any(|a| a.finished.contains(result))
    }

    /// What a start does first: attempts of a dead process are closed.
    fn close_open(&mut self) {
        for attempt in self.history.iter_mut().flat_map(|t| &mut t.attempts) {
            attempt.outcome = attempt.outcome.or(Some(PastOutcome::Interrupted));
        }
    }

    /// One run of vgrid over the plan; `fates` says what happens at each scenario. False when it died or was interrupted.
    fn run(&mut self, plan: &[PlanItem], policy: &RetryPolicy, fates: &mut impl Iterator<Item = Fate>) -> bool {
        self.close_open();
        for todo in outstanding(plan, &self.history, policy) {
            let planned = &plan[todo.item];
            self.trial(&planned.key).attempts.push(AttemptHistory { outcome: None, finished: vec![], died_in: None });
            let mut end = Some(PastOutcome::Measured);
            let mut stop = false;
            for index in todo.missing {
                match fates.next().unwrap_or(Fate::Finish) {
                    Fate::Finish => {
                        let result = planned.scenarios[index].clone();
                        if self.has(&result) {
                            self.measured_twice.push(result.clone());
                        }
                        self.trial(&planned.key).attempts.last_mut().unwrap().finished.push(result);
                        continue;
                    }
                    Fate::Crash => (end, stop) = (None, true),
                    Fate::Interrupt => (end, stop) = (Some(PastOutcome::Interrupted), true),
                    Fate::Fail(cause, transient) => end = failed(cause, transient),
                }
                break;
            }
            self.trial(&planned.key).attempts.last_mut().unwrap().outcome = end;
            if stop {
                return false;
            }
        }
        true
    }
}

/// Runs until nothing is outstanding. Panics when that takes longer than failures and crashes can explain.
fn until_settled(world: &mut World, plan: &[PlanItem], policy: &RetryPolicy, fates: Vec<Fate>) {
    let limit = fates.len() + 2 + policy.transient_retries as usize;
    let mut fates = fates.into_iter();
    for _ in 0..limit {
        world.run(plan, policy, &mut fates);
        world.close_open();
        if outstanding(plan, &world.history, policy).is_empty() {
            return;
        }
    }
    panic!("still outstanding after {limit} runs: {:?}", outstanding(plan, &world.history, policy));
}

fn any_plan() -> impl Strategy<Value = Vec<PlanItem>> {
    let one = (0_usize..6, 1_usize..5, proptest::option::weighted(0.15, proptest::sample::select(SkipReason::ALL)));
    proptest::collection::vec(one, 0..7)
        .prop_map(|list| list.into_iter().map(|(i, scenarios, skip)| PlanItem { skip, ..item(i, scenarios) }).collect())
}

fn crashes_only(fates: Vec<Fate>) -> Vec<Fate> {
    fates.into_iter().filter(|f| !matches!(f, Fate::Fail(..))).collect()
}

proptest! {
    #[test]
    fn however_often_it_crashes_every_result_is_measured_exactly_once(
        plan in any_plan(), fates in proptest::collection::vec(any_fate(), 0..60)
    ) {
        let mut world = World::default();
        until_settled(&mut world, &plan, &RetryPolicy::default(), crashes_only(fates));
        prop_assert_eq!(&world.measured_twice, &Vec::<ResultKey>::new());
        for planned in plan.iter().filter(|p| p.skip.is_none()) {
            // A second item of the same key adds nothing to a first one that had fewer scenarios until the next run.
            for result in &planned.scenarios {
                prop_assert!(world.has(result), "{} lost {}", planned.name, result);
            }
        }
        for planned in plan.iter().filter(|p| p.skip.is_some()) {
            let runs_elsewhere = plan.iter().any(|q| q.skip.is_none() && q.key == planned.key);
            prop_assert!(runs_elsewhere || !planned.scenarios.iter().any(|r| world.has(r)));
        }
    }

    #[test]
    fn with_failures_too_nothing_is_measured_twice_and_only_settled_failures_lack_results(
        plan in any_plan(), fates in proptest::collection::vec(any_fate(), 0..60), transient_retries in 0_u32..3
    ) {
        let policy = RetryPolicy { transient_retries, ..RetryPolicy::default() };
        let mut world = World::default();
        until_settled(&mut world, &plan, &policy, fates);
        prop_assert_eq!(&world.measured_twice, &Vec::<ResultKey>::new());
        for planned in plan.iter().filter(|p| p.skip.is_none()) {
            let trial = world.history.iter().find(|t| t.key == planned.key);
            let last = trial.and_then(|t| t.attempts.last()).and_then(|a| a.outcome);
            let lacks = planned.scenarios.iter().any(|r| !world.has(r));
            if lacks {
                let is_settled_failure = matches!(last, Some(PastOutcome::Failed { .. }));
                prop_assert!(is_settled_failure, "{:?}", trial);
            }
        }
    }

    #[test]
    fn after_a_crash_at_any_prefix_of_the_history_the_rest_and_only_the_rest_is_done(
        plan in any_plan(), cut in 0_usize..40
    ) {
        let mut fates: Vec<Fate> = vec![Fate::Finish; cut];
        fates.push(Fate::Crash);
        let mut world = World::default();
        world.run(&plan, &RetryPolicy::default(), &mut fates.into_iter());
        let before: usize = world.history.iter().flat_map(|t| &t.attempts).map(|a| a.finished.len()).sum();
        world.close_open();
        let left: usize = outstanding(&plan, &world.history, &RetryPolicy::default()).iter().map(|t| t.missing.len()).sum();
        let wanted: BTreeSet<&ResultKey> = plan.iter().filter(|p| p.skip.is_none()).flat_map(|p| &p.scenarios).collect();
        prop_assert_eq!(before + left, wanted.len());
    }

    #[test]
    fn the_answer_is_stable_in_the_plans_order_and_asking_changes_nothing(
        plan in any_plan(), fates in proptest::collection::vec(any_fate(), 0..30)
    ) {
        let policy = RetryPolicy::default();
        let mut world = World::default();
        world.run(&plan, &policy, &mut fates.into_iter());
        world.close_open();
        let todos = outstanding(&plan, &world.history, &policy);
        prop_assert_eq!(&todos, &outstanding(&plan, &world.history, &policy));
        prop_assert!(todos.windows(2).all(|w| w[0].item < w[1].item));
        for todo in &todos {
            prop_assert!(!todo.missing.is_empty() && todo.missing.windows(2).all(|w| w[0] < w[1]));
            prop_assert!(todo.missing.iter().all(|i| !world.has(&plan[todo.item].scenarios[*i])));
        }
        let mut reversed = world.history.clone();
        reversed.reverse();
        prop_assert_eq!(&todos, &outstanding(&plan, &reversed, &policy));
    }
}

#[test]
fn a_trial_in_which_vgrid_dies_again_and_again_without_getting_on_is_deadly() {
    let died = |phase, finished: &[&str]| AttemptHistory {
        died_in: Some(phase),
        ..attempt(Some(PastOutcome::Interrupted), finished)
    };
    let startup = || died(Phase::Startup, &[]);
    let of = |attempts: Vec<AttemptHistory>| deadly(&past(0, attempts), 3);
    assert_eq!(of(vec![startup(), startup(), startup()]), Some(Phase::Startup));
    assert_eq!(of(vec![startup(), startup()]), None);
    assert_eq!(of(vec![startup(), died(Phase::Serving, &[]), startup()]), None, "another phase");
    assert_eq!(of(vec![startup(), died(Phase::Startup, &["r0.0"]), startup()]), None, "it got on");
    let told_to_stop = attempt(Some(PastOutcome::Interrupted), &[]);
    assert_eq!(of(vec![startup(), told_to_stop, startup()]), None, "Ctrl-C is no death");
    assert_eq!(
        of(vec![attempt(failed(Cause::PortInUse, true), &[]), startup(), startup(), startup()]),
        Some(Phase::Startup)
    );
}

//! A sweep as a state machine: it may crash after any step, and continuing must yield exactly the full set.

use proptest::prelude::*;

use super::*;
use crate::domain::{LoadSpec, Repeats, SmokeSpec};

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
    AttemptHistory {
        start: Start::FIRST,
        outcome,
        finished: finished.iter().map(|k| ResultKey((*k).to_owned())).collect(),
        died_in: None,
    }
}

fn past(i: usize, attempts: Vec<AttemptHistory>) -> TrialHistory {
    TrialHistory { key: key(i), attempts, skip: None }
}

const fn failed(cause: Cause, transient: bool) -> Option<PastOutcome> {
    Some(PastOutcome::Failed { cause, phase: Phase::Startup, transient })
}

/// Every config once; the first is the baseline.
fn once(items: &[PlanItem]) -> Plan<'_> {
    Plan { items, baseline: Some(0), repeats: Repeats::OFF, finalists: None }
}

fn todo_of(plan: &[PlanItem], history: &[TrialHistory]) -> Vec<Todo> {
    outstanding(&once(plan), history, &RetryPolicy::default())
}

#[test]
fn a_trial_interrupted_in_mid_suite_continues_with_only_what_is_missing() {
    let history = [past(0, vec![attempt(Some(PastOutcome::Interrupted), &["r0.0", "r0.2"])])];
    assert_eq!(
        todo_of(&[item(0, 4)], &history),
        [Todo { item: 0, start: Start::FIRST, attempt: 2, missing: vec![1, 3], why: Why::Interrupted }]
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
    assert_eq!(outstanding(&once(&plan), &[past(0, vec![busy()])], &never), []);
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
    assert_eq!(
        todo_of(&plan, &history),
        [Todo { item: 0, start: Start::FIRST, attempt: 1, missing: vec![0, 1], why: Why::New }]
    );
}

#[test]
fn a_measured_trial_whose_suite_grew_runs_only_the_addition() {
    let history = [past(0, vec![attempt(Some(PastOutcome::Measured), &["r0.0"])])];
    assert_eq!(
        todo_of(&[item(0, 2)], &history),
        [Todo { item: 0, start: Start::FIRST, attempt: 2, missing: vec![1], why: Why::MoreScenarios }]
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
    fn run(&mut self, plan: &Plan<'_>, policy: &RetryPolicy, fates: &mut impl Iterator<Item = Fate>) -> bool {
        self.close_open();
        let mut failed_items = BTreeSet::new();
        for todo in outstanding(plan, &self.history, policy) {
            let planned = &plan.items[todo.item];
            // As the sweep does: no further start of what has just failed.
            if failed_items.contains(&todo.item) {
                continue;
            }
            let open = AttemptHistory { start: todo.start, outcome: None, finished: vec![], died_in: None };
            self.trial(&planned.key).attempts.push(open);
            let mut end = Some(PastOutcome::Measured);
            let mut stop = false;
            for index in todo.missing {
                match fates.next().unwrap_or(Fate::Finish) {
                    Fate::Finish => {
                        let result = planned.scenarios[index].at(todo.start);
                        if self.has(&result) {
                            self.measured_twice.push(result.clone());
                        }
                        self.trial(&planned.key).attempts.last_mut().unwrap().finished.push(result);
                        continue;
                    }
                    Fate::Crash => (end, stop) = (None, true),
                    Fate::Interrupt => (end, stop) = (Some(PastOutcome::Interrupted), true),
                    Fate::Fail(cause, transient) => {
                        end = failed(cause, transient);
                        failed_items.insert(todo.item);
                    }
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

/// Runs until nothing is outstanding, choosing finalists as soon as everything else is done: the last configs that have all their
/// results. Panics when that takes longer than failures and crashes can explain.
fn until_settled(world: &mut World, plan: &Plan<'_>, policy: &RetryPolicy, fates: Vec<Fate>) -> Vec<usize> {
    let limit = fates.len() + 4 + policy.transient_retries as usize;
    let mut fates = fates.into_iter();
    let mut chosen: Option<Vec<usize>> = None;
    for _ in 0..limit {
        let plan = Plan { finalists: chosen.as_deref(), ..*plan };
        world.run(&plan, policy, &mut fates);
        world.close_open();
        if !outstanding(&plan, &world.history, policy).is_empty() {
            continue;
        }
        if chosen.is_some() || plan.repeats.finalists == 0 {
            return chosen.unwrap_or_default();
        }
        let complete =
            |i: &usize| plan.items[*i].skip.is_none() && plan.items[*i].scenarios.iter().all(|r| world.has(r));
        let finalists = (0..plan.items.len()).rev().filter(complete).take(plan.repeats.finalists as usize);
        chosen = Some(finalists.collect());
    }
    panic!("still outstanding after {limit} runs: {:?}", outstanding(plan, &world.history, policy));
}

fn any_plan() -> impl Strategy<Value = Vec<PlanItem>> {
    let one = (0_usize..6, 1_usize..5, proptest::option::weighted(0.15, proptest::sample::select(SkipReason::ALL)));
    proptest::collection::vec(one, 0..7)
        .prop_map(|list| list.into_iter().map(|(i, scenarios, skip)| PlanItem { skip, ..item(i, scenarios) }).collect())
}

fn any_repeats() -> impl Strategy<Value = Repeats> {
    (1_u32..4, 0_u32..4, 0_u32..3, 1_u32..3).prop_map(|(starts, controls_every, finalists, finalist_starts)| Repeats {
        starts,
        controls_every,
        finalists,
        finalist_starts,
    })
}

fn crashes_only(fates: Vec<Fate>) -> Vec<Fate> {
    fates.into_iter().filter(|f| !matches!(f, Fate::Fail(..))).collect()
}

proptest! {
    #[test]
    fn however_often_it_crashes_every_result_of_every_start_is_measured_exactly_once(
        items in any_plan(), repeats in any_repeats(), fates in proptest::collection::vec(any_fate(), 0..60)
    ) {
        let mut world = World::default();
        let plan = Plan { repeats, ..once(&items) };
        let finalists = until_settled(&mut world, &plan, &RetryPolicy::default(), crashes_only(fates));
        prop_assert_eq!(&world.measured_twice, &Vec::<ResultKey>::new());
        let done = Plan { finalists: Some(&finalists), ..plan };
        // Configs with one key are one: with a single one there is nothing to control.
        let distinct: BTreeSet<&ConfigKey> = items.iter().filter(|p| p.skip.is_none()).map(|p| &p.key).collect();
        for (item, start) in done.schedule() {
            if start.purpose == Purpose::Control && distinct.len() < 2 {
                continue;
            }
            for result in &items[item].scenarios {
                prop_assert!(world.has(&result.at(start)), "{} lost {result} at {start}", items[item].name);
            }
        }
        for planned in items.iter().filter(|p| p.skip.is_some()) {
            let runs_elsewhere = items.iter().any(|q| q.skip.is_none() && q.key == planned.key);
            prop_assert!(runs_elsewhere || !planned.scenarios.iter().any(|r| world.has(r)));
        }
    }

    #[test]
    fn with_failures_too_nothing_is_measured_twice_and_only_settled_failures_lack_results(
        items in any_plan(), repeats in any_repeats(), fates in proptest::collection::vec(any_fate(), 0..60),
        transient_retries in 0_u32..3
    ) {
        let policy = RetryPolicy { transient_retries, ..RetryPolicy::default() };
        let mut world = World::default();
        let plan = Plan { repeats, ..once(&items) };
        until_settled(&mut world, &plan, &policy, fates);
        prop_assert_eq!(&world.measured_twice, &Vec::<ResultKey>::new());
        for planned in items.iter().filter(|p| p.skip.is_none()) {
            let trial = world.history.iter().find(|t| t.key == planned.key);
            let first = trial.and_then(|t| t.attempts.iter().rev().find(|a| a.start == Start::FIRST));
            let lacks = planned.scenarios.iter().any(|r| !world.has(r));
            if lacks {
                let is_settled_failure = matches!(first.and_then(|a| a.outcome), Some(PastOutcome::Failed { .. }));
                prop_assert!(is_settled_failure, "{:?}", trial);
            }
        }
    }

    #[test]
    fn after_a_crash_at_any_prefix_of_the_history_the_rest_and_only_the_rest_is_done(
        items in any_plan(), starts in 1_u32..3, cut in 0_usize..40
    ) {
        let mut fates: Vec<Fate> = vec![Fate::Finish; cut];
        fates.push(Fate::Crash);
        let mut world = World::default();
        let plan = Plan { repeats: Repeats { starts, ..Repeats::OFF }, ..once(&items) };
        world.run(&plan, &RetryPolicy::default(), &mut fates.into_iter());
        let before: usize = world.history.iter().flat_map(|t| &t.attempts).map(|a| a.finished.len()).sum();
        world.close_open();
        let left: usize = outstanding(&plan, &world.history, &RetryPolicy::default()).iter().map(|t| t.missing.len()).sum();
        let wanted: BTreeSet<ResultKey> =
            plan.schedule().iter().flat_map(|(i, start)| items[*i].scenarios.iter().map(|r| r.at(*start))).collect();
        prop_assert_eq!(before + left, wanted.len());
    }

    #[test]
    fn the_answer_is_stable_in_the_schedules_order_and_asking_changes_nothing(
        items in any_plan(), repeats in any_repeats(), fates in proptest::collection::vec(any_fate(), 0..30)
    ) {
        let policy = RetryPolicy::default();
        let mut world = World::default();
        let plan = Plan { repeats, ..once(&items) };
        world.run(&plan, &policy, &mut fates.into_iter());
        world.close_open();
        let todos = outstanding(&plan, &world.history, &policy);
        prop_assert_eq!(&todos, &outstanding(&plan, &world.history, &policy));
        let order = plan.schedule();
        let place = |t: &Todo| order.iter().position(|slot| *slot == (t.item, t.start));
        prop_assert!(todos.windows(2).all(|w| place(&w[0]) < place(&w[1])));
        for todo in &todos {
            prop_assert!(!todo.missing.is_empty() && todo.missing.windows(2).all(|w| w[0] < w[1]));
            prop_assert!(todo.missing.iter().all(|i| !world.has(&items[todo.item].scenarios[*i].at(todo.start))));
        }
        let mut reversed = world.history.clone();
        reversed.reverse();
        prop_assert_eq!(&todos, &outstanding(&plan, &reversed, &policy));
    }
}

/// The schedule as words: config and start.
fn order_of(plan: &Plan<'_>) -> Vec<String> {
    let word = |(i, start): (usize, Start)| match start.purpose {
        Purpose::Trial => format!("{i}"),
        Purpose::Repeat => format!("{i} again"),
        Purpose::Control => format!("control {}", start.number),
        Purpose::Finalist => format!("{i} final"),
    };
    plan.schedule().into_iter().map(word).collect()
}

fn items(count: usize) -> Vec<PlanItem> {
    (0..count).map(|i| item(i, 1)).collect()
}

#[test]
fn two_configs_alternate_the_baseline_first_and_last() {
    let items = items(2);
    assert_eq!(further_starts(Repeats::default(), 2, true), 5, "two fresh starts of both, and the last control");
    let repeats = Repeats { finalist_starts: 1, ..Repeats::default() };
    let plan = Plan { repeats, ..once(&items) };
    assert_eq!(order_of(&plan), ["0", "1"]);
    assert_eq!((plan.starts_to_come(), further_starts(repeats, 2, true)), (3, 3));
    let plan = Plan { finalists: Some(&[1, 0]), ..plan };
    assert_eq!(order_of(&plan), ["0", "1", "0 final", "1 final", "control 1"]);
}

#[test]
fn controls_come_after_every_so_many_starts_and_not_just_before_the_last_one() {
    let repeats = Repeats { controls_every: 3, finalists: 1, finalist_starts: 1, ..Repeats::default() };
    for (count, wanted) in [
        (4, "0 1 2 3 |2 final control 1"),
        (5, "0 1 2 3 control 1 4 |2 final control 2"),
        (8, "0 1 2 3 control 1 4 5 6 control 2 7 |2 final control 3"),
    ] {
        let items = items(count);
        let before = Plan { repeats, ..once(&items) };
        let main = wanted.split('|').next().unwrap().trim();
        assert_eq!(order_of(&before).join(" "), main);
        let after = Plan { finalists: Some(&[2]), ..before };
        assert_eq!(order_of(&after).join(" "), wanted.replace('|', ""));
        let further = after.schedule().iter().filter(|(_, start)| *start != Start::FIRST).count();
        assert_eq!((further_starts(repeats, count, true), after.starts_to_come()), (further, 0));
    }
}

#[test]
fn several_starts_are_passes_over_all_configs_each_begun_by_the_baseline() {
    let items = items(3);
    let repeats = Repeats { starts: 2, controls_every: 2, finalists: 0, finalist_starts: 1 };
    let plan = Plan { repeats, ..once(&items) };
    assert_eq!(order_of(&plan).join(" "), "0 1 2 0 again 1 again 2 again control 1");
}

#[test]
fn a_config_alone_has_nothing_to_be_controlled() {
    let items = items(1);
    assert_eq!(order_of(&Plan { repeats: Repeats::default(), finalists: Some(&[]), ..once(&items) }), ["0"]);
}

#[test]
fn what_failed_for_good_is_not_started_again_and_a_failed_control_takes_nothing_from_the_trial() {
    let items = items(2);
    let plan = Plan { repeats: Repeats { finalists: 0, ..Repeats::default() }, ..once(&items) };
    let done = |i: usize| past(i, vec![attempt(Some(PastOutcome::Measured), &[&format!("r{i}.0")])]);
    let broken = past(1, vec![attempt(failed(Cause::BadArgument, false), &[])]);
    assert_eq!(
        outstanding(&plan, &[done(0), broken], &RetryPolicy::default()),
        [],
        "a baseline with nothing beside it"
    );
    let control = Start { purpose: Purpose::Control, number: 1 };
    let mut history = [done(0), done(1)];
    let todos = outstanding(&plan, &history, &RetryPolicy::default());
    assert_eq!(todos, [Todo { item: 0, start: control, attempt: 2, missing: vec![0], why: Why::New }]);
    let outcome = failed(Cause::GpuOom, false);
    history[0].attempts.push(AttemptHistory { start: control, outcome, finished: vec![], died_in: None });
    assert_eq!(outstanding(&plan, &history, &RetryPolicy::default()), []);
}

#[test]
fn the_first_start_keeps_its_key_and_every_other_start_has_its_own() {
    let key = ResultKey("0123456789abcdef".into());
    assert_eq!(key.at(Start::FIRST), key);
    let starts = [(Purpose::Repeat, 1), (Purpose::Repeat, 2), (Purpose::Control, 1), (Purpose::Finalist, 1)];
    let keys: BTreeSet<ResultKey> =
        starts.iter().map(|(purpose, number)| key.at(Start { purpose: *purpose, number: *number })).collect();
    assert_eq!(keys.len(), starts.len());
    assert!(!keys.contains(&key));
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
    let control = AttemptHistory { start: Start { purpose: Purpose::Control, number: 1 }, ..startup() };
    assert_eq!(of(vec![startup(), startup(), control]), None, "another start of the config");
    let told_to_stop = attempt(Some(PastOutcome::Interrupted), &[]);
    assert_eq!(of(vec![startup(), told_to_stop, startup()]), None, "Ctrl-C is no death");
    assert_eq!(
        of(vec![attempt(failed(Cause::PortInUse, true), &[]), startup(), startup(), startup()]),
        Some(Phase::Startup)
    );
}

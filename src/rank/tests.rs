//! What a ranking must hold to, whatever the numbers are.

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Normal};

use super::*;
use crate::domain::Direction;

const PATH: &str = "load.output_tokens_per_s";

fn objective(direction: Direction) -> Objective {
    Objective { name: "speed".into(), direction, metric: PATH.parse().unwrap() }
}

fn candidate(name: &str, trial_id: i64, value: f64, half: Option<f64>, verdict: Verdict) -> Candidate {
    let metric = Metric {
        path: PATH.parse().unwrap(),
        value,
        unit: "tokens_per_s".into(),
        n: if half.is_some() { 40 } else { 1 },
        failed_n: 0,
        ci_low: half.map(|h| value - h),
        ci_high: half.map(|h| value + h),
    };
    Candidate { trial_id, name: name.into(), gates: vec![], figures: vec![Figure::of_one_start(metric, verdict)] }
}

fn gated(mut candidate: Candidate, outcome: GateOutcome) -> Candidate {
    candidate.gates = vec![GateResult { gate: "load.output_tokens_per_s > 1".into(), outcome }];
    candidate
}

fn valid(name: &str, trial_id: i64, value: f64, half: Option<f64>) -> Candidate {
    candidate(name, trial_id, value, half, Verdict::Valid)
}

#[test]
fn a_config_far_ahead_is_champion_with_its_gain_against_the_baseline() {
    let ranking = rank(
        &[valid("base", 1, 100.0, Some(2.0)), valid("fast", 2, 150.0, Some(2.0))],
        &objective(Direction::Maximize),
        Some("base"),
    );
    assert_eq!(ranking.answer, Answer::Champion { name: "fast".into(), trial_id: 2, suspect: false, confirmed: false });
    assert_eq!(ranking.rows[0].gain_percent, Some(50.0));
    assert_eq!(ranking.rows[0].gain_is_real, Some(true));
    assert_eq!(ranking.rows[1].gain_percent, Some(0.0));
    assert_eq!(ranking.rows[1].standing, Standing::Behind);
}

#[test]
fn a_smaller_latency_is_a_positive_gain_and_a_worse_config_has_a_negative_one() {
    let ranking = rank(
        &[valid("base", 1, 200.0, Some(1.0)), valid("quick", 2, 150.0, Some(1.0)), valid("slow", 3, 300.0, Some(1.0))],
        &objective(Direction::Minimize),
        Some("base"),
    );
    let gains: Vec<_> = ranking.rows.iter().map(|r| r.gain_percent.unwrap()).collect();
    assert_eq!(gains, [25.0, 0.0, -50.0]);
}

#[test]
fn configs_within_the_noise_are_tied_and_nobody_is_champion() {
    let ranking = rank(
        &[valid("a", 1, 100.0, Some(5.0)), valid("b", 2, 103.0, Some(5.0)), valid("c", 3, 10.0, Some(5.0))],
        &objective(Direction::Maximize),
        None,
    );
    assert_eq!(ranking.answer, Answer::Tied { names: vec!["b".into(), "a".into()], leader_trial_id: 2 });
    assert_eq!(ranking.sentence, "tied: b, a");
    assert_eq!(ranking.rows[2].standing, Standing::Behind);
}

#[test]
fn one_start_of_each_tells_apart_only_what_differs_by_more_than_starts_are_assumed_to() {
    let against = |other: f64| {
        let field = [valid("a", 1, 100.0, Some(0.5)), valid("b", 2, other, Some(0.5))];
        rank(&field, &objective(Direction::Maximize), Some("a"))
    };
    // 2.05 x 5 % of (100 and 112) is 15.4.
    assert!(matches!(against(112.0).answer, Answer::Tied { .. }));
    assert_eq!(against(112.0).rows[0].gain_is_real, Some(false));
    assert_eq!(against(118.0).sentence, "b is best (on a single start, not confirmed)");
}

#[test]
fn a_best_value_of_zero_leads_nobody_where_more_is_better() {
    let field = [valid("a", 1, 0.0, Some(0.0)), valid("b", 2, 0.0, Some(0.0))];
    let ranking = rank(&field, &objective(Direction::Maximize), Some("a"));
    assert_eq!(ranking.answer, Answer::AllZero { configs: 2 });
    assert_eq!(ranking.sentence, "nobody leads: the figure of all 2 configs is 0");
    assert!(ranking.leader().is_none() && finalists(&[ranking], 2).is_empty());
    // No error at all is as good as it gets.
    assert!(matches!(rank(&field, &objective(Direction::Minimize), None).answer, Answer::Tied { .. }));
}

#[test]
fn a_config_behind_the_baseline_that_leads_is_no_noise_against_it() {
    let field = [valid("base", 1, 100.0, Some(1.0)), valid("a", 2, 83.0, Some(1.0)), valid("b", 3, 82.0, Some(1.0))];
    let ranking = rank(&field, &objective(Direction::Maximize), Some("base"));
    assert!(matches!(ranking.answer, Answer::Champion { .. }), "{}", ranking.sentence);
    for row in &ranking.rows[1..] {
        assert_eq!((row.standing, row.gain_is_real), (Standing::Behind, Some(true)), "{row:?}");
    }
}

#[test]
fn a_figure_without_an_interval_separates_from_nothing() {
    let ranking = rank(
        &[valid("a", 1, 100.0, None), valid("b", 2, 900.0, Some(1.0))],
        &objective(Direction::Maximize),
        Some("a"),
    );
    assert!(matches!(ranking.answer, Answer::Tied { .. }));
    assert_eq!(ranking.rows[0].gain_is_real, None, "not known is not noise");
}

#[test]
fn a_config_in_front_ranks_before_those_without_a_figure() {
    let mut unknown = valid("unknown", 1, 1.0, None);
    unknown.figures.clear();
    let field = [unknown, valid("slow", 2, 10.0, Some(1.0)), valid("fast", 3, 900.0, Some(1.0))];
    let ranking = rank(&field, &objective(Direction::Maximize), None);
    let places: Vec<_> = ranking.rows.iter().map(|r| (r.name.as_str(), r.place)).collect();
    assert_eq!(places, [("fast", Some(1)), ("slow", Some(2)), ("unknown", None)]);
}

#[test]
fn no_config_that_fails_a_gate_or_is_invalid_ranks_and_the_answer_says_so() {
    let ranking = rank(
        &[
            gated(valid("a", 1, 100.0, Some(1.0)), GateOutcome::Fail),
            gated(valid("b", 2, 200.0, Some(1.0)), GateOutcome::NotMeasured),
            gated(candidate("c", 3, 300.0, Some(1.0), Verdict::Invalid), GateOutcome::Pass),
        ],
        &objective(Direction::Maximize),
        None,
    );
    assert_eq!(ranking.answer, Answer::NoneMeetsGates { failed: 1, not_measured: 1, invalid: 1 });
    assert_eq!(
        ranking.sentence,
        "no config meets the gates (1 failed, 1 could not be judged, 1 passed with an invalid figure)"
    );
    assert!(ranking.rows.iter().all(|r| r.place.is_none()));
}

#[test]
fn what_was_not_measured_is_an_answer_and_has_no_value() {
    let mut bare = valid("a", 1, 1.0, None);
    bare.figures.clear();
    let ranking = rank(&[bare], &objective(Direction::Maximize), Some("a"));
    assert_eq!(ranking.answer, Answer::NotMeasured);
    assert_eq!(ranking.rows[0].value, None);
    assert_eq!(ranking.rows[0].standing, Standing::NotMeasured);
    assert_eq!(rank(&[], &objective(Direction::Maximize), None).answer, Answer::NotMeasured);
}

#[test]
fn a_suspect_champion_is_named_with_that_word() {
    let ranking = rank(
        &[candidate("a", 1, 100.0, Some(1.0), Verdict::Suspect), valid("b", 2, 10.0, Some(1.0))],
        &objective(Direction::Maximize),
        None,
    );
    assert_eq!(ranking.sentence, "a is best (on a suspect figure, on a single start, not confirmed)");
}

#[test]
fn the_json_of_a_ranking_reads_back_as_the_same_ranking() {
    let ranking = rank(
        &[valid("a", 1, 100.5, Some(5.0)), gated(valid("b", 2, 103.0, Some(5.0)), GateOutcome::Fail)],
        &objective(Direction::Minimize),
        Some("b"),
    );
    let json = serde_json::to_string(&ranking).unwrap();
    assert!(json.contains(r#""answer":"champion""#), "{json}");
    assert_eq!(serde_json::from_str::<Ranking>(&json).unwrap(), ranking);
}

/// Percentile-like interval of a mean over `n` normal samples with the uncorrected deviation, as a bootstrap gives it, on a start
/// that is a little faster or slower.
fn measured_once(name: usize, n: usize, start_deviation: f64, rng: &mut rand::rngs::StdRng) -> Candidate {
    let start = Normal::new(100.0, 100.0 * start_deviation).unwrap().sample(rng);
    let normal = Normal::new(start, 10.0).unwrap();
    let samples: Vec<f64> = (0..n).map(|_| normal.sample(rng)).collect();
    let mean = samples.iter().sum::<f64>() / n as f64;
    let variance = samples.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / n as f64;
    let mut c = valid(&format!("c{name}"), name as i64, mean, Some(1.96 * (variance / n as f64).sqrt()));
    c.figures[0].metric.n = n as u64;
    c
}

#[test]
fn identical_configs_are_told_apart_in_at_most_one_night_in_twenty() {
    let mut rng = rand::rngs::StdRng::seed_from_u64(7);
    let fields = [(2, 5), (2, 40), (12, 3), (12, 8), (12, 40)].map(|(k, n)| [(k, n, 0.0), (k, n, 0.05)]);
    for (k, n, deviation) in fields.into_iter().flatten() {
        let nights = 1_000;
        let wrong = (0..nights)
            .filter(|_| {
                let field: Vec<Candidate> = (0..k).map(|i| measured_once(i, n, deviation, &mut rng)).collect();
                let ranking = rank(&field, &objective(Direction::Maximize), None);
                ranking.rows.iter().any(|r| r.standing == Standing::Behind)
            })
            .count();
        // 5 % of 1,000 is 50; the limit lies three standard deviations of a binomial above it.
        assert!(wrong <= 70, "k {k}, n {n}: {wrong} of {nights} nights told identical configs apart");
    }
}

#[test]
fn a_real_difference_is_found_among_twelve_configs() {
    let mut rng = rand::rngs::StdRng::seed_from_u64(11);
    let mut field: Vec<Candidate> = (0..12).map(|i| measured_once(i, 40, 0.0, &mut rng)).collect();
    field.push(valid("better", 99, 125.0, Some(3.0)));
    let ranking = rank(&field, &objective(Direction::Maximize), None);
    assert_eq!(
        ranking.answer,
        Answer::Champion { name: "better".into(), trial_id: 99, suspect: false, confirmed: false }
    );
}

fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let verdict = prop_oneof![4 => Just(Verdict::Valid), 1 => Just(Verdict::Suspect), 1 => Just(Verdict::Invalid)];
    let gate = prop_oneof![
        4 => Just(GateOutcome::Pass),
        1 => Just(GateOutcome::Fail),
        1 => Just(GateOutcome::NotMeasured)
    ];
    let one = (1_i32..40, proptest::option::of(0_i32..8), verdict, gate, 0_u64..50);
    proptest::collection::vec(one, 0..12).prop_map(|list| {
        list.into_iter()
            .enumerate()
            .map(|(i, (value, half, verdict, gate, n))| {
                let mut c = candidate(&format!("c{i}"), i as i64, f64::from(value), half.map(f64::from), verdict);
                c.figures[0].metric.n = n;
                gated(c, gate)
            })
            .collect()
    })
}

fn mirrored(candidates: &[Candidate]) -> Vec<Candidate> {
    let mut result = candidates.to_vec();
    for metric in result.iter_mut().flat_map(|c| &mut c.figures).map(|f| &mut f.metric) {
        let (low, high) = (metric.ci_low, metric.ci_high);
        metric.value = -metric.value;
        metric.ci_low = high.map(|v| -v);
        metric.ci_high = low.map(|v| -v);
    }
    result
}

proptest! {
    #[test]
    fn the_order_of_the_candidates_does_not_matter(candidates in any_candidates(), seed in any::<u64>()) {
        let mut shuffled = candidates.clone();
        let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, rng.random_range(0..=i));
        }
        let objective = objective(Direction::Minimize);
        prop_assert_eq!(rank(&candidates, &objective, Some("c0")), rank(&shuffled, &objective, Some("c0")));
    }

    #[test]
    fn only_valid_or_suspect_figures_that_pass_the_gates_have_a_place(candidates in any_candidates()) {
        let ranking = rank(&candidates, &objective(Direction::Maximize), None);
        prop_assert_eq!(ranking.rows.len(), candidates.len());
        for row in &ranking.rows {
            let c = candidates.iter().find(|c| c.trial_id == row.trial_id).unwrap();
            let may = c.figures[0].verdict != Verdict::Invalid && c.gates_outcome() == GateOutcome::Pass;
            prop_assert_eq!(row.place.is_some(), may);
        }
    }

    #[test]
    fn a_worse_config_never_replaces_the_leader_and_never_turns_a_tie_into_a_champion(
        candidates in any_candidates(), below in 1_i32..100, half in proptest::option::of(0_i32..50)
    ) {
        let objective = objective(Direction::Maximize);
        let before = rank(&candidates, &objective, None);
        if let Some(leader) = before.leader() {
            let worse = valid("zz", 999, leader.value.unwrap() - f64::from(below), half.map(f64::from));
            let mut more = candidates.clone();
            more.push(worse);
            let after = rank(&more, &objective, None);
            prop_assert_eq!(after.leader().map(|r| r.trial_id), Some(leader.trial_id));
            if matches!(before.answer, Answer::Tied { .. }) {
                let is_tied = matches!(after.answer, Answer::Tied { .. });
                prop_assert!(is_tied);
            }
        }
    }

    #[test]
    fn minimising_a_figure_is_maximising_its_negative(candidates in any_candidates()) {
        let down = rank(&candidates, &objective(Direction::Minimize), Some("c1"));
        let up = rank(&mirrored(&candidates), &objective(Direction::Maximize), Some("c1"));
        prop_assert_eq!(&down.answer, &up.answer);
        for (a, b) in down.rows.iter().zip(&up.rows) {
            prop_assert_eq!((a.trial_id, a.place, a.standing), (b.trial_id, b.place, b.standing));
            prop_assert_eq!((a.gain_percent, a.gain_is_real), (b.gain_percent, b.gain_is_real));
        }
    }
}

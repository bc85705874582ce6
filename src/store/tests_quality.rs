//! Outcomes of cases come back, and two configs are compared case by case.

use super::*;
use crate::domain::{CaseDelivery, CaseOutcome, CaseResult, Purpose, ReasoningSpec, ScenarioKind, Start};
use crate::stats::PairedCounts;

fn outcome(case: usize, repeat: u32, result: CaseResult) -> CaseOutcome {
    CaseOutcome {
        case_id: format!("case-{case}"),
        category: "logic".into(),
        language: "fr".into(),
        repeat,
        delivery: CaseDelivery::Streamed,
        result,
        expected: "42".into(),
        got: "41".into(),
        request_index: case as u32,
    }
}

/// A result whose cases ended like this, each asked once.
fn reasoning(results: &[CaseResult], data: &str) -> ScenarioResult {
    let mut result = scenario(ScenarioSpec::Reasoning(ReasoningSpec::default()), Vec::new(), 0, Verdict::Valid);
    result.data_sha256 = data.into();
    result.cases = results.iter().enumerate().map(|(i, r)| outcome(i, 1, *r)).collect();
    result
}

fn save(b: &mut Bench, i: usize, result: &ScenarioResult) {
    let attempt = b.begin(i);
    b.store.save_scenario(attempt, &ResultKey(format!("{i}.{}", result.data_sha256)), result).unwrap();
    b.store.finish_attempt(attempt, &end(Outcome::Measured)).unwrap();
}

const P: CaseResult = CaseResult::Passed;
const W: CaseResult = CaseResult::Wrong;
const T: CaseResult = CaseResult::Truncated;
const F: CaseResult = CaseResult::Failed;

#[test]
fn the_outcome_of_every_case_comes_back_in_order() {
    let mut b = bench(1);
    let result = reasoning(&[P, W, T, F], "d");
    save(&mut b, 0, &result);
    let report = b.store.show(b.trials[0]).unwrap();
    assert_eq!(report.attempt_reports[0].scenarios[0].cases, result.cases);
    let passed: i64 = b.store.conn.query_row("SELECT sum(passed) FROM case_outcome", [], |r| r.get(0)).unwrap();
    assert_eq!(passed, 1);
}

#[test]
fn a_config_is_compared_with_the_baseline_on_the_cases_that_both_answered() {
    let mut b = bench(3);
    save(&mut b, 0, &reasoning(&[P, P, P, W, W, P, F], "d"));
    let mut other = reasoning(&[P, W, T, P, W, F, P], "d");
    // Right the first time and wrong the second is not passed.
    other.cases.push(outcome(0, 2, W));
    save(&mut b, 1, &other);
    save(&mut b, 2, &reasoning(&[P; 7], "other data"));

    let paired = b.store.paired_quality(b.trials[1]).unwrap();
    assert_eq!(paired.len(), 1);
    let expected = PairedCounts { both: 0, only_reference: 3, only_other: 1, neither: 1 };
    assert_eq!((paired[0].counts, paired[0].left_out), (expected, 2));
    assert_eq!((paired[0].scenario, paired[0].baseline.as_str()), (ScenarioKind::Reasoning, "c0"));
    assert_eq!(paired[0].difference, Some(-0.4));
    // 2 x (1 + 4) / 16
    assert!((paired[0].exact_p - 0.625).abs() < 1e-12);
    assert_eq!(b.store.show(b.trials[1]).unwrap().paired, paired);

    let itself = b.store.paired_quality(b.trials[0]).unwrap();
    assert_eq!((itself[0].difference, itself[0].exact_p, itself[0].left_out), (Some(0.0), 1.0, 1));
    assert_eq!(b.store.paired_quality(b.trials[2]).unwrap(), [], "other data are not compared");
}

#[test]
fn an_invalid_result_is_compared_with_nothing() {
    let mut b = bench(2);
    save(&mut b, 0, &reasoning(&[P, P], "d"));
    let mut invalid = reasoning(&[W, W], "d");
    invalid.validity.add(Verdict::Invalid, ValidityReason::RequestsFailed, "all failed");
    save(&mut b, 1, &invalid);
    assert_eq!(b.store.paired_quality(b.trials[1]).unwrap(), []);
}

/// A further start of a config.
fn save_start(b: &mut Bench, i: usize, start: Start, result: &ScenarioResult) {
    let attempt = b.begin_start(i, start);
    b.store.save_scenario(attempt, &ResultKey("reasoning".into()).at(start), result).unwrap();
    b.store.finish_attempt(attempt, &end(Outcome::Measured)).unwrap();
}

#[test]
fn of_several_starts_the_newest_of_each_side_is_compared_and_none_is_pooled() {
    let start = |purpose, number| Start { purpose, number };
    let mut b = bench(2);
    save_start(&mut b, 0, Start::FIRST, &reasoning(&[W, W, P, P], "d"));
    save_start(&mut b, 1, Start::FIRST, &reasoning(&[P, P, P, P], "d"));
    let counts = |b: &Bench, i: usize| b.store.paired_quality(b.trials[i]).unwrap()[0].counts;
    assert_eq!((counts(&b, 1).both, counts(&b, 1).only_other), (2, 2));

    // a control of the baseline: what it answers now counts, not what it answered at first
    save_start(&mut b, 0, start(Purpose::Control, 1), &reasoning(&[P, P, P, W], "d"));
    assert_eq!(counts(&b, 1), PairedCounts { both: 3, only_reference: 0, only_other: 1, neither: 0 });
    assert_eq!(counts(&b, 0), PairedCounts { both: 3, only_reference: 0, only_other: 0, neither: 1 });

    // a repeat of the config: a case that it once passed and now misses is not passed, and counts once
    save_start(&mut b, 1, start(Purpose::Repeat, 2), &reasoning(&[P, P, W, P], "d"));
    assert_eq!(counts(&b, 1), PairedCounts { both: 2, only_reference: 1, only_other: 1, neither: 0 });

    // an invalid start hides nothing
    let mut invalid = reasoning(&[W, W, W, W], "d");
    invalid.validity.add(Verdict::Invalid, ValidityReason::RequestsFailed, "all failed");
    save_start(&mut b, 1, start(Purpose::Finalist, 1), &invalid);
    save_start(&mut b, 0, start(Purpose::Control, 2), &invalid);
    assert_eq!(counts(&b, 1), PairedCounts { both: 2, only_reference: 1, only_other: 1, neither: 0 });
}

#[test]
fn what_the_newest_result_of_a_scenario_misses_is_told_by_config() {
    let mut b = bench(2);
    let mut result = |at: usize, data: &str, missed: Option<&str>| {
        let mut result = reasoning(&[P], data);
        if let Some(sentence) = missed {
            result.validity.add(Verdict::Valid, ValidityReason::ThresholdMissed, sentence);
        }
        save(&mut b, at, &result);
    };
    result(0, "first", Some("it is slow"));
    result(0, "again", None);
    result(1, "first", Some("it is wrong"));
    let missed = b.store.missed_thresholds(b.sweep).unwrap();
    assert_eq!(missed.len(), 1, "what was measured again is judged by that: {missed:?}");
    let (config, scenario) = (missed[0].config.as_str(), missed[0].scenario);
    assert_eq!((config, scenario, missed[0].sentence.as_str()), ("c1", ScenarioKind::Reasoning, "it is wrong"));
}

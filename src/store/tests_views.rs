//! The views that answer at once: what they say, and how much they read.

use super::*;
use crate::rank::{Change, Effect, Shift, pareto_front};
use crate::store::ObjectiveEffects;

fn texts(b: &Bench, sql: &str) -> Vec<String> {
    let mut statement = b.store.conn.prepare(sql).unwrap();
    statement.query_map([], |r| r.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn number(b: &Bench, sql: &str) -> i64 {
    b.store.conn.query_row(sql, [], |r| r.get(0)).unwrap()
}

#[test]
fn a_kept_ranking_is_the_computed_one_and_ends_with_the_first_change() {
    let mut b = bench(3);
    let pass = Some(GateOutcome::Pass);
    b.measure(0, load_result(100.0, Some(2.0), Verdict::Valid), kv_result(50.0, Some(1.0)), pass);
    b.measure(1, load_result(150.0, Some(2.0), Verdict::Valid), kv_result(49.0, Some(2.0)), pass);
    let all =
        "SELECT json_array(objective, rank, config, value, standing, gain_percent, gates) FROM ranking ORDER BY 1";
    let computed = texts(&b, all);
    b.store.keep_ranking(b.sweep).unwrap();
    assert_eq!(number(&b, "SELECT count(*) FROM ranked"), 4);
    assert_eq!(number(&b, "SELECT count(*) FROM ranking_live"), 0, "what is kept is not computed");
    assert_eq!(texts(&b, all), computed);
    b.assert_view_agrees();
    // A gate that is judged anew, and a further trial, each end it.
    let gate = GateResult { gate: GATE.into(), outcome: GateOutcome::Fail };
    b.store.save_gate_results(b.trials[1], &[gate]).unwrap();
    assert_eq!(number(&b, "SELECT count(*) FROM ranked_sweep"), 0);
    b.assert_view_agrees();
    b.store.keep_ranking(b.sweep).unwrap();
    b.measure(2, load_result(900.0, Some(2.0), Verdict::Valid), kv_result(1.0, Some(0.1)), pass);
    assert_eq!(number(&b, "SELECT count(*) FROM ranked_sweep"), 0);
    b.assert_view_agrees();
    assert_eq!(texts(&b, "SELECT config FROM champions ORDER BY objective_position"), ["c2", "c2"]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(16))]

    #[test]
    fn the_pareto_view_is_the_front_that_rust_finds(
        field in proptest::collection::vec((1_i32..6, 1_i32..6), 1..9)
    ) {
        let mut b = bench(field.len());
        for (i, (throughput, hit)) in field.iter().enumerate() {
            let load = load_result(f64::from(*throughput), Some(0.1), Verdict::Valid);
            b.measure(i, load, kv_result(f64::from(*hit), Some(0.1)), Some(GateOutcome::Pass));
        }
        let costs: Vec<Vec<f64>> = field.iter().map(|(t, h)| vec![-f64::from(*t), f64::from(*h)]).collect();
        let expected: Vec<String> = pareto_front(&costs).iter().map(|on| u8::from(*on).to_string()).collect();
        let found = texts(&b, "SELECT cast(on_front AS TEXT) FROM pareto ORDER BY trial_id");
        assert_eq!(found, expected);
        assert_eq!(number(&b, "SELECT count(DISTINCT x_objective || y_objective) FROM pareto"), 1, "each pair once");
    }
}

#[test]
fn the_comparison_sets_every_figure_beside_the_baselines() {
    let mut b = bench(2);
    b.measure(0, load_result(100.0, Some(2.0), Verdict::Valid), kv_result(50.0, Some(1.0)), None);
    b.measure(1, load_result(150.0, Some(2.0), Verdict::Valid), kv_result(50.5, Some(1.0)), None);
    let said = texts(
        &b,
        "SELECT config || ' ' || metric || ' ' || difference || ' ' || change_percent || ' ' || intervals_apart FROM comparison ORDER BY metric",
    );
    assert_eq!(said, ["c1 kv_cache.ttft_hit_ms.p50 0.5 1.0 0", "c1 load.output_tokens_per_s 50.0 50.0 1"]);
}

#[test]
fn the_figures_of_one_trial_are_those_that_it_has_among_all() {
    let mut b = bench(3);
    for trial in [0, 1] {
        let attempt = b.begin(trial);
        b.store.set_attempt_ready(attempt, 40.0 + trial as f64).unwrap();
        let result = load_result(100.0 + trial as f64, Some(2.0), Verdict::Valid);
        b.store.save_scenario(attempt, &Bench::key(trial, "load"), &result).unwrap();
        b.store.finish_attempt(attempt, &end(Outcome::Measured)).unwrap();
    }
    let all = b.store.trial_figures(b.sweep, None, None).unwrap();
    assert_eq!(all[&b.trials[0].0].len(), 2, "the time until it answers is derived");
    for trial in &b.trials[..2] {
        assert_eq!(b.store.figures_over_starts(*trial).unwrap(), all[&trial.0]);
    }
    assert_eq!(b.store.figures_over_starts(b.trials[2]).unwrap(), [], "nothing was measured");
}

#[test]
fn the_engine_of_the_newest_measured_attempt_speaks_for_a_trial() {
    let mut b = bench(2);
    let says = |value: &str| {
        let fact = |value: &str| Fact { value: value.to_owned(), source: FactSource::Log };
        let facts = [("max-num-seqs".to_owned(), fact(value)), ("block-size".to_owned(), fact("16"))];
        ResolvedConfig { facts: facts.into(), ..ResolvedConfig::default() }
    };
    for (trial, value, outcome) in [
        (0, "32", Outcome::Measured),
        (0, "64", Outcome::Failed(oom())),
        (1, "8", Outcome::Failed(oom())),
        (1, "4", Outcome::Interrupted),
    ] {
        let attempt = b.begin(trial);
        b.store.save_resolved(attempt, &says(value), &[]).unwrap();
        b.store.finish_attempt(attempt, &end(outcome)).unwrap();
    }
    let names = ["max-num-seqs".to_owned(), "kv-cache-dtype".to_owned()].into();
    let facts = b.store.facts_of_trials(b.sweep, &names).unwrap();
    let of = |trial: usize| facts[&b.trials[trial].0].facts.iter().map(|(name, f)| format!("{name} {}", f.value));
    assert_eq!(of(0).collect::<Vec<_>>(), ["max-num-seqs 32"]);
    assert_eq!(of(1).collect::<Vec<_>>(), ["max-num-seqs 4"]);
}

#[test]
fn the_timeline_has_every_attempt_with_what_lay_before_it() {
    let mut b = bench(2);
    b.measure(0, load_result(100.0, None, Verdict::Valid), kv_result(50.0, None), None);
    let attempt = b.begin(1);
    b.store.finish_attempt(attempt, &end(Outcome::Failed(oom()))).unwrap();
    b.begin(1);
    let said = texts(
        &b,
        "SELECT config || ' ' || attempt || ' ' || state || ' ' || coalesce(cause, '-') || ' ' || (offset_s >= 0) || ' '
           || coalesce(idle_before_s >= 0, 'first') FROM timeline ORDER BY attempt_id",
    );
    assert_eq!(said, ["c0 1 measured - 1 first", "c1 1 failed gpu_oom 1 1", "c1 2 running - 1 1"]);
}

#[test]
fn the_attempt_that_found_a_twin_is_called_one_and_another_that_was_cut_short_is_not() {
    let mut b = bench(2);
    for trial in [0, 1] {
        let attempt = b.begin(trial);
        b.store.finish_attempt(attempt, &end(Outcome::Interrupted)).unwrap();
    }
    b.store.skip_trial(b.trials[1], crate::domain::SkipReason::Twin, "resolves like c0").unwrap();
    let said =
        texts(&b, "SELECT config || ' ' || state || ' ' || coalesce(detail, '-') FROM timeline ORDER BY attempt_id");
    assert_eq!(said, ["c0 interrupted -", "c1 twin resolves like c0"]);
    let found = |trial: usize| {
        let report = b.store.show(b.trials[trial]).unwrap();
        report.found_a_twin(&report.attempt_reports[0])
    };
    assert_eq!((found(0), found(1)), (false, true));
}

#[test]
fn every_raw_request_is_told_with_its_config_and_scenario() {
    let mut b = bench(2);
    b.measure(1, load_result(100.0, None, Verdict::Valid), kv_result(50.0, None), None);
    let all = number(&b, "SELECT count(*) FROM request");
    assert!(all > 0 && number(&b, "SELECT count(*) FROM requests") == all);
    let said = texts(&b, "SELECT DISTINCT config || ' ' || purpose || ' ' || start_number FROM requests");
    assert_eq!(said, ["c1 trial 1"]);
    let lacks = texts(
        &b,
        "SELECT name FROM pragma_table_xinfo('request') EXCEPT SELECT name FROM pragma_table_xinfo('requests')",
    );
    assert_eq!(lacks, [""; 0], "the view has every column of the table");
}

#[test]
fn effects_are_stored_with_what_they_mean_and_replaced_by_the_next_run() {
    let mut b = bench(1);
    let effect = |difference: f64, real| Effect {
        change: Change { axis: "seqs".into(), from: "16".into(), to: "32".into() },
        pairs: 3,
        shift: Shift {
            difference,
            ci_low: Some(difference - 1.0),
            ci_high: Some(difference + 1.0),
            percent: None,
            real,
        },
        smallest: difference - 5.0,
        largest: difference + 5.0,
    };
    let all = |direction, difference, real| {
        vec![ObjectiveEffects {
            objective: objective("o", direction, "load.tpot_ms.p50"),
            unit: "ms".into(),
            effects: vec![effect(difference, real)],
            interactions: Vec::new(),
        }]
    };
    let said = "SELECT kind || ' ' || setting || ' ' || from_value || ' ' || to_value || ' ' || difference || ' ' || verdict FROM effects";
    for (direction, difference, real, verdict) in [
        (Direction::Minimize, -4.0, true, "better"),
        (Direction::Minimize, 4.0, true, "worse"),
        (Direction::Maximize, 4.0, true, "better"),
        (Direction::Maximize, -4.0, false, "noise"),
    ] {
        b.store.save_effects(b.sweep, &all(direction, difference, real)).unwrap();
        assert_eq!(texts(&b, said), [format!("effect seqs 16 32 {difference:.1} {verdict}")]);
    }
    b.store.save_effects(b.sweep, &[]).unwrap();
    assert!(texts(&b, said).is_empty());
}

/// The questions that are asked of each view.
const QUESTIONS: &[(&str, &str)] = &[
    ("trials", "sweep_id = 1"),
    ("sweeps", "sweep_id = 1"),
    ("failures", "sweep_id = 1"),
    ("ranking", "sweep_id = 1"),
    ("champions", "sweep_id = 1"),
    ("pareto", "sweep_id = 1"),
    ("effects", "sweep_id = 1"),
    ("timeline", "sweep_id = 1"),
    ("controls", "sweep_id = 1"),
    ("comparison", "sweep_id = 1 AND metric = 'load.tpot_ms.p50'"),
    ("metrics", "sweep_id = 1 AND path = 'load.tpot_ms.p50'"),
    ("results", "trial_id = 71"),
    ("requests", "trial_id = 71"),
    ("telemetry", "trial_id = 71"),
    ("paired_quality", "sweep_id = 1"),
    ("foreign_results", "table_id = 1"),
];

/// A kept sweep of 10,000 configs.
fn ten_thousand() -> Bench {
    let mut b = bench(0);
    b.store.conn.execute_batch("DELETE FROM sweep_run; DELETE FROM sweep;").unwrap();
    b.store.conn.execute_batch(include_str!("../../benches/ten_thousand_trials.sql")).unwrap();
    b.store.keep_ranking(SweepId(1)).unwrap();
    b
}

#[test]
fn no_view_reads_the_large_tables_from_end_to_end() {
    let b = ten_thousand();
    let roots = texts(
        &b,
        "SELECT cast(rootpage AS TEXT) FROM sqlite_schema WHERE rootpage > 0 AND tbl_name IN
           ('request', 'telemetry_sample', 'engine_counter', 'event', 'metric', 'trial_figure', 'case_outcome')",
    );
    assert!(roots.len() >= 7);
    let scans = |sql: &str| {
        // The program that SQLite runs: a cursor is opened on a root page, and a scan begins by winding it to an end.
        let mut statement = b.store.conn.prepare(&format!("EXPLAIN {sql}")).unwrap();
        let steps: Vec<(String, i64, i64)> = statement
            .query_map([], |r| Ok((r.get("opcode")?, r.get("p1")?, r.get("p2")?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let opened = |cursor: i64| {
            steps.iter().any(|(op, p1, p2)| op == "OpenRead" && *p1 == cursor && roots.contains(&p2.to_string()))
        };
        steps.iter().filter(|(op, p1, _)| (op == "Rewind" || op == "Last") && opened(*p1)).count()
    };
    assert_eq!(scans("SELECT * FROM metric"), 1, "a scan is seen");
    for (view, condition) in QUESTIONS {
        assert_eq!(scans(&format!("SELECT * FROM {view} WHERE {condition}")), 0, "{view}");
    }
}

#[test]
fn the_baseline_of_each_result_is_found_without_a_look_at_all_trials() {
    let b = ten_thousand();
    let mut plan = b.store.conn.prepare("EXPLAIN QUERY PLAN SELECT * FROM paired_quality WHERE sweep_id = 1").unwrap();
    let steps: Vec<String> = plan.query_map([], |row| row.get("detail")).unwrap().collect::<Result<_, _>>().unwrap();
    assert!(steps.iter().any(|step| step.contains("trial_baseline")), "{steps:#?}");
}

#[test]
fn every_view_that_is_not_of_single_trials_has_its_question() {
    let b = bench(0);
    let views =
        texts(&b, "SELECT name FROM sqlite_schema WHERE type = 'view' AND name <> 'ranking_live' ORDER BY name");
    let mut asked: Vec<&str> = QUESTIONS.iter().map(|(view, _)| *view).collect();
    asked.sort_unstable();
    assert_eq!(views, asked);
}

/// `cargo test --release --lib -- --ignored --nocapture every_view_on_ten_thousand_trials` prints what docs/schema.md states.
#[test]
#[ignore = "a measurement: its figures depend on the machine"]
#[allow(clippy::print_stdout)] // the figures are what it is for
fn every_view_on_ten_thousand_trials() {
    let b = ten_thousand();
    for (view, condition) in QUESTIONS {
        let sql = format!("SELECT * FROM {view} WHERE {condition}");
        let mut best = f64::INFINITY;
        let mut rows = 0;
        for _ in 0..5 {
            let began = Instant::now();
            let mut statement = b.store.conn.prepare(&sql).unwrap();
            let mut cursor = statement.query([]).unwrap();
            rows = 0;
            while cursor.next().unwrap().is_some() {
                rows += 1;
            }
            best = best.min(began.elapsed().as_secs_f64() * 1_000.0);
        }
        println!("{view:<16} {rows:>6} rows {best:>7.1} ms");
    }
}

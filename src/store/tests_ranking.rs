//! The views `ranking` and `champions` say what `rank` says.

use super::*;
use crate::domain::Purpose;

#[test]
fn the_ranking_view_says_what_the_rust_ranking_says() {
    let mut b = bench(8);
    let pass = Some(GateOutcome::Pass);
    b.measure(0, load_result(100.0, Some(2.0), Verdict::Valid), kv_result(50.0, Some(1.0)), pass);
    b.assert_view_agrees();
    b.measure(1, load_result(150.0, Some(2.0), Verdict::Valid), kv_result(49.0, Some(2.0)), pass);
    b.measure(2, load_result(151.0, Some(2.0), Verdict::Suspect), kv_result(20.0, None), pass);
    b.measure(3, load_result(500.0, Some(2.0), Verdict::Invalid), kv_result(60.0, Some(1.0)), pass);
    b.measure(4, load_result(400.0, Some(2.0), Verdict::Valid), kv_result(61.0, Some(1.0)), Some(GateOutcome::Fail));
    b.measure(
        5,
        load_result(300.0, Some(2.0), Verdict::Valid),
        kv_result(62.0, Some(1.0)),
        Some(GateOutcome::NotMeasured),
    );
    b.measure(6, load_result(300.0, Some(2.0), Verdict::Valid), kv_result(63.0, Some(1.0)), None);
    b.assert_view_agrees();
    let champions: Vec<(String, String, String, Option<String>)> = b
        .store
        .conn
        .prepare("SELECT objective, config, standing, tied_with FROM champions ORDER BY objective_position")
        .unwrap()
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(champions[0], ("throughput".into(), "c2".into(), "tied".into(), Some("c1".into())));
    assert_eq!((champions[1].1.as_str(), champions[1].2.as_str()), ("c2", "tied"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_measured_the_view_and_rust_agree(
        field in proptest::collection::vec(
            (0_i32..30, proptest::option::of(0_i32..6), 0_usize..3, proptest::option::of(0_usize..3), 0_u64..60), 1..9)
    ) {
        let mut b = bench(field.len());
        for (i, (value, half, verdict, gate, n)) in field.into_iter().enumerate() {
            let mut load = load_result(f64::from(value), half.map(f64::from), Verdict::ALL[verdict]);
            load.metrics[0].n = n;
            let gate = gate.map(|g| GateOutcome::ALL[g]).or(Some(GateOutcome::Pass));
            b.measure(i, load, kv_result(f64::from(value / 3), half.map(|h| f64::from(h) / 4.0)), gate);
        }
        b.assert_view_agrees();
        b.store.keep_ranking(b.sweep).unwrap();
        b.assert_view_agrees();
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]

    #[test]
    fn over_several_starts_and_a_night_that_drifts_the_view_and_rust_agree(
        field in proptest::collection::vec(
            (90_i32..110, proptest::option::of(0_i32..6), 0_usize..3, 0_u64..60, 1_u32..4), 1..6),
        drift in 0_i32..40
    ) {
        let mut b = bench(field.len());
        let mut minute = 0;
        let gates = [GateResult { gate: GATE.into(), outcome: GateOutcome::Pass }];
        for round in 1..=3_u32 {
            for (i, (value, half, verdict, n, starts)) in field.iter().enumerate() {
                if *starts < round {
                    continue;
                }
                minute += 1;
                let value = f64::from(*value + drift * minute / 3 + (i as i32 * 7 + minute) % 3);
                let mut load = load_result(value, half.map(f64::from), Verdict::ALL[*verdict]);
                load.metrics[0].n = *n;
                let kv = kv_result(1_000.0 / value, half.map(|h| f64::from(h) / 4.0));
                let purpose = match round {
                    1 => Purpose::Trial,
                    2 if i == 0 => Purpose::Control,
                    2 => Purpose::Repeat,
                    _ => Purpose::Finalist,
                };
                let number = if round == 1 { 1 } else { round - 1 };
                let at = format!("2026-11-24T03:{minute:02}:00.000Z");
                b.measure_start(i, Start { purpose, number }, &at, load, kv);
                b.store.save_gate_results(b.trials[i], &gates).unwrap();
            }
            b.assert_view_agrees();
        }
        let before = b.store.ranking_rows(b.sweep).unwrap();
        b.store.conn.execute_batch("DELETE FROM trial_figure; DELETE FROM start_noise").unwrap();
        crate::store::figures::rebuild(&b.store.conn).unwrap();
        proptest::prop_assert_eq!(before, b.store.ranking_rows(b.sweep).unwrap(), "rebuilt from the facts");
    }
}

#[test]
fn a_suite_with_two_load_scenarios_keeps_the_figures_of_both_and_of_a_common_path_the_newest() {
    let mut b = bench(1);
    let mut first = load_result(100.0, None, Verdict::Valid);
    first.metrics.push(metric("load.c1.ttft_ms.p50", 5.0, None, 9));
    let attempt = b.begin(0);
    b.store.save_scenario(attempt, &Bench::key(0, "load c1"), &first).unwrap();
    b.store.save_scenario(attempt, &Bench::key(0, "load c8"), &load_result(300.0, None, Verdict::Valid)).unwrap();
    b.store.finish_attempt(attempt, &end(Outcome::Measured)).unwrap();
    b.store.save_gate_results(b.trials[0], &[GateResult { gate: GATE.into(), outcome: GateOutcome::Pass }]).unwrap();
    let figures = b.store.figures(b.trials[0]).unwrap();
    let found: Vec<(String, f64)> = figures.iter().map(|f| (f.metric.path.to_string(), f.metric.value)).collect();
    assert_eq!(found, [("load.c1.ttft_ms.p50".into(), 5.0), ("load.output_tokens_per_s".into(), 300.0)]);
    assert_eq!(b.store.ranking_rows(b.sweep).unwrap()[0].value, 300.0);
    b.assert_view_agrees();
}

#[test]
fn a_file_of_version_13_gets_what_is_derived_anew_and_keeps_its_ranking() {
    let mut b = bench(2);
    for (i, start, minute) in
        [(0, Start::FIRST, 1), (1, Start::FIRST, 2), (0, Start { purpose: Purpose::Control, number: 1 }, 3)]
    {
        let at = format!("2026-11-24T03:{minute:02}:00.000Z");
        let value = 100.0 + f64::from(minute);
        b.measure_start(
            i,
            start,
            &at,
            load_result(value, Some(2.0), Verdict::Valid),
            kv_result(value / 2.0, Some(1.0)),
        );
        b.store
            .save_gate_results(b.trials[i], &[GateResult { gate: GATE.into(), outcome: GateOutcome::Pass }])
            .unwrap();
    }
    b.store.keep_ranking(b.sweep).unwrap();
    let derived = |conn: &rusqlite::Connection| -> (f64, i64) {
        conn.query_row(
            "SELECT max(within_variance_absolute), (SELECT count(*) FROM ranked_sweep) FROM start_noise",
            [],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )
        .unwrap()
    };
    let (before, rows) = (derived(&b.store.conn), b.store.ranking_rows(b.sweep).unwrap());
    assert!(before.0 > 0.0 && before.1 == 1, "{before:?}");
    b.store
        .conn
        .execute_batch(
            "DROP VIEW ranking_live; CREATE VIEW ranking_live AS SELECT * FROM ranked;
             ALTER TABLE start_noise DROP COLUMN within_variance_absolute; PRAGMA user_version = 13;",
        )
        .unwrap();
    let (path, sweep) = (b.path.clone(), b.sweep);
    let _folder = b.close();
    let store = Store::open(&path).unwrap();
    assert_eq!(derived(&store.conn), before);
    assert_eq!(store.ranking_rows(sweep).unwrap(), rows);
}

#[test]
fn when_no_config_meets_the_gates_the_champions_view_is_empty() {
    let mut b = bench(2);
    for i in 0..2 {
        b.measure(i, load_result(100.0, None, Verdict::Valid), kv_result(5.0, None), Some(GateOutcome::Fail));
    }
    let champions: i64 = b.store.conn.query_row("SELECT count(*) FROM champions", [], |r| r.get(0)).unwrap();
    assert_eq!(champions, 0);
    b.assert_view_agrees();
}

//! The figures of a level, to the last digit: of stamps that are written here, with values that are worked out by hand.

use super::super::super::window::tests::reply;
use super::*;
use crate::domain::{RequestEnd, ScenarioKind};

#[test]
fn a_request_meets_its_slos_or_misses_when_a_figure_is_unknown() {
    let spec = LoadSpec { slo_ttft_ms: Some(10.0), slo_tpot_ms: Some(5.0), ..LoadSpec::default() };
    let mut good = reply(true, 0.0, &[8.0, 12.0], 13.0).record;
    assert!(meets(&spec, &good));
    good.intended_ms = -3.0;
    assert!(!meets(&spec, &good), "it waited at the client");
    good.intended_ms = 0.0;
    good.completion_tokens = None;
    assert!(!meets(&spec, &good));
    assert!(!meets(&spec, &reply(true, 0.0, &[12.0, 16.0], 17.0).record));
    assert!(meets(&LoadSpec::default(), &good));
}

/// A request that was intended so many ms before it was sent.
fn request(measured: bool, (queue, sent): (f64, f64), chunks: &[f64], end: f64) -> Reply {
    let mut reply = reply(measured, sent, chunks, end);
    reply.record.intended_ms = sent - queue;
    reply
}

/// Two users, each of whom sends a ramp request and two measured ones.
fn users() -> Vec<Vec<Reply>> {
    vec![
        vec![
            request(false, (0.0, 0.0), &[10.0], 20.0),
            request(true, (1.0, 21.0), &[31.0, 41.0, 51.0], 61.0),
            request(true, (2.0, 63.0), &[73.0, 83.0, 93.0], 101.0),
        ],
        vec![
            request(false, (0.0, 0.0), &[15.0], 30.0),
            request(true, (0.5, 30.5), &[50.5, 60.5, 70.5], 80.5),
            request(true, (0.5, 81.0), &[91.0, 101.0, 111.0], 121.0),
        ],
    ]
}

fn figures(shape: Shape, users: Vec<Vec<Reply>>, spec: &LoadSpec) -> Figures {
    let stage = Stage { point: "x1".to_owned(), shape, prompt_tokens: 10 };
    let mut figures = Figures::new(ScenarioKind::Load, 1);
    Level { stage, users, client: SelfReport::default() }.summarise(&mut figures, spec);
    figures
}

/// Each figure is this, to a billionth; `None`: it is absent.
fn assert_figures(figures: &Figures, expected: &[(&str, Option<f64>)]) {
    for (name, value) in expected {
        let path = format!("load.x1.{name}");
        let found = figures.metrics.iter().find(|m| m.path.to_string() == path).map(|m| m.value);
        let is_it = match (found, value) {
            (Some(found), Some(value)) => (found - value).abs() < 1e-9 * value.abs().max(1.0),
            (found, value) => found == *value,
        };
        assert!(is_it, "{name}: {found:?} and not {value:?}");
    }
}

#[test]
fn every_figure_of_a_closed_level_is_its_formula() {
    let spec = LoadSpec { slo_ttft_ms: Some(11.0), ..LoadSpec::default() };
    let found = figures(Shape::Users(2), users(), &spec);
    // from 30.5, when the second user sent its first measured request, to 101, when the first user was done
    let seconds = 0.070_5;
    let shares = 30.5 / 40.0 + 1.0 + 1.0 + 20.0 / 40.0;
    let expected = [
        ("ttft_ms.mean", Some((10.0 + 10.0 + 20.0 + 10.0) / 4.0)),
        ("ttft_ms.p50", Some(10.0)),
        ("ttft_ms.max", Some(20.0)),
        ("e2e_ms.mean", Some((40.0 + 38.0 + 50.0 + 40.0) / 4.0)),
        ("tpot_ms.mean", Some(10.0)),
        ("itl_ms.mean", Some(10.0)),
        ("queue_ms.mean", Some(1.0)),
        ("queue_ms.min", Some(0.5)),
        ("queue_ms.max", Some(2.0)),
        ("ttft_from_intended_ms.mean", Some((11.0 + 12.0 + 20.5 + 10.5) / 4.0)),
        ("e2e_from_intended_ms.mean", Some((41.0 + 40.0 + 50.5 + 40.5) / 4.0)),
        ("output_tokens_per_s", Some((3.0 + 3.0 + 3.0 + 2.0) / seconds)),
        ("whole_run_output_tokens_per_s", Some(14.0 / 0.121)),
        ("input_tokens_per_s", Some(10.0 * shares / seconds)),
        ("requests_per_s", Some(shares / seconds)),
        ("achieved_concurrency", Some((30.5 + 38.0 + 50.0 + 20.0) / 70.5)),
        // of 11 ms from the intended moment, one is met exactly
        ("goodput_requests_per_s", Some((30.5 / 40.0 + 20.0 / 40.0) / seconds)),
        ("tokens_per_chunk", Some(1.0)),
        ("offered_requests_per_s", None),
        ("latency_growth_ratio", None),
        ("client_cpu_ratio", None),
        ("ttft_ms.p90", None),
    ];
    assert_figures(&found, &expected);
}

#[test]
fn goodput_needs_both_limits_and_a_pace_that_is_known() {
    let seconds = 0.070_5;
    let of = |slo_ttft_ms, slo_tpot_ms, users| {
        figures(Shape::Users(2), users, &LoadSpec { slo_ttft_ms, slo_tpot_ms, ..LoadSpec::default() })
    };
    let mut uneven = users();
    uneven[0][1].record.last_token_ms = Some(53.0); // TPOT 11 ms
    let shares = 1.0 + 1.0 + 20.0 / 40.0;
    assert_figures(&of(None, Some(10.0), uneven.clone()), &[("goodput_requests_per_s", Some(shares / seconds))]);
    assert_figures(&of(Some(11.0), Some(10.0), uneven), &[("goodput_requests_per_s", Some(0.5 / seconds))]);
    assert_figures(&of(None, Some(9.0), users()), &[("goodput_requests_per_s", Some(0.0))]);
    assert_figures(&of(None, None, users()), &[("goodput_requests_per_s", None)]);
    let mut unknown = users();
    unknown[0][2].record.completion_tokens = None;
    let shares = 30.5 / 40.0 + 1.0 + 20.0 / 40.0;
    assert_figures(&of(None, Some(10.0), unknown), &[("goodput_requests_per_s", Some(shares / seconds))]);
}

#[test]
fn a_failed_request_gives_no_sample_and_is_in_flight_all_the_same() {
    let mut users = users();
    users[1][1].record.end = RequestEnd::StreamCut;
    let found = figures(Shape::Users(2), users, &LoadSpec::default());
    let mean = found.metrics.iter().find(|m| m.path.to_string() == "load.x1.ttft_ms.mean").unwrap();
    assert_eq!((mean.value, mean.n, mean.failed_n), (10.0, 3, 1));
    let expected = [
        ("output_tokens_per_s", Some((3.0 + 3.0 + 2.0) / 0.070_5)),
        ("requests_per_s", Some((30.5 / 40.0 + 1.0 + 0.5) / 0.070_5)),
        ("achieved_concurrency", Some((30.5 + 38.0 + 50.0 + 20.0) / 70.5)),
    ];
    assert_figures(&found, &expected);
}

/// Ten requests, one every 100 ms, each sent 2 ms late and answered 48 ms later; each takes `longer` more than the one before it.
fn arrivals(longer: f64) -> Vec<Vec<Reply>> {
    let of = |i: u32| {
        let (at, more) = (f64::from(i) * 100.0, f64::from(i) * longer);
        vec![request(i > 0, (2.0, at + 2.0), &[at + 30.0 + more, at + 40.0 + more], at + 50.0 + more)]
    };
    (0..10).map(of).collect()
}

#[test]
fn every_figure_of_an_open_level_is_its_formula() {
    let found = figures(Shape::Rate(10.0), arrivals(0.0), &LoadSpec::default());
    // from 50, when the ramp request had ended, to 900, when the last one arrived
    let seconds = 0.85;
    let expected = [
        ("offered_requests_per_s", Some(9.0 / seconds)),
        ("requests_per_s", Some(8.0 / seconds)),
        ("input_tokens_per_s", Some(80.0 / seconds)),
        ("output_tokens_per_s", Some(16.0 / seconds)),
        ("achieved_concurrency", Some(8.0 * 48.0 / 850.0)),
        ("backlog_growth", Some(1.0)),
        ("latency_growth_ratio", Some(0.0)),
        ("queue_ms.max", Some(2.0)),
        ("ttft_ms.mean", Some(28.0)),
        ("ttft_from_intended_ms.mean", Some(30.0)),
        ("e2e_from_intended_ms.mean", Some(50.0)),
        ("whole_run_output_tokens_per_s", Some(20.0 / 0.948)),
    ];
    assert_figures(&found, &expected);
    let growing = figures(Shape::Rate(10.0), arrivals(25.0), &LoadSpec::default());
    assert_figures(&growing, &[("latency_growth_ratio", Some(0.25))]);
}

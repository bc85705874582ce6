//! Conversation, stability and long context against the simulated engine's truth.

use crate::domain::{ConversationSpec, LongContextSpec, ScenarioResult, ScenarioSpec, StabilitySpec, Verdict};
use crate::stats;

use super::truth::{Off, Request, compare, compare_samples, join, metric};
use super::{Lateness, PUNCTUAL_MS, observed};

/// A figure of a request.
type Figure = fn(&Request) -> f64;

/// What drifts, and the time that it stands on: a rate is as far off as the time between first and last token.
const DRIFTING: [(&str, Figure, Figure); 3] = [
    ("ttft", Request::ttft, Request::ttft),
    ("decode", Request::decode, Request::first_to_last),
    ("e2e", Request::e2e, Request::e2e),
];

/// How far a figure that stands on this time may be off, as a share of it.
fn relative(requests: &[Request], time: Figure, late: Lateness) -> f64 {
    2.0 * late.any_ms / requests.iter().map(time).fold(f64::MAX, f64::min)
}

/// The true figures of the requests at a point.
fn at(requests: &[Request], point: &str, figure: Figure) -> Vec<f64> {
    let of_the_point = |r: &&Request| r.record.point.as_deref() == Some(point);
    requests.iter().filter(of_the_point).map(figure).collect()
}

fn compare_point(result: &ScenarioResult, path: &str, of: &[&Request], late: Lateness) {
    let values = |figure: Figure| -> Vec<f64> { of.iter().map(|r| figure(r)).collect() };
    compare_samples(result, &format!("{path}ttft_ms"), &values(Request::ttft), Off::longer(late));
    compare_samples(result, &format!("{path}e2e_ms"), &values(Request::e2e), Off::longer(late));
    let rates = values(Request::decode);
    let fastest = rates.iter().copied().fold(0.0, f64::max);
    let shortest = values(Request::first_to_last).into_iter().fold(f64::MAX, f64::min);
    let off = Off::either(fastest * late.any_ms / (shortest - late.any_ms).max(1.0));
    compare_samples(result, &format!("{path}decode_tokens_per_s"), &rates, off);
}

async fn run(flags: &str, spec: ScenarioSpec) -> (ScenarioResult, Vec<super::TruthEntry>, Lateness) {
    let (result, truth, late) = observed(flags, &spec, PUNCTUAL_MS).await;
    assert_ne!(result.validity.verdict, Verdict::Invalid, "{:?}", result.validity);
    (result, truth, late)
}

#[tokio::test]
async fn turns_bands_and_drifts_of_a_conversation_are_those_of_the_engine() {
    let (turns, iterations) = (6_u32, 3_u32);
    let spec =
        ConversationSpec { turns, iterations, user_tokens: 120, output_tokens: 12, ..ConversationSpec::default() };
    // no cache: prefill grows with the history
    let flags = "--no-enable-prefix-caching --sim-prefill-tokens-per-s 2500";
    let (result, truth, late) = run(flags, ScenarioSpec::Conversation(spec)).await;
    let mut requests = join(&result, &truth);
    requests.retain(|r| r.record.measured);
    let turn = |r: &Request| -> u32 { r.record.point.as_deref().unwrap()[1..].parse().unwrap() };
    let all: Vec<&Request> = requests.iter().collect();
    compare_point(&result, "conversation.", &all, late);
    for (path, first, last) in [("t1.", 1, 1), ("t6.", 6, 6), ("b3_4.", 3, 4)] {
        let of: Vec<&Request> = requests.iter().filter(|r| (first..=last).contains(&turn(r))).collect();
        compare_point(&result, &format!("conversation.{path}"), &of, late);
    }
    let (tokens, time) = all.iter().fold((0.0, 0.0), |(n, ms), r| (n + r.tokens() - 1.0, ms + r.first_to_last()));
    let rate = tokens / time * 1e3;
    let off = Off::either(rate * all.len() as f64 * late.any_ms / (time - all.len() as f64 * late.any_ms).max(1.0));
    compare("aggregate", metric(&result, "conversation.aggregate_decode_tokens_per_s").value, rate, off);

    // iterations are the series, turns run along them
    let series = |figure: Figure| -> Vec<Vec<(f64, f64)>> {
        requests
            .chunks(turns as usize)
            .map(|one| one.iter().map(|r| (f64::from(turn(r)), figure(r))).collect())
            .collect()
    };
    for (name, figure, time) in DRIFTING {
        let true_drift = stats::drift_across(&series(figure)).unwrap().value;
        let off = relative(&requests, time, late) * 2.0 * f64::from(turns - 1) * (1.0 + true_drift.abs());
        let said = metric(&result, &format!("conversation.{name}_drift_ratio"));
        compare(name, said.value, true_drift, Off::either(off));
        for k in 2..=iterations {
            let pairs: Vec<(f64, f64)> = (0..turns as usize)
                .map(|turn| (figure(&requests[turn]), figure(&requests[(k - 1) as usize * turns as usize + turn])))
                .collect();
            let change = pairs.iter().map(|p| p.1).sum::<f64>() / pairs.iter().map(|p| p.0).sum::<f64>() - 1.0;
            let off = relative(&requests, time, late) * (2.0 + change.abs());
            compare(
                name,
                metric(&result, &format!("conversation.i{k}.{name}_change_ratio")).value,
                change,
                Off::either(off),
            );
        }
    }
    // a prefill of 132 more tokens at 2,500 tokens/s
    let slope = metric(&result, "conversation.ttft_slope_ms_per_turn").value;
    let true_slope = stats::matched_slope(&series(Request::ttft)).unwrap().value;
    compare("slope", slope, true_slope, Off::either(2.0 * late.any_ms));
    assert!(true_slope > 40.0, "the engine slows down by {true_slope:.1} ms per turn");
}

#[tokio::test]
async fn the_cached_share_of_a_conversation_is_what_the_engine_found() {
    let spec =
        ConversationSpec { turns: 4, iterations: 2, user_tokens: 100, output_tokens: 8, ..ConversationSpec::default() };
    let (result, truth, _) = run("", ScenarioSpec::Conversation(spec)).await;
    let mut requests = join(&result, &truth);
    requests.retain(|r| r.record.measured);
    let sum = |of: fn(&Request) -> usize| requests.iter().map(of).sum::<usize>() as f64;
    let share = sum(|r| r.truth.cached_tokens) / sum(|r| r.truth.prompt_tokens);
    assert!((0.2..0.8).contains(&share), "a later turn is found in part: {share}");
    compare("cached", metric(&result, "conversation.cached_tokens_ratio").value, share, Off::either(1e-9));
    compare("success", metric(&result, "conversation.success_ratio").value, 1.0, Off::either(1e-9));
}

#[tokio::test]
async fn cycles_and_their_drift_are_those_of_the_engine() {
    let spec = StabilitySpec { cycles: 5, minutes: None, prompt_tokens: 100, output_tokens: vec![6, 20] };
    let (result, truth, late) = run("", ScenarioSpec::Stability(spec)).await;
    let mut requests = join(&result, &truth);
    requests.retain(|r| r.record.measured);
    for point in ["r1", "r2"] {
        let of: Vec<&Request> = requests.iter().filter(|r| r.record.point.as_deref() == Some(point)).collect();
        assert_eq!(of.len(), 5);
        compare_point(&result, &format!("stability.{point}."), &of, late);
    }
    for (name, figure, time) in DRIFTING {
        let series: Vec<Vec<(f64, f64)>> =
            ["r1", "r2"].map(|point| (1..).map(f64::from).zip(at(&requests, point, figure)).collect()).to_vec();
        let drift = stats::drift_across(&series).unwrap().value;
        let off = relative(&requests, time, late) * 2.0 * 4.0 * (1.0 + drift.abs());
        compare(name, metric(&result, &format!("stability.{name}_drift_ratio")).value, drift, Off::either(off));
        let sum = |cycle: usize| requests[2 * cycle..2 * cycle + 2].iter().map(figure).sum::<f64>();
        let change = sum(4) / sum(0) - 1.0;
        let off = relative(&requests, time, late) * (2.0 + change.abs());
        compare(name, metric(&result, &format!("stability.{name}_change_ratio")).value, change, Off::either(off));
    }
    assert_eq!(metric(&result, "stability.error_ratio").value, 0.0);
}

#[tokio::test]
async fn the_prefill_rate_is_the_prompt_over_the_true_time_to_the_first_token() {
    let spec = LongContextSpec {
        prompt_tokens: Some(vec![1_000, 2_000]),
        repeats: 3,
        output_tokens: 3,
        survival_tokens: 64,
        ..LongContextSpec::default()
    };
    let (result, truth, late) = run("--sim-prefill-tokens-per-s 4000", ScenarioSpec::LongContext(spec)).await;
    let requests = join(&result, &truth);
    for size in [1_000_u32, 2_000] {
        let point = format!("p{size}");
        let of = |role: &str| -> Vec<f64> {
            let wanted = |r: &&Request| r.record.role == role && r.record.point.as_deref() == Some(point.as_str());
            requests.iter().filter(wanted).map(Request::ttft).collect()
        };
        compare_samples(&result, &format!("long_context.{point}.ttft_ms"), &of("long"), Off::longer(late));
        compare_samples(&result, &format!("long_context.{point}.survival_ttft_ms"), &of("survival"), Off::longer(late));
        let rates: Vec<f64> = of("long").iter().map(|ttft| f64::from(size) / ttft * 1e3).collect();
        let fastest = rates.iter().copied().fold(0.0, f64::max);
        // a TTFT that is longer by 2 latenesses is a rate that is lower by that share
        let below = fastest * 2.0 * late.any_ms / of("long").into_iter().fold(f64::MAX, f64::min);
        compare_samples(
            &result,
            &format!("long_context.{point}.prefill_tokens_per_s"),
            &rates,
            Off { below, above: 1e-6 },
        );
    }
    assert_eq!(metric(&result, "long_context.survived_ratio").value, 1.0);
    assert_eq!(metric(&result, "long_context.longest_prompt_tokens").value, 2_000.0);
}

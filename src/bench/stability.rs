//! The stability scenario: cycles of the same short and long requests; does the last cycle serve as the first did?

use std::time::{Duration, Instant};

use crate::domain::{RequestRecord, Role, StabilitySpec, ValidityReason, Verdict};
use crate::stats;

use super::chat::ChatRequest;
use super::context::Activity;
use super::figures::Single;
use super::prompt::Counted;
use super::run::Run;
use super::sender::{Purpose, Stop};
use super::validity;
use super::visits::{self, Along, Figure, Visit};

/// What each request of the cycle is described by. Requests of different lengths have no figure in common.
const DESCRIBED: [(&str, Figure); 3] = [
    ("ttft_ms", RequestRecord::ttft_ms),
    ("decode_tokens_per_s", RequestRecord::decode_tokens_per_s),
    ("e2e_ms", |record| Some(record.e2e_ms())),
];

/// Gauges of the server that must come back to the same level after each cycle, with the metric that their slope is.
const GAUGES: [(&str, &str); 2] = [
    ("vllm:kv_cache_usage_perc", "kv_usage_slope_ratio_per_h"),
    ("process_resident_memory_bytes", "server_memory_slope_bytes_per_h"),
];

const MS_PER_H: f64 = 3_600_000.0;

const PREEMPTIONS: &str = "vllm:num_preemptions_total";

/// What the server held before the first cycle and after each, when nothing ran: one value per gauge.
struct Level {
    at_ms: f64,
    gauges: [Option<f64>; GAUGES.len()],
    preemptions: Option<f64>,
}

pub(super) async fn run(run: &mut Run<'_>, spec: &StabilitySpec) -> Result<(), Stop> {
    if !fits(run, spec).await? {
        return Ok(());
    }
    if spec.minutes.is_none() {
        run.expect_requests(1 + spec.cycles as usize * spec.output_tokens.len());
    }
    run.begin_point(Activity::WarmingUp);
    let warm_up = run.prompt("stability/warmup", spec.prompt_tokens).await?;
    if warm_up.counted == Counted::Estimated {
        validity::of_estimates(&mut run.validity);
    }
    run.warm_up(&warm_up, spec.output_tokens.iter().copied().min().unwrap_or(1), None).await?;

    let (mut visits, mut levels) = (Vec::new(), Vec::new());
    let outcome = cycle(run, spec, &mut visits, &mut levels).await;
    summarise(run, spec, &visits, &levels); // also what came before the server died
    if visits.iter().map(|v| v.round).max().unwrap_or(0) < 2 {
        let sentence = "fewer than two cycles: nothing to compare the first one with";
        run.validity.add(Verdict::Suspect, ValidityReason::TooFewSamples, sentence);
    }
    validity::of_fresh_prompts(&mut run.validity, "all requests", visits.iter().map(|v| &v.record));
    validity::of_failures(&mut run.validity, &run.replies);
    for (thing, output_tokens) in (1_u32..).zip(&spec.output_tokens) {
        let of_one_length = run.replies.iter().filter(|r| r.record.point.as_deref() == Some(&format!("r{thing}")));
        validity::of_tokens_of(&mut run.validity, of_one_length, *output_tokens);
    }
    outcome
}

async fn fits(run: &mut Run<'_>, spec: &StabilitySpec) -> Result<bool, Stop> {
    let longest = spec.output_tokens.iter().copied().max().unwrap_or(0);
    match run.max_model_len().await? {
        Some(limit) if spec.prompt_tokens.saturating_add(longest) > limit => {
            let sentence =
                format!("nothing was sent: {} + {longest} tokens do not fit the engine's {limit}", spec.prompt_tokens);
            run.validity.add(Verdict::Invalid, ValidityReason::SizeLeftOut, sentence);
            Ok(false)
        }
        Some(_) | None => Ok(true),
    }
}

/// Cycle after cycle, until their number and the time are reached.
async fn cycle(
    run: &mut Run<'_>,
    spec: &StabilitySpec,
    visits: &mut Vec<Visit>,
    levels: &mut Vec<Level>,
) -> Result<(), Stop> {
    let until = spec.minutes.map(|minutes| Instant::now() + Duration::from_secs_f64(minutes * 60.0));
    levels.extend(level(run).await?);
    for round in 1.. {
        if round > spec.cycles && until.is_none_or(|until| Instant::now() >= until) {
            break;
        }
        run.begin_point(Activity::Preparing);
        let requests = prepare(run, spec, round).await?;
        run.begin_point(Activity::Measuring);
        let mut intended_ms = None;
        for (thing, request) in (1..).zip(requests) {
            let purpose = Purpose {
                point: Some(format!("r{thing}")),
                role: Role::Cycle,
                user_number: Some(round - 1),
                measured: true,
                intended_ms,
            };
            let (record, goes_on) = run.send_and_tell(&request, &purpose).await;
            intended_ms = Some(record.end_ms);
            visits.push(Visit { thing, round, record });
            goes_on?;
        }
        levels.extend(level(run).await?);
    }
    Ok(())
}

/// What the server holds now, after the last reply; `None` where it shows no metrics.
async fn level(run: &Run<'_>) -> Result<Option<Level>, Stop> {
    let at_ms = run.replies.last().map_or(0.0, |r| r.record.end_ms);
    Ok(run.scrape().await?.map(|scrape| Level {
        at_ms,
        gauges: GAUGES.map(|(gauge, _)| scrape.sum(gauge)),
        preemptions: scrape.sum(PREEMPTIONS),
    }))
}

/// The requests of a cycle: in every cycle the same words behind a nonce of its own.
async fn prepare(run: &Run<'_>, spec: &StabilitySpec, round: u32) -> Result<Vec<ChatRequest>, Stop> {
    let mut requests = Vec::new();
    for (thing, output_tokens) in (1_u32..).zip(&spec.output_tokens) {
        let (words, nonce) = (format!("stability/r{thing}"), format!("stability/k{round}/r{thing}"));
        let prompt = run.or_cancelled(run.prompts.prompt_again(&words, &nonce, spec.prompt_tokens)).await??;
        requests.push(run.timed_request(&prompt, *output_tokens)?);
    }
    Ok(requests)
}

fn summarise(run: &mut Run<'_>, spec: &StabilitySpec, visits: &[Visit], levels: &[Level]) {
    for thing in (1..).take(spec.output_tokens.len()) {
        for (name, figure) in DESCRIBED {
            let (samples, failed_n) = visits::samples(visits.iter().filter(|v| v.thing == thing), figure);
            run.figures.describe(&format!("r{thing}"), name, &samples, failed_n);
        }
    }
    visits::write_drifts(&mut run.figures, visits, Along::Rounds);
    visits::write_changes(&mut run.figures, visits, "k");
    let failed_n = visits.iter().filter(|v| !v.record.end.is_complete()).count();
    let mut single = |name: &str, value: f64, n: usize, interval| {
        run.figures.single(None, name, Single { value, n, failed_n, interval });
    };
    if !visits.is_empty() {
        single("error_ratio", failed_n as f64 / visits.len() as f64, visits.len(), None);
    }
    let preemptions: Vec<f64> = levels.iter().filter_map(|level| level.preemptions).collect();
    if let [before, .., after] = preemptions[..] {
        single("preemptions", after - before, visits.len(), None);
    }
    for (name, n, slope) in slopes(levels) {
        single(name, slope.value, n, Some(slope.interval));
    }
    say_what_is_too_few(run, visits, levels);
}

/// The slope of each gauge with the readings that it stands on.
fn slopes(levels: &[Level]) -> Vec<(&'static str, usize, stats::Slope)> {
    let of = |(at, (_, name)): (usize, &(&str, &'static str))| {
        let points: Vec<(f64, f64)> =
            levels.iter().filter_map(|level| Some((level.at_ms / MS_PER_H, level.gauges[at]?))).collect();
        let n = points.len();
        Some((*name, n, stats::slope_per_h(points)?))
    };
    GAUGES.iter().enumerate().filter_map(of).collect()
}

/// Figures that were left out because what they stand on is too little for them: no doubt about the others.
fn say_what_is_too_few(run: &mut Run<'_>, visits: &[Visit], levels: &[Level]) {
    let spans_h = levels.last().zip(levels.first()).map(|(last, first)| (last.at_ms - first.at_ms) / MS_PER_H);
    if let Some(span_h) = spans_h.filter(|span| *span < stats::MIN_SLOPE_SPAN_H) {
        let sentence = format!(
            "no slope of memory or KV cache per hour: the cycles took {:.0} s, {:.0} min are needed (`minutes` or more `cycles`)",
            span_h * 3_600.0,
            stats::MIN_SLOPE_SPAN_H * 60.0
        );
        run.validity.add(Verdict::Valid, ValidityReason::TooFewSamples, sentence);
    }
    visits::say_too_few_for_drift(&mut run.validity, visits);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_after_each_cycle_is_a_slope_per_hour_from_five_minutes_on() {
        // a cycle a minute, each of which keeps 1 % of the KV cache and 5 MB
        let level = |minute: u32| Level {
            at_ms: f64::from(minute) * 60_000.0,
            gauges: [Some(0.01 * f64::from(minute)), Some(5e6 * f64::from(minute))],
            preemptions: None,
        };
        let levels: Vec<Level> = (0..=6).map(level).collect();
        let found = slopes(&levels);
        assert_eq!(
            found.iter().map(|(name, n, _)| (*name, *n)).collect::<Vec<_>>(),
            [("kv_usage_slope_ratio_per_h", 7), ("server_memory_slope_bytes_per_h", 7)]
        );
        for ((_, _, slope), true_slope) in found.iter().zip([0.6, 3e8]) {
            assert!((slope.value / true_slope - 1.0).abs() < 1e-9, "{slope:?}");
            assert!((slope.interval.low / true_slope - 1.0).abs() < 1e-9, "{slope:?}");
        }
        assert!(slopes(&levels[..5]).is_empty(), "four minutes are too short");
    }
}

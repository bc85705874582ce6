//! The load scenario: a closed loop of users at each concurrency, one level after the other.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::domain::{LoadSpec, RequestRecord, ValidityReason, Verdict};

use super::BenchError;
use super::chat::{ChatRequest, Reply};
use super::context::Activity;
use super::figures::{Samples, Single};
use super::prompt::{Counted, Prompt};
use super::run::{Purpose, Run, Sender, Stop};
use super::selfcheck::{SelfCheck, SelfReport};
use super::validity;
use super::window::{Window, token_gaps_ms};

/// Prompts that are tokenized at once.
const PROMPTS_AT_ONCE: usize = 8;

/// With more requests per user than this, the first of each user is ramp-up.
const NO_RAMP_UP_TO: u32 = 2;

/// Share of the level's concurrency that must be reached.
const MIN_CONCURRENCY_SHARE: f64 = 0.95;

/// Latencies that the highest level repeats as headline.
const HEADLINE_LATENCIES: [&str; 5] = ["ttft_ms", "tpot_ms", "itl_ms", "e2e_ms", "queue_ms"];

/// Rates that the level of the best throughput repeats as headline.
const HEADLINE_RATES: [&str; 4] =
    ["output_tokens_per_s", "input_tokens_per_s", "requests_per_s", "goodput_requests_per_s"];

/// What one level gave.
struct Level {
    concurrency: u32,
    point: String,
    users: Vec<Vec<Reply>>,
    client: SelfReport,
}

pub(super) async fn run(run: &mut Run<'_>, spec: &LoadSpec) -> Result<(), Stop> {
    if !fits(run, spec).await? {
        return Ok(());
    }
    let mut levels = spec.concurrency.clone();
    levels.retain(|users| *users > 0);
    levels.sort_unstable();
    levels.dedup();
    let requests: u64 = levels.iter().map(|users| u64::from(*users) * u64::from(spec.requests_per_user)).sum();
    run.expect_requests(requests as usize + 1);
    warm_up(run, spec).await?;

    let (mut best, mut highest): (Option<(f64, String)>, Option<String>) = (None, None);
    for concurrency in levels {
        let level = measure(run, spec, concurrency).await?;
        summarise(run, spec, &level);
        judge(run, &level);
        if let Some(rate) = run.figures.value(&level.point, "output_tokens_per_s")
            && best.as_ref().is_none_or(|(best, _)| rate > *best)
        {
            best = Some((rate, level.point.clone()));
        }
        if level.users.iter().flatten().any(|r| r.record.measured && r.record.end.is_complete()) {
            highest = Some(level.point.clone());
        }
        run.replies.extend(level.users.into_iter().flatten());
    }
    if let Some((_, point)) = best {
        run.figures.headline(&point, &HEADLINE_RATES);
    }
    if let Some(point) = highest {
        run.figures.headline(&point, &HEADLINE_LATENCIES);
    }
    validity::of_failures(&mut run.validity, &run.replies);
    validity::of_tokens(&mut run.validity, &run.replies, spec.output_tokens);
    Ok(())
}

async fn fits(run: &mut Run<'_>, spec: &LoadSpec) -> Result<bool, Stop> {
    let needed = spec.prompt_tokens.saturating_add(spec.output_tokens);
    match run.max_model_len().await? {
        Some(limit) if needed > limit => {
            let sentence = format!(
                "nothing was sent: {} + {} tokens do not fit the engine's {limit}",
                spec.prompt_tokens, spec.output_tokens
            );
            run.validity.add(Verdict::Invalid, ValidityReason::SizeLeftOut, sentence);
            Ok(false)
        }
        Some(_) | None => Ok(true),
    }
}

/// One request of the same shape, so that the first level does not pay for what a first request costs.
async fn warm_up(run: &mut Run<'_>, spec: &LoadSpec) -> Result<(), Stop> {
    let prompt = run.prompt("load/warmup", spec.prompt_tokens).await?;
    if prompt.counted == Counted::Estimated {
        validity::of_estimates(&mut run.validity);
    }
    run.sender.begin_point(Activity::WarmingUp);
    run.warm_up(&prompt, spec.output_tokens, None).await
}

async fn measure(run: &mut Run<'_>, spec: &LoadSpec, concurrency: u32) -> Result<Level, Stop> {
    run.sender.begin_point(Activity::Preparing);
    let point = format!("c{concurrency}");
    let prepared = prepare(run, spec, concurrency).await?;
    let stop = run.ctx.cancel.child_token();
    let client = SelfCheck::start();
    run.sender.begin_point(Activity::Measuring);
    let mut tasks = JoinSet::new();
    for (number, requests) in prepared.into_iter().enumerate() {
        let user = User {
            sender: Arc::clone(&run.sender),
            point: point.clone(),
            ramp: if spec.requests_per_user > NO_RAMP_UP_TO { 1 } else { 0 },
            stop: stop.clone(),
        };
        tasks.spawn(async move { (number, user.loop_over(requests).await) });
    }
    let mut users = vec![Vec::new(); tasks.len()];
    let mut ended: Option<Stop> = None;
    while let Some(joined) = tasks.join_next().await {
        let (number, (replies, stopped)) =
            joined.map_err(|e| BenchError::Internal(format!("a user of the load scenario died: {e}")))?;
        users[number] = replies;
        // when one user finds the server dead, the others end as cancelled: the first finding counts
        ended = match (ended, stopped) {
            (Some(Stop::Cancelled) | None, Some(found)) => Some(found),
            (ended, _) => ended,
        };
    }
    let client = client.finish().await;
    match ended {
        Some(found) => {
            run.replies.extend(users.into_iter().flatten());
            Err(found)
        }
        None => Ok(Level { concurrency, point, users, client }),
    }
}

/// The bodies of each user, in order of sending.
async fn prepare(run: &mut Run<'_>, spec: &LoadSpec, concurrency: u32) -> Result<Vec<Vec<ChatRequest>>, Stop> {
    let keys = (0..concurrency)
        .flat_map(|user| (0..spec.requests_per_user).map(move |turn| format!("load/c{concurrency}/u{user}/{turn}")));
    let shared: &Run<'_> = run;
    let prompts: Vec<Prompt> = stream::iter(keys)
        .map(|key| async move { shared.prompt(&key, spec.prompt_tokens).await })
        .buffered(PROMPTS_AT_ONCE)
        .try_collect()
        .await?;
    let requests: Result<Vec<ChatRequest>, BenchError> =
        prompts.iter().map(|p| run.timed_request(p, spec.output_tokens)).collect();
    Ok(requests?.chunks(spec.requests_per_user.max(1) as usize).map(<[ChatRequest]>::to_vec).collect())
}

/// One closed-loop user.
struct User {
    sender: Arc<Sender>,
    point: String,
    /// Requests at the start that are not measured.
    ramp: usize,
    /// Cancelled with the context, or when a user found the server dead.
    stop: CancellationToken,
}

impl User {
    /// Sends its requests back to back. A request is intended for the moment when the one before it ended.
    async fn loop_over(self, requests: Vec<ChatRequest>) -> (Vec<Reply>, Option<Stop>) {
        let mut replies: Vec<Reply> = Vec::with_capacity(requests.len());
        for (turn, request) in requests.iter().enumerate() {
            let purpose = Purpose {
                point: Some(self.point.clone()),
                role: if turn < self.ramp { "ramp" } else { "load" },
                measured: turn >= self.ramp,
                intended_ms: replies.last().map(|r| r.record.end_ms),
            };
            let reply = self.sender.send(request, &purpose, &self.stop).await;
            let record = reply.record.clone();
            replies.push(reply);
            if self.stop.is_cancelled() {
                return (replies, Some(Stop::Cancelled));
            }
            if let Err(found) = self.sender.check(&record).await {
                self.stop.cancel();
                return (replies, Some(found));
            }
        }
        (replies, None)
    }
}

fn summarise(run: &mut Run<'_>, spec: &LoadSpec, level: &Level) {
    let measured = || level.users.iter().flatten().filter(|r| r.record.measured);
    let complete: Vec<&Reply> = measured().filter(|r| r.record.end.is_complete()).collect();
    let failed_n = measured().count() - complete.len();
    let of = |figure: fn(&RequestRecord) -> Option<f64>| -> Vec<f64> {
        complete.iter().filter_map(|r| figure(&r.record)).collect()
    };
    let point = level.point.as_str();
    let figures = &mut run.figures;
    figures.describe(point, "ttft_ms", &of(RequestRecord::ttft_ms), failed_n);
    figures.describe(point, "tpot_ms", &of(RequestRecord::tpot_ms), failed_n);
    figures.describe(point, "e2e_ms", &of(|r| Some(r.e2e_ms())), failed_n);
    figures.describe(point, "queue_ms", &of(|r| Some(r.queue_ms())), failed_n);
    let gaps: Vec<f64> = complete.iter().flat_map(|r| token_gaps_ms(r)).collect();
    figures.describe_as(Samples::Dependent, point, "itl_ms", &gaps, failed_n);

    let n = complete.len();
    let mut single = |name: &str, value: Option<f64>, interval| {
        if let Some(value) = value {
            figures.single(Some(point), name, Single { value, n, failed_n, interval });
        }
    };
    single("tokens_per_chunk", tokens_per_chunk(&complete), None);
    single("client_cpu_ratio", level.client.cpu_ratio, None);
    single("client_lag_ms", level.client.lag_p95_ms(), None);
    if n == 0 {
        return; // no rate of nothing: the failures say what happened
    }
    if let Some(whole) = Window::whole(&level.users) {
        let all: Vec<&Reply> = level.users.iter().flatten().filter(|r| r.record.end.is_complete()).collect();
        single("whole_run_output_tokens_per_s", whole.tokens_per_s(&all), None);
    }
    if let Some(steady) = Window::steady(&level.users) {
        let seconds = steady.seconds();
        let interval = steady.throughput_interval(&complete, run.ctx.seed);
        let input: Option<f64> =
            complete.iter().map(|r| Some(steady.share(&r.record) * f64::from(r.record.prompt_tokens?))).sum();
        let shares: f64 = complete.iter().map(|r| steady.share(&r.record)).sum();
        let busy_ms: f64 = measured().map(|r| steady.overlap_ms(&r.record)).sum();
        single("output_tokens_per_s", steady.tokens_per_s(&complete), interval);
        single("input_tokens_per_s", input.map(|tokens| tokens / seconds), None);
        single("requests_per_s", Some(shares / seconds), None);
        single("achieved_concurrency", Some(busy_ms / 1_000.0 / seconds), None);
        if spec.slo_ttft_ms.is_some() || spec.slo_tpot_ms.is_some() {
            let good = complete.iter().filter(|r| meets(spec, &r.record));
            let shares: f64 = good.map(|r| steady.share(&r.record)).sum();
            single("goodput_requests_per_s", Some(shares / seconds), None);
        }
    }
}

/// Whether a complete request meets every SLO; one whose TPOT is not known meets none.
fn meets(spec: &LoadSpec, record: &RequestRecord) -> bool {
    let within = |value: Option<f64>, limit: Option<f64>| limit.is_none_or(|limit| value.is_some_and(|v| v <= limit));
    within(record.ttft_ms(), spec.slo_ttft_ms) && within(record.tpot_ms(), spec.slo_tpot_ms)
}

fn tokens_per_chunk(complete: &[&Reply]) -> Option<f64> {
    let chunks: usize = complete.iter().map(|r| r.record.chunks.len()).sum();
    let tokens: Option<u64> = complete.iter().map(|r| r.record.completion_tokens.map(u64::from)).sum();
    tokens.filter(|_| chunks > 0).map(|tokens| tokens as f64 / chunks as f64)
}

fn judge(run: &mut Run<'_>, level: &Level) {
    let point = &level.point;
    let complete = || level.users.iter().flatten().filter(|r| r.record.measured && r.record.end.is_complete());
    let gaps: Vec<f64> = complete().flat_map(token_gaps_ms).collect();
    for doubt in level.client.doubts(&gaps) {
        run.validity.add(Verdict::Suspect, ValidityReason::ClientSaturated, format!("{point}: {doubt}"));
    }
    let achieved = run.figures.value(point, "achieved_concurrency");
    let wanted = f64::from(level.concurrency);
    match achieved {
        Some(achieved) if achieved >= wanted * MIN_CONCURRENCY_SHARE => {}
        Some(achieved) => {
            let sentence = format!("{point}: {achieved:.1} requests in flight on average, not {wanted}");
            run.validity.add(Verdict::Suspect, ValidityReason::ConcurrencyNotReached, sentence);
        }
        None if complete().next().is_some() => {
            let sentence = format!("{point}: never were all {wanted} users at it at once: no steady window");
            run.validity.add(Verdict::Suspect, ValidityReason::ConcurrencyNotReached, sentence);
        }
        None => {}
    }
    if complete().count() < MIN_REQUESTS {
        let sentence = format!("{point}: {} complete requests, {MIN_REQUESTS} are needed", complete().count());
        run.validity.add(Verdict::Suspect, ValidityReason::TooFewSamples, sentence);
    }
}

/// Complete requests that a median needs.
const MIN_REQUESTS: usize = 3;

#[cfg(test)]
mod tests {
    use super::super::window::tests::reply;
    use super::*;

    #[test]
    fn a_request_meets_its_slos_or_misses_when_a_figure_is_unknown() {
        let spec = LoadSpec { slo_ttft_ms: Some(10.0), slo_tpot_ms: Some(5.0), ..LoadSpec::default() };
        let mut good = reply(true, 0.0, &[8.0, 12.0], 13.0).record;
        assert!(meets(&spec, &good));
        good.completion_tokens = None;
        assert!(!meets(&spec, &good));
        assert!(!meets(&spec, &reply(true, 0.0, &[12.0, 16.0], 17.0).record));
        assert!(meets(&LoadSpec::default(), &good));
    }
}

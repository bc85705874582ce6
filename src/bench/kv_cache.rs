//! The kv-cache scenario: a fresh prefix, then the very same again, proved by the engine's own counters.

use crate::domain::{KvCacheSpec, RequestRecord, Role, ValidityReason, Verdict};
use crate::stats;

use super::chat::ChatRequest;
use super::context::Activity;
use super::figures::Single;
use super::prompt::Counted;
use super::run::Run;
use super::sender::{Purpose, Stop};
use super::validity;
use crate::prometheus::Scrape;

/// vLLM's counters of looked-up and found tokens: the names of V1, then those of its first releases.
const COUNTERS: [(&str, &str); 2] = [
    ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total"),
    ("vllm:gpu_prefix_cache_queries_total", "vllm:gpu_prefix_cache_hits_total"),
];

/// Below this share of cached tokens a "hit" was none, above it a "miss" was none: chat templates share a few tokens.
const HIT_SHARE: f64 = 0.1;

/// Without enough pairs for an interval, a hit that is faster by this factor in every pair is faster beyond noise.
const CLEARLY_FASTER: f64 = 1.2;

/// With an interval, its lower end must lie above this: less is no cache.
const FASTER: f64 = 1.05;

/// The metrics of a point that its size repeats as headline.
const HEADLINE: [&str; 5] =
    ["ttft_miss_ms", "ttft_hit_ms", "acceleration_ratio", "cached_tokens_ratio", "prefix_hit_ratio"];

/// One miss and one hit, complete or not.
#[derive(Debug)]
struct Pair {
    miss: RequestRecord,
    hit: Option<RequestRecord>,
    /// Tokens looked up and found by the engine during the miss and during the hit.
    miss_counters: Option<(f64, f64)>,
    hit_counters: Option<(f64, f64)>,
    counted_tokens: Option<u32>,
}

impl Pair {
    /// TTFT of miss and hit where both are complete.
    fn ttft_ms(&self) -> Option<(f64, f64)> {
        let hit = self.hit.as_ref().filter(|r| r.end.is_complete())?;
        Some((complete_ttft(&self.miss)?, hit.ttft_ms()?))
    }
}

fn complete_ttft(record: &RequestRecord) -> Option<f64> {
    record.ttft_ms().filter(|_| record.end.is_complete())
}

pub(super) async fn run(run: &mut Run<'_>, spec: &KvCacheSpec) -> Result<(), Stop> {
    let sizes = sizes_that_fit(run, spec).await?;
    run.expect_requests(sizes.len() * 2 * (1 + spec.repeats as usize));
    let mut largest_measured = None;
    for size in sizes {
        let point = format!("p{size}");
        let pairs = measure(run, spec, size, &point).await?;
        if summarise(run, &point, &pairs) {
            largest_measured = Some(point.clone());
        }
        judge(run, &point, &pairs);
    }
    if let Some(point) = largest_measured {
        run.figures.headline(&point, &HEADLINE);
    }
    validity::of_failures(&mut run.validity, &run.replies);
    validity::of_tokens(&mut run.validity, &run.replies, spec.output_tokens);
    Ok(())
}

/// The sizes in ascending order, without those that the engine's context cannot hold: they are named in the validity.
async fn sizes_that_fit(run: &mut Run<'_>, spec: &KvCacheSpec) -> Result<Vec<u32>, Stop> {
    let limit = run.max_model_len().await?;
    let mut sizes = spec.prefix_tokens.clone();
    sizes.sort_unstable();
    sizes.dedup();
    let all = sizes.len();
    sizes.retain(|size| limit.is_none_or(|limit| size.saturating_add(spec.output_tokens) <= limit));
    if sizes.len() < all {
        let left_out: Vec<String> =
            spec.prefix_tokens.iter().filter(|s| !sizes.contains(s)).map(u32::to_string).collect();
        let verdict = if sizes.is_empty() { Verdict::Invalid } else { Verdict::Suspect };
        let sentence = format!(
            "prefixes of {} tokens were left out: with {} answer tokens they do not fit the engine's {}",
            left_out.join(", "),
            spec.output_tokens,
            limit.unwrap_or(0)
        );
        run.validity.add(verdict, ValidityReason::SizeLeftOut, sentence);
    }
    Ok(sizes)
}

async fn measure(run: &mut Run<'_>, spec: &KvCacheSpec, size: u32, point: &str) -> Result<Vec<Pair>, Stop> {
    run.begin_point(Activity::Preparing);
    let warm_up = run.prompt(&format!("kv_cache/{size}/warmup"), size).await?;
    let mut prompts = Vec::new();
    for repeat in 0..spec.repeats {
        prompts.push(run.prompt(&format!("kv_cache/{size}/{repeat}"), size).await?);
    }
    if prompts.iter().any(|p| p.counted == Counted::Estimated) {
        validity::of_estimates(&mut run.validity);
    }
    run.begin_point(Activity::WarmingUp);
    for _ in 0..2 {
        run.warm_up(&warm_up, spec.output_tokens, Some(point)).await?;
    }
    let mut prepared: Vec<(ChatRequest, Option<u32>)> = Vec::new();
    for prompt in &prompts {
        let counted = match prompt.counted {
            Counted::Server => Some(prompt.tokens),
            Counted::Estimated => None,
        };
        prepared.push((run.timed_request(prompt, spec.output_tokens)?, counted));
    }
    run.begin_point(Activity::Measuring);
    let mut pairs = Vec::new();
    for (request, counted_tokens) in prepared {
        let at_first = lookups(run).await?;
        let miss = run.send(&request, &purpose(point, Role::Miss)).await?;
        let between = lookups(run).await?;
        // a hit after a failed miss would be a miss
        let hit =
            if miss.end.is_complete() { Some(run.send(&request, &purpose(point, Role::Hit)).await?) } else { None };
        let at_last = lookups(run).await?;
        pairs.push(Pair {
            miss,
            hit,
            miss_counters: difference(at_first, between),
            hit_counters: difference(between, at_last),
            counted_tokens,
        });
    }
    Ok(pairs)
}

fn purpose(point: &str, role: Role) -> Purpose {
    Purpose { point: Some(point.to_owned()), role, user_number: None, measured: true, intended_ms: None }
}

/// Tokens that the engine has looked up and found so far.
async fn lookups(run: &Run<'_>) -> Result<Option<(f64, f64)>, Stop> {
    let found =
        |scrape: Scrape| COUNTERS.iter().find_map(|(queries, hits)| Some((scrape.sum(queries)?, scrape.sum(hits)?)));
    Ok(run.scrape().await?.and_then(found))
}

fn difference(before: Option<(f64, f64)>, after: Option<(f64, f64)>) -> Option<(f64, f64)> {
    let (before, after) = (before?, after?);
    Some((after.0 - before.0, after.1 - before.1))
}

/// Ratio of the medians of misses and hits.
fn acceleration(pairs: &[(f64, f64)]) -> Option<f64> {
    let misses: Vec<f64> = pairs.iter().map(|p| p.0).collect();
    let hits: Vec<f64> = pairs.iter().map(|p| p.1).collect();
    Some(stats::median(&misses)? / stats::median(&hits)?)
}

/// Writes the point's metrics; true when there is any.
fn summarise(run: &mut Run<'_>, point: &str, pairs: &[Pair]) -> bool {
    let misses: Vec<f64> = pairs.iter().filter_map(|p| complete_ttft(&p.miss)).collect();
    let hits: Vec<f64> = pairs.iter().filter_map(|p| complete_ttft(p.hit.as_ref()?)).collect();
    let both: Vec<(f64, f64)> = pairs.iter().filter_map(Pair::ttft_ms).collect();
    let failed = |done: usize| pairs.len() - done;
    let seed = run.figures.seed();
    run.figures.describe(point, "ttft_miss_ms", &misses, failed(misses.len()));
    run.figures.describe(point, "ttft_hit_ms", &hits, failed(hits.len()));
    let mut single = |name: &str, value: Option<f64>, n: usize, interval| {
        if let Some(value) = value {
            run.figures.single(Some(point), name, Single { value, n, failed_n: failed(both.len()), interval });
        }
    };
    if both.len() >= MIN_PAIRS {
        let interval = stats::bootstrap_interval(&both, seed, acceleration);
        single("acceleration_ratio", acceleration(&both), both.len(), interval);
    }
    let (share, n) = cached_share(pairs.iter().filter_map(|p| p.hit.as_ref()));
    single("cached_tokens_ratio", share, n, None);
    let (share, n) = counter_share(pairs.iter().map(|p| p.hit_counters));
    single("prefix_hit_ratio", share, n, None);
    !both.is_empty()
}

/// Pairs that medians need.
const MIN_PAIRS: usize = 3;

/// Cached tokens over prompt tokens, as usage says; with the requests that said it.
fn cached_share<'r>(records: impl Iterator<Item = &'r RequestRecord>) -> (Option<f64>, usize) {
    let said: Vec<(f64, f64)> =
        records.filter_map(|r| Some((f64::from(r.cached_tokens?), f64::from(r.prompt_tokens?)))).collect();
    share(&said)
}

/// Found tokens over looked-up tokens, as the counters say.
fn counter_share(counters: impl Iterator<Item = Option<(f64, f64)>>) -> (Option<f64>, usize) {
    let said: Vec<(f64, f64)> = counters.flatten().map(|(queries, hits)| (hits, queries)).collect();
    share(&said)
}

fn share(parts: &[(f64, f64)]) -> (Option<f64>, usize) {
    let (part, whole) = parts.iter().fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
    ((whole > 0.0).then(|| part / whole), parts.len())
}

/// The cache rules of MEASUREMENT: what is called a hit was one, what is called a miss was none.
fn judge(run: &mut Run<'_>, point: &str, pairs: &[Pair]) {
    let both: Vec<(f64, f64)> = pairs.iter().filter_map(Pair::ttft_ms).collect();
    if both.len() < MIN_PAIRS {
        let sentence = format!("{point}: {} complete pairs, {MIN_PAIRS} are needed", both.len());
        run.validity.add(Verdict::Suspect, ValidityReason::TooFewSamples, sentence);
    }
    let said_and_counted: Vec<(u32, u32)> =
        pairs.iter().filter_map(|p| Some((p.miss.prompt_tokens?, p.counted_tokens?))).collect();
    validity::of_prompts(&mut run.validity, &said_and_counted);

    let of_hits = [
        ("cached_tokens", cached_share(pairs.iter().filter_map(|p| p.hit.as_ref())).0),
        ("the engine's counters", counter_share(pairs.iter().map(|p| p.hit_counters)).0),
    ];
    let of_misses = [
        ("cached_tokens", cached_share(pairs.iter().map(|p| &p.miss)).0),
        ("the engine's counters", counter_share(pairs.iter().map(|p| p.miss_counters)).0),
    ];
    for (who, share) in of_misses {
        if let Some(share) = share.filter(|s| *s > HIT_SHARE) {
            let sentence =
                format!("{point}: {who} say that {:.0} % of fresh prompts came from the cache", share * 100.0);
            run.validity.add(Verdict::Invalid, ValidityReason::MissWasCached, sentence);
        }
    }
    match run.ctx.prefix_caching {
        Some(true) => {
            for (who, share) in of_hits {
                if let Some(share) = share.filter(|s| *s < HIT_SHARE) {
                    let sentence = format!(
                        "{point}: prefix caching is on, and {who} say that {:.0} % of repeated prompts came from it",
                        share * 100.0
                    );
                    run.validity.add(Verdict::Invalid, ValidityReason::CacheDidNotHit, sentence);
                }
            }
        }
        Some(false) => {
            if let Some(sentence) = faster_without_cache(&both, run.figures.seed()) {
                let sentence = format!("{point}: prefix caching is off, and {sentence}");
                run.validity.add(Verdict::Invalid, ValidityReason::HitWithoutCache, sentence);
            }
        }
        None => {}
    }
}

/// Whether repeated prompts were faster beyond noise.
fn faster_without_cache(pairs: &[(f64, f64)], seed: u64) -> Option<String> {
    let ratio = acceleration(pairs)?;
    let is_faster = match stats::bootstrap_interval(pairs, seed, acceleration) {
        Some(interval) => interval.low > FASTER,
        None => pairs.len() >= MIN_PAIRS && ratio > CLEARLY_FASTER && pairs.iter().all(|(miss, hit)| miss > hit),
    };
    is_faster.then(|| format!("repeated prompts were {ratio:.2} times faster"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_acceleration_is_the_ratio_of_medians() {
        assert_eq!(acceleration(&[(100.0, 10.0), (200.0, 20.0), (900.0, 30.0)]), Some(10.0));
        assert_eq!(acceleration(&[]), None);
    }

    #[test]
    fn noise_is_not_called_faster_and_a_clear_gain_is() {
        let noise: Vec<(f64, f64)> =
            (0..8).map(|i| (100.0 + f64::from(i % 3), 100.0 + f64::from((i + 1) % 3))).collect();
        assert_eq!(faster_without_cache(&noise, 1), None);
        let gain: Vec<(f64, f64)> = noise.iter().map(|(miss, hit)| (*miss, hit / 3.0)).collect();
        assert!(faster_without_cache(&gain, 1).is_some());
        assert!(faster_without_cache(&gain[..3], 1).is_some());
        assert_eq!(faster_without_cache(&gain[..2], 1), None);
    }

    #[test]
    fn a_share_of_nothing_is_unknown() {
        assert_eq!(share(&[]), (None, 0));
        assert_eq!(share(&[(0.0, 0.0)]), (None, 1));
        assert_eq!(share(&[(5.0, 10.0), (10.0, 10.0)]), (Some(0.75), 2));
    }
}

//! The long-context scenario: ever longer prompts, each followed by a small request that shows that the server is still alive.

use crate::domain::{LongContextSpec, RequestRecord, Role, ValidityReason, Verdict};

use super::chat::ChatRequest;
use super::context::Activity;
use super::figures::Single;
use super::prompt::Counted;
use super::run::Run;
use super::sender::{Purpose, Stop};
use super::validity;

/// Tokens that the longest prompt leaves free beside its answer: a prompt may come out a few tokens off.
const ROOM: u32 = 16;

/// The metrics of a point that its size repeats as headline.
const HEADLINE: [&str; 3] = ["ttft_ms", "prefill_tokens_per_s", "survival_ttft_ms"];

/// A long request, and the small one after it.
#[derive(Default)]
struct Size {
    long: Vec<RequestRecord>,
    survivals: Vec<RequestRecord>,
    counts: Vec<(u32, u32)>,
}

pub(super) async fn run(run: &mut Run<'_>, spec: &LongContextSpec) -> Result<(), Stop> {
    let sizes = sizes(run, spec).await?;
    if sizes.is_empty() {
        return Ok(());
    }
    run.expect_requests(1 + 2 * sizes.len() * spec.repeats as usize);
    run.begin_point(Activity::WarmingUp);
    let warm_up = run.prompt("long_context/warmup", spec.survival_tokens).await?;
    if warm_up.counted == Counted::Estimated {
        validity::of_estimates(&mut run.validity);
    }
    run.warm_up(&warm_up, spec.output_tokens, None).await?;

    let (mut sent, mut survived, mut longest) = (0, 0, None);
    let mut outcome = Ok(());
    for size in sizes {
        let mut found = Size::default();
        outcome = measure(run, spec, size, &mut found).await;
        if summarise(run, &format!("p{size}"), &found) {
            longest = Some(size);
        }
        sent += found.long.len();
        survived += found.survivals.iter().filter(|r| r.end.is_complete()).count();
        if outcome.is_err() {
            break;
        }
    }
    headline(run, sent, survived, longest);
    validity::of_failures(&mut run.validity, &run.replies);
    validity::of_tokens(&mut run.validity, &run.replies, spec.output_tokens);
    outcome
}

/// The sizes in ascending order; what does not fit is named in the validity.
async fn sizes(run: &mut Run<'_>, spec: &LongContextSpec) -> Result<Vec<u32>, Stop> {
    let limit = run.max_model_len().await?;
    let longest = limit.map(|limit| limit.saturating_sub(spec.output_tokens));
    let Some(wanted) = &spec.prompt_tokens else {
        return Ok(match longest {
            Some(longest) => doubled(spec.first_tokens, longest.saturating_sub(ROOM)),
            None => {
                let sentence =
                    "nothing was sent: the engine does not say its context length; name sizes with `prompt_tokens`";
                run.validity.add(Verdict::Invalid, ValidityReason::SizeLeftOut, sentence);
                Vec::new()
            }
        });
    };
    let mut sizes = wanted.clone();
    sizes.sort_unstable();
    sizes.dedup();
    let left_out: Vec<String> =
        sizes.iter().filter(|size| longest.is_some_and(|longest| **size > longest)).map(u32::to_string).collect();
    sizes.retain(|size| longest.is_none_or(|longest| *size <= longest));
    if !left_out.is_empty() {
        let verdict = if sizes.is_empty() { Verdict::Invalid } else { Verdict::Suspect };
        let sentence = format!(
            "prompts of {} tokens were left out: with {} answer tokens they do not fit the engine's {}",
            left_out.join(", "),
            spec.output_tokens,
            limit.unwrap_or(0)
        );
        run.validity.add(verdict, ValidityReason::SizeLeftOut, sentence);
    }
    Ok(sizes)
}

/// `first` doubled as long as it is below `longest`, and `longest` itself.
fn doubled(first: u32, longest: u32) -> Vec<u32> {
    let doubling = std::iter::successors(Some(first.max(1)), |size| size.checked_mul(2));
    doubling.take_while(|size| *size < longest).chain((longest > 0).then_some(longest)).collect()
}

async fn measure(run: &mut Run<'_>, spec: &LongContextSpec, size: u32, found: &mut Size) -> Result<(), Stop> {
    let point = format!("p{size}");
    for repeat in 0..spec.repeats {
        run.begin_point(Activity::Preparing);
        let long = run.prompt(&format!("long_context/{size}/{repeat}"), size).await?;
        let small = run.prompt(&format!("long_context/{size}/{repeat}/survival"), spec.survival_tokens).await?;
        let counted = (long.counted == Counted::Server).then_some(long.tokens);
        let (long, small) =
            (run.timed_request(&long, spec.output_tokens)?, run.timed_request(&small, spec.output_tokens)?);
        run.begin_point(Activity::Measuring);
        let (record, goes_on) = send(run, &long, &point, Role::Long).await;
        found.counts.extend(record.prompt_tokens.zip(counted));
        found.long.push(record);
        goes_on?;
        let (record, goes_on) = send(run, &small, &point, Role::Survival).await;
        found.survivals.push(record);
        goes_on?;
    }
    Ok(())
}

async fn send(run: &mut Run<'_>, request: &ChatRequest, point: &str, role: Role) -> (RequestRecord, Result<(), Stop>) {
    let purpose = Purpose { point: Some(point.to_owned()), role, user_number: None, measured: true, intended_ms: None };
    run.send_and_tell(request, &purpose).await
}

/// Prompt tokens over TTFT; nothing is taken off for queueing or for the first token's own step.
fn prefill_tokens_per_s(record: &RequestRecord) -> Option<f64> {
    let ttft_ms = record.ttft_ms().filter(|ms| *ms > 0.0)?;
    Some(f64::from(record.prompt_tokens?) / ttft_ms * 1_000.0)
}

/// Writes the point's metrics; true when a long request was answered.
fn summarise(run: &mut Run<'_>, point: &str, found: &Size) -> bool {
    let of = |records: &[RequestRecord], figure: fn(&RequestRecord) -> Option<f64>| -> Vec<f64> {
        records.iter().filter(|r| r.end.is_complete()).filter_map(figure).collect()
    };
    let failed = |records: &[RequestRecord]| records.iter().filter(|r| !r.end.is_complete()).count();
    let ttft = of(&found.long, RequestRecord::ttft_ms);
    let failed_n = failed(&found.long);
    run.figures.describe(point, "ttft_ms", &ttft, failed_n);
    run.figures.describe(point, "prefill_tokens_per_s", &of(&found.long, prefill_tokens_per_s), failed_n);
    let survivals = of(&found.survivals, RequestRecord::ttft_ms);
    run.figures.describe(point, "survival_ttft_ms", &survivals, failed(&found.survivals));
    validity::of_prompts(&mut run.validity, &found.counts);
    validity::of_fresh_prompts(&mut run.validity, point, found.long.iter());
    !ttft.is_empty()
}

fn headline(run: &mut Run<'_>, sent: usize, survived: usize, longest: Option<u32>) {
    let failed_n = sent.saturating_sub(survived);
    let mut single = |name: &str, value: f64| {
        run.figures.single(None, name, Single { value, n: sent, failed_n, interval: None });
    };
    if sent > 0 {
        single("survived_ratio", survived as f64 / sent as f64);
    }
    if let Some(longest) = longest {
        single("longest_prompt_tokens", f64::from(longest));
        run.figures.headline(&format!("p{longest}"), &HEADLINE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_double_up_to_the_longest_that_fits() {
        assert_eq!(doubled(16_384, 131_024), [16_384, 32_768, 65_536, 131_024]);
        assert_eq!(doubled(16_384, 16_384), [16_384]);
        assert_eq!(doubled(16_384, 4_000), [4_000]);
        assert!(doubled(16_384, 0).is_empty());
    }
}

//! The fit check: as many requests of nearly full length at once as the engine says it can hold. That it starts is no proof that it fits.

use futures_util::future::join_all;

use crate::domain::{Role, SmokeSpec, ValidityReason, Verdict};

use super::chat::{AnswerLength, ChatParts, ChatRequest, Delivery, Keep};
use super::context::Activity;
use super::figures::Single;
use super::run::Run;
use super::sender::{Purpose, Stop};

/// Even where the engine allows more requests at once, so many fill its memory.
const MOST_AT_ONCE: u64 = 512;

/// Of the context length so much is left free, as a divisor: a prompt's length is hit exactly only where the server counts tokens.
const SPARE: u32 = 50;

/// How many requests of which length: what the KV cache holds of full length at once, no more than may run at once, and at least
/// one. The number alone is 1 where the engine does not say how large its KV cache is.
#[must_use]
fn size(limit: u32, output_tokens: u32, kv_cache_tokens: Option<u64>, max_num_seqs: Option<u64>) -> (u64, u32) {
    let fit = kv_cache_tokens.map_or(1, |tokens| tokens / u64::from(limit.max(1)));
    let at_once = fit.min(max_num_seqs.unwrap_or(MOST_AT_ONCE)).clamp(1, MOST_AT_ONCE);
    (at_once, limit.saturating_sub(output_tokens).saturating_sub(limit / SPARE).max(1))
}

/// Sends them; the first that failed on a server that lives.
pub(super) async fn run(run: &mut Run<'_>, spec: &SmokeSpec, limit: Option<u32>) -> Result<Option<String>, Stop> {
    let Some(limit) = limit else {
        let sentence = "the fit check was left out: the engine does not say its context length";
        run.validity.add(Verdict::Suspect, ValidityReason::SizeLeftOut, sentence);
        return Ok(None);
    };
    let (kv_cache_tokens, max_num_seqs) = (run.ctx.kv_cache_tokens, run.ctx.max_num_seqs);
    if kv_cache_tokens.is_none() {
        let sentence = "the fit check sent one request: the engine does not say how large its KV cache is";
        run.validity.add(Verdict::Suspect, ValidityReason::SizeLeftOut, sentence);
    }
    let (at_once, prompt_tokens) = size(limit, spec.output_tokens, kv_cache_tokens, max_num_seqs);
    run.begin_point(Activity::Preparing);
    run.expect_requests(3 + at_once as usize);
    let mut requests = Vec::new();
    for number in 0..at_once {
        let prompt = run.prompt(&format!("smoke/fit/{number}"), prompt_tokens).await?;
        requests.push(ChatRequest::build(ChatParts {
            model: run.client.model(),
            messages: prompt.messages,
            length: AnswerLength::UpTo(spec.output_tokens),
            delivery: Delivery::Streamed,
            keep: Keep::Timing,
            extra: serde_json::Map::new(),
        })?);
    }
    run.begin_point(Activity::Measuring);
    let purpose = Purpose { point: None, role: Role::Fit, user_number: None, measured: true, intended_ms: None };
    let replies = join_all(requests.iter().map(|r| run.sender.send(r, &purpose, &run.ctx.cancel))).await;
    let failed: Vec<_> = replies.iter().filter(|r| !r.record.end.is_complete()).map(|r| r.record.clone()).collect();
    run.replies.extend(replies);
    let count =
        |value: u64| Single { value: value as f64, n: at_once as usize, failed_n: failed.len(), interval: None };
    run.figures.single(None, "fit_requests", count(at_once));
    run.figures.single(None, "fit_prompt_tokens", count(u64::from(prompt_tokens)));
    let Some(first) = failed.first() else { return Ok(None) };
    run.sender.check(first).await?;
    let why = super::smoke::failure_of(first).unwrap_or_default();
    Ok(Some(format!(
        "{} of {at_once} requests of {prompt_tokens} tokens at once failed, the first {why}",
        failed.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn as_many_as_the_kv_cache_holds_of_full_length_and_no_more_than_may_run_at_once() {
        assert_eq!(size(4096, 16, Some(42_256), Some(256)), (10, 4096 - 16 - 81));
        assert_eq!(size(4096, 16, Some(42_256), Some(4)).0, 4);
        assert_eq!(size(40_960, 16, Some(42_256), None).0, 1);
        assert_eq!(size(40_960, 16, Some(1_000), None).0, 1, "vLLM would not have started");
        assert_eq!(size(2048, 16, Some(1 << 40), None).0, super::MOST_AT_ONCE);
        assert_eq!(size(2048, 16, None, Some(8)).0, 1);
        assert_eq!(size(8, 16, None, None).1, 1);
    }
}

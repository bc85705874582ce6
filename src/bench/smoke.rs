//! The smoke scenario: does it serve at all?

use crate::domain::{RequestRecord, Role, SmokeSpec, ValidityReason, Verdict};

use super::chat::{AnswerLength, ChatParts, ChatRequest, Delivery, Keep};
use super::client::CallError;
use super::context::Activity;
use super::figures::Single;
use super::prompt::Counted;
use super::run::Run;
use super::sender::{Purpose, Stop};

/// Tokens of the short prompts.
const SHORT_PROMPT_TOKENS: u32 = 48;

/// One thing that must work.
struct Check {
    name: &'static str,
    /// What went wrong, if it did.
    failure: Option<String>,
}

pub(super) async fn run(run: &mut Run<'_>, spec: &SmokeSpec) -> Result<(), Stop> {
    run.expect_requests(3);
    let mut checks = vec![models(run).await?];
    let short = run.prompt("smoke/short", SHORT_PROMPT_TOKENS).await?;
    let tokenize_failure = match short.counted {
        Counted::Server => None,
        Counted::Estimated => Some("/tokenize gives no count: prompt lengths will be estimates".to_owned()),
    };
    checks.push(Check { name: "tokenize", failure: tokenize_failure });
    run.begin_point(Activity::Measuring);

    let limit = run.max_model_len().await?;
    let fits = |tokens: u32| limit.is_none_or(|limit| tokens.saturating_add(spec.output_tokens) <= limit);
    let whole = ask(run, Role::Plain, &short.messages, Delivery::Whole, spec).await?;
    checks.push(Check { name: "completion", failure: failure_of(&whole) });
    let streamed = ask(run, Role::Stream, &short.messages, Delivery::Streamed, spec).await?;
    checks.push(Check { name: "streamed completion", failure: failure_of(&streamed) });
    if fits(spec.long_prompt_tokens) {
        let long = run.prompt("smoke/long", spec.long_prompt_tokens).await?;
        let long = ask(run, Role::Long, &long.messages, Delivery::Streamed, spec).await?;
        checks.push(Check { name: "long prompt", failure: failure_of(&long) });
    } else {
        let sentence = format!(
            "the long prompt was left out: {} + {} tokens do not fit the engine's {}",
            spec.long_prompt_tokens,
            spec.output_tokens,
            limit.unwrap_or(0)
        );
        run.validity.add(Verdict::Suspect, ValidityReason::SizeLeftOut, sentence);
    }
    if spec.fit == Some(true) {
        let failure = super::fit::run(run, spec, limit).await?;
        checks.push(Check { name: "fit", failure });
    }
    summarise(run, &checks, &streamed);
    Ok(())
}

async fn models(run: &Run<'_>) -> Result<Check, Stop> {
    let failure = match run.or_cancelled(run.client.models()).await? {
        Ok((ids, _)) if ids.iter().any(|id| id == run.client.model()) => None,
        Ok((ids, _)) => Some(format!("/v1/models lists {} and not `{}`", ids.join(", "), run.client.model())),
        Err(error @ CallError::Answer { .. }) => Some(format!("/v1/models: {error}")),
        Err(error) => return Err(error.into()),
    };
    Ok(Check { name: "models", failure })
}

async fn ask(
    run: &mut Run<'_>,
    role: Role,
    messages: &serde_json::Value,
    delivery: Delivery,
    spec: &SmokeSpec,
) -> Result<RequestRecord, Stop> {
    let request = ChatRequest::build(ChatParts {
        model: run.client.model(),
        messages: messages.clone(),
        length: AnswerLength::UpTo(spec.output_tokens),
        delivery,
        keep: Keep::Timing,
        extra: serde_json::Map::new(),
    })?;
    run.send(&request, &Purpose { point: None, role, user_number: None, measured: true, intended_ms: None }).await
}

/// What went wrong with a request, if it did.
pub(super) fn failure_of(record: &RequestRecord) -> Option<String> {
    if record.end.is_complete() {
        return None;
    }
    let status = record.http_status.map(|s| format!(" {s}")).unwrap_or_default();
    let error = record.error.clone().or_else(|| super::validity::why_empty(record));
    let error = error.map(|e| format!(": {e}")).unwrap_or_default();
    Some(format!("ended as {}{status}{error}", record.end))
}

fn summarise(run: &mut Run<'_>, checks: &[Check], streamed: &RequestRecord) {
    let failed = checks.iter().filter(|c| c.failure.is_some()).count();
    let passed = (checks.len() - failed) as f64 / checks.len() as f64;
    run.figures.single(None, "passed", Single { value: passed, n: checks.len(), failed_n: failed, interval: None });
    if let (true, Some(ttft_ms)) = (streamed.end.is_complete(), streamed.ttft_ms()) {
        run.figures.single(None, "ttft_ms", Single { value: ttft_ms, n: 1, failed_n: 0, interval: None });
    }
    for check in checks {
        if let Some(failure) = &check.failure {
            // a server without /tokenize serves; everything else is no service
            let (verdict, reason) = match check.name {
                "tokenize" => (Verdict::Suspect, ValidityReason::TokenCountsDisagree),
                _ => (Verdict::Invalid, ValidityReason::RequestsFailed),
            };
            run.validity.add(verdict, reason, format!("{}: {failure}", check.name));
        }
    }
}

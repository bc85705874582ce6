//! The reasoning scenario: several steps of thought, one answer that can be checked.

use serde_json::json;

use crate::cases::Task;
use crate::domain::{CaseDelivery, CaseOutcome, CaseResult, ReasoningSpec, RequestRecord, Role, TokenKind};

use super::answers::{self, Answered, Asking};
use super::context::Activity;
use super::figures::Samples;
use super::run::Run;
use super::sender::{Purpose, Stop};

/// Times and tokens of one complete answer.
#[derive(Debug)]
struct Cost {
    record: RequestRecord,
    reasoning_tokens: Option<f64>,
    content_tokens: Option<f64>,
    /// Whether its prompt was new to the cache: only then its times count.
    is_first: bool,
}

pub(super) async fn run(run: &mut Run<'_>, spec: &ReasoningSpec) -> Result<(), Stop> {
    let file = run.ctx.cases.tasks.clone();
    let picked = file.pick(spec.limit);
    run.expect_requests(picked.len() * spec.repeats as usize);
    run.begin_point(Activity::Measuring);
    let mut asking = Asking::new(run, spec.output_tokens, spec.thinking).await?;
    let (mut outcomes, mut costs) = (Vec::new(), Vec::new());
    for repeat in 1..=spec.repeats {
        for task in &picked {
            let purpose = Purpose {
                point: Some(task.category.clone()),
                role: Role::Task,
                user_number: None,
                measured: true,
                intended_ms: None,
            };
            let messages = json!([{ "role": "user", "content": task.prompt }]);
            let how = (CaseDelivery::Streamed, &purpose);
            let Some(answered) = asking.ask(run, &task.id, &messages, (None, None), how).await? else { continue };
            outcomes.push(judge(run, task, repeat, &answered));
            if answered.record.end.is_complete() {
                costs.push(cost(answered, repeat == 1));
            }
        }
    }
    asking.conclude(run);
    summarise(run, &outcomes, &costs);
    run.cases = outcomes;
    Ok(())
}

fn judge(run: &Run<'_>, task: &Task, repeat: u32, answered: &Answered) -> CaseOutcome {
    let record = &answered.record;
    let (result, got) = answers::unjudged(record).unwrap_or_else(|| {
        let (passed, got) = task.judge(&answered.answer.content);
        (if passed { CaseResult::Passed } else { CaseResult::Wrong }, got)
    });
    let names = (task.id.as_str(), task.category.as_str(), task.language.as_str());
    let texts = (task.right_answer(), got);
    answers::outcome(run, names, (repeat, CaseDelivery::Streamed), result, (&texts.0, &texts.1), record.index)
}

/// Tokens by kind are those of the chunks that carried them; unknown unless the server says the tokens of each chunk, or sends one
/// token in each.
fn cost(answered: Answered, is_first: bool) -> Cost {
    let Answered { record, .. } = answered;
    let one_each = record.completion_tokens.is_some_and(|n| n as usize == record.chunks.len());
    let tokens_of = |kind: TokenKind| -> Option<f64> {
        let chunks = record.chunks.iter().enumerate().filter(|(_, (_, k))| *k == kind);
        if record.chunk_tokens.len() == record.chunks.len() && !record.chunk_tokens.is_empty() {
            Some(chunks.map(|(i, _)| f64::from(record.chunk_tokens[i])).sum())
        } else {
            one_each.then(|| chunks.count() as f64)
        }
    };
    let (reasoning_tokens, content_tokens) = (tokens_of(TokenKind::Reasoning), tokens_of(TokenKind::Content));
    Cost { record, reasoning_tokens, content_tokens, is_first }
}

fn summarise(run: &mut Run<'_>, outcomes: &[CaseOutcome], costs: &[Cost]) {
    let figures = &mut run.figures;
    let score = |o: &CaseOutcome| (o.result != CaseResult::Failed).then_some(o.result == CaseResult::Passed);
    answers::share(figures, None, "score", outcomes, score);
    answers::share(figures, None, "answered_score", outcomes, |o| match o.result {
        CaseResult::Passed => Some(true),
        CaseResult::Wrong => Some(false),
        CaseResult::Truncated | CaseResult::Failed => None,
    });
    answers::delivery_shares(figures, outcomes);
    for point in answers::points(outcomes) {
        answers::share(figures, Some(&point), "score", outcomes.iter().filter(|o| answers::belongs(o, &point)), score);
    }
    let asked_first = outcomes.iter().filter(|o| o.repeat == 1).count();
    let mut time = |name: &str, sample: &dyn Fn(&RequestRecord) -> Option<f64>| {
        let samples: Vec<f64> = costs.iter().filter(|c| c.is_first).filter_map(|c| sample(&c.record)).collect();
        figures.overall(Samples::Independent, name, &samples, asked_first - samples.len());
    };
    time("ttft_ms", &RequestRecord::ttft_ms);
    time("ttfc_ms", &RequestRecord::ttfc_ms);
    time("e2e_ms", &|record| Some(record.e2e_ms()));
    let mut tokens = |name: &str, sample: &dyn Fn(&Cost) -> Option<f64>| {
        let samples: Vec<f64> = costs.iter().filter_map(sample).collect();
        // a complete answer whose tokens the server does not tell did not fail
        figures.overall(answers::independence(outcomes), name, &samples, outcomes.len() - costs.len());
    };
    tokens("reasoning_tokens", &|c| c.reasoning_tokens);
    tokens("content_tokens", &|c| c.content_tokens);
}

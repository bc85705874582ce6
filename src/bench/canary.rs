//! The canary scenario: prompts that a sane engine cannot miss, and text that does not repeat itself.

use std::collections::BTreeMap;

use serde_json::json;

use crate::cases::Canary;
use crate::domain::{CanarySpec, CaseDelivery, CaseOutcome, CaseResult, Role};

use super::answers::{self, Answered, Asking};
use super::context::Activity;
use super::figures::Single;
use super::run::Run;
use super::sender::{Purpose, Stop};

/// The category of every canary.
const CATEGORY: &str = "canary";

pub(super) async fn run(run: &mut Run<'_>, spec: &CanarySpec) -> Result<(), Stop> {
    let file = run.ctx.cases.canaries.clone();
    let picked = file.pick(spec.limit);
    run.expect_requests(picked.len() * spec.repeats as usize);
    run.begin_point(Activity::Measuring);
    let mut asking = Asking::new(run, spec.output_tokens, spec.thinking).await?;
    let mut outcomes = Vec::new();
    let mut texts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for repeat in 1..=spec.repeats {
        for canary in &picked {
            let purpose =
                Purpose { point: None, role: Role::Canary, user_number: None, measured: true, intended_ms: None };
            let messages = json!([{ "role": "user", "content": canary.prompt }]);
            let how = (CaseDelivery::Streamed, &purpose);
            let Some(answered) = asking.ask(run, &canary.id, &messages, (None, None), how).await? else { continue };
            outcomes.push(judge(run, canary, repeat, &answered));
            if answers::is_delivered(answered.record.end) {
                texts.entry(&canary.id).or_default().push(answered.answer.content);
            }
        }
    }
    asking.conclude(run);
    summarise(run, &outcomes, &texts);
    run.cases = outcomes;
    Ok(())
}

fn judge(run: &Run<'_>, canary: &Canary, repeat: u32, answered: &Answered) -> CaseOutcome {
    let record = &answered.record;
    let content = &answered.answer.content;
    let (result, got) = match (answers::unjudged(record), canary.problem(content)) {
        (None, Some(problem)) => (CaseResult::Wrong, problem.why),
        // nonsense that was cut is nonsense
        (Some((CaseResult::Truncated, _)), Some(problem)) if problem.is_degenerate => (CaseResult::Wrong, problem.why),
        (Some((CaseResult::Truncated, _)), None) if canary.may_be_cut() => (CaseResult::Passed, content.clone()),
        (Some(unjudged), _) => unjudged,
        (None, None) => (CaseResult::Passed, content.clone()),
    };
    let names = (canary.id.as_str(), CATEGORY, canary.language.as_str());
    let texts = (canary.in_words(), got);
    answers::outcome(run, names, (repeat, CaseDelivery::Streamed), result, (&texts.0, &texts.1), record.index)
}

fn summarise(run: &mut Run<'_>, outcomes: &[CaseOutcome], texts: &BTreeMap<&str, Vec<String>>) {
    let figures = &mut run.figures;
    let passed = |o: &CaseOutcome| Some(o.result == CaseResult::Passed);
    answers::share(figures, None, "passed", outcomes, passed);
    answers::delivery_shares(figures, outcomes);
    for point in answers::points(outcomes).into_iter().filter(|point| point != CATEGORY) {
        answers::share(
            figures,
            Some(&point),
            "passed",
            outcomes.iter().filter(|o| answers::belongs(o, &point)),
            passed,
        );
    }
    let repetition: Vec<f64> = texts.values().flatten().filter_map(|text| Canary::repetition(text)).collect();
    figures.overall(answers::independence(outcomes), "repetition_ratio", &repetition, 0);
    let repeated: Vec<&Vec<String>> = texts.values().filter(|answers| answers.len() > 1).collect();
    let same = repeated.iter().filter(|answers| answers.iter().all(|text| *text == answers[0])).count();
    let value = same as f64 / repeated.len() as f64;
    figures.single(None, "same_answer_rate", Single { value, n: repeated.len(), failed_n: 0, interval: None });
}

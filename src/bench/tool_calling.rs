//! The tool-calling scenario: does the engine call the right tool with the right arguments, streamed as well as not?

use serde_json::{Value, json};

use crate::cases::{MadeCall, StepFindings, ToolCase, ToolFile, final_text, judge_step, leaked_markup, same_calls};
use crate::domain::{CaseDelivery, CaseOutcome, CaseResult, Role, ToolCallingSpec, ValidityReason, Verdict};

use super::answers::{self, Answered, Asking};
use super::context::Activity;
use super::figures::Single;
use super::run::Run;
use super::sender::{Purpose, Stop};

/// What vLLM says when it was started without `--enable-auto-tool-choice`.
const NO_TOOLS: &str = "--enable-auto-tool-choice";

/// One case, asked once in one way of delivery.
#[derive(Debug)]
struct Conversation {
    outcome: CaseOutcome,
    /// Rounds that expected calls, as far as it came.
    findings: Vec<StepFindings>,
    /// Every call, round by round.
    calls: Vec<Vec<MadeCall>>,
    leak: Option<&'static str>,
    expects_calls: bool,
}

/// How a conversation ended.
struct Ruling {
    result: CaseResult,
    expected: String,
    got: String,
}

pub(super) async fn run(run: &mut Run<'_>, spec: &ToolCallingSpec) -> Result<(), Stop> {
    let file = run.ctx.cases.tools.clone();
    let picked = file.pick(spec.cases_per_category);
    let requests: usize = picked.iter().map(|case| rounds(case)).sum();
    run.expect_requests(requests * 2 * spec.repeats as usize);
    run.begin_point(Activity::Measuring);
    let mut asking = Asking::new(run, spec.output_tokens, spec.thinking).await?;
    let mut conversations: Vec<Conversation> = Vec::new();
    for repeat in 1..=spec.repeats {
        for case in &picked {
            for delivery in CaseDelivery::ALL {
                let Some(conversation) = converse(run, &mut asking, (&file, case), (repeat, *delivery)).await? else {
                    continue;
                };
                if refuses_tools(run, &conversation) {
                    return Ok(());
                }
                conversations.push(conversation);
            }
        }
    }
    asking.conclude(run);
    agreement(run, &conversations);
    summarise(run, &conversations);
    run.cases = conversations.into_iter().map(|c| c.outcome).collect();
    Ok(())
}

/// Requests of a case that passes.
const fn rounds(case: &ToolCase) -> usize {
    case.steps.len() + (case.steps.is_empty() || case.answer.is_some()) as usize
}

/// An engine without a tool parser refuses every request: that is said once, and nothing is measured.
fn refuses_tools(run: &mut Run<'_>, conversation: &Conversation) -> bool {
    let error = run.replies.last().and_then(|reply| reply.record.error.as_deref());
    let refuses = conversation.outcome.result == CaseResult::Failed && error.is_some_and(|e| e.contains(NO_TOOLS));
    if refuses {
        let sentence = "the engine takes no tools: start it with --enable-auto-tool-choice and --tool-call-parser, or take \
                        tool_calling out of the suite";
        run.validity.add(Verdict::Invalid, ValidityReason::ToolsNotEnabled, sentence);
    }
    refuses
}

const fn role_of(delivery: CaseDelivery) -> Role {
    match delivery {
        CaseDelivery::Streamed => Role::Streamed,
        CaseDelivery::Whole => Role::Whole,
    }
}

async fn converse(
    run: &mut Run<'_>,
    asking: &mut Asking,
    (file, case): (&ToolFile, &ToolCase),
    (repeat, delivery): (u32, CaseDelivery),
) -> Result<Option<Conversation>, Stop> {
    let tools: Vec<&Value> = case.tools.iter().filter_map(|name| file.tool(name)).map(|t| &t.definition).collect();
    let tools = json!(tools);
    let mut messages: Vec<Value> = Vec::new();
    messages.extend(case.system.as_ref().map(|system| json!({ "role": "system", "content": system })));
    messages.push(json!({ "role": "user", "content": case.user }));
    let purpose = Purpose {
        point: Some(case.category.to_string()),
        role: role_of(delivery),
        user_number: None,
        measured: true,
        intended_ms: None,
    };
    let (mut findings, mut calls, mut leak) = (Vec::new(), Vec::new(), None);
    let mut round = 0;
    let (verdict, last_index) = loop {
        let offer = (Some(&tools), case.choice_in(round));
        let asked = asking.ask(run, &case.id, &json!(messages), offer, (delivery, &purpose)).await?;
        let Some(answered) = asked else { return Ok(None) };
        let index = answered.record.index;
        leak = leak.or_else(|| leaked_markup(&answered.answer.content));
        let made: Vec<MadeCall> = answered.answer.tool_calls.iter().map(made_call).collect();
        if let Some(verdict) = unjudged(case, &answered) {
            break (verdict, index);
        }
        calls.push(made.clone());
        let Some(step) = case.steps.get(round) else {
            break (judge_text(case, &made, &answered.answer.content), index);
        };
        let found = judge_step(file, &case.tools, step, &made);
        let problem = found.problem.clone();
        findings.push(found);
        let is_last = round + 1 == case.steps.len() && case.answer.is_none();
        if let Some(got) = problem {
            break (Ruling { result: CaseResult::Wrong, expected: in_words(case), got }, index);
        }
        if is_last {
            let got = calls.iter().flatten().map(MadeCall::in_words).collect::<Vec<_>>().join(", ");
            break (Ruling { result: CaseResult::Passed, expected: in_words(case), got }, index);
        }
        messages.push(assistant_message(&answered));
        for (i, (call, made)) in answered.answer.tool_calls.iter().zip(&made).enumerate() {
            let result = step.result_for(made).map_or_else(|| "null".to_owned(), Value::to_string);
            messages.push(json!({ "role": "tool", "tool_call_id": id_of(&call.id, i), "content": result }));
        }
        round += 1;
    };
    let mut verdict = verdict;
    if let Some(mark) = leak.filter(|_| verdict.result == CaseResult::Passed) {
        verdict.result = CaseResult::Wrong;
        verdict.got = format!("markup in the content: {mark}");
    } else if let Some(mark) = leak.filter(|_| verdict.result == CaseResult::Wrong) {
        verdict.got = format!("{}; markup in the content: {mark}", verdict.got);
    }
    let texts = (verdict.expected.as_str(), verdict.got.as_str());
    let names = (case.id.as_str(), case.category.as_str(), case.language.as_str());
    let outcome = answers::outcome(run, names, (repeat, delivery), verdict.result, texts, last_index);
    Ok(Some(Conversation { outcome, findings, calls, leak, expects_calls: !case.steps.is_empty() }))
}

fn made_call(call: &super::chat::ToolCall) -> MadeCall {
    MadeCall { name: call.name.clone(), arguments: call.arguments.clone() }
}

/// The engine's id of a call, or one of ours where it gave none.
fn id_of(id: &str, index: usize) -> String {
    if id.is_empty() { format!("call_{index}") } else { id.to_owned() }
}

fn assistant_message(answered: &Answered) -> Value {
    let call = |(i, call): (usize, &super::chat::ToolCall)| {
        json!({
            "id": id_of(&call.id, i), "type": "function",
            "function": { "name": call.name, "arguments": call.arguments },
        })
    };
    let calls: Vec<Value> = answered.answer.tool_calls.iter().enumerate().map(call).collect();
    json!({ "role": "assistant", "content": answered.answer.content, "tool_calls": calls })
}

/// What a case expects, in a line.
fn in_words(case: &ToolCase) -> String {
    let call = |call: &crate::cases::ExpectedCall| format!("{}({})", call.name, call.sample());
    let steps = case.steps.iter().map(|step| step.calls.iter().map(call).collect::<Vec<_>>().join(" and "));
    let steps: Vec<String> = steps.collect();
    if steps.is_empty() { "no call".to_owned() } else { steps.join(", then ") }
}

/// A failed or truncated answer is not judged.
fn unjudged(case: &ToolCase, answered: &Answered) -> Option<Ruling> {
    answers::unjudged(&answered.record).map(|(result, got)| Ruling { result, expected: in_words(case), got })
}

/// A round in which a text is expected and no call.
fn judge_text(case: &ToolCase, made: &[MadeCall], content: &str) -> Ruling {
    let texts = case.answer.iter().flat_map(|a| a.contains.iter().filter_map(|spellings| spellings.first()));
    let texts: Vec<&str> = texts.map(String::as_str).collect();
    let with = if texts.is_empty() { String::new() } else { format!(" with `{}`", texts.join("`, `")) };
    let expected = format!("a text{with} and no call");
    let missing = |text: &str| case.answer.as_ref().and_then(|answer| answer.missing_in(text));
    let (result, got) = match final_text(content) {
        _ if !made.is_empty() => {
            (CaseResult::Wrong, made.iter().map(MadeCall::in_words).collect::<Vec<_>>().join(", "))
        }
        Err(why) => (CaseResult::Wrong, why.to_owned()),
        Ok(text) => match missing(text) {
            Some(missing) => (CaseResult::Wrong, format!("no `{missing}` in: {text}")),
            None => (CaseResult::Passed, text.to_owned()),
        },
    };
    Ruling { result, expected, got }
}

/// Compares the two ways of delivery of each case and repeat; says which cases were called differently.
fn agreement(run: &mut Run<'_>, conversations: &[Conversation]) {
    let judged = |c: &&Conversation| matches!(c.outcome.result, CaseResult::Passed | CaseResult::Wrong);
    let mut agreed: Vec<(String, bool)> = Vec::new();
    let mut differing: Vec<String> = Vec::new();
    for streamed in conversations.iter().filter(judged).filter(|c| c.outcome.delivery == CaseDelivery::Streamed) {
        let same_case = |c: &&Conversation| {
            c.outcome.delivery == CaseDelivery::Whole
                && c.outcome.case_id == streamed.outcome.case_id
                && c.outcome.repeat == streamed.outcome.repeat
        };
        let Some(whole) = conversations.iter().filter(judged).find(same_case) else { continue };
        let rounds = streamed.calls.len() == whole.calls.len();
        let agrees = rounds && streamed.calls.iter().zip(&whole.calls).all(|(a, b)| same_calls(a, b));
        if !agrees && !differing.contains(&streamed.outcome.case_id) {
            differing.push(streamed.outcome.case_id.clone());
        }
        agreed.push((streamed.outcome.case_id.clone(), agrees));
    }
    if agreed.is_empty() {
        return;
    }
    let value = agreed.iter().filter(|(_, agrees)| *agrees).count() as f64 / agreed.len() as f64;
    let cases: std::collections::BTreeSet<&str> = agreed.iter().map(|(id, _)| id.as_str()).collect();
    let interval = crate::stats::wilson_interval(value, cases.len());
    run.figures.single(None, "agreement_rate", Single { value, n: cases.len(), failed_n: 0, interval });
    if !differing.is_empty() {
        let sentence = format!("called differently when streamed and when not: {}", differing.join(", "));
        run.validity.add(Verdict::Valid, ValidityReason::StreamingDiffers, sentence);
    }
}

fn summarise(run: &mut Run<'_>, conversations: &[Conversation]) {
    let outcomes: Vec<CaseOutcome> = conversations.iter().map(|c| c.outcome.clone()).collect();
    let figures = &mut run.figures;
    answers::share(figures, None, "success_rate", &outcomes, |o| Some(o.result == CaseResult::Passed));
    answers::share(figures, None, "semantic_success_rate", &outcomes, |o| match o.result {
        CaseResult::Passed => Some(true),
        CaseResult::Wrong => Some(false),
        CaseResult::Truncated | CaseResult::Failed => None,
    });
    answers::delivery_shares(figures, &outcomes);
    for point in answers::points(&outcomes) {
        let of_point = outcomes.iter().filter(|o| answers::belongs(o, &point));
        answers::share(figures, Some(&point), "success_rate", of_point, |o| Some(o.result == CaseResult::Passed));
    }
    for delivery in CaseDelivery::ALL {
        let of_delivery = outcomes.iter().filter(|o| o.delivery == *delivery);
        let point = Some(delivery.as_str());
        answers::share(figures, point, "success_rate", of_delivery, |o| Some(o.result == CaseResult::Passed));
    }
    let judged: Vec<&Conversation> =
        conversations.iter().filter(|c| matches!(c.outcome.result, CaseResult::Passed | CaseResult::Wrong)).collect();
    let mut rate = |name: &str, of: &dyn Fn(&Conversation) -> Option<bool>| {
        let answers: Vec<bool> = judged.iter().filter_map(|c| of(c)).collect();
        let value = answers.iter().filter(|hit| **hit).count() as f64 / answers.len() as f64;
        let failed_n = conversations.len() - judged.len();
        figures.single(None, name, Single { value, n: answers.len(), failed_n, interval: None });
    };
    rate("call_rate", &|c| c.expects_calls.then(|| c.findings.first().is_some_and(|f| f.calls > 0)));
    rate("no_call_rate", &|c| (!c.expects_calls).then(|| c.calls.iter().all(Vec::is_empty)));
    rate("right_tool_rate", &|c| {
        let called = c.findings.first().is_some_and(|f| f.calls > 0);
        called.then(|| c.findings.iter().all(|f| f.right_tools))
    });
    rate("argument_match_rate", &|c| {
        let right = !c.findings.is_empty() && c.findings.iter().all(|f| f.right_tools);
        right.then(|| c.findings.iter().all(|f| f.arguments_match))
    });
    rate("markup_leak_rate", &|c| Some(c.leak.is_some()));
    let sum = |count: &dyn Fn(&StepFindings) -> usize| -> usize {
        judged.iter().flat_map(|c| &c.findings).map(count).sum::<usize>()
    };
    let calls = sum(&|f| f.calls);
    for (name, valid) in [("json_valid_rate", sum(&|f| f.valid_json)), ("schema_valid_rate", sum(&|f| f.valid_schema))]
    {
        let value = valid as f64 / calls as f64;
        figures.single(None, name, Single { value, n: calls, failed_n: 0, interval: None });
    }
}

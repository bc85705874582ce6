//! What the scenarios that judge answers share: asking, the room for an answer, shares with intervals, one outcome per case.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::cases::shortened;
use crate::domain::{
    CaseDelivery, CaseOutcome, CaseResult, RequestEnd, RequestRecord, Thinking, ValidityReason, Verdict,
};
use crate::stats;

use super::chat::{Answer, AnswerLength, ChatParts, ChatRequest, Delivery, Keep};
use super::figures::{Figures, Samples, Single};
use super::run::Run;
use super::sender::{Purpose, Stop};

/// Characters of `expected` and `got` that are kept.
const KEPT: usize = 240;

/// An answer with less room than this is not asked for.
const LEAST_ROOM: u32 = 32;

/// Bytes of a body per token of its prompt at least: only to leave enough room beside it.
const BYTES_PER_TOKEN: usize = 2;

/// Whether the request brought an answer that can be judged, right, wrong or empty.
pub(super) const fn is_delivered(end: RequestEnd) -> bool {
    match end {
        RequestEnd::Ok | RequestEnd::Truncated | RequestEnd::Empty | RequestEnd::Refused => true,
        RequestEnd::ConnectError
        | RequestEnd::TimeoutHeaders
        | RequestEnd::TimeoutFirstToken
        | RequestEnd::TimeoutIdle
        | RequestEnd::TimeoutTotal
        | RequestEnd::HttpStatus
        | RequestEnd::ErrorEvent
        | RequestEnd::StreamCut
        | RequestEnd::MalformedEvent
        | RequestEnd::Cancelled => false,
    }
}

/// Whether the token limit cut the answer, also where nothing of it was seen (markup that a parser held back).
fn is_truncated(record: &RequestRecord) -> bool {
    record.finish_reason.as_deref() == Some("length")
}

impl From<CaseDelivery> for Delivery {
    fn from(delivery: CaseDelivery) -> Self {
        match delivery {
            CaseDelivery::Streamed => Self::Streamed,
            CaseDelivery::Whole => Self::Whole,
        }
    }
}

/// One answer.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) record: RequestRecord,
    pub(super) answer: Answer,
}

/// How a scenario asks.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    output_tokens: u32,
    thinking: Thinking,
    /// The engine's context length.
    limit: Option<u32>,
    /// The least room that any answer got, when that was less than asked for.
    narrowest: Option<u32>,
    /// Cases without any room.
    left_out: BTreeSet<String>,
}

impl Asking {
    pub(super) async fn new(run: &Run<'_>, output_tokens: u32, thinking: Thinking) -> Result<Self, Stop> {
        let limit = run.max_model_len().await?;
        Ok(Self { output_tokens, thinking, limit, narrowest: None, left_out: BTreeSet::new() })
    }

    /// Sends `messages` verbatim and waits for the answer; `None` where the engine's context leaves no room for one.
    pub(super) async fn ask(
        &mut self,
        run: &mut Run<'_>,
        case_id: &str,
        messages: &Value,
        (tools, tool_choice): (Option<&Value>, Option<Value>),
        (delivery, purpose): (CaseDelivery, &Purpose),
    ) -> Result<Option<Answered>, Stop> {
        let mut extra = Map::new();
        if let Some(tools) = tools {
            extra.insert("tools".to_owned(), tools.clone());
        }
        extra.extend(tool_choice.map(|choice| ("tool_choice".to_owned(), choice)));
        let thinks = match self.thinking {
            Thinking::Default => None,
            Thinking::On => Some(true),
            Thinking::Off => Some(false),
        };
        if let Some(thinks) = thinks {
            extra.insert("chat_template_kwargs".to_owned(), json!({ "enable_thinking": thinks }));
        }
        let bytes = messages.to_string().len() + tools.map_or(0, |tools| tools.to_string().len());
        let Some(room) = self.room(bytes) else {
            self.left_out.insert(case_id.to_owned());
            return Ok(None);
        };
        let request = ChatRequest::build(ChatParts {
            model: run.client.model(),
            messages: messages.clone(),
            length: AnswerLength::UpTo(room),
            delivery: delivery.into(),
            keep: Keep::Answer,
            extra,
        })?;
        let record = run.send(&request, purpose).await?;
        let reply = run.replies.last();
        let answer = reply.and_then(|reply| reply.answer.clone()).unwrap_or_default();
        Ok(Some(Answered { record, answer }))
    }

    fn room(&mut self, bytes: usize) -> Option<u32> {
        let Some(limit) = self.limit else { return Some(self.output_tokens) };
        let prompt = u32::try_from(bytes / BYTES_PER_TOKEN).unwrap_or(u32::MAX).saturating_add(64);
        let room = limit.saturating_sub(prompt).min(self.output_tokens);
        if room < LEAST_ROOM.min(self.output_tokens) {
            return None;
        }
        if room < self.output_tokens {
            self.narrowest = Some(self.narrowest.map_or(room, |least| least.min(room)));
        }
        Some(room)
    }

    /// Says what the engine's context did not allow, and which requests failed.
    pub(super) fn conclude(&self, run: &mut Run<'_>) {
        if let Some(narrowest) = self.narrowest {
            let sentence = format!(
                "the engine's context leaves room for {narrowest} tokens where answers of up to {} were asked for",
                self.output_tokens
            );
            run.validity.add(Verdict::Suspect, ValidityReason::AnswersLimited, sentence);
        }
        if !self.left_out.is_empty() {
            let cases: Vec<&str> = self.left_out.iter().map(String::as_str).collect();
            let sentence = format!("left out, because they do not fit the engine's context: {}", cases.join(", "));
            let verdict = if run.replies.is_empty() { Verdict::Invalid } else { Verdict::Suspect };
            run.validity.add(verdict, ValidityReason::AnswersLimited, sentence);
        }
        super::validity::of_failed(&mut run.validity, &run.replies, |end| !is_delivered(end));
    }
}

/// The outcome of a case, its texts redacted and short.
pub(super) fn outcome(
    run: &Run<'_>,
    (case_id, category, language): (&str, &str, &str),
    (repeat, delivery): (u32, CaseDelivery),
    result: CaseResult,
    (expected, got): (&str, &str),
    request_index: u32,
) -> CaseOutcome {
    let text = |text: &str| shortened(&run.client.error_text(text), KEPT);
    CaseOutcome {
        case_id: case_id.to_owned(),
        category: category.to_owned(),
        language: language.to_owned(),
        repeat,
        delivery,
        result,
        expected: text(expected),
        got: text(got),
        request_index,
    }
}

/// What an answer comes to that is not judged by its text, because it never came or was cut.
pub(super) fn unjudged(record: &RequestRecord) -> Option<(CaseResult, String)> {
    if !is_delivered(record.end) {
        let error = record.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
        return Some((CaseResult::Failed, format!("the request ended as {}{error}", record.end)));
    }
    is_truncated(record).then(|| (CaseResult::Truncated, "the answer was cut by its token limit".to_owned()))
}

/// Whether samples of one per request are independent of each other: not where a case was asked more than once.
pub(super) fn independence(outcomes: &[CaseOutcome]) -> Samples {
    if outcomes.iter().any(|o| o.repeat > 1) { Samples::Dependent } else { Samples::Independent }
}

/// A share of outcomes. Repeats and ways of delivery of one case are not independent of each other, so `n` and the interval (Wilson's)
/// count cases; `failed_n` counts those of which no outcome is counted.
pub(super) fn share<'o>(
    figures: &mut Figures,
    point: Option<&str>,
    name: &str,
    outcomes: impl IntoIterator<Item = &'o CaseOutcome>,
    counts: impl Fn(&CaseOutcome) -> Option<bool>,
) {
    let (mut hits, mut all) = (0_usize, 0_usize);
    let (mut asked, mut cases) = (BTreeSet::new(), BTreeSet::new());
    for outcome in outcomes {
        asked.insert(outcome.case_id.as_str());
        if let Some(hit) = counts(outcome) {
            hits += usize::from(hit);
            all += 1;
            cases.insert(outcome.case_id.as_str());
        }
    }
    if all == 0 {
        return;
    }
    let value = hits as f64 / all as f64;
    let interval = stats::wilson_interval(value, cases.len());
    figures.single(point, name, Single { value, n: cases.len(), failed_n: asked.len() - cases.len(), interval });
}

/// The figures that all three scenarios have: what came through, what was cut.
pub(super) fn delivery_shares(figures: &mut Figures, outcomes: &[CaseOutcome]) {
    share(figures, None, "transport_success_rate", outcomes, |o| Some(o.result != CaseResult::Failed));
    share(figures, None, "truncation_rate", outcomes, |o| match o.result {
        CaseResult::Failed => None,
        CaseResult::Truncated => Some(true),
        CaseResult::Passed | CaseResult::Wrong => Some(false),
    });
}

/// The points of a scenario: its categories, then its languages, in the order of their first case.
pub(super) fn points(outcomes: &[CaseOutcome]) -> Vec<String> {
    let mut points: Vec<String> = Vec::new();
    let names = outcomes.iter().map(|o| &o.category).chain(outcomes.iter().map(|o| &o.language));
    for name in names {
        if !points.contains(name) {
            points.push(name.clone());
        }
    }
    points
}

/// Whether an outcome belongs to a point.
pub(super) fn belongs(outcome: &CaseOutcome, point: &str) -> bool {
    outcome.category == point || outcome.language == point
}

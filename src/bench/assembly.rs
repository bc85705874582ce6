//! From bytes and their arrival times to the facts of one answer: no socket, no clock of its own.

use std::time::Instant;

use crate::domain::{RequestEnd, TokenKind};

use super::chat::{Answer, Keep, ToolCall};
use super::delta::{Chunk, Delta, Usage};
use super::sse::{SseError, SseEvent, SseReader};

/// The answer so far. Stamps are the caller's, taken before the bytes are looked at.
#[derive(Debug)]
pub(super) struct Assembly {
    reader: SseReader,
    facts: Facts,
    /// Arrival of the last whole event.
    pub(super) last_event: Option<Instant>,
}

/// What the events said.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) chunks: Vec<(Instant, TokenKind)>,
    pub(super) first_content: Option<Instant>,
    pub(super) finish_reason: Option<String>,
    pub(super) usage: Option<Usage>,
    /// Completion tokens up to and including each chunk, where the server says.
    cumulative_tokens: Vec<u32>,
    refused: bool,
    pub(super) answer: Option<Answer>,
    /// The end, its text and its time, once an event decided it. The first to decide wins.
    pub(super) end: Option<(RequestEnd, Option<String>, Instant)>,
}

/// Why an event ends the stream for us.
enum Stop {
    Malformed(String),
}

impl From<SseError> for Stop {
    fn from(error: SseError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl Assembly {
    pub(super) fn new(keep: Keep) -> Self {
        let answer = match keep {
            Keep::Timing => None,
            Keep::Answer => Some(Answer::default()),
        };
        Self { reader: SseReader::default(), facts: Facts { answer, ..Facts::default() }, last_event: None }
    }

    /// Takes bytes of an event stream that arrived at `at`.
    pub(super) fn feed(&mut self, bytes: &[u8], at: Instant) {
        let Self { reader, facts, last_event } = self;
        let result = reader.push(bytes, |event| {
            *last_event = Some(at);
            facts.event(event, at)
        });
        if let Err(Stop::Malformed(text)) = result {
            self.facts.end_with(RequestEnd::MalformedEvent, Some(text), at);
        }
    }

    /// Takes a whole, not streamed answer. Its arrival is no token time.
    pub(super) fn feed_whole(&mut self, body: &[u8], at: Instant) {
        match serde_json::from_slice::<Chunk<'_>>(body) {
            Ok(chunk) if chunk.is_error() => {
                self.facts.end_with(RequestEnd::ErrorEvent, Some(lossy(body)), at);
            }
            Ok(chunk) => {
                let bears_tokens = self.facts.chunk(&chunk, at);
                self.facts.chunks.clear();
                self.facts.first_content = None;
                let (end, text) = self.facts.complete(bears_tokens);
                self.facts.end_with(end, text, at);
            }
            Err(error) => {
                self.facts.end_with(RequestEnd::MalformedEvent, Some(format!("{error}: {}", lossy(body))), at);
            }
        }
    }

    /// Whether an event ended the answer.
    pub(super) const fn has_ended(&self) -> bool {
        self.facts.end.is_some()
    }

    pub(super) const fn has_token(&self) -> bool {
        !self.facts.chunks.is_empty()
    }

    /// The facts, with `end` where no event decided it before.
    pub(super) fn finish(mut self, end: RequestEnd, text: Option<String>, at: Instant) -> Facts {
        self.facts.end_with(end, text, at);
        self.facts
    }

    /// What an end of the bytes means here.
    pub(super) fn cut_text(&self) -> String {
        let where_ = if self.reader.is_mid_event() { "in the middle of an event" } else { "between two events" };
        format!("the stream ended {where_}, without [DONE]")
    }
}

/// Everything that an answer's event stream comes to, times apart.
#[derive(Debug, PartialEq)]
pub struct Said {
    pub(super) kinds: Vec<TokenKind>,
    pub(super) chunk_tokens: Vec<u32>,
    pub(super) finish_reason: Option<String>,
    pub(super) completion_tokens: Option<u32>,
    pub(super) answer: Option<Answer>,
    pub(super) end: Option<(RequestEnd, Option<String>)>,
}

impl From<Facts> for Said {
    fn from(facts: Facts) -> Self {
        Self {
            kinds: facts.chunks.iter().map(|(_, kind)| *kind).collect(),
            chunk_tokens: facts.chunk_tokens(),
            finish_reason: facts.finish_reason,
            completion_tokens: facts.usage.and_then(|u| u.completion_tokens),
            answer: facts.answer,
            end: facts.end.map(|(end, text, _)| (end, text)),
        }
    }
}

/// What a stream whose bytes come in these pieces says: the same as in any other pieces, which tests and fuzzers check.
pub fn said_by_stream<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Said {
    let mut assembly = Assembly::new(Keep::Answer);
    let at = Instant::now();
    for piece in pieces {
        assembly.feed(piece, at);
        if assembly.has_ended() {
            break; // as the reader of the socket does
        }
    }
    let cut = assembly.cut_text();
    assembly.finish(RequestEnd::StreamCut, Some(cut), at).into()
}

fn lossy(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

impl Facts {
    fn end_with(&mut self, end: RequestEnd, text: Option<String>, at: Instant) {
        self.end.get_or_insert((end, text, at));
    }

    fn event(&mut self, event: SseEvent<'_>, at: Instant) -> Result<(), Stop> {
        if self.end.is_some() {
            return Ok(()); // what follows [DONE] or an error changes nothing
        }
        if event.data == "[DONE]" {
            let (end, text) = self.complete(!self.chunks.is_empty());
            self.end_with(end, text, at);
            return Ok(());
        }
        if event.name == "error" {
            self.end_with(RequestEnd::ErrorEvent, Some(event.data.to_owned()), at);
            return Ok(());
        }
        let chunk: Chunk<'_> =
            serde_json::from_str(event.data).map_err(|e| Stop::Malformed(format!("{e}: {}", event.data)))?;
        if chunk.is_error() {
            self.end_with(RequestEnd::ErrorEvent, Some(event.data.to_owned()), at);
        } else if !chunk.is_of_the_protocol() {
            return Err(Stop::Malformed(format!("no chat completion chunk: {}", event.data)));
        } else {
            self.chunk(&chunk, at);
        }
        Ok(())
    }

    /// How a complete answer ended.
    fn complete(&self, bears_tokens: bool) -> (RequestEnd, Option<String>) {
        match self.finish_reason.as_deref() {
            Some("content_filter") => (RequestEnd::Refused, None),
            Some(_) if self.refused => (RequestEnd::Refused, None),
            Some(reason @ ("abort" | "error")) => {
                (RequestEnd::ErrorEvent, Some(format!("the engine gave up: finish_reason is `{reason}`")))
            }
            Some(_) if !bears_tokens => (RequestEnd::Empty, None),
            Some("length") => (RequestEnd::Truncated, None),
            Some(_) => (RequestEnd::Ok, None),
            None if !bears_tokens => (RequestEnd::Empty, None),
            None => (RequestEnd::StreamCut, Some("[DONE] came without any finish_reason".to_owned())),
        }
    }

    /// Takes a chunk; returns whether it bears tokens.
    fn chunk(&mut self, chunk: &Chunk<'_>, at: Instant) -> bool {
        if chunk.usage.is_some() {
            self.usage = chunk.usage;
        }
        let Some(choice) = chunk.choice() else { return false };
        if let Some(reason) = &choice.finish_reason {
            self.finish_reason = Some(reason.0.clone().into_owned());
        }
        let Some(delta) = &choice.delta else { return false };
        self.refused |= delta.refusal().is_some();
        let Some(kind) = kind_of(delta) else { return false };
        self.chunks.push((at, kind));
        if let Some(tokens) = chunk.usage.and_then(|u| u.completion_tokens) {
            self.cumulative_tokens.push(tokens);
        }
        match kind {
            TokenKind::Content | TokenKind::ToolCall => {
                self.first_content.get_or_insert(at);
            }
            TokenKind::Reasoning => {}
        }
        if let Some(answer) = &mut self.answer {
            answer.add(delta);
        }
        true
    }

    /// Tokens of each chunk; empty where the server did not say for every one of them.
    pub(super) fn chunk_tokens(&self) -> Vec<u32> {
        if self.cumulative_tokens.len() != self.chunks.len() {
            return Vec::new();
        }
        let before = std::iter::once(0).chain(self.cumulative_tokens.iter().copied());
        self.cumulative_tokens.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect()
    }
}

/// What a delta carries, if it carries tokens. Content wins where a chunk holds both, because it is what a person waits for.
fn kind_of(delta: &Delta<'_>) -> Option<TokenKind> {
    if delta.content().is_some() {
        Some(TokenKind::Content)
    } else if delta.has_tool_call() {
        Some(TokenKind::ToolCall)
    } else if delta.reasoning().is_some() {
        Some(TokenKind::Reasoning)
    } else {
        None
    }
}

impl Answer {
    fn add(&mut self, delta: &Delta<'_>) {
        self.content.push_str(delta.content().unwrap_or_default());
        self.reasoning.push_str(delta.reasoning().unwrap_or_default());
        for piece in delta.tool_calls.iter().flatten() {
            // Without an index (whole answers) a piece with an id begins the next call.
            let next = self.tool_calls.len();
            let index = piece.index.map_or(if piece.id.is_some() { next } else { next.max(1) - 1 }, |i| i as usize);
            if index >= MAX_TOOL_CALLS {
                continue;
            }
            if self.tool_calls.len() <= index {
                self.tool_calls.resize(index + 1, ToolCall::default());
            }
            let call = &mut self.tool_calls[index];
            call.id.push_str(piece.id.as_ref().map_or("", |t| t.0.as_ref()));
            if let Some(function) = &piece.function {
                call.name.push_str(function.name.as_ref().map_or("", |t| t.0.as_ref()));
                call.arguments.push_str(function.arguments.as_ref().map_or("", |t| t.0.as_ref()));
            }
        }
    }
}

/// A server's index is not trusted beyond this.
const MAX_TOOL_CALLS: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn run(text: &str) -> Facts {
        let mut assembly = Assembly::new(Keep::Answer);
        assembly.feed(text.as_bytes(), Instant::now());
        let cut = assembly.cut_text();
        assembly.finish(RequestEnd::StreamCut, Some(cut), Instant::now())
    }

    fn end(text: &str) -> RequestEnd {
        run(text).end.unwrap().0
    }

    fn content(text: &str) -> String {
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    }

    fn finish(reason: &str) -> String {
        format!("data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}\n\n")
    }

    const DONE: &str = "data: [DONE]\n\n";
    const ROLE: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";

    #[test]
    fn complete_answers_are_told_apart_by_their_finish_reason() {
        assert_eq!(end(&[ROLE, &content("a"), &finish("stop"), DONE].concat()), RequestEnd::Ok);
        assert_eq!(end(&[ROLE, &content("a"), &finish("length"), DONE].concat()), RequestEnd::Truncated);
        assert_eq!(end(&[ROLE, &content("a"), &finish("content_filter"), DONE].concat()), RequestEnd::Refused);
        assert_eq!(end(&[ROLE, &content("a"), &finish("abort"), DONE].concat()), RequestEnd::ErrorEvent);
        assert_eq!(end(&[ROLE, &finish("stop"), DONE].concat()), RequestEnd::Empty);
        assert_eq!(end(&[ROLE, &content("a"), DONE].concat()), RequestEnd::StreamCut);
        assert_eq!(end(DONE), RequestEnd::Empty);
    }

    #[test]
    fn an_error_event_is_an_error_even_when_done_follows() {
        let error = "data: {\"error\":{\"message\":\"boom\"}}\n\n";
        let facts = run(&[&content("a"), error, DONE].concat());
        let (end, text, _) = facts.end.unwrap();
        assert_eq!(end, RequestEnd::ErrorEvent);
        assert!(text.unwrap().contains("boom"));
        let named = "event: error\ndata: plain words\n\n";
        assert_eq!(run(&[named, DONE].concat()).end.unwrap().0, RequestEnd::ErrorEvent);
    }

    #[test]
    fn cut_and_malformed_streams_are_told_apart() {
        assert_eq!(end(&[ROLE, &content("a")].concat()), RequestEnd::StreamCut);
        assert_eq!(end(&[&content("a"), "data: {\"choi\n\n", DONE].concat()), RequestEnd::MalformedEvent);
        assert_eq!(end(&[&content("a"), "data: {}\n\n", DONE].concat()), RequestEnd::MalformedEvent);
        assert_eq!(end("{\"detail\":\"not an event\"}\n"), RequestEnd::MalformedEvent);
        let mut assembly = Assembly::new(Keep::Timing);
        assembly.feed(b"data: {\"cho", Instant::now());
        assert!(assembly.cut_text().contains("middle"));
    }

    #[test]
    fn the_first_token_is_no_role_chunk_and_the_first_content_no_reasoning() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut assembly = Assembly::new(Keep::Answer);
        assembly.feed(ROLE.as_bytes(), at(1));
        assembly.feed(b"data: {\"choices\":[{\"delta\":{\"reasoning\":\"hm\"}}]}\n\n", at(2));
        assembly.feed(b"data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"m\"}}]}\n\n", at(3));
        assembly.feed(content("yes").as_bytes(), at(4));
        assembly.feed([&finish("stop"), DONE].concat().as_bytes(), at(5));
        let facts = assembly.finish(RequestEnd::StreamCut, None, at(9));
        let kinds: Vec<TokenKind> = facts.chunks.iter().map(|(_, kind)| *kind).collect();
        assert_eq!(kinds, [TokenKind::Reasoning, TokenKind::Reasoning, TokenKind::Content]);
        assert_eq!(facts.chunks[0].0, at(2));
        assert_eq!(facts.first_content, Some(at(4)));
        assert_eq!(facts.end, Some((RequestEnd::Ok, None, at(5))));
        let answer = facts.answer.unwrap();
        assert_eq!((answer.content.as_str(), answer.reasoning.as_str()), ("yes", "hmm"));
    }

    #[test]
    fn tool_calls_are_tokens_and_are_put_together() {
        let piece = |json: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{json}]}}}}]}}\n\n");
        let facts = run(&[
            piece(r#"{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""}}"#),
            piece(r#"{"index":0,"function":{"arguments":"{\"x\":"}}"#),
            piece(r#"{"index":1,"id":"c2","function":{"name":"g","arguments":"{}"}}"#),
            piece(r#"{"index":0,"function":{"arguments":"1}"}}"#),
            piece(r#"{"index":999999999,"function":{"arguments":"1}"}}"#),
            finish("tool_calls"),
            DONE.to_owned(),
        ]
        .concat());
        assert_eq!(facts.end.as_ref().unwrap().0, RequestEnd::Ok);
        assert!(facts.first_content.is_some());
        let calls = facts.answer.unwrap().tool_calls;
        assert_eq!(calls.len(), 2);
        assert_eq!((calls[0].name.as_str(), calls[0].arguments.as_str()), ("f", "{\"x\":1}"));
    }

    #[test]
    fn continuous_usage_gives_the_tokens_of_each_chunk() {
        let chunk = |text: &str, tokens: u32| {
            format!(
                "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}],\"usage\":{{\"completion_tokens\":{tokens}}}}}\n\n"
            )
        };
        let facts = run(&[chunk("a", 1), chunk("", 2), chunk("bcd", 5), content("x")].concat());
        assert!(facts.chunk_tokens().is_empty(), "one chunk is not known");
        let facts = run(&[chunk("a", 1), chunk("", 2), chunk("bcd", 5)].concat());
        assert_eq!(facts.chunk_tokens(), [1, 4]);
        assert_eq!(facts.usage.unwrap().completion_tokens, Some(5));
    }

    #[test]
    fn a_whole_answer_has_no_token_times() {
        let mut assembly = Assembly::new(Keep::Answer);
        let body = r#"{"object":"chat.completion","choices":[{"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],
            "usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
        assembly.feed_whole(body.as_bytes(), Instant::now());
        let facts = assembly.finish(RequestEnd::StreamCut, None, Instant::now());
        assert_eq!(facts.end.as_ref().unwrap().0, RequestEnd::Ok);
        assert!(facts.chunks.is_empty());
        assert_eq!(facts.answer.unwrap().content, "hi");
    }

    #[test]
    fn random_bytes_never_panic() {
        proptest::proptest!(|(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200))| {
            let mut assembly = Assembly::new(Keep::Answer);
            assembly.feed(b"data: ", Instant::now());
            assembly.feed(&bytes, Instant::now());
            let _ = assembly.finish(RequestEnd::StreamCut, None, Instant::now());
        });
    }
}

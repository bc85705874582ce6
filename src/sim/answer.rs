//! What the simulated model says: decided from the request and a seed before the first token is made.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value as Json, json};

use super::engine::Finish;
use super::fault::FaultKind;
use super::key::{self, How};
use super::request::{Generation, Tool, ToolChoice};
use super::{schema, tokenizer};

/// What one token of the answer adds to what the client sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delta {
    /// Nothing: markup that the server's parsers take out.
    Silent,
    Reasoning(String),
    Content(String),
    /// A call of a tool begins.
    ToolStart {
        index: usize,
        id: String,
        name: String,
    },
    ToolArguments {
        index: usize,
        text: String,
    },
}

/// A complete answer: as many deltas as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) tokens: Vec<u32>,
    pub(super) deltas: Vec<Delta>,
    pub(super) finish: Finish,
    /// What the client reads as `finish_reason`.
    pub(super) finish_reason: &'static str,
    pub(super) tool_calls: usize,
    /// The shipped case that the request is, and how it was answered.
    pub(super) case: Option<(&'static str, How)>,
}

/// How the server was started, as far as it shapes answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Voice {
    pub(super) seed: u64,
    /// `--sim-quality`.
    pub(super) quality: f64,
    /// The fault that strikes this request.
    pub(super) fault: Option<FaultKind>,
    /// Tools may be called when the client leaves it to the model.
    pub(super) auto_tools: bool,
}

/// A run of the answer before it is cut into tokens.
enum Run {
    Reasoning(String),
    Content(String),
    Markup(String),
    /// Markup whose last token starts a call.
    ToolStart {
        index: usize,
        id: String,
        name: String,
        markup: String,
    },
    ToolArguments {
        index: usize,
        text: String,
    },
}

/// The answer to `generation` in at most `room` tokens.
pub(super) fn answer(generation: &Generation, room: usize, voice: Voice) -> Answer {
    let mut hasher = DefaultHasher::new();
    (voice.seed, generation.seed, &generation.prompt).hash(&mut hasher);
    let mut random = hasher.finish();
    let mut runs = Vec::new();
    if generation.thinking {
        runs.push(Run::Markup("<think>".to_owned()));
        let length = 12 + (next(&mut random) % 20) as usize;
        let thought = format!("\nThe question is about {}.{}", topic(&generation.question), words(&mut random, length));
        runs.push(Run::Reasoning(thought));
        runs.push(Run::Markup("</think>".to_owned()));
    }
    let Said { case, calls, content } = said(generation, voice, &mut random);
    for (index, (name, arguments)) in calls.iter().enumerate() {
        let id = format!("chatcmpl-tool-{:016x}", next(&mut random));
        let markup = format!("<tool_call>\n{{\"name\": \"{name}\", \"arguments\": ");
        runs.push(Run::ToolStart { index, id, name: name.clone(), markup });
        runs.push(Run::ToolArguments { index, text: arguments.clone() });
        runs.push(Run::Markup("}\n</tool_call>".to_owned()));
    }
    let mut stopped_by_text = false;
    if calls.is_empty() {
        let mut text = content;
        if let Some(at) = generation.stop.iter().filter(|s| !s.is_empty()).filter_map(|s| text.find(s.as_str())).min() {
            text.truncate(at);
            stopped_by_text = true;
        }
        runs.push(Run::Content(text));
    }
    let (mut tokens, mut deltas) = cut(runs);
    let least = if generation.ignore_eos { room } else { generation.min_tokens.min(room) };
    while tokens.len() < least && !stopped_by_text && calls.is_empty() {
        let more = if voice.is_degenerate() { DEGENERATE.to_owned() } else { words(&mut random, least - tokens.len()) };
        let (more_tokens, more_deltas) = cut(vec![Run::Content(more)]);
        tokens.extend(more_tokens);
        deltas.extend(more_deltas);
    }
    if tokens.is_empty() {
        // An end-of-sequence token at once.
        tokens.extend(tokenizer::encode("<|endoftext|>"));
        deltas.push(Delta::Silent);
    }
    let room = if voice.fault == Some(FaultKind::Truncate) { room.min(tokens.len().div_ceil(2)) } else { room };
    // With `ignore_eos` only the limit ends an answer.
    let full = tokens.len() > room
        || (tokens.len() == room && (generation.ignore_eos || voice.fault == Some(FaultKind::Truncate)));
    tokens.truncate(room);
    deltas.truncate(room);
    let finish = if full { Finish::Length } else { Finish::Stop };
    let finish_reason = match (finish, &generation.tool_choice) {
        (Finish::Length, _) => "length",
        (Finish::Stop, ToolChoice::Named(_) | ToolChoice::None) => "stop",
        (Finish::Stop, ToolChoice::Auto | ToolChoice::Required) if calls.is_empty() => "stop",
        (Finish::Stop, ToolChoice::Auto | ToolChoice::Required) => "tool_calls",
    };
    Answer { tokens, deltas, finish, finish_reason, tool_calls: calls.len(), case }
}

impl Voice {
    fn is_degenerate(self) -> bool {
        self.fault == Some(FaultKind::Degenerate)
    }
}

/// What an answer says.
struct Said {
    /// The shipped case that was recognised, and how it is answered.
    case: Option<(&'static str, How)>,
    /// Tools and the text of their arguments.
    calls: Vec<(String, String)>,
    content: String,
}

/// What the answer says, with the fault that strikes.
fn said(generation: &Generation, voice: Voice, random: &mut u64) -> Said {
    if voice.is_degenerate() {
        return Said { case: None, calls: Vec::new(), content: DEGENERATE.repeat(24) };
    }
    let keyed = key::answer(generation, voice.seed, voice.quality);
    let case = keyed.as_ref().map(|keyed| (keyed.case_id, keyed.how));
    let (mut calls, mut text) = match keyed {
        Some(keyed) => (keyed.calls, keyed.content),
        None => {
            let calls: Vec<_> = calls(generation, voice).iter().map(|(t, a)| (t.name.clone(), a.to_string())).collect();
            let text = if calls.is_empty() { content(generation, random) } else { String::new() };
            (calls, text)
        }
    };
    match voice.fault {
        Some(FaultKind::ToolStreamDiffers) if generation.stream => {
            // A streaming parser that loses the end.
            if let Some((_, arguments)) = calls.last_mut() {
                arguments.pop();
            }
        }
        Some(FaultKind::MarkupLeak) if !calls.is_empty() => {
            let call = |(name, arguments): (String, String)| {
                format!("<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {arguments}}}\n</tool_call>")
            };
            text = calls.drain(..).map(call).collect::<Vec<_>>().join("\n");
        }
        Some(FaultKind::UnclosedThink) if calls.is_empty() => text = format!("<think>\n{text}"),
        Some(_) | None => {}
    }
    Said { case, calls, content: text }
}

fn cut(runs: Vec<Run>) -> (Vec<u32>, Vec<Delta>) {
    let mut tokens = Vec::new();
    let mut deltas = Vec::new();
    let mut put = |text: &str, delta: &dyn Fn(String) -> Delta| {
        for token in tokenizer::encode(text) {
            tokens.push(token);
            let mut piece = String::new();
            tokenizer::decode_into(token, &mut piece);
            deltas.push(delta(piece));
        }
    };
    let mut starts = Vec::new();
    let mut length = 0;
    for run in runs {
        match &run {
            Run::Reasoning(text) => put(text, &Delta::Reasoning),
            Run::Content(text) => put(text, &Delta::Content),
            Run::Markup(text) | Run::ToolStart { markup: text, .. } => put(text, &|_| Delta::Silent),
            Run::ToolArguments { index, text } => {
                put(text, &|piece| Delta::ToolArguments { index: *index, text: piece });
            }
        }
        length += match &run {
            Run::Reasoning(text) | Run::Content(text) | Run::Markup(text) | Run::ToolArguments { text, .. } => {
                tokenizer::encode(text).len()
            }
            Run::ToolStart { markup, .. } => tokenizer::encode(markup).len(),
        };
        if let Run::ToolStart { index, id, name, .. } = run {
            starts.push((length - 1, Delta::ToolStart { index, id, name }));
        }
    }
    for (at, delta) in starts {
        deltas[at] = delta;
    }
    (tokens, deltas)
}

/// The calls that the answer makes, with arguments that fit their schemas.
fn calls(generation: &Generation, voice: Voice) -> Vec<(Tool, Json)> {
    let make = |tool: &Tool| (tool.clone(), schema::instance(&tool.parameters, &generation.question));
    match &generation.tool_choice {
        ToolChoice::None => Vec::new(),
        ToolChoice::Named(name) => generation.tools.iter().filter(|t| t.name == *name).map(make).collect(),
        ToolChoice::Required => best(generation).or_else(|| generation.tools.first()).map(make).into_iter().collect(),
        ToolChoice::Auto if voice.auto_tools && !generation.after_tool => {
            best(generation).map(make).into_iter().collect()
        }
        ToolChoice::Auto => Vec::new(),
    }
}

/// The tool whose name and description share most words with the question; none when no word is shared.
fn best(generation: &Generation) -> Option<&Tool> {
    let question = content_words(&generation.question);
    let score = |tool: &Tool| {
        let words = content_words(&format!("{} {}", tool.name.replace('_', " "), tool.description));
        words.iter().filter(|w| question.contains(w)).count()
    };
    // The first of equals: `max_by_key` would take the last.
    generation.tools.iter().rev().max_by_key(|t| score(t)).filter(|t| score(t) > 0)
}

/// Words of at least four letters, in lower case, without a plural s.
fn content_words(text: &str) -> Vec<String> {
    const EMPTY: &[&str] =
        &["what", "this", "that", "with", "from", "have", "please", "which", "your", "about", "given"];
    text.split(|c: char| !c.is_alphanumeric())
        .map(|w| w.to_lowercase())
        .filter(|w| w.chars().count() >= 4 && !EMPTY.contains(&w.as_str()))
        .map(|w| w.strip_suffix('s').map(str::to_owned).unwrap_or(w))
        .collect()
}

/// The first longer word of the question, to make the answer look at it.
fn topic(question: &str) -> String {
    content_words(question).into_iter().next().unwrap_or_else(|| "nothing in particular".to_owned())
}

const DEGENERATE: &str = " the the the the the the the the";

fn content(generation: &Generation, random: &mut u64) -> String {
    if let Some(choice) = generation.choices.first() {
        return choice.clone();
    }
    if let Some(wanted) = &generation.schema {
        return schema::instance(wanted, &generation.question).to_string();
    }
    if generation.after_tool {
        return format!("According to the tool, here is the answer about {}.", topic(&generation.question));
    }
    if let Some(result) = arithmetic(&generation.question) {
        return format!("The answer is {result}.");
    }
    let length = 30 + (next(random) % 90) as usize;
    format!("About {}:{}.", topic(&generation.question), words(random, length))
}

/// The value of the first `a + b`, `a - b` or `a * b` in the text: enough to tell a sane engine from a broken one.
fn arithmetic(text: &str) -> Option<i64> {
    tokens_of(text).windows(3).find_map(|w| {
        let (a, b): (i64, i64) = (w[0].parse().ok()?, w[2].parse().ok()?);
        match w[1].as_str() {
            "+" | "plus" => a.checked_add(b),
            "-" | "minus" => a.checked_sub(b),
            "*" | "×" | "x" | "times" => a.checked_mul(b),
            _ => None,
        }
    })
}

/// Runs of digits, runs of letters, and single other characters; spaces left out.
fn tokens_of(text: &str) -> Vec<String> {
    let class = |c: char| if c.is_ascii_digit() { 0 } else { u8::from(c.is_alphabetic()) * 2 + 1 };
    let mut words: Vec<String> = Vec::new();
    let mut last = None;
    for c in text.chars() {
        let this = class(c);
        if c.is_whitespace() {
            last = None;
            continue;
        }
        match words.last_mut() {
            Some(word) if last == Some(this) && this != 1 => word.push(c),
            Some(_) | None => words.push(c.to_string()),
        }
        last = Some(this);
    }
    words
}

/// Some words, of which a few are not ASCII, as an answer in French would have.
const WORDS: &[&str] = &[
    "the", "model", "reads", "every", "token", "once", "and", "keeps", "what", "it", "saw", "so", "later", "steps",
    "are", "short", "a", "longer", "prompt", "takes", "more", "time", "cache", "holds", "past", "work", "queue",
    "moves", "when", "room", "is", "free", "été", "déjà", "naïve", "œuvre", "—", "batch", "grows", "then", "each",
    "step", "slows", "down", "little", "but", "total", "rate", "rises",
];

/// `count` words, each with a space in front.
fn words(random: &mut u64, count: usize) -> String {
    let mut text = String::with_capacity(count * 6);
    for _ in 0..count {
        text.push(' ');
        text.push_str(WORDS[(next(random) % WORDS.len() as u64) as usize]);
    }
    text
}

/// SplitMix64: small, seeded, good enough for words.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The finished message of a response that is not streamed.
pub(super) fn message(answer: &Answer) -> Json {
    let mut reasoning = String::new();
    let mut content = String::new();
    let mut calls: Vec<Json> = Vec::new();
    for delta in &answer.deltas {
        match delta {
            Delta::Silent => {}
            Delta::Reasoning(text) => reasoning.push_str(text),
            Delta::Content(text) => content.push_str(text),
            Delta::ToolStart { id, name, .. } => {
                calls.push(json!({"id": id, "type": "function", "function": {"name": name, "arguments": ""}}));
            }
            Delta::ToolArguments { index, text } => {
                if let Some(Json::String(arguments)) =
                    calls.get_mut(*index).and_then(|c| c.pointer_mut("/function/arguments"))
                {
                    arguments.push_str(text);
                }
            }
        }
    }
    let some = |text: String| if text.is_empty() { Json::Null } else { Json::String(text) };
    let content = if calls.is_empty() && reasoning.is_empty() { Json::String(content) } else { some(content) };
    let mut message = json!({
        "role": "assistant", "content": content, "refusal": null, "annotations": null, "audio": null,
        "function_call": null, "reasoning": some(reasoning),
    });
    // vLLM leaves the key out where there is no call.
    if !calls.is_empty() {
        message["tool_calls"] = Json::Array(calls);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::request::{Endpoint, read};

    const VOICE: Voice = Voice { seed: 0, quality: 1.0, fault: None, auto_tools: true };

    fn ask(body: Json) -> Generation {
        read(Endpoint::Chat, body.to_string().as_bytes(), false).unwrap()
    }

    fn weather_tools() -> Json {
        json!([{"type": "function", "function": {"name": "get_time", "description": "The time of day",
                "parameters": {"type": "object"}}},
            {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}])
    }

    #[test]
    fn the_same_request_and_seed_give_the_same_answer_and_another_seed_another() {
        let generation = ask(json!({"messages": [{"role": "user", "content": "Tell me about caches"}]}));
        let first = answer(&generation, 500, VOICE);
        assert_eq!(first, answer(&generation, 500, VOICE));
        assert_ne!(first, answer(&generation, 500, Voice { seed: 1, ..VOICE }));
        assert_eq!(first.finish_reason, "stop");
        assert_eq!(first.tokens.len(), first.deltas.len());
    }

    #[test]
    fn the_limit_truncates_and_ignore_eos_uses_it_up() {
        let generation = ask(json!({"messages": [{"role": "user", "content": "Go"}], "ignore_eos": true}));
        for room in [1, 7, 400] {
            let long = answer(&generation, room, VOICE);
            assert_eq!((long.tokens.len(), long.finish_reason), (room, "length"));
        }
        let short = ask(json!({"messages": [{"role": "user", "content": "Go"}]}));
        assert_eq!(answer(&short, 5, VOICE).finish_reason, "length");
        let least = ask(json!({"messages": [{"role": "user", "content": "Go"}], "min_tokens": 300}));
        assert!(answer(&least, 400, VOICE).tokens.len() >= 300);
    }

    #[test]
    fn a_matching_tool_is_called_with_arguments_that_fit_its_schema() {
        let generation = ask(json!({"messages": [{"role": "user", "content": "What is the weather in Paris?"}],
            "tools": weather_tools()}));
        let called = answer(&generation, 500, VOICE);
        assert_eq!(called.finish_reason, "tool_calls");
        let message = message(&called);
        assert_eq!(message["tool_calls"][0]["function"]["name"], "get_weather");
        assert_eq!(message["tool_calls"][0]["function"]["arguments"], r#"{"city":"Paris"}"#);
        assert_eq!(message["content"], Json::Null);

        let other = ask(json!({"messages": [{"role": "user", "content": "Tell me a joke"}], "tools": weather_tools()}));
        assert_eq!(answer(&other, 500, VOICE).finish_reason, "stop", "no tool fits");
        let forced = ask(json!({"messages": [{"role": "user", "content": "Tell me a joke"}],
            "tools": weather_tools(), "tool_choice": "required"}));
        assert_eq!(answer(&forced, 500, VOICE).finish_reason, "tool_calls");
    }

    #[test]
    fn a_stop_text_ends_the_answer_before_it() {
        let generation = ask(json!({"messages": [{"role": "user", "content": "What is 17 + 25?"}], "stop": ["42"]}));
        assert_eq!(message(&answer(&generation, 99, VOICE))["content"], "The answer is ");
    }

    #[test]
    fn sums_are_right() {
        assert_eq!(arithmetic("What is 17 + 25?"), Some(42));
        assert_eq!(arithmetic("compute 6*7 now"), Some(42));
        assert_eq!(arithmetic("Combien font 50 - 8 ?"), Some(42));
        assert_eq!(arithmetic("no sum here"), None);
    }

    #[test]
    fn a_degenerate_voice_repeats_itself() {
        let generation = ask(json!({"messages": [{"role": "user", "content": "Hello"}]}));
        let text = message(&answer(&generation, 50, Voice { fault: Some(FaultKind::Degenerate), ..VOICE }))["content"]
            .to_string();
        assert!(text.matches("the").count() > 20, "{text}");
    }
}

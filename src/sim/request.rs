//! What clients ask: the JSON of `/v1/completions` and `/v1/chat/completions`, checked as vLLM checks it.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::tokenizer;

/// An error in the shape of vLLM's: `{"error": {"message", "type", "param", "code"}}`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) message: String,
    pub(super) param: Option<&'static str>,
}

impl ApiError {
    /// 400.
    pub(super) fn bad_request(message: impl Into<String>, param: Option<&'static str>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "BadRequestError", message: message.into(), param }
    }

    /// 404 for a model that is not served.
    pub(super) fn unknown_model(model: &str, served: &[String]) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            kind: "NotFoundError",
            message: format!("The model `{model}` does not exist. Valid aliases: {}.", served.join(", ")),
            param: Some("model"),
        }
    }

    /// 500 when the engine core is gone.
    pub(super) fn engine_dead() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            kind: "InternalServerError",
            message: super::failures::ENGINE_DEAD.to_owned(),
            param: None,
        }
    }

    /// 400 or 500 that tells the request's key and the server's environment over and over, so that no place of a cut hides it.
    pub(super) fn echo(headers: &HeaderMap, number: u64) -> Self {
        let key = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let secret = |name: &str| ["KEY", "TOKEN", "SECRET", "PASSWORD"].iter().any(|word| name.contains(word));
        let own = std::env::vars().filter(|(name, _)| secret(name)).map(|(name, value)| format!("{name}={value}"));
        let all = own.chain([format!("Incorrect API key provided: {key}")]).collect::<Vec<_>>().join("; ");
        let (status, kind) = match number % 2 {
            0 => (StatusCode::BAD_REQUEST, "BadRequestError"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
        };
        Self { status, kind, message: vec![all; 64].join("; "), param: None }
    }

    /// The body.
    pub(super) fn body(&self) -> Json {
        json!({"error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.status.as_u16()
        }})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, axum::Json(self.body())).into_response()
    }
}

/// Which of the two generation endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Chat,
    Completions,
}

/// A tool as the client describes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) parameters: Json,
}

/// What the client wants done with its tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ToolChoice {
    None,
    Auto,
    Required,
    Named(String),
}

/// A generation request, checked and turned into tokens.
#[derive(Clone, Debug)]
pub(super) struct Generation {
    pub(super) endpoint: Endpoint,
    pub(super) model: String,
    pub(super) prompt: Vec<u32>,
    /// The last user message (or the prompt): what the answer looks at.
    pub(super) question: String,
    /// Whether the last message is a tool's result.
    pub(super) after_tool: bool,
    /// Rounds of tool calls since the last user message.
    pub(super) rounds: usize,
    pub(super) max_tokens: Option<usize>,
    pub(super) min_tokens: usize,
    pub(super) ignore_eos: bool,
    pub(super) stop: Vec<String>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) continuous_usage: bool,
    pub(super) tools: Vec<Tool>,
    pub(super) tool_choice: ToolChoice,
    pub(super) thinking: bool,
    /// A JSON schema that the answer obeys.
    pub(super) schema: Option<Json>,
    /// Texts of which the answer is one.
    pub(super) choices: Vec<String>,
    pub(super) seed: Option<i64>,
    pub(super) cache_salt: Option<String>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
    #[serde(default)]
    continuous_usage_stats: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Body {
    model: Option<String>,
    messages: Option<Vec<Message>>,
    prompt: Option<Json>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    min_tokens: Option<usize>,
    ignore_eos: Option<bool>,
    stop: Option<OneOrMany>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<usize>,
    temperature: Option<f64>,
    seed: Option<i64>,
    tools: Option<Vec<Json>>,
    tool_choice: Option<Json>,
    response_format: Option<Json>,
    structured_outputs: Option<Json>,
    chat_template_kwargs: Option<Json>,
    cache_salt: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Json,
    #[serde(default)]
    tool_calls: Option<Json>,
}

impl Message {
    fn text(&self) -> String {
        match &self.content {
            Json::String(text) => text.clone(),
            Json::Array(parts) => {
                parts.iter().filter_map(|p| p.get("text").and_then(Json::as_str)).collect::<Vec<_>>().join("\n")
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => String::new(),
        }
    }
}

/// The reason why a request body cannot be read.
fn unreadable(error: &serde_json::Error) -> ApiError {
    ApiError::bad_request(
        format!(
            "[{{'type': 'json_invalid', 'loc': ('body',), 'msg': 'JSON decode error', 'ctx': {{'error': '{error}'}}}}]"
        ),
        None,
    )
}

fn missing(field: &'static str) -> ApiError {
    ApiError::bad_request(
        format!("[{{'type': 'missing', 'loc': ('body', '{field}'), 'msg': 'Field required'}}]"),
        Some(field),
    )
}

/// Reads and checks a request.
pub(super) fn read(endpoint: Endpoint, bytes: &[u8], thinks: bool) -> Result<Generation, ApiError> {
    let body: Body = serde_json::from_slice(bytes).map_err(|e| unreadable(&e))?;
    if body.n.is_some_and(|n| n != 1) {
        return Err(ApiError::bad_request("The simulated engine gives one answer: n must be 1.", Some("n")));
    }
    if let Some(t) = body.temperature.filter(|t| *t < 0.0) {
        return Err(ApiError::bad_request(format!("temperature must be non-negative, got {t}."), Some("temperature")));
    }
    let stream = body.stream.unwrap_or(false);
    if !stream && body.stream_options.is_some() {
        return Err(ApiError::bad_request(
            "Stream options can only be defined when `stream=True`.",
            Some("stream_options"),
        ));
    }
    let thinking = thinks && kwarg(&body, "enable_thinking").unwrap_or(true) && endpoint == Endpoint::Chat;
    let tools = read_tools(&body)?;
    let tool_choice = read_tool_choice(&body, &tools)?;
    let rounds = body.messages.as_ref().map_or(0, |messages| rounds(messages));
    let (prompt, question, after_tool) = match endpoint {
        Endpoint::Chat => chat_prompt(&body, thinks && !thinking)?,
        Endpoint::Completions => completion_prompt(&body)?,
    };
    let max_tokens = match body.max_completion_tokens.or(body.max_tokens) {
        None => None,
        Some(n) => Some(usize::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| {
            ApiError::bad_request(format!("max_tokens must be at least 1, got {n}."), Some("max_tokens"))
        })?),
    };
    let options = body.stream_options.as_ref();
    let structured = body.structured_outputs.as_ref();
    Ok(Generation {
        endpoint,
        model: body.model.clone().unwrap_or_default(),
        prompt,
        question,
        after_tool,
        rounds,
        // The old completions endpoint makes 16 tokens unless told otherwise.
        max_tokens: max_tokens.or((endpoint == Endpoint::Completions).then_some(16)),
        min_tokens: body.min_tokens.unwrap_or(0),
        ignore_eos: body.ignore_eos.unwrap_or(false),
        stop: match body.stop {
            None => Vec::new(),
            Some(OneOrMany::One(text)) => vec![text],
            Some(OneOrMany::Many(texts)) => texts,
        },
        stream,
        include_usage: options.and_then(|o| o.include_usage).unwrap_or(false),
        continuous_usage: options.and_then(|o| o.continuous_usage_stats).unwrap_or(false),
        tools,
        tool_choice,
        thinking,
        schema: body
            .response_format
            .as_ref()
            .and_then(|f| match f.get("type").and_then(Json::as_str) {
                Some("json_schema") => f.pointer("/json_schema/schema").cloned(),
                Some("json_object") => Some(json!({"type": "object", "properties": {"answer": {"type": "string"}}})),
                Some(_) | None => None,
            })
            .or_else(|| structured.and_then(|s| s.get("json")).cloned()),
        choices: structured
            .and_then(|s| s.get("choice"))
            .and_then(Json::as_array)
            .map(|items| items.iter().filter_map(Json::as_str).map(str::to_owned).collect())
            .unwrap_or_default(),
        seed: body.seed,
        cache_salt: body.cache_salt,
    })
}

fn kwarg(body: &Body, name: &str) -> Option<bool> {
    body.chat_template_kwargs.as_ref()?.get(name)?.as_bool()
}

fn read_tools(body: &Body) -> Result<Vec<Tool>, ApiError> {
    let mut tools = Vec::new();
    for tool in body.tools.iter().flatten() {
        let Some(name) = tool.pointer("/function/name").and_then(Json::as_str) else {
            return Err(missing("tools"));
        };
        tools.push(Tool {
            name: name.to_owned(),
            description: tool.pointer("/function/description").and_then(Json::as_str).unwrap_or_default().to_owned(),
            parameters: tool.pointer("/function/parameters").cloned().unwrap_or_else(|| json!({"type": "object"})),
        });
    }
    Ok(tools)
}

fn read_tool_choice(body: &Body, tools: &[Tool]) -> Result<ToolChoice, ApiError> {
    let needs_tools = || ApiError::bad_request("When using `tool_choice`, `tools` must be set.", Some("tool_choice"));
    match &body.tool_choice {
        None | Some(Json::Null) => Ok(if tools.is_empty() { ToolChoice::None } else { ToolChoice::Auto }),
        Some(Json::String(word)) => match word.as_str() {
            "none" => Ok(ToolChoice::None),
            "auto" if tools.is_empty() => Err(needs_tools()),
            "auto" => Ok(ToolChoice::Auto),
            "required" if tools.is_empty() => Err(needs_tools()),
            "required" => Ok(ToolChoice::Required),
            other => Err(ApiError::bad_request(
                format!(
                    "Invalid value for `tool_choice`: {other}! Only named tools, \"none\", \"auto\" or \"required\" are supported."
                ),
                Some("tool_choice"),
            )),
        },
        Some(choice) => {
            let name = choice.pointer("/function/name").and_then(Json::as_str).unwrap_or_default();
            if tools.iter().any(|t| t.name == name) {
                return Ok(ToolChoice::Named(name.to_owned()));
            }
            Err(ApiError::bad_request(
                "The tool specified in `tool_choice` does not match any of the specified `tools`",
                Some("tool_choice"),
            ))
        }
    }
}

/// Assistant messages with tool calls since the last user message.
fn rounds(messages: &[Message]) -> usize {
    let since = messages.iter().rev().take_while(|m| m.role != "user");
    since.filter(|m| m.tool_calls.as_ref().is_some_and(|calls| calls.as_array().is_some_and(|c| !c.is_empty()))).count()
}

type Prompt = (Vec<u32>, String, bool);

/// The ChatML text of the messages, as tokens.
fn chat_prompt(body: &Body, think_nothing: bool) -> Result<Prompt, ApiError> {
    let messages = body.messages.as_ref().filter(|m| !m.is_empty()).ok_or_else(|| missing("messages"))?;
    let mut text = String::new();
    if let Some(tools) = body.tools.as_ref().filter(|t| !t.is_empty()) {
        text.push_str("<|im_start|>system\nYou may call these functions:\n");
        for tool in tools {
            text.push_str(&tool.to_string());
            text.push('\n');
        }
        text.push_str("<|im_end|>\n");
    }
    for message in messages {
        text.push_str(&format!("<|im_start|>{}\n{}", message.role, message.text()));
        if let Some(calls) = message.tool_calls.as_ref().filter(|c| !c.is_null()) {
            text.push_str(&format!("\n<tool_call>\n{calls}\n</tool_call>"));
        }
        text.push_str("<|im_end|>\n");
    }
    text.push_str("<|im_start|>assistant\n");
    if think_nothing {
        text.push_str("<think>\n\n</think>\n\n");
    }
    let question = messages.iter().rev().find(|m| m.role == "user").map(Message::text).unwrap_or_default();
    let after_tool = messages.last().is_some_and(|m| m.role == "tool");
    Ok((tokenizer::encode(&text), question, after_tool))
}

fn completion_prompt(body: &Body) -> Result<Prompt, ApiError> {
    let one = |prompt: &Json| -> Option<Prompt> {
        match prompt {
            Json::String(text) => Some((tokenizer::encode(text), text.clone(), false)),
            Json::Array(ids) => {
                let tokens: Option<Vec<u32>> =
                    ids.iter().map(|id| id.as_u64().and_then(|n| u32::try_from(n).ok())).collect();
                let tokens = tokens.filter(|t| !t.is_empty())?;
                let text = tokenizer::decode(&tokens);
                Some((tokens, text, false))
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => None,
        }
    };
    let prompt = body.prompt.as_ref().ok_or_else(|| missing("prompt"))?;
    let found = one(prompt).or_else(|| match prompt.as_array().map(Vec::as_slice) {
        Some([only]) => one(only),
        Some(_) | None => None,
    });
    match found {
        Some(prompt) if !prompt.0.is_empty() => Ok(prompt),
        Some(_) => Err(ApiError::bad_request("The decoder prompt cannot be empty", Some("prompt"))),
        None => Err(ApiError::bad_request(
            "prompt must be one string, one list of token ids, or a list of one of them",
            Some("prompt"),
        )),
    }
}

/// Checks the length and says how many tokens the answer may have.
pub(super) fn room(generation: &Generation, max_model_len: usize) -> Result<usize, ApiError> {
    let input = generation.prompt.len();
    let output = generation.max_tokens.unwrap_or(0);
    if output > max_model_len {
        return Err(ApiError::bad_request(
            format!(
                "max_tokens={output} cannot be greater than max_model_len={max_model_len}. Please request fewer output tokens. (parameter=max_tokens, value={output})"
            ),
            Some("max_tokens"),
        ));
    }
    if input + output.max(1) > max_model_len {
        return Err(ApiError::bad_request(
            format!(
                "This model's maximum context length is {max_model_len} tokens. However, you requested {output} output tokens and your prompt contains {input} input tokens, for a total of {} tokens. Please reduce the length of the input prompt or the number of requested output tokens.",
                input + output
            ),
            Some("input_tokens"),
        ));
    }
    Ok(generation.max_tokens.unwrap_or(max_model_len - input))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(body: Json) -> Result<Generation, ApiError> {
        read(Endpoint::Chat, body.to_string().as_bytes(), true)
    }

    #[test]
    fn a_chat_becomes_one_prompt_with_markers() {
        let generation = chat(json!({"model": "m", "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi there"}]}
        ], "max_completion_tokens": 5, "stop": "x"}))
        .unwrap();
        assert_eq!(
            tokenizer::decode(&generation.prompt),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n"
        );
        assert_eq!(generation.question, "Hi there");
        assert_eq!(generation.max_tokens, Some(5));
        assert_eq!(generation.stop, ["x"]);
        assert!(generation.thinking);
    }

    #[test]
    fn thinking_can_be_switched_off_and_closes_the_thought_in_the_prompt() {
        let generation = chat(json!({"messages": [{"role": "user", "content": "q"}],
            "chat_template_kwargs": {"enable_thinking": false}}))
        .unwrap();
        assert!(!generation.thinking);
        assert!(tokenizer::decode(&generation.prompt).ends_with("<think>\n\n</think>\n\n"));
    }

    #[test]
    fn requests_that_vllm_refuses_are_refused() {
        let user = json!([{"role": "user", "content": "q"}]);
        for (body, word) in [
            (json!({"messages": []}), "messages"),
            (json!({"messages": user, "stream_options": {"include_usage": true}}), "stream=True"),
            (json!({"messages": user, "n": 2}), "n must be 1"),
            (json!({"messages": user, "max_tokens": 0}), "at least 1"),
            (json!({"messages": user, "tool_choice": "required"}), "`tools` must be set"),
            (
                json!({"messages": user, "tools": [{"type": "function", "function": {"name": "a"}}],
                "tool_choice": {"type": "function", "function": {"name": "b"}}}),
                "does not match",
            ),
            (json!({"messages": user, "temperature": -1.0}), "non-negative"),
        ] {
            let error = chat(body.clone()).unwrap_err();
            assert_eq!(error.status, StatusCode::BAD_REQUEST, "{body}");
            assert!(error.message.contains(word), "{body}: {}", error.message);
        }
        assert!(read(Endpoint::Chat, b"{", true).is_err());
    }

    #[test]
    fn a_prompt_that_leaves_no_room_is_refused_in_vllms_words() {
        let generation = read(Endpoint::Completions, br#"{"prompt": [97, 98, 99], "max_tokens": 8}"#, false).unwrap();
        assert_eq!(room(&generation, 11), Ok(8));
        let error = room(&generation, 10).unwrap_err();
        assert!(error.message.starts_with("This model's maximum context length is 10 tokens. However, you requested 8 output tokens and your prompt contains 3 input tokens, for a total of 11 tokens."));
        assert_eq!(error.body()["error"]["code"], 400);
        assert!(
            room(&generation, 7)
                .unwrap_err()
                .message
                .starts_with("max_tokens=8 cannot be greater than max_model_len=7.")
        );
    }
}

//! The HTTP API: routes, the key, the access log, and every endpoint that is no stream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc::unbounded_channel;

use super::answer::{self, Voice};
use super::args::SimArgs;
use super::boot::VERSION;
use super::console::Console;
use super::engine::{EngineHandle, StreamEvent, Submission};
use super::fault::{Fault, FaultKind};
use super::metrics::{self, MetricsInfo};
use super::request::{self, ApiError, Endpoint, Generation};
use super::stream::{Claim, FINGERPRINT, Identity, Nulls, Stream, usage};
use super::tokenizer;
use super::truth::Truth;

/// What every handler sees.
pub(super) struct Api {
    pub(super) args: SimArgs,
    pub(super) max_model_len: usize,
    pub(super) engine: EngineHandle,
    pub(super) truth: Arc<Truth>,
    pub(super) info: MetricsInfo,
    pub(super) console: Console,
    /// Generation requests so far.
    pub(super) requests: AtomicU64,
    pub(super) created: i64,
    pub(super) keys: Vec<String>,
}

type Shared = State<Arc<Api>>;

/// The routes.
pub(super) fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/ping", get(health).post(health))
        .route("/version", get(async || axum::Json(json!({"version": VERSION}))))
        .route("/v1/models", get(models))
        .route("/metrics", get(metrics_page))
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat))
        .route("/sim/truth", get(truth))
        .fallback(async || (StatusCode::NOT_FOUND, axum::Json(json!({"detail": "Not Found"}))))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), guard))
        // Prompts of 100,000 tokens are long; the tokens are counted, not the bytes.
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(api)
}

/// Checks the key on `/v1`, and writes uvicorn's access log.
async fn guard(State(api): Shared, peer: ConnectInfo<SocketAddr>, request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let allowed = api.keys.is_empty() || !uri.path().starts_with("/v1") || {
        let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let given = given.and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default();
        api.keys.iter().any(|key| key == given)
    };
    let response = if allowed {
        next.run(request).await
    } else {
        (StatusCode::UNAUTHORIZED, axum::Json(json!({"error": "Unauthorized"}))).into_response()
    };
    if api.args.access_log {
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        api.console.out(&format!("INFO:     {} - \"{method} {path} HTTP/1.1\" {}", peer.0, response.status()));
    }
    response
}

async fn health(State(api): Shared) -> StatusCode {
    if api.engine.is_dead() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

async fn models(State(api): Shared) -> axum::Json<Json> {
    let card = |name: &String| {
        json!({
            "id": name, "object": "model", "created": api.created, "owned_by": "vllm", "root": api.args.model,
            "parent": null, "max_model_len": api.max_model_len,
            "permission": [{
                "id": "modelperm-0123456789abcdef", "object": "model_permission", "created": api.created,
                "allow_create_engine": false, "allow_sampling": true, "allow_logprobs": true,
                "allow_search_indices": false, "allow_view": true, "allow_fine_tuning": false,
                "organization": "*", "group": null, "is_blocking": false
            }],
        })
    };
    axum::Json(json!({"object": "list", "data": api.args.served_names.iter().map(card).collect::<Vec<_>>()}))
}

async fn metrics_page(State(api): Shared) -> Response {
    let stats = api.engine.stats().clone();
    let kind = [(header::CONTENT_TYPE, "text/plain; version=1.0.0; charset=utf-8")];
    (kind, metrics::render(&stats, &api.info)).into_response()
}

#[derive(Deserialize)]
struct Tokenize {
    model: Option<String>,
    prompt: Option<String>,
    messages: Option<Json>,
    tools: Option<Json>,
    add_generation_prompt: Option<bool>,
    chat_template_kwargs: Option<Json>,
    return_token_strs: Option<bool>,
}

async fn tokenize(State(api): Shared, body: Bytes) -> Result<axum::Json<Json>, ApiError> {
    let ask: Tokenize = serde_json::from_slice(&body).map_err(|e| ApiError::bad_request(e.to_string(), None))?;
    check_model(&api, ask.model.as_deref())?;
    let tokens = match (ask.prompt, ask.messages) {
        (Some(prompt), _) => tokenizer::encode(&prompt),
        (None, Some(messages)) => {
            let chat =
                json!({"messages": messages, "tools": ask.tools, "chat_template_kwargs": ask.chat_template_kwargs});
            let generation = request::read(Endpoint::Chat, chat.to_string().as_bytes(), thinks(&api))?;
            let mut tokens = generation.prompt;
            if ask.add_generation_prompt == Some(false) {
                tokens.truncate(tokens.len().saturating_sub(tokenizer::encode("<|im_start|>assistant\n").len()));
            }
            tokens
        }
        (None, None) => {
            return Err(ApiError::bad_request("either `prompt` or `messages` must be given", Some("prompt")));
        }
    };
    let texts = ask
        .return_token_strs
        .unwrap_or(false)
        .then(|| tokens.iter().map(|t| tokenizer::decode(&[*t])).collect::<Vec<_>>());
    Ok(axum::Json(json!({
        "count": tokens.len(), "max_model_len": api.max_model_len, "tokens": tokens, "token_strs": texts,
    })))
}

#[derive(Deserialize)]
struct Detokenize {
    model: Option<String>,
    tokens: Vec<u32>,
}

async fn detokenize(State(api): Shared, body: Bytes) -> Result<axum::Json<Json>, ApiError> {
    let ask: Detokenize = serde_json::from_slice(&body).map_err(|e| ApiError::bad_request(e.to_string(), None))?;
    check_model(&api, ask.model.as_deref())?;
    Ok(axum::Json(json!({"prompt": tokenizer::decode(&ask.tokens)})))
}

/// What really happened: see [`super::truth`].
async fn truth(State(api): Shared) -> axum::Json<Json> {
    axum::Json(json!({
        "started_unix_s": api.info.started_unix_s, "speed": api.args.sim.speed, "requests": api.truth.snapshot(),
    }))
}

async fn completions(State(api): Shared, headers: HeaderMap, body: Bytes) -> Response {
    generate(&api, Endpoint::Completions, &headers, &body).await.unwrap_or_else(IntoResponse::into_response)
}

async fn chat(State(api): Shared, headers: HeaderMap, body: Bytes) -> Response {
    generate(&api, Endpoint::Chat, &headers, &body).await.unwrap_or_else(IntoResponse::into_response)
}

fn thinks(api: &Api) -> bool {
    api.args.reasoning_parser.is_some()
}

fn check_model(api: &Api, asked: Option<&str>) -> Result<(), ApiError> {
    match asked {
        None | Some("") => Ok(()),
        Some(name) if api.args.served_names.iter().any(|n| n == name) => Ok(()),
        Some(name) => Err(ApiError::unknown_model(name, &api.args.served_names)),
    }
}

async fn generate(api: &Api, endpoint: Endpoint, headers: &HeaderMap, body: &[u8]) -> Result<Response, ApiError> {
    let arrival = Instant::now();
    let generation = request::read(endpoint, body, thinks(api))?;
    check_model(api, Some(&generation.model))?;
    let auto = api.args.auto_tool_choice && api.args.tool_call_parser.is_some();
    if generation.tool_choice == request::ToolChoice::Auto && !auto {
        return Err(ApiError::bad_request(
            "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set",
            None,
        ));
    }
    let room = request::room(&generation, api.max_model_len)?;
    if api.engine.is_dead() {
        return Err(ApiError::engine_dead());
    }
    let fault = api.args.sim.fault;
    let number = api.requests.fetch_add(1, Ordering::Relaxed);
    if Fault::strikes(fault, FaultKind::EchoSecrets, number)
        && api.args.sim.fault_while.as_ref().is_none_or(|file| file.exists())
    {
        return Err(ApiError::echo(headers, number));
    }
    let voice = Voice {
        seed: api.args.sim.seed,
        quality: api.args.sim.quality,
        fault: fault.filter(|f| Fault::strikes(fault, f.kind, number)).map(|f| f.kind),
        auto_tools: auto,
    };
    let answer = answer::answer(&generation, room, voice);
    let identity = identity(api, &generation, headers, number);
    if let Some(fault) = fault.filter(|f| f.kind == FaultKind::SlowFirstByte) {
        tokio::time::sleep(Duration::from_millis(fault.n)).await;
    }
    let record = api.truth.open(identity.id.clone(), number, arrival, body, generation.prompt.len());
    if let Some((case_id, how)) = answer.case {
        let mut entry = record.edit();
        entry.case = Some(case_id.to_owned());
        entry.answered = Some(how.to_string());
    }
    let (sender, events) = unbounded_channel();
    let submission = Submission {
        tokens: generation.prompt.iter().chain(&answer.tokens).copied().collect(),
        prompt_tokens: generation.prompt.len(),
        salt: generation.cache_salt.as_deref().map_or(0, salt),
        finish: answer.finish,
        arrival,
        record: record.clone(),
        events: sender,
    };
    let id = api.engine.submit(submission).ok_or_else(ApiError::engine_dead)?;
    let claim = Claim { engine: api.engine.clone(), id, done: false };
    if !generation.tools.is_empty() {
        api.engine.stats().tool_answers[usize::from(!generation.stream)][usize::from(answer.tool_calls == 0)] += 1;
    }
    let tokens_details = api.args.prompt_tokens_details;
    let truth = Arc::clone(&api.truth);
    let interval = api.args.stream_interval;
    let stream =
        Stream { generation, answer, identity, events, claim, record, truth, tokens_details, interval, fault, number };
    if stream.generation.stream {
        let kind = [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")];
        return Ok((kind, stream.into_body()).into_response());
    }
    whole(stream).await
}

fn salt(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// `chatcmpl-` and the client's `X-Request-Id`, or a number of ours.
fn identity(api: &Api, generation: &Generation, headers: &HeaderMap, number: u64) -> Identity {
    let prefix = match generation.endpoint {
        Endpoint::Chat => "chatcmpl-",
        Endpoint::Completions => "cmpl-",
    };
    let end = match headers.get("x-request-id").and_then(|v| v.to_str().ok()) {
        Some(id) => id.to_owned(),
        None => format!("{:08x}{number:08x}", salt(&api.info.started_unix_s.to_string()) >> 32),
    };
    let model = if generation.model.is_empty() { api.args.served_names.first() } else { None };
    Identity {
        id: format!("{prefix}{end}"),
        created: jiff::Timestamp::now().as_second(),
        model: model.unwrap_or(&generation.model).clone(),
    }
}

/// A response that is not streamed.
async fn whole(mut stream: Stream) -> Result<Response, ApiError> {
    let count = stream.answer.deltas.len();
    let cached = loop {
        match stream.events.recv().await {
            Some(StreamEvent::Tokens { emitted, cached_tokens }) if emitted == count => break cached_tokens,
            Some(StreamEvent::Tokens { .. }) => {}
            Some(StreamEvent::Died) | None => return Err(ApiError::engine_dead()),
        }
    };
    stream.claim.done = true;
    let Stream { generation, answer, identity, .. } = &stream;
    let message = answer::message(answer);
    let finish = answer.finish_reason;
    let (object, choice) = match generation.endpoint {
        Endpoint::Chat => (
            "chat.completion",
            json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish, "stop_reason": null,
                "token_ids": null, "routed_experts": null}),
        ),
        Endpoint::Completions => (
            "text_completion",
            json!({"index": 0, "text": message["content"], "logprobs": null, "finish_reason": finish,
                "stop_reason": null, "token_ids": null, "prompt_logprobs": null, "prompt_token_ids": null}),
        ),
    };
    let usage = if Fault::strikes(stream.fault, FaultKind::NoUsage, stream.number) {
        Json::Null
    } else {
        usage(generation, &answer.deltas, stream.tokens_details.then_some(cached), Nulls::Shown)
    };
    let mut body = json!({
        "id": identity.id, "object": object, "created": identity.created, "model": identity.model,
        "choices": [choice], "service_tier": null, "system_fingerprint": FINGERPRINT, "usage": usage,
    });
    let more: &[&str] = match generation.endpoint {
        Endpoint::Chat => &[
            "prompt_logprobs",
            "prompt_token_ids",
            "prompt_text",
            "kv_transfer_params",
            "ec_transfer_params",
            "metrics",
        ],
        Endpoint::Completions => &["kv_transfer_params"],
    };
    for key in more {
        body[*key] = Json::Null;
    }
    Ok(axum::Json(body).into_response())
}

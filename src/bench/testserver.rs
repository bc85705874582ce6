//! A server for tests: plays exact bytes with exact pauses, or a small engine whose true times and cache are known.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Client, Target};

/// What the server plays.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) tokenize: bool,
    pub(super) metrics: bool,
    pub(super) health: u16,
    pub(super) max_model_len: Option<u32>,
    /// Answers to `/v1/chat/completions`, exact bytes after the request was read; `None`: the small engine.
    pub(super) chat: Option<Vec<Step>>,
    pub(super) engine: Engine,
}

/// The small engine.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    /// Prefill per prompt that is not cached, ms.
    pub(super) miss_ms: u64,
    /// Prefill of a cached prompt, ms.
    pub(super) hit_ms: u64,
    /// Between two chunks, ms.
    pub(super) gap_ms: u64,
    /// So much longer is each gap after every four requests, ms.
    pub(super) slower_ms: u64,
    /// What a repeated prompt meets.
    pub(super) cache: Cache,
    /// Whether usage says `cached_tokens`.
    pub(super) says_cached: bool,
    pub(super) usage: bool,
    /// Completion tokens per chunk.
    pub(super) tokens_per_chunk: u32,
    /// Every n-th chat request gets HTTP status 500.
    pub(super) fail_every: Option<u32>,
    /// The server dies in the middle of the n-th chat request's answer.
    pub(super) die_at: Option<u32>,
    /// As vLLM 0.11 with speculative decoding.
    pub(super) refuses_min_tokens: bool,
    /// Preemptions per chat request.
    pub(super) preemptions: u32,
}

/// How the small engine's cache behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cache {
    /// Hits are fast and counted.
    On,
    /// Hits are as slow as misses, and nothing is counted.
    Off,
    /// Hits are fast and nothing is counted.
    FastButUncounted,
}

/// One step of a raw answer.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// These bytes, in one write.
    Send(Vec<u8>),
    /// Nothing for so many ms.
    Pause(u64),
    /// Nothing more, with the connection open.
    Hang,
    /// The connection is closed at once.
    Close,
}

impl Default for Script {
    fn default() -> Self {
        let engine = Engine {
            miss_ms: 0,
            hit_ms: 0,
            gap_ms: 0,
            slower_ms: 0,
            cache: Cache::On,
            says_cached: true,
            usage: true,
            tokens_per_chunk: 1,
            fail_every: None,
            die_at: None,
            refuses_min_tokens: false,
            preemptions: 0,
        };
        Self { tokenize: true, metrics: true, health: 200, max_model_len: None, chat: None, engine }
    }
}

/// Keeps the only thread of a test's runtime busy for `busy_ms` at a time.
pub(super) fn starve(busy_ms: u64) -> tokio_util::task::AbortOnDropHandle<()> {
    tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            std::thread::sleep(std::time::Duration::from_millis(busy_ms));
            tokio::task::yield_now().await;
        }
    }))
}

/// Response headers of a chunked event stream.
pub(super) const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";

/// The end of a chunked body.
pub(super) const LAST_CHUNK: &str = "0\r\n\r\n";

/// `text` as one HTTP chunk.
pub(super) fn http_chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// One SSE event of a delta.
pub(super) fn delta(delta: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]}}\n\n"
    )
}

/// One SSE event that finishes.
pub(super) fn finish(reason: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}\n\n")
}

#[derive(Debug, Default)]
struct State {
    seen: HashSet<String>,
    queries: u64,
    hits: u64,
    generated: u64,
    preemptions: u64,
}

#[derive(Debug)]
struct Shared {
    script: Script,
    state: Mutex<State>,
    chats: AtomicU32,
    in_flight: AtomicU32,
    most_in_flight: AtomicU32,
    connections: AtomicU32,
    bodies: Mutex<Vec<Value>>,
    dead: CancellationToken,
}

/// A listening server; gone when dropped.
#[derive(Debug)]
pub(super) struct TestServer {
    pub(super) url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shared.dead.cancel();
        self.task.abort();
    }
}

impl TestServer {
    pub(super) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            script,
            state: Mutex::default(),
            chats: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            most_in_flight: AtomicU32::new(0),
            connections: AtomicU32::new(0),
            bodies: Mutex::default(),
            dead: CancellationToken::new(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { url, shared, task }
    }

    /// A server that answers chats with these steps.
    pub(super) async fn playing(steps: Vec<Step>) -> Self {
        Self::start(Script { chat: Some(steps), ..Script::default() }).await
    }

    pub(super) async fn client(&self) -> Client {
        Client::new(&Target::new(&self.url, "m")).await.unwrap()
    }

    /// Bodies of the chat requests so far.
    pub(super) fn bodies(&self) -> Vec<Value> {
        self.shared.bodies.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> u32 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub(super) fn most_in_flight(&self) -> u32 {
        self.shared.most_in_flight.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.dead.cancelled() => return,
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else { return };
                let shared = Arc::clone(&shared);
                shared.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let dead = shared.dead.clone();
                    tokio::select! {
                        () = dead.cancelled() => {}
                        _ = serve(socket, shared) => {}
                    }
                });
            }
        }
    }
}

pub(super) async fn read_request(socket: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .filter_map(|l| l.split_once(':'))
        .find(|(k, _)| k.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, v)| v.trim().parse().unwrap());
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    Some((head.split(' ').nth(1).unwrap().to_owned(), body))
}

async fn serve(mut socket: TcpStream, shared: Arc<Shared>) -> Option<()> {
    socket.set_nodelay(true).ok()?;
    loop {
        let (path, body) = read_request(&mut socket).await?;
        let script = &shared.script;
        let (status, answer) = match path.as_str() {
            "/v1/models" => (200, json!({"data": [{"id": "m", "max_model_len": script.max_model_len}]}).to_string()),
            "/health" => (script.health, String::new()),
            "/metrics" if script.metrics => (200, shared.metrics()),
            "/tokenize" if script.tokenize => {
                let body: Value = serde_json::from_slice(&body).unwrap();
                (200, json!({"count": tokens_of(&prompt_of(&body)), "max_model_len": script.max_model_len}).to_string())
            }
            "/v1/chat/completions" => {
                let body: Value = serde_json::from_slice(&body).unwrap();
                shared.bodies.lock().unwrap().push(body.clone());
                match &script.chat {
                    Some(steps) => play(&mut socket, steps).await?,
                    None => {
                        let now = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
                        shared.most_in_flight.fetch_max(now, Ordering::SeqCst);
                        let done = shared.answer(&mut socket, &body).await;
                        shared.in_flight.fetch_sub(1, Ordering::SeqCst);
                        done?;
                    }
                }
                continue;
            }
            _ => (404, "{\"detail\":\"Not Found\"}".to_owned()),
        };
        write(&mut socket, &plain(status, &answer)).await?;
    }
}

async fn write(socket: &mut TcpStream, text: &str) -> Option<()> {
    socket.write_all(text.as_bytes()).await.ok()
}

fn plain(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

async fn play(socket: &mut TcpStream, steps: &[Step]) -> Option<()> {
    for step in steps {
        match step {
            Step::Send(bytes) => socket.write_all(bytes).await.ok()?,
            Step::Pause(ms) => tokio::time::sleep(Duration::from_millis(*ms)).await,
            Step::Hang => std::future::pending::<()>().await,
            Step::Close => return None,
        }
    }
    Some(())
}

fn prompt_of(body: &Value) -> String {
    let messages = body["messages"].as_array().unwrap().iter();
    messages.map(|m| m["content"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

/// A word is a token, a long one two, and the chat template five.
fn tokens_of(text: &str) -> u32 {
    5 + text.split_whitespace().map(|w| 1 + u32::from(w.chars().count() > 7)).sum::<u32>()
}

impl Shared {
    fn metrics(&self) -> String {
        let s = self.state.lock().unwrap();
        format!(
            "# TYPE x counter\nvllm:prefix_cache_queries_total{{engine=\"0\"}} {}\nvllm:prefix_cache_hits_total{{engine=\"0\"}} {}\n\
             vllm:generation_tokens_total{{engine=\"0\"}} {}\nvllm:num_preemptions_total{{engine=\"0\"}} {}\n",
            s.queries, s.hits, s.generated, s.preemptions
        )
    }

    /// Looks the prompt up; gives the time of its prefill and its cached tokens.
    fn prefill(&self, prompt: &str) -> (u64, u32) {
        let engine = &self.script.engine;
        let mut state = self.state.lock().unwrap();
        state.preemptions += u64::from(engine.preemptions);
        let known = !state.seen.insert(prompt.to_owned());
        let tokens = tokens_of(prompt);
        let cached = match engine.cache {
            Cache::On if known => tokens / 16 * 16,
            Cache::On | Cache::Off | Cache::FastButUncounted => 0,
        };
        if engine.cache == Cache::On {
            state.queries += u64::from(tokens);
            state.hits += u64::from(cached);
        }
        let is_fast = known && engine.cache != Cache::Off;
        (if is_fast { engine.hit_ms } else { engine.miss_ms }, cached)
    }

    async fn answer(&self, socket: &mut TcpStream, body: &Value) -> Option<()> {
        let engine = &self.script.engine;
        let number = self.chats.fetch_add(1, Ordering::SeqCst) + 1;
        if engine.fail_every.is_some_and(|n| number.is_multiple_of(n)) {
            return write(socket, &plain(500, "{\"error\":{\"message\":\"No module named triton\"}}")).await;
        }
        if engine.refuses_min_tokens && body.get("min_tokens").is_some() {
            let text = "The min_tokens, min_p, and logit_bias sampling parameters are not yet supported with speculative decoding.";
            return write(socket, &plain(400, &json!({"error": {"message": text}}).to_string())).await;
        }
        let prompt = prompt_of(body);
        let (prefill_ms, cached) = self.prefill(&prompt);
        let wanted = body["max_tokens"].as_u64().unwrap() as u32;
        let usage = |tokens: u32| {
            let details = if engine.says_cached { json!({"cached_tokens": cached}) } else { Value::Null };
            let usage = json!({"prompt_tokens": tokens_of(&prompt), "completion_tokens": tokens, "prompt_tokens_details": details});
            if engine.usage { usage } else { Value::Null }
        };
        if body["stream"] == json!(false) {
            self.state.lock().unwrap().generated += u64::from(wanted);
            let message = json!({"role": "assistant", "content": "whole"});
            let answer = json!({"choices": [{"message": message, "finish_reason": "length"}], "usage": usage(wanted)});
            return write(socket, &plain(200, &answer.to_string())).await;
        }
        write(socket, STREAM_HEAD).await?;
        write(socket, &http_chunk(&delta("{\"role\":\"assistant\",\"content\":\"\"}"))).await?;
        tokio::time::sleep(Duration::from_millis(prefill_ms)).await;
        let mut sent = 0;
        while sent < wanted {
            if sent > 0 {
                let gap_ms = engine.gap_ms + engine.slower_ms * u64::from(number / 4);
                tokio::time::sleep(Duration::from_millis(gap_ms)).await;
            }
            sent = (sent + engine.tokens_per_chunk).min(wanted);
            let event = json!({"choices": [{"delta": {"content": "word "}}], "usage": usage(sent)});
            write(socket, &http_chunk(&format!("data: {event}\n\n"))).await?;
            if engine.die_at == Some(number) {
                self.dead.cancel();
                return None;
            }
        }
        self.state.lock().unwrap().generated += u64::from(wanted);
        let end = json!({"choices": [], "usage": usage(wanted)});
        let tail = format!("{}data: {end}\n\ndata: [DONE]\n\n", finish("length"));
        write(socket, &format!("{}{LAST_CHUNK}", http_chunk(&tail))).await
    }
}

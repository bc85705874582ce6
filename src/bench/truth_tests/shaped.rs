//! A server that writes a stream of any shape and keeps its own stamps.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::domain::TokenKind;
use crate::stats::SplitMix64;

use super::super::testserver::{LAST_CHUNK, STREAM_HEAD, delta, finish, http_chunk, read_request};
use super::super::{Client, Target};

/// One token-bearing event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Nothing is written for so long before it, ms.
    pub(super) pause_ms: u64,
    pub(super) kind: TokenKind,
    pub(super) tokens: u32,
}

/// What usage says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    Never,
    AtTheEnd,
    WithEveryEvent,
}

/// How the stream ends, after its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Done,
    ErrorEvent,
    Cut,
}

/// The shape of one answer.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    /// The headers are late by so much, ms.
    pub(super) headers_after_ms: u64,
    pub(super) pieces: Vec<Piece>,
    pub(super) usage: Usage,
    pub(super) ending: Ending,
    /// Everything is written in pieces of 1 to 23 bytes.
    pub(super) fragmented: bool,
}

impl Shape {
    pub(super) fn tokens(&self) -> u32 {
        self.pieces.iter().map(|p| p.tokens).sum()
    }
}

/// What the server did.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    /// The request was read.
    pub(super) arrival: Instant,
    /// Just before the headers' last byte was written.
    pub(super) headers: Instant,
    /// Just before the last byte of each token-bearing event was written.
    pub(super) written: Vec<Instant>,
    /// The same of `[DONE]`, of the error event, or of the cut.
    pub(super) end: Instant,
}

type Kept = Arc<Mutex<HashMap<usize, Truth>>>;

/// The server; gone when dropped.
pub(super) struct ShapedServer {
    url: String,
    kept: Kept,
    _task: AbortOnDropHandle<()>,
}

impl ShapedServer {
    /// Answers a request whose message begins with the number `i` in the shape with that number.
    pub(super) async fn start(shapes: Vec<Shape>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (kept, shapes): (Kept, _) = (Kept::default(), Arc::new(shapes));
        let all = Arc::clone(&kept);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, Arc::clone(&shapes), Arc::clone(&all)));
            }
        });
        Self { url, kept, _task: AbortOnDropHandle::new(task) }
    }

    pub(super) async fn client(&self) -> Client {
        Client::new(&Target::new(&self.url, "m")).await.unwrap()
    }

    /// What it did for the request with this number, once it is over: a client may know of an error before the server is done.
    pub(super) async fn truth(&self, number: usize) -> Truth {
        loop {
            if let Some(truth) = self.kept.lock().unwrap().get(&number) {
                return truth.clone();
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn serve(mut socket: TcpStream, shapes: Arc<Vec<Shape>>, kept: Kept) -> Option<()> {
    socket.set_nodelay(true).ok()?;
    loop {
        let (_, body) = read_request(&mut socket).await?;
        let arrival = Instant::now();
        let body: Value = serde_json::from_slice(&body).ok()?; // no chat: there is nothing else here
        let number: usize = body["messages"][0]["content"].as_str()?.split_whitespace().next()?.parse().unwrap();
        let shape = &shapes[number];
        let mut writer = Writer { socket: &mut socket, cuts: shape.fragmented.then(|| SplitMix64::new(number as u64)) };
        let truth = play(&mut writer, shape, arrival).await?;
        kept.lock().unwrap().insert(number, truth);
        if shape.ending == Ending::Cut {
            return None;
        }
    }
}

struct Writer<'s> {
    socket: &'s mut TcpStream,
    cuts: Option<SplitMix64>,
}

impl Writer<'_> {
    /// Writes an event as an HTTP chunk; the moment just before the piece was handed to the socket that makes the event whole: its
    /// own last byte comes before the CR LF that ends the chunk.
    async fn event(&mut self, event: &str) -> Option<Instant> {
        self.write(&http_chunk(event), "\r\n".len()).await
    }

    /// Writes the text; the moment just before the piece with its last byte but `after` was handed to the socket.
    async fn write(&mut self, text: &str, after: usize) -> Option<Instant> {
        let mut rest = text.as_bytes();
        let mut whole = None;
        loop {
            let length = match &mut self.cuts {
                Some(random) => (1 + random.below(23)).min(rest.len()),
                None => rest.len(),
            };
            let (now, later) = rest.split_at(length);
            if later.len() <= after {
                whole.get_or_insert_with(Instant::now);
            }
            self.socket.write_all(now).await.ok()?;
            if later.is_empty() {
                return whole;
            }
            rest = later;
            tokio::task::yield_now().await; // lets the reader see this piece alone
        }
    }
}

async fn play(writer: &mut Writer<'_>, shape: &Shape, arrival: Instant) -> Option<Truth> {
    tokio::time::sleep(Duration::from_millis(shape.headers_after_ms)).await;
    let headers = writer.write(STREAM_HEAD, 0).await?;
    writer.event(&delta("{\"role\":\"assistant\",\"content\":\"\"}")).await?;
    let (mut written, mut tokens) = (Vec::new(), 0);
    for (at, piece) in shape.pieces.iter().enumerate() {
        tokio::time::sleep(Duration::from_millis(piece.pause_ms)).await;
        tokens += piece.tokens;
        let text = "é😀 ".repeat(piece.tokens as usize);
        let delta = match piece.kind {
            TokenKind::Content => json!({"content": text}),
            TokenKind::Reasoning => json!({"reasoning_content": text}),
            TokenKind::ToolCall if at == 0 => {
                json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]})
            }
            TokenKind::ToolCall => json!({"tool_calls": [{"index": 0, "function": {"arguments": "1"}}]}),
        };
        let mut event = json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]});
        if shape.usage == Usage::WithEveryEvent {
            event["usage"] = json!({"prompt_tokens": 3, "completion_tokens": tokens});
        }
        written.push(writer.event(&format!("data: {event}\n\n")).await?);
    }
    let end = match shape.ending {
        Ending::Cut => Instant::now(),
        Ending::ErrorEvent => {
            let error = "data: {\"error\":{\"message\":\"EngineCore died\"}}\n\n";
            let end = writer.event(error).await?;
            if writer.event("data: [DONE]\n\n").await.is_some() {
                let _ = writer.write(LAST_CHUNK, 0).await; // nobody may listen any more
            }
            end
        }
        Ending::Done => {
            writer.event(&finish("length")).await?;
            if shape.usage != Usage::Never {
                let usage = json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": tokens}});
                writer.event(&format!("data: {usage}\n\n")).await?;
            }
            let end = writer.event("data: [DONE]\n\n").await?;
            writer.write(LAST_CHUNK, 0).await?;
            end
        }
    };
    Some(Truth { arrival, headers, written, end })
}

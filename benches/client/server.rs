//! A server that plays what a request asks for and remembers when a request arrived and when it wrote what.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::arrival;
use crate::case::{WARM_UP_CHUNKS, WARM_UP_GAP_US, text_of};
use crate::process::{self, Times};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// Between a request and its first token in a paced case: a prefill, so that sending does not disturb what is read.
const PREFILL: Duration = Duration::from_millis(300);

/// Between two pieces of a cut event in a paced case.
const BETWEEN_PIECES: Duration = Duration::from_millis(1);

/// A flood is written in pieces of about so many bytes.
const FLOOD_BYTES: usize = 8_192;

/// The part of a request's body that the server plays.
#[derive(Debug, Deserialize)]
struct Play {
    /// Without one, the request's prompt is its name: a client may send all its requests with the same `play`.
    id: Option<String>,
    /// The process that asks, if it is one whose times this server is to note.
    client: Option<u32>,
    chunks: u32,
    tokens_per_chunk: u32,
    gap_us: u64,
    split: bool,
}

/// What happened to one request, us since 1970. A chunk counts as written when its last byte is about to be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Truth {
    /// When the request's last byte arrived at the server's socket, by the kernel's clock: a server that is slow to read keeps its
    /// client waiting all the same.
    pub arrived_us: f64,
    /// One per chunk; in a flood only the first.
    pub written_us: Vec<f64>,
}

/// Noted when a client asks for `/metrics`: vLLM's client in Rust does so directly before its first request, and again directly after
/// its last answer if the server is one that speculates.
#[derive(Debug, Serialize, Deserialize)]
pub struct Mark {
    pub client: Times,
    pub server_waited_us: f64,
}

/// What `GET /truth` tells.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    /// Per request, by its `id`.
    pub requests: HashMap<String, Truth>,
    pub marks: Vec<Mark>,
    /// How long this process was ready to run and did not, since it began, us.
    pub waited_us: f64,
}

/// What the server remembers between two `GET /truth`.
#[derive(Debug, Default)]
struct Notes {
    requests: HashMap<String, Truth>,
    /// The client whose times are noted.
    client: Option<u32>,
    marks: Vec<Mark>,
}

impl Notes {
    /// Notes the client's times, if there is one to note, and says what vLLM's `/metrics` says of speculation.
    fn mark(&mut self) -> &'static str {
        if let Some(client) = self.client {
            let client = process::times_of(&client.to_string());
            self.marks.push(Mark { client, server_waited_us: process::times().waited_us });
        }
        "vllm:spec_decode_num_drafts_total 0\n"
    }

    /// What to play: a client whose times are noted warms up until it first asks for `/metrics`.
    fn play(&mut self, asked: Play) -> (Play, bool) {
        self.client = self.client.or(asked.client);
        let is_warm_up = asked.client.is_some() && self.marks.is_empty();
        let warm_up = |asked| Play { chunks: WARM_UP_CHUNKS, gap_us: WARM_UP_GAP_US, ..asked };
        (if is_warm_up { warm_up(asked) } else { asked }, is_warm_up)
    }
}

type Shared = Arc<Mutex<Notes>>;

pub fn unix_us() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64() * 1e6
}

#[tokio::main(flavor = "current_thread")]
pub async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    arrival::note(&listener).expect("a listening socket");
    println!("{}", listener.local_addr().expect("an address"));
    let notes = Shared::default();
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        let notes = Arc::clone(&notes);
        tokio::spawn(async move {
            let _ = connection(socket, notes).await; // the client's end of a connection is no failure
        });
    }
}

/// Answers the requests of one connection: `GET /truth` tells and forgets, everything else is a chat completion.
async fn connection(mut socket: TcpStream, notes: Shared) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut random = 0x2545_F491_4F6C_DD1D;
    loop {
        let (path, body, arrived_us) = read_request(&socket).await?;
        let plain = match path.as_str() {
            "/truth" => {
                let Notes { requests, marks, .. } = std::mem::take(&mut *notes.lock().expect("nobody panics"));
                Some(serde_json::to_string(&Told { requests, marks, waited_us: process::times().waited_us })?)
            }
            "/metrics" => Some(notes.lock().expect("nobody panics").mark().to_owned()),
            _ => None,
        };
        if let Some(text) = plain {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
            socket.write_all(format!("{head}{text}").as_bytes()).await?;
            continue;
        }
        let body: serde_json::Value = serde_json::from_slice(&body)?;
        let asked = serde_json::from_value(body["play"].clone())?;
        let (play, is_warm_up) = notes.lock().expect("nobody panics").play(asked);
        let mut truth = Truth { arrived_us, written_us: Vec::with_capacity(play.chunks as usize) };
        socket.write_all(HEAD.as_bytes()).await?;
        if play.gap_us == 0 {
            flood(&mut socket, &play, &mut truth, &mut random).await?;
        } else {
            pace(&mut socket, &play, &mut truth, &mut random).await?;
        }
        if !is_warm_up {
            let prompt = || body["messages"][0]["content"][0]["text"].as_str().unwrap_or_default().to_owned();
            notes.lock().expect("nobody panics").requests.insert(play.id.unwrap_or_else(prompt), truth);
        }
    }
}

async fn flood(socket: &mut TcpStream, play: &Play, truth: &mut Truth, random: &mut u64) -> std::io::Result<()> {
    let mut buffer = String::new();
    for number in 0..play.chunks {
        push_chunk(&mut buffer, play, number);
        if number == 0 || buffer.len() > FLOOD_BYTES {
            if number == 0 {
                truth.written_us.push(unix_us());
            }
            write_cut(socket, buffer.as_bytes(), play.split, random).await?;
            buffer.clear();
        }
    }
    push_end(&mut buffer, play);
    write_cut(socket, buffer.as_bytes(), play.split, random).await
}

/// Writes in one piece, or in pieces of 1 to 2,000 bytes.
async fn write_cut(socket: &mut TcpStream, mut bytes: &[u8], cut: bool, random: &mut u64) -> std::io::Result<()> {
    while cut && !bytes.is_empty() {
        let (piece, rest) = bytes.split_at((1 + next(random) as usize % 2_000).min(bytes.len()));
        socket.write_all(piece).await?;
        tokio::task::yield_now().await;
        bytes = rest;
    }
    socket.write_all(bytes).await
}

async fn pace(socket: &mut TcpStream, play: &Play, truth: &mut Truth, random: &mut u64) -> std::io::Result<()> {
    let mut due = Instant::now() + PREFILL;
    let mut buffer = String::new();
    for number in 0..play.chunks {
        tokio::time::sleep_until(due.into()).await;
        due += Duration::from_micros(play.gap_us);
        buffer.clear();
        push_chunk(&mut buffer, play, number);
        let mut bytes = buffer.as_bytes();
        for _ in 0..if play.split { 2 } else { 0 } {
            let (piece, rest) = bytes.split_at(next(random) as usize % bytes.len());
            socket.write_all(piece).await?;
            tokio::time::sleep(BETWEEN_PIECES).await;
            bytes = rest;
        }
        truth.written_us.push(unix_us());
        socket.write_all(bytes).await?;
    }
    buffer.clear();
    push_end(&mut buffer, play);
    socket.write_all(buffer.as_bytes()).await
}

/// One event as one HTTP chunk, with the members and the length that vLLM's have.
fn push_chunk(buffer: &mut String, play: &Play, number: u32) {
    let text = serde_json::to_string(&text_of(number, play.tokens_per_chunk)).expect("a text");
    let tokens = (number + 1) * play.tokens_per_chunk;
    let finish = if number + 1 == play.chunks { "\"length\"" } else { "null" };
    push_event(
        buffer,
        &format!(
            "data: {{\"id\":\"chatcmpl-0123456789abcdef0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
             \"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{text}}},\"logprobs\":null,\"finish_reason\":{finish}}}],\
             \"usage\":{{\"prompt_tokens\":9,\"total_tokens\":{},\"completion_tokens\":{tokens}}}}}\n\n",
            9 + tokens
        ),
    );
}

fn push_end(buffer: &mut String, play: &Play) {
    let tokens = play.chunks * play.tokens_per_chunk;
    push_event(
        buffer,
        &format!(
            "data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":9,\"total_tokens\":{},\"completion_tokens\":{tokens}}}}}\n\ndata: [DONE]\n\n",
            9 + tokens
        ),
    );
    buffer.push_str("0\r\n\r\n");
}

fn push_event(buffer: &mut String, event: &str) {
    write!(buffer, "{:x}\r\n{event}\r\n", event.len()).expect("a String takes everything");
}

/// Xorshift (Marsaglia 2003).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// The path and the body of the next request, and when its last byte arrived.
async fn read_request(socket: &TcpStream) -> std::io::Result<(String, Vec<u8>, f64)> {
    let mut bytes = Vec::new();
    loop {
        let arrived_us = arrival::read(socket, &mut bytes).await?;
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length: usize = head
            .lines()
            .filter_map(|l| l.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0);
        if body.len() >= length {
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            return Ok((path, body.as_bytes()[..length].to_vec(), arrived_us));
        }
    }
}

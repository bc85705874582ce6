//! A small HTTP client for the simulated engine's own tests: one request per connection, by hand.

use std::net::SocketAddr;
use std::time::Instant;

use serde_json::Value as Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A response, read to its end.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// Whether the body came to its proper end.
    pub(super) complete: bool,
    /// Sizes of the body's chunks as they were sent.
    pub(super) chunks: Vec<usize>,
    /// When the first and the last byte of the body came.
    pub(super) first: Option<Instant>,
    pub(super) last: Option<Instant>,
}

impl Reply {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The JSON of every event, without `[DONE]`.
    pub(super) fn events(&self) -> Vec<Json> {
        let data = |line: &str| line.strip_prefix("data: ").map(str::to_owned);
        let lines: Vec<String> = self.text().lines().filter_map(data).collect();
        lines.iter().filter(|l| *l != "[DONE]").map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    pub(super) fn has_done(&self) -> bool {
        self.text().ends_with("data: [DONE]\n\n")
    }
}

pub(super) async fn get(address: SocketAddr, path: &str) -> Reply {
    send(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
}

pub(super) async fn post(address: SocketAddr, path: &str, body: &Json) -> Reply {
    post_with(address, path, body, "").await
}

/// `headers` end with `\r\n` each.
pub(super) async fn post_with(address: SocketAddr, path: &str, body: &Json, headers: &str) -> Reply {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    send(address, &(head + &body)).await
}

async fn send(address: SocketAddr, request: &str) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 65_536];
    let (mut first, mut last) = (None, None);
    // A cut connection may end with a reset: what came before it counts.
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        bytes.extend_from_slice(&buffer[..n]);
        // Headers come long before the first token.
        if bytes.windows(4).position(|w| w == b"\r\n\r\n").is_some_and(|at| at + 4 < bytes.len()) {
            last = Some(Instant::now());
            first = first.or(last);
        }
    }
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let (body, complete, chunks) = if head.contains("transfer-encoding: chunked") {
        dechunk(&bytes[end..])
    } else {
        (bytes[end..].to_vec(), true, Vec::new())
    };
    Reply { status, body, complete, chunks, first, last }
}

fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool, Vec<usize>) {
    let (mut body, mut sizes) = (Vec::new(), Vec::new());
    while let Some(at) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(&String::from_utf8_lossy(&rest[..at]), 16).unwrap_or(0);
        if size == 0 {
            return (body, true, sizes);
        }
        let Some(chunk) = rest.get(at + 2..at + 2 + size) else { break };
        body.extend_from_slice(chunk);
        sizes.push(size);
        rest = rest.get(at + 4 + size..).unwrap_or_default();
    }
    (body, false, sizes)
}

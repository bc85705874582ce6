//! As much HTTP as a test needs to ask a server for a completion.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An HTTP answer.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Sends one request to a port of this host; `None` when no whole answer comes.
pub fn request(port: u16, method: &str, path: &str, body: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

/// A real completion of the model on this port; `None` unless it answers with text and counts tokens.
pub fn complete(port: u16, model: &str) -> Option<serde_json::Value> {
    let body = serde_json::json!({
        "model": model, "max_tokens": 4, "temperature": 0, "messages": [{"role": "user", "content": "Say something."}],
    });
    let answer = request(port, "POST", "/v1/chat/completions", &body.to_string())?;
    let value: serde_json::Value = serde_json::from_str(&answer.body).ok()?;
    let tokens = value["usage"]["completion_tokens"].as_u64()?;
    (answer.status == 200 && tokens > 0).then_some(value)
}

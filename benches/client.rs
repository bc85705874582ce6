//! What the streaming client costs and how true its times are, against a server in a process of its own.
//!
//! `cargo bench --bench client` prints CPU time per chunk, chunks per second and core, and how late first tokens are stamped. Figures
//! depend on the machine and mean nothing on a busy one.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a benchmark is a program for developers: it prints, and a failure is a bug to see"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use vgrid::bench_support::{
    AnswerLength, ChatParts, ChatRequest, Client, Delivery, Keep, Reply, RunClock, Slot, Target, Timeouts,
};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// One measurement: so many streams of so many chunks, one chunk every so many microseconds (0: as fast as possible).
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    streams: usize,
    chunks: u32,
    gap_us: u64,
    workers: usize,
}

const CASES: [Case; 4] = [
    Case { name: "flood, 1 stream, 1 thread", streams: 1, chunks: 400_000, gap_us: 0, workers: 1 },
    Case { name: "flood, 16 streams, 1 thread", streams: 16, chunks: 25_000, gap_us: 0, workers: 1 },
    Case { name: "paced, 100 streams, 10 ms", streams: 100, chunks: 500, gap_us: 10_000, workers: 2 },
    Case { name: "paced, 1000 streams, 50 ms", streams: 1_000, chunks: 100, gap_us: 50_000, workers: 2 },
];

fn main() {
    if std::env::args().any(|a| a == "--serve") {
        return serve();
    }
    let (mut server, address) = start_server();
    println!("{:<30} {:>12} {:>14} {:>26}", "case", "CPU us/chunk", "chunks/s/core", "first token late, ms");
    for case in CASES {
        measure(case, &address);
    }
    server.kill().expect("the server is ours");
    server.wait().expect("the server is ours");
}

fn start_server() -> (Child, String) {
    let exe = std::env::current_exe().expect("a running program has a path");
    let mut server = Command::new(exe).arg("--serve").stdout(Stdio::piped()).spawn().expect("the server starts");
    let mut line = String::new();
    BufReader::new(server.stdout.take().expect("it is piped")).read_line(&mut line).expect("it says its address");
    (server, line.trim().to_owned())
}

fn measure(case: Case, address: &str) {
    let mut builder = match case.workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(case.workers).enable_all().build().expect("a runtime");
    let replies = runtime.block_on(async {
        let client = Client::new(&Target::new(format!("http://{address}"), "m")).await.expect("a client");
        run_streams(&client, Case { chunks: 2, gap_us: 1_000, ..case }).await; // opens the connections
        let (cpu_before, clock_zero_ms, clock) = (cpu_us(), unix_ms(), RunClock::start());
        let replies = streams_with(&client, case, clock).await;
        let cpu = cpu_us() - cpu_before;
        (replies, cpu, clock_zero_ms)
    });
    let (replies, cpu, clock_zero_ms) = replies;
    let chunks: usize = replies.iter().map(|r| r.record.chunks.len()).sum();
    assert_eq!(chunks, case.streams * case.chunks as usize, "{:?}", replies[0].record.error);
    let mut late: Vec<f64> = replies.iter().map(|r| lateness_ms(r, clock_zero_ms)).collect();
    late.sort_by(f64::total_cmp);
    let at = |q: f64| late[((late.len() - 1) as f64 * q) as usize];
    let per_chunk = cpu / chunks as f64;
    let late = format!("p50 {:.3}  p99 {:.3}", at(0.5), at(0.99));
    println!("{:<30} {per_chunk:>12.2} {:>14.0} {late:>26}", case.name, 1e6 / per_chunk);
}

async fn run_streams(client: &Client, case: Case) {
    streams_with(client, case, RunClock::start()).await;
}

async fn streams_with(client: &Client, case: Case, clock: RunClock) -> Vec<Reply> {
    let mut tasks = tokio::task::JoinSet::new();
    let request = request(case);
    for index in 0..case.streams as u32 {
        let (client, request) = (client.clone(), request.clone());
        tasks.spawn(async move {
            let slot = Slot { index, point: None, role: "load", measured: true, intended_ms: None };
            client.chat(&request, &slot, &clock, &Timeouts::default(), &CancellationToken::new()).await
        });
    }
    tasks.join_all().await
}

fn request(case: Case) -> ChatRequest {
    let extra = serde_json::json!({"gap_us": case.gap_us}).as_object().cloned().expect("an object");
    ChatRequest::build(ChatParts {
        model: "m",
        messages: serde_json::json!([]),
        length: AnswerLength::UpTo(case.chunks),
        delivery: Delivery::Streamed,
        keep: Keep::Answer,
        extra,
    })
    .expect("a body")
}

/// First-token stamp minus the moment at which the server wrote it, which is what the first chunk says.
fn lateness_ms(reply: &Reply, clock_zero_ms: f64) -> f64 {
    let text = &reply.answer.as_ref().expect("it is kept").content;
    let written_ms: f64 = text.split(' ').next().expect("a first word").parse().expect("a time");
    clock_zero_ms + reply.record.first_token_ms.expect("a token") - written_ms
}

fn unix_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64() * 1_000.0
}

/// CPU time of all threads of this process, us.
fn cpu_us() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<f64>().ok())
        .sum::<f64>()
        / 1_000.0
}

#[tokio::main(flavor = "current_thread")]
async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        tokio::spawn(async move {
            let _ = answer(socket).await;
        });
    }
}

/// Answers the requests of one connection, each chunk as an HTTP chunk of its own.
async fn answer(mut socket: TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    loop {
        let body = read_request(&mut socket).await?;
        let number = |name: &str| body[name].as_u64().unwrap_or(0);
        let (chunks, gap_us) = (number("max_tokens"), number("gap_us"));
        socket.write_all(HEAD.as_bytes()).await?;
        let mut due = Instant::now();
        let mut buffer = String::new();
        for i in 1..=chunks {
            let text = if i == 1 { format!("{:.6} ", unix_ms()) } else { "token ".to_owned() };
            let event = format!(
                "data: {{\"id\":\"chatcmpl-0123456789abcdef0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
                 \"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"logprobs\":null,\"finish_reason\":null}}],\
                 \"usage\":{{\"prompt_tokens\":9,\"total_tokens\":{},\"completion_tokens\":{i}}}}}\n\n",
                9 + i
            );
            buffer.push_str(&format!("{:x}\r\n{event}\r\n", event.len()));
            if gap_us > 0 || buffer.len() > 8_192 || i == 1 {
                socket.write_all(buffer.as_bytes()).await?;
                buffer.clear();
            }
            if gap_us > 0 {
                due += Duration::from_micros(gap_us);
                tokio::time::sleep_until(due.into()).await;
            }
        }
        let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n";
        buffer.push_str(&format!("{:x}\r\n{end}\r\n0\r\n\r\n", end.len()));
        socket.write_all(buffer.as_bytes()).await?;
    }
}

async fn read_request(socket: &mut TcpStream) -> std::io::Result<serde_json::Value> {
    let mut bytes = Vec::new();
    loop {
        if socket.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length: usize = head
            .lines()
            .filter_map(|l| l.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0);
        if body.len() >= length {
            return Ok(serde_json::from_str(&body[..length])?);
        }
    }
}

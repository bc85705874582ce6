//! One case: streams, the server's truth, and what differs.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use vgrid::bench_support::{
    AnswerLength, ChatParts, ChatRequest, Client, Delivery, Keep, Reply, Role, RunClock, Slot, Target, Timeouts,
};

use crate::bare;
use crate::case::{Case, text_of};
use crate::process;
use crate::server::{Told, Truth, unix_us};

/// What a case gave.
#[derive(Debug, Serialize)]
pub struct Row {
    name: String,
    /// Streams that were complete, and all.
    complete: usize,
    streams: u32,
    chunks_sent: u64,
    chunks_lost: u64,
    /// Streams whose text is not what the server wrote.
    texts_wrong: usize,
    cpu_us_per_chunk: f64,
    /// The same of a program that only reads the bytes.
    bare_us_per_chunk: f64,
    /// 50th and 99th percentile of TTFT - the server's (first token written - request arrived), ms.
    ttft_error_ms: [f64; 2],
    /// The part of it before the request had arrived at the server, ms.
    asking_ms: [f64; 2],
    /// How late chunks were stamped, ms.
    late_ms: [f64; 2],
    tokens_per_chunk: u32,
    /// How long client and server were ready to run while others had the processor, ms.
    waited_ms: [f64; 2],
}

impl Row {
    pub const HEAD: &str = "case                                       CPU us/chunk  bare reader   tokens/s/core   TTFT error ms   of it asking   \
        stamps late ms   lost   wrong texts   waited for a core ms: client, server\n\
                                                                                                  p50, p99       p50, p99         p50, p99";
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pair = |[p50, p99]: [f64; 2]| format!("{p50:.2}, {p99:.2}");
        write!(
            f,
            "{:<42} {:>12.2} {:>12.2} {:>15.0} {:>15} {:>14} {:>16} {:>6} {:>13}   {:.0}, {:.0}",
            self.name,
            self.cpu_us_per_chunk,
            self.bare_us_per_chunk,
            1e6 / self.cpu_us_per_chunk * f64::from(self.tokens_per_chunk),
            pair(self.ttft_error_ms),
            pair(self.asking_ms),
            pair(self.late_ms),
            self.chunks_lost,
            self.texts_wrong,
            self.waited_ms[0],
            self.waited_ms[1],
        )
    }
}

/// Runs a case against the server at `address`.
pub fn measure(case: &Case, address: &str) -> Row {
    // what vgrid runs on, where it has one core
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Client::new(&Target::new(format!("http://{address}"), "m")).await.expect("a client");
        streams(&client, &case.warm_up(), RunClock::start()).await;
        let server_before = truth(&client).await.waited_us;
        let (zero_us, clock, before) = (unix_us(), RunClock::start(), process::times());
        let replies = streams(&client, case, clock).await;
        let after = process::times();
        let told = truth(&client).await;
        let waited_ms = [after.waited_us - before.waited_us, told.waited_us - server_before].map(|us| us / 1e3);
        let row = row(case, &replies, &told.requests, zero_us, after.cpu_us - before.cpu_us);
        Row { waited_ms, bare_us_per_chunk: bare::cpu_us_per_chunk(case, address).await, ..row }
    })
}

async fn truth(client: &Client) -> Told {
    let text = client.get("truth").await.expect("the server tells");
    serde_json::from_str(&text).expect("its truth is JSON")
}

async fn streams(client: &Client, case: &Case, clock: RunClock) -> Vec<Reply> {
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..case.streams {
        let (client, request) = (client.clone(), request(case, index));
        let start = case.start(index);
        tasks.spawn(async move {
            tokio::time::sleep(start).await;
            let slot =
                Slot { index, point: None, role: Role::Load, user_number: None, measured: true, intended_ms: None };
            client.chat(&request, &slot, &clock, &Timeouts::default(), &CancellationToken::new()).await
        });
    }
    tasks.join_all().await
}

fn request(case: &Case, index: u32) -> ChatRequest {
    ChatRequest::build(ChatParts {
        model: "m",
        messages: serde_json::json!([{"role": "user", "content": "hi"}]),
        length: AnswerLength::UpTo(case.chunks * case.tokens_per_chunk),
        delivery: Delivery::Streamed,
        keep: Keep::Answer,
        extra: serde_json::json!({ "play": case.play(index) }).as_object().cloned().expect("an object"),
    })
    .expect("a body")
}

fn row(case: &Case, replies: &[Reply], truths: &HashMap<String, Truth>, zero_us: f64, cpu: f64) -> Row {
    let expected: String = (0..case.chunks).map(|i| text_of(i, case.tokens_per_chunk)).collect();
    let received: u64 = replies.iter().map(|r| r.record.chunks.len() as u64).sum();
    let (mut ttft_errors, mut asking, mut late) = (Vec::new(), Vec::new(), Vec::new());
    for record in replies.iter().map(|r| &r.record) {
        let Some(truth) = truths.get(&record.index.to_string()) else { continue };
        if let (Some(ttft_ms), Some(first_us)) = (record.ttft_ms(), truth.written_us.first()) {
            ttft_errors.push(ttft_ms - (first_us - truth.arrived_us) / 1e3);
        }
        asking.push((truth.arrived_us - zero_us) / 1e3 - record.sent_ms);
        let stamps = record.chunks.iter().map(|(at_ms, _)| zero_us + at_ms * 1e3);
        late.extend(stamps.zip(&truth.written_us).map(|(stamp, written)| (stamp - written) / 1e3));
    }
    let sent = u64::from(case.streams) * u64::from(case.chunks);
    let is_right = |r: &&Reply| r.answer.as_ref().is_some_and(|a| a.content == expected);
    Row {
        name: case.name.clone(),
        complete: replies.iter().filter(|r| r.record.end.is_complete()).count(),
        streams: case.streams,
        chunks_sent: sent,
        chunks_lost: sent.saturating_sub(received),
        texts_wrong: replies.len() - replies.iter().filter(is_right).count(),
        cpu_us_per_chunk: cpu / received as f64,
        bare_us_per_chunk: f64::NAN,
        ttft_error_ms: percentiles(ttft_errors),
        asking_ms: percentiles(asking),
        late_ms: percentiles(late),
        tokens_per_chunk: case.tokens_per_chunk,
        waited_ms: [f64::NAN; 2],
    }
}

/// 50th and 99th percentile.
fn percentiles(mut values: Vec<f64>) -> [f64; 2] {
    values.sort_by(f64::total_cmp);
    [0.5, 0.99]
        .map(|q| values.get((values.len().saturating_sub(1) as f64 * q).round() as usize).copied().unwrap_or(f64::NAN))
}

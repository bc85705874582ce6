//! One request on the wire: sends a prepared body, stamps what arrives, and tells how it ended.

use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use crate::domain::{RequestEnd, RequestRecord, TokenKind};

use super::assembly::{Assembly, Facts};
use super::chat::{ChatRequest, Delivery, Reply, Slot, Timeouts};
use super::client::{Client, full_text};
use super::clock::RunClock;

/// How long the end of the body is awaited after `[DONE]`, so that the connection can be used again.
const DRAIN: Duration = Duration::from_millis(200);

/// A stream that is always ready would starve the timers: limits and cancel are looked at after so many reads anyway.
const READS_PER_LOOK: u32 = 64;

/// The largest body of a whole answer or error, bytes.
const MAX_BODY_BYTES: usize = 16 << 20;

/// What the wire showed besides the events.
#[derive(Debug, Default)]
struct Wire {
    headers: Option<Instant>,
    status: Option<u16>,
}

/// An end that no event decided.
type WireEnd = (RequestEnd, Option<String>);

impl Client {
    /// Sends one request and waits for its end. Never fails: however it ends is in the record.
    ///
    /// Connections are taken from the pool; where none is free, the time to connect is part of the request.
    pub async fn chat(
        &self,
        request: &ChatRequest,
        slot: &Slot,
        clock: &RunClock,
        timeouts: &Timeouts,
        cancel: &CancellationToken,
    ) -> Reply {
        let mut assembly = Assembly::new(request.keep);
        let mut wire = Wire::default();
        let mut limits = Limits::new(*timeouts, Instant::now());
        let (end, text) = match self.post_chat(request.body.clone()) {
            Ok(http_request) => {
                limits.sent = Instant::now();
                let exchange = Exchange { client: self, delivery: request.delivery, limits: &limits, cancel };
                exchange.run(http_request, &mut wire, &mut assembly).await
            }
            Err(error) => (RequestEnd::ConnectError, Some(full_text(&error))),
        };
        let facts = assembly.finish(end, text, Instant::now());
        self.reply(request, slot, clock, (limits.sent, wire), facts)
    }

    fn reply(
        &self,
        request: &ChatRequest,
        slot: &Slot,
        clock: &RunClock,
        (sent, wire): (Instant, Wire),
        facts: Facts,
    ) -> Reply {
        let chunk_tokens = facts.chunk_tokens();
        let sent_ms = clock.offset_ms(sent);
        let chunks: Vec<(f64, TokenKind)> =
            facts.chunks.iter().map(|(at, kind)| (clock.offset_ms(*at), *kind)).collect();
        let (end, error, end_ms) = match facts.end {
            Some((end, text, at)) => (end, text, clock.offset_ms(at)),
            None => (RequestEnd::StreamCut, None, clock.now_ms()),
        };
        let record = RequestRecord {
            index: slot.index,
            point: slot.point.clone(),
            role: slot.role,
            user_number: slot.user_number,
            measured: slot.measured,
            intended_ms: slot.intended_ms.unwrap_or(sent_ms),
            sent_ms,
            headers_ms: wire.headers.map(|at| clock.offset_ms(at)),
            first_token_ms: chunks.first().map(|(at, _)| *at),
            first_content_ms: facts.first_content.map(|at| clock.offset_ms(at)),
            last_token_ms: chunks.last().map(|(at, _)| *at),
            end_ms,
            end,
            finish_reason: facts.finish_reason,
            http_status: wire.status,
            error: error.map(|text| self.error_text(&text)),
            prompt_tokens: facts.usage.and_then(|u| u.prompt_tokens),
            completion_tokens: facts.usage.and_then(|u| u.completion_tokens),
            cached_tokens: facts.usage.and_then(|u| u.cached_tokens()),
            chunks,
            chunk_tokens,
            body_sha256: request.body_sha256.clone(),
        };
        Reply { record, answer: facts.answer }
    }
}

/// When which patience ends.
#[derive(Clone, Copy, Debug)]
struct Limits {
    timeouts: Timeouts,
    sent: Instant,
}

impl Limits {
    const fn new(timeouts: Timeouts, sent: Instant) -> Self {
        Self { timeouts, sent }
    }

    /// The next limit that can be broken.
    fn next(&self, wire: &Wire, assembly: &Assembly, delivery: Delivery) -> (Instant, RequestEnd) {
        let total = (self.sent + self.timeouts.total, RequestEnd::TimeoutTotal);
        let other = match (wire.headers, delivery) {
            (None, Delivery::Streamed) => {
                let headers = (self.sent + self.timeouts.headers, RequestEnd::TimeoutHeaders);
                earlier(headers, self.first_token())
            }
            // a whole answer's headers come when everything is generated
            (None | Some(_), Delivery::Whole) => total,
            (Some(_), Delivery::Streamed) if assembly.has_token() => {
                let since = assembly.last_event.unwrap_or(self.sent);
                (since + self.timeouts.idle, RequestEnd::TimeoutIdle)
            }
            (Some(_), Delivery::Streamed) => self.first_token(),
        };
        earlier(other, total)
    }

    fn first_token(&self) -> (Instant, RequestEnd) {
        (self.sent + self.timeouts.first_token, RequestEnd::TimeoutFirstToken)
    }
}

fn earlier(a: (Instant, RequestEnd), b: (Instant, RequestEnd)) -> (Instant, RequestEnd) {
    if a.0 <= b.0 { a } else { b }
}

/// One request under way.
struct Exchange<'a> {
    client: &'a Client,
    delivery: Delivery,
    limits: &'a Limits,
    cancel: &'a CancellationToken,
}

impl Exchange<'_> {
    async fn run(&self, request: reqwest::Request, wire: &mut Wire, assembly: &mut Assembly) -> WireEnd {
        let (due, kind) = self.limits.next(wire, assembly, self.delivery);
        let mut sleep = std::pin::pin!(tokio::time::sleep_until(due.into()));
        let response = tokio::select! {
            biased;
            response = self.client.http.execute(request) => response,
            () = self.cancel.cancelled() => return (RequestEnd::Cancelled, None),
            () = &mut sleep => return (kind, None),
        };
        let response = match response {
            Ok(response) => response,
            Err(error) if error.is_connect() => return (RequestEnd::ConnectError, Some(full_text(&error))),
            Err(error) => return (RequestEnd::StreamCut, Some(format!("no response: {}", full_text(&error)))),
        };
        wire.headers = Some(Instant::now());
        wire.status = Some(response.status().as_u16());
        if wire.status != Some(200) {
            return self.read_error(response, wire, assembly, sleep).await;
        }
        match self.delivery {
            Delivery::Streamed => self.read_events(response, wire, assembly, sleep).await,
            Delivery::Whole => match self.read_body(response, wire, assembly, sleep).await {
                Ok(body) => {
                    assembly.feed_whole(&body, Instant::now());
                    (RequestEnd::StreamCut, None) // the assembly has decided
                }
                Err(end) => end,
            },
        }
    }

    async fn read_events(
        &self,
        mut response: reqwest::Response,
        wire: &Wire,
        assembly: &mut Assembly,
        mut sleep: Pin<&mut Sleep>,
    ) -> WireEnd {
        let mut cancelled = std::pin::pin!(self.cancel.cancelled());
        let mut reads = 0_u32;
        let mut waits_for_token = true;
        loop {
            tokio::select! {
                biased;
                read = response.chunk() => {
                    let at = Instant::now();
                    match read {
                        Ok(Some(bytes)) => assembly.feed(&bytes, at),
                        Ok(None) => return (RequestEnd::StreamCut, Some(assembly.cut_text())),
                        Err(error) => {
                            let text = format!("{}: {}", assembly.cut_text(), full_text(&error));
                            return (RequestEnd::StreamCut, Some(text));
                        }
                    }
                    if assembly.has_ended() {
                        drain(response).await;
                        return (RequestEnd::StreamCut, None); // the assembly has decided
                    }
                    if waits_for_token && assembly.has_token() {
                        waits_for_token = false; // from here on the patience is another, and may end sooner
                        sleep.as_mut().reset(self.limits.next(wire, assembly, self.delivery).0.into());
                    }
                    reads = reads.wrapping_add(1);
                    if !reads.is_multiple_of(READS_PER_LOOK) {
                        continue;
                    }
                    if self.cancel.is_cancelled() {
                        return (RequestEnd::Cancelled, None);
                    }
                    if at >= self.limits.sent + self.limits.timeouts.total {
                        return (RequestEnd::TimeoutTotal, None);
                    }
                }
                () = &mut cancelled => return (RequestEnd::Cancelled, None),
                () = &mut sleep => {
                    // The timer is not moved at every event, which would cost more than the event: it is looked at when it fires.
                    let (due, kind) = self.limits.next(wire, assembly, self.delivery);
                    if due <= Instant::now() {
                        return (kind, None);
                    }
                    sleep.as_mut().reset(due.into());
                }
            }
        }
    }

    async fn read_error(
        &self,
        response: reqwest::Response,
        wire: &Wire,
        assembly: &Assembly,
        sleep: Pin<&mut Sleep>,
    ) -> WireEnd {
        let text = match self.read_body(response, wire, assembly, sleep).await {
            Ok(body) => String::from_utf8_lossy(&body).into_owned(),
            Err((RequestEnd::Cancelled, _)) => return (RequestEnd::Cancelled, None),
            Err((end, _)) => format!("(the error's body did not arrive: {end})"),
        };
        (RequestEnd::HttpStatus, Some(text))
    }

    async fn read_body(
        &self,
        mut response: reqwest::Response,
        wire: &Wire,
        assembly: &Assembly,
        mut sleep: Pin<&mut Sleep>,
    ) -> Result<Vec<u8>, WireEnd> {
        let (due, kind) = self.limits.next(wire, assembly, self.delivery);
        sleep.as_mut().reset(due.into());
        let mut body = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err((RequestEnd::Cancelled, None)),
                () = &mut sleep => return Err((kind, None)),
                read = response.chunk() => match read {
                    Ok(Some(bytes)) if body.len() + bytes.len() <= MAX_BODY_BYTES => body.extend_from_slice(&bytes),
                    Ok(Some(_)) => return Err((RequestEnd::MalformedEvent, Some("the body is longer than 16 MiB".to_owned()))),
                    Ok(None) => return Ok(body),
                    Err(error) => return Err((RequestEnd::StreamCut, Some(full_text(&error)))),
                }
            }
        }
    }
}

/// Reads to the body's end, which a good server has sent together with `[DONE]`; else the connection is given up.
async fn drain(mut response: reqwest::Response) {
    let to_the_end = async { while let Ok(Some(_)) = response.chunk().await {} };
    let _ = tokio::time::timeout(DRAIN, to_the_end).await;
}

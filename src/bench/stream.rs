//! One request on the wire: sends a prepared body, stamps what arrives, and tells how it ended.

use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Incoming;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use crate::domain::{RequestEnd, RequestRecord, TokenKind};

use super::assembly::{Assembly, Facts};
use super::chat::{ChatRequest, Delivery, Reply, Slot, Timeouts};
use super::client::{Client, MAX_BODY_BYTES};
use super::clock::RunClock;
use super::wire::{Connection, WireError};

/// How long the end of the body is awaited after `[DONE]`, so that the connection can be used again.
const DRAIN: Duration = Duration::from_millis(200);

/// A stream that is always ready would starve the timers: limits and cancel are looked at after so many reads anyway.
const READS_PER_LOOK: u32 = 64;

/// What the wire showed besides the events.
#[derive(Debug, Default)]
struct Wire {
    /// When the request's first byte was about to be written.
    sent: Option<Instant>,
    headers: Option<Instant>,
    status: Option<u16>,
}

/// An end that no event decided.
type WireEnd = (RequestEnd, Option<String>);

impl Client {
    /// Sends one request and waits for its end. Never fails: however it ends is in the record.
    ///
    /// A connection that is free is used; where none is, one is made first, and the request counts as sent after that.
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
        let (end, text, asked) = match self.post_chat(request.body.clone()) {
            Ok(http_request) => {
                let asked = Instant::now();
                let limits = Limits { timeouts: *timeouts, asked };
                let exchange = Exchange { client: self, delivery: request.delivery, limits: &limits, cancel };
                let (end, text) = exchange.run(http_request, &mut wire, &mut assembly).await;
                (end, text, asked)
            }
            Err(error) => (RequestEnd::ConnectError, Some(error.to_string()), Instant::now()),
        };
        let facts = assembly.finish(end, text, Instant::now());
        self.reply(request, slot, clock, (asked, wire), facts)
    }

    fn reply(
        &self,
        request: &ChatRequest,
        slot: &Slot,
        clock: &RunClock,
        (asked, wire): (Instant, Wire),
        facts: Facts,
    ) -> Reply {
        let chunk_tokens = facts.chunk_tokens();
        let asked_ms = clock.offset_ms(asked);
        let sent_ms = wire.sent.map_or(asked_ms, |at| clock.offset_ms(at));
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
            intended_ms: slot.intended_ms.unwrap_or(asked_ms),
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
    asked: Instant,
}

impl Limits {
    /// The next limit that can be broken.
    fn next(&self, wire: &Wire, assembly: &Assembly, delivery: Delivery) -> (Instant, RequestEnd) {
        let total = (self.asked + self.timeouts.total, RequestEnd::TimeoutTotal);
        let other = match (wire.headers, delivery) {
            (None, Delivery::Streamed) => {
                let headers = (self.asked + self.timeouts.headers, RequestEnd::TimeoutHeaders);
                earlier(headers, self.first_token())
            }
            // a whole answer's headers come when everything is generated
            (None | Some(_), Delivery::Whole) => total,
            (Some(_), Delivery::Streamed) if assembly.has_token() => {
                let since = assembly.last_event.unwrap_or(self.asked);
                (since + self.timeouts.idle, RequestEnd::TimeoutIdle)
            }
            (Some(_), Delivery::Streamed) => self.first_token(),
        };
        earlier(other, total)
    }

    fn first_token(&self) -> (Instant, RequestEnd) {
        (self.asked + self.timeouts.first_token, RequestEnd::TimeoutFirstToken)
    }
}

fn earlier(a: (Instant, RequestEnd), b: (Instant, RequestEnd)) -> (Instant, RequestEnd) {
    if a.0 <= b.0 { a } else { b }
}

/// The body of an answer, and the connection on which it comes.
struct Body {
    connection: Connection,
    incoming: Incoming,
}

impl Body {
    async fn chunk(&mut self) -> Result<Option<Bytes>, WireError> {
        self.connection.chunk(&mut self.incoming).await
    }

    /// When the bytes of the last chunk had arrived.
    fn arrived(&self) -> Instant {
        self.connection.arrived().unwrap_or_else(Instant::now)
    }
}

/// One request under way.
struct Exchange<'a> {
    client: &'a Client,
    delivery: Delivery,
    limits: &'a Limits,
    cancel: &'a CancellationToken,
}

impl Exchange<'_> {
    async fn run(&self, request: Request<Full<Bytes>>, wire: &mut Wire, assembly: &mut Assembly) -> WireEnd {
        let (due, kind) = self.limits.next(wire, assembly, self.delivery);
        let mut sleep = std::pin::pin!(tokio::time::sleep_until(due.into()));
        let taken = tokio::select! {
            biased;
            taken = self.client.connections.take() => taken,
            () = self.cancel.cancelled() => return (RequestEnd::Cancelled, None),
            () = &mut sleep => return (kind, None),
        };
        let mut connection = match taken {
            Ok(connection) => connection,
            Err(error) => return (RequestEnd::ConnectError, Some(error.to_string())),
        };
        let answer = tokio::select! {
            biased;
            answer = connection.send(request) => answer.map_err(|e| (RequestEnd::StreamCut, Some(format!("no response: {e}")))),
            () = self.cancel.cancelled() => Err((RequestEnd::Cancelled, None)),
            () = &mut sleep => Err((kind, None)),
        };
        wire.sent = connection.first_write();
        let answer = match answer {
            Ok(answer) => answer,
            Err(end) => return end,
        };
        wire.headers = Some(connection.arrived().unwrap_or_else(Instant::now));
        wire.status = Some(answer.status().as_u16());
        let mut body = Body { connection, incoming: answer.into_body() };
        let end = match (wire.status, self.delivery) {
            (Some(200), Delivery::Streamed) => self.read_events(&mut body, wire, assembly, sleep).await,
            (Some(200), Delivery::Whole) => match self.read_body(&mut body, wire, assembly, sleep).await {
                Ok(bytes) => {
                    assembly.feed_whole(&bytes, body.arrived());
                    (RequestEnd::StreamCut, None) // the assembly has decided
                }
                Err(end) => end,
            },
            (_, Delivery::Streamed | Delivery::Whole) => self.read_error(&mut body, wire, assembly, sleep).await,
        };
        drop(body.incoming);
        self.client.connections.keep(body.connection);
        end
    }

    async fn read_events(
        &self,
        body: &mut Body,
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
                read = body.chunk() => {
                    let at = body.arrived();
                    match read {
                        Ok(Some(bytes)) => assembly.feed(&bytes, at),
                        Ok(None) => return (RequestEnd::StreamCut, Some(assembly.cut_text())),
                        Err(error) => {
                            let text = format!("{}: {}", assembly.cut_text(), error);
                            return (RequestEnd::StreamCut, Some(text));
                        }
                    }
                    if assembly.has_ended() {
                        drain(body).await;
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
                    if at >= self.limits.asked + self.limits.timeouts.total {
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

    async fn read_error(&self, body: &mut Body, wire: &Wire, assembly: &Assembly, sleep: Pin<&mut Sleep>) -> WireEnd {
        let text = match self.read_body(body, wire, assembly, sleep).await {
            Ok(body) => String::from_utf8_lossy(&body).into_owned(),
            Err((RequestEnd::Cancelled, _)) => return (RequestEnd::Cancelled, None),
            Err((end, _)) => format!("(the error's body did not arrive: {end})"),
        };
        (RequestEnd::HttpStatus, Some(text))
    }

    async fn read_body(
        &self,
        body: &mut Body,
        wire: &Wire,
        assembly: &Assembly,
        mut sleep: Pin<&mut Sleep>,
    ) -> Result<Vec<u8>, WireEnd> {
        let (due, kind) = self.limits.next(wire, assembly, self.delivery);
        sleep.as_mut().reset(due.into());
        let mut whole = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err((RequestEnd::Cancelled, None)),
                () = &mut sleep => return Err((kind, None)),
                read = body.chunk() => match read {
                    Ok(Some(bytes)) if whole.len() + bytes.len() <= MAX_BODY_BYTES => whole.extend_from_slice(&bytes),
                    Ok(Some(_)) => return Err((RequestEnd::MalformedEvent, Some("the body is longer than 16 MiB".to_owned()))),
                    Ok(None) => return Ok(whole),
                    Err(error) => return Err((RequestEnd::StreamCut, Some(error.to_string()))),
                }
            }
        }
    }
}

/// Reads to the body's end, which a good server has sent together with `[DONE]`; else the connection cannot be used again.
async fn drain(body: &mut Body) {
    let to_the_end = async { while let Ok(Some(_)) = body.chunk().await {} };
    let _ = tokio::time::timeout(DRAIN, to_the_end).await;
}

//! Sends the requests of a run, tells how far it is, and looks after the server when one failed: what ends a run early.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::domain::{RequestEnd, RequestRecord, Role};

use super::chat::{AnswerLength, ChatParts, ChatRequest, Delivery, Keep, Reply, Slot};
use super::client::{CallError, Client};
use super::context::{Activity, Context};
use super::{BenchError, RunClock, Timeouts, Unusable};

/// How long `/health` may take when a request of ours failed.
pub(super) const HEALTH_PATIENCE: Duration = Duration::from_secs(10);

/// How long a request for one token may take before a server whose `/health` is fine is called hung.
const PROBE_PATIENCE: Duration = Duration::from_secs(60);

/// What ends a scenario early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The server is of no use any more.
    Unusable(Unusable, String),
    /// The context's cancel.
    Cancelled,
    /// A bug of ours.
    Internal(BenchError),
}

impl From<BenchError> for Stop {
    fn from(error: BenchError) -> Self {
        Self::Internal(error)
    }
}

impl From<CallError> for Stop {
    /// For control calls that a live server answers.
    fn from(error: CallError) -> Self {
        let how = match error {
            CallError::NoConnection(_) | CallError::Broken(_) => Unusable::Gone,
            CallError::Timeout(_) => Unusable::Hung,
            CallError::Answer { .. } => Unusable::EngineDead,
        };
        Self::Unusable(how, error.to_string())
    }
}

/// Which request is sent.
#[derive(Clone, Debug)]
pub(super) struct Purpose {
    pub(super) point: Option<String>,
    pub(super) role: Role,
    /// Who sends it; see `RequestRecord::user_number`.
    pub(super) user_number: Option<u32>,
    pub(super) measured: bool,
    pub(super) intended_ms: Option<f64>,
}

/// Sends requests for a run; shared by its users.
#[derive(Debug)]
pub(super) struct Sender {
    client: Client,
    ctx: Context,
    clock: RunClock,
    next_index: AtomicU32,
    done: AtomicU64,
    under_way: AtomicU64,
    tokens: AtomicU64,
    /// When the current point began.
    point_began: Mutex<Instant>,
}

impl Sender {
    /// Its clock starts now.
    pub(super) fn new(client: &Client, ctx: &Context) -> Self {
        Self {
            client: client.clone(),
            ctx: ctx.clone(),
            clock: RunClock::start(),
            next_index: AtomicU32::new(0),
            done: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            point_began: Mutex::new(Instant::now()),
        }
    }

    /// Sends one request now; `cancel` is the context's token or a child of it.
    pub(super) async fn send(&self, request: &ChatRequest, purpose: &Purpose, cancel: &CancellationToken) -> Reply {
        let slot = Slot {
            index: self.next_index.fetch_add(1, Ordering::Relaxed),
            point: purpose.point.clone(),
            role: purpose.role,
            user_number: purpose.user_number,
            measured: purpose.measured,
            intended_ms: purpose.intended_ms,
        };
        let under_way = UnderWay::of(&self.under_way);
        let reply = self.client.chat(request, &slot, &self.clock, &self.ctx.timeouts, cancel).await;
        drop(under_way);
        self.tell(&reply.record);
        reply
    }

    /// `instant` on the run's clock, ms.
    pub(super) fn offset_ms(&self, instant: Instant) -> f64 {
        self.clock.offset_ms(instant)
    }

    /// Requests that have ended.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Requests that were sent and have not ended.
    pub(super) fn under_way(&self) -> u64 {
        self.under_way.load(Ordering::Relaxed)
    }

    fn tell(&self, record: &RequestRecord) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let new = u64::from(record.completion_tokens.unwrap_or(0));
        let tokens = self.tokens.fetch_add(new, Ordering::Relaxed) + new;
        let began = *self.point_began.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed_s = began.elapsed().as_secs_f64();
        self.ctx.progress.send_modify(|p| {
            p.requests_done = done;
            p.output_tokens_per_s = (tokens > 0 && elapsed_s > 0.0).then(|| tokens as f64 / elapsed_s);
        });
    }

    /// After a reply: does the run go on?
    ///
    /// # Errors
    /// The server is unusable, or the run was cancelled.
    pub(super) async fn check(&self, record: &RequestRecord) -> Result<(), Stop> {
        let diagnosis = async {
            match record.end {
                RequestEnd::Ok
                | RequestEnd::Truncated
                | RequestEnd::Empty
                | RequestEnd::Refused
                | RequestEnd::MalformedEvent => None,
                RequestEnd::HttpStatus if record.http_status.is_some_and(|s| s < 500) => None,
                RequestEnd::HttpStatus
                | RequestEnd::ErrorEvent
                | RequestEnd::ConnectError
                | RequestEnd::StreamCut
                | RequestEnd::Cancelled => self.client.health(HEALTH_PATIENCE).await,
                RequestEnd::TimeoutHeaders
                | RequestEnd::TimeoutFirstToken
                | RequestEnd::TimeoutIdle
                | RequestEnd::TimeoutTotal => match self.client.health(HEALTH_PATIENCE).await {
                    Some(found) => Some(found),
                    None => self.probe().await,
                },
            }
        };
        tokio::select! {
            biased;
            () = self.ctx.cancel.cancelled() => Err(Stop::Cancelled),
            found = diagnosis => match found {
                None => Ok(()),
                Some((how, evidence)) => {
                    let error = record.error.as_deref().map(|e| format!(": {e}")).unwrap_or_default();
                    Err(Stop::Unusable(how, format!("request {} ended as {}{error}; {evidence}", record.index, record.end)))
                }
            },
        }
    }

    /// A server may say that it is healthy and decode nothing: asks for one token.
    async fn probe(&self) -> Option<(Unusable, String)> {
        let parts = ChatParts {
            model: self.client.model(),
            messages: serde_json::json!([{"role": "user", "content": "ping"}]),
            length: AnswerLength::UpTo(1),
            delivery: Delivery::Streamed,
            keep: Keep::Timing,
            extra: serde_json::Map::new(),
        };
        let request = ChatRequest::build(parts).ok()?;
        let patience = Timeouts {
            headers: PROBE_PATIENCE,
            first_token: PROBE_PATIENCE,
            idle: PROBE_PATIENCE,
            total: PROBE_PATIENCE,
            ..self.ctx.timeouts
        };
        let slot =
            Slot { index: 0, point: None, role: Role::Probe, user_number: None, measured: false, intended_ms: None };
        let reply = self.client.chat(&request, &slot, &self.clock, &patience, &self.ctx.cancel).await;
        let end = reply.record.end;
        (!end.is_complete())
            .then(|| (Unusable::Hung, format!("/health is fine, a request for one token ended as {end}")))
    }

    /// A new point begins: tokens per second count from here.
    pub(super) fn begin_point(&self, activity: Activity) {
        *self.point_began.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.tokens.store(0, Ordering::Relaxed);
        self.ctx.progress.send_modify(|p| p.activity = activity);
    }
}

/// Counts a request for as long as it is waited for, given up or not.
struct UnderWay<'s>(&'s AtomicU64);

impl<'s> UnderWay<'s> {
    fn of(count: &'s AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

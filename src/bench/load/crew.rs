//! The senders of one point: they work at once, and the first that finds the server dead stops the others.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::domain::Role;

use super::super::BenchError;
use super::super::chat::{ChatRequest, Reply};
use super::super::run::Run;
use super::super::sender::{Purpose, Sender, Stop};

/// What one sender brings back.
type Work = (Vec<Reply>, Option<Stop>);

/// The senders at work.
pub(super) struct Crew {
    desk: Desk,
    tasks: JoinSet<(usize, Work)>,
}

impl Crew {
    pub(super) fn new(run: &Run<'_>, point: &str) -> Self {
        let desk = Desk {
            sender: Arc::clone(&run.sender),
            point: point.to_owned(),
            user_number: 0,
            stop: run.ctx.cancel.child_token(),
            permits: None,
        };
        Self { desk, tasks: JoinSet::new() }
    }

    /// At most so many requests are in flight; the others wait in order of asking.
    pub(super) fn limit(&mut self, in_flight: u32) {
        self.desk.permits = Some(Arc::new(Semaphore::new(in_flight as usize)));
    }

    /// What the next sender sends through.
    pub(super) fn desk(&self) -> Desk {
        Desk { user_number: self.tasks.len() as u32, ..self.desk.clone() }
    }

    /// Sets one sender to work.
    pub(super) fn start(&mut self, work: impl Future<Output = Work> + Send + 'static) {
        let number = self.tasks.len();
        self.tasks.spawn(async move { (number, work.await) });
    }

    /// Waits for all; the replies of each sender, in the order in which they were set to work.
    ///
    /// # Errors
    /// What stopped them, with the replies up to there.
    pub(super) async fn gather(mut self) -> Result<Vec<Vec<Reply>>, (Vec<Vec<Reply>>, Stop)> {
        let mut replies = vec![Vec::new(); self.tasks.len()];
        let mut ended: Option<Stop> = None;
        while let Some(joined) = self.tasks.join_next().await {
            let stopped = match joined {
                Ok((number, (found, stopped))) => {
                    replies[number] = found;
                    stopped
                }
                Err(error) => {
                    let text = format!("a sender of the load scenario died: {error}");
                    Some(Stop::Internal(BenchError::Internal(text)))
                }
            };
            // when one finds the server dead, the others end as cancelled: the first finding counts
            ended = match (ended, stopped) {
                (Some(Stop::Cancelled) | None, Some(found)) => Some(found),
                (ended, _) => ended,
            };
        }
        match ended {
            Some(found) => Err((replies, found)),
            None => Ok(replies),
        }
    }
}

/// Sends requests of one point.
#[derive(Clone)]
pub(super) struct Desk {
    sender: Arc<Sender>,
    point: String,
    /// Which sender it is.
    user_number: u32,
    /// Cancelled with the context, or when a sender found the server dead.
    stop: CancellationToken,
    permits: Option<Arc<Semaphore>>,
}

impl Desk {
    /// Sends one request and keeps its reply; whether to go on. `intended_ms` is when the load model wanted it sent, on the run's clock;
    /// `None`: now.
    pub(super) async fn send(
        &self,
        request: &ChatRequest,
        role: Role,
        intended_ms: Option<f64>,
        replies: &mut Vec<Reply>,
    ) -> Result<(), Stop> {
        let permit = match &self.permits {
            // closed semaphores do not exist here: none is ever closed
            Some(permits) => self.stop.run_until_cancelled(permits.acquire()).await.map(Result::ok),
            None => Some(None),
        };
        let Some(_permit) = permit else { return Err(Stop::Cancelled) };
        let purpose = Purpose {
            point: Some(self.point.clone()),
            role,
            user_number: Some(self.user_number),
            measured: role != RAMP,
            intended_ms,
        };
        let reply = self.sender.send(request, &purpose, &self.stop).await;
        let checked = match self.stop.is_cancelled() {
            true => Err(Stop::Cancelled),
            false => self.sender.check(&reply.record).await,
        };
        replies.push(reply);
        if checked.is_err() {
            self.stop.cancel();
        }
        checked
    }

    /// `instant` on the run's clock, ms.
    pub(super) fn offset_ms(&self, instant: Instant) -> f64 {
        self.sender.offset_ms(instant)
    }

    /// Waits until `due`.
    pub(super) async fn wait_until(&self, due: Instant) -> Result<(), Stop> {
        match self.stop.run_until_cancelled(tokio::time::sleep_until(due.into())).await {
            Some(()) => Ok(()),
            None => Err(Stop::Cancelled),
        }
    }
}

/// The role of requests that are sent before the measured ones.
pub(super) const RAMP: Role = Role::Ramp;

/// The role of measured requests.
pub(super) const MEASURED: Role = Role::Load;

/// The role of the `number`-th of so many requests of one user: the first is ramp-up, unless there are very few.
pub(super) const fn role(number: usize, of: usize) -> Role {
    if number == 0 && of > NO_RAMP_UP_TO { RAMP } else { MEASURED }
}

/// With more requests per user than this, the first of each user is ramp-up.
const NO_RAMP_UP_TO: usize = 2;

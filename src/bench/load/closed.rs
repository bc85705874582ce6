//! The closed loop: users who send their next request when the one before it has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::chat::{ChatRequest, Reply};
use super::super::sender::Stop;
use super::crew::{Crew, Desk, role};

/// Requests in order; several users may take from one feed.
#[derive(Clone)]
pub(super) struct Feed {
    requests: Arc<[ChatRequest]>,
    next: Arc<AtomicUsize>,
}

impl Feed {
    pub(super) fn new(requests: Vec<ChatRequest>) -> Self {
        Self { requests: requests.into(), next: Arc::default() }
    }

    fn take(&self) -> Option<&ChatRequest> {
        self.requests.get(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Starts one user per feed; `each` is how many requests a user will send, about.
pub(super) fn start(crew: &mut Crew, feeds: Vec<Feed>, each: usize) {
    for feed in feeds {
        let desk = crew.desk();
        crew.start(async move {
            let mut replies = Vec::with_capacity(each);
            let stopped = send_all(&desk, &feed, each, &mut replies).await.err();
            (replies, stopped)
        });
    }
}

/// Sends back to back. A request is intended for the moment when the one before it ended.
async fn send_all(desk: &Desk, feed: &Feed, each: usize, replies: &mut Vec<Reply>) -> Result<(), Stop> {
    while let Some(request) = feed.take() {
        desk.send(request, role(replies.len(), each), free_since_ms(replies), replies).await?;
    }
    Ok(())
}

/// When the user's request before this one ended, on the run's clock: from then on its place was free. What the client does since is its
/// own delay, and must show in `queue_ms`.
pub(super) fn free_since_ms(replies: &[Reply]) -> Option<f64> {
    replies.last().map(|reply| reply.record.end_ms)
}

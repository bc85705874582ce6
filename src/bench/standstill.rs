//! The watch for an engine that says that it is healthy and does nothing.

use std::time::{Duration, Instant};

use super::Unusable;
use super::client::{CallError, Client};
use super::sender::{HEALTH_PATIENCE, Sender};

/// Looks at the engine's counters in one `patience`.
const LOOKS: u32 = 4;

/// A counter that every vLLM shows which shows any.
const SHOWN_BY_VLLM: &str = "vllm:num_requests_running";

/// Resolves when requests are under way and for `patience` none has ended and none of the engine's counters has moved: in which way
/// the server is of no use then, and what was seen. A long prefill moves the KV cache's usage; an engine that shows no counters is
/// left to the limits of each request, one that does not even answer (a container that was paused before the first look) is not.
pub(super) async fn watch(client: &Client, sender: &Sender, patience: Duration) -> (Unusable, String) {
    let mut seen = (String::new(), 0);
    let mut moved = Instant::now();
    loop {
        tokio::time::sleep(patience / LOOKS).await;
        let done = sender.done();
        let (counters, is_silent) = match client.metrics_within(patience / LOOKS).await {
            Ok(text) => (engine_lines(&text), false),
            Err(CallError::Timeout(_)) => (seen.0.clone(), true),
            Err(CallError::NoConnection(_) | CallError::Broken(_) | CallError::Answer { .. }) => (String::new(), false),
        };
        let now = (counters, done);
        let under_way = sender.under_way();
        let is_watched = is_silent || now.0.contains(SHOWN_BY_VLLM);
        if now != seen || under_way == 0 || !is_watched {
            (seen, moved) = (now, Instant::now());
        } else if moved.elapsed() >= patience {
            let text = format!(
                "{under_way} requests were under way, and for {} s none ended and no counter of /metrics moved",
                moved.elapsed().as_secs()
            );
            return match client.health(HEALTH_PATIENCE.min(patience)).await {
                Some((how, health)) => (how, format!("{text}; {health}")),
                None => (Unusable::Hung, format!("{text}; /health is fine")),
            };
        }
    }
}

/// The engine's own samples of a scrape, as they stand there.
fn engine_lines(metrics: &str) -> String {
    metrics.lines().filter(|line| line.starts_with("vllm:")).flat_map(|line| [line, "\n"]).collect()
}

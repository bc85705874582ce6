//! Figures from stamps that no server gave: simulated nights go through the arithmetic of the real scenarios.

use crate::domain::{Metric, ScenarioKind};

use super::chat::Reply;
use super::figures::{Figures, Samples, Single};
use super::window::{Window, tests::reply};

/// A request: sent, then its tokens, ms.
pub(crate) type Stamps = (f64, Vec<f64>);

/// The throughput of a closed loop, as the load scenario has it: over the steady window, its interval from spans of one request.
/// The first request of each user is the ramp-up.
pub(crate) fn load_metrics(users: &[Vec<Stamps>], seed: u64) -> Vec<Metric> {
    let of_user = |requests: &Vec<Stamps>| -> Vec<Reply> {
        let one = |(i, (sent, tokens)): (usize, &Stamps)| {
            reply(i > 0, *sent, tokens, tokens.last().copied().unwrap_or(*sent))
        };
        requests.iter().enumerate().map(one).collect()
    };
    let users: Vec<Vec<Reply>> = users.iter().map(of_user).collect();
    let measured: Vec<&Reply> = users.iter().flatten().filter(|r| r.record.measured).collect();
    let window = Window::steady(&users).unwrap();
    let all: Vec<&Reply> = users.iter().flatten().collect();
    let mut figures = Figures::new(ScenarioKind::Load, seed);
    let value = window.tokens_per_s(&all).unwrap();
    let interval = window.throughput_interval(&measured, seed);
    figures.single(None, "output_tokens_per_s", Single { value, n: measured.len(), failed_n: 0, interval });
    figures.metrics
}

/// The times to the first token of cache hits, as the kv_cache scenario has them.
pub(crate) fn hit_metrics(ttft_ms: &[f64], seed: u64) -> Vec<Metric> {
    let mut figures = Figures::new(ScenarioKind::KvCache, seed);
    figures.overall(Samples::Independent, "ttft_hit_ms", ttft_ms, 0);
    figures.metrics
}

//! What vgrid reports against what really happened: stamps of the server, taken in the same process on the same clock.
//!
//! A client sees nothing before it was written, so its stamps are never early: that bound is exact. How late they may be
//! is measured while a test runs: the self-check says how late a punctual task of the same runtime was.

use tokio_util::sync::CancellationToken;

use crate::sim::{Running, TruthEntry, spawn};

use super::selfcheck::{SelfCheck, SelfReport};

mod documented;
mod load;
mod over_time;
mod shaped;
mod shapes;
mod truth;

/// How late a stamp may be, ms.
#[derive(Clone, Copy, Debug)]
struct Lateness {
    /// Any stamp: a few turns of a runtime that was as late as it ever was.
    any_ms: f64,
    /// The middle one of many.
    usual_ms: f64,
}

impl Lateness {
    /// From the lags of a punctual task. The constants: the timer's grain is 1 ms and the probe looks every 10 ms, so that a
    /// shorter pause of the machine can hide between two looks.
    fn of(report: &SelfReport) -> Self {
        let worst = report.lags_ms.iter().copied().fold(0.0, f64::max);
        let p95 = crate::stats::quantile(&report.lags_ms, 0.95).unwrap_or(worst);
        Self { any_ms: 3.0f64.mul_add(worst, 25.0), usual_ms: 3.0f64.mul_add(p95, 5.0) }
    }
}

/// Runs something and measures how late it may have been.
async fn with_lateness<T>(work: impl Future<Output = T>) -> (T, Lateness) {
    let check = SelfCheck::start();
    let done = work.await;
    (done, Lateness::of(&check.finish()))
}

/// A simulated engine that is slow enough for its times to stand out: 15 ms and more between two tokens.
async fn engine(flags: &str) -> Running {
    let base = "m --max-model-len 8192 --enable-prompt-tokens-details --sim-model-weights-gib 1 --sim-first-request-ms 0 \
                --sim-step-overhead-ms 14";
    let words: Vec<&str> = base.split_whitespace().chain(flags.split_whitespace()).collect();
    spawn(&words).await.unwrap()
}

async fn client_of(engine: &Running) -> super::Client {
    super::Client::new(&super::Target::new(engine.url(), "m")).await.unwrap()
}

fn context() -> super::Context {
    super::Context::new(5, "truth", CancellationToken::new())
}

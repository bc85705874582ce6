//! What vgrid reports against what really happened: stamps of the server, taken in the same process on the same clock.
//!
//! A client sees nothing before it was written, so its stamps are never early: that bound is exact. How late they may be is measured
//! while a test runs, by a task of the same runtime that wants to run all the time.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::domain::{ScenarioResult, ScenarioSpec};
use crate::sim::{Running, TruthEntry, spawn};

mod answers;
mod covered;
mod documented;
mod load;
mod open_loop;
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

/// Between two looks of the probe: the timer's grain. No pause that is longer can hide between two of them.
const LOOK: Duration = Duration::from_millis(1);

/// Turns of the runtime between a server's stamp and the client's: the server's writer, the connection's reader, the request's own task.
const TURNS: f64 = 3.0;

impl Lateness {
    /// From the lags of the probe. A turn is as long as the probe was late, less the timer's grain; the machine itself may take the
    /// process off its core between two stamps and let the probe off, for which there are some ms more.
    fn of(lags_ms: &[f64]) -> Self {
        let worst = lags_ms.iter().copied().fold(0.0, f64::max);
        let p95 = crate::stats::quantile(lags_ms, 0.95).unwrap_or(worst);
        Self { any_ms: TURNS.mul_add(worst, 10.0), usual_ms: TURNS.mul_add(p95, 2.0) }
    }
}

/// Sleeps for [`LOOK`] again and again, and notes how much later than that it ran, ms.
async fn probe(stop: CancellationToken) -> Vec<f64> {
    let mut lags = Vec::new();
    while !stop.is_cancelled() {
        let due = Instant::now() + LOOK;
        tokio::time::sleep_until(due.into()).await;
        lags.push(Instant::now().saturating_duration_since(due).as_secs_f64() * 1e3);
    }
    lags
}

/// Runs something and measures how late it may have been.
async fn with_lateness<T>(work: impl Future<Output = T>) -> (T, Lateness) {
    let stop = CancellationToken::new();
    let probe = AbortOnDropHandle::new(tokio::spawn(probe(stop.clone())));
    let done = work.await;
    stop.cancel();
    (done, Lateness::of(&probe.await.unwrap()))
}

/// With so few streams a runtime that is left alone is punctual to a few ms.
const PUNCTUAL_MS: f64 = 40.0;

/// A machine that others keep busy is waited out this many times.
const ATTEMPTS: usize = 8;

/// Measures, and measures again while stamps may have been later than `punctual_ms`; the most punctual attempt.
async fn punctually<T>(punctual_ms: f64, mut measure: impl AsyncFnMut() -> (T, Lateness)) -> (T, Lateness) {
    let mut best: Option<(T, Lateness)> = None;
    for _ in 0..ATTEMPTS {
        let (found, late) = measure().await;
        if best.as_ref().is_none_or(|(_, least)| late.any_ms < least.any_ms) {
            best = Some((found, late));
        }
        if late.any_ms <= punctual_ms {
            break;
        }
    }
    best.unwrap()
}

/// Runs a scenario against a fresh engine with these flags; its result, what the engine saw, and how late a stamp may be.
async fn observed(flags: &str, spec: &ScenarioSpec, punctual_ms: f64) -> (ScenarioResult, Vec<TruthEntry>, Lateness) {
    let measure = async || {
        let engine = engine(flags).await;
        let client = client_of(&engine).await;
        let (result, late) =
            with_lateness(async { super::run_scenario(&client, spec, &context()).await.unwrap() }).await;
        ((result, engine.truth()), late)
    };
    let ((result, truth), late) = punctually(punctual_ms, measure).await;
    (result, truth, late)
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

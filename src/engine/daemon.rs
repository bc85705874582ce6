//! A Docker daemon that goes away is waited for: its restart costs a trial, not the night, and what served before comes back.

use std::time::{Duration, Instant};

use crate::launch::{LaunchError, Launcher};

use super::EngineError;

/// Between two looks whether it is back.
const LOOK: Duration = Duration::from_millis(500);

/// A call that fails so often although the daemon answers does not fail for its absence.
const TRIES: u32 = 5;

/// Works with the daemon; when it goes away meanwhile, waits until it is back, `patience` at most, and does the work again. The work
/// must be such that it may be done again.
///
/// # Errors
/// The work fails for another reason; the daemon does not come back; `tell` fails.
pub(super) async fn patiently<T>(
    launcher: &Launcher,
    patience: Duration,
    mut tell: impl FnMut(String) -> Result<(), EngineError>,
    mut work: impl AsyncFnMut() -> Result<T, LaunchError>,
) -> Result<T, EngineError> {
    let mut tries = 1;
    loop {
        match work().await {
            Err(error) if error.daemon_unreachable && tries < TRIES => {
                tries += 1;
                if await_back(launcher, patience, &mut tell).await?.is_none() {
                    // It is there, or back already: what failed a moment ago may succeed now.
                    tokio::time::sleep(LOOK).await;
                }
            }
            other => return Ok(other?),
        }
    }
}

/// Waits until the daemon answers, `patience` at most; how long it was away, `None` when it was there.
///
/// # Errors
/// It does not come back; `tell` fails.
pub(super) async fn await_back(
    launcher: &Launcher,
    patience: Duration,
    mut tell: impl FnMut(String) -> Result<(), EngineError>,
) -> Result<Option<Duration>, EngineError> {
    if launcher.answers().await {
        return Ok(None);
    }
    let began = Instant::now();
    tell(format!("the Docker daemon does not answer; waiting for it, {} s at most", patience.as_secs()))?;
    while !launcher.answers().await {
        if began.elapsed() > patience {
            return Err(LaunchError::daemon_away(began.elapsed()).into());
        }
        tokio::time::sleep(LOOK).await;
    }
    tell(format!("the Docker daemon answers again after {:.1} s", began.elapsed().as_secs_f64()))?;
    Ok(Some(began.elapsed()))
}

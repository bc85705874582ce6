//! The monotonic clock of one scenario: every offset of its records is measured from the same instant.

use std::time::Instant;

/// Milliseconds since a scenario's start.
#[derive(Clone, Copy, Debug)]
pub struct RunClock {
    origin: Instant,
}

impl RunClock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// `instant` as an offset, ms; 0 for instants before the start.
    #[must_use]
    pub fn offset_ms(&self, instant: Instant) -> f64 {
        instant.saturating_duration_since(self.origin).as_secs_f64() * 1_000.0
    }

    /// Now as an offset, ms.
    #[must_use]
    pub fn now_ms(&self) -> f64 {
        self.offset_ms(Instant::now())
    }
}

//! The monotonic clock of one scenario: every offset of its records is measured from the same instant, in whole microseconds. The database
//! keeps them so, and what is computed from it again must not find a token on the other side of a window's edge.

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

    /// `instant` as an offset, ms, cut to the microsecond; 0 for instants before the start.
    #[must_use]
    pub fn offset_ms(&self, instant: Instant) -> f64 {
        instant.saturating_duration_since(self.origin).as_micros() as f64 / 1_000.0
    }

    /// Now as an offset, ms.
    #[must_use]
    pub fn now_ms(&self) -> f64 {
        self.offset_ms(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn offsets_are_whole_microseconds_in_order() {
        let clock = RunClock::start();
        let at = |ns: u64| clock.offset_ms(clock.origin + Duration::from_nanos(ns));
        assert_eq!([at(0), at(999), at(1_000), at(1_234_567_890)], [0.0, 0.0, 0.001, 1_234.567]);
        assert_eq!(clock.offset_ms(clock.origin - Duration::from_nanos(1)), 0.0);
    }
}

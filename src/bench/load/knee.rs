//! Where a closed loop saturates: beyond the knee more users only wait longer.

/// One level of a closed loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Users.
    pub(super) users: u32,
    /// Steady throughput, tokens/s.
    pub(super) tokens_per_s: f64,
    /// Mean E2E, ms.
    pub(super) e2e_ms: f64,
}

/// Levels that a knee needs: one below, one above.
const MIN_LEVELS: usize = 3;

/// The level with the greatest power, throughput / mean E2E (Kleinrock 1979). `None` below three levels, and where the greatest
/// power is at the highest or the lowest level: then the knee may lie outside of what was measured.
pub(super) fn knee(points: &[Point]) -> Option<u32> {
    if points.len() < MIN_LEVELS {
        return None;
    }
    let power = |p: &Point| p.tokens_per_s / p.e2e_ms;
    let best = points.iter().max_by(|a, b| power(a).total_cmp(&power(b)))?;
    let lowest = points.iter().map(|p| p.users).min()?;
    let highest = points.iter().map(|p| p.users).max()?;
    (best.users != lowest && best.users != highest).then_some(best.users)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that serves `capacity` at once in 1,000 ms each, 100 tokens a request.
    fn ideal(capacity: u32, levels: &[u32]) -> Vec<Point> {
        let of = |users: &u32| {
            let rate = f64::from(capacity.min(*users));
            Point { users: *users, tokens_per_s: rate * 100.0, e2e_ms: f64::from(*users) / rate * 1_000.0 }
        };
        levels.iter().map(of).collect()
    }

    #[test]
    fn the_knee_of_an_ideal_server_is_its_capacity() {
        assert_eq!(knee(&ideal(8, &[1, 2, 4, 8, 16, 32])), Some(8));
        assert_eq!(knee(&ideal(3, &[1, 2, 4, 8])), Some(4));
    }

    #[test]
    fn a_knee_outside_of_the_levels_is_not_claimed() {
        assert_eq!(knee(&ideal(64, &[1, 2, 4, 8])), None, "still rising at the highest");
        assert_eq!(knee(&ideal(1, &[1, 2, 4, 8])), None, "falling from the lowest");
        assert_eq!(knee(&ideal(2, &[1, 2])), None);
    }
}

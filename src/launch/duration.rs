//! Durations as Go writes them (`1m30s`, `500ms`), the spelling of Compose files.

/// Nanoseconds of a Go duration: a sequence of decimal numbers with units `h`, `m`, `s`, `ms`, `us`, `µs`, `ns`; `0` alone needs none.
///
/// # Errors
/// A sentence that says what is wrong with the text.
pub fn go_duration_ns(text: &str) -> Result<i64, String> {
    let bad = |why: &str| format!("`{text}` is not a duration such as `1m30s`: {why}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(bad("it is empty"));
    }
    let mut total_ns = 0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(|| bad("a number has no unit"))?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad("a number is missing"))?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit_ns = match &rest[..unit_end] {
            "h" => 3_600e9,
            "m" => 60e9,
            "s" => 1e9,
            "ms" => 1e6,
            "us" | "µs" | "μs" => 1e3,
            "ns" => 1.0,
            _ => return Err(bad("the units are h, m, s, ms, us, ns")),
        };
        rest = &rest[unit_end..];
        total_ns += number * unit_ns;
    }
    if total_ns > i64::MAX as f64 {
        return Err(bad("it is too long"));
    }
    let total_ns = total_ns.round() as i64;
    Ok(if negative { -total_ns } else { total_ns })
}

/// Whole seconds of a Go duration, rounded up, so that a grace period is never cut short.
///
/// # Errors
/// As [`go_duration_ns`].
pub fn go_duration_s(text: &str) -> Result<i64, String> {
    go_duration_ns(text).map(|ns| ns.div_euclid(1_000_000_000) + i64::from(ns.rem_euclid(1_000_000_000) > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_and_every_mixture_is_read() {
        for (text, ns) in [
            ("30s", 30_000_000_000),
            ("1m30s", 90_000_000_000),
            ("4m0s", 240_000_000_000),
            ("1h", 3_600_000_000_000),
            ("500ms", 500_000_000),
            ("1.5s", 1_500_000_000),
            ("250us", 250_000),
            ("250µs", 250_000),
            ("7ns", 7),
            ("0", 0),
            ("-2s", -2_000_000_000),
        ] {
            assert_eq!(go_duration_ns(text), Ok(ns), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_an_error_that_quotes_it() {
        for text in ["", "30", "s", "30x", "1m 30s", "abc", "1..5s", "99999999999h"] {
            let err = go_duration_ns(text).unwrap_err();
            assert!(err.contains(&format!("`{text}`")), "{err}");
        }
    }

    #[test]
    fn a_grace_period_is_rounded_up() {
        assert_eq!(go_duration_s("1500ms"), Ok(2));
        assert_eq!(go_duration_s("30s"), Ok(30));
        assert_eq!(go_duration_s("0"), Ok(0));
    }
}

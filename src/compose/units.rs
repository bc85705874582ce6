//! Sizes, durations and numbers in the text forms that Compose reads and prints.

/// A float as Go's `%v` prints it: shortest digits, with an exponent below 1e-4 and from 1e6 on.
pub(super) fn go_float(n: f64) -> String {
    if n.is_nan() {
        return "NaN".into();
    }
    if n.is_infinite() {
        return if n > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let scientific = format!("{n:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    } else {
        format!("{n}")
    }
}

/// A single-precision number as the double with the same shortest decimal: 0.1f32 is 0.1.
pub(super) fn widen(n: f32) -> f64 {
    n.to_string().parse().unwrap_or(f64::from(n))
}

/// Bytes from `16gb`, `512 MiB`, `1.5g`, `1024`: binary units, case does not count (Docker's `RAMInBytes`).
pub(super) fn bytes(text: &str) -> Option<i64> {
    let at = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')?;
    let (number, suffix) =
        if text.as_bytes().get(at) == Some(&b' ') { (&text[..at], &text[at + 1..]) } else { text.split_at(at + 1) };
    let size: f64 = number.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)?;
    let suffix = suffix.to_ascii_lowercase();
    let factor: f64 = match suffix.as_str() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tb" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "p" | "pb" | "pib" => 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some((size * factor) as i64)
}

/// Nanoseconds from a Go duration: `1m30s`, `1.5h`, `300ms`, `0`.
pub(super) fn duration_ns(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number = &rest[..end];
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit: i128 = match &rest[..end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = &rest[end..];
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let mut divisor: i128 = 1;
        let mut part = 0;
        for digit in fraction.bytes().take(18) {
            part = part * 10 + i128::from(digit - b'0');
            divisor *= 10;
        }
        total += whole.checked_mul(unit)? + part * unit / divisor;
        i64::try_from(total).ok()?;
    }
    let total = i64::try_from(total).ok()?;
    Some(if negative { -total } else { total })
}

/// A duration in nanoseconds as Go prints it: `1m30s`, `1.5s`, `300ms`, `0s`.
pub(super) fn go_duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let total = ns.unsigned_abs();
    if total == 0 {
        return "0s".into();
    }
    if total < 1_000_000_000 {
        let (unit, scale) = match total {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", decimal(total, scale));
    }
    let seconds = decimal(total % 60_000_000_000, 1_000_000_000);
    let minutes = total / 60_000_000_000;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, m) => format!("{sign}{m}m{seconds}s"),
        (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
    }
}

/// `value / scale` as a decimal without trailing zeros; `scale` is a power of ten.
fn decimal(value: u64, scale: u64) -> String {
    let (whole, part) = (value / scale, value % scale);
    if part == 0 {
        return whole.to_string();
    }
    let width = scale.ilog10() as usize;
    let part = format!("{part:0width$}");
    format!("{whole}.{}", part.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_take_every_spelling() {
        for (text, value) in [
            ("16gb", Some(17_179_869_184)),
            ("16 GiB", Some(17_179_869_184)),
            ("1.5g", Some(1_610_612_736)),
            ("1024", Some(1024)),
            ("1b", Some(1)),
            ("0", Some(0)),
            ("-1", None),
            ("12x", None),
            ("", None),
            ("gb", None),
        ] {
            assert_eq!(bytes(text), value, "{text}");
        }
    }

    #[test]
    fn durations_are_read_and_printed_as_go_does() {
        for (text, printed) in [
            ("90s", "1m30s"),
            ("1.5s", "1.5s"),
            ("300ms", "300ms"),
            ("0", "0s"),
            ("1h", "1h0m0s"),
            ("100us", "100µs"),
            ("1h0.5s", "1h0m0.5s"),
            ("-2s", "-2s"),
            ("1.000000001s", "1.000000001s"),
        ] {
            assert_eq!(go_duration(duration_ns(text).unwrap()), printed, "{text}");
        }
        for text in ["30", "", "1x", "s", "1s5", "1..5s", "."] {
            assert_eq!(duration_ns(text), None, "{text}");
        }
    }

    #[test]
    fn floats_print_as_go_prints_them() {
        for (n, printed) in
            [(123_456.0, "123456"), (1_234_567.0, "1.234567e+06"), (0.1, "0.1"), (1e20, "1e+20"), (-0.5, "-0.5")]
        {
            assert_eq!(go_float(n), printed);
        }
    }
}

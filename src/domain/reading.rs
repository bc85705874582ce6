//! Numbers and durations as a person reads them.

/// A duration in at most two units: `850 ms`, `4.2 s`, `3 min 5 s`, `2 h 10 min`.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 1.0 {
        return format!("{:.0} ms", seconds * 1000.0);
    }
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 { format!("{hours} h {minutes:02} min") } else { format!("{minutes} min {rest:02} s") }
}

/// A time to the minute, in UTC: `2026-11-30 16:24 UTC`.
pub(crate) fn moment(rfc3339: &str) -> String {
    match (rfc3339.get(..10), rfc3339.get(11..16)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        (None, _) | (_, None) => rfc3339.to_owned(),
    }
}

/// A number with three significant digits and thousands separated: `0.0312`, `35.2`, `1,230`.
pub(crate) fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return value.to_string();
    }
    let digits_before = value.abs().log10().floor() as i32 + 1;
    let decimals = (3 - digits_before).clamp(0, 6) as usize;
    let fixed = format!("{value:.decimals$}");
    let (whole, fraction) = match fixed.split_once('.') {
        Some((whole, fraction)) => (whole, fraction.trim_end_matches('0')),
        None => (fixed.as_str(), ""),
    };
    let grouped = thousands(whole);
    if fraction.is_empty() { grouped } else { format!("{grouped}.{fraction}") }
}

fn thousands(whole: &str) -> String {
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |d| ("−", d));
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(c);
    }
    format!("{sign}{out}")
}

/// The figure of a metric with its unit: `35.2 ms`, `1,230 tokens/s`. A ratio reads as its name says: an acceleration `x4.4`, a
/// drift or change `+12 %`, a share `98.5 %`.
pub(crate) fn figure(name: &str, value: f64, unit: &str) -> String {
    let bare = bare_figure(name, value, unit);
    match unit_text(name, unit) {
        "" => bare,
        FACTOR => format!("{FACTOR}{bare}"),
        unit => format!("{bare} {unit}"),
    }
}

/// The unit as a person writes it beside a bare figure: `ms`, `tokens/s`, `%`, `x` for a factor, nothing for a count or a size.
pub(crate) fn unit_text<'a>(name: &str, unit: &'a str) -> &'a str {
    match unit {
        "tokens_per_s" => "tokens/s",
        "requests_per_s" => "requests/s",
        "ms_per_turn" => "ms/turn",
        "ratio" if name == ACCELERATION => FACTOR,
        "ratio" => "%",
        "ratio_per_h" => "%/h",
        "count" | "bytes" | "bytes_per_h" => "",
        "w" => "W",
        "c" => "°C",
        "mhz" => "MHz",
        other => other,
    }
}

/// The same in the same scale without the unit, for a column or an interval beside it. A size, and its slope, keep their own.
pub(crate) fn bare_figure(name: &str, value: f64, unit: &str) -> String {
    let is_change = ["_drift_ratio", "_change_ratio", "_growth_ratio"].iter().any(|end| name.ends_with(end));
    match unit {
        "ratio" if name == ACCELERATION => number(value),
        "ratio" if is_change => signed(value * 100.0),
        "ratio" => number(value * 100.0),
        "ratio_per_h" => signed(value * 100.0),
        "bytes" => bytes(value),
        "bytes_per_h" => format!("{}{}/h", sign(value), bytes(value.abs())),
        _ => number(value),
    }
}

/// The unit of a factor, which stands before it.
const FACTOR: &str = "x";

/// The one ratio that is neither a share nor a change.
const ACCELERATION: &str = "acceleration_ratio";

/// A size in the largest binary unit that leaves a number of at least one: `1.5 GiB`.
pub(crate) fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = value;
    let mut unit = 0;
    while scaled.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{} {}", number(scaled), UNITS[unit])
}

/// A signed gain in percent, to a tenth below 1,000: `+12.3 %`, `−4.5 %`, `0.0 %`, `+2,140 %`.
pub(crate) fn gain(percent: f64) -> String {
    let size = percent.abs();
    if size < 0.05 {
        return "0.0 %".to_owned();
    }
    let sign = if percent < 0.0 { "−" } else { "+" };
    let digits = if size < 999.95 { format!("{size:.1}") } else { number(size.round()) };
    format!("{sign}{digits} %")
}

/// A gain and what the noise of the night says of it: `+2.1 % (noise)`.
pub(crate) fn judged_gain(percent: f64, is_real: Option<bool>) -> String {
    match is_real {
        Some(true) => gain(percent),
        Some(false) => format!("{} (noise)", gain(percent)),
        None => format!("{} (noise not known)", gain(percent)),
    }
}

/// A difference of a figure with its sign and unit.
pub(crate) fn difference(name: &str, value: f64, unit: &str) -> String {
    let sign = if value < 0.0 { "−" } else { "+" };
    format!("{sign}{}", figure(name, value.abs(), unit).trim_start_matches('+'))
}

/// The interval of a figure without its unit: `2,005 .. 2,076`; `None` where an end is not known.
pub(crate) fn interval(name: &str, low: Option<f64>, high: Option<f64>, unit: &str) -> Option<String> {
    Some(format!("{} .. {}", bare_figure(name, low?, unit), bare_figure(name, high?, unit)))
}

fn signed(value: f64) -> String {
    format!("{}{}", sign(value), number(value.abs()))
}

const fn sign(value: f64) -> &'static str {
    if value < 0.0 { "−" } else { "+" }
}

/// A name of the grid as a heading: words apart, the field's abbreviations in capitals (`ttft_miss`: `TTFT miss`).
pub(crate) fn title(name: &str) -> String {
    const ABBREVIATIONS: [&str; 8] = ["e2e", "gpu", "itl", "kv", "slo", "tpot", "ttfc", "ttft"];
    let word = |word: &str| if ABBREVIATIONS.contains(&word) { word.to_uppercase() } else { word.to_owned() };
    name.split('_').map(word).collect::<Vec<_>>().join(" ")
}

/// `text` shortened to `width` characters, with an ellipsis in its middle: generated names differ at their ends.
pub(crate) fn shorten_middle(text: &str, width: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let tail = kept / 2;
    let (head, tail) = (&letters[..kept - tail], &letters[letters.len() - tail..]);
    head.iter().chain(&['…']).chain(tail).collect()
}

/// `text` shortened to `width` characters, with an ellipsis in the place of what was cut.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gain_has_its_sign_and_one_decimal() {
        let shown = [12.34, -4.5, 0.01, -0.03, -835.4, 2_140.2, 102.46].map(gain);
        assert_eq!(shown, ["+12.3 %", "−4.5 %", "0.0 %", "0.0 %", "−835.4 %", "+2,140 %", "+102.5 %"]);
    }

    #[test]
    fn durations_have_at_most_two_units() {
        assert_eq!(duration(0.85), "850 ms");
        assert_eq!(duration(4.21), "4.2 s");
        assert_eq!(duration(185.0), "3 min 05 s");
        assert_eq!(duration(7800.0), "2 h 10 min");
        assert_eq!(moment("2026-11-30T16:24:02.774Z"), "2026-11-30 16:24 UTC");
    }

    #[test]
    fn numbers_keep_three_significant_digits_and_group_thousands() {
        assert_eq!(number(0.031_249), "0.0312");
        assert_eq!(number(35.24), "35.2");
        assert_eq!(number(1_229.6), "1,230");
        assert_eq!(number(-1_234_567.0), "−1,234,567");
        assert_eq!(number(2.0), "2");
    }

    #[test]
    fn a_ratio_reads_as_its_name_says() {
        assert_eq!(figure("acceleration_ratio", 4.4, "ratio"), "x4.4");
        assert_eq!(figure("e2e_drift_ratio", -0.282, "ratio"), "−28.2 %");
        assert_eq!(figure("success_ratio", 1.0, "ratio"), "100 %");
        assert_eq!(figure("latency_growth_ratio", 1.0, "ratio"), "+100 %");
    }

    #[test]
    fn a_slope_reads_as_a_size_or_a_share_per_hour_with_its_sign() {
        let gib = 1_073_741_824.0;
        assert_eq!(figure("memory_slope_bytes_per_h", -31.2 * gib, "bytes_per_h"), "−31.2 GiB/h");
        assert_eq!(figure("kv_usage_slope_ratio_per_h", 0.024, "ratio_per_h"), "+2.4 %/h");
        let both = interval("memory_slope_bytes_per_h", Some(-gib), Some(gib / 2.0), "bytes_per_h");
        assert_eq!(both.as_deref(), Some("−1 GiB/h .. +512 MiB/h"));
        assert_eq!(difference("memory_slope_bytes_per_h", -gib, "bytes_per_h"), "−1 GiB/h");
    }

    #[test]
    fn a_long_text_ends_in_an_ellipsis() {
        assert_eq!(shorten("abcdef", 4), "abc…");
        assert_eq!(shorten("abc", 4), "abc");
        assert_eq!(shorten_middle("abcdefgh", 6), "abc…gh");
        assert_eq!((shorten_middle("abc", 3), shorten_middle("abc", 0)), ("abc".to_owned(), "…".to_owned()));
        assert_eq!((title("ttft_miss"), title("many_users")), ("TTFT miss".to_owned(), "many users".to_owned()));
    }
}

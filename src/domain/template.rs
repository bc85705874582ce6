//! Numbers out of text by example: `"needs {kv_needed_gib} GiB"` finds the number that stands there.

/// A number found by a template, with its name.
pub type NamedNumber = (String, f64);

/// The numbers that `template` finds at its first match in `text`; None where it does not match.
///
/// A template is literal text, beginning with a literal, with placeholders: `{name}` a number (`-1,234.5` reads as
/// -1234.5), `{name:size}` a number with its unit (`10.50 MiB` becomes `name_mib`), `{}` any text up to what follows.
#[must_use]
pub fn scan_numbers(text: &str, template: &str) -> Option<Vec<NamedNumber>> {
    let literal_end = template.find('{').unwrap_or(template.len());
    let (first, rest) = template.split_at(literal_end);
    if first.is_empty() {
        return None;
    }
    let mut from = 0;
    while let Some(found) = text[from..].find(first) {
        let at = from + found + first.len();
        let mut numbers = Vec::new();
        if match_rest(&text[at..], rest, &mut numbers) {
            return Some(numbers);
        }
        from = at;
    }
    None
}

/// Matches `template` (which begins with a placeholder or is empty) at the start of `text`.
fn match_rest(text: &str, template: &str, numbers: &mut Vec<NamedNumber>) -> bool {
    let Some(inner) = template.strip_prefix('{') else {
        return text.starts_with(template);
    };
    let Some((name, after)) = inner.split_once('}') else {
        return false;
    };
    let literal_end = after.find('{').unwrap_or(after.len());
    let (literal, rest) = after.split_at(literal_end);
    if name.is_empty() {
        return match_gap(text, literal, rest, numbers);
    }
    let Some((value, length)) = leading_number(text) else {
        return false;
    };
    let mut text = &text[length..];
    let key = match name.strip_suffix(":size") {
        None => name.to_owned(),
        Some(stem) => {
            let Some((unit, length)) = leading_unit(text) else { return false };
            text = &text[length..];
            format!("{stem}_{unit}")
        }
    };
    let Some(text) = text.strip_prefix(literal) else {
        return false;
    };
    numbers.push((key, value));
    match_rest(text, rest, numbers)
}

/// Any text, then `literal`, then the rest; tries every place where the literal stands.
fn match_gap(text: &str, literal: &str, rest: &str, numbers: &mut Vec<NamedNumber>) -> bool {
    if literal.is_empty() {
        return false;
    }
    let mut from = 0;
    while let Some(found) = text[from..].find(literal) {
        let at = from + found + literal.len();
        let kept = numbers.len();
        if match_rest(&text[at..], rest, numbers) {
            return true;
        }
        numbers.truncate(kept);
        from = at;
    }
    false
}

/// The number at the start of `text` and its length: sign, digits with thousands commas, fraction.
#[must_use]
pub fn leading_number(text: &str) -> Option<(f64, usize)> {
    let bytes = text.as_bytes();
    let mut end = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    let digits_at = end;
    while bytes.get(end).is_some_and(u8::is_ascii_digit)
        || (end > digits_at && bytes.get(end) == Some(&b',') && thousands_follow(&bytes[end + 1..]))
    {
        end += 1;
    }
    if end == digits_at {
        return None;
    }
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end += 1;
        while bytes.get(end).is_some_and(u8::is_ascii_digit) {
            end += 1;
        }
    }
    if bytes.get(end) == Some(&b'e') {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'-' | b'+')));
        let mut exponent = end + 1 + sign;
        while bytes.get(exponent).is_some_and(u8::is_ascii_digit) {
            exponent += 1;
        }
        if exponent > end + 1 + sign {
            end = exponent;
        }
    }
    text[..end].replace(',', "").parse().ok().map(|value| (value, end))
}

/// Whether exactly three digits stand at the start, as behind a thousands comma.
fn thousands_follow(bytes: &[u8]) -> bool {
    bytes.len() >= 3 && bytes[..3].iter().all(u8::is_ascii_digit) && !bytes.get(3).is_some_and(u8::is_ascii_digit)
}

const UNITS: [(&str, &str); 9] = [
    ("GiB", "gib"),
    ("MiB", "mib"),
    ("KiB", "kib"),
    ("TiB", "tib"),
    ("GB", "gb"),
    ("MB", "mb"),
    ("kB", "kb"),
    ("bytes", "bytes"),
    ("B", "bytes"),
];

/// The unit of a size at the start of `text`, as the ending of a key, and its length with the space before.
fn leading_unit(text: &str) -> Option<(&'static str, usize)> {
    let trimmed = text.trim_start_matches(' ');
    let (spelling, ending) = UNITS.iter().find(|(spelling, _)| trimmed.starts_with(spelling))?;
    Some((ending, text.len() - trimmed.len() + spelling.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_by_name_with_commas_signs_and_units() {
        let text = "x Tried to allocate 112.00 MiB. GPU 0 has a total capacity of 44.52 GiB of which 0 bytes is free.";
        let found = scan_numbers(
            text,
            "Tried to allocate {tried:size}. GPU {} has a total capacity of {total_gib} GiB of which {free:size} is free",
        );
        let expected = [("tried_mib", 112.0), ("total_gib", 44.52), ("free_bytes", 0.0)];
        assert_eq!(found, Some(expected.map(|(k, v)| (k.to_owned(), v)).to_vec()));
        assert_eq!(leading_number("502,656 tokens"), Some((502_656.0, 7)));
        assert_eq!(leading_number("-0.65 GiB"), Some((-0.65, 5)));
        assert_eq!(leading_number("121840. Try"), Some((121_840.0, 6)));
        assert_eq!(leading_number("0.92, 72.84"), Some((0.92, 4)));
        assert_eq!(leading_number("8, 8"), Some((8.0, 1)));
        assert_eq!(leading_number("x"), None);
    }

    #[test]
    fn a_later_occurrence_is_tried_when_the_first_does_not_fit() {
        assert_eq!(scan_numbers("port=x port=80 ", "port={port} "), Some(vec![("port".to_owned(), 80.0)]));
        assert_eq!(scan_numbers("port=x", "port={port}"), None);
        assert_eq!(scan_numbers("a b c", "a {} c"), Some(vec![]));
    }

    proptest! {
        #[test]
        fn scanning_never_panics(text in "\\PC*", template in "[a-z{}: ]{0,20}") {
            let _ = scan_numbers(&text, &template);
            let _ = leading_number(&text);
        }
    }
}

//! Python's printed values: `key=value, ...` lists and `{'key': value}` dictionaries, cut at their top level.

/// The pairs of a `key=value, key=value` list, in order, values as printed. Stops at what does not look like a pair.
#[must_use]
pub fn keyword_pairs(text: &str) -> Vec<(&str, &str)> {
    pieces(text)
        .into_iter()
        .filter_map(|piece| {
            let (key, value) = piece.trim().split_once('=')?;
            is_name(key).then_some((key, value.trim()))
        })
        .collect()
}

/// The pairs of a printed dictionary `{'key': value, ...}`, in order, values as printed; what follows the closing brace is ignored.
#[must_use]
pub fn dict_pairs(text: &str) -> Vec<(&str, &str)> {
    let Some(inner) = text.trim_start().strip_prefix('{') else { return Vec::new() };
    let inner = inner.get(..group_length(inner)).unwrap_or(inner);
    pieces(inner)
        .into_iter()
        .filter_map(|piece| {
            let (key, value) = piece.trim().split_once(':')?;
            let key = key.trim();
            let key = unquoted(key).unwrap_or(key);
            is_name(key).then_some((key, value.trim()))
        })
        .collect()
}

/// Length of `text` up to the bracket that closes a group opened just before it.
#[must_use]
pub fn group_length(text: &str) -> usize {
    let mut scan = Scan::default();
    for (i, c) in text.char_indices() {
        if scan.depth == 0 && scan.quote.is_none() && matches!(c, ')' | ']' | '}') {
            return i;
        }
        scan.step(c);
    }
    text.len()
}

/// A value in vgrid's spelling: `True` is `on`, quotes are gone, `torch.bfloat16` is `bfloat16`, `<Enum.A: 'b'>` is `b`.
/// None for Python's `None`.
#[must_use]
pub fn plain_value(printed: &str) -> Option<String> {
    let printed = printed.trim();
    match printed {
        "None" | "" | "null" => return None,
        "True" | "true" => return Some("on".to_owned()),
        "False" | "false" => return Some("off".to_owned()),
        _ => {}
    }
    if let Some(text) = unquoted(printed) {
        // The settings say `None` in quotes in /metrics.
        return plain_value(text).filter(|_| text != printed).or_else(|| (text != "None").then(|| text.to_owned()));
    }
    if let Some(dtype) = printed.strip_prefix("torch.") {
        return Some(dtype.to_owned());
    }
    if let Some(inner) = printed.strip_prefix('<').and_then(|p| p.strip_suffix('>'))
        && let Some((_, value)) = inner.split_once(": ")
    {
        return plain_value(value);
    }
    if let Some((name, member)) = printed.split_once('.')
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && is_name(name)
        && is_name(member)
    {
        return Some(member.to_lowercase());
    }
    if let Some(list) = printed.strip_prefix('[').and_then(|p| p.strip_suffix(']'))
        && !list.contains(['[', '{'])
    {
        let items: Vec<String> = pieces(list).into_iter().filter_map(|p| plain_value(p.trim())).collect();
        return (!items.is_empty()).then(|| items.join(" "));
    }
    Some(printed.to_owned())
}

/// The text between its quotes, where it is one quoted string.
fn unquoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text.strip_prefix(quote)?.strip_suffix(quote)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// `text` cut at the commas outside brackets and quotes.
fn pieces(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut scan = Scan::default();
    let mut from = 0;
    for (i, c) in text.char_indices() {
        if c == ',' && scan.depth == 0 && scan.quote.is_none() {
            out.push(&text[from..i]);
            from = i + 1;
        }
        scan.step(c);
    }
    out.push(&text[from..]);
    out.retain(|p| !p.trim().is_empty());
    out
}

/// Where a reader stands: how deep in brackets, in which quotes.
#[derive(Default)]
struct Scan {
    depth: usize,
    quote: Option<char>,
    escaped: bool,
}

impl Scan {
    fn step(&mut self, c: char) {
        if let Some(quote) = self.quote {
            if self.escaped {
                self.escaped = false;
            } else if c == '\\' {
                self.escaped = true;
            } else if c == quote {
                self.quote = None;
            }
            return;
        }
        match c {
            '\'' | '"' => self.quote = Some(c),
            '(' | '[' | '{' => self.depth += 1,
            ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_are_cut_outside_brackets_and_quotes() {
        let text = "model='/a, b', x=SomeConfig(y=1, z=[2, 3]), seed=0, e=<M.A: 'b'>, c={\"k\": [1, 2]}";
        let pairs = keyword_pairs(text);
        assert_eq!(
            pairs,
            [
                ("model", "'/a, b'"),
                ("x", "SomeConfig(y=1, z=[2, 3])"),
                ("seed", "0"),
                ("e", "<M.A: 'b'>"),
                ("c", "{\"k\": [1, 2]}")
            ]
        );
        assert_eq!(
            dict_pairs("{'a': True, 'b': ['x'], 'c': {'d': 1}} tail"),
            [("a", "True"), ("b", "['x']"), ("c", "{'d': 1}")]
        );
    }

    #[test]
    fn values_are_spelled_as_vgrid_spells_them() {
        let cases = [
            ("True", Some("on")),
            ("False", Some("off")),
            ("None", None),
            ("'None'", None),
            ("\"True\"", Some("on")),
            ("'auto'", Some("auto")),
            ("torch.bfloat16", Some("bfloat16")),
            ("<CompilationMode.VLLM_COMPILE: 3>", Some("3")),
            ("<ConfigFormat.AUTO: 'auto'>", Some("auto")),
            ("LoadFormat.AUTO", Some("auto")),
            ("['a', 'b']", Some("a b")),
            ("[]", None),
            ("0.92", Some("0.92")),
            ("ag_rs", Some("ag_rs")),
        ];
        for (printed, plain) in cases {
            assert_eq!(plain_value(printed).as_deref(), plain, "{printed}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*|[a-z='\",(){}\\[\\]<>:\\\\ ]{0,60}") {
            let _ = keyword_pairs(&text);
            let _ = dict_pairs(&text);
            let _ = plain_value(&text);
        }
    }
}

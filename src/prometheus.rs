//! The Prometheus text format, read as far as the engine's counters need.

use std::collections::BTreeMap;

/// One sample of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Metric name, e.g. `vllm:num_preemptions_total`.
    pub name: String,
    /// Labels, unescaped.
    pub labels: BTreeMap<String, String>,
    /// Value; `NaN` and `+Inf` as the format allows them.
    pub value: f64,
}

/// All samples of one `/metrics` answer, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    /// The samples.
    pub samples: Vec<Sample>,
}

impl Scrape {
    /// Reads an answer. Comments and lines that are no samples are skipped: a scrape is evidence, not a contract.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self { samples: text.lines().filter_map(parse_line).collect() }
    }

    /// The sum of all samples of this name over their labels; `None` when there is none.
    #[must_use]
    pub fn sum(&self, name: &str) -> Option<f64> {
        let mut values = self.samples.iter().filter(|s| s.name == name).map(|s| s.value).peekable();
        values.peek()?;
        Some(values.sum())
    }
}

fn parse_line(line: &str) -> Option<Sample> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let name_end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let name = &line[..name_end];
    let rest = &line[name_end..];
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?; // Rust reads NaN, +Inf and -Inf as the format writes them
    (!name.is_empty()).then(|| Sample { name: name.to_owned(), labels, value })
}

/// The labels after `{`, and what follows `}`.
fn parse_labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start().strip_prefix('"')?;
        let (value, after) = parse_quoted(after)?;
        labels.insert(key.trim().to_owned(), value);
        rest = after;
    }
}

/// A label's value after its opening quote, and what follows the closing one.
fn parse_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCRAPE: &str = "# HELP vllm:prefix_cache_hits_total Prefix cache hits\n# TYPE vllm:prefix_cache_hits_total counter\n\
        vllm:prefix_cache_hits_total{engine=\"0\",model_name=\"m\"} 960.0\n\
        vllm:prefix_cache_hits_total{engine=\"1\",model_name=\"a \\\"b\\\", {c}\\n\"} 40 1700000000\n\
        process_start_time_seconds 1.7e+09\nvllm:x +Inf\ngarbage\n";

    #[test]
    fn samples_are_summed_over_their_labels_and_absence_is_not_zero() {
        let scrape = Scrape::parse(SCRAPE);
        assert_eq!(scrape.sum("vllm:prefix_cache_hits_total"), Some(1_000.0));
        assert_eq!(scrape.sum("process_start_time_seconds"), Some(1.7e9));
        assert_eq!(scrape.sum("vllm:prefix_cache_queries_total"), None);
        assert_eq!(scrape.sum("vllm:x"), Some(f64::INFINITY));
        assert_eq!(scrape.samples.len(), 4);
    }

    #[test]
    fn label_values_are_unescaped() {
        let scrape = Scrape::parse(SCRAPE);
        assert_eq!(scrape.samples[1].labels["model_name"], "a \"b\", {c}\n");
        assert_eq!(scrape.samples[0].labels["engine"], "0");
    }

    proptest! {
        #[test]
        fn random_text_never_panics(text in ".{0,200}") {
            let _ = Scrape::parse(&text);
        }

        #[test]
        fn sample_like_text_never_panics(text in "[a-z:_]{0,5}[{][a-z=\"\\\\,é]{0,12}[}]? ?[0-9.eNa+]{0,5}\n?") {
            let _ = Scrape::parse(&text);
        }
    }
}

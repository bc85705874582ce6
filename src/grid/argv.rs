//! Lint of a command line as the deployment writes it: spellings that vLLM's parser refuses or reads as something else.

use super::lint::near_flag;
use crate::domain::{Diagnostic, FlagKind, FlagName, known_flag};

/// Findings about the words of a vLLM command, each with the index of the word that it is about.
///
/// Looks at words that begin with `--` and their values; what stands before the first flag is left alone.
#[must_use]
pub fn lint_argv(argv: &[String]) -> Vec<(usize, Diagnostic)> {
    let mut found = Vec::new();
    let mut seen: Vec<(FlagName, usize)> = Vec::new();
    for (at, word) in argv.iter().enumerate() {
        let Some(body) = word.strip_prefix("--").filter(|body| !body.is_empty()) else { continue };
        let (name, inline) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let (flag, negated) = FlagName::parse_negated(name);
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == flag) {
            let message = format!("`--{flag}` is given twice, as words {first} and {at}; the last one counts");
            found.push((at, Diagnostic::warning("repeated-flag", message).help("remove one of the two")));
        }
        seen.push((flag.clone(), at));
        if let Some(near) = near_flag(&flag) {
            let warning = Diagnostic::warning("unknown-flag", format!("vgrid knows no vLLM flag `--{name}`"));
            found.push((at, warning.help(format!("did you mean `--{near}`?"))));
        }
        let following: Vec<(usize, &str)> = match inline {
            Some(value) => vec![(at, value)],
            None => values_after(argv, at),
        };
        let kind = known_flag(flag.as_str()).map(|known| known.kind);
        found.extend(value_problem(&flag, negated, kind, &following).map(|(index, d)| (index.unwrap_or(at), d)));
    }
    found
}

/// The words after `at` up to the next flag.
fn values_after(argv: &[String], at: usize) -> Vec<(usize, &str)> {
    let rest = argv.iter().enumerate().skip(at + 1);
    rest.take_while(|(_, word)| !is_flag(word)).map(|(index, word)| (index, word.as_str())).collect()
}

/// Whether a word is a flag: a dash that no number follows (`-1` is a value).
fn is_flag(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '-'))
}

fn value_problem(
    flag: &FlagName,
    negated: bool,
    kind: Option<FlagKind>,
    values: &[(usize, &str)],
) -> Option<(Option<usize>, Diagnostic)> {
    let first = values.first().copied();
    if let Some((at, "")) = first {
        let error = Diagnostic::error("empty-value", format!("`--{flag}` has an empty value"));
        return Some((Some(at), error.help("set the variable that it comes from, or leave the flag out")));
    }
    match (kind?, first) {
        (FlagKind::Toggle | FlagKind::Switch, Some((at, value))) => {
            let off = matches!(value.to_lowercase().as_str(), "false" | "off" | "no" | "0") != negated;
            let right = if off { format!("--no-{flag}") } else { format!("--{flag}") };
            let message = format!("`--{flag}` takes no value; vLLM refuses `{value}` as an unknown argument");
            Some((Some(at), Diagnostic::error("toggle-with-value", message).help(format!("write `{right}` alone"))))
        }
        (FlagKind::Value | FlagKind::Json | FlagKind::Many, None) => {
            let error = Diagnostic::error("value-needed", format!("`--{flag}` has no value"));
            Some((None, error.help("give it one, or leave the flag out")))
        }
        (FlagKind::Value, Some(_)) if values.len() > 1 => {
            let (at, extra) = values[1];
            let message = format!("`{extra}` after `--{flag}` belongs to no flag");
            let help = "put a value with spaces in quotes, or remove the word";
            Some((Some(at), Diagnostic::warning("stray-word", message).help(help)))
        }
        (FlagKind::Json, Some((at, value))) if value.starts_with(['{', '[']) => {
            let error = serde_json::from_str::<serde_json::Value>(value).err()?;
            let message = format!("the value of `--{flag}` is no valid JSON: {error}");
            let help = "put the JSON in single quotes, so that its double quotes survive";
            Some((Some(at), Diagnostic::error("invalid-json", message).help(help)))
        }
        (FlagKind::Toggle | FlagKind::Switch, None) | (FlagKind::Value | FlagKind::Json | FlagKind::Many, Some(_)) => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lint(words: &str) -> Vec<(usize, String)> {
        let argv: Vec<String> = shell_words::split(words).unwrap();
        lint_argv(&argv)
            .into_iter()
            .map(|(at, d)| (at, format!("{}: {}", d.code, d.help.unwrap_or_default())))
            .collect()
    }

    #[test]
    fn a_toggle_with_a_value_is_refused_in_every_spelling() {
        assert_eq!(
            lint("--enable-chunked-prefill true --max-num-seqs 32"),
            [(1, "toggle-with-value: write `--enable-chunked-prefill` alone".to_owned())]
        );
        assert_eq!(
            lint("serve m --enable_prefix_caching=false"),
            [(2, "toggle-with-value: write `--no-enable-prefix-caching` alone".to_owned())]
        );
        assert_eq!(
            lint("--no-enable-prefix-caching false")[0].1,
            "toggle-with-value: write `--enable-prefix-caching` alone"
        );
    }

    #[test]
    fn an_empty_or_absent_value_is_an_error() {
        assert_eq!(
            lint("--api-key '' --port 1")[0].1,
            "empty-value: set the variable that it comes from, or leave the flag out"
        );
        assert_eq!(lint("--api-key --port 1"), [(0, "value-needed: give it one, or leave the flag out".to_owned())]);
        assert_eq!(
            lint("--port="),
            [(0, "empty-value: set the variable that it comes from, or leave the flag out".to_owned())]
        );
    }

    #[test]
    fn broken_json_and_misspelt_flags_are_named() {
        assert!(lint("--rope-scaling {rope_type:yarn}")[0].1.starts_with("invalid-json"));
        assert_eq!(lint("--max-nun-seqs 3"), [(0, "unknown-flag: did you mean `--max-num-seqs`?".to_owned())]);
        assert!(lint("--max-num-seqs 3 --max_num_seqs 4")[0].1.starts_with("repeated-flag"));
        assert!(lint("--port 1 2")[0].1.starts_with("stray-word"));
    }

    #[test]
    fn a_right_command_has_no_findings() {
        let right = "vllm serve m --host 0.0.0.0 --port 5002 --swap-space -1 --enable-chunked-prefill --no-enable-prefix-caching \
             --distributed-executor-backend=mp --served-model-name a b --some-new-flag 3 \
             --rope_scaling '{\"rope_type\":\"yarn\"}' -tp 2";
        assert_eq!(lint(right), []);
    }
}

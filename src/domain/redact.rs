//! The one place where secrets are taken out of a text.

/// Replaces known secret values in any text that leaves the process: logs, database, events, errors, reports.
///
/// Built once from the deployment's environment and flags; cheap to clone and to apply.
#[derive(Clone, Default)]
pub struct Redactor {
    secrets: std::sync::Arc<Vec<String>>,
}

impl std::fmt::Debug for Redactor {
    /// Says how many secrets it knows, never which.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets.len())
    }
}

/// What stands in place of a secret.
const MASK: &str = "***";

/// Shorter values are too common in ordinary text to be replaced.
const SHORTEST_SECRET: usize = 4;

impl Redactor {
    /// A redactor for these secret values, as they are and as they stand in JSON; values under four characters and duplicates are
    /// dropped.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let mut secrets: Vec<String> = values.into_iter().filter(|v| v.trim().len() >= SHORTEST_SECRET).collect();
        let in_json = |secret: &String| serde_json::Value::from(secret.as_str()).to_string();
        let escaped = secrets.iter().map(in_json).map(|text| text[1..text.len() - 1].to_owned());
        secrets.extend(escaped.collect::<Vec<_>>());
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Self { secrets: std::sync::Arc::new(secrets) }
    }

    /// Knows these values too.
    #[must_use]
    pub fn with(&self, values: impl IntoIterator<Item = String>) -> Self {
        Self::new(self.secrets.iter().cloned().chain(values))
    }

    /// Whether a variable or flag of this name holds a secret by its name (`VLLM_API_KEY`, `HF_TOKEN`, `--api-key`, ...).
    #[must_use]
    pub fn is_secret_name(name: &str) -> bool {
        let folded = |byte: u8| if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() };
        let has = |word: &str| {
            name.as_bytes().windows(word.len()).any(|w| w.iter().zip(word.bytes()).all(|(a, b)| folded(*a) == b))
        };
        if ["_TOKENS", "MAX_TOKEN", "TOKENIZER"].into_iter().any(has) {
            return false;
        }
        let words =
            ["API_KEY", "APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "PRIVATE_KEY", "ACCESS_KEY"];
        words.into_iter().any(has)
    }

    /// A redactor for what a foreign text itself shows to be secret: values of flags, variables and fields with a secret's name
    /// (`--api-key X`, `HF_TOKEN=X`, `'api_key': 'X'`), bearer tokens, and words of the shape of hub and API keys.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '+' | '~');
        let mut found = Vec::new();
        // The name of a secret that was just read, and what stood between it and the next word.
        let mut name: Option<&str> = None;
        let mut rest = text;
        while let Some(at) = rest.find(is_word) {
            let (between, tail) = rest.split_at(at);
            let end = tail.find(|c| !is_word(c)).unwrap_or(tail.len());
            let word = &tail[..end];
            rest = &tail[end..];
            let assigned = name.is_some_and(|n| {
                let flag_or_bearer = n.starts_with("--") || n == "Bearer";
                between.len() <= 8
                    && (between.contains('=')
                        || (between.contains(':') && between.contains(['\'', '"']))
                        || (flag_or_bearer && between.trim().is_empty()))
            });
            let shaped = match (word.strip_prefix("hf_"), word.strip_prefix("sk-")) {
                (Some(tail), _) => tail.len() >= 16 && tail.bytes().all(|b| b.is_ascii_alphanumeric()),
                (None, Some(tail)) => tail.len() >= 16 && tail.bytes().any(|b| b.is_ascii_digit()),
                (None, None) => false,
            };
            let literal = !matches!(word, "None" | "null" | "True" | "False" | "true" | "false")
                && !word.bytes().all(|b| b.is_ascii_digit());
            if (assigned && literal && word.len() >= 6) || shaped {
                found.push(word.to_owned());
            }
            // `eos_token` and its like are no secrets.
            let folded = word.to_ascii_uppercase().replace('-', "_");
            let token = !folded.contains("TOKEN")
                || ["HF_TOKEN", "HUB_TOKEN", "ACCESS_TOKEN", "AUTH_TOKEN", "API_TOKEN"]
                    .iter()
                    .any(|end| folded.ends_with(end));
            let compound = word.contains(['_', '-']) && token && Self::is_secret_name(word);
            name = (word == "Bearer" || compound).then_some(word);
        }
        Self::new(found)
    }

    /// `text` with every secret replaced by `***`.
    #[must_use]
    pub fn apply<'t>(&self, text: &'t str) -> std::borrow::Cow<'t, str> {
        let mut result = std::borrow::Cow::Borrowed(text);
        for secret in self.secrets.iter() {
            if result.contains(secret.as_str()) {
                result = std::borrow::Cow::Owned(result.replace(secret.as_str(), MASK));
            }
        }
        result
    }

    /// The mask itself, for values that are secret by their name.
    #[must_use]
    pub const fn mask() -> &'static str {
        MASK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_occurrence_is_replaced_and_the_longer_secret_goes_first() {
        let r = Redactor::new(["abcd".to_owned(), "abcd-efgh".to_owned(), "x".to_owned()]);
        assert_eq!(r.apply("key=abcd-efgh, other=abcd x"), "key=***, other=*** x");
        assert!(matches!(r.apply("nothing here"), std::borrow::Cow::Borrowed(_)));
    }

    #[test]
    fn a_secret_that_an_error_body_quotes_is_found_in_its_json_spelling() {
        let r = Redactor::new(["se\"cr\\et".to_owned()]).with(["more\n1".to_owned()]);
        let body = serde_json::json!({"error": "bad key se\"cr\\et and more\n1"}).to_string();
        assert_eq!(r.apply(&body), r#"{"error":"bad key *** and ***"}"#);
    }

    #[test]
    fn a_foreign_text_shows_its_own_secrets_and_ordinary_words_stay() {
        let text = "vllm serve --api-key my-own-key-1 --port 8000\nHF_TOKEN=plainvalue99 x\nargs: Namespace(api_key='sk-namespace-22', tokenizer='m')\n\
                    {'api_key': ['listed-key-3']}\nAuthorization: Bearer abc.def-456\nsaw hf_AbCdEfGhIjKlMnOp\n\
                    error: argument --api-key: expected one argument\nin hf_raise_for_status, eos_token='</sentence>'\n\
                    error: unrecognized arguments: --max-num-batched-tokens 8192\nset HF_TOKEN or log in; api_key=None\n";
        let shown = Redactor::of_text(text).apply(text).into_owned();
        for secret in ["my-own-key-1", "plainvalue99", "sk-namespace-22", "abc.def-456", "hf_AbCd"] {
            assert!(!shown.contains(secret), "{secret}: {shown}");
        }
        for kept in [
            "--port 8000",
            "tokenizer='m'",
            "--max-num-batched-tokens 8192",
            "set HF_TOKEN or log in",
            "api_key=None",
            "expected one argument",
        ] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        assert_eq!(format!("{:?}", Redactor::new(["abcd".to_owned()])), "Redactor(1 secrets)");
    }

    #[test]
    fn names_of_secrets_are_recognised_and_token_counts_are_not() {
        for name in ["VLLM_API_KEY", "HUGGING_FACE_HUB_TOKEN", "--api-key", "HF_TOKEN", "db_password"] {
            assert!(Redactor::is_secret_name(name), "{name}");
        }
        for name in ["MTP_TOKENS_QWEN38", "--max-num-batched-tokens", "--tokenizer", "VLLM_PORT", "--api-server-count"]
        {
            assert!(!Redactor::is_secret_name(name), "{name}");
        }
    }
}

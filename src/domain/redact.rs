//! The one place where secrets are taken out of a text.
//!
//! Two nets: what is a secret by the name of its variable, flag or field is masked where it stands, however short; and such values, where
//! they are long enough, with all that looks like a secret, are masked in any text.

mod name;
mod places;
mod words;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use name::{Secrecy, secrecy};
use places::{Reading, is_nothing, places};

pub use words::{SecretWord, is_flag, secret_words};

/// Replaces secrets in any text that leaves the process: logs, database, events, errors, reports. It knows the deployment's secret values, and
/// sees by their looks others: passwords in addresses, `Authorization` headers, values behind the name of a secret, well-known tokens.
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

/// Shorter values are too common in ordinary text to be replaced in all of it; they are masked where they stand.
const SHORTEST_SECRET: usize = 4;

/// Values that people give for want of a secret, and that stand everywhere.
const NO_SECRETS: &[&str] =
    &["empty", "dummy", "vllm", "auto", "enabled", "disabled", "basic", "required", "optional", "http", "https"];

impl Redactor {
    /// A redactor for these secret values, as they are, as they stand in JSON and in an address; of a value of several lines also each
    /// long line. Values under four characters and words that are no secrets (`none`, `EMPTY`) are dropped.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let mut secrets: Vec<String> = Vec::new();
        for value in values {
            let is_word = || NO_SECRETS.iter().any(|word| value.trim().eq_ignore_ascii_case(word));
            if value.trim().len() < SHORTEST_SECRET || is_nothing(value.trim()) || is_word() {
                continue;
            }
            let in_json = serde_json::Value::from(value.as_str()).to_string();
            secrets.push(in_json[1..in_json.len() - 1].to_owned());
            secrets.push(in_address(&value));
            secrets.extend(value.lines().map(str::trim).filter(|line| line.len() >= 16).map(str::to_owned));
            secrets.push(value);
        }
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Self { secrets: std::sync::Arc::new(secrets) }
    }

    /// Knows these values too.
    #[must_use]
    pub fn with(&self, values: impl IntoIterator<Item = String>) -> Self {
        Self::new(self.secrets.iter().cloned().chain(values))
    }

    /// Whether a variable, flag or field of this name holds a secret by its name (`VLLM_API_KEY`, `DB_PASS`, `--api-key`, `clientSecret`).
    #[must_use]
    pub fn is_secret_name(name: &str) -> bool {
        secrecy(name) != Secrecy::No
    }

    /// The value of a variable, flag or field as it may be shown: a secret by its name is masked whole, whatever its length; in another
    /// value only what looks like a secret is (`http://u:***@h`).
    #[must_use]
    pub fn shown<'v>(name: &str, value: &'v str) -> Cow<'v, str> {
        match secrecy(name) {
            Secrecy::No => masked(value, &places(value, Reading::Value)),
            Secrecy::Named | Secrecy::Sure if value.is_empty() => Cow::Borrowed(value),
            Secrecy::Named | Secrecy::Sure => Cow::Borrowed(MASK),
        }
    }

    /// The secrets in the value of a variable, flag or field: what [`Self::shown`] masks, and what in a secret value may be told alone (the
    /// password of an address).
    #[must_use]
    pub fn secrets_in(name: &str, value: &str) -> Vec<String> {
        let inner = places(value, Reading::Value).into_iter().map(|place| value[place].to_owned());
        let whole = (secrecy(name) != Secrecy::No && !value.is_empty()).then(|| value.to_owned());
        whole.into_iter().chain(inner).collect()
    }

    /// The words of a command line as they may be shown.
    #[must_use]
    pub fn shown_words(words: &[String]) -> Vec<String> {
        let mut shown = words.to_vec();
        for secret in secret_words(words) {
            shown[secret.at] = secret.masked(&words[secret.at]);
        }
        shown
    }

    /// The secrets in the words of a command line: what [`Self::shown_words`] masks.
    #[must_use]
    pub fn secrets_in_words(words: &[String]) -> Vec<String> {
        let values = |secret: SecretWord| secret.values(&words[secret.at]).map(str::to_owned).collect::<Vec<_>>();
        secret_words(words).into_iter().flat_map(values).collect()
    }

    /// A redactor for what a foreign text itself shows to be secret, in all of which it is then replaced.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self::new(places(text, Reading::Text).into_iter().map(|place| text[place].to_owned()).filter(|v| v.len() >= 6))
    }

    /// `text` with every secret replaced by `***`.
    #[must_use]
    pub fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        then(self.known(text), |text| places(text, Reading::Text))
    }

    /// As [`Self::apply`], for YAML and env files, where an unquoted value behind the name of a secret is one, too.
    #[must_use]
    pub fn apply_to_config<'t>(&self, text: &'t str) -> Cow<'t, str> {
        then(self.known(text), |text| places(text, Reading::Config))
    }

    fn known<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut result = Cow::Borrowed(text);
        for secret in self.secrets.iter() {
            if result.contains(secret.as_str()) {
                result = Cow::Owned(result.replace(secret.as_str(), MASK));
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

/// A line of YAML or of an env file with an asterisk for each character of a secret, so that a marker below it stands where it should.
pub(super) fn blotted(line: &str) -> String {
    let mut out = line.to_owned();
    for place in places(line, Reading::Config).into_iter().rev() {
        let stars = "*".repeat(line[place.clone()].chars().count().max(MASK.len()));
        out.replace_range(place, &stars);
    }
    out
}

/// `text` with the places masked.
fn masked<'t>(text: &'t str, places: &[Range<usize>]) -> Cow<'t, str> {
    if places.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for place in places {
        out.push_str(&text[from..place.start]);
        out.push_str(MASK);
        from = place.end;
    }
    out.push_str(&text[from..]);
    Cow::Owned(out)
}

fn then(text: Cow<'_, str>, find: impl Fn(&str) -> Vec<Range<usize>>) -> Cow<'_, str> {
    let found = find(&text);
    if found.is_empty() { text } else { Cow::Owned(masked(&text, &found).into_owned()) }
}

/// A text as it stands in an address, special characters escaped.
fn in_address(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

//! Where secrets stand in the words of a command line.

use std::ops::Range;

use super::name::{Secrecy, secrecy};
use super::places::{Reading, places};
use super::{MASK, masked};
use crate::domain::{FlagKind, FlagName, known_flag};

/// A secret in one word of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretWord {
    /// Which word.
    pub at: usize,
    /// The flag that the word belongs to, as written: `--api-key`.
    pub flag: Option<String>,
    /// Which of the flag's values it is, from 0.
    pub nth: usize,
    /// Where the secrets stand in the word.
    pub places: Vec<Range<usize>>,
}

impl SecretWord {
    /// The word with its secrets hidden.
    #[must_use]
    pub fn masked(&self, word: &str) -> String {
        masked(word, &self.places).into_owned()
    }

    /// Its secrets.
    pub fn values<'w>(&self, word: &'w str) -> impl Iterator<Item = &'w str> {
        self.places.iter().filter_map(move |place| word.get(place.clone()))
    }
}

/// The words with secrets: values of flags that are secret by name, whole; and in other values what looks like one.
#[must_use]
pub fn secret_words(words: &[String]) -> Vec<SecretWord> {
    let mut found = Vec::new();
    let mut add = |at: usize, flag: Option<&str>, nth: usize, places: Vec<Range<usize>>| {
        if !places.is_empty() {
            found.push(SecretWord { at, flag: flag.map(str::to_owned), nth, places });
        }
    };
    // The flag whose values may follow, whether it is secret by name, and how many it has had.
    let mut open: Option<(&str, bool, usize)> = None;
    for (at, word) in words.iter().enumerate() {
        if !is_flag(word) {
            let whole = matches!(open, Some((_, true, _)));
            let (flag, nth) = open.map_or((None, 0), |(flag, _, nth)| (Some(flag), nth));
            add(at, flag, nth, if whole { whole_value(word, 0) } else { places(word, Reading::Value) });
            open =
                open.map(|(flag, secret, nth)| (flag, secret, nth + 1)).filter(|(flag, _, nth)| takes_more(flag, *nth));
            continue;
        }
        match word.split_once('=') {
            Some((name, value)) => {
                let start = name.len() + 1;
                let secret = secrecy(name) != Secrecy::No;
                let of_value = || places(value, Reading::Value).into_iter().map(|p| p.start + start..p.end + start);
                add(at, Some(name), 0, if secret { whole_value(word, start) } else { of_value().collect() });
                open = None;
            }
            None => {
                open = Some((word.as_str(), secrecy(word) != Secrecy::No, 0)).filter(|(flag, ..)| takes_more(flag, 0))
            }
        }
    }
    found
}

/// `--name`, or a short flag such as `-tp` or `-O`; a negative number is none.
#[must_use]
pub fn is_flag(word: &str) -> bool {
    if let Some(name) = word.strip_prefix("--") {
        return name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    }
    word.strip_prefix('-').is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// Whether a flag that has had `nth` values may take one more.
fn takes_more(flag: &str, nth: usize) -> bool {
    match known_flag(FlagName::new(flag).as_str()).map(|known| known.kind) {
        Some(FlagKind::Toggle | FlagKind::Switch) => false,
        Some(FlagKind::Value | FlagKind::Json) => nth == 0,
        Some(FlagKind::Many) | None => true,
    }
}

fn whole_value(word: &str, start: usize) -> Vec<Range<usize>> {
    let value = word.get(start..).unwrap_or_default();
    if value.is_empty() || value == MASK { Vec::new() } else { std::iter::once(start..word.len()).collect() }
}

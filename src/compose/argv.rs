//! The command line of a service: its words, the flags in it, and how two of them differ.

use std::collections::BTreeMap;
use std::fmt;

use super::overlay::is_boolean_word;
use super::service::Service;
use crate::domain::{FlagKind, FlagName, Redactor, is_flag, known_flag};

/// What the container runs as far as the files say it: entrypoint, then command. What the image adds is not known here.
#[must_use]
pub fn argv(service: &Service) -> Vec<String> {
    let entrypoint = service.entrypoint.iter().flatten();
    entrypoint.chain(service.command.iter().flatten()).cloned().collect()
}

/// One part of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A word that belongs to no flag.
    Word(usize),
    /// A flag and its values: where it begins and how many words it takes.
    Flag {
        /// Canonical name.
        name: FlagName,
        /// Whether it is the negative form.
        negated: bool,
        /// Its first word.
        start: usize,
        /// Number of words.
        length: usize,
    },
}

/// Splits a command line into flags and other words. A word behind a flag that is no flag itself belongs to it, unless the flag
/// is known to take none.
pub(super) fn parts(words: &[String]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut i = 0;
    while i < words.len() {
        let word = &words[i];
        if !is_flag(word) {
            parts.push(Part::Word(i));
            i += 1;
            continue;
        }
        let (text, inline) = word.split_once('=').map_or((word.as_str(), false), |(name, _)| (name, true));
        let (name, negated) = FlagName::parse_negated(text);
        let behind = words[i + 1..].iter().take_while(|w| !is_flag(w) && *w != "--");
        let values = match known_flag(name.as_str()).map(|k| k.kind) {
            _ if inline => 0,
            // A value that does not belong there (`--enable-x true`) goes with its flag.
            Some(FlagKind::Toggle | FlagKind::Switch) => behind.take(1).filter(|w| is_boolean_word(w)).count(),
            Some(FlagKind::Value | FlagKind::Json) => behind.take(1).count(),
            Some(FlagKind::Many) | None => behind.count(),
        };
        parts.push(Part::Flag { name, negated, start: i, length: 1 + values });
        i += 1 + values;
    }
    parts
}

/// What a command line says of one flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagChange {
    /// Canonical name.
    pub name: FlagName,
    /// What stood there before: `on`, `off`, or the values; None when the flag was absent.
    pub from: Option<String>,
    /// What stands there now.
    pub to: Option<String>,
}

/// How one command line differs from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArgvDiff {
    /// Flags that differ, in the order of the later line, then those that are gone.
    pub flags: Vec<FlagChange>,
    /// Words that belong to no flag and are only in the earlier line.
    pub words_removed: Vec<String>,
    /// Words that belong to no flag and are only in the later line.
    pub words_added: Vec<String>,
}

impl ArgvDiff {
    /// Whether both lines say the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flags.is_empty() && self.words_removed.is_empty() && self.words_added.is_empty()
    }
}

type Said = Vec<(FlagName, String)>;

fn say(words: &[String]) -> (Said, Vec<String>) {
    let mut flags: Said = Vec::new();
    let mut rest = Vec::new();
    for part in parts(words) {
        match part {
            Part::Word(i) => rest.push(words[i].clone()),
            Part::Flag { name, negated, start, length } => {
                let inline = words[start].split_once('=').map(|(_, v)| v.to_owned());
                let values: Vec<String> =
                    inline.into_iter().chain(words[start + 1..start + length].iter().cloned()).collect();
                let text = match (negated, values.is_empty()) {
                    (true, _) => "off".to_owned(),
                    (false, true) => "on".to_owned(),
                    (false, false) => values.join(" "),
                };
                // The last one counts, as argparse has it.
                flags.retain(|(n, _)| *n != name);
                flags.push((name, text));
            }
        }
    }
    (flags, rest)
}

/// Compares two command lines flag by flag, whatever the spelling and order.
#[must_use]
pub fn argv_diff(from: &[String], to: &[String]) -> ArgvDiff {
    let (before, words_before) = say(from);
    let (after, words_after) = say(to);
    let old: BTreeMap<&FlagName, &String> = before.iter().map(|(n, v)| (n, v)).collect();
    let new: BTreeMap<&FlagName, &String> = after.iter().map(|(n, v)| (n, v)).collect();
    let mut flags = Vec::new();
    for (name, value) in &after {
        let earlier = old.get(name).copied();
        if earlier != Some(value) {
            flags.push(FlagChange { name: name.clone(), from: earlier.cloned(), to: Some(value.clone()) });
        }
    }
    for (name, value) in before.iter().filter(|(n, _)| !new.contains_key(n)) {
        flags.push(FlagChange { name: name.clone(), from: Some(value.clone()), to: None });
    }
    ArgvDiff {
        flags,
        words_removed: without(&words_before, &words_after),
        words_added: without(&words_after, &words_before),
    }
}

/// The words of `all` that are not in `other`, counted.
fn without(all: &[String], other: &[String]) -> Vec<String> {
    let mut left = other.to_vec();
    all.iter()
        .filter(|word| match left.iter().position(|w| w == *word) {
            Some(at) => {
                left.swap_remove(at);
                false
            }
            None => true,
        })
        .cloned()
        .collect()
}

impl fmt::Display for ArgvDiff {
    /// Compact, secrets masked: `enable-prefix-caching on→off, max-num-seqs 8→32, +enforce-eager`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for change in &self.flags {
            let text = |value: &str| Redactor::shown(change.name.as_str(), value).into_owned();
            match (change.from.as_deref(), change.to.as_deref()) {
                (Some(from), Some(to)) => parts.push(format!("{} {}→{}", change.name, text(from), text(to))),
                (None, Some(to)) => parts.push(format!("+{}", spoken(&change.name, to, &text))),
                (Some(from), None) => parts.push(format!("-{}", spoken(&change.name, from, &text))),
                (None, None) => {}
            }
        }
        let (removed, added) = (Redactor::shown_words(&self.words_removed), Redactor::shown_words(&self.words_added));
        match (removed.as_slice(), added.as_slice()) {
            ([from], [to]) => parts.push(format!("{from}→{to}")),
            (removed, added) => {
                parts.extend(removed.iter().map(|w| format!("-{w}")));
                parts.extend(added.iter().map(|w| format!("+{w}")));
            }
        }
        f.pad(&parts.join(", "))
    }
}

fn spoken(name: &FlagName, value: &str, text: &dyn Fn(&str) -> String) -> String {
    match value {
        "on" => name.to_string(),
        "off" => format!("no-{name}"),
        other => format!("{name} {}", text(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_diff_is_by_flag_whatever_the_spelling() {
        let from = words("vllm serve m --enable-prefix-caching --max_num_seqs=8 --dtype auto --port 80");
        let to = words("vllm serve m --no-enable-prefix-caching --max-num-seqs 32 --port=80 --block-size 16");
        assert_eq!(
            argv_diff(&from, &to).to_string(),
            "enable-prefix-caching on→off, max-num-seqs 8→32, +block-size 16, -dtype auto"
        );
        assert!(argv_diff(&from, &from).is_empty());
    }

    #[test]
    fn secrets_are_masked_and_the_model_is_a_word() {
        let from = words("vllm serve a --api-key old");
        let to = words("vllm serve b --api-key new");
        assert_eq!(argv_diff(&from, &to).to_string(), "api-key ***→***, a→b");
    }

    #[test]
    fn a_word_behind_an_unknown_flag_belongs_to_it() {
        let line = words("serve m --mystery 5 -1 --flag -tp 2");
        let flags: Vec<(String, usize)> = parts(&line)
            .into_iter()
            .filter_map(
                |p| if let Part::Flag { name, length, .. } = p { Some((name.to_string(), length)) } else { None },
            )
            .collect();
        assert_eq!(flags, [("mystery".into(), 3), ("flag".into(), 1), ("tensor-parallel-size".into(), 2)]);
    }
}

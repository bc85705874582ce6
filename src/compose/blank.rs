//! Finds variables that came out empty inside a flag's value, before a server starts with them.

use std::sync::Arc;

use super::shellwords;
use super::tree::{Blank, BlankReason, Data, Marked, Tree};
use crate::domain::{Diagnostic, FlagKind, FlagName, known_flag};
use crate::yaml::Span;

struct Word<'w> {
    text: String,
    marked: Option<&'w Arc<Marked>>,
    span: &'w Span,
}

/// The findings of one `command` or `entrypoint`.
pub(super) fn empty_flag_values(command: &Tree) -> Vec<Diagnostic> {
    let words = match &command.data {
        Data::Str(_) => {
            let Some(marked) = &command.marked else { return Vec::new() };
            let split = shellwords::split(&marked.text).map(|w| w.words).unwrap_or_default();
            split.into_iter().map(|text| Word { text, marked: Some(marked), span: &command.span }).collect()
        }
        Data::Seq(items) => items
            .iter()
            .map(|item| Word {
                text: item.marked.as_ref().map_or_else(|| item.to_string(), |m| m.text.clone()),
                marked: item.marked.as_ref(),
                span: &item.span,
            })
            .collect(),
        _ => Vec::new(),
    };
    let mut findings = Vec::new();
    scan(&words, &mut findings);
    findings
}

fn scan(words: &[Word<'_>], findings: &mut Vec<Diagnostic>) {
    for (i, word) in words.iter().enumerate() {
        let Some(marked) = word.marked else { continue };
        let Some(blank) = word.text.chars().find_map(|c| marked.blank(c)) else { continue };
        if word.text.contains(char::is_whitespace) && word.text.contains("--") {
            // A script for a shell.
            let inner = shellwords::split(&word.text).map(|w| w.words).unwrap_or_default();
            let inner: Vec<Word<'_>> =
                inner.into_iter().map(|text| Word { text, marked: word.marked, span: word.span }).collect();
            if inner.len() > 1 {
                scan(&inner, findings);
                continue;
            }
        }
        let alone = word.text.chars().all(|c| marked.blank(c).is_some());
        let owner = if word.text.starts_with('-') {
            word.text.split_once('=').map(|(flag, _)| flag.to_owned())
        } else {
            owner(&words[..i], blank, alone)
        };
        if let Some(owner) = owner {
            findings.push(describe(&owner, blank, word.span));
        }
    }
}

/// The flag that the word behind `before` belongs to, or `serve` for the model.
fn owner(before: &[Word<'_>], blank: &Blank, alone: bool) -> Option<String> {
    let last = before.last()?.text.as_str();
    if last == "serve" {
        return Some("serve".into());
    }
    if !last.starts_with('-') {
        let flag = before.iter().rev().find(|w| w.text.starts_with("--")).map(|w| w.text.as_str())?;
        let known = known_flag(FlagName::new(flag).as_str());
        return known.filter(|k| k.kind == FlagKind::Many && !flag.contains('=')).map(|_| flag.to_owned());
    }
    if last.contains('=') || last == "-c" || last == "-lc" {
        return None;
    }
    let (name, negated) = FlagName::parse_negated(last);
    let takes_value = match known_flag(name.as_str()).map(|k| k.kind) {
        _ if negated => false,
        Some(FlagKind::Toggle | FlagKind::Switch) => !alone,
        Some(FlagKind::Value | FlagKind::Many | FlagKind::Json) => true,
        // An unknown flag may well stand alone, with optional arguments behind it.
        None => !(alone && blank.why == BlankReason::EmptyDefault),
    };
    takes_value.then(|| last.to_owned())
}

fn describe(owner: &str, blank: &Blank, span: &Span) -> Diagnostic {
    let why = match blank.why {
        BlankReason::Unset => "is not set",
        BlankReason::Empty => "is empty",
        BlankReason::EmptyDefault => "is not set and its default is empty",
    };
    let what = if owner == "serve" { "the model".to_owned() } else { format!("the value of `{owner}`") };
    span.error("empty-flag-value", format!("the variable {} {why}, and {what} is made of it", blank.name)).help(
        format!(
            "set {0} in the environment or in an env file, give a default (${{{0}:-value}}), or take the flag out",
            blank.name
        ),
    )
}

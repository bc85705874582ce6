//! Reading nodes into values while collecting every finding instead of stopping at the first.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::keys::Section;
use crate::domain::{Diagnostic, Diagnostics, did_you_mean};
use crate::yaml::{Node, Scalar, Span};

/// A value and the place it was read from.
#[derive(Clone, Debug)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Spanned<T> {
    pub(super) const fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// Collects the findings of one file.
#[derive(Default)]
pub(super) struct Reader {
    /// Errors: the file cannot be used.
    pub errors: Diagnostics,
    /// Warnings: the file can be used.
    pub warnings: Diagnostics,
}

impl Reader {
    /// Records an error.
    pub fn error(&mut self, diagnostic: Diagnostic) {
        self.errors.push(diagnostic);
    }

    /// Records a warning.
    pub fn warn(&mut self, diagnostic: Diagnostic) {
        self.warnings.push(diagnostic);
    }

    /// `Ok(value)` when no error was found, else all errors.
    pub fn finish<T>(self, value: Option<T>) -> Result<(T, Diagnostics), Diagnostics> {
        match value {
            Some(value) if self.errors.0.is_empty() => Ok((value, self.warnings)),
            Some(_) | None => {
                let mut all = self.errors;
                all.0.extend(self.warnings.0);
                Err(all)
            }
        }
    }

    /// Says that `node` has the wrong type.
    pub fn wrong_type(&mut self, node: &Node, what: &str, expected: &str, help: &str) {
        let message = format!("{what} must be {expected}, this is {}", node.kind());
        self.error(node.span.error("wrong-type", message).help(help));
    }

    /// The entries of a mapping; anything else is an error.
    pub fn entries<'n>(&mut self, node: &'n Node, what: &str, help: &str) -> &'n [(Node, Node)] {
        match node.map() {
            Some(entries) => entries,
            None => {
                self.wrong_type(node, what, "a mapping", help);
                &[]
            }
        }
    }

    /// Checks that `node` is a mapping with no keys but those of `section`.
    pub fn check_keys(&mut self, node: &Node, section: &Section) {
        let allowed = section.names();
        let help = format!("keys allowed here: {}", allowed.join(", "));
        for (key, _) in self.entries(node, section.what, &help) {
            let name = key.text().unwrap_or_default();
            if allowed.contains(&name) || (section.extensions && name.starts_with("x-")) {
                continue;
            }
            self.unknown_key(key, section.what, &allowed);
        }
    }

    /// Says that `key` is not one of `allowed`.
    pub fn unknown_key(&mut self, key: &Node, what: &str, allowed: &[&str]) {
        let name = key.text().unwrap_or_default();
        let help = match did_you_mean(name, allowed.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("keys allowed here: {}", allowed.join(", ")),
        };
        self.error(key.span.error("unknown-key", format!("unknown key `{name}` in {what}")).help(help));
    }

    /// A text: a string, or a number as written.
    pub fn text(&mut self, node: &Node, what: &str) -> Option<Spanned<String>> {
        let text = match node.scalar() {
            Some(Scalar::Str(text)) => text,
            Some(Scalar::Int(_) | Scalar::Float(_)) => node.text().unwrap_or_default(),
            Some(Scalar::Null | Scalar::Bool(_)) | None => {
                self.wrong_type(node, what, "a text", "put it in quotes if it is meant as text");
                return None;
            }
        };
        if text.trim().is_empty() {
            let found = node.span.error("empty-value", format!("{what} is empty"));
            self.error(found.help("give it a value, or remove the key"));
            return None;
        }
        Some(Spanned::new(text.to_owned(), node.span.clone()))
    }

    /// One text or a list of texts.
    pub fn texts(&mut self, node: &Node, what: &str) -> Vec<Spanned<String>> {
        match node.seq() {
            Some(items) => items.iter().filter_map(|item| self.text(item, what)).collect(),
            None => self.text(node, what).into_iter().collect(),
        }
    }

    /// A list; anything else is an error.
    pub fn items<'n>(&mut self, node: &'n Node, what: &str, help: &str) -> &'n [Node] {
        match node.seq() {
            Some(items) => items,
            None => {
                self.wrong_type(node, what, "a list", help);
                &[]
            }
        }
    }

    /// A whole number in `range`.
    pub fn whole(&mut self, node: &Node, what: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let (least, most) = range.into_inner();
        let Some(Scalar::Int(number)) = node.scalar() else {
            self.wrong_type(node, what, "a whole number", &format!("write a number from {least} to {most}"));
            return None;
        };
        match u64::try_from(number) {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            Ok(_) | Err(_) => {
                let found = node.span.error("out-of-range", format!("{what} must be from {least} to {most}"));
                self.error(found.help(format!("write a number from {least} to {most}")));
                None
            }
        }
    }

    /// One of the values of an enum, by its word.
    pub fn word<T: Copy + Display>(&mut self, node: &Node, what: &str, all: &[T]) -> Option<T> {
        let words: Vec<String> = all.iter().map(T::to_string).collect();
        let allowed: Vec<(&str, T)> = words.iter().map(String::as_str).zip(all.iter().copied()).collect();
        self.choice(node, what, &allowed)
    }

    /// One word out of `allowed`.
    pub fn choice<T: Copy>(&mut self, node: &Node, what: &str, allowed: &[(&str, T)]) -> Option<T> {
        let words: Vec<&str> = allowed.iter().map(|(word, _)| *word).collect();
        let help = format!("write one of: {}", words.join(", "));
        let Some(text) = node.str() else {
            self.wrong_type(node, what, "a word", &help);
            return None;
        };
        if let Some((_, value)) = allowed.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let help = match did_you_mean(text, words.iter().copied()) {
            Some(near) => format!("did you mean `{near}`? Allowed: {}", words.join(", ")),
            None => help,
        };
        self.error(node.span.error("unknown-word", format!("`{text}` is no {what}")).help(help));
        None
    }

    /// The value of a key that must be there; `section` is its mapping.
    pub fn required<'n>(&mut self, section: &'n Node, key: &str, what: &str, help: &str) -> Option<&'n Node> {
        let found = present(section, key);
        if found.is_none() && section.map().is_some() {
            self.error(section.span.error("missing-key", format!("{what} needs `{key}`")).help(help));
        }
        found
    }
}

/// The value of `key`, when it is there and not null: a section whose lines are all commented out counts as absent.
pub(super) fn present<'n>(section: &'n Node, key: &str) -> Option<&'n Node> {
    section.get(key).filter(|node| !node.is_null())
}

/// `span` narrowed to `length` characters from the character `offset` of the scalar's text, where the text stands in
/// the file as it is (one line, no escapes); else the whole scalar.
pub(super) fn narrowed(mut found: Diagnostic, text: &str, offset: usize, length: usize) -> Diagnostic {
    if let Some(place) = &mut found.place {
        let chars = text.chars().count();
        let quote = match place.length.checked_sub(chars) {
            Some(0) => 0,
            Some(2) => 1,
            Some(_) | None => return found,
        };
        place.column += quote + offset;
        place.length = length.max(1);
    }
    found
}

//! Reading a data file's nodes: every finding with file, line, key and what is allowed.

use std::path::Path;

use crate::domain::{Diagnostics, STATISTICS, did_you_mean};
use crate::yaml::{self, Node, Scalar};

/// Collects the findings of one file.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) errors: Diagnostics,
}

impl Reader {
    /// The file's tree, checked for its first key: `vgrid_data` says which scenario the file is for.
    pub(super) fn open(&mut self, file: &Path, text: &str, scenario: &str, keys: &[&str]) -> Result<Node, Diagnostics> {
        let node = yaml::parse(file, text)?;
        let allowed: Vec<&str> = std::iter::once("vgrid_data").chain(keys.iter().copied()).collect();
        self.keys(&node, "the file", &allowed);
        if let Some(kind) = self.required(&node, "vgrid_data", "the file")
            && kind.str() != Some(scenario)
        {
            let said = kind.text().unwrap_or_default();
            let error = kind
                .span
                .error("wrong-data", format!("`vgrid_data` is `{said}`, this file is used as data of `{scenario}`"));
            self.errors.push(error.help(format!("write \"vgrid_data\": \"{scenario}\", or name another file")));
        }
        Ok(node)
    }

    /// The value, or every error.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Diagnostics> {
        if self.errors.0.is_empty() { Ok(value) } else { Err(self.errors) }
    }

    pub(super) fn wrong(&mut self, node: &Node, what: &str, expected: &str) {
        let error = node.span.error("wrong-type", format!("{what} must be {expected}, this is {}", node.kind()));
        self.errors.push(error.help("docs/data.md shows the format"));
    }

    /// Checks that `node` is a mapping with no other keys.
    pub(super) fn keys(&mut self, node: &Node, what: &str, allowed: &[&str]) {
        let Some(entries) = node.map() else {
            self.wrong(node, what, "a mapping");
            return;
        };
        for (key, _) in entries {
            let name = key.text().unwrap_or_default();
            if !allowed.contains(&name) {
                let all = allowed.join(", ");
                let help = match did_you_mean(name, allowed.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`? Keys allowed here: {all}"),
                    None => format!("keys allowed here: {all}"),
                };
                self.errors.push(key.span.error("unknown-key", format!("unknown key `{name}` in {what}")).help(help));
            }
        }
    }

    /// The value of a key that must be there.
    pub(super) fn required<'n>(&mut self, node: &'n Node, key: &str, what: &str) -> Option<&'n Node> {
        let found = node.get(key);
        if found.is_none() && node.map().is_some() {
            let error = node.span.error("missing-key", format!("{what} needs `{key}`"));
            self.errors.push(error.help("docs/data.md shows the format"));
        }
        found
    }

    /// A text that must be there and hold something.
    pub(super) fn text(&mut self, node: &Node, key: &str, what: &str) -> String {
        let Some(value) = self.required(node, key, what) else { return String::new() };
        self.text_of(value, &format!("`{key}` of {what}"))
    }

    pub(super) fn text_of(&mut self, node: &Node, what: &str) -> String {
        match node.str() {
            Some(text) if !text.trim().is_empty() => text.to_owned(),
            Some(_) => {
                let error = node.span.error("empty-value", format!("{what} is empty"));
                self.errors.push(error.help("give it a text"));
                String::new()
            }
            None => {
                self.wrong(node, what, "a text");
                String::new()
            }
        }
    }

    /// The items of a list that must be there and hold something.
    pub(super) fn list<'n>(&mut self, node: &'n Node, key: &str, what: &str) -> &'n [Node] {
        let Some(value) = self.required(node, key, what) else { return &[] };
        self.list_of(value, &format!("`{key}` of {what}"))
    }

    pub(super) fn list_of<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match node.seq() {
            Some([]) => {
                let error = node.span.error("empty-value", format!("{what} is an empty list"));
                self.errors.push(error.help("write at least one item, or leave the key out"));
                &[]
            }
            Some(items) => items,
            None => {
                self.wrong(node, what, "a list");
                &[]
            }
        }
    }

    /// A finite number.
    pub(super) fn number(&mut self, node: &Node, what: &str) -> Option<f64> {
        match node.scalar() {
            Some(Scalar::Int(number)) => Some(number as f64),
            Some(Scalar::Float(number)) if number.is_finite() => Some(number),
            Some(Scalar::Float(_) | Scalar::Null | Scalar::Bool(_) | Scalar::Str(_)) | None => {
                self.wrong(node, what, "a number, without quotes");
                None
            }
        }
    }

    /// One word out of an enum's spellings.
    pub(super) fn word<T: std::str::FromStr<Err = String> + Copy>(
        &mut self,
        node: &Node,
        key: &str,
        what: &str,
    ) -> Option<T> {
        let value = self.required(node, key, what)?;
        match value.text().unwrap_or_default().parse() {
            Ok(word) => Some(word),
            Err(why) => {
                let error = value.span.error("unknown-word", format!("`{key}` of {what}: {why}"));
                self.errors.push(error.help("write one of the words above"));
                None
            }
        }
    }

    /// `id`, `language` and, where the scenario leaves it free, the category: they become parts of names.
    pub(super) fn id(&mut self, node: &Node, what: &str, known: &mut Vec<String>) -> String {
        let Some(value) = self.required(node, "id", what) else { return String::new() };
        let id = self.text_of(value, &format!("`id` of {what}"));
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !id.chars().all(fits) || id.len() > 64 {
            let error = value.span.error("bad-name", format!("`{id}` is no id"));
            self.errors.push(error.help("at most 64 letters, digits, `-`, `_` and `.`, e.g. fr-single-weather"));
        } else if known.contains(&id) {
            let error = value.span.error("twice", format!("the id `{id}` is there twice"));
            self.errors.push(error.help("ids tell cases apart: give each its own"));
        }
        known.push(id.clone());
        id
    }

    pub(super) fn language(&mut self, node: &Node, what: &str) -> String {
        let Some(value) = self.required(node, "language", what) else { return String::new() };
        let tag = value.text().unwrap_or_default();
        if tag.len() != 2 || !tag.bytes().all(|b| b.is_ascii_lowercase()) {
            let error = value.span.error("bad-language", format!("`{tag}` is no language"));
            self.errors.push(error.help("two small letters: fr, en, de, ..."));
        }
        tag.to_owned()
    }

    /// A category is a point of the scenario's metrics, so it must look like one and like no language.
    pub(super) fn category(&mut self, node: &Node, what: &str) -> String {
        let Some(value) = self.required(node, "category", what) else { return String::new() };
        let name = value.text().unwrap_or_default();
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if name.len() < 3 || !name.bytes().all(fits) || STATISTICS.contains(&name) {
            let error = value.span.error("bad-name", format!("`{name}` is no category"));
            let help = "three or more small letters, digits and `_`, and not the name of a statistic, e.g. arithmetic";
            self.errors.push(error.help(help));
        }
        name.to_owned()
    }
}

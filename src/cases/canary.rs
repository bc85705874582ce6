//! Canaries: simple prompts that a sane engine cannot miss.

use std::path::Path;

use super::content::final_text;
use super::read::Reader;
use super::repetition::{degenerate, word_repetition};
use super::task::last_number;
use super::{folded, shortened};
use crate::domain::{Diagnostics, short_sha256};
use crate::yaml::Node;

/// The data of the scenario `canary`.
#[derive(Clone, Debug)]
pub struct CanaryFile {
    /// SHA-256 of the file's text, first 16 hexadecimal digits.
    pub sha256: String,
    /// Every canary, in the file's order.
    pub canaries: Vec<Canary>,
}

/// One canary. Every answer must hold a text that is not degenerate; what else it must hold is optional.
#[derive(Clone, Debug)]
pub struct Canary {
    /// Unique in its file.
    pub id: String,
    /// Two letters.
    pub language: String,
    /// What is sent.
    pub prompt: String,
    /// The result of the sum.
    pub number: Option<f64>,
    /// Texts that the answer must hold.
    pub contains: Vec<String>,
    /// Words that the answer must have at least. With it the answer may be cut by its limit: its text is what counts.
    pub least_words: Option<usize>,
}

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In words.
    pub why: String,
    /// The text repeats itself or is no text: that is wrong however it would have gone on.
    pub is_degenerate: bool,
}

impl CanaryFile {
    /// Reads the file's text.
    ///
    /// # Errors
    /// Everything wrong with it, each with its place.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Diagnostics> {
        let mut reader = Reader::default();
        let root = reader.open(file, text, "canary", &["canaries"])?;
        let mut ids = Vec::new();
        let nodes = reader.list(&root, "canaries", "the file");
        let canaries = nodes.iter().map(|node| canary(&mut reader, node, &mut ids)).collect();
        reader.finish(Self { sha256: short_sha256(&[text.as_bytes()]), canaries })
    }

    /// At most so many canaries, languages in turn.
    #[must_use]
    pub fn pick(&self, limit: Option<u32>) -> Vec<&Canary> {
        super::in_turn(&self.canaries, |canary| &canary.language, limit.map_or(usize::MAX, |n| n as usize))
    }
}

fn canary(reader: &mut Reader, node: &Node, ids: &mut Vec<String>) -> Canary {
    reader.keys(node, "a canary", &["id", "language", "prompt", "number", "contains", "least_words"]);
    let id = reader.id(node, "a canary", ids);
    let what = format!("the canary `{id}`");
    let number = node.get("number").and_then(|n| reader.number(n, &format!("`number` of {what}")));
    let contains = match node.get("contains") {
        Some(list) => {
            let items = reader.list_of(list, &format!("`contains` of {what}"));
            items.iter().map(|item| reader.text_of(item, &format!("a text of {what}"))).collect()
        }
        None => Vec::new(),
    };
    let least_words = node.get("least_words").and_then(|n| reader.number(n, &format!("`least_words` of {what}")));
    Canary {
        language: reader.language(node, &what),
        prompt: reader.text(node, "prompt", &what),
        least_words: least_words.map(|n| n as usize),
        id,
        number,
        contains,
    }
}

impl Canary {
    /// What is wrong with an answer; none when the canary lives.
    #[must_use]
    pub fn problem(&self, content: &str) -> Option<Problem> {
        let degenerate = final_text(content).ok().and_then(degenerate);
        let why = match &degenerate {
            Some(how) => Some(format!("degenerate: {how}")),
            None => self.miss(content),
        };
        why.map(|why| Problem { why, is_degenerate: degenerate.is_some() })
    }

    /// What an answer lacks.
    fn miss(&self, content: &str) -> Option<String> {
        let text = match final_text(content) {
            Ok(text) => text,
            Err(why) => return Some(why.to_owned()),
        };
        if let Some(right) = self.number {
            let found = last_number(text, &self.language);
            if found.is_none_or(|found| (found - right).abs() > 1e-9) {
                return Some(format!("expected {right}, got {}", shortened(text, 80)));
            }
        }
        let folded_text = folded(text);
        if let Some(missing) = self.contains.iter().find(|word| !folded_text.contains(&folded(word))) {
            return Some(format!("expected `{missing}` in it, got {}", shortened(text, 80)));
        }
        let words = text.split_whitespace().count();
        self.least_words.filter(|least| words < *least).map(|least| format!("{words} words, expected at least {least}"))
    }

    /// Whether an answer that was cut by its limit can still be judged.
    #[must_use]
    pub const fn may_be_cut(&self) -> bool {
        self.least_words.is_some()
    }

    /// The share of an answer's runs of four words that are repetitions; `None` for short answers.
    #[must_use]
    pub fn repetition(content: &str) -> Option<f64> {
        word_repetition(final_text(content).ok()?)
    }

    /// What is expected, for the record.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.number.map(|number| number.to_string()));
        if !self.contains.is_empty() {
            parts.push(self.contains.join(", "));
        }
        parts.extend(self.least_words.map(|least| format!("at least {least} words that do not repeat")));
        if parts.is_empty() { "a text that does not repeat".to_owned() } else { parts.join("; ") }
    }
}

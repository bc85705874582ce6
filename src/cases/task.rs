//! Reasoning tasks: several steps, one answer that can be checked.

use std::path::Path;

use super::content::final_text;
use super::read::Reader;
use super::{folded, shortened};
use crate::domain::{Diagnostics, short_sha256};
use crate::yaml::Node;

/// The data of the scenario `reasoning`.
#[derive(Clone, Debug)]
pub struct TaskFile {
    /// SHA-256 of the file's text, first 16 hexadecimal digits.
    pub sha256: String,
    /// Every task, in the file's order.
    pub tasks: Vec<Task>,
}

/// One task.
#[derive(Clone, Debug)]
pub struct Task {
    /// Unique in its file.
    pub id: String,
    /// Two letters.
    pub language: String,
    /// What it is about; a point of the scenario's metrics.
    pub category: String,
    /// What is sent: the question, a blank line, the language's instruction.
    pub prompt: String,
    answer: RightAnswer,
}

#[derive(Clone, Debug)]
enum RightAnswer {
    Number(f64),
    /// Any of these spellings.
    Texts(Vec<String>),
}

impl TaskFile {
    /// Reads the file's text.
    ///
    /// # Errors
    /// Everything wrong with it, each with its place.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Diagnostics> {
        let mut reader = Reader::default();
        let root = reader.open(file, text, "reasoning", &["instructions", "tasks"])?;
        let mut instructions: Vec<(String, String)> = Vec::new();
        for (key, value) in root.get("instructions").and_then(Node::map).unwrap_or_default() {
            let language = key.text().unwrap_or_default().to_owned();
            let instruction = reader.text_of(value, &format!("the instruction in `{language}`"));
            instructions.push((language, instruction));
        }
        let mut ids = Vec::new();
        let nodes = reader.list(&root, "tasks", "the file");
        let tasks = nodes.iter().map(|node| task(&mut reader, node, &instructions, &mut ids)).collect();
        reader.finish(Self { sha256: short_sha256(&[text.as_bytes()]), tasks })
    }

    /// At most so many tasks, languages in turn.
    #[must_use]
    pub fn pick(&self, limit: Option<u32>) -> Vec<&Task> {
        super::in_turn(&self.tasks, |task| &task.language, limit.map_or(usize::MAX, |n| n as usize))
    }
}

fn task(reader: &mut Reader, node: &Node, instructions: &[(String, String)], ids: &mut Vec<String>) -> Task {
    reader.keys(node, "a task", &["id", "language", "category", "question", "number", "answers"]);
    let id = reader.id(node, "a task", ids);
    let what = format!("the task `{id}`");
    let language = reader.language(node, &what);
    let question = reader.text(node, "question", &what);
    let answer = match (node.get("number"), node.get("answers")) {
        (Some(number), None) => {
            RightAnswer::Number(reader.number(number, &format!("`number` of {what}")).unwrap_or_default())
        }
        (None, Some(list)) => {
            let items = reader.list_of(list, &format!("`answers` of {what}"));
            RightAnswer::Texts(items.iter().map(|item| reader.text_of(item, &format!("an answer of {what}"))).collect())
        }
        (Some(_), Some(_)) | (None, None) => {
            let error = node.span.error("one-answer", format!("{what} needs either `number` or `answers`"));
            reader
                .errors
                .push(error.help("\"number\": 42, or \"answers\": [\"Monday\"] with every spelling that counts"));
            RightAnswer::Texts(Vec::new())
        }
    };
    let instruction = instructions.iter().find(|(tag, _)| *tag == language);
    if instruction.is_none() && !instructions.is_empty() {
        let message = format!("`instructions` has none in `{language}`, the language of {what}");
        let error = node.get("language").unwrap_or(node).span.error("no-instruction", message);
        reader.errors.push(error.help(format!(
            "without one no answer is announced as it is looked for, and the score is 0: write \"instructions\": {{ ..., \"{language}\": \
             \"...\" }}, or none at all where every question says itself how to end"
        )));
    }
    let prompt = match instruction {
        Some((_, instruction)) => format!("{question}\n\n{instruction}"),
        None => question,
    };
    Task { category: reader.category(node, &what), id, language, prompt, answer }
}

impl Task {
    /// Whether the final content answers rightly; what it answers, for the record.
    #[must_use]
    pub fn judge(&self, content: &str) -> (bool, String) {
        let text = match final_text(content) {
            Ok(text) => text,
            Err(why) => return (false, why.to_owned()),
        };
        let stated = stated_answer(text);
        let passed = match &self.answer {
            RightAnswer::Number(right) => {
                let found = match &stated {
                    Some(stated) => first_number(stated.rsplit('=').next().unwrap_or(stated), &self.language),
                    None => last_line(text).and_then(|line| last_number(line, &self.language)),
                };
                found.is_some_and(|found| near(found, *right))
            }
            RightAnswer::Texts(spellings) => {
                let found = stated.clone().or_else(|| last_line(text).map(str::to_owned)).map(|found| folded(&found));
                found.is_some_and(|found| spellings.iter().any(|right| begins_with(&found, &folded(right))))
            }
        };
        (passed, shortened(stated.as_deref().or_else(|| last_line(text)).unwrap_or_default(), 160))
    }

    /// The right answer: the first of several.
    #[must_use]
    pub fn right_answer(&self) -> String {
        match &self.answer {
            RightAnswer::Number(number) => number.to_string(),
            RightAnswer::Texts(spellings) => spellings.first().cloned().unwrap_or_default(),
        }
    }
}

/// Whether a stated answer is `right`, alone or followed by a remark after a mark of punctuation.
fn begins_with(found: &str, right: &str) -> bool {
    found.strip_prefix(right).is_some_and(|rest| {
        let rest = rest.trim_start();
        rest.is_empty() || rest.starts_with(['(', ',', ';', '.', '!'])
    })
}

fn near(found: f64, right: f64) -> bool {
    (found - right).abs() <= 1e-6 * right.abs().max(1.0)
}

fn last_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty())
}

/// Words that announce the answer, in small letters.
const ANNOUNCEMENTS: [&str; 3] = ["answer", "réponse", "reponse"];

/// What stands after the last `Answer:` or `Réponse :` (bold or not), or in the last `\boxed{...}`.
fn stated_answer(text: &str) -> Option<String> {
    let lines: Vec<String> = text.lines().map(str::to_lowercase).collect();
    let announced = lines.iter().enumerate().rev().find_map(|(number, line)| {
        let (at, word) = ANNOUNCEMENTS.iter().filter_map(|word| Some((line.rfind(word)?, word))).max()?;
        let rest = line[at + word.len()..].trim_start_matches(|c: char| c == '*' || c == '_' || c.is_whitespace());
        let rest = rest.strip_prefix(':').or_else(|| rest.strip_prefix("is ")).or_else(|| rest.strip_prefix("est "))?;
        let rest = bare(rest);
        // "Answer:" may stand on a line of its own.
        let next = lines[number + 1..].iter().map(|line| bare(line)).find(|line| !line.is_empty());
        if rest.is_empty() { next } else { Some(rest) }
    });
    announced.or_else(|| text.rfind("\\boxed{").map(|at| bare(&text[at..])))
}

/// An answer without emphasis, mathematical signs and a box around it.
fn bare(text: &str) -> String {
    let inner = text.find("\\boxed{").map_or(text, |at| {
        let inner = &text[at + "\\boxed{".len()..];
        inner.find('}').map_or(inner, |end| &inner[..end])
    });
    let trimmed =
        |c: char| c.is_whitespace() || matches!(c, '*' | '_' | '$' | '`' | '"' | '«' | '»' | '<' | '>' | '\\');
    inner.trim_matches(trimmed).to_owned()
}

/// The first number of a text; see [`numbers`].
fn first_number(text: &str, language: &str) -> Option<f64> {
    numbers(text, language).first().copied()
}

/// The last number of a text; see [`numbers`].
pub(super) fn last_number(text: &str, language: &str) -> Option<f64> {
    numbers(text, language).last().copied()
}

/// The numbers of a text, as people write them: `1,234.5`, `1 234,5`, `1'234.5`, `-3`. One comma or point before exactly three digits
/// groups thousands where the language does so (a comma in English, a point elsewhere), else it begins the fraction.
fn numbers(text: &str, language: &str) -> Vec<f64> {
    let chars: Vec<char> = text.chars().collect();
    let digit = |i: usize| chars.get(i).is_some_and(char::is_ascii_digit);
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if !digit(at) {
            at += 1;
            continue;
        }
        let start = at;
        let mut token = String::new();
        while at < chars.len() {
            let three_follow = digit(at + 1) && digit(at + 2) && digit(at + 3) && !digit(at + 4);
            match chars[at] {
                c if c.is_ascii_digit() => token.push(c),
                c @ ('.' | ',') if digit(at + 1) => token.push(c),
                ' ' | '\u{a0}' | '\u{202f}' | '\'' | '’' if three_follow => {}
                _ => break,
            }
            at += 1;
        }
        let negative = start > 0
            && matches!(chars[start - 1], '-' | '−')
            && (start < 2 || !(chars[start - 2].is_alphanumeric() || chars[start - 2] == ')'));
        if let Some(number) = plain(&token, language) {
            found.push(if negative { -number } else { number });
        }
    }
    found
}

fn plain(token: &str, language: &str) -> Option<f64> {
    let grouping = if language == "en" { ',' } else { '.' };
    let last = token.rfind(['.', ',']);
    let separators = token.chars().filter(|c| !c.is_ascii_digit()).collect::<Vec<_>>();
    let fraction_at = last.filter(|at| {
        let mark = token[*at..].chars().next().unwrap_or('.');
        let repeated = separators.iter().filter(|c| **c == mark).count() > 1;
        let groups = separators.len() == 1 && mark == grouping && token.len() - at == 4;
        !(repeated || groups)
    });
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    match fraction_at {
        Some(at) => format!("{}.{}", digits(&token[..at]), digits(&token[at..])).parse().ok(),
        None => digits(token).parse().ok(),
    }
}

//! The one YAML front end: text -> a tree that knows the place of every node, shared by grid and compose.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::Value as Json;

use crate::domain::{Diagnostic, Diagnostics, Place};

/// Nodes that one document may hold once aliases are expanded; guards against "billion laughs" files.
const NODE_BUDGET: usize = 1_000_000;

/// A file's name and text, shared by all nodes read from it.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The file, as the user named it.
    pub file: PathBuf,
    /// Its whole text.
    pub text: String,
}

/// Where a node stands.
#[derive(Clone, Debug)]
pub struct Span {
    source: Arc<Source>,
    line: u32,
    column: u32,
    length: u32,
}

impl Span {
    /// The place, for a diagnostic.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            file: self.source.file.clone(),
            line: self.line as usize,
            column: self.column as usize,
            length: self.length as usize,
        }
    }

    /// `diagnostic` with this place and its snippet.
    #[must_use]
    pub fn mark(&self, diagnostic: Diagnostic) -> Diagnostic {
        diagnostic.at(self.place(), &self.source.text)
    }

    /// An error at this place.
    #[must_use]
    pub fn error(&self, code: &str, message: impl Into<String>) -> Diagnostic {
        self.mark(Diagnostic::error(code, message))
    }

    /// A warning at this place.
    #[must_use]
    pub fn warning(&self, code: &str, message: impl Into<String>) -> Diagnostic {
        self.mark(Diagnostic::warning(code, message))
    }
}

/// One node of the tree.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it holds.
    pub value: Value,
    /// Where it stands.
    pub span: Span,
    /// Its local tag without the `!` (`reset`, `override`), or the suffix of a core tag (`str`, `int`).
    pub tag: Option<String>,
}

/// What a node holds. Scalars keep their text; [`Node::scalar`] gives the type that YAML's core schema sees in it.
#[derive(Clone, Debug)]
pub enum Value {
    /// A scalar: its text after unescaping and folding, and whether it was written plain (without quotes or block style).
    Scalar {
        /// The text.
        text: String,
        /// Whether it was plain; only plain scalars may be null, bool or number.
        plain: bool,
    },
    /// A sequence.
    Seq(Vec<Node>),
    /// A mapping in source order, merge keys (`<<`) applied; keys are unique.
    Map(Vec<(Node, Node)>),
}

/// A scalar's type by YAML 1.2's core schema. `on`, `off`, `yes` and `no` are strings.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'n> {
    /// Empty, `~`, `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Anything else.
    Str(&'n str),
}

impl Node {
    /// The scalar's type and value; None for sequences and mappings.
    #[must_use]
    pub fn scalar(&self) -> Option<Scalar<'_>> {
        let Value::Scalar { text, plain } = &self.value else { return None };
        if !*plain || self.tag.as_deref() == Some("str") {
            return Some(Scalar::Str(text));
        }
        Some(match text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
            "true" | "True" | "TRUE" => Scalar::Bool(true),
            "false" | "False" | "FALSE" => Scalar::Bool(false),
            _ => number(text).unwrap_or(Scalar::Str(text)),
        })
    }

    /// The node as JSON; keys as their text.
    #[must_use]
    pub fn json(&self) -> Json {
        match &self.value {
            Value::Seq(items) => items.iter().map(Self::json).collect(),
            Value::Map(entries) => {
                entries.iter().map(|(key, value)| (key.text().unwrap_or_default().to_owned(), value.json())).collect()
            }
            Value::Scalar { .. } => match self.scalar() {
                Some(Scalar::Bool(value)) => Json::Bool(value),
                Some(Scalar::Int(value)) => Json::from(value),
                Some(Scalar::Float(value)) => Json::from(value),
                Some(Scalar::Str(text)) => Json::from(text),
                Some(Scalar::Null) | None => Json::Null,
            },
        }
    }

    /// The scalar's text as written, whatever its type; None for sequences and mappings.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::Seq(_) | Value::Map(_) => None,
        }
    }

    /// The text of a scalar that is a string by type.
    #[must_use]
    pub fn str(&self) -> Option<&str> {
        match self.scalar() {
            Some(Scalar::Str(text)) => Some(text),
            Some(Scalar::Null | Scalar::Bool(_) | Scalar::Int(_) | Scalar::Float(_)) | None => None,
        }
    }

    /// Whether it is null (also an absent value: `key:`).
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.scalar() == Some(Scalar::Null)
    }

    /// The entries of a mapping.
    #[must_use]
    pub fn map(&self) -> Option<&[(Node, Node)]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            Value::Scalar { .. } | Value::Seq(_) => None,
        }
    }

    /// The items of a sequence.
    #[must_use]
    pub fn seq(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Seq(items) => Some(items),
            Value::Scalar { .. } | Value::Map(_) => None,
        }
    }

    /// The value under `key` of a mapping.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.map()?.iter().find(|(k, _)| k.text() == Some(key)).map(|(_, v)| v)
    }

    /// What it is, in a word, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match (&self.value, self.scalar()) {
            (Value::Seq(_), _) => "a list",
            (Value::Map(_), _) => "a mapping",
            (Value::Scalar { .. }, Some(Scalar::Null)) => "nothing",
            (Value::Scalar { .. }, Some(Scalar::Bool(_))) => "a boolean",
            (Value::Scalar { .. }, Some(Scalar::Int(_) | Scalar::Float(_))) => "a number",
            (Value::Scalar { .. }, Some(Scalar::Str(_)) | None) => "a string",
        }
    }
}

/// A plain scalar's number by the core schema, with `0x` and `0o`.
fn number(text: &str) -> Option<Scalar<'_>> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(hex) = digits.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(|n| Scalar::Int(if text.starts_with('-') { -n } else { n }));
    }
    if let Some(octal) = digits.strip_prefix("0o") {
        return i64::from_str_radix(octal, 8).ok().map(|n| Scalar::Int(if text.starts_with('-') { -n } else { n }));
    }
    match digits {
        ".inf" | ".Inf" | ".INF" => {
            return Some(Scalar::Float(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }));
        }
        ".nan" | ".NaN" | ".NAN" => return Some(Scalar::Float(f64::NAN)),
        _ => {}
    }
    let numeric = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
        && digits.bytes().any(|b| b.is_ascii_digit())
        && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !numeric {
        return None;
    }
    if let Ok(n) = text.parse::<i64>() {
        return Some(Scalar::Int(n));
    }
    text.parse::<f64>().ok().map(Scalar::Float)
}

/// Reads one YAML document.
///
/// # Errors
/// Syntax errors, duplicate keys, unknown anchors, merge keys onto something that is no mapping, more than one document,
/// each with its place. An empty text is an error.
pub fn parse(file: &Path, text: &str) -> Result<Node, Diagnostics> {
    let mut documents = parse_documents(file, text)?;
    let Some(second) = documents.get(1) else {
        let source = Source { file: file.to_owned(), text: text.to_owned() };
        return documents.pop().ok_or_else(|| at_start(&source, "empty-file", "the file is empty").into());
    };
    Err(second
        .span
        .error("several-documents", "the file holds more than one YAML document")
        .help("keep one document per file")
        .into())
}

/// Reads all documents of a YAML text; an empty text holds none.
///
/// # Errors
/// As [`parse`], but for the number of documents.
pub fn parse_documents(file: &Path, text: &str) -> Result<Vec<Node>, Diagnostics> {
    let source = Arc::new(Source { file: file.to_owned(), text: text.to_owned() });
    let mut builder = Builder { source: source.clone(), anchors: HashMap::new(), nodes: 0, problems: Vec::new() };
    let mut events = Parser::new_from_str(&source.text);
    let nodes = builder.documents(&mut events)?;
    if builder.problems.is_empty() { Ok(nodes) } else { Err(Diagnostics(builder.problems)) }
}

fn at_start(source: &Source, code: &str, message: &str) -> Diagnostic {
    let place = Place { file: source.file.clone(), line: 1, column: 1, length: 0 };
    Diagnostic::error(code, message).at(place, &source.text)
}

struct Builder {
    source: Arc<Source>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    problems: Vec<Diagnostic>,
}

type Events<'s> = Parser<'s, granit_parser::StrInput<'s>>;

impl Builder {
    fn span(&self, span: &granit_parser::Span) -> Span {
        let (start, end) = (&span.start, &span.end);
        let length = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { 0 };
        Span {
            source: self.source.clone(),
            line: start.line() as u32,
            column: start.col() as u32 + 1,
            length: length as u32,
        }
    }

    fn next<'s>(&self, events: &mut Events<'s>) -> Result<(Event<'s>, granit_parser::Span), Diagnostics> {
        // Comments are events too, and mean nothing.
        let event = events.find(|event| !matches!(event, Ok((Event::Comment(..), _))));
        match event {
            Some(Ok(pair)) => Ok(pair),
            Some(Err(e)) => {
                if let Some(error) = self.json_error() {
                    return Err(error.into());
                }
                let mark = e.marker();
                let place =
                    Place { file: self.source.file.clone(), line: mark.line(), column: mark.col() + 1, length: 1 };
                Err(Diagnostic::error("yaml-syntax", format!("this is not valid YAML: {}", e.info()))
                    .at(place, &self.source.text)
                    .help("check the indentation and the quotes on this line and the one above")
                    .into())
            }
            None => Err(at_start(&self.source, "empty-file", "the file ends too early").into()),
        }
    }

    /// What is wrong with a `.json` file, in the words of JSON; `None` for another file, and where JSON has nothing against it.
    fn json_error(&self) -> Option<Diagnostic> {
        if self.source.file.extension().is_none_or(|extension| extension != "json") {
            return None;
        }
        let error = serde_json::from_str::<serde::de::IgnoredAny>(&self.source.text).err()?;
        let text = error.to_string();
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
        let place =
            Place { file: self.source.file.clone(), line: error.line(), column: error.column().max(1), length: 1 };
        let found =
            Diagnostic::error("json-syntax", format!("this is not valid JSON: {text}")).at(place, &self.source.text);
        Some(found.help("check the commas, quotes and brackets here and on the line above"))
    }

    fn documents(&mut self, events: &mut Events<'_>) -> Result<Vec<Node>, Diagnostics> {
        let mut roots = Vec::new();
        loop {
            let (event, span) = self.next(events)?;
            match event {
                Event::StreamEnd => return Ok(roots),
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) => self.anchors.clear(),
                other => roots.push(self.node(other, &span, events)?),
            }
        }
    }

    fn node<'s>(
        &mut self,
        event: Event<'s>,
        span: &granit_parser::Span,
        events: &mut Events<'s>,
    ) -> Result<Node, Diagnostics> {
        let place = self.span(span);
        self.nodes += 1;
        let (value, anchor, tag) = match event {
            Event::Alias(id) => {
                let mut node =
                    self.anchors.get(&id).cloned().ok_or_else(|| {
                        place.error("unknown-anchor", "this alias names an anchor that is still open")
                    })?;
                self.nodes += count(&node);
                if self.nodes > NODE_BUDGET {
                    return Err(place
                        .error("too-large", format!("aliases expand to over {NODE_BUDGET} nodes"))
                        .help("remove aliases that multiply each other")
                        .into());
                }
                node.tag = None;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                (Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }, anchor, tag)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next(events)?;
                    if event == Event::SequenceEnd {
                        break;
                    }
                    items.push(self.node(event, &span, events)?);
                }
                (Value::Seq(items), anchor, tag)
            }
            Event::MappingStart(_, anchor, tag) => (Value::Map(self.mapping(events)?), anchor, tag),
            other => {
                return Err(place.error("yaml-syntax", format!("unexpected YAML construct {other:?}")).into());
            }
        };
        let node = Node { value, span: place, tag: tag.map(|t| t.suffix().to_owned()) };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn mapping(&mut self, events: &mut Events<'_>) -> Result<Vec<(Node, Node)>, Diagnostics> {
        let mut own: Vec<(Node, Node)> = Vec::new();
        let mut merged: Vec<(Node, Node)> = Vec::new();
        let mut merge_key: Option<Span> = None;
        loop {
            let (event, span) = self.next(events)?;
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, &span, events)?;
            let (event, span) = self.next(events)?;
            let value = self.node(event, &span, events)?;
            let Some(name) = key.text() else {
                self.problems.push(key.span.error("yaml-key", "a key must be a scalar"));
                continue;
            };
            if name == "<<" && matches!(key.value, Value::Scalar { plain: true, .. }) {
                if let Some(first) = merge_key.replace(key.span.clone()) {
                    self.problems.push(
                        key.span
                            .error("duplicate-key", format!("the key `<<` is already set on line {}", first.line))
                            .help("merge several anchors with one key: `<<: [*a, *b]`"),
                    );
                }
                self.merge(&mut merged, &value);
            } else if let Some((first, _)) = own.iter().find(|(k, _)| k.text() == Some(name)) {
                let line = first.span.line;
                self.problems.push(
                    key.span
                        .error("duplicate-key", format!("the key `{name}` is already set on line {line}"))
                        .help("remove one of the two"),
                );
            } else {
                own.push((key, value));
            }
        }
        for (key, value) in merged {
            if !own.iter().any(|(k, _)| k.text() == key.text()) {
                own.push((key, value));
            }
        }
        Ok(own)
    }

    /// `<<: *a` or `<<: [*a, *b]`; the first source wins, shallow (YAML 1.1 merge key).
    fn merge(&mut self, merged: &mut Vec<(Node, Node)>, value: &Node) {
        let sources: &[Node] = match &value.value {
            Value::Seq(items) => items,
            Value::Map(_) | Value::Scalar { .. } => std::slice::from_ref(value),
        };
        for source in sources {
            let Some(entries) = source.map() else {
                self.problems.push(
                    value
                        .span
                        .error("merge-key", format!("`<<` merges a mapping, this is {}", source.kind()))
                        .help("name an anchor of a mapping, or a list of such"),
                );
                return;
            };
            for (k, v) in entries {
                if !merged.iter().any(|(m, _)| m.text() == k.text()) {
                    merged.push((k.clone(), v.clone()));
                }
            }
        }
    }
}

fn count(node: &Node) -> usize {
    match &node.value {
        Value::Scalar { .. } => 1,
        Value::Seq(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|(_, v)| 1 + count(v)).sum::<usize>(),
    }
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;

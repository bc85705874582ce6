//! The working tree of the resolver: typed scalars as Compose's YAML reader sees them, each with its place.

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::domain::Diagnostic;
use crate::yaml::{Node, Span, Value};

/// A mapping in source order.
pub(super) type Map = IndexMap<String, Tree>;

/// One node.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// What it holds.
    pub data: Data,
    /// Where the value stands.
    pub span: Span,
    /// Where the key that leads to it stands.
    pub key: Option<Span>,
    /// The text with a mark in place of each variable that came out empty; only where there is one.
    pub marked: Option<Arc<Marked>>,
}

/// What a node holds, by YAML 1.1 as Compose types it (`0042` is 34, `yes` is a string).
#[derive(Clone, Debug)]
pub(super) enum Data {
    /// Nothing.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A date, in the spelling that Compose prints.
    Stamp(String),
    /// Text.
    Str(String),
    /// A list.
    Seq(Vec<Tree>),
    /// A mapping.
    Map(Map),
}

/// A text whose empty variables are marked by characters from [`Marked::BASE`] on.
#[derive(Debug, Default)]
pub(super) struct Marked {
    /// The text with marks.
    pub text: String,
    /// The variable behind each mark.
    pub blanks: Vec<Blank>,
}

/// A variable that came out empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blank {
    /// Its name.
    pub name: String,
    /// Why it is empty.
    pub why: BlankReason,
}

/// Why a variable came out empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlankReason {
    /// Set nowhere.
    Unset,
    /// Set to the empty string.
    Empty,
    /// The file itself gives an empty default (`${X:-}`).
    EmptyDefault,
}

impl Marked {
    /// First of the characters that stand for an empty variable (private use area).
    const BASE: u32 = 0xE000;

    /// The character of the blank with this index.
    pub fn mark(index: usize) -> char {
        char::from_u32(Self::BASE + (index as u32).min(0x18FF)).unwrap_or('\u{E000}')
    }

    /// The blank that a character stands for.
    pub fn blank(&self, c: char) -> Option<&Blank> {
        (c as u32).checked_sub(Self::BASE).and_then(|i| self.blanks.get(i as usize))
    }
}

/// The path of a node, from the root.
pub(super) type Path = Vec<String>;

/// Whether `path` has the shape of `pattern` (`services.*.ports`; `*` is any one key, `[]` an item of a list).
pub(super) fn matches(path: &[String], pattern: &str) -> bool {
    let mut parts = path.iter();
    for want in pattern.split('.') {
        match parts.next() {
            Some(part) if want == "*" || part == want => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

impl Tree {
    /// A node made by the resolver, at the place of what it was made of.
    pub fn new(data: Data, span: &Span) -> Self {
        Self { data, span: span.clone(), key: None, marked: None }
    }

    /// The same place with other data; marks are dropped.
    pub fn with(&self, data: Data) -> Self {
        Self { data, span: self.span.clone(), key: self.key.clone(), marked: None }
    }

    /// An error at this node.
    pub fn error(&self, code: &str, message: impl Into<String>) -> Diagnostic {
        self.span.error(code, message)
    }

    /// An error at the key that leads here, else at the value.
    pub fn key_error(&self, code: &str, message: impl Into<String>) -> Diagnostic {
        self.key.as_ref().unwrap_or(&self.span).error(code, message)
    }

    pub fn map(&self) -> Option<&Map> {
        if let Data::Map(map) = &self.data { Some(map) } else { None }
    }

    pub fn map_mut(&mut self) -> Option<&mut Map> {
        if let Data::Map(map) = &mut self.data { Some(map) } else { None }
    }

    pub fn seq(&self) -> Option<&[Tree]> {
        if let Data::Seq(items) = &self.data { Some(items) } else { None }
    }

    pub fn str(&self) -> Option<&str> {
        if let Data::Str(text) = &self.data { Some(text) } else { None }
    }

    pub fn get(&self, key: &str) -> Option<&Tree> {
        self.map()?.get(key)
    }

    pub fn is_null(&self) -> bool {
        matches!(self.data, Data::Null)
    }

    /// What it is, in a word, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "a boolean",
            Data::Int(_) | Data::Float(_) => "a number",
            Data::Stamp(_) => "a date",
            Data::Str(_) => "a string",
            Data::Seq(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }
}

impl fmt::Display for Tree {
    /// As Go's `%v` prints the value; that is how Compose turns numbers into text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.data {
            Data::Null => f.write_str("<nil>"),
            Data::Bool(b) => write!(f, "{b}"),
            Data::Int(n) => write!(f, "{n}"),
            Data::Float(n) => f.write_str(&super::units::go_float(*n)),
            Data::Stamp(text) | Data::Str(text) => f.write_str(text),
            Data::Seq(items) => {
                let items: Vec<String> = items.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", items.join(" "))
            }
            Data::Map(map) => {
                let mut items: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{v}")).collect();
                items.sort();
                write!(f, "map[{}]", items.join(" "))
            }
        }
    }
}

/// One document of a file.
pub(super) struct Document {
    /// Its content; nodes tagged `!reset` are left out.
    pub root: Tree,
    /// Paths tagged `!reset` or `!override`: what earlier files say there is dropped.
    pub resets: Vec<Path>,
}

/// Turns the YAML tree into a working tree.
pub(super) fn document(node: &Node, problems: &mut Vec<Diagnostic>) -> Document {
    let mut resets = Vec::new();
    let root = convert(node, &mut Vec::new(), &mut resets, problems);
    Document { root: root.unwrap_or_else(|| Tree::new(Data::Null, &node.span)), resets }
}

fn convert(node: &Node, path: &mut Path, resets: &mut Vec<Path>, problems: &mut Vec<Diagnostic>) -> Option<Tree> {
    match node.tag.as_deref() {
        Some("reset") => {
            resets.push(path.clone());
            return None;
        }
        Some("override") => resets.push(path.clone()),
        _ => {}
    }
    let data = match &node.value {
        Value::Scalar { text, plain } => scalar(text, *plain, node.tag.as_deref()),
        Value::Seq(items) => {
            let mut list = Vec::with_capacity(items.len());
            for (i, item) in items.iter().enumerate() {
                path.push(i.to_string());
                list.extend(convert(item, path, resets, problems));
                path.pop();
            }
            Data::Seq(list)
        }
        Value::Map(entries) => {
            let mut map = Map::with_capacity(entries.len());
            for (key, value) in entries {
                let Some(name) = key_name(key, problems) else { continue };
                path.push(name.clone());
                if let Some(mut tree) = convert(value, path, resets, problems) {
                    tree.key = Some(key.span.clone());
                    map.insert(name, tree);
                }
                path.pop();
            }
            Data::Map(map)
        }
    };
    Some(Tree::new(data, &node.span))
}

/// The text of a key; Compose takes only strings.
fn key_name(key: &Node, problems: &mut Vec<Diagnostic>) -> Option<String> {
    let Value::Scalar { text, plain } = &key.value else { return None };
    if let Data::Str(text) = scalar(text, *plain, key.tag.as_deref()) {
        return Some(text);
    }
    problems.push(
        key.span
            .error("yaml-key", format!("the key `{text}` is not a string"))
            .help(format!("put it in quotes: \"{text}\":")),
    );
    None
}

fn scalar(text: &str, plain: bool, tag: Option<&str>) -> Data {
    match tag {
        Some("str") => Data::Str(text.to_owned()),
        Some("float") => match plain_scalar(text) {
            Data::Int(n) => Data::Float(n as f64),
            other => other,
        },
        Some("int" | "bool" | "null") => plain_scalar(text),
        None | Some("override") if plain => plain_scalar(text),
        _ => Data::Str(text.to_owned()),
    }
}

/// The type of a plain scalar by the rules of Go's yaml.v3, which Compose uses.
fn plain_scalar(text: &str) -> Data {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Data::Null,
        "true" | "True" | "TRUE" => return Data::Bool(true),
        "false" | "False" | "FALSE" => return Data::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Data::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Data::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Data::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let first = text.as_bytes().first().copied().unwrap_or(b' ');
    match first {
        b'.' => text.parse().map_or_else(|_| Data::Str(text.to_owned()), Data::Float),
        b'0'..=b'9' | b'+' | b'-' => {
            if let Some(stamp) = date(text) {
                return Data::Stamp(stamp);
            }
            number(&text.replace('_', "")).unwrap_or_else(|| Data::Str(text.to_owned()))
        }
        _ => Data::Str(text.to_owned()),
    }
}

fn number(plain: &str) -> Option<Data> {
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, body) = if let Some(hex) = lower.strip_prefix("0x") {
        (16, hex)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (2, binary)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        (8, octal)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    let digits = !body.is_empty() && body.bytes().all(|b| (b as char).is_digit(radix));
    if let Some(n) = digits.then(|| i128::from_str_radix(body, radix).ok()).flatten() {
        let n = if negative { -n } else { n };
        if let Ok(n) = i64::try_from(n) {
            return Some(Data::Int(n));
        }
        if let (false, Ok(n)) = (negative, u64::try_from(n)) {
            return Some(Data::Str(n.to_string()));
        }
    }
    if is_float(plain) {
        return plain.parse::<f64>().ok().filter(|n| n.is_finite()).map(Data::Float);
    }
    None
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    mantissa_ok && exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)))
}

/// A plain date (`2024-1-31`), as Go prints the time that yaml.v3 makes of it.
fn date(text: &str) -> Option<String> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || month.len() > 2 || day.len() > 2 {
        return None;
    }
    let date = jiff::civil::Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()?;
    Some(format!("{date} 00:00:00 +0000 UTC"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_typed_as_compose_types_them() {
        for (text, printed) in [
            ("0.90", "0.9"),
            ("0042", "34"),
            ("08", "8"),
            ("2e7", "2e+07"),
            ("0x1F", "31"),
            ("1_000", "1000"),
            ("0b11", "3"),
            ("123456.0", "123456"),
            ("1234567.0", "1.234567e+06"),
            ("0.00001", "1e-05"),
            ("1e400", "1e400"),
            ("99999999999999999999", "1e+20"),
            ("18446744073709551615", "18446744073709551615"),
            ("2024-1-31", "2024-01-31 00:00:00 +0000 UTC"),
            ("yes", "yes"),
            ("-", "-"),
            ("1.2.3", "1.2.3"),
        ] {
            let node = crate::yaml::parse(std::path::Path::new("t.yaml"), &format!("a: {text}x\n")).unwrap();
            let tree = Tree::new(plain_scalar(text), &node.span);
            assert_eq!(tree.to_string(), printed, "{text}");
        }
        assert!(matches!(plain_scalar("yes"), Data::Str(_)));
        assert!(matches!(plain_scalar("TRUE"), Data::Bool(true)));
    }

    #[test]
    fn patterns_match_whole_paths() {
        let path: Vec<String> = ["services", "a.b", "ports"].map(str::to_owned).to_vec();
        assert!(matches(&path, "services.*.ports"));
        assert!(!matches(&path, "services.*"));
        assert!(!matches(&path, "services.*.ports.[]"));
    }
}

//! Small readers that turn a tree's scalars into the JSON that Compose prints; zero values are left out as Go does.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::tree::{Data, Map, Tree};
use super::units;
use crate::domain::Diagnostic;

pub(super) type JsonMap = serde_json::Map<String, Value>;

/// A JSON object in the making.
pub(super) struct Out<'o> {
    /// The object.
    pub json: JsonMap,
    /// The object's path, for messages.
    pub path: String,
    /// Where errors go.
    pub problems: &'o mut Vec<Diagnostic>,
}

impl<'o> Out<'o> {
    pub fn new(path: String, problems: &'o mut Vec<Diagnostic>) -> Self {
        Self { json: JsonMap::new(), path, problems }
    }

    /// Sets a key unless the value is empty.
    pub fn put(&mut self, key: &str, value: Value) {
        let empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        };
        if !empty {
            self.json.insert(key.into(), value);
        }
    }

    fn wrong(&mut self, key: &str, tree: &Tree, wanted: &str) {
        let message = format!("`{}.{key}` must be {wanted}, this is `{tree}`", self.path);
        self.problems.push(tree.error("wrong-type", message).help(format!("write {wanted}")));
    }

    /// Text keys.
    pub fn strings(&mut self, map: &Map, keys: &[&str]) {
        for key in keys {
            match map.get(*key).map(|t| (t, &t.data)) {
                None | Some((_, Data::Null)) => {}
                Some((_, Data::Str(text))) => self.put(key, json!(text)),
                Some((_, Data::Int(n))) => self.put(key, json!(n.to_string())),
                Some((tree, _)) => self.wrong(key, tree, "a string"),
            }
        }
    }

    /// A list of texts; a single text is a list of one.
    pub fn put_list(&mut self, key: &str, tree: &Tree) {
        let numbers_allowed = key == "expose";
        match &tree.data {
            Data::Str(text) => self.put(key, json!([text])),
            Data::Seq(items) => {
                let mut texts = Vec::new();
                for item in items {
                    match &item.data {
                        Data::Str(text) => texts.push(text.clone()),
                        Data::Int(n) => texts.push(n.to_string()),
                        Data::Float(_) if numbers_allowed => texts.push(item.to_string()),
                        _ => self.wrong(key, item, "a string"),
                    }
                }
                self.put(key, json!(texts));
            }
            Data::Null => {}
            _ => self.wrong(key, tree, "a list of strings"),
        }
    }

    /// A boolean, whatever its spelling; None when absent.
    pub fn read_bool(&mut self, map: &Map, key: &str) -> Option<bool> {
        let tree = map.get(key)?;
        match &tree.data {
            Data::Null => None,
            Data::Bool(b) => Some(*b),
            Data::Str(text) if matches!(text.to_lowercase().as_str(), "true" | "y" | "yes" | "on") => Some(true),
            Data::Str(text) if matches!(text.to_lowercase().as_str(), "false" | "n" | "no" | "off") => Some(false),
            _ => {
                self.wrong(key, tree, "true or false");
                None
            }
        }
    }

    /// A boolean that is printed only when true.
    pub fn flag(&mut self, map: &Map, key: &str) {
        if self.read_bool(map, key) == Some(true) {
            self.json.insert(key.into(), json!(true));
        }
    }

    /// A boolean that is printed when it is given.
    pub fn flag_or_off(&mut self, map: &Map, key: &str) {
        if let Some(value) = self.read_bool(map, key) {
            self.json.insert(key.into(), json!(value));
        }
    }

    /// A whole number; None when absent.
    pub fn read_int(&mut self, map: &Map, key: &str) -> Option<i64> {
        let tree = map.get(key)?;
        match &tree.data {
            Data::Null => None,
            Data::Int(n) => Some(*n),
            // Go cuts the fraction off.
            Data::Float(n) if n.is_finite() => Some(*n as i64),
            Data::Str(text) if text.parse::<i64>().is_ok() => text.parse().ok(),
            _ => {
                self.wrong(key, tree, "a whole number");
                None
            }
        }
    }

    /// A whole number that is printed unless it is zero.
    pub fn int(&mut self, map: &Map, key: &str) {
        if let Some(n) = self.read_int(map, key).filter(|n| *n != 0) {
            self.json.insert(key.into(), json!(n));
        }
    }

    /// A whole number that is printed when it is given.
    pub fn int_or_zero(&mut self, map: &Map, key: &str) {
        if let Some(n) = self.read_int(map, key) {
            self.json.insert(key.into(), json!(n));
        }
    }

    /// A whole number of zero and up that is printed when it is given.
    pub fn unsigned(&mut self, map: &Map, key: &str) {
        match (self.read_int(map, key), map.get(key)) {
            (Some(n), Some(tree)) if n < 0 => self.wrong(key, tree, "zero or more"),
            (Some(n), _) => {
                self.json.insert(key.into(), json!(n));
            }
            (None, _) => {}
        }
    }

    /// A single-precision number that is printed unless it is zero.
    pub fn float32(&mut self, map: &Map, key: &str) {
        let Some(tree) = map.get(key) else { return };
        let number = match &tree.data {
            Data::Null => return,
            Data::Int(n) => Some(*n as f32),
            Data::Float(n) => Some(*n as f32),
            Data::Str(text) => text.parse::<f32>().ok(),
            _ => None,
        };
        match number {
            Some(0.0) => {}
            Some(n) if n.is_finite() => {
                let n = units::widen(n);
                let whole = n.fract() == 0.0 && n.abs() < 1e15;
                self.json.insert(key.into(), if whole { json!(n as i64) } else { json!(n) });
            }
            _ => self.wrong(key, tree, "a number"),
        }
    }

    /// A size in bytes that is printed as text unless it is zero.
    pub fn bytes(&mut self, map: &Map, key: &str) {
        let Some(tree) = map.get(key) else { return };
        let size = match &tree.data {
            Data::Int(n) => Some(*n),
            Data::Str(text) => units::bytes(text),
            // Compose reads a fraction without a unit as nothing.
            Data::Null | Data::Float(_) => Some(0),
            _ => None,
        };
        match size {
            Some(0) => {}
            Some(n) => {
                self.json.insert(key.into(), json!(n.to_string()));
            }
            None => self.wrong(key, tree, "a size such as 512m or 16gb"),
        }
    }

    /// A duration; None when absent.
    pub fn read_duration(&mut self, map: &Map, key: &str) -> Option<i64> {
        let tree = map.get(key).filter(|t| !t.is_null())?;
        let ns = units::duration_ns(&tree.to_string());
        if ns.is_none() {
            self.wrong(key, tree, "a duration such as 30s or 1m30s");
        }
        ns
    }

    /// A duration that is printed when it is given.
    pub fn duration(&mut self, map: &Map, key: &str) {
        if let Some(ns) = self.read_duration(map, key) {
            self.json.insert(key.into(), json!(units::go_duration(ns)));
        }
    }

    /// A duration that is printed unless it is zero.
    pub fn duration_not_zero(&mut self, map: &Map, key: &str) {
        if let Some(ns) = self.read_duration(map, key).filter(|ns| *ns != 0) {
            self.json.insert(key.into(), json!(units::go_duration(ns)));
        }
    }

    /// An object below this one.
    pub fn inner(&mut self, key: &str, tree: &Tree, fill: impl FnOnce(&mut Out<'_>, &Map)) -> Option<Value> {
        let map = tree.map()?;
        let mut inner = Out::new(format!("{}.{key}", self.path), self.problems);
        fill(&mut inner, map);
        Some(Value::Object(inner.json))
    }

    /// Sets a key to an object, even an empty one.
    pub fn nested(&mut self, key: &str, tree: &Tree, fill: impl FnOnce(&mut Out<'_>, &Map)) {
        if let Some(value) = self.inner(key, tree, fill) {
            self.json.insert(key.into(), value);
        }
    }

    /// Sets a key to a list of objects, unless it is empty.
    pub fn nested_list(&mut self, key: &str, tree: &Tree, mut fill: impl FnMut(&mut Out<'_>, &Map)) {
        let mut items = Vec::new();
        for item in tree.seq().unwrap_or_default() {
            items.extend(self.inner(key, item, &mut fill));
        }
        self.put(key, Value::Array(items));
    }
}

/// `KEY=value` or `KEY`, as a mapping to a text or nothing.
pub(super) fn with_equals(tree: &Tree) -> Value {
    let mut map = JsonMap::new();
    match &tree.data {
        Data::Map(entries) => {
            for (key, value) in entries {
                map.insert(key.clone(), if value.is_null() { Value::Null } else { json!(value.to_string()) });
            }
        }
        Data::Seq(items) => {
            for item in items {
                let text = item.to_string();
                match text.split_once('=') {
                    Some((key, value)) => map.insert(key.to_owned(), json!(value)),
                    None => map.insert(text, Value::Null),
                };
            }
        }
        _ => {}
    }
    Value::Object(map)
}

/// As [`with_equals`], where nothing is the empty text.
pub(super) fn string_map(tree: &Tree) -> Value {
    match with_equals(tree) {
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(k, v)| (k, if v.is_null() { json!("") } else { v })).collect())
        }
        other => other,
    }
}

/// `host=address` lines, sorted.
pub(super) fn extra_hosts(tree: &Tree, problems: &mut Vec<Diagnostic>) -> Value {
    let mut hosts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    match &tree.data {
        Data::Map(map) => {
            for (host, value) in map {
                let addresses = match &value.data {
                    Data::Seq(items) => items.iter().map(ToString::to_string).collect(),
                    Data::Null => vec![String::new()],
                    _ => vec![value.to_string()],
                };
                hosts.insert(host.clone(), addresses);
            }
        }
        Data::Seq(items) => {
            for item in items {
                let text = item.to_string();
                match text.split_once('=').or_else(|| text.split_once(':')) {
                    Some((host, addresses)) => {
                        hosts.entry(host.to_owned()).or_default().extend(addresses.split(',').map(str::to_owned));
                    }
                    None => problems.push(
                        item.error("bad-host", format!("the extra host `{text}` has no address"))
                            .help("write `name=address`"),
                    ),
                }
            }
        }
        _ => {}
    }
    let mut lines: Vec<String> = Vec::new();
    for (host, addresses) in hosts {
        if host.is_empty() || host.contains([':', '=']) {
            problems
                .push(tree.error("bad-host", format!("`{host}` cannot be a host's name")).help("write `name=address`"));
        }
        for address in addresses {
            let plain = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).filter(|a| !a.is_empty());
            lines.push(format!("{host}={}", plain.unwrap_or(&address)));
        }
    }
    lines.sort();
    json!(lines)
}

/// The tree as it is.
pub(super) fn plain(tree: &Tree) -> Value {
    match &tree.data {
        Data::Null => Value::Null,
        Data::Bool(b) => json!(b),
        Data::Int(n) => json!(n),
        Data::Float(n) => json!(n),
        Data::Stamp(text) | Data::Str(text) => json!(text),
        Data::Seq(items) => Value::Array(items.iter().map(plain).collect()),
        Data::Map(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), plain(v))).collect()),
    }
}

//! The part of JSON Schema that tools use: reading it strictly, and checking a value against it.

use serde_json::Value as Json;

use super::read::Reader;
use crate::domain::text_enum;
use crate::yaml::Node;

text_enum! {
    /// A type of JSON Schema.
    pub enum JsonType {
        /// A mapping.
        Object = "object",
        /// A list.
        Array = "array",
        /// A text.
        String = "string",
        /// A number without a fraction; `2.0` is one.
        Integer = "integer",
        /// A number.
        Number = "number",
        /// `true` or `false`.
        Boolean = "boolean",
        /// `null`.
        Null = "null",
    }
}

/// Keywords that are checked, and those that only describe.
const KEYWORDS: [&str; 14] = [
    "type",
    "enum",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
    "description",
    "title",
    "default",
    "examples",
];

/// A schema as far as vgrid checks it. Everything that is absent allows everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    kind: Option<JsonType>,
    allowed: Option<Vec<Json>>,
    properties: Vec<(String, Schema)>,
    required: Vec<String>,
    /// Properties beside those named.
    open: bool,
    items: Option<Box<Schema>>,
    items_range: (usize, usize),
    range: (f64, f64),
}

impl Schema {
    /// Reads a schema; a keyword that vgrid does not check is an error, because it would be checked by nobody.
    pub(super) fn read(reader: &mut Reader, node: &Node, what: &str) -> Self {
        reader.keys(node, what, &KEYWORDS);
        let kind = node.get("type").and_then(|_| reader.word::<JsonType>(node, "type", what));
        let allowed = node.get("enum").map(|list| {
            let items = reader.list_of(list, &format!("`enum` of {what}"));
            items.iter().map(Node::json).collect::<Vec<_>>()
        });
        let properties = node.get("properties").and_then(Node::map).unwrap_or_default();
        let properties: Vec<(String, Self)> = properties
            .iter()
            .map(|(key, value)| {
                let name = key.text().unwrap_or_default().to_owned();
                let schema = Self::read(reader, value, &format!("the schema of `{name}`"));
                (name, schema)
            })
            .collect();
        let mut required = Vec::new();
        for name in node.get("required").and_then(Node::seq).unwrap_or_default() {
            let text = reader.text_of(name, &format!("`required` of {what}"));
            if !properties.iter().any(|(known, _)| *known == text) {
                let error =
                    name.span.error("unknown-property", format!("{what} requires `{text}`, which it does not have"));
                let known: Vec<&str> = properties.iter().map(|(name, _)| name.as_str()).collect();
                reader.errors.push(error.help(format!("its properties: {}", known.join(", "))));
            }
            required.push(text);
        }
        let number = |reader: &mut Reader, key: &str, other: f64| {
            node.get(key).and_then(|n| reader.number(n, &format!("`{key}` of {what}"))).unwrap_or(other)
        };
        let range = (number(reader, "minimum", f64::NEG_INFINITY), number(reader, "maximum", f64::INFINITY));
        let items_range = (number(reader, "minItems", 0.0) as usize, number(reader, "maxItems", f64::MAX) as usize);
        let open = match node.get("additionalProperties") {
            None => true,
            Some(value) => match value.json() {
                Json::Bool(open) => open,
                _ => {
                    reader.wrong(value, &format!("`additionalProperties` of {what}"), "true or false");
                    true
                }
            },
        };
        let items = node.get("items").map(|items| Box::new(Self::read(reader, items, &format!("the items of {what}"))));
        Self { kind, allowed, properties, required, open, items, items_range, range }
    }

    /// The first way in which `value` breaks the schema, with the path to it.
    #[must_use]
    pub fn violation(&self, value: &Json) -> Option<String> {
        self.violation_at(value, "")
    }

    fn violation_at(&self, value: &Json, path: &str) -> Option<String> {
        let place = || if path.is_empty() { "the arguments".to_owned() } else { format!("`{path}`") };
        if let Some(kind) = self.kind.filter(|kind| !kind.fits(value)) {
            return Some(format!("{} must be of type {kind}", place()));
        }
        if let Some(allowed) = self.allowed.as_ref().filter(|allowed| !allowed.iter().any(|a| same(a, value))) {
            let words: Vec<String> = allowed.iter().map(Json::to_string).collect();
            return Some(format!("{} must be one of {}", place(), words.join(", ")));
        }
        if value.as_f64().is_some_and(|n| n < self.range.0 || n > self.range.1) {
            return Some(format!("{} is out of range", place()));
        }
        match value {
            Json::Object(members) => {
                if let Some(name) = self.required.iter().find(|name| !members.contains_key(*name)) {
                    return Some(format!("{} lacks `{name}`", place()));
                }
                members.iter().find_map(|(name, member)| {
                    let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    match self.properties.iter().find(|(known, _)| known == name) {
                        Some((_, schema)) => schema.violation_at(member, &inner),
                        None if self.open => None,
                        None => Some(format!("`{inner}` is not allowed")),
                    }
                })
            }
            Json::Array(items) => {
                if items.len() < self.items_range.0 || items.len() > self.items_range.1 {
                    return Some(format!("{} has {} items", place(), items.len()));
                }
                let schema = self.items.as_ref()?;
                items.iter().enumerate().find_map(|(i, item)| schema.violation_at(item, &format!("{path}[{i}]")))
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
        }
    }
}

impl JsonType {
    fn fits(self, value: &Json) -> bool {
        match self {
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::Null => value.is_null(),
        }
    }
}

/// Equality of JSON values where `2` and `2.0` are one number.
pub(super) fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(x), Json::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Json::Array(x), Json::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same(a, b)),
        (Json::Object(x), Json::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(key, a)| y.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

//! A plausible value for a JSON schema, with words and numbers taken from the question where they fit.

use serde_json::{Map, Value as Json, json};

/// Nesting at which values become trivial, so that a recursive schema ends.
const DEEPEST: usize = 8;

/// An instance of `schema`.
pub(super) fn instance(schema: &Json, question: &str) -> Json {
    build(schema, schema, question, 0)
}

fn build(schema: &Json, root: &Json, question: &str, depth: usize) -> Json {
    if depth > DEEPEST {
        return Json::Null;
    }
    let again = |inner: &Json| build(inner, root, question, depth + 1);
    if let Some(target) =
        schema.get("$ref").and_then(Json::as_str).and_then(|r| root.pointer(r.trim_start_matches('#')))
    {
        return again(target);
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(values) = schema.get("enum").and_then(Json::as_array) {
        let named = values.iter().find(|v| v.as_str().is_some_and(|v| mentions(question, v)));
        return named.or(values.first()).cloned().unwrap_or(Json::Null);
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema.get(key).and_then(Json::as_array).and_then(|a| a.first()) {
            return again(first);
        }
    }
    let kind = match schema.get("type") {
        Some(Json::String(kind)) => kind.as_str(),
        Some(Json::Array(kinds)) => kinds.first().and_then(Json::as_str).unwrap_or("null"),
        Some(_) | None if schema.get("properties").is_some() => "object",
        Some(_) | None => "string",
    };
    match kind {
        "object" => object(schema, &again),
        "array" => {
            let items = schema.get("items").cloned().unwrap_or_else(|| json!({"type": "string"}));
            let count = schema.get("minItems").and_then(Json::as_u64).unwrap_or(1).clamp(1, 16);
            Json::Array((0..count).map(|_| again(&items)).collect())
        }
        "integer" => json!(number(schema, question).round() as i64),
        "number" => json!(number(schema, question)),
        "boolean" => json!(true),
        "null" => Json::Null,
        _ => Json::String(text(schema, question)),
    }
}

/// Every required property; where none is required, all of them.
fn object(schema: &Json, again: &dyn Fn(&Json) -> Json) -> Json {
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&empty);
    let required: Vec<&str> =
        schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
    let wanted = |name: &str| required.is_empty() || required.contains(&name);
    Json::Object(properties.iter().filter(|(name, _)| wanted(name)).map(|(n, s)| (n.clone(), again(s))).collect())
}

fn mentions(question: &str, word: &str) -> bool {
    question.to_lowercase().contains(&word.to_lowercase())
}

/// The question's first number, or 1, within the schema's bounds.
fn number(schema: &Json, question: &str) -> f64 {
    let found = question
        .split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .find_map(|word| word.trim_matches('.').parse::<f64>().ok())
        .unwrap_or(1.0);
    let bound = |key: &str, other: f64| schema.get(key).and_then(Json::as_f64).unwrap_or(other);
    let least = bound("minimum", f64::MIN).max(bound("exclusiveMinimum", f64::MIN) + 1.0);
    let most = bound("maximum", f64::MAX).min(bound("exclusiveMaximum", f64::MAX) - 1.0);
    if least <= most { found.clamp(least, most) } else { found }
}

/// Quoted words, else the last capitalised words, else something short; in the schema's format and length.
fn text(schema: &Json, question: &str) -> String {
    let mut text = match schema.get("format").and_then(Json::as_str) {
        Some("date") => "2025-01-15".to_owned(),
        Some("date-time") => "2025-01-15T09:00:00Z".to_owned(),
        Some("email") => "user@example.com".to_owned(),
        Some("uri") => "https://example.com/".to_owned(),
        Some(_) | None => quoted(question).or_else(|| capitalised(question)).unwrap_or_else(|| "value".to_owned()),
    };
    let least = schema.get("minLength").and_then(Json::as_u64).unwrap_or(0) as usize;
    while text.chars().count() < least {
        text.push('x');
    }
    match schema.get("maxLength").and_then(Json::as_u64) {
        Some(most) => text.chars().take(most as usize).collect(),
        None => text,
    }
}

fn quoted(question: &str) -> Option<String> {
    let mut parts = question.split('"');
    parts.next()?;
    let inner = parts.next()?;
    parts.next().map(|_| inner.to_owned()).filter(|t| !t.is_empty())
}

/// The last run of capitalised words that does not start the question.
fn capitalised(question: &str) -> Option<String> {
    let mut best: Vec<&str> = Vec::new();
    let mut run: Vec<&str> = Vec::new();
    for word in question.split_whitespace().skip(1) {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        if bare.chars().next().is_some_and(char::is_uppercase) {
            run.push(bare);
            best.clone_from(&run);
        } else {
            run.clear();
        }
    }
    (!best.is_empty()).then(|| best.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_objects_enums_arrays_and_references_are_filled() {
        let schema = json!({"type": "object", "required": ["city", "unit", "days", "tags", "where"],
            "properties": {
                "city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "maximum": 7}, "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
                "where": {"$ref": "#/$defs/place"}, "optional": {"type": "string"}},
            "$defs": {"place": {"type": "object", "properties": {"lat": {"type": "number", "minimum": 10}}}}});
        let value = instance(&schema, "Give me 12 days of weather in New York in fahrenheit");
        assert_eq!(
            value,
            json!({"city": "New York", "unit": "fahrenheit", "days": 7, "tags": ["New York", "New York"], "where": {"lat": 12.0}})
        );
    }

    #[test]
    fn a_recursive_schema_ends() {
        let schema = json!({"type": "object", "properties": {"child": {"$ref": "#"}}});
        assert!(instance(&schema, "x").is_object());
    }
}

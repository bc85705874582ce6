//! Checks a merged document against a [`Rule`]: unknown keys, wrong types, missing keys, each with its place.

use super::decode_json;
use super::tree::{Data, Path, Tree};
use crate::domain::{Diagnostic, did_you_mean};

/// A type of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A string.
    Str,
    /// A whole number.
    Int,
    /// A number.
    Num,
    /// A boolean.
    Bool,
    /// Nothing.
    Null,
}

/// What a node may be.
pub(super) enum Rule {
    /// Anything.
    Any,
    /// A scalar of one of these types.
    Type(&'static [Kind]),
    /// One of these strings.
    Enum(&'static [&'static str]),
    /// A whole number within limits, or a string.
    Range(i64, i64),
    /// A list.
    List(&'static Rule, Items),
    /// A mapping with known keys.
    Object(&'static Object),
    /// A mapping with free keys.
    Dict(Keys, &'static Rule),
    /// The first alternative that fits the node's form.
    Either(&'static [Rule]),
}

/// Whether the items of a list may repeat.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Items {
    /// They may.
    Any,
    /// They may not.
    Unique,
}

/// Which keys a free mapping may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// Any but the empty one.
    Any,
    /// Letters, digits, `.`, `_`, `-`.
    Name,
    /// As [`Keys::Name`]; other keys are not looked at.
    NameElseIgnored,
    /// Lower-case letters; other keys are not looked at.
    LowerElseIgnored,
}

/// A mapping with known keys.
pub(super) struct Object {
    /// The keys and what they hold.
    pub keys: &'static [(&'static str, Rule)],
    /// Keys that must be there.
    pub required: &'static [&'static str],
    /// What other keys are.
    pub others: Others,
}

/// What unknown keys of a mapping are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    /// Errors.
    Refused,
    /// Errors, but for `x-...`.
    Extensions,
    /// Not looked at.
    Ignored,
}

/// Collects everything that is wrong with `tree`.
pub(super) fn check(rule: &Rule, tree: &Tree, path: &mut Path, problems: &mut Vec<Diagnostic>) {
    match rule {
        Rule::Any => {}
        Rule::Type(kinds) => {
            if !kinds.iter().any(|k| has_kind(tree, *k)) {
                problems.push(wrong_type(tree, path, &kind_names(kinds), kinds.contains(&Kind::Str)));
            }
        }
        Rule::Enum(values) => check_enum(values, tree, path, problems),
        Rule::Range(low, high) => match &tree.data {
            Data::Int(n) if (low..=high).contains(&n) => {}
            Data::Str(_) => {}
            Data::Int(_) => problems
                .push(tree.error("out-of-range", format!("`{}` must lie between {low} and {high}", path.join(".")))),
            _ => problems.push(wrong_type(tree, path, "a whole number", false)),
        },
        Rule::List(item, items) => check_list(item, *items, tree, path, problems),
        Rule::Object(object) => check_object(object, tree, path, problems),
        Rule::Dict(keys, value) => check_dict(*keys, value, tree, path, problems),
        Rule::Either(rules) => match rules.iter().find(|r| fits(r, tree)) {
            Some(rule) => check(rule, tree, path, problems),
            None => {
                let names: Vec<String> = rules.iter().map(rule_name).collect();
                problems.push(wrong_type(tree, path, &names.join(" or "), false));
            }
        },
    }
}

fn has_kind(tree: &Tree, kind: Kind) -> bool {
    match kind {
        Kind::Str => matches!(tree.data, Data::Str(_) | Data::Stamp(_)),
        Kind::Int => match tree.data {
            Data::Int(_) => true,
            Data::Float(n) => n.fract() == 0.0,
            _ => false,
        },
        Kind::Num => match tree.data {
            Data::Int(_) => true,
            Data::Float(n) => n.is_finite(),
            _ => false,
        },
        Kind::Bool => matches!(tree.data, Data::Bool(_)),
        Kind::Null => tree.is_null(),
    }
}

/// Whether the node's form is one that the rule is about.
fn fits(rule: &Rule, tree: &Tree) -> bool {
    match rule {
        Rule::Any => true,
        Rule::Type(kinds) => kinds.iter().any(|k| has_kind(tree, *k)),
        Rule::Enum(_) => has_kind(tree, Kind::Str),
        Rule::Range(..) => has_kind(tree, Kind::Str) || has_kind(tree, Kind::Int),
        Rule::List(..) => tree.seq().is_some(),
        Rule::Object(_) | Rule::Dict(..) => tree.map().is_some(),
        Rule::Either(rules) => rules.iter().any(|r| fits(r, tree)),
    }
}

fn rule_name(rule: &Rule) -> String {
    match rule {
        Rule::Any => "anything".into(),
        Rule::Type(kinds) => kind_names(kinds),
        Rule::Enum(values) => values.join(" or "),
        Rule::Range(..) => "a whole number".into(),
        Rule::List(..) => "a list".into(),
        Rule::Object(_) | Rule::Dict(..) => "a mapping".into(),
        Rule::Either(rules) => rules.iter().map(rule_name).collect::<Vec<_>>().join(" or "),
    }
}

fn kind_names(kinds: &[Kind]) -> String {
    let names: Vec<&str> = kinds
        .iter()
        .map(|kind| match kind {
            Kind::Str => "a string",
            Kind::Int => "a whole number",
            Kind::Num => "a number",
            Kind::Bool => "true or false",
            Kind::Null => "nothing",
        })
        .collect();
    names.join(" or ")
}

fn wrong_type(tree: &Tree, path: &Path, wanted: &str, string_wanted: bool) -> Diagnostic {
    let at = if tree.is_null() && tree.key.is_some() { tree.key.as_ref() } else { None };
    let message = format!("`{}` must be {wanted}, this is {}", path.join("."), tree.kind());
    let help = match &tree.data {
        Data::Null => "give it a value, or remove the key".to_owned(),
        Data::Bool(_) | Data::Int(_) | Data::Float(_) if string_wanted => format!("put it in quotes: \"{tree}\""),
        _ => format!("write {wanted}"),
    };
    at.unwrap_or(&tree.span).error("wrong-type", message).help(help)
}

fn check_enum(values: &[&'static str], tree: &Tree, path: &Path, problems: &mut Vec<Diagnostic>) {
    match tree.str() {
        Some(text) if values.contains(&text) => {}
        Some(text) => {
            let near = did_you_mean(text, values.iter().copied()).map(|n| format!("did you mean `{n}`? "));
            problems.push(tree.error("wrong-value", format!("`{}` cannot be `{text}`", path.join("."))).help(format!(
                "{}allowed: {}",
                near.unwrap_or_default(),
                values.join(", ")
            )));
        }
        None => problems.push(wrong_type(tree, path, "a string", true)),
    }
}

fn check_list(rule: &Rule, items: Items, tree: &Tree, path: &mut Path, problems: &mut Vec<Diagnostic>) {
    let Some(list) = tree.seq() else {
        problems.push(wrong_type(tree, path, "a list", false));
        return;
    };
    let mut seen: Vec<serde_json::Value> = Vec::new();
    for (i, item) in list.iter().enumerate() {
        let value = decode_json::plain(item);
        if items == Items::Unique && seen.contains(&value) {
            problems.push(
                item.error("repeated-item", format!("`{}` holds `{item}` twice", path.join(".")))
                    .help("remove one of the two; when they come from two files, tag the later list `!override`"),
            );
        }
        seen.push(value);
        path.push(i.to_string());
        check(rule, item, path, problems);
        path.pop();
    }
}

fn check_object(object: &Object, tree: &Tree, path: &mut Path, problems: &mut Vec<Diagnostic>) {
    let Some(map) = tree.map() else {
        problems.push(wrong_type(tree, path, "a mapping", false));
        return;
    };
    for (key, value) in map {
        match object.keys.iter().find(|(name, _)| name == key) {
            Some((_, rule)) => {
                path.push(key.clone());
                check(rule, value, path, problems);
                path.pop();
            }
            None if object.others == Others::Ignored => {}
            None if object.others == Others::Extensions && key.starts_with("x-") => {}
            None => problems.push(unknown_key(object, key, value, path)),
        }
    }
    for key in object.required {
        if !map.contains_key(*key) {
            problems.push(
                tree.key_error("missing-key", format!("`{}` has no `{key}`", path.join(".")))
                    .help(format!("add `{key}:`")),
            );
        }
    }
}

fn unknown_key(object: &Object, key: &str, value: &Tree, path: &Path) -> Diagnostic {
    let place = if path.is_empty() { "at the top level".to_owned() } else { format!("in `{}`", path.join(".")) };
    let help = match did_you_mean(key, object.keys.iter().map(|(name, _)| *name)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if object.others == Others::Extensions => format!("remove it, or name it `x-{key}` to have it ignored"),
        None => {
            let keys: Vec<&str> = object.keys.iter().map(|(name, _)| *name).collect();
            format!("remove it; known keys: {}", keys.join(", "))
        }
    };
    value.key_error("unknown-key", format!("unknown key `{key}` {place}")).help(help)
}

fn check_dict(keys: Keys, rule: &Rule, tree: &Tree, path: &mut Path, problems: &mut Vec<Diagnostic>) {
    let Some(map) = tree.map() else {
        problems.push(wrong_type(tree, path, "a mapping", false));
        return;
    };
    for (key, value) in map {
        let name = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let lower = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase());
        let ok = match keys {
            Keys::Any => !key.is_empty(),
            Keys::Name | Keys::NameElseIgnored => name,
            Keys::LowerElseIgnored => lower,
        };
        if !ok {
            if matches!(keys, Keys::Any | Keys::Name) {
                problems.push(
                    value
                        .key_error("bad-name", format!("`{key}` cannot be a name in `{}`", path.join(".")))
                        .help("use letters, digits, `.`, `_` and `-`"),
                );
            }
            continue;
        }
        path.push(key.clone());
        check(rule, value, path, problems);
        path.pop();
    }
}

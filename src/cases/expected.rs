//! What a value must be: exactly this, one of these, or a text that contains these words.

use serde_json::{Map, Value as Json};

use super::folded;
use super::schema::same;

/// An expected value. Texts are compared without regard to case, white space and typographic quotes; `2` and `2.0` are one number.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// Exactly this.
    Exactly(Json),
    /// `{"$one_of": [...]}`.
    OneOf(Vec<Expected>),
    /// `{"$contains": [...]}`: a text with all of these in it.
    Contains(Vec<String>),
    /// A list of as many items, each as expected, in this order.
    List(Vec<Expected>),
    /// A mapping with these members and no others.
    Members(Vec<(String, Expected)>),
}

impl Expected {
    /// Reads it out of JSON; `None` for an operator that does not exist or has no list.
    pub(super) fn of(value: &Json) -> Option<Self> {
        match value {
            Json::Array(items) => items.iter().map(Self::of).collect::<Option<_>>().map(Self::List),
            Json::Object(members) => match members.iter().next() {
                Some((name, list)) if name.starts_with('$') => {
                    let list = list.as_array().filter(|list| !list.is_empty() && members.len() == 1)?;
                    match name.as_str() {
                        "$one_of" => list.iter().map(Self::of).collect::<Option<_>>().map(Self::OneOf),
                        "$contains" => {
                            let words = list.iter().map(|word| word.as_str().map(str::to_owned));
                            words.collect::<Option<_>>().map(Self::Contains)
                        }
                        _ => None,
                    }
                }
                Some(_) | None => {
                    let members = members.iter().map(|(name, value)| Some((name.clone(), Self::of(value)?)));
                    members.collect::<Option<_>>().map(Self::Members)
                }
            },
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Some(Self::Exactly(value.clone())),
        }
    }

    /// The first difference, with the path to it; `None` when the value is as expected.
    #[must_use]
    pub fn difference(&self, got: &Json) -> Option<String> {
        self.difference_at(got, "")
    }

    fn difference_at(&self, got: &Json, path: &str) -> Option<String> {
        let fits = match self {
            Self::Exactly(Json::String(text)) => got.as_str().is_some_and(|got| folded(got) == folded(text)),
            Self::Exactly(value) => same(value, got),
            Self::OneOf(list) => list.iter().any(|one| one.difference(got).is_none()),
            Self::Contains(words) => {
                got.as_str().map(folded).is_some_and(|got| words.iter().all(|word| got.contains(&folded(word))))
            }
            Self::List(items) => match got.as_array().filter(|got| got.len() == items.len()) {
                Some(got) => {
                    let pairs = items.iter().zip(got).enumerate();
                    return pairs
                        .into_iter()
                        .find_map(|(i, (item, got))| item.difference_at(got, &format!("{path}[{i}]")));
                }
                None => false,
            },
            Self::Members(members) => match got.as_object() {
                Some(got) => return Self::members_difference(members, got, path),
                None => false,
            },
        };
        let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
        (!fits).then(|| format!("{place}expected {}, got {got}", self.in_words()))
    }

    fn members_difference(members: &[(String, Self)], got: &Map<String, Json>, path: &str) -> Option<String> {
        let inner = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let wrong = members.iter().find_map(|(name, expected)| match got.get(name) {
            Some(value) => expected.difference_at(value, &inner(name)),
            None => Some(format!("{}: expected {}, got nothing", inner(name), expected.in_words())),
        });
        wrong.or_else(|| {
            let extra = got.iter().find(|(name, _)| !members.iter().any(|(known, _)| known == *name));
            extra.map(|(name, value)| format!("{}: expected nothing, got {value}", inner(name)))
        })
    }

    /// What is expected, for a sentence.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Exactly(_) | Self::List(_) | Self::Members(_) => self.sample().to_string(),
            Self::OneOf(list) => list.iter().map(Self::in_words).collect::<Vec<_>>().join(" or "),
            Self::Contains(words) => format!("a text with `{}`", words.join("`, `")),
        }
    }

    /// A value that is as expected: the first of several.
    #[must_use]
    pub fn sample(&self) -> Json {
        match self {
            Self::Exactly(value) => value.clone(),
            Self::OneOf(list) => list.first().map(Self::sample).unwrap_or_default(),
            Self::Contains(words) => Json::String(words.join(" ")),
            Self::List(items) => Json::Array(items.iter().map(Self::sample).collect()),
            Self::Members(members) => members.iter().map(|(name, value)| (name.clone(), value.sample())).collect(),
        }
    }
}

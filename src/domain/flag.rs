//! A vLLM command-line flag: its canonical name, its three states, and what vgrid knows about it.

mod known;

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

pub use known::KNOWN_FLAGS;

/// The canonical name of a vLLM flag: lower case, dashes, no leading `--`, no `no-` prefix
/// (`--no_enable_prefix_caching` and `enable-prefix-caching` are the same flag).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FlagName(String);

impl FlagName {
    /// The canonical name of `text`, which may have dashes in front, underscores for dashes, or a known alias.
    /// A `no-` prefix is taken off only where the rest is a known toggle (`no-enable-x`); see [`FlagName::parse_negated`].
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self::parse_negated(text).0
    }

    /// The canonical name, and whether `text` is the negative form (`--no-enable-prefix-caching`).
    #[must_use]
    pub fn parse_negated(text: &str) -> (Self, bool) {
        let plain = text.trim_start_matches('-').replace('_', "-");
        if let Some(positive) = plain.strip_prefix("no-") {
            let positive = unalias(positive);
            // vLLM derives negative forms only for toggles; a name such as `no-log` of another program stays whole.
            if positive.starts_with("enable-") || known_flag(positive).is_some_and(|k| k.kind == FlagKind::Toggle) {
                return (Self(positive.to_owned()), true);
            }
        }
        (Self(unalias(&plain).to_owned()), false)
    }

    /// The canonical text, without dashes in front.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FlagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

fn unalias(name: &str) -> &str {
    BY_NAME.get(name).map_or(name, |known| known.name)
}

/// What a config says about one flag. Three states for every flag: on, off, engine default; or a value.
///
/// Text form (grid, database, expressions): `on`, `off`, `default`, else the value's own text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FlagValue {
    /// The engine's own default: the flag is taken out of the command.
    Default,
    /// `--flag`.
    On,
    /// The explicit negative form `--no-flag` (for a [`FlagKind::Switch`], which has none: the flag is left out).
    Off,
    /// `--flag value`; numbers in shortest form, JSON compact.
    Value(String),
    /// `--flag a b c`, for flags that take several values.
    Many(Vec<String>),
}

impl fmt::Display for FlagValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.pad("default"),
            Self::On => f.pad("on"),
            Self::Off => f.pad("off"),
            Self::Value(v) => f.pad(v),
            Self::Many(v) => f.pad(&v.join(" ")),
        }
    }
}

impl Serialize for FlagValue {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Many(values) => values.serialize(serializer),
            Self::Default | Self::On | Self::Off | Self::Value(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for FlagValue {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            One(String),
            Many(Vec<String>),
        }
        Ok(match Raw::deserialize(deserializer)? {
            Raw::One(text) => Self::from_text(&text),
            Raw::Many(values) => Self::Many(values),
        })
    }
}

impl FlagValue {
    /// Reads the text form: `on`, `off`, `default`, else a value.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        match text {
            "default" => Self::Default,
            "on" => Self::On,
            "off" => Self::Off,
            value => Self::Value(value.to_owned()),
        }
    }
}

/// How a flag is written on vLLM's command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlagKind {
    /// `--flag` or `--no-flag` (argparse's `BooleanOptionalAction`).
    Toggle,
    /// `--flag` or nothing (argparse's `store_true`).
    Switch,
    /// `--flag value`.
    Value,
    /// `--flag a b c`.
    Many,
    /// `--flag '{"json": 1}'`.
    Json,
}

/// What vgrid knows of one vLLM flag.
#[derive(Clone, Copy, Debug)]
pub struct KnownFlag {
    /// Canonical name, no dashes in front.
    pub name: &'static str,
    /// Other names for it, in canonical spelling.
    pub aliases: &'static [&'static str],
    /// How it is written.
    pub kind: FlagKind,
    /// The value that vLLM V1 uses when the flag is left out, where it is fixed (`on` for prefix caching).
    pub v1_default: Option<&'static str>,
}

/// Known flags by canonical name and by alias.
static BY_NAME: LazyLock<HashMap<&'static str, &'static KnownFlag>> = LazyLock::new(|| {
    let names = |known: &'static KnownFlag| std::iter::once(&known.name).chain(known.aliases).map(move |n| (*n, known));
    KNOWN_FLAGS.iter().flat_map(names).collect()
});

/// What vgrid knows of the flag with this canonical name.
#[must_use]
pub fn known_flag(canonical: &str) -> Option<&'static KnownFlag> {
    BY_NAME.get(canonical).copied().filter(|known| known.name == canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_flag_has_one_canonical_name() {
        for text in ["enable-prefix-caching", "--enable_prefix_caching", "--enable-prefix-caching"] {
            assert_eq!(FlagName::parse_negated(text), (FlagName("enable-prefix-caching".into()), false));
        }
        assert_eq!(
            FlagName::parse_negated("--no_enable_prefix_caching"),
            (FlagName::new("enable-prefix-caching"), true)
        );
        assert_eq!(FlagName::parse_negated("--no-enforce-eager"), (FlagName::new("enforce-eager"), true));
        assert_eq!(FlagName::new("-tp"), FlagName::new("tensor-parallel-size"));
    }

    #[test]
    fn a_name_that_starts_with_no_but_is_no_toggle_stays_whole() {
        assert_eq!(FlagName::parse_negated("--no-such-thing"), (FlagName("no-such-thing".into()), false));
    }

    #[test]
    fn every_known_flag_has_one_canonical_name_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for known in KNOWN_FLAGS {
            for name in std::iter::once(&known.name).chain(known.aliases) {
                assert!(seen.insert(*name), "{name} is there twice");
                assert_eq!(FlagName::new(name).as_str(), known.name);
            }
            assert!(!known.name.starts_with("no-") && !known.name.contains('_'), "{}", known.name);
            let toggles = matches!(known.kind, FlagKind::Toggle | FlagKind::Switch);
            let state = known.v1_default.map(|text| matches!(text, "on" | "off"));
            assert!(state.is_none_or(|state| state == toggles), "the default of {} does not fit its kind", known.name);
            if known.kind == FlagKind::Toggle {
                assert_eq!(FlagName::parse_negated(&format!("--no-{}", known.name)), (FlagName::new(known.name), true));
            }
        }
    }

    #[test]
    fn a_flag_value_round_trips_through_json() {
        for v in [
            FlagValue::Default,
            FlagValue::On,
            FlagValue::Off,
            FlagValue::Value("0.9".into()),
            FlagValue::Many(vec!["a".into(), "b".into()]),
        ] {
            let json = serde_json::to_string(&v).unwrap();
            assert_eq!(serde_json::from_str::<FlagValue>(&json).unwrap(), v, "{json}");
        }
    }
}

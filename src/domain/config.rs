//! One point of the grid, and the identities built from content.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{FlagName, FlagValue, Start, known_flag};

/// What a point sets on top of the deployment: flags, environment, image, model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// vLLM flags; they replace what the deployment's command says, the rest of the command stays.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub flags: BTreeMap<FlagName, FlagValue>,
    /// Environment variables of the container; `None` takes the variable away.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Option<String>>,
    /// The image, when the point replaces the deployment's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The model, when the point replaces the deployment's (positional argument or `--model`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Settings {
    /// How many settings differ from what is there without them; a flag left to the engine's default, or set to what the default is
    /// known to be, is none.
    #[must_use]
    pub fn count(&self) -> usize {
        let is_default = |name: &FlagName, value: &FlagValue| {
            let known = known_flag(name.as_str()).and_then(|known| known.v1_default);
            *value == FlagValue::Default || known.is_some_and(|default| default == value.to_string())
        };
        let flags = self.flags.iter().filter(|(name, value)| !is_default(name, value)).count();
        flags + self.env.len() + usize::from(self.image.is_some()) + usize::from(self.model.is_some())
    }

    /// `self` with everything that `over` sets replaced.
    #[must_use]
    pub fn overlaid(&self, over: &Settings) -> Settings {
        let mut result = self.clone();
        result.flags.extend(over.flags.iter().map(|(k, v)| (k.clone(), v.clone())));
        result.env.extend(over.env.iter().map(|(k, v)| (k.clone(), v.clone())));
        result.image = over.image.clone().or(result.image);
        result.model = over.model.clone().or(result.model);
        result
    }
}

/// One config: a named point of the grid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Unique within its grid; given, or made from the values of the axes.
    pub name: String,
    /// What it sets, the grid's `base` included.
    pub settings: Settings,
    /// The settings that came from axes, as `(axis, value text)` in the grid's order; empty for a named config.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub axis_values: Vec<(String, String)>,
}

/// The content-addressed identity of a config: 16 hexadecimal digits of a SHA-256 over the effective service
/// (image digest, command, environment with secrets hashed apart, devices, mounts, limits). Never over a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigKey(pub String);

impl ConfigKey {
    /// The key of this canonical text.
    #[must_use]
    pub fn of(canonical: &[u8]) -> Self {
        Self(super::short_sha256(&[canonical]))
    }
}

impl fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A sweep's number in `runs.db`, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SweepId(pub i64);

impl fmt::Display for SweepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Which trial an event or a row speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialRef {
    /// The trial's number in `runs.db`.
    pub trial_id: i64,
    /// The config's name.
    pub name: String,
    /// The config's key.
    pub key: ConfigKey,
    /// Position in the sweep, from 1.
    pub position: usize,
    /// Number of trials in the sweep.
    pub of: usize,
    /// Which attempt at the trial, from 1.
    pub attempt: u32,
    /// Which of the config's starts it belongs to.
    #[serde(default)]
    pub start: Start,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overlay_wins_and_what_it_leaves_out_stays() {
        let base = Settings {
            flags: BTreeMap::from([
                (FlagName::new("max-model-len"), FlagValue::Value("2048".into())),
                (FlagName::new("enforce-eager"), FlagValue::On),
            ]),
            image: Some("a".into()),
            ..Settings::default()
        };
        let over = Settings {
            flags: BTreeMap::from([(FlagName::new("enforce_eager"), FlagValue::Off)]),
            env: BTreeMap::from([("X".into(), None)]),
            ..Settings::default()
        };
        let both = base.overlaid(&over);
        assert_eq!(both.flags[&FlagName::new("enforce-eager")], FlagValue::Off);
        assert_eq!(both.flags[&FlagName::new("max-model-len")], FlagValue::Value("2048".into()));
        assert_eq!(both.env["X"], None);
        assert_eq!(both.image.as_deref(), Some("a"));
    }

    #[test]
    fn what_is_set_to_the_engines_default_is_no_setting_of_its_own() {
        let of = |flags: &[(&str, &str)]| {
            let flags = flags.iter().map(|(name, value)| (FlagName::new(name), FlagValue::from_text(value))).collect();
            Settings { flags, ..Settings::default() }.count()
        };
        assert_eq!(
            of(&[("enable-prefix-caching", "on"), ("enable-chunked-prefill", "on"), ("kv-cache-dtype", "auto")]),
            0
        );
        assert_eq!(of(&[("enable-prefix-caching", "off"), ("max-num-seqs", "16"), ("dtype", "default")]), 2);
    }

    #[test]
    fn a_key_is_sixteen_hexadecimal_digits_of_the_content() {
        // First 8 bytes of SHA-256("abc"), FIPS 180-2 appendix B.1.
        assert_eq!(ConfigKey::of(b"abc").0, "ba7816bf8f01cfea");
    }
}

//! What a suite asks of each scenario: typed parameters with documented defaults, as the grid writes them.

use serde::{Deserialize, Serialize};

use super::{CanarySpec, Key, LoadSpec, ReasoningSpec, ScenarioKind, ToolCallingSpec, keyed};

mod over_time;

pub use over_time::{ConversationSpec, Language, LongContextSpec, StabilitySpec};

/// A benchmark suite: scenarios in the order in which they run, all on one start of the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suite {
    /// `quick`, `full`, or the user's own name.
    pub name: String,
    /// Seed of everything random in the suite: prompts, arrivals.
    pub seed: u64,
    /// The scenarios.
    pub scenarios: Vec<ScenarioSpec>,
}

/// One scenario with its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "scenario", rename_all = "snake_case")]
pub enum ScenarioSpec {
    /// See [`ScenarioKind::Smoke`].
    Smoke(SmokeSpec),
    /// See [`ScenarioKind::KvCache`].
    KvCache(KvCacheSpec),
    /// See [`ScenarioKind::Load`].
    Load(LoadSpec),
    /// See [`ScenarioKind::Conversation`].
    Conversation(ConversationSpec),
    /// See [`ScenarioKind::Stability`].
    Stability(StabilitySpec),
    /// See [`ScenarioKind::LongContext`].
    LongContext(LongContextSpec),
    /// See [`ScenarioKind::Profile`].
    Profile(ProfileSpec),
    /// See [`ScenarioKind::ToolCalling`].
    ToolCalling(ToolCallingSpec),
    /// See [`ScenarioKind::Reasoning`].
    Reasoning(ReasoningSpec),
    /// See [`ScenarioKind::Canary`].
    Canary(CanarySpec),
}

impl ScenarioSpec {
    /// A scenario at its default parameters.
    #[must_use]
    pub fn of(kind: ScenarioKind) -> Self {
        match kind {
            ScenarioKind::Smoke => Self::Smoke(SmokeSpec::default()),
            ScenarioKind::KvCache => Self::KvCache(KvCacheSpec::default()),
            ScenarioKind::Load => Self::Load(LoadSpec::default()),
            ScenarioKind::Conversation => Self::Conversation(ConversationSpec::default()),
            ScenarioKind::Stability => Self::Stability(StabilitySpec::default()),
            ScenarioKind::LongContext => Self::LongContext(LongContextSpec::default()),
            ScenarioKind::Profile => Self::Profile(ProfileSpec::default()),
            ScenarioKind::ToolCalling => Self::ToolCalling(ToolCallingSpec::default()),
            ScenarioKind::Reasoning => Self::Reasoning(ReasoningSpec::default()),
            ScenarioKind::Canary => Self::Canary(CanarySpec::default()),
        }
    }

    /// Which scenario it is.
    #[must_use]
    pub const fn kind(&self) -> ScenarioKind {
        match self {
            Self::Smoke(_) => ScenarioKind::Smoke,
            Self::KvCache(_) => ScenarioKind::KvCache,
            Self::Load(_) => ScenarioKind::Load,
            Self::Conversation(_) => ScenarioKind::Conversation,
            Self::Stability(_) => ScenarioKind::Stability,
            Self::LongContext(_) => ScenarioKind::LongContext,
            Self::Profile(_) => ScenarioKind::Profile,
            Self::ToolCalling(_) => ScenarioKind::ToolCalling,
            Self::Reasoning(_) => ScenarioKind::Reasoning,
            Self::Canary(_) => ScenarioKind::Canary,
        }
    }

    /// The parameters of a scenario.
    #[must_use]
    pub const fn keys(kind: ScenarioKind) -> &'static [Key] {
        match kind {
            ScenarioKind::Smoke => SmokeSpec::KEYS,
            ScenarioKind::KvCache => KvCacheSpec::KEYS,
            ScenarioKind::Load => LoadSpec::KEYS,
            ScenarioKind::Conversation => ConversationSpec::KEYS,
            ScenarioKind::Stability => StabilitySpec::KEYS,
            ScenarioKind::LongContext => LongContextSpec::KEYS,
            ScenarioKind::Profile => ProfileSpec::KEYS,
            ScenarioKind::ToolCalling => ToolCallingSpec::KEYS,
            ScenarioKind::Reasoning => ReasoningSpec::KEYS,
            ScenarioKind::Canary => CanarySpec::KEYS,
        }
    }

    /// What a user would write under each key; `None` is left out.
    #[cfg(test)]
    #[must_use]
    pub fn written(&self) -> Vec<Option<String>> {
        match self {
            Self::Smoke(spec) => spec.written(),
            Self::KvCache(spec) => spec.written(),
            Self::Load(spec) => spec.written(),
            Self::Conversation(spec) => spec.written(),
            Self::Stability(spec) => spec.written(),
            Self::LongContext(spec) => spec.written(),
            Self::Profile(spec) => spec.written(),
            Self::ToolCalling(spec) => spec.written(),
            Self::Reasoning(spec) => spec.written(),
            Self::Canary(spec) => spec.written(),
        }
    }

    /// The data file that it names, as written; none where it uses the data that ship with vgrid, or none at all.
    #[must_use]
    pub fn data_file(&self) -> Option<&str> {
        match self {
            Self::Smoke(_)
            | Self::KvCache(_)
            | Self::Load(_)
            | Self::Conversation(_)
            | Self::Stability(_)
            | Self::LongContext(_)
            | Self::Profile(_) => None,
            Self::ToolCalling(spec) => spec.data.as_deref(),
            Self::Reasoning(spec) => spec.data.as_deref(),
            Self::Canary(spec) => spec.data.as_deref(),
        }
    }
}

keyed! {
    /// Parameters of the smoke scenario.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct SmokeSpec {
        /// Length of the long prompt that must also be answered: longer than one cache block.
        #[key(unit = "tokens")]
        pub long_prompt_tokens: u32 = 600,
        /// Limit of each answer.
        #[key(unit = "tokens")]
        pub output_tokens: u32 = 16,
        /// Whether as many requests of nearly full length are sent at once as the KV cache holds, before anything is measured: a config that
        /// starts and does not fit fails here. Takes as long as filling the cache. `false` says that you
        /// know, and no lint warns.
        #[key(absent = "not checked")]
        #[serde(skip_serializing_if = "Option::is_none")]
        pub fit: Option<bool> = None,
    }
}

keyed! {
    /// Parameters of the kv-cache scenario.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct KvCacheSpec {
        /// Lengths of the prefix; the largest is the headline.
        #[key(unit = "tokens")]
        pub prefix_tokens: Vec<u32> = vec![1_024, 8_192],
        /// Pairs of miss and hit at each length; a p90 needs 10, a p95 20, a p99 100.
        pub repeats: u32 = 5,
        /// Limit of each answer.
        #[key(unit = "tokens")]
        pub output_tokens: u32 = 16,
    }
}

keyed! {
    /// Parameters of the profile scenario: an idle window, then a busy one.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct ProfileSpec {
        /// Length of the window in which nobody asks.
        #[key(unit = "seconds")]
        pub idle_s: u32 = 10,
        /// Length of the window in which the users ask without a pause.
        #[key(unit = "seconds")]
        pub busy_s: u32 = 30,
        /// Users at once in the busy window.
        #[key(unit = "users")]
        pub concurrency: u32 = 8,
        /// Length of each prompt, the nonce included.
        #[key(unit = "tokens")]
        pub prompt_tokens: u32 = 512,
        /// Length of each answer; `ignore_eos` makes the engine use it up.
        #[key(unit = "tokens")]
        pub output_tokens: u32 = 128,
        /// Below this mean share of use while busy a GPU is said to wait for something else, and the result is suspect.
        #[key(most = 1.0)]
        pub min_utilization_ratio: f64 = 0.5,
    }
}

impl Suite {
    /// Minutes: smoke with the fit check, canary, a short tool-calling, kv-cache and load at two points.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            name: "quick".to_owned(),
            seed: 0,
            scenarios: vec![
                ScenarioSpec::Smoke(SmokeSpec { fit: Some(true), ..SmokeSpec::default() }),
                ScenarioSpec::Canary(CanarySpec::default()),
                ScenarioSpec::ToolCalling(ToolCallingSpec { cases_per_category: Some(2), ..Default::default() }),
                ScenarioSpec::KvCache(KvCacheSpec { prefix_tokens: vec![1_024], ..KvCacheSpec::default() }),
                ScenarioSpec::Load(LoadSpec::default()),
            ],
        }
    }

    /// Everything that vgrid can measure, at its default sizes.
    #[must_use]
    pub fn full() -> Self {
        Self {
            name: "full".to_owned(),
            seed: 0,
            scenarios: vec![
                ScenarioSpec::Smoke(SmokeSpec { fit: Some(true), ..SmokeSpec::default() }),
                ScenarioSpec::Canary(CanarySpec::default()),
                ScenarioSpec::ToolCalling(ToolCallingSpec::default()),
                ScenarioSpec::Reasoning(ReasoningSpec::default()),
                ScenarioSpec::KvCache(KvCacheSpec { prefix_tokens: vec![1_024, 8_192, 32_768], ..Default::default() }),
                ScenarioSpec::Load(LoadSpec {
                    concurrency: vec![1, 2, 4, 8, 16, 32],
                    turns_per_user: Some(4),
                    rate_shares: vec![0.5, 0.7, 0.9],
                    ..LoadSpec::default()
                }),
                ScenarioSpec::Conversation(ConversationSpec::default()),
                ScenarioSpec::Stability(StabilitySpec::default()),
                ScenarioSpec::LongContext(LongContextSpec::default()),
                ScenarioSpec::Profile(ProfileSpec::default()),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_load_has_closed_loops_conversations_and_open_loops() {
        let full = Suite::full();
        let load = full.scenarios.iter().find(|spec| spec.kind() == ScenarioKind::Load);
        let Some(ScenarioSpec::Load(load)) = load else { panic!("no load in {full:?}") };
        assert_eq!(load.concurrency, [1, 2, 4, 8, 16, 32]);
        assert!(load.turns_per_user.is_some() && !load.rate_shares.is_empty() && load.fault().is_none());
    }

    #[test]
    fn a_suite_round_trips_through_json_and_unknown_parameters_are_errors() {
        let json = serde_json::to_string(&Suite::full()).unwrap();
        assert_eq!(serde_json::from_str::<Suite>(&json).unwrap(), Suite::full());
        assert!(serde_json::from_str::<LoadSpec>(r#"{"concurency": [1]}"#).is_err());
    }
}

//! What a suite asks of each scenario: typed parameters with documented defaults, as the grid writes them.

use serde::{Deserialize, Serialize};

use super::{CanarySpec, LoadSpec, ReasoningSpec, ScenarioKind, ToolCallingSpec};

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

/// Parameters of the smoke scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmokeSpec {
    /// Tokens of the long prompt that must also be answered: longer than one cache block.
    pub long_prompt_tokens: u32,
    /// Token limit of each answer.
    pub output_tokens: u32,
    /// Whether as many requests of nearly full length are sent at once as the KV cache holds. On in the suites quick and full; it
    /// takes as long as filling the cache.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fit: bool,
}

impl Default for SmokeSpec {
    fn default() -> Self {
        Self { long_prompt_tokens: 600, output_tokens: 16, fit: false }
    }
}

/// Parameters of the kv-cache scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KvCacheSpec {
    /// Lengths of the prefix, tokens; the largest is the headline.
    pub prefix_tokens: Vec<u32>,
    /// Pairs of miss and hit at each length.
    pub repeats: u32,
    /// Token limit of each answer.
    pub output_tokens: u32,
}

impl Default for KvCacheSpec {
    fn default() -> Self {
        Self { prefix_tokens: vec![1_024, 8_192], repeats: 5, output_tokens: 16 }
    }
}

/// Parameters of the profile scenario: an idle window, then a busy one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileSpec {
    /// Length of the window in which nobody asks, s.
    pub idle_s: u32,
    /// Length of the window in which the users ask without a pause, s.
    pub busy_s: u32,
    /// Users at once in the busy window.
    pub concurrency: u32,
    /// Tokens of each prompt, the nonce included.
    pub prompt_tokens: u32,
    /// Token limit of each answer; `ignore_eos` makes the engine use it up.
    pub output_tokens: u32,
    /// Below this mean share of use while busy a GPU is said to wait for something else, 0 to 1.
    pub min_utilization_ratio: f64,
}

impl Default for ProfileSpec {
    fn default() -> Self {
        Self {
            idle_s: 10,
            busy_s: 30,
            concurrency: 8,
            prompt_tokens: 512,
            output_tokens: 128,
            min_utilization_ratio: 0.5,
        }
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
                ScenarioSpec::Smoke(SmokeSpec { fit: true, ..SmokeSpec::default() }),
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
                ScenarioSpec::Smoke(SmokeSpec { fit: true, ..SmokeSpec::default() }),
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

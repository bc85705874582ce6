//! Parameters of the scenarios about time: turns of a conversation, cycles of the same requests, ever longer prompts.

use serde::{Deserialize, Serialize};

use crate::domain::text_enum::text_enum;

text_enum! {
    /// A language that vgrid has texts in.
    pub enum Language {
        /// English.
        En = "en",
        /// French.
        Fr = "fr",
    }
}

/// Parameters of the conversation scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConversationSpec {
    /// Turns of one conversation, each with all turns before it as history.
    pub turns: u32,
    /// Conversations with the same turns, one after the other, each new to the prefix cache.
    pub iterations: u32,
    /// Tokens that each user turn adds to the prompt, the chat template's around it included; at least what its question takes, about 40.
    pub user_tokens: u32,
    /// Length of each answer, and about that of each reply in the history.
    pub output_tokens: u32,
    /// Languages, taken in turn by the turns.
    pub languages: Vec<Language>,
}

impl Default for ConversationSpec {
    fn default() -> Self {
        Self {
            turns: 15,
            iterations: 3,
            user_tokens: 150,
            output_tokens: 150,
            languages: vec![Language::En, Language::Fr],
        }
    }
}

/// Parameters of the stability scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StabilitySpec {
    /// How often the same requests are sent; with `minutes` the least number of times.
    pub cycles: u32,
    /// Go on with new cycles until so many minutes have passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes: Option<f64>,
    /// Tokens of each prompt.
    pub prompt_tokens: u32,
    /// The requests of a cycle, by the length of their answers.
    pub output_tokens: Vec<u32>,
}

impl Default for StabilitySpec {
    fn default() -> Self {
        Self { cycles: 5, minutes: None, prompt_tokens: 256, output_tokens: vec![100, 800, 50, 900] }
    }
}

/// Parameters of the long-context scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LongContextSpec {
    /// Lengths of the prompts; without them: `first_tokens`, doubled as long as it fits, and the longest that fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<Vec<u32>>,
    /// The shortest length when `prompt_tokens` does not name any.
    pub first_tokens: u32,
    /// Prompts at each length.
    pub repeats: u32,
    /// Length of each answer, also of the survival request's.
    pub output_tokens: u32,
    /// Tokens of the small request that follows each long one.
    pub survival_tokens: u32,
}

impl Default for LongContextSpec {
    fn default() -> Self {
        Self { prompt_tokens: None, first_tokens: 16_384, repeats: 3, output_tokens: 32, survival_tokens: 64 }
    }
}

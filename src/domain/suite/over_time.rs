//! Parameters of the scenarios about time: turns of a conversation, cycles of the same requests, ever longer prompts.

use serde::{Deserialize, Serialize};

use crate::domain::{keyed, text_enum};

text_enum! {
    /// A language that vgrid has texts in.
    pub enum Language {
        /// English.
        En = "en",
        /// French.
        Fr = "fr",
    }
}

keyed! {
    /// Parameters of the conversation scenario.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct ConversationSpec {
        /// Turns of one conversation, each with all turns before it as history.
        pub turns: u32 = 15,
        /// The same conversation so often, one after the other, each time new to the prefix cache.
        pub iterations: u32 = 3,
        /// What each user turn adds to the prompt, the chat template's around it included; at least what its question takes, about 40.
        #[key(unit = "tokens")]
        pub user_tokens: u32 = 150,
        /// Length of each answer, and about that of each reply in the history.
        #[key(unit = "tokens")]
        pub output_tokens: u32 = 150,
        /// Languages, taken in turn by the turns.
        pub languages: Vec<Language> = vec![Language::En, Language::Fr],
    }
}

keyed! {
    /// Parameters of the stability scenario.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct StabilitySpec {
        /// How often the same requests are sent; with `minutes` the least number of times.
        pub cycles: u32 = 5,
        /// Go on with new cycles until so many minutes have passed.
        #[key(unit = "minutes")]
        #[serde(skip_serializing_if = "Option::is_none")]
        pub minutes: Option<f64> = None,
        /// Length of each prompt.
        #[key(unit = "tokens")]
        pub prompt_tokens: u32 = 256,
        /// The requests of a cycle, by the length of their answers.
        #[key(unit = "tokens")]
        pub output_tokens: Vec<u32> = vec![100, 800, 50, 900],
    }
}

keyed! {
    /// Parameters of the long-context scenario.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct LongContextSpec {
        /// Lengths of the prompts; without them `first_tokens`, doubled as long as it fits, and the longest that fits.
        #[key(unit = "tokens")]
        #[serde(skip_serializing_if = "Option::is_none")]
        pub prompt_tokens: Option<Vec<u32>> = None,
        /// The shortest length when `prompt_tokens` names none.
        #[key(unit = "tokens")]
        pub first_tokens: u32 = 16_384,
        /// Prompts at each length.
        pub repeats: u32 = 3,
        /// Length of each answer, also of the survival request's.
        #[key(unit = "tokens")]
        pub output_tokens: u32 = 32,
        /// Length of the small prompt that follows each long one.
        #[key(unit = "tokens")]
        pub survival_tokens: u32 = 64,
    }
}

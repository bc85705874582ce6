//! The scenarios that judge answers: their parameters, and what becomes of a case.

use serde::{Deserialize, Serialize};

use super::{Kind, keyed, text_enum};

text_enum! {
    /// Whether the model thinks before it answers, where its chat template leaves the choice (`enable_thinking`).
    pub enum Thinking {
        /// Nothing is sent: the template's own default.
        Default = "default",
        /// `chat_template_kwargs: {enable_thinking: true}`.
        On = "on",
        /// `chat_template_kwargs: {enable_thinking: false}`.
        Off = "off",
    }
}

keyed! {
    /// Parameters of the tool-calling scenario.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct ToolCallingSpec {
        /// A file with cases of your own ([data.md](data.md)); starts at the folder of the file that names it.
        #[key(kind = Kind::Shape("path"), absent = "the shipped ones")]
        #[serde(skip_serializing_if = "Option::is_none")]
        pub data: Option<String> = None,
        /// At most so many cases of each category, languages in turn.
        #[key(absent = "all")]
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cases_per_category: Option<u32> = None,
        /// How often each case is asked, streamed and whole each time.
        pub repeats: u32 = 1,
        /// Limit of each answer, thinking included.
        #[key(unit = "tokens")]
        pub output_tokens: u32 = 1_024,
        /// Whether the model thinks: `chat_template_kwargs.enable_thinking`; `default` sends nothing.
        pub thinking: Thinking = Thinking::Default,
    }
}

keyed! {
    /// Parameters of the reasoning scenario.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct ReasoningSpec {
        /// A file with tasks of your own; starts at the folder of the file that names it.
        #[key(kind = Kind::Shape("path"), absent = "the shipped ones")]
        #[serde(skip_serializing_if = "Option::is_none")]
        pub data: Option<String> = None,
        /// At most so many tasks, languages in turn.
        #[key(absent = "all")]
        #[serde(skip_serializing_if = "Option::is_none")]
        pub limit: Option<u32> = None,
        /// How often each task is asked.
        pub repeats: u32 = 1,
        /// Limit of each answer, thinking included.
        #[key(unit = "tokens")]
        pub output_tokens: u32 = 4_096,
        /// Whether the model thinks: `chat_template_kwargs.enable_thinking`; `default` sends nothing.
        pub thinking: Thinking = Thinking::Default,
    }
}

keyed! {
    /// Parameters of the canary scenario.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct CanarySpec {
        /// A file with canaries of your own; starts at the folder of the file that names it.
        #[key(kind = Kind::Shape("path"), absent = "the shipped ones")]
        #[serde(skip_serializing_if = "Option::is_none")]
        pub data: Option<String> = None,
        /// At most so many canaries, languages in turn.
        #[key(absent = "all")]
        #[serde(skip_serializing_if = "Option::is_none")]
        pub limit: Option<u32> = None,
        /// How often each is asked; from 2 on it is also seen whether the same prompt gives the same answer.
        pub repeats: u32 = 2,
        /// Limit of each answer.
        #[key(unit = "tokens")]
        pub output_tokens: u32 = 192,
        /// Whether the model thinks: `chat_template_kwargs.enable_thinking`; `default` sends nothing.
        pub thinking: Thinking = Thinking::Off,
    }
}

text_enum! {
    /// How the answers of a case were sent.
    pub enum CaseDelivery {
        /// As an event stream.
        Streamed = "streamed",
        /// In one piece.
        Whole = "whole",
    }
}

text_enum! {
    /// What became of a case.
    pub enum CaseResult {
        /// Every answer came whole and was right.
        Passed = "passed",
        /// Every answer came whole and one was wrong.
        Wrong = "wrong",
        /// An answer was cut by its token limit.
        Truncated = "truncated",
        /// A request failed: there is no answer to judge.
        Failed = "failed",
    }
}

/// What became of one case, one time, in one way of delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseOutcome {
    /// The case's id in its data file.
    pub case_id: String,
    /// Its category (of canaries: `canary`).
    pub category: String,
    /// Its language, two letters.
    pub language: String,
    /// Which time it was asked, from 1.
    pub repeat: u32,
    /// How the answers were sent.
    pub delivery: CaseDelivery,
    /// What became of it.
    pub result: CaseResult,
    /// What was expected, one line, at most 240 characters.
    pub expected: String,
    /// What came instead, or why it was not right; what was answered where it was. One line, at most 240 characters, secrets redacted.
    pub got: String,
    /// `index` of the last request that was sent for it.
    pub request_index: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_by_name_and_unknown_ones_are_errors() {
        let spec: ToolCallingSpec = serde_json::from_str(r#"{"thinking": "off", "data": "x.json"}"#).unwrap();
        assert_eq!((spec.thinking, spec.data.as_deref(), spec.repeats), (Thinking::Off, Some("x.json"), 1));
        assert!(serde_json::from_str::<ReasoningSpec>(r#"{"thinking": true}"#).is_err());
        assert!(serde_json::from_str::<CanarySpec>(r#"{"cases": 1}"#).is_err());
        let json = serde_json::to_string(&CanarySpec::default()).unwrap();
        assert!(!json.contains("data") && !json.contains("limit"), "what is absent does not change a key: {json}");
    }
}

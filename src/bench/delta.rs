//! One event of a chat-completion stream, parsed as far as a benchmark needs and without copying text.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Borrows from the event wherever the JSON string has no escapes. (`Option<Cow<str>>` alone never borrows in serde.)
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// A streamed chunk or, with `message` in place of `delta`, a whole answer.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(default)]
    pub(super) usage: Option<Usage>,
    /// OpenAI's and vLLM's error envelope.
    #[serde(default)]
    error: Option<IgnoredAny>,
    /// `"error"` in the flat envelope of older vLLM versions.
    #[serde(borrow, default)]
    object: Option<Text<'a>>,
}

impl<'a> Chunk<'a> {
    /// Whether the event says that the server failed.
    pub(super) fn is_error(&self) -> bool {
        self.error.is_some() || self.object.as_ref().is_some_and(|o| o.0 == "error")
    }

    /// The first choice: one is all that a benchmark asks for.
    pub(super) fn choice(&self) -> Option<&Choice<'a>> {
        self.choices.as_ref()?.first()
    }

    /// Whether the event belongs to the protocol at all: a JSON object without any of its members does not.
    pub(super) fn is_of_the_protocol(&self) -> bool {
        self.choices.is_some() || self.usage.is_some() || self.object.is_some()
    }
}

/// One choice. vLLM sends `reasoning_content` up to 0.10 and `reasoning` after it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(borrow, default, alias = "message")]
    pub(super) delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    pub(super) finish_reason: Option<Text<'a>>,
}

/// What one chunk adds to the answer.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow, default)]
    pub(super) content: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) reasoning: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) reasoning_content: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) refusal: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) tool_calls: Option<Vec<ToolCallDelta<'a>>>,
}

fn filled<'d>(text: Option<&'d Text<'_>>) -> Option<&'d str> {
    text.map(|t| t.0.as_ref()).filter(|t| !t.is_empty())
}

impl Delta<'_> {
    /// Non-empty content.
    pub(super) fn content(&self) -> Option<&str> {
        filled(self.content.as_ref())
    }

    /// Non-empty reasoning, under either of its names (some versions send both with the same text).
    pub(super) fn reasoning(&self) -> Option<&str> {
        filled(self.reasoning.as_ref()).or_else(|| filled(self.reasoning_content.as_ref()))
    }

    /// A non-empty refusal.
    pub(super) fn refusal(&self) -> Option<&str> {
        filled(self.refusal.as_ref())
    }

    /// Whether a tool call began or went on.
    pub(super) fn has_tool_call(&self) -> bool {
        self.tool_calls.as_ref().is_some_and(|calls| {
            calls.iter().any(|c| {
                filled(c.id.as_ref()).is_some()
                    || c.function
                        .as_ref()
                        .is_some_and(|f| filled(f.name.as_ref()).is_some() || filled(f.arguments.as_ref()).is_some())
            })
        })
    }
}

/// A piece of a tool call.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ToolCallDelta<'a> {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(borrow, default)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) function: Option<FunctionDelta<'a>>,
}

/// A piece of a tool call's name and arguments.
#[derive(Debug, Default, Deserialize)]
pub(super) struct FunctionDelta<'a> {
    #[serde(borrow, default)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) arguments: Option<Text<'a>>,
}

/// The server's own count of tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Usage {
    #[serde(default)]
    pub(super) prompt_tokens: Option<u32>,
    #[serde(default)]
    pub(super) completion_tokens: Option<u32>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
}

impl Usage {
    /// `prompt_tokens_details.cached_tokens`; vLLM sends it only with `--enable-prompt-tokens-details`.
    pub(super) fn cached_tokens(&self) -> Option<u32> {
        self.prompt_tokens_details?.cached_tokens
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_borrowed_and_escaped_text_is_unescaped() {
        let json = r#"{"choices":[{"delta":{"content":"plain","reasoning":"a\nb"}}]}"#;
        let chunk: Chunk<'_> = serde_json::from_str(json).unwrap();
        let delta = chunk.choice().unwrap().delta.as_ref().unwrap();
        assert!(matches!(delta.content.as_ref().unwrap().0, Cow::Borrowed("plain")));
        assert_eq!(delta.reasoning(), Some("a\nb"));
    }

    #[test]
    fn empty_strings_and_nulls_carry_nothing() {
        let json = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":null,
            "tool_calls":[]},"logprobs":null,"finish_reason":null}],"usage":null}"#;
        let chunk: Chunk<'_> = serde_json::from_str(json).unwrap();
        let delta = chunk.choice().unwrap().delta.as_ref().unwrap();
        assert!(delta.content().is_none() && delta.reasoning().is_none() && !delta.has_tool_call());
        assert!(chunk.usage.is_none() && !chunk.is_error());
    }

    #[test]
    fn both_error_envelopes_are_errors_and_a_null_error_is_none() {
        for json in [r#"{"error":{"message":"boom","code":500}}"#, r#"{"object":"error","message":"boom"}"#] {
            assert!(serde_json::from_str::<Chunk<'_>>(json).unwrap().is_error(), "{json}");
        }
        assert!(!serde_json::from_str::<Chunk<'_>>(r#"{"error":null,"choices":[]}"#).unwrap().is_error());
    }

    #[test]
    fn usage_keeps_cached_tokens_apart_from_not_said() {
        let said: Usage = serde_json::from_str(
            r#"{"prompt_tokens":9,"total_tokens":11,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":0}}"#,
        )
        .unwrap();
        assert_eq!(said.cached_tokens(), Some(0));
        let silent: Usage = serde_json::from_str(r#"{"prompt_tokens":9,"prompt_tokens_details":null}"#).unwrap();
        assert_eq!((silent.cached_tokens(), silent.completion_tokens), (None, None));
    }
}

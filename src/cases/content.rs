//! The final text of an answer: reasoning taken out, markup of tool calls found.

use serde_json::Value as Json;

/// What of a content answers. A `<think>` block in it (a server without a reasoning parser) is taken out; one that is not closed
/// swallows the rest. A `</think>` without its beginning ends reasoning that the chat template began.
///
/// # Errors
/// Why there is no answer: nothing is left, or the reasoning never ended, whatever stands in it.
pub fn final_text(content: &str) -> Result<&str, &'static str> {
    let rest = content.rsplit_once("</think>").map_or(content, |(_, after)| after);
    match rest.trim() {
        _ if rest.contains("<think>") => Err("an unclosed <think> and no answer after it"),
        "" => Err("no text"),
        text => Ok(text),
    }
}

/// Marks of tool calls and chat templates of common model families. No answer to a person has one.
const MARKS: [&str; 17] = [
    "<tool_call>",
    "</tool_call>",
    "<tool_calls>",
    "<function=",
    "</function>",
    "<function_call>",
    "<|python_tag|>",
    "[TOOL_CALLS]",
    "<|tool_call|>",
    "<|tool_call_begin|>",
    "<|tool_calls_section_begin|>",
    "<｜tool▁calls▁begin｜>",
    "<minimax:tool_call>",
    "<|channel|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|eot_id|>",
];

/// The markup of a tool call or of a chat template that leaked into a content; also a bare call written as JSON.
#[must_use]
pub fn leaked_markup(content: &str) -> Option<&'static str> {
    if let Some(mark) = MARKS.iter().find(|mark| content.contains(**mark)) {
        return Some(mark);
    }
    let value: Json = serde_json::from_str(content.trim()).ok()?;
    let call = value.as_array().and_then(|items| items.first()).unwrap_or(&value);
    let is_call = call.get("name").is_some_and(Json::is_string)
        && (call.get("arguments").is_some() || call.get("parameters").is_some());
    is_call.then_some("a call as plain JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_in_the_content_is_no_answer_and_an_unclosed_one_swallows_the_rest() {
        for content in ["42", "<think>41?</think>\n\n42", "41? no.</think>42"] {
            assert_eq!(final_text(content), Ok("42"), "{content}");
        }
        for content in ["<think>Answer: 42", "<think>a</think>b<think>Answer: 42"] {
            assert!(final_text(content).unwrap_err().contains("unclosed"), "{content}");
        }
        for content in ["", " \n", "<think>42</think>"] {
            assert_eq!(final_text(content), Err("no text"), "{content}");
        }
    }

    #[test]
    fn markup_is_found_and_ordinary_text_is_not_markup() {
        assert_eq!(leaked_markup("<tool_call>\n{}"), Some("<tool_call>"));
        assert_eq!(leaked_markup("<|python_tag|>f()"), Some("<|python_tag|>"));
        assert_eq!(leaked_markup("[TOOL_CALLS][]"), Some("[TOOL_CALLS]"));
        assert!(leaked_markup(r#" {"name": "f", "parameters": {}}"#).is_some());
        assert!(leaked_markup(r#"[{"name": "f", "arguments": {}}]"#).is_some());
        for text in ["It is 5 < 6 and [1] is cited.", r#"{"name": "Ann"}"#, "", "a tool_call is a call"] {
            assert_eq!(leaked_markup(text), None, "{text}");
        }
    }
}

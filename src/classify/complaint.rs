//! Which flag a complaint of vLLM's or the command line's is about.

use std::borrow::Cow;

use super::view::LogView;
use crate::domain::{FlagName, known_flag};

/// Most words in a flag's name.
const MOST_WORDS: usize = 6;

/// `advice` with the flag that the message at line `at` complains about in the place of `{flag}`.
pub fn with_flag<'a>(advice: &'a str, view: &LogView<'_>, at: usize) -> Cow<'a, str> {
    if !advice.contains("{flag}") {
        return Cow::Borrowed(advice);
    }
    let flag = flag_in(view, at).unwrap_or_else(|| "the flag that the message names".to_owned());
    Cow::Owned(advice.replace("{flag}", &flag))
}

/// The flag that the message at line `at` complains about, as it is written on a command line.
fn flag_in(view: &LogView<'_>, at: usize) -> Option<String> {
    let body = view.lines.get(at)?.body();
    // Behind the complaint stands what was given: other people's text.
    let message = body.split(" [type=").next().unwrap_or(body);
    // Pydantic names the field on a line of its own, above.
    let field = at.checked_sub(1).filter(|_| body.starts_with("  ")).map(|i| view.lines[i].body());
    let field =
        field.map(FlagName::new).filter(|name| known_flag(name.as_str()).is_some()).map(|name| format!("--{name}"));
    written(message).or(field).or_else(|| spelled_out(message))
}

/// The first `--flag` in `text`.
fn written(text: &str) -> Option<String> {
    let starts = text.match_indices("--").map(|(at, _)| at);
    let mut flags = starts.filter(|at| *at == 0 || text[..*at].ends_with([' ', '\'', '"', '`', '(', '/'])).map(|at| {
        let name = text[at + 2..].split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').next();
        name.unwrap_or_default()
    });
    flags.find(|name| name.starts_with(|c: char| c.is_ascii_alphabetic())).map(|name| format!("--{name}"))
}

/// The first flag that `text` names in words (`max_model_len`, `tensor parallel size`). One word alone may mean anything.
fn spelled_out(text: &str) -> Option<String> {
    let words: Vec<String> =
        text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_lowercase).collect();
    (0..words.len()).find_map(|from| {
        let longest_first = (2..=MOST_WORDS.min(words.len() - from)).rev();
        let mut names = longest_first.map(|n| FlagName::new(&words[from..from + n].join("-")));
        names.find(|name| known_flag(name.as_str()).is_some()).map(|name| format!("--{name}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_of_a_complaint_is_found_as_flag_as_field_and_in_words() {
        let cases = [
            ("vllm: error: unrecognized arguments: --frob 1 --other", "--frob"),
            ("vllm serve: error: argument --max-model-len: invalid value: 'banana'", "--max-model-len"),
            ("vllm serve: error: argument -tp/--tensor-parallel-size: invalid int value", "--tensor-parallel-size"),
            (
                "gpu_memory_utilization\n  Input should be less than or equal to 1 [type=x, input_value=1.5]",
                "--gpu-memory-utilization",
            ),
            (
                "1 validation error for X\n  Value error, max_num_batched_tokens (4) must be more [type=v, input_value='--x']",
                "--max-num-batched-tokens",
            ),
            (
                "ValueError: Total number of attention heads (28) must be divisible by tensor parallel size (8).",
                "--tensor-parallel-size",
            ),
            ("KeyError: 'invalid tool call parser: nope (chose from { hermes })'", "--tool-call-parser"),
            ("ValueError: LoRA rank 64 is greater than max_lora_rank 16.", "--max-lora-rank"),
            ("KeyError: 'something -- else'", "the flag that the message names"),
        ];
        for (text, flag) in cases {
            let view = LogView::new(text);
            assert_eq!(with_flag("correct {flag}", &view, view.lines.len() - 1), format!("correct {flag}"), "{text}");
        }
        let view = LogView::new("x");
        assert_eq!(with_flag("nothing to fill", &view, 0), "nothing to fill");
    }
}

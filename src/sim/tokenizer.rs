//! The simulated tokenizer: stateless, reversible, about four characters to a token.
//!
//! A token is one of: a special marker of the chat template; up to five letters, the first of which may be a space;
//! two or three digits; any other single character. Its number says what it holds, so that text -> tokens -> text needs
//! no table and every number fits in 32 bits.

/// Markers that are one token each, as in a ChatML vocabulary.
const SPECIAL: &[&str] =
    &["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>", "<|endoftext|>"];

/// First number of the letter pieces; below it a number is a Unicode scalar value.
const WORDS: u32 = 0x0011_0000;
/// A letter piece is a number in base 53: a space and 52 letters.
const BASE: u32 = 53;
/// Letters (and leading space) in one piece, at most.
const WORD_MAX: usize = 5;
/// First number of the digit pieces: one above the largest letter piece.
const DIGITS: u32 = WORDS + 2_809 + 148_877 + 7_890_481 + 418_195_493;
/// First number of the special markers.
const MARKERS: u32 = DIGITS + 100 + 1_000;

/// Size of the vocabulary: every token is below it.
#[cfg(test)]
pub(super) const VOCABULARY: u32 = MARKERS + 16;

/// The tokens of `text`.
pub(super) fn encode(text: &str) -> Vec<u32> {
    let mut tokens = Vec::with_capacity(text.len() / 3 + 1);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (token, length) = next_token(rest, first);
        tokens.push(token);
        rest = &rest[length..];
    }
    tokens
}

/// The text of `tokens`; numbers that no text has become U+FFFD.
pub(super) fn decode(tokens: &[u32]) -> String {
    let mut text = String::with_capacity(tokens.len() * 4);
    for token in tokens {
        decode_into(*token, &mut text);
    }
    text
}

/// Appends the text of one token.
pub(super) fn decode_into(token: u32, text: &mut String) {
    if token < WORDS {
        text.push(char::from_u32(token).unwrap_or(char::REPLACEMENT_CHARACTER));
    } else if token < DIGITS {
        word_text(token - WORDS, text);
    } else if token < MARKERS {
        let index = token - DIGITS;
        if index < 100 {
            text.push_str(&format!("{index:02}"));
        } else {
            text.push_str(&format!("{:03}", index - 100));
        }
    } else {
        let marker = usize::try_from(token - MARKERS).ok().and_then(|i| SPECIAL.get(i));
        text.push_str(marker.copied().unwrap_or("\u{fffd}"));
    }
}

/// The first token of `rest` and its length in bytes.
fn next_token(rest: &str, first: char) -> (u32, usize) {
    if first == '<'
        && let Some((i, marker)) = SPECIAL.iter().enumerate().find(|(_, m)| rest.starts_with(**m))
    {
        return (MARKERS + u32::try_from(i).unwrap_or(0), marker.len());
    }
    let bytes = rest.as_bytes();
    if first.is_ascii_digit() {
        let length = bytes.iter().take(3).take_while(|b| b.is_ascii_digit()).count();
        let value = bytes[..length].iter().fold(0, |v, b| v * 10 + u32::from(b - b'0'));
        return match length {
            2 => (DIGITS + value, 2),
            3 => (DIGITS + 100 + value, 3),
            _ => (u32::from(first), 1),
        };
    }
    let letters = bytes
        .iter()
        .take(WORD_MAX)
        .enumerate()
        .take_while(|(i, b)| b.is_ascii_alphabetic() || (*i == 0 && **b == b' '))
        .count();
    if letters < 2 {
        return (u32::from(first), first.len_utf8());
    }
    let value = bytes[..letters].iter().fold(0, |v, b| v * BASE + symbol(*b));
    (WORDS + first_of_length(letters) + value, letters)
}

/// Index of a letter or space in the piece alphabet.
fn symbol(byte: u8) -> u32 {
    match byte {
        b'a'..=b'z' => u32::from(byte - b'a') + 1,
        b'A'..=b'Z' => u32::from(byte - b'A') + 27,
        _ => 0,
    }
}

/// Offset of the first letter piece of this length (2 to 5) within the letter pieces.
fn first_of_length(length: usize) -> u32 {
    match length {
        2 => 0,
        3 => 2_809,
        4 => 2_809 + 148_877,
        _ => 2_809 + 148_877 + 7_890_481,
    }
}

fn word_text(index: u32, text: &mut String) {
    let length = (2..=WORD_MAX).rev().find(|n| index >= first_of_length(*n)).unwrap_or(2);
    let mut value = index - first_of_length(length);
    let mut letters = ['\0'; WORD_MAX];
    for slot in letters[..length].iter_mut().rev() {
        let digit = u8::try_from(value % BASE).unwrap_or(0);
        *slot = char::from(match digit {
            0 => b' ',
            1..=26 => b'a' + digit - 1,
            _ => b'A' + digit - 27,
        });
        value /= BASE;
    }
    text.extend(&letters[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_text_comes_back_from_its_tokens(text in "(\\PC|[ a-zA-Z0-9\\n]|<think>|<\\|im_end\\|>){0,60}") {
            let tokens = encode(&text);
            prop_assert_eq!(decode(&tokens), text);
            prop_assert!(tokens.iter().all(|t| *t < VOCABULARY));
        }

        #[test]
        fn cutting_the_tokens_cuts_the_text_at_the_same_place(text in "[ a-z0-9.,]{1,80}", cut in 0usize..80) {
            let tokens = encode(&text);
            let cut = cut.min(tokens.len());
            prop_assert!(text.starts_with(&decode(&tokens[..cut])));
        }
    }

    #[test]
    fn english_prose_has_about_four_characters_to_a_token() {
        let text = "The quick brown fox jumps over the lazy dog and then it sleeps under the old tree near the river.";
        let ratio = text.len() as f64 / encode(text).len() as f64;
        assert!((3.0..5.0).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_chat_marker_is_one_token() {
        assert_eq!(encode("<|im_start|>").len(), 1);
        assert_eq!(encode("<|im_start|>user\nhi<|im_end|>\n").len(), 6);
    }

    #[test]
    fn a_number_that_no_text_has_becomes_the_replacement_character() {
        assert_eq!(decode(&[u32::MAX, 0xD800]), "\u{fffd}\u{fffd}");
    }
}

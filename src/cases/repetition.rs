//! Degenerate text: the same words, letters or characters over and over.

use std::collections::HashSet;
use std::hash::Hash;

/// Words from which on repetition of word 4-grams is judged.
const LEAST_WORDS: usize = 20;

/// Share of repeated word 4-grams above which a text is degenerate. Prose has under 0.05, lists with one pattern up to 0.3.
const MOST_REPEATED_WORDS: f64 = 0.5;

/// Characters from which on repetition of character 4-grams is judged: texts without spaces have no words.
const LEAST_CHARACTERS: usize = 64;

/// Share of repeated character 4-grams above which a text is degenerate. Prose of 1,000 characters has about 0.4.
const MOST_REPEATED_CHARACTERS: f64 = 0.9;

/// One character this often in a row is degenerate, unless it draws a line.
const LONGEST_RUN: usize = 24;

/// Characters that draw lines and tables.
const LINES: &str = "-=_*#.~|+─━═ \n";

/// The repetition ratio: 1 - distinct n-grams / n-grams, for n = 4. `None` below four items.
#[must_use]
pub fn repetition_ratio<T: Eq + Hash>(items: &[T]) -> Option<f64> {
    let grams = items.windows(4);
    let all = grams.len();
    let distinct = grams.collect::<HashSet<_>>().len();
    (all > 0).then(|| 1.0 - distinct as f64 / all as f64)
}

/// The repetition ratio of a text's words, small letters; `None` below [`LEAST_WORDS`] words.
#[must_use]
pub fn word_repetition(text: &str) -> Option<f64> {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    repetition_ratio(&words).filter(|_| words.len() >= LEAST_WORDS)
}

/// In which way a text is degenerate, if it is.
#[must_use]
pub fn degenerate(text: &str) -> Option<String> {
    if let Some(ratio) = word_repetition(text).filter(|ratio| *ratio > MOST_REPEATED_WORDS) {
        return Some(format!("{:.0} % of its runs of four words are repetitions", ratio * 100.0));
    }
    // A text that was cut may end in half a character.
    if text.trim_end_matches(char::REPLACEMENT_CHARACTER).contains(char::REPLACEMENT_CHARACTER) {
        return Some("bytes that are no characters (U+FFFD)".to_owned());
    }
    let characters: Vec<char> = text.chars().collect();
    let ratio = repetition_ratio(&characters).filter(|_| characters.len() >= LEAST_CHARACTERS);
    if let Some(ratio) = ratio.filter(|ratio| *ratio > MOST_REPEATED_CHARACTERS) {
        return Some(format!("{:.0} % of its runs of four characters are repetitions", ratio * 100.0));
    }
    let mut run = (' ', 0_usize);
    for character in characters {
        run = if character == run.0 { (character, run.1 + 1) } else { (character, 1) };
        if run.1 >= LONGEST_RUN && !LINES.contains(character) {
            return Some(format!("`{character}` {LONGEST_RUN} times in a row"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_one_minus_distinct_over_all() {
        assert_eq!(repetition_ratio(&[1, 2, 3]), None);
        assert_eq!(repetition_ratio(&[1, 2, 3, 4, 5]), Some(0.0));
        // six 4-grams of aaaaaaaaa, one distinct
        assert_eq!(repetition_ratio(b"aaaaaaaaa"), Some(1.0 - 1.0 / 6.0));
        assert_eq!(word_repetition("one two three four five"), None);
    }

    #[test]
    fn degenerate_texts_are_found() {
        let cases = [
            "the ".repeat(30),
            "I am sure. ".repeat(12),
            "!".repeat(40),
            "lo".repeat(60),
            format!("Yes {}", "é".repeat(30)),
            "pat dirname\u{fffd} open".to_owned(),
        ];
        for text in cases {
            assert!(degenerate(&text).is_some(), "{text}");
        }
    }

    #[test]
    fn prose_lists_tables_and_code_are_not_degenerate() {
        let cases = [
            "42",
            "cut in the middle of a charact\u{fffd}",
            "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday",
            "| a | b |\n| ---------------------------------------- | --- |\n| 1 | 2 |",
            "Une abeille butine les fleurs et aspire le nectar avec sa trompe. Elle le garde dans son jabot, où des enzymes \
             commencent à le changer. À la ruche, elle le donne à d'autres abeilles, qui le font passer de l'une à l'autre et le \
             déposent dans les alvéoles. Là, l'eau s'évapore sous le battement des ailes, et le miel est fermé par un peu de cire.",
            "for (int i = 0; i < 10; i++) { for (int j = 0; j < 10; j++) { sum += a[i][j]; } } return sum;",
            "step one is done and then step two is done and then it all begins again",
        ];
        for text in cases {
            assert_eq!(degenerate(text), None, "{text}");
        }
    }
}

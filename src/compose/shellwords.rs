//! String commands split into words as Compose splits them (the rules of Go's shellwords, not POSIX).

/// A split command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// The words.
    pub words: Vec<String>,
    /// The character that ended the command early (`;`, `&`, `|`, `<`, `>`) and what was cut, that character included.
    pub cut: Option<String>,
}

/// Why a command cannot be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SplitError {
    /// A quote or backquote that never closes, or a backslash at the end.
    Unclosed,
    /// A parenthesis outside of quotes.
    Parenthesis,
}

#[derive(Default)]
struct Splitter {
    words: Vec<String>,
    word: String,
    /// Whether the current word exists; an empty quoted word does.
    started: bool,
    escaped: bool,
    single: bool,
    double: bool,
    backquote: bool,
    dollar: bool,
}

impl Splitter {
    fn quoted(&self) -> bool {
        self.single || self.double || self.backquote || self.dollar
    }

    fn push(&mut self, c: char) {
        self.started = true;
        self.word.push(c);
    }

    fn end_word(&mut self) {
        if self.started {
            self.words.push(std::mem::take(&mut self.word));
            self.started = false;
        }
    }

    /// Takes one character; false ends the command.
    fn take(&mut self, c: char) -> Result<bool, SplitError> {
        if self.escaped {
            self.escaped = false;
            self.push(c);
            return Ok(true);
        }
        match c {
            '\\' if !self.single => self.escaped = true,
            '\\' => self.word.push(c),
            ' ' | '\t' | '\r' | '\n' if self.quoted() => self.word.push(c),
            ' ' | '\t' | '\r' | '\n' => self.end_word(),
            '`' => {
                if !self.single && !self.double && !self.dollar {
                    self.backquote = !self.backquote;
                }
                self.push(c);
            }
            ')' => {
                if !self.single && !self.double && !self.backquote {
                    self.dollar = !self.dollar;
                }
                self.push(c);
            }
            '(' if !self.single && !self.double && !self.backquote => {
                if self.dollar || !self.word.ends_with('$') {
                    return Err(SplitError::Parenthesis);
                }
                self.dollar = true;
                self.word.push(c);
            }
            '"' if !self.single && !self.dollar => {
                self.started |= self.double;
                self.double = !self.double;
            }
            '\'' if !self.double && !self.dollar => {
                self.started |= self.single;
                self.single = !self.single;
            }
            ';' | '&' | '|' | '<' | '>' if !self.quoted() => {
                if c == '>' && self.word.starts_with(|d: char| d.is_ascii_digit()) {
                    self.started = false;
                }
                return Ok(false);
            }
            _ => self.push(c),
        }
        Ok(true)
    }
}

/// Splits `line`.
pub(super) fn split(line: &str) -> Result<Words, SplitError> {
    let mut state = Splitter::default();
    let mut cut = None;
    for (at, c) in line.char_indices() {
        if !state.take(c)? {
            cut = Some(line[at..].to_owned());
            break;
        }
    }
    state.end_word();
    if state.escaped || state.quoted() {
        return Err(SplitError::Unclosed);
    }
    Ok(Words { words: state.words, cut })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line).unwrap_or_else(|e| panic!("{line}: {e:?}")).words
    }

    #[test]
    fn words_are_split_as_go_shellwords_does() {
        for (line, expected) in [
            ("a  b\tc\n d", vec!["a", "b", "c", "d"]),
            ("", vec![]),
            ("''", vec![""]),
            ("a '' b", vec!["a", "", "b"]),
            (r#"--x '{"a": "b c"}'"#, vec!["--x", r#"{"a": "b c"}"#]),
            (r#""a\nb" c"#, vec!["anb", "c"]),
            (r#"'a\b'"#, vec![r"a\b"]),
            ("a \\\n b", vec!["a", "\n", "b"]),
            ("a \\\nb", vec!["a", "\nb"]),
            ("a # b", vec!["a", "#", "b"]),
            ("a$(b c)d", vec!["a$(b c)d"]),
            ("`a b`", vec!["`a b`"]),
            ("x=\"y z\"w", vec!["x=y zw"]),
        ] {
            assert_eq!(words(line), expected, "{line}");
        }
    }

    #[test]
    fn an_operator_ends_the_command_and_the_rest_is_reported() {
        let cut = split("serve m --x 1 2>&1 | tee log").unwrap();
        assert_eq!(cut.words, ["serve", "m", "--x", "1"]);
        assert_eq!(cut.cut.as_deref(), Some(">&1 | tee log"));
        assert_eq!(split("a && b").unwrap().words, ["a"]);
        assert_eq!(split("a \"&&\" b").unwrap().cut, None);
    }

    #[test]
    fn unclosed_quotes_and_bare_parentheses_are_refused() {
        assert_eq!(split("a 'b"), Err(SplitError::Unclosed));
        assert_eq!(split("a \"b"), Err(SplitError::Unclosed));
        assert_eq!(split("a \\"), Err(SplitError::Unclosed));
        assert_eq!(split("a (b)"), Err(SplitError::Parenthesis));
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_splitter_panic(line in "[a$()'\"`\\\\ \n|&;<>0-9]{0,40}") {
            let _ = split(&line);
        }

        #[test]
        fn single_quoted_words_come_back_as_they_were(parts in proptest::collection::vec("[a-z \"$\\\\|&;{}]{0,8}", 0..6)) {
            let line: Vec<String> = parts.iter().map(|w| format!("'{w}'")).collect();
            proptest::prop_assert_eq!(words(&line.join(" ")), parts);
        }
    }
}

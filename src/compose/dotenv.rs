//! Env files (`.env`, `--env-file`, `env_file:`) read as Compose reads them.

use std::collections::BTreeMap;

use super::template::{Lookup, TemplateError, substitute};

/// What is wrong with an env file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DotenvError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

struct Reader<'r> {
    text: &'r str,
    at: usize,
    lookup: Lookup<'r>,
    values: BTreeMap<String, String>,
}

/// Reads the variables of an env file. References look up `lookup` first, then what the file has set so far.
pub(super) fn parse(text: &str, lookup: Lookup<'_>) -> Result<BTreeMap<String, String>, DotenvError> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut reader = Reader { text, at: 0, lookup, values: BTreeMap::new() };
    while reader.skip_to_statement() {
        reader.statement()?;
    }
    Ok(reader.values)
}

impl<'r> Reader<'r> {
    fn rest(&self) -> &'r str {
        &self.text[self.at..]
    }

    fn error(&self, message: impl Into<String>) -> DotenvError {
        DotenvError { line: 1 + self.text[..self.at].matches('\n').count(), message: message.into() }
    }

    /// Skips blanks and comments; false at the end.
    fn skip_to_statement(&mut self) -> bool {
        loop {
            let rest = self.rest();
            let Some(start) = rest.find(|c: char| !c.is_whitespace()) else { return false };
            self.at += start;
            if !self.rest().starts_with('#') {
                return true;
            }
            let Some(newline) = self.rest().find('\n') else { return false };
            self.at += newline;
        }
    }

    fn statement(&mut self) -> Result<(), DotenvError> {
        let rest = self.rest();
        if let Some(tail) = rest.strip_prefix("export").filter(|tail| tail.starts_with(char::is_whitespace)) {
            self.at += rest.len() - tail.trim_start_matches(is_blank).len();
        }
        let rest = self.rest();
        let (key, inherited) = self.key(rest)?;
        let key = key.trim_end().to_owned();
        if key.contains(' ') {
            return Err(self.error(format!("the name `{key}` contains a space")));
        }
        if inherited {
            if let Some(value) = (self.lookup)(&key) {
                self.values.insert(key, value);
            }
            return Ok(());
        }
        let value = self.value()?;
        self.values.insert(key, value);
        Ok(())
    }

    /// The name before `=`, `:` or the line's end, and whether it has no value; moves behind it.
    fn key(&mut self, rest: &'r str) -> Result<(&'r str, bool), DotenvError> {
        let mut key = "";
        let mut inherited = false;
        let mut skip = 0;
        for (i, c) in rest.char_indices() {
            match c {
                '=' | ':' | '\n' => {
                    key = &rest[..i];
                    inherited = c == '\n';
                    skip = i + 1;
                    break;
                }
                '_' | '.' | '-' | '[' | ']' => {}
                c if is_blank(c) || c.is_alphabetic() || c.is_numeric() => {}
                other => {
                    let line = rest.lines().next().unwrap_or_default();
                    return Err(self.error(format!("unexpected character `{other}` in the name of `{line}`")));
                }
            }
        }
        self.at += skip;
        let tail = self.rest();
        self.at += tail.len() - tail.trim_start_matches(is_blank).len();
        Ok((key, inherited))
    }

    fn value(&mut self) -> Result<String, DotenvError> {
        let rest = self.rest();
        match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            _ => {
                let (line, next) = rest.split_once('\n').map_or((rest, rest.len()), |(l, _)| (l, l.len() + 1));
                let value = line.split_once(" #").map_or(line, |(value, _)| value).trim_end();
                let value = self.expand(value)?;
                self.at += next;
                Ok(value)
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, DotenvError> {
        let body = &self.rest()[1..];
        let mut value = String::new();
        let mut escaped = false;
        for (i, c) in body.char_indices() {
            if c == quote && !escaped {
                let value = if quote == '"' { self.expand(&unescape(&value))? } else { value };
                self.at += 1 + i + 1;
                return Ok(value);
            }
            if c == '\\' && !escaped {
                escaped = true;
                continue;
            }
            if escaped && c != quote {
                value.push('\\');
            }
            escaped = false;
            value.push(c);
        }
        let line = body.lines().next().unwrap_or_default();
        Err(self.error(format!("the quote of `{quote}{line}` never closes")))
    }

    fn expand(&self, value: &str) -> Result<String, DotenvError> {
        let lookup = |name: &str| (self.lookup)(name).or_else(|| self.values.get(name).cloned());
        substitute(value, &lookup).map(|e| e.text).map_err(|e| match e {
            TemplateError::Invalid => self.error(format!("`{value}` holds a `$` that names no variable; write `$$`")),
            TemplateError::Required { name, message } => {
                self.error(format!("the required variable {name} has no value: {message}"))
            }
        })
    }
}

/// White space within a line.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{B}' | '\u{C}' | '\r' | ' ' | '\u{85}' | '\u{A0}')
}

/// The escapes of a double-quoted value. `\$` becomes `$$`, which the expansion then reads as a plain dollar.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut chars = rest.chars();
        match chars.next() {
            Some('0') => {
                let digits: String = chars.take_while(char::is_ascii_digit).take(3).collect();
                rest = &rest[1 + digits.len()..];
                let value =
                    if digits.len() == 3 { u32::from_str_radix(&digits, 8).ok().filter(|v| *v <= 255) } else { None };
                match value.and_then(char::from_u32) {
                    Some(c) => out.push(c),
                    None => {
                        out.push('\\');
                        out.push_str(&digits);
                    }
                }
            }
            Some(c) => match simple_escape(c) {
                Some(replacement) => {
                    out.push_str(replacement);
                    rest = &rest[c.len_utf8()..];
                }
                None => out.push('\\'),
            },
            None => out.push('\\'),
        }
    }
    out.push_str(rest);
    out
}

fn simple_escape(c: char) -> Option<&'static str> {
    Some(match c {
        'a' => "\u{7}",
        'b' => "\u{8}",
        'f' => "\u{C}",
        'n' => "\n",
        'r' => "\r",
        't' => "\t",
        'v' => "\u{B}",
        '$' => "$$",
        '"' => "\"",
        '\\' => "\\",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outer(name: &str) -> Option<String> {
        (name == "HOST").then(|| "outer".to_owned())
    }

    fn value(text: &str, key: &str) -> Option<String> {
        parse(text, &outer).unwrap_or_else(|e| panic!("{text}: {e:?}")).get(key).cloned()
    }

    #[test]
    fn values_are_read_in_every_spelling() {
        for (text, expected) in [
            ("A=1", "1"),
            ("A = 1 ", "1"),
            ("export A=1\n", "1"),
            ("A: yaml\n", "yaml"),
            ("A=a # comment", "a"),
            ("A=a#b", "a#b"),
            ("A='a # $HOST'", "a # $HOST"),
            ("A=\"$HOST\\n\\$x\\\"\"", "outer\n$x\""),
            ("A='it\\'s'", "it's"),
            ("A=\"a\nb\"\nB=1", "a\nb"),
            ("A=${HOST}-${NONE:-d}", "outer-d"),
            ("B=b\nA=$B", "b"),
            ("HOST=inner\nA=$HOST", "outer"),
            ("\u{FEFF}A=1", "1"),
            ("A=\"\\0123\\n\"", "S\n"),
            ("A=", ""),
            ("A=\"x\" # c\nB=2", "x"),
        ] {
            assert_eq!(value(text, "A").as_deref(), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn a_name_alone_takes_the_outer_value_or_is_left_out() {
        assert_eq!(value("HOST\nNONE\n", "HOST").as_deref(), Some("outer"));
        assert_eq!(value("HOST\nNONE\n", "NONE"), None);
    }

    #[test]
    fn errors_name_their_line() {
        assert_eq!(parse("A=1\nB C=2\n", &outer).unwrap_err().line, 2);
        assert_eq!(parse("A=1\n\n?=2\n", &outer).unwrap_err().line, 3);
        assert_eq!(parse("A='x\n", &outer).unwrap_err().line, 1);
        assert_eq!(parse("A=${\n", &outer).unwrap_err().line, 1);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[A-C=:#$\"'\\\\ \n{}0é-]{0,60}") {
            let _ = parse(&text, &outer);
        }
    }
}

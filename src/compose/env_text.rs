//! Setting variables in the text of an env file, every other line as it was.

use std::collections::BTreeMap;

use super::dotenv;

/// `text` with these variables set: where a line sets one, the last such line gets the value and keeps its comment; else a line is
/// added at the end.
///
/// # Errors
/// Why the text cannot be changed so that it reads back: a sentence.
pub fn set_in_env_file(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (name, value) in variables {
        let line = format!("{name}={}", quoted(value)?);
        let sets = |existing: &String| {
            let plain = existing.trim_start();
            let plain = plain.strip_prefix("export ").map_or(plain, str::trim_start);
            plain.strip_prefix(name.as_str()).is_some_and(|rest| rest.trim_start().starts_with('='))
        };
        match lines.iter().rposition(sets) {
            Some(at) => {
                let export = if lines[at].trim_start().starts_with("export ") { "export " } else { "" };
                lines[at] = format!("{export}{line}{}", comment_of(&lines[at]));
            }
            None => lines.push(line),
        }
    }
    let mut changed = lines.join("\n");
    changed.push('\n');
    let read = |text: &str| dotenv::parse(text, &|_| None).map_err(|e| format!("line {}: {}", e.line, e.message));
    let (before, after) = (read(text)?, read(&changed)?);
    let expected: BTreeMap<String, String> =
        before.into_iter().chain(variables.iter().map(|(k, v)| (k.clone(), v.clone()))).collect();
    if after != expected {
        return Err("its quoting does not allow a change of single lines; set the variables by hand".to_owned());
    }
    Ok(changed)
}

/// The comment behind a value, with the blanks before it. Where a quote stands on the line, a `#` may be the value's own.
fn comment_of(line: &str) -> &str {
    let Some(at) = line.find(" #").filter(|_| !line.contains(['\'', '"'])) else { return "" };
    &line[line[..at].trim_end().len()..]
}

/// A value as an env file's: bare where every character is harmless, else in single quotes, in which nothing is replaced.
fn quoted(value: &str) -> Result<String, String> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_-./:,@%+=".contains(c);
    if !value.is_empty() && value.chars().all(harmless) {
        return Ok(value.to_owned());
    }
    if value.contains(['\'', '\n', '\r', '\\']) {
        return Err(format!("`{value}` cannot be written in an env file so that it reads back"));
    }
    Ok(format!("'{value}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, name: &str, value: &str) -> Result<String, String> {
        set_in_env_file(text, &BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn a_line_is_replaced_where_it_stands_and_every_other_line_stays() {
        let text = "# mine\nA=1\nexport SEQS = 8 # old\n\nB='x y'\n";
        assert_eq!(set(text, "SEQS", "32").unwrap(), "# mine\nA=1\nexport SEQS=32 # old\n\nB='x y'\n");
        assert_eq!(set("SEQS=8   # at once\nA='x # y'", "SEQS", "32").unwrap(), "SEQS=32   # at once\nA='x # y'\n");
        assert_eq!(set("A='x # y'", "A", "1").unwrap(), "A=1\n");
        assert_eq!(set("A=1", "SEQS", "32").unwrap(), "A=1\nSEQS=32\n");
        assert_eq!(set("", "X", "{\"a\": \"$b\"}").unwrap(), "X='{\"a\": \"$b\"}'\n");
    }

    #[test]
    fn what_would_not_read_back_is_refused() {
        assert!(set("", "X", "it's").is_err());
        // The line looks like an assignment and stands inside a quoted value.
        assert!(set("A='one\nX=1\ntwo'\n", "X", "2").is_err());
    }
}

//! Printing for commands: text and tables on standard output, JSON, colours only where they are wanted.

use std::borrow::Cow;
use std::io::Write;

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use itertools::Itertools;
use serde::Serialize;

use super::exit::Stop;

/// Prints text to standard output. A reader that went away (`| head`) is no error.
pub(crate) fn out(text: impl AsRef<str>) {
    let _ = writeln!(anstream::stdout(), "{}", text.as_ref());
}

/// Writes what is made for other programs to standard output as it is. A reader that went away is no error.
///
/// # Errors
/// It cannot be written, because a disk is full.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Stop> {
    let mut to = std::io::stdout().lock();
    match to.write_all(bytes).and_then(|()| to.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Stop::usage(format!("cannot write to standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints text to standard error.
pub(crate) fn err(text: impl AsRef<str>) {
    let _ = writeln!(anstream::stderr(), "{}", text.as_ref());
}

/// Prints a value as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Stop> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Stop::Fault(e.into()))?;
    out(text);
    Ok(())
}

/// Prints a value as JSON on one line.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Stop> {
    let text = serde_json::to_string(value).map_err(|e| Stop::Fault(e.into()))?;
    out(text);
    Ok(())
}

/// A table without lines, as wide as its content, at most as wide as the terminal.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.iter().map(|h| h.to_uppercase()));
    if table.width().is_none() {
        table.set_width(width_of_a_pipe());
    }
    table
}

/// What reads a pipe says in `COLUMNS` how wide it is.
fn width_of_a_pipe() -> u16 {
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    asked.filter(|columns| *columns >= 40).unwrap_or(160)
}

/// The columns of the terminal, or those of a pipe.
pub(crate) fn width() -> usize {
    table(&[]).width().map_or(160, usize::from)
}

/// A text in lines that are broken between words, each behind this many blanks.
pub(crate) fn wrapped(text: &str, indent: usize) -> String {
    let lines = text.lines().flat_map(|line| filled(line.split_whitespace(), width().saturating_sub(indent), ""));
    lines.map(|line| format!("{:indent$}{line}", "")).collect::<Vec<_>>().join("\n")
}

/// A sentence behind this many blanks; where it is broken, it goes on two blanks further in.
pub(crate) fn sentence(text: &str, indent: usize) -> String {
    let further = indent + 2;
    let lines = filled(text.split_whitespace(), width().saturating_sub(further), "");
    let indented = |(at, line): (usize, &String)| {
        let indent = if at == 0 { indent } else { further };
        format!("{:indent$}{line}", "")
    };
    lines.iter().enumerate().map(indented).collect::<Vec<_>>().join("\n")
}

/// A command line for a shell, broken before flags: a flag and its values stay together.
pub(crate) fn command_line(words: &[String], indent: usize) -> String {
    let is_flag = |word: &str| word.starts_with('-') && !word[1..].starts_with(|c: char| c.is_ascii_digit());
    let mut parts: Vec<Vec<&str>> = Vec::new();
    for word in words {
        match parts.last_mut() {
            Some(part) if !is_flag(word) => part.push(word),
            _ => parts.push(vec![word]),
        }
    }
    let parts: Vec<String> = parts.iter().map(|part| part.iter().map(|word| quoted(word)).join(" ")).collect();
    let lines = filled(parts.iter().map(String::as_str), width().saturating_sub(indent), " \\");
    lines.iter().map(|line| format!("{:indent$}{line}", "")).collect::<Vec<_>>().join("\n")
}

/// A word as a shell reads it, in quotes only where it needs them: `--a=1` does not.
fn quoted(word: &str) -> Cow<'_, str> {
    match word.split_once('=') {
        Some((flag, value)) if flag.starts_with('-') && !value.is_empty() && is_plain(flag) && is_plain(value) => {
            Cow::Borrowed(word)
        }
        _ => shell_words::quote(word),
    }
}

fn is_plain(word: &str) -> bool {
    shell_words::quote(word) == word
}

/// Characters that a text takes on the screen: colours take none.
pub(crate) fn columns_of(text: &str) -> usize {
    let mut columns = 0;
    let mut in_colour = false;
    for c in text.chars() {
        match (in_colour, c) {
            (false, '\u{1b}') => in_colour = true,
            (false, _) => columns += 1,
            (true, 'm') => in_colour = false,
            (true, _) => {}
        }
    }
    columns
}

/// Columns of a table whose cells are not broken: each has a blank on either side.
pub(crate) fn width_of_rows<'r>(rows: impl IntoIterator<Item = &'r Vec<String>>) -> usize {
    let mut widest: Vec<usize> = Vec::new();
    for row in rows {
        widest.resize(widest.len().max(row.len()), 0);
        for (column, cell) in row.iter().enumerate() {
            let lines = cell.lines().map(columns_of).max().unwrap_or(0);
            widest[column] = widest[column].max(lines);
        }
    }
    widest.iter().map(|column| column + 2).sum()
}

/// A table of which each row has a text above and a text below it, either of which may be empty.
pub(crate) fn rows_within(header: &[&str], rows: Vec<Vec<String>>, around: &[[String; 2]]) -> String {
    let mut table = self::table(header);
    // A cell that was broken would put everything beside the wrong row.
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.add_rows(rows);
    let text = text_of(&table);
    let mut lines = text.lines();
    let mut out: Vec<&str> = lines.next().into_iter().collect();
    for (line, [above, below]) in lines.zip(around) {
        out.extend([above.as_str(), line, below.as_str()].into_iter().filter(|line| !line.is_empty()));
    }
    out.join("\n")
}

/// Parts in lines of this width; a part that is longer stands alone. `more` ends every line but the last.
fn filled<'p>(parts: impl Iterator<Item = &'p str>, width: usize, more: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if columns_of(line) + 1 + columns_of(part) + more.len() <= width => {
                line.push(' ');
                line.push_str(part);
            }
            Some(line) => {
                line.push_str(more);
                lines.push(part.to_owned());
            }
            None => lines.push(part.to_owned()),
        }
    }
    lines
}

/// Whether a line has room for intervals beside the figures.
pub(crate) fn is_wide() -> bool {
    table(&[]).width().is_none_or(|width| width >= 140)
}

/// Keeps the words of a column whole, however narrow the terminal is: what is called by a name must be copied in one piece.
pub(crate) fn keep_whole(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
}

/// Whether the terminal leaves room for the essential columns only.
pub(crate) fn is_narrow() -> bool {
    table(&[]).width().is_some_and(|width| width < 100)
}

/// The table's text without blanks at the ends of its lines.
pub(crate) fn text_of(table: &Table) -> String {
    let lines: Vec<String> = table.lines().map(|l| l.trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_broken_between_parts_and_a_part_that_is_too_long_stands_alone() {
        let parts = ["one", "two", "a-part-that-is-longer-than-a-line", "three"];
        let lines = filled(parts.into_iter(), 12, " \\");
        assert_eq!(lines, ["one two \\", "a-part-that-is-longer-than-a-line \\", "three"]);
        assert_eq!(filled("".split_whitespace(), 10, ""), [] as [&str; 0]);
    }

    #[test]
    fn colours_take_no_room() {
        assert_eq!(columns_of("\u{1b}[32mbetter\u{1b}[39m −1"), 9);
        let rows = [vec!["a".to_owned(), "two\nlines".to_owned()], vec!["abc".to_owned(), String::new()]];
        assert_eq!(width_of_rows(&rows), 5 + 7);
    }

    #[test]
    fn what_stands_above_and_below_a_row_stays_there() {
        let rows = vec![vec!["1".to_owned(), "a".to_owned()], vec!["2".to_owned(), "b".to_owned()]];
        let around = [[String::new(), "    why".to_owned()], ["more".to_owned(), String::new()]];
        assert_eq!(rows_within(&["#", "config"], rows, &around), " #  CONFIG\n 1  a\n    why\nmore\n 2  b");
    }

    #[test]
    fn a_flag_stays_with_its_values() {
        let words = ["serve", "m", "--a", "x y", "--n", "-1", "--on"].map(str::to_owned);
        assert_eq!(command_line(&words, 2), "  serve m --a 'x y' --n -1 --on");
        let words = ["--sim-speed=4", "--x=", "--y=a b", "A=1"].map(str::to_owned);
        assert_eq!(command_line(&words, 0), "--sim-speed=4 '--x=' '--y=a b' 'A=1'");
        let long: Vec<String> = (0..40).flat_map(|n| [format!("--flag-{n}"), format!("{n}")]).collect();
        let text = command_line(&long, 2);
        assert!(text.lines().count() > 1 && text.lines().all(|line| line.trim_start().starts_with("--flag")), "{text}");
    }
}

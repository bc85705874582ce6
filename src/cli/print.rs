//! Printing for commands: text and tables on standard output, JSON, colours only where they are wanted.

use std::io::Write;

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
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
        table.set_width(160);
    }
    table
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

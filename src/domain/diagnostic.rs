//! What is wrong with an input, where (file, line, column), and what would be right.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::text_enum::text_enum;

text_enum! {
    /// How serious a finding is.
    pub enum Severity {
        /// The input cannot be used.
        Error = "error",
        /// The input can be used, and probably does not mean what its author thinks.
        Warning = "warning",
        /// Worth knowing.
        Note = "note",
    }
}

/// A place in a text file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The file, as the user named it.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Length of the marked text in characters on that line; 0 when unknown.
    pub length: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// One finding about an input: what, where, and the way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How serious it is.
    pub severity: Severity,
    /// Stable short code, e.g. `unknown-key`, `identical-points`; lower case with dashes.
    pub code: String,
    /// What is wrong, one sentence without a final full stop.
    pub message: String,
    /// Where, when the finding belongs to a place in a file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<Place>,
    /// The source line at `place`, for the snippet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_line: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding without a place; add one with [`Diagnostic::at`].
    #[must_use]
    pub fn new(severity: Severity, code: &str, message: impl Into<String>) -> Self {
        Self { severity, code: code.to_owned(), message: message.into(), place: None, source_line: None, help: None }
    }

    /// An error without a place.
    #[must_use]
    pub fn error(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// A warning without a place.
    #[must_use]
    pub fn warning(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    /// Sets the place and takes the snippet's line out of `source` (the whole text of the file), its secrets hidden.
    #[must_use]
    pub fn at(mut self, place: Place, source: &str) -> Self {
        self.source_line = source.lines().nth(place.line.saturating_sub(1)).map(super::redact::blotted);
        self.place = Some(place);
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    /// The compiler-like rendering: headline, place, snippet with a marker, help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: {}", self.severity, self.code, self.message)?;
        let Some(place) = &self.place else {
            if let Some(help) = &self.help {
                write!(f, "\n  = help: {help}")?;
            }
            return Ok(());
        };
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        write!(f, "\n{margin}--> {place}")?;
        if let Some(line) = &self.source_line {
            // Tabs would put the marker under the wrong character.
            let shown = line.replace('\t', " ");
            let marker = "^".repeat(place.length.clamp(1, shown.chars().count().max(1)));
            let indent = " ".repeat(place.column.saturating_sub(1));
            write!(f, "\n{margin} |\n{number} | {shown}\n{margin} | {indent}{marker}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{margin} = help: {help}")?;
        }
        Ok(())
    }
}

/// Several findings at once; an `Err` of a loading function carries every error found, not only the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Whether at least one finding is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }

    /// Adds one finding.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// The error that says a file could not be read.
    #[must_use]
    pub fn unreadable(path: &Path, what: &str, error: &std::io::Error) -> Self {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path; relative paths start at the file that names them",
            std::io::ErrorKind::PermissionDenied => "check the file's permissions",
            _ => "check the path and the disk",
        };
        Self(vec![
            Diagnostic::error("unreadable-file", format!("cannot read {what} {}: {error}", path.display())).help(help),
        ])
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                write!(f, "\n\n")?;
            }
            write!(f, "{d}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// The candidate nearest to `word`, when it is near enough to be meant (edit distance of at most a third of the
/// word, at least 1 and at most 3; case and `-`/`_` do not count).
#[must_use]
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let fold = |s: &str| s.to_lowercase().replace('_', "-");
    let folded = fold(word);
    let limit = (folded.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|c| (edit_distance(&folded, &fold(c)), c))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Levenshtein distance with adjacent transpositions counted as one edit (optimal string alignment).
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substitute = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substitute.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_finds_its_neighbour_and_a_strange_one_finds_none() {
        let keys = ["deployment", "axes", "exclude", "baseline"];
        assert_eq!(did_you_mean("deploymnet", keys), Some("deployment"));
        assert_eq!(did_you_mean("axis", keys), Some("axes"));
        assert_eq!(did_you_mean("zebra", keys), None);
    }

    #[test]
    fn the_rendering_marks_the_place_and_gives_the_way_out() {
        let source = "name: x\naxis: []\n";
        let place = Place { file: "g.yaml".into(), line: 2, column: 1, length: 4 };
        let d = Diagnostic::error("unknown-key", "unknown key `axis`").at(place, source).help("did you mean `axes`?");
        assert_eq!(
            d.to_string(),
            "error[unknown-key]: unknown key `axis`\n --> g.yaml:2:1\n  |\n2 | axis: []\n  | ^^^^\n  = help: did you mean `axes`?"
        );
    }
}

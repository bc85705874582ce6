//! Writing a compose override: the settings of one service, literal, so that Compose reads back the very words.

use crate::domain::secret_words;

/// Why a variable in an override has no value, for whoever starts it without.
const MESSAGE: &str = "set it in the environment or in an env file";

/// Secret values with the names of variables that hold them: an override says `${NAME}` in their place.
#[derive(Clone, Default)]
pub struct SecretNames {
    /// Value and name, longest value first.
    known: Vec<(String, String)>,
}

impl std::fmt::Debug for SecretNames {
    /// The names alone.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.known.iter().map(|(_, name)| name)).finish()
    }
}

impl SecretNames {
    /// From pairs of value and name; the first name of a value counts, and empty values are dropped.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut known: Vec<(String, String)> = Vec::new();
        for (value, name) in pairs {
            if !value.is_empty() && !known.iter().any(|(v, _)| *v == value) {
                known.push((value, name));
            }
        }
        known.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        Self { known }
    }

    /// The words of a command line as Compose's templates: dollars doubled, secrets by the names of their variables.
    #[must_use]
    pub fn words(&self, words: &[String]) -> Vec<String> {
        let secret = secret_words(words);
        let short_ones_too = |at: usize| secret.iter().any(|word| word.at == at);
        words.iter().enumerate().map(|(at, word)| self.template(word, short_ones_too(at))).collect()
    }

    /// One text as a template. `whole` says that a secret stands in it for sure: then one of any length is looked for; else only
    /// those long enough not to be ordinary text.
    #[must_use]
    pub fn template(&self, text: &str, whole: bool) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let found = self
                .known
                .iter()
                .filter(|(value, _)| whole || value.trim().len() >= 4)
                .filter_map(|(value, name)| rest.find(value.as_str()).map(|at| (at, value, name)))
                .min_by_key(|(at, value, _)| (*at, usize::MAX - value.len()));
            let Some((at, value, name)) = found else { break };
            out.push_str(&literal(&rest[..at]));
            out.push_str(&reference(name));
            rest = &rest[at + value.len()..];
        }
        out.push_str(&literal(rest));
        out
    }
}

/// A text as a template that stands for itself.
#[must_use]
pub fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// The template of a variable that must be set.
#[must_use]
pub fn reference(name: &str) -> String {
    format!("${{{name}:?{MESSAGE}}}")
}

/// What an override says of one service. All values are Compose's templates, see [`literal`] and [`SecretNames`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// The service.
    pub service: String,
    /// Lines of comment for its head, without the `#`.
    pub comments: Vec<String>,
    /// The image.
    pub image: Option<String>,
    /// The entrypoint, as a list.
    pub entrypoint: Option<Vec<String>>,
    /// The command, as a list.
    pub command: Option<Vec<String>>,
    /// Variables; `None` takes the value from the environment of whoever starts it.
    pub environment: Vec<(String, Option<String>)>,
    /// `environment` replaces what earlier files say, their `env_file` included, in place of adding to it.
    pub replaces_environment: bool,
}

impl Override {
    /// The file's text.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        for line in &self.comments {
            out.push_str(if line.is_empty() { "#" } else { "# " });
            out.push_str(line);
            out.push('\n');
        }
        out.push_str(&format!("services:\n  {}:\n", quoted(&self.service)));
        if let Some(image) = &self.image {
            out.push_str(&format!("    image: {}\n", quoted(image)));
        }
        for (key, words) in [("entrypoint", &self.entrypoint), ("command", &self.command)] {
            match words.as_deref() {
                None => {}
                Some([]) => out.push_str(&format!("    {key}: []\n")),
                Some(words) => {
                    out.push_str(&format!("    {key}:\n"));
                    words.iter().for_each(|word| out.push_str(&format!("      - {}\n", quoted(word))));
                }
            }
        }
        if self.replaces_environment {
            out.push_str("    env_file: !reset []\n");
        }
        let tag = if self.replaces_environment { " !override" } else { "" };
        match self.environment.as_slice() {
            [] if self.replaces_environment => out.push_str("    environment: !reset {}\n"),
            [] => {}
            variables => {
                out.push_str(&format!("    environment:{tag}\n"));
                for (name, value) in variables {
                    let value = value.as_deref().map_or_else(|| "null".to_owned(), quoted);
                    out.push_str(&format!("      {}: {value}\n", quoted(name)));
                }
            }
        }
        out
    }
}

/// A text as a double-quoted YAML scalar, every character that YAML or Go's reader of it may take amiss escaped.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 || (0x7f..0xa0).contains(&(c as u32)) => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The names of the variables that a compose file's text refers to, in order, each once: `$NAME` and `${NAME...}`.
#[must_use]
pub fn variable_names(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            rest = tail;
            continue;
        }
        let name = after.strip_prefix('{').unwrap_or(after);
        let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(name.len());
        let name = &name[..end];
        if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
        rest = after;
    }
    names
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;

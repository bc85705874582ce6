//! Where secrets stand in a text, by what the text itself shows: addresses, headers, named values, the shapes of known tokens.

use std::ops::Range;

use super::MASK;
use super::name::{Secrecy, secrecy};

/// What kind of text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Anything: a log, an error, a report. Only what can hardly be anything else is a secret.
    Text,
    /// The value of a variable or flag: JSON, addresses, headers, a shell's command line.
    Value,
    /// YAML, or lines of an env file: an unquoted value reaches to the end of its line.
    Config,
}

/// A list of secrets longer than this is no list of secrets.
const LONGEST_LIST: usize = 64 * 1024;

/// The places of secrets in `text`, in order, none within another.
pub(super) fn places(text: &str, reading: Reading) -> Vec<Range<usize>> {
    let mut scan = Scan { text, bytes: text.as_bytes(), reading, found: Vec::new() };
    scan.addresses();
    scan.private_keys();
    scan.words();
    let mut found = scan.found;
    found.sort_by_key(|place| (place.start, usize::MAX - place.end));
    let mut end = 0;
    found.retain(|place| {
        let fresh = place.start >= end;
        end = end.max(place.end);
        fresh
    });
    found
}

struct Scan<'t> {
    text: &'t str,
    bytes: &'t [u8],
    reading: Reading,
    found: Vec<Range<usize>>,
}

impl Scan<'_> {
    /// `scheme://user:password@host`, and `scheme://token@host`.
    fn addresses(&mut self) {
        for (at, _) in self.text.match_indices("://") {
            let start = at + 3;
            let stops = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '\\');
            let end = self.text[start..].find(stops).map_or(self.text.len(), |n| start + n);
            let whole = &self.text[start..end];
            let authority = &whole[..whole.find(['/', '?', '#']).unwrap_or(whole.len())];
            let Some(login) = authority.rfind('@').map(|at| &authority[..at]).or_else(|| login_with_slash(whole))
            else {
                continue;
            };
            match login.find(':') {
                Some(colon) => self.found(start + colon + 1..start + login.len()),
                None if is_random(login) && login.len() >= 16 => self.found(start..start + login.len()),
                None => {}
            }
        }
    }

    /// The inside of a private key in PEM.
    fn private_keys(&mut self) {
        let mut from = 0;
        while let Some(at) = self.text[from..].find("PRIVATE KEY-----") {
            let start = from + at + "PRIVATE KEY-----".len();
            let end = self.text[start..].find("-----END").map_or(self.text.len(), |n| start + n);
            self.found(start..end);
            from = end;
        }
    }

    /// Tokens by their shape, and what stands behind the name of a secret.
    fn words(&mut self) {
        let mut at = 0;
        while let Some(start) = (at..self.bytes.len()).find(|i| is_word(self.bytes[*i])) {
            let end = (start..self.bytes.len()).find(|i| !is_word(self.bytes[*i])).unwrap_or(self.bytes.len());
            at = end;
            let word = &self.text[start..end];
            let bare = word.trim_matches(['-', '.']);
            if is_token(bare) {
                let first = start + (word.len() - word.trim_start_matches(['-', '.']).len());
                self.found(first..first + bare.len());
            } else if word.eq_ignore_ascii_case("bearer") || word == "Basic" {
                self.scheme(end, word == "Basic");
            } else if let Some(value) = self.named(word, start, end) {
                at = value.max(end);
            }
        }
    }

    /// What stands behind `Bearer` or `Basic`, where it can only be a credential.
    fn scheme(&mut self, end: usize, basic: bool) {
        let start = self.skip(end, b" ");
        let stop = self.bare_end(start, b"");
        let value = &self.text[start..stop];
        if start > end && is_random(value) && value.len() >= if basic { 8 } else { 6 } {
            self.found(start..stop);
        }
    }

    /// The values behind a name of a secret; gives back where they end.
    fn named(&mut self, word: &str, start: usize, end: usize) -> Option<usize> {
        let name = word.trim_matches('.');
        let secrecy = secrecy(name);
        let flag = word.starts_with("--");
        if secrecy == Secrecy::No {
            return None;
        }
        let small = name.bytes().any(|b| b.is_ascii_lowercase());
        let camel = small && name.bytes().skip(1).any(|b| b.is_ascii_uppercase());
        let compound = camel || name.trim_start_matches('-').contains(['_', '-', '.']);
        let capitals = name.to_ascii_uppercase();
        let header = capitals.ends_with("AUTHORIZATION");
        let counts = match (secrecy, self.reading) {
            (Secrecy::No, _) => false,
            (Secrecy::Sure, Reading::Text) => {
                compound || header || ["PASSW", "PASSPHRASE", "APIKEY"].iter().any(|word| capitals.contains(word))
            }
            (Secrecy::Named, Reading::Text) => flag || (compound && !small),
            (_, Reading::Value) => !name.eq_ignore_ascii_case("key"),
            (_, Reading::Config) => true,
        };
        if !counts {
            return None;
        }
        let quote = self.quote_at(end);
        let behind = end + quote;
        let at = self.skip(behind, b" \t");
        match self.bytes.get(at) {
            Some(b'=') if self.bytes.get(at + 1) != Some(&b'=') => {
                let value = self.skip(at + 1, b" ");
                // The quote that was opened before the name: `"HF_TOKEN="` has no value.
                if self.quote_at(value) > 0 && start > 0 && self.bytes[start - 1] == self.bytes[value] {
                    return None;
                }
                let whole_line = self.reading == Reading::Config && !flag && self.begins_line(start);
                let also: &[u8] = if flag { b"" } else { b",;&" };
                let end = match (whole_line, header) {
                    (true, _) => self.line_end(value),
                    (false, true) => self.header_end(value),
                    (false, false) => self.bare_end(value, also),
                };
                // `api_key=self.api_key` is code.
                let code = self.reading == Reading::Text && self.text[value..end].ends_with(name);
                (!code).then(|| self.value(value, end))
            }
            Some(b':') => self.behind_colon(at + 1, quote > 0, compound, header),
            Some(_) if flag => self.behind_flag(behind),
            Some(_) | None => None,
        }
    }

    /// `name: value`; without quotes only where it cannot be a sentence.
    fn behind_colon(&mut self, at: usize, quoted: bool, compound: bool, header: bool) -> Option<usize> {
        let value = self.skip(at, b" \t");
        if self.reading == Reading::Config {
            if value == at && !quoted && !matches!(self.bytes.get(at), Some(b'\n' | b'\r') | None) {
                return None;
            }
            if matches!(self.bytes.get(value), Some(b'\n' | b'\r' | b'|' | b'>' | b'#')) {
                return Some(self.children(at));
            }
            let end = self.scalar_end(value);
            return Some(self.value(value, end));
        }
        let in_quotes = self.quote_at(value) > 0;
        let end = if header { self.header_end(value) } else { self.bare_end(value, b",;&") };
        let bare = &self.text[value..end];
        let likely = self.reading == Reading::Value || (bare.len() >= 8 && is_random(bare));
        let sure = header || (compound && value > at && likely);
        (quoted || in_quotes || sure).then(|| self.value(value, end))
    }

    /// `--name value`, also as items of a list.
    fn behind_flag(&mut self, at: usize) -> Option<usize> {
        let between: &[u8] = if self.reading == Reading::Config { b" \t\r\n\"',-" } else { b" \t\"'," };
        let mut value = self.skip(at, between);
        // The dashes of a YAML list are skipped, those of the next flag are not.
        while value > at && self.bytes.get(value.wrapping_sub(1)) == Some(&b'-') {
            value -= 1;
        }
        if value == at || (self.bytes.get(value) == Some(&b'-') && self.bytes.get(value + 1) != Some(&b' ')) {
            return None;
        }
        let end = match value.checked_sub(1).and_then(|i| self.bytes.get(i)) {
            Some(quote @ (b'"' | b'\'')) => self.bytes[value..]
                .iter()
                .position(|b| b == quote || *b == b'\n')
                .map_or(self.bytes.len(), |n| value + n),
            Some(_) | None => self.bare_end(value, b",]"),
        };
        let word = &self.text[value..end];
        let meta = word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        let rest = self.text[end..].trim_start_matches([' ', '"', '\'', ',', ']', ')']);
        let last = rest.is_empty() || rest.starts_with(['\n', '\r', '-']);
        let sure = self.reading != Reading::Text
            || (!meta && (last || word.len() >= 12 || word.bytes().any(|b| b.is_ascii_digit())));
        if sure {
            self.found(value..end);
        }
        Some(end)
    }

    /// A value that begins at `at`: a list, a quoted text, a call with a quoted text, or what reaches to `bare_end`.
    fn value(&mut self, at: usize, bare_end: usize) -> usize {
        if let Some(open @ (b'[' | b'(')) = self.bytes.get(at) {
            let close = if *open == b'[' { b']' } else { b')' };
            let end = self.bytes[at..].iter().take(LONGEST_LIST).position(|b| *b == close).map_or(bare_end, |n| at + n);
            let mut item = at + 1;
            while item < end {
                let first = self.skip(item, b" \t\r\n,-").min(end);
                let next = self.one(first, self.bare_end(first, b",").min(end)).min(end);
                item = next.max(item + 1);
            }
            return end;
        }
        if self.bytes.get(at) == Some(&b'{') {
            // What is in it has names of its own.
            return at;
        }
        self.one(at, bare_end)
    }

    /// A quoted text, a call with one (`SecretStr('x')`), or what reaches to `bare_end`.
    fn one(&mut self, at: usize, bare_end: usize) -> usize {
        let called = self.text[at..bare_end].strip_suffix('(').is_some_and(|f| f.bytes().all(is_word));
        let at = if called { bare_end } else { at };
        let quote = self.quote_at(at);
        if quote == 0 {
            self.found(at..bare_end.max(at));
            return bare_end.max(at);
        }
        let start = at + quote;
        let end = self.closing(start, &self.bytes[at..start]);
        self.found(start..end);
        (end + quote).min(self.bytes.len())
    }

    /// Lines below a key of YAML that belong to it.
    fn children(&mut self, at: usize) -> usize {
        let indent_of = |line: &str| line.len() - line.trim_start().len();
        let own_line = self.text[..at].rfind('\n').map_or(0, |n| n + 1);
        let own = indent_of(&self.text[own_line..at]);
        let mut from = self.line_end(at);
        while from < self.bytes.len() {
            let start = from + 1;
            let end = self.line_end(start.min(self.bytes.len()));
            let line = self.text.get(start..end).unwrap_or_default();
            let indent = indent_of(line);
            let belongs = indent > own || (indent == own && line.trim_start().starts_with("- "));
            if !belongs && !line.trim().is_empty() {
                break;
            }
            let item = line.trim_start().strip_prefix("- ").unwrap_or(line.trim_start()).trim();
            if !item.is_empty() {
                let first = start + (item.as_ptr() as usize - line.as_ptr() as usize);
                self.one(first, first + item.len());
            }
            from = end.max(start);
        }
        from
    }

    /// Keeps a place, less a scheme in front of the credential; what is no secret is not kept.
    fn found(&mut self, place: Range<usize>) {
        let text = &self.text[place.clone()];
        let value = ["bearer ", "basic ", "token ", "digest ", "apikey "]
            .iter()
            .find_map(|scheme| text.get(..scheme.len()).filter(|t| t.eq_ignore_ascii_case(scheme)).map(str::len))
            .map_or(text, |scheme| text[scheme..].trim_start());
        let value = value.trim_end();
        if !is_nothing(value) && !is_reference(value) {
            let start = place.start + (value.as_ptr() as usize - text.as_ptr() as usize);
            self.found.push(start..start + value.len());
        }
    }

    fn skip(&self, from: usize, what: &[u8]) -> usize {
        (from..self.bytes.len()).find(|i| !what.contains(&self.bytes[*i])).unwrap_or(self.bytes.len())
    }

    /// Length of the quote that stands at `at`, the backslashes before it counted; 0 when there is none.
    fn quote_at(&self, at: usize) -> usize {
        let quote = self.skip(at, b"\\");
        if matches!(self.bytes.get(quote), Some(b'"' | b'\'')) { quote + 1 - at } else { 0 }
    }

    /// Where a text in quotes ends: at the same quote behind as many backslashes; of a running text at the end of the line at the latest.
    fn closing(&self, start: usize, quote: &[u8]) -> usize {
        let (Some(mark), slashes) = (quote.last(), quote.len() - 1) else { return self.bytes.len() };
        let mut run = 0;
        for at in start..self.bytes.len() {
            match self.bytes[at] {
                b'\\' => run += 1,
                b'\n' if self.reading == Reading::Text => return at,
                byte if byte == *mark && (run == slashes || (slashes == 0 && run % 2 == 0)) => return at - slashes,
                _ => run = 0,
            }
        }
        self.bytes.len()
    }

    /// Where an unquoted value ends: at white space, a quote, a bracket, or one of `also`.
    fn bare_end(&self, from: usize, also: &[u8]) -> usize {
        let ends = |b: u8| {
            b.is_ascii_whitespace()
                || matches!(b, b'"' | b'\'' | b'`' | b')' | b']' | b'}' | b'<' | b'>')
                || also.contains(&b)
        };
        let dollar = self.bytes.get(from) == Some(&b'$');
        let close = (dollar && self.bytes.get(from + 1) == Some(&b'{')).then(|| self.text[from..].find('}')).flatten();
        if let Some(close) = close {
            return from + close + 1;
        }
        (from..self.bytes.len()).find(|i| ends(self.bytes[*i])).unwrap_or(self.bytes.len())
    }

    fn line_end(&self, from: usize) -> usize {
        self.text.get(from..).and_then(|rest| rest.find(['\n', '\r'])).map_or(self.bytes.len(), |n| from + n)
    }

    /// Where the value of a header ends: behind its scheme and the word after it.
    fn header_end(&self, from: usize) -> usize {
        let first = self.bare_end(from, b",");
        let word = &self.text[from..first];
        let scheme = ["bearer", "basic", "token", "digest", "apikey"].iter().any(|s| word.eq_ignore_ascii_case(s));
        if scheme { self.bare_end(self.skip(first, b" "), b",") } else { first }
    }

    /// Where an unquoted scalar of YAML ends: at a comment or the end of the line, in a flow also at its punctuation.
    fn scalar_end(&self, from: usize) -> usize {
        let line_end = self.line_end(from);
        let line_start = self.text[..from].rfind('\n').map_or(0, |n| n + 1);
        let depth = self.bytes[line_start..from].iter().fold(0_i32, |depth, byte| match byte {
            b'{' | b'[' => depth + 1,
            b'}' | b']' => depth - 1,
            _ => depth,
        });
        let value = &self.text[from..line_end];
        if value.starts_with("${") {
            return self.bare_end(from, b"");
        }
        let comment = value.find(" #").unwrap_or(value.len());
        let flow = if depth > 0 { value.find([',', '}', ']']).unwrap_or(value.len()) } else { value.len() };
        from + comment.min(flow)
    }

    /// Whether a name is the first word of its line, the dash of a list and a quote apart.
    fn begins_line(&self, start: usize) -> bool {
        let line = self.text[..start].rfind(['\n', '\r']).map_or(0, |n| n + 1);
        self.text[line..start].trim_start().trim_start_matches("- ").trim_start_matches("export ").is_empty()
    }
}

/// A password with a slash in it, which no standard allows and people write: `redis://:a/b@host`.
fn login_with_slash(whole: &str) -> Option<&str> {
    let whole = whole.split(',').next().unwrap_or(whole);
    let (colon, at) = (whole.find(':')?, whole.rfind('@')?);
    let first = whole.get(colon + 1..at)?.split(['/', '?', '#']).next()?;
    let port = !first.is_empty() && first.bytes().all(|b| b.is_ascii_digit());
    let before_path = whole.find(['/', '?', '#']).is_none_or(|slash| colon < slash);
    (!port && before_path).then(|| &whole[..at])
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Whether a word has the shape of a well-known token: Hugging Face, OpenAI, GitHub, GitLab, AWS, Slack, Google, NVIDIA, JWT.
fn is_token(word: &str) -> bool {
    let tail = |prefix: &str| word.strip_prefix(prefix);
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric());
    let digit = |text: &str| text.bytes().any(|b| b.is_ascii_digit());
    let any =
        |prefixes: &[&str], least: usize| prefixes.iter().filter_map(|p| tail(p)).any(|t| t.len() >= least && digit(t));
    tail("hf_").is_some_and(|t| t.len() >= 16 && plain(t))
        || any(&["sk-", "glpat-", "nvapi-", "gsk_", "npm_", "pypi-", "github_pat_"], 16)
        || any(&["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], 16)
        || any(&["xoxa-", "xoxb-", "xoxp-", "xoxr-", "xoxs-", "xapp-"], 10)
        || ["AKIA", "ASIA"]
            .iter()
            .filter_map(|p| tail(p))
            .any(|t| t.len() == 16 && t.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) && digit(t))
        || tail("AIza").is_some_and(|t| t.len() >= 30)
        || (word.starts_with("eyJ") && word.len() >= 40 && word.split('.').count() == 3)
}

/// Whether a word is none of a language: it holds a digit and letters, or is long.
fn is_random(word: &str) -> bool {
    word.len() >= 20
        || (word.bytes().any(|b| b.is_ascii_digit()) && word.bytes().any(|b| b.is_ascii_alphabetic()))
        || word.ends_with('=')
}

/// Whether a value says that there is none, or is masked already.
pub(super) fn is_nothing(value: &str) -> bool {
    let words = ["none", "null", "true", "false", "default", "on", "off", "~", "undefined", "nil"];
    value.is_empty() || value == MASK || words.iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// Whether a value is nothing but the name of a variable: `$NAME`, `${NAME}`, `${NAME:?why}`.
fn is_reference(value: &str) -> bool {
    let name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let Some(rest) = value.strip_prefix('$') else { return false };
    match rest.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
        Some(inner) => name(inner.split_once(['?', ':']).map_or(inner, |(first, _)| first)) && !inner.contains(":-"),
        None => name(rest),
    }
}

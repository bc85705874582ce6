//! One rule of the table, and how its patterns fit a line.

use crate::domain::{Cause, LogLine, NamedNumber, scan_numbers};

/// How much a rule's match proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Names the root cause.
    Root,
    /// Likely the root cause; believed only where no root rule fits.
    Likely,
    /// Says that the engine is dead and not why.
    Dead,
}

/// When a match counts once the engine has served requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The engine cannot survive it: it counts at any time.
    Fatal,
    /// A single request can provoke it: while serving it counts only where the engine died.
    NeedsDeath,
    /// It says what rejected a start, and nothing once the engine has served.
    AtStart,
}

/// One rule: what a kind of failure looks like in a log, and what follows from it.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The finer class, for the documentation and tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests hold the table and docs/failures.md together with it"))]
    pub class: &'static str,
    /// The cause it proves.
    pub cause: Cause,
    /// Patterns, most telling first; any of them decides.
    pub patterns: &'static [&'static str],
    /// Places in a traceback's last frame (part of its path, or `in FUNCTION`), one of which must stand there; any place where empty.
    pub raised_in: &'static [&'static str],
    /// Patterns of lines that go with it and prove nothing alone, on lines of any level.
    pub clues: &'static [&'static str],
    /// Templates of the numbers that its lines hold.
    pub numbers: &'static [&'static str],
    /// Whether the same config may succeed when tried again, where it differs from the cause's own answer.
    pub transient: Option<bool>,
    /// What to do, with numbers in braces, where it differs from the cause's own advice.
    pub advice: Option<&'static str>,
    /// How much a match proves.
    pub tier: Tier,
    /// When it counts while serving.
    pub weight: Weight,
}

/// A root rule without patterns yet.
pub const fn rule(class: &'static str, cause: Cause) -> Rule {
    Rule {
        class,
        cause,
        patterns: &[],
        raised_in: &[],
        clues: &[],
        numbers: &[],
        transient: None,
        advice: None,
        tier: Tier::Root,
        weight: Weight::NeedsDeath,
    }
}

impl Rule {
    /// Sets the patterns.
    pub const fn fits(mut self, patterns: &'static [&'static str]) -> Self {
        self.patterns = patterns;
        self
    }

    /// Sets the places in the code where the exception must have been raised.
    pub const fn raised_in(mut self, places: &'static [&'static str]) -> Self {
        self.raised_in = places;
        self
    }

    /// Sets the clues.
    pub const fn clues(mut self, clues: &'static [&'static str]) -> Self {
        self.clues = clues;
        self
    }

    /// Sets the templates of numbers.
    pub const fn reads(mut self, numbers: &'static [&'static str]) -> Self {
        self.numbers = numbers;
        self
    }

    /// Sets whether a retry may succeed.
    pub const fn retry(mut self, transient: bool) -> Self {
        self.transient = Some(transient);
        self
    }

    /// Sets the advice.
    pub const fn advise(mut self, advice: &'static str) -> Self {
        self.advice = Some(advice);
        self
    }

    /// Makes it count at any time.
    pub const fn fatal(mut self) -> Self {
        self.weight = Weight::Fatal;
        self
    }

    /// Makes it count only before the engine has served.
    pub const fn at_start(mut self) -> Self {
        self.weight = Weight::AtStart;
        self
    }

    /// Makes it a likely cause.
    pub const fn likely(mut self) -> Self {
        self.tier = Tier::Likely;
        self
    }

    /// Makes it a sign of death.
    pub const fn dead(mut self) -> Self {
        self.tier = Tier::Dead;
        self
    }

    /// Whether a pattern fits `message`, wherever it was raised.
    pub fn matching(&self, message: &str) -> bool {
        self.patterns.iter().any(|p| fits(message, p))
    }

    /// Whether the rule fits `message`, which was raised in the traceback's last frame that `frame` finds.
    pub fn fits_raised<'f>(&self, message: &str, frame: impl FnOnce() -> Option<&'f str>) -> bool {
        self.matching(message)
            && (self.raised_in.is_empty()
                || frame().is_some_and(|f| self.raised_in.iter().any(|place| f.contains(place))))
    }

    /// The numbers that `line` holds.
    pub fn numbers_in(&self, line: &LogLine<'_>) -> Vec<NamedNumber> {
        self.numbers.iter().filter_map(|t| scan_numbers(&line.text, t)).flatten().collect()
    }
}

/// Whether `message` fits `pattern` (`*` any text, `^` the start, `$` the end).
pub fn fits(message: &str, pattern: &str) -> bool {
    let (pattern, at_start) = match pattern.strip_prefix('^') {
        Some(rest) => (rest, true),
        None => (pattern, false),
    };
    let (pattern, at_end) = match pattern.strip_suffix('$') {
        Some(rest) => (rest, true),
        None => (pattern, false),
    };
    let mut rest = message;
    for (i, piece) in pattern.split('*').enumerate() {
        if i == 0 && at_start {
            let Some(after) = rest.strip_prefix(piece) else { return false };
            rest = after;
            continue;
        }
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    !at_end || rest.trim_end().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_in_order_with_gaps_and_anchors() {
        assert!(fits("a RPC call to execute_model timed out.", "RPC call to * timed out"));
        assert!(!fits("timed out RPC call to x", "RPC call to * timed out"));
        assert!(fits("TypeError: not a string", "^TypeError: not a string$"));
        assert!(!fits("TypeError: not a string!", "^TypeError: not a string$"));
        assert!(!fits("x TypeError: not a string", "^TypeError: not a string$"));
    }
}

//! Variable substitution: `$VAR`, `${VAR}`, defaults, requirements, alternatives, `$$`, as Compose does it.

use super::tree::{Blank, BlankReason, Marked};

/// Why a text cannot be substituted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TemplateError {
    /// A `${` that opens no valid reference.
    Invalid,
    /// `${name:?message}` of a variable that is unset or empty.
    Required {
        /// The variable.
        name: String,
        /// The file's own message.
        message: String,
    },
}

/// A substituted text.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    /// The result.
    pub text: String,
    /// The result with a mark in place of each variable that came out empty.
    pub marked: Marked,
    /// Names of the variables that were read, in order, with repetitions.
    pub used: Vec<String>,
}

/// Reads variables.
pub(super) type Lookup<'l> = &'l dyn Fn(&str) -> Option<String>;

/// Substitutes the variables in `template`.
pub(super) fn substitute(template: &str, lookup: Lookup<'_>) -> Result<Expanded, TemplateError> {
    let mut out = Expanded::default();
    expand(template, lookup, &mut out)?;
    Ok(out)
}

impl Expanded {
    fn literal(&mut self, text: &str) {
        self.text.push_str(text);
        self.marked.text.push_str(text);
    }

    fn value(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some("") => self.blank(name, BlankReason::Empty),
            None => self.blank(name, BlankReason::Unset),
            Some(text) => self.literal(text),
        }
    }

    fn blank(&mut self, name: &str, why: BlankReason) {
        self.marked.text.push(Marked::mark(self.marked.blanks.len()));
        self.marked.blanks.push(Blank { name: name.to_owned(), why });
    }

    /// Puts a nested result in place.
    fn nested(&mut self, inner: Expanded) {
        let shift = self.marked.blanks.len();
        for c in inner.marked.text.chars() {
            let index = (0..inner.marked.blanks.len()).find(|i| Marked::mark(*i) == c);
            self.marked.text.push(index.map_or(c, |i| Marked::mark(shift + i)));
        }
        self.marked.blanks.extend(inner.marked.blanks);
        self.text.push_str(&inner.text);
    }
}

fn expand(template: &str, lookup: Lookup<'_>, out: &mut Expanded) -> Result<(), TemplateError> {
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        out.literal(&rest[..at]);
        let after = &rest[at + 1..];
        rest = if let Some(tail) = after.strip_prefix('$') {
            out.literal("$");
            tail
        } else if let Some(braced) = after.strip_prefix('{') {
            expand_braced(braced, lookup, out)?
        } else {
            let name = leading_name(after);
            if name.is_empty() {
                out.literal("$");
            } else {
                out.used.push(name.to_owned());
                out.value(name, lookup(name).as_deref());
            }
            &after[name.len()..]
        };
    }
    out.literal(rest);
    Ok(())
}

/// The variable's name that `text` begins with; empty when there is none.
fn leading_name(text: &str) -> &str {
    let end = text
        .char_indices()
        .find(|(i, c)| !(c.is_ascii_alphabetic() || *c == '_' || (*i > 0 && c.is_ascii_digit())))
        .map_or(text.len(), |(i, _)| i);
    &text[..end]
}

/// Expands what follows `${`; gives what is left of the text.
fn expand_braced<'t>(braced: &'t str, lookup: Lookup<'_>, out: &mut Expanded) -> Result<&'t str, TemplateError> {
    let name = leading_name(braced);
    let tail = &braced[name.len()..];
    if name.is_empty() {
        return Err(TemplateError::Invalid);
    }
    if let Some(rest) = tail.strip_prefix('}') {
        out.used.push(name.to_owned());
        out.value(name, lookup(name).as_deref());
        return Ok(rest);
    }
    let (operator, argument_start) = match tail.as_bytes() {
        [b':', op @ (b'-' | b'+' | b'?'), ..] => ((true, *op), 2),
        [op @ (b'-' | b'+' | b'?'), ..] => ((false, *op), 1),
        _ => return Err(TemplateError::Invalid),
    };
    // The pattern is greedy: it reaches to the last brace of the line, and the first brace that balances then cuts it.
    let line_end = tail[argument_start..].find('\n').map_or(tail.len(), |n| argument_start + n);
    let last = tail[argument_start..line_end].rfind('}').map(|n| argument_start + n).ok_or(TemplateError::Invalid)?;
    let close = first_balanced(braced.as_bytes(), name.len() + last).map_or(last, |n| n - name.len());
    operate(name, operator, &tail[argument_start..close], lookup, out)?;
    Ok(&tail[close + 1..])
}

/// Where the brace opened before `text` closes, looking no further than `end`. The character after an opening brace is
/// skipped, as Compose does.
fn first_balanced(text: &[u8], end: usize) -> Option<usize> {
    let mut open = 1;
    let mut i = 1;
    while i <= end {
        match text.get(i) {
            Some(b'}') => {
                open -= 1;
                if open == 0 {
                    return Some(i);
                }
            }
            Some(b'{') => {
                open += 1;
                i += 1;
            }
            _ => {}
        }
        i += 1;
    }
    None
}

/// `(colon, operator)` on one variable with its argument.
fn operate(
    name: &str,
    (colon, operator): (bool, u8),
    argument: &str,
    lookup: Lookup<'_>,
    out: &mut Expanded,
) -> Result<(), TemplateError> {
    // The argument is expanded even when it is not needed: a required variable inside it is required.
    let mut inner = Expanded::default();
    expand(argument, lookup, &mut inner)?;
    out.used.push(name.to_owned());
    let value = lookup(name);
    let present = value.as_ref().is_some_and(|v| !colon || !v.is_empty());
    match operator {
        b'+' if present => {
            out.used.append(&mut inner.used);
            out.text.push_str(&inner.text);
            out.marked.text.push_str(&inner.text);
        }
        b'+' => out.literal(value.as_deref().unwrap_or_default()),
        b'?' if !present => {
            return Err(TemplateError::Required { name: name.to_owned(), message: inner.text });
        }
        b'-' if !present => {
            out.used.append(&mut inner.used);
            if inner.text.is_empty() && inner.marked.blanks.is_empty() {
                out.blank(name, BlankReason::EmptyDefault);
            } else {
                out.nested(inner);
            }
        }
        _ => out.value(name, value.as_deref()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "A" => Some("a".into()),
            "B" => Some("b b".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn text(template: &str) -> String {
        substitute(template, &env).unwrap_or_else(|e| panic!("{template}: {e:?}")).text
    }

    #[test]
    fn every_form_expands_as_compose_expands_it() {
        for (template, result) in [
            ("$A ${A}", "a a"),
            ("$A$B", "ab b"),
            ("${X:-d}${X-d}${EMPTY:-d}${EMPTY-d}", "ddd"),
            ("${A:+y}${EMPTY:+y}${EMPTY+y}${X+y}", "yy"),
            ("${A:?e}${EMPTY?e}", "a"),
            ("$$A $${A} $$$A", "$A ${A} $a"),
            ("${X:-${A}}", "a"),
            ("${X:-${Y:-${A}z}}!", "az!"),
            ("${X:-${X}}}", "}"),
            ("${A}-${B}", "a-b b"),
            ("${X:-l} and ${X:-r}", "l and r"),
            ("$1 $ $( $.", "$1 $ $( $."),
            ("${X:-{}}", "{}"),
            ("${X-b:-c}", "b:-c"),
            ("${X:-}", ""),
            ("cost$", "cost$"),
            ("${a_1:-x}", "x"),
        ] {
            assert_eq!(text(template), result, "{template}");
        }
    }

    #[test]
    fn a_brace_that_opens_no_reference_is_refused() {
        for template in ["${", "${}", "${A", "${1}", "${A!}", "${A:x}", "${ A}", "${A:-x", "${A:-x\n}"] {
            assert_eq!(substitute(template, &env).err(), Some(TemplateError::Invalid), "{template}");
        }
    }

    #[test]
    fn a_required_variable_reports_its_own_message() {
        let error = substitute("${X:?set $A}", &env).err();
        assert_eq!(error, Some(TemplateError::Required { name: "X".into(), message: "set a".into() }));
        assert!(substitute("${A:-${X?}}", &env).is_err());
    }

    #[test]
    fn variables_that_come_out_empty_are_marked_with_their_reason() {
        let out = substitute("--key ${X} --a=${EMPTY}${A} ${Y:-${Z}}${W:-}", &env).unwrap();
        assert_eq!(out.text, "--key  --a=a ");
        let blanks: Vec<_> = out.marked.blanks.iter().map(|b| (b.name.as_str(), b.why)).collect();
        assert_eq!(
            blanks,
            [
                ("X", BlankReason::Unset),
                ("EMPTY", BlankReason::Empty),
                ("Z", BlankReason::Unset),
                ("W", BlankReason::EmptyDefault)
            ]
        );
        assert_eq!(out.marked.text.chars().filter(|c| out.marked.blank(*c).is_some()).count(), 4);
    }

    proptest::proptest! {
        #[test]
        fn a_text_with_doubled_dollars_comes_back_as_it_was(text in "[a-z$ {}:\\-?+\n]{0,40}") {
            let escaped = text.replace('$', "$$");
            proptest::prop_assert_eq!(substitute(&escaped, &env).unwrap().text, text);
        }

        #[test]
        fn no_text_makes_the_expansion_panic(text in "[AX$ {}:\\-?+\n]{0,40}") {
            let _ = substitute(&text, &env);
        }
    }
}

//! Expressions of rules and gates: names are found and checked here, evaluation is minijinja's.
//!
//! The text is cut into tokens; every name (`flags["x"]`, `kv_cache.ttft_ms.p50`) becomes a numbered variable, `&&`, `||`
//! and `!` become minijinja's `and`, `or`, `not`. So each name can be checked with its own place, and a point that lacks
//! a value is told apart from a wrong expression.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use minijinja::value::{Enumerator, Object};
use minijinja::{Environment, Error, ErrorKind, Expression, UndefinedBehavior, Value};

use super::reader::narrowed;
use crate::domain::Diagnostic;
use crate::yaml::Span;

/// One environment for all expressions: no filters but ours, no functions, nothing undefined.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_filter("number", |value: Value| {
        if value.is_number() {
            return Ok(value);
        }
        Err(Error::new(ErrorKind::InvalidOperation, format!("`{value}` is no number and cannot be compared with one")))
    });
    environment
});

/// A compiled expression over variables of type `V`.
#[derive(Debug)]
pub(super) struct Program<V> {
    /// The text as written.
    pub text: String,
    /// Where it stands.
    pub span: Span,
    /// What the names in it mean, in order of appearance.
    pub variables: Vec<V>,
    expression: Expression<'static, 'static>,
}

/// What evaluation gave.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Evaluated {
    /// A truth value.
    Bool(bool),
    /// The variable with this number has no value, and the answer depends on it.
    Missing(usize),
    /// Something else came out, or an operation does not fit its operands.
    Wrong(String),
}

impl<V> Program<V> {
    /// Evaluates with these values, one for each of `variables`; `None` has no value.
    pub fn evaluate(&self, values: Vec<Option<Value>>) -> Evaluated {
        let missing = Arc::new(AtomicUsize::new(usize::MAX));
        let context = Value::from_object(Context { values, missing: missing.clone() });
        let result = self.expression.eval(context);
        match missing.load(Ordering::Relaxed) {
            usize::MAX => {}
            number => return Evaluated::Missing(number),
        }
        match result {
            Ok(value) => match bool::try_from(value.clone()) {
                Ok(truth) if value.kind() == minijinja::value::ValueKind::Bool => Evaluated::Bool(truth),
                Ok(_) | Err(_) => Evaluated::Wrong(format!("it gives {}, not true or false", described(&value))),
            },
            Err(error) => Evaluated::Wrong(error.detail().map_or_else(|| error.to_string(), str::to_owned)),
        }
    }

    /// An error at this expression.
    pub fn error(&self, code: &str, message: impl Into<String>) -> Diagnostic {
        self.span.error(code, message)
    }
}

fn described(value: &Value) -> String {
    match value.kind() {
        minijinja::value::ValueKind::Number => format!("the number {value}"),
        minijinja::value::ValueKind::String => format!("the text \"{value}\""),
        _ => format!("a {}", value.kind()),
    }
}

#[derive(Debug)]
struct Context {
    values: Vec<Option<Value>>,
    missing: Arc<AtomicUsize>,
}

impl Object for Context {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let number: usize = key.as_str()?.strip_prefix('v')?.parse().ok()?;
        let value = self.values.get(number)?;
        if value.is_none() {
            // The first one asked for is the one to name.
            let _ = self.missing.compare_exchange(usize::MAX, number, Ordering::Relaxed, Ordering::Relaxed);
        }
        value.clone()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

/// A name in an expression: its first word, and what follows by `.word` or `["word"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// `kv_cache`, `ttft_ms`, `p50`; or `flags`, `max-num-seqs`.
    pub parts: Vec<String>,
    /// How it is written.
    pub text: String,
    /// Whether it is compared with a text that holds a number.
    pub against_quoted_number: bool,
}

/// Why a name is refused, and the way out.
pub(super) struct Refusal {
    pub code: &'static str,
    pub message: String,
    pub help: String,
}

impl Refusal {
    pub fn new(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: help.into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    Text,
    Number,
    Sign,
}

#[derive(Clone, Debug)]
struct Token {
    kind: Kind,
    range: Range<usize>,
}

const KEYWORDS: &[&str] = &["and", "or", "not", "in", "true", "false", "True", "False"];
const ORDERING: &[&str] = &["<", "<=", ">", ">="];

/// Compiles `text`; `resolve` says what each name means or why it is refused.
///
/// # Errors
/// Every refused name, each with its place; or what is wrong with the syntax.
pub(super) fn compile<V>(
    text: &str,
    span: &Span,
    mut resolve: impl FnMut(&Chain) -> Result<V, Refusal>,
) -> Result<Program<V>, Vec<Diagnostic>> {
    let at = |range: &Range<usize>, code: &str, message: String, help: String| {
        let offset = text[..range.start].chars().count();
        let length = text[range.clone()].chars().count();
        narrowed(span.error(code, message), text, offset, length).help(help)
    };
    let tokens = tokenize(text).map_err(|(range, message, help)| vec![at(&range, "bad-expression", message, help)])?;
    let mut problems = Vec::new();
    let mut variables = Vec::new();
    let mut translated = String::with_capacity(text.len() + 16);
    let mut i = 0;
    while i < tokens.len() {
        let token = &tokens[i];
        let word = &text[token.range.clone()];
        let end = chain_end(text, &tokens, i);
        match token.kind {
            Kind::Word if !KEYWORDS.contains(&word) => {
                let range = token.range.start..tokens[end - 1].range.end;
                if tokens.get(end).is_some_and(|t| matches!(&text[t.range.clone()], "(" | "[" | ".")) {
                    let message = format!("`{}` is followed by something that is no name", &text[range.clone()]);
                    problems.push(at(
                        &range,
                        "bad-expression",
                        message,
                        "write flags[\"name\"] or scenario.metric.p50; there are no functions".to_owned(),
                    ));
                }
                let chain = chain(text, &tokens, i, end);
                match resolve(&chain) {
                    Ok(variable) => {
                        let numeric = orders_numbers(text, &tokens, i, end);
                        let number = variables.len();
                        variables.push(variable);
                        translated.push_str(&if numeric {
                            format!(" (v{number}|number) ")
                        } else {
                            format!(" v{number} ")
                        });
                    }
                    Err(refusal) => problems.push(at(&range, refusal.code, refusal.message, refusal.help)),
                }
                i = end;
                continue;
            }
            Kind::Word | Kind::Text | Kind::Number => translated.push_str(&format!(" {word} ")),
            Kind::Sign => translated.push_str(match word {
                "&&" => " and ",
                "||" => " or ",
                "!" => " not ",
                other => other,
            }),
        }
        i += 1;
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let whole = 0..text.len();
    match ENVIRONMENT.compile_expression_owned(translated) {
        Ok(expression) => Ok(Program { text: text.to_owned(), span: span.clone(), variables, expression }),
        Err(error) => {
            let why = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            let help = "compare with ==, !=, <, <=, >, >=; join with and, or, not; add, subtract, multiply, divide";
            Err(vec![at(&whole, "bad-expression", format!("this expression cannot be read: {why}"), help.to_owned())])
        }
    }
}

/// The index after the chain that starts at `start`.
fn chain_end(text: &str, tokens: &[Token], start: usize) -> usize {
    let sign = |i: usize, s: &str| tokens.get(i).is_some_and(|t| t.kind == Kind::Sign && text[t.range.clone()] == *s);
    let kind = |i: usize, k: Kind| tokens.get(i).is_some_and(|t| t.kind == k);
    let mut end = start + 1;
    loop {
        if sign(end, ".") && kind(end + 1, Kind::Word) {
            end += 2;
        } else if sign(end, "[") && kind(end + 1, Kind::Text) && sign(end + 2, "]") {
            end += 3;
        } else {
            return end;
        }
    }
}

fn chain(text: &str, tokens: &[Token], start: usize, end: usize) -> Chain {
    let parts = tokens[start..end]
        .iter()
        .filter_map(|t| match t.kind {
            Kind::Word => Some(text[t.range.clone()].to_owned()),
            Kind::Text => Some(unquoted(&text[t.range.clone()]).to_owned()),
            Kind::Number | Kind::Sign => None,
        })
        .collect();
    let quoted_number = |operator: Option<&Token>, other: Option<&Token>| match (operator, other) {
        (Some(operator), Some(other)) => {
            matches!(&text[operator.range.clone()], "==" | "!=")
                && other.kind == Kind::Text
                && unquoted(&text[other.range.clone()]).parse::<f64>().is_ok()
        }
        (_, _) => false,
    };
    let before = |n: usize| start.checked_sub(n).and_then(|i| tokens.get(i));
    Chain {
        parts,
        text: text[tokens[start].range.start..tokens[end - 1].range.end].to_owned(),
        against_quoted_number: quoted_number(tokens.get(end), tokens.get(end + 1))
            || quoted_number(before(1), before(2)),
    }
}

/// Whether the chain stands beside `<`, `<=`, `>` or `>=` whose other side is no text: then it must be a number.
///
/// minijinja would order a text and a number silently, by their kinds.
fn orders_numbers(text: &str, tokens: &[Token], start: usize, end: usize) -> bool {
    let beside = |operator: Option<&Token>, other: Option<&Token>| {
        operator.is_some_and(|t| ORDERING.contains(&&text[t.range.clone()]))
            && other.is_some_and(|t| t.kind != Kind::Text)
    };
    let before = |n: usize| start.checked_sub(n).and_then(|i| tokens.get(i));
    beside(tokens.get(end), tokens.get(end + 1)) || beside(before(1), before(2))
}

fn unquoted(text: &str) -> &str {
    text.get(1..text.len().saturating_sub(1)).unwrap_or_default()
}

type Unreadable = (Range<usize>, String, String);

fn tokenize(text: &str) -> Result<Vec<Token>, Unreadable> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let first = rest.chars().next().unwrap_or(' ');
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (kind, length) = if first.is_ascii_alphabetic() || first == '_' {
            (Kind::Word, prefix(rest, |b| b.is_ascii_alphanumeric() || b == b'_'))
        } else if first.is_ascii_digit() {
            (Kind::Number, number_length(rest))
        } else if first == '"' || first == '\'' {
            match rest[1..].find([first, '\\', '\n']) {
                Some(end) if rest.as_bytes().get(end + 1) == Some(&(first as u8)) => (Kind::Text, end + 2),
                Some(_) | None => {
                    let help = "close the quotes; backslashes have no place in a name or value".to_owned();
                    return Err((at..text.len(), "this text is not closed".to_owned(), help));
                }
            }
        } else {
            (Kind::Sign, sign_length(rest).ok_or_else(|| stray(at, first))?)
        };
        tokens.push(Token { kind, range: at..at + length });
        at += length;
    }
    if tokens.is_empty() {
        return Err((0..text.len(), "the expression is empty".to_owned(), "write a condition".to_owned()));
    }
    Ok(tokens)
}

fn stray(at: usize, c: char) -> Unreadable {
    let message = format!("`{c}` has no meaning here");
    let help = match c {
        '&' => "write `and` or `&&`",
        '|' => "write `or` or `||`; there are no filters",
        '=' => "compare with `==`",
        _ => "compare with ==, !=, <, <=, >, >=; join with and, or, not",
    };
    (at..at + c.len_utf8(), message, help.to_owned())
}

fn prefix(text: &str, accept: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|b| accept(*b)).count()
}

/// Digits, a fraction, an exponent.
fn number_length(text: &str) -> usize {
    let digits = |from: usize| text.get(from..).map_or(0, |rest| prefix(rest, |b| b.is_ascii_digit()));
    let mut length = digits(0);
    if text[length..].starts_with('.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    if text[length..].starts_with(['e', 'E']) {
        let sign = usize::from(text[length + 1..].starts_with(['+', '-']));
        let exponent = digits(length + 1 + sign);
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    length
}

fn sign_length(text: &str) -> Option<usize> {
    const SIGNS: &[&str] =
        &["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "(", ")", "[", "]", ",", "."];
    SIGNS.iter().find(|sign| text.starts_with(**sign)).map(|sign| sign.len())
}

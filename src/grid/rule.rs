//! Exclusion rules: conditions over a point's settings that take it out of the grid.

use minijinja::Value;

use super::expr::{self, Chain, Evaluated, Program, Refusal};
use super::keys::Section;
use super::reader::Reader;
use super::settings::Target;
use crate::domain::{Diagnostics, FlagName, KNOWN_FLAGS, Key, Kind, did_you_mean, known_flag};
use crate::yaml::Node;

/// What a name in a rule stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A setting; `default` where the point says nothing.
    Setting(Target),
    /// The point's name.
    Name,
}

/// One rule of `exclude`.
#[derive(Debug)]
pub struct Rule {
    pub(super) program: Program<Subject>,
    /// Why; the condition itself when the grid gives no reason.
    pub because: String,
}

impl Rule {
    /// The condition as written.
    #[must_use]
    pub fn when(&self) -> &str {
        &self.program.text
    }

    /// The settings that it looks at; none when it looks at the point's name, which stands for all of them.
    pub(super) fn targets(&self) -> Option<Vec<&Target>> {
        let targets = self.program.variables.iter().map(|subject| match subject {
            Subject::Setting(target) => Some(target),
            Subject::Name => None,
        });
        targets.collect()
    }

    /// Whether it holds for a point whose settings `text_of` gives as text.
    ///
    /// # Errors
    /// The condition gave no truth value, or orders a text and a number.
    pub(super) fn holds(
        &self,
        name: impl Fn() -> String,
        text_of: impl Fn(&Target) -> Option<String>,
    ) -> Result<bool, Diagnostics> {
        let value = |subject: &Subject| match subject {
            Subject::Name => Value::from(name()),
            Subject::Setting(target) => exposed(&text_of(target).unwrap_or_else(|| "default".to_owned())),
        };
        let values = self.program.variables.iter().map(|subject| Some(value(subject))).collect();
        match self.program.evaluate(values) {
            Evaluated::Bool(truth) => Ok(truth),
            Evaluated::Missing(_) => Ok(false),
            Evaluated::Wrong(why) => Err(self
                .program
                .error("bad-rule", format!("this rule cannot be decided for the point `{}`: {why}", name()))
                .help("compare numbers with numbers; put flags[\"x\"] != \"default\" and ... before it where needed")
                .into()),
        }
    }
}

/// A value as expressions see it: a number when it is one, else a text.
fn exposed(text: &str) -> Value {
    if let Ok(number) = text.parse::<i64>() {
        return Value::from(number);
    }
    match text.parse::<f64>() {
        // `inf`, `nan`, `infinity` are words to a reader of a grid.
        Ok(number) if number.is_finite() && text.contains(|c: char| c.is_ascii_digit()) => Value::from(number),
        Ok(_) | Err(_) => Value::from(text),
    }
}

/// The keys of a rule of `exclude`.
pub(super) const EXCLUDE: Section = Section::new(
    "exclude",
    "a rule of `exclude`",
    &[
        Key::new("when", Kind::Shape("condition"), "required", "A point for which it holds is not run."),
        Key::new("because", Kind::Shape("text"), "the condition", "The reason, shown in the plan."),
    ],
);

/// Reads `exclude`; `set` are the targets that the grid sets anywhere.
pub(super) fn read(reader: &mut Reader, node: &Node, set: &[Target]) -> Vec<Rule> {
    let help = "e.g. exclude: [{ when: 'flags[\"max-num-seqs\"] > 64', because: too many }]";
    let mut rules = Vec::new();
    for item in reader.items(node, "`exclude`", help) {
        reader.check_keys(item, &EXCLUDE);
        let when = reader.required(item, "when", EXCLUDE.what, help).cloned();
        let Some(when) = when.and_then(|node| reader.text(&node, "`when`")) else { continue };
        let because = super::reader::present(item, "because").and_then(|node| reader.text(node, "`because`"));
        match expr::compile(&when.value, &when.span, |chain| subject(chain, set)) {
            Ok(program) => {
                let because = because.map_or_else(|| program.text.clone(), |text| text.value);
                rules.push(Rule { program, because });
            }
            Err(problems) => problems.into_iter().for_each(|problem| reader.error(problem)),
        }
    }
    rules
}

fn subject(chain: &Chain, set: &[Target]) -> Result<Subject, Refusal> {
    let words: Vec<&str> = chain.parts.iter().map(String::as_str).collect();
    let found = match words.as_slice() {
        ["name"] => Ok(Subject::Name),
        ["image"] => Ok(Subject::Setting(Target::Image)),
        ["model"] => Ok(Subject::Setting(Target::Model)),
        ["flags", flag] => flag_subject(flag, set),
        ["env", name] => env_subject(name, set),
        _ => Err(unknown_name(&words, &chain.text)),
    };
    if chain.against_quoted_number && found.is_ok() && words.first() == Some(&"flags") {
        return Err(Refusal::new(
            "number-in-quotes",
            format!("`{}` is compared with a number in quotes", chain.text),
            "write the number without quotes: numbers are numbers here",
        ));
    }
    found
}

fn flag_subject(flag: &str, set: &[Target]) -> Result<Subject, Refusal> {
    let (name, negated) = FlagName::parse_negated(flag);
    if negated {
        let help = format!("write flags[\"{name}\"] == \"off\"");
        return Err(Refusal::new("negative-flag", format!("`{flag}` is the negative form of a flag"), help));
    }
    let target = Target::Flag(name.clone());
    if set.contains(&target) || known_flag(name.as_str()).is_some() {
        return Ok(Subject::Setting(target));
    }
    let of_grid = set.iter().filter_map(|t| match t {
        Target::Flag(name) => Some(name.as_str()),
        Target::Env(_) | Target::Image | Target::Model => None,
    });
    let near = did_you_mean(flag, of_grid.chain(KNOWN_FLAGS.iter().map(|k| k.name)));
    let help = match near {
        Some(near) => format!("did you mean flags[\"{near}\"]?"),
        None => "name a flag that the grid sets, or one that vLLM has".to_owned(),
    };
    Err(Refusal::new("unknown-flag", format!("no flag `{flag}` in this grid, and vgrid knows none"), help))
}

fn env_subject(name: &str, set: &[Target]) -> Result<Subject, Refusal> {
    let target = Target::Env(name.to_owned());
    if set.contains(&target) {
        return Ok(Subject::Setting(target));
    }
    let of_grid: Vec<&str> = set
        .iter()
        .filter_map(|t| match t {
            Target::Env(name) => Some(name.as_str()),
            Target::Flag(_) | Target::Image | Target::Model => None,
        })
        .collect();
    let help = match did_you_mean(name, of_grid.iter().copied()) {
        Some(near) => format!("did you mean env[\"{near}\"]?"),
        None if of_grid.is_empty() => "the grid sets no variables".to_owned(),
        None => format!("variables that the grid sets: {}", of_grid.join(", ")),
    };
    Err(Refusal::new("unknown-variable", format!("the grid sets no variable `{name}`"), help))
}

fn unknown_name(words: &[&str], text: &str) -> Refusal {
    let help = match words {
        ["on" | "off" | "default"] => format!("write it in quotes: \"{text}\""),
        ["true" | "True"] => "write \"on\"".to_owned(),
        ["false" | "False"] => "write \"off\"".to_owned(),
        [first, ..] => match did_you_mean(first, ["flags", "env", "image", "model", "name"]) {
            Some(near @ ("flags" | "env")) => format!("write {near}[\"name\"]"),
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                let flag = FlagName::new(first);
                if known_flag(flag.as_str()).is_some() {
                    format!("write flags[\"{flag}\"]")
                } else {
                    "names here: flags[\"name\"], env[\"NAME\"], image, model, name; texts stand in quotes".to_owned()
                }
            }
        },
        [] => "names here: flags[\"name\"], env[\"NAME\"], image, model, name".to_owned(),
    };
    Refusal::new("unknown-name", format!("`{text}` is unknown here"), help)
}

//! The judgement of the calls that an engine made in one round.

use serde_json::Value as Json;

use super::schema::same;
use super::tool::{ExpectedCall, Step, ToolFile};

/// A call as the engine made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeCall {
    /// The tool's name.
    pub name: String,
    /// The arguments' text: JSON or not.
    pub arguments: String,
}

/// What is to be said of the calls of one round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepFindings {
    /// Calls that were made.
    pub calls: usize,
    /// Of these, with arguments that are a JSON object.
    pub valid_json: usize,
    /// Of these, with arguments that obey the schema of a tool that was offered.
    pub valid_schema: usize,
    /// Whether the tools were the right ones, each as often as expected.
    pub right_tools: bool,
    /// Whether the arguments of the right tools were as expected.
    pub arguments_match: bool,
    /// The first thing that is wrong; none when the round is right.
    pub problem: Option<String>,
}

impl MadeCall {
    /// The arguments, if they are a JSON object. No arguments at all count as an empty object.
    fn object(&self) -> Option<Json> {
        if self.arguments.trim().is_empty() {
            return Some(Json::Object(serde_json::Map::new()));
        }
        serde_json::from_str(&self.arguments).ok().filter(Json::is_object)
    }

    /// `name({"x": 1})`.
    #[must_use]
    pub fn in_words(&self) -> String {
        format!("{}({})", self.name, self.arguments)
    }
}

/// Whether two lists of calls are the same: tools and arguments in order, whatever the white space of their JSON.
#[must_use]
pub fn same_calls(a: &[MadeCall], b: &[MadeCall]) -> bool {
    let pair = |(a, b): (&MadeCall, &MadeCall)| {
        let arguments = match (a.object(), b.object()) {
            (Some(a), Some(b)) => same(&a, &b),
            (None, None) => a.arguments == b.arguments,
            (Some(_), None) | (None, Some(_)) => false,
        };
        a.name == b.name && arguments
    };
    a.len() == b.len() && a.iter().zip(b).all(pair)
}

/// Judges the calls of one round. `offered` names the tools of the case.
#[must_use]
pub fn judge_step(file: &ToolFile, offered: &[String], step: &Step, made: &[MadeCall]) -> StepFindings {
    let mut findings = StepFindings { calls: made.len(), ..StepFindings::default() };
    let mut arguments = Vec::new();
    for call in made {
        let object = call.object();
        let tool = file.tool(&call.name).filter(|tool| offered.contains(&tool.name));
        match (&object, tool) {
            (None, _) => {
                let text = super::shortened(&call.arguments, 120);
                findings.problem.get_or_insert(format!("the arguments of {} are no JSON object: {text}", call.name));
            }
            (Some(_), None) => {
                findings.valid_json += 1;
                findings.problem.get_or_insert(format!("{} was not offered", call.name));
            }
            (Some(value), Some(tool)) => {
                findings.valid_json += 1;
                match tool.schema.violation(value) {
                    None => findings.valid_schema += 1,
                    Some(broken) => {
                        findings.problem.get_or_insert(format!("{} breaks its schema: {broken}", call.name));
                    }
                }
            }
        }
        arguments.push(object);
    }
    let mut names: Vec<&str> = made.iter().map(|call| call.name.as_str()).collect();
    let mut wanted: Vec<&str> = step.calls.iter().map(|call| call.name.as_str()).collect();
    names.sort_unstable();
    wanted.sort_unstable();
    findings.right_tools = names == wanted;
    if !findings.right_tools {
        let got = if names.is_empty() { "no call".to_owned() } else { names.join(", ") };
        findings.problem.get_or_insert(format!("expected {}, got {got}", wanted.join(", ")));
        return findings;
    }
    let difference = assigned(&step.calls, made, &arguments, &mut vec![false; made.len()]);
    findings.arguments_match = difference.is_none();
    if findings.problem.is_none() {
        findings.problem = difference;
    }
    findings
}

/// Gives each expected call one made call of its own; `None` when that works out, else the first difference of the first call that
/// fits nothing.
fn assigned(
    wanted: &[ExpectedCall],
    made: &[MadeCall],
    arguments: &[Option<Json>],
    taken: &mut Vec<bool>,
) -> Option<String> {
    let (first, rest) = wanted.split_first()?;
    let mut why = None;
    for i in 0..made.len() {
        if taken[i] || made[i].name != first.name {
            continue;
        }
        match arguments[i].as_ref().map_or_else(|| Some("no JSON object".to_owned()), |got| first.difference(got)) {
            None => {
                taken[i] = true;
                let rest = assigned(rest, made, arguments, taken)?;
                taken[i] = false;
                why = why.or(Some(rest));
            }
            Some(difference) => why = why.or(Some(format!("{}: {difference}", first.name))),
        }
    }
    why.or_else(|| Some(format!("no call of {} fits", first.name)))
}

impl ExpectedCall {
    /// Whether a call is this one.
    pub(super) fn is_met_by(&self, made: &MadeCall) -> bool {
        made.name == self.name && made.object().is_some_and(|arguments| self.difference(&arguments).is_none())
    }

    /// The first difference of a call's arguments.
    fn difference(&self, got: &Json) -> Option<String> {
        let members = got.as_object()?;
        let wrong = self.arguments.iter().find_map(|(name, expected)| match members.get(name) {
            Some(value) => expected.difference(value).map(|why| format!("`{name}` {why}")),
            None => Some(format!("`{name}` is missing, expected {}", expected.in_words())),
        });
        wrong.or_else(|| {
            members.iter().filter(|(name, _)| !self.arguments.iter().any(|(known, _)| known == *name)).find_map(
                |(name, value)| match self.optional.iter().find(|(known, _)| known == name) {
                    Some((_, expected)) => expected.difference(value).map(|why| format!("`{name}` {why}")),
                    None => Some(format!("`{name}` was not asked for, got {value}")),
                },
            )
        })
    }
}

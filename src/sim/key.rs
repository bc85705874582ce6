//! The simulated model's answer key: it knows the answers to the cases that ship with vgrid, and gives a chosen share of them wrong.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use serde_json::{Value as Json, json};

use crate::cases::{Canary, CaseSet, Task, ToolCase};
use crate::domain::text_enum;

use super::request::{Endpoint, Generation, ToolChoice};
use super::schema;

text_enum! {
    /// How a case was answered.
    pub enum How {
        /// As the key says.
        Right = "right",
        /// With a text that is not the answer.
        Wrong = "wrong",
        /// With a text where a call is expected.
        NoCall = "no_call",
        /// With a call where none is expected.
        UnwantedCall = "unwanted_call",
        /// With a call of another tool.
        WrongTool = "wrong_tool",
        /// With one argument changed, within the tool's schema.
        WrongArgument = "wrong_argument",
        /// With arguments that are no JSON.
        BadJson = "bad_json",
        /// With an argument that the tool does not have.
        BadSchema = "bad_schema",
    }
}

/// What the key says to a request.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    pub(super) case_id: &'static str,
    pub(super) how: How,
    /// Tools and the text of their arguments.
    pub(super) calls: Vec<(String, String)>,
    pub(super) content: String,
}

/// A case of the shipped data.
enum Known {
    Tool(ToolCase),
    Task(Task),
    Canary(Canary),
}

/// Every shipped case, by the text of its user message.
static KEY: LazyLock<HashMap<String, Known>> = LazyLock::new(|| {
    let set = CaseSet::shipped();
    let tools = set.tools.cases.iter().map(|case| (case.user.clone(), Known::Tool(case.clone())));
    let tasks = set.tasks.tasks.iter().map(|task| (task.prompt.clone(), Known::Task(task.clone())));
    let canaries = set.canaries.canaries.iter().map(|c| (c.prompt.clone(), Known::Canary(c.clone())));
    tools.chain(tasks).chain(canaries).collect()
});

const PROSE_EN: &str = "A lighthouse stands where the coast is dangerous and sends a strong beam far over the water. Sailors know the rhythm \
                        of each light, so that they can tell where they are, keep clear of the rocks and find the way into a harbour.";
const PROSE_FR: &str = "L'abeille visite les fleurs, aspire le nectar et le rapporte à la ruche. Là, d'autres ouvrières le transforment, le \
                        déposent dans les alvéoles et battent des ailes pour en chasser l'eau, jusqu'à ce qu'il devienne du miel.";

/// The answer to a request whose last user message is a shipped case; `quality` is the share of cases that are answered rightly, which
/// ones follows from `seed` and the case.
pub(super) fn answer(generation: &Generation, seed: u64, quality: f64) -> Option<Keyed> {
    if generation.endpoint != Endpoint::Chat {
        return None;
    }
    let known = KEY.get(&generation.question)?;
    let id = match known {
        Known::Tool(case) => &case.id,
        Known::Task(task) => &task.id,
        Known::Canary(canary) => &canary.id,
    };
    let draw = draw(seed, id);
    let right = (draw >> 11) as f64 / (1_u64 << 53) as f64;
    let right = right < quality;
    match known {
        Known::Tool(case) if generation.tool_choice == ToolChoice::Auto => Some(tool(case, generation, right, draw)),
        Known::Tool(_) => None,
        Known::Task(task) => Some(text(&task.id, right, || {
            let word = if task.language == "fr" { "Réponse :" } else { "Answer:" };
            let result = if right { task.right_answer() } else { "31415".to_owned() };
            format!("{word} {result}")
        })),
        Known::Canary(canary) => Some(text(&canary.id, right, || canary_text(canary, right))),
    }
}

/// Bits that belong to a case and a seed.
fn draw(seed: u64, id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, id).hash(&mut hasher);
    hasher.finish()
}

fn text(id: &'static str, right: bool, content: impl FnOnce() -> String) -> Keyed {
    let how = if right { How::Right } else { How::Wrong };
    Keyed { case_id: id, how, calls: Vec::new(), content: content() }
}

fn canary_text(canary: &Canary, right: bool) -> String {
    if let Some(number) = canary.number {
        return (number + f64::from(u8::from(!right))).to_string();
    }
    if !right {
        return "Yes.".to_owned();
    }
    let prose = if canary.language == "fr" { PROSE_FR } else { PROSE_EN };
    if canary.contains.is_empty() { prose.to_owned() } else { canary.contains.join(", ") }
}

fn tool(case: &'static ToolCase, generation: &Generation, right: bool, draw: u64) -> Keyed {
    let keyed = |how, calls, content: &str| Keyed { case_id: &case.id, how, calls, content: content.to_owned() };
    let expected: Vec<(String, Json)> = case
        .steps
        .get(generation.rounds)
        .map(|step| step.calls.iter().map(|call| (call.name.clone(), call.sample())).collect())
        .unwrap_or_default();
    let written = |calls: &[(String, Json)]| calls.iter().map(|(n, a)| (n.clone(), a.to_string())).collect::<Vec<_>>();
    // A wrong answer is wrong from its first round on: later rounds never come.
    if right || generation.rounds > 0 {
        if !expected.is_empty() {
            return keyed(How::Right, written(&expected), "");
        }
        let texts = case.answer.iter().flat_map(|answer| answer.contains.iter().filter_map(|s| s.first()));
        let texts: Vec<&str> = texts.map(String::as_str).collect();
        let content =
            if texts.is_empty() { "With pleasure. Avec plaisir.".to_owned() } else { format!("{}.", texts.join(", ")) };
        return keyed(How::Right, Vec::new(), &content);
    }
    if expected.is_empty() {
        let call = generation.tools.first().map(|tool| instance(tool, &generation.question));
        return keyed(How::UnwantedCall, call.into_iter().collect(), "");
    }
    let mut calls = expected.clone();
    let ways = [How::NoCall, How::WrongTool, How::WrongArgument, How::BadJson, How::BadSchema];
    match ways[(draw % ways.len() as u64) as usize] {
        How::WrongArgument if change_argument(&mut calls[0].1, generation, &expected[0].0) => {
            keyed(How::WrongArgument, written(&calls), "")
        }
        How::WrongTool | How::WrongArgument => {
            let other = generation.tools.iter().find(|tool| tool.name != expected[0].0);
            let mut calls = written(&calls);
            calls[0] = other
                .map_or_else(|| ("unknown_tool".to_owned(), "{}".to_owned()), |t| instance(t, &generation.question));
            keyed(How::WrongTool, calls, "")
        }
        How::BadJson => {
            let mut calls = written(&calls);
            calls[0].1.pop();
            keyed(How::BadJson, calls, "")
        }
        How::BadSchema => {
            calls[0].1["certainty"] = json!("high");
            keyed(How::BadSchema, written(&calls), "")
        }
        How::Right | How::Wrong | How::NoCall | How::UnwantedCall => {
            keyed(How::NoCall, Vec::new(), "I would have to look that up.")
        }
    }
}

/// A call of a tool with arguments that fit its schema.
fn instance(tool: &super::request::Tool, question: &str) -> (String, String) {
    (tool.name.clone(), schema::instance(&tool.parameters, question).to_string())
}

/// Changes the first argument that is a free text or a free number; false when there is none.
fn change_argument(arguments: &mut Json, generation: &Generation, name: &str) -> bool {
    let Some(tool) = generation.tools.iter().find(|tool| tool.name == name) else { return false };
    let Some(members) = arguments.as_object_mut() else { return false };
    for (key, value) in members.iter_mut() {
        let schema = tool.parameters.pointer(&format!("/properties/{key}"));
        if schema.is_some_and(|schema| schema.get("enum").is_some()) {
            continue;
        }
        if value.is_string() {
            *value = json!("somewhere else");
            return true;
        }
        if let Some(number) = value.as_i64() {
            *value = json!(number + 1);
            return true;
        }
    }
    false
}

//! Tool cases: which calls an engine must make for a request, and what it gets back.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::expected::Expected;
use super::read::Reader;
use super::schema::Schema;
use crate::domain::{Diagnostics, short_sha256, text_enum};
use crate::yaml::Node;

text_enum! {
    /// What a tool case is about; a point of the scenario's metrics.
    pub enum ToolCategory {
        /// One call.
        Single = "single",
        /// Several calls at once that do not depend on each other.
        Parallel = "parallel",
        /// Calls that need the results of earlier ones.
        Chained = "chained",
        /// Arguments with objects and lists in them.
        Nested = "nested",
        /// Arguments out of a given set of words.
        Enum = "enum",
        /// Several tools seem to fit, one does.
        Ambiguous = "ambiguous",
        /// Tools are offered and none may be called.
        NoTool = "no_tool",
    }
}

text_enum! {
    /// Who decides whether a tool is called in a round that expects calls.
    pub enum ToolChoice {
        /// The model.
        Auto = "auto",
        /// The request: some tool must be called.
        Required = "required",
        /// The request, which names the expected tool: the engine makes the answer a call of it, and only the arguments are the model's.
        Named = "named",
    }
}

/// The data of the scenario `tool_calling`.
#[derive(Clone, Debug)]
pub struct ToolFile {
    /// SHA-256 of the file's text, first 16 hexadecimal digits.
    pub sha256: String,
    /// Every tool, in the file's order.
    pub tools: Vec<Tool>,
    /// Every case, in the file's order.
    pub cases: Vec<ToolCase>,
}

/// A tool as it is offered.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The member of `tools` of a request, as the file has it.
    pub definition: Json,
    /// Its parameters, for checking calls.
    pub schema: Schema,
}

/// One request and what must come of it.
#[derive(Clone, Debug)]
pub struct ToolCase {
    /// Unique in its file.
    pub id: String,
    /// Two letters.
    pub language: String,
    /// What it is about.
    pub category: ToolCategory,
    /// Names of the tools that are offered.
    pub tools: Vec<String>,
    /// Who decides whether one is called.
    pub tool_choice: ToolChoice,
    /// The system message, if there is one.
    pub system: Option<String>,
    /// The user's message.
    pub user: String,
    /// The calls, round by round; none where no tool may be called.
    pub steps: Vec<Step>,
    /// What the final text must hold, where a final text is asked for.
    pub answer: Option<ExpectedAnswer>,
}

/// One round of calls.
#[derive(Clone, Debug)]
pub struct Step {
    /// Calls that must be made, in any order, and no others.
    pub calls: Vec<ExpectedCall>,
    /// What the tools answer, call by call; empty in a last round that nothing follows.
    pub results: Vec<Json>,
}

/// One call that must be made.
#[derive(Clone, Debug)]
pub struct ExpectedCall {
    /// The tool.
    pub name: String,
    /// Arguments that must be there.
    pub arguments: Vec<(String, Expected)>,
    /// Arguments that may be there, with the values that they may have.
    pub optional: Vec<(String, Expected)>,
}

/// What a final text must hold.
#[derive(Clone, Debug)]
pub struct ExpectedAnswer {
    /// All of these; each is met by any one of its spellings.
    pub contains: Vec<Vec<String>>,
}

const CASE_KEYS: [&str; 9] =
    ["id", "language", "category", "tools", "tool_choice", "system", "user", "steps", "answer"];

impl ToolFile {
    /// Reads the file's text.
    ///
    /// # Errors
    /// Everything wrong with it, each with its place.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Diagnostics> {
        let mut reader = Reader::default();
        let root = reader.open(file, text, "tool_calling", &["tools", "cases"])?;
        let tools: Vec<Tool> = match reader.required(&root, "tools", "the file").map(|node| (node, node.map())) {
            Some((_, Some(entries))) => {
                entries.iter().map(|(name, node)| tool(&mut reader, name.text().unwrap_or_default(), node)).collect()
            }
            Some((node, None)) => {
                reader.wrong(node, "`tools`", "a mapping from names to tools");
                Vec::new()
            }
            None => Vec::new(),
        };
        let mut ids = Vec::new();
        let nodes = reader.list(&root, "cases", "the file");
        let cases = nodes.iter().map(|node| case(&mut reader, node, &tools, &mut ids)).collect();
        reader.finish(Self { sha256: short_sha256(&[text.as_bytes()]), tools, cases })
    }

    /// The tool of this name.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// At most so many cases of each category, languages in turn, in the order of the categories.
    #[must_use]
    pub fn pick(&self, cases_per_category: Option<u32>) -> Vec<&ToolCase> {
        let limit = cases_per_category.map_or(usize::MAX, |n| n as usize);
        let of = |category: &ToolCategory| {
            let cases = self.cases.iter().filter(|case| case.category == *category);
            super::in_turn(cases, |case| &case.language, limit)
        };
        ToolCategory::ALL.iter().flat_map(of).collect()
    }
}

fn tool(reader: &mut Reader, name: &str, node: &Node) -> Tool {
    let what = format!("the tool `{name}`");
    reader.keys(node, &what, &["description", "parameters"]);
    let description = reader.text(node, "description", &what);
    let parameters = reader.required(node, "parameters", &what);
    let schema =
        parameters.map(|p| Schema::read(reader, p, &format!("the parameters of `{name}`"))).unwrap_or_default();
    let parameters = parameters.map(Node::json).unwrap_or_default();
    let function = json!({ "name": name, "description": description, "parameters": parameters });
    Tool { name: name.to_owned(), definition: json!({ "type": "function", "function": function }), schema }
}

fn case(reader: &mut Reader, node: &Node, tools: &[Tool], ids: &mut Vec<String>) -> ToolCase {
    reader.keys(node, "a case", &CASE_KEYS);
    let id = reader.id(node, "a case", ids);
    let what = format!("the case `{id}`");
    let category = reader.word(node, "category", &what).unwrap_or(ToolCategory::Single);
    let mut offered = Vec::new();
    for name in reader.list(node, "tools", &what) {
        let name_text = reader.text_of(name, &format!("a tool of {what}"));
        known_tool(reader, name, &name_text, &tools.iter().map(|t| t.name.as_str()).collect::<Vec<_>>());
        offered.push(name_text);
    }
    let steps: Vec<Step> = match node.get("steps") {
        Some(list) => {
            let items = reader.list_of(list, &format!("`steps` of {what}"));
            let last = items.len().saturating_sub(1);
            let needs_results = |i: usize| i < last || node.get("answer").is_some();
            items.iter().enumerate().map(|(i, s)| step(reader, s, &what, (tools, &offered), needs_results(i))).collect()
        }
        None => Vec::new(),
    };
    let tool_choice =
        node.get("tool_choice").and_then(|_| reader.word(node, "tool_choice", &what)).unwrap_or(ToolChoice::Auto);
    let calls_fit = match tool_choice {
        ToolChoice::Auto => true,
        ToolChoice::Required => !steps.is_empty(),
        ToolChoice::Named => !steps.is_empty() && steps.iter().all(|step| step.calls.len() == 1),
    };
    if let Some(place) = node.get("tool_choice").filter(|_| !calls_fit) {
        let error = place.span.error("contradiction", format!("{what} cannot have the tool choice {tool_choice}"));
        reader.errors.push(error.help("required needs steps; named needs steps with exactly one call each"));
    }
    let no_tool = category == ToolCategory::NoTool;
    if no_tool != steps.is_empty() || (category == ToolCategory::Chained && steps.len() < 2) {
        let error = node.span.error("steps", format!("{what} is of category {category} and has {} steps", steps.len()));
        reader.errors.push(error.help("no_tool has no steps, chained has two or more, the others have at least one"));
    }
    ToolCase {
        language: reader.language(node, &what),
        system: node.get("system").map(|system| reader.text_of(system, &format!("`system` of {what}"))),
        user: reader.text(node, "user", &what),
        answer: node.get("answer").map(|answer| answer_of(reader, answer, &what)),
        id,
        category,
        tools: offered,
        tool_choice,
        steps,
    }
}

fn known_tool(reader: &mut Reader, node: &Node, name: &str, known: &[&str]) {
    if !known.contains(&name) {
        let error = node.span.error("unknown-tool", format!("no tool is called `{name}`"));
        reader.errors.push(error.help(format!("tools allowed here: {}", known.join(", "))));
    }
}

fn step(reader: &mut Reader, node: &Node, what: &str, tools: (&[Tool], &[String]), needs_results: bool) -> Step {
    let of = format!("a step of {what}");
    reader.keys(node, &of, &["calls", "results"]);
    let calls: Vec<ExpectedCall> =
        reader.list(node, "calls", &of).iter().map(|c| call(reader, c, &of, tools)).collect();
    let results: Vec<Json> = match node.get("results") {
        Some(list) => reader.list_of(list, &format!("`results` of {of}")).iter().map(Node::json).collect(),
        None => Vec::new(),
    };
    let fits = results.len() == calls.len() || (results.is_empty() && !needs_results);
    if !fits {
        let error = node.span.error("results", format!("{of} has {} calls and {} results", calls.len(), results.len()));
        reader
            .errors
            .push(error.help("write one result for each call, in their order, wherever a step or an answer follows"));
    }
    Step { calls, results }
}

fn call(reader: &mut Reader, node: &Node, what: &str, (tools, offered): (&[Tool], &[String])) -> ExpectedCall {
    let of = format!("a call of {what}");
    reader.keys(node, &of, &["name", "arguments", "optional"]);
    let name = reader.text(node, "name", &of);
    if let Some(place) = node.get("name") {
        known_tool(reader, place, &name, &offered.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let mut arguments = Vec::new();
    for (key, value) in reader.required(node, "arguments", &of).and_then(Node::map).unwrap_or_default() {
        arguments.push((key.text().unwrap_or_default().to_owned(), expected(reader, value)));
    }
    let mut optional = Vec::new();
    for (key, value) in node.get("optional").and_then(Node::map).unwrap_or_default() {
        let values = reader.list_of(value, &format!("an optional argument of {of}"));
        let values = values.iter().map(|value| expected(reader, value)).collect();
        optional.push((key.text().unwrap_or_default().to_owned(), Expected::OneOf(values)));
    }
    let call = ExpectedCall { name, arguments, optional };
    let sample = call.sample();
    let broken = tools.iter().find(|tool| tool.name == call.name).and_then(|tool| tool.schema.violation(&sample));
    if let Some(broken) = broken {
        let error = node
            .span
            .error("breaks-schema", format!("{of}: the expected call breaks the schema of `{}`: {broken}", call.name));
        reader.errors.push(error.help("an engine that obeys the schema could never pass: change the call or the tool"));
    }
    call
}

fn expected(reader: &mut Reader, node: &Node) -> Expected {
    Expected::of(&node.json()).unwrap_or_else(|| {
        let error = node.span.error("bad-operator", "this is no expected value");
        reader.errors.push(
            error.help("operators: {\"$one_of\": [values]} and {\"$contains\": [texts]}, alone in their mapping"),
        );
        Expected::Exactly(Json::Null)
    })
}

fn answer_of(reader: &mut Reader, node: &Node, what: &str) -> ExpectedAnswer {
    let of = format!("`answer` of {what}");
    reader.keys(node, &of, &["contains"]);
    let mut contains = Vec::new();
    for item in reader.list(node, "contains", &of) {
        contains.push(match item.seq() {
            Some(spellings) => spellings.iter().map(|s| reader.text_of(s, &format!("a spelling in {of}"))).collect(),
            None => vec![reader.text_of(item, &format!("a text in {of}"))],
        });
    }
    ExpectedAnswer { contains }
}

impl ToolCase {
    /// `tool_choice` of the request of a round, from 0; none where the engine's default, `auto`, is meant. The final text is free.
    #[must_use]
    pub fn choice_in(&self, round: usize) -> Option<Json> {
        let step = self.steps.get(round)?;
        match self.tool_choice {
            ToolChoice::Auto => None,
            ToolChoice::Required => Some(json!("required")),
            ToolChoice::Named => {
                step.calls.first().map(|call| json!({ "type": "function", "function": { "name": call.name } }))
            }
        }
    }
}

impl Step {
    /// What the tool answers to a call that was made; none for a call that was not expected.
    #[must_use]
    pub fn result_for(&self, made: &super::MadeCall) -> Option<&Json> {
        let at = self.calls.iter().position(|call| call.is_met_by(made))?;
        self.results.get(at)
    }
}

impl ExpectedCall {
    /// Arguments that are as expected: the first of several, nothing optional.
    #[must_use]
    pub fn sample(&self) -> Json {
        self.arguments.iter().map(|(name, value)| (name.clone(), value.sample())).collect()
    }
}

impl ExpectedAnswer {
    /// The first text that is missing in `content`.
    #[must_use]
    pub fn missing_in(&self, content: &str) -> Option<&str> {
        let content = super::folded(content);
        let missing = |spellings: &&Vec<String>| !spellings.iter().any(|s| content.contains(&super::folded(s)));
        self.contains.iter().find(missing).and_then(|spellings| spellings.first()).map(String::as_str)
    }
}

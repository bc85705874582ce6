//! The suite of a grid: `quick`, `full`, a file, or scenarios with parameters written in place.

use std::path::{Path, PathBuf};

use super::keys::{SEEDS, Section};
use super::reader::{Reader, Spanned};
use crate::domain::{Diagnostics, Key, Kind, ScenarioKind, ScenarioSpec, Suite, did_you_mean};
use crate::yaml::{self, Node, Scalar, Value};

/// The keys of `suite` when it is a mapping; the scenarios' own names may stand beside these.
pub(super) const SUITE: Section = Section::new(
    "suite",
    "`suite`",
    &[
        Key::new(
            "base",
            Kind::Shape("`quick` or `full`"),
            "nothing",
            "Scenarios to start from; a scenario beside it changes single parameters, `off` takes it out.",
        ),
        Key::new("name", Kind::Shape("text"), "`custom`", "The suite's name."),
        Key::new(
            "seed",
            Kind::Whole,
            "the grid's `seed`; 0 for `vgrid bench`",
            "Seed of the suite's prompts and arrivals.",
        )
        .range(SEEDS),
    ],
);

/// Where the suite stands.
#[derive(Clone, Debug)]
pub enum SuiteRef {
    /// In the grid, or built in.
    Inline(Suite),
    /// In a file of its own, which the caller reads and gives to [`parse_suite`]. Joined with the grid file's folder.
    File(Spanned<PathBuf>),
}

/// Reads a suite's own file: the same text as under `suite:` in a grid. `seed` is the seed where the text names none.
///
/// # Errors
/// Everything wrong with the text, each with its place.
pub fn parse_suite(file: &Path, text: &str, seed: u64) -> Result<Suite, Diagnostics> {
    let node = yaml::parse(file, text)?;
    let mut reader = Reader::default();
    let suite = match read(&mut reader, &node, Path::new(""), seed) {
        Some(SuiteRef::Inline(mut suite)) => {
            if matches!(node.value, Value::Seq(_)) {
                suite.name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            }
            Some(suite)
        }
        Some(SuiteRef::File(other)) => {
            let error = other.span.error("suite-of-suite", "a suite's file cannot name another file");
            reader.error(error.help("write the scenarios, e.g. load: { concurrency: [1, 8] }"));
            None
        }
        None => None,
    };
    reader.finish(suite).map(|(suite, _)| suite)
}

/// Reads `suite`; `seed` is the grid's.
pub(super) fn read(reader: &mut Reader, node: &Node, folder: &Path, seed: u64) -> Option<SuiteRef> {
    match &node.value {
        Value::Scalar { .. } => read_word(reader, node, folder, seed),
        Value::Seq(items) => {
            let mut scenarios = Vec::new();
            for item in items {
                match &item.value {
                    Value::Map(entries) => {
                        for (key, value) in entries {
                            add(reader, &mut scenarios, key, Some(value));
                        }
                    }
                    Value::Scalar { .. } | Value::Seq(_) => add(reader, &mut scenarios, item, None),
                }
            }
            finish(reader, node, Suite { name: "custom".to_owned(), seed, scenarios })
        }
        Value::Map(entries) => {
            let mut suite = Suite { name: "custom".to_owned(), seed, scenarios: Vec::new() };
            if let Some(base) = node.get("base") {
                suite = builtin(reader, base, seed)?;
                suite.name = format!("{} (adjusted)", suite.name);
            }
            if let Some(own) = node.get("seed") {
                suite.seed = reader.whole(own, "the suite's `seed`", SEEDS).unwrap_or(seed);
            }
            if let Some(name) = node.get("name").and_then(|name| reader.text(name, "the suite's name")) {
                suite.name = name.value;
            }
            for (key, value) in entries {
                if !key.text().is_some_and(|text| SUITE.names().contains(&text)) {
                    add(reader, &mut suite.scenarios, key, Some(value));
                }
            }
            finish(reader, node, suite)
        }
    }
}

fn finish(reader: &mut Reader, node: &Node, suite: Suite) -> Option<SuiteRef> {
    if suite.scenarios.is_empty() {
        let error = node.span.error("empty-suite", "the suite has no scenario");
        reader.error(error.help("write quick, full, or scenarios such as load: { concurrency: [1, 8] }"));
        return None;
    }
    Some(SuiteRef::Inline(suite))
}

fn read_word(reader: &mut Reader, node: &Node, folder: &Path, seed: u64) -> Option<SuiteRef> {
    let text = reader.text(node, "`suite`")?;
    let looks_like_file = text.value.contains(['/', '.']);
    if looks_like_file {
        return Some(SuiteRef::File(Spanned::new(folder.join(text.value), text.span)));
    }
    builtin(reader, node, seed).map(SuiteRef::Inline)
}

fn builtin(reader: &mut Reader, node: &Node, seed: u64) -> Option<Suite> {
    match node.str() {
        Some("quick") => Some(Suite { seed, ..Suite::quick() }),
        Some("full") => Some(Suite { seed, ..Suite::full() }),
        Some(other) => {
            let help = match did_you_mean(other, ["quick", "full"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "write quick, full, a file such as suites/night.yaml, or the scenarios in place".to_owned(),
            };
            reader.error(node.span.error("unknown-suite", format!("no suite is called `{other}`")).help(help));
            None
        }
        None => {
            reader.wrong_type(node, "the suite's base", "a word", "write quick or full");
            None
        }
    }
}

/// Adds or changes one scenario: `parameters` over what `scenarios` has of it, over its defaults; `off` takes it out.
fn add(reader: &mut Reader, scenarios: &mut Vec<ScenarioSpec>, key: &Node, parameters: Option<&Node>) {
    let Some(kind) = kind_of(reader, key) else { return };
    let at = scenarios.iter().position(|spec| spec.kind() == kind);
    if parameters.and_then(Node::str) == Some("off") {
        if let Some(at) = at {
            scenarios.remove(at);
        }
        return;
    }
    let mut spec = at.map_or_else(|| ScenarioSpec::of(kind), |at| scenarios[at].clone());
    if let Some(node) = parameters.filter(|node| !node.is_null()) {
        for (name, value) in
            reader.entries(node, &format!("`{kind}`"), "write its parameters, e.g. { output_tokens: 64 }")
        {
            if let Some(changed) = with_parameter(reader, &spec, name, value) {
                spec = changed;
            }
        }
    }
    if let ScenarioSpec::Load(load) = &spec
        && let Some((what, help)) = load.fault()
    {
        reader.error(key.span.error("contradiction", format!("`load` {what}")).help(help));
    }
    match at {
        Some(at) => scenarios[at] = spec,
        None => scenarios.push(spec),
    }
}

fn kind_of(reader: &mut Reader, key: &Node) -> Option<ScenarioKind> {
    let text = key.text().unwrap_or_default();
    match text.replace('-', "_").parse::<ScenarioKind>() {
        Ok(kind) => Some(kind),
        Err(_) => {
            let allowed: Vec<&str> = known().chain(SUITE.names()).collect();
            let help = match did_you_mean(text, allowed.iter().copied()) {
                _ if text == "suite" => {
                    "take this line out and what is under it one step to the left: the file holds what stands under `suite:` in a \
                     grid"
                        .to_owned()
                }
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the scenarios: {}", known().collect::<Vec<_>>().join(", ")),
            };
            reader.error(key.span.error("unknown-scenario", format!("no scenario is called `{text}`")).help(help));
            None
        }
    }
}

/// Every scenario's name.
fn known() -> impl Iterator<Item = &'static str> {
    ScenarioKind::ALL.iter().map(|kind| kind.as_str())
}

/// `spec` with one parameter changed. The type that reads it knows its keys, so nothing is listed twice.
fn with_parameter(reader: &mut Reader, spec: &ScenarioSpec, key: &Node, value: &Node) -> Option<ScenarioSpec> {
    let name = key.text().unwrap_or_default();
    let keys = ScenarioSpec::keys(spec.kind());
    let Some(known) = keys.iter().find(|known| known.name == name) else {
        let names: Vec<&str> = keys.iter().map(|known| known.name).collect();
        reader.unknown_key(key, &format!("`{}`", spec.kind()), &names);
        return None;
    };
    let what = format!("`{name}` of `{}`", spec.kind());
    let help = format!("`{name}` is: {}; see the suite's parameters in docs/grid.md", known.takes());
    if let Some(why) = refused(known, value) {
        reader.error(value.span.error("out-of-range", format!("{what} {why}")).help(help));
        return None;
    }
    let mut object = serde_json::to_value(spec).ok()?;
    object.as_object_mut()?.insert(name.to_owned(), value.json());
    match serde_json::from_value(object) {
        Ok(changed) => Some(changed),
        Err(error) => {
            let why = error.to_string().replace("u32", &format!("a whole number from 1 to {}", u32::MAX));
            reader.error(value.span.error("wrong-type", format!("{what} cannot be read: {why}")).help(help));
            None
        }
    }
}

/// Why a parameter cannot have a number, or an empty list, that `node` holds.
fn refused(key: &Key, node: &Node) -> Option<String> {
    match (&node.value, node.scalar()) {
        (Value::Seq(items), _) if items.is_empty() => (!key.may_be_empty).then(|| "is an empty list".to_owned()),
        (Value::Seq(items), _) => items.iter().find_map(|item| refused(key, item)),
        (_, Some(Scalar::Int(number))) => key.refuses(number as f64),
        (_, Some(Scalar::Float(number))) => key.refuses(number),
        (_, _) => None,
    }
}

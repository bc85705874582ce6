//! What a point may set: flags in three states or with values, environment, image, model, each read with its place.

use std::collections::BTreeMap;
use std::fmt;

use super::keys::Section;
use super::reader::{Reader, present};
use crate::domain::{FlagKind, FlagName, FlagValue, Key, Kind, Redactor, Settings, did_you_mean, known_flag};
use crate::yaml::{Node, Scalar, Span, Value};

/// What a setting changes; also what an axis varies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A vLLM flag.
    Flag(FlagName),
    /// An environment variable of the container or process.
    Env(String),
    /// The image.
    Image,
    /// The model.
    Model,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "{name}"),
            Self::Env(name) => write!(f, "env.{name}"),
            Self::Image => f.write_str("image"),
            Self::Model => f.write_str("model"),
        }
    }
}

/// One setting: what it changes and to what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Setting {
    /// A flag.
    Flag(FlagName, FlagValue),
    /// An environment variable; `None` takes it away.
    Env(String, Option<String>),
    /// The image; `None` is the deployment's own.
    Image(Option<String>),
    /// The model; `None` is the deployment's own.
    Model(Option<String>),
}

impl Setting {
    /// What it changes.
    #[must_use]
    pub fn target(&self) -> Target {
        match self {
            Self::Flag(name, _) => Target::Flag(name.clone()),
            Self::Env(name, _) => Target::Env(name.clone()),
            Self::Image(_) => Target::Image,
            Self::Model(_) => Target::Model,
        }
    }

    /// The secrets in its values: by its name, or by their looks.
    pub(super) fn secrets(&self) -> Vec<String> {
        let (name, values): (&str, &[String]) = match self {
            Self::Flag(name, FlagValue::Value(value)) => (name.as_str(), std::slice::from_ref(value)),
            Self::Flag(name, FlagValue::Many(values)) => (name.as_str(), values),
            Self::Flag(_, FlagValue::Default | FlagValue::On | FlagValue::Off) => return Vec::new(),
            Self::Env(name, value) => (name, value.as_slice()),
            Self::Image(value) | Self::Model(value) => ("", value.as_slice()),
        };
        values.iter().flat_map(|value| Redactor::secrets_in(name, value)).collect()
    }

    /// The value as text as it may be shown.
    pub(super) fn shown(&self) -> String {
        let text = self.text();
        let name = match self {
            Self::Flag(name, _) => name.as_str(),
            Self::Env(name, _) => name,
            Self::Image(_) | Self::Model(_) => "",
        };
        if self.secrets().is_empty() { text } else { Redactor::shown(name, &text).into_owned() }
    }

    /// The value as text; `default` for what is left to the engine or the deployment.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Flag(_, value) => value.to_string(),
            Self::Env(_, value) | Self::Image(value) | Self::Model(value) => {
                value.clone().unwrap_or_else(|| "default".to_owned())
            }
        }
    }

    /// Puts it into `settings`, over what is there.
    pub fn apply(&self, settings: &mut Settings) {
        match self {
            Self::Flag(name, value) => drop(settings.flags.insert(name.clone(), value.clone())),
            Self::Env(name, value) => drop(settings.env.insert(name.clone(), value.clone())),
            Self::Image(value) => settings.image.clone_from(value),
            Self::Model(value) => settings.model.clone_from(value),
        }
    }
}

/// The keys of `base`.
pub(super) const BASE: Section = Section::new(
    "base",
    "`base`",
    &[
        Key::new(
            "flags",
            Kind::Shape("mapping"),
            "none",
            "vLLM flags: states and values as above, e.g. `{ max-num-seqs: 32 }`.",
        ),
        Key::new(
            "env",
            Kind::Shape("mapping"),
            "none",
            "Variables of the container: text as written; `default` takes the variable away. `on`, `off`, `true`, `false` need quotes.",
        ),
        Key::new("image", Kind::Shape("text"), "the deployment's", "The image; `default` is the deployment's own."),
        Key::new(
            "model",
            Kind::Shape("text"),
            "the deployment's",
            "The model (first argument or `--model`); `default` is the deployment's own.",
        ),
    ],
);

/// A setting and where it stands.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The setting.
    pub setting: Setting,
    /// Its key in the file.
    pub key_span: Span,
    /// Its value in the file.
    pub span: Span,
}

/// The environment variable's name, when it is one.
fn env_name(reader: &mut Reader, text: &str, span: &Span) -> Option<String> {
    let ok = !text.is_empty() && !text.contains(['=', '\0']) && !text.contains(char::is_whitespace);
    if !ok {
        let found = span.error("bad-env-name", format!("`{text}` is no name of an environment variable"));
        reader.error(found.help("letters, digits and underscores, e.g. VLLM_ATTENTION_BACKEND"));
    }
    ok.then(|| text.to_owned())
}

/// The flag that `key` names; the negative form is an error with its way out.
fn flag_name(reader: &mut Reader, key: &Node) -> Option<FlagName> {
    let text = key.text().unwrap_or_default();
    let (name, negated) = FlagName::parse_negated(text);
    if negated {
        let found = key.span.error("negative-flag", format!("`{text}` is the negative form of a flag"));
        reader.error(found.help(format!("write `{name}: off`; vgrid sends --no-{name}")));
        return None;
    }
    let ok =
        name.as_str().chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')) && !name.as_str().is_empty();
    if !ok {
        let found = key.span.error("bad-flag-name", format!("`{text}` is no name of a flag"));
        reader.error(found.help("the name as on vLLM's command line, e.g. max-num-seqs"));
    }
    ok.then_some(name)
}

/// What the key of an axis varies.
pub(super) fn target(reader: &mut Reader, key: &Node) -> Option<Target> {
    let text = key.text().unwrap_or_default();
    match text {
        "image" => Some(Target::Image),
        "model" => Some(Target::Model),
        _ => match text.strip_prefix("env.") {
            Some(name) => env_name(reader, name, &key.span).map(Target::Env),
            None => flag_name(reader, key).map(Target::Flag),
        },
    }
}

/// The value that `node` gives to `target`.
pub(super) fn setting(reader: &mut Reader, target: &Target, node: &Node) -> Option<Setting> {
    match target {
        Target::Flag(name) => flag_value(reader, name, node).map(|value| Setting::Flag(name.clone(), value)),
        Target::Env(name) => env_value(reader, name, node).map(|value| Setting::Env(name.clone(), value)),
        Target::Image => own_text(reader, "image", node).map(Setting::Image),
        Target::Model => own_text(reader, "model", node).map(Setting::Model),
    }
}

/// Reads `flags`, `env`, `image`, `model` out of `section`.
pub(super) fn assignments(reader: &mut Reader, section: &Node, what: &str) -> Vec<Assignment> {
    let mut found: Vec<Assignment> = Vec::new();
    if let Some(flags) = present(section, "flags") {
        for (key, value) in reader.entries(flags, &format!("`flags` of {what}"), "e.g. flags: { max-num-seqs: 32 }") {
            if matches!(key.text(), Some("model" | "image")) || key.text().is_some_and(|t| t.starts_with("env.")) {
                let text = key.text().unwrap_or_default();
                let error = key.span.error("not-a-flag", format!("`{text}` does not belong under `flags`"));
                reader.error(error.help("`image`, `model` and `env` stand beside `flags`"));
                continue;
            }
            let Some(name) = flag_name(reader, key) else { continue };
            let value = setting(reader, &Target::Flag(name), value).map(|s| (s, value));
            push(reader, &mut found, key, value);
        }
    }
    if let Some(env) = present(section, "env") {
        for (key, value) in reader.entries(env, &format!("`env` of {what}"), "e.g. env: { OMP_NUM_THREADS: 8 }") {
            let name = env_name(reader, key.text().unwrap_or_default(), &key.span);
            let Some(name) = name else { continue };
            let value = setting(reader, &Target::Env(name), value).map(|s| (s, value));
            push(reader, &mut found, key, value);
        }
    }
    for (word, target) in [("image", Target::Image), ("model", Target::Model)] {
        let entry = section.map().and_then(|entries| entries.iter().find(|(key, _)| key.text() == Some(word)));
        if let Some((key, value)) = entry {
            let value = setting(reader, &target, value).map(|s| (s, value));
            push(reader, &mut found, key, value);
        }
    }
    found
}

fn push(reader: &mut Reader, found: &mut Vec<Assignment>, key: &Node, value: Option<(Setting, &Node)>) {
    let Some((setting, node)) = value else { return };
    let target = setting.target();
    if let Some(first) = found.iter().find(|a| a.setting.target() == target) {
        let line = first.key_span.place().line;
        let error = key.span.error("duplicate-setting", format!("`{target}` is already set on line {line}"));
        reader.error(error.help("two spellings of one flag count as one; remove one of the two"));
        return;
    }
    found.push(Assignment { setting, key_span: key.span.clone(), span: node.span.clone() });
}

/// `assignments` as the domain's settings, over nothing.
pub(super) fn collect(assignments: &[Assignment]) -> Settings {
    let mut settings = Settings { flags: BTreeMap::new(), env: BTreeMap::new(), image: None, model: None };
    for assignment in assignments {
        assignment.setting.apply(&mut settings);
    }
    settings
}

fn own_text(reader: &mut Reader, what: &str, node: &Node) -> Option<Option<String>> {
    if node.is_null() || node.str() == Some("default") {
        return Some(None);
    }
    reader.text(node, &format!("`{what}`")).map(|text| Some(text.value))
}

/// A variable's value: text as written. `default` and null take the variable away.
fn env_value(reader: &mut Reader, name: &str, node: &Node) -> Option<Option<String>> {
    let plain = matches!(&node.value, Value::Scalar { plain: true, .. });
    match node.scalar() {
        Some(Scalar::Null) => Some(None),
        Some(Scalar::Str("default")) if plain => Some(None),
        Some(Scalar::Bool(_)) => unclear_env(reader, name, node),
        Some(Scalar::Str("on" | "off")) if plain => unclear_env(reader, name, node),
        Some(Scalar::Str(text)) => Some(Some(text.to_owned())),
        Some(Scalar::Int(_) | Scalar::Float(_)) => Some(node.text().map(str::to_owned)),
        None => {
            let help = "write its text, in quotes where in doubt";
            reader.wrong_type(node, &format!("the variable `{name}`"), "a text", help);
            None
        }
    }
}

fn unclear_env(reader: &mut Reader, name: &str, node: &Node) -> Option<Option<String>> {
    let text = node.text().unwrap_or_default();
    let message = format!("`{text}` is not clear for the variable `{name}`: a variable holds text");
    let help = format!("write the text that it shall hold, e.g. \"1\" or \"{text}\", or `default` to leave it out");
    reader.error(node.span.error("unclear-env-value", message).help(help));
    None
}

/// A flag's value by the kind of the flag.
fn flag_value(reader: &mut Reader, name: &FlagName, node: &Node) -> Option<FlagValue> {
    let kind = known_flag(name.as_str()).map(|known| known.kind);
    match &node.value {
        Value::Map(_) => match kind {
            Some(FlagKind::Json) | None => json(reader, name, node).map(|value| FlagValue::Value(value.to_string())),
            Some(kind) => wrong_flag_value(reader, name, kind, node),
        },
        Value::Seq(items) => match kind {
            Some(FlagKind::Json) => json(reader, name, node).map(|value| FlagValue::Value(value.to_string())),
            Some(FlagKind::Many) | None => many(reader, name, items, node),
            Some(kind) => wrong_flag_value(reader, name, kind, node),
        },
        Value::Scalar { .. } => scalar_value(reader, name, kind, node),
    }
}

fn many(reader: &mut Reader, name: &FlagName, items: &[Node], node: &Node) -> Option<FlagValue> {
    if items.is_empty() {
        let error = node.span.error("empty-value", format!("`{name}` has an empty list"));
        reader.error(error.help("write `default` to leave the flag out"));
        return None;
    }
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        match item.scalar() {
            Some(Scalar::Str(text)) if !text.trim().is_empty() => values.push(text.to_owned()),
            Some(number @ (Scalar::Int(_) | Scalar::Float(_))) => {
                values.push(canonical_number(&number, item.text().unwrap_or_default()));
            }
            Some(Scalar::Str(_) | Scalar::Null | Scalar::Bool(_)) | None => {
                let what = format!("each value of `{name}`");
                reader.wrong_type(item, &what, "a text or a number", "put it in quotes if it is meant as text");
            }
        }
    }
    (values.len() == items.len()).then_some(FlagValue::Many(values))
}

fn scalar_value(reader: &mut Reader, name: &FlagName, kind: Option<FlagKind>, node: &Node) -> Option<FlagValue> {
    let text = node.text().unwrap_or_default();
    let value = match node.scalar()? {
        Scalar::Null => FlagValue::Default,
        Scalar::Bool(value) => {
            let word = if value { "on" } else { "off" };
            let message = format!("`{text}` is a YAML boolean, and a flag has three states");
            let help = format!("write `{word}`; the states are `on`, `off` (sent as --no-{name}) and `default`");
            reader.error(node.span.error("boolean-flag", message).help(help));
            return None;
        }
        number @ (Scalar::Int(_) | Scalar::Float(_)) => FlagValue::Value(canonical_number(&number, text)),
        Scalar::Str(text) if text.trim().is_empty() => {
            let error = node.span.error("empty-value", format!("`{name}` has an empty value"));
            reader.error(error.help("write a value, or `default` to leave the flag out"));
            return None;
        }
        Scalar::Str(text) => FlagValue::from_text(text),
    };
    match check_value(name, kind, &value) {
        Ok(value) => Some(value),
        Err((code, message, help)) => {
            reader.error(node.span.error(code, message).help(help));
            None
        }
    }
}

/// A finding without its place: code, message, help.
pub(super) type Finding = (&'static str, String, String);

/// `value` in the form that a flag of this kind takes (`Many` for one of several, JSON compact with sorted keys), or what is wrong with it.
///
/// A value that still holds `${` is left alone: it is checked again once its variables are in.
pub(super) fn check_value(name: &FlagName, kind: Option<FlagKind>, value: &FlagValue) -> Result<FlagValue, Finding> {
    let text = match value {
        FlagValue::Default | FlagValue::Many(_) => return Ok(value.clone()),
        FlagValue::On | FlagValue::Off => {
            return match kind {
                Some(FlagKind::Toggle | FlagKind::Switch) | None => Ok(value.clone()),
                Some(FlagKind::Value | FlagKind::Many | FlagKind::Json) => Err((
                    "value-needed",
                    format!("`{name}` takes a value and has no `{value}`"),
                    "write the value, or `default` for the engine's own".to_owned(),
                )),
            };
        }
        FlagValue::Value(text) if text.contains("${") => return Ok(value.clone()),
        FlagValue::Value(text) => text,
    };
    match kind {
        Some(FlagKind::Toggle | FlagKind::Switch) => {
            let near = match text.to_lowercase().as_str() {
                "true" | "yes" | "1" | "enabled" => "on",
                "false" | "no" | "0" | "disabled" => "off",
                other => did_you_mean(other, ["default"]).unwrap_or("on` or `off"),
            };
            Err((
                "toggle-with-value",
                format!("`{name}` is switched on or off and takes no value; vLLM would refuse `{text}`"),
                format!("write `{near}`; the states are `on`, `off` and `default`"),
            ))
        }
        Some(FlagKind::Many) => Ok(FlagValue::Many(vec![text.clone()])),
        Some(FlagKind::Json) if text.trim_start().starts_with(['{', '[']) => match sorted_json(text) {
            Ok(compact) => Ok(FlagValue::Value(compact)),
            Err(why) => Err((
                "invalid-json",
                format!("the value of `{name}` is no valid JSON: {why}"),
                "write it as a YAML mapping, and vgrid writes the JSON".to_owned(),
            )),
        },
        Some(FlagKind::Json | FlagKind::Value) | None => Ok(value.clone()),
    }
}

/// The JSON text, compact, with the keys of every object sorted.
fn sorted_json(text: &str) -> Result<String, serde_json::Error> {
    let mut value: serde_json::Value = serde_json::from_str(text)?;
    value.sort_all_objects();
    Ok(value.to_string())
}

fn wrong_flag_value(reader: &mut Reader, name: &FlagName, kind: FlagKind, node: &Node) -> Option<FlagValue> {
    let (expected, help) = match kind {
        FlagKind::Toggle | FlagKind::Switch => ("`on`, `off` or `default`", "write one of the three states"),
        FlagKind::Value => ("one value", "to try several values, make it an axis"),
        FlagKind::Many => ("a value or a list of values", "write e.g. [a, b]"),
        FlagKind::Json => ("a mapping", "write e.g. { key: value }"),
    };
    reader.wrong_type(node, &format!("`{name}`"), expected, help);
    None
}

/// A node as JSON, with sorted keys so that the same content has one text.
fn json(reader: &mut Reader, name: &FlagName, node: &Node) -> Option<serde_json::Value> {
    use serde_json::Value as Json;
    match &node.value {
        Value::Seq(items) => {
            items.iter().map(|item| json(reader, name, item)).collect::<Option<Vec<_>>>().map(Json::Array)
        }
        Value::Map(entries) => {
            let mut sorted = BTreeMap::new();
            for (key, value) in entries {
                sorted.insert(key.text().unwrap_or_default().to_owned(), json(reader, name, value)?);
            }
            Some(Json::Object(sorted.into_iter().collect()))
        }
        Value::Scalar { plain, .. } => match node.scalar()? {
            Scalar::Null => Some(Json::Null),
            Scalar::Bool(value) => Some(Json::Bool(value)),
            Scalar::Int(value) => Some(Json::from(value)),
            Scalar::Float(value) => match serde_json::Number::from_f64(value) {
                Some(number) => Some(Json::Number(number)),
                None => {
                    let error = node.span.error("invalid-json", format!("JSON of `{name}` has no such number"));
                    reader.error(error.help("write a finite number"));
                    None
                }
            },
            Scalar::Str(text) => {
                if *plain && matches!(text, "on" | "off" | "yes" | "no") {
                    let message = format!("`{text}` inside the JSON of `{name}` is sent as text");
                    let help = "write true or false for a JSON boolean, or put the word in quotes";
                    reader.warn(node.span.warning("word-in-json", message).help(help));
                }
                Some(Json::from(text))
            }
        },
    }
}

/// The shortest text of a number (`0.90` is `0.9`, `0x10` is `16`); numbers too large for exact arithmetic stay as written.
fn canonical_number(scalar: &Scalar<'_>, text: &str) -> String {
    match scalar {
        Scalar::Int(number) => number.to_string(),
        Scalar::Float(number) if number.is_finite() && text.contains(['.', 'e', 'E']) => number.to_string(),
        Scalar::Float(_) | Scalar::Null | Scalar::Bool(_) | Scalar::Str(_) => text.to_owned(),
    }
}

/// Reads `base`.
pub(super) fn base(reader: &mut Reader, node: &Node) -> Vec<Assignment> {
    reader.check_keys(node, &BASE);
    assignments(reader, node, BASE.what)
}

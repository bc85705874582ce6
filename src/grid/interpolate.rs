//! Variables in a grid's values: `${NAME}` becomes the variable's value; one that is unset or empty is an error with its place.

use std::collections::BTreeMap;

use super::deployment::DeploymentKind;
use super::notify::{Channel, check_url};
use super::points::settings_of;
use super::settings::{Finding, Setting, check_value};
use super::{Grid, SuiteRef};
use crate::domain::{Diagnostic, Diagnostics, FlagValue, did_you_mean, known_flag};
use crate::yaml::Span;

/// The variables that values may name.
pub type Variables = BTreeMap<String, String>;

/// `text` with `${NAME}` and `${NAME:-default}` replaced; `$$` is one `$`.
///
/// # Errors
/// Code, message, help: the variable is unset or empty, or the text is malformed.
pub(super) fn interpolate(text: &str, variables: &Variables) -> Result<String, Finding> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let Some(end) = after.find('}') else {
                let message = "`${` has no closing `}`".to_owned();
                return Err(("bad-variable", message, "write ${NAME}, or $$ for a dollar sign".to_owned()));
            };
            result.push_str(&value_of(&after[..end], variables)?);
            rest = &after[end + 1..];
        } else if rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let message = format!("`${name}` is not replaced here: a variable stands in braces");
            return Err(("bad-variable", message, format!("write ${{{name}}}, or $$ for a dollar sign")));
        } else {
            result.push('$');
        }
    }
    result.push_str(rest);
    Ok(result)
}

fn value_of(inside: &str, variables: &Variables) -> Result<String, Finding> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let message = format!("`${{{inside}}}` names no variable");
        return Err(("bad-variable", message, "write ${NAME} or ${NAME:-default}".to_owned()));
    }
    let state = match variables.get(name).map(|value| value.trim().is_empty()) {
        Some(false) => return Ok(variables[name].clone()),
        Some(true) => "empty",
        None => "not set",
    };
    match default {
        Some(default) if !default.is_empty() => Ok(default.to_owned()),
        Some(_) | None => {
            let near = did_you_mean(name, variables.keys().map(String::as_str));
            let help = match near.filter(|near| *near != name) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("set {name} in the environment or in an env file, or write ${{{name}:-default}}"),
            };
            Err(("unset-variable", format!("the variable `{name}` is {state}"), help))
        }
    }
}

/// Replaces variables in one text in place, recording what is wrong.
struct Replacer<'v> {
    variables: &'v Variables,
    problems: Vec<Diagnostic>,
}

impl Replacer<'_> {
    fn text(&mut self, text: &mut String, span: &Span) {
        if text.contains('$') {
            match interpolate(text, self.variables) {
                Ok(replaced) => *text = replaced,
                Err((code, message, help)) => self.problems.push(span.error(code, message).help(help)),
            }
        }
    }

    fn setting(&mut self, setting: &mut Setting, span: &Span) {
        match setting {
            Setting::Flag(name, value) => {
                match value {
                    FlagValue::Default | FlagValue::On | FlagValue::Off => return,
                    FlagValue::Value(text) => self.text(text, span),
                    FlagValue::Many(texts) => texts.iter_mut().for_each(|text| self.text(text, span)),
                }
                let kind = known_flag(name.as_str()).map(|known| known.kind);
                let replaced = match &value {
                    FlagValue::Value(text) => FlagValue::from_text(text),
                    FlagValue::Default | FlagValue::On | FlagValue::Off | FlagValue::Many(_) => return,
                };
                match check_value(name, kind, &replaced) {
                    Ok(checked) => *value = checked,
                    Err((code, message, help)) => self.problems.push(span.error(code, message).help(help)),
                }
            }
            Setting::Env(_, value) | Setting::Image(value) | Setting::Model(value) => {
                if let Some(text) = value {
                    self.text(text, span);
                }
            }
        }
    }

    fn path(&mut self, path: &mut std::path::PathBuf, span: &Span) {
        if let Some(text) = path.to_str().filter(|text| text.contains('$')) {
            let mut text = text.to_owned();
            self.text(&mut text, span);
            *path = text.into();
        }
    }
}

impl Grid {
    /// Replaces `${NAME}` in every setting, path and word of the deployment by `variables` (the process's environment over the env files).
    ///
    /// # Errors
    /// Every variable that is unset or empty, and every value that is wrong once its variables are in, with its place.
    pub fn interpolated(mut self, variables: &Variables) -> Result<Self, Diagnostics> {
        let mut replacer = Replacer { variables, problems: Vec::new() };
        let assignments = self.base.iter_mut().chain(self.configs.iter_mut().flat_map(|c| c.settings.iter_mut()));
        for assignment in assignments {
            replacer.setting(&mut assignment.setting, &assignment.span);
        }
        for value in self.axes.iter_mut().flat_map(|axis| axis.values.iter_mut()) {
            replacer.setting(&mut value.setting, &value.span);
        }
        match &mut self.deployment.kind {
            DeploymentKind::Compose(compose) => {
                compose.files.iter_mut().for_each(|file| replacer.path(&mut file.value, &file.span));
                if let Some(folder) = &mut compose.project_directory {
                    replacer.path(&mut folder.value, &folder.span);
                }
                let texts = std::iter::once(&mut compose.service).chain(&mut compose.project_name);
                texts
                    .chain(&mut compose.profiles)
                    .chain(&mut compose.also_stop)
                    .for_each(|text| replacer.text(&mut text.value, &text.span));
            }
            DeploymentKind::Process(process) => {
                let words = process.command.iter_mut().chain(process.env.iter_mut().map(|(_, value)| value));
                words.for_each(|word| replacer.text(&mut word.value, &word.span));
            }
        }
        for receiver in &mut self.notify {
            match &mut receiver.channel {
                Channel::Webhook { url, .. } => {
                    let known = replacer.problems.len();
                    replacer.text(&mut url.value, &url.span);
                    let wrong = (replacer.problems.len() == known).then(|| check_url(url)).flatten();
                    replacer.problems.extend(wrong);
                }
                Channel::Hook { words, .. } => words.iter_mut().for_each(|w| replacer.text(&mut w.value, &w.span)),
            }
        }
        if let SuiteRef::File(file) = &mut self.suite {
            replacer.path(&mut file.value, &file.span);
        }
        if let Some(file) = &mut self.telemetry.nvml_library {
            replacer.path(&mut file.value, &file.span);
        }
        if let Some(url) = &mut self.telemetry.dcgm {
            replacer.text(&mut url.value, &url.span);
        }
        if !replacer.problems.is_empty() {
            return Err(Diagnostics(replacer.problems));
        }
        self.base_settings = settings_of(&self.base);
        Ok(self)
    }
}

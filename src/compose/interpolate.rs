//! Walks a document and substitutes variables in its values; keeps note of variables that are not set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::template::{TemplateError, substitute};
use super::tree::{BlankReason, Data, Path, Tree, matches};
use crate::domain::Diagnostic;

/// What interpolation reads and reports.
pub(super) struct Interpolation<'i> {
    /// The variables.
    pub environment: &'i BTreeMap<String, String>,
    /// Errors.
    pub problems: Vec<Diagnostic>,
    /// Warnings, one per variable.
    pub warnings: Vec<Diagnostic>,
    /// Variables that were warned of.
    pub warned: BTreeSet<String>,
    /// Variables that were read.
    pub used: BTreeSet<String>,
}

/// Types that Compose casts a text to right after its interpolation.
#[derive(Clone, Copy)]
enum Cast {
    Int,
    Float,
    Float32,
    Bool,
}

/// Where a text becomes another type.
const CASTS: &[(&str, Cast)] = &[
    ("services.*.configs.[].mode", Cast::Int),
    ("services.*.secrets.[].mode", Cast::Int),
    ("services.*.cpu_count", Cast::Int),
    ("services.*.cpu_percent", Cast::Float),
    ("services.*.cpu_period", Cast::Int),
    ("services.*.cpu_quota", Cast::Int),
    ("services.*.cpu_rt_period", Cast::Int),
    ("services.*.cpu_rt_runtime", Cast::Int),
    ("services.*.cpus", Cast::Float32),
    ("services.*.cpu_shares", Cast::Int),
    ("services.*.init", Cast::Bool),
    ("services.*.deploy.replicas", Cast::Int),
    ("services.*.deploy.update_config.parallelism", Cast::Int),
    ("services.*.deploy.update_config.max_failure_ratio", Cast::Float),
    ("services.*.deploy.rollback_config.parallelism", Cast::Int),
    ("services.*.deploy.rollback_config.max_failure_ratio", Cast::Float),
    ("services.*.deploy.restart_policy.max_attempts", Cast::Int),
    ("services.*.deploy.placement.max_replicas_per_node", Cast::Int),
    ("services.*.healthcheck.retries", Cast::Int),
    ("services.*.healthcheck.disable", Cast::Bool),
    ("services.*.oom_kill_disable", Cast::Bool),
    ("services.*.oom_score_adj", Cast::Int),
    ("services.*.pids_limit", Cast::Int),
    ("services.*.ports.[].target", Cast::Int),
    ("services.*.privileged", Cast::Bool),
    ("services.*.read_only", Cast::Bool),
    ("services.*.scale", Cast::Int),
    ("services.*.stdin_open", Cast::Bool),
    ("services.*.tty", Cast::Bool),
    ("services.*.ulimits.*", Cast::Int),
    ("services.*.ulimits.*.hard", Cast::Int),
    ("services.*.ulimits.*.soft", Cast::Int),
    ("services.*.volumes.[].read_only", Cast::Bool),
    ("services.*.volumes.[].volume.nocopy", Cast::Bool),
    ("networks.*.external", Cast::Bool),
    ("networks.*.internal", Cast::Bool),
    ("networks.*.attachable", Cast::Bool),
    ("networks.*.enable_ipv4", Cast::Bool),
    ("networks.*.enable_ipv6", Cast::Bool),
    ("volumes.*.external", Cast::Bool),
    ("secrets.*.external", Cast::Bool),
    ("configs.*.external", Cast::Bool),
];

impl<'i> Interpolation<'i> {
    /// An interpolation over these variables.
    pub fn new(environment: &'i BTreeMap<String, String>) -> Self {
        Self { environment, problems: Vec::new(), warnings: Vec::new(), warned: BTreeSet::new(), used: BTreeSet::new() }
    }

    /// Substitutes every text value below `root`. Keys stay as they are.
    pub fn run(&mut self, root: &mut Tree) {
        self.walk(root, &mut Vec::new());
    }

    fn walk(&mut self, tree: &mut Tree, path: &mut Path) {
        match &mut tree.data {
            Data::Str(_) => self.text(tree, path),
            Data::Seq(items) => {
                path.push("[]".into());
                items.iter_mut().for_each(|item| self.walk(item, path));
                path.pop();
            }
            Data::Map(map) => {
                for (key, value) in map.iter_mut() {
                    path.push(key.clone());
                    self.walk(value, path);
                    path.pop();
                }
            }
            Data::Null | Data::Bool(_) | Data::Int(_) | Data::Float(_) | Data::Stamp(_) => {}
        }
    }

    fn text(&mut self, tree: &mut Tree, path: &Path) {
        let Data::Str(text) = &tree.data else { return };
        let expanded = if text.contains('$') {
            match substitute(text, &|name| self.environment.get(name).cloned()) {
                Ok(expanded) => expanded,
                Err(error) => {
                    self.problems.push(describe(&error, tree, path));
                    return;
                }
            }
        } else {
            super::template::Expanded { text: text.clone(), ..Default::default() }
        };
        for blank in expanded.marked.blanks.iter().filter(|b| b.why == BlankReason::Unset) {
            if self.warned.insert(blank.name.clone()) {
                self.warnings.push(
                    tree.span
                        .warning("unset-variable", format!("the variable {} is not set; it becomes empty", blank.name))
                        .help(format!(
                            "set it in the environment or in an env file, or give a default: ${{{}:-...}}",
                            blank.name
                        )),
                );
            }
        }
        self.used.extend(expanded.used);
        if !expanded.marked.blanks.is_empty() {
            tree.marked = Some(Arc::new(expanded.marked));
        }
        tree.data = match CASTS.iter().find(|(pattern, _)| matches(path, pattern)) {
            None => Data::Str(expanded.text),
            Some((_, cast)) => match cast_text(&expanded.text, *cast) {
                Some(data) => data,
                None => {
                    let what = match cast {
                        Cast::Int => "a whole number",
                        Cast::Float | Cast::Float32 => "a number",
                        Cast::Bool => "true or false",
                    };
                    let message = format!("`{}` must be {what}, this is `{}`", path.join("."), expanded.text);
                    self.problems.push(tree.error("wrong-type", message).help(format!("write {what}")));
                    return;
                }
            },
        };
    }
}

fn cast_text(text: &str, cast: Cast) -> Option<Data> {
    match cast {
        Cast::Int => text.parse().ok().map(Data::Int),
        Cast::Float => text.parse().ok().map(Data::Float),
        Cast::Float32 => text.parse::<f32>().ok().map(|n| Data::Float(super::units::widen(n))),
        Cast::Bool => match text.to_lowercase().as_str() {
            "true" | "y" | "yes" | "on" => Some(Data::Bool(true)),
            "false" | "n" | "no" | "off" => Some(Data::Bool(false)),
            _ => None,
        },
    }
}

fn describe(error: &TemplateError, tree: &Tree, path: &Path) -> Diagnostic {
    match error {
        TemplateError::Invalid => tree
            .error("bad-interpolation", format!("`{}` holds a `${{` that opens no valid variable", path.join(".")))
            .help("write `${NAME}` or `${NAME:-default}`; a literal dollar is `$$`"),
        TemplateError::Required { name, message } => {
            let reason = if message.is_empty() { String::new() } else { format!(": {message}") };
            tree.error("required-variable", format!("the required variable {name} has no value{reason}"))
                .help(format!("set {name} in the environment or in an env file"))
        }
    }
}

//! Cases: tasks with a known right answer, read from data files, and the judgement of what an engine answered.
//!
//! Pure. The scenarios `tool_calling`, `reasoning` and `canary` send the cases; the simulated engine knows the answers to those that
//! ship with vgrid. `docs/data.md` is the reference of the files.

mod calls;
mod canary;
mod content;
mod expected;
mod read;
mod repetition;
mod schema;
mod task;
mod tool;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use crate::domain::{Diagnostics, ScenarioSpec, Suite};

pub use calls::{MadeCall, StepFindings, judge_step, same_calls};
pub use canary::{Canary, CanaryFile};
pub use content::{final_text, leaked_markup};
#[cfg(test)]
pub use expected::Expected;
pub use task::{Task, TaskFile};
#[cfg(test)]
pub use tool::ToolCategory;
pub use tool::{ExpectedCall, ToolCase, ToolFile};

/// The data of every scenario that judges answers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CaseSet {
    /// Of `tool_calling`.
    pub tools: Arc<ToolFile>,
    /// Of `reasoning`.
    pub tasks: Arc<TaskFile>,
    /// Of `canary`.
    pub canaries: Arc<CanaryFile>,
}

/// The files that ship with vgrid, as (name, text).
const SHIPPED_TOOLS: (&str, &str) = ("tool_calling.json", include_str!("data/tool_calling.json"));
const SHIPPED_TASKS: (&str, &str) = ("reasoning.json", include_str!("data/reasoning.json"));
const SHIPPED_CANARIES: (&str, &str) = ("canary.json", include_str!("data/canary.json"));

static SHIPPED: LazyLock<CaseSet> = LazyLock::new(|| {
    #[allow(clippy::panic)] // compiled in; a test reads them
    let or_panic = |errors: Diagnostics| -> ! { panic!("vgrid's own data: {errors}") };
    let path = |(name, _): (&'static str, &'static str)| Path::new(name);
    CaseSet {
        tools: Arc::new(
            ToolFile::parse(path(SHIPPED_TOOLS), SHIPPED_TOOLS.1).unwrap_or_else(|errors| or_panic(errors)),
        ),
        tasks: Arc::new(
            TaskFile::parse(path(SHIPPED_TASKS), SHIPPED_TASKS.1).unwrap_or_else(|errors| or_panic(errors)),
        ),
        canaries: Arc::new(
            CanaryFile::parse(path(SHIPPED_CANARIES), SHIPPED_CANARIES.1).unwrap_or_else(|errors| or_panic(errors)),
        ),
    }
});

impl CaseSet {
    /// The data that ship with vgrid.
    #[must_use]
    pub fn shipped() -> Self {
        SHIPPED.clone()
    }

    /// The data that `suite` asks for: the files that its scenarios name, relative to `folder`, and the shipped ones for the rest.
    /// `read` gives a file's text.
    ///
    /// # Errors
    /// A file that cannot be read, and everything wrong with one that can, each with its place.
    pub fn load(
        suite: &Suite,
        folder: &Path,
        read: &dyn Fn(&Path) -> std::io::Result<String>,
    ) -> Result<Self, Diagnostics> {
        let mut set = Self::shipped();
        for spec in &suite.scenarios {
            let Some(file) = spec.data_file() else { continue };
            let path = folder.join(file);
            let what = format!("the data of {}", spec.kind());
            let text = read(&path).map_err(|error| Diagnostics::unreadable(&path, &what, &error))?;
            match spec {
                ScenarioSpec::ToolCalling(_) => set.tools = Arc::new(ToolFile::parse(&path, &text)?),
                ScenarioSpec::Reasoning(_) => set.tasks = Arc::new(TaskFile::parse(&path, &text)?),
                ScenarioSpec::Canary(_) => set.canaries = Arc::new(CanaryFile::parse(&path, &text)?),
                ScenarioSpec::Smoke(_)
                | ScenarioSpec::KvCache(_)
                | ScenarioSpec::Load(_)
                | ScenarioSpec::Conversation(_)
                | ScenarioSpec::Stability(_)
                | ScenarioSpec::LongContext(_)
                | ScenarioSpec::Profile(_) => {}
            }
        }
        Ok(set)
    }

    /// SHA-256 of the data that a scenario sends, first 16 hexadecimal digits; none for scenarios that generate their prompts.
    #[must_use]
    pub fn sha256_for(&self, spec: &ScenarioSpec) -> Option<&str> {
        match spec {
            ScenarioSpec::ToolCalling(_) => Some(&self.tools.sha256),
            ScenarioSpec::Reasoning(_) => Some(&self.tasks.sha256),
            ScenarioSpec::Canary(_) => Some(&self.canaries.sha256),
            ScenarioSpec::Smoke(_)
            | ScenarioSpec::KvCache(_)
            | ScenarioSpec::Load(_)
            | ScenarioSpec::Conversation(_)
            | ScenarioSpec::Stability(_)
            | ScenarioSpec::LongContext(_)
            | ScenarioSpec::Profile(_) => None,
        }
    }
}

/// At most `limit` of the items, taken from the languages in turn, so that a short run still asks in every language.
pub fn in_turn<'a, T>(
    items: impl IntoIterator<Item = &'a T>,
    language: impl Fn(&T) -> &str,
    limit: usize,
) -> Vec<&'a T> {
    let mut by_language: Vec<(&str, Vec<&'a T>)> = Vec::new();
    for item in items {
        let tag = language(item);
        match by_language.iter_mut().find(|(known, _)| *known == tag) {
            Some((_, list)) => list.push(item),
            None => by_language.push((tag, vec![item])),
        }
    }
    let longest = by_language.iter().map(|(_, list)| list.len()).max().unwrap_or(0);
    let turns = (0..longest).flat_map(|turn| by_language.iter().filter_map(move |(_, list)| list.get(turn).copied()));
    turns.take(limit).collect()
}

/// A text without what does not change its meaning: case, typographic quotes, runs of white space, and stops around it.
fn folded(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|c| match c {
            '’' | '‘' => '\'',
            '“' | '”' | '«' | '»' => '"',
            c if c.is_whitespace() => ' ',
            c => c,
        })
        .collect();
    let words: Vec<&str> = plain.split(' ').filter(|word| !word.is_empty()).collect();
    words.join(" ").to_lowercase().trim_matches(|c: char| matches!(c, '.' | '!' | '"' | '*' | '`' | ' ')).to_owned()
}

/// A text for one line of a report: white space collapsed, at most `most` characters.
#[must_use]
pub fn shortened(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return line;
    }
    let mut short: String = line.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

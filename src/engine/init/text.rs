//! The text of a starter grid, commented.

use std::path::{Path, PathBuf};

use crate::compose::{self, Project, Service};
use crate::domain::{FlagValue, Redactor, Settings};

use super::axes::StarterAxis;
use super::{Source, axes, stand_in};

/// What follows the axes, the same for every service.
const REST: &str = r#"
configs:
  # The deployment unchanged: what every other config is compared with. It runs first.
  - name: as_deployed
baseline: as_deployed

# quick: does it serve, a cached prefix, a little load. full: everything, for a night. Or your own, see docs/grid.md.
suite: quick

# What a config must meet before it may rank. Your own limits belong here:
# gates:
#   - smoke.passed == 1
#   - load.ttft_ms.p95 <= 2000
#   - load.output_tokens_per_s >= 0.9 * baseline.load.output_tokens_per_s

# What to be best at. The first one is shown while the sweep runs, and is what `after: champion` goes by.
# Shipped ones by use case, with their gates: use_cases: [conversational, reasoning, tool_calling, throughput, generic]
objectives:
  throughput: maximize load.output_tokens_per_s
  conversational: minimize kv_cache.ttft_hit_ms.p50

# The baseline is measured again in the course of the night, and the two best on fresh starts before one is named. Fewer starts, and a
# tie where they cannot tell: repeats: off. More, where starts differ by 2 % and many configs are near: repeats: { starts: 2 }.
# repeats: { starts: 1, controls_every: 8, finalists: 2, finalist_starts: 2 }

# startup: how long a boot may take. until: the local time by which what served before is back.
limits: { startup: 20m, trial: 90m }
# limits: { startup: 20m, trial: 90m, until: "07:00" }
"#;

/// Everything that the text is made of.
pub(super) struct Text<'t> {
    pub(super) source: &'t Source,
    pub(super) output: &'t Path,
    pub(super) name: &'t str,
    pub(super) service: &'t Service,
    pub(super) project: &'t Project,
    pub(super) unset: &'t [String],
    pub(super) with_axes: bool,
}

impl Text<'_> {
    /// The grid.
    pub(super) fn make(&self) -> String {
        let settings = compose::settings_of(self.service);
        let mut out = String::new();
        let mut line = |text: &str| {
            out.push_str(text);
            out.push('\n');
        };
        let file = self.output.file_name().unwrap_or_default().to_string_lossy().into_owned();
        line("# A starter grid, made by `vgrid init`. Edit it, then:");
        line("#");
        line(&format!("#   vgrid check {file}    # everything that could go wrong, before anything is touched"));
        line(&format!("#   vgrid plan {file}     # every config, and what it changes on the command line"));
        line(&format!("#   vgrid run {file}      # measure; what serves now is put back at the end"));
        line("#");
        line("# Every key is explained in docs/grid.md.");
        if !self.unset.is_empty() {
            let names = self.unset.join(", ");
            line("#");
            line(&format!("# Set {names} first, in the environment or in an env file: the compose files need it."));
        }
        line(&format!("name: {}", grid_name(&self.project.name, self.name)));
        line("");
        line("deployment:");
        line(&format!("  compose: {}", self.paths(&self.source.files)));
        if !self.source.env_files.is_empty() {
            line(&format!("  env_files: {}", self.paths(&self.source.env_files)));
        }
        if !self.source.profiles.is_empty() {
            line(&format!("  profiles: {}", flow(self.source.profiles.iter().map(String::as_str))));
        }
        line(&format!("  service: {}", scalar(self.name)));
        line("  # What serves when the sweep is over: restore (what served before), champion, stop.");
        line("  after: restore");
        line("");
        self.deployed(&settings, &mut line);
        line("");
        self.axes(&settings, &mut line);
        out + REST
    }

    fn paths(&self, files: &[PathBuf]) -> String {
        let folder =
            std::path::absolute(self.output).ok().and_then(|p| p.parent().map(Path::to_path_buf)).unwrap_or_default();
        let relative: Vec<String> = files.iter().map(|file| relative_to(&folder, file)).collect();
        flow(relative.iter().map(String::as_str))
    }

    /// What the service runs now, as comments, secrets hidden.
    fn deployed(&self, settings: &Settings, line: &mut impl FnMut(&str)) {
        let redactor = Redactor::new(self.project.secrets.iter().cloned());
        line(&format!("# `{}` now runs, by the compose files:", self.name));
        let mut said = vec![
            ("image".to_owned(), settings.image.clone().unwrap_or_else(|| "none".to_owned())),
            ("model".to_owned(), settings.model.clone().unwrap_or_else(|| "the image's own".to_owned())),
        ];
        for (flag, value) in &settings.flags {
            if flag.as_str() != "model" {
                said.push((flag.to_string(), Redactor::shown(flag.as_str(), &value.to_string()).into_owned()));
            }
        }
        for (name, mut value) in said {
            for (number, variable) in self.unset.iter().enumerate() {
                value = value.replace(&stand_in(number), &format!("${{{variable}}}"));
            }
            let value: String = redactor.apply(&value).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            line(&format!("#   {name}: {value}"));
        }
    }

    /// The product that is measured, and more to choose from.
    fn axes(&self, settings: &Settings, line: &mut impl FnMut(&str)) {
        let mut settings = settings.clone();
        let stands_in = |value: &FlagValue| (0..self.unset.len()).any(|n| value.to_string() == stand_in(n));
        settings.flags.retain(|_, value| !stands_in(value));
        let axes = axes::axes_for(self.service, &settings);
        let (now, more): (Vec<_>, Vec<_>) = axes.into_iter().partition(|axis| axis.measured && self.with_axes);
        let twin = now.iter().all(|axis| axis.values.contains(&axis.deployed));
        if self.with_axes {
            let points = now.iter().map(|axis| axis.values.len()).product::<usize>() - usize::from(twin);
            line(&format!(
                "# Every combination is measured, and the deployment as it is: {} configs. `off` is sent as --no-...: leaving a flag out leaves the feature on.",
                points + 1
            ));
            line("axes:");
        } else {
            line(
                "# The command is a shell script, and vgrid does not edit scripts: let it read variables, and vary `env.NAME`.",
            );
            line("# axes:");
            line("#   env.MAX_NUM_SEQS: [8, 16, 32]");
        }
        for axis in &now {
            line(&format!("  # {}", axis.why));
            line(&format!("  {}: [{}]", axis.name, axis.values.join(", ")));
        }
        if !more.is_empty() {
            line(if self.with_axes { "  # More to choose from; each multiplies the number of configs:" } else { "#" });
        }
        for axis in &more {
            line(&format!("  # {}: [{}]    # {}", axis.name, axis.values.join(", "), axis.why));
        }
        if self.with_axes && twin {
            line("");
            line("exclude:");
            line("  # Measured as `as_deployed` below. What an axis adds to it is measured.");
            let is = |axis: &StarterAxis| match axis.deployed.parse::<u64>() {
                Ok(number) => format!("flags[\"{}\"] == {number}", axis.name),
                Err(_) => format!("flags[\"{}\"] == \"{}\"", axis.name, axis.deployed),
            };
            let added = more.iter().map(|axis| format!("flags[\"{}\"] == \"default\"", axis.name));
            let rules: Vec<String> = now.iter().map(is).chain(added).collect();
            line("  - when: >-");
            rules.iter().enumerate().for_each(|(at, rule)| {
                line(&format!("      {rule}{}", if at + 1 < rules.len() { " and" } else { "" }));
            });
            line("    because: it is what is deployed");
        }
    }
}

/// Letters, digits, `_`, `-`, `.`; first a letter or digit.
fn grid_name(project: &str, service: &str) -> String {
    let text = if project == service { service.to_owned() } else { format!("{project}-{service}") };
    let name: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '-' }).collect();
    let name = name.trim_start_matches(['_', '-', '.']);
    scalar(if name.is_empty() { "grid" } else { &name[..name.len().min(100)] })
}

/// A path as seen from a folder; absolute where they share nothing but the root.
fn relative_to(folder: &Path, file: &Path) -> String {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let (a, b): (Vec<_>, Vec<_>) = (folder.components().collect(), file.components().collect());
    let shared = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    if shared <= 1 {
        return file.display().to_string();
    }
    let mut path = PathBuf::new();
    a[shared..].iter().for_each(|_| path.push(".."));
    b[shared..].iter().for_each(|part| path.push(part));
    path.display().to_string()
}

fn flow<'w>(words: impl Iterator<Item = &'w str>) -> String {
    format!("[{}]", words.map(scalar).collect::<Vec<_>>().join(", "))
}

/// A text as a YAML scalar: bare where nothing in it means anything, else in double quotes. A grid replaces `${NAME}`, so
/// dollars are doubled.
fn scalar(text: &str) -> String {
    let bare = !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '.' || c == '/')
        && !["on", "off", "yes", "no", "true", "false", "null"].contains(&text.to_lowercase().as_str());
    if bare { text.to_owned() } else { serde_json::Value::from(text.replace('$', "$$")).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_the_grids_folder() {
        assert_eq!(relative_to(Path::new("/a/grids"), Path::new("/a/compose/x.yml")), "../compose/x.yml");
        assert_eq!(relative_to(Path::new("/a"), Path::new("/a/x.yml")), "x.yml");
        assert_eq!(relative_to(Path::new("/a"), Path::new("/b/x.yml")), "/b/x.yml");
    }

    #[test]
    fn a_name_is_made_of_what_a_grids_name_may_hold() {
        assert_eq!(grid_name("p", "vllm"), "p-vllm");
        assert_eq!(grid_name("vllm", "vllm"), "vllm");
        assert_eq!(grid_name("", "_x y"), "x-y");
    }
}

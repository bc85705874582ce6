//! A starter grid made from compose files: commented, with the axes that make sense for the service, valid as it is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::compose::{self, LoadRequest, Project, Purpose, Service};
use crate::domain::{Diagnostic, Diagnostics, FlagName, FlagValue, Redactor, Settings, did_you_mean, known_flag};
use crate::launch;

use super::Planner;

/// Where to start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    /// The compose files, in the order of `-f`.
    pub(crate) files: Vec<PathBuf>,
    /// Env files in place of `.env`.
    pub(crate) env_files: Vec<PathBuf>,
    /// Profiles to enable.
    pub(crate) profiles: Vec<String>,
    /// The service; without it the only one that looks like vLLM.
    pub(crate) service: Option<String>,
}

/// A grid that was made.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Starter {
    /// The service that it varies.
    pub(crate) service: String,
    /// The grid's text.
    pub(crate) text: String,
    /// How many configs it measures.
    pub(crate) configs: usize,
    /// What the compose files made vgrid warn of.
    pub(crate) warnings: Vec<Diagnostic>,
    /// Variables that the compose files need and nobody sets yet.
    pub(crate) unset: Vec<String>,
}

/// Stands for the first variable that is not set, the next number for the next one: short enough to be a port.
const STAND_IN: u16 = 41_001;

/// Makes the grid that is to be written to `output`; its paths start at that file's folder.
///
/// # Errors
/// The compose files are wrong, no service or several look like vLLM, the named one is not there.
pub(crate) fn starter(source: &Source, output: &Path) -> Result<Starter, Diagnostics> {
    let mut request = LoadRequest {
        files: source.files.clone(),
        env_files: source.env_files.clone(),
        profiles: source.profiles.clone(),
        service: source.service.clone(),
        purpose: Purpose::Show,
        environment: std::env::vars().collect(),
        home: std::env::home_dir(),
        cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
        ..LoadRequest::default()
    };
    let mut unset = Vec::new();
    loop {
        let refused = match starter_in(source, output, &request, &unset) {
            Ok(starter) => return Ok(starter),
            Err(refused) => refused,
        };
        if !give_stand_ins(&refused, &mut request, &mut unset) {
            return Err(refused);
        }
    }
}

fn starter_in(source: &Source, output: &Path, request: &LoadRequest, unset: &[String]) -> Result<Starter, Diagnostics> {
    let project = compose::load(request, &|path| std::fs::read_to_string(path))?;
    let name = choose(&project, source.service.as_deref())?;
    let service = &project.services[&name];
    let mut refused = None;
    // Flags cannot be laid over a shell script: then the axes stay comments.
    for with_axes in [true, false] {
        let text = Text { source, output, name: &name, service, project: &project, unset, with_axes }.make();
        let planned = Planner::in_environment(output, text.clone(), request.environment.clone()).and_then(|planner| {
            let mut configs = 0;
            // Each config is laid over the service once.
            for planned in planner.configs(&HashMap::new()) {
                configs += usize::from(planned?.skip.is_none());
            }
            Ok((configs, planner.warnings))
        });
        match planned {
            Ok((configs, warnings)) => {
                return Ok(Starter { service: name, text, configs, warnings, unset: unset.to_vec() });
            }
            Err(diagnostics) => refused = Some(diagnostics),
        }
    }
    Err(refused.unwrap_or_else(|| Diagnostic::error("no-grid", "no grid could be made").into()))
}

/// Gives each variable that the compose files need and nobody sets a value of its own, so that the rest of them can be read.
/// False when that is not what they were refused for.
fn give_stand_ins(refused: &Diagnostics, request: &mut LoadRequest, unset: &mut Vec<String>) -> bool {
    let files = request.files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    let names: Vec<String> = files.flat_map(|text| compose::variable_names(&text)).collect();
    let before = unset.len();
    for refusal in &refused.0 {
        if !["required-variable", "empty-flag-value"].contains(&refusal.code.as_str()) {
            continue;
        }
        let mut words = refusal.message.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let Some(name) = words.find(|word| names.iter().any(|name| name == word)) else { continue };
        if !unset.iter().any(|known| known == name) && request.environment.get(name).is_none_or(String::is_empty) {
            request.environment.insert(name.to_owned(), stand_in(unset.len()));
            unset.push(name.to_owned());
        }
    }
    unset.len() > before
}

fn stand_in(number: usize) -> String {
    (usize::from(STAND_IN) + number).to_string()
}

/// The named service, or the only one that looks like vLLM.
fn choose(project: &Project, wanted: Option<&str>) -> Result<String, Diagnostics> {
    let names: Vec<&str> = project.services.keys().map(String::as_str).collect();
    if let Some(wanted) = wanted {
        if project.services.contains_key(wanted) {
            return Ok(wanted.to_owned());
        }
        let help = match did_you_mean(wanted, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("services: {}", names.join(", ")),
        };
        return Err(Diagnostic::error("unknown-service", format!("the compose files have no service `{wanted}`"))
            .help(help)
            .into());
    }
    let engines: Vec<&String> = project.services.iter().filter(|(_, s)| is_engine(s)).map(|(name, _)| name).collect();
    match engines.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(Diagnostic::error("no-engine", "no service of the compose files looks like vLLM")
            .help(format!("name it with --service: {}", names.join(", ")))
            .into()),
        several => {
            let several: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
            Err(Diagnostic::error(
                "several-engines",
                format!("several services look like vLLM: {}", several.join(", ")),
            )
            .help("name one with --service")
            .into())
        }
    }
}

/// Whether a service looks like vLLM: by its image, its program, or flags that only vLLM has.
fn is_engine(service: &Service) -> bool {
    let image = service.image.as_deref().unwrap_or_default().to_lowercase();
    let words = compose::argv(service);
    let own_flags =
        compose::settings_of(service).flags.keys().filter(|flag| known_flag(flag.as_str()).is_some()).count();
    image.contains("vllm") || image.contains("vgrid-sim") || words.iter().any(|w| w.contains("vllm")) || own_flags >= 3
}

/// Everything that the text is made of.
struct Text<'t> {
    source: &'t Source,
    output: &'t Path,
    name: &'t str,
    service: &'t Service,
    project: &'t Project,
    unset: &'t [String],
    with_axes: bool,
}

impl Text<'_> {
    fn make(&self) -> String {
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
        line("");
        line("configs:");
        line("  # The deployment unchanged: what every other config is compared with. It runs first.");
        line("  - name: as_deployed");
        line("baseline: as_deployed");
        line("");
        line(
            "# quick: does it serve, a cached prefix, a little load. full: everything, for a night. Or your own, see docs/grid.md.",
        );
        line("suite: quick");
        line("");
        line("# What a config must meet before it may rank. Your own limits belong here:");
        line("# gates:");
        line("#   - smoke.passed == 1");
        line("#   - load.ttft_ms.p95 <= 2000");
        line("#   - load.output_tokens_per_s >= 0.9 * baseline.load.output_tokens_per_s");
        line("");
        line(
            "# What to be best at. The first one is shown while the sweep runs, and is what `after: champion` goes by.",
        );
        line(
            "# Shipped ones by use case, with their gates: use_cases: [conversational, reasoning, tool_calling, throughput, generic]",
        );
        line("objectives:");
        line("  throughput: maximize load.output_tokens_per_s");
        line("  conversational: minimize kv_cache.ttft_hit_ms.p50");
        line("");
        line(
            "# The baseline is measured again in the course of the night, and the two best on fresh starts before one is named. Fewer starts, and a",
        );
        line(
            "# tie where they cannot tell: repeats: off. More, where starts differ by 2 % and many configs are near: repeats: { starts: 2 }.",
        );
        line("# repeats: { starts: 1, controls_every: 8, finalists: 2, finalist_starts: 2 }");
        line("");
        line("# startup: how long a boot may take. until: the local time by which what served before is back.");
        line("limits: { startup: 20m, trial: 90m }");
        line("# limits: { startup: 20m, trial: 90m, until: \"07:00\" }");
        out
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
        let axes = axes_for(self.service, &settings);
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

/// One axis that makes sense.
struct StarterAxis {
    name: &'static str,
    values: Vec<String>,
    /// The value of the deployment.
    deployed: String,
    why: &'static str,
    /// Part of the grid as it is, not a comment.
    measured: bool,
}

fn axes_for(service: &Service, settings: &Settings) -> Vec<StarterAxis> {
    let flag = |name: &str| settings.flags.get(&FlagName::new(name));
    let text = |name: &str| match flag(name) {
        Some(FlagValue::Value(value)) => Some(value.clone()),
        Some(FlagValue::Default | FlagValue::On | FlagValue::Off | FlagValue::Many(_)) | None => None,
    };
    let words = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
    let number = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok()).filter(|n| *n > 0);
    let around = |name: &str, unset: &[&str]| match number(name) {
        Some(n) => {
            let mut values = vec![(n / 2).max(1), n, n * 2];
            values.dedup();
            values.iter().map(u64::to_string).collect()
        }
        None => words(unset),
    };
    // Both are on in vLLM V1 where nobody says otherwise.
    let switch = |name: &str| if flag(name) == Some(&FlagValue::Off) { "off" } else { "on" }.to_owned();
    let counted = |name: &str| number(name).map_or_else(|| "default".to_owned(), |n| n.to_string());
    let mut axes = vec![
        StarterAxis {
            name: "enable-prefix-caching",
            values: words(&["on", "off"]),
            deployed: switch("enable-prefix-caching"),
            why: "Reuses the KV cache of a prompt's beginning that was seen before; on by default in vLLM V1.",
            measured: true,
        },
        StarterAxis {
            name: "enable-chunked-prefill",
            values: words(&["on", "off"]),
            deployed: switch("enable-chunked-prefill"),
            why: "Splits long prompts so that others' tokens keep flowing; on by default in vLLM V1.",
            measured: true,
        },
        StarterAxis {
            name: "max-num-seqs",
            values: around("max-num-seqs", &["default", "32", "128"]),
            deployed: counted("max-num-seqs"),
            why: "Sequences at once: throughput against the latency of each.",
            measured: true,
        },
        StarterAxis {
            name: "max-num-batched-tokens",
            values: around("max-num-batched-tokens", &["default", "4096", "16384"]),
            deployed: counted("max-num-batched-tokens"),
            why: "Tokens per step: time to first token against smooth decoding",
            measured: false,
        },
        StarterAxis {
            name: "kv-cache-dtype",
            values: words(&["auto", "fp8"]),
            deployed: text("kv-cache-dtype").unwrap_or_else(|| "auto".to_owned()),
            why: "fp8: twice the KV cache; check quality",
            measured: false,
        },
    ];
    if launch::wants_gpu(service) || flag("gpu-memory-utilization").is_some() {
        let now = text("gpu-memory-utilization").and_then(|v| v.parse::<f64>().ok()).unwrap_or(0.9);
        let values = [now - 0.05, now, now + 0.03].into_iter().filter(|v| *v > 0.0 && *v < 0.99);
        axes.push(StarterAxis {
            name: "gpu-memory-utilization",
            values: values.map(|v| format!("{v:.2}")).collect(),
            deployed: format!("{now:.2}"),
            why: "room for the KV cache against room for everything else",
            measured: false,
        });
    }
    if flag("enable-auto-tool-choice").is_some() {
        axes.push(StarterAxis {
            name: "tool-call-parser",
            values: text("tool-call-parser")
                .into_iter()
                .chain(["hermes".to_owned()])
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect(),
            deployed: text("tool-call-parser").unwrap_or_default(),
            why: "how tool calls are read out of the text; it depends on the model",
            measured: false,
        });
    }
    axes
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

/// The compose files that Compose itself would take in a folder, with their override.
#[must_use]
pub(crate) fn default_files(folder: &Path) -> Vec<PathBuf> {
    let names = [
        ("compose.yaml", ["compose.override.yaml", "compose.override.yml"]),
        ("compose.yml", ["compose.override.yml", "compose.override.yaml"]),
        ("docker-compose.yml", ["docker-compose.override.yml", "docker-compose.override.yaml"]),
        ("docker-compose.yaml", ["docker-compose.override.yaml", "docker-compose.override.yml"]),
    ];
    for (name, overrides) in names {
        let file = folder.join(name);
        if file.is_file() {
            let beside = overrides.iter().map(|name| folder.join(name)).find(|file| file.is_file());
            return std::iter::once(file).chain(beside).collect();
        }
    }
    Vec::new()
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

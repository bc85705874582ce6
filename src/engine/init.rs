//! A starter grid made from compose files: commented, with the axes that make sense for the service, valid as it is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::compose::{self, LoadRequest, Project, Purpose, Service};
use crate::domain::{Diagnostic, Diagnostics, did_you_mean, known_flag};

use super::Planner;

mod axes;
mod text;

use text::Text;

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

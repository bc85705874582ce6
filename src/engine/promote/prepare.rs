//! Everything about a promotion before anything is touched: the override, the checklist, the files that would change.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::compose::{self, Service};
use crate::domain::{Diagnostic, Redactor};
use crate::launch::DockerLauncher;
use crate::store::{Store, SweepRow, TrialId, TrialReport, TrialState};

use super::super::plan::{PlannedConfig, Planner};
use super::super::{EngineError, Finding, FindingKind};
use super::env_keys::{self, EnvKeys, env_keys};
use super::files::FileChange;
use super::override_file::{Secrets, override_of, read_back};
use super::standing::{self, finding};

/// What `--output` is when it is not given, beside the first compose file: `champion.yml` beside a file of Compose's own name,
/// `vllm-cpu.champion.yml` beside `vllm-cpu.yml`, so that deployments that share a folder do not overwrite each other's.
fn default_name(first: Option<&PathBuf>) -> String {
    match first.and_then(|file| file.file_stem()).and_then(|stem| stem.to_str()) {
        None | Some("compose" | "docker-compose") => "champion.yml".to_owned(),
        Some(stem) => format!("{stem}.champion.yml"),
    }
}

/// A promotion, ready to be written or applied.
pub(crate) struct Prepared {
    /// The deployment and grid as they are now.
    pub(crate) planner: Planner,
    /// The sweep.
    pub(crate) sweep: SweepRow,
    /// The trial.
    pub(crate) report: TrialReport,
    /// The service as Compose reads it with the override; secrets are in it.
    pub(crate) service: Service,
    /// Id of the tested image, where it is on this engine or no engine was asked.
    pub(crate) image_id: Option<String>,
    /// The checklist.
    pub(crate) checklist: Vec<Finding>,
    /// Where the override goes, absolute.
    pub(crate) output: PathBuf,
    /// The override.
    pub(crate) text: String,
    /// The variables of an env file that would do the same.
    pub(crate) env: EnvKeys,
    /// How Compose is told to use the override.
    pub(crate) usage: String,
    /// How the tested command line differs from the deployed one, secrets hidden.
    pub(crate) changes: String,
}

impl Prepared {
    /// The points of the checklist that failed.
    pub(crate) fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.checklist.iter().filter(|f| f.kind == FindingKind::Failed)
    }

    /// Whether it is what the compose files deploy as they are.
    pub(crate) fn is_as_deployed(&self) -> bool {
        let deployed = Service { image: self.service.image.clone(), ..self.planner.service.clone() };
        self.service == deployed && self.report.settings.image.is_none()
    }

    /// The files that are written, with their texts: the override, and the env file when one is given. Those that hold the
    /// text already are left out.
    ///
    /// # Errors
    /// A file cannot be read; the env file cannot be changed line by line.
    pub(crate) fn changes(&self, env_file: Option<&Path>) -> Result<Vec<(FileChange, String)>, EngineError> {
        let stamp = jiff::ZonedDateTime::now().strftime("%Y%m%dT%H%M%S").to_string();
        let mut changes = Vec::new();
        let mut add = |path: &Path, text: String| -> Result<(), EngineError> {
            changes.extend(FileChange::plan(path, &text, &stamp)?.map(|change| (change, text)));
            Ok(())
        };
        add(&self.output, self.text.clone())?;
        if let Some(path) = env_file {
            let before = match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
                Err(source) => return Err(EngineError::File { doing: "read", path: path.to_owned(), source }),
            };
            let keys: BTreeMap<String, String> =
                self.env.keys.iter().map(|key| (key.name.clone(), key.value.clone())).collect();
            if !keys.is_empty() {
                let text = compose::set_in_env_file(&before, &keys).map_err(|why| {
                    Diagnostic::error("bad-env-file", format!("{} cannot be changed: {why}", path.display()))
                })?;
                add(path, text)?;
            }
        }
        Ok(changes)
    }
}

/// Prepares the promotion of a trial. `docker` looks up the image; without it its presence is not known.
///
/// # Errors
/// The trial was not measured, its files changed so that they give another service, the deployment is no compose file, or
/// the override would overwrite one of the deployment's own files.
pub(crate) async fn prepare(
    planner: Planner,
    store: &Store,
    trial: TrialId,
    docker: Option<&DockerLauncher>,
    output: Option<&Path>,
) -> Result<Prepared, EngineError> {
    let report = store.show(trial)?;
    let sweep = store.sweep(Some(report.trial.sweep))?;
    let name = &report.trial.name;
    let Some(request) = planner.load_request() else {
        return Err(refuse(
            "no-compose-file",
            format!("{name} ran as a local process, so there is no compose file to override"),
            format!("its command line is in `vgrid show {name} --json`"),
        ));
    };
    if report.trial.state != TrialState::Measured {
        return Err(refuse(
            "not-measured",
            format!("{name} is {}, and only what was measured can be promoted", report.trial.state),
            format!("`vgrid champions {}` lists what was measured", sweep.id),
        ));
    }
    let planned = same_config(&planner, store, &report)?;
    let output = output_path(&planner, output)?;
    let (pinned, image_id, image) = pin(&report, &planned, docker).await;
    let variables = compose::variables(&request, &|path: &Path| std::fs::read_to_string(path))?;
    let mut all: Vec<String> = planner.project.secrets.clone();
    all.extend(planner.grid.secrets());
    let mut named = env_keys::variables(&request);
    named.extend(compose::variable_names(&planner.grid_text));
    let secrets = Secrets::of(&planned.service, &all, &variables, &named);
    let usage = usage(&planner, &output);
    let comments = comments(&report, &sweep, &usage);
    let over =
        override_of(&planner.service_name, &planner.service, &planned.service, &pinned, &secrets.names, comments);
    let text = over.to_yaml();
    let secrets = secrets.only_used_in(&text);
    let wanted = Service { image: Some(pinned), ..planned.service.clone() };
    let service = read_back(&request, &output, &text, &planner.service_name, &wanted, &secrets.unset)?;
    let mut checklist = vec![
        finding(
            "measured",
            FindingKind::Ok,
            format!("attempt {}, config key {}", report.trial.attempts, report.trial.key),
        ),
        standing::starts(&report),
        standing::validity(&report),
        standing::gates(&report),
        standing::standing(store, &sweep, trial)?,
        standing::resolved(&report),
        image,
        files_unchanged(&planner, store, &sweep)?,
    ];
    let words = compose::argv(&service).len();
    checklist.push(finding(
        "argv",
        FindingKind::Ok,
        format!("read back behind the compose files, the override gives the {words} tested words"),
    ));
    checklist.push(no_secret_in(&text, &all, &secrets));
    let env = env_keys(&request, &planner.service_name, &planner.service, &planned.service);
    let diff = compose::argv_diff(&compose::argv(&planner.service), &compose::argv(&planned.service)).to_string();
    let changes = planner.redactor.apply(&diff).into_owned();
    Ok(Prepared { planner, sweep, report, service, image_id, checklist, output, text, env, usage, changes })
}

fn refuse(code: &str, message: String, help: String) -> EngineError {
    Diagnostic::error(code, message).help(help).into()
}

/// The trial's config as today's files give it: it must be the tested one, by its content key.
fn same_config(planner: &Planner, store: &Store, report: &TrialReport) -> Result<PlannedConfig, EngineError> {
    let images: HashMap<String, String> = store.images(report.trial.sweep)?.into_iter().collect();
    let name = &report.trial.name;
    let mut of_that_name = None;
    for planned in planner.configs(&images) {
        let planned = planned?;
        if planned.config.name == *name {
            if planned.key == report.trial.key {
                return Ok(planned);
            }
            of_that_name = Some(planned);
        }
    }
    let Some(now) = of_that_name else {
        return Err(refuse(
            "config-gone",
            format!("the grid has no config `{name}` any more"),
            "run the sweep again".into(),
        ));
    };
    let argv = planner.shown_words(&now.argv);
    let diff = compose::argv_diff(&report.argv, &argv);
    let what = if diff.is_empty() {
        "image, environment, devices, mounts or limits differ".to_owned()
    } else {
        format!("the command line would be another: {diff}")
    };
    Err(refuse(
        "files-changed",
        format!("the compose files or their variables changed since {name} was measured; {what}"),
        "what would be written was never measured: undo the change, or run the sweep again".into(),
    ))
}

fn output_path(planner: &Planner, output: Option<&Path>) -> Result<PathBuf, EngineError> {
    let first = planner.project.config_files.first();
    let folder = first.and_then(|file| file.parent()).unwrap_or(Path::new("."));
    let path = output.map_or_else(|| folder.join(default_name(first)), Path::to_path_buf);
    let path = std::path::absolute(&path).unwrap_or(path);
    let same =
        |file: &PathBuf| *file == path || file.canonicalize().ok().is_some_and(|f| path.canonicalize().ok() == Some(f));
    if planner.project.config_files.iter().any(same) {
        return Err(refuse(
            "own-file",
            format!("{} is one of the deployment's own compose files, which vgrid never edits", path.display()),
            "name another file with -o".into(),
        ));
    }
    Ok(path)
}

/// The image as the override writes it, its id, and the point of the checklist: by the digest under which a registry knows
/// it, else by its id.
async fn pin(
    report: &TrialReport,
    planned: &PlannedConfig,
    docker: Option<&DockerLauncher>,
) -> (String, Option<String>, Finding) {
    let reference = planned.service.image.clone().unwrap_or_default();
    let attempt = super::measured_attempt(report).and_then(|attempt| attempt.image_digest.clone());
    let Some(id) = attempt.or_else(|| report.image_digest.clone()) else {
        let text = format!("the database does not say which image {reference} was; it is written by its name");
        return (reference, None, finding("image", FindingKind::Failed, text));
    };
    let Some(docker) = docker else {
        let text = format!("{reference} is pinned to {id}; whether that is still here is not known without Docker");
        return (id.clone(), Some(id), finding("image", FindingKind::Warning, text));
    };
    match docker.image_info(&id).await {
        Ok(info) => {
            let own = info.repo_digests.iter().find(|digest| repository(digest) == repository(&reference));
            let pinned = own.cloned().unwrap_or_else(|| info.id.clone());
            let text = format!("the tested {reference} is on this engine, pinned as {pinned}");
            (pinned, Some(info.id), finding("image", FindingKind::Ok, text))
        }
        Err(error) => {
            let text = format!("the tested image {id} ({reference}) cannot be used: {}", error.message);
            (id.clone(), None, finding("image", FindingKind::Failed, text))
        }
    }
}

/// The repository of an image reference: without tag, digest and Docker Hub's own name.
fn repository(reference: &str) -> &str {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    let last = name.rfind('/').map_or(0, |at| at + 1);
    let name = name[last..].find(':').map_or(name, |at| &name[..last + at]);
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

/// Whether the compose files are byte for byte those that the sweep read. That they give the same service is known already.
fn files_unchanged(planner: &Planner, store: &Store, sweep: &SweepRow) -> Result<Finding, EngineError> {
    let plan = store.plan(sweep.id)?;
    let recorded = plan.get("files_sha256").and_then(serde_json::Value::as_object);
    let Some(recorded) = recorded else {
        let text = "the same service as tested (its hashes were not recorded by the vgrid that measured it)";
        return Ok(finding("files", FindingKind::Ok, text));
    };
    let changed: Vec<String> = planner
        .project
        .config_files
        .iter()
        .filter(|file| {
            let now = planner.file_sha256(file).unwrap_or_default();
            recorded.get(&file.display().to_string()).and_then(serde_json::Value::as_str) != Some(now.as_str())
        })
        .map(|file| file.display().to_string())
        .collect();
    Ok(if changed.is_empty() {
        finding("files", FindingKind::Ok, "the compose files are unchanged since the sweep")
    } else {
        let text = format!("{} changed since the sweep, in nothing that the engine sees", changed.join(", "));
        finding("files", FindingKind::Warning, text)
    })
}

/// No secret stands in the override; where one has no variable yet, which to set.
fn no_secret_in(text: &str, all: &[String], secrets: &Secrets) -> Finding {
    if Redactor::new(all.iter().cloned()).apply(text) != text {
        return finding("secrets", FindingKind::Failed, "the override would hold a secret");
    }
    if secrets.unset.is_empty() {
        return finding("secrets", FindingKind::Ok, "none is written: they come from the environment or env files");
    }
    let names: Vec<&str> = secrets.unset.keys().map(String::as_str).collect();
    let text =
        format!("a secret stands in the compose files themselves; the override reads it from {}", names.join(", "));
    Finding {
        help: Some(format!(
            "set {} in the environment or in an env file before Compose reads the override",
            names.join(", ")
        )),
        ..finding("secrets", FindingKind::Warning, text)
    }
}

/// The Compose command that uses the override.
fn usage(planner: &Planner, output: &Path) -> String {
    let Some(request) = planner.load_request() else { return String::new() };
    let cwd = std::env::current_dir().unwrap_or_default();
    let shown = |path: &Path| {
        let path = without_detours(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        path.strip_prefix(&cwd).unwrap_or(&path).display().to_string()
    };
    let mut words = vec!["docker".to_owned(), "compose".to_owned()];
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    request.project_name.iter().for_each(|name| option("-p", name.clone()));
    request.project_directory.iter().for_each(|folder| option("--project-directory", shown(folder)));
    request.env_files.iter().for_each(|file| option("--env-file", shown(file)));
    request.profiles.iter().for_each(|profile| option("--profile", profile.clone()));
    request.files.iter().for_each(|file| option("-f", shown(file)));
    option("-f", shown(output));
    words.extend(["up", "-d"].map(str::to_owned));
    words.push(planner.service_name.clone());
    shell_words::join(words)
}

/// The path without `..`, where it then still leads to the same file: behind a symbolic link it may not.
pub(super) fn without_detours(path: PathBuf) -> PathBuf {
    let mut short = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(short.pop()),
            other => short.push(other),
        }
    }
    match (short.canonicalize(), path.canonicalize()) {
        (Ok(a), Ok(b)) if a == b => short,
        _ => path,
    }
}

/// Where the settings come from, the same for every writing of the same trial.
fn comments(report: &TrialReport, sweep: &SweepRow, usage: &str) -> Vec<String> {
    let t = &report.trial;
    vec![
        format!("The settings of `{}` as vgrid measured them: grid {}, sweep {} ({}), trial {}, config key {}.", t.name, sweep.grid_name, sweep.id, sweep.uuid, t.trial_id.0, t.key),
        "Every value is literal; variables of an env file do not change it. Secrets come from the environment or env files.".to_owned(),
        usage.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_the_reference_without_tag_digest_and_hub() {
        for reference in [
            "vllm/vllm-openai",
            "vllm/vllm-openai:v0.10",
            "docker.io/vllm/vllm-openai@sha256:ab",
            "vllm/vllm-openai:x@sha256:ab",
        ] {
            assert_eq!(repository(reference), "vllm/vllm-openai", "{reference}");
        }
        assert_eq!(repository("localhost:5000/x/y:t"), "localhost:5000/x/y");
        assert_eq!(repository("docker.io/library/redis:7"), "redis");
    }
}

//! The deployment that a grid varies: Compose files and a service, or a local process; and what serves afterwards.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::keys::Section;
use super::reader::{Reader, Spanned, present};
use crate::domain::{Key, Kind, text_enum};
use crate::yaml::{Node, Scalar};

text_enum! {
    /// What serves when the sweep is over.
    pub enum After {
        /// What served before.
        Restore = "restore",
        /// The champion; what served before if there is none.
        Champion = "champion",
        /// Nothing.
        Stop = "stop",
    }
}

/// Where the server comes from.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The launcher and what it needs.
    pub kind: DeploymentKind,
    /// Files of variables, in order: later ones win. Joined with the grid file's folder.
    pub env_files: Vec<Spanned<PathBuf>>,
    /// What serves when the sweep is over.
    pub after: After,
}

impl Deployment {
    /// Names of the containers or services that are stopped while the sweep runs.
    #[must_use]
    pub fn also_stop(&self) -> Vec<String> {
        match &self.kind {
            DeploymentKind::Compose(compose) => compose.also_stop.iter().map(|name| name.value.clone()).collect(),
            DeploymentKind::Process(_) => Vec::new(),
        }
    }
}

/// The launcher of a deployment.
#[derive(Clone, Debug)]
pub enum DeploymentKind {
    /// A service of Compose files, in a container.
    Compose(ComposeDeployment),
    /// A local process, without Docker.
    Process(ProcessDeployment),
}

/// A service of Compose files.
#[derive(Clone, Debug)]
pub struct ComposeDeployment {
    /// The files, merged in this order. Joined with the grid file's folder.
    pub files: Vec<Spanned<PathBuf>>,
    /// The service that runs vLLM.
    pub service: Spanned<String>,
    /// The project's name (`-p`); default is Compose's own rule.
    pub project_name: Option<Spanned<String>>,
    /// The project's folder (`--project-directory`); default is the first file's folder.
    pub project_directory: Option<Spanned<PathBuf>>,
    /// Profiles to enable.
    pub profiles: Vec<Spanned<String>>,
    /// Containers that are stopped while the sweep runs, by their name or by that of their service in the project.
    pub also_stop: Vec<Spanned<String>>,
}

/// A local process.
#[derive(Clone, Debug)]
pub struct ProcessDeployment {
    /// Program and arguments; a config's flags are laid over them.
    pub command: Vec<Spanned<String>>,
    /// Variables beside those that vgrid itself has.
    pub env: Vec<(String, Spanned<String>)>,
    /// The port that the server listens on.
    pub port: u16,
}

/// The keys of `deployment`.
pub(super) const DEPLOYMENT: Section = Section::new(
    "deployment",
    "`deployment`",
    &[
        Key::new(
            "compose",
            Kind::Shape("path or list of paths"),
            "required unless `process`",
            "The Compose files, merged in this order as `docker compose -f a -f b`.",
        ),
        Key::new("service", Kind::Shape("text"), "required with `compose`", "The service that runs vLLM."),
        Key::new(
            "env_files",
            Kind::Shape("path or list of paths"),
            "none",
            "Files of `NAME=value`; later ones win, the environment wins over all, as with `--env-file`.",
        ),
        Key::new("project_name", Kind::Shape("text"), "Compose's own rule", "The project's name, as `-p`."),
        Key::new(
            "project_directory",
            Kind::Shape("path"),
            "folder of the first file",
            "Where the Compose files' relative paths start, as `--project-directory`.",
        ),
        Key::new("profiles", Kind::Shape("text or list of texts"), "none", "Profiles to enable, as `--profile`."),
        Key::new(
            "also_stop",
            Kind::Shape("text or list of texts"),
            "none",
            "Containers that must not run meanwhile, by their name or by that of their service in the project: a watchdog that restarts what it finds unhealthy, another server on the same GPU. They are stopped before the service is taken aside, and run again after it serves again.",
        ),
        Key::new("process", Kind::Shape("mapping"), "none", "A local process instead of Compose files."),
        Key::new(
            "after",
            Kind::Word(After::WORDS),
            "`restore`",
            "What serves when the sweep is over: what served before; the champion of the first objective, verified ([promote.md](promote.md); what served before if none is named); nothing.",
        ),
    ],
);

/// The keys of `deployment` that only a Compose deployment has.
const COMPOSE_ONLY: &[&str] = &["compose", "service", "project_name", "project_directory", "profiles", "also_stop"];

/// The keys of `deployment.process`.
pub(super) const PROCESS: Section = Section::new(
    "deployment.process",
    "`deployment.process`",
    &[
        Key::new(
            "command",
            Kind::Shape("list of words"),
            "required",
            "Program and arguments; a point's flags are laid over them as over a container's command.",
        ),
        Key::new("env", Kind::Shape("mapping of texts"), "none", "Variables beside those of vgrid itself."),
        Key::new("port", Kind::Whole, "required", "The port that the server listens on.").range(PORTS),
    ],
);

const PORTS: RangeInclusive<u64> = 1..=65_535;

/// Reads `deployment`; relative paths start at `folder`.
pub(super) fn read(reader: &mut Reader, node: &Node, folder: &Path) -> Option<Deployment> {
    reader.check_keys(node, &DEPLOYMENT);
    let path = |text: Spanned<String>| Spanned::new(folder.join(&text.value), text.span);
    let after = match present(node, "after") {
        Some(value) => reader.word(value, "state after the sweep", After::ALL)?,
        None => After::Restore,
    };
    let env_files = match present(node, "env_files") {
        Some(value) => reader.texts(value, "`env_files`").into_iter().map(path).collect(),
        None => Vec::new(),
    };
    let kind = match (present(node, "process"), present(node, "compose")) {
        (Some(process), None) => {
            for key in COMPOSE_ONLY {
                if let Some(other) = present(node, key) {
                    let error = other.span.error("two-launchers", format!("`{key}` does not go with `process`"));
                    reader.error(error.help("a deployment is either Compose files or a process"));
                }
            }
            DeploymentKind::Process(read_process(reader, process)?)
        }
        (Some(process), Some(_)) => {
            let error = process.span.error("two-launchers", "both `compose` and `process` are given");
            reader.error(error.help("a deployment is either Compose files or a process"));
            return None;
        }
        (None, _) => DeploymentKind::Compose(read_compose(reader, node, folder)?),
    };
    Some(Deployment { kind, env_files, after })
}

fn read_compose(reader: &mut Reader, node: &Node, folder: &Path) -> Option<ComposeDeployment> {
    let path = |text: Spanned<String>| Spanned::new(folder.join(&text.value), text.span);
    let files = reader.required(node, "compose", "`deployment`", "name your Compose files: compose: [compose.yml]");
    let service = reader.required(node, "service", "`deployment`", "name the service that runs vLLM");
    let files: Vec<Spanned<PathBuf>> = match files {
        Some(value) => {
            let files = reader.texts(value, "`compose`");
            if value.seq().is_some_and(<[Node]>::is_empty) {
                let error = value.span.error("empty-value", "`compose` names no file");
                reader.error(error.help("name at least one Compose file"));
            }
            files.into_iter().map(path).collect()
        }
        None => Vec::new(),
    };
    let service = service.and_then(|value| reader.text(value, "`service`"));
    let project_name = present(node, "project_name").and_then(|value| reader.text(value, "`project_name`"));
    let project_directory =
        present(node, "project_directory").and_then(|value| reader.text(value, "`project_directory`")).map(path);
    let profiles = present(node, "profiles").map(|value| reader.texts(value, "`profiles`")).unwrap_or_default();
    let also_stop: Vec<_> =
        present(node, "also_stop").map(|value| reader.texts(value, "`also_stop`")).unwrap_or_default();
    if let (Some(service), Some(own)) =
        (&service, also_stop.iter().find(|s| Some(&s.value) == service.as_ref().map(|s| &s.value)))
    {
        let error =
            own.span.error("contradiction", format!("`also_stop` names `{}`, the service itself", service.value));
        reader.error(error.help("it is taken aside anyway: name what else must not run meanwhile"));
    }
    Some(ComposeDeployment { files, service: service?, project_name, project_directory, profiles, also_stop })
}

fn read_process(reader: &mut Reader, node: &Node) -> Option<ProcessDeployment> {
    let what = PROCESS.what;
    reader.check_keys(node, &PROCESS);
    let help = "write its words as a list: command: [vllm, serve, /models/m, --port, \"8000\"]";
    let command = reader.required(node, "command", what, help);
    let port = reader.required(node, "port", what, "the port that the server listens on, e.g. port: 8000");
    let command: Vec<Spanned<String>> = match command {
        Some(value) => reader.items(value, "`command`", help).iter().filter_map(|w| word(reader, w)).collect(),
        None => Vec::new(),
    };
    if let Some(value) = present(node, "command")
        && value.seq().is_some_and(<[Node]>::is_empty)
    {
        reader.error(value.span.error("empty-value", "`command` is empty").help(help));
    }
    let port = port.and_then(|value| reader.whole(value, "`port`", PORTS));
    let mut env = Vec::new();
    if let Some(section) = present(node, "env") {
        for (key, value) in reader.entries(section, "`env` of the process", "e.g. env: { OMP_NUM_THREADS: 8 }") {
            let name = key.text().unwrap_or_default();
            if let Some(value) = word(reader, value) {
                env.push((name.to_owned(), value));
            }
        }
    }
    Some(ProcessDeployment { command, env, port: port? as u16 })
}

/// A word of a command or a variable's value: text as written; may be empty when in quotes.
fn word(reader: &mut Reader, node: &Node) -> Option<Spanned<String>> {
    match node.scalar() {
        Some(Scalar::Str(text)) => Some(Spanned::new(text.to_owned(), node.span.clone())),
        Some(Scalar::Int(_) | Scalar::Float(_)) => node.text().map(|t| Spanned::new(t.to_owned(), node.span.clone())),
        Some(Scalar::Null | Scalar::Bool(_)) | None => {
            reader.wrong_type(node, "each word", "a text or a number", "put it in quotes if it is meant as text");
            None
        }
    }
}

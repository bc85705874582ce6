//! From files and environment to the resolved project: the order of the steps.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::canonical::{self, Base};
use super::interpolate::Interpolation;
use super::service::Project;
use super::tree::{self, Data, Document, Map, Tree};
use super::{consistency, decode, dotenv, merge, normalize, paths, schema, schema_file};
use crate::domain::{Diagnostic, Diagnostics};
use crate::yaml;

/// What to load, and in which surroundings.
#[derive(Clone, Debug, Default)]
pub struct LoadRequest {
    /// The compose files, in the order of `-f`; at least one.
    pub files: Vec<PathBuf>,
    /// Env files in place of the project folder's `.env`, in order; later ones win.
    pub env_files: Vec<PathBuf>,
    /// Enabled profiles; `*` enables all. Without any, `COMPOSE_PROFILES` counts.
    pub profiles: Vec<String>,
    /// The project's name; without it `COMPOSE_PROJECT_NAME`, then `name:`, then the folder's name counts.
    pub project_name: Option<String>,
    /// Folder that relative paths start from; without it that of the first file.
    pub project_directory: Option<PathBuf>,
    /// The service in question; it and its profiles are enabled, and its findings may be errors (see [`Purpose`]).
    pub service: Option<String>,
    /// What the result is for.
    pub purpose: Purpose,
    /// The process's environment; wins over env files.
    pub environment: BTreeMap<String, String>,
    /// The user's home folder, for `~`.
    pub home: Option<PathBuf>,
    /// The current folder; absolute.
    pub cwd: PathBuf,
}

/// What a loaded project is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To start the service: keys that vgrid does not carry out and empty variables in flags are errors.
    #[default]
    Launch,
    /// To show it as Compose resolves it: those are warnings.
    Show,
}

/// Reads a file.
pub(super) type Read<'r> = &'r dyn Fn(&Path) -> io::Result<String>;

/// The state of one load.
pub(super) struct Loader<'l> {
    pub read: Read<'l>,
    pub home: Option<&'l Path>,
    /// Folder that relative paths start from.
    pub project_dir: PathBuf,
    pub warnings: Vec<Diagnostic>,
    /// Variables that were warned of.
    pub warned: BTreeSet<String>,
    /// Variables that interpolation read, with their values.
    pub used: BTreeMap<String, String>,
}

/// The surroundings of one group of files.
#[derive(Clone)]
pub(super) struct Scope<'s> {
    /// Variables.
    pub environment: &'s BTreeMap<String, String>,
    /// Folder that files named in `extends` and `include` start from; absolute.
    pub resource_dir: PathBuf,
    /// Files that are being included, outermost first.
    pub included: Vec<PathBuf>,
}

/// What happens to a file beside its interpolation and merge.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Everything.
    Whole,
    /// A file that `extends` names: neither its own `extends` and `include` nor the schema count yet.
    Base,
}

/// Resolves compose files as Docker Compose does. No file is touched but through `read`, with absolute paths.
///
/// # Errors
/// Everything that Compose refuses, and for [`Purpose::Launch`] what vgrid cannot carry out, each with its place and a way
/// out.
pub fn load(request: &LoadRequest, read: &dyn Fn(&Path) -> io::Result<String>) -> Result<Project, Diagnostics> {
    let Some(first) = request.files.first() else {
        return Err(Diagnostic::error("no-file", "no compose file is given").help("name one with -f").into());
    };
    let first_dir = paths::absolute(first, &request.cwd).parent().unwrap_or(&request.cwd).to_owned();
    let project_dir =
        request.project_directory.as_ref().map_or(first_dir, |directory| paths::absolute(directory, &request.cwd));
    let mut loader = Loader::new(read, request.home.as_deref(), project_dir.clone());
    let mut environment = loader.environment(request)?;
    let mut documents = Vec::new();
    for file in &request.files {
        documents.push((file.clone(), loader.parse(&paths::absolute(file, &request.cwd), file)?));
    }
    let name = project_name(request, &environment, &documents, &project_dir)?;
    environment.insert("COMPOSE_PROJECT_NAME".into(), name.clone());
    let scope = Scope { environment: &environment, resource_dir: project_dir.clone(), included: Vec::new() };
    let mut root = loader.model(documents, &project_dir, &scope, &request.cwd)?;
    if root.map().is_none_or(Map::is_empty) {
        return Err(Diagnostic::error("empty-file", "the compose files are empty").help("add `services:`").into());
    }
    normalize::normalize(&mut root, &name, &environment).map_err(Diagnostics::from)?;
    normalize::strip_extensions(&mut root, &mut Vec::new(), &mut loader.warnings);
    let mut project = Project {
        name,
        working_dir: project_dir,
        config_files: request.files.iter().map(|f| paths::absolute(f, &request.cwd)).collect(),
        ..Project::default()
    };
    let decoded = decode::services(&root)?;
    decode::resources(&root, &mut project)?;
    loader.warnings.extend(decoded.warnings.iter().cloned());
    let surroundings = consistency::Surroundings { request, root: &root, environment: &environment };
    consistency::finish(&surroundings, &mut loader, decoded, &mut project)?;
    project.warnings = loader.warnings;
    Ok(project)
}

/// The project's name by Compose's order of precedence.
fn project_name(
    request: &LoadRequest,
    environment: &BTreeMap<String, String>,
    files: &[(PathBuf, Vec<Document>)],
    project_dir: &Path,
) -> Result<String, Diagnostics> {
    let set = environment.get("COMPOSE_PROJECT_NAME").filter(|n| !n.is_empty());
    if let Some(name) = request.project_name.as_ref().filter(|n| !n.is_empty()).or(set) {
        if paths::project_name(name) != *name {
            return Err(Diagnostic::error("bad-project-name", format!("`{name}` cannot name a project"))
                .help("use lower-case letters, digits, `-` and `_`, and begin with a letter or digit")
                .into());
        }
        return Ok(name.clone());
    }
    let named = files
        .iter()
        .flat_map(|(_, documents)| documents)
        .filter_map(|d| d.root.get("name"))
        .rfind(|name| !name.is_null() && name.str() != Some(""));
    let Some(tree) = named else {
        let folder = project_dir.file_name().unwrap_or_default().to_string_lossy();
        return non_empty(paths::project_name(&folder), &folder);
    };
    let mut tree = tree.clone();
    let mut interpolation = Interpolation::new(environment);
    interpolation.run(&mut tree);
    if !interpolation.problems.is_empty() {
        return Err(Diagnostics(interpolation.problems));
    }
    let text = tree.to_string();
    non_empty(paths::project_name(&text), &text)
}

fn non_empty(name: String, of: &str) -> Result<String, Diagnostics> {
    if name.is_empty() {
        return Err(Diagnostic::error("bad-project-name", format!("no project name can be made of `{of}`"))
            .help("give one with `name:` or COMPOSE_PROJECT_NAME")
            .into());
    }
    Ok(name)
}

impl<'l> Loader<'l> {
    /// Nothing loaded yet.
    pub fn new(read: Read<'l>, home: Option<&'l Path>, project_dir: PathBuf) -> Self {
        Self { read, home, project_dir, warnings: Vec::new(), warned: BTreeSet::new(), used: BTreeMap::new() }
    }

    /// Process environment, then env files: those asked for, else `.env` in the project's folder.
    pub fn environment(&self, request: &LoadRequest) -> Result<BTreeMap<String, String>, Diagnostics> {
        let process = &request.environment;
        let mut files: Vec<(PathBuf, bool)> =
            request.env_files.iter().map(|f| (paths::absolute(f, &request.cwd), true)).collect();
        if files.is_empty() {
            let listed = process.get("COMPOSE_ENV_FILES").filter(|l| !l.is_empty());
            let disabled = process.get("COMPOSE_DISABLE_ENV_FILE").is_some_and(|v| is_true(v));
            files = match listed {
                Some(list) => list.split(',').map(|f| (paths::absolute(Path::new(f), &request.cwd), true)).collect(),
                None if disabled => Vec::new(),
                None => vec![(self.project_dir.join(".env"), false)],
            };
        }
        self.with_env_files(process, &files)
    }

    /// `outer` with the variables of the files that it does not set; `true` marks files that must exist.
    pub fn with_env_files(
        &self,
        outer: &BTreeMap<String, String>,
        files: &[(PathBuf, bool)],
    ) -> Result<BTreeMap<String, String>, Diagnostics> {
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        for (path, required) in files {
            let text = match (self.read)(path) {
                Ok(text) => text,
                Err(_) if !required => continue,
                Err(error) => return Err(Diagnostics::unreadable(path, "the env file", &error)),
            };
            let lookup = |name: &str| outer.get(name).or_else(|| found.get(name)).cloned();
            let values = dotenv::parse(&text, &lookup).map_err(|e| env_file_error(path, &text, &e))?;
            found.extend(values);
        }
        for (name, value) in outer {
            found.insert(name.clone(), value.clone());
        }
        Ok(found)
    }

    /// The documents of one file.
    pub fn parse(&self, path: &Path, shown: &Path) -> Result<Vec<Document>, Diagnostics> {
        let text = (self.read)(path).map_err(|e| Diagnostics::unreadable(shown, "the compose file", &e))?;
        let nodes = yaml::parse_documents(shown, &text)?;
        let mut problems = Vec::new();
        let documents: Vec<Document> = nodes.iter().map(|node| tree::document(node, &mut problems)).collect();
        for document in &documents {
            if document.root.map().is_none() {
                problems.push(
                    document
                        .root
                        .error(
                            "not-a-mapping",
                            format!("a compose file is a mapping, this is {}", document.root.kind()),
                        )
                        .help("begin with `services:`"),
                );
            }
        }
        if problems.is_empty() { Ok(documents) } else { Err(Diagnostics(problems)) }
    }

    /// Several files as one document with absolute paths.
    pub fn model(
        &mut self,
        files: Vec<(PathBuf, Vec<Document>)>,
        working_dir: &Path,
        scope: &Scope<'_>,
        cwd: &Path,
    ) -> Result<Tree, Diagnostics> {
        let mut root: Option<Tree> = None;
        for (file, documents) in files {
            let path = paths::absolute(&file, cwd);
            root = self.file(root, documents, &path, scope, Depth::Whole)?.0;
        }
        let Some(mut root) = root else {
            return Err(Diagnostic::error("empty-file", "the compose files are empty").help("add `services:`").into());
        };
        let mut problems = Vec::new();
        canonical::defaults(&mut root, &mut problems);
        if !problems.is_empty() {
            return Err(Diagnostics(problems));
        }
        let base = Base { folder: working_dir.to_owned(), home: self.home };
        canonical::resolve_paths(&mut root, &base)?;
        normalize::resolve_listed_environment(&mut root, scope.environment);
        Ok(root)
    }

    /// Merges one file's documents onto `base`; also gives the paths that they reset.
    pub fn file(
        &mut self,
        mut base: Option<Tree>,
        documents: Vec<Document>,
        path: &Path,
        scope: &Scope<'_>,
        depth: Depth,
    ) -> Result<(Option<Tree>, Vec<tree::Path>), Diagnostics> {
        let mut resets = Vec::new();
        for document in documents {
            let mut root = document.root;
            self.interpolate(&mut root, scope.environment)?;
            if depth == Depth::Whole {
                self.apply_extends(&mut root, path, &document.resets, scope)?;
            }
            if let Some(base) = &mut base {
                merge::apply_resets(base, &document.resets, &mut Vec::new());
            }
            if depth == Depth::Whole {
                let mut inner = scope.clone();
                inner.included.push(path.to_owned());
                self.apply_include(&mut root, &inner)?;
            }
            let mut merged = match base.take() {
                Some(base) => merge::merge(base, root, &mut Vec::new())?,
                None => root,
            };
            merge::enforce_unicity(&mut merged, &mut Vec::new())?;
            if depth == Depth::Whole {
                self.validate(&mut merged)?;
            }
            canonical::canonical(&mut merged)?;
            merge::enforce_unicity(&mut merged, &mut Vec::new())?;
            base = Some(merged);
            resets = document.resets;
        }
        Ok((base, resets))
    }

    fn interpolate(&mut self, root: &mut Tree, environment: &BTreeMap<String, String>) -> Result<(), Diagnostics> {
        let mut interpolation = Interpolation::new(environment);
        interpolation.warned = std::mem::take(&mut self.warned);
        interpolation.run(root);
        self.warned = interpolation.warned;
        self.warnings.append(&mut interpolation.warnings);
        for name in interpolation.used {
            if let Some(value) = environment.get(&name) {
                self.used.insert(name, value.clone());
            }
        }
        if interpolation.problems.is_empty() { Ok(()) } else { Err(Diagnostics(interpolation.problems)) }
    }

    fn validate(&mut self, root: &mut Tree) -> Result<(), Diagnostics> {
        let mut problems = Vec::new();
        schema::check(&schema_file::FILE, root, &mut Vec::new(), &mut problems);
        if !problems.is_empty() {
            return Err(Diagnostics(problems));
        }
        if let Some(version) = root.map_mut().and_then(|m| m.shift_remove("version")) {
            let place = version.key.as_ref().unwrap_or(&version.span);
            self.warnings
                .push(place.warning("obsolete-key", "`version` is obsolete and ignored").help("remove the line"));
        }
        Ok(())
    }
}

/// Whether Go's `ParseBool` reads it as true.
fn is_true(text: &str) -> bool {
    matches!(text.trim().to_lowercase().as_str(), "1" | "t" | "true")
}

/// The error of an env file, with its place.
pub(super) fn env_file_error(path: &Path, text: &str, error: &dotenv::DotenvError) -> Diagnostics {
    let place = crate::domain::Place { file: path.to_owned(), line: error.line, column: 1, length: 0 };
    Diagnostic::error("bad-env-file", error.message.clone())
        .at(place, text)
        .help("a line is NAME=value; a comment begins with #")
        .into()
}

/// Whether two trees hold the same, wherever they stand.
pub(super) fn same(a: &Tree, b: &Tree) -> bool {
    match (&a.data, &b.data) {
        (Data::Map(a), Data::Map(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|other| same(v, other)))
        }
        (Data::Seq(a), Data::Seq(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => a.kind() == b.kind() && a.to_string() == b.to_string(),
    }
}

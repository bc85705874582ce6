//! Grid file + compose files -> the plan: every config with its effective service, argv and key, made one at a time.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::cases::CaseSet;
use crate::compose::{self, LoadRequest, Project, Service};
use crate::domain::{
    Config, ConfigKey, Diagnostic, Diagnostics, FlagName, MetricPath, Redactor, SkipReason, Suite, sha256,
};
use crate::grid::{self, ComposeDeployment, DeploymentKind, Grid, SuiteRef};
use crate::resume::ResultKey;

/// Everything that the files say, checked: the deployment, the grid, what must stay secret.
pub(crate) struct Planner {
    /// The grid file, absolute.
    pub(crate) grid_path: PathBuf,
    /// The grid's text, verbatim.
    pub(crate) grid_text: String,
    /// The parsed grid, variables put in.
    pub(crate) grid: Grid,
    /// The suite, loaded.
    pub(crate) suite: Suite,
    /// The data of its scenarios that judge answers, loaded.
    pub(crate) cases: CaseSet,
    /// The resolved project; for a process deployment one that holds the process as its only service.
    pub(crate) project: Project,
    /// The service's name in the project.
    pub(crate) service_name: String,
    /// The service as the deployment has it.
    pub(crate) service: Service,
    /// Hides the deployment's secrets.
    pub(crate) redactor: Redactor,
    /// Findings that are no errors: lint, unset variables.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// One config, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct PlannedConfig {
    /// The point.
    pub(crate) config: Config,
    /// Its content key.
    pub(crate) key: ConfigKey,
    /// The service with the config laid over it.
    pub(crate) service: Service,
    /// The whole command line, as far as the files say it; secrets are in it.
    pub(crate) argv: Vec<String>,
    /// Whether it is the baseline.
    pub(crate) is_baseline: bool,
    /// Why it will not run, when the plan alone says so.
    pub(crate) skip: Option<(SkipReason, String)>,
    /// The author's words on it.
    pub(crate) description: Option<String>,
    /// Expected figures that the grid states, by metric path.
    pub(crate) expected: BTreeMap<MetricPath, f64>,
}

impl PlannedConfig {
    /// The identity of each scenario's result for this config, in the suite's order.
    pub(crate) fn result_keys(&self, suite: &Suite, cases: &CaseSet) -> Vec<ResultKey> {
        let data = |spec| crate::bench::data_sha256_of(suite.seed, spec, cases);
        let key = |spec| ResultKey::of(&self.key, spec, &data(spec), suite.seed);
        suite.scenarios.iter().map(key).collect()
    }
}

impl Planner {
    /// Reads and checks the grid and the files that it names.
    ///
    /// # Errors
    /// Every error found in the grid, the suite and the compose files, with places.
    pub(crate) fn load(grid_path: &Path) -> Result<Self, Diagnostics> {
        let text =
            std::fs::read_to_string(grid_path).map_err(|e| Diagnostics::unreadable(grid_path, "the grid", &e))?;
        Self::from_text(grid_path, text)
    }

    /// As [`Planner::load`], with the grid's text as it was registered.
    ///
    /// # Errors
    /// As [`Planner::load`].
    pub(crate) fn from_text(grid_path: &Path, grid_text: String) -> Result<Self, Diagnostics> {
        Self::in_environment(grid_path, grid_text, std::env::vars().collect())
    }

    /// As [`Self::from_text`], with these variables in place of the process's own.
    ///
    /// # Errors
    /// As [`Planner::load`].
    pub(super) fn in_environment(
        grid_path: &Path,
        grid_text: String,
        environment: BTreeMap<String, String>,
    ) -> Result<Self, Diagnostics> {
        let grid = grid::parse(grid_path, &grid_text)?;
        let (suite, cases) = load_suite(&grid)?;
        let variables = variables_of(&grid, &environment)?;
        let mut grid = grid.interpolated(&variables)?;
        grid.take_use_cases(&suite);
        let (project, service_name) = load_deployment(&grid, environment)?;
        let Some(service) = project.services.get(&service_name).cloned() else {
            return Err(unknown_service(&grid, &project, &service_name).into());
        };
        let mut warnings = project.warnings.clone();
        warnings.extend(grid.warnings.0.iter().cloned());
        warnings.extend(spellings(&grid, &service)?);
        let lint = grid::lint(&grid, &suite, &compose::settings_of(&service));
        if lint.has_errors() {
            return Err(lint);
        }
        warnings.extend(lint.0);
        let secrets = project.secrets.iter().cloned().chain(Self::api_key(&service)).chain(grid.secrets());
        let redactor = Redactor::new(secrets.chain(secrets_of_variables(&variables)));
        let grid_path = std::path::absolute(grid_path).unwrap_or_else(|_| grid_path.to_owned());
        Ok(Self { grid_path, grid_text, grid, suite, cases, project, service_name, service, redactor, warnings })
    }

    /// The value of a variable or flag as it may be shown.
    pub(crate) fn shown(&self, name: &str, value: &str) -> String {
        self.redactor.apply(&Redactor::shown(name, value)).into_owned()
    }

    /// The words of a command line as they may be shown.
    pub(crate) fn shown_words(&self, words: &[String]) -> Vec<String> {
        Redactor::shown_words(words).iter().map(|word| self.redactor.apply(word).into_owned()).collect()
    }

    /// The text of a grid as it may be shown: of a value that a variable gives, the variable's name stands in it.
    pub(crate) fn shown_grid(&self, text: &str) -> String {
        self.redactor.apply_to_config(text).into_owned()
    }

    /// The hash of a compose file less its secrets, which it must not help to guess; None when it cannot be read.
    pub(crate) fn file_sha256(&self, file: &Path) -> Option<String> {
        let text = std::fs::read(file).ok()?;
        let text = String::from_utf8_lossy(&text);
        Some(sha256(&[Redactor::default().apply_to_config(&text).as_bytes()]))
    }

    /// Whether the deployment is a local process, without Docker.
    pub(crate) fn is_process(&self) -> bool {
        matches!(self.grid.deployment.kind, DeploymentKind::Process(_))
    }

    /// The image references that the deployment and the points name, for a plan of this many configs at most.
    pub(crate) fn images(&self) -> Vec<String> {
        if self.is_process() {
            return Vec::new();
        }
        let mut images: Vec<String> = self.service.image.iter().cloned().collect();
        images.extend(self.grid.images());
        images.sort();
        images.dedup();
        images
    }

    /// The baseline's name.
    pub(crate) fn baseline_name(&self) -> Option<String> {
        let point = self.grid.point_at(self.grid.baseline_index()).ok()?;
        Some(point.config.name)
    }

    /// The configs in the order in which they run, made one at a time. `image_ids` maps references to pinned ids; a
    /// reference that is not in it counts by its text.
    pub(crate) fn configs<'p>(
        &'p self,
        image_ids: &'p HashMap<String, String>,
    ) -> impl Iterator<Item = Result<PlannedConfig, Diagnostics>> + 'p {
        let baseline = self.grid.baseline_index();
        let fixed = compose::fixed_identity(&self.service);
        let mut seen: HashMap<ConfigKey, usize> = HashMap::new();
        self.grid.points_in_run_order().map(move |point| {
            let point = point?;
            let index = point.index;
            let service = compose::overlay(&self.service, &point.config.settings)?;
            let key = self.key(&fixed, &service, image_ids);
            let excluded = point.excluded.map(|e| (SkipReason::Excluded, e.because));
            let skip = match (excluded, seen.get(&key)) {
                (Some(excluded), _) => Some(excluded),
                (None, Some(first)) => {
                    let first = self.grid.point_at(*first)?.config.name;
                    Some((SkipReason::Duplicate, format!("the same effective service as {first}")))
                }
                (None, None) => {
                    seen.insert(key.clone(), index);
                    None
                }
            };
            Ok(PlannedConfig {
                argv: compose::argv(&service),
                key,
                service,
                is_baseline: index == baseline,
                skip,
                expected: point.expected.iter().cloned().collect(),
                description: point.description,
                config: point.config,
            })
        })
    }

    /// `fixed` is the identity of what no config touches.
    fn key(&self, fixed: &[u8], service: &Service, image_ids: &HashMap<String, String>) -> ConfigKey {
        let reference = service.image.as_deref().unwrap_or_default();
        let image = image_ids.get(reference).map_or(reference, String::as_str);
        let mut bytes = fixed.to_vec();
        bytes.extend(compose::varying_identity(service));
        bytes.extend_from_slice(b"\0image=");
        bytes.extend_from_slice(image.as_bytes());
        ConfigKey::of(&bytes)
    }

    /// The key that the engine wants in `Authorization`, when its service sets one.
    pub(crate) fn api_key(service: &Service) -> Option<String> {
        let flag = FlagName::new("api-key");
        let argv = compose::argv(service);
        let by_flag = argv.iter().enumerate().find_map(|(i, word)| {
            let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(n, v)| (n, Some(v)));
            let is_key = name.starts_with("--") && FlagName::new(name) == flag;
            is_key.then(|| value.map(str::to_owned).or_else(|| argv.get(i + 1).cloned())).flatten()
        });
        by_flag.or_else(|| service.environment.get("VLLM_API_KEY").cloned().flatten()).filter(|key| !key.is_empty())
    }

    /// The name of the service's container: the fixed one, else the one that Compose gives.
    pub(crate) fn container_name(&self) -> String {
        let fixed = self.service.container_name.clone();
        fixed.unwrap_or_else(|| format!("{}-{}-1", self.project.name, self.service_name))
    }

    /// How its compose files are loaded, in the surroundings of this process; None for a local process.
    pub(crate) fn load_request(&self) -> Option<LoadRequest> {
        match &self.grid.deployment.kind {
            DeploymentKind::Compose(c) => Some(compose_request(&self.grid, c, std::env::vars().collect())),
            DeploymentKind::Process(_) => None,
        }
    }

    /// The id under which the engine serves its model, when its command says it: `--served-model-name`, else the model.
    pub(crate) fn model_id(service: &Service) -> Option<String> {
        let settings = compose::settings_of(service);
        let served = settings.flags.get(&FlagName::new("served-model-name")).map(ToString::to_string);
        let first = served.and_then(|names| names.split_whitespace().next().map(str::to_owned));
        first.or(settings.model)
    }
}

/// Findings about the words of the baseline's command line, which stands for all: what vLLM would refuse is an error, unless
/// the configs replace it.
fn spellings(grid: &Grid, service: &Service) -> Result<Vec<Diagnostic>, Diagnostics> {
    let baseline = grid.point_at(grid.baseline_index())?;
    let argv = compose::argv(&compose::overlay(service, &baseline.config.settings)?);
    let found = Diagnostics(grid::lint_argv(&argv).into_iter().map(|(_, finding)| finding).collect());
    if found.has_errors() { Err(found) } else { Ok(found.0) }
}

/// The suite and its data, whose paths start at the folder of the file that names them.
fn load_suite(grid: &Grid) -> Result<(Suite, CaseSet), Diagnostics> {
    let (mut suite, file) = match &grid.suite {
        SuiteRef::Inline(suite) => (suite.clone(), &grid.file),
        SuiteRef::File(file) => {
            let text = std::fs::read_to_string(&file.value)
                .map_err(|e| Diagnostics::unreadable(&file.value, "the suite", &e))?;
            (grid::parse_suite(&file.value, &text, grid.seed)?, &file.value)
        }
    };
    grid::read_traces(&mut suite, file, |path| std::fs::read_to_string(path))?;
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let cases = CaseSet::load(&suite, folder, &|path| std::fs::read_to_string(path))?;
    Ok((suite, cases))
}

fn compose_request(grid: &Grid, c: &ComposeDeployment, environment: BTreeMap<String, String>) -> LoadRequest {
    LoadRequest {
        files: c.files.iter().map(|f| f.value.clone()).collect(),
        env_files: grid.deployment.env_files.iter().map(|f| f.value.clone()).collect(),
        profiles: c.profiles.iter().map(|p| p.value.clone()).collect(),
        project_name: c.project_name.as_ref().map(|n| n.value.clone()),
        project_directory: c.project_directory.as_ref().map(|d| d.value.clone()),
        service: Some(c.service.value.clone()),
        environment,
        home: std::env::home_dir(),
        cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
        ..LoadRequest::default()
    }
}

/// The variables that the grid's own values may name: of the env files, below those of the process.
fn variables_of(grid: &Grid, environment: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Diagnostics> {
    let request = match &grid.deployment.kind {
        DeploymentKind::Compose(c) => compose_request(grid, c, environment.clone()),
        DeploymentKind::Process(_) => LoadRequest {
            env_files: grid.deployment.env_files.iter().map(|f| f.value.clone()).collect(),
            environment: environment.clone(),
            home: std::env::home_dir(),
            cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            ..LoadRequest::default()
        },
    };
    compose::variables(&request, &|path: &Path| std::fs::read_to_string(path))
}

/// The values of variables that are secret by name: an engine inherits them and may print them. A short one of this process, which may have
/// nothing to do with the deployment, is left out: its value may be an ordinary word.
fn secrets_of_variables(variables: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    const LONG: usize = 8;
    let of_files = |name: &str, value: &str| std::env::var(name).map_or(true, |own| own != value);
    variables
        .iter()
        .filter(move |(name, value)| value.len() >= LONG || of_files(name, value))
        .flat_map(|(name, value)| Redactor::secrets_in(name, value))
}

/// The project and the service's name. The grid's variables are in.
fn load_deployment(grid: &Grid, environment: BTreeMap<String, String>) -> Result<(Project, String), Diagnostics> {
    let read = |path: &Path| std::fs::read_to_string(path);
    match &grid.deployment.kind {
        DeploymentKind::Compose(c) => {
            let request = compose_request(grid, c, environment);
            Ok((compose::load(&request, &read)?, c.service.value.clone()))
        }
        DeploymentKind::Process(p) => {
            let mut service =
                Service { command: Some(p.command.iter().map(|w| w.value.clone()).collect()), ..Service::default() };
            for (name, value) in &p.env {
                service.environment.insert(name.clone(), Some(value.value.clone()));
            }
            let of_env = p.env.iter().flat_map(|(name, value)| Redactor::secrets_in(name, &value.value));
            let secrets = of_env.chain(Redactor::secrets_in_words(&compose::argv(&service))).collect();
            let project = Project {
                name: grid.name.clone(),
                working_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
                services: std::iter::once((PROCESS.to_owned(), service)).collect(),
                secrets,
                ..Project::default()
            };
            Ok((project, PROCESS.to_owned()))
        }
    }
}

/// What the only service of a process deployment is called.
const PROCESS: &str = "process";

fn unknown_service(grid: &Grid, project: &Project, name: &str) -> Diagnostic {
    let names: Vec<&str> = project.services.keys().map(String::as_str).collect();
    let message = format!("the compose files have no service `{name}`");
    let help = match crate::domain::did_you_mean(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("services: {}", names.join(", ")),
    };
    match &grid.deployment.kind {
        DeploymentKind::Compose(c) => c.service.span.error("unknown-service", message).help(help),
        DeploymentKind::Process(_) => Diagnostic::error("unknown-service", message).help(help),
    }
}

//! Grid file + compose files -> the plan: every config with its effective service, argv and key, made one at a time.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::cases::CaseSet;
use crate::compose::{self, LoadRequest, Project, Service};
use crate::domain::{Config, ConfigKey, Diagnostic, Diagnostics, FlagName, Redactor, SkipReason, Suite};
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
    pub(crate) expected: BTreeMap<String, f64>,
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
        let grid = grid::parse(grid_path, &grid_text)?;
        let environment: BTreeMap<String, String> = std::env::vars().collect();
        let (suite, cases) = load_suite(&grid)?;
        let (project, service_name, variables) = load_deployment(&grid, environment)?;
        let mut grid = grid.interpolated(&variables)?;
        grid.take_use_cases(&suite);
        let Some(service) = project.services.get(&service_name).cloned() else {
            return Err(unknown_service(&grid, &project, &service_name).into());
        };
        let mut warnings = project.warnings.clone();
        warnings.extend(grid.warnings.0.iter().cloned());
        warnings.extend(spellings(&grid, &service)?);
        let lint = grid::lint(&grid, &compose::settings_of(&service));
        if lint.has_errors() {
            return Err(lint);
        }
        warnings.extend(lint.0);
        let secrets = project.secrets.iter().cloned().chain(Self::api_key(&service)).chain(grid.secrets());
        let redactor = Redactor::new(secrets);
        let grid_path = std::path::absolute(grid_path).unwrap_or_else(|_| grid_path.to_owned());
        Ok(Self { grid_path, grid_text, grid, suite, cases, project, service_name, service, redactor, warnings })
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
            let excluded = point.excluded.map(|e| (SkipReason::Excluded, format!("{} ({})", e.because, e.when)));
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
                expected: point.expected.iter().map(|(path, value)| (path.to_string(), *value)).collect(),
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

/// The project, the service's name, and the variables that the grid's own values may name.
fn load_deployment(
    grid: &Grid,
    environment: BTreeMap<String, String>,
) -> Result<(Project, String, BTreeMap<String, String>), Diagnostics> {
    let read = |path: &Path| std::fs::read_to_string(path);
    match &grid.deployment.kind {
        DeploymentKind::Compose(c) => {
            let request = compose_request(grid, c, environment);
            let variables = compose::variables(&request, &read)?;
            Ok((compose::load(&request, &read)?, c.service.value.clone(), variables))
        }
        DeploymentKind::Process(p) => {
            let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
            let env_files = grid.deployment.env_files.iter().map(|f| f.value.clone()).collect();
            let home = std::env::home_dir();
            let request = LoadRequest { env_files, environment, home, cwd: cwd.clone(), ..LoadRequest::default() };
            let variables = compose::variables(&request, &read)?;
            let mut service =
                Service { command: Some(p.command.iter().map(|w| w.value.clone()).collect()), ..Service::default() };
            for (name, value) in &p.env {
                service.environment.insert(name.clone(), Some(value.value.clone()));
            }
            let secrets = service.environment.iter().filter(|(name, _)| Redactor::is_secret_name(name));
            let secrets = secrets.filter_map(|(_, value)| value.clone()).collect();
            let project = Project {
                name: grid.name.clone(),
                working_dir: cwd,
                services: std::iter::once((PROCESS.to_owned(), service)).collect(),
                secrets,
                ..Project::default()
            };
            Ok((project, PROCESS.to_owned(), variables))
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

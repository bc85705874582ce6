//! Grid file + compose files -> the plan: every config with its effective service, argv and key, one at a time.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::compose::{self, Project, Service};
use crate::domain::{Config, ConfigKey, Diagnostic, Diagnostics, FlagName, Redactor, SkipReason, Suite};
use crate::grid::{self, Deployment, Grid};

/// Everything that the files say, checked: the deployment, the grid, what must stay secret.
pub(crate) struct Planner {
    /// The grid file, as the user named it.
    pub(crate) grid_path: PathBuf,
    /// The grid's text.
    pub(crate) grid_text: String,
    /// The parsed grid.
    pub(crate) grid: Grid,
    /// The suite, loaded.
    pub(crate) suite: Suite,
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
    /// The whole command line.
    pub(crate) argv: Vec<String>,
    /// Why it will not run, when the plan alone says so.
    pub(crate) skip: Option<(SkipReason, String)>,
    /// Expected figures that the grid states, by metric path.
    pub(crate) expected: Vec<(String, f64)>,
}

impl Planner {
    /// Reads and checks the grid and the files that it names.
    ///
    /// # Errors
    /// Every error found in the grid, the suite and the compose files, with places.
    pub(crate) fn load(grid_path: &Path) -> Result<Self, Diagnostics> {
        let environment: BTreeMap<String, String> = std::env::vars().collect();
        let grid_text =
            std::fs::read_to_string(grid_path).map_err(|e| Diagnostics::unreadable(grid_path, "the grid", &e))?;
        let grid = grid::parse(grid_path, &grid_text, &environment)?;
        let suite = load_suite(&grid)?;
        let (project, service_name) = load_deployment(grid_path, &grid, environment)?;
        let service = project.services.get(&service_name).cloned().ok_or_else(|| unknown_service(&project, &service_name))?;
        let mut warnings = project.warnings.clone();
        warnings.extend(grid.warnings.0.iter().cloned());
        warnings.extend(grid::lint(&grid).0);
        let redactor = Redactor::new(project.secrets.iter().cloned().chain(secret_flag_values(&service)));
        Ok(Self {
            grid_path: grid_path.to_owned(),
            grid_text,
            grid,
            suite,
            project,
            service_name,
            service,
            redactor,
            warnings,
        })
    }

    /// The image references that the deployment and the axes name.
    pub(crate) fn images(&self) -> Vec<String> {
        let mut images: Vec<String> = self.service.image.iter().cloned().collect();
        images.extend(self.grid.images());
        images.sort();
        images.dedup();
        images
    }

    /// The configs in the order in which they run, made one at a time. `image_ids` maps references to pinned ids; a
    /// reference that is not in it counts by its text.
    pub(crate) fn configs<'p>(
        &'p self,
        image_ids: &'p HashMap<String, String>,
    ) -> impl Iterator<Item = Result<PlannedConfig, Diagnostic>> + 'p {
        let mut seen: HashMap<ConfigKey, String> = HashMap::new();
        self.grid.points().map(move |point| {
            let point = point?;
            let service = compose::overlay(&self.service, &point.config.settings).map_err(first_of)?;
            let key = self.key(&service, image_ids);
            let excluded = point.excluded.map(|e| (SkipReason::Excluded, e.to_string()));
            let skip = excluded.or_else(|| {
                let first = seen.get(&key)?;
                Some((SkipReason::Duplicate, format!("the same effective service as {first}")))
            });
            if skip.is_none() {
                seen.insert(key.clone(), point.config.name.clone());
            }
            Ok(PlannedConfig {
                argv: compose::argv(&service),
                key,
                service,
                skip,
                expected: point.expected.iter().map(|(path, value)| (path.to_string(), *value)).collect(),
                config: point.config,
            })
        })
    }

    fn key(&self, service: &Service, image_ids: &HashMap<String, String>) -> ConfigKey {
        let reference = service.image.as_deref().unwrap_or_default();
        let image = image_ids.get(reference).map_or(reference, String::as_str);
        let mut bytes = compose::canonical_identity(service);
        bytes.extend_from_slice(b"\0image=");
        bytes.extend_from_slice(image.as_bytes());
        ConfigKey::of(&bytes)
    }

    /// The key that the engine wants in `Authorization`, when the deployment sets one.
    pub(crate) fn api_key(service: &Service) -> Option<String> {
        let flag = FlagName::new("api-key");
        let argv = compose::argv(service);
        let by_flag = argv.iter().enumerate().find_map(|(i, word)| {
            let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(n, v)| (n, Some(v)));
            let is_key = name.starts_with("--") && FlagName::new(name) == flag;
            is_key.then(|| value.map(str::to_owned).or_else(|| argv.get(i + 1).cloned())).flatten()
        });
        by_flag.or_else(|| service.environment.get("VLLM_API_KEY").cloned().flatten())
    }
}

fn first_of(diagnostics: Diagnostics) -> Diagnostic {
    let fallback = || Diagnostic::error("overlay", "the config cannot be laid over the service");
    diagnostics.0.into_iter().next().unwrap_or_else(fallback)
}

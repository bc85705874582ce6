//! What to launch: one overlaid service of a project, its image, its identity and where its log goes.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use indexmap::IndexMap;

use crate::compose::{Project, ProjectNetwork, ProjectVolume, Service};
use crate::domain::{ConfigKey, Redactor, SweepId, sha256, short_sha256};

/// Label with the role of a container of vgrid's; the only value is `trial`.
pub const LABEL_ROLE: &str = "io.vgrid.role";
/// Label with the identity of the database that the trial belongs to.
pub const LABEL_DB: &str = "io.vgrid.db";
/// Label with the sweep's number.
pub const LABEL_SWEEP: &str = "io.vgrid.sweep";
/// Label with the trial's number.
pub const LABEL_TRIAL: &str = "io.vgrid.trial";
/// Label with the attempt's number, from 1.
pub const LABEL_ATTEMPT: &str = "io.vgrid.attempt";
/// Label with the config's key.
pub const LABEL_KEY: &str = "io.vgrid.key";
/// The value of [`LABEL_ROLE`].
pub const ROLE_TRIAL: &str = "trial";

/// Where vLLM listens when its command does not say.
pub const DEFAULT_SERVER_PORT: u16 = 8000;

/// What of the project the launcher needs.
#[derive(Clone, Debug, Default)]
pub struct ProjectPart {
    /// The project's name.
    pub name: String,
    /// Folder that relative paths start from.
    pub working_dir: PathBuf,
    /// The compose files, absolute, in order.
    pub config_files: Vec<PathBuf>,
    /// Networks by key.
    pub networks: IndexMap<String, ProjectNetwork>,
    /// Named volumes by key.
    pub volumes: IndexMap<String, ProjectVolume>,
}

impl From<&Project> for ProjectPart {
    fn from(project: &Project) -> Self {
        Self {
            name: project.name.clone(),
            working_dir: project.working_dir.clone(),
            config_files: project.config_files.clone(),
            networks: project.networks.clone(),
            volumes: project.volumes.clone(),
        }
    }
}

/// Whose trial it is: written on the container, so that leftovers are found and strangers' are left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialLabels {
    /// Identity of the database, see [`database_label`].
    pub db: String,
    /// The sweep.
    pub sweep: SweepId,
    /// The trial.
    pub trial_id: i64,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The config's key.
    pub key: ConfigKey,
}

impl TrialLabels {
    /// The labels as Docker stores them.
    #[must_use]
    pub fn to_map(&self) -> BTreeMap<String, String> {
        [
            (LABEL_ROLE, ROLE_TRIAL.to_owned()),
            (LABEL_DB, self.db.clone()),
            (LABEL_SWEEP, self.sweep.to_string()),
            (LABEL_TRIAL, self.trial_id.to_string()),
            (LABEL_ATTEMPT, self.attempt.to_string()),
            (LABEL_KEY, self.key.0.clone()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

/// The identity of a database in labels: 16 hexadecimal digits of the SHA-256 of its canonical path.
#[must_use]
pub fn database_label(path: &std::path::Path) -> String {
    let canonical =
        std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_path_buf());
    short_sha256(&[canonical.as_os_str().as_encoded_bytes()])
}

/// Everything needed to launch one attempt.
#[derive(Clone, Debug)]
pub struct LaunchSpec {
    /// The project around the service.
    pub project: ProjectPart,
    /// The service's key in the compose files.
    pub service_name: String,
    /// The service with the config laid over it.
    pub service: Service,
    /// Whose trial it is.
    pub labels: TrialLabels,
    /// The image, pinned: an id (`sha256:...`) from [`super::image::ImageInfo`]. Ignored by the process launcher.
    pub image: String,
    /// Name of the container.
    pub container_name: String,
    /// The file that both output streams go to; appended when it exists.
    pub log_path: PathBuf,
    /// Takes secrets out of the log before it is written.
    pub redactor: Redactor,
    /// The port the server listens on inside; `None` takes it from the command, see [`server_port`].
    pub server_port: Option<u16>,
}

impl LaunchSpec {
    /// The port the server listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server_port.unwrap_or_else(|| server_port(&self.service))
    }
}

/// The port a service's server listens on: `--port` of its command, else the target of its only TCP port, else 8000.
#[must_use]
pub fn server_port(service: &Service) -> u16 {
    let words: Vec<&str> = service.entrypoint.iter().chain(&service.command).flatten().map(String::as_str).collect();
    let from_flag = words.iter().enumerate().rev().find_map(|(i, word)| match word.strip_prefix("--port") {
        Some("") => words.get(i + 1)?.parse().ok(),
        Some(rest) => rest.strip_prefix('=')?.parse().ok(),
        None => None,
    });
    let tcp: Vec<u16> = service.ports.iter().filter(|p| p.protocol != "udp").map(|p| p.target).collect();
    from_flag.unwrap_or(match tcp.as_slice() {
        [only] => *only,
        _ => DEFAULT_SERVER_PORT,
    })
}

/// The environment as it goes to the server: `None` values taken from `own`, left out where it has none.
pub(super) fn effective_environment(service: &Service, own: &dyn Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let pairs = service.environment.iter();
    pairs.filter_map(|(name, value)| Some((name.clone(), value.clone().or_else(|| own(name))?))).collect()
}

/// All labels of a trial's container: the service's, the compose ones so that `docker compose ps` and `down` see it, and ours.
pub(super) fn container_labels(spec: &LaunchSpec) -> HashMap<String, String> {
    let files: Vec<String> = spec.project.config_files.iter().map(|p| p.display().to_string()).collect();
    let depends: Vec<String> =
        spec.service.depends_on.iter().map(|(name, d)| format!("{name}:{}:{}", d.condition, d.restart)).collect();
    let compose = [
        ("project", spec.project.name.clone()),
        ("service", spec.service_name.clone()),
        ("oneoff", "False".to_owned()),
        ("container-number", "1".to_owned()),
        ("project.working_dir", spec.project.working_dir.display().to_string()),
        ("project.config_files", files.join(",")),
        ("config-hash", service_hash(&spec.service)),
        ("image", spec.image.clone()),
        ("depends_on", depends.join(",")),
        ("version", concat!("vgrid-", env!("CARGO_PKG_VERSION")).to_owned()),
    ];
    let mut labels: HashMap<String, String> = spec.service.labels.clone().into_iter().collect();
    labels.extend(compose.into_iter().map(|(name, value)| (format!("com.docker.compose.{name}"), value)));
    labels.extend(spec.labels.to_map());
    labels
}

/// A hash of the service in place of Compose's own, which differs on purpose: `docker compose up` then recreates the container.
fn service_hash(service: &Service) -> String {
    let json = serde_json::to_vec(service).unwrap_or_default();
    sha256(&[&json])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::Port;

    fn with_command(words: &[&str]) -> Service {
        Service { command: Some(words.iter().map(|w| (*w).to_owned()).collect()), ..Service::default() }
    }

    #[test]
    fn the_servers_port_is_the_commands_then_the_only_published_one_then_8000() {
        assert_eq!(server_port(&with_command(&["serve", "m", "--port", "9001"])), 9001);
        assert_eq!(server_port(&with_command(&["serve", "m", "--port=9002", "--x"])), 9002);
        assert_eq!(server_port(&with_command(&["serve", "m", "--port-range", "7"])), 8000);
        let port = |target| Port { target, protocol: "tcp".into(), ..Port::default() };
        assert_eq!(server_port(&Service { ports: vec![port(5002)], ..Service::default() }), 5002);
        assert_eq!(server_port(&Service { ports: vec![port(1), port(2)], ..Service::default() }), 8000);
    }

    #[test]
    fn an_environment_value_left_open_is_taken_from_our_own_or_left_out() {
        let environment = [("A", Some("1")), ("B", None), ("C", None)];
        let environment = environment.into_iter().map(|(k, v)| (k.to_owned(), v.map(str::to_owned))).collect();
        let service = Service { environment, ..Service::default() };
        let own = |name: &str| (name == "B").then(|| "from outside".to_owned());
        let expected = vec![("A".to_owned(), "1".to_owned()), ("B".to_owned(), "from outside".to_owned())];
        assert_eq!(effective_environment(&service, &own), expected);
    }

    #[test]
    fn two_databases_have_two_labels_and_one_database_has_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.db");
        std::fs::write(&path, b"").unwrap();
        let label = database_label(&path);
        assert_eq!(label.len(), 16);
        assert_eq!(label, database_label(&dir.path().join(".").join("runs.db")));
        assert_ne!(label, database_label(&dir.path().join("other.db")));
    }
}

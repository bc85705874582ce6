//! What serves now, in enough detail to put exactly that back: noted before anything is touched.

use std::time::{Duration, Instant};

use bollard::models::{
    ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum, RestartPolicy, RestartPolicyNameEnum,
};
use serde::{Deserialize, Serialize};

use crate::compose::Service;
use crate::domain::Redactor;
use crate::domain::reading::duration;

use super::docker::{DockerLauncher, is_running, name_of, short, started_at};
use super::endpoints::base_urls;
use super::error::{LaunchError, LaunchStep};
use super::probe::Probe;
use super::recreate::Recreate;
use super::spec::{LABEL_DB, LABEL_ROLE, ROLE_TRIAL, server_port};

/// A displaced container's name is its own with this behind it, so that it is found without the database too.
const DISPLACED: &str = "-vgrid-displaced";

/// While a container starts or stops, its port is held and not listed yet or no longer: it is Docker's until it stays so for this long.
const PROXY_OF_A_MOVING_CONTAINER: Duration = Duration::from_secs(10);

/// A server that answers nothing may be booting for so long: a large model from a cold disk.
const BOOTING: Duration = Duration::from_secs(20 * 60);

/// So many restarts, the last a short while ago, are a loop,
const MANY_RESTARTS: i64 = 3;
/// a short while being this.
const YOUNG: Duration = Duration::from_secs(10 * 60);

/// What to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServingQuery {
    /// The compose project.
    pub project: String,
    /// The service's key.
    pub service_name: String,
    /// The service's fixed container name.
    pub container_name: Option<String>,
    /// Ports of the host that the service publishes.
    pub host_ports: Vec<u16>,
    /// The port it listens on inside.
    pub server_port: u16,
    /// Key for asking which models it serves.
    pub api_key: Option<String>,
    /// Trials of this database are no obstacle: their vgrid is dead, and they are removed before anything is moved aside.
    pub own_db: Option<String>,
}

impl ServingQuery {
    /// The query for this service of this project.
    #[must_use]
    pub fn of(project: &str, service_name: &str, service: &Service, api_key: Option<String>) -> Self {
        Self {
            project: project.to_owned(),
            service_name: service_name.to_owned(),
            container_name: service.container_name.clone(),
            host_ports: service.ports.iter().filter_map(|port| port.published.as_deref()).flat_map(ports_of).collect(),
            server_port: server_port(service),
            api_key,
            own_db: None,
        }
    }

    /// The query of a vgrid that removes the leftovers of this database, by its label, before it moves anything aside.
    #[must_use]
    pub fn without_trials_of(self, db: String) -> Self {
        Self { own_db: Some(db), ..self }
    }
}

/// `5002` or `5002-5004` as single ports.
fn ports_of(published: &str) -> Vec<u16> {
    let (first, last) = published.split_once('-').unwrap_or((published, published));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) => (first..=last).collect(),
        _ => Vec::new(),
    }
}

/// Why a container counts as serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundBy {
    /// It carries the compose labels of the service.
    Labels,
    /// It bears the service's fixed container name.
    Name,
    /// It publishes a port that the service publishes.
    Port,
    /// The grid names it: it must not run meanwhile. It need not be an engine, so it is never asked for a model.
    Named,
}

/// A restart policy as Docker spells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRestartPolicy {
    /// `no`, `always`, `unless-stopped`, `on-failure`; empty is `no`.
    pub name: String,
    /// For `on-failure`.
    pub maximum_retry_count: Option<i64>,
}

impl SavedRestartPolicy {
    /// As a compose file writes it: `always`, `on-failure:3`.
    #[must_use]
    pub fn of_compose(text: &str) -> Self {
        let (name, count) = text.split_once(':').map_or((text, None), |(name, count)| (name, count.parse().ok()));
        Self { name: name.to_owned(), maximum_retry_count: count }
    }

    /// Whether the daemon would start the container again by itself although it was stopped on purpose: after its own restart,
    /// `always` does, `on-failure` does after a non-zero exit, `unless-stopped` does not.
    pub(super) fn comes_back_by_itself(&self) -> bool {
        self.name == "always" || self.name == "on-failure"
    }

    pub(super) fn to_docker(&self) -> RestartPolicy {
        let name = self.name.parse().unwrap_or(RestartPolicyNameEnum::NO);
        RestartPolicy {
            name: Some(name),
            maximum_retry_count: self.maximum_retry_count.filter(|_| self.name == "on-failure"),
        }
    }
}

/// A container that serves, or stands in the way, and how to put it back. Holds no secret: the values of variables and flags that
/// are secret by name are masked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Serving {
    /// Full id.
    pub container_id: String,
    /// Its own name, also while it is displaced.
    pub name: String,
    /// Why it counts.
    pub found_by: FoundBy,
    /// The image it runs, by id.
    pub image_id: String,
    /// The image's reference it was created with.
    pub image: String,
    /// Whether it ran; a stopped one is only moved aside and back.
    pub running: bool,
    /// `healthy`, `unhealthy`, `starting`, where it has a health check.
    pub health: Option<String>,
    /// When it was started.
    pub started_at: String,
    /// Its restart policy.
    pub restart_policy: SavedRestartPolicy,
    /// `--rm`: stopping it removes it.
    pub auto_remove: bool,
    /// How often Docker restarted it by its policy.
    #[serde(default)]
    pub restarts: i64,
    /// It had died, and Docker was about to start it again.
    #[serde(default)]
    pub restarting: bool,
    /// The exit code of its last end, when it was restarting.
    #[serde(default)]
    pub exit_code: Option<i64>,
    /// How long it ran when it was looked at, s.
    #[serde(default)]
    pub up_s: Option<f64>,
    /// Where it answers.
    pub base_urls: Vec<String>,
    /// The models that it served when it was asked; empty when it did not answer.
    pub models: Vec<String>,
    /// What is needed to make it again.
    pub recreate: Recreate,
}

impl Serving {
    /// The name that it bears while displaced.
    #[must_use]
    pub fn displaced_name(&self) -> String {
        format!("{}{DISPLACED}", self.name)
    }

    /// It in a few words: `container qwen (vllm/vllm-openai:v0.10, serving Qwen3-32B)`.
    #[must_use]
    pub fn describe(&self) -> String {
        let up = self.up_s.map(duration).unwrap_or_default();
        let state = match (&self.models[..], self.running) {
            ([], false) => "stopped".to_owned(),
            ([], true) if self.found_by == FoundBy::Named => "running".to_owned(),
            ([], true) if self.crash_loops() => self.crash_loop(),
            ([], true) if self.boots() => format!("started {up} ago, answers no model yet"),
            ([], true) => "running, no model answers".to_owned(),
            (models, _) => format!("serving {}", models.join(", ")),
        };
        format!("container {} ({}, {state})", self.name, self.image)
    }

    /// Whether it dies and Docker starts it again, over and over.
    #[must_use]
    pub fn crash_loops(&self) -> bool {
        let again = self.restarts >= MANY_RESTARTS && self.up_s.is_some_and(|up| up < YOUNG.as_secs_f64());
        self.running && self.models.is_empty() && (self.restarting || again)
    }

    /// The same in words: `restarting again and again: 7 restarts, last exit code 2`.
    #[must_use]
    pub fn crash_loop(&self) -> String {
        let code = self.exit_code.map(|code| format!(", last exit code {code}")).unwrap_or_default();
        format!("restarting again and again: {} restarts{code}", self.restarts)
    }

    /// Whether it may be on its way to serve: it answers no model yet, and was started a short while ago.
    #[must_use]
    pub fn boots(&self) -> bool {
        if self.found_by == FoundBy::Named {
            return false;
        }
        let young = self.found_by != FoundBy::Port && self.up_s.is_some_and(|up| up < BOOTING.as_secs_f64());
        let starting = self.health.as_deref() == Some("starting");
        self.running && self.models.is_empty() && !self.crash_loops() && (young || starting)
    }
}

impl DockerLauncher {
    /// The containers that serve for this service now or stand in its way: by compose labels, by fixed name, by published port.
    /// The service's own come first. One that an earlier sweep displaced is found as well, under its own name.
    ///
    /// # Errors
    /// The service runs in several replicas; a trial of vgrid's or a process outside Docker is in the way; the daemon does not answer.
    pub async fn serving_now(&self, query: &ServingQuery) -> Result<Vec<Serving>, LaunchError> {
        let all = self.list(&[]).await?;
        let mut found = Vec::new();
        for container in &all {
            let Some(found_by) = why_it_counts(container, query) else { continue };
            match trial_of(container) {
                Some(db) if query.own_db.as_deref() == Some(db) => continue,
                Some(db) => return Err(another_trial(container, db)),
                None => {}
            }
            let Some(id) = &container.id else { continue };
            found.push(self.note(id, found_by, query).await?);
        }
        let replicas: Vec<&str> =
            found.iter().filter(|s| s.found_by == FoundBy::Labels && s.running).map(|s| s.name.as_str()).collect();
        if replicas.len() > 1 {
            let text = format!(
                "the service `{}` runs in {} containers: {}",
                query.service_name,
                replicas.len(),
                replicas.join(", ")
            );
            return Err(LaunchError::new(LaunchStep::Displace, text).help(format!(
                "vgrid manages one: `docker compose -p {} up -d --scale {}=1`",
                query.project, query.service_name
            )));
        }
        self.refuse_a_process_on_the_port(query).await?;
        found.sort_by_key(|serving| (serving.found_by as u8, !serving.running));
        Ok(found)
    }

    /// The running containers that bear one of these names, or are the project's services of these names.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn running_by_name(&self, names: &[String], query: &ServingQuery) -> Result<Vec<Serving>, LaunchError> {
        let mut found = Vec::new();
        if names.is_empty() {
            return Ok(found);
        }
        for container in self.list(&[("status", "running".to_owned())]).await? {
            let own = container.names.iter().flatten().map(|name| name.trim_start_matches('/'));
            let label = |name: &str| container.labels.as_ref()?.get(name).map(String::as_str);
            let in_project = label("com.docker.compose.project") == Some(&query.project);
            let service = label("com.docker.compose.service").filter(|_| in_project);
            let is_named = own.chain(service).any(|name| names.iter().any(|named| named == name));
            if let Some(id) = container.id.as_deref().filter(|_| is_named)
                && trial_of(&container).is_none()
                && why_it_counts(&container, query).is_none()
            {
                found.push(self.note(id, FoundBy::Named, query).await?);
            }
        }
        Ok(found)
    }

    async fn note(&self, id: &str, found_by: FoundBy, query: &ServingQuery) -> Result<Serving, LaunchError> {
        let inspect = self.inspect(id).await?;
        let state = inspect.state.clone().unwrap_or_default();
        if state.paused == Some(true) {
            return Err(LaunchError::new(LaunchStep::Displace, format!("container {} is paused", name_of(&inspect)))
                .help(format!("continue or stop it first: `docker unpause {}`", name_of(&inspect))));
        }
        let urls = base_urls(self, &inspect, query.server_port).await;
        let running = is_running(&inspect);
        let models = if running && found_by != FoundBy::Named { models_at(&urls, query).await } else { Vec::new() };
        let host = inspect.host_config.clone().unwrap_or_default();
        let policy = host.restart_policy.unwrap_or_default();
        Ok(Serving {
            container_id: id.to_owned(),
            name: original_name(&inspect),
            found_by,
            image_id: inspect.image.clone().unwrap_or_default(),
            image: inspect.config.as_ref().and_then(|config| config.image.clone()).unwrap_or_default(),
            running,
            health: state.health.and_then(|health| health.status).map(|status| status.to_string()),
            started_at: started_at(&inspect),
            restart_policy: SavedRestartPolicy {
                name: policy.name.map(|name| name.to_string()).unwrap_or_default(),
                maximum_retry_count: policy.maximum_retry_count,
            },
            auto_remove: host.auto_remove.unwrap_or(false),
            restarts: inspect.restart_count.unwrap_or(0),
            restarting: state.restarting == Some(true),
            exit_code: state.exit_code.filter(|_| state.restarting == Some(true)),
            up_s: up_s(&started_at(&inspect)),
            base_urls: urls,
            models,
            recreate: Recreate::of(&inspect),
        })
    }

    /// A server that is no container cannot be stopped and put back by vgrid.
    async fn refuse_a_process_on_the_port(&self, query: &ServingQuery) -> Result<(), LaunchError> {
        if !self.connection.address.is_local() {
            return Ok(());
        }
        for port in &query.host_ports {
            let until = Instant::now() + PROXY_OF_A_MOVING_CONTAINER;
            while !self.is_dockers_or_free(*port).await? {
                let who = super::procfs::describe_listeners(*port);
                let may_be_dockers = who.is_empty() || who.contains("docker-proxy");
                if !may_be_dockers || Instant::now() > until {
                    let text = format!("port {port} is already in use{who}, outside Docker");
                    let help = if who.contains("docker-proxy") {
                        "Docker holds it for a container that is gone, as a power cut in the moment of its start leaves it: \
                         `systemctl restart docker`, then the same command, or `vgrid restore`"
                    } else {
                        "stop that server, or publish the service on another port"
                    };
                    return Err(LaunchError::new(LaunchStep::Prepare, text).help(help));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// Whether nothing listens on a port of this host, or a container that runs.
    async fn is_dockers_or_free(&self, port: u16) -> Result<bool, LaunchError> {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            return Ok(true);
        }
        let running = self.list(&[]).await?;
        Ok(running.iter().flat_map(|c| c.ports.iter().flatten()).any(|p| p.public_port == Some(port)))
    }
}

/// How long ago that was, s; None where it is no time or lies in the future.
fn up_s(started_at: &str) -> Option<f64> {
    let at: jiff::Timestamp = started_at.parse().ok()?;
    Some(jiff::Timestamp::now().duration_since(at).as_secs_f64()).filter(|s| *s >= 0.0)
}

/// The container's own name, without the mark of being displaced.
pub(super) fn original_name(inspect: &ContainerInspectResponse) -> String {
    let name = name_of(inspect);
    name.strip_suffix(DISPLACED).map_or(name.clone(), str::to_owned)
}

fn why_it_counts(container: &ContainerSummary, query: &ServingQuery) -> Option<FoundBy> {
    let label = |name: &str| container.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
    let compose = |name: &str| label(&format!("com.docker.compose.{name}"));
    let running = matches!(
        container.state,
        Some(
            ContainerSummaryStateEnum::RUNNING
                | ContainerSummaryStateEnum::RESTARTING
                | ContainerSummaryStateEnum::PAUSED
        )
    );
    let ours = compose("project") == Some(&query.project) && compose("service") == Some(&query.service_name);
    if ours && compose("oneoff") != Some("True") && label(LABEL_ROLE) != Some(ROLE_TRIAL) {
        return Some(FoundBy::Labels);
    }
    let names: Vec<&str> = container.names.iter().flatten().map(|name| name.trim_start_matches('/')).collect();
    let bears = |wanted: &str| names.iter().any(|name| name.strip_suffix(DISPLACED).unwrap_or(name) == wanted);
    if query.container_name.as_deref().is_some_and(bears) {
        return Some(FoundBy::Name);
    }
    let publishes = container
        .ports
        .iter()
        .flatten()
        .filter_map(|port| port.public_port)
        .any(|port| query.host_ports.contains(&port));
    (running && publishes).then_some(FoundBy::Port)
}

/// The database, by its label, of which the container is a trial.
fn trial_of(container: &ContainerSummary) -> Option<&str> {
    let labels = container.labels.as_ref()?;
    let is_trial = labels.get(LABEL_ROLE).is_some_and(|role| role == ROLE_TRIAL);
    is_trial.then(|| labels.get(LABEL_DB).map_or("?", String::as_str))
}

/// Another database's sweep runs now, or its vgrid died; only its own may remove what it left.
fn another_trial(container: &ContainerSummary, db: &str) -> LaunchError {
    let name =
        container.names.iter().flatten().next().map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default();
    let text =
        format!("container {name} is a trial of a sweep in another database (io.vgrid.db={db}) and is in the way");
    let id = container.id.as_deref().map(short).unwrap_or_default();
    LaunchError::new(LaunchStep::Displace, text).help(format!(
        "wait for that sweep or end it; if it is dead, run `vgrid clean` with its database, or `docker rm -f {id}`"
    ))
}

/// The models that answer at one of the addresses.
async fn models_at(urls: &[String], query: &ServingQuery) -> Vec<String> {
    let Ok(probe) = Probe::new(query.api_key.clone(), &Redactor::default()) else { return Vec::new() };
    for url in urls {
        if let Ok(models) = probe.models(url).await {
            return models;
        }
    }
    Vec::new()
}

#[cfg(test)]
#[path = "serving_tests.rs"]
mod tests;

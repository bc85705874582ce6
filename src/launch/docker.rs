//! The Docker launcher: create, start, look at, stop and remove the container of one attempt.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bollard::models::{ContainerCreateBody, ContainerInspectResponse, ContainerSummary, NetworkConnectRequest};
use bollard::query_parameters::{
    CreateContainerOptions, KillContainerOptions, ListContainersOptions, LogsOptions, RemoveContainerOptions,
    StopContainerOptions, WaitContainerOptions,
};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::ExitFacts;

use super::connect::{self, Connection};
use super::create::{CreateContext, create_plan};
use super::docker_tasks::{follow_log, watch_events, watch_for_death};
use super::endpoints::base_urls;
use super::error::{LaunchError, LaunchStep};
use super::mounts::check_bind_sources;
use super::ready::{MilestoneReader, ProgressListener, Readiness, ReadyPolicy, race};
use super::running::{Body, Marks, Running, Tasks};
use super::spec::LaunchSpec;
use super::{log, prerequisites};

/// After the container's exit its last output is there within this; a longer wait means a broken log driver.
const LOG_DRAIN: Duration = Duration::from_secs(10);

/// Docker removes a container within this, or something holds it.
const REMOVAL: Duration = Duration::from_secs(60);

/// A killed container is gone within this; a process stuck in the GPU driver may take long.
const KILL: Duration = Duration::from_secs(60);

/// A daemon that does not answer a ping within this is not there.
const PING: Duration = Duration::from_secs(5);

/// After this a port that still answers is somebody else's.
const PORT_RELEASE: Duration = Duration::from_secs(5);

/// Launches in Docker. Cheap to clone.
#[derive(Clone)]
pub struct DockerLauncher {
    pub(super) connection: Arc<Connection>,
}

impl DockerLauncher {
    /// Connects to the daemon that the environment names (`DOCKER_HOST`, `DOCKER_CONTEXT`, `config.json`, default socket).
    ///
    /// # Errors
    /// No daemon answers; the address is of a kind that vgrid does not speak; the daemon is older than 20.10.
    pub async fn connect() -> Result<Self, LaunchError> {
        Ok(Self { connection: Arc::new(connect::from_environment().await?) })
    }

    /// The daemon in words, for messages and the database: `Docker 20.10.24 (API 1.41) at unix:///var/run/docker.sock`.
    #[must_use]
    pub fn describe(&self) -> String {
        let c = &self.connection;
        format!("Docker {} (API {}.{}) at {}", c.engine_version, c.api.0, c.api.1, c.address.url())
    }

    /// Where the daemon is, as a URL.
    #[must_use]
    pub fn address(&self) -> String {
        self.connection.address.url()
    }

    /// Whether the daemon answers now.
    pub async fn answers(&self) -> bool {
        matches!(tokio::time::timeout(PING, self.connection.docker.ping()).await, Ok(Ok(_)))
    }

    /// Everything that can be known to be wrong before Docker is asked to create anything: bind sources, declared volumes and
    /// networks, dependencies, image. Touches nothing.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub async fn check(&self, spec: &LaunchSpec) -> Result<(), LaunchError> {
        if self.connection.address.is_local() {
            check_bind_sources(spec)?;
        }
        self.image_info(&spec.image).await?;
        prerequisites::check_dependencies(self, spec).await?;
        let service_ids = prerequisites::service_ids(self, spec).await?;
        create_plan(spec, &self.context(&service_ids)).map(|_| ())
    }

    fn context<'a>(&self, service_ids: &'a HashMap<String, String>) -> CreateContext<'a> {
        CreateContext { api: self.connection.api, own_env: &|name| std::env::var(name).ok(), service_ids }
    }

    /// Creates and starts the container. A container that could be created and not started is removed again.
    ///
    /// # Errors
    /// The step (`Prepare`, `Create`, `Start`) with Docker's status and message.
    pub async fn start(&self, spec: &LaunchSpec) -> Result<Running, LaunchError> {
        self.start_as(spec, |_| {}).await
    }

    /// As [`Self::start`], with a last change to the body of the create call.
    pub(super) async fn start_as(
        &self,
        spec: &LaunchSpec,
        change: impl FnOnce(&mut ContainerCreateBody),
    ) -> Result<Running, LaunchError> {
        if self.connection.address.is_local() {
            check_bind_sources(spec)?;
        }
        prerequisites::check_dependencies(self, spec).await?;
        let service_ids = prerequisites::service_ids(self, spec).await?;
        let mut plan = create_plan(spec, &self.context(&service_ids))?;
        change(&mut plan.body);
        self.refuse_a_taken_host_port(spec).await?;
        prerequisites::ensure_networks_and_volumes(self, spec).await?;
        let (writer, attempt_log) = log::open(&spec.log_path, spec.redactor.clone()).map_err(|error| {
            LaunchError::new(LaunchStep::Prepare, format!("cannot write the log {}: {error}", spec.log_path.display()))
                .help("check the disk and the permissions of the database's folder")
        })?;
        let began = Instant::now();
        let options = CreateContainerOptions { name: Some(spec.container_name.clone()), platform: plan.platform };
        let created = self.connection.docker.create_container(Some(options), plan.body).await;
        let id = created.map_err(|error| LaunchError::api(LaunchStep::Create, &error))?.id;
        let create_s = began.elapsed().as_secs_f64();
        let started = Instant::now();
        let start = async {
            for (network, endpoint) in plan.more_networks {
                let request = NetworkConnectRequest { container: id.clone(), endpoint_config: Some(endpoint) };
                self.connection.docker.connect_network(&network, request).await?;
            }
            self.connection.docker.start_container(&id, None).await?;
            self.connection.docker.inspect_container(&id, None).await
        };
        let inspect = match start.await {
            Ok(inspect) => inspect,
            Err(error) => {
                let error = LaunchError::api(LaunchStep::Start, &error);
                // The first failure is the one to report; leftovers are found by label if this fails as well.
                self.remove(&id).await.ok();
                return Err(error);
            }
        };
        let start_s = started.elapsed().as_secs_f64();
        let base_urls = base_urls(self, &inspect, spec.port()).await;
        let running = self.adopt(id, &inspect, writer, attempt_log);
        Ok(Running { started, create_s, start_s, base_urls, server_port: spec.port(), ..running })
    }

    /// Spawns the tasks that belong to a started container.
    fn adopt(
        &self,
        id: String,
        inspect: &ContainerInspectResponse,
        writer: log::LogWriter,
        attempt_log: log::AttemptLog,
    ) -> Running {
        let tasks = Tasks::new();
        let marks = Arc::new(Marks::default());
        let (tell, death) = watch::channel(None);
        let streams = &self.connection.streams;
        tasks.spawn(follow_log(streams.clone(), id.clone(), writer, tasks.cancel.clone()));
        tasks.spawn(watch_events(streams.clone(), id.clone(), Arc::clone(&marks), tasks.cancel.clone()));
        tasks.spawn(watch_for_death(self.clone(), id.clone(), tell, Arc::clone(&marks), tasks.cancel.clone()));
        Running {
            name: name_of(inspect),
            started_at: started_at(inspect),
            started: Instant::now(),
            create_s: 0.0,
            start_s: 0.0,
            base_urls: Vec::new(),
            server_port: 0,
            id,
            log: attempt_log,
            death,
            tasks,
            marks,
            body: Body::Container,
        }
    }

    /// With host networking nothing stops a stale server from answering on the port in place of ours.
    async fn refuse_a_taken_host_port(&self, spec: &LaunchSpec) -> Result<(), LaunchError> {
        if spec.service.network_mode.as_deref() != Some("host") || !self.connection.address.is_local() {
            return Ok(());
        }
        super::process::refuse_a_taken_port(spec.port()).await
    }

    /// Waits until it is ready, dead, stalled, late or cancelled; the first of them. An answer counts only when the container
    /// still is the one that was started. After `Exited` the log may still be drained: [`Self::stop`] waits for its end.
    pub async fn wait_ready(
        &self,
        running: &Running,
        policy: &ReadyPolicy,
        cancel: &CancellationToken,
        milestones: MilestoneReader<'_>,
        progress: ProgressListener<'_>,
    ) -> Readiness {
        let readiness = race(running, policy, cancel, milestones, progress).await;
        if !matches!(readiness, Readiness::Ready(_)) {
            return readiness;
        }
        match self.restarted(running).await {
            Ok(None) => readiness,
            Ok(Some(why)) => Readiness::Replaced(why),
            Err(error) => Readiness::Replaced(error.to_string()),
        }
    }

    /// The state of the container, by a fresh look.
    ///
    /// # Errors
    /// The daemon does not answer. A container that is gone is no error: its status is `removed`.
    pub async fn state(&self, running: &Running) -> Result<ExitFacts, LaunchError> {
        self.exit_facts(&running.id, &running.marks).await
    }

    pub(super) async fn exit_facts(&self, id: &str, marks: &Marks) -> Result<ExitFacts, LaunchError> {
        let asked_to_stop = marks.asked_to_stop.load(Ordering::Relaxed);
        match self.inspect(id).await {
            Ok(inspect) => {
                let facts = facts_of(&inspect);
                let oom_killed = facts.oom_killed.map(|killed| killed || marks.oom_seen.load(Ordering::Relaxed));
                Ok(ExitFacts { asked_to_stop, oom_killed, ..facts })
            }
            Err(error) if error.is_not_found() => Ok(ExitFacts {
                status: Some("removed".to_owned()),
                error: Some("the container was removed by somebody else".to_owned()),
                asked_to_stop,
                ..ExitFacts::default()
            }),
            Err(error) => Err(error),
        }
    }

    /// Whether somebody else restarted the container since we started it, and how that shows.
    ///
    /// # Errors
    /// The daemon does not answer, or the container is gone.
    pub async fn restarted(&self, running: &Running) -> Result<Option<String>, LaunchError> {
        let inspect = self.inspect(&running.id).await?;
        let (now, count) = (started_at(&inspect), inspect.restart_count.unwrap_or(0));
        Ok(if now != running.started_at {
            Some(format!(
                "the container was restarted by somebody else: it was started at {}, now at {now}",
                running.started_at
            ))
        } else if count > 0 {
            Some(format!("Docker restarted the container {count} times"))
        } else {
            None
        })
    }

    /// The name of a container that this daemon runs.
    pub async fn container_name(&self, id: &str) -> Option<String> {
        self.inspect(id).await.ok().map(|inspect| name_of(&inspect))
    }

    /// `docker inspect` of the container, with the values of environment variables and flags masked that are secret by name.
    ///
    /// # Errors
    /// The daemon does not answer, or the container is gone.
    pub async fn inspect_json(&self, running: &Running) -> Result<serde_json::Value, LaunchError> {
        let mut inspect = self.inspect(&running.id).await?;
        super::secrets::mask_inspect(&mut inspect);
        serde_json::to_value(inspect).map_err(|error| LaunchError::new(LaunchStep::Inspect, error.to_string()))
    }

    /// Stops the container, kills it when the grace is over, waits for its exit and the end of its log, removes it and waits
    /// until it is gone. Safe to call twice, and after a crash.
    ///
    /// # Errors
    /// The daemon does not answer, or Docker cannot kill or remove the container.
    pub async fn stop(&self, running: &Running, grace: Duration) -> Result<ExitFacts, LaunchError> {
        let now_ns = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        running.marks.stopping_ns.compare_exchange(0, now_ns, Ordering::Relaxed, Ordering::Relaxed).ok();
        // A server that died before was not stopped by us.
        if running.exit().is_none() {
            running.marks.asked_to_stop.store(true, Ordering::Relaxed);
        }
        self.stop_only(&running.id, Some(grace)).await?;
        tokio::time::timeout(LOG_DRAIN, running.log.ended()).await.ok();
        let last = self.state(running).await;
        running.tasks.end().await;
        // Only now the news of the death is complete: the watcher's look at the state came to its end.
        let seen = running.exit();
        self.remove(&running.id).await?;
        self.wait_for_free_port(running).await;
        let last = last?;
        // The first news of the death holds more than a look at a container that others removed meanwhile.
        Ok(match seen {
            Some(seen) if last.status.as_deref() == Some("removed") => seen,
            Some(_) | None => last,
        })
    }

    /// Waits until nothing answers any more where the server answered on this host: Docker's proxy ends a moment after the container.
    async fn wait_for_free_port(&self, running: &Running) {
        if !self.connection.address.is_local() {
            return;
        }
        let until = Instant::now() + PORT_RELEASE;
        for url in running.base_urls.iter().filter_map(|url| url.strip_prefix("http://127.0.0.1:")) {
            let Ok(port) = url.parse::<u16>() else { continue };
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() && Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Stops without removing; `None` leaves the container its own grace. Waits for the exit.
    pub(super) async fn stop_only(&self, id: &str, grace: Option<Duration>) -> Result<(), LaunchError> {
        let seconds = grace.map(|g| i32::try_from(g.as_secs_f64().ceil() as i64).unwrap_or(i32::MAX));
        let options = StopContainerOptions { signal: None, t: seconds };
        let stopped = self.connection.streams.stop_container(id, Some(options)).await;
        match stopped.map_err(|error| LaunchError::api(LaunchStep::Stop, &error)) {
            Ok(()) => {}
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) if error.daemon_unreachable => return Err(error),
            // Docker could not stop it in its way; the kill is the last word.
            Err(_) => {
                let kill = KillContainerOptions { signal: "SIGKILL".to_owned() };
                self.connection.docker.kill_container(id, Some(kill)).await.ok();
            }
        }
        self.wait_for_exit(id, KILL).await
    }

    async fn wait_for_exit(&self, id: &str, limit: Duration) -> Result<(), LaunchError> {
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut wait = Box::pin(self.connection.streams.wait_container(id, Some(options)));
        let Ok(answer) = tokio::time::timeout(limit, wait.next()).await else {
            let text = format!("container {} does not exit, not even killed, within {} s", short(id), limit.as_secs());
            return Err(LaunchError::new(LaunchStep::Stop, text)
                .help("a process may be stuck in the GPU driver: `nvidia-smi`, `dmesg`; the last resort is a reboot"));
        };
        match answer {
            // bollard reports every exit code but 0 as an error; for us it is an exit like any other.
            None | Some(Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. })) => Ok(()),
            Some(Err(error)) => match LaunchError::api(LaunchStep::Stop, &error) {
                gone if gone.is_not_found() => Ok(()),
                error => Err(error),
            },
        }
    }

    /// Removes by force with its anonymous volumes, and waits until it is gone.
    pub(super) async fn remove(&self, id: &str) -> Result<(), LaunchError> {
        let options = RemoveContainerOptions { force: true, v: true, link: false };
        let removed = self.connection.docker.remove_container(id, Some(options)).await;
        match removed.map_err(|error| LaunchError::api(LaunchStep::Stop, &error)) {
            Ok(()) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            // Somebody else is removing it at this moment.
            Err(error) if error.status == Some(409) => {}
            Err(error) => return Err(error),
        }
        let options = WaitContainerOptions { condition: "removed".to_owned() };
        let mut wait = Box::pin(self.connection.streams.wait_container(id, Some(options)));
        tokio::time::timeout(REMOVAL, wait.next()).await.ok();
        match self.inspect(id).await {
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(LaunchError::new(LaunchStep::Stop, format!("container {} cannot be removed", short(id)))
                .help(format!("remove it by hand: `docker rm -f {}`", short(id)))),
        }
    }

    pub(super) async fn inspect(&self, id: &str) -> Result<ContainerInspectResponse, LaunchError> {
        self.connection
            .docker
            .inspect_container(id, None)
            .await
            .map_err(|error| LaunchError::api(LaunchStep::Inspect, &error))
    }

    /// All containers, running or not, that fit the filters.
    pub(super) async fn list(&self, filters: &[(&str, String)]) -> Result<Vec<ContainerSummary>, LaunchError> {
        let mut map: HashMap<String, Vec<String>> = HashMap::new();
        for (name, value) in filters {
            map.entry((*name).to_owned()).or_default().push(value.clone());
        }
        let options = ListContainersOptions { all: true, filters: Some(map), ..ListContainersOptions::default() };
        let listed = self.connection.docker.list_containers(Some(options)).await;
        listed.map_err(|error| LaunchError::api(LaunchStep::Inspect, &error))
    }

    /// The last lines that a container has printed, for messages.
    pub(super) async fn last_lines(&self, id: &str, count: usize) -> String {
        let options = LogsOptions { stdout: true, stderr: true, tail: count.to_string(), ..LogsOptions::default() };
        let mut stream = Box::pin(self.connection.docker.logs(id, Some(options)));
        let mut text = String::new();
        while let Some(Ok(piece)) = stream.next().await {
            text.push_str(&String::from_utf8_lossy(piece.as_ref()));
        }
        text
    }
}

/// The first twelve characters of an id, as the docker command shows them.
pub(super) fn short(id: &str) -> &str {
    let end = if id.starts_with("sha256:") { 19 } else { 12 };
    id.get(..end).unwrap_or(id)
}

/// A container's name without Docker's leading slash.
pub(super) fn name_of(inspect: &ContainerInspectResponse) -> String {
    inspect.name.as_deref().unwrap_or_default().trim_start_matches('/').to_owned()
}

pub(super) fn started_at(inspect: &ContainerInspectResponse) -> String {
    inspect.state.as_ref().and_then(|state| state.started_at.clone()).unwrap_or_default()
}

/// Running in the sense that it must be stopped before something else can take its place.
pub(super) fn is_running(inspect: &ContainerInspectResponse) -> bool {
    inspect.state.as_ref().is_some_and(|state| state.running == Some(true) || state.restarting == Some(true))
}

/// What Docker says of the container's end, or of its life.
pub(super) fn facts_of(inspect: &ContainerInspectResponse) -> ExitFacts {
    let Some(state) = &inspect.state else { return ExitFacts::default() };
    let ended = state.running != Some(true) && state.started_at.as_deref().is_some_and(|at| !at.starts_with("0001-"));
    ExitFacts {
        status: state.status.map(|status| status.to_string()),
        exit_code: state.exit_code.filter(|_| ended),
        oom_killed: state.oom_killed,
        error: state.error.clone().filter(|text| !text.is_empty()),
        asked_to_stop: false,
    }
}

//! The contract of a launcher, and its two fulfilments: Docker and local processes.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::ExitFacts;

use super::docker::DockerLauncher;
use super::error::{LaunchError, LaunchStep};
use super::leftovers::{Leftover, Sidecar, Spared};
use super::process::{ProcessLauncher, refuse_a_taken_port};
use super::ready::{MilestoneReader, ProgressListener, Readiness, ReadyPolicy};
use super::restore::{RestorePlan, Restored};
use super::running::{Body, Running};
use super::serving::{Serving, ServingQuery};
use super::spec::LaunchSpec;

/// Launches servers.
#[derive(Clone)]
pub enum Launcher {
    /// In containers.
    Docker(DockerLauncher),
    /// As local processes.
    Process(ProcessLauncher),
}

impl Launcher {
    /// The Docker launcher, for what only Docker has: images, displaced containers.
    #[must_use]
    pub const fn docker(&self) -> Option<&DockerLauncher> {
        match self {
            Self::Docker(docker) => Some(docker),
            Self::Process(_) => None,
        }
    }

    /// Whether what runs the servers answers now: the daemon; the system always does.
    pub async fn answers(&self) -> bool {
        match self {
            Self::Docker(docker) => docker.answers().await,
            Self::Process(_) => true,
        }
    }

    /// It in words, for messages and the database.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Docker(docker) => docker.describe(),
            Self::Process(_) => "local processes".to_owned(),
        }
    }

    /// Everything that can be known to be wrong with a launch before anything is touched.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub async fn check(&self, spec: &LaunchSpec) -> Result<(), LaunchError> {
        match self {
            Self::Docker(docker) => docker.check(spec).await,
            Self::Process(process) => process.check(spec),
        }
    }

    /// Creates and starts the server of one attempt. On an error nothing is left behind.
    ///
    /// # Errors
    /// The step that failed, with the words of Docker or the system as evidence.
    pub async fn start(&self, spec: &LaunchSpec) -> Result<Running, LaunchError> {
        match self {
            Self::Docker(docker) => docker.start(spec).await,
            Self::Process(process) => process.start(spec).await,
        }
    }

    /// Waits until the server answers a real completion, dies, stalls, is late, or the wait is cancelled; the first of them. An
    /// answer counts only when it comes from the server that was started. After [`Readiness::Exited`] the end of the log may still
    /// be on its way: read it after [`Self::stop`].
    pub async fn wait_ready(
        &self,
        running: &Running,
        policy: &ReadyPolicy,
        cancel: &CancellationToken,
        milestones: MilestoneReader<'_>,
        progress: ProgressListener<'_>,
    ) -> Readiness {
        match self {
            Self::Docker(docker) => docker.wait_ready(running, policy, cancel, milestones, progress).await,
            Self::Process(process) => process.wait_ready(running, policy, cancel, milestones, progress).await,
        }
    }

    /// The server's state, by a fresh look.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn state(&self, running: &Running) -> Result<ExitFacts, LaunchError> {
        match self {
            Self::Docker(docker) => docker.state(running).await,
            Self::Process(_) => {
                let alive = || ExitFacts { status: Some("running".to_owned()), ..ExitFacts::default() };
                Ok(running.exit().unwrap_or_else(alive))
            }
        }
    }

    /// Whether somebody else restarted the server since we started it, and how that shows.
    ///
    /// # Errors
    /// The daemon does not answer, or the container is gone.
    pub async fn restarted(&self, running: &Running) -> Result<Option<String>, LaunchError> {
        match self {
            Self::Docker(docker) => docker.restarted(running).await,
            Self::Process(_) => Ok(None),
        }
    }

    /// What the system says the server was started with, secrets masked: `docker inspect`, or argv and environment.
    ///
    /// # Errors
    /// The daemon does not answer, or the container is gone.
    pub async fn inspect_json(&self, running: &Running) -> Result<serde_json::Value, LaunchError> {
        match (self, &running.body) {
            (Self::Docker(docker), _) => docker.inspect_json(running).await,
            (Self::Process(_), Body::Process { facts, .. }) => Ok(facts.clone()),
            (Self::Process(_), Body::Container) => {
                Err(LaunchError::new(LaunchStep::Inspect, format!("{} is no process", running.name)))
            }
        }
    }

    /// Stops the server, kills it when `grace` is over, waits for its exit and the end of its log, removes it and waits until it
    /// is gone. Safe to call twice, and after its death.
    ///
    /// # Errors
    /// The daemon does not answer; something cannot be killed or removed.
    pub async fn stop(&self, running: &Running, grace: Duration) -> Result<ExitFacts, LaunchError> {
        match self {
            Self::Docker(docker) => docker.stop(running, grace).await,
            Self::Process(process) => process.stop(running, grace).await,
        }
    }

    /// What serves now for the service or stands in its way, the service's own first; to be journaled before anything is touched.
    ///
    /// # Errors
    /// Something is in the way that vgrid may not move: a trial of another database, a process, several replicas.
    pub async fn serving_now(&self, query: &ServingQuery) -> Result<Vec<Serving>, LaunchError> {
        match self {
            Self::Docker(docker) => docker.serving_now(query).await,
            Self::Process(process) => {
                let leftovers =
                    query.own_db.as_deref().map(|db| process.leftovers(db)).transpose()?.unwrap_or_default();
                // What a dead vgrid left holds the port until it is removed, before the first start.
                if leftovers.is_empty() {
                    refuse_a_taken_port(query.server_port).await?;
                }
                Ok(Vec::new())
            }
        }
    }

    /// What runs under the names that a grid wants stopped; see [`DockerLauncher::running_by_name`].
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn running_by_name(&self, names: &[String], query: &ServingQuery) -> Result<Vec<Serving>, LaunchError> {
        match self {
            Self::Docker(docker) => docker.running_by_name(names, query).await,
            Self::Process(_) => Ok(Vec::new()),
        }
    }

    /// Moves aside what serves; see [`DockerLauncher::displace`].
    ///
    /// # Errors
    /// The daemon does not answer or refuses.
    pub async fn displace(&self, serving: &Serving) -> Result<(), LaunchError> {
        match self {
            Self::Docker(docker) => docker.displace(serving).await,
            Self::Process(_) => Err(only_docker(LaunchStep::Displace, serving)),
        }
    }

    /// Puts back what served and verifies it; see [`DockerLauncher::restore`].
    ///
    /// # Errors
    /// It cannot be put back, or does not answer.
    pub async fn restore(
        &self,
        serving: &Serving,
        plan: &RestorePlan,
        cancel: &CancellationToken,
    ) -> Result<Restored, LaunchError> {
        match self {
            Self::Docker(docker) => docker.restore(serving, plan, cancel).await,
            Self::Process(_) => Err(only_docker(LaunchStep::Restore, serving)),
        }
    }

    /// Running bystanders that may disturb a trial, to be named and left alone.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn sidecars(&self, project: &str, service: &str) -> Result<Vec<Sidecar>, LaunchError> {
        match self {
            Self::Docker(docker) => docker.sidecars(project, service).await,
            Self::Process(_) => Ok(Vec::new()),
        }
    }

    /// Trials' servers of this database that outlived their vgrid.
    ///
    /// # Errors
    /// The daemon does not answer; the state folder cannot be read.
    pub async fn leftovers(&self, db: &str) -> Result<Vec<Leftover>, LaunchError> {
        match self {
            Self::Docker(docker) => docker.leftovers(db).await,
            Self::Process(process) => process.leftovers(db),
        }
    }

    /// Removes them, but for the spared ones, and nothing else.
    ///
    /// # Errors
    /// As [`Self::leftovers`]; something cannot be killed or removed.
    pub async fn remove_leftovers(&self, db: &str, spared: Spared<'_>) -> Result<Vec<Leftover>, LaunchError> {
        match self {
            Self::Docker(docker) => docker.remove_leftovers(db, spared).await,
            Self::Process(process) => process.remove_leftovers(db, spared).await,
        }
    }
}

fn only_docker(step: LaunchStep, serving: &Serving) -> LaunchError {
    LaunchError::new(step, format!("{} is a container, and this deployment is a local process", serving.name))
        .help("use the grid whose deployment is the compose file")
}

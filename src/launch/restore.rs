//! Moving aside what serves, and putting exactly that back, verified by a real completion.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bollard::models::{
    ContainerInspectResponse, ContainerUpdateBody, NetworkConnectRequest, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{CreateContainerOptions, RenameContainerOptions};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::domain::Redactor;

use super::docker::{DockerLauncher, facts_of, is_running, name_of};
use super::endpoints::base_urls;
use super::error::{LaunchError, LaunchStep};
use super::ready::{ReadyPolicy, ask_until_completion};
use super::secrets::known_to;
use super::serving::{FoundBy, Serving};
use super::spec::{LABEL_ROLE, ROLE_TRIAL};

/// A server that did not answer before, and was not booting either, is given this long to answer now; after that it counts as
/// it was.
const NEVER_ANSWERED: Duration = Duration::from_secs(60);

/// One that is no engine is well when it has run for so long.
const SETTLED: Duration = Duration::from_secs(2);

/// Restarts by Docker's policy after which it will not serve.
const MOST_RESTARTS: i64 = 5;

/// Between two looks at a container that is being put back.
const LOOK: Duration = Duration::from_millis(500);

/// So long a container is started again whose port somebody else holds.
const PORT_PATIENCE: Duration = Duration::from_secs(30);

/// How Docker's errors name that.
const PORT_TAKEN: [&str; 3] = ["port is already allocated", "address already in use", "Ports are not available"];

/// Lines of its log that an error about a dead container quotes.
const QUOTED_LINES: usize = 15;

/// How to put back and verify.
#[derive(Clone, Debug)]
pub struct RestorePlan {
    /// The port it listens on inside.
    pub server_port: u16,
    /// The model that must answer; `None` takes the one that served before, or the first listed.
    pub model_id: Option<String>,
    /// Key for the probes.
    pub api_key: Option<String>,
    /// Hides secrets in what the server answers and in its log.
    pub redactor: Redactor,
    /// From the start to the completion: a cold boot of the production server.
    pub deadline: Duration,
    /// Values of secrets by name of variable or flag, for making again a container that was removed; see [`super::secrets_of`].
    pub secrets: BTreeMap<String, String>,
}

/// What had to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreAction {
    /// It ran already, under its own name.
    AlreadyThere,
    /// The very same container was started again.
    Started,
    /// It had been removed by somebody else, and was made again.
    Recreated,
    /// Somebody else had put another container of its name in its place, which is left as it is.
    ReplacedByStranger,
    /// It did not run before, and was only given back its name.
    LeftStopped,
}

/// What was put back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restored {
    /// The container's id now.
    pub container_id: String,
    /// What had to be done.
    pub action: RestoreAction,
    /// The model and address that answered a real completion; `None` when it did not run or did not answer before either.
    pub answered: Option<(String, String)>,
    /// How long it took, s.
    pub elapsed_s: f64,
}

impl DockerLauncher {
    /// Stops the container within its own grace and renames it, so that its name and ports are free. It is not removed: putting it
    /// back starts the very same container. Journal `serving` before. Idempotent.
    ///
    /// # Errors
    /// The daemon does not answer or refuses; the name for it is taken.
    pub async fn displace(&self, serving: &Serving) -> Result<(), LaunchError> {
        let at = |error: LaunchError| LaunchError { step: LaunchStep::Displace, ..error };
        let id = &serving.container_id;
        let inspect = match self.inspect(id).await {
            Ok(inspect) => inspect,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(at(error)),
        };
        if serving.restart_policy.comes_back_by_itself() && !serving.auto_remove {
            // Otherwise a restart of the daemon would bring it up in the middle of a trial.
            self.set_restart_policy(
                id,
                RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None },
            )
            .await
            .map_err(at)?;
        }
        if is_running(&inspect) {
            self.stop_only(id, None).await.map_err(at)?;
        }
        if serving.auto_remove || name_of(&inspect) == serving.displaced_name() {
            return Ok(());
        }
        self.rename(id, &serving.displaced_name()).await.map_err(|error| {
            let help = format!(
                "an earlier container may still bear that name: `docker ps -a --filter name={}`",
                serving.displaced_name()
            );
            at(error).help(help)
        })
    }

    /// Puts back what served and waits until it answers a real completion. Idempotent: it works when the container is back already,
    /// is still displaced, or was removed or replaced by somebody else.
    ///
    /// # Errors
    /// It cannot be started or made again; it dies, with its last lines; it does not answer in time; cancelled.
    pub async fn restore(
        &self,
        serving: &Serving,
        plan: &RestorePlan,
        cancel: &CancellationToken,
    ) -> Result<Restored, LaunchError> {
        let began = Instant::now();
        let at = |error: LaunchError| LaunchError { step: LaunchStep::Restore, ..error };
        let (container_id, action) = self.put_back(serving, plan, cancel).await.map_err(at)?;
        let answered = match action {
            RestoreAction::LeftStopped => None,
            RestoreAction::AlreadyThere
            | RestoreAction::Started
            | RestoreAction::Recreated
            | RestoreAction::ReplacedByStranger => match serving.found_by {
                FoundBy::Named => self.stays_up(&container_id, plan).await.map(|()| None)?,
                FoundBy::Labels | FoundBy::Name | FoundBy::Port => {
                    self.verify(&container_id, serving, plan, cancel).await?
                }
            },
        };
        Ok(Restored { container_id, action, answered, elapsed_s: began.elapsed().as_secs_f64() })
    }

    async fn put_back(
        &self,
        serving: &Serving,
        plan: &RestorePlan,
        cancel: &CancellationToken,
    ) -> Result<(String, RestoreAction), LaunchError> {
        let inspect = match self.inspect(&serving.container_id).await {
            Ok(inspect) => inspect,
            Err(error) if error.is_not_found() => return self.without_the_container(serving, plan, cancel).await,
            Err(error) => return Err(error),
        };
        let id = serving.container_id.clone();
        if name_of(&inspect) != serving.name {
            self.free_the_name(&serving.name).await?;
            self.rename(&id, &serving.name).await?;
        }
        let policy = inspect.host_config.as_ref().and_then(|host| host.restart_policy.clone()).unwrap_or_default();
        let policy_name = policy.name.map(|name| name.to_string()).unwrap_or_default();
        if policy_name != serving.restart_policy.name && !serving.auto_remove {
            self.set_restart_policy(&id, serving.restart_policy.to_docker()).await?;
        }
        if !serving.running {
            return Ok((id, RestoreAction::LeftStopped));
        }
        if is_running(&inspect) {
            return Ok((id, RestoreAction::AlreadyThere));
        }
        self.start_again(&id, cancel).await?;
        Ok((id, RestoreAction::Started))
    }

    /// Somebody removed it: another one of its name is taken for its successor, else it is made again.
    async fn without_the_container(
        &self,
        serving: &Serving,
        plan: &RestorePlan,
        cancel: &CancellationToken,
    ) -> Result<(String, RestoreAction), LaunchError> {
        match self.inspect(&serving.name).await {
            Ok(other) if !is_trial(&other) => {
                let id = other.id.clone().unwrap_or_default();
                if serving.running && !is_running(&other) {
                    self.start_again(&id, cancel).await?;
                }
                return Ok((id, RestoreAction::ReplacedByStranger));
            }
            Ok(_) => self.free_the_name(&serving.name).await?,
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        let call = serving.recreate.call(&plan.secrets)?;
        let options = CreateContainerOptions { name: Some(serving.name.clone()), platform: String::new() };
        let created = self.connection.docker.create_container(Some(options), call.body).await;
        let id = created.map_err(|error| LaunchError::api(LaunchStep::Restore, &error))?.id;
        for (network, endpoint) in call.more_networks {
            let request = NetworkConnectRequest { container: id.clone(), endpoint_config: Some(endpoint) };
            let joined = self.connection.docker.connect_network(&network, request).await;
            joined.map_err(|error| LaunchError::api(LaunchStep::Restore, &error))?;
        }
        if serving.running {
            self.start_again(&id, cancel).await?;
        }
        Ok((id, if serving.running { RestoreAction::Recreated } else { RestoreAction::LeftStopped }))
    }

    /// Only a trial of vgrid's may be removed for the name's sake.
    async fn free_the_name(&self, name: &str) -> Result<(), LaunchError> {
        match self.inspect(name).await {
            Ok(holder) if is_trial(&holder) => self.remove(&holder.id.unwrap_or_default()).await,
            Ok(holder) => {
                let id = holder.id.unwrap_or_default();
                Err(LaunchError::new(
                    LaunchStep::Restore,
                    format!("its name `{name}` is borne by another container ({})", super::docker::short(&id)),
                )
                .help("somebody started it meanwhile: keep it, or remove it and run `vgrid restore`"))
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Who holds a port may be about to let go of it: a container that is being removed, a server that was started by hand.
    async fn start_again(&self, id: &str, cancel: &CancellationToken) -> Result<(), LaunchError> {
        let until = Instant::now() + PORT_PATIENCE;
        loop {
            let Err(error) = self.connection.docker.start_container(id, None).await else { return Ok(()) };
            let error = LaunchError::api(LaunchStep::Restore, &error);
            let lacks_a_port = PORT_TAKEN.iter().any(|text| error.message.contains(text));
            if !lacks_a_port {
                return Err(error.help("free what it needs (GPU, mount, network), then run `vgrid restore`"));
            }
            if Instant::now() > until || cancel.is_cancelled() {
                return Err(error.help(
                    "free that port, then run `vgrid restore`; where nobody but Docker itself holds it (docker-proxy, without a container, \
                     after a power cut): `systemctl restart docker` first",
                ));
            }
            tokio::select! {
                () = cancel.cancelled() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn rename(&self, id: &str, name: &str) -> Result<(), LaunchError> {
        let renamed =
            self.connection.docker.rename_container(id, RenameContainerOptions { name: name.to_owned() }).await;
        renamed.map_err(|error| LaunchError::api(LaunchStep::Restore, &error))
    }

    pub(super) async fn set_restart_policy(&self, id: &str, policy: RestartPolicy) -> Result<(), LaunchError> {
        let update = ContainerUpdateBody { restart_policy: Some(policy), ..ContainerUpdateBody::default() };
        let updated = self.connection.docker.update_container(id, update).await;
        updated.map_err(|error| LaunchError::api(LaunchStep::Restore, &error))
    }

    /// Waits for a real completion. A death is final only when Docker will not start it again.
    async fn verify(
        &self,
        id: &str,
        serving: &Serving,
        plan: &RestorePlan,
        cancel: &CancellationToken,
    ) -> Result<Option<(String, String)>, LaunchError> {
        // One that was still booting is expected to serve; a broken one must not hold the end of the sweep.
        let expected = !serving.models.is_empty() || serving.boots();
        let limit = if expected { plan.deadline } else { plan.deadline.min(NEVER_ANSWERED) };
        let policy = ReadyPolicy {
            model_id: plan.model_id.clone().or_else(|| serving.models.first().cloned()),
            api_key: plan.api_key.clone(),
            redactor: plan.redactor.with(known_to(&self.inspect(id).await?)),
            ..ReadyPolicy::default()
        };
        let deadline = tokio::time::Instant::now() + limit;
        let restarts_before = self.inspect(id).await?.restart_count.unwrap_or(0);
        loop {
            let inspect = self.inspect(id).await?;
            if inspect.restart_count.unwrap_or(0) - restarts_before >= MOST_RESTARTS {
                return Err(self.died(id, &inspect, plan).await);
            }
            if !is_running(&inspect) && (serving.restart_policy.name.is_empty() || serving.restart_policy.name == "no")
            {
                return Err(self.died(id, &inspect, plan).await);
            }
            // The address of a port without a number may change with every start, so it is asked for anew.
            let urls = base_urls(self, &inspect, plan.server_port).await;
            tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    return Err(LaunchError::new(LaunchStep::Restore, format!("{} was started, and the wait for its first answer was cut short", serving.name))
                        .help("`vgrid restore` waits and verifies again"));
                }
                answer = ask_until_completion(&urls, &policy) => match answer {
                    Ok(ready) => return Ok(Some((ready.model_id, ready.base_url))),
                    Err(why) if expected => {
                        return Err(LaunchError::new(LaunchStep::Restore, format!("{} runs, and does not serve as before: {why}", serving.name))
                            .help(format!("look at `docker logs {}`", serving.name)));
                    }
                    Err(_) => return self.alive_and_mute(id, restarts_before, plan).await.map(|()| None),
                },
                () = self.gone_or_moved(id, &inspect) => {}
                () = tokio::time::sleep_until(deadline) => {
                    if !expected {
                        return self.alive_and_mute(id, restarts_before, plan).await.map(|()| None);
                    }
                    let text = format!("{} runs, and answers no completion after {} s", serving.name, limit.as_secs());
                    return Err(LaunchError::new(LaunchStep::Restore, text).help(format!("look at `docker logs {}`; `vgrid restore` waits again", serving.name)));
                }
            }
        }
    }

    /// Resolves when the container is no longer the one that was inspected: it died, or was started again.
    async fn gone_or_moved(&self, id: &str, before: &ContainerInspectResponse) {
        let started = |inspect: &ContainerInspectResponse| (is_running(inspect), super::docker::started_at(inspect));
        loop {
            tokio::time::sleep(LOOK).await;
            match self.inspect(id).await {
                Ok(now) if started(&now) == started(before) => {}
                Ok(_) => return,
                Err(error) if error.is_not_found() => return,
                // The daemon is away for a moment; the deadline stands.
                Err(_) => {}
            }
        }
    }

    /// One that is no engine is asked for nothing; but it must not die at once.
    async fn stays_up(&self, id: &str, plan: &RestorePlan) -> Result<(), LaunchError> {
        let before = self.inspect(id).await?;
        if is_running(&before) {
            tokio::select! {
                () = self.gone_or_moved(id, &before) => {}
                () = tokio::time::sleep(SETTLED) => {}
            }
        }
        self.alive_and_mute(id, before.restart_count.unwrap_or(0), plan).await
    }

    /// One that did not answer before need not answer now; but it must run, and not die again and again.
    async fn alive_and_mute(&self, id: &str, restarts_before: i64, plan: &RestorePlan) -> Result<(), LaunchError> {
        let inspect = self.inspect(id).await?;
        let restarting = inspect.state.as_ref().is_some_and(|state| state.restarting == Some(true));
        let restarted = inspect.restart_count.unwrap_or(0) > restarts_before;
        if restarting || restarted || !is_running(&inspect) {
            return Err(self.died(id, &inspect, plan).await);
        }
        Ok(())
    }

    async fn died(&self, id: &str, inspect: &ContainerInspectResponse, plan: &RestorePlan) -> LaunchError {
        let exit_code = inspect.state.as_ref().and_then(|state| state.exit_code).filter(|code| *code != 0);
        let exit_code = facts_of(inspect).exit_code.or(exit_code);
        let ended = if is_running(inspect) { "dies again and again" } else { "exited" };
        let lines = self.last_lines(id, QUOTED_LINES).await;
        let redactor = plan.redactor.with(plan.secrets.values().cloned().chain(known_to(inspect)));
        let lines = redactor.apply(lines.trim_end());
        let code = exit_code.map(|code| format!(" with exit code {code}")).unwrap_or_default();
        LaunchError::new(
            LaunchStep::Restore,
            format!("{} was started and {ended}{code}; its last lines:\n{}", name_of(inspect), lines),
        )
        .help("correct what they say, then run `vgrid restore`")
    }
}

pub(super) fn is_trial(inspect: &ContainerInspectResponse) -> bool {
    let labels = inspect.config.as_ref().and_then(|config| config.labels.as_ref());
    labels.and_then(|labels| labels.get(LABEL_ROLE)).is_some_and(|role| role == ROLE_TRIAL)
}

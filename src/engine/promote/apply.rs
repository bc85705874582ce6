//! Putting a config into production: files, container, verification; and back by itself when it does not hold.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::bench::{self, Client};
use crate::compose::{self, ComposeRelease};
use crate::domain::{Event, ScenarioSpec, SmokeSpec, Verdict};
use crate::launch::{
    self, DockerLauncher, FoundBy, LaunchError, LaunchSpec, PromotedLabels, Readiness, Ready, ReadyPolicy, Running,
    SavedRestartPolicy, Serving,
};
use crate::resolve;
use crate::store::{Promotion, PromotionId, PromotionState, Store};

use super::super::preflight::state_folder;
use super::super::trouble::smoke_failure;
use super::super::{EngineError, Finding, FindingKind, Planner, Teller, deployment_identity, readback, restore};
use super::canary;
use super::files::FileChange;
use super::prepare::Prepared;
use super::rollback::{RolledBack, roll_back};
use super::write::journal_entry;

/// What an application came to.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(tag = "applied", rename_all = "snake_case")]
pub(crate) enum Applied {
    /// The config serves, verified.
    Promoted {
        /// The promotion.
        promotion: PromotionId,
        /// The container.
        container: String,
        /// The model that answered.
        model: String,
        /// From the container's start to the first real completion, s.
        ready_s: f64,
        /// What became of the quick canary.
        canary: Finding,
        /// The files that changed.
        files: Vec<FileChange>,
    },
    /// It did not hold, and what served before serves again.
    RolledBack {
        /// Why it did not hold.
        why: String,
        /// What was undone.
        rolled_back: Box<RolledBack>,
    },
}

/// What may stop an application before the container is verified; everything is then rolled back.
struct Unfit(String);

impl From<LaunchError> for Unfit {
    fn from(error: LaunchError) -> Self {
        Self(error.to_string())
    }
}

/// A verified server.
struct Verified {
    running: Running,
    ready: Ready,
    canary: Finding,
}

/// Puts a prepared promotion into production. The caller holds the deployment's lock. `aside` is what a sweep has taken aside
/// already; without it what serves now is taken aside here.
///
/// # Errors
/// Docker or the database is gone, something else is in the way, or what served before could not be put back.
pub(crate) async fn apply(
    prepared: &Prepared,
    env_file: Option<&Path>,
    docker: &DockerLauncher,
    store: &mut Store,
    aside: Option<Vec<Serving>>,
    control: (&Teller, &CancellationToken),
) -> Result<Applied, EngineError> {
    let (teller, cancel) = control;
    let name = &prepared.report.trial.name;
    let serving = match aside {
        Some(serving) => serving,
        None => serving_now(prepared, docker, store).await?,
    };
    let changes = prepared.changes(env_file)?;
    let files: Vec<FileChange> = changes.iter().map(|(change, _)| change.clone()).collect();
    let serving_json = serde_json::to_value(&serving).unwrap_or_default();
    let entry = journal_entry(prepared, PromotionState::Applying, &files, serving_json.clone());
    let id = store.journal_promotion(&entry)?;
    let verified = async {
        for (change, text) in &changes {
            change.write(text).map_err(|error| Unfit(error.to_string()))?;
        }
        for one in &serving {
            teller.tell(Event::Notice { text: format!("taking aside {} for {name}", one.describe()) });
            docker.displace(one).await?;
        }
        let verified = start_and_verify(prepared, docker, store, id, &serving, control).await?;
        docker.keep(&verified.running, &restart_policy(prepared, &serving)).await?;
        Ok::<Verified, Unfit>(verified)
    };
    match verified.await {
        Ok(verified) if !cancel.is_cancelled() => {
            for one in &serving {
                docker.remove_displaced(one).await?;
            }
            store.promotion_done(id, PromotionState::Promoted, None)?;
            let Verified { running, ready, canary } = verified;
            Ok(Applied::Promoted {
                promotion: id,
                container: running.name.clone(),
                model: ready.model_id,
                ready_s: ready.ready_s,
                canary,
                files,
            })
        }
        outcome => {
            let why = match outcome {
                Ok(_) => "it was interrupted".to_owned(),
                Err(Unfit(why)) => prepared.planner.redactor.apply(&why).into_owned(),
            };
            teller.tell(Event::Warning { text: format!("{name} is not promoted: {why}") });
            let promotion = Promotion {
                id,
                deployment: entry.deployment,
                trial: Some(entry.trial),
                config: entry.config,
                key: entry.key,
                state: PromotionState::Applying,
                detail: None,
                files: entry.files,
                serving: serving_json,
                began_at: String::new(),
            };
            let rolled_back = roll_back(Some(docker), store, &promotion, Some(&prepared.planner), &why, teller).await?;
            Ok(Applied::RolledBack { why, rolled_back: Box::new(rolled_back) })
        }
    }
}

/// The service's own containers. A stranger on its port is not moved for good.
async fn serving_now(prepared: &Prepared, docker: &DockerLauncher, store: &Store) -> Result<Vec<Serving>, EngineError> {
    let label = launch::database_label(store.path());
    let serving = docker.serving_now(&restore::query(&prepared.planner, &label)).await?;
    if let Some(stranger) = serving.iter().find(|s| s.found_by == FoundBy::Port) {
        return Err(EngineError::Restore(format!(
            "{} holds the port and is no container of {}; stop it, then promote again",
            stranger.describe(),
            deployment_identity(&prepared.planner)
        )));
    }
    Ok(serving)
}

/// The policy of the container that it replaces, else what the service says.
fn restart_policy(prepared: &Prepared, serving: &[Serving]) -> SavedRestartPolicy {
    let before = serving.iter().find(|s| s.running).or(serving.first()).map(|s| s.restart_policy.clone());
    before.unwrap_or_else(|| SavedRestartPolicy::of_compose(prepared.service.restart.as_deref().unwrap_or("no")))
}

async fn start_and_verify(
    prepared: &Prepared,
    docker: &DockerLauncher,
    store: &Store,
    id: PromotionId,
    serving: &[Serving],
    control: (&Teller, &CancellationToken),
) -> Result<Verified, Unfit> {
    let (teller, cancel) = control;
    let mut config_files = prepared.planner.project.config_files.clone();
    config_files.push(super::prepare::without_detours(prepared.output.clone()));
    // Compose compares with its own hash, which differs between releases.
    let before = serving.iter().find_map(|one| one.recreate.label("com.docker.compose.version"));
    let compose_version = before.filter(|version| ComposeRelease::of_version(version).is_some()).map(str::to_owned);
    let release = compose_version.as_deref().and_then(ComposeRelease::of_version).unwrap_or(ComposeRelease::NEWEST);
    let config_hash = compose::config_hash(&prepared.service, release);
    let labels = PromotedLabels { promotion: id.0, config_hash, compose_version, config_files };
    let spec = launch_spec(prepared, store, id, serving)?;
    teller
        .tell(Event::Notice { text: format!("starting {} with {}", spec.container_name, prepared.report.trial.name) });
    let running = docker.start_promoted(&spec, &labels).await?;
    let limits = &prepared.planner.grid.limits;
    let policy = ReadyPolicy {
        model_id: Planner::model_id(&prepared.service),
        api_key: Planner::api_key(&prepared.service),
        redactor: prepared.planner.redactor.clone(),
        startup: limits.startup,
        stall: limits.stall,
        ..ReadyPolicy::default()
    };
    let mut milestones = crate::classify::milestone;
    let readiness = docker.wait_ready(&running, &policy, cancel, &mut milestones, &mut |_| {}).await;
    let ready = match readiness {
        Readiness::Ready(ready) => ready,
        Readiness::Exited(exit) => {
            let code = exit.exit_code.map(|code| format!(" with exit code {code}")).unwrap_or_default();
            return Err(Unfit(format!("it exited{code} while it booted; its log is {}", spec.log_path.display())));
        }
        Readiness::Stalled(_) => return Err(Unfit("it made no progress while it booted".to_owned())),
        Readiness::Deadline(_) => return Err(Unfit(format!("it did not serve within {} s", limits.startup.as_secs()))),
        Readiness::Refused { why, .. } | Readiness::Replaced(why) => return Err(Unfit(why)),
        Readiness::Cancelled => return Err(Unfit("it was interrupted".to_owned())),
    };
    teller.tell(Event::Notice { text: format!("{} answers a completion; checking what it runs", ready.model_id) });
    let canary = verify(prepared, docker, &running, &ready, &spec, cancel).await?;
    Ok(Verified { running, ready, canary })
}

fn launch_spec(prepared: &Prepared, store: &Store, id: PromotionId, serving: &[Serving]) -> Result<LaunchSpec, Unfit> {
    let Some(image) = prepared.image_id.clone() else {
        return Err(Unfit("the image that was tested is not on this engine".to_owned()));
    };
    let folder = state_folder(store.path());
    std::fs::create_dir_all(&folder).map_err(|e| Unfit(format!("cannot create {}: {e}", folder.display())))?;
    let folder = std::path::absolute(&folder).unwrap_or(folder);
    let trial = &prepared.report.trial;
    Ok(LaunchSpec {
        project: launch::ProjectPart::from(&prepared.planner.project),
        service_name: prepared.planner.service_name.clone(),
        service: prepared.service.clone(),
        labels: launch::TrialLabels {
            db: launch::database_label(store.path()),
            sweep: trial.sweep,
            trial_id: trial.trial_id.0,
            attempt: 0,
            key: trial.key.clone(),
        },
        image,
        container_name: serving.first().map_or_else(|| prepared.planner.container_name(), |s| s.name.clone()),
        log_path: folder.join(format!("promotion-{}.log", id.0)),
        redactor: prepared.planner.redactor.clone(),
        server_port: None,
    })
}

/// The engine must run what was tested, and answer as it must. What became of the quick canary is returned.
async fn verify(
    prepared: &Prepared,
    docker: &DockerLauncher,
    running: &Running,
    ready: &Ready,
    spec: &LaunchSpec,
    cancel: &CancellationToken,
) -> Result<Finding, Unfit> {
    let mut target = bench::Target::new(&ready.base_url, &ready.model_id);
    target.api_key = Planner::api_key(&prepared.service).map(bench::ApiKey::new);
    target.redactor = prepared.planner.redactor.clone();
    let client = Client::new(&target).await.map_err(|e| Unfit(e.to_string()))?;
    let log = readback::read_log(&spec.log_path, u64::MAX, &prepared.planner.redactor);
    let inspect = docker.inspect_json(running).await.ok();
    let resolved = readback::resolved(&client, &log, inspect.as_ref(), &prepared.planner.redactor).await;
    if let Some(mut tested) = super::measured_attempt(&prepared.report).map(|attempt| attempt.resolved.clone()) {
        readback::hide(&mut tested, &prepared.planner.redactor);
        let differ: Vec<String> = resolve::diff(&tested, &resolved)
            .into_iter()
            .map(|(name, was, is)| {
                let said = |value: Option<String>| value.unwrap_or_else(|| "nothing".to_owned());
                format!("{name} was {} and is {}", said(was), said(is))
            })
            .collect();
        if !differ.is_empty() {
            return Err(Unfit(format!("the engine does not run what was tested: {}", differ.join("; "))));
        }
    }
    let mut context = bench::Context::new(
        prepared.planner.suite.seed,
        uuid::Uuid::now_v7().simple().to_string(),
        cancel.child_token(),
    );
    context.cases = prepared.planner.cases.clone();
    let smoke = ScenarioSpec::Smoke(SmokeSpec::default());
    let mut death = std::pin::pin!(running.watch_death());
    let result = tokio::select! {
        biased;
        _ = &mut death => return Err(Unfit("it died while it was checked".to_owned())),
        result = bench::run_scenario(&client, &smoke, &context) => result.map_err(|e| Unfit(e.to_string()))?,
    };
    if let Some(what) = smoke_failure(&result) {
        return Err(Unfit(format!("it does not answer as it must: {what}")));
    }
    if result.validity.verdict == Verdict::Invalid {
        let why: Vec<&str> = result.validity.reasons.iter().map(|(_, why)| why.as_str()).collect();
        return Err(Unfit(format!("it does not answer as it must: {}", why.join("; "))));
    }
    let canary = tokio::select! {
        biased;
        _ = &mut death => return Err(Unfit("it died while it was checked".to_owned())),
        canary = canary::ask(&client, &context, &prepared.report) => canary,
    };
    if cancel.is_cancelled() {
        return Err(Unfit("it was interrupted".to_owned()));
    }
    if canary.kind == FindingKind::Failed {
        return Err(Unfit(format!("it does not answer its canaries as it did: {}", canary.message)));
    }
    if let Some(why) = docker.restarted(running).await? {
        return Err(Unfit(why));
    }
    Ok(canary)
}

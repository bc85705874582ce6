//! One attempt at one trial: start, wait, read back, measure, stop, and say what came of it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::bench::{self, BenchError, Client, Unusable};
use crate::classify::{self, WaitVerdict};
use crate::compose;
use crate::domain::{
    BootMilestone, Event, ExitFacts, LogLine, Outcome, Phase, ResolvedConfig, ScenarioKind, ScenarioResult,
    ScenarioSpec, SkipReason, Start, TrialProgress, TrialRef, ValidityReason, Verdict,
};
use crate::launch::{self, BootProgress, LaunchSpec, Ready, Running};
use crate::resolve;
use crate::store::{AttemptEnd, AttemptId, Timings};
use crate::telemetry::Tag;

use super::observe::Observation;
use super::plan::PlannedConfig;
use super::readback;
use super::sweep::Sweep;
use super::trouble::{Scene, Seen, Trouble, smoke_failure};
use super::{EngineError, Planner, daemon, restore};

/// How long a stopping engine may take before it is killed, unless its service says otherwise.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// The resolved figure that tells the size of the KV cache.
const KV_TOKENS: &str = "kv_cache_tokens";

/// Profiling finds a little more or less memory each time; by more than this share somebody else held some.
const MOST_KV_DIFFERENCE: f64 = 0.02;

/// What an attempt came to.
pub(super) struct Attempted {
    /// How it ended.
    pub(super) outcome: Outcome,
    /// The whole attempt.
    pub(super) elapsed_s: f64,
    /// It resolves to the same engine as this measured config, and was not measured for that reason.
    pub(super) twin_of: Option<String>,
}

/// How the measuring of a started server ended.
enum Measured {
    /// Every missing scenario was run and stored.
    All,
    /// It went wrong; why is said when the server is stopped and its log complete.
    Trouble(Trouble),
    /// We were told to stop.
    Cancelled,
    /// It resolves to the same engine as this config.
    Twin(String),
}

/// One attempt, from its row in the database to its end. The server is stopped and removed in every case.
pub(super) struct Attempt<'s> {
    sweep: &'s mut Sweep,
    planned: &'s PlannedConfig,
    missing: &'s [usize],
    trial: TrialRef,
    attempt: AttemptId,
    log_path: PathBuf,
    phase: Phase,
    ready_s: Option<f64>,
    timings: Timings,
    began: Instant,
    observation: Observation,
}

impl<'s> Attempt<'s> {
    /// Opens the attempt in the database, then tells that the trial begins.
    pub(super) fn begin(
        sweep: &'s mut Sweep,
        planned: &'s PlannedConfig,
        trial: TrialRef,
        missing: &'s [usize],
    ) -> Result<Self, EngineError> {
        let (attempt, number) =
            sweep.store.begin_attempt(sweep.run, crate::store::TrialId(trial.trial_id), trial.start)?;
        let trial = TrialRef { attempt: number, ..trial };
        let log_path = sweep.log_path(&trial)?;
        sweep.store.set_attempt_log(attempt, &log_path)?;
        sweep.record(Event::TrialStarted { trial: trial.clone() })?;
        Ok(Self {
            sweep,
            planned,
            missing,
            trial,
            attempt,
            log_path,
            phase: Phase::Prepare,
            ready_s: None,
            timings: Timings::default(),
            began: Instant::now(),
            observation: Observation::off(),
        })
    }

    /// Runs it.
    ///
    /// # Errors
    /// Only what must stop the sweep: the database or the Docker daemon is gone. The attempt is then left open in the database,
    /// and the next start of vgrid closes it as interrupted.
    pub(super) async fn run(mut self) -> Result<Attempted, EngineError> {
        self.progress(TrialProgress::Preparing);
        let spec = self.launch_spec();
        let launcher = self.sweep.launcher.clone();
        self.enter(Phase::Create)?;
        self.progress(TrialProgress::Creating);
        // Not cut short: what Docker is asked to create comes into being, and must be there to be removed.
        let (measured, stopped) = match launcher.start(&spec).await {
            Err(error) if error.daemon_unreachable => {
                let measured = self.without_daemon(error.exit_facts()).await?;
                // What it was asked to create may have come into being.
                restore::remove_leftover_trials(self.sweep).await?;
                (measured, None)
            }
            Err(error) => {
                self.enter(error.phase())?;
                (trouble(Seen::Death, error.exit_facts()), None)
            }
            Ok(running) => {
                self.timings.create_s = Some(running.create_s + running.start_s);
                let image = (!self.sweep.planner.is_process()).then_some(spec.image.as_str());
                self.sweep.store.set_attempt_container(self.attempt, &running.id, image)?;
                let telemetry = &self.sweep.planner.grid.telemetry;
                self.observation =
                    Observation::begin(telemetry, &launcher, &running, &self.planned.service, self.began);
                let measured = match self.measure(&running).await {
                    Ok(Measured::Trouble(trouble)) => self.after_the_daemon(&running, trouble).await,
                    other => other,
                };
                let stopped = self.stop(&running).await;
                self.end_observation().await?;
                self.tell_log_problem(&running)?;
                (measured?, Some(stopped?))
            }
        };
        self.finish(measured, stopped)
    }

    /// Waits for a daemon that went away; what that makes of the attempt.
    async fn without_daemon(&mut self, exit: ExitFacts) -> Result<Measured, EngineError> {
        let (launcher, patience) = (self.sweep.launcher.clone(), self.sweep.planner.grid.limits.daemon);
        let away = daemon::await_back(&launcher, patience, |text| self.sweep.warn(text)).await?;
        let away = away.unwrap_or_default().as_secs_f64();
        let seen = Seen::DaemonAway(format!("the Docker daemon went away, and answered again after {away:.1} s"));
        Ok(trouble(seen, exit))
    }

    /// Trouble that comes from a daemon that is away is that of the daemon, which is waited for.
    async fn after_the_daemon(&mut self, running: &Running, trouble: Trouble) -> Result<Measured, EngineError> {
        match self.sweep.launcher.state(running).await {
            Err(error) if error.daemon_unreachable => self.without_daemon(trouble.exit).await,
            Ok(_) | Err(_) => Ok(Measured::Trouble(trouble)),
        }
    }

    fn finish(self, measured: Measured, stopped: Option<ExitFacts>) -> Result<Attempted, EngineError> {
        let elapsed_s = self.began.elapsed().as_secs_f64();
        let (outcome, twin_of) = match measured {
            Measured::All => (Outcome::Measured, None),
            Measured::Trouble(trouble) => (Outcome::Failed(trouble.into_failure(stopped, &self.scene())), None),
            Measured::Cancelled => (Outcome::Interrupted, None),
            Measured::Twin(of) => (Outcome::Interrupted, Some(of)),
        };
        let end = AttemptEnd { outcome: outcome.clone(), elapsed_s, timings: self.timings };
        self.sweep.store.finish_attempt(self.attempt, &end)?;
        if let Some(of) = &twin_of {
            let why = format!("resolves to the same engine as {of}, which was measured");
            let id = crate::store::TrialId(self.trial.trial_id);
            self.sweep.store.skip_trial(id, SkipReason::Twin, &why)?;
            self.sweep.record(Event::TrialSkipped { name: self.trial.name, why })?;
            return Ok(Attempted { outcome, elapsed_s, twin_of });
        }
        let (cause, detail, remedy) = match &outcome {
            Outcome::Measured => (None, self.sweep.headline_of(&self.trial)?, None),
            Outcome::Failed(f) => {
                let evidence = f.evidence.first().map(|e| shorten(&e.text)).unwrap_or_default();
                (Some(f.cause), evidence, Some(f.remedy.clone()))
            }
            Outcome::Interrupted => (None, String::new(), None),
        };
        self.sweep.record(Event::TrialFinished {
            trial: self.trial,
            outcome: outcome.as_str().to_owned(),
            cause,
            detail,
            remedy,
            elapsed_s,
            ready_s: self.ready_s,
        })?;
        Ok(Attempted { outcome, elapsed_s, twin_of: None })
    }

    fn launch_spec(&self) -> LaunchSpec {
        let planner = &self.sweep.planner;
        let reference = self.planned.service.image.as_deref().unwrap_or_default();
        LaunchSpec {
            project: launch::ProjectPart::from(&planner.project),
            service_name: planner.service_name.clone(),
            service: self.planned.service.clone(),
            labels: launch::TrialLabels {
                db: self.sweep.db_label.clone(),
                sweep: self.sweep.id,
                trial_id: self.trial.trial_id,
                attempt: self.trial.attempt,
                key: self.planned.key.clone(),
            },
            image: self.sweep.image_ids.get(reference).cloned().unwrap_or_else(|| reference.to_owned()),
            container_name: self.sweep.container_name(),
            log_path: self.log_path.clone(),
            redactor: planner.redactor.clone(),
            server_port: self.sweep.server_port(),
        }
    }

    /// Waits until it serves, reads it back, runs the scenarios that are missing.
    async fn measure(&mut self, running: &Running) -> Result<Measured, EngineError> {
        self.enter(Phase::Startup)?;
        let ready = match self.wait_ready(running).await {
            launch::Readiness::Ready(ready) => ready,
            launch::Readiness::Exited(exit) => return Ok(trouble(Seen::Death, exit)),
            launch::Readiness::Stalled(_) => {
                return Ok(self.gave_up(running, WaitVerdict::Stalled).await);
            }
            launch::Readiness::Deadline(_) => {
                return Ok(self.gave_up(running, WaitVerdict::Timeout).await);
            }
            launch::Readiness::Refused { why, .. } => return Ok(self.trouble(running, Seen::BadAnswer(why)).await),
            launch::Readiness::Replaced(why) => return Ok(self.trouble(running, Seen::Replaced(why)).await),
            launch::Readiness::Cancelled => return Ok(Measured::Cancelled),
        };
        self.ready_s = Some(ready.ready_s);
        self.sweep.store.set_attempt_ready(self.attempt, ready.ready_s)?;
        self.sweep.record(Event::TrialReady { trial: self.trial.clone(), ready_s: ready.ready_s })?;
        self.enter(Phase::Serving)?;
        let client = match self.client(&ready).await {
            Ok(client) => client,
            Err(error) => return Ok(self.trouble(running, Seen::BadAnswer(error.to_string())).await),
        };
        self.observation.serving(&client);
        let resolved = self.read_back(running, &client).await?;
        let is_first = self.trial.start == Start::FIRST;
        if let Some(of) = self.sweep.twin_of(self.planned, &resolved).filter(|_| is_first) {
            return Ok(Measured::Twin(of));
        }
        let measured = self.run_scenarios(running, &client, &resolved).await?;
        if is_first && matches!(measured, Measured::All) {
            self.sweep.remember(self.planned, resolved);
        }
        Ok(measured)
    }

    async fn wait_ready(&self, running: &Running) -> launch::Readiness {
        let policy = self.sweep.ready_policy(&self.planned.service);
        let mut milestones = classify::milestone;
        let (teller, trial) = (self.sweep.teller.clone(), self.trial.clone());
        teller.progress(
            &trial,
            TrialProgress::Booting { milestone: BootMilestone::Started, percent: None, elapsed_s: 0.0 },
        );
        let mut told = move |progress: BootProgress| {
            let BootProgress { milestone, percent, elapsed_s } = progress;
            teller.progress(&trial, TrialProgress::Booting { milestone, percent, elapsed_s });
        };
        let cancel = self.sweep.cancel.clone();
        self.sweep.launcher.wait_ready(running, &policy, &cancel, &mut milestones, &mut told).await
    }

    async fn client(&self, ready: &Ready) -> Result<Client, BenchError> {
        let mut target = bench::Target::new(&ready.base_url, &ready.model_id);
        target.api_key = Planner::api_key(&self.planned.service).map(bench::ApiKey::new);
        target.redactor = self.sweep.planner.redactor.clone();
        Client::new(&target).await
    }

    async fn read_back(&mut self, running: &Running, client: &Client) -> Result<ResolvedConfig, EngineError> {
        let log = readback::read_log(&self.log_path, u64::MAX, &self.sweep.planner.redactor);
        let inspect = self.sweep.launcher.inspect_json(running).await.ok();
        let resolved = readback::resolved(client, &log, inspect.as_ref()).await;
        let requested = compose::settings_of(&self.planned.service);
        let mismatches = resolve::mismatches(&requested, &resolved);
        self.sweep.store.save_resolved(self.attempt, &resolved, &mismatches)?;
        for m in &mismatches {
            let name = &self.trial.name;
            self.sweep.warn(format!("{name}: asked for {} {}, the engine runs {}", m.name, m.requested, m.resolved))?;
        }
        Ok(resolved)
    }

    async fn run_scenarios(
        &mut self,
        running: &Running,
        client: &Client,
        resolved: &ResolvedConfig,
    ) -> Result<Measured, EngineError> {
        let suite = self.sweep.planner.suite.clone();
        let cases = self.sweep.planner.cases.clone();
        let keys = self.planned.result_keys(&suite, &cases);
        let kv_doubt = self.kv_pool_doubt(resolved)?;
        let began = Instant::now();
        for index in self.missing {
            let (Some(spec), Some(key)) = (suite.scenarios.get(*index), keys.get(*index)) else { continue };
            self.sweep.store.save_telemetry(self.attempt, &self.observation.samples())?;
            let nonce = uuid::Uuid::now_v7().simple().to_string();
            let mut context = bench::Context::new(suite.seed, nonce, self.sweep.cancel.child_token());
            context.cases = cases.clone();
            context.prefix_caching = resolved.get("enable-prefix-caching").map(|v| v == "on");
            context.max_model_len = resolved.get("max-model-len").and_then(|v| v.parse().ok());
            context.kv_cache_tokens = resolved.figures.get("kv_cache_tokens").map(|tokens| *tokens as u64);
            context.max_num_seqs = resolved.get("max-num-seqs").and_then(|v| v.parse().ok());
            let mut result = match self.scenario(running, client, spec, context).await? {
                Ok(result) => result,
                Err(stopped) => return Ok(stopped),
            };
            if let Ok(Some(why)) = self.sweep.launcher.restarted(running).await {
                result.validity.add(Verdict::Invalid, ValidityReason::ServerRestarted, why);
            }
            let samples = self.observation.judge(&mut result);
            self.sweep.store.save_telemetry(self.attempt, &samples)?;
            if let Some(doubt) = &kv_doubt {
                result.validity.add(Verdict::Suspect, ValidityReason::KvPoolDiffers, doubt.clone());
            }
            self.sweep.store.save_scenario(self.attempt, &key.at(self.trial.start), &result)?;
            self.tell_scenario(&result)?;
            self.timings.measure_s = Some(began.elapsed().as_secs_f64());
            if let Some(what) = smoke_failure(&result) {
                return Ok(self.trouble(running, Seen::SmokeFailed(what)).await);
            }
        }
        Ok(Measured::All)
    }

    /// What speaks against this start when the engine has another KV cache than on an earlier start of the same config.
    fn kv_pool_doubt(&self, resolved: &ResolvedConfig) -> Result<Option<String>, EngineError> {
        let Some(now) = resolved.figures.get(KV_TOKENS).copied() else { return Ok(None) };
        let before = self.sweep.store.figure_of_an_earlier_start(self.attempt, KV_TOKENS)?;
        let differs = before.filter(|before| (now - before).abs() > MOST_KV_DIFFERENCE * before.max(now));
        Ok(differs.map(|before| {
            format!(
                "the KV cache holds {now:.0} tokens on this start and {before:.0} on an earlier one of the same config"
            )
        }))
    }

    /// Runs one scenario while watching for the server's death, for the trial's deadline and for a cancel.
    async fn scenario(
        &self,
        running: &Running,
        client: &Client,
        spec: &ScenarioSpec,
        context: bench::Context,
    ) -> Result<Result<ScenarioResult, Measured>, EngineError> {
        let kind = spec.kind();
        let mut progress = context.progress.subscribe();
        let abandon: CancellationToken = context.cancel.clone();
        let mut run = std::pin::pin!(bench::run_scenario(client, spec, &context));
        let mut death = std::pin::pin!(running.watch_death());
        let deadline = tokio::time::sleep_until((self.began + self.sweep.planner.grid.limits.trial).into());
        let mut deadline = std::pin::pin!(deadline);
        let ended = loop {
            tokio::select! {
                biased;
                exit = &mut death => {
                    abandon.cancel();
                    return Ok(Err(trouble(Seen::Death, exit)));
                }
                ended = &mut run => break ended,
                () = &mut deadline => {
                    abandon.cancel();
                    return Ok(Err(self.gave_up(running, WaitVerdict::Timeout).await));
                }
                Ok(()) = progress.changed() => {
                    let now = *progress.borrow_and_update();
                    self.observation.doing(kind, now.activity);
                    self.progress(doing(kind, now));
                }
            }
        };
        match ended {
            Ok(result) => Ok(Ok(result)),
            Err(BenchError::Cancelled { .. }) => Ok(Err(Measured::Cancelled)),
            Err(BenchError::ServerUnusable { how, evidence, .. }) => {
                Ok(Err(self.unusable(running, how, evidence).await))
            }
            Err(error @ (BenchError::Setup { .. } | BenchError::Internal(_))) => {
                Ok(Err(self.trouble(running, Seen::BadAnswer(error.to_string())).await))
            }
        }
    }

    /// The server stopped being usable: dead a moment later, or alive and hung.
    async fn unusable(&self, running: &Running, how: Unusable, evidence: String) -> Measured {
        // An engine that died takes a moment to end its container; its exit says more than a refused connection.
        match (tokio::time::timeout(DEATH_AFTER_TROUBLE, running.watch_death()).await, how) {
            (Ok(exit), _) => trouble(Seen::Unusable(evidence), exit),
            (Err(_), Unusable::Hung) => self.gave_up(running, WaitVerdict::Hung).await,
            (Err(_), Unusable::Gone | Unusable::EngineDead) => self.trouble(running, Seen::Unusable(evidence)).await,
        }
    }

    async fn gave_up(&self, running: &Running, verdict: WaitVerdict) -> Measured {
        let log_bytes = std::fs::metadata(&self.log_path).map_or(u64::MAX, |log| log.len());
        self.trouble(running, Seen::GaveUp(verdict, log_bytes)).await
    }

    /// Trouble with the server's state of now.
    async fn trouble(&self, running: &Running, seen: Seen) -> Measured {
        trouble(seen, self.state(running).await)
    }

    async fn state(&self, running: &Running) -> ExitFacts {
        self.sweep.launcher.state(running).await.unwrap_or_default()
    }

    /// What the judgement of a failure needs to know beside it.
    fn scene(&self) -> Scene<'_> {
        Scene {
            log_path: &self.log_path,
            redactor: &self.sweep.planner.redactor,
            phase: self.phase,
            argv: &self.planned.argv,
        }
    }

    async fn stop(&mut self, running: &Running) -> Result<ExitFacts, EngineError> {
        self.progress(TrialProgress::Stopping);
        self.observation.tag(Tag::Teardown);
        let began = Instant::now();
        let grace = launch::stop_grace(&self.planned.service).unwrap_or(STOP_GRACE);
        let (launcher, patience) = (self.sweep.launcher.clone(), self.sweep.planner.grid.limits.daemon);
        let tell = |text| self.sweep.warn(text);
        let exit = daemon::patiently(&launcher, patience, tell, async || launcher.stop(running, grace).await).await?;
        self.timings.teardown_s = Some(began.elapsed().as_secs_f64());
        Ok(exit)
    }

    /// Stores the rest of the telemetry, and says what was wrong with it.
    async fn end_observation(&mut self) -> Result<(), EngineError> {
        let (samples, problems) = std::mem::replace(&mut self.observation, Observation::off()).end().await;
        self.sweep.store.save_telemetry(self.attempt, &samples)?;
        for problem in problems {
            self.sweep.warn(format!("{}: telemetry: {problem}", self.trial.name))?;
        }
        Ok(())
    }

    /// Says when the attempt's log is not whole, e.g. because the disk is full: a cause may then be missing in it.
    fn tell_log_problem(&mut self, running: &Running) -> Result<(), EngineError> {
        let Some(problem) = running.log().problem() else { return Ok(()) };
        let (name, file) = (&self.trial.name, self.log_path.display());
        self.sweep.warn(format!("{name}: the log {file} is not whole: {problem}"))
    }

    fn enter(&mut self, phase: Phase) -> Result<(), EngineError> {
        self.phase = phase;
        self.sweep.store.set_attempt_phase(self.attempt, phase)?;
        Ok(())
    }

    fn progress(&self, progress: TrialProgress) {
        self.sweep.teller.progress(&self.trial, progress);
    }

    fn tell_scenario(&mut self, result: &ScenarioResult) -> Result<(), EngineError> {
        let failed = result.requests.iter().filter(|r| !r.end.is_complete()).count() as u64;
        let headline = bench::headline(result);
        self.sweep.record(Event::ScenarioFinished {
            trial: self.trial.clone(),
            scenario: result.spec.kind(),
            elapsed_s: result.elapsed_s,
            requests: result.requests.len() as u64,
            failed,
            headline: headline.into_iter().map(|m| (m.path.to_string(), m.value, m.unit.clone())).collect(),
        })?;
        for (reason, why) in result.validity.reasons.iter().filter(|_| result.validity.verdict == Verdict::Invalid) {
            let kind = result.spec.kind();
            self.sweep.warn(format!("{}: {kind} is invalid ({reason}): {why}", self.trial.name))?;
        }
        Ok(())
    }
}

/// How long a server in trouble gets to show that it is dead.
const DEATH_AFTER_TROUBLE: Duration = Duration::from_secs(5);

fn trouble(seen: Seen, exit: ExitFacts) -> Measured {
    Measured::Trouble(Trouble { seen, exit })
}

fn doing(scenario: ScenarioKind, now: bench::Progress) -> TrialProgress {
    match now.activity {
        bench::Activity::WarmingUp => TrialProgress::WarmingUp,
        bench::Activity::Preparing | bench::Activity::Idle | bench::Activity::Measuring => TrialProgress::Measuring {
            scenario,
            requests_done: now.requests_done,
            requests_total: now.requests_total,
            output_tokens_per_s: now.output_tokens_per_s,
        },
    }
}

/// The message of a line of evidence without its prefixes, at most 160 characters, for the screen; the database has it whole.
fn shorten(text: &str) -> String {
    let line = LogLine::new(1, text);
    let body = line.body().trim();
    let mut short: String = body.chars().take(160).collect();
    if short.len() < body.len() {
        short.push('…');
    }
    short
}

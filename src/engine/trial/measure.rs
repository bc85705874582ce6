//! Between the start and the stop of one attempt: waits until the server serves, reads back what it runs, runs the scenarios.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::bench::{self, BenchError, Client, Unusable};
use crate::classify::{self, WaitVerdict};
use crate::compose;
use crate::domain::{
    BootMilestone, Event, ExitFacts, Phase, ResolvedConfig, ScenarioKind, ScenarioResult, ScenarioSpec, Start,
    TrialProgress, ValidityReason, Verdict,
};
use crate::launch::{self, BootProgress, Ready, Running};
use crate::resolve;

use super::super::trouble::{OverTime, Seen, smoke_failure, told};
use super::super::{EngineError, Planner, readback};
use super::{Attempt, Measured, trouble};

/// Profiling finds a little more or less memory each time; by more than this share somebody else held some.
const MOST_KV_DIFFERENCE: f64 = 0.02;

/// How long a server in trouble gets to show that it is dead.
const DEATH_AFTER_TROUBLE: Duration = Duration::from_secs(5);

impl Attempt<'_> {
    /// Waits until it serves, reads it back, runs the scenarios that are missing.
    pub(super) async fn measure(&mut self, running: &Running) -> Result<Measured, EngineError> {
        self.enter(Phase::Startup)?;
        let ready = match self.wait_ready(running).await {
            launch::Readiness::Ready(ready) => ready,
            launch::Readiness::Exited(exit) => return Ok(trouble(Seen::Death, exit)),
            launch::Readiness::Stalled(state) => {
                // Health without tokens is no start that stands still: it hangs.
                let verdict = if state.health_s.is_some() { WaitVerdict::Hung } else { WaitVerdict::Stalled };
                return Ok(self.gave_up(running, verdict).await);
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
        let resolved = readback::resolved(client, &log, inspect.as_ref(), &self.sweep.planner.redactor).await;
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
            context.timeouts.standstill = self.sweep.planner.grid.limits.stall;
            context.learn(resolved);
            let earlier_deeds = running.deeds_of_strangers().len();
            let mut result = match self.scenario(running, client, spec, context).await? {
                Ok(result) => result,
                Err(stopped) => return Ok(stopped),
            };
            if let Ok(Some(why)) = self.sweep.launcher.restarted(running).await {
                result.validity.add(Verdict::Invalid, ValidityReason::ServerRestarted, why);
            } else if let Some(deeds) = told(running.deeds_of_strangers().get(earlier_deeds..).unwrap_or_default()) {
                result.validity.add(Verdict::Invalid, ValidityReason::ServerRestarted, deeds);
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
        let Some(now) = resolved.figures.get(ResolvedConfig::KV_CACHE_TOKENS).copied() else { return Ok(None) };
        let before = self.sweep.store.figure_of_an_earlier_start(self.attempt, ResolvedConfig::KV_CACHE_TOKENS)?;
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
                    let bench::Progress { requests_done: done, requests_total: total, .. } = *progress.borrow();
                    let limit = self.sweep.planner.grid.limits.trial;
                    let over = OverTime { limit, scenario: kind, done, total };
                    return Ok(Err(self.trouble(running, Seen::OverTime(over, self.log_bytes())).await));
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
        self.trouble(running, Seen::GaveUp(verdict, self.log_bytes())).await
    }

    /// How long the log is now.
    fn log_bytes(&self) -> u64 {
        std::fs::metadata(&self.log_path).map_or(u64::MAX, |log| log.len())
    }

    /// Trouble with the server's state of now.
    async fn trouble(&self, running: &Running, seen: Seen) -> Measured {
        trouble(seen, self.state(running).await)
    }

    async fn state(&self, running: &Running) -> ExitFacts {
        self.sweep.launcher.state(running).await.unwrap_or_default()
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

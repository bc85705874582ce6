//! One run of `vgrid bench`, kept as a sweep of its own kind: registered before it begins, each scenario stored when it ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::bench::{self, BenchError, Client, Unusable};
use crate::cases::CaseSet;
use crate::classify;
use crate::domain::{
    Cause, Config, ConfigKey, Event, Evidence, ExitFacts, Failure, Outcome, Phase, Redactor, ResolvedConfig,
    ScenarioResult, ScenarioSpec, Settings, Stage, Start, Suite, SweepId, sha256,
};
use crate::resume::ResultKey;
use crate::store::{
    AttemptEnd, AttemptId, NewSweep, NewTrial, RunEnd, RunId, Store, SweepKind, SweepLock, Timings, TrialId,
};

use super::observe::Observation;
use super::{EngineError, host, readback};

/// What is run, and against whom.
pub(crate) struct BenchPlan<'c> {
    /// Talks to the server.
    pub(crate) client: &'c Client,
    /// Its address, as it was given.
    pub(crate) url: &'c str,
    /// The suite, as it was named.
    pub(crate) suite_name: &'c str,
    /// The suite.
    pub(crate) suite: &'c Suite,
    /// The data of its scenarios.
    pub(crate) cases: &'c CaseSet,
    /// Hides secrets in what is stored.
    pub(crate) redactor: Redactor,
}

/// What came of one scenario.
pub(crate) struct ScenarioEnd {
    /// What it measured; it is stored. `None` where nothing was sent.
    pub(crate) result: Option<ScenarioResult>,
    /// What ends the run, where something does.
    pub(crate) stopped: Option<Stopped>,
}

/// What ends a run before its suite does.
#[derive(Clone, Debug)]
pub(crate) struct Stopped {
    /// In a sentence.
    pub(crate) sentence: String,
    /// Which of them it is.
    pub(crate) why: StoppedBy,
}

/// Who ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoppedBy {
    /// A signal.
    Signal,
    /// The server, which is of no use any more.
    Server(Unusable),
    /// A bug of ours.
    Fault,
}

/// A run under way.
pub(crate) struct BenchRun<'c> {
    plan: BenchPlan<'c>,
    store: Store,
    /// Held while it runs: what `status` looks at, and what keeps a second run from measuring this one.
    _lock: SweepLock,
    sweep: SweepId,
    run: RunId,
    trial: TrialId,
    attempt: AttemptId,
    key: ConfigKey,
    engine: ResolvedConfig,
    observation: Observation,
    began: Instant,
}

impl<'c> BenchRun<'c> {
    /// Reads the engine back and registers the run.
    ///
    /// # Errors
    /// The database cannot be written, or another run against this server writes to it.
    pub(crate) async fn begin(db: &Path, plan: BenchPlan<'c>) -> Result<Self, EngineError> {
        let began = Instant::now();
        let mut store = Store::open(db)?;
        let server = bench::shown_address(plan.url);
        let deployment = format!("bench {server}");
        let lock = SweepLock::acquire(db, &deployment)?;
        store.close_open_attempts(&lock)?;
        let engine = readback::resolved(plan.client, "", None, &plan.redactor).await;
        let key = key_of(&server, plan.client.model(), &engine);
        let (sweep, trials) =
            store.register_sweep(&new_sweep(&plan, server, deployment), &[new_trial(&plan, key.clone())])?;
        let run = store.start_run(sweep)?;
        // One trial was registered, so one id came back.
        let trial = trials.first().copied().unwrap_or(TrialId(0));
        let (attempt, _) = store.begin_attempt(run, trial, Start::FIRST)?;
        store.set_attempt_phase(attempt, Phase::Serving)?;
        store.save_resolved(attempt, &engine, &[])?;
        let observation = Observation::of_server(plan.client, plan.url);
        Ok(Self { plan, store, _lock: lock, sweep, run, trial, attempt, key, engine, observation, began })
    }

    /// Its numbers in the database.
    pub(crate) const fn ids(&self) -> (SweepId, TrialId) {
        (self.sweep, self.trial)
    }

    /// Runs one scenario and stores what it measured, also where it was broken off; tells where it is.
    ///
    /// # Errors
    /// The database cannot be written.
    pub(crate) async fn scenario(
        &mut self,
        spec: &ScenarioSpec,
        cancel: &CancellationToken,
        mut tell: impl FnMut(bench::Progress),
    ) -> Result<ScenarioEnd, EngineError> {
        let nonce = uuid::Uuid::now_v7().simple().to_string();
        let mut context = bench::Context::new(self.plan.suite.seed, nonce, cancel.child_token());
        context.cases = self.plan.cases.clone();
        context.learn(&self.engine);
        // What was sampled before the scenario is not its own.
        self.store.save_telemetry(self.attempt, &self.observation.samples())?;
        let mut progress = context.progress.subscribe();
        let mut run = std::pin::pin!(bench::run_scenario(self.plan.client, spec, &context));
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut run => break ended,
                Ok(()) = progress.changed() => {
                    let now = *progress.borrow_and_update();
                    self.observation.doing(spec.kind(), now.activity);
                    tell(now);
                }
            }
        };
        let (mut result, stopped) = split(ended);
        if let Some(result) = &mut result {
            let samples = self.observation.judge(result);
            self.store.save_telemetry(self.attempt, &samples)?;
            let data = bench::data_sha256_of(self.plan.suite.seed, spec, self.plan.cases);
            let key = ResultKey::of(&self.key, spec, &data, self.plan.suite.seed);
            self.store.save_scenario(self.attempt, &key, result)?;
        }
        Ok(ScenarioEnd { result, stopped })
    }

    /// Ends the run; what was wrong with the telemetry, in sentences, which are stored too.
    ///
    /// # Errors
    /// The database cannot be written.
    pub(crate) async fn end(mut self, stopped: Option<&Stopped>) -> Result<Vec<String>, EngineError> {
        let (samples, problems) = self.observation.end().await;
        self.store.save_telemetry(self.attempt, &samples)?;
        for problem in &problems {
            let text = format!("telemetry: {problem}");
            self.store.save_event(self.sweep, &Event::Warning { text }.redacted(&self.plan.redactor))?;
        }
        let elapsed_s = self.began.elapsed().as_secs_f64();
        let timings = Timings { measure_s: Some(elapsed_s), ..Timings::default() };
        let (outcome, run_end) = match stopped {
            None => (Outcome::Measured, RunEnd::Complete),
            Some(Stopped { why: StoppedBy::Signal, .. }) => (Outcome::Interrupted, RunEnd::Interrupted),
            Some(Stopped { why: StoppedBy::Fault, .. }) => (Outcome::Interrupted, RunEnd::Failed),
            Some(Stopped { why: StoppedBy::Server(how), sentence }) => {
                // Nothing is left to do: a server that vgrid did not start is not started again.
                (Outcome::Failed(failure(*how, self.plan.redactor.apply(sentence).into_owned())), RunEnd::Complete)
            }
        };
        self.store.finish_attempt(self.attempt, &AttemptEnd { outcome, elapsed_s, timings })?;
        let why = stopped.filter(|_| run_end != RunEnd::Complete).map(|s| self.plan.redactor.apply(&s.sentence));
        self.store.finish_sweep(self.run, run_end, why.as_deref())?;
        Ok(problems)
    }
}

/// What was measured, and what ended the run.
fn split(ended: Result<ScenarioResult, BenchError>) -> (Option<ScenarioResult>, Option<Stopped>) {
    let error = match ended {
        Ok(result) => return (Some(result), None),
        Err(error) => error,
    };
    let stopped = |why| Some(Stopped { sentence: error.to_string(), why });
    match error {
        BenchError::Cancelled { ref partial } => {
            ((!partial.requests.is_empty()).then(|| (**partial).clone()), stopped(StoppedBy::Signal))
        }
        BenchError::ServerUnusable { how, ref partial, .. } => {
            (Some((**partial).clone()), stopped(StoppedBy::Server(how)))
        }
        BenchError::Setup { .. } | BenchError::Internal(_) => (None, stopped(StoppedBy::Fault)),
    }
}

/// The server's identity as far as it says: its address, the model, and what it runs with.
fn key_of(server: &str, model: &str, engine: &ResolvedConfig) -> ConfigKey {
    let facts: Vec<(&String, &String)> = engine.facts.iter().map(|(name, fact)| (name, &fact.value)).collect();
    ConfigKey::of(serde_json::json!(["bench", server, model, facts]).to_string().as_bytes())
}

fn new_sweep(plan: &BenchPlan<'_>, server: String, deployment: String) -> NewSweep {
    let suite = serde_json::to_vec(plan.suite).unwrap_or_default();
    NewSweep {
        kind: SweepKind::Bench,
        grid_path: plan.suite_name.into(),
        grid_text: String::new(),
        grid_sha256: sha256(&[b"bench", server.as_bytes(), &suite]),
        deployment,
        baseline: None,
        suite: plan.suite.clone(),
        objectives: Vec::new(),
        gates: Vec::new(),
        plan: serde_json::json!({ "server": server, "model": plan.client.model() }),
        images: Default::default(),
        host: host::facts("vgrid bench: the server was up"),
        grid_name: server,
    }
}

fn new_trial(plan: &BenchPlan<'_>, key: ConfigKey) -> NewTrial {
    let name = plan.client.model().to_owned();
    NewTrial {
        position: 1,
        config: Config { name, settings: Settings::default(), axis_values: Vec::new() },
        key,
        is_baseline: false,
        image_digest: None,
        argv: Vec::new(),
        expected: BTreeMap::new(),
        skip: None,
    }
}

fn failure(how: Unusable, text: String) -> Failure {
    let cause = match how {
        Unusable::Gone | Unusable::EngineDead => Cause::EngineDead,
        Unusable::Hung => Cause::Hung,
    };
    let stage = Some(Stage::Runtime);
    Failure {
        phase: Phase::Serving,
        stage,
        cause,
        evidence: vec![Evidence { line_number: None, text }],
        numbers: Default::default(),
        remedy: "look into the server's own log; `vgrid diagnose LOG` says what went wrong in it".to_owned(),
        transient: classify::is_transient(cause, stage),
        exit: ExitFacts::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Fact, FactSource};

    #[test]
    fn the_same_server_with_the_same_facts_is_the_same_config_and_any_other_is_not() {
        let mut engine = ResolvedConfig::default();
        let plain = key_of("http://h", "m", &engine);
        assert_eq!(plain, key_of("http://h", "m", &engine));
        assert_ne!(plain, key_of("http://i", "m", &engine));
        let fact = Fact { value: "0.32.0".to_owned(), source: FactSource::Api };
        engine.facts.insert("engine_version".to_owned(), fact);
        assert_ne!(plain, key_of("http://h", "m", &engine));
    }

    #[test]
    fn what_a_broken_off_scenario_had_measured_is_kept_unless_it_had_sent_nothing() {
        let partial = || Box::new(ScenarioResult::empty(ScenarioSpec::Smoke(Default::default())));
        let (kept, stopped) = split(Err(BenchError::Cancelled { partial: partial() }));
        assert!(kept.is_none() && stopped.unwrap().why == StoppedBy::Signal);
        let error = BenchError::ServerUnusable { how: Unusable::Hung, evidence: "x".to_owned(), partial: partial() };
        let (kept, stopped) = split(Err(error));
        assert!(kept.is_some() && stopped.unwrap().why == StoppedBy::Server(Unusable::Hung));
    }
}

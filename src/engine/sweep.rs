//! The sweep loop: trial after trial, whatever fails, until nothing is left, time is over or we are told to stop.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::Digest;
use tokio_util::sync::CancellationToken;

use crate::compose::{self, Service};
use crate::domain::{Cause, Event, FlagValue, Outcome, ResolvedConfig, Settings, SkipReason, SweepId, TrialRef};
use crate::grid::{DeploymentKind, TimeOfDay};
use crate::launch::{self, Launcher, ReadyPolicy};
use crate::resume::{self, PlanItem, RetryPolicy, Todo};
use crate::store::{NewSweep, NewTrial, RunEnd, RunId, Store, SweepLock, TrialId};

use super::plan::{PlannedConfig, Planner};
use super::preflight::state_folder;
use super::trial::{Attempt, Attempted};
use super::{EngineError, Teller, host, restore, score, settle, twins, until};

/// What the user asked of this run of the sweep.
#[derive(Clone, Debug, Default)]
pub(crate) struct SweepOptions {
    /// Start afresh even if a sweep of this grid is there.
    pub(crate) new: bool,
    /// Continue this sweep, and no other.
    pub(crate) resume: Option<SweepId>,
    /// Only these configs; empty is all.
    pub(crate) only: Vec<String>,
    /// At most this many trials now.
    pub(crate) limit: Option<usize>,
    /// Start no trial that would end after this local time; overrides the grid's.
    pub(crate) until: Option<TimeOfDay>,
    /// Measure configs that resolve to the same engine each.
    pub(crate) measure_twins: bool,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing is left.
    Complete,
    /// Left on purpose: `--only`, `--limit`, `--until`, circuit breaker.
    Incomplete,
    /// We were told to stop.
    Interrupted,
}

/// What a run of a sweep came to, over the sweep's whole history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    /// The sweep.
    pub(crate) sweep: SweepId,
    /// Why the loop ended.
    pub(crate) ended: Ended,
    /// Trials measured.
    pub(crate) measured: usize,
    /// Trials failed.
    pub(crate) failed: usize,
    /// Trials skipped.
    pub(crate) skipped: usize,
    /// Trials not settled yet.
    pub(crate) left: usize,
}

/// A sweep that is being carried out.
pub(crate) struct Sweep {
    pub(super) planner: Planner,
    pub(super) launcher: Launcher,
    pub(super) store: Store,
    pub(super) teller: Teller,
    pub(super) cancel: CancellationToken,
    pub(super) id: SweepId,
    pub(super) run: RunId,
    pub(super) image_ids: HashMap<String, String>,
    pub(super) db_label: String,
    options: SweepOptions,
    lock: SweepLock,
    plan: Vec<PlannedConfig>,
    trial_ids: Vec<TrialId>,
    resumed: bool,
    began: Instant,
    began_at: jiff::ZonedDateTime,
    /// Configs measured in this sweep with what they resolved to.
    measured: Vec<(String, Settings, ResolvedConfig)>,
    /// What was last told of the best config.
    best: Option<Event>,
}

/// Which deployment a sweep belongs to: what the lock, the journal and the sweep's identity name.
pub(crate) fn deployment_identity(planner: &Planner) -> String {
    match &planner.grid.deployment.kind {
        DeploymentKind::Compose(_) => format!("compose {}/{}", planner.project.name, planner.service_name),
        DeploymentKind::Process(process) => format!("process port {}", process.port),
    }
}

impl Sweep {
    /// Takes the lock, closes what a crash left open, and registers the sweep or finds the one to continue.
    ///
    /// # Errors
    /// The database is in use or unusable; the plan is wrong; the sweep to continue is not there.
    pub(crate) fn prepare(
        planner: Planner,
        launcher: Launcher,
        db: &Path,
        image_ids: HashMap<String, String>,
        options: SweepOptions,
        control: (Teller, CancellationToken),
    ) -> Result<Self, EngineError> {
        let (teller, cancel) = control;
        let deployment = deployment_identity(&planner);
        let mut store = Store::open(db)?;
        let lock = SweepLock::acquire(db, &deployment)?;
        store.close_open_attempts(&lock)?;
        let plan: Vec<PlannedConfig> = planner.configs(&image_ids).collect::<Result<_, _>>()?;
        let identity = identity(&planner, &plan, &image_ids);
        let found = match options.resume {
            Some(id) => Some(id),
            None if options.new => None,
            None => store.newest_sweep_of(&identity, &deployment)?.map(|row| row.id),
        };
        let (id, trial_ids, resumed) = match found {
            Some(id) => {
                let new: Vec<NewTrial> = new_trials(&planner, &plan, &image_ids);
                (id, store.register_trials(id, &new)?, true)
            }
            None => {
                let sweep = new_sweep(&planner, identity, deployment, &image_ids);
                let (id, ids) = store.register_sweep(&sweep, &new_trials(&planner, &plan, &image_ids))?;
                (id, ids, false)
            }
        };
        let run = store.start_run(id)?;
        let db_label = launch::database_label(db);
        Ok(Self {
            planner,
            launcher,
            store,
            teller,
            cancel,
            id,
            run,
            image_ids,
            db_label,
            options,
            lock,
            plan,
            trial_ids,
            resumed,
            began: Instant::now(),
            began_at: jiff::ZonedDateTime::now(),
            measured: Vec::new(),
            best: None,
        })
    }

    /// Carries the sweep out: takes aside what serves now, runs what is outstanding, puts back what served before.
    ///
    /// # Errors
    /// The database or the Docker daemon is gone, or what served before could not be put back. Whatever the error, the
    /// restoration was tried.
    pub(crate) async fn run(mut self) -> Result<Summary, EngineError> {
        if self.resumed {
            self.settle_what_is_complete()?;
            self.recall()?;
        }
        let todos = self.outstanding()?;
        let settled = self.plan.iter().filter(|p| p.skip.is_none()).count().saturating_sub(todos.len());
        self.record(Event::SweepStarted {
            sweep: self.id,
            grid: self.planner.grid.name.clone(),
            trials: settled + todos.len(),
            settled,
            resumed: self.resumed,
        })?;
        if !self.resumed {
            let skipped = |p: &PlannedConfig| Some((p.config.name.clone(), p.skip.clone()?.1));
            for (name, why) in self.plan.iter().filter_map(skipped).collect::<Vec<_>>() {
                self.record(Event::TrialSkipped { name, why })?;
            }
        }
        if todos.is_empty() && self.resumed {
            self.record(Event::Notice {
                text: "nothing is left to measure in this sweep; `--new` starts another".to_owned(),
            })?;
        }
        let worked = self.work(todos).await;
        let restored = restore::put_back(&mut self).await;
        let end = match (&worked, &restored) {
            (Ok(Ended::Complete), Ok(())) => RunEnd::Complete,
            (Ok(Ended::Incomplete), Ok(())) => RunEnd::Incomplete,
            (Ok(Ended::Interrupted), Ok(())) => RunEnd::Interrupted,
            (Err(_), _) | (_, Err(_)) => RunEnd::Failed,
        };
        let finished = self.store.finish_sweep(self.run, end);
        // The first thing that went wrong is the one to tell; the others follow from it or are told as events.
        let ended = worked?;
        restored?;
        finished?;
        let summary = self.summary(ended)?;
        self.record(Event::SweepFinished {
            sweep: self.id,
            measured: summary.measured,
            failed: summary.failed,
            skipped: summary.skipped,
            left: summary.left,
            elapsed_s: self.began.elapsed().as_secs_f64(),
        })?;
        Ok(summary)
    }

    async fn work(&mut self, todos: Vec<Todo>) -> Result<Ended, EngineError> {
        if todos.is_empty() {
            return Ok(Ended::Complete);
        }
        restore::take_aside(self).await?;
        let chosen = self.chosen(&todos);
        let mut queue: std::collections::VecDeque<Todo> = chosen.iter().cloned().collect();
        let mut breaker = Breaker::new(self.planner.grid.limits.identical_failures);
        let mut took_s: Vec<f64> = Vec::new();
        while let Some(todo) = queue.pop_front() {
            if self.cancel.is_cancelled() {
                return Ok(Ended::Interrupted);
            }
            if let Some(until) = self.too_late(&took_s) {
                self.warn(format!("stopping before {until}, so that what served before is back in time"))?;
                return Ok(Ended::Incomplete);
            }
            let Attempted { outcome, elapsed_s, twin_of } = self.attempt(&todo).await?;
            took_s.push(elapsed_s);
            match &outcome {
                Outcome::Measured => self.after_measured(&todo)?,
                Outcome::Failed(failure) => {
                    if resume::may_retry(failure.cause, failure.transient) {
                        let again = self.outstanding()?.into_iter().find(|t| t.item == todo.item);
                        queue.extend(again);
                    }
                    if let Some(n) = breaker.trips_on(failure) {
                        let cause = failure.cause;
                        let remedy = &failure.remedy;
                        self.warn(format!(
                            "stopping, {n} trials in a row failed alike ({cause}): {remedy}; then run again"
                        ))?;
                        return Ok(Ended::Incomplete);
                    }
                    continue;
                }
                Outcome::Interrupted if twin_of.is_some() => {}
                Outcome::Interrupted => return Ok(Ended::Interrupted),
            }
            breaker.reset();
        }
        Ok(if chosen.len() < todos.len() { Ended::Incomplete } else { Ended::Complete })
    }

    async fn attempt(&mut self, todo: &Todo) -> Result<Attempted, EngineError> {
        let planned = self.plan[todo.item].clone();
        let trial = TrialRef {
            trial_id: self.trial_ids[todo.item].0,
            name: planned.config.name.clone(),
            key: planned.key.clone(),
            position: todo.item + 1,
            of: self.plan.len(),
            attempt: todo.attempt,
        };
        Attempt::begin(self, &planned, trial, &todo.missing)?.run().await
    }

    fn after_measured(&mut self, todo: &Todo) -> Result<(), EngineError> {
        let only = (!self.plan[todo.item].is_baseline).then_some(self.trial_ids[todo.item]);
        score::judge_gates(&self.planner, &mut self.store, self.id, only)?;
        let best = score::best_so_far(&self.planner, &self.store, self.id)?;
        if best != self.best {
            self.best = best.clone();
            best.map_or(Ok(()), |best| self.record(best))?;
        }
        Ok(())
    }

    /// Keeps an event in the database, then tells it.
    pub(super) fn record(&mut self, event: Event) -> Result<(), EngineError> {
        self.store.save_event(self.id, &event)?;
        self.teller.tell(event);
        Ok(())
    }

    /// Records a warning.
    pub(super) fn warn(&mut self, text: impl Into<String>) -> Result<(), EngineError> {
        self.record(Event::Warning { text: text.into() })
    }

    /// What is still to be run, in the plan's order.
    fn outstanding(&self) -> Result<Vec<Todo>, EngineError> {
        let suite = &self.planner.suite;
        let items: Vec<PlanItem> = self
            .plan
            .iter()
            .map(|p| PlanItem {
                name: p.config.name.clone(),
                key: p.key.clone(),
                scenarios: p.result_keys(suite),
                skip: p.skip.as_ref().map(|(reason, _)| *reason),
            })
            .collect();
        let policy = RetryPolicy { transient_retries: self.planner.grid.limits.retries };
        Ok(resume::outstanding(&items, &self.store.history(self.id)?, &policy))
    }

    /// Of what is outstanding, what this run shall do.
    fn chosen(&self, todos: &[Todo]) -> Vec<Todo> {
        let only = &self.options.only;
        let wanted = |t: &&Todo| only.is_empty() || only.contains(&self.plan[t.item].config.name);
        let limit = self.options.limit.unwrap_or(usize::MAX);
        todos.iter().filter(wanted).take(limit).cloned().collect()
    }

    /// The time by which the sweep must be over, when another trial would not be.
    fn too_late(&self, took_s: &[f64]) -> Option<TimeOfDay> {
        let until = self.options.until.or(self.planner.grid.limits.until)?;
        let typical_s = if took_s.is_empty() { 0.0 } else { took_s.iter().sum::<f64>() / took_s.len() as f64 };
        (until::seconds_left(until, &self.began_at) < typical_s).then_some(until)
    }

    /// What an earlier run did in full and died before it could say so: ends of attempts, gates.
    fn settle_what_is_complete(&mut self) -> Result<(), EngineError> {
        let trials: Vec<_> = self.plan.iter().zip(self.trial_ids.iter().copied()).collect();
        settle::settle_complete(&mut self.store, self.id, &self.planner.suite, &trials)?;
        score::judge_gates(&self.planner, &mut self.store, self.id, None)?;
        Ok(())
    }

    /// Loads what earlier runs of this sweep measured, for twins.
    fn recall(&mut self) -> Result<(), EngineError> {
        for (planned, id) in self.plan.iter().zip(&self.trial_ids) {
            let report = self.store.show(*id)?;
            let measured = report.attempt_reports.into_iter().rev().find(|a| a.outcome == Some(Outcome::Measured));
            if let Some(attempt) = measured {
                let settings = compose::settings_of(&planned.service);
                self.measured.push((planned.config.name.clone(), settings, attempt.resolved));
            }
        }
        Ok(())
    }

    pub(super) fn remember(&mut self, planned: &PlannedConfig, resolved: ResolvedConfig) {
        self.measured.push((planned.config.name.clone(), compose::settings_of(&planned.service), resolved));
    }

    /// The measured config that this one is a twin of: the engine says the same of both, and says it of every setting in
    /// which the two requests differ.
    pub(super) fn twin_of(&self, planned: &PlannedConfig, resolved: &ResolvedConfig) -> Option<String> {
        if self.options.measure_twins {
            return None;
        }
        let settings = compose::settings_of(&planned.service);
        let twin = self
            .measured
            .iter()
            .find(|(_, other_settings, other)| twins::are_twins((&settings, resolved), (other_settings, other)));
        twin.map(|(name, ..)| name.clone())
    }

    /// The measured trial's first figure by the first objective, for its line on the screen.
    pub(super) fn headline_of(&self, trial: &TrialRef) -> Result<String, EngineError> {
        let figures = self.store.figures(TrialId(trial.trial_id))?;
        let shown = self.planner.grid.objectives.iter().filter_map(|objective| {
            let figure = figures.iter().find(|f| f.metric.path == objective.metric)?;
            Some(format!("{} {}", objective.metric, four_digits(figure.metric.value)))
        });
        Ok(shown.collect::<Vec<_>>().join(", "))
    }

    /// The file for the log of an attempt: beside the database, `runs.db.d/sweep-1/0003-name-2.log`.
    pub(super) fn log_path(&self, trial: &TrialRef) -> Result<PathBuf, EngineError> {
        let folder = state_folder(self.store.path()).join(format!("sweep-{}", self.id));
        std::fs::create_dir_all(&folder).map_err(|source| EngineError::File {
            doing: "create",
            path: folder.clone(),
            source,
        })?;
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        Ok(folder.join(format!("{:04}-{}-{}.log", trial.position, trial.name, trial.attempt)))
    }

    /// The trial container's name: the service's own, so that whoever looks for it finds it.
    pub(super) fn container_name(&self) -> String {
        let fixed = self.planner.service.container_name.clone();
        fixed.unwrap_or_else(|| format!("{}-{}-1", self.planner.project.name, self.planner.service_name))
    }

    pub(super) fn server_port(&self) -> Option<u16> {
        match &self.planner.grid.deployment.kind {
            DeploymentKind::Compose(_) => None,
            DeploymentKind::Process(process) => Some(process.port),
        }
    }

    pub(super) fn ready_policy(&self, service: &Service) -> ReadyPolicy {
        let limits = &self.planner.grid.limits;
        ReadyPolicy {
            model_id: Planner::model_id(service),
            api_key: Planner::api_key(service),
            startup: limits.startup,
            stall: limits.stall,
            ..ReadyPolicy::default()
        }
    }

    fn summary(&self, ended: Ended) -> Result<Summary, EngineError> {
        let row = self.store.sweep(Some(self.id))?;
        Ok(Summary {
            sweep: self.id,
            ended,
            measured: row.measured as usize,
            failed: row.failed as usize,
            skipped: row.skipped as usize,
            left: row.remaining as usize,
        })
    }

    /// The deployment's identity.
    pub(super) fn deployment(&self) -> String {
        self.lock.deployment().to_owned()
    }
}

/// What makes a sweep this sweep: the grid's text, its suite, the deployment's service and the pinned images.
fn identity(planner: &Planner, plan: &[PlannedConfig], image_ids: &HashMap<String, String>) -> String {
    let mut hash = sha2::Sha256::new();
    hash.update(planner.grid_text.as_bytes());
    hash.update(serde_json::to_vec(&planner.suite).unwrap_or_default());
    for planned in plan {
        hash.update(planned.key.0.as_bytes());
    }
    let images: BTreeMap<&String, &String> = image_ids.iter().collect();
    for (reference, id) in images {
        hash.update(format!("\0{reference}={id}").as_bytes());
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

fn new_sweep(
    planner: &Planner,
    grid_sha256: String,
    deployment: String,
    image_ids: &HashMap<String, String>,
) -> NewSweep {
    let argv: Vec<String> = redacted(planner, &compose::argv(&planner.service));
    NewSweep {
        grid_name: planner.grid.name.clone(),
        grid_path: planner.grid_path.clone(),
        grid_text: planner.redactor.apply(&planner.grid_text).into_owned(),
        grid_sha256,
        deployment,
        baseline: planner.baseline_name(),
        suite: planner.suite.clone(),
        objectives: planner.grid.objectives.clone(),
        gates: planner.grid.gates.iter().map(|g| g.text().to_owned()).collect(),
        plan: serde_json::json!({
            "project": planner.project.name,
            "service": planner.service_name,
            "config_files": planner.project.config_files,
            "working_dir": planner.project.working_dir,
            "argv": argv,
        }),
        images: image_ids.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        host: host::facts(),
    }
}

fn new_trials(planner: &Planner, plan: &[PlannedConfig], image_ids: &HashMap<String, String>) -> Vec<NewTrial> {
    let trials = plan.iter().enumerate().map(|(i, p)| NewTrial {
        position: i + 1,
        config: redacted_config(planner, p),
        key: p.key.clone(),
        is_baseline: p.is_baseline,
        image_digest: p.service.image.as_ref().and_then(|reference| image_ids.get(reference)).cloned(),
        argv: redacted(planner, &p.argv),
        expected: (!p.expected.is_empty()).then(|| serde_json::json!(p.expected).to_string()),
        skip: p.skip.clone(),
    });
    trials.collect()
}

fn redacted(planner: &Planner, argv: &[String]) -> Vec<String> {
    argv.iter().map(|word| planner.redactor.apply(word).into_owned()).collect()
}

/// The config with secret values hidden.
fn redacted_config(planner: &Planner, planned: &PlannedConfig) -> crate::domain::Config {
    let mut config = planned.config.clone();
    let hide = |text: &mut String| *text = planner.redactor.apply(text).into_owned();
    for value in config.settings.flags.values_mut() {
        match value {
            FlagValue::Value(value) => hide(value),
            FlagValue::Many(values) => values.iter_mut().for_each(hide),
            FlagValue::Default | FlagValue::On | FlagValue::Off => {}
        }
    }
    for (name, value) in &mut config.settings.env {
        if let Some(value) = value {
            let secret = crate::domain::Redactor::is_secret_name(name);
            *value = if secret {
                crate::domain::Redactor::mask().to_owned()
            } else {
                planner.redactor.apply(value).into_owned()
            };
        }
    }
    config
}

/// A figure with about four significant digits, for one line on the screen.
fn four_digits(value: f64) -> String {
    let decimals = (3 - value.abs().max(1.0).log10().floor() as i32).clamp(0, 3) as usize;
    format!("{value:.decimals$}")
}

/// Stops a sweep whose trials all fail alike.
struct Breaker {
    limit: u32,
    last: Option<(Cause, String)>,
    count: u32,
}

impl Breaker {
    fn new(limit: u32) -> Self {
        Self { limit, last: None, count: 0 }
    }

    fn reset(&mut self) {
        self.last = None;
        self.count = 0;
    }

    /// Counts a failure; how many were alike in a row, when that reaches the limit.
    fn trips_on(&mut self, failure: &crate::domain::Failure) -> Option<u32> {
        // Digits differ from trial to trial (pids, times, sizes); what remains is the kind of failure.
        let text = failure.evidence.first().map(|e| e.text.chars().filter(|c| !c.is_ascii_digit()).collect());
        let this = (failure.cause, text.unwrap_or_default());
        self.count = if self.last.as_ref() == Some(&this) { self.count + 1 } else { 1 };
        self.last = Some(this);
        (self.limit > 0 && self.count >= self.limit).then_some(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Evidence, ExitFacts, Failure, Phase};

    fn failure(cause: Cause, evidence: &str) -> Failure {
        Failure {
            phase: Phase::Startup,
            stage: None,
            cause,
            evidence: vec![Evidence { line_number: None, text: evidence.to_owned() }],
            numbers: BTreeMap::new(),
            remedy: String::new(),
            transient: false,
            exit: ExitFacts::default(),
        }
    }

    #[test]
    fn the_breaker_trips_on_failures_that_differ_in_digits_alone_and_a_success_resets_it() {
        let mut breaker = Breaker::new(3);
        let alike = |pid: u32| failure(Cause::BadArgument, &format!("(APIServer pid={pid}) no such flag"));
        assert_eq!(breaker.trips_on(&alike(1)), None);
        assert_eq!(breaker.trips_on(&alike(22)), None);
        assert_eq!(breaker.trips_on(&failure(Cause::GpuOom, "out of memory")), None);
        assert_eq!(breaker.trips_on(&alike(3)), None);
        breaker.reset();
        assert_eq!(breaker.trips_on(&alike(4)), None);
        assert_eq!(breaker.trips_on(&alike(5)), None);
        assert_eq!(breaker.trips_on(&alike(6)), Some(3));
    }

    #[test]
    fn a_figure_has_about_four_digits() {
        assert_eq!(four_digits(2657.2023), "2657");
        assert_eq!(four_digits(20.3796), "20.38");
        assert_eq!(four_digits(0.98612), "0.986");
    }
}

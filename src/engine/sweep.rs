//! One sweep from its registration to its end: what it carries, and that whatever happens what served before is put back.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::compose::{self, Service};
use crate::domain::{Event, Metric, Outcome, ResolvedConfig, Settings, Start, SweepId, TrialRef, reading, text_enum};
use crate::grid::DeploymentKind;
use crate::launch::{self, Launcher, ReadyPolicy, Sidecar};
use crate::resume::{PlanItem, Todo};
use crate::store::{NewTrial, RunEnd, RunId, Store, TrialId};

use super::deadline::Deadline;
use super::gpu_free::GpuBaseline;
use super::left::plan_item;
use super::plan::{PlannedConfig, Planner};
use super::preflight::state_folder;
use super::record::Recorder;
use super::register::{identity, new_sweep, new_trials};
use super::room::Room;
use super::{EngineError, Hold, Teller, after, announce, score, settle, twins};

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
    /// Be over by then; in place of the sweep's own deadline and the grid's.
    pub(crate) deadline: Option<Deadline>,
    /// Measure configs that resolve to the same engine each.
    pub(crate) measure_twins: bool,
    /// Measure also what a failure implies will fail, now and where an earlier run left it out.
    pub(crate) no_prune: bool,
    /// At the end measure so many of the pruned configs all the same.
    pub(crate) verify_pruned: Option<usize>,
}

text_enum! {
    /// Why the loop ended.
    pub enum Ended {
        /// Nothing is left.
        Complete = "complete",
        /// Left on purpose: `--only`, `--limit`, time over, circuit breaker.
        Incomplete = "incomplete",
        /// We were told to stop.
        Interrupted = "interrupted",
    }
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
    pub(super) recorder: Recorder,
    /// Cancelled by a signal.
    pub(super) told_to_stop: CancellationToken,
    /// Cancelled with [`Self::told_to_stop`], and when time is over: ends the trial that runs.
    pub(super) cancel: CancellationToken,
    /// By when it must be over.
    pub(super) deadline: Option<Deadline>,
    /// Why this run ends with work left, in a sentence.
    pub(super) why: Option<String>,
    pub(super) id: SweepId,
    pub(super) run: RunId,
    pub(super) image_ids: HashMap<String, String>,
    pub(super) db_label: String,
    pub(super) options: SweepOptions,
    hold: Hold,
    pub(super) plan: Vec<PlannedConfig>,
    /// The plan as [`crate::resume`] sees it.
    pub(super) items: Vec<PlanItem>,
    pub(super) trial_ids: Vec<TrialId>,
    /// Indices of the finalists, once they are chosen.
    pub(super) finalists: Option<Vec<usize>>,
    pub(super) resumed: bool,
    began: Instant,
    /// Image references of which was said that they mean another image by now.
    pub(super) moved_images: std::collections::HashSet<String>,
    /// What the GPUs held before the first trial.
    pub(super) gpu_baseline: GpuBaseline,
    /// Configs measured in this sweep with what they resolved to.
    measured: Vec<(String, Settings, ResolvedConfig)>,
    /// What was last told of the best config.
    pub(super) best: Option<Event>,
    /// The disks that it writes to.
    pub(super) room: Room,
    /// Containers beside the service that may disturb a trial.
    pub(super) sidecars: Vec<Sidecar>,
}

/// Which deployment a sweep belongs to: what the lock, the journal and the sweep's identity name.
pub(crate) fn deployment_identity(planner: &Planner) -> String {
    match &planner.grid.deployment.kind {
        DeploymentKind::Compose(_) => format!("compose {}/{}", planner.project.name, planner.service_name),
        DeploymentKind::Process(process) => format!("process port {}", process.port),
    }
}

/// The compose project and service of a deployment's identity.
pub(crate) fn compose_of(deployment: &str) -> Option<(String, String)> {
    let (project, service) = deployment.strip_prefix("compose ")?.split_once('/')?;
    Some((project.to_owned(), service.to_owned()))
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
        let (teller, told_to_stop) = control;
        let deployment = deployment_identity(&planner);
        let mut store = Store::open(db)?;
        let hold = Hold::take(db, &deployment, launcher.docker())?;
        store.close_open_attempts(hold.in_database())?;
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
                let sweep = new_sweep(&planner, identity, deployment, &image_ids, &launcher);
                let (id, ids) = store.register_sweep(&sweep, &new_trials(&planner, &plan, &image_ids))?;
                (id, ids, false)
            }
        };
        let run = store.start_run(id)?;
        let asked = options.deadline.clone();
        let begins = options.limit != Some(0) || asked.is_some();
        let kept = || Ok::<_, EngineError>(store.deadline(id)?.and_then(Deadline::stored));
        let deadline = match asked {
            Some(asked) => Some(asked),
            None => kept()?.or_else(|| Deadline::of_limits(&planner.grid.limits)),
        };
        // A run that starts nothing only registers: the grid's budget begins later, while an hour that was asked for stands. What has
        // passed already binds no later run.
        if let Some(deadline) = deadline.as_ref().filter(|d| begins && d.left_s() > 0.0) {
            store.set_deadline(run, &deadline.to_store())?;
        }
        let gpu_baseline = GpuBaseline::known(store.gpu_baseline(id)?);
        let index_of = |trial: &TrialId| trial_ids.iter().position(|t| t == trial);
        let finalists = store.finalists(id)?.map(|chosen| chosen.iter().filter_map(index_of).collect());
        let items = plan.iter().map(|p| plan_item(&planner, p)).collect();
        let db_label = launch::database_label(db);
        let recorder = Recorder::new(id, planner.redactor.clone(), teller.clone());
        Ok(Self {
            planner,
            launcher,
            store,
            teller,
            recorder,
            cancel: told_to_stop.child_token(),
            told_to_stop,
            deadline,
            why: None,
            id,
            run,
            image_ids,
            db_label,
            options,
            hold,
            plan,
            items,
            trial_ids,
            finalists,
            resumed,
            began: Instant::now(),
            moved_images: Default::default(),
            gpu_baseline,
            measured: Vec::new(),
            best: None,
            room: Room::default(),
            sidecars: Vec::new(),
        })
    }

    /// Carries the sweep out: takes aside what serves now, runs what is outstanding, puts back what served before.
    ///
    /// # Errors
    /// The database or the Docker daemon is gone, or what served before could not be put back. Whatever the error, the
    /// restoration was tried.
    pub(crate) async fn run(mut self) -> Result<Summary, EngineError> {
        let summary = self.run_and_restore().await;
        if let Err(error) = &summary {
            let failed = Event::SweepFailed { sweep: self.id, why: error.to_string() };
            // The error itself is what the caller tells; a database that is gone cannot keep this one either.
            let _ = self.recorder.record_or_tell(&mut self.store, failed);
        }
        announce::end(&mut self, &summary).await;
        summary
    }

    /// Takes up what an earlier run left, and tells that the sweep begins; what is to be done.
    fn open(&mut self) -> Result<Vec<Todo>, EngineError> {
        if self.resumed {
            self.settle_what_is_complete()?;
            self.recall()?;
        }
        let todos = self.what_is_left()?;
        let trials = self.plan.iter().filter(|p| p.skip.is_none()).count();
        let first = todos.iter().filter(|t| t.start == Start::FIRST).count();
        let further = self.with_those_to_come(&todos).saturating_sub(first);
        self.record(Event::SweepStarted {
            sweep: self.id,
            grid: self.planner.grid.name.clone(),
            trials,
            settled: trials.saturating_sub(first),
            further,
            resumed: self.resumed,
        })?;
        if !self.resumed {
            let skipped = |p: &PlannedConfig| Some((p.config.name.clone(), p.skip.clone()?.1));
            for (name, why) in self.plan.iter().filter_map(skipped).collect::<Vec<_>>() {
                self.record(Event::TrialSkipped { name, why })?;
            }
        }
        if todos.is_empty() && self.resumed {
            self.notice("nothing is left to measure in this sweep; `--new` starts another")?;
        }
        Ok(todos)
    }

    async fn run_and_restore(&mut self) -> Result<Summary, EngineError> {
        // An interrupted run may have left something to put back, so that also what goes wrong before the first trial ends below.
        let worked = match self.open() {
            Ok(todos) => self.work(todos).await,
            Err(error) => Err(error),
        };
        let restored = after::finish(self, worked.as_ref().ok().copied()).await;
        if let Err(error @ EngineError::Restore(_)) = &restored {
            announce::restore_failed(self, error).await;
        }
        let end = match (&worked, &restored) {
            (Ok(Ended::Complete), Ok(())) => RunEnd::Complete,
            (Ok(Ended::Incomplete), Ok(())) => RunEnd::Incomplete,
            (Ok(Ended::Interrupted), Ok(())) => RunEnd::Interrupted,
            (Err(_), _) | (_, Err(_)) => RunEnd::Failed,
        };
        let failed = worked.as_ref().err().or(restored.as_ref().err()).map(ToString::to_string);
        let why = failed.or_else(|| self.why.clone()).map(|why| self.planner.redactor.apply(&why).into_owned());
        let finished = self.store.finish_sweep(self.run, end, why.as_deref());
        // The first thing that went wrong is the one to tell; the others follow from it or are told as events.
        let ended = worked?;
        restored?;
        finished?;
        let summary = self.summary(ended)?;
        self.record(Event::SweepFinished {
            sweep: self.id,
            ended: ended.as_str().to_owned(),
            why,
            measured: summary.measured,
            failed: summary.failed,
            skipped: summary.skipped,
            left: summary.left,
            elapsed_s: self.began.elapsed().as_secs_f64(),
        })?;
        Ok(summary)
    }

    /// Keeps an event, then tells it.
    pub(super) fn record(&mut self, event: Event) -> Result<(), EngineError> {
        Ok(self.recorder.record(&mut self.store, event)?)
    }

    /// Records a sentence.
    pub(super) fn notice(&mut self, text: impl Into<String>) -> Result<(), EngineError> {
        self.record(Event::Notice { text: text.into() })
    }

    /// Records a warning.
    pub(super) fn warn(&mut self, text: impl Into<String>) -> Result<(), EngineError> {
        self.record(Event::Warning { text: text.into() })
    }

    /// What an earlier run did in full and died before it could say so: ends of attempts, gates.
    fn settle_what_is_complete(&mut self) -> Result<(), EngineError> {
        let trials: Vec<_> = self.plan.iter().zip(self.trial_ids.iter().copied()).collect();
        settle::settle_complete(&mut self.store, self.id, &self.planner, &trials)?;
        let deaths = self.planner.grid.limits.deaths;
        for (name, phase) in settle::settle_deadly(&mut self.store, self.id, deaths, &trials)? {
            let died = format!("vgrid died {deaths} times in a row during the {phase} of {name}");
            let text = format!("{died}: it counts as failed, and the sweep goes on without it");
            self.recorder.record(&mut self.store, Event::Warning { text })?;
        }
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
            let Metric { path, value, unit, .. } = &figure.metric;
            Some(format!("{path} {}", reading::figure(&path.name, *value, unit)))
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
        self.planner.container_name()
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
            redactor: self.planner.redactor.clone(),
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

    /// Since this run began, s.
    pub(super) fn elapsed_s(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// The best config so far, as it was last told.
    pub(super) const fn best(&self) -> Option<&Event> {
        self.best.as_ref()
    }

    /// The deployment's identity.
    pub(super) fn deployment(&self) -> String {
        self.hold.in_database().deployment().to_owned()
    }
}

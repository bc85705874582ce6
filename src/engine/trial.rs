//! One attempt at one trial, from its row in the database to its end: start, measure, stop, and say what came of it.

mod measure;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::domain::{Event, ExitFacts, FailedIn, LogLine, Outcome, Phase, SkipReason, TrialProgress, TrialRef};
use crate::launch::{self, LaunchSpec, Running};
use crate::store::{AttemptEnd, AttemptId, Timings};
use crate::telemetry::Tag;

use super::gpu_free::{self, GpuWait};
use super::observe::Observation;
use super::plan::PlannedConfig;
use super::sweep::Sweep;
use super::trouble::{Scene, Seen, Trouble, told};
use super::{EngineError, daemon, restore};

/// How long a stopping engine may take before it is killed, unless its service says otherwise.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(10);

/// What an attempt came to.
pub(super) struct Attempted {
    /// How it ended.
    pub(super) outcome: Outcome,
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
    /// What somebody else did to the container.
    strangers: Vec<String>,
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
            strangers: Vec::new(),
        })
    }

    /// Runs it.
    ///
    /// # Errors
    /// Only what must stop the sweep: the database or the Docker daemon is gone. The attempt is then left open in the database,
    /// and the next start of vgrid closes it as interrupted.
    pub(super) async fn run(mut self) -> Result<Attempted, EngineError> {
        self.progress(TrialProgress::Preparing);
        match gpu_free::wait(self.sweep, self.planned, &self.trial.name).await? {
            GpuWait::Free => {}
            GpuWait::Cancelled => return self.finish(Measured::Cancelled, None),
            GpuWait::Busy(busy, sentences) => {
                let failure = gpu_free::failure(&busy, &sentences, self.sweep.planner.grid.limits.gpu_free);
                return self.finish(trouble(Seen::GpuBusy(Box::new(failure)), ExitFacts::default()), None);
            }
        }
        let spec = self.launch_spec();
        let launcher = self.sweep.launcher.clone();
        if let Some(gone) = self.image_gone(&launcher).await? {
            return self.finish(not_started(gone), None);
        }
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
                (not_started(error), None)
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
                // A daemon that goes down stops its containers itself.
                let away = matches!(&measured, Ok(Measured::Trouble(Trouble { seen: Seen::DaemonAway(_), .. })));
                if !away {
                    self.strangers = running.deeds_of_strangers();
                }
                self.end_observation().await?;
                self.tell_log_problem(&running)?;
                self.tell_strangers()?;
                (measured?, Some(stopped?))
            }
        };
        self.finish(measured, stopped)
    }

    /// Waits for a daemon that went away; what that makes of the attempt.
    async fn without_daemon(&mut self, exit: ExitFacts) -> Result<Measured, EngineError> {
        let (launcher, patience) = (self.sweep.launcher.clone(), self.sweep.planner.grid.limits.daemon);
        let away = daemon::await_back(&launcher, patience, |text| self.sweep.warn(text)).await?;
        let what = match away {
            Some(away) => format!("the Docker daemon went away, and answered again after {:.1} s", away.as_secs_f64()),
            None => "a call to the Docker daemon got no answer; the daemon answers now".to_owned(),
        };
        Ok(trouble(Seen::DaemonAway(what), exit))
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
            return Ok(Attempted { outcome, twin_of });
        }
        let (cause, detail, remedy) = match &outcome {
            Outcome::Measured => (None, self.sweep.headline_of(&self.trial)?, None),
            Outcome::Failed(f) => {
                let evidence = f.evidence.first().map(|e| shorten(&e.text)).unwrap_or_default();
                (Some(f.cause), evidence, Some(f.remedy.clone()))
            }
            Outcome::Interrupted => (None, String::new(), None),
        };
        let failed = match &outcome {
            Outcome::Failed(f) => Some(FailedIn {
                phase: f.phase,
                stage: f.stage,
                numbers: f.numbers.clone(),
                exit_code: f.exit.exit_code,
            }),
            Outcome::Measured | Outcome::Interrupted => None,
        };
        self.sweep.record(Event::TrialFinished {
            trial: self.trial,
            outcome: outcome.as_str().to_owned(),
            cause,
            detail,
            remedy,
            failed,
            log: self.log_path.display().to_string(),
            elapsed_s,
            ready_s: self.ready_s,
        })?;
        Ok(Attempted { outcome, twin_of: None })
    }

    /// Why the image that the sweep began with cannot be started any more. A tag that means another image by now is said once: every
    /// trial of a sweep runs the same image.
    async fn image_gone(&mut self, launcher: &launch::Launcher) -> Result<Option<launch::LaunchError>, EngineError> {
        let reference = self.planned.service.image.clone().unwrap_or_default();
        let (Some(docker), Some(pinned)) = (launcher.docker(), self.sweep.image_ids.get(&reference).cloned()) else {
            return Ok(None);
        };
        match docker.image_info(&pinned).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {
                let message = format!("No such image any more: the sweep began with {reference} = {pinned}");
                let help =
                    format!("load that image again, or measure the {reference} of today with `vgrid run --new GRID`");
                return Ok(Some(launch::LaunchError { message, ..error }.help(help)));
            }
            // The start finds the same, and waits for the daemon.
            Err(error) if error.daemon_unreachable => return Ok(None),
            Err(error) => return Ok(Some(error)),
        }
        let today = docker.image_info(&reference).await.map_or_else(|_| "nothing".to_owned(), |image| image.id);
        if today != pinned && self.sweep.moved_images.insert(reference.clone()) {
            self.sweep.warn(format!(
                "{reference} means {today} by now; this sweep began with {pinned} and goes on with it, so that all trials run one image"
            ))?;
        }
        Ok(None)
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

    /// What the judgement of a failure needs to know beside it.
    fn scene(&self) -> Scene<'_> {
        Scene {
            sidecars: &self.sweep.sidecars,
            log_path: &self.log_path,
            redactor: &self.sweep.planner.redactor,
            phase: self.phase,
            argv: &self.planned.argv,
            strangers: &self.strangers,
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

    /// Says what somebody else did to the container: a watchdog, a person, a second vgrid on another host.
    fn tell_strangers(&mut self) -> Result<(), EngineError> {
        let Some(deeds) = told(&self.strangers) else { return Ok(()) };
        self.sweep.warn(format!("{}: {deeds}", self.trial.name))
    }

    fn enter(&mut self, phase: Phase) -> Result<(), EngineError> {
        self.phase = phase;
        self.sweep.store.set_attempt_phase(self.attempt, phase)?;
        Ok(())
    }

    fn progress(&self, progress: TrialProgress) {
        self.sweep.teller.progress(&self.trial, progress);
    }
}

fn trouble(seen: Seen, exit: ExitFacts) -> Measured {
    Measured::Trouble(Trouble { seen, exit })
}

fn not_started(error: launch::LaunchError) -> Measured {
    let exit = error.exit_facts();
    trouble(Seen::NotStarted(error.help), exit)
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

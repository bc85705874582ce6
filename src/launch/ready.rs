//! The one race of a start-up: ready, exited, stalled, deadline, cancelled.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::{BootMilestone, ExitFacts, Redactor};

use super::boot::{Boot, Over};
use super::probe::{Probe, ProbeError};
use super::running::Running;

/// Between two questions to a server that does not answer yet. A refused connection costs it nothing.
const POLL: Duration = Duration::from_millis(50);

/// Between two tries of a completion that failed, so that a struggling server is not flooded.
const RETRY: Duration = Duration::from_millis(500);

/// A list of models without the right one is believed when it comes this often in a row.
const WRONG_MODEL_ANSWERS: u32 = 3;

/// What is waited for, and how long.
#[derive(Clone, Debug)]
pub struct ReadyPolicy {
    /// The model id that `/v1/models` must list; `None` accepts the first one listed.
    pub model_id: Option<String>,
    /// Key for the probes.
    pub api_key: Option<String>,
    /// Hides secrets in what the server answers.
    pub redactor: Redactor,
    /// From the start to the first completion.
    pub startup: Duration,
    /// When the deadline comes while the boot advances, it moves to this long after the last advance.
    pub extension: Duration,
    /// The deadline never moves beyond this.
    pub startup_at_most: Duration,
    /// No sign of life (new log line, milestone, probe answer) for this long is a stall.
    pub stall: Duration,
    /// The limit of one completion.
    pub completion: Duration,
}

impl Default for ReadyPolicy {
    fn default() -> Self {
        let startup = Duration::from_secs(20 * 60);
        Self {
            model_id: None,
            api_key: None,
            redactor: Redactor::default(),
            startup,
            extension: Duration::from_secs(5 * 60),
            startup_at_most: startup * 3,
            stall: Duration::from_secs(5 * 60),
            completion: Duration::from_secs(120),
        }
    }
}

/// How far a boot is.
#[derive(Clone, Debug, PartialEq)]
pub struct BootProgress {
    /// Last milestone.
    pub milestone: BootMilestone,
    /// The milestone's own figure, 0 to 100.
    pub percent: Option<f64>,
    /// Since the start, s.
    pub elapsed_s: f64,
}

/// A server that answered a real completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Ready {
    /// From the start to the first completion, s.
    pub ready_s: f64,
    /// From the start to the first `/health` 200, s.
    pub health_s: f64,
    /// What the completion took, s.
    pub completion_s: f64,
    /// The model that answered.
    pub model_id: String,
    /// All ids that `/v1/models` lists.
    pub models: Vec<String>,
    /// Where it answers.
    pub base_url: String,
    /// Each milestone seen, with its time since the start, s.
    pub milestones: Vec<(BootMilestone, f64)>,
}

/// What was known when the waiting ended without an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NotReady {
    /// Last milestone.
    pub milestone: Option<BootMilestone>,
    /// Since the start, s.
    pub elapsed_s: f64,
    /// Since the last sign of life, s.
    pub silent_s: f64,
    /// From the start to the first `/health` 200, s; it answers health checks and yields no tokens.
    pub health_s: Option<f64>,
    /// The last bad answer of a probe.
    pub last_answer: Option<String>,
    /// The last line of the log.
    pub last_line: Option<String>,
}

/// How the waiting ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Readiness {
    /// It serves.
    Ready(Ready),
    /// It died.
    Exited(ExitFacts),
    /// It lives, and nothing has moved for too long. With `health_s` it is hung while serving.
    Stalled(NotReady),
    /// The time is over, though it was still moving.
    Deadline(NotReady),
    /// It answers, and will not do what is asked: another model, a refused key, a rejected completion.
    Refused {
        /// What it answered.
        why: String,
        /// What was known.
        state: NotReady,
    },
    /// The answers cannot come from the server that was started: it was restarted by somebody else.
    Replaced(String),
    /// Cancelled by the caller.
    Cancelled,
}

/// Maps a log line to the milestone it shows, with the milestone's own percentage where it has one.
pub type MilestoneReader<'a> = &'a mut (dyn FnMut(&str) -> Option<(BootMilestone, Option<f64>)> + Send);

/// Told of each advance of the boot.
pub type ProgressListener<'a> = &'a mut (dyn FnMut(BootProgress) + Send);

/// How far the probing has come; each step is a sign of life.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ProbeState {
    step: u8,
    /// From the start to the first `/health` 200, s.
    pub health_s: Option<f64>,
    /// The last bad answer.
    pub last_answer: Option<String>,
}

enum ProbeEnd {
    Answered(Ready),
    Refused(String),
}

/// Who is asked.
#[derive(Clone, Copy)]
struct Target<'a> {
    base_urls: &'a [String],
    started: Instant,
}

/// Asks until a real completion comes, with no log and no container to watch: for what is put back.
///
/// # Errors
/// The server's last word, when it answers and refuses.
pub(super) async fn ask_until_completion(base_urls: &[String], policy: &ReadyPolicy) -> Result<Ready, String> {
    let probe = Probe::new(policy.api_key.clone(), &policy.redactor)?;
    let (tell, _seen) = watch::channel(ProbeState::default());
    let target = Target { base_urls, started: Instant::now() };
    match until_completion(target, policy, &probe, &tell).await {
        ProbeEnd::Answered(ready) => Ok(ready),
        ProbeEnd::Refused(why) => Err(why),
    }
}

/// Runs the race. `milestones` reads log lines, `progress` is told of advances.
pub(super) async fn race(
    running: &Running,
    policy: &ReadyPolicy,
    cancel: &CancellationToken,
    milestones: MilestoneReader<'_>,
    progress: ProgressListener<'_>,
) -> Readiness {
    let probe = match Probe::new(policy.api_key.clone(), &policy.redactor) {
        Ok(probe) => probe,
        Err(why) => return Readiness::Refused { why, state: NotReady::default() },
    };
    let (tell, mut probe_state) = watch::channel(ProbeState::default());
    let target = Target { base_urls: &running.base_urls, started: running.started };
    let answer = until_completion(target, policy, &probe, &tell);
    tokio::pin!(answer);
    let death = running.watch_death();
    tokio::pin!(death);
    let mut lines = running.lines();
    let mut lines_ended = false;
    let mut boot = Boot::new(running.started, policy);
    progress(boot.progress());
    loop {
        let limit = boot.next_limit();
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Readiness::Cancelled,
            facts = &mut death => {
                return Readiness::Exited(facts);
            }
            end = &mut answer => {
                let seen = probe_state.borrow().clone();
                return match end {
                    ProbeEnd::Answered(ready) => Readiness::Ready(Ready { milestones: boot.reached, ..ready }),
                    ProbeEnd::Refused(why) => Readiness::Refused { why, state: boot.not_ready(&seen) },
                };
            }
            Ok(()) = probe_state.changed() => boot.sign_of_life(),
            more = lines.next(), if !lines_ended => match more {
                Some(new) => {
                    if boot.read(&new, milestones) {
                        progress(boot.progress());
                    }
                }
                None => lines_ended = true,
            },
            () = tokio::time::sleep_until(limit.into()) => {
                let seen = probe_state.borrow().clone();
                match boot.over() {
                    Some(Over::Stalled) => return Readiness::Stalled(boot.not_ready(&seen)),
                    Some(Over::Deadline) => return Readiness::Deadline(boot.not_ready(&seen)),
                    None => {}
                }
            }
        }
    }
}

/// Asks until a completion yields a token or the server refuses for good. Never gives up by itself.
async fn until_completion(
    target: Target<'_>,
    policy: &ReadyPolicy,
    probe: &Probe,
    tell: &watch::Sender<ProbeState>,
) -> ProbeEnd {
    let since_start = || target.started.elapsed().as_secs_f64();
    let bad = |error: &ProbeError| {
        tell.send_if_modified(|state| {
            state.last_answer = Some(error.to_string());
            false
        });
    };
    let base_url = healthy_url(target.base_urls, probe, &bad).await;
    let health_s = since_start();
    tell.send_modify(|state| (state.step, state.health_s) = (1, Some(health_s)));
    let (models, model_id) = match listed_model(&base_url, policy, probe, &bad).await {
        Ok(found) => found,
        Err(why) => return ProbeEnd::Refused(why),
    };
    tell.send_modify(|state| state.step = 2);
    loop {
        match probe.completion(&base_url, &model_id, policy.completion).await {
            Ok(seen) => {
                return ProbeEnd::Answered(Ready {
                    ready_s: since_start(),
                    health_s,
                    completion_s: seen.elapsed_s,
                    model_id,
                    models,
                    base_url,
                    milestones: Vec::new(),
                });
            }
            // A server that cannot work for now says 5xx or 429; any other 4xx is its last word.
            Err(ProbeError::Status { status, body }) if (400..500).contains(&status) && status != 429 => {
                return ProbeEnd::Refused(format!("the first completion was refused with HTTP {status}: {body}"));
            }
            Err(error) => bad(&error),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The first of the server's addresses where `/health` answers 200.
async fn healthy_url(base_urls: &[String], probe: &Probe, bad: &(dyn Fn(&ProbeError) + Sync)) -> String {
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answers = base_urls.iter().map(|url| async move { probe.health(url).await.map(|()| url.clone()) });
        for answer in futures_util::future::join_all(answers).await {
            match answer {
                Ok(url) => return url,
                Err(error) => bad(&error),
            }
        }
    }
}

/// The ids served, and the one wanted.
async fn listed_model(
    base_url: &str,
    policy: &ReadyPolicy,
    probe: &Probe,
    bad: &(dyn Fn(&ProbeError) + Sync),
) -> Result<(Vec<String>, String), String> {
    let mut wrong = 0;
    loop {
        match probe.models(base_url).await {
            Ok(models) => {
                let wanted = match &policy.model_id {
                    Some(id) => models.iter().find(|m| *m == id),
                    None => models.first(),
                };
                if let Some(id) = wanted.cloned() {
                    return Ok((models, id));
                }
                wrong += 1;
                if wrong >= WRONG_MODEL_ANSWERS {
                    let expected = policy.model_id.as_deref().unwrap_or("any model");
                    return Err(format!("/v1/models lists {models:?} and not {expected:?}"));
                }
            }
            Err(ProbeError::Status { status: status @ (401 | 403), body }) => {
                return Err(format!("/v1/models refused the key with HTTP {status}: {body}"));
            }
            Err(error) => bad(&error),
        }
        tokio::time::sleep(POLL).await;
    }
}

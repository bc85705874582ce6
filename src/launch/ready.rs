//! The one race of a start-up: ready, exited, stalled, deadline, cancelled.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::{BootMilestone, ExitFacts};

use super::probe::{Probe, ProbeError};
use super::running::Running;

/// Between two questions to a server that does not answer yet. A refused connection costs it nothing.
const POLL: Duration = Duration::from_millis(50);

/// Between two tries of a completion that failed, so that a struggling server is not flooded.
const RETRY: Duration = Duration::from_millis(500);

/// A list of models without the right one is believed when it comes this often in a row.
const WRONG_MODEL_ANSWERS: u32 = 3;

/// Distinct lines remembered in order to tell progress from repetition.
const REMEMBERED_LINES: usize = 100_000;

/// What is waited for, and how long.
#[derive(Clone, Debug)]
pub struct ReadyPolicy {
    /// The model id that `/v1/models` must list; `None` accepts the first one listed.
    pub model_id: Option<String>,
    /// Key for the probes.
    pub api_key: Option<String>,
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
struct ProbeState {
    step: u8,
    health_s: Option<f64>,
    last_answer: Option<String>,
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
    let probe = Probe::new(policy.api_key.clone())?;
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
    let probe = match Probe::new(policy.api_key.clone()) {
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

enum Over {
    Stalled,
    Deadline,
}

/// The state of a boot as its log shows it, and its clocks.
struct Boot<'a> {
    policy: &'a ReadyPolicy,
    started: Instant,
    last_life: Instant,
    last_advance: Instant,
    milestone: BootMilestone,
    percent: Option<f64>,
    reached: Vec<(BootMilestone, f64)>,
    seen: HashSet<u64>,
    last_line: Option<String>,
}

impl<'a> Boot<'a> {
    fn new(started: Instant, policy: &'a ReadyPolicy) -> Self {
        Self {
            policy,
            started,
            last_life: started,
            last_advance: started,
            milestone: BootMilestone::Started,
            percent: None,
            reached: vec![(BootMilestone::Started, 0.0)],
            seen: HashSet::new(),
            last_line: None,
        }
    }

    fn sign_of_life(&mut self) {
        self.last_life = Instant::now();
    }

    /// Takes in new lines; true when the boot advanced.
    fn read(&mut self, lines: &[String], milestones: MilestoneReader<'_>) -> bool {
        let mut advanced = false;
        for line in lines {
            if self.is_news(line) {
                self.sign_of_life();
            }
            if let Some((milestone, percent)) = milestones(line)
                && (milestone > self.milestone || (milestone == self.milestone && percent > self.percent))
            {
                if milestone != self.milestone {
                    self.reached.push((milestone, self.started.elapsed().as_secs_f64()));
                }
                (self.milestone, self.percent) = (milestone, percent);
                self.last_advance = Instant::now();
                advanced = true;
            }
        }
        if let Some(line) = lines.last() {
            self.last_line = Some(line.clone());
        }
        advanced
    }

    /// Whether a line shows progress: access lines of our own probes and of health checks do not, nor does a line that was
    /// seen before but for its time of day (a hung engine repeats its complaint for ever).
    fn is_news(&mut self, line: &str) -> bool {
        if ["GET /health", "GET /v1/models", "GET /metrics"].iter().any(|access| line.contains(access)) {
            return false;
        }
        if self.seen.len() >= REMEMBERED_LINES {
            self.seen.clear();
        }
        let mut hasher = DefaultHasher::new();
        without_times(line).hash(&mut hasher);
        self.seen.insert(hasher.finish())
    }

    fn deadline(&self) -> Instant {
        let fixed = self.started + self.policy.startup;
        let moved = self.last_advance + self.policy.extension;
        fixed.max(moved).min(self.started + self.policy.startup_at_most.max(self.policy.startup))
    }

    fn next_limit(&self) -> Instant {
        self.deadline().min(self.last_life + self.policy.stall)
    }

    fn over(&self) -> Option<Over> {
        let now = Instant::now();
        if now >= self.last_life + self.policy.stall {
            Some(Over::Stalled)
        } else if now >= self.deadline() {
            Some(Over::Deadline)
        } else {
            None
        }
    }

    fn progress(&self) -> BootProgress {
        BootProgress {
            milestone: self.milestone,
            percent: self.percent,
            elapsed_s: self.started.elapsed().as_secs_f64(),
        }
    }

    fn not_ready(&self, probe: &ProbeState) -> NotReady {
        NotReady {
            milestone: Some(self.milestone),
            elapsed_s: self.started.elapsed().as_secs_f64(),
            silent_s: self.last_life.elapsed().as_secs_f64(),
            health_s: probe.health_s,
            last_answer: probe.last_answer.clone(),
            last_line: self.last_line.clone(),
        }
    }
}

/// The line without its `HH:MM:SS` times (with fractions), which differ between repetitions.
fn without_times(line: &str) -> String {
    let bytes = line.as_bytes();
    let is_time = |i: usize| {
        bytes.len() >= i + 8
            && (0..8).all(|k| if k == 2 || k == 5 { bytes[i + k] == b':' } else { bytes[i + k].is_ascii_digit() })
    };
    let mut result = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        if is_time(i) {
            i += 8;
            while i < bytes.len() && (bytes[i] == b'.' || bytes[i] == b',' || bytes[i].is_ascii_digit()) {
                i += 1;
            }
        } else {
            result.push(bytes[i]);
            i += 1;
        }
    }
    String::from_utf8_lossy(&result).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(startup_s: u64, extension_s: u64, stall_s: u64) -> ReadyPolicy {
        ReadyPolicy {
            startup: Duration::from_secs(startup_s),
            extension: Duration::from_secs(extension_s),
            startup_at_most: Duration::from_secs(startup_s * 2),
            stall: Duration::from_secs(stall_s),
            ..ReadyPolicy::default()
        }
    }

    #[test]
    fn a_repeated_complaint_and_our_own_probes_are_no_progress() {
        let policy = policy(10, 5, 5);
        let mut boot = Boot::new(Instant::now(), &policy);
        assert!(
            boot.is_news("INFO 11-24 03:00:00 [shm_broadcast.py:466] No available shared memory block in 60 seconds")
        );
        assert!(
            !boot.is_news("INFO 11-24 03:01:00 [shm_broadcast.py:466] No available shared memory block in 60 seconds")
        );
        assert!(!boot.is_news("INFO:     127.0.0.1:33432 - \"GET /health HTTP/1.1\" 200 OK"));
        assert!(boot.is_news("Loading safetensors checkpoint shards:  10% Completed | 1/10"));
        assert!(boot.is_news("Loading safetensors checkpoint shards:  20% Completed | 2/10"));
    }

    #[test]
    fn the_deadline_moves_with_advances_and_never_beyond_the_utmost() {
        let policy = policy(100, 50, 1000);
        let started = Instant::now();
        let mut boot = Boot::new(started, &policy);
        assert_eq!(boot.deadline(), started + Duration::from_secs(100));
        boot.last_advance = started + Duration::from_secs(90);
        assert_eq!(boot.deadline(), started + Duration::from_secs(140));
        boot.last_advance = started + Duration::from_secs(190);
        assert_eq!(boot.deadline(), started + Duration::from_secs(200));
    }

    #[test]
    fn milestones_only_go_forward_and_percentages_count_as_advances() {
        let policy = policy(100, 50, 1000);
        let mut boot = Boot::new(Instant::now(), &policy);
        let mut read = |line: &str| match line.split_once(' ') {
            Some(("load", p)) => Some((BootMilestone::LoadingWeights, p.parse().ok())),
            Some(("banner", _)) => Some((BootMilestone::Banner, None)),
            _ => None,
        };
        let mut feed = |line: &str| boot.read(&[line.to_owned()], &mut read);
        assert!(feed("banner x"));
        assert!(feed("load 10"));
        assert!(!feed("load 10"));
        assert!(feed("load 20"));
        assert!(!feed("banner y"));
        assert!(!feed("chatter"));
        let names: Vec<BootMilestone> = boot.reached.iter().map(|(m, _)| *m).collect();
        assert_eq!(names, [BootMilestone::Started, BootMilestone::Banner, BootMilestone::LoadingWeights]);
    }
}

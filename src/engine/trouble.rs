//! What went wrong in an attempt, and the failure that it makes once the server is gone and its log complete.

use std::path::Path;
use std::time::Duration;

use crate::classify::{self, EvidenceInput, Observer, WaitVerdict};
use crate::domain::{Cause, Evidence, ExitFacts, Failure, Phase, Redactor, ScenarioKind, ScenarioResult, reading};
use crate::launch::{Sidecar, SidecarKind};

use super::readback;

/// What was seen when it went wrong, before the server was stopped.
pub(super) struct Trouble {
    /// What it was.
    pub(super) seen: Seen,
    /// The server's state at that moment.
    pub(super) exit: ExitFacts,
}

/// What was seen.
pub(super) enum Seen {
    /// It died.
    Death,
    /// It could not be created or started; what to do about it, where that is known.
    NotStarted(Option<String>),
    /// The memory of its GPUs was not free; what that is as a failure.
    GpuBusy(Box<Failure>),
    /// Our own race gave it up; how long its log was then, in bytes: what follows answers our own stop.
    GaveUp(WaitVerdict, u64),
    /// The trial's time was over in a scenario; how far it was, and how long the log was then, in bytes.
    OverTime(OverTime, u64),
    /// It stopped being usable in the middle of a scenario.
    Unusable(String),
    /// It answers, and not what it must.
    BadAnswer(String),
    /// Somebody else restarted or replaced it.
    Replaced(String),
    /// The Docker daemon went away meanwhile, and came back.
    DaemonAway(String),
    /// The smoke scenario did not pass; what failed in it.
    SmokeFailed(String),
}

/// A trial that `limits.trial` ended while it was measured.
pub(super) struct OverTime {
    /// The limit.
    pub(super) limit: Duration,
    /// The scenario that ran.
    pub(super) scenario: ScenarioKind,
    /// Its requests that had ended.
    pub(super) done: u64,
    /// Of so many, where known.
    pub(super) total: Option<u64>,
}

impl OverTime {
    /// `limits.trial (3 min 00 s) passed in load, after 12 of 40 requests`.
    fn describe(&self) -> String {
        let of = self.total.map(|total| format!(" of {total}")).unwrap_or_default();
        let limit = reading::duration(self.limit.as_secs_f64());
        format!("limits.trial ({limit}) passed in {}, after {}{of} requests", self.scenario, self.done)
    }

    /// What to do about it.
    fn remedy(&self) -> String {
        format!(
            "raise limits.trial, or measure less: fewer or shorter requests in {}, fewer scenarios; if other configs take far less, this one is slow",
            self.scenario
        )
    }
}

/// What the judgement needs to know beside the trouble.
pub(super) struct Scene<'a> {
    /// The attempt's log.
    pub(super) log_path: &'a Path,
    /// Hides secrets.
    pub(super) redactor: &'a Redactor,
    /// How far the attempt had come.
    pub(super) phase: Phase,
    /// Containers that may have acted on it.
    pub(super) sidecars: &'a [Sidecar],
    /// The server's command line.
    pub(super) argv: &'a [String],
    /// What somebody else did to the container, as Docker tells it.
    pub(super) strangers: &'a [String],
}

impl Scene<'_> {
    /// What the log's first `log_bytes` and the state show.
    fn classified(&self, log_bytes: u64, exit: ExitFacts, wait: Option<WaitVerdict>) -> Failure {
        let log = readback::read_log(self.log_path, log_bytes, self.redactor);
        classify::classify(&EvidenceInput {
            log: &log,
            phase: Some(self.phase),
            exit,
            wait,
            argv: self.argv,
            observer: Observer::Sweep,
        })
    }
}

impl Trouble {
    /// Why it went wrong, from everything that is known once the server is gone and its log complete.
    pub(super) fn into_failure(self, stopped: Option<ExitFacts>, scene: &Scene<'_>) -> Failure {
        // The news of a death may come before its exit code and OOM kill; the look after the stop has both.
        let exit = match (&self.seen, stopped) {
            (Seen::Death | Seen::Unusable(_), Some(stopped)) if !stopped.asked_to_stop => stopped,
            (_, _) => self.exit,
        };
        with_strangers(self.seen.judged(exit, scene), scene)
    }
}

impl Seen {
    fn judged(self, exit: ExitFacts, scene: &Scene<'_>) -> Failure {
        let own = |text: &str| Evidence { line_number: None, text: scene.redactor.apply(text).into_owned() };
        match self {
            Seen::GpuBusy(failure) => *failure,
            Seen::Death => scene.classified(u64::MAX, exit, None),
            Seen::NotStarted(help) => {
                let mut failure = scene.classified(u64::MAX, exit, None);
                if let Some(help) = help.filter(|_| failure.cause == Cause::Docker) {
                    failure.remedy = scene.redactor.apply(&help).into_owned();
                }
                failure
            }
            Seen::GaveUp(verdict, log_bytes) => scene.classified(log_bytes, exit, Some(verdict)),
            Seen::OverTime(over, log_bytes) => {
                let mut failure = scene.classified(log_bytes, exit, Some(WaitVerdict::Timeout));
                if failure.cause == Cause::Timeout {
                    // The engine's last lines say nothing of it; and the same requests would take as long again.
                    failure.evidence.clear();
                    failure.remedy = over.remedy();
                    failure.transient = false;
                }
                failure.evidence.push(own(&over.describe()));
                failure
            }
            Seen::Unusable(what) => {
                let mut failure = scene.classified(u64::MAX, exit, None);
                failure.evidence.push(own(&what));
                failure
            }
            Seen::BadAnswer(what) => {
                let mut failure = scene.classified(u64::MAX, exit, None);
                if matches!(failure.cause, Cause::Healthy | Cause::Unknown | Cause::Stopped) {
                    failure = bad_responses(failure.exit);
                }
                failure.evidence.insert(0, own(&what));
                failure
            }
            Seen::SmokeFailed(what) => {
                let mut failure = bad_responses(exit);
                failure.evidence.push(own(&what));
                failure
            }
            Seen::DaemonAway(what) => {
                let mut failure = scene.classified(u64::MAX, exit, None);
                failure.cause = Cause::Docker;
                failure.transient = true;
                failure.evidence.insert(0, own(&what));
                failure.remedy =
                    "a daemon that is restarted ends its containers: nothing is wrong with this config; find out who \
                                  restarts it at night (an update of its package?), or set `live-restore`"
                        .to_owned();
                failure
            }
            Seen::Replaced(what) => {
                let mut failure = scene.classified(u64::MAX, exit, None);
                failure.cause = Cause::Stopped;
                failure.transient = true;
                failure.evidence.insert(0, own(&what));
                failure.remedy = find_the_stranger(scene.sidecars);
                failure.evidence.extend(suspects(scene.sidecars));
                failure
            }
        }
    }
}

/// Where somebody else stopped, restarted or removed the container, that is the cause of an end that the log does not explain.
fn with_strangers(mut failure: Failure, scene: &Scene<'_>) -> Failure {
    let Some(deeds) = told(scene.strangers) else { return failure };
    match failure.cause {
        Cause::Healthy
        | Cause::EngineDead
        | Cause::Stopped
        | Cause::Hung
        | Cause::Stalled
        | Cause::Timeout
        | Cause::Unknown => {
            failure.cause = Cause::Stopped;
            failure.stage = None;
            failure.transient = true;
            failure.remedy = find_the_stranger(scene.sidecars);
            failure.evidence.insert(0, Evidence { line_number: None, text: deeds });
            failure.evidence.extend(suspects(scene.sidecars));
        }
        // The log or the kernel explains it; the stranger may only have tidied up.
        Cause::GpuOom
        | Cause::KvCacheTooSmall
        | Cause::GpuMemoryBusy
        | Cause::HostOom
        | Cause::ShmTooSmall
        | Cause::BadArgument
        | Cause::Unsupported
        | Cause::ModelUnavailable
        | Cause::ModelBroken
        | Cause::NoGpu
        | Cause::GpuFault
        | Cause::Communication
        | Cause::CompileFailed
        | Cause::Environment
        | Cause::PortInUse
        | Cause::Docker
        | Cause::BadResponses => failure.evidence.push(Evidence { line_number: None, text: deeds }),
    }
    failure
}

/// The containers that can act on others: they hold Docker's socket.
fn holders(sidecars: &[Sidecar]) -> Vec<String> {
    let holders = sidecars.iter().filter(|s| s.kind == SidecarKind::HoldsDockerSocket);
    holders.map(|s| format!("{} ({})", s.name, s.image)).collect()
}

/// Who may have done it, as evidence.
fn suspects(sidecars: &[Sidecar]) -> Option<Evidence> {
    let holders = holders(sidecars);
    let text = format!("beside the trial these containers hold Docker's socket: {}", holders.join(", "));
    (!holders.is_empty()).then_some(Evidence { line_number: None, text })
}

/// What to do about a stranger.
fn find_the_stranger(sidecars: &[Sidecar]) -> String {
    match &holders(sidecars)[..] {
        [] => "find out who acts on the trial's container (a watchdog, an autoheal sidecar, a cron job) and pause it"
            .to_owned(),
        holders => format!(
            "stop {} for the night if it restarts containers; else find out who acts on the trial's container (a watchdog, a cron job)",
            holders.join(", ")
        ),
    }
}

/// The deeds of strangers as one sentence.
pub(super) fn told(deeds: &[String]) -> Option<String> {
    (!deeds.is_empty()).then(|| format!("somebody else acted on the trial's container: {}", deeds.join(", then ")))
}

fn bad_responses(exit: ExitFacts) -> Failure {
    Failure {
        phase: Phase::Serving,
        stage: None,
        cause: Cause::BadResponses,
        evidence: Vec::new(),
        numbers: Default::default(),
        remedy: "the server starts and does not answer as it must: look at the answer and at the engine's log; check model id, \
                 API key and chat template"
            .to_owned(),
        transient: false,
        exit,
    }
}

/// What of the smoke scenario did not pass; None when all did.
pub(super) fn smoke_failure(result: &ScenarioResult) -> Option<String> {
    if result.spec.kind() != ScenarioKind::Smoke {
        return None;
    }
    let passed = result.metrics.iter().find(|m| m.path.to_string() == "smoke.passed")?;
    if passed.value >= 1.0 {
        return None;
    }
    let wrong = result.requests.iter().find(|r| !r.end.is_complete());
    Some(match wrong {
        Some(r) => format!("{}: {} {}", r.role, r.end, r.error.as_deref().unwrap_or_default()).trim().to_owned(),
        None => result.validity.reasons.first().map(|(_, why)| why.clone()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene<'a>(redactor: &'a Redactor, sidecars: &'a [Sidecar], strangers: &'a [String]) -> Scene<'a> {
        Scene { log_path: Path::new("/no/such.log"), redactor, phase: Phase::Serving, sidecars, argv: &[], strangers }
    }

    fn sidecar(name: &str, kind: SidecarKind) -> Sidecar {
        Sidecar { id: name.into(), name: name.into(), image: "img".into(), kind }
    }

    #[test]
    fn a_stranger_s_deed_names_who_holds_docker_s_socket_and_not_who_only_depends_on_the_service() {
        let redactor = Redactor::default();
        let sidecars =
            [sidecar("autoheal", SidecarKind::HoldsDockerSocket), sidecar("web", SidecarKind::DependsOnService)];
        let strangers = ["restarted it".to_owned()];
        let trouble = || Trouble { seen: Seen::Death, exit: ExitFacts::default() };
        let failure = trouble().into_failure(None, &scene(&redactor, &sidecars, &strangers));
        assert_eq!(failure.cause, Cause::Stopped);
        let texts: Vec<&str> = failure.evidence.iter().map(|e| e.text.as_str()).collect();
        assert!(texts[0].ends_with("restarted it"), "{texts:?}");
        assert!(texts.iter().any(|t| t.ends_with("hold Docker's socket: autoheal (img)")), "{texts:?}");
        assert!(failure.remedy.starts_with("stop autoheal (img) for the night"), "{}", failure.remedy);
        let failure = trouble().into_failure(None, &scene(&redactor, &[], &strangers));
        assert!(failure.remedy.contains("cron job") && failure.evidence.iter().all(|e| !e.text.contains("socket")));
    }

    #[test]
    fn a_trial_whose_time_is_over_in_a_scenario_says_where_it_was_and_what_to_do() {
        let redactor = Redactor::default();
        let over =
            OverTime { limit: Duration::from_secs(180), scenario: ScenarioKind::Load, done: 12, total: Some(40) };
        let trouble = Trouble { seen: Seen::OverTime(over, 0), exit: ExitFacts::default() };
        let failure = trouble.into_failure(None, &scene(&redactor, &[], &[]));
        assert_eq!((failure.cause, failure.phase, failure.transient), (Cause::Timeout, Phase::Serving, false));
        let text = &failure.evidence[0].text;
        assert_eq!(text, "limits.trial (3 min 00 s) passed in load, after 12 of 40 requests");
        assert!(failure.remedy.starts_with("raise limits.trial"), "{}", failure.remedy);
    }
}

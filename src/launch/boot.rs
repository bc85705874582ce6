//! The state of a boot as its log shows it: milestones, signs of life, and when the waiting is over.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use crate::domain::BootMilestone;

use super::ready::{BootProgress, MilestoneReader, NotReady, ProbeState, ReadyPolicy};

/// Distinct lines remembered in order to tell progress from repetition.
const REMEMBERED_LINES: usize = 100_000;

/// Why a wait is over.
pub(super) enum Over {
    /// No sign of life for too long.
    Stalled,
    /// The time is over.
    Deadline,
}

/// The state of a boot as its log shows it, and its clocks.
pub(super) struct Boot<'a> {
    policy: &'a ReadyPolicy,
    started: Instant,
    last_life: Instant,
    last_advance: Instant,
    milestone: BootMilestone,
    percent: Option<f64>,
    /// Milestones with their times since the start, s.
    pub reached: Vec<(BootMilestone, f64)>,
    seen: HashSet<u64>,
    last_line: Option<String>,
}

impl<'a> Boot<'a> {
    pub(super) fn new(started: Instant, policy: &'a ReadyPolicy) -> Self {
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

    pub(super) fn sign_of_life(&mut self) {
        self.last_life = Instant::now();
    }

    /// Takes in new lines; true when the boot advanced.
    pub(super) fn read(&mut self, lines: &[String], milestones: MilestoneReader<'_>) -> bool {
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

    pub(super) fn next_limit(&self) -> Instant {
        self.deadline().min(self.last_life + self.policy.stall)
    }

    pub(super) fn over(&self) -> Option<Over> {
        let now = Instant::now();
        if now >= self.last_life + self.policy.stall {
            Some(Over::Stalled)
        } else if now >= self.deadline() {
            Some(Over::Deadline)
        } else {
            None
        }
    }

    pub(super) fn progress(&self) -> BootProgress {
        BootProgress {
            milestone: self.milestone,
            percent: self.percent,
            elapsed_s: self.started.elapsed().as_secs_f64(),
        }
    }

    pub(super) fn not_ready(&self, probe: &ProbeState) -> NotReady {
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
    use std::time::Duration;

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

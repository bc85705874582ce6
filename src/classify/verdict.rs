//! From evidence to a failure: the order in which the kinds of evidence are believed.

use super::decide::{fill, is_transient, remedy, remedy_of_given_kv_bytes};
use super::evidence::{first_exception, is_echo, of_healthy, of_line, of_rule, of_state};
use super::occupancy::other_holder;
use super::rule::{Rule, Tier, Weight};
use super::rules::RULES;
use super::view::LogView;
use super::{complaint, hang, numbers, stage};
use crate::domain::{Cause, Evidence, ExitFacts, Failure, LogLevel, Phase, Stage};

/// What our own race over the server's start or answers decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitVerdict {
    /// The deadline passed while it was still making progress.
    Timeout,
    /// No progress for too long.
    Stalled,
    /// It answers health checks and makes no tokens.
    Hung,
}

/// Who looks at the evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Observer {
    /// A sweep that started the server itself: it knows whether it asked for the stop.
    #[default]
    Sweep,
    /// Somebody who reads a log afterwards: whether a stop was wanted is not known.
    Reader,
}

/// Everything known about an ended (or given up) attempt.
#[derive(Clone, Debug, Default)]
pub struct EvidenceInput<'e> {
    /// Both streams, raw; colours, NUL bytes, `\r` and several boots are fine.
    pub log: &'e str,
    /// How far the attempt had come, where known; else it is read from the log.
    pub phase: Option<Phase>,
    /// What Docker or the operating system says.
    pub exit: ExitFacts,
    /// What our own race decided, where it gave up by itself.
    pub wait: Option<WaitVerdict>,
    /// The command line of the server, where known.
    pub argv: &'e [String],
    /// Who looks.
    pub observer: Observer,
}

/// What one kind of evidence says.
struct Finding {
    cause: Cause,
    stage: Option<Stage>,
    evidence: Vec<Evidence>,
    /// The rule and line that decided, where it was text.
    decided: Option<(&'static Rule, usize)>,
    transient: Option<bool>,
}

impl Finding {
    fn new(cause: Cause, evidence: Vec<Evidence>) -> Self {
        Self { cause, stage: None, evidence, decided: None, transient: None }
    }
}

/// The failure that the evidence shows. Secrets in the log must be redacted by the caller, where text enters.
#[must_use]
pub fn classify(input: &EvidenceInput<'_>) -> Failure {
    let view = LogView::new(input.log);
    let case = Case::new(input, &view);
    let finding = case.decide();
    let mut numbers = numbers::collect(&view, finding.decided);
    if finding.cause == Cause::GpuMemoryBusy
        && let Some(holder) = finding.decided.and_then(|(_, at)| other_holder(&view, at))
    {
        numbers.insert("other_process_pid".to_owned(), holder.pid);
        numbers.insert("other_process_in_use_gib".to_owned(), holder.gib);
    }
    if finding.cause == Cause::PortInUse {
        numbers::port_of(&input.exit, input.argv, input.log, &mut numbers);
    }
    let transient = finding.transient.unwrap_or_else(|| {
        finding
            .decided
            .and_then(|(rule, _)| rule.transient.filter(|_| rule.cause == finding.cause))
            .unwrap_or_else(|| is_transient(finding.cause, finding.stage))
    });
    let own = finding.decided.filter(|(rule, _)| rule.cause == finding.cause);
    let advice = own.and_then(|(rule, at)| Some(complaint::with_flag(rule.advice?, &view, at)));
    let remedy = match finding.cause {
        Cause::KvCacheTooSmall if kv_bytes_were_given(input.argv, &view) => remedy_of_given_kv_bytes(&numbers),
        _ => advice
            .and_then(|template| fill(&template, &numbers))
            .unwrap_or_else(|| remedy(finding.cause, finding.stage, &numbers)),
    };
    Failure {
        phase: case.phase,
        stage: finding.stage,
        cause: finding.cause,
        evidence: finding.evidence,
        numbers,
        remedy,
        transient,
        exit: input.exit.clone(),
    }
}

/// Whether line `i` fits a rule that says that the engine is dead; code in a traceback says nothing.
fn says_dead(rule: &Rule, view: &LogView<'_>, i: usize) -> bool {
    rule.tier == Tier::Dead && !view.is_code(i) && rule.matching(view.lines[i].body())
}

/// Whether the command line, or the log where the engine repeats it, sets the KV cache's size in bytes.
fn kv_bytes_were_given(argv: &[String], view: &LogView<'_>) -> bool {
    let is_flag = |word: &String| {
        let name = word.split('=').next().unwrap_or(word).replace('_', "-");
        name == "--kv-cache-memory-bytes"
    };
    let said = |body: &str| body.contains("non-default args: ") && body.contains("'kv_cache_memory_bytes': ");
    argv.iter().any(is_flag) || view.lines.iter().any(|line| said(line.body()))
}

/// One case: the evidence, what is read of it, and the questions asked of it.
struct Case<'c> {
    input: &'c EvidenceInput<'c>,
    view: &'c LogView<'c>,
    phase: Phase,
    /// First line that says that the engine is dead, before any stop.
    dead_at: Option<usize>,
    /// Lines before this one are judged: a clear stop ends the judging.
    end: usize,
}

impl<'c> Case<'c> {
    fn new(input: &'c EvidenceInput<'c>, view: &'c LogView<'c>) -> Self {
        let end = view.stop_at.unwrap_or(view.lines.len());
        let dead_at = (0..end).find(|i| RULES.iter().any(|r| says_dead(r, view, *i)));
        let inferred = if view.ready_at.is_some() || view.died_at_work { Phase::Serving } else { Phase::Startup };
        Self { input, view, phase: input.phase.unwrap_or(inferred), dead_at, end }
    }

    fn decide(&self) -> Finding {
        self.refused_by_docker()
            .or_else(|| self.killed_for_memory())
            .or_else(|| self.root_cause(Tier::Root))
            .or_else(|| self.given_up())
            .or_else(|| self.stopped())
            .or_else(|| self.root_cause(Tier::Likely))
            .or_else(|| self.unknown_exception())
            .or_else(|| self.dead())
            .or_else(|| self.engine_stopped())
            .or_else(|| self.exit_code())
            .unwrap_or_else(|| self.nothing())
    }

    fn running(&self) -> bool {
        self.input.exit.status.as_deref() == Some("running")
    }

    /// Whether it ended, and not because we asked.
    fn ended_by_itself(&self) -> bool {
        let exit = &self.input.exit;
        !exit.asked_to_stop && !self.running() && exit.exit_code.is_some_and(|c| c != 0)
    }

    /// Docker's own refusal stands in the container's state or in the API's error.
    fn refused_by_docker(&self) -> Option<Finding> {
        let exit = &self.input.exit;
        if self.running() {
            return None;
        }
        let Some(error) = exit.error.as_deref().filter(|e| !e.trim().is_empty()) else {
            let never_ran = exit.status.as_deref() == Some("created") && exit.exit_code.is_some_and(|c| c != 0);
            return never_ran.then(|| Finding::new(Cause::Docker, self.with_last_line(vec![self.state_line()])));
        };
        if exit.status.as_deref() == Some("removed") {
            // Taken away under us: that says nothing about the config.
            return Some(Finding::new(Cause::Stopped, vec![of_state(error)]));
        }
        let rule = RULES.iter().filter(|r| r.tier == Tier::Root).find(|r| r.matching(error));
        let mut finding = Finding::new(rule.map_or(Cause::Docker, |r| r.cause), vec![of_state(error)]);
        finding.transient = rule.and_then(|r| r.transient);
        // The log may quote Docker too (the docker command line's own output).
        if let Some(rule) = rule
            && let Some(at) = self.view.lines.iter().position(|l| rule.matching(l.body()))
        {
            finding.evidence.extend(of_rule(self.view, rule, at));
            finding.decided = Some((rule, at));
        }
        Some(finding)
    }

    /// The kernel killed PID 1 or a child: Docker keeps that in `OOMKilled`, whatever the exit code says.
    fn killed_for_memory(&self) -> Option<Finding> {
        if self.input.exit.oom_killed != Some(true) {
            return None;
        }
        if self.running() && self.view.ready_at.is_some() && self.dead_at.is_none() {
            return None;
        }
        let mut finding = Finding::new(Cause::HostOom, Vec::new());
        let death = self.dead_rule();
        if let Some((rule, at)) = death {
            finding.evidence = of_rule(self.view, rule, at);
            finding.decided = death;
        }
        finding.evidence.push(self.state_line());
        Some(finding)
    }

    /// The first line that a rule of `tier` fits.
    fn root_cause(&self, tier: Tier) -> Option<Finding> {
        // What it had survived when it became ready is no cause.
        let from = self.view.ready_at.map_or(0, |at| at + 1);
        let telling = (from..self.end).filter(|i| self.view.is_telling(*i));
        let mut found = telling.filter_map(|i| self.rule_at(i, tier).map(|rule| (rule, i)));
        found.find(|(rule, i)| self.counts(rule, tier, *i)).map(|(rule, i)| self.found(rule, i))
    }

    /// The first rule of `tier` that fits line `i`. What is said in passing proves less: there a root rule is a likely one.
    fn rule_at(&self, i: usize, tier: Tier) -> Option<&'static Rule> {
        let body = self.view.message(i);
        // Where an echo was raised tells nothing of what it echoes.
        let by_place = !is_echo(body);
        let fitting = |tier: Tier| {
            let mut rules = RULES.iter().filter(|r| r.tier == tier && (by_place || r.raised_in.is_empty()));
            rules.find(|r| r.fits_raised(body, || self.view.frame_of(i)))
        };
        match tier {
            Tier::Root => fitting(tier).filter(|_| !self.view.is_in_passing(i)),
            Tier::Likely if self.view.is_in_passing(i) => fitting(Tier::Root).or_else(|| fitting(tier)),
            Tier::Likely | Tier::Dead => fitting(tier),
        }
    }

    /// Whether the match of a rule, taken for one of `tier`, at line `i` can have ended the engine.
    fn counts(&self, rule: &Rule, tier: Tier, i: usize) -> bool {
        let died = self.dead_at.is_some() || self.ended_by_itself();
        if rule.weight != Weight::Fatal && self.view.is_of_request(i) {
            return false;
        }
        if self.view.ready_at.is_some() {
            let in_passing = tier == Tier::Likely && self.view.is_in_passing(i);
            return !in_passing
                && match rule.weight {
                    Weight::Fatal => died || !hang::served_after(self.view, i),
                    Weight::AtStart => false,
                    // A client's error in the API server, seconds before, is not why the engine died.
                    Weight::NeedsDeath => {
                        died && !self.view.is_of_frontend(i)
                            && !hang::served_on(self.view, i, self.dead_at.unwrap_or(self.end))
                    }
                };
        }
        let survived = self.process_progressed_after(i);
        if tier == Tier::Likely
            && self.view.is_in_passing(i)
            && first_exception(self.view, i + 1, self.end, false).is_some()
        {
            return false;
        }
        match tier {
            Tier::Root => !survived,
            Tier::Likely | Tier::Dead => !survived && (died || !self.progressed_after(i)),
        }
    }

    /// Whether what wrote line `i` went on with the start behind it, before any death: the very process, or the engine behind an
    /// API server that starts it when its own work is done.
    fn process_progressed_after(&self, i: usize) -> bool {
        let process = self.view.process(i);
        let end = self.dead_at.filter(|dead| *dead > i).unwrap_or(self.view.lines.len());
        let on = |j: usize| self.view.process(j) == process && self.view.went_on(i, j);
        self.view.engine_began_after(i, end) || (i + 1..end).any(on)
    }

    /// Whether the start went on behind line `i`: then what stands there was survived.
    fn progressed_after(&self, i: usize) -> bool {
        (i + 1..self.view.lines.len()).any(|j| self.view.went_on(i, j))
    }

    fn found(&self, rule: &'static Rule, at: usize) -> Finding {
        let (rule, at) = self.behind_hook(self.behind_compiler(self.behind_communication(rule, at)));
        let mut finding = Finding::new(rule.cause, of_rule(self.view, rule, at));
        finding.decided = Some((rule, at));
        if rule.cause == Cause::GpuOom {
            if other_holder(self.view, at).is_some() || stage::before_any_work(self.view, at) {
                finding.cause = Cause::GpuMemoryBusy;
            } else {
                finding.stage = Some(stage::of_gpu_oom(self.view, at, self.phase));
            }
        }
        finding
    }

    /// NCCL wraps the errors of CUDA and the host: memory that ran out stands a few lines behind its own error.
    fn behind_communication(&self, rule: &'static Rule, at: usize) -> (&'static Rule, usize) {
        if rule.cause != Cause::Communication {
            return (rule, at);
        }
        let near = (at..self.end).take(8).filter(|i| self.view.is_telling(*i));
        let mut memory = near.filter_map(|i| {
            let body = self.view.lines[i].body();
            let found = RULES.iter().find(|r| r.tier == Tier::Root && r.matching(body))?;
            matches!(found.cause, Cause::GpuOom | Cause::ShmTooSmall).then_some((found, i))
        });
        memory.next().unwrap_or((rule, at))
    }

    /// A compiler says that its backend raised something, and what it raised stands on the next line.
    fn behind_compiler(&self, (rule, at): (&'static Rule, usize)) -> (&'static Rule, usize) {
        if rule.cause != Cause::CompileFailed || !self.view.message(at).trim_end().ends_with(" raised:") {
            return (rule, at);
        }
        let raised = (at + 1..self.end).find(|i| self.view.process(*i) == self.view.process(at));
        raised.and_then(|i| Some((self.rule_at(i, Tier::Root)?, i))).unwrap_or((rule, at))
    }

    /// Docker says that a hook failed, and what the hook wrote stands on the next lines.
    fn behind_hook(&self, (rule, at): (&'static Rule, usize)) -> (&'static Rule, usize) {
        if rule.cause != Cause::NoGpu || !self.view.lines[at].body().contains(" hook") {
            return (rule, at);
        }
        let written = (at + 1..self.end).take(3).find_map(|i| self.rule_at(i, Tier::Root).map(|found| (found, i)));
        written.filter(|(found, _)| matches!(found.cause, Cause::GpuFault | Cause::NoGpu)).unwrap_or((rule, at))
    }

    /// Our own race gave up and no text names a cause.
    fn given_up(&self) -> Option<Finding> {
        let cause = match self.input.wait? {
            WaitVerdict::Timeout => Cause::Timeout,
            WaitVerdict::Stalled => Cause::Stalled,
            WaitVerdict::Hung => Cause::Hung,
        };
        // A dead engine explains a hang better than the hang itself.
        if cause == Cause::Hung && self.dead_at.is_some() {
            return None;
        }
        Some(Finding::new(cause, self.with_last_line(Vec::new())))
    }

    /// Somebody told the server to stop, before it died.
    fn stopped(&self) -> Option<Finding> {
        let at = self.view.stop_at?;
        if self.dead_at.is_some_and(|dead| dead < at) {
            return None;
        }
        Some(self.stop_finding(at))
    }

    /// Only the engine core was told to stop and nothing else explains the end.
    fn engine_stopped(&self) -> Option<Finding> {
        self.view.engine_stop_at.map(|at| self.stop_finding(at))
    }

    fn stop_finding(&self, at: usize) -> Finding {
        let exit = &self.input.exit;
        let served = self.view.lines[..at].iter().any(|l| l.body().contains("Application startup complete"));
        let wanted = match self.input.observer {
            Observer::Sweep => exit.asked_to_stop,
            Observer::Reader => served,
        };
        if wanted && (served || self.view.ready_at.is_some_and(|r| r < at)) {
            return Finding::new(Cause::Healthy, of_healthy(self.view));
        }
        let mut finding = Finding::new(Cause::Stopped, vec![of_line(&self.view.lines[at])]);
        let others =
            self.view.engine_stop_at.into_iter().chain(
                (at + 1..self.view.lines.len()).find(|i| super::view::stop_sign(&self.view.lines[*i]).is_some()),
            );
        finding.evidence.extend(others.filter(|i| *i != at).map(|i| of_line(&self.view.lines[i])));
        finding.evidence.dedup();
        if self.view.lacks_gpus {
            finding.transient = Some(false);
        }
        finding
    }

    /// An exception that no rule knows: shown, not guessed at.
    fn unknown_exception(&self) -> Option<Finding> {
        let serving = self.view.ready_at.is_some();
        if serving && self.dead_at.is_none() && !self.ended_by_itself() {
            return None;
        }
        let from = self.view.ready_at.map_or(0, |at| at + 1);
        let at = first_exception(self.view, from, self.end, serving)?;
        if !serving && self.dead_at.is_none() && !self.ended_by_itself() && self.progressed_after(at) {
            return None;
        }
        let mut finding = Finding::new(Cause::Unknown, vec![of_line(&self.view.lines[at])]);
        // What was raised because of it may say it better.
        let same_process = |i: &usize| self.view.process(*i) == self.view.process(at);
        let raised_from_it = first_exception(self.view, at + 1, self.end, serving).filter(same_process);
        finding.evidence.extend(raised_from_it.map(|i| of_line(&self.view.lines[i])));
        finding.evidence.extend(self.dead_at.filter(|d| *d != at).map(|d| of_line(&self.view.lines[d])));
        finding.evidence.dedup();
        Some(finding)
    }

    /// The most telling sign of death: rules in the table's order, lines in the log's.
    fn dead_rule(&self) -> Option<(&'static Rule, usize)> {
        let says = |rule| (0..self.end).find(|i| says_dead(rule, self.view, *i)).map(|at| (rule, at));
        RULES.iter().filter(|r| r.tier == Tier::Dead).find_map(says)
    }

    fn dead(&self) -> Option<Finding> {
        let (rule, at) = self.dead_rule()?;
        let mut evidence = Vec::new();
        for pattern in rule.patterns {
            let fits = |i: &usize| !self.view.is_code(*i) && super::rule::fits(self.view.lines[*i].body(), pattern);
            let found = (at..self.end).find(fits);
            evidence.extend(found.map(|i| of_line(&self.view.lines[i])));
        }
        evidence.dedup();
        evidence.truncate(4);
        let mut finding = Finding::new(rule.cause, evidence);
        finding.decided = Some((rule, at));
        Some(finding)
    }

    /// Nothing in the text: the exit code is all there is.
    fn exit_code(&self) -> Option<Finding> {
        let exit = &self.input.exit;
        let code = exit.exit_code.filter(|_| !self.running())?;
        if exit.asked_to_stop {
            let healthy = self.view.ready_at.is_some();
            return Some(if healthy {
                Finding::new(Cause::Healthy, of_healthy(self.view))
            } else {
                Finding::new(Cause::Stopped, self.with_last_line(vec![self.state_line()]))
            });
        }
        let serving = self.phase == Phase::Serving || self.view.ready_at.is_some();
        let cause = match code {
            // The engine core died and the API server left in good order: 0 is success only for a wanted stop.
            0 if serving && exit.status.as_deref() == Some("exited") => Cause::EngineDead,
            0 => return None,
            // 128 + SIGKILL, SIGTERM, SIGINT, SIGHUP, and their negative forms for a plain process.
            137 | 143 | 130 | 129 | -9 | -15 | -2 | -1 => Cause::Stopped,
            // SIGBUS: older versions die so when /dev/shm is full.
            135 | -7 => Cause::ShmTooSmall,
            139 | 134 | 132 | 136 | -11 | -6 | -4 | -8 => Cause::EngineDead,
            125..=127 => Cause::Docker,
            _ => Cause::Unknown,
        };
        if cause == Cause::Stopped {
            // A signal from outside: the log has nothing to say about it.
            return Some(Finding::new(
                cause,
                std::iter::once(self.state_line()).chain(self.view.last().map(of_line)).collect(),
            ));
        }
        Some(Finding::new(cause, self.with_last_line(vec![self.state_line()])))
    }

    /// No sign of failure: it serves, hangs, or the log just stops.
    fn nothing(&self) -> Finding {
        if let Some((cause, line)) = hang::signs(self.view) {
            return Finding::new(cause, line.into_iter().collect());
        }
        if self.view.ready_at.is_some() {
            return Finding::new(Cause::Healthy, of_healthy(self.view));
        }
        let mut finding = Finding::new(Cause::Unknown, self.last_doing());
        // The log stops in the middle of a start without a complaint: another start may tell more.
        finding.transient = Some(!self.view.lines.is_empty());
        finding
    }

    /// What it was doing last: the last line, where that message stood first (each worker writes it), and a warning of an exception.
    fn last_doing(&self) -> Vec<Evidence> {
        let lines = &self.view.lines;
        let Some(last) = lines.last() else { return Vec::new() };
        let first_alike = lines.iter().find(|l| l.body() == last.body()).filter(|l| l.number != last.number);
        let warning = lines.iter().find(|l| l.level == LogLevel::Warning && l.body().contains("Error("));
        std::iter::once(last).chain(first_alike).chain(warning).map(of_line).collect()
    }

    /// The container's state as evidence.
    fn state_line(&self) -> Evidence {
        let exit = &self.input.exit;
        let mut parts = Vec::new();
        parts.extend(exit.status.as_ref().map(|s| format!("Status={s}")));
        parts.extend(exit.exit_code.map(|c| format!("ExitCode={c}")));
        parts.extend(exit.oom_killed.map(|o| format!("OOMKilled={o}")));
        parts.extend(exit.error.clone());
        of_state(format!("container state: {}", parts.join(", ")))
    }

    /// `evidence` with the log's last line in front.
    fn with_last_line(&self, evidence: Vec<Evidence>) -> Vec<Evidence> {
        self.view.last().map(of_line).into_iter().chain(evidence).collect()
    }
}

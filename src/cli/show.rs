//! `vgrid show`: everything about one trial.

use std::path::Path;

use owo_colors::OwoColorize;

use crate::domain::reading::{duration, moment, number};
use crate::domain::{
    CaseOutcome, CaseResult, Failure, FlagName, Metric, Outcome, RequestEnd, SkipReason, Start, SweepId, Verdict,
};
use crate::store::{AttemptReport, ScenarioReport, Store, SweepKind, SweepRow, TrialReport};

use super::args::TrialArgs;
use super::compare::is_essential;
use super::exit::{Exit, Stop};
use super::run::store_stop;
use super::{figures, print};

/// Prints one trial.
pub(crate) fn show(args: &TrialArgs, db: &Path) -> Result<Exit, Stop> {
    let store = Store::open_read_only(db).map_err(store_stop)?;
    let id = store.find_trial(args.sweep.map(SweepId), &args.trial).map_err(store_stop)?;
    let mut report = store.show(id).map_err(store_stop)?;
    store.add_telemetry(&mut report).map_err(store_stop)?;
    if args.json {
        print::json(&report)?;
    } else {
        let sweep = store.sweep(Some(report.trial.sweep)).map_err(store_stop)?;
        print::out(render(&report, &sweep, args.all));
    }
    Ok(Exit::Ok)
}

fn render(report: &TrialReport, sweep: &SweepRow, all: bool) -> String {
    let t = &report.trial;
    let mut out =
        vec![format!("{} ({}, trial {} of sweep {}, key {})", t.name.bold(), t.state, t.trial_id.0, t.sweep, t.key)];
    if t.is_baseline {
        out.push("the baseline".to_owned());
    }
    if let (Some(skip), Some(detail)) = (t.skip, &t.detail) {
        // An explanation may begin with its reason's own word.
        let reason = if detail.starts_with(skip.as_str()) { String::new() } else { format!(" ({skip})") };
        out.push(print::sentence(&format!("skipped{reason}: {detail}"), 0));
    }
    if sweep.kind == SweepKind::Bench {
        out.push(format!("server    {}, asked by `vgrid bench`", sweep.grid_name));
    }
    out.extend(report.expected.iter().map(|(metric, value)| format!("expected  {metric} {}", number(*value))));
    for gate in &report.gates {
        out.push(format!("gate      {}: {}", gate.gate, gate.outcome));
    }
    if !t.is_baseline {
        out.extend(
            report.paired.iter().map(|p| print::sentence(&format!("answers {}", super::answers::sentence(p)), 0)),
        );
    }
    let main = main_attempt(&report.attempt_reports);
    if let Some(attempt) = main {
        out.push(String::new());
        out.extend(attempt_lines(report, attempt, all));
    }
    if sweep.kind == SweepKind::Grid {
        out.push(format!("\n{}\n{}", "command".bold(), print::command_line(&report.argv, 2)));
    }
    if let Some(digest) = &report.image_digest {
        out.push(format!("  image {digest}"));
    }
    let others = report.attempt_reports.iter().filter(|attempt| main.is_none_or(|main| main.number != attempt.number));
    for (at, attempt) in others.enumerate() {
        if all || at == 0 {
            out.push(String::new());
        }
        out.extend(if all { attempt_lines(report, attempt, all) } else { short_lines(report, attempt) });
    }
    out.join("\n")
}

/// The attempt that is told at length: the first that was measured, else the last.
fn main_attempt(attempts: &[AttemptReport]) -> Option<&AttemptReport> {
    attempts.iter().find(|attempt| attempt.outcome == Some(Outcome::Measured)).or(attempts.last())
}

/// Another attempt, shortly.
fn short_lines(report: &TrialReport, a: &AttemptReport) -> Vec<String> {
    let mut out = vec![format!("{}{}", attempt_headline(report, a), " (--all)".dimmed())];
    if let Some(Outcome::Failed(failure)) = &a.outcome {
        out.push(print::wrapped(&format!("{} in phase {}: {}", failure.cause, failure.phase, failure.remedy), 2));
    }
    out
}

fn attempt_headline(report: &TrialReport, a: &AttemptReport) -> String {
    let twin = report.found_a_twin(a).then_some(SkipReason::Twin.as_str());
    let outcome = twin.unwrap_or_else(|| a.outcome.as_ref().map_or("open", Outcome::as_str));
    let took = a.elapsed_s.map(|s| format!(" in {}", duration(s))).unwrap_or_default();
    let start = if a.start == Start::FIRST { String::new() } else { format!(" ({})", a.start) };
    format!("attempt {}{start}: {}{took}, {}", a.number, outcome.bold(), moment(&a.started_at))
}

fn attempt_lines(report: &TrialReport, a: &AttemptReport, all: bool) -> Vec<String> {
    let mut out = vec![attempt_headline(report, a)];
    if let Some(ready_s) = a.ready_s {
        let t = &a.timings;
        let part = |name: &str, s: Option<f64>| s.map(|s| format!(", {name} {}", duration(s))).unwrap_or_default();
        out.push(format!(
            "  served after {}{}{}{}",
            duration(ready_s),
            part("create", t.create_s),
            part("measure", t.measure_s),
            part("stop", t.teardown_s)
        ));
    }
    if let Some(log) = &a.log_path {
        out.push(format!("  log {}", log.display()));
    }
    if let Some(Outcome::Failed(failure)) = &a.outcome {
        out.extend(failure_lines(failure));
    }
    for scenario in &a.scenarios {
        out.extend(scenario_lines(scenario, all));
    }
    out.extend(resolved_lines(report, a, all));
    if all {
        out.extend(super::telemetry::lines(&a.telemetry));
    } else if !a.telemetry.is_empty() {
        out.push("  telemetry beside it: --all".dimmed().to_string());
    }
    out
}

/// Cases that are shown; JSON and the database have all.
const CASES_SHOWN: usize = 12;

/// The cases that did not pass.
pub(super) fn case_lines(cases: &[CaseOutcome]) -> Vec<String> {
    let missed: Vec<&CaseOutcome> = cases.iter().filter(|c| c.result != CaseResult::Passed).collect();
    let mut out: Vec<String> = missed
        .iter()
        .take(CASES_SHOWN)
        .map(|c| {
            let head = format!("    {} {}, {}, time {}", c.case_id, c.result, c.delivery, c.repeat);
            format!("{head}: expected {}; {}", c.expected, c.got)
        })
        .collect();
    if missed.len() > CASES_SHOWN {
        out.push(format!("    ... {} more cases did not pass; --json shows all", missed.len() - CASES_SHOWN));
    }
    out
}

fn failure_lines(f: &Failure) -> Vec<String> {
    let stage = f.stage.map(|s| format!(", stage {s}")).unwrap_or_default();
    let transient = if f.transient { "may pass when tried again" } else { "the same config would fail again" };
    let mut out = vec![format!("  {} {} in phase {}{stage}; {transient}", "failed:".red(), f.cause.bold(), f.phase)];
    // Most telling first in the database; here as the log has them, what stands in no log before.
    let mut evidence: Vec<_> = f.evidence.iter().collect();
    evidence.sort_by_key(|e| e.line_number);
    for e in evidence {
        let place = e.line_number.map(|n| format!("line {n}: ")).unwrap_or_default();
        out.push(print::wrapped(&format!("{place}{}", e.text.trim()), 4));
    }
    let numbers: Vec<String> = f.numbers.iter().map(|(k, v)| format!("{k} = {}", number(*v))).collect();
    if !numbers.is_empty() {
        out.push(print::wrapped(&numbers.join(", "), 4));
    }
    let exit = &f.exit;
    let known = [
        exit.status.as_ref().map(|s| format!("state {s}")),
        exit.exit_code.map(|c| format!("exit code {c}")),
        exit.oom_killed.map(|o| format!("OOMKilled {o}")),
        exit.error.clone(),
    ];
    let known: Vec<String> = known.into_iter().flatten().collect();
    if !known.is_empty() {
        out.push(print::wrapped(&known.join(", "), 4));
    }
    out.push(format!("  {} {}", "->".cyan(), print::wrapped(&f.remedy, 5).trim_start()));
    out
}

/// What an engineer looks for first, whether it was asked for or not.
const TELLING: [&str; 15] = [
    "dtype",
    "enable-chunked-prefill",
    "enable-prefix-caching",
    "engine_version",
    "gpu-memory-utilization",
    "kv-cache-dtype",
    "max-model-len",
    "max-num-batched-tokens",
    "max-num-seqs",
    "model_id",
    "quantization",
    "reasoning-parser",
    "speculative-config",
    "tensor-parallel-size",
    "tool-call-parser",
];

fn resolved_lines(report: &TrialReport, a: &AttemptReport, all: bool) -> Vec<String> {
    if a.resolved.facts.is_empty() && a.resolved.figures.is_empty() {
        return Vec::new();
    }
    let mut out = vec!["  what the engine runs:".to_owned()];
    let mut left_out = 0;
    for (name, fact) in &a.resolved.facts {
        let asked = report.settings.flags.get(&FlagName::new(name));
        let mismatch = a.mismatches.iter().any(|m| m.name == *name);
        if !(all || asked.is_some() || mismatch || TELLING.contains(&name.as_str())) {
            left_out += 1;
            continue;
        }
        let asked = asked.map(|v| format!("  (asked for {v})")).unwrap_or_default();
        out.push(format!("    {name:<32} {}  [{}]{asked}", fact.value, fact.source));
    }
    for (name, value) in &a.resolved.figures {
        out.push(format!("    {name:<32} {}", number(*value)));
    }
    if left_out > 0 {
        out.push(format!("    {left_out} more facts (--all)").dimmed().to_string());
    }
    for m in &a.mismatches {
        let text = format!("mismatch: asked for {} {}, the engine runs {}", m.name, m.requested, m.resolved);
        out.push(print::sentence(&text, 2).yellow().to_string());
    }
    out
}

/// A figure of the engine as its users see it; those of the client, and of the machine beside it, are many.
fn is_shown(metric: &Metric, all: &[Metric]) -> bool {
    let beside = |point: &str| ["container", "engine", "host"].contains(&point) || point.starts_with("gpu");
    is_essential(&metric.path)
        && !metric.path.point.as_deref().is_some_and(beside)
        && !metric.path.repeats_what_was_sent(all.iter().map(|m| &m.path))
}

fn scenario_lines(s: &ScenarioReport, all: bool) -> Vec<String> {
    let verdict = match s.validity.verdict {
        Verdict::Valid => s.validity.verdict.green().to_string(),
        Verdict::Suspect => s.validity.verdict.yellow().to_string(),
        Verdict::Invalid => s.validity.verdict.red().to_string(),
    };
    let ends: Vec<String> =
        s.requests_by_end.iter().map(|(end, n)| format!("{n} {}", RequestEnd::words(end))).collect();
    let head = format!("{} {verdict} in {}: {}", s.spec.kind().bold(), duration(s.elapsed_s), ends.join(", "));
    let mut out = vec![print::sentence(&head, 2)];
    for (reason, why) in &s.validity.reasons {
        out.push(print::sentence(&format!("{reason}: {why}"), 4));
    }
    let shown: Vec<Metric> = s.metrics.iter().filter(|metric| all || is_shown(metric, &s.metrics)).cloned().collect();
    out.extend(figures::table(&shown));
    out.extend(case_lines(&s.cases));
    if all {
        for c in &s.counters {
            out.push(format!("    {:<44} {} -> {}", c.name, number(c.before), number(c.after)).dimmed().to_string());
        }
    }
    let more = s.metrics.len() - shown.len();
    if more + s.counters.len() > 0 && !all {
        let plural = if more == 1 { "" } else { "s" };
        let text =
            format!("    {more} more figure{plural} and {} of the engine's counters with --all", s.counters.len());
        out.push(text.dimmed().to_string());
    }
    out
}

//! Which lines are shown as evidence, and which exceptions are only echoes.

use super::rule::{Rule, fits};
use super::view::{LogView, stop_sign};
use crate::domain::{Evidence, LogLevel, LogLine};

/// Longest evidence line that is kept, in bytes; parser lists and quoted configurations run longer.
const LONGEST: usize = 4096;
/// Most lines of evidence.
const MOST: usize = 5;

/// Exceptions that follow from another failure and never are a cause.
const ECHOES: &[&str] = &[
    "Engine core initialization failed",
    "Engine process failed to start",
    "WorkerProc initialization failed",
    "RuntimeError: cancelled",
    "ZMQError",
    "ensure_kv_transfer_shutdown",
    "resource_tracker",
    "destroy_process_group",
    "CancelledError",
    "^SystemExit",
    "KeyboardInterrupt",
    "BrokenPipeError",
    "Worker failed with error '',",
    "^RuntimeError: Executor failed",
    "Background loop has errored",
    "^EOFError",
    "Exception ignored",
    "^RuntimeError: Engine loop",
    "^Exception: WorkerProc",
    "^UserWarning",
    "Engine process (pid",
    "^asyncio.exceptions",
    "^RuntimeError: Event loop",
    "zmq.error",
    "AttributeError: 'NoneType' object has no attribute 'shutdown'",
    "^SystemError: <",
    "^FutureWarning",
    "^DeprecationWarning",
    "^RuntimeWarning",
    "No running event loop",
    "object has no attribute 'model_executor'",
    "^concurrent.futures",
    "ActorDiedError",
    "RayActorError",
    "^ray.exceptions.RayTaskError",
    "EngineDeadError",
    "ChildProcessError: worker died",
];

/// A line as evidence.
pub fn of_line(line: &LogLine<'_>) -> Evidence {
    let mut text: String = line.text.trim_end().to_owned();
    if text.len() > LONGEST {
        let mut end = LONGEST;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    Evidence { line_number: Some(line.number), text }
}

/// A fact that stands in no log.
pub fn of_state(text: impl Into<String>) -> Evidence {
    Evidence { line_number: None, text: text.into() }
}

/// The lines that show what `rule` decided at line `at`: per pattern in the table's order the first that fits, the
/// deciding line always among them, then clues.
pub fn of_rule(view: &LogView<'_>, rule: &Rule, at: usize) -> Vec<Evidence> {
    let mut chosen: Vec<usize> = Vec::new();
    // Where the place decides, the patterns alone fit anything.
    let patterns = if rule.raised_in.is_empty() { rule.patterns } else { &[] };
    for pattern in patterns {
        let found = (at..view.lines.len()).find(|i| view.is_telling(*i) && fits(view.message(*i), pattern));
        if let Some(i) = found
            && !chosen.contains(&i)
        {
            chosen.push(i);
        }
    }
    if !chosen.contains(&at) {
        chosen.push(at);
    }
    chosen.truncate(MOST - 1);
    if !chosen.contains(&at) {
        chosen.push(at);
    }
    for clue in rule.clues {
        if let Some(i) = view.lines.iter().position(|l| fits(l.body(), clue))
            && !chosen.contains(&i)
            && chosen.len() < MOST
        {
            chosen.push(i);
        }
    }
    chosen.iter().map(|i| of_line(&view.lines[*i])).collect()
}

/// Whether a message is an exception or another specific complaint.
pub fn is_exception(body: &str) -> bool {
    let head = body.split([':', '(']).next().unwrap_or_default();
    let last = head.rsplit('.').next().unwrap_or_default();
    let named =
        last.ends_with("Error") || last.ends_with("Exception") || last.ends_with("Exit") || last.ends_with("Timeout");
    named && last.len() > 4 && !head.contains(' ') && last.starts_with(|c: char| c.is_ascii_uppercase())
}

/// Whether a message only follows from another failure.
pub fn is_echo(body: &str) -> bool {
    ECHOES.iter().any(|e| fits(body, e))
}

/// The first exception before line `end` that is not an echo, from line `from` on; only those of the engine's own processes where `engine_only`.
pub fn first_exception(view: &LogView<'_>, from: usize, end: usize, engine_only: bool) -> Option<usize> {
    (from..end.min(view.lines.len())).find(|i| {
        let body = view.lines[*i].body().trim_start();
        view.is_telling(*i)
            && is_exception(body)
            && !is_echo(body)
            && !view.is_in_passing(*i)
            && (!engine_only || view.is_of_engine(*i))
    })
}

/// What to show of a log in which nothing is wrong: that it serves, what looked like an error, how it was stopped.
pub fn of_healthy(view: &LogView<'_>) -> Vec<Evidence> {
    let ready = view.ready_at;
    let error = view.lines.iter().position(|l| l.level == LogLevel::Error);
    let exception = view.lines.iter().position(|l| l.level == LogLevel::Error && is_exception(l.body()));
    let stop = view.lines.iter().position(|l| stop_sign(l).is_some());
    let mut chosen: Vec<usize> = Vec::new();
    for i in [ready, error, exception, stop].into_iter().flatten() {
        if !chosen.contains(&i) {
            chosen.push(i);
        }
    }
    chosen.iter().map(|i| of_line(&view.lines[*i])).collect()
}

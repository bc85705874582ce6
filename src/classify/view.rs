//! What of a log is judged: the last boot, its head and tail, and the landmarks in it.

use super::evidence::is_exception;
use super::milestone::milestone;
use crate::domain::{BootMilestone, LogLevel, LogLine, count_lines, last_boot, log_lines};

/// Bytes of a boot's beginning that are read: a start-up, compile output included, is far shorter.
const HEAD_BYTES: usize = 2 << 20;
/// Lines between an exception and its last frame: code, marks under it, and what other processes wrote in between.
const FRAME_LINES: usize = 40;
/// Lines of a Python warning: its text, and the code under it.
const WARNING_LINES: usize = 10;
/// Lines of a report on one request, tracebacks of chained exceptions included.
const REPORT_LINES: usize = 400;
/// Bytes of a boot's end that are read: the death and what led to it.
const TAIL_BYTES: usize = 4 << 20;

/// What the parts of a server say of an engine that dies behind its start.
const DEATHS_AT_WORK: &[&str] =
    &["EngineCore encountered a fatal error", "AsyncLLM output_handler failed", "Engine background task failed"];

/// How the log says that somebody stopped the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSign {
    /// The API server was told to stop, or Python was interrupted.
    Clear,
    /// Only the engine core was told: its own API server does that too when it fails.
    EngineOnly,
}

/// The lines of a log that are judged, with its landmarks (indices into `lines`).
#[derive(Debug)]
pub struct LogView<'l> {
    /// Cleaned lines of the last boot.
    pub lines: Vec<LogLine<'l>>,
    /// First line that shows that the engine began its start.
    engine_at: Option<usize>,
    /// Whether the text holds the boot from its banner on.
    has_banner: bool,
    /// First line that shows that it serves.
    pub ready_at: Option<usize>,
    /// First line that says that it was told to stop.
    pub stop_at: Option<usize>,
    /// First line that says that only the engine core was told to stop.
    pub engine_stop_at: Option<usize>,
    /// Whether the log says that the engine died while it handled requests: one whose head is missing may not show that it served.
    pub died_at_work: bool,
    /// Whether Ray was asked for more GPUs than there are: waiting again does not help.
    pub lacks_gpus: bool,
    /// For each line the one whose prefix names its process: pieces that `\r` rewrote carry none of their own.
    writers: Vec<usize>,
    /// Ranges of lines that describe a failure of logging itself.
    side_effects: Vec<std::ops::Range<usize>>,
}

impl<'l> LogView<'l> {
    /// Reads the last boot of `log`.
    pub fn new(log: &'l str) -> Self {
        let (boot, first) = last_boot(log);
        let mut lines: Vec<LogLine<'l>> = Vec::new();
        if boot.len() > HEAD_BYTES + TAIL_BYTES {
            let head_end = line_end(boot, HEAD_BYTES);
            let tail_at = line_end(boot, boot.len() - TAIL_BYTES);
            let skipped = count_lines(&boot[..tail_at]);
            lines.extend(log_lines(&boot[..head_end], first));
            lines.extend(log_lines(&boot[tail_at..], first + skipped));
        } else {
            lines.extend(log_lines(boot, first));
        }
        let mut view = Self {
            lines,
            engine_at: None,
            has_banner: false,
            ready_at: None,
            stop_at: None,
            engine_stop_at: None,
            died_at_work: false,
            lacks_gpus: false,
            writers: Vec::new(),
            side_effects: Vec::new(),
        };
        view.find_landmarks();
        view
    }

    fn find_landmarks(&mut self) {
        let mut logging_error_from = None;
        let mut torn_down_by_own_server = false;
        for (i, line) in self.lines.iter().enumerate() {
            let body = line.body();
            let rewritten = i > 0 && self.lines[i - 1].number == line.number && line.process().is_empty();
            self.writers.push(if rewritten { self.writers[i - 1] } else { i });
            if self.engine_at.is_none()
                && let Some((reached, _)) = milestone(&line.text)
            {
                self.has_banner |= reached == BootMilestone::Banner;
                self.engine_at = (reached >= BootMilestone::EngineInit).then_some(i);
            }
            if self.ready_at.is_none() && is_ready(line) {
                self.ready_at = Some(i);
            }
            torn_down_by_own_server |= body.contains("[shutdown] MPClient: start");
            match stop_sign(line) {
                Some(StopSign::Clear) if self.stop_at.is_none() => self.stop_at = Some(i),
                // A server that fails behind a good engine stops that engine itself: nobody told it to.
                Some(StopSign::EngineOnly) if self.engine_stop_at.is_none() && !torn_down_by_own_server => {
                    self.engine_stop_at = Some(i)
                }
                Some(StopSign::Clear | StopSign::EngineOnly) | None => {}
            }
            self.died_at_work |= DEATHS_AT_WORK.iter().any(|said| body.contains(said));
            self.lacks_gpus |= body.contains("required GPUs exceeds the total number of available GPUs");
            if body.starts_with("--- Logging error ---") {
                logging_error_from.get_or_insert(i);
            } else if body.starts_with("Arguments: ")
                && let Some(from) = logging_error_from.take()
            {
                self.side_effects.push(from..i + 1);
            }
        }
        if let Some(from) = logging_error_from {
            // Its end is not in the text; what follows within a traceback's length belongs to it.
            self.side_effects.push(from..(from + 80).min(self.lines.len()));
        }
    }

    /// Whether rules may look at this line: not a log line of a harmless level, not source code of a traceback, not a side effect.
    pub fn is_telling(&self, index: usize) -> bool {
        let Some(line) = self.lines.get(index) else { return false };
        let loud = match line.level {
            LogLevel::Error | LogLevel::Plain => true,
            LogLevel::Debug | LogLevel::Info | LogLevel::Warning => false,
        };
        // The engine dumps its inputs and configuration when it dies: other people's text.
        loud && !line.head().contains("dump_input.py")
            && !self.is_code(index)
            && !self.side_effects.iter().any(|r| r.contains(&index))
    }

    /// Whether the line shows code or a place of a traceback.
    pub fn is_code(&self, index: usize) -> bool {
        self.lines.get(index).is_some_and(|l| is_source_code(l.body()))
    }

    /// The message of the line; that of a quoted traceback's exception without its indent.
    pub fn message(&self, index: usize) -> &str {
        let body = self.lines[index].body();
        if is_nested_exception(body) { body.trim_start() } else { body }
    }

    /// Whether line `later` shows that the start went on behind line `at`. A bar that is drawn once more when its program ends
    /// shows no progress.
    pub fn went_on(&self, at: usize, later: usize) -> bool {
        let Some((reached, percent)) = milestone(&self.lines[later].text) else { return false };
        let Some(percent) = percent else { return true };
        let bars = self.lines[..at].iter().rev().filter_map(|l| milestone(&l.text));
        let before = bars.filter(|(kind, _)| *kind == reached).find_map(|(_, percent)| percent);
        percent > before.unwrap_or(0.0)
    }

    /// Who wrote the line; empty where it does not say.
    pub fn process(&self, index: usize) -> &str {
        self.writers.get(index).map_or("", |i| self.lines[*i].process())
    }

    /// Whether the line comes from the engine's own loop or workers.
    pub fn is_of_engine(&self, index: usize) -> bool {
        let process = self.process(index);
        if !process.is_empty() {
            return !is_frontend(process);
        }
        let tag = self.lines[index].tag();
        !is_handler(tag) && ["core.py", "multiproc_executor", "engine.py", "worker"].iter().any(|w| tag.contains(w))
    }

    /// Whether the line belongs to what the API server does before the engine begins, and the engine began behind it, before line `end`.
    /// In a text without its beginning only a process prefix tells.
    pub fn engine_began_after(&self, index: usize, end: usize) -> bool {
        let before = is_frontend(self.process(index)) || (self.has_banner && !self.is_of_engine(index));
        before && self.engine_at.is_some_and(|at| at > index && at < end)
    }

    /// Whether the line comes from what stands before the engine, or tells of one request.
    pub fn is_of_frontend(&self, index: usize) -> bool {
        is_frontend(self.process(index)) || self.is_of_request(index)
    }

    /// Whether the line was written while one request was handled: by a handler's file, or under uvicorn's report of one.
    pub fn is_of_request(&self, index: usize) -> bool {
        let line = &self.lines[index];
        if line.level != LogLevel::Plain {
            return is_handler(line.tag());
        }
        let process = self.process(index);
        let before = (index.saturating_sub(REPORT_LINES)..index).rev().filter(|i| self.process(*i) == process);
        let mut headlines = before.map(|i| &self.lines[i]).filter(|l| l.level != LogLevel::Plain);
        headlines.next().is_some_and(|l| l.body().starts_with("Exception in ASGI application"))
    }

    /// Whether the line is said in passing: an attempt that will be repeated or done without, a warning of Python's.
    pub fn is_in_passing(&self, index: usize) -> bool {
        let body = self.lines[index].body();
        body.starts_with("Error retrieving ")
            || body.contains("etrying ")
            || body.starts_with("Failed to import ")
            // NCCL's own monitor wants a port, and NCCL does without it.
            || body.contains("ras/client_support")
            || self.is_of_warning(index)
            || self.is_of_statistics(index)
    }

    /// Whether the line ends a traceback of the thread that reports usage statistics: the server goes on without it.
    fn is_of_statistics(&self, index: usize) -> bool {
        if !is_exception(self.lines[index].body()) {
            return false;
        }
        let process = self.process(index);
        let before = (index.saturating_sub(FRAME_LINES)..index).rev().filter(|i| self.process(*i) == process);
        let mut bodies = before.map(|i| self.lines[i].body()).take_while(|b| !b.starts_with("Traceback (most recent"));
        bodies.any(|b| b.contains("/usage/usage_lib.py"))
    }

    /// Whether the line is a warning of Python's (`path.py:12: UserWarning: text`), belongs to its text, or is the code under it.
    fn is_of_warning(&self, index: usize) -> bool {
        let process = self.process(index);
        let upwards = (index.saturating_sub(WARNING_LINES)..=index).rev().filter(|i| self.process(*i) == process);
        for i in upwards {
            let line = &self.lines[i];
            let body = line.body();
            if line.level != LogLevel::Plain || is_exception(body) || body.starts_with("Traceback (most") {
                return false;
            }
            if is_python_warning(body) {
                // What torch says of CUDA's own start is no mere warning: CUDA is not there.
                return !body.contains("CUDA initialization");
            }
            let code = body.starts_with("  ") && !body.starts_with("   ");
            if code && i != index {
                return false;
            }
        }
        false
    }

    /// The last frame of the traceback that ends with line `index`: `File "...", line N, in FUNCTION`.
    pub fn frame_of(&self, index: usize) -> Option<&str> {
        let process = self.process(index);
        let before = (index.saturating_sub(FRAME_LINES)..index).rev().filter(|i| self.process(*i) == process);
        let mut bodies =
            before.map(|i| self.lines[i].body().trim_start()).take_while(|b| !b.starts_with("Traceback (most recent"));
        bodies.find(|b| b.starts_with("File \""))
    }

    /// The line that stands last.
    pub fn last(&self) -> Option<&LogLine<'l>> {
        self.lines.last()
    }
}

/// Whether a message is a line of a traceback that shows code or a place, not the exception.
fn is_source_code(body: &str) -> bool {
    let indented = body.starts_with("    ") || body.starts_with("  File \"") || body.starts_with("\t");
    indented && !is_nested_exception(body)
}

/// Whether a message is the exception of a traceback that another one quotes: `        RuntimeError: text`.
fn is_nested_exception(body: &str) -> bool {
    let text = body.trim_start();
    let named = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    is_exception(text) && text.split_once(": ").is_some_and(|(name, _)| named(name))
}

/// Whether a process prefix names an API server, not the engine.
fn is_frontend(process: &str) -> bool {
    ["APIServer", "ApiServer", "ServeReplica"].iter().any(|name| process.contains(name))
}

/// Whether the file of `tag` handles requests.
fn is_handler(tag: &str) -> bool {
    tag.starts_with("serving") || tag.contains("tool_parser")
}

/// Whether a message begins a warning of Python's.
fn is_python_warning(body: &str) -> bool {
    let Some((head, _)) = body.split_once("Warning:") else { return false };
    let (place, class) = head.rsplit_once(' ').unwrap_or(("", head));
    class.bytes().all(|b| b.is_ascii_alphanumeric()) && (place.is_empty() || place.contains(".py:"))
}

/// Whether a line shows that the server answers.
fn is_ready(line: &LogLine<'_>) -> bool {
    let body = line.body();
    body.contains("Application startup complete")
        || body.contains("Uvicorn running on ")
        || (line.level == LogLevel::Info
            && (body.contains("Avg prompt throughput: ") || (body.contains("\"POST /v1/") && body.ends_with("200 OK"))))
}

/// Whether a line says that somebody stopped the server.
pub fn stop_sign(line: &LogLine<'_>) -> Option<StopSign> {
    let body = line.body().trim_start();
    let clear = body.contains("[shutdown] API server: shutdown triggered")
        || body.contains("Shutting down FastAPI HTTP server")
        || body.starts_with("KeyboardInterrupt")
        || body.starts_with("raise KeyboardInterrupt")
        || body.starts_with("SystemExit: 15")
        || body == "Terminated"
        || (body.contains(": line ") && body.contains(" Terminated "))
        || body.starts_with("srun: Job step aborted")
        // uvicorn's own word; a dead engine says so before it.
        || (line.level == LogLevel::Info && body == "Shutting down")
        || (body.starts_with("slurmstepd: error: ***") && body.contains("CANCELLED"))
        || (body.contains("eceived")
            && body.contains("SIGTERM")
            && !body.contains("logging.cc")
            && !body.contains("EngineCore"))
        || body.contains("Received signal 15")
        || body.contains("Gracefully stopping...");
    if clear {
        return Some(StopSign::Clear);
    }
    (body.contains("trigger received signal=SIG")).then_some(StopSign::EngineOnly)
}

/// The first position at or behind `at` where a line begins.
fn line_end(text: &str, at: usize) -> usize {
    text.as_bytes()[at..].iter().position(|b| *b == b'\n').map_or(text.len(), |n| at + n + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_boot_is_read_and_line_numbers_stay_true() {
        let log = "INFO 01-01 00:00:01 [a.py:1] vLLM API server version 0.9.1\nCUDA out of memory\nINFO 01-01 00:00:01 [a.py:1] vLLM API server version 0.9.1\nfine\n";
        let view = LogView::new(log);
        let got: Vec<_> = view.lines.iter().map(|l| l.number).collect();
        assert_eq!(got, [3, 4]);
    }

    #[test]
    fn the_middle_of_a_huge_boot_is_left_out() {
        let line = "INFO 01-01 00:00:01 [a.py:1] nothing to see here at all\n";
        let log = line.repeat(200_000) + "the end\n";
        let view = LogView::new(&log);
        assert!(view.lines.len() < 150_000, "{}", view.lines.len());
        assert_eq!(view.last().unwrap().number, 200_001);
    }

    #[test]
    fn a_warning_of_python_s_ends_with_the_code_under_it_and_before_an_exception() {
        let view = LogView::new(
            "/x/cuda/__init__.py:283: UserWarning: \nGPU0 is not compatible\nwith this\n  warnings.warn(\nRuntimeError: real\n\
             /x/a.py:1: FutureWarning: old\nValueError: real\n/x/b.py:9: UserWarning: CUDA initialization: too old\n\
             Error retrieving file list: 429, retrying 1 of 2\n",
        );
        let passing: Vec<bool> = (0..view.lines.len()).map(|i| view.is_in_passing(i)).collect();
        assert_eq!(passing, [true, true, true, true, false, true, false, false, true]);
    }

    #[test]
    fn pieces_of_a_rewritten_line_belong_to_the_process_that_began_it() {
        let view = LogView::new("(EngineCore pid=9) \rLoading: 0%\rLoading: 100%\nfree\n(APIServer pid=1) x\n");
        let processes: Vec<&str> = (0..view.lines.len()).map(|i| view.process(i)).collect();
        assert_eq!(processes[..3], ["(EngineCore pid=9)"; 3]);
        assert_eq!(processes[3..], ["", "(APIServer pid=1)"]);
    }

    #[test]
    fn what_tells_of_one_request_is_known_by_its_file_and_by_uvicorn_s_report() {
        let view = LogView::new(
            "vllm-serving-1  | ERROR 01-01 00:00:00 [core.py:7] a\nERROR 01-01 00:00:00 [serving_engine.py:7] b\n\
             ERROR:    Exception in ASGI application\nTraceback (most recent call last):\nValueError: c\n\
             INFO:     fine\nValueError: d\n",
        );
        let requests: Vec<bool> = (0..view.lines.len()).map(|i| view.is_of_request(i)).collect();
        assert_eq!(requests, [false, true, false, true, true, false, false]);
        assert!(view.is_of_engine(0) && !view.is_of_engine(1));
    }

    #[test]
    fn a_logging_error_is_a_side_effect_and_code_is_not_telling() {
        let view = LogView::new(
            "--- Logging error ---\nOutOfMemoryError: CUDA out of memory\nArguments: ()\nOutOfMemoryError: real\n    raise x\n",
        );
        let telling: Vec<bool> = (0..view.lines.len()).map(|i| view.is_telling(i)).collect();
        assert_eq!(telling, [false, false, false, true, false]);
    }
}

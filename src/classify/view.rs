//! What of a log is judged: the last boot, its head and tail, and the landmarks in it.

use crate::domain::{LogLevel, LogLine, count_lines, last_boot, log_lines};

/// Bytes of a boot's beginning that are read: a start-up, compile output included, is far shorter.
const HEAD_BYTES: usize = 2 << 20;
/// Lines between an exception and its last frame: code, marks under it, and what other processes wrote in between.
const FRAME_LINES: usize = 40;
/// Bytes of a boot's end that are read: the death and what led to it.
const TAIL_BYTES: usize = 4 << 20;

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
    /// First line that shows that it serves.
    pub ready_at: Option<usize>,
    /// First line that says that it was told to stop.
    pub stop_at: Option<usize>,
    /// First line that says that only the engine core was told to stop.
    pub engine_stop_at: Option<usize>,
    /// Whether Ray was asked for more GPUs than there are: waiting again does not help.
    pub lacks_gpus: bool,
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
            ready_at: None,
            stop_at: None,
            engine_stop_at: None,
            lacks_gpus: false,
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
            && !is_source_code(line.body())
            && !self.side_effects.iter().any(|r| r.contains(&index))
    }

    /// The last frame of the traceback that ends with line `index`: `File "...", line N, in FUNCTION`.
    pub fn frame_of(&self, index: usize) -> Option<&str> {
        let process = self.lines.get(index)?.process();
        let before = self.lines[..index].iter().rev().take(FRAME_LINES).filter(|l| l.process() == process);
        let mut bodies = before.map(|l| l.body().trim_start()).take_while(|b| !b.starts_with("Traceback (most recent"));
        bodies.find(|b| b.starts_with("File \""))
    }

    /// The line that stands last.
    pub fn last(&self) -> Option<&LogLine<'l>> {
        self.lines.last()
    }
}

/// Whether a message is a line of a traceback that shows code or a place, not the exception.
fn is_source_code(body: &str) -> bool {
    body.starts_with("    ") || body.starts_with("  File \"") || body.starts_with("\t")
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
    fn a_logging_error_is_a_side_effect_and_code_is_not_telling() {
        let view = LogView::new(
            "--- Logging error ---\nOutOfMemoryError: CUDA out of memory\nArguments: ()\nOutOfMemoryError: real\n    raise x\n",
        );
        let telling: Vec<bool> = (0..view.lines.len()).map(|i| view.is_telling(i)).collect();
        assert_eq!(telling, [false, false, false, true, false]);
    }
}

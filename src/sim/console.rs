//! Where the simulated engine's log goes: vLLM's lines to stdout, Python's and uvicorn's to stderr, or into memory.

use std::io::Write;
#[cfg(test)]
use std::sync::{Arc, Mutex, PoisonError};

/// Which process of vLLM a line pretends to come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    ApiServer,
    EngineCore,
}

/// Severity as vLLM prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Info,
    Warning,
    Error,
}

/// Where lines go.
#[derive(Clone, Debug)]
enum Sink {
    Standard,
    #[cfg(test)]
    Memory(Arc<Mutex<Vec<String>>>),
}

/// The log of one simulated engine.
#[derive(Clone, Debug)]
pub(super) struct Console {
    sink: Sink,
    pid: u32,
}

impl Console {
    /// Writes to the process's own streams.
    pub(super) fn standard() -> Self {
        Self { sink: Sink::Standard, pid: std::process::id() }
    }

    /// Keeps lines in memory, for tests.
    #[cfg(test)]
    pub(super) fn memory() -> Self {
        Self { sink: Sink::Memory(Arc::default()), pid: 1 }
    }

    /// The lines kept so far; empty for the standard console.
    #[cfg(test)]
    pub(super) fn lines(&self) -> Vec<String> {
        match &self.sink {
            Sink::Standard => Vec::new(),
            Sink::Memory(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// The pid that a process's lines show: the engine core is a child of the API server.
    pub(super) fn pid(&self, process: Process) -> u32 {
        match process {
            Process::ApiServer => self.pid,
            Process::EngineCore => self.pid + 117,
        }
    }

    /// One line of vLLM's logger: `(APIServer pid=1) INFO 11-24 02:53:13 [model.py:733] text`.
    pub(super) fn log(&self, process: Process, level: Level, place: &str, text: &str) {
        let level = match level {
            Level::Info => "INFO",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
        };
        let time = jiff::Timestamp::now().strftime("%m-%d %H:%M:%S");
        self.out(&format!("{}{level} {time} [{place}] {text}", self.prefix(process)));
    }

    /// Shorthand for an INFO line.
    pub(super) fn info(&self, process: Process, place: &str, text: &str) {
        self.log(process, Level::Info, place, text);
    }

    /// `(EngineCore pid=118) `.
    pub(super) fn prefix(&self, process: Process) -> String {
        let name = match process {
            Process::ApiServer => "APIServer",
            Process::EngineCore => "EngineCore",
        };
        format!("({name} pid={}) ", self.pid(process))
    }

    /// A line on stdout.
    pub(super) fn out(&self, line: &str) {
        match &self.sink {
            Sink::Standard => {
                // A closed pipe is no reason to stop serving.
                let _ = writeln!(std::io::stdout().lock(), "{line}");
            }
            #[cfg(test)]
            Sink::Memory(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned()),
        }
    }

    /// A line on stderr: progress bars, tracebacks, uvicorn.
    pub(super) fn err(&self, line: &str) {
        match &self.sink {
            Sink::Standard => {
                let _ = writeln!(std::io::stderr().lock(), "{line}");
            }
            #[cfg(test)]
            Sink::Memory(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned()),
        }
    }
}

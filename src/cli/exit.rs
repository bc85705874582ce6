//! Exit codes: documented and stable.

use std::process::ExitCode;

use crate::domain::Diagnostics;

/// How a command ended, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All measured, or the command did what it was asked.
    Ok = 0,
    /// Wrong usage, or a wrong grid or compose file.
    Usage = 1,
    /// The sweep finished, some trials failed.
    SomeFailed = 2,
    /// The sweep finished or stopped, nothing was measured.
    NothingMeasured = 3,
    /// The machine is not ready: daemon, image, GPU, disk, port, mount, restore target.
    Preflight = 4,
    /// A fault of vgrid itself, or of its database.
    Internal = 70,
    /// Interrupted by a signal; what was measured is kept.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command stopped, with the exit code that says so.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Findings about the user's input; exit code 1.
    Input(Diagnostics),
    /// A sentence that says what is wrong and what to do; exit code as given.
    Said(Exit, String),
    /// Something that should not happen; exit code 70.
    Fault(anyhow::Error),
}

impl Stop {
    /// Wrong usage.
    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Self::Said(Exit::Usage, sentence.into())
    }

    /// The machine is not ready.
    pub(crate) fn preflight(sentence: impl Into<String>) -> Self {
        Self::Said(Exit::Preflight, sentence.into())
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Input(_) => Exit::Usage,
            Self::Said(exit, _) => *exit,
            Self::Fault(_) => Exit::Internal,
        }
    }
}

impl From<Diagnostics> for Stop {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Input(diagnostics)
    }
}

impl From<crate::domain::Diagnostic> for Stop {
    fn from(diagnostic: crate::domain::Diagnostic) -> Self {
        Self::Input(diagnostic.into())
    }
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Fault(error)
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Input(diagnostics) => write!(f, "{diagnostics}"),
            Self::Said(_, sentence) => write!(f, "error: {sentence}"),
            Self::Fault(error) => write!(f, "error: {error:#}"),
        }
    }
}

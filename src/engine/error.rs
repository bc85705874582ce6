//! What stops a sweep. A failed trial is none of these: it is a row.

use crate::domain::{Diagnostic, Diagnostics};
use crate::launch::LaunchError;
use crate::store::StoreError;

/// Why a sweep could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Docker or the machine cannot be used.
    #[error("{0}")]
    Launch(LaunchError),
    /// The grid or its files are wrong.
    #[error("{0}")]
    Input(Diagnostics),
    /// What served before was not put back.
    #[error("{0}")]
    Restore(String),
    /// A promotion was not undone, because somebody put something else in its place, which is not touched.
    #[error("{0}")]
    NotUndone(String),
    /// A file of ours cannot be written or read.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was tried, a verb.
        doing: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl From<LaunchError> for EngineError {
    fn from(error: LaunchError) -> Self {
        Self::Launch(error)
    }
}

impl From<Diagnostic> for EngineError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Input(diagnostic.into())
    }
}

impl From<Diagnostics> for EngineError {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Input(diagnostics)
    }
}

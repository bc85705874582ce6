//! What can go wrong with `runs.db`: each a sentence that says what happened, where, and what to do.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::lock::Holder;

/// Why a call on the store failed. Any of these stops a sweep; none of them is a failed trial.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A reading command found no file.
    #[error(
        "no database at {}: nothing was recorded there yet; start a sweep with `vgrid run GRID`, or name another file with --db or VGRID_DB",
        .0.display()
    )]
    Missing(PathBuf),
    /// The file is something else.
    #[error("{} is not a SQLite database; name another file with --db or VGRID_DB, or move this one away", .0.display())]
    NotADatabase(PathBuf),
    /// A SQLite database of another program.
    #[error("{} is a SQLite database, but not one of vgrid; name another file with --db or VGRID_DB", .0.display())]
    Foreign(PathBuf),
    /// The file is damaged.
    #[error(
        "{} is damaged ({detail}); keep a copy, then try `sqlite3 {} .recover | sqlite3 recovered.db` and use --db recovered.db",
        .path.display(), .path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        detail: String,
    },
    /// Written by a newer vgrid.
    #[error(
        "{} has schema version {found}, this vgrid knows up to {known}: a newer vgrid wrote it; use that vgrid, or another file (--db)",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Written by an older vgrid, and a reader does not migrate.
    #[error(
        "{} has the older schema version {found} (this vgrid uses {known}); `vgrid run`, `vgrid resume` or `vgrid restore` on it brings it up to date",
        .path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Somebody holds a write lock for too long.
    #[error(
        "{} is locked by another program (could not {doing} within {} s); close what writes to it (an open transaction in sqlite3?) and try again",
        .path.display(), super::open::BUSY_TIMEOUT.as_secs()
    )]
    Locked {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
    },
    /// No space left.
    #[error(
        "the disk that holds {} is full (could not {doing}); free some space and run the same command again: what was finished is kept",
        .0.display(), doing = .1
    )]
    DiskFull(PathBuf, &'static str),
    /// Not writable.
    #[error("{} cannot be written (could not {doing}): check the permissions of the file and its folder, or name another file with --db", .path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
    },
    /// The file or its folder cannot be opened.
    #[error("cannot open {}: {detail}; check that the folder exists and its permissions, or name another file with --db", .path.display())]
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// The disk failed.
    #[error("the disk that holds {} failed (could not {doing}: {detail}); check the system's log", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// SQLite's words.
        detail: String,
    },
    /// Another vgrid sweeps the same deployment with this database.
    #[error("another vgrid ({holder}) is sweeping this deployment with {}; wait for it, stop it, or look at it with `vgrid status`", .path.display())]
    InUse {
        /// The database.
        path: PathBuf,
        /// Who holds the lock.
        holder: Holder,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {}: {source}; the folder of the database must be writable, on a file system with locks", .path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// A stored value that this vgrid cannot read.
    #[error("cannot {doing} in {}: {detail}; the row was changed by hand, or vgrid has a bug: please report it", .path.display())]
    BadValue {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// Anything else that SQLite says.
    #[error("could not {doing} in {}: {source}", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// SQLite's words.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// Sorts what SQLite says by what the user can do about it.
    pub(super) fn of_sqlite(path: &Path, doing: &'static str, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let detail = error.to_string();
        match &error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::ToSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => Self::BadValue { path, doing, detail },
            _ => match error.sqlite_error_code() {
                Some(ErrorCode::NotADatabase) => Self::NotADatabase(path),
                Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt { path, detail },
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path, doing },
                Some(ErrorCode::DiskFull) => Self::DiskFull(path, doing),
                Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly { path, doing },
                Some(ErrorCode::CannotOpen) => Self::CannotOpen { path, detail },
                Some(ErrorCode::SystemIoFailure) => match error.sqlite_error().map(|e| e.extended_code) {
                    // The log's index could not grow: so a full disk shows when the file is opened.
                    Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => Self::DiskFull(path, doing),
                    Some(_) | None => Self::Io { path, doing, detail },
                },
                _ => Self::Sqlite { path, doing, source: error },
            },
        }
    }
}

//! Opening `runs.db`: for the one writer, and for readers that never block it.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::migrate::{APPLICATION_ID, migrate, newest_version};
use super::{Store, StoreError};

/// How long a call waits for another program's write lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two tries of what does not wait by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Statements that are kept compiled: more than any command has, for whoever looks at every trial asks the same of each.
const STATEMENTS: usize = 64;

impl Store {
    /// Opens `path` for writing; creates it, and brings its schema up to date.
    ///
    /// # Errors
    /// The file is no database of vgrid, is newer than this vgrid, is damaged, locked, or cannot be written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        const DOING: &str = "open the database";
        let explain = |error| StoreError::of_sqlite(path, DOING, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        refuse_folder(path)?;
        let mut conn = Connection::open_with_flags(path, flags).map_err(explain)?;
        conn.busy_timeout(BUSY_TIMEOUT).map_err(explain)?;
        check_identity(&conn, path, true)?;
        patiently(|| conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))).map_err(explain)?;
        conn.pragma_update(None, "synchronous", "full").map_err(explain)?;
        conn.pragma_update(None, "foreign_keys", true).map_err(explain)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        migrate(&mut conn).map_err(explain)?;
        Ok(Self { conn, path: path.to_owned() })
    }

    /// Opens `path` as it must already be, for a command that goes on to write: an older database is brought up to date, one that is
    /// not there is not made.
    ///
    /// # Errors
    /// There is no such file, and as [`Store::open`].
    pub fn open_existing(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing(path.to_owned()));
        }
        Self::open(path)
    }

    /// Opens `path` for reading. Readers see the newest committed state, never block the writer, and are never blocked by it.
    ///
    /// # Errors
    /// There is no such file, it is no database of vgrid, its schema is older or newer than this vgrid's, or it is damaged.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing(path.to_owned()));
        }
        refuse_folder(path)?;
        let store = match Self::reader(path, false) {
            // A write-ahead log cannot be opened in a folder that is not writable. Without a log nobody writes either, and
            // the file itself is everything.
            Err(StoreError::CannotOpen { .. } | StoreError::ReadOnly { .. }) if !has_log(path) => {
                Self::reader(path, true)?
            }
            other => other?,
        };
        let version = user_version(&store.conn).map_err(store.explain("read the schema version"))?;
        if version < newest_version() {
            return Err(StoreError::Older { path: path.to_owned(), found: version, known: newest_version() });
        }
        Ok(store)
    }

    pub(super) fn reader(path: &Path, immutable: bool) -> Result<Self, StoreError> {
        let explain = |error| StoreError::of_sqlite(path, "open the database", error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = if immutable {
            let uri = format!("file:{}?immutable=1", percent_encoded(path));
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
        } else {
            Connection::open_with_flags(path, flags)
        }
        .map_err(explain)?;
        conn.busy_timeout(BUSY_TIMEOUT).map_err(explain)?;
        conn.pragma_update(None, "query_only", true).map_err(explain)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        check_identity(&conn, path, false)?;
        Ok(Self { conn, path: path.to_owned() })
    }
}

fn refuse_folder(path: &Path) -> Result<(), StoreError> {
    let cannot = |detail: &str| Err(StoreError::CannotOpen { path: path.to_owned(), detail: detail.to_owned() });
    if path.is_dir() {
        return cannot("it is a folder");
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => cannot("its folder does not exist"),
        Some(_) | None => Ok(()),
    }
}

/// Repeats what SQLite refuses as busy without waiting by itself: switching a new file to write-ahead logging needs the file
/// alone, and its busy handler is not asked (sqlite.org/pragma.html#pragma_journal_mode).
fn patiently<T>(mut attempt: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match attempt() {
            Err(error) if is_busy(&error) && Instant::now() < deadline => std::thread::sleep(BUSY_PAUSE),
            other => return other,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

pub(super) fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(Path::new(&log)).is_ok_and(|m| m.len() > 0)
}

fn percent_encoded(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes().iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => text.push(char::from(*byte)),
            other => {
                // Writing to a String does not fail.
                let _ = write!(text, "%{other:02X}");
            }
        }
        text
    })
}

fn user_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Refuses files of other programs and of newer vgrids. Reading the header is also what finds out that a file is no database.
fn check_identity(conn: &Connection, path: &Path, may_be_empty: bool) -> Result<(), StoreError> {
    let explain = |error| StoreError::of_sqlite(path, "read the schema version", error);
    let version = user_version(conn).map_err(explain)?;
    let id: i64 = conn.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(explain)?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(explain)?;
    if id != APPLICATION_ID && (tables > 0 || version != 0) {
        return Err(StoreError::Foreign(path.to_owned()));
    }
    if tables == 0 && !may_be_empty {
        return Err(StoreError::Missing(path.to_owned()));
    }
    if version > newest_version() {
        return Err(StoreError::Newer { path: path.to_owned(), found: version, known: newest_version() });
    }
    Ok(())
}

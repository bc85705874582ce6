//! Files that a promotion writes: each with a dated backup of what it overwrites, each of which can be undone.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::sha256;

use super::super::EngineError;

/// One file that is written, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileChange {
    /// The file, absolute.
    pub(crate) path: PathBuf,
    /// Where what it held before is kept; None when it did not exist.
    pub(crate) backup: Option<PathBuf>,
    /// SHA-256 of what is written, hexadecimal.
    pub(crate) sha256: String,
}

/// What undoing a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undone {
    /// The file holds again what it held before, or is gone again.
    AsBefore,
    /// Somebody changed the file since, so it is left alone.
    ChangedSince,
}

impl FileChange {
    /// What writing `text` to `path` means; None when it holds that text already. `stamp` dates the backup.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub(super) fn plan(path: &Path, text: &str, stamp: &str) -> Result<Option<Self>, EngineError> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let before = read(&path)?;
        if before.as_deref() == Some(text.as_bytes()) {
            return Ok(None);
        }
        let backup = before.map(|_| free_name(&path, stamp));
        Ok(Some(Self { path, backup, sha256: sha256(&[text.as_bytes()]) }))
    }

    /// Keeps what is there and writes `text`; after a kill the file holds either, whole.
    pub(super) fn write(&self, text: &str) -> Result<(), EngineError> {
        if let (Some(backup), Some(before)) = (&self.backup, read(&self.path)?) {
            replace(backup, &before, &self.path)?;
        }
        replace(&self.path, text.as_bytes(), &self.path)
    }

    /// Undoes it. Idempotent, and right also when the write was cut short at any point.
    pub(super) fn undo(&self) -> Result<Undone, EngineError> {
        let now = read(&self.path)?;
        let ours = now.as_deref().is_some_and(|bytes| sha256(&[bytes]) == self.sha256);
        let kept = match &self.backup {
            Some(backup) => read(backup)?.map(|bytes| (backup, bytes)),
            None => None,
        };
        match kept {
            Some((backup, before)) if ours || now.is_none() || now.as_ref() == Some(&before) => {
                replace(&self.path, &before, backup)?;
                remove(backup)?;
                Ok(Undone::AsBefore)
            }
            Some(_) => Ok(Undone::ChangedSince),
            None if self.backup.is_none() && ours => {
                remove(&self.path)?;
                Ok(Undone::AsBefore)
            }
            // Nothing was written yet, or it was undone before.
            None if now.is_none() || self.backup.is_some() => Ok(Undone::AsBefore),
            None => Ok(Undone::ChangedSince),
        }
    }
}

/// `champion.yml.20261124T070000.bak`, or with a number behind it where that is taken.
fn free_name(path: &Path, stamp: &str) -> PathBuf {
    let name = |suffix: String| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{stamp}{suffix}.bak"));
        PathBuf::from(name)
    };
    let taken = |path: &PathBuf| path.symlink_metadata().is_ok();
    let first = name(String::new());
    if !taken(&first) {
        return first;
    }
    (2..).map(|n| name(format!("-{n}"))).find(|path| !taken(path)).unwrap_or(first)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, EngineError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(EngineError::File { doing: "read", path: path.to_owned(), source }),
    }
}

/// Puts a whole file in the place of what is there, with the permissions of `like`: the backup of an env file that only its owner may read is
/// read by its owner alone, too.
fn replace(path: &Path, bytes: &[u8], like: &Path) -> Result<(), EngineError> {
    use std::io::Write;
    let failed = |source| EngineError::File { doing: "write", path: path.to_owned(), source };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    let mode = std::fs::metadata(like).map(|m| m.permissions()).unwrap_or_else(|_| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::Permissions::from_mode(0o644)
    });
    file.as_file().set_permissions(mode).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

fn remove(path: &Path) -> Result<(), EngineError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(EngineError::File { doing: "remove", path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> Option<String> {
        std::fs::read_to_string(path).ok()
    }

    #[test]
    fn the_backup_of_a_file_that_only_its_owner_may_read_is_read_by_nobody_else() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        std::fs::write(&path, "HF_TOKEN=t\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let change = FileChange::plan(&path, "HF_TOKEN=t\nSEQS=8\n", "d").unwrap().unwrap();
        change.write("HF_TOKEN=t\nSEQS=8\n").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(change.backup.as_ref().unwrap())), (0o600, 0o600));
        change.undo().unwrap();
        assert_eq!((mode(&path), text(&path).as_deref()), (0o600, Some("HF_TOKEN=t\n")));
    }

    #[test]
    fn a_file_that_was_overwritten_comes_back_from_its_dated_backup() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("champion.yml");
        std::fs::write(&path, "old").unwrap();
        assert_eq!(FileChange::plan(&path, "old", "d").unwrap(), None);
        let change = FileChange::plan(&path, "new", "20261124T070000").unwrap().unwrap();
        change.write("new").unwrap();
        let backup = folder.path().join("champion.yml.20261124T070000.bak");
        assert_eq!((text(&path).as_deref(), text(&backup).as_deref()), (Some("new"), Some("old")));
        for _ in 0..2 {
            assert_eq!(change.undo().unwrap(), Undone::AsBefore);
            assert_eq!((text(&path).as_deref(), text(&backup)), (Some("old"), None));
        }
    }

    #[test]
    fn a_file_that_was_not_there_is_gone_again_and_one_that_was_edited_since_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("champion.yml");
        let change = FileChange::plan(&path, "new", "d").unwrap().unwrap();
        // A write that never came is nothing to undo.
        assert_eq!(change.undo().unwrap(), Undone::AsBefore);
        change.write("new").unwrap();
        std::fs::write(&path, "edited").unwrap();
        assert_eq!(change.undo().unwrap(), Undone::ChangedSince);
        assert_eq!(text(&path).as_deref(), Some("edited"));
        std::fs::write(&path, "new").unwrap();
        assert_eq!(change.undo().unwrap(), Undone::AsBefore);
        assert_eq!(text(&path), None);
    }

    #[test]
    fn a_write_cut_short_between_backup_and_file_is_undone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("champion.yml");
        std::fs::write(&path, "old").unwrap();
        let change = FileChange::plan(&path, "new", "d").unwrap().unwrap();
        std::fs::write(change.backup.as_ref().unwrap(), "old").unwrap();
        assert_eq!(change.undo().unwrap(), Undone::AsBefore);
        assert_eq!(text(&path).as_deref(), Some("old"));
    }
}

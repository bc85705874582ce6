//! The machine lock: at most one living vgrid per deployment on this machine, whatever its database and whoever runs it.
//!
//! Like [`super::SweepLock`] an advisory lock of the operating system that goes with its process. It stands in a folder that all users
//! share, so two users, or two databases of one user, who sweep the same deployment meet here.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::StoreError;
use super::lock::{Holder, Living, take};
use super::rows::now;

/// Folders that are the same for every user and process of a machine and empty after a boot, best first.
const SHARED: [&str; 3] = ["/run/lock", "/dev/shm", "/tmp"];

/// World-writable with the sticky bit, as such a folder must be.
const STICKY_FOR_ALL: u32 = 0o1777;

/// The lock, held until it is dropped or the process ends. The file stays; only the lock on it counts.
#[derive(Debug)]
pub struct MachineLock(File);

impl Drop for MachineLock {
    fn drop(&mut self) {
        // An empty file takes no room in a folder in memory. A failure changes nothing, the lock goes with the file handle.
        let _ = self.0.set_len(0);
        // As in `SweepLock`: a child process that is just being started has the file open, too.
        let _ = self.0.unlock();
    }
}

impl MachineLock {
    /// Takes the lock of `deployment`, its server included (`compose p/s at unix:///var/run/docker.sock`); `database` is told to
    /// whoever comes second.
    ///
    /// # Errors
    /// [`StoreError::InUse`] with the holder and its database; [`StoreError::Lock`] when the file cannot be made or locked.
    pub fn acquire(deployment: &str, database: &Path) -> Result<Self, StoreError> {
        Self::acquire_in(&shared_folder(), deployment, database)
    }

    fn acquire_in(folder: &Path, deployment: &str, database: &Path) -> Result<Self, StoreError> {
        let digest = crate::domain::ConfigKey::of(deployment.as_bytes());
        let path = folder.join(format!("vgrid-{digest}.lock"));
        let failed = |source| StoreError::Lock { path: path.clone(), source };
        let mut file = open(&path).map_err(failed)?;
        if let Err(holder) = take(&mut file).map_err(failed)? {
            let mut text = String::new();
            // Where it cannot be read it is not named.
            let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
            let theirs = text.lines().nth(Holder::LINES).unwrap_or("another database");
            return Err(StoreError::InUse { path: PathBuf::from(theirs), holder });
        }
        let database = std::path::absolute(database).unwrap_or_else(|_| database.to_owned());
        let text = format!("{}{}\n{deployment}\n", Holder::lines(&now(), Living::this()), database.display());
        // Another user's file holds the lock and cannot be written; the second to come is then told of no process.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes()));
        Ok(Self(file))
    }
}

/// Opens the file without following a link that somebody may have put there; makes it for everybody when it is not there.
fn open(path: &Path) -> std::io::Result<File> {
    let options = |write: bool| {
        let mut options = OpenOptions::new();
        options.read(true).write(write).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        options
    };
    // Without O_CREAT first: the kernel refuses it on another user's file in a shared folder (fs.protected_regular).
    for write in [true, false] {
        match options(write).open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let file = options(true).create(true).truncate(false).open(path)?;
                // For users to come; the creator alone may do it.
                let _ = file.set_permissions(std::fs::Permissions::from_mode(0o666));
                return Ok(file);
            }
            Err(error) if write && error.kind() == std::io::ErrorKind::PermissionDenied => {}
            other => return other,
        }
    }
    Err(std::io::ErrorKind::PermissionDenied.into())
}

/// The first folder that every user may write, so that all choose the same.
fn shared_folder() -> PathBuf {
    let shared = SHARED.iter().map(Path::new).find(|folder| {
        std::fs::metadata(folder)
            .is_ok_and(|meta| meta.is_dir() && meta.permissions().mode() & 0o7777 == STICKY_FOR_ALL)
    });
    shared.map_or_else(std::env::temp_dir, Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_databases_on_one_deployment_meet_and_other_deployments_are_free() {
        let folder = tempfile::tempdir().unwrap();
        let held = MachineLock::acquire_in(folder.path(), "compose p/vllm", Path::new("/data/one.db")).unwrap();
        let error = MachineLock::acquire_in(folder.path(), "compose p/vllm", Path::new("/data/two.db")).unwrap_err();
        let told = error.to_string();
        assert!(told.contains(&format!("process {}", std::process::id())) && told.contains("/data/one.db"), "{told}");
        assert!(MachineLock::acquire_in(folder.path(), "compose q/vllm", Path::new("/data/two.db")).is_ok());
        drop(held);
        assert!(MachineLock::acquire_in(folder.path(), "compose p/vllm", Path::new("/data/two.db")).is_ok());
    }

    #[test]
    fn a_link_in_the_shared_folder_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let precious = folder.path().join("precious");
        std::fs::write(&precious, "data").unwrap();
        let name = format!("vgrid-{}.lock", crate::domain::ConfigKey::of(b"d"));
        std::os::unix::fs::symlink(&precious, folder.path().join(name)).unwrap();
        assert!(MachineLock::acquire_in(folder.path(), "d", Path::new("x.db")).is_err());
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "data");
    }

    #[test]
    fn a_file_that_another_user_made_locks_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("vgrid-{}.lock", crate::domain::ConfigKey::of(b"d")));
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
        let held = MachineLock::acquire_in(folder.path(), "d", Path::new("x.db")).unwrap();
        assert!(MachineLock::acquire_in(folder.path(), "d", Path::new("y.db")).is_err());
        drop(held);
    }
}

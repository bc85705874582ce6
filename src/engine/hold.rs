//! Who may change a deployment: one vgrid at a time, in its database and on its machine.

use std::path::Path;

use crate::launch::DockerLauncher;
use crate::store::{MachineLock, StoreError, SweepLock};

/// A deployment that is ours alone until this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Hold {
    in_database: SweepLock,
    _on_machine: MachineLock,
}

impl Hold {
    /// Takes a deployment, or says which process has it; `docker` is the daemon that runs it, none for a local process.
    ///
    /// # Errors
    /// [`StoreError::InUse`] with the holder; [`StoreError::Lock`] when a lock file cannot be made or locked.
    pub(crate) fn take(db: &Path, deployment: &str, docker: Option<&DockerLauncher>) -> Result<Self, StoreError> {
        let in_database = SweepLock::acquire(db, deployment)?;
        let server = docker.map_or_else(|| deployment.to_owned(), |d| format!("{deployment} at {}", d.address()));
        Ok(Self { in_database, _on_machine: MachineLock::acquire(&server, db)? })
    }

    /// The lock of the database, which proves that its open attempts on this deployment are nobody's.
    pub(crate) const fn in_database(&self) -> &SweepLock {
        &self.in_database
    }
}

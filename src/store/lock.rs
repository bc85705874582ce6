//! The sweep lock: at most one living vgrid per database and deployment.
//!
//! An advisory lock of the operating system on a file beside the database. It goes when its process goes, however that ends, so
//! holding it proves that every open attempt of this deployment in this database belongs to a dead process. Two databases
//! do not know of each other here; [`super::MachineLock`] does.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::StoreError;
use super::rows::now;

/// A vgrid that is killed while it starts a process leaves a copy of its lock with that process until the process has begun: a
/// moment. The lock of a dead holder is waited for no longer than this.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// Between two looks at such a lock.
const LOOK: Duration = Duration::from_millis(10);

/// Who holds, or last held, a sweep lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id; None when the lock file does not say.
    pub pid: Option<u32>,
    /// When it took the lock, RFC 3339, UTC.
    pub since: Option<String>,
    /// Which process of that number it was.
    living: Option<Living>,
}

/// What tells a process from a later one that got the same number: the boot of the machine, and when the process started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Living {
    boot_id: String,
    start_ticks: u64,
}

impl Living {
    /// The process of this number, when there is one and the system tells.
    fn of(pid: u32) -> Option<Self> {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        Some(Self { boot_id, start_ticks: state_and_start_ticks(pid)?.1 })
    }

    /// This process.
    pub(super) fn this() -> Option<Self> {
        Self::of(std::process::id())
    }
}

impl Holder {
    /// How many lines of a lock file [`Self::lines`] are.
    pub(super) const LINES: usize = 3;

    /// What this process writes into a lock file about itself.
    pub(super) fn lines(since: &str, living: Option<Living>) -> String {
        let living = living.map(|l| format!("{} {}", l.boot_id, l.start_ticks)).unwrap_or_default();
        format!("{}\n{since}\n{living}\n", std::process::id())
    }

    /// What a lock file says of its holder; a file that says nothing is of an unknown one.
    pub(super) fn read(text: &str) -> Self {
        let mut lines = text.lines();
        let pid = lines.next().and_then(|l| l.parse().ok());
        let since = lines.next().map(str::to_owned);
        let living = lines.next().and_then(|l| {
            let (boot_id, start) = l.split_once(' ')?;
            Some(Living { boot_id: boot_id.to_owned(), start_ticks: start.parse().ok()? })
        });
        Self { pid, since, living }
    }

    /// Whether the process that wrote this is there no more: its number is free, or another process has it now.
    fn is_dead(&self) -> bool {
        let Some(pid) = self.pid else { return false };
        !is_alive(pid) || self.living.as_ref().is_some_and(|then| Living::of(pid).is_some_and(|now| now != *then))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, &self.since) {
            (Some(pid), Some(since)) => write!(f, "process {pid}, since {since}"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (None, Some(_) | None) => write!(f, "process unknown"),
        }
    }
}

/// The lock, held until it is dropped or the process ends. The file stays; only the lock on it counts.
#[derive(Debug)]
pub struct SweepLock {
    file: File,
    deployment: String,
    died_before: AtomicBool,
}

impl SweepLock {
    /// Takes the lock of `deployment` (the identity that is stored with a sweep) for the database at `path`, or says who holds it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another vgrid holds it; [`StoreError::Lock`] when the file cannot be made or locked.
    pub fn acquire(path: &Path, deployment: &str) -> Result<Self, StoreError> {
        let lock_path = lock_path(path, deployment);
        let failed = |source| StoreError::Lock { path: lock_path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&lock_path).map_err(failed)?;
        match take(&mut file).map_err(failed)? {
            Ok(()) => {}
            Err(holder) => return Err(StoreError::InUse { path: path.to_owned(), holder }),
        }
        let died_before = AtomicBool::new(holder_in(&mut file).pid.is_some());
        let text = format!("{}{deployment}\n", Holder::lines(&now(), Living::this()));
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes())).map_err(failed)?;
        Ok(Self { file, deployment: deployment.to_owned(), died_before })
    }

    /// Who holds the lock now, for `status`; `None` when nobody does.
    #[must_use]
    pub fn holder(path: &Path, deployment: &str) -> Option<Holder> {
        let mut file = File::open(lock_path(path, deployment)).ok()?;
        let holder = holder_in(&mut file);
        // The holder empties the file when it ends in order; after a kill the process is gone. Probing the lock itself could
        // make a vgrid that starts at this moment believe that it is taken.
        (holder.pid.is_some() && !holder.is_dead()).then_some(holder)
    }

    /// Whether a holder before this one was killed, or the machine went down, and what it left open is not closed yet: one that ends
    /// in order empties the file.
    pub(super) fn died_before(&self) -> bool {
        self.died_before.load(Ordering::Relaxed)
    }

    /// What dead holders left open is closed.
    pub(super) fn settled(&self) {
        self.died_before.store(false, Ordering::Relaxed);
    }

    /// The deployment that is locked.
    #[must_use]
    pub fn deployment(&self) -> &str {
        &self.deployment
    }
}

impl Drop for SweepLock {
    fn drop(&mut self) {
        // Tells readers and the next holder. A failure changes nothing, the lock goes with the file handle. What a dead holder left
        // open stays to be seen by whoever closes it.
        if !self.died_before() {
            let _ = self.file.set_len(0);
        }
        // A child process that another thread starts at this moment has the file open until it runs its own program.
        let _ = self.file.unlock();
    }
}

/// Whether a process runs. One that was killed and whose parent has not asked for its end yet (a zombie) does not: it holds nothing
/// any more.
fn is_alive(pid: u32) -> bool {
    state_and_start_ticks(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// From `/proc/PID/stat`, see proc(5): the name in parentheses may hold any character; the state is the first field behind it, the
/// start, in clock ticks after the boot, the 20th.
fn state_and_start_ticks(pid: u32) -> Option<(char, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Locks the file, or says who holds it.
pub(super) fn take(file: &mut File) -> std::io::Result<Result<(), Holder>> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Ok(())),
            Err(TryLockError::WouldBlock) => {
                let holder = holder_in(file);
                if !holder.is_dead() || began.elapsed() > LAST_BREATH {
                    return Ok(Err(holder));
                }
                std::thread::sleep(LOOK);
            }
            Err(TryLockError::Error(source)) => return Err(source),
        }
    }
}

fn holder_in(file: &mut File) -> Holder {
    let mut text = String::new();
    // An unreadable holder is an unknown holder.
    let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
    Holder::read(&text)
}

/// `runs.db-<hash of the deployment>.lock`: covered by the `runs.db-*` that users already ignore for the write-ahead log.
fn lock_path(database: &Path, deployment: &str) -> PathBuf {
    let digest = crate::domain::ConfigKey::of(deployment.as_bytes());
    let mut name = database.as_os_str().to_owned();
    name.push(format!("-{}.lock", digest.0.get(..8).unwrap_or_default()));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_vgrid_on_the_same_deployment_is_told_who_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("runs.db");
        let held = SweepLock::acquire(&db, "host/vllm").unwrap();
        let error = SweepLock::acquire(&db, "host/vllm").unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        assert_eq!(SweepLock::holder(&db, "host/vllm").unwrap().pid, Some(std::process::id()));
        assert!(SweepLock::acquire(&db, "host/other").is_ok(), "another deployment is free");
        drop(held);
        assert_eq!(SweepLock::holder(&db, "host/vllm"), None);
        assert!(SweepLock::acquire(&db, "host/vllm").is_ok(), "the lock goes with its holder");
    }

    #[test]
    fn a_lock_file_left_by_a_dead_process_does_not_lock() {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("runs.db");
        std::fs::write(lock_path(&db, "d"), "4294967294\n2026-01-01T00:00:00Z\nd\n").unwrap();
        assert_eq!(SweepLock::holder(&db, "d"), None);
        assert!(SweepLock::acquire(&db, "d").is_ok());
    }

    #[test]
    fn a_death_is_seen_until_what_it_left_open_is_closed_and_an_end_in_order_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("runs.db");
        assert!(!SweepLock::acquire(&db, "d").unwrap().died_before());
        std::fs::write(lock_path(&db, "d"), "4294967294\n2026-01-01T00:00:00Z\nd\n").unwrap();
        assert!(SweepLock::acquire(&db, "d").unwrap().died_before());
        let lock = SweepLock::acquire(&db, "d").unwrap();
        assert!(lock.died_before(), "the one before closed nothing");
        lock.settled();
        drop(lock);
        assert!(!SweepLock::acquire(&db, "d").unwrap().died_before());
    }

    #[test]
    fn a_killed_process_that_nobody_asked_for_its_end_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("runs.db");
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        std::fs::write(lock_path(&db, "d"), format!("{}\n2026-01-01T00:00:00Z\nd\n", child.id())).unwrap();
        assert_eq!(SweepLock::holder(&db, "d").unwrap().pid, Some(child.id()));
        child.kill().unwrap();
        let began = Instant::now();
        while SweepLock::holder(&db, "d").is_some() {
            assert!(began.elapsed() < Duration::from_secs(60), "a zombie counts as alive");
            std::thread::yield_now();
        }
        assert!(Path::new("/proc").join(child.id().to_string()).exists(), "its end was not asked for");
        child.wait().unwrap();
    }

    #[test]
    fn a_later_process_with_the_number_of_a_dead_holder_is_not_taken_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("runs.db");
        let us = Living::this().unwrap();
        let earlier = Living { start_ticks: us.start_ticks - 1, ..us.clone() };
        let before_the_boot = Living { boot_id: "another".to_owned(), ..us.clone() };
        for (who, is_us) in [(earlier, false), (before_the_boot, false), (us, true)] {
            let text = format!("{}d\n", Holder::lines("2026-01-01T00:00:00Z", Some(who.clone())));
            std::fs::write(lock_path(&db, "d"), text).unwrap();
            assert_eq!(SweepLock::holder(&db, "d").is_some(), is_us, "{who:?}");
        }
        // Written by a vgrid that did not tell them apart yet: the number alone counts.
        std::fs::write(lock_path(&db, "d"), format!("{}\n2026-01-01T00:00:00Z\nd\n", std::process::id())).unwrap();
        assert!(SweepLock::holder(&db, "d").is_some());
    }
}

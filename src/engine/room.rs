//! Room on the disks: looked at before each start, so that no trial takes what the database, Docker and production need.

use std::path::PathBuf;

use crate::domain::reading::bytes;
use crate::launch;

/// Free space below which a night's logs and database may not fit.
pub(super) const LEAST_FREE_BYTES: u64 = 1 << 30;

/// The file systems that a night writes to, and what an attempt took of each.
#[derive(Debug, Default)]
pub(super) struct Room {
    disks: Vec<Disk>,
}

#[derive(Debug)]
struct Disk {
    folder: PathBuf,
    what_for: &'static str,
    /// At the last look; None before it, or where the system does not say.
    free_bytes: Option<u64>,
    /// The most that became less from one start to the next.
    grew_bytes: u64,
}

impl Room {
    /// Of these folders, each with what it is for.
    pub(super) fn of(folders: impl IntoIterator<Item = (PathBuf, &'static str)>) -> Self {
        let disk = |(folder, what_for)| Disk { folder, what_for, free_bytes: None, grew_bytes: 0 };
        Self { disks: folders.into_iter().map(disk).collect() }
    }

    /// Why there is too little room for another start, if so.
    pub(super) fn lacks(&mut self) -> Option<String> {
        let free: Vec<_> = self.disks.iter().map(|disk| launch::free_bytes(&disk.folder)).collect();
        self.disks.iter_mut().zip(free).filter_map(|(disk, free)| disk.lacks(free?)).next()
    }
}

impl Disk {
    fn lacks(&mut self, free_bytes: u64) -> Option<String> {
        if let Some(before) = self.free_bytes.replace(free_bytes) {
            self.grew_bytes = self.grew_bytes.max(before.saturating_sub(free_bytes));
        }
        let least = LEAST_FREE_BYTES.max(self.grew_bytes.saturating_mul(2));
        let size = |n: u64| bytes(n as f64);
        (free_bytes < least).then(|| {
            format!(
                "only {} are free in {} for {}, and a trial took up to {} so far: free at least {}",
                size(free_bytes),
                self.folder.display(),
                self.what_for,
                size(self.grew_bytes),
                size(least)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn room_is_a_gib_or_twice_what_the_largest_attempt_took() {
        let mut disk = Disk { folder: "/srv".into(), what_for: "logs", free_bytes: None, grew_bytes: 0 };
        assert_eq!(disk.lacks(10 * GIB), None);
        assert_eq!(disk.lacks(7 * GIB), None, "it took 3 GiB, and 7 are left");
        assert_eq!(disk.lacks(9 * GIB), None, "somebody made room");
        let why = disk.lacks(5 * GIB).unwrap();
        assert!(why.contains("only 5 GiB are free in /srv for logs") && why.contains("at least 8 GiB"), "{why}");
        let mut small = Disk { folder: "/srv".into(), what_for: "logs", free_bytes: None, grew_bytes: 0 };
        assert!(small.lacks(GIB - 1).is_some(), "also before the first start");
    }
}

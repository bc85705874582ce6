//! Room on the disks: looked at before each start and beside it, so that no trial takes what the database, Docker and production need.

use std::path::PathBuf;
use std::time::Duration;

use crate::domain::reading::bytes;
use crate::launch;

/// Free space below which a night's logs and database may not fit.
pub(super) const LEAST_FREE_BYTES: u64 = 1 << 30;

/// How often the disks are looked at while a trial runs: what its container wrote is gone with it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    /// The most that an attempt took while it ran, given back or not.
    peak_bytes: u64,
}

impl Room {
    /// Of these folders, each with what it is for.
    pub(super) fn of(folders: impl IntoIterator<Item = (PathBuf, &'static str)>) -> Self {
        let disk = |(folder, what_for)| Disk { folder, what_for, free_bytes: None, grew_bytes: 0, peak_bytes: 0 };
        Self { disks: folders.into_iter().map(disk).collect() }
    }

    /// Carries an attempt out, and notes the most that it takes meanwhile.
    pub(super) async fn watch<T>(&mut self, attempt: impl Future<Output = T>) -> T {
        let mut attempt = std::pin::pin!(attempt);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                done = &mut attempt => return done,
                _ = looks.tick() => self.look(),
            }
        }
    }

    fn look(&mut self) {
        for disk in &mut self.disks {
            if let Some(free_bytes) = launch::free_bytes(&disk.folder) {
                disk.look(free_bytes);
            }
        }
    }

    /// Why there is too little room for another start, if so.
    pub(super) fn lacks(&mut self) -> Option<String> {
        let free: Vec<_> = self.disks.iter().map(|disk| launch::free_bytes(&disk.folder)).collect();
        self.disks.iter_mut().zip(free).filter_map(|(disk, free)| disk.lacks(free?)).next()
    }
}

impl Disk {
    fn look(&mut self, free_bytes: u64) {
        self.peak_bytes = self.peak_bytes.max(self.free_bytes.map_or(0, |before| before.saturating_sub(free_bytes)));
    }

    fn lacks(&mut self, free_bytes: u64) -> Option<String> {
        if let Some(before) = self.free_bytes.replace(free_bytes) {
            self.grew_bytes = self.grew_bytes.max(before.saturating_sub(free_bytes));
        }
        // What a trial leaves adds up, what it gives back does not.
        let least = LEAST_FREE_BYTES.saturating_add(self.peak_bytes).max(self.grew_bytes.saturating_mul(2));
        let size = |n: u64| bytes(n as f64);
        (free_bytes < least).then(|| {
            format!(
                "only {} are free in {} for {}, and a trial took up to {} so far: free at least {}",
                size(free_bytes),
                self.folder.display(),
                self.what_for,
                size(self.grew_bytes.max(self.peak_bytes)),
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
    fn room_is_a_gib_and_what_an_attempt_took_meanwhile_or_twice_what_it_left() {
        let mut disk = Disk { folder: "/srv".into(), what_for: "logs", free_bytes: None, grew_bytes: 0, peak_bytes: 0 };
        assert_eq!(disk.lacks(10 * GIB), None);
        assert_eq!(disk.lacks(7 * GIB), None, "it took 3 GiB, and 7 are left");
        assert_eq!(disk.lacks(9 * GIB), None, "somebody made room");
        let why = disk.lacks(5 * GIB).unwrap();
        assert!(why.contains("only 5 GiB are free in /srv for logs") && why.contains("at least 8 GiB"), "{why}");
        let mut cached =
            Disk { folder: "/srv".into(), what_for: "logs", free_bytes: None, grew_bytes: 0, peak_bytes: 0 };
        assert_eq!(cached.lacks(20 * GIB), None);
        cached.look(6 * GIB);
        cached.look(16 * GIB);
        assert_eq!(cached.lacks(20 * GIB), None, "what a trial took and gave back must fit once");
        let why = cached.lacks(14 * GIB).unwrap();
        assert!(why.contains("a trial took up to 14 GiB so far: free at least 15 GiB"), "{why}");
        let mut small =
            Disk { folder: "/srv".into(), what_for: "logs", free_bytes: None, grew_bytes: 0, peak_bytes: 0 };
        assert!(small.lacks(GIB - 1).is_some(), "also before the first start");
    }
}

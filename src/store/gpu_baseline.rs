//! What the GPUs held before the first trial of a sweep: kept, so that a continued sweep does not take a stranger's memory for given.

use std::collections::BTreeMap;

use rusqlite::params;

use super::rows::{all, now};
use super::sweep::boot_id;
use super::{Store, StoreError};
use crate::domain::SweepId;

impl Store {
    /// Notes the memory in use of GPUs, by identity; what is known of this boot stays where it is less.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn save_gpu_baseline(
        &mut self,
        sweep: SweepId,
        in_use_bytes: &BTreeMap<String, f64>,
    ) -> Result<(), StoreError> {
        let explain = self.explain("note what the GPUs hold");
        self.write(|tx| {
            let mut insert = tx.prepare_cached(
                "INSERT INTO gpu_baseline (sweep_id, boot_id, gpu, in_use_bytes, noted_at) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET in_use_bytes = min(in_use_bytes, excluded.in_use_bytes)",
            )?;
            for (gpu, bytes) in in_use_bytes {
                insert.execute(params![sweep.0, boot_id(), gpu, bytes, now()])?;
            }
            Ok(())
        })
        .map_err(explain)
    }

    /// What was noted since this machine was started; a boot changes what a desktop holds.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn gpu_baseline(&self, sweep: SweepId) -> Result<BTreeMap<String, f64>, StoreError> {
        self.conn
            .prepare_cached("SELECT gpu, in_use_bytes FROM gpu_baseline WHERE sweep_id = ?1 AND boot_id = ?2")
            .and_then(|mut s| all(&mut s, params![sweep.0, boot_id()], |row| Ok((row.get(0)?, row.get(1)?))))
            .map(|rows: Vec<(String, f64)>| rows.into_iter().collect())
            .map_err(self.explain("read what the GPUs held"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::bench;

    #[test]
    fn what_the_gpus_held_is_known_to_the_next_run_of_the_sweep_and_the_least_counts() {
        let mut b = bench(1);
        assert!(b.store.gpu_baseline(b.sweep).unwrap().is_empty());
        let found = |bytes: f64| BTreeMap::from([("GPU-1".to_owned(), bytes)]);
        b.store.save_gpu_baseline(b.sweep, &found(9e8)).unwrap();
        b.store.save_gpu_baseline(b.sweep, &found(3e8)).unwrap();
        b.store.save_gpu_baseline(b.sweep, &found(9e9)).unwrap();
        assert_eq!(b.store.gpu_baseline(b.sweep).unwrap(), found(3e8));
        b.store.conn.execute("UPDATE gpu_baseline SET boot_id = 'another'", []).unwrap();
        assert!(b.store.gpu_baseline(b.sweep).unwrap().is_empty(), "after a boot it is another desktop");
    }
}

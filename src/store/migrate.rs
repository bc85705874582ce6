//! Append-only migrations by `user_version`.

use rusqlite::{Connection, TransactionBehavior, params};

use crate::domain::SweepId;
use crate::rank::critical_table;

/// `vgrd` as a big-endian number: marks a SQLite file as one of vgrid (`PRAGMA application_id`).
pub(super) const APPLICATION_ID: i64 = 0x7667_7264;

/// One step of the schema. Its number is its position, from 1.
struct Migration {
    sql: &'static str,
    /// Rows that are computed rather than written down.
    fill: Option<fn(&Connection) -> rusqlite::Result<()>>,
}

const MIGRATIONS: &[Migration] = &[
    Migration { sql: include_str!("../../migrations/0001_first_night.sql"), fill: Some(fill_critical_values) },
    Migration { sql: include_str!("../../migrations/0002_starts.sql"), fill: None },
    Migration { sql: include_str!("../../migrations/0003_promotion.sql"), fill: None },
    Migration { sql: include_str!("../../migrations/0004_telemetry.sql"), fill: None },
    Migration { sql: include_str!("../../migrations/0005_foreign.sql"), fill: None },
    Migration { sql: include_str!("../../migrations/0006_confidence.sql"), fill: None },
    Migration { sql: include_str!("../../migrations/0007_answers.sql"), fill: None },
    Migration { sql: include_str!("../../migrations/0008_cases.sql"), fill: None },
    Migration { sql: include_str!("../../migrations/0009_raw_and_bench.sql"), fill: None },
    Migration { sql: include_str!("../../migrations/0010_requests.sql"), fill: None },
    Migration { sql: include_str!("../../migrations/0011_ends.sql"), fill: None },
    Migration { sql: include_str!("../../migrations/0012_moderated.sql"), fill: None },
    Migration { sql: include_str!("../../migrations/0013_baseline.sql"), fill: None },
    Migration { sql: include_str!("../../migrations/0014_within.sql"), fill: Some(rebuild_rankings) },
];

/// The schema version that this vgrid writes.
pub(super) const fn newest_version() -> i64 {
    MIGRATIONS.len() as i64
}

/// Brings the schema from its version to the newest, all or nothing. Two processes may call it at once.
pub(super) fn migrate(conn: &mut Connection) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(version).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(done) {
        tx.execute_batch(migration.sql)?;
        if let Some(fill) = migration.fill {
            fill(&tx)?;
        }
    }
    if done < MIGRATIONS.len() {
        tx.pragma_update(None, "user_version", newest_version())?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    tx.commit()
}

fn fill_critical_values(conn: &Connection) -> rusqlite::Result<()> {
    let mut insert = conn.prepare("INSERT INTO critical_value (degrees, candidates, factor) VALUES (?1, ?2, ?3)")?;
    for line in critical_table() {
        insert.execute(params![line.degrees as i64, line.candidates as i64, line.factor])?;
    }
    Ok(())
}

/// Computes what is derived from the starts anew, and keeps the rankings that were kept. Migration 6, which brought those rows, leaves it to
/// this one: `figures` writes the newest columns.
fn rebuild_rankings(conn: &Connection) -> rusqlite::Result<()> {
    let mut kept = conn.prepare("SELECT sweep_id FROM ranked_sweep")?;
    let kept: Vec<i64> = kept.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    super::figures::rebuild(conn)?;
    kept.into_iter().try_for_each(|sweep| super::answers::keep_ranking(conn, SweepId(sweep)))
}

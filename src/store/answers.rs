//! What is derived when a run ends, so that views answer at once: the ranking as rows, and the effects of settings, which SQL cannot
//! compute.

use rusqlite::{Connection, params};

use super::{Store, StoreError};
use crate::domain::{Objective, SweepId};
use crate::rank::{Effect, Interaction, Shift};

/// What settings do to one objective's figure.
#[derive(Clone, Debug)]
pub struct ObjectiveEffects {
    /// The objective.
    pub objective: Objective,
    /// Unit of the differences.
    pub unit: String,
    /// Effects of single settings.
    pub effects: Vec<Effect>,
    /// Interactions of two settings.
    pub interactions: Vec<Interaction>,
}

/// One row of `effect`, without what its objective says.
struct EffectRow<'a> {
    change: [&'a str; 3],
    given: Option<[&'a str; 3]>,
    pairs: usize,
    shift: &'a Shift,
    range: Option<(f64, f64)>,
}

/// Keeps the ranking of a sweep as rows.
pub(super) fn keep_ranking(conn: &Connection, sweep: SweepId) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM ranked_sweep WHERE sweep_id = ?1", [sweep.0])?;
    conn.execute("DELETE FROM ranked WHERE sweep_id = ?1", [sweep.0])?;
    conn.execute("INSERT INTO ranked SELECT * FROM ranking_live WHERE sweep_id = ?1", [sweep.0])?;
    conn.execute("INSERT INTO ranked_sweep (sweep_id) VALUES (?1)", [sweep.0])?;
    Ok(())
}

impl Store {
    /// Keeps the ranking of a sweep as rows, until something changes that it depends on.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn keep_ranking(&mut self, sweep: SweepId) -> Result<(), StoreError> {
        let explain = self.explain("keep the ranking");
        self.write(|tx| keep_ranking(tx, sweep)).map_err(explain)
    }

    /// Stores the effects of a sweep's settings in place of those stored before.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn save_effects(&mut self, sweep: SweepId, all: &[ObjectiveEffects]) -> Result<(), StoreError> {
        let explain = self.explain("store the effects of settings");
        self.write(|tx| {
            tx.execute("DELETE FROM effect WHERE sweep_id = ?1", [sweep.0])?;
            let mut insert = tx.prepare(
                "INSERT INTO effect (sweep_id, objective, metric, direction, unit, setting, from_value, to_value, given_setting,
                   given_from, given_to, pairs, difference, ci_low, ci_high, change_percent, real, smallest, largest)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
            )?;
            for of in all {
                for row in rows(of) {
                    let [setting, from, to] = row.change;
                    insert.execute(params![
                        sweep.0,
                        of.objective.name,
                        of.objective.metric.to_string(),
                        of.objective.direction.as_str(),
                        of.unit,
                        setting,
                        from,
                        to,
                        row.given.map(|g| g[0]),
                        row.given.map(|g| g[1]),
                        row.given.map(|g| g[2]),
                        row.pairs as i64,
                        row.shift.difference,
                        row.shift.ci_low,
                        row.shift.ci_high,
                        row.shift.percent,
                        row.shift.real,
                        row.range.map(|r| r.0),
                        row.range.map(|r| r.1),
                    ])?;
                }
            }
            Ok(())
        })
        .map_err(explain)
    }
}

fn rows(of: &ObjectiveEffects) -> impl Iterator<Item = EffectRow<'_>> {
    let effects = of.effects.iter().map(|e| EffectRow {
        change: [&e.change.axis, &e.change.from, &e.change.to],
        given: None,
        pairs: e.pairs,
        shift: &e.shift,
        range: Some((e.smallest, e.largest)),
    });
    let interactions = of.interactions.iter().map(|i| EffectRow {
        change: [&i.change.axis, &i.change.from, &i.change.to],
        given: Some([&i.given.axis, &i.given.from, &i.given.to]),
        pairs: i.squares,
        shift: &i.shift,
        range: None,
    });
    effects.chain(interactions)
}

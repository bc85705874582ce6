//! Reading: sweeps, trials, candidates, rankings.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;

use super::models::{SweepRow, TrialId, TrialRow, TrialState};
use super::rows::{all, count, from_json, parsed, parsed_opt};
use super::{Store, StoreError};
use crate::domain::{
    ConfigKey, Direction, Fact, Metric, MetricPath, Objective, ResolvedConfig, ScenarioKind, Settings, SweepId,
    ValidityReason, Verdict, did_you_mean,
};
use crate::rank::{Candidate, Figure, GateOutcome, GateResult, Standing};

/// One line of the view `ranking`, for tests and for tools that want the view itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankingRow {
    /// The objective's name.
    pub objective: String,
    /// Place; None for a config that may not rank.
    pub rank: Option<u64>,
    /// The config's name.
    pub config: String,
    /// Its trial.
    pub trial_id: TrialId,
    /// Its figure.
    pub value: f64,
    /// Starts that the figure is the mean of.
    pub starts: u64,
    /// Whether its figure is the mean of at least two starts.
    pub confirmed: bool,
    /// Gain against the baseline, percent; positive is better.
    pub gain_percent: Option<f64>,
    /// Where it stands.
    pub standing: Standing,
}

/// A figure that misses what is usually asked of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissedThreshold {
    /// The config's name.
    pub config: String,
    /// Its scenario.
    pub scenario: ScenarioKind,
    /// Figure and threshold in words.
    pub sentence: String,
}

impl Store {
    /// The runs of `vgrid bench`, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn bench_runs(&self) -> Result<Vec<SweepRow>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT v.*, w.grid_sha256 FROM sweeps v JOIN sweep w ON w.id = v.sweep_id WHERE w.kind = 'bench'
                 ORDER BY v.sweep_id DESC",
            )
            .and_then(|mut s| all(&mut s, [], sweep_row))
            .map_err(self.explain("list runs of vgrid bench"))
    }

    /// One sweep. When none is named, the newest of a grid; without any the newest run of `vgrid bench`.
    ///
    /// # Errors
    /// There is no such sweep, none at all, or the database cannot be read.
    pub fn sweep(&self, wanted: Option<SweepId>) -> Result<SweepRow, StoreError> {
        let row = self
            .conn
            .prepare_cached(
                "SELECT v.*, w.grid_sha256 FROM sweeps v JOIN sweep w ON w.id = v.sweep_id
                 WHERE v.sweep_id = coalesce(?1, (SELECT max(id) FROM sweep WHERE kind = 'grid'), (SELECT max(id) FROM sweep))",
            )
            .and_then(|mut s| s.query_row([wanted.map(|w| w.0)], sweep_row).optional())
            .map_err(self.explain("read a sweep"))?;
        row.ok_or_else(|| {
            let path = self.path.display();
            StoreError::NotFound(wanted.map_or_else(
                || format!("{path} holds no sweep yet; start one with `vgrid run GRID`"),
                |id| format!("there is no sweep {id} in {path}; `vgrid status` shows what there is"),
            ))
        })
    }

    /// The newest sweep of a grid that has work left.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn newest_unfinished_sweep(&self) -> Result<Option<SweepId>, StoreError> {
        self.conn
            .query_row("SELECT max(sweep_id) FROM sweeps WHERE state <> 'finished' AND kind = 'grid'", [], |row| {
                row.get(0)
            })
            .map(|id: Option<i64>| id.map(SweepId))
            .map_err(self.explain("look for an unfinished sweep"))
    }

    /// The newest sweep of this grid and deployment, finished or not.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn newest_sweep_of(&self, grid_sha256: &str, deployment: &str) -> Result<Option<SweepRow>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT v.*, w.grid_sha256 FROM sweeps v JOIN sweep w ON w.id = v.sweep_id
                 WHERE v.sweep_id = (SELECT max(id) FROM sweep WHERE grid_sha256 = ?1 AND deployment = ?2 AND kind = 'grid')",
            )
            .and_then(|mut s| s.query_row([grid_sha256, deployment], sweep_row).optional())
            .map_err(self.explain("look for a sweep of this grid"))
    }

    /// All trials of a sweep with their state, in the sweep's order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn trials(&self, sweep: SweepId) -> Result<Vec<TrialRow>, StoreError> {
        self.conn
            .prepare_cached("SELECT * FROM trials WHERE sweep_id = ?1 ORDER BY position, trial_id")
            .and_then(|mut s| all(&mut s, [sweep.0], trial_row))
            .map_err(self.explain("list trials"))
    }

    /// One trial with its state.
    ///
    /// # Errors
    /// There is no such trial, or the database cannot be read.
    pub fn trial(&self, trial: TrialId) -> Result<TrialRow, StoreError> {
        self.conn
            .prepare_cached("SELECT * FROM trials WHERE trial_id = ?1")
            .and_then(|mut s| s.query_row([trial.0], trial_row).optional())
            .map_err(self.explain("read a trial"))?
            .ok_or_else(|| StoreError::NotFound(format!("there is no trial {} in {}", trial.0, self.path.display())))
    }

    /// The trial that `wanted` names in a sweep (the newest when none is named): a config's name, else a prefix of its key of at
    /// least 4 digits, else a trial's number.
    ///
    /// # Errors
    /// Nothing fits, or several do; the sentence lists them. Or the database cannot be read.
    pub fn find_trial(&self, sweep: Option<SweepId>, wanted: &str) -> Result<TrialId, StoreError> {
        let sweep = self.sweep(sweep)?.id;
        let trials: Vec<(i64, String, String)> = self
            .conn
            .prepare_cached("SELECT id, name, config_key FROM trial WHERE sweep_id = ?1 ORDER BY position, id")
            .and_then(|mut s| all(&mut s, [sweep.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))))
            .map_err(self.explain("look for a trial"))?;
        // A name that came back with a new key is the newest of that name.
        if let Some((id, ..)) = trials.iter().filter(|(_, name, _)| name == wanted).max_by_key(|(id, ..)| *id) {
            return Ok(TrialId(*id));
        }
        let by_key: Vec<_> = trials.iter().filter(|(.., key)| wanted.len() >= 4 && key.starts_with(wanted)).collect();
        match by_key.as_slice() {
            [(id, ..)] => return Ok(TrialId(*id)),
            [] => {}
            several => {
                let names: Vec<String> =
                    several.iter().map(|(id, name, key)| format!("{name} (trial {id}, {key})")).collect();
                return Err(StoreError::NotFound(format!("`{wanted}` fits several trials: {}", names.join(", "))));
            }
        }
        if let Ok(number) = wanted.parse::<i64>()
            && let Ok(row) = self.trial(TrialId(number))
        {
            return Ok(row.trial_id);
        }
        let near = did_you_mean(wanted, trials.iter().map(|(_, name, _)| name.as_str()));
        let hint = near.map_or_else(
            || format!("`vgrid status {sweep}` lists its {} trials", trials.len()),
            |name| format!("did you mean `{name}`?"),
        );
        Err(StoreError::NotFound(format!("sweep {sweep} has no trial `{wanted}` (name, key or number); {hint}")))
    }

    /// The objectives of a sweep, in the grid's order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn objectives(&self, sweep: SweepId) -> Result<Vec<Objective>, StoreError> {
        self.conn
            .prepare_cached("SELECT * FROM objective WHERE sweep_id = ?1 ORDER BY position")
            .and_then(|mut s| {
                all(&mut s, [sweep.0], |row| {
                    Ok(Objective {
                        name: row.get("name")?,
                        direction: parsed::<Direction>(row, "direction")?,
                        metric: parsed(row, "metric")?,
                    })
                })
            })
            .map_err(self.explain("read the objectives"))
    }

    /// The figures of a trial; of a path that several results have, the newest.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn figures(&self, trial: TrialId) -> Result<Vec<Figure>, StoreError> {
        self.conn
            .prepare_cached("SELECT * FROM metrics WHERE trial_id = ?1 ORDER BY scenario_result_id, path")
            .and_then(|mut s| all(&mut s, [trial.0], figure))
            .map_err(self.explain("read figures"))
    }

    /// Every measured trial of a sweep with its gates and figures, for [`crate::rank::rank_all`].
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn candidates(&self, sweep: SweepId) -> Result<Vec<Candidate>, StoreError> {
        self.candidates_with(sweep, None)
    }

    /// As [`Self::candidates`], with the figures of these metrics alone: what a ranking by them needs.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn candidates_by(&self, sweep: SweepId, objectives: &[Objective]) -> Result<Vec<Candidate>, StoreError> {
        let metrics: Vec<&MetricPath> = objectives.iter().map(|o| &o.metric).collect();
        self.candidates_with(sweep, Some(&metrics))
    }

    fn candidates_with(&self, sweep: SweepId, only: Option<&[&MetricPath]>) -> Result<Vec<Candidate>, StoreError> {
        let measured: Vec<(i64, String)> = self
            .conn
            .prepare_cached(
                "SELECT t.id, t.name FROM trial t WHERE t.sweep_id = ?1
                   AND EXISTS (SELECT 1 FROM attempt a WHERE a.trial_id = t.id AND a.outcome = 'measured')
                 ORDER BY t.position, t.id",
            )
            .and_then(|mut s| all(&mut s, [sweep.0], |row| Ok((row.get(0)?, row.get(1)?))))
            .map_err(self.explain("read the measured trials"))?;
        let mut figures = self.trial_figures(sweep, None, only)?;
        let mut gates: HashMap<i64, Vec<GateResult>> = HashMap::new();
        for (trial, gate) in self.gate_results_where("t.sweep_id", sweep.0)? {
            gates.entry(trial).or_default().push(gate);
        }
        let of = |(trial_id, name)| Candidate {
            trial_id,
            name,
            gates: gates.remove(&trial_id).unwrap_or_default(),
            figures: figures.remove(&trial_id).unwrap_or_default(),
        };
        Ok(measured.into_iter().map(of).collect())
    }

    /// The metrics that at least one measured config of a sweep has, in order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn measured_metrics(&self, sweep: SweepId) -> Result<Vec<String>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT DISTINCT f.path FROM trial t JOIN trial_figure f ON f.trial_id = t.id WHERE t.sweep_id = ?1 ORDER BY f.path",
            )
            .and_then(|mut s| all(&mut s, [sweep.0], |row| row.get(0)))
            .map_err(self.explain("read the names of what was measured"))
    }

    /// The settings of every trial of a sweep.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn settings(&self, sweep: SweepId) -> Result<HashMap<i64, Settings>, StoreError> {
        self.conn
            .prepare_cached("SELECT id, settings_json FROM trial WHERE sweep_id = ?1")
            .and_then(|mut s| all(&mut s, [sweep.0], |row| Ok((row.get("id")?, from_json(row, "settings_json")?))))
            .map(|rows| rows.into_iter().collect())
            .map_err(self.explain("read the settings"))
    }

    /// What the engine of every trial of a sweep says of these settings: of its newest measured attempt, else of its newest.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn facts_of_trials(
        &self,
        sweep: SweepId,
        names: &BTreeSet<String>,
    ) -> Result<HashMap<i64, ResolvedConfig>, StoreError> {
        let names = serde_json::Value::from_iter(names.iter().map(String::as_str)).to_string();
        let rows: Vec<(i64, String, Fact)> = self
            .conn
            .prepare_cached(
                "SELECT t.id, f.name, f.value, f.source FROM trial t
                 JOIN attempt a ON a.id = (SELECT s.id FROM attempt s WHERE s.trial_id = t.id
                   ORDER BY s.outcome IS 'measured' DESC, s.number DESC LIMIT 1)
                 CROSS JOIN json_each(?2) j CROSS JOIN resolved_fact f ON f.attempt_id = a.id AND f.name = j.value
                 WHERE t.sweep_id = ?1",
            )
            .and_then(|mut s| {
                all(&mut s, params![sweep.0, names], |row| {
                    let fact = Fact { value: row.get("value")?, source: parsed(row, "source")? };
                    Ok((row.get("id")?, row.get("name")?, fact))
                })
            })
            .map_err(self.explain("read what the engines say"))?;
        let mut facts: HashMap<i64, ResolvedConfig> = HashMap::new();
        for (trial, name, fact) in rows {
            facts.entry(trial).or_default().facts.insert(name, fact);
        }
        Ok(facts)
    }

    /// What the newest result of each scenario of a sweep's configs misses of what is usually asked for, in the order of the plan.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn missed_thresholds(&self, sweep: SweepId) -> Result<Vec<MissedThreshold>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT t.name, r.scenario, v.sentence FROM trial t
                 JOIN scenario_result r ON r.trial_id = t.id
                 JOIN validity_reason v ON v.scenario_result_id = r.id AND v.reason = ?2
                 WHERE t.sweep_id = ?1
                   AND r.id = (SELECT max(n.id) FROM scenario_result n WHERE n.trial_id = t.id AND n.scenario = r.scenario)
                 ORDER BY t.position, r.id, v.position",
            )
            .and_then(|mut s| {
                all(&mut s, params![sweep.0, ValidityReason::ThresholdMissed.as_str()], |row| {
                    Ok(MissedThreshold {
                        config: row.get("name")?,
                        scenario: parsed(row, "scenario")?,
                        sentence: row.get("sentence")?,
                    })
                })
            })
            .map_err(self.explain("read what results miss"))
    }

    /// Every gate of a trial's sweep with what became of it; not measured when it was not evaluated.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn gate_results(&self, trial: TrialId) -> Result<Vec<GateResult>, StoreError> {
        Ok(self.gate_results_where("t.id", trial.0)?.into_iter().map(|(_, gate)| gate).collect())
    }

    /// The same of each trial whose `column` has this value, with the trial.
    fn gate_results_where(&self, column: &str, value: i64) -> Result<Vec<(i64, GateResult)>, StoreError> {
        let read = |row: &Row<'_>| {
            let outcome = match row.get::<_, Option<bool>>("passed")? {
                Some(true) => GateOutcome::Pass,
                Some(false) => GateOutcome::Fail,
                None => GateOutcome::NotMeasured,
            };
            Ok((row.get::<_, i64>("trial_id")?, GateResult { gate: row.get("expression")?, outcome }))
        };
        self.conn
            .prepare_cached(&format!(
                "SELECT t.id AS trial_id, g.expression, r.passed FROM trial t JOIN gate g ON g.sweep_id = t.sweep_id
                 LEFT JOIN gate_result r ON r.gate_id = g.id AND r.trial_id = t.id WHERE {column} = ?1 ORDER BY t.id, g.position"
            ))
            .and_then(|mut s| all(&mut s, [value], read))
            .map_err(self.explain("read gate results"))
    }

    /// The view `ranking` of a sweep. `vgrid champions` uses [`crate::rank`] on [`Store::candidates`]; both agree.
    ///
    /// # Errors
    /// The database cannot be read.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests hold the view `ranking` and `rank` together with it"))]
    pub fn ranking_rows(&self, sweep: SweepId) -> Result<Vec<RankingRow>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT * FROM ranking WHERE sweep_id = ?1 ORDER BY objective_position, rank IS NULL, rank, config",
            )
            .and_then(|mut s| {
                all(&mut s, params![sweep.0], |row| {
                    Ok(RankingRow {
                        objective: row.get("objective")?,
                        rank: row.get::<_, Option<u32>>("rank")?.map(u64::from),
                        config: row.get("config")?,
                        trial_id: TrialId(row.get("trial_id")?),
                        value: row.get("value")?,
                        starts: count(row, "starts")?,
                        confirmed: row.get("confirmed")?,
                        gain_percent: row.get("gain_percent")?,
                        standing: parsed(row, "standing")?,
                    })
                })
            })
            .map_err(self.explain("read the ranking"))
    }
}

fn sweep_row(row: &Row<'_>) -> rusqlite::Result<SweepRow> {
    Ok(SweepRow {
        kind: parsed(row, "kind")?,
        id: SweepId(row.get("sweep_id")?),
        uuid: row.get("uuid")?,
        grid_name: row.get("grid_name")?,
        grid_path: row.get::<_, String>("grid_path")?.into(),
        grid_sha256: row.get("grid_sha256")?,
        deployment: row.get("deployment")?,
        baseline: row.get("baseline")?,
        state: parsed(row, "state")?,
        why: row.get("why")?,
        started_at: row.get("started_at")?,
        ended_at: row.get("ended_at")?,
        deadline_at: row.get("deadline_at")?,
        runs: count(row, "runs")?,
        trials: count(row, "trials")?,
        measured: count(row, "measured")?,
        failed: count(row, "failed")?,
        skipped: count(row, "skipped")?,
        remaining: count(row, "remaining")?,
    })
}

fn trial_row(row: &Row<'_>) -> rusqlite::Result<TrialRow> {
    let state: TrialState = parsed(row, "state")?;
    Ok(TrialRow {
        trial_id: TrialId(row.get("trial_id")?),
        sweep: SweepId(row.get("sweep_id")?),
        position: count(row, "position")?,
        name: row.get("config")?,
        key: ConfigKey(row.get("config_key")?),
        is_baseline: row.get("is_baseline")?,
        cause: if state == TrialState::Failed { parsed_opt(row, "cause")? } else { None },
        skip: if state == TrialState::Skipped { parsed_opt(row, "cause")? } else { None },
        state,
        detail: row.get("detail")?,
        attempts: row.get("attempts")?,
        phase: parsed_opt(row, "phase")?,
        started_at: row.get("started_at")?,
        ended_at: row.get("ended_at")?,
        ready_s: row.get("ready_s")?,
        elapsed_s: row.get("elapsed_s")?,
    })
}

fn figure(row: &Row<'_>) -> rusqlite::Result<Figure> {
    Ok(Figure::of_one_start(metric(row)?, parsed::<Verdict>(row, "verdict")?))
}

/// A row of the table `metric`.
pub(super) fn metric(row: &Row<'_>) -> rusqlite::Result<Metric> {
    Ok(Metric {
        path: parsed(row, "path")?,
        value: row.get("value")?,
        unit: row.get("unit")?,
        n: count(row, "n")?,
        failed_n: count(row, "failed_n")?,
        ci_low: row.get("ci_low")?,
        ci_high: row.get("ci_high")?,
    })
}

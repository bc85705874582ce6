//! The derived tables `trial_figure` and `start_noise`: figures over all starts of a config, computed by [`crate::rank`] from what is
//! stored, in the transaction that ends a measured attempt.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::models::TrialId;
use super::read::metric;
use super::rows::{all, count, parsed};
use super::{Store, StoreError};
use crate::domain::{Metric, MetricPath, ScenarioKind, SweepId, Verdict};
use crate::rank::{ConfigStarts, Figure, StartFigure, StartNoise, controls, figure_over_starts, start_noise};

/// The starts of one config, by metric.
type ByPath = BTreeMap<MetricPath, Vec<StartFigure>>;

impl Store {
    /// The figures of a trial over its starts, as the ranking takes them; without a measured start those of its newest results.
    ///
    /// # Errors
    /// There is no such trial, or the database cannot be read.
    pub fn figures_over_starts(&self, trial: TrialId) -> Result<Vec<Figure>, StoreError> {
        let sweep = self.trial(trial)?.sweep;
        self.trial_figures(sweep, Some(trial), None)?.remove(&trial.0).map_or_else(|| self.figures(trial), Ok)
    }

    /// The figures of one trial of a sweep or of every one, over their starts: those of some metrics, or all. Two are derived here: the
    /// time until the engine answers, and the memory over all GPUs.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(super) fn trial_figures(
        &self,
        sweep: SweepId,
        of: Option<TrialId>,
        only: Option<&[&MetricPath]>,
    ) -> Result<HashMap<i64, Vec<Figure>>, StoreError> {
        let asks = |path: &str| only.is_none_or(|paths| paths.iter().any(|asked| asked.to_string() == path));
        let mut figures = self.stored_figures(sweep, of, if asks(ALL_GPUS) { None } else { only })?;
        if asks(ALL_GPUS) {
            for own in figures.values_mut() {
                own.extend(memory_of_all_gpus(own));
            }
        }
        if asks(READY) {
            for (trial, figure) in self.ready_figures(sweep, of)? {
                figures.entry(trial).or_default().push(figure);
            }
        }
        Ok(figures)
    }

    /// How long one config or each took from its container's start to the first real completion, over its measured starts. How much
    /// starts differ is learnt from all of them.
    fn ready_figures(&self, sweep: SweepId, of: Option<TrialId>) -> Result<Vec<(i64, Figure)>, StoreError> {
        let rows: Vec<(i64, bool, Option<f64>, f64)> = self
            .conn
            .prepare_cached(
                "SELECT t.id, t.is_baseline, (julianday(a.started_at) - 2440587.5) * 86400.0, a.ready_s
                 FROM trial t JOIN attempt a ON a.trial_id = t.id
                 WHERE t.sweep_id = ?1 AND a.outcome = 'measured' AND a.ready_s IS NOT NULL ORDER BY t.id, a.number",
            )
            .and_then(|mut s| all(&mut s, [sweep.0], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))))
            .map_err(self.explain("read how long configs took to answer"))?;
        let Ok(path) = READY.parse::<MetricPath>() else { return Ok(Vec::new()) };
        let mut configs: BTreeMap<i64, ConfigStarts> = BTreeMap::new();
        for (trial_id, is_baseline, at_s, value) in rows {
            let unit = "s".to_owned();
            let metric = Metric { path: path.clone(), value, unit, n: 1, failed_n: 0, ci_low: None, ci_high: None };
            let start = StartFigure { at_s: at_s.unwrap_or(0.0), metric, verdict: Verdict::Valid };
            let config = configs.entry(trial_id);
            config.or_insert_with(|| ConfigStarts { trial_id, is_baseline, starts: Vec::new() }).starts.push(start);
        }
        let configs: Vec<ConfigStarts> = configs.into_values().collect();
        let (noise, controls) = (start_noise(&configs), controls(&configs));
        let asked = configs.iter().filter(|c| of.is_none_or(|trial| trial.0 == c.trial_id));
        Ok(asked.filter_map(|c| Some((c.trial_id, figure_over_starts(c, &controls, noise)?))).collect())
    }

    fn stored_figures(
        &self,
        sweep: SweepId,
        of: Option<TrialId>,
        only: Option<&[&MetricPath]>,
    ) -> Result<HashMap<i64, Vec<Figure>>, StoreError> {
        let read = |row: &Row<'_>| {
            let noise = StartNoise {
                degrees: count(row, "degrees")?,
                start_variance: row.get("start_variance")?,
                within_variance: row.get("within_variance")?,
                within_variance_absolute: row.get("within_variance_absolute")?,
                controls: count(row, "controls")?,
                moved: row.get("moved")?,
                change_percent: row.get("change_percent")?,
                change_low: row.get("change_low")?,
                change_high: row.get("change_high")?,
            };
            let figure = Figure {
                metric: metric(row)?,
                verdict: parsed(row, "verdict")?,
                starts: count(row, "starts")?,
                relative: row.get("relative")?,
                noise,
            };
            Ok((row.get::<_, i64>("trial_id")?, figure))
        };
        let (among, paths) = match only {
            Some(paths) => (
                "CROSS JOIN json_each(?2) j CROSS JOIN trial_figure f ON f.trial_id = t.id AND f.path = j.value",
                json(paths),
            ),
            None => ("JOIN trial_figure f ON f.trial_id = t.id AND ?2 IS NULL", None),
        };
        let which = if of.is_some() { "t.id = ?3" } else { "?3 IS NULL" };
        let rows = self
            .conn
            .prepare_cached(&format!(
                "SELECT f.*, coalesce(s.degrees, 0) AS degrees, coalesce(s.start_variance, 0.0) AS start_variance,
                   coalesce(s.within_variance, 0.0) AS within_variance,
                   coalesce(s.within_variance_absolute, 0.0) AS within_variance_absolute, coalesce(s.controls, 0) AS controls,
                   coalesce(s.moved, 0) AS moved, s.change_percent, s.change_low, s.change_high
                 FROM trial t {among}
                 LEFT JOIN start_noise s ON s.sweep_id = t.sweep_id AND s.path = f.path
                 WHERE t.sweep_id = ?1 AND {which} ORDER BY t.id, f.path",
            ))
            .and_then(|mut s| all(&mut s, params![sweep.0, paths, of.map(|trial| trial.0)], read))
            .map_err(self.explain("read the figures of all trials"))?;
        let mut figures: HashMap<i64, Vec<Figure>> = HashMap::new();
        for (trial, figure) in rows {
            figures.entry(trial).or_default().push(figure);
        }
        Ok(figures)
    }
}

/// The time from the container's start to the first real completion, as a metric.
const READY: &str = "smoke.ready_s";

/// The most memory in use on all GPUs together while load was offered, as a metric.
const ALL_GPUS: &str = "load.gpus.memory_used_bytes.max";

fn json(paths: &[&MetricPath]) -> Option<String> {
    serde_json::to_string(paths).ok()
}

/// The sum over the GPUs of a config; `None` without a GPU. Its starts differ as those of the GPU that differs most.
fn memory_of_all_gpus(figures: &[Figure]) -> Option<Figure> {
    let is_of_a_gpu = |path: &MetricPath| {
        let number = path.point.as_deref().and_then(|point| point.strip_prefix("gpu"));
        path.scenario == ScenarioKind::Load
            && number.is_some_and(|n| n.parse::<u32>().is_ok())
            && (path.name.as_str(), path.statistic.as_deref()) == ("memory_used_bytes", Some("max"))
    };
    let gpus: Vec<&Figure> = figures.iter().filter(|f| is_of_a_gpu(&f.metric.path)).collect();
    let most = gpus.iter().max_by(|a, b| a.noise.start_variance.total_cmp(&b.noise.start_variance))?;
    let sum = |f: &dyn Fn(&Figure) -> Option<f64>| gpus.iter().map(|gpu| f(gpu)).sum::<Option<f64>>();
    let metric = Metric {
        path: ALL_GPUS.parse().ok()?,
        value: sum(&|f| Some(f.metric.value))?,
        ci_low: sum(&|f| f.metric.ci_low),
        ci_high: sum(&|f| f.metric.ci_high),
        ..most.metric.clone()
    };
    let verdict = gpus.iter().map(|f| f.verdict).max()?;
    Some(Figure { metric, verdict, ..(*most).clone() })
}

/// Computes anew what depends on the starts of this trial.
pub(super) fn refresh(conn: &Connection, trial: TrialId) -> rusqlite::Result<()> {
    let (sweep, is_baseline): (i64, bool) = conn
        .prepare_cached("SELECT sweep_id, is_baseline FROM trial WHERE id = ?1")?
        .query_row([trial.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let own = starts_of(conn, trial.0)?;
    let repeated = repeated_configs(conn, sweep, (trial.0, is_baseline, &own))?;
    let several = is_baseline || own.values().any(|starts| starts.len() > 1);
    if several {
        for (path, configs) in &repeated {
            save_noise(conn, sweep, path, &start_noise(configs))?;
        }
    }
    save_figures(conn, trial.0, is_baseline, own, &repeated)?;
    if is_baseline {
        // What lies between the last two controls has only now one on either side.
        for other in measured_since_the_last_control(conn, sweep, trial.0)? {
            let starts = starts_of(conn, other)?;
            save_figures(conn, other, false, starts, &repeated)?;
        }
    }
    Ok(())
}

/// Computes every derived row of the file: for files that were written before there were any.
pub(super) fn rebuild(conn: &Connection) -> rusqlite::Result<()> {
    let mut measured = conn.prepare(
        "SELECT DISTINCT t.id FROM attempt a JOIN trial t ON t.id = a.trial_id WHERE a.outcome = 'measured'
         ORDER BY t.sweep_id, t.is_baseline, t.id",
    )?;
    let trials: Vec<i64> = all(&mut measured, [], |row| row.get(0))?;
    trials.into_iter().try_for_each(|trial| refresh(conn, TrialId(trial)))
}

/// Every config with more than one start, and the baseline, by metric.
fn repeated_configs(
    conn: &Connection,
    sweep: i64,
    (trial, is_baseline, own): (i64, bool, &ByPath),
) -> rusqlite::Result<BTreeMap<MetricPath, Vec<ConfigStarts>>> {
    let mut statement = conn.prepare_cached(
        "SELECT t.id, t.is_baseline FROM trial t WHERE t.sweep_id = ?1 AND t.id <> ?2 AND (t.is_baseline OR t.id IN
           (SELECT a.trial_id FROM attempt a WHERE a.purpose <> 'trial' AND a.outcome = 'measured'))",
    )?;
    let others: Vec<(i64, bool)> = all(&mut statement, [sweep, trial], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut configs: BTreeMap<MetricPath, Vec<ConfigStarts>> = BTreeMap::new();
    let mut add = |trial_id, is_baseline, by_path: ByPath| {
        for (path, starts) in by_path {
            configs.entry(path).or_default().push(ConfigStarts { trial_id, is_baseline, starts });
        }
    };
    for (other, other_is_baseline) in others {
        add(other, other_is_baseline, starts_of(conn, other)?);
    }
    add(trial, is_baseline, own.clone());
    Ok(configs)
}

/// The figures of each start of a trial whose whole suite was measured; of a path that several of its results have, the newest.
fn starts_of(conn: &Connection, trial: i64) -> rusqlite::Result<ByPath> {
    let mut statement = conn.prepare_cached(
        "SELECT a.purpose || a.start_number AS start, (julianday(r.started_at) - 2440587.5) * 86400.0 AS at_s, r.verdict, m.*
         FROM scenario_result r JOIN attempt a ON a.id = r.attempt_id JOIN metric m ON m.scenario_result_id = r.id
         WHERE r.trial_id = ?1 AND EXISTS (SELECT 1 FROM attempt d WHERE d.trial_id = a.trial_id AND d.purpose = a.purpose
           AND d.start_number = a.start_number AND d.outcome = 'measured')
         ORDER BY r.id",
    )?;
    let mut newest: BTreeMap<(MetricPath, String), StartFigure> = BTreeMap::new();
    let mut rows = statement.query([trial])?;
    while let Some(row) = rows.next()? {
        let metric: Metric = metric(row)?;
        let at_s = row.get::<_, Option<f64>>("at_s")?.unwrap_or(0.0);
        let key = (metric.path.clone(), row.get("start")?);
        newest.insert(key, StartFigure { at_s, metric, verdict: parsed(row, "verdict")? });
    }
    let mut starts = ByPath::new();
    for ((path, _), figure) in newest {
        starts.entry(path).or_default().push(figure);
    }
    Ok(starts)
}

fn measured_since_the_last_control(conn: &Connection, sweep: i64, baseline: i64) -> rusqlite::Result<Vec<i64>> {
    let before_last: Option<String> = conn
        .prepare_cached(
            // A control with an invalid result controls nothing: what was measured around it hangs on the one before.
            "SELECT started_at FROM attempt a WHERE trial_id = ?1 AND outcome = 'measured'
               AND NOT EXISTS (SELECT 1 FROM scenario_result r WHERE r.attempt_id = a.id AND r.verdict = 'invalid')
             ORDER BY number DESC LIMIT 1 OFFSET 1",
        )?
        .query_row([baseline], |row| row.get(0))
        .optional()?;
    let mut statement = conn.prepare_cached(
        "SELECT DISTINCT a.trial_id FROM attempt a JOIN trial t ON t.id = a.trial_id
         WHERE t.sweep_id = ?1 AND t.id <> ?2 AND a.outcome = 'measured' AND (?3 IS NULL OR a.started_at >= ?3)",
    )?;
    all(&mut statement, params![sweep, baseline, before_last], |row| row.get(0))
}

fn save_figures(
    conn: &Connection,
    trial: i64,
    is_baseline: bool,
    starts: ByPath,
    repeated: &BTreeMap<MetricPath, Vec<ConfigStarts>>,
) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM trial_figure WHERE trial_id = ?1")?.execute([trial])?;
    let mut insert = conn.prepare_cached(
        "INSERT INTO trial_figure (trial_id, path, value, unit, n, starts, failed_n, ci_low, ci_high, verdict, relative)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    for (path, starts) in starts {
        let controls = repeated.get(&path).map(|configs| controls(configs)).unwrap_or_default();
        let config = ConfigStarts { trial_id: trial, is_baseline, starts };
        let Some(figure) = figure_over_starts(&config, &controls, StartNoise::default()) else { continue };
        let m = &figure.metric;
        insert.execute(params![
            trial,
            path.to_string(),
            m.value,
            m.unit,
            m.n as i64,
            figure.starts as i64,
            m.failed_n as i64,
            m.ci_low,
            m.ci_high,
            figure.verdict.as_str(),
            figure.relative
        ])?;
    }
    Ok(())
}

fn save_noise(conn: &Connection, sweep: i64, path: &MetricPath, noise: &StartNoise) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO start_noise (sweep_id, path, degrees, start_variance, within_variance, within_variance_absolute, controls,
           moved, change_percent, change_low, change_high)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        sweep,
        path.to_string(),
        noise.degrees as i64,
        noise.start_variance,
        noise.within_variance,
        noise.within_variance_absolute,
        noise.controls as i64,
        noise.moved,
        noise.change_percent,
        noise.change_low,
        noise.change_high
    ])?;
    Ok(())
}

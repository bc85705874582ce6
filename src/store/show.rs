//! Reading: everything about one trial, for `show`, `logs` and the report.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rusqlite::Row;
use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};

use super::PairedQuality;
use super::models::{AttemptId, ScenarioResultId, Timings, TrialId, TrialRow};
use super::rows::{all, count, from_json, parsed, parsed_opt, start};
use super::{Store, StoreError};
use crate::domain::{
    CaseOutcome, Cause, CounterDelta, Evidence, ExitFacts, Fact, Failure, Metric, MetricPath, Mismatch, Outcome, Phase,
    ResolvedConfig, ScenarioSpec, Settings, SkipReason, Start, Validity,
};
use crate::rank::GateResult;
use crate::resume::ResultKey;

/// Everything about one trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialReport {
    /// State and headline facts.
    #[serde(flatten)]
    pub trial: TrialRow,
    /// What was asked for.
    pub settings: Settings,
    /// Settings that came from axes.
    pub axis_values: Vec<(String, String)>,
    /// The command line of the container, secrets redacted.
    pub argv: Vec<String>,
    /// Digest of its image in the plan.
    pub image_digest: Option<String>,
    /// What the grid expects of it, by metric.
    pub expected: BTreeMap<MetricPath, f64>,
    /// What became of each gate.
    pub gates: Vec<GateResult>,
    /// Its answers against the baseline's, case by case.
    pub paired: Vec<PairedQuality>,
    /// Every attempt, in order.
    pub attempt_reports: Vec<AttemptReport>,
}

impl TrialReport {
    /// Whether this attempt was cut short because its engine turned out to be the same as another config's: the reason is the trial's detail.
    #[must_use]
    pub fn found_a_twin(&self, attempt: &AttemptReport) -> bool {
        self.trial.skip == Some(SkipReason::Twin)
            && attempt.outcome == Some(Outcome::Interrupted)
            && self.attempt_reports.last().is_some_and(|last| last.number == attempt.number)
    }
}

/// Everything about one attempt, raw requests apart ([`Store::requests`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptReport {
    /// Its id.
    pub id: AttemptId,
    /// Its number within the trial, from 1.
    pub number: u32,
    /// Which of the config's starts it belongs to.
    pub start: Start,
    /// Start, RFC 3339, UTC.
    pub started_at: String,
    /// End; None while it is open.
    pub ended_at: Option<String>,
    /// How far it came.
    pub phase: Phase,
    /// How it ended; None while it is open.
    pub outcome: Option<Outcome>,
    /// The container, or `pid:N`.
    pub container_id: Option<String>,
    /// Digest of the image that it ran.
    pub image_digest: Option<String>,
    /// Where its log is.
    pub log_path: Option<PathBuf>,
    /// From the container's start to the first real completion, s.
    pub ready_s: Option<f64>,
    /// The whole attempt, s.
    pub elapsed_s: Option<f64>,
    /// Durations of its parts.
    pub timings: Timings,
    /// What the engine really ran with.
    pub resolved: ResolvedConfig,
    /// Where that differs from the request.
    pub mismatches: Vec<Mismatch>,
    /// Its results, in the order in which they were stored.
    pub scenarios: Vec<ScenarioReport>,
    /// What was sampled, by phase and series, phases in time; empty until [`Store::add_telemetry`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub telemetry: Vec<TelemetryRow>,
}

/// One series of one phase of an attempt (the view `telemetry`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TelemetryRow {
    /// What went on: `boot`, `idle`, a scenario.
    pub tag: Option<String>,
    /// Of whom: `engine`, `container`, `host`, `gpu0`.
    pub source: String,
    /// What, unit last.
    pub series: String,
    /// Samples.
    pub samples: u64,
    /// The first sample, ms since the attempt's start.
    pub first_ms: f64,
    /// The last sample, ms since the attempt's start.
    pub last_ms: f64,
    /// Smallest value.
    pub minimum: f64,
    /// Median value.
    pub median: f64,
    /// Largest value.
    pub maximum: f64,
}

/// One stored scenario result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScenarioReport {
    /// Its id, for [`Store::requests`].
    pub id: ScenarioResultId,
    /// Its key.
    pub result_key: ResultKey,
    /// Its parameters.
    pub spec: ScenarioSpec,
    /// Hash of the data that was sent.
    pub data_sha256: String,
    /// Start, RFC 3339, UTC.
    pub started_at: String,
    /// How long it took, s.
    pub elapsed_s: f64,
    /// Whether it may be used.
    pub validity: Validity,
    /// Its figures, by path.
    pub metrics: Vec<Metric>,
    /// The engine's counters before and after.
    pub counters: Vec<CounterDelta>,
    /// Number of requests by how they ended.
    pub requests_by_end: BTreeMap<String, u64>,
    /// What became of each case; empty for scenarios that judge no answers.
    pub cases: Vec<CaseOutcome>,
}

impl Store {
    /// Everything about one trial.
    ///
    /// # Errors
    /// There is no such trial, or the database cannot be read.
    pub fn show(&self, id: TrialId) -> Result<TrialReport, StoreError> {
        let explain = self.explain("read a trial");
        let trial = self.trial(id)?;
        let gates = self.gate_results(id)?;
        let paired = self.paired_quality(id)?;
        let ids = self
            .conn
            .prepare_cached("SELECT id FROM attempt WHERE trial_id = ?1 ORDER BY number")
            .and_then(|mut s| all(&mut s, [id.0], |row| Ok(AttemptId(row.get(0)?))))
            .map_err(&explain)?;
        let attempt_reports = ids.into_iter().map(|a| self.attempt_report(a)).collect::<rusqlite::Result<_>>();
        let attempt_reports = attempt_reports.map_err(&explain)?;
        self.conn
            .query_row("SELECT * FROM trial WHERE id = ?1", [id.0], |row| {
                Ok(TrialReport {
                    trial,
                    settings: from_json(row, "settings_json")?,
                    axis_values: from_json(row, "axis_values_json")?,
                    argv: from_json(row, "argv_json")?,
                    image_digest: row.get("image_digest")?,
                    expected: match row.get_ref("expected")? {
                        ValueRef::Null => BTreeMap::new(),
                        _ => from_json(row, "expected")?,
                    },
                    gates,
                    paired,
                    attempt_reports,
                })
            })
            .map_err(explain)
    }

    /// Adds what was sampled to each attempt of a report. May take tens of ms for an attempt of an hour.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn add_telemetry(&self, report: &mut TrialReport) -> Result<(), StoreError> {
        const SQL: &str =
            "SELECT *, min(first_ms) OVER (PARTITION BY tag) AS tag_ms FROM telemetry WHERE attempt_id = ?1
                           ORDER BY tag_ms, source, series";
        for attempt in &mut report.attempt_reports {
            let rows = self.list(attempt.id.0, SQL, |row| {
                Ok(TelemetryRow {
                    tag: row.get("tag")?,
                    source: row.get("source")?,
                    series: row.get("series")?,
                    samples: count(row, "samples")?,
                    first_ms: row.get("first_ms")?,
                    last_ms: row.get("last_ms")?,
                    minimum: row.get("minimum")?,
                    median: row.get("median")?,
                    maximum: row.get("maximum")?,
                })
            });
            attempt.telemetry = rows.map_err(self.explain("read telemetry"))?;
        }
        Ok(())
    }

    fn attempt_report(&self, id: AttemptId) -> rusqlite::Result<AttemptReport> {
        let resolved = ResolvedConfig {
            facts: self.named(id, "SELECT name, value, source FROM resolved_fact WHERE attempt_id = ?1", |row| {
                Ok(Fact { value: row.get("value")?, source: parsed(row, "source")? })
            })?,
            figures: self
                .named(id, "SELECT name, value FROM resolved_figure WHERE attempt_id = ?1", |row| row.get("value"))?,
        };
        let mismatches = self.list(id.0, "SELECT * FROM mismatch WHERE attempt_id = ?1 ORDER BY name", |row| {
            Ok(Mismatch { name: row.get("name")?, requested: row.get("requested")?, resolved: row.get("resolved")? })
        })?;
        let scenarios = self.scenario_reports(id)?;
        self.conn.query_row("SELECT * FROM attempt WHERE id = ?1", [id.0], |row| {
            Ok(AttemptReport {
                id,
                number: row.get("number")?,
                start: start(row)?,
                started_at: row.get("started_at")?,
                ended_at: row.get("ended_at")?,
                phase: parsed(row, "phase")?,
                outcome: self.outcome(id, row)?,
                container_id: row.get("container_id")?,
                image_digest: row.get("image_digest")?,
                log_path: row.get::<_, Option<String>>("log_path")?.map(PathBuf::from),
                ready_s: row.get("ready_s")?,
                elapsed_s: row.get("elapsed_s")?,
                timings: from_json(row, "timings_json")?,
                resolved,
                mismatches,
                scenarios,
                telemetry: Vec::new(),
            })
        })
    }

    fn outcome(&self, id: AttemptId, row: &Row<'_>) -> rusqlite::Result<Option<Outcome>> {
        let Some(outcome) = row.get::<_, Option<String>>("outcome")? else { return Ok(None) };
        Ok(Some(match outcome.as_str() {
            "measured" => Outcome::Measured,
            "failed" => Outcome::Failed(Failure {
                phase: parsed(row, "phase")?,
                stage: parsed_opt(row, "stage")?,
                cause: parsed_opt(row, "cause")?.unwrap_or(Cause::Unknown),
                evidence: self.list(
                    id.0,
                    "SELECT * FROM attempt_evidence WHERE attempt_id = ?1 ORDER BY position",
                    |row| {
                        Ok(Evidence {
                            line_number: row.get::<_, Option<u32>>("line_number")?.map(|n| n as usize),
                            text: row.get("text")?,
                        })
                    },
                )?,
                numbers: self.named(id, "SELECT name, value FROM attempt_number WHERE attempt_id = ?1", |row| {
                    row.get("value")
                })?,
                remedy: row.get::<_, Option<String>>("remedy")?.unwrap_or_default(),
                transient: row.get::<_, Option<bool>>("transient")?.unwrap_or(false),
                exit: ExitFacts {
                    status: row.get("exit_status")?,
                    exit_code: row.get("exit_code")?,
                    oom_killed: row.get("oom_killed")?,
                    error: row.get("exit_error")?,
                    asked_to_stop: row.get::<_, Option<bool>>("asked_to_stop")?.unwrap_or(false),
                },
            }),
            // The schema allows no fourth word.
            _ => Outcome::Interrupted,
        }))
    }

    fn scenario_reports(&self, attempt: AttemptId) -> rusqlite::Result<Vec<ScenarioReport>> {
        let mut statement =
            self.conn.prepare_cached("SELECT * FROM scenario_result WHERE attempt_id = ?1 ORDER BY id")?;
        all(&mut statement, [attempt.0], |row| {
            let id: i64 = row.get("id")?;
            let reasons = self.list(
                id,
                "SELECT * FROM validity_reason WHERE scenario_result_id = ?1 ORDER BY position",
                |row| Ok((parsed(row, "reason")?, row.get("sentence")?)),
            )?;
            let ends = self.list(
                id,
                "SELECT ended, count(*) AS requests FROM request WHERE scenario_result_id = ?1 GROUP BY ended",
                |row| Ok((row.get("ended")?, count(row, "requests")?)),
            )?;
            Ok(ScenarioReport {
                id: ScenarioResultId(id),
                result_key: ResultKey(row.get("result_key")?),
                spec: from_json(row, "spec_json")?,
                data_sha256: row.get("data_sha256")?,
                started_at: row.get("started_at")?,
                elapsed_s: row.get("elapsed_s")?,
                validity: Validity { verdict: parsed(row, "verdict")?, reasons },
                metrics: self.list(
                    id,
                    "SELECT * FROM metric WHERE scenario_result_id = ?1 ORDER BY path",
                    super::read::metric,
                )?,
                counters: self.list(
                    id,
                    "SELECT * FROM engine_counter WHERE scenario_result_id = ?1 ORDER BY name",
                    |row| {
                        Ok(CounterDelta {
                            name: row.get("name")?,
                            before: row.get("before")?,
                            after: row.get("after")?,
                        })
                    },
                )?,
                requests_by_end: ends.into_iter().collect(),
                cases: self.list(
                    id,
                    "SELECT * FROM case_outcome WHERE scenario_result_id = ?1 ORDER BY position",
                    super::quality::case,
                )?,
            })
        })
    }

    fn list<T>(
        &self,
        id: i64,
        sql: &str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        all(&mut *self.conn.prepare_cached(sql)?, [id], read)
    }

    fn named<T>(
        &self,
        id: AttemptId,
        sql: &str,
        mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<BTreeMap<String, T>> {
        let pairs = self.list(id.0, sql, |row| Ok((row.get("name")?, read(row)?)))?;
        Ok(pairs.into_iter().collect())
    }
}

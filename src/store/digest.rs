//! Reading: what a report needs beside the trials themselves: request latencies without their chunks, series, runs, the host.

use rusqlite::Row;
use serde::Serialize;

use super::models::{AttemptId, ScenarioResultId, TelemetrySample};
use super::rows::{all, from_json};
use super::{Store, StoreError};
use crate::domain::{Event, SweepId};

/// One request as a distribution sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestSample {
    /// The scenario's point.
    pub point: Option<String>,
    /// What it was for.
    pub role: String,
    /// First token - sent, ms.
    pub ttft_ms: Option<f64>,
    /// End - sent, ms.
    pub e2e_ms: f64,
    /// Time per output token, ms.
    pub tpot_ms: Option<f64>,
}

/// One run of vgrid over a sweep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunRow {
    /// Start, RFC 3339, UTC.
    pub started_at: String,
    /// End; None while it runs.
    pub ended_at: Option<String>,
    /// How it ended; None while it runs.
    pub ended: Option<String>,
    /// The vgrid that ran.
    pub vgrid_version: String,
}

impl Store {
    /// The complete requests of a result that belong to its measured window, in the order of sending.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn request_samples(&self, result: ScenarioResultId) -> Result<Vec<RequestSample>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT point, role, ttft_ms, e2e_ms, tpot_ms FROM request
                 WHERE scenario_result_id = ?1 AND measured AND ended IN ('ok', 'truncated') ORDER BY position",
            )
            .and_then(|mut s| all(&mut s, [result.0], request_sample))
            .map_err(self.explain("read request latencies"))
    }

    /// One series of an attempt, by source, in the order of time.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn telemetry(&self, attempt: AttemptId, series: &str) -> Result<Vec<TelemetrySample>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT * FROM telemetry_sample WHERE attempt_id = ?1 AND series = ?2 ORDER BY source, offset_ms",
            )
            .and_then(|mut s| {
                all(&mut s, rusqlite::params![attempt.0, series], |row| {
                    Ok(TelemetrySample {
                        series: row.get("series")?,
                        source: row.get("source")?,
                        offset_ms: row.get("offset_ms")?,
                        tag: row.get("tag")?,
                        value: row.get("value")?,
                    })
                })
            })
            .map_err(self.explain("read telemetry"))
    }

    /// The runs of vgrid over a sweep, in order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn runs(&self, sweep: SweepId) -> Result<Vec<RunRow>, StoreError> {
        self.conn
            .prepare_cached("SELECT * FROM sweep_run WHERE sweep_id = ?1 ORDER BY id")
            .and_then(|mut s| {
                all(&mut s, [sweep.0], |row| {
                    Ok(RunRow {
                        started_at: row.get("started_at")?,
                        ended_at: row.get("ended_at")?,
                        ended: row.get("ended")?,
                        vgrid_version: row.get("vgrid_version")?,
                    })
                })
            })
            .map_err(self.explain("read the runs"))
    }

    /// Facts about the host, as the sweep registered them.
    ///
    /// # Errors
    /// There is no such sweep, or the database cannot be read.
    pub fn host(&self, sweep: SweepId) -> Result<serde_json::Value, StoreError> {
        self.conn
            .query_row("SELECT host_json FROM sweep WHERE id = ?1", [sweep.0], |row| from_json(row, "host_json"))
            .map_err(self.no_sweep(sweep, "read the host"))
    }

    /// What was told of the sweep itself, with the time: warnings, notices, what was put back and what was not.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn remarks(&self, sweep: SweepId) -> Result<Vec<(String, Event)>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT told_at, event_json FROM event WHERE sweep_id = ?1
                   AND json_extract(event_json, '$.event') IN ('warning', 'notice', 'restored', 'restore_failed', 'breaker_tripped',
                     'sweep_failed') ORDER BY id",
            )
            .and_then(|mut s| all(&mut s, [sweep.0], |row| Ok((row.get("told_at")?, from_json(row, "event_json")?))))
            .map_err(self.explain("read the events"))
    }
}

fn request_sample(row: &Row<'_>) -> rusqlite::Result<RequestSample> {
    Ok(RequestSample {
        point: row.get("point")?,
        role: row.get("role")?,
        ttft_ms: row.get("ttft_ms")?,
        e2e_ms: row.get("e2e_ms")?,
        tpot_ms: row.get("tpot_ms")?,
    })
}

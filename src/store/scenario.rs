//! Writing and reading one scenario's result with all its raw requests.

use rusqlite::{Row, Transaction, named_params, params};

use super::models::{AttemptId, ScenarioResultId};
use super::rows::{all, blob, json, now, parsed};
use super::{Store, StoreError};
use crate::domain::{PointWindow, RequestRecord, ScenarioResult};
use crate::resume::ResultKey;

impl Store {
    /// Stores a scenario's result: figures, counters, verdict and every request, in one transaction. When it returns, the result
    /// survives a power cut and is never measured again. Takes well under a second for 10,000 requests.
    ///
    /// A figure that is no finite number is not a measurement and is left out.
    ///
    /// # Errors
    /// The database cannot be written, or this trial has a result of the same key already.
    pub fn save_scenario(
        &mut self,
        attempt: AttemptId,
        key: &ResultKey,
        result: &ScenarioResult,
    ) -> Result<ScenarioResultId, StoreError> {
        let explain = self.explain("save a scenario");
        self.write(|tx| {
            tx.prepare_cached(
                "INSERT INTO scenario_result (attempt_id, trial_id, scenario, spec_json, data_sha256, result_key, started_at,
                   elapsed_s, verdict, saved_at)
                 VALUES (:attempt, (SELECT trial_id FROM attempt WHERE id = :attempt), :scenario, :spec, :data, :key, :started,
                   :elapsed, :verdict, :saved)",
            )?
            .execute(named_params! {
                ":attempt": attempt.0,
                ":scenario": result.spec.kind().as_str(),
                ":spec": json(&result.spec)?,
                ":data": result.data_sha256,
                ":key": key.0,
                ":started": result.started_at,
                ":elapsed": result.elapsed_s,
                ":verdict": result.validity.verdict.as_str(),
                ":saved": now(),
            })?;
            let id = tx.last_insert_rowid();
            insert_figures(tx, id, result)?;
            insert_windows(tx, id, &result.windows)?;
            insert_requests(tx, id, &result.requests)?;
            super::quality::insert_cases(tx, id, &result.cases)?;
            Ok(ScenarioResultId(id))
        })
        .map_err(explain)
    }

    /// Every raw request of a scenario's result, in the order of sending. May be slow for tens of thousands.
    ///
    /// # Errors
    /// The database cannot be read.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the report will draw single requests; tests read back what was stored")
    )]
    pub fn requests(&self, result: ScenarioResultId) -> Result<Vec<RequestRecord>, StoreError> {
        self.conn
            .prepare_cached("SELECT * FROM request WHERE scenario_result_id = ?1 ORDER BY position")
            .and_then(|mut s| all(&mut s, [result.0], request))
            .map_err(self.explain("read requests"))
    }
}

fn insert_figures(tx: &Transaction<'_>, id: i64, result: &ScenarioResult) -> rusqlite::Result<()> {
    let mut reason = tx.prepare_cached(
        "INSERT INTO validity_reason (scenario_result_id, position, reason, sentence) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (position, (code, sentence)) in result.validity.reasons.iter().enumerate() {
        reason.execute(params![id, position as i64 + 1, code.as_str(), sentence])?;
    }
    let mut metric = tx.prepare_cached(
        "INSERT OR REPLACE INTO metric (scenario_result_id, path, scenario, point, name, statistic, value, unit, n, failed_n,
           ci_low, ci_high)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    for m in result.metrics.iter().filter(|m| m.value.is_finite()) {
        metric.execute(params![
            id,
            m.path.to_string(),
            m.path.scenario.as_str(),
            m.path.point,
            m.path.name,
            m.path.statistic,
            m.value,
            m.unit,
            m.n as i64,
            m.failed_n as i64,
            m.ci_low.filter(|v| v.is_finite()),
            m.ci_high.filter(|v| v.is_finite()),
        ])?;
    }
    let mut counter = tx.prepare_cached(
        "INSERT OR REPLACE INTO engine_counter (scenario_result_id, name, before, after) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for c in result.counters.iter().filter(|c| c.before.is_finite() && c.after.is_finite()) {
        counter.execute(params![id, c.name, c.before, c.after])?;
    }
    Ok(())
}

fn insert_windows(tx: &Transaction<'_>, id: i64, windows: &[PointWindow]) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT OR REPLACE INTO point_window (scenario_result_id, point, start_ms, end_ms) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for w in windows {
        insert.execute(params![id, w.point, w.start_ms, w.end_ms])?;
    }
    Ok(())
}

fn insert_requests(tx: &Transaction<'_>, id: i64, requests: &[RequestRecord]) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO request (scenario_result_id, position, point, role, measured, intended_ms, sent_ms, headers_ms,
           first_token_ms, first_content_ms, last_token_ms, end_ms, ended, finish_reason, http_status, error, prompt_tokens,
           completion_tokens, cached_tokens, chunk_count, chunks, body_sha256, user_number, chunk_tokens)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
           ?23, ?24)",
    )?;
    for r in requests {
        insert.execute(params![
            id,
            r.index,
            r.point,
            r.role.as_str(),
            r.measured,
            r.intended_ms,
            r.sent_ms,
            r.headers_ms,
            r.first_token_ms,
            r.first_content_ms,
            r.last_token_ms,
            r.end_ms,
            r.end.as_str(),
            r.finish_reason,
            r.http_status,
            r.error,
            r.prompt_tokens,
            r.completion_tokens,
            r.cached_tokens,
            r.chunks.len() as i64,
            super::chunks::encode(&r.chunks),
            r.body_sha256,
            r.user_number,
            (!r.chunk_tokens.is_empty()).then(|| super::chunks::encode_tokens(&r.chunk_tokens)),
        ])?;
    }
    Ok(())
}

fn request(row: &Row<'_>) -> rusqlite::Result<RequestRecord> {
    Ok(RequestRecord {
        index: row.get("position")?,
        point: row.get("point")?,
        role: parsed(row, "role")?,
        user_number: row.get("user_number")?,
        measured: row.get("measured")?,
        intended_ms: row.get("intended_ms")?,
        sent_ms: row.get("sent_ms")?,
        headers_ms: row.get("headers_ms")?,
        first_token_ms: row.get("first_token_ms")?,
        first_content_ms: row.get("first_content_ms")?,
        last_token_ms: row.get("last_token_ms")?,
        end_ms: row.get("end_ms")?,
        end: parsed(row, "ended")?,
        finish_reason: row.get("finish_reason")?,
        http_status: row.get("http_status")?,
        error: row.get("error")?,
        prompt_tokens: row.get("prompt_tokens")?,
        completion_tokens: row.get("completion_tokens")?,
        cached_tokens: row.get("cached_tokens")?,
        chunks: blob(row, "chunks", super::chunks::decode)?.unwrap_or_default(),
        chunk_tokens: blob(row, "chunk_tokens", super::chunks::decode_tokens)?.unwrap_or_default(),
        body_sha256: row.get("body_sha256")?,
    })
}

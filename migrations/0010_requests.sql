-- Raw requests with the names of what they belong to; and the attempt that found a twin is told apart from one that was cut short.

CREATE VIEW requests AS
SELECT
  t.sweep_id, t.id AS trial_id, t.name AS config, r.attempt_id, a.purpose, a.start_number, r.scenario,
  q.scenario_result_id, q.position, q.point, q.role, q.measured, q.intended_ms, q.sent_ms, q.headers_ms, q.first_token_ms,
  q.first_content_ms, q.last_token_ms, q.end_ms, q.ended, q.finish_reason, q.http_status, q.error, q.prompt_tokens,
  q.completion_tokens, q.cached_tokens, q.chunk_count, q.chunks, q.chunk_tokens, q.user_number, q.body_sha256, q.ttft_ms, q.ttfc_ms, q.e2e_ms, q.queue_ms, q.tpot_ms
FROM trial t
JOIN scenario_result r ON r.trial_id = t.id
JOIN attempt a ON a.id = r.attempt_id
JOIN request q ON q.scenario_result_id = r.id;

DROP VIEW timeline;
CREATE VIEW timeline AS
SELECT
  sweep_id, run_id, attempt_id, trial_id, config, is_baseline, purpose, start_number, attempt, started_at, ended_at, offset_s,
  idle_before_s, ready_s, elapsed_s,
  CASE WHEN twin IS NULL THEN outcome ELSE 'twin' END AS state,
  phase, cause, twin AS detail
FROM (
  SELECT
    t.sweep_id,
    a.run_id,
    a.id AS attempt_id,
    t.id AS trial_id,
    t.name AS config,
    t.is_baseline,
    a.purpose,
    a.start_number,
    a.number AS attempt,
    a.started_at,
    a.ended_at,
    round((julianday(a.started_at) - julianday(w.created_at)) * 86400.0, 3) AS offset_s,
    round((julianday(a.started_at) - julianday(
      (SELECT p.ended_at FROM attempt p WHERE p.run_id = a.run_id AND p.id < a.id ORDER BY p.id DESC LIMIT 1))) * 86400.0, 3) AS idle_before_s,
    a.ready_s,
    a.elapsed_s,
    coalesce(a.outcome, 'running') AS outcome,
    a.phase,
    a.cause,
    CASE WHEN a.outcome = 'interrupted' THEN (
      SELECT s.explanation FROM trial_skip s WHERE s.trial_id = t.id AND s.reason = 'twin' AND s.after_attempt = a.number
    ) END AS twin
  FROM sweep w
  JOIN trial t ON t.sweep_id = w.id
  JOIN attempt a ON a.trial_id = t.id);

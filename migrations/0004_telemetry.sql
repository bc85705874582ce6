-- Telemetry by attempt, phase and series. The inner query orders the values of each group, for the median.
CREATE VIEW telemetry AS
SELECT
  t.sweep_id,
  a.trial_id,
  t.name AS config,
  s.attempt_id,
  a.number AS attempt,
  s.tag,
  s.source,
  s.series,
  count(*) AS samples,
  min(s.offset_ms) AS first_ms,
  max(s.offset_ms) AS last_ms,
  min(s.value) AS minimum,
  avg(s.value) FILTER (WHERE s.at IN ((s.n + 1) / 2, (s.n + 2) / 2)) AS median,
  max(s.value) AS maximum
FROM (
  SELECT
    attempt_id, tag, source, series, offset_ms, value,
    row_number() OVER (PARTITION BY attempt_id, tag, source, series ORDER BY value) AS at,
    count(*) OVER (PARTITION BY attempt_id, tag, source, series) AS n
  FROM telemetry_sample
) AS s
JOIN attempt a ON a.id = s.attempt_id
JOIN trial t ON t.id = a.trial_id
GROUP BY s.attempt_id, s.tag, s.source, s.series;

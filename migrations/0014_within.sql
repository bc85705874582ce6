-- What is assumed at least within a start no longer grows with the figure alone: a cache hit of 10 +- 1.5 ms says nothing about a figure
-- of 58 ms beside it.

ALTER TABLE start_noise ADD COLUMN within_variance_absolute REAL NOT NULL DEFAULT 0.0;

DROP VIEW ranking_live;

-- rank::judge says the same in Rust. 3.841458820694124 is z(0.975)^2: half-widths of 95 % intervals are squared here. 0.0025 is the square
-- of the deviation between starts that is assumed where no config was started twice, 0.0009 that of the prior that what was measured is joined
-- with, 3.0 the prior's degrees of freedom.
CREATE VIEW ranking_live AS
WITH gate_count AS MATERIALIZED (
  SELECT sweep_id, count(*) AS gates FROM gate GROUP BY sweep_id
), gate_state AS MATERIALIZED (
  SELECT trial_id, count(*) FILTER (WHERE passed = 0) AS failed, count(*) FILTER (WHERE passed = 1) AS passed
  FROM gate_result GROUP BY trial_id
), figure AS MATERIALIZED (
  SELECT *,
    (gates = 'pass' AND verdict <> 'invalid') AS eligible,
    CASE direction WHEN 'minimize' THEN judged ELSE -judged END AS cost,
    CASE WHEN degrees > 0 OR NOT moved THEN squared * counted / starts END AS v_starts,
    b_better / starts AS v_better,
    b_worse / starts AS v_worse,
    b_better * b_better / (starts * starts * CASE WHEN own_better IS NULL THEN start_degrees ELSE starts * (samples - 1.0) END) AS c_better,
    b_worse * b_worse / (starts * starts * CASE WHEN own_worse IS NULL THEN start_degrees ELSE starts * (samples - 1.0) END) AS c_worse
  FROM (
   SELECT *,
    CASE degrees WHEN 0 THEN 0.0025 ELSE max((3.0 * 0.0009 + degrees * start_variance) / (3.0 + degrees), start_variance) END AS counted,
    CASE degrees WHEN 0 THEN 1000.0 ELSE 3.0 + degrees END AS start_degrees,
    CASE WHEN own_better IS NOT NULL THEN max(own_better, min(squared * within_variance, unit_squared * within_variance_absolute))
         WHEN degrees > 0 AND squared > 0.0 THEN squared * within_variance END AS b_better,
    CASE WHEN own_worse IS NOT NULL THEN max(own_worse, min(squared * within_variance, unit_squared * within_variance_absolute))
         WHEN degrees > 0 AND squared > 0.0 THEN squared * within_variance END AS b_worse
  FROM (
    SELECT *,
      3.841458820694124 * scale * scale AS unit_squared,
      3.841458820694124 * value * scale * value * scale AS squared,
      CASE WHEN samples >= 2 THEN scale * scale * starts * toward_better * toward_better * samples / (samples - 1.0) END AS own_better,
      CASE WHEN samples >= 2 THEN scale * scale * starts * toward_worse * toward_worse * samples / (samples - 1.0) END AS own_worse
    FROM (
      SELECT
        o.sweep_id, o.position AS objective_position, o.name AS objective, o.metric, o.direction,
        t.id AS trial_id, t.name AS config, t.is_baseline,
        f.value, f.unit, f.n, f.starts, f.n / f.starts AS samples, f.ci_low, f.ci_high, f.verdict, f.relative,
        coalesce(s.degrees, 0) AS degrees, coalesce(s.start_variance, 0.0) AS start_variance,
        coalesce(s.within_variance, 0.0) AS within_variance, coalesce(s.within_variance_absolute, 0.0) AS within_variance_absolute,
        coalesce(s.moved, 0) AS moved,
        CASE WHEN coalesce(s.moved, 0) THEN f.relative ELSE f.value END AS judged,
        CASE WHEN coalesce(s.moved, 0) THEN coalesce(nullif(abs(f.relative / f.value), 0.0), 1.0) ELSE 1.0 END AS scale,
        max(0.0, CASE o.direction WHEN 'minimize' THEN f.value - f.ci_low ELSE f.ci_high - f.value END) AS toward_better,
        max(0.0, CASE o.direction WHEN 'minimize' THEN f.ci_high - f.value ELSE f.value - f.ci_low END) AS toward_worse,
        CASE
          WHEN coalesce(g.failed, 0) > 0 THEN 'fail'
          WHEN coalesce(q.gates, 0) > coalesce(g.passed, 0) THEN 'not_measured'
          ELSE 'pass'
        END AS gates
      FROM objective o
      CROSS JOIN trial t ON t.sweep_id = o.sweep_id
      CROSS JOIN trial_figure f ON f.trial_id = t.id AND f.path = o.metric
      LEFT JOIN start_noise s ON s.sweep_id = o.sweep_id AND s.path = o.metric
      LEFT JOIN gate_count q ON q.sweep_id = o.sweep_id
      LEFT JOIN gate_state g ON g.trial_id = t.id
      WHERE o.sweep_id NOT IN (SELECT sweep_id FROM ranked_sweep))))
), leader AS MATERIALIZED (
  SELECT
    o.sweep_id, o.objective_position, o.trial_id, o.cost, o.v_starts, o.v_worse AS v, o.c_worse AS c,
    (SELECT min(c.candidates) FROM critical_value c WHERE c.candidates >= min(o.candidates, 16384)) AS candidates
  FROM (
    SELECT
      sweep_id, objective_position, trial_id, direction, value, cost, v_starts, v_worse, c_worse,
      row_number() OVER (PARTITION BY sweep_id, objective_position ORDER BY cost IS NULL, cost, config, trial_id) AS at,
      count(*) OVER (PARTITION BY sweep_id, objective_position) AS candidates
    FROM figure WHERE eligible) AS o
  -- Of what is to be as much as possible, 0 leads nobody.
  WHERE o.at = 1 AND NOT (o.direction = 'maximize' AND o.value = 0.0)
), baseline AS MATERIALIZED (
  SELECT sweep_id, objective_position, judged, max(trial_id) FROM figure
  WHERE is_baseline AND verdict <> 'invalid' GROUP BY sweep_id, objective_position
), compared AS MATERIALIZED (
  SELECT *,
    distance_squared / nullif(v, 0.0) AS distance,
    (further AND v = 0.0) AS exact_apart,
    -- Satterthwaite 1946; the two figures share the estimate between starts.
    min(1000, cast(1e-9 + v * v / (v_of_starts * v_of_starts / start_degrees + c) AS INTEGER)) AS d
  FROM (
    SELECT f.*, l.trial_id AS leader_id, l.candidates,
      (f.cost - l.cost) * (f.cost - l.cost) AS distance_squared,
      f.cost > l.cost AS further,
      l.v_starts + f.v_starts AS v_of_starts,
      l.v_starts + f.v_starts + l.v + f.v_better AS v,
      l.c + f.c_better AS c
    FROM figure f
    LEFT JOIN leader l ON l.sweep_id = f.sweep_id AND l.objective_position = f.objective_position)
), judged AS MATERIALIZED (
  SELECT c.*,
    -- NULL (noise that is not known) is not apart.
    coalesce(c.exact_apart OR c.distance > (SELECT x.factor * x.factor FROM critical_value x
      WHERE x.candidates = c.candidates AND x.degrees <= c.d ORDER BY x.degrees DESC LIMIT 1), 0) AS apart,
    coalesce(c.exact_apart OR c.distance > (SELECT x.factor * x.factor FROM critical_value x
      WHERE x.candidates = 2 AND x.degrees <= c.d ORDER BY x.degrees DESC LIMIT 1), 0) AS apart_as_pair
  FROM compared c
), settled AS MATERIALIZED (
  SELECT j.*,
    min(CASE WHEN j.eligible AND j.trial_id <> j.leader_id THEN j.apart_as_pair ELSE 1 END)
      OVER (PARTITION BY j.sweep_id, j.objective_position) AS leader_is_best
  FROM judged j
)
SELECT
  f.sweep_id,
  f.objective_position,
  f.objective,
  f.metric,
  f.direction,
  CASE WHEN f.eligible THEN
    rank() OVER (PARTITION BY f.sweep_id, f.objective_position, f.eligible ORDER BY f.cost IS NULL, f.cost)
  END AS rank,
  f.config,
  f.trial_id,
  f.value,
  f.unit,
  f.n,
  f.ci_low,
  f.ci_high,
  100.0 * CASE f.direction WHEN 'minimize' THEN b.judged - f.judged ELSE f.judged - b.judged END
    / nullif(abs(b.judged), 0) AS gain_percent,
  f.verdict,
  f.gates,
  CASE
    WHEN f.verdict = 'invalid' THEN 'invalid'
    WHEN f.gates = 'fail' THEN 'gate_failed'
    WHEN f.gates = 'not_measured' THEN 'gate_not_measured'
    WHEN f.trial_id = f.leader_id THEN 'leader'
    WHEN f.leader_id IS NOT NULL AND (f.apart OR f.leader_is_best) THEN 'behind'
    ELSE 'tied'
  END AS standing,
  f.starts,
  f.relative,
  f.starts >= 2 AS confirmed
FROM settled f
LEFT JOIN baseline b ON b.sweep_id = f.sweep_id AND b.objective_position = f.objective_position;


-- Figures over several starts. Both tables are derived: vgrid computes them anew from metric, in the transaction that ends a measured
-- attempt, because what they hold (a mean of starts, their variance, the baseline interpolated in time) is too slow for a view.

CREATE TABLE trial_figure (
  trial_id        INTEGER NOT NULL REFERENCES trial (id) ON DELETE CASCADE,
  path            TEXT NOT NULL,
  value           REAL NOT NULL,
  unit            TEXT NOT NULL,
  n               INTEGER NOT NULL,
  starts          INTEGER NOT NULL,
  failed_n        INTEGER NOT NULL,
  ci_low          REAL,
  ci_high         REAL,
  verdict         TEXT NOT NULL CHECK (verdict IN ('valid', 'suspect', 'invalid')),
  relative        REAL,
  PRIMARY KEY (trial_id, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE start_noise (
  sweep_id        INTEGER NOT NULL REFERENCES sweep (id) ON DELETE CASCADE,
  path            TEXT NOT NULL,
  degrees         INTEGER NOT NULL,
  start_variance  REAL NOT NULL,
  within_variance REAL NOT NULL,
  controls        INTEGER NOT NULL,
  moved           INTEGER NOT NULL CHECK (moved IN (0, 1)),
  change_percent  REAL,
  change_low      REAL,
  change_high     REAL,
  PRIMARY KEY (sweep_id, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX attempt_further ON attempt (trial_id) WHERE purpose <> 'trial';

CREATE VIEW controls AS
SELECT t.sweep_id, t.id AS trial_id, t.name AS config, o.objective, o.metric, a.id AS attempt_id, a.purpose, a.start_number, r.started_at,
       m.value, m.unit, m.n, m.ci_low, m.ci_high, r.verdict, s.moved, s.change_percent
FROM (SELECT sweep_id, metric, scenario, group_concat(name, ', ') AS objective FROM objective GROUP BY sweep_id, metric, scenario) AS o
JOIN trial t ON t.sweep_id = o.sweep_id AND t.is_baseline
JOIN scenario_result r ON r.trial_id = t.id AND r.scenario = o.scenario
JOIN metric m ON m.scenario_result_id = r.id AND m.path = o.metric
JOIN attempt a ON a.id = r.attempt_id
LEFT JOIN start_noise s ON s.sweep_id = t.sweep_id AND s.path = o.metric;

DROP VIEW champions;
DROP VIEW ranking;

-- rank::judge says the same in Rust. 3.841458820694124 is z(0.975)^2: half-widths of 95 % intervals are squared here. 0.0025 is the square
-- of the deviation between starts that is assumed where no config was started twice.
CREATE VIEW ranking AS
WITH gate_count AS MATERIALIZED (
  SELECT sweep_id, count(*) AS gates FROM gate GROUP BY sweep_id
), gate_state AS MATERIALIZED (
  SELECT trial_id, count(*) FILTER (WHERE passed = 0) AS failed, count(*) FILTER (WHERE passed = 1) AS passed
  FROM gate_result GROUP BY trial_id
), figure AS MATERIALIZED (
  SELECT *,
    (gates = 'pass' AND verdict <> 'invalid') AS eligible,
    CASE direction WHEN 'minimize' THEN judged ELSE -judged END AS cost,
    CASE WHEN degrees > 0 THEN
      CASE WHEN own_better IS NOT NULL OR squared * (start_variance + within_variance) > 0.0 THEN
        (squared * start_variance + max(coalesce(own_better, 0.0), squared * within_variance)) / starts END
    WHEN NOT moved THEN (own_better + squared * 0.0025) / starts END AS v_better,
    CASE WHEN degrees > 0 THEN
      CASE WHEN own_worse IS NOT NULL OR squared * (start_variance + within_variance) > 0.0 THEN
        (squared * start_variance + max(coalesce(own_worse, 0.0), squared * within_variance)) / starts END
    WHEN NOT moved THEN (own_worse + squared * 0.0025) / starts END AS v_worse,
    CASE WHEN own_better > 0.0 THEN min(1000.0, (samples - 1.0)
      * (1.0 + squared * 0.0025 / own_better) * (1.0 + squared * 0.0025 / own_better)) ELSE 1000.0 END AS d_better,
    CASE WHEN own_worse > 0.0 THEN min(1000.0, (samples - 1.0)
      * (1.0 + squared * 0.0025 / own_worse) * (1.0 + squared * 0.0025 / own_worse)) ELSE 1000.0 END AS d_worse
  FROM (
    SELECT *,
      3.841458820694124 * value * scale * value * scale AS squared,
      CASE WHEN samples >= 2 THEN scale * scale * starts * toward_better * toward_better * samples / (samples - 1.0) END AS own_better,
      CASE WHEN samples >= 2 THEN scale * scale * starts * toward_worse * toward_worse * samples / (samples - 1.0) END AS own_worse
    FROM (
      SELECT
        o.sweep_id, o.position AS objective_position, o.name AS objective, o.metric, o.direction,
        t.id AS trial_id, t.name AS config, t.is_baseline,
        f.value, f.unit, f.n, f.starts, f.n / f.starts AS samples, f.ci_low, f.ci_high, f.verdict, f.relative,
        coalesce(s.degrees, 0) AS degrees, coalesce(s.start_variance, 0.0) AS start_variance,
        coalesce(s.within_variance, 0.0) AS within_variance, coalesce(s.moved, 0) AS moved,
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
      LEFT JOIN gate_state g ON g.trial_id = t.id))
), leader AS MATERIALIZED (
  SELECT
    o.sweep_id, o.objective_position, o.trial_id, o.cost, o.d_worse AS d, o.v_worse AS v,
    (SELECT min(c.candidates) FROM critical_value c WHERE c.candidates >= min(o.candidates, 16384)) AS candidates
  FROM (
    SELECT
      sweep_id, objective_position, trial_id, cost, v_worse, d_worse,
      row_number() OVER (PARTITION BY sweep_id, objective_position ORDER BY cost IS NULL, cost, config, trial_id) AS at,
      count(*) OVER (PARTITION BY sweep_id, objective_position) AS candidates
    FROM figure WHERE eligible) AS o
  WHERE o.at = 1
), baseline AS MATERIALIZED (
  SELECT sweep_id, objective_position, value, judged, max(trial_id) FROM figure
  WHERE is_baseline AND verdict <> 'invalid' GROUP BY sweep_id, objective_position
), compared AS MATERIALIZED (
  SELECT f.*, l.trial_id AS leader_id, l.candidates,
    (f.cost - l.cost) * (f.cost - l.cost) / nullif(l.v + f.v_better, 0.0) AS distance,
    (f.cost > l.cost AND l.v + f.v_better = 0.0) AS exact_apart,
    CASE WHEN f.degrees > 0 THEN f.degrees ELSE
      min(1000, cast(1e-9 + coalesce(
        (l.v + f.v_better) * (l.v + f.v_better) / (l.v * l.v / l.d + f.v_better * f.v_better / f.d_better),
        min(l.d, f.d_better)) AS INTEGER)) END AS d
  FROM figure f
  LEFT JOIN leader l ON l.sweep_id = f.sweep_id AND l.objective_position = f.objective_position
), judged AS MATERIALIZED (
  SELECT c.*,
    -- NULL (noise that is not known) is not apart.
    coalesce(c.exact_apart AND c.d >= 1 OR c.distance > (SELECT x.factor * x.factor FROM critical_value x
      WHERE x.candidates = c.candidates AND x.degrees <= c.d ORDER BY x.degrees DESC LIMIT 1), 0) AS apart,
    coalesce(c.exact_apart AND c.d >= 1 OR c.distance > (SELECT x.factor * x.factor FROM critical_value x
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
    WHEN f.apart OR f.leader_is_best THEN 'behind'
    ELSE 'tied'
  END AS standing,
  f.starts,
  f.relative,
  f.starts >= 2 AS confirmed
FROM settled f
LEFT JOIN baseline b ON b.sweep_id = f.sweep_id AND b.objective_position = f.objective_position;

CREATE VIEW champions AS
SELECT
  sweep_id,
  objective_position,
  objective,
  metric,
  direction,
  config,
  trial_id,
  CASE WHEN count(*) FILTER (WHERE standing = 'tied') = 0 THEN 'champion' ELSE 'tied' END AS standing,
  group_concat(config, ', ') FILTER (WHERE standing = 'tied') AS tied_with,
  value,
  unit,
  n,
  ci_low,
  ci_high,
  gain_percent,
  verdict,
  starts,
  confirmed
FROM (SELECT * FROM ranking WHERE rank IS NOT NULL ORDER BY sweep_id, objective_position, rank, config)
GROUP BY sweep_id, objective_position
-- The one min() of a query decides which row the plain columns come from: the leader's.
HAVING min(standing <> 'leader') = 0;

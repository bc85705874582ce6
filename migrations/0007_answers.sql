-- Views that answer the morning's questions: what changed against the baseline, which configs trade best, what each setting does, when
-- what ran. What SQL cannot compute (intervals of effects) is derived by vgrid when a run ends and stands in a table.

-- The ranking of a sweep that nobody adds to is kept as rows: over 10,000 configs it takes a third of a second to compute. Triggers end
-- the keeping as soon as vgrid writes what a ranking depends on (figures, gates, noise); until the next end of a run it is computed at every reading again.

DROP VIEW champions;
DROP VIEW ranking;

CREATE TABLE ranked_sweep (
  sweep_id        INTEGER PRIMARY KEY REFERENCES sweep (id) ON DELETE CASCADE
) STRICT;

CREATE TABLE ranked (
  sweep_id        INTEGER NOT NULL REFERENCES sweep (id) ON DELETE CASCADE,
  objective_position INTEGER NOT NULL,
  objective       TEXT NOT NULL,
  metric          TEXT NOT NULL,
  direction       TEXT NOT NULL,
  rank            INTEGER,
  config          TEXT NOT NULL,
  trial_id        INTEGER NOT NULL,
  value           REAL NOT NULL,
  unit            TEXT NOT NULL,
  n               INTEGER NOT NULL,
  ci_low          REAL,
  ci_high         REAL,
  gain_percent    REAL,
  verdict         TEXT NOT NULL,
  gates           TEXT NOT NULL,
  standing        TEXT NOT NULL,
  starts          INTEGER NOT NULL,
  relative        REAL,
  confirmed       INTEGER NOT NULL,
  PRIMARY KEY (sweep_id, objective_position, trial_id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER trial_figure_insert_ends_ranked AFTER INSERT ON trial_figure BEGIN
  DELETE FROM ranked_sweep WHERE sweep_id = (SELECT sweep_id FROM trial WHERE id = NEW.trial_id);
END;
CREATE TRIGGER trial_figure_delete_ends_ranked AFTER DELETE ON trial_figure BEGIN
  DELETE FROM ranked_sweep WHERE sweep_id = (SELECT sweep_id FROM trial WHERE id = OLD.trial_id);
END;
CREATE TRIGGER gate_result_insert_ends_ranked AFTER INSERT ON gate_result BEGIN
  DELETE FROM ranked_sweep WHERE sweep_id = (SELECT sweep_id FROM trial WHERE id = NEW.trial_id);
END;
CREATE TRIGGER start_noise_insert_ends_ranked AFTER INSERT ON start_noise BEGIN
  DELETE FROM ranked_sweep WHERE sweep_id = NEW.sweep_id;
END;

-- rank::judge says the same in Rust. 3.841458820694124 is z(0.975)^2: half-widths of 95 % intervals are squared here. 0.0025 is the square
-- of the deviation between starts that is assumed where no config was started twice.
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
      LEFT JOIN gate_state g ON g.trial_id = t.id
      WHERE o.sweep_id NOT IN (SELECT sweep_id FROM ranked_sweep)))
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
  SELECT sweep_id, objective_position, judged, max(trial_id) FROM figure
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

CREATE VIEW ranking AS
SELECT sweep_id, objective_position, objective, metric, direction, rank, config, trial_id, value, unit, n, ci_low, ci_high, gain_percent,
       verdict, gates, standing, starts, relative, confirmed
FROM ranked WHERE sweep_id IN (SELECT sweep_id FROM ranked_sweep)
UNION ALL
SELECT sweep_id, objective_position, objective, metric, direction, rank, config, trial_id, value, unit, n, ci_low, ci_high, gain_percent,
       verdict, gates, standing, starts, relative, confirmed
FROM ranking_live;

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

CREATE TABLE effect (
  id              INTEGER PRIMARY KEY,
  sweep_id        INTEGER NOT NULL REFERENCES sweep (id) ON DELETE CASCADE,
  objective       TEXT NOT NULL,
  metric          TEXT NOT NULL,
  direction       TEXT NOT NULL CHECK (direction IN ('minimize', 'maximize')),
  unit            TEXT NOT NULL,
  setting         TEXT NOT NULL,
  from_value      TEXT NOT NULL,
  to_value        TEXT NOT NULL,
  given_setting   TEXT,
  given_from      TEXT,
  given_to        TEXT,
  pairs           INTEGER NOT NULL,
  difference      REAL NOT NULL,
  ci_low          REAL,
  ci_high         REAL,
  change_percent  REAL,
  real            INTEGER NOT NULL CHECK (real IN (0, 1)),
  smallest        REAL,
  largest         REAL,
  CHECK ((given_setting IS NULL) = (given_from IS NULL) AND (given_setting IS NULL) = (given_to IS NULL))
) STRICT;
CREATE INDEX effect_by_sweep ON effect (sweep_id, id);

CREATE VIEW effects AS
SELECT
  sweep_id, objective, metric, direction, unit,
  CASE WHEN given_setting IS NULL THEN 'effect' ELSE 'interaction' END AS kind,
  setting, from_value, to_value, given_setting, given_from, given_to, pairs, difference, ci_low, ci_high, change_percent, real,
  CASE WHEN NOT real THEN 'noise' WHEN (difference < 0) = (direction = 'minimize') THEN 'better' ELSE 'worse' END AS verdict,
  smallest, largest
FROM effect;

-- Every figure beside the baseline's. CROSS JOIN keeps SQLite on the order trial, baseline, figures: by keys only.
CREATE VIEW comparison AS
WITH baseline AS MATERIALIZED (
  SELECT sweep_id, max(id) AS id FROM trial WHERE is_baseline GROUP BY sweep_id
)
SELECT
  t.sweep_id,
  t.id AS trial_id,
  t.name AS config,
  f.path AS metric,
  f.unit,
  f.value,
  f.ci_low,
  f.ci_high,
  f.n,
  f.verdict,
  g.value AS baseline_value,
  g.ci_low AS baseline_ci_low,
  g.ci_high AS baseline_ci_high,
  g.verdict AS baseline_verdict,
  f.value - g.value AS difference,
  100.0 * (f.value - g.value) / nullif(abs(g.value), 0) AS change_percent,
  f.ci_low > g.ci_high OR f.ci_high < g.ci_low AS intervals_apart
FROM trial t
CROSS JOIN baseline b ON b.sweep_id = t.sweep_id AND b.id <> t.id
CROSS JOIN trial_figure f ON f.trial_id = t.id
CROSS JOIN trial_figure g ON g.trial_id = b.id AND g.path = f.path;

-- A config is on the front of two objectives when no other that may rank is at least as good by both and better by one: when its second
-- cost is less than the least one among those that stand before it in the order of the first cost, then the second.
CREATE VIEW pareto AS
WITH cost AS MATERIALIZED (
  SELECT sweep_id, objective_position, objective, metric, trial_id, config, value, unit,
         -- The order of what is judged, ties included.
         rank AS cost
  FROM ranking WHERE rank IS NOT NULL
)
SELECT sweep_id, x_objective, y_objective, trial_id, config, x_metric, x, x_unit, y_metric, y, y_unit,
       NOT coalesce(least_before <= y_cost, 0) AS on_front
FROM (
  SELECT a.sweep_id, a.objective AS x_objective, b.objective AS y_objective, a.trial_id, a.config,
         a.metric AS x_metric, a.value AS x, a.unit AS x_unit, b.metric AS y_metric, b.value AS y, b.unit AS y_unit, b.cost AS y_cost,
         min(b.cost) OVER before AS least_before
  FROM cost a
  JOIN cost b ON b.trial_id = a.trial_id AND b.objective_position > a.objective_position
  WINDOW before AS (PARTITION BY a.sweep_id, a.objective_position, b.objective_position ORDER BY a.cost, b.cost
                    GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
);

CREATE VIEW timeline AS
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
  coalesce(a.outcome, 'running') AS state,
  a.phase,
  a.cause
FROM sweep w
JOIN trial t ON t.sweep_id = w.id
JOIN attempt a ON a.trial_id = t.id;

-- The same rows as before, by windows over the whole way from the trial, so that a question about one trial or attempt reads its samples alone.
DROP VIEW telemetry;

CREATE VIEW telemetry AS
SELECT sweep_id, trial_id, config, attempt_id, attempt, tag, source, series, samples, first_ms, last_ms, minimum, median, maximum
FROM (
  SELECT *, avg(CASE WHEN at IN ((samples + 1) / 2, (samples + 2) / 2) THEN value END)
              OVER (PARTITION BY sweep_id, trial_id, attempt_id, tag, source, series) AS median
  FROM (
    SELECT
      t.sweep_id, a.trial_id, t.name AS config, s.attempt_id, a.number AS attempt, s.tag, s.source, s.series, s.value,
      row_number() OVER part AS at,
      count(*) OVER part AS samples,
      min(s.offset_ms) OVER part AS first_ms,
      max(s.offset_ms) OVER part AS last_ms,
      first_value(s.value) OVER part AS minimum,
      last_value(s.value) OVER part AS maximum
    FROM trial t
    CROSS JOIN attempt a ON a.trial_id = t.id
    CROSS JOIN telemetry_sample s ON s.attempt_id = a.id
    WINDOW part AS (PARTITION BY t.sweep_id, a.trial_id, s.attempt_id, s.tag, s.source, s.series ORDER BY s.value
                    ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)))
WHERE at = 1;

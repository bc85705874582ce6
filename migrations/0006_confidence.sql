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

-- runs.db, schema version 1. Append-only: a released migration is never edited.
-- Tables are singular and hold facts; views are plural and hold everything that can be derived. docs/schema.md explains each column.

CREATE TABLE sweep (
  id              INTEGER PRIMARY KEY,
  uuid            TEXT NOT NULL UNIQUE,
  grid_name       TEXT NOT NULL,
  grid_path       TEXT NOT NULL,
  grid_text       TEXT NOT NULL,
  grid_sha256     TEXT NOT NULL,
  deployment      TEXT NOT NULL,
  baseline        TEXT,
  suite_json      TEXT NOT NULL CHECK (json_valid(suite_json)),
  plan_json       TEXT NOT NULL CHECK (json_valid(plan_json)),
  images_json     TEXT NOT NULL CHECK (json_valid(images_json)),
  host_json       TEXT NOT NULL CHECK (json_valid(host_json)),
  vgrid_version   TEXT NOT NULL,
  created_at      TEXT NOT NULL
) STRICT;
CREATE INDEX sweep_by_grid ON sweep (grid_sha256, deployment);

CREATE TABLE sweep_run (
  id              INTEGER PRIMARY KEY,
  sweep_id        INTEGER NOT NULL REFERENCES sweep (id) ON DELETE CASCADE,
  started_at      TEXT NOT NULL,
  ended_at        TEXT,
  ended           TEXT CHECK (ended IN ('complete', 'incomplete', 'interrupted', 'failed', 'crashed')),
  pid             INTEGER NOT NULL,
  boot_id         TEXT NOT NULL,
  vgrid_version   TEXT NOT NULL,
  CHECK ((ended IS NULL) = (ended_at IS NULL))
) STRICT;
CREATE INDEX sweep_run_by_sweep ON sweep_run (sweep_id, id);

CREATE TABLE objective (
  sweep_id        INTEGER NOT NULL REFERENCES sweep (id) ON DELETE CASCADE,
  position        INTEGER NOT NULL,
  name            TEXT NOT NULL,
  direction       TEXT NOT NULL CHECK (direction IN ('minimize', 'maximize')),
  metric          TEXT NOT NULL,
  scenario        TEXT NOT NULL,
  PRIMARY KEY (sweep_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE gate (
  id              INTEGER PRIMARY KEY,
  sweep_id        INTEGER NOT NULL REFERENCES sweep (id) ON DELETE CASCADE,
  position        INTEGER NOT NULL,
  expression      TEXT NOT NULL,
  UNIQUE (sweep_id, position)
) STRICT;

CREATE TABLE trial (
  id              INTEGER PRIMARY KEY,
  sweep_id        INTEGER NOT NULL REFERENCES sweep (id) ON DELETE CASCADE,
  position        INTEGER NOT NULL,
  name            TEXT NOT NULL,
  config_key      TEXT NOT NULL,
  is_baseline     INTEGER NOT NULL CHECK (is_baseline IN (0, 1)),
  image_digest    TEXT,
  settings_json   TEXT NOT NULL CHECK (json_valid(settings_json)),
  argv_json       TEXT NOT NULL CHECK (json_valid(argv_json)),
  axis_values_json TEXT NOT NULL CHECK (json_valid(axis_values_json)),
  expected        TEXT,
  UNIQUE (sweep_id, name, config_key)
) STRICT;
CREATE INDEX trial_by_position ON trial (sweep_id, position);
CREATE INDEX trial_by_key ON trial (config_key);
CREATE INDEX trial_by_name ON trial (name);

CREATE TABLE trial_skip (
  id              INTEGER PRIMARY KEY,
  trial_id        INTEGER NOT NULL REFERENCES trial (id) ON DELETE CASCADE,
  after_attempt   INTEGER NOT NULL,
  reason          TEXT NOT NULL,
  explanation     TEXT NOT NULL,
  skipped_at      TEXT NOT NULL
) STRICT;
CREATE INDEX trial_skip_by_trial ON trial_skip (trial_id, id);

CREATE TABLE attempt (
  id              INTEGER PRIMARY KEY,
  trial_id        INTEGER NOT NULL REFERENCES trial (id) ON DELETE CASCADE,
  run_id          INTEGER NOT NULL REFERENCES sweep_run (id),
  number          INTEGER NOT NULL,
  started_at      TEXT NOT NULL,
  ended_at        TEXT,
  phase           TEXT NOT NULL,
  outcome         TEXT CHECK (outcome IN ('measured', 'failed', 'interrupted')),
  cause           TEXT,
  stage           TEXT,
  remedy          TEXT,
  transient       INTEGER CHECK (transient IN (0, 1)),
  exit_code       INTEGER,
  oom_killed      INTEGER CHECK (oom_killed IN (0, 1)),
  exit_status     TEXT,
  exit_error      TEXT,
  asked_to_stop   INTEGER CHECK (asked_to_stop IN (0, 1)),
  container_id    TEXT,
  image_digest    TEXT,
  log_path        TEXT,
  ready_s         REAL,
  elapsed_s       REAL,
  timings_json    TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(timings_json)),
  UNIQUE (trial_id, number),
  CHECK ((outcome IS NULL) = (ended_at IS NULL)),
  CHECK ((cause IS NOT NULL) = (outcome IS 'failed'))
) STRICT;
CREATE INDEX attempt_open ON attempt (trial_id) WHERE outcome IS NULL;
CREATE INDEX attempt_measured ON attempt (trial_id) WHERE outcome = 'measured';
CREATE INDEX attempt_by_run ON attempt (run_id);

CREATE TABLE attempt_evidence (
  attempt_id      INTEGER NOT NULL REFERENCES attempt (id) ON DELETE CASCADE,
  position        INTEGER NOT NULL,
  line_number     INTEGER,
  text            TEXT NOT NULL,
  PRIMARY KEY (attempt_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempt_number (
  attempt_id      INTEGER NOT NULL REFERENCES attempt (id) ON DELETE CASCADE,
  name            TEXT NOT NULL,
  value           REAL NOT NULL,
  PRIMARY KEY (attempt_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE resolved_fact (
  attempt_id      INTEGER NOT NULL REFERENCES attempt (id) ON DELETE CASCADE,
  name            TEXT NOT NULL,
  value           TEXT NOT NULL,
  source          TEXT NOT NULL,
  PRIMARY KEY (attempt_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE resolved_figure (
  attempt_id      INTEGER NOT NULL REFERENCES attempt (id) ON DELETE CASCADE,
  name            TEXT NOT NULL,
  value           REAL NOT NULL,
  PRIMARY KEY (attempt_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE mismatch (
  attempt_id      INTEGER NOT NULL REFERENCES attempt (id) ON DELETE CASCADE,
  name            TEXT NOT NULL,
  requested       TEXT NOT NULL,
  resolved        TEXT NOT NULL,
  PRIMARY KEY (attempt_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE scenario_result (
  id              INTEGER PRIMARY KEY,
  attempt_id      INTEGER NOT NULL REFERENCES attempt (id) ON DELETE CASCADE,
  trial_id        INTEGER NOT NULL REFERENCES trial (id) ON DELETE CASCADE,
  scenario        TEXT NOT NULL,
  spec_json       TEXT NOT NULL CHECK (json_valid(spec_json)),
  data_sha256     TEXT NOT NULL,
  result_key      TEXT NOT NULL,
  started_at      TEXT NOT NULL,
  elapsed_s       REAL NOT NULL,
  verdict         TEXT NOT NULL CHECK (verdict IN ('valid', 'suspect', 'invalid')),
  saved_at        TEXT NOT NULL,
  UNIQUE (trial_id, result_key)
) STRICT;
CREATE INDEX scenario_result_by_attempt ON scenario_result (attempt_id);
CREATE INDEX scenario_result_latest ON scenario_result (trial_id, scenario, id);

CREATE TABLE validity_reason (
  scenario_result_id INTEGER NOT NULL REFERENCES scenario_result (id) ON DELETE CASCADE,
  position        INTEGER NOT NULL,
  reason          TEXT NOT NULL,
  sentence        TEXT NOT NULL,
  PRIMARY KEY (scenario_result_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE metric (
  scenario_result_id INTEGER NOT NULL REFERENCES scenario_result (id) ON DELETE CASCADE,
  path            TEXT NOT NULL,
  scenario        TEXT NOT NULL,
  point           TEXT,
  name            TEXT NOT NULL,
  statistic       TEXT,
  value           REAL NOT NULL,
  unit            TEXT NOT NULL,
  n               INTEGER NOT NULL,
  failed_n        INTEGER NOT NULL,
  ci_low          REAL,
  ci_high         REAL,
  PRIMARY KEY (scenario_result_id, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE request (
  scenario_result_id INTEGER NOT NULL REFERENCES scenario_result (id) ON DELETE CASCADE,
  position        INTEGER NOT NULL,
  point           TEXT,
  role            TEXT NOT NULL,
  measured        INTEGER NOT NULL CHECK (measured IN (0, 1)),
  intended_ms     REAL NOT NULL,
  sent_ms         REAL NOT NULL,
  headers_ms      REAL,
  first_token_ms  REAL,
  first_content_ms REAL,
  last_token_ms   REAL,
  end_ms          REAL NOT NULL,
  ended           TEXT NOT NULL,
  finish_reason   TEXT,
  http_status     INTEGER,
  error           TEXT,
  prompt_tokens   INTEGER,
  completion_tokens INTEGER,
  cached_tokens   INTEGER,
  chunk_count     INTEGER NOT NULL,
  chunks          BLOB NOT NULL,
  body_sha256     TEXT NOT NULL,
  ttft_ms         REAL GENERATED ALWAYS AS (first_token_ms - sent_ms) VIRTUAL,
  ttfc_ms         REAL GENERATED ALWAYS AS (first_content_ms - sent_ms) VIRTUAL,
  e2e_ms          REAL GENERATED ALWAYS AS (end_ms - sent_ms) VIRTUAL,
  queue_ms        REAL GENERATED ALWAYS AS (sent_ms - intended_ms) VIRTUAL,
  tpot_ms         REAL GENERATED ALWAYS AS
                  (CASE WHEN completion_tokens >= 2 THEN (last_token_ms - first_token_ms) / (completion_tokens - 1) END) VIRTUAL,
  PRIMARY KEY (scenario_result_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE engine_counter (
  scenario_result_id INTEGER NOT NULL REFERENCES scenario_result (id) ON DELETE CASCADE,
  name            TEXT NOT NULL,
  before          REAL NOT NULL,
  after           REAL NOT NULL,
  PRIMARY KEY (scenario_result_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE telemetry_sample (
  attempt_id      INTEGER NOT NULL REFERENCES attempt (id) ON DELETE CASCADE,
  series          TEXT NOT NULL,
  source          TEXT NOT NULL,
  offset_ms       REAL NOT NULL,
  tag             TEXT,
  value           REAL NOT NULL,
  PRIMARY KEY (attempt_id, series, source, offset_ms)
) STRICT, WITHOUT ROWID;

CREATE TABLE gate_result (
  trial_id        INTEGER NOT NULL REFERENCES trial (id) ON DELETE CASCADE,
  gate_id         INTEGER NOT NULL REFERENCES gate (id) ON DELETE CASCADE,
  passed          INTEGER CHECK (passed IN (0, 1)),
  PRIMARY KEY (trial_id, gate_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE restoration (
  id              INTEGER PRIMARY KEY,
  sweep_id        INTEGER REFERENCES sweep (id) ON DELETE SET NULL,
  deployment      TEXT NOT NULL,
  what            TEXT NOT NULL,
  serving_json    TEXT NOT NULL CHECK (json_valid(serving_json)),
  state           TEXT NOT NULL CHECK (state IN ('pending', 'restored', 'failed')),
  detail          TEXT,
  noted_at        TEXT NOT NULL,
  settled_at      TEXT
) STRICT;
CREATE INDEX restoration_open ON restoration (deployment, id) WHERE state <> 'restored';

CREATE TABLE event (
  id              INTEGER PRIMARY KEY,
  sweep_id        INTEGER NOT NULL REFERENCES sweep (id) ON DELETE CASCADE,
  told_at         TEXT NOT NULL,
  event_json      TEXT NOT NULL CHECK (json_valid(event_json))
) STRICT;
CREATE INDEX event_by_sweep ON event (sweep_id, id);

-- How much wider than a lone 95 % interval an interval must be drawn so that the whole night errs in at most 5 %.
CREATE TABLE critical_value (
  degrees         INTEGER NOT NULL,
  candidates      INTEGER NOT NULL,
  factor          REAL NOT NULL,
  PRIMARY KEY (candidates, degrees)
) STRICT, WITHOUT ROWID;

CREATE VIEW results AS
SELECT t.sweep_id, r.trial_id, t.name AS config, r.id AS scenario_result_id, r.attempt_id, r.scenario, r.result_key, r.started_at,
       r.elapsed_s, r.verdict,
       (SELECT group_concat(v.reason, ', ') FROM validity_reason v WHERE v.scenario_result_id = r.id) AS reasons,
       (SELECT count(*) FROM request q WHERE q.scenario_result_id = r.id) AS requests,
       (SELECT count(*) FROM request q WHERE q.scenario_result_id = r.id AND q.ended NOT IN ('ok', 'truncated')) AS failed_requests
FROM scenario_result r
JOIN trial t ON t.id = r.trial_id;

CREATE VIEW trials AS
SELECT
  t.id AS trial_id,
  t.sweep_id,
  t.position,
  t.name AS config,
  t.config_key,
  t.is_baseline,
  CASE
    WHEN a.id IS NULL AND s.id IS NULL THEN 'pending'
    WHEN a.id IS NULL THEN 'skipped'
    WHEN a.outcome IS NULL THEN 'running'
    WHEN a.outcome = 'measured' THEN 'measured'
    WHEN EXISTS (SELECT 1 FROM attempt m WHERE m.trial_id = t.id AND m.outcome = 'measured') THEN 'measured'
    WHEN a.outcome = 'interrupted' AND s.after_attempt >= a.number THEN 'skipped'
    ELSE a.outcome
  END AS state,
  CASE WHEN a.outcome = 'failed' THEN a.cause WHEN a.id IS NULL OR s.after_attempt >= a.number THEN s.reason END AS cause,
  CASE WHEN a.outcome = 'failed' THEN a.remedy WHEN a.id IS NULL OR s.after_attempt >= a.number THEN s.explanation END AS detail,
  coalesce(a.number, 0) AS attempts,
  a.phase,
  a.started_at,
  a.ended_at,
  a.ready_s,
  a.elapsed_s,
  (SELECT m.value FROM scenario_result r JOIN metric m ON m.scenario_result_id = r.id AND m.path = 'kv_cache.ttft_miss_ms.p50'
   WHERE r.trial_id = t.id AND r.scenario = 'kv_cache' ORDER BY r.id DESC LIMIT 1) AS ttft_miss_p50_ms,
  (SELECT m.value FROM scenario_result r JOIN metric m ON m.scenario_result_id = r.id AND m.path = 'kv_cache.ttft_hit_ms.p50'
   WHERE r.trial_id = t.id AND r.scenario = 'kv_cache' ORDER BY r.id DESC LIMIT 1) AS ttft_hit_p50_ms,
  (SELECT m.value FROM scenario_result r JOIN metric m ON m.scenario_result_id = r.id AND m.path = 'load.output_tokens_per_s'
   WHERE r.trial_id = t.id AND r.scenario = 'load' ORDER BY r.id DESC LIMIT 1) AS output_tokens_per_s
FROM trial t
LEFT JOIN attempt a ON a.id = (SELECT l.id FROM attempt l WHERE l.trial_id = t.id ORDER BY l.number DESC LIMIT 1)
LEFT JOIN trial_skip s ON s.id = (SELECT k.id FROM trial_skip k WHERE k.trial_id = t.id ORDER BY k.id DESC LIMIT 1);

CREATE VIEW sweeps AS
SELECT
  w.id AS sweep_id,
  w.uuid,
  w.grid_name,
  w.grid_path,
  w.deployment,
  w.baseline,
  CASE
    WHEN r.id IS NULL THEN 'pending'
    WHEN r.ended IS NULL THEN 'running'
    WHEN r.ended = 'complete' THEN 'finished'
    ELSE 'interrupted'
  END AS state,
  w.created_at AS started_at,
  r.ended_at,
  (SELECT count(*) FROM sweep_run x WHERE x.sweep_id = w.id) AS runs,
  (SELECT count(*) FROM trial t WHERE t.sweep_id = w.id) AS trials,
  (SELECT count(*) FROM trials t WHERE t.sweep_id = w.id AND t.state = 'measured') AS measured,
  (SELECT count(*) FROM trials t WHERE t.sweep_id = w.id AND t.state = 'failed') AS failed,
  (SELECT count(*) FROM trials t WHERE t.sweep_id = w.id AND t.state = 'skipped') AS skipped,
  (SELECT count(*) FROM trials t WHERE t.sweep_id = w.id AND t.state IN ('pending', 'running', 'interrupted')) AS remaining
FROM sweep w
LEFT JOIN sweep_run r ON r.id = (SELECT max(x.id) FROM sweep_run x WHERE x.sweep_id = w.id);

CREATE VIEW failures AS
SELECT
  t.sweep_id,
  t.id AS trial_id,
  t.position,
  t.name AS config,
  a.number AS attempt,
  a.phase,
  a.stage,
  a.cause,
  (SELECT e.text FROM attempt_evidence e WHERE e.attempt_id = a.id ORDER BY e.position LIMIT 1) AS evidence,
  a.remedy,
  a.transient,
  a.exit_code,
  a.oom_killed,
  a.log_path,
  a.ended_at
FROM trial t
JOIN attempt a ON a.id = (SELECT l.id FROM attempt l WHERE l.trial_id = t.id ORDER BY l.number DESC LIMIT 1)
WHERE a.outcome = 'failed'
  AND NOT EXISTS (SELECT 1 FROM attempt m WHERE m.trial_id = t.id AND m.outcome = 'measured');

CREATE VIEW metrics AS
SELECT t.sweep_id, t.id AS trial_id, t.name AS config, m.path, m.value, m.unit, m.n, m.failed_n, m.ci_low, m.ci_high, r.verdict,
       r.attempt_id, r.id AS scenario_result_id
FROM trial t
JOIN scenario_result r ON r.trial_id = t.id
JOIN metric m ON m.scenario_result_id = r.id
WHERE NOT EXISTS (
  SELECT 1 FROM scenario_result newer JOIN metric again ON again.scenario_result_id = newer.id AND again.path = m.path
  WHERE newer.trial_id = r.trial_id AND newer.scenario = r.scenario AND newer.id > r.id);

-- CROSS JOIN keeps SQLite on the order objective, trial, result, metric: by keys only, whatever else the file holds.
CREATE VIEW ranking AS
WITH figure AS MATERIALIZED (
  SELECT *,
    (gates = 'pass' AND verdict <> 'invalid') AS eligible,
    CASE WHEN n >= 2 THEN toward_better * toward_better * n / (n - 1.0) END AS v
  FROM (
    SELECT
      o.sweep_id, o.position AS objective_position, o.name AS objective, o.metric, o.direction,
      t.id AS trial_id, t.name AS config, t.is_baseline,
      m.value, m.unit, m.n, m.ci_low, m.ci_high, r.verdict,
      CASE o.direction WHEN 'minimize' THEN m.value ELSE -m.value END AS cost,
      max(0.0, CASE o.direction WHEN 'minimize' THEN m.value - m.ci_low ELSE m.ci_high - m.value END) AS toward_better,
      max(0.0, CASE o.direction WHEN 'minimize' THEN m.ci_high - m.value ELSE m.value - m.ci_low END) AS toward_worse,
      CASE
        WHEN EXISTS (SELECT 1 FROM gate_result g WHERE g.trial_id = t.id AND g.passed = 0) THEN 'fail'
        WHEN (SELECT count(*) FROM gate q WHERE q.sweep_id = o.sweep_id)
             > (SELECT count(*) FROM gate_result g WHERE g.trial_id = t.id AND g.passed = 1) THEN 'not_measured'
        ELSE 'pass'
      END AS gates
    FROM objective o
    CROSS JOIN trial t ON t.sweep_id = o.sweep_id
    CROSS JOIN scenario_result r ON r.id = (
      SELECT l.id FROM scenario_result l JOIN metric k ON k.scenario_result_id = l.id AND k.path = o.metric
      WHERE l.trial_id = t.id AND l.scenario = o.scenario ORDER BY l.id DESC LIMIT 1)
    CROSS JOIN metric m ON m.scenario_result_id = r.id AND m.path = o.metric
    WHERE EXISTS (SELECT 1 FROM attempt a WHERE a.trial_id = t.id AND a.outcome = 'measured'))
), leader AS MATERIALIZED (
  SELECT
    o.sweep_id, o.objective_position, o.trial_id, o.cost, o.n - 1.0 AS d,
    CASE WHEN o.n >= 2 THEN o.toward_worse * o.toward_worse * o.n / (o.n - 1.0) END AS v,
    (SELECT min(c.candidates) FROM critical_value c WHERE c.candidates >= min(o.candidates, 16384)) AS candidates
  FROM (
    SELECT
      sweep_id, objective_position, trial_id, cost, toward_worse, n,
      row_number() OVER (PARTITION BY sweep_id, objective_position ORDER BY cost, config, trial_id) AS at,
      count(*) OVER (PARTITION BY sweep_id, objective_position) AS candidates
    FROM figure WHERE eligible) AS o
  WHERE o.at = 1
), control AS MATERIALIZED (
  SELECT sweep_id, objective_position, value, max(trial_id) FROM figure
  WHERE is_baseline AND verdict <> 'invalid' GROUP BY sweep_id, objective_position
)
SELECT
  f.sweep_id,
  f.objective_position,
  f.objective,
  f.metric,
  f.direction,
  CASE WHEN f.eligible THEN
    rank() OVER (PARTITION BY f.sweep_id, f.objective_position, f.eligible ORDER BY f.cost)
  END AS rank,
  f.config,
  f.trial_id,
  f.value,
  f.unit,
  f.n,
  f.ci_low,
  f.ci_high,
  100.0 * CASE f.direction WHEN 'minimize' THEN b.value - f.value ELSE f.value - b.value END
    / nullif(abs(b.value), 0) AS gain_percent,
  f.verdict,
  f.gates,
  CASE
    WHEN f.verdict = 'invalid' THEN 'invalid'
    WHEN f.gates = 'fail' THEN 'gate_failed'
    WHEN f.gates = 'not_measured' THEN 'gate_not_measured'
    WHEN f.trial_id = l.trial_id THEN 'leader'
    -- NULL (no interval, one sample) is not apart.
    WHEN (f.cost - l.cost) * (f.cost - l.cost) > (l.v + f.v) * (
      SELECT c.factor * c.factor FROM critical_value c
      WHERE c.candidates = l.candidates AND c.degrees <= 1e-9 + coalesce(
        (l.v + f.v) * (l.v + f.v) / (l.v * l.v / l.d + f.v * f.v / (f.n - 1.0)), min(l.d, f.n - 1.0))
      ORDER BY c.degrees DESC LIMIT 1) THEN 'behind'
    ELSE 'tied'
  END AS standing
FROM figure f
LEFT JOIN leader l ON l.sweep_id = f.sweep_id AND l.objective_position = f.objective_position
LEFT JOIN control b ON b.sweep_id = f.sweep_id AND b.objective_position = f.objective_position;

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
  verdict
FROM (SELECT * FROM ranking WHERE rank IS NOT NULL ORDER BY sweep_id, objective_position, rank, config)
GROUP BY sweep_id, objective_position
-- The one min() of a query decides which row the plain columns come from: the leader's.
HAVING min(standing <> 'leader') = 0;

-- What it takes to compute the figures of a load again from the requests alone: who sent each one, how many tokens each of its chunks carried,
-- and the window in which the rates were counted. And runs of `vgrid bench`, which are no sweeps of a grid.

ALTER TABLE sweep ADD COLUMN kind TEXT NOT NULL DEFAULT 'grid' CHECK (kind IN ('grid', 'bench'));

ALTER TABLE request ADD COLUMN user_number INTEGER;
ALTER TABLE request ADD COLUMN chunk_tokens BLOB;

CREATE TABLE point_window (
  scenario_result_id INTEGER NOT NULL REFERENCES scenario_result (id) ON DELETE CASCADE,
  point           TEXT NOT NULL,
  start_ms        REAL NOT NULL,
  end_ms          REAL NOT NULL,
  PRIMARY KEY (scenario_result_id, point)
) STRICT, WITHOUT ROWID;

DROP VIEW sweeps;

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
  (SELECT count(*) FROM trials t WHERE t.sweep_id = w.id AND t.state IN ('pending', 'running', 'interrupted')) AS remaining,
  w.kind
FROM sweep w
LEFT JOIN sweep_run r ON r.id = (SELECT max(x.id) FROM sweep_run x WHERE x.sweep_id = w.id);
